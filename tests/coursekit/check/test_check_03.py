"""The checks of lesson 03, and the folder of planted defects that it hands out."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from coursekit import check
from coursekit.check import lesson_03
from medlib.datasets.structure import MedicalDataset, Split


def all_copies(hashes, labels):
    return np.flatnonzero(pd.Series(hashes).duplicated(keep=False))


def later_rows_only(hashes, labels):
    seen = {}
    return [
        row
        for row, (digest, label) in enumerate(zip(hashes, labels, strict=True))
        if seen.setdefault(digest, label) != label
    ]


def neighbouring_rows(hashes, labels):
    rows = set()
    for row in range(len(hashes) - 1):
        if hashes[row] == hashes[row + 1] and labels[row] != labels[row + 1]:
            rows |= {row, row + 1}
    return sorted(rows)


def two_labels_only(hashes, labels):
    return np.flatnonzero(pd.Series(labels).groupby(hashes).transform("nunique") == 2)


def scaled(image, values):
    return (image - values.mean(axis=0)) / values.std(axis=0)


def with_air(image, brain):
    return scaled(image, image.reshape(-1, image.shape[-1])) * brain[..., None]


def air_left_in(image, brain):
    return scaled(image, image[brain])


def channels_together(image, brain):
    values = image[brain]
    return (image - values.mean()) / values.std() * brain[..., None]


def each_pixel(image, brain):
    result, values = np.zeros(image.shape), image[brain]
    result[brain] = scaled(values.T, values.T).T
    return result


def divided_by_variance(image, brain):
    values = image[brain]
    return (image - values.mean(axis=0)) / values.var(axis=0) * brain[..., None]


def in_place(image, brain):
    image[brain] = scaled(image[brain], image[brain])
    image[~brain] = 0
    return image


def images_dealt(subjects, share, seed):
    return np.random.default_rng(seed).random(len(subjects)) < share


def always_the_first(subjects, share, seed):
    names = np.unique(subjects)
    return np.isin(subjects, names[: round(share * len(names))])


def rounded_down(subjects, share, seed):
    names = np.random.default_rng(seed).permutation(np.unique(subjects))
    return np.isin(subjects, names[: int(share * len(names))])


def rounded_up(subjects, share, seed):
    names = np.random.default_rng(seed).permutation(np.unique(subjects))
    return np.isin(subjects, names[: int(np.ceil(share * len(names)))])


def share_of_training(subjects, share, seed):
    names = np.random.default_rng(seed).permutation(np.unique(subjects))
    return np.isin(subjects, names[round(share * len(names)) :])


def patients_not_images(subjects, share, seed):
    names = np.random.default_rng(seed).permutation(np.unique(subjects))
    return names[: round(share * len(names))]


def new_split_each_time(subjects, share, seed):
    names = np.random.default_rng().permutation(np.unique(subjects))
    return np.isin(subjects, names[: round(share * len(names))])


WRONG = [  # exercise, answer, what the reader must be told
    ("03.1", all_copies, "labels agree"),
    ("03.1", later_rows_only, "all three rows"),
    ("03.1", neighbouring_rows, "all three rows"),
    ("03.1", two_labels_only, "three different labels"),
    ("03.2", with_air, "Which pixels"),
    ("03.2", air_left_in, "Outside the brain"),
    ("03.2", channels_together, "normalised together"),
    ("03.2", each_pixel, "over its channels"),
    ("03.2", divided_by_variance, "standard deviations"),
    ("03.2", in_place, "changes the image"),
    ("03.3", images_dealt, "What do you deal out"),
    ("03.3", always_the_first, "Every seed"),
    ("03.3", rounded_down, "share=0.24"),
    ("03.3", rounded_up, "share=0.12"),
    ("03.3", share_of_training, "15 of 20"),
    ("03.3", patients_not_images, "for each image"),
    ("03.3", new_split_each_time, "same seed"),
]


@pytest.mark.parametrize(("exercise", "answer", "hint"), WRONG)
def test_a_wrong_answer_is_told_what_is_wrong(exercise, answer, hint):
    verdict = check.verdict(exercise, answer)
    assert verdict.state == "wrong"
    assert hint in verdict.message


@pytest.fixture(scope="module")
def patients() -> MedicalDataset:
    """One image of each of 60 patients; what matters is that all images differ."""
    rng = np.random.default_rng(0)
    splits = {}
    for name, n in (("train", 50), ("validation", 5), ("test", 5)):
        subjects = np.array([f"{name}-{number}" for number in range(n)])
        images = rng.random((n, 24, 24, 1), dtype=np.float32)
        table = pd.DataFrame({"age": rng.uniform(20, 80, n)})
        splits[name] = Split(images, np.arange(n) % 2, None, None, subjects, table)
    texts = {"name": "noise", "licence": "", "citation": "", "card": ""}
    names = {"class_names": ("normal", "tumour"), "channel_names": ("grey",)}
    return MedicalDataset(**splits, **names, **texts)


@pytest.mark.parametrize("seed", [0, 1])
def test_every_defect_of_the_key_is_in_the_folder(patients, tmp_path, seed):
    key = lesson_03.messy_folder(tmp_path, patients, seed=seed)
    image = dict(zip(key["defect"], key["image"], strict=True))
    assert len(image) == len(key) == 15
    table = pd.read_csv(tmp_path / "labels.csv")
    said = table.drop_duplicates().set_index("image")
    on_disk = {path.name for path in tmp_path.glob("*.png")}
    assert set(said.index) - on_disk == {image["row without a file"]}
    assert on_disk - set(said.index) == {image["file without a row"]}
    assert table.loc[table["image"].duplicated(), "image"].tolist() == [image["row given twice"]]
    odd = ~said["label"].isin(patients.class_names)
    assert said.index[odd].tolist() == [image["label spelled differently"]]
    assert said.index[said["age"] > 110].tolist() == [image["impossible age"]]
    unreadable = {image["cut short"], image["an error page, not an image"]}
    pixels = {name: read(tmp_path / name) for name in on_disk - unreadable}
    assert all(read(tmp_path / name) is None for name in unreadable)
    small = [name for name, array in pixels.items() if len(array) != said["height"].iloc[0]]
    assert small == [image["size is not as the table says"]]
    assert [n for n, array in pixels.items() if array.std() == 0] == [image["all black"]]
    for copy, original, kind in zip(key["image"], key["original"], key["defect"], strict=True):
        if original:
            same = np.array_equal(pixels[copy], pixels[original])
            assert same == kind.startswith("exact")
            assert (said.label[copy] != said.label[original]) == kind.endswith("other label")
            assert said.subject[copy] != said.subject[original]


def read(path: Path) -> np.ndarray | None:
    try:
        return np.asarray(Image.open(path))
    except OSError:
        return None

"""The checks of lesson 03, and the folder of planted defects that it hands out."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.spatial.distance import pdist

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


def as_it_is(a, b, bits_between):
    return bits_between(a, b)


def without_the_unturned(a, b, bits_between):
    return min(bits_between(a, np.rot90(b, quarters)) for quarters in (1, 2, 3))


def without_half_a_turn(a, b, bits_between):
    return min(bits_between(a, np.rot90(b, quarters)) for quarters in (0, 1, 3))


def mirrors_instead(a, b, bits_between):
    return min(bits_between(a, each) for each in (b, b[::-1], b[:, ::-1], b[::-1, ::-1]))


def all_turns(a, b, bits_between):
    return [bits_between(a, np.rot90(b, quarters)) for quarters in range(4)]


def product_of_turns(a, b, bits_between):
    return int(np.prod(all_turns(a, b, bits_between)))


def zero_or_largest(a, b, bits_between):
    turns = all_turns(a, b, bits_between)
    return 0 if 0 in turns else max(turns)


def always_zero(a, b, bits_between):
    return 0


def in_pixels(mask, spacing_mm):
    return pdist(np.argwhere(mask)).max()


def spacings_exchanged(mask, spacing_mm):
    return pdist(np.argwhere(mask) * np.array(spacing_mm)[::-1]).max()


def longer_side(mask, spacing_mm):
    return (np.ptp(np.argwhere(mask), axis=0) * spacing_mm).max()


def from_edge_to_edge(mask, spacing_mm):
    return np.hypot(*((np.ptp(np.argwhere(mask), axis=0) + 1) * spacing_mm))


def diagonal_of_the_box(mask, spacing_mm):
    return np.hypot(*(np.ptp(np.argwhere(mask), axis=0) * spacing_mm))


def all_distances(mask, spacing_mm):
    return pdist(np.argwhere(mask) * np.array(spacing_mm))


WRONG = [  # exercise, answer, what the reader must be told
    ("03.1", all_copies, "labels agree"),
    ("03.1", later_rows_only, "all three rows"),
    ("03.1", neighbouring_rows, "all three rows"),
    ("03.1", two_labels_only, "three different labels"),
    ("03.2", as_it_is, "turned by 90"),
    ("03.2", without_the_unturned, "nobody turned"),
    ("03.2", without_half_a_turn, "turned by 180"),
    ("03.2", mirrors_instead, "turned by 90"),
    ("03.2", all_turns, "one number"),
    ("03.2", product_of_turns, "wrong for images of strangers"),
    ("03.2", zero_or_largest, "largest number"),
    ("03.2", always_zero, "which turn"),
    ("03.3", in_pixels, "in pixels"),
    ("03.3", spacings_exchanged, "exchanged"),
    ("03.3", longer_side, "oblique"),
    ("03.3", from_edge_to_edge, "edge to edge"),
    ("03.3", diagonal_of_the_box, "corners of its box"),
    ("03.3", all_distances, "spacing of (1.0, 1.0)"),
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

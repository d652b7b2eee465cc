"""A folder of images with planted defects for lesson 03, and the checks of its exercises.

Whoever wants to find the defects should not read on.
"""

import io
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from coursekit import check
from medlib.datasets.structure import MedicalDataset

N_IMAGES = 40
"""Good images that :func:`messy_folder` needs; the copies come in addition."""

_COPIES = {  # what is done to a copy, and which of the good images is copied
    "exact copy": 0,
    "exact copy, other label": 1,
    "near copy: brighter, saved as JPEG": 2,
    "near copy: mark burned in": 3,
    "near copy: moved by two pixels": 4,
    "near copy: mirrored": 5,
}
_SPOILT = {"cut short": 10, "an error page, not an image": 11, "all black": 12}
_LIES = {
    "row without a file": 15,
    "file without a row": 16,
    "row given twice": 17,
    "label spelled differently": 18,
    "impossible age": 19,
    "size is not as the table says": 20,
}


def messy_folder(folder: Path, images: MedicalDataset, *, seed: int = 0) -> pd.DataFrame:
    """Write images and a CSV as an archive might deliver them, with fifteen planted defects.

    Parameters
    ----------
    folder : Path
        Gets the files and ``labels.csv``.
    images : MedicalDataset
        40 of its training subjects are delivered, one image of each, the last channel of it.
    seed : int
        Of the choice and of the order of the files.

    Returns
    -------
    DataFrame
        The key: ``defect``, ``image`` and, for copies, the ``original``. Do not look at it before
        the end.
    """
    rng = np.random.default_rng(seed)
    train = images.train
    one_each = np.unique(train.subjects, return_index=True)[1]
    chosen = rng.permutation(one_each)[:N_IMAGES]
    ages = train.table["age"] if "age" in train.table else pd.Series(50.0, train.table.index)
    rows = [
        {
            "label": images.class_names[train.labels[i]],
            "subject": str(train.subjects[i]),
            "age": float(ages[i]),
        }
        for i in chosen
    ]
    pixels = [np.rint(train.images[i][..., -1] * 255).astype(np.uint8) for i in chosen]
    for kind, source in _COPIES.items():
        pixels.append(_changed(pixels[source], kind))
        rows.append(rows[source] | {"subject": f"new-{len(rows):02d}"})
        if kind == "exact copy, other label":
            others = [name for name in images.class_names if name != rows[source]["label"]]
            rows[-1]["label"] = others[0]
    pixels[_SPOILT["all black"]] = np.zeros_like(pixels[0])
    small = _LIES["size is not as the table says"]
    height, width = pixels[0].shape
    pixels[small] = np.asarray(Image.fromarray(pixels[small]).resize((width // 2, height // 2)))
    names = [f"scan_{place:02d}.png" for place in rng.permutation(len(rows))]
    for name, array in zip(names, pixels, strict=True):
        Image.fromarray(array).save(folder / name)
    _spoil(folder, names)
    listing = pd.DataFrame(rows)
    listing.insert(0, "image", names)
    listing["height"], listing["width"] = height, width
    _with_lies(folder, listing).sort_values("image").to_csv(folder / "labels.csv", index=False)
    return _key(names)


def _changed(pixels: np.ndarray, kind: str) -> np.ndarray:
    if "brighter" in kind:
        buffer = io.BytesIO()
        Image.fromarray(np.clip(pixels * 1.15, 0, 255).astype(np.uint8)).save(
            buffer, "JPEG", quality=60
        )
        return np.asarray(Image.open(buffer))
    if "mark" in kind:
        marked, side = pixels.copy(), len(pixels)
        middle, arm = side // 4, max(1, side // 14)
        marked[middle, middle - arm : middle + arm + 1] = 255
        marked[middle - arm : middle + arm + 1, middle] = 255
        return marked
    if "moved" in kind:
        return np.roll(pixels, (1, 2), axis=(0, 1))
    return pixels[:, ::-1] if "mirrored" in kind else pixels.copy()


def _spoil(folder: Path, names: list[str]) -> None:
    cut = folder / names[_SPOILT["cut short"]]
    content = cut.read_bytes()
    cut.write_bytes(content[: int(0.6 * len(content))])
    page = "<html><body><h1>502 Bad Gateway</h1></body></html>\n"
    (folder / names[_SPOILT["an error page, not an image"]]).write_text(page)


def _with_lies(folder: Path, listing: pd.DataFrame) -> pd.DataFrame:
    row = {kind: listing.index[number] for kind, number in _LIES.items()}
    (folder / listing.loc[row["row without a file"], "image"]).unlink()
    listing.loc[row["impossible age"], "age"] = 999.0
    spelled = listing.loc[row["label spelled differently"], "label"]
    listing.loc[row["label spelled differently"], "label"] = f"{spelled.capitalize()} "
    twice = listing.loc[[row["row given twice"]]]
    listing = listing.drop(index=row["file without a row"])
    return pd.concat([listing, twice], ignore_index=True)


def _key(names: list[str]) -> pd.DataFrame:
    rows = [
        {"defect": kind, "image": names[N_IMAGES + number], "original": names[source]}
        for number, (kind, source) in enumerate(_COPIES.items())
    ]
    others = _SPOILT | _LIES
    rows += [{"defect": k, "image": names[i], "original": ""} for k, i in others.items()]
    return pd.DataFrame(rows)


@check.define("03.1")
def conflicts(answer):
    """Check the search for images that are the same and labelled differently."""
    hashes = np.array(["a", "b", "a", "c", "b", "d", "b"])
    labels = np.array(["tumour", "normal", "tumour", "normal", "normal", "tumour", "tumour"])
    found = _row_set(answer(hashes, labels))
    check.that(
        not {0, 2} & found,
        "With hashes a, b, a, c, b, d, b you report rows 0 and 2. They are copies, but their "
        "labels agree.",
    )
    check.that(
        not {3, 5} & found, "You report a row whose image occurs once: it can contradict nobody."
    )
    check.that(
        {1, 4, 6} <= found,
        "An image occurs three times, twice with one label and once with another: nobody knows "
        "which is right, so all three rows are suspects.",
    )
    none = _row_set(answer(hashes[:4], labels[:4]))
    check.that(not none, "You find a conflict where there is none.")
    three = _row_set(answer(np.array(["a", "a", "a"]), np.array(["normal", "tumour", "cyst"])))
    check.that(three == {0, 1, 2}, "An image with three different labels is in conflict, too.")
    shuffled = np.array([6, 3, 1, 0, 5, 4, 2])
    again = _row_set(answer(hashes[shuffled], labels[shuffled]))
    check.that(again == {0, 2, 5}, "It is wrong when equal images are not next to each other.")


@check.define("03.2")
def zscore_in_brain(answer):
    """Check the z-score that looks at the brain only."""
    rng = np.random.default_rng(0)
    image = rng.uniform(0.3, 0.8, (12, 10, 2)) * np.array([1.0, 0.4])
    brain = np.zeros((12, 10), bool)
    brain[3:9, 2:8] = True
    image[~brain] = 0.02
    before = image.copy()
    found = np.asarray(answer(image, brain), dtype=float)
    check.that(np.array_equal(image, before), "Your function changes the image it was given.")
    check.that(
        found.shape == image.shape, f"The shape should stay {image.shape}, it is {found.shape}."
    )
    check.that(
        np.abs(found[brain].mean(axis=-1)).max() > 1e-6,
        "Each pixel was normalised over its channels. Which axis holds the pixels?",
    )
    mean, deviation = found[brain].mean(axis=0), found[brain].std(axis=0)
    both = abs(found[brain].mean()) < 1e-6 and abs(found[brain].std() - 1) < 1e-6
    check.that(
        not (both and np.abs(mean).max() > 1e-6),
        "The channels were normalised together: each has its own mean and standard deviation.",
    )
    check.that(
        np.abs(mean).max() < 1e-6,
        f"In the brain the channels have means {np.round(mean, 2)}, not 0. Which pixels did you "
        "take the mean of?",
    )
    check.that(
        np.abs(deviation - 1).max() < 1e-6,
        f"In the brain the channels have standard deviations {np.round(deviation, 2)}, not 1.",
    )
    check.that(bool((found[~brain] == 0).all()), "Outside the brain the result should be 0.")
    wide = np.pad(image, ((4, 4), (4, 4), (0, 0)))
    again = np.asarray(answer(wide, np.pad(brain, 4)), dtype=float)
    check.that(
        np.allclose(again[4:-4, 4:-4][brain], found[brain]),
        "The brain's values change when the image gets a wider black border.",
    )


@check.define("03.3")
def subject_split(answer):
    """Check the split by subject."""
    rng = np.random.default_rng(0)
    subjects = np.repeat([f"s{number:02d}" for number in range(20)], rng.integers(1, 9, 20))
    subjects = rng.permutation(subjects)
    for share, expected in ((0.25, 5), (0.5, 10), (0.24, 5), (0.12, 2)):
        found = _boolean(answer(subjects, share, 0), len(subjects))
        shared = set(subjects[found]) & set(subjects[~found])
        check.that(
            not shared,
            f"{len(shared)} of 20 subjects have images on both sides. What do you deal out?",
        )
        n = len(set(subjects[found]))
        check.that(n == expected, f"With share={share}, {n} of 20 subjects are in the test set.")
    first = _boolean(answer(subjects, 0.25, 0), len(subjects))
    same = _boolean(answer(subjects, 0.25, 0), len(subjects))
    check.that(np.array_equal(first, same), "The same seed gives another split the second time.")
    others = [_boolean(answer(subjects, 0.25, seed), len(subjects)) for seed in range(1, 5)]
    check.that(
        any(not np.array_equal(first, other) for other in others),
        "Every seed gives the same split: subjects should be drawn at random.",
    )


def _row_set(rows) -> set[int]:
    rows = np.asarray(rows)
    check.that(
        rows.size == 0 or rows.dtype.kind in "iu", "Return row numbers (whole numbers from 0 on)."
    )
    return {int(row) for row in rows.ravel()}


def _boolean(rows, n: int) -> np.ndarray:
    rows = np.asarray(rows)
    check.that(
        rows.shape == (n,) and rows.dtype == bool,
        "Return one True or False for each image: True means test.",
    )
    return rows

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
    "near copy: moved": 4,
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
        middle, arm, thick = side // 4, max(1, side // 22), max(1, side // 100)
        marked[middle : middle + thick, middle - arm : middle + arm + thick] = 255
        marked[middle - arm : middle + arm + thick, middle : middle + thick] = 255
        return marked
    if "moved" in kind:
        step = max(2, len(pixels) // 32)  # a pixel of the thumbnail that is compared
        return np.roll(pixels, (step // 2, step), axis=(0, 1))
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
def any_turn(answer):
    """Check the search that also turns the second image."""
    rng = np.random.default_rng(0)
    a, stranger = rng.integers(0, 9, (2, 6, 6))

    def differences(one, other):
        return int((one != other).sum())

    found = answer(a, a.copy(), differences)
    check.that(np.ndim(found) == 0, "Return one number, the smallest, not one for each turn.")
    check.that(found == 0, "An exact copy that nobody turned is no longer found.")
    for quarters in (1, 2, 3):
        found = answer(a, np.rot90(a, quarters), differences)
        check.that(
            found == 0,
            f"A copy turned by {90 * quarters} degrees has {found} differences instead of 0.",
        )
    turns = [differences(a, np.rot90(stranger, quarters)) for quarters in range(4)]
    mistakes = {
        "Images of strangers get 0: you return which turn is best, not how many bits differ.": 0,
        "For strangers you return the largest number of the four.": max(turns),
        "For strangers you add the numbers of all turns.": sum(turns),
    }
    found = answer(a, stranger, differences)
    check.compare(found, min(turns), "It is wrong for images of strangers.", mistakes)


@check.define("03.3")
def longest_diameter(answer):
    """Check the longest diameter of a mask in millimetres."""
    mask = np.zeros((20, 30), bool)
    mask[4, 10:16] = True  # 6 pixels across
    mask[4:13, 10] = True  # 9 pixels down
    points = np.argwhere(mask)
    reach = np.ptp(points, axis=0)  # 8 down, 5 across
    for down, across in ((1.0, 1.0), (0.5, 3.0), (2.5, 0.8)):
        right = float(np.hypot(reach[0] * down, reach[1] * across))
        mistakes = {
            "You measured in pixels: what is the spacing for?": float(np.hypot(*reach)),
            "You exchanged the two spacings: the first is the one down.": float(
                np.hypot(reach[0] * across, reach[1] * down)
            ),
            "You took the longer side of the mask's box: a diameter may be oblique.": float(
                max(reach[0] * down, reach[1] * across)
            ),
            "You measured from edge to edge, not between the centres of two pixels.": float(
                np.hypot((reach[0] + 1) * down, (reach[1] + 1) * across)
            ),
        }
        if down == across == 1:  # here some mistakes are none
            mistakes = dict(list(mistakes.items())[2:])
        found = answer(mask, (down, across))
        message = f"It is wrong for a spacing of ({down}, {across}) mm."
        check.compare(found, right, message, mistakes, tolerance=1e-6)
    disc = np.hypot(*np.indices((21, 21)) - 10.0) <= 8
    check.compare(
        answer(disc, (1.0, 1.0)),
        16.0,
        "A disc of 16 mm has another diameter with you. Do you take the corners of its box?",
        tolerance=1e-6,
    )


def _row_set(rows) -> set[int]:
    rows = np.asarray(rows)
    check.that(
        rows.size == 0 or rows.dtype.kind in "iu", "Return row numbers (whole numbers from 0 on)."
    )
    return {int(row) for row in rows.ravel()}

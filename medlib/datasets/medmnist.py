"""MedMNIST v2: small public sets, read from the published ``.npz`` files."""

import os
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from medlib.datasets import download
from medlib.datasets.registry import DatasetInfo, info
from medlib.datasets.structure import MedicalDataset, Split, drop_shared_images
from medlib.errors import DataError, UsageError

_KEYS = {"train": "train", "validation": "val", "test": "test"}


def load_medmnist(name: str, *, image_size: int = 28, strict: bool = False) -> MedicalDataset:
    """Load a MedMNIST set, fetching it where it is not on this machine.

    A file that is here already is used when its structure is right, with a note when its hash is
    not the published one.

    Parameters
    ----------
    name : str
        Such as ``"breastmnist"``; see :func:`medlib.datasets.names`.
    image_size : {28, 64, 128, 224}
    strict : bool
        Drop the images that stand in an evaluation split as well.

    Returns
    -------
    MedicalDataset
        Official splits; every image is a subject of its own, since MedMNIST does not say whose it
        is. ``table`` has the row in the published split. Labels are those of the card: class 1 of
        two is the finding, also where it was published as class 0.

    Raises
    ------
    UsageError
        If there is no such set or size.
    DataError
        If the file is not what it should be, or does not fit into memory.
    DownloadError
        If the file is not here and cannot be fetched.
    """
    import pooch

    facts = _facts(name, image_size)
    _expect_memory(facts, image_size)
    path = find(name, image_size=image_size) or fetch(name, image_size=image_size)
    splits = _read(path, facts, image_size)
    if pooch.file_hash(path, alg="md5") != facts.files[image_size].md5:
        note = "its hash is not the published one; its structure is right, so it is used"
        warnings.warn(f"{path}: {note}", stacklevel=2)
    with warnings.catch_warnings():
        if strict:
            warnings.simplefilter("ignore")  # of the images that are about to be dropped
        dataset = MedicalDataset(**splits, **facts.about)
    return drop_shared_images(dataset) if strict else dataset


def find(name: str, *, image_size: int = 28) -> Path | None:
    """Look for a set's file on this machine: in the folder ``MEDLIB_DATA``, then in the cache.

    Parameters
    ----------
    name, image_size
        As for :func:`load_medmnist`.

    Returns
    -------
    Path or None

    Raises
    ------
    DataError
        If ``MEDLIB_DATA`` is not a folder.
    """
    file_name = _facts(name, image_size).files[image_size].name
    named = Path(os.environ.get("MEDLIB_DATA") or _cache()).expanduser()
    if not named.is_dir() and named != _cache():
        raise DataError("MEDLIB_DATA", expected="a folder with .npz files", found=str(named))
    paths = (folder / file_name for folder in (named, _cache()))
    return next((path for path in paths if path.is_file()), None)


def fetch(name: str, *, image_size: int = 28) -> Path:
    """Fetch a set's file into the cache, unless it is there.

    Parameters
    ----------
    name, image_size
        As for :func:`load_medmnist`.

    Returns
    -------
    Path

    Raises
    ------
    DownloadError
        If it cannot be fetched; the message says how to place the file by hand.
    """
    published, folder = _facts(name, image_size).files[image_size], _cache()
    return download.fetch(
        published.address,
        folder / published.name,
        md5=published.md5,
        by_hand=f"Without network: get {published.name} from {published.address} on another "
        f"machine, put it into {folder} or any folder, and set MEDLIB_DATA to that folder",
    )


def _facts(name: str, image_size: int) -> DatasetInfo:
    facts = info(name)
    if not facts.files:
        raise UsageError(name, expected="a MedMNIST set", found="a set that is made here")
    if image_size not in facts.files:
        sizes = ", ".join(map(str, facts.sizes))
        raise UsageError(f"{name}: image size", expected=f"one of {sizes}", found=str(image_size))
    return facts


def _cache() -> Path:
    return download.cache_folder() / "medmnist"


def _read(path: Path, facts: DatasetInfo, image_size: int) -> dict[str, Split]:
    colours = (3,) if len(facts.channel_names) == 3 else ()
    splits = {}
    try:
        with np.load(path) as arrays:  # allow_pickle stays False
            for split, key in _KEYS.items():
                images, labels = arrays[f"{key}_images"], arrays[f"{key}_labels"]
                n = facts.counts[split]
                shapes = (n, image_size, image_size, *colours), (n, 1)
                if (images.shape, labels.shape) != shapes or images.dtype != np.uint8:
                    found = f"{images.shape} of {images.dtype} and {labels.shape}"
                    raise ValueError(f"in {split} shapes {found}")
                splits[split] = _split(split, images, labels[:, 0], facts)
    except Exception as error:  # NumPy and zipfile raise anything on damaged files
        raise DataError(
            str(path),
            expected="the published arrays",
            found=" ".join(str(error).split()),
            advice="Delete it and fetch it again",
        ) from error
    return splits


def _split(split: str, images: np.ndarray, labels: np.ndarray, facts: DatasetInfo) -> Split:
    if facts.published_labels:
        labels = np.array(facts.published_labels)[labels]
    scaled = np.divide(images, 255, dtype=np.float32)
    spacing = {"row_spacing_mm": np.nan, "column_spacing_mm": np.nan}  # not published
    return Split(
        images=scaled if scaled.ndim == 4 else scaled[..., np.newaxis],
        labels=labels.astype(np.int64, casting="safe"),
        masks=None,
        boxes=None,
        subjects=np.array([f"{split}-{row:05d}" for row in range(len(images))]),
        table=pd.DataFrame({"row": np.arange(len(images))} | spacing),
    )


def _expect_memory(facts: DatasetInfo, image_size: int) -> None:
    import psutil

    values = sum(facts.counts.values()) * image_size**2 * len(facts.channel_names)
    needed = 5 * values  # float32, and the bytes they come from
    free = psutil.virtual_memory().available
    if needed > free:
        raise DataError(
            f"{facts.name} at {image_size} px",
            expected=f"{needed / 2**30:.1f} GiB of free memory",
            found=f"{free / 2**30:.1f} GiB",
            advice=f"Load a smaller size: {', '.join(map(str, facts.sizes))} px",
        )

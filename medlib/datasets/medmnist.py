"""MedMNIST v2: small public sets, read from the published ``.npz`` files."""

import os
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pandas as pd

from medlib.datasets import download
from medlib.datasets.registry import DatasetInfo, info
from medlib.datasets.structure import MedicalDataset, Split, drop_shared_images
from medlib.errors import DataError, UsageError

_KEYS = {"train": "train", "validation": "val", "test": "test"}


def load_medmnist(
    name: str, *, image_size: int = 28, root: str | Path | None = None, strict: bool = False
) -> MedicalDataset:
    """Load a MedMNIST set, fetching it where it is not on this machine.

    Parameters
    ----------
    name : str
        Such as ``"breastmnist"``; see :func:`medlib.datasets.names`.
    image_size : {28, 64, 128, 224}
    root : str or Path, optional
        Folder to look into first, then ``MEDLIB_DATA``, then the cache. A file found there is used
        when its structure is right, with a note when its hash is not the published one.
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
    path = find(name, image_size=image_size, root=root) or fetch(name, image_size=image_size)
    splits = _read(path, facts, image_size)
    if pooch.file_hash(path, alg="md5") != facts.files[image_size].md5:
        note = "its hash is not the published one; its structure is right, so it is used"
        warnings.warn(f"{path}: {note}", stacklevel=2)
    with warnings.catch_warnings():
        if strict:
            warnings.simplefilter("ignore")  # of the images that are about to be dropped
        dataset = MedicalDataset(**splits, **facts.about)
    return drop_shared_images(dataset) if strict else dataset


def find(name: str, *, image_size: int = 28, root: str | Path | None = None) -> Path | None:
    """Look for a set's file on this machine: in ``root``, in ``MEDLIB_DATA``, in the cache.

    Parameters
    ----------
    name, image_size, root
        As for :func:`load_medmnist`.

    Returns
    -------
    Path or None

    Raises
    ------
    DataError
        If ``root`` or ``MEDLIB_DATA`` is not a folder.
    """
    file_name = _facts(name, image_size).files[image_size].name
    named = {"root": root, "MEDLIB_DATA": os.environ.get("MEDLIB_DATA")}
    folders = {setting: Path(value).expanduser() for setting, value in named.items() if value}
    for setting, folder in folders.items():
        if not folder.is_dir():
            raise DataError(setting, expected="a folder with .npz files", found=str(folder))
    paths = (folder / file_name for folder in (*folders.values(), _cache()))
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
    facts = _facts(name, image_size)
    published, folder = facts.files[image_size], _cache()
    return download.fetch(
        published.address,
        folder / published.name,
        md5=published.md5,
        largest_bytes=_largest_bytes(facts, image_size),
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
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
            if unpacked > _largest_bytes(facts, image_size):
                raise ValueError(f"{unpacked:,} bytes when unpacked")
        with np.load(path) as arrays:  # allow_pickle stays False
            for split, key in _KEYS.items():
                n = facts.counts[split]
                images = _array(
                    path, arrays, f"{key}_images", (n, image_size, image_size, *colours)
                )
                labels = _array(path, arrays, f"{key}_labels", (n, 1))[:, 0]
                splits[split] = _split(split, images, labels, facts)
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, OSError, MemoryError) as error:
        raise DataError(
            str(path),
            expected="a whole .npz file",
            found=f"a damaged one ({error})",
            advice="Delete it and fetch it again",
        ) from error
    return splits


def _array(path: Path, arrays, key: str, shape: tuple[int, ...]) -> np.ndarray:
    if key not in arrays:
        found = f"only {', '.join(sorted(arrays)) or 'other things'}"
        raise DataError(str(path), expected=f"an array {key}", found=found)
    array = arrays[key]
    if array.shape != shape or array.dtype.kind not in "ui":
        raise DataError(
            str(path),
            expected=f"{key} of shape {shape}, whole numbers",
            found=f"shape {array.shape} and dtype {array.dtype}",
        )
    return array


def _split(split: str, images: np.ndarray, labels: np.ndarray, facts: DatasetInfo) -> Split:
    if labels.max() >= len(facts.class_names) or labels.min() < 0:
        raise DataError(
            f"{facts.name}: {split} labels",
            expected=f"0 to {len(facts.class_names) - 1}",
            found=f"{labels.min()} to {labels.max()}",
        )
    if facts.published_labels:
        labels = np.array(facts.published_labels)[labels]
    scaled = np.divide(images, 255, dtype=np.float32)
    spacing = {"row_spacing_mm": np.nan, "column_spacing_mm": np.nan}  # not published
    return Split(
        images=scaled if scaled.ndim == 4 else scaled[..., np.newaxis],
        labels=labels.astype(np.int64),
        masks=None,
        boxes=None,
        subjects=np.array([f"{split}-{row:05d}" for row in range(len(images))]),
        table=pd.DataFrame({"row": np.arange(len(images))} | spacing),
    )


def _largest_bytes(facts: DatasetInfo, image_size: int) -> int:
    """More than a file can have, even if nothing in it is compressed."""
    values = image_size**2 * len(facts.channel_names)
    return sum(facts.counts.values()) * (values + 8) + (1 << 20)


def _expect_memory(facts: DatasetInfo, image_size: int) -> None:
    import psutil

    needed = 5 * _largest_bytes(facts, image_size)  # float32, and the bytes they come from
    free = psutil.virtual_memory().available
    if needed > free:
        raise DataError(
            f"{facts.name} at {image_size} px",
            expected=f"{needed / 2**30:.1f} GiB of free memory",
            found=f"{free / 2**30:.1f} GiB",
            advice=f"Load a smaller size: {', '.join(map(str, facts.sizes))} px",
        )

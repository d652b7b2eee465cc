"""MedMNIST v2: small public sets, read from the published ``.npz`` files."""

import os
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd

from medlib.datasets import download
from medlib.datasets.registry import DatasetInfo, info
from medlib.datasets.structure import MedicalDataset, Split, drop_shared_images
from medlib.errors import DataError, UsageError

_KEYS = {"train": "train", "validation": "val", "test": "test"}


def load(
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
        is. ``table`` has the row in the published split.

    Raises
    ------
    UsageError
        If there is no such set or size.
    DataError
        If the file is not what it should be, or does not fit into memory.
    DownloadError
        If the file is not here and cannot be fetched.
    """
    facts = _facts(name, image_size)
    _expect_memory(facts, image_size)
    path = find(name, image_size=image_size, root=root) or fetch(name, image_size=image_size)
    expect_structure(path, name, image_size=image_size)
    if not is_published(path, name, image_size=image_size):
        note = "its hash is not the published one; its structure is right, so it is used"
        warnings.warn(f"{path}: {note}", stacklevel=2)
    splits = _read(path, facts)
    with warnings.catch_warnings():
        if strict:
            warnings.simplefilter("ignore")  # of the images that are about to be dropped
        dataset = MedicalDataset(
            name=name,
            **splits,
            class_names=facts.class_names,
            channel_names=facts.channel_names,
            spacing_mm=None,
            licence=facts.licence,
            citation=facts.citation,
            card=facts.card,
            official_split=True,
        )
    return drop_shared_images(dataset) if strict else dataset


def find(name: str, *, image_size: int = 28, root: str | Path | None = None) -> Path | None:
    """Look for a set's file on this machine: in ``root``, in ``MEDLIB_DATA``, in the cache.

    Parameters
    ----------
    name, image_size, root
        As for :func:`load`.

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
    for folder in (*folders.values(), _cache()):
        if (folder / file_name).is_file():
            return folder / file_name
    return None


def is_published(path: Path, name: str, *, image_size: int = 28) -> bool:
    """Return whether a file is the published one, byte for byte (MD5)."""
    import pooch

    return pooch.file_hash(path, alg="md5") == _facts(name, image_size).files[image_size].md5


def fetch(name: str, *, image_size: int = 28) -> Path:
    """Fetch a set's file into the cache, unless it is there.

    Parameters
    ----------
    name, image_size
        As for :func:`load`.

    Returns
    -------
    Path

    Raises
    ------
    DownloadError
        If it cannot be fetched; the message says how to place the file by hand.
    """
    facts = _facts(name, image_size)
    published, target = facts.files[image_size], _cache() / facts.files[image_size].name
    return download.fetch(
        published.address,
        target,
        md5=published.md5,
        largest_bytes=_bytes_uncompressed(facts, image_size) + (1 << 20),
        by_hand=f"Without network: get {published.name} from {published.address} on another "
        f"machine, put it into {target.parent} or any folder, and set MEDLIB_DATA to that folder",
    )


def expect_structure(path: Path, name: str, *, image_size: int) -> None:
    """Check that a file has the arrays of a set, without decompressing them.

    Raises
    ------
    DataError
        Naming the file and the first array that is not as published.
    """
    facts = _facts(name, image_size)
    headers = _headers(path)
    colours = (3,) if len(facts.channel_names) == 3 else ()
    for split, count in facts.counts.items():
        image_shape = (count, image_size, image_size, *colours)
        for key, shape, dtypes in (
            (f"{_KEYS[split]}_images", image_shape, ("uint8",)),
            (f"{_KEYS[split]}_labels", (count, 1), ("uint8", "int32", "int64")),
        ):
            if key not in headers:
                found = f"only {', '.join(sorted(headers)) or 'other things'}"
                raise DataError(str(path), expected=f"an array {key}", found=found)
            found_shape, found_dtype = headers[key]
            if found_shape != shape or str(found_dtype) not in dtypes:
                raise DataError(
                    str(path),
                    expected=f"{key} of shape {shape} and dtype {' or '.join(dtypes)}",
                    found=f"shape {found_shape} and dtype {found_dtype}",
                    advice=f"Is this {name} at {image_size} px?",
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


def _headers(path: Path) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Return shape and dtype of every array in a file, without decompressing the arrays."""
    headers = {}
    with _readable(path), zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.endswith(".npy"):
                with archive.open(name) as member:
                    version = np.lib.format.read_magic(member)
                    read = getattr(np.lib.format, f"read_array_header_{version[0]}_0", None)
                    if read is None:
                        raise ValueError(f"{name} has format version {version}")
                    shape, _, dtype = read(member)
                headers[name.removesuffix(".npy")] = (shape, dtype)
    return headers


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn what a damaged file makes zipfile and numpy raise into one clear error."""
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, OSError) as error:
        raise DataError(
            str(path),
            expected="a whole .npz file",
            found=f"a damaged one ({error})",
            advice="Delete it and fetch it again",
        ) from error


def _read(path: Path, facts: DatasetInfo) -> dict[str, Split]:
    with _readable(path), np.load(path) as arrays:  # allow_pickle stays False
        return {
            split: _split(split, arrays[f"{key}_images"], arrays[f"{key}_labels"][:, 0], facts)
            for split, key in _KEYS.items()
        }


def _split(split: str, images: np.ndarray, labels: np.ndarray, facts: DatasetInfo) -> Split:
    if labels.max() >= len(facts.class_names) or labels.min() < 0:
        raise DataError(
            f"{facts.name}: {split} labels",
            expected=f"0 to {len(facts.class_names) - 1}",
            found=f"{labels.min()} to {labels.max()}",
        )
    scaled = np.divide(images, 255, dtype=np.float32)
    return Split(
        images=scaled if scaled.ndim == 4 else scaled[..., np.newaxis],
        labels=labels.astype(np.int64),
        masks=None,
        subjects=np.array([f"{split}-{row:05d}" for row in range(len(images))]),
        table=pd.DataFrame({"row": np.arange(len(images))}),
    )


def _bytes_uncompressed(facts: DatasetInfo, image_size: int) -> int:
    values = image_size**2 * len(facts.channel_names)
    return sum(facts.counts.values()) * (values + 8)


def _expect_memory(facts: DatasetInfo, image_size: int) -> None:
    import psutil

    needed = 5 * _bytes_uncompressed(facts, image_size)  # float32, and the bytes they come from
    free = psutil.virtual_memory().available
    if needed > free:
        raise DataError(
            f"{facts.name} at {image_size} px",
            expected=f"{needed / 2**30:.1f} GiB of free memory",
            found=f"{free / 2**30:.1f} GiB",
            advice=f"Load a smaller size: {', '.join(map(str, facts.sizes))} px",
        )

"""The one data structure: every loader returns it, every lesson, model and metric takes it."""

import hashlib
import warnings
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from medlib.errors import DataError

SPLIT_NAMES = ("train", "validation", "test")


@dataclass(frozen=True)
class Split:
    """Images with everything known about each, row by row.

    Parameters
    ----------
    images : ndarray of float32, shape (n, height, width, channels), values in [0, 1]
        A stack of consecutive slices adds depth: (n, depth, height, width, channels).
    labels : ndarray of int64, shape (n,)
        Index into the data set's ``class_names``.
    masks : ndarray of int8, shape ``images.shape[:-1]``, or None
        0 background, 1 and more structures, -1 everywhere in an image that nobody has annotated.
    boxes : ndarray of object, shape (n,), or None
        For each image a float32 array (k, 4) of (row_min, col_min, row_max, col_max), or None.
    subjects : ndarray of str, shape (n,)
        Whose image it is. No subject is in two splits.
    table : DataFrame with n rows
        One row an image: spacing, scanner, covariates, file name, tumour size ...

    Raises
    ------
    DataError
        If a shape, dtype, range or count is wrong; the message names the first rows concerned.
    """

    images: np.ndarray
    labels: np.ndarray
    masks: np.ndarray | None
    boxes: np.ndarray | None
    subjects: np.ndarray
    table: pd.DataFrame

    def __post_init__(self):
        n = len(self.images)
        _expect(n > 0, "images", "at least one image", "none")
        _expect(
            self.images.ndim in (4, 5) and 0 not in self.images.shape,
            "images",
            "shape (n, height, width, channels) or (n, depth, height, width, channels)",
            f"shape {self.images.shape}",
        )
        _expect_dtype("images", self.images, np.float32)
        _expect_dtype("labels", self.labels, np.int64)
        _expect(self.labels.shape == (n,), "labels", f"shape ({n},)", f"{self.labels.shape}")
        _expect(self.subjects.shape == (n,), "subjects", f"shape ({n},)", f"{self.subjects.shape}")
        _expect(
            self.subjects.dtype.kind == "U", "subjects", "an array of str", f"{self.subjects.dtype}"
        )
        _expect(len(self.table) == n, "table", f"{n} rows", f"{len(self.table)}")
        if self.masks is not None:
            _expect_dtype("masks", self.masks, np.int8)
            shape = self.images.shape[:-1]
            _expect(self.masks.shape == shape, "masks", f"shape {shape}", f"{self.masks.shape}")
        lowest, highest = _ranges(self.images)
        _expect_no_rows(
            "images", "finite values", ~np.isfinite(lowest + highest), "NaN or infinity"
        )
        outside = (lowest < 0) | (highest > 1)
        _expect_no_rows("images", "values in [0, 1]", outside, "values outside")

    def __len__(self) -> int:
        return len(self.images)

    def take(self, rows: np.ndarray) -> "Split":
        """Return the split that holds only these rows (indices or a boolean array)."""
        return Split(
            images=self.images[rows],
            labels=self.labels[rows],
            masks=None if self.masks is None else self.masks[rows],
            boxes=None if self.boxes is None else self.boxes[rows],
            subjects=self.subjects[rows],
            table=self.table.iloc[rows].reset_index(drop=True),
        )


@dataclass(frozen=True)
class MedicalDataset:
    """Three splits of one data set, and what a reader must know about it.

    Parameters
    ----------
    name : str
    train, validation, test : Split
    class_names, channel_names : tuple of str
    licence, citation, card : str
        ``card`` is the text a user should read before drawing conclusions.
    official_split : bool
        True for a public set whose published splits are kept: images found in two splits are
        warned about instead of refused.

    Raises
    ------
    DataError
        If the splits do not fit each other, a label has no class name, or a subject or an
        identical image stands in two splits.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    class_names: tuple[str, ...]
    channel_names: tuple[str, ...]
    licence: str
    citation: str
    card: str
    official_split: bool = field(default=False, kw_only=True)

    def __post_init__(self):
        _expect(
            len(self.class_names) >= 2 and len(set(self.class_names)) == len(self.class_names),
            f"{self.name}: class_names",
            "two or more different names",
            f"{self.class_names}",
        )
        for name, split in self.splits.items():
            where = f"{self.name}: {name}"
            shape = self.train.images.shape[1:]
            _expect(
                split.images.shape[1:] == shape,
                f"{where} images",
                f"shape (n, {', '.join(map(str, shape))})",
                f"{split.images.shape}",
            )
            channels = split.images.shape[-1]
            _expect(
                channels == len(self.channel_names),
                f"{where} images",
                f"one channel for each of {self.channel_names}",
                f"{channels} channels",
            )
            wrong = (split.labels < 0) | (split.labels >= len(self.class_names))
            _expect_no_rows(
                f"{where} labels", f"0 to {len(self.class_names) - 1}", wrong, "other labels"
            )
        self._expect_disjoint("subject", lambda split: split.subjects)
        self._expect_disjoint("identical image", lambda split: image_hashes(split.images))

    @property
    def splits(self) -> dict[str, Split]:
        """The three splits by name."""
        return {name: getattr(self, name) for name in SPLIT_NAMES}

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Shape of one image, channels last."""
        return self.train.images.shape[1:]

    def summary(self) -> pd.DataFrame:
        """Count images and subjects: one row a split, one column a class."""
        rows = {}
        for name, split in self.splits.items():
            counts = np.bincount(split.labels, minlength=len(self.class_names))
            rows[name] = dict(zip(self.class_names, counts, strict=True))
            rows[name] |= {"images": len(split), "subjects": len(np.unique(split.subjects))}
        return pd.DataFrame(rows).T

    def _expect_disjoint(self, what: str, keys_of) -> None:
        keys = {name: keys_of(split) for name, split in self.splits.items()}
        for first, second in (("train", "validation"), ("train", "test"), ("validation", "test")):
            shared = np.isin(keys[second], keys[first])
            if not shared.any():
                continue
            found = f"{_rows(shared)} of {second} also in {first}"
            if self.official_split:
                message = f"{self.name}: the official splits share the same {what}: {found}"
                warnings.warn(message, stacklevel=4)
            else:
                advice = "Put them in one split; strict=True drops the later copies of a public set"
                raise DataError(
                    self.name, expected=f"no {what} in two splits", found=found, advice=advice
                )


def drop_shared_images(dataset: MedicalDataset) -> MedicalDataset:
    """Return the data set without the images that stand in an evaluation split as well.

    An image of the training split that is also in validation or test is dropped from training, and
    one of validation that is also in test is dropped from validation: the test set stays as it was
    published.

    Parameters
    ----------
    dataset : MedicalDataset

    Returns
    -------
    MedicalDataset
        With ``official_split`` False, so that its splits are proven disjoint.
    """
    hashes = {name: image_hashes(split.images) for name, split in dataset.splits.items()}
    later = np.concatenate([hashes["validation"], hashes["test"]])
    return replace(
        dataset,
        train=dataset.train.take(~np.isin(hashes["train"], later)),
        validation=dataset.validation.take(~np.isin(hashes["validation"], hashes["test"])),
        official_split=False,
    )


def image_hashes(images: np.ndarray) -> np.ndarray:
    """Hash each image's values: equal hashes, identical images.

    Parameters
    ----------
    images : ndarray, shape (n, ...)

    Returns
    -------
    ndarray of str, shape (n,)
    """
    digests = [hashlib.blake2b(image.tobytes(), digest_size=16).hexdigest() for image in images]
    return np.array(digests, dtype="U32")


def _ranges(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    flat = images.reshape(len(images), -1)
    return flat.min(axis=1), flat.max(axis=1)


def _expect(condition: bool, subject: str, expected: str, found: str) -> None:
    if not condition:
        raise DataError(subject, expected=expected, found=found)


def _expect_dtype(subject: str, array: np.ndarray, dtype: type) -> None:
    _expect(array.dtype == dtype, subject, f"dtype {np.dtype(dtype)}", f"{array.dtype}")


def _expect_no_rows(subject: str, expected: str, wrong: np.ndarray, found: str) -> None:
    if wrong.any():
        raise DataError(subject, expected=expected, found=f"{found} in {_rows(wrong)}")


def _rows(chosen: np.ndarray, shown: int = 5) -> str:
    rows = np.flatnonzero(chosen)
    more = f" and {len(rows) - shown} more" if len(rows) > shown else ""
    return f"row{'s' if len(rows) > 1 else ''} {', '.join(map(str, rows[:shown]))}{more}"

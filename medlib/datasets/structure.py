"""The one data structure: every loader returns it, every lesson, model and metric takes it."""

import hashlib
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace

import numpy as np
import pandas as pd

from medlib.errors import DataError
from medlib.preprocessing import join_groups, split_by_subject
from medlib.preprocessing.splitting import SPLIT_NAMES

SHOWN = 5
"""An error about many rows or files lists this many of them."""


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
        0 background, 1 and above a structure, -1 everywhere in an image that nobody has annotated:
        no mask is not an empty mask.
    boxes : ndarray of object, shape (n,), or None
        For each image an array of float32, shape (k, 4), one row a lesion: first row, first column,
        last row + 1 and last column + 1, in pixels; or None, where nobody has annotated it.
    subjects : ndarray of str, shape (n,)
        Whose image it is. No subject is in two splits.
    table : DataFrame with n rows
        One row an image: ``row_spacing_mm`` and ``column_spacing_mm``, the distances between
        neighbouring rows and columns of pixels in ``images`` (NaN: not known), scanner,
        covariates, file name, tumour size ...

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
        for name, dtype, shape in (
            ("images", np.float32, self.images.shape),
            ("labels", np.int64, (n,)),
            ("masks", np.int8, self.images.shape[:-1]),
            ("boxes", np.object_, (n,)),
            ("subjects", np.str_, (n,)),
        ):
            array = getattr(self, name)
            if array is not None:
                right = np.issubdtype(array.dtype, dtype)
                _expect(right, name, f"dtype {np.dtype(dtype).name}", f"{array.dtype}")
                _expect(array.shape == shape, name, f"shape {shape}", f"{array.shape}")
        _expect(len(self.table) == n, "table", f"{n} rows", f"{len(self.table)}")
        lowest, highest = _ranges(self.images)
        bad = ~np.isfinite(lowest + highest)
        _expect_no_rows("images", "finite values", bad, "NaN or infinity")
        outside = (lowest < 0) | (highest > 1)
        _expect_no_rows("images", "values in [0, 1]", outside, "values outside")
        if self.masks is not None:
            lowest, highest = _ranges(self.masks)
            mixed = (lowest < 0) & ((lowest < -1) | (highest > -1))
            _expect_no_rows("masks", "0 and above, or -1 everywhere", mixed, "other values")
        if self.boxes is not None:
            size = self.images.shape[-3:-1]
            wrong = np.array([not _are_boxes(boxes, size) for boxes in self.boxes])
            expected = f"None or float32 (k, 4), not empty, within {size}"
            _expect_no_rows("boxes", expected, wrong, "others")

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


@dataclass(frozen=True, kw_only=True)
class About:
    """What a reader must know about a data set.

    Parameters
    ----------
    name : str
    class_names, channel_names : tuple of str
        Class 1 of two is the finding.
    licence, citation, card : str
        ``card`` is the text a user should read before drawing conclusions.
    official_split : bool
        True for a public set whose published splits are kept: images found in two splits are
        warned about instead of refused.
    """

    name: str
    class_names: tuple[str, ...]
    channel_names: tuple[str, ...]
    licence: str
    citation: str
    card: str
    official_split: bool = False

    @property
    def about(self) -> dict:
        """These facts by name, for another object about the same data."""
        return {fact.name: getattr(self, fact.name) for fact in fields(About)}

    def _check(self, where: str, split: Split) -> None:
        """Raise DataError unless images and labels fit the names of channels and classes."""
        names, channels = self.class_names, self.channel_names
        different = len(set(names)) == len(names) > 0
        _expect(different, f"{where} class_names", "one or more different names", f"{names}")
        expected, found = f"one channel for each of {channels}", split.images.shape[-1]
        _expect(found == len(channels), f"{where} images", expected, f"{found} channels")
        wrong = (split.labels < 0) | (split.labels >= len(names))
        _expect_no_rows(f"{where} labels", f"0 to {len(names) - 1}", wrong, "other labels")


@dataclass(frozen=True, kw_only=True)
class MedicalDataset(About):
    """Three splits of one data set, and what a reader must know about it.

    Parameters
    ----------
    train, validation, test : Split
    name, class_names, channel_names, licence, citation, card, official_split
        As of :class:`About`.

    Raises
    ------
    DataError
        If the splits do not fit each other, a label has no class name, or a subject or an
        identical image stands in two splits.
    """

    train: Split
    validation: Split
    test: Split

    def __post_init__(self):
        expected = f"shape (n, {', '.join(map(str, self.image_shape))})"
        for name, split in self.splits.items():
            self._check(f"{self.name}: {name}", split)
            found = split.images.shape
            right = found[1:] == self.image_shape
            _expect(right, f"{self.name}: {name} images", expected, f"{found}")
        self._check_disjoint("subject", [split.subjects for split in self.splits.values()])
        hashes = [image_hashes(split.images) for split in self.splits.values()]
        self._check_disjoint("identical image", hashes)

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

    def _check_disjoint(self, what: str, keys: list[np.ndarray]) -> None:
        """Refuse, or warn of, keys that stand in two splits."""
        splits = self.splits.values()
        names = [
            split.table.get("image", [f"row {row}" for row in range(len(split))])
            for split in splits
        ]
        split_of = np.repeat(SPLIT_NAMES, [len(split) for split in splits])
        shared = of_several(np.concatenate(keys), split_of, np.concatenate(names))
        if not shared:
            return
        found = some(shared)
        if self.official_split:
            warnings.warn(f"{self.name}: the official splits share the same {what}: {found}")  # noqa: B028
        else:
            raise DataError(
                self.name,
                expected=f"no {what} in two splits",
                found=found,
                advice="Put them in one split; strict=True drops the earlier copy of a public set",
            )


@dataclass(frozen=True, kw_only=True)
class Images(About):
    """Everything that was read from one source, not split yet.

    Parameters
    ----------
    all : Split
        Every image.
    groups : ndarray of str, shape (n,)
        Who must stay together: the subject, joined with others of whom an identical image is there,
        or, where subjects are not known, images that look alike.
    given_split : ndarray of str, shape (n,), or None
        "train", "validation" or "test", where the source says it.
    name, class_names, channel_names, licence, citation, card, official_split
        As of :class:`About`.
    """

    all: Split
    groups: np.ndarray
    given_split: np.ndarray | None

    def __post_init__(self):
        self._check(self.name, self.all)

    def take(self, rows: np.ndarray) -> "Images":
        """Return only these images (indices or a boolean array)."""
        given = None if self.given_split is None else self.given_split[rows]
        return replace(self, all=self.all.take(rows), groups=self.groups[rows], given_split=given)

    def split(self, seed: int = 0) -> MedicalDataset:
        """Split as the source says, else by groups: 70, 15 and 15 %, see ``split_by_subject``.

        Raises
        ------
        DataError
            If a split or a class in training is missing, a subject or an identical image is in two
            of the source's splits, or a class has fewer than three groups.
        """
        labels = np.array(self.class_names)[self.all.labels]
        split_of = self.given_split
        if split_of is None:
            split_of = split_by_subject(self.groups, labels, seed=seed)
        column = f"{self.name}, column split"
        missing = [name for name in SPLIT_NAMES if name not in split_of]
        _expect(not missing, column, "train, validation and test", f"no {' and no '.join(missing)}")
        untrained = sorted(set(labels) - set(labels[split_of == "train"]))
        _expect(not untrained, column, "images of every class in train", f"no {some(untrained)}")
        splits = {name: self.all.take(np.flatnonzero(split_of == name)) for name in SPLIT_NAMES}
        return MedicalDataset(**splits, **self.about)


def join_splits(dataset: MedicalDataset) -> Images:
    """Return the images of all three splits, which stay the ``given_split``."""
    splits = list(dataset.splits.values())
    joined = {}
    for name in ("images", "labels", "masks", "boxes", "subjects"):
        parts = [getattr(split, name) for split in splits]
        joined[name] = None if parts[0] is None else np.concatenate(parts)
    table = pd.concat([split.table for split in splits], ignore_index=True)
    groups = join_groups(joined["subjects"], image_hashes(joined["images"]))
    return Images(
        all=Split(**joined, table=table),
        groups=joined["subjects"][groups],
        given_split=np.repeat(SPLIT_NAMES, [len(split) for split in splits]),
        **dataset.about,
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


def of_several(keys: np.ndarray, values: np.ndarray, names: np.ndarray) -> list[str]:
    """Write out the rows of each key that has several values: ``a.png (train), b.png (test)``."""
    rows = pd.DataFrame({"key": keys, "value": values, "name": names})
    rows = rows[rows.groupby("key")["value"].transform("nunique") > 1]
    texts = rows["name"] + " (" + rows["value"] + ")"
    return [", ".join(group) for _, group in texts.groupby(rows["key"], sort=False)]


def some(things: Iterable[object]) -> str:
    """Write out the first five things and how many more there are."""
    things = [str(thing) for thing in things]
    more = f" and {len(things) - SHOWN} more" if len(things) > SHOWN else ""
    return "; ".join(things[:SHOWN]) + more


def _ranges(arrays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    flat = arrays.reshape(len(arrays), -1)
    return flat.min(axis=1), flat.max(axis=1)


def _are_boxes(boxes: np.ndarray | None, size: tuple[int, ...]) -> bool:
    if boxes is None:
        return True
    if getattr(boxes, "dtype", None) != np.float32 or boxes.ndim != 2 or boxes.shape[1] != 4:
        return False
    first, last = boxes[:, :2], boxes[:, 2:]
    return bool(((first >= 0) & (first < last) & (last <= size)).all())


def _expect(condition: bool, subject: str, expected: str, found: str) -> None:
    if not condition:
        raise DataError(subject, expected=expected, found=found)


def _expect_no_rows(subject: str, expected: str, wrong: np.ndarray, found: str) -> None:
    _expect(not wrong.any(), subject, expected, f"{found} in row {some(np.flatnonzero(wrong))}")

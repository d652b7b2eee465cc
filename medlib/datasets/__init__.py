"""Everything that turns files or a simulation into a :class:`MedicalDataset`.

>>> from medlib import datasets
>>> datasets.names()                                # doctest: +SKIP
>>> datasets.load("simbrain")                       # doctest: +SKIP
>>> datasets.from_folder("scans/labels.csv")        # doctest: +SKIP
"""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from medlib.datasets.folder import from_folder, load_images, read_folder
from medlib.datasets.listing import choose_classes
from medlib.datasets.registry import info, names
from medlib.datasets.structure import Images, MedicalDataset, Split, join_splits
from medlib.errors import DataError, UsageError

__all__ = [
    "Images",
    "MedicalDataset",
    "Split",
    "from_folder",
    "info",
    "load",
    "load_images",
    "names",
    "read",
    "read_folder",
    "read_for",
    "resolve",
]


def load(
    name: str,
    *,
    image_size: int | None = None,
    root: str | Path | None = None,
    strict: bool = False,
    seed: int = 0,
) -> MedicalDataset:
    """Load a data set by its name.

    Parameters
    ----------
    name : str
        "simbrain", which is made on this machine, or a public set such as "breastmnist", which is
        fetched once; see :func:`names`.
    image_size : int, optional
        Height and width, pixels. By default 64 for simbrain and 28 for MedMNIST.
    root : str or Path, optional
        Folder that holds a public set's file already.
    strict : bool
        Drop the images that stand in two splits of a public set.
    seed : int
        Of simbrain's virtual patients. Public sets have nothing random.

    Returns
    -------
    MedicalDataset

    Raises
    ------
    UsageError
        If there is no set of that name or size.
    DataError, DownloadError
        If its file cannot be had, or is not what it should be.
    """
    if name not in names():
        raise _unknown(name, f"one of {', '.join(names())}")
    size = {} if image_size is None else {"image_size": image_size}
    if name == "simbrain":
        from medlib.datasets.simbrain import load_simbrain

        return load_simbrain(**size, seed=seed)
    from medlib.datasets.medmnist import load_medmnist

    return load_medmnist(name, **size, root=root, strict=strict)


def read(
    data: str | Path,
    *,
    image_size: int | None = None,
    window: tuple[float, float] | None = None,
    merge: Mapping[str, Iterable[str]] | None = None,
    classes: Sequence[str] | None = None,
    positive: str | None = None,
    channels: int | None = None,
    root: str | Path | None = None,
    strict: bool = False,
    seed: int = 0,
) -> Images:
    """Read whatever a user names, without splitting it: a data set, a CSV or a folder.

    The name of a data set means that set, also where a folder is called so; ``./breastmnist`` is
    the folder.

    Parameters
    ----------
    data : str or Path
    image_size, window, channels
        As for :func:`read_folder`; a data set has neither window nor channels.
    merge, classes, positive
        As for :func:`read_folder`; of a data set by name as well.
    root, strict, seed
        As for :func:`load`.

    Returns
    -------
    Images
        Those of a data set keep its splits as ``given_split``.

    Raises
    ------
    UsageError
        If there is neither such a file nor such a data set, or an argument cannot be used with it.
    DataError, DownloadError
        As :func:`load` and :func:`read_folder`.
    """
    choice = {"merge": merge, "classes": classes, "positive": positive}
    if _is_own(data):
        size = {} if image_size is None else {"image_size": image_size}
        return read_folder(data, **size, window=window, channels=channels, **choice)
    if window is not None or channels is not None:
        argument = "window" if window is not None else "channels"
        raise UsageError(argument, expected="a CSV or a folder to use it with", found=str(data))
    dataset = load(str(data), image_size=image_size, root=root, strict=strict, seed=seed)
    images = join_splits(dataset)
    if not (merge or classes or positive):
        return images
    return _with_classes(images, *choose_classes(images.class_names, **choice))


def resolve(data: str | Path, *, seed: int = 0, **options) -> MedicalDataset:
    """Load whatever a user names, split: as the data says, else by subject.

    Parameters
    ----------
    data, **options
        As for :func:`read`.
    seed : int
        Of simbrain's patients, and of the splits of your own images.

    Returns
    -------
    MedicalDataset
    """
    return read(data, seed=seed, **options).split(seed)


def read_for(
    data: str | Path,
    *,
    class_names: tuple[str, ...],
    image_size: int,
    channels: int,
    merge: Mapping[str, Iterable[str]] | None = None,
    classes: Sequence[str] | None = None,
    window: tuple[float, float] | None = None,
) -> Images:
    """Read images to measure a trained network on: nothing is split, and classes are its own.

    Parameters
    ----------
    data : str or Path
        As for :func:`read`.
    class_names : tuple of str
        The network's classes. Some may be missing.
    image_size, channels : int
        What the network takes.
    merge, classes, window
        As the network's training data was read.

    Returns
    -------
    Images

    Raises
    ------
    DataError
        If a label is none of the classes, and as :func:`read`.
    """
    if _is_own(data):
        return read_folder(
            data,
            image_size=image_size,
            window=window,
            merge=merge,
            classes=classes,
            class_names=class_names,
            channels=channels if channels in (1, 3) else None,
        )
    images = read(data, image_size=image_size)
    known = {label: name for name, members in (merge or {}).items() for label in members}
    class_of = {label: known.get(label, label) for label in images.class_names}
    if classes is None and not set(class_of.values()) <= set(class_names):
        expected, found = ", ".join(class_names), ", ".join(images.class_names)
        raise DataError(f"{data}: classes", expected=expected, found=found)
    return _with_classes(images, class_names, class_of)


def _is_own(data: str | Path) -> bool:
    if isinstance(data, str) and data in names():
        return False
    if not Path(data).exists():
        raise _unknown(str(data), f"a CSV file, a folder, or one of {', '.join(names())}")
    return True


def _unknown(name: str, expected: str) -> UsageError:
    near = difflib.get_close_matches(name.lower(), names(), n=1)
    advice = f"Did you mean {near[0]}?" if near else ""
    return UsageError(f"data set {name!r}", expected=expected, advice=advice)


def _with_classes(
    images: Images, class_names: tuple[str, ...], class_of: Mapping[str, str]
) -> Images:
    """Join and choose classes of images that are in memory already."""
    new_label = np.array(
        [
            class_names.index(class_of[name]) if class_of.get(name) in class_names else -1
            for name in images.class_names
        ]
    )
    labels = new_label[images.all.labels]
    kept = np.flatnonzero(labels >= 0)
    if not len(kept):
        raise DataError(images.name, expected=f"images of {class_names}", found="none")
    given_split = None if images.given_split is None else images.given_split[kept]
    return replace(
        images,
        all=replace(images.all.take(kept), labels=labels[kept].astype(np.int64)),
        groups=images.groups[kept],
        given_split=given_split,
        class_names=class_names,
    )

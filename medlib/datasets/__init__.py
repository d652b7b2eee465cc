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

from medlib.datasets.folder import from_folder
from medlib.datasets.listing import choose_classes
from medlib.datasets.registry import info, names
from medlib.datasets.structure import MedicalDataset, Split
from medlib.errors import DataError, UsageError

__all__ = ["MedicalDataset", "Split", "from_folder", "info", "load", "names", "resolve"]


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
    from medlib.datasets import medmnist

    return medmnist.load(name, **size, root=root, strict=strict)


def resolve(
    data: str | Path,
    *,
    image_size: int | None = None,
    root: str | Path | None = None,
    strict: bool = False,
    window: tuple[float, float] | None = None,
    merge: Mapping[str, Iterable[str]] | None = None,
    classes: Sequence[str] | None = None,
    channels: int | None = None,
    seed: int = 0,
) -> MedicalDataset:
    """Load whatever a user names: a CSV or a folder that exists, or a data set.

    Parameters
    ----------
    data : str or Path
    image_size, seed
        As for :func:`load` and :func:`from_folder`.
    root, strict
        As for :func:`load`.
    window, channels
        As for :func:`from_folder`.
    merge, classes
        Join labels, keep some; of a data set by name as well.

    Returns
    -------
    MedicalDataset

    Raises
    ------
    UsageError
        If there is neither such a file nor such a data set, or an argument cannot be used with it.
    """
    if Path(data).exists():
        size = {} if image_size is None else {"image_size": image_size}
        return from_folder(
            data,
            **size,
            window=window,
            merge=merge,
            classes=classes,
            channels=channels,
            seed=seed,
        )
    if str(data) not in names():
        raise _unknown(str(data), f"a CSV file, a folder, or one of {', '.join(names())}")
    if window is not None or channels is not None:
        argument = "window" if window is not None else "channels"
        raise UsageError(argument, expected="a CSV or a folder to use it with", found=str(data))
    dataset = load(str(data), image_size=image_size, root=root, strict=strict, seed=seed)
    return _with_classes(dataset, merge, classes) if merge or classes else dataset


def _unknown(name: str, expected: str) -> UsageError:
    near = difflib.get_close_matches(name.lower(), names(), n=1)
    advice = f"Did you mean {near[0]}?" if near else ""
    return UsageError(f"data set {name!r}", expected=expected, advice=advice)


def _with_classes(dataset: MedicalDataset, merge, classes) -> MedicalDataset:
    """Join and choose classes of a data set that is in memory already."""
    class_names, class_of = choose_classes(dataset.class_names, merge=merge, classes=classes)
    new_label = np.array(
        [
            class_names.index(class_of[name]) if name in class_of else -1
            for name in dataset.class_names
        ]
    )
    splits = {}
    for name, split in dataset.splits.items():
        labels = new_label[split.labels]
        kept = np.flatnonzero(labels >= 0)
        if not len(kept):
            raise DataError(
                f"{dataset.name}: {name}", expected=f"images of {class_names}", found="none"
            )
        splits[name] = replace(split.take(kept), labels=labels[kept].astype(np.int64))
    return replace(dataset, **splits, class_names=class_names)

"""Everything that turns files or a simulation into a :class:`MedicalDataset`.

>>> from medlib import datasets
>>> datasets.names()                                # doctest: +SKIP
>>> datasets.load("simbrain")                       # doctest: +SKIP
>>> datasets.from_folder("scans/labels.csv")        # doctest: +SKIP
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from medlib.datasets.folder import from_folder, load_images, read_folder
from medlib.datasets.listing import choose_classes
from medlib.datasets.registry import info, names
from medlib.datasets.structure import Images, MedicalDataset, Split, join_splits
from medlib.errors import UsageError


def load(
    name: str,
    *,
    image_size: int | None = None,
    depth: int | None = None,
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
    depth : int, optional
        Of simbrain: a stack of so many slices of each patient instead of four slices.
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
        If there is no set of that name, size or depth.
    DataError, DownloadError
        If its file cannot be had, or is not what it should be.
    """
    info(name)  # refuses a name that is not known
    size = {} if image_size is None else {"image_size": image_size}
    if name == "simbrain":
        from medlib.datasets.simbrain import load_simbrain

        stacks = {} if depth is None else {"depth": depth, "slices_per_subject": 1}
        return load_simbrain(**size, **stacks, seed=seed)
    if depth is not None:
        raise UsageError("depth", expected="volumes", found=f"{name}, which has single images")
    from medlib.datasets.medmnist import load_medmnist

    return load_medmnist(name, **size, strict=strict)


def read(
    data: str | Path,
    *,
    image_size: int | None = None,
    depth: int | None = None,
    window: tuple[float, float] | None = None,
    channels: int | None = None,
    every_slice: bool = False,
    strict: bool = False,
    seed: int = 0,
    **choice,
) -> Images:
    """Read whatever a user names, without splitting it: a data set, a CSV or a folder.

    The name of a data set means that set, also where a folder is called so; ``./breastmnist`` is
    the folder.

    Parameters
    ----------
    data : str or Path
    image_size, depth
        As for :func:`read_folder`; of simbrain, ``depth`` is as for :func:`load`.
    window, channels, every_slice
        As for :func:`read_folder`; a data set has no window, and channels and slices of its own.
    strict, seed
        As for :func:`load`.
    **choice
        ``merge``, ``classes``, ``positive``, ``class_names`` and ``least_classes``, as for
        :func:`medlib.datasets.listing.choose_classes`.

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
    if data not in names() and Path(data).exists():
        size = {} if image_size is None else {"image_size": image_size}
        how = {"window": window, "channels": channels, "every_slice": every_slice}
        return read_folder(data, **size, depth=depth, **how, **choice)
    info(str(data))
    if window is not None:
        raise UsageError("window", expected="a CSV or a folder to use it with", found=str(data))
    dataset = load(str(data), image_size=image_size, depth=depth, strict=strict, seed=seed)
    images = join_splits(dataset)
    if not any((choice | {"least_classes": None}).values()):
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


def _with_classes(
    images: Images, class_names: tuple[str, ...], class_of: Mapping[str, str]
) -> Images:
    """Join and choose classes of images that are in memory already."""
    number = [
        class_names.index(class_of[name]) if name in class_of else -1 for name in images.class_names
    ]
    labels = np.array(number, dtype=np.int64)[images.all.labels]
    kept = images.take(labels >= 0)
    return replace(kept, all=replace(kept.all, labels=labels[labels >= 0]), class_names=class_names)

"""Your own images, as a :class:`MedicalDataset`."""

import os
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from medlib.datasets.listing import choose_classes, read_listing, some
from medlib.datasets.reading import ImageFile, read_image, read_mask
from medlib.datasets.structure import SPLIT_NAMES, MedicalDataset, Split, image_hashes
from medlib.errors import DataError, MedlibError, UsageError
from medlib.preprocessing import (
    Fingerprint,
    fingerprint,
    fit_to_square,
    group_near_duplicates,
    join_groups,
    split_by_subject,
)
from medlib.preprocessing import window as look_through

# Weights of red, green and blue in the brightness of a pixel: Recommendation ITU-R BT.601-7, 2.5.1.
LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def from_folder(
    source: str | Path,
    *,
    image_size: int = 64,
    window: tuple[float, float] | None = None,
    merge: Mapping[str, Iterable[str]] | None = None,
    classes: Sequence[str] | None = None,
    channels: int | None = None,
    seed: int = 0,
) -> MedicalDataset:
    """Read images and labels from a CSV or a folder, and split them without leaks.

    *Size.* Images are resized until the longer side fits ``image_size``, then get black borders:
    nothing is stretched. Of a file with several frames or slices the middle one is used.

    *Grey values.* From 0 to 1, see :meth:`medlib.datasets.reading.ImageFile.scaled`: through the
    window given, else the file's own, else by 255 for eight bits, else by percentiles of the image.

    *Splits.* As in the column ``split``; otherwise 70 % of the subjects train, 15 % validate and
    15 % test, with the classes in equal parts. Without the column ``subject``, images that look
    like copies of each other count as one subject; see
    :func:`medlib.preprocessing.group_near_duplicates`.

    Parameters
    ----------
    source : str or Path
        A CSV with the columns ``image,label`` and optionally ``mask,subject,split``, paths
        relative to it; an empty mask means that there is nothing to see. Or a folder with one
        sub-folder for each class, in which ``NAME_mask.png`` is the mask of ``NAME.png``;
        see :func:`medlib.datasets.listing.read_listing`.
    image_size : int
        Height and width, pixels.
    window : tuple of float, optional
        Centre and width, in the unit of the files: (40, 400) shows soft tissue in computed
        tomography.
    merge, classes
        Join labels, keep some; see :func:`medlib.datasets.listing.choose_classes`. Without either,
        classes are in alphabetical order. Class 1 of two is the positive one.
    channels : {1, 3}, optional
        1 for grey, 3 for colour. By default 1 when every image is grey, else 3.
    seed : int
        Of the splits.

    Returns
    -------
    MedicalDataset
        ``table`` has the columns of the CSV, the height and width of each image before, the number
        of its frames and, where the file knows it, ``spacing_mm`` after resizing.

    Raises
    ------
    DataError
        If a file cannot be read, a row is not what it should be, a subject or an identical image is
        in two splits, or there are too few subjects to split.
    UsageError
        If an argument cannot be used.
    """
    if not 8 <= image_size <= 1024:
        raise UsageError("image_size", expected="8 to 1024 pixels", found=str(image_size))
    if channels not in (None, 1, 3):
        raise UsageError("channels", expected="1 or 3", found=str(channels))
    _expect_window(window)
    source = Path(source)
    listing = read_listing(source)
    labels = _in_order(set(listing["label"]))
    if len(labels) < 2:
        raise DataError(str(source), expected="two classes or more", found=f"only {labels[0]!r}")
    class_names, class_of = choose_classes(labels, merge=merge, classes=classes)
    if merge:
        listing["original_label"] = listing["label"]
    listing["label"] = listing["label"].map(class_of)
    listing = listing.dropna(subset="label").reset_index(drop=True)
    loaded = _load_all(source, listing, image_size, window)
    return _assemble(source, listing, loaded, class_names, channels, seed)


def load_images(
    paths: Iterable[str | Path],
    *,
    image_size: int,
    n_channels: int,
    window: tuple[float, float] | None = None,
) -> Iterator[tuple[Path, np.ndarray | MedlibError]]:
    """Read images one by one, as :func:`from_folder` does; a bad one does not stop the others.

    Parameters
    ----------
    paths : iterable of str or Path
    image_size, window
        As for :func:`from_folder`.
    n_channels : {1, 3}

    Yields
    ------
    path : Path
    image : ndarray of float32, shape (image_size, image_size, n_channels), or MedlibError
        The error says what is wrong with the file.
    """
    _expect_window(window)
    for path in map(Path, paths):
        try:
            image, _ = _middle_frame(read_image(path, window=window))
            pixels = fit_to_square(image.scaled(), image_size)
        except MedlibError as error:
            yield path, error
        else:
            yield path, _with_channels(pixels, n_channels)


def _expect_window(window: tuple[float, float] | None) -> None:
    """Refuse a window that no image can be looked at through, before any file is opened."""
    if window is not None:
        look_through(np.zeros(1), *window)


def _in_order(labels: set[str]) -> list[str]:
    """Alphabetical, or by value when all are whole numbers."""
    numbers = all(label.isascii() and label.isdigit() for label in labels)
    return sorted(labels, key=int) if numbers else sorted(labels)


# Loading ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Loaded:
    """One image as it will be in the data set, and what is needed to put it there."""

    pixels: np.ndarray
    mask: np.ndarray | None
    fingerprint: Fingerprint
    facts: dict


def _load_all(
    source: Path, listing: pd.DataFrame, image_size: int, window: tuple[float, float] | None
) -> list[_Loaded]:
    from joblib import Parallel, delayed

    files = [*listing["path"], *(path for paths in listing["mask_paths"] for path in paths)]
    missing = [path for path in files if not path.is_file()]
    if missing:
        found = f"{len(missing)} missing: {some(missing)}"
        raise DataError(str(source), expected="every file it names", found=found)
    jobs = Parallel(n_jobs=os.cpu_count(), backend="threading", return_as="generator")
    rows = zip(listing["path"], listing["mask_paths"], strict=True)
    results = jobs(delayed(_load_or_error)(path, masks, image_size, window) for path, masks in rows)
    results = list(_with_progress(results, len(listing), "reading images"))
    errors = [result for result in results if isinstance(result, MedlibError)]
    if len(errors) == 1:
        raise errors[0]
    if errors:
        found = f"{len(errors)} that are not: {some(errors)}"
        raise DataError(str(source), expected="images that can be used", found=found)
    return results


def _load_or_error(path, mask_paths, image_size, window) -> _Loaded | MedlibError:
    try:
        return _load(path, mask_paths, image_size, window)
    except MedlibError as error:
        return error


def _load(path: Path, mask_paths: tuple[Path, ...], image_size: int, window) -> _Loaded:
    file = read_image(path, window=window)
    image, index = _middle_frame(file)
    scaled = image.scaled()
    if scaled.shape[-1] == 3 and _is_grey(scaled):
        scaled = scaled[..., :1]
    height, width = scaled.shape[:2]
    masks = []
    for mask_path in mask_paths:
        mask = read_mask(mask_path)
        if mask.shape != file.pixels.shape[:-1]:
            expected = f"the size of its image, {_size(file.pixels.shape[:-1])}"
            raise DataError(str(mask_path), expected=expected, found=_size(mask.shape))
        masks.append(mask[index] if mask.ndim == 3 else mask)
    mask = fit_to_square(np.any(masks, axis=0), image_size) if masks else None
    facts = {"original_height": height, "original_width": width, "n_frames": file.n_frames}
    facts["modality"] = file.modality
    facts["spacing_mm"] = np.nan
    if image.spacing_mm is not None and np.isclose(*image.spacing_mm, rtol=1e-3):
        facts["spacing_mm"] = image.spacing_mm[0] * max(height, width) / image_size
    return _Loaded(fit_to_square(scaled, image_size), mask, fingerprint(scaled), facts)


def _middle_frame(file: ImageFile) -> tuple[ImageFile, int]:
    index = file.n_frames // 2
    return file.frame(index), index


def _is_grey(pixels: np.ndarray) -> bool:
    first = pixels[..., 0]
    return bool((pixels[..., 1] == first).all() and (pixels[..., 2] == first).all())


def _with_channels(pixels: np.ndarray, n_channels: int) -> np.ndarray:
    if pixels.shape[-1] == n_channels:
        return pixels
    if n_channels == 1:
        return np.clip(pixels @ LUMINANCE, 0, 1)[..., np.newaxis]
    return np.repeat(pixels, n_channels, axis=-1)


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _with_progress(results: Iterable, total: int, title: str) -> Iterator:
    """Pass results on, with a bar on a terminal when they take longer than two seconds."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    start = time.monotonic()
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(title, total=total, visible=False)
        for result in results:
            progress.update(task, advance=1, visible=time.monotonic() - start > 2)
            yield result


# Assembling ---------------------------------------------------------------------------------------


def _assemble(
    source: Path,
    listing: pd.DataFrame,
    loaded: list[_Loaded],
    class_names: tuple[str, ...],
    channels: int | None,
    seed: int,
) -> MedicalDataset:
    n_channels = channels or max(each.pixels.shape[-1] for each in loaded)
    images = np.stack([_with_channels(each.pixels, n_channels) for each in loaded])
    masks = None
    if any(each.mask is not None for each in loaded):
        nothing = np.zeros(images.shape[1:3], dtype=bool)
        masks = np.stack([nothing if each.mask is None else each.mask for each in loaded])
    split_of, subjects, how = _split(source, listing, images, loaded, seed)
    facts = pd.DataFrame([each.facts for each in loaded])
    table = _tidy(listing).drop(columns=facts.columns, errors="ignore").join(facts)
    labels = np.array([class_names.index(label) for label in listing["label"]], dtype=np.int64)
    everything = Split(images, labels, masks, subjects, table)
    splits = {name: everything.take(np.flatnonzero(split_of == name)) for name in SPLIT_NAMES}
    name = f"{source.resolve().parent.name}/{source.name}" if source.is_file() else source.name
    return MedicalDataset(
        name=name,
        **splits,
        class_names=class_names,
        channel_names=("grey",) if n_channels == 1 else ("red", "green", "blue"),
        spacing_mm=_common_spacing(facts["spacing_mm"]),
        licence="not known: ask whoever gave you the images",
        citation="",
        card=_card(name, facts, images.shape[1], how),
    )


def _split(
    source: Path, listing: pd.DataFrame, images: np.ndarray, loaded: list[_Loaded], seed: int
) -> tuple[np.ndarray, np.ndarray, str]:
    """The split and the subject of every image, and a sentence on how they were found."""
    names = listing["image"].to_numpy(dtype=str)
    labels = listing["label"].to_numpy(dtype=str)
    copies = np.unique(image_hashes(images), return_inverse=True)[1]
    has_subjects = "subject" in listing
    if has_subjects:
        subjects = listing["subject"].to_numpy(dtype=str)
        look_alike = _first_of_each(copies)
        groups = _join(copies, subjects)
    else:
        look_alike = group_near_duplicates([each.fingerprint for each in loaded])
        groups = _join(copies, look_alike)
        subjects = names[groups]
    _warn_of_conflicts(source, names, labels, look_alike)
    n_groups = len(np.unique(groups))
    if "split" in listing:
        split_of = listing["split"].to_numpy(dtype=str)
        _expect_all_splits(source, split_of, labels)
        _expect_in_one_split(source, names, split_of, copies, what="identical images")
        if has_subjects:
            _expect_in_one_split(source, subjects, split_of, subjects, what="subject")
        else:
            subjects = _one_subject_a_split(source, names, split_of, groups)
        return split_of, subjects, "The splits are those of the table."
    try:
        split_of = split_by_subject(names[groups], labels, seed=seed)
    except DataError as error:
        raise DataError(
            f"{source}, {error.subject}",
            expected=error.expected,
            found=error.found,
            advice=error.advice,
        ) from None
    kind = "subjects" if has_subjects else "groups of images that look like copies of each other"
    how = f"{len(names)} images of {n_groups} {kind} were split with seed {seed}, each in one split"
    return split_of, subjects, f"{how}."


def _join(*keys: np.ndarray) -> np.ndarray:
    """Join rows that share any of the keys; the index of the first row of each row's group."""
    n = len(keys[0])
    pairs = [np.column_stack([np.arange(n), _first_of_each(key)]) for key in keys]
    return join_groups(n, np.concatenate(pairs))


def _first_of_each(key: np.ndarray) -> np.ndarray:
    """The index of the first row with the same key."""
    _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
    return first[inverse]


def _warn_of_conflicts(
    source: Path, names: np.ndarray, labels: np.ndarray, groups: np.ndarray
) -> None:
    found = []
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        if len(set(labels[rows])) > 1:
            found.append(" = ".join(f"{names[row]} ({labels[row]})" for row in rows))
    if found:
        warnings.warn(
            f"{source}: images that look the same have different labels. They are kept, in one "
            f"split; look at them and correct the table: {some(found)}",
            stacklevel=5,
        )


def _expect_all_splits(source: Path, split_of: np.ndarray, labels: np.ndarray) -> None:
    missing = [name for name in SPLIT_NAMES if name not in split_of]
    if missing:
        raise DataError(
            f"{source}, column split",
            expected="train, validation and test",
            found=f"no {' and no '.join(missing)}",
            advice="Leave the column out to have the images split by subject",
        )
    untrained = sorted(set(labels) - set(labels[split_of == "train"]))
    if untrained:
        expected = "images of every class in train"
        raise DataError(f"{source}, column split", expected=expected, found=f"no {some(untrained)}")


def _expect_in_one_split(
    source: Path, names: np.ndarray, split_of: np.ndarray, keys: np.ndarray, *, what: str
) -> None:
    found = []
    for key in _in_several_splits(keys, split_of):
        rows = np.flatnonzero(keys == key)
        members = sorted({f"{names[row]} in {split_of[row]}" for row in rows})
        found.append(", ".join(members))
    if found:
        raise DataError(
            f"{source}, column split",
            expected=f"no {what} in two splits",
            found=some(found),
            advice="Put them into one split, or leave the column out",
        )


def _one_subject_a_split(
    source: Path, names: np.ndarray, split_of: np.ndarray, groups: np.ndarray
) -> np.ndarray:
    """Name subjects by group and split; look-alikes in two given splits are warned about."""
    astride = _in_several_splits(groups, split_of)
    if len(astride):
        found = [
            " = ".join(f"{names[row]} ({split_of[row]})" for row in np.flatnonzero(groups == group))
            for group in astride
        ]
        warnings.warn(
            f"{source}: {len(astride)} groups of images that look the same are in two splits, so "
            f"that test results may be too good: {some(found)}",
            stacklevel=6,
        )
    keys = np.char.add(np.char.add(split_of, " "), groups.astype(str))
    return names[_first_of_each(keys)]


def _in_several_splits(keys: np.ndarray, split_of: np.ndarray) -> np.ndarray:
    pairs = pd.DataFrame({"key": keys, "split": split_of}).drop_duplicates()
    counts = pairs["key"].value_counts(sort=False)
    return counts.index[counts > 1].to_numpy()


def _tidy(listing: pd.DataFrame) -> pd.DataFrame:
    """The columns a user knows, with numbers where a column holds only numbers."""
    table = listing.drop(columns=["path", "mask_paths", "split"], errors="ignore").copy()
    for column in table.columns.difference(["image", "label", "mask", "subject"]):
        try:
            table[column] = pd.to_numeric(table[column])
        except (TypeError, ValueError):
            continue
    return table


def _common_spacing(spacings: pd.Series) -> tuple[float, float] | None:
    first = float(spacings.iloc[0])
    return (first, first) if np.allclose(spacings, first, rtol=1e-3) else None


def _card(name: str, facts: pd.DataFrame, image_size: int, how: str) -> str:
    heights, widths = facts["original_height"], facts["original_width"]
    sizes = f"{heights.min()} x {widths.min()} to {heights.max()} x {widths.max()}"
    lines = [
        f"Your own images ({name}): {len(facts)}, of {sizes} pixels, resized to fit "
        f"{image_size} x {image_size} with black borders.",
        how,
        "Borders, burned-in text, the scanner or the hospital may give the class away: look at "
        "what a model looks at before you believe its numbers.",
    ]
    n_stacks = int((facts["n_frames"] > 1).sum())
    if n_stacks:
        lines.insert(1, f"Of {n_stacks} files with several frames, the middle one is used.")
    return " ".join(lines)

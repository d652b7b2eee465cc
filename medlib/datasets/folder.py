"""Your own images, as :class:`Images` or a :class:`MedicalDataset`."""

import os
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from medlib.datasets.listing import BOX_COLUMNS, choose_classes, is_absence, read_listing
from medlib.datasets.reading import ImageFile, read_image, read_mask
from medlib.datasets.structure import Images, MedicalDataset, Split, image_hashes, of_several, some
from medlib.errors import DataError, MedlibError
from medlib.preprocessing import (
    apply_window,
    boxes_from_mask,
    fingerprint,
    fit_to_square,
    group_near_duplicates,
    join_groups,
)
from medlib.preprocessing.duplicates import Fingerprint
from medlib.preprocessing.geometry import fit_boxes
from medlib.progress import progress

NOT_TOLD = ("path", "mask_paths", "split", "boxes")  # in the table of the images
# Weights of red, green and blue in the brightness of a pixel: Recommendation ITU-R BT.601-7, 2.5.1.
LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)
SLICES_AT_MOST = 32  # of a volume, where every slice is an image


def from_folder(source: str | Path, *, seed: int = 0, **options) -> MedicalDataset:
    """Read images and labels from a CSV or a folder, and split them without leaks.

    Splits are as in the column ``split``; otherwise 70 % of the subjects train, 15 % validate and
    15 % test, with the classes in equal parts.

    Parameters
    ----------
    source : str or Path
    seed : int
        Of the splits.
    **options
        As for :func:`read_folder`, which says what can be read and how.

    Returns
    -------
    MedicalDataset

    Raises
    ------
    DataError, UsageError
        As :func:`read_folder` and :meth:`Images.split`.
    """
    return read_folder(source, **options).split(seed)


def read_folder(
    source: str | Path,
    *,
    image_size: int = 64,
    depth: int | None = None,
    window: tuple[float, float] | None = None,
    channels: int | None = None,
    every_slice: bool = False,
    **choice,
) -> Images:
    """Read all images and labels of a CSV or a folder.

    *Size.* Pixels that are not square become square, then images are resized until the longer side
    fits ``image_size``, then get black borders: nothing is stretched. Of a file with several frames
    or slices the middle one is used, or, with ``depth``, a stack of so many, evenly spaced.

    *Grey values.* From 0 to 1, see :meth:`medlib.datasets.reading.ImageFile.scaled`: through the
    window given, else the file's own, else by 255 for eight bits, else by percentiles of the image.

    *Groups.* The column ``subject``. Without it, images that look like copies of each other count
    as one subject; see :func:`medlib.preprocessing.group_near_duplicates`.

    *Masks.* An image without one has not been annotated, unless its label says that there is
    nothing to see (normal, healthy ...).

    Parameters
    ----------
    source : str or Path
        A CSV with the columns ``image,label`` and optionally ``mask,subject,split`` and
        ``x_min,y_min,x_max,y_max`` of boxes, paths relative to it. Or a folder with one sub-folder
        for each class, in which ``NAME_mask.png`` is the mask of ``NAME.png``; see
        :func:`medlib.datasets.listing.read_listing`.
    image_size : int
        Height and width, pixels.
    depth : int, optional
        Slices of a stack: images of shape (n, depth, height, width, channels). Boxes, and what
        tells copies, are of the slice in the middle.
    window : tuple of float, optional
        Centre and width, in the unit of the files: (40, 400) shows soft tissue in computed
        tomography.
    channels : {1, 3}, optional
        1 for grey, 3 for colour. By default 1 when every image is grey, else 3.
    every_slice : bool
        Without ``depth``: of a file with several frames or slices, each becomes an image of its
        own, but those that are one grey value all over; of more than 32, so many, evenly spaced.
        They stay together: one group, one split.
    **choice
        ``merge``, ``classes`` and ``positive``: join labels, keep some, name the finding.
        ``class_names``: the classes of a trained network that is to be measured on all of these
        images; the column ``split`` is not used. ``least_classes``: 1 where labels are not what is
        learnt. See :func:`medlib.datasets.listing.choose_classes`.

    Returns
    -------
    Images
        ``all.table`` has the columns of the CSV, the height and width of each image before, the
        number of its frames and, where the file knows them, the spacings after resizing.

    Raises
    ------
    DataError
        If a file cannot be read or a row is not what it should be.
    UsageError
        If an argument cannot be used.
    """
    if window is not None:
        apply_window(np.zeros(1), *window)  # refuses an impossible one before any file is opened
    source = Path(source)
    listing = read_listing(source)
    labels = _in_order(set(listing["label"]))
    if choice.get("class_names"):  # all of it is measured
        listing = listing.drop(columns="split", errors="ignore")
    elif len(labels) < choice.get("least_classes", 2):
        found = f"only {labels[0]!r}" if labels else "no rows"
        raise DataError(str(source), expected="two classes or more", found=found)
    class_names, class_of = choose_classes(labels, **choice)
    listing["original_label"] = listing["label"]
    listing["label"] = listing["label"].map(class_of)
    listing = listing.dropna(subset="label").reset_index(drop=True)
    if listing.empty:
        raise DataError(str(source), expected=f"images of {', '.join(class_names)}", found="none")
    how = {"image_size": image_size, "depth": depth, "window": window, "every_slice": every_slice}
    files = _load_all(source, listing, how)
    listing = listing.loc[np.repeat(listing.index, [len(each) for each in files])]
    loaded = [each for slices in files for each in slices]
    listing["image"] += [each.slice_name for each in loaded]
    return _assemble(source, listing.reset_index(drop=True), loaded, class_names, channels)


def load_images(
    paths: Iterable[str | Path],
    *,
    image_size: int,
    n_channels: int,
    depth: int | None = None,
    window: tuple[float, float] | None = None,
    every_slice: bool = False,
) -> Iterator[tuple[Path, np.ndarray | MedlibError]]:
    """Read images one by one, as :func:`read_folder` does; a bad one does not stop the others.

    Parameters
    ----------
    paths : iterable of str or Path
    image_size, depth, window
        As for :func:`read_folder`.
    n_channels : {1, 3}
    every_slice : bool
        Every frame or slice of a file, instead of the middle one or a stack.

    Yields
    ------
    path : Path
    images : ndarray of float32, (k, [depth,] image_size, image_size, n_channels), or MedlibError
        One, or every slice as an image of its own. The error says what is wrong with the file.
    """
    for path in map(Path, paths):
        try:
            file = read_image(path, window=window)
            every = map(file.frame, range(file.n_frames))
            chosen = every if every_slice else [_choose_frames(file, depth)[0]]
            where = {"image_size": image_size, "depth": depth, "spacing_mm": _spacing(file)}
            pixels = [_square(each.scaled(), **where) for each in chosen]
        except MedlibError as error:
            yield path, error
        else:
            yield path, np.stack([_with_channels(each, n_channels) for each in pixels])


def _in_order(labels: set[str]) -> list[str]:
    """Alphabetical, or by value when all are whole numbers."""
    numbers = all(label.isascii() and label.isdigit() for label in labels)
    return sorted(labels, key=int) if numbers else sorted(labels)


# Loading ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Loaded:
    """One image as it will be in the data set, and what is needed to put it there."""

    pixels: np.ndarray
    masks: list[np.ndarray]
    boxes: np.ndarray | None
    fingerprint: Fingerprint  # of the file: its slices look alike, and so stay in one group
    facts: dict
    slice_name: str


def _load_all(source: Path, listing: pd.DataFrame, how: dict) -> list[list[_Loaded]]:
    from joblib import Parallel, delayed

    files = [*listing["path"], *(path for paths in listing["mask_paths"] for path in paths)]
    missing = [path for path in files if not path.is_file()]
    if missing:
        found = f"{len(missing)} missing: {some(missing)}"
        raise DataError(str(source), expected="every file it names", found=found)
    jobs = Parallel(n_jobs=os.cpu_count(), backend="threading", return_as="generator")
    rows = zip(listing["path"], listing["mask_paths"], listing["boxes"], strict=True)
    results = jobs(delayed(_load_or_error)(*row, **how) for row in rows)
    results = list(progress(results, len(listing), "reading images"))
    errors = [result for result in results if isinstance(result, MedlibError)]
    if len(errors) == 1:
        raise errors[0]
    if errors:
        found = f"{len(errors)} that are not: {some(errors)}"
        raise DataError(str(source), expected="images that can be used", found=found)
    return results


def _load_or_error(*row, **how) -> list[_Loaded] | MedlibError:
    try:
        return _load(*row, **how)
    except MedlibError as error:
        return error


def _load(path: Path, mask_paths, boxes, *, every_slice, window, **how) -> list[_Loaded]:
    """Return the image of a file, or of several slices each that has something to see."""
    file = read_image(path, window=window)
    masks = [read_mask(mask_path) for mask_path in mask_paths]
    for mask_path, mask in zip(mask_paths, masks, strict=True):
        if mask.shape != file.pixels.shape[:-1]:
            expected = f"the size of its image, {_size(file.pixels.shape[:-1])}"
            raise DataError(str(mask_path), expected=expected, found=_size(mask.shape))
    if boxes is not None and file.n_frames > 1:
        found = f"{file.n_frames} frames or slices"
        raise DataError(str(path), expected="one image, or masks", found=found)
    image, index = _choose_frames(file, how["depth"])
    like = fingerprint(_middle(image.scaled(), how["depth"]))
    chosen, names = [(image, index)], [""]
    if every_slice and how["depth"] is None and file.n_frames > 1:
        numbers = _evenly(file.n_frames, min(file.n_frames, SLICES_AT_MOST))
        numbers = [k for k in numbers if np.ptp(file.frame(k).pixels)] or [index]
        chosen = [(file.frame(k), k) for k in numbers]
        names = [f", slice {k}" for k in numbers]
    return [
        _load_one(
            each,
            [m[k] if m.ndim == 3 else m for m in masks],
            boxes,
            like,
            name,
            n_frames=file.n_frames,
            **how,
        )
        for (each, k), name in zip(chosen, names, strict=True)
    ]


def _load_one(
    image: ImageFile, masks, boxes, like, name, *, n_frames, image_size, depth
) -> _Loaded:
    scaled = image.scaled()
    if scaled.shape[-1] == 3 and (scaled == scaled[..., :1]).all():
        scaled = scaled[..., :1]
    spacing = _spacing(image)
    masks = [_square(mask, image_size, depth, spacing_mm=spacing) for mask in masks]
    height, width = scaled.shape[-3:-1]
    if boxes is not None:
        if (outside := ((boxes < 0) | (boxes > (height, width) * 2)).any(axis=1)).any():
            found = ",".join(f"{number:g}" for number in boxes[outside][0][[1, 0, 3, 2]])
            expected = f"{','.join(BOX_COLUMNS)} within 0,0,{width},{height}"
            raise DataError(str(image.path), expected=expected, found=found)
        boxes = fit_boxes(boxes, (height, width), image_size, spacing_mm=spacing)
    pixel = np.nan
    if image.spacing_mm is not None:
        pixel = max(height * spacing[0], width * spacing[1]) / image_size
    facts = {
        "original_height": height,
        "original_width": width,
        "n_frames": n_frames,
        "modality": image.modality,
        "row_spacing_mm": pixel,
        "column_spacing_mm": pixel,
    }
    pixels = _square(scaled, image_size, depth, spacing_mm=spacing)
    return _Loaded(pixels, masks, boxes, like, facts, name)


def _choose_frames(file: ImageFile, depth: int | None) -> tuple[ImageFile, int | np.ndarray]:
    """The middle frame, or a stack of the middle ones of ``depth`` equal parts; their numbers."""
    if depth is None:
        index = file.n_frames // 2
    elif file.n_frames < depth:
        advice = "Choose a smaller depth, or leave this file out"
        found = f"{file.n_frames}"
        raise DataError(str(file.path), expected=f"{depth} slices", found=found, advice=advice)
    else:
        index = _evenly(file.n_frames, depth)
    return file.frame(index), index


def _evenly(n: int, parts: int) -> np.ndarray:
    """The middles of equal parts of n slices."""
    return ((np.arange(parts) + 0.5) * n / parts).astype(int)


def _square(pixels: np.ndarray, image_size: int, depth: int | None, *, spacing_mm) -> np.ndarray:
    """Resize an image or a mask, or every slice of a stack, see :func:`fit_to_square`."""
    if depth is None:
        return fit_to_square(pixels, image_size, spacing_mm=spacing_mm)
    return np.stack([fit_to_square(each, image_size, spacing_mm=spacing_mm) for each in pixels])


def _middle(stack: np.ndarray, depth: int | None) -> np.ndarray:
    return stack if depth is None else stack[depth // 2]


def _spacing(image: ImageFile) -> tuple[float, float]:
    """The distances of pixels down and across; pixels of unknown size are taken for square."""
    return (1.0, 1.0) if image.spacing_mm is None else image.spacing_mm


def _with_channels(pixels: np.ndarray, n_channels: int) -> np.ndarray:
    if pixels.shape[-1] == n_channels:
        return pixels
    if n_channels == 1:
        return np.clip(pixels @ LUMINANCE, 0, 1)[..., np.newaxis]
    return np.repeat(pixels, n_channels, axis=-1)


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


# Assembling ---------------------------------------------------------------------------------------


def _assemble(
    source: Path,
    listing: pd.DataFrame,
    loaded: list[_Loaded],
    class_names: tuple[str, ...],
    channels: int | None,
) -> Images:
    n_channels = channels or max(each.pixels.shape[-1] for each in loaded)
    images = np.stack([_with_channels(each.pixels, n_channels) for each in loaded])
    depth = images.shape[1] if images.ndim == 5 else None
    masks, boxes = _masks_and_boxes(loaded, listing["original_label"], depth)
    names = listing["image"].to_numpy(dtype=str)
    hashes = image_hashes(images)
    look_alike = hashes
    if "subject" not in listing:
        look_alike = group_near_duplicates([each.fingerprint for each in loaded])
    groups = join_groups(hashes, listing.get("subject", look_alike))
    subjects = listing["subject"].to_numpy(dtype=str) if "subject" in listing else names[groups]
    if conflicts := of_several(look_alike, listing["label"], names):
        warnings.warn(
            f"{source}: images that look the same have different labels. They are kept, in one "
            f"split; look at them and correct the table: {some(conflicts)}",
            stacklevel=4,
        )
    split_of = listing["split"].to_numpy(dtype=str) if "split" in listing else None
    if split_of is not None and "subject" not in listing:
        if astride := of_several(groups, split_of, names):
            warnings.warn(
                f"{source}: {len(astride)} groups of images that look the same are in two splits, "
                f"so that test results may be too good: {some(astride)}",
                stacklevel=4,
            )
        subjects = np.char.add(np.char.add(subjects, " in "), split_of)
    facts = pd.DataFrame([each.facts for each in loaded])
    table = _tidy(listing).drop(columns=facts.columns, errors="ignore").join(facts)
    labels = np.array([class_names.index(label) for label in listing["label"]], dtype=np.int64)
    name = f"{source.resolve().parent.name}/{source.name}" if source.is_file() else source.name
    return Images(
        name=name,
        all=Split(images, labels, masks, boxes, subjects, table),
        groups=names[groups],
        given_split=split_of,
        class_names=class_names,
        channel_names=("grey",) if n_channels == 1 else ("red", "green", "blue"),
        licence="not known: ask whoever gave you the images",
        citation="",
        card=_card(name, facts, images.shape[-2], len(np.unique(groups)), "subject" in listing),
    )


def _masks_and_boxes(
    loaded: list[_Loaded], labels: pd.Series, depth: int | None
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """All masks, and the boxes given or around their lesions; none if there is no mask at all.

    Lesions in files of their own stay separate, also where they touch.
    """
    if all(not each.masks and each.boxes is None for each in loaded):
        return None, None
    shape = loaded[0].pixels.shape[:-1]
    masks = np.full((len(loaded), *shape), -1, dtype=np.int8)
    boxes = np.empty(len(loaded), dtype=object)
    for row, (each, label) in enumerate(zip(loaded, labels, strict=True)):
        known = each.masks or ([np.zeros(shape, np.int8)] if is_absence(label) else [])
        if known:
            masks[row] = np.max(known, axis=0)
            boxes[row] = np.concatenate([boxes_from_mask(_middle(mask, depth)) for mask in known])
        boxes[row] = boxes[row] if each.boxes is None else each.boxes
    return masks if any(each.masks for each in loaded) else None, boxes


def _tidy(listing: pd.DataFrame) -> pd.DataFrame:
    """The columns a user knows, with numbers where a column holds only numbers."""
    table = listing.drop(columns=[*NOT_TOLD, *BOX_COLUMNS], errors="ignore").copy()
    for column in table.columns.difference(["image", "label", "mask", "subject"]):
        try:
            table[column] = pd.to_numeric(table[column])
        except (TypeError, ValueError):
            continue
    return table


def _card(
    name: str, facts: pd.DataFrame, image_size: int, n_groups: int, has_subjects: bool
) -> str:
    kind = "subjects" if has_subjects else "groups of images that look like copies of each other"
    heights, widths = facts["original_height"], facts["original_width"]
    sizes = f"{heights.min()} x {widths.min()} to {heights.max()} x {widths.max()}"
    return (
        f"Your own images ({name}): {len(facts)}, of {sizes} pixels, resized to fit {image_size} x "
        f"{image_size} with black borders. Of several frames the one in the middle is used, or a "
        f"stack of them. They belong to {n_groups} {kind}. Borders, burned-in text, the scanner or "
        "the hospital may give the class away: look at what a model looks at before you believe "
        "its numbers."
    )

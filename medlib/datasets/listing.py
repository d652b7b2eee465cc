"""Which images there are and what they are called: a CSV, or a folder with one folder a class."""

import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from medlib.datasets.reading import SUFFIXES
from medlib.datasets.structure import some
from medlib.errors import DataError, UsageError, expect_one_of
from medlib.preprocessing.splitting import SPLIT_NAMES

# First words of the names of classes in which nothing was found.
ABSENCES = ("normal", "healthy", "negative", "no", "non", "none", "absent", "control", "0")
BOX_COLUMNS = ("x_min", "y_min", "x_max", "y_max")
_KNOWN_COLUMNS = ("image", "label", "mask", "subject", "split")


def read_listing(source: str | Path) -> pd.DataFrame:
    """List the images of a source and what is known about each.

    Parameters
    ----------
    source : str or Path
        A CSV file with the columns ``image,label`` and optionally ``mask,subject,split`` and
        ``x_min,y_min,x_max,y_max`` (beside masks or boxes, ``label`` may be missing), whose paths
        are relative to the file; an image has a row for each box, and one without a box where
        somebody has looked and found no lesion; or a folder with
        one sub-folder for each class, in which images lie at any depth, and ``NAME_mask.png`` is
        the mask of ``NAME.png`` (with ``NAME_mask_1.png`` and so on, where there are several).

    Returns
    -------
    DataFrame
        One row an image: ``image`` and ``label``; ``mask``, ``subject`` and ``split`` where given;
        any other column of the CSV; ``path``, the file; ``mask_paths``, a tuple of the files that
        together are its mask (empty: no mask); and ``boxes``, an array of shape (k, 4) (first row
        and column, last row + 1 and column + 1 in pixels of the file), or None without columns.

    Raises
    ------
    DataError
        If a row is not what it should be, or a class has no image.
    """
    source = Path(source)
    listing = _read_folder(source) if source.is_dir() else _read_csv(source)
    return listing if "boxes" in listing else listing.assign(boxes=None)


def choose_classes(
    labels: Sequence[str],
    *,
    merge: Mapping[str, Iterable[str]] | None = None,
    classes: Sequence[str] | None = None,
    positive: str | None = None,
    class_names: tuple[str, ...] | None = None,
    least_classes: int = 2,
) -> tuple[tuple[str, ...], dict[str, str]]:
    """Name the classes, in order, and say which class each label belongs to.

    Labels that were not merged come first, in the order given; then the merged ones, in the order
    of ``merge``. ``classes`` chooses any other order. Of two classes the second is the finding: the
    one that ``positive`` names, else the one whose name does not say that nothing was found
    (normal, healthy, negative, no ...) or that it is benign, else the last.

    Parameters
    ----------
    labels : sequence of str
        The labels there are, in their usual order.
    merge : mapping of str to labels, optional
        New class name to the labels it joins: ``{"tumour": ["benign", "malignant"]}``.
    classes : sequence of str, optional
        The classes to keep, after merging; images of others are left out.
    positive : str, optional
        Which of two classes is the finding.
    class_names : tuple of str, optional
        The classes of a trained network, which stay as they are: labels may be missing, and others
        are left out only if ``classes`` is given.
    least_classes : int
        So many classes must be left.

    Returns
    -------
    class_names : tuple of str
    class_of : dict of str to str
        From a label to its class; without the labels left out.

    Raises
    ------
    UsageError
        If a label does not exist or is merged twice, too few classes are left, or ``positive`` is
        none of two classes.
    DataError
        If a label is none of the network's classes.
    """
    merge = {name: list(members) for name, members in (merge or {}).items()}
    class_of = {label: label for label in labels}
    class_of |= {label: name for name, members in merge.items() for label in members}
    if class_names is None:
        class_names = _ordered_classes(labels, merge, classes, positive)
        if len(class_names) < least_classes:
            expected, found = f"{least_classes} or more, after merging", ", ".join(class_names)
            raise UsageError("classes", expected=expected, found=found)
    unknown = [label for label in labels if class_of[label] not in class_names]
    if unknown and classes is None:
        expected = f"the classes {', '.join(class_names)}"
        raise DataError("labels", expected=expected, found=some(unknown))
    return class_names, {label: name for label, name in class_of.items() if name in class_names}


def is_absence(name: str) -> bool:
    """Whether a class name says that nothing was found: normal, no_tumour, healthy control ..."""
    return re.split(r"[\s_-]+", name.lower())[0] in ABSENCES


def _ordered_classes(
    labels: Sequence[str],
    merge: dict[str, list[str]],
    classes: Sequence[str] | None,
    positive: str | None,
) -> tuple[str, ...]:
    """Check what was asked for, and put the classes that it leaves in order."""
    joined = [label for members in merge.values() for label in members]
    for label in joined:
        expect_one_of("merge", label, labels)
        if joined.count(label) > 1:
            raise UsageError("merge", expected="each label once", found=f"{label!r} twice")
    order = [label for label in labels if label not in joined]
    order += [name for name in merge if name not in order]
    if classes is not None:
        for name in classes:
            expect_one_of("classes", name, order)
        order = list(classes)
    if positive is not None:
        expect_one_of("positive", positive, order)
        if len(order) > 2:
            found = f"{len(order)}: {', '.join(order)}"
            advice = "Join the others: --merge OTHER=A,B"
            raise UsageError("positive", expected="two classes", found=found, advice=advice)
    if len(order) == 2:
        order.sort(key=lambda name: (name == positive, not is_absence(name), name != "benign"))
    return tuple(order)


# A folder of folders ------------------------------------------------------------------------------


def _read_folder(folder: Path) -> pd.DataFrame:
    class_folders = sorted(
        each for each in folder.iterdir() if each.is_dir() and not each.name.startswith(".")
    )
    expected = "one sub-folder with images for each class"
    for table in sorted(folder.glob("*.csv")):
        header = table.read_text("utf-8", "replace").partition("\n")[0].lower()
        if "image" in header and "label" in header:
            advice = f"Give the table itself: {table}"
            raise DataError(str(folder), expected=expected, found=table.name, advice=advice)
    if not class_folders:
        found = "no sub-folder" if any(folder.iterdir()) else "an empty folder"
        raise DataError(str(folder), expected=expected, found=found)
    rows, ignored = [], []
    for class_folder in class_folders:
        files = sorted(
            path
            for path in class_folder.rglob("*")
            if path.is_file() and not path.name.startswith(".")
        )
        images = [path for path in files if _is_image(path)]
        ignored += sorted(set(files) - set(images))
        masks = _masks(images)
        is_mask = {path for of_one in masks.values() for path in of_one}
        for path in images:
            if path not in is_mask:
                name = path.relative_to(folder).as_posix()
                row = {"image": name, "label": class_folder.name, "path": path}
                rows.append(row | {"mask_paths": tuple(masks.get(path, ()))})
    with_images = {row["label"] for row in rows}
    empty = [each.name for each in class_folders if each.name not in with_images]
    if empty:
        raise DataError(str(folder), expected=expected, found=f"no image in {some(empty)}")
    if ignored:
        names = some(path.relative_to(folder).as_posix() for path in ignored)
        warnings.warn(f"{folder}: left out, not images by their names: {names}", stacklevel=4)
    return pd.DataFrame(rows)


def _is_image(path: Path) -> bool:
    if path.name.lower().endswith(SUFFIXES):
        return True
    with path.open("rb") as file:  # DICOM files often have no suffix, or a number
        return file.read(132)[128:] == b"DICM"


def _masks(files: list[Path]) -> dict[Path, list[Path]]:
    """Each image's masks: the files of the same name with ``_mask`` or ``_mask_1`` at its end."""
    by_stem = {path.with_name(_stem(path)): path for path in files}
    masks: dict[Path, list[Path]] = {}
    for path in files:
        match = re.fullmatch(r"(.+)_mask(_\d+)?", _stem(path))
        image = match and by_stem.get(path.with_name(match[1]))
        if image:
            masks.setdefault(image, []).append(path)
    return masks


def _stem(path: Path) -> str:
    return path.name.lower().removesuffix(".gz").rpartition(".")[0] or path.name.lower()


# A CSV --------------------------------------------------------------------------------------------


def _read_csv(path: Path) -> pd.DataFrame:
    table = _parse_csv(path)
    for column in table.columns.intersection(_KNOWN_COLUMNS):
        table[column] = table[column].str.strip()
        right = (table[column] != "") | (column == "mask")
        expected = f"a value in the column {column}"
        if column == "split":
            table["split"] = table["split"].str.lower()
            right = table["split"].isin(SPLIT_NAMES)
            expected = f"{', '.join(SPLIT_NAMES)} in the column split"
        if not right.all():
            found = some(f"{table[column][row]!r} in {_line(row)}" for row in table.index[~right])
            raise DataError(str(path), expected=expected, found=found)
    table["path"] = [_locate(path.parent, name) for name in table["image"]]
    masks = table["mask"] if "mask" in table else [""] * len(table)
    mask_paths = [(_locate(path.parent, name),) if name else () for name in masks]
    table["mask_paths"] = pd.Series(mask_paths, dtype=object)
    if any(column in table for column in BOX_COLUMNS):
        table = _join_boxes(path, table)
    _expect_once(path, table)
    return table


def _join_boxes(path: Path, table: pd.DataFrame) -> pd.DataFrame:
    """Turn one row a box into one row an image."""
    written = table.reindex(columns=BOX_COLUMNS, fill_value="missing")
    left, top, right, bottom = written.apply(pd.to_numeric, errors="coerce").to_numpy().T
    is_box = (written != "").any(axis=1).to_numpy()
    wrong = is_box & ~((left < right) & (top < bottom))
    if wrong.any():
        found = [f"{','.join(written.loc[row])} ({_line(row)})" for row in table.index[wrong]]
        expected = f"{','.join(BOX_COLUMNS)} in pixels, each minimum below its maximum, or nothing"
        raise DataError(str(path), expected=expected, found=some(found))
    corners = np.stack([top, left, bottom, right], axis=1)
    rows_of = table.groupby("path").indices
    table = table.drop_duplicates([*table.columns.intersection(_KNOWN_COLUMNS), "path"])
    boxes = [corners[rows][is_box[rows]] for rows in map(rows_of.get, table["path"])]
    return table.assign(boxes=pd.Series(boxes, index=table.index, dtype=object))


def _parse_csv(path: Path) -> pd.DataFrame:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # of values that were cut off
            table = pd.read_csv(
                path, dtype=str, keep_default_na=False, encoding="utf-8-sig", index_col=False
            )
    except (ValueError, pd.errors.ParserWarning) as error:  # an empty file, other bytes than UTF-8
        expected, reason = "a table in UTF-8, separated by commas", " ".join(str(error).split())
        raise DataError(str(path), expected=expected, found=reason) from None
    header = ",".join(table.columns)
    table.columns = [str(column).strip().lower() for column in table.columns]
    if "label" not in table and ("mask" in table or set(BOX_COLUMNS) <= set(table)):
        table["label"] = "unlabelled"
    if not {"image", "label"} <= set(table):
        raise DataError(str(path), expected="columns image,label", found=f"{header[:200]!r}")
    if not table.columns.is_unique:
        twice = sorted(table.columns[table.columns.duplicated()])
        raise DataError(str(path), expected="each column once", found=f"{', '.join(twice)} twice")
    return table


def _expect_once(path: Path, table: pd.DataFrame) -> None:
    twice = table[table["path"].duplicated(keep=False)]
    if len(twice):
        rows = twice.groupby("path").groups
        found = some(f"{file.name} in {' and '.join(map(_line, rows[file]))}" for file in rows)
        expected = "each image in one row"
        if "boxes" in table:
            expected += ", or rows that differ in nothing but a box"
        raise DataError(str(path), expected=expected, found=found)


def _line(row: int) -> str:
    return f"line {row + 2}"  # the header is line 1


def _locate(folder: Path, name: str) -> Path:
    """Find a file named in a CSV; one written on Windows separates folders with backslashes."""
    path = folder / name
    if "\\" in name and not path.exists():
        path = folder / name.replace("\\", "/")
    return path

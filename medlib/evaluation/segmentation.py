"""What a segmentation is worth: overlap, distance of outlines, sizes in millimetres.

Empty masks are treated by choice, and said so: overlap and distance are of images that have a
structure, and a structure that is missed altogether scores Dice 0 and the diagonal of the image.
Images without a structure have no overlap to measure; of them, the share with a false finding
counts (recommendation of Metrics Reloaded: measure them apart).

References
----------
Maier-Hein, Reinke and others, Metrics Reloaded: Recommendations for Image Analysis Validation,
Nature Methods 21 (2024) 195-212.
Bland and Altman, Statistical Methods for Assessing Agreement between Two Methods of Clinical
Measurement, Lancet 327 (1986) 307-310.
"""

import math

import numpy as np
import pandas as pd
from scipy import ndimage, stats

from medlib.errors import DataError
from medlib.evaluation import statistics
from medlib.simulation.cohort import longest_diameter

EMPTY_MASKS = """\
Overlap and distance are of images with a structure; one that is missed altogether scores Dice 0 and
the diagonal of the image. Of images without a structure, the share with a false finding counts."""


def dice(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Twice the pixels that both masks have, by the sum of the pixels of each.

    Parameters
    ----------
    truth, predicted : ndarray of bool, shape (n, ...)

    Returns
    -------
    ndarray of float, shape (n,)
        From 0 to 1; NaN where both masks are empty.
    """
    axes = tuple(range(1, truth.ndim))
    total = truth.sum(axis=axes) + predicted.sum(axis=axes)
    return 2 * (truth & predicted).sum(axis=axes) / np.where(total > 0, total, np.nan)


def intersection_over_union(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Pixels that both masks have, by those that any of them has; as :func:`dice`."""
    overlap = dice(truth, predicted)
    return overlap / (2 - overlap)


def hausdorff_95(
    truth: np.ndarray, predicted: np.ndarray, *, spacing_mm: tuple[float, ...]
) -> float:
    """How far the outlines of two masks are apart, all but the farthest 5 % of their pixels.

    From every pixel of an outline the distance to the other outline is taken; the larger of the two
    95th percentiles counts.

    Parameters
    ----------
    truth, predicted : ndarray of bool, shape (height, width) or (depth, height, width)
    spacing_mm : tuple of float
        Distance of neighbouring pixels along each axis, mm.

    Returns
    -------
    float
        In mm. The diagonal of the image where only one mask is empty, NaN where both are.
    """
    if not truth.any() or not predicted.any():
        diagonal = math.hypot(*np.multiply(truth.shape, spacing_mm))
        return diagonal if truth.any() or predicted.any() else math.nan
    outlines = [mask & ~ndimage.binary_erosion(mask) for mask in (truth, predicted)]
    far = [ndimage.distance_transform_edt(~outline, sampling=spacing_mm) for outline in outlines]
    return float(max(np.percentile(far[i][outlines[1 - i]], 95) for i in (0, 1)))


def measure_masks(
    truth: np.ndarray, predicted: np.ndarray, *, spacing: np.ndarray, unit: str = "mm"
) -> pd.DataFrame:
    """Measure each predicted mask beside the true one.

    Parameters
    ----------
    truth, predicted : ndarray of bool, shape (n, height, width)
    spacing : ndarray, shape (n,)
        Size of a pixel, which is square.
    unit : str
        Of the spacing, and so of all sizes.

    Returns
    -------
    DataFrame
        One row an image: ``dice``, ``iou``, ``hausdorff_95``, ``true_area``, ``true_diameter`` (the
        longest, as RECIST takes it), ``area``, ``diameter`` and ``unit``.

    Raises
    ------
    DataError
        If the shapes differ or a spacing is not above 0.
    """
    if truth.shape != predicted.shape or truth.ndim != 3:
        found = f"{truth.shape} and {predicted.shape}"
        raise DataError("masks", expected="two of shape (n, height, width)", found=found)
    statistics.expect_rows("spacing", "above 0", np.asarray(spacing) > 0)
    rows = zip(truth, predicted, spacing, strict=True)
    table = {
        "dice": dice(truth, predicted),
        "iou": intersection_over_union(truth, predicted),
        "hausdorff_95": [hausdorff_95(t, p, spacing_mm=(size, size)) for t, p, size in rows],
    }
    for name, masks in (("true_", truth), ("", predicted)):
        table[f"{name}area"] = masks.sum(axis=(1, 2)) * np.square(spacing)
        table[f"{name}diameter"] = [longest_diameter(mask) for mask in masks] * spacing
    return pd.DataFrame(table).assign(unit=unit)


def report(table: pd.DataFrame, *, subjects: np.ndarray) -> pd.DataFrame:
    """Sum up :func:`measure_masks`, with 95 % intervals that draw subjects.

    Parameters
    ----------
    table : DataFrame
    subjects : ndarray of str, shape (n,)

    Returns
    -------
    DataFrame
        Columns ``metric``, ``value``, ``low``, ``high`` and ``n``: means over images with a
        structure (Dice, IoU, 95 % Hausdorff distance), area found minus true area as a share of
        it, the longest diameter found minus the true one with its limits of agreement (means of
        subjects), and the share of images without a structure in which something was found.
    """
    there = (table["true_area"] > 0).to_numpy()
    rows, unit = [], table["unit"].iloc[0]

    def add(name, statistic, *columns, where=there):
        arrays = [table.loc[where, column].to_numpy() for column in columns]
        if len(arrays[0]):
            found = statistics.bootstrap_interval(statistic, *arrays, groups=subjects[where])
            rows.append((name, *vars(found).values()))

    add("Dice", np.mean, "dice")
    add("IoU", np.mean, "iou")
    add(f"95 % Hausdorff distance ({unit})", np.mean, "hausdorff_95")
    add("area bias", lambda found, true: found.sum() / true.sum() - 1, "area", "true_area")
    mean = table[there].groupby(subjects[there])[["true_diameter", "diameter"]].mean().to_numpy()
    if len(mean) > 1:
        names = ("diameter error", "lower limit of agreement", "upper limit of agreement")
        for name, found in zip(names, limits_of_agreement(*mean.T), strict=True):
            rows.append((f"{name} ({unit})", *vars(found).values()))
    if not there.all():
        false = table["area"].to_numpy()[~there] > 0
        found = statistics.proportion_interval(false, subjects=subjects[~there])
        rows.append(("false findings", *vars(found).values()))
    return pd.DataFrame(rows, columns=["metric", "value", "low", "high", "n"])


def limits_of_agreement(
    truth: np.ndarray, measured: np.ndarray
) -> tuple[statistics.Interval, statistics.Interval, statistics.Interval]:
    """Return the bias of a measurement, and the limits within which 95 % of its errors lie.

    Parameters
    ----------
    truth, measured : ndarray, shape (n,)
        One pair a subject.

    Returns
    -------
    bias, lower, upper : Interval
        Mean of ``measured - truth``, and 1.96 standard deviations below and above it, each with its
        95 % interval (Bland and Altman, p. 309: the standard error of a limit is sqrt(3 / n) of the
        standard deviation).
    """
    errors = np.asarray(measured, float) - truth
    n, spread = len(errors), errors.std(ddof=1)
    t = stats.t.ppf(0.975, n - 1)

    def interval(value, standard_error):
        return statistics.Interval(value, value - t * standard_error, value + t * standard_error, n)

    bias = float(errors.mean())
    limits = (interval(bias + side * 1.96 * spread, spread * math.sqrt(3 / n)) for side in (-1, 1))
    return interval(bias, spread / math.sqrt(n)), *limits

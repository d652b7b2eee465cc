"""What a detector is worth: lesions found against false alarms, with intervals.

A found box hits a lesion if the two overlap enough (intersection over union of 0.3 by default). A
lesion counts once: further boxes on it are neither hits nor false alarms. A box hits at most the
lesion that it overlaps most.

Reference: Chakraborty, A Brief History of Free-Response Receiver Operating Characteristic Paradigm
Data Analysis, Academic Radiology 20 (2013) 915-919.
"""

from collections.abc import Sequence
from fractions import Fraction
from functools import partial

import numpy as np
import pandas as pd

from medlib.errors import DataError
from medlib.evaluation import statistics

HIT_RULE = """\
A box hits a lesion if the intersection of the two is at least 0.3 of their union. A lesion counts
once; more boxes on it are no false alarms. Above, n counts lesions; FROC is the mean of the three
sensitivities."""
LEAST_OVERLAP = 0.3
FALSE_POSITIVES = (1 / 16, 1 / 4, 1.0)  # an image


def box_overlap(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the intersection over union of each box with each other one.

    Parameters
    ----------
    boxes, others : ndarray, shape (k, 4) and (m, 4)
        First row and column, last row + 1 and column + 1.

    Returns
    -------
    ndarray, shape (k, m)
    """
    first = np.maximum(boxes[:, None, :2], others[None, :, :2])
    last = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    both = np.prod(np.clip(last - first, 0, None), axis=-1)
    areas = [np.prod(each[:, 2:] - each[:, :2], axis=-1) for each in (boxes, others)]
    return both / (areas[0][:, None] + areas[1] - both)


def match_boxes(
    truth: Sequence[np.ndarray],
    found: Sequence[np.ndarray],
    scores: Sequence[np.ndarray],
    *,
    least_overlap: float = LEAST_OVERLAP,
) -> tuple[pd.DataFrame, np.ndarray]:
    """Say which found boxes are false alarms, and how surely each lesion was found.

    Parameters
    ----------
    truth, found : sequence of ndarray, shape (k, 4)
        One array an image, with as many rows as it has lesions, or found boxes.
    scores : sequence of ndarray, shape (k,)
        How sure the detector is of each found box.
    least_overlap : float

    Returns
    -------
    lesions : DataFrame
        One row a lesion: ``image`` and ``score``, that of the surest box that hits it; minus
        infinity where none does.
    false_alarms : DataFrame
        One row a box that hits nothing: ``image`` and ``score``.

    Raises
    ------
    DataError
        If the lengths differ, or a box has no area.
    """
    if not len(truth) == len(found) == len(scores):
        lengths = f"{len(truth)}, {len(found)} and {len(scores)}"
        raise DataError("boxes", expected="truth, boxes and scores of each image", found=lengths)
    lesions, false_alarms = [], []
    for image, (true, boxes, sure) in enumerate(zip(truth, found, scores, strict=True)):
        true, boxes = (np.asarray(each, float).reshape(-1, 4) for each in (true, boxes))
        both = np.vstack([true, boxes])
        if len(boxes) != len(sure) or (both[:, 2:] <= both[:, :2]).any():
            expected = "first row and column, last row + 1 and column + 1, and a score of each"
            raise DataError(f"boxes of image {image}", expected=expected, found="others")
        overlap = box_overlap(true, boxes)
        hit = overlap.argmax(axis=0) if len(true) else np.zeros(len(boxes), int)
        hits = overlap.max(axis=0, initial=0) >= least_overlap
        best = [max(np.asarray(sure)[hits & (hit == k)], default=-np.inf) for k in range(len(true))]
        lesions += [(image, score) for score in best]
        false_alarms += [(image, score) for score in np.asarray(sure)[~hits]]
    columns = ["image", "score"]
    return pd.DataFrame(lesions, columns=columns), pd.DataFrame(false_alarms, columns=columns)


def free_response_curve(
    lesions: pd.DataFrame, false_alarms: pd.DataFrame, n_images: int
) -> pd.DataFrame:
    """Return sensitivity and false alarms an image at every threshold, from the strictest on.

    Parameters
    ----------
    lesions, false_alarms : DataFrame
        As from :func:`match_boxes`.
    n_images : int

    Returns
    -------
    DataFrame
        Columns ``threshold``, ``false_positives`` an image and ``sensitivity``.
    """
    alarms, hits = np.sort(false_alarms["score"]), np.sort(lesions["score"])
    thresholds = np.unique(np.concatenate([alarms, hits[np.isfinite(hits)]]))[::-1]
    above = [len(each) - np.searchsorted(each, thresholds) for each in (alarms, hits)]
    rates = {"false_positives": above[0] / n_images, "sensitivity": above[1] / max(len(hits), 1)}
    return pd.DataFrame({"threshold": thresholds} | rates)


def report(
    lesions: pd.DataFrame,
    false_alarms: pd.DataFrame,
    *,
    subjects: np.ndarray,
    false_positives: Sequence[float] = FALSE_POSITIVES,
) -> pd.DataFrame:
    """Return the sensitivity at some numbers of false alarms an image, with 95 % intervals.

    Parameters
    ----------
    lesions, false_alarms : DataFrame
        As from :func:`match_boxes`.
    subjects : ndarray of str, shape (n_images,)
        Whose image each is; intervals draw subjects, and find the threshold anew in each draw.
    false_positives : sequence of float

    Returns
    -------
    DataFrame
        Columns ``metric``, ``value``, ``low``, ``high`` and ``n``, the number of lesions.
    """
    images = np.arange(len(subjects))
    alarms = false_alarms.sort_values("score", ascending=False)
    image_of_alarm, alarm_scores = alarms["image"].to_numpy(int), alarms["score"].to_numpy(float)
    image_of_lesion, lesion_scores = (lesions[name].to_numpy() for name in ("image", "score"))

    def sensitivity(drawn, *, at):
        times = np.bincount(drawn, minlength=len(images))
        too_many = np.cumsum(times[image_of_alarm]) > at * len(drawn)
        threshold = alarm_scores[too_many.argmax()] if too_many.any() else -np.inf
        weights = times[image_of_lesion.astype(int)]
        return (weights @ (lesion_scores > threshold)) / weights.sum() if weights.any() else np.nan

    rows = []
    for at in false_positives:
        found = statistics.Interval(np.nan, np.nan, np.nan, 0)
        if len(lesions):
            drawn = partial(sensitivity, at=at)
            found = statistics.bootstrap_interval(drawn, images, groups=subjects)
        name = f"sensitivity at {Fraction(at).limit_denominator(100)} false positives an image"
        rows.append((name, found.value, found.low, found.high, len(lesions)))
    return pd.DataFrame(rows, columns=["metric", "value", "low", "high", "n"])

"""Intervals and tests: what a number measured on n images can and cannot say.

Images of one subject are alike, so that they say less than as many subjects would. Functions take
``subjects``: whose image each is. Without it every image counts as a subject of its own.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import stats

from medlib.errors import DataError, UsageError


@dataclass(frozen=True)
class Interval:
    """A measured value with its confidence interval and the number of images behind it.

    ``str()`` gives ``0.912 [0.881, 0.938]``.
    """

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class PairedTest:
    """Two scores compared on the same images: first minus second, and the two-sided p-value."""

    difference: Interval
    p_value: float

    def __str__(self) -> str:
        return f"{self.difference}, p = {self.p_value:.2g}"


def wilson_interval(successes: float, n: float, *, confidence: float = 0.95) -> Interval:
    """Return a proportion with Wilson's score interval.

    Parameters
    ----------
    successes, n : float
        Counts, or effective counts, which need not be whole.
    confidence : float

    Returns
    -------
    Interval
        All NaN when n is zero.

    Raises
    ------
    DataError
        If not 0 <= successes <= n.

    References
    ----------
    Wilson, Journal of the American Statistical Association 22 (1927) 209-212.
    """
    if not 0 <= successes <= n:
        raise DataError("successes", expected=f"0 to {n}", found=str(successes))
    if n == 0:
        return Interval(math.nan, math.nan, math.nan, 0)
    z, share = -stats.norm.ppf(_tail(confidence)), successes / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    margin = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    low = 0.0 if successes == 0 else float(centre - margin)
    high = 1.0 if successes == n else float(centre + margin)
    return Interval(share, low, high, int(n))


def proportion_interval(
    correct: np.ndarray, *, subjects: np.ndarray | None = None, confidence: float = 0.95
) -> Interval:
    """Return the share of images that are correct, with an interval that knows their subjects.

    It is Wilson's interval with an effective number of images: as many independent ones as would
    give the variance seen between subjects, lowered because that variance is itself estimated
    from few subjects, and never less than if all images of a subject were copies of one or more
    than the images. That also serves shares of 0 and 1 and subjects that are all alike.
    A single subject says nothing about others: [0, 1].

    Parameters
    ----------
    correct : ndarray of bool, shape (n,)
    subjects : ndarray, shape (n,), optional
    confidence : float

    Returns
    -------
    Interval
        All NaN when n is zero.

    References
    ----------
    Korn and Graubard, Survey Methodology 24 (1998) 193-201 (effective number and its correction);
    Saha, Miller and Wang, International Journal of Biostatistics 12 (2016) (Wilson's form of it).
    """
    correct = np.asarray(correct, dtype=float)
    n = len(correct)
    if n == 0:
        return wilson_interval(0, 0)
    sizes = np.bincount(_codes(subjects, n))
    if len(sizes) < 2:
        return Interval(correct.mean(), 0.0, 1.0, n)
    right = np.bincount(_codes(subjects, n), correct)
    # one subject that is all right and one that is all wrong
    more, successes = np.append(sizes, [sizes.mean()] * 2), np.append(right, [sizes.mean(), 0])
    total = more.sum()
    share = successes.sum() / total
    squares = (successes - share * more) ** 2 / (1 - more / total)
    effect = squares.sum() / (share * (1 - share)) * (total - 1) / total**2
    size = min(max(n / effect, n**2 / (sizes @ sizes)), n)
    found = wilson_interval(correct.mean() * size, size, confidence=confidence)
    return Interval(correct.mean(), found.low, found.high, n)


def balanced_accuracy_interval(
    correct: np.ndarray,
    labels: np.ndarray,
    *,
    subjects: np.ndarray | None = None,
    confidence: float = 0.95,
) -> Interval:
    """Return the mean over classes of the share of images that are correct, with its interval.

    The interval is recovered from those of :func:`proportion_interval` for each class and from
    the correlation of the classes' errors in subjects that have images of several.

    Parameters
    ----------
    correct : ndarray of bool, shape (n,)
    labels : ndarray of int, shape (n,)
        Classes that no image has are left out.
    subjects : ndarray, shape (n,), optional
    confidence : float

    Returns
    -------
    Interval

    References
    ----------
    Zou and Donner, Statistics in Medicine 27 (2008) 1693-1702 (variance estimates recovery).
    """
    correct, labels = np.asarray(correct, dtype=float), np.asarray(labels)
    subjects, parts, errors = _codes(subjects, len(labels)), [], []
    for rows in (labels == c for c in np.unique(labels)):
        part = proportion_interval(correct[rows], subjects=subjects[rows], confidence=confidence)
        parts.append(part)
        sums = np.bincount(subjects, np.where(rows, correct - part.value, 0))
        errors.append(sums / max(np.linalg.norm(sums), 1e-12))
    correlation = np.inner(errors, errors)
    correlation = np.maximum(correlation, 0) if MODE.get('pos',1) else correlation
    np.fill_diagonal(correlation, 1)
    value = float(np.mean([part.value for part in parts]))
    below = np.array([part.value - part.low for part in parts]) / len(parts)
    above = np.array([part.high - part.value for part in parts]) / len(parts)
    margins = [math.sqrt(max(side @ correlation @ side, 0)) for side in (below, above)]
    return Interval(value, max(value - margins[0], 0.0), min(value + margins[1], 1.0), len(labels))


def area_under_curve(positive: np.ndarray, scores: np.ndarray) -> float:
    """Return the area under the ROC curve; ties count half; NaN when a class is missing.

    Parameters
    ----------
    positive : ndarray of bool, shape (n,)
    scores : ndarray, shape (n,)
    """
    n_positive = int(positive.sum())
    n_negative = len(positive) - n_positive
    if n_positive == 0 or n_negative == 0:
        return math.nan
    ranks = stats.rankdata(scores)[positive].sum()
    return float((ranks - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))


def auc_interval(
    labels: np.ndarray,
    scores: np.ndarray,
    *,
    subjects: np.ndarray | None = None,
    confidence: float = 0.95,
) -> Interval:
    labels, scores, subjects = checked(labels, scores, subjects)
    auc, influence = _auc_influence(labels == 1, scores, subjects)
    return _effective_interval(auc, influence, labels, subjects, confidence)


def macro_auc_interval(
    labels: np.ndarray,
    probabilities: np.ndarray,
    *,
    subjects: np.ndarray | None = None,
    confidence: float = 0.95,
) -> Interval:
    labels, probabilities, subjects = checked(labels, probabilities, subjects)
    parts = [
        _auc_influence(labels == c, probabilities[:, c], subjects) for c in np.unique(labels)
    ]
    auc, influence = (np.mean(each, axis=0) for each in zip(*parts, strict=True))
    return _effective_interval(float(auc), influence, labels, subjects, confidence)

def checked(labels, scores, subjects):
    labels, scores = np.asarray(labels), np.asarray(scores, dtype=float)
    return labels, scores, _codes(subjects, len(labels))

MODE = {"auc": "wilson", "t": "ratio"}

def _codes(subjects, n):
    if subjects is None:
        return np.arange(n)
    return np.unique(subjects, return_inverse=True)[1]

def _auc_influence(positive, scores, subjects):
    n_positive = int(positive.sum())
    n_negative = len(positive) - n_positive
    ranks = stats.rankdata(scores)
    influence = np.empty(len(scores))
    # the share of the other class that lies below a positive, or above a negative, image
    influence[positive] = (ranks[positive] - stats.rankdata(scores[positive])) / n_negative
    influence[~positive] = 1 - (ranks[~positive] - stats.rankdata(scores[~positive])) / n_positive
    auc = float(influence[positive].mean())
    return auc, (influence - auc) / np.where(positive, n_positive, n_negative)


def _variance(influence, classes, subjects):
    """Return the variance of a sum of influences and its degrees of freedom."""
    total, parts, degrees = 0, [], []
    for rows in (classes == c for c in np.unique(classes)):
        share = np.bincount(subjects, rows, minlength=subjects.max() + 1) / rows.sum()
        sums = np.bincount(subjects, np.where(rows, influence, 0), minlength=subjects.max() + 1)
        sums = sums / np.sqrt(1 - share)
        total = total + sums
        parts.append(sums @ sums); degrees.append(1 / (share @ share) - 1)
    parts, degrees = np.array(parts), np.array(degrees)
    if parts.sum() < 1e-20:
        df = degrees.min()
    else:
        df = parts.sum()**2 / (parts**2 / degrees).sum()
    share = np.bincount(subjects)/len(subjects)
    return float(total @ total), min(df, 1/(share@share) - 1)


def _effective_interval(value, influence, classes, subjects, confidence):
    n = len(subjects)
    smallest = math.inf
    for c in np.unique(classes):
        m = np.unique(subjects[classes == c], return_counts=True)[1]
        if len(m) < 2:
            return Interval(value, 0.0, 1.0, n)
        smallest = min(smallest, m.sum()**2 / (m**2).sum())
    variance, df = _variance(influence, classes, subjects)
    tail = _tail(confidence)
    auc = len(np.unique(classes)) > 1
    if not auc or MODE["t"] == "ratio":
        _, df0 = _variance(influence, classes, np.arange(n))
        f = (stats.t.ppf(tail, df0) / stats.t.ppf(tail, df))**2
    else:
        f = (stats.norm.ppf(tail) / stats.t.ppf(tail, df))**2
    size = value * (1 - value) / variance if variance > 1e-15 else n
    size = min(max(size * f, smallest), n)
    if auc and MODE["auc"] == "logit" and 1e-12 < value < 1 - 1e-12:
        margin = -stats.norm.ppf(tail) / math.sqrt(size * value * (1 - value))
        low, high = 1 / (1 + np.exp(-(math.log(value / (1 - value)) + np.array([-margin, margin]))))
        return Interval(value, low, high, n)
    if auc and MODE["auc"] == "logit":
        b = tail ** (1 / smallest)
        return Interval(value, b, 1., n) if value > .5 else Interval(value, 0., 1 - b, n)
    found = wilson_interval(value * size, size, confidence=confidence)
    return Interval(value, found.low, found.high, n)


def _tail(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise UsageError("confidence", expected="between 0 and 1", found=str(confidence))
    return (1 - confidence) / 2

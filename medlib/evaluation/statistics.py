"""Intervals and tests: what a number measured on n images can and cannot say."""

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


def auc_interval(labels: np.ndarray, scores: np.ndarray, *, confidence: float = 0.95) -> Interval:
    """Return the area under the ROC curve with DeLong's interval on the logit scale.

    The logit keeps the interval inside [0, 1] and close to its nominal coverage for areas near
    one. Where DeLong's variance is zero because the two classes are perfectly separated, the
    bound is the exact binomial one for the min(positives, negatives) disjoint pairs of a positive
    and a negative image. With a single image in a class nothing is known: [0, 1].

    Parameters
    ----------
    labels : ndarray of 0 and 1, shape (n,)
    scores : ndarray, shape (n,)
        Higher means more likely class 1; any scale.
    confidence : float

    Returns
    -------
    Interval

    Raises
    ------
    DataError
        If the lengths differ, a score is not finite or a class is missing.

    References
    ----------
    DeLong, DeLong and Clarke-Pearson, Biometrics 44 (1988) 837-845; the fast computation from
    midranks: Sun and Xu, IEEE Signal Processing Letters 21 (2014) 1389-1393; the logit: Pepe,
    The Statistical Evaluation of Medical Tests (2003), section 5.2.
    """
    positive = _binary(labels, scores)
    auc, influence = _auc_influence(positive, scores)
    smallest = min(positive.sum(), (~positive).sum())
    return _logit_interval(auc, math.sqrt(influence @ influence), smallest, len(scores), confidence)


def macro_auc_interval(
    labels: np.ndarray, probabilities: np.ndarray, *, confidence: float = 0.95
) -> Interval:
    """Return the mean one-versus-rest area under the ROC curve over the classes, with an interval.

    An image takes part in the area of every class, so the areas are correlated; DeLong's
    components are averaged over the classes image by image before their variance is taken.

    Parameters
    ----------
    labels : ndarray of int, shape (n,)
    probabilities : ndarray, shape (n, classes)
        Classes that no image has are left out.
    confidence : float

    Returns
    -------
    Interval

    Raises
    ------
    DataError
        If the lengths differ, a value is not finite or fewer than two classes occur.
    """
    labels, probabilities = np.asarray(labels), np.asarray(probabilities, dtype=float)
    _expect_scores(labels, probabilities)
    present = _present_classes(labels)
    parts = [_auc_influence(labels == c, probabilities[:, c]) for c in present]
    auc = float(np.mean([part[0] for part in parts]))
    influence = np.mean([part[1] for part in parts], axis=0)
    smallest = min(min((labels == c).sum(), (labels != c).sum()) for c in present)
    return _logit_interval(auc, math.sqrt(influence @ influence), smallest, len(labels), confidence)


def auc_test(
    labels: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    *,
    subjects: np.ndarray | None = None,
    confidence: float = 0.95,
) -> PairedTest:
    """Compare two areas under the ROC curve measured on the same images: DeLong's paired test.

    Parameters
    ----------
    labels : ndarray of 0 and 1, shape (n,)
    first, second : ndarray, shape (n,)
        The two models' scores for the same images, in the same order.
    subjects : ndarray, shape (n,), optional
        Whose image each is: the errors of one subject's images go together, and a t quantile is
        taken with the number of subjects of the smaller class, less one.
    confidence : float
        Of the interval of the difference.

    Returns
    -------
    PairedTest
        The difference is the first area minus the second.

    Raises
    ------
    DataError
        If the lengths differ, a score is not finite or a class is missing.

    References
    ----------
    DeLong, DeLong and Clarke-Pearson, Biometrics 44 (1988) 837-845, equation 5; clustered:
    Obuchowski, Biometrics 53 (1997) 567-578.
    """
    positive = _binary(labels, first)
    _binary(labels, second)
    smallest = int(min(positive.sum(), (~positive).sum()))
    if smallest < 2:
        found = f"{positive.sum()} and {(~positive).sum()}"
        raise DataError("labels", expected="two images or more of each class", found=found)
    (auc_first, influence_first), (auc_second, influence_second) = (
        _auc_influence(positive, scores) for scores in (first, second)
    )
    difference = auc_first - auc_second
    error, quantile = influence_first - influence_second, _z(confidence)
    if subjects is not None and len(np.unique(subjects)) < len(error):
        names, subject_of = np.unique(subjects, return_inverse=True)
        error = np.bincount(subject_of, error) * math.sqrt(len(names) / (len(names) - 1))
        smallest = min(len(np.unique(subject_of[positive == sign])) for sign in (True, False))
        quantile = float(stats.t.ppf((1 + confidence) / 2, max(smallest - 1, 1)))
    standard_error = float(np.linalg.norm(error))
    margin = quantile * standard_error
    low, high = max(difference - margin, -1.0), min(difference + margin, 1.0)
    if standard_error > 1e-12:
        p_value = float(2 * stats.norm.sf(abs(difference) / standard_error))
    elif difference == 0:
        p_value = 1.0
    else:  # perfect against reversed or constant: each disjoint pair is a fair coin under the null
        p_value = min(1.0, 2 * 0.5**smallest)
        one = auc_interval(labels, first, confidence=confidence)
        other = auc_interval(labels, second, confidence=confidence)
        low, high = one.low - other.high, one.high - other.low
    return PairedTest(Interval(difference, low, high, len(positive)), p_value)


def wilson_interval(successes: int, n: int, *, confidence: float = 0.95) -> Interval:
    """Return a proportion with Wilson's score interval.

    Parameters
    ----------
    successes, n : int
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
    _z(confidence)  # refuses what is no confidence
    found = stats.binomtest(successes, n).proportion_ci(confidence, method="wilson")
    return Interval(successes / n, float(found.low), float(found.high), int(n))


def mean_of_proportions(parts: list[Interval]) -> Interval:
    """Return the mean of independent proportions, its interval recovered from theirs.

    Balanced accuracy is the mean of the classes' sensitivities. Parts without images are left out.

    Parameters
    ----------
    parts : list of Interval
        Wilson intervals of one confidence.

    Returns
    -------
    Interval

    References
    ----------
    Zou and Donner, Statistics in Medicine 27 (2008) 1693-1702 (variance estimates recovery).
    """
    parts = [part for part in parts if part.n > 0]
    mean = float(np.mean([part.value for part in parts]))
    below = math.hypot(*(part.value - part.low for part in parts)) / len(parts)
    above = math.hypot(*(part.high - part.value for part in parts)) / len(parts)
    return Interval(mean, mean - below, mean + above, sum(part.n for part in parts))


def bootstrap_interval(
    statistic: Callable[..., float],
    *arrays: np.ndarray,
    groups: np.ndarray | None = None,
    n_resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Return a statistic with its percentile bootstrap interval.

    Parameters
    ----------
    statistic : callable
        Called with the arrays, resampled along their first axis together; returns one number. A
        resample for which it is NaN (one class only, say) is left out.
    *arrays : ndarray, shape (n, ...)
    groups : ndarray, shape (n,), optional
        Whose image each row is. Given, whole groups are drawn instead of rows: images of one
        subject are not independent, and drawing them apart makes intervals too narrow.
    n_resamples : int
    confidence : float
    seed : int

    Returns
    -------
    Interval

    Raises
    ------
    DataError
        If the lengths differ or the statistic is NaN in more than half of the resamples.

    References
    ----------
    Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13; drawing subjects:
    Field and Welsh, Journal of the Royal Statistical Society B 69 (2007) 369-390.
    """
    values = bootstrap_values(statistic, *arrays, groups=groups, n_resamples=n_resamples, seed=seed)
    low, high = percentile_bounds(values, confidence=confidence)
    return Interval(float(statistic(*arrays)), float(low), float(high), len(arrays[0]))


def bootstrap_values(
    statistic: Callable[..., float | np.ndarray],
    *arrays: np.ndarray,
    groups: np.ndarray | None = None,
    n_resamples: int = 2000,
    seed: int = 0,
) -> np.ndarray:
    """Return the statistic of every bootstrap resample; see :func:`bootstrap_interval`.

    Returns
    -------
    ndarray, shape (n_resamples,) or (n_resamples, k) for a statistic that gives k numbers
    """
    if not arrays or len(arrays[0]) == 0:
        raise DataError("bootstrap", expected="at least one row", found="none")
    arrays = tuple(np.asarray(array) for array in arrays)
    n = len(arrays[0])
    lengths = [len(array) for array in arrays] + ([] if groups is None else [len(groups)])
    if set(lengths) != {n}:
        raise DataError("bootstrap", expected="arrays of one length", found=f"lengths {lengths}")
    rng = np.random.default_rng(seed)
    draw = _row_sampler(n, groups)
    resamples = (draw(rng) for _ in range(n_resamples))
    return np.array([statistic(*(array[rows] for array in arrays)) for rows in resamples])


def crossed_bootstrap(
    statistic: Callable[[np.ndarray, np.ndarray], float],
    labels: np.ndarray,
    scores: np.ndarray,
    *,
    subjects: np.ndarray,
    n_resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Return the mean of a statistic over seeds, with an interval over seeds and subjects together.

    A resample draws seeds and, independently of them, subjects, each with replacement. The interval
    is that of Student's t: the resamples' standard deviation, times sqrt(k / (k - 1)) because a
    bootstrap of k things spreads too little, with k - 1 degrees of freedom; k is the number of
    seeds or that of subjects, whichever is smaller.

    Parameters
    ----------
    statistic : callable
        Called with labels and the scores of one seed for the same images; returns one number. A
        resample of subjects for which it is NaN is left out.
    labels : ndarray, shape (n,)
    scores : ndarray, shape (seeds, n, ...)
        What the networks of several seeds say of the same images. A last axis of two models gives
        paired differences.
    subjects : ndarray, shape (n,)
    n_resamples : int
    confidence : float
    seed : int

    Returns
    -------
    Interval

    Raises
    ------
    DataError
        With fewer than two seeds or two subjects: nothing is known of others then.

    References
    ----------
    Owen, The pigeonhole bootstrap, Annals of Applied Statistics 1 (2007) 386-411.
    """
    fewest = min(len(scores), len(np.unique(subjects)))
    if fewest < 2:
        found = f"{len(scores)} and {len(np.unique(subjects))}"
        raise DataError("bootstrap", expected="two seeds and two subjects or more", found=found)
    rng, draw = np.random.default_rng(seed), _row_sampler(len(labels), subjects)
    values = np.empty(n_resamples)
    for k in range(n_resamples):
        rows, seeds = draw(rng), rng.integers(len(scores), size=len(scores))
        which, counts = np.unique(seeds, return_counts=True)
        found = [statistic(labels[rows], scores[each][rows]) for each in which]
        values[k] = np.average(found, weights=counts)
    value = float(np.mean([statistic(labels, each) for each in scores]))
    spread = np.nanstd(values, ddof=1) * math.sqrt(fewest / (fewest - 1))
    margin = float(stats.t.ppf((1 + confidence) / 2, fewest - 1)) * float(spread)
    return Interval(value, value - margin, value + margin, len(labels))


def percentile_bounds(values: np.ndarray, *, confidence: float = 0.95) -> np.ndarray:
    """Return the lower and upper percentiles of bootstrap values, without the undefined ones.

    Parameters
    ----------
    values : ndarray, shape (n_resamples,)
    confidence : float

    Returns
    -------
    ndarray, shape (2,)

    Raises
    ------
    DataError
        If more than half of the values are NaN.
    """
    defined = values[~np.isnan(values)]
    if len(defined) <= len(values) / 2:
        raise DataError(
            "bootstrap",
            expected="a statistic defined in most resamples",
            found=f"{len(values) - len(defined)} of {len(values)} undefined",
            advice="There are too few images or subjects of one class for an interval",
        )
    tail = (1 - confidence) / 2
    return np.quantile(defined, [tail, 1 - tail])


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


def separable_bounds(
    value: float, n_pairs: int, *, confidence: float = 0.95
) -> tuple[float, float]:
    """Return exact bounds of an area of 0 or 1 from n independent pairs, all of them ordered alike.

    Every pair of one positive and one negative image is in order with a probability that is the
    area itself, so that the lower bound of an area of one is (alpha / 2) ** (1 / n_pairs).
    """
    bound = ((1 - confidence) / 2) ** (1 / n_pairs)
    return (bound, 1.0) if value > 0.5 else (0.0, 1 - bound)


def _auc_influence(positive: np.ndarray, scores: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the area and every image's share in its error, whose squares add up to the variance.

    These are DeLong's structural components, centred and scaled, computed from midranks.
    """
    scores = np.asarray(scores, dtype=float)
    n_positive = int(positive.sum())
    n_negative = len(positive) - n_positive
    ranks = stats.rankdata(scores)
    influence = np.empty(len(scores))
    # the share of the other class that lies below a positive, or above a negative, image
    influence[positive] = (ranks[positive] - stats.rankdata(scores[positive])) / n_negative
    influence[~positive] = 1 - (ranks[~positive] - stats.rankdata(scores[~positive])) / n_positive
    auc = float(influence[positive].mean())
    influence -= auc
    influence[positive] /= math.sqrt(n_positive * max(n_positive - 1, 1))
    influence[~positive] /= math.sqrt(n_negative * max(n_negative - 1, 1))
    return auc, influence


def _logit_interval(
    auc: float, standard_error: float, smallest: int, n: int, confidence: float
) -> Interval:
    if smallest < 2:
        return Interval(auc, 0.0, 1.0, n)
    if min(auc, 1 - auc) < 1e-12:
        low, high = separable_bounds(auc, smallest, confidence=confidence)
        return Interval(auc, low, high, n)
    logit = math.log(auc / (1 - auc))
    margin = _z(confidence) * standard_error / (auc * (1 - auc))
    low, high = (1 / (1 + math.exp(-bound)) for bound in (logit - margin, logit + margin))
    return Interval(auc, low, high, n)


def _row_sampler(n: int, groups: np.ndarray | None) -> Callable[[np.random.Generator], np.ndarray]:
    if groups is None:
        return lambda rng: rng.integers(n, size=n)
    _, group_of_row = np.unique(groups, return_inverse=True)
    order = np.argsort(group_of_row, kind="stable")
    rows_of_group = np.split(order, np.cumsum(np.bincount(group_of_row))[:-1])

    def draw(rng: np.random.Generator) -> np.ndarray:
        chosen = rng.integers(len(rows_of_group), size=len(rows_of_group))
        return np.concatenate([rows_of_group[group] for group in chosen])

    return draw


def _binary(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    labels, scores = np.asarray(labels), np.asarray(scores, dtype=float)
    if scores.ndim != 1:
        raise DataError("scores", expected="shape (n,)", found=f"shape {scores.shape}")
    _expect_scores(labels, scores)
    if not np.isin(labels, (0, 1)).all():
        raise DataError("labels", expected="0 and 1", found=f"{np.unique(labels)[:5].tolist()}")
    _present_classes(labels)
    return labels == 1


def _expect_scores(labels: np.ndarray, scores: np.ndarray) -> None:
    if len(labels) != len(scores) or labels.ndim != 1:
        found = f"shapes {labels.shape} and {scores.shape}"
        raise DataError("labels and scores", expected="one label for each score", found=found)
    rows = np.flatnonzero(~np.isfinite(scores).all(axis=tuple(range(1, scores.ndim))))
    if len(rows):
        found = f"NaN or infinity in {len(rows)} of {len(scores)} rows, the first is row {rows[0]}"
        raise DataError("scores", expected="finite values", found=found)


def _present_classes(labels: np.ndarray) -> np.ndarray:
    present = np.unique(labels)
    if len(present) < 2:
        raise DataError(
            "labels",
            expected="images of two classes or more",
            found=f"only class {present[0]}" if len(present) else "no images",
            advice="An area under the ROC curve compares classes; add images of another class",
        )
    return present


def _z(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise UsageError("confidence", expected="between 0 and 1", found=str(confidence))
    return float(stats.norm.ppf((1 + confidence) / 2))

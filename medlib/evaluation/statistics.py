"""Intervals and tests: what a number measured on n images can and cannot say.

Images of one subject are alike, so that they say less than as many subjects would. Functions take
``subjects``: whose image each is. Without it every image counts as a subject of its own.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import special, stats

from medlib.errors import DataError

TAIL = 0.025  # of a 95 % interval, on either side


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


def wilson_interval(successes: float, n: float) -> Interval:
    """Return a proportion with Wilson's 95 % score interval.

    Parameters
    ----------
    successes, n : float
        Counts, or effective counts, which need not be whole.

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
    z, share = -stats.norm.ppf(TAIL), successes / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    margin = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    low = 0.0 if successes == 0 else float(centre - margin)
    high = 1.0 if successes == n else float(centre + margin)
    return Interval(share, low, high, int(n))


def proportion_interval(correct: np.ndarray, *, subjects: np.ndarray | None = None) -> Interval:
    """Return the share of images that are correct; its 95 % interval knows their subjects.

    It is Wilson's interval with an effective number of images: as many independent ones as would
    vary as much as the subjects do. Where errors are rare that number is far too high if they
    happen not to cluster, and unknown if there are none. It is therefore taken with two subjects
    added, one all correct and one all wrong, and is at most n and at least what it would be if
    all images of a subject were copies of one. Where each image has its own subject it is n.
    With fewer than five subjects the interval is wide, and `benchmarks/coverage.py` has not tried
    it. One subject says nothing about others: [0, 1].

    Parameters
    ----------
    correct : ndarray of bool, shape (n,)
    subjects : ndarray, shape (n,), optional

    Returns
    -------
    Interval
        All NaN when n is zero.

    References
    ----------
    Korn and Graubard, Survey Methodology 24 (1998) 193-201 (effective number); Saha, Miller and
    Wang, International Journal of Biostatistics 12 (2016), doi:10.1515/ijb-2015-0024 (Wilson).
    """
    correct = np.asarray(correct, dtype=float)
    n = len(correct)
    if n == 0:
        return wilson_interval(0, 0)
    value, size = float(correct.mean()), _effective_images(correct, _numbered(subjects, n))
    if size == 0:
        return Interval(value, 0.0, 1.0, n)
    found = wilson_interval(value * size, size)
    return Interval(value, found.low, found.high, n)


def balanced_accuracy_interval(
    correct: np.ndarray, labels: np.ndarray, *, subjects: np.ndarray | None = None
) -> Interval:
    """Return the mean over classes of the share of images that are correct, with its 95 % interval.

    The interval is recovered from the exact (Clopper-Pearson) ones of the classes, with numbers of
    images as in :func:`proportion_interval`, and from the correlation of errors in subjects that
    have images of several classes. Recovered from Wilson's it covers 90 % at 7 + 7 images.

    Parameters
    ----------
    correct : ndarray of bool, shape (n,)
    labels : ndarray of int, shape (n,)
        Classes that no image has are left out.
    subjects : ndarray, shape (n,), optional

    Returns
    -------
    Interval

    References
    ----------
    Zou and Donner, Statistics in Medicine 27 (2008) 1693-1702 (variance estimates recovery).
    """
    correct, labels = np.asarray(correct, dtype=float), np.asarray(labels)
    subjects, values, margins, errors = _numbered(subjects, len(labels)), [], [], []
    for rows in (labels == c for c in np.unique(labels)):
        value = correct[rows].mean()
        size = _effective_images(correct[rows], _numbered(subjects[rows], rows.sum()))
        right, wrong = value * size, (1 - value) * size
        low = np.nan_to_num(stats.beta.ppf(TAIL, right, wrong + 1), nan=0.0)
        high = np.nan_to_num(stats.beta.ppf(1 - TAIL, right + 1, wrong), nan=1.0)
        values.append(value)
        margins.append((value - low, high - value))
        sums = np.bincount(subjects, np.where(rows, correct - value, 0))
        errors.append(sums / max(np.linalg.norm(sums), 1e-12))
    correlation = np.maximum(np.inner(errors, errors), 0)  # a negative one is not relied upon
    np.fill_diagonal(correlation, 1)
    value, (below, above) = float(np.mean(values)), np.array(margins).T / len(values)
    low = value - math.sqrt(below @ correlation @ below)
    high = value + math.sqrt(above @ correlation @ above)
    return Interval(value, max(low, 0.0), min(high, 1.0), len(labels))


def area_under_curve(positive: np.ndarray, scores: np.ndarray) -> float:
    """Return the area under the ROC curve; ties count half; NaN without a class or with a NaN.

    Parameters
    ----------
    positive : ndarray of bool, shape (n,)
    scores : ndarray, shape (n,)
    """
    positives, negatives = scores[positive], np.sort(scores[~positive])
    n_pairs = len(positives) * len(negatives)
    if n_pairs == 0 or np.isnan(scores).any():
        return math.nan
    below = [np.searchsorted(negatives, positives, side).sum() for side in ("left", "right")]
    return float(sum(below) / 2 / n_pairs)  # whole numbers until here, as ranks would give


def auc_interval(
    labels: np.ndarray, scores: np.ndarray, *, subjects: np.ndarray | None = None
) -> Interval:
    """Return the area under the ROC curve with DeLong's 95 % interval on the logit scale.

    The logit keeps the interval inside [0, 1] and close to its nominal coverage for areas near
    one. DeLong's components are added up by subject, and the quantile is Student's, because the
    variance rests on few subjects. The variance is at least that of n independent pairs of
    a positive and a negative image, and at most that of k, the effective number of subjects of
    the smaller class. The bound of perfectly separated classes is the exact binomial one for k
    pairs. With five subjects the interval is close to [0, 1]; with a single one in a class nothing
    is known: [0, 1].

    Given a column a class it is the mean of the areas of one class against the rest. An image
    takes part in each, so DeLong's components are averaged over the classes before their variance
    is taken.

    Parameters
    ----------
    labels : ndarray of int, shape (n,)
    scores : ndarray, shape (n,) or (n, classes)
        Higher means more likely class 1, or the column's; any scale. Classes that no image has
        are left out.
    subjects : ndarray, shape (n,), optional

    Returns
    -------
    Interval

    Raises
    ------
    DataError
        If the lengths differ, a score is not finite or there is only one class.

    References
    ----------
    DeLong, DeLong and Clarke-Pearson, Biometrics 44 (1988) 837-845; the fast computation from
    midranks: Sun and Xu, IEEE Signal Processing Letters 21 (2014) 1389-1393; the sum by subject:
    Obuchowski, Biometrics 53 (1997) 567-578; the logit: Pepe, The Statistical Evaluation of
    Medical Tests (2003), section 5.2; at most A (1 - A) / k: Hoeffding, Journal of the American
    Statistical Association 58 (1963) 13-30, section 5.
    """
    labels, scores, subjects = check_scores(labels, scores, subjects)
    auc, influence = _auc_influence(labels, scores)
    variance, degrees, smallest = _between_subjects(influence, labels, subjects)
    n, spread = len(labels), auc * (1 - auc)
    if smallest < 1 + 1e-9:
        return Interval(auc, 0.0, 1.0, n)
    if spread < 1e-12:  # every pair is in order with a probability that is the area itself
        bound = TAIL ** (1 / smallest)
        return Interval(auc, bound, 1.0, n) if auc > 0.5 else Interval(auc, 0.0, 1 - bound, n)
    squared = variance * stats.t.ppf(TAIL, degrees) ** 2
    pairs = np.array([n * scores[0].size ** 2, smallest])  # with columns: as if one area varied
    least, most = spread / pairs * stats.norm.ppf(TAIL) ** 2
    margin = math.sqrt(np.clip(squared, least, most)) / spread
    low, high = special.expit(special.logit(auc) + np.array([-margin, margin]))
    return Interval(auc, float(low), float(high), n)


def auc_test(
    labels: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    *,
    subjects: np.ndarray | None = None,
) -> PairedTest:
    """Compare two areas under the ROC curve measured on the same images: DeLong's paired test.

    Parameters
    ----------
    labels : ndarray of int, shape (n,)
    first, second : ndarray, shape (n,) or (n, classes)
        The two models' scores for the same images, in the same order.
    subjects : ndarray, shape (n,), optional

    Returns
    -------
    PairedTest
        The difference is the first area minus the second, with its 95 % interval.

    Raises
    ------
    DataError
        If the lengths differ, a score is not finite or a class has fewer than two subjects.

    References
    ----------
    DeLong, DeLong and Clarke-Pearson, Biometrics 44 (1988) 837-845, equation 5; by subject:
    Obuchowski, Biometrics 53 (1997) 567-578.
    """
    labels, first, subjects = check_scores(labels, first, subjects)
    second = check_scores(labels, second, subjects)[1]
    auc, influence = _auc_influence(labels, first)
    other_auc, other_influence = _auc_influence(labels, second)
    difference, influence = auc - other_auc, influence - other_influence
    variance, degrees, smallest = _between_subjects(influence, labels, subjects)
    if smallest < 1 + 1e-9:
        raise DataError("labels", expected="two subjects or more of each class", found="only one")
    if variance > 1e-20:
        error = math.sqrt(variance)
        p_value = float(2 * stats.t.sf(abs(difference) / error, degrees))
        margin = -stats.t.ppf(TAIL, degrees) * error
        low, high = max(difference - margin, -1.0), min(difference + margin, 1.0)
    elif np.array_equal(stats.rankdata(first, axis=0), stats.rankdata(second, axis=0)):
        p_value, low, high = 1.0, 0.0, 0.0
    else:  # perfect against reversed, constant or perfect: each disjoint pair is a fair coin
        p_value = 1.0 if difference == 0 else min(1.0, 2 * 0.5**smallest)
        one, other = (auc_interval(labels, each, subjects=subjects) for each in (first, second))
        low, high = one.low - other.high, one.high - other.low
    return PairedTest(Interval(difference, low, high, len(labels)), p_value)


def seeds_and_patients_interval(
    statistic: Callable[[np.ndarray, np.ndarray], float],
    labels: np.ndarray,
    scores: np.ndarray,
    *,
    subjects: np.ndarray,
    logit: bool = False,
    confidence: float = 0.95,
) -> Interval:
    """Return a statistic's mean over training seeds, its interval for other seeds and patients.

    Of 5 or 10 seeds and 30 to 90 patients the 95 % interval covers in 93 to 97 % of trials, but for
    areas of .97 in 90 % with 15 patients a class, 92 % with 45 (`benchmarks/coverage.py`).

    Every subject is left out in turn (jackknife), for every seed. The pseudo-values are a table
    of seeds by subjects without replicates, whose variance components give the standard error
    of the mean; the quantile is Student's with Satterthwaite's degrees of freedom.

    Parameters
    ----------
    statistic : callable
        ``statistic(labels, scores_of_one_seed)`` gives one number that changes smoothly with the
        subjects: an AUC, a share, a mean (of Dice, say), or a difference of two; not a median.
    labels : ndarray, shape (n, ...)
    scores : ndarray, shape (seeds, n, ...)
        Predictions of the networks of all seeds for the same images. To compare two models, stack
        them on a last axis; where they have seeds of their own, pair these in any order.
    subjects : ndarray, shape (n,)
    logit : bool
        For a statistic between 0 and 1 (not a difference): an interval on the logit scale covers
        better, and lies between 0 and 1.
    confidence : float

    Returns
    -------
    Interval
        ``n`` counts images. Bounds are NaN where nothing varies: that is no certainty.

    Raises
    ------
    DataError
        If shapes do not fit, there are fewer than two seeds or subjects, or the statistic is NaN
        without one of the subjects.

    References
    ----------
    Dorfman, Berbaum and Metz, Investigative Radiology 27 (1992) 723-731, with seeds for readers;
    Hillis, Statistics in Medicine 26 (2007) 596-619, for the degrees of freedom.
    """
    labels, scores, codes = np.asarray(labels), np.asarray(scores), _numbered(subjects, len(labels))
    n_seeds, n_subjects = len(scores), codes.max() + 1
    if scores.shape[1:2] != labels.shape[:1] or min(n_seeds, n_subjects) < 2:
        expected = f"shape (seeds, {len(labels)}, ...), two seeds and two subjects or more"
        found = f"shape {scores.shape}, {n_subjects} subjects"
        raise DataError("scores", expected=expected, found=found)
    whole = np.array([statistic(labels, each) for each in scores])
    kept = [np.flatnonzero(codes != subject) for subject in range(n_subjects)]
    without = np.array([[statistic(labels[k], each[k]) for k in kept] for each in scores])
    if np.isnan(without).any():
        expected = "two or more of each class, so that the statistic exists without any one"
        raise DataError("subjects", expected=expected, found="NaN without one of them")
    pseudo = n_subjects * whole[:, None] - (n_subjects - 1) * without
    of_seed, of_subject = pseudo.mean(axis=1), pseudo.mean(axis=0)
    residual = pseudo - of_seed[:, None] - of_subject + pseudo.mean()
    free = np.array([n_seeds - 1, n_subjects - 1])
    seeds = n_subjects * of_seed.var(ddof=1)
    patients = n_seeds * of_subject.var(ddof=1)
    both = (residual**2).sum() / free.prod()
    square = max(seeds + patients - both, seeds, patients)  # no component is negative
    terms = np.array([seeds**2, patients**2, both**2]) / [*free, free.prod()]
    value = float(whole.mean())
    if square < 1e-20:
        return Interval(value, math.nan, math.nan, len(labels))
    quantile = stats.t.ppf((1 + confidence) / 2, square**2 / terms.sum())
    margin = quantile * math.sqrt(square / pseudo.size) * np.array([-1, 1])
    if logit:
        low, high = special.expit(special.logit(value) + margin / (value * (1 - value)))
    else:
        low, high = value + margin
    return Interval(value, float(low), float(high), len(labels))


def bootstrap_interval(
    statistic: Callable[..., float],
    *arrays: np.ndarray,
    groups: np.ndarray | None = None,
    n_resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Return a statistic with its 95 % percentile bootstrap interval.

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
    seed : int

    Returns
    -------
    Interval
        Bounds are NaN where all resamples give the same number, which shows no spread and is no
        certainty, or where the statistic is NaN in half of them or more: too few images of a class.
        With few subjects :func:`auc_interval` and :func:`proportion_interval` cover better.

    Raises
    ------
    DataError
        If the lengths differ.

    References
    ----------
    Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13; drawing subjects:
    Field and Welsh, Journal of the Royal Statistical Society B 69 (2007) 369-390.
    """
    values = bootstrap_values(statistic, *arrays, groups=groups, n_resamples=n_resamples, seed=seed)
    defined = values[~np.isnan(values)]
    low = high = math.nan
    if len(defined) > len(values) / 2 and np.ptp(defined) >= 1e-12:
        low, high = map(float, np.quantile(defined, [TAIL, 1 - TAIL]))
    return Interval(float(statistic(*arrays)), low, high, len(arrays[0]))


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
    arrays = tuple(np.asarray(array) for array in arrays)
    lengths = sorted({len(array) for array in arrays})
    if len(lengths) != 1 or lengths == [0]:
        raise DataError("bootstrap", expected="arrays of one length", found=f"lengths {lengths}")
    group_of_row = _numbered(groups, lengths[0])
    order = np.argsort(group_of_row, kind="stable")
    rows_of_group = np.split(order, np.cumsum(np.bincount(group_of_row))[:-1])
    rng, values = np.random.default_rng(seed), []
    for _ in range(n_resamples):
        drawn = rng.integers(len(rows_of_group), size=len(rows_of_group))
        rows = np.concatenate([rows_of_group[group] for group in drawn])
        values.append(statistic(*(array[rows] for array in arrays)))
    return np.array(values)


def check_scores(
    labels: np.ndarray, scores: np.ndarray, subjects: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return labels, finite scores and the number of every image's subject, or say what is wrong.

    Parameters
    ----------
    labels : ndarray of int, shape (n,)
    scores : ndarray, shape (n,) or (n, classes)
    subjects : ndarray, shape (n,), optional

    Returns
    -------
    labels : ndarray of int64, shape (n,)
    scores : ndarray of float
    subjects : ndarray of int, shape (n,)

    Raises
    ------
    DataError
        If lengths or shapes are wrong, a score is not finite, or a label is no class's number.
    """
    labels, scores = np.asarray(labels), np.asarray(scores, dtype=float)
    one_each = labels.ndim == 1 and scores.shape[:1] == labels.shape
    if not one_each or scores.ndim > 2 or len(labels) == 0:
        found = f"shapes {labels.shape} and {scores.shape}"
        raise DataError("labels", expected="one for each image, at least one", found=found)
    n_classes = 2 if scores.ndim == 1 else scores.shape[1]
    expect_rows("labels", f"0 to {n_classes - 1}", np.isin(labels, np.arange(n_classes)))
    expect_rows("scores", "finite numbers", np.isfinite(scores))
    return labels.astype(np.int64), scores, _numbered(subjects, len(labels))


def expect_rows(subject: str, expected: str, right: np.ndarray) -> None:
    """Raise DataError naming the first row that is not all right."""
    rows = np.flatnonzero(~right.all(axis=tuple(range(1, right.ndim))))
    if len(rows):
        found = f"other values in {len(rows)} of {len(right)} rows, the first is row {rows[0]}"
        raise DataError(subject, expected=expected, found=found)


def _numbered(subjects: np.ndarray | None, n: int) -> np.ndarray:
    """Number subjects from zero without gaps; without subjects, images."""
    if subjects is None:
        return np.arange(n)
    if len(subjects) != n:
        raise DataError("subjects", expected=f"{n}, one an image", found=str(len(subjects)))
    return np.unique(subjects, return_inverse=True)[1]


def _effective_images(correct: np.ndarray, subjects: np.ndarray) -> float:
    """Return how many independent images say as much; 0 if all are of one subject."""
    images, right = np.bincount(subjects), np.bincount(subjects, correct)
    if len(images) == 1:
        return 0.0
    n, mean = images.sum(), images.mean()
    more, right = np.append(images, [mean, mean]), np.append(right, [mean, 0])
    total = more.sum()
    share = right.sum() / total
    errors = (right - share * more) / np.sqrt(1 - more / total)  # as in _between_subjects
    design_effect = errors @ errors * (total - 1) / (total**2 * share * (1 - share))
    return float(np.clip(n / design_effect, n**2 / (images @ images), n))


def _auc_influence(labels: np.ndarray, scores: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the (mean) area and every image's share in its error.

    These are DeLong's structural components, centred and divided by the images of their class,
    computed from midranks.
    """
    present = np.unique(labels)
    if len(present) < 2:
        raise DataError(
            "labels", expected="images of two classes", found=f"only class {present[0]}"
        )
    if scores.ndim == 2:
        parts = [_auc_influence((labels == c).astype(int), scores[:, c]) for c in present]
        return float(np.mean([part[0] for part in parts])), np.mean([p[1] for p in parts], axis=0)
    positive, ranks = labels == 1, stats.rankdata(scores)
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    influence = np.empty(len(scores))
    # the share of the other class that lies below a positive, or above a negative, image
    influence[positive] = (ranks[positive] - stats.rankdata(scores[positive])) / n_negative
    influence[~positive] = 1 - (ranks[~positive] - stats.rankdata(scores[~positive])) / n_positive
    auc = float(influence[positive].mean())
    return auc, (influence - auc) / np.where(positive, n_positive, n_negative)


def _between_subjects(
    influence: np.ndarray, labels: np.ndarray, subjects: np.ndarray
) -> tuple[float, float, float]:
    """Return the variance of the sum of influences, its degrees of freedom, effective subjects.

    A subject with the share w of a class's images pulls the estimate towards itself, so that its
    sum is too small by sqrt(1 - w) (Bell and McCaffrey, Survey Methodology 28 (2002) 169-181);
    for independent images that is DeLong's n - 1. A class is worth 1 / sum(w^2) subjects.
    Degrees of freedom are Satterthwaite's, effective subjects those of the smallest class.
    """
    n_subjects, total, squares, effective = subjects.max() + 1, 0.0, [], []
    for of_class in (labels == c for c in np.unique(labels)):
        weights = np.bincount(subjects, of_class, n_subjects) / of_class.sum()
        sums = np.bincount(subjects, influence * of_class, n_subjects)
        sums /= np.sqrt(np.maximum(1 - weights, 1e-12))
        total = total + sums
        squares.append(max(sums @ sums, 1e-30))
        effective.append(1 / (weights @ weights))
    squares, free = np.array(squares), np.maximum(np.array(effective) - 1, 1e-12)
    weights = np.bincount(subjects) / len(subjects)
    degrees = min(squares.sum() ** 2 / (squares**2 / free).sum(), 1 / (weights @ weights) - 1)
    return float(total @ total), degrees, min(effective)

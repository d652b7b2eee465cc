"""What a classifier is worth: a table of metrics with intervals, and the baseline to beat."""

import numpy as np
import pandas as pd

from medlib.errors import DataError, UsageError
from medlib.evaluation.statistics import (
    Interval,
    area_under_curve,
    auc_interval,
    bootstrap_values,
    macro_auc_interval,
    mean_of_proportions,
    percentile_bounds,
    separable_bounds,
    wilson_interval,
)

N_RESAMPLES = 1000  # the bounds then move by less than a tenth of the interval between seeds


def report(
    labels: np.ndarray,
    probabilities: np.ndarray,
    class_names: tuple[str, ...],
    *,
    threshold: float = 0.5,
    subjects: np.ndarray | None = None,
    majority: int | None = None,
) -> pd.DataFrame:
    """Measure a classifier: every metric with its 95 % interval and the number of images behind it.

    Two classes give AUC, accuracy, balanced accuracy, sensitivity and specificity for class 1,
    which is named; more give the macro one-versus-rest AUC, accuracy, balanced accuracy and every
    class's sensitivity. The last row is the accuracy of always answering the commonest class.

    Parameters
    ----------
    labels : ndarray of int, shape (n,)
        Index into ``class_names``.
    probabilities : ndarray, shape (n,) or (n, classes)
        Of class 1, or of every class.
    class_names : tuple of str
    threshold : float
        Two classes: class 1 is answered from this probability on. More: the likeliest is answered.
    subjects : ndarray of str, shape (n,), optional
        Whose image each is. If several images share a subject, intervals come from a bootstrap
        over subjects, otherwise from DeLong (AUC) and Wilson (proportions).
    majority : int, optional
        Index of the class that was commonest in training; by default the commonest here.

    Returns
    -------
    DataFrame
        Columns ``metric``, ``value``, ``low``, ``high`` and ``n``. A class without images has NaN.

    Raises
    ------
    DataError
        If lengths differ, a probability is NaN or outside [0, 1], a label has no class name, or
        only one class occurs.
    """
    labels, probabilities = _checked(labels, probabilities, class_names)
    if len(np.unique(labels)) < 2:
        raise DataError(
            "labels",
            expected="images of two classes or more",
            found=f"only {class_names[labels[0]]!r}",
            advice="Metrics compare classes; add images of another class",
        )
    if majority is None:
        majority = int(np.bincount(labels).argmax())
    metrics = _independent_metrics(labels, probabilities, class_names, threshold, majority)
    if subjects is not None:
        subjects = np.asarray(subjects)
        if len(subjects) != len(labels):
            raise DataError(
                "subjects", expected=f"{len(labels)}, one an image", found=str(len(subjects))
            )
        if len(np.unique(subjects)) < len(labels):
            metrics = _clustered(metrics, labels, probabilities, threshold, subjects, majority)
    rows = [(name, found.value, found.low, found.high, found.n) for name, found in metrics.items()]
    return pd.DataFrame(rows, columns=["metric", "value", "low", "high", "n"])


def predicted_labels(probabilities: np.ndarray, *, threshold: float = 0.5) -> np.ndarray:
    """Return the answer for each image.

    Parameters
    ----------
    probabilities : ndarray, shape (n,) or (n, classes)
        Of class 1, or of every class.
    threshold : float
        Two classes: class 1 is answered from this probability on. More: the likeliest is answered.

    Returns
    -------
    ndarray of int64, shape (n,)
    """
    probabilities = np.asarray(probabilities)
    if probabilities.ndim == 2 and probabilities.shape[1] > 2:
        return probabilities.argmax(axis=1)
    if probabilities.ndim == 2:
        probabilities = probabilities[:, -1]
    return (probabilities >= threshold).astype(np.int64)


def confusion_matrix(
    labels: np.ndarray,
    probabilities: np.ndarray,
    class_names: tuple[str, ...],
    *,
    threshold: float = 0.5,
) -> pd.DataFrame:
    """Count images by true class (rows) and answered class (columns).

    Parameters
    ----------
    labels, probabilities, class_names, threshold
        As for :func:`report`.

    Returns
    -------
    DataFrame of int, one row and one column a class
    """
    from sklearn.metrics import confusion_matrix as count

    labels, probabilities = _checked(labels, probabilities, class_names)
    answers = predicted_labels(probabilities, threshold=threshold)
    counts = count(labels, answers, labels=np.arange(len(class_names)))
    return pd.DataFrame(
        counts,
        index=pd.Index(class_names, name="true"),
        columns=pd.Index(class_names, name="answered"),
    )


def _independent_metrics(
    labels: np.ndarray,
    probabilities: np.ndarray,
    class_names: tuple[str, ...],
    threshold: float,
    majority: int,
) -> dict[str, Interval]:
    correct = predicted_labels(probabilities, threshold=threshold) == labels
    recalls = [
        wilson_interval(int(correct[labels == c].sum()), int((labels == c).sum()))
        for c in range(len(class_names))
    ]
    if probabilities.ndim == 1:
        auc = {"AUC": auc_interval(labels, probabilities)}
        by_class = {
            f"sensitivity ({class_names[1]})": recalls[1],
            f"specificity ({class_names[1]})": recalls[0],
        }
    else:
        auc = {"macro AUC": macro_auc_interval(labels, probabilities)}
        by_class = {
            f"sensitivity ({name})": recall
            for name, recall in zip(class_names, recalls, strict=True)
        }
    overall = {
        "accuracy": wilson_interval(int(correct.sum()), len(labels)),
        "balanced accuracy": mean_of_proportions(recalls),
    }
    constant = wilson_interval(int((labels == majority).sum()), len(labels))
    return auc | overall | by_class | {"majority-class accuracy": constant}


def _clustered(
    metrics: dict[str, Interval],
    labels: np.ndarray,
    probabilities: np.ndarray,
    threshold: float,
    subjects: np.ndarray,
    majority: int,
) -> dict[str, Interval]:
    """Replace the intervals by those of a bootstrap that draws whole subjects."""
    n_classes = 2 if probabilities.ndim == 1 else probabilities.shape[1]
    present = np.isin(np.arange(n_classes), labels)

    def statistic(labels, probabilities):
        correct = predicted_labels(probabilities, threshold=threshold) == labels
        recalls = np.array([_mean(correct[labels == c]) for c in range(n_classes)])
        if probabilities.ndim == 1:
            auc, by_class = area_under_curve(labels == 1, probabilities), recalls[::-1]
        else:
            aucs = [area_under_curve(labels == c, probabilities[:, c]) for c in range(n_classes)]
            auc, by_class = _mean_defined(aucs), recalls
        # A class that this resample happens to miss leaves it undefined, not the others' recall.
        balanced = recalls[present].mean()
        return np.array([auc, correct.mean(), balanced, *by_class, (labels == majority).mean()])

    values = bootstrap_values(
        statistic, labels, probabilities, groups=subjects, n_resamples=N_RESAMPLES
    )
    of_class = [len(np.unique(subjects[labels == c])) for c in range(n_classes)]
    fewest, everyone = min(count for count in of_class if count), len(np.unique(subjects))
    of_class = of_class[::-1] if probabilities.ndim == 1 else of_class
    n_subjects = [fewest, everyone, fewest, *of_class, everyone]
    return {
        name: found if found.n == 0 else _clustered_interval(name, found, column, count)
        for (name, found), column, count in zip(metrics.items(), values.T, n_subjects, strict=True)
    }


def _clustered_interval(
    name: str, found: Interval, values: np.ndarray, n_subjects: int
) -> Interval:
    if n_subjects < 2:  # one subject says nothing about others
        low, high = 0.0, 1.0
    elif found.value not in (0.0, 1.0):
        low, high = percentile_bounds(values)
    elif "AUC" in name:  # every resample agrees, yet a handful of subjects proves little
        low, high = separable_bounds(found.value, n_subjects)
    else:
        bounds = wilson_interval(round(found.value * n_subjects), n_subjects)
        low, high = bounds.low, bounds.high
    return Interval(found.value, float(low), float(high), found.n)


def _checked(
    labels: np.ndarray, probabilities: np.ndarray, class_names: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Return integer labels and probabilities, (n,) for two classes, or say what is wrong."""
    labels, probabilities = np.asarray(labels), np.asarray(probabilities, dtype=float)
    n_classes = len(class_names)
    if n_classes < 2:
        raise UsageError("class_names", expected="two or more", found=str(tuple(class_names)))
    if probabilities.ndim == 2 and probabilities.shape[1] == 1 and n_classes == 2:
        probabilities = probabilities[:, 0]
    expected = "(n,) or (n, 2)" if n_classes == 2 else f"(n, {n_classes})"
    if probabilities.shape[1:] != (n_classes,) and not (n_classes == 2 and probabilities.ndim == 1):
        raise DataError(
            "probabilities", expected=f"shape {expected}", found=f"shape {probabilities.shape}"
        )
    if labels.ndim != 1 or len(labels) == 0 or len(labels) != len(probabilities):
        found = f"{labels.shape} labels for {len(probabilities)} probabilities"
        raise DataError("labels", expected="one for each image, at least one", found=found)
    _expect_no_rows(
        "labels",
        f"0 to {n_classes - 1}, one for each of {', '.join(map(str, class_names))}",
        ~np.isin(labels, np.arange(n_classes)),
    )
    flat = probabilities.reshape(len(labels), -1)
    _expect_no_rows("probabilities", "numbers, none NaN", np.isnan(flat).any(axis=1))
    outside = ((flat < -1e-6) | (flat > 1 + 1e-6)).any(axis=1)
    _expect_no_rows("probabilities", "values in [0, 1] (not logits)", outside)
    if probabilities.ndim == 2 and n_classes == 2:
        probabilities = probabilities[:, 1]
    return labels.astype(np.int64), probabilities


def _expect_no_rows(subject: str, expected: str, wrong: np.ndarray) -> None:
    rows = np.flatnonzero(wrong)
    if len(rows):
        found = f"other values in {len(rows)} of {len(wrong)} rows, the first is row {rows[0]}"
        raise DataError(subject, expected=expected, found=found)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else np.nan


def _mean_defined(values) -> float:
    values = np.asarray(values)
    return _mean(values[~np.isnan(values)])

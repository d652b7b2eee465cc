"""What a classifier is worth: a table of metrics with intervals, and the baseline to beat."""

import numpy as np
import pandas as pd

from medlib.errors import DataError, UsageError
from medlib.evaluation import statistics


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

    Two classes give AUC, accuracy, balanced accuracy, sensitivity (of class 1) and specificity;
    more give the macro one-versus-rest AUC, accuracy, balanced accuracy and every class's
    sensitivity. The last row is the accuracy of always giving one answer, the baseline to beat.

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
        Whose image each is: images of one subject are not independent. Left out, they are taken
        to be.
    majority : int, optional
        The class that was commonest in *training*. Left out, the last row is: these labels may
        not choose the baseline that is measured on them.

    Returns
    -------
    DataFrame
        Columns ``metric``, ``value``, ``low``, ``high`` and ``n``. A class without images has NaN.

    Raises
    ------
    DataError
        If lengths differ, a probability is NaN or outside [0, 1], a label has no class name, or
        only one class occurs.
    UsageError
        If ``majority`` is not the index of a class.

    See Also
    --------
    medlib.evaluation.statistics : how the intervals are made, and how few subjects are too few.
    """
    labels, probabilities, subjects = _checked(labels, probabilities, class_names, subjects)
    classes, share = range(len(class_names)), statistics.proportion_interval
    if len(np.unique(labels)) < 2:
        found = f"only {class_names[labels[0]]!r}"
        raise DataError("labels", expected="images of two classes or more", found=found)
    if majority is not None and majority not in classes:
        raise UsageError("majority", expected="the index of a class", found=repr(majority))
    correct = predicted_labels(probabilities, threshold=threshold) == labels
    recalls = [share(correct[labels == c], subjects=subjects[labels == c]) for c in classes]
    if len(class_names) == 2:
        name, finding = "AUC", class_names[1]
        by_class = {f"sensitivity ({finding})": recalls[1], f"specificity ({finding})": recalls[0]}
    else:
        name, pairs = "macro AUC", zip(class_names, recalls, strict=True)
        by_class = {f"sensitivity ({each})": recall for each, recall in pairs}
    balanced = statistics.balanced_accuracy_interval(correct, labels, subjects=subjects)
    metrics = {
        name: statistics.auc_interval(labels, probabilities, subjects=subjects),
        "accuracy": share(correct, subjects=subjects),
        "balanced accuracy": balanced,
        **by_class,
    }
    if majority is not None:
        metrics["majority-class accuracy"] = share(labels == majority, subjects=subjects)
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


def _checked(labels, probabilities, class_names: tuple[str, ...], subjects):
    """Return integer labels, probabilities, (n,) for two classes, and numbered subjects."""
    probabilities, n_classes = np.asarray(probabilities, dtype=float), len(class_names)
    inside = (probabilities >= -1e-6) & (probabilities <= 1 + 1e-6)  # NaN is not
    statistics.expect_rows("probabilities", "values in [0, 1], none NaN (not logits)", inside)
    if n_classes == 2 and probabilities.shape[1:] in [(1,), (2,)]:
        probabilities = probabilities[:, -1]
    if probabilities.shape[1:] != (() if n_classes == 2 else (n_classes,)):
        found = f"shape {probabilities.shape}"
        raise DataError("probabilities", expected=f"those of {n_classes} classes", found=found)
    return statistics.check_scores(labels, probabilities, subjects)

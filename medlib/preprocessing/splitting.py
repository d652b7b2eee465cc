"""Training, validation and test sets, and folds, that share no subject."""

import numpy as np

from medlib.errors import DataError, UsageError

SPLIT_NAMES = ("train", "validation", "test")


def split_by_subject(
    subjects: np.ndarray,
    labels: np.ndarray,
    *,
    fractions: tuple[float, float, float] = (0.70, 0.15, 0.15),
    seed: int = 0,
) -> np.ndarray:
    """Deal subjects out to three splits, such that each gets its share of every class.

    All images of a subject go to one split: images of one person resemble each other, and a
    model that has seen the person would be tested on what it remembers. A subject with several
    labels counts for the rarest of them.

    Parameters
    ----------
    subjects : ndarray of str, shape (n,)
    labels : ndarray, shape (n,)
    fractions : tuple of float
        Share of the images in training, validation and test; they add up to 1.
    seed : int
        The same seed gives the same splits, whatever the order of the rows.

    Returns
    -------
    ndarray of str, shape (n,)
        "train", "validation" or "test".

    Raises
    ------
    UsageError
        If the fractions are not positive or do not add up to 1.
    DataError
        If a class has fewer than three subjects, so that it cannot be in all splits.
    """
    if len(fractions) != 3 or min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-6:
        expected = "three positive numbers that add up to 1"
        raise UsageError("fractions", expected=expected, found=f"{fractions}")
    subjects, labels = np.asarray(subjects), np.asarray(labels)
    names, subject_of, sizes = np.unique(subjects, return_inverse=True, return_counts=True)
    stratum = _strata(subject_of, labels, len(names))
    generator = np.random.default_rng(seed)
    split_of = np.empty(len(names), dtype=int)
    for label in np.unique(labels):
        n_subjects = len(np.unique(subject_of[labels == label]))
        if n_subjects < 3:
            raise DataError(
                f"class {label}",
                expected="three subjects or more, one for each split",
                found=f"{n_subjects} (near-duplicates count as one subject)",
                advice="Add subjects, join classes, or give a split for every image",
            )
        members = generator.permutation(np.flatnonzero(stratum == label))
        split_of[members] = _deal(sizes[members], np.array(fractions))
    return np.array(SPLIT_NAMES)[split_of[subject_of]]


def fold_by_subject(
    groups: np.ndarray, labels: np.ndarray, *, n_folds: int = 5, seed: int = 0
) -> np.ndarray:
    """Deal subjects out to folds for cross-validation, with the classes in equal parts.

    Parameters
    ----------
    groups : ndarray of str, shape (n,)
        Who must stay together: the subject, or a group of images that look alike.
    labels : ndarray, shape (n,)
    n_folds : int
        2 or more.
    seed : int

    Returns
    -------
    ndarray of int64, shape (n,)
        The fold in which each image is predicted, 0 to ``n_folds - 1``. Every fold has images of
        every class.

    Raises
    ------
    UsageError
        If there are fewer than two folds, or more than subjects.
    DataError
        If a class has fewer subjects than there are folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    n_groups = len(np.unique(groups))
    if not 2 <= n_folds <= n_groups:
        expected = f"2 to {n_groups}, the number of subjects"
        raise UsageError("folds", expected=expected, found=str(n_folds))
    for label in np.unique(labels):
        n_subjects = len(np.unique(groups[labels == label]))
        if n_subjects < n_folds:
            raise DataError(
                f"class {label}",
                expected=f"{n_folds} subjects or more, one for each fold",
                found=f"{n_subjects} (near-duplicates count as one subject)",
                advice="Ask for fewer folds, add subjects, or join classes",
            )
    fold_of = np.empty(len(labels), dtype=np.int64)
    folds = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
    for fold, (_, rows) in enumerate(folds.split(groups, labels, groups)):
        fold_of[rows] = fold
    return fold_of


def _strata(subject_of: np.ndarray, labels: np.ndarray, n_subjects: int) -> np.ndarray:
    """One label a subject: the rarest of its own, so that rare classes are dealt out evenly."""
    classes, index, counts = np.unique(labels, return_inverse=True, return_counts=True)
    by_rarity = np.argsort(counts, kind="stable")[::-1]
    chosen = np.empty(n_subjects, dtype=classes.dtype)
    for each in by_rarity:  # rarer classes overwrite commoner ones
        chosen[subject_of[index == each]] = classes[each]
    return chosen


def _deal(sizes: np.ndarray, fractions: np.ndarray) -> np.ndarray:
    """Deal groups, in the order given, to the split that is least full.

    Groups so large that one of them would fill a split go first, the largest to the largest.
    """
    share = fractions * sizes.sum()
    missing = share.copy()
    large = sizes > share.min() / 3
    order = np.argsort(np.where(large, -sizes, 0), kind="stable")
    split_of = np.empty(len(sizes), dtype=int)
    filled: set[int] = set()
    for position, group in enumerate(order):
        empty = [split for split in range(3) if split not in filled]
        if len(order) - position <= len(empty):  # the last ones go where there is none yet
            split = empty[0]
        else:
            split = int(np.argmax(missing if large[group] else missing / share))
        split_of[group] = split
        missing[split] -= sizes[group]
        filled.add(split)
    return split_of

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medlib.errors import DataError, UsageError
from medlib.preprocessing import fold_by_subject, split_by_subject


@st.composite
def cohorts(draw):
    """Subjects of one to five images, with one label or several; three of each class have one."""
    n_subjects = draw(st.integers(12, 60))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    subjects = np.repeat(np.arange(n_subjects), rng.integers(1, 6, n_subjects)).astype(str)
    of_subject = rng.permutation(np.arange(n_subjects) % 3)
    labels = of_subject[subjects.astype(int)]
    mixed = rng.random(len(labels)) < draw(st.sampled_from([0, 0.2]))
    for label in range(3):  # a class that is left with fewer than three subjects cannot be split
        mixed &= ~np.isin(subjects.astype(int), np.flatnonzero(of_subject == label)[:3])
    return subjects, np.where(mixed, rng.integers(0, 3, len(labels)), labels)


@given(cohorts(), st.integers(0, 99))
def test_a_subject_never_crosses_splits(cohort, seed):
    subjects, labels = cohort
    split_of = split_by_subject(subjects, labels, seed=seed)
    assert all(len(set(split_of[subjects == subject])) == 1 for subject in set(subjects))


@given(cohorts(), st.integers(0, 99))
def test_the_order_of_rows_does_not_matter(cohort, seed):
    subjects, labels = cohort
    order = np.random.default_rng(seed).permutation(len(subjects))
    expected = split_by_subject(subjects, labels, seed=seed)[order]
    found = split_by_subject(subjects[order], labels[order], seed=seed)
    np.testing.assert_array_equal(found, expected)


@given(st.integers(20, 300), st.integers(20, 300), st.integers(0, 99))
def test_classes_are_in_equal_parts(n_healthy, n_ill, seed):
    labels = np.repeat([0, 1], [n_healthy, n_ill])
    split_of = split_by_subject(np.arange(len(labels)).astype(str), labels, seed=seed)
    for name, fraction in (("train", 0.70), ("validation", 0.15), ("test", 0.15)):
        for label, n in ((0, n_healthy), (1, n_ill)):
            count = (labels[split_of == name] == label).sum()
            assert count == pytest.approx(fraction * n, abs=2)


@given(cohorts(), st.integers(0, 99))
def test_the_shares_are_right_to_within_a_few_subjects(cohort, seed):
    subjects, labels = cohort
    split_of = split_by_subject(subjects, labels, seed=seed)
    for name, fraction in (("train", 0.70), ("validation", 0.15), ("test", 0.15)):
        assert (split_of == name).sum() == pytest.approx(fraction * len(labels), abs=3 * 5)


def test_large_subjects_are_in_every_split():
    """Near-duplicates must not pile up in training: test images would be of another kind."""
    subjects = np.repeat(np.arange(300), np.tile([1, 2], 150)).astype(str)
    split_of = split_by_subject(subjects, np.zeros(len(subjects), dtype=int))
    for name in ("train", "validation", "test"):
        sizes = np.unique(subjects[split_of == name], return_counts=True)[1]
        assert sizes.mean() == pytest.approx(1.5, abs=0.25)


def test_three_subjects_are_enough():
    split_of = split_by_subject(np.array(list("aabc")), np.zeros(4, dtype=int))
    assert set(split_of) == {"train", "validation", "test"}


def test_seeds_differ_and_one_seed_does_not():
    subjects, labels = np.arange(100).astype(str), np.arange(100) % 2
    first = split_by_subject(subjects, labels, seed=0)
    np.testing.assert_array_equal(first, split_by_subject(subjects, labels, seed=0))
    assert (first != split_by_subject(subjects, labels, seed=1)).any()


def test_a_class_of_two_subjects_is_named():
    subjects, labels = np.array(list("abcde")), np.array(["cyst"] * 2 + ["normal"] * 3)
    with pytest.raises(DataError, match="class cyst: expected three subjects or more"):
        split_by_subject(subjects, labels)


def test_subjects_who_all_have_both_labels_can_be_split():
    subjects = np.repeat(np.arange(6), 2).astype(str)
    labels = np.tile(["normal slice", "tumour slice"], 6)
    assert set(split_by_subject(subjects, labels)) == {"train", "validation", "test"}


@pytest.mark.parametrize("fractions", [(0.5, 0.5, 0.5), (1, 0, 0), (0.7, 0.3)])
def test_fractions_that_do_not_add_up_are_refused(fractions):
    with pytest.raises(UsageError, match="add up to 1"):
        split_by_subject(np.array(["a"]), np.array([0]), fractions=fractions)


@settings(deadline=None)  # the first call imports scikit-learn
@given(cohorts(), st.integers(2, 4), st.integers(0, 99))
def test_folds_part_no_subject_and_hold_every_class(cohort, n_folds, seed):
    subjects, labels = cohort
    fewest = min(len(set(subjects[labels == label])) for label in range(3))
    n_folds = min(n_folds, fewest)
    fold_of = fold_by_subject(subjects, labels, n_folds=n_folds, seed=seed)
    assert all(len(set(fold_of[subjects == subject])) == 1 for subject in set(subjects))
    for fold in range(n_folds):
        assert set(labels[fold_of == fold]) == {0, 1, 2}


def test_as_many_folds_as_subjects_of_the_rarest_class():
    subjects = np.repeat(np.arange(45), np.tile([1, 4, 2], 15)).astype(str)
    labels = (subjects.astype(int) >= 40).astype(int)  # five ill subjects among 45
    fold_of = fold_by_subject(subjects, labels, n_folds=5)
    assert [len(set(subjects[(fold_of == fold) & (labels == 1)])) for fold in range(5)] == [1] * 5
    assert np.bincount(fold_of) == pytest.approx(len(subjects) / 5, abs=4)


def test_folds_of_one_seed_are_the_same_and_of_another_others():
    subjects, labels = np.arange(100).astype(str), np.arange(100) % 2
    first = fold_by_subject(subjects, labels, seed=0)
    np.testing.assert_array_equal(first, fold_by_subject(subjects, labels, seed=0))
    assert (first != fold_by_subject(subjects, labels, seed=1)).any()


@pytest.mark.parametrize(
    ("n_folds", "error", "message"),
    [
        (1, UsageError, "folds: expected 2 to 8, .* found 1"),
        (9, UsageError, "folds: expected 2 to 8, the number of subjects, found 9"),
        (4, DataError, "class cyst: expected 4 subjects or more, .* found 3"),
    ],
)
def test_folds_that_cannot_be_made_are_refused(n_folds, error, message):
    subjects = np.array(list("aabcdefghh"))
    labels = np.array(["cyst"] * 4 + ["normal"] * 6)
    with pytest.raises(error, match=message):
        fold_by_subject(subjects, labels, n_folds=n_folds)

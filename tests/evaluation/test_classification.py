import numpy as np
import pytest
from sklearn import metrics as oracle

from medlib.errors import DataError, UsageError
from medlib.evaluation import classification
from medlib.evaluation.statistics import auc_interval, proportion_interval, wilson_interval

TISSUE = ("normal", "tumour")
GRADES = ("none", "mild", "severe")


@pytest.fixture
def two_classes():
    rng = np.random.default_rng(0)
    labels = (rng.random(200) < 0.3).astype(int)
    return labels, np.clip(0.35 + 0.3 * labels + 0.2 * rng.normal(size=200), 0, 1)


@pytest.fixture
def three_classes():
    rng = np.random.default_rng(1)
    labels = rng.integers(3, size=240)
    raw = rng.random((240, 3)) + 0.5 * np.eye(3)[labels]
    return labels, raw / raw.sum(axis=1, keepdims=True)


def by_metric(table):
    return table.set_index("metric")


def test_two_classes_agree_with_scikit_learn(two_classes):
    labels, probabilities = two_classes
    table = by_metric(
        classification.report(labels, probabilities, TISSUE, threshold=0.4, majority=0)
    )
    answers = probabilities >= 0.4
    expected = {
        "AUC": oracle.roc_auc_score(labels, probabilities),
        "accuracy": oracle.accuracy_score(labels, answers),
        "balanced accuracy": oracle.balanced_accuracy_score(labels, answers),
        "sensitivity (tumour)": oracle.recall_score(labels, answers),
        "specificity (tumour)": oracle.recall_score(labels, answers, pos_label=0),
        "majority-class accuracy": 1 - labels.mean(),
    }
    assert list(table.index) == list(expected)
    assert table["value"].to_dict() == pytest.approx(expected)
    assert (table["low"] < table["value"]).all()
    assert (table["value"] < table["high"]).all()


def test_more_classes_agree_with_scikit_learn(three_classes):
    labels, probabilities = three_classes
    table = by_metric(classification.report(labels, probabilities, GRADES, majority=2))
    answers = probabilities.argmax(axis=1)
    recalls = oracle.recall_score(labels, answers, average=None)
    expected = {
        "macro AUC": oracle.roc_auc_score(labels, probabilities, multi_class="ovr"),
        "accuracy": oracle.accuracy_score(labels, answers),
        "balanced accuracy": oracle.balanced_accuracy_score(labels, answers),
        **{f"sensitivity ({name})": recall for name, recall in zip(GRADES, recalls, strict=True)},
        "majority-class accuracy": (labels == 2).mean(),
    }
    assert table["value"].to_dict() == pytest.approx(expected)
    assert list(table["n"]) == [240, 240, 240, *np.bincount(labels), 240]


def test_intervals_are_delong_and_wilson_where_images_are_independent(two_classes):
    labels, probabilities = two_classes
    subjects = np.arange(200).astype(str)
    table = by_metric(classification.report(labels, probabilities, TISSUE, subjects=subjects))
    auc = auc_interval(labels, probabilities)
    assert table.loc["AUC", ["low", "high"]].tolist() == pytest.approx([auc.low, auc.high])
    positives = labels == 1
    sensitivity = wilson_interval(int((probabilities[positives] >= 0.5).sum()), positives.sum())
    assert table.loc["sensitivity (tumour)"].tolist() == pytest.approx(
        [sensitivity.value, sensitivity.low, sensitivity.high, sensitivity.n]
    )


def test_copies_of_an_image_narrow_nothing_when_subjects_are_known(two_classes):
    labels, probabilities = two_classes
    subjects = np.arange(200).astype(str)
    once = by_metric(classification.report(labels, probabilities, TISSUE))
    copied = [np.repeat(array, 9, axis=0) for array in (labels, probabilities, subjects)]
    known = by_metric(classification.report(*copied[:2], TISSUE, subjects=copied[2]))
    ignored = by_metric(classification.report(*copied[:2], TISSUE))
    widths = [table["high"] - table["low"] for table in (once, known, ignored)]
    np.testing.assert_allclose(widths[1], widths[0], rtol=0.15)
    np.testing.assert_allclose(widths[2], widths[0] / 3, rtol=0.15)
    np.testing.assert_allclose(known["value"], once["value"])


def test_grouped_intervals_of_more_classes(three_classes):
    labels, probabilities = three_classes
    subjects = np.repeat(np.arange(80), 3).astype(str)
    table = classification.report(labels, probabilities, GRADES, subjects=subjects)
    assert (table["low"] < table["value"]).all()
    assert (table["value"] < table["high"]).all()


def test_a_perfect_score_on_few_subjects_is_no_certainty():
    labels = np.repeat([0, 1], 20)
    subjects = np.repeat(np.arange(10).astype(str), 4)  # five subjects a class
    table = by_metric(
        classification.report(labels, labels.astype(float), TISSUE, subjects=subjects)
    )
    assert (table["value"] == 1).all()
    assert table.loc["AUC", "low"] == pytest.approx(0.025 ** (1 / 5))
    assert table.loc["sensitivity (tumour)", "low"] == pytest.approx(wilson_interval(5, 5).low)
    assert table.loc["accuracy", "low"] == pytest.approx(wilson_interval(10, 10).low)


def test_one_subject_says_nothing_about_others():
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    probabilities = np.array([0.1, 0.2, 0.6, 0.3, 0.9, 0.4, 0.8, 0.3])
    subjects = np.array(["a", "b", "c", "d", "e", "e", "e", "e"])
    table = by_metric(classification.report(labels, probabilities, TISSUE, subjects=subjects))
    assert table.loc["sensitivity (tumour)", ["value", "low", "high"]].tolist() == [0.5, 0, 1]


def test_two_columns_are_the_two_classes(two_classes):
    labels, probabilities = two_classes
    columns = np.stack([1 - probabilities, probabilities], axis=1)
    one = classification.report(labels, probabilities, TISSUE)
    two = classification.report(labels, columns, TISSUE)
    assert one.equals(two)


def test_a_class_without_images_is_undefined_and_left_out(three_classes):
    labels, probabilities = three_classes
    kept = labels != 2
    table = by_metric(classification.report(labels[kept], probabilities[kept], GRADES))
    assert table.loc["sensitivity (severe)", "n"] == 0
    assert np.isnan(table.loc["sensitivity (severe)", "value"])
    recalls = table.loc[["sensitivity (none)", "sensitivity (mild)"], "value"]
    assert table.loc["balanced accuracy", "value"] == pytest.approx(recalls.mean())
    subjects = (np.arange(kept.sum()) // 2).astype(str)
    grouped = by_metric(
        classification.report(labels[kept], probabilities[kept], GRADES, subjects=subjects)
    )
    np.testing.assert_allclose(grouped["value"], table["value"])


@pytest.mark.parametrize(
    ("labels", "probabilities", "named"),
    [
        ([1, 1, 1], [0.2, 0.4, 0.9], "only 'tumour'"),
        ([0, 1, 1], [0.2, np.nan, 0.9], "probabilities: expected values.*none NaN.*row 1"),
        ([0, 1, 1], [0.2, 0.4], "one for each image"),
        ([], [], "at least one"),
        ([0, 1, 2], [0.2, 0.4, 0.9], "row 2"),
        ([0, 1, 1], [-3.1, 0.4, 2.9], "not logits"),
        ([0, 1], [[0.2, 0.3, 0.5], [0.1, 0.1, 0.8]], "shape"),
    ],
    ids=["one class", "NaN", "lengths", "empty", "unknown label", "logits", "columns"],
)
def test_refuses(labels, probabilities, named):
    with pytest.raises(DataError, match=named):
        classification.report(np.array(labels), np.array(probabilities), TISSUE)


def test_refuses_subjects_of_other_images(two_classes):
    with pytest.raises(DataError, match="subjects: expected 200, one an image, found 3"):
        classification.report(*two_classes, TISSUE, subjects=np.array(["a", "b", "c"]))


def test_the_majority_baseline_is_what_training_found_commonest(two_classes):
    labels, probabilities = two_classes  # mostly normal; a network trained on mostly tumours
    table = by_metric(classification.report(labels, probabilities, TISSUE, majority=1))
    found = table.loc["majority-class accuracy"]
    expected = proportion_interval(labels == 1)
    assert found.tolist() == [expected.value, expected.low, expected.high, 200]
    assert expected.value < 0.5


def test_without_training_there_is_no_majority_baseline(two_classes):
    table = by_metric(classification.report(*two_classes, TISSUE))
    assert "majority-class accuracy" not in table.index


@pytest.mark.parametrize("majority", [2, -1, "tumour"])
def test_refuses_a_majority_that_is_no_class(two_classes, majority):
    with pytest.raises(UsageError, match="majority: expected the index of a class"):
        classification.report(*two_classes, TISSUE, majority=majority)


def test_balanced_accuracy_of_few_subjects_is_not_the_recall_of_one_class():
    # one tumour patient in five: bootstrap resamples without it scored the other class's recall
    labels = np.repeat([1, 0, 0, 0, 0], 4)
    probabilities = np.where(labels == 1, [0.9, 0.2] * 10, 0.1)
    subjects = np.repeat(list("abcde"), 4)
    table = by_metric(classification.report(labels, probabilities, TISSUE, subjects=subjects))
    assert table.loc["balanced accuracy", "value"] == 0.75
    assert table.loc["balanced accuracy", "low"] < 0.5
    assert table.loc["sensitivity (tumour)", ["value", "low", "high"]].tolist() == [0.5, 0, 1]


def test_the_threshold_belongs_to_class_1():
    answers = classification.predicted_labels(np.array([0.4, 0.5, 0.6]))
    assert answers.tolist() == [0, 1, 1]

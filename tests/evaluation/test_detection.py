"""Boxes against lesions: small cases by hand, and a detector of known quality."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medlib.errors import DataError
from medlib.evaluation import detection

SQUARE = [10, 10, 20, 20]


def match(truth, found, scores, **options):
    return detection.match_boxes(
        [np.array(truth)], [np.array(found)], [np.array(scores)], **options
    )


@given(*[st.tuples(*[st.integers(0, 12)] * 2, *[st.integers(1, 8)] * 2) for _ in range(2)])
def test_overlap_is_that_of_the_pixels(one, other):
    boxes = [np.array([(r, c, r + h, c + w)], float) for r, c, h, w in (one, other)]
    pixels = []
    for ((top, left, bottom, right),) in np.array(boxes, int):
        mask = np.zeros((24, 24), bool)
        mask[top:bottom, left:right] = True
        pixels.append(mask)
    expected = (pixels[0] & pixels[1]).sum() / (pixels[0] | pixels[1]).sum()
    assert detection.box_overlap(*boxes)[0, 0] == pytest.approx(expected)


def test_one_lesion_counts_once_and_what_hits_nothing_is_a_false_alarm():
    found = [SQUARE, [11, 11, 21, 21], [40, 40, 50, 50]]
    lesions, alarms = match([SQUARE, [30, 10, 36, 16]], found, [0.4, 0.9, 0.7])
    assert lesions["score"].tolist() == [0.9, -np.inf]  # found by the surer box, and missed
    assert alarms["score"].tolist() == [0.7]


def test_a_box_hits_only_the_lesion_it_overlaps_most():
    two = [[0, 0, 10, 10], [0, 10, 10, 20]]
    lesions, alarms = match(two, [[0, 0, 10, 20]], [0.5])
    assert np.isfinite(lesions["score"]).sum() == 1
    assert alarms.empty


def test_too_little_overlap_is_a_false_alarm():
    moved = [15, 10, 25, 20]  # a third of the union
    for least, n_alarms in ((0.3, 0), (0.4, 1)):
        _, alarms = match([SQUARE], [moved], [0.5], least_overlap=least)
        assert len(alarms) == n_alarms


def test_boxes_that_are_none_are_named():
    for wrong in ([20, 10, 10, 20], [10, 10, 10, 20]):
        with pytest.raises(DataError, match="boxes of image 0"):
            match([SQUARE], [wrong], [0.5])
    with pytest.raises(DataError, match="boxes of image 0"):
        match([SQUARE], [SQUARE], [])
    with pytest.raises(DataError, match="found 1, 2 and 1"):
        detection.match_boxes([[]], [[], []], [[]])


def random_detector(n=200, seed=0):
    """Images with one lesion each, found with probability .8, and a Poisson number of alarms."""
    generator = np.random.default_rng(seed)
    truth, found, scores = [], [], []
    for _ in range(n):
        boxes = [SQUARE] * int(generator.random() < 0.8)
        alarms = int(generator.poisson(0.5))
        found.append(np.array(boxes + [[40, 40, 50, 50]] * alarms).reshape(-1, 4))
        scores.append(
            np.concatenate([generator.uniform(0.5, 1, len(boxes)), generator.random(alarms)])
        )
        truth.append(np.array([SQUARE]))
    return detection.match_boxes(truth, found, scores)


def test_the_curve_counts_what_lies_above_each_threshold():
    lesions, alarms = random_detector()
    curve = detection.free_response_curve(lesions, alarms, 200)
    assert curve["sensitivity"].is_monotonic_increasing
    assert curve["false_positives"].is_monotonic_increasing
    for _, row in curve.iloc[::40].iterrows():
        assert row["sensitivity"] == (lesions["score"] >= row["threshold"]).mean()
        assert row["false_positives"] == (alarms["score"] >= row["threshold"]).sum() / 200


def test_sensitivity_is_read_where_the_allowed_alarms_are_used_up():
    lesions, alarms = random_detector()
    subjects = np.repeat(np.arange(100), 2)
    table = detection.report(lesions, alarms, subjects=subjects, false_positives=(0.1, 0.25, 5))
    curve = detection.free_response_curve(lesions, alarms, 200)
    for at, row in zip((0.1, 0.25, 5), table.itertuples(), strict=True):
        allowed = curve[curve["false_positives"] <= at]
        assert row.value == pytest.approx(allowed["sensitivity"].iloc[-1], abs=0.006)
        assert row.low <= row.value <= row.high
    assert table["value"].iloc[-1] == np.isfinite(lesions["score"]).mean()
    assert table["n"].tolist() == [200] * 3

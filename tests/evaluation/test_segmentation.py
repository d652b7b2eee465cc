"""Measures of masks against closed forms and brute force."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.distance import cdist
from skimage.draw import disk
from skimage.metrics import hausdorff_distance

from medlib.errors import DataError
from medlib.evaluation import segmentation

MASKS = hnp.arrays(bool, (3, 9, 11))


def round_mask(centre, radius, shape=(64, 64)):
    mask = np.zeros(shape, bool)
    mask[disk(centre, max(radius, 0.1), shape=shape)] = radius > 0
    return mask


@given(MASKS, MASKS)
def test_dice_and_iou_agree_with_sets_and_with_each_other(truth, predicted):
    dice = segmentation.dice(truth, predicted)
    iou = segmentation.intersection_over_union(truth, predicted)
    for t, p, d, i in zip(truth, predicted, dice, iou, strict=True):
        t, p = set(zip(*np.nonzero(t), strict=True)), set(zip(*np.nonzero(p), strict=True))
        if not t | p:
            assert np.isnan([d, i]).all()
        else:
            assert i == pytest.approx(len(t & p) / len(t | p))
            assert d == pytest.approx(2 * i / (1 + i))


def test_a_missed_structure_scores_zero_and_no_structure_nothing():
    truth, nothing = round_mask((30, 30), 8)[None], np.zeros((1, 64, 64), bool)
    assert segmentation.dice(truth, nothing) == 0
    assert np.isnan(segmentation.dice(nothing, nothing))
    far = segmentation.hausdorff_95(truth[0], nothing[0], spacing_mm=(2, 2))
    assert far == pytest.approx(128 * np.sqrt(2))
    assert np.isnan(segmentation.hausdorff_95(nothing[0], nothing[0], spacing_mm=(2, 2)))


@settings(max_examples=30)
@given(hnp.arrays(bool, (9, 11)), hnp.arrays(bool, (9, 11)), st.sampled_from([(1, 1), (3, 0.5)]))
def test_the_hausdorff_distance_is_that_of_all_pairs_of_outline_pixels(truth, predicted, spacing):
    if not (truth.any() and predicted.any()):
        return
    padded = [np.pad(mask, 1) for mask in (truth, predicted)]
    outlines = []
    for mask in padded:
        inner = mask[:-2, 1:-1] & mask[2:, 1:-1] & mask[1:-1, :-2] & mask[1:-1, 2:]
        outlines.append(np.argwhere(mask[1:-1, 1:-1] & ~inner) * spacing)
    between = cdist(*outlines)
    expected = max(np.percentile(between.min(axis=k), 95) for k in (0, 1))
    found = segmentation.hausdorff_95(truth, predicted, spacing_mm=spacing)
    assert found == pytest.approx(expected)


def test_moved_by_three_pixels_an_outline_is_at_most_three_pixels_away():
    truth, moved = round_mask((30, 30), 12), round_mask((30, 33), 12)
    found = segmentation.hausdorff_95(truth, moved, spacing_mm=(2, 2))
    assert 4 < found <= 2 * hausdorff_distance(truth, moved)


def test_sizes_are_in_millimetres():
    truth = np.stack([round_mask((30, 30), 10), np.zeros((64, 64), bool)])
    table = segmentation.measure_masks(truth, truth, spacing=np.array([0.5, 2]))
    assert table["area"].tolist() == pytest.approx([np.pi * 5**2, 0], rel=0.03)
    assert table["diameter"].tolist() == pytest.approx([10, 0], abs=0.71)  # a diagonal
    assert table["dice"][0] == 1
    with pytest.raises(DataError, match="masks"):
        segmentation.measure_masks(truth, truth[:, 1:], spacing=np.ones(2))
    with pytest.raises(DataError, match="spacing: expected above 0.*row 1"):
        segmentation.measure_masks(truth, truth, spacing=np.array([1, 0]))


def test_the_report_keeps_images_with_and_without_a_structure_apart():
    generator = np.random.default_rng(0)
    truth = np.stack([round_mask(generator.integers(20, 44, 2), 8 * (i % 2)) for i in range(40)])
    predicted = truth.copy()
    predicted[1] = False  # one is missed
    predicted[0, 5, 5] = True  # and one false finding of twenty
    table = segmentation.measure_masks(truth, predicted, spacing=np.ones(40))
    found = segmentation.report(table, subjects=np.arange(40).astype(str)).set_index("metric")
    assert found.loc["Dice", "value"] == pytest.approx(19 / 20)
    assert found.loc["false findings", "value"] == pytest.approx(1 / 20)
    assert found.loc["area bias", "value"] == pytest.approx(-1 / 20, rel=0.02)
    assert found["n"].tolist() == [20] * 8
    lost = table["true_diameter"][1]
    assert found.loc["diameter error (mm)", "value"] == pytest.approx(-lost / 20)
    assert found.loc["lower limit of agreement (mm)", "value"] > -lost
    inside = found["low"].le(found["value"]) & found["value"].le(found["high"])
    assert inside.all()
    only = segmentation.report(table[1::2], subjects=np.arange(20))
    assert isinstance(only, pd.DataFrame)
    assert "false findings" not in set(only["metric"])


def test_limits_of_agreement_hold_95_percent_of_new_errors():
    generator = np.random.default_rng(0)
    truth = generator.uniform(10, 50, 2000)
    errors = generator.normal(-1, 3, 2000)
    bias, lower, upper = segmentation.limits_of_agreement(truth, truth + errors)
    assert bias.low < -1 < bias.high
    assert lower.value == pytest.approx(-1 - 1.96 * 3, abs=0.3)
    assert np.mean((errors > lower.value) & (errors < upper.value)) == pytest.approx(0.95, abs=0.01)
    assert (upper.high - upper.value) / (bias.high - bias.value) == pytest.approx(np.sqrt(3))

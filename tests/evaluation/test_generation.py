"""Measures of generated images agree with closed forms, SciPy and brute force."""

import numpy as np
import pytest
from scipy import linalg
from scipy.spatial.distance import cdist

from medlib.evaluation import generation

RNG = np.random.default_rng(0)
MIXING = RNG.standard_normal((5, 5))
FEATURES = RNG.standard_normal((300, 5)) @ MIXING
OTHERS = RNG.standard_normal((250, 5)) * [1, 2, 3, 1, 1] + 1


def test_frechet_distance_is_that_of_scipys_matrix_root():
    a, b = np.cov(FEATURES.T), np.cov(OTHERS.T)
    apart = FEATURES.mean(axis=0) - OTHERS.mean(axis=0)
    expected = apart @ apart + np.trace(a + b - 2 * linalg.sqrtm(a @ b).real)
    assert generation.frechet_distance(FEATURES, OTHERS) == pytest.approx(expected, rel=1e-9)
    assert generation.frechet_distance(OTHERS, FEATURES) == pytest.approx(expected, rel=1e-9)


def test_frechet_distance_of_shifted_and_of_stretched_sets_has_a_closed_form():
    shift = np.array([3.0, 0, 0, -4, 0])
    assert generation.frechet_distance(FEATURES, FEATURES + shift) == pytest.approx(25)
    variances = FEATURES.var(axis=0, ddof=1).sum()
    assert generation.frechet_distance(FEATURES, 3 * FEATURES) == pytest.approx(
        4 * variances + 4 * (FEATURES.mean(axis=0) ** 2).sum()
    )
    assert generation.frechet_distance(FEATURES, FEATURES) == pytest.approx(0, abs=1e-9)


def test_one_feature_and_more_features_than_images_are_no_problem():
    one = FEATURES[:, :1]
    expected = (one.mean() - 0) ** 2 + (one.std(ddof=1) - 2) ** 2
    wanted = np.tile([[-2.0], [2.0]], (150, 1)) / np.sqrt(300 / 299)
    assert generation.frechet_distance(one, wanted) == pytest.approx(expected)
    few = RNG.standard_normal((4, 9))
    assert generation.frechet_distance(few, few) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("neighbours", [1, 3])
def test_precision_and_recall_are_those_of_brute_force(neighbours):
    def share_inside(points, centres):
        radii = np.sort(cdist(centres, centres), axis=1)[:, neighbours]
        inside = [(np.linalg.norm(centres - p, axis=1) <= radii).any() for p in points]
        return np.mean(inside)

    found = generation.precision_and_recall(FEATURES, OTHERS, neighbours=neighbours)
    expected = share_inside(OTHERS, FEATURES), share_inside(FEATURES, OTHERS)
    assert found == pytest.approx(expected)
    assert 0 < min(found) <= max(found) < 1


def test_a_collapsed_generator_has_precision_and_no_recall():
    near_one = FEATURES[7] + 1e-3 * RNG.standard_normal((100, 5))
    precision, recall = generation.precision_and_recall(FEATURES, near_one)
    assert precision == 1
    assert recall < 0.02
    far = generation.precision_and_recall(FEATURES, near_one + 100)
    assert far == (0, 0)


def test_copies_are_found_and_new_images_are_not():
    images = RNG.random((900, 4, 4, 1))
    training, held_out, new = images[:300], images[300:400], images[400:]
    ratios, share, expected = generation.copy_check(training + 1e-3, training, held_out)
    assert (share, expected) == (1, 0.75)
    assert ratios.max() < 0.05
    ratios, share, _ = generation.copy_check(new, training, held_out)
    assert np.median(ratios) == pytest.approx(1, abs=0.1)
    assert share == pytest.approx(0.75, abs=0.07)


def test_one_copy_among_many_is_found():
    images = RNG.random((600, 16))
    made = np.concatenate([images[400:], images[:1]])
    ratios, _, _ = generation.copy_check(made, images[:200], images[200:400])
    assert ratios.argmin() == 200
    assert ratios[200] < 1e-6 < 0.2 < np.sort(ratios)[1]


def test_blurred_images_are_nearer_to_all_but_are_no_copies():
    images = RNG.random((1400, 8))
    blurred = 0.5 + 0.6 * (images[400:] - 0.5)
    ratios, share, expected = generation.copy_check(blurred, images[:200], images[200:400])
    assert np.median(ratios) < 0.95
    assert share == pytest.approx(expected, abs=0.1)


@pytest.mark.parametrize(
    ("measure", "sets"),
    [
        (generation.frechet_distance, (FEATURES, OTHERS[:, :4])),
        (generation.frechet_distance, (FEATURES, np.where(OTHERS > 2, np.nan, OTHERS))),
        (generation.frechet_distance, (FEATURES, OTHERS[:1])),
        (generation.precision_and_recall, (FEATURES, OTHERS[:3])),
        (generation.copy_check, (FEATURES, OTHERS, OTHERS[:, :2])),
    ],
)
def test_what_cannot_be_compared_is_an_error(measure, sets):
    with pytest.raises(ValueError, match="NaN|minimum of 2|ncompatible|mismatch|kth"):
        measure(*sets)

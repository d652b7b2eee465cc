import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medlib.errors import UsageError
from medlib.preprocessing import apply_window, percentile_window
from medlib.preprocessing.intensity import standardise_foreground

IMAGES = st.builds(
    lambda seed, spread: np.random.default_rng(seed).normal(spread, spread, (4, 5, 5, 2)),
    st.integers(0, 10_000),
    st.floats(0.1, 1000),
)


def test_a_window_maps_its_edges_to_black_and_white():
    hounsfield = np.array([-1000, -160, 40, 240, 3000])  # air, edge, centre, edge, metal
    assert apply_window(hounsfield, 40, 400) == pytest.approx([0, 0, 0.5, 1, 1])


@pytest.mark.parametrize("width", [0, -1, np.nan, np.inf])
def test_a_window_without_extent_is_refused(width):
    with pytest.raises(UsageError, match="width above 0"):
        apply_window(np.zeros(3), 0, width)


@given(IMAGES, st.floats(-100, 100), st.floats(1, 2000))
def test_a_window_keeps_the_order_of_the_grey_values(images, centre, width):
    values = np.sort(images.ravel())
    assert (np.diff(apply_window(values, centre, width)) >= 0).all()


def test_one_bright_letter_does_not_squeeze_the_tissue():
    tissue = np.tile(np.linspace(0, 100, 100), 100)
    with_letter = np.append(tissue, np.full(20, 10_000))
    assert percentile_window(with_letter) == pytest.approx(percentile_window(tissue), abs=1)


def test_the_window_of_a_flat_image_can_be_used():
    assert (apply_window(np.full(9, 7.0), *percentile_window(np.full(9, 7.0))) == 0.5).all()


def test_standardised_foreground_has_the_same_middle_and_spread_whatever_the_scanner():
    rng = np.random.default_rng(0)
    images = np.zeros((3, 20, 20, 2), np.float32)
    images[:, 5:15, 5:15] = rng.uniform(0.2, 0.5, (3, 10, 10, 2))
    brain = images.max(axis=-1) > 0
    other = np.where(brain[..., None], images * [1.5, 0.5] + [0.1, 0.3], 0)  # another scanner
    new, of_other = standardise_foreground(images), standardise_foreground(other)
    assert np.allclose(new, of_other, atol=1e-6)
    for image, mask in zip(new, brain, strict=True):
        quartiles = np.percentile(image[mask], (25, 50, 75), axis=0)
        assert np.allclose(quartiles[1], 0.4, atol=1e-6)
        assert np.allclose(quartiles[2] - quartiles[0], 0.125, atol=1e-6)
    assert not new[~brain].any()


def test_a_foreground_of_one_grey_value_becomes_the_middle():
    image = np.zeros((1, 4, 4, 1), np.float32)
    image[:, 1:3, 1:3] = 0.7
    assert set(np.unique(standardise_foreground(image))) == {0, np.float32(0.4)}

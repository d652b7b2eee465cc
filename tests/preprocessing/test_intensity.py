import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medlib.errors import UsageError
from medlib.preprocessing import apply_window, percentile_window

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

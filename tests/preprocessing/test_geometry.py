import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import center_of_mass

from medlib.errors import DataError, UsageError
from medlib.preprocessing import (
    boxes_from_mask,
    crop_to_content,
    fit_to_square,
    resample_to_spacing,
    resize_image,
    resize_mask,
)
from medlib.preprocessing.geometry import pad_to_square

SIDES = st.integers(2, 60)


@given(SIDES, SIDES, SIDES)
def test_fitting_keeps_the_aspect_ratio_and_adds_black(height, width, side):
    fitted = fit_to_square(np.ones((height, width, 1), dtype=np.float32), side)
    assert fitted.shape == (side, side, 1)
    rows, columns = (fitted[..., 0].max(axis=axis) for axis in (1, 0))
    assert max(rows.sum(), columns.sum()) == side
    expected = min(height, width) * side / max(height, width)
    assert min(rows.sum(), columns.sum()) == pytest.approx(max(1, expected), abs=0.5)


@given(SIDES, SIDES, SIDES)
def test_a_mask_lies_on_its_image_after_fitting(height, width, side):
    mask = np.zeros((height, width), dtype=bool)
    mask[: height // 2 + 1, : width // 2 + 1] = True
    fitted = fit_to_square(mask, side)
    assert fitted.dtype == bool
    image = fit_to_square(mask[..., np.newaxis].astype(np.float32), side)[..., 0]
    assert (image[fitted] > 0).all()


def test_the_centre_of_a_lesion_moves_less_than_a_pixel():
    mask = np.zeros((300, 200), dtype=bool)
    mask[100:151, 50:91] = True
    fitted = fit_to_square(mask, 60)
    scale, left = 60 / 300, (60 - 40) // 2
    expected = (125.5 * scale - 0.5, 70.5 * scale - 0.5 + left)
    assert center_of_mass(fitted) == pytest.approx(expected, abs=1)


def test_an_extreme_strip_does_not_fill_the_memory():
    assert fit_to_square(np.ones((2, 2_000_000, 1), dtype=np.float32), 64).shape == (64, 64, 1)


def test_shrinking_does_not_turn_fine_stripes_into_coarse_ones():
    stripes = np.zeros((128, 128, 1), dtype=np.float32)
    stripes[:, ::3] = 1  # finer than the new pixels can show
    small = resize_image(stripes, (32, 32))
    inner = small[2:-2, 2:-2]
    assert inner == pytest.approx(np.full_like(inner, 1 / 3), abs=0.08)
    assert stripes[::4, ::4].std() > 0.4  # what taking every fourth pixel gives


@given(st.integers(2, 40), st.integers(2, 40), st.integers(0, 1000))
def test_resizing_stays_within_the_range_of_the_values(height, width, seed):
    image = np.random.default_rng(seed).random((17, 23, 2), dtype=np.float32)
    resized = resize_image(image, (height, width))
    assert resized.shape == (height, width, 2)
    assert resized.min() >= image.min() - 1e-6
    assert resized.max() <= image.max() + 1e-6


def test_resizing_to_the_same_size_changes_nothing():
    image = np.random.default_rng(0).random((9, 7, 3), dtype=np.float32)
    np.testing.assert_array_equal(resize_image(image, (9, 7)), image)
    np.testing.assert_array_equal(resize_mask(image[..., 0] > 0.5, (9, 7)), image[..., 0] > 0.5)


@given(SIDES, SIDES)
def test_padding_to_a_square_keeps_every_pixel(height, width):
    image = np.arange(1, height * width + 1).reshape(height, width)
    padded = pad_to_square(image)
    assert padded.shape == (max(height, width),) * 2
    np.testing.assert_array_equal(padded[padded > 0], image.ravel())


@given(st.floats(0.3, 3), st.floats(0.3, 3), st.floats(0.5, 2))
def test_resampling_keeps_the_physical_size(down, across, to_mm):
    resampled = resample_to_spacing(np.ones((40, 30, 1)), (down, across), to_mm=to_mm)
    assert resampled.shape[0] * to_mm == pytest.approx(40 * down, abs=to_mm / 2 + 1e-6)
    assert resampled.shape[1] * to_mm == pytest.approx(30 * across, abs=to_mm / 2 + 1e-6)


def test_a_lesion_has_the_same_width_in_mm_from_two_scanners():
    def lesion(spacing):
        x = (np.arange(round(64 / spacing)) + 0.5) * spacing - 32
        disk = np.hypot(*np.meshgrid(x, x)) < 10  # a radius of 10 mm
        return resample_to_spacing(disk[..., np.newaxis].astype(float), (spacing,) * 2, to_mm=1)

    areas = [lesion(spacing).sum() for spacing in (0.25, 0.8)]
    assert areas == pytest.approx([np.pi * 100] * 2, rel=0.03)


@pytest.mark.parametrize("spacing", [(0, 1), (1, -1), (np.nan, 1)])
def test_an_impossible_spacing_is_refused(spacing):
    with pytest.raises(UsageError, match="above 0 mm"):
        resample_to_spacing(np.ones((4, 4, 1)), spacing, to_mm=1)


@given(st.integers(0, 8), st.integers(0, 8), st.integers(1, 6), st.integers(1, 6))
def test_cropping_finds_exactly_the_content(top, left, height, width):
    image = np.zeros((20, 20, 1))
    image[top : top + height, left : left + width] = 0.5
    cropped, window = crop_to_content(image)
    assert cropped.shape == (height, width, 1)
    np.testing.assert_array_equal(image[window], cropped)
    wider, _ = crop_to_content(image, margin=2)
    assert wider.shape[0] == min(20, top + height + 2) - max(0, top - 2)


def test_an_image_without_content_is_not_cropped_to_nothing():
    with pytest.raises(DataError, match="a pixel above"):
        crop_to_content(np.zeros((5, 5, 1)))


@settings(deadline=None)  # the first call imports scikit-image
@given(st.floats(0.2, 5), st.floats(0.2, 5))
def test_a_circle_in_mm_stays_a_circle(down, across):
    shape = (round(160 / down), round(120 / across))
    steps = zip(shape, (down, across), strict=True)
    rows, columns = ((np.arange(n) + 0.5) * step for n, step in steps)
    disk = np.hypot(rows[:, None] - 80, columns[None] - 60) < 40
    fitted = fit_to_square(disk, 64, spacing_mm=(down, across))
    (top, left, bottom, right), *others = boxes_from_mask(fitted)
    assert not others
    coarse = 64 / 160 * max(down, across)  # one old pixel, in new ones
    assert bottom - top == pytest.approx(80 * 64 / 160, abs=2 + coarse)
    assert right - left == pytest.approx(80 * 64 / 160, abs=2 + coarse)


@settings(deadline=None)  # the first call imports scikit-image
@given(st.integers(0, 12), st.integers(0, 12), st.integers(1, 5), st.integers(1, 5))
def test_every_lesion_has_a_box_of_its_own(top, left, height, width):
    mask = np.zeros((40, 30), dtype=np.int8)
    mask[top : top + height, left : left + width] = 1
    mask[20:25, 20:28], mask[22, 22] = 2, 3  # a structure within another is one lesion
    boxes = boxes_from_mask(mask)
    expected = [[top, left, top + height, left + width], [20, 20, 25, 28]]
    np.testing.assert_array_equal(boxes, np.array(expected, dtype=np.float32))
    assert boxes.dtype == np.float32


def test_without_a_lesion_there_is_no_box():
    assert boxes_from_mask(np.zeros((5, 5), dtype=bool)).shape == (0, 4)
    assert boxes_from_mask(np.full((5, 5), -1, dtype=np.int8)).shape == (0, 4)

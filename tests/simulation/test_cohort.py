import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial.distance import pdist
from scipy.stats import ks_2samp

from medlib.errors import UsageError
from medlib.simulation.cohort import SMALL_AND_FAINT, longest_diameter, simulate_cohort


@pytest.fixture(scope="module")
def cohort():
    return simulate_cohort(60, seed=3, workers=1)


def per_subject(cohort):
    return cohort.table.groupby("subject").first()


def test_half_of_the_subjects_have_a_tumour_and_every_slice_agrees(cohort):
    assert (per_subject(cohort)["grade"] > 0).mean() == 0.5
    has_tumour = cohort.table["grade"].to_numpy() > 0
    assert np.array_equal(cohort.masks.any(axis=(1, 2)), has_tumour)


def test_images_are_a_brain_on_black(cohort):
    assert cohort.images.dtype == np.uint8
    brain = cohort.images.max(axis=-1) > 0
    share = brain.mean(axis=(1, 2))
    assert share.min() > 0.1
    assert share.max() < 0.65
    assert not (cohort.masks & ~brain).any()


def test_front_is_at_the_top():
    # The two ventricles' front horns and the falx do not tell; the cerebellum does: low slices
    # reach less far forward than back from the middle of the brain's widest row.
    low = simulate_cohort(2, slices_per_subject=1, depth=25, seed=0, workers=1)
    brain = low.images[0].max(axis=-1) > 0
    areas = brain.sum(axis=(1, 2))
    lowest = np.flatnonzero(areas > 150)[0]
    middle = np.flatnonzero(brain[12].any(axis=1)).mean()
    assert np.flatnonzero(brain[lowest].any(axis=1)).mean() > middle


def test_tumours_are_brighter_than_their_brain_in_flair(cohort):
    flair = cohort.images[..., 2].astype(float)
    rows = np.flatnonzero(cohort.masks.sum(axis=(1, 2)) > 20)
    brain = cohort.images.max(axis=-1) > 0
    differences = [
        flair[row][cohort.masks[row]].mean() - np.median(flair[row][brain[row]]) for row in rows
    ]
    assert np.mean(np.array(differences) > 0) > 0.9


def test_table_describes_the_masks(cohort):
    table, spacing = cohort.table, 208 / 64
    assert (table[["row_spacing_mm", "column_spacing_mm"]] == spacing).all(axis=None)
    areas = cohort.masks.sum(axis=(1, 2)) * spacing**2
    assert np.allclose(table["tumour_area_mm2"], areas, atol=0.01)
    for row in np.flatnonzero(areas):
        height, width = (np.ptp(np.argwhere(cohort.masks[row]), axis=0) + 1) * spacing
        diameter = table.loc[row, "tumour_diameter_mm"]
        assert max(height, width) - 0.01 <= diameter <= np.hypot(height, width) + 0.01
        # No shape of that diameter is larger than the disc.
        assert areas[row] <= np.pi / 4 * diameter**2 + 0.1


def test_volume_is_the_sum_over_a_dense_stack():
    stack = simulate_cohort(8, slices_per_subject=1, image_size=128, depth=41, seed=1, workers=1)
    pixel_mm = 208 / 128
    rows = np.flatnonzero(stack.table["grade"] > 0)
    summed = stack.masks[rows].sum(axis=(1, 2, 3)) * pixel_mm**2 * 4.0
    known = stack.table["tumour_volume_mm3"].to_numpy()[rows]
    assert np.allclose(summed, known, rtol=0.15)


@pytest.mark.parametrize("image_size", [32, 48, 96, 160])
def test_tumours_are_the_same_at_every_image_size(image_size):
    other = simulate_cohort(12, seed=3, image_size=image_size, workers=1)
    reference = simulate_cohort(12, seed=3, workers=1)
    for column in ("subject", "slice_position_mm", "age", "site", "grade", "tumour_volume_mm3"):
        assert (other.table[column] == reference.table[column]).all()
    has_tumour = (other.table["grade"] > 0).to_numpy()
    assert np.array_equal(other.masks.any(axis=(1, 2)), has_tumour)
    pixel = 208 / min(image_size, 64)
    diameters = [
        part.table["tumour_diameter_mm"].to_numpy()[has_tumour] for part in (other, reference)
    ]
    assert np.abs(diameters[0] - diameters[1]).max() < 4 * pixel
    areas = [part.table["tumour_area_mm2"].to_numpy()[has_tumour] for part in (other, reference)]
    assert (np.abs(areas[0] - areas[1]) <= pixel * np.pi * diameters[1]).all()
    for mask, known in zip(other.masks[has_tumour], reference.masks[has_tumour], strict=True):
        here = (np.argwhere(mask).mean(axis=0) + 0.5) / image_size
        there = (np.argwhere(known).mean(axis=0) + 0.5) / 64
        assert np.abs(here - there).max() * 208 < pixel


def test_stacks_hold_the_single_slices():
    single = simulate_cohort(6, slices_per_subject=2, seed=5, workers=1)
    stacks = simulate_cohort(6, slices_per_subject=2, depth=3, seed=5, workers=1)
    assert stacks.images.shape == (12, 3, 64, 64, 3)
    assert np.array_equal(stacks.masks[:, 1], single.masks)
    assert stacks.table.equals(single.table)
    difference = stacks.images[:, 1].astype(float) - single.images
    assert np.abs(difference).mean() < 0.05 * 255  # same anatomy, other noise


def test_neither_position_nor_covariates_tell_who_has_a_tumour():
    table = simulate_cohort(200, slices_per_subject=1, image_size=32, seed=8).table
    ill = table["grade"] > 0
    for column in ("slice_position_mm", "age", "field_tesla", "flair_inversion_time_ms"):
        assert ks_2samp(table.loc[ill, column], table.loc[~ill, column]).pvalue > 0.01
    counts = table.groupby(["site", ill]).size().unstack()
    assert np.abs(np.log(counts[True] / counts[False])).max() < 0.9


def test_small_and_faint_tumours_are_several_in_some_and_stay_apart(cohort):
    small = simulate_cohort(60, seed=3, difficulty=SMALL_AND_FAINT, workers=1)
    ill = np.flatnonzero(small.table["grade"] > 0)
    assert np.array_equal(small.masks.any(axis=(1, 2)), small.table["grade"] > 0)
    diameters = small.table["tumour_diameter_mm"].to_numpy()[ill]
    assert diameters.min() > 8
    assert diameters.max() < 32
    parts = [ndimage.label(mask, np.ones((3, 3))) for mask in small.masks[ill]]
    numbers = np.array([n for _, n in parts])
    assert set(numbers) == {1, 2, 3}
    for diameter, (labels, n) in zip(diameters, parts, strict=True):
        largest = max(longest_diameter(labels == part) for part in range(1, n + 1))
        assert diameter == pytest.approx(largest * 208 / 64, abs=0.01)  # not from one to another
    # Brightness tells less than in the default cohort: white-matter spots are as bright.
    assert contrast_in_flair(small) < 0.8 * contrast_in_flair(cohort)


def contrast_in_flair(cohort):
    """Mean over slices: tumour minus median of the brain, in its interquartile ranges."""
    flair = cohort.images[..., 2].astype(float)
    found = []
    for image, mask in zip(flair, cohort.masks, strict=True):
        if mask.any():
            low, middle, high = np.percentile(image[image > 0], (25, 50, 75))
            found.append((image[mask].mean() - middle) / (high - low))
    return np.mean(found)


def test_one_seed_gives_one_cohort_whatever_the_number_of_workers():
    alone = simulate_cohort(60, slices_per_subject=1, seed=11, workers=1)
    together = simulate_cohort(60, slices_per_subject=1, seed=11, workers=2)
    left = [" ".join(child.cmdline()) for child in psutil.Process().children(recursive=True)]
    assert not any("popen_loky" in line for line in left), "idle workers hold memory"
    other = simulate_cohort(60, slices_per_subject=1, seed=12, workers=1)
    assert np.array_equal(alone.images, together.images)
    assert np.array_equal(alone.masks, together.masks)
    assert alone.table.equals(together.table)
    assert not np.array_equal(alone.images, other.images)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10_000), st.integers(1, 14), st.integers(1, 14), st.floats(0.05, 0.95))
def test_longest_diameter_is_the_farthest_pair_of_corners(seed, height, width, share):
    mask = np.random.default_rng(seed).random((height, width)) < share
    if not mask.any():
        assert longest_diameter(mask) == 0
        return
    corners = np.concatenate(
        [np.argwhere(mask) + step for step in ((0, 0), (0, 1), (1, 0), (1, 1))]
    )
    assert longest_diameter(mask) == pytest.approx(pdist(corners).max())


@pytest.mark.parametrize(
    "wrong",
    [
        {"n_subjects": 1},
        {"image_size": 8},
        {"image_size": 10_000},
        {"depth": 0},
        {"seed": -1},
        {"slices_per_subject": 0},
        {"image_size": 64.5},
    ],
)
def test_numbers_out_of_range_are_refused_by_name(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        simulate_cohort(**({"n_subjects": 4} | wrong))

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from medlib.simulation.anatomy import load_template, random_head, scanner_grid
from medlib.simulation.cohort import _white_matter
from medlib.simulation.tumour import (
    LEAST_JACOBIAN,
    grow,
    jacobian,
    mass_effect,
    motility_map,
    random_tumour,
)


def front_speed(motility, rate, spacing):
    """Speed in mm a day of the place where a one-dimensional front is at one half."""
    start = np.zeros(1200, np.float32)
    start[:5] = 1
    medium = np.full_like(start, motility)
    places = []
    for days in (40 / rate, 80 / rate):
        c = grow(start, medium, proliferation_per_day=rate, spacing_mm=spacing, days=days)
        after = int(np.flatnonzero(c > 0.5)[-1])
        places.append(after + (c[after] - 0.5) / (c[after] - c[after + 1]))
    return (places[1] - places[0]) * spacing / (40 / rate)


@pytest.mark.parametrize(("motility", "rate"), [(0.13, 0.012), (0.02, 0.01), (0.1, 0.1)])
def test_front_moves_at_twice_the_root_of_motility_times_proliferation(motility, rate):
    width = np.sqrt(motility / rate)
    speed = front_speed(motility, rate, spacing=width / 1.5)  # as coarse as tumours are grown
    assert speed == pytest.approx(2 * np.sqrt(motility * rate), rel=0.10)


def test_without_proliferation_cells_are_neither_made_nor_lost():
    rng = np.random.default_rng(0)
    start = rng.random((8, 9, 10)).astype(np.float32)
    medium = rng.uniform(0.01, 0.1, start.shape).astype(np.float32)
    c = grow(start, medium, proliferation_per_day=1e-12, spacing_mm=1.0, days=20)
    assert c.sum() == pytest.approx(start.sum(), rel=1e-4)
    assert c.std() < start.std()


def test_growth_stays_between_nothing_and_full():
    start = np.zeros((15, 15, 15), np.float32)
    start[7, 7, 7] = 1
    medium = np.full_like(start, 0.1)
    c = grow(start, medium, proliferation_per_day=0.05, spacing_mm=2.0, days=200)
    assert c.min() >= 0
    assert c.max() <= 1 + 1e-5


def test_tumour_runs_along_white_matter():
    white = np.zeros((41, 41, 41), np.float32)
    white[:, 17:24, 17:24] = 1  # a tract along the first axis
    start = np.zeros_like(white)
    start[20, 20, 20] = 1
    medium = motility_map(1 - white, white, np.ones_like(white), white_mm2_per_day=0.1)
    c = grow(start, medium, proliferation_per_day=0.03, spacing_mm=1.0, days=250)
    extent = [np.ptp(np.flatnonzero((c > 0.16).any(axis=axes))) for axes in ((1, 2), (0, 2))]
    assert extent[0] > 1.5 * extent[1]


def test_nothing_crosses_csf():
    grey = np.ones((21, 21, 21), np.float32)
    grey[12] = 0.2  # a sheet of CSF
    start = np.zeros_like(grey)
    start[8, 10, 10] = 1
    medium = motility_map(grey, np.zeros_like(grey), np.ones_like(grey), white_mm2_per_day=1.0)
    c = grow(start, medium, proliferation_per_day=0.1, spacing_mm=1.0, days=300)
    assert c[:12].min() > 0.5
    assert (c[12:] == 0).all()


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10_000), st.floats(0.5, 3.0), st.floats(1.0, 20.0))
def test_mass_effect_never_folds_tissue_and_ends_inside_the_box(seed, spacing, push):
    noise = np.random.default_rng(seed).normal(size=(22, 22, 22)).astype(np.float32)
    concentration = (ndimage.gaussian_filter(noise, 2.5) > 0.05).astype(np.float32)
    displacement = mass_effect(concentration, spacing_mm=spacing, push_mm=push)
    assert jacobian(displacement, spacing_mm=spacing).min() >= LEAST_JACOBIAN
    for axis in range(3):
        assert not displacement.take([0, -1], axis=axis).any()


def test_mass_effect_pushes_outwards():
    z, y, x = np.indices((22, 22, 22)) - 10.5
    ball = ((x**2 + y**2 + z**2) < 36).astype(np.float32)
    displacement = mass_effect(ball, spacing_mm=1.0, push_mm=2.0)
    # What is seen 7 mm to the right of the middle was nearer to the middle before.
    assert displacement[10, 10, 18, 0] < -0.5
    assert displacement[10, 10, 3, 0] > 0.5


def make_tumour(seed, grade, radius):
    rng = np.random.default_rng(seed)
    head = random_head(rng)
    centre = head.from_template(_white_matter(-15, 50, 1, rng))[0]
    tumour = random_tumour(
        head, load_template(2), centre_mm=centre, radius_mm=radius, grade=grade, rng=rng
    )
    return head, tumour


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.sampled_from([2, 3, 4]), st.floats(9, 24))
def test_tumours_are_in_tissue_and_fold_nothing(seed, grade, radius):
    head, tumour = make_tumour(seed, grade, radius)
    z_mm, y_mm, x_mm = tumour.axes_mm
    points = scanner_grid(x_mm, y_mm, z_mm)
    deformed, _ = tumour.undo(points)
    maps = load_template(2).sample(head.place(deformed))[tumour.visible]
    assert tumour.visible.any()
    assert (maps[:, 1] + maps[:, 2] >= 0.5).all()
    assert (maps[:, 3] >= 0.5).all()
    inside_brain = load_template(2).sample(head.to_template(x_mm, y_mm, z_mm))[..., 3] >= 0.5
    assert inside_brain[tumour.visible].all()
    # Head and mass effect together, on a grid three times finer than the tumour's.
    fine = [np.linspace(axis[1], axis[-2], 60) for axis in tumour.axes_mm]
    moved = head.place(tumour.undo(scanner_grid(*fine[::-1]))[0]).astype(float)
    steps = [
        np.diff(moved, axis=2)[:-1, :-1],
        np.diff(moved, axis=1)[:-1, :, :-1],
        np.diff(moved, axis=0)[:, :-1, :-1],
    ]
    assert np.linalg.det(np.stack(steps, axis=-2)).min() > 0


def test_tumours_reach_the_size_asked_for():
    ratios = []
    for seed in range(12):
        _, tumour = make_tumour(seed, 4, 14.0)
        ratios.append(tumour.volume_mm3 / (4 / 3 * np.pi * 14.0**3))
    assert 0.8 < np.median(ratios) < 2.0  # the mass effect adds to it

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from medlib.simulation.anatomy import load_template, random_head, trilinear


@pytest.mark.parametrize("spacing", [1, 2])
def test_template_has_white_matter_inside_grey_inside_brain(spacing):
    template = load_template(spacing)
    t1, grey, white, brain = np.moveaxis(template.voxels.astype(int), -1, 0)
    assert not brain[0].any()
    assert not brain[:, 0].any()
    assert white[brain == 0].max() < 128  # no white matter outside the brain
    volumes_ml = {
        name: values[brain > 127].sum() / 255 * spacing**3 / 1000
        for name, values in (("grey", grey), ("white", white), ("brain", brain))
    }
    assert 1500 < volumes_ml["brain"] < 2000  # with its fluid
    assert 1 < volumes_ml["grey"] / volumes_ml["white"] < 2
    assert t1[white > 240].mean() > t1[grey > 240].mean()


def test_both_resolutions_agree():
    points = np.random.default_rng(0).uniform((-60, -90, -40), (60, 60, 60), (5000, 3))
    fine, coarse = (load_template(spacing).sample(points.astype(np.float32)) for spacing in (1, 2))
    assert np.abs(fine - coarse).mean() < 0.03


def test_left_is_where_x_is_negative_and_the_front_where_y_is_positive():
    template = load_template(1)
    # The cerebellum, at the back below, is there; nothing is as far in front below.
    back, front = template.sample(np.float32([[30, -70, -40], [30, 40, -40]]))[:, 3]
    assert back == 1
    assert front == 0


def test_interpolation_agrees_with_scipy():
    rng = np.random.default_rng(1)
    volume = rng.integers(0, 256, (7, 9, 8, 2), dtype=np.uint8)
    index = rng.uniform(0, (5.9, 7.9, 6.9), (200, 3))
    expected = [
        ndimage.map_coordinates(volume[..., channel].astype(float), index.T, order=1)
        for channel in range(2)
    ]
    assert np.allclose(
        trilinear(volume, index.astype(np.float32)), np.stack(expected, -1), atol=0.01
    )


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000))
def test_no_head_is_folded(seed):
    head = random_head(np.random.default_rng(seed))
    axis = np.arange(-100.0, 101.0, 8.0)
    points = head.to_template(axis, axis, axis).astype(float)
    steps = [
        np.diff(points, axis=2)[:-1, :-1],
        np.diff(points, axis=1)[:-1, :, :-1],
        np.diff(points, axis=0)[:, :-1, :-1],
    ]
    determinant = np.linalg.det(np.stack(steps, axis=-2) / 8.0)
    assert determinant.min() > 0
    assert 0.5 < np.linalg.det(head.affine) < 2


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000))
def test_going_to_the_template_and_back_arrives(seed):
    rng = np.random.default_rng(seed)
    head = random_head(rng)
    x, y, z = start = rng.uniform(-60, 60, 3)
    there = head.to_template(*(np.array([value]) for value in (x, y, z))).reshape(1, 3)
    assert np.linalg.norm(head.from_template(there.astype(float)) - start) < 1.0


def test_displacement_of_single_points_is_that_of_the_grid():
    rng = np.random.default_rng(3)
    head = random_head(rng)
    axes = [np.sort(rng.uniform(-90, 90, 4)) for _ in range(3)]
    grid = head.displacement(*axes)
    points = np.array([(x, y, z) for z in axes[2] for y in axes[1] for x in axes[0]])
    assert np.allclose(head.displacement_at(points), grid.reshape(-1, 3), atol=1e-4)

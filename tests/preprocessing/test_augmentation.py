"""Random changes move pixels about, and nothing else."""

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from medlib.preprocessing import boxes_from_mask  # noqa: E402
from medlib.preprocessing.augmentation import RandomAffine, RandomIntensity  # noqa: E402

IMAGES = np.random.default_rng(0).random((64, 9, 12, 2), dtype=np.float32)


def changed(images=IMAGES, **settings):
    return np.asarray(RandomAffine(seed=0, **settings)(images, training=True))


def test_nothing_changes_when_predicting():
    layer = RandomAffine(flip=True, shift=0.2, rotation=90, zoom=0.5)
    assert np.array_equal(np.asarray(layer(IMAGES, training=False)), IMAGES)


def test_without_a_change_asked_for_there_is_none():
    assert np.allclose(changed(), IMAGES, atol=1e-6)


def test_a_flip_mirrors_about_half_of_the_images_left_to_right():
    result = changed(flip=True)
    mirrored = np.isclose(result, IMAGES[:, :, ::-1], atol=1e-5).all(axis=(1, 2, 3))
    same = np.isclose(result, IMAGES, atol=1e-5).all(axis=(1, 2, 3))
    assert (mirrored | same).all()
    assert 16 < mirrored.sum() < 48


def test_a_turn_keeps_what_depends_on_the_distance_from_the_centre_alone():
    down, across = np.mgrid[-15:16, -15:16]
    blob = np.exp(-(down**2 + across**2) / 50).astype(np.float32)
    images = np.repeat(blob[np.newaxis, :, :, np.newaxis], 16, axis=0)
    assert np.allclose(changed(images, rotation=180), images, atol=0.02)


def test_a_shift_moves_the_centre_of_mass_within_its_bound():
    images = np.zeros((64, 21, 21, 1), dtype=np.float32)
    images[:, 10, 10] = 1
    result = changed(images, shift=0.2)[..., 0]
    centres = (result.sum(axis=1) @ np.arange(21)) / result.sum(axis=(1, 2)) - 10
    assert abs(centres).max() <= 0.2 * 21
    assert centres.std() == pytest.approx(0.2 * 21 / np.sqrt(3), rel=0.3)


def test_a_zoom_changes_areas_by_its_square_at_most():
    images = np.zeros((64, 41, 41, 1), dtype=np.float32)
    images[:, 10:31, 10:31] = 1
    areas = changed(images, zoom=0.2).sum(axis=(1, 2, 3)) / 21**2
    assert areas.min() > 1.2**-2 - 0.02
    assert areas.max() < 0.8**-2 + 0.02
    assert areas.max() > 1.2 > 0.8 > areas.min()


def test_values_stay_between_the_darkest_and_the_brightest():
    result = changed(flip=True, shift=0.3, rotation=45, zoom=0.3)
    assert IMAGES.min() - 1e-6 <= result.min() <= result.max() <= IMAGES.max() + 1e-6


def test_a_saved_layer_is_the_same_layer():
    layer = RandomAffine(flip=True, shift=0.1, rotation=5, zoom=0.2, seed=7)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert again.get_config() == layer.get_config()


def a_rectangle(n=16, size=40):
    """Images that are their own masks, and the box of each."""
    masks = np.zeros((n, size, size), np.int8)
    masks[:, 12:20, 14:30] = 1
    boxes = np.tile(np.float32([12, 14, 20, 30]), (n, 1, 1))
    return {"images": masks[..., None].astype(np.float32), "masks": masks, "boxes": boxes}


@settings(max_examples=20, deadline=None)
@given(
    flip=st.booleans(),
    shift=st.floats(0, 0.2),
    rotation=st.sampled_from([0.0, 15.0]),
    zoom=st.floats(0, 0.2),
    seed=st.integers(0, 99),
)
def test_images_masks_and_boxes_move_together(flip, shift, rotation, zoom, seed):
    layer = RandomAffine(flip=flip, shift=shift, rotation=rotation, zoom=zoom, seed=seed)
    moved = {name: np.asarray(x) for name, x in layer(a_rectangle(), training=True).items()}
    assert moved["masks"].dtype == np.int8
    assert set(np.unique(moved["masks"])) <= {0, 1}
    # The mask takes the nearest pixel, the image interpolates: they part at the border alone.
    inside, outside = moved["images"][..., 0] > 0.99, moved["images"][..., 0] < 0.01
    assert (moved["masks"][inside] == 1).all()
    assert (moved["masks"][outside] == 0).all()
    for mask, (box,) in zip(moved["masks"], moved["boxes"], strict=True):
        (tight,) = boxes_from_mask(mask)
        assert (box[:2] <= tight[:2] + 1).all()
        assert (box[2:] >= tight[2:] - 1).all()
        if rotation == 0:
            assert np.abs(box - tight).max() <= 1.01


def test_a_box_that_leaves_the_image_is_gone_and_padding_stays():
    given = a_rectangle(64)
    corner, nothing = np.float32([0, 0, 2, 2]), np.float32([-1, -1, -1, -1])
    given["boxes"] = np.tile(np.stack([corner, nothing]), (64, 1, 1))
    boxes = np.asarray(RandomAffine(shift=0.3, seed=0)(given, training=True)["boxes"])
    assert (boxes[:, 1] == -1).all()
    gone = (boxes[:, 0] == -1).all(axis=1)
    assert 0 < gone.sum() < 64
    assert (boxes[~gone, 0] >= 0).all()


def test_the_slices_of_a_stack_move_alike():
    stack = np.repeat(IMAGES[:, None], 3, axis=1)
    moved = changed(stack, flip=True, shift=0.2, rotation=20)
    assert moved.shape == stack.shape
    assert np.allclose(moved[:, 0], moved[:, 2])
    assert np.allclose(moved[:, 0], changed(flip=True, shift=0.2, rotation=20), atol=1e-5)


def test_intensity_keeps_black_and_the_order_of_values():
    ramp = np.tile(np.linspace(0, 1, 12, dtype=np.float32)[:, None, None], (32, 1, 5, 1))
    result = np.asarray(RandomIntensity(gamma=0.4, contrast=0.25, seed=0)(ramp, training=True))
    assert np.allclose(result[:, 0], 0, atol=0.01)
    assert (np.diff(result, axis=1) >= 0).all()
    assert result.max() <= 1
    assert result[:, 6].std() > 0.05
    assert np.array_equal(np.asarray(RandomIntensity(gamma=0.4)(ramp, training=False)), ramp)

"""Random changes move pixels about, and nothing else."""

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from medlib.preprocessing.augmentation import RandomAffine  # noqa: E402

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

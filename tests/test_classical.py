"""Hand-made features measure what they are named for."""

import numpy as np
import pytest

from medlib.models import classical

RNG = np.random.default_rng(0)


def _images(n=4, size=32, channels=3):
    return RNG.random((n, size, size, channels), dtype=np.float32)


@pytest.mark.parametrize(("size", "channels"), [(28, 1), (64, 3), (33, 2)])
def test_every_image_gives_the_same_number_of_finite_features(size, channels):
    images = _images(size=size, channels=channels)
    shapes = {
        classical.intensity_features: 11 * channels,
        classical.texture_features: 21 * channels,
        classical.hand_made_features: 32 * channels,
        classical.hog_features: 324,
    }
    for features, count in shapes.items():
        found = features(images)
        assert found.shape == (4, count)
        assert np.isfinite(found).all()


def test_an_empty_or_even_image_gives_finite_features():
    flat = np.stack([np.zeros((32, 32, 1)), np.full((32, 32, 1), 0.5)]).astype(np.float32)
    assert np.isfinite(classical.hand_made_features(flat)).all()
    assert np.isfinite(classical.hog_features(flat)).all()


def test_intensities_do_not_depend_on_where_or_on_the_background():
    images = _images() + 0.01
    moved = RNG.permuted(images.reshape(4, -1, 3)[0], axis=0).reshape(images[:1].shape)
    framed = np.pad(images, ((0, 0), (8, 8), (8, 8), (0, 0)))
    plain = classical.intensity_features(images)
    assert np.allclose(classical.intensity_features(framed), plain)
    both = np.stack([np.sort(plain[0, :11]), classical.intensity_features(moved)[0, :11]])
    assert np.allclose(both[0], both[1])


def test_intensities_are_ordered_percentiles_channel_by_channel():
    found = classical.intensity_features(_images()).reshape(4, 3, 11)
    assert (np.diff(found, axis=-1) >= 0).all()
    bright = _images()
    bright[..., 1] = 1.0
    assert np.allclose(classical.intensity_features(bright).reshape(4, 3, 11)[:, 1], 1.0)


def test_the_local_standard_deviation_is_that_of_the_window():
    image = _images(1)
    found = classical.local_standard_deviation(image)
    assert found[0, 10, 12, 1] == pytest.approx(image[0, 8:13, 10:15, 1].std(), rel=1e-3)


def test_co_occurrence_counts_pairs():
    stripes = np.tile([0.0, 1.0], (8, 4))  # columns alternate between black and white
    matrix = classical.co_occurrence(stripes, steps=(1, 2))
    assert np.allclose(matrix.sum(axis=(0, 1)), 1)
    assert np.allclose(matrix, matrix.transpose(1, 0, 2, 3))
    assert matrix[0, 15, 0, 0] == pytest.approx(0.5)  # to the right: always another level
    assert matrix[0, 15, 0, 1] == 0  # upwards: always the same
    assert matrix[0, 15, 1, 0] == 0  # two columns on: the same again


def test_smoothing_lowers_contrast():
    from scipy.ndimage import gaussian_filter

    rough = _images(1, channels=1)
    smooth = gaussian_filter(rough, (0, 2, 2, 0))
    contrast = [classical.texture_features(image)[0, 5] for image in (rough, smooth)]
    assert contrast[1] < 0.2 * contrast[0]


def test_hog_sees_the_last_channel_and_not_its_contrast():
    images = _images(size=64)
    plain = classical.hog_features(images)
    other = images.copy()
    other[..., 0] = 0
    assert np.array_equal(classical.hog_features(other), plain)
    assert np.allclose(classical.hog_features(images * 0.5), plain, atol=1e-3)
    assert not np.allclose(classical.hog_features(images[:, ::-1]), plain, atol=1e-3)


def test_the_baseline_finds_bright_spots_anywhere():
    images, labels = _images(200, channels=1) * 0.5, np.arange(200) % 2
    for number in np.flatnonzero(labels):
        row, column = RNG.integers(2, 24, size=2)
        images[number, row : row + 6, column : column + 6] += 0.4
    model = classical.build_classical().fit(images[:100], labels[:100])
    assert model.decision_function(images).shape == (200,)
    assert (model.predict(images[100:]) == labels[100:]).mean() > 0.95

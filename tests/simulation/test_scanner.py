import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medlib.simulation.scanner import SITES, acquire, add_rician_noise, bias_field

SD = 0.05


def noisy(level):
    images = np.full((4, 100, 100, 3), level, np.float32)
    return add_rician_noise(images, SD, np.random.default_rng(0))


def test_noise_in_air_is_rayleigh():
    air = noisy(0.0)
    assert air.mean() == pytest.approx(SD * np.sqrt(np.pi / 2), rel=0.01)
    assert air.var() == pytest.approx((2 - np.pi / 2) * SD**2, rel=0.02)


def test_noise_in_tissue_is_nearly_gaussian():
    tissue = noisy(0.6)
    assert tissue.mean() == pytest.approx(np.sqrt(0.6**2 + SD**2), rel=1e-3)
    assert tissue.var() == pytest.approx(SD**2, rel=0.02)


@pytest.mark.parametrize("level", [0.0, 0.03, 0.1, 0.6])
def test_second_moment_of_a_rician_is_exact(level):
    assert np.mean(noisy(level) ** 2) == pytest.approx(level**2 + 2 * SD**2, rel=0.02)


@settings(deadline=None, max_examples=20)
@given(st.integers(8, 200), st.integers(0, 1000))
def test_bias_field_is_positive_and_smooth(size, seed):
    field = bias_field((3, size, size, 3), 0.2, np.random.default_rng(seed))
    assert field.shape == (1, size, size, 3)
    assert field.min() > 0
    steepest = np.abs(np.diff(np.log(field), axis=1)).max()
    assert steepest < 1.2 * 4 / size  # no step from one pixel to the next


def test_resolution_loss_keeps_the_mean_and_spreads_a_point():
    image = np.zeros((1, 65, 65, 3), np.float32)
    image[0, 32, 32] = 100
    quiet = SITES[0].__class__("quiet", 1.5, *((1.0, 1.0),) * 3, noise=0, blur_mm=2.0, bias=0)
    seen = acquire(image, site=quiet, spacing_mm=1.0, rng=np.random.default_rng(0))
    assert seen.sum() == pytest.approx(image.sum(), rel=1e-4)
    offset = np.arange(65) - 32
    variance = (seen[0, :, :, 0].sum(axis=1) * offset**2).sum() / seen[0, ..., 0].sum()
    assert np.sqrt(variance) == pytest.approx(2.0, rel=0.05)

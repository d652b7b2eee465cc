"""Scanner: sites with their protocols, bias field, loss of resolution, Rician noise.

References
----------
Gudbjartsson and Patz, The Rician distribution of noisy MRI data, Magnetic Resonance in Medicine 34
(1995) 910-914.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from medlib.simulation.signal import (
    TISSUE_NAMES,
    TISSUES,
    inversion_recovery,
    nulling_time,
    spin_echo,
)

CHANNEL_NAMES = ("T1", "T2", "FLAIR")
PROTOCOL_SPREAD = 0.05  # a site's times vary by so much from patient to patient
TISSUE_SPREAD = 0.02  # and tissue's signals, between people
BIAS_POINTS = 4  # control points of the bias field along an edge


@dataclass(frozen=True)
class Site:
    """A hospital's scanner: times in ms, blur (standard deviation) in mm.

    ``noise`` is the standard deviation of the real and imaginary noise where 1 is white.
    """

    name: str
    field_tesla: float
    t1_times_ms: tuple[float, float]  # repetition, echo
    t2_times_ms: tuple[float, float]
    flair_times_ms: tuple[float, float]
    noise: float
    blur_mm: float
    bias: float


SITES = (
    Site("A", 1.5, (520, 14), (4500, 100), (9000, 120), noise=0.030, blur_mm=1.2, bias=0.22),
    Site("B", 1.5, (600, 12), (5000, 90), (8500, 110), noise=0.035, blur_mm=1.0, bias=0.18),
    Site("C", 3.0, (650, 10), (4800, 95), (9000, 115), noise=0.025, blur_mm=1.0, bias=0.22),
    Site("D", 3.0, (700, 11), (5500, 105), (9500, 125), noise=0.028, blur_mm=1.4, bias=0.22),
)

# The receiver is set so that this tissue has this brightness, whatever else is in the slice.
BRIGHTNESS = {"T1": ("white", 0.70), "T2": ("csf", 0.90), "FLAIR": ("grey", 0.50)}
GAIN_SPREAD = 0.08


def random_scan(site: Site, rng: np.random.Generator) -> tuple[dict[str, float], np.ndarray]:
    """Draw the protocol of one examination and work out every tissue's brightness.

    Parameters
    ----------
    site : Site
    rng : numpy.random.Generator

    Returns
    -------
    times_ms : dict
        ``t1_repetition_time_ms`` and so on, as in the cohort's table.
    brightness : ndarray of float32, shape (3, tissues)
        Noise-free brightness by channel and tissue, 1 is white.
    """
    spread = 1 + PROTOCOL_SPREAD * rng.uniform(-1, 1, (3, 2))
    times = np.round(spread * [site.t1_times_ms, site.t2_times_ms, site.flair_times_ms])
    t1, t2, flair = (
        {"repetition_time_ms": repetition, "echo_time_ms": echo}
        for repetition, echo in times.tolist()
    )
    tissues = TISSUES[site.field_tesla]
    nulling = nulling_time(tissues["csf"].t1_ms, flair["repetition_time_ms"])
    flair["inversion_time_ms"] = float(round(nulling * rng.uniform(0.97, 1.03)))
    sequences = ((spin_echo, t1), (spin_echo, t2), (inversion_recovery, flair))
    signals = np.array(
        [[signal(tissues[name], **used) for name in TISSUE_NAMES] for signal, used in sequences]
    )
    signals *= 1 + TISSUE_SPREAD * rng.uniform(-1, 1, signals.shape)
    for row, channel in enumerate(CHANNEL_NAMES):
        tissue_name, level = BRIGHTNESS[channel]
        gain = level * (1 + GAIN_SPREAD * rng.uniform(-1, 1))
        signals[row] *= gain / signals[row, TISSUE_NAMES.index(tissue_name)]
    times_ms = {
        f"{channel.lower()}_{name}": time
        for channel, (_, used) in zip(CHANNEL_NAMES, sequences, strict=True)
        for name, time in used.items()
    }
    return times_ms, signals.astype(np.float32)


def acquire(
    images: np.ndarray, *, site: Site, spacing_mm: float, rng: np.random.Generator
) -> np.ndarray:
    """Turn noise-free slices into what the scanner delivers.

    Parameters
    ----------
    images : ndarray of float32, shape (n, height, width, 3)
        Noise-free brightness.
    site : Site
    spacing_mm : float
        Size of a pixel.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of float32, same shape, not negative
    """
    sigma = site.blur_mm / spacing_mm
    images = ndimage.gaussian_filter(images, (0, sigma, sigma, 0), truncate=3)
    images *= bias_field(images.shape, site.bias, rng)
    # The same scan time spread over smaller pixels: the noise grows as the volume shrinks, but a
    # protocol makes up for most of it by averaging. We keep it the same at every size.
    return add_rician_noise(images, site.noise, rng)


def bias_field(
    shape: tuple[int, int, int, int], strength: float, rng: np.random.Generator
) -> np.ndarray:
    """Draw a smooth positive field about 1: one for each channel, shared by the slices.

    Parameters
    ----------
    shape : tuple of int
        (n, height, width, channels).
    strength : float
        Standard deviation of its logarithm at the control points.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of float32, shape (1, height, width, channels)
    """
    _, height, width, channels = shape
    points = rng.normal(0, strength, (BIAS_POINTS, BIAS_POINTS, channels))
    logarithm = np.einsum("rj,jkc->rkc", _smooth_weights(height), points)
    logarithm = np.einsum("sk,rkc->rsc", _smooth_weights(width), logarithm)
    return np.exp(logarithm).astype(np.float32)[None]


def add_rician_noise(
    images: np.ndarray, standard_deviation: float, rng: np.random.Generator
) -> np.ndarray:
    """Return the magnitude of the images plus complex Gaussian noise.

    In air it is Rayleigh distributed, with mean ``s sqrt(pi/2)`` and variance ``(2 - pi/2) s^2``;
    in tissue of signal A well above s, nearly Gaussian with mean ``sqrt(A^2 + s^2)`` and variance
    ``s^2`` (Gudbjartsson and Patz, equations 2 to 5).

    Parameters
    ----------
    images : ndarray of float32
    standard_deviation : float
        Of the real and of the imaginary part.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of float32, same shape
    """
    noise = rng.standard_normal((2, *images.shape), dtype=np.float32)
    noise *= np.float32(standard_deviation)
    return np.hypot(images + noise[0], noise[1])


def _smooth_weights(size: int) -> np.ndarray:
    """Gaussian weights of BIAS_POINTS control points for each of ``size`` pixels, rows sum to 1."""
    position = np.linspace(0, BIAS_POINTS - 1, size)[:, None]
    weights = np.exp(-((position - np.arange(BIAS_POINTS)) ** 2) / (2 * 0.7**2))
    return weights / weights.sum(axis=1, keepdims=True)

"""Grey values: the window in which they are looked at."""

import numpy as np

from medlib.errors import UsageError


def apply_window(values: np.ndarray, centre: float, width: float) -> np.ndarray:
    """Map the values around a centre to [0, 1]; what lies outside becomes 0 or 1.

    Parameters
    ----------
    values : ndarray, any shape
        For computed tomography: Hounsfield units.
    centre, width : float
        Middle and extent of the values that are told apart, in the unit of the values.
        Soft tissue in computed tomography is usually looked at with (40, 400), lungs with
        (-600, 1500).

    Returns
    -------
    ndarray of float32, the shape of ``values``
        ``(values - centre) / width + 0.5``, clipped: the function LINEAR_EXACT of DICOM PS3.3
        C.11.2.1.3.2.

    Raises
    ------
    UsageError
        If the width is not a positive number.
    """
    if not (np.isfinite(centre) and np.isfinite(width) and width > 0):
        raise UsageError(
            "window", expected="a centre and a width above 0", found=f"({centre}, {width})"
        )
    scaled = (np.asarray(values, dtype=np.float64) - centre) / width + 0.5
    return np.clip(scaled, 0, 1).astype(np.float32)


def percentile_window(
    image: np.ndarray, *, lower: float = 0.5, upper: float = 99.5
) -> tuple[float, float]:
    """Find the window (centre, width) between two percentiles of an image's values.

    It ignores the few brightest pixels (a metal clip, a burned-in letter) that would otherwise
    squeeze all tissue into a few grey levels.

    Parameters
    ----------
    image : ndarray, any shape
    lower, upper : float
        Percentiles, 0 to 100.

    Returns
    -------
    centre, width : float
        The width of an image with one value only is 1, so that windowing it gives 0.5 everywhere.
    """
    low, high = (float(value) for value in np.percentile(image, (lower, upper)))
    if high <= low:  # nearly all pixels are equal: fall back on the extremes
        low, high = float(np.min(image)), float(np.max(image))
    return (low + high) / 2, (high - low) or 1.0


def standardise_foreground(images: np.ndarray) -> np.ndarray:
    """Give the foreground of each image, channel by channel, the same middle and spread.

    The foreground is what is not black in every channel: of a brain without its skull, the brain.
    So a bright tissue has the same grey value whatever scanner the image comes from.

    Parameters
    ----------
    images : ndarray, shape (n, height, width, channels), values in [0, 1]

    Returns
    -------
    ndarray of float32, same shape
        The foreground's median becomes 0.4 and its interquartile range 0.125; values are cut to
        [0, 1], and the background stays 0.
    """
    changed = np.zeros(images.shape, np.float32)
    for image, new in zip(images, changed, strict=True):
        foreground = image.max(axis=-1) > 0
        low, middle, high = np.percentile(image[foreground], (25, 50, 75), axis=0)
        spread = np.where(high > low, high - low, 1)
        new[foreground] = np.clip(0.4 + (image[foreground] - middle) / spread / 8, 0, 1)
    return changed

"""Arrays in, arrays out: crop, resample, normalise, window, clean, split; augmentation.

Augmentation needs Keras and is imported as ``medlib.preprocessing.augmentation``.
"""

from medlib.preprocessing.duplicates import (
    Fingerprint,
    fingerprint,
    group_near_duplicates,
    join_groups,
    perceptual_hash,
)
from medlib.preprocessing.geometry import (
    crop_to_content,
    fit_to_square,
    pad_to_square,
    resample_to_spacing,
    resize_image,
    resize_mask,
)
from medlib.preprocessing.intensity import (
    Normalisation,
    fit_normalisation,
    percentile_window,
    window,
)
from medlib.preprocessing.splitting import split_by_subject

__all__ = [
    "Fingerprint",
    "Normalisation",
    "crop_to_content",
    "fingerprint",
    "fit_normalisation",
    "fit_to_square",
    "group_near_duplicates",
    "join_groups",
    "pad_to_square",
    "percentile_window",
    "perceptual_hash",
    "resample_to_spacing",
    "resize_image",
    "resize_mask",
    "split_by_subject",
    "window",
]

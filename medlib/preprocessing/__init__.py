"""Arrays in, arrays out: crop, resample, window, clean, split; augmentation.

Augmentation needs Keras and is imported as ``medlib.preprocessing.augmentation``.
"""

from medlib.preprocessing.duplicates import fingerprint, group_near_duplicates, join_groups
from medlib.preprocessing.geometry import (
    boxes_from_mask,
    crop_to_content,
    fit_to_square,
    resample_to_spacing,
    resize_image,
    resize_mask,
)
from medlib.preprocessing.intensity import apply_window, percentile_window
from medlib.preprocessing.splitting import fold_by_subject, split_by_subject

"""Arrays in, arrays out: crop, resample, normalise, window, clean, split; augmentation."""

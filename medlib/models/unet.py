"""A small U-Net.

Reference: Ronneberger, Fischer and Brox, U-Net: Convolutional Networks for Biomedical Image
Segmentation, MICCAI 2015.
"""

import keras

from medlib.errors import UsageError
from medlib.models.layers import convolve, layer_seeds


def build_unet(
    image_shape: tuple[int, int, int],
    task,
    *,
    seed: int,
    width: int = 16,
    levels: int | None = None,
    skips: bool = True,
    last: int = 0,
):
    """Halve the image level by level, then double it again, with what was seen on the way down.

    One convolution a level on either side. The first halves the image already and the last layer
    doubles it back: half of the resolution costs a quarter of the time. About 244,000 weights at
    64 pixels, 983,000 at 128.

    Parameters
    ----------
    image_shape : tuple of int
        (height, width, channels).
    task : medlib.tasks.Segmentation
    seed : int
        Of the initial weights.
    width : int
        Channels of the first level; each level has twice as many as the one before.
    levels : int, optional
        By default as many, of 3 to 5, as leave sides of 4 pixels or more at the bottom.
    skips : bool
        Whether the way up gets what was seen on the way down; without, it is an autoencoder.
    last : int
        Level at which the way up ends, in ``2 ** -(last + 1)`` of the resolution.

    Returns
    -------
    keras.Model
        Not compiled.

    Raises
    ------
    UsageError
        If the sides are not multiples of ``2 ** levels``.
    """
    sides = image_shape[-3:-1]
    levels = levels or max(
        n for n in (3, 4, 5) if n == 3 or not any(s % 2**n or s < 4 * 2**n for s in sides)
    )
    step = 2**levels
    if any(side % step for side in sides) or len(image_shape) != 3:
        found = " x ".join(map(str, image_shape[:-1]))
        expected = f"single images whose sides are multiples of {step}"
        raise UsageError("image size", expected=expected, found=found)
    seeds = layer_seeds(seed)
    x = inputs = keras.Input(image_shape)
    seen = []
    for level in range(levels):
        x = _convolve(x, width * 2**level, seeds, strides=2 if level == 0 else 1)
        if level < levels - 1:
            seen.append(x)
            x = keras.layers.MaxPooling2D()(x)
    for level in reversed(range(last, levels - 1)):
        x = keras.layers.UpSampling2D()(x)
        x = keras.layers.Concatenate()([x, seen[level]]) if skips else x
        x = _convolve(x, width * 2**level, seeds)
    return keras.Model(inputs, task.head(x, seed=next(seeds)), name="unet")


def _convolve(x, width: int, seeds, *, strides: int = 1):
    return keras.layers.ReLU()(convolve(x, width, seeds, strides=strides))

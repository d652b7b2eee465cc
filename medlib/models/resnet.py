"""A small residual network.

Reference: He, Zhang, Ren and Sun, Deep Residual Learning for Image Recognition, CVPR 2016.
"""

from collections.abc import Iterator

import keras

from medlib.models.layers import convolve, layer_seeds, over_slices, slices_of

POOLED_FROM = 96  # pixels; the paper pools after the stem as well, which small images cannot spare


def build_resnet(image_shape: tuple[int, ...], task, *, seed: int, blocks: int = 1):
    """Residual blocks of 32, then 64, then 128 channels after a stem of stride 2.

    He initialisation, batch normalisation, global average pooling; about 300,000 weights with one
    block of each width. Images of 96 pixels and more are pooled after the stem.

    Parameters
    ----------
    image_shape : tuple of int
        (height, width, channels), or (depth, height, width, channels): the features of a stack are
        the largest of its slices'.
    task : medlib.tasks.Classification
    seed : int
        Of the initial weights.
    blocks : int
        Of each width: 2 + 6 * ``blocks`` layers with weights on the longest way, 20 with three.

    Returns
    -------
    keras.Model
        Not compiled.
    """
    seeds = layer_seeds(seed)
    inputs = keras.Input(image_shape)
    x = keras.layers.ReLU()(convolve(slices_of(inputs), 32, seeds, strides=2))
    if min(image_shape[-3:-1]) >= POOLED_FROM:
        x = keras.layers.MaxPooling2D(3, strides=2, padding="same")(x)
    for width, strides in ((32, 1), (64, 2), (128, 2)):
        for block in range(blocks):
            x = _residual_block(x, width, seeds, strides=strides if block == 0 else 1)
    x = over_slices(keras.layers.GlobalAveragePooling2D()(x), image_shape)
    return keras.Model(inputs, task.head(x, seed=next(seeds)), name="resnet")


def _residual_block(x, width: int, seeds: Iterator[int], *, strides: int):
    """Return relu(x + f(x)), equation 1 of the paper; a 1x1 convolution where shapes differ."""
    shortcut = x
    if strides != 1 or x.shape[-1] != width:
        shortcut = convolve(x, width, seeds, strides=strides, size=1)
    y = keras.layers.ReLU()(convolve(x, width, seeds, strides=strides))
    y = convolve(y, width, seeds)
    return keras.layers.ReLU()(keras.layers.Add()([shortcut, y]))

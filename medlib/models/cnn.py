"""A small plain convolutional network: the default of ``medlib train``."""

from collections.abc import Iterator

import keras

from medlib.models.layers import convolve, layer_seeds, over_slices, slices_of

HALVED_FROM = 48  # pixels: larger images are halved by the first convolution, small ones are not


def build_cnn(image_shape: tuple[int, ...], task, *, seed: int, width: int = 16):
    """Three blocks of two convolutions each, pooling between them, then the mean of every channel.

    Batch normalisation after every convolution, He initialisation, global average pooling; about
    72,000 weights with a width of 16, whatever the size of the images. Of a stack, every slice goes
    through the same convolutions, and the largest value of each feature over slices counts.

    Parameters
    ----------
    image_shape : tuple of int
        (height, width, channels), or (depth, height, width, channels).
    task : medlib.tasks.Classification
    seed : int
        Of the initial weights.
    width : int
        Channels of the first block; the others have two and four times as many.

    Returns
    -------
    keras.Model
        Not compiled.
    """
    seeds = layer_seeds(seed)
    inputs = keras.Input(image_shape)
    x = over_slices(encode(slices_of(inputs), seeds, width=width), image_shape)
    return keras.Model(inputs, task.head(x, seed=next(seeds)), name="cnn")


def encode(x, seeds: Iterator[int], *, width: int = 16):
    """Return ``4 * width`` features of each image: the means of the last convolution's channels.

    Parameters
    ----------
    x : keras tensor, shape (n, height, width, channels)
    seeds : iterator of int
        As :func:`medlib.models.layers.layer_seeds` gives them.
    width : int

    Returns
    -------
    keras tensor, shape (n, 4 * width)
    """
    strides = 2 if min(x.shape[1:3]) >= HALVED_FROM else 1
    for channels in (width, 2 * width, 4 * width):
        if channels > width:
            x = keras.layers.MaxPooling2D()(x)
        for _ in range(2):
            x = keras.layers.ReLU()(convolve(x, channels, seeds, strides=strides))
            strides = 1
    return keras.layers.GlobalAveragePooling2D()(x)

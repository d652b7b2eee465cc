"""A small plain convolutional network: the default of ``medlib train``."""

import keras

from medlib.models.layers import convolve, layer_seeds

HALVED_FROM = 48  # pixels: larger images are halved by the first convolution, small ones are not


def build_cnn(image_shape: tuple[int, int, int], task, *, seed: int, width: int = 16):
    """Three blocks of two convolutions each, pooling between them, then the mean of every channel.

    Batch normalisation after every convolution, He initialisation, global average pooling; about
    72,000 weights with a width of 16, whatever the size of the images.

    Parameters
    ----------
    image_shape : tuple of int
        (height, width, channels).
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
    strides = 2 if min(image_shape[:2]) >= HALVED_FROM else 1
    x = inputs
    for channels in (width, 2 * width, 4 * width):
        if channels > width:
            x = keras.layers.MaxPooling2D()(x)
        for _ in range(2):
            x = keras.layers.ReLU()(convolve(x, channels, seeds, strides=strides))
            strides = 1
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, task.head(x, seed=next(seeds)), name="cnn")

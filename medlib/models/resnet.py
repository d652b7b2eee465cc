"""A small residual network.

Reference: He, Zhang, Ren and Sun, Deep Residual Learning for Image Recognition, CVPR 2016.
"""

import itertools

import keras

from medlib.models.heads import classify

# Keras's default of 0.99 needs several hundred steps before the statistics used at prediction time
# mean anything; a training on a few hundred images has fewer.
BATCH_NORMALISATION_MOMENTUM = 0.9
POOLED_FROM = 96  # pixels; the paper pools after the stem as well, which small images cannot spare


def build_resnet(image_shape: tuple[int, int, int], n_classes: int, *, seed: int) -> keras.Model:
    """Three residual blocks of 32, 64 and 128 channels after a stem of stride 2.

    He initialisation, batch normalisation, global average pooling; about 300,000 weights. Images
    of 96 pixels and more are pooled after the stem.

    Parameters
    ----------
    image_shape : tuple of int
        (height, width, channels).
    n_classes : int
        Two give one sigmoid unit: the probability of class 1.
    seed : int
        Of the initial weights.

    Returns
    -------
    keras.Model
        Not compiled.
    """
    seeds = itertools.count(seed)
    inputs = keras.Input(image_shape)
    x = _convolve(inputs, 32, seeds, strides=2)
    x = keras.layers.ReLU()(x)
    if min(image_shape[:2]) >= POOLED_FROM:
        x = keras.layers.MaxPooling2D(3, strides=2, padding="same")(x)
    for width, strides in ((32, 1), (64, 2), (128, 2)):
        x = _residual_block(x, width, seeds, strides=strides)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, classify(x, n_classes, seed=next(seeds)), name="resnet")


def _residual_block(x, width: int, seeds, *, strides: int):
    """Return relu(x + f(x)), equation 1 of the paper; a 1x1 convolution where shapes differ."""
    shortcut = x
    if strides != 1 or x.shape[-1] != width:
        shortcut = _convolve(x, width, seeds, strides=strides, size=1)
    y = keras.layers.ReLU()(_convolve(x, width, seeds, strides=strides))
    y = _convolve(y, width, seeds)
    return keras.layers.ReLU()(keras.layers.Add()([shortcut, y]))


def _convolve(x, width: int, seeds, *, strides: int = 1, size: int = 3):
    x = keras.layers.Conv2D(
        width,
        size,
        strides=strides,
        padding="same",
        use_bias=False,
        kernel_initializer=keras.initializers.HeNormal(seed=next(seeds)),
    )(x)
    return keras.layers.BatchNormalization(momentum=BATCH_NORMALISATION_MOMENTUM)(x)

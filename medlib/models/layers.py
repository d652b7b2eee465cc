"""What several families of networks share."""

from collections.abc import Iterator

import keras
import numpy as np

# Keras's default of 0.99 needs several hundred steps before the statistics used at prediction time
# mean anything; a training on a few hundred images has fewer.
BATCH_NORMALISATION_MOMENTUM = 0.9


def layer_seeds(seed: int) -> Iterator[int]:
    """Yield a seed for one layer after another, spawned from one sequence.

    Counting up from ``seed`` would give the second layer of seed 0 the weights of the first layer
    of seed 1.
    """
    sequence = np.random.SeedSequence(seed)
    while True:
        yield int(sequence.spawn(1)[0].generate_state(1)[0])


def convolve(x, width: int, seeds: Iterator[int], *, strides: int = 1, size: int = 3):
    """Convolution with He initialisation, then batch normalisation.

    Parameters
    ----------
    x : keras tensor, shape (n, height, width, channels)
    width : int
        Channels of the result.
    seeds : iterator of int
        As :func:`layer_seeds` gives them; the next one is used.
    strides, size : int
    """
    x = keras.layers.Conv2D(
        width,
        size,
        strides=strides,
        padding="same",
        use_bias=False,  # batch normalisation has one
        kernel_initializer=keras.initializers.HeNormal(seed=next(seeds)),
    )(x)
    return keras.layers.BatchNormalization(momentum=BATCH_NORMALISATION_MOMENTUM)(x)


def slices_of(images):
    """Put the slices of stacks one after another: (n, depth, h, w, c) becomes (n * depth, h, w, c).

    Images, (n, h, w, c), stay as they are.
    """
    if len(images.shape) == 4:
        return images
    return keras.ops.reshape(images, (-1, *images.shape[2:]))


def over_slices(features, image_shape: tuple[int, ...]):
    """Give each stack the largest value that a feature has in any of its slices.

    Parameters
    ----------
    features : keras tensor, shape (n * depth, k)
        Of every slice, in the order of :func:`slices_of`.
    image_shape : tuple of int
        (depth, height, width, channels). For (height, width, channels) nothing is done.

    Returns
    -------
    keras tensor, shape (n, k)
    """
    if len(image_shape) == 3:
        return features
    stacks = keras.ops.reshape(features, (-1, image_shape[0], features.shape[-1]))
    return keras.ops.max(stacks, axis=1)

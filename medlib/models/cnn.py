"""The first convolutional network of the course (lesson 05)."""

import keras

from medlib.models.heads import classify


def build_cnn(image_shape: tuple[int, int, int], n_classes: int, *, seed: int) -> keras.Model:
    """Three blocks of convolution and pooling, then two dense layers.

    The architecture of many tutorials, with Keras's default (Glorot) initialisation, no
    normalisation and a flattened feature map.

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
    inputs = keras.Input(image_shape)
    x = inputs
    for block, width in enumerate((32, 64, 128)):
        initialiser = keras.initializers.GlorotUniform(seed=seed + block)
        x = keras.layers.Conv2D(
            width, 3, padding="same", activation="relu", kernel_initializer=initialiser
        )(x)
        x = keras.layers.MaxPooling2D()(x)
    x = keras.layers.Flatten()(x)
    initialiser = keras.initializers.GlorotUniform(seed=seed + 3)
    x = keras.layers.Dense(128, activation="relu", kernel_initializer=initialiser)(x)
    return keras.Model(inputs, classify(x, n_classes, seed=seed + 4), name="cnn")

"""The last layer, which two families of networks share."""

import keras


def classify(features, n_classes: int, *, seed: int):
    """Turn features, shape (n, k), into probabilities: sigmoid for two classes, else softmax."""
    initialiser = keras.initializers.GlorotUniform(seed=seed)
    if n_classes == 2:
        layer = keras.layers.Dense(
            1, activation="sigmoid", kernel_initializer=initialiser, dtype="float32"
        )
    else:
        layer = keras.layers.Dense(
            n_classes, activation="softmax", kernel_initializer=initialiser, dtype="float32"
        )
    return layer(features)

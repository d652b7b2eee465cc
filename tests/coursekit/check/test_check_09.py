"""Planted wrong answers to the exercises of lesson 09 are found, and told apart."""

import keras
import numpy as np
from keras import layers

from coursekit import check


def network(*inner, last=None):
    """A builder of networks with these layers and one answer a slice."""

    def build(n_features):
        made = [layer() for layer in inner]
        end = last() if last else layers.Dense(1, activation="sigmoid")
        return keras.Sequential([layers.Input((8, n_features)), *made, end])

    return build


def conv(size=3, padding="same", **how):
    return lambda: layers.Conv1D(16, size, padding=padding, activation="relu", **how)


WRONG = {
    "z itself": ("09.1", lambda steps: 0.5 ** (1 / steps), "is z itself"),
    "sign": ("09.1", lambda steps: np.log(2 ** (1 / steps) - 1), "wrong sign"),
    "sigmoid of z": ("09.1", lambda steps: 1 / (1 + np.exp(-(0.5 ** (1 / steps)))), "turned round"),
    "only the logarithm": ("09.1", lambda steps: np.log(0.5 ** (1 / steps)), "z / (1 - z)"),
    "a constant": ("09.1", lambda steps: 0.0, "after 10 steps"),
    "alone": ("09.2", network(lambda: layers.Dense(16)), "itself only"),
    "before only": ("09.2", network(conv(2, "causal")), "one side only"),
    "both far away": ("09.2", network(conv(5)), "not its direct neighbours"),
    "everything": ("09.2", network(conv(), conv()), "not its direct neighbours"),
    "not padded": ("09.2", network(conv(padding="valid")), "(256, 6, 1)"),
    "one for the stack": ("09.2", network(conv(), layers.GlobalMaxPooling1D), "(256, 1)"),
    "scores": ("09.2", network(conv(), last=lambda: layers.Dense(1)), "no probabilities"),
    "recurrent": (
        "09.2",
        network(lambda: layers.Bidirectional(layers.GRU(4, return_sequences=True))),
        "recurrent layer, Bidirectional",
    ),
    "too small": (
        "09.2",
        network(lambda: layers.Conv1D(1, 3, padding="same", kernel_initializer="zeros"), conv(1)),
        "Slice 4 is not judged",
    ),
    "no model": ("09.2", lambda n: np.zeros((8, 1)), "Return a Keras model"),
}


def test_a_network_of_one_convolution_that_ends_it_all_is_right():
    def short(n_features):
        last = layers.Conv1D(1, 3, padding="same", activation="sigmoid")
        return keras.Sequential([layers.Input((8, n_features)), last])

    assert check.verdict("09.2", short).state == "correct"

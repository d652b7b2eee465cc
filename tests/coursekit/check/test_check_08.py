"""Planted wrong answers to the exercises of lesson 08 are found, and told apart."""

import numpy as np
import pytest

from coursekit import check


def _network(body, activation, loss, *, units=1, optimizer="adam", trainable=True):
    import keras

    network = keras.Sequential([*body, keras.layers.Dense(units, activation=activation)])
    network.trainable = trainable
    if loss is not None:
        network.compile(optimizer, loss=loss)
    return network


WRONG = {
    "08.1": {
        "softmax": lambda body: _network(body, "softmax", "binary_crossentropy"),
        "as it was": lambda body: _network(body, "softmax", "categorical_crossentropy"),
        "loss zero": lambda body: _network(body, "sigmoid", "categorical_crossentropy"),
        "no probability": lambda body: _network(body, None, "mse"),
        "another loss": lambda body: _network(body, "sigmoid", "mse"),
        "two units": lambda body: _network(body, "softmax", "categorical_crossentropy", units=2),
        "not compiled": lambda body: _network(body, "sigmoid", None),
        "no network": lambda body: body,
        "never learns": lambda body: _network(
            body, "sigmoid", "binary_crossentropy", optimizer="sgd", trainable=False
        ),
    },
    "08.2": {
        "table order": lambda files, table: table["label"].tolist(),
        "sorted": lambda files, table: table.sort_values("image")["label"].tolist(),
        "missing": lambda files, table: table.set_index("image")["label"].reindex(files).tolist(),
    },
    "08.3": {
        "all images": lambda y, p, s: np.sort(p)[::-1][int(np.ceil(s * len(p))) - 1],
        "wrong end": lambda y, p, s: np.sort(p[y == 1])[int(np.ceil(s * sum(y == 1))) - 1],
        "rounded down": lambda y, p, s: np.sort(p[y == 1])[::-1][int(s * sum(y == 1)) - 1],
        "quantile": lambda y, p, s: np.quantile(p[y == 1], 1 - s),
        "zero": lambda y, p, s: 0.0,
        "order": lambda y, p, s: p[: int(sum(y))][int(np.ceil(s * sum(y))) - 1],
    },
}


@pytest.mark.parametrize(("exercise", "name"), [(e, n) for e in WRONG for n in WRONG[e]])
def test_wrong_answers_are_found(exercise, name):
    assert check.verdict(exercise, WRONG[exercise][name]).state == "wrong"


def test_networks_that_fail_in_different_ways_get_different_hints():
    messages = {check.verdict("08.1", answer).message for answer in WRONG["08.1"].values()}
    assert len(messages) >= 6


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop", "sgd"])
def test_a_repaired_network_may_learn_slowly(optimizer):
    def answer(body):
        return _network(body, "sigmoid", "binary_crossentropy", optimizer=optimizer)

    assert check.verdict("08.1", answer).state == "correct"

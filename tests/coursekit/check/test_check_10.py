"""Planted wrong answers to the exercises of lesson 10 are found, and told apart."""

import numpy as np
import pytest

from coursekit import check


def _softmax(scores):
    powers = np.exp(scores)
    return powers / powers.sum(axis=-1, keepdims=True)


def _places(tokens, table):
    return np.concatenate([tokens, np.broadcast_to(table, (len(tokens), *table.shape))], axis=2)


PLACE = np.arange(64)
ROWS_AND_COLUMNS = np.stack([PLACE // 8, PLACE % 8], axis=1)

WRONG = {
    "10.1": {
        "after softmax": lambda s, keep: _softmax(s) * keep,
        "score zero": lambda s, keep: _softmax(np.where(keep, s, 0)),
        "turned": lambda s, keep: _softmax(np.where(keep, -np.inf, s)),
        "ignored": lambda s, keep: _softmax(s),
        "together": lambda s, keep: np.exp(s) * keep / (np.exp(s) * keep).sum(),
        "nearly": lambda s, keep: _softmax(np.where(keep, s, -20)),
        "dropped": lambda s, keep: _softmax(s[:, keep]),
    },
    "10.2": {
        "only places": lambda x: _places(x, ROWS_AND_COLUMNS / 4 - 1)[..., 3:],
        "large": lambda x: _places(x, ROWS_AND_COLUMNS * 8 - 28),
        "from zero": lambda x: _places(x, ROWS_AND_COLUMNS / 4),
        "row twice": lambda x: _places(x, ROWS_AND_COLUMNS[:, [0, 0]] / 2 - 2),
        "number": lambda x: _places(x, np.stack([PLACE / 32 - 1, PLACE / 64 - 0.5], axis=1)),
        "in front": lambda x: np.roll(_places(x, ROWS_AND_COLUMNS / 2 - 1.75), 2, axis=2),
        "random": lambda x: np.concatenate([x, np.random.default_rng(0).normal(size=x.shape)], 2)[
            ..., :5
        ],
    },
    "10.3": {
        "nothing": lambda A: A.copy(),
        "keys alike": lambda A: A[..., np.random.default_rng(0).permutation(A.shape[-1])],
        "queries": lambda A: np.random.default_rng(0).permuted(A, axis=-2),
        "images": lambda A: np.roll(A, 1, axis=0),
        "in place": lambda A: np.random.default_rng(0).permuted(A, axis=-1, out=A),
        "uniform": lambda A: np.full_like(A, 1 / A.shape[-1]),
    },
}


@pytest.mark.parametrize(("exercise", "name"), [(e, n) for e in WRONG for n in WRONG[e]])
def test_wrong_answers_are_found(exercise, name):
    assert check.verdict(exercise, WRONG[exercise][name]).state == "wrong"


def test_different_mistakes_get_different_hints():
    for exercise, answers in WRONG.items():
        messages = {check.verdict(exercise, answer).message for answer in answers.values()}
        assert len(messages) >= 5, exercise


RIGHT = {
    "10.1": [
        lambda s, keep: _softmax(np.where(keep, s, -np.inf)),
        lambda s, keep: _softmax(s) * keep / (_softmax(s) * keep).sum(axis=1, keepdims=True),
        lambda s, keep: _softmax(np.where(keep, s, -1e9)),
    ],
    "10.2": [
        lambda x: _places(x, ROWS_AND_COLUMNS / 2 - 1.75),
        lambda x: _places(x, 1 - ROWS_AND_COLUMNS[:, ::-1] / 3.5),
    ],
    "10.3": [
        lambda A: np.random.default_rng(1).permuted(A, axis=-1),
        lambda A: np.take_along_axis(
            A, np.random.default_rng(1).random(A.shape).argsort(), axis=-1
        ),
    ],
}


@pytest.mark.parametrize(("exercise", "k"), [(e, k) for e in RIGHT for k in range(len(RIGHT[e]))])
def test_more_than_one_way_is_right(exercise, k):
    assert check.verdict(exercise, RIGHT[exercise][k]).message == "correct."

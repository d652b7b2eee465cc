"""Planted wrong answers to the exercises of lesson 17 are found, and told apart."""

import numpy as np
import pytest

from coursekit import check
from coursekit.check import lesson_17
from medlib.simulation.cohort import longest_diameter


def _dice(truth, found):
    total = truth.sum() + found.sum()
    return 2 * (truth & found).sum() / total if total else np.nan


def _ops():
    import keras

    return keras.ops


def _each(y, p, *, one=1.0):
    ops, pixels = _ops(), (1, 2, 3)
    size = ops.sum(y, axis=pixels)
    loss = 1 - 2 * ops.sum(y * p, axis=pixels) / (size + ops.sum(p, axis=pixels) + one)
    return loss, ops.cast(size > 0, "float32")


def _right_loss(y, p):
    loss, there = _each(y, p)
    return _ops().sum(loss * there) / _ops().maximum(_ops().sum(there), 1)


def _other_right_loss(y, p):
    loss, there = _each(y, p)
    return _ops().mean(loss * there) / _ops().maximum(_ops().mean(there), 1e-6)


def _of_batch(y, p):
    ops = _ops()
    return 1 - 2 * ops.sum(y * p) / (ops.sum(y) + ops.sum(p) + 1)


def _without_one(y, p):
    loss, there = _each(y, p, one=0.0)
    return _ops().sum(loss * there) / _ops().maximum(_ops().sum(there), 1)


def _nan_when_empty(y, p):
    loss, there = _each(y, p)
    return _ops().sum(loss * there) / _ops().sum(there)


def _sum_over_all(y, p):
    loss, there = _each(y, p)
    return _ops().sum(loss * there) / len(loss)


def _numpy_loss(y, p):
    ops = _ops()
    if hasattr(p, "numpy"):
        return ops.convert_to_tensor(lesson_17.dice_each_right(y.numpy(), p.numpy()), "float32")
    return 0 * ops.sum(p) + 0.5


def _called(diameter, *, both=True, least=5.0, shrunk=0.7):
    def change(before, after, spacing):
        first, second = (diameter(mask, spacing) for mask in (before, after))
        grown = second >= 1.2 * first, second - first >= least
        if all(grown) if both else any(grown):
            return "progression"
        return "response" if second <= shrunk * first else "stable"

    return change


def _area(mask, spacing):
    return mask.sum() * spacing[0] * spacing[1]


WRONG = {
    "17.1": {
        "intersection over union": lambda a, b: (a & b).sum() / (a | b).sum(),
        "not twice": lambda a, b: (a & b).sum() / (a.sum() + b.sum()),
        "sensitivity": lambda a, b: (a & b).sum() / a.sum(),
        "accuracy": lambda a, b: (a == b).mean(),
        "empty is one": lambda a, b: 1.0 if not (a | b).any() else _dice(a, b),
        "empty is zero": lambda a, b: 2 * (a & b).sum() / max(1, a.sum() + b.sum()),
        "missed is NaN": lambda a, b: _dice(a, b) if a.any() and b.any() else np.nan,
        "constant": lambda a, b: 1.0,
    },
    "17.2": {
        "of the batch": _of_batch,
        "with empty slices": lambda y, p: _ops().mean(_each(y, p)[0]),
        "the sum": lambda y, p: _ops().sum(_each(y, p)[0] * _each(y, p)[1]),
        "by all slices": _sum_over_all,
        "the score": lambda y, p: (_ops().sum(_each(y, p)[1]) - _right_loss(y, p) * 4) / 4,
        "without the 1": _without_one,
        "divides by 0": _nan_when_empty,
        "a loss for each slice": lambda y, p: _each(y, p)[0],
        "no gradient": _numpy_loss,
    },
    "17.3": {
        "one condition is enough": _called(longest_diameter, both=False),
        "no 5 mm": _called(longest_diameter, least=0.0),
        "pixels": _called(lambda mask, spacing: longest_diameter(mask)),
        "first spacing twice": _called(lambda mask, s: longest_diameter(mask, (s[0], s[0]))),
        "area": _called(_area),
        "any shrinking": _called(longest_diameter, shrunk=0.95),
        "always": lambda before, after, spacing: "stable",
        "other word": lambda before, after, spacing: "grown",
        "a truth value": lambda before, after, spacing: True,
    },
}


@pytest.mark.parametrize(("exercise", "name"), [(e, n) for e in WRONG for n in WRONG[e]])
def test_wrong_answers_are_found(exercise, name):
    assert check.verdict(exercise, WRONG[exercise][name]).state == "wrong"


def test_different_mistakes_get_different_hints():
    for exercise, answers in WRONG.items():
        messages = {check.verdict(exercise, answer).message for answer in answers.values()}
        assert len(messages) >= 5, (exercise, messages)


RIGHT = {
    "17.1": [_dice, lambda a, b: 2 * np.sum(a * b) / np.float64(a.sum() + b.sum())],
    "17.2": [_right_loss, _other_right_loss],
    "17.3": [_called(longest_diameter), lesson_17.change_right],
}


@pytest.mark.parametrize(("exercise", "k"), [(e, k) for e in RIGHT for k in range(len(RIGHT[e]))])
def test_more_than_one_way_is_right(exercise, k):
    assert check.verdict(exercise, RIGHT[exercise][k]).message == "correct."


def test_every_tumour_costs_the_same_whatever_its_size():
    y = np.zeros((2, 32, 32, 1))
    y[0, :2, :2] = y[1, :20, :20] = 1
    small, large = y.copy(), y.copy()
    small[0], large[1] = 0, 0  # missed
    assert lesson_17.dice_each_right(y, small) == pytest.approx(
        lesson_17.dice_each_right(y, large), abs=0.11
    )
    batch = [1 - 2 * (y * p).sum() / (y.sum() + p.sum() + 1) for p in (small, large)]
    assert batch[1] > 10 * batch[0]

"""Planted wrong answers to the exercises of lesson 06 are found, and told apart."""

import numpy as np
import pytest

from coursekit import check


def one_at(row: int, column: int) -> np.ndarray:
    kernel = np.zeros((3, 3))
    kernel[row, column] = 1
    return kernel


def blocks_of(x):
    n, height, width, c = x.shape
    return x.reshape(n, height // 2, 2, width // 2, 2, c)


def spread_over_block(x, gradient):
    return np.repeat(np.repeat(gradient, 2, axis=1), 2, axis=2)


def ones_at_the_largest(x, gradient):
    blocks = blocks_of(x)
    return (blocks == blocks.max(axis=(2, 4), keepdims=True)).astype(float).reshape(x.shape)


def first_of_block(x, gradient):
    result = np.zeros_like(x)
    result[:, ::2, ::2] = gradient
    return result


def smaller_than_x(x, gradient):
    return gradient


C, P = ("convolution", 3), ("pooling", 2)
WRONG = {
    "flipped": ("06.1", one_at(2, 2), "up and to the left"),
    "unmoved": ("06.1", one_at(1, 1), "stays where it is"),
    "down only": ("06.1", one_at(0, 1), "down only"),
    "right only": ("06.1", one_at(1, 0), "right only"),
    "brighter": ("06.1", 2 * one_at(0, 0), "brightness"),
    "mixed": ("06.1", (one_at(0, 0) + one_at(1, 1)) / 2, "mixes"),
    "nine in a row": ("06.1", np.zeros(9), "3 x 3 array"),
    "not numbers": ("06.1", "left", "stops with ValueError"),
    "mean pooling": ("06.2", spread_over_block, "not the largest"),
    "gradient ignored": ("06.2", ones_at_the_largest, "wrong values"),
    "first of block": ("06.2", first_of_block, "not the largest"),
    "only zeros": ("06.2", lambda x, gradient: np.zeros_like(x), "has no gradient"),
    "small": ("06.2", smaller_than_x, "shape"),
    "lesson 08": ("06.3", [C, P] * 3, "total stride is 8"),
    "too little seen": ("06.3", [C, P, C, P, C, C], "less than 32"),
    "convolutions first": ("06.3", [C] * 16, "more than 3,000"),
    "one large kernel": ("06.3", [("convolution", 33)], "side 3 or 5"),
    "nothing but pooling first": ("06.3", [P, P, C, C, C, C], "must start with a convolution"),
    "pooling, then one large kernel": ("06.3", [P, P, ("convolution", 8)], "side 3 or 5"),
    "unknown layer": ("06.3", [("dense", 3)], "not a layer"),
    "no layers": ("06.3", [], "empty"),
}


@pytest.mark.parametrize("plant", WRONG)
def test_wrong_answers_are_named(plant):
    exercise, answer, expected = WRONG[plant]
    verdict = check.verdict(exercise, answer)
    assert verdict.state == "wrong"
    assert expected in verdict.message


def test_another_right_plan_is_right():
    plan = [("convolution", 5), P, ("convolution", 5), P, C, C]
    assert check.verdict("06.3", plan).state == "wrong"  # 30 pixels: not quite
    assert check.verdict("06.3", [C, P, C, P, ("convolution", 5), C]).state == "correct"

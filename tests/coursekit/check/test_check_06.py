"""Planted wrong answers to the exercises of lesson 06 are found, and told apart."""

import numpy as np

from coursekit import check


def one_at(row: int, column: int) -> np.ndarray:
    kernel = np.zeros((3, 3))
    kernel[row, column] = 1
    return kernel


def two_means(inner: int, outer: int, middle_weight: float, ring_weight: float) -> np.ndarray:
    kernel = np.full((outer, outer), ring_weight)
    first = (outer - inner) // 2
    kernel[first : first + inner, first : first + inner] = middle_weight
    return kernel


def right_spot(inner, outer):
    return two_means(inner, outer, 1 / inner**2, -1 / (outer**2 - inner**2))


def sums(inner, outer):
    return two_means(inner, outer, 1, -1)


def whole_square_subtracted(inner, outer):
    return two_means(inner, outer, 1 / inner**2 - 1 / outer**2, -1 / outer**2)


def ring_with_its_middle(inner, outer):
    return two_means(inner, outer, 1 / inner**2, -1 / outer**2)


def nothing_subtracted(inner, outer):
    return two_means(inner, outer, 1 / inner**2, 0)


def one_corner(inner, outer):
    kernel = np.zeros((outer, outer))
    kernel[outer // 2, outer // 2], kernel[0, 0] = 1, -1
    return kernel


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
    "dark spots": ("06.2", lambda inner, outer: -right_spot(inner, outer), "dark spots"),
    "sums": ("06.2", sums, "takes sums"),
    "whole square": ("06.2", whole_square_subtracted, "its middle included"),
    "ring with its middle": ("06.2", ring_with_its_middle, "how many pixels has the ring"),
    "only a mean": ("06.2", nothing_subtracted, "nothing is subtracted"),
    "one corner": ("06.2", one_corner, "not a mean minus a mean"),
    "twice the middle": (
        "06.2",
        lambda inner, outer: two_means(inner, outer, 2 / inner**2, -1 / (outer**2 - inner**2)),
        "add up to 1",
    ),
    "too small": ("06.2", lambda inner, outer: np.ones((inner, inner)), "must have shape (3, 3)"),
    "lesson 08": ("06.3", [C, P] * 3, "total stride is 8"),
    "too little seen": ("06.3", [C, P, C, P, C, C], "less than 32"),
    "convolutions first": ("06.3", [C] * 16, "more than 3,000"),
    "one large kernel": ("06.3", [("convolution", 33)], "side 3 or 5"),
    "nothing but pooling first": ("06.3", [P, P, C, C, C, C], "must start with a convolution"),
    "pooling, then one large kernel": ("06.3", [P, P, ("convolution", 8)], "side 3 or 5"),
    "unknown layer": ("06.3", [("dense", 3)], "not a layer"),
    "no layers": ("06.3", [], "empty"),
}


def test_another_right_plan_is_right():
    plan = [("convolution", 5), P, ("convolution", 5), P, C, C]
    assert check.verdict("06.3", plan).state == "wrong"  # 30 pixels: not quite
    assert check.verdict("06.3", [C, P, C, P, ("convolution", 5), C]).state == "correct"


def test_a_right_spot_is_right():
    assert check.verdict("06.2", right_spot).state == "correct"

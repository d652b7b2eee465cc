"""Planted wrong answers to the exercises of lesson 01 are found, and told apart."""

import numpy as np
import pytest

from coursekit import check
from medlib.simulation.signal import nulling_time


def grey(stored, slope, intercept, centre, width):
    return np.clip((slope * stored + intercept - centre) / width + 0.5, 0, 1)


def voxel(affine, point):
    return tuple((np.linalg.inv(affine) @ [*point, 1])[:3])


def rounded(numbers):
    return tuple(int(number) for number in np.rint(list(numbers)))


def in_place(stored, slope, intercept, centre, width):
    stored *= int(slope)
    stored += int(intercept)
    return grey(stored, 1, 0, centre, width)


def right_angles_only(affine, point):
    rows = np.abs(affine[:3, :3]).argmax(axis=0)
    return rounded(
        (point[row] - affine[row, 3]) / affine[row, column] for column, row in enumerate(rows)
    )


WRONG = {
    "changes its input": ("01.1", in_place, "changes the array"),
    "eight bits": ("01.1", lambda s, m, b, c, w: 255 * grey(s, m, b, c, w), "not 255"),
    "not rescaled": ("01.1", lambda s, m, b, c, w: grey(s, 1, 0, c, w), "windowed the stored"),
    "not clipped": ("01.1", lambda s, m, b, c, w: (m * s + b - c) / w + 0.5, "outside [0, 1]"),
    "centre black": (
        "01.1",
        lambda s, m, b, c, w: np.clip((m * s + b - c) / w, 0, 1),
        "comes out black",
    ),
    "slope forgotten": ("01.1", lambda s, m, b, c, w: grey(s, 1, b, c, w), "slope is not 1"),
    "width doubled": ("01.1", lambda s, m, b, c, w: grey(s, m, b, c, 2 * w), "width 400"),
    "one number": ("01.1", lambda s, m, b, c, w: 0.5, "shape"),
    "unsigned": (
        "01.1",
        lambda s, m, b, c, w: grey((s + b).astype(np.uint16), m, 0, c, w),
        "intercept -1024",
    ),
    "other way": ("01.2", lambda a, p: rounded((a @ [*p, 1])[:3]), "the other way"),
    "no translation": ("01.2", lambda a, p: rounded(voxel(a, p) - np.array([26, 0, 0])), "centre"),
    "origin left out": (
        "01.2",
        lambda a, p: rounded(np.linalg.inv(a[:3, :3]) @ p),
        "where the first voxel lies",
    ),
    "cut off": ("01.2", lambda a, p: tuple(int(n + 1e-9) for n in voxel(a, p)), "cut off"),
    "cut off at once": ("01.2", lambda a, p: tuple(int(n) for n in voxel(a, p)), "cut off"),
    "rounded down": (
        "01.2",
        lambda a, p: tuple(int(n) for n in np.floor(voxel(a, p))),
        "cut off",
    ),
    "right angles only": ("01.2", right_angles_only, "30 degrees"),
    "not whole": ("01.2", voxel, "whole numbers"),
    "scale only": (
        "01.2",
        lambda a, p: rounded(
            (np.array(p) - a[:3, 3]) / np.where(np.diag(a) == 0, 1, np.diag(a))[:3]
        ),
        "turns the axes",
    ),
    "four numbers": ("01.2", lambda a, p: np.linalg.inv(a) @ [*p, 1], "Three numbers"),
    "clipped": ("01.2", lambda a, p: rounded(np.maximum(voxel(a, p), 0)), "negative"),
    "long repetition": ("01.3", lambda t1, tr: t1 * np.log(2), "very long repetition time"),
    "wrong sign": (
        "01.3",
        lambda t1, tr: t1 * np.log(2 / (1 - np.exp(-tr / t1))),
        "sign of the exponential",
    ),
    "upside down": ("01.3", lambda t1, tr: t1 * np.log((1 + np.exp(-tr / t1)) / 2), "negative"),
    "decimal logarithm": (
        "01.3",
        lambda t1, tr: t1 * np.log10(2 / (1 + np.exp(-tr / t1))),
        "it is not 0",
    ),
    "one case": ("01.3", lambda t1, tr: nulling_time(4300, tr), "T1 = 260 ms"),
}


@pytest.mark.parametrize("plant", WRONG)
def test_wrong_answers_are_named(plant):
    exercise, answer, expected = WRONG[plant]
    verdict = check.verdict(exercise, answer)
    assert verdict.state == "wrong"
    assert expected in verdict.message


def test_the_exact_inversion_time_is_that_of_the_simulation():
    assert check.verdict("01.3", nulling_time).state == "correct"

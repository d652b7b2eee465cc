"""Checks of the exercises of lesson 01."""

import numpy as np

from coursekit import check


@check.define("01.1")
def grey(answer):
    """Check rescaling and windowing of stored values."""
    stored = np.array([[0, 824, 924], [1064, 1204, 3000]], dtype=np.int16)
    right = np.array([[0, 0, 0.15], [0.5, 0.85, 1]])
    given = stored.copy()
    found = np.asarray(answer(given, 1, -1024, 40, 400), dtype=float)
    check.that(
        np.array_equal(given, stored),
        "Your function changes the array that it was given: make a new one.",
    )
    check.that(found.shape == stored.shape, "The result must have the shape of the stored values.")
    check.that(not np.isclose(found.max(), 255), "White is 1 here, not 255.")
    check.that(
        found.min() >= 0 and found.max() <= 1,
        "Some values lie outside [0, 1]: what happens to values outside the window?",
    )
    unscaled = np.clip((stored - 40.0) / 400 + 0.5, 0, 1)
    dark = np.clip((stored - 1064.0) / 400, 0, 1)
    mistakes = {
        "You windowed the stored values: first make them Hounsfield units.": unscaled,
        "The centre of the window comes out black. Which grey should it have?": dark,
    }
    wrong = "It is wrong for slope 1, intercept -1024, centre 40 and width 400."
    check.compare(found, right, wrong, mistakes, tolerance=0.003)
    again = np.asarray(answer(np.array([0, 20, 40]), 2.5, -50, 0, 200), dtype=float)
    wrong = "It is wrong when the slope is not 1."
    check.compare(again, [0.25, 0.5, 0.75], wrong, tolerance=0.003)


@check.define("01.2")
def voxel(answer):
    """Check the way from millimetres to voxel numbers."""
    scaled = np.array([[-3.0, 0, 0, 78], [0, 3, 0, -112], [0, 0, 3, -50], [0, 0, 0, 1]])
    found = tuple(answer(scaled, (60, -19, 46)))
    check.that(len(found) == 3, "Three numbers are wanted: i, j and k.")
    short = np.array([6, 31, 32]) - np.array(found, dtype=float)
    check.that(
        set(short) != {0.0, 1.0},
        "It is one voxel short at the centre of a voxel: do you round or cut off?",
    )
    mistakes = {
        "You went from voxel to millimetres: go the other way.": (-102, -169, 88),
        "You left out where the first voxel lies.": (-20, -6, 15),
    }
    wrong = "It is wrong for the centre of a voxel."
    check.compare(found, (6, 31, 32), wrong, mistakes, tolerance=0.01)
    near = tuple(answer(scaled, (60.9, -20.2, 44.8)))
    whole = all(float(number).is_integer() for number in near)
    check.that(whole, "Voxel numbers are whole numbers.")
    check.that(
        near == (6, 31, 32),
        "It is wrong beside the centre of a voxel: do you round or cut off?",
    )
    turned = np.array([[0.0, 2, 0, 10], [-2, 0, 0, 20], [0, 0, 4, -8], [0, 0, 0, 1]])
    check.that(
        tuple(answer(turned, (16, 10, 4))) == (5, 3, 3),
        "It is wrong when the affine turns the axes as well.",
    )
    cosine, sine = np.cos(np.pi / 6), np.sin(np.pi / 6)
    oblique = np.array(
        [[2 * cosine, -2 * sine, 0, -30], [2 * sine, 2 * cosine, 0, 12], [0, 0, 3, 5], [0, 0, 0, 1]]
    )
    point = (oblique @ [20, 9, 4, 1])[:3] + 0.3
    check.that(
        tuple(answer(oblique, tuple(point))) == (20, 9, 4),
        "It is wrong when the affine turns the axes by 30 degrees.",
    )
    check.that(
        tuple(answer(scaled, (80.9, -112, -50)))[0] == -1,
        "It is wrong for a point just outside the image: its voxel number is negative.",
    )


@check.define("01.3")
def inversion_time(answer):
    """Check the inversion time that nulls a tissue."""
    t1, tr = 4300.0, 9000.0
    along = 1 - np.exp(-tr / t1)  # what has recovered since the last excitation
    right = t1 * np.log(2 / (1 + np.exp(-tr / t1)))
    found = float(answer(t1, tr))
    check.that(found > 0, "The time comes out negative or zero: check the signs.")
    endless = t1 * np.log(2)
    mistakes = {
        "That is the answer for a very long repetition time: does yours use it?": endless,
        "Nearly: check the sign of the exponential with the repetition time.": t1
        * np.log(2 / along),
    }
    wrong = "Put your time into the signal equation: it is not 0."
    check.compare(found, right, wrong, mistakes, tolerance=0.2)
    wrong = "For a very long repetition time it must become T1 ln 2."
    check.compare(float(answer(t1, 1e6)), endless, wrong, tolerance=0.2)
    short = 260 * np.log(2 / (1 + np.exp(-1000 / 260)))
    wrong = "It is wrong for a tissue with T1 = 260 ms and a repetition time of 1000 ms."
    check.compare(float(answer(260.0, 1000.0)), short, wrong, tolerance=0.02)

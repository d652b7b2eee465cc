"""Checks of the exercises of lesson 01."""

import numpy as np

from coursekit import check


@check.define("01.1")
def grey(answer):
    """Check rescaling and windowing of stored values."""
    stored = np.array([[0, 824, 924], [1064, 1204, 3000]], dtype=np.int16)
    right = np.clip((stored - 1063.5) / 399 + 0.5, 0, 1)
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
    unscaled = np.clip((stored - 39.5) / 399 + 0.5, 0, 1)
    dark = np.clip((stored - 1063.5) / 399, 0, 1)
    mistakes = {
        "You windowed the stored values: first make them Hounsfield units.": unscaled,
        "The centre of the window comes out black. Which grey should it have?": dark,
    }
    wrong = "It is wrong for slope 1, intercept -1024, centre 40 and width 400."
    # The tolerance lets DICOM's other window pass, LINEAR_EXACT: (HU - c) / w + 1/2.
    check.compare(found, right, wrong, mistakes, tolerance=0.005)
    again = np.asarray(answer(np.array([0, 20, 40]), 2.5, -50, 0, 200), dtype=float)
    right = np.array([-49.5, 0.5, 50.5]) / 199 + 0.5
    check.compare(again, right, "It is wrong when the slope is not 1.", tolerance=0.005)


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
def flipped(answer):
    """Check that a mirrored volume comes with the affine that keeps every value in its place."""
    volume = np.arange(24.0).reshape(2, 3, 4)
    affine = np.array([[0.0, 2, 0, 10], [-3, 0, 0, 20], [0, 0, 4, -8], [0, 0, 0, 1]])
    found = answer(volume.copy(), affine.copy())
    two = isinstance(found, tuple | list) and len(found) == 2
    check.that(two, "Two results are wanted: the new array and its affine.")
    array, new = np.asarray(found[0]), np.asarray(found[1], dtype=float)
    check.that(array.shape == volume.shape, "The array must keep its shape.")
    other_axis = np.array_equal(array, volume[:, ::-1]) or np.array_equal(array, volume[..., ::-1])
    check.that(not other_axis, "You reversed another axis than the first.")
    check.that(not np.array_equal(array, volume), "The array is not reversed.")
    check.that(np.array_equal(array, volume[::-1]), "The array is not the reversed one.")
    check.that(new.shape == (4, 4), "The affine must be a 4 x 4 matrix.")
    turn = np.diag([-1.0, 1, 1, 1])
    too_far, short = turn.copy(), turn.copy()
    too_far[0, 3], short[0, 3] = 2, 1
    mistakes = {
        "You left the affine as it was: now it says the wrong place for every value.": affine,
        "The direction is turned, but the first voxel of the new array lies elsewhere.": affine
        @ turn,
        "It is one voxel too far: the last of n voxels has the number n - 1.": affine @ too_far,
        "You turned the patient, not the array: which matrix is applied to the voxel numbers?": (
            turn @ affine
        ),
        "The order of the two matrices is wrong: the voxel numbers are changed first.": short
        @ affine,
    }
    wrong = "It is wrong for an array of the shape (2, 3, 4): some values have left their place."
    check.compare(new, affine @ short, wrong, mistakes)
    long = np.zeros((5, 2, 2))
    place = np.asarray(answer(long, np.eye(4))[1], dtype=float)
    check.compare(place[0], [-1, 0, 0, 4], "It is right for two voxels along the axis, not for 5.")

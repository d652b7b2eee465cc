"""Planted wrong answers to the exercises of lesson 01 are found, and told apart."""

import numpy as np

from coursekit import check


def grey(stored, slope, intercept, centre, width):
    return np.clip((slope * stored + intercept - centre) / width + 0.5, 0, 1)


def voxel(affine, point):
    return tuple((np.linalg.inv(affine) @ [*point, 1])[:3])


def rounded(numbers):
    return tuple(int(number) for number in np.rint(list(numbers)))


def flip(affine, last):
    return affine @ np.array([[-1.0, 0, 0, last], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])


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
    "one result": ("01.3", lambda v, a: v[::-1], "Two results"),
    "other axis": ("01.3", lambda v, a: (v[:, ::-1], a), "another axis"),
    "array as it was": ("01.3", lambda v, a: (v, flip(a, v.shape[0] - 1)), "not reversed"),
    "affine as it was": ("01.3", lambda v, a: (v[::-1], a), "as it was"),
    "direction only": ("01.3", lambda v, a: (v[::-1], flip(a, 0)), "lies elsewhere"),
    "one too far": ("01.3", lambda v, a: (v[::-1], flip(a, v.shape[0])), "too far"),
    "patient turned": (
        "01.3",
        lambda v, a: (v[::-1], np.diag([-1.0, 1, 1, 1]) @ a),
        "turned the patient",
    ),
    "wrong order": (
        "01.3",
        lambda v, a: (v[::-1], flip(np.eye(4), v.shape[0] - 1) @ a),
        "order of the two matrices",
    ),
    "two voxels only": ("01.3", lambda v, a: (v[::-1], flip(a, 1)), "not for 5"),
}


def test_both_windows_of_dicom_are_accepted():
    assert check.verdict("01.1", grey).state == "correct"
    assert (
        check.verdict("01.1", lambda s, m, b, c, w: grey(s, m, b, c - 0.5, w - 1)).state
        == "correct"
    )

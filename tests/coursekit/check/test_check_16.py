"""Planted wrong answers to the exercises of lesson 16 are found, and told apart."""

import numpy as np

from coursekit import check


def lengths(jacobians, *, empty=np.eye, reverse=False, total=False, product=np.matmul):
    """Sums over paths by their length, with a mistake."""
    paths = [empty(2), *(np.zeros((2, 2)) for _ in jacobians)]
    if empty is not np.eye:  # the longer ones all the same
        return np.array([empty(2), *lengths(jacobians)[1:]])
    for matrix in jacobians:
        longer = [product(p, matrix) if reverse else product(matrix, p) for p in paths[:-1]]
        if product is np.multiply:
            longer[0] = matrix
        paths = [paths[0], *(a + b for a, b in zip(paths[1:], longer, strict=True))]
    return np.sum(paths, axis=0) if total else np.array(paths)


def block(x, width, *, add=True, strides=2, after=False, start="zeros", size=1, rectified=False):
    """A residual block of half the size, with a mistake."""
    from keras import layers

    def convolve(x, kernel, **given):
        return layers.Conv2D(width, kernel, padding="same", **given)(x)

    f = convolve(layers.ReLU()(x), 3, strides=strides)
    f = convolve(layers.ReLU()(f), 3, kernel_initializer=start)
    shortcut = convolve(layers.ReLU()(x) if rectified else x, size, strides=strides)
    y = layers.Add()([shortcut, f]) if add else f
    return layers.ReLU()(y) if after else y


WRONG = {
    "order": ("16.1", lambda j: lengths(j, reverse=True), "wrong order"),
    "total": ("16.1", lambda j: lengths(j, total=True), "whole sum"),
    "no empty path": ("16.1", lambda j: lengths(j, empty=lambda d: np.zeros((d, d))), "not zeros"),
    "ones": ("16.1", lambda j: lengths(j, empty=lambda d: np.ones((d, d))), "not ones"),
    "by number": ("16.1", lambda j: lengths(j, product=np.multiply), "number by number"),
    "shape": ("16.1", lambda j: np.zeros(3), "the shape is"),
    "only two": ("16.1", lambda j: lengths(j[:2]), "wrong for three"),
    "size": ("16.2", lambda x, width: block(x, width, strides=1), "it must make"),
    "no shortcut": ("16.2", lambda x, width: block(x, width, add=False), "gives zeros"),
    "ReLU after": ("16.2", lambda x, width: block(x, width, after=True), "after the sum"),
    "start": ("16.2", lambda x, width: block(x, width, start="he_normal"), "f begin"),
    "ReLU on it": ("16.2", lambda x, width: block(x, width, rectified=True), "on the shortcut"),
    "large shortcut": ("16.2", lambda x, width: block(x, width, size=3), "weights"),
    "undamped": ("16.3", lambda: 0.1, "what whole shortcuts reach"),
    "broken": ("16.3", lambda: 3.0, "worse than guessing"),
    "several": ("16.3", lambda: [0.69, 0.68], "One number"),
}


def test_right_answers_are_right():
    assert check.verdict("16.1", lengths).state == "correct"
    assert check.verdict("16.2", block).state == "correct"
    assert check.verdict("16.3", lambda: 0.69).state == "correct"

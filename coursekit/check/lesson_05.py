"""Checks of the exercises of lesson 05."""

import numpy as np

from coursekit import check


@check.define("05.1")
def asymmetry(answer):
    """Check the mean difference between images and their mirror images."""
    rng = np.random.default_rng(0)
    images = rng.random((5, 6, 8, 3))
    found = np.asarray(answer(images), dtype=float)
    check.that(
        found.shape == (5, 3),
        f"For images of shape (5, 6, 8, 3) the result must have shape (5, 3), not {found.shape}. "
        "Over which axes do you average?",
    )
    check.that(
        not np.allclose(found, 0),
        "It is zero for images that are not symmetric: positive and negative differences cancel.",
    )
    symmetric = images + images[:, :, ::-1]
    check.that(
        np.allclose(answer(symmetric), 0),
        "It is not zero for images that are symmetric. Do you turn round the right axis?",
    )
    diagonal = np.zeros((1, 2, 4, 1))
    diagonal[0, 0, 0], diagonal[0, 1, 3] = 0.5, 0.5  # as much on the left as on the right
    check.that(
        not np.isclose(np.ravel(answer(diagonal))[0], 0),
        "You average before you compare. Compare each pixel with its mirror pixel, then average.",
    )
    one = np.zeros((1, 2, 4, 1))
    one[0, 0, 0, 0] = 0.5
    check.that(
        np.isclose(np.ravel(answer(one))[0], 0.125),
        "Right axis, wrong size: check it by hand on 2 x 4 pixels of which one is 0.5.",
    )


@check.define("05.2")
def standardise(answer):
    """Check that features are scaled with the statistics of the training images alone."""
    known = np.array([[0.0, 1.0, 5.0], [2.0, 3.0, 5.0], [4.0, 8.0, 5.0]])
    new = np.array([[2.0, 4.0, 5.0], [4.0, 0.0, 6.0]])
    with np.errstate(all="ignore"):
        found = np.asarray(answer(known.copy(), new.copy()), dtype=float)
    check.that(
        found.shape == new.shape, f"The result must have the shape of `new`, not {found.shape}."
    )
    constant, rest = found[:, 2], found[:, :2]
    mean, deviation = known.mean(axis=0)[:2], known.std(axis=0)[:2]
    both = np.vstack([known, new])[:, :2]
    new = new[:, :2]
    mistakes = {
        "You scale with the statistics of `new`: that is the leak.": (
            (new - new.mean(axis=0)) / new.std(axis=0)
        ),
        "You scale with the statistics of both sets: that is the leak, only smaller.": (
            (new - both.mean(axis=0)) / both.std(axis=0)
        ),
        "Each feature needs a mean and deviation of its own.": (new - known.mean()) / known.std(),
        "You do not subtract the mean.": new / deviation,
        "You divide by the variance: the standard deviation is its square root.": (
            (new - mean) / deviation**2
        ),
    }
    right = (new - mean) / deviation
    with_sample_deviation = (new - mean) / known.std(axis=0, ddof=1)[:2]  # as good
    if np.allclose(rest, with_sample_deviation):
        right = with_sample_deviation
    wrong = "The scaled values are wrong. Work out one feature (one column) by hand and compare."
    check.compare(rest, right, wrong, mistakes, tolerance=1e-5)
    check.that(
        np.isfinite(constant).all(), "A feature that is constant in `known` gives no number."
    )
    check.that(
        np.allclose(constant, 0),
        "A feature that is constant in `known` must give zero, also where `new` differs from it.",
    )


@check.define("05.3")
def auc_by_pairs(answer):
    """Check the area under the curve by its definition."""
    labels = np.array([1, 1, 0, 0, 1, 0])
    scores = np.array([3.0, 1.0, 0.0, 2.0, 5.0, -1.0])
    found = np.asarray(answer(labels, scores), dtype=float)
    check.that(found.size == 1, f"The AUC is one number, not an array of shape {found.shape}.")
    found = found.item()
    mistakes = {
        "You counted the pairs: the AUC is a share of them, not a number.": 8,
        "It is the wrong way round: who should score higher?": 1 / 9,
    }
    wrong = "It is wrong for six images without ties, three a class: how many pairs are there?"
    check.compare(found, 8 / 9, wrong, mistakes, tolerance=1e-5)
    reverse = float(answer(labels, -scores))
    wrong = "It is wrong for scores in the wrong order: they give less than 0.5."
    check.compare(reverse, 1 / 9, wrong, tolerance=1e-5)
    ties = float(answer(np.array([1, 0, 1, 0]), np.array([0.0, 0.0, 0.0, 0.0])))
    check.that(np.isclose(ties, 0.5), "If all scores are equal it must be one half: mind the ties.")
    some = float(answer(np.array([0, 1, 0]), np.array([1.0, 1.0, 0.0])))
    check.that(np.isclose(some, 0.75), "It is wrong when some pairs are ties and some are not.")

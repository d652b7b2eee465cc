"""Checks of the exercises of lesson 12, and tested versions of what two of them ask for."""

import numpy as np
import pandas as pd

from coursekit import check
from medlib.datasets.structure import Split


def share_right(aucs: np.ndarray, k: int, *, n_draws: int = 2000) -> float:
    """Return how often the best of ``k`` averaged trainings is the best of all.

    Parameters
    ----------
    aucs : ndarray, shape (models, trainings)
    k : int
        Trainings drawn with replacement, the same ones for all models.
    n_draws : int

    Returns
    -------
    float
        Share of the draws.
    """
    columns = np.random.default_rng(0).integers(aucs.shape[1], size=(n_draws, k))
    winners = aucs[:, columns].mean(axis=2).argmax(axis=0)
    return float(np.mean(winners == aucs.mean(axis=1).argmax()))


def calibration_error(labels: np.ndarray, probabilities: np.ndarray, bins: int = 10) -> float:
    """Return the expected calibration error of the probability of class 1.

    Parameters
    ----------
    labels : ndarray of int, shape (n,)
        0 or 1.
    probabilities : ndarray, shape (n,)
    bins : int
        Of equal width; a probability of 1 belongs to the last.

    References
    ----------
    Guo and others, On Calibration of Modern Neural Networks, ICML 2017, equation 3.
    """
    places = np.minimum((probabilities * bins).astype(int), bins - 1)
    sums = np.bincount(places, probabilities - labels, minlength=bins)
    return float(np.abs(sums).sum() / len(labels))


@check.define("12.1")
def how_often(answer):
    """Check how often so many trainings name the winner."""
    steady = np.array([[0.7, 0.72, 0.71], [0.9, 0.92, 0.91]])
    check.compare(
        answer(steady, 1), 1.0, "Where one model wins every training, it is always named."
    )
    # Model 0 wins by its mean, model 1 wins three trainings of four.
    single = np.array([[0.60, 0.60, 0.60, 0.96], [0.65, 0.65, 0.65, 0.65]])
    given = single.copy()
    one = answer(given, 1)
    check.that(np.array_equal(given, single), "Your function changes the table it was given.")
    check.that(np.ndim(one) == 0, "One number is wanted, a share.")
    check.that(0 <= one <= 1, f"A share lies between 0 and 1, not at {one:.3g}.")
    check.that(
        abs(one - 0.75) > 0.04,
        "With one training you count wins of the model that wins most trainings. The right "
        "winner is the one with the highest *mean* over all of them.",
    )
    check.that(one not in (0, 1), "One training is not always right or always wrong here.")
    check.that(abs(one - 0.25) < 0.04, "With one training (k = 1) the share is wrong.")
    four = answer(single, 4)
    check.that(
        four < 0.99,
        "With as many draws as columns you are always right: draw *with* replacement.",
    )
    _expect_share(four, share_right(single, 4), "With four trainings (k = 4) the share is wrong.")
    rng = np.random.default_rng(1)
    luck = rng.normal(0, 0.05, 10)  # the same for both: only columns in common cancel it
    paired = np.array([0.85 + luck, 0.84 + luck])
    check.that(
        answer(paired, 1) == 1,
        "A model that wins every training is not always named: draw the same columns for all "
        "models.",
    )
    many = rng.uniform(0.7, 0.9, size=(5, 10))
    _expect_share(answer(many, 3), share_right(many, 3), "For five models the share is wrong.")


def _expect_share(found: float, right: float, message: str) -> None:
    check.that(abs(found - right) < 0.05, message)


@check.define("12.2")
def calibration(answer):
    """Check the calibration error against a plain count."""
    labels = np.array([0, 1, 1, 1, 0, 1, 0, 0])
    p = np.array([0.15, 0.15, 0.85, 0.85, 0.85, 0.85, 0.55, 0.55])
    # bins: two at .15 (share .5), four at .85 (share .75), two at .55 (share 0)
    gaps, sizes = np.array([0.35, 0.10, 0.55]), np.array([2, 4, 2])
    signed = np.array([-0.35, 0.10, 0.55])
    mistakes = {
        "Every bin counts alike: weigh it by its share of the images.": gaps.mean(),
        "Empty bins count as if they were bins: divide by the number of images.": gaps.sum() / 10,
        "The differences cancel: take the absolute value in each bin.": signed @ sizes / 8,
        "Take the absolute value in each bin, not of the sum.": abs(signed @ sizes / 8),
        "You squared the differences: the absolute value is wanted.": gaps**2 @ sizes / 8,
        "This is the largest difference, not the mean.": gaps.max(),
        "You compare each image with its own label: compare the means of a bin.": np.abs(
            p - labels
        ).mean(),
        "You left out the division by the number of images.": gaps @ sizes,
    }
    found = answer(labels.copy(), p.copy())
    check.that(np.ndim(found) == 0, "One number is wanted for all images together.")
    check.that(
        np.isfinite(found), "The result is not a number: has a bin without images slipped in?"
    )
    check.compare(found, gaps @ sizes / 8, "It is wrong for eight images in three bins.", mistakes)
    ends = np.array([0.0, 1.0, 1.0, 0.0])
    check.compare(
        answer(np.array([0, 1, 0, 0]), ends),
        0.25,
        "It is wrong where probabilities are exactly 0 or 1: does 1 fall out of the last bin?",
    )
    rng = np.random.default_rng(0)
    p = rng.random(400)
    labels = (rng.random(400) < 0.5 + 0.4 * np.sin(9 * p)).astype(int)  # above and below
    check.compare(
        answer(labels, p), calibration_error(labels, p), "It is wrong for 400 random images."
    )
    check.compare(
        answer(labels, p, bins=4),
        calibration_error(labels, p, bins=4),
        "It is wrong with four bins: do you use `bins`?",
    )


@check.define("12.3")
def own_contestant(answer):
    """Check that a contestant learns from labels and treats each new image by itself."""
    known, new = _easy(96, seed=1), _easy(64, seed=2)
    before = known.images.copy(), known.labels.copy(), new.images.copy()
    found = np.asarray(answer(known, new.images), dtype=float)
    check.that(
        found.shape == (64,),
        f"One score for each new image is wanted, shape (64,); yours is {found.shape}.",
    )
    check.that(np.isfinite(found).all(), "Some scores are not numbers.")
    after = known.images, known.labels, new.images
    same = all(np.array_equal(one, other) for one, other in zip(before, after, strict=True))
    check.that(same, "Your function changes the images or labels it was given.")
    again = np.asarray(answer(known, new.images), dtype=float)
    check.that(
        np.allclose(found, again, atol=1e-3),
        "Called again with the same images it gives other scores: seed what is random.",
    )
    half = np.asarray(answer(known, new.images[:32]), dtype=float)
    check.that(
        np.allclose(found[:32], half, atol=1e-3),
        "The score of an image changes with the other new images: nothing may be fitted to, or "
        "standardised over, `new`.",
    )
    turned = Split(known.images, 1 - known.labels, None, None, known.subjects, known.table)
    check.that(
        not np.allclose(found, answer(turned, new.images), atol=1e-3),
        "With all labels exchanged the scores stay the same: it does not learn from the labels.",
    )
    positive = new.labels == 1
    right = np.mean(found[positive][:, None] > found[~positive])
    check.that(right > 0.3, "Higher scores should mean a tumour; yours point the other way.")
    check.that(
        right > 0.7,
        f"On easy images, with large bright discs, only {right:.0%} of the pairs are in order.",
    )


def _easy(n: int, *, seed: int) -> Split:
    """Return slices of a noisy grey head; every second has a large disc that is bright in FLAIR."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:64, :64]
    head = (y - 31.5) ** 2 + (x - 31.5) ** 2 < 26**2
    images = rng.normal(0.4, 0.04, size=(n, 64, 64, 3)) * head[..., np.newaxis]
    labels = np.arange(n) % 2
    for k in np.flatnonzero(labels):
        row, column = rng.uniform(22, 42, size=2)
        disc = (y - row) ** 2 + (x - column) ** 2 < rng.uniform(7, 10) ** 2
        images[k][disc] += np.array([-0.12, 0.12, 0.2])
    subjects = np.array([f"{k // 2:03d}-{k % 2}" for k in range(n)])
    table = pd.DataFrame({"row_spacing_mm": np.full(n, 3.0), "column_spacing_mm": 3.0})
    clipped = images.clip(0, 1).astype(np.float32)
    return Split(clipped, labels.astype(np.int64), None, None, subjects, table)

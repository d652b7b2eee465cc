"""Checks of the exercises of lesson 10."""

import numpy as np

from coursekit import check


@check.define("10.1")
def masked(answer):
    """Check weights that leave some keys out."""
    scores = np.array([[0.0, 1.0, 2.0, 7.0], [3.0, 0.0, 0.0, -1.0], [-2.0, -1.0, -4.0, 0.0]])
    keep = np.array([True, False, True, False])
    given, kept = scores.copy(), keep.copy()
    found = np.asarray(answer(given, kept), dtype=float)
    check.that(found.shape == (3, 4), f"One weight for every score is wanted, not {found.shape}.")
    check.that(np.array_equal(given, scores), "Your function changes the scores it was given.")
    check.that(np.isfinite(found).all(), "Some of your weights are not numbers.")
    powers = np.exp(scores)
    plain = powers / powers.sum(axis=1, keepdims=True)
    kept_powers = powers * keep
    right = kept_powers / kept_powers.sum(axis=1, keepdims=True)
    as_zero = np.exp(scores * keep)
    mistakes = {
        "Rows do not add up to 1: softmax came before the mask.": plain * keep,
        "A score of 0 is not a weight of 0: softmax gives it exp(0).": as_zero
        / as_zero.sum(axis=1, keepdims=True),
        "You kept what should be left out.": powers * ~keep / (powers * ~keep).sum(1)[:, None],
        "The keys that are left out still get weight.": plain,
        "Each *row* must add up to 1, not all weights together.": kept_powers / kept_powers.sum(),
    }
    check.compare(found, right, "Some weights are wrong.", mistakes, tolerance=1e-6)
    check.that(
        (found[:, ~keep] == 0).all(), "Keys that are left out must get 0 exactly, not nearly."
    )
    every = answer(scores, np.ones(4, dtype=bool))
    check.compare(every, plain, "If all keys are kept, it is not softmax.", tolerance=1e-6)


@check.define("10.2")
def coordinates(answer):
    """Check tokens that carry their row and column."""
    tokens = np.random.default_rng(0).normal(size=(3, 64, 3))
    found = np.asarray(answer(tokens.copy()), dtype=float)
    check.that(
        found.shape == (3, 64, 5),
        f"Five numbers a token are wanted, shape (3, 64, 5); yours is {found.shape}.",
    )
    check.that(np.allclose(found[..., :3], tokens), "The first three numbers are not the token's.")
    added = found[..., 3:]
    check.that(np.allclose(added, added[:1]), "Every image should get the same rows and columns.")
    grid = added[0].reshape(8, 8, 2)
    along, down = np.ptp(grid, axis=1).max(axis=0), np.ptp(grid, axis=0).max(axis=0)
    check.that(
        len(np.unique(added[0].round(6), axis=0)) == 64,
        "Two places have the same pair of numbers. Is it the row and the column of the patch?",
    )
    check.that(
        sorted([along[0] > 1e-9, along[1] > 1e-9]) == [False, True]
        and sorted([down[0] > 1e-9, down[1] > 1e-9]) == [False, True],
        "One number should depend on the row alone, the other on the column alone. Which patch is "
        "number 8?",
    )
    largest = np.abs(added).max()
    check.that(
        0.5 < largest < 4,
        f"Your largest coordinate is {largest:.3g}, the tokens' numbers are about 1: next to "
        "each other the network would hardly see the smaller ones.",
    )
    check.that(
        np.abs(added.mean(axis=(0, 1))).max() < 0.5 * largest,
        "Let the coordinates lie on both sides of 0, like the tokens' numbers.",
    )


@check.define("10.3")
def shuffle(answer):
    """Check maps in which every row is in an order of its own."""
    weights = np.random.default_rng(0).dirichlet(np.ones(6), size=(5, 2, 6))
    given = weights.copy()
    found = np.asarray(answer(given), dtype=float)
    check.that(
        found.shape == weights.shape, f"The shape became {found.shape} from {weights.shape}."
    )
    check.that(np.array_equal(given, weights), "You changed the map you were given: copy it.")
    check.that(not np.array_equal(found, weights), "Nothing was shuffled.")
    check.that(
        np.allclose(found.sum(axis=-1), 1),
        "Some rows do not add up to 1 any more: weights went from one row to another.",
    )
    check.that(
        np.allclose(np.sort(found), np.sort(weights)),
        "A row must keep its own weights. Did you exchange whole rows, heads or images?",
    )
    orders = (found[..., None, :] == weights[..., :, None]).argmax(axis=-1).reshape(-1, 6)
    check.that(
        len(np.unique(orders, axis=0)) > 20,
        "Rows share one order: each should be shuffled by itself.",
    )

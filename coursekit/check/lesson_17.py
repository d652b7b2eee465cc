"""Checks of the exercises of lesson 17."""

import warnings

import numpy as np

from coursekit import check
from medlib.simulation.cohort import longest_diameter


@check.define("17.1")
def dice_of(answer):
    """Check the Dice score of two masks, with the empty case."""
    truth, found = np.zeros((2, 6, 6), bool)
    truth[1:4, 1:4] = True  # 9 pixels
    found[2:5, 1:3] = True  # 6 pixels, 4 of them in both
    mistakes = {
        "That is the intersection by the union; Dice divides by the sum of both sizes.": 4 / 11,
        "Twice the overlap is wanted: equal masks must give 1.": 4 / 15,
        "You divide the overlap by the true mask alone: how much was found (sensitivity).": 4 / 9,
        "You divide the overlap by the mask found alone: how much of it is right.": 4 / 6,
        "You count all pixels on which the masks agree, also the background's.": 29 / 36,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # 0/0 is what the last question is about
        check.compare(
            answer(truth, found), 8 / 15, "It is wrong for 9 and 6 pixels, 4 shared.", mistakes
        )
        check.compare(answer(truth, truth), 1, "Two equal masks do not give 1.")
        check.compare(answer(truth, ~truth), 0, "Two masks without a shared pixel do not give 0.")
        nothing = np.zeros_like(truth)
        check.compare(answer(truth, nothing), 0, "A tumour that is missed altogether scores 0.")
        empty = answer(nothing, nothing)
    check.that(np.ndim(empty) == 0, "One number is wanted, also for two empty masks.")
    hint = f"Two empty masks gave {empty}; this exercise wants np.nan there."
    check.that(np.isnan(empty), hint)


def dice_each_right(y, p):
    """NumPy's answer to exercise 17.2."""
    y, p = np.asarray(y, float), np.asarray(p, float)
    size = y.sum(axis=(1, 2, 3))
    losses = 1 - 2 * (y * p).sum(axis=(1, 2, 3)) / (size + p.sum(axis=(1, 2, 3)) + 1)
    return losses[size > 0].mean() if (size > 0).any() else 0.0


@check.define("17.2")
def dice_each(answer):
    """Check a Dice loss slice by slice, and train a tiny network with it."""
    import keras

    y, images = _slices(8)
    p = np.random.default_rng(1).uniform(0.05, 0.95, y.shape).astype("float32")
    found = keras.ops.convert_to_numpy(answer(_tensor(y), _tensor(p)))
    check.that(
        found.ndim == 0, f"One number for the batch is wanted; yours has shape {found.shape}."
    )
    there = y.any(axis=(1, 2, 3))
    sums = [(a.sum(axis=(1, 2, 3))) for a in (y, y * p, p)]
    each = 1 - 2 * sums[1] / (sums[0] + sums[2] + 1)
    mistakes = {
        "That is the Dice loss of the whole batch as one mask: sum over axis (1, 2, 3) only.": (
            1 - 2 * (y * p).sum() / (y.sum() + p.sum() + 1)
        ),
        "Slices without a tumour are averaged in: leave them out.": each.mean(),
        "You add the slices up; the mean over those with a tumour is wanted.": each[there].sum(),
        "You divide by all slices, not by those with a tumour.": each[there].sum() / len(y),
        "That is the Dice score; a loss must fall as masks get better.": (1 - each)[there].mean(),
        "The 1 in the denominator is missing.": (
            (1 - 2 * sums[1] / (sums[0] + sums[2]))[there].mean()
        ),
    }
    right = dice_each_right(y, p)
    message = "It is wrong for eight slices, four of them with a tumour."
    check.compare(found, right, message, mistakes, tolerance=1e-5)
    empty = float(answer(_tensor(y[~there]), _tensor(p[~there])))
    check.that(np.isfinite(empty), f"A batch without a tumour gives {empty}: do you divide by 0?")
    check.compare(empty, 0.0, "A batch without a tumour should cost 0.", tolerance=1e-6)
    keras.utils.set_random_seed(0)
    start = keras.Input(images.shape[1:])
    network = keras.Model(
        start, keras.layers.Conv2D(1, 3, padding="same", activation="sigmoid")(start)
    )
    network.compile(keras.optimizers.Adam(0.1), loss=answer)
    losses = network.fit(images, y, epochs=30, batch_size=8, verbose=0).history["loss"]
    finite = np.isfinite(losses).all()
    check.that(finite, "A tiny network trained with your loss ends in numbers that are none.")
    learnt = losses[-1] < losses[0] - 0.1
    check.that(
        learnt, "A tiny network does not learn with your loss: is it made of keras.ops only?"
    )


def _tensor(array):
    import keras

    return keras.ops.convert_to_tensor(array)


def _slices(n):
    """Return masks and images of n small slices; every second one has a square, of any size."""
    rng = np.random.default_rng(0)
    y = np.zeros((n, 16, 16, 1), "float32")
    for k in range(0, n, 2):
        y[k, 3 : 5 + k, 4 : 6 + k] = 1
    return y, (4 * y - 2 + rng.normal(0, 0.2, y.shape)).astype("float32")


CASES = (  # first and second mask as (rows, columns) of a rectangle, spacing, what it is
    ((8, 8), (10, 10), (2.0, 2.0), "10 mm and 25 % more"),
    ((4, 4), (5, 5), (2.0, 2.0), "a quarter more, but less than 5 mm"),
    ((20, 20), (22, 22), (2.0, 2.0), "5 mm more, but only a tenth"),
    ((10, 10), (6, 6), (2.0, 2.0), "40 % less"),
    ((10, 10), (8, 8), (2.0, 2.0), "20 % less"),
    ((10, 10), (0, 0), (2.0, 2.0), "gone"),
    ((4, 10), (10, 4), (1.0, 4.0), "shorter across, longer down, pixels not square"),
    ((10, 4), (4, 10), (1.0, 4.0), "longer across, shorter down, pixels not square"),
    ((9, 9), (9, 9), (1.0, 1.0), "unchanged"),
    ((12, 12), (11, 14), (3.0, 3.0), "a tenth more, though not square any more"),
    ((10, 10), (10, 11), (10.0, 10.0), "5 mm more, not a fifth"),
    ((10, 10), (12, 12), (3.25, 3.25), "exactly a fifth more"),
)


def change_right(before, after, spacing):
    """Return the answer to exercise 17.3."""
    first, second = longest_diameter(before, spacing), longest_diameter(after, spacing)
    if second - first >= max(5, 0.2 * first) - 1e-9:
        return "progression"
    return "response" if second <= 0.7 * first else "stable"


@check.define("17.3")
def change(answer):
    """Check progression, response and stability by the longest diameter."""
    words = {"progression", "response", "stable"}
    wrong = []
    for first, second, spacing, name in CASES:
        before, after = _rectangle(*first), _rectangle(*second)
        found = answer(before, after, spacing)
        check.that(
            isinstance(found, str) and found in words,
            f'Return "progression", "response" or "stable", not {found!r}.',
        )
        if name != "exactly a fifth more" and found != change_right(before, after, spacing):
            wrong.append(name)
    hints = {
        "shorter across, longer down, pixels not square": "the spacing has two numbers, and the "
        "longest line may run any way; do you measure in mm?",
        "a quarter more, but less than 5 mm": "both conditions of progression must hold.",
        "5 mm more, but only a tenth": "both conditions of progression must hold.",
        "10 mm and 25 % more": "that is progression.",
        "gone": "a tumour that has gone has responded.",
        "20 % less": "response asks for 30 %.",
        "a tenth more, though not square any more": "do you compare diameters, or areas?",
    }
    for name in [*hints, *wrong]:
        hint = hints.get(name, "that is called wrongly.")
        check.that(name not in wrong, f"Wrong for this one: {name}. Remember: {hint}")


def _rectangle(rows, columns):
    mask = np.zeros((30, 30), bool)
    mask[2 : 2 + rows, 3 : 3 + columns] = True
    return mask

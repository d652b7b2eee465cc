"""Checks of the exercises of lesson 08."""

import numpy as np
import pandas as pd

from coursekit import check


@check.define("08.1")
def threshold(answer):
    """Check the highest threshold that reaches a sensitivity."""
    labels = np.array([1] * 10 + [0] * 10)
    tumours = np.array([0.95, 0.9, 0.8, 0.75, 0.7, 0.6, 0.5, 0.4, 0.3, 0.1])
    probabilities = np.concatenate([tumours, np.linspace(0.02, 0.22, 10)])
    for sensitivity, best in ((0.9, 0.3), (0.5, 0.7), (1.0, 0.1), (0.85, 0.3)):
        found = float(answer(labels, probabilities, sensitivity))
        reached = np.mean(tumours >= found)
        where = f"With ten tumours and sensitivity={sensitivity},"
        check.that(
            reached >= sensitivity,
            f"{where} your threshold finds only {reached:.0%} of them. Do you count from the right "
            "end?",
        )
        check.that(
            found >= best - 1e-9,
            f"{where} a higher threshold would still find enough of them. Does yours equal one of "
            "the probabilities, and do you look at images with label 1 only?",
        )
    shuffled = np.random.default_rng(0).permutation(20)
    again = float(answer(labels[shuffled], probabilities[shuffled], 0.9))
    check.that(abs(again - 0.3) < 1e-9, "The answer changes with the order of the images.")


@check.define("08.2")
def weights(answer):
    """Check the number of weights of the network of lesson 08."""
    widths = (16, 16, 32, 32, 64, 64)

    def count(channels, *, bias=0, normalised=4, last=65):
        pairs = zip((channels, *widths[:-1]), widths, strict=True)
        return sum((9 * a + bias + normalised) * b for a, b in pairs) + last

    mistakes = {
        "Nearly: each convolution has no bias here.": count(3, bias=1),
        "Nearly: batch normalisation has four numbers a channel.": count(3, normalised=0),
        "Nearly: the running mean and variance are counted, too.": count(3, normalised=2),
        "Nearly: is the last layer counted?": count(3, last=0),
        "Nearly: the last unit also has a bias.": count(3, last=64),
    }
    found = answer(3, widths)
    check.compare(found, count(3), "It is wrong for 3 channels and the lesson's widths.", mistakes)
    check.that(answer(1, widths) == count(1), "It is wrong for one channel: which layer sees them?")
    check.that(
        answer(3, (8, 24)) == 9 * (3 * 8 + 8 * 24) + 4 * 32 + 25,
        "It is wrong for two convolutions, 8 and 24 channels wide.",
    )


@check.define("08.3")
def matching(answer):
    """Check that labels follow their files."""
    table = pd.DataFrame({"image": ["a2.png", "a10.png", "a1.png"], "label": [1, 0, 2]})
    found = list(answer(["a1.png", "a2.png", "a10.png"], table))
    mistakes = {"You return the labels in the order of the table, not of the files.": [1, 0, 2]}
    check.compare(found, [2, 1, 0], "A file got the label of another one.", mistakes)
    some = list(answer(["a10.png"], table))
    check.that(some == [0], "It is wrong when only some of the files are asked for.")
    try:
        answer(["a1.png", "a3.png"], table)
    except KeyError:
        return
    check.that(False, "A file that is not in the table must raise a KeyError.")

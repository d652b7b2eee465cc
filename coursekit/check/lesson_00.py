"""Checks of the exercises of lesson 00."""

import numpy as np

from coursekit import check


@check.define("00.1")
def accuracy(answer):
    """Check the share of right answers among the pictures of one setting."""
    labels = np.array([2, 0, 2, 1, 2, 0, 2, 0])
    given = np.array([2, 2, 2, 1, 0, 0, 2, 2])
    found = answer(labels, given, 2)
    check.that(np.ndim(found) == 0, "It should return one number, not one for each picture.")
    mistakes = {
        "You counted the right answers: divide by the number of pictures.": 3,
        "As a number from 0 to 1, not in per cent.": 75,
        "That is the share of wrong answers.": 1 / 4,
        "You took all pictures, not those of the setting only.": 5 / 8,
        "Divide by the number of pictures of the setting only.": 3 / 8,
        "You took the pictures that were *answered* with the setting.": 3 / 5,
    }
    check.compare(found, 3 / 4, "It is wrong for three right answers of four.", mistakes)
    found = answer(labels, given, 0)
    wrong_there = "It is right for setting 2 and wrong for setting 0."
    check.compare(found, 1 / 3, wrong_there, {"Do not round.": 0.33})
    check.compare(answer(labels, given, 1), 1, "It is wrong when all answers are right.")


@check.define("00.2")
def evened(answer):
    """Check that each picture is divided by its own average grey."""
    pictures = np.array([[[1.0, 2], [3, 6]], [[0.5, 0.5], [0, 1]]])[..., None]
    given = pictures.copy()
    found = np.asarray(answer(given))
    check.that(
        np.array_equal(given, pictures), "Your function changes its input: make a new array."
    )
    means = pictures.mean(axis=(1, 2), keepdims=True)
    check.that(found.shape == pictures.shape, "The result must have the shape of the pictures.")
    mistakes = {
        "You divided by the average of all pictures: each needs its own.": pictures
        / pictures.mean(),
        "Divide by the average, do not take it away.": pictures - means,
        "You divided by the largest grey, not by the average.": pictures
        / pictures.max(axis=(1, 2), keepdims=True),
        "You divided by the sum: that depends on how many pixels there are.": pictures
        / pictures.sum(axis=(1, 2), keepdims=True),
        "You averaged along one axis only: height and width both count.": (
            pictures / pictures.mean(axis=1, keepdims=True)
        ),
    }
    wrong = "It is wrong for two pictures of 2 x 2 pixels: the average of each result should be 1."
    check.compare(found, pictures / means, wrong, mistakes)
    dimmed = np.asarray(answer(0.5 * pictures))
    check.compare(
        dimmed, found, "Half as bright, and it gives other numbers: they should be equal."
    )

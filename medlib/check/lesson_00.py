"""Checks of the exercises of lesson 00."""

import numpy as np

from medlib import check


@check.define("00.1")
def accuracy(answer):
    """Check the share of right answers."""
    labels, given = np.array([0, 1, 2, 2, 1]), np.array([0, 2, 2, 2, 0])
    found = answer(labels, given)
    check.that(np.ndim(found) == 0, "It should return one number, not one for each picture.")
    check.that(found != 3, "You counted the right answers: divide by the number of all.")
    check.that(found != 60, "As a number from 0 to 1, not in per cent.")
    check.that(abs(found - 0.4) > 1e-9, "That is the share of wrong answers.")
    check.that(abs(found - 0.6) < 1e-9, "It is wrong for three right answers of five.")
    check.that(abs(answer(labels, labels) - 1) < 1e-9, "It is wrong when all answers are right.")


@check.define("00.2")
def laziest(answer):
    """Check the majority baseline, whose answer must come from the training labels."""
    train, test = np.array([2, 2, 2, 0, 1]), np.array([0, 0, 0, 0, 1, 2])
    found = answer(train, test)
    check.that(
        abs(found - 4 / 6) > 1e-9,
        "You chose the commonest label of the test pictures: nobody has those before the test.",
    )
    check.that(abs(found - 3 / 5) > 1e-9, "You measured it on the training pictures.")
    check.that(abs(found - 1 / 6) < 1e-9, "It is wrong for test labels 0, 0, 0, 0, 1, 2.")
    check.that(
        abs(answer(np.array([1, 1, 0]), np.array([1, 1])) - 1) < 1e-9,
        "It is wrong when all test pictures have the commonest training label.",
    )

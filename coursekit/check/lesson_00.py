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
    check.that(found != 3, "You counted the right answers: divide by the number of pictures.")
    check.that(found != 75, "As a number from 0 to 1, not in per cent.")
    check.that(abs(found - 1 / 4) > 1e-9, "That is the share of wrong answers.")
    check.that(abs(found - 5 / 8) > 1e-9, "You took all pictures, not those of the setting only.")
    check.that(abs(found - 3 / 8) > 1e-9, "Divide by the number of pictures of the setting only.")
    check.that(
        abs(found - 3 / 5) > 1e-9, "You took the pictures that were *answered* with the setting."
    )
    check.that(abs(found - 3 / 4) < 1e-9, "It is wrong for three right answers of four.")
    found = answer(labels, given, 0)
    check.that(abs(found - 0.33) > 1e-9, "Do not round.")
    check.that(abs(found - 1 / 3) < 1e-9, "It is right for setting 2 and wrong for setting 0.")
    check.that(abs(answer(labels, given, 1) - 1) < 1e-9, "It is wrong when all answers are right.")


@check.define("00.2")
def laziest(answer):
    """Check the majority baseline, whose answer must come from the training labels."""
    train, test = np.array([2, 0, 1, 0, 2, 0, 1]), np.array([2, 2, 2, 1, 1, 0])
    other_train, other_test = np.array([1, 2, 2, 0, 2]), np.array([0, 0, 0, 1, 1, 2])
    found, other = answer(train, test), answer(other_train, other_test)
    check.that(np.ndim(found) == 0, "It should return one number, not one for each picture.")
    both = np.array([found, other], float)

    def are(first, second):
        return np.allclose(both, [first, second], rtol=0, atol=1e-9)

    check.that(
        not are(3 / 6, 3 / 6),
        "You chose the commonest label of the test pictures: nobody has those before the test.",
    )
    check.that(not are(3 / 7, 3 / 5), "You measured it on the training pictures.")
    check.that(not are(0, 2), "That is the label itself: how often is it right on test?")
    check.that(not are(1, 1), "You counted the right answers: divide by the number of pictures.")
    check.that(not are(100 / 6, 100 / 6), "As a number from 0 to 1, not in per cent.")
    check.that(not are(5 / 6, 5 / 6), "That is the share of wrong answers.")
    for value, trained, tested in ((found, train, test), (other, other_train, other_test)):
        check.that(
            abs(value - 1 / 6) < 1e-9,
            f"It is wrong for training labels {_text(trained)} and test labels {_text(tested)}.",
        )
    gap = answer(np.array([2, 2, 1]), np.array([2, 2]))
    check.that(abs(gap - 1) < 1e-9, "It is wrong when a label does not occur in training.")


def _text(labels):
    return ", ".join(map(str, labels))

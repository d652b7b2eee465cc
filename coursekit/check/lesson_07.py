"""Checks of the exercises of lesson 07."""

import numpy as np

from coursekit import check


@check.define("07.1")
def softmax_gradient(answer):
    """Check the gradient of the mean cross-entropy with respect to the scores."""
    scores = np.array([[2.0, 1.0, -1.0], [0.0, 0.5, 0.3], [1.0, -2.0, 0.0], [0.2, 0.1, 3.0]])
    truth = np.array([0, 2, 1, 2])
    exponentials = np.exp(scores)
    p, y = exponentials / exponentials.sum(axis=1, keepdims=True), np.eye(3)[truth]
    found = np.asarray(answer(scores.copy(), truth.copy()), dtype=float)
    check.that(
        found.shape == scores.shape,
        f"One number for every score is wanted, shape {scores.shape}; yours has {found.shape}.",
    )
    mistakes = {
        "You have the gradient of each row's loss. What does the mean over the rows change?": p - y,
        "Its sign is turned: a step against it would make the loss larger.": (y - p) / 4,
        "Its sign is turned, and it is not the gradient of the mean.": y - p,
        "These are probabilities. Where does the truth come in?": p,
        "These are probabilities, divided by n. Where does the truth come in?": p / 4,
        "You divided by the number of scores; the mean is over the rows.": (p - y) / 12,
        "You divided by the number of classes; the mean is over the rows.": (p - y) / 3,
    }
    wrong = "It is wrong. Does every row of your probabilities add up to one?"
    check.compare(found, (p - y) / 4, wrong, mistakes, tolerance=1e-6)
    large = np.asarray(answer(np.array([[1000.0, 0.0, 0.0]]), np.array([0])), dtype=float)
    check.that(
        bool(np.all(np.isfinite(large))),
        "Right for small scores; for a score of 1000 it overflows. Use `softmax` from above.",
    )


@check.define("07.2")
def descend_with_momentum(answer):
    """Check gradient descent with momentum on a bowl."""
    slopes = np.array([1.0, 4.0])

    def gradient(place):
        return slopes * np.asarray(place, dtype=float)

    def reference(momentum, steps, *, velocity_first=True, sign=-1.0, damped=1.0):
        place, velocity = np.array([3.0, -2.0]), np.zeros(2)
        for _ in range(steps):
            new = momentum * velocity + sign * damped * 0.1 * gradient(place)
            place = place + (new if velocity_first else velocity)
            velocity = new
        return place

    start = np.array([3.0, -2.0])
    found = np.asarray(answer(gradient, start, 0.1, 0.5, 6), dtype=float)
    check.that(
        np.array_equal(start, [3, -2]),
        "Your function changes the array `start` itself. Copy it first: np.array(start).",
    )
    check.that(
        found.shape == (2,),
        f"The last place is wanted, shape (2,); yours has shape {found.shape}.",
    )
    mistakes = {
        "This is plain gradient descent: your velocity forgets what it was.": reference(0.0, 6),
        "The ball has not moved.": start,
        "The ball rolls uphill: look at the sign.": reference(0.5, 6, sign=1.0),
        "The place moves by the old velocity. Change the velocity first.": reference(
            0.5, 6, velocity_first=False
        ),
        "The gradient is multiplied by 1 - m; here it is not.": reference(0.5, 6, damped=0.5),
        "You took one step too few.": reference(0.5, 5),
        "You took one step too many.": reference(0.5, 7),
    }
    wrong = "It ends at the wrong place. Is the gradient taken where the ball is now?"
    check.compare(found, reference(0.5, 6), wrong, mistakes, tolerance=1e-9)

"""Planted wrong answers to the exercises of lesson 07 are found, and told apart."""

import numpy as np

from coursekit import check


def probabilities(scores):
    exponentials = np.exp(scores - scores.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def error(scores, truth):
    return probabilities(scores) - np.eye(scores.shape[1])[truth]


def overflowing(scores, truth):
    with np.errstate(over="ignore", invalid="ignore"):
        p = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    return (p - np.eye(scores.shape[1])[truth]) / len(scores)


def softmax_over_rows(scores, truth):
    p = np.exp(scores) / np.exp(scores).sum(axis=0)
    return (p - np.eye(scores.shape[1])[truth]) / len(scores)


def rolling(*, momentum=1.0, sign=1.0, old=False, less=0, at_start=False, damped=False):
    """Descent with momentum, with a mistake."""

    def descend(gradient, start, rate, m, steps):
        place, velocity = np.array(start, dtype=float), 0.0
        for _ in range(steps - less):
            g = gradient(start if at_start else place) * (1 - m if damped else 1)
            new = momentum * m * velocity - sign * rate * g
            place = place + (velocity if old else new)
            velocity = new
        return place

    return descend


def in_place(gradient, start, rate, m, steps):
    velocity = 0.0
    for _ in range(steps):
        velocity = m * velocity - rate * gradient(start)
        start += velocity
    return start


def whole_path(gradient, start, rate, m, steps):
    return np.array([start] * (steps + 1))


WRONG = {
    "not the mean": ("07.1", error, "mean over the rows"),
    "uphill": ("07.1", lambda s, t: -error(s, t) / len(s), "sign is turned"),
    "uphill and no mean": ("07.1", lambda s, t: -error(s, t), "not the gradient of the mean"),
    "no truth": ("07.1", lambda s, t: probabilities(s), "Where does the truth"),
    "mean over all": ("07.1", lambda s, t: error(s, t) / s.size, "number of scores"),
    "by classes": ("07.1", lambda s, t: error(s, t) / s.shape[1], "number of classes"),
    "one a row": ("07.1", lambda s, t: error(s, t)[np.arange(len(s)), t], "shape (4, 3)"),
    "wrong axis": ("07.1", softmax_over_rows, "add up to one"),
    "overflow": ("07.1", overflowing, "overflows"),
    "plain descent": ("07.2", rolling(momentum=0), "plain gradient descent"),
    "rolls uphill": ("07.2", rolling(sign=-1), "uphill"),
    "old velocity": ("07.2", rolling(old=True), "old velocity"),
    "damped": ("07.2", rolling(damped=True), "1 - m"),
    "too few": ("07.2", rolling(less=1), "too few"),
    "too many": ("07.2", rolling(less=-1), "too many"),
    "gradient at the start": ("07.2", rolling(at_start=True), "where the ball is now"),
    "does not move": ("07.2", lambda g, start, r, m, n: np.array(start), "has not moved"),
    "changes the start": ("07.2", in_place, "Copy it first"),
    "all places": ("07.2", whole_path, "last place"),
}


def test_right_answers_are_right():
    assert check.verdict("07.1", lambda s, t: error(s, t) / len(s)).state == "correct"
    assert check.verdict("07.2", rolling()).state == "correct"

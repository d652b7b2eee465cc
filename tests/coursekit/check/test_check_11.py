"""Planted wrong answers to the exercises of lesson 11 are found, and told apart."""

import numpy as np

from coursekit import check

ANGLES = np.arange(8) * np.pi / 4
PLACES = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1)


def softplus(score):
    return np.logaddexp(0, score)


def both(*, sign_d=1, sign_g=1, saturating=False, reduce=np.mean, half=False, plain=False):
    """The two losses, with a mistake."""

    def losses(of_real, of_made):
        curve = (lambda s: np.log(1 + np.exp(s))) if plain else softplus
        with np.errstate(over="ignore"):
            d = reduce(curve(-sign_d * of_real)) + reduce(curve(sign_d * of_made))
            g = -reduce(curve(of_made)) if saturating else reduce(curve(-sign_g * of_made))
        return (d / 2 if half else d), g

    return losses


def points(places, spread=0.05, n=600):
    """Points near some of the places."""
    rng = np.random.default_rng(0)
    return lambda: places[rng.integers(len(places), size=n)] + spread * rng.standard_normal((n, 2))


WRONG = {
    "order": ("11.1", lambda r, m: both()(r, m)[::-1], "wrong order"),
    "signs of the discriminator": ("11.1", both(sign_d=-1), "calls made points real"),
    "sign of the generator": ("11.1", both(sign_g=-1), "to be called made"),
    "saturating": ("11.1", both(saturating=True), "first form"),
    "sums": ("11.1", both(reduce=np.sum), "added up"),
    "half": ("11.1", both(half=True), "sum of two means"),
    "one number": ("11.1", lambda r, m: both()(r, m)[0], "Two numbers"),
    "something else": ("11.1", lambda r, m: (0.0, 1.0), "At least one"),
    "overflow": ("11.1", both(plain=True), "overflows"),
    "one place": ("11.2", points(PLACES[:1]), "1 of eight"),
    "seven places": ("11.2", points(PLACES[:7]), "7 of eight"),
    "a cloud": ("11.2", points(PLACES, spread=0.25), "only"),
    "a film": ("11.2", lambda: np.zeros((21, 600, 2)), "last frame"),
    "the places": ("11.2", lambda: np.tile(PLACES, (100, 1)), "not points of a generator"),
}


def test_right_answers_are_right():
    assert check.verdict("11.1", both()).state == "correct"
    assert check.verdict("11.2", points(PLACES)).state == "correct"

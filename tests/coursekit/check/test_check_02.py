"""Planted wrong answers to the exercises of lesson 02 are found, and told apart."""

import numpy as np

from coursekit import check
from medlib.simulation.signal import TISSUES, nulling_time


def echo(tissue, tr, te=14):
    tr = np.asarray(tr)
    recovered = tissue.proton_density * (1 - np.exp(-tr / tissue.t1_ms))
    return recovered * np.exp(-te / tissue.t2_ms)


def ahead(times, white, grey, te=14):
    return echo(white, times, te) - echo(grey, times, te)


def best(times, white, grey, te=14):
    return times[int(np.argmax(ahead(times, white, grey, te)))]


WRONG = {
    "position": ("02.1", lambda t, w, g: int(np.argmax(ahead(t, w, g))), "position in the list"),
    "difference": (
        "02.1",
        lambda t, w, g: ahead(t, w, g).max(),
        "is a difference of signals",
    ),
    "no sign": ("02.1", lambda t, w, g: t[int(np.argmax(abs(ahead(t, w, g))))], "mind the sign"),
    "wrong way": ("02.1", lambda t, w, g: t[int(np.argmin(ahead(t, w, g)))], "grey matter"),
    "longest": ("02.1", lambda t, w, g: t[-1], "the longest time"),
    "all": ("02.1", lambda t, w, g: ahead(t, w, g), "not a list"),
    "brightest": ("02.1", lambda t, w, g: t[int(np.argmax(echo(w, t)))], "the longest time"),
    "fixed tissues": (
        "02.1",
        lambda t, w, g: best(t, TISSUES[1.5]["white"], TISSUES[1.5]["grey"]),
        "other tissues",
    ),
    "fixed time": ("02.1", lambda t, w, g: 600, "other tissues"),
    "no echo": ("02.1", lambda t, w, g: best(t, w, g, te=0), "echo time"),
    "long repetition": ("02.2", lambda t1, tr: t1 * np.log(2), "very long repetition time"),
    "wrong sign": (
        "02.2",
        lambda t1, tr: t1 * np.log(2 / (1 - np.exp(-tr / t1))),
        "sign of the exponential",
    ),
    "upside down": ("02.2", lambda t1, tr: t1 * np.log((1 + np.exp(-tr / t1)) / 2), "negative"),
    "decimal logarithm": (
        "02.2",
        lambda t1, tr: t1 * np.log10(2 / (1 + np.exp(-tr / t1))),
        "it is not 0",
    ),
    "one case": ("02.2", lambda t1, tr: nulling_time(4300, tr), "T1 = 260 ms"),
    "mean": ("02.3", np.mean, "mean of the air"),
    "standard deviation": ("02.3", np.std, "standard deviation of the air"),
    "multiplied": ("02.3", lambda air: np.mean(air) * np.sqrt(np.pi / 2), "multiply"),
    "no root": ("02.3", lambda air: 2 * np.mean(air) / np.pi, "square root"),
    "each pixel": ("02.3", lambda air: air / np.sqrt(np.pi / 2), "One number"),
    "fixed": ("02.3", lambda air: 3.0, "sigma = 0.03"),
}


def test_the_time_of_the_best_contrast_is_right():
    assert check.verdict("02.1", best).state == "correct"


def test_the_exact_inversion_time_is_that_of_the_simulation():
    assert check.verdict("02.2", nulling_time).state == "correct"


def test_noise_may_be_estimated_from_mean_power_or_standard_deviation():
    estimators = (
        lambda air: np.mean(air) / np.sqrt(np.pi / 2),
        lambda air: np.sqrt(np.mean(air**2) / 2),
        lambda air: np.std(air) / np.sqrt(2 - np.pi / 2),
    )
    for estimator in estimators:
        assert check.verdict("02.3", estimator).state == "correct"

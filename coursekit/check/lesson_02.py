"""Checks of the exercises of lesson 02."""

import numpy as np

from coursekit import check
from medlib.simulation.signal import Tissue

ECHO_TIME_MS = 14


@check.define("02.1")
def repetition_time(answer):
    """Check the search for the repetition time with the best contrast."""
    times, white, grey = (
        [200, 400, 600, 900, 1500, 4000],
        Tissue(656, 72, 0.7),
        Tissue(1188, 95, 0.82),
    )
    ahead = _ahead(times, white, grey)
    found = answer(times, white, grey)
    check.that(np.ndim(found) == 0, "One repetition time is wanted, not a list of numbers.")
    mistakes = {
        "That is the position in the list: return the time that stands there.": ahead.argmax(),
        "That is a difference of signals: return the time at which it is largest.": ahead.max(),
        "At the longest time grey matter is the brighter one: mind the sign.": times[-1],
    }
    wrong = "White matter is not furthest ahead at that time."
    check.compare(float(found), times[ahead.argmax()], wrong, mistakes, tolerance=1e-6)
    times, white, grey = [500, 3000, 20000], Tissue(3000, 72, 0.70), Tissue(4000, 71, 0.70)
    wrong = "It is wrong for other tissues: does your function use the ones that it is given?"
    right = times[_ahead(times, white, grey).argmax()]
    check.compare(float(answer(times, white, grey)), right, wrong, tolerance=1e-6)
    times, white, grey = [200, 500, 1000, 1500], Tissue(500, 20, 0.80), Tissue(2000, 200, 0.75)
    wrong = "It is wrong for a tissue that decays quickly: is the echo time 14 ms?"
    right = times[_ahead(times, white, grey).argmax()]
    check.compare(float(answer(times, white, grey)), right, wrong, tolerance=1e-6)


@check.define("02.2")
def inversion_time(answer):
    """Check the inversion time that nulls a tissue."""
    t1, tr = 4300.0, 9000.0
    along = 1 - np.exp(-tr / t1)  # what has recovered since the last excitation
    right = t1 * np.log(2 / (1 + np.exp(-tr / t1)))
    found = float(answer(t1, tr))
    check.that(found > 0, "The time comes out negative or zero: check the signs.")
    endless = t1 * np.log(2)
    mistakes = {
        "That is the answer for a very long repetition time: does yours use it?": endless,
        "Nearly: check the sign of the exponential with the repetition time.": t1
        * np.log(2 / along),
    }
    wrong = "Put your time into the signal equation: it is not 0."
    check.compare(found, right, wrong, mistakes, tolerance=0.2)
    wrong = "For a very long repetition time it must become T1 ln 2."
    check.compare(float(answer(t1, 1e6)), endless, wrong, tolerance=0.2)
    short = 260 * np.log(2 / (1 + np.exp(-1000 / 260)))
    wrong = "It is wrong for a tissue with T1 = 260 ms and a repetition time of 1000 ms."
    check.compare(float(answer(260.0, 1000.0)), short, wrong, tolerance=0.02)


@check.define("02.3")
def noise_level(answer):
    """Check the noise estimated from the air of a magnitude image."""
    noise = np.random.default_rng(0).normal(0, 3.0, (2, 200_000))
    air = np.hypot(*noise)
    found = answer(air)
    check.that(np.ndim(found) == 0, "One number is wanted.")
    check.that(
        abs(float(found) - air.mean()) > 0.1,
        "That is the mean of the air: how many sigma is it?",
    )
    check.that(
        abs(float(found) - air.std()) > 0.1,
        "That is the standard deviation of the air, which is smaller than sigma: noise below zero "
        "has been folded up.",
    )
    check.that(
        abs(float(found) - air.mean() * np.sqrt(np.pi / 2)) > 0.1,
        "Nearly: do you multiply where you should divide?",
    )
    check.that(
        abs(float(found) - 2 * air.mean() / np.pi) > 0.05,
        "The factor between mean and sigma has a square root in it.",
    )
    check.that(abs(float(found) - 3) < 0.03, "It is wrong for air with sigma = 3.")
    again = float(answer(air[:50_000] / 100))
    check.that(abs(again - 0.03) < 0.0006, "It is wrong for air with sigma = 0.03.")


def _ahead(times: list[int], white: Tissue, grey: Tissue) -> np.ndarray:
    """By how much white matter outshines grey matter at each repetition time."""
    first, second = (
        tissue.proton_density
        * (1 - np.exp(-np.array(times) / tissue.t1_ms))
        * np.exp(-ECHO_TIME_MS / tissue.t2_ms)
        for tissue in (white, grey)
    )
    return first - second

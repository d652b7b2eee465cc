"""Planted wrong answers to the exercises of lesson 00 are found, and told apart."""

import numpy as np
import pytest

from coursekit import check


def _in_place(pictures):
    pictures /= pictures.mean(axis=(1, 2), keepdims=True)
    return pictures


WRONG = {
    "00.1": {
        "counts": lambda labels, given, s: int(np.sum(given[labels == s] == s)),
        "one a picture": lambda labels, given, s: given[labels == s] == s,
        "errors": lambda labels, given, s: float(np.mean(given[labels == s] != s)),
        "per cent": lambda labels, given, s: 100 * float(np.mean(given[labels == s] == s)),
        "all pictures": lambda labels, given, s: float(np.mean(labels == given)),
        "of all": lambda labels, given, s: float(np.mean((labels == s) & (given == s))),
        "of those so answered": lambda labels, given, s: float(np.mean(labels[given == s] == s)),
        "rounded": lambda labels, given, s: round(float(np.mean(given[labels == s] == s)), 2),
        "always setting 2": lambda labels, given, s: float(np.mean(given[labels == 2] == 2)),
    },
    "00.2": {
        "all pictures": lambda pictures: pictures / pictures.mean(),
        "subtracts": lambda pictures: pictures - pictures.mean(axis=(1, 2), keepdims=True),
        "largest": lambda pictures: pictures / pictures.max(axis=(1, 2), keepdims=True),
        "sum": lambda pictures: pictures / pictures.sum(axis=(1, 2), keepdims=True),
        "one axis": lambda pictures: pictures / pictures.mean(axis=1, keepdims=True),
        "the averages": lambda pictures: pictures.mean(axis=(1, 2), keepdims=True),
        "unchanged": lambda pictures: pictures.copy(),
        "in place": _in_place,
        "two averages by heart": lambda pictures: pictures / np.reshape([3, 0.5], (2, 1, 1, 1)),
    },
}


@pytest.mark.parametrize(("exercise", "name"), [(e, n) for e in WRONG for n in WRONG[e]])
def test_wrong_answers_are_found(exercise, name):
    assert check.verdict(exercise, WRONG[exercise][name]).state == "wrong"


@pytest.mark.parametrize("exercise", WRONG)
def test_each_mistake_gets_its_own_message(exercise):
    messages = {check.verdict(exercise, wrong).message for wrong in WRONG[exercise].values()}
    assert len(messages) == len(WRONG[exercise])

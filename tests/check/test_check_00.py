"""Planted wrong answers to the exercises of lesson 00 are found, and told apart."""

import numpy as np
import pytest

from medlib import check

WRONG = {
    "00.1": {
        "counts": lambda labels, given: int(np.sum(labels == given)),
        "one a picture": lambda labels, given: labels == given,
        "errors": lambda labels, given: float(np.mean(labels != given)),
        "per cent": lambda labels, given: 100 * float(np.mean(labels == given)),
    },
    "00.2": {
        "test labels": lambda train, test: np.bincount(test).max() / len(test),
        "on training": lambda train, test: np.bincount(train).max() / len(train),
        "constant": lambda train, test: 1 / 3,
    },
}


@pytest.mark.parametrize(("exercise", "name"), [(e, n) for e in WRONG for n in WRONG[e]])
def test_wrong_answers_are_found(exercise, name):
    assert check.verdict(exercise, WRONG[exercise][name]).state == "wrong"


@pytest.mark.parametrize("exercise", WRONG)
def test_each_mistake_gets_its_own_message(exercise):
    messages = {check.verdict(exercise, wrong).message for wrong in WRONG[exercise].values()}
    assert len(messages) == len(WRONG[exercise])

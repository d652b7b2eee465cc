import sys
import types

import numpy as np
import pytest

from coursekit import check
from medlib.errors import UsageError


@pytest.fixture(autouse=True)
def _exercise():
    @check.define("98.1")
    def double(answer):
        check.that(answer(3) != 9, "That is the square.")
        check.that(answer(3) == 6, "It is wrong for 3.")

    yield
    del check._checks["98.1"]


@pytest.mark.parametrize(
    ("answer", "state", "message"),
    [
        (lambda x: 2 * x, "correct", "correct"),
        (lambda x: x * x, "wrong", "That is the square."),
        (lambda x: x, "wrong", "It is wrong for 3."),
        (lambda x: None, "wrong", "`return` missing"),
        (lambda x: ..., "empty", "in place of the dots"),
        (..., "empty", "in place of the dots"),
        (lambda x: 1 / 0, "wrong", "ZeroDivisionError"),
        (lambda: 6, "wrong", "TypeError"),
    ],
)
def test_answers_get_the_verdict_they_deserve(answer, state, message, capsys):
    found = check.verdict("98.1", answer)
    assert found.state == state
    assert message in found.message
    check.exercise("98.1", answer)  # and never stops the lesson
    assert message in capsys.readouterr().out


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (0.5, None),
        (0.5 + 1e-12, None),
        (0.6, "wrong here"),
        (2, "a count"),
        ([0.5, 0.5], "wrong here"),  # as many numbers as were asked for
        (float("nan"), "wrong here"),
        ([1.0, 2.0], "a list"),
    ],
)
def test_a_known_mistake_gets_its_own_hint(found, message):
    mistakes = {"a count": 2, "a list": np.array([1, 2])}
    if message is None:
        check.compare(found, 0.5, "wrong here", mistakes)
    else:
        with pytest.raises(check._WrongError, match=message):
            check.compare(found, 0.5, "wrong here", mistakes)


def test_checks_of_a_lesson_are_found_in_its_module(monkeypatch):
    name = "coursekit.check.lesson_97"
    module = types.ModuleType(name)
    module.__spec__ = types.SimpleNamespace(name=name)
    monkeypatch.setitem(sys.modules, name, module)
    with pytest.raises(UsageError, match="97.1"):
        check.verdict("97.1", 3)


def test_unknown_exercise_is_an_error():
    with pytest.raises(UsageError, match="no such exercise"):
        check.exercise("98.7", 3)

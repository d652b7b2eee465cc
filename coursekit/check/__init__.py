"""Answers to exercises are checked at once: what is wrong is said, the answer is not given.

The checks of lesson 08 stand in ``coursekit/check/lesson_08.py``, one function for each exercise::

    @check.define("08.1")
    def sensitivity(answer):
        found = answer([1, 1, 0], [1, 0, 0])
        mistakes = {"You counted all correct decisions: look at tumours only.": 2 / 3}
        check.compare(found, 1 / 2, "It is wrong for two tumours of which one is found.", mistakes)

and a lesson ends an exercise with ``check.exercise("08.1", sensitivity)``. Neither an empty stub
nor a wrong answer stops the lesson.
"""

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from coursekit import ledger
from medlib.errors import UsageError

CHECK_MIME = "application/vnd.coursekit.check+json"
NOTHING = "not yet. Your function returns nothing: is a `return` missing?"
EMPTY = "nothing to check yet: write your answer in place of the dots, run its cell, then this one."

_checks: dict[str, Callable] = {}


class _WrongError(Exception):
    """An answer that is not right; the message is for the reader."""


class _EmptyError(Exception):
    """A stub that nobody has filled in."""


class _NothingError(Exception):
    """A function without a result."""


@dataclass(frozen=True)
class Verdict:
    """What came of checking an answer.

    Parameters
    ----------
    state : str
        ``"correct"``, ``"wrong"`` or ``"empty"`` (the stub as it was handed out).
    message : str
        What to tell the reader.
    """

    state: str
    message: str


def define(name: str) -> Callable:
    """Register the decorated function as the check of an exercise.

    Parameters
    ----------
    name : str
        ``"08.1"``: lesson and exercise. The function gets the reader's answer, and calls
        :func:`that` for everything the answer must fulfil, the most common mistakes first.
    """

    def register(function: Callable) -> Callable:
        _checks[name] = function
        return function

    return register


def that(condition: bool, message: str) -> None:
    """Go on if the condition holds; otherwise the answer is wrong, and the message says how.

    Parameters
    ----------
    condition : bool
    message : str
        What is wrong, without the answer.
    """
    if not condition:
        raise _WrongError(message)


def compare(
    found, right, message: str, mistakes: dict[str, object] | None = None, *, tolerance=1e-9
) -> None:
    """Go on if a result is right; a known mistake gets its own hint.

    Parameters
    ----------
    found, right : number or array_like
        The reader's result and the right one.
    message : str
        For a result that is neither right nor a known mistake.
    mistakes : dict of str to number or array_like, optional
        From each hint to the wrong result that it belongs to.
    tolerance : float
        Largest difference between two numbers that count as equal.
    """

    def is_found(result) -> bool:
        same_shape = np.shape(found) == np.shape(result)
        return same_shape and np.allclose(found, result, rtol=0, atol=tolerance)

    for hint, wrong in (mistakes or {}).items():
        that(not is_found(wrong), hint)
    that(is_found(right), message)


def exercise(name: str, answer) -> None:
    """Check a reader's answer and say what came of it.

    Parameters
    ----------
    name : str
        ``"08.1"``: lesson and exercise.
    answer : callable or value
        The reader's function, or result.

    Raises
    ------
    UsageError
        If there is no such exercise. Nothing about the answer raises.
    """
    found = verdict(name, answer)
    content = {"exercise": name, "state": found.state}
    ledger.show({CHECK_MIME: content}, f"Exercise {name}: {found.message}")


def verdict(name: str, answer) -> Verdict:
    """Check an answer; parameters as for :func:`exercise`.

    Returns
    -------
    Verdict
    """
    function = _find(name)
    try:
        function(_answered(answer))
    except _EmptyError:
        return Verdict("empty", EMPTY)
    except _NothingError:
        return Verdict("wrong", NOTHING)
    except _WrongError as wrong:
        return Verdict("wrong", f"not yet. {wrong}")
    except NotImplementedError:
        return Verdict("empty", EMPTY)
    except Exception as error:  # whatever the reader's code raises is told, not raised
        return Verdict("wrong", f"not yet. It stops with {type(error).__name__}: {error}")
    return Verdict("correct", "correct.")


def _find(name: str) -> Callable:
    module = f"{__name__}.lesson_{name.partition('.')[0]}"
    if name not in _checks and importlib.util.find_spec(module) is not None:
        importlib.import_module(module)
    if name not in _checks:
        known = ", ".join(sorted(_checks)) or "none defined"
        raise UsageError(f"exercise {name!r}", expected=known, found="no such exercise")
    return _checks[name]


def _answered(answer):
    """Return the answer; a function that returns the dots counts as not filled in."""
    if answer is None or answer is ...:
        raise _EmptyError
    if not callable(answer):
        return answer

    def answered(*arguments, **named):
        result = answer(*arguments, **named)
        if result is ...:
            raise _EmptyError
        if result is None:
            raise _NothingError
        return result

    return answered

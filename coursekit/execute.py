"""Execute lessons with other parameters or seeds; what comes of it stands in ``runs/<time>/``."""

import ast
import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from coursekit import ledger
from coursekit.kernels import Execution, execute_all, expect_no_failures
from coursekit.report import write_index, write_page
from coursekit.source import Lesson
from medlib import datasets
from medlib.errors import LedgerError, UsageError


def execute_lessons(
    lessons: list[Lesson],
    *,
    parameters: dict | None = None,
    progress: Callable[[Execution], None] = lambda execution: None,
    **options: int,
) -> Path:
    """Execute lessons; go on after one that fails.

    Parameters
    ----------
    lessons : list of Lesson
    parameters : dict, optional
        Values for names in the lessons' parameters cells.
    progress, **options
        ``progress``, ``jobs`` and ``timeout`` of :func:`coursekit.kernels.execute_all`.

    Returns
    -------
    Path
        ``runs/<time>/index.html``.

    Raises
    ------
    UsageError
        If a lesson has no such parameter.
    RunError
        After the last lesson, naming the failed ones and their errors.
    """
    parameters = parameters or {}
    for lesson in lessons:
        _expect_parameters(lesson, parameters)
    executions = [Execution(lesson, lesson.name, parameters) for lesson in lessons]
    return _execute_with_pages(executions, progress, **options)


def calibrate(
    lesson: Lesson,
    *,
    seeds: int = 10,
    progress: Callable[[Execution], None] = lambda execution: None,
    **options: int,
) -> dict[str, ledger.Band]:
    """Execute a lesson with several seeds and write the bands of its numbers into the ledger.

    Parameters
    ----------
    lesson : Lesson
    seeds : int
        Seeds 0, 1, ... are used; three or more, ten for a band to be committed.
    progress, **options
        ``progress``, ``jobs`` and ``timeout`` of :func:`coursekit.kernels.execute_all`.

    Returns
    -------
    dict of str to Band

    Raises
    ------
    UsageError
        If the lesson has no parameter ``seed``.
    RunError
        If a run fails.
    LedgerError
        If the runs recorded different things, or a band could not fail. The ledger stays then.
    """
    _expect_parameters(lesson, {"seed": 0})
    blind = {"MEDLIB_CALIBRATE": "1"}  # to the bands there are
    executions = [
        Execution(lesson, f"{lesson.name}-seed{seed}", {"seed": seed}, environment=blind)
        for seed in range(seeds)
    ]
    _execute_with_pages(executions, progress, **options)
    runs = [execution.records for execution in executions]
    names = [set(records) for records in runs]
    if differing := set.union(*names) - set.intersection(*names):
        expected = "the same numbers recorded with every seed"
        raise LedgerError(lesson.name, expected=expected, found=", ".join(sorted(differing)))
    bands, weak = {}, []
    for name, content in runs[0].items():
        values, limits = [records[name]["value"] for records in runs], content["limits"]
        bands[name] = ledger.calibrate(
            values, seeds=list(range(seeds)), parameters=content["parameters"], limits=limits
        )
        if reason := ledger.weakness(bands[name], limits, content["chance"]):
            weak.append(f"{name}: {reason}")
    if weak:
        expected = "bands that a run could miss"
        advice = "Make the measurement steadier, with more training or patients, or record another "
        advice += "number. The ledger is as it was"
        raise LedgerError(lesson.name, expected=expected, found="; ".join(weak), advice=advice)
    ledger.write_bands(lesson.number, bands, lesson.root / "results" / "ledger.json")
    return bands


def parse_parameters(assignments: list[str]) -> dict:
    """Turn ``["seed=1", "dataset=breastmnist"]`` into a dict; what is no Python literal is text.

    Parameters
    ----------
    assignments : list of str
        A file or folder that exists is made absolute: a lesson does not run in the current folder.
        The name of a data set stays that name; ``./breastmnist`` is the folder called so.

    Raises
    ------
    UsageError
        If one is not of the form name=value.
    """
    parameters = {}
    for assignment in assignments:
        name, sign, text = assignment.partition("=")
        if not sign or not name.isidentifier():
            raise UsageError(f"-p {assignment}", expected="name=value")
        try:
            parameters[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            is_path = text and text not in datasets.names() and Path(text).exists()
            parameters[name] = str(Path(text).resolve()) if is_path else text
    return parameters


def _expect_parameters(lesson: Lesson, parameters: dict) -> None:
    defaults = lesson.parameters()
    for name in parameters.keys() - defaults.keys():
        known = ", ".join(f"{key}={default!r}" for key, default in defaults.items())
        subject = f"lesson {lesson.name} has no parameter {name!r}"
        raise UsageError(subject, expected=f"one of {known}")


def _execute_with_pages(executions, progress, **options) -> Path:
    folder = executions[0].lesson.root / "runs" / f"{datetime.now():%Y-%m-%d_%H-%M-%S}"
    folder.mkdir(parents=True)
    lock = threading.Lock()

    def show(execution: Execution) -> None:
        if execution.status in ("done", "failed"):
            write_page(execution, folder)
            with lock:
                write_index(executions, folder)
        progress(execution)

    write_index(executions, folder)
    execute_all(executions, folder, progress=show, **options)
    expect_no_failures(executions, advice=f"Pages: {folder / 'index.html'}")
    return folder / "index.html"

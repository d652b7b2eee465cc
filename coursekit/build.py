"""Write notebooks/ from lessons/, executed; and prove, without executing, that they fit."""

import os
import re
import subprocess
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from coursekit.source import METADATA, Lesson
from medlib import files
from medlib.errors import RunError

TIMEOUT_SECONDS = 300  # a cell
# TensorFlow's C++ side writes these to the error stream before it can be told to be silent.
LOG_NOISE = re.compile(
    r"^(WARNING: All log messages before absl::InitializeLog|"
    r"[IWEF]\d{4} \d\d:\d\d|"
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+: [IWEF] |"
    r"To enable the following instructions:|"
    r"\s*$)"
)


def build(lessons: list[Lesson], *, report: Callable[[str], None] = print) -> None:
    """Execute lessons and write their notebooks; one that fails keeps its old notebook.

    Parameters
    ----------
    lessons : list of Lesson
    report : callable
        Gets a line for every notebook written.

    Raises
    ------
    RunError
        After the last lesson, naming the ones that failed and why.
    """
    failures = []
    for lesson in lessons:
        for solved in (False, True) if lesson.has_solutions else (False,):
            path = lesson.solutions if solved else lesson.notebook
            shown = path.relative_to(lesson.root)
            try:
                _write(_execute(lesson, solved=solved), path)
                report(f"{shown}: built")
            except RunError as error:
                failures.append(str(error))
                report(f"{shown}: failed")
    if failures:
        raise RunError("build failed:\n" + "\n".join(failures))


def check(lessons: list[Lesson]) -> None:
    """Prove that the committed notebooks are what their sources give, executed without error.

    Parameters
    ----------
    lessons : list of Lesson

    Raises
    ------
    RunError
        Naming every notebook that is missing, differs, or was not executed, and what to do.
    """
    problems = []
    for lesson in lessons:
        found = _problems(lesson, solved=False) + _problems(lesson, solved=True)
        problems += [f"{problem}; run: course build {lesson.number}" for problem in found]
    for root in {lesson.root for lesson in lessons}:
        sources = {path.stem for path in (root / "lessons").glob("*.py")}
        for path in sorted((root / "notebooks").rglob("*.ipynb")):
            if path.stem not in sources and ".ipynb_checkpoints" not in path.parts:
                shown = path.relative_to(root)
                problems.append(f"{shown}: no lessons/{path.stem}.py; remove it or add its source")
    if problems:
        raise RunError("notebooks are not what lessons/ gives:\n" + "\n".join(problems))


def kernel_environment(**more: str) -> dict[str, str]:
    """Return the environment of a lesson's kernel: TensorFlow quiet, hashes the same every time.

    Parameters
    ----------
    **more : str
        Further variables.
    """
    return os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONHASHSEED": "0"} | more


def clean_outputs(notebook) -> None:
    """Take out of an executed notebook what changes without meaning: logs, times, versions."""
    notebook.metadata.clear()
    notebook.metadata.update(METADATA)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        kept = []
        for output in cell.get("outputs", []):
            if output.output_type == "stream" and output.name == "stderr":
                lines = output.text.splitlines(keepends=True)
                output.text = "".join(line for line in lines if not LOG_NOISE.match(line))
            if output.output_type != "stream" or output.text:
                kept.append(output)
        if cell.cell_type == "code":
            cell.outputs = kept


def _execute(lesson: Lesson, *, solved: bool):
    """Execute in an empty folder, as a reader's copy would be."""
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError

    notebook = lesson.read(solved=solved)
    figures = {} if solved else {"MEDLIB_FIGURES": str(lesson.root / "figures")}
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            notebook,
            timeout=TIMEOUT_SECONDS,
            kernel_name="python3",
            record_timing=False,
            coalesce_streams=True,
            resources={"metadata": {"path": folder}},
        )
        try:
            _run(client, kernel_environment(**figures))
        except CellExecutionError as error:
            raise RunError(lesson.name, found=f"{error.ename}: {error.evalue}") from None
        except CellTimeoutError:
            limit = f"at most {TIMEOUT_SECONDS} s a cell"
            raise RunError(lesson.name, expected=limit, found="a cell that went on") from None
        except RuntimeError:  # nbclient's DeadKernelError, and kernels that die before they answer
            raise RunError(
                lesson.name,
                found="the kernel died",
                advice="It may have run out of memory: close other programs and try again",
            ) from None
    clean_outputs(notebook)
    return notebook


def _run(client, environment: dict[str, str]) -> None:
    """Execute; after Ctrl-C end the kernel, and then say that it was Ctrl-C.

    In the main thread nbclient takes the signal, and fails on its own cleaning up.
    """
    import psutil

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(client.execute, env=environment, stderr=subprocess.DEVNULL)
        try:
            running.result()
        except KeyboardInterrupt:
            for process in psutil.Process().children(recursive=True):
                process.kill()
            raise


def _write(notebook, path: Path) -> None:
    import nbformat

    path.parent.mkdir(parents=True, exist_ok=True)
    with files.replacing(path) as partial:
        partial.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")


def _problems(lesson: Lesson, *, solved: bool) -> list[str]:
    import nbformat

    path = lesson.solutions if solved else lesson.notebook
    shown = path.relative_to(lesson.root)
    if solved and not lesson.has_solutions:
        return [f"{shown}: the lesson has no solutions"] if path.exists() else []
    if not path.is_file():
        return [f"{shown}: not there"]
    try:
        notebook = nbformat.read(path, as_version=4)
    except (ValueError, AttributeError, KeyError):
        return [f"{shown}: not a notebook"]
    problems = []
    expected = lesson.read(solved=solved).cells
    for position, (cell, wanted) in enumerate(zip(notebook.cells, expected, strict=False), start=1):
        if _essence(cell) != _essence(wanted):
            problems.append(f"{shown}: cell {position} is not what lessons/{lesson.name}.py gives")
            break
    else:
        if len(notebook.cells) != len(expected):
            found = f"{len(notebook.cells)} cells instead of {len(expected)}"
            problems.append(f"{shown}: {found}")
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    if [cell.execution_count for cell in code] != list(range(1, len(code) + 1)):
        problems.append(f"{shown}: not executed from top to bottom")
    outputs = [output for cell in code for output in cell.outputs]
    if any(output.output_type == "error" for output in outputs):
        problems.append(f"{shown}: holds an error")
    return problems


def _essence(cell) -> tuple:
    return cell.cell_type, cell.get("id"), cell.source, dict(cell.metadata)

"""Write notebooks/ from lessons/, executed; and prove, without executing, that they fit."""

import tempfile
from collections.abc import Callable
from itertools import zip_longest
from pathlib import Path

import nbformat

from coursekit.kernels import Execution, execute_all, expect_no_failures
from coursekit.source import Lesson
from medlib import files
from medlib.errors import RunError


def build(
    lessons: list[Lesson],
    *,
    jobs: int = 2,
    progress: Callable[[Execution], None] = lambda execution: None,
) -> None:
    """Execute lessons and write their notebooks; one that fails keeps its old notebook.

    Parameters
    ----------
    lessons : list of Lesson
    jobs, progress
        As for :func:`coursekit.kernels.execute_all`. Every lesson works in an empty folder, as a
        reader's copy would.

    Raises
    ------
    RunError
        After the last lesson, naming the ones that failed and why.
    """
    executions = []
    for lesson in lessons:
        figures = {"MEDLIB_FIGURES": str(lesson.root / "figures")}
        executions.append(Execution(lesson, lesson.name, environment=figures))
        if lesson.has_solutions:
            executions.append(Execution(lesson, f"solutions/{lesson.name}", solved=True))

    def save(execution: Execution) -> None:
        if execution.status == "done":
            _write(execution.notebook, execution.lesson.notebook(solved=execution.solved))
        progress(execution)

    with tempfile.TemporaryDirectory() as folder:
        execute_all(executions, Path(folder), jobs=jobs, progress=save)
    expect_no_failures(executions)


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


def _write(notebook, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.replacing(path) as partial:
        partial.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")


def _problems(lesson: Lesson, *, solved: bool) -> list[str]:
    path = lesson.notebook(solved=solved)
    shown = path.relative_to(lesson.root)
    if solved and not lesson.has_solutions:
        return [f"{shown}: the lesson has no solutions"] if path.exists() else []
    if not path.is_file():
        return [f"{shown}: not there"]
    try:
        notebook = nbformat.read(path, as_version=4)
    except nbformat.reader.NotJSONError:
        return [f"{shown}: not a notebook"]
    problems = []
    wanted = lesson.read(solved=solved).cells
    pairs = zip_longest(map(_essence, notebook.cells), map(_essence, wanted))
    differing = [number for number, (cell, ours) in enumerate(pairs, start=1) if cell != ours]
    if differing:
        found = f"cell {differing[0]} is not what lessons/{lesson.name}.py gives"
        problems.append(f"{shown}: {found}")
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    if [cell.execution_count for cell in code] != list(range(1, len(code) + 1)):
        problems.append(f"{shown}: not executed from top to bottom")
    if any(output.output_type == "error" for cell in code for output in cell.outputs):
        problems.append(f"{shown}: holds an error")
    return problems


def _essence(cell) -> tuple:
    return cell.cell_type, cell.get("id"), cell.source, dict(cell.metadata)

"""From a lesson's source, a script in jupytext's percent format, to a notebook without outputs.

Tags of cells (``# %% tags=["parameters"]``) that mean something here:

``parameters``
    Assignments that ``course run NN -p name=value`` replaces.
``install``
    Written by the builder: imports medlib, and installs it first where it is missing (Colab).
``exercise``, ``solution``
    The stub a reader fills in, and what it may be filled with. Readers get ``notebooks/NN.ipynb``
    without the solutions; ``notebooks/solutions/NN.ipynb`` has them in place of the stubs.
``plumbing``
    Code that a reader need not see: its input is collapsed (as is that of ``install``), its output
    stays.
"""

import ast
import hashlib
import re
import tomllib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import jinja2

from medlib.errors import UsageError

_loader = jinja2.PackageLoader("coursekit")  # its folder templates/
TEMPLATES = jinja2.Environment(loader=_loader, autoescape=True, trim_blocks=True)
COLLAPSED = {"jupyter": {"source_hidden": True}, "cellView": "form"}  # JupyterLab, Colab
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"file_extension": ".py", "name": "python", "pygments_lexer": "ipython3"},
}


@dataclass(frozen=True)
class Lesson:
    """One lesson of the course.

    Parameters
    ----------
    path : Path
        Its source, ``lessons/NN_topic.py``.
    """

    path: Path

    @property
    def name(self) -> str:
        """Name without ending, such as ``05_first_cnn``."""
        return self.path.stem

    @property
    def number(self) -> str:
        """Number, such as ``05``."""
        return self.name[:2]

    @property
    def root(self) -> Path:
        """Folder of the repository."""
        return self.path.parents[1]

    @property
    def has_solutions(self) -> bool:
        """Whether any cell is tagged ``solution``."""
        return any("solution" in tags(cell) for cell in _cells(self.path).cells)

    def notebook(self, *, solved: bool = False) -> Path:
        """Path of the executed notebook that readers get, or of the one with solved exercises."""
        folder = self.root / "notebooks"
        return (folder / "solutions" if solved else folder) / f"{self.name}.ipynb"

    def read(self, *, solved: bool = False):
        """Return the notebook that the source gives, not executed.

        Parameters
        ----------
        solved : bool
            With the solutions in place of the exercises' stubs.

        Returns
        -------
        NotebookNode
            Cell ids come from the content of the cells: an edit changes the id of that cell only.
        """
        notebook = _cells(self.path)
        left_out = "exercise" if solved else "solution"
        notebook.cells = [cell for cell in notebook.cells if left_out not in tags(cell)]
        notebook.metadata.update(METADATA)
        seen = Counter()
        for cell in notebook.cells:
            cell.metadata.pop("lines_to_next_cell", None)  # jupytext's note on the script's layout
            content = f"{cell.cell_type}\n{cell.source}"
            seen[content] += 1
            digest = hashlib.blake2b(f"{content}\n{seen[content]}".encode(), digest_size=4)
            cell["id"] = digest.hexdigest()
        self._stamp(notebook, self.notebook(solved=solved))
        for cell in notebook.cells:
            if {"plumbing", "install"} & set(tags(cell)):
                cell.metadata |= COLLAPSED | {"tags": [*tags(cell), "hide-input"]}
                cell.source = f"# @title Plumbing (nothing to learn here)\n{cell.source}"
            if solved and cell.cell_type == "markdown":  # one folder further down
                source = re.sub(r"\]\((?=\d\d_\w+\.ipynb)", "](../", cell.source)
                cell.source = source.replace("](solutions/", "](")
        return notebook

    def parameters(self) -> dict:
        """Return the names and defaults in the cell tagged ``parameters``."""
        cells = [cell for cell in _cells(self.path).cells if "parameters" in tags(cell)]
        assignments = [statement for cell in cells for statement in ast.parse(cell.source).body]
        return {each.targets[0].id: ast.literal_eval(each.value) for each in assignments}

    def _stamp(self, notebook, path: Path) -> None:
        settings = tomllib.loads((self.root / "pyproject.toml").read_text(encoding="utf-8"))
        repository = settings["tool"]["medlib"]["repository"]  # "owner/name", or ""
        target = path.relative_to(self.root).as_posix()
        install = TEMPLATES.get_template("install.py.j2").render(repository=repository)
        for cell in notebook.cells:
            if "install" in tags(cell):
                cell.source = install.strip()
        first = notebook.cells[0]
        if repository and first.cell_type == "markdown":
            title, _, rest = first.source.partition("\n")
            first.source = f"{title}\n\n{badges(repository, target)}\n{rest}".rstrip()


def badges(repository: str, target: str) -> str:
    """Return the launch links of one notebook, as Markdown pictures.

    Parameters
    ----------
    repository : str
        "owner/name".
    target : str
        The notebook's path in the repository.
    """
    return TEMPLATES.get_template("badges.md.j2").render(repository=repository, target=target)


def tags(cell) -> list[str]:
    """Return the tags of a notebook's cell."""
    return cell.metadata.get("tags", [])


def repository_root(start: Path | None = None) -> Path:
    """Find the checkout of the course: from a folder upwards, else the one medlib runs from.

    Parameters
    ----------
    start : Path, optional
        Where to begin; default the current folder.

    Raises
    ------
    UsageError
        If there is none.
    """
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents, Path(__file__).resolve().parents[1]):
        if _sources(folder) and (folder / "pyproject.toml").is_file():
            return folder
    expected = "the course's folder, with lessons/NN_topic.py and pyproject.toml, here or above"
    advice = "The lessons are not part of the installed package: clone the repository"
    raise UsageError(f"{start}", expected=expected, advice=advice)


def find(root: Path, numbers: list[str] | None = None) -> list[Lesson]:
    """Return the lessons with these numbers; without any, all lessons.

    Parameters
    ----------
    root : Path
        The checkout.
    numbers : list of str, optional
        Such as ``["05"]``; ``5`` and ``05_first_cnn`` mean the same lesson.

    Raises
    ------
    UsageError
        If there is no such lesson.
    """
    lessons = [Lesson(path) for path in _sources(root)]
    chosen = []
    for number in numbers or []:
        found = [lesson for lesson in lessons if number.zfill(2) in (lesson.number, lesson.name)]
        if not found:
            expected = f"one of {', '.join(lesson.number for lesson in lessons)}"
            raise UsageError(f"lesson {number!r}", expected=expected, found="no such lesson")
        chosen += found if found[0] not in chosen else []
    return chosen or lessons


def _sources(root: Path) -> list[Path]:
    return sorted((root / "lessons").glob("[0-9][0-9]_*.py"))


def _cells(path: Path):
    import jupytext

    notebook = jupytext.reads(path.read_text(encoding="utf-8"), fmt="py:percent")
    notebook.metadata.clear()
    return notebook

"""Stamp the launch links (Binder, Colab) of one public repository into README and notebooks."""

import re
from pathlib import Path

from coursekit.source import Lesson, badges, find
from medlib import files
from medlib.errors import RunError, UsageError

BEGIN, END = "<!-- links -->", "<!-- /links -->"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,38}/[A-Za-z0-9._-]{1,100}")


def stamp(root: Path, repository: str) -> list[Path]:
    """Set ``[tool.medlib] repository`` and write the links that follow from it.

    Notebooks are not executed: only the cells that hold links change.

    Parameters
    ----------
    root : Path
        The checkout.
    repository : str
        "owner/name" on GitHub.

    Returns
    -------
    list of Path
        The files that changed.

    Raises
    ------
    UsageError
        If the name is not of that form.
    RunError
        If README.md or pyproject.toml have no place for it; nothing is changed then.
    """
    if not NAME.fullmatch(repository):
        raise UsageError(f"repository {repository!r}", expected='"owner/name", as on GitHub')
    settings, readme = root / "pyproject.toml", root / "README.md"
    line = re.compile(r'(?m)(^\[tool\.medlib\][^\[]*?^repository = )".*"$')
    section = re.compile(f"{BEGIN}.*?{END}", flags=re.DOTALL)
    old_settings = settings.read_text(encoding="utf-8")
    old_readme = readme.read_text(encoding="utf-8")
    if not (line.search(old_settings) and section.search(old_readme)):
        expected = f"'repository = \"\"' under [tool.medlib], and a section {BEGIN} to {END}"
        raise RunError("pyproject.toml and README.md", expected=expected)
    lessons = find(root)
    links = f"{BEGIN}\n{readme_links(lessons, repository)}\n{END}"
    changed = _write(settings, line.sub(rf'\g<1>"{repository}"', old_settings))
    changed += _write(readme, section.sub(links, old_readme))
    for lesson in lessons:
        changed += _restamp(lesson, solved=False) + _restamp(lesson, solved=True)
    return changed


def readme_links(lessons: list[Lesson], repository: str) -> str:
    """Return what stands between README's markers: the links of every lesson that is built.

    Parameters
    ----------
    lessons : list of Lesson
    repository : str
        "owner/name".
    """
    rows = [
        f"| {lesson.name.replace('_', ' ')} | "
        f"{badges(repository, lesson.notebook().relative_to(lesson.root).as_posix())} |"
        for lesson in lessons
        if lesson.notebook().is_file()
    ]
    return "\n".join(["| lesson | open it without installing anything |", "|---|---|", *rows])


def _restamp(lesson: Lesson, *, solved: bool) -> list[Path]:
    import nbformat

    path = lesson.notebook(solved=solved)
    if not path.is_file():
        return []
    notebook = nbformat.read(path, as_version=4)
    stamped = {cell["id"]: cell.source for cell in lesson.read(solved=solved).cells}
    for cell in notebook.cells:  # ids come from the source, so that links do not change them
        cell.source = stamped.get(cell.get("id"), cell.source)
    return _write(path, nbformat.writes(notebook) + "\n")


def _write(path: Path, text: str) -> list[Path]:
    if path.read_text(encoding="utf-8") == text:
        return []
    with files.replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")
    return [path]

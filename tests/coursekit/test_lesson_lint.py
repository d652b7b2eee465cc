"""What every lesson must have and must not have; each rule is shown to fire on a planted lesson."""

import ast
import re
from pathlib import Path

import jupytext
import nbformat
import pytest

from coursekit.check import CHECK_MIME
from coursekit.source import Lesson

REPOSITORY = Path(__file__).resolve().parents[2]
LESSONS = sorted((REPOSITORY / "lessons").glob("[0-9][0-9]_*.py"))
NOTEBOOKS = sorted((REPOSITORY / "notebooks").rglob("*.ipynb"))
PLANTED = Path(__file__).parent / "lessons_fixture" / "lessons" / "90_noise.py"

LONGEST_CELL = 20
NETWORK_MODULES = {"urllib", "requests", "http", "httpx", "socket", "wget", "pooch", "ftplib"}
NETWORK_CALLS = {"get_file", "urlopen", "urlretrieve", "fetch_openml", "read_html"}
ABSOLUTE = re.compile(r"^(/[A-Za-z]|~[/\\]|[A-Za-z]:[\\/])")
MEASURED = re.compile(
    r"\b(AUC|accuracy|Dice)\b[*:=]*\s+((of|is|was|reaches|about|around|=|:)\s+)*\**"
    r"(0?\.\d+|\d+(\.\d+)?\s?%)",
    flags=re.IGNORECASE,
)
PROSE = {  # what must stand in the Markdown, without its asterisks
    "a title such as '# 05 First network' in the first cell": r"\A# \d\d \S",
    "objectives: You will": r"You will\s*\n\s*\n?-(.|\n)*?\n-(.|\n)*?\n-",
    "time to read and run: Reading: about N min · running: about N s": (
        r"Reading: about \d+ min\s*·\s*running: about \d+ s"
    ),
    "exercises: ## Try it": r"(?m)^## Try it",
    "a recap: In this lesson we": r"In this lesson we",
    "References": r"(?m)^(#+ )?References",
}


def lint(path: Path) -> list[str]:
    """Return what is wrong with a lesson's source."""
    cells = jupytext.reads(path.read_text(encoding="utf-8"), fmt="py:percent").cells
    markdown = [cell.source for cell in cells if cell.cell_type == "markdown"]
    code = [cell for cell in cells if cell.cell_type == "code"]
    prose = "\n\n".join(markdown).replace("**", "")
    problems = [f"missing {what}" for what, rule in PROSE.items() if not re.search(rule, prose)]
    for tag in ("parameters", "install"):
        count = sum(tag in cell.metadata.get("tags", []) for cell in code)
        if count != 1:
            problems.append(f"{count} cells tagged {tag} instead of one")
    for text in markdown:
        if found := MEASURED.search(text):
            problems.append(f"a measured number in prose ({found[0]!r}): use ledger.say")
    for number, cell in enumerate(code, start=1):
        lines = len(cell.source.splitlines())
        if lines > LONGEST_CELL:
            problems.append(f"code cell {number} has {lines} lines")
        problems += [f"code cell {number}: {problem}" for problem in _lint_code(cell.source)]
    return problems


def lint_outputs(notebook) -> list[str]:
    """Return what is wrong with an executed notebook."""
    problems, count = [], 0
    for cell in notebook.cells:
        if cell.cell_type != "code" or not cell.source.strip():
            continue
        count += 1
        if cell.execution_count != count:
            problems.append(f"code cell {count} was not executed in order")
        for output in cell.outputs:
            if output.output_type == "error":
                problems.append(f"code cell {count} ends with an error")
            if output.get("name") == "stderr":
                problems.append(f"code cell {count} writes to stderr: {output.text[:80]!r}")
            if "image/png" in output.get("data", {}):
                alt = output.metadata.get("image/png", {}).get("alt", "")
                if len(alt.split()) < 3:
                    problems.append(f"code cell {count} shows a figure without alternative text")
    return problems


def exercises_in(notebook) -> dict[str, str]:
    """Return the state of every exercise that an executed notebook checked."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    found = [output.get("data", {}).get(CHECK_MIME) for output in outputs]
    return {content["exercise"]: content["state"] for content in found if content}


def _lint_code(source: str) -> list[str]:
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return ["not plain Python (a magic or a shell command?)"]
    problems = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [getattr(node, "module", None) or "", *(alias.name for alias in node.names)]
            if NETWORK_MODULES & {name.split(".")[0] for name in names}:
                problems.append("uses the network")
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if ABSOLUTE.match(node.value):
                problems.append(f"absolute path {node.value!r}")
            if re.match(r"(https?|ftp)://", node.value):
                problems.append("uses the network")
        elif isinstance(node, ast.Call):
            problems += _lint_call(node)
    return problems


def _lint_call(node: ast.Call) -> list[str]:
    called = ast.unparse(node.func)
    keywords = {keyword.arg: keyword.value for keyword in node.keywords}
    problems = []
    if called.split(".")[-1] in NETWORK_CALLS or "keras.datasets" in called:
        problems.append("uses the network")
    if called in ("plt.show", "fig.show") or called.endswith(".savefig"):
        problems.append(f"{called}: figures are shown by plotting.show")
    if called in ("plotting.show", "show") and "alt" not in keywords:
        problems.append("plotting.show without alt")
    allow = keywords.get("allow_pickle")
    if allow is not None and not (isinstance(allow, ast.Constant) and allow.value is False):
        problems.append("allow_pickle=True runs code from a file")
    return problems


@pytest.mark.parametrize("path", [*LESSONS, PLANTED], ids=lambda path: path.stem)
def test_lessons_are_complete_and_clean(path):
    assert lint(path) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_outputs_of_committed_notebooks_are_clean(path):
    assert lint_outputs(nbformat.read(path, as_version=4)) == []


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_stubs_are_empty_and_solutions_are_correct(path):
    lesson = Lesson(path)
    if not lesson.notebook().is_file():
        pytest.skip("not built yet; `course build --check` says so")
    handed_out = exercises_in(nbformat.read(lesson.notebook(), as_version=4))
    assert len(handed_out) >= 2
    assert set(handed_out.values()) == {"empty"}
    solved = exercises_in(nbformat.read(lesson.notebook(solved=True), as_version=4))
    assert solved == dict.fromkeys(handed_out, "correct")


PLANTS = {  # what is replaced in a good lesson, by what, and the problem that must be found
    "title": ("# # 90 Noise", "# Noise", "a title"),
    "objectives": ("# **You will**", "# We will", "You will"),
    "time": ("# Reading: about 3 min", "# Short", "time to read"),
    "exercises": ("# ## Try it", "# ## More", "Try it"),
    "recap": ("In this lesson we", "We", "a recap"),
    "references": ("**References**", "Books", "References"),
    "no parameters": ('tags=["parameters"]', "", "0 cells tagged parameters"),
    "two install cells": ('tags=["nbval-check-output"]', 'tags=["install"]', "2 cells tagged inst"),
    "no alt": (
        ', alt="Noise of one scan, and the much weaker noise of the mean of all."',
        "",
        "alt",
    ),
    "plt.show": ("plotting.show(fig", "plt.show(fig", "figures are shown by"),
    "savefig": ("plotting.show(fig", 'fig.savefig("a.png", fig', "figures are shown by"),
    "long cell": ("print(noise.shape[1:])", "print(1)\n" * 21, "has 21 lines"),
    "absolute path": ("print(noise", 'open("/home/me/a.png")\nprint(noise', "absolute path"),
    "home": ("print(noise", 'open("~/a.png")\nprint(noise', "absolute path"),
    "network import": ("print(noise", "import urllib.request\nprint(noise", "uses the network"),
    "network from": ("print(noise", "from requests import get\nprint(noise", "uses the network"),
    "network address": ("print(noise", 'f("https://a.org/x")\nprint(noise', "uses the network"),
    "keras data": ("print(noise", "keras.datasets.mnist.load_data()\nprint(noise", "the network"),
    "magic": ("print(noise", "!pip install x\nprint(noise", "not plain Python"),
    "pickle": ("print(noise", 'np.load("a", allow_pickle=True)\nprint(noise', "runs code"),
    "measured": ("# **In this", "# The AUC is 0.93.\n# **In this", "a measured number"),
    "measured %": ("# **In this", "# We saw an accuracy of **91 %**.\n# **In", "a measured number"),
}


@pytest.mark.parametrize("plant", PLANTS)
def test_every_rule_fires(plant, tmp_path):
    old, new, expected = PLANTS[plant]
    good = PLANTED.read_text()
    assert old in good
    path = tmp_path / "90_planted.py"
    path.write_text(good.replace(old, new))
    assert any(expected in problem for problem in lint(path)), lint(path)


def _executed(**output):
    cell = nbformat.v4.new_code_cell("1", execution_count=1)
    cell.outputs = [nbformat.v4.new_output(**output)] if output else []
    return nbformat.v4.new_notebook(cells=[cell])


def test_every_rule_about_outputs_fires():
    picture = {"output_type": "display_data", "data": {"image/png": "AA=="}}
    described = picture | {"metadata": {"image/png": {"alt": "three clear words"}}}
    assert lint_outputs(_executed(**described)) == []
    assert "alternative text" in lint_outputs(_executed(**picture))[0]
    stderr = {"output_type": "stream", "name": "stderr", "text": "a warning"}
    assert "stderr" in lint_outputs(_executed(**stderr))[0]
    assert "error" in lint_outputs(_executed(output_type="error", ename="a", evalue="b"))[0]
    skipped = _executed()
    skipped.cells[0].execution_count = None
    assert "not executed" in lint_outputs(skipped)[0]

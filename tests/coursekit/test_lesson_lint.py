"""What every lesson must have and must not have; each rule is shown to fire on a planted lesson."""

import ast
import re
import statistics
from base64 import b64decode
from dataclasses import dataclass
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

LONGEST_CELL, USUAL_CELL = 20, 6  # lines of the longest cell, and of the median one
MOST = {"words": 3000, "code cells": 60, "visible lines": 300}
LARGEST_PICTURE = 400_000  # bytes
LINK = re.compile(r"\]\(((?:[^()]|\([^()]*\))+)\)")
DOI = re.compile(r"https://doi\.org/10\.\d{4,9}/\S+")
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
    "two exercises: Exercise NN.1, Exercise NN.2": r"Exercise \d\d\.1\b(.|\n)*Exercise \d\d\.2\b",
    "a link to its solutions": r"\]\(solutions/\d\d_\w+\.ipynb\)",
    "a recap: In this lesson we": r"In this lesson we",
    "a link to the next lesson: Next": r"(?m)^(#+ )?Next\b.*(\n.*)?\]\(\d\d_\w+\.ipynb\)",
    "References": r"(?m)^(#+ )?References",
}


@dataclass(frozen=True)
class Size:
    """How much of a lesson there is to read, and how long that takes."""

    words: int
    code_cells: int
    cell_lines: list[int]  # of the cells that a reader sees
    predictions: int
    exercises: int

    @property
    def visible_lines(self) -> int:
        return sum(self.cell_lines)

    @property
    def minutes(self) -> int:
        """200 words a minute, 5 s a line, 1 min a prediction, 5 min an exercise; to 5 minutes."""
        minutes = self.words / 200 + self.visible_lines * 5 / 60
        return 5 * round((minutes + self.predictions + 5 * self.exercises) / 5)

    def __str__(self):
        return (
            f"{self.words:,} words, {self.code_cells} code cells, {self.visible_lines} visible "
            f"lines (median {statistics.median(self.cell_lines):g}), {self.predictions} "
            f"predictions, {self.exercises} exercises, {self.minutes} min"
        )


def size(path: Path) -> Size:
    """Measure a lesson as it is handed out, without its solutions."""
    cells = jupytext.reads(path.read_text(encoding="utf-8"), fmt="py:percent").cells
    prose = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    code = [cell for cell in cells if cell.cell_type == "code"]
    code = [cell for cell in code if "solution" not in cell.metadata.get("tags", [])]
    hidden = {"plumbing", "install"}
    seen = [cell for cell in code if not hidden & set(cell.metadata.get("tags", []))]
    return Size(
        words=len(prose.split()),
        code_cells=len(code),
        cell_lines=[sum(map(bool, map(str.strip, cell.source.split("\n")))) for cell in seen],
        predictions=prose.count("**Predict"),
        exercises=sum("exercise" in cell.metadata.get("tags", []) for cell in code),
    )


def lint(path: Path) -> list[str]:
    """Return what is wrong with a lesson's source."""
    cells = jupytext.reads(path.read_text(encoding="utf-8"), fmt="py:percent").cells
    markdown = [cell.source for cell in cells if cell.cell_type == "markdown"]
    code = [cell for cell in cells if cell.cell_type == "code"]
    prose = "\n\n".join(markdown).replace("**", "")
    problems = _lint_size(size(path), prose) + _lint_links(path, prose)
    if not re.search(r"show_animation\(|interact\(", "\n".join(cell.source for cell in code)):
        problems.append("nothing moves: use plotting.show_animation or ipywidgets.interact")
    for text in markdown:
        if text.count("<details>") != len(re.findall(r"<details><summary>.+</summary>\n\n", text)):
            problems.append("an answer that is not '<details><summary>...</summary>', empty line")
        if text.count("<details>") != text.count("\n\n</details>"):
            problems.append("an answer that does not end with an empty line and </details>")
    problems += [f"missing {what}" for what, rule in PROSE.items() if not re.search(rule, prose)]
    for tag in ("parameters", "install"):
        count = sum(tag in cell.metadata.get("tags", []) for cell in code)
        if count != 1:
            problems.append(f"{count} cells tagged {tag} instead of one")
    for text in markdown:
        if found := MEASURED.search(text):
            problems.append(f"a measured number in prose ({found[0]!r}): use ledger.say")
    for number, cell in enumerate(code, start=1):
        title = "plumbing" in cell.metadata.get("tags", [])  # a line that the build puts on top
        lines = len(cell.source.splitlines()) + title
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
            shown = output.get("text", "") + output.get("data", {}).get("text/plain", "")
            if re.search(r"<\S+ .*at 0x", shown):
                problems.append(f"code cell {count} shows an object instead of a result: {shown}")
            if "image/png" in output.get("data", {}):
                alt = output.metadata.get("image/png", {}).get("alt", "")
                if len(alt.split()) < 3:
                    problems.append(f"code cell {count} shows a figure without alternative text")
                if len(b64decode(output.data["image/png"])) > LARGEST_PICTURE:
                    problems.append(f"code cell {count} shows a picture of more than 400 kB")
    return problems


def exercises_in(notebook) -> dict[str, str]:
    """Return the state of every exercise that an executed notebook checked."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    found = [output.get("data", {}).get(CHECK_MIME) for output in outputs]
    return {content["exercise"]: content["state"] for content in found if content}


def _lint_size(found: Size, prose: str) -> list[str]:
    numbers = zip(MOST, (found.words, found.code_cells, found.visible_lines), strict=True)
    problems = [f"{n:,} {what}, more than {MOST[what]:,}" for what, n in numbers if n > MOST[what]]
    if statistics.median(found.cell_lines) > USUAL_CELL:
        problems.append(f"half of the cells have more than {USUAL_CELL} lines")
    stated = re.search(r"Reading: about (\d+) min", prose)
    if stated and int(stated[1]) != found.minutes:
        problems.append(f"it says {stated[1]} minutes, and has {found}")
    return problems


def _lint_links(path: Path, prose: str) -> list[str]:
    problems = []
    for target in LINK.findall(prose):
        lesson = re.fullmatch(r"(?:solutions/)?(\d\d_\w+)\.ipynb", target)
        if "doi.org" in target and not DOI.fullmatch(target):
            problems.append(f"not a DOI's address: {target}")
        elif lesson and lesson[1] not in {each.stem for each in [*LESSONS, PLANTED]}:
            problems.append(f"a link to a lesson that is not there: {target}")
        elif not lesson and not target.startswith("https://"):
            problems.append(f"a link that leaves the notebooks: {target}")
    *_, references = re.split(r"(?m)^(?:#+ )?References", prose)
    for reference in re.split(r"(?m)^- ", references)[1:]:
        if not LINK.search(reference):
            problems.append(f"a reference without a link: {reference[:40]!r}")
    return problems


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
    "time": ("# Reading: about 15 min", "# Short", "time to read"),
    "wrong time": ("about 15 min", "about 5 min", "it says 5 minutes, and has"),
    "exercises": ("**Exercise 90.2", "**Another", "two exercises"),
    "solutions": ("(solutions/90_noise.ipynb)", "(90_noise.ipynb)", "a link to its solutions"),
    "next": ("# **Next**", "# **More**", "a link to the next lesson"),
    "no lesson": ("(90_noise.ipynb)", "(89_peace.ipynb)", "a lesson that is not there"),
    "other file": ("(90_noise.ipynb)", "(../README.md)", "a link that leaves the notebooks"),
    "DOI": ("https://doi.org/10.", "https://doi.org/", "not a DOI"),
    "reference": ("(https://doi.org/10.1002/mrm.1910340618)", "", "a reference without a link"),
    "words": ("# **In this", "# " + "word " * 3001 + "\n#\n# **In this", "more than 3,000"),
    "median": ("# %%\n", "# %%\n" + "scans\n" * 6, "half of the cells"),
    "nothing moves": (
        "show_animation(films, alt=ALT)\n_ = ipywidgets.interact",
        "show(films, alt=ALT)\n_ = print",
        "nothing moves",
    ),
    "open answer": ("# </details>", "# end", "does not end with an empty line"),
    "answer": ("</summary>", "", "an answer that is not"),
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
    legend = {"data": {"text/plain": "<matplotlib.legend.Legend at 0x7f32>"}, "metadata": {}}
    assert "an object" in lint_outputs(_executed(output_type="execute_result", **legend))[0]
    skipped = _executed()
    skipped.cells[0].execution_count = None
    assert "not executed" in lint_outputs(skipped)[0]

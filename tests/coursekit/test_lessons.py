import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import papermill
import psutil
import pytest

from coursekit import build as building
from coursekit import execute, kernels, ledger, links, report, source
from coursekit.execute import parse_parameters
from coursekit.kernels import clean_outputs
from coursekit.source import repository_root
from medlib.errors import LedgerError, RunError, UsageError

FIXTURE = Path(__file__).parent / "lessons_fixture"
LESSONS = sorted((Path(__file__).parents[2] / "lessons").glob("[0-9][0-9]_*.py"))
FAILS = """\
# %% tags=["parameters"]
seed = 0
# %%
print(1 / 0)
"""
SLOW = """\
# %% tags=["parameters"]
seed = 0
# %%
import numpy as np, os, pathlib, time
a = np.ones(25_000_000)
pathlib.Path(os.environ.get("LEFT", "left.txt")).write_text("a")
# %%
time.sleep(600)
"""
SEEDED = """\
# %% tags=["parameters"]
seed = 0
# %%
from coursekit import ledger
ledger.record("93/value", 0.5 + seed / 100, {"seed": seed}, limits=(0, 1))
ledger.record("93/count", 12, {"seed": seed})
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A course of one lesson, built."""
    root = tmp_path_factory.mktemp("course") / "course"
    shutil.copytree(FIXTURE, root)
    building.build(source.find(root))
    return root


@pytest.fixture
def course(built, tmp_path):
    """A copy of the built course, to spoil."""
    return Path(shutil.copytree(built, tmp_path / "course"))


def _add(course, name, source):
    (course / "lessons" / f"{name}.py").write_text(source)


def _notebook(course, folder="notebooks"):
    return nbformat.read(course / folder / "90_noise.ipynb", as_version=4)


def test_built_notebook_is_executed_and_says_nothing_volatile(course):
    notebook = _notebook(course)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert notebook.metadata.kernelspec.name == "python3"
    assert "version" not in notebook.metadata.language_info
    keys = {"tags", "jupyter", "cellView"}
    assert {key for cell in notebook.cells for key in cell.metadata} == keys
    assert ledger.records_in(notebook)["90/pixels"]["value"] == 1024
    (lesson,) = source.find(course)
    building.check([lesson])


def test_building_twice_gives_the_same_bytes(course):
    before = {path: path.read_bytes() for path in course.rglob("*.ipynb")}
    assert len(before) == 2
    building.build(source.find(course))
    assert {path: path.read_bytes() for path in course.rglob("*.ipynb")} == before


def test_a_kernel_that_is_killed_is_one_error_and_nothing_is_lost(course):
    before = _notebook(course)
    (lesson,) = source.find(course)
    kill = "print(noise.shape[1:])\nimport os\nos.kill(os.getpid(), 9)"
    lesson.path.write_text(lesson.path.read_text().replace("print(noise.shape[1:])", kill))
    with pytest.raises(RunError, match=r"90_noise.*kernel died.*memory"):
        building.build(source.find(course))
    assert _notebook(course) == before


def test_an_edit_changes_one_cell_id(course):
    (lesson,) = source.find(course)
    before = [cell["id"] for cell in lesson.read().cells]
    assert len(set(before)) == len(before)
    text = lesson.path.read_text()
    lesson.path.write_text(text.replace("print(noise.shape[1:])", "print(noise.shape)"))
    after = [cell["id"] for cell in lesson.read().cells]
    assert sum(a != b for a, b in zip(before, after, strict=True)) == 1


def test_plumbing_is_collapsed_in_every_front_end_and_keeps_its_output(course):
    cells = _notebook(course).cells
    hidden = [cell for cell in cells if "hide-input" in cell.metadata.get("tags", [])]
    assert [cell.metadata.tags[0] for cell in hidden] == ["install", "plumbing"]
    for cell in hidden:
        assert cell.metadata.jupyter.source_hidden
        assert cell.metadata.cellView == "form"
        assert cell.source.startswith("# @title")
    page = execute.execute_lessons(source.find(course)).with_name("90_noise.html").read_text()
    assert page.count('<details class="plumbing">') == 2


def test_links_between_lessons_lead_somewhere_from_everywhere(course):
    solved = "\n".join(cell.source for cell in _notebook(course, "notebooks/solutions").cells)
    assert "[again](../90_noise.ipynb)" in solved
    assert "[solutions](90_noise.ipynb)" in solved
    page = execute.execute_lessons(source.find(course)).with_name("90_noise.html").read_text()
    assert 'href="90_noise.html"' in page
    assert 'href="../../notebooks/solutions/90_noise.ipynb"' in page


def test_a_slider_leaves_a_sentence_where_no_kernel_is_alive(course):
    notebook = _notebook(course)
    assert "widgets" not in notebook.metadata
    (sliders,) = [cell for cell in notebook.cells if "interact(" in cell.source]
    film, slider = sliders.outputs
    assert set(film.data) == {"image/png", "text/plain"}
    assert "run this cell to move it" in slider.data["text/markdown"]
    assert "widget" not in str(slider)


def test_readers_get_stubs_and_the_solutions_solve_them(course):
    stub, solution = "return ...", "return deviation / n**0.5"
    handed_out, solved = (
        "\n".join(cell.source for cell in _notebook(course, folder).cells)
        for folder in ("notebooks", "notebooks/solutions")
    )
    assert stub in handed_out
    assert solution not in handed_out
    assert solution in solved
    assert stub not in solved
    states = [
        re.findall(r'"state": "(\w+)"', (course / folder / "90_noise.ipynb").read_text())
        for folder in ("notebooks", "notebooks/solutions")
    ]
    assert states == [["empty"] * 2, ["correct"] * 2]


def _edit_source(course):
    path = course / "lessons" / "90_noise.py"
    path.write_text(path.read_text().replace("Every scan is", "Each scan is"))


def _spoil(change):
    def spoil(course):
        notebook = _notebook(course)
        change(notebook)
        nbformat.write(notebook, course / "notebooks" / "90_noise.ipynb")

    return spoil


def _unexecute(notebook):
    notebook.cells[4].execution_count = None


def _plant_error(notebook):
    notebook.cells[4].outputs = [nbformat.v4.new_output("error", ename="a", evalue="b")]


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (_edit_source, "cell 4 is not what lessons/90_noise.py gives"),
        (_spoil(lambda notebook: notebook.cells.pop()), "cell 17 is not what"),
        (_spoil(_unexecute), "not executed"),
        (_spoil(_plant_error), "holds an error"),
        (lambda course: (course / "notebooks/90_noise.ipynb").unlink(), "not there"),
        (lambda course: (course / "notebooks/90_noise.ipynb").write_text("{"), "not a notebook"),
        (lambda course: (course / "notebooks/solutions/90_noise.ipynb").unlink(), "solutions"),
        (lambda course: (course / "notebooks/12_old.ipynb").write_text("{}"), "12_old"),
    ],
)
def test_check_names_the_notebook_and_what_to_do(course, spoil, found):
    spoil(course)
    with pytest.raises(RunError, match=re.escape(found)) as error:
        building.check(source.find(course))
    assert "course build 90" in str(error.value) or "remove it" in str(error.value)


def test_failed_build_keeps_the_old_notebook_and_goes_on(course):
    path = course / "lessons" / "90_noise.py"
    before = (course / "notebooks" / "90_noise.ipynb").read_bytes()
    path.write_text(path.read_text().replace("print(noise.shape[1:])", "print(1 / 0)"))
    _add(course, "93_seeded", SEEDED)
    with pytest.raises(RunError, match="90_noise.*ZeroDivisionError"):
        building.build(source.find(course))
    assert (course / "notebooks" / "90_noise.ipynb").read_bytes() == before
    assert (course / "notebooks" / "93_seeded.ipynb").is_file()


def test_log_lines_of_tensorflow_are_dropped_and_warnings_kept():
    noise = (
        "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\n"
        "I0000 00:00:1763870000.123456   12 port.cc:153] oneDNN custom operations are on.\n"
        "2026-11-23 03:00:00.123456: I tensorflow/core/platform/cpu_feature_guard.cc:210] This\n"
        "To enable the following instructions: AVX2, rebuild TensorFlow\n"
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1") for _ in range(2)])
    for cell, text in zip(notebook.cells, (noise, noise + "careful!\n"), strict=True):
        cell.outputs = [nbformat.v4.new_output("stream", name="stderr", text=text)]
    clean_outputs(notebook)
    assert notebook.cells[0].outputs == []
    assert notebook.cells[1].outputs[0].text == "careful!\n"


def test_notebook_copied_alone_into_an_empty_folder_runs(course, tmp_path, monkeypatch):
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(course / "notebooks" / "90_noise.ipynb", alone)
    monkeypatch.chdir(alone)
    papermill.execute_notebook(
        "90_noise.ipynb", "out.ipynb", parameters={"scans": 4}, progress_bar=False
    )
    records = ledger.records_in(nbformat.read("out.ipynb", as_version=4))
    assert records["90/error"]["value"] == pytest.approx(0.5, abs=0.05)
    assert sorted(os.listdir()) == ["90_noise.ipynb", "out.ipynb"]


def test_run_goes_on_after_failures_and_tells_all(course):
    _add(course, "91_fails", FAILS)
    _add(course, "92_slow", SLOW)
    states = set()
    with pytest.raises(RunError) as error:
        execute.execute_lessons(
            source.find(course),
            timeout=4,
            progress=lambda execution: states.add((execution.name, execution.status)),
        )
    message = str(error.value)
    assert "2 of 3 failed" in message
    assert "91_fails: cell 2: ZeroDivisionError: division by zero" in message
    assert "92_slow: a cell took longer than 4 s" in message
    assert ("90_noise", "done") in states
    (folder,) = (course / "runs").iterdir()
    assert (folder / "92_slow.files" / "left.txt").is_file()  # not where medlib was called
    assert not list(folder.rglob("*partial*"))
    page = (folder / "index.html").read_text()
    rows = dict(re.findall(r'<tr id="(\d\d)_\w+">(.*?)</tr>', page, re.S))
    assert rows.keys() == {"90", "91", "92"}
    assert "1024" in rows["90"]
    assert "division by zero" in rows["91"]
    (memory,) = re.findall(r"(\d+) MB", rows["92"])
    assert 200 < int(memory) < 500  # the kernel, about 60 MB, and the 200 MB array
    (cpu,), (seconds,) = (re.findall(rf">(\d+) {unit}", rows["92"]) for unit in ("CPU-s", "s<"))
    assert int(cpu) < 4 <= int(seconds)  # sleeping costs time and no processor
    lesson_page = (folder / "90_noise.html").read_text()
    assert 'alt="Noise of one scan' in lesson_page
    assert "No description has been provided" not in lesson_page


def test_processor_seconds_are_those_of_the_kernel_and_its_children(course):
    burn = "import time\nwhile time.process_time() < 1.5: pass\n"
    source_text = f"# %%\nimport subprocess, sys\n{burn}"
    source_text += f"# %%\nsubprocess.run([sys.executable, '-c', {burn!r}], check=True)\n"
    _add(course, "94_busy", source_text)
    (lesson,) = source.find(course, ["94"])
    execution = kernels.Execution(lesson, "busy")
    kernels.execute_all([execution], course / "runs")
    assert execution.status == "done"
    assert 2.9 <= execution.cpu_seconds < 6  # the system counts in hundredths of a second
    assert execution.cells_done == execution.cells == 2


def test_what_a_lesson_started_ends_with_it(course):
    start = "import subprocess, sys\nprint(subprocess.Popen(['sleep', '600']).pid)"
    _add(course, "94_leaves", f"# %%\n{start}\n")
    page = execute.execute_lessons(source.find(course, ["94"]))
    cell = nbformat.read(page.parent / "94_leaves.ipynb", as_version=4).cells[0]
    pid = int(cell.outputs[0].text)
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_pages_show_equations_and_need_no_network(course):
    path = course / "lessons" / "90_noise.py"
    equation = "# $$s = \\frac{\\sigma}{\\sqrt{n}}$$ where $n < 100$; `$5` is money.\n# "
    path.write_text(path.read_text().replace("# **In this", f"{equation}**In this"))
    page = execute.execute_lessons(source.find(course))
    text = (page.parent / "90_noise.html").read_text()
    for where in (text, page.read_text()):
        assert not re.search(r"<(script|img|iframe|link)\b[^>]*(src|href)=.?(https?:)?//", where)
        assert not re.search(r"import\s*\(?.?https?:|@import|url\(.?(https?:)?//", where)
        assert "mathjax" not in where.lower()
    assert re.search(
        r'<math[^>]*display="block".*?<mfrac><mrow><mi>σ</mi></mrow><mrow><msqrt>', text
    )
    assert re.search(r"<math[^>]*>.*?<mi>n</mi><mo>&lt;</mo><mn>100</mn>", text)
    assert "<code>$5</code>" in text


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_every_equation_of_a_lesson_becomes_mathml(path):
    cells = [cell.source for cell in source.Lesson(path).read().cells]
    for text in cells:
        page = report.markdown_with_mathml(text)
        for equation in re.findall(r"<math.*?</math>", page, flags=re.S):
            assert "\\" not in equation  # a command that was not understood


def test_errors_are_shown_as_text(course):
    _add(course, "91_fails", FAILS.replace("print(1 / 0)", "raise ValueError('<b>not bold</b>')"))
    with pytest.raises(RunError, match="<b>not bold</b>.*index.html"):
        execute.execute_lessons(source.find(course, ["91"]))
    (page,) = course.glob("runs/*/index.html")
    assert "&lt;b&gt;not bold&lt;/b&gt;" in page.read_text()


def test_make_clean_keeps_what_a_user_trained(course, repository):
    shutil.copy(repository / "Makefile", course)
    for name in ("first", "2026-01-31_mine", "2026-01-31_23-59-59", "2026-02-01_00-00-00"):
        (course / "runs" / name).mkdir(parents=True)
        (course / "runs" / name / "model.keras").touch()
    (course / "runs/2026-02-01_00-00-00/model.keras").rename(
        course / "runs/2026-02-01_00-00-00/index.html"
    )
    for report_of_training in ("2026-01-31_mine", "first"):
        (course / "runs" / report_of_training / "index.html").touch()
    (course / ".venv").mkdir()
    subprocess.run(["make", "clean"], cwd=course, check=True, capture_output=True)
    kept = ["2026-01-31_23-59-59", "2026-01-31_mine", "first"]
    assert sorted(os.listdir(course / "runs")) == kept
    assert not (course / ".venv").exists()
    assert (course / "lessons").is_dir()


def test_run_replaces_parameters_in_the_source(course):
    (course / "notebooks" / "90_noise.ipynb").unlink()
    page = execute.execute_lessons(source.find(course, ["90"]), parameters={"scans": 4})
    records = ledger.records_in(nbformat.read(page.parent / "90_noise.ipynb", as_version=4))
    assert records["90/error"]["parameters"] == {"scans": 4, "seed": 0}


def test_run_refuses_parameters_the_lesson_does_not_have(course):
    with pytest.raises(UsageError, match="scans=16, seed=0"):
        execute.execute_lessons(source.find(course), parameters={"epochs": 3})
    assert not (course / "runs").exists()


def test_parameters_are_literals_or_text_or_absolute_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "labels.csv").touch()
    (tmp_path / "simbrain").mkdir()
    (tmp_path / "scans").mkdir()
    given = ["a=1", "b=1e-3", "c=[1, 2]", "d=simbrain", "e=labels.csv", "f=None", "g=x=y"]
    given += ["h=scans", "i=./simbrain", "j=absent", "k="]
    assert parse_parameters(given) == {
        "a": 1, "b": 1e-3, "c": [1, 2], "d": "simbrain", "e": str(tmp_path / "labels.csv"),
        "f": None, "g": "x=y", "h": str(tmp_path / "scans"), "i": str(tmp_path / "simbrain"),
        "j": "absent", "k": "",
    }  # fmt: skip
    for wrong in ("a", "=1", "a b=1"):
        with pytest.raises(UsageError, match="name=value"):
            parse_parameters([wrong])


def test_lessons_are_found_by_number(course):
    for number in ("90", "90_noise"):
        assert [lesson.name for lesson in source.find(course, [number])] == ["90_noise"]
    for number in ("91", "90_other", "", "x"):
        with pytest.raises(UsageError, match="no such lesson"):
            source.find(course, [number])


def test_repository_is_found_from_below_and_from_the_package(course, tmp_path, repository):
    assert repository_root(course / "lessons") == course
    assert repository_root(tmp_path) == repository


def _medlib(*arguments, cwd):
    return subprocess.run(
        [sys.executable, "-m", "coursekit.cli", *arguments], cwd=cwd, capture_output=True, text=True
    )


def test_commands_end_with_one_message_and_the_right_exit_code(course):
    _edit_source(course)
    for arguments, code, found in (
        (["build", "--check"], 1, "course build 90"),
        (["run", "17"], 2, "no such lesson"),
        (["run", "90", "-p", "epochs=1"], 2, "scans=16"),
        (["calibrate", "90", "--seeds", "2"], 2, "greater than or equal to 3"),
        (["links", "nobody"], 2, "owner/name"),
    ):
        done = _medlib(*arguments, cwd=course)
        assert done.returncode == code, done.stderr
        assert found in done.stderr
        assert "Traceback" not in done.stderr
        assert done.stdout == ""


def test_calibration_writes_bands_that_hold(course, monkeypatch):
    _add(course, "93_seeded", SEEDED)
    (lesson,) = source.find(course, ["93"])
    bands = execute.calibrate(lesson, seeds=3)
    path = course / "results" / "ledger.json"
    assert ledger.bands(path) == bands
    assert bands["93/value"].mean == pytest.approx(0.51)
    assert bands["93/count"].exact
    assert bands["93/value"].seeds == [0, 1, 2]
    monkeypatch.setattr(ledger, "ledger_path", lambda: path)
    ledger.record("93/value", 0.5, {"seed": 9})
    with pytest.raises(LedgerError):
        ledger.record("93/count", 13, {"seed": 0})


def test_calibration_refuses_bands_that_could_not_fail_and_names_them_all(course):
    source_text = """\
# %% tags=["parameters"]
seed = 0
# %%
from coursekit import ledger
ledger.record("93/wide", seed / 2, {"seed": seed}, limits=(0, 1))
ledger.record("93/guessed", 0.5 + seed / 100, {"seed": seed}, limits=(0, 1), chance=0.5)
ledger.record("93/sound", 0.8 + seed / 1000, {"seed": seed}, limits=(0, 1), chance=0.5)
"""
    _add(course, "93_seeded", source_text)
    with pytest.raises(LedgerError) as error:
        execute.calibrate(source.find(course, ["93"])[0], seeds=3)
    assert "93/wide" in str(error.value)
    assert re.search(r"93/guessed: [^;]*chance level", str(error.value))
    assert "93/sound" not in str(error.value)
    assert not (course / "results").exists()


def test_calibration_that_fails_leaves_the_ledger(course, monkeypatch):
    def fail(executions, folder, **options):
        for execution in executions:
            execution.status = "done"
        executions[1].status, executions[1].error = "failed", "cell 2: ZeroDivisionError"

    monkeypatch.setattr(execute, "execute_all", fail)
    _add(course, "93_seeded", SEEDED)
    with pytest.raises(RunError, match="93_seeded-seed1: cell 2: ZeroDivisionError"):
        execute.calibrate(source.find(course, ["93"])[0], seeds=3)
    assert not (course / "results").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("command", ["run", "build"])
def test_interrupt_ends_the_kernels(course, command):
    for name in ("92_slow", "93_slow", "94_waits"):
        _add(course, name, SLOW)
    left = course / "left.txt"
    process = subprocess.Popen(
        [sys.executable, "-m", "coursekit.cli", command, "92", "93", "94"],
        cwd=course,
        env=os.environ | {"LEFT": str(left)},
        stderr=subprocess.PIPE,
        text=True,
        # a background job of a shell would ignore the signal
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    deadline = time.monotonic() + 30
    while not left.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    family = psutil.Process(process.pid).children(recursive=True)
    assert len(family) >= 1  # the kernel
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == 130
    assert stderr == "course: interrupted\n"
    assert psutil.wait_procs(family, timeout=5)[1] == []
    assert list(course.glob("runs/*/index.html")) or command == "build"
    assert not list(course.glob("notebooks/9[234]*"))


def _stamped_paths(text, repository):
    binder = re.findall(rf"mybinder.org/v2/gh/{repository}/main\?urlpath=lab/tree/([^)\s]+)", text)
    colab = re.findall(rf"google.com/github/{repository}/blob/main/([^)\s]+)", text)
    assert len(re.findall(rf"{repository}(?!@)", text)) == len(binder) + len(colab)
    return binder + colab


def test_links_are_stamped_without_executing_and_point_at_files(course):
    outputs = [cell.get("outputs") for cell in _notebook(course).cells]
    links.stamp(course, "a-teacher/course.v2")
    assert [cell.get("outputs") for cell in _notebook(course).cells] == outputs
    for path in (course / "README.md", *course.rglob("*.ipynb")):
        text = path.read_text().replace("\\n", "\n").replace(".git", "")
        found = _stamped_paths(text.replace("name@main", ""), "a-teacher/course.v2")
        assert len(found) == 2
        assert all((course / target).is_file() for target in found)
    install = [c.source for c in _notebook(course).cells if "install" in c.metadata.get("tags", [])]
    assert "git+https://github.com/a-teacher/course.v2@main" in install[0]
    building.check(source.find(course))
    assert links.stamp(course, "a-teacher/course.v2") == []
    links.stamp(course, "other/name")
    assert not any("a-teacher" in path.read_text() for path in course.rglob("*.ipynb"))
    assert "a-teacher" not in (course / "README.md").read_text()


@pytest.mark.parametrize("name", ["", "name", "a/b/c", "a b/c", "-a/b", "a/", "https://a.org/b"])
def test_links_want_owner_and_name(course, name):
    with pytest.raises(UsageError, match="owner/name"):
        links.stamp(course, name)


def test_links_need_a_place_and_change_nothing_without_it(course):
    (course / "README.md").write_text("nothing here")
    before = (course / "pyproject.toml").read_text()
    with pytest.raises(RunError, match=r"README.md.*<!-- links -->"):
        links.stamp(course, "owner/name")
    assert (course / "pyproject.toml").read_text() == before


def test_stamped_links_of_this_repository_point_at_files(repository, tmp_path):
    """Stamp a copy: this checkout's own setting may be empty."""
    root = tmp_path / "copy"
    for name in ("lessons", "notebooks"):
        shutil.copytree(repository / name, root / name)
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(repository / name, root)
    links.stamp(root, "owner/name")
    for path in (root / "README.md", *(root / "notebooks").rglob("*.ipynb")):
        text = json.dumps(path.read_text())
        for target in re.findall(r"(?:lab/tree|blob/main)/([^)\s\\\"]+)", text):
            assert (repository / target).is_file(), f"{path.name} links to {target}"

"""The house rules that a reader of the package may rely on."""

import ast
import re
import subprocess
import sys
import time

# A module may import only modules that stand before it.
ORDER = [
    "errors",
    "files",
    "progress",
    "simulation",
    "preprocessing",
    "datasets",
    "models",
    "evaluation",
    "tasks",
    "callbacks",
    "training",
    "plotting",
    "report",
    "runs",
    "console",
    "cli",
]


def _modules(repository):
    for path in sorted((repository / "medlib").rglob("*.py")):
        part = path.relative_to(repository / "medlib").parts[0].removesuffix(".py")
        yield path, part


def _imported_parts(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("medlib"):
            names = node.module.split(".")
            yield from [names[1]] if len(names) > 1 else [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            yield from (
                alias.name.split(".")[1] for alias in node.names if alias.name.startswith("medlib.")
            )


def test_imports_point_upward_only(repository):
    wrong = []
    for path, part in _modules(repository):
        if part == "__init__":
            continue
        assert part in ORDER, f"{path.name}: give {part} a place in the order"
        for imported in _imported_parts(path):
            if imported in ORDER and ORDER.index(imported) > ORDER.index(part):
                wrong.append(f"{path.relative_to(repository)} imports {imported}")
    assert not wrong


def test_torch_is_never_imported(repository):
    for path, _ in _modules(repository):
        assert not re.search(r"^\s*(import|from) torch\b", path.read_text(), flags=re.M), path


def test_importing_medlib_is_quick_and_leaves_tensorflow_alone():
    code = (
        "import time; start = time.perf_counter(); import medlib; "
        "seconds = time.perf_counter() - start; import sys; "
        "print(seconds, 'tensorflow' in sys.modules or 'keras' in sys.modules)"
    )
    runs = [subprocess.check_output([sys.executable, "-c", code], text=True) for _ in range(3)]
    seconds = min(float(run.split()[0]) for run in runs)
    assert seconds < 0.3
    assert all(run.split()[1] == "False" for run in runs)


def test_help_appears_within_a_second():
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "medlib.cli", "--help"], capture_output=True, text=True
        )
        seconds.append(time.perf_counter() - start)
        assert done.returncode == 0
        for command in ("train", "evaluate", "predict", "data"):
            assert command in done.stdout
    assert min(seconds) < 1


def test_medlib_knows_nothing_of_the_course(repository):
    for path in sorted((repository / "medlib").rglob("*.py")):
        assert "coursekit" not in path.read_text(), path

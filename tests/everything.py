"""What `make test` runs, in order; goes on after a failure and ends with 1 if there was any."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

from PIL import Image

from coursekit import ledger
from medlib.simulation.cohort import simulate_cohort

ROOT = Path(__file__).resolve().parents[1]
COURSE = [sys.executable, "-m", "coursekit.cli"]
PYTEST = [sys.executable, "-m", "pytest", "-c", str(ROOT / "pyproject.toml")]
NBVAL = ["--nbval-lax", "--nbval-cell-timeout=300", "-p", "no:cacheprovider"]
# Two processes or notebooks at a time share two cores; a test file stays in one process.
TWO = ["-n", "2", "--dist", "loadfile"]
ONE_THREAD = os.environ | {"OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1"}
COUNT = re.compile(r"(\d+) (passed|failed|errors?|skipped|xfailed|xpassed)\b")

start = time.perf_counter()
counts, failures, table = Counter(), [], []


def step(name, command, *, show=True, **options):
    """Run a command, show what it prints, count what it proves."""
    began = time.perf_counter()
    print(f"\n===== {name}\n\n" * show, end="", flush=True)
    done = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
    )
    lines = []
    for line in done.stdout:
        lines.append(line)
        print(line * show, end="", flush=True)
    failed = done.wait() != 0
    print("".join(lines) if failed and not show else "", end="")
    summary = COUNT.findall(lines[-1]) if lines and "pytest" in command else []
    counts.update({kind: int(number) for number, kind in summary})
    counts["failed" if failed else "passed"] += not summary
    failures.extend([name] * failed)
    state = "FAILED" if failed else "ok"
    seconds = time.perf_counter() - began
    table.append(f"{seconds:6.0f} s  {name}: {state}")
    print(f"----- {name}: {state}, {seconds:.0f} s", flush=True)


def nbval(notebook):
    """Execute one notebook alone in an empty folder, and compare the cells marked for it."""
    with tempfile.TemporaryDirectory() as folder:
        command = [*PYTEST, *NBVAL, shutil.copy(notebook, folder)]
        name = f"nbval {notebook.relative_to(ROOT)}"
        step(name, command, show=False, cwd=folder, env=ONE_THREAD)


def other_parameters():
    """Two executions: real images where there are any, and a seed that no band rests on."""
    known = {seed for band in ledger.bands().values() for seed in band.seeds}
    other_seed = next(seed for seed in count() if seed not in known)
    test_data = Path(os.environ.get("MEDLIB_TEST_DATA", ROOT.parent / "shared" / "data"))
    folder = Path(os.environ.get("MEDLIB_DATA", test_data / "medmnist"))
    if (folder / "breastmnist.npz").is_file():
        os.environ["MEDLIB_DATA"] = str(folder)
        yield "08", ["-p", "dataset=breastmnist", "-p", "image_size=28"]
    else:
        yield "08", ["-p", "image_size=48", "-p", f"seed={other_seed}"]
    yield "07", ["-p", f"seed={other_seed}"]


def known_studies():
    """Studies whose data is here, and how many of their models are trained again."""
    yield "learning_curve", "2"
    yield "transformer", "1"
    yield "stacks", "1"
    yield "synthetic", "1"
    yield "architectures", "1"
    yield "degradation", "1"
    yield "transfer", "1"
    yield "segmentation", "1"
    yield "detection", "1"
    if os.environ.get("MEDLIB_DATA"):
        yield "public_benchmark", "1"
        yield "tuning", "1"


def own_folder(folder):
    """Two sub-folders of pictures, as a reader may have them; the parameters that name them."""
    cohort = simulate_cohort(60, slices_per_subject=1, image_size=32, workers=1)
    for row, (image, mask) in enumerate(zip(cohort.images, cohort.masks, strict=True)):
        path = Path(folder, "tumour" if mask.any() else "normal", f"{row:02d}.png")
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(path)
    return ["-p", f"dataset={folder}", "-p", "image_size=32", "-p", "steps=4"]


step("ruff check", [sys.executable, "-m", "ruff", "check", "."], cwd=ROOT)
step("ruff format", [sys.executable, "-m", "ruff", "format", "--check", "."], cwd=ROOT)
step("notebooks fit their sources", [*COURSE, "build", "--check"], cwd=ROOT)
step("unit tests", [*PYTEST, *TWO], cwd=ROOT, env=ONE_THREAD)
print("\n===== notebooks through nbval\n", flush=True)
with ThreadPoolExecutor(2) as pool:
    list(pool.map(nbval, sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))))
for lesson, parameters in other_parameters():
    step(f"lesson {lesson} {' '.join(parameters)}", [*COURSE, "run", lesson, *parameters], cwd=ROOT)
for study, n_records in known_studies():
    check = [*COURSE, "study", study, "--check", n_records]
    step(f"study {study}, {n_records} records again", check, cwd=ROOT)
with tempfile.TemporaryDirectory() as own:
    step("lesson 08 on a reader's folder", [*COURSE, "run", "08", *own_folder(own)], cwd=ROOT)

print("\n===== seconds of every step", *table, sep="\n")
print(*(f"FAILED {name}" for name in failures), sep="\n")
total = ", ".join(f"{number} {kind}" for kind, number in sorted(counts.items()))
print(f"===== {total} in {time.perf_counter() - start:.2f}s =====")
sys.exit(bool(failures))

"""Execute lessons with other parameters, several at a time, each in a process of its own."""

import ast
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from coursekit import ledger
from coursekit.build import TIMEOUT_SECONDS, kernel_environment
from coursekit.report import write_index
from coursekit.source import Lesson
from coursekit.worker import MARK
from medlib.errors import LedgerError, RunError, UsageError

SAMPLING_SECONDS = 0.2


@dataclass
class Execution:
    """One lesson being executed: what is asked, and what came of it.

    Parameters
    ----------
    lesson : Lesson
    parameters : dict
        Those that differ from the lesson's own.
    name : str
        Of the executed notebook, without ending.
    """

    lesson: Lesson
    parameters: dict
    name: str
    status: str = "waiting"  # waiting, running, done, failed
    error: str = ""
    cells_done: int = 0
    cells: int = 0
    seconds: float = 0.0
    peak_megabytes: float = 0.0
    records: dict = field(default_factory=dict)


def run(
    lessons: list[Lesson],
    *,
    parameters: dict | None = None,
    jobs: int = 2,
    timeout: int = TIMEOUT_SECONDS,
    progress: Callable[[Execution], None] = lambda execution: None,
) -> Path:
    """Execute lessons; go on after one that fails.

    Parameters
    ----------
    lessons : list of Lesson
    parameters : dict, optional
        Values for names in the lessons' parameters cells.
    jobs : int
        Lessons executed at a time; they share the processor cores.
    timeout : int
        Seconds a cell may take.
    progress : callable
        Called with an Execution whenever it has changed, from several threads.

    Returns
    -------
    Path
        ``runs/<time>/index.html``.

    Raises
    ------
    UsageError
        If a lesson has no such parameter, or the value is of another type than its default.
    RunError
        After the last lesson, naming the failed ones and their errors.
    """
    parameters = parameters or {}
    for lesson in lessons:
        _expect_parameters(lesson, parameters)
    executions = [Execution(lesson, parameters, lesson.name) for lesson in lessons]
    folder = _execute_all(executions, jobs=jobs, timeout=timeout, progress=progress)
    _expect_no_failures(executions, folder)
    return folder / "index.html"


def calibrate(
    lesson: Lesson,
    *,
    seeds: int = 5,
    jobs: int = 2,
    timeout: int = TIMEOUT_SECONDS,
    progress: Callable[[Execution], None] = lambda execution: None,
) -> dict[str, ledger.Band]:
    """Execute a lesson with several seeds and write the bands of its numbers into the ledger.

    Parameters
    ----------
    lesson : Lesson
    seeds : int
        Seeds 0, 1, ... are used; three or more.
    jobs, timeout, progress
        As in :func:`run`.

    Returns
    -------
    dict of str to Band

    Raises
    ------
    UsageError
        With fewer than three seeds, or a lesson without a parameter ``seed``.
    RunError
        If a run fails; LedgerError, if the runs recorded different things. The ledger stays then.
    """
    if seeds < 3:
        raise UsageError("--seeds", expected="3 or more", found=f"{seeds}")
    _expect_parameters(lesson, {"seed": 0})
    executions = [
        Execution(lesson, {"seed": seed}, f"{lesson.name}-seed{seed}") for seed in range(seeds)
    ]
    folder = _execute_all(
        executions, jobs=jobs, timeout=timeout, progress=progress, MEDLIB_CALIBRATE="1"
    )
    _expect_no_failures(executions, folder)
    first = executions[0].records
    for execution in executions[1:]:
        if execution.records.keys() != first.keys():
            raise LedgerError(
                lesson.name,
                expected="the same numbers recorded with every seed",
                found=", ".join(sorted(execution.records.keys() ^ first.keys())),
            )
    bands = {
        name: ledger.calibrate(
            [execution.records[name]["value"] for execution in executions],
            seeds=list(range(seeds)),
            parameters=content["parameters"],
            limits=content["limits"],
        )
        for name, content in first.items()
    }
    ledger.write_bands(lesson.number, bands, lesson.root / "results" / "ledger.json")
    return bands


def parse_parameters(assignments: list[str]) -> dict:
    """Turn ``["seed=1", "dataset=breastmnist"]`` into a dict; what is no Python literal is text.

    Parameters
    ----------
    assignments : list of str
        A path that exists is made absolute: a lesson does not run in the current folder.

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
            is_path = ("/" in text or text.endswith(".csv")) and Path(text).exists()
            parameters[name] = str(Path(text).resolve()) if is_path else text
    return parameters


def _expect_parameters(lesson: Lesson, parameters: dict) -> None:
    defaults = lesson.parameters()
    for name, value in parameters.items():
        if name not in defaults:
            known = ", ".join(f"{key}={default!r}" for key, default in defaults.items())
            raise UsageError(
                f"lesson {lesson.name} has no parameter {name!r}", expected=f"one of {known}"
            )
        default = defaults[name]
        wanted = (int, float) if isinstance(default, float) else type(default)
        if None not in (default, value) and not isinstance(value, wanted):
            raise UsageError(
                f"lesson {lesson.name}: {name}={value}",
                expected=f"a value like {default!r}",
                found=type(value).__name__,
            )


def _execute_all(executions, *, jobs, timeout, progress, **environment: str) -> Path:
    if jobs < 1 or timeout < 1:
        raise UsageError("--jobs and --timeout", expected="1 or more")
    folder = _new_folder(executions[0].lesson.root / "runs")
    threads = str(max(1, (os.cpu_count() or 1) // min(jobs, len(executions))))
    shared = {"OMP_NUM_THREADS": threads, "TF_NUM_INTRAOP_THREADS": threads}
    if os.environ.get("MEDLIB_DATA"):
        shared["MEDLIB_DATA"] = str(Path(os.environ["MEDLIB_DATA"]).resolve())
    environment = kernel_environment(**shared, **environment)
    processes: dict[str, subprocess.Popen] = {}
    lock = threading.Lock()

    def execute(execution):
        _execute(execution, folder, timeout, environment, processes, progress)
        with lock:
            write_index(executions, folder)
        progress(execution)

    write_index(executions, folder)
    pool = ThreadPoolExecutor(jobs)
    try:
        for future in as_completed([pool.submit(execute, execution) for execution in executions]):
            future.result()
    finally:  # also after Ctrl-C: nothing started here stays behind
        pool.shutdown(wait=False, cancel_futures=True)
        for process in list(processes.values()):
            _kill(process)
        pool.shutdown()
    return folder


def _execute(execution, folder, timeout, environment, processes, progress) -> None:
    execution.status = "running"
    progress(execution)
    start = time.perf_counter()
    work = folder / f"{execution.name}.files"
    work.mkdir()
    task = {
        "source": str(execution.lesson.path),
        "name": execution.name,
        "folder": str(folder),
        "work": str(work),
        "parameters": execution.parameters,
        "timeout": timeout,
    }
    result = None
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "coursekit.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=environment,
            text=True,
            start_new_session=True,  # Ctrl-C comes to us alone; we end the kernels
        )
        processes[execution.name] = process
        sampler = threading.Thread(target=_watch_memory, args=(process, execution), daemon=True)
        sampler.start()
        process.stdin.write(json.dumps(task))
        process.stdin.close()
        for line in process.stdout:
            if line.startswith(f"{MARK}cell "):
                execution.cells_done, execution.cells = map(int, line.split()[2:])
                progress(execution)
            elif line.startswith(f"{MARK}result "):
                result = json.loads(line.removeprefix(f"{MARK}result "))
        process.wait()
        sampler.join()
        log.seek(0)
        last_words = log.read().decode(errors="replace").strip().splitlines()[-1:]
    execution.seconds = time.perf_counter() - start
    execution.error = result["error"] if result else f"ended early: {' '.join(last_words)}"
    execution.status = "failed" if execution.error else "done"
    execution.records = _records(folder / f"{execution.name}.ipynb")
    if not any(work.iterdir()):
        work.rmdir()


def _watch_memory(process: subprocess.Popen, execution: Execution) -> None:
    """Keep the most memory that the kernel (the child of the worker) and its children held."""
    import psutil

    worker = psutil.Process(process.pid)
    while process.poll() is None:
        together = 0.0
        try:
            for child in worker.children(recursive=True):
                together += child.memory_info().rss / 1e6
                peak = _high_water_mark_megabytes(child.pid)
                execution.peak_megabytes = max(execution.peak_megabytes, peak)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            pass
        execution.peak_megabytes = max(execution.peak_megabytes, together)
        time.sleep(SAMPLING_SECONDS)


def _high_water_mark_megabytes(pid: int) -> float:
    """Return the peak resident memory that Linux keeps of a process; elsewhere 0."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    lines = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(lines[0].split()[1]) * 1024 / 1e6 if lines else 0.0


def _kill(process: subprocess.Popen) -> None:
    import psutil

    if process.poll() is not None:
        return
    try:
        worker = psutil.Process(process.pid)
        family = [*worker.children(recursive=True), worker]
    except psutil.NoSuchProcess:
        return
    for member in family:
        try:
            member.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(family, timeout=5)


def _records(path: Path) -> dict:
    import nbformat

    try:
        return ledger.records_in(nbformat.read(path, as_version=4))
    except (OSError, ValueError):
        return {}


def _new_folder(runs: Path) -> Path:
    """Return a new folder named by the time; two runs in one second get two folders."""
    stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    for suffix in ("", *(f"_{count}" for count in range(2, 100))):
        folder = runs / f"{stamp}{suffix}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise RunError(str(folder), expected="a folder to write to", found=str(error)) from None
        return folder
    raise RunError(str(runs), expected="a name that is not taken")


def _expect_no_failures(executions: list[Execution], folder: Path) -> None:
    failed = [execution for execution in executions if execution.status != "done"]
    if failed:
        names = "\n".join(f"{execution.name}: {execution.error}" for execution in failed)
        raise RunError(
            f"{len(failed)} of {len(executions)} failed:\n{names}\nPages: {folder / 'index.html'}"
        )

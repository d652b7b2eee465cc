"""Execute notebooks, some at a time, each in a kernel of its own: the one place that does so."""

import contextlib
import os
import re
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
import psutil
from nbformat.v4 import new_code_cell

from coursekit import ledger
from coursekit.source import METADATA, Lesson, tags
from medlib.errors import RunError

TIMEOUT_SECONDS = 300  # a cell
SAMPLING_SECONDS = 0.1  # a shorter peak of memory is not seen
WIDGET = "application/vnd.jupyter.widget-view+json"
NO_KERNEL = "*A slider stands here when the notebook is live: run this cell to move it.*"
# TensorFlow's C++ side writes these to the error stream before it can be told to be silent.
LOG_NOISE = re.compile(
    r"(?m)^(WARNING: All log messages before absl::InitializeLog|"
    r"[IWEF]\d{4} \d\d:\d\d|"
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+: [IWEF] |"
    r"To enable the following instructions:|"
    r"[ \t]*$).*\n?"
)


@dataclass(eq=False)
class Execution:
    """One notebook being executed: what is asked, and what came of it.

    Parameters
    ----------
    lesson : Lesson
    name : str
        Of what is made from it; no two that are executed together have the same.
    parameters : dict
        Values in place of those in the lesson's ``parameters`` cell.
    solved : bool
        With the exercises solved.
    environment : dict of str to str
        Further variables for the kernel.
    """

    lesson: Lesson
    name: str
    parameters: dict = field(default_factory=dict)
    solved: bool = False
    environment: dict[str, str] = field(default_factory=dict)
    status: str = "waiting"  # waiting, running, done, failed
    error: str = ""
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_megabytes: float = 0.0
    cells_done: int = 0
    _kernel: psutil.Process | None = None
    _family: set[psutil.Process] = field(default_factory=set)  # the kernel and what it started

    def __post_init__(self) -> None:
        self.notebook = self.lesson.read(solved=self.solved)
        if self.parameters:  # as papermill does
            lines = "\n".join(f"{name} = {value!r}" for name, value in self.parameters.items())
            injected = new_code_cell(lines, metadata={"tags": ["injected-parameters"]})
            cells = self.notebook.cells
            position = next(i for i, cell in enumerate(cells) if "parameters" in tags(cell))
            cells.insert(position + 1, injected)

    @property
    def cells(self) -> int:
        """Number of cells with code."""
        return sum(cell.cell_type == "code" for cell in self.notebook.cells)

    @property
    def records(self) -> dict[str, dict]:
        """What it has recorded; see :func:`coursekit.ledger.records_in`."""
        return ledger.records_in(self.notebook)

    def execute(
        self, folder: Path, environment: dict[str, str], *, timeout: int, progress: Callable
    ) -> None:
        """Execute; an error is kept in ``error``, and nothing that was started goes on.

        Parameters
        ----------
        folder : Path
            Where the kernel works.
        environment : dict of str to str
            Variables for the kernel, in addition to this process's own.
        timeout : int
            Seconds a cell may take.
        progress : callable
            Called with this object whenever it has changed.
        """
        from nbclient import NotebookClient
        from nbclient.exceptions import CellExecutionError, CellTimeoutError

        def started(**_) -> None:
            self._kernel = psutil.Process(client.km.provisioner.pid)

        def executed(**_) -> None:
            self.cells_done += 1
            self.measure()
            progress(self)

        client = NotebookClient(
            self.notebook,
            timeout=timeout,
            record_timing=False,
            coalesce_streams=True,
            resources={"metadata": {"path": str(folder)}},
            on_notebook_start=started,
            on_cell_executed=executed,
        )
        self.status = "running"
        progress(self)
        start = time.perf_counter()
        try:
            environment = os.environ | environment | self.environment
            client.execute(env=environment, stderr=subprocess.DEVNULL)
        except CellExecutionError as error:
            self.error = f"cell {client.code_cells_executed}: {error.ename}: {error.evalue}"
        except CellTimeoutError:
            self.error = f"a cell took longer than {timeout} s"
        except RuntimeError:  # nbclient's DeadKernelError, and kernels that die before they answer
            self.error = self.error or "the kernel died: it may have run out of memory"
        finally:
            self.kill()
        self.seconds = time.perf_counter() - start
        clean_outputs(self.notebook)
        self.status = "failed" if self.error else "done"
        progress(self)

    def measure(self) -> None:
        """Read the memory and the processor time of the kernel and of all that it started."""
        if self._kernel is None or self.status != "running":
            return
        with contextlib.suppress(psutil.Error):  # one has just ended
            family = [self._kernel, *self._kernel.children(recursive=True)]
            self._family.update(family)
            megabytes = sum(process.memory_info().rss for process in family) / 1e6
            # those of children that have ended are in children_user and children_system
            cpu_seconds = sum(sum(process.cpu_times()[:4]) for process in family)
            self.peak_megabytes = max(self.peak_megabytes, megabytes)
            self.cpu_seconds = max(self.cpu_seconds, cpu_seconds)

    def kill(self) -> None:
        """End the kernel and all that it started."""
        self.measure()
        for process in list(self._family):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


def execute_all(
    executions: list[Execution],
    folder: Path,
    *,
    jobs: int = 2,
    timeout: int = TIMEOUT_SECONDS,
    progress: Callable[[Execution], None] = lambda execution: None,
) -> None:
    """Execute notebooks; go on after one that fails; after Ctrl-C leave nothing running.

    Parameters
    ----------
    executions : list of Execution
        Are changed: their outputs, state and measurements.
    folder : Path
        Each works in ``folder/NAME.files``, which is removed if nothing was put there.
    jobs : int
        How many at a time; they share the processor cores.
    timeout : int
        Seconds a cell may take.
    progress : callable
        Called with an Execution whenever it has changed, from several threads.
    """
    threads = str(max(1, (os.cpu_count() or 1) // min(jobs, len(executions))))
    environment = {"OMP_NUM_THREADS": threads, "TF_NUM_INTRAOP_THREADS": threads}
    environment |= {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONHASHSEED": "0"}
    if os.environ.get("MEDLIB_DATA"):
        environment["MEDLIB_DATA"] = str(Path(os.environ["MEDLIB_DATA"]).resolve())

    def execute(execution: Execution) -> None:
        work = folder / f"{execution.name}.files"
        work.mkdir(parents=True)
        execution.execute(work, environment, timeout=timeout, progress=progress)
        with contextlib.suppress(OSError):  # what the lesson has written stays
            work.rmdir()

    # nbclient takes Ctrl-C for itself in the main thread, and fails on its own cleaning up
    pool = ThreadPoolExecutor(jobs)
    running = [pool.submit(execute, execution) for execution in executions]
    try:
        while wait(running, timeout=SAMPLING_SECONDS).not_done:
            for execution in executions:
                execution.measure()
    except KeyboardInterrupt:
        pool.shutdown(wait=False, cancel_futures=True)
        while not all(future.done() for future in running):
            for execution in executions:
                if execution.status == "running":
                    execution.error = "interrupted"
                    execution.kill()
            time.sleep(SAMPLING_SECONDS)
        raise
    for future in running:
        future.result()


def expect_no_failures(executions: list[Execution], advice: str = "") -> None:
    """Raise the RunError that names the failed executions and why, if there are any."""
    failed = [execution for execution in executions if execution.status != "done"]
    if failed:
        names = "\n".join(f"{execution.name}: {execution.error}" for execution in failed)
        raise RunError(f"{len(failed)} of {len(executions)} failed:\n{names}", advice=advice)


def clean_outputs(notebook) -> None:
    """Take out of an executed notebook what changes without meaning: logs, times, widgets."""
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            for output in cell.outputs:
                if output.get("name") == "stderr":
                    output.text = LOG_NOISE.sub("", output.text)
                if WIDGET in output.get("data", {}):  # dead without the kernel that made it
                    output.data = {"text/markdown": NO_KERNEL, "text/plain": NO_KERNEL}
            cell.outputs = [output for output in cell.outputs if output.get("text") != ""]

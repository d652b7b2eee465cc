"""A progress bar for every lesson in a terminal; elsewhere a line for every finished one."""

import contextlib
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def shown() -> Iterator[Callable]:
    """Give the function to call with an Execution that has changed.

    Yields
    ------
    callable
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console()
    bars = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("cells"),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    tasks = {}

    def update(execution) -> None:
        if execution.name not in tasks:
            tasks[execution.name] = bars.add_task(execution.name, total=None)
        bars.update(
            tasks[execution.name], completed=execution.cells_done, total=execution.cells or None
        )
        if execution.status in ("done", "failed"):
            bars.stop_task(tasks[execution.name])
            facts = f"{execution.seconds:.0f} s, {execution.peak_megabytes:.0f} MB"
            line = f"{execution.name}: {execution.status} ({facts})"
            console.print(line, highlight=False, soft_wrap=True)

    with bars:
        yield update

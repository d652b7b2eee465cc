"""A progress bar for every lesson in a terminal, and a line for every finished one."""

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
    from rich.progress import Progress

    console = Console()
    tasks = {}
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bars:

        def update(execution) -> None:
            name = execution.name
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=execution.cells)
            bars.update(tasks[name], completed=execution.cells_done)
            if execution.status in ("done", "failed"):
                bars.remove_task(tasks[name])
                facts = f"{execution.seconds:.0f} s, {execution.cpu_seconds:.0f} CPU-s, "
                facts += f"{execution.peak_megabytes:.0f} MB"
                line = f"{name}: {execution.status} ({facts})"
                console.print(line, highlight=False, soft_wrap=True)

        yield update

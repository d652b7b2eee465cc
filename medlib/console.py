"""What the commands show while they train and when they have measured."""

import contextlib
from collections.abc import Callable, Iterator

import pandas as pd
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table


@contextlib.contextmanager
def epochs() -> Iterator[Callable[[dict, int], None]]:
    """Show a bar over epochs on stderr, if that is a terminal.

    Yields
    ------
    callable
        To be called after each epoch with its row of the history and the number of epochs.
    """
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("epochs"),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task("starting", total=None)

        def on_epoch(row: dict, total: int) -> None:
            text = f"validation loss {row['validation_loss']:.3f}, AUC {row['validation_auc']:.3f}"
            progress.update(task, total=total, completed=row["epoch"], description=text)

        yield on_epoch


def print_metrics(metrics: pd.DataFrame, measured_on: str) -> None:
    """Print a table of metrics with their 95 % intervals on stdout.

    Parameters
    ----------
    metrics : DataFrame
        Columns ``metric``, ``value``, ``low``, ``high`` and ``n``.
    measured_on : str
        The images, for the line above.
    """
    print(f"{measured_on}, with 95 % intervals:")
    table = Table()
    table.add_column("metric")
    for name in ("value", "low", "high", "images"):
        table.add_column(name, justify="right")
    for row in metrics.itertuples():
        numbers = (f"{number:.3f}" for number in (row.value, row.low, row.high))
        table.add_row(row.metric, *numbers, str(row.n))
    Console().print(table)

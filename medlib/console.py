"""What the commands show while they train and when they have measured."""

import contextlib
from collections.abc import Callable, Iterator

import pandas as pd
from rich.console import Console
from rich.table import Table

from medlib.progress import progress_bar


@contextlib.contextmanager
def epochs() -> Iterator[Callable[[str, dict, int], None]]:
    """Show a bar over the epochs of each network on stderr, if that is a terminal.

    Yields
    ------
    callable
        To be called after each epoch with the name of the network, its row of the history and the
        number of epochs.
    """
    with progress_bar("training") as advance:

        def on_epoch(name: str, row: dict, total: int) -> None:
            text = ", ".join(f"{key} {value:.3f}" for key, value in row.items() if key != "epoch")
            title = f"{name}, epoch {row['epoch']} of {total}: {text}"
            advance(0, completed=row["epoch"], total=total, description=title)

        yield on_epoch


def print_table(table: pd.DataFrame, title: str) -> None:
    """Print a table of texts and numbers on stdout, its index as the first column."""
    print(title)
    shown = Table("")
    for name in table.columns:
        shown.add_column(name, justify="right")
    for name, row in table.iterrows():
        shown.add_row(str(name), *("" if pd.isna(value) else str(value) for value in row))
    Console(markup=False).print(shown)  # "[nan, nan]" is no markup

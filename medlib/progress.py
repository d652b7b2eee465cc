"""A bar for work that takes longer than two seconds."""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import Progress

SHOWN_AFTER_SECONDS = 2.0

Item = TypeVar("Item")


@contextlib.contextmanager
def progress_bar(title: str, total: float | None = None) -> Iterator[Callable[..., None]]:
    """Show a bar on stderr, where that is a terminal, once two seconds have passed.

    Parameters
    ----------
    title : str
    total : float, optional
        How much there is to do.

    Yields
    ------
    callable
        ``advance(amount=1, **changes)``, to be called after each piece of work; changes are those
        of :meth:`rich.progress.Progress.update`, such as ``total`` where it becomes known only now.
    """
    console = Console(stderr=True)
    start = time.monotonic()
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=total, visible=False)

        def advance(amount: float = 1, **changes) -> None:
            visible = time.monotonic() - start > SHOWN_AFTER_SECONDS
            bar.update(task, advance=amount, visible=visible, **changes)

        yield advance


def progress(items: Iterable[Item], total: int, title: str) -> Iterator[Item]:
    """Pass items on, and show how many of them there have been; see :func:`progress_bar`."""
    with progress_bar(title, total) as advance:
        for item in items:
            yield item
            advance()

"""Writing a file so that nobody ever sees half of it."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from medlib.errors import RunError


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``; what was written there takes its place at the end.

    A full disk, an error or a kill in between leaves the old file as it was.

    Parameters
    ----------
    path : str or Path
        The file to write or to replace. Its folder must exist.

    Yields
    ------
    Path
        Ends in the same suffix, because some writers look at it.
    """
    path = Path(path)
    partial = partial_path(path)
    try:
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise


@contextlib.contextmanager
def writing(path: str | Path) -> Iterator[Path]:
    """Write a file whole or not at all; RunError at once if it cannot be written."""
    with expect_writable(path), replacing(path) as partial:
        partial.touch()
        yield partial


@contextlib.contextmanager
def expect_writable(path: str | Path) -> Iterator[None]:
    """Turn what the system says against a file or folder of a run into a RunError."""
    try:
        yield
    except OSError as error:
        raise RunError(
            str(path),
            expected="a place that can be written",
            found=error.strerror or str(error),
            advice="Free some space or choose another folder; what was complete before still is",
        ) from error


def partial_path(path: Path) -> Path:
    """Return the temporary name this process uses while it writes ``path``."""
    return path.with_name(f".partial-{os.getpid()}-{path.name}")


def remove_partial(folder: Path) -> None:
    """Remove what killed processes left in a folder."""
    for leftover in folder.glob(".partial-*"):
        leftover.unlink(missing_ok=True)

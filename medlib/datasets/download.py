"""Fetch a published file: time-out, resume, hash check, and a clear word when it cannot be had.

pooch has the hash and the cache folder; its downloader starts from nothing after every interruption
and waits for a server that sends next to nothing, so that part is written out here.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medlib.errors import DownloadError

TIMEOUT_S = 20.0  # without an answer, or below SLOWEST_BYTES_PER_S
SLOWEST_BYTES_PER_S = 100
ATTEMPTS = 3  # in a row that bring nothing new
PAUSE_S = 1.0  # before the next attempt
CHUNK_BYTES = 1 << 18


class _Interrupted(Exception):
    """The transfer broke off; another attempt may go on from there."""


def cache_folder() -> Path:
    """Return the folder for files that were made or fetched here.

    ``MEDLIB_CACHE`` where it is set, else ``data/cache`` of the repository where medlib runs from
    a checkout, else the platform's cache folder for the user.

    Returns
    -------
    Path
        It need not exist.
    """
    if chosen := os.environ.get("MEDLIB_CACHE"):
        return Path(chosen).expanduser()
    repository = Path(__file__).resolve().parents[2]
    if (repository / "pyproject.toml").is_file() and (repository / "data").is_dir():
        return repository / "data" / "cache"
    import pooch

    return Path(pooch.os_cache("medlib"))


def fetch(address: str, target: Path, *, md5: str, largest_bytes: int, by_hand: str) -> Path:
    """Fetch a file unless it is there; an interrupted transfer goes on where it stopped.

    The bytes arrive in ``<target>.partial``, which is renamed once its hash is right: a file under
    the final name is always whole. A second process waits for the first.

    Parameters
    ----------
    address : str
    target : Path
    md5 : str
        The published hash.
    largest_bytes : int
        A longer file is refused before it fills the disk.
    by_hand : str
        How to get the file without this function; the advice of every error.

    Returns
    -------
    Path
        ``target``.

    Raises
    ------
    DownloadError
        If there is no network, the server refuses, stalls or breaks off again and again, or what
        it sent is not the published file.
    """
    partial = target.with_name(target.name + ".partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        while not target.exists():
            with _opened_alone(partial) as file:
                if target.exists() or not _is_at(file, partial):
                    continue  # another process finished, or gave up, while this one waited
                _fetch_into(file, partial, address, md5, largest_bytes, by_hand)
                if os.name == "nt":  # an open file cannot be renamed there
                    file.close()
                os.replace(partial, target)
    except OSError as error:
        raise DownloadError(
            str(target),
            expected="to be able to write it",
            found=error.strerror or str(error),
            advice="Free some space, or set MEDLIB_CACHE to a folder that can be written",
        ) from error
    return target


def _fetch_into(
    file, partial: Path, address: str, md5: str, largest_bytes: int, by_hand: str
) -> None:
    """Fill the open file; at the end its hash is right or it is gone."""
    import pooch

    resumed = file.seek(0, os.SEEK_END) > 0
    _transfer(file, address, largest_bytes, by_hand)
    found = pooch.file_hash(partial, alg="md5")
    if found != md5 and resumed:  # the first part may be of another file: once more from nothing
        file.truncate(0)
        _transfer(file, address, largest_bytes, by_hand)
        found = pooch.file_hash(partial, alg="md5")
    if found != md5:
        partial.unlink()
        raise DownloadError(
            address, expected=f"a file with MD5 {md5}", found=f"{found}; deleted", advice=by_hand
        )


def _transfer(file, address: str, largest_bytes: int, by_hand: str) -> None:
    """Append to the file until the server says that it is whole."""
    failures, most = 0, file.seek(0, os.SEEK_END)
    while True:
        try:
            return _attempt(file, address, largest_bytes, by_hand)
        except _Interrupted as interruption:
            file.flush()
            size = file.seek(0, os.SEEK_END)
            failures = 0 if size > most else failures + 1
            most = max(size, most)
            if failures >= ATTEMPTS:
                kept = f"; {size:,} bytes are kept and the next try goes on from there"
                raise DownloadError(
                    address,
                    expected="the file",
                    found=f"{interruption}{kept if size else ''}",
                    advice=by_hand,
                ) from interruption
            time.sleep(PAUSE_S)


def _attempt(file, address: str, largest_bytes: int, by_hand: str) -> None:
    """Ask for what is missing and append it; raise _Interrupted if another attempt may help."""
    import requests
    import urllib3

    start = file.seek(0, os.SEEK_END)
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    try:
        with requests.get(address, headers=headers, stream=True, timeout=TIMEOUT_S) as response:
            if response.status_code == 416:  # nothing after the part: it is whole, or not this file
                if response.headers.get("Content-Range") == f"bytes */{start}":
                    return
                file.truncate(0)
                raise _Interrupted("a server whose file is shorter than the part already here")
            if response.status_code >= 500 or response.status_code == 429:
                raise _Interrupted(f"a busy or broken server (HTTP {response.status_code})")
            if response.status_code not in (200, 206):
                found = f"HTTP {response.status_code} {response.reason}"
                raise DownloadError(address, expected="the file", found=found, advice=by_hand)
            if start and not _continues(response, start):
                start = 0
                file.truncate(0)
            length = response.headers.get("Content-Length", "")
            total = start + int(length) if length.isdigit() else None
            _append(file, response, start, total, largest_bytes, by_hand)
    except (requests.exceptions.Timeout, urllib3.exceptions.TimeoutError) as error:
        raise _Interrupted(f"no answer within {TIMEOUT_S:g} s") from error
    except requests.exceptions.ConnectionError as error:
        raise _Interrupted("no connection: this machine may be offline") from error
    except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError) as error:
        size = file.seek(0, os.SEEK_END)
        raise _Interrupted(f"a transfer that broke off after {size:,} bytes") from error


def _append(
    file, response, start: int, total: int | None, largest_bytes: int, by_hand: str
) -> None:
    if max(start, total or 0) > largest_bytes:
        found = f"{max(start, total or 0):,} bytes announced"
        raise _too_long(file, response.url, largest_bytes, found, by_hand)
    size, window_start, window_size = start, time.monotonic(), start
    with _progress(Path(file.name).stem, start, total) as advance:
        while chunk := response.raw.read1(CHUNK_BYTES):
            file.write(chunk)
            size += len(chunk)
            advance(len(chunk))
            if size > largest_bytes:
                raise _too_long(file, response.url, largest_bytes, "more", by_hand)
            seconds = time.monotonic() - window_start
            if seconds > TIMEOUT_S:
                if size - window_size < SLOWEST_BYTES_PER_S * seconds:
                    raise _Interrupted(f"a stalled server ({size - window_size} bytes in a while)")
                window_start, window_size = time.monotonic(), size
    file.flush()


def _too_long(file, address: str, largest_bytes: int, found: str, by_hand: str) -> DownloadError:
    file.truncate(0)
    expected = f"at most {largest_bytes:,} bytes"
    return DownloadError(address, expected=expected, found=found, advice=by_hand)


def _continues(response, start: int) -> bool:
    content_range = response.headers.get("Content-Range", "")
    return response.status_code == 206 and content_range.startswith(f"bytes {start}-")


@contextmanager
def _opened_alone(path: Path) -> Iterator:
    """Open for appending, and wait until no other process has it open this way."""
    with open(path, "ab") as file:
        try:
            import fcntl
        except ImportError:  # Windows has no flock; the hash still guards the result
            pass
        else:
            fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield file
        except DownloadError:
            if _is_at(file, path) and file.seek(0, os.SEEK_END) == 0:
                path.unlink()
            raise


def _is_at(file, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


@contextmanager
def _progress(title: str, start: int, total: int | None) -> Iterator:
    """Show a bar on a terminal, and nothing elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

    console = Console(stderr=True)
    columns = ("{task.description}", BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(title, total=total, completed=start)
        yield lambda count: progress.advance(task, count)

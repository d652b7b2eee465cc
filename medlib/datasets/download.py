"""Fetch a published file with pooch: time-out, retries, hash check, and a clear word on failure."""

import functools
import os
from pathlib import Path

from medlib.errors import DownloadError
from medlib.progress import progress_bar

TIMEOUT_S = 20.0  # without a byte
RETRIES = 2
CHUNK_BYTES = 1 << 18


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


def fetch(address: str, target: Path, *, md5: str, by_hand: str) -> Path:
    """Fetch a file unless it is there.

    The bytes arrive under a temporary name; a file under the final name is always whole.

    Parameters
    ----------
    address : str
    target : Path
    md5 : str
        The published hash.
    by_hand : str
        How to get the file without this function; the advice of every error.

    Returns
    -------
    Path
        ``target``.

    Raises
    ------
    DownloadError
        If there is no network, the server refuses, stalls or breaks off again and again, what it
        sent is not the published file, or the disk is full.
    """
    import pooch

    pooch.get_logger().setLevel("WARNING")
    source = pooch.create(
        path=target.parent,
        base_url="",
        registry={target.name: f"md5:{md5}"},
        urls={target.name: address},
        retry_if_failed=RETRIES,
    )
    try:
        with progress_bar(target.name) as advance:
            source.fetch(target.name, downloader=functools.partial(_receive, advance))
    except (OSError, ValueError) as error:  # of requests or the disk; of pooch, for a wrong hash
        found = f"{type(error).__name__} ({' '.join(str(error).split())})"
        expected = f"a file with MD5 {md5}"
        raise DownloadError(address, expected=expected, found=found, advice=by_hand) from error
    return target


def _receive(advance, address: str, path: str, _) -> None:
    """Write what a server sends, and show how much has arrived."""
    import requests

    with requests.get(address, stream=True, timeout=TIMEOUT_S) as answer, open(path, "wb") as file:
        answer.raise_for_status()
        advance(0, total=int(answer.headers.get("content-length", 0)) or None)
        for chunk in answer.iter_content(CHUNK_BYTES):
            file.write(chunk)
            advance(len(chunk))

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


def fetch(address: str, target: Path, *, md5: str, largest_bytes: int, by_hand: str) -> Path:
    """Fetch a file unless it is there.

    The bytes arrive under a temporary name; a file under the final name is always whole.

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
    import pooch
    import requests

    pooch.get_logger().setLevel("WARNING")
    source = pooch.create(
        path=target.parent,
        base_url="",
        registry={target.name: f"md5:{md5}"},
        urls={target.name: address},
        retry_if_failed=RETRIES,
    )
    expected = f"at most {largest_bytes:,} bytes"
    too_long = DownloadError(address, expected=expected, found="more", advice=by_hand)
    try:
        with progress_bar(target.name) as advance:
            receive = functools.partial(_receive, advance, largest_bytes, too_long)
            source.fetch(target.name, downloader=receive)
    except requests.exceptions.RequestException as error:
        if error.response is not None:
            found = f"HTTP {error.response.status_code}"
        else:
            found = "no answer, or one that broke off: this machine may be offline"
        raise DownloadError(address, expected="the file", found=found, advice=by_hand) from error
    except ValueError as error:  # pooch's word for a wrong hash
        expected, found = f"a file with MD5 {md5}", "another; deleted"
        raise DownloadError(address, expected=expected, found=found, advice=by_hand) from error
    except OSError as error:
        raise DownloadError(
            str(target),
            expected="to be able to write it",
            found=error.strerror or str(error),
            advice="Free some space, or set MEDLIB_CACHE to a folder that can be written",
        ) from error
    return target


def _receive(advance, largest_bytes, too_long: DownloadError, address, path, _) -> None:
    """Write what a server sends, at most so much, and show how much has arrived."""
    import requests

    with requests.get(address, stream=True, timeout=TIMEOUT_S) as answer, open(path, "wb") as file:
        answer.raise_for_status()
        total = int(answer.headers.get("content-length", 0))
        advance(0, total=total or None)
        for chunk in answer.iter_content(CHUNK_BYTES):
            file.write(chunk)
            advance(len(chunk))
            if max(file.tell(), total) > largest_bytes:
                raise too_long

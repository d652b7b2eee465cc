"""Fetch a published file with pooch: time-out, retries, hash check, and a clear word on failure."""

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
            arrivals = _Arrivals(advance, largest_bytes, too_long)
            downloader = pooch.HTTPDownloader(arrivals, CHUNK_BYTES, timeout=TIMEOUT_S)
            source.fetch(target.name, downloader=downloader)
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


class _Arrivals:
    """What pooch tells of the bytes that arrive: shown, and refused when they are too many."""

    def __init__(self, advance, largest_bytes: int, too_long: DownloadError):
        self.advance, self.largest_bytes, self.too_long = advance, largest_bytes, too_long

    def __setattr__(self, name: str, value) -> None:
        super().__setattr__(name, value)
        if name == "total":  # pooch sets it when an attempt begins
            self.arrived = 0
            self.advance(0, total=value or None)

    def update(self, count: int) -> None:
        self.arrived += count
        self.advance(count)
        if max(self.arrived - CHUNK_BYTES, self.total) > self.largest_bytes:
            raise self.too_long

    def reset(self) -> None:
        self.arrived = 0

    def close(self) -> None:
        pass

import contextlib
import hashlib
import http.server
import socket
import threading
import time
from functools import partial

import pytest

from medlib.datasets import download
from medlib.errors import DownloadError

CONTENT = bytes(range(256)) * 2000  # 512 kB
MD5 = hashlib.md5(CONTENT).hexdigest()
BY_HAND = "Place it by hand"


class Misbehaving(http.server.BaseHTTPRequestHandler):
    """A server whose next answers are listed in ``server.script``; then it serves."""

    def do_GET(self):
        self.server.requests += 1
        script = self.server.script
        getattr(self, script.pop(0) if script else "serve")()

    def serve(self, content=CONTENT, length=None, cut=None):
        self.send_response(200)
        self.send_header("Content-Length", str(length or len(content)))
        self.end_headers()
        self.wfile.write(content[:cut])

    def no_length(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(CONTENT)

    def cut_off(self):
        self.serve(cut=100_000)

    def cut_off_at_once(self):
        self.serve(cut=0)

    def close(self):
        pass

    def stall(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[:1000])
        self.server.released.wait(30)

    def silence(self):
        self.server.released.wait(30)

    def other_bytes(self):
        self.serve(content=CONTENT[::-1])

    def too_short(self):
        self.serve(content=CONTENT[:300_000])

    def length_too_small(self):
        self.serve(length=1000)

    def status(self, code):
        self.send_error(code)

    missing = partial(status, code=404)
    broken = partial(status, code=500)

    def __getattribute__(self, name):
        value = super().__getattribute__(name)
        return partial(value, self) if isinstance(value, partial) and not value.args else value

    def log_message(self, *args):
        pass

    def handle(self):
        with contextlib.suppress(ConnectionError):  # the client had enough
            super().handle()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT_S", 0.5)
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # pooch waits between its attempts
    for variable in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(variable, "127.0.0.1")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Misbehaving)
    server.script, server.requests, server.released = [], 0, threading.Event()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.released.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def fetch(server, tmp_path):
    def fetch(*script, md5=MD5, path="set.npz?download=1"):
        server.script[:] = script
        return download.fetch(
            f"http://127.0.0.1:{server.server_port}/{path}",
            tmp_path / "cache" / "set.npz",
            md5=md5,
            by_hand=BY_HAND,
        )

    return fetch


def left(tmp_path):
    return sorted(path.name for path in (tmp_path / "cache").iterdir())


def test_serves(fetch, server, tmp_path):
    assert fetch().read_bytes() == CONTENT
    assert left(tmp_path) == ["set.npz"]
    assert fetch("missing").read_bytes() == CONTENT  # the second time nobody is asked
    assert server.requests == 1


@pytest.mark.parametrize(
    "script",
    [
        ("cut_off", "cut_off"),
        ("stall",),
        ("silence",),
        ("close", "close"),
        ("broken", "broken"),
        ("no_length",),
        ("cut_off", "broken"),
    ],
    ids=lambda script: "+".join(script),
)
def test_a_passing_trouble_does_not_matter(fetch, tmp_path, script):
    assert fetch(*script).read_bytes() == CONTENT
    assert left(tmp_path) == ["set.npz"]


@pytest.mark.parametrize(
    ("script", "named"),
    [
        (["stall"] * 9, "timed out"),
        (["silence"] * 9, "timed out"),
        (["broken"] * 9, "500 Server Error"),
        (["close"] * 9, "ConnectionError"),
        (["cut_off_at_once"] * 9, "IncompleteRead"),
        (["missing"] * 9, "404 Client Error"),
        (["other_bytes"] * 9, f"expected a file with MD5 {MD5}.*does not match"),
        (["too_short"] * 9, f"expected a file with MD5 {MD5}.*does not match"),
        (["length_too_small"] * 9, f"expected a file with MD5 {MD5}.*does not match"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_gives_up_with_the_address_and_what_to_do(fetch, server, tmp_path, script, named):
    start = time.monotonic()
    with pytest.raises(DownloadError, match=named) as caught:
        fetch(*script)
    assert time.monotonic() - start < 5
    assert f"http://127.0.0.1:{server.server_port}/set.npz" in str(caught.value)
    assert BY_HAND in str(caught.value)
    assert left(tmp_path) == []
    assert fetch().read_bytes() == CONTENT  # nothing stands in the way of the next try


def test_no_network(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(DownloadError, match="Connection refused.*Place it by hand"):
        download.fetch(
            f"http://127.0.0.1:{port}/set.npz",
            tmp_path / "set.npz",
            md5=MD5,
            by_hand=BY_HAND,
        )
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_cannot_be_written(fetch, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder belongs")
    with pytest.raises(DownloadError, match="File exists|Not a directory"):
        fetch()


def test_a_full_disk_leaves_nothing_half_written(fetch, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("shutil.move", full)
        with pytest.raises(DownloadError, match="No space left on device"):
            fetch()
    assert left(tmp_path) == []
    assert fetch().read_bytes() == CONTENT


def test_two_at_once_give_one_file(fetch, server, tmp_path):
    results = []
    threads = [threading.Thread(target=lambda: results.append(fetch())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [path.read_bytes() == CONTENT for path in results] == [True] * 4
    assert left(tmp_path) == ["set.npz"]


def test_says_nothing_where_there_is_no_terminal(fetch, capfd):
    fetch("cut_off")
    assert capfd.readouterr() == ("", "")


def test_the_cache_is_where_the_user_says(monkeypatch, tmp_path, repository):
    monkeypatch.setenv("MEDLIB_CACHE", str(tmp_path))
    assert download.cache_folder() == tmp_path
    monkeypatch.delenv("MEDLIB_CACHE")
    assert download.cache_folder() == repository / "data" / "cache"

import subprocess
import sys

import numpy as np
import pytest

from medlib import cli
from medlib.datasets import download, names, registry
from medlib.errors import DownloadError


@pytest.fixture
def medlib(monkeypatch, capsys, tmp_path):
    """Run the command; give back exit code, standard output and standard error."""
    monkeypatch.setenv("MEDLIB_CACHE", str(tmp_path / "cache"))

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["medlib", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return ended.value.code or 0, captured.out, captured.err

    return run


def test_list_names_every_set_and_where_it_is(medlib, tmp_path, monkeypatch):
    monkeypatch.setenv("MEDLIB_DATA", str(tmp_path))
    (tmp_path / "breastmnist_64.npz").touch()
    (tmp_path / "breastmnist_224.npz").touch()
    code, out, _ = medlib("data", "list")
    rows = {line.split()[0]: line for line in out.splitlines()[1:]}
    assert code == 0
    assert tuple(rows) == names()
    assert rows["simbrain"].endswith("always")
    assert rows["breastmnist"].endswith("CC BY 4.0  64, 224 px")
    assert rows["pathmnist"].endswith("no")
    assert "546/78/156" in rows["breastmnist"]


def test_info_gives_address_hash_licence_and_card(medlib):
    code, out, _ = medlib("data", "info", "breastmnist")
    assert code == 0
    assert "https://zenodo.org/records/10519652/files/breastmnist_224.npz?download=1" in out
    assert "b56378a6eefa9fed602bb16d192d4c8b" in out
    assert "CC BY 4.0" in out
    assert registry.info("breastmnist").card in out


def test_an_unknown_name_is_wrong_use(medlib):
    for command in ("info", "fetch"):
        code, out, error = medlib("data", command, "brainmnist")
        assert (code, out) == (2, "")
        assert error.startswith("medlib: data set: expected one of simbrain, breastmnist")
        assert error.count("\n") == 1


def test_fetch_prints_where_the_file_is(medlib, tmp_path, monkeypatch):
    def fetch(address, target, **facts):
        target.parent.mkdir(parents=True)
        np.savez(target, nothing=np.zeros(1))
        return target

    monkeypatch.setattr(download, "fetch", fetch)
    path = tmp_path / "cache" / "medmnist" / "bloodmnist_64.npz"
    for _ in range(2):  # the second time it is there
        code, out, _ = medlib("data", "fetch", "bloodmnist", "--image-size", "64")
        assert (code, out) == (0, f"{path}\n")


def test_fetch_offline_is_one_clear_message(medlib, monkeypatch):
    def fetch(address, target, *, by_hand, **facts):
        raise DownloadError(address, expected="the file", found="no connection", advice=by_hand)

    monkeypatch.setattr(download, "fetch", fetch)
    code, out, error = medlib("data", "fetch", "pathmnist")
    assert (code, out) == (1, "")
    assert "pathmnist.npz?download=1: expected the file, found no connection" in error
    assert "MEDLIB_DATA" in error


def test_fetch_of_a_size_that_is_not_published_is_wrong_use(medlib):
    code, _, error = medlib("data", "fetch", "pathmnist", "--image-size", "100")
    assert code == 2
    assert "one of 28, 64, 128, 224" in error


def test_there_is_nothing_to_fetch_for_a_set_that_is_made_here(medlib):
    code, out, _ = medlib("data", "fetch", "simbrain")
    assert code == 0
    assert "nothing to fetch" in out


def test_the_data_commands_leave_tensorflow_alone():
    code = (
        "import sys; from medlib import cli; sys.argv = ['medlib', 'data', 'list']\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0

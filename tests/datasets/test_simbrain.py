import multiprocessing
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest

from medlib.datasets import simbrain
from medlib.datasets.simbrain import load_simbrain
from medlib.errors import UsageError

SMALL = {"n_subjects": 24, "slices_per_subject": 2, "image_size": 32}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDLIB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def small(cache):
    return load_simbrain(**SMALL)


@pytest.fixture
def silent():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def same(a, b):
    return all(
        np.array_equal(a.splits[name].images, b.splits[name].images)
        and np.array_equal(a.splits[name].masks, b.splits[name].masks)
        and np.array_equal(a.splits[name].labels, b.splits[name].labels)
        and a.splits[name].table.equals(b.splits[name].table)
        for name in a.splits
    )


def only_file(cache):
    (path,) = cache.iterdir()
    return path


def test_data_set_has_what_every_data_set_has(small):
    assert small.class_names == ("normal", "tumour")
    assert small.channel_names == ("T1", "T2", "FLAIR")
    assert small.image_shape == (32, 32, 3)
    assert small.spacing_mm == (6.5, 6.5)
    assert "simulat" in small.card.lower()
    for split in small.splits.values():
        assert np.array_equal(split.masks.any(axis=(1, 2)), split.labels == 1)
        assert set(split.subjects) == set(split.table["subject"])
        assert {0, 1} == set(split.labels)


def test_stacks_have_depth(cache):
    stacks = load_simbrain(**SMALL, depth=3)
    assert stacks.image_shape == (3, 32, 32, 3)
    assert stacks.spacing_mm == (4.0, 6.5, 6.5)
    masks = stacks.train.masks.any(axis=(1, 2, 3))
    assert np.array_equal(masks, stacks.train.labels == 1)


def test_cached_and_fresh_are_the_same_bit_for_bit(small, cache, silent, monkeypatch):
    monkeypatch.setattr(simbrain, "simulate_cohort", None)  # the cache must do
    assert same(load_simbrain(**SMALL), small)


def test_other_parameters_are_another_file(small, cache):
    other = load_simbrain(**(SMALL | {"seed": 1}))
    assert len(list(cache.iterdir())) == 2
    assert not same(other, small)


def test_other_code_is_another_file(monkeypatch):
    before = simbrain.cache_path(SMALL)
    monkeypatch.setattr(simbrain, "simulation_version", lambda: "later")
    assert simbrain.cache_path(SMALL) != before


@pytest.mark.parametrize("damage", ["cut", "empty", "flip start", "flip middle", "flip end"])
def test_a_damaged_file_is_noticed_and_made_again(small, cache, damage):
    path = only_file(cache)
    whole = path.read_bytes()
    content = bytearray(whole)
    places = {"flip start": 3, "flip middle": len(content) // 2, "flip end": len(content) - 1}
    if damage in places:
        content[places[damage]] ^= 1
    else:
        content = content[: 0 if damage == "empty" else len(content) - 1000]
    path.write_bytes(content)
    with pytest.warns(UserWarning, match="damaged"):
        again = load_simbrain(**SMALL)
    assert same(again, small)
    assert only_file(cache).read_bytes() == whole


def test_every_flipped_byte_is_noticed(small, cache):
    path = only_file(cache)
    whole = path.read_bytes()
    for place in np.random.default_rng(0).integers(0, len(whole), 40):
        content = bytearray(whole)
        content[place] ^= 1 << int(place % 8)
        path.write_bytes(content)
        with pytest.warns(UserWarning, match="damaged"):
            assert simbrain._read(path) is None


def test_a_cache_folder_that_cannot_be_made_is_done_without(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("MEDLIB_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.warns(UserWarning, match="not cached") as warned:
        data = load_simbrain(**SMALL)
    assert len(warned) == 1
    assert len(data.train) > 0


def test_a_full_disk_leaves_no_partial_file(cache, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.warns(UserWarning, match="No space left"):
        load_simbrain(**SMALL)
    assert list(cache.iterdir()) == []


def _load_in_process(queue):
    data = load_simbrain(**SMALL)
    queue.put(float(data.train.images.sum(dtype=np.float64)))


def test_two_processes_at_once_give_one_whole_file(cache, silent):
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    processes = [context.Process(target=_load_in_process, args=(queue,)) for _ in range(2)]
    for process in processes:
        process.start()
    sums = [queue.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    assert sums[0] == sums[1]
    assert simbrain._read(only_file(cache)) is not None
    assert load_simbrain(**SMALL).train.images.sum(dtype=np.float64) == sums[0]


def test_workers_start_from_a_plain_script(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from medlib.datasets.simbrain import load_simbrain\n"
        "data = load_simbrain(n_subjects=60, slices_per_subject=1, image_size=32, workers=2)\n"
        "print(data.train.images.shape[1:])\n"
    )
    environment = os.environ | {"MEDLIB_CACHE": str(tmp_path)}
    finished = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, env=environment, timeout=120
    )
    assert finished.stdout == "(32, 32, 3)\n"
    assert finished.stderr == ""


@pytest.mark.parametrize("wrong", [{"n_subjects": 5}, {"image_size": 4}, {"depth": -1}])
def test_numbers_out_of_range_are_refused_by_name(cache, wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        load_simbrain(**wrong)
    assert not cache.exists()

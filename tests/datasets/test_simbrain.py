import multiprocessing
import os
import subprocess
import sys
import warnings
from pathlib import Path

import joblib
import numpy as np
import pytest

from medlib import simulation
from medlib.datasets import simbrain
from medlib.datasets.simbrain import load_simbrain, new_patients
from medlib.datasets.structure import image_hashes
from medlib.errors import UsageError
from medlib.preprocessing import boxes_from_mask

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


def same_split(a, b):
    return (
        np.array_equal(a.images, b.images)
        and np.array_equal(a.masks, b.masks)
        and np.array_equal(a.labels, b.labels)
        and all(map(np.array_equal, a.boxes, b.boxes))
        and a.table.equals(b.table)
    )


def same(a, b):
    return all(same_split(a.splits[name], b.splits[name]) for name in a.splits)


def only_file(cache):
    (path,) = cache.iterdir()
    return path


def test_data_set_has_what_every_data_set_has(small):
    assert small.class_names == ("normal", "tumour")
    assert small.channel_names == ("T1", "T2", "FLAIR")
    assert small.image_shape == (32, 32, 3)
    assert "simulat" in small.card.lower()
    for split in small.splits.values():
        assert np.array_equal(split.masks.any(axis=(1, 2)), split.labels == 1)
        assert set(split.subjects) == set(split.table["subject"])
        assert {0, 1} == set(split.labels)
        assert {0, 1} == set(np.unique(split.masks))
        assert (split.table[["row_spacing_mm", "column_spacing_mm"]] == 6.5).all(axis=None)


def test_boxes_hold_all_of_the_tumour_and_touch_it_on_every_side(small):
    for mask, boxes, label in zip(
        small.train.masks, small.train.boxes, small.train.labels, strict=True
    ):
        assert boxes.dtype == np.float32
        assert boxes.shape[1:] == (4,)
        assert (len(boxes) > 0) == (label == 1)
        covered = np.zeros_like(mask)
        for top, left, bottom, right in boxes.astype(int):
            part = mask[top:bottom, left:right]
            covered[top:bottom, left:right] = 1
            for edge in (part[0], part[-1], part[:, 0], part[:, -1]):
                assert edge.any()
        assert (mask <= covered).all()


def test_separate_lesions_have_separate_boxes():
    mask = np.zeros((8, 10), bool)
    mask[1:3, 1:4] = mask[3, 4] = True  # one lesion: the second part touches the first's corner
    mask[6, 8] = True
    assert boxes_from_mask(mask).tolist() == [[1, 1, 4, 5], [6, 8, 7, 9]]
    assert boxes_from_mask(~mask & False).shape == (0, 4)


def test_stacks_have_depth(cache):
    stacks = load_simbrain(**SMALL, depth=3)
    assert stacks.image_shape == (3, 32, 32, 3)
    masks = stacks.train.masks.any(axis=(1, 2, 3))
    assert np.array_equal(masks, stacks.train.labels == 1)
    for mask, boxes in zip(stacks.train.masks, stacks.train.boxes, strict=True):
        assert np.array_equal(boxes, boxes_from_mask(mask[1]))


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


def test_the_version_is_that_of_the_simulation_sources(tmp_path, monkeypatch):
    before = simbrain.simulation_version()
    folder = Path(simulation.__file__).parent
    for path in folder.glob("*.py"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(simulation, "__file__", str(tmp_path / "__init__.py"))
    assert simbrain.simulation_version.__wrapped__() == before
    with (tmp_path / "scanner.py").open("a") as file:
        file.write("\n")
    assert simbrain.simulation_version.__wrapped__() != before


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


@pytest.mark.filterwarnings("ignore")
def test_every_flipped_byte_is_noticed_or_harmless(small, cache, monkeypatch):
    path = only_file(cache)
    whole = path.read_bytes()
    known = joblib.load(path)
    made = object()
    monkeypatch.setattr(simbrain, "simulate_cohort", lambda **_: made)
    monkeypatch.setattr(joblib, "dump", lambda *_, **__: None)
    rng = np.random.default_rng(0)
    noticed = 0
    places = [*range(8), *rng.integers(0, len(whole), 60), *range(-8, 0)]
    for place in places:
        content = bytearray(whole)
        content[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(content)
        cohort = simbrain._cached_cohort(**SMALL, depth=None, seed=0)
        if cohort is made:
            noticed += 1
            continue
        # A few bits after the last of the data mean nothing, such as those that fill a byte.
        assert place < 0
        assert np.array_equal(cohort.images, known.images)
        assert np.array_equal(cohort.masks, known.masks)
        assert cohort.table.equals(known.table)
    assert noticed >= len(places) - 2


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
    assert only_file(cache).suffix == ".pkl"
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


NEW = {"n_subjects": 10, "slices_per_subject": 2, "image_size": 32}


@pytest.fixture
def patients(cache):
    return new_patients(0, **NEW)


def test_half_of_the_new_patients_have_a_tumour(patients):
    assert patients.images.shape == (20, 32, 32, 3)
    ill = patients.table.groupby("subject")["grade"].first() > 0
    assert ill.sum() == 5
    assert np.array_equal(patients.labels == 1, patients.table["grade"] > 0)
    assert patients.subjects[0] == "new-0-0000"
    assert np.array_equal(patients.subjects, patients.table["subject"])


def test_new_patients_are_in_no_cohort(patients, small):
    for seed in (0, 1):  # the one whose seed the patients share, and another
        known = load_simbrain(**(SMALL | {"seed": seed}))
        for split in known.splits.values():
            assert not np.isin(image_hashes(patients.images), image_hashes(split.images)).any()
            assert not np.isin(patients.table["age"], split.table["age"]).all()
            assert not np.isin(patients.subjects, split.subjects).any()


def test_new_patients_of_two_seeds_differ(patients):
    others = new_patients(1, **NEW)
    assert not np.isin(image_hashes(patients.images), image_hashes(others.images)).any()
    assert not np.isin(patients.subjects, others.subjects).any()


def test_random_numbers_of_new_patients_are_no_cohorts():
    """Not by chance of the seeds tried: the keys differ in length from every cohort's."""
    cohort = np.random.SeedSequence(5).spawn(2)
    new = np.random.SeedSequence(5, spawn_key=simbrain.NEW_PATIENTS).spawn(2)
    assert {len(seed.spawn_key) for seed in cohort} == {1}
    assert {len(seed.spawn_key) for seed in new} == {2}


def test_new_patients_are_cached(patients, silent, monkeypatch):
    monkeypatch.setattr(simbrain, "simulate_cohort", None)  # the cache must do
    assert same_split(new_patients(0, **NEW), patients)


def test_new_patients_with_numbers_out_of_range_are_refused_by_name(cache):
    with pytest.raises(UsageError, match="seed"):
        new_patients(-1)
    with pytest.raises(UsageError, match="image_size"):
        new_patients(0, image_size=8)

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coursekit import studies
from coursekit.experiments import classification as experiments
from medlib.errors import LedgerError, MedlibError, UsageError
from medlib.evaluation import statistics

PLAN = """
title = "A title"
question = "Which is better?"
[data]
name = "simbrain"
test_seed = 7
[grid]
model = ["classical", "cnn"]
n_train = [100, "all"]
seed = [0, 1, 2]
[training]
steps = 400
"""


@pytest.fixture
def folder(tmp_path):
    """A checkout's folder with one study of 12 records."""
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "trial.toml").write_text(PLAN)
    return tmp_path


@pytest.fixture
def plan(folder):
    return studies.read_plan(folder / "studies" / "trial.toml")


def fake(log: Path, *, seconds=0.0, killed="", fails=""):
    """An experiment without training, which leaves a file in ``log`` each time it is executed.

    The worker that executes the record ``killed`` for the first time is killed with SIGKILL.
    """

    def experiment(config):
        import os
        import signal
        import time
        import uuid

        import numpy as np

        key = "-".join(str(config[name]) for name in ("data", "model", "n_train", "seed"))
        before = list(log.glob(f"{key}~*"))
        (log / f"{key}~{uuid.uuid4().hex}").touch()
        time.sleep(seconds)
        if key == killed and not before:
            os.kill(os.getpid(), signal.SIGKILL)
        if key == fails:
            raise RuntimeError("no such weather")
        labels = np.arange(40) % 2
        generator = np.random.default_rng([config["seed"], len(config["model"])])
        scores = labels + generator.normal(size=40) / (1 + (config["model"] == "cnn"))
        return {
            "labels": labels,
            "subjects": np.array([f"p{i // 4}" for i in range(40)]),
            "scores": scores,
            "n_images": 100,
            "n_subjects": 25,
            "steps": 400,
        }

    log.mkdir(exist_ok=True)
    return experiment


def executions(log: Path) -> dict[str, int]:
    names = [path.name.partition("~")[0] for path in log.iterdir()]
    return {name: names.count(name) for name in set(names)}


def run(plan, log, **options):
    return studies.run_study(plan, experiment=fake(log, **options))


def whole(plan) -> dict:
    return json.loads(plan.result.read_text())


def test_every_combination_of_the_grid_is_one_record(plan):
    assert len(plan.configs) == 12
    assert plan.configs[0] == {
        "data": "simbrain",
        "test_seed": 7,
        "model": "classical",
        "n_train": 100,
        "seed": 0,
        "steps": 400,
        "batch_size": None,
    }
    assert [config["seed"] for config in plan.configs] == sorted([0, 1, 2] * 4)


ALL_STUDIES = sorted(path.stem for path in Path(__file__).parents[2].glob("studies/*.toml"))


@pytest.mark.parametrize("name", ALL_STUDIES)
def test_committed_plans_can_be_read(repository, name):
    plan = studies.read_plan(repository / "studies" / f"{name}.toml")
    n = len({studies._key(config) for config in plan.configs})
    assert n == len(plan.configs)
    assert n >= 30 or name == "breast_masks"  # whose one record is a cross-validation


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("steps = 400", "stepps = 400", "training.stepps"),
        ("[training]\nsteps = 400", "[trainig]\nsteps = 400", "trainig"),
        ("steps = 400", 'steps = "400"', "training.steps"),
        ("steps = 400", "steps = true", "training.steps"),
        ("steps = 400", "steps = 0", "training.steps"),
        ('"cnn"]', '"cnm"]', "grid.model.*cnn"),
        ("[data]", 'experiment = "alchemy"\n[data]', "experiment.*classification"),
        ('["classical", "cnn"]', '"cnn"', "grid.model.*a list"),
        ("[0, 1, 2]", "[]", "grid.seed.*a list"),
        ("[0, 1, 2]", "[0, 1, 1]", "grid.seed.*twice"),
        ("[0, 1, 2]", "[0, -1]", "grid.seed"),
        ("seed = [0, 1, 2]", "", "grid.seed"),
        ('[100, "all"]', '[100, "most"]', "grid.n_train"),
        ('"simbrain"', '"simbrian"', "data.name.*simbrain"),
        ("test_seed = 7", "", "data.test_seed"),
        ('title = "A title"', "", "title"),
        ("[grid]", '[grid]\ndata = ["simbrain"]', "data.name"),
        ("[grid]", "[grid]\ndata = 3", "data.name"),
        ('[data]\nname = "simbrain"', "[grid]\ndata = 3\n[data]", "TOML"),
        ("[data]", "[data", "TOML"),
    ],
)
def test_plan_with_a_mistake_names_file_and_key(folder, old, new, key):
    path = folder / "studies" / "trial.toml"
    assert old in PLAN
    path.write_text(PLAN.replace(old, new))
    with pytest.raises(UsageError, match=rf"(?s)trial\.toml.*{key}"):
        studies.read_plan(path)


def test_several_data_sets_each_with_its_own_test_patients(folder):
    path = folder / "studies" / "trial.toml"
    text = PLAN.replace('name = "simbrain"\n', "")
    for value in ("3", '["simbrian"]'):
        path.write_text(text.replace("[grid]", f"[grid]\ndata = {value}"))
        with pytest.raises(UsageError, match=r"trial\.toml: grid\.data"):
            studies.read_plan(path)
    path.write_text(text.replace("[grid]", '[grid]\ndata = ["simbrain", "breastmnist"]'))
    configs = studies.read_plan(path).configs
    assert {(config["data"], config["test_seed"]) for config in configs} == {
        ("simbrain", 7),
        ("breastmnist", None),
    }


def test_section_that_is_no_table_is_named(folder):
    path = folder / "studies" / "trial.toml"
    path.write_text("grid = 3\n" + PLAN.replace("[grid]", "[training]", 1).split("[training]")[0])
    with pytest.raises(UsageError, match=r"trial\.toml: grid"):
        studies.read_plan(path)


def test_plan_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match=r"nowhere\.toml"):
        studies.read_plan(tmp_path / "nowhere.toml")


def test_study_is_gathered_with_labels_once_and_a_line_a_record(plan, tmp_path, capsys):
    path = run(plan, tmp_path / "log")
    content = whole(plan)
    assert path == tmp_path / "results" / "studies" / "trial.json"
    assert [record["config"] for record in content["records"]] == plan.configs
    assert list(content["tests"]) == ["simbrain"]
    assert not plan.folder.exists()
    record = content["records"][0]
    assert {"python", "numpy", "keras", "tensorflow", "medlib"} <= set(record["versions"])
    assert all(score == round(score, 4) for score in record["scores"])
    assert "labels" not in record
    assert len(path.read_text().splitlines()) == 15  # two of the head, one a record, end
    assert "12/12" in capsys.readouterr().err


def test_finished_study_runs_nothing_and_stays_as_it_is(plan, tmp_path):
    before = run(plan, tmp_path / "log").read_bytes()
    assert run(plan, tmp_path / "again").read_bytes() == before
    assert executions(tmp_path / "again") == {}


def test_another_grid_runs_only_what_is_new(plan, folder, tmp_path):
    run(plan, tmp_path / "log")
    plan.path.write_text(PLAN.replace("[0, 1, 2]", "[0, 1, 2, 3]"))
    run(studies.read_plan(plan.path), tmp_path / "again")
    assert executions(tmp_path / "again") == {
        f"simbrain-{model}-{size}-3": 1 for model in ("classical", "cnn") for size in (100, "all")
    }


def test_record_of_another_configuration_is_named_and_run_again(plan, tmp_path, capsys):
    run(plan, tmp_path / "log")
    plan.path.write_text(PLAN.replace("steps = 400", "steps = 500"))
    run(studies.read_plan(plan.path), tmp_path / "again")
    assert len(executions(tmp_path / "again")) == 12
    assert "simbrain-cnn-all-2 had another configuration" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["half", "empty", "not finite", "scores missing"])
def test_damaged_record_is_named_and_run_again(plan, tmp_path, capsys, damage):
    with pytest.raises(MedlibError, match="simbrain-cnn-all-2.*no such weather"):
        run(plan, tmp_path / "log", fails="simbrain-cnn-all-2")
    sound = {path.stem for path in plan.folder.glob("[!.]*.json")}
    victim = plan.folder / f"{min(sound)}.json"
    text = victim.read_text()
    content = json.loads(text)
    record = content["records"][0]
    if damage == "not finite":
        record["scores"][3] = float("nan")
    elif damage == "scores missing":
        record["scores"].pop()
    cut = {"half": text[: len(text) // 2], "empty": ""}
    victim.write_text(cut.get(damage, json.dumps(content)))
    run(plan, tmp_path / "again")
    assert f"{victim.name}: " in capsys.readouterr().err.replace("\n", "")
    assert set(executions(tmp_path / "again")) == {
        studies._key(c) for c in plan.configs
    } - sound | {victim.stem}


def test_records_with_other_test_images_are_refused_and_kept(plan, tmp_path):
    with pytest.raises(MedlibError):
        run(plan, tmp_path / "log", fails="simbrain-cnn-all-2")
    victim = min(plan.folder.glob("[!.]*.json"))
    content = json.loads(victim.read_text())
    content["tests"]["simbrain"]["labels"][0] = 1
    victim.write_text(json.dumps(content))
    with pytest.raises(LedgerError, match="other test images"):
        run(plan, tmp_path / "again")
    assert victim.is_file()


def test_process_that_dies_is_one_error_and_finished_records_are_kept(plan, tmp_path):
    with pytest.raises(MedlibError, match="records are kept"):
        run(plan, tmp_path / "log", killed="simbrain-cnn-all-1", seconds=0.1)
    finished = {path.stem for path in plan.folder.glob("[!.]*.json")}
    assert finished
    run(plan, tmp_path / "log", seconds=0.1)
    assert all(executions(tmp_path / "log")[key] == 1 for key in finished)
    assert len(whole(plan)["records"]) == 12


def start_study(plan, log, scheduler=None, **options):
    """Run the study in a process of its own, with a process group of its own."""
    # A test run in the background of a shell ignores Ctrl-C, and hands that on.
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import signal\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from pathlib import Path\n"
        "import cloudpickle, test_studies\n"
        "cloudpickle.register_pickle_by_value(test_studies)\n"
        "from coursekit import studies\n"
        f"studies.run_study(studies.read_plan({str(plan.path)!r}), scheduler={scheduler!r},\n"
        f"    experiment=test_studies.fake(Path({str(log)!r}), **{options!r}))\n"
    )
    return subprocess.Popen([sys.executable, "-c", code], start_new_session=True)


def wait_for_records(plan, count, process, limit=60):
    end = time.monotonic() + limit
    while len(list(plan.folder.glob("[!.]*.json"))) < count:
        assert time.monotonic() < end, "no records"
        assert process.poll() is None, "the study has ended"
        time.sleep(0.02)


def test_killed_study_goes_on_with_what_is_missing(plan, tmp_path):
    log = tmp_path / "log"
    process = start_study(plan, log, seconds=0.4)
    wait_for_records(plan, 3, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    finished = {path.stem for path in plan.folder.glob("[!.]*.json")}
    assert 3 <= len(finished) < 12
    run(plan, log)
    assert len(whole(plan)["records"]) == 12
    assert all(executions(log)[key] == 1 for key in finished)


def test_interrupted_study_keeps_what_is_finished(plan, tmp_path):
    process = start_study(plan, tmp_path / "log", seconds=0.4)
    wait_for_records(plan, 3, process)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=30) != 0
    assert 3 <= len(list(plan.folder.glob("[!.]*.json"))) < 12


@pytest.fixture(scope="module")
def cluster():
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None
    ) as running:
        yield running


def test_cluster_loses_nothing_when_a_worker_is_killed(plan, tmp_path, cluster):
    log = tmp_path / "log"
    experiment = fake(log, seconds=0.3, killed="simbrain-cnn-100-1")
    studies.run_study(plan, experiment=experiment, scheduler=cluster.scheduler_address)
    assert len(whole(plan)["records"]) == 12
    assert executions(log)["simbrain-cnn-100-1"] == 2


def test_cluster_runs_nothing_twice_after_a_restart(plan, tmp_path, cluster):
    log = tmp_path / "log"
    process = start_study(
        plan, log, cluster.scheduler_address, seconds=0.5, killed="simbrain-cnn-100-0"
    )
    wait_for_records(plan, 4, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    finished = {path.stem for path in plan.folder.glob("[!.]*.json")}
    before = executions(log)
    assert 4 <= len(finished) < 12
    studies.run_study(plan, experiment=fake(log), scheduler=cluster.scheduler_address)
    assert len(whole(plan)["records"]) == 12
    assert {key: executions(log)[key] for key in finished} == {key: before[key] for key in finished}


def test_record_that_fails_on_a_cluster_is_named(plan, tmp_path, cluster):
    experiment = fake(tmp_path / "log", fails="simbrain-cnn-100-0")
    with pytest.raises(MedlibError, match="simbrain-cnn-100-0.*no such weather"):
        studies.run_study(plan, experiment=experiment, scheduler=cluster.scheduler_address)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nonsense", "carrier://pigeon"])
def test_scheduler_that_is_not_there_is_one_error_within_seconds(plan, tmp_path, address):
    pytest.importorskip("distributed")
    start = time.monotonic()
    with pytest.raises(UsageError, match=f"scheduler {address}.*running cluster"):
        studies.run_study(plan, experiment=fake(tmp_path / "log"), scheduler=address)
    assert time.monotonic() - start < 20


@pytest.mark.parametrize(
    "arguments",
    [["--backend", "dask"], ["--scheduler", "tcp://127.0.0.1:9"], ["--backend", "slurm"]],
)
def test_backend_and_scheduler_belong_together(arguments):
    from typer.testing import CliRunner

    from coursekit.cli import app

    result = CliRunner().invoke(app, ["study", "learning_curve", *arguments])
    assert isinstance(result.exception, UsageError)


def test_check_gives_equal_scores_on_one_machine(plan, tmp_path):
    run(plan, tmp_path / "log")
    lines = studies.check_study(plan, 2, experiment=fake(tmp_path / "again"))
    assert [line.split(": ")[1] for line in lines] == ["equal", "equal"]
    assert len(executions(tmp_path / "again")) == 2  # one of each model


def test_check_accepts_small_differences_and_refuses_large_ones(plan, tmp_path):
    run(plan, tmp_path / "log")
    exact = fake(tmp_path / "again")

    def changed(amount):
        def experiment(config):
            measured = exact(config)
            noise = np.random.default_rng(5).normal(size=40)
            return measured | {"scores": measured["scores"] + amount * noise}

        return experiment

    (line,) = studies.check_study(plan, experiment=changed(0.001))
    assert "correlation of scores 1.000" in line
    with pytest.raises(LedgerError, match="correlation"):
        studies.check_study(plan, experiment=changed(3.0))
    with pytest.raises(LedgerError, match="other steps"):
        studies.check_study(plan, experiment=lambda config: exact(config) | {"steps": 7})


def test_check_of_a_record_that_fails_names_it(plan, tmp_path):
    run(plan, tmp_path / "log")
    broken = fake(tmp_path / "again", fails="simbrain-classical-100-0")
    with pytest.raises(MedlibError, match="no such weather") as failure:
        studies.check_study(
            plan, 2, experiment=lambda config: broken(config | {"seed": 0, "n_train": 100})
        )
    assert "RuntimeError" in failure.value.__notes__[0]  # the worker's traceback, for --debug


def test_check_refuses_a_result_that_is_not_what_the_plan_says(plan, tmp_path):
    with pytest.raises(LedgerError, match="course study trial"):
        studies.check_study(plan, experiment=fake(tmp_path / "log"))
    run(plan, tmp_path / "log")
    plan.path.write_text(PLAN.replace("steps = 400", "steps = 500"))
    with pytest.raises(LedgerError, match="12 missing"):
        studies.check_study(studies.read_plan(plan.path), experiment=fake(tmp_path / "log"))


@pytest.fixture
def study(plan, tmp_path, monkeypatch):
    """The finished study, loaded as in a lesson."""
    run(plan, tmp_path / "log")
    (tmp_path / "coursekit").mkdir()
    monkeypatch.setattr(studies, "__file__", str(tmp_path / "coursekit" / "studies.py"))
    return studies.load_study("trial")


def test_loaded_study_has_seeds_by_images(study):
    assert set(study.scores) == {(m, s) for m in ("classical", "cnn") for s in (100, "all")}
    assert all(scores.shape == (3, 40) for scores in study.scores.values())
    assert study.labels.tolist() == [0, 1] * 20
    assert len(np.unique(study.subjects)) == 10
    assert list(study.records["seed"].unique()) == [0, 1, 2]
    assert (study.records["steps"] == 400).all()


def test_study_that_is_not_there_or_damaged(study, tmp_path):
    with pytest.raises(FileNotFoundError, match="trail"):
        studies.load_study("trail")
    with pytest.raises(KeyError, match="breastmnist"):
        studies.load_study("trial", "breastmnist")
    path = tmp_path / "results" / "studies" / "trial.json"
    path.write_text(path.read_text()[:-30])
    with pytest.raises(LedgerError, match=r"trial\.json.*damage"):
        studies.load_study("trial")


def test_without_a_repository_there_is_no_study(tmp_path, monkeypatch):
    monkeypatch.setattr(studies, "__file__", str(tmp_path / "coursekit" / "studies.py"))
    assert studies.load_study("trial") is None


def test_better_model_is_better_and_the_difference_is_antisymmetric(study):
    forth = studies.compare(study, "cnn", "classical", at="all")
    back = studies.compare(study, "classical", "cnn", at="all")
    assert forth.value > 0
    assert forth.value == pytest.approx(-back.value)
    rows = studies.table(study)
    assert list(rows["what"]) == ["classical", "cnn", "cnn - classical"] * 2
    mean = rows.set_index(["n_train", "what"])["value"]
    assert mean["all", "cnn"] - mean["all", "classical"] == pytest.approx(forth.value)


def test_a_table_may_show_another_measure_and_have_one_seed(study):
    def mean_of_ill(labels, scores):
        return scores[labels == 1].mean()

    one = replace(study, scores={which: scores[:1] for which, scores in study.scores.items()})
    for each in (study, one):
        rows = studies.table(each, mean_of_ill)
        expected = each.scores["cnn", "all"][:, study.labels == 1].mean()
        (found,) = rows[(rows["n_train"] == "all") & (rows["what"] == "cnn")].to_dict("records")
        assert found["value"] == pytest.approx(expected)
        assert found["low"] < expected < found["high"]


@given(
    sizes=st.lists(st.integers(1, 6), min_size=10, max_size=60),
    share=st.floats(0.2, 0.8),
    seed=st.integers(0, 100),
    few=st.integers(10, 20),
)
def test_chosen_images_are_of_whole_subjects_and_sizes_are_nested(sizes, share, seed, few):
    subjects = np.repeat([f"p{i}" for i in range(len(sizes))], sizes)
    labels = np.repeat((np.arange(len(sizes)) < share * len(sizes)).astype(int), sizes)
    few, many = min(few, len(labels)), min(2 * few, len(labels))

    def choose(n_images):
        return experiments.choose_images(subjects, labels, n_images, np.random.default_rng(seed))

    rows = choose(few)
    assert set(rows) <= set(choose(many))
    assert np.isin(subjects, subjects[rows]).sum() == len(rows)
    assert abs(len(rows) - few) <= 6
    chosen = {name: labels[subjects == name][0] for name in subjects[rows]}
    expected = share * len(chosen)
    assert abs(sum(chosen.values()) - expected) <= 3  # classes as in the whole


def test_more_images_than_there_are_is_refused():
    with pytest.raises(UsageError, match="at most 3"):
        experiments.choose_images(
            np.array(["a", "b", "c"]), np.array([0, 1, 1]), 4, np.random.default_rng(0)
        )


@dataclass
class Images:
    """What an experiment uses of a Split."""

    images: np.ndarray
    labels: np.ndarray
    subjects: np.ndarray
    masks: None = None
    boxes: None = None

    def __len__(self):
        return len(self.images)

    def take(self, rows):
        return Images(self.images[rows], self.labels[rows], self.subjects[rows])


def _split(n, seed=0):
    """Images of which those of class 1 are brighter."""
    labels = np.arange(n) % 2
    images = np.random.default_rng(seed).uniform(size=(n, 16, 16, 1)) * 0.4
    images = images + 0.3 * labels[:, None, None, None]
    return Images(images.astype(np.float32), labels, np.array([f"p{i}" for i in range(n)]))


def test_classical_model_is_trained_on_the_chosen_and_tested_on_all(monkeypatch):
    splits = _split(60), _split(20, seed=1), ("normal", "tumour")
    monkeypatch.setattr(experiments, "splits", lambda name, test_seed: splits)
    config = {"data": "simbrain", "test_seed": 1, "model": "classical", "n_train": 30, "seed": 3}
    measured = experiments.train_and_test(config | {"steps": 400, "batch_size": None})
    assert measured["n_images"] == measured["n_subjects"] == 30
    assert measured["steps"] is None
    assert statistics.area_under_curve(measured["labels"] == 1, measured["scores"]) > 0.9
    again = experiments.train_and_test(config | {"steps": 400, "batch_size": None})
    assert np.array_equal(measured["scores"], again["scores"])


def test_a_gan_sees_all_images_and_no_labels(monkeypatch):
    monkeypatch.setattr(experiments, "GAN_STEPS", 4)
    train = _split(64)
    relabelled = replace(train, labels=1 - train.labels)
    features = [experiments._discriminator(each, 4, seed=3)[0] for each in (train, relabelled)]
    found = [describe(train.images[:5]) for describe in features]
    assert found[0].shape[0] == 5
    assert np.array_equal(*found)
    untrained = experiments._discriminator(train, None, seed=3)[0](train.images[:5])
    assert not np.allclose(found[0], untrained)


def test_channels_are_small_grey_images_of_their_own():
    images = np.random.default_rng(0).uniform(size=(2, 64, 64, 3))
    grey = experiments._grey(images)
    assert grey.shape == (6, 32, 32, 1)
    assert grey[4, 5, 6, 0] == pytest.approx(images[1, 10:12, 12:14, 1].mean())

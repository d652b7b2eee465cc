"""Studies: experiments with many seeds, too long for a lesson, that claims rest on.

``studies/NAME.toml`` says what to compare. Every combination in its ``[grid]`` is one record: one
training and one test, made by a module of :mod:`coursekit.experiments` that the file names by
``experiment`` (``classification`` if it names none). ``course study NAME`` runs the records that
are missing and keeps each, as soon as it is there, in ``results/studies/NAME.records/``, beside the
file they become: no command cleans that folder up, so a study that is killed loses only what was
running. The last record gathers all of them into ``results/studies/NAME.json``.
"""

import importlib
import itertools
import json
import os
import pkgutil
import platform
import socket
import sys
import threading
import time
import tomllib
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path

import numpy as np
import pandas as pd

from coursekit import experiments
from medlib import files
from medlib.errors import LedgerError, MedlibError, UsageError
from medlib.evaluation import statistics
from medlib.progress import progress_bar

CONNECT_SECONDS = 5
AUC_TOLERANCE, LEAST_CORRELATION = 0.03, 0.95  # of a record run again on another machine
_TEST = ("labels", "subjects")
_MEASURED = (*_TEST, "scores", "n_images", "n_subjects", "steps")
_one_at_a_time = threading.Lock()


@dataclass(frozen=True)
class Plan:
    """What ``studies/NAME.toml`` says.

    Parameters
    ----------
    path : Path
    title, question : str
    configs : list of dict
        One a record: ``data``, ``test_seed``, ``model``, ``n_train``, ``seed``, ``steps``,
        ``batch_size``; None where the file says nothing. All of one seed come before the next.
    experiment : str
        Module of :mod:`coursekit.experiments` that makes a record.
    """

    path: Path
    title: str
    question: str
    configs: list[dict]
    experiment: str = "classification"

    @property
    def train_and_test(self) -> Callable[[dict], dict]:
        """What makes a record out of a configuration."""
        return _module(self.experiment).train_and_test

    @property
    def summary(self) -> tuple[str, Callable]:
        """What its table shows: a name, and a function of labels and the scores of a seed."""
        return getattr(_module(self.experiment), "SUMMARY", ("AUC", _auc))

    @property
    def result(self) -> Path:
        """Where the finished study is kept."""
        return self.path.parents[1] / "results" / "studies" / f"{self.path.stem}.json"

    @property
    def folder(self) -> Path:
        """Where finished records are kept until all are there."""
        return self.result.with_suffix(".records")


@dataclass(frozen=True)
class Study:
    """A finished study on one data set, as arrays.

    Parameters
    ----------
    title, question, data : str
    labels : ndarray of int, shape (n,)
        Of the test images, 0 or 1.
    subjects : ndarray of str, shape (n,)
        Whose test images they are.
    scores : dict of (model, n_train) to ndarray, shape (seeds, n) or (seeds, n, k)
        ``n_train`` is a number of images or "all". A k-th number is what an experiment says.
    records : DataFrame
        One row a training: ``model``, ``n_train``, ``seed``, ``n_images``, ``n_subjects``,
        ``steps``, ``seconds``, ``cpu_seconds``, and what else its experiment measures.
    """

    title: str
    question: str
    data: str
    labels: np.ndarray
    subjects: np.ndarray
    scores: dict[tuple, np.ndarray]
    records: pd.DataFrame


def read_plan(path: str | Path) -> Plan:
    """Read what a study is to compare.

    Parameters
    ----------
    path : str or Path
        ``studies/NAME.toml`` in a checkout.

    Returns
    -------
    Plan

    Raises
    ------
    UsageError
        If it is not there, or a key is unknown, missing or has an impossible value.
    """
    path = Path(path).resolve()
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}", expected="a study in TOML", found=str(error)) from None
    (given,) = pd.json_normalize(content).to_dict("records")  # keys such as "grid.seed"
    experiment = given.setdefault("experiment", "classification")
    module = _module(experiment if experiment in _kinds() else "classification")
    rules = _rules(module, data_key="grid.data" if "grid.data" in given else "data.name")
    names = given.get("grid.data", [given.get("data.name")])
    optional = {"grid.n_train", "training.steps", "training.batch_size"}
    if isinstance(names, list) and set(module.WITH_TEST).issuperset(map(str, names)):
        optional |= {"data.test_seed"}
    for key in [*given, *sorted(set(rules) - optional)]:
        if key not in rules:
            raise UsageError(f"{path}: {key}", expected=f"one of the keys {', '.join(rules)}")
        expected, allows = rules[key]
        value = given.get(key)
        values = value if key.startswith("grid.") else [value]
        several = isinstance(values, list) and len(set(map(str, values))) == len(values) > 0
        if not (several and all(allows(each) for each in values)):
            expected = f"a list, nothing twice, of {expected}" if values is value else expected
            raise UsageError(f"{path}: {key}", expected=expected, found=repr(value))
    configs = []
    for seed, n_train, data, model in itertools.product(
        given["grid.seed"], given.get("grid.n_train", ["all"]), names, given["grid.model"]
    ):
        config = {"data": data, "model": model, "n_train": n_train, "seed": seed}
        config["test_seed"] = None if data in module.WITH_TEST else given["data.test_seed"]
        config |= {name: given.get(f"training.{name}") for name in ("steps", "batch_size")}
        configs.append(config)
    return Plan(path, given["title"], given["question"], configs, experiment)


def run_study(
    plan: Plan,
    *,
    experiment: Callable[[dict], dict] | None = None,
    scheduler: str | None = None,
    jobs: int = 2,
) -> Path:
    """Run the records that are missing, and gather all into one file.

    A record that is damaged, or whose configuration has changed, is named and run again.

    Parameters
    ----------
    plan : Plan
    experiment : callable, optional
        Takes a configuration and returns what ``train_and_test`` does; the plan's own, if None.
    scheduler : str, optional
        Address of a running Dask cluster to use instead of processes here. Its workers need this
        package in the same version; they return records, and only this process writes files.
    jobs : int
        Processes, each with its share of the cores.

    Returns
    -------
    Path
        The file written, ``results/studies/NAME.json``.

    Raises
    ------
    UsageError
        If no scheduler with workers answers within seconds.
    MedlibError
        If a record fails or a worker process dies. Finished records are kept.
    LedgerError
        If records were tested on different images.
    """
    plan.folder.mkdir(parents=True, exist_ok=True)
    files.remove_partial(plan.folder)
    done = _finished(plan)
    missing = [config for config in plan.configs if _key(config) not in done]
    start, where = (_on_cluster, scheduler) if scheduler else (_in_processes, jobs)
    began = time.monotonic()
    with progress_bar("records", len(missing)) as advance:
        try:
            with closing(start(experiment or plan.train_and_test, missing, where)) as records:
                for number, record in enumerate(records, start=1):
                    if isinstance(record, MedlibError):
                        raise record
                    key = _key(record["config"])
                    _write(plan.folder / f"{key}.json", plan, [record])
                    done[key] = record
                    advance()
                    minutes = (time.monotonic() - began) / number * (len(missing) - number) / 60
                    spent = f"{record['seconds']:.0f} s, about {minutes:.0f} min to go"
                    print(f"{len(done)}/{len(plan.configs)} {key}: {spent}", file=sys.stderr)
        except MedlibError:
            raise
        except Exception as error:  # a worker or the cluster died; each backend has its own errors
            advice = "Finished records are kept: start the study again"
            raise MedlibError(f"{plan.path}", found=repr(error), advice=advice) from error
    _write(plan.result, plan, [done[_key(config)] for config in plan.configs])
    for config in plan.configs:
        (plan.folder / f"{_key(config)}.json").unlink(missing_ok=True)
    with suppress(OSError):  # it holds records that are not in the plan any more
        plan.folder.rmdir()
    return plan.result


def check_study(
    plan: Plan, n_records: int = 1, *, experiment: Callable[[dict], dict] | None = None
) -> list[str]:
    """Run some records of a finished study again, and compare them with the committed ones.

    The same machine gives equal scores. Another one may not, because sums are taken in another
    order: accepted are an AUC within 0.03 and a correlation of the scores of 0.95 or more.

    Parameters
    ----------
    plan : Plan
    n_records : int
        The cheapest record (in seconds) of so many models, those of the costliest model last.
    experiment : callable, optional
        As for :func:`run_study`.

    Returns
    -------
    list of str
        What was compared, a line a record.

    Raises
    ------
    LedgerError
        If a record differs, or is missing, or its configuration is no longer the plan's.
    """
    done = _finished(plan)
    missing = [_key(config) for config in plan.configs if _key(config) not in done]
    if missing:
        found = f"{len(missing)} missing or damaged, such as {missing[0]}"
        advice = f"Run them: course study {plan.path.stem}"
        raise LedgerError(f"{plan.result}", expected="all records", found=found, advice=advice)
    by_cost = sorted(done.values(), key=lambda record: -record["seconds"])
    cheapest = {record["config"]["model"]: record["config"] for record in by_cost}
    chosen = list(cheapest.values())[-n_records:]
    # Two jobs: the share of cores that run_study gives. Those that failed are told of first.
    again = list(_in_processes(experiment or plan.train_and_test, chosen, jobs=2))
    again.sort(key=lambda record: not isinstance(record, MedlibError))
    return [_compared(record, done) for record in again]


def load_study(name: str, data: str | None = None) -> Study | None:
    """Load a finished study for a lesson.

    Parameters
    ----------
    name : str
    data : str, optional
        Which data set, for a study of several.

    Returns
    -------
    Study or None
        None where the package is installed without its repository: studies are not part of it.

    Raises
    ------
    FileNotFoundError, KeyError
        If there is no such study, or no such data set in it.
    LedgerError
        If its file is damaged.
    """
    folder = Path(__file__).resolve().parents[1] / "results" / "studies"
    if not folder.is_dir():
        return None
    content = _read(folder / f"{name}.json")
    data = data or next(iter(content["tests"]))
    test = content["tests"][data]
    records = pd.DataFrame([record["config"] | record for record in content["records"]])
    records = records[records["data"] == data].drop(columns=["config", "versions", *_TEST])
    by_training = records.groupby(["model", "n_train"], sort=False)["scores"]
    return Study(
        content["title"],
        content["question"],
        data,
        labels=np.array(test["labels"]),
        subjects=np.array(test["subjects"]),
        scores={training: np.stack(list(scores)) for training, scores in by_training},
        records=records.drop(columns="scores").reset_index(drop=True),
    )


def compare(
    study: Study,
    first: str,
    second: str,
    *,
    at: int | str = "all",
    statistic: Callable | None = None,
) -> statistics.Interval:
    """Return by how much the first model's AUC is higher than the second's, mean over seeds.

    Parameters
    ----------
    study : Study
    first, second : str
        Models; for each seed they were trained on the same subjects.
    at : int or str
        Number of training images.
    statistic : callable, optional
        As for :func:`table`.

    Returns
    -------
    Interval
        95 %, over seeds and test subjects together.
    """
    pair = np.stack([study.scores[first, at], study.scores[second, at]], axis=-1)
    statistic = statistic or _auc

    def difference(labels, scores):
        return statistic(labels, scores[..., 0]) - statistic(labels, scores[..., 1])

    return _interval(study, difference, pair, logit=False)


def table(study: Study, statistic: Callable | None = None) -> pd.DataFrame:
    """Return the AUC of each model at each size, and what each gains over the first model.

    Parameters
    ----------
    study : Study
    statistic : callable, optional
        Of labels and the scores of one seed, instead of the AUC.

    Returns
    -------
    DataFrame
        Columns ``n_train``, ``what`` ("cnn" or "cnn - classical"), ``value`` (mean over seeds) and
        its 95 % interval over seeds and test subjects together, ``low`` and ``high``.
    """
    baseline, statistic = next(iter(study.scores))[0], statistic or _auc
    rows = []
    for (model, size), scores in study.scores.items():
        intervals = {model: _interval(study, statistic, scores, logit=statistic is _auc)}
        if model != baseline:
            against = compare(study, model, baseline, at=size, statistic=statistic)
            intervals[f"{model} - {baseline}"] = against
        rows += [(size, what, each.value, each.low, each.high) for what, each in intervals.items()]
    return pd.DataFrame(rows, columns=["n_train", "what", "value", "low", "high"])


def _module(experiment: str):
    return importlib.import_module(f"coursekit.experiments.{experiment}")


def _kinds() -> list[str]:
    return [module.name for module in pkgutil.iter_modules(experiments.__path__)]


def _rules(module, *, data_key: str) -> dict[str, tuple[str, Callable]]:
    """Return the keys of a plan, and what each value must be: in words, and as a test."""

    def one_of(names):
        return f"one of {', '.join(names)}", lambda value: value in names

    text = "a text", lambda value: isinstance(value, str)
    count = "a whole number from 1", lambda value: type(value) is int and value >= 1
    seed = "a whole number from 0", lambda value: type(value) is int and value >= 0
    size = f"{count[0]} or 'all'", lambda value: value == "all" or count[1](value)
    rules = {"title": text, "question": text, "experiment": one_of(_kinds())}
    rules |= {data_key: one_of(module.DATA), "data.test_seed": seed}
    rules |= {"grid.model": one_of(module.MODELS)}
    rules |= {"grid.n_train": size, "grid.seed": seed}
    return rules | {"training.steps": count, "training.batch_size": count}


def _key(config: dict) -> str:
    return "-".join(str(config[name]) for name in ("data", "model", "n_train", "seed"))


def _finished(plan: Plan) -> dict[str, dict]:
    """Return the sound records of a plan, gathered or not; say which have to be run again."""
    configs = {_key(config): config for config in plan.configs}
    found = {}
    for path in [plan.result, *sorted(plan.folder.glob("[!.]*.json"))]:
        try:
            records = _read(path)["records"] if path.is_file() else []
        except LedgerError as error:
            print(f"{error}; run again", file=sys.stderr)
            continue
        for record in records:
            key = _key(record["config"])
            if record["config"] == configs.get(key):
                found[key] = record
            elif key in configs:
                print(f"{path}: {key} had another configuration; run again", file=sys.stderr)
    return found


def _read(path: Path) -> dict:
    """Read one record or all, and give each the labels and subjects that it was tested on."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        for record in content["records"]:
            record |= content["tests"][record["config"]["data"]]
            known = [np.array(record[name], dtype=float) for name in ("labels", "scores")]
            lengths = {len(record["subjects"]), *map(len, known)}
            if len(lengths) > 1 or not all(np.isfinite(each).all() for each in known):
                raise ValueError(f"{_key(record['config'])} without a score for each test image")
    except (ValueError, KeyError, TypeError) as error:
        expected = "what `course study` writes"
        raise LedgerError(f"{path}", expected=expected, found=f"damage ({error})") from None
    return content


def _write(path: Path, plan: Plan, records: list[dict]) -> None:
    """Write one record or all: test labels and subjects once, then a line a record."""
    tests, lines = {}, []
    for record in records:
        test = {name: record[name] for name in _TEST}
        if tests.setdefault(record["config"]["data"], test) != test:
            found = "other test images than the records before"
            advice = f"Were versions mixed? To start anew, delete {plan.folder} and {plan.result}"
            raise LedgerError(f"record {_key(record['config'])}", found=found, advice=advice)
        rest = {name: value for name, value in record.items() if name not in _TEST}
        lines.append(json.dumps(rest, sort_keys=True, separators=(",", ":")))
    head = json.dumps({"title": plan.title, "question": plan.question, "tests": tests})[:-1]
    with files.replacing(path) as unfinished:
        text = head + ',\n"records": [\n' + ",\n".join(lines) + "\n]}\n"
        unfinished.write_text(text, encoding="utf-8")


def _run_one(experiment: Callable, threads: int, config: dict) -> dict | MedlibError:
    """Make one record, in a worker. One at a time in a process: TensorFlow's seed is global.

    An error is returned: raised, it would take finished records with it that wait to be written.
    """
    with _one_at_a_time:
        for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
            os.environ.setdefault(name, str(threads))  # read when TensorFlow is imported
        start, cpu_start = time.perf_counter(), time.process_time()
        try:
            measured = experiment(config)
        except Exception as error:
            failure = MedlibError(f"record {_key(config)}", found=repr(error))
            failure.add_note(traceback.format_exc())
            return failure
        spent = {
            "seconds": round(time.perf_counter() - start, 1),
            "cpu_seconds": round(time.process_time() - cpu_start, 1),
        }
    record = {name: np.asarray(value).tolist() for name, value in measured.items()}
    record["scores"] = np.round(record["scores"], 4).tolist()
    versions = {"python": platform.python_version()}
    for package in ("keras", "tensorflow", "tensorflow-cpu", "numpy", "medlib"):
        with suppress(metadata.PackageNotFoundError):
            versions[package.removesuffix("-cpu")] = metadata.version(package)
    return {"config": config, "versions": versions} | spent | record


def _in_processes(experiment: Callable, configs: list[dict], jobs: int) -> Iterator[dict]:
    import joblib
    from joblib.externals.loky import get_reusable_executor

    run = joblib.delayed(partial(_run_one, experiment, max(1, joblib.cpu_count() // jobs)))
    # Without batches: each record is here, and on disk, as soon as it is finished.
    parallel = joblib.Parallel(jobs, return_as="generator_unordered", batch_size=1)
    records = parallel(run(config) for config in configs)
    try:
        yield from records
    finally:  # also after Ctrl-C: the next study in this process must not meet dying workers
        records.close()
        get_reusable_executor().shutdown(wait=True, kill_workers=True)


def _on_cluster(experiment: Callable, configs: list[dict], scheduler: str) -> Iterator[dict]:
    """Yield records from a Dask cluster, which gives those of a lost worker to another one.

    These are distributed's own futures, because joblib's Dask backend waits for ever for a record
    whose workers died too often, where distributed raises KilledWorker.
    """
    try:
        from distributed import Client, as_completed
        from distributed.comm.addressing import get_address_host_port

        # A plain connection first: a Client that fails to connect leaves a thread behind.
        address = get_address_host_port(scheduler)
        socket.create_connection(address, timeout=CONNECT_SECONDS).close()
        client = Client(scheduler, timeout=CONNECT_SECONDS)
    except (ImportError, OSError, ValueError) as error:
        expected = "dask and distributed installed, and a running cluster, like tcp://host:8786"
        raise UsageError(f"scheduler {scheduler}", expected=expected, found=repr(error)) from None
    with client:
        with suppress(TimeoutError):
            client.wait_for_workers(1, timeout=CONNECT_SECONDS)
        threads = client.nthreads().values()  # of each worker
        if not threads:
            raise UsageError(f"scheduler {scheduler}", expected="workers", found="none")
        run = partial(_run_one, experiment, min(threads))
        # No list of the futures is kept: what nobody refers to is not run again if a worker dies.
        for future in as_completed(client.map(run, configs, pure=False)):
            record = future.result()
            future.release()
            yield record


def _compared(again: dict | MedlibError, done: dict[str, dict]) -> str:
    """Say how a record that was run again differs; raise if it differs too much."""
    if isinstance(again, MedlibError):
        raise again
    key = _key(again["config"])
    recorded = done[key]
    differing = [name for name in _MEASURED if again[name] != recorded[name]]
    if not differing:
        return f"{key}: equal"
    found = f"other {', '.join(differing)}"
    if differing == ["scores"]:
        labels = np.array(recorded["labels"])
        new, old = (np.array(each["scores"]).reshape(len(labels), -1) for each in (again, recorded))
        auc, before = (_auc(labels, each[:, 0]) for each in (new, old))
        correlation = np.corrcoef(new[:, 0], old[:, 0])[0, 1]
        found = f"AUC {auc:.3f} (recorded {before:.3f}), correlation of scores {correlation:.3f}"
        if abs(auc - before) <= AUC_TOLERANCE and correlation >= LEAST_CORRELATION:
            return f"{key}: {found}"
    expected = f"an AUC within {AUC_TOLERANCE}, a correlation of {LEAST_CORRELATION} or more"
    advice = f"Recorded with {recorded['versions']}, now {again['versions']}"
    raise LedgerError(f"record {key}", expected=expected, found=found, advice=advice)


def _interval(study: Study, statistic: Callable, scores: np.ndarray, *, logit: bool):
    if len(scores) == 1:  # patients alone
        arrays = study.labels, scores[0]
        return statistics.bootstrap_interval(statistic, *arrays, groups=study.subjects)
    return statistics.seeds_and_patients_interval(
        statistic, study.labels, scores, subjects=study.subjects, logit=logit
    )


def _auc(labels: np.ndarray, scores: np.ndarray) -> float:
    return statistics.area_under_curve(labels == 1, scores)

"""Run folders: train into one, continue it, measure it, predict with it.

A run is one network or several that are averaged: the networks of the folds of a cross-validation,
or of several seeds. Its folder holds ``config.json`` (how it was made: all that is needed to load
the data again and to predict), ``model.keras`` or ``model_1.keras`` and so on, ``history.csv`` (one
row an epoch), ``predictions.csv`` (of every image that was measured, by networks that had not seen
its subject), ``splits.csv`` (which image was used for what), ``metrics.json`` and ``report.html``.
While it trains there is ``checkpoint.npz`` too.
"""

import contextlib
import hashlib
import json
import platform
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from medlib import __version__, datasets, models, report, tasks, training
from medlib.datasets import Images
from medlib.datasets.structure import Split, image_hashes
from medlib.errors import DataError, MedlibError, RunError, UsageError
from medlib.evaluation import statistics
from medlib.files import remove_partial, replacing
from medlib.preprocessing import fold_by_subject, split_by_subject

CONFIG, CHECKPOINT = "config.json", "checkpoint.npz"
HISTORY, METRICS, PREDICTIONS = "history.csv", "metrics.json", "predictions.csv"
SPLITS, REPORT = "splits.csv", "report.html"
FORMAT = 2  # of the run folder; raised when an older medlib could not read a newer one
SPLIT_SEED = 0  # of data without a split of its own: other weights, but the same folds
COLOURS = ("red", "green", "blue")
CLASSICAL_AT_MOST = 20_000  # images: its features take some milliseconds each
MAX_MODEL_CONFIG_BYTES = 16 * 2**20  # unpacked; the course's largest networks have under 1 MB


@dataclass(frozen=True)
class Config:
    """What a run's result depends on, and what is needed to use its networks; ``config.json``.

    ``merge``, ``classes``, ``positive`` and ``window`` are as given for reading the data;
    ``training`` holds the arguments of :func:`medlib.training.fit`; ``data`` says where the images
    came from, how many they were, and a hash of what the networks saw.
    """

    medlib_run: int
    medlib: str
    task: str
    model: str
    folds: int
    seeds: int
    seed: int
    training: dict
    class_names: list[str]
    channel_names: list[str]
    image_shape: list[int]
    merge: dict[str, list[str]] | None
    classes: list[str] | None
    positive: str | None
    window: list[float] | None
    data: dict
    versions: dict

    @property
    def model_files(self) -> list[str]:
        """Names of the files of the networks."""
        n_networks = max(self.folds, self.seeds)
        return (
            [f"model_{i + 1}.keras" for i in range(n_networks)]
            if n_networks > 1
            else ["model.keras"]
        )

    @property
    def mirror(self) -> bool:
        """Whether predictions are averaged with those for the mirrored image."""
        return bool(self.training["augmentation"].get("flip"))


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, how it was made, its task and its networks."""

    folder: Path
    config: Config
    task: tasks.Classification
    networks: list[Any]

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Return the mean of what the networks predict for images and their mirror images."""
        predictions = [
            training.predict(network, images, self.task, mirror=self.config.mirror)
            for network in self.networks
        ]
        return np.mean(predictions, axis=0)


@dataclass(frozen=True)
class Member:
    """One network to be trained: on which rows, and which rows it is measured on.

    ``validation`` rows, if any, are measured after each epoch for the history.
    """

    name: str
    seed: int
    train: np.ndarray
    validation: np.ndarray
    measured: np.ndarray


def train(
    data: str,
    out: str | Path,
    *,
    model: str = "cnn",
    image_size: int | None = None,
    epochs: int | None = None,
    folds: int = 5,
    seeds: int = 1,
    seed: int = 0,
    merge: dict[str, Sequence[str]] | None = None,
    classes: Sequence[str] | None = None,
    positive: str | None = None,
    window: tuple[float, float] | None = None,
    on_epoch: Callable[[str, dict, int], None] = lambda name, row, epochs: None,
) -> dict | None:
    """Train networks into a run folder, or continue a run that was interrupted.

    Data without a split of its own is cross-validated: its subjects are dealt to folds, and each
    fold is predicted by a network that was trained on the others. Data with a split trains on its
    training images and is measured on its test images.

    Parameters
    ----------
    data : str
        A known set's name, a CSV or a folder; see :func:`medlib.datasets.read`.
    out : path
        The run folder: new, empty, or one that this very training was started in.
    model : str
        A name of :data:`medlib.models.NAMES`.
    image_size, merge, classes, positive, window
        As for :func:`medlib.datasets.read`.
    epochs : int, optional
        Default: enough for the number of images, see :func:`medlib.training.recipe`.
    folds : int
        Of data without a split. 1 deals a single split instead: 70, 15 and 15 % of the subjects.
    seeds : int
        Networks trained on the same images, of data that is not cross-validated.
    seed : int
        Of the weights, the order of the images and their random changes. Folds and splits do not
        depend on it.
    on_epoch : callable
        Called after each epoch with the name of the network ("fold 1 of 5"), the row of its
        history and the number of epochs.

    Returns
    -------
    dict or None
        What ``metrics.json`` holds, see :func:`read_metrics`; None if the folder holds this
        training already, finished.

    Raises
    ------
    UsageError
        If there is no such model, a number is out of range, or the folder holds another training.
    DataError, DownloadError
        If the data cannot be used.
    RunError
        If the folder is another program's or cannot be written.
    """
    out = Path(out)
    if model not in models.NAMES:
        raise UsageError("model", expected=f"one of {', '.join(models.NAMES)}", found=repr(model))
    for name, value in (("epochs", epochs), ("folds", folds), ("seeds", seeds)):
        if value is not None and value < 1:
            raise UsageError(name, expected="1 or more", found=str(value))
    training.expect_seed(seed)
    started = _read_config(out)
    images = datasets.read(
        data, image_size=image_size, merge=merge, classes=classes, positive=positive, window=window
    )
    if images.all.images.ndim != 4:
        raise UsageError(f"{data}: images", expected="single images", found="stacks of slices")
    if images.given_split is not None:
        folds = 1
    elif folds > 1 and seeds > 1:
        found = f"folds {folds} and seeds {seeds}"
        raise UsageError("folds and seeds", expected="one of them to be 1", found=found)
    members = _plan(images, folds=folds, seeds=seeds, seed=seed)
    task = tasks.Classification(tuple(images.class_names))
    config = Config(
        medlib_run=FORMAT,
        medlib=__version__,
        task=task.name,
        model=model,
        folds=folds,
        seeds=seeds,
        seed=seed,
        training=training.recipe(model, n_images=len(members[0].train), epochs=epochs),
        class_names=list(images.class_names),
        channel_names=list(images.channel_names),
        image_shape=list(images.all.images.shape[1:]),
        merge=None if merge is None else {name: list(old) for name, old in merge.items()},
        classes=None if classes is None else list(classes),
        positive=positive,
        window=None if window is None else [float(value) for value in window],
        data=_describe(images, data, members),
        versions=_versions(),
    )
    if started is None:
        _start(out, config)
    else:
        _expect_same(out, started, config)
        remove_partial(out)
        if (out / METRICS).exists():
            return None
    for member, file in zip(members, config.model_files, strict=True):
        if not (out / file).exists():
            _train_member(images, member, file, out=out, task=task, config=config, tell=on_epoch)
    return _finish(out, images, members, task=task, config=config)


def read_run(folder: str | Path) -> Run:
    """Read a finished run.

    Parameters
    ----------
    folder : path

    Returns
    -------
    Run

    Raises
    ------
    RunError
        If it is not a run folder, not finished, or a network in it is damaged.
    """
    folder = Path(folder)
    config = _read_config(folder)
    if config is None:
        raise RunError(str(folder), expected="a run folder of medlib train", found="none")
    if not (folder / METRICS).exists():
        advice = "The same `medlib train` command continues it"
        raise RunError(str(folder), expected="a finished run", found=f"no {METRICS}", advice=advice)
    task = tasks.Classification(tuple(config.class_names))
    networks = [load_model(folder / file) for file in config.model_files]
    for file, network in zip(config.model_files, networks, strict=True):
        shapes = (network.input_shape[1:], network.output_shape[1:])
        wanted = (tuple(config.image_shape), (task.n_units,))
        if shapes != wanted:
            raise RunError(
                str(folder / file),
                expected=f"a network from shape {wanted[0]} to {wanted[1]}, as {CONFIG} says",
                found=f"one from {shapes[0]} to {shapes[1]}",
            )
    return Run(folder, config, task, networks)


def load_model(path: str | Path):
    """Load a ``.keras`` file without running code from it.

    Parameters
    ----------
    path : path

    Returns
    -------
    keras.Model

    Raises
    ------
    RunError
        If it is not a ``.keras`` file, needs code of its own, or has weights that are not finite.
    """
    path = Path(path)
    keras = training.import_keras()
    try:
        _expect_small_model_config(path)
        network = keras.saving.load_model(path, compile=False, safe_mode=True)
    except MedlibError:
        raise
    except Exception as error:  # Keras raises anything on damaged files
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise RunError(str(path), expected="a Keras model file", found=reason) from error
    if not isinstance(network, keras.Model):
        raise RunError(str(path), expected="a Keras model", found=type(network).__name__)
    for weight in network.weights:
        if not np.isfinite(weight.numpy()).all():
            raise RunError(
                str(path),
                expected="finite weights",
                found=f"NaN or infinity in {weight.path}",
                advice="Train it again",
            )
    return network


def read_metrics(folder: str | Path) -> dict:
    """Return what ``metrics.json`` holds.

    Returns
    -------
    dict
        ``measured_on``, a sentence; ``metrics``, a list of rows as
        :func:`medlib.evaluation.classification.report` gives them; ``networks``, the AUC of each
        network on the images it was measured on; ``classical`` (None for very large sets): the
        rows of the classical model, and ``difference``, the network's AUC minus its AUC;
        ``external``: rows by the name of the data that :func:`evaluate` was called with.
    """
    return _read_json(Path(folder) / METRICS)


def evaluate(run: Run, data: str) -> tuple[pd.DataFrame, str]:
    """Measure a run on images its networks have not seen, and add this to its metrics.

    On the data it was trained on: what was measured when it was trained. On other data: all
    images, except those that are identical to one it was trained on, or of the same subject.

    Parameters
    ----------
    run : Run
    data : str
        A known set's name, a CSV or a folder, with the same classes; it is resized, merged and
        selected as the training data was.

    Returns
    -------
    metrics : DataFrame
        As from :func:`medlib.evaluation.classification.report`.
    measured_on : str
        A sentence on the images it was measured on.

    Raises
    ------
    DataError
        If the data has other classes or channels, or no image that is new to the networks.
    """
    config, path = run.config, run.folder / METRICS
    images = datasets.read(
        data,
        class_names=tuple(config.class_names),
        merge=config.merge,
        classes=config.classes,
        image_size=config.image_shape[0],
        channels=len(config.channel_names),
        window=config.window,
    )
    metrics = read_metrics(run.folder)
    if _fingerprint(images.all) == config.data["fingerprint"]:
        return pd.DataFrame(metrics["metrics"]), metrics["measured_on"]
    if images.all.images.shape[1:] != tuple(config.image_shape):
        expected = f"shape {tuple(config.image_shape)}, as the run was trained with"
        found = str(images.all.images.shape[1:])
        raise DataError(f"{data}: images", expected=expected, found=found)
    unseen, n_seen = _unseen(images, run.folder)
    measured_on = f"all {len(unseen)} images of {data}"
    if n_seen:
        measured_on += f" that are new to the networks ({n_seen} left out: the same image or"
        measured_on += " subject was in the training)"
    majority = config.class_names.index(config.data["commonest_class"])
    table = run.task.report(unseen, run.predict(unseen.images), majority=majority)
    metrics["external"][str(data)] = _rows(table)
    _write_json(path, metrics)
    return table, measured_on


def predict(run: Run, images: Sequence[str | Path]) -> tuple[pd.DataFrame, list[MedlibError]]:
    """Predict image files; a file that cannot be read does not keep the others from it.

    Parameters
    ----------
    run : Run
    images : sequence of path

    Returns
    -------
    predictions : DataFrame
        Columns ``image``, ``label`` and one ``probability_<class>`` for each class.
    errors : list of MedlibError
        One for each file that could not be used.
    """
    channels = tuple(run.config.channel_names)
    if len(channels) == 3 and channels != COLOURS:
        named = ", ".join(channels)
        message = f"{run.folder}: red, green and blue of an image are taken for {named}"
        warnings.warn(message, stacklevel=2)
    names, errors, waiting = [], [], []
    predictions = [np.empty((0, len(run.config.class_names)))]
    loaded = datasets.load_images(
        images,
        image_size=run.config.image_shape[0],
        n_channels=len(channels),
        window=run.config.window,
    )
    for path, image in loaded:
        if isinstance(image, MedlibError):
            errors.append(image)
            continue
        names.append(str(path))
        waiting.append(image)
        if len(waiting) == training.PREDICTION_BATCH:
            predictions.append(run.predict(np.stack(waiting)))
            waiting = []
    if waiting:
        predictions.append(run.predict(np.stack(waiting)))
    columns = run.task.columns(np.concatenate(predictions))
    return pd.DataFrame({"image": names} | columns), errors


@contextlib.contextmanager
def writing(path: str | Path) -> Iterator[Path]:
    """Write a file whole or not at all; RunError at once if it cannot be written."""
    try:
        with replacing(path) as partial:
            partial.touch()
            yield partial
    except OSError as error:
        raise RunError.cannot_write(path, error) from error


# Beginning, middle and end of a run ---------------------------------------------------------------


def _read_config(folder: Path) -> Config | None:
    """Return the configuration; None for a folder that is new or empty, RunError for another's."""
    foreign = "a new or empty folder, or one that medlib train made"
    other = "Nothing was changed; choose another folder"
    try:
        if not folder.exists():
            return None
        if not folder.is_dir():
            raise RunError(str(folder), expected=foreign, found="a file")
        if not (folder / CONFIG).exists():
            names = sorted(path.name for path in folder.iterdir() if ".partial-" not in path.name)
            if names:
                found = f"{', '.join(names[:3])}{' ...' if len(names) > 3 else ''}"
                raise RunError(str(folder), expected=foreign, found=found, advice=other)
            return None
    except OSError as error:
        raise RunError.cannot_write(folder, error) from error
    content = _read_json(folder / CONFIG)
    if not isinstance(content, dict) or "medlib_run" not in content:
        expected, found = "the configuration of a medlib run", "another program's"
        raise RunError(str(folder / CONFIG), expected=expected, found=found, advice=other)
    if content["medlib_run"] != FORMAT or content.keys() != {f.name for f in fields(Config)}:
        raise RunError(
            str(folder / CONFIG),
            expected=f"format {FORMAT}",
            found=f"format {content['medlib_run']}",
            advice=f"It was made by medlib {content.get('medlib', '?')}",
        )
    return Config(**content)


def _plan(images: Images, *, folds: int, seeds: int, seed: int) -> list[Member]:
    """Say which rows each network is trained on and measured on."""
    spawned = np.random.SeedSequence(seed).generate_state(max(folds, seeds))
    own = [int(state) for state in spawned]
    everything = np.arange(len(images.all))
    if folds > 1:
        fold_of = fold_by_subject(images.groups, images.all.labels, n_folds=folds, seed=SPLIT_SEED)
        return [
            Member(
                f"fold {k + 1} of {folds}",
                own[k],
                train=everything[fold_of != k],
                validation=everything[:0],
                measured=everything[fold_of == k],
            )
            for k in range(folds)
        ]
    split_of = images.given_split
    if split_of is None:
        split_of = split_by_subject(images.groups, images.all.labels, seed=SPLIT_SEED)
    rows = {name: everything[split_of == name] for name in ("train", "validation", "test")}
    return [
        Member(
            f"network {k + 1} of {seeds}" if seeds > 1 else "network",
            own[k],
            train=rows["train"],
            validation=rows["validation"],
            measured=rows["test"],
        )
        for k in range(seeds)
    ]


def _describe(images: Images, data: str, members: list[Member]) -> dict:
    source = Path(data)
    trained = np.unique(np.concatenate([member.train for member in members]))
    commonest = np.bincount(images.all.labels[trained]).argmax()
    return {
        "source": str(source.resolve()) if source.exists() else str(data),
        "name": images.name,
        "images": len(images.all),
        "split_seed": SPLIT_SEED,
        "fingerprint": _fingerprint(images.all),
        "commonest_class": images.class_names[commonest],
        "licence": images.licence,
        "citation": images.citation,
        "card": images.card,
    }


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in ("keras", "tensorflow", "tensorflow-cpu", "numpy", "scikit-learn"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def _start(out: Path, config: Config) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError.cannot_write(out, error) from error
    remove_partial(out)
    _write_json(out / CONFIG, asdict(config))  # first: from here on the folder is known as a run


def _expect_same(out: Path, started: Config, wanted: Config) -> None:
    """Raise if a run was started with other settings or data than those wanted now."""
    before, now = asdict(started), asdict(wanted)
    names = ("model", "folds", "seeds", "seed", "class_names", "image_shape", "merge", "classes")
    pairs = [(name, before[name], now[name]) for name in (*names, "positive", "window")]
    pairs += [
        (name, before["training"].get(name), value) for name, value in now["training"].items()
    ]
    changed = [(f"{name} {old}", f"{name} {new}") for name, old, new in pairs if old != new]
    if not changed and before["data"]["fingerprint"] != now["data"]["fingerprint"]:
        changed = [(f"the images of {before['data']['source']} as they were", "other images")]
    if changed:
        raise UsageError(
            str(out),
            expected=f"what this run was started with ({changed[0][0]})",
            found=changed[0][1],
            advice="Give the same settings to continue it, or choose another folder",
        )


def _train_member(images, member: Member, file: str, *, out, task, config: Config, tell) -> None:
    """Train one network, and save it last: a network that is there is finished."""
    keras = training.import_keras()
    keras.backend.clear_session()  # the graphs of the network before
    training.set_seed(member.seed)
    network = models.build(config.model, tuple(config.image_shape), task, seed=member.seed)
    history = training.fit(
        network,
        images.all.take(member.train),
        images.all.take(member.validation) if len(member.validation) else None,
        task=task,
        seed=member.seed,
        checkpoint=out / CHECKPOINT,
        on_epoch=lambda row: tell(member.name, row, config.training["epochs"]),
        **config.training,
    )
    history.insert(0, "network", member.name)
    if (out / HISTORY).exists():
        known = pd.read_csv(out / HISTORY)
        history = pd.concat([known[known["network"] != member.name], history])
    write_table(out / HISTORY, history)
    with writing(out / file) as partial:
        network.save(partial)
    (out / CHECKPOINT).unlink(missing_ok=True)


def _finish(out: Path, images: Images, members: list[Member], *, task, config: Config) -> dict:
    """Measure and write everything; the metrics go last, so that a kill in between is made good."""
    (out / CHECKPOINT).unlink(missing_ok=True)  # of a kill between a network and this
    networks = [load_model(out / file) for file in config.model_files]
    of_members = [
        training.predict(network, images.all.images[member.measured], task, mirror=config.mirror)
        for member, network in zip(members, networks, strict=True)
    ]
    rows, predictions = _gather(members, of_members)
    measured = images.all.take(rows)
    majority = config.class_names.index(config.data["commonest_class"])
    table = task.report(measured, predictions, majority=majority)
    metrics = {
        "measured_on": _measured_on(config, len(rows)),
        "metrics": _rows(table),
        "networks": [
            task.score(images.all.take(member.measured), found)["validation_auc"]
            for member, found in zip(members, of_members, strict=True)
        ],
        **_classical(images, members, task, predictions, majority),
        "external": {},
    }
    names = np.array(task.class_names)
    facts = {"image": _image_names(measured), "subject": measured.subjects}
    facts["true_label"] = names[measured.labels]
    write_table(out / PREDICTIONS, pd.DataFrame(facts | task.columns(predictions)))
    write_table(out / SPLITS, _splits_table(images, members, config))
    page = report.page(asdict(config), metrics, pd.read_csv(out / HISTORY), measured, predictions)
    with writing(out / REPORT) as partial:
        partial.write_text(page, encoding="utf-8")
    _write_json(out / METRICS, metrics)
    return metrics


def _gather(members: list[Member], found: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows that were measured, in order, and the mean of their predictions."""
    rows, position = np.unique(
        np.concatenate([member.measured for member in members]), return_inverse=True
    )
    total = np.zeros((len(rows), *found[0].shape[1:]))
    np.add.at(total, position, np.concatenate(found))
    counts = np.bincount(position)
    return rows, total / counts.reshape(-1, *(1,) * (total.ndim - 1))


def _classical(images: Images, members, task, predictions, majority: int) -> dict:
    """Measure the classical model on the same images, trained on the same rows."""
    from sklearn.base import clone

    from medlib.models.classical import build_classifier, hand_made_features

    if len(images.all) > CLASSICAL_AT_MOST:
        return {"classical": None, "difference": None}
    features = hand_made_features(images.all.images)
    found = []
    for member in members:
        fitted = clone(build_classifier()).fit(
            features[member.train], images.all.labels[member.train]
        )
        known = np.zeros((len(member.measured), len(task.class_names)))
        known[:, fitted.classes_] = fitted.predict_proba(features[member.measured])
        found.append(known)
    rows, classical = _gather(members, found)
    measured = images.all.take(rows)
    difference = None
    if len(task.class_names) == 2:
        test = statistics.auc_test(
            measured.labels, predictions[:, 1], classical[:, 1], subjects=measured.subjects
        )
        difference = asdict(test.difference) | {"p_value": test.p_value}
    table = task.report(measured, classical, majority=majority)
    return {"classical": _rows(table), "difference": difference}


def _measured_on(config: Config, n: int) -> str:
    name = config.data["name"]
    if config.folds > 1:
        return (
            f"all {n} images of {name}, each predicted by a network that had not seen its subject"
        )
    averaged = f", by the average of {config.seeds} networks" if config.seeds > 1 else ""
    return f"the {n} test images of {name}{averaged}"


# Tables -------------------------------------------------------------------------------------------


def _splits_table(images: Images, members: list[Member], config: Config) -> pd.DataFrame:
    """List every image: what it was used for, whose it is, and a hash of its pixels."""
    used = np.full(len(images.all), "train", dtype="U16")
    used[members[0].validation] = "validation"
    for member in members:
        used[member.measured] = member.name if config.folds > 1 else "test"
    return pd.DataFrame(
        {
            "split": used,
            "image": _image_names(images.all),
            "subject": images.all.subjects,
            "label": np.array(config.class_names)[images.all.labels],
            "hash": image_hashes(images.all.images),
        }
    )


def _image_names(split: Split) -> np.ndarray:
    """Return file names where there are any, else row numbers."""
    return split.table["image"].to_numpy() if "image" in split.table else np.arange(len(split))


def _unseen(images: Images, folder: Path) -> tuple[Split, int]:
    """Return the images of other data that no network was trained on, and how many were."""
    try:
        known = pd.read_csv(folder / SPLITS, dtype=str)
        known = known[known["split"] != "test"]
        hashes, subjects = (known[name].to_numpy(dtype=str) for name in ("hash", "subject"))
    except (OSError, ValueError, KeyError) as error:
        raise RunError(
            str(folder / SPLITS), expected="the run's list of images", found=str(error)
        ) from error
    seen = np.isin(image_hashes(images.all.images), hashes)
    if "subject" in images.all.table:  # names that somebody gave, not groups of look-alikes
        seen |= np.isin(images.all.subjects, subjects)
    if seen.all():
        raise DataError(
            images.name,
            expected="images the network was not trained on",
            found=f"{len(seen)} that it was trained on, or of the same subjects",
            advice="If the subjects only have the same names, rename them",
        )
    return images.all.take(~seen), int(seen.sum())


# Files --------------------------------------------------------------------------------------------


def write_table(path: str | Path, table: pd.DataFrame) -> None:
    """Write a CSV whole or not at all."""
    with writing(path) as partial:
        table.to_csv(partial, index=False)


def _rows(metrics: pd.DataFrame) -> list[dict]:
    return metrics.astype(object).where(metrics.notna(), None).to_dict("records")


def _fingerprint(split: Split) -> str:
    """Hash what the network sees: images and labels, whatever the files are called."""
    digest = hashlib.blake2b("".join(image_hashes(split.images)).encode(), digest_size=16)
    digest.update(split.labels.tobytes())
    return digest.hexdigest()


def _write_json(path: Path, content: dict) -> None:
    with writing(path) as partial:
        partial.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")


def _read_json(path: Path):
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(str(path), expected="a JSON file of a run", found=str(error)) from error


def _expect_small_model_config(path: Path) -> None:
    """Refuse a small file that unpacks into a huge description of layers."""
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if entry.filename.endswith(".json") and entry.file_size > MAX_MODEL_CONFIG_BYTES:
                raise RunError(
                    str(path),
                    expected=f"at most {MAX_MODEL_CONFIG_BYTES >> 20} MB of {entry.filename}",
                    found=f"{entry.file_size >> 20} MB",
                )

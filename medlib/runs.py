"""Runs: train networks into a folder, continue it, measure it, predict with it.

A run is one network or several that are averaged: the networks of the folds of a cross-validation,
or of several seeds. What its folder holds is said in :mod:`medlib.runfiles`.
"""

import hashlib
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from medlib import datasets, models, report, runfiles, tasks, training
from medlib.datasets import Images
from medlib.datasets.structure import Split, image_hashes
from medlib.errors import DataError, MedlibError, RunError, UsageError, expect_one_of
from medlib.evaluation import statistics
from medlib.files import expect_writable, remove_partial, writing
from medlib.preprocessing import fold_by_subject, split_by_subject
from medlib.preprocessing.splitting import SPLIT_NAMES

SPLIT_SEED = 0  # of data without a split of its own: other weights, but the same folds
COLOURS = ("red", "green", "blue")
FILES_AT_ONCE = 32  # are in memory while they are predicted: volumes with all their slices
CLASSICAL_AT_MOST = 20_000  # images: its features take some milliseconds each


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, how it was made, its task and its networks."""

    folder: Path
    config: runfiles.Config
    task: tasks.Classification | tasks.Segmentation | tasks.Detection
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
    task: str = "classify",
    model: str | None = None,
    epochs: int | None = None,
    folds: int = 5,
    seeds: int = 1,
    seed: int = 0,
    on_epoch: Callable[[str, dict, int], None] = lambda name, row, epochs: None,
    **reading,
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
    task : str
        A name of :data:`medlib.tasks.TASKS`.
    model : str, optional
        One of the task's networks. Default: the first of them.
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
    **reading
        ``image_size``, ``depth``, ``window``, ``merge``, ``classes`` and ``positive``, as for
        :func:`medlib.datasets.read`.

    Returns
    -------
    dict or None
        What ``metrics.json`` holds, see :func:`read_metrics`; None if the folder holds this
        training already, finished.

    Raises
    ------
    UsageError
        If there is no such task or model, or the folder holds another training.
    DataError, DownloadError
        If the data cannot be used.
    RunError
        If the folder is another program's or cannot be written.
    """
    out = Path(out)
    expect_one_of("task", task, tasks.TASKS)
    kind = tasks.TASKS[task]
    model = model or kind.networks[0]
    expect_one_of("model", model, kind.networks)
    started = runfiles.read_config(out)
    how = {"least_classes": kind.least_classes, "every_slice": kind.every_slice}
    images = datasets.read(data, **how, **reading)
    task = kind(tuple(images.class_names))
    images = task.select(images)
    if images.given_split is not None:
        folds = 1
    elif folds > 1 and seeds > 1:
        found = f"folds {folds} and seeds {seeds}"
        raise UsageError("folds and seeds", expected="one of them to be 1", found=found)
    members = _plan(images, folds=folds, seeds=seeds, seed=seed)
    config = runfiles.Config(
        task=task.name,
        model=model,
        folds=folds,
        seeds=seeds,
        seed=seed,
        training=training.recipe(model, n_images=len(members[0].train), epochs=epochs),
        class_names=list(images.class_names),
        channel_names=list(images.channel_names),
        image_shape=list(images.all.images.shape[1:]),
        **{name: reading.get(name) for name in ("merge", "classes", "positive", "window")},
        data=_describe(images, data, members, task),
    )
    if started is None:
        training.import_keras()  # a size that the network cannot take is refused before all else
        models.build(model, tuple(config.image_shape), task, seed=seed)
        with expect_writable(out):
            out.mkdir(parents=True, exist_ok=True)
    else:
        runfiles.expect_same(out, started, config)
    remove_partial(out)
    if (out / runfiles.METRICS).exists():
        return None
    if started is None:  # first: from here on the folder is known as a run
        runfiles.write_json(out / runfiles.CONFIG, asdict(config))
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
    config = runfiles.read_config(folder)
    if config is None:
        raise RunError(str(folder), expected="a run folder of medlib train", found="none")
    if not (folder / runfiles.METRICS).exists():
        expected, found = "a finished run", f"no {runfiles.METRICS}"
        advice = "The same `medlib train` command continues it"
        raise RunError(str(folder), expected=expected, found=found, advice=advice)
    task = tasks.TASKS[config.task](tuple(config.class_names))
    networks = [runfiles.load_model(folder / file) for file in config.model_files]
    return Run(folder, config, task, networks)


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
    config, least = run.config, run.task.least_classes
    named = least > 1 or config.classes  # else labels decide nothing
    images = datasets.read(
        data,
        class_names=tuple(config.class_names) if named else None,
        least_classes=least,
        merge=config.merge if named else None,
        classes=config.classes,
        channels=len(config.channel_names),
        every_slice=run.task.every_slice,
        **config.reading,
    )
    images = run.task.select(images)
    metrics = runfiles.read_metrics(run.folder)
    if _fingerprint(images.all, run.task) == config.data["fingerprint"]:
        return pd.DataFrame(metrics["metrics"]), metrics["measured_on"]
    unseen, n_seen = _unseen(images, run.folder)
    measured_on = f"all {len(unseen)} images of {data}"
    if n_seen:
        measured_on += f" that are new to the networks ({n_seen} left out: the same image or"
        measured_on += " subject was in the training)"
    table = run.task.report(unseen, run.predict(unseen.images), majority=config.majority)
    metrics["external"][str(data)] = _rows(table)
    runfiles.write_json(run.folder / runfiles.METRICS, metrics)
    return table, measured_on


def predict(
    run: Run, images: Sequence[str | Path], *, masks: Path | None = None
) -> tuple[pd.DataFrame, list[MedlibError]]:
    """Predict image files; a file that cannot be read does not keep the others from it.

    Parameters
    ----------
    run : Run
    images : sequence of path
    masks : Path, optional
        Folder for the masks that a segmentation finds: each gets the name of its image.

    Returns
    -------
    predictions : DataFrame
        Column ``image``, and the task's: ``label`` and one ``probability_<class>`` for each class,
        or ``mask``, ``area``, ``diameter`` (the longest) and ``unit`` ("mm", areas in its square),
        or a row for each box: ``slice``, corners in pixels of the file, ``score``, ``height``,
        ``width`` and ``unit``; one without a box for an image in which none was found.
    errors : list of MedlibError
        One for each file that could not be used.
    """
    channels = tuple(run.config.channel_names)
    if len(channels) == 3 and channels != COLOURS:
        named = ", ".join(channels)
        message = f"{run.folder}: red, green and blue of an image are taken for {named}"
        warnings.warn(message, stacklevel=2)
    rows, errors = [], []
    root = os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in images] or [""])
    how = {"n_channels": len(channels), "every_slice": run.task.every_slice} | run.config.reading
    for start in range(0, len(images), FILES_AT_ONCE):
        loaded = list(datasets.load_images(images[start : start + FILES_AT_ONCE], **how))
        errors += [error for _, error in loaded if isinstance(error, MedlibError)]
        loaded = [each for each in loaded if not isinstance(each[1], MedlibError)]
        found = run.predict(np.concatenate([pixels for _, pixels in loaded])) if loaded else []
        for path, pixels in loaded:
            own, found = np.split(found, [len(pixels)])
            out = masks and masks / os.path.relpath(path, root)
            rows += [{"image": str(path)} | row for row in run.task.answer(path, own, out)]
    return pd.DataFrame(rows, columns=["image", *run.task.answer_names]), errors


# Parts of a training ------------------------------------------------------------------------------


def _plan(images: Images, *, folds: int, seeds: int, seed: int) -> list[Member]:
    """Say which rows each network is trained on and measured on."""
    if folds > 1:
        names = [f"fold {k + 1} of {folds}" for k in range(folds)]
        fold_of = fold_by_subject(images.groups, images.all.labels, n_folds=folds, seed=SPLIT_SEED)
        splits = [np.where(fold_of == k, "test", "train") for k in range(folds)]
    else:
        names = [f"network {k + 1} of {seeds}" for k in range(seeds)] if seeds > 1 else ["network"]
        split_of = images.given_split
        if split_of is None:
            split_of = split_by_subject(images.groups, images.all.labels, seed=SPLIT_SEED)
        splits = [split_of] * seeds
    states = np.random.SeedSequence(seed).generate_state(len(names))
    return [
        Member(name, int(state), *(np.flatnonzero(split_of == part) for part in SPLIT_NAMES))
        for name, state, split_of in zip(names, states, splits, strict=True)
    ]


def _describe(images: Images, data: str, members: list[Member], task) -> dict:
    source = Path(data)
    trained = np.unique(np.concatenate([member.train for member in members]))
    commonest = np.bincount(images.all.labels[trained]).argmax()
    return {
        "source": str(source.resolve()) if source.exists() else str(data),
        "name": images.name,
        "images": len(images.all),
        "split_seed": SPLIT_SEED,
        "fingerprint": _fingerprint(images.all, task),
        "commonest_class": images.class_names[commonest],
        "licence": images.licence,
        "citation": images.citation,
        "card": images.card,
    }


def _train_member(images, member: Member, file: str, *, out, task, config, tell) -> None:
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
        checkpoint=out / runfiles.CHECKPOINT,
        on_epoch=lambda row: tell(member.name, row, config.training["epochs"]),
        **config.training,
    )
    history.insert(0, "network", member.name)
    path = out / runfiles.HISTORY
    if path.exists():
        known = pd.read_csv(path)
        history = pd.concat([known[known["network"] != member.name], history])
    runfiles.write_table(path, history)
    with writing(out / file) as partial:
        network.save(partial)
    (out / runfiles.CHECKPOINT).unlink(missing_ok=True)


def _finish(out: Path, images: Images, members: list[Member], *, task, config) -> dict:
    """Measure and write everything; the metrics go last, so that a kill in between is made good."""
    (out / runfiles.CHECKPOINT).unlink(missing_ok=True)  # of a kill between a network and this
    networks = [runfiles.load_model(out / file) for file in config.model_files]
    of_members = [
        training.predict(network, images.all.images[member.measured], task, mirror=config.mirror)
        for member, network in zip(members, networks, strict=True)
    ]
    rows, predictions = _gather(members, of_members)
    measured, score = images.all.take(rows), f"validation_{task.score_name.lower()}"
    table = task.report(measured, predictions, majority=config.majority)
    metrics = {
        "measured_on": _measured_on(config, len(rows)),
        "metrics": _rows(table),
        "score": task.score_name,
        "networks": [
            task.score(images.all.take(member.measured), found)[score]
            for member, found in zip(members, of_members, strict=True)
        ],
        **_classical(images, members, task, predictions, config.majority),
        "external": {},
    }
    listed = _list_images(images, members, config)
    answers = listed.loc[rows, ["image", "subject", "label"]].reset_index(drop=True)
    answers = answers.rename(columns={"label": "true_label"})
    answers = answers.join(pd.DataFrame(task.columns(measured, predictions)))
    runfiles.write_table(out / runfiles.PREDICTIONS, answers)
    runfiles.write_table(out / runfiles.SPLITS, listed)
    history = pd.read_csv(out / runfiles.HISTORY)
    page = report.page(asdict(config), metrics, history, measured, predictions)
    with writing(out / runfiles.REPORT) as partial:
        partial.write_text(page, encoding="utf-8")
    runfiles.write_json(out / runfiles.METRICS, metrics)
    return metrics


def _gather(members: list[Member], found: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows that were measured, in order, and the mean of their predictions."""
    measured = np.concatenate([member.measured for member in members])
    rows, position = np.unique(measured, return_inverse=True)
    total = np.zeros((len(rows), *found[0].shape[1:]), dtype=found[0].dtype)
    np.add.at(total, position, np.concatenate(found))
    return rows, total / (len(measured) // len(rows))  # once by folds, by each of several seeds


def _classical(images: Images, members, task, predictions, majority: int) -> dict:
    """Measure the classical model on the same images, trained on the same rows."""
    from medlib.models.classical import build_classifier, hand_made_features

    if len(images.all) > CLASSICAL_AT_MOST or task.learns != ("labels",):
        return {"classical": None, "difference": None}
    features = hand_made_features(images.all.images)
    found = []
    for member in members:
        fitted = build_classifier().fit(features[member.train], images.all.labels[member.train])
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


def _measured_on(config: runfiles.Config, n: int) -> str:
    name = config.data["name"]
    if config.folds > 1:
        return (
            f"all {n} images of {name}, each predicted by a network that had not seen its subject"
        )
    averaged = f", by the average of {config.seeds} networks" if config.seeds > 1 else ""
    return f"the {n} test images of {name}{averaged}"


def _list_images(images: Images, members: list[Member], config: runfiles.Config) -> pd.DataFrame:
    """List every image: what it was used for, whose it is, and a hash of its pixels."""
    used = np.full(len(images.all), "train", dtype="U16")
    used[members[0].validation] = "validation"
    for member in members:
        used[member.measured] = member.name if config.folds > 1 else "test"
    listed = {
        "split": used,
        "image": images.all.table.get("image", np.arange(len(images.all))),
        "subject": images.all.subjects,
        "label": np.array(config.class_names)[images.all.labels],
        "hash": image_hashes(images.all.images),
    }
    return pd.DataFrame(listed)


def _unseen(images: Images, folder: Path) -> tuple[Split, int]:
    """Return the images of other data that no network was trained on, and how many were."""
    known = pd.read_csv(folder / runfiles.SPLITS, dtype=str)
    known = known[known["split"] != "test"]
    seen = np.isin(image_hashes(images.all.images), known["hash"].to_numpy(dtype=str))
    if "subject" in images.all.table:  # names that somebody gave, not groups of look-alikes
        seen |= np.isin(images.all.subjects, known["subject"].to_numpy(dtype=str))
    if seen.all():
        raise DataError(
            images.name,
            expected="images the network was not trained on",
            found=f"{len(seen)} that it was trained on, or of the same subjects",
            advice="If the subjects only have the same names, rename them",
        )
    return images.all.take(~seen), int(seen.sum())


def _rows(metrics: pd.DataFrame) -> list[dict]:
    return metrics.astype(object).where(metrics.notna(), None).to_dict("records")


def _fingerprint(split: Split, task) -> str:
    """Hash what the network sees: images, labels, masks or boxes, whatever files are called."""
    digest = hashlib.blake2b("".join(image_hashes(split.images)).encode(), digest_size=16)
    for learnt in (getattr(split, name) for name in task.learns):
        is_one = learnt.dtype != object  # array; boxes are one an image
        digest.update(learnt.tobytes() if is_one else str([b.tolist() for b in learnt]).encode())
    return digest.hexdigest()

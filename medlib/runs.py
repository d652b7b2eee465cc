"""Run folders: train into one, continue it, measure it, predict with it.

A run folder holds ``config.json`` (how it was made, all that is needed to load the data again and
to predict), ``model.keras``, ``history.csv`` (one row an epoch), ``metrics.json``,
``predictions.csv`` (of the test images) and ``splits.csv`` (which image was in which split). While
it trains there is ``checkpoint.npz`` too.
"""

import contextlib
import hashlib
import json
import platform
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from medlib import __version__, datasets, models, training
from medlib.datasets.folder import load_images
from medlib.datasets.structure import MedicalDataset, Split, image_hashes
from medlib.errors import DataError, MedlibError, RunError, UsageError
from medlib.files import remove_partial, replacing

CONFIG, MODEL, CHECKPOINT = "config.json", "model.keras", "checkpoint.npz"
HISTORY, METRICS, PREDICTIONS = "history.csv", "metrics.json", "predictions.csv"
SPLITS = "splits.csv"
FORMAT = 1  # of the run folder; raised when an older medlib could not read a newer one
SPLIT_SEED = 0  # of folders without a split of their own: other weights, but the same test images
COLOURS = ("red", "green", "blue")
MAX_MODEL_CONFIG_BYTES = 16 * 2**20  # unpacked; the course's largest networks have under 1 MB


@dataclass(frozen=True)
class Run:
    """A folder, how its network was made, and the network.

    Parameters
    ----------
    folder : Path
    config : dict
        The content of ``config.json``.
    model : keras.Model
    """

    folder: Path
    config: dict
    model: Any


def train(
    data: str,
    out: str | Path,
    *,
    model: str = "resnet",
    image_size: int | None = None,
    epochs: int | None = None,
    seed: int = 0,
    merge: dict[str, Sequence[str]] | None = None,
    classes: Sequence[str] | None = None,
    window: tuple[float, float] | None = None,
    on_epoch: Callable[[dict, int], None] | None = None,
) -> pd.DataFrame | None:
    """Train a network into a run folder, or continue one that was interrupted.

    Parameters
    ----------
    data : str
        A known set's name, a CSV or a folder; see :func:`medlib.datasets.resolve`.
    out : path
        The run folder: new, empty, or one that this very training was started in.
    model : str
        A name of :data:`medlib.models.NAMES`.
    image_size, merge, classes, window
        As for :func:`medlib.datasets.resolve`.
    epochs : int, optional
        Default: enough for the number of images, see :func:`medlib.training.recipe`.
    seed : int
        Of the weights, the order of the images and their random changes. Splits do not depend on
        it.
    on_epoch : callable, optional
        Called after each epoch with its row of the history and the number of epochs.

    Returns
    -------
    DataFrame or None
        Metrics on the test images, as :func:`medlib.evaluation.classification.report` gives them;
        None if the folder holds this training already, finished.

    Raises
    ------
    UsageError
        If there is no such model, epochs are below 1, or the folder holds another training.
    DataError, DownloadError
        If the data cannot be used.
    RunError
        If the folder is another program's or cannot be written.
    """
    out = Path(out)
    if model not in models.NAMES:
        raise UsageError("model", expected=f"one of {', '.join(models.NAMES)}", found=repr(model))
    if epochs is not None and epochs < 1:
        raise UsageError("epochs", expected="1 or more", found=str(epochs))
    training.expect_seed(seed)
    started = _read_own_config(out)
    dataset = _load_data(data, image_size=image_size, merge=merge, classes=classes, window=window)
    config = _configure(dataset, data, model=model, epochs=epochs, seed=seed)
    config |= {
        "merge": None if merge is None else {name: list(old) for name, old in merge.items()},
        "classes": None if classes is None else list(classes),
        "window": None if window is None else [float(window[0]), float(window[1])],
    }
    if started is None:
        _start(out, config, dataset)
    else:
        _expect_same(out, started, config)
        remove_partial(out)
        if _is_finished(out):
            return None
    training.set_seed(seed)
    network = models.build(model, dataset.image_shape, len(dataset.class_names), seed=seed)
    history = training.fit(
        network,
        dataset.train,
        dataset.validation,
        seed=seed,
        checkpoint=out / CHECKPOINT,
        on_epoch=on_epoch and (lambda row: on_epoch(row, config["training"]["epochs"])),
        **config["training"],
    )
    return _finish(out, network, dataset, history)


def load(folder: str | Path) -> Run:
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
        If it is not a run folder, not finished, or its model is damaged.
    """
    folder = Path(folder)
    config = _read_own_config(folder)
    if config is None:
        raise RunError(str(folder), expected="a run folder of medlib train", found="none")
    if not (folder / MODEL).exists():
        advice = "The same `medlib train` command continues it"
        raise RunError(str(folder), expected="a finished run", found=f"no {MODEL}", advice=advice)
    network = load_model(folder / MODEL)
    shape = tuple(config["image_shape"])
    if network.input_shape[1:] != shape:
        raise RunError(
            str(folder / MODEL),
            expected=f"a network for images of shape {shape}, as {CONFIG} says",
            found=f"one for {network.input_shape[1:]}",
        )
    units = 1 if len(config["class_names"]) == 2 else len(config["class_names"])
    if network.output_shape != (None, units):
        raise RunError(
            str(folder / MODEL),
            expected=f"{units} output{'s' if units > 1 else ''}, as {CONFIG} says",
            found=f"output of shape {network.output_shape}",
        )
    return Run(folder, config, network)


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
    import medlib.preprocessing.augmentation  # noqa: F401  (a model may contain its layers)

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
        if not np.isfinite(np.asarray(weight)).all():
            raise RunError(
                str(path),
                expected="finite weights",
                found=f"NaN or infinity in {weight.path}",
                advice="Train it again",
            )
    return network


def evaluate(run: Run, data: str) -> tuple[pd.DataFrame, str]:
    """Measure a run's network on images it was not trained on, and add this to its metrics.

    On the data it was trained on: the test split. On other data: all images, except those that
    are identical to one of training or validation.

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
        If the data has other classes or channels, or no image that is new to the network.
    """
    config = run.config
    dataset = _load_data(
        data,
        image_size=config["image_size"],
        merge=config["merge"],
        classes=config["classes"],
        window=config["window"],
        channels=_n_channels(data, config),
    )
    for what, expected, found in (
        ("classes", tuple(config["class_names"]), dataset.class_names),
        ("image shape", tuple(config["image_shape"]), dataset.image_shape),
    ):
        if found != expected:
            raise DataError(
                f"{data}: {what}",
                expected=f"{expected}, as the run was trained with",
                found=str(found),
            )
    if _fingerprint(dataset) == config["data"]["fingerprint"]:
        split, name = dataset.test, "test"
        measured_on = f"{len(split)} test images of {data}"
    else:
        split, n_known = _unseen(dataset, run.folder)
        name = str(data)
        measured_on = f"all {len(split)} images of {data}"
        if n_known:
            measured_on += f" that are not among those it was trained on ({n_known} left out)"
    metrics = _report(split, training.predict(run.model, split.images), dataset.class_names)
    write_metrics(run.folder, name, metrics)
    return metrics, measured_on


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
    channels = tuple(run.config["channel_names"])
    if len(channels) == 3 and channels != COLOURS:
        named = ", ".join(channels)
        message = f"{run.folder}: red, green and blue of an image are taken for {named}"
        warnings.warn(message, stacklevel=2)
    names, errors, waiting = [], [], []
    probabilities = [np.empty((0, len(run.config["class_names"])))]
    files = load_images(
        images,
        image_size=run.config["image_size"],
        n_channels=len(channels),
        window=run.config["window"],
    )
    for path, image in files:
        if isinstance(image, MedlibError):
            errors.append(image)
            continue
        names.append(str(path))
        waiting.append(image)
        if len(waiting) == training.PREDICTION_BATCH:
            probabilities.append(training.predict(run.model, np.stack(waiting)))
            waiting = []
    if waiting:
        probabilities.append(training.predict(run.model, np.stack(waiting)))
    columns = _prediction_columns(np.concatenate(probabilities), tuple(run.config["class_names"]))
    return pd.DataFrame({"image": names} | columns), errors


def write_metrics(folder: Path, name: str, metrics: pd.DataFrame) -> None:
    """Put a table of metrics into ``metrics.json`` under a name, beside those already there."""
    path = Path(folder) / METRICS
    known = {}
    if path.exists():
        known = _read_json(path)
    rows = metrics.replace({np.nan: None}).to_dict("records")
    known[name] = {row.pop("metric"): row for row in rows}
    _write_json(path, known)


def write_table(path: str | Path, table: pd.DataFrame) -> None:
    """Write a CSV whole or not at all."""
    with _writing(path) as partial:
        table.to_csv(partial, index=False)


# Beginning and end of a run ----------------------------------------------------------------------


def _read_own_config(folder: Path) -> dict | None:
    """Return the configuration; None for a folder that is new or empty, RunError for another's."""
    foreign = "a new or empty folder, or one that medlib train made"
    try:
        if not folder.exists():
            return None
        if not folder.is_dir():
            raise RunError(str(folder), expected=foreign, found="a file")
        if not (folder / CONFIG).exists():
            others = [path.name for path in folder.iterdir() if ".partial-" not in path.name]
            if others:
                found = f"{', '.join(sorted(others)[:3])}{' ...' if len(others) > 3 else ''}"
                raise RunError(
                    str(folder),
                    expected=foreign,
                    found=found,
                    advice="Nothing was changed; choose another folder",
                )
            return None
    except OSError as error:
        raise training.cannot_write(folder, error) from error
    config = _read_json(folder / CONFIG)
    if not isinstance(config, dict) or "medlib_run" not in config:
        raise RunError(
            str(folder / CONFIG),
            expected="the configuration of a medlib run",
            found="another program's",
            advice="Nothing was changed; choose another folder",
        )
    if config["medlib_run"] != FORMAT:
        raise RunError(
            str(folder / CONFIG),
            expected=f"format {FORMAT}",
            found=f"format {config['medlib_run']}",
            advice=f"It was made by medlib {config.get('medlib', '?')}",
        )
    return config


def _n_channels(data: str, config: dict) -> int | None:
    """How many channels files shall be read as, so that a run for grey images takes colour ones."""
    n_channels = len(config["channel_names"])
    return n_channels if Path(data).exists() and n_channels in (1, 3) else None


def _load_data(data: str, **given) -> MedicalDataset:
    given = {name: value for name, value in given.items() if value is not None}
    dataset = datasets.resolve(data, seed=SPLIT_SEED, **given)
    if len(dataset.image_shape) != 3:
        raise UsageError(
            f"{data}: images",
            expected="single images, (height, width, channels)",
            found=f"shape {dataset.image_shape}",
        )
    return dataset


def _configure(dataset: MedicalDataset, data: str, *, model, epochs, seed) -> dict:
    """Return what the result depends on besides the options for reading the data."""
    source = Path(data)
    return {
        "medlib_run": FORMAT,
        "medlib": __version__,
        "model": model,
        "seed": seed,
        "training": training.recipe(model, n_images=len(dataset.train), epochs=epochs),
        "data": {
            "source": str(source.resolve()) if source.exists() else str(data),
            "name": dataset.name,
            "images": {name: len(split) for name, split in dataset.splits.items()},
            "split_seed": SPLIT_SEED,
            "fingerprint": _fingerprint(dataset),
            "licence": dataset.licence,
            "citation": dataset.citation,
        },
        "class_names": list(dataset.class_names),
        "image_size": dataset.image_shape[0],
        "image_shape": list(dataset.image_shape),
        "channel_names": list(dataset.channel_names),
        "versions": {"python": platform.python_version()}
        | {name: _version(name) for name in ("keras", "tensorflow", "tensorflow-cpu", "numpy")},
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _start(out: Path, config: dict, dataset: MedicalDataset) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise training.cannot_write(out, error) from error
    remove_partial(out)
    _write_json(out / CONFIG, config)  # first: from here on the folder is known as a run


def _expect_same(out: Path, started: dict, wanted: dict) -> None:
    """Raise if a run was started with other settings or data than those wanted now."""
    names = ("model", "seed", "class_names", "image_shape", "merge", "classes")
    differences = [
        (f"{name} {started.get(name)}", f"{name} {wanted[name]}")
        for name in names
        if started.get(name) != wanted[name]
    ]
    before = started.get("training", {})
    differences += [
        (f"{name} {before.get(name)}", f"{name} {value}")
        for name, value in wanted["training"].items()
        if before.get(name) != value
    ]
    if not differences and started["data"]["fingerprint"] != wanted["data"]["fingerprint"]:
        differences = [(f"the images of {started['data']['source']} as they were", "other images")]
    if differences:
        raise UsageError(
            str(out),
            expected=f"what this run was started with ({differences[0][0]})",
            found=differences[0][1],
            advice="Give the same settings to continue it, or choose another folder",
        )


def _is_finished(out: Path) -> bool:
    files = (MODEL, HISTORY, PREDICTIONS, METRICS, SPLITS)
    return not (out / CHECKPOINT).exists() and all((out / name).exists() for name in files)


def _finish(out: Path, network, dataset: MedicalDataset, history: pd.DataFrame) -> pd.DataFrame:
    """Write everything; the checkpoint goes last, so that a kill in between is made good."""
    with _writing(out / MODEL) as partial:
        network.save(partial)
    write_table(out / HISTORY, history)
    write_table(out / SPLITS, _splits_table(dataset))
    probabilities = training.predict(network, dataset.test.images)
    write_table(out / PREDICTIONS, _test_table(dataset, probabilities))
    metrics = _report(dataset.test, probabilities, dataset.class_names)
    write_metrics(out, "test", metrics)
    (out / CHECKPOINT).unlink(missing_ok=True)
    return metrics


# Tables -------------------------------------------------------------------------------------------


def _report(split: Split, probabilities: np.ndarray, class_names: tuple[str, ...]) -> pd.DataFrame:
    from medlib.evaluation import classification

    return classification.report(split.labels, probabilities, class_names, subjects=split.subjects)


def _prediction_columns(probabilities: np.ndarray, class_names: tuple[str, ...]) -> dict:
    from medlib.evaluation.classification import predicted_labels

    columns = {"label": np.array(class_names)[predicted_labels(probabilities)]}
    return columns | {
        f"probability_{name}": probabilities[:, c] for c, name in enumerate(class_names)
    }


def _test_table(dataset: MedicalDataset, probabilities: np.ndarray) -> pd.DataFrame:
    names = np.array(dataset.class_names)
    columns = _prediction_columns(probabilities, dataset.class_names)
    return pd.DataFrame(
        {
            "image": _image_names(dataset.test),
            "subject": dataset.test.subjects,
            "true_label": names[dataset.test.labels],
        }
        | columns
    )


def _splits_table(dataset: MedicalDataset) -> pd.DataFrame:
    """List every image: where it was, whose it is, and a hash of its pixels as the network saw."""
    names = np.array(dataset.class_names)
    tables = [
        pd.DataFrame(
            {
                "split": name,
                "image": _image_names(split),
                "subject": split.subjects,
                "label": names[split.labels],
                "hash": image_hashes(split.images),
            }
        )
        for name, split in dataset.splits.items()
    ]
    return pd.concat(tables)


def _image_names(split: Split) -> np.ndarray:
    """Return file names where there are any, else row numbers."""
    if "image" in split.table:
        return split.table["image"].to_numpy()
    return np.arange(len(split))


def _unseen(dataset: MedicalDataset, folder: Path) -> tuple[Split, int]:
    """Return all images of a data set that were not used to train, and how many were."""
    splits = list(dataset.splits.values())
    everything = Split(
        images=np.concatenate([split.images for split in splits]),
        labels=np.concatenate([split.labels for split in splits]),
        masks=None,
        subjects=np.concatenate([split.subjects for split in splits]),
        table=pd.concat([split.table for split in splits], ignore_index=True),
    )
    try:
        known = pd.read_csv(folder / SPLITS, dtype=str)
        used = known["hash"][known["split"] != "test"]
    except (OSError, ValueError, KeyError) as error:
        raise RunError(
            str(folder / SPLITS), expected="the run's list of images", found=str(error)
        ) from error
    seen = np.isin(image_hashes(everything.images), used.to_numpy(dtype=str))
    if seen.all():
        raise DataError(
            dataset.name,
            expected="images the network was not trained on",
            found=f"{len(seen)} that it was trained on",
        )
    return everything.take(~seen), int(seen.sum())


# Files --------------------------------------------------------------------------------------------


def _fingerprint(dataset: MedicalDataset) -> str:
    """Hash what the network sees: images, labels and splits, whatever the files are called."""
    digest = hashlib.blake2b(digest_size=16)
    for split in dataset.splits.values():
        digest.update("".join(image_hashes(split.images)).encode())
        digest.update(split.labels.tobytes())
    return digest.hexdigest()


@contextlib.contextmanager
def _writing(path: str | Path) -> Iterator[Path]:
    """Write a file whole or not at all, and say so if it cannot be written."""
    try:
        with replacing(path) as partial:
            yield partial
    except OSError as error:
        raise training.cannot_write(path, error) from error


def _write_json(path: Path, content: dict) -> None:
    with _writing(path) as partial:
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

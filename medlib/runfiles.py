"""The files of a run: what a run folder holds, and how each file is read and written.

``config.json`` (how the run was made: all that is needed to load the data again and to predict),
``model.keras`` or ``model_1.keras`` and so on, ``history.csv`` (one row an epoch),
``predictions.csv`` (of every image that was measured, by networks that had not seen its subject),
``splits.csv`` (which image was used for what), ``metrics.json`` and ``report.html``. While the
networks are trained there is ``checkpoint.npz`` too.
"""

import contextlib
import json
import platform
from dataclasses import asdict, dataclass, field, fields
from importlib import metadata
from pathlib import Path

import numpy as np
import pandas as pd

from medlib import __version__, training
from medlib.errors import RunError, UsageError
from medlib.files import expect_writable, writing

CONFIG, CHECKPOINT = "config.json", "checkpoint.npz"
HISTORY, METRICS, PREDICTIONS = "history.csv", "metrics.json", "predictions.csv"
SPLITS, REPORT = "splits.csv", "report.html"
FORMAT = 2  # of the run folder; raised when an older medlib could not read a newer one


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in ("keras", "tensorflow", "tensorflow-cpu", "numpy", "scikit-learn"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


@dataclass(frozen=True, kw_only=True)
class Config:
    """What a run's result depends on, and what is needed to use its networks; ``config.json``.

    ``merge``, ``classes``, ``positive`` and ``window`` are as given for reading the data;
    ``training`` holds the arguments of :func:`medlib.training.fit`; ``data`` says where the images
    came from, how many they were, and a hash of what the networks saw.
    """

    medlib_run: int = FORMAT
    medlib: str = __version__
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
    versions: dict = field(default_factory=_versions)

    @property
    def model_files(self) -> list[str]:
        """Names of the files of the networks."""
        n_networks = max(self.folds, self.seeds)
        if n_networks == 1:
            return ["model.keras"]
        return [f"model_{i + 1}.keras" for i in range(n_networks)]

    @property
    def reading(self) -> dict:
        """Arguments with which other images are read as those of the training were."""
        *depth, _, side, _ = self.image_shape
        return {"depth": depth[0] if depth else None, "image_size": side, "window": self.window}

    @property
    def mirror(self) -> bool:
        """Whether predictions are averaged with those for the mirrored image."""
        return bool(self.training["augmentation"].get("flip"))

    @property
    def majority(self) -> int:
        """The class that was commonest in training."""
        return self.class_names.index(self.data["commonest_class"])


def read_config(folder: Path) -> Config | None:
    """Return the configuration; None for a folder that is new or empty, RunError for another's."""
    foreign = "a new or empty folder, or one that medlib train made"
    other = "Nothing was changed; choose another folder"
    if not folder.exists():
        return None
    if not folder.is_dir():
        raise RunError(str(folder), expected=foreign, found="a file")
    if not (folder / CONFIG).exists():
        with expect_writable(folder):
            names = sorted(path.name for path in folder.iterdir())
        names = [name for name in names if ".partial-" not in name]
        if names:
            found = f"{', '.join(names[:3])}{' ...' if len(names) > 3 else ''}"
            raise RunError(str(folder), expected=foreign, found=found, advice=other)
        return None
    content = _read_json(folder / CONFIG)
    known = content if isinstance(content, dict) else {}
    if known.get("medlib_run") != FORMAT or known.keys() != {f.name for f in fields(Config)}:
        expected = f"the configuration of a medlib run, format {FORMAT}"
        found = f"format {known.get('medlib_run')} of medlib {known.get('medlib')}"
        raise RunError(str(folder / CONFIG), expected=expected, found=found, advice=other)
    return Config(**content)


def expect_same(out: Path, started: Config, wanted: Config) -> None:
    """Raise UsageError if a run was started with other settings or data than those wanted now."""
    before, now = _settings(started), _settings(wanted)
    changed = [name for name in now if before.get(name) != now[name]]
    if changed:
        expected, found = (f"{changed[0]} {settings.get(changed[0])}" for settings in (before, now))
    elif started.data["fingerprint"] != wanted.data["fingerprint"]:
        expected, found = "the images as they were", "other images"
    else:
        return
    expected = f"what this run was started with ({expected})"
    advice = "Give the same settings to continue it, or choose another folder"
    raise UsageError(str(out), expected=expected, found=found, advice=advice)


def _settings(config: Config) -> dict:
    """Everything but where it ran and on which images; as in the file, so without tuples."""
    content = json.loads(json.dumps(asdict(config)))
    not_compared = ("medlib", "versions", "data", "training")
    settings = {name: value for name, value in content.items() if name not in not_compared}
    return settings | content["training"]


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
        network = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises anything on damaged files
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise RunError(str(path), expected="a Keras model file", found=reason) from error
    bad = [weight.path for weight in network.weights if not np.isfinite(weight.numpy()).all()]
    if bad:
        found = f"NaN or infinity in {bad[0]}"
        raise RunError(str(path), expected="finite weights", found=found, advice="Train it again")
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
        ``external``: rows by the name of the data that ``evaluate`` was called with.
    """
    return _read_json(Path(folder) / METRICS)


def write_table(path: str | Path, table: pd.DataFrame) -> None:
    """Write a CSV whole or not at all."""
    with writing(path) as partial:
        table.to_csv(partial, index=False)


def write_json(path: Path, content: dict) -> None:
    """Write JSON whole or not at all."""
    with writing(path) as partial:
        partial.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")


def _read_json(path: Path):
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(str(path), expected="a JSON file of a run", found=str(error)) from error

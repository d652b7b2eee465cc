"""The parts of a training that are Keras's: a model that changes its images, and callbacks.

They serve any ``keras.Model``, also one with a ``train_step`` of its own, such as a GAN.
"""

import json
import math
import zipfile
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from medlib.errors import RunError
from medlib.files import writing
from medlib.preprocessing.augmentation import RandomAffine, RandomIntensity


class AugmentedModel(keras.Model):
    """A network that is trained on changed images; its weights are the network's own.

    Parameters
    ----------
    network : keras.Model
    task : medlib.tasks.Classification
        Its ``augment`` says how images and targets change together.
    augmentation : dict
        Arguments of :class:`RandomAffine` and :class:`RandomIntensity`.
    """

    def __init__(self, network, task, augmentation: dict):
        super().__init__()
        self.network, self.task = network, task
        grey = {name: augmentation[name] for name in ("gamma", "contrast") if name in augmentation}
        moves = {name: value for name, value in augmentation.items() if name not in grey}
        self.changes = [RandomAffine(**moves)] if moves else []
        self.changes += [RandomIntensity(**grey)] if grey else []

    def call(self, images, training=False):
        """Return what the network says of the images as they are."""
        return self.network(images, training=training)

    def change(self, given, training=True):
        """Return images, or a dict of images, masks and boxes, changed at random."""
        for layer in self.changes:
            given = layer(given, training=training)
        return given

    def train_step(self, data):
        """Change a batch, then learn from it."""
        return super().train_step(self.task.augment(self.change, *data))


class SeedEpochs(keras.callbacks.Callback):
    """Let everything random in an epoch follow from the seed and the number of the epoch."""

    def __init__(self, seed: int):
        super().__init__()
        self.seed = seed

    def on_epoch_begin(self, epoch, logs=None):
        """Set every random generator inside the model."""
        generators = [v for v in self.model.variables if v.name == "seed_generator_state"]
        for number, state in enumerate(generators):
            spawned = np.random.SeedSequence(self.seed, spawn_key=(epoch, number))
            state.assign(np.array([spawned.generate_state(1)[0] >> 1, 0], dtype=state.dtype))


class History(keras.callbacks.Callback):
    """Keep a row for each epoch; stop with an error when a loss is not a number.

    Parameters
    ----------
    measure : callable
        Gives further columns of the row; called with the running averages of the weights in place,
        where the optimiser keeps them.
    on_epoch : callable
        Gets the row.
    """

    def __init__(self, measure: Callable[[], dict], on_epoch: Callable[[dict], None]):
        super().__init__()
        self.rows: list[dict] = []
        self.measure, self.on_epoch = measure, on_epoch

    def on_epoch_end(self, epoch, logs=None):
        """Measure and add a row."""
        row = {"epoch": epoch + 1} | {name: float(value) for name, value in logs.items()}
        row |= self._averaged(self.measure)
        losses = {name: value for name, value in row.items() if name.endswith("loss")}
        if not all(map(math.isfinite, losses.values())):
            raise RunError(
                f"epoch {epoch + 1}",
                expected="a finite loss",
                found=", ".join(f"{name} {value}" for name, value in losses.items()),
                advice="Use a smaller learning rate",
            )
        self.rows.append(row)

    def _averaged(self, measure: Callable[[], dict]) -> dict:
        optimizer = getattr(self.model, "optimizer", None)
        if not getattr(optimizer, "use_ema", False):
            return measure()
        variables = self.model.trainable_variables
        own = [variable.numpy() for variable in variables]
        optimizer.finalize_variable_values(variables)
        try:
            return measure()
        finally:
            for variable, value in zip(variables, own, strict=True):
                variable.assign(value)


class ExactResume(keras.callbacks.Callback):
    """Keep everything a training needs to go on as if it had not been stopped, in one file.

    Parameters
    ----------
    path : path or None
        None keeps nothing.
    history : History
    """

    def __init__(self, path: str | Path | None, history: History):
        super().__init__()
        self.path = None if path is None else Path(path)
        self.history = history

    def restore(self, model) -> None:
        """Give a built and compiled model the state in the file, if there is one.

        Raises
        ------
        RunError
            If the file is damaged or of another model.
        """
        if self.path is None or not self.path.exists():
            return
        variables = _state(model)
        try:
            with np.load(self.path, allow_pickle=False) as saved:
                rows = json.loads(str(saved["history"]))
                values = [saved[name] for name in saved if name != "history"]
            if [value.shape for value in values] != [tuple(v.shape) for v in variables]:
                raise ValueError("other weights")
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise RunError(
                str(self.path),
                expected="a checkpoint of this training",
                found=str(error),
                advice="Remove it to train from the start",
            ) from error
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
        self.history.rows.extend(rows)

    def on_epoch_end(self, epoch, logs=None):
        """Write the file, whole or not at all, and only then tell that the epoch is done."""
        if self.path is not None:
            arrays = {f"state_{i}": v.numpy() for i, v in enumerate(_state(self.model))}
            with writing(self.path) as partial, partial.open("wb") as file:
                np.savez(file, history=json.dumps(self.history.rows), **arrays)
        self.history.on_epoch(self.history.rows[-1])


def _state(model) -> list:
    """Return all weights of a model and of its optimisers."""
    optimizers = [value for value in vars(model).values() if isinstance(value, keras.Optimizer)]
    return [*model.weights, *(v for each in optimizers for v in each.variables)]

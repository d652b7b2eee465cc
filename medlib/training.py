"""One thin layer over ``model.fit``: seeds, a recipe that works, and exact resume."""

import contextlib
import json
import math
import os
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from medlib.errors import RunError, UsageError
from medlib.files import replacing

# From two cross-validation folds of BreastMNIST. How the epoch is chosen and how far the weights
# are averaged (see fit) is from six folds each of BreastMNIST and of two tasks on larger images
# of breast ultrasound, within training and validation data. An earlier rule was changed after one
# test result of PneumoniaMNIST had been seen, and this one was sought after one of breast
# ultrasound.
RECIPES = {
    "cnn": {
        "batch_size": 32,
        "learning_rate": 1e-3,
        "augmentation": {"flip": True, "shift": 0.05, "rotation": 10.0, "zoom": 0.1},
    },
    "resnet": {
        "batch_size": 32,
        "learning_rate": 1e-3,
        "augmentation": {"flip": True, "shift": 0.05, "rotation": 10.0, "zoom": 0.1},
    },
}
STEPS = 800  # a small set gets as many epochs as make this many steps ...
EPOCHS_AT_LEAST, EPOCHS_AT_MOST = 8, 100  # ... within these bounds
PREDICTION_BATCH = 128


def set_seed(seed: int) -> None:
    """Seed Python, NumPy and Keras, and make TensorFlow's operations repeatable.

    The same seed on the same machine then gives the same weights, bit for bit. Keras is imported
    here without TensorFlow's log lines, if it was not imported before.

    Parameters
    ----------
    seed : int
        0 to 2**32 - 1.
    """
    expect_seed(seed)
    keras = import_keras()
    keras.utils.set_random_seed(seed)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()


def expect_seed(seed: int) -> None:
    """Raise UsageError for a number that cannot be a seed."""
    if not 0 <= seed < 2**32:
        raise UsageError("seed", expected="0 to 4294967295", found=str(seed))


def import_keras():
    """Import and return Keras, keeping TensorFlow's start-up messages off the screen."""
    if "keras" in sys.modules and "tensorflow" in sys.modules:
        import keras

        return keras
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _silent_stderr():
        import keras
        import tensorflow as tf

        tf.constant(0.0)  # the last messages come with the first operation
    return keras


def recipe(model: str, *, n_images: int, epochs: int | None = None) -> dict:
    """Return the arguments of :func:`fit` that suit a network and a number of images.

    Parameters
    ----------
    model : str
        A name of :data:`medlib.models.NAMES`.
    n_images : int
        Training images. Few images get more epochs.
    epochs : int, optional
        Instead of the number found from ``n_images``.

    Returns
    -------
    dict
        ``epochs``, ``batch_size``, ``learning_rate`` and ``augmentation``.
    """
    chosen = dict(RECIPES[model])
    if epochs is None:
        steps = max(1, n_images // chosen["batch_size"])
        epochs = min(max(EPOCHS_AT_LEAST, math.ceil(STEPS / steps)), EPOCHS_AT_MOST)
    return {"epochs": epochs} | chosen


def fit(
    model,
    train,
    validation,
    *,
    epochs: int,
    seed: int,
    batch_size: int = 32,
    learning_rate: float = 1e-3,
    weight_decay: float = 1e-3,
    label_smoothing: float = 0.1,
    averaging: float = 0.1,
    augmentation: dict | None = None,
    checkpoint: str | Path | None = None,
    on_epoch: Callable[[dict], None] | None = None,
) -> pd.DataFrame:
    """Train a classifier, and leave in it the weights with the lowest validation loss.

    AdamW with a cosine schedule that ends at zero, label smoothing, and a running average of the
    weights, which is what validation measures and what the model keeps. Only the second half of the
    epochs is chosen from: before, a small validation set can rank an unfinished network first by
    chance. The loss (cross-entropy) decides and not the AUC, which a few dozen validation images
    give only coarsely, and which does not notice probabilities that are all too high.

    Everything random in an epoch follows from ``seed`` and the number of the epoch. So a training
    that is killed, and started again with the same arguments and ``checkpoint``, goes on after the
    last finished epoch and ends with the same weights as one that was left alone.

    Parameters
    ----------
    model : keras.Model
        Ends in one sigmoid unit or a softmax. Need not be compiled.
    train, validation : medlib.datasets.structure.Split
    epochs : int
    seed : int
    batch_size : int
        Of what is left after the last full batch of an epoch, nothing is used in that epoch.
    learning_rate, weight_decay : float
        Of AdamW; the first is where the schedule starts.
    label_smoothing : float
    averaging : float
        Share of the training that the running average of the weights spans; 0 keeps the weights
        themselves. With 0.1, the start has a weight of e^-5 by the middle of the training.
    augmentation : dict, optional
        Arguments of :class:`medlib.preprocessing.augmentation.RandomAffine`.
    checkpoint : path, optional
        File that is rewritten after each epoch and read at the start if it exists. The caller
        removes it.
    on_epoch : callable, optional
        Called after each epoch with its row of the history.

    Returns
    -------
    DataFrame
        One row an epoch: ``epoch`` (from 1), ``loss``, ``validation_loss``, ``validation_auc``, and
        ``kept``, true for the epoch whose weights the model has now.

    Raises
    ------
    UsageError
        If ``epochs`` or ``batch_size`` is below 1.
    RunError
        If the checkpoint cannot be read or written, or the loss is not a number.
    """
    for name, value in (("epochs", epochs), ("batch_size", batch_size)):
        if value < 1:
            raise UsageError(name, expected="1 or more", found=str(value))
    keras = import_keras()
    n_classes = max(2, model.output_shape[-1])
    batch_size = min(batch_size, len(train))
    steps = len(train) // batch_size
    trainer = _augmented(model, augmentation)
    optimizer = keras.optimizers.AdamW(
        keras.optimizers.schedules.CosineDecay(learning_rate, epochs * steps),
        weight_decay=weight_decay,
        use_ema=averaging > 0,
        ema_momentum=1 - 1 / max(1, averaging * epochs * steps),
    )
    if n_classes == 2:
        loss = keras.losses.BinaryCrossentropy(label_smoothing=label_smoothing)
    else:
        loss = keras.losses.CategoricalCrossentropy(label_smoothing=label_smoothing)
    trainer.compile(optimizer=optimizer, loss=loss)
    optimizer.build(trainer.trainable_variables)

    progress = _Progress(model, trainer, checkpoint, choose_after=epochs // 2)
    progress.restore()
    first = len(progress.history)

    def begin(epoch, logs=None):
        _reseed(trainer, seed, epoch)

    def end(epoch, logs=None):
        with _averaged(model, optimizer):
            probabilities = predict(model, validation.images)
            row = {"epoch": epoch + 1, "loss": float(logs["loss"])}
            row |= _measure(validation.labels, probabilities)
            progress.finish_epoch(row)
        progress.save()
        if on_epoch is not None:
            on_epoch(row)

    if first < epochs:
        stop = keras.callbacks.LambdaCallback(on_epoch_begin=begin, on_epoch_end=end)
        trainer.fit(
            _batches(train, n_classes, batch_size, seed=seed, epochs=range(first, epochs)),
            initial_epoch=first,
            epochs=epochs,
            steps_per_epoch=steps,
            shuffle=False,
            verbose=0,
            callbacks=[stop],
        )
    model.set_weights(progress.best)
    history = pd.DataFrame(progress.history)
    return history.assign(kept=history["epoch"] == progress.best_epoch())


def predict(model, images: np.ndarray) -> np.ndarray:
    """Return the probability of every class.

    Parameters
    ----------
    model : keras.Model
        Ends in one sigmoid unit or a softmax.
    images : ndarray of float32, shape (n, height, width, channels)

    Returns
    -------
    ndarray of float64, shape (n, classes)
        Rows sum to 1.
    """
    probabilities = model.predict(images, batch_size=PREDICTION_BATCH, verbose=0)
    probabilities = np.asarray(probabilities, dtype=np.float64)
    if probabilities.shape[1] == 1:
        probabilities = np.hstack([1 - probabilities, probabilities])
    return probabilities / probabilities.sum(axis=1, keepdims=True)


class _Progress:
    """What a training must remember from one epoch to the next, in memory and in one file."""

    def __init__(self, model, trainer, path: str | Path | None, *, choose_after: int):
        self.model, self.trainer, self.choose_after = model, trainer, choose_after
        self.path = None if path is None else Path(path)
        self.history: list[dict] = []
        self.best: list[np.ndarray] = []

    def finish_epoch(self, row: dict) -> None:
        """Add an epoch, and keep the model's present weights if it is the best so far."""
        if not math.isfinite(row["loss"] + row["validation_loss"]):
            raise RunError(
                f"epoch {row['epoch']}",
                expected="a finite loss",
                found=f"{row['loss']} in training, {row['validation_loss']} in validation",
                advice="Use a smaller learning rate",
            )
        self.history.append(row)
        if row["epoch"] == self.best_epoch():
            self.best = self.model.get_weights()

    def best_epoch(self) -> int:
        """Return the epoch with the lowest validation loss, late ones before early ones."""

        def quality(row):
            return row["epoch"] > self.choose_after, -row["validation_loss"], row["epoch"]

        return max(self.history, key=quality)["epoch"]

    def save(self) -> None:
        if self.path is None:
            return
        arrays = {f"state_{i}": value.numpy() for i, value in enumerate(self._variables())}
        arrays |= {f"best_{i}": value for i, value in enumerate(self.best)}
        try:
            with replacing(self.path) as partial, partial.open("wb") as file:
                np.savez(file, history=json.dumps(self.history), **arrays)
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def restore(self) -> None:
        if self.path is None or not self.path.exists():
            return
        variables = self._variables()
        try:
            with np.load(self.path, allow_pickle=False) as saved:
                self.history = json.loads(str(saved["history"]))
                state = [saved[f"state_{i}"] for i in range(len(variables))]
                self.best = [saved[f"best_{i}"] for i in range(len(self.model.weights))]
            if any(v.shape != value.shape for v, value in zip(variables, state, strict=True)):
                raise ValueError("weights of other shapes")
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise RunError(
                str(self.path),
                expected="a checkpoint of this training",
                found=str(error),
                advice="Remove it to train from the start",
            ) from error
        for variable, value in zip(variables, state, strict=True):
            variable.assign(value)

    def _variables(self) -> list:
        return [*self.model.weights, *self.trainer.optimizer.variables]


def cannot_write(path: str | Path, error: OSError) -> RunError:
    """Return the error to raise when a file of a run could not be written."""
    return RunError(
        str(path),
        expected="a place that can be written",
        found=error.strerror or str(error),
        advice="Free some space or choose another folder; what was complete before still is",
    )


def _augmented(model, augmentation: dict | None):
    """Put the random changes before the model; the weights are the model's own."""
    import keras

    inputs = keras.Input(model.input_shape[1:])
    changed = inputs
    if augmentation:
        from medlib.preprocessing.augmentation import RandomAffine

        changed = RandomAffine(**augmentation)(inputs)
    return keras.Model(inputs, model(changed))


def _batches(split, n_classes: int, batch_size: int, *, seed: int, epochs: range):
    """Return a tf.data.Dataset of all batches of these epochs, in the order each epoch has."""
    import tensorflow as tf

    steps = len(split) // batch_size
    orders = [np.random.default_rng((seed, epoch)).permutation(len(split)) for epoch in epochs]
    rows = np.stack(orders)[:, : steps * batch_size].reshape(-1, batch_size)
    targets = np.eye(n_classes, dtype=np.float32)[split.labels]
    with tf.device("cpu"):
        images, targets = tf.constant(split.images), tf.constant(targets[:, -_units(n_classes) :])
    stream = tf.data.Dataset.from_tensor_slices(rows)
    stream = stream.map(lambda chosen: (tf.gather(images, chosen), tf.gather(targets, chosen)))
    return stream.prefetch(2)


def _units(n_classes: int) -> int:
    return 1 if n_classes == 2 else n_classes


def _reseed(trainer, seed: int, epoch: int) -> None:
    """Set every random generator inside the network from the seed and the epoch."""
    generators = [v for v in trainer.variables if v.name == "seed_generator_state"]
    for number, state in enumerate(generators):
        drawn = np.random.default_rng((seed, epoch, number + 1)).integers(2**31)
        state.assign(np.array([drawn, 0], dtype=state.dtype))


@contextlib.contextmanager
def _averaged(model, optimizer) -> Iterator[None]:
    """Give the model the running average of its weights for a while."""
    if not optimizer.use_ema:
        yield
        return
    own = [variable.numpy() for variable in model.trainable_variables]
    averages = optimizer._model_variables_moving_average
    try:
        for variable, average in zip(model.trainable_variables, averages, strict=True):
            variable.assign(average)
        yield
    finally:
        for variable, value in zip(model.trainable_variables, own, strict=True):
            variable.assign(value)


def _measure(labels: np.ndarray, probabilities: np.ndarray) -> dict:
    """Return cross-entropy and AUC (mean over classes, each against the rest) on validation."""
    from sklearn.metrics import roc_auc_score

    if not np.isfinite(probabilities).all():
        return {"validation_loss": math.nan, "validation_auc": math.nan}
    chosen = probabilities[np.arange(len(labels)), labels]
    entropy = -np.log(np.clip(chosen, 1e-7, 1)).mean()
    classes = range(1, 2) if probabilities.shape[1] == 2 else range(probabilities.shape[1])
    aucs = [
        roc_auc_score(labels == c, probabilities[:, c])
        for c in classes
        if 0 < (labels == c).sum() < len(labels)
    ]
    return {
        "validation_loss": float(entropy),
        "validation_auc": float(np.mean(aucs)) if aucs else math.nan,
    }


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """Send file descriptor 2 nowhere: TensorFlow's C++ part writes to it, not to sys.stderr."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)

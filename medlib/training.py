"""One thin layer over ``model.fit``: seeds, a recipe that works, and exact resume."""

import contextlib
import math
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from medlib.errors import UsageError

# Found by five-fold cross-validation inside breast ultrasound (tumour or normal, benign or
# malignant), the training and validation images of BreastMNIST, and those of simbrain: networks,
# strength of the changes, steps, and the last averaged weights against those of a chosen epoch;
# `benchmarks/recipe.py` compares networks and settings again. Not so the rate of the recurrent
# network: it is that of the plain one, whose encoder it has.
LEARNING_RATES = {"cnn": 4e-3, "resnet": 1e-3, "rnn": 4e-3, "vit": 8e-3, "vit_patches": 1e-3}
# Tried on simbrain and, the first, on breast ultrasound.
MOVED = {"flip": True, "shift": 0.1, "rotation": 10.0, "zoom": 0.1}
OF_ITS_OWN = {
    "unet": {"learning_rate": 1e-2, "batch_size": 16, "augmentation": MOVED},
    "detector": {"learning_rate": 2e-2, "batch_size": 16, "augmentation": MOVED},
}
AUGMENTATION = {
    "flip": True,
    "shift": 0.05,
    "rotation": 10.0,
    "zoom": 0.1,
    "gamma": 0.3,
    "contrast": 0.2,
}
BATCH_SIZE = 32
STEPS = 800  # a small set gets as many epochs as make this many steps ...
EPOCHS_AT_LEAST, EPOCHS_AT_MOST = 8, 100  # ... within these bounds
PREDICTION_BATCH = 128
SETTLED_ON = 2_048  # images, for the means of batch normalisation


def set_seed(seed: int) -> None:
    """Seed Python, NumPy and Keras, and make TensorFlow's operations repeatable.

    The same seed on the same machine then gives the same weights, bit for bit. Keras is imported
    here without TensorFlow's log lines, if it was not imported before.

    Parameters
    ----------
    seed : int
        0 to 2**32 - 1.
    """
    keras = import_keras()
    keras.utils.set_random_seed(seed)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()


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
        tf.get_logger().setLevel("ERROR")  # it warns when several networks are used in turn
    return keras


def recipe(model: str, *, n_images: int, epochs: int | None = None) -> dict:
    """Return the arguments of :func:`fit` that suit a network and a number of images.

    Parameters
    ----------
    model : str
        A name that :func:`medlib.models.build` knows.
    n_images : int
        Training images. Few images get more epochs.
    epochs : int, optional
        Instead of the number found from ``n_images``.

    Returns
    -------
    dict
        ``epochs``, ``batch_size``, ``learning_rate`` and ``augmentation``.
    """
    if epochs is None:
        steps = max(1, n_images // BATCH_SIZE)
        epochs = min(max(EPOCHS_AT_LEAST, math.ceil(STEPS / steps)), EPOCHS_AT_MOST)
    return {
        "epochs": epochs,
        "batch_size": BATCH_SIZE,
        "learning_rate": LEARNING_RATES.get(model),
        "augmentation": AUGMENTATION,
    } | OF_ITS_OWN.get(model, {})


def fit(
    model,
    train,
    validation=None,
    *,
    task,
    epochs: int,
    seed: int,
    batch_size: int = BATCH_SIZE,
    learning_rate: float = 1e-3,
    weight_decay: float = 1e-3,
    label_smoothing: float = 0.1,
    warm_up: float = 0.1,
    averaging: float = 0.1,
    augmentation: dict | None = None,
    checkpoint: str | Path | None = None,
    on_epoch: Callable[[dict], None] = lambda row: None,
) -> pd.DataFrame:
    """Train a network, and leave in it the running average of its weights at the end.

    AdamW, a learning rate that rises linearly and then falls to zero along a cosine, label
    smoothing, random changes of the images. No epoch is chosen: the schedule ends where the
    network is best, and images kept back for choosing would be missing from the training. At the
    end batch normalisation measures its means anew, on images as they are.

    Everything random in an epoch follows from ``seed`` and the number of the epoch. So a training
    that is killed, and started again with the same arguments and ``checkpoint``, goes on after the
    last finished epoch and ends with the same weights as one that was left alone.

    Parameters
    ----------
    model : keras.Model
        If it is compiled already (a GAN with a ``train_step`` of its own), it is trained as it is,
        and the arguments from ``learning_rate`` to ``augmentation`` do not apply; its optimisers
        must be built.
    train : medlib.datasets.structure.Split
    validation : Split, optional
        Measured after each epoch for the history; it decides nothing.
    task : medlib.tasks.Classification, or another task
    epochs : int
    seed : int
    batch_size : int
        Of what is left after the last full batch of an epoch, nothing is used in that epoch.
    learning_rate, weight_decay : float
        Of AdamW; the first is the highest of the schedule.
    label_smoothing : float
    warm_up : float
        Share of the training in which the learning rate rises.
    averaging : float
        Share of the training that the running average of the weights spans; 0 keeps the weights
        themselves.
    augmentation : dict, optional
        Arguments of the layers of :mod:`medlib.preprocessing.augmentation`.
    checkpoint : path, optional
        File that keeps the state after each epoch; read if it exists.
    on_epoch : callable
        Called after each epoch with its row of the history.

    Returns
    -------
    DataFrame
        One row an epoch: ``epoch`` (from 1), ``loss``, and on validation what the task scores
        (``validation_loss``, ``validation_auc``).

    Raises
    ------
    UsageError
        If the network takes images of another shape or has outputs for other classes.
    RunError
        If the checkpoint cannot be read or written, or the loss is not a number.
    """
    keras = import_keras()
    from medlib.callbacks import AugmentedModel, ExactResume, History, SeedEpochs

    batch_size = min(batch_size, len(train))
    steps = len(train) // batch_size
    trainer, is_ours = model, not model.compiled
    if is_ours:
        _expect_to_fit(model, train.images, task)
        trainer = AugmentedModel(model, task, augmentation or {})
        warm_up_steps = int(warm_up * epochs * steps)
        schedule = keras.optimizers.schedules.CosineDecay(
            learning_rate / 20,
            epochs * steps - warm_up_steps,
            warmup_target=learning_rate,
            warmup_steps=warm_up_steps,
        )
        optimizer = keras.optimizers.AdamW(
            schedule,
            weight_decay=weight_decay,
            use_ema=averaging > 0,
            ema_momentum=1 - 1 / max(1, averaging * epochs * steps),
        )
        trainer.compile(optimizer=optimizer, loss=task.loss(label_smoothing=label_smoothing))
        optimizer.build(model.trainable_variables)

    def measure() -> dict:
        if validation is None:
            return {}
        return task.score(validation, predict(model, validation.images, task))

    history = History(measure, on_epoch)
    resume = ExactResume(checkpoint, history)
    resume.restore(trainer)
    first = len(history.rows)
    if first < epochs:
        trainer.fit(
            _batches(train, task, batch_size, seed=seed, epochs=range(first, epochs)),
            initial_epoch=first,
            epochs=epochs,
            steps_per_epoch=steps,
            shuffle=False,
            verbose=0,
            callbacks=[SeedEpochs(seed), history, resume],
        )
    elif getattr(getattr(trainer, "optimizer", None), "use_ema", False):
        trainer.optimizer.finalize_variable_values(trainer.trainable_variables)
    if is_ours:
        _settle_normalisation(model, train.images, seed=seed)
        history.rows[-1] |= measure()  # of the network as it is left
    return pd.DataFrame(history.rows)


def predict(model, images: np.ndarray, task, *, mirror: bool = False) -> np.ndarray:
    """Return what the task predicts; for classes, the probability of each.

    Parameters
    ----------
    model : keras.Model
    images : ndarray of float32, shape (n, [depth,] height, width, channels)
    task : medlib.tasks.Classification, or another task
    mirror : bool
        Average with the predictions for the images mirrored left to right.

    Returns
    -------
    ndarray of float64, shape (n, classes)

    Raises
    ------
    UsageError
        If the network takes images of another depth, size or number of channels, or has outputs
        for other classes.
    """
    _expect_to_fit(model, images, task)
    predictions = task.predict(model, images, batch_size=PREDICTION_BATCH)
    if mirror:
        mirrored = task.predict(model, images[..., ::-1, :], batch_size=PREDICTION_BATCH)
        predictions = (predictions + task.unmirror(mirrored)) / 2
    return predictions


def _expect_to_fit(model, images, task) -> None:
    """Raise UsageError unless a network takes these images, all of one shape, and fits the task."""
    if not hasattr(model, "input_shape"):  # a network without layers in a row, such as a GAN
        return
    wanted = tuple(model.input_shape[1:])
    found = sorted({np.shape(image) for image in images})
    fits = len(found) == 1 and len(found[0]) == len(wanted)
    if not fits or any(w not in (None, n) for w, n in zip(wanted, found[0], strict=True)):
        shapes = " and ".join(map(str, found[:3])) or "no images"
        raise UsageError("images", expected=f"shape {wanted}, as the network takes", found=shapes)
    units, outputs = getattr(task, "n_units", None), model.output_shape[-1]
    if units not in (None, outputs):
        names = ", ".join(task.class_names)
        raise UsageError("network", expected=f"{units} outputs for {names}", found=str(outputs))


def _settle_normalisation(model, images: np.ndarray, *, seed: int) -> None:
    """Let batch normalisation measure means and variances for the weights that are kept.

    While it trained, it saw changed images, blurred where they were turned, and weights that were
    not averaged yet. Izmailov and others, Averaging Weights Leads to Wider Optima and Better
    Generalization, UAI 2018, algorithm 1, last line.
    """
    import keras

    layers = [each for each in model.layers if isinstance(each, keras.layers.BatchNormalization)]
    momenta = [layer.momentum for layer in layers]
    order = np.random.default_rng(seed).permutation(len(images))[:SETTLED_ON]
    batches = np.array_split(order, math.ceil(len(order) / PREDICTION_BATCH)) if layers else []
    for step, rows in enumerate(batches):
        for layer in layers:
            layer.momentum = step / (step + 1)  # all batches count the same
        model(images[rows], training=True)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum


def _batches(split, task, batch_size: int, *, seed: int, epochs: range):
    """Return a tf.data.Dataset of all batches of these epochs, in the order each epoch has.

    Batches are cut out of the arrays one by one: a copy of all images would double the memory.
    """
    import tensorflow as tf

    steps = len(split) // batch_size
    targets = task.targets(split)

    def batches():
        for epoch in epochs:
            order = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(epoch,)))
            rows = order.permutation(len(split))[: steps * batch_size]
            for chosen in rows.reshape(-1, batch_size):
                yield split.images[chosen], targets[chosen]

    like = tuple(
        tf.TensorSpec((batch_size, *array.shape[1:]), array.dtype)
        for array in (split.images, targets)
    )
    return tf.data.Dataset.from_generator(batches, output_signature=like).prefetch(2)


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

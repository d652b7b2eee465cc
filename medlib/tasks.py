"""What differs between tasks, so that training, predicting and run folders need not ask.

A task knows its last layer, the array to learn, the loss, how images and targets are changed
together, the score on validation images, and the report. ``Classification`` is the pattern; a task
is any object with these methods.
"""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from medlib.datasets.structure import Split
from medlib.errors import DataError
from medlib.evaluation import classification
from medlib.evaluation.statistics import area_under_curve


@dataclass(frozen=True)
class Classification:
    """One class for each image.

    Parameters
    ----------
    class_names : tuple of str
        Two give one sigmoid unit, the probability of class 1; more give a softmax over them.
    """

    class_names: tuple[str, ...]
    name = "classify"

    @property
    def n_units(self) -> int:
        """Units of the last layer."""
        return 1 if len(self.class_names) == 2 else len(self.class_names)

    def head(self, features, *, seed: int):
        """Turn features, shape (n, k), into probabilities, shape (n, units)."""
        import keras

        return keras.layers.Dense(
            self.n_units,
            activation="sigmoid" if self.n_units == 1 else "softmax",
            kernel_initializer=keras.initializers.GlorotUniform(seed=seed),
            dtype="float32",
        )(features)

    def targets(self, split: Split) -> np.ndarray:
        """Return what the last layer should give, float32, shape (n, units)."""
        if split.labels.max() >= len(self.class_names):
            expected, found = f"one of {', '.join(self.class_names)}", f"label {split.labels.max()}"
            raise DataError("labels", expected=expected, found=found)
        one_hot = np.eye(len(self.class_names), dtype=np.float32)[split.labels]
        return one_hot[:, -self.n_units :]

    def loss(self, *, label_smoothing: float):
        """Return the cross-entropy, as a Keras loss."""
        import keras

        if self.n_units == 1:
            return keras.losses.BinaryCrossentropy(label_smoothing=label_smoothing)
        return keras.losses.CategoricalCrossentropy(label_smoothing=label_smoothing)

    def augment(self, change, images, targets):
        """Change the images; a class stays what it is."""
        return change(images, training=True), targets

    def predict(self, network, images: np.ndarray, *, batch_size: int) -> np.ndarray:
        """Return the probability of every class, float64, shape (n, classes); rows sum to 1."""
        outputs = network.predict(images, batch_size=batch_size, verbose=0)
        outputs = np.asarray(outputs, dtype=np.float64)
        if outputs.shape[1] == 1:
            outputs = np.hstack([1 - outputs, outputs])
        return outputs / outputs.sum(axis=1, keepdims=True)

    def unmirror(self, predictions: np.ndarray) -> np.ndarray:
        """Return what predictions for mirrored images mean for the images as they were."""
        return predictions

    def score(self, split: Split, predictions: np.ndarray) -> dict[str, float]:
        """Return cross-entropy and AUC (mean over classes, each against the rest)."""
        if not np.isfinite(predictions).all():
            return {"validation_loss": math.nan, "validation_auc": math.nan}
        chosen = predictions[np.arange(len(split)), split.labels]
        classes = range(1, 2) if self.n_units == 1 else range(self.n_units)
        aucs = [area_under_curve(split.labels == c, predictions[:, c]) for c in classes]
        defined = [auc for auc in aucs if not math.isnan(auc)]
        return {
            "validation_loss": float(-np.log(np.clip(chosen, 1e-7, 1)).mean()),
            "validation_auc": float(np.mean(defined)) if defined else math.nan,
        }

    def report(self, split: Split, predictions: np.ndarray, *, majority: int) -> pd.DataFrame:
        """Return metrics with intervals; see :func:`medlib.evaluation.classification.report`."""
        return classification.report(
            split.labels,
            predictions,
            self.class_names,
            subjects=split.subjects,
            majority=majority,
        )

    def columns(self, predictions: np.ndarray) -> dict[str, np.ndarray]:
        """Return the columns of a table of predictions: the class, and every probability."""
        answers = np.array(self.class_names)[classification.predicted_labels(predictions)]
        return {"label": answers} | {
            f"probability_{name}": predictions[:, c] for c, name in enumerate(self.class_names)
        }

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
from medlib.evaluation import classification, segmentation
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


@dataclass(frozen=True)
class Segmentation:
    """Where in each image a structure is: a probability for every pixel.

    Images that nobody has annotated (mask -1) can be predicted, but neither learnt from nor
    measured.
    """

    threshold: float = 0.5
    name = "segment"

    def head(self, features, *, seed: int):
        """Turn features of half the resolution into probabilities, shape (n, height, width, 1)."""
        import keras

        return keras.layers.Conv2DTranspose(
            1,
            4,
            strides=2,
            padding="same",
            activation="sigmoid",
            kernel_initializer=keras.initializers.GlorotUniform(seed=seed),
            dtype="float32",
        )(features)

    def targets(self, split: Split) -> np.ndarray:
        """Return 1 in the structure and 0 outside, float32, shape (n, height, width, 1).

        Raises
        ------
        DataError
            If an image has no annotation, or no image has a structure.
        """
        if split.masks is None or (split.masks < 0).any():
            n = len(split) if split.masks is None else int((split.masks < 0).any((1, 2)).sum())
            raise DataError("masks", expected="one for each image", found=f"{n} images without")
        if not (split.masks > 0).any():
            raise DataError(
                "masks", expected="a structure in some of them", found="only empty ones"
            )
        return (split.masks > 0)[..., np.newaxis].astype(np.float32)

    def loss(self, *, label_smoothing: float = 0.0):
        """Return cross-entropy plus Dice loss; the second does not drown in the background."""
        import keras

        def loss(truth, predicted):
            entropy = keras.ops.mean(keras.losses.binary_crossentropy(truth, predicted))
            both = keras.ops.sum(truth * predicted)
            dice = 2 * both / (keras.ops.sum(truth) + keras.ops.sum(predicted) + 1.0)
            return entropy + 1 - dice

        return loss

    def augment(self, change, images, targets):
        """Change images and masks together."""
        masks = targets[..., 0]
        changed = change({"images": images, "masks": masks}, training=True)
        return changed["images"], changed["masks"][..., np.newaxis]

    def predict(self, network, images: np.ndarray, *, batch_size: int) -> np.ndarray:
        """Return the probability of every pixel, float32, shape (n, height, width)."""
        return network.predict(images, batch_size=batch_size, verbose=0)[..., 0]

    def unmirror(self, predictions: np.ndarray) -> np.ndarray:
        """Return what predictions for mirrored images mean for the images as they were."""
        return predictions[..., ::-1]

    def masks(self, predictions: np.ndarray) -> np.ndarray:
        """Return the pixels that are taken for the structure, bool."""
        return predictions >= self.threshold

    def score(self, split: Split, predictions: np.ndarray) -> dict[str, float]:
        """Return mean Dice of the images that have a structure."""
        there = (split.masks > 0).any(axis=(1, 2))
        found = segmentation.dice(split.masks[there] > 0, self.masks(predictions[there]))
        return {"validation_dice": float(found.mean()) if there.any() else math.nan}

    def report(self, split: Split, predictions: np.ndarray, **_) -> pd.DataFrame:
        """Return metrics with intervals; see :func:`medlib.evaluation.segmentation.report`."""
        table = segmentation.measure_masks(
            split.masks > 0, self.masks(predictions), spacing_mm=spacing_of(split)
        )
        return segmentation.report(table, subjects=split.subjects)


def spacing_of(split: Split) -> np.ndarray:
    """Size of a pixel of each image, mm; 1 where it is not known, so that sizes are in pixels."""
    column = split.table.get("row_spacing_mm", pd.Series(np.nan, index=split.table.index))
    return column.fillna(1.0).to_numpy(dtype=float)

"""What differs between tasks, so that training, predicting and run folders need not ask.

A task knows its networks, which images it can learn from, its last layer, the array to learn, the
loss, how images and targets are changed together, the score on validation images, the report, and
what is written down for a new image. ``Classification`` is the pattern; a task is any object with
these methods.
"""

import math
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from medlib import models
from medlib.datasets.reading import read_image, write_mask
from medlib.datasets.structure import Images, Split
from medlib.errors import DataError
from medlib.evaluation import classification, segmentation
from medlib.evaluation.statistics import area_under_curve
from medlib.preprocessing.geometry import restore_from_square
from medlib.simulation.cohort import longest_diameter


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
    networks = models.NAMES  # the first is used where none is named
    learns = ("labels",)  # of a split, besides its images
    least_classes = 2
    every_slice = False  # of a file is answered for
    score_name = "AUC"

    def select(self, images: Images) -> Images:
        """Return the images that can be learnt from: all, for all have a label."""
        return images

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
        of_whom = {"subjects": split.subjects, "majority": majority}
        return classification.report(split.labels, predictions, self.class_names, **of_whom)

    @property
    def answer_names(self) -> tuple[str, ...]:
        """Columns of a table of answers."""
        return ("label", *(f"probability_{name}" for name in self.class_names))

    def columns(self, split: Split, predictions: np.ndarray) -> dict[str, np.ndarray]:
        """Return the columns of a table of predictions: the class, and every probability."""
        answers = np.array(self.class_names)[classification.predicted_labels(predictions)]
        return dict(zip(self.answer_names, [answers, *predictions.T], strict=True))

    def answer(self, path: Path, predictions: np.ndarray, out: Path | None) -> dict:
        """Return the row of a table of answers about one file."""
        return {name: values[0] for name, values in self.columns(None, predictions).items()}


@dataclass(frozen=True)
class Segmentation:
    """Where in each image a structure is: a probability for every pixel.

    Images that nobody has annotated (mask -1) can be predicted, but neither learnt from nor
    measured. Structures of several numbers count as one.

    Parameters
    ----------
    class_names : tuple of str
        Of the images; what is learnt does not depend on them.
    threshold : float
        Pixels of at least this probability are the structure's.
    """

    class_names: tuple[str, ...] = ()
    threshold: float = 0.5
    name = "segment"
    networks = models.SEGMENTING
    learns = ("labels", "masks")  # the first for folds
    least_classes = 1
    every_slice = True
    score_name = "Dice"
    n_units = 1
    answer_names = ("mask", "area", "diameter", "unit")

    def select(self, images: Images) -> Images:
        """Return the images that somebody has annotated, and warn of what a reader must know.

        Raises
        ------
        DataError
            If no image is annotated, or no mask has a structure.
        """
        masks, n, notes = images.all.masks, len(images.all), []
        if masks is not None and (known := masks.reshape(n, -1).min(axis=1) >= 0).any():
            images = images.take(known)
        self.targets(images.all)  # raises where there is nothing to learn
        if len(images.all) < n:
            notes += [f"{n - len(images.all)} of {n} images have no mask and are left out"]
        if (highest := images.all.masks.max()) > 1:
            notes += [f"there are structures 1 to {highest} in the masks: they count as one"]
        if pixel_sizes(images.all)[1] == "pixels":
            notes += ["not every image has a pixel spacing: sizes are in pixels of the files"]
        for note in notes:
            warnings.warn(f"{images.name}: {note}", stacklevel=3)
        return images

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
        masks = np.full((len(split), 1, 1), -1) if split.masks is None else split.masks
        if n := (masks < 0).any((1, 2)).sum():
            found, advice = f"{n} images without", "Name them in a column mask, or NAME_mask.png"
            raise DataError("masks", expected="one for each image", found=found, advice=advice)
        if not (masks > 0).any():
            raise DataError("masks", expected="a structure in some", found="only empty ones")
        return (masks > 0)[..., np.newaxis].astype(np.float32)

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
        table = pd.DataFrame(self.columns(split, predictions))
        return segmentation.report(table, subjects=split.subjects)

    def columns(self, split: Split, predictions: np.ndarray) -> dict[str, np.ndarray]:
        """Return the columns of a table of predictions: each mask measured beside the true one."""
        spacing, unit = pixel_sizes(split)
        masks = (split.masks > 0, self.masks(predictions))
        return dict(segmentation.measure_masks(*masks, spacing=spacing, unit=unit).items())

    def answer(self, path: Path, predictions: np.ndarray, out: Path | None) -> dict:
        """Write the mask of a file, of its own size, and return its largest area and diameter.

        Parameters
        ----------
        path : Path
        predictions : ndarray, shape (frames, side, side)
            Of every frame or slice of the file.
        out : Path, optional
            Where to write the mask; see :func:`medlib.datasets.reading.write_mask`.

        Returns
        -------
        dict
            Of a volume, the largest of its slices. In pixels where the file has no spacing.
        """
        file = read_image(path)
        shape, spacing = file.pixels.shape[-3:-1], file.spacing_mm or (1.0, 1.0)
        masks = [
            self.masks(restore_from_square(each[..., None], shape, spacing_mm=spacing)[..., 0])
            for each in predictions
        ]
        return {
            "mask": out and write_mask(out, np.stack(masks), source=path),
            "area": max(mask.sum() for mask in masks) * np.prod(spacing),
            "diameter": max(longest_diameter(mask, spacing) for mask in masks),
            "unit": "mm" if file.spacing_mm else "pixels",
        }


TASKS = {task.name: task for task in (Classification, Segmentation)}


def pixel_sizes(split: Split) -> tuple[np.ndarray, str]:
    """Size of a pixel of each image, in mm; or if one is not known, all in pixels of their files.

    Returns
    -------
    sizes : ndarray, shape (n,)
    unit : {"mm", "pixels"}
    """
    table, side = split.table, max(split.images.shape[-3:-1])
    if "row_spacing_mm" in table and table["row_spacing_mm"].notna().all():
        return table["row_spacing_mm"].to_numpy(dtype=float), "mm"
    before = table.reindex(columns=["original_height", "original_width"]).max(axis=1)
    return before.fillna(side).to_numpy(dtype=float) / side, "pixels"

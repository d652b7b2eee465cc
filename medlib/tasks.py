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
from scipy.ndimage import maximum_filter
from scipy.special import expit

from medlib import models
from medlib.datasets.listing import BOX_COLUMNS
from medlib.datasets.reading import read_image, write_mask
from medlib.datasets.structure import Images, Split
from medlib.errors import DataError
from medlib.evaluation import classification, detection, segmentation
from medlib.evaluation.statistics import area_under_curve
from medlib.preprocessing.geometry import restore_boxes, restore_from_square
from medlib.simulation.cohort import longest_diameter

CELL = 4  # pixels, down and across, in which a detector marks a centre
TYPICAL = [-3.0, 0.0, 0.0, 1.0, 1.0]  # what it says before it has learnt: few centres, small boxes


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

    def answer(self, path: Path, predictions: np.ndarray, out: Path | None) -> list[dict]:
        """Return the rows of a table of answers about one file: one."""
        return [{name: values[0] for name, values in self.columns(None, predictions).items()}]


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
        images = _annotated(self, images, "mask")
        if (highest := images.all.masks.max()) > 1:
            note = f"there are structures 1 to {highest} in the masks: they count as one"
            warnings.warn(f"{images.name}: {note}", stacklevel=2)
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
        """Return cross-entropy plus the mean of a Dice loss of each image.

        So a small structure counts as much as a large one, and none drowns in the background. Of an
        image without any, Dice says nothing: its part is found / (found + 2.5 % of the pixels).
        """
        import keras

        def loss(truth, predicted):
            entropy = keras.ops.mean(keras.losses.binary_crossentropy(truth, predicted))
            there, found, both = (
                keras.ops.sum(pixels, axis=(1, 2, 3))
                for pixels in (truth, predicted, truth * predicted)
            )
            missed = 1 - 2 * both / (there + found + 1.0)
            invented = found / (found + 0.025 * math.prod(truth.shape[1:]))
            return entropy + keras.ops.mean(keras.ops.where(there > 0, missed, invented))

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

    def answer(self, path: Path, predictions: np.ndarray, out: Path | None) -> list[dict]:
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
        list of dict
            One; of a volume, the largest of its slices. In pixels where the file has no spacing.
        """
        file = read_image(path)
        shape, spacing = file.pixels.shape[-3:-1], file.spacing_mm or (1.0, 1.0)
        masks = [
            self.masks(restore_from_square(each[..., None], shape, spacing_mm=spacing)[..., 0])
            for each in predictions
        ]
        answer = {
            "mask": out and write_mask(out, np.stack(masks), source=path),
            "area": max(mask.sum() for mask in masks) * np.prod(spacing),
            "diameter": max(longest_diameter(mask, spacing) for mask in masks),
            "unit": "mm" if file.spacing_mm else "pixels",
        }
        return [answer]


@dataclass(frozen=True)
class Detection:
    """Where the lesions of each image are: a box and a score for each.

    The network says of every cell, four pixels wide, how likely a lesion has its centre there; how
    far from the middle of the cell that centre is (down, across, in cells); and the logarithm of
    the lesion's height and width (in cells). Images that nobody has annotated can be predicted, but
    neither learnt from nor measured.

    Parameters
    ----------
    class_names : tuple of str
        Of the images; what is learnt does not depend on them.
    least_score : float
        Boxes below this score are not listed.

    References
    ----------
    Zhou, Wang and Kraehenbuehl, Objects as Points, arXiv:1904.07850, 2019, sections 3 and 4: heat
    map, equation 1; offset, 2; size, 3. Here the logarithm of the size is learnt.
    """

    class_names: tuple[str, ...] = ()
    least_score: float = 0.05
    name = "detect"
    networks = models.DETECTING
    learns = ("labels", "boxes")
    least_classes = 1
    every_slice = True
    score_name = "FROC"  # mean of the sensitivities that are reported
    n_units = 5
    answer_names = ("slice", *BOX_COLUMNS, "score", "height", "width", "unit")

    def select(self, images: Images) -> Images:
        """Return the images that somebody has annotated, and warn of what a reader must know.

        Raises
        ------
        DataError
            If no image is annotated, or there is no lesion in any.
        """
        return _annotated(self, images, "mask or boxes")

    def head(self, features, *, seed: int):
        """Turn features of a quarter of the resolution into five numbers a cell."""
        import keras

        kernel = keras.initializers.GlorotUniform(seed=seed)
        layer = keras.layers.Conv2D(self.n_units, 1, kernel_initializer=kernel, dtype="float32")
        return keras.layers.Rescaling(1.0, offset=TYPICAL)(layer(features))

    def targets(self, split: Split) -> np.ndarray:
        """Return the boxes of each image, float32, shape (n, k, 4); -1 where it has fewer than k.

        Raises
        ------
        DataError
            If an image has no annotation, or no image has a lesion.
        """
        boxes = [None] * len(split) if split.boxes is None else split.boxes
        if n := sum(each is None for each in boxes):
            found, advice = f"{n} images without", f"Name masks, or columns {','.join(BOX_COLUMNS)}"
            raise DataError("boxes", expected="those of each image", found=found, advice=advice)
        if not (most := max(map(len, boxes))):
            raise DataError("boxes", expected="a lesion in some images", found="none")
        padded = np.full((len(boxes), most, 4), -1, dtype=np.float32)
        for row, each in enumerate(boxes):
            padded[row, : len(each)] = each
        return padded

    def maps(self, boxes, shape: tuple[int, int]):
        """Draw what the network should give for boxes, shape (n, rows, columns, 5).

        The first is 1 in the cell of a centre and falls off around it as a Gaussian whose standard
        deviation is a sixth of the box; the others are those of the lesion that it belongs to.
        """
        from keras import ops

        boxes = boxes[:, :, None, None] / CELL
        first, last = boxes[..., :2], boxes[..., 2:]
        middles = (ops.arange(side // CELL, dtype="float32") + 0.5 for side in shape)
        grid = ops.stack(ops.meshgrid(*middles, indexing="ij"), axis=-1)
        away = (first + last) / 2 - grid  # (n, k, rows, columns, 2)
        size = ops.maximum(last - first, 1e-3)
        spots = ops.exp(-ops.sum(ops.square(away * 6 / size), axis=-1) / 2)
        is_centre = ops.all((away >= -0.5) & (away < 0.5), axis=-1)
        spots = ops.where(last[..., 0] > 0, ops.where(is_centre, 1.0, spots), 0.0)
        own = ops.one_hot(ops.argmax(spots, axis=1), boxes.shape[1], axis=1)[..., None]
        numbers = ops.sum(own * ops.concatenate([away, ops.log(size) + 0 * away], axis=-1), axis=1)
        return ops.concatenate([ops.max(spots, axis=1)[..., None], numbers], axis=-1)

    def loss(self, *, label_smoothing: float = 0.0):
        """Return the focal loss of centres, plus absolute errors of offset and size near them."""
        from keras import ops

        def loss(truth, predicted):
            heat, logit = truth[..., 0], predicted[..., 0]
            is_centre, score = ops.cast(heat >= 1, "float32"), ops.sigmoid(logit)
            hits = is_centre * ops.square(1 - score) * ops.log_sigmoid(logit)
            others = (1 - heat) ** 4 * ops.square(score) * ops.log_sigmoid(-logit)
            errors = ops.sum(ops.abs(truth[..., 1:] - predicted[..., 1:]), axis=-1)
            near = ops.where(heat > 0.5, heat, 0.0)  # cells at the top of a spot learn boxes
            of_boxes = ops.sum(near * errors) / ops.maximum(ops.sum(near), 1)
            return of_boxes - ops.sum(hits + others) / ops.maximum(ops.sum(is_centre), 1)

        return loss

    def augment(self, change, images, targets):
        """Change images and boxes together, then draw the maps."""
        changed = change({"images": images, "boxes": targets}, training=True)
        return changed["images"], self.maps(changed["boxes"], images.shape[1:3])

    def predict(self, network, images: np.ndarray, *, batch_size: int) -> np.ndarray:
        """Return score, offset and logarithm of the size, float32, (n, rows, columns, 5)."""
        found = network.predict(images, batch_size=batch_size, verbose=0)
        found[..., 0] = expit(found[..., 0])
        return found

    def unmirror(self, predictions: np.ndarray) -> np.ndarray:
        """Return what predictions for mirrored images mean for the images as they were."""
        return predictions[:, :, ::-1] * np.array([1, 1, -1, 1, 1], predictions.dtype)

    def boxes(self, predictions: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return boxes, shape (k, 4), and scores, (k,), of each image, the surest first.

        A box stands where a cell has the highest score of the nine around it, unless more than
        half of it (intersection over union) is that of a surer one.
        """
        heat, found = predictions[..., 0], []
        is_peak = (heat == maximum_filter(heat, (1, 3, 3))) & (heat >= self.least_score)
        limit = np.tile(np.multiply(heat.shape[1:], CELL), 2)
        for peaks, each in zip(is_peak, predictions, strict=True):
            scores, offset, size = np.split(each[peaks], [1, 3], axis=1)
            centre = np.argwhere(peaks) + 0.5 + np.clip(offset, -0.5, 0.49)
            half = np.exp(np.clip(size, -2, 6)) / 2
            order = np.argsort(-scores[:, 0], kind="stable")
            boxes = np.clip(CELL * np.hstack([centre - half, centre + half]), 0, limit)[order]
            again = np.triu(detection.box_overlap(boxes, boxes) > 0.5, k=1).any(axis=0)
            found.append((boxes[~again], scores[order, 0][~again]))
        return found

    def matched(self, split: Split, predictions: np.ndarray):
        """Return lesions and false alarms; see :func:`medlib.evaluation.detection.match_boxes`."""
        return detection.match_boxes(split.boxes, *zip(*self.boxes(predictions), strict=True))

    def score(self, split: Split, predictions: np.ndarray) -> dict[str, float]:
        """Return the mean of the sensitivities at the numbers of false positives reported."""
        curve = detection.free_response_curve(*self.matched(split, predictions), len(split))
        below = [curve["false_positives"] <= at for at in detection.FALSE_POSITIVES]
        found = [curve.loc[rows, "sensitivity"].max() for rows in below]
        return {"validation_froc": float(np.nan_to_num(found).mean())}

    def report(self, split: Split, predictions: np.ndarray, **_) -> pd.DataFrame:
        """Return metrics with intervals; see :func:`medlib.evaluation.detection.report`."""
        return detection.report(*self.matched(split, predictions), subjects=split.subjects)

    def columns(self, split: Split, predictions: np.ndarray) -> pd.DataFrame:
        """Return the boxes of a table of predictions; the index is the row of the image.

        Boxes are in pixels of the images as the network saw them; ``overlap`` is with the lesion
        that they overlap most.
        """
        (spacing, unit), rows = pixel_sizes(split), []
        for row, (boxes, scores) in enumerate(self.boxes(predictions)):
            overlap = detection.box_overlap(split.boxes[row], boxes).max(axis=0, initial=0)
            listed = self._rows(boxes, scores, [spacing[row]] * 2, unit)
            known = {"row": row, "lesions": len(split.boxes[row])}
            rows += [known | each | {"overlap": o} for each, o in zip(listed, overlap, strict=True)]
            rows += [] if listed else [known]
        names = ["row", "lesions", *self.answer_names[1:], "overlap"]
        return pd.DataFrame(rows, columns=names).set_index("row")

    def answer(self, path: Path, predictions: np.ndarray, out: Path | None) -> list[dict]:
        """Return one row for each box in a file, in its pixels; one without a box if there is none.

        Slices are counted from 0.
        """
        file, rows = read_image(path), []
        shape, unit = file.pixels.shape[-3:-1], "mm" if file.spacing_mm else "pixels"
        spacing = file.spacing_mm or (1.0, 1.0)
        for number, (boxes, scores) in enumerate(self.boxes(predictions)):
            boxes = restore_boxes(boxes, shape, CELL * predictions.shape[1], spacing_mm=spacing)
            inside = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)  # not in the border around the image
            listed = self._rows(boxes[inside], scores[inside], spacing, unit)
            rows += [{"slice": number} | each for each in listed]
        return rows or [{}]

    def _rows(self, boxes: np.ndarray, scores: np.ndarray, spacing, unit: str) -> list[dict]:
        sizes = (boxes[:, 2:] - boxes[:, :2]) * spacing
        numbers = np.hstack([boxes[:, [1, 0, 3, 2]], scores[:, None], sizes]).round(3).tolist()
        names = (*BOX_COLUMNS, "score", "height", "width")
        return [dict(zip(names, each, strict=True)) | {"unit": unit} for each in numbers]


TASKS = {task.name: task for task in (Classification, Segmentation, Detection)}


def _annotated(task, images: Images, what: str) -> Images:
    """Keep what somebody has annotated, and warn of what is left out or measured in pixels."""
    given = getattr(images.all, task.learns[1])
    each = [None] * len(images.all) if given is None else given
    known = np.array([one is not None and np.min(one, initial=0) >= 0 for one in each])
    images = images.take(known) if known.any() else images
    task.targets(images.all)  # raises where there is nothing to learn
    notes = []
    if n_left_out := (~known).sum():
        notes += [f"{n_left_out} of {len(known)} images have no {what} and are left out"]
    if pixel_sizes(images.all)[1] == "pixels":
        notes += ["not every image has a pixel spacing: sizes are in pixels of the files"]
    for note in notes:
        warnings.warn(f"{images.name}: {note}", stacklevel=3)
    return images


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

"""Tumours of simbrain pixel by pixel: a U-Net, the same with a part changed, and a threshold."""

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from medlib import tasks, training
from medlib.datasets.simbrain import load_simbrain, new_patients
from medlib.datasets.structure import Split
from medlib.evaluation import segmentation
from medlib.models.unet import build_unet
from medlib.preprocessing.intensity import standardise_foreground
from medlib.simulation.cohort import DEFAULT, SMALL_AND_FAINT

DATA = {"simbrain": DEFAULT, "small-and-faint": SMALL_AND_FAINT}
WITH_TEST = ()
MODELS = ("threshold", "unet", "no-skips", "entropy", "dice")
COLUMNS = ("dice", "area", "diameter", "true_area", "true_diameter")  # of scores; mm
LEVELS = np.arange(0.45, 0.8, 0.025)  # grey values that a threshold may have
LEAST_PIXELS = (1, 4, 8, 12)
CUTS = np.arange(0.1, 0.65, 0.05)  # probabilities from which on a pixel may count as tumour


@dataclass(frozen=True)
class Part(tasks.Segmentation):
    """A segmentation that learns from one part of its loss only: "entropy" or "dice"."""

    part: str = "dice"

    def loss(self, *, label_smoothing: float = 0.0):
        """Return cross-entropy, or the whole loss without it."""
        import keras

        both, entropy = super().loss(), keras.losses.BinaryCrossentropy()
        if self.part == "entropy":
            return entropy
        return lambda truth, predicted: both(truth, predicted) - entropy(truth, predicted)


def train_and_test(config: dict) -> dict:
    """Train on all slices, with and without a tumour, and measure the masks of new patients.

    Parameters
    ----------
    config : dict
        ``data``: a cohort. ``model``: "unet"; "no-skips", without what goes across; "entropy" and
        "dice", with this part of the loss only; "threshold", on FLAIR. Its numbers, and the
        probability from which on a pixel counts, are those with the best mean Dice on validation
        slices. ``seed``, ``test_seed``, ``steps``, ``batch_size``.

    Returns
    -------
    dict
        ``labels``: whether a test slice has a tumour. ``scores``, shape (n, 5): its
        :data:`COLUMNS`; where it has none, the first says whether something was found, 1 or 0.
    """
    train, validation, test = splits(config["data"], config["test_seed"])
    facts = {"n_images": len(train), "n_subjects": len(np.unique(train.subjects)), "steps": None}
    if config["model"] == "threshold":
        found = threshold_masks(test.images, *best_threshold(validation))
    else:
        task = (
            Part(part=config["model"])
            if config["model"] in ("entropy", "dice")
            else tasks.Segmentation()
        )
        build = functools.partial(build_unet, skips=config["model"] != "no-skips")
        network, more = trained("unet", build, train, task, config)
        known, new = (
            training.predict(network, split.images, task, mirror=True)
            for split in (validation, test)
        )
        cut = max(CUTS, key=lambda cut: _mean_dice(validation, known >= cut))
        found = new >= cut
        facts |= more | {"cut": round(float(cut), 2)}
    table = segmentation.measure_masks(
        test.masks > 0, found, spacing=test.table["row_spacing_mm"].to_numpy()
    )
    table["dice"] = np.where(test.labels == 1, table["dice"], found.any(axis=(1, 2)))
    scores = table[list(COLUMNS)].to_numpy(dtype=float)
    return {"labels": test.labels, "subjects": test.subjects, "scores": scores} | facts


def trained(name: str, build: Callable, train: Split, task, config: dict):
    """Train a network of a name that a recipe knows; return it, its steps and its weights."""
    keras = training.import_keras()
    keras.backend.clear_session()
    training.set_seed(config["seed"])
    network = build(train.images.shape[1:], task, seed=config["seed"])
    settings = training.recipe(name, n_images=len(train))
    settings["batch_size"] = config["batch_size"] or settings["batch_size"]
    an_epoch = len(train) // settings["batch_size"]
    settings["epochs"] = max(1, round(config["steps"] / an_epoch))
    training.fit(network, train, task=task, seed=config["seed"], **settings)
    return network, {"steps": settings["epochs"] * an_epoch, "n_weights": network.count_params()}


def best_threshold(split: Split) -> tuple[float, int, bool]:
    """Return the arguments of :func:`threshold_masks` with the best mean Dice."""
    return max(
        itertools.product(LEVELS, LEAST_PIXELS, (True, False)),
        key=lambda given: _mean_dice(split, threshold_masks(split.images, *given)),
    )


def threshold_masks(
    images: np.ndarray, level: float, least_pixels: int, largest: bool
) -> np.ndarray:
    """Take for tumour what is bright in FLAIR and hangs together.

    Parameters
    ----------
    images : ndarray, shape (n, height, width, 3)
    level : float
    least_pixels : int
        Of a connected part; smaller ones are dropped.
    largest : bool
        Keep the largest part alone.

    Returns
    -------
    ndarray of bool, shape (n, height, width)
    """
    masks = np.zeros(images.shape[:3], bool)
    for mask, image in zip(masks, images, strict=True):
        parts, n = ndimage.label(image[..., 2] > level)
        sizes = np.bincount(parts.ravel(), minlength=n + 1) * (np.arange(n + 1) > 0)
        kept = (sizes >= least_pixels) & (sizes > 0)
        mask[...] = (kept & (sizes == sizes.max()) if largest else kept)[parts]
    return masks


def _mean_dice(split: Split, masks: np.ndarray) -> float:
    there = split.labels == 1
    return segmentation.dice(split.masks[there] > 0, masks[there]).mean()


def splits(name: str, test_seed: int) -> list[Split]:
    """Return training, validation and test slices, the brain of each standardised."""
    data = load_simbrain(difficulty=DATA[name])
    splits = data.train, data.validation, new_patients(test_seed, difficulty=DATA[name])
    return [replace(each, images=standardise_foreground(each.images)) for each in splits]

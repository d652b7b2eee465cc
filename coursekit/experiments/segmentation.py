"""Tumours of simbrain pixel by pixel: a U-Net, the same with a part changed, and a threshold."""

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage
from skimage.filters import apply_hysteresis_threshold

from medlib import tasks, training
from medlib.datasets.simbrain import load_simbrain, new_patients
from medlib.datasets.structure import Split
from medlib.evaluation import segmentation
from medlib.models.unet import build_unet
from medlib.preprocessing.intensity import standardise_foreground
from medlib.simulation.cohort import DEFAULT, SMALL_AND_FAINT

DATA = {"simbrain": DEFAULT, "small-and-faint": SMALL_AND_FAINT}
WITH_TEST = ()
MODELS = ("threshold", "unet", "no-skips", "entropy", "dice", "pooled")
COLUMNS = ("dice", "quiet_dice", "area", "diameter", "true_area", "true_diameter")  # of scores; mm
SUMMARY = "mean Dice of slices with a tumour", lambda labels, scores: scores[labels == 1, 0].mean()
LEVELS = np.arange(0.45, 0.8, 0.025)  # grey values that a threshold may have
LEAST_PIXELS = (1, 4, 8, 12, 20, 40, 80)
CUTS = np.arange(0.1, 0.65, 0.05)  # probabilities from which on a pixel may count as tumour
SUREST = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98)  # that a piece may need somewhere
FALSE_FINDINGS = 0.05  # of tumour-free slices: where a method must be quiet


@dataclass(frozen=True)
class Part(tasks.Segmentation):
    """A segmentation with another loss.

    "entropy": cross-entropy alone; "dice": the whole loss without it; "pooled": cross-entropy, and
    Dice of all slices of a batch taken for one.
    """

    part: str = "dice"

    def loss(self, *, label_smoothing: float = 0.0):
        """Return the loss."""
        import keras

        whole, entropy, total = super().loss(), keras.losses.BinaryCrossentropy(), keras.ops.sum

        def pooled(truth, found):
            return 1 - 2 * total(truth * found) / (total(truth) + total(found) + 1)

        return {
            "entropy": entropy,
            "dice": lambda truth, found: whole(truth, found) - entropy(truth, found),
            "pooled": lambda truth, found: entropy(truth, found) + pooled(truth, found),
        }[self.part]


def train_and_test(config: dict) -> dict:
    """Train on all slices, with and without a tumour, and measure the masks of new patients.

    Parameters
    ----------
    config : dict
        ``data``: a cohort. ``model``: "unet"; "no-skips", without what goes across; "entropy",
        "dice" and "pooled", see :class:`Part`; "threshold", on FLAIR. From probabilities or grey
        values to masks lead numbers chosen on validation slices, twice: those with the best mean
        Dice, and those with the best among those with a finding in at most
        :data:`FALSE_FINDINGS` of the tumour-free slices. ``seed``, ``test_seed``, ``steps``,
        ``batch_size``.

    Returns
    -------
    dict
        ``labels``: whether a test slice has a tumour. ``scores``, shape (n, 6): its
        :data:`COLUMNS`, areas and diameters of the quiet masks; where it has no tumour, the first
        two say whether something was found, 1 or 0.
    """
    train, validation, test = splits(config["data"], config["test_seed"])
    facts = {"n_images": len(train), "n_subjects": len(np.unique(train.subjects)), "steps": None}
    if config["model"] == "threshold":
        known, new, draw, rules = validation.images, test.images, threshold_masks, _thresholds()
    else:
        model = config["model"]
        task = tasks.Segmentation() if model in ("unet", "no-skips") else Part(part=model)
        build = functools.partial(build_unet, skips=model != "no-skips")
        network, more = trained("unet", build, train, task, config)
        known, new = (
            training.predict(network, split.images, task, mirror=True)
            for split in (validation, test)
        )
        facts |= more
        draw, rules = probable_masks, list(itertools.product(CUTS, SUREST))
    best, quiet = _choose(validation, known, draw, rules)
    found, there = draw(new, *quiet), test.labels == 1
    spacing = test.table["row_spacing_mm"].to_numpy()
    table = segmentation.measure_masks(test.masks > 0, found, spacing=spacing)
    for name, masks in (("quiet_dice", found), ("dice", draw(new, *best))):
        overlap = segmentation.dice(test.masks > 0, masks)
        table[name] = np.where(there, overlap, masks.any(axis=(1, 2)))
    scores = table[list(COLUMNS)].to_numpy(dtype=float)
    facts |= {"best": _written(best), "quiet": _written(quiet)}
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


def _choose(split: Split, values: np.ndarray, draw, rules: list[tuple]) -> list[tuple]:
    """Return the rule with the best mean Dice, and the best that is quiet."""
    there, judged = split.labels == 1, {}
    for rule in rules:
        masks = draw(values, *rule)
        overlap = segmentation.dice(split.masks[there] > 0, masks[there]).mean()
        findings = masks[~there].any(axis=(1, 2)).sum() / max(1, (~there).sum())
        judged[rule] = -max(findings, FALSE_FINDINGS), overlap
    return [max(judged, key=lambda rule: judged[rule][1]), max(judged, key=judged.get)]


def _written(rule: tuple) -> str:
    return ", ".join(f"{number:.3g}" for number in rule)


def _thresholds() -> list[tuple]:
    return list(itertools.product(LEVELS, LEAST_PIXELS, (True, False)))


def probable_masks(probabilities: np.ndarray, cut: float, surest: float) -> np.ndarray:
    """Take pixels of some probability, where they hang together with one that is surer.

    Parameters
    ----------
    probabilities : ndarray, shape (n, height, width)
    cut, surest : float

    Returns
    -------
    ndarray of bool, shape (n, height, width)
    """
    return np.stack([apply_hysteresis_threshold(p, cut, max(cut, surest)) for p in probabilities])


def best_threshold(split: Split) -> tuple[float, int, bool]:
    """Return the arguments of :func:`threshold_masks` with the best mean Dice."""
    return _choose(split, split.images, threshold_masks, _thresholds())[0]


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


def splits(name: str, test_seed: int) -> list[Split]:
    """Return training, validation and test slices, the brain of each standardised."""
    data = load_simbrain(difficulty=DATA[name])
    splits = data.train, data.validation, new_patients(test_seed, difficulty=DATA[name])
    return [replace(each, images=standardise_foreground(each.images)) for each in splits]

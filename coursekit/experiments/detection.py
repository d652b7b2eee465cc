"""Tumours of simbrain in boxes: blobs, a detector of centres, and the pieces of a U-Net's mask."""

import functools
import itertools

import numpy as np
from scipy import ndimage
from skimage.measure import label, regionprops

from coursekit.experiments import segmentation
from medlib import models, tasks, training
from medlib.datasets.structure import Split
from medlib.evaluation import detection
from medlib.simulation.cohort import longest_diameter

DATA, WITH_TEST = segmentation.DATA, ()
MODELS = ("blobs", "detector", "unet")
LESIONS, ALARMS = 3, 5  # columns of scores: a slice's lesions, and its surest false alarms
SIGMAS = np.arange(2, 8.5, 0.5)  # pixels
MIDDLE = 0.4  # grey value that standardising gives to the middle of the brain
LEAST_SCORE, SAME = 0.01, 0.3  # of a box; a surer one that overlaps it so much replaces it
BLOBS = ((2, 2.5, 3, 3.5), (0.8, 1.0, 1.2, 1.4), (0, 0.45, 0.5, 0.55))  # sigma, reach, level
PIECES = ((0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6), ("intensity_max", "intensity_mean"))


def train_and_test(config: dict) -> dict:
    """Train on all slices, with and without a tumour, and match the boxes found in new patients.

    Parameters
    ----------
    config : dict
        ``data``: a cohort. ``model``: "blobs", "detector", or "unet": the pieces of the mask of the
        network of :mod:`coursekit.experiments.segmentation`. How blobs and pieces become boxes is
        what finds most on validation slices. ``seed``, ``test_seed``, ``steps``, ``batch_size``.

    Returns
    -------
    dict
        ``labels``: whether a test slice has a tumour. ``scores``: see :func:`as_scores`.
    """
    train, validation, test = segmentation.splits(config["data"], config["test_seed"])
    facts = {"n_images": len(train), "n_subjects": len(np.unique(train.subjects)), "steps": None}
    if config["model"] == "blobs":
        facts["chosen"] = smallest, *others = best_blobs(validation)
        found = blob_boxes(find_blobs(test.images, smallest), len(test), *others)
    else:
        marks_centres = config["model"] == "detector"
        task = tasks.Detection(least_score=LEAST_SCORE) if marks_centres else tasks.Segmentation()
        build = functools.partial(models.build, config["model"])
        network, more = segmentation.trained(config["model"], build, train, task, config)
        facts |= more
        new = training.predict(network, test.images, task, mirror=True)
        if not marks_centres:
            known = training.predict(network, validation.images, task, mirror=True)
            tried = {given: piece_boxes(known, *given) for given in itertools.product(*PIECES)}
            facts["chosen"] = _best(validation, tried)
        found = task.boxes(new) if marks_centres else piece_boxes(new, *facts["chosen"])
    facts |= {"labels": test.labels, "subjects": test.subjects}
    return facts | {"scores": as_scores(test, found)}


def find_blobs(images: np.ndarray, smallest: float) -> np.ndarray:
    """Find where FLAIR is brighter than around, on any scale: peaks of the Laplacian of Gaussian.

    Parameters
    ----------
    images : ndarray, shape (n, height, width, 3)
        Standardised. What lies around the brain is made as bright as its middle: else the rim of
        the brain would answer more than most tumours.
    smallest : float
        Of :data:`SIGMAS`.

    Returns
    -------
    ndarray, shape (k, 6)
        Image, row and column of a pixel, sigma, strength and grey value.
    """
    flair = np.where(images.max(axis=-1) > 0, images[..., 2], MIDDLE)
    sigmas = SIGMAS[SIGMAS.searchsorted(smallest) :]
    strength = np.stack([-(sigma**2) * _laplacian(flair, sigma) for sigma in sigmas], axis=-1)
    is_peak = strength == ndimage.maximum_filter(strength, (1, 3, 3, 3))
    where = np.nonzero(is_peak & (strength > LEAST_SCORE))
    return np.column_stack([*where[:3], sigmas[where[3]], strength[where], flair[where[:3]]])


def blob_boxes(blobs: np.ndarray, n_images: int, reach: float, level: float) -> list[tuple]:
    """Put a square around each blob that is bright enough; its score is the strength.

    Parameters
    ----------
    blobs : ndarray, shape (k, 6)
        See :func:`find_blobs`.
    n_images : int
    reach : float
        Half the side, in sigmas.
    level : float
        Least grey value.

    Returns
    -------
    list of tuple
        Of each image: boxes, shape (k, 4), and scores, (k,), the surest first.
    """
    blobs, found = blobs[blobs[:, 5] >= level], []
    blobs = blobs[np.argsort(-blobs[:, 4], kind="stable")]
    for image in range(n_images):
        _, rows, columns, sigmas, scores, _ = blobs[blobs[:, 0] == image].T
        centres, half = np.stack([rows, columns], axis=1) + 0.5, reach * sigmas[:, None]
        boxes = np.hstack([centres - half, centres + half])
        again = np.triu(detection.box_overlap(boxes, boxes) > SAME, k=1).any(axis=0)
        found.append((boxes[~again], scores[~again]))
    return found


def best_blobs(split: Split) -> tuple[float, float, float]:
    """Return the smallest sigma, the reach and the level that find most in a split."""
    of_sigma = {smallest: find_blobs(split.images, smallest) for smallest in BLOBS[0]}
    choices = {
        (smallest, *others): blob_boxes(of_sigma[smallest], len(split), *others)
        for smallest, *others in itertools.product(*BLOBS)
    }
    return _best(split, choices)


def piece_boxes(probabilities: np.ndarray, cut: float, score: str) -> list[tuple]:
    """Put a box around each connected piece of a mask.

    Parameters
    ----------
    probabilities : ndarray, shape (n, height, width)
    cut : float
        Probability from which on a pixel belongs to the mask.
    score : {"intensity_max", "intensity_mean"}
        Highest or mean probability of the piece.

    Returns
    -------
    list of tuple
        As from :func:`blob_boxes`, in any order.
    """
    of_images = [regionprops(label(each >= cut), each) for each in probabilities]
    return [
        (np.reshape([r.bbox for r in regions], (-1, 4)), np.array([r[score] for r in regions]))
        for regions in of_images
    ]


def as_scores(split: Split, found: list[tuple]) -> np.ndarray:
    """Return what a FROC curve needs of each image.

    Returns
    -------
    ndarray, shape (n, 11)
        Of each of its lesions, at most three: the score of the surest box that hits it (0: none
        does); then their longest diameters in mm (0: no lesion); then the scores of the surest
        false alarms, at most five (0: none).
    """
    lesions, alarms = detection.match_boxes(split.boxes, *zip(*found, strict=True))
    alarms = alarms.sort_values("score", ascending=False)
    alarms = alarms[alarms.groupby("image").cumcount() < ALARMS]
    regions = [region for mask in split.masks for region in regionprops(label(mask > 0))]
    spacing = split.table["row_spacing_mm"].to_numpy()[lesions["image"].astype(int)]
    lesions["mm"] = np.round([longest_diameter(each.image) for each in regions] * spacing, 1)
    scores = np.zeros((len(split), 2 * LESIONS + ALARMS))
    for first, table, name in ((0, lesions, "score"), (3, lesions, "mm"), (6, alarms, "score")):
        columns = first + table.groupby("image").cumcount()
        scores[table["image"].astype(int), columns] = np.maximum(table[name], 0)
    return np.round(scores, 4)


def sensitivity(scores, at=detection.FALSE_POSITIVES, *, below_mm: float = np.inf) -> np.ndarray:
    """Return the share of lesions found at numbers of false alarms an image.

    Parameters
    ----------
    scores : ndarray, shape (n, 11)
        See :func:`as_scores`.
    at : sequence of float
        Up to 1 or so: of each image five false alarms are known.
    below_mm : float
        Only lesions with a smaller diameter; false alarms are those of all images.
    """
    best, sizes, alarms = np.split(scores, [LESIONS, 2 * LESIONS], axis=1)
    best = best[(sizes > 0) & (sizes < below_mm)]
    one_too_many = -np.sort(-alarms, axis=None)[(np.asarray(at) * len(scores)).astype(int)]
    return (best > one_too_many[:, None]).mean(axis=1)


SUMMARY = (
    "sensitivity at 1/4 false positives an image",
    lambda labels, scores: sensitivity(scores, [1 / 4])[0],
)


def _laplacian(images: np.ndarray, sigma: float) -> np.ndarray:
    """Return the sum of the second derivatives down and across of smoothed images."""
    smooth = functools.partial(ndimage.gaussian_filter, images, (0, sigma, sigma))
    return smooth(order=(0, 2, 0)) + smooth(order=(0, 0, 2))


def _best(split: Split, tried: dict) -> tuple:
    """Return the choice whose boxes find most, in the mean over numbers of false alarms."""
    return max(tried, key=lambda given: sensitivity(as_scores(split, tried[given])).mean())

"""How good, how varied and how new generated images are: measured, not admired.

Features are vectors, one an image: what a trained network computes before its last layer, or the
pixels themselves. A measure says nothing about what its features do not see.
"""

import numpy as np
from sklearn.metrics import pairwise_distances
from sklearn.utils import check_array


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Return the Fréchet distance between two sets of features, each taken for a Gaussian.

    The squared distance of the means, plus ``trace(A + B - 2 (A B)^(1/2))`` of the covariances A
    and B. Few images make it too large: compare only distances from equally many images.

    Parameters
    ----------
    first, second : ndarray of float, shape (n, k) and (m, k)
        More images than features.

    Returns
    -------
    float
        Square of the 2-Wasserstein distance of the Gaussians, 0 or more.

    Raises
    ------
    ValueError
        If a set has a NaN or fewer than two rows, or the numbers of features differ.

    References
    ----------
    Dowson and Landau, Journal of Multivariate Analysis 12 (1982) 450-455; for images, in the
    features of a network: Heusel and others, NeurIPS 2017.
    """
    first, second = _checked(first, second)
    a, b = (np.atleast_2d(np.cov(each, rowvar=False)) for each in (first, second))
    values, vectors = np.linalg.eigh(a)
    root = vectors * np.sqrt(values.clip(0)) @ vectors.T
    shared = np.sqrt(np.linalg.eigvalsh(root @ b @ root).clip(0)).sum()
    apart = ((first.mean(axis=0) - second.mean(axis=0)) ** 2).sum()
    return float(max(0.0, apart + np.trace(a) + np.trace(b) - 2 * shared))


def precision_and_recall(
    real: np.ndarray, generated: np.ndarray, *, neighbours: int = 3
) -> tuple[float, float]:
    """Return how much of the generated lies among the real, and of the real among the generated.

    "Among" means within a ball around some point of the other set that reaches to that point's
    nearest neighbours in its own set. Low precision: images that look like none of the real ones.
    Low recall: real images that the generator never makes.

    Parameters
    ----------
    real, generated : ndarray of float, shape (n, k) and (m, k)
        Recall grows with ``m``: compare equally many images.
    neighbours : int
        How many neighbours the ball holds.

    Returns
    -------
    precision, recall : float

    Raises
    ------
    ValueError
        As :func:`frechet_distance`, and without more points than neighbours.

    References
    ----------
    Kynkäänniemi and others, Improved Precision and Recall Metric for Assessing Generative Models,
    NeurIPS 2019, equations 1 and 2.
    """
    real, generated = _checked(real, generated)
    apart = pairwise_distances(real, generated)
    of_real, of_generated = (
        np.partition(pairwise_distances(each), neighbours, axis=1)[:, neighbours]  # 0 is the point
        for each in (real, generated)
    )
    precision = (apart <= of_real[:, None]).any(axis=0).mean()
    return float(precision), float((apart <= of_generated).any(axis=1).mean())


def copy_check(
    generated: np.ndarray, training: np.ndarray, held_out: np.ndarray
) -> tuple[np.ndarray, float, float]:
    """Look for copies of training images: how near is the nearest one?

    Parameters
    ----------
    generated, training, held_out : ndarray of float, shape (n, ...)
        Images or features; ``held_out`` are real ones that the generator was not trained on.

    Returns
    -------
    ratios : ndarray of float, shape (n,)
        For each generated image, its distance to the nearest training image over the median
        distance from a held-out image to its nearest training image. A copy has a ratio near 0.
    share : float
        How often a generated image is nearer to a training image than to all held-out ones; 1 of
        copies.
    expected : float
        That share without copying: the training images' part of both sets. Blurred images are
        nearer to everything, so their ratios are low, but their share is no higher.

    Raises
    ------
    ValueError
        As :func:`frechet_distance`.

    References
    ----------
    Meehan, Chaudhuri and Dasgupta, A Non-Parametric Test to Detect Data-Copying in Generative
    Models, AISTATS 2020.
    """
    generated, training, held_out = _checked(generated, training, held_out)
    to_training = pairwise_distances(generated, training)
    usual = np.median(pairwise_distances(held_out, training).min(axis=1))
    nearer = to_training.min(axis=1) < pairwise_distances(generated, held_out).min(axis=1)
    expected = len(training) / (len(training) + len(held_out))
    return to_training.min(axis=1) / usual, float(nearer.mean()), expected


def _checked(*sets: np.ndarray) -> list[np.ndarray]:
    """Return finite float64 arrays of two rows or more, one row an image."""
    flat = [np.reshape(each, (len(each), -1)) for each in sets]
    return [check_array(each, dtype=np.float64, ensure_min_samples=2) for each in flat]

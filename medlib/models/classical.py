"""Classical baselines: features designed by hand, then a model that is fitted to them.

References
----------
Haralick, Shanmugam and Dinstein, Textural Features for Image Classification, IEEE Transactions on
Systems, Man, and Cybernetics SMC-3:610-621, 1973.
Dalal and Triggs, Histograms of Oriented Gradients for Human Detection, CVPR 2005.
"""

import numpy as np
from scipy import ndimage
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

PERCENTILES = (1, 5, 10, 25, 50, 75, 90, 95, 98, 99, 99.7)  # a small lesion moves the last ones
ROUGHNESS_PERCENTILES = (50, 75, 90, 95, 99)
WINDOW = 5  # pixels, of the local standard deviation
GREY_LEVELS = 16  # of the co-occurrence matrix
STEPS = (1, 3)  # pixels, between the two pixels of a pair
HARALICK = ("contrast", "homogeneity", "energy", "correlation")
ORIENTATIONS = 9
CELLS_ACROSS = 4  # whatever the image size, so that features do not grow with it
REGULARISATION = 0.1  # inverse strength of the penalty on the weights


def build_classical() -> Pipeline:
    """Percentiles of intensity and measures of texture, standardised, then logistic regression.

    The best on validation of what lesson 05 compares.

    Returns
    -------
    sklearn.pipeline.Pipeline
        Takes images, shape (n, height, width, channels). ``decision_function`` gives a score that
        is higher for class 1, ``predict`` the class.
    """
    return make_pipeline(FunctionTransformer(hand_made_features), *build_classifier())


def build_classifier() -> Pipeline:
    """Return the part of :func:`build_classical` that takes features, shape (n, features)."""
    return make_pipeline(StandardScaler(), LogisticRegression(C=REGULARISATION, max_iter=1000))


def hand_made_features(images: np.ndarray) -> np.ndarray:
    """Describe each image by its intensities and its texture.

    Parameters
    ----------
    images : ndarray, shape (n, height, width, channels), values in [0, 1]
        Of a stack, (n, depth, height, width, channels), the largest value of each feature in any
        slice counts.

    Returns
    -------
    ndarray of float64, shape (n, 32 * channels)
    """
    if images.ndim == 5:
        return np.stack([hand_made_features(stack).max(axis=0) for stack in images])
    return np.hstack([intensity_features(images), texture_features(images)])


def intensity_features(images: np.ndarray) -> np.ndarray:
    """Percentiles of the pixels that are not background, channel by channel.

    Background is what is zero in every channel; an image of nothing else counts as a whole.

    Parameters
    ----------
    images : ndarray, shape (n, height, width, channels)

    Returns
    -------
    ndarray of float64, shape (n, 11 * channels)
    """
    return np.stack([_percentiles(image) for image in images])


def texture_features(images: np.ndarray) -> np.ndarray:
    """Local standard deviation and co-occurrence of grey levels, channel by channel.

    Parameters
    ----------
    images : ndarray, shape (n, height, width, channels), values in [0, 1]

    Returns
    -------
    ndarray of float64, shape (n, 21 * channels)
        Percentiles of the local standard deviation (5 a channel), then Haralick's contrast,
        homogeneity, energy and correlation of pairs 1 and 3 pixels apart, to the right and up.
    """
    return np.stack([_texture(image) for image in images])


def hog_features(images: np.ndarray) -> np.ndarray:
    """Describe each image by histograms of oriented gradients, of its last channel.

    Parameters
    ----------
    images : ndarray, shape (n, height, width, channels)
        At least 16 pixels high and wide. The last channel of ``simbrain`` is FLAIR.

    Returns
    -------
    ndarray of float64, shape (n, 324)
        4 x 4 cells with 9 orientations, normalised in the 3 x 3 blocks of 2 x 2 cells.
    """
    from skimage.feature import hog

    height, width = images.shape[1:3]
    cell = (height // CELLS_ACROSS, width // CELLS_ACROSS)
    within = images[:, : CELLS_ACROSS * cell[0], : CELLS_ACROSS * cell[1], -1]  # whole cells
    return np.stack(
        [hog(image, ORIENTATIONS, pixels_per_cell=cell, cells_per_block=(2, 2)) for image in within]
    ).astype(np.float64)


def local_standard_deviation(images: np.ndarray) -> np.ndarray:
    """Standard deviation of the 5 x 5 pixels around each pixel.

    Parameters
    ----------
    images : ndarray, shape (n, height, width, channels)

    Returns
    -------
    ndarray of float32, same shape
        The border is continued by reflection.
    """
    images = np.asarray(images, dtype=np.float32)
    size = (0, WINDOW, WINDOW, 0)  # never across images or channels
    mean = ndimage.uniform_filter(images, size)
    variance = ndimage.uniform_filter(images**2, size) - mean**2
    return np.sqrt(np.clip(variance, 0, None))


def co_occurrence(image: np.ndarray, *, steps: tuple[int, ...] = STEPS) -> np.ndarray:
    """Share of pixel pairs with each pair of grey levels.

    Parameters
    ----------
    image : ndarray, shape (height, width), values in [0, 1]
    steps : tuple of int
        Distances of the pairs in pixels.

    Returns
    -------
    ndarray of float64, shape (16, 16, steps, 2)
        Symmetric, adds up to 1 for each distance and direction (right, up).
    """
    from skimage.feature import graycomatrix

    levels = np.minimum((np.asarray(image) * GREY_LEVELS).astype(np.uint8), GREY_LEVELS - 1)
    return graycomatrix(
        levels, steps, (0, np.pi / 2), levels=GREY_LEVELS, symmetric=True, normed=True
    )


def _percentiles(image: np.ndarray) -> np.ndarray:
    inside = image[image.max(axis=-1) > 0]
    if not len(inside):
        inside = image.reshape(-1, image.shape[-1])
    return np.percentile(inside, PERCENTILES, axis=0).T.ravel()


def _texture(image: np.ndarray) -> np.ndarray:
    rough = local_standard_deviation(image[np.newaxis])[0].reshape(-1, image.shape[-1])
    quantiles = np.percentile(rough, ROUGHNESS_PERCENTILES, axis=0).T.ravel()
    return np.concatenate([quantiles, _haralick(image)])


def _haralick(image: np.ndarray) -> np.ndarray:
    from skimage.feature import graycoprops

    pairs = np.concatenate([co_occurrence(each) for each in np.moveaxis(image, -1, 0)], axis=2)
    return np.hstack([graycoprops(pairs, p).reshape(image.shape[-1], -1) for p in HARALICK]).ravel()

"""Classical baselines: features designed by hand, then a kernel machine.

References
----------
Dalal and Triggs, Histograms of Oriented Gradients for Human Detection, CVPR 2005.
Cortes and Vapnik, Support-Vector Networks, Machine Learning 20:273-297, 1995.
"""

import numpy as np
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC

ORIENTATIONS = 9
CELLS_ACROSS = 8  # whatever the image size, so that features do not grow with it


def build_hog_svm() -> Pipeline:
    """Histograms of oriented gradients, standardised, then a support vector machine.

    Returns
    -------
    sklearn.pipeline.Pipeline
        Takes images, shape (n, height, width, channels). ``decision_function`` gives a score that
        is higher for class 1, ``predict`` the class. The kernel is Gaussian (RBF), C is 1 and its
        width is scikit-learn's "scale".
    """
    return make_pipeline(FunctionTransformer(hog_features), StandardScaler(), SVC())


def hog_features(images: np.ndarray) -> np.ndarray:
    """Describe each image by histograms of oriented gradients, channel by channel.

    Parameters
    ----------
    images : ndarray, shape (n, height, width, channels)
        At least 16 pixels high and wide.

    Returns
    -------
    ndarray of float32, shape (n, features)
        8 x 8 cells with 9 orientations, normalised in blocks of 2 x 2 cells.
    """
    from skimage.feature import hog

    height, width = images.shape[1:3]
    cell = (height // CELLS_ACROSS, width // CELLS_ACROSS)

    def describe(image: np.ndarray) -> np.ndarray:
        return np.concatenate(
            [
                hog(channel, ORIENTATIONS, pixels_per_cell=cell, cells_per_block=(2, 2))
                for channel in np.moveaxis(image, -1, 0)
            ]
        )

    return np.stack([describe(image) for image in images]).astype(np.float32)

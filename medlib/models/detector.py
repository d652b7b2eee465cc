"""A small detector that marks the centre of each lesion.

Reference: Zhou, Wang and Kraehenbuehl, Objects as Points, arXiv:1904.07850, 2019.
"""

from medlib.models.unet import build_unet


def build_detector(
    image_shape: tuple[int, int, int], task, *, seed: int, width: int = 16, levels: int = 4
):
    """Halve the image level by level, then double it again up to a quarter of its resolution.

    A U-Net that ends early: what its smallest level sees, a large part of the image, is put
    together with what the larger ones know of places. About 235,000 weights.

    Parameters
    ----------
    image_shape : tuple of int
        (height, width, channels).
    task : medlib.tasks.Detection
    seed : int
        Of the initial weights.
    width : int
        Channels of the first level; each level has twice as many as the one before.
    levels : int
        2 or more: the second has the quarter where lesions are marked.

    Returns
    -------
    keras.Model
        Not compiled.

    Raises
    ------
    UsageError
        If the sides are not multiples of ``2 ** levels``.
    """
    return build_unet(image_shape, task, seed=seed, width=width, levels=levels, last=1)

"""Where pixels lie: cropping to the content, resampling to a spacing, resizing to a square."""

import numpy as np

from medlib.errors import DataError, UsageError


def pad_to_square(image: np.ndarray) -> np.ndarray:
    """Add black borders until height and width are equal; the image stays in the middle.

    Parameters
    ----------
    image : ndarray, shape (height, width) or (height, width, channels)

    Returns
    -------
    ndarray, shape (side, side) or (side, side, channels)
        With ``side = max(height, width)`` and the input's dtype.
    """
    height, width = image.shape[:2]
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    padding = [(top, side - height - top), (left, side - width - left)]
    return np.pad(image, padding + [(0, 0)] * (image.ndim - 2))


def fit_to_square(
    image: np.ndarray, side: int, *, spacing_mm: tuple[float, float] = (1.0, 1.0)
) -> np.ndarray:
    """Resize until the longer side fits, then add black borders: nothing is stretched.

    Parameters
    ----------
    image : ndarray of float, shape (height, width, channels), or a mask, shape (height, width)
        A mask takes the nearest pixel, so that it lies exactly on its image.
    side : int
    spacing_mm : tuple of float
        Distance between the centres of neighbouring pixels, (down, across). Only their ratio
        matters: pixels that are not square become square, so that a circle stays a circle.

    Returns
    -------
    ndarray of float32, shape (side, side, channels), or the mask's dtype, shape (side, side)
    """
    resize = resize_mask if image.ndim == 2 else resize_image
    return pad_to_square(resize(image, _fitted(image.shape[:2], side, spacing_mm)))


def restore_from_square(
    image: np.ndarray, shape: tuple[int, int], *, spacing_mm: tuple[float, float] = (1.0, 1.0)
) -> np.ndarray:
    """Undo :func:`fit_to_square`: cut the borders off, and resize to what was there before.

    Parameters
    ----------
    image : ndarray of float, shape (side, side, channels)
    shape : tuple of int
        The original (height, width).
    spacing_mm : tuple of float
        Of the original, as it was given to :func:`fit_to_square`.

    Returns
    -------
    ndarray of float32, shape (*shape, channels)
    """
    rows, columns = _fitted(shape, len(image), spacing_mm)
    top, left = (len(image) - rows) // 2, (len(image) - columns) // 2
    return resize_image(image[top : top + rows, left : left + columns], shape)


def fit_boxes(boxes: np.ndarray, shape: tuple, side: int, *, spacing_mm: tuple) -> np.ndarray:
    """Return where boxes of an image lie after :func:`fit_to_square`.

    Parameters
    ----------
    boxes : ndarray, shape (k, 4)
        First row and column, last row + 1 and column + 1.
    shape : tuple of int
        (height, width) of the image.
    side, spacing_mm
        As of :func:`fit_to_square`.

    Returns
    -------
    ndarray of float32, shape (k, 4)
    """
    scale, first = _place(shape, side, spacing_mm)
    return np.clip(np.asarray(boxes) * scale + first, 0, side).astype(np.float32)


def restore_boxes(boxes: np.ndarray, shape: tuple, side: int, *, spacing_mm: tuple) -> np.ndarray:
    """Undo :func:`fit_boxes`, and cut boxes at the border of the image: some may be left empty."""
    scale, first = _place(shape, side, spacing_mm)
    return np.clip((np.asarray(boxes) - first) / scale, 0, np.tile(shape, 2))


def resize_image(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Resize with a triangle filter as wide as the step between new pixels.

    When an image gets smaller the filter averages over all pixels that fall together (no
    aliasing: fine speckle does not turn into coarse stripes). All its weights are positive, so
    that values stay within the range of the input.

    Parameters
    ----------
    image : ndarray of float, shape (height, width, channels)
    shape : tuple of int
        New (height, width).

    Returns
    -------
    ndarray of float32, shape (*shape, channels)
    """
    from PIL import Image

    size = (shape[1], shape[0])
    channels = [
        Image.fromarray(np.ascontiguousarray(image[..., channel], dtype=np.float32)).resize(
            size, Image.Resampling.BILINEAR
        )
        for channel in range(image.shape[-1])
    ]
    return np.stack([np.asarray(channel) for channel in channels], axis=-1)


def resize_mask(mask: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Resize a mask by taking the nearest pixel: no value appears that was not there.

    Parameters
    ----------
    mask : ndarray of bool or int, shape (height, width)
    shape : tuple of int
        New (height, width).

    Returns
    -------
    ndarray of the mask's dtype, shape ``shape``
    """
    rows = _nearest(mask.shape[0], shape[0])
    columns = _nearest(mask.shape[1], shape[1])
    return mask[np.ix_(rows, columns)]


def boxes_from_mask(mask: np.ndarray) -> np.ndarray:
    """Find the box around each lesion of a mask.

    Parameters
    ----------
    mask : ndarray of bool or int, shape (height, width)
        Pixels above 0 that touch, also at a corner, are one lesion, whatever their structure.

    Returns
    -------
    ndarray of float32, shape (n_lesions, 4)
        First row, first column, last row + 1 and last column + 1 of each, from the top down.
    """
    from skimage.measure import label, regionprops

    boxes = [region.bbox for region in regionprops(label(mask > 0))]
    return np.array(boxes, dtype=np.float32).reshape(-1, 4)


def resample_to_spacing(
    image: np.ndarray, spacing_mm: tuple[float, float], *, to_mm: float
) -> np.ndarray:
    """Resample so that one pixel is as large in every image: a millimetre is a millimetre.

    Parameters
    ----------
    image : ndarray of float, shape (height, width, channels)
    spacing_mm : tuple of float
        Distance between the centres of neighbouring pixels, (down, across), in mm.
    to_mm : float
        The new distance, in both directions.

    Returns
    -------
    ndarray of float32, shape (new height, new width, channels)
        The physical size is kept to within half a new pixel.

    Raises
    ------
    UsageError
        If a spacing is not a positive number.
    """
    spacings = np.array([*spacing_mm, to_mm], dtype=np.float64)
    if not (np.isfinite(spacings).all() and (spacings > 0).all()):
        found = f"{tuple(spacing_mm)} to {to_mm}"
        raise UsageError("spacing_mm", expected="distances above 0 mm", found=found)
    shape = np.maximum(1, np.rint(np.array(image.shape[:2]) * spacings[:2] / to_mm)).astype(int)
    return resize_image(image, (int(shape[0]), int(shape[1])))


def crop_to_content(
    image: np.ndarray, *, threshold: float = 0.05, margin: int = 0
) -> tuple[np.ndarray, tuple[slice, slice]]:
    """Cut away the dark borders around what is imaged.

    Parameters
    ----------
    image : ndarray, shape (height, width, channels)
    threshold : float
        A pixel is content when a channel of it is brighter than this.
    margin : int
        Pixels kept around the content, where the image has them.

    Returns
    -------
    cropped : ndarray, shape (new height, new width, channels)
    window : tuple of slice
        Rows and columns that were kept: ``image[window]`` is ``cropped``. The same crop must be
        applied to the mask.

    Raises
    ------
    DataError
        If no pixel is brighter than the threshold.
    """
    content = (image > threshold).any(axis=-1)
    if not content.any():
        raise DataError(
            "crop_to_content",
            expected=f"a pixel above {threshold}",
            found=f"none (the brightest is {image.max():.3g})",
        )
    window = tuple(
        slice(max(0, int(lines[0]) - margin), int(lines[-1]) + 1 + margin)
        for lines in (np.flatnonzero(content.any(axis=1)), np.flatnonzero(content.any(axis=0)))
    )
    return image[window], window


def _fitted(shape: tuple[int, int], side: int, spacing_mm: tuple[float, float]) -> tuple[int, int]:
    """Rows and columns of an image whose longer side fits."""
    extent = np.multiply(shape, spacing_mm)
    return tuple(int(n) for n in np.maximum(1, np.rint(extent * side / extent.max())))


def _place(shape: tuple[int, int], side: int, spacing_mm) -> tuple[np.ndarray, np.ndarray]:
    """Scale and first row and column of an image in a square, for both corners of a box."""
    fitted = np.array(_fitted(shape, side, spacing_mm))
    return np.tile(fitted / shape, 2), np.tile((side - fitted) // 2, 2)


def _nearest(old: int, new: int) -> np.ndarray:
    """Index of the old pixel that holds the centre of each new one."""
    return np.minimum(((np.arange(new) + 0.5) * old / new).astype(int), old - 1)

"""Random changes of an image that leave its label true, as Keras layers.

A layer takes images, or a dict of ``images`` with ``masks`` and ``boxes``, and moves all of them
together. Images are float, (n, height, width, channels), or stacks, (n, depth, height, width,
channels), whose slices move together. Masks are whole numbers, of the images' shape without
channels. Boxes are float, (n, k, 4): first row and column, last row and column, in pixels; -1
throughout where an image has fewer than k.
"""

import math

import keras
from keras import ops


class _RandomLayer(keras.layers.Layer):
    """A layer with random numbers of its own that does nothing when predicting."""

    def __init__(self, *, seed: int = 0, **options):
        super().__init__(**options)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def compute_output_shape(self, input_shape):
        """Return the shape of the input: nothing is cropped."""
        return input_shape

    def _draw(self, images, count: int):
        """Return ``count`` uniform numbers in [-1, 1] an image, each of shape (n,)."""
        shape = (ops.shape(images)[0], count)
        drawn = keras.random.uniform(shape, -1.0, 1.0, seed=self.seed_generator)
        return ops.unstack(drawn, count, axis=1)


@keras.saving.register_keras_serializable("medlib")
class RandomAffine(_RandomLayer):
    """Mirror, turn, enlarge and move each image, in one interpolation, while training.

    Four separate layers would interpolate, and so blur, an image four times. Images are
    interpolated linearly, masks take the nearest pixel. Pixels from outside repeat the border, so
    that no black wedge tells how an image was turned. A box becomes the smallest upright box around
    the moved one, cut at the border; one that leaves the image becomes -1.

    Parameters
    ----------
    flip : bool
        Mirror half of the images left to right.
    shift : float
        Move by up to this fraction of the height and of the width.
    rotation : float
        Turn by up to this angle, degrees, either way.
    zoom : float
        Enlarge or shrink by up to this fraction.
    seed : int
        Same seed and same calls, same changes.

    Examples
    --------
    >>> changed = RandomAffine(flip=True, rotation=10, seed=0)(images, training=True)
    """

    def __init__(
        self,
        *,
        flip: bool = False,
        shift: float = 0.0,
        rotation: float = 0.0,
        zoom: float = 0.0,
        **options,
    ):
        super().__init__(**options)
        self.flip, self.shift, self.rotation, self.zoom = flip, shift, rotation, zoom

    def call(self, inputs, training=False):
        """Return what was given, changed, or the same when predicting."""
        if not training:
            return inputs
        given = inputs if isinstance(inputs, dict) else {"images": inputs}
        height, width = given["images"].shape[-3:-1]
        back = self._matrix(given["images"], height, width)
        changed = {"images": _move(given["images"], back, "bilinear")}
        if "masks" in given:
            masks = ops.cast(given["masks"], "float32")[..., None]
            changed["masks"] = ops.cast(_move(masks, back, "nearest")[..., 0], given["masks"].dtype)
        if "boxes" in given:
            changed["boxes"] = _move_boxes(given["boxes"], back, height, width)
        return changed if isinstance(inputs, dict) else changed["images"]

    def _matrix(self, images, height: int, width: int):
        """Six numbers an image, shape (n, 6): from a new pixel (x, y) to its place in the old."""
        mirror, turn, enlarge, across, down = self._draw(images, 5)
        sign = ops.where(mirror < 0, -1.0, 1.0) if self.flip else ops.ones_like(mirror)
        angle = turn * (self.rotation * math.pi / 180)
        scale = 1 + self.zoom * enlarge
        cosine, sine = scale * ops.cos(angle), scale * ops.sin(angle)
        # About the centre, then moved.
        centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
        x_from_x, x_from_y, y_from_x, y_from_y = sign * cosine, -sign * sine, sine, cosine
        x_offset = centre_x - x_from_x * centre_x - x_from_y * centre_y
        y_offset = centre_y - y_from_x * centre_x - y_from_y * centre_y
        x_offset = x_offset + across * (self.shift * width)
        y_offset = y_offset + down * (self.shift * height)
        return ops.stack([x_from_x, x_from_y, x_offset, y_from_x, y_from_y, y_offset], axis=1)


@keras.saving.register_keras_serializable("medlib")
class RandomIntensity(_RandomLayer):
    """Change contrast and gamma of each image while training, as another scanner would.

    A value v in [0, 1] becomes ``c * v ** g``, cut at 1: black stays black. Masks and boxes stay.

    Parameters
    ----------
    gamma : float
        The exponent g is drawn between ``exp(-gamma)`` and ``exp(gamma)``.
    contrast : float
        The factor c is drawn between ``1 - contrast`` and ``1 + contrast``.
    seed : int
    """

    def __init__(self, *, gamma: float = 0.0, contrast: float = 0.0, **options):
        super().__init__(**options)
        self.gamma, self.contrast = gamma, contrast

    def call(self, inputs, training=False):
        """Return what was given, changed, or the same when predicting."""
        if not training:
            return inputs
        images = inputs["images"] if isinstance(inputs, dict) else inputs
        one_each = (-1,) + (1,) * (len(images.shape) - 1)
        gamma, contrast = (ops.reshape(drawn, one_each) for drawn in self._draw(images, 2))
        bent = ops.power(ops.maximum(images, 1e-6), ops.exp(self.gamma * gamma))
        images = ops.clip((1 + self.contrast * contrast) * bent, 0.0, 1.0)
        return inputs | {"images": images} if isinstance(inputs, dict) else images


def _move(images, back, interpolation: str):
    """Take every pixel from where ``back`` says, the slices of a stack alike."""
    is_stack = len(images.shape) == 5
    if is_stack:
        _, depth, height, width, channels = images.shape
        images = ops.transpose(images, (0, 2, 3, 1, 4))
        images = ops.reshape(images, (-1, height, width, depth * channels))
    back = ops.pad(back, [[0, 0], [0, 2]])  # no perspective
    images = ops.image.affine_transform(
        images, back, interpolation=interpolation, fill_mode="nearest"
    )
    if is_stack:
        images = ops.reshape(images, (-1, height, width, depth, channels))
        images = ops.transpose(images, (0, 3, 1, 2, 4))
    return images


def _move_boxes(boxes, back, height: int, width: int):
    """Move the corners of boxes, and return the smallest upright boxes around them."""
    a, b, x_offset, c, d, y_offset = (v[:, None, None] for v in ops.unstack(back, 6, axis=1))
    top, left, bottom, right = ops.unstack(boxes, 4, axis=-1)
    # Boxes are bounded by the edges of pixels, half a pixel before their centres.
    old_x = ops.stack([left, right, left, right], axis=-1) - 0.5 - x_offset
    old_y = ops.stack([top, top, bottom, bottom], axis=-1) - 0.5 - y_offset
    determinant = a * d - b * c
    x = (d * old_x - b * old_y) / determinant + 0.5
    y = (a * old_y - c * old_x) / determinant + 0.5
    x, y = ops.clip(x, 0, width), ops.clip(y, 0, height)
    moved = [ops.min(y, axis=-1), ops.min(x, axis=-1), ops.max(y, axis=-1), ops.max(x, axis=-1)]
    area = (moved[2] - moved[0]) * (moved[3] - moved[1])
    there = ((top >= 0) & (area > 0))[..., None]
    return ops.where(there, ops.stack(moved, axis=-1), -1.0)

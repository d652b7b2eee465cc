"""Random changes of an image that leave its label true, as Keras layers."""

import math

import keras


@keras.saving.register_keras_serializable("medlib")
class RandomAffine(keras.layers.Layer):
    """Mirror, turn, enlarge and move each image, in one interpolation, while training.

    Four separate layers would interpolate, and so blur, an image four times. Pixels from outside
    repeat the border, so that no black wedge tells how an image was turned.

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
        seed: int = 0,
        **options,
    ):
        super().__init__(**options)
        self.flip, self.shift, self.rotation, self.zoom = flip, shift, rotation, zoom
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, images, training=False):
        """Return changed images, (n, height, width, channels), or the same when predicting."""
        if not training:
            return images
        _, height, width, _ = images.shape
        draws = keras.random.uniform(
            (keras.ops.shape(images)[0], 5), -1.0, 1.0, seed=self.seed_generator
        )
        mirror, turn, enlarge, across, down = keras.ops.unstack(draws, 5, axis=1)
        sign = keras.ops.where(mirror < 0, -1.0, 1.0) if self.flip else keras.ops.ones_like(mirror)
        angle = turn * (self.rotation * math.pi / 180)
        scale = 1 + self.zoom * enlarge
        cosine, sine = scale * keras.ops.cos(angle), scale * keras.ops.sin(angle)
        # From a pixel of the new image to the place in the old one: about the centre, then moved.
        centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
        x_from_x, x_from_y, y_from_x, y_from_y = sign * cosine, -sign * sine, sine, cosine
        x_offset = centre_x - x_from_x * centre_x - x_from_y * centre_y
        y_offset = centre_y - y_from_x * centre_x - y_from_y * centre_y
        x_offset = x_offset + across * (self.shift * width)
        y_offset = y_offset + down * (self.shift * height)
        nought = keras.ops.zeros_like(turn)
        transform = keras.ops.stack(
            [x_from_x, x_from_y, x_offset, y_from_x, y_from_y, y_offset, nought, nought], axis=1
        )
        return keras.ops.image.affine_transform(
            images, transform, interpolation="bilinear", fill_mode="nearest"
        )

    def compute_output_shape(self, input_shape):
        """Return the shape of the input: nothing is cropped."""
        return input_shape

    def get_config(self) -> dict:
        """Return what is needed to make the same layer again."""
        names = ("flip", "shift", "rotation", "zoom", "seed")
        return super().get_config() | {name: getattr(self, name) for name in names}

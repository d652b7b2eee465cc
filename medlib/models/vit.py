"""A small vision Transformer, behind a few convolutions or on plain patches.

References
----------
Vaswani and others, Attention Is All You Need, NeurIPS 2017.
Dosovitskiy and others, An Image Is Worth 16x16 Words: Transformers for Image Recognition at Scale,
ICLR 2021.
Xiao and others, Early Convolutions Help Transformers See Better, NeurIPS 2021.
"""

from collections.abc import Iterator
from functools import partial

import keras

from medlib.errors import UsageError
from medlib.models.layers import convolve, layer_seeds, over_slices, slices_of

TOKENS_ACROSS = 8  # at most, where no patch is given: attention costs the fourth power of it
FIRST_POSITIONS = 0.02  # standard deviation, as in the code of Dosovitskiy and others
EPSILON = 1e-6  # of layer normalisation, likewise


def build_vit(
    image_shape: tuple[int, ...],
    task,
    *,
    seed: int,
    stem: bool = True,
    patch: int | None = None,
    width: int = 48,
    depth: int = 2,
    heads: int = 4,
):
    """Make tokens of an image, let them attend to each other, and take their mean.

    Every place has a learned position; layer normalisation stands before attention and before the
    two dense layers of a block; about 57,000 weights for images of 64 pixels. Of a stack, every
    slice goes through the same layers, and the largest value of each feature over slices counts.

    Parameters
    ----------
    image_shape : tuple of int
        (height, width, channels), or (depth, height, width, channels).
    task : medlib.tasks.Classification
    seed : int
        Of the initial weights.
    stem : bool
        Tokens from convolutions of stride 2, as many as make one token of ``patch`` pixels (Xiao
        and others). Otherwise tokens are the pixels of patches that do not overlap (Dosovitskiy
        and others).
    patch : int, optional
        Pixels from one token to the next; default the smallest power of two that leaves at most
        eight tokens across.
    width, depth, heads : int
        Numbers of a token, blocks, heads of attention in each.

    Returns
    -------
    keras.Model
        Not compiled.

    Raises
    ------
    UsageError
        If a patch does not divide the image, or is no power of two where there is a stem.
    """
    *_, high, wide, channels = image_shape
    if patch is None:
        patch = 2 ** (-(-max(high, wide) // TOKENS_ACROSS) - 1).bit_length()
    if stem and patch.bit_count() != 1:
        raise UsageError("patch", expected="a power of two, for a stem", found=f"{patch}")
    if not stem and (high % patch or wide % patch):
        expected = f"a height and a width that a patch of {patch} divides"
        advice = "Resample or crop the images, or take the network with a stem"
        raise UsageError("image size", expected=expected, found=f"{high} x {wide}", advice=advice)
    seeds = layer_seeds(seed)
    inputs = keras.Input(image_shape)
    x = slices_of(inputs)
    if stem:
        for halvings in reversed(range(patch.bit_length() - 1)):
            x = keras.layers.ReLU()(convolve(x, width >> halvings, seeds, strides=2))
    else:
        x = keras.layers.Reshape((high // patch, patch, wide // patch, patch * channels))(x)
        x = keras.layers.Permute((1, 3, 2, 4))(x)
    tokens = x.shape[1] * x.shape[2]
    x = keras.layers.Reshape((tokens, -1))(x)
    x = keras.layers.EinsumDense(
        "ntc,cw->ntw",
        (tokens, width),
        bias_axes="tw",  # a bias for every place: its position
        kernel_initializer=keras.initializers.GlorotUniform(seed=next(seeds)),
        bias_initializer=keras.initializers.RandomNormal(stddev=FIRST_POSITIONS, seed=next(seeds)),
    )(x)
    for _ in range(depth):
        x = _block(x, heads, seeds)
    x = keras.layers.LayerNormalization(epsilon=EPSILON)(x)
    x = over_slices(keras.layers.GlobalAveragePooling1D()(x), image_shape)
    return keras.Model(inputs, task.head(x, seed=next(seeds)), name="vit")


build_vit_patches = partial(build_vit, stem=False)


def _block(x, heads: int, seeds: Iterator[int]):
    """Return x + attention, then that + two dense layers: the encoder of Dosovitskiy and others."""
    width = x.shape[-1]
    y = keras.layers.LayerNormalization(epsilon=EPSILON)(x)
    attention = keras.layers.MultiHeadAttention(heads, width // heads)
    x = keras.layers.Add()([x, attention(y, y)])
    # Given an initialiser with a seed, Keras would start query, key and value with equal weights.
    for part in ("query", "key", "value", "output"):
        kernel = getattr(attention, f"{part}_dense").kernel
        start = keras.initializers.GlorotUniform(seed=next(seeds))((width, width))
        kernel.assign(keras.ops.reshape(start, kernel.shape))
    y = keras.layers.LayerNormalization(epsilon=EPSILON)(x)
    for units, activation in ((2 * width, "gelu"), (width, None)):
        start = keras.initializers.GlorotUniform(seed=next(seeds))
        y = keras.layers.Dense(units, activation, kernel_initializer=start)(y)
    return keras.layers.Add()([x, y])

"""The vision Transformer cuts images into tokens, knows their places, and lets them attend."""

import numpy as np
import pytest

from medlib import models, training
from medlib.errors import UsageError
from medlib.tasks import Classification

TWO = Classification(("normal", "tumour"))


@pytest.fixture(scope="module", autouse=True)
def keras():
    return training.import_keras()


def _layers(network, kind):
    return [layer for layer in network.layers if isinstance(layer, kind)]


def _images(*shape):
    return np.random.default_rng(0).random(shape, dtype=np.float32)


def _shuffle_patches(images, order, patch):
    n, side = len(images), images.shape[1] // patch
    cut = images.reshape(n, side, patch, side, patch, -1).swapaxes(2, 3)
    cut = cut.reshape(n, side * side, patch, patch, -1)[:, order]
    return cut.reshape(n, side, side, patch, patch, -1).swapaxes(2, 3).reshape(images.shape)


@pytest.mark.parametrize(("side", "tokens"), [(24, 36), (28, 49), (64, 64), (96, 36), (128, 64)])
def test_there_are_at_most_eight_tokens_across(keras, side, tokens):
    for name in ("vit", "vit_patches"):
        network = models.build(name, (side, side, 1), TWO, seed=0)
        (to_tokens,) = _layers(network, keras.layers.EinsumDense)
        assert to_tokens.output.shape == (None, tokens, 48)


def test_a_token_of_plain_patches_is_a_dense_layer_of_its_own_pixels(keras):
    network = models.build("vit_patches", (24, 16, 2), TWO, seed=0)  # patches of 4 pixels
    (to_tokens,) = _layers(network, keras.layers.EinsumDense)
    images = _images(1, 24, 16, 2)
    tokens = np.asarray(keras.Model(network.input, to_tokens.output)(images))[0]
    kernel, places = to_tokens.get_weights()
    pixels = images[0, 8:12, 4:8].ravel()  # third row of patches, second column, of four
    assert np.allclose(tokens[2 * 4 + 1], pixels @ kernel + places[2 * 4 + 1], atol=1e-5)


def test_without_places_patches_are_a_bag_and_with_them_they_are_not(keras):
    network = models.build("vit_patches", (16, 16, 1), TWO, seed=0)
    (to_tokens,) = _layers(network, keras.layers.EinsumDense)
    order = np.random.default_rng(1).permutation(64)
    images = _images(2, 16, 16, 1)
    shuffled = _shuffle_patches(images, order, patch=2)
    kernel, places = to_tokens.get_weights()
    to_tokens.set_weights([kernel, 50 * places])
    assert not np.allclose(network(images), network(shuffled), atol=1e-4)
    to_tokens.set_weights([kernel, 0 * places])
    assert np.allclose(network(images), network(shuffled), atol=1e-5)


def test_a_patch_that_does_not_divide_the_image_is_refused_and_a_stem_takes_it():
    expected = "image size: expected a height and a width that a patch of 8 divides, found 60 x 64"
    with pytest.raises(UsageError, match=expected):
        models.build("vit_patches", (60, 64, 3), TWO, seed=0)
    assert np.asarray(models.build("vit", (60, 64, 3), TWO, seed=0)(_images(1, 60, 64, 3))).size


def test_the_size_of_a_stem_is_a_power_of_two():
    from medlib.models.vit import build_vit

    with pytest.raises(UsageError, match="patch: expected a power of two, for a stem, found 6"):
        build_vit((60, 60, 1), TWO, seed=0, patch=6)


def test_query_key_and_value_start_differently(keras):
    network = models.build("vit", (32, 32, 1), TWO, seed=0)
    kernels = [
        getattr(layer, f"{part}_dense").get_weights()[0].ravel()
        for layer in _layers(network, keras.layers.MultiHeadAttention)
        for part in ("query", "key", "value", "output")
    ]
    assert len({tuple(kernel[:3]) for kernel in kernels}) == len(kernels) == 8


def test_a_blind_network_without_dense_layers_still_adds_what_was_there(keras):
    """Blocks add to their input: if they give nothing, tokens go through unchanged."""
    network = models.build("vit", (32, 32, 1), TWO, seed=0)
    for layer in _layers(network, keras.layers.MultiHeadAttention):
        layer.output_dense.set_weights([0 * w for w in layer.output_dense.get_weights()])
    for layer in _layers(network, keras.layers.Dense)[1:-1:2]:
        layer.set_weights([0 * w for w in layer.get_weights()])
    (to_tokens,) = _layers(network, keras.layers.EinsumDense)
    last = _layers(network, keras.layers.LayerNormalization)[-1]
    ends = keras.Model(network.input, [to_tokens.output, last.input])(_images(2, 32, 32, 1))
    assert np.allclose(*ends)


def test_it_is_loaded_as_it_was_saved(keras, tmp_path):
    network = models.build("vit", (32, 32, 1), TWO, seed=0)
    network.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", compile=False, safe_mode=True)
    images = _images(2, 32, 32, 1)
    assert np.allclose(network(images), again(images))

"""The networks have the parts they are named for."""

import numpy as np
import pytest

from medlib import models, training
from medlib.errors import UsageError

SHAPE = (32, 32, 3)


@pytest.fixture(scope="module", autouse=True)
def keras():
    return training.import_keras()


@pytest.mark.parametrize("name", models.NAMES)
@pytest.mark.parametrize(("n_classes", "units"), [(2, 1), (3, 3)])
def test_outputs_are_probabilities(name, n_classes, units):
    network = models.build(name, SHAPE, n_classes, seed=0)
    images = np.random.default_rng(0).random((4, *SHAPE), dtype=np.float32)
    outputs = np.asarray(network(images))
    assert outputs.shape == (4, units)
    assert (outputs > 0).all()
    if units > 1:
        assert np.allclose(outputs.sum(axis=1), 1)
    else:
        assert (outputs < 1).all()


@pytest.mark.parametrize("name", models.NAMES)
def test_the_seed_fixes_the_weights(name):
    first, same, other = (
        models.build(name, SHAPE, 2, seed=seed).get_weights() for seed in (0, 0, 1)
    )
    assert all(np.array_equal(a, b) for a, b in zip(first, same, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("name", models.NAMES)
def test_no_two_layers_start_alike(name):
    weights = [w for w in models.build(name, SHAPE, 2, seed=0).get_weights() if w.ndim == 4]
    starts = [tuple(weight.ravel()[:4].tolist()) for weight in weights]
    assert len(set(starts)) == len(starts)


def test_a_wrong_name_is_answered_with_the_right_ones():
    with pytest.raises(UsageError, match="model: expected one of cnn, resnet, found 'alexnet'"):
        models.build("alexnet", SHAPE, 2, seed=0)


def test_the_first_network_has_three_blocks_and_two_dense_layers(keras):
    network = models.build("cnn", SHAPE, 2, seed=0)
    widths = [layer.filters for layer in network.layers if isinstance(layer, keras.layers.Conv2D)]
    units = [layer.units for layer in network.layers if isinstance(layer, keras.layers.Dense)]
    assert (widths, units) == ([32, 64, 128], [128, 1])
    assert not [x for x in network.layers if isinstance(x, keras.layers.BatchNormalization)]


def test_a_residual_network_takes_images_of_every_size_with_the_same_weights():
    counts = {models.build("resnet", (n, n, 1), 2, seed=0).count_params() for n in (28, 64, 96)}
    assert len(counts) == 1


def test_residual_blocks_add_their_input(keras):
    network = models.build("resnet", SHAPE, 2, seed=0)
    assert sum(isinstance(layer, keras.layers.Add) for layer in network.layers) == 3
    for weight in network.trainable_variables:
        if "conv2d" in weight.path and weight.shape[0] == 3 and weight.shape[2] != 3:
            weight.assign(weight * 0)
    images = np.random.default_rng(0).random((2, *SHAPE), dtype=np.float32)
    outputs = np.asarray(network(images))
    assert outputs[0] != pytest.approx(outputs[1])  # the shortcuts still tell images apart

"""The networks have the parts they are named for."""

import numpy as np
import pytest

from medlib import models, training
from medlib.errors import UsageError
from medlib.tasks import Classification

SHAPE = (32, 32, 3)
TWO = Classification(("normal", "tumour"))


@pytest.fixture(scope="module", autouse=True)
def keras():
    return training.import_keras()


@pytest.mark.parametrize("name", models.NAMES)
@pytest.mark.parametrize(("n_classes", "units"), [(2, 1), (3, 3)])
def test_outputs_are_probabilities(name, n_classes, units):
    task = Classification(tuple("abc"[:n_classes]))
    network = models.build(name, SHAPE, task, seed=0)
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
        models.build(name, SHAPE, TWO, seed=seed).get_weights() for seed in (0, 0, 1)
    )
    assert all(np.array_equal(a, b) for a, b in zip(first, same, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("name", models.NAMES)
def test_no_two_layers_start_alike(name):
    weights = [w for w in models.build(name, SHAPE, TWO, seed=0).get_weights() if w.ndim == 4]
    starts = [tuple(weight.ravel()[:4].tolist()) for weight in weights]
    assert len(set(starts)) == len(starts)


@pytest.mark.parametrize("name", [name for name in models.NAMES if name != "rnn"])
def test_a_stack_is_judged_by_the_largest_of_each_feature_whatever_the_order(name):
    """So one slice repeated counts once, and turning the stack round changes nothing."""
    stacks = np.random.default_rng(0).random((3, 5, *SHAPE), dtype=np.float32)
    network = models.build(name, (5, *SHAPE), TWO, seed=0)
    outputs = np.asarray(network(stacks))
    assert outputs.shape == (3, 1)
    assert np.asarray(network(stacks[:, ::-1])) == pytest.approx(outputs, abs=1e-6)
    of_images = models.build(name, SHAPE, TWO, seed=0)
    assert of_images.count_params() == network.count_params()
    alone = np.asarray(of_images(stacks[:, 2]))
    repeated = np.repeat(stacks[:, 2:3], 5, axis=1)
    assert np.asarray(network(repeated)) == pytest.approx(alone, abs=1e-6)


def test_a_wrong_name_is_answered_with_the_right_ones():
    known = ", ".join((*models.NAMES, *models.SEGMENTING, *models.DETECTING))
    with pytest.raises(UsageError, match=f"model: expected one of {known}, found 'alexnet'"):
        models.build("alexnet", SHAPE, TWO, seed=0)


def test_seeds_of_layers_are_not_counted_up():
    """The second kernel of one seed is not the first of the next."""
    starts = [
        [tuple(w.ravel()[:4]) for w in models.build("cnn", SHAPE, TWO, seed=seed).get_weights()]
        for seed in range(5)
    ]
    kernels = [start for weights in starts for start in weights if len(set(start)) > 1]
    assert len(set(kernels)) == len(kernels)


def test_the_plain_network_has_six_convolutions_and_ends_in_the_mean_of_each_channel(keras):
    network = models.build("cnn", (64, 64, 3), TWO, seed=0)
    convolutions = [x for x in network.layers if isinstance(x, keras.layers.Conv2D)]
    assert [layer.filters for layer in convolutions] == [16, 16, 32, 32, 64, 64]
    assert [layer.strides[0] for layer in convolutions] == [2, 1, 1, 1, 1, 1]
    assert models.build("cnn", (28, 28, 3), TWO, seed=0).layers[1].strides == (1, 1)
    assert isinstance(network.layers[-2], keras.layers.GlobalAveragePooling2D)


def test_a_residual_network_takes_images_of_every_size_with_the_same_weights():
    counts = {models.build("resnet", (n, n, 1), TWO, seed=0).count_params() for n in (28, 64, 96)}
    assert len(counts) == 1


def test_a_deeper_residual_network_has_more_blocks_of_each_width(keras):
    from medlib.models.resnet import build_resnet

    for blocks in (1, 3):
        network = build_resnet(SHAPE, TWO, seed=0, blocks=blocks)
        sums = [layer for layer in network.layers if isinstance(layer, keras.layers.Add)]
        shapes = [tuple(layer.output.shape[1:]) for layer in sums]
        assert shapes == [(side, side, 512 // side) for side in (16, 8, 4) for _ in range(blocks)]
        longest = [layer for layer in network.layers if isinstance(layer, keras.layers.Conv2D)]
        assert sum(layer.kernel_size == (3, 3) for layer in longest) + 1 == 2 + 6 * blocks


def test_residual_blocks_add_their_input(keras):
    network = models.build("resnet", SHAPE, TWO, seed=0)
    assert sum(isinstance(layer, keras.layers.Add) for layer in network.layers) == 3
    for weight in network.trainable_variables:
        if "conv2d" in weight.path and weight.shape[0] == 3 and weight.shape[2] != 3:
            weight.assign(weight * 0)
    images = np.random.default_rng(0).random((2, *SHAPE), dtype=np.float32)
    outputs = np.asarray(network(images))
    assert outputs[0] != pytest.approx(outputs[1])  # the shortcuts still tell images apart

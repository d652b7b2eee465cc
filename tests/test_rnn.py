"""The recurrent network reads the slices of a stack, or the rows of an image, in their order."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit

from medlib import models, training
from medlib.datasets.simbrain import load_simbrain
from medlib.errors import DataError, UsageError
from medlib.tasks import Classification

TASK = Classification(("upright", "reversed"))
STACK = (5, 12, 12, 1)


@pytest.fixture(scope="module", autouse=True)
def keras():
    return training.import_keras()


def small(image_shape):
    from medlib.models.rnn import build_rnn

    return build_rnn(image_shape, TASK, seed=0, units=8, width=4)


def gru(sequence, kernel, recurrent, biases):
    """All states of a gated recurrent unit, from its equations."""
    state, states = np.zeros(len(recurrent)), []
    for x in sequence:
        of_x = np.split(x @ kernel + biases[0], 3)
        of_state = np.split(state @ recurrent + biases[1], 3)
        keep, reset = (expit(of_x[k] + of_state[k]) for k in (0, 1))
        state = keep * state + (1 - keep) * np.tanh(of_x[2] + reset * of_state[2])
        states.append(state)
    return np.array(states)


def test_rows_of_an_image_are_read_both_ways_as_the_equations_say():
    network = models.build("rnn", (9, 7, 2), TASK, seed=0)
    generator = np.random.default_rng(0)
    weights = [generator.normal(size=w.shape, scale=0.3) for w in network.get_weights()]
    network.set_weights(weights)
    image = generator.random((9, 7, 2), dtype=np.float32)
    rows = image.reshape(9, 14)
    states = np.hstack([gru(rows, *weights[:3]), gru(rows[::-1], *weights[3:6])[::-1]])
    expected = expit(states.max(axis=0) @ weights[6] + weights[7])
    assert np.asarray(network(image[None]))[0] == pytest.approx(expected, abs=1e-5)


def test_one_encoder_serves_all_slices():
    counts = {models.build("rnn", (d, *STACK[1:]), TASK, seed=0).count_params() for d in (2, 5, 9)}
    assert len(counts) == 1
    deep = models.build("rnn", STACK, TASK, seed=0)
    same = models.build("rnn", (2, *STACK[1:]), TASK, seed=0)
    assert all(map(np.array_equal, deep.get_weights(), same.get_weights()))


def test_order_is_seen_by_the_recurrent_network_and_by_no_maximum():
    """Whatever a network that pools over slices has learnt, it cannot tell a reversed stack."""
    stacks = np.random.default_rng(0).random((4, *STACK), dtype=np.float32)
    for name, sees in (("rnn", True), ("cnn", False)):
        network = models.build(name, STACK, TASK, seed=0)
        upright, turned = (np.asarray(network(each)) for each in (stacks, stacks[:, ::-1]))
        assert np.array_equal(upright, turned) is not sees


def test_it_learns_which_way_round_a_stack_is(keras):
    generator = np.random.default_rng(0)
    brightness = np.linspace(0, 1, 5)[:, None, None, None]
    stacks = (brightness + generator.normal(0, 0.3, (96, *STACK))).astype("float32")
    labels = np.arange(96) % 2
    stacks[labels == 1] = stacks[labels == 1, ::-1]
    network = small(STACK)
    network.compile(keras.optimizers.Adam(0.01), loss="binary_crossentropy")
    network.fit(stacks[:64], labels[:64], epochs=12, batch_size=16, verbose=0)
    right = (network.predict(stacks[64:], verbose=0).ravel() > 0.5) == labels[64:]
    assert right.mean() > 0.9


@pytest.mark.parametrize(
    ("shapes", "found"),
    [
        ([STACK, (4, 12, 12, 1)], r"\(4, 12, 12, 1\) and \(5, 12, 12, 1\)"),
        ([(4, 12, 12, 1)] * 2, r"\(4, 12, 12, 1\)"),
        ([(5, 12, 12, 3)] * 2, r"\(5, 12, 12, 3\)"),
        ([(12, 12, 1)] * 2, r"\(12, 12, 1\)"),
        ([], "no images"),
    ],
    ids=["unequal depth", "other depth", "other channels", "single images", "nothing"],
)
def test_stacks_of_another_shape_are_one_clear_error(shapes, found):
    network = models.build("rnn", STACK, TASK, seed=0)
    images = [np.zeros(shape, np.float32) for shape in shapes]
    expected = rf"images: expected shape \(5, 12, 12, 1\), as the network takes, found {found}"
    with pytest.raises(UsageError, match=expected):
        training.predict(network, images, TASK)


def test_other_classes_or_channels_than_the_networks_are_one_clear_error():
    train = load_simbrain(n_subjects=20, slices_per_subject=1, image_size=32, depth=2).train
    network = small((2, 32, 32, 3))
    three = Classification(("normal", "benign", "malignant"))
    how = {"epochs": 1, "seed": 0}
    with pytest.raises(UsageError, match="network: expected 3 outputs for normal, .*found 1"):
        training.fit(network, train, task=three, **how)
    with pytest.raises(UsageError, match="network: expected 3 outputs for normal, .*found 1"):
        training.predict(network, train.images, three)
    with pytest.raises(UsageError, match=r"images: expected shape \(2, 32, 32, 1\)"):
        training.fit(small((2, 32, 32, 1)), train, task=TASK, **how)
    of_more_classes = replace(train, labels=train.labels + 1)
    with pytest.raises(DataError, match="labels: expected one of upright, reversed, found label 2"):
        training.fit(network, of_more_classes, task=TASK, **how)

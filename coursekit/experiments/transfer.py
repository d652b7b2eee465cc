"""Few labelled patients of one hospital: train from scratch, or go on from another training."""

import functools
from dataclasses import replace

import numpy as np

from coursekit.experiments import degradation

DATA, WITH_TEST = ("simbrain",), ()
MODELS = ("scratch", "position", "painted", "painted as it is", "sites", "sites as it is")
HERE = "D"  # the site of the few labelled patients, and of all test patients
KIND, DEPTH, RATE, FINE_RATE = "residual", 20, 0.03, 0.01
STEPS_BEFORE, TEST_PATIENTS = 400, 200
TISSUE, COLOURS = 0.1, np.float32([-0.5, 1, 1])  # brighter than air; of a blob in T1, T2, FLAIR


def train_and_test(config: dict) -> dict:
    """Train a network on a few patients of site D, from random weights or from others.

    Parameters
    ----------
    config : dict
        ``model`` says what the network did before, on the patients of the other sites: nothing,
        tell upper from lower slices, tell slices with a painted blob from those without (neither
        needs a radiologist), or find tumours. Otherwise as for
        :func:`coursekit.experiments.classification.train_and_test`.

    Returns
    -------
    dict
        See :func:`coursekit.experiments.degradation.record`.
    """
    known, test, task = degradation.splits(config["test_seed"], TEST_PATIENTS)
    test = test.take(test.table["site"].to_numpy() == HERE)
    train, seed = degradation.draw(known.take(known.table["site"].to_numpy() == HERE), config)
    name, _, as_it_is = config["model"].partition(" ")
    weights = name != "scratch" and _before(name, config["test_seed"], seed)
    network = degradation.build(KIND, DEPTH, task, seed=seed)
    if weights:
        last = network.get_weights()[-2:]  # of the layer that answers another question
        is_same = as_it_is or name == "sites"
        network.set_weights(weights if is_same else [*weights[:-2], *last])
    if not as_it_is:
        rate = FINE_RATE if weights else RATE
        degradation.fit(network, train, task, rate=rate, steps=config["steps"], seed=seed)
    return degradation.record(network, train, test, task, config["steps"])


@functools.lru_cache(maxsize=1)  # two records of a seed begin with the same one
def _before(name: str, test_seed: int, seed: int) -> list[np.ndarray]:
    """Return the weights that come of a training on the other sites."""
    known, _, task = degradation.splits(test_seed, TEST_PATIENTS)
    split = known.take(known.table["site"].to_numpy() != HERE)
    if name == "painted":
        split = painted(split, np.random.default_rng(seed))
    elif name == "position":
        height = split.table["slice_position_mm"].to_numpy()
        split = replace(split, labels=(height > np.median(height)).astype(np.int64))
    network = degradation.build(KIND, DEPTH, task, seed=seed)
    degradation.fit(network, split, task, rate=RATE, steps=STEPS_BEFORE, seed=seed)
    return network.get_weights()


def painted(split, generator: np.random.Generator):
    """Return images of which half have a blob painted into the tissue, and as labels which those.

    Blobs are dark in T1, bright in T2 and FLAIR, with soft edges, 2 to 7 pixels across: what a
    textbook says of a tumour, and no annotated image.
    """
    images, labels = split.images.copy(), generator.permutation(np.arange(len(split)) % 2)
    grid = np.indices(images.shape[1:3])
    for row in np.flatnonzero(labels):
        centre = generator.choice(np.argwhere(images[row, ..., 0] > TISSUE))
        away = (grid - centre[:, None, None]) / generator.uniform(1, 3.5, (2, 1, 1))
        blob = generator.uniform(0.1, 0.35) * np.exp(-(away**2).sum(axis=0))
        images[row] += blob[..., None] * COLOURS * (images[row, ..., :1] > TISSUE)
    return replace(split, images=images.clip(0, 1), labels=labels)

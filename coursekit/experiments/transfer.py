"""Few labelled patients of one hospital: train from scratch, or go on from another training."""

import functools
from dataclasses import replace

import numpy as np

from coursekit.experiments import degradation
from coursekit.experiments.classification import choose_images
from medlib import tasks, training

DATA, WITH_TEST = ("simbrain",), ()
MODELS = ("scratch", "pasted", "position", "sites", "sites as it is")
HERE = "D"  # the site of the few labelled patients, and of all test patients
KIND, DEPTH, RATE, FINE_RATE = "residual+bn", 20, 0.1, 0.03
PRETRAINING_STEPS, TEST_PATIENTS = 600, 200


def train_and_test(config: dict) -> dict:
    """Train a network on a few patients of site D, from random weights or from others.

    Parameters
    ----------
    config : dict
        ``model`` says what the network did before, on the patients of the other sites: nothing,
        tell slices with a pasted piece from those without, tell upper from lower slices (neither
        needs a radiologist), or find tumours. Otherwise as for
        :func:`coursekit.experiments.classification.train_and_test`.

    Returns
    -------
    dict
        As there, with ``pretraining_loss`` on its own training images (None without one).
    """
    known, test, class_names = _splits(config["test_seed"])
    for_subjects, for_weights = np.random.SeedSequence(config["seed"]).spawn(2)
    here = known.take(known.table["site"].to_numpy() == HERE)
    generator = np.random.default_rng(for_subjects)
    rows = choose_images(here.subjects, here.labels, config["n_train"], generator)
    train, task = here.take(rows), tasks.Classification(class_names)
    seed = int(for_weights.generate_state(1)[0])
    name, _, as_it_is = config["model"].partition(" ")
    weights, facts = _pretrained(name, config["test_seed"], seed)
    training.import_keras().backend.clear_session()
    network = degradation.build(KIND, DEPTH, train.images.shape[1:], task, seed=seed)
    rate, steps = RATE, config["steps"]
    if weights:
        last = network.layers[-1].get_weights()
        network.set_weights(weights)
        rate = FINE_RATE
        if name != "sites":
            network.layers[-1].set_weights(last)  # it answered another question
    if not as_it_is:
        facts |= degradation.fit(network, train, task, rate=rate, steps=steps, seed=seed)
    facts |= {"n_images": len(train), "n_subjects": len(np.unique(train.subjects))}
    scores = training.predict(network, test.images, task)[:, 1]
    return {"labels": test.labels, "subjects": test.subjects, "scores": scores} | facts


def pasted(split, generator: np.random.Generator):
    """Return images of which half have a piece of another image, and which those are.

    A piece is an ellipse in the tissue of the other image, put somewhere else in the tissue of this
    one. After Li and others, CutPaste, CVPR 2021.
    """
    n, size = split.images.shape[:2]
    images, labels = split.images.copy(), generator.permutation(np.arange(n) % 2)
    tissue = split.images[..., 0] > 0.1
    grid = np.indices((size, size))
    for row in np.flatnonzero(labels):
        other = generator.integers(n)
        to, from_ = (generator.choice(np.argwhere(tissue[each])) for each in (row, other))
        radii = generator.uniform(1.5, 4.5, 2)
        inside = (((grid - to[:, None, None]) / radii[:, None, None]) ** 2).sum(axis=0) < 1
        inside &= tissue[row]
        moved = np.roll(split.images[other], to - from_, axis=(0, 1))
        images[row][inside] = moved[inside]
    return replace(split, images=images, labels=labels)


@functools.lru_cache(maxsize=2)  # a worker makes two records with the same one
def _pretrained(name: str, test_seed: int, seed: int) -> tuple[list | None, dict]:
    """Return the weights after the first training, and its loss."""
    if name == "scratch":
        return None, {"pretraining_loss": None, "steps": 0}
    known, _, class_names = _splits(test_seed)
    split, task = (
        known.take(known.table["site"].to_numpy() != HERE),
        tasks.Classification(class_names),
    )
    if name == "pasted":
        generator = np.random.default_rng(seed)
        copies = [pasted(split, generator) for _ in range(2)]
        split = replace(
            split.take(np.arange(2 * len(split)) % len(split)),
            images=np.concatenate([each.images for each in copies]),
            labels=np.concatenate([each.labels for each in copies]),
        )
    elif name == "position":
        height = split.table["slice_position_mm"].to_numpy()
        split = replace(split, labels=(height > np.median(height)).astype(np.int64))
    training.import_keras().backend.clear_session()
    network = degradation.build(KIND, DEPTH, split.images.shape[1:], task, seed=seed)
    split = split.take(np.random.default_rng(seed).permutation(len(split)))
    degradation.fit(network, split, task, rate=RATE, steps=PRETRAINING_STEPS, seed=seed)
    loss = round(degradation.loss_on(network, split, task), 4)
    return network.get_weights(), {"pretraining_loss": loss, "steps": 0}


@functools.lru_cache(maxsize=1)
def _splits(test_seed: int):
    """Return patients to learn from, new patients of site D, and the names of the classes."""
    from medlib import datasets
    from medlib.datasets.simbrain import new_patients

    data = datasets.load("simbrain")
    test = new_patients(test_seed, n_subjects=TEST_PATIENTS)
    test = test.take(test.table["site"].to_numpy() == HERE)
    return degradation.small(data.train), degradation.small(test), data.class_names

"""One classifier for tumours, trained on few patients and on images made from these."""

import functools
from dataclasses import replace

import numpy as np

from coursekit.experiments.classification import choose_images
from medlib import tasks, training
from medlib.datasets.structure import Split

DATA = ("simbrain",)
WITH_TEST = ()
MODELS = ("real", "real+augmented", "real+gaussian", "real+generated")
GAN_STEPS, GAN_BATCH = 1000, 16
COMPONENTS = 40  # principal components of the Gaussian


def train_and_test(config: dict) -> dict:
    """Train a classifier on some training subjects, and score all test images.

    Whatever is added is made from the same subjects' images: the same images changed at random, as
    many draws from one Gaussian a class in principal components, or as many images of a GAN. The
    classifier has equally many steps with and without.

    Parameters
    ----------
    config : dict
        As for :func:`coursekit.experiments.classification.train_and_test`. The images are those of
        lesson 11: FLAIR, 28 by 28 pixels.

    Returns
    -------
    dict
        ``labels``, ``subjects`` and ``scores`` of the test images, and ``n_images`` (real),
        ``n_subjects`` and ``steps`` of the training.
    """
    from medlib.models.cnn import build_cnn

    train, test, class_names = _splits(config["test_seed"])
    for_subjects, *for_parts = np.random.SeedSequence(config["seed"]).spawn(3)
    seed, seed_of_added = (int(part.generate_state(1)[0]) for part in for_parts)
    if config["n_train"] != "all":
        generator = np.random.default_rng(for_subjects)
        rows = choose_images(train.subjects, train.labels, config["n_train"], generator)
        train = train.take(rows)
    training.import_keras().backend.clear_session()  # the graphs of the record before
    task = tasks.Classification(class_names)
    seen = train
    if config["model"] in ("real+gaussian", "real+generated"):
        make = {"real+gaussian": _gaussian, "real+generated": _generated}[config["model"]]
        images = np.concatenate([train.images, make(train, task, seed_of_added)])
        seen = replace(train.take(np.arange(len(images)) % len(train)), images=images)
    steps = len(seen) // config["batch_size"]
    epochs = max(1, round(config["steps"] / steps))
    training.set_seed(seed)
    network = build_cnn(train.images.shape[1:], task, seed=seed, width=8)
    augmentation = training.AUGMENTATION if config["model"] == "real+augmented" else {}
    settings = {"epochs": epochs, "batch_size": config["batch_size"], "learning_rate": 4e-3}
    training.fit(network, seen, task=task, seed=seed, augmentation=augmentation, **settings)
    scores = training.predict(network, test.images, task)[:, 1]
    trained_on = {"n_images": len(train), "n_subjects": len(np.unique(train.subjects))}
    tested_on = {"labels": test.labels, "subjects": test.subjects, "scores": scores}
    return tested_on | trained_on | {"steps": epochs * steps}


def _gaussian(train: Split, task, seed: int) -> np.ndarray:
    """Draw an image for each label from its class's Gaussian in principal components."""
    generator, images = np.random.default_rng(seed), np.empty_like(train.images)
    for label in range(len(task.class_names)):
        rows = np.flatnonzero(train.labels == label)
        flat = train.images[rows].reshape(len(rows), -1)
        _, sizes, directions = np.linalg.svd(flat - flat.mean(axis=0), full_matrices=False)
        spread = sizes[:COMPONENTS, None] * directions[:COMPONENTS] / np.sqrt(len(rows) - 1)
        drawn = generator.standard_normal((len(rows), len(spread))) @ spread + flat.mean(axis=0)
        images[rows] = drawn.clip(0, 1).reshape(images[rows].shape)
    return images


def _generated(train: Split, task, seed: int) -> np.ndarray:
    """Train a GAN on the images, and let it make one for each label."""
    from medlib.models.gan import Gan

    epochs = round(GAN_STEPS / (len(train) // GAN_BATCH))
    training.set_seed(seed)
    gan = Gan(train.images.shape[1:], task, seed=seed, steps=GAN_STEPS)
    training.fit(gan, train, task=task, epochs=epochs, seed=seed, batch_size=GAN_BATCH)
    return gan.generate(train.labels, seed=seed)


@functools.lru_cache(maxsize=1)  # a worker makes many records
def _splits(test_seed: int) -> tuple[Split, Split, tuple[str, ...]]:
    from medlib import datasets
    from medlib.datasets.simbrain import new_patients

    data = datasets.load("simbrain")
    return _small(data.train), _small(new_patients(test_seed)), data.class_names


def _small(split: Split) -> Split:
    """FLAIR, 56 by 56 pixels of the middle, and of these the means of 2 by 2."""
    flair = split.images[:, 4:60, 4:60, 2:].reshape(len(split), 28, 2, 28, 2, 1)
    return replace(split, images=flair.mean(axis=(2, 4)), masks=None, boxes=None)

"""Plain and residual networks of growing depth, judged by the loss on their own training images."""

import functools
from dataclasses import replace

import numpy as np

from coursekit.experiments.classification import choose_images
from medlib import datasets, tasks, training

DATA, WITH_TEST = ("simbrain",), ()
KINDS = ("plain", "residual", "plain+bn", "residual+bn")
DEPTHS, RATES = (4, 8, 20, 44), (0.001, 0.003, 0.01, 0.05, 0.1)
MODELS = tuple(f"{kind} {n} {rate:g}" for kind in KINDS for n in DEPTHS for rate in RATES)
SCALE = {"scale": 4.0, "offset": -0.8}  # gives the images mean 0 and SD 1, about
WIDTH, BATCH_SIZE, TEST_PATIENTS = 16, 32, 50


def train_and_test(config: dict) -> dict:
    """Train one network, measure the loss on its training images, and score new patients.

    Parameters
    ----------
    config : dict
        ``model`` is a kind, a number of layers with weights and a learning rate, as "plain+bn 20
        0.05"; otherwise as for :func:`coursekit.experiments.classification.train_and_test`.

    Returns
    -------
    dict
        See :func:`record`.
    """
    kind, depth, rate = config["model"].split()
    train, test, task = splits(config["test_seed"], TEST_PATIENTS)
    train, seed = draw(train, config)
    network = build(kind, int(depth), task, seed=seed)
    fit(network, train, task, rate=float(rate), steps=config["steps"], seed=seed)
    return record(network, train, test, task, config["steps"])


def draw(train, config: dict):
    """Return the slices of the patients that a configuration draws, and a seed for the network."""
    for_subjects, for_network = np.random.SeedSequence(config["seed"]).spawn(2)
    given = train.subjects, train.labels, config["n_train"], np.random.default_rng(for_subjects)
    return train.take(choose_images(*given)), int(for_network.generate_state(1)[0])


def build(kind: str, depth: int, task, *, seed: int):
    """Return a network of ``depth`` layers with weights: a stem, blocks of two, the last layer.

    Before each convolution of a block stand ReLU and, for kinds with "+bn", batch normalisation
    (pre-activation: He and others, Identity Mappings in Deep Residual Networks, ECCV 2016). Without
    it the last convolution of a residual block begins at 0, so that the block changes nothing yet
    (Zhang, Dauphin and Ma, Fixup Initialization, ICLR 2019).
    """
    keras = training.import_keras()
    from medlib.models.layers import BATCH_NORMALISATION_MOMENTUM, layer_seeds

    keras.backend.clear_session()  # the graphs of the record before
    seeds, layers = layer_seeds(seed), keras.layers

    def convolve(x, size, start=None, **given):
        he = keras.initializers.HeNormal(next(seeds))
        given["kernel_initializer"] = start or he
        return layers.Conv2D(WIDTH, size, padding="same", **given)(x)

    def activate(x):
        if kind.endswith("+bn"):
            x = layers.BatchNormalization(momentum=BATCH_NORMALISATION_MOMENTUM)(x)
        return layers.ReLU()(x)

    inputs = keras.Input((32, 32, 3))
    x = convolve(layers.Rescaling(**SCALE)(inputs), 7, strides=4)
    for _ in range((depth - 2) // 2):
        y = convolve(activate(x), 3)
        y = convolve(activate(y), 3, start="zeros" if kind == "residual" else None)
        x = layers.Add()([x, y]) if kind.startswith("residual") else y
    x = layers.GlobalMaxPooling2D()(activate(x))
    return keras.Model(inputs, task.head(x, seed=next(seeds)))


def fit(network, train, task, *, rate: float, steps: int, seed: int) -> None:
    """Train by gradient descent with momentum, as near to ``steps`` as whole epochs come.

    The learning rate rises for a fifth of the steps, then falls along a cosine.
    """
    import keras

    training.set_seed(seed)
    train = train.take(np.arange(len(train) // BATCH_SIZE * BATCH_SIZE))
    rising = {"warmup_target": rate, "warmup_steps": steps // 5}
    decay = keras.optimizers.schedules.CosineDecay(rate / 20, steps - steps // 5, **rising)
    network.compile(keras.optimizers.SGD(decay, momentum=0.9), task.loss(label_smoothing=0))
    given = train.images, task.targets(train), BATCH_SIZE, round(steps * BATCH_SIZE / len(train))
    network.fit(*given, verbose=0)


def record(network, train, test, task, steps: int) -> dict:
    """Return ``labels``, ``subjects`` and ``scores`` of the test images, and of the training images
    how many they are, of how many subjects, and their cross-entropy at the end.
    """
    loss = task.score(train, training.predict(network, train.images, task))["validation_loss"]
    scores = training.predict(network, test.images, task)[:, 1]
    facts = {"n_images": len(train), "n_subjects": len(set(train.subjects)), "steps": steps}
    tested = {"labels": test.labels, "subjects": test.subjects, "scores": scores}
    return facts | tested | {"loss": round(loss, 4)}


@functools.lru_cache(maxsize=1)  # a worker makes many records
def splits(test_seed: int, n_patients: int):
    """Return training images and new patients, both small, and the task."""
    from medlib.datasets.simbrain import new_patients

    data = datasets.load("simbrain")
    test = new_patients(test_seed, n_subjects=n_patients)
    return small(data.train), small(test), tasks.Classification(data.class_names)


def small(split):
    """Return means of 2 by 2 pixels."""
    images = split.images.reshape(len(split), 32, 2, 32, 2, 3).mean(axis=(2, 4))
    return replace(split, images=images, masks=None, boxes=None)

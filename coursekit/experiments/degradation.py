"""Plain and residual networks of growing depth, judged by the loss on their own training images."""

import functools
from dataclasses import replace

import numpy as np

from coursekit.experiments.classification import choose_images
from medlib import tasks, training

DATA, WITH_TEST = ("simbrain",), ()
KINDS = ("plain", "residual", "plain+bn", "residual+bn")
DEPTHS, RATES = (4, 8, 20, 44), (0.003, 0.01, 0.05, 0.1)
MODELS = tuple(f"{kind} {n} {rate:g}" for kind in KINDS for n in DEPTHS for rate in RATES)
SCALE = {"scale": 4.0, "offset": -0.8}  # gives the images mean 0 and SD 1, about
WIDTH, BATCH_SIZE, WARM_UP, TEST_PATIENTS = 16, 32, 0.2, 50


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
        ``labels``, ``subjects`` and ``scores`` of the test images; ``loss``, the cross-entropy of
        all training images after the training; ``n_images``, ``n_subjects``, ``steps``.
    """
    kind, depth, rate = config["model"].split()
    train, test, class_names = splits(config["test_seed"])
    for_subjects, for_network = np.random.SeedSequence(config["seed"]).spawn(2)
    generator = np.random.default_rng(for_subjects)
    rows = choose_images(train.subjects, train.labels, config["n_train"], generator)
    train, task = train.take(rows), tasks.Classification(class_names)
    training.import_keras().backend.clear_session()  # the graphs of the record before
    seed = int(for_network.generate_state(1)[0])
    network = build(kind, int(depth), train.images.shape[1:], task, seed=seed)
    facts = fit(network, train, task, rate=float(rate), steps=config["steps"], seed=seed)
    facts |= {"loss": round(loss_on(network, train, task), 4), "n_images": len(train)}
    facts |= {"n_subjects": len(np.unique(train.subjects))}
    scores = training.predict(network, test.images, task)[:, 1]
    return {"labels": test.labels, "subjects": test.subjects, "scores": scores} | facts


def build(kind: str, depth: int, image_shape: tuple[int, ...], task, *, seed: int):
    """Return a network of ``depth`` layers with weights: a stem, blocks of two, the last layer.

    Before each convolution of a block stand ReLU and, for kinds with "+bn", batch normalisation
    (pre-activation: He and others, Identity Mappings in Deep Residual Networks, ECCV 2016). Without
    it the last convolution of a residual block begins at 0, so that the block changes nothing yet
    (Zhang, Dauphin and Ma, Fixup Initialization, ICLR 2019).
    """
    import keras

    from medlib.models.layers import BATCH_NORMALISATION_MOMENTUM, layer_seeds

    seeds, layers = layer_seeds(seed), keras.layers
    residual, normalised = kind.startswith("residual"), kind.endswith("+bn")

    def convolve(x, size, start="he", **given):
        he = keras.initializers.HeNormal(next(seeds))
        given["kernel_initializer"] = he if start == "he" else start
        return layers.Conv2D(WIDTH, size, padding="same", **given)(x)

    def activate(x):
        if normalised:
            x = layers.BatchNormalization(momentum=BATCH_NORMALISATION_MOMENTUM)(x)
        return layers.ReLU()(x)

    inputs = keras.Input(image_shape)
    x = convolve(layers.Rescaling(**SCALE)(inputs), 7, strides=4)
    for _ in range((depth - 2) // 2):
        y = convolve(activate(x), 3)
        y = convolve(activate(y), 3, start="zeros" if kind == "residual" else "he")
        x = layers.Add()([x, y]) if residual else y
    x = layers.GlobalMaxPooling2D()(activate(x))
    return keras.Model(inputs, task.head(x, seed=next(seeds)), name=f"{kind[:5]}_{depth}")


def fit(network, train, task, *, rate: float, steps: int, seed: int, on_epoch=None) -> dict:
    """Train by gradient descent with momentum; return ``steps``, as near as whole epochs come.

    The learning rate rises for a fifth of the steps, then falls along a cosine.
    """
    import keras

    training.set_seed(seed)
    per_epoch = len(train) // BATCH_SIZE
    epochs = round(steps / per_epoch)
    rising = int(WARM_UP * epochs * per_epoch)
    warm_up = {"warmup_target": rate, "warmup_steps": rising}
    decay = keras.optimizers.schedules.CosineDecay(
        rate / 20, epochs * per_epoch - rising, **warm_up
    )
    optimizer = keras.optimizers.SGD(decay, momentum=0.9)
    network.compile(optimizer, loss=task.loss(label_smoothing=0))
    every = [keras.callbacks.LambdaCallback(on_epoch_end=on_epoch)] if on_epoch else []
    given = [each[: per_epoch * BATCH_SIZE] for each in (train.images, task.targets(train))]
    network.fit(*given, BATCH_SIZE, epochs, verbose=0, callbacks=every)
    return {"steps": epochs * per_epoch}


def loss_on(network, split, task) -> float:
    """Return the mean cross-entropy of a network's predictions."""
    return task.score(split, training.predict(network, split.images, task))["validation_loss"]


@functools.lru_cache(maxsize=1)  # a worker makes many records
def splits(test_seed: int):
    """Return small training images, small new patients, and the names of the classes."""
    from medlib import datasets
    from medlib.datasets.simbrain import new_patients

    data = datasets.load("simbrain")
    test = new_patients(test_seed, n_subjects=TEST_PATIENTS)
    return small(data.train), small(test), data.class_names


def small(split):
    """Return means of 2 by 2 pixels."""
    n, height, width, channels = split.images.shape
    images = split.images.reshape(n, height // 2, 2, width // 2, 2, channels).mean(axis=(2, 4))
    return replace(split, images=images, masks=None, boxes=None)

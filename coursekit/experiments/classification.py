"""One training and one test on labelled images, by features or a network of the course."""

import functools
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from medlib import datasets, models
from medlib.errors import UsageError

DATA = tuple(datasets.names())
WITH_TEST = tuple(name for name in DATA if name != "simbrain")  # that draw no new patients
REGULARISATION = {"classical": 0.1, "gan": 0.01, "gan_untrained": 0.01}  # see studies/tuning.toml
MODELS = (*REGULARISATION, *models.NAMES)
WARM_UP = 128  # images
GAN_STEPS, GAN_BATCH, GAN_PIXELS = 1000, 16, 32


def train_and_test(config: dict) -> dict:
    """Train one model on some of the training subjects, and score all test images.

    Parameters
    ----------
    config : dict
        ``data``, ``test_seed`` (of simbrain's new patients), ``model``, ``n_train`` (images, or
        "all"), ``seed``, and for networks ``steps`` and ``batch_size``; None: the recipe's own.
        Models with one seed are trained on the same subjects, and a larger ``n_train`` adds
        subjects to those of a smaller one. "gan": a logistic regression on what the discriminator
        of a GAN computes; the GAN has seen all training images, but no label of them.

    Returns
    -------
    dict
        ``labels``, ``subjects`` and ``scores`` of the test images (higher: more likely class 1),
        of the training ``n_images``, ``n_subjects`` and ``steps`` (None without steps), and
        ``n_weights`` and ``milliseconds`` a prediction.

    Raises
    ------
    UsageError
        If the set has more than two classes, or fewer training images than ``n_train``.
    """
    train, test, class_names = splits(config["data"], config["test_seed"])
    return measure(config, train, test, class_names)


def measure(config: dict, train, test, class_names, *, tuned: float | None = None) -> dict:
    """Train on some subjects of ``train`` and score ``test``, as :func:`train_and_test`.

    Parameters
    ----------
    config : dict
    train, test : Split
    class_names : tuple of str
    tuned : float, optional
        Learning rate of a network, or inverse penalty of a logistic regression, instead of the
        recipe's.
    """
    if len(class_names) != 2:
        raise UsageError(config["data"], expected="two classes", found=f"{len(class_names)}")
    for_subjects, for_network = np.random.SeedSequence(config["seed"]).spawn(2)
    everything = train
    if config["n_train"] != "all":
        generator = np.random.default_rng(for_subjects)
        n_images = config["n_train"]
        train = train.take(choose_images(train.subjects, train.labels, n_images, generator))
    seed = int(for_network.generate_state(1)[0])
    if config["model"] in REGULARISATION:
        predict, facts = _fit_features(config["model"], train, everything, seed, tuned)
    else:
        rate = {} if tuned is None else {"learning_rate": tuned}
        predict, facts = _fit_network(config, train, class_names, seed=seed, **rate)
    predict(test.images[:WARM_UP])  # what the first call of a function costs is not counted
    start = time.perf_counter()
    scores = predict(test.images)
    facts["milliseconds"] = round(1000 * (time.perf_counter() - start) / len(test), 3)
    facts |= {"n_images": len(train), "n_subjects": len(np.unique(train.subjects))}
    return {"labels": test.labels, "subjects": test.subjects, "scores": scores} | facts


def choose_images(
    subjects: np.ndarray, labels: np.ndarray, n_images: int, generator: np.random.Generator
) -> np.ndarray:
    """Draw whole subjects until there are about so many images, classes balanced as in the whole.

    Subjects of each class are put into a random order and spread evenly over one queue; its first
    ones are taken. So a larger ``n_images`` with an equal generator adds subjects and drops none.

    Parameters
    ----------
    subjects : ndarray of str, shape (n,)
    labels : ndarray of int, shape (n,)
        A subject with several labels counts for the highest.
    n_images : int
        Of all numbers of images that whole subjects give, the nearest is taken.
    generator : numpy.random.Generator

    Returns
    -------
    ndarray of int
        The rows chosen, in ascending order.

    Raises
    ------
    UsageError
        If there are fewer images.
    """
    if n_images > len(labels):
        raise UsageError("grid.n_train", expected=f"at most {len(labels)}", found=str(n_images))
    names, subject_of, sizes = np.unique(subjects, return_inverse=True, return_counts=True)
    label = np.zeros(len(names), dtype=np.int64)
    np.maximum.at(label, subject_of, labels)
    place = np.empty(len(names))  # in the queue, from 0 to 1
    for each in np.unique(label):
        members = generator.permutation(np.flatnonzero(label == each))
        place[members] = (np.arange(len(members)) + generator.random()) / len(members)
    queue = np.argsort(place)
    n_subjects = np.abs(np.cumsum(sizes[queue]) - n_images).argmin() + 1
    return np.flatnonzero(np.isin(subject_of, queue[:n_subjects]))


def _fit_features(name, train, everything, seed: int, tuned) -> tuple[Callable, dict]:
    """Return what gives images the log-odds of class 1; the steps and weights behind it."""
    from medlib.models.classical import build_classifier, hand_made_features

    describe, steps, n_weights = hand_made_features, None, 1
    if name != "classical":
        steps = GAN_STEPS if name == "gan" else None
        describe, n_weights = _discriminator(everything, steps, seed)
    model = build_classifier()
    model.set_params(logisticregression__C=tuned or REGULARISATION[name])
    model.fit(describe(train.images), train.labels)
    n_weights += model[-1].coef_.size
    facts = {"steps": steps, "n_weights": n_weights}
    return lambda images: model.decision_function(describe(images)), facts


def _discriminator(everything, steps: int | None, seed: int) -> tuple[Callable, int]:
    """Let a GAN play on images without their labels; return features, and their weights.

    The features are the largest value and the mean of each map of each convolution, as in Radford,
    Metz and Chintala, Unsupervised Representation Learning with Deep Convolutional Generative
    Adversarial Networks, ICLR 2016, section 5.1, but for the mean and the grid.
    """
    from medlib import tasks, training
    from medlib.models.gan import Gan

    keras = training.import_keras()
    keras.backend.clear_session()
    training.set_seed(seed)
    images = _grey(everything.images)
    task = tasks.Classification(("one", "other"))  # all images are of the first class
    gan = Gan(images.shape[1:], task, seed=seed, steps=steps, classify=0.0)
    if steps:
        split = everything.take(np.repeat(np.arange(len(everything)), everything.images.shape[-1]))
        labels = np.zeros(len(images), np.int64)
        split = replace(split, images=images, labels=labels, masks=None, boxes=None)
        epochs = round(steps / (len(images) // GAN_BATCH))
        training.fit(gan, split, task=task, epochs=epochs, seed=seed, batch_size=GAN_BATCH)
    maps = [each.output for each in gan.features.layers if isinstance(each, keras.layers.LeakyReLU)]
    pools = keras.layers.GlobalMaxPooling2D(), keras.layers.GlobalAveragePooling2D()
    features = [pool(each) for pool in pools for each in maps]
    network = keras.Model(gan.features.inputs, keras.layers.Concatenate()(features))

    def describe(given):
        return network.predict(_grey(given), verbose=0).reshape(len(given), -1)

    return describe, network.count_params()


def _grey(images: np.ndarray) -> np.ndarray:
    """Take each channel for an image, and means of 2 by 2 pixels until it suits a small GAN."""
    n, height, width, channels = images.shape
    images = np.moveaxis(images, -1, 1).reshape(n * channels, height, width, 1)
    while height > GAN_PIXELS:
        height, width = height // 2, width // 2
        images = images.reshape(-1, height, 2, width, 2, 1).mean(axis=(2, 4))
    return images


def _fit_network(config, train, class_names, *, seed: int, **settings) -> tuple[Callable, dict]:
    """Return what gives images the probability of class 1; the steps and weights of the network."""
    from medlib import tasks, training

    task = tasks.Classification(class_names)
    training.import_keras().backend.clear_session()  # the graphs of the record before
    training.set_seed(seed)
    network = models.build(config["model"], train.images.shape[1:], task, seed=seed)
    settings = training.recipe(config["model"], n_images=len(train)) | settings
    settings["batch_size"] = min(config["batch_size"] or settings["batch_size"], len(train))
    steps_an_epoch = len(train) // settings["batch_size"]
    if config["steps"]:
        settings["epochs"] = max(1, round(config["steps"] / steps_an_epoch))
    training.fit(network, train, task=task, seed=seed, **settings)
    facts = {"steps": settings["epochs"] * steps_an_epoch, "n_weights": network.count_params()}
    return lambda images: training.predict(network, images, task, mirror=True)[:, 1], facts


@functools.lru_cache(maxsize=2)  # a worker makes many records of one set
def splits(name: str, test_seed: int | None) -> tuple:
    """Return training and test images and the class names; nothing is chosen on validation."""
    data = datasets.load(name)
    if name != "simbrain":
        return data.train, data.test, data.class_names
    from medlib.datasets.simbrain import new_patients
    from medlib.datasets.structure import join_splits

    images = join_splits(data)
    train = images.all.take(images.given_split != "test")
    return train, new_patients(test_seed), data.class_names

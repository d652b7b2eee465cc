"""One training and one test on labelled images, by features or a network of the course."""

import functools
import time
from collections.abc import Callable

import numpy as np

from medlib import datasets, models
from medlib.errors import UsageError

DATA = tuple(datasets.names())
WITH_TEST = tuple(name for name in DATA if name != "simbrain")  # that draw no new patients
MODELS = ("classical", *models.NAMES)
WARM_UP = 128  # images


def train_and_test(config: dict) -> dict:
    """Train one model on some of the training subjects, and score all test images.

    Parameters
    ----------
    config : dict
        ``data``, ``test_seed`` (of simbrain's new patients), ``model``, ``n_train`` (images, or
        "all"), ``seed``, and for networks ``steps`` and ``batch_size``; None: the recipe's own.
        Models with one seed are trained on the same subjects, and a larger ``n_train`` adds
        subjects to those of a smaller one.

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
    train, test, class_names = _splits(config["data"], config["test_seed"])
    return measure(config, train, test, class_names)


def measure(config: dict, train, test, class_names, *, learning_rate: float | None = None) -> dict:
    """Train on some subjects of ``train`` and score ``test``, as :func:`train_and_test`.

    Parameters
    ----------
    config : dict
    train, test : Split
    class_names : tuple of str
    learning_rate : float, optional
        Instead of the recipe's.
    """
    if len(class_names) != 2:
        raise UsageError(config["data"], expected="two classes", found=f"{len(class_names)}")
    for_subjects, for_network = np.random.SeedSequence(config["seed"]).spawn(2)
    if config["n_train"] != "all":
        generator = np.random.default_rng(for_subjects)
        n_images = config["n_train"]
        train = train.take(choose_images(train.subjects, train.labels, n_images, generator))
    seed = int(for_network.generate_state(1)[0])
    if config["model"] == "classical":
        predict, facts = _fit_classical(train)
    else:
        rate = {} if learning_rate is None else {"learning_rate": learning_rate}
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


def _fit_classical(train) -> tuple[Callable, dict]:
    from medlib.models.classical import build_classical

    model = build_classical().fit(train.images, train.labels)
    n_weights = model[-1].coef_.size + 1
    return model.decision_function, {"steps": None, "n_weights": n_weights}


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
def _splits(name: str, test_seed: int | None) -> tuple:
    """Return training and test images and the class names; nothing is chosen on validation."""
    data = datasets.load(name)
    if name != "simbrain":
        return data.train, data.test, data.class_names
    from medlib.datasets.simbrain import new_patients
    from medlib.datasets.structure import join_splits

    images = join_splits(data)
    train = images.all.take(images.given_split != "test")
    return train, new_patients(test_seed), data.class_names

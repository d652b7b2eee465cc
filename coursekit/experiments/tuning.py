"""The learning rates that networks might have, each measured on validation images."""

from coursekit.experiments import classification
from medlib import datasets, models

DATA = WITH_TEST = classification.DATA
LEARNING_RATES = (5e-4, 1e-3, 2e-3, 4e-3, 8e-3)
MODELS = tuple(f"{name} {rate:g}" for name in models.NAMES for rate in LEARNING_RATES)


def train_and_test(config: dict) -> dict:
    """Train as :func:`coursekit.experiments.classification.train_and_test`, score validation.

    Parameters
    ----------
    config : dict
        ``model`` is a network and a learning rate, as "cnn 0.004".
    """
    name, rate = config["model"].split()
    data = datasets.load(config["data"])
    splits = (data.train, data.validation, data.class_names)
    return classification.measure(config | {"model": name}, *splits, learning_rate=float(rate))

"""One number for each model, of five it might be, each measured on validation images."""

from coursekit.experiments import classification
from medlib import datasets, models

DATA = WITH_TEST = classification.DATA
LEARNING_RATES = (1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2)
PENALTIES = (1e-3, 1e-2, 1e-1, 1, 10)  # inverse, of logistic regressions
MODELS = tuple(f"{name} {rate:g}" for name in models.NAMES for rate in LEARNING_RATES)
MODELS += tuple(f"{name} {c:g}" for name in classification.REGULARISATION for c in PENALTIES)


def train_and_test(config: dict) -> dict:
    """Train as :func:`coursekit.experiments.classification.train_and_test`, score validation.

    Parameters
    ----------
    config : dict
        ``model`` is a network and a learning rate, as "cnn 0.004", or what a logistic regression
        is fitted to and its inverse penalty, as "gan 0.01".
    """
    name, tuned = config["model"].split()
    data = datasets.load(config["data"])
    splits = (data.train, data.validation, data.class_names)
    return classification.measure(config | {"model": name}, *splits, tuned=float(tuned))

"""The classifying of :mod:`coursekit.experiments.classification`, each model as tuning found it.

A model's number, a learning rate or the inverse penalty of a logistic regression, is the one with
the best mean AUC on simbrain's validation images in ``studies/tuning.toml``.
"""

from coursekit.experiments import classification

DATA, WITH_TEST, MODELS = ("simbrain",), (), classification.MODELS
TUNED = {
    "classical": 1.0, "gan_untrained": 0.01, "gan": 0.01,
    "cnn": 8e-3, "resnet": 8e-3, "rnn": 8e-3, "vit": 8e-3,
}  # fmt: skip


def train_and_test(config: dict) -> dict:
    """Return the record of a configuration, as the experiment "classification" does."""
    splits = classification.splits(config["data"], config["test_seed"])
    return classification.measure(config, *splits, tuned=TUNED.get(config["model"]))

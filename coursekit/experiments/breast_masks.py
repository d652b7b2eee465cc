"""Lesions of breast ultrasound pixel by pixel: `medlib train --task segment`, cross-validated."""

import os
import shutil

import numpy as np
import pandas as pd

from medlib import runs
from medlib.datasets.download import cache_folder
from medlib.errors import UsageError

DATA = WITH_TEST = ("busi",)  # all of its images are tested, each by a network that did not see it
MODELS = ("unet",)
COLUMNS = ("dice", "area", "diameter", "true_area", "true_diameter")  # of scores; pixels
SUMMARY = "mean Dice", lambda labels, scores: scores[:, 0].mean()
CLASSES = ["benign", "malignant"]  # images without a lesion are left out
SIDE, FOLDS = 128, 5
VARIABLE = "MEDLIB_BUSI"


def train_and_test(config: dict) -> dict:
    """Run the command line's training on the folder that an environment variable names.

    The same as ``medlib train $MEDLIB_BUSI --task segment --image-size 128 --classes
    benign,malignant --seed SEED``: five folds, copies of an image in one fold. A training that is
    killed goes on where it was.

    Parameters
    ----------
    config : dict
        ``seed``.

    Returns
    -------
    dict
        ``labels``: whether the lesion is malignant. ``scores``, shape (n, 5): the
        :data:`COLUMNS`, in pixels of the files.

    Raises
    ------
    UsageError
        If the variable names nothing.
    """
    source = os.environ.get(VARIABLE)
    if not source:
        expected = "the CSV or folder of the breast ultrasound images and their masks"
        raise UsageError(VARIABLE, expected=expected, found="nothing")
    out = cache_folder() / f"breast_masks-{config['seed']}"
    reading = {"image_size": SIDE, "classes": CLASSES}
    runs.train(source, out, task="segment", folds=FOLDS, seed=config["seed"], **reading)
    table = pd.read_csv(out / "predictions.csv")
    shutil.rmtree(out)  # else a later version would take these answers for its own
    return {
        "labels": (table["true_label"] == CLASSES[1]).to_numpy(dtype=np.int64),
        "subjects": table["subject"].to_numpy(dtype=str),
        "scores": table[list(COLUMNS)].to_numpy(dtype=float),
        "n_images": len(table),
        "n_subjects": table["subject"].nunique(),
        "steps": None,
    }

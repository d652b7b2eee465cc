"""What the study of segmentation adds to medlib: rules from values to masks, and other losses."""

import numpy as np
import pytest

from coursekit.experiments import segmentation as study
from medlib import tasks, training


def test_a_piece_needs_one_pixel_that_is_sure():
    probabilities = np.zeros((1, 6, 9))
    probabilities[0, 1, 1:4], probabilities[0, 4, 5:9] = (0.4, 0.9, 0.4), 0.6
    assert study.probable_masks(probabilities, 0.3, 0.0).sum() == 7
    assert study.probable_masks(probabilities, 0.3, 0.8).sum() == 3
    assert study.probable_masks(probabilities, 0.5, 0.8).sum() == 1
    assert study.probable_masks(probabilities, 0.95, 0.5).sum() == 0


def test_a_threshold_keeps_large_pieces_or_the_largest():
    images = np.zeros((1, 8, 8, 3), np.float32)
    images[0, 0, 0, 2], images[0, 2:4, 2:4, 2], images[0, 5:8, 5:8, 2] = 0.9, 0.7, 0.6
    sizes = [
        study.threshold_masks(images, level, least, largest).sum()
        for level, least, largest in (
            (0.5, 1, False),
            (0.5, 4, False),
            (0.5, 1, True),
            (0.8, 4, True),
        )
    ]
    assert sizes == [14, 13, 9, 0]


def test_rules_are_chosen_for_dice_and_for_silence():
    """One rule finds all, but also something where nothing is; the other half, and is quiet."""

    class Images:
        labels = np.array([1, 1, 0, 0])
        masks = np.zeros((4, 4, 4), np.int8)

    Images.masks[:2, 1:3, 1:3] = 1
    loud, quiet = np.zeros((2, 4, 4, 4), bool)
    loud[:, 1:3, 1:3], quiet[:1, 1:3, 1:3] = True, True
    masks = {"loud": loud, "quiet": quiet}
    found = study._choose(Images, None, lambda _, rule: masks[rule], [("loud",), ("quiet",)])
    assert found == [("loud",), ("quiet",)]


def test_parts_of_the_loss_make_the_whole():
    training.import_keras()
    generator = np.random.default_rng(0)
    truth = (generator.random((3, 8, 8, 1)) < 0.2).astype(np.float32)
    truth[2] = 0
    found = generator.uniform(0.05, 0.95, truth.shape).astype(np.float32)
    loss = {name: float(study.Part(part=name).loss()(truth, found)) for name in study.MODELS[3:]}
    assert loss["entropy"] + loss["dice"] == pytest.approx(
        float(tasks.Segmentation().loss()(truth, found)), rel=1e-5
    )
    dice = 1 - 2 * (truth * found).sum() / (truth.sum() + found.sum() + 1)
    assert loss["pooled"] == pytest.approx(loss["entropy"] + dice, rel=1e-5)

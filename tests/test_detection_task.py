"""The detector and its task: boxes go with their images, become maps, and come back from them."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from skimage.measure import label, regionprops

from medlib import datasets, training
from medlib.errors import DataError, UsageError
from medlib.tasks import CELL, Detection

TASK = Detection()


@pytest.fixture(scope="module", autouse=True)
def keras():
    return training.import_keras()


def bright_rectangles(n=64, side=32, seed=0):
    """Noise with none to two bright rectangles, and their boxes from scikit-image."""
    generator = np.random.default_rng(seed)
    images = 0.3 * generator.random((n, side, side, 1), dtype=np.float32)
    masks, boxes = np.zeros((n, side, side), np.int8), np.empty(n, object)
    for number in range(n):
        for place in range(number % 3):
            height, width = generator.integers(5, 11, 2)
            row, column = generator.integers(4, 18), 14 * place + generator.integers(4, 6)
            masks[number, row : row + height, column : column + width] = 1
        found = regionprops(label(masks[number] > 0, connectivity=2))
        boxes[number] = np.array([each.bbox for each in found], np.float32).reshape(-1, 4)
    images[masks > 0] += 0.6
    subjects = np.arange(n).astype(str)
    return datasets.Split(
        images, np.zeros(n, np.int64), masks, boxes, subjects, pd.DataFrame(index=range(n))
    )


SPLIT = bright_rectangles()


def as_predictions(boxes):
    """What a perfect network would predict."""
    maps = np.array(TASK.maps(TASK.targets(replace(SPLIT, boxes=boxes)), (32, 32)))
    maps[..., 0] = np.clip(maps[..., 0], 0, 0.99)
    return maps


def test_boxes_drawn_as_maps_are_found_again():
    found = TASK.boxes(as_predictions(SPLIT.boxes))
    assert sum(map(len, SPLIT.boxes)) > 60
    for (boxes, scores), truth in zip(found, SPLIT.boxes, strict=True):
        sure = boxes[scores > 0.98]
        assert sure[np.lexsort(sure.T)] == pytest.approx(truth[np.lexsort(truth.T)], abs=1e-3)
    lesions, alarms = TASK.matched(SPLIT, as_predictions(SPLIT.boxes))
    assert (lesions["score"] > 0.98).all()
    assert (alarms["score"] < 0.98).all()


def test_the_middle_of_a_box_is_the_centre_of_its_spot():
    heat = as_predictions(SPLIT.boxes)[..., 0]
    for row, boxes in enumerate(SPLIT.boxes):
        cells = ((boxes[:, :2] + boxes[:, 2:]) / 2 // CELL).astype(int)
        assert sorted(map(tuple, np.argwhere(heat[row] > 0.98))) == sorted(map(tuple, cells))


def test_what_is_found_in_the_mirror_image_lies_in_the_image():
    boxes, mirrored = SPLIT.boxes + 0.25, SPLIT.boxes.copy()  # no middle between two cells
    for row, (top, left, bottom, right) in enumerate(each.T for each in boxes):
        mirrored[row] = np.stack([top, 32 - right, bottom, 32 - left], axis=1)
    first, again = as_predictions(boxes), TASK.unmirror(as_predictions(mirrored))
    heat = first[..., 0]
    assert again[..., 0] == pytest.approx(heat, abs=1e-5)
    assert again[heat > 0.5] == pytest.approx(first[heat > 0.5], abs=1e-5)


def test_boxes_found_stay_within_the_image_and_have_an_area():
    wild = np.random.default_rng(0).normal(0, 50, (20, 8, 8, 5)).astype(np.float32)
    wild[..., 0] = 0.9 * (wild[..., 0] > 0)
    for boxes, scores in TASK.boxes(wild):
        assert len(boxes) == len(scores)
        assert (boxes >= 0).all()
        assert (boxes <= 32).all()
        assert (boxes[:, 2:] > boxes[:, :2]).all()


def test_the_loss_is_smallest_where_maps_agree(keras):
    truth = TASK.maps(TASK.targets(SPLIT), (32, 32))
    right = np.array(truth)
    right[..., 0] = np.where(right[..., 0] >= 1, 9, -9)
    elsewhere, larger = np.roll(right, 2, axis=1), right + (0, 0, 0, 0.7, 0)
    best, moved, wrong_size = (
        float(TASK.loss()(truth, each.astype(np.float32))) for each in (right, elsewhere, larger)
    )
    assert best < 0.01
    assert moved > 1
    assert wrong_size > 0.5


def test_images_and_boxes_are_changed_together(keras):
    from medlib.preprocessing.augmentation import RandomAffine

    layer = RandomAffine(flip=True, shift=0.1, seed=0)
    images, maps = TASK.augment(
        layer, SPLIT.masks[..., None].astype("float32"), TASK.targets(SPLIT)
    )
    maps, inside = np.array(maps), np.array(images)[..., 0] > 0.5
    maps[..., 0] = np.clip(maps[..., 0], 0, 0.99)
    for row, (boxes, scores) in enumerate(TASK.boxes(maps)):
        expected = np.array([each.bbox for each in regionprops(label(inside[row], connectivity=2))])
        sure = boxes[scores > 0.98]
        assert len(sure) == len(expected)
        if len(expected):
            assert sure[np.lexsort(sure.T)] == pytest.approx(
                expected[np.lexsort(expected.T)], abs=1
            )


def test_boxes_that_nobody_drew_are_not_boxes_that_are_not_there():
    assert (TASK.targets(SPLIT) >= 0).any(axis=(1, 2)).sum() == sum(
        map(bool, map(len, SPLIT.boxes))
    )
    boxes = SPLIT.boxes.copy()
    boxes[3] = None
    with pytest.raises(DataError, match="boxes: expected those of each image, found 1 images"):
        TASK.targets(replace(SPLIT, boxes=boxes))
    with pytest.raises(DataError, match="found 64 images without"):
        TASK.targets(replace(SPLIT, boxes=None))
    with pytest.raises(DataError, match="a lesion in some images, found none"):
        TASK.targets(SPLIT.take(np.array([0, 3])))


def test_the_network_marks_cells_of_a_quarter_of_the_resolution():
    from medlib.models.detector import build_detector

    network = build_detector((32, 48, 3), TASK, seed=0)
    assert network.output_shape == (None, 8, 12, 5)
    assert 100_000 < network.count_params() < 300_000
    with pytest.raises(UsageError, match="multiples of 16, found 40 x 32"):
        build_detector((40, 32, 3), TASK, seed=0)


def test_a_short_training_finds_what_is_bright():
    from medlib.models.detector import build_detector

    network = build_detector((32, 32, 1), TASK, seed=0)
    how = training.recipe("detector", n_images=64, epochs=30)
    training.fit(network, SPLIT, task=TASK, seed=0, **how)
    new = bright_rectangles(seed=1)
    predictions = training.predict(network, new.images, TASK, mirror=True)
    assert predictions.shape == (64, 8, 8, 5)
    assert TASK.score(new, predictions)["validation_froc"] > 0.8
    table = TASK.report(new, predictions).set_index("metric")
    best = table.loc["sensitivity at 1 false positives an image"]
    assert best["value"] > 0.8
    assert best["n"] == sum(map(len, new.boxes))

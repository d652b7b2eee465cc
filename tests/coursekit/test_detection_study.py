"""What the study of detection stores is enough for its curves, and its blobs are blobs."""

import numpy as np
import pandas as pd
import pytest
from skimage.feature import blob_log
from skimage.measure import label, regionprops

from coursekit.experiments.detection import (
    as_scores,
    blob_boxes,
    find_blobs,
    piece_boxes,
    sensitivity,
)
from medlib.datasets.structure import Split
from medlib.evaluation import detection

ROWS, COLUMNS = np.indices((64, 64))


def discs(radius, *, n=40, seed=0):
    """Discs in every second image, on a brain of one grey value, with noise."""
    rng = np.random.default_rng(seed)
    images = np.full((n, 64, 64, 3), 0.4, np.float32)
    masks, boxes = np.zeros((n, 64, 64), np.int8), np.empty(n, object)
    for k in range(n):
        row, column = rng.integers(20, 44, 2)
        if k % 2:
            masks[k] = np.hypot(ROWS - row, COLUMNS - column) <= radius
        boxes[k] = np.array([r.bbox for r in regionprops(label(masks[k]))], np.float32)
        boxes[k] = boxes[k].reshape(-1, 4)
    images += 0.3 * masks[..., None] + rng.normal(0, 0.03, images.shape).astype(np.float32)
    images[:, :4] = 0  # around the brain
    return Split(
        images=images.clip(0, 1),
        labels=masks.any(axis=(1, 2)).astype(np.int64),
        masks=masks,
        boxes=boxes,
        subjects=np.array([f"p{k // 4}" for k in range(n)]),
        table=pd.DataFrame({"row_spacing_mm": np.full(n, 3.25)}),
    )


def test_a_disc_is_a_blob_whose_sigma_is_its_radius_by_root_two():
    split = discs(7.0)
    blobs = find_blobs(split.images, 2)
    strongest = [
        blobs[blobs[:, 0] == k][blobs[blobs[:, 0] == k, 4].argmax()] for k in range(1, 9, 2)
    ]
    for k, blob in zip(range(1, 9, 2), strongest, strict=True):
        assert blob[3] == pytest.approx(7.0 / np.sqrt(2), abs=0.6)
        middle = (split.boxes[k][0, :2] + split.boxes[k][0, 2:]) / 2 - 0.5
        assert blob[1:3] == pytest.approx(middle, abs=1)
    at_rim = blobs[blobs[:, 1] < 8, 4]  # the rim of the brain is no blob
    assert at_rim.max(initial=0) < min(blob[4] for blob in strongest) / 2
    found = blob_boxes(blobs, len(split), np.sqrt(2), 0.5)
    assert sensitivity(as_scores(split, found))[0] == 1


def test_blobs_are_those_of_scikit_image():
    images = discs(5.0, n=2, seed=1).images
    images[:, :4] = 0.4
    for k, image in enumerate(images):
        theirs = blob_log(
            image[..., 2], min_sigma=3, max_sigma=8, num_sigma=11, threshold=0.01, overlap=1
        )
        ours = find_blobs(images, 3)
        assert set(map(tuple, ours[ours[:, 0] == k, 1:4])) == set(map(tuple, theirs))


def test_what_is_stored_gives_the_curve_of_all_boxes():
    split, rng = discs(5.0), np.random.default_rng(2)
    found = []
    for boxes in split.boxes:  # a box near each lesion, and up to three anywhere
        anywhere = rng.uniform(0, 50, (rng.integers(4), 2))
        near = boxes + rng.uniform(-3, 3)
        every = np.vstack([near, np.hstack([anywhere, anywhere + rng.uniform(4, 12)])])
        found.append((every, rng.uniform(0, 1, len(every)) + 0.2 * (np.arange(len(every)) < 1)))
    scores = as_scores(split, found)
    matched = detection.match_boxes(split.boxes, *zip(*found, strict=True))
    curve = detection.free_response_curve(*matched, len(split))
    for at, share in zip(detection.FALSE_POSITIVES, sensitivity(scores), strict=True):
        assert share == curve.loc[curve["false_positives"] <= at, "sensitivity"].max()
    assert scores[1::2, 3] == pytest.approx(11 * 3.25, rel=0.1)  # mm
    assert not scores[::2, :6].any()
    assert (sensitivity(scores, below_mm=60) == sensitivity(scores)).all()


def test_pieces_of_a_map_are_boxes_with_their_highest_or_mean_probability():
    probabilities = np.zeros((2, 8, 8))
    probabilities[0, 1:3, 1:5] = 0.4, 0.8, 0.4, 0.4
    probabilities[0, 6, 6] = 0.2
    (boxes, scores), (none, empty) = piece_boxes(probabilities, 0.3, "intensity_max")
    assert boxes.tolist() == [[1, 1, 3, 5]]
    assert scores.tolist() == [0.8]
    assert none.shape == (0, 4)
    assert len(empty) == 0
    (boxes, scores), _ = piece_boxes(probabilities, 0.1, "intensity_mean")
    assert len(boxes) == 2
    assert scores == pytest.approx([0.5, 0.2])

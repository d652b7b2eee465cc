"""Checks of the exercises of lesson 18."""

import warnings

import numpy as np

from coursekit import check

BOX, OTHER = np.array([2.0, 3, 8, 13]), np.array([4.0, 5, 12, 9])  # 60 and 32 pixels, 16 shared


@check.define("18.1")
def iou(answer):
    """Check the intersection over union of two boxes."""
    found = answer(BOX.copy(), OTHER.copy())
    mistakes = {
        "That is the intersection; divide it by the union.": 16,
        "You divide by the sum of both areas: what both share is counted twice there.": 16 / 92,
        "That is Dice, twice the intersection by the sum of both areas.": 32 / 92,
        "You divide by the area of the first box alone.": 16 / 60,
        "You divide by the area of the second box alone.": 16 / 32,
        "You divide by the smaller area.": 16 / 32,
        "You divide by the box around both.": 16 / 100,
        "Last row and column stand in the box with 1 added already; do not add it again.": (
            25 / (77 + 45 - 25)
        ),
        "It is upside down: the union by the intersection.": 76 / 16,
    }
    check.compare(found, 16 / 76, "It is wrong for boxes of 60 and 32 pixels.", mistakes)
    check.compare(answer(OTHER, BOX), 16 / 76, "It changes if both boxes are swapped.")
    check.compare(answer(BOX, BOX), 1, "Two equal boxes do not give 1.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        beside = answer(BOX, np.array([2.0, 14, 8, 20]))
        away = answer(BOX, np.array([9.0, 14, 12, 20]))
    hint = "Two boxes apart both down and across do not give 0: two negative sides multiplied?"
    check.compare(away, 0, hint)
    check.compare(beside, 0, "Boxes side by side share nothing, and the answer should be 0.")


LESIONS = (0.9, 0.6, 0.6, 0.3, -np.inf, -np.inf)  # scores
ALARMS = (0.8, 0.6, 0.5, 0.1, 0.05)


@check.define("18.2")
def froc_point(answer):
    """Check a point of the FROC curve."""
    lesions, alarms = np.array(LESIONS), np.array(ALARMS)
    found = answer(lesions, alarms, 8, 0.6)
    hint = "Return two numbers: false alarms an image, and a share of lesions."
    check.that(np.shape(found) == (2,), hint)
    mistakes = {
        "The numbers are in the other order: false alarms first.": (3 / 6, 2 / 8),
        "Boxes whose score is the threshold are shown, too: >=.": (1 / 8, 1 / 6),
        "You divide by the number of boxes; false alarms are counted an image.": (2 / 5, 3 / 6),
        "Divide the number of false alarms by the number of images.": (2, 3 / 6),
        "Lesions that nothing hits count as well: divide by all of them.": (2 / 8, 3 / 4),
        "Divide the lesions found by the number of lesions, not of images.": (2 / 8, 3 / 8),
        "Give the share of lesions found, not their number.": (2 / 8, 3),
        "You count the boxes below the threshold.": (3 / 8, 3 / 6),
    }
    check.compare(found, (2 / 8, 3 / 6), "It is wrong for a threshold of 0.6.", mistakes)
    message = "With a threshold above all scores nothing is found, and there is no false alarm."
    check.compare(answer(lesions, alarms, 4, 2.0), (0, 0), message)
    message = "With a threshold of 0, all that was hit is found, and all false alarms count."
    check.compare(answer(lesions, alarms, 4, 0.0), (5 / 4, 4 / 6), message)
    message = "It fails where there is no false alarm at all."
    check.compare(answer(lesions, np.zeros(0), 4, 0.6), (0, 3 / 6), message)


@check.define("18.3")
def with_width(answer):
    """Check the maps of a wider heat map, and train a small detector with it."""
    import keras

    from medlib import tasks

    task, boxes = answer(2.0), np.array([[[4, 8, 24, 20], [32, 30, 44, 58]]], np.float32)
    check.that(
        hasattr(task, "maps") and not isinstance(task, type),
        "Return a task: an object of your class, not the class itself, nor its maps.",
    )
    right = np.asarray(tasks.Detection().maps(boxes, (64, 64)))
    found = np.asarray(keras.ops.convert_to_numpy(task.maps(boxes, (64, 64))))
    check.that(found.shape == right.shape, f"Its maps have shape {found.shape}, not {right.shape}.")
    check.that(
        np.allclose(found[..., 1:], right[..., 1:], atol=1e-5),
        "Offsets and sizes have changed. Only the first of the five numbers is heat.",
    )
    heat, mistakes = (
        right[..., 0],
        {
            "The heat map is what it was. Does your class say `maps`, with these arguments?": 1,
            "The heat falls off twice as fast, not half as fast.": 4,
            "That is a Gaussian 1.4 times as wide: the power changes the variance.": 1 / 2,
            "You take the power 2: that makes it narrower.": 2,
            "That is four times as wide.": 1 / 16,
        },
    )
    check.compare(
        found[..., 0],
        heat ** (1 / 4),
        "The heat is not twice as wide.",
        {hint: heat**power for hint, power in mistakes.items()},
        tolerance=1e-3,
    )
    other = np.asarray(keras.ops.convert_to_numpy(answer(1.5).maps(boxes, (64, 64))))[..., 0]
    message = "It is right for a factor of 2, and wrong for 1.5."
    check.compare(other, heat ** (1 / 1.5**2), message, tolerance=1e-3)
    losses = _losses(task)
    learnt = np.isfinite(losses).all() and losses[-1] < 0.5 * losses[0]
    check.that(bool(learnt), "A small detector does not learn with your task.")


def _losses(task):
    """Train a small detector on bright rectangles; return its loss in each pass."""
    import keras

    from medlib.models.detector import build_detector

    rng = np.random.default_rng(0)
    images, boxes = rng.normal(0, 0.1, (32, 32, 32, 1)), np.zeros((32, 1, 4), np.float32)
    for image, box in zip(images, boxes[:, 0], strict=True):
        first, size = rng.integers(2, 18, 2), rng.integers(5, 12, 2)
        box[:] = [*first, *(first + size)]
        image[first[0] : first[0] + size[0], first[1] : first[1] + size[1]] += 1
    keras.utils.set_random_seed(0)
    network = build_detector((32, 32, 1), task, seed=0, width=4, levels=3)
    network.compile(keras.optimizers.Adam(0.02), loss=task.loss())
    maps = keras.ops.convert_to_numpy(task.maps(boxes, (32, 32)))
    fitted = network.fit(images.astype("float32"), maps, epochs=12, batch_size=16, verbose=0)
    return fitted.history["loss"]

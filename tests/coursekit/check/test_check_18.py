"""Planted wrong answers to the exercises of lesson 18 are found, and told apart."""

import numpy as np
import pytest

from coursekit import check
from medlib import tasks


def overlap(box, other, *, union="both", clip=True, one=0):
    """Intersection over union, with a mistake."""
    first, last = np.maximum(box[:2], other[:2]), np.minimum(box[2:], other[2:])
    sides = last - first + one
    both = np.prod(np.maximum(sides, 0) if clip else sides)
    areas = [np.prod(each[2:] - each[:2] + one) for each in (box, other)]
    around = np.prod(np.maximum(box[2:], other[2:]) - np.minimum(box[:2], other[:2]))
    unions = {"sum": sum(areas), "first": areas[0], "second": areas[1], "around": around}
    return both / unions.get(union, sum(areas) - both)


def point(lesions, alarms, n_images, threshold, *, shown=np.greater_equal, boxes=False):
    """A point of the FROC curve, with a mistake."""
    lesions, alarms = np.asarray(lesions), np.asarray(alarms)
    false_alarms = np.sum(shown(alarms, threshold)) / (len(alarms) if boxes else n_images)
    return false_alarms, np.mean(shown(lesions, threshold))


def hit_alone(lesions, alarms, n_images, threshold):
    """Leave out the lesions that nothing hits."""
    return point(lesions[np.isfinite(lesions)], alarms, n_images, threshold)


def width(power, *, numbers=slice(0, 1), learns=True):
    """A function that returns a task with the heat to a power of the factor."""

    def with_width(factor):
        class Wide(tasks.Detection):
            def maps(self, boxes, shape):
                import keras

                right = super().maps(boxes, shape)
                parts = [right[..., k : k + 1] for k in range(5)]
                for k in range(5)[numbers]:
                    parts[k] = abs(parts[k]) ** power(factor)
                return keras.ops.concatenate(parts, axis=-1)

            def loss(self, **given):
                right = super().loss(**given)
                return right if learns else lambda truth, found: 0 * right(truth, found) + 1

        return Wide()

    return with_width


right_width = width(lambda factor: 1 / factor**2)

WRONG = {
    "Dice": ("18.1", lambda a, b: 2 * overlap(a, b, union="sum"), "That is Dice"),
    "sum": ("18.1", lambda a, b: overlap(a, b, union="sum"), "counted twice"),
    "first": ("18.1", lambda a, b: overlap(a, b, union="first"), "first box alone"),
    "second": ("18.1", lambda a, b: overlap(a, b, union="second"), "second box alone"),
    "around": ("18.1", lambda a, b: overlap(a, b, union="around"), "box around both"),
    "one more": ("18.1", lambda a, b: overlap(a, b, one=1), "do not add it again"),
    "not clipped": ("18.1", lambda a, b: overlap(a, b, clip=False), "two negative sides"),
    "order": ("18.2", lambda *given: point(*given)[::-1], "other order"),
    "above": ("18.2", lambda *given: point(*given, shown=np.greater), "whose score is the thr"),
    "below": ("18.2", lambda *given: point(*given, shown=np.less), "below the thr"),
    "of boxes": ("18.2", lambda *given: point(*given, boxes=True), "number of boxes"),
    "hit alone": ("18.2", hit_alone, "divide by all of them"),
    "one number": ("18.2", lambda *given: 0.5, "Return two numbers"),
    "count": ("18.2", lambda a, b, n, t: (point(a, b, 1, t)[0], 0.5), "by the number of images"),
    "unchanged": ("18.3", width(lambda factor: 1), "what it was"),
    "narrower": ("18.3", width(lambda factor: factor**2), "twice as fast"),
    "root": ("18.3", width(lambda factor: 1 / factor), "1.4 times"),
    "always two": ("18.3", width(lambda factor: 1 / 4), "wrong for 1.5"),
    "all numbers": ("18.3", width(lambda f: 1 / f**2, numbers=slice(0, 5)), "Only the first"),
    "the class": ("18.3", lambda factor: tasks.Detection, "Return a task"),
    "no gradient": ("18.3", width(lambda f: 1 / f**2, learns=False), "does not learn"),
}


@pytest.mark.parametrize(
    ("exercise", "answer"), [("18.1", overlap), ("18.2", point), ("18.3", right_width)]
)
def test_right_answers_are_right(exercise, answer):
    assert check.verdict(exercise, answer).message == "correct."

"""Checks of the exercises of lesson 05."""

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from coursekit import check
from medlib.evaluation.statistics import area_under_curve


@check.define("05.1")
def asymmetry(answer):
    """Check the mean difference between images and their mirror images."""
    rng = np.random.default_rng(0)
    images = rng.random((5, 6, 8, 3))
    found = np.asarray(answer(images), dtype=float)
    check.that(
        found.shape == (5, 3),
        f"For images of shape (5, 6, 8, 3) the result must have shape (5, 3), not {found.shape}. "
        "Over which axes do you average?",
    )
    check.that(
        not np.allclose(found, 0),
        "It is zero for images that are not symmetric: positive and negative differences cancel.",
    )
    symmetric = images + images[:, :, ::-1]
    check.that(
        np.allclose(answer(symmetric), 0),
        "It is not zero for images that are symmetric. Do you turn round the right axis?",
    )
    diagonal = np.zeros((1, 2, 4, 1))
    diagonal[0, 0, 0], diagonal[0, 1, 3] = 0.5, 0.5  # as much on the left as on the right
    check.that(
        not np.isclose(np.ravel(answer(diagonal))[0], 0),
        "You average before you compare. Compare each pixel with its mirror pixel, then average.",
    )
    one = np.zeros((1, 2, 4, 1))
    one[0, 0, 0, 0] = 0.5
    check.that(
        np.isclose(np.ravel(answer(one))[0], 0.125),
        "Right axis, wrong size: check it by hand on 2 x 4 pixels of which one is 0.5.",
    )


@check.define("05.2")
def choose_penalty(answer):
    """Check that the penalty is chosen by its AUC on other images than the training ones."""
    rng = np.random.default_rng(3)
    weights = rng.normal(size=40) * (np.arange(40) < 6)
    features = rng.normal(size=(140, 40)) * rng.uniform(0.1, 10, 40)
    scaled = features / features.std(axis=0)
    labels = (scaled @ weights + 2 * rng.normal(size=140) > 0).astype(int)
    known, new, known_labels, new_labels = features[:60], features[60:], labels[:60], labels[60:]
    choices = [1e-4, 0.003, 0.03, 0.3, 30.0]
    found = answer(known, known_labels, new, new_labels, choices)
    check.that(np.ndim(found) == 0, f"Return one number, not something of shape {np.shape(found)}.")
    check.that(
        any(np.isclose(found, choices)),
        f"You return {float(found):.3g}, which is none of the choices. Return the `C`, not its AUC "
        "and not its place in the list.",
    )
    on_known = _aucs(choices, known, known_labels, known, known_labels)
    right = _aucs(choices, known, known_labels, new, new_labels)
    unscaled = _aucs(choices, known, known_labels, new, new_labels, scale=False)
    mistakes = {
        "That is the best `C` on the training images: there a weak penalty always looks good.": (
            choices[int(np.argmax(on_known))]
        ),
        "That `C` has the *lowest* AUC on `new`. Do you fit to `known`, and take the highest?": (
            choices[int(np.argmin(right))]
        ),
        "That is the best `C` without `StandardScaler`.": choices[int(np.argmax(unscaled))],
    }
    wrong = "It is another `C`. Print the AUC on `new` for each: do you compare the right numbers?"
    check.compare(found, choices[int(np.argmax(right))], wrong, mistakes)


def _aucs(choices, known, known_labels, new, new_labels, *, scale=True):
    found = []
    for strength in choices:
        steps = [StandardScaler()] if scale else []
        model = make_pipeline(*steps, LogisticRegression(C=strength, max_iter=1000))
        scores = model.fit(known, known_labels).decision_function(new)
        found.append(area_under_curve(new_labels == 1, scores))
    return found


@check.define("05.3")
def share_of_wins(answer):
    """Check the share of trainings in which the network has the higher area under the curve."""
    labels = np.array([0, 0, 0, 1, 1, 1])
    perfect, good, poor = [1.0, 2, 3, 4, 5, 6], [1.0, 2, 4, 3, 5, 6], [4.0, 5, 6, 1, 2, 3]
    network = np.array([perfect, good, poor, good, poor])
    hand_made = 10 * np.array([good, perfect, good, good, poor])  # other scale, same order
    found = answer(labels, network, hand_made)
    check.that(np.ndim(found) == 0, f"Return one number, not an array of shape {np.shape(found)}.")
    mistakes = {
        "You count the trainings: divide by their number.": 1,
        "The network wins only if its AUC is *higher*: you count ties as well.": 3 / 5,
        "You count a tie as half a win. Here only a strictly higher AUC counts.": 2 / 5,
        "You compare every network with every hand-made model. Compare row by row.": 4 / 25,
        "You count the wins of the hand-made model.": 2 / 5,
        "You compare scores. They have no common scale: compare the AUC of each row.": 0,
    }
    wrong = "It is wrong for five trainings, of which the network wins one."
    check.compare(found, 1 / 5, wrong, mistakes)

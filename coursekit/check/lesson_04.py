"""Checks of lesson 04: z-score in the brain, patients dealt out, a site held out."""

import numpy as np
from sklearn.base import BaseEstimator

from coursekit import check
from medlib.evaluation import statistics


@check.define("04.1")
def zscore_in_brain(answer):
    """Check the z-score that looks at the brain only."""
    rng = np.random.default_rng(0)
    image = rng.uniform(0.3, 0.8, (12, 10, 2)) * np.array([1.0, 0.4])
    brain = np.zeros((12, 10), bool)
    brain[3:9, 2:8] = True
    image[~brain] = 0.02
    before = image.copy()
    found = np.asarray(answer(image, brain), dtype=float)
    check.that(np.array_equal(image, before), "Your function changes the image it was given.")
    check.that(
        found.shape == image.shape, f"The shape should stay {image.shape}, it is {found.shape}."
    )
    check.that(
        np.abs(found[brain].mean(axis=-1)).max() > 1e-6,
        "Each pixel was normalised over its channels. Which axis holds the pixels?",
    )
    mean, deviation = found[brain].mean(axis=0), found[brain].std(axis=0)
    both = abs(found[brain].mean()) < 1e-6 and abs(found[brain].std() - 1) < 1e-6
    check.that(
        not (both and np.abs(mean).max() > 1e-6),
        "The channels were normalised together: each has its own mean and standard deviation.",
    )
    check.that(
        np.abs(mean).max() < 1e-6,
        f"In the brain the channels have means {np.round(mean, 2)}, not 0. Which pixels did you "
        "take the mean of?",
    )
    check.that(
        np.abs(deviation - 1).max() < 1e-6,
        f"In the brain the channels have standard deviations {np.round(deviation, 2)}, not 1.",
    )
    check.that(bool((found[~brain] == 0).all()), "Outside the brain the result should be 0.")
    wide = np.pad(image, ((4, 4), (4, 4), (0, 0)))
    again = np.asarray(answer(wide, np.pad(brain, 4)), dtype=float)
    check.that(
        np.allclose(again[4:-4, 4:-4][brain], found[brain]),
        "The brain's values change when the image gets a wider black border.",
    )


@check.define("04.2")
def subject_split(answer):
    """Check the split by subject."""
    rng = np.random.default_rng(0)
    subjects = np.repeat([f"s{number:02d}" for number in range(20)], rng.integers(1, 9, 20))
    subjects = rng.permutation(subjects)
    for share, expected in ((0.25, 5), (0.5, 10), (0.24, 5), (0.12, 2)):
        found = _boolean(answer(subjects, share, 0), len(subjects))
        shared = set(subjects[found]) & set(subjects[~found])
        check.that(
            not shared,
            f"{len(shared)} of 20 subjects have images on both sides. What do you deal out?",
        )
        n = len(set(subjects[found]))
        check.that(n == expected, f"With share={share}, {n} of 20 subjects are in the test set.")
    first = _boolean(answer(subjects, 0.25, 0), len(subjects))
    same = _boolean(answer(subjects, 0.25, 0), len(subjects))
    check.that(np.array_equal(first, same), "The same seed gives another split the second time.")
    others = [_boolean(answer(subjects, 0.25, seed), len(subjects)) for seed in range(1, 5)]
    check.that(
        any(not np.array_equal(first, other) for other in others),
        "Every seed gives the same split: subjects should be drawn at random.",
    )


@check.define("04.3")
def new_site(answer):
    """Check training for a site that was held out."""
    rng = np.random.default_rng(0)
    sites = rng.permutation(np.repeat(["A", "B", "C"], (30, 20, 10)))
    labels = rng.permutation(np.arange(60) % 2)
    features = np.stack([np.arange(60), rng.normal(size=60) + labels], axis=1)
    fitted = []

    class Model(BaseEstimator):
        """Remembers what it was trained on; its score is the second feature."""

        def fit(self, features, labels):
            fitted.append((features, labels))
            return self

        def decision_function(self, features):
            return features[:, 1]

        def predict(self, features):
            return (features[:, 1] > 0.5).astype(int)

    for new in ("B", "C"):
        there = sites == new
        fitted.clear()
        found = answer(Model(), features, labels, sites, new)
        check.that(len(fitted) > 0, "The model was never trained: call its `fit`.")
        trained, given = fitted[-1]
        rows = np.asarray(trained)[:, 0].astype(int)
        check.that(
            not there[rows].all(), "The model was trained on the new site, and on nothing else."
        )
        check.that(
            not there[rows].any(),
            "Images of the new site are in training: a hospital that is new is not there yet.",
        )
        check.that(len(rows) == (~there).sum(), "Some images of the other sites are not used.")
        check.that(
            np.array_equal(np.asarray(given), labels[rows]),
            "In training, the labels do not belong to the images.",
        )
        scores, positive = features[:, 1], labels == 1
        auc = statistics.area_under_curve
        right = auc(positive[there], scores[there])
        answers = scores > 0.5
        mistakes = {
            "You tested on all images: look at the new site only.": auc(positive, scores),
            "You tested on the images of training.": auc(positive[~there], scores[~there]),
            "You gave answers (0 or 1) where the AUC needs scores: `decision_function`.": auc(
                positive[there], answers[there].astype(float)
            ),
            "That is a share of right answers, not an AUC.": np.mean(
                answers[there] == positive[there]
            ),
            "Your AUC is upside down: label 1 should have the higher scores.": 1 - right,
        }
        check.compare(found, right, f"It is wrong for site {new}.", mistakes)


def _boolean(rows, n: int) -> np.ndarray:
    rows = np.asarray(rows)
    check.that(
        rows.shape == (n,) and rows.dtype == bool,
        "Return one True or False for each image: True means test.",
    )
    return rows

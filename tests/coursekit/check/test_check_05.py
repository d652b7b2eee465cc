"""Planted wrong answers to the exercises of lesson 05 are found, and right ones pass."""

import numpy as np
import pytest
from scipy.stats import mannwhitneyu
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from coursekit import check


def aucs(known, known_labels, new, new_labels, choices, *, scale=True):
    """AUC on new images for each penalty."""
    found = []
    for strength in choices:
        model = LogisticRegression(C=strength, max_iter=1000)
        model = make_pipeline(StandardScaler(), model) if scale else model
        scores = model.fit(known, known_labels).decision_function(new)
        found.append(roc_auc_score(new_labels, scores))
    return np.array(found)


def chosen(*given, **options):
    """The penalty with the highest AUC."""
    return given[-1][int(aucs(*given, **options).argmax())]


def wins(labels, network, hand_made):
    """Whether the network is ahead, training by training."""
    pairs = zip(network, hand_made, strict=True)
    return np.array([roc_auc_score(labels, a) > roc_auc_score(labels, b) for a, b in pairs])


WRONG = {
    "05.1": {
        "upside down": lambda x: np.abs(x - x[:, ::-1]).mean(axis=(1, 2)),
        "channels": lambda x: np.abs(x - x[..., ::-1]).mean(axis=(1, 2)),
        "signed": lambda x: (x - x[:, :, ::-1]).mean(axis=(1, 2)),
        "all channels": lambda x: np.abs(x - x[:, :, ::-1]).mean(axis=(1, 2, 3)),
        "squared": lambda x: ((x - x[:, :, ::-1]) ** 2).mean(axis=(1, 2)),
        "sum": lambda x: np.abs(x - x[:, :, ::-1]).sum(axis=(1, 2)),
        "halves": lambda x: np.abs(
            x[:, :, : x.shape[2] // 2].mean(axis=(1, 2))
            - x[:, :, x.shape[2] // 2 :].mean(axis=(1, 2))
        ),
        "rows averaged first": lambda x: np.abs((x - x[:, :, ::-1]).mean(axis=1)).mean(axis=1),
    },
    "05.2": {
        "on the training images": lambda k, kl, n, nl, c: chosen(k, kl, k, kl, c),
        "fitted to the new ones": lambda k, kl, n, nl, c: chosen(n, nl, n, nl, c),
        "the worst": lambda *given: given[-1][int(aucs(*given).argmin())],
        "without scaling": lambda *given: chosen(*given, scale=False),
        "the AUC": lambda *given: aucs(*given).max(),
        "all AUCs": aucs,
        "its place": lambda *given: int(aucs(*given).argmax()),
        "the strongest": lambda k, kl, n, nl, c: min(c),
        "the last": lambda k, kl, n, nl, c: c[-1],
    },
    "05.3": {
        "count": lambda y, a, b: wins(y, a, b).sum(),
        "one each": wins,
        "losses": lambda y, a, b: wins(y, b, a).mean(),
        "ties are wins": lambda y, a, b: 1 - wins(y, b, a).mean(),
        "ties are half": lambda y, a, b: (wins(y, a, b).mean() + 1 - wins(y, b, a).mean()) / 2,
        "scores": lambda y, a, b: np.mean(a > b),
        "every pair": lambda y, a, b: np.mean([wins(y, [p] * len(b), b) for p in a]),
        "mean difference": lambda y, a, b: (
            np.mean([roc_auc_score(y, p) for p in a]) - np.mean([roc_auc_score(y, p) for p in b])
        ),
    },
}


@pytest.mark.parametrize(("exercise", "name"), [(e, n) for e in WRONG for n in WRONG[e]])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_wrong_answers_are_found(exercise, name):
    assert check.verdict(exercise, WRONG[exercise][name]).state == "wrong"


def test_answers_written_another_way_are_right():
    def half_image(images):
        half = images.shape[2] // 2  # an even width: each pair of columns once
        left, right = images[:, :, :half], images[:, :, ::-1][:, :, :half]
        return np.abs(left - right).mean(axis=(1, 2))

    def by_probability(known, known_labels, new, new_labels, choices):
        def area(strength):
            model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=1000))
            model.fit(known, known_labels)
            return roc_auc_score(new_labels, model.predict_proba(new)[:, 1])

        return max(choices, key=area)

    def by_ranks(labels, network, hand_made):
        def pairs(scores):
            return mannwhitneyu(scores[labels == 1], scores[labels == 0]).statistic

        both = zip(network, hand_made, strict=True)
        return sum(pairs(first) > pairs(second) for first, second in both) / len(network)

    answers = {"05.1": half_image, "05.2": by_probability, "05.3": by_ranks}
    states = {name: check.verdict(name, answer).state for name, answer in answers.items()}
    assert states == dict.fromkeys(answers, "correct")

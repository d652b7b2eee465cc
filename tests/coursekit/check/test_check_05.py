"""Planted wrong answers to the exercises of lesson 05 are found, and right ones pass."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from coursekit import check


def _scaled(new, *of):
    together = np.vstack(of)
    return (new - together.mean(axis=0)) / together.std(axis=0)


def _shift_only(known, new):
    deviation = known.std(axis=0)
    return (new - known.mean(axis=0)) / np.where(deviation == 0, 1, deviation)


def _pairs(labels, scores):
    return scores[labels == 1][:, None], scores[labels == 0][None, :]


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
        "own statistics": lambda known, new: _scaled(new, new),
        "both": lambda known, new: _scaled(new, known, new),
        "one mean": lambda known, new: (new - known.mean()) / known.std(),
        "known": lambda known, new: np.nan_to_num(_scaled(known, known)),
        "infinite": lambda known, new: _scaled(new, known),
        "constant not zero": _shift_only,
        "variance": lambda known, new: np.nan_to_num(
            (new - known.mean(axis=0)) / known.var(axis=0), posinf=0, neginf=0
        ),
        "no mean": lambda known, new: np.nan_to_num(new / known.std(axis=0), posinf=0, neginf=0),
        "range": lambda known, new: np.nan_to_num(
            (new - known.min(axis=0)) / np.maximum(np.ptp(known, axis=0), 1)
        ),
    },
    "05.3": {
        "no ties": lambda y, s: float(np.mean(np.greater(*_pairs(y, s)))),
        "ties count fully": lambda y, s: float(np.mean(np.greater_equal(*_pairs(y, s)))),
        "reversed": lambda y, s: float(np.mean(np.less(*_pairs(y, s)))),
        "count": lambda y, s: float(np.sum(np.greater(*_pairs(y, s)))),
        "accuracy": lambda y, s: float(np.mean((s > 0.5) == y)),
        "an array": lambda y, s: np.greater(*_pairs(y, s)).mean(axis=1),
        "never below one half": lambda y, s: max(roc_auc_score(y, s), 1 - roc_auc_score(y, s)),
        "difference of means": lambda y, s: float(s[y == 1].mean() - s[y == 0].mean()),
    },
}


@pytest.mark.parametrize(("exercise", "name"), [(e, n) for e in WRONG for n in WRONG[e]])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_wrong_answers_are_found(exercise, name):
    assert check.verdict(exercise, WRONG[exercise][name]).state == "wrong"


def test_answers_written_another_way_are_right():
    def sample_deviation(known, new):
        deviation = known.std(axis=0, ddof=1)
        scaled = (new - known.mean(axis=0)) / np.where(deviation == 0, np.inf, deviation)
        return scaled

    def half_image(images):
        half = images.shape[2] // 2  # an even width: each pair of columns once
        left, right = images[:, :, :half], images[:, :, ::-1][:, :, :half]
        return np.abs(left - right).mean(axis=(1, 2))

    answers = {"05.1": half_image, "05.2": sample_deviation, "05.3": roc_auc_score}
    states = {name: check.verdict(name, answer).state for name, answer in answers.items()}
    assert states == dict.fromkeys(answers, "correct")

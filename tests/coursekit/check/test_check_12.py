"""Planted wrong answers to the exercises of lesson 12 are found, and told apart."""

import numpy as np
import pytest
from scipy.ndimage import uniform_filter
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from coursekit import check
from coursekit.check import lesson_12


def _drawn(aucs, k, *, replace=True):
    rng = np.random.default_rng(3)
    n = aucs.shape[1]
    return np.array([rng.choice(n, size=k, replace=replace) for _ in range(2000)])


def _share(aucs, k):
    return np.mean(aucs[:, _drawn(aucs, k)].mean(2).argmax(0) == aucs.mean(1).argmax())


def _without_replacement(aucs, k):
    draws = _drawn(aucs, min(k, aucs.shape[1]), replace=False)
    return np.mean(aucs[:, draws].mean(2).argmax(0) == aucs.mean(1).argmax())


def _columns_apart(aucs, k):
    draws = np.stack(
        [np.random.default_rng(s).integers(aucs.shape[1], size=(2000, k)) for s in range(len(aucs))]
    )
    means = np.stack([row[draw].mean(1) for row, draw in zip(aucs, draws, strict=True)])
    return np.mean(means.argmax(0) == aucs.mean(1).argmax())


def _most_wins(aucs, k):
    wins = np.bincount(aucs.argmax(axis=0), minlength=len(aucs))
    return np.mean(aucs[:, _drawn(aucs, k)].mean(2).argmax(0) == wins.argmax())


def _binned(labels, p, bins=10):
    b = np.minimum((p * bins).astype(int), bins - 1)
    return [(p[b == k], labels[b == k]) for k in range(bins)]


def _error(labels, p, bins=10):
    return sum(abs(q.sum() - y.sum()) for q, y in _binned(labels, p, bins)) / len(p)


def _last_falls_out(labels, p, bins=10):
    b = (p * bins).astype(int)
    return sum(abs(p[b == k].sum() - labels[b == k].sum()) for k in range(bins)) / len(p)


def _bins_alike(labels, p, bins=10):
    return np.mean([abs(q.mean() - y.mean()) for q, y in _binned(labels, p, bins) if len(q)])


def _features(images):
    return np.stack([uniform_filter(images[..., 2], (0, w, w)).max((1, 2)) for w in (3, 9, 15)], 1)


def _fitted(known, labels=None):
    model = make_pipeline(StandardScaler(), LogisticRegression())
    return model.fit(_features(known.images), known.labels if labels is None else labels)


def _scored(known, new):
    return _fitted(known).decision_function(_features(new))


def _standardised_on_new(known, new):
    new_features = _features(new)
    model = LogisticRegression().fit(
        StandardScaler().fit_transform(_features(known.images)), known.labels
    )
    return model.decision_function(StandardScaler().fit_transform(new_features))


def _in_place(known, new):
    scores = _scored(known, new)
    known.images[:] = 0
    return scores


WRONG = {
    "12.1": {
        "without replacement": _without_replacement,
        "columns apart": _columns_apart,
        "most wins": _most_wins,
        "always": lambda aucs, k: 1.0,
        "a share a model": lambda aucs, k: np.full(len(aucs), 0.5),
        "lowest": lambda aucs, k: (
            np.mean(aucs[:, _drawn(aucs, k)].mean(2).argmin(0) == aucs.mean(1).argmin()) / 2
        ),
        "k ignored": lambda aucs, k: _share(aucs, 1),
        "per cent": lambda aucs, k: 100 * _share(aucs, k),
    },
    "12.2": {
        "bins alike": _bins_alike,
        "signed": lambda y, p, bins=10: (
            sum(q.sum() - t.sum() for q, t in _binned(y, p, bins)) / len(p)
        ),
        "largest": lambda y, p, bins=10: max(
            abs(q.mean() - t.mean()) for q, t in _binned(y, p, bins) if len(q)
        ),
        "each image": lambda y, p, bins=10: np.abs(p - y).mean(),
        "ten bins always": lambda y, p, bins=10: _error(y, p),
        "one falls out": _last_falls_out,
        "empty bins": lambda y, p, bins=10: sum(
            len(q) / len(p) * abs(np.divide(q.sum(), len(q)) - np.divide(t.sum(), len(q)))
            if len(q)
            else np.nan
            for q, t in _binned(y, p, bins)
        ),
        "not divided": lambda y, p, bins=10: _error(y, p, bins) * len(p),
    },
    "12.3": {
        "turned": lambda known, new: -_scored(known, new),
        "labels unused": lambda known, new: _features(new)[:, 1],
        "standardised on new": _standardised_on_new,
        "known scored": lambda known, new: _scored(known, known.images),
        "random": lambda known, new: np.random.default_rng().normal(size=len(new)),
        "in place": _in_place,
        "guesses": lambda known, new: (
            new[:, 0, 0, 0] + np.arange(64)[: len(new)] % 3 * (known.labels[0] - 0.5)
        ),
        "not numbers": lambda known, new: np.full(len(new), np.nan),
    },
}


@pytest.mark.parametrize(("exercise", "name"), [(e, n) for e in WRONG for n in WRONG[e]])
def test_wrong_answers_are_found(exercise, name):
    assert check.verdict(exercise, WRONG[exercise][name]).state == "wrong"


def test_different_mistakes_get_different_hints():
    for exercise, answers in WRONG.items():
        messages = {check.verdict(exercise, answer).message for answer in answers.values()}
        assert len(messages) >= 6, (exercise, messages)


RIGHT = {
    "12.1": [_share, lesson_12.share_right],
    "12.2": [_error, lesson_12.calibration_error],
    "12.3": [
        _scored,
        lambda known, new: _fitted(known).predict_proba(_features(new))[:, 1],
        lambda known, new: (
            LogisticRegression(max_iter=500)
            .fit(known.images[:, ::4, ::4, 2].reshape(len(known), -1), known.labels)
            .decision_function(new[:, ::4, ::4, 2].reshape(len(new), -1))
        ),
    ],
}


@pytest.mark.parametrize(("exercise", "k"), [(e, k) for e in RIGHT for k in range(len(RIGHT[e]))])
def test_more_than_one_way_is_right(exercise, k):
    assert check.verdict(exercise, RIGHT[exercise][k]).message == "correct."


def test_a_calibrated_answer_has_an_error_near_zero_and_a_turned_one_a_large_error():
    rng = np.random.default_rng(0)
    p = rng.random(200_000)
    labels = (rng.random(200_000) < p).astype(int)
    assert lesson_12.calibration_error(labels, p) < 0.01
    assert lesson_12.calibration_error(labels, 1 - p) == pytest.approx(0.5, abs=0.01)


def test_more_trainings_name_the_winner_more_often():
    means = np.array([0.90, 0.91, 0.92, 0.94])[:, np.newaxis]
    aucs = means + np.random.default_rng(0).normal(0, 0.02, size=(4, 10))
    shares = [lesson_12.share_right(aucs, k) for k in (1, 3, 9, 90)]
    assert shares == sorted(shares)
    assert shares[-1] > 0.95

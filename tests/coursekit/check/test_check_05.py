"""Planted wrong answers to the exercises of lesson 05 are found, and told apart."""

import numpy as np
import pytest

from coursekit import check


def _weights(size, channels, bias=1):
    widths = (channels, 32, 64, 128)
    total = sum((9 * a + bias) * b for a, b in zip(widths[:-1], widths[1:], strict=True))
    return total + (size * size * 128 + bias) * 128 + 128 + bias


WRONG = {
    "05.1": {
        "all images": lambda y, p, s: np.sort(p)[::-1][int(np.ceil(s * len(p))) - 1],
        "wrong end": lambda y, p, s: np.sort(p[y == 1])[int(np.ceil(s * sum(y == 1))) - 1],
        "rounded down": lambda y, p, s: np.sort(p[y == 1])[::-1][int(s * sum(y == 1)) - 1],
        "quantile": lambda y, p, s: np.quantile(p[y == 1], 1 - s),
        "zero": lambda y, p, s: 0.0,
        "order": lambda y, p, s: p[: int(sum(y))][int(np.ceil(s * sum(y))) - 1],
    },
    "05.2": {
        "no biases": lambda size, channels: _weights(size // 8, channels, bias=0),
        "no pooling": lambda size, channels: _weights(size, channels),
        "no last layer": lambda size, channels: _weights(size // 8, channels) - 129,
        "no padding": lambda size, channels: _weights((size - 14) // 8, channels),
        "three channels": lambda size, channels: _weights(size // 8, 3),
        "no rounding": lambda size, channels: _weights(size / 8, channels),
    },
    "05.3": {
        "table order": lambda files, table: table["label"].tolist(),
        "sorted": lambda files, table: table.sort_values("image")["label"].tolist(),
        "missing": lambda files, table: table.set_index("image")["label"].reindex(files).tolist(),
    },
}


@pytest.mark.parametrize(("exercise", "name"), [(e, n) for e in WRONG for n in WRONG[e]])
def test_wrong_answers_are_found(exercise, name):
    assert check.verdict(exercise, WRONG[exercise][name]).state == "wrong"

"""Planted wrong answers to the exercises of lesson 08 are found, and told apart."""

import numpy as np
import pytest

from coursekit import check


def _weights(channels, widths, *, bias=0, normalised=4, last=1):
    pairs = zip((channels, *widths[:-1]), widths, strict=True)
    return sum((9 * a + bias + normalised) * b for a, b in pairs) + widths[-1] * last + last


WRONG = {
    "08.1": {
        "all images": lambda y, p, s: np.sort(p)[::-1][int(np.ceil(s * len(p))) - 1],
        "wrong end": lambda y, p, s: np.sort(p[y == 1])[int(np.ceil(s * sum(y == 1))) - 1],
        "rounded down": lambda y, p, s: np.sort(p[y == 1])[::-1][int(s * sum(y == 1)) - 1],
        "quantile": lambda y, p, s: np.quantile(p[y == 1], 1 - s),
        "zero": lambda y, p, s: 0.0,
        "order": lambda y, p, s: p[: int(sum(y))][int(np.ceil(s * sum(y))) - 1],
    },
    "08.2": {
        "biases": lambda channels, widths: _weights(channels, widths, bias=1),
        "no normalisation": lambda channels, widths: _weights(channels, widths, normalised=0),
        "only what is learnt": lambda channels, widths: _weights(channels, widths, normalised=2),
        "no last layer": lambda channels, widths: _weights(channels, widths, last=0),
        "no last bias": lambda channels, widths: _weights(channels, widths) - 1,
        "three channels": lambda channels, widths: _weights(3, widths),
        "these widths only": lambda channels, widths: _weights(channels, (16, 16, 32, 32, 64, 64)),
    },
    "08.3": {
        "table order": lambda files, table: table["label"].tolist(),
        "sorted": lambda files, table: table.sort_values("image")["label"].tolist(),
        "missing": lambda files, table: table.set_index("image")["label"].reindex(files).tolist(),
    },
}


@pytest.mark.parametrize(("exercise", "name"), [(e, n) for e in WRONG for n in WRONG[e]])
def test_wrong_answers_are_found(exercise, name):
    assert check.verdict(exercise, WRONG[exercise][name]).state == "wrong"

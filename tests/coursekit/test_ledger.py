import json

import nbformat
import numpy as np
import pytest
from scipy.stats import t

from coursekit import ledger
from medlib.errors import LedgerError, UsageError

PARAMETERS = {"dataset": "simbrain", "image_size": 64, "seed": 0}


@pytest.fixture
def book(tmp_path, monkeypatch):
    """A ledger with one band, 0.8 to 0.9."""
    path = tmp_path / "ledger.json"
    band = ledger.Band(0.8, 0.9, 0.85, 0.01, 5, [0, 1, 2, 3, 4], False, {**PARAMETERS})
    del band.parameters["seed"]
    ledger.write_bands("05", {"05/test_auc": band}, path)
    monkeypatch.setattr(ledger, "ledger_path", lambda: path)
    return path


def test_value_inside_its_band_is_accepted(book, capsys):
    result = ledger.record("05/test_auc", np.float32(0.875), PARAMETERS)
    assert result is None  # the last line of a cell must not print the number a second time
    assert "0.8 to 0.9" in capsys.readouterr().out


@pytest.mark.parametrize("value", [0.79, 0.91])
def test_value_outside_its_band_fails_whatever_the_seed(book, value):
    with pytest.raises(LedgerError, match="0.8 to 0.9.*calibrate 05"):
        ledger.record("05/test_auc", value, PARAMETERS | {"seed": 7})


def test_band_says_nothing_about_other_parameters(book, capsys):
    ledger.record("05/test_auc", 0.1, PARAMETERS | {"image_size": 28})
    assert "no band for these parameters" in capsys.readouterr().out


def test_while_calibrating_no_band_holds(book, monkeypatch):
    monkeypatch.setenv("MEDLIB_CALIBRATE", "1")
    ledger.record("05/test_auc", 0.1, PARAMETERS)  # outside the band: would raise


def test_without_a_repository_there_is_no_band(monkeypatch, capsys):
    monkeypatch.setattr(ledger, "ledger_path", lambda: None)
    ledger.record("05/test_auc", 0.1, PARAMETERS)
    assert "no band here" in capsys.readouterr().out


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.1, 1.1])
def test_impossible_values_fail(value):
    with pytest.raises(LedgerError, match="05/other"):
        ledger.record("05/other", value, PARAMETERS, limits=(0, 1))


@pytest.mark.parametrize("name", ["auc", "5/auc", "05/AUC", "05/test auc", "05/"])
def test_names_have_one_form(name):
    with pytest.raises(UsageError, match="05/test_auc"):
        ledger.record(name, 1, PARAMETERS)


def test_band_is_the_prediction_interval_for_one_more_run():
    values = [0.90, 0.92, 0.91, 0.89, 0.93]
    band = ledger.calibrate(values, seeds=list(range(5)), parameters=PARAMETERS)
    half = t.ppf(0.995, 4) * np.std(values, ddof=1) * np.sqrt(1 + 1 / 5)
    assert band.high - band.mean == pytest.approx(half)
    assert band.mean - band.low == pytest.approx(half)
    assert band.parameters == {"dataset": "simbrain", "image_size": 64}


def test_bands_hold_99_percent_of_further_runs():
    generator = np.random.default_rng(0)
    inside = 0
    for _ in range(2000):
        *values, further = generator.normal(0.9, 0.02, 6)
        inside += further in ledger.calibrate(values, seeds=list(range(5)), parameters={})
    assert inside / 2000 == pytest.approx(0.99, abs=0.007)  # three standard errors


def test_band_is_clipped_to_what_is_possible_and_holds_what_was_seen():
    values = [1.0, 0.9, 1.0]
    band = ledger.calibrate(values, seeds=[0, 1, 2], parameters={}, limits=(0, 1))
    assert band.high == 1
    assert 0 <= band.low < 0.9
    assert all(value in band for value in values)


def test_number_that_no_seed_changes_is_exact():
    band = ledger.calibrate([93.0] * 5, seeds=list(range(5)), parameters={})
    assert band.exact
    assert 93 in band
    assert 93 * (1 + 1e-7) in band
    assert 94 not in band
    zero = ledger.calibrate([0.0] * 3, seeds=[0, 1, 2], parameters={})
    assert 0 in zero
    assert 1e-9 not in zero


def _band(low, high, *, exact=False):
    return ledger.Band(low, high, (low + high) / 2, 0.01, 10, list(range(10)), exact, {})


@pytest.mark.parametrize(
    ("band", "limits", "chance", "reason"),
    [
        (_band(0.7, 0.9), (0, 1), 0.5, ""),
        (_band(0.49, 0.8), (0, 1), 0.5, "chance"),
        (_band(0.5, 0.8), (0, 1), 0.5, "chance"),
        (_band(0.66, 1), (0, 1), None, "third"),
        (_band(0.67, 1), (0, 1), None, ""),
        (_band(0.66, 1), None, None, ""),
        (_band(-0.1, 0.2), (-1, 1), 0, "chance"),
        (_band(0.2, 0.4), (0, 1), 0.5, ""),  # worse than chance, and it says so
        (_band(0.5, 0.5, exact=True), (0, 1), 0.5, ""),
    ],
)
def test_a_band_that_could_not_fail_is_weak(band, limits, chance, reason):
    found = ledger.weakness(band, limits, chance)
    assert reason in found
    assert bool(found) == bool(reason)


def test_committed_bands_can_fail(repository):
    records = {}
    for path in (repository / "notebooks").glob("*.ipynb"):
        records |= ledger.records_in(nbformat.read(path, as_version=4))
    bands = ledger.bands(repository / "results" / "ledger.json")
    weak = {
        name
        for name, band in bands.items()
        if name in records
        and ledger.weakness(band, records[name]["limits"], records[name].get("chance"))
    }
    assert not weak


def test_writing_a_lesson_keeps_the_others_and_drops_its_old_names(book):
    band = ledger.calibrate([1, 2, 3], seeds=[0, 1, 2], parameters={})
    ledger.write_bands("04", {"04/b": band, "04/a": band}, book)
    ledger.write_bands("04", {"04/b": band}, book)
    assert list(json.loads(book.read_text())) == ["04/b", "05/test_auc"]
    before = book.read_bytes()
    ledger.write_bands("04", {"04/b": band}, book)
    assert book.read_bytes() == before
    assert [path.name for path in book.parent.iterdir()] == ["ledger.json"]


def test_prose_is_rendered_from_recorded_and_given_values(capsys):
    ledger.record("05/said", 0.8765, PARAMETERS)
    ledger.say("AUC {said:.2f}, {n} images", n=12)
    assert "AUC 0.88, 12 images" in capsys.readouterr().out


def test_prose_with_an_unknown_name_is_refused():
    with pytest.raises(KeyError, match="nothing_like_it"):
        ledger.say("{nothing_like_it}")


def test_parameters_are_compared_as_json_gives_them_back(book):
    band = ledger.calibrate(
        [1, 2, 3], seeds=[0, 1, 2], parameters={"widths": (32, 64), "rate": np.float64(0.5)}
    )
    ledger.write_bands("06", {"06/a": band}, book)
    with pytest.raises(LedgerError):
        ledger.record("06/a", 1e6, {"rate": 0.5, "widths": [32, 64], "seed": 3})

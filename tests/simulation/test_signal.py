import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medlib.simulation.scanner import SITES, random_scan
from medlib.simulation.signal import (
    TISSUE_NAMES,
    TISSUES,
    Tissue,
    inversion_recovery,
    nulling_time,
    spin_echo,
)

times = st.floats(10, 10_000)


@pytest.mark.parametrize("field", TISSUES)
def test_every_tissue_is_known_at_every_field_strength(field):
    assert tuple(TISSUES[field]) == TISSUE_NAMES


def test_spin_echo_after_one_t1_and_one_t2():
    signal = spin_echo(Tissue(800, 80, 0.7), repetition_time_ms=800, echo_time_ms=80)
    assert signal == pytest.approx(0.7 * (1 - 1 / np.e) / np.e)


def test_spin_echo_of_fully_recovered_water_without_delay_is_its_proton_density():
    assert spin_echo(Tissue(900, 70, 0.7), repetition_time_ms=1e6, echo_time_ms=0) == 0.7


def test_inversion_recovery_without_waiting_gives_the_inverted_magnetisation():
    signal = inversion_recovery(
        Tissue(900, 70, 0.7), repetition_time_ms=1e6, echo_time_ms=0, inversion_time_ms=0
    )
    assert signal == pytest.approx(0.7)


@given(t1=st.floats(100, 5000), repetition=times)
def test_nothing_is_left_at_the_nulling_time(t1, repetition):
    signal = inversion_recovery(
        Tissue(t1, 1e9, 1.0),
        repetition_time_ms=repetition,
        echo_time_ms=0,
        inversion_time_ms=nulling_time(t1, repetition),
    )
    assert signal == pytest.approx(0, abs=1e-9)


def test_nulling_time_for_a_long_repetition_time_is_t1_ln_2():
    assert nulling_time(4300) == pytest.approx(4300 * np.log(2))


@given(st.floats(50, 3000), st.floats(50, 3000), times)
def test_the_tissue_that_recovers_faster_is_brighter(t1_a, t1_b, repetition):
    fast, slow = sorted((t1_a, t1_b))
    bright, dark = (
        spin_echo(Tissue(t1, 80, 1.0), repetition_time_ms=repetition, echo_time_ms=10)
        for t1 in (fast, slow)
    )
    assert bright >= dark


@pytest.mark.parametrize("site", SITES, ids=lambda site: site.name)
@pytest.mark.parametrize("seed", range(5))
def test_contrasts_of_the_three_sequences(site, seed):
    _, levels = random_scan(site, np.random.default_rng(seed))
    t1, t2, flair = (dict(zip(TISSUE_NAMES, row, strict=True)) for row in levels)
    assert t1["white"] > t1["grey"] > t1["csf"]
    assert t2["csf"] > t2["grey"] > t2["white"]
    assert flair["csf"] < 0.1 * flair["grey"]
    for tissue in ("tumour", "oedema", "gliosis"):
        assert t1[tissue] < t1["white"]
        assert t2["grey"] < t2[tissue] < t2["csf"]
        assert flair[tissue] > flair["grey"]

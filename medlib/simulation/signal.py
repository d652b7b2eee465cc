"""Signal: what a spin-echo or inversion-recovery sequence measures in each tissue.

References
----------
Bernstein, King and Zhou, Handbook of MRI Pulse Sequences, Elsevier 2004, sections 14.2 (inversion
recovery) and 14.3 (spin echo).
Rooney and others, Magnetic field and tissue dependencies of human brain longitudinal 1H2O
relaxation in vivo, Magnetic Resonance in Medicine 57 (2007) 308-318 (T1 at 1.5 T; T1 of CSF, about
4300 ms at every field strength).
Wright and others, Water proton T1 measurements in brain tissue at 7, 3, and 1.5 T using IR-EPI,
IR-TSE, and MPRAGE, Magnetic Resonance Materials in Physics 21 (2008) 121-130 (T1 at 3 T).
Stanisz and others, T1, T2 relaxation and magnetization transfer in tissue at 3T, Magnetic Resonance
in Medicine 54 (2005) 507-512, table 1 (T2 of grey and white matter at 1.5 and 3 T).
Tofts (editor), Quantitative MRI of the Brain, Wiley 2003, chapter 4 (proton densities: white matter
about 0.70, grey matter about 0.82 of water).
Just and Thelen, Tissue characterization with T1, T2, and proton density values: results in 160
patients with brain tumors, Radiology 169 (1988) 779-785 (tumour and oedema; the values here are
round numbers within the published spread, T1 raised by a fifth at 3 T).
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Tissue:
    """Relaxation times in ms and proton density relative to water."""

    t1_ms: float
    t2_ms: float
    proton_density: float


# Rows of every array of tissue fractions stand in this order.
TISSUE_NAMES = ("grey", "white", "csf", "tumour", "necrosis", "oedema", "gliosis", "vessel")

TISSUES: dict[float, dict[str, Tissue]] = {
    1.5: {
        "grey": Tissue(1188, 95, 0.82),
        "white": Tissue(656, 72, 0.70),
        "csf": Tissue(4300, 2000, 1.00),
        "tumour": Tissue(1200, 125, 0.84),
        "necrosis": Tissue(2300, 260, 0.92),
        "oedema": Tissue(1000, 115, 0.80),
        "gliosis": Tissue(1050, 115, 0.80),
        "vessel": Tissue(1440, 40, 0.40),  # flowing blood leaves the slice: little signal
    },
    3.0: {
        "grey": Tissue(1607, 99, 0.82),
        "white": Tissue(838, 69, 0.70),
        "csf": Tissue(4300, 2000, 1.00),
        "tumour": Tissue(1550, 122, 0.84),
        "necrosis": Tissue(2700, 250, 0.92),
        "oedema": Tissue(1250, 112, 0.80),
        "gliosis": Tissue(1300, 112, 0.80),
        "vessel": Tissue(1930, 40, 0.40),
    },
}


def spin_echo(tissue: Tissue, *, repetition_time_ms: float, echo_time_ms: float) -> float:
    """Signal of a spin-echo sequence: ``PD (1 - exp(-TR/T1)) exp(-TE/T2)``.

    The echo time is short against the repetition time (Bernstein, section 14.3).

    Parameters
    ----------
    tissue : Tissue
    repetition_time_ms, echo_time_ms : float

    Returns
    -------
    float
        In units of the signal of fully recovered water.
    """
    recovered = 1 - np.exp(-repetition_time_ms / tissue.t1_ms)
    return float(tissue.proton_density * recovered * np.exp(-echo_time_ms / tissue.t2_ms))


def inversion_recovery(
    tissue: Tissue, *, repetition_time_ms: float, echo_time_ms: float, inversion_time_ms: float
) -> float:
    """Magnitude of an inversion-recovery spin echo.

    ``PD |1 - 2 exp(-TI/T1) + exp(-TR/T1)| exp(-TE/T2)`` (Bernstein, section 14.2). FLAIR is this
    sequence with an inversion time at which CSF has no signal.

    Parameters
    ----------
    tissue : Tissue
    repetition_time_ms, echo_time_ms, inversion_time_ms : float

    Returns
    -------
    float
        In units of the signal of fully recovered water.
    """
    recovered = (
        1
        - 2 * np.exp(-inversion_time_ms / tissue.t1_ms)
        + np.exp(-repetition_time_ms / tissue.t1_ms)
    )
    return float(tissue.proton_density * abs(recovered) * np.exp(-echo_time_ms / tissue.t2_ms))


def nulling_time(t1_ms: float, repetition_time_ms: float = np.inf) -> float:
    """Inversion time in ms at which a tissue gives no signal.

    ``T1 (ln 2 - ln(1 + exp(-TR/T1)))``; T1 ln 2 for a long repetition time.

    Parameters
    ----------
    t1_ms, repetition_time_ms : float

    Returns
    -------
    float
    """
    return float(t1_ms * (np.log(2) - np.log1p(np.exp(-repetition_time_ms / t1_ms))))

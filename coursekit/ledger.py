r"""Record a measured number, and fail when it leaves the band that several seeds gave.

A number that comes from training differs from seed to seed, and a little from machine to machine. A
lesson records it with :func:`record`, which compares it with the band in ``results/ledger.json``;
``course calibrate NN`` writes that band from ten runs. Prose about such a number is
rendered from the recorded value by :func:`say`, so text and measurement cannot disagree.

The band is a 99 % prediction interval for *one more run*: with mean :math:`m` and standard
deviation :math:`s` of :math:`n` runs,

.. math:: m \pm t_{0.995,\,n-1} \; s \sqrt{1 + 1/n}

[1]_, clipped to the values the number can take, and widened where needed so that it holds every
value seen. A number that was the same for all seeds is exact: its band is the value with a relative
tolerance of 1e-6.

References
----------
.. [1] W. Q. Meeker, G. J. Hahn, L. A. Escobar (2017). Statistical Intervals: A Guide for
   Practitioners and Researchers, 2nd edition, Wiley. Section 4.7, prediction interval for one
   future observation of a normal distribution.
"""

import json
import math
import os
import re
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path

from medlib import files
from medlib.errors import LedgerError, UsageError

RECORD_MIME = "application/vnd.medlib.record+json"
EXACT_TOLERANCE = 1e-6
CONFIDENCE = 0.99

_recorded: dict[str, float] = {}  # what this session has recorded, for say()


@dataclass(frozen=True)
class Band:
    """Where a recorded number is expected, and what that expectation rests on.

    Parameters
    ----------
    low, high : float
        A value outside is an error.
    mean, sd : float
        Of the runs the band was calibrated with (``sd`` with n - 1).
    n : int
        Number of runs.
    seeds : list of int
    exact : bool
        All runs gave the same value.
    parameters : dict
        The lesson's parameters, without the seed. With others the band says nothing.
    """

    low: float
    high: float
    mean: float
    sd: float
    n: int
    seeds: list[int]
    exact: bool
    parameters: dict

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


def record(
    name: str,
    value: float,
    parameters: dict,
    *,
    limits: tuple[float, float] | None = None,
    chance: float | None = None,
) -> None:
    """Record a number measured by a lesson, and check it against its band.

    Parameters
    ----------
    name : str
        ``"05/test_auc"``: the lesson's number and what was measured.
    value : float
    parameters : dict
        The lesson's parameters. The band holds for the ones it was calibrated with, whatever the
        seed; with others the number is recorded and not compared.
    limits : tuple of float, optional
        The lowest and highest possible value, such as (0, 1) for an accuracy. The band is clipped
        to them.
    chance : float, optional
        What comes out if nothing has been learnt, such as 0.5 for an AUC. A band that holds it
        would prove nothing: ``course calibrate`` refuses it.

    Raises
    ------
    LedgerError
        If the value is not finite, outside its limits or outside its band.
    UsageError
        If the name is not of the form ``"05/test_auc"``.
    """
    if not re.fullmatch(r"\d\d/[a-z][a-z0-9_]*", name):
        raise UsageError(f"record({name!r})", expected='a name like "05/test_auc"')
    number = float(value)
    low, high = limits or (-math.inf, math.inf)
    if not (math.isfinite(number) and low <= number <= high):
        expected = f"a number from {low:g} to {high:g}" if limits else "a finite number"
        raise LedgerError(name, expected=expected, found=f"{number:g}")
    parameters = _plain(parameters)
    known = bands().get(name)
    band = known if known and known.parameters == _without_seed(parameters) else None
    if band:
        comparison = f"99 % band {band.low:.4g} to {band.high:.4g}, {band.n} seeds"
    elif known:
        comparison = "no band for these parameters"
    else:
        comparison = "no band yet" if ledger_path() else "no band here"
    _recorded[name.split("/")[1]] = number
    content = {"name": name, "value": number, "parameters": parameters}
    content |= {"limits": list(limits) if limits else None, "chance": chance}
    content["band"] = [band.low, band.high] if band else None
    show({RECORD_MIME: content}, f"{name} = {number:.4g} ({comparison})")
    if band and number not in band:
        expected = f"{band.low:.4g} to {band.high:.4g}, as {band.n} seeds gave"
        advice = "If the change is meant, calibrate the lesson again and say why in the commit: "
        advice += f"course calibrate {name[:2]}"
        raise LedgerError(name, expected=expected, found=f"{number:.4g}", advice=advice)


def say(template: str, **values) -> None:
    """Display a sentence in Markdown whose numbers are the measured ones.

    Parameters
    ----------
    template : str
        For :meth:`str.format`: ``"The test AUC is {test_auc:.2f}."``
    **values
        What the names stand for. A name that is not given is looked up among the numbers recorded
        in this session: ``test_auc`` is the one recorded as ``"05/test_auc"``.

    Raises
    ------
    KeyError
        If a name in the template is neither given nor recorded.
    """
    text = template.format_map(_recorded | values)
    show({"text/markdown": text}, text)


def show(content: dict, text: str) -> None:
    """Display something in a notebook; elsewhere print its text.

    Parameters
    ----------
    content : dict
        What is displayed, by MIME type.
    text : str
        The same, as plain text.
    """
    import IPython

    if IPython.get_ipython() is None:
        print(text)
    else:
        IPython.display.display(content | {"text/plain": text}, raw=True)


def ledger_path() -> Path | None:
    """Return ``results/ledger.json`` of the checkout medlib runs from; None where there is none."""
    path = Path(__file__).resolve().parents[1] / "results" / "ledger.json"
    return path if path.is_file() else None


def bands(path: Path | None = None) -> dict[str, Band]:
    """Read the bands: none where medlib is installed without its repository.

    Parameters
    ----------
    path : Path, optional
        The ledger; default that of the checkout medlib runs from.

    Returns
    -------
    dict of str to Band
        While a lesson is being calibrated (``MEDLIB_CALIBRATE`` is set) there are none.
    """
    path = path or ledger_path()
    if path is None or os.environ.get("MEDLIB_CALIBRATE"):
        return {}
    content = json.loads(path.read_text(encoding="utf-8"))
    return {name: Band(**entry) for name, entry in content.items()}


def calibrate(
    values: list[float],
    *,
    seeds: list[int],
    parameters: dict,
    limits: tuple[float, float] | None = None,
) -> Band:
    """Compute the band of a number from what several seeds gave.

    Parameters
    ----------
    values : list of float
        One for each seed, three or more: fewer say nothing about spread.
    seeds : list of int
    parameters : dict
        The lesson's parameters; the seed is left out.
    limits : tuple of float, optional
        The values the number can take.

    Returns
    -------
    Band
    """
    from scipy.stats import t

    mean, sd = statistics.mean(values), statistics.stdev(values)
    quantile = float(t.ppf((1 + CONFIDENCE) / 2, len(values) - 1))
    half = quantile * sd * math.sqrt(1 + 1 / len(values))
    if sd == 0:
        half = EXACT_TOLERANCE * abs(mean)
    lowest, highest = limits or (-math.inf, math.inf)
    return Band(
        low=min(max(mean - half, lowest), *values),
        high=max(min(mean + half, highest), *values),
        mean=mean,
        sd=sd,
        n=len(values),
        seeds=list(seeds),
        exact=sd == 0,
        parameters=_without_seed(_plain(parameters)),
    )


def weakness(band: Band, limits: tuple[float, float] | None, chance: float | None) -> str:
    """Say why a band proves nothing, because hardly any run would end outside of it.

    Parameters
    ----------
    band : Band
        An exact one is never weak.
    limits, chance
        As for :func:`record`.

    Returns
    -------
    str
        Empty if the band does not hold chance level and spans at most a third of what is possible.
    """
    found = f"{band.low:.4g} to {band.high:.4g}"
    if band.exact:
        return ""
    if chance is not None and chance in band:
        return f"{found} holds {chance:.4g}, which is chance level"
    if limits and band.high - band.low > (limits[1] - limits[0]) / 3:
        return f"{found} is more than a third of {limits[0]:g} to {limits[1]:g}"
    return ""


def write_bands(lesson: str, new: dict[str, Band], path: Path) -> None:
    """Put a lesson's bands into the ledger; those of other lessons stay as they are.

    Parameters
    ----------
    lesson : str
        Number of the lesson, such as "05". Its old bands are dropped.
    new : dict of str to Band
    path : Path
        The ledger, made if it is not there.
    """
    others = bands(path) if path.is_file() else {}
    kept = {name: band for name, band in others.items() if not name.startswith(f"{lesson}/")}
    content = {name: asdict(band) for name, band in sorted((kept | new).items())}
    path.parent.mkdir(exist_ok=True)
    with files.replacing(path) as partial:
        partial.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def records_in(notebook) -> dict[str, dict]:
    """Collect what an executed notebook recorded.

    Parameters
    ----------
    notebook : NotebookNode

    Returns
    -------
    dict of str to dict
        By name: ``name``, ``value``, ``parameters``, ``limits``, ``chance``, ``band``.
    """
    outputs = (output for cell in notebook.cells for output in cell.get("outputs", []))
    contents = (output.get("data", {}).get(RECORD_MIME) for output in outputs)
    return {content["name"]: content for content in contents if content}


def _plain(parameters: dict) -> dict:
    """Return the parameters as JSON gives them back: tuples are lists, NumPy numbers numbers."""
    return json.loads(json.dumps(parameters, default=lambda value: value.item()))


def _without_seed(parameters: dict) -> dict:
    return {name: value for name, value in parameters.items() if name != "seed"}

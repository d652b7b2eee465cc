"""Facts about the data sets there are, read from the cards: ``cards/NAME.md``."""

import difflib
import functools
import tomllib
from dataclasses import dataclass
from importlib import resources

from medlib.datasets.structure import About
from medlib.errors import UsageError

_NAMES = ("simbrain", "breastmnist", "pneumoniamnist", "retinamnist", "bloodmnist", "pathmnist")


@dataclass(frozen=True)
class RemoteFile:
    """A published file: its name, its address and the MD5 sum given by those who published it."""

    name: str
    address: str
    md5: str


@dataclass(frozen=True, kw_only=True)
class DatasetInfo(About):
    """What is known about a data set without opening it.

    Parameters
    ----------
    name, class_names, channel_names, licence, citation, card, official_split
        As of :class:`medlib.datasets.structure.About`; :func:`medlib.datasets.load` knows the set
        by its name, and the card is in Markdown.
    title, modality, task, source : str
        ``source`` is the address of the page that publishes it.
    counts : dict of str to int
        Images of each split.
    sizes : tuple of int
        Side lengths in pixels that can be loaded; the first is the default.
    files : dict of int to RemoteFile
        The published file of each size; empty for a set that is made here.
    published_labels : tuple of int
        The label here of each label in the files; empty: the same.
    """

    title: str
    modality: str
    task: str
    source: str
    counts: dict[str, int]
    sizes: tuple[int, ...]
    files: dict[int, RemoteFile]
    published_labels: tuple[int, ...] = ()

    @property
    def section(self) -> str:
        """The facts as a Markdown table, and the card."""
        counts = ", ".join(f"{count:,} {split}" for split, count in self.counts.items())
        rows = {
            "load": f'`datasets.load("{self.name}")`',
            "images": f"{self.modality}; {counts}",
            "sizes": ", ".join(map(str, self.sizes)) + " px" if self.files else "any",
            "channels": ", ".join(self.channel_names),
            "classes": ", ".join(f"{label} {name}" for label, name in enumerate(self.class_names)),
            "task": self.task,
            "source": self.source,
            "licence": self.licence,
            "citation": self.citation,
        }
        table = "\n".join(f"| {key} | {value} |" for key, value in rows.items())
        return f"## {self.title}\n\n| | |\n|---|---|\n{table}\n\n{self.card}"


def names() -> tuple[str, ...]:
    """Return the names that :func:`medlib.datasets.load` knows."""
    return _NAMES


@functools.cache
def info(name: str) -> DatasetInfo:
    """Return the facts about a data set.

    Raises
    ------
    UsageError
        If there is no data set of that name.
    """
    if name not in _NAMES:
        near = difflib.get_close_matches(name.lower(), _NAMES, n=1)
        own = "Images of your own: give a CSV file or a folder that is there"
        advice = f"Did you mean {near[0]}?" if near else own
        known = f"one of {', '.join(_NAMES)}"
        raise UsageError("data set", expected=known, found=repr(name), advice=advice)
    _, front, card = _read(name).split("+++\n", 2)
    facts = tomllib.loads(front)
    files = {}
    for size, md5 in facts.pop("md5", {}).items():
        file = f"{name}.npz" if size == "28" else f"{name}_{size}.npz"
        address = f"{facts['source']}/files/{file}?download=1"
        files[int(size)] = RemoteFile(file, address, md5)
    facts = {key: tuple(fact) if isinstance(fact, list) else fact for key, fact in facts.items()}
    own = {"name": name, "card": card.strip(), "files": files, "official_split": bool(files)}
    return DatasetInfo(**facts, **own)


def readme() -> str:
    """Return data/README.md: every card with the facts that belong to it.

    ``medlib data cards > data/README.md`` writes it.
    """
    return "\n\n".join([_read("start").strip(), *(info(name).section for name in names())]) + "\n"


def _read(card: str) -> str:
    return resources.files("medlib.datasets").joinpath("cards", f"{card}.md").read_text("utf-8")

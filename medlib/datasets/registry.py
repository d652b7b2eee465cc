"""Facts about the data sets there are: where they come from, what is in them, who may use them."""

from dataclasses import dataclass, field
from importlib import resources

from medlib.errors import UsageError

MEDMNIST_CITATION = (
    "Yang et al., MedMNIST v2: a large-scale lightweight benchmark for 2D and 3D biomedical image "
    "classification, Scientific Data 10 (2023) 41, doi 10.1038/s41597-022-01721-8"
)
MEDMNIST_RECORD = "https://zenodo.org/records/10519652"


@dataclass(frozen=True)
class RemoteFile:
    """A published file: its address and the MD5 sum given by those who published it."""

    address: str
    md5: str

    @property
    def name(self) -> str:
        """The file's name, such as ``breastmnist_64.npz``."""
        return self.address.partition("?")[0].rpartition("/")[2]


@dataclass(frozen=True)
class DatasetInfo:
    """What is known about a data set without opening it.

    Parameters
    ----------
    name : str
        What :func:`medlib.datasets.load` calls it.
    title, modality, task, source, licence, citation : str
        ``source`` is the address of the page that publishes it.
    class_names, channel_names : tuple of str
    counts : dict of str to int
        Images of each split.
    sizes : tuple of int
        Side lengths in pixels that can be loaded; the first is the default.
    files : dict of int to RemoteFile
        The published file of each size; empty for a set that is made here.
    """

    name: str
    title: str
    modality: str
    task: str
    class_names: tuple[str, ...]
    channel_names: tuple[str, ...]
    counts: dict[str, int]
    sizes: tuple[int, ...]
    source: str
    licence: str
    citation: str
    files: dict[int, RemoteFile] = field(default_factory=dict)

    @property
    def card(self) -> str:
        """What a user should read before drawing conclusions, in Markdown."""
        card = resources.files("medlib.datasets").joinpath("cards", f"{self.name}.md")
        return card.read_text(encoding="utf-8").strip()

    @property
    def section(self) -> str:
        """The facts as a Markdown table, and the card."""
        counts = ", ".join(f"{count:,} {split}" for split, count in self.counts.items())
        classes = ", ".join(f"{label} {name}" for label, name in enumerate(self.class_names))
        rows = {
            "load": f'`datasets.load("{self.name}")`',
            "images": f"{self.modality}; {counts}",
            "sizes": ", ".join(map(str, self.sizes)) + " px" if self.files else "any",
            "channels": ", ".join(self.channel_names),
            "classes": classes,
            "task": self.task,
            "source": self.source,
            "licence": self.licence,
            "citation": self.citation,
        }
        table = "\n".join(f"| {key} | {value} |" for key, value in rows.items())
        return f"## {self.title}\n\n| | |\n|---|---|\n{table}\n\n{self.card}"


def names() -> tuple[str, ...]:
    """Return the names that :func:`medlib.datasets.load` knows."""
    return tuple(_REGISTRY)


def info(name: str) -> DatasetInfo:
    """Return the facts about a data set.

    Raises
    ------
    UsageError
        If there is no data set of that name.
    """
    if name not in _REGISTRY:
        advice = "Images of your own: give a CSV file or a folder"
        raise UsageError(
            "data set", expected=f"one of {', '.join(_REGISTRY)}", found=repr(name), advice=advice
        )
    return _REGISTRY[name]


def readme() -> str:
    """Return data/README.md: every card with the facts that belong to it.

    ``medlib data cards > data/README.md`` writes it.
    """
    return "\n\n".join([_README_START, *(info(name).section for name in names())]) + "\n"


_README_START = """\
# Data cards

<!-- Made by `medlib data cards > data/README.md` from medlib/datasets/cards -->

What each data set is, who may use it, and what it cannot show. `data/cache/` holds what was made or
downloaded here; it is not under version control and can be deleted at any time.

The public sets are fetched when first used (`medlib data fetch NAME`), from the address and with
the hash that their authors published. On a machine without network, put the `.npz` file into any
folder and set the environment variable `MEDLIB_DATA` to that folder.

None of this data is fit for clinical use."""


def _medmnist(
    name: str,
    title: str,
    *,
    modality: str,
    class_names: tuple[str, ...],
    channel_names: tuple[str, ...],
    counts: tuple[int, int, int],
    md5: dict[int, str],
    citation: str,
    task: str = "classification",
) -> DatasetInfo:
    addresses = {
        size: f"{MEDMNIST_RECORD}/files/{name}{'' if size == 28 else f'_{size}'}.npz?download=1"
        for size in md5
    }
    return DatasetInfo(
        name=name,
        title=title,
        modality=modality,
        task=task,
        class_names=class_names,
        channel_names=channel_names,
        counts=dict(zip(("train", "validation", "test"), counts, strict=True)),
        sizes=tuple(md5),
        source=MEDMNIST_RECORD,
        licence="CC BY 4.0",
        citation=f"{citation}; {MEDMNIST_CITATION}",
        files={size: RemoteFile(addresses[size], md5[size]) for size in md5},
    )


_COLOURS = ("red", "green", "blue")
_REGISTRY = {
    facts.name: facts
    for facts in (
        DatasetInfo(
            name="simbrain",
            title="simbrain: simulated brain MR",
            modality="simulated brain MR slices of 600 virtual subjects",
            task="classification, with exact masks",
            class_names=("normal", "tumour"),
            channel_names=("T1", "T2", "FLAIR"),
            counts={"train": 1680, "validation": 360, "test": 360},
            sizes=(64,),
            source="made here, by medlib.simulation, from the ICBM152 template in nilearn",
            licence="CC BY 4.0; the template's own licence is in the card",
            citation="this repository (CITATION.cff); the template: see the card",
        ),
        _medmnist(
            "breastmnist",
            "BreastMNIST: breast ultrasound",
            modality="breast ultrasound",
            class_names=("malignant", "normal or benign"),
            channel_names=("ultrasound",),
            counts=(546, 78, 156),
            md5={
                28: "750601b1f35ba3300ea97c75c52ff8f6",
                64: "742edef2a1fd1524b2efff4bd7ba9364",
                128: "363e4b3f8d712e9b5de15470a2aaadf1",
                224: "b56378a6eefa9fed602bb16d192d4c8b",
            },
            citation="Al-Dhabyani et al., Dataset of breast ultrasound images, Data in Brief 28 "
            "(2020) 104863, doi 10.1016/j.dib.2019.104863",
        ),
        _medmnist(
            "pneumoniamnist",
            "PneumoniaMNIST: chest X-rays of children",
            modality="chest X-ray",
            class_names=("normal", "pneumonia"),
            channel_names=("X-ray",),
            counts=(4708, 524, 624),
            md5={
                28: "28209eda62fecd6e6a2d98b1501bb15f",
                64: "8f4eceb4ccffa70c672198ea285246c6",
                128: "05b46931834c231683c68f40c47b2971",
                224: "d6a3c71de1b945ea11211b03746c1fe1",
            },
            citation="Kermany et al., Identifying medical diagnoses and treatable diseases by "
            "image-based deep learning, Cell 172 (2018) 1122-1131, "
            "doi 10.1016/j.cell.2018.02.010",
        ),
        _medmnist(
            "retinamnist",
            "RetinaMNIST: diabetic retinopathy",
            modality="fundus photograph",
            task="ordinal grading (five grades in order)",
            class_names=("no retinopathy", "mild", "moderate", "severe", "proliferative"),
            channel_names=_COLOURS,
            counts=(1080, 120, 400),
            md5={
                28: "bd4c0672f1bba3e3a89f0e4e876791e4",
                64: "afda852cc34dcda56f86ad2b2457dbcc",
                128: "e48e916a24454daf90583d4e6efb1a18",
                224: "eae7e3b6f3fcbda4ae613ebdcbe35348",
            },
            citation="Liu et al., DeepDRiD: diabetic retinopathy grading and image quality "
            "estimation challenge, Patterns 3 (2022) 100512, doi 10.1016/j.patter.2022.100512",
        ),
        _medmnist(
            "bloodmnist",
            "BloodMNIST: blood cells",
            modality="blood smear microscopy",
            class_names=(
                "basophil",
                "eosinophil",
                "erythroblast",
                "immature granulocyte",
                "lymphocyte",
                "monocyte",
                "neutrophil",
                "platelet",
            ),
            channel_names=_COLOURS,
            counts=(11959, 1712, 3421),
            md5={
                28: "7053d0359d879ad8a5505303e11de1dc",
                64: "2b94928a2ae4916078ca51e05b6b800b",
                128: "adace1e0ed228fccda1f39692059dd4c",
                224: "b718ff6835fcbdb22ba9eacccd7b2601",
            },
            citation="Acevedo et al., A dataset of microscopic peripheral blood cell images for "
            "development of automatic recognition systems, Data in Brief 30 (2020) 105474, "
            "doi 10.1016/j.dib.2020.105474",
        ),
        _medmnist(
            "pathmnist",
            "PathMNIST: colorectal cancer histology",
            modality="haematoxylin and eosin histology",
            class_names=(
                "adipose",
                "background",
                "debris",
                "lymphocytes",
                "mucus",
                "smooth muscle",
                "normal colon mucosa",
                "cancer-associated stroma",
                "colorectal adenocarcinoma epithelium",
            ),
            channel_names=_COLOURS,
            counts=(89996, 10004, 7180),
            md5={
                28: "a8b06965200029087d5bd730944a56c1",
                64: "55aa9c1e0525abe5a6b9d8343a507616",
                128: "ac42d08fb904d92c244187169d1fd1d9",
                224: "2c51a510bcdc9cf8ddb2af93af1eadec",
            },
            citation="Kather et al., Predicting survival from colorectal cancer histology slides "
            "using deep learning, PLoS Medicine 16 (2019) e1002730, "
            "doi 10.1371/journal.pmed.1002730",
        ),
    )
}

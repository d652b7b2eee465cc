"""simbrain, the data set that is always there: simulated patients, made once, kept in the cache.

Cached files are compressed pickles, whose checksum tells of damage but not of intent: let nobody
whom you do not trust write to the cache folder.
"""

import functools
import hashlib
import warnings
from pathlib import Path

import joblib
import numpy as np

from medlib import simulation
from medlib.datasets import download
from medlib.datasets.registry import info
from medlib.datasets.structure import MedicalDataset, Split
from medlib.errors import UsageError
from medlib.files import replacing
from medlib.preprocessing import boxes_from_mask, split_by_subject
from medlib.preprocessing.splitting import SPLIT_NAMES
from medlib.simulation.cohort import DEFAULT, Cohort, Difficulty, simulate_cohort

FEWEST_SUBJECTS = 20  # so that every split has some of both kinds
NEW_PATIENTS = (1,)  # key of their random numbers; the default cohorts' is empty


def load_simbrain(
    *,
    image_size: int = 64,
    n_subjects: int = 600,
    slices_per_subject: int = 4,
    depth: int | None = None,
    difficulty: Difficulty = DEFAULT,
    seed: int = 0,
    workers: int | None = None,
) -> MedicalDataset:
    """Load brain MR slices of virtual patients, half of them with a tumour.

    The first call simulates the cohort and keeps it in the cache folder; later ones read it. A
    cached file that is damaged is made again, and a cache folder that cannot be used is done
    without, both with a warning.

    Parameters
    ----------
    image_size : int
        Height and width in pixels, 32 to 512.
    n_subjects : int
        At least 20, so that every split has some of both kinds.
    slices_per_subject : int
        Slices, or stacks.
    depth : int, optional
        Stacks of this many consecutive slices, 4 mm apart: images of shape
        (n, depth, height, width, 3). The table and the boxes describe the slice in the middle.
    difficulty : medlib.simulation.cohort.Difficulty
        How hard tumours are to see.
    seed : int
        Which cohort, and how it is split.
    workers : int, optional
        Processes for the simulation, see :func:`simulate_cohort`. They do not change the result.

    Returns
    -------
    MedicalDataset
        Channels T1, T2, FLAIR. A slice is labelled "tumour" if its mask is not empty, a stack if
        any of its slices' is. Split by subject: 70, 15 and 15 %.

    Raises
    ------
    UsageError
        If a number is out of range.
    """
    if n_subjects < FEWEST_SUBJECTS:
        expected = f"{FEWEST_SUBJECTS} or more, so that every split has both kinds"
        raise UsageError("n_subjects", expected=expected, found=f"{n_subjects}")
    shape = {"slices_per_subject": slices_per_subject, "image_size": image_size, "depth": depth}
    shape["difficulty"] = difficulty
    cohort = _cached_cohort(workers, n_subjects=n_subjects, seed=seed, **shape)
    labels = _labels(cohort.masks)
    chosen = split_by_subject(cohort.table["subject"].to_numpy(), labels, seed=seed)
    splits = {name: _as_split(cohort, np.flatnonzero(chosen == name)) for name in SPLIT_NAMES}
    return MedicalDataset(**splits, **info("simbrain").about)


def new_patients(
    seed: int,
    *,
    n_subjects: int = 90,
    slices_per_subject: int = 4,
    image_size: int = 64,
    depth: int | None = None,
    difficulty: Difficulty = DEFAULT,
) -> Split:
    """Draw virtual patients whom no lesson and no reader has seen, half of them with a tumour.

    They are what a network is tested on at the end. Their random numbers come from another stream
    than those of :func:`load_simbrain`, so none of them is in any of its cohorts, whatever the
    seeds. They are cached in the same way.

    Parameters
    ----------
    seed : int
        Other seeds, other patients.
    n_subjects : int
    slices_per_subject, image_size, depth, difficulty
        As for :func:`load_simbrain`.

    Returns
    -------
    Split
        Labels are 0 for normal and 1 for tumour; subjects are named "new-SEED-0000" and so on.

    Raises
    ------
    UsageError
        If a number is out of range.
    """
    shape = {"slices_per_subject": slices_per_subject, "image_size": image_size, "depth": depth}
    shape["difficulty"] = difficulty
    cohort = _cached_cohort(n_subjects=n_subjects, seed=seed, stream=NEW_PATIENTS, **shape)
    subjects = cohort.table["subject"].str.replace("sub-", f"new-{seed}-")
    return _as_split(Cohort(cohort.images, cohort.masks, cohort.table.assign(subject=subjects)))


def cache_path(parameters: dict) -> Path:
    """Where the cohort with these parameters is kept: the name tells them and the code's version.

    Parameters
    ----------
    parameters : dict
        Arguments of :func:`medlib.simulation.cohort.simulate_cohort` that change its result.

    Returns
    -------
    Path
    """
    key = joblib.hash((parameters, simulation_version()))
    return download.cache_folder() / f"simbrain-{key}.pkl"


@functools.cache
def simulation_version() -> str:
    """Digest of the simulation's source code: a change to it makes every cached cohort stale."""
    sources = sorted(Path(simulation.__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()


def _cached_cohort(workers: int | None = None, **parameters) -> Cohort:
    """Read the cohort with these parameters, or make and keep it."""
    path = cache_path(parameters)
    try:
        return joblib.load(path)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except Exception as error:  # a damaged pickle may raise whatever it likes
        warnings.warn(f"{path}: damaged or not readable ({error!r}); made again", stacklevel=3)
    cohort = simulate_cohort(**parameters, workers=workers)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial:
            # zlib, because it ends in a checksum of all that went in; 3 is as good as the default.
            joblib.dump(cohort, partial, compress=("zlib", 3))
    except OSError as error:
        warnings.warn(f"{path}: cannot be written ({error.strerror}); not cached", stacklevel=3)
    return cohort


def _labels(masks: np.ndarray) -> np.ndarray:
    return masks.reshape(len(masks), -1).any(axis=1).astype(np.int64)


def _as_split(cohort: Cohort, rows: np.ndarray | slice = slice(None)) -> Split:
    images = cohort.images[rows].astype(np.float32)
    images /= 255
    masks = cohort.masks[rows]
    table = cohort.table.iloc[rows].reset_index(drop=True)
    boxes = np.empty(len(masks), object)
    for row, mask in enumerate(masks):
        boxes[row] = boxes_from_mask(mask[len(mask) // 2] if masks.ndim == 4 else mask)
    return Split(
        images=images,
        labels=_labels(masks),
        masks=masks.astype(np.int8),
        boxes=boxes,
        subjects=table["subject"].to_numpy().astype("U"),
        table=table,
    )

"""simbrain, the data set that is always there: a simulated cohort, made once, kept in the cache."""

import functools
import hashlib
import io
import json
import os
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd

from medlib.datasets import download
from medlib.datasets.registry import info
from medlib.datasets.structure import MedicalDataset, Split
from medlib.preprocessing.splitting import split_by_subject
from medlib.simulation import cohort as simulation
from medlib.simulation.cohort import FIELD_OF_VIEW_MM, SLICE_GAP_MM, Cohort, simulate_cohort

FILE_MARK = b"medlib simbrain 1\n"
PROGRESS_AFTER_SECONDS = 2.0


def load_simbrain(
    *,
    image_size: int = 64,
    n_subjects: int = 600,
    slices_per_subject: int = 4,
    depth: int | None = None,
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
        (n, depth, height, width, 3). The table describes the slice in the middle.
    seed : int
        Which cohort, and how it is split.
    workers : int, optional
        Processes for the simulation; all cores by default. It does not change the result.

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
    parameters = {
        "n_subjects": n_subjects,
        "slices_per_subject": slices_per_subject,
        "image_size": image_size,
        "depth": depth,
        "seed": seed,
    }
    simulation.check_parameters(**parameters, fewest_subjects=20)
    path = cache_path(parameters)
    cohort = _read(path)
    if cohort is None:
        with _progress(n_subjects) as progress:
            cohort = simulate_cohort(**parameters, workers=workers, progress=progress)
        _write(path, cohort)
    return _dataset(cohort, depth=depth, seed=seed)


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
    text = json.dumps([parameters, simulation_version()], sort_keys=True, default=int)
    key = hashlib.sha256(text.encode()).hexdigest()[:20]
    return download.cache_folder() / f"simbrain-{key}.cohort"


@functools.cache
def simulation_version() -> str:
    """Digest of the simulation's source code: a change to it makes every cached cohort stale."""
    digest = hashlib.sha256(FILE_MARK)
    for path in sorted(Path(simulation.__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _dataset(cohort: Cohort, *, depth: int | None, seed: int) -> MedicalDataset:
    labels = cohort.masks.reshape(len(cohort.masks), -1).any(axis=1).astype(np.int64)
    subjects = cohort.table["subject"].to_numpy().astype("U")
    chosen = split_by_subject(subjects, labels, seed=seed)
    splits = {}
    for name in ("train", "validation", "test"):
        rows = np.flatnonzero(chosen == name)
        images = cohort.images[rows].astype(np.float32)
        images /= 255
        table = cohort.table.iloc[rows].reset_index(drop=True)
        splits[name] = Split(images, labels[rows], cohort.masks[rows], subjects[rows], table)
    facts = info("simbrain")
    pixel = FIELD_OF_VIEW_MM / cohort.images.shape[-2]
    return MedicalDataset(
        name="simbrain",
        **splits,
        class_names=facts.class_names,
        channel_names=facts.channel_names,
        spacing_mm=(SLICE_GAP_MM, pixel, pixel) if depth else (pixel, pixel),
        licence=facts.licence,
        citation=facts.citation,
        card=facts.card,
    )


def _read(path: Path) -> Cohort | None:
    """Return the cached cohort, or None if there is none that is whole."""
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        warnings.warn(f"{path}: cannot be read ({error.strerror}); made again", stacklevel=3)
        return None
    mark, digest, payload = _parts(content)
    if mark != FILE_MARK or hashlib.sha256(payload).hexdigest().encode() != digest:
        warnings.warn(f"{path}: damaged, its checksum is wrong; made again", stacklevel=3)
        return None
    with np.load(io.BytesIO(payload), allow_pickle=False) as arrays:
        images = arrays["images"]
        shape = images.shape[:-1]
        masks = np.unpackbits(arrays["masks"], count=int(np.prod(shape))).view(bool).reshape(shape)
        names = [str(name) for name in arrays["columns"]]
        table = pd.DataFrame({name: arrays[f"table/{name}"].tolist() for name in names})
    return Cohort(images, masks, table)


def _write(path: Path, cohort: Cohort) -> None:
    """Keep a cohort; the file has its name only once it is whole."""
    columns = {f"table/{name}": np.array(cohort.table[name].tolist()) for name in cohort.table}
    payload = io.BytesIO()
    np.savez(
        payload,
        images=cohort.images,
        masks=np.packbits(cohort.masks),
        columns=np.array(list(cohort.table), dtype="U"),
        **columns,
    )
    digest = hashlib.sha256(payload.getbuffer()).hexdigest().encode()
    partial = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=path.stem, suffix=".partial", delete=False
        ) as file:
            partial = Path(file.name)
            file.write(FILE_MARK + digest + b"\n")
            file.write(payload.getbuffer())
        os.replace(partial, path)
    except OSError as error:
        warnings.warn(f"{path}: cannot be written ({error.strerror}); not cached", stacklevel=3)
    finally:
        if partial is not None:
            partial.unlink(missing_ok=True)


def _parts(content: bytes) -> tuple[bytes, bytes, memoryview]:
    start = len(FILE_MARK) + 65
    head = content[:start]
    if not head.endswith(b"\n"):
        return b"", b"", memoryview(b"")
    return head[: len(FILE_MARK)], head[len(FILE_MARK) : -1], memoryview(content)[start:]


@contextmanager
def _progress(n_subjects: int) -> Iterator:
    """A bar on stderr, where that is a terminal and the work takes longer than two seconds."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    with Progress(console=console, auto_refresh=False, transient=True) as bar:
        task = bar.add_task("simulating patients", total=n_subjects, visible=False)
        start = time.monotonic()

        def advance(subjects: int) -> None:
            late = time.monotonic() - start > PROGRESS_AFTER_SECONDS
            bar.update(task, advance=subjects, visible=late, refresh=late)

        yield advance

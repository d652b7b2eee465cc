"""Cohort: virtual patients by number, each from its own seed."""

import functools
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from medlib.errors import UsageError
from medlib.simulation.anatomy import Head, Template, load_template, random_head, scanner_grid
from medlib.simulation.scanner import SITES, acquire, random_scan
from medlib.simulation.signal import TISSUE_NAMES
from medlib.simulation.tumour import (
    CORE_CONCENTRATION,
    GRADES,
    VISIBLE_CONCENTRATION,
    Tumour,
    random_tumour,
    visible_tumour,
)

FIELD_OF_VIEW_MM = 208.0
SLICE_GAP_MM = 4.0  # between the slices of a stack
LEAST_IMAGE_SIZE, LARGEST_IMAGE_SIZE = 32, 512

# How hard the data set is depends on the numbers from here to BLOB_REACH, on the sites' noise and
# bias in scanner.py, and on nothing else: benchmarks/difficulty.py measures it.
AGE_YEARS = (20.0, 85.0)
RADIUS_MM = (8.5, 22.5)  # of the ball with a tumour's volume
CONTRAST = (0.6, 1.0)  # share of the tissue that a tumour replaces where it is visible
GRADE_SHARES = {2: 0.3, 3: 0.3, 4: 0.4}
LEAST_DIAMETER_MM = 8.0  # slices are chosen where the tumour is at least as wide as this
TUMOUR_HEIGHT_MM = (-15.0, 50.0)  # in template space: the cerebrum without its poles

SPOTS = (200.0, 450.0)  # expected number of white-matter spots at the ages of AGE_YEARS
SPOT_RADIUS_MM = (1.5, 4.5)
SPOT_CONTRAST = (0.6, 1.3)  # above 1 the middle of a spot is lesion altogether
VESSELS = 40.0
VESSEL_RADIUS_MM = (0.5, 1.0)
VESSEL_LENGTH_MM = (5.0, 15.0)
BLOB_REACH = 1.7  # in radii: beyond, the profile exp(-r^4 / 2) is below 2 %

SUBJECTS_A_TASK = 20
FEWEST_FOR_WORKERS = 60  # below this, starting processes costs more than it saves


@dataclass(frozen=True)
class Cohort:
    """Slices of virtual patients.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, height, width, 3)
        Grey levels 0 to 255 as a scanner would export them; channels T1, T2, FLAIR. A stack adds
        depth: (n, depth, height, width, 3).
    masks : ndarray of bool, shape ``images.shape[:-1]``
    table : DataFrame with n rows
    """

    images: np.ndarray
    masks: np.ndarray
    table: pd.DataFrame


def simulate_cohort(
    n_subjects: int = 600,
    *,
    slices_per_subject: int = 4,
    image_size: int = 64,
    depth: int | None = None,
    seed: int = 0,
    workers: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Cohort:
    """Simulate patients, half of them with a tumour.

    Rows of one subject follow each other. What a subject looks like depends on ``seed`` and the
    subject's number alone, so the number of workers changes nothing.

    Parameters
    ----------
    n_subjects : int
    slices_per_subject : int
        Or stacks, when ``depth`` is given.
    image_size : int
        Height and width in pixels of the 208-mm field of view.
    depth : int, optional
        Make stacks of this many slices, 4 mm apart, instead of single slices. The slice in the
        middle, number ``depth // 2``, is the one a single slice would be; the table describes it.
    seed : int
    workers : int, optional
        Processes; all cores by default.
    progress : callable, optional
        Called with the number of subjects made since the last call.

    Returns
    -------
    Cohort

    Raises
    ------
    UsageError
        If a number is out of range.
    """
    check_parameters(n_subjects, slices_per_subject, image_size, depth=depth, seed=seed)
    seeds = np.random.SeedSequence(seed).spawn(n_subjects + 1)
    has_tumour = np.arange(n_subjects) % 2 == 1
    np.random.default_rng(seeds.pop()).shuffle(has_tumour)
    shape = (n_subjects * slices_per_subject, *((depth,) if depth else ()), image_size, image_size)
    images, masks = np.empty((*shape, 3), np.uint8), np.empty(shape, bool)
    columns: list[dict[str, list]] = []
    calls = [
        (range(first, last), seeds[first:last], has_tumour[first:last])
        for first in range(0, n_subjects, SUBJECTS_A_TASK)
        for last in [min(first + SUBJECTS_A_TASK, n_subjects)]
    ]
    arguments = (slices_per_subject, image_size, depth)
    row = 0
    for part in _in_order(calls, arguments, n_subjects, workers):
        rows = slice(row, row + len(part[0]))
        images[rows], masks[rows] = part[0], part[1]
        columns.extend(part[2])
        row = rows.stop
        if progress:
            progress(len(part[2]))
    chain = itertools.chain.from_iterable
    table = {name: list(chain(part[name] for part in columns)) for name in columns[0]}
    return Cohort(images, masks, pd.DataFrame(table))


def simulate_subject(
    number: int,
    seed: np.random.SeedSequence,
    *,
    has_tumour: bool,
    slices_per_subject: int,
    image_size: int,
    depth: int | None,
) -> tuple[np.ndarray, np.ndarray, dict[str, list]]:
    """Simulate one patient.

    A tumour is grown in everybody, and left out again in those who have none: so where slices lie
    cannot give the diagnosis away.

    Returns
    -------
    images : ndarray of uint8, shape (slices, [depth,] height, width, 3)
    masks : ndarray of bool, shape (slices, [depth,] height, width)
    columns : dict of list
        One row of the table a slice.
    """
    rng = np.random.default_rng(seed)
    coarse = load_template(2)
    template = coarse if image_size < 112 else load_template(1)
    site = SITES[rng.integers(len(SITES))]
    age = round(float(rng.uniform(*AGE_YEARS)), 1)
    times_ms, brightness = random_scan(site, rng)
    head = random_head(rng)
    grade = int(rng.choice(list(GRADES), p=[GRADE_SHARES[grade] for grade in GRADES]))
    contrast = float(rng.uniform(*CONTRAST))
    tumour = random_tumour(
        head,
        coarse,
        centre_mm=head.from_template(_white_matter(*TUMOUR_HEIGHT_MM, 1, rng))[0],
        radius_mm=float(rng.uniform(*RADIUS_MM)),
        grade=grade,
        rng=rng,
    )
    spots = _random_spots(head, age, rng)
    vessels = _random_vessels(head, rng)
    middles_mm = _slice_positions(tumour, slices_per_subject, rng)

    grid = _PixelGrid(image_size)
    stack = (np.arange(depth) - depth // 2) * SLICE_GAP_MM if depth else np.zeros(1)
    heights_mm = (middles_mm[:, None] + stack).ravel()
    fractions, masks, brain = _render(
        head, template, grid, heights_mm, tumour if has_tumour else None, contrast
    )
    for blobs, into in ((spots, "gliosis"), (vessels, "vessel")):
        _add_blobs(fractions, blobs, TISSUE_NAMES.index(into), grid, heights_mm)
    images = np.stack(
        [
            sum(fraction * level for fraction, level in zip(fractions, levels, strict=True))
            for levels in brightness
        ],
        axis=-1,
    )
    images = acquire(images, site=site, spacing_mm=grid.spacing_mm, rng=rng) * brain[..., None]
    levels = np.clip(np.rint(images * 255), 0, 255).astype(np.uint8)
    if depth:
        levels = levels.reshape(slices_per_subject, depth, *levels.shape[1:])
        masks = masks.reshape(slices_per_subject, depth, *masks.shape[1:])
    middles = masks[:, depth // 2] if depth else masks
    columns = {
        "subject": [f"sub-{number:04d}"] * slices_per_subject,
        "slice_position_mm": [round(float(position), 2) for position in middles_mm],
        "age": [age] * slices_per_subject,
        "site": [site.name] * slices_per_subject,
        "field_tesla": [site.field_tesla] * slices_per_subject,
        **{name: [value] * slices_per_subject for name, value in times_ms.items()},
        "spacing_mm": [grid.spacing_mm] * slices_per_subject,
        "grade": [grade if has_tumour else 0] * slices_per_subject,
        "tumour_contrast": [round(contrast, 4) if has_tumour else 0.0] * slices_per_subject,
        "tumour_volume_mm3": [round(tumour.volume_mm3, 1) if has_tumour else 0.0]
        * slices_per_subject,
        **_measure_masks(middles, grid.spacing_mm),
    }
    return levels, masks, columns


def check_parameters(
    n_subjects: int,
    slices_per_subject: int,
    image_size: int,
    *,
    depth: int | None,
    seed: int,
    fewest_subjects: int = 2,
) -> None:
    """Refuse numbers out of range, before work begins.

    Raises
    ------
    UsageError
        Naming the first that is.
    """
    for name, value, least, most in (
        ("n_subjects", n_subjects, fewest_subjects, 100_000),
        ("slices_per_subject", slices_per_subject, 1, 64),
        ("image_size", image_size, LEAST_IMAGE_SIZE, LARGEST_IMAGE_SIZE),
        ("depth", 1 if depth is None else depth, 1, 64),
        ("seed", seed, 0, 2**63),
    ):
        if not isinstance(value, int | np.integer) or not least <= value <= most:
            expected = f"a whole number from {least} to {most}"
            raise UsageError(name, expected=expected, found=repr(value))


def longest_diameter(mask: np.ndarray) -> float:
    """Longest straight line from one corner of a pixel of the mask to another, in pixels.

    Parameters
    ----------
    mask : ndarray of bool, shape (height, width)

    Returns
    -------
    float
        0 for an empty mask.
    """
    rows = np.flatnonzero(mask.any(axis=1))
    if not len(rows):
        return 0.0
    first = mask.argmax(axis=1)[rows]
    last = mask.shape[1] - mask[:, ::-1].argmax(axis=1)[rows]
    # The farthest corners are at a row's left or right end.
    ends = np.concatenate([first, last, first, last])
    heights = np.concatenate([rows, rows, rows + 1, rows + 1])
    squared = (ends[:, None] - ends) ** 2 + (heights[:, None] - heights) ** 2
    return float(np.sqrt(squared.max()))


class _PixelGrid:
    """Where the pixels of an axial slice are, seen as a radiologist sees it.

    Row 0 is at the front (anterior); column 0 is at the patient's right, so the patient's left is
    on the right of the image.
    """

    def __init__(self, image_size: int):
        self.spacing_mm = FIELD_OF_VIEW_MM / image_size
        positions = (np.arange(image_size) - (image_size - 1) / 2) * self.spacing_mm
        self.x_mm = -positions
        self.y_mm = -positions


def _render(
    head: Head,
    template: Template,
    grid: _PixelGrid,
    heights_mm: np.ndarray,
    tumour: Tumour | None,
    contrast: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tissue fractions (tissues, slices, h, w), tumour mask and brain mask (slices, h, w)."""
    deformed = head.to_template(grid.x_mm, grid.y_mm, heights_mm)
    maps = template.sample(deformed)
    brain = maps[..., 3] >= 0.5
    masks = np.zeros(brain.shape, bool)
    concentration = None
    if tumour is not None:
        rows, columns = tumour.covers(1, grid.y_mm), tumour.covers(2, grid.x_mm)
        for layer, height in enumerate(heights_mm):
            if not tumour.axes_mm[0][0] < height < tumour.axes_mm[0][-1]:
                continue
            window = (layer, rows, columns)
            points = scanner_grid(grid.x_mm[columns], grid.y_mm[rows], np.array([height]))[0]
            before, carried = tumour.undo(points)
            moved = template.sample(head.place(before))
            masks[window] = visible_tumour(carried, moved, maps[window][..., 3])
            maps[window][..., :3] = moved[..., :3]
            if concentration is None:
                concentration = np.zeros(brain.shape, np.float32)
            concentration[window] = carried
    fractions = np.zeros((len(TISSUE_NAMES), *brain.shape), np.float32)
    grey, white = maps[..., 1], maps[..., 2]
    total = np.maximum(grey + white, 1)
    fractions[0], fractions[1] = grey / total, white / total
    fractions[2] = 1 - fractions[0] - fractions[1]
    if concentration is not None:
        _add_tumour(fractions, concentration, tumour.grade, contrast)
    return fractions, masks, brain


def _add_tumour(
    fractions: np.ndarray, concentration: np.ndarray, grade: int, contrast: float
) -> None:
    """Replace grey and white matter by oedema, tumour and, in grade 4, necrosis."""
    solid = fractions[0] + fractions[1]
    core = np.clip((concentration - 0.45) / (CORE_CONCENTRATION - 0.45), 0, 1)
    affected = np.clip(concentration / VISIBLE_CONCENTRATION - 0.5, 0, 1)
    necrosis = np.clip((concentration - 0.93) / 0.05, 0, 1) * (grade == 4)
    changed = contrast * solid * affected
    parts = {
        "tumour": core * (1 - necrosis),
        "necrosis": core * necrosis,
        "oedema": 1 - core,
    }
    fractions[:2] *= 1 - contrast * affected
    for name, share in parts.items():
        fractions[TISSUE_NAMES.index(name)] += changed * share


def _slice_positions(tumour: Tumour, number: int, rng: np.random.Generator) -> np.ndarray:
    """Heights through the tumour, one in each of ``number`` equal layers of it."""
    areas = tumour.visible.sum(axis=(1, 2)) * tumour.spacing_mm**2
    enough = min(np.pi / 4 * LEAST_DIAMETER_MM**2, 0.6 * areas.max())
    largest = int(areas.argmax())
    low = high = largest
    while low > 0 and areas[low - 1] >= enough:
        low -= 1
    while high < len(areas) - 1 and areas[high + 1] >= enough:
        high += 1
    first, last = tumour.axes_mm[0][low], tumour.axes_mm[0][high]
    return first + (last - first) * (np.arange(number) + rng.random(number)) / number


@dataclass(frozen=True)
class _Blobs:
    """Small soft ellipsoids: centre (n, 3), precision (n, 3, 3), reach (n, 3) and strength."""

    centre_mm: np.ndarray
    precision: np.ndarray
    reach_mm: np.ndarray
    strength: np.ndarray


def _random_spots(head: Head, age: float, rng: np.random.Generator) -> _Blobs:
    share = (age - AGE_YEARS[0]) / (AGE_YEARS[1] - AGE_YEARS[0])
    number = rng.poisson((SPOTS[0] + share * (SPOTS[1] - SPOTS[0])) * rng.exponential())
    centre = head.from_template(_white_matter(-40.0, 65.0, number, rng))
    radius = rng.uniform(*SPOT_RADIUS_MM, (number, 1)) * rng.uniform(0.8, 1.25, (number, 3))
    precision = np.einsum("ni,ij->nij", 1 / radius**2, np.eye(3))
    return _Blobs(centre, precision, BLOB_REACH * radius, rng.uniform(*SPOT_CONTRAST, number))


def _random_vessels(head: Head, rng: np.random.Generator) -> _Blobs:
    number = rng.poisson(VESSELS)
    centre = head.from_template(_white_matter(-40.0, 65.0, number, rng))
    direction = rng.normal(size=(number, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    across = 1 / rng.uniform(*VESSEL_RADIUS_MM, number) ** 2
    length = rng.uniform(*VESSEL_LENGTH_MM, number)
    along = np.einsum("ni,nj->nij", direction, direction)
    precision = across[:, None, None] * (np.eye(3) - along) + along / length[:, None, None] ** 2
    spread = np.sqrt(np.einsum("nii->ni", np.linalg.inv(precision)))
    return _Blobs(centre, precision, BLOB_REACH * spread, np.ones(number))


def _add_blobs(
    fractions: np.ndarray, blobs: _Blobs, into: int, grid: _PixelGrid, heights_mm: np.ndarray
) -> None:
    """Turn white matter inside the blobs into another tissue."""
    dz = heights_mm[:, None] - blobs.centre_mm[:, 2]
    layer, blob = np.nonzero(np.abs(dz) < blobs.reach_mm[:, 2])
    if not len(blob):
        return
    # Every blob in every slice it reaches gets a window of the same size, all at once.
    size = len(grid.x_mm)
    half = int(np.ceil(blobs.reach_mm[blob, :2].max() / grid.spacing_mm))
    window = np.arange(-half, half + 1)
    middle = (size - 1) / 2
    nearest = np.rint(middle - blobs.centre_mm[blob, :2] / grid.spacing_mm).astype(int)
    columns, rows = (nearest[:, axis, None] + window for axis in (0, 1))
    dx = ((middle - columns) * grid.spacing_mm - blobs.centre_mm[blob, 0, None])[:, None, :]
    dy = ((middle - rows) * grid.spacing_mm - blobs.centre_mm[blob, 1, None])[:, :, None]
    dz = dz[layer, blob][:, None, None]
    p = blobs.precision[blob][..., None, None]
    distance = p[:, 0, 0] * dx**2 + p[:, 1, 1] * dy**2 + p[:, 2, 2] * dz**2
    distance += 2 * (p[:, 0, 1] * dx * dy + p[:, 0, 2] * dx * dz + p[:, 1, 2] * dy * dz)
    columns, rows = (
        np.broadcast_to(places, distance.shape)
        for places in (columns[:, None, :], rows[:, :, None])
    )
    inside = (distance < BLOB_REACH**2) & (np.minimum(rows, columns) >= 0)
    inside &= np.maximum(rows, columns) < size
    pair = np.nonzero(inside)[0]
    share = blobs.strength[blob[pair]] * np.exp(-(distance[inside] ** 2) / 2)
    share = np.minimum(share, 1)
    left = np.ones(fractions.shape[1:], np.float32)
    np.multiply.at(
        left, (layer[pair], rows[inside], columns[inside]), (1 - share).astype(np.float32)
    )
    changed = fractions[1] * (1 - left)
    fractions[1] -= changed
    fractions[into] += changed


def _white_matter(
    lowest_mm: float, highest_mm: float, number: int, rng: np.random.Generator
) -> np.ndarray:
    """Draw places in white matter, in template space, shape (number, 3)."""
    template = load_template(2)
    places = _white_matter_voxels(lowest_mm, highest_mm)
    index = places[rng.integers(len(places), size=number)] + rng.uniform(-0.5, 0.5, (number, 3))
    return np.array(template.origin_mm) + template.spacing_mm * index


@functools.cache
def _white_matter_voxels(lowest_mm: float, highest_mm: float) -> np.ndarray:
    template = load_template(2)
    places = np.argwhere(template.voxels[..., 2] > 220)
    height = template.origin_mm[2] + template.spacing_mm * places[:, 2]
    return places[(height >= lowest_mm) & (height <= highest_mm)]


def _measure_masks(masks: np.ndarray, spacing_mm: float) -> dict[str, list]:
    columns: dict[str, list] = {
        "tumour_diameter_mm": [round(longest_diameter(mask) * spacing_mm, 2) for mask in masks],
        "tumour_area_mm2": [round(float(mask.sum()) * spacing_mm**2, 2) for mask in masks],
    }
    names = ("box_row_min", "box_col_min", "box_row_max", "box_col_max")
    return columns | dict(zip(names, map(list, zip(*map(_box, masks), strict=True)), strict=True))


def _box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """First row and column, last row and column plus one; zeros for an empty mask."""
    if not mask.any():
        return 0, 0, 0, 0
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def _simulate_part(
    numbers: range, seeds: list, has_tumour: np.ndarray, arguments: tuple[int, int, int | None]
) -> tuple[np.ndarray, np.ndarray, list[dict[str, list]]]:
    slices_per_subject, image_size, depth = arguments
    parts = [
        simulate_subject(
            number,
            seed,
            has_tumour=bool(tumour),
            slices_per_subject=slices_per_subject,
            image_size=image_size,
            depth=depth,
        )
        for number, seed, tumour in zip(numbers, seeds, has_tumour, strict=True)
    ]
    images, masks, columns = zip(*parts, strict=True)
    return np.concatenate(images), np.concatenate(masks), list(columns)


def _in_order(
    calls: list[tuple], arguments: tuple, n_subjects: int, workers: int | None
) -> Iterator[tuple]:
    """Yield what the calls give, in their order, from worker processes where that is worth it."""
    import joblib
    from joblib.externals.loky import get_reusable_executor

    workers = workers or joblib.cpu_count()
    if workers == 1 or n_subjects < FEWEST_FOR_WORKERS:
        for call in calls:
            yield _simulate_part(*call, arguments)
        return
    # loky starts clean processes: it needs no `if __name__ == "__main__"` in the caller's script,
    # works in a notebook, and does not copy TensorFlow's threads as a fork would.
    parallel = joblib.Parallel(n_jobs=min(workers, len(calls)), return_as="generator")
    yield from parallel(joblib.delayed(_simulate_part)(*call, arguments) for call in calls)
    get_reusable_executor().shutdown()  # idle workers would hold their memory while a lesson trains

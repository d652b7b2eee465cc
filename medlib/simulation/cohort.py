"""Cohort: virtual patients by number, each from its own seed."""

import functools
from dataclasses import dataclass

import joblib
import numpy as np
import pandas as pd
from joblib.externals.loky import get_reusable_executor
from scipy import ndimage

from medlib.errors import UsageError
from medlib.progress import progress
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
LIMITS = {
    "n_subjects": (2, 100_000),
    "slices_per_subject": (1, 64),
    "image_size": (32, 512),
    "depth": (1, 64),
    "seed": (0, 2**63),
}

# How hard the data set is depends on a Difficulty, on the numbers from here to BLOB_REACH, on the
# sites' noise and bias in scanner.py, and on nothing else: benchmarks/difficulty.py measures it.
AGE_YEARS = (20.0, 85.0)
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

PLACES_TRIED = 20  # for a further tumour, whose box must not touch another's

FEWEST_FOR_WORKERS = 1_000  # fewer take seconds; processes beside a lesson would cost 350 MB


@dataclass(frozen=True)
class Difficulty:
    """How hard tumours are to see.

    Parameters
    ----------
    radius_mm : tuple of float
        Least and greatest radius of the ball with a tumour's volume.
    contrast : tuple of float
        Least and greatest share of the tissue that a tumour replaces where it is visible.
    most_tumours : int
        A patient with tumours has one of them, two, ... or so many, each as often. Slices lie
        through the first; the others are at about its height, and like it but for their size.
    """

    radius_mm: tuple[float, float] = (8.5, 22.5)
    contrast: tuple[float, float] = (0.6, 1.0)
    most_tumours: int = 1


DEFAULT = Difficulty()
SMALL_AND_FAINT = Difficulty(radius_mm=(4.0, 10.0), contrast=(0.4, 0.8), most_tumours=3)


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
        The subject, the examination, the pixels' size, and the tumour of the patient (grade,
        contrast, volume) and of the slice (diameter, area); all 0 where there is none.
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
    difficulty: Difficulty = DEFAULT,
    seed: int = 0,
    stream: tuple[int, ...] = (),
    workers: int | None = None,
) -> Cohort:
    """Simulate patients, half of them with a tumour.

    Rows of one subject follow each other. What a subject looks like depends on ``seed``,
    ``stream`` and the subject's number alone, so the number of workers changes nothing.

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
    difficulty : Difficulty
        ``SMALL_AND_FAINT`` makes tumours of 8 to 20 mm that are easily taken for spots of old age.
    seed : int
    stream : tuple of int
        Key of the random numbers beside the seed: cohorts with different keys share no patient,
        whatever their seeds.
    workers : int, optional
        Processes; by default one, from 1,000 subjects on one a core.

    Returns
    -------
    Cohort

    Raises
    ------
    UsageError
        If a number is out of range.
    """
    check_parameters(
        n_subjects=n_subjects,
        slices_per_subject=slices_per_subject,
        image_size=image_size,
        depth=depth,
        seed=seed,
    )
    seeds = np.random.SeedSequence(seed, spawn_key=stream).spawn(n_subjects + 1)
    has_tumour = np.arange(n_subjects) % 2 == 1
    np.random.default_rng(seeds.pop()).shuffle(has_tumour)
    shape = (n_subjects, slices_per_subject, *([depth] if depth else []), image_size, image_size)
    images, masks = np.empty((*shape, 3), np.uint8), np.empty(shape, bool)
    rows = []
    workers = workers or (joblib.cpu_count() if n_subjects >= FEWEST_FOR_WORKERS else 1)
    # loky starts clean processes: it needs no `if __name__ == "__main__"` in the caller's script,
    # works in a notebook, and does not copy TensorFlow's threads as a fork would.
    patients = joblib.Parallel(n_jobs=workers, return_as="generator")(
        joblib.delayed(simulate_subject)(
            number,
            seeds[number],
            has_tumour=has_tumour[number],
            slices_per_subject=slices_per_subject,
            image_size=image_size,
            depth=depth,
            difficulty=difficulty,
        )
        for number in range(n_subjects)
    )
    for number, patient in enumerate(progress(patients, n_subjects, "Simulating patients")):
        images[number], masks[number], rows_of_patient = patient
        rows += rows_of_patient
    if workers > 1:
        get_reusable_executor().shutdown()  # idle, they would hold memory while a lesson trains
    return Cohort(
        images.reshape(-1, *images.shape[2:]), masks.reshape(-1, *shape[2:]), pd.DataFrame(rows)
    )


def simulate_subject(
    number: int,
    seed: np.random.SeedSequence,
    *,
    has_tumour: bool,
    slices_per_subject: int,
    image_size: int,
    depth: int | None,
    difficulty: Difficulty = DEFAULT,
) -> tuple[np.ndarray, np.ndarray, list[dict]]:
    """Simulate one patient.

    A tumour is grown in everybody, and left out again in those who have none: so where slices lie
    cannot give the diagnosis away.

    Returns
    -------
    images : ndarray of uint8, shape (slices, [depth,] height, width, 3)
    masks : ndarray of bool, shape (slices, [depth,] height, width)
    rows : list of dict
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
    contrast = float(rng.uniform(*difficulty.contrast))
    place = _white_matter(*TUMOUR_HEIGHT_MM, 1, rng)
    grown = functools.partial(random_tumour, head, coarse, grade=grade, rng=rng)
    centre_mm = head.from_template(place)[0]
    tumours = [grown(centre_mm=centre_mm, radius_mm=float(rng.uniform(*difficulty.radius_mm)))]
    spots = _random_spots(head, age, rng)
    vessels = _random_vessels(head, rng)
    middles_mm = _slice_positions(tumours[0], slices_per_subject, rng)
    if difficulty.most_tumours > 1:
        wanted = rng.integers(1, difficulty.most_tumours + 1)
        around_mm = (place[0, 2] - SLICE_GAP_MM, place[0, 2] + SLICE_GAP_MM)
        for centre_mm in head.from_template(_white_matter(*around_mm, PLACES_TRIED, rng)):
            if len(tumours) == wanted:
                break
            radius_mm = float(rng.uniform(*difficulty.radius_mm))
            if all(other.is_clear_of(centre_mm, radius_mm) for other in tumours):
                tumours.append(grown(centre_mm=centre_mm, radius_mm=radius_mm))

    pixels_mm = _pixel_positions(image_size)
    spacing_mm = FIELD_OF_VIEW_MM / image_size
    stack = (np.arange(depth) - depth // 2) * SLICE_GAP_MM if depth else np.zeros(1)
    heights_mm = (middles_mm[:, None] + stack).ravel()
    fractions, masks, brain = _render(
        head, template, pixels_mm, heights_mm, tumours if has_tumour else [], contrast
    )
    for blobs, into in ((spots, "gliosis"), (vessels, "vessel")):
        _add_blobs(fractions, blobs, TISSUE_NAMES.index(into), pixels_mm, heights_mm)
    images = np.stack(
        [
            sum(fraction * level for fraction, level in zip(fractions, levels, strict=True))
            for levels in brightness
        ],
        axis=-1,
    )
    images = acquire(images, site=site, spacing_mm=spacing_mm, rng=rng) * brain[..., None]
    levels = np.clip(np.rint(images * 255), 0, 255).astype(np.uint8)
    middles = masks[len(stack) // 2 :: len(stack)]
    if depth:
        levels, masks = (each.reshape(-1, depth, *each.shape[1:]) for each in (levels, masks))
    patient = {
        "subject": f"sub-{number:04d}",
        "age": age,
        "site": site.name,
        "field_tesla": site.field_tesla,
        **times_ms,
        "row_spacing_mm": spacing_mm,
        "column_spacing_mm": spacing_mm,
        "grade": grade if has_tumour else 0,
        "tumour_contrast": round(contrast, 4) if has_tumour else 0.0,
        "tumour_volume_mm3": round(sum(tumour.volume_mm3 for tumour in tumours), 1) * has_tumour,
    }
    rows = [
        patient
        | {
            "slice_position_mm": round(float(position), 2),
            "tumour_diameter_mm": round(_largest_diameter(numbers) * spacing_mm, 2),
            "tumour_area_mm2": round(float((numbers > 0).sum()) * spacing_mm**2, 2),
        }
        for position, numbers in zip(middles_mm, middles, strict=True)
    ]
    return levels, masks > 0, rows


def check_parameters(**parameters: int | None) -> None:
    """Refuse numbers out of their ``LIMITS``, before work begins; None is left to its default.

    Raises
    ------
    UsageError
        Naming the first that is.
    """
    for name, value in parameters.items():
        least, most = LIMITS[name]
        if value is not None and not (
            isinstance(value, int | np.integer) and least <= value <= most
        ):
            expected = f"a whole number from {least} to {most}"
            raise UsageError(name, expected=expected, found=repr(value))


def longest_diameter(mask: np.ndarray, spacing: tuple[float, float] = (1.0, 1.0)) -> float:
    """Longest straight line from one corner of a pixel of the mask to another, in pixels.

    Parameters
    ----------
    mask : ndarray of bool, shape (height, width)
    spacing : tuple of float
        Distance of neighbouring pixels, (down, across): the result is in its unit.

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
    down, across = (np.subtract.outer(each, each) for each in (heights, ends))
    return float(np.sqrt(((down * spacing[0]) ** 2 + (across * spacing[1]) ** 2).max()))


def _pixel_positions(image_size: int) -> np.ndarray:
    """Place the rows (y, mm) and columns (x, mm) of an axial slice as a radiologist sees it.

    Row 0 is at the front (anterior); column 0 is at the patient's right, so the patient's left is
    on the right of the image.
    """
    return ((image_size - 1) / 2 - np.arange(image_size)) * (FIELD_OF_VIEW_MM / image_size)


def _render(
    head: Head,
    template: Template,
    pixels_mm: np.ndarray,
    heights_mm: np.ndarray,
    tumours: list[Tumour],
    contrast: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tissue fractions (tissues, slices, h, w), number of the tumour (from 1) and brain mask."""
    deformed = head.to_template(pixels_mm, pixels_mm, heights_mm)
    maps = template.sample(deformed)
    brain = maps[..., 3] >= 0.5
    masks = np.zeros(brain.shape, np.uint8)
    concentration = np.zeros(brain.shape, np.float32)
    for number, tumour in enumerate(tumours, start=1):
        lowest, *_, highest = tumour.axes_mm[0]
        rows, columns = tumour.covers(1, pixels_mm), tumour.covers(2, pixels_mm)
        for layer in np.flatnonzero((heights_mm > lowest) & (heights_mm < highest)):
            window = (layer, rows, columns)
            points = scanner_grid(pixels_mm[columns], pixels_mm[rows], heights_mm[[layer]])[0]
            before, concentration[window] = tumour.undo(points)
            moved = template.sample(head.place(before))
            seen = visible_tumour(concentration[window], moved, maps[window][..., 3])
            masks[window] = number * seen
            maps[window][..., :3] = moved[..., :3]
    fractions = np.zeros((len(TISSUE_NAMES), *brain.shape), np.float32)
    grey, white = maps[..., 1], maps[..., 2]
    total = np.maximum(grey + white, 1)
    fractions[0], fractions[1] = grey / total, white / total
    fractions[2] = 1 - fractions[0] - fractions[1]
    if tumours:
        _add_tumour(fractions, concentration, tumours[0].grade, contrast)
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
    fractions[:2] *= 1 - contrast * affected
    for name, share in (
        ("tumour", core * (1 - necrosis)),
        ("necrosis", core * necrosis),
        ("oedema", 1 - core),
    ):
        fractions[TISSUE_NAMES.index(name)] += changed * share


def _largest_diameter(numbers: np.ndarray) -> float:
    """Longest diameter of any tumour of a slice whose pixels hold the number of theirs."""
    return max(
        (longest_diameter(numbers == one) for one in range(1, numbers.max() + 1)), default=0.0
    )


def _slice_positions(tumour: Tumour, number: int, rng: np.random.Generator) -> np.ndarray:
    """Heights through the tumour, one in each of ``number`` equal layers of it."""
    areas = tumour.visible.sum(axis=(1, 2)) * tumour.spacing_mm**2
    enough = min(np.pi / 4 * LEAST_DIAMETER_MM**2, 0.6 * areas.max())
    connected, _ = ndimage.label(areas >= enough)
    layers = tumour.axes_mm[0][connected == connected[areas.argmax()]]
    first, last = layers[0], layers[-1]
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
    fractions: np.ndarray, blobs: _Blobs, into: int, pixels_mm: np.ndarray, heights_mm: np.ndarray
) -> None:
    """Turn white matter inside the blobs into another tissue."""
    dz = heights_mm[:, None] - blobs.centre_mm[:, 2]
    layer, blob = np.nonzero(np.abs(dz) < blobs.reach_mm[:, 2])
    # Every blob in every slice it reaches gets a window of the same size, all at once.
    size, spacing_mm = len(pixels_mm), FIELD_OF_VIEW_MM / len(pixels_mm)
    half = int(np.ceil(blobs.reach_mm[blob, :2].max(initial=0) / spacing_mm))
    middle = (size - 1) / 2
    centre_mm = blobs.centre_mm[blob, :2]
    nearest = np.rint(middle - centre_mm / spacing_mm).astype(int)
    places = nearest[..., None] + np.arange(-half, half + 1)  # blob, column or row, window
    dx, dy = np.moveaxis((middle - places) * spacing_mm - centre_mm[..., None], 1, 0)
    dx, dy, dz = dx[:, None, :], dy[:, :, None], dz[layer, blob][:, None, None]
    p = blobs.precision[blob][..., None, None]
    distance = p[:, 0, 0] * dx**2 + p[:, 1, 1] * dy**2 + p[:, 2, 2] * dz**2
    distance += 2 * (p[:, 0, 1] * dx * dy + p[:, 0, 2] * dx * dz + p[:, 1, 2] * dy * dz)
    columns, rows = np.broadcast_arrays(places[:, 0, None, :], places[:, 1, :, None])
    inside = (distance < BLOB_REACH**2) & (np.minimum(rows, columns) >= 0)
    inside &= np.maximum(rows, columns) < size
    pair = np.nonzero(inside)[0]
    share = np.minimum(blobs.strength[blob[pair]] * np.exp(-(distance[inside] ** 2) / 2), 1)
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
    template, places = load_template(2), _white_matter_voxels()
    height = template.origin_mm[2] + template.spacing_mm * places[:, 2]
    places = places[(height >= lowest_mm) & (height <= highest_mm)]
    index = places[rng.integers(len(places), size=number)] + rng.uniform(-0.5, 0.5, (number, 3))
    return np.array(template.origin_mm) + template.spacing_mm * index


@functools.cache
def _white_matter_voxels() -> np.ndarray:
    return np.argwhere(load_template(2).voxels[..., 2] > 220)

"""Tumour: growth by the Fisher-Kolmogorov equation, and the push on the tissue around it.

References
----------
Swanson, Alvord and Murray, A quantitative model for differential motility of gliomas in grey and
white matter, Cell Proliferation 33 (2000) 317-329 (the equation; motility in white matter several
times that in grey).
Swanson, Rostomily and Alvord, A mathematical modelling tool for predicting survival of individual
patients following resection of glioblastoma, British Journal of Cancer 98 (2008) 113-119 (cells are
seen on T2 from 16 % of the carrying capacity, on enhanced T1 from 80 %).
Hogea, Davatzikos and Biros, An image-driven parameter estimation problem for a reaction-diffusion
glioma growth model with mass effects, Journal of Mathematical Biology 56 (2008) 793-825.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from medlib.simulation.anatomy import Head, Template, scanner_grid, trilinear

GREY_TO_WHITE_MOTILITY = 0.1
VISIBLE_CONCENTRATION = 0.16
CORE_CONCENTRATION = 0.80
TISSUE_THRESHOLD = 0.5  # a place with less grey and white matter than this counts as CSF

CELLS = 22  # along an edge of the box a tumour grows in
BOX_RADII = 2.0  # half the box's edge, in tumour radii
MOST_STEPS = 400
STABILITY = 0.15  # D dt / h^2; 1/6 is the limit of the explicit scheme in three dimensions
LEAST_JACOBIAN = 0.25  # volume may be stretched by the mass effect to four times, not more

# By grade: motility in white matter in mm^2 a day, width of the front sqrt(D / rho) as a share of
# the tumour's radius (low grades are diffuse), push of the mass effect as a share of the radius.
GRADES = {
    2: (0.02, (0.24, 0.30), (0.05, 0.20)),
    3: (0.06, (0.17, 0.24), (0.15, 0.35)),
    4: (0.13, (0.12, 0.17), (0.25, 0.50)),
}


@dataclass(frozen=True)
class Tumour:
    """A grown tumour in its box, whose axes are those of the scanner.

    Parameters
    ----------
    grade : int
        2, 3 or 4.
    axes_mm : tuple of three ndarray
        Positions of the box's cells along z, y and x.
    displacement_mm : ndarray of float32, shape (z, y, x, 3)
        From a place in the patient to where its tissue was before the tumour, in the order x, y, z.
    tissue : ndarray of float32, shape (z, y, x, 4)
        Before the mass effect: the head's displacement (x, y, z) and the concentration.
    visible : ndarray of bool, shape (z, y, x)
        Cells that are tumour after the mass effect.
    """

    grade: int
    axes_mm: tuple[np.ndarray, np.ndarray, np.ndarray]
    displacement_mm: np.ndarray
    tissue: np.ndarray
    visible: np.ndarray

    @property
    def spacing_mm(self) -> float:
        """Edge of a cell."""
        return float(self.axes_mm[0][1] - self.axes_mm[0][0])

    @property
    def volume_mm3(self) -> float:
        """Volume of the visible tumour."""
        return float(self.visible.sum() * self.spacing_mm**3)

    def is_clear_of(self, centre_mm: np.ndarray, radius_mm: float) -> bool:
        """Say whether the box of a tumour of this radius around x, y, z would not touch this one's.

        What a tumour does to the tissue ends at the faces of its box.
        """
        apart = [
            abs(centre - (axis_mm[0] + axis_mm[-1]) / 2) - (axis_mm[-1] - axis_mm[0]) / 2
            for centre, axis_mm in zip(centre_mm[::-1], self.axes_mm, strict=True)
        ]
        return max(apart) > BOX_RADII * radius_mm

    def covers(self, axis: int, position_mm: np.ndarray) -> slice:
        """Return which of these ascending or descending positions lie in the box."""
        first, last = self.axes_mm[axis][0], self.axes_mm[axis][-1]
        inside = np.flatnonzero((position_mm > first) & (position_mm < last))
        return slice(inside[0], inside[-1] + 1) if len(inside) else slice(0, 0)

    def undo(self, points_mm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Follow points of the box back to the tissue they hold.

        Parameters
        ----------
        points_mm : ndarray of float32, shape (..., 3)

        Returns
        -------
        deformed_mm : ndarray of float32, shape (..., 3)
            Ready for :meth:`medlib.simulation.anatomy.Head.place`.
        concentration : ndarray of float32, shape (...)
        """
        before = points_mm + trilinear(self.displacement_mm, self._index(points_mm))
        tissue = trilinear(self.tissue, self._index(before))
        return before + tissue[..., :3], tissue[..., 3]

    def _index(self, points_mm: np.ndarray) -> np.ndarray:
        first = np.float32([self.axes_mm[axis][0] for axis in range(3)])
        return (points_mm[..., ::-1] - first) / np.float32(self.spacing_mm)


def random_tumour(
    head: Head,
    template: Template,
    *,
    centre_mm: np.ndarray,
    radius_mm: float,
    grade: int,
    rng: np.random.Generator,
) -> Tumour:
    """Grow a tumour from a place in the white matter until it is as large as asked.

    Parameters
    ----------
    head : Head
    template : Template
    centre_mm : ndarray, shape (3,)
        In scanner space, x, y, z.
    radius_mm : float
        Of the ball whose volume the tumour reaches, before the mass effect.
    grade : {2, 3, 4}
    rng : numpy.random.Generator

    Returns
    -------
    Tumour
    """
    offsets = (np.arange(CELLS) - (CELLS - 1) / 2) * (2 * BOX_RADII * radius_mm / CELLS)
    x_mm, y_mm, z_mm = (position + offsets for position in centre_mm)
    spacing = float(offsets[1] - offsets[0])
    motility, front, push = GRADES[grade]
    front_mm = rng.uniform(*front) * radius_mm
    push_mm = rng.uniform(*push) * radius_mm

    displacement = head.displacement(x_mm, y_mm, z_mm)
    grid = scanner_grid(x_mm, y_mm, z_mm)
    maps = template.sample(head.place(grid + displacement))
    start = np.zeros(maps.shape[:3], np.float32)
    middle = slice(CELLS // 2 - 1, CELLS // 2 + 1)
    start[middle, middle, middle] = 0.8
    concentration = grow(
        start,
        motility_map(maps[..., 1], maps[..., 2], maps[..., 3], white_mm2_per_day=motility),
        proliferation_per_day=motility / front_mm**2,
        spacing_mm=spacing,
        volume_mm3=4 / 3 * np.pi * radius_mm**3,
    )
    tumour = Tumour(
        grade=grade,
        axes_mm=(z_mm, y_mm, x_mm),
        displacement_mm=mass_effect(concentration, spacing_mm=spacing, push_mm=push_mm),
        tissue=np.concatenate([displacement, concentration[..., None]], axis=-1),
        visible=np.zeros(maps.shape[:3], bool),
    )
    deformed, carried = tumour.undo(grid)
    tumour.visible[...] = visible_tumour(
        carried, template.sample(head.place(deformed)), maps[..., 3]
    )
    return tumour


def motility_map(
    grey: np.ndarray, white: np.ndarray, brain: np.ndarray, *, white_mm2_per_day: float
) -> np.ndarray:
    """Diffusion coefficient of tumour cells: ten times higher in white than in grey matter.

    Parameters
    ----------
    grey, white, brain : ndarray of float32, same shape, values in [0, 1]
    white_mm2_per_day : float

    Returns
    -------
    ndarray of float32, same shape
        In mm^2 a day; zero in CSF and outside the brain.
    """
    motility = white_mm2_per_day * (white + GREY_TO_WHITE_MOTILITY * grey)
    solid = (grey + white >= TISSUE_THRESHOLD) & (brain >= 0.5)
    return np.where(solid, motility, 0).astype(np.float32)


def grow(
    concentration: np.ndarray,
    motility: np.ndarray,
    *,
    proliferation_per_day: float,
    spacing_mm: float,
    volume_mm3: float = np.inf,
    days: float = np.inf,
) -> np.ndarray:
    """Solve ``dc/dt = div(D grad c) + rho c (1 - c)`` forwards in time.

    Explicit finite volumes: what leaves one cell enters its neighbour, through a face whose
    motility is the harmonic mean of both sides, so that nothing crosses into a cell of motility
    zero. On a uniform medium the front moves at ``2 sqrt(D rho)``.

    Parameters
    ----------
    concentration : ndarray of float32
        At the start, as a share of the most that tissue can hold; any number of dimensions.
    motility : ndarray of float32, same shape
        D in mm^2 a day. Cells with zero stay free of tumour.
    proliferation_per_day : float
        rho.
    spacing_mm : float
    volume_mm3 : float
        Stop when the visible tumour is this large.
    days : float
        Stop after this time.

    Returns
    -------
    ndarray of float32, same shape
        The concentration at the end.
    """
    step = min(STABILITY * spacing_mm**2 / float(motility.max()), 0.2 / proliferation_per_day)
    steps = MOST_STEPS
    if np.isfinite(days):
        steps = int(np.ceil(days / step))
        step = days / steps
    # A layer of cells without motility after the last of each axis lets the array be treated as
    # one long row: what would run over an edge meets a closed face.
    after = [(0, 1)] * motility.ndim
    motility = np.pad(motility.astype(np.float32), after)
    c = np.where(motility > 0, np.pad(concentration, after), 0).astype(np.float32)
    gain = (np.float32(proliferation_per_day * step) * (motility > 0)).ravel()
    strides = [int(np.prod(c.shape[axis + 1 :])) for axis in range(c.ndim)]
    faces = [_face_motility(motility.ravel(), stride) for stride in strides]
    for face in faces:
        face *= np.float32(step / spacing_mm**2)
    flat, growth, flux = c.ravel(), np.empty(c.size, np.float32), np.empty(c.size, np.float32)
    wanted_cells = volume_mm3 / spacing_mm**c.ndim
    for done in range(1, steps + 1):
        np.subtract(1, flat, out=growth)
        growth *= flat
        growth *= gain
        for stride, face in zip(strides, faces, strict=True):
            crossing = np.subtract(flat[stride:], flat[:-stride], out=flux[stride:])
            crossing *= face
            growth[:-stride] += crossing
            growth[stride:] -= crossing
        flat += growth
        if done % 3 == 0 and np.count_nonzero(flat >= VISIBLE_CONCENTRATION) >= wanted_cells:
            break
    return flat.reshape(c.shape)[tuple(slice(-1) for _ in strides)].copy()


def mass_effect(concentration: np.ndarray, *, spacing_mm: float, push_mm: float) -> np.ndarray:
    """Displacement along the gradient of the smoothed concentration, towards the tumour's centre.

    It says where the tissue now seen at a place was before the tumour pushed it outwards. It fades
    to zero at the faces of the box, and is weakened where needed so that its Jacobian stays above
    ``LEAST_JACOBIAN``: tissue is never folded.

    Parameters
    ----------
    concentration : ndarray of float32, shape (z, y, x)
    spacing_mm : float
    push_mm : float
        Greatest displacement.

    Returns
    -------
    ndarray of float32, shape (z, y, x, 3)
        In mm, in the order x, y, z.
    """
    smooth = ndimage.gaussian_filter(concentration, 2.0, truncate=2)
    for axis, size in enumerate(smooth.shape):
        edge = np.clip((np.minimum(np.arange(size), np.arange(size)[::-1]) - 1) / 4, 0, 1)
        taper = (edge * edge * (3 - 2 * edge)).astype(np.float32)
        smooth *= taper.reshape([-1 if other == axis else 1 for other in range(3)])
    gradient = np.stack(np.gradient(smooth)[::-1], axis=-1)
    greatest = float(np.sqrt((gradient**2).sum(axis=-1).max()))
    displacement = gradient * np.float32(push_mm / greatest)
    for _ in range(20):
        if jacobian(displacement, spacing_mm=spacing_mm).min() >= LEAST_JACOBIAN:
            break
        displacement *= np.float32(0.8)
    return displacement


def jacobian(displacement_mm: np.ndarray, *, spacing_mm: float) -> np.ndarray:
    """Determinant of the Jacobian of ``p -> p + displacement(p)``.

    The smaller of the two that forward and backward differences give.

    Parameters
    ----------
    displacement_mm : ndarray, shape (z, y, x, 3), components in the order x, y, z
    spacing_mm : float

    Returns
    -------
    ndarray, shape (z - 1, y - 1, x - 1)
        One for each cube between eight cells.
    """
    along_x, along_y, along_z = (
        np.diff(displacement_mm, axis=axis) / np.float32(spacing_mm) for axis in (2, 1, 0)
    )
    near, far = slice(None, -1), slice(1, None)
    return np.minimum(
        _determinant(along_x[near, near], along_y[near, :, near], along_z[:, near, near]),
        _determinant(along_x[far, far], along_y[far, :, far], along_z[:, far, far]),
    )


def visible_tumour(concentration: np.ndarray, maps: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """Where a reader would draw the tumour: enough cells, in tissue, inside the brain.

    Parameters
    ----------
    concentration : ndarray, shape (...)
    maps : ndarray, shape (..., 4)
        The template's maps at the tissue's place before the mass effect.
    brain : ndarray, shape (...)
        The brain mask at the place itself: the skull does not give way.

    Returns
    -------
    ndarray of bool, shape (...)
    """
    solid = (maps[..., 1] + maps[..., 2] >= TISSUE_THRESHOLD) & (maps[..., 3] >= 0.5)
    return (concentration >= VISIBLE_CONCENTRATION) & solid & (brain >= 0.5)


def _face_motility(motility: np.ndarray, stride: int) -> np.ndarray:
    low, high = motility[:-stride], motility[stride:]
    total = low + high
    return np.divide(2 * low * high, total, out=np.zeros_like(total), where=total > 0)


def _determinant(along_x: np.ndarray, along_y: np.ndarray, along_z: np.ndarray) -> np.ndarray:
    a, d, g = 1 + along_x[..., 0], along_x[..., 1], along_x[..., 2]
    b, e, h = along_y[..., 0], 1 + along_y[..., 1], along_y[..., 2]
    c, f, i = along_z[..., 0], along_z[..., 1], 1 + along_z[..., 2]
    return a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)

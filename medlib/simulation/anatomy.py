"""Anatomy: one template brain, bent into as many heads as are needed.

The tissue maps are those of the ICBM152 2009a symmetric template that ships with nilearn. A head is
an affine map and a smooth random deformation, both acting from scanner space to template space, so
that a slice costs one look-up of the template at each of its pixels and nothing else.

Coordinates are in millimetres, in the order x (to the patient's right), y (to the front), z (up).

References
----------
Fonov, Evans, Botteron, Almli, McKinstry and Collins, Unbiased average age-appropriate atlases for
pediatric studies, NeuroImage 54 (2011) 313-327 (the template).
Billot and others, SynthSeg: segmentation of brain MRI scans of any contrast and resolution without
retraining, Medical Image Analysis 86 (2023) 102789 (ranges of the random transforms).
Choi and Lee, Injectivity conditions of 2D and 3D uniform cubic B-spline functions, Graphical Models
62 (2000) 411-427.
"""

import functools
import importlib.metadata
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from medlib.errors import DataError

CHANNELS = ("t1", "grey", "white", "brain")
ORIGIN_MM = (-98.0, -134.0, -72.0)  # of the template's first voxel, from its header
CENTRE_MM = np.array([0.0, -18.0, 6.0])  # of the brain in template space: heads turn about it

ROTATION_DEGREES = (8.0, 8.0, 15.0)  # standard range +- about x (nodding), y (tilting), z (turning)
SCALE = (0.88, 1.08)  # of the whole head; each axis varies by another +-4 %
AXIS_SCALE = (0.96, 1.04)
SHEAR = 0.012
SHIFT_MM = 5.0

CONTROL_SPACING_MM = 32.0  # between control points of the deformation
CONTROL_SD_MM = 4.0
# Choi and Lee: a cubic B-spline deformation cannot fold while every control displacement stays
# below about 0.40 times the spacing; 0.3 leaves room.
CONTROL_LIMIT_MM = 0.3 * CONTROL_SPACING_MM
FIELD_MM = 256.0  # edge of the cube that the control points cover


@dataclass(frozen=True)
class Template:
    """Tissue maps as one array, so that one look-up gives all of them.

    Parameters
    ----------
    voxels : ndarray of uint8, shape (x, y, z, 4)
        T1-weighted intensity, grey matter, white matter, brain mask; 255 is 1.
    spacing_mm : float
    origin_mm : tuple of float
        Centre of the first voxel.
    """

    voxels: np.ndarray
    spacing_mm: float
    origin_mm: tuple[float, float, float]

    def sample(self, points_mm: np.ndarray) -> np.ndarray:
        """Interpolate the maps linearly.

        Parameters
        ----------
        points_mm : ndarray, shape (..., 3)
            In template space. Points outside the template are outside the brain.

        Returns
        -------
        ndarray of float32, shape (..., 4), values in [0, 1]
        """
        index = (points_mm - np.float32(self.origin_mm)) / np.float32(self.spacing_mm)
        flat = index.reshape(-1, 3)
        inside = np.ones(len(flat), bool)
        for axis, size in enumerate(self.voxels.shape[:3]):
            inside &= (flat[:, axis] > 0) & (flat[:, axis] < size - 1)
        inside = np.flatnonzero(inside)
        maps = np.zeros((len(flat), self.voxels.shape[3]), np.float32)
        maps[inside] = trilinear(self.voxels, flat[inside]) * np.float32(1 / 255)
        return maps.reshape(*points_mm.shape[:-1], -1)


@functools.cache
def load_template(spacing_mm: int = 1) -> Template:
    """Read the template from nilearn's files.

    Parameters
    ----------
    spacing_mm : {1, 2}
        2 averages 2 x 2 x 2 voxels: what a coarse image needs so as not to alias.

    Returns
    -------
    Template

    Raises
    ------
    DataError
        If nilearn's files are not the ones expected.
    """
    if spacing_mm == 2:
        return _halve(load_template(1))
    t1, grey, white = (_read_map(name) for name in ("t1", "gm", "wm"))
    brain = np.where(t1 > 0, np.uint8(255), np.uint8(0))
    # Cropped to the brain, with an empty margin: points outside need no look-up.
    voxels = np.pad(np.stack([t1, grey, white, brain], axis=-1), (*3 * [(2, 2)], (0, 0)))
    (box,) = ndimage.find_objects((voxels[..., 3] > 0).view(np.uint8))
    voxels = voxels[tuple(slice(side.start - 2, side.stop + 2) for side in box)]
    origin = tuple(first + side.start - 4 for first, side in zip(ORIGIN_MM, box, strict=True))
    return Template(np.ascontiguousarray(voxels), 1.0, origin)


def trilinear(volume: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Interpolate a volume of several channels linearly at fractional indices.

    Eight look-ups of whole rows: about five times faster than one
    ``scipy.ndimage.map_coordinates`` a channel.

    Parameters
    ----------
    volume : ndarray, shape (x, y, z, channels)
    index : ndarray, shape (..., 3)
        Points outside are taken at the nearest face.

    Returns
    -------
    ndarray of float32, shape (..., channels)
    """
    size = np.array(volume.shape[:3])
    flat_index = np.clip(index.reshape(-1, 3), 0, (size - 1.001).astype(np.float32))
    corner = flat_index.astype(np.int32)
    weight = (flat_index - corner).astype(np.float32)
    strides = (int(size[1] * size[2]), int(size[2]), 1)
    first = corner[:, 0] * strides[0] + corner[:, 1] * strides[1] + corner[:, 2]
    rows = volume.reshape(-1, volume.shape[3])
    near, far = 1 - weight, weight
    result = np.zeros((len(first), volume.shape[3]), np.float32)
    for dx in (0, 1):
        for dy in (0, 1):
            in_plane = (far if dx else near)[:, 0] * (far if dy else near)[:, 1]
            for dz in (0, 1):
                amount = in_plane * (far if dz else near)[:, 2]
                offset = dx * strides[0] + dy * strides[1] + dz
                result += rows.take(first + offset, axis=0) * amount[:, None]
    return result.reshape(*index.shape[:-1], volume.shape[3])


@dataclass(frozen=True)
class Head:
    """The way from scanner space to template space: ``affine (p + u(p) - centre) + offset``.

    Parameters
    ----------
    affine : ndarray, shape (3, 3)
    offset_mm : ndarray, shape (3,)
    control_mm : ndarray, shape (3, k, k, k)
        Displacements u at the control points of a uniform cubic B-spline.
    """

    affine: np.ndarray
    offset_mm: np.ndarray
    control_mm: np.ndarray

    def to_template(self, x_mm: np.ndarray, y_mm: np.ndarray, z_mm: np.ndarray) -> np.ndarray:
        """Map a grid whose axes are those of the scanner.

        Parameters
        ----------
        x_mm, y_mm, z_mm : ndarray, one-dimensional

        Returns
        -------
        ndarray of float32, shape (len(z), len(y), len(x), 3)
        """
        return self.place(scanner_grid(x_mm, y_mm, z_mm) + self.displacement(x_mm, y_mm, z_mm))

    def place(self, points_mm: np.ndarray) -> np.ndarray:
        """Apply the affine part to points of shape (..., 3)."""
        affine = self.affine.astype(np.float32)
        offset = self.offset_mm.astype(np.float32)
        columns = [sum(points_mm[..., j] * affine[i, j] for j in range(3)) for i in range(3)]
        return np.stack(columns, axis=-1) + offset

    def from_template(self, points_mm: np.ndarray) -> np.ndarray:
        """Bring template points, shape (n, 3), to scanner space, to a fraction of a millimetre.

        The deformation is inverted by fixed-point iteration.
        """
        inverse = np.linalg.inv(self.affine)
        target = (points_mm - self.offset_mm) @ inverse.T
        points = target
        for _ in range(2):
            points = target - self.displacement_at(points)
        return points

    def displacement_at(self, points_mm: np.ndarray) -> np.ndarray:
        """Evaluate u at scattered points of shape (n, 3): shape (n, 3), in mm."""
        n = self.control_mm.shape[1]
        index = np.clip(points_mm / CONTROL_SPACING_MM + (n - 1) / 2, 1, n - 2.001)
        first = index.astype(int) - 1
        taps = np.arange(4)
        i, j, k = (first[:, axis, None] + taps for axis in range(3))
        wx, wy, wz = (_spline_basis(index[:, axis, None] - t) for axis, t in enumerate((i, j, k)))
        u = self.control_mm[:, i[:, :, None, None], j[:, None, :, None], k[:, None, None, :]]
        u = (u * wz[:, None, None, :]).sum(axis=-1)
        u = (u * wy[:, None, :]).sum(axis=-1)
        return (u * wx).sum(axis=-1).T

    def displacement(self, x_mm: np.ndarray, y_mm: np.ndarray, z_mm: np.ndarray) -> np.ndarray:
        """Evaluate u on a grid: shape (len(z), len(y), len(x), 3), in mm, float32."""
        n = self.control_mm.shape[1]
        u = self.control_mm @ _spline_weights(z_mm, n).T  # c i j z
        u = np.moveaxis(u, 3, 0) @ _spline_weights(y_mm, n).T  # z c i y
        u = np.moveaxis(u, 3, 1) @ _spline_weights(x_mm, n).T  # z y c x
        return np.moveaxis(u, 2, 3).astype(np.float32)


def random_head(rng: np.random.Generator) -> Head:
    """Draw a head: rotation, size, shear, position and a smooth deformation.

    Parameters
    ----------
    rng : numpy.random.Generator

    Returns
    -------
    Head
    """
    angles = np.deg2rad(rng.uniform(-1, 1, 3) * ROTATION_DEGREES)
    size = rng.uniform(*SCALE) * rng.uniform(*AXIS_SCALE, 3)
    shear = np.eye(3)
    shear[np.triu_indices(3, 1)] = rng.uniform(-SHEAR, SHEAR, 3)
    affine = _rotation(angles) @ np.diag(1 / size) @ shear  # a larger head reaches less far
    offset = CENTRE_MM + rng.uniform(-SHIFT_MM, SHIFT_MM, 3)
    points = int(FIELD_MM / CONTROL_SPACING_MM) + 3
    control = rng.normal(0, CONTROL_SD_MM, (3, points, points, points))
    return Head(affine, offset, np.clip(control, -CONTROL_LIMIT_MM, CONTROL_LIMIT_MM))


def scanner_grid(x_mm: np.ndarray, y_mm: np.ndarray, z_mm: np.ndarray) -> np.ndarray:
    """Return the points of a grid, shape (len(z), len(y), len(x), 3), float32."""
    grid = np.empty((len(z_mm), len(y_mm), len(x_mm), 3), np.float32)
    grid[..., 0] = x_mm
    grid[..., 1] = np.asarray(y_mm)[:, None]
    grid[..., 2] = np.asarray(z_mm)[:, None, None]
    return grid


def _spline_weights(position_mm: np.ndarray, n_points: int) -> np.ndarray:
    """Weights of the control points, shape (len(position), n_points): cubic B-spline basis."""
    index = np.asarray(position_mm, float) / CONTROL_SPACING_MM + (n_points - 1) / 2
    return _spline_basis(index[:, None] - np.arange(n_points))


def _spline_basis(offset: np.ndarray) -> np.ndarray:
    """Uniform cubic B-spline at a distance in control spacings."""
    distance = np.abs(offset)
    inner = 2 / 3 - distance**2 + distance**3 / 2
    outer = np.clip(2 - distance, 0, None) ** 3 / 6
    return np.where(distance < 1, inner, outer)


def _rotation(angles: np.ndarray) -> np.ndarray:
    rotation = np.eye(3)
    for axis, angle in enumerate(angles):
        turn = np.eye(3)
        i, j = (axis + 1) % 3, (axis + 2) % 3
        turn[[i, j], [i, j]] = np.cos(angle)
        turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
        rotation = turn @ rotation
    return rotation


def _read_map(name: str) -> np.ndarray:
    import nibabel

    # Found without importing nilearn, which takes a second.
    folder = importlib.metadata.distribution("nilearn").locate_file("nilearn/datasets/data")
    path = folder / f"mni_icbm152_{name}_tal_nlin_sym_09a_converted.nii.gz"
    voxels = np.asanyarray(nibabel.load(path).dataobj)
    if voxels.shape != (197, 233, 189) or voxels.dtype != np.uint8:
        found = f"{voxels.shape} {voxels.dtype}"
        raise DataError(str(path), expected="shape (197, 233, 189), 8 bits", found=found)
    return voxels


def _halve(template: Template) -> Template:
    size = [length // 2 for length in template.voxels.shape[:3]]
    total = np.zeros((*size, template.voxels.shape[3]), np.uint16)
    for first in np.ndindex(2, 2, 2):
        total += template.voxels[
            tuple(slice(a, 2 * length, 2) for a, length in zip(first, size, strict=True))
        ]
    origin = tuple(start + template.spacing_mm / 2 for start in template.origin_mm)
    return Template((total // 8).astype(np.uint8), 2 * template.spacing_mm, origin)

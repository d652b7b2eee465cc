"""One image file, to pixels: PNG, JPEG, TIFF, DICOM and NIfTI."""

import io
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from medlib.errors import DataError, MedlibError, RunError
from medlib.files import expect_writable, writing
from medlib.preprocessing import apply_window, percentile_window

PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
SUFFIXES = (*PICTURES, ".dcm", ".dicom", ".nii", ".nii.gz")
MAX_VALUES = 100_000_000
"""Pixels times channels times frames that are decoded: 400 MB as float32. Anything larger is
refused from its header, so that a small file cannot fill the memory."""
LARGEST_STRUCTURE = 20  # in a mask; an image given as a mask has larger values
MIN_SIDE = 2
"""An image of one row or one column shows nothing."""

_PILLOW_FORMATS = ("PNG", "JPEG", "TIFF")
_TIFF_PHOTOMETRIC = 262  # the tag that says whether 0 is black (1) or white (0)


@dataclass(frozen=True)
class ImageFile:
    """Pixels of a file, and what the file says about them.

    Parameters
    ----------
    path : Path
    pixels : ndarray of float32, (height, width, channels) or (frames, height, width, channels)
        The values in the file's own unit: 0 to 255 for most pictures, Hounsfield units for
        computed tomography. One channel (grey) or three (red, green, blue).
    value_range : tuple of float or None
        The values of black and white where the format fixes them (eight bits: 0 and 255).
    window : tuple of float or None
        Centre and width to look at the values with: the caller's, or the file's own.
    inverted : bool
        True where small values are bright (DICOM's MONOCHROME1).
    spacing_mm : tuple of float or None
        Distance of neighbouring pixels, (down, across), mm.
    modality : str
        DICOM's code ("CT", "MR", "US" ...), or "".
    unit : str
        "HU" for computed tomography that was rescaled to Hounsfield units, else "".
    """

    path: Path
    pixels: np.ndarray
    value_range: tuple[float, float] | None = None
    window: tuple[float, float] | None = None
    inverted: bool = False
    spacing_mm: tuple[float, float] | None = None
    modality: str = ""
    unit: str = ""

    @property
    def n_frames(self) -> int:
        """Number of frames or slices, 1 for a single image."""
        return len(self.pixels) if self.pixels.ndim == 4 else 1

    def frame(self, index: int) -> "ImageFile":
        """One frame of several as an image of its own."""
        pixels = self.pixels[index] if self.pixels.ndim == 4 else self.pixels
        return replace(self, pixels=pixels)

    def scaled(self) -> np.ndarray:
        """Return the pixels in [0, 1], bright things large.

        With a window: through it. Without, values of eight bits or fewer are divided by the
        largest possible one (255), and all others run from the image's own 0.5th percentile to
        its 99.5th, because twelve or sixteen bits are seldom used to the full.

        Returns
        -------
        ndarray of float32, the shape of ``pixels``
        """
        if self.window is not None:
            scaled = apply_window(self.pixels, *self.window)
        elif self.value_range is not None:
            low, high = self.value_range
            scaled = apply_window(self.pixels, (low + high) / 2, high - low)
        else:
            scaled = apply_window(self.pixels, *percentile_window(self.pixels))
        return 1 - scaled if self.inverted else scaled


def read_image(path: str | Path, *, window: tuple[float, float] | None = None) -> ImageFile:
    """Read an image file; what it is, is found out from its content.

    - PNG, JPEG, TIFF: 1, 8 and 16 bits, float32; palettes and CMYK become red, green, blue;
      transparent pixels become black; a photograph is turned the way its camera was held. A TIFF
      of several pages gives several frames. Sixteen bits are kept in grey images; colour comes
      with eight.
    - DICOM: rescaled to its physical unit; YBR and palette colours become red, green, blue.
    - NIfTI: turned to the canonical orientation, then cut into axial slices (frames, from foot
      to head), each seen as radiologists do: the patient's right on the left, anterior up. A file
      of one slice stays that slice. Of further dimensions (time) the first volume is read.

    Parameters
    ----------
    path : str or Path
    window : tuple of float, optional
        Centre and width to use instead of those in the file.

    Returns
    -------
    ImageFile
        ``.pixels`` in the file's unit, ``.scaled()`` in [0, 1].

    Raises
    ------
    DataError
        If there is no such file, it is not an image or damaged, it has values that are not finite,
        or it is smaller than 2 x 2 or larger than 100 million values.
    """
    path = Path(path)
    try:
        image = _reader(path)(path)
        if not np.isfinite(image.pixels).all():
            raise DataError(str(path), expected="finite values", found="NaN or infinity")
    except MedlibError:
        raise
    except Exception as error:  # decoders raise anything on damaged files
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(str(path), expected="a readable image", found=reason) from error
    if window is None:
        return image
    if image.modality == "CT" and image.unit != "HU":
        expected = "RescaleSlope and RescaleIntercept, because a window is in Hounsfield units"
        raise DataError(str(path), expected=expected, found="neither")
    return replace(image, window=(float(window[0]), float(window[1])))


def read_mask(path: str | Path) -> np.ndarray:
    """Read a mask: 0 outside, and inside the number of the structure.

    Parameters
    ----------
    path : str or Path
        Any format of :func:`read_image`. Values 0 and 255 mean outside and inside; small whole
        numbers are structures. Of a JPEG, whose compression smears the border, what is above half
        of the brightest value is inside.

    Returns
    -------
    ndarray of int8, shape (height, width) or (frames, height, width)

    Raises
    ------
    DataError
        As :func:`read_image`, and if the values are neither of these: it may be a photograph.
    """
    pixels = read_image(path).pixels.max(axis=-1)
    values = np.unique(pixels)
    if Path(path).suffix.lower() in (".jpg", ".jpeg"):
        inside = pixels > values[-1] / 2
        smeared = np.abs(pixels - values[-1] * inside) > values[-1] / 4
        wrong = smeared.mean() > 0.1  # only borders may be neither black nor white
    elif len(values) == 2 and values[0] == 0 and values[1] > LARGEST_STRUCTURE:
        inside, wrong = pixels > 0, False  # 0 and 255
    else:
        inside = pixels
        wrong = (values % 1 != 0).any() or values[0] < 0 or values[-1] > LARGEST_STRUCTURE
    if wrong:
        raise DataError(
            str(path),
            expected=f"a mask: 0 and 1, 0 and 255, or structures 0 to {LARGEST_STRUCTURE}",
            found=f"{len(values)} values from {values[0]:g} to {values[-1]:g}",
        )
    return inside.astype(np.int8)


def write_mask(path: Path, mask: np.ndarray, *, source: Path) -> Path:
    """Write a mask of every frame of an image: NIfTI beside NIfTI, else PNG, or TIFF with pages.

    Parameters
    ----------
    path : Path
        Its suffix is added where it is missing. Folders are made.
    mask : ndarray of bool, shape (frames, height, width)
        Of the frames as :func:`read_image` gives them.
    source : Path
        The image. NIfTI gets its voxels and its affine.

    Returns
    -------
    Path
        The file: 0 outside, inside 1 (NIfTI) or 255.

    Raises
    ------
    RunError
        If it cannot be written, or would take the place of the image.
    """
    from PIL import Image

    is_nifti = source.name.lower().endswith((".nii", ".nii.gz"))
    suffix = source.suffix if is_nifti else ".png" if len(mask) == 1 else ".tif"
    if not path.name.lower().endswith(suffix.lower()):
        path = path.with_name(path.name + suffix)
    if path.resolve() == source.resolve():
        raise RunError(str(path), expected="another file than the image", found="the image itself")
    with expect_writable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with writing(path) as partial:
        if is_nifti:
            _write_nifti(partial, mask, source)
        else:
            first, *others = (Image.fromarray(frame.astype(np.uint8) * 255) for frame in mask)
            first.save(partial, save_all=bool(others), append_images=others)
    return path


def _reader(path: Path):
    """Choose the reading function by the name or the first bytes."""
    name = path.name.lower()
    if name.endswith((".nii", ".nii.gz")):
        return _read_nifti
    with path.open("rb") as file:
        is_dicom = file.read(132)[128:] == b"DICM"
    return _read_dicom if is_dicom or name.endswith((".dcm", ".dicom")) else _read_picture


def _check_size(path: Path, height: int, width: int, channels: int = 1, frames: int = 1) -> None:
    found = f"{height} x {width} pixels, channels: {channels}, frames: {frames}"
    if min(height, width) < MIN_SIDE:
        expected = f"an image of at least {MIN_SIDE} x {MIN_SIDE} pixels"
        raise DataError(str(path), expected=expected, found=found)
    if height * width * channels * frames > MAX_VALUES:
        expected = f"at most {MAX_VALUES // 10**6} million values"
        advice = "Save it smaller, or cut it into tiles"
        raise DataError(str(path), expected=expected, found=found, advice=advice)


# Pictures -----------------------------------------------------------------------------------------


def _read_picture(path: Path) -> ImageFile:
    from PIL import Image

    frames = []
    with Image.open(path, formats=_PILLOW_FORMATS) as picture:
        n_frames = getattr(picture, "n_frames", 1) if picture.format == "TIFF" else 1
        photometric = getattr(picture, "tag_v2", {}).get(_TIFF_PHOTOMETRIC)
        inverted = photometric == 0 and picture.mode not in ("1", "L")  # Pillow turns those itself
        for index in range(n_frames):
            picture.seek(index)
            _check_size(path, picture.height, picture.width, len(picture.getbands()), n_frames)
            frames.append(_picture_pixels(picture))
    pixels = frames[0] if n_frames == 1 else np.stack(frames)
    return ImageFile(
        path=path,
        pixels=pixels.astype(np.float32),
        value_range=(0.0, 255.0) if pixels.dtype == np.uint8 else None,
        inverted=inverted,
    )


def _picture_pixels(picture) -> np.ndarray:
    """Decode one page: uint8 with one or three channels, or grey values of more bits."""
    from PIL import Image, ImageOps

    picture = ImageOps.exif_transpose(picture)
    if picture.mode == "1":
        picture = picture.convert("L")
    elif picture.has_transparency_data and not picture.mode.startswith("I"):
        black = Image.new("RGBA", picture.size, "black")
        opaque = "L" if picture.mode.startswith("L") else "RGB"
        picture = Image.alpha_composite(black, picture.convert("RGBA")).convert(opaque)
    if picture.mode not in ("L", "RGB", "F", "I") and not picture.mode.startswith("I;16"):
        picture = picture.convert("RGB")  # CMYK, YCbCr ...
    pixels = np.asarray(picture)
    return pixels if pixels.ndim == 3 else pixels[..., np.newaxis]


# DICOM --------------------------------------------------------------------------------------------


def _read_dicom(path: Path) -> ImageFile:
    import pydicom
    from pydicom import uid
    from pydicom.pixels import pixel_array

    dataset = pydicom.dcmread(path, force=True, defer_size=2**20)  # sizes are checked first
    pixel_tags = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
    if not any(tag in dataset for tag in pixel_tags):
        kind = getattr(dataset.get("SOPClassUID"), "name", "") or "a file"
        raise DataError(str(path), expected="a DICOM image", found=f"{kind} without pixels")
    height, width = int(dataset.Rows), int(dataset.Columns)
    channels = int(dataset.get("SamplesPerPixel") or 1)
    n_frames = int(dataset.get("NumberOfFrames") or 1)
    photometric = str(dataset.get("PhotometricInterpretation", "MONOCHROME2")).strip()
    is_palette = photometric == "PALETTE COLOR"
    _check_size(path, height, width, 3 if is_palette else channels, n_frames)
    if "TransferSyntaxUID" not in dataset.file_meta:
        _, little = dataset.original_encoding
        syntax = uid.ExplicitVRLittleEndian if little else uid.ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = syntax  # pixels are the same in the implicit one
    _check_codestreams(path, dataset, height, width, n_frames)
    pixels, value_range = _dicom_values(dataset, pixel_array(dataset), is_palette=is_palette)
    modality = str(dataset.get("Modality", "") or "")
    shape = (height, width, pixels.shape[-1] if channels == 3 or is_palette else 1)
    pixels = pixels.reshape(shape if n_frames == 1 else (n_frames, *shape))
    return ImageFile(
        path=path,
        pixels=pixels,
        value_range=value_range,
        window=None if pixels.shape[-1] == 3 else _dicom_window(dataset),
        inverted=photometric == "MONOCHROME1",
        spacing_mm=_dicom_spacing(dataset),
        modality=modality,
        unit="HU" if modality == "CT" and _is_rescaled(dataset) else "",
    )


def _dicom_values(dataset, raw: np.ndarray, *, is_palette: bool):
    """Stored values to values with a meaning, and the range of those of eight bits."""
    from pydicom.pixels import apply_color_lut, apply_modality_lut

    if is_palette:
        colours = apply_color_lut(raw, dataset)[..., :3]
        return colours.astype(np.float32), (0.0, float(np.iinfo(colours.dtype).max))
    _copy_rescale(dataset)
    bits = int(dataset.get("BitsStored", None) or dataset.get("BitsAllocated", 16))
    is_colour = dataset.get("SamplesPerPixel", 1) == 3
    values = raw
    if _is_rescaled(dataset) and not is_colour:
        values = apply_modality_lut(raw, dataset)
    known = raw.dtype.kind == "u" and (is_colour or bits <= 8) and np.array_equal(values, raw)
    value_range = (0.0, float(2**bits - 1)) if known else None
    return values.astype(np.float32), value_range


def _copy_rescale(dataset) -> None:
    """Enhanced objects keep slope and intercept in functional groups: of the first frame here."""
    for step in _places(dataset, "PixelValueTransformationSequence")[1:]:
        if not _is_rescaled(dataset):
            dataset.RescaleSlope = step.RescaleSlope
            dataset.RescaleIntercept = step.RescaleIntercept


def _places(dataset, sequence: str) -> list:
    """Where facts may stand: in the data set; of enhanced objects, for all frames or the first."""
    names = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
    groups = [group for name in names for group in list(dataset.get(name) or [])[:1]]
    return [dataset, *(item for group in groups for item in list(group.get(sequence) or [])[:1])]


def _is_rescaled(dataset) -> bool:
    return "ModalityLUTSequence" in dataset or (
        dataset.get("RescaleSlope") is not None and dataset.get("RescaleIntercept") is not None
    )


def _dicom_window(dataset) -> tuple[float, float] | None:
    """The file's first window, as centre and width of the exact linear function."""
    try:
        centre, width = (
            float(np.atleast_1d(dataset.get(tag))[0]) for tag in ("WindowCenter", "WindowWidth")
        )
    except (TypeError, ValueError, IndexError):
        return None
    if str(dataset.get("VOILUTFunction", "LINEAR") or "LINEAR") == "LINEAR":
        centre, width = centre - 0.5, width - 1  # DICOM PS3.3 C.11.2.1.2.1
    return (centre, width) if np.isfinite([centre, width]).all() and width > 0 else None


def _dicom_spacing(dataset) -> tuple[float, float] | None:
    for place in _places(dataset, "PixelMeasuresSequence"):
        for tag in ("PixelSpacing", "ImagerPixelSpacing"):
            try:
                down, across = (float(value) for value in place.get(tag))
            except (TypeError, ValueError):
                continue
            if down > 0 and across > 0:
                return down, across
    return None


def _check_codestreams(path: Path, dataset, height: int, width: int, n_frames: int) -> None:
    """Refuse compressed frames of another size than the header says, such as rows for columns."""
    from PIL import Image, UnidentifiedImageError
    from pydicom.encaps import generate_frames

    if not dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        return
    for frame in generate_frames(dataset.PixelData, number_of_frames=n_frames):
        try:
            with Image.open(io.BytesIO(frame), formats=("JPEG", "JPEG2000")) as picture:
                size = (picture.height, picture.width)
        except UnidentifiedImageError:
            continue  # another compression, whose decoder goes by the header
        if size != (height, width):
            expected = f"frames of {height} x {width}"
            raise DataError(str(path), expected=expected, found=f"{size[0]} x {size[1]}")


# NIfTI --------------------------------------------------------------------------------------------


def _read_nifti(path: Path) -> ImageFile:
    import nibabel

    volume = nibabel.load(path)
    stored = volume.get_data_dtype()
    if stored.kind not in "biuf":
        raise DataError(str(path), expected="one number a voxel", found=f"{stored}")
    shape = (*volume.shape, 1)[:3]
    sides = sorted(shape, reverse=True)  # a single slice has one side of 1, wherever it is
    _check_size(path, sides[0], sides[1], 1, sides[2])
    first = (..., *(0,) * (len(volume.shape) - 3)) if len(volume.shape) > 3 else ...
    values = np.asarray(volume.dataobj[first], dtype=np.float32).reshape(shape)
    pixels, (down, across) = _axial(values, volume.affine)
    slope, intercept = volume.header.get_slope_inter()
    is_plain = stored == np.uint8 and slope in (None, 1) and not intercept
    return ImageFile(
        path=path,
        pixels=np.ascontiguousarray(pixels if len(pixels) > 1 else pixels[0])[..., np.newaxis],
        value_range=(0.0, 255.0) if is_plain else None,
        spacing_mm=(down, across) if down > 0 and across > 0 else None,
    )


def _write_nifti(path: Path, mask: np.ndarray, source: Path) -> None:
    import nibabel

    volume = nibabel.load(source)
    voxels = np.zeros((*volume.shape, 1)[:3], dtype=np.uint8)
    places, _ = _axial(np.arange(voxels.size, dtype=np.int32).reshape(voxels.shape), volume.affine)
    voxels.flat[places] = mask
    nibabel.Nifti1Image(voxels, volume.affine).to_filename(path)


def _axial(values: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, tuple[float, float]]:
    """Cut voxels into axial slices, (slices, rows, columns), of pixels (down, across) mm apart."""
    import nibabel

    oriented = nibabel.as_closest_canonical(nibabel.Nifti1Image(values, affine))
    # The axes now point right, anterior and superior. Stacks are cut along the last one; a single
    # slice is kept as it is. Rows run down from superior or anterior, columns from the right.
    through = 2 if min(oriented.shape) > 1 else int(np.argmin(oriented.shape))
    column, row = (axis for axis in range(3) if axis != through)
    pixels = np.asarray(oriented.dataobj).transpose(through, row, column)[:, ::-1, ::-1]
    zooms = oriented.header.get_zooms()
    return pixels, (float(zooms[row]), float(zooms[column]))

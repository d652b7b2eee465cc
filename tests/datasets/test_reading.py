import gzip
import random
import resource
import time
import warnings
import zlib
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import tifffile
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset

from medlib.datasets.reading import read_image, read_mask
from medlib.errors import DataError, MedlibError

RAMP = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20

# Pictures -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_eight_bits_are_divided_by_255(tmp_path, suffix):
    Image.fromarray(RAMP).save(tmp_path / f"ramp.{suffix}")
    image = read_image(tmp_path / f"ramp.{suffix}")
    assert image.pixels.dtype == np.float32
    np.testing.assert_array_equal(image.pixels[..., 0], RAMP)
    assert image.scaled()[..., 0] == pytest.approx(RAMP / 255)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_keep_all_their_grey_levels(tmp_path, suffix):
    levels = np.linspace(0, 65535, 4096).astype(np.uint16).reshape(64, 64)
    Image.fromarray(levels).save(tmp_path / f"deep.{suffix}")
    image = read_image(tmp_path / f"deep.{suffix}")
    np.testing.assert_array_equal(image.pixels[..., 0], levels)
    assert len(np.unique(image.scaled())) > 4000


def test_twelve_bits_in_sixteen_are_not_nearly_black(tmp_path):
    levels = np.linspace(0, 4095, 4096).astype(np.uint16).reshape(64, 64)
    Image.fromarray(levels).save(tmp_path / "ct.png")
    scaled = read_image(tmp_path / "ct.png").scaled()
    assert scaled.min() == 0
    assert scaled.max() == 1
    assert scaled.mean() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.uint32])
def test_tiff_of_any_number_type(tmp_path, dtype):
    values = (np.arange(20).reshape(4, 5) * 3).astype(dtype)
    tifffile.imwrite(tmp_path / "values.tif", values)
    np.testing.assert_array_equal(read_image(tmp_path / "values.tif").pixels[..., 0], values)


def test_a_tiff_that_pillow_cannot_read_is_one_error(tmp_path):
    tifffile.imwrite(tmp_path / "double.tif", np.ones((4, 5)))
    _fails(tmp_path / "double.tif", "expected a readable image")


def test_negative_values_survive(tmp_path):
    tifffile.imwrite(tmp_path / "hu.tif", np.array([[-1000, 0], [40, 3000]], dtype=np.int16))
    assert read_image(tmp_path / "hu.tif").pixels.min() == -1000


def test_a_tiff_in_which_zero_is_white(tmp_path):
    for dtype in (np.uint8, np.uint16):
        path = tmp_path / f"{np.dtype(dtype)}.tif"
        tifffile.imwrite(path, np.array([[0, 200], [100, 50]], dtype), photometric="miniswhite")
        scaled = read_image(path).scaled()[..., 0]
        assert scaled[0, 0] == scaled.max()
        assert scaled[0, 1] == scaled.min()


def test_pages_of_a_tiff_are_frames(tmp_path):
    pages = np.arange(2 * 5 * 6, dtype=np.uint8).reshape(2, 5, 6)
    tifffile.imwrite(tmp_path / "stack.tif", pages, photometric="minisblack")
    image = read_image(tmp_path / "stack.tif")
    np.testing.assert_array_equal(image.pixels[..., 0], pages)
    np.testing.assert_array_equal(image.frame(1).pixels[..., 0], pages[1])
    assert image.n_frames == 2


def test_cmyk_becomes_red_green_blue(tmp_path):
    inks = np.zeros((4, 4, 4), dtype=np.uint8)
    inks[..., 0] = 255  # cyan ink only: no red left
    Image.fromarray(inks, mode="CMYK").save(tmp_path / "print.tif")
    pixels = read_image(tmp_path / "print.tif").pixels
    np.testing.assert_array_equal(pixels[0, 0], [0, 255, 255])
    Image.fromarray(inks, mode="CMYK").save(tmp_path / "print.jpg", quality=100)
    assert read_image(tmp_path / "print.jpg").pixels[0, 0] == pytest.approx([0, 255, 255], abs=3)


def test_a_palette_is_looked_up(tmp_path):
    picture = Image.fromarray(np.array([[0, 1], [1, 0]], dtype=np.uint8), mode="P")
    picture.putpalette([10, 20, 30, 200, 100, 50])
    picture.save(tmp_path / "palette.png")
    pixels = read_image(tmp_path / "palette.png").pixels
    np.testing.assert_array_equal(pixels[0], [[10, 20, 30], [200, 100, 50]])


def test_transparent_pixels_are_black(tmp_path):
    colours = np.full((2, 2, 4), 200, dtype=np.uint8)
    colours[..., 3] = [[255, 0], [255, 255]]
    Image.fromarray(colours).save(tmp_path / "alpha.png")
    pixels = read_image(tmp_path / "alpha.png").pixels
    np.testing.assert_array_equal(pixels[0], [[200] * 3, [0] * 3])
    Image.fromarray(colours[..., 2:], mode="LA").save(tmp_path / "grey_alpha.png")
    np.testing.assert_array_equal(read_image(tmp_path / "grey_alpha.png").pixels[0, :, 0], [200, 0])


def test_a_photograph_is_turned_as_its_camera_was_held(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned clockwise
    Image.fromarray(RAMP).save(tmp_path / "skin.png", exif=exif)
    np.testing.assert_array_equal(
        read_image(tmp_path / "skin.png").pixels[..., 0], np.rot90(RAMP, -1)
    )


def test_one_bit_is_black_and_white(tmp_path):
    Image.fromarray(np.eye(4) > 0).save(tmp_path / "mask.png")
    np.testing.assert_array_equal(read_image(tmp_path / "mask.png").scaled()[..., 0], np.eye(4))
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), np.eye(4) > 0)


def test_a_mask_holds_the_numbers_of_structures(tmp_path):
    for values, wanted in (([0, 1, 2, 3], [0, 1, 2, 3]), ([0, 255, 0, 255], [0, 1, 0, 1])):
        pixels = np.array(values, dtype=np.uint8).reshape(2, 2)
        Image.fromarray(pixels).save(tmp_path / "mask.png")
        found = read_mask(tmp_path / "mask.png")
        assert found.dtype == np.int8
        np.testing.assert_array_equal(found.ravel(), wanted)
    square = np.zeros((40, 40), dtype=np.uint8)
    square[9:29, 11:30] = 255
    Image.fromarray(square).save(tmp_path / "mask.jpg", quality=60)
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.jpg"), square > 0)


def test_the_content_decides_and_not_the_name(tmp_path):
    Image.fromarray(RAMP).save(tmp_path / "really.png")
    (tmp_path / "really.png").rename(tmp_path / "called.jpg")
    np.testing.assert_array_equal(read_image(tmp_path / "called.jpg").pixels[..., 0], RAMP)


# What is refused ----------------------------------------------------------------------------------


def _fails(path: Path, *parts: str) -> None:
    with pytest.raises(DataError) as caught:
        read_image(path)
    for part in (str(path), *parts):
        assert part in str(caught.value)


def test_what_is_no_image_is_named(tmp_path):
    (tmp_path / "notes.png").write_text("the patient was seen on Monday\n")
    (tmp_path / "empty.png").touch()
    (tmp_path / "noise.jpg").write_bytes(bytes(range(256)) * 4)
    for name in ("notes.png", "empty.png", "noise.jpg"):
        _fails(tmp_path / name, "expected a readable image", "cannot identify image file")
    _fails(tmp_path / "nowhere.png", "No such file")
    _fails(tmp_path, "directory")


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_a_file_cut_short_is_refused(tmp_path, suffix):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / f"whole.{suffix}")
    whole = (tmp_path / f"whole.{suffix}").read_bytes()
    (tmp_path / f"cut.{suffix}").write_bytes(whole[: len(whole) // 2])
    _fails(tmp_path / f"cut.{suffix}", "expected a readable image")


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1)])
def test_an_image_of_one_line_is_refused(tmp_path, shape):
    Image.fromarray(np.zeros(shape, dtype=np.uint8)).save(tmp_path / "dot.png")
    _fails(tmp_path / "dot.png", "at least 2 x 2 pixels", f"{shape[0]} x {shape[1]}")


def _png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4)

    size = width.to_bytes(4) + height.to_bytes(4)
    header = chunk(b"IHDR", size + bytes([8, 0, 0, 0, 0]))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(100)))


@pytest.mark.parametrize(
    ("side", "message"), [(20_000, "exceeds limit"), (12_000, "at most 100 million values")]
)
def test_a_gigantic_picture_is_refused_before_decoding(tmp_path, side, message):
    (tmp_path / "bomb.png").write_bytes(_png_header(side, side))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        start = time.perf_counter()
        _fails(tmp_path / "bomb.png", message)
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_numbers_are_refused(tmp_path, value):
    values = np.ones((5, 6), dtype=np.float32)
    values[2, 3] = value
    tifffile.imwrite(tmp_path / "map.tif", values)
    nibabel.Nifti1Image(values[..., np.newaxis], np.eye(4)).to_filename(tmp_path / "map.nii.gz")
    _fails(tmp_path / "map.tif", "finite values", "NaN or infinity")
    _fails(tmp_path / "map.nii.gz", "finite values", "NaN or infinity")


# DICOM: golden arrays -----------------------------------------------------------------------------


def _dicom(path: Path, stored: np.ndarray, *, syntax=uid.ExplicitVRLittleEndian, **tags) -> Path:
    """Write a small DICOM file; ``tags`` replace or, when None, remove the usual ones."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID = uid.SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset = FileDataset(path, {}, file_meta=meta, preamble=bytes(128))
    big_endian = syntax == uid.ExplicitVRBigEndian
    bits = stored.dtype.itemsize * 8
    usual = {
        "SOPClassUID": meta.MediaStorageSOPClassUID,
        "Modality": "OT",
        "Rows": stored.shape[-2],
        "Columns": stored.shape[-1],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": tags.get("BitsStored", bits) - 1,
        "PixelRepresentation": int(stored.dtype.kind == "i"),
        "PixelData": stored.astype(stored.dtype.newbyteorder(">" if big_endian else "<")).tobytes(),
    }
    for keyword, value in (usual | tags).items():
        if value is not None:
            setattr(dataset, keyword, value)
    dataset["PixelData"].VR = "OW" if bits > 8 else "OB"
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)
    return path


SIGNED = np.array([[-1024, -1, 0], [1, 40, 3071]], dtype=np.int16)


@pytest.mark.parametrize(
    "syntax",
    [
        uid.ExplicitVRLittleEndian,
        uid.ImplicitVRLittleEndian,
        uid.ExplicitVRBigEndian,
        uid.DeflatedExplicitVRLittleEndian,
    ],
)
def test_signed_values_in_every_byte_order(tmp_path, syntax):
    path = _dicom(tmp_path / "signed.dcm", SIGNED, syntax=syntax)
    np.testing.assert_array_equal(read_image(path).pixels[..., 0], SIGNED)


def test_rescaling_gives_hounsfield_units(tmp_path):
    stored = np.array([[0, 1000], [1064, 4095]], dtype=np.uint16)
    tags = {"Modality": "CT", "RescaleSlope": "0.5", "RescaleIntercept": "-1024"}
    image = read_image(_dicom(tmp_path / "ct.dcm", stored, BitsStored=12, **tags))
    np.testing.assert_array_equal(image.pixels[..., 0], [[-1024, -524], [-492, 1023.5]])
    assert (image.unit, image.modality) == ("HU", "CT")
    wide = read_image(tmp_path / "ct.dcm", window=(0, 2048)).scaled()[..., 0]
    assert wide == pytest.approx(np.array([[0, 500 / 2048], [532 / 2048, 2047.5 / 2048]]), abs=1e-6)


def test_a_window_for_computed_tomography_needs_hounsfield_units(tmp_path):
    path = _dicom(tmp_path / "ct.dcm", SIGNED, Modality="CT")
    with pytest.raises(DataError, match="RescaleSlope and RescaleIntercept"):
        read_image(path, window=(40, 400))
    assert read_image(path).unit == ""


def test_the_window_in_the_file_is_what_the_standard_says(tmp_path):
    """Against pydicom's implementation of PS3.3 C.11.2.1.2."""
    stored = np.linspace(0, 4095, 400).astype(np.uint16).reshape(20, 20)
    path = _dicom(
        *(tmp_path / "window.dcm", stored), BitsStored=12, WindowCenter="1200", WindowWidth="800"
    )
    expected = pydicom.pixels.apply_windowing(stored, pydicom.dcmread(path)) / 4095
    assert read_image(path).scaled()[..., 0] == pytest.approx(expected, abs=1e-5)


def test_monochrome1_is_turned_over(tmp_path):
    stored = np.array([[0, 255], [51, 204]], dtype=np.uint8)
    path = _dicom(tmp_path / "xray.dcm", stored, PhotometricInterpretation="MONOCHROME1")
    image = read_image(path)
    np.testing.assert_array_equal(image.pixels[..., 0], stored)  # the values stay what they are
    assert image.scaled()[..., 0] == pytest.approx(1 - stored / 255)


def test_monochrome1_is_turned_over_after_the_window(tmp_path):
    stored = np.linspace(0, 4095, 400).astype(np.uint16).reshape(20, 20)
    window = {"BitsStored": 12, "WindowCenter": "1000", "WindowWidth": "500"}
    plain = read_image(_dicom(tmp_path / "2.dcm", stored, **window)).scaled()
    window["PhotometricInterpretation"] = "MONOCHROME1"
    turned = read_image(_dicom(tmp_path / "1.dcm", stored, **window)).scaled()
    assert turned == pytest.approx(1 - plain)


@pytest.mark.parametrize(("bits", "white"), [(8, 255), (6, 63), (1, 1)])
def test_few_bits_are_divided_by_the_largest_value(tmp_path, bits, white):
    stored = np.array([[0, white], [white, 0]], dtype=np.uint8)
    scaled = read_image(_dicom(tmp_path / "few.dcm", stored, BitsStored=bits)).scaled()
    np.testing.assert_array_equal(scaled[..., 0], stored / white)


def test_frames_come_in_order(tmp_path):
    stored = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)
    image = read_image(_dicom(tmp_path / "loop.dcm", stored, NumberOfFrames=3))
    np.testing.assert_array_equal(image.pixels[..., 0], stored)


def test_ybr_becomes_red_green_blue(tmp_path):
    stored = np.zeros((2, 2, 3), dtype=np.uint8)
    stored[:] = [76, 85, 255]  # pure red in YCbCr
    tags = {"PhotometricInterpretation": "YBR_FULL", "SamplesPerPixel": 3, "PlanarConfiguration": 0}
    path = _dicom(tmp_path / "doppler.dcm", stored, Rows=2, Columns=2, **tags)
    assert read_image(path).pixels[0, 0] == pytest.approx([255, 0, 0], abs=2)


def test_palette_colours_are_looked_up(tmp_path):
    tags = {"PhotometricInterpretation": "PALETTE COLOR"}
    for colour, values in {"Red": [9, 200], "Green": [8, 100], "Blue": [7, 50]}.items():
        tags[f"{colour}PaletteColorLookupTableDescriptor"] = [2, 0, 8]
        tags[f"{colour}PaletteColorLookupTableData"] = bytes(values)
    stored = np.array([[0, 1], [1, 0]], dtype=np.uint8)
    image = read_image(_dicom(tmp_path / "palette.dcm", stored, **tags))
    np.testing.assert_array_equal(image.pixels[0], [[9, 8, 7], [200, 100, 50]])
    assert image.scaled()[0, 1] == pytest.approx(np.array([200, 100, 50]) / 255)


def test_spacing_is_read(tmp_path):
    image = read_image(_dicom(tmp_path / "mr.dcm", SIGNED, PixelSpacing=["0.5", "0.25"]))
    assert image.spacing_mm == (0.5, 0.25)
    image = read_image(_dicom(tmp_path / "cr.dcm", SIGNED, ImagerPixelSpacing=["0.1", "0.1"]))
    assert image.spacing_mm == (0.1, 0.1)


def test_missing_tags(tmp_path):
    image = read_image(_dicom(tmp_path / "bare.dcm", SIGNED, Modality=None))
    assert (image.spacing_mm, image.window, image.modality) == (None, None, "")
    broken = {"WindowCenter": "", "WindowWidth": "", "PixelSpacing": None}
    assert read_image(_dicom(tmp_path / "broken.dcm", SIGNED, **broken)).window is None
    _fails(_dicom(tmp_path / "rows.dcm", SIGNED, Rows=None), "readable image", "Rows")
    _fails(_dicom(tmp_path / "bits.dcm", SIGNED, BitsAllocated=None), "readable image")


def test_a_file_without_its_first_part(tmp_path):
    """Old files have neither the preamble nor the name of their encoding."""
    path = _dicom(tmp_path / "whole.dcm", SIGNED, syntax=uid.ImplicitVRLittleEndian)
    dataset = Dataset()
    dataset.update({element.tag: element for element in pydicom.dcmread(path)})
    dataset.save_as(tmp_path / "old.dcm", implicit_vr=True, little_endian=True)
    np.testing.assert_array_equal(read_image(tmp_path / "old.dcm").pixels[..., 0], SIGNED)


@pytest.mark.parametrize(
    "tags",
    [
        {"Rows": 20_000, "Columns": 20_000},
        {"Rows": 2000, "Columns": 2000, "NumberOfFrames": 1000},
        {"Rows": 8000, "Columns": 8000, "SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"},
    ],
)
def test_a_gigantic_dicom_image_is_refused_before_decoding(tmp_path, tags):
    start = time.perf_counter()
    _fails(_dicom(tmp_path / "bomb.dcm", SIGNED, **tags), "at most 100 million values")
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize("size", [(500, 500), (2, 8)])
def test_a_compressed_frame_of_another_size_is_refused(tmp_path, size):
    import io

    from pydicom.encaps import encapsulate

    file = io.BytesIO()
    Image.fromarray(np.zeros(size, dtype=np.uint8)).save(file, "JPEG")
    path = tmp_path / "lie.dcm"
    _dicom(path, np.zeros((4, 4), dtype=np.uint8))
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = uid.JPEGBaseline8Bit
    dataset.PixelData = encapsulate([file.getvalue()])
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(path)
    _fails(path, "frames of 4 x 4", f"{size[0]} x {size[1]}")


# DICOM: files from many makers --------------------------------------------------------------------

ODD_FILES = Path(pydicom.__file__).parent / "data" / "test_files"
"""What lies in the wheel. ``get_testdata_files`` would fetch more from the network."""


@pytest.mark.filterwarnings("ignore")
def test_every_odd_file_gives_pixels_or_one_error():
    files = sorted(path for path in ODD_FILES.rglob("*") if path.is_file())
    decoded, refused = [], {}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for path in files:
        start = time.perf_counter()
        try:
            image = read_image(path)
        except MedlibError as error:
            refused[path] = str(error)
        else:
            scaled = image.scaled()
            assert np.isfinite(image.pixels).all()
            assert scaled.shape == image.pixels.shape
            assert scaled.min() >= 0
            assert scaled.max() <= 1
            decoded.append(path.name)
        assert time.perf_counter() - start < 10, path
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # kB
    # pydicom 3.0.2 ships 176 files; 81 hold pixels in an encoding that can be read without
    # further decoders (JPEG lossless and JPEG-LS need one).
    assert len(decoded) >= 81
    assert len(decoded) + len(refused) == len(files)
    assert {"CT_small.dcm", "MR_small_bigendian.dcm", "image_dfl.dcm", "rtdose.dcm"} <= set(decoded)
    names = {path.name for path in refused}
    assert {"rtplan.dcm", "MR_truncated.dcm", "DICOMDIR", "README.txt"} <= names
    assert all(str(path) in message for path, message in refused.items())
    assert not any("\n" in message for message in refused.values())


@pytest.mark.filterwarnings("ignore:The pixel data is 8320 bytes")
def test_encodings_of_one_image_agree():
    images = [
        read_image(ODD_FILES / f"MR_small{kind}.dcm").pixels
        for kind in ("", "_RLE", "_bigendian", "_expb", "_implicit", "_jp2klossless", "_padded")
    ]
    for image in images[1:]:
        np.testing.assert_array_equal(image, images[0])


@pytest.mark.filterwarnings("ignore")
def test_damaged_files_give_one_error_or_pixels(tmp_path):
    """Bytes changed at random: never another exception."""
    rng = random.Random(0)
    messages = []
    for name in ("CT_small.dcm", "image_dfl.dcm", "SC_rgb_rle.dcm", "JPEG2000.dcm"):
        whole = (ODD_FILES / name).read_bytes()
        for _ in range(25):
            damaged = bytearray(whole)
            for _ in range(rng.choice([1, 10, 200])):
                damaged[rng.randrange(len(damaged) // rng.choice([1, 20]))] = rng.randrange(256)
            path = tmp_path / "damaged.dcm"
            path.write_bytes(damaged[: rng.choice([len(damaged), rng.randrange(len(damaged))])])
            try:
                read_image(path).scaled()
            except MedlibError as error:
                messages.append(str(error))
    assert 10 < len(messages) < 100  # some damage does not show
    assert all("damaged.dcm" in message for message in messages)


# NIfTI --------------------------------------------------------------------------------------------


def _right_anterior_superior() -> tuple[np.ndarray, np.ndarray]:
    """A volume whose voxel (x, y, z) holds 100 x + 10 y + z, and its affine."""
    x, y, z = np.meshgrid(np.arange(3), np.arange(4), np.arange(5), indexing="ij")
    return (100 * x + 10 * y + z).astype(np.float32), np.diag([2.0, 3.0, 4.0, 1.0])


@pytest.mark.parametrize("name", ["brain.nii", "brain.nii.gz"])
def test_slices_are_axial_and_seen_as_radiologists_do(tmp_path, name):
    values, affine = _right_anterior_superior()
    nibabel.Nifti1Image(values, affine).to_filename(tmp_path / name)
    image = read_image(tmp_path / name)
    assert image.pixels.shape == (5, 4, 3, 1)
    assert image.pixels[0, 0, 0, 0] == values[2, 3, 0]  # upper left: the right, anterior corner
    assert image.pixels[4, -1, -1, 0] == values[0, 0, 4]  # lower right: left, posterior
    assert image.spacing_mm == (3, 2)


@pytest.mark.parametrize("codes", ["LPS", "RSA", "PIR", "SAL"])
def test_the_way_a_volume_is_stored_does_not_matter(tmp_path, codes):
    values, affine = _right_anterior_superior()
    canonical = nibabel.Nifti1Image(values, affine)
    canonical.to_filename(tmp_path / "canonical.nii")
    turn = nibabel.orientations.ornt_transform(
        nibabel.orientations.axcodes2ornt("RAS"), nibabel.orientations.axcodes2ornt(codes)
    )
    canonical.as_reoriented(turn).to_filename(tmp_path / "turned.nii")
    expected, found = (read_image(tmp_path / f"{name}.nii") for name in ("canonical", "turned"))
    np.testing.assert_array_equal(found.pixels, expected.pixels)
    assert found.spacing_mm == pytest.approx(expected.spacing_mm)


@pytest.mark.parametrize("through", [0, 1, 2])
def test_a_single_slice_stays_that_slice(tmp_path, through):
    shape = [6, 7, 8]
    shape[through] = 1
    volume = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    nibabel.Nifti1Image(volume, np.eye(4)).to_filename(tmp_path / "slice.nii")
    pixels = read_image(tmp_path / "slice.nii").pixels
    column, row = (axis for axis in range(3) if axis != through)
    assert pixels.shape == (shape[row], shape[column], 1)
    np.testing.assert_array_equal(np.unique(pixels), np.unique(volume))


def test_nifti_values_are_rescaled_and_time_is_left_out(tmp_path):
    values = np.arange(2 * 3 * 4 * 5, dtype=np.int16).reshape(2, 3, 4, 5)
    volume = nibabel.Nifti1Image(values, np.eye(4))
    volume.header.set_slope_inter(2, -10)
    volume.to_filename(tmp_path / "bold.nii.gz")
    image = read_image(tmp_path / "bold.nii.gz")
    assert image.pixels.shape == (4, 3, 2, 1)
    stored = nibabel.load(tmp_path / "bold.nii.gz").get_fdata()[..., 0]
    np.testing.assert_array_equal(np.sort(image.pixels.ravel()), np.sort(stored.ravel()))


def test_a_gigantic_volume_is_refused_by_its_header(tmp_path):
    header = nibabel.Nifti1Header()
    header.set_data_shape((2000, 2000, 2000))
    header.set_data_dtype(np.float32)
    header["magic"], header["vox_offset"] = b"n+1", 352
    (tmp_path / "bomb.nii.gz").write_bytes(gzip.compress(header.binaryblock + bytes(2004)))
    start = time.perf_counter()
    _fails(tmp_path / "bomb.nii.gz", "at most 100 million values")
    assert time.perf_counter() - start < 1


def test_damaged_nifti_files_are_refused(tmp_path):
    values, affine = _right_anterior_superior()
    nibabel.Nifti1Image(values, affine).to_filename(tmp_path / "whole.nii")
    whole = (tmp_path / "whole.nii").read_bytes()
    (tmp_path / "cut.nii").write_bytes(whole[:400])
    (tmp_path / "cut.nii.gz").write_bytes(gzip.compress(whole)[:150])
    (tmp_path / "text.nii").write_text("no volume")
    for name in ("cut.nii", "cut.nii.gz", "text.nii"):
        _fails(tmp_path / name, "expected a readable image")
    header = bytearray(whole)
    header[46:48] = bytes(2)  # no slices
    (tmp_path / "none.nii").write_bytes(header)
    _fails(tmp_path / "none.nii")
    dtype = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
    nibabel.Nifti1Image(np.zeros((3, 3, 3), dtype), affine).to_filename(tmp_path / "rgb.nii")
    _fails(tmp_path / "rgb.nii", "one number a voxel")

"""Masks from the command line: own folders in, masks of the original size and their sizes out."""

import itertools
import json
import shutil
import sys
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.spatial.distance import pdist

from medlib import cli, runs
from medlib.datasets.reading import read_image, read_mask, write_mask
from medlib.errors import RunError, UsageError
from medlib.preprocessing.geometry import fit_to_square, restore_from_square
from medlib.training import recipe

# Voxels run to the patient's left, posterior and superior, 2 x 1 x 3 mm apart.
AFFINE = np.array([[-2.0, 0, 0, 5], [0, -1, 0, 7], [0, 0, 3, 1], [0, 0, 0, 1]])
QUICK = ["--folds", 2, "--epochs", 1, "--image-size", 16]


def medlib(capsys, *arguments):
    """Run a command here; return its exit code, stdout and stderr."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["medlib", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
    return ended.value.code or 0, *capsys.readouterr()


def dark_with_a_bright_block(generator, shape, *, is_there=True):
    pixels = generator.integers(0, 100, shape)
    mask = np.zeros(shape, np.uint8)
    if is_there:
        row, column = generator.integers(2, 7, 2)
        mask[row : row + 8, column : column + 6] = 1
        pixels[mask > 0] += 155
    return pixels.astype(np.uint8), mask


def write_volumes(folder, *, n=12, **columns):
    """Volumes of three slices in a folder for each patient, and a table without labels."""
    generator, rows = np.random.default_rng(len(folder.name)), []
    for number in range(n):
        pixels, mask = dark_with_a_bright_block(generator, (18, 24, 3), is_there=number % 4)
        (folder / f"p{number}").mkdir(parents=True)
        for name, voxels in (("scan", pixels), ("mask", mask)):
            path = folder / f"p{number}" / f"{name}.nii.gz"
            nibabel.Nifti1Image(voxels, AFFINE).to_filename(path)
        where = {"image": f"p{number}/scan.nii.gz", "mask": f"p{number}/mask.nii.gz"}
        rows.append(where | {"subject": f"{folder.name} {number}"})
    pd.DataFrame(rows).assign(**columns).to_csv(folder / "scans.csv", index=False)
    return folder / "scans.csv"


def write_pictures(folder, *, n=12, structure=255):
    """Pictures of one class, 20 x 30 pixels, with NAME_mask.png beside NAME.png."""
    generator = np.random.default_rng(0)
    (folder / "lesion").mkdir(parents=True)
    for number in range(n):
        pixels, mask = dark_with_a_bright_block(generator, (20, 30))
        Image.fromarray(pixels).save(folder / "lesion" / f"{number}.png")
        Image.fromarray(mask * structure).save(folder / "lesion" / f"{number}_mask.png")
    return folder


@pytest.fixture(scope="module")
def volumes(tmp_path_factory):
    return write_volumes(tmp_path_factory.mktemp("volumes") / "a")


@pytest.fixture(scope="module")
def finished(volumes, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    runs.train(str(volumes), out, task="segment", folds=2, epochs=2, image_size=16)
    return out


def see_brightness(monkeypatch):
    """Let trained networks say that bright is inside: what they find is known."""
    read = runs.read_run

    def read_and_replace(folder):
        run = read(folder)
        for network in run.networks:
            network.predict = lambda images, **_: images[..., :1]
        return run

    monkeypatch.setattr(runs, "read_run", read_and_replace)


def test_a_folder_of_volumes_is_learnt_and_measured_in_millimetres(finished):
    metrics = json.loads((finished / "metrics.json").read_text())
    found = {row["metric"]: row for row in metrics["metrics"]}
    assert found["Dice"]["n"] == 9 * 3  # every slice is learnt from and measured
    assert found["false findings"]["n"] == 3 * 3
    assert found["Dice"]["low"] <= found["Dice"]["value"] <= found["Dice"]["high"]
    assert "95 % Hausdorff distance (mm)" in found
    assert metrics["score"] == "Dice"
    assert metrics["classical"] is None
    table = pd.read_csv(finished / "predictions.csv")
    assert set(table["unit"]) == {"mm"}
    assert table["image"].str.fullmatch(r"p\d+/scan.nii.gz, slice [012]").all()
    inside = table["true_area"] > 0  # 8 x 6 voxels of 2 x 1 mm
    assert table["true_area"][inside].mean() == pytest.approx(96, rel=0.2)
    page = (finished / "report.html").read_text()
    for words in ("orange as annotated", "share with a false finding", "Network unet"):
        assert words in page
    assert page.count("<img alt=") == 2
    assert "classical" not in page
    config = json.loads((finished / "config.json").read_text())
    assert (config["task"], config["model"]) == ("segment", "unet")
    assert config["training"]["batch_size"] == 16
    assert recipe("unet", n_images=100)["augmentation"]["flip"] is True


def test_masks_of_volumes_lie_on_what_was_found(finished, volumes, tmp_path, capsys, monkeypatch):
    """Same size, same affine, and not mirrored: bright voxels, whatever way the axes run."""
    see_brightness(monkeypatch)
    scans = [volumes.parent / f"p{number}" / "scan.nii.gz" for number in range(4)]
    out = tmp_path / "sizes.csv"
    code, _, _ = medlib(capsys, "predict", finished, *scans, "--out", out)
    assert code == 0
    table = pd.read_csv(out)
    assert list(table.columns) == ["image", "mask", "area", "diameter", "unit"]
    assert list(table["image"]) == [str(path) for path in scans]
    assert table["mask"].is_unique
    for row in table.itertuples():
        truth = nibabel.load(Path(row.image).with_name("mask.nii.gz"))
        mask = nibabel.load(row.mask)
        assert np.array_equal(mask.affine, truth.affine)
        voxels = np.asarray(mask.dataobj)
        assert set(np.unique(voxels)) <= {0, 1}
        both = (voxels * np.asarray(truth.dataobj)).sum()
        if np.asarray(truth.dataobj).any():
            assert 2 * both / (voxels.sum() + np.asarray(truth.dataobj).sum()) > 0.75
        areas = voxels.sum(axis=(0, 1)) * 2
        assert row.area == areas.max()
        corners = [
            (np.argwhere(voxels[..., z]) + step) * (2, 1)
            for z in range(3)
            for step in itertools.product((0, 1), repeat=2)
        ]
        slices = [np.concatenate(corners[4 * z : 4 * z + 4]) for z in range(3)]
        assert row.diameter == pytest.approx(max(pdist(x).max() if len(x) else 0 for x in slices))
        assert row.unit == "mm"


def test_masks_stay_in_their_folder_and_images_as_they_are(finished, volumes, tmp_path):
    """Also where paths go up and down again, or images lie where masks are to be."""
    run, masks = runs.read_run(finished), tmp_path / "masks"
    one, other = volumes.parent / "p1" / "scan.nii.gz", volumes.parent / "p2" / "scan.nii.gz"
    before = other.read_bytes()
    table, _ = runs.predict(run, [one, one.parent / ".." / "p2" / "scan.nii.gz"], masks=masks)
    assert [path.relative_to(masks).parts[0] for path in table["mask"]] == ["p1", "p2"]
    with pytest.raises(RunError, match="expected another file than the image"):
        runs.predict(run, [other], masks=other.parent)
    assert other.read_bytes() == before
    assert runs.predict(run, [])[0].empty


def test_other_volumes_may_have_other_labels(finished, tmp_path, volumes):
    other = write_volumes(tmp_path / "other", label="a hospital's own word")
    table, measured_on = runs.evaluate(runs.read_run(finished), str(other))
    assert measured_on == f"all {12 * 3} images of {other}"
    assert table["metric"][0] == "Dice"
    again, measured_on = runs.evaluate(runs.read_run(finished), str(volumes))
    assert "had not seen its subject" in measured_on
    before = json.loads((finished / "metrics.json").read_text())
    assert again.to_dict("records") == before["metrics"]


def test_pictures_without_spacing_are_measured_in_pixels_and_this_is_said(
    tmp_path, capsys, monkeypatch
):
    folder, run = write_pictures(tmp_path / "own"), tmp_path / "run"
    code, stdout, stderr = medlib(
        capsys, "train", folder, "--task", "segment", "--out", run, *QUICK
    )
    assert code == 0, stderr
    assert "95 % Hausdorff distance (pixels)" in stdout
    assert "Dice of the single networks" in stdout
    assert stderr.count("own: not every image has a pixel spacing: sizes are in pixels") == 1
    assert set(pd.read_csv(run / "predictions.csv")["unit"]) == {"pixels"}
    true_area = pd.read_csv(run / "predictions.csv")["true_area"]
    assert true_area.mean() == pytest.approx(48, rel=0.15)  # of the files, not of 16 x 16 pixels
    see_brightness(monkeypatch)
    bad, out = tmp_path / "bad.png", tmp_path / "a.csv"
    bad.write_text("not an image")
    picture = folder / "lesion" / "3.png"
    code, _, stderr = medlib(capsys, "predict", run, bad, picture, "--out", out)
    assert code == 1
    assert str(bad) in stderr
    (row,) = pd.read_csv(out).itertuples()
    mask, truth = (np.asarray(Image.open(p)) > 0 for p in (row.mask, folder / "lesion/3_mask.png"))
    assert mask.shape == (20, 30)
    assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.75
    assert (row.area, row.unit) == (mask.sum(), "pixels")


def bad_folder(tmp_path, name):
    """A table of pictures whose masks have one fault."""
    folder = write_pictures(tmp_path / "own", n=6)
    masks = sorted((folder / "lesion").glob("*_mask.png"))
    images = [path.name.replace("_mask", "") for path in masks]
    names = [path.name for path in masks]
    table = pd.DataFrame({"image": images, "mask": names, "label": "lesion"})
    if name == "no column":
        table = table.drop(columns="mask")
    elif name == "missing file":
        masks[2].unlink()
    elif name == "none annotated":
        table["mask"] = ""
    elif name == "all empty":
        for path in masks:
            Image.fromarray(np.zeros((20, 30), np.uint8)).save(path)
    elif name == "another size":
        Image.fromarray(np.zeros((20, 31), np.uint8)).save(masks[1])
    elif name == "photograph":
        (folder / "lesion" / images[0]).replace(masks[0])
        Image.fromarray(np.zeros((20, 30), np.uint8)).save(folder / "lesion" / images[0])
    table.to_csv(folder / "lesion" / "table.csv", index=False)
    return folder / "lesion" / "table.csv"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no column", "masks: expected one for each image, found 6 images without. Name them"),
        ("none annotated", "masks: expected one for each image, found 6 images without. Name them"),
        ("missing file", "expected every file it names, found 1 missing"),
        ("all empty", "masks: expected a structure in some, found only empty ones"),
        ("another size", "expected the size of its image, 20 x 30, found 20 x 31"),
        ("photograph", "expected a mask: 0 and 1, 0 and 255"),
    ],
)
def test_masks_that_cannot_be_learnt_are_one_line(name, message, tmp_path, capsys):
    table, run = bad_folder(tmp_path, name), tmp_path / "run"
    code, _, stderr = medlib(capsys, "train", table, "--task", "segment", "--out", run, *QUICK)
    assert code == 1
    assert message in stderr
    assert stderr.count("\n") == 1
    assert not run.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--task", "outline"], "task: expected one of classify, segment, detect, found 'outline'"),
        (["--task", "segment", "--model", "cnn"], "model: expected one of unet, found 'cnn'"),
        (["--model", "unet"], "model: expected one of cnn, resnet"),
        (["--task", "segment", "--image-size", "20"], "multiples of 8, found 20 x 20"),
        (["--task", "segment", "--depth", "2"], "single images whose sides"),
    ],
)
def test_wrong_use_is_refused_before_anything_is_made(
    arguments, message, volumes, tmp_path, capsys
):
    code, _, stderr = medlib(capsys, "train", volumes, "--out", tmp_path / "run", *arguments)
    assert code == 2
    assert message in stderr
    assert stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_table_without_labels_cannot_be_classified(volumes, tmp_path, capsys):
    code, _, stderr = medlib(capsys, "train", volumes, "--out", tmp_path / "run")
    assert code == 1
    assert "two classes or more, found only 'unlabelled'" in stderr


def test_what_a_reader_must_know_of_masks_is_noted(tmp_path):
    """One without a mask is left out; structures 1 and 2 count as one."""
    folder = write_pictures(tmp_path / "own", structure=2)
    (folder / "lesion" / "5_mask.png").unlink()
    with pytest.warns(UserWarning, match="own: ") as notes:
        runs.train(str(folder), tmp_path / "run", task="segment", folds=1, epochs=1, image_size=16)
    texts = [str(note.message) for note in notes if str(note.message).startswith("own: ")]
    assert texts == [
        "own: 1 of 12 images have no mask and are left out",
        "own: not every image has a pixel spacing: sizes are in pixels of the files",
        "own: there are structures 1 to 2 in the masks: they count as one",
    ]
    assert len(pd.read_csv(tmp_path / "run" / "splits.csv")) == 11


def test_changed_masks_are_another_training(finished, volumes, tmp_path):
    how = {"task": "segment", "folds": 2, "epochs": 2, "image_size": 16}
    assert runs.train(str(volumes), finished, **how) is None
    folder = shutil.copytree(volumes.parent, tmp_path / "a")
    path = folder / "p5" / "mask.nii.gz"
    mask = np.roll(nibabel.load(path).dataobj, 3, axis=1)
    nibabel.Nifti1Image(mask, AFFINE).to_filename(path)
    with pytest.raises(UsageError, match="other images"):
        runs.train(str(folder / "scans.csv"), finished, **how)


# Parts --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axes", [*itertools.permutations(range(3)), "one slice", "a plane"])
def test_a_written_mask_is_read_again_whatever_way_the_axes_run(axes, tmp_path):
    shape = {"one slice": (7, 5, 1), "a plane": (7, 5)}.get(axes, (4, 5, 6))
    affine = np.eye(4)
    if isinstance(axes, tuple):
        affine[:3, :3] = np.eye(3)[list(axes)] * (-1, 2, -3)
    voxels = np.random.default_rng(0).integers(0, 2, shape).astype(np.uint8)
    nibabel.Nifti1Image(voxels, affine).to_filename(tmp_path / "scan.nii")
    mask = read_mask(tmp_path / "scan.nii").astype(bool)
    mask = mask if mask.ndim == 3 else mask[np.newaxis]
    written = write_mask(tmp_path / "new" / "scan.nii", mask, source=tmp_path / "scan.nii")
    assert written == tmp_path / "new" / "scan.nii"
    again = nibabel.load(written)
    assert np.array_equal(np.squeeze(again.dataobj), np.squeeze(voxels))
    assert np.array_equal(again.affine, nibabel.load(tmp_path / "scan.nii").affine)


def test_masks_of_pictures_keep_their_names(tmp_path):
    mask = np.random.default_rng(0).integers(0, 2, (3, 5, 6)).astype(bool)
    for name, n, expected in (("a.png", 1, "a.png"), ("a.jpg", 1, "a.jpg.png"), ("b", 3, "b.tif")):
        written = write_mask(tmp_path / name, mask[:n], source=Path(name))
        assert written.name == expected
        pixels = read_image(written).pixels[..., 0]
        assert np.array_equal(pixels.reshape(n, 5, 6), mask[:n] * 255)


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (3.0, 1.0), (1.0, 2.5)])
@pytest.mark.parametrize("shape", [(60, 40), (40, 61), (64, 64)])
def test_what_was_fitted_to_a_square_comes_back_to_its_place(shape, spacing):
    down, across = np.mgrid[: shape[0], : shape[1]]
    disc = ((down - 25) ** 2 + (across - 20) ** 2 < 150).astype(np.float32)
    fitted = fit_to_square(disc[..., np.newaxis], 64, spacing_mm=spacing)
    back = restore_from_square(fitted, shape, spacing_mm=spacing)[..., 0] >= 0.5
    assert back.shape == shape
    assert 2 * (back & (disc > 0)).sum() / (back.sum() + disc.sum()) > 0.9

"""Boxes from the command line: masks or columns in, boxes in pixels of the original files out."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from skimage.measure import label, regionprops

from medlib import cli, datasets, models, runs
from medlib.datasets.reading import read_mask
from medlib.preprocessing.geometry import fit_boxes, restore_boxes

AFFINE = np.array([[-2.0, 0, 0, 5], [0, -1, 0, 7], [0, 0, 3, 1], [0, 0, 0, 1]])
CORNERS = ["x_min", "y_min", "x_max", "y_max"]
QUICK = ["--task", "detect", "--folds", 2, "--epochs", 1, "--image-size", 32]


def medlib(capsys, *arguments):
    """Run a command here; return its exit code, stdout and stderr."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["medlib", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
    return ended.value.code or 0, *capsys.readouterr()


def blocks(generator, shape, n):
    """Return noise with n bright blocks that do not touch, and their mask."""
    pixels, mask = generator.integers(0, 100, shape), np.zeros(shape, np.uint8)
    for place in range(n):
        row, column = generator.integers(1, shape[0] - 12), 15 * place + generator.integers(1, 4)
        mask[row : row + 10, column : column + 8] = 1
    pixels[mask > 0] += 155
    return pixels.astype(np.uint8), mask


def boxes_of(mask):
    """Boxes as scikit-image sees them: first row and column, last row + 1 and column + 1."""
    found = [each.bbox for each in regionprops(label(mask, connectivity=2))]
    return np.array(found, float).reshape(-1, 4)


def write_pictures(folder, *, n=12):
    """Pictures of 24 x 40 pixels with none to two lesions; NAME_mask.png, and boxes.csv."""
    generator, rows = np.random.default_rng(0), []
    (folder / "scan").mkdir(parents=True)
    for number in range(n):
        pixels, mask = blocks(generator, (24, 40), number % 3)
        Image.fromarray(pixels).save(folder / "scan" / f"{number}.png")
        Image.fromarray(mask * 255).save(folder / "scan" / f"{number}_mask.png")
        corners = boxes_of(mask)[:, [1, 0, 3, 2]].astype(int).tolist() or [["", "", "", ""]]
        rows += [[f"scan/{number}.png", f"patient {number}", *each] for each in corners]
    table = pd.DataFrame(rows, columns=["image", "subject", *CORNERS])
    table.to_csv(folder / "boxes.csv", index=False)
    return folder


def write_volumes(folder, *, n=6):
    """Volumes of three slices with masks."""
    generator, rows = np.random.default_rng(1), []
    folder.mkdir()
    for number in range(n):
        pixels, mask = blocks(generator, (40, 24, 3), 1)
        for name, voxels in (("scan", pixels), ("mask", mask)):
            nibabel.Nifti1Image(voxels, AFFINE).to_filename(folder / f"{number}_{name}.nii.gz")
        rows.append((f"{number}_scan.nii.gz", f"{number}_mask.nii.gz", f"patient {number}"))
    table = pd.DataFrame(rows, columns=["image", "mask", "subject"])
    table.to_csv(folder / "scans.csv", index=False)
    return folder / "scans.csv"


REAL_BUILD = models.build


def build_tiny(name, image_shape, task, *, seed):
    """Build a network that takes no time."""
    import keras

    inputs = keras.Input(image_shape)
    layer = keras.layers.Conv2D(2, 4, strides=4, activation="relu")
    return keras.Model(inputs, task.head(layer(inputs), seed=seed))


@pytest.fixture(scope="module", autouse=True)
def tiny_network():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "build", build_tiny)
        yield


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("pictures") / "own")


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny_network):
    """A run on volumes, and its table."""
    volumes = write_volumes(tmp_path_factory.mktemp("volumes") / "own")
    out = tmp_path_factory.mktemp("runs") / "run"
    runs.train(str(volumes), out, task="detect", folds=2, epochs=1, image_size=32)
    return out, volumes


def see_brightness(monkeypatch):
    """Let trained networks mark what is bright, by scikit-image: what they find is known."""
    read = runs.read_run

    def read_and_replace(folder):
        run = read(folder)

        def predict(images, **_):
            boxes = np.empty(len(images), object)
            for row, image in enumerate(images):
                boxes[row] = boxes_of(image[..., 0] > 0.5).astype(np.float32)
            split = replace(unlabelled(images), boxes=boxes)
            maps = np.array(run.task.maps(run.task.targets(split), images.shape[1:3]))
            maps[..., 0] = np.where(maps[..., 0] >= 1, 4, -9)
            return maps

        for network in run.networks:
            network.predict = predict
        return run

    monkeypatch.setattr(runs, "read_run", read_and_replace)


def unlabelled(images):
    n = len(images)
    subjects, table = np.full(n, "a"), pd.DataFrame(index=range(n))
    return datasets.Split(images, np.zeros(n, np.int64), None, None, subjects, table)


def test_lesions_of_volumes_are_learnt_and_measured_with_intervals(finished):
    out, _ = finished
    metrics = json.loads((out / "metrics.json").read_text())
    names = [f"sensitivity at {at} false positives an image" for at in ("1/16", "1/4", "1")]
    assert [row["metric"] for row in metrics["metrics"]] == names
    assert all(row["n"] == 6 * 3 for row in metrics["metrics"])
    assert metrics["score"] == "FROC"
    assert metrics["classical"] is None
    table = pd.read_csv(out / "predictions.csv")
    assert table["image"].nunique() == 6 * 3
    assert set(table["unit"].dropna()) <= {"mm"}
    page = (out / "report.html").read_text()
    for words in ("Free-response curve", "at least 0.3 of their union", "Network detector"):
        assert words in page
    assert page.count("<img alt=") == 3
    config = json.loads((out / "config.json").read_text())
    assert (config["task"], config["model"]) == ("detect", "detector")


def test_boxes_of_volumes_lie_on_the_slices_of_the_file(finished, tmp_path, capsys, monkeypatch):
    see_brightness(monkeypatch)
    out, volumes = finished
    scans = sorted(volumes.parent.glob("*_scan.nii.gz"))
    code, _, stderr = medlib(capsys, "predict", out, *scans, "--out", tmp_path / "boxes.csv")
    assert code == 0, stderr
    table = pd.read_csv(tmp_path / "boxes.csv")
    assert list(table.columns) == [
        *("image", "slice", *CORNERS, "score", "height", "width", "unit")
    ]
    for path in scans:
        truth = read_mask(Path(str(path).replace("scan", "mask")))
        for number, mask in enumerate(truth):
            rows = table[(table["image"] == str(path)) & (table["slice"] == number)]
            (expected,) = boxes_of(mask)
            assert rows[CORNERS].to_numpy()[0] == pytest.approx(expected[[1, 0, 3, 2]], abs=1.5)
            assert rows["width"].to_numpy() == pytest.approx(2 * np.ptp(expected[1::2]), abs=4)
    assert set(table["unit"]) == {"mm"}


def test_pictures_with_masks_are_learnt_and_their_sizes_are_in_pixels(
    pictures, tmp_path, capsys, monkeypatch
):
    run, out = tmp_path / "run", tmp_path / "boxes.csv"
    code, stdout, stderr = medlib(capsys, "train", pictures, "--out", run, *QUICK)
    assert code == 0, stderr
    assert "sensitivity at 1/16 false positives an image" in stdout
    assert stderr.count("own: not every image has a pixel spacing: sizes are in pixels") == 1
    see_brightness(monkeypatch)
    files = [pictures / "scan" / f"{number}.png" for number in range(3)]
    code, stdout, _ = medlib(capsys, "predict", run, *files, "--out", out)
    assert code == 0
    assert "3 predictions in" in stdout
    table = pd.read_csv(out)
    assert list(table["image"]) == [str(files[0]), str(files[1]), str(files[2]), str(files[2])]
    assert table[CORNERS].isna().sum(axis=1).tolist() == [4, 0, 0, 0]
    for path, rows in table.dropna(subset="score").groupby("image"):
        truth = boxes_of(read_mask(Path(path.replace(".png", "_mask.png"))))
        found = rows.sort_values("x_min")[CORNERS].to_numpy()
        assert found == pytest.approx(truth[np.argsort(truth[:, 1])][:, [1, 0, 3, 2]], abs=2)
        assert rows["width"].to_numpy() == pytest.approx(8, abs=2)
    assert set(table["unit"].dropna()) == {"pixels"}


def test_boxes_of_a_table_are_those_of_masks(pictures):
    """Several rows an image; and a row without a box says that there is no lesion."""
    from_masks = datasets.read_folder(pictures, image_size=40, least_classes=1).all
    from_table = datasets.read_folder(pictures / "boxes.csv", image_size=40, least_classes=1).all
    assert from_table.masks is None
    assert len(from_table) == 12
    names = from_table.table["image"].tolist()
    for name, boxes in zip(from_masks.table["image"], from_masks.boxes, strict=True):
        other = from_table.boxes[names.index(name)]
        assert other[np.lexsort(other.T)] == pytest.approx(boxes[np.lexsort(boxes.T)])


def test_what_was_predicted_can_be_learnt(pictures, finished, tmp_path, capsys, monkeypatch):
    """The table of predict is one of boxes, once somebody has corrected it."""
    see_brightness(monkeypatch)
    out, files = tmp_path / "boxes.csv", sorted((pictures / "scan").glob("?.png"))
    assert medlib(capsys, "predict", finished[0], *files, "--out", out)[0] == 0
    images = datasets.read_folder(out, image_size=40, least_classes=1).all
    assert [len(boxes) for boxes in images.boxes] == [int(path.stem) % 3 for path in files]


def test_a_table_of_boxes_is_trained_and_measured(pictures, tmp_path, capsys):
    table, run = pictures / "boxes.csv", tmp_path / "run"
    code, _, stderr = medlib(capsys, "train", table, "--out", run, *QUICK)
    assert code == 0, stderr
    code, stdout, stderr = medlib(capsys, "evaluate", run, table)
    assert code == 0, stderr
    assert "had not seen its subject" in stdout
    moved = pd.read_csv(table)
    moved[["x_min", "x_max"]] += 1
    moved.to_csv(pictures / "moved.csv", index=False)
    code, _, stderr = medlib(capsys, "train", pictures / "moved.csv", "--out", run, *QUICK)
    assert code == 2
    assert "other images" in stderr


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x_max": 41}, "1.png: expected x_min,y_min,x_max,y_max within 0,0,40,24, found"),
        ({"y_min": -1}, "1.png: expected x_min,y_min,x_max,y_max within 0,0,40,24, found"),
        ({"x_min": 30, "x_max": 10}, "each minimum below its maximum, or nothing, found 30,"),
        ({"y_min": 5, "y_max": 5}, "each minimum below its maximum, or nothing, found"),
        ({"x_min": ""}, "or nothing, found ,"),
        ({"x_min": "left"}, "or nothing, found left,"),
        ({"image": "scan/2.png"}, "or rows that differ in nothing but a box, found 2.png"),
        ("no x_max", "or nothing, found"),
        ("no boxes", "boxes: expected a lesion in some images, found none"),
        ("no masks", "boxes: expected those of each image, found 12 images without. Name masks"),
        ("volume", "expected one image, or masks, found 3 frames or slices"),
    ],
)
def test_boxes_that_cannot_be_learnt_are_one_line(
    change, message, pictures, finished, tmp_path, capsys
):
    table = pd.read_csv(pictures / "boxes.csv", dtype=str, keep_default_na=False)
    table["image"] = str(pictures) + "/" + table["image"]
    if change == "no x_max":
        table = table.drop(columns="x_max")
    elif change == "no boxes":
        table[CORNERS] = ""
    elif change == "no masks":
        table = table.drop(columns=CORNERS).drop_duplicates().assign(label="lesion")
    elif change == "volume":
        table.loc[1, "image"] = str(finished[1].parent / "0_scan.nii.gz")
    else:
        change = {k: f"{pictures}/{v}" if k == "image" else str(v) for k, v in change.items()}
        table.loc[1, list(change)] = list(change.values())
    table.assign(label="lesion").to_csv(tmp_path / "bad.csv", index=False)
    code, _, stderr = medlib(capsys, "train", tmp_path / "bad.csv", "--out", tmp_path / "r", *QUICK)
    assert code == 1
    assert message in stderr
    assert stderr.count("\n") == 1
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "unet"], "model: expected one of detector, found 'unet'"),
        (["--image-size", "40"], "multiples of 16, found 40 x 40"),
        (["--depth", "2"], "single images whose sides"),
    ],
)
def test_wrong_use_is_refused_before_anything_is_made(
    arguments, message, finished, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(models, "build", REAL_BUILD)
    how = ["--task", "detect", "--out", tmp_path / "run", *arguments]
    code, _, stderr = medlib(capsys, "train", finished[1], *how)
    assert code == 2
    assert message in stderr
    assert not (tmp_path / "run").exists()


def test_images_that_nobody_has_looked_at_are_left_out_and_this_is_said(tmp_path):
    folder = write_pictures(tmp_path / "own")
    (folder / "scan" / "5_mask.png").unlink()
    with pytest.warns(UserWarning, match="1 of 12 images have no mask or boxes and are left out"):
        runs.train(str(folder), tmp_path / "run", task="detect", folds=1, epochs=1, image_size=32)
    assert len(pd.read_csv(tmp_path / "run" / "splits.csv")) == 11


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (3.0, 1.0), (1.0, 2.5)])
@pytest.mark.parametrize("shape", [(60, 40), (40, 61)])
def test_boxes_move_with_their_image_and_come_back(shape, spacing):
    from medlib.preprocessing import fit_to_square

    box, mask = np.array([[10, 5, 30, 35]]), np.zeros(shape, bool)
    mask[10:30, 5:35] = True
    fitted = fit_boxes(box, shape, 64, spacing_mm=spacing)
    assert fitted == pytest.approx(boxes_of(fit_to_square(mask, 64, spacing_mm=spacing)), abs=1)
    assert restore_boxes(fitted, shape, 64, spacing_mm=spacing) == pytest.approx(box, abs=1e-4)
    beyond = restore_boxes(np.array([[-50, -50, 90, 90]]), shape, 64, spacing_mm=spacing)
    assert beyond.tolist() == [[0, 0, *shape]]

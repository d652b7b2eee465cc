import time
import warnings
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pydicom
import pytest
import tifffile
from PIL import Image
from scipy.ndimage import gaussian_filter

from medlib import datasets
from medlib.datasets.folder import load_images
from medlib.datasets.listing import choose_classes
from medlib.errors import DataError, MedlibError, UsageError


def tissue(seed, height=40, width=50):
    """A random texture, as 8 bits."""
    rng = np.random.default_rng(seed)
    values = gaussian_filter(rng.normal(size=(height, width)), 4)
    return np.clip(128 + 60 * values / values.std(), 0, 255).astype(np.uint8)


@pytest.fixture
def make(tmp_path):
    """Write a CSV of images that are all different; return its path."""

    def write(n=24, labels=("healthy", "ill"), **columns):
        rows = []
        for index in range(n):
            path = tmp_path / f"{index:02d}.png"
            if not path.exists():
                Image.fromarray(tissue(index)).save(path)
            rows.append({"image": path.name, "label": labels[index % len(labels)]})
        table = pd.DataFrame(rows).assign(**columns)
        table.to_csv(tmp_path / "labels.csv", index=False)
        return tmp_path / "labels.csv"

    return write


def _edit(path, **cells):
    """Change single cells, given as column=(row, value)."""
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    for column, (row, value) in cells.items():
        table.loc[row, column] = value
    table.to_csv(path, index=False)


def _fails(source, *parts, error=DataError, **options):
    with pytest.raises(error) as caught:
        datasets.from_folder(source, **options)
    for part in parts:
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def _all(dataset):
    """The rows of all splits by image name."""
    tables = [split.table.assign(split=name) for name, split in dataset.splits.items()]
    return pd.concat(tables).set_index("image")


# What comes out -----------------------------------------------------------------------------------


def test_a_csv_becomes_a_data_set(make):
    data = datasets.from_folder(make(40, age=range(40)), image_size=32)
    assert data.class_names == ("healthy", "ill")
    assert data.channel_names == ("grey",)
    assert data.image_shape == (32, 32, 1)
    assert [len(split) for split in data.splits.values()] == [28, 6, 6]
    for split in data.splits.values():
        for image, label, age, name in zip(
            *(split.images, split.labels, split.table["age"], split.table["image"]), strict=True
        ):
            index = int(name[:2])
            assert (age, label) == (index, index % 2)
            shown = image[3:-3, :, 0]  # 40 x 50 pixels fit 26 x 32
            assert shown.mean() == pytest.approx(tissue(index).mean() / 255, abs=0.02)
            assert not image[:2].any()
    assert _all(data).loc["05.png", "original_width"] == 50
    assert "black borders" in data.card


def test_a_folder_gives_the_same_as_a_csv(make, tmp_path):
    table = pd.read_csv(make(24), dtype=str)
    root = tmp_path / "classes"
    for row in table.itertuples():
        (root / row.label / "monday").mkdir(parents=True, exist_ok=True)
        (root / row.label / "monday" / row.image).write_bytes((tmp_path / row.image).read_bytes())
    (root / "ill" / ".DS_Store").touch()
    found = datasets.from_folder(root, image_size=16)
    assert found.class_names == ("healthy", "ill")
    assert sum(len(split) for split in found.splits.values()) == 24
    assert set(_all(found).index) == {f"{r.label}/monday/{r.image}" for r in table.itertuples()}


def test_the_same_seed_gives_the_same_splits(make):
    path = make(30)
    first, again, other = (datasets.from_folder(path, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.train.images, again.train.images)
    assert set(first.test.table["image"]) != set(other.test.table["image"])
    larger = datasets.from_folder(path, seed=3, image_size=20)
    assert list(larger.test.table["image"]) == list(first.test.table["image"])


def test_masks_follow_their_images(make, tmp_path):
    path = make(12, mask=[f"m{index}.png" if index else "" for index in range(12)])
    for index in range(1, 12):
        lesion = np.zeros((40, 50), dtype=np.uint8)
        lesion[10:20, index : index + 10] = 255
        Image.fromarray(lesion).save(tmp_path / f"m{index}.png")
    data = datasets.from_folder(path, image_size=50)
    for split in data.splits.values():
        for mask, name in zip(split.masks, split.table["image"], strict=True):
            index = int(name[:2])
            expected = np.zeros((50, 50), dtype=bool)
            if index:
                expected[15:25, index : index + 10] = True  # five rows of border above
            np.testing.assert_array_equal(mask, expected)


def test_masks_beside_images_are_not_taken_for_images(tmp_path):
    for label in ("benign", "malignant"):
        (tmp_path / label).mkdir()
        for index in range(5):
            stem = tmp_path / label / f"{label} ({index})"
            Image.fromarray(tissue(10 * ord(label[0]) + index)).save(f"{stem}.png")
            for name, column in (("mask", 5), ("mask_1", 30)):
                lesion = np.zeros((40, 50), dtype=np.uint8)
                lesion[10:20, column : column + 10] = 255
                Image.fromarray(lesion).save(f"{stem}_{name}.png")
    data = datasets.from_folder(tmp_path, image_size=50)
    assert sum(len(split) for split in data.splits.values()) == 10
    assert {int(mask.sum()) for mask in data.train.masks} == {200}  # both lesions


def test_grey_and_colour_together_become_colour(make, tmp_path):
    path = make(12)
    assert datasets.from_folder(path).channel_names == ("grey",)
    grey_as_colour = np.repeat(tissue(0)[..., np.newaxis], 3, axis=-1)
    Image.fromarray(grey_as_colour).save(tmp_path / "00.png")
    assert datasets.from_folder(path).channel_names == ("grey",)
    Image.fromarray(np.stack([tissue(0), tissue(50), tissue(60)], -1)).save(tmp_path / "00.png")
    data = datasets.from_folder(path)
    assert data.channel_names == ("red", "green", "blue")
    is_grey = [np.ptp(image, axis=-1).max() == 0 for image in data.train.images]
    assert sum(is_grey) >= len(is_grey) - 1
    assert datasets.from_folder(path, channels=1).image_shape == (64, 64, 1)
    assert datasets.from_folder(path, channels=3).image_shape == (64, 64, 3)


def test_every_kind_of_file_in_one_table(make, tmp_path):
    path = make(12)
    deep = (tissue(0).astype(np.uint16) * 16).repeat(2, 0)  # another size, 12 bits
    Image.fromarray(deep).save(tmp_path / "deep.png")
    tifffile.imwrite(tmp_path / "float.tif", tissue(1).astype(np.float32) - 128)
    Image.fromarray(tissue(2)).convert("RGB").convert("CMYK").save(tmp_path / "cmyk.jpg")
    Image.fromarray(tissue(3)).save(tmp_path / "photo.jpg", quality=95)
    volume = np.stack([tissue(100), tissue(4), tissue(101)], axis=-1).astype(np.int16)
    nibabel.Nifti1Image(volume, np.diag([0.5, 0.5, 3, 1])).to_filename(tmp_path / "brain.nii.gz")
    ct = Path(pydicom.__file__).parent / "data" / "test_files" / "CT_small.dcm"
    (tmp_path / "ct.dcm").write_bytes(ct.read_bytes())
    names = ["deep.png", "float.tif", "cmyk.jpg", "photo.jpg", "brain.nii.gz", "ct.dcm"]
    table = pd.read_csv(path)
    table.loc[:5, "image"] = names
    table.to_csv(path, index=False)
    data = datasets.from_folder(path, image_size=50, channels=1)
    rows = _all(data)
    assert rows.loc["brain.nii.gz", "n_frames"] == 3
    assert rows.loc["ct.dcm", "modality"] == "CT"
    assert rows.loc["ct.dcm", "row_spacing_mm"] == pytest.approx(0.661468 * 128 / 50)
    assert "Of several frames" in data.card
    images = {
        name: image
        for split in data.splits.values()
        for name, image in zip(split.table["image"], split.images, strict=True)
    }
    for index, name in enumerate(names[1:4], start=1):
        shown = images[name][5:-5, :, 0]
        assert np.corrcoef(shown.ravel(), tissue(index).ravel())[0, 1] > 0.99, name
    tall = images["deep.png"][:, 9:-10, 0]  # 80 x 50 pixels fit 50 x 31
    assert len(np.unique(tall)) > 100
    assert tall[:, [0, -1]].any()
    middle = images["brain.nii.gz"][..., 0][:, 5:-5]
    turned = tissue(4).T[::-1, ::-1]  # x runs along rows in NIfTI
    assert np.corrcoef(middle.ravel(), turned.ravel())[0, 1] > 0.99


def test_a_common_spacing_is_kept_and_grows_with_the_pixels(tmp_path):
    rows = []
    for index in range(12):
        volume = nibabel.Nifti1Image(tissue(index)[..., np.newaxis], np.diag([0.5, 0.5, 3, 1]))
        volume.to_filename(tmp_path / f"{index}.nii")
        rows.append({"image": f"{index}.nii", "label": "ab"[index % 2]})
    pd.DataFrame(rows).to_csv(tmp_path / "labels.csv", index=False)
    data = datasets.from_folder(tmp_path / "labels.csv", image_size=25)
    spacings = data.train.table[["row_spacing_mm", "column_spacing_mm"]].to_numpy()
    assert spacings == pytest.approx(np.ones_like(spacings))


def test_a_circle_in_mm_stays_a_circle_and_its_mask_and_box_follow(tmp_path):
    """A sagittal file: 1 mm from front to back, 4 mm between slices from head to foot."""
    y, z = np.mgrid[:96, :24]
    ball = (np.hypot(y - 47.5, (z - 11.5) * 4) < 30).astype(np.uint8)[np.newaxis]
    rows = []
    for index in range(12):
        noise = np.random.default_rng(index).integers(0, 40, ball.shape, dtype=np.uint8)
        for name, voxels in ((f"{index}.nii", ball * 200 + noise), (f"m{index}.nii", ball)):
            nibabel.Nifti1Image(voxels, np.diag([5, 1, 4, 1])).to_filename(tmp_path / name)
        rows.append({"image": f"{index}.nii", "label": "ab"[index % 2], "mask": f"m{index}.nii"})
    pd.DataFrame(rows).to_csv(tmp_path / "labels.csv", index=False)
    train = datasets.read_folder(tmp_path / "labels.csv", image_size=64).all
    mask = train.masks[0] == 1
    height, width = mask.any(axis=1).sum(), mask.any(axis=0).sum()
    assert height == pytest.approx(60 * 64 / 96, abs=2.1)
    assert width == pytest.approx(60 * 64 / 96, abs=2.1)
    assert (train.images[0, ..., 0][mask] > 0.6).mean() > 0.95
    ((top, left, bottom, right),) = train.boxes[0]
    assert (bottom - top, right - left) == (height, width)
    assert train.table["row_spacing_mm"][0] == pytest.approx(96 / 64)


def _write_volumes(folder, depths, labels="ab"):
    """Volumes whose every slice has its number as its grey value, and a mask around that."""
    rows = []
    for index, depth in enumerate(depths):
        volume = np.zeros((20, 20, depth), np.uint8)
        volume[5:15, 5:15] = 10 * np.arange(1, depth + 1)
        volume[0, index % 20] = 200 + index  # all volumes are different
        mask = (volume > 0) & (volume < 200) & (np.arange(depth) % 2 == 0)
        for name, voxels in ((f"{index}.nii", volume), (f"m{index}.nii", mask)):
            path = folder / name
            nibabel.Nifti1Image(voxels.astype(np.uint8), np.eye(4)).to_filename(path)
        row = {"image": f"{index}.nii", "label": labels[index % 2], "mask": f"m{index}.nii"}
        rows.append(row | {"subject": f"p{index}"})
    pd.DataFrame(rows).to_csv(folder / "labels.csv", index=False)
    return folder / "labels.csv"


def test_volumes_become_stacks_of_evenly_spaced_slices_with_their_masks(tmp_path):
    path = _write_volumes(tmp_path, [5, 5, 15] * 8)
    images = datasets.read_folder(path, image_size=20, depth=5)
    assert images.all.images.shape == (24, 5, 20, 20, 1)
    greys = np.rint(images.all.images[:, :, 10, 10, 0] * 255 / 10).astype(int) - 1
    assert greys[0].tolist() == [0, 1, 2, 3, 4]
    assert greys[2].tolist() == [1, 4, 7, 10, 13]  # the middles of five equal parts of 15
    assert np.array_equal(images.all.masks[:, :, 10, 10], greys % 2 == 0)
    assert [len(boxes) for boxes in images.all.boxes[:3]] == [1, 1, 0]  # of the middle slice
    [(_, [stack])] = load_images([tmp_path / "2.nii"], image_size=20, n_channels=1, depth=5)
    assert np.array_equal(stack, images.all.images[2])
    _write_volumes(tmp_path, [5, 5, 4, 5] * 5)
    _fails(path, "5 that are not", "2.nii: expected 5 slices, found 4", depth=5)


def test_every_slice_is_an_image_and_those_of_a_volume_stay_together(tmp_path):
    path = _write_volumes(tmp_path, [5, 100, 5] * 4)
    empty = np.asarray(nibabel.load(tmp_path / "0.nii").dataobj).copy()
    empty[..., 3] = 7  # one grey value: there is nothing to see
    nibabel.Nifti1Image(empty, np.eye(4)).to_filename(tmp_path / "0.nii")
    table = pd.read_csv(path)
    table.drop(columns="subject").to_csv(path, index=False)
    images = datasets.read_folder(path, image_size=20, every_slice=True)
    assert len(images.all) == 4 + 32 + 5 + 3 * (5 + 32 + 5)
    assert images.all.table["image"][:5].tolist() == [f"0.nii, slice {k}" for k in (0, 1, 2, 4)] + [
        "1.nii, slice 1"
    ]
    greys = np.rint(images.all.images[:4, 10, 10, 0] * 255 / 10) - 1
    assert greys.tolist() == [0, 1, 2, 4]
    assert images.all.masks[:4, 10, 10].tolist() == [1, 0, 1, 1]
    assert [len(boxes) for boxes in images.all.boxes[:4]] == [1, 0, 1, 1]
    files = images.all.table["image"].str.split(",").str[0]
    assert pd.Series(images.groups).groupby(files).nunique().eq(1).all()


def test_a_set_of_single_images_has_no_depth():
    with pytest.raises(UsageError, match="depth: expected volumes, found breastmnist"):
        datasets.load("breastmnist", depth=4)


def test_nobody_looked_is_not_nothing_there(make, tmp_path):
    """A mask, an empty mask, no mask of a healthy image, and no mask of an ill one."""
    inside = np.zeros((40, 50), np.uint8)
    inside[5:10, 5:10], inside[20:30, 20:30] = 255, 255
    Image.fromarray(inside).save(tmp_path / "two.png")
    Image.fromarray(inside * 0).save(tmp_path / "none.png")
    images = datasets.read_folder(make(12, mask=["", "two.png", "", "none.png"] + [""] * 8))
    assert images.class_names == ("healthy", "ill")
    highest = images.all.masks.reshape(12, -1).max(axis=1)
    assert highest.tolist() == [0, 1, 0, 0] + [0, -1] * 4
    assert [None if b is None else len(b) for b in images.all.boxes] == [0, 2, 0, 0] + [0, None] * 4


def test_lesions_in_files_of_their_own_stay_separate_where_they_touch(tmp_path):
    for number in range(12):
        folder = tmp_path / ("ill" if number % 2 else "healthy")
        folder.mkdir(exist_ok=True)
        Image.fromarray(tissue(number)).save(folder / f"{number}.png")
    for name, columns in (("1_mask.png", slice(5, 15)), ("1_mask_1.png", slice(15, 30))):
        inside = np.zeros(tissue(1).shape[:2], np.uint8)
        inside[10:20, columns] = 255
        Image.fromarray(inside).save(tmp_path / "ill" / name)
    everything = datasets.read_folder(tmp_path, image_size=50).all
    row = list(everything.table["image"]).index("ill/1.png")
    assert len(everything.boxes[row]) == 2
    assert everything.masks[row].max() == 1


@pytest.mark.parametrize("brightness", [3, 100])
def test_a_photograph_is_not_a_mask(make, tmp_path, brightness):
    path = make(12, mask=["", "m.png"] + [""] * 10)
    Image.fromarray(tissue(1)).save(tmp_path / "m.png")
    _fails(path, str(tmp_path / "m.png"), "0 and 255, or structures", "values from")


def test_structures_keep_their_numbers(make, tmp_path):
    structures = np.zeros((40, 50), np.uint8)
    structures[5:15, 5:15], structures[20:30, 20:30] = 1, 3
    Image.fromarray(structures).save(tmp_path / "m.png")
    images = datasets.read_folder(make(12, mask=["", "m.png"] + [""] * 10), image_size=50)
    assert np.unique(images.all.masks[1]).tolist() == [0, 1, 3]


def test_a_window_shows_what_lies_in_it(tmp_path):
    for index in range(12):
        hounsfield = np.full((20, 20), -1000, dtype=np.int16)
        hounsfield[4:10] = 40 + index
        hounsfield[14:, index] = 3000
        tifffile.imwrite(tmp_path / f"{index}.tif", hounsfield)
    rows = [{"image": f"{index}.tif", "label": "ab"[index % 2]} for index in range(12)]
    pd.DataFrame(rows).to_csv(tmp_path / "labels.csv", index=False)
    data = datasets.from_folder(tmp_path / "labels.csv", image_size=20, window=(40, 400))
    for image, name in zip(data.train.images, data.train.table["image"], strict=True):
        assert image[6, 6, 0] == pytest.approx(0.5 + int(name[:-4]) / 400, abs=1e-5)
    _fails(tmp_path / "labels.csv", "window", error=UsageError, window=(40, 0))


# Classes ------------------------------------------------------------------------------------------


BUSI = ("benign", "malignant", "normal")


@pytest.mark.parametrize(
    ("merge", "classes", "names"),
    [
        (None, None, BUSI),
        ({"tumour": ["benign", "malignant"]}, None, ("normal", "tumour")),
        ({"abnormal": ["benign", "malignant"]}, None, ("normal", "abnormal")),
        (None, ["malignant", "benign"], ("benign", "malignant")),
        ({"lump": ["benign", "malignant"]}, ["lump", "normal"], ("normal", "lump")),
        (None, ["malignant", "normal"], ("normal", "malignant")),
        (None, ["normal", "benign", "malignant"], ("normal", "benign", "malignant")),
        ({"benign": ["normal"]}, None, ("benign", "malignant")),
        ({"no": ["normal", "benign"], "yes": ["malignant"]}, None, ("no", "yes")),
    ],
)
def test_the_order_of_classes(merge, classes, names):
    class_names, class_of = choose_classes(BUSI, merge=merge, classes=classes)
    assert class_names == names
    assert set(class_of.values()) == set(names)


def test_merging_joins_and_choosing_leaves_out(make):
    path = make(36, labels=BUSI)
    merged = datasets.from_folder(path, merge={"tumour": ["benign", "malignant"]})
    assert merged.class_names == ("normal", "tumour")
    rows = _all(merged)
    assert dict(rows.groupby("original_label")["label"].first()) == {
        "benign": "tumour",
        "malignant": "tumour",
        "normal": "normal",
    }
    assert merged.summary()["tumour"].sum() == 24
    kept = datasets.from_folder(path, classes=["malignant", "benign"])
    assert kept.class_names == ("benign", "malignant")
    assert kept.summary()["images"].sum() == 24
    named = dict(zip(kept.train.table["label"], kept.train.labels, strict=True))
    assert named == {"benign": 0, "malignant": 1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": ["benign", "cyst"]}, "classes: expected one of benign, malignant, normal"),
        ({"classes": ["benign"]}, "classes: expected 2 or more, after merging, found benign"),
        ({"classes": []}, "classes: expected 2 or more, after merging"),
        ({"merge": {"tumour": ["cyst"]}}, "merge: expected one of benign, malignant, normal"),
        ({"merge": {"a": ["benign"], "b": ["benign"]}}, "each label once, found 'benign' twice"),
        ({"merge": {"benign": ["benign", "benign"]}}, "each label once"),
        (
            {"merge": {"benign": ["benign", "normal"], "tumour": ["benign", "malignant"]}},
            "each label once, found 'benign' twice",
        ),
        ({"positive": "cyst"}, "positive: expected one of benign, malignant, normal, found 'cyst'"),
        (
            {"positive": "normal"},
            "Join the others: --merge OTHER=A,B",
        ),
        ({"merge": {"all": BUSI}}, "classes: expected 2 or more, after merging, found all"),
        (
            {"merge": {"tumour": ["benign", "malignant"]}, "classes": ["benign", "normal"]},
            "classes: expected one of normal, tumour, found 'benign'",
        ),
    ],
)
def test_a_label_that_does_not_exist_is_named(make, options, message):
    _fails(make(12, labels=BUSI), message, error=UsageError, **options)


@pytest.mark.parametrize(
    ("labels", "positive", "names"),
    [
        (("malignant", "normal"), None, ("normal", "malignant")),
        (("cancer", "no_cancer"), None, ("no_cancer", "cancer")),
        (("abscess", "healthy control"), None, ("healthy control", "abscess")),
        (("left", "right"), None, ("left", "right")),
        (("left", "right"), "left", ("right", "left")),
        (("malignant", "normal"), "normal", ("malignant", "normal")),
    ],
)
def test_class_1_of_two_is_the_finding(make, labels, positive, names):
    assert datasets.from_folder(make(12, labels=labels), positive=positive).class_names == names


def test_numbers_as_labels_are_in_their_order(make):
    data = datasets.from_folder(make(36, labels=("10", "9", "2")))
    assert data.class_names == ("2", "9", "10")


# Splits that do not leak --------------------------------------------------------------------------


def test_given_splits_are_kept(make):
    split = ["train"] * 16 + ["validation"] * 4 + ["Test"] * 4
    data = datasets.from_folder(make(24, split=split))
    assert list(data.validation.table["image"]) == [f"{index}.png" for index in range(16, 20)]
    assert len(data.test) == 4


def test_all_images_of_a_subject_are_in_one_split(make):
    subjects = [f"patient {index // 4}" for index in range(40)]
    data = datasets.from_folder(make(40, labels=("a", "b", "b", "a"), subject=subjects))
    assert data.summary()["subjects"].sum() == 10
    table = _all(data)
    assert (table.groupby("subject")["split"].nunique() == 1).all()


def test_copies_count_as_one_subject(make, tmp_path):
    path = make(60)
    for index in range(0, 60, 2):  # every other image is a marked copy of the one after it
        marked = tissue(index + 1)
        marked[5:7, 10:25] = 255
        Image.fromarray(marked).save(tmp_path / f"{index:02d}.png")
    table = pd.read_csv(path)
    table["label"] = ["healthy", "healthy", "ill", "ill"] * 15
    table.to_csv(path, index=False)
    data = datasets.from_folder(path)
    assert data.summary()["subjects"].sum() == 30
    split_of = _all(data)["split"]
    assert all(split_of[f"{i:02d}.png"] == split_of[f"{i + 1:02d}.png"] for i in range(0, 60, 2))


def test_identical_images_in_two_given_splits_are_named(make, tmp_path):
    split = ["train"] * 16 + ["validation"] * 4 + ["test"] * 4
    path = make(24, split=split)
    Image.fromarray(tissue(2)).save(tmp_path / "22.png")
    _fails(path, "no identical image in two splits", "02.png (train), 22.png (test)")


def test_look_alikes_in_two_given_splits_are_warned_about(make, tmp_path):
    split = ["train"] * 16 + ["validation"] * 4 + ["test"] * 4
    path = make(24, split=split)
    marked = tissue(2)
    marked[5:7, 10:25] = 255
    Image.fromarray(marked).save(tmp_path / "22.png")
    with pytest.warns(UserWarning, match=r"02.png \(train\), 22.png \(test\)"):
        data = datasets.from_folder(path)
    assert len(data.test) == 4


def test_identical_images_of_two_subjects_stay_together(make, tmp_path):
    path = make(24, subject=[f"p{index}" for index in range(24)])
    for index in range(3, 24, 4):
        Image.fromarray(tissue(index - 2)).save(tmp_path / f"{index:02d}.png")
    split_of = _all(datasets.from_folder(path))["split"]
    for index in range(3, 24, 4):
        assert split_of[f"{index:02d}.png"] == split_of[f"{index - 2:02d}.png"]


def test_identical_images_with_different_labels_are_named_and_kept(make, tmp_path):
    path = make(24)
    Image.fromarray(tissue(3)).save(tmp_path / "08.png")
    with pytest.warns(UserWarning, match=r"03.png \(ill\), 08.png \(healthy\)"):
        data = datasets.from_folder(path)
    assert data.summary()["images"].sum() == 24
    split_of = _all(data)["split"]
    assert split_of["03.png"] == split_of["08.png"]


def test_a_subject_in_two_given_splits_is_named(make):
    split = ["train"] * 16 + ["validation"] * 4 + ["test"] * 4
    subject = [f"p{index}" for index in range(23)] + ["p3"]
    _fails(
        make(24, split=split, subject=subject),
        "no subject in two",
        "03.png (train), 23.png (test)",
    )


def test_too_few_subjects_for_three_splits(make):
    subject = ["anna", "anna", "berta", "berta"] * 3
    labels = ("a", "b", "b", "a")
    _fails(make(12, labels=labels, subject=subject), "class a", "three subjects", "found 2")
    _fails(make(5, labels=("a", "a", "b")), "class b", "three subjects or more", "found 1")


# Bad input ----------------------------------------------------------------------------------------


def test_folders_without_images(tmp_path):
    _fails(tmp_path, "one sub-folder with images for each class", "an empty folder")
    Image.fromarray(tissue(0)).save(tmp_path / "loose.png")
    _fails(tmp_path, "no sub-folder")
    (tmp_path / "ill").mkdir()
    _fails(tmp_path, "no image in ill")
    Image.fromarray(tissue(0)).save(tmp_path / "ill" / "a.png")
    _fails(tmp_path, "two classes or more", "only 'ill'")


def test_a_folder_with_a_table_of_labels(make):
    path = make(12)
    (path.parent / "images").mkdir()
    _fails(path.parent, f"Give the table itself: {path}")


def test_other_files_in_a_folder_are_named(tmp_path):
    for label in "ab":
        (tmp_path / label).mkdir()
        for index in range(4):
            Image.fromarray(tissue(index + 10 * ord(label))).save(tmp_path / label / f"{index}.png")
    Image.fromarray(tissue(1)).save(tmp_path / "a" / "scan.bmp")
    with pytest.warns(UserWarning, match=r"left out, not images by their names: a/scan.bmp"):
        datasets.from_folder(tmp_path)


def test_columns_that_are_not_there(make):
    path = make(12)
    table = pd.read_csv(path)
    table.rename(columns={"label": "diagnosis"}).to_csv(path, index=False)
    _fails(path, "expected columns image,label", "'image,diagnosis'")
    table.to_csv(path, index=False, sep=";")
    _fails(path, "'image;label'")
    path.write_text("")
    _fails(path, "No columns")
    path.write_text("image,label\n")
    _fails(path, "no rows")
    path.write_text("image,label,Label\na,b,c\n")
    _fails(path, "each column once", "label twice")
    path.write_text("image,label\na,b\nc,d,e\n")
    _fails(path, "separated by commas", "line 3")
    path.write_text("image,label\na, left.png,ill\n")
    _fails(path, "separated by commas")
    path.write_bytes("image,label\nm\u00fcller.png,ill\n".encode("latin-1"))
    _fails(path, "a table in UTF-8")


def test_tables_as_spreadsheets_write_them(make):
    path = make(12)
    text = path.read_text().replace("image,label", "Image, LABEL").replace("\n", "\r\n")
    path.write_text(text, encoding="utf-8-sig")
    assert datasets.from_folder(path).summary()["images"].sum() == 12


def test_paths_written_on_windows_are_found(make):
    path = make(12)
    folder = path.parent / "images" / "left"
    folder.mkdir(parents=True)
    for image in path.parent.glob("*.png"):
        image.rename(folder / image.name)
    table = pd.read_csv(path)
    table["image"] = "images\\left\\" + table["image"]
    table.to_csv(path, index=False)
    assert datasets.from_folder(path).summary()["images"].sum() == 12


@pytest.mark.parametrize(
    ("cells", "parts"),
    [
        ({"label": (2, "")}, ("a value in the column label", "line 4")),
        ({"image": (2, "  ")}, ("a value in the column image", "line 4")),
        ({"image": (3, "gone.png")}, ("every file it names", "1 missing", "gone.png")),
        ({"image": (3, "01.png")}, ("each image in one row", "01.png in line 3 and line 5")),
        ({"image": (3, "./01.png")}, ("each image in one row", "01.png in line 3 and line 5")),
        ({"mask": (3, "gone.png")}, ("every file it names", "gone.png")),
        ({"split": (0, "training")}, ("train, validation, test in", "'training' in line 2")),
        ({"subject": (5, "")}, ("a value in the column subject", "line 7")),
    ],
)
def test_rows_that_are_wrong_are_named(make, cells, parts):
    columns = {"split": "train"} if "split" in cells else {}
    columns |= {"subject": "x"} if "subject" in cells else {}
    columns |= {"mask": ""} if "mask" in cells else {}
    path = make(12, **columns)
    _edit(path, **cells)
    _fails(path, str(path), *parts)


def test_one_class_only(make):
    _fails(make(12, labels=("ill",)), "two classes or more", "only 'ill'")


def test_splits_that_are_missing(make):
    _fails(make(12, split=["train", "test"] * 6), "column split", "no validation")
    labels = ("a",) * 8 + ("b",) * 4
    split = ["train"] * 8 + ["validation", "test"] * 2
    _fails(make(12, labels=labels, split=split), "images of every class in train", "no b")


def test_many_missing_files_are_counted(make, tmp_path):
    path = make(24)
    for index in range(9):
        (tmp_path / f"{index:02d}.png").unlink()
    _fails(path, "9 missing", "00.png", "04.png", "and 4 more")


def test_one_bad_file_is_named(make, tmp_path):
    path = make(24)
    (tmp_path / "07.png").write_text("not an image")
    _fails(path, str(tmp_path / "07.png"), "cannot identify image file")


def test_several_bad_files_give_one_error(make, tmp_path):
    path = make(24)
    (tmp_path / "03.png").write_text("not an image")
    whole = (tmp_path / "05.png").read_bytes()
    (tmp_path / "05.png").write_bytes(whole[: len(whole) // 2])
    Image.fromarray(np.zeros((1, 1), dtype=np.uint8)).save(tmp_path / "06.png")
    for index in (10, 11, 12):
        (tmp_path / f"{index}.png").write_bytes(b"")
    _fails(path, "6 that are not", "03.png", "05.png", "at least 2 x 2", "and 1 more")


def test_a_mask_of_another_size_is_named(make, tmp_path):
    path = make(12, mask=["", "m.png"] + [""] * 10)
    Image.fromarray(np.zeros((41, 50), dtype=np.uint8)).save(tmp_path / "m.png")
    _fails(path, str(tmp_path / "m.png"), "the size of its image, 40 x 50", "found 41 x 50")


# The other doors ----------------------------------------------------------------------------------


def test_images_for_prediction_come_one_by_one(make, tmp_path):
    path = make(12)
    data = datasets.from_folder(path, image_size=32)
    (tmp_path / "notes.png").write_text("not an image")
    names = [*data.train.table["image"], "notes.png"]
    found = list(load_images([tmp_path / n for n in names], image_size=32, n_channels=1))
    assert [path.name for path, _ in found] == names
    images = np.concatenate([image for _, image in found[:-1]])
    np.testing.assert_array_equal(images, data.train.images)
    assert isinstance(found[-1][1], MedlibError)
    [(_, [colour])] = load_images([tmp_path / names[0]], image_size=32, n_channels=3)
    np.testing.assert_array_equal(colour, np.repeat(images[0], 3, axis=-1))


def test_colour_for_a_grey_network_is_its_brightness(tmp_path):
    colours = np.zeros((10, 10, 3), dtype=np.uint8)
    colours[..., 1] = 255  # green
    Image.fromarray(colours).save(tmp_path / "green.png")
    [(_, [image])] = load_images([tmp_path / "green.png"], image_size=10, n_channels=1)
    assert image == pytest.approx(np.full((10, 10, 1), 0.587), abs=1e-5)


def test_resolve_knows_files_folders_and_names(make):
    path = make(12)
    assert datasets.resolve(path, image_size=16).image_shape == (16, 16, 1)
    assert datasets.resolve(str(path), positive="healthy").class_names[0] == "ill"
    with pytest.raises(UsageError, match=r"found 'breastmist'. Did you mean breastmnist\?"):
        datasets.resolve("breastmist")
    with pytest.raises(UsageError, match="window: expected a CSV or a folder"):
        datasets.resolve("simbrain", window=(0, 1))
    with pytest.raises(UsageError, match=r"one of simbrain.*'simbrian'.*mean simbrain\?"):
        datasets.load("simbrian")


def test_labels_of_a_named_set_can_be_merged(monkeypatch, make):
    whole = datasets.from_folder(make(36, labels=BUSI))
    monkeypatch.setattr(datasets, "load", lambda name, **options: whole)
    merged = datasets.resolve("simbrain", merge={"tumour": ["benign", "malignant"]})
    assert merged.class_names == ("normal", "tumour")
    expected = [label != "normal" for label in whole.train.table["label"]]
    np.testing.assert_array_equal(merged.train.labels, np.array(expected, dtype=int))
    kept = datasets.resolve("simbrain", classes=["malignant", "benign"])
    assert kept.summary()["images"].sum() == 24


def test_breast_ultrasound(real_data):
    """545 images: 421 groups of look-alikes, found by eye to be copies in all those looked at."""
    start = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        data = datasets.from_folder(
            real_data / "busi" / "labels.csv", merge={"tumour": ["benign", "malignant"]}
        )
    assert time.perf_counter() - start < 20
    assert data.class_names == ("normal", "tumour")
    assert data.summary()["images"].sum() == 545
    assert 400 <= data.summary()["subjects"].sum() <= 440
    assert any("normal_001.png (normal)" in str(each.message) for each in caught)
    assert data.train.masks.any(axis=(1, 2)).sum() == (data.train.labels == 1).sum()

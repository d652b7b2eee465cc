"""Reading without splitting: for cross-validation, and for measuring a trained network."""

import json

import numpy as np
import pandas as pd
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from scipy.ndimage import gaussian_filter

from medlib import datasets
from medlib.datasets.reading import read_image, read_mask
from medlib.errors import DataError, UsageError

NETWORK = ("normal", "tumour")
MERGE = {"tumour": ["benign", "malignant"]}


def tissue(seed):
    values = gaussian_filter(np.random.default_rng(seed).normal(size=(40, 50)), 4)
    return np.clip(128 + 60 * values / values.std(), 0, 255).astype(np.uint8)


@pytest.fixture
def make(tmp_path):
    """Write a CSV of images with these labels; return its path."""

    def write(labels, **columns):
        names = [f"{index:02d}.png" for index in range(len(labels))]
        for index, name in enumerate(names):
            Image.fromarray(tissue(index)).save(tmp_path / name)
        table = pd.DataFrame({"image": names, "label": labels}).assign(**columns)
        table.to_csv(tmp_path / "labels.csv", index=False)
        return tmp_path / "labels.csv"

    return write


# For a trained network ----------------------------------------------------------------------------


def read_for(data, **options):
    given = {"class_names": NETWORK, "image_size": 16, "channels": 1, "merge": MERGE} | options
    return datasets.read(data, **given)


def test_external_images_that_are_all_of_the_test_split_are_read(make):
    images = read_for(make(["benign", "malignant", "normal"], split="test"))
    assert images.all.labels.tolist() == [1, 1, 0]
    assert images.class_names == NETWORK


def test_two_subjects_are_enough_to_measure(make):
    path = make(["malignant", "normal"] * 3, subject=["anna", "berta"] * 3)
    assert list(read_for(path).all.subjects) == ["anna", "berta"] * 3


@pytest.mark.parametrize("labels", [["malignant", "normal"], ["tumour", "normal"], ["benign"] * 2])
def test_a_label_or_a_class_may_be_missing(make, labels):
    images = read_for(make(labels))
    assert images.class_names == NETWORK
    assert images.all.labels.tolist() == [int(label != "normal") for label in labels]


def test_a_label_that_the_network_does_not_know_is_named(make):
    with pytest.raises(DataError, match="classes normal, tumour, found cyst"):
        read_for(make(["benign", "cyst", "normal"]))


def test_labels_left_out_of_the_training_are_left_out_again(make):
    names = ("benign", "malignant")
    path = make(["benign", "normal", "malignant"])
    images = read_for(path, class_names=names, merge=None, classes=names)
    assert list(images.all.table["image"]) == ["00.png", "02.png"]
    assert images.all.labels.tolist() == [0, 1]


# Who must stay together ---------------------------------------------------------------------------


def test_look_alikes_are_one_group_where_subjects_are_not_known(make, tmp_path):
    path = make(["ill", "ill", "healthy", "healthy"])
    marked = tissue(0)
    marked[5:7, 10:25] = 255
    Image.fromarray(marked).save(tmp_path / "01.png")
    groups = datasets.read(path).groups
    assert groups[0] == groups[1]
    assert len(set(groups)) == 3


def test_identical_images_join_two_subjects_and_look_alikes_do_not(make, tmp_path):
    path = make(["ill"] * 3 + ["healthy"] * 3, subject=list("aabcde"))
    marked = tissue(0)
    marked[5:7, 10:25] = 255
    Image.fromarray(marked).save(tmp_path / "03.png")  # like the first of subject a
    Image.fromarray(tissue(1)).save(tmp_path / "02.png")  # the second of a, called b
    groups = datasets.read(path).groups
    assert groups[0] == groups[1] == groups[2]
    assert len(set(groups)) == 4


def test_no_split_is_made_before_it_is_asked_for(make):
    images = datasets.read(make(["ill", "healthy"]))
    assert images.given_split is None
    with pytest.raises(DataError, match="three subjects"):
        images.split()


# Names, folders, runs -----------------------------------------------------------------------------


def test_a_run_called_like_a_data_set_does_not_hide_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "breastmnist").mkdir()
    (tmp_path / "breastmnist" / "config.json").write_text(json.dumps({"medlib_run": 1}))
    loaded = []

    def load(name, **options):
        loaded.append(name)
        raise UsageError(name)

    monkeypatch.setattr(datasets, "load", load)
    with pytest.raises(UsageError):
        datasets.read("breastmnist")
    assert loaded == ["breastmnist"]


def test_a_folder_called_like_a_data_set_can_be_named_by_its_path(make, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for index, label in enumerate(["ill", "healthy"] * 2):
        (tmp_path / "breastmnist" / label).mkdir(parents=True, exist_ok=True)
        Image.fromarray(tissue(index)).save(tmp_path / "breastmnist" / label / f"{index}.png")
    assert datasets.read("./breastmnist").class_names == ("healthy", "ill")


# Files --------------------------------------------------------------------------------------------


def test_a_mask_of_one_structure_keeps_its_number(tmp_path):
    necrosis = np.zeros((10, 10), dtype=np.uint8)
    necrosis[2:5, 2:5] = 2
    Image.fromarray(necrosis).save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png"), necrosis)


def test_a_jpeg_photograph_is_not_a_mask(tmp_path):
    Image.fromarray(tissue(0)).save(tmp_path / "m.jpg")
    with pytest.raises(DataError, match="a mask"):
        read_mask(tmp_path / "m.jpg")


@pytest.mark.parametrize("groups", ["Shared", "PerFrame"])
def test_enhanced_computed_tomography_keeps_its_rescale_in_functional_groups(tmp_path, groups):
    source = pydicom.data.get_testdata_file("CT_small.dcm", download=False)
    expected = read_image(source).pixels
    dataset = pydicom.dcmread(source)
    step = Dataset()
    step.RescaleSlope, step.RescaleIntercept = dataset.RescaleSlope, dataset.RescaleIntercept
    del dataset.RescaleSlope, dataset.RescaleIntercept
    group = Dataset()
    group.PixelValueTransformationSequence = [step]
    setattr(dataset, f"{groups}FunctionalGroupsSequence", [group])
    dataset.save_as(tmp_path / "enhanced.dcm")
    image = read_image(tmp_path / "enhanced.dcm", window=(40, 400))
    np.testing.assert_array_equal(image.pixels, expected)
    assert (image.unit, image.window) == ("HU", (40, 400))

import dataclasses
import warnings

import numpy as np
import pandas as pd
import pytest

from medlib.datasets.structure import MedicalDataset, Split, drop_shared_images, image_hashes
from medlib.errors import DataError


def split(name="a", n=4, **parts):
    """A valid split; ``parts`` replace what a test is about."""
    rng = np.random.default_rng(list(name.encode()))
    images = rng.random((n, 8, 6, 2), dtype=np.float32)
    whole = {
        "images": images,
        "labels": np.arange(n, dtype=np.int64) % 2,
        "masks": (images[..., 0] > 0.5).astype(np.int8),
        "boxes": None,
        "subjects": np.array([f"{name}{row}" for row in range(n)]),
        "table": pd.DataFrame({"age": range(n)}),
    }
    return Split(**(whole | parts))


def dataset(**parts):
    whole = {
        "name": "cohort",
        "train": split("a"),
        "validation": split("b"),
        "test": split("c"),
        "class_names": ("normal", "tumour"),
        "channel_names": ("T1", "T2"),
        "licence": "CC0",
        "citation": "",
        "card": "",
    }
    return MedicalDataset(**(whole | parts))


def with_value(value, rows=(1,)):
    images = split().images.copy()
    images[list(rows), 3, 3, 0] = value
    return images


def partly_annotated():
    masks = np.zeros((4, 8, 6), np.int8)
    masks[2, 0, 0] = -1
    return masks


def boxes(of_first):
    result = np.empty(4, object)
    result[0], result[1] = np.array(of_first, np.float32), np.empty((0, 4), np.float32)
    return result


def test_not_annotated_is_not_the_same_as_empty():
    masks = np.zeros((4, 8, 6), np.int8)
    masks[3] = -1
    found = split(masks=masks, boxes=boxes([[0, 1, 4, 3], [5, 0, 8, 6]])).take(np.array([0, 1, 3]))
    assert found.masks.max(axis=(1, 2)).tolist() == [0, 0, -1]
    assert [None if b is None else len(b) for b in found.boxes] == [2, 0, None]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"images": np.zeros((4, 8, 6), np.float32)}, "images: expected shape"),
        ({"images": np.zeros((4, 8, 0, 2), np.float32)}, "images: expected shape"),
        ({"images": np.zeros((4, 1, 1, 1, 1, 1), np.float32)}, "images: expected shape"),
        ({"images": split().images.astype(np.float64)}, "images: expected dtype float32"),
        ({"images": (split().images * 255).astype(np.uint8)}, "images: expected dtype float32"),
        ({"labels": np.zeros(4, np.int32)}, "labels: expected dtype int64"),
        ({"labels": np.zeros(4)}, "labels: expected dtype int64"),
        ({"labels": np.zeros(3, np.int64)}, r"labels: expected shape \(4,\), found \(3,\)"),
        ({"labels": np.zeros((4, 1), np.int64)}, r"labels: expected shape \(4,\)"),
        ({"subjects": np.array(["a"])}, r"subjects: expected shape \(4,\)"),
        ({"subjects": np.arange(4)}, "subjects: expected dtype str"),
        ({"subjects": np.array(list("abcd"), dtype=object)}, "subjects: expected dtype str"),
        ({"table": pd.DataFrame({"age": [1]})}, "table: expected 4 rows, found 1"),
        ({"masks": np.zeros((4, 8, 6), bool)}, "masks: expected dtype int8"),
        ({"masks": np.zeros((4, 6, 8), np.int8)}, r"masks: expected shape \(4, 8, 6\)"),
        ({"masks": partly_annotated()}, "masks: expected 0 and above, or -1 everywhere.*row 2"),
        ({"boxes": boxes([[0, 0, 9, 2]])}, "boxes: .*row 0"),
        ({"boxes": boxes([[2, 2, 2, 3]])}, "boxes: .*row 0"),
        ({"images": with_value(np.nan)}, "images: expected finite values, .* in row 1"),
        ({"images": with_value(-np.inf)}, "images: expected finite values, .* in row 1"),
        ({"images": with_value(np.inf)}, "images: expected finite values, .* in row 1"),
        ({"images": with_value(1.001)}, r"values in \[0, 1\], found values outside in row 1"),
        ({"images": with_value(-0.001, (0, 3))}, "values outside in row 0; 3"),
    ],
)
def test_a_split_says_what_is_wrong_with_it(parts, message):
    with pytest.raises(DataError, match=message):
        split(**parts)


def test_an_empty_split_is_refused():
    with pytest.raises(DataError, match="at least one image"):
        split(n=0)


def test_many_wrong_rows_are_counted():
    images = np.full((9, 2, 2, 1), 2, np.float32)
    with pytest.raises(DataError, match="row 0; 1; 2; 3; 4 and 4 more"):
        split(n=9, images=images, masks=None)


def test_stacks_of_slices_are_images_too():
    stacks = split(images=np.zeros((4, 5, 8, 6, 2), np.float32), masks=None)
    assert len(stacks) == 4
    masked = split(
        images=np.zeros((4, 5, 8, 6, 2), np.float32), masks=np.zeros((4, 5, 8, 6), np.int8)
    )
    assert masked.masks.shape == (4, 5, 8, 6)


@pytest.mark.parametrize("rows", [np.array([2, 0]), np.array([True, False, True, False])])
def test_taking_rows_keeps_them_together(rows):
    whole = split()
    part = whole.take(rows)
    index = np.arange(4)[rows]
    np.testing.assert_array_equal(part.images, whole.images[index])
    np.testing.assert_array_equal(part.masks, whole.masks[index])
    np.testing.assert_array_equal(part.labels, index % 2)
    assert list(part.subjects) == [f"a{row}" for row in index]
    assert list(part.table["age"]) == list(index)
    assert list(part.table.index) == [0, 1]


def test_nothing_in_a_split_can_be_replaced():
    with pytest.raises(dataclasses.FrozenInstanceError):
        split().labels = np.zeros(4)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"class_names": ()}, "class_names: expected one or more"),
        ({"class_names": ("tumour", "tumour")}, "class_names: expected one or more different"),
        ({"channel_names": ("T1",)}, r"cohort: train images: expected one channel for each"),
        (
            {"test": split("c", images=np.zeros((4, 8, 7, 2), np.float32), masks=None)},
            r"cohort: test images: expected shape \(n, 8, 6, 2\)",
        ),
        (
            {"validation": split("b", labels=np.array([0, 1, 2, 0]))},
            "cohort: validation labels: expected 0 to 1, found other labels in row 2",
        ),
        (
            {"test": split("c", labels=np.array([-1, 1, -1, 0]))},
            "cohort: test labels: expected 0 to 1, found other labels in row 0; 2",
        ),
    ],
)
def test_a_data_set_says_what_does_not_fit(parts, message):
    with pytest.raises(DataError, match=message):
        dataset(**parts)


@pytest.mark.parametrize("later", ["validation", "test"])
def test_a_subject_in_two_splits_is_refused(later):
    names = np.array(["x", "y", "a1", "z"])
    with pytest.raises(DataError, match=f"no subject in two splits, found .*row 2 \\({later}\\)"):
        dataset(**{later: split("d", subjects=names)})


@pytest.mark.parametrize(("first", "later"), [("train", "test"), ("validation", "test")])
def test_an_identical_image_in_two_splits_is_refused(first, later):
    images = split("d").images.copy()
    images[3] = getattr(dataset(), first).images[0]
    message = f"no identical image in two splits, found row 0 \\({first}\\), row 3 \\({later}\\)"
    with pytest.raises(DataError, match=message):
        dataset(**{later: split("c", images=images)})


def _published():
    """A set like MedMNIST's, in which training rows stand in validation and in test."""
    train, validation, test = (split(name) for name in "abc")
    images = train.images.copy()
    images[1], images[2] = validation.images[0], test.images[3]
    train = dataclasses.replace(train, images=images)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return dataset(train=train, validation=validation, test=test, official_split=True)


def test_overlaps_of_official_splits_are_warned_about():
    published = _published()
    with pytest.warns(UserWarning, match="the official splits share") as caught:
        dataclasses.replace(published, name="same")
    assert any("row 1 (train), row 0 (validation)" in str(each.message) for each in caught)
    assert any("row 2 (train), row 3 (test)" in str(each.message) for each in caught)


def test_dropping_shared_images_leaves_the_test_set_alone():
    strict = drop_shared_images(_published())
    assert not strict.official_split
    assert list(strict.train.subjects) == ["a0", "a3"]
    assert (len(strict.validation), len(strict.test)) == (4, 4)


def test_the_summary_counts_images_and_subjects():
    table = dataset(train=split("a", subjects=np.array(["p", "p", "q", "r"]))).summary()
    assert dict(table.loc["train"]) == {"normal": 2, "tumour": 2, "images": 4, "subjects": 3}
    assert list(table.index) == ["train", "validation", "test"]
    assert dataset().image_shape == (8, 6, 2)


def test_equal_hashes_mean_equal_images():
    images = split().images.copy()
    images[2] = images[0]
    images[3] = np.nextafter(images[0], 2)  # one rounding step is another image
    hashes = image_hashes(images)
    assert hashes[0] == hashes[2]
    assert len(set(hashes)) == 3

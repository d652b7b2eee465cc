import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from medlib.preprocessing import fingerprint, group_near_duplicates
from medlib.preprocessing.duplicates import join_groups


def tissue(seed, height=120, width=160):
    """A random texture with structure at the scale of organs."""
    rng = np.random.default_rng(seed)
    coarse = gaussian_filter(rng.normal(size=(height, width)), 12)
    fine = gaussian_filter(rng.normal(size=(height, width)), 1)
    image = coarse / coarse.std() + 0.3 * fine / fine.std()
    return np.clip(0.5 + 0.2 * image, 0, 1)[..., np.newaxis].astype(np.float32)


def with_callipers(image):
    marked = image.copy()
    marked[40:44, 50:90] = marked[30:60, 68:71] = marked[100:112, 5:30] = 1
    return marked


def cropped(image):
    return image[3:-2, 2:-4]


def with_another_gain(image):
    return np.clip(0.8 * image + 0.1, 0, 1)


@pytest.mark.parametrize("change", [with_callipers, cropped, with_another_gain])
def test_a_changed_copy_is_found_among_other_images(change):
    images = [tissue(seed) for seed in range(60)]
    images.append(change(images[7]))
    groups = group_near_duplicates([fingerprint(image) for image in images])
    assert groups[60] == 7
    np.testing.assert_array_equal(groups[:60], np.arange(60))


def test_what_all_images_share_does_not_make_them_copies():
    anatomy = tissue(1000)
    images = [0.75 * anatomy + 0.25 * tissue(seed) for seed in range(80)]
    prints = [fingerprint(image) for image in images]
    raw = np.corrcoef([each.thumbnail.ravel() for each in prints])
    assert np.median(raw) > 0.85  # they do look alike
    assert len(np.unique(group_near_duplicates(prints))) > 76


def test_flat_images_are_copies_of_each_other_and_of_nothing_else():
    images = [np.full((20, 30, 1), level, dtype=np.float32) for level in (0, 0.4, 1)]
    groups = group_near_duplicates([fingerprint(image) for image in [*images, tissue(0)]])
    np.testing.assert_array_equal(groups, [0, 0, 0, 3])


def test_a_single_image_is_no_special_case():
    np.testing.assert_array_equal(group_near_duplicates([fingerprint(tissue(0))]), [0])


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=10, max_size=10))
def test_groups_are_the_connected_components(keys):
    first, second = np.array(keys).T
    groups = join_groups(first, second.astype(str))
    pairs = [
        (i, j)
        for i in range(10)
        for j in range(i)
        if first[i] == first[j] or second[i] == second[j]
    ]
    members = [{index} for index in range(10)]  # an oracle by brute force
    for _ in range(10):
        for first, second in pairs:
            union = members[first] | members[second]
            for index in union:
                members[index] = union
    np.testing.assert_array_equal(groups, [min(each) for each in members])


def test_ten_thousand_images_are_compared_in_seconds():
    rng = np.random.default_rng(0)
    prints = [fingerprint(image) for image in rng.random((2000, 32, 32, 1), dtype=np.float32)]
    start = time.perf_counter()
    groups = group_near_duplicates(prints * 5)
    assert time.perf_counter() - start < 20
    np.testing.assert_array_equal(groups, np.tile(np.arange(2000), 5))


def test_copies_in_breast_ultrasound_are_found(real_data):
    from medlib.datasets.reading import read_image

    def prints(*names):
        images = [read_image(real_data / "busi" / "images" / f"{name}.png") for name in names]
        return [fingerprint(image.scaled()) for image in images]

    others = [f"malignant_{number:03d}" for number in (30, 31, 32, 33, 34, 35, 36, 37, 38, 39)]
    others = [name for name in others if (real_data / f"busi/images/{name}.png").exists()]
    # one lesion each: exported twice, marked with callipers, and labelled both ways
    pairs = ["benign_241", "benign_266", "benign_433", "malignant_145", "benign_003", "benign_320"]
    groups = group_near_duplicates(prints(*pairs, *others))
    np.testing.assert_array_equal(groups[:6], [0, 0, 2, 2, 4, 4])
    assert len(np.unique(groups[6:])) == len(others)

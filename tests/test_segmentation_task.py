"""The U-Net and its task: masks go with their images, and nobody's silence is an empty mask."""

from dataclasses import replace

import numpy as np
import pytest

from medlib import datasets, training
from medlib.errors import DataError, UsageError
from medlib.tasks import Segmentation

TASK = Segmentation()


@pytest.fixture(scope="module")
def keras():
    return training.import_keras()


@pytest.fixture(scope="module")
def slices(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDLIB_CACHE", str(tmp_path_factory.mktemp("cache")))
        from medlib.datasets.simbrain import new_patients

        return new_patients(1, n_subjects=20, slices_per_subject=2, image_size=32)


def test_masks_have_the_size_of_their_images(keras):
    from medlib.models.unet import build_unet

    network = build_unet((32, 40, 3), TASK, seed=0)
    assert network.output_shape == (None, 32, 40, 1)
    with pytest.raises(UsageError, match="multiples of 8, found 30 x 32"):
        build_unet((30, 32, 3), TASK, seed=0)


def test_skips_can_be_left_out(keras):
    from medlib.models.unet import build_unet

    with_skips, without = (build_unet((32, 32, 1), TASK, seed=0, skips=s) for s in (True, False))
    assert sum(isinstance(x, keras.layers.Concatenate) for x in with_skips.layers) == 2
    assert not any(isinstance(x, keras.layers.Concatenate) for x in without.layers)


def test_the_loss_is_smallest_where_masks_agree(keras):
    truth = np.zeros((2, 8, 8, 1), np.float32)
    truth[:, 2:5, 2:5] = 1
    loss = TASK.loss()
    right, empty, full = (float(loss(truth, p)) for p in (truth, 0 * truth, 0 * truth + 1))
    assert right < 0.1 < min(empty, full)


def test_the_loss_counts_every_image_the_same(keras):
    """By hand, from probabilities of 0.2 everywhere: a small structure, a large one, none."""
    truth = np.zeros((3, 16, 16, 1), np.float32)
    truth[0, :2, :2], truth[1, :8, :8] = 1, 1
    found = np.full_like(truth, 0.2)
    entropy = -(68 * np.log(0.2) + (768 - 68) * np.log(0.8)) / 768
    spread = 0.2 * 256
    parts = [1 - 2 * 0.2 * size / (size + spread + 1) for size in (4, 64)]
    parts += [spread / (spread + 6.4)]
    assert float(TASK.loss()(truth, found)) == pytest.approx(entropy + np.mean(parts), rel=1e-5)


@pytest.mark.parametrize(
    ("side", "bottom"), [(24, 3), (32, 4), (64, 4), (96, 6), (128, 4), (512, 16)]
)
def test_larger_images_are_halved_more_often(keras, side, bottom):
    from medlib.models.unet import build_unet

    network = build_unet((side, side, 1), TASK, seed=0)
    assert min(layer.output.shape[1] for layer in network.layers) == bottom


def test_targets_are_refused_where_nobody_has_looked(slices):
    assert TASK.targets(slices).shape == (40, 32, 32, 1)
    masks = slices.masks.copy()
    masks[3] = -1
    with pytest.raises(DataError, match="masks: expected one for each image, found 1 images"):
        TASK.targets(replace(slices, masks=masks))
    with pytest.raises(DataError, match="found 40 images without"):
        TASK.targets(replace(slices, masks=None))
    with pytest.raises(DataError, match="only empty ones"):
        TASK.targets(replace(slices, masks=np.zeros_like(masks)))


def test_images_and_masks_are_changed_together(keras, slices):
    """The image of a mask, flipped and moved, is the flipped and moved mask."""
    from medlib.preprocessing.augmentation import RandomAffine

    layer = RandomAffine(flip=True, shift=0.2, seed=0)
    targets = TASK.targets(slices)
    images, masks = TASK.augment(layer, np.repeat(targets, 3, axis=-1), targets)
    difference = np.abs(np.asarray(images)[..., :1] - np.asarray(masks))
    assert difference.mean() < 0.02
    assert np.abs(np.asarray(masks) - targets).mean() > 0.01


def test_a_short_training_finds_what_is_bright(keras, slices):
    """Bright squares on noise: after twenty epochs most of each is found."""
    from medlib.models.unet import build_unet

    generator = np.random.default_rng(0)
    images = 0.3 * generator.random((64, 16, 16, 1), dtype=np.float32)
    masks = np.zeros((64, 16, 16), np.int8)
    for image, mask in zip(images, masks, strict=True):
        row, column = generator.integers(2, 8, 2)
        mask[row : row + 5, column : column + 5] = 1
        image[mask > 0] += 0.6
    split = datasets.Split(
        images,
        np.ones(64, np.int64),
        masks,
        None,
        np.arange(64).astype(str),
        slices.table.iloc[np.zeros(64, int)].reset_index(drop=True),
    )
    network = build_unet((16, 16, 1), TASK, seed=0)
    training.fit(network, split, task=TASK, epochs=20, seed=0, batch_size=16, learning_rate=1e-2)
    predictions = training.predict(network, images, TASK, mirror=True)
    assert predictions.shape == masks.shape
    assert TASK.score(split, predictions)["validation_dice"] > 0.8
    table = TASK.report(split, predictions).set_index("metric")
    assert table.loc["Dice", "value"] > 0.8

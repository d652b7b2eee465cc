"""Training repeats itself bit for bit, and goes on where it was stopped."""

import contextlib
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from medlib import training
from medlib.datasets.structure import Split
from medlib.errors import RunError, UsageError

EPOCHS = 4
SETTINGS = {"batch_size": 16, "augmentation": {"flip": True, "shift": 0.1, "rotation": 20.0}}


def a_split(n, seed, n_classes=2):
    """Images of one bright square; its size says which class."""
    generator = np.random.default_rng(seed)
    labels = np.arange(n) % n_classes
    images = generator.random((n, 12, 12, 1), dtype=np.float32) * np.float32(0.5)
    for image, label in zip(images, labels, strict=True):
        image[3 : 6 + 3 * label, 3 : 6 + 3 * label] += 0.5
    subjects = np.array([f"{seed}-{row}" for row in range(n)])
    return Split(images, labels.astype(np.int64), None, subjects, pd.DataFrame({"row": range(n)}))


def a_network(n_classes=2):
    import keras

    inputs = keras.Input((12, 12, 1))
    x = keras.layers.Conv2D(4, 3, kernel_initializer=keras.initializers.HeNormal(seed=1))(inputs)
    x = keras.layers.BatchNormalization(momentum=0.9)(x)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(x))
    x = keras.layers.Dropout(0.2, seed=2)(x)
    units, activation = (1, "sigmoid") if n_classes == 2 else (n_classes, "softmax")
    initialiser = keras.initializers.GlorotUniform(seed=3)
    outputs = keras.layers.Dense(units, activation, kernel_initializer=initialiser)(x)
    return keras.Model(inputs, outputs)


def fitted(seed=0, n_classes=2, **settings):
    training.set_seed(seed)
    network = a_network(n_classes)
    train, validation = a_split(70, 1, n_classes), a_split(30, 2, n_classes)
    settings = {"epochs": EPOCHS} | SETTINGS | settings
    history = training.fit(network, train, validation, seed=seed, **settings)
    return network, history


@pytest.fixture(scope="module")
def uninterrupted():
    network, history = fitted()
    return network.get_weights(), history


def expect_same_weights(first, second):
    assert all(np.array_equal(one, other) for one, other in zip(first, second, strict=True))


def test_the_same_seed_gives_the_same_weights_bit_for_bit(uninterrupted):
    network, history = fitted()
    expect_same_weights(network.get_weights(), uninterrupted[0])
    pd.testing.assert_frame_equal(history, uninterrupted[1], check_exact=True)


def test_another_seed_gives_another_training(uninterrupted):
    _, history = fitted(seed=1)
    assert not np.array_equal(history["loss"], uninterrupted[1]["loss"])


@pytest.mark.parametrize("finished", [1, EPOCHS - 1, EPOCHS])
def test_stopped_after_any_epoch_it_ends_with_the_same_weights(finished, uninterrupted, tmp_path):
    class Stopped(BaseException):
        pass

    def stop(row):
        if row["epoch"] == finished:
            raise Stopped

    checkpoint = tmp_path / "checkpoint.npz"
    with contextlib.suppress(Stopped):
        fitted(checkpoint=checkpoint, on_epoch=stop)
    epochs = []
    network, history = fitted(checkpoint=checkpoint, on_epoch=lambda row: epochs.append(row))
    assert [row["epoch"] for row in epochs] == list(range(finished + 1, EPOCHS + 1))
    expect_same_weights(network.get_weights(), uninterrupted[0])
    pd.testing.assert_frame_equal(history, uninterrupted[1], check_exact=True)


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    checkpoint = tmp_path / "checkpoint.npz"
    fitted(checkpoint=checkpoint, epochs=1)
    with pytest.raises(RunError, match=r"checkpoint.npz.*Remove it"):
        fitted(checkpoint=checkpoint, n_classes=3)


def test_a_checkpoint_that_was_cut_short_is_refused(tmp_path):
    checkpoint = tmp_path / "checkpoint.npz"
    fitted(checkpoint=checkpoint, epochs=1)
    checkpoint.write_bytes(checkpoint.read_bytes()[:-500])
    with pytest.raises(RunError, match=r"checkpoint.npz.*Remove it"):
        fitted(checkpoint=checkpoint)


def test_the_weights_kept_are_those_of_the_lowest_validation_loss_in_the_second_half():
    validation = a_split(30, 2)
    network, history = fitted(epochs=8, learning_rate=0.05)
    late = history[history["epoch"] > 4]
    best = late.loc[late["validation_loss"].idxmin()]
    assert history["epoch"][history["kept"]].tolist() == [best["epoch"]]
    probabilities = training.predict(network, validation.images)
    own = probabilities[np.arange(30), validation.labels]
    assert -np.log(own).mean() == pytest.approx(best["validation_loss"], rel=1e-5)
    auc = roc_auc_score(validation.labels, probabilities[:, 1])
    assert auc == pytest.approx(best["validation_auc"])


@pytest.mark.parametrize("finished", [1, 5, 7])
def test_a_lucky_start_is_not_chosen_even_by_a_training_that_was_stopped(
    finished, monkeypatch, tmp_path
):
    measured = []

    def worse_every_time(labels, probabilities):
        measured.append(probabilities)
        return {"validation_loss": float(len(measured)), "validation_auc": 1 / len(measured)}

    class Stopped(BaseException):
        pass

    def stop(row):
        if row["epoch"] == finished:
            raise Stopped

    monkeypatch.setattr(training, "_measure", worse_every_time)
    settings = {"epochs": 7, "checkpoint": tmp_path / "checkpoint.npz"}
    with pytest.raises(Stopped):
        fitted(**settings, on_epoch=stop)
    network, history = fitted(**settings)
    assert len(history) == len(measured) == 7
    kept = training.predict(network, a_split(30, 2).images)
    assert np.array_equal(kept, measured[3])  # of the second half, epochs 4 to 7, the first


def test_even_a_short_training_keeps_little_of_its_start():
    network, _ = fitted(epochs=1, learning_rate=0.05)
    without_average, _ = fitted(epochs=1, learning_rate=0.05, averaging=0)
    start = a_network().trainable_variables
    moved, moved_without = (
        sum(float(np.abs(w - s).sum()) for w, s in zip(n.trainable_variables, start, strict=True))
        for n in (network, without_average)
    )
    assert moved == pytest.approx(moved_without, rel=0.2)


def test_it_learns_three_classes():
    network, history = fitted(n_classes=3, epochs=10, learning_rate=0.05, augmentation=None)
    assert history["validation_auc"].max() > 0.75
    probabilities = training.predict(network, a_split(30, 5, 3).images)
    assert probabilities.shape == (30, 3)
    assert np.allclose(probabilities.sum(axis=1), 1)


def test_probabilities_of_two_classes_are_those_of_the_sigmoid_and_its_complement():
    network = SimpleNamespace(predict=lambda images, **_: np.full((len(images), 1), 0.25, "f4"))
    assert training.predict(network, np.zeros((2, 4, 4, 1), "f4")).tolist() == [[0.75, 0.25]] * 2


def test_a_loss_that_is_not_a_number_is_an_error():
    with pytest.raises(RunError, match=r"finite loss.*smaller learning rate"):
        fitted(learning_rate=1e30)


@pytest.mark.parametrize("argument", ["epochs", "batch_size"])
def test_nothing_to_do_is_wrong_use(argument):
    with pytest.raises(UsageError, match=f"{argument}: expected 1 or more, found 0"):
        fitted(**{argument: 0})


def test_more_images_get_fewer_epochs_within_bounds():
    epochs = [training.recipe("resnet", n_images=n)["epochs"] for n in (20, 500, 2000, 10**6)]
    assert epochs == sorted(epochs, reverse=True)
    assert epochs[0] == training.EPOCHS_AT_MOST
    assert epochs[-1] == training.EPOCHS_AT_LEAST


def test_keras_is_imported_without_a_word():
    code = "from medlib import training; training.set_seed(0); import keras; keras.ops.ones(3)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")

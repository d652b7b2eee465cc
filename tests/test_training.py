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
from medlib.errors import RunError
from medlib.tasks import Classification

EPOCHS = 4
CHANGES = {"flip": True, "shift": 0.1, "rotation": 20.0, "gamma": 0.2, "contrast": 0.1}
SETTINGS = {"batch_size": 16, "augmentation": CHANGES}


def a_split(n, seed, n_classes=2):
    """Images of one bright square; its size says which class."""
    generator = np.random.default_rng(seed)
    labels = np.arange(n) % n_classes
    images = generator.random((n, 12, 12, 1), dtype=np.float32) * np.float32(0.5)
    for image, label in zip(images, labels, strict=True):
        image[3 : 6 + 3 * label, 3 : 6 + 3 * label] += 0.5
    subjects = np.array([f"{seed}-{row}" for row in range(n)])
    table = pd.DataFrame({"row": range(n)})
    return Split(images, labels.astype(np.int64), None, None, subjects, table)


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


def a_task(n_classes=2):
    return Classification(tuple("abc"[:n_classes]))


def fitted(seed=0, n_classes=2, **settings):
    training.set_seed(seed)
    network = a_network(n_classes)
    train, validation = a_split(70, 1, n_classes), a_split(30, 2, n_classes)
    settings = {"epochs": EPOCHS} | SETTINGS | settings
    history = training.fit(
        network, train, validation, task=a_task(n_classes), seed=seed, **settings
    )
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


def test_normalisation_ends_with_the_means_of_images_as_they_are():
    network, _ = fitted()
    convolution, normalisation = network.layers[1:3]
    outputs = np.asarray(convolution(a_split(70, 1).images))
    found = np.asarray(normalisation.moving_mean), np.asarray(normalisation.moving_variance)
    np.testing.assert_allclose(found[0], outputs.mean(axis=(0, 1, 2)), atol=1e-5)
    np.testing.assert_allclose(found[1], outputs.var(axis=(0, 1, 2)), atol=1e-5)


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


def test_the_last_row_of_the_history_is_measured_with_the_weights_that_are_kept():
    validation = a_split(30, 2)
    network, history = fitted(epochs=8, learning_rate=0.05)
    probabilities = training.predict(network, validation.images, a_task())
    own = probabilities[np.arange(30), validation.labels]
    last = history.iloc[-1]
    assert -np.log(own).mean() == pytest.approx(last["validation_loss"], rel=1e-5)
    auc = roc_auc_score(validation.labels, probabilities[:, 1])
    assert auc == pytest.approx(last["validation_auc"])


def test_validation_decides_nothing(uninterrupted):
    training.set_seed(0)
    network = a_network()
    settings = {"epochs": EPOCHS} | SETTINGS
    history = training.fit(network, a_split(70, 1), task=a_task(), seed=0, **settings)
    expect_same_weights(network.get_weights(), uninterrupted[0])
    assert list(history.columns) == ["epoch", "loss"]


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
    probabilities = training.predict(network, a_split(30, 5, 3).images, a_task(3))
    assert probabilities.shape == (30, 3)
    assert np.allclose(probabilities.sum(axis=1), 1)


def test_probabilities_of_two_classes_are_those_of_the_sigmoid_and_its_complement():
    network = SimpleNamespace(predict=lambda images, **_: np.full((len(images), 1), 0.25, "f4"))
    assert (
        training.predict(network, np.zeros((2, 4, 4, 1), "f4"), a_task()).tolist()
        == [[0.75, 0.25]] * 2
    )


def test_a_loss_that_is_not_a_number_is_an_error():
    with pytest.raises(RunError, match=r"finite loss.*smaller learning rate"):
        fitted(learning_rate=1e30)


def test_more_images_get_fewer_epochs_within_bounds():
    epochs = [training.recipe("cnn", n_images=n)["epochs"] for n in (20, 500, 2000, 10**6)]
    assert epochs == sorted(epochs, reverse=True)
    assert epochs[0] == training.EPOCHS_AT_MOST
    assert epochs[-1] == training.EPOCHS_AT_LEAST


def test_keras_is_imported_without_a_word():
    code = "from medlib import training; training.set_seed(0); import keras; keras.ops.ones(3)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_the_mirror_image_counts_half():
    images = np.zeros((2, 4, 4, 1), "f4")
    images[0, :, 0] = 1  # bright on the left
    network = SimpleNamespace(predict=lambda images, **_: images[:, 0, 0] * np.float32(0.5))
    found = training.predict(network, images, a_task(), mirror=True)
    assert found[:, 1].tolist() == [0.25, 0]


def a_gan(seed):
    """Two players with an optimiser each, and a step of their own."""
    import keras
    from keras import ops

    class Gan(keras.Model):
        def __init__(self):
            super().__init__()
            start = [keras.initializers.GlorotUniform(seed=seed + k) for k in (1, 2)]
            self.generator = keras.Sequential(
                [keras.Input((3,)), keras.layers.Dense(144, "sigmoid", kernel_initializer=start[0])]
            )
            self.critic = keras.Sequential(
                [keras.Input((144,)), keras.layers.Dense(1, kernel_initializer=start[1])]
            )
            self.noise = keras.random.SeedGenerator(seed)
            self.for_generator, self.for_critic = keras.optimizers.Adam(), keras.optimizers.SGD(0.1)
            self.for_generator.build(self.generator.trainable_variables)
            self.for_critic.build(self.critic.trainable_variables)

        def train_step(self, data):
            import tensorflow as tf

            real = ops.reshape(data[0], (-1, 144))
            with tf.GradientTape(persistent=True) as tape:
                drawn = keras.random.normal((ops.shape(real)[0], 3), seed=self.noise)
                told, made = self.critic(real), self.critic(self.generator(drawn))
                critic_loss = ops.mean(ops.softplus(-told) + ops.softplus(made))
                generator_loss = ops.mean(ops.softplus(-made))
            for loss, optimizer, player in (
                (critic_loss, self.for_critic, self.critic),
                (generator_loss, self.for_generator, self.generator),
            ):
                variables = player.trainable_variables
                optimizer.apply(tape.gradient(loss, variables), variables)
            return {"critic_loss": critic_loss, "generator_loss": generator_loss}

    model = Gan()
    model.compile()
    return model


def test_a_model_with_a_step_of_its_own_is_trained_and_resumed_by_the_same_function(tmp_path):
    class Stopped(BaseException):
        pass

    def stop(row):
        if row["epoch"] == 2:
            raise Stopped

    def fit(**more):
        training.set_seed(0)
        model = a_gan(0)
        settings = {"task": a_task(), "epochs": 4, "seed": 0, "batch_size": 16}
        return model, training.fit(model, a_split(48, 1), **settings, **more)

    model, history = fit()
    assert list(history.columns) == ["epoch", "critic_loss", "generator_loss"]
    checkpoint = tmp_path / "checkpoint.npz"
    with contextlib.suppress(Stopped):
        fit(checkpoint=checkpoint, on_epoch=stop)
    again, continued = fit(checkpoint=checkpoint)
    expect_same_weights(again.get_weights(), model.get_weights())
    pd.testing.assert_frame_equal(continued, history, check_exact=True)


def test_a_task_of_another_kind_needs_no_change_of_the_training():
    """Pixel by pixel: masks are the targets, and move with their images."""
    import keras

    class Pixels:
        def targets(self, split):
            return split.masks[..., None].astype(np.float32)

        def loss(self, *, label_smoothing):
            return keras.losses.BinaryCrossentropy()

        def augment(self, change, images, targets):
            changed = change({"images": images, "masks": targets[..., 0]})
            return changed["images"], changed["masks"][..., None]

        def predict(self, network, images, *, batch_size):
            return network.predict(images, batch_size=batch_size, verbose=0)

        def score(self, split, predictions):
            inside = split.masks == 1
            right = predictions[..., 0][inside].mean() - predictions[..., 0][~inside].mean()
            return {"difference": float(right)}

    split = a_split(64, 1)
    masks = (split.images[..., 0] > 0.5).astype(np.int8)
    split = Split(split.images, split.labels, masks, None, split.subjects, split.table)
    training.set_seed(0)
    inputs = keras.Input((12, 12, 1))
    network = keras.Model(inputs, keras.layers.Conv2D(1, 3, padding="same")(inputs))
    network = keras.Sequential([network, keras.layers.Activation("sigmoid")])
    history = training.fit(
        network,
        split,
        split,
        task=Pixels(),
        epochs=40,
        seed=0,
        batch_size=16,
        learning_rate=0.1,
        augmentation={"flip": True, "shift": 0.2},
    )
    assert history["difference"].iloc[-1] > 0.5

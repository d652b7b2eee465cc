"""The GAN plays the game that its papers describe, and makes images of the class asked for."""

import numpy as np
import pandas as pd
import pytest

from medlib import training
from medlib.datasets.structure import Split
from medlib.errors import UsageError
from medlib.tasks import Classification

TWO = Classification(("dark", "bright"))


@pytest.fixture(scope="module", autouse=True)
def keras():
    training.set_seed(0)
    return training.import_keras()


def a_gan(shape=(8, 8, 1), task=TWO, **sizes):
    from medlib.models.gan import Gan

    small = {"noise_size": 8, "widths": (16, 8), "discriminator_widths": (8, 16)}
    return Gan(shape, task, seed=0, **(small | sizes))


def squares(n):
    """Images of one grey with a little noise: dark for class 0, bright for class 1."""
    rng = np.random.default_rng(0)
    labels = np.arange(n) % 2
    grey = np.where(labels, 0.8, 0.3)[:, None, None, None] + 0.05 * rng.standard_normal(
        (n, 1, 1, 1)
    )
    images = (grey + 0.02 * rng.standard_normal((n, 8, 8, 1))).clip(0, 1).astype(np.float32)
    return Split(images, labels, None, None, np.arange(n).astype(str), pd.DataFrame(index=range(n)))


def test_after_training_each_class_is_made_when_it_is_asked_for():
    split, gan = squares(256), a_gan(steps=320)
    history = training.fit(gan, split, task=TWO, epochs=20, seed=0, batch_size=16)
    assert list(history.columns) == ["epoch", "discriminator_loss", "generator_loss"]
    labels = np.array([0, 1] * 40)
    grey = gan.generate(labels, seed=1).mean(axis=(1, 2, 3))
    assert grey[labels == 0].mean() == pytest.approx(0.3, abs=0.1)
    assert grey[labels == 1].mean() == pytest.approx(0.8, abs=0.1)


@pytest.mark.parametrize("shape", [(8, 8, 1), (9, 14, 3), (28, 28, 1)])
def test_images_have_any_shape_and_lie_between_0_and_1(shape):
    gan = a_gan(shape, Classification(("a", "b", "c")), widths=(8, 8, 8))
    images = gan.generate(np.array([0, 1, 2, 2]), seed=0)
    assert images.shape == (4, *shape)
    assert images.dtype == np.float32
    assert images.min() >= 0
    assert images.max() <= 1
    features = gan.features.predict(images, verbose=0)
    assert features.shape == (4, gan.features.output.shape[1])


def test_the_seed_fixes_noise_and_weights():
    labels = np.zeros(3, int)
    first, again = a_gan().generate(labels, seed=1), a_gan().generate(labels, seed=1)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, a_gan().generate(labels, seed=2))


def test_the_score_is_a_projection_onto_the_class():
    """Miyato and Koyama 2018, equation 3: the classes differ by a linear function of features."""
    gan = a_gan()
    images = squares(6).images
    score = [
        gan.discriminator.predict([images, c], verbose=0)[0] for c in np.eye(2)[[[0] * 6, [1] * 6]]
    ]
    of_classes = gan.discriminator.predict([images, np.eye(2)[[0] * 6]], verbose=0)[1]
    assert np.allclose(score[1] - score[0], of_classes[:, 1:] - of_classes[:, :1], atol=1e-5)


def test_losses_before_training_are_those_of_a_judge_who_knows_nothing():
    import tensorflow as tf

    gan = a_gan(learning_rate=0.0)
    for layer in gan.discriminator.layers:
        for weight in layer.trainable_weights:
            weight.assign(weight * 0)
    split = squares(16)
    logs = gan.train_step((tf.constant(split.images), tf.constant(TWO.targets(split))))
    assert float(logs["discriminator_loss"]) == pytest.approx(2 * np.log(2), rel=1e-5)
    assert float(logs["generator_loss"]) == pytest.approx(np.log(2), rel=1e-5)


def test_the_penalty_flattens_the_score_at_real_images(keras):
    import tensorflow as tf

    def slope(penalty):
        split, gan = squares(128), a_gan(penalty=penalty)
        training.fit(gan, split, task=TWO, epochs=10, seed=0, batch_size=16)
        images, classes = tf.constant(split.images), tf.one_hot(split.labels, 2)
        with tf.GradientTape() as tape:
            tape.watch(images)
            score, _ = gan.discriminator([images, classes])
        return float((tape.gradient(score, images) ** 2).numpy().sum(axis=(1, 2, 3)).mean())

    assert slope(1.0) < 0.3 * slope(0.0)


@pytest.mark.parametrize("labels", [[0, 2], [-1]])
def test_a_class_that_does_not_exist_is_one_clear_error(labels):
    with pytest.raises(UsageError, match=r"labels: expected 0 to 1 \(dark, bright\), found \["):
        a_gan().generate(np.array(labels), seed=0)

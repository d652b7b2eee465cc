"""A small class-conditional generative adversarial network (GAN).

References: Goodfellow and others, Generative Adversarial Nets, NeurIPS 2014 (the game, logistic
losses); Mescheder, Geiger and Nowozin, Which Training Methods for GANs do actually Converge?, ICML
2018 (penalty on the slope at real images); Miyato and Koyama, cGANs with Projection Discriminator,
ICLR 2018 (how the class enters); Odena, Olah and Shlens, Conditional Image Synthesis with Auxiliary
Classifier GANs, ICML 2017 (the discriminator learns to classify real images as well).
"""

import keras
import numpy as np
from keras import layers, ops

from medlib.errors import UsageError
from medlib.models.layers import layer_seeds


class Gan(keras.Model):
    """Two networks: one makes images of a class from noise, one tells them from real images.

    It is compiled, for :func:`medlib.training.fit`. Its ``features`` are the network from images to
    what the discriminator computes before its last layers, shape (n, k).

    Parameters
    ----------
    image_shape : tuple of int
        (height, width, channels).
    task : medlib.tasks.Classification
    seed : int
        Of the initial weights and of the noise in training.
    steps : int, optional
        In which the learning rate falls to zero, along a cosine; None: it stays.
    noise_size : int
        Random numbers from which an image is made.
    widths : tuple of int
        Channels of the generator's maps; each is twice as high and wide as the one before.
    discriminator_widths : tuple of int
        Channels of its maps, of two convolutions each; each map is half as high and wide.
    learning_rate : float
        Of both networks.
    penalty, classify : float
        Weights of the squared slope of the score at real images (a quarter of each batch), and of
        telling the classes of real images apart.
    """

    def __init__(
        self, image_shape: tuple[int, int, int], task, *, seed: int, steps: int | None = None,
        noise_size: int = 64, widths: tuple[int, ...] = (48, 24, 12),
        discriminator_widths: tuple[int, ...] = (16, 32, 64),
        learning_rate: float = 4e-3, penalty: float = 0.05, classify: float = 1.0,
    ):  # fmt: skip
        super().__init__()
        self.class_names, self.noise_size = task.class_names, noise_size
        self.penalty, self.classify = penalty, classify
        seeds, n_classes = layer_seeds(seed), len(task.class_names)
        noise, classes = keras.Input((noise_size,)), keras.Input((n_classes,))
        made = _image(noise, classes, image_shape, widths, seeds)
        self.generator = keras.Model([noise, classes], made)
        images = keras.Input(image_shape)
        x = layers.Rescaling(4.0, -1.0)(images)  # tissue would else lie close together
        for width in discriminator_widths:
            x = layers.LeakyReLU(0.2)(_convolution(width, seeds, strides=2)(x))
            x = layers.LeakyReLU(0.2)(_convolution(width, seeds)(x))
        flat, largest = layers.Flatten()(x), layers.GlobalMaxPooling2D()(x)
        self.features = keras.Model(images, layers.Concatenate()([flat, largest]))
        of_classes = _dense(n_classes, seeds)(largest)  # wherever it is that shows the class
        score = layers.Add()([_dense(1, seeds)(flat), layers.Dot(1)([of_classes, classes])])
        self.discriminator = keras.Model([images, classes], [score, of_classes])
        self.drawn = keras.random.SeedGenerator(next(seeds))
        decay = keras.optimizers.schedules.CosineDecay
        rate = decay(learning_rate, steps) if steps else learning_rate
        self.for_generator, self.for_discriminator = (
            keras.optimizers.Adam(rate, beta_1=0.0, beta_2=0.9) for _ in range(2)
        )
        self.for_generator.build(self.generator.trainable_variables)
        self.for_discriminator.build(self.discriminator.trainable_variables)
        self.compile()

    def generate(self, labels: np.ndarray, seed: int) -> np.ndarray:
        """Make an image for each label.

        Parameters
        ----------
        labels : ndarray of int, shape (n,)
        seed : int
            Of the noise.

        Returns
        -------
        ndarray of float32, shape (n, height, width, channels), values in [0, 1]

        Raises
        ------
        UsageError
            If there is no such class.
        """
        labels, known = np.asarray(labels), range(len(self.class_names))
        if unknown := sorted(set(labels.tolist()) - set(known)):
            expected = f"0 to {known[-1]} ({', '.join(self.class_names)})"
            raise UsageError("labels", expected=expected, found=f"{unknown[:5]}")
        noise = np.random.default_rng(seed).standard_normal((len(labels), self.noise_size))
        given = [noise.astype(np.float32), np.eye(len(known), dtype=np.float32)[labels]]
        return self.generator.predict(given, batch_size=128, verbose=0).clip(0, 1)

    def train_step(self, data):
        """Let both networks learn from one batch of images and targets."""
        import tensorflow as tf

        real, classes = data
        if len(self.class_names) == 2:
            classes = ops.concatenate([1 - classes, classes], axis=1)
        noise = keras.random.normal((ops.shape(real)[0], self.noise_size), seed=self.drawn)
        with tf.GradientTape(persistent=True) as tape:
            with tf.GradientTape() as inner:
                inner.watch(few := real[::4])
                of_few, _ = self.discriminator([few, classes[::4]])
            squared_slope = ops.square(inner.gradient(of_few, few))
            of_real, of_classes = self.discriminator([real, classes])
            of_made, _ = self.discriminator([self.generator([noise, classes]), classes])
            discriminator_loss = ops.mean(ops.softplus(-of_real) + ops.softplus(of_made))
            generator_loss = ops.mean(ops.softplus(-of_made))
            class_loss = ops.categorical_crossentropy(classes, of_classes, from_logits=True)
            total = discriminator_loss + self.classify * ops.mean(class_loss)
            total += self.penalty * ops.mean(ops.sum(squared_slope, axis=(1, 2, 3)))
        makers, judges = self.generator.trainable_variables, self.discriminator.trainable_variables
        self.for_discriminator.apply(tape.gradient(total, judges), judges)
        self.for_generator.apply(tape.gradient(generator_loss, makers), makers)
        return {"discriminator_loss": discriminator_loss, "generator_loss": generator_loss}


def _image(noise, classes, image_shape, widths, seeds):
    """Spread noise and class over a small map; double it, and convolve, as often as needed."""
    *size, channels = image_shape
    smallest = [-(-side // 2 ** (len(widths) - 1)) for side in size]  # what is too much is cropped
    x = layers.Concatenate()([noise, _dense(noise.shape[1] // 4, seeds)(classes)])
    x = _dense(smallest[0] * smallest[1] * widths[0], seeds)(x)
    x = layers.LeakyReLU(0.2)(layers.Reshape((*smallest, widths[0]))(x))
    for width in widths[1:]:
        x = layers.LeakyReLU(0.2)(_convolution(width, seeds)(layers.UpSampling2D()(x)))
    return layers.CenterCrop(*size)(_convolution(channels, seeds)(x))


def _convolution(width, seeds, **options):
    start = keras.initializers.HeNormal(seed=next(seeds))
    return layers.Conv2D(width, 3, padding="same", kernel_initializer=start, **options)


def _dense(units, seeds):
    return layers.Dense(units, kernel_initializer=keras.initializers.HeNormal(seed=next(seeds)))

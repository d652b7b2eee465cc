# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 11 Generative adversarial networks
#
# Images of patients are hard to share, and those of rare diseases are few. Could a network *make* more of them? A
# **generative adversarial network** (GAN) learns to draw by a game: one network forges, another one looks for
# forgeries. The pictures can be striking. So this lesson measures them: are they good, varied and new? And does a
# classifier that has too few patients learn anything from them?

# %% tags=["install"]
import medlib

# %% tags=["parameters"]
steps = 840  # of the training of the GAN, 16 images each
seed = 0  # of the weights and of the noise

# %% tags=["plumbing"]
from dataclasses import replace

from medlib import training

training.set_seed(seed)  # imports Keras without its messages
import keras
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import tensorflow as tf
from keras import layers

from coursekit import check, ledger
from medlib import datasets, plotting, tasks
from medlib.datasets.simbrain import new_patients

plotting.use_style()
parameters = {"steps": steps, "seed": seed}
WINDOW = (0.2, 0.75)


# %% tags=["plumbing", "nbval-check-output"]
def small(split):
    """FLAIR, cropped to 56 x 56 pixels, then means of 2 x 2."""
    flair = split.images[:, 4:60, 4:60, 2:]
    images = flair.reshape(-1, 28, 2, 28, 2, 1).mean(axis=(2, 4))
    return replace(split, images=images, masks=None, boxes=None)


data = datasets.load("simbrain")
task = tasks.Classification(data.class_names)
train, validation = small(data.train), small(data.validation)
del data  # the large slices
test = small(new_patients(seed=20321, n_subjects=200))
for name, split in {"training": train, "validation": validation, "test": test}.items():
    print(f"{name:10s} {len(split):5,} slices of {len(np.unique(split.subjects))} patients")

# %% tags=["plumbing"]
normal, tumour = (np.flatnonzero(train.labels == label) for label in (0, 1))
shown = np.concatenate([normal[::100][:4], tumour[::100][:4]])
fig = plotting.image_grid(train.images[shown], window=WINDOW)
fig.set_size_inches(5.6, 3.1)
plotting.show(fig, alt="Eight real training slices, small; those in the second row have a tumour.")

# %% [markdown]
# Real slices of virtual patients (`simbrain`, [lesson 02](02_mr_simulation.ipynb)): above without a tumour, below with one.
# To be quick we take FLAIR only, crop the head and take means of 2 x 2 pixels; 28 x 28 pixels of about 6.5 mm are left. In the
# code, `train`, `validation` and `test` are the three groups of patients, `normal` and `tumour` the rows of `train` in each class.
#
# **You will**
#
# - write the game for points in a plane, see it move, and see it fail;
# - train a generator that draws a brain slice with a tumour, or without one, on demand;
# - measure quality, diversity and copying, beside a rival that needs no network;
# - judge by a study over seeds and patients whether generated images help;
# - name what generated images must never be used for.
#
# **Reading:** about 45 min · **running:** about 40 s · **builds on:** [05](05_classical_baseline.ipynb) (AUC, studies),
# [06](06_convolution.ipynb) (convolution), [07](07_learning.ipynb) (sigmoid, cross-entropy, gradient),
# [08](08_first_cnn.ipynb) (a CNN, steps and batches)
#
# ## Real or made?
#
# We begin at the end. The next cells train the GAN that the rest of the lesson explains (half a minute). It sees the
# training slices, 16 at a time, and is told which of them have a tumour. (Its learning rate was chosen on the validation patients.)

# %% tags=["plumbing"]
per_pass = len(train) // 16  # steps
shots = []  # after each pass over the training slices: ten pictures, for a film further down


def keep(row=None):
    """Five slices without a tumour, five with, always from the same noise."""
    shots.append(gan.generate(np.repeat([0, 1], 5), seed=1))


# %%
from medlib.models.gan import Gan

gan = Gan(train.images.shape[1:], task, seed=seed, steps=steps, learning_rate=2.5e-3)
keep()  # now and after each pass: ten pictures, for a film further down
fitting = {"epochs": steps // per_pass, "batch_size": 16, "seed": seed}
_ = training.fit(gan, train, task=task, on_epoch=keep, **fitting)

# %% [markdown]
# Now we order one slice for each training slice, of the same class, and mix a few of them with real ones.

# %%
made = gan.generate(train.labels, seed=2)
rng = np.random.default_rng(5)
chosen = rng.choice(tumour, 8, replace=False)
is_real = rng.permutation(np.arange(8) % 2 == 0)
mixed = np.where(is_real[:, None, None, None], train.images[chosen], made[chosen])

# %% [markdown]
# > **Predict** Eight slices with a tumour; four are real, of training patients, and four are made. Which?

# %% tags=["plumbing"]
fig = plotting.image_grid(mixed, titles=list("ABCDEFGH"), window=WINDOW)
plotting.show(fig, alt="Eight slices A to H, four of them real and four generated.")

# %% tags=["plumbing"]
named = [f"{letter}: {'real' if real else 'made'}" for letter, real in zip("ABCDEFGH", is_real, strict=True)]
fig = plotting.image_grid(mixed, titles=named, window=WINDOW)
plotting.show(fig, alt="The same eight slices, named real or made.", fold="Answer")

# %% [markdown]
# If you hesitated, you see how little looking proves. Eight pictures say nothing of the slices that the generator never
# makes. They do not even say whether the good ones are copies. How did it learn to draw, and how would one find out what it is worth?
#
# ## Eight points of light
#
# First the game with data that fit on paper: points that lie near eight places on a ring.

# %%
angles = np.arange(8) * np.pi / 4
places = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype("float32")


def draw_real(n):
    """n points, each near one of the places."""
    chosen = tf.gather(places, tf.random.uniform((n,), 0, 8, tf.int32))
    return chosen + 0.05 * tf.random.normal((n, 2))


# %% tags=["plumbing"]
fig, ax = plt.subplots(figsize=(3.2, 3.2))
ax.scatter(*draw_real(500).numpy().T, s=5, color=plotting.GREY)
ax.set(xlabel="first number", ylabel="second number", xlim=(-1.6, 1.6), ylim=(-1.6, 1.6), aspect="equal")
plotting.show(fig, alt="Points in a plane, in eight small round heaps that stand on a ring.")

# %% [markdown]
# Nobody tells the machine about the ring or the eight places. It sees only points.
#
# ### Two players
#
# The **generator** $G$ turns random numbers $z$, the **noise**, into a point $G(z)$. The **discriminator** gives any point
# $x$ a score $s(x)$. The sigmoid of the score is the probability that the point is real ([lesson 07](07_learning.ipynb)).
# Both are small networks, and they know nothing yet. (Leaky ReLU is a ReLU that keeps a small slope for negative numbers.)


# %%
def network(n_in, n_out):
    """Two hidden layers of 64 units."""
    hidden = [layers.Dense(64, activation="leaky_relu") for _ in range(2)]
    return keras.Sequential([keras.Input((n_in,)), *hidden, layers.Dense(n_out)])


# %% [markdown]
# The discriminator is a classifier: real points have label 1, made ones label 0. Its loss is the cross-entropy, which for
# scores is written with $\mathrm{softplus}(s) = \log(1 + e^s)$, because $-\log \sigma(s) = \mathrm{softplus}(-s)$:
#
# $$L_D = \mathrm{mean}\;\mathrm{softplus}(-s(x)) + \mathrm{mean}\;\mathrm{softplus}(s(G(z)))$$
#
# The generator wants the opposite: its points should be called real
# ([Goodfellow and others 2014](https://arxiv.org/abs/1406.2661)):
#
# $$L_G = \mathrm{mean}\;\mathrm{softplus}(-s(G(z)))$$
#
# > **Predict** Suppose the generator has become perfect. What score does the best discriminator then give, and what are
# > the two losses?
#
# <details><summary>Answer</summary>
#
# Real and made points cannot be told apart, so the best answer is probability 1/2 everywhere: score 0. Then
# $L_D = 2 \log 2 = 1.386$ and $L_G = \log 2 = 0.693$. Neither is near zero. In a game, a falling loss is no sign of
# success: it says who is winning.
#
# </details>
#
# **Exercise 11.1: both losses.** Write a function that takes two arrays of scores, of real and of made points, and returns
# the pair $(L_D, L_G)$. Scores may be as large as 1000.
#
# > **Hint** `np.logaddexp(0, s)` is softplus without overflow. ([Solution](solutions/11_generative_adversarial_networks.ipynb))


# %% tags=["exercise"]
def losses(of_real, of_made):
    return ...  # your code here


# %% tags=["solution"]
def losses(of_real, of_made):
    discriminator_loss = np.mean(np.logaddexp(0, -of_real)) + np.mean(np.logaddexp(0, of_made))
    return discriminator_loss, np.mean(np.logaddexp(0, -of_made))


# %%
check.exercise("11.1", losses)

# %% [markdown]
# ### One step of the game
#
# Each step, both look at the same batch and move once, each against the gradient of its *own* loss. TensorFlow's tape
# records what was computed, so that it can give gradients.
#
# One more term is needed. A discriminator that is sure of itself has steep scores and throws the generator about. So what it
# makes small is $L_D$ plus a **penalty** on the squared slope of the score at real points
# ([Mescheder and others 2018](https://arxiv.org/abs/1801.04406), $R_1$):
#
# $$L_D + \lambda\;\mathrm{mean}\,\lVert \nabla_x\, s(x) \rVert^2$$


# %%
def game(generator, discriminator, penalty):
    """Losses of both players for one batch, and what the discriminator makes small."""
    real, made = draw_real(128), generator(tf.random.normal((128, 2)))
    with tf.GradientTape() as inner:
        inner.watch(real)
        of_real = discriminator(real)
    steepness = tf.reduce_mean(tf.reduce_sum(inner.gradient(of_real, real) ** 2, axis=1))
    of_made = discriminator(made)
    loss_d = tf.reduce_mean(tf.nn.softplus(-of_real) + tf.nn.softplus(of_made))
    loss_g = tf.reduce_mean(tf.nn.softplus(-of_made))
    return loss_d, loss_g, loss_d + penalty * steepness


# %% [markdown]
# Each player has its own Adam ([lesson 07](07_learning.ipynb)), with its own learning rate. It keeps no momentum
# (`beta_1=0`), only the size of recent gradients: the other player has moved since.


# %%
def beginners(rates):
    """Generator and discriminator, and what will move them."""
    players = network(2, 2), network(2, 1)
    optimizers = [keras.optimizers.Adam(rate, beta_1=0.0, beta_2=0.9) for rate in rates]
    for player, optimizer in zip(players, optimizers, strict=True):
        optimizer.build(player.trainable_variables)
    return players, optimizers


# %% [markdown]
# The training loop, written out. TensorFlow makes one fast function of 100 steps. After each such round we keep what we want to see, a
# frame of a **film**.


# %%
def play(rates=(1e-3, 1e-3), penalty=0.05, rounds=20, seed=seed):
    """Train both players for rounds of 100 steps; return the film."""
    keras.utils.set_random_seed(seed)
    players, optimizers = beginners(rates)

    @tf.function
    def many():
        for _ in tf.range(100):
            with tf.GradientTape(persistent=True) as tape:
                loss_d, loss_g, total = game(*players, penalty)
            turns = zip(players, optimizers, (loss_g, total), strict=True)
            for player, optimizer, loss in turns:
                weights = player.trainable_variables
                optimizer.apply(tape.gradient(loss, weights), weights)
        return loss_d, loss_g

    film = [frame(players, (np.nan, np.nan))]
    for _ in range(rounds):
        film.append(frame(players, many()))
    return film


# %% tags=["plumbing"]
grid = np.stack(np.meshgrid(*[np.linspace(-1.6, 1.6, 41)] * 2), axis=-1).reshape(-1, 2).astype("float32")
fixed_noise = np.random.default_rng(0).standard_normal((600, 2)).astype("float32")


def frame(players, losses):
    """What a film keeps: points from the same noise, the discriminator's map, both losses."""
    generator, discriminator = players
    probability = tf.sigmoid(discriminator(grid)).numpy().reshape(41, 41)
    return generator(fixed_noise).numpy(), probability, *map(float, losses)


# %% tags=["plumbing"]
def frames_of(film, chosen):
    fig, (left, right) = plt.subplots(1, 2, figsize=(6.6, 3.1), width_ratios=(1, 1.1))
    real = draw_real(300).numpy()
    curves = np.array([each[2:] for each in film])
    for k in chosen:
        points, probability = film[k][:2]
        left.clear(), right.clear()
        left.imshow(probability, extent=(-1.6, 1.6, -1.6, 1.6), origin="lower", cmap="PuOr", vmin=0.25, vmax=0.75, alpha=0.7)
        left.scatter(*real.T, s=5, color=plotting.GREEN)
        left.scatter(*points.T, s=3, color="black")
        left.set(xlim=(-1.6, 1.6), ylim=(-1.6, 1.6), xticks=[], yticks=[], title=f"step {100 * k}")
        for column, (name, limit, colour) in enumerate((("discriminator", 2 * np.log(2), plotting.BLUE), ("generator", np.log(2), "black"))):
            right.plot(100 * np.arange(k + 1), curves[: k + 1, column], marker=".", label=name, color=colour)
            right.axhline(limit, color=colour, linestyle=":", linewidth=1)
        right.set(xlabel="step", ylabel="loss", xlim=(0, 100 * len(film)), ylim=(0, 3))
        right.legend(loc="upper right", fontsize=10)
        yield fig


# %%
film = play()

# %% tags=["plumbing"]
plotting.show_animation(frames_of(film, [20, *range(7), 8, 11, 15, 20]), milliseconds=450, alt="Left: black generated points start as one blot in the middle, scatter over the whole picture, then "
                        "gather on the ring and its eight places; the background, violet for real and orange for made, is almost white at first, then orange "
                        "in the middle and outside, and stays pale on the ring. Right: both losses lie near the dotted lines all the time.")

# %% [markdown]
# Green: real points. Black: made ones, always from the same noise. Background: violet where the discriminator says "real", orange
# where it says "made", white where it cannot tell. At first it knows nothing, and the points fly apart. From about step 400 it marks
# the empty middle and the outside in orange, and the points retreat to the ring. In the end all eight places are found, and the background there is
# almost white: real and made look alike. Bridges between
# them remain: a continuous function of the noise cannot jump. And the losses? They lie near the dotted lines, those of a perfect generator, all the time.
#
# ### The game fails
#
# Now two changes: no penalty, and a generator that learns ten times as fast as the discriminator.
#
# > **Predict** What is the easiest way for such a generator to be called real?

# %%
collapsed = play(rates=(5e-3, 5e-4), penalty=0)

# %% tags=["plumbing"]
plotting.show_animation(frames_of(collapsed, [20, 0, 1, 2, *range(4, 21, 2)]), milliseconds=450, alt="The generated points stay together in one heap, which wanders from frame to frame, at step 200 nearly out "
                        "of the picture, at step 400 spread over three places. Where it has been, the background turns orange.")

# %% [markdown]
# **Mode collapse**: whatever the noise, nearly all points go to the one spot that the discriminator likes best at the moment.
# When it has learnt that this spot is suspicious, the heap moves on, to where it has forgotten to look. At times it leaves the picture, or spreads for
# a moment. But see the losses: they are near the dotted lines, as in the good game. *The losses do not show the collapse.* A count does: we call a place
# covered if at least 2 % of all points lie within 0.2 of it.


# %%
def covered(points):
    """How many of the eight places have at least 2 % of the points within 0.2."""
    near = np.linalg.norm(points[:, None] - places, axis=2) < 0.2
    return int((near.mean(axis=0) >= 0.02).sum())


# %% tags=["plumbing"]
fig, ax = plt.subplots(figsize=(6, 2.6))
for name, each, colour in (("balanced", film, plotting.BLUE), ("collapsed", collapsed, plotting.VERMILION)):
    ax.plot(100 * np.arange(len(each)), [covered(k[0]) for k in each], marker=".", color=colour, label=name)
ax.set(xlabel="step", ylabel="places covered", ylim=(-0.3, 8.5))
ax.legend(loc="center right")
plotting.show(fig, alt="Places covered against the step: the balanced game soon covers all eight, the collapsed one few, or none.")

# %% [markdown]
# **Exercise 11.2: repair it.** The generator shall stay as fast, `rates=(5e-3, ...)`. Change what else you like in
# `play(...)`, train, and return the points of the last frame, `play(...)[-1][0]`. The check wants all eight places
# covered, and half of the points within 0.2 of one. (A training takes 2 s.)
#
# > **Hint** Two things were changed above. What would help the discriminator to keep up?
# > ([Solution](solutions/11_generative_adversarial_networks.ipynb))


# %% tags=["exercise"]
def repaired():
    return ...  # your code here


# %% tags=["solution"]
def repaired():
    return play(rates=(5e-3, 5e-3), penalty=0.05)[-1][0]


# %%
check.exercise("11.2", repaired)

# %% [markdown]
# ## From points to slices
#
# The same game, with images for points. It needs larger networks, and one new idea.
#
# ### A generator to give orders to
#
# We want to *ask* for a slice with or without tumour: a **class-conditional** generator. It gets the class beside the
# noise. The discriminator gets it by **projection** ([Miyato and Koyama 2018](https://arxiv.org/abs/1802.05637)). It
# computes one general score from all its features $f(x)$, and one score for each class $c$ from the largest value of each
# map, $m(x)$, because a tumour may sit anywhere. The score of the class that was ordered (for a real slice: its label) is added:
#
# $$s(x, c) = w \cdot f(x) + b + v_c \cdot m(x) + b_c$$
#
# So a perfect brain without a tumour gets a low score when a tumour was ordered.

# %%
players = {"generator": gan.generator, "discriminator": gan.discriminator}
print({name: f"{player.count_params():,} weights" for name, player in players.items()})

# %% tags=["plumbing"]
def draw_boxes(ax, boxes, y, colour):
    """A row of boxes with arrows between: (left, width, height, text)."""
    for number, (left, width, height, text) in enumerate(boxes):
        ax.add_patch(plt.Rectangle((left, y - height / 2), width, height, facecolor=colour, edgecolor="white", alpha=0.55))
        ax.text(left + width / 2, y, text, ha="center", va="center", fontsize=11)
        if number:
            ax.annotate("", (left, y), (boxes[number - 1][0] + boxes[number - 1][1], y), arrowprops={"arrowstyle": "->", "shrinkA": 1, "shrinkB": 1})


# %% tags=["plumbing"]
fig, ax = plt.subplots(figsize=(5.6, 4.9))
draw_boxes(ax, [(0, 1.3, 0.9, "64 noise\n+ class"), (1.75, 1.3, 0.8, "7 x 7\n48 maps"), (3.5, 1.3, 1.1, "14 x 14\n24 maps"),
                (5.3, 1.4, 1.4, "28 x 28\n12 maps"), (7.2, 1.4, 1.4, "image\n28 x 28")], 3.6, plotting.ORANGE)
draw_boxes(ax, [(0, 1.4, 1.4, "image $x$\n28 x 28"), (1.9, 1.3, 1.1, "14 x 14\n16 maps"), (3.65, 1.3, 0.8, "7 x 7\n32 maps"),
                (5.4, 1.35, 0.7, "4 x 4\n64 maps"), (7.2, 1.4, 0.9, "score\n$s(x, c)$")], 1, plotting.SKY)
draw_boxes(ax, [(7.2, 1.4, 0.5, "class $c$")], -0.3, plotting.SKY)
ax.annotate("", (7.9, 0.55), (7.9, -0.05), arrowprops={"arrowstyle": "->", "shrinkA": 1, "shrinkB": 1})
ax.text(0, 4.5, "generator: a dense layer, then twice double\nthe size and convolve, and convolve once more", fontsize=12)
ax.text(0, 1.9, "discriminator: three times a convolution\nwith stride 2 and one without", fontsize=12)
ax.set(xlim=(-0.1, 8.7), ylim=(-0.6, 5.2)), ax.set_axis_off()
plotting.show(fig, alt="Diagram. Generator: 64 random numbers and the class, maps of 7, 14 and 28 pixels, an image. "
              "Discriminator: an image, maps of 14, 7 and 4 pixels, and with the class the score of image and class.")

# %% [markdown]
# `medlib/models/gan.py` holds the step of the ring, for images: the same two losses and the same penalty. The discriminator
# also learns to tell the *classes* of real images apart, by cross-entropy, or it would take long to notice tumours.
# `training.fit` of [lesson 08](08_first_cnn.ipynb) gives it batches.

# %% tags=["plumbing"]
def frames_of_slices():
    for number in (len(shots) - 1, *range(len(shots))):
        fig, axes = plt.subplots(2, 5, figsize=(5.6, 2.6))
        for ax, image in zip(axes.flat, shots[number][..., 0], strict=True):
            ax.imshow(image, vmin=WINDOW[0], vmax=WINDOW[1])
            ax.set_axis_off()
        fig.suptitle(f"step {number * per_pass}: normal ordered above, tumour below", fontsize=11)
        yield fig


plotting.show_animation(frames_of_slices(), milliseconds=700, alt="Ten generated slices, from the same noise after each pass. The film shows the end, then "
                        "begins: black and white dots, then heads with ventricles, those in the lower row with bright spots.")

# %% [markdown]
# (The film shows the last pass first.) First chance, then heads. Where a tumour was ordered, below, bright spots come, too
# many at first. The noise of each picture stays the same, but what it stands for changes from pass to pass: nobody tells
# the generator which noise should be which head.
#
# ## Measured
#
# ### Quality
#
# Two sets of images are compared by **features**, numbers that a trained network computes before its last layer. Ours is a
# small classifier, tumour or not, trained on the same real slices: 64 features an image.

# %%
from medlib.models.layers import convolve, layer_seeds


def feature_network(seed):
    """Six convolutions, three of them with stride 2, then the mean of each of 64 channels."""
    seeds, inputs = layer_seeds(seed), keras.Input(train.images.shape[1:])
    x = inputs
    for width in (16, 32, 64):
        for stride in (2, 1):
            x = layers.ReLU()(convolve(x, width, seeds, strides=stride))
    features = layers.GlobalAveragePooling2D()(x)
    classifier = keras.Model(inputs, task.head(features, seed=next(seeds)))
    return classifier, keras.Model(inputs, features)


classifier, to_features = feature_network(seed)
fitting = {"epochs": 4, "learning_rate": 4e-3, "augmentation": {"flip": True}, "seed": seed}
_ = training.fit(classifier, train, task=task, **fitting)

# %% [markdown]
# Each set is taken for a Gaussian in these 64 numbers, with mean $\mu$ and covariance $C$. The **Fréchet distance** says how
# far two Gaussians are apart ([Heusel and others 2017](https://arxiv.org/abs/1706.08500)):
#
# $$d = \lVert \mu_1 - \mu_2 \rVert^2 + \mathrm{trace}\left( C_1 + C_2 - 2\,(C_1 C_2)^{1/2} \right)$$
#
# It is zero for equal means and covariances. We take it class by class, and average: a generator that ignores our order
# would otherwise go unpunished. "Real" are the slices of the 200 test patients.

# %%
from medlib.evaluation import generation


def seen(images):
    """The 64 features of each image."""
    return to_features.predict(images, batch_size=256, verbose=0)


in_test, in_validation = seen(test.images), seen(validation.images)


def distances(images, real=in_test, labels=test.labels):
    """Fréchet distance to real slices: of normal ones, of those with tumour, mean of both."""
    features = seen(images)
    of_classes = [
        generation.frechet_distance(features[train.labels == label], real[labels == label])
        for label in (0, 1)
    ]
    return *of_classes, np.mean(of_classes)


# %% [markdown]
# ### A rival without a network
#
# Write the slices of one class as points with 784 coordinates, one a pixel. **Principal components** are the directions in
# which these points spread most; the singular value decomposition finds them, largest first.

# %%
of_training = [train.images[train.labels == label].reshape(-1, 784) for label in (0, 1)]
centre = [flat.mean(axis=0) for flat in of_training]
components = []  # of each class: directions, as long as the standard deviation along them
for flat, mean in zip(of_training, centre, strict=True):
    _, sizes, directions = np.linalg.svd(flat - mean, full_matrices=False)
    components.append(sizes[:, None] * directions / np.sqrt(len(flat) - 1))

# %% [markdown]
# Drawing from a Gaussian along the first $k$ of them is easy: a standard normal number for each component. No game, no training.


# %%
def gaussian(k, seed=0):
    """For each training label, a draw from its class's Gaussian in k principal components."""
    rng = np.random.default_rng(seed)
    drawn = np.empty_like(train.images)
    for label in (0, 1):
        flat = rng.standard_normal((len(of_training[label]), k)) @ components[label][:k]
        drawn[train.labels == label] = (flat + centre[label]).reshape(-1, 28, 28, 1)
    return drawn.clip(0, 1)


# %% [markdown]
# How many components? A rival deserves to be tuned like everything else, and not on the test patients: we take the $k$
# with the smallest distance to the *validation* patients.
#
# > **Predict** Which $k$ will win: 5, 20 or 300? And will the GAN be better?

# %%
tried = {k: gaussian(k) for k in (5, 20, 30, 40, 100, 300)}
validated = in_validation, validation.labels
to_validation = {k: distances(images, *validated)[2] for k, images in tried.items()}
best = min(to_validation, key=to_validation.get)
of_gaussian = {k: distances(images)[2] for k, images in tried.items()}
of_gan, of_real = distances(made)[2], distances(train.images)[2]

# %% tags=["plumbing"]
fig, ax = plt.subplots(figsize=(6.5, 3.4))
ax.plot(of_gaussian.keys(), of_gaussian.values(), marker="o", label="Gaussian")
ax.plot(best, of_gaussian[best], "o", ms=14, fillstyle="none", color=plotting.BLUE, label="chosen on validation")
for value, name, colour in ((of_gan, "GAN", plotting.VERMILION), (of_real, "real (training)", plotting.GREY)):
    ax.axhline(value, color=colour, linestyle="--", label=name)
ax.set(xscale="log", yscale="log", xlabel="principal components", ylabel="Fréchet distance")
ax.set_xticks([5, 10, 20, 40, 100, 300], ["5", "10", "20", "40", "100", "300"])
ax.set_yticks([0.2, 0.5, 1, 2, 5, 10], ["0.2", "0.5", "1", "2", "5", "10"])
ax.minorticks_off()
ax.legend(loc="upper right", fontsize=10)
plotting.show(fig, alt="Fréchet distance to the test patients against the number of components: high at 5, lowest at some tens, higher again "
              "at 300. Lines for the GAN and, lowest, for real training slices.")

# %% tags=["plumbing"]
share = of_gan / of_gaussian[best]
ledger.record("11/share_of_best_gaussian", share, parameters, limits=(0, 10))
ledger.record("11/share_of_300_components", of_gan / of_gaussian[300], parameters, limits=(0, 10))
ledger.say(
    "The chosen Gaussian, with {best} components, has distance {gauss:.2f}, the GAN {gan:.2f} (**{share:.0%}** of it), real training slices {real:.2f}. "
    "With 300 components the Gaussian has {many:.2f}.",
    best=best, gauss=of_gaussian[best], gan=of_gan, share=share, real=of_real, many=of_gaussian[300],
)
bands = [ledger.bands().get(f"11/share_of_{rival}") for rival in ("best_gaussian", "300_components")]
if all(bands):
    ledger.say(
        "Over {n} seeds the GAN has on average {best:.0%} of the chosen Gaussian's distance (standard deviation {sd:.0%}), "
        "and {many:.0%} (standard deviation {spread:.0%}) of that with 300 components. So *one seed decides nothing*: this one says {share:.0%}, the mean {best:.0%}.",
        n=bands[0].n, best=bands[0].mean, sd=bands[0].sd, many=bands[1].mean, spread=bands[1].sd, share=share,
    )

# %% [markdown]
# The ring marks the $k$ chosen on the validation patients; the curve is of the test patients, and need not be lowest there. Even real slices of other patients do not
# reach zero: samples are finite, and the network has seen its training slices.
#
# Before the first training we had set an aim: at most a third of the Gaussian's distance. Over seeds it is missed even where the
# rival has 300 components; beside the tuned rival, the GAN is about as far from the real slices as the Gaussian. Whoever wants a striking result needs only a weak rival.
#
# And see the standard deviations. With every seed the GAN, the classifier in whose features we measure, and perhaps the chosen $k$ change; we have
# not separated them.
#
# Now look at the pictures behind these numbers.

# %% tags=["plumbing"]
rows = normal[::200][:4], tumour[::200][:4]
stacked = np.concatenate([each[of_class] for of_class in rows for each in (train.images, made, tried[best])])
fig = plotting.image_grid(stacked, window=WINDOW)
fig.set_size_inches(4.8, 7)
for ax, name in zip(fig.axes[::4], 2 * ("real", "GAN", "Gaussian"), strict=True):
    ax.text(-0.06, 0.5, name, transform=ax.transAxes, rotation=90, ha="right", va="center", fontsize=11)
plotting.show(fig, alt="Six rows of slices, three without and three with tumour: real, of the GAN, whose heads are sharp and grainy, and of the "
              "Gaussian, whose heads are blurred, with shadows of several outlines.", save="11_generated")

# %% [markdown]
# Upper three rows: no tumour, lower three: tumour. The GAN's heads have crisp outlines, but grain in place of anatomy, and few clear tumours. The Gaussian's are ghosts, several outlines
# laid over each other. Nobody would take them for real. Whether the Fréchet distance minds depends on the features: *they were trained to see tumours, and need not see
# anything else*. So we need more than one number.
#
# ### Diversity
#
# - **Precision** is the share of generated slices that lie among the real ones, **recall** the share of real ones that lie
#   among the generated ([Kynkäänniemi and others 2019](https://arxiv.org/abs/1904.06991)). A slice lies among a set if it is
#   nearer to one of its members than that member's third nearest neighbour within the set, in the 64 features.
# - **Diversity** is the mean distance between the pixels of two slices of a set, over that of real ones.
#
# A generator that collapses to one good picture has high precision, but hardly any recall, and no diversity.


# %%
def spread(images):
    """Mean distance between two images."""
    flat = images.reshape(len(images), -1)
    squares = (flat**2).sum(axis=1)
    squared = squares[:, None] + squares - 2 * flat @ flat.T
    return np.sqrt(squared.clip(0)).sum() / (len(flat) * (len(flat) - 1))


# %% tags=["plumbing"]
def variety(images):
    precision, recall = generation.precision_and_recall(in_test, seen(images)[:: len(images) // len(test)])
    of_normal, of_tumour, _ = distances(images)
    of_class = {"Fréchet distance, normal": of_normal, "Fréchet distance, tumour": of_tumour}
    return of_class | {"precision": precision, "recall": recall, "diversity": spread(images) / spread(train.images)}


sets = {"real (training)": train.images, "GAN": made, "Gaussian": tried[best]}
varieties = pd.DataFrame({name: variety(images) for name, images in sets.items()})
varieties.round(2)

# %% tags=["plumbing"]
ledger.record("11/diversity", varieties["GAN"]["diversity"], parameters)
ledger.say("The GAN's slices are **{diversity:.0%}** as diverse as real ones, the Gaussian's {gauss:.0%}.", gauss=varieties["Gaussian"]["diversity"])

# %% [markdown]
# The first column is the control: real training slices in place of made ones. Whoever wins by distance, the Gaussian's slices are less diverse than the GAN's.
#
# ### Two judges
#
# Does the classifier find the tumours that we ordered? That is the **tumour AUC**. And **judges** are trained to tell generated from real slices, and tested
# on others: AUC 1/2 would be perfect for the forger. One judge sees the 64 features, the other the hand-made ones of [lesson 05](05_classical_baseline.ipynb).


# %%
from medlib.evaluation.statistics import area_under_curve
from medlib.models import classical


def judge_auc(see, images):
    """AUC of a judge, trained on 420 real slices and 420 of these, tested on 400 others each."""
    rows = np.random.default_rng(0).permutation(len(train)).reshape(4, 420)
    known = np.concatenate([train.images[rows[0]], images[rows[1]]])
    new = np.concatenate([test.images[:400], images[rows[2, :400]]])
    known, new = (see(np.where(each < 0.1, 0, each)) for each in (known, new))
    judge = classical.build_classifier().fit(known, np.repeat([0, 1], 420))
    return area_under_curve(np.repeat([False, True], 400), judge.decision_function(new))


# %% [markdown]
# (Values below 0.1 are set to 0 for the judges. Outside the head real slices are exactly black, generated ones almost:
# that would give every forgery away.)

# %% tags=["plumbing"]
def judged(images):
    found = classifier.predict(images, batch_size=256, verbose=0).ravel()
    return {
        "tumour AUC": area_under_curve(train.labels == 1, found), "judge, 64 features": judge_auc(seen, images),
        "judge, hand-made": judge_auc(classical.hand_made_features, images),
    }


verdicts = pd.DataFrame({name: judged(images) for name, images in sets.items()})
verdicts.round(2)

# %% tags=["plumbing"]
ledger.record("11/judge_auc", verdicts["GAN"]["judge, 64 features"], parameters, limits=(0, 1), chance=0.5)
ledger.say(
    "Of the GAN's slices the classifier finds the ordered tumours with AUC {found:.2f}, of the Gaussian's with {blind:.2f}. The judge with 64 features tells "
    "GAN from real with AUC **{judge_auc:.2f}**, the one with hand-made features with {sure:.2f}.",
    found=verdicts["GAN"]["tumour AUC"], blind=verdicts["Gaussian"]["tumour AUC"], sure=verdicts["GAN"]["judge, hand-made"],
)

# %% [markdown]
# Real training slices leave both judges near 1/2, as they should. The second judge looks at texture, and is hardly ever fooled by either forger.
# What one judge accepts another one rejects: always say who judged.
#
# ### Copies
#
# One generator would win everywhere: the one that hands out training slices. So for each generated slice we look for the
# nearest training slice, pixel by pixel, and divide by what is usual for real slices of *other* patients (here:
# validation). As a control we build a cheat: training slices with a little noise.
#
# > **Predict** Where will the three histograms lie: other patients, the GAN, the cheat?

# %%
cheat = train.images + 0.03 * rng.standard_normal(train.images.shape)
ratios = {
    "other patients": generation.copy_check(test.images, train.images, validation.images),
    "GAN": generation.copy_check(made, train.images, validation.images),
    "cheat": generation.copy_check(cheat, train.images, validation.images),
}

# %% tags=["plumbing"]
fig, ax = plt.subplots(figsize=(6.5, 3))
for (name, (each, share, _)), colour in zip(ratios.items(), (plotting.GREY, plotting.VERMILION, plotting.BLUE), strict=True):
    ax.hist(each, np.linspace(0, 1.8, 46), density=True, color=colour, alpha=0.55, label=f"{name}: {share:.0%}")
ax.set(xlabel="distance to the nearest training slice (1: usual)", ylabel="density")
ax.legend(title="nearer to training than\nto validation patients")
plotting.show(fig, alt="Histograms of the distance to the nearest training slice: other patients around 1, the GAN around 1 or somewhat below, "
              "the cheat far below, with hardly any overlap.")

# %% [markdown]
# The cheat is caught. The GAN's slices keep their distance. But smooth pictures are nearer to *everything*, so the legend has a
# second check, a line-up: how often is a training slice nearer than all validation slices? Without copying, as often as
# the training slices' share of the line-up, 1,680 of 2,040, or 82 %.

# %% tags=["plumbing"]
ledger.record("11/nearer_to_training", ratios["GAN"][1], parameters, limits=(0, 1), chance=1)
ledger.say("A training slice is nearest to {share:.0%} of the GAN's slices; {other:.0%} of those of other patients; {cheat:.0%} of the cheat's.",
           share=ratios["GAN"][1], other=ratios["other patients"][1], cheat=ratios["cheat"][1])
held = ledger.bands().get("11/nearer_to_training")
if held:
    ledger.say(
        "So the GAN seems to lean towards the patients it has seen; but the 99 % band over seeds, {low:.0%} to {high:.0%}, {holds} the 82 %.",
        low=held.low, high=held.high, holds="still holds" if ratios["GAN"][2] in held else "does not hold",
    )
few = np.argsort(ratios["GAN"][0])[:8]
flat = train.images.reshape(len(train), -1)
nearest = [((flat - each.ravel()) ** 2).sum(axis=1).argmin() for each in made[few]]
pairs = [each[four] for k in (0, 4) for each, four in ((made, few[k : k + 4]), (train.images, nearest[k : k + 4]))]
fig = plotting.image_grid(np.concatenate(pairs), window=WINDOW)
fig.set_size_inches(4.8, 4.9)
for ax, name in zip(fig.axes[::4], 2 * ("GAN", "nearest"), strict=True):
    ax.text(-0.06, 0.5, name, transform=ax.transAxes, rotation=90, ha="right", va="center", fontsize=11)
plotting.show(fig, alt="The eight generated slices nearest to a training slice, and below each that training slice: alike in size and brightness, not in detail.")

# %% [markdown]
# Does it copy them? The rows "GAN" are the eight generated slices with the smallest distance, small and smooth heads, as feared. Below each stands the training slice nearest to it. Size and
# brightness are alike; folds and spots are not. This is no proof of privacy: a patient's finding may be given away without a copy of the picture.

# %% [markdown]
# ## Do generated images help?
#
# The promise is old: with few patients, let a GAN make more
# ([Frid-Adar and others 2018](https://arxiv.org/abs/1803.01229) report a gain with 182 liver lesions, on top of random changes). Our study
# `studies/synthetic.toml` asks a simpler question, each way alone:
#
# - 200 or 800 training slices, of 50 or 200 *whole patients*; 90 new patients for the test;
# - ten seeds; each draws other training patients, the same for all four ways;
# - each time a CNN as in [lesson 08](08_first_cnn.ipynb), half as wide, trained in about 300 steps.
#
# Four ways: **real** slices only; the same, **changed at random** at every step (mirrored, shifted, turned, other contrast);
# real slices with as many draws of the **Gaussian** (40 components); real slices with as many of a **GAN** (1,000 steps, learning
# rate 4e-3). Gaussian and GAN learn from these 200 or 800 slices alone. (Their settings were fixed, and the study run, before we tuned this lesson's
# shorter training on the validation patients.)
#
# > **Predict** Order the four ways by AUC, for 200 slices.

# %%
from coursekit import studies

study = studies.load_study("synthetic")  # None where only the package is installed
ways = {
    "real+augmented": "changed at random",
    "real+gaussian": "with Gaussian",
    "real+generated": "with GAN",
}
sizes = (200, 800) if study else ()
gain = {(n, way): studies.compare(study, way, "real", at=n) for n in sizes for way in ways}

# %% tags=["plumbing"]
if study:
    rows = studies.table(study).set_index(["n_train", "what"])
    names = ["real only", *ways.values()]
    fig, axes = plt.subplots(1, 2, figsize=(7, 4.2), sharey=True, width_ratios=(1.1, 1))
    for n, shift, colour in ((200, -0.15, plotting.VERMILION), (800, 0.15, plotting.BLUE)):
        for place, way in enumerate(("real", *ways)):
            aucs = [area_under_curve(study.labels == 1, scores) for scores in study.scores[way, n]]
            axes[0].plot(aucs, [place + shift] * len(aucs), "o", ms=4, fillstyle="none", color=colour, alpha=0.6)
            axes[0].plot(rows.loc[(n, way), "value"], place + shift, "|", ms=14, mew=3, color=colour, label=f"{n} slices" if not place else None)
            if place:
                each = gain[n, way]
                ends = [[each.value - each.low], [each.high - each.value]]
                axes[1].errorbar(each.value, place + shift, xerr=ends, fmt="o", capsize=4, color=colour)
    axes[0].set_yticks(range(4), names), axes[0].set(xlabel="AUC, 90 test patients", ylim=(3.6, -0.6))
    axes[1].axvline(0, color="black", linestyle=":", linewidth=1)
    axes[1].set(xlabel="gain over real only, in AUC")
    fig.legend(loc="outside upper right", ncols=2, fontsize=11)
    plotting.show(fig, alt="Left: AUC of ten trainings for each of four ways, with 200 and with 800 slices. Right: gain over real slices only, with intervals: "
                  "right of zero for random changes, left of zero for the Gaussian, across zero for the GAN.")

# %% tags=["plumbing"]
if study:
    for n in sizes:
        said = "; ".join(f"{ways[way]} {g.value:+.3f} [{g.low:+.3f}, {g.high:+.3f}]" for (size, way), g in gain.items() if size == n)
        ledger.say("{n} slices: AUC {real:.3f} with real slices only. Gain: {said}.", n=n, real=rows.loc[(n, "real"), "value"], said=said)
    ledger.say(
        "With random changes, **200** slices reach AUC {few:.3f}; **800** unchanged ones reach {many:.3f}.",
        few=rows.loc[(200, "real+augmented"), "value"], many=rows.loc[(800, "real"), "value"],
    )

# %% [markdown]
# Circles: single trainings; bars: their means; brackets: 95 % intervals, over seeds and patients together. An interval that
# holds the dotted line does not show a difference; it does not show that there is none.
#
# Changing the real slices at random wins, by far with 200 slices: there it is worth about as much as four times the slices, and needs no second network. The
# Gaussian's slices do harm. The GAN's show no gain, neither with 200 nor with 800 slices; a small gain and a small loss would both fit
# the intervals.
#
# There is a reason to expect little. The generator has seen the same patients and nothing else: it can rearrange what they
# show, but it cannot add a patient. A random change adds knowledge of ours: a mirrored tumour is still a tumour.
#
# This speaks of one GAN and of small slices, and not of a GAN on top of random changes. A **diffusion model**, which draws by taking away noise in many small steps, would be the
# next rival. It does not fit into this lesson's seconds; lesson 24 (large models) may come back to it.
#
# ## What generated images must never be used for
#
# - **Testing.** A model that does well on generated patients has been tested on nobody.
# - **Diagnosis.** A network that "improves" or translates a patient's image draws what is *usual*; it can add a tumour or
#   remove one ([Cohen and others 2018](https://arxiv.org/abs/1805.08841)).
# - **Standing in for the rare.** What is rare in training is often rarer still in what is generated, or missing. No one made a disease visible by ordering it.
# - **Labels.** The label of a generated image is an order, not a finding.
# - **Anonymity by assertion.** Passing a copy check is no proof. Large generators have given training images away
#   ([Carlini and others 2023](https://arxiv.org/abs/2301.13188)).
# - **Passing as real.** Mark them, and keep them out of archives, where the next generator will learn from them.
#
# **In this lesson we**
#
# - wrote the game of generator and discriminator, and saw that its losses tell neither success nor collapse;
# - trained a generator that draws slices with or without a tumour, as ordered;
# - measured distance, diversity and copies, tuned the simple rival, and saw that a distance is only as good as its features;
# - asked in a study whether generated images help a classifier with few patients;
# - listed what they must not be used for.
#
# `simbrain` is itself a simulation: here a network imitates an imitation. What holds for methods need not hold for
# hospitals. Nothing here is a medical device.
#
# **Next** come all architectures so far on equal terms, a discriminator's features among them: [lesson 12](12_comparing_architectures.ipynb).
#
# **References**
#
# - I. Goodfellow and others: Generative adversarial nets, *NeurIPS* 2014, [arXiv:1406.2661](https://arxiv.org/abs/1406.2661).
# - L. Mescheder, A. Geiger, S. Nowozin: Which training methods for GANs do actually converge?, *ICML* 2018, [arXiv:1801.04406](https://arxiv.org/abs/1801.04406).
# - T. Miyato, M. Koyama: cGANs with projection discriminator, *ICLR* 2018, [arXiv:1802.05637](https://arxiv.org/abs/1802.05637).
# - M. Heusel and others: GANs trained by a two time-scale update rule converge to a local Nash equilibrium (the Fréchet distance), *NeurIPS* 2017, [arXiv:1706.08500](https://arxiv.org/abs/1706.08500).
# - T. Kynkäänniemi and others: Improved precision and recall metric for assessing generative models, *NeurIPS* 2019, [arXiv:1904.06991](https://arxiv.org/abs/1904.06991).
# - C. Meehan, K. Chaudhuri, S. Dasgupta: A non-parametric test to detect data-copying in generative models, *AISTATS* 2020, [arXiv:2004.05675](https://arxiv.org/abs/2004.05675).
# - M. Frid-Adar and others: GAN-based synthetic medical image augmentation for increased CNN performance in liver lesion classification, *Neurocomputing* 2018, [arXiv:1803.01229](https://arxiv.org/abs/1803.01229).
# - J. P. Cohen, M. Luck, S. Honari: Distribution matching losses can hallucinate features in medical image translation, *MICCAI* 2018, [arXiv:1805.08841](https://arxiv.org/abs/1805.08841).
# - N. Carlini and others: Extracting training data from diffusion models, *USENIX Security* 2023, [arXiv:2301.13188](https://arxiv.org/abs/2301.13188).

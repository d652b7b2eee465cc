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
# # 00 Start here
#
# Can a computer learn to read a medical image? And how would you know whether it has? We start with a small version of
# that question. Below is one slice through one brain, taken with three settings of the scanner. Can a network tell from
# the picture alone **how the scanner was set**? An image file comes with such facts in writing, but not all of them are
# true: in [one hospital](https://doi.org/10.1117/12.467017), 15 % of the entries for the part of the body were wrong.
#
# In half an hour you will train such a network, test it honestly, and then break it with one multiplication.

# %% tags=["install"]
import medlib

# %% tags=["plumbing"]
from medlib import plotting
from medlib.datasets import simbrain

plotting.use_style()


def enlarge(fig, size=20):
    """Make titles large enough for a telephone."""
    for ax in fig.axes:
        ax.title.set_fontsize(size)
    return fig


# %% tags=["plumbing"]
heads = simbrain.new_patients(203, n_subjects=2, slices_per_subject=1, image_size=128, depth=24)
head = heads.images[1]  # (slice from bottom to top, row, column, contrast)
first_slice = head[4, 10:120, 10:120]
fig = enlarge(plotting.image_grid(first_slice.transpose(2, 0, 1), titles=["T1", "T2", "FLAIR"], columns=3))
plotting.show(
    fig,
    alt="The same slice through a virtual brain three times: in T1 the fluid in the middle is dark, in T2 it is "
    "white, in FLAIR it is dark again.",
)

# %% [markdown]
# **T1**, **T2** and **FLAIR** are three **contrasts**: a **magnetic resonance** (MR) scanner can be set so that
# different properties of the tissue become bright. Look at the chambers in the middle. These **ventricles** hold
# fluid: dark in T1, white in T2, dark again in FLAIR. We look up from the patient's feet, so the forehead is at the top
# and the patient's right side is on *your* left. Skull and skin are left out.
#
# **You will**
#
# - look at medical images as a computer does: as numbers;
# - train a first small network in a few seconds, and watch it learn;
# - test it on new patients, against something simpler, and say how sure you are of the result;
# - break it with a change that hardly bothers a human eye.
#
# **Reading:** about 30 min · **running:** about 15 s · **builds on:** Python and a little NumPy; no medicine
#
# Run the cells from top to bottom, with Shift + Enter. Folded cells only set up or draw: run them too, but there is
# nothing to learn in them. At **Predict**, commit to an answer before you look: you learn most where you were wrong.
#
# ## A head has many slices
#
# A scanner takes a whole stack of such slices. Here is the same virtual patient in FLAIR, from the base of the brain
# upwards, now with 0.2 drawn black and 0.75 white. In FLAIR, most tumours are brighter than the healthy brain.
#
# > **Predict** Watch it once through. Does this patient have a tumour?

# %% tags=["plumbing"]
import matplotlib.pyplot as plt


def scroll():
    """Frames: one slice after the other, with its number."""
    fig, ax = plt.subplots(figsize=(3.2, 3.5))
    picture = ax.imshow(first_slice[..., 2], cmap="gray", vmin=0.2, vmax=0.75)
    ax.set_axis_off()
    fig.supxlabel("window 0.2 (black) to 0.75 (white)", fontsize=9, color=plotting.GREY)
    for number in [*range(4, 20), *range(18, 9, -2)]:  # up, and back to the largest
        picture.set_data(head[number, 10:120, 10:120, 2])
        ax.set_title(f"FLAIR, slice {number + 1} of 24")
        yield fig


# %% tags=["plumbing"]
plotting.show_animation(
    scroll(),
    milliseconds=250,
    alt="Scrolling upwards through a brain: a bright round patch at the back, to the right of the midline, comes "
    "with slice 7, is largest around slice 11 and is gone at slice 18.",
)

# %% [markdown]
# <details><summary>Answer</summary>
#
# Yes: the bright round patch at the back of the head. It comes with slice 7, is largest around slice 11 and is gone at
# slice 18. In slice 5, the one at the top of this page, there is no sign of it. The smaller bright spots are not
# tumours; they become commoner with age.
#
# </details>
#
# This head is *simulated*, like all images of the course's own set, `simbrain`: good for learning methods, useless
# for claims about patients. [Lesson 02](02_mr_simulation.ipynb) shows how they are made.
#
# To the computer, a slice is an **array**: a table of numbers from 0 (black) to 1 (white), one for each **pixel** of
# each contrast. `first_slice` is the one at the top of the page.

# %% tags=["nbval-check-output"]
print(first_slice.shape, first_slice.dtype)
print(first_slice[50:53, 50:56, 1].round(2))  # three rows, six columns, T2

# %% [markdown]
# 110 rows, 110 columns, three contrasts. The eighteen numbers are a tiny piece of the T2 picture.
#
# ## Patients to learn from, patients to be judged by
#
# Now to many patients, with four slices of each. To train within seconds we make the pictures small: 32 x 32 pixels.

# %% tags=["parameters"]
n_subjects = 120  # virtual patients: 84 to learn from, 18 to watch, 18 left aside: too few to test on
image_size = 32  # pixels
epochs = 20  # passes over the training pictures
seed = 0  # of the random start of the training

# %% tags=["plumbing"]
import numpy as np
import pandas as pd

from coursekit import ledger

parameters = {"n_subjects": n_subjects, "image_size": image_size, "epochs": epochs, "seed": seed}

# %%
size = {"image_size": image_size, "slices_per_subject": 4}
data = simbrain.load_simbrain(n_subjects=n_subjects, **size)
new = simbrain.new_patients(seed=20300, n_subjects=60, **size)
print(data.train.images.shape)

# %% [markdown]
# 84 patients with 4 slices give 336 slices, each in three contrasts. We take these apart, and give every picture a
# **label**, the setting that it was taken with: 0 for T1, 1 for T2, 2 for FLAIR. This is what one patient contributes:

# %% tags=["plumbing"]
NAMES = ("T1", "T2", "FLAIR")
fig, axes = plt.subplots(3, 4, figsize=(5.4, 3.7))
for setting, row in enumerate(axes):
    for ax, picture in zip(row, data.train.images[:4, ..., setting], strict=True):
        ax.imshow(picture, cmap="gray", vmin=0, vmax=1)
        ax.set_axis_off()
    row[0].text(-0.1, 0.5, f"{NAMES[setting]}: {setting}", transform=row[0].transAxes, ha="right", va="center", fontsize=14)
fig.supxlabel("window 0 (black) to 1 (white)", fontsize=11, color=plotting.GREY)
plotting.show(
    fig,
    alt="Twelve small pictures of one brain: four slices in three rows, labelled T1: 0, T2: 1 and FLAIR: 2.",
)


# %%
def one_by_one(split):
    """The pictures of all slices, their labels, and whose they are."""
    pictures = np.concatenate([split.images[..., [setting]] for setting in (0, 1, 2)])
    labels = np.repeat([0, 1, 2], len(split))
    return pictures, labels, np.tile(split.subjects, 3)


train_pictures, train_labels, train_patients = one_by_one(data.train)
watched_pictures, watched_labels, watched_patients = one_by_one(data.validation)
test_pictures, test_labels, test_patients = one_by_one(new)

# %% tags=["nbval-check-output"]
from itertools import combinations

groups = {"training": train_patients, "validation": watched_patients, "test": test_patients}
for name, patients in groups.items():
    print(f"{name:10s} {len(set(patients)):3d} patients {len(patients):5d} pictures")
print("in two groups:", sum(len(set(a) & set(b)) for a, b in combinations(groups.values(), 2)))

# %% [markdown]
# The network learns from the **training** group; meanwhile we watch it on the **validation** group. In the end it is
# judged on the **test** group, which nobody has looked at. No *patient* is in two groups: a network that has merely
# memorised its patients fails the test.
#
# ## A first network
#
# A **neural network** is a chain of simple computations with adjustable numbers, its **weights**. Ours looks at small
# neighbourhoods of pixels (a *convolution*), twice; averages what it has found over the picture; and gives three
# **probabilities**, one for each setting. The tallest bar is its answer.

# %% tags=["plumbing"]
def arrows_and_texts(ax):
    """What stands between and below the steps of the network."""
    texts = ("picture\n32 x 32", "16 maps\n15 x 15", "16 maps\n7 x 7", "16\naverages", "3 proba-\nbilities")
    for x, text in zip((0.75, 2.85, 4.55, 5.88, 7.4), texts, strict=True):
        ax.text(x, -0.9, text, ha="center", va="top", fontsize=15)
    for start, end in ((1.6, 2.2), (3.6, 4.1), (5.05, 5.7), (6.1, 6.9)):
        ax.annotate("", (end, 0), (start, 0), arrowprops={"arrowstyle": "-|>", "linewidth": 2})


# %% tags=["plumbing"]
fig, ax = plt.subplots(figsize=(8, 2.6))
ax.imshow(train_pictures[0, ..., 0], cmap="gray", vmin=0, vmax=1, extent=(0, 1.5, -0.75, 0.75))
for left, side in ((2.3, 0.9), (4.2, 0.45)):
    for step in (0.3, 0.2, 0.1, 0):
        corner = (left + step, step - side / 2 - 0.15)
        ax.add_patch(plt.Rectangle(corner, side, side, facecolor=plotting.SKY, edgecolor="white"))
for number in range(16):
    ax.add_patch(plt.Rectangle((5.8, 0.08 * number - 0.65), 0.16, 0.08, facecolor=plotting.SKY, edgecolor="white"))
for number, height in enumerate((1.0, 0.15, 0.3)):
    ax.add_patch(plt.Rectangle((7.0 + 0.3 * number, -0.5), 0.22, height, color=plotting.COLOURS[number]))
arrows_and_texts(ax)
ax.set(xlim=(-0.05, 8), ylim=(-1.6, 0.8), aspect="equal")
ax.set_axis_off()
plotting.show(
    fig,
    alt="From left to right: a picture of 32 by 32 pixels, 16 maps of 15 by 15, 16 maps of 7 by 7, 16 averages, and "
    "three bars for the probabilities of T1, T2 and FLAIR.",
)

# %% [markdown]
# Each arrow is one line of the list below. There is no need to understand these lines today: lessons
# [06](06_convolution.ipynb), [07](07_learning.ipynb) and [08](08_first_cnn.ipynb) explain every one.

# %%
from medlib import training

keras = training.import_keras()  # Keras, without TensorFlow's start-up messages
from keras import layers

training.set_seed(seed)
network = keras.Sequential(
    [
        layers.Input((image_size, image_size, 1)),
        layers.Conv2D(16, 3, strides=2, activation="relu"),
        layers.Conv2D(16, 3, strides=2, activation="relu"),
        layers.GlobalAveragePooling2D(),
        layers.Dense(3, activation="softmax"),
    ]
)
print(f"{network.count_params():,} weights")

# %% [markdown]
# At first the weights are random. **Training** changes them a little at a time, so that the network is less and less
# surprised by the right labels; the **loss** measures this surprise. After each pass over the training pictures we
# note the probabilities that it gives to the validation pictures.

# %%
network.compile(keras.optimizers.Adam(1e-2), loss="sparse_categorical_crossentropy")
seen = [network(watched_pictures).numpy()]  # before training
for _ in range(epochs):
    network.fit(train_pictures, train_labels, batch_size=16, verbose=0)
    seen.append(network(watched_pictures).numpy())

# %% [markdown]
# Three probabilities that sum to 1 are a place in a triangle: the corner T1 means "certainly T1", the middle "no idea".
# Each dot below is a validation picture; its colour and shape give the *true* setting.
#
# > **Predict** Before training the network knows nothing. Where will the dots lie then, and where at the end?

# %% tags=["plumbing"]
CORNERS = np.array([[0, 0], [1, 0], [0.5, 0.866]])


def empty_triangle():
    """The triangle, and a set of dots for each true setting."""
    fig, ax = plt.subplots(figsize=(4.6, 4.3))
    ax.fill(*CORNERS.T, fill=False, edgecolor=plotting.GREY)
    for pair in (CORNERS[[0, 1]], CORNERS[[1, 2]], CORNERS[[0, 2]]):
        border = np.stack([pair.mean(axis=0), CORNERS.mean(axis=0)])
        ax.plot(*border.T, ":", color=plotting.GREY, linewidth=1)
    dots = []
    for name, (x, y), mark in zip(NAMES, CORNERS, "os^", strict=True):
        dots += ax.plot([], [], mark, markersize=5, alpha=0.6, label=name)
        ax.text(x, y + (0.06 if y else -0.06), name, ha="center", va="center", fontsize=14)
    ax.set(xlim=(-0.12, 1.12), ylim=(-0.12, 1.0), aspect="equal")
    ax.legend(title="true setting", loc="upper right", fontsize=11, title_fontsize=11)
    ax.set_axis_off()
    return fig, ax, dots


# %% tags=["plumbing"]
def triangle(probabilities_of_frames, true_labels, titles):
    """Frames: the pictures in the triangle of probabilities, one frame for each array of these."""
    fig, ax, dots = empty_triangle()
    for given, title in zip(probabilities_of_frames, titles, strict=True):
        for setting, dot in enumerate(dots):
            dot.set_data(*(given[true_labels == setting] @ CORNERS).T)
        share = np.mean(given.argmax(axis=1) == true_labels)
        ax.set_title(f"{title}: {share:.0%} right")
        yield fig


# %% tags=["plumbing"]
plotting.show_animation(
    triangle(seen, watched_labels, ["before training", *(f"after pass {n}" for n in range(1, epochs + 1))]),
    milliseconds=400,
    alt="A triangle with corners T1, T2 and FLAIR. Before training all dots sit in one clump near the middle; pass "
    "by pass they spread, and at the end most lie near the corner of their true setting.",
)

# %% [markdown]
# <details><summary>Answer</summary>
#
# Before training, all lie in one clump near the middle: every picture gets nearly the same three probabilities. In the
# end most dots lie near the corner of their own colour. A dot on the wrong side of a dotted line is a wrong answer; one
# between two corners, an unsure one.
#
# </details>
#
# ## Is it any good?
#
# Two questions decide. How often is it right for *new* patients? And how often would something much simpler be right?
# In this course a **baseline**, something simpler, stands beside every result. Ours sees one number only, the average
# grey of the picture. From the training pictures, a **decision tree** learns two thresholds: below the first it gives one
# answer, between them another, above the second the last.
#
# > **Predict** Somebody who always says T1 is right for a third of the test pictures. How many will the one-number rule
# > get right?

# %%
from sklearn.tree import DecisionTreeClassifier

train_grey, test_grey = train_pictures.mean(axis=(1, 2)), test_pictures.mean(axis=(1, 2))
tree = DecisionTreeClassifier(max_leaf_nodes=3, random_state=0).fit(train_grey, train_labels)

# %%
probabilities = network.predict(test_pictures, verbose=0)
answers = {"average grey": tree.predict(test_grey), "network": probabilities.argmax(axis=1)}

# %% [markdown]
# The **accuracy** is the share of right answers. Sixty patients are not all patients, so we give an **interval** with it.

# %%
from medlib.evaluation import statistics

accuracy = {
    name: statistics.proportion_interval(given == test_labels, subjects=test_patients)
    for name, given in answers.items()
}
pd.Series(accuracy, name="accuracy [95 % interval]").to_frame()

# %% tags=["plumbing"]
ledger.record("00/accuracy_grey", accuracy["average grey"].value, parameters, limits=(0, 1), chance=1 / 3)
ledger.record("00/accuracy", accuracy["network"].value, parameters, limits=(0, 1), chance=1 / 3)
ledger.say(
    "On {n} pictures of {patients} test patients the network is right in **{accuracy:.0%}**, the rule with "
    "one number in {accuracy_grey:.0%}.",
    n=len(test_labels),
    patients=len(set(test_patients)),
)

# %% [markdown]
# So yes: the interval of the network lies far above that of the rule with one number, which itself is better than a third. But two
# kinds of luck are in such numbers. The first is *which patients* we tested. That is what the **95 % interval** in
# brackets is for: if a hundred people each tested sixty patients of their own, about 95 of their intervals would
# contain the true accuracy.
#
# The second is the random start of the training, its *seed*. That is what the **99 % band** in the printed lines is
# for: we trained with ten seeds, and from these we expect 99 of 100 further trainings to end inside the band. The rule has
# no random start, so its band is a single number.
#
# **Exercise 00.1: accuracy for one setting.** Which setting does the network find hardest? Write a function that
# returns the share of right answers, from 0 to 1, among the pictures whose true setting is `setting`. Replace the dots,
# run the cell, then the check below it. Then ask your function.
#
# > **Hint** `given[labels == setting]` are the answers to these pictures. For the network, `labels` is `test_labels`
# > and `given` is `answers["network"]`. Stuck? Here are [solutions](solutions/00_start_here.ipynb).


# %% tags=["exercise"]
def accuracy_for(labels, given, setting):
    return ...  # your code here


# %% tags=["solution"]
def accuracy_for(labels, given, setting):
    return float(np.mean(given[labels == setting] == setting))


# %%
from coursekit import check

check.exercise("00.1", accuracy_for)

# %% [markdown]
# ## Look at its worst answers
#
# Never believe a number alone. Here are the four test pictures whose true setting got the lowest probability. Could you
# have told? Both T1 and FLAIR show fluid dark. The sign to look for: in T1 the inside of the brain (**white matter**) is
# brighter than its rim (**grey matter**), in FLAIR it is a little darker.

# %%
right = probabilities[np.arange(len(test_labels)), test_labels]
worst = np.argsort(right)[:4]

# %% tags=["plumbing"]
said = answers["network"]
titles = [f"{NAMES[test_labels[i]]}, said {NAMES[said[i]]}: {right[i]:.2f}" for i in worst]
fig = enlarge(plotting.image_grid(test_pictures[worst], titles=titles, window=(0, 0.8), columns=2), 16)
plotting.show(
    fig,
    alt="The four test pictures to whose true setting the network gave the lowest probability: "
    f"{'; '.join(titles)}.",
    save="00_unsure",
)

# %% [markdown]
# Each title gives the truth, the network's answer, and the probability that it gave to the truth. At 32 x 32 pixels, with
# noise, the sign is hard to see for us as well. In FLAIR it can even mislead: bright spots make the inside brighter than the rim.
#
# ## Break it
#
# The numbers in an MR picture have no unit: another scanner may store the same brain with numbers half as large. Here is
# a T2 picture with all greys multiplied by 0.75, and by 0.5.

# %% tags=["plumbing"]
factors = (1, 0.75, 0.5)
surest = np.argmax(right * (test_labels == 1))  # the T2 picture of which the network is surest
fig = plotting.image_grid(
    np.stack([factor * test_pictures[surest] for factor in factors]),
    titles=[f"times {factor}" for factor in factors],
    columns=3,
)
enlarge(fig)
plotting.show(fig, alt="A T2 picture of a brain three times: as it is, a little darker, and at half the brightness.")

# %% [markdown]
# > **Predict** You see the same brain three times. What will the network make of the darker pictures?

# %%
dimmed = {}
for factor in (1, 0.75, 0.5):
    given = network.predict(factor * test_pictures, verbose=0).argmax(axis=1)
    dimmed[factor] = np.mean(given == test_labels)
    print(f"greys times {factor}: {dimmed[factor]:.0%} right")

# %% tags=["plumbing"]
ledger.record("00/accuracy_lost", dimmed[1] - dimmed[0.5], parameters, limits=(-1, 1), chance=0)
ledger.record("00/called_flair", np.mean(given[test_labels < 2] == 2), parameters, limits=(0, 1), chance=1 / 3)
ledger.say(
    "Half the brightness costs it **{cost:.0f}** right answers in 100. Of the T1 and T2 pictures it now calls "
    "**{called_flair:.0%}** FLAIR.",
    cost=100 * (dimmed[1] - dimmed[0.5]),
)

# %% [markdown]
# Watch the dots of some test pictures while we turn the brightness down to half, and up again:

# %% tags=["plumbing"]
levels = [*np.arange(1, 0.49, -0.05), *np.arange(0.6, 1, 0.1)]
some = slice(None, None, 5)
plotting.show_animation(
    triangle(
        [network(factor * test_pictures[some]).numpy() for factor in levels],
        test_labels[some],
        [f"greys times {factor:.2f}" for factor in levels],
    ),
    milliseconds=400,
    alt="The triangle again. At full brightness most dots lie near the corner of their true setting; as the pictures "
    "get darker, the dots of T1 and then of T2 move to the corner FLAIR; with the brightness they come back.",
)

# %% [markdown]
# The dots of T1 slide to the corner FLAIR first, those of T2 follow. Look at the top of the page again: T1 is bright
# nearly everywhere, T2 in the fluid, FLAIR hardly anywhere. "Nothing bright means FLAIR" would be a good rule, until
# somebody turns the brightness down.
#
# The network was tested honestly, on new patients, and still it fails on pictures in which you see the same brain. The
# interval did not warn us: it speaks of more patients **of the same kind**. Lesson
# [04](04_grey_values_and_leaks.ipynb) is about such traps.
#
# **Exercise 00.2: repair it.** Write a function that divides each picture by its own average grey. A darker copy of a
# picture then gives the same numbers as the picture itself.
#
# > **Hint** `pictures` has the shape (n, height, width, 1). Average over height and width, and keep these axes
# > (`keepdims=True`), so that NumPy divides picture by picture.


# %% tags=["exercise"]
def evened(pictures):
    return ...  # your code here


# %% tags=["solution"]
def evened(pictures):
    return pictures / pictures.mean(axis=(1, 2), keepdims=True)


# %%
check.exercise("00.2", evened)

# %% [markdown]
# When it is right, put this into a new cell. It trains on, with evened pictures, and tests at two brightnesses. (It uses the test
# group again. For a result to publish you would need new patients.)
#
# ```python
# network.fit(evened(train_pictures), train_labels, epochs=10, verbose=0)
# for factor in (1, 0.5):
#     given = network.predict(evened(factor * test_pictures), verbose=0).argmax(axis=1)
#     print(factor, np.mean(given == test_labels))
# ```
#
# Will the accuracy be the same for both? Will it be as high as the first network's at full brightness?
#
# <details><summary>Answer</summary>
#
# The same for both, because a darker copy now gives the same input. Usually it is lower, at first, than the accuracy of
# the first network at full brightness: among *these* pictures brightness was a useful clue, and the network must do
# without it. Run the cell again: with more passes it comes closer.
#
# </details>

# %% tags=["solution"]
network.fit(evened(train_pictures), train_labels, epochs=10, verbose=0)
for factor in (1, 0.5):
    given = network.predict(evened(factor * test_pictures), verbose=0).argmax(axis=1)
    print(f"greys times {factor}: {np.mean(given == test_labels):.0%} right")

# %% [markdown]
# ## The course
#
# Each lesson runs alone, without the internet, and every measured number comes from the code above it.
#
# | part | lessons |
# |---|---|
# | A images | 00 start here · [01 image files](01_image_files.ipynb) · [02 MR images and their simulation](02_mr_simulation.ipynb) · [03 cleaning and geometry](03_cleaning_and_geometry.ipynb) · [04 grey values and leaks](04_grey_values_and_leaks.ipynb) · [05 classical baseline](05_classical_baseline.ipynb) |
# | B networks | [06 convolution](06_convolution.ipynb) · [07 learning](07_learning.ipynb) · [08 first CNN](08_first_cnn.ipynb) · *planned:* 09 recurrent networks · 10 transformers · 11 generative adversarial networks · 12 comparing architectures |
# | C better | *planned:* 13 training on GPU · 14 augmentation · 15 initialisation, normalisation, optimisers · 16 residual networks · 17 U-Net segmentation · 18 tumour detection |
# | D trust | *planned:* 19 evaluation · 20 explanations · 21 uncertainty · 22 security · 23 model audit |
# | E frontier | *planned:* 24 large models · 25 automatic annotation · 26 multimodal data · 27 ideal observer · 28 deployment · 29 benchmark |
#
# In a hurry? Read 01, 04 and 08. The course is for teaching and research, not a medical device.
#
# ## Your computer
#
# If you have come this far without an error, your computer has what you need. Without a graphics processor (GPU)
# training takes longer; a C++ compiler is for later lessons.

# %% tags=["plumbing"]
import platform
import shutil
from importlib import metadata

import psutil
import tensorflow as tf

found = {"Python": platform.python_version()}
found |= {name: metadata.version(name) for name in ("pip", "numpy", "keras", "medlib")}
found |= {"Keras's backend": keras.backend.backend(), "TensorFlow": tf.__version__}
found["GPU"] = len(tf.config.list_physical_devices("GPU")) or "none found"
found |= {"CPU cores": psutil.cpu_count(), "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB"}
found["C++ compiler"] = next(filter(shutil.which, ("g++", "clang++")), "none found")
pd.Series(found, name="found").to_frame()

# %% [markdown]
# ## In this lesson we
#
# - saw that a medical image is an array, and that one slice gives several pictures;
# - trained a small network on some patients, watched it learn, and tested it on others, who took no part in training;
# - put a simpler method and a 95 % interval beside its accuracy, and looked at its worst answers;
# - broke it by dimming the pictures: a good test result holds for patients and scanners like those tested, no others.
#
# **Next** What is in a file from a scanner, and how do you read it without losing the patient's left side?
# [Lesson 01: image files](01_image_files.ipynb)
#
# ## References
#
# - M. O. Gueld and others: Quality of DICOM header information for image categorization, *Proceedings of SPIE* 4685
#   (2002) 280, [doi:10.1117/12.467017](https://doi.org/10.1117/12.467017).
# - V. Fonov and others: Unbiased average age-appropriate atlases for pediatric studies, *NeuroImage* 54 (2011) 313-327,
#   [doi:10.1016/j.neuroimage.2010.07.033](https://doi.org/10.1016/j.neuroimage.2010.07.033) (the template behind
#   `simbrain`).

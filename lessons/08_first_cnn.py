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
# # 08 First convolutional network
#
# A radiologist looks at a brain scan and asks first: is there something that should not be there? Can a small
# **convolutional neural network** (CNN) learn to answer that from labelled slices? And how would we know that it did?
# The second question is the harder one. A [review of 62 published studies](https://doi.org/10.1038/s42256-021-00307-0) on
# chest images in COVID-19 found no model fit for clinical use, because of faults in how they were trained and tested. So
# this lesson begins with faults.
#
# **You will**
#
# - find seven defects in a typical tutorial listing, and see what each one does;
# - build and train a CNN, and watch it separate healthy slices from tumours;
# - measure it once on new patients, with intervals, next to two simple baselines;
# - explain why two groups of patients give two results;
# - look at what it misses, keep it as a file, and use that file on new images.
#
# **Reading:** about 45 min · **running:** about 30 s · **builds on:** [04](04_grey_values_and_leaks.ipynb) (splitting by
# patient), [05](05_classical_baseline.ipynb) (baseline, AUC), [06](06_convolution.ipynb) (convolution, receptive field),
# [07](07_learning.ipynb) (sigmoid, softmax, cross-entropy, gradient descent)

# %% tags=["install"]
import medlib

# %% tags=["parameters"]
dataset = "simbrain"  # or "breastmnist", "pneumoniamnist", or the path of your own CSV or folder
image_size = None  # pixels; None: the set's own, 64 for simbrain
steps = 260  # changes of the weights, 32 images each
seed = 0  # of the initial weights and of the order of the images

# %% [markdown]
# ## Would you have seen it?
#
# Our images are `simbrain` ([lesson 02](02_mr_simulation.ipynb)): simulated magnetic resonance slices of virtual
# patients, half of whom have a tumour. Results on them speak of methods, not of hospitals. (The cell above takes other
# data sets too; the text speaks of `simbrain`.)

# %%
from medlib import training

training.set_seed(seed)  # imports Keras quietly, then seeds Python, NumPy and TensorFlow
import keras
import numpy as np
import pandas as pd
from keras import layers

from medlib import datasets, plotting

data = datasets.resolve(dataset, image_size=image_size, strict=True)  # strict: no image twice
train, validation = data.train, data.validation

# %% [markdown]
# `train.images` has the shape (slices, height, width, contrasts); `train.labels` is 1 where there is a tumour. We look at the
# last contrast, FLAIR, in which watery tissue is bright and free fluid dark.
#
# > **Predict** Two of these four training slices show a tumour. Which two?

# %% tags=["plumbing"]
import warnings

import matplotlib.pyplot as plt

from coursekit import check, ledger

plotting.use_style()
warnings.filterwarnings("ignore", message=r"(?s).*(softmax|y_pred.shape|shuffle=True|are taken for)")  # they are told in the text
assert len(data.class_names) == 2, f"this lesson needs two classes, not {data.class_names}"
image_size, class_names, channels = data.image_shape[0], data.class_names, data.channel_names
parameters = {"dataset": dataset, "image_size": image_size, "steps": steps, "seed": seed}
simulated = data.name == "simbrain"
window = (0.25, 0.7) if simulated else (0, 1)
normal, abnormal = (np.flatnonzero(train.labels == k)[:2] for k in (0, 1))
shown = np.array([normal[0], *abnormal, normal[1]])
if simulated and image_size == 64:
    shown = np.array([127, 137, 264, 53])
fig = plotting.image_grid(train.images[shown][..., -1], titles=list("ABCD"), window=window)
plotting.show(fig, alt="Four training slices A to D, in FLAIR, all with bright spots.")

# %% [markdown]
# The answer, with the simulation's own outline in orange. The network will never see outlines.

# %% tags=["plumbing"]
fig = plotting.image_grid(
    train.images[shown][..., -1],
    titles=[f"{letter}: {class_names[train.labels[row]]}" for letter, row in zip("ABCD", shown, strict=True)],
    window=window,
)
for ax, row in zip(fig.axes, shown, strict=True):
    if train.masks is not None:
        plotting.outline(ax, train.masks[row])
plotting.show(fig, alt="The same four slices with their labels; tumours are outlined.")

# %% [markdown]
# B and C have a tumour. The small bright spots are changes of the white matter, which healthy virtual patients have too.
# So brightness alone does not tell; size, shape and the other contrasts (T1, T2) must help.
#
# ## A listing to distrust
#
# Here is what many tutorials do, in one listing. We count **seven** defects; write yours down before you read on.
#
# ```python
# image = keras.utils.load_image("brain_1.png")               # the picture as an array
# model = keras.Sequential([
#     layers.Input((224, 224, 3)),
#     layers.Conv2D(32, 3, activation="relu"), layers.MaxPooling2D(),
#     layers.Conv2D(64, 3, activation="relu"), layers.MaxPooling2D(),
#     layers.Conv2D(128, 3, activation="relu"), layers.MaxPooling2D(),
#     layers.Flatten(),
#     layers.Dense(128, activation="relu"),
#     layers.Dense(1, activation="softmax"),
# ])
# model.compile("adam", loss="categorical_crossentropy", metrics=["accuracy"])
#
# labels = [int(line) for line in open("labels.txt")]         # ordered by patient
# model.fit("brain_1.png", labels[0], epochs=10)              # train on the picture
# print(model.evaluate(image, labels[0]))                     # how good is it?
# for name, label in zip(os.listdir("images"), labels):       # then on the other ones
#     ...
# ```
#
# ### 1 and 2: the ones that stop
#
# The kindest defects raise an error. One function does not exist (Keras has `load_img`), and `fit` gets a file name where it needs numbers.

# %% tags=["nbval-check-output"]
print("keras.utils.load_image exists:", hasattr(keras.utils, "load_image"))
tiny = keras.Sequential([layers.Input((8, 8, 3)), layers.Flatten(), layers.Dense(1)])
tiny.compile(loss="mse")
try:
    tiny.fit("brain_1.png", np.array([1]), verbose=0)
except Exception as error:
    print("fit on a file name:", type(error).__name__)

# %% [markdown]
# Suppose these two are repaired. (You found missing imports, or a batch axis that is not there? Good; they would stop the code as
# well.) From here on nothing stops. At most there is a warning; the code runs, and is wrong.
#
# ### 3 and 4: the last layer and its loss
#
# The last layer has one unit, so it gives one score $z$ per image. Softmax ([lesson 07](07_learning.ipynb)) turns it into a
# probability. We train the listing on 24 slices with a tumour and 8 without.

# %%
with_tumour, without = (np.flatnonzero(train.labels == k) for k in (1, 0))
rows = np.concatenate([with_tumour[:24], without[:8]])
few_images, few_labels = train.images[rows], train.labels[rows].astype("float32")


def listing_body():
    """The listing's layers without the last one."""
    body = [layers.Input(data.image_shape)]
    for width in (32, 64, 128):
        body += [layers.Conv2D(width, 3, activation="relu"), layers.MaxPooling2D()]
    return [*body, layers.Flatten(), layers.Dense(128, activation="relu")]


# %% [markdown]
# > **Predict** What loss and what accuracy will the listing report after each of three epochs? How far will the weights
# > move?

# %%
listing = keras.Sequential([*listing_body(), layers.Dense(1, activation="softmax")])
listing.compile("adam", loss="categorical_crossentropy", metrics=["accuracy"])
before = listing.get_weights()
history = listing.fit(few_images, few_labels[:, None], epochs=3, verbose=0).history
pairs = zip(before, listing.get_weights(), strict=True)
print("loss", history["loss"], "accuracy", history["accuracy"])
print("largest change of a weight", max(np.abs(a - b).max() for a, b in pairs))

# %% [markdown]
# Softmax divides $e^z$ by the sum over all units, and there is only this one: every image gets probability 1. Cross-entropy
# is $-\sum_k y_k \log p_k$, with $p_k$ the probability that unit $k$ gives and $y_k$ the label. With one unit that is
# $-y_1 \log 1 = 0$, tumour or not. So its gradient is zero, and no weight ever moves. (Keras warns of both; a folded cell above
# hides that, so that you could predict. Read warnings: they name the repair.) And the accuracy? 24 of 32 slices
# have a tumour, and the network calls everything a tumour. With nine tumours in ten slices it would report 90 % and look
# like a success.
#
# **Exercise 08.1: repair it.** Write a function that takes the listing's layers without the last one, adds a last layer
# with *one* unit that gives the probability of a tumour, and returns the compiled network. The check trains it on 32
# small pictures.
#
# > **Hint** Which function of lesson 07 makes a probability of *one* score, and which loss goes with it? ([Solution](solutions/08_first_cnn.ipynb))


# %% tags=["exercise"]
def repaired(body):
    return ...  # your code here


# %% tags=["solution"]
def repaired(body):
    network = keras.Sequential([*body, layers.Dense(1, activation="sigmoid")])
    network.compile("adam", loss="binary_crossentropy", metrics=["accuracy"])
    return network


# %%
check.exercise("08.1", repaired)

# %% [markdown]
# ### 5: labels that lose their images
#
# The listing takes images in the order of `os.listdir` and labels in the order of a text file. `os.listdir` promises [no
# order at all](https://docs.python.org/3/library/os.html#os.listdir), and sorted names sort as text: `brain_10` stands
# before `brain_2`. Take twenty files, the first ten healthy, the last ten with a tumour.
#
# > **Predict** After sorting as text, how many of the twenty images get a wrong label?

# %% tags=["nbval-check-output"]
files = [f"brain_{number}.png" for number in range(1, 21)]
truth = {file: int(number > 10) for number, file in enumerate(files, start=1)}
given = dict(zip(sorted(files), truth.values(), strict=True))  # what the listing would do
wrong = [file for file in sorted(files) if given[file] != truth[file]]
print(len(wrong), "of", len(files), "labels are wrong")

# %% tags=["plumbing"]
from matplotlib.colors import ListedColormap

fig, ax = plt.subplots(figsize=(8, 1.9))
strips = np.array([[each[file] for file in sorted(files)] for each in (truth, given)])
ax.imshow(strips, cmap=ListedColormap([plotting.SKY, plotting.ORANGE]), aspect="auto")
for column, file in enumerate(sorted(files)):
    if file in wrong:
        ax.text(column, 1, "×", ha="center", va="center", fontsize=18, fontweight="bold")
numbers = [file.removeprefix("brain_").removesuffix(".png") for file in sorted(files)]
ax.set_xticks(range(20), numbers)
ax.set_yticks([0, 1], ["true", "given"])
ax.set_xlabel("number in the file's name, files sorted as text (blue: healthy, orange: tumour)")
ax.axhline(0.5, color="white", linewidth=4)
ax.grid(False)
ax.spines[:].set_visible(False)
plotting.show(fig, alt="True and given labels of twenty files sorted as text: sixteen differ, marked by crosses.")

# %% [markdown]
# Sixteen of twenty, without a warning. The rule that prevents it: **a label stands in the same row as its image's file
# name**, and nothing depends on the order of files.
#
# **Exercise 08.2: labels that cannot get lost.** Write a function that takes a list of file names, in any order, and a
# table with the columns `image` and `label`. It returns the labels (a list or an array) in the order of the *files*. A
# file without a row in the table must raise a `KeyError`.
#
# > **Hint** `table.set_index("image")` makes the file name the key of each row. ([Solution](solutions/08_first_cnn.ipynb))


# %% tags=["exercise"]
def labels_of(files, table):
    return ...  # your code here


# %% tags=["solution"]
def labels_of(files, table):
    return table.set_index("image")["label"].loc[list(files)].tolist()


# %%
check.exercise("08.2", labels_of)

# %% [markdown]
# ### 6 and 7: one picture, and a test on the same one
#
# The listing trains and tests on one picture. Take a learner that only remembers: **nearest neighbour** gives a new image the
# label of the most similar image that it has stored.

# %% tags=["nbval-check-output"]
from sklearn.neighbors import KNeighborsClassifier

flat, others = (split.images.reshape(len(split), -1) for split in (train, validation))
for n in (1, 400):
    memory = KNeighborsClassifier(1).fit(flat[:n], train.labels[:n])
    seen = memory.score(flat[:n], train.labels[:n])
    new = memory.score(others, validation.labels)
    print(f"{n:3d} images: accuracy on them {seen:.0%}, on other patients {new:.0%}")

# %% [markdown]
# Perfect on what it has seen. On other patients one stored image is worth a coin toss, and 400 are worth little more.
# So accuracy on the training images can be memory and nothing else.
#
# ## The same task, done right
#
# We need three groups of *patients*: **training** (weights are fitted), **validation** (decisions are made) and **test**
# (the final number, once), with no patient in two of them ([lesson 04](04_grey_values_and_leaks.ipynb)). This lesson draws
# its own test patients.

# %% tags=["nbval-check-output"]
from medlib.datasets.simbrain import new_patients

test = new_patients(seed=20308, image_size=image_size) if simulated else data.test
groups = {"training": train, "validation": validation, "test": test}
known = {*train.subjects, *validation.subjects}
print({name: split.images.shape for name, split in groups.items()})
print("test patients who are in another group:", len(known & {*test.subjects}))

# %% [markdown]
# ### The baselines first
#
# The network must beat two simple answers: always the commonest class, and the classical model of
# [lesson 05](05_classical_baseline.ipynb), logistic regression on hand-made features. We train that now and test it later.

# %%
from medlib.models import classical

baseline = classical.build_classical().fit(train.images, train.labels)

# %% [markdown]
# ### The network
#
# With a sigmoid at its end the listing's network would learn. But look where its weights are. `Flatten` lays out the last
# feature map, 26 x 26 x 128 numbers, as one long row, and each of the 128 units after it has a weight for every one of
# them: eleven million weights, each tied to one *place* in the picture. But a tumour may sit anywhere.
#
# So our network ends with **global average pooling**: the mean of each channel over all places. Before that come three
# blocks of two convolutions, with max pooling in between. Each convolution is followed by **batch normalisation**
# ([Ioffe and Szegedy 2015](https://arxiv.org/abs/1502.03167)): each channel is standardised over all images and places of the
# batch, then scaled and shifted by two learnt numbers; the shift replaces the convolution's bias. For predictions, running means
# and variances from the training stand in for those of the batch. (`he_normal` draws the first weights at random, at a scale that
# suits ReLU. Lesson 15 will measure both.)


# %%
def convolution(width, stride=1):
    """Convolution, batch normalisation, ReLU."""
    start = {"use_bias": False, "kernel_initializer": "he_normal"}
    kernels = layers.Conv2D(width, 3, strides=stride, padding="same", **start)
    return [kernels, layers.BatchNormalization(momentum=0.9), layers.ReLU()]


# %% [markdown]
# In front, a layer mirrors half of the training images, by chance: a mirrored tumour is still a tumour. Where images are
# large, the first convolution moves in steps of two pixels.

# %%
keras.utils.set_random_seed(seed)
stride = 2 if image_size >= 48 else 1
network = keras.Sequential([
    layers.Input(data.image_shape), layers.RandomFlip("horizontal", seed=seed),
    *convolution(16, stride), *convolution(16), layers.MaxPooling2D(),
    *convolution(32), *convolution(32), layers.MaxPooling2D(),
    *convolution(64), *convolution(64),
    layers.GlobalAveragePooling2D(), layers.Dense(1, activation="sigmoid"),
])
print(f"{sum(w.numpy().size for w in network.trainable_weights):,} weights to learn")

# %% [markdown]
# (Elsewhere in the course: `medlib.models.build("cnn", ...)`.) The figure shows the size of the maps, and how much of an image one of their numbers sees. The orange
# square is the receptive field ([lesson 06](06_convolution.ipynb)): all that one number of a map can see.

# %% tags=["plumbing"]
shape, sees, jump, weights = data.image_shape, 1, 1, 0
blocks = [("image", shape, None, sees)]
for layer in network.layers:
    weights += sum(w.numpy().size for w in layer.trainable_weights)
    if isinstance(layer, layers.Conv2D):
        sees, jump = sees + 2 * jump, jump * layer.strides[0]
    elif isinstance(layer, layers.MaxPooling2D | layers.GlobalAveragePooling2D):
        blocks.append((f"block {len(blocks)}", shape, weights, sees))
        sees, jump, weights = sees + jump, 2 * jump, 0
    shape = layer.output.shape[1:]
blocks.append(("mean, sigmoid", (1, 1, blocks[-1][1][-1]), weights, image_size))

# %% tags=["plumbing"]
fig, axes = plt.subplots(2, len(blocks), figsize=(8, 3.8), height_ratios=[1.1, 1])
for (name, (height, _, depth), count, sees), above, below in zip(blocks, *axes, strict=True):
    side = 0.25 + 0.55 * height / image_size
    for k in reversed(range(int(np.ceil(1 + np.log2(depth))))):
        above.add_patch(plt.Rectangle((0.05 * k, 0.05 * k), side, side, facecolor=plotting.SKY, edgecolor="white"))
    above.text(side / 2, side / 2, f"{height}²" if height > 1 else "1", ha="center", va="center")
    above.text(0, -0.1, f"{depth} channels" + (f"\n{count:,} weights" if count else ""), va="top")
    above.set(xlim=(0, 1.25), ylim=(-0.55, 1.05), aspect="equal", title=name)
    below.imshow(train.images[shown[1], ..., -1], vmin=window[0], vmax=window[1])
    width = min(sees, image_size)
    square = {"fill": False, "edgecolor": plotting.ORANGE, "linewidth": 2.5}
    below.add_patch(plt.Rectangle([(image_size - width) / 2 - 0.5] * 2, width, width, **square))
    below.set_title(f"sees {sees} px" if sees < image_size else "sees all")
    above.set_axis_off(), below.set_axis_off()
plotting.show(
    fig,
    alt="Diagram of the network: image, three blocks of convolutions whose maps get smaller and whose channels get more, "
    "then the mean of each channel and one sigmoid unit. Below, the receptive field of one number of each.",
)

# %% [markdown]
# Left to right the map shrinks, the channels multiply, and one number sees more of the head. The last layer has 65 weights:
# one for each mean, and a bias. Larger pictures would not need more weights.
#
# ### Training, and watching
#
# A batch of 32 training images gives one **step**: predict, compare by binary cross-entropy, move each weight a little
# against its gradient ([lesson 07](07_learning.ipynb)). Each pass over the training images has its own random order.

# %%
batch = min(32, len(train))
per_pass = len(train) // batch


def batches(seed):
    """Batches without end, a new order of the images in each pass."""
    generator = np.random.default_rng(seed)
    while True:
        order = generator.permutation(len(train))[: batch * per_pass]
        for rows in order.reshape(-1, batch):
            yield train.images[rows], train.labels[rows]


# %% [markdown]
# [AdamW](https://arxiv.org/abs/1711.05101) is the Adam of lesson 07, and also pulls every weight a little towards zero. The
# learning rate rises during the first fifth of the steps and then falls along a cosine, so that the last steps only
# settle what was found.

# %%
looks = min(10, steps)
every = steps // looks  # steps from one look to the next
total, rising = looks * every, looks * every // 5
schedule = keras.optimizers.schedules.CosineDecay
rate = schedule(2e-4, total - rising, warmup_target=4e-3, warmup_steps=rising)
network.compile(keras.optimizers.AdamW(rate), loss="binary_crossentropy")

# %% [markdown]
# Ten times we stop and **look**: the network predicts all validation patients, and no weight changes. (In `fit` the
# steps from one look to the next are called an epoch; here that is not a whole pass.)


# %%
def predict(images):
    """Probability of class 1."""
    return network.predict(images, batch_size=128, verbose=0).ravel()


film = [predict(validation.images)]  # before the first step
look = keras.callbacks.LambdaCallback(
    on_epoch_end=lambda *_: film.append(predict(validation.images))
)
history = network.fit(
    batches(seed), steps_per_epoch=every, epochs=looks, callbacks=[look], verbose=0
).history

# %% [markdown]
# > **Predict** The film shows two histograms: probabilities of the normal and of the tumour slices in validation. Where do
# > they lie before training, and where at the end? Will they part smoothly?

# %% tags=["plumbing"]
from medlib.evaluation import statistics


def two_views(labels, probability, threshold=0.5, title=""):
    """Histograms of the probabilities of both classes; the ROC with the threshold's point."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(7.4, 3.4), width_ratios=[1.5, 1], layout="none")
    fig.subplots_adjust(left=0.09, right=0.98, bottom=0.17, top=0.9, wspace=0.25)
    for k, colour in enumerate((plotting.BLUE, plotting.VERMILION)):
        of_class = probability[labels == k]
        bars = np.histogram(of_class, np.linspace(0, 1, 21))[0] / len(of_class)
        left.bar(np.arange(0.025, 1, 0.05), bars, 0.05, color=colour, alpha=0.6, label=class_names[k])
    left.axvline(threshold, color="black", linewidth=1.5, linestyle=":")
    left.set(xlabel=f"probability of {class_names[1]}", ylabel="share of its class", ylim=(0, 1.25), title=title)
    left.set_yticks(np.linspace(0, 1, 6))
    left.legend(loc="upper center", ncols=2)
    plotting.roc_curve(right, labels, probability, label="")
    mark(right, labels, probability, threshold, "black")
    right.set_title(f"AUC {statistics.area_under_curve(labels == 1, probability):.2f}")
    return fig


# %% tags=["plumbing"]
def mark(ax, labels, probability, threshold, colour):
    """Mark a threshold on a ROC."""
    point = [(probability[labels == k] >= threshold).mean() for k in (0, 1)]
    ax.plot(*point, "o", color=colour, markersize=9)


plotting.show_animation(
    (two_views(validation.labels, p, title=f"validation, step {k * every}") for k, p in enumerate(film)),
    alt="During training the histograms of predicted probabilities of normal and tumour slices of the validation patients, "
    "first on top of each other, jump about and then part to the left and right; the ROC rises to the upper left.",
    milliseconds=600,
)

# %% [markdown]
# Before training all slices get nearly the same probability. In the first looks both classes are thrown
# about together; then they part, and as the learning rate falls the histograms settle. What ends on the wrong side of the dotted line, the threshold 1/2,
# is an error. The black dot marks that threshold on the ROC curve ([lesson 05](05_classical_baseline.ipynb)).

# %% tags=["plumbing"]
losses = [-np.log(np.where(validation.labels == 1, p, 1 - p).clip(1e-7)).mean() for p in film]
fig, (left, right) = plt.subplots(1, 2, figsize=(7.4, 3.4))
at_step = every * np.arange(looks + 1)
some = np.arange(0, total + 1, max(1, every // 2))
left.plot(some, [float(rate(step)) for step in some], color=plotting.GREEN)
left.set(xlabel="step", ylabel="learning rate", title="step size")
right.plot(at_step[1:], history["loss"], marker="o", markersize=4, label="training")
right.plot(at_step, losses, marker="s", markersize=4, label="validation")
right.axhline(np.log(2), color=plotting.GREY, linestyle=":", label="always 1/2")
right.set(xlabel="step", ylabel="cross-entropy", yscale="log", title="loss (logarithmic axis)")
right.set_yticks(ticks := [0.1, 0.2, 0.5, 1, 2, 4], [f"{tick:g}" for tick in ticks], minor=False)
right.set_yticks([], minor=True)
right.set_ylim(min(0.15, *losses, *history["loss"]), max(5, *losses))
right.legend()
plotting.show(
    fig,
    alt="Left: the learning rate rises for a fifth of the steps, then falls along a cosine. Right: loss on training and "
    "validation images at each look; early validation losses jump above that of always answering one half.",
)

# %% tags=["plumbing"]
validation_auc = statistics.auc_interval(validation.labels, film[-1], subjects=validation.subjects)
ledger.record("08/validation_auc", validation_auc.value, parameters, limits=(0, 1), chance=0.5)
ledger.say(
    "The validation loss begins at {first:.2f} (always answering 1/2 costs 0.69), is {worst:.2f} at its worst "
    "and {last:.2f} at the end. The validation AUC at the end is **{validation_auc:.3f}**.",
    first=losses[0], worst=max(losses), last=losses[-1],
)

# %% [markdown]
# The line `08/validation_auc` is the course's ledger: one more training should end in its **99 % band**, made from ten
# seeds. Otherwise this notebook stops.
#
# Early validation losses mislead: the weights move fast, and the running means of batch normalisation lag behind. We keep
# the *last* weights, because the schedule ends where training should end. Picking the best of ten noisy looks, a kind of
# **early stopping**, would make validation look better than it is. (Blue is the mean over the steps before each
# look.) Overfitting would bend the orange curve up, look after look, while the blue
# one falls. A curve that goes flat, or rises once, says that more steps would soon gain nothing.
#
# ### The test, once
#
# All decisions are made: layers, steps, the threshold 1/2, and for screening a second one, the highest that finds 90 % of the tumour
# slices in *validation*. Only now does anything predict the test patients. Sensitivity
# is the share of tumour slices called tumour, specificity the share of normal slices called normal. Slices of one patient
# are alike, so all intervals (95 %) are over patients: for the AUC as in lesson 05, for shares by the method of
# [Saha and others 2016](https://doi.org/10.1515/ijb-2015-0024).

# %%
probability, hand_made = predict(test.images), baseline.decision_function(test.images)
tumour, who = test.labels == 1, test.subjects


def measured(scores, threshold):
    """Results on the test images, each with its 95 % interval over patients."""
    right = (scores >= threshold) == tumour
    return {
        "AUC": statistics.auc_interval(test.labels, scores, subjects=who),
        "accuracy": statistics.proportion_interval(right, subjects=who),
        "sensitivity": statistics.proportion_interval(right[tumour], subjects=who[tumour]),
        "specificity": statistics.proportion_interval(right[~tumour], subjects=who[~tumour]),
    }


# %% [markdown]
# The classical model gives scores, not probabilities: a score of 0 stands for 1/2.

# %%
results = {"classical": measured(hand_made, 0), "first CNN": measured(probability, 0.5)}
pd.DataFrame(results)

# %% [markdown]
# Both models saw the same patients, so much of the luck of easy and hard patients cancels in the *difference* of their AUCs: the paired
# comparison of [lesson 05](05_classical_baseline.ipynb).

# %%
paired = statistics.auc_test(test.labels, probability, hand_made, subjects=who).difference

# %% tags=["plumbing"]
found = results["first CNN"]
ledger.record("08/test_auc", found["AUC"].value, parameters, limits=(0, 1), chance=0.5)
ledger.record("08/test_accuracy", found["accuracy"].value, parameters, limits=(0, 1), chance=0.5)
ledger.record("08/auc_difference", paired.value, parameters, limits=(-1, 1), chance=0)

# %% tags=["plumbing"]
commonest = np.bincount(train.labels).argmax()  # in training
verdict = "It includes zero: these patients cannot tell the two apart"
if paired.low > 0:
    verdict = "It lies above zero: patients like these favour this network"
elif paired.high < 0:
    verdict = "It lies below zero: patients like these favour the classical model"
ledger.say(
    "On {n} slices of {m} test patients the AUC of the network is **{test_auc:.3f}**, that of the classical model "
    "{other:.3f}. The 95 % interval of the difference is {low:.3f} to {high:.3f}. {verdict}. "
    "(Accuracy by always answering the commonest class: {always:.2f}.)",
    n=len(test), m=len(set(who)), other=results["classical"]["AUC"].value, low=paired.low, high=paired.high,
    verdict=verdict, always=np.mean(test.labels == commonest),
)

# %% [markdown]
# The interval knows the luck of the patients, not that of the training: another seed gives another network. (The mean of ten trainings
# stands further down: quote that if you speak of the method.) Lesson 05
# judges over seeds *and* patients whether networks beat hand-made features.
#
# ### One network, many thresholds
#
# Each threshold gives one point of the ROC curve.

# %% tags=["plumbing"]
fig, ax = plt.subplots(figsize=(5, 4.6))
plotting.roc_curve(ax, test.labels, probability, label="first CNN")
plotting.roc_curve(ax, test.labels, hand_made, label="classical")
mark(ax, test.labels, probability, 0.5, plotting.BLUE)
mark(ax, test.labels, hand_made, 0, plotting.VERMILION)  # a score of 0 is a probability of 1/2
ax.plot([], [], "ko", label="threshold 1/2")
ax.legend(loc="lower right")
plotting.show(
    fig,
    alt="Receiver operating characteristics of the CNN and of the classical model on the test patients, each with a dot at "
    "threshold one half, and the diagonal of guessing.",
    save="08_roc",
)

# %% [markdown]
# A screening programme would rather have false alarms than misses. Which point it wants is a *decision*, made on validation
# patients. Move the threshold and watch their dot.

# %% tags=["plumbing"]
import ipywidgets


def with_threshold(threshold):
    """The validation patients, with another threshold."""
    fig = two_views(validation.labels, film[-1], threshold)
    plotting.show(fig, alt="Histograms and ROC of the validation patients at a threshold.")


_ = ipywidgets.interact(with_threshold, threshold=(0.02, 0.98, 0.02))

# %% [markdown]
# **Exercise 08.3: a threshold for a purpose.** Suppose 90 % of the tumour slices must be found. Write a function that
# returns the *highest* threshold $t$ at which at least the share `sensitivity` of the images with label 1 has a
# probability of $t$ or more.
#
# > **Hint** Only images with label 1 matter. Sort their probabilities, highest first: how many must lie at or above
# > the threshold? ([Solution](solutions/08_first_cnn.ipynb))


# %% tags=["exercise"]
def threshold_for(labels, probabilities, sensitivity):
    return ...  # your code here


# %% tags=["solution"]
def threshold_for(labels, probabilities, sensitivity):
    tumours = np.sort(probabilities[labels == 1])[::-1]
    wanted = int(np.ceil(sensitivity * len(tumours)))
    return tumours[wanted - 1]


# %%
check.exercise("08.3", threshold_for)

# %% [markdown]
# The threshold that finds 90 % of the tumour slices in validation now meets the test patients. Do you expect exactly 90 %?

# %% tags=["plumbing"]
ranked = np.sort(film[-1][validation.labels == 1])[::-1]
chosen = ranked[int(np.ceil(0.9 * len(ranked))) - 1]
caught = statistics.proportion_interval(probability[tumour] >= chosen, subjects=who[tumour])
alarms = statistics.proportion_interval(probability[~tumour] >= chosen, subjects=who[~tumour])
ledger.say(
    "Threshold {chosen:.2f}: share of the tumour slices found {caught}, share of the normal slices called tumour {alarms} (test patients, 95 %).",
    chosen=chosen, caught=caught, alarms=alarms,
)

# %% [markdown]
# It finds 90 % in validation by construction; other patients have other tumours. Whoever moves the threshold until the
# *test* shows 90 % has made a decision on the test patients, and has no test left.
#
# ## What is in a gap between two groups
#
# The network has one AUC on validation and another on test. What can make two groups differ? There may be tuning: the number of
# steps and the learning rate were chosen on validation when this lesson was written. There is the luck of one
# training. And there are the patients: how large are their tumours? The **diameter** is the largest extent of a tumour in its
# slice; we cut it where the training tumours fall into about equal thirds.

# %% tags=["plumbing"]
sized = "tumour_diameter_mm" in test.table
cuts, names = [], ["all"]
if sized:
    sizes = train.table["tumour_diameter_mm"][train.labels == 1].astype(float)
    cuts = np.quantile(sizes, [1 / 3, 2 / 3]).round()
    names = [f"under {cuts[0]:.0f} mm", f"{cuts[0]:.0f} to {cuts[1]:.0f} mm", f"over {cuts[1]:.0f} mm"]


def size_group(split):
    """0, 1, 2 for small, middle and large tumours, -1 for images without one."""
    diameter = split.table["tumour_diameter_mm"].astype(float) if sized else np.zeros(len(split))
    return np.where(split.labels == 1, np.digitize(diameter, cuts), -1)


# %% tags=["plumbing", "nbval-check-output"]
def composition(split):
    """Who is in this group of patients."""
    group = size_group(split)
    counts = {"patients": len(set(split.subjects)), "slices": len(split)}
    shares = {name: np.mean(group[group >= 0] == k) for k, name in enumerate(names)}
    return {**counts, "with tumour": np.mean(group >= 0), **shares}


pd.DataFrame([composition(split) for split in groups.values()], index=list(groups)).round(2)

# %% [markdown]
# Half of the slices in every group show a tumour (the **prevalence**), by design. But 43 % of the tumours are under 28 mm in
# validation, and 34 % in test. Which group should be easier? We measure each size apart, against *all* normal slices of the
# same group; `size_group` gives 0, 1 or 2 for a tumour slice and -1 for a normal one.


# %%
def auc_of(split, scores, size):
    """AUC of one size of tumours against all normal slices."""
    rows = np.isin(size_group(split), (size, -1))
    labels, who = split.labels[rows], split.subjects[rows]
    return statistics.auc_interval(labels, scores[rows], subjects=who)


# %% tags=["plumbing"]
by_size = {
    "validation": [auc_of(validation, film[-1], size) for size in range(len(names))],
    "test": [auc_of(test, probability, size) for size in range(len(names))],
}
group = size_group(test)
if sized:
    ledger.record("08/auc_small", by_size["test"][0].value, parameters, limits=(0, 1), chance=0.5)
shares = [
    statistics.proportion_interval(probability[group == k] >= 0.5, subjects=test.subjects[group == k])
    for k in range(len(names))
]

# %% tags=["plumbing"]
fig, (left, right) = plt.subplots(1, 2, figsize=(6.6, 3.3))
drawn = [(right, "validation", by_size["validation"], -0.08, plotting.GREEN, "s")]
drawn += [(right, "test", by_size["test"], 0.08, plotting.BLUE, "o"), (left, "test", shares, 0, plotting.BLUE, "o")]
for ax, name, intervals, shift, colour, marker in drawn:
    values = np.array([i.value for i in intervals])
    ends = [[i.value - i.low for i in intervals], [i.high - i.value for i in intervals]]
    ax.errorbar(np.arange(len(names)) + shift, values, yerr=ends, fmt=marker, capsize=5, color=colour, label=name)
for ax, title in ((left, "test: sensitivity at 1/2"), (right, "AUC")):
    ax.set_xticks(range(len(names)), [name.removesuffix(" mm") for name in names])
    ax.set(title=title, ylim=(0 if ax is left else min(0.5, ax.dataLim.y0 - 0.02), 1.02), xlim=(-0.5, len(names) - 0.5))
    ax.set_xlabel("tumour diameter in the slice, mm")
for row, (name, colour) in enumerate({"■ validation": plotting.GREEN, "● test": plotting.BLUE}.items()):
    right.text(0.97, 0.14 - 0.09 * row, name, color=colour, ha="right", transform=right.transAxes)
plotting.show(
    fig,
    alt="Sensitivity at threshold one half on test patients, and AUC on validation and test patients, for small, middle and "
    "large tumours, with 95 % intervals over patients.",
    save="08_sensitivity",
)

# %% [markdown]
# The bars are 95 % intervals. The small tumours are the hard ones, in both groups. This is the **spectrum effect** ([Ransohoff and Feinstein
# 1978](https://doi.org/10.1056/NEJM197810262991705)): a *diagnostic* test looks better where the disease
# is more advanced. So the test patients should be a little easier.
#
# The classical model meets the same two groups of patients. The interval of the gap comes from the two intervals ([Zou and
# Donner 2008](https://doi.org/10.1002/sim.3095)), because no patient is in both groups.


# %% tags=["plumbing"]
def explained(on_validation, on_test):
    """Both AUCs of a model, and their gap with its 95 % interval."""
    v = statistics.auc_interval(validation.labels, on_validation, subjects=validation.subjects)
    t = statistics.auc_interval(test.labels, on_test, subjects=who)
    value = t.value - v.value
    low = value - np.hypot(t.value - t.low, v.high - v.value)
    high = value + np.hypot(t.high - t.value, v.value - v.low)
    gap = statistics.Interval(value, low, high, v.n + t.n)
    return {"validation": v, "test": t, "test - validation": gap}


gaps = {"first CNN": explained(film[-1], probability)}
gaps["classical"] = explained(baseline.decision_function(validation.images), hand_made)
pd.DataFrame(gaps)

# %% tags=["plumbing"]
cnn = gaps["first CNN"]["test - validation"]
zero = "includes zero: two draws of patients from one and the same population would often differ as much"
if not cnn.low <= 0 <= cnn.high:
    zero = "does not include zero: chance in drawing patients alone would seldom give it"
ledger.say("The interval of the network's gap {zero}.", zero=zero)
bands = [ledger.bands().get(f"08/{name}_auc") for name in ("validation", "test")]
if all(bands) and simulated:
    ledger.say(
        "Over {n} trainings the AUC has mean {v:.3f} (SD {v_sd:.3f}) on validation and {t:.3f} (SD {t_sd:.3f}) on test.",
        n=bands[0].n, v=bands[0].mean, v_sd=bands[0].sd, t=bands[1].mean, t_sd=bands[1].sd,
    )

# %% [markdown]
# Judged by size alone, the test should be easier; yet this network did no better there. The right-hand panel shows it at the *small*
# tumours, but the two intervals overlap widely: this may be chance.
#
# Go through the suspects. **Training**: another seed gives another gap; averaged over ten, the two AUCs are nearly equal.
# **Tuning**: that leaves little room for it. **Patients**: the classical model has no seed, and still its AUC is higher on test; but
# the interval of its gap includes zero, too: 90 patients are few. So a gap can appear without leak or overfitting. **Never read an AUC without asking who was in the group, and how many.**
#
# ## What it misses
#
# Here are the network's worst errors on the test patients, at most one slice per patient, shuffled: four tumours with the
# lowest probability, and four normal slices with the highest.
#
# > **Predict** Which four have a tumour?

# %% tags=["plumbing"]
def worst(label, sign):
    """Four slices of this label, of different patients, with the most extreme probabilities."""
    order = np.argsort(sign * probability, kind="stable")
    order = order[test.labels[order] == label]
    return order[np.sort(np.unique(test.subjects[order], return_index=True)[1])[:4]]


missed, alarms = worst(1, 1), worst(0, -1)
mixed = np.random.default_rng(3).permutation(np.concatenate([missed, alarms]))
letter = dict(zip(mixed, "ABCDEFGH", strict=False))
fig = plotting.image_grid(test.images[mixed][..., -1], titles=[letter[row] for row in mixed], window=window)
plotting.show(fig, alt=f"Eight test slices A to H, {channels[-1]}, without outlines.")

# %% [markdown]
# Write your four letters down. Now with outlines, and with the probability $p$ that the network gave.

# %% tags=["plumbing"]
rows = np.concatenate([missed, alarms])
fig = plotting.image_grid(
    test.images[rows][..., -1],
    titles=[f"{letter[row]}: {class_names[test.labels[row]]}\np = {probability[row]:.2f}" for row in rows],
    window=window,
)
for ax, row in zip(fig.axes, rows, strict=False):
    if test.masks is not None:
        plotting.outline(ax, test.masks[row])
plotting.show(
    fig,
    alt="Above: the four tumours with the lowest probability, outlined. Below: the four normal slices with the highest.",
    save="08_errors",
)

# %% [markdown]
# The missed tumours are small or faint, and most lie at the dark ventricles or at the rim; the false alarms have many spots, or some that
# run together. If you did not get all eight right, you see how hard they are, though the network also had T1 and T2.
# That does not make its errors harmless.
#
# ## Keep it, and use it
#
# A `.keras` file holds [layers, weights and the state of the optimiser](https://keras.io/api/models/model_saving_apis/). It does
# not hold what was done to an image *before*: how it came to its size, which contrast is which
# channel, the division by 255; nor the names of the classes. So we keep both, in a **run folder**: folded cells write the second part, as `medlib train` does.

# %%
from pathlib import Path

run = Path("first_cnn/run")
run.mkdir(parents=True, exist_ok=True)
network.save(run / "model.keras")

# %% tags=["plumbing"]
from dataclasses import asdict

from medlib import runfiles
from medlib.datasets.structure import image_hashes
from medlib.evaluation import classification

config = runfiles.Config(
    task="classify", model="cnn", folds=1, seeds=1, seed=seed, class_names=list(class_names),
    training={"epochs": total // per_pass, "batch_size": batch, "learning_rate": 4e-3, "augmentation": {}},
    channel_names=list(channels), image_shape=list(data.image_shape),
    merge=None, classes=None, positive=None, window=None,
    data={"source": str(dataset), "name": data.name, "images": len(train), "split_seed": 0, "fingerprint": "",
          "commonest_class": class_names[commonest], "licence": data.licence, "citation": data.citation,
          "card": data.card},
)
runfiles.write_json(run / runfiles.CONFIG, asdict(config))

# %% tags=["plumbing"]
report = classification.report(test.labels, probability, class_names, subjects=test.subjects, majority=commonest)
runfiles.write_json(run / runfiles.METRICS, {
    "measured_on": f"the {len(test)} test images of {data.name}", "metrics": report.to_dict("records"),
    "networks": [report["value"][0]], "classical": None, "difference": None, "external": {},
})
trained_on = {"split": "train", "subject": train.subjects, "hash": image_hashes(train.images)}
runfiles.write_table(run / runfiles.SPLITS, pd.DataFrame(trained_on))

# %% [markdown]
# New images come as files. A folded cell writes the test slices into a folder: PNG files (T1, T2 and FLAIR as red, green and
# blue) and one table.

# %% tags=["plumbing"]
from PIL import Image

delivery = Path("first_cnn/delivery")  # in the folder this notebook runs in; it stays there
delivery.mkdir(exist_ok=True)
table = pd.DataFrame({
    "image": [f"scan_{number}.png" for number in range(len(test))],
    "label": np.array(class_names)[test.labels],
    "subject": test.subjects,
})
for name, image in zip(table["image"], test.images, strict=True):
    Image.fromarray((image * 255).round().astype("uint8").squeeze()).save(delivery / name)
table.to_csv(delivery / "labels.csv", index=False)
table.head(3)

# %% [markdown]
# One row holds all there is to know about an image, so defect 5 cannot happen. `medlib predict` knows nothing of this
# notebook: it reads the run folder. In a terminal: `medlib predict first_cnn/run first_cnn/delivery/scan_0.png --out
# first_cnn/answers.csv`. Here it gets six files.

# %%
from medlib import cli

new = table.iloc[:: max(1, len(table) // 6)].head(6)
cli.predict(run, [delivery / name for name in new["image"]], out="first_cnn/answers.csv")

# %% [markdown]
# Its answers should be those of this notebook. The last column shows what one forgotten step does, the division by 255.

# %%
answers = pd.read_csv("first_cnn/answers.csv")
pd.DataFrame({
    "true": new["label"].to_numpy(),
    "medlib predict": answers.iloc[:, -1].to_numpy(),
    "this notebook": probability[new.index],
    "not divided by 255": predict(test.images[new.index] * 255),
}, index=new["image"]).round(3)

# %% [markdown]
# The two middle columns agree. In the last one the images were not divided by 255. Every
# answer is a sure one, right or wrong, and nothing warns: preprocessing belongs
# to the model. The folder `first_cnn` stays beside this notebook; `medlib train` makes one from your own images.
#
# **In this lesson we**
#
# - saw that code can run without learning, and report success;
# - built a network that needs no more weights for larger pictures, and watched two classes part;
# - tested it once, on new patients, with 95 % intervals over patients, next to two baselines;
# - asked what a gap between validation and test is made of;
# - saw which tumours it misses, and kept network and preprocessing together.
#
# `simbrain` is a simulation from one anatomical template. It can compare methods; it cannot show how any of them does with
# real patients, other scanners or other diseases. Nothing here is a medical device.
#
# **Next** comes lesson 09, recurrent networks, which read the slices of a patient one after the other. Until it is written,
# read the study of [lesson 05](05_classical_baseline.ipynb) again: you now know its networks.
#
# **References**
#
# - M. Roberts and others: Common pitfalls and recommendations for using machine learning to detect and prognosticate for
#   COVID-19 using chest radiographs and CT scans, *Nature Machine Intelligence* 3 (2021), [doi:10.1038/s42256-021-00307-0](https://doi.org/10.1038/s42256-021-00307-0).
# - S. Ioffe, C. Szegedy: Batch normalization, *ICML* 2015, [arXiv:1502.03167](https://arxiv.org/abs/1502.03167).
# - I. Loshchilov, F. Hutter: Decoupled weight decay regularization (AdamW), *ICLR* 2019, [arXiv:1711.05101](https://arxiv.org/abs/1711.05101).
# - K. K. Saha, D. Miller, S. Wang: A comparison of some approximate confidence intervals for a single proportion for clustered binary outcome data,
#   *International Journal of Biostatistics* 12 (2016), [doi:10.1515/ijb-2015-0024](https://doi.org/10.1515/ijb-2015-0024).
# - D. F. Ransohoff, A. R. Feinstein: Problems of spectrum and bias in evaluating the efficacy of diagnostic tests, *New
#   England Journal of Medicine* 299 (1978) 926-930,
#   [doi:10.1056/NEJM197810262991705](https://doi.org/10.1056/NEJM197810262991705).
# - G. Y. Zou, A. Donner: Construction of confidence limits about effect measures: a general approach, *Statistics in
#   Medicine* 27 (2008) 1693-1702, [doi:10.1002/sim.3095](https://doi.org/10.1002/sim.3095).

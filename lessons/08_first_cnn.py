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
# A radiologist looks at a brain scan and asks first: is there something that should not be there?
# Can a small **convolutional neural network** (CNN) learn to answer that from labelled slices? And how
# would we know that it did? The second question is the harder one. Code that trains a network is short,
# is copied from tutorial to tutorial, and often runs without measuring anything. So we begin with such
# a piece of code, and with its mistakes.
#
# **You will**
#
# - find the defects in a typical tutorial listing, and show what each one does;
# - read images and labels from files and a CSV so that they cannot get mixed up;
# - build and train a CNN, and watch it on validation patients;
# - measure it once on test patients, with intervals, next to two simple baselines;
# - look at what it misses, save it, load it and use it on new images.
#
# **Reading:** about 40 min · **running:** about 45 s · **builds on:** 02 (splitting by patient), 03 (baseline, AUC),
# 04 (convolution, sigmoid, cross-entropy)

# %% tags=["install"]
import medlib

# %% tags=["parameters"]
dataset = "simbrain"  # or "breastmnist", "pneumoniamnist", or the path of your own CSV or folder
image_size = None  # pixels; None: the set's own, 64 for simbrain. Tutorials use 224, twelve times as many pixels
steps = 260  # changes of the weights, 32 images each; a small set is passed more often
seed = 0  # of the initial weights and of the order of the images

# %%
parameters = {"dataset": dataset, "image_size": image_size, "steps": steps, "seed": seed}

# %% [markdown]
# ## A listing to distrust
#
# The following is not taken from one place. It gathers what is found in many tutorials, all in one
# listing. Read it as a reviewer would. We count **seven** kinds of defect; you may find more. Write yours
# down before you read on.
#
# ```python
# import os, keras
# from keras import layers
#
# model = keras.Sequential([
#     layers.Input((224, 224, 3)),
#     layers.Conv2D(32, 3, activation="relu"), layers.MaxPooling2D(),
#     layers.Conv2D(64, 3, activation="relu"), layers.MaxPooling2D(),
#     layers.Conv2D(128, 3, activation="relu"), layers.MaxPooling2D(),
#     layers.Flatten(),
#     layers.Dense(128, activation="relu"),
#     layers.Dense(1, activation="softmax"),
# ])
# model.compile(optimizer="adam", loss="categorical_crossentropy", metrics=["accuracy"])
#
# labels = [int(line) for line in open("labels.txt")]         # in the order of the patients
# image = keras.utils.load_image("brain_1.png")               # the picture as an array
# model.fit("brain_1.png", labels[0], epochs=10)              # train on the picture
# print(model.evaluate(image, labels[0]))                     # how good is it?
#
# for name, label in zip(os.listdir("images"), labels):       # then on the other ones
#     ...
# ```
#
# We take the defects in the order in which they would cost you time.

# %%
from medlib import training

training.set_seed(seed)  # imports Keras quietly, then seeds Python, NumPy and TensorFlow
import keras
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from keras import layers

from coursekit import ledger
from medlib import datasets, plotting

plotting.use_style()

# %% [markdown]
# ### 1. A function that does not exist
#
# The kindest defect: it stops at once. Tutorials outlive the library they were written for, and some
# name functions that never existed. Ask the library, not the tutorial.

# %% tags=["nbval-check-output"]
for name in ("load_image", "load_img", "img_to_array"):
    print(f"keras.utils.{name}: {'exists' if hasattr(keras.utils, name) else 'does not exist'}")

# %% [markdown]
# ### 2. A file name where an array belongs
#
# `fit` wants numbers. What does it say to a string?

# %% tags=["nbval-check-output"]
tiny = keras.Sequential([layers.Input((8, 8, 3)), layers.Flatten(), layers.Dense(1)])
tiny.compile(loss="mse")
try:
    tiny.fit("brain_1.png", np.array([1]), verbose=0)
except Exception as error:
    print(type(error).__name__)

# %% [markdown]
# An error again. Somebody has to read the file into an array; below we do.
#
# ### 3. Softmax over one unit
#
# From here on nothing stops: the code runs, and is wrong. A dense layer gives one score for each of its
# **units**; the last layer of the listing has one unit. Softmax (lesson 04) turns $K$ scores into
# probabilities $p_1, \dots, p_K$ that add up to one.
#
# > **Predict** What is $p_1$ when there is only one unit, $K = 1$? Does it depend on the image?

# %% tags=["nbval-check-output"]
scores = np.array([[-100.0], [0.0], [3.7]])  # three images, one unit
print(np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True))

# %% [markdown]
# $e^{z} / e^{z} = 1$, for every image, whatever the weights. A network that ends like this has given
# its answer before it has seen a pixel. (Keras 3 prints a warning about it; a log is easily overlooked.)
#
# ### 4. The loss that never moves
#
# Categorical cross-entropy (lesson 04) is $-\sum_k y_k \log p_k$, with $y_k = 1$ for the true class and 0
# otherwise. With one unit that is $-y_1 \log 1 = 0$: for a healthy slice as well as for a tumour.
#
# > **Predict** The next cell trains the listing's network for three epochs on random pictures, half of
# > them with label 1. What accuracy will it report? And how far will the weights move?

# %%
rng = np.random.default_rng(seed)
noise = rng.random((64, 32, 32, 3), dtype="float32")
noise_labels = np.repeat([0, 1], 32)


def listing_network(size):
    """The listing's layers, at another image size."""
    blocks = []
    for width in (32, 64, 128):
        blocks += [layers.Conv2D(width, 3, activation="relu"), layers.MaxPooling2D()]
    dense = [layers.Flatten(), layers.Dense(128, activation="relu")]
    return keras.Sequential(
        [layers.Input((size, size, 3)), *blocks, *dense, layers.Dense(1, activation="softmax")]
    )


# %%
import warnings

defective = listing_network(32)
defective.compile("adam", loss="categorical_crossentropy", metrics=["accuracy"])
before = [weight.copy() for weight in defective.get_weights()]
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Keras does warn about this one
    history = defective.fit(noise, noise_labels[:, None], epochs=3, verbose=0).history
moved = max(np.abs(a - b).max() for a, b in zip(before, defective.get_weights(), strict=True))

# %% tags=["nbval-check-output"]
print("loss after each epoch:    ", np.abs(np.round(history["loss"], 5)))
print("accuracy after each epoch:", np.round(history["accuracy"], 3))
print("largest change of any weight:", moved)

# %% [markdown]
# The loss is zero from the start, so its gradient is zero, so no weight ever moves. And the accuracy is
# simply the share of label 1: the network calls everything a tumour. With nine tumours in ten images the
# listing would report 90 % and look like a success.
#
# The repair for two classes is one unit with sigmoid and binary cross-entropy (lesson 04).
#
# ### 5. Labels never matched to images
#
# The listing takes images in the order of `os.listdir` and labels in the order of a text file. Directory
# listings come in arbitrary order; sorted ones sort as text, so that `brain_10` stands before
# `brain_2`. Here are twenty files, the first ten healthy, the last ten with a tumour.
#
# > **Predict** After sorting as text, how many of the twenty images get the wrong label?

# %% tags=["nbval-check-output"]
files = [f"brain_{number}.png" for number in range(1, 21)]
truth = {file: int(number > 10) for number, file in enumerate(files, start=1)}
given = dict(zip(sorted(files), truth.values(), strict=True))  # what the listing would do
wrong = [file for file in files if given[file] != truth[file]]
print(f"{len(wrong)} of {len(files)} labels are wrong: {', '.join(wrong[:4])} ...")

# %% [markdown]
# No error, no warning, and a network that learns to be wrong. The rule: **a label travels in the same row
# as its image's file name**, and nothing depends on the order of files.
#
# ### 6. One picture as a data set, and 7. tested on what it was trained on
#
# `fit` on one picture works. So does `evaluate` on the same picture, and its answer is perfect. We repair
# defects 3 and 4, train on one picture, and look at the accuracy on that picture and on others.

# %%
one_picture = keras.Sequential(
    [*listing_network(32).layers[:-1], layers.Dense(1, activation="sigmoid")]
)
one_picture.compile("adam", loss="binary_crossentropy", metrics=["accuracy"])
one_picture.fit(noise[:1], noise_labels[:1], epochs=10, verbose=0)
_, seen = one_picture.evaluate(noise[:1], noise_labels[:1], verbose=0)
_, unseen = one_picture.evaluate(noise[1:], noise_labels[1:], verbose=0)
answers = np.unique(one_picture.predict(noise, verbose=0) >= 0.5)

# %%
ledger.say(
    "Accuracy on the picture it was trained on: **{seen:.0%}**. On the {n} others, which are pure "
    "noise: {unseen:.0%}. Over all {all} pictures it gives {kinds} kind{s} of answer.",
    seen=seen,
    unseen=unseen,
    n=len(noise) - 1,
    all=len(noise),
    kinds=len(answers),
    s="" if len(answers) == 1 else "s",
)

# %% [markdown]
# A number measured on the images a model was trained on says how well it remembers, not how well it
# will do on the next patient. We need three groups of *patients*: **training** (weights are fitted),
# **validation** (decisions are made), **test** (the final number, once).
#
# ## The same task, done right
#
# ### Images and labels from files and a CSV
#
# The data set is `simbrain`, unless you chose another one above: simulated MR slices of virtual
# patients. A number measured on it says something about methods, nothing about hospitals. Its test patients are
# this lesson's own: they are drawn anew here, so that nobody has met them in another lesson.

# %%
from dataclasses import replace

from medlib.datasets.simbrain import new_patients

data = datasets.resolve(dataset, image_size=image_size, strict=True)
image_size = parameters["image_size"] = data.image_shape[0]
assert len(data.class_names) == 2, f"this lesson needs two classes, not {data.class_names}"
if data.name == "simbrain":
    data = replace(data, test=new_patients(seed=20305, image_size=image_size))
data.summary()

# %% [markdown]
# Real data comes as files. So we write the test images as a hospital's research archive might give them to us, PNG files
# and one CSV, and forget where they came from. (Channels T1, T2 and FLAIR become red, green and blue.) One row of the
# table holds everything about one image: file, label, patient.

# %%
import tempfile
from pathlib import Path

from PIL import Image

folder = Path(tempfile.mkdtemp(prefix="first_cnn_"))
train, validation, written = data.train, data.validation, data.test
class_names, channels = data.class_names, data.channel_names
more = [c for c in ("tumour_diameter_mm",) if c in written.table]

# %%
rows = []
for number, image in enumerate(written.images):
    name = f"scan_{number}.png"
    Image.fromarray((image * 255).round().astype("uint8").squeeze()).save(folder / name)
    label = class_names[written.labels[number]]
    rows.append({"image": name, "label": label, "subject": written.subjects[number]})
    rows[-1] |= {column: written.table[column][number] for column in more}
table = pd.DataFrame(rows)
table.to_csv(folder / "labels.csv", index=False)
table.head(3)

# %% [markdown]
# Reading one row back by hand takes three lines: open the file, make it an array of numbers in [0, 1],
# take the label *from the same row*.

# %% tags=["nbval-check-output"]
row = table.iloc[0]
pixels = np.asarray(Image.open(folder / row["image"]), dtype="float32") / 255
print(row["image"], row["label"], pixels.shape, pixels.dtype)
half_a_level = 0.5 / 255 + 1e-6
same = bool(np.abs(pixels - written.images[0].squeeze()).max() <= half_a_level)
print("equal to what was written, to half a grey level:", same)

# %% [markdown]
# `datasets.read_folder` does this for every row, and refuses what must not happen: a missing or broken file, an unknown
# label, a table that names an image twice. From here on the files are our test set. Of the simulation we keep only
# the outlines of the tumours, to look at later.

# %%
delivery = datasets.read_folder(
    folder / "labels.csv",
    image_size=image_size,
    positive=class_names[1],
    channels=len(channels),
)
test, test_masks = delivery.all, written.masks
shared = set(train.subjects) & set(validation.subjects)
shared |= set(test.subjects) & (set(train.subjects) | set(validation.subjects))
print(f"{len(train)} training, {len(validation)} validation, {len(test)} test images")
print(f"patients in more than one split: {len(shared)}")

# %% [markdown]
# ### What one image looks like
#
# The grey values are signal in arbitrary units, scaled to [0, 1] and shown with one window. The outline
# is the simulation's ground truth; the network will never see it. Bright spots outside it, where FLAIR shows
# any, are no tumours. The forehead is at the top, the patient's right on the left.

# %%
example = int(np.flatnonzero(train.labels == 1)[0])
fig = plotting.image_grid(
    np.moveaxis(train.images[example], -1, 0), titles=list(channels), columns=3
)
if train.masks is not None:
    for ax in fig.axes[: len(channels)]:
        plotting.outline(ax, train.masks[example])
plotting.show(
    fig,
    alt=f"One training image of class {class_names[1]}, channel by channel "
    f"({', '.join(channels)}), with the outline of the tumour where the data set has one.",
)

# %% [markdown]
# ### The baselines first
#
# Before training anything, two opponents that a network must beat. One always answers the commonest class.
# The other is a **classical model**: logistic regression on percentiles of the grey values and measures of
# texture (lesson 03). We keep its scores for later and do not look at the test result yet.

# %%
from medlib.models import classical

baseline = classical.build_classical().fit(train.images, train.labels)
baseline_scores = baseline.decision_function(test.images)
baseline_answers = baseline.predict(test.images)

# %% [markdown]
# ### The network
#
# The listing's layers can be repaired: one unit with sigmoid at the end, and they learn. But look at where their
# weights are. The last feature map is laid out as one long row (*flatten*), and a dense layer gives each of its 128
# units a weight for every number in that row, and a bias.
#
# > **Predict** A picture of 224 x 224 pixels has twelve times as many pixels as one of 64 x 64. How many times as many
# > weights does this layer have for it?

# %% tags=["nbval-check-output"]
for size in (64, 224):
    side = size
    for _ in range(3):
        side = (side - 2) // 2  # a convolution without padding, then pooling
    print(f"{size:3d} px: {(side**2 * 128 + 1) * 128:>10,} weights in the first dense layer")

# %% [markdown]
# Nearly nineteen times as many: eleven million weights for a few hundred patients, each tied to one *place* in the picture.
# But a tumour may sit anywhere. So our network is built differently (convolutions and pooling: LeCun and others 1998):
#
# - three blocks of two convolutions, 16, 32 and 64 channels wide; the first convolution moves in steps of two pixels
#   (its **stride**) where pictures are large, and max pooling halves the map between blocks;
# - after each convolution **batch normalisation**: over the images of a batch, each channel is standardised, then scaled
#   and shifted by two learnt numbers. For prediction it uses running means of what it saw in training. It keeps the
#   numbers in a deep network in a range in which they can learn (Ioffe and Szegedy 2015; lesson 12);
# - at the end **global average pooling**: the mean of each channel over all places. 64 numbers are left, whatever the size
#   of the picture, and the last layer has 65 weights;
# - in front a layer that mirrors each training image left to right or not, by chance: a mirrored tumour is still a
#   tumour. In prediction it does nothing.
#
# This is the only place in the course where this network is written out; elsewhere, as in lesson 03, it is
# `medlib.models.build("cnn", ...)`.


# %%
def convolution(channels, stride=1):
    """Convolution, batch normalisation, ReLU."""
    settings = {"strides": stride, "padding": "same", "use_bias": False}
    return [
        layers.Conv2D(channels, 3, kernel_initializer="he_normal", **settings),
        layers.BatchNormalization(momentum=0.9),
        layers.ReLU(),
    ]


# %%
keras.utils.set_random_seed(seed)
first = 2 if image_size >= 48 else 1  # stride of the first convolution
network = keras.Sequential(
    [
        layers.Input(data.image_shape),
        layers.RandomFlip("horizontal", seed=seed),
        *convolution(16, first),
        *convolution(16),
        layers.MaxPooling2D(),
        *convolution(32),
        *convolution(32),
        layers.MaxPooling2D(),
        *convolution(64),
        *convolution(64),
        layers.GlobalAveragePooling2D(),
        layers.Dense(1, activation="sigmoid"),
    ]
)

# %%
shapes = pd.DataFrame(
    [(layer.name, str(layer.output.shape[1:]), layer.count_params()) for layer in network.layers],
    columns=["layer", "output shape", "weights"],
)
shapes[shapes["weights"].gt(0) & ~shapes["layer"].str.contains("normalization")]

# %%
print(f"{network.count_params():,} weights, those of the batch normalisations included")

# %% [markdown]
# Follow the output shape: the map gets smaller, the channels get more. The *weights* no longer depend on the size of the
# picture. (In exercise 05.2 you count them yourself.)
#
# ### Training, with validation
#
# A **batch** of 32 training images gives one step: predict, compare with the labels by binary cross-entropy, move each
# weight a little against its gradient. The **optimiser**, the rule that turns gradients into changes of the weights, is
# AdamW (Loshchilov and Hutter 2019), which gives each weight a
# step size of its own (lesson 12). The overall step size, the **learning rate** $\eta$, rises during the first fifth of
# all $T$ steps, because the first gradients are those of random weights; then it falls along a cosine,
#
# $$\eta_t = \tfrac{1}{2}\, \eta_{\max} \Big( 1 + \cos \frac{\pi\, (t - w)}{T - w} \Big), \qquad t \ge w = T / 5,$$
#
# so that the last steps only settle what was found.

# %%
batch = min(32, len(train))
steps_per_epoch = len(train) // batch
epochs = max(1, round(steps / steps_per_epoch))
total, rising = epochs * steps_per_epoch, epochs * steps_per_epoch // 5
rate = keras.optimizers.schedules.CosineDecay(
    2e-4, total - rising, warmup_target=4e-3, warmup_steps=rising
)
network.compile(
    optimizer=keras.optimizers.AdamW(rate),
    loss="binary_crossentropy",
    metrics=[keras.metrics.AUC(name="auc")],
)
print(f"{epochs} epochs of {steps_per_epoch} steps")

# %% [markdown]
# One pass over the training images is an **epoch**. Each has the images in a new random order, and cuts it into batches:


# %%
def batches(seed):
    """Batches without end, a new order of the images in each epoch."""
    generator = np.random.default_rng(seed)
    while True:
        order = generator.permutation(len(train))[: batch * steps_per_epoch]
        for rows in order.reshape(-1, batch):
            yield train.images[rows], train.labels[rows]


# %% [markdown]
# After each epoch, loss and AUC are measured on the validation patients. (The AUC, lesson 03, is the probability that a
# random image of class 1 gets a higher score than a random one of class 0.)
#
# > **Predict** A network that always answers 1/2 has a loss of $-\log \tfrac12 = 0.693$. Where will the validation loss
# > stand after the first epoch, while the learning rate is at its height?

# %%
tell = keras.callbacks.LambdaCallback(
    on_epoch_end=lambda epoch, logs: print(
        f"epoch {epoch + 1:2d}   training loss {logs['loss']:.3f}   "
        f"validation loss {logs['val_loss']:.3f}   validation AUC {logs['val_auc']:.3f}"
    )
)
history = network.fit(
    batches(seed),
    steps_per_epoch=steps_per_epoch,
    epochs=epochs,
    shuffle=False,  # `batches` does it
    verbose=0,
    validation_data=(validation.images, validation.labels),
    callbacks=[tell],
).history

# %%
fig, axes = plt.subplots(1, 2, figsize=(8, 3.2))
epoch_numbers = np.arange(1, len(history["loss"]) + 1)
for ax, quantity in zip(axes, ("loss", "auc"), strict=True):
    ax.plot(epoch_numbers, history[quantity], marker="o", label="training")
    ax.plot(epoch_numbers, history[f"val_{quantity}"], marker="s", label="validation")
    ax.set(xlabel="epoch", xticks=epoch_numbers[:: max(1, epochs // 6)])
axes[0].axhline(np.log(2), color=plotting.GREY, linestyle=":", label="always 1/2")
axes[0].set(ylabel="binary cross-entropy", ylim=(0, None))
axes[0].legend()
axes[1].set(ylabel="AUC")
plotting.show(
    fig,
    alt="Loss and AUC on training and validation data after each epoch, with a dotted line at the "
    "loss of a network that always answers one half.",
)

# %%
ledger.record("08/validation_auc", history["val_auc"][-1], parameters, limits=(0, 1), chance=0.5)
ledger.say(
    "After the first epoch the validation loss is {first:.2f} (always 1/2 would cost 0.69), after the last {last:.2f}, with "
    "an AUC of **{validation_auc:.3f}** on the validation patients.",
    first=history["val_loss"][0],
    last=history["val_loss"][-1],
)

# %% [markdown]
# A validation loss far above guessing after the first epoch need not mean that nothing was learnt. A likely reason (we have
# not tested it): in prediction, batch normalisation uses running means, and these lag behind where the weights change
# fastest. So the validation loss of one early epoch can mislead. At the end, with small steps, it settles. That is why the
# weights of the *last* epoch are kept, and none is picked: the schedule ends where the training should end. Where the
# learning rate does not fall, one picks the epoch with the best validation AUC instead (**early stopping**), and pays for
# it: a maximum over noisy numbers looks better than it is. Watch for validation getting worse while training gets better:
# that would be **overfitting**.
#
# Nothing is chosen on validation in this lesson. Learning rate and number of steps were, when it was written.
#
# ### The test set, once
#
# All decisions are made: architecture (which layers), training, **threshold** 0.5 (from
# this probability on an image is called tumour). Only now does the network predict the
# test patients. Several slices belong to one patient and are more alike than slices of different patients, so the
# intervals count patients. For the AUC the errors of one patient's slices go together (Obuchowski 1997); for shares, such
# as accuracy, the slices count as fewer, independent ones (Korn and Graubard 1998).
#
# **Sensitivity** is the share of tumour images called tumour, **specificity** the share of normal images called
# normal, **balanced accuracy** the mean of the two. *Majority-class accuracy* is what the commonest class, always
# given, would score.

# %%
from medlib.evaluation import classification

probability = network.predict(test.images, batch_size=128, verbose=0).ravel()
majority = int(np.bincount(train.labels).argmax())  # commonest in training
report = classification.report(
    test.labels, probability, class_names, subjects=test.subjects, majority=majority
)
report.round(3)

# %% [markdown]
# Each row gives the estimate, the ends of its 95 % interval, and the number of images it rests on. A
# number alone says little, so the two baselines stand beside it, measured on the same images.

# %%
from medlib.evaluation import statistics


def auc(labels, scores):
    """Area under the receiver operating characteristic."""
    return statistics.area_under_curve(labels == 1, scores)


def accuracy(labels, answers):
    """Share of right answers."""
    return float(np.mean(labels == answers))


# %%
def auc_on_test(scores):
    """AUC on the test images, with an interval over patients."""
    return statistics.auc_interval(test.labels, scores, subjects=test.subjects)


def accuracy_on_test(answers):
    """Accuracy on the test images, with an interval over patients."""
    return statistics.proportion_interval(answers == test.labels, subjects=test.subjects)


# %%
commonest = np.full(len(test), majority)
answers = (probability >= 0.5).astype(int)
comparison = pd.DataFrame(
    {
        "AUC [95 %]": ["0.5 always", auc_on_test(baseline_scores), auc_on_test(probability)],
        "accuracy [95 %]": [accuracy_on_test(a) for a in (commonest, baseline_answers, answers)],
    },
    index=["commonest class", "classical", "first CNN"],
)
comparison

# %% [markdown]
# Lesson 03 gave another number for the same classical model: its test patients were others. That is the luck which an
# interval over patients describes.
#
# Each threshold gives one point of the next figure, the receiver operating characteristic (**ROC**): the share of
# tumours found (up) against the share of normal images called tumour (right). A curve nearer the upper left corner
# is better; the AUC is the area under it. If two curves cross, neither is better at every share of false alarms.

# %%
fig, ax = plt.subplots(figsize=(4.6, 4.4))
plotting.roc_curve(ax, test.labels, probability, label="first CNN")
plotting.roc_curve(ax, test.labels, baseline_scores, label="classical")
ax.legend(loc="lower right")
plotting.show(
    fig,
    alt="Receiver operating characteristics of the CNN and of the classical model on "
    "the test images, with the diagonal of guessing.",
    save="08_roc",
)

# %% [markdown]
# Is the difference between the two curves larger than chance? Both models saw the same patients, so cases that are easy
# for both cancel out in the *difference*: a **paired** comparison (DeLong, DeLong and Clarke-Pearson 1988), again with
# the images of a patient taken together.

# %%
difference = statistics.auc_test(
    test.labels, probability, baseline_scores, subjects=test.subjects
).difference
ledger.record("08/test_auc", auc(test.labels, probability), parameters, limits=(0, 1), chance=0.5)
ledger.record(
    "08/test_accuracy", accuracy(test.labels, answers), parameters, limits=(0, 1), chance=0.5
)
ledger.record("08/auc_difference", difference.value, parameters, limits=(-1, 1), chance=0)

# %%
verdict = "includes zero: these patients cannot tell the two apart"
if difference.low > 0:
    verdict = "lies above zero: on patients like these this network is the better one"
elif difference.high < 0:
    verdict = "lies below zero: on patients like these the classical model is the better one"
ledger.say(
    "On {n} images of {m} test patients the network reaches an AUC of **{test_auc:.3f}**, the classical "
    "model {classical_auc:.3f}. The difference, {d} (95 % interval over patients), {verdict}.",
    n=len(test),
    m=len(set(test.subjects)),
    classical_auc=auc(test.labels, baseline_scores),
    d=difference,
    verdict=verdict,
)

# %% [markdown]
# This was one training with one seed. Another seed gives other initial weights, another order of the images and
# another result; the interval above does not contain that spread, only the one from patient to patient. The course's
# ledger keeps what several seeds gave on the same test patients. Whether a network beats the classical model *in general*,
# and from how many training images on, is judged in lesson 03, over ten seeds and the patients together.

# %%
band = ledger.bands().get("08/test_auc")
if band is not None and dataset == "simbrain":
    ledger.say(
        "Test AUC over {n} seeds: mean {mean:.3f}, standard deviation {sd:.3f}. This run, {test_auc:.3f}, lies {z:+.1f} "
        "standard deviations from the mean; what it says by size, below, shares its luck.",
        z=(auc(test.labels, probability) - band.mean) / band.sd,
        n=band.n,
        mean=band.mean,
        sd=band.sd,
    )
else:
    ledger.say("No results of several seeds are stored for this data set.")

# %% [markdown]
# ### What it misses
#
# An average hides what matters to a patient. How large were the tumours that it missed? The **diameter** is the
# largest extent of the tumour in the slice, in millimetres; we cut the tumours of the test set into three
# groups of nearly equal number. Sensitivity depends on the threshold; the AUC of each group, against *all* normal
# images, does not.
#
# > **Predict** How do sensitivity (the share of tumours found) and AUC depend on the diameter?

# %%
has_size = "tumour_diameter_mm" in test.table
if has_size:
    diameter = test.table["tumour_diameter_mm"].astype(float).to_numpy()
    is_tumour = test.labels == 1
    group = pd.qcut(diameter[is_tumour], 3, precision=0)
    third = np.full(len(test), -1)
    third[is_tumour] = group.codes
    sizes = [f"{g.left:.0f} to {g.right:.0f} mm" for g in group.categories]


# %%
def one_group(k):
    """Sensitivity for one group of tumours, and their AUC against all normal images."""
    found, subjects = answers[third == k] == 1, test.subjects[third == k]
    kept = (third == k) | ~is_tumour
    area = statistics.auc_interval(
        test.labels[kept], probability[kept], subjects=test.subjects[kept]
    )
    sensitivity = statistics.proportion_interval(found, subjects=subjects)
    return {"images": len(found), "sensitivity [95 %]": sensitivity, "AUC [95 %]": area}


# %%
if has_size:
    groups = [one_group(k) for k in range(3)]
    for name, row in (("small", groups[0]), ("large", groups[2])):
        area = row["AUC [95 %]"].value
        ledger.record(f"08/auc_{name}", area, parameters, limits=(0, 1), chance=0.5)
pd.DataFrame(groups, index=sizes) if has_size else "This data set does not say how large a lesion is."

# %%
if has_size:
    fig, ax = plt.subplots(figsize=(6, 3))
    for shift, quantity, marker in ((-0.06, "sensitivity [95 %]", "o"), (0.06, "AUC [95 %]", "s")):
        intervals = [row[quantity] for row in groups]
        values = np.array([i.value for i in intervals])
        ends = np.array([[i.value - i.low, i.high - i.value] for i in intervals]).T
        place = np.arange(3) + shift
        ax.errorbar(place, values, yerr=ends, fmt=marker, capsize=5, label=quantity)
    ax.set_xticks(range(3), sizes)
    ax.set(xlabel="tumour diameter in the slice", ylabel="sensitivity, AUC", ylim=(0, 1.02), xlim=(-0.5, 2.5))
    ax.legend(loc="lower right")
    plotting.show(
        fig,
        alt="Sensitivity at threshold 0.5 and AUC for small, middle and large tumours, with 95 % "
        "intervals over patients.",
        save="08_sensitivity",
    )

# %% [markdown]
# Of `simbrain`'s tumours the small ones are missed most often. Most of those still get a higher probability than most
# normal slices, as their AUC says: a lower threshold would find more of them, and raise more false alarms.
#
# Numbers first, then pictures: the most confident errors, or the least sure answers where there are fewer than four
# errors. Would you have seen these tumours? In `simbrain` bright spots, which can run together into patches, occur in
# the white matter of patients with and without a tumour: brightness alone is no sign of one.

# %%
missed = np.flatnonzero(test.labels == 1)[np.argsort(probability[test.labels == 1])[:4]]
alarms = np.flatnonzero(test.labels == 0)[np.argsort(-probability[test.labels == 0])[:4]]
worst = np.concatenate([missed, alarms])
fig = plotting.image_grid(
    test.images[worst][..., -1],
    titles=[f"{class_names[test.labels[i]]}, p = {probability[i]:.2f}" for i in worst],
    columns=4,
)
for ax, row in zip(fig.axes, worst, strict=False):
    if test_masks is not None:
        plotting.outline(ax, test_masks[row])
plotting.show(
    fig,
    alt=f"Last channel ({channels[-1]}). Above: the four images of class "
    f"{class_names[1]} with the lowest predicted probability p, tumours outlined. Below: "
    f"the four of class {class_names[0]} with the highest.",
    save="08_errors",
)

# %% [markdown]
# ### Save, load, and use it on new images
#
# A model that cannot be loaded again is not a result. `.keras` holds architecture, weights and optimiser
# state; after loading, predictions must be the same.

# %% tags=["nbval-check-output"]
network.save(folder / "first_cnn.keras")
loaded = keras.models.load_model(folder / "first_cnn.keras")
again = loaded.predict(test.images[:32], batch_size=128, verbose=0).ravel()
print("same predictions after loading:", bool(np.allclose(again, probability[:32], atol=1e-6)))

# %% [markdown]
# A new image is a file, not an array. We pretend that six test files are new. Everything done to the training images
# must be done to it, in the same way; a forgotten step gives no error, only another answer.


# %%
def predict_file(path, scale=255):
    """Probability of class 1 for one image file of the network's size."""
    pixels = np.asarray(Image.open(path), dtype="float32") / scale
    return float(loaded(pixels.reshape(1, *data.image_shape), training=False)[0, 0])


new = test.table["image"].iloc[:: max(1, len(test) // 6)].head(6)
pd.DataFrame(
    {
        "true class": [class_names[i] for i in test.labels[new.index]],
        "p, as trained": [predict_file(folder / name) for name in new],
        "p, division by 255 forgotten": [predict_file(folder / name, scale=1) for name in new],
    },
    index=new.values,
).round(3)

# %% [markdown]
# The right-hand column is what happens when the image is not scaled as in training. Compare it with the middle one: on
# numbers 255 times too large the answers run to the ends, 0 or 1, however unsure the network should be. No error warns
# you.
#
# `medlib train`, `medlib evaluate` and `medlib predict` do the same job on a data set's name, a CSV or a folder, with more
# changes of the images (lesson 11) and averaged weights (lesson 12), and keep the preprocessing with the model.

# %%
import shutil

shutil.rmtree(folder)

# %% [markdown]
# ## Try it
#
# Replace the dots, run the cell, then run the check below it. The check says what is wrong, not what is right.
#
# **Exercise 08.1: a threshold for a purpose.** At threshold 0.5 both kinds of error count the same. For a screening
# programme we may want to find at least 90 % of the tumours and accept more false alarms. Write a function that
# returns the *highest* threshold $t$ at which at least the share `sensitivity` of the images with label 1 has a
# probability $p \ge t$.
#
# > **Hint** Only the images with label 1 matter. Sort their probabilities, highest first: how many of them must
# > lie at or above the threshold?


# %% tags=["exercise"]
def threshold_for(labels, probabilities, sensitivity):
    return ...  # your code here


# %% tags=["solution"]
def threshold_for(labels, probabilities, sensitivity):
    tumours = np.sort(probabilities[labels == 1])[::-1]
    wanted = int(np.ceil(sensitivity * len(tumours)))
    return tumours[wanted - 1]


# %%
from coursekit import check

check.exercise("08.1", threshold_for)

# %% [markdown]
# When it is right, use it as it is meant: choose the threshold on *validation*, with
# `network.predict(validation.images)`. Would you expect exactly 90 % on test? Looking costs one more use of the test
# set, so write your guess down first.
#
# **Exercise 08.2: counting weights.** Write a function that returns the number of weights of our network for images with
# `channels` channels, when its convolutions are `widths` channels wide. `network.count_params()` is the answer for
# `widths=(16, 16, 32, 32, 64, 64)`; find the formula. (Why does the size of the picture not come in?)
#
# > **Hint** A convolution has one 3 x 3 kernel for each pair of an input and an output channel, and here no bias. A batch
# > normalisation has four numbers a channel: scale, shift, running mean, running variance. Do not forget the last layer.


# %% tags=["exercise"]
def count_weights(channels, widths):
    return ...  # your code here


# %% tags=["solution"]
def count_weights(channels, widths):
    inputs = (channels, *widths[:-1])
    convolutions = sum(9 * a * b + 4 * b for a, b in zip(inputs, widths, strict=True))
    return convolutions + widths[-1] + 1


# %%
check.exercise("08.2", count_weights)

# %% [markdown]
# **Exercise 08.3: labels that cannot get lost.** Write a function that takes a list of file names, in any order, and a
# table with the columns `image` and `label`. It returns the labels (a list or an array) in the order of the *files*. A
# file without a row in the table must raise a `KeyError`.
#
# > **Hint** `table.set_index("image")` makes the file name the key of each row.


# %% tags=["exercise"]
def labels_of(files, table):
    return ...  # your code here


# %% tags=["solution"]
def labels_of(files, table):
    return table.set_index("image")["label"].loc[list(files)].tolist()


# %%
check.exercise("08.3", labels_of)

# %% [markdown]
# ## In this lesson we
#
# - showed that code can run without learning: softmax over one unit, a loss that is zero, labels in
#   another order than the images, one picture, no test set;
# - kept file, label and patient of each test image in one row of one table;
# - watched the training on validation patients, and tested once, on patients drawn for this lesson;
# - reported an interval over patients next to a majority and a classical baseline, and the spread over seeds;
# - saw which tumours are missed, and that a forgotten scaling step gives wrong answers silently.
#
# `simbrain` is a simulation from one anatomical template: the numbers compare methods, they do not say how
# any of them would do in a hospital. Nothing here is a medical device.
#
# ## References
#
# - E. L. Korn, B. I. Graubard: Confidence intervals for proportions with small expected number of positive counts estimated
#   from survey data, *Survey Methodology* 24 (1998) 193-201.
# - Y. LeCun, L. Bottou, Y. Bengio, P. Haffner: Gradient-based learning applied to document recognition,
#   *Proceedings of the IEEE* 86 (1998) 2278-2324.
# - S. Ioffe, C. Szegedy: Batch normalization: accelerating deep network training by reducing internal covariate
#   shift, *ICML* 2015, 448-456.
# - I. Loshchilov, F. Hutter: Decoupled weight decay regularization, *ICLR* 2019.
# - E. R. DeLong, D. M. DeLong, D. L. Clarke-Pearson: Comparing the areas under two or more correlated receiver operating
#   characteristic curves, *Biometrics* 44 (1988) 837-845.
# - N. A. Obuchowski: Nonparametric analysis of clustered ROC curve data, *Biometrics* 53 (1997) 567-578.

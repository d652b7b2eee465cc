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
# # 05 Classical baseline
#
# Before networks, people taught computers to see by writing down *what to measure*: how bright, how rough, which
# edges. The measurements went into a small statistical model. In medicine this never went away: under the name
# *radiomics* it is used on scans, often of a few hundred patients (Gillies, Kinahan and Hricak 2016). Three things are
# usually said for deep learning instead: it learns its features, it gains more from more data, it is more accurate.
# This lesson asks: **how good is the old way on our brain slices, and are the three claims true here?**
#
# **You will**
#
# - turn an image into a row of numbers: percentiles, texture, oriented gradients;
# - put scaling and model into one pipeline, choose on validation patients, and test once;
# - say how sure the result is, with an interval over patients;
# - read a study of how a classical model and a network improve with the number of training images;
# - judge three common claims about deep learning by intervals, over patients or over trainings and patients.
#
# **Reading:** about 40 min · **running:** about 45 s · **builds on:** 02 (splitting by patient); some scikit-learn (`fit`,
# `predict`)

# %% tags=["install"]
import medlib

# %% tags=["parameters"]
dataset = "simbrain"  # or "breastmnist", "pneumoniamnist"
steps = 300  # of the network's training, 32 images each
seed = 0  # of all random numbers

# %%
parameters = {"dataset": dataset, "steps": steps, "seed": seed}

# %% [markdown]
# ## From an image to a row of numbers
#
# The data set is `simbrain`, unless you chose another one: simulated magnetic resonance slices in three settings (T1,
# T2 and FLAIR, lesson 01). Half of the virtual patients have a tumour. What we measure on it says something about methods,
# nothing about hospitals. Its test patients are drawn anew for this lesson, so that nobody has met them before.

# %%
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from coursekit import ledger
from medlib import datasets, plotting
from medlib.datasets.simbrain import new_patients

plotting.use_style()
data = datasets.load(dataset, strict=True)
if dataset == "simbrain":
    data = replace(data, test=new_patients(seed=20303))
train, validation, test = data.train, data.validation, data.test
data.summary()

# %% [markdown]
# We follow two training images through everything: one of each class. Where outlines of the tumours are known, we take
# the image with the largest tumour, so that there is something to see; most are far smaller. Shown is the last channel,
# for `simbrain` FLAIR.

# %%
without, with_it = (np.flatnonzero(train.labels == label)[0] for label in (0, 1))
if train.masks is not None:
    with_it = train.masks.sum(axis=(1, 2)).argmax()
pair = train.images[[without, with_it]]
names, channel = data.class_names[:2], data.channel_names[-1]

# %%
fig = plotting.image_grid(pair[..., -1], titles=list(names))
if train.masks is not None:
    plotting.outline(fig.axes[1], train.masks[with_it])
plotting.show(
    fig,
    alt=f"Channel {channel} of one image of class {names[0]} and one of class {names[1]}, with the "
    "tumour outlined where the data set says where it is.",
)

# %% [markdown]
# An image is an array of thousands of numbers, and none of them means anything by itself: move the head by one pixel,
# and each pixel shows another place. A **feature** is a number computed from the image that keeps its meaning when such
# things happen. We make three families.
#
# ### Intensity
#
# *Why.* A tumour usually holds more water than healthy tissue and is brighter in FLAIR. The average hardly moves,
# because most tumours are small.
#
# The $p$-th **percentile** of the $N$ tissue pixels $x_1, \dots, x_N$ is the value that $p$ per cent of them do not exceed
# (Hyndman and Fan 1996):
#
# $$q_p = \min\{\, v : \tfrac{1}{N}\, \#\{ i : x_i \le v \} \ge p/100 \,\}$$
#
# where $\#$ counts. (NumPy also interpolates between neighbouring values.) Pixels that are zero in each channel are
# background and do not count.
#
# > **Predict** The next figure draws the percentiles of both images as curves. At which end will a large bright tumour
# > lift its curve, compared with the rest of that curve?

# %%
from medlib.models import classical

tissue = [image[image.max(axis=-1) > 0] for image in pair]
percentiles = np.array([np.percentile(t[:, -1], classical.PERCENTILES) for t in tissue])

# %%
fig, ax = plt.subplots(figsize=(6, 3.4))
for curve, name, marker in zip(percentiles, names, "os", strict=True):
    ax.plot(classical.PERCENTILES, curve, marker=marker, label=name)
ax.set(xlabel="percentile of the tissue pixels", ylabel=f"intensity, {channel} (0 to 1)")
ax.legend()
plotting.show(
    fig,
    alt=f"Percentiles of the {channel} intensities of the two images, as two rising curves.",
)

# %% [markdown]
# A bright tumour lifts the *right* end of its curve, whatever the rest of that brain is like; the larger it is, the
# further to the left the lift begins. But two images prove nothing: they also differ in patient, in height within the
# head, and in how the scanner scaled them. Percentiles of each channel make our first family. They ignore *where* a
# pixel is.
#
# ### Texture
#
# *Why.* Brightness alone confuses a tumour with a bright scanner, or with the bright spots that brains without
# tumour show in FLAIR, too. Tissue also has a pattern: fine, coarse, smooth. A simple measure is the **local
# standard deviation**. For the window $W$ of $5 \times 5$ pixels around a pixel, with $\langle \cdot \rangle_W$ for the average over it,
#
# $$s = \sqrt{\langle x^2 \rangle_W - \langle x \rangle_W^2}$$

# %%
from scipy.ndimage import uniform_filter


def roughness(picture, width=5):
    mean = uniform_filter(picture, width)
    variance = uniform_filter(picture**2, width) - mean**2
    return np.sqrt(variance.clip(0))  # rounding can give -1e-9


# %%
rough = np.stack([roughness(image[..., -1]) for image in pair])

# %%
fig = plotting.image_grid(rough, titles=list(names), window=(0, 0.3))
if train.masks is not None:
    plotting.outline(fig.axes[1], train.masks[with_it])
plotting.show(
    fig,
    alt=f"Local standard deviation of {channel} in both images: bright along edges, dark inside "
    "even regions. The outline of the tumour is drawn where it is known.",
)

# %% [markdown]
# It is large wherever bright meets dark, above all at the rim of the brain. Inside a large tumour it can be as small as
# in other even tissue. Its percentiles become features.
#
# The second measure of texture looks at *pairs* of pixels. Round the image to a few grey levels $0, \dots, L-1$, and let
# $C_{ij}$ count how often level $i$ has level $j$ as its neighbour to the right. The **grey-level co-occurrence matrix**
# reads each pair in both directions and gives shares (Haralick, Shanmugam and Dinstein 1973):
#
# $$P_{ij} = \frac{C_{ij} + C_{ji}}{2M}, \qquad C_{ij} = \#\{\, (r, c) : l(r, c) = i,\ l(r, c+1) = j \,\},$$
#
# with $l(r, c)$ the level in row $r$ and column $c$, and $M$ the number of pairs.


# %%
def co_occurrence(picture, levels=16):
    level = np.minimum((picture * levels).astype(int), levels - 1)
    counts = np.zeros((levels, levels))
    np.add.at(counts, (level[:, :-1], level[:, 1:]), 1)  # left pixel, right pixel
    counts = counts + counts.T  # and read backwards
    return counts / counts.sum()


# %%
matrices = [co_occurrence(image[..., -1]) for image in pair]

# %% [markdown]
# `classical.co_occurrence` calls scikit-image, which is faster. It must give the same.

# %% tags=["nbval-check-output"]
by_library = [classical.co_occurrence(image[..., -1])[:, :, 0, 0] for image in pair]
print("equal to scikit-image:", np.allclose(matrices, by_library))

# %%
fig, axes = plt.subplots(1, 2, figsize=(7.4, 3.4))
for ax, matrix, name in zip(axes, matrices, names, strict=True):
    shown = ax.imshow(np.log10(matrix + 1e-5), origin="lower", vmin=-5, vmax=0, cmap="viridis")
    ax.set(title=name, xlabel="level of a pixel", ylabel="level of neighbour")
    ax.set(xticks=range(0, 16, 5), yticks=range(0, 16, 5))
    ax.grid(visible=False)
fig.colorbar(shown, ax=axes, label="log10 of the share of pairs")
plotting.show(
    fig,
    alt="Co-occurrence matrices of both images. Most pairs lie near the diagonal, because "
    "neighbouring pixels are alike.",
)

# %% [markdown]
# Pairs of equal pixels lie on the diagonal. The corner at level 0 is background beside background; the strips along
# both axes are the rim, where background meets tissue. The matrix is summed up in a few numbers, for example Haralick's
#
# $$\text{contrast} = \sum_{i,j} P_{ij}\,(i-j)^2, \qquad \text{homogeneity} = \sum_{i,j} \frac{P_{ij}}{1 + (i-j)^2},$$
#
# and in the same way *energy* $\sqrt{\sum P_{ij}^2}$ and the *correlation* of $i$ and $j$.

# %%
i, j = np.indices((16, 16))
contrast = [(matrix * (i - j) ** 2).sum() for matrix in matrices]
homogeneity = [(matrix / (1 + (i - j) ** 2)).sum() for matrix in matrices]
pd.DataFrame({"contrast": contrast, "homogeneity": homogeneity}, index=names).round(3)

# %% [markdown]
# Two images need not differ much here, even if one has a large tumour and the other none. Part of the contrast comes
# from the rim: it depends on the shape of the brain, too.
#
# ### Histograms of oriented gradients
#
# *Why.* Neither family knows about shape. Edges do: **HOG** describes each part of an image by the directions of the
# edges in it. It was made to find pedestrians in photographs (Dalal and Triggs 2005). With the horizontal and vertical
# differences $g_x$ and $g_y$ of neighbouring pixels, each pixel has a magnitude and a direction,
#
# $$m = \sqrt{g_x^2 + g_y^2}, \qquad \theta = \arctan(g_y / g_x) \bmod 180°.$$
#
# The image is cut into cells. In each, a histogram of $\theta$ with nine bins is made, in which a pixel counts with its
# $m$. Histograms $v$ of neighbouring cells are joined and divided by $\sqrt{\lVert v \rVert^2 + \varepsilon^2}$ (a tiny
# $\varepsilon$ avoids division by zero), so that contrast does not matter, only its pattern. (scikit-image then cuts off
# large values and divides again.)

# %%
picture = pair[1, ..., -1]
g_y, g_x = np.gradient(picture)
magnitude = np.hypot(g_x, g_y)

# %%
from skimage.feature import hog

cell = (picture.shape[0] // 8,) * 2
_, strokes = hog(picture, 9, pixels_per_cell=cell, cells_per_block=(2, 2), visualize=True)

# %%
stages = np.stack([picture, magnitude / magnitude.max(), strokes / strokes.max()])
fig = plotting.image_grid(stages, titles=["image", "edges $m$", "HOG, 8 x 8 cells"], columns=3)
plotting.show(
    fig,
    alt=f"Left: the image of class {names[1]}. Middle: gradient magnitude, bright along edges. "
    "Right: one star of strokes a cell, bright in the directions along which its edges run. "
    "Middle and right are divided by their largest value.",
)

# %% [markdown]
# The edges show the outline of the brain clearly. The strokes, drawn along the edges, follow it only roughly. A cell adds
# up its pixels, and the many edges inside can weigh as much as a short piece of outline. (scikit-image draws the
# histograms before the division. Eight cells across are drawn; as features we use four, to have fewer numbers than
# training images.)
#
# > **Predict** Which of the three families will tell the two classes apart best, and which worst?
#
# Now the features of all images. The functions in `medlib.models.classical` do the same for many images and all channels.
# Texture also takes pairs of pixels above each other, and pairs further apart. HOG uses the last channel only.

# %%
families = {
    "intensity": classical.intensity_features,
    "texture": classical.texture_features,
    "HOG": classical.hog_features,
}

# %%
features = {
    split: {name: family(part.images) for name, family in families.items()}
    for split, part in data.splits.items()
}

# %%
for name, table in features["train"].items():
    print(f"{name:10s} {table.shape[1]:4d} features of {table.shape[0]} training images")

# %% [markdown]
# ## Models, and scaling that does not leak
#
# A contrast and an intensity have different scales, and most models care. We **standardise** each feature,
#
# $$z = \frac{x - \mu}{\sigma},$$
#
# with mean $\mu$ and standard deviation $\sigma$ *of the training images*. If validation or test images took part, they would have
# influenced the model that they are to judge (lesson 02). A scikit-learn **pipeline** guards against this mistake:
# `fit` learns $\mu$, $\sigma$ and the model from one set, and whatever comes later is treated with those.
#
# Three models, all with fixed settings:
#
# - **logistic regression**: a weighted sum of the features, turned into a probability, $p = 1 / (1 + e^{-(w \cdot z + b)})$.
#   Fitted are the weights $w$, which a penalty keeps small, and the offset $b$;
# - a **support vector machine** (SVM): the boundary that keeps the largest distance to both classes. A *Gaussian kernel*,
#   a measure of how alike two images are, lets it curve (Cortes and Vapnik 1995);
# - **boosted trees**: many small trees of yes-no questions, each fitted to the errors of those before it (Friedman 2001).

# %%
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

models = {
    "logistic regression": LogisticRegression(C=classical.REGULARISATION, max_iter=1000),
    "SVM": SVC(),
    "boosted trees": HistGradientBoostingClassifier(max_iter=60, random_state=seed),
}

# %% [markdown]
# Each model gives an image a *score*, higher for class 1. We compare by the **AUC** (lesson 02), the area under the receiver
# operating characteristic. It is the probability that an image of class 1 gets a higher score than an image of class 0,
# ties counting half (Hanley and McNeil 1982):
#
# $$\text{AUC} = \frac{1}{n_1 n_0} \sum_{a:\, y_a = 1}\ \sum_{b:\, y_b = 0} \Big( [s_a > s_b] + \tfrac{1}{2} [s_a = s_b] \Big),$$
#
# with score $s$, label $y$, numbers of images $n_1$ and $n_0$, and $[\cdot]$ being 1 if true and 0 if not. Guessing gives one
# half, a perfect order gives one.
#
# ## Choosing on validation
#
# Five sets of features and three models make fifteen candidates. All learn from the training images, all are measured
# on the *validation* images.

# %%
from sklearn.base import clone
from threadpoolctl import threadpool_limits

from medlib.evaluation import statistics


def auc(labels, scores):
    """Area under the receiver operating characteristic."""
    return statistics.area_under_curve(labels == 1, scores)


# %%
feature_sets = [[name] for name in families] + [["intensity", "texture"], list(families)]
candidates = {}
# %%
with threadpool_limits(1):  # on so little data a second thread only costs time
    for chosen in feature_sets:
        table = {split: np.hstack([f[n] for n in chosen]) for split, f in features.items()}
        for name, model in models.items():
            pipeline = make_pipeline(StandardScaler(), clone(model))
            pipeline.fit(table["train"], train.labels)
            candidates[" + ".join(chosen), name] = (pipeline, table)

# %%
validation_scores = {
    key: pipeline.decision_function(table["validation"])
    for key, (pipeline, table) in candidates.items()
}
aucs = pd.Series({key: auc(validation.labels, s) for key, s in validation_scores.items()})
best = aucs.idxmax()

# %%
aucs.unstack()[list(models)].loc[[" + ".join(chosen) for chosen in feature_sets]].round(3)


# %%
def with_interval(split, scores):
    """AUC on a split with its 95 % interval over patients."""
    return statistics.auc_interval(split.labels, scores, subjects=split.subjects)


on_validation = with_interval(validation, validation_scores[best])
ledger.record("05/validation_auc", aucs[best], parameters, limits=(0, 1), chance=0.5)
single = aucs[list(families)].groupby(level=0).max()  # each family with its best model
winners = validation_scores[best]
paired = [
    statistics.auc_test(validation.labels, winners, s, subjects=validation.subjects).difference
    for key, s in validation_scores.items()
    if key != best
]
ahead = sum(difference.low > 0 for difference in paired)

# %%
ledger.say(
    "The highest validation AUC has **{winner}**: {interval} (95 % interval over patients). Of the single families, "
    "each with its best model, {families} Compared with each of the "
    "{n} others on the same patients, the interval of the difference lies above zero {ahead} times.",
    winner=f"{best[1]} on {best[0]}",
    interval=on_validation,
    families=f"{single.idxmax()} does best ({single.max():.2f}) and {single.idxmin()} worst ({single.min():.2f}).",
    n=len(paired),
    ahead=ahead,
)

# %% [markdown]
# Was it your prediction? HOG may well have a hard time: it describes *fixed places*, but a tumour may sit anywhere, and the
# outline of the brain says little about it. Features carry assumptions. (This is a likely reason; we have not tested it.)
#
# The winner was picked *because* its number is high. The best of fifteen noisy numbers is on average a little too good. So
# it is measured again, on patients that took no part in the choice.
#
# ## The test, once

# %%
pipeline, table = candidates[best]
classical_scores = pipeline.decision_function(table["test"])
on_test = with_interval(test, classical_scores)
ledger.record("05/test_auc", on_test.value, parameters, limits=(0, 1), chance=0.5)
change = on_test.value - on_validation.value
verdict = "about what it was on validation"
if change < -0.005:
    verdict = f"{-change:.2f} lower than on validation, as one expects of a winner"
elif change > 0.005:
    verdict = f"{change:.2f} higher than on validation: luck with patients outweighs the choice"

# %%
ledger.say(
    "On {n} images of {m} test patients, where guessing would give 0.5: AUC **{interval}**. That is {verdict}.",
    n=len(test),
    m=len(set(test.subjects)),
    interval=on_test,
    verdict=verdict,
)

# %% [markdown]
# The interval is DeLong's (DeLong, DeLong and Clarke-Pearson 1988): how much would the AUC move with other patients? The
# images of one patient are alike, so they count together (Obuchowski 1997).
#
# Which images does it get wrong? Below are the two worst errors of each kind, with their scores. A score above zero speaks
# for class 1. How large are the tumours that were missed? What else is bright where there is none?

# %%
missed = np.flatnonzero(test.labels == 1)[np.argsort(classical_scores[test.labels == 1])[:2]]
alarms = np.flatnonzero(test.labels == 0)[np.argsort(-classical_scores[test.labels == 0])[:2]]
worst = np.concatenate([missed, alarms])
titles = [f"{names[test.labels[w]]}: {classical_scores[w]:+.1f}" for w in worst]

# %%
fig = plotting.image_grid(test.images[worst][..., -1], titles=titles, columns=2)
if test.masks is not None:
    for ax, row in zip(fig.axes, worst, strict=True):
        plotting.outline(ax, test.masks[row])
plotting.show(
    fig,
    alt=f"{channel} of four test images with true class and score. Top: the two of class {names[1]} "
    f"with the lowest scores. Bottom: the two of class {names[0]} with the highest.",
)

# %% [markdown]
# For `simbrain`: the two missed tumours are small and hardly brighter than the tissue around them; the two false alarms are
# brains full of bright spots and patches without a tumour. Percentiles and texture cannot say *what* is bright, nor where.
#
# ## Three claims about deep learning
#
# So far a person had to think of the features. Now the other way. A small **convolutional network** is layers of small
# filters whose numbers are *learnt*, then the mean response of each filter over the image, then a weighted sum. Lessons
# 04 and 05 open it; here it is a box that is trained and gives a score. It is trained as `medlib train` does it: in steps
# of 32 images, each image mirrored, shifted, turned and changed in contrast a little, by chance. The weights kept are a
# running average of the last ones, and a prediction is the mean for an image and its mirror image.

# %%
from medlib import models as networks
from medlib import tasks, training

training.set_seed(seed)  # imports Keras quietly, and seeds it
import keras

task = tasks.Classification(data.class_names)
recipe = training.recipe("cnn", n_images=len(train), epochs=round(steps / (len(train) // 32)))

# %%
network = networks.build("cnn", data.image_shape, task, seed=seed)
training.fit(network, train, task=task, seed=seed, **recipe)
network_scores = training.predict(network, test.images, task, mirror=True)[:, 1]
live = {"classical": classical_scores, "cnn": network_scores}
live = {name: with_interval(test, scores) for name, scores in live.items()}

# %%
ledger.record("05/network_auc", live["cnn"].value, parameters, limits=(0, 1), chance=0.5)
ledger.say(
    "One training on {n} images, {steps} steps of 32. On the test patients: network {cnn}, the classical winner "
    "{classical}.",
    n=len(train),
    steps=recipe["epochs"] * (len(train) // 32),
    **live,
)

# %% [markdown]
# One training of one network on one set of patients. Before it becomes a claim, we ask what other trainings and other
# patients would have given. (The same test patients are used again from here on. That is allowed as long as nothing is
# chosen by the results: they are only reported.)
#
# ### Claim 1: a network learns its features
#
# Cut off the last layer of this network: what remains gives 64 numbers an image, *learnt features*. A logistic regression
# gets them, as it got the hand-made ones. It is fitted to the *validation* images, which the network was not trained on:
# on its own training images a network knows the answers too well. As a control we take the same network **before**
# training, with random filters: if it did as well, nothing useful would have been learnt.

# %%
untrained = networks.build("cnn", data.image_shape, task, seed=seed)  # what `network` started from
representations = {"hand-made": (table["validation"], table["test"])}
for name, source in {"untrained network": untrained, "trained network": network}.items():
    encoder = keras.Model(source.input, source.layers[-2].output)
    representations[name] = [
        encoder.predict(part.images, batch_size=128, verbose=0) for part in (validation, test)
    ]

# %%
from_features = {}
for name, (known, new) in representations.items():
    regression = make_pipeline(StandardScaler(), clone(models["logistic regression"]))
    regression.fit(known, validation.labels)
    from_features[name] = regression.decision_function(new)
intervals = {name: with_interval(test, s) for name, s in from_features.items()}

# %%
fig, ax = plt.subplots(figsize=(6.5, 2.4))
for height, interval in enumerate(intervals.values()):
    ends = [[interval.value - interval.low], [interval.high - interval.value]]
    ax.errorbar(interval.value, height, xerr=ends, fmt="o", capsize=4, color=plotting.BLUE)
ax.axvline(0.5, color=plotting.GREY, linestyle=":")
ax.set_yticks(range(len(intervals)), list(intervals))
ax.set_xlabel("AUC on test patients [95 %], dotted: guessing")
ax.set(xlim=(0.3, 1.0), ylim=(len(intervals) - 0.5, -0.5))
plotting.show(
    fig,
    alt="AUC of logistic regression on hand-made features, on those of an untrained and on those of "
    "the trained network, each fitted to the validation images.",
    save="05_features",
)

# %%
learning = statistics.auc_test(
    test.labels,
    from_features["trained network"],
    from_features["untrained network"],
    subjects=test.subjects,
).difference
ledger.record("05/learning", learning.value, parameters, limits=(-1, 1), chance=0)


def in_words(interval, above, below, neither):
    """Choose the sentence that an interval allows."""
    return above if interval.low > 0 else below if interval.high < 0 else neither


# %%
verdict = in_words(
    learning,
    "Training made features that beat random filters.",
    "Training made the features worse.",
    "Whether training made better features, these patients cannot tell.",
)
ledger.say(
    "Trained minus untrained filters, in AUC: {learning} (95 % over patients). **{verdict}** The band in the output above "
    "says what ten trainings gave.",
    learning=learning,
    verdict=verdict,
)

# %% [markdown]
# The hand-made features can stand lower here than in the test above, because their regression now learns from the validation
# images only. Do not compare their row with that of the trained network: its filters have seen the training images, too.

#
# ### A study for the other two claims
#
# Claims 2 and 3 compare two *ways of learning*. One training of each cannot decide: with other patients to learn from,
# other initial weights and other patients to be tested on, both numbers move. So the course has a **study**, an experiment
# too long for a lesson. `studies/learning_curve.toml` says what is done, `course study learning_curve` does it, and the
# records are kept:
#
# - 100, 300, 1,000 and all 2,040 images of the training and validation patients, drawn as *whole patients*;
# - at each size ten trainings of each model, each with other patients (with all images: only with other initial weights)
#   and the same ones for both models;
# - of the network about 400 steps at every size, as near as whole epochs come: otherwise more images would also mean a
#   longer training;
# - all tested on the test patients of this lesson.
#
# > **Predict** Draw two curves, AUC against the number of images, one for each model. Which is above with 100 images, which
# > with all?

# %% tags=["nbval-check-output"]
from coursekit import studies

study = studies.load_study("learning_curve")  # None where only the package is installed
rows = studies.table(study) if study else None
columns = ["images", "AUC", "mean", "low", "high"]
rows.set_axis(columns, axis=1).round(3) if study else "The records are in the course's repository."


# %%
def draw_curve(ax, model, k):
    """Mean over seeds with its interval, and every training as a small open marker."""
    sizes = study.records.groupby("n_train", sort=False)["n_images"].mean()
    curve = rows[rows["what"] == model]
    ends = {"low": curve["low"], "high": curve["high"]}
    plotting.curve_with_band(ax, sizes, curve["value"], **ends, label=model)
    for place, size in zip(sizes, sizes.index, strict=True):
        aucs = [auc(study.labels, s) for s in study.scores[model, size]]
        one = {"label": "one training"} if k and size == 100 else {}
        ax.plot([place] * len(aucs), aucs, "os"[k], fillstyle="none", color=plotting.COLOURS[k], **one)


# %%
if study:
    fig, ax = plt.subplots(figsize=(6.5, 3.8))
    for k, model in enumerate(("classical", "cnn")):
        draw_curve(ax, model, k)
        if dataset == "simbrain":
            star = {"ms": 14, "color": plotting.COLOURS[k], "mec": "k", "ls": "none"}
            here = {"label": "this lesson"} if k else {}
            ax.plot(len(train), live[model].value, "*", **star, **here)
    ax.axhline(0.5, color=plotting.GREY, linestyle=":", label="guessing")
    ax.set(xscale="log", xlabel="training images", ylabel="AUC on test patients", ylim=(0.35, 1.0))
    ax.set_xticks([100, 300, 1000, 2040], ["100", "300", "1000", "2040"])
    ax.minorticks_off()
    ax.legend(loc="lower right", frameon=True, framealpha=1)
    plotting.show(
        fig,
        alt="Test AUC of the classical model and of the network against the number of training "
        "images. Lines: mean over ten trainings. Bands: 95 % over trainings and test patients. "
        "Open markers: single trainings. Stars: the two models of this lesson.",
        save="05_learning_curves",
    )

# %% [markdown]
# Lines are means over ten trainings, open markers the single ones. The shaded area is the 95 % interval for *other trainings
# and other test patients together*: each patient is left out in turn, for each training, and the spread is split into what
# comes from trainings, from patients and from both (Dorfman, Berbaum and Metz 1992, with trainings in place of
# radiologists). The stars are this lesson's two models, the network with somewhat fewer steps: one more draw.
#
# What the intervals do not know: with all images no *other* training patients can be drawn, so there only initial weights
# and test patients vary, and the classical model, which has no initial weights, gives ten times the same. Draws of 1,000
# out of 2,040 images overlap, too. At these sizes the intervals are, if anything, too narrow.

# %%
if study:
    area = {key: np.array([auc(study.labels, s) for s in v]) for key, v in study.scores.items()}
    few, failed = area["cnn", 300], area["cnn", 300] <= 0.5
    ledger.say(
        "Of the ten networks, {n} learnt nothing from 300 images (AUC of 0.5 or less); the others reached {low:.2f} to "
        "{high:.2f}. With all images {k} of ten ended no better than the classical model.",
        n=failed.sum(),
        low=few[~failed].min(),
        high=few.max(),
        k=(area["cnn", "all"] <= area["classical", "all"]).sum(),
    )

# %% [markdown]
# ### Claim 2: a network gains more from more data
#
# The **gain** of a model is its AUC with all images minus its AUC with few. The claim: the network gains more. But with
# *which* few do we begin? We take each size in turn.


# %%
def gain(labels, scores):
    """AUC with all images minus AUC with fewer; the columns are in the other order."""
    return auc(labels, scores[:, 1]) - auc(labels, scores[:, 0])


def difference_of_gains(labels, scores):
    """The network's gain minus the classical model's; its two columns come last."""
    return gain(labels, scores[:, 2:]) - gain(labels, scores[:, :2])


# %%
def gains_from(n):
    """Gain of each model from n images to all, and the network's gain minus the classical one's."""
    few_all = [
        np.stack([study.scores[m, k] for k in (n, "all")], -1) for m in ("classical", "cnn")
    ]
    pairs = [(gain, s) for s in few_all]
    pairs.append((difference_of_gains, np.concatenate(few_all, -1)))
    return [
        statistics.seeds_and_patients_interval(f, study.labels, s, subjects=study.subjects)
        for f, s in pairs
    ]


# %% tags=["nbval-check-output"]
if study:
    gains = {n: gains_from(n) for n in (100, 300, 1000)}
    gained = pd.DataFrame(gains, index=["classical", "network", "network - classical"]).T
    said = "the network", "the classical model", "cannot be told"
    more = [in_words(each[-1], *said) for each in gains.values()]
    gained = gained.assign(**{"gains more": more}).rename_axis("from ... to all images")
gained if study else "The records are in the course's repository."

# %% [markdown]
# The claim depends on where you begin. From 100 images it holds: the network gains more. From 300 or from 1,000 images on, no
# difference between the gains is shown.
#
# ### Claim 3: a network is more accurate
#
# Accurate means here: a higher AUC. The rows `cnn - classical` of the table above answer it, size by size, on the same
# training and test patients:

# %% tags=["nbval-check-output"]
if study:
    gaps = rows[rows["what"] == "cnn - classical"].set_index("n_train").drop(columns="what")
    better = gaps.round(3).assign(better=[in_words(gap, *said) for gap in gaps.itertuples()])
    better = better.rename(columns={"value": "network - classical"}).rename_axis("images")
better if study else "The records are in the course's repository."

# %% [markdown]
# With 100 images neither is shown to be better. With 300 the network is ahead on average, but the interval still reaches
# zero: see the training that learnt nothing. With 1,000 and with 2,040 images the interval lies above zero: there claim 3
# holds. Even so, a single training can end no better than the classical model. Whoever had made only that one would have
# told another story.
#
# So do not ask "which is better?" but "which is better *with the images I have*?". What this comparison does not say:
#
# - The network was small, and trained for 400 steps; the classical model is the best of fifteen on validation patients who
#   are among the 2,040 images. With more tuning, either could gain.
# - The features were made by people who knew what tumours look like. For another task they must be thought of anew.
# - `simbrain` is a simulation from one template brain. What the curves do on real images, it cannot tell.
#
# A baseline is worth having for another reason. When a network with a month of work behind it does not beat it, the images
# are too few, something is wrong with the network, or there is nothing more to find.
#
# ## Try it
#
# Replace the dots, run the cell, then the check below it. The check says what is wrong, not what is right.
#
# **Exercise 05.1: a feature of your own.** A radiologist compares left and right: a brain is nearly symmetric, a tumour
# is usually on one side. Write a function that gets images of shape `(n, height, width, channels)` and returns, shape
# `(n, channels)`, the mean absolute difference between each image and its left-right mirror image, pixel by pixel.
#
# > **Hint** `images[:, :, ::-1]` turns round the axis of the columns. Average over rows and columns, not over channels.


# %% tags=["exercise"]
def asymmetry(images):
    return ...  # your code here


# %% tags=["solution"]
def asymmetry(images):
    return np.abs(images - images[:, :, ::-1]).mean(axis=(1, 2))


# %%
from coursekit import check

check.exercise("05.1", asymmetry)

# %% [markdown]
# When it is right: add it to the winner's features (`np.hstack`) and look at the *validation* AUC. Does it rise? If not: is
# the middle of the brain always the middle of the image?
#
# **Exercise 05.2: scaling without a leak.** Write a function that standardises the features `new` with means and standard
# deviations of the features `known` (the training images), both of shape `(n, features)`. A feature that is constant in
# `known` must give zero, not an error or an infinity. (`StandardScaler` only subtracts the mean there.)
#
# > **Hint** Replace a standard deviation of 0 by 1 before you divide, and then set what belongs to that feature to 0.


# %% tags=["exercise"]
def standardise(known, new):
    return ...  # your code here


# %% tags=["solution"]
def standardise(known, new):
    mean, deviation = known.mean(axis=0), known.std(axis=0)
    constant = deviation == 0
    scaled = (new - mean) / np.where(constant, 1, deviation)
    return np.where(constant, 0.0, scaled)


# %%
check.exercise("05.2", standardise)

# %% [markdown]
# **Exercise 05.3: the AUC by its definition.** Write a function that computes the AUC from labels (0 and 1) and scores by
# comparing *each pair* of an image of class 1 and an image of class 0, as in the equation above.
#
# > **Hint** With the scores `s1` of class 1 and `s0` of class 0, `s1[:, None] > s0[None, :]` compares all pairs at once. Do
# > not forget the ties.


# %% tags=["exercise"]
def auc_by_pairs(labels, scores):
    return ...  # your code here


# %% tags=["solution"]
def auc_by_pairs(labels, scores):
    s1, s0 = scores[labels == 1][:, None], scores[labels == 0][None, :]
    return float(np.mean((s1 > s0) + 0.5 * (s1 == s0)))


# %%
check.exercise("05.3", auc_by_pairs)

# %% [markdown]
# ## In this lesson we
#
# - made features by hand from intensities, texture and edges, and asked what each takes for granted;
# - put scaling and model into one pipeline, chose among fifteen on validation, and tested the winner once;
# - trained one network, and saw where this run lies among ten in a study of learning curves;
# - judged claim 1 by an interval over patients, claims 2 and 3 by intervals over trainings and patients, and kept the
#   answers that came out.
#
# Nothing here is a medical device.
#
# ## References
#
# - R. J. Gillies, P. E. Kinahan, H. Hricak: Radiomics: images are more than pictures, they are data, *Radiology* 278
#   (2016) 563-577.
# - R. J. Hyndman, Y. Fan: Sample quantiles in statistical packages, *The American Statistician* 50 (1996) 361-365.
# - R. M. Haralick, K. Shanmugam, I. Dinstein: Textural features for image classification, *IEEE Transactions on Systems,
#   Man, and Cybernetics* SMC-3 (1973) 610-621.
# - N. Dalal, B. Triggs: Histograms of oriented gradients for human detection, *CVPR* 2005, 886-893.
# - C. Cortes, V. Vapnik: Support-vector networks, *Machine Learning* 20 (1995) 273-297.
# - J. H. Friedman: Greedy function approximation: a gradient boosting machine, *Annals of Statistics* 29 (2001)
#   1189-1232.
# - J. A. Hanley, B. J. McNeil: The meaning and use of the area under a receiver operating characteristic (ROC) curve,
#   *Radiology* 143 (1982) 29-36.
# - E. R. DeLong, D. M. DeLong, D. L. Clarke-Pearson: Comparing the areas under two or more correlated receiver operating
#   characteristic curves, *Biometrics* 44 (1988) 837-845.
# - N. A. Obuchowski: Nonparametric analysis of clustered ROC curve data, *Biometrics* 53 (1997) 567-578.
# - D. D. Dorfman, K. S. Berbaum, C. E. Metz: Receiver operating characteristic rating analysis, *Investigative Radiology*
#   27 (1992) 723-731.

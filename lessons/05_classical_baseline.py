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
# Before networks, people told computers *what to measure*: how bright, how uneven, which edges.
# Medicine still does this, and calls it [radiomics](https://doi.org/10.1148/radiol.2015151169). Three things
# are said for deep learning instead: it learns its own measurements, it gains more from more data, it is more accurate. **How
# good is the old way on our brain slices, and do the three claims hold?**

# %% tags=["install"]
import medlib

# %% tags=["parameters"]
dataset = "simbrain"  # or "breastmnist", "pneumoniamnist"; the text describes simbrain
steps = 200  # of the network's training, 32 images each
seed = 0  # of all random numbers

# %% tags=["plumbing"]
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from coursekit import check, ledger
from medlib import datasets, plotting
from medlib.datasets.simbrain import new_patients

parameters = {"dataset": dataset, "steps": steps, "seed": seed}
plotting.use_style()

# %% tags=["plumbing"]
data = datasets.load(dataset, strict=True)
train, validation, test = data.train, data.validation, data.test
if dataset == "simbrain":
    test = new_patients(seed=20303)  # of this lesson and of its study
    chosen, window = [416, 149], (0.15, 0.8)
else:
    chosen = [np.flatnonzero(train.labels == label)[0] for label in (0, 1)]
    window = (0, 1)
data = replace(data, test=test)
pair, names, channel = train.images[chosen], data.class_names[:2], data.channel_names[-1]
fig = plotting.image_grid(pair[..., -1], titles=["A", "B"], window=window)
plotting.show(
    fig,
    alt=f"Two {channel} slices at about the same height in the head. A has many small bright spots, B one "
    "even grey disc left of the middle.",
)

# %% [markdown]
# > **Predict** Two FLAIR slices, from the same scanner and height in the head. Which has a tumour? And what would you tell a
# > computer to measure?
#
# <details><summary>Answer</summary>
#
# B: the even, light grey disc left of the middle. The small spots of A are common in brains without tumours, too. Is it enough
# to measure how bright an image is?
#
# </details>
#
# **You will**
#
# - turn an image into a row of numbers;
# - read a score histogram, a ROC curve and an AUC;
# - compare models on validation patients, test once;
# - measure what a leak in choosing features is worth;
# - judge three claims by intervals over trainings and patients.
#
# **Reading:** about 40 min · **running:** about 40 s · **builds on:** [lesson 02](02_mr_simulation.ipynb) (`simbrain`),
# [lesson 04](04_grey_values_and_leaks.ipynb) (splits by patient, leaks)
#
# ## An image becomes a row of numbers
#
# `simbrain` is simulated and tells about *methods*, not about hospitals: 600 virtual patients, half with a tumour, four slices each,
# three channels (T1, T2, FLAIR). Of these, 420 patients train and 90 validate. The other 90 we leave aside: for the test we simulate
# 90 further patients, kept for this lesson and its study.
#
# Move the head by one pixel, and every pixel shows another place. A **feature** is a number computed from the image that should keep
# its meaning then.
#
# ### How bright: percentiles
#
# A tumour holds more water than healthy tissue and is brighter in FLAIR. The mean hardly notices a small one. The bright end
# may: the [percentile](https://numpy.org/doc/stable/reference/generated/numpy.percentile.html) $q_k$ is the value that $k$ per
# cent of the tissue pixels do not exceed.
#
# > **Predict** In which of the two slices is the bright end, say $q_{98}$, higher?

# %% tags=["nbval-check-output"]
tissue = [image[image.max(axis=-1) > 0] for image in pair]  # not background
ends = [50, 75, 90, 95, 98, 99]
bright = [np.percentile(pixels[:, -1], ends) for pixels in tissue]  # FLAIR is last
pd.DataFrame(bright, index=["A", "B (tumour)"], columns=[f"q{k}" for k in ends]).round(2)

# %% [markdown]
# In A, the one *without* a tumour. A percentile does not see whether bright pixels lie together. We need several features, and
# something that weighs them.
#
# ### How uneven: local standard deviation
#
# **Texture** is how smooth or coarse tissue looks. A simple measure is the standard deviation in a window $W$ of $5 \times 5$
# pixels, with $\langle \cdot \rangle_W$ for the mean over it:
#
# $$r = \sqrt{\langle x^2 \rangle_W - \langle x \rangle_W^2}$$

# %%
from scipy.ndimage import uniform_filter


def roughness(picture, width=5):
    mean = uniform_filter(picture, width)
    variance = uniform_filter(picture**2, width) - mean**2
    return np.sqrt(variance.clip(0))  # rounding can give -1e-9


# %% tags=["plumbing"]
masks = train.masks if train.masks is not None else np.zeros(train.images.shape[:3])
picture, mask = pair[1, ..., -1], masks[chosen[1]]
rough = roughness(picture)
row = int(np.argwhere(mask).mean(axis=0)[0]) if mask.any() else len(picture) // 2
inside = np.flatnonzero(mask[row])
path = np.flatnonzero(picture[row] > 0)
path = np.arange(max(path[0] - 2, 2), min(path[-1] + 3, len(picture) - 2))
fig, (left, middle, right) = plt.subplots(1, 3, figsize=(8, 2.7), width_ratios=(1, 0.75, 1.5))
low, high = window
left.imshow(picture, vmin=low, vmax=high)
left.set_title("B")
middle.set_title("its 25 pixels")
right.plot(path, rough[row, path], color=plotting.GREY)
right.set(xlabel="column of the window", ylabel="roughness $r$", ylim=(0, 0.27))
if len(inside):
    right.axvspan(inside[0], inside[-1], color=plotting.SKY, alpha=0.3, lw=0)
    right.text(inside.mean(), 0.235, "tumour", ha="center", fontsize=10)


# %% tags=["plumbing"]
def window_frames():
    box = plt.Rectangle((0, 0), 5, 5, fill=False, color=plotting.ORANGE, lw=2)
    left.add_patch(box)
    patch = middle.imshow(np.zeros((5, 5)), vmin=low, vmax=high)
    (dot,) = right.plot(path[:1], [0], "o", color=plotting.ORANGE, markersize=9)
    left.set_axis_off()
    middle.set_axis_off()
    start = list(path).index(inside[len(inside) // 2]) if len(inside) else 0
    for column in np.roll(path, -start)[::4]:
        box.set_xy((column - 2.5, row - 2.5))
        patch.set_data(picture[row - 2 : row + 3, column - 2 : column + 3])
        dot.set_data([column], [rough[row, column]])
        yield fig
        fig.set_layout_engine("none")  # which the first frame has used


alt = "A window of 5 by 5 pixels slides along a row of slice B. Its standard deviation is high where "
alt += "the window holds the rim of the brain or a dark ventricle, and low inside the tumour."
plotting.show_animation(window_frames(), milliseconds=500, alt=alt)

# %% [markdown]
# Where the window holds bright *and* dark pixels, at the rim of the brain or of the ventricles, $r$ is high; inside the tumour it
# is low, as in any even tissue. Percentiles of $r$ become features.
#
# ### Two more, briefly
#
# The **co-occurrence matrix** counts how often grey level $i$ stands beside level $j$ ([Haralick and others
# 1973](https://doi.org/10.1109/TSMC.1973.4309314)). An even image has its counts near the diagonal: its *homogeneity* is high, its
# *contrast*, the mean of $(i-j)^2$, low.

# %% tags=["plumbing"]
levels = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [0, 2, 2, 2], [2, 2, 3, 3]])
counts = np.zeros((4, 4), int)
np.add.at(counts, (levels[:, :-1], levels[:, 1:]), 1)  # pixel, its right neighbour
counts += counts.T  # and read backwards
fig, (left, right) = plt.subplots(1, 2, figsize=(5.6, 2.9))
left.imshow(levels, vmin=-1, vmax=4)
right.imshow(counts, cmap="Blues", vmax=9)
for ax, numbers in ((left, levels), (right, counts)):
    ax.grid(False)
    for (y, x), number in np.ndenumerate(numbers):
        colour = "w" if ax is left and number < 2 else "k"
        ax.text(x, y, number, ha="center", va="center", color=colour, fontsize=12)
left.set(title="an image", xticks=[], yticks=[])
right.set(title="how often side by side", xlabel="level $j$", ylabel="level $i$", xticks=range(4), yticks=range(4))
alt = "Left: an image of 4 by 4 pixels with grey levels 0 to 3. Right: its matrix; the high counts lie on the diagonal."
plotting.show(fig, alt=alt, fold="The example of that paper: level 2 stands beside level 2 three times, seen from both sides: 6")

# %% [markdown]
# A **histogram of oriented gradients** (HOG), made to [find pedestrians](https://doi.org/10.1109/CVPR.2005.177), counts in each of
# $4 \times 4$ cells which way the edges run, in nine directions, a strong edge counting more. Normalised in the $3 \times 3$
# overlapping blocks of $2 \times 2$ cells, that makes $9 \cdot 4 \cdot 9 = 324$ numbers.

# %% tags=["plumbing"]
from skimage.feature import hog

cell = (len(picture) // 4,) * 2
_, strokes = hog(picture, 9, pixels_per_cell=cell, cells_per_block=(2, 2), visualize=True)
stages = np.stack([picture / picture.max(), strokes / strokes.max()])
fig = plotting.image_grid(stages, titles=["B", "its HOG"], columns=2)
for ax in fig.axes[:2]:
    for place in np.arange(1, 4) * cell[0] - 0.5:
        ax.axhline(place, color=plotting.SKY, lw=0.7)
        ax.axvline(place, color=plotting.SKY, lw=0.7)
plotting.show(
    fig,
    alt="Left: slice B, cut into 4 by 4 cells. Right: a star of strokes in each cell, bright in the directions in "
    "which its edges run; along the rim of the brain they follow the rim.",
    fold="The HOG of slice B: the strokes lie along the edges",
)

# %% [markdown]
# ### All images
#
# `medlib.models.classical` measures these in every image: 11 features of intensity and 21 of texture in each of the three
# channels, HOG in FLAIR.

# %% tags=["nbval-check-output"]
from medlib.models import classical

families = {
    "intensity": classical.intensity_features,
    "texture": classical.texture_features,
    "HOG": classical.hog_features,
}
features = {
    split: {name: family(part.images) for name, family in families.items()}
    for split, part in data.splits.items()
}
{name: table.shape for name, table in features["train"].items()}  # images, features

# %% [markdown]
# **Exercise 05.1: a feature of your own.** A brain is nearly symmetric, a tumour usually on one side. Write a function
# that gets images of shape `(n, height, width, channels)` and returns, shape `(n, channels)`, the mean absolute difference
# between each image and its left-right mirror image.
#
# > **Hint** `images[:, :, ::-1]` reverses the columns. Average over rows and columns, not over channels.


# %% tags=["exercise"]
def asymmetry(images):
    return ...  # your code here


# %% tags=["solution"]
def asymmetry(images):
    return np.abs(images - images[:, :, ::-1]).mean(axis=(1, 2))


# %%
check.exercise("05.1", asymmetry)

# %% [markdown]
# [Solution](solutions/05_classical_baseline.ipynb). Does your feature find tumours? We ask it below, as soon as we have a measure.
#
# ## Features become a score
#
# Take two features, so that we can draw them: the median $q_{50}$ and the bright end $q_{98}$ of FLAIR. A **logistic
# regression** weighs them into a **score** $s$, which $1 / (1 + e^{-s})$ turns into a probability:
#
# $$z = \frac{f - \mu}{\sigma}, \qquad s = w_1 z_1 + w_2 z_2 + b$$
#
# Each feature $f$ is standardised first, with the mean $\mu$ and standard deviation $\sigma$ *of the training images*. The weights $w$
# and the offset $b$ are fitted; a penalty keeps $w$ small. A scikit-learn
# [pipeline](https://scikit-learn.org/stable/modules/compose.html) does both steps, and learns both from what `fit` gets:

# %%
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

columns = [-7, -3]  # median and 98th percentile of FLAIR
two = {split: tables["intensity"][:, columns] for split, tables in features.items()}
line = make_pipeline(StandardScaler(), LogisticRegression()).fit(two["train"], train.labels)

# %% tags=["plumbing"]
fig, ax = plt.subplots(figsize=(6.5, 4.2))
for label, marker in ((0, "o"), (1, "^")):
    some = two["train"][train.labels == label][::3]
    ax.plot(*some.T, marker, ms=4, alpha=0.5, mew=0, color=plotting.COLOURS[label], label=names[label])
low, high = np.quantile(two["train"], [0.005, 0.995], axis=0)
grid = np.stack(np.meshgrid(*np.linspace(low, high, 60).T), -1)
scores = line.decision_function(grid.reshape(-1, 2)).reshape(60, 60)
lines = ax.contour(grid[..., 0], grid[..., 1], scores, [-1, 0, 1], colors="k", linestyles=["--", "-", "--"])
ax.clabel(lines, fmt=lambda value: f"$s$ = {value:.0f}")
for letter, place in zip("AB", two["train"][chosen], strict=True):
    ax.plot(*place, "s", color="w", mec="k", ms=15)
    ax.annotate(letter, place, ha="center", va="center")
ax.set(xlabel="median $q_{50}$", ylabel="bright end $q_{98}$", xlim=(low[0], high[0]), ylim=(low[1], high[1]))
ax.legend(loc="lower right", frameon=True, markerscale=2)
alt = "Every third training image as a point: median across, bright end upwards. Tumours lie higher for "
alt += "the same median. Three parallel lines of equal score rise to the right; A and B lie close together."
plotting.show(fig, alt=alt)

# %% [markdown]
# On the solid line, $s = 0$, the model hesitates. It *rises*: the model asks "is the bright end bright *for this brain*?" A and B
# are still the wrong way round: A has the higher score. Two features are not enough.
#
# ### From a threshold to the AUC
#
# Call everything above a threshold a tumour. **Sensitivity** is the share of tumour images that are caught, **specificity** the
# share of normal images that are left in peace. Each threshold gives a pair of them; all pairs together draw the
# **receiver operating characteristic**, the ROC curve. Here for validation images, with a threshold that falls:

# %%
line_scores = line.decision_function(two["validation"])
s1 = line_scores[validation.labels == 1]  # tumour images
s0 = line_scores[validation.labels == 0]  # normal images

# %% tags=["plumbing"]
cuts = np.sort(line_scores)[::-1]
caught, alarmed = ((each >= cuts[:, None]).mean(axis=1) for each in (s1, s0))


def draw_scores():
    fig, (left, right) = plt.subplots(1, 2, figsize=(7.6, 3.3), width_ratios=(1.3, 1))
    for label, each in enumerate((s0, s1)):
        style = {"alpha": 0.5, "color": plotting.COLOURS[label], "label": names[label]}
        left.hist(each, np.arange(-3, 4.1, 0.25), **style)
    left.set(xlabel="score $s$, line: threshold", ylabel="validation images")
    left.legend(loc="upper right", fontsize=10)
    right.plot(alarmed, caught, color=plotting.GREY, lw=1)
    right.set(xlabel="1 - specificity", ylabel="sensitivity")
    right.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), title=" ")
    return fig


# %% tags=["plumbing"]
def threshold_frames(thresholds):
    fig = draw_scores()
    left, right = fig.axes
    rule = left.axvline(0, color="k")
    (passed,) = right.plot([], [], color=plotting.GREEN, lw=3)
    (dot,) = right.plot([0], [0], "ko")
    for threshold in thresholds:
        x, y = (s0 >= threshold).mean(), (s1 >= threshold).mean()
        rule.set_xdata([threshold, threshold])
        passed.set_data(alarmed[cuts >= threshold], caught[cuts >= threshold])
        dot.set_data([x], [y])
        right.set_title(f"sensitivity {y:.2f}, specificity {1 - x:.2f}", fontsize=11)
        yield fig
        fig.set_layout_engine("none")  # which the first frame has used


alt = "Left: histograms of the scores of normal and tumour images, which overlap, with a threshold "
alt += "that moves from high to low. Right: the ROC curve is drawn from the lower left to the upper right."
plotting.show_animation(threshold_frames([0, *np.arange(2.5, -2.6, -0.5)]), milliseconds=700, alt=alt)

# %% [markdown]
# A high threshold is the lower left corner: hardly an alarm, hardly a tumour caught. One below all scores is the upper right.
# Guessing gives the diagonal.
#
# The **AUC**, the area under the curve, needs no threshold: it is the probability that a tumour image scores higher
# than a normal one, ties counting half ([Hanley and McNeil 1982](https://doi.org/10.1148/radiology.143.1.7063747)):
#
# $$\text{AUC} = \frac{1}{n_1 n_0} \sum_{a:\, y_a = 1}\ \sum_{b:\, y_b = 0} \Big( [s_a > s_b] + \tfrac{1}{2} [s_a = s_b] \Big)$$
#
# Here $y$ is the label, 1 for a tumour; $n_1$ and $n_0$ count the images of each class; $[\cdot]$ is 1 if true, else 0. One half is
# guessing, 1 a perfect order. In code:

# %% tags=["nbval-check-output"]
from medlib.evaluation import statistics


def auc(labels, scores):
    return statistics.area_under_curve(labels == 1, scores)


by_pairs = np.mean((s1[:, None] > s0) + 0.5 * (s1[:, None] == s0))
print(f"by pairs {by_pairs:.3f}, as area {auc(validation.labels, line_scores):.3f}")

# %% [markdown]
# > **Predict** Your feature of exercise 05.1: will `auc(validation.labels, asymmetry(validation.images)[:, -1])` beat guessing?
# > What does a turned head do to it?
#
# <details><summary>Answer</summary>
#
# No: 0.49. The heads are turned and shifted, and such a head differs from its mirror image without any tumour. The solution turns
# and shifts each until it is most symmetric: 0.57. Both intervals over patients hold 0.5.
#
# </details>

# %% tags=["solution"]
from scipy.ndimage import rotate  # exercise 05.1, tried

flair = validation.images[..., -1:]
turned = [rotate(flair, angle, axes=(1, 2), reshape=False, order=1) for angle in range(-20, 21, 4)]
every = [asymmetry(np.roll(t, shift, axis=2))[:, 0] for t in turned for shift in range(-4, 5)]
print(f"as they come {auc(validation.labels, asymmetry(flair)[:, 0]):.2f}")
print(f"turned and shifted until most symmetric {auc(validation.labels, np.min(every, axis=0)):.2f}")

# %% [markdown]
# ## Choosing on validation
#
# Each family alone, two together, or all three: five candidates. `build_classifier` is the pipeline from above with a stronger
# penalty. Each learns from the training patients and is compared on the validation patients.
#
# > **Predict** Which family will be best alone, which worst? Will all three beat two?

# %%
candidates = {}
for members in [[name] for name in families] + [["intensity", "texture"], list(families)]:
    table = {split: np.hstack([f[n] for n in members]) for split, f in features.items()}
    pipeline = classical.build_classifier().fit(table["train"], train.labels)
    candidates[" + ".join(members)] = pipeline, table

# %% [markdown]
# All score the *same* patients, so the *difference* of two AUCs gets its own, **paired** interval
# ([DeLong and others 1988](https://doi.org/10.2307/2531595)), extended so that the images of one patient count together
# ([Obuchowski 1997](https://doi.org/10.2307/2533958)).

# %%
scores = {
    key: [pipeline.decision_function(table[split]) for split in ("train", "validation")]
    for key, (pipeline, table) in candidates.items()
}
aucs = pd.Series({key: auc(validation.labels, s) for key, (_, s) in scores.items()})
best = aucs.idxmax()


def minus_best(some):
    whose, winner = validation.subjects, scores[best][1]
    return statistics.auc_test(validation.labels, some, winner, subjects=whose).difference


# %% tags=["plumbing"]
fig, (left, right) = plt.subplots(1, 2, figsize=(8, 3.1), sharey=True, width_ratios=(1, 0.8))
for height, (key, (on_train, on_new)) in enumerate(scores.items()):
    colour = plotting.VERMILION if key == best else plotting.BLUE
    known = auc(train.labels, on_train)
    left.plot([known, aucs[key]], [height] * 2, color=plotting.GREY, lw=1)
    for x, fill in ((known, "none"), (aucs[key], "full")):
        left.plot(x, height, "o", color=colour, fillstyle=fill)
    if key != best:
        gap = minus_best(on_new)
        right.plot([gap.low, gap.high], [height] * 2, "|-", color=plotting.BLUE)
        right.plot(gap.value, height, "o", color=plotting.BLUE)
for ax, zero in ((left, 0.5), (right, 0)):
    ax.axvline(zero, color=plotting.GREY, linestyle=":")
short = {"intensity + texture": "intensity\n+ texture", " + ".join(families): f"all {len(families)}"}
left.set_yticks(range(len(scores)), [short.get(key, key) for key in scores])
left.set(xlabel="AUC: open training,\nfilled validation", xlim=(0.4, 1.03), ylim=(len(scores) - 0.5, -0.5))
right.set(xlabel="validation AUC minus the best\none's, with 95 % interval", xlim=(-0.45, 0.05))
alt = "Training and validation AUC of five candidates, and how far each is behind the best on validation, intensity and texture."
plotting.show(fig, alt=alt)

# %% tags=["plumbing"]
def with_interval(split, scores):
    """AUC on a split with its 95 % interval over patients."""
    return statistics.auc_interval(split.labels, scores, subjects=split.subjects)


on_validation = with_interval(validation, scores[best][1])
ledger.record("05/validation_auc", aucs[best], parameters, limits=(0, 1), chance=0.5)
ledger.say(
    "Best on validation: **{families}**, AUC {interval} (95 % interval over patients).",
    families=best,
    interval=on_validation,
)

# %% [markdown]
# - Alone, **intensity** comes out highest, and **HOG** guesses; likely (not tested) because a tumour may sit anywhere,
#   and HOG describes *fixed places*.
# - **On these patients two families beat one**; perhaps brightness and texture say different things,
# - **and all three are worse than two, with this penalty.** HOG adds 324 numbers. The training AUC (open) rises, the validation
#   AUC (filled) falls: that is **overfitting**. The distance between the two, the **generalisation gap**, is not overfitting in
#   itself: even the best candidate has one.
#
# All four paired intervals, at the right, lie below zero.
#
# **Exercise 05.2: how strong a penalty?** In `LogisticRegression(C=...)` a *small* `C` is a *strong* penalty on the weights. Write a
# function that fits one pipeline (`StandardScaler`, then `LogisticRegression` with `max_iter=1000`) to `known` for each `C` in
# `choices`, and returns the `C` with the highest AUC on `new`.
#
# > **Hint** `make_pipeline(...).fit(known, known_labels)`, then `decision_function(new)`, then `auc(new_labels, ...)`.


# %% tags=["exercise"]
def choose_penalty(known, known_labels, new, new_labels, choices):
    return ...  # your code here


# %% tags=["solution"]
def choose_penalty(known, known_labels, new, new_labels, choices):
    found = []
    for strength in choices:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=1000))
        model.fit(known, known_labels)
        found.append(auc(new_labels, model.decision_function(new)))
    return choices[int(np.argmax(found))]


# %%
check.exercise("05.2", choose_penalty)

# %% [markdown]
# [Solution](solutions/05_classical_baseline.ipynb). Try it on the features in `candidates[best][1]`, a dictionary with a table a split, with
# `[0.001, 0.01, 0.1, 1, 10]`. Which `C` wins? And which, if the training features are `new`, too?
#
# <details><summary>Answer</summary>
#
# On validation 1, a little ahead of the 0.1 of `build_classifier`. On the training images 10: the weakest penalty fits best what
# it has seen.
#
# </details>
#
# ### Choosing features is learning, too
#
# Radiomics software can give a thousand features; people keep the best few. Chosen on which patients? An experiment *without
# any signal*: 60 patients, 1,000 random numbers each, labels shuffled. We keep the best 20 and test by
# **cross-validation**: five times, a model learns from four fifths of the patients and scores the last fifth. With
# `leak=True` the 20 are chosen on all patients *before* that, else in the pipeline, on the four fifths.
#
# > **Predict** There is nothing to find. Which AUC will each way report?

# %%
from sklearn.feature_selection import SelectKBest
from sklearn.model_selection import cross_val_predict


def noise_auc(repeat, leak):
    generator = np.random.default_rng([seed, repeat])
    numbers, coin = generator.normal(size=(60, 1000)), generator.permutation(60) % 2
    model = make_pipeline(SelectKBest(k=20), LogisticRegression())
    if leak:
        numbers = SelectKBest(k=20).fit_transform(numbers, coin)
    return auc(coin, cross_val_predict(model, numbers, coin, cv=5, method="decision_function"))


leaky, honest = ([noise_auc(repeat, leak) for repeat in range(12)] for leak in (True, False))

# %% tags=["plumbing"]
fig, ax = plt.subplots(figsize=(6.5, 2.3))
for height, each in enumerate((leaky, honest)):
    spread = height + np.linspace(-0.15, 0.15, len(each))
    ax.plot(each, spread, "o", fillstyle="none", color=plotting.COLOURS[1 - height])
    ax.plot(np.mean(each), height, "D", color=plotting.COLOURS[1 - height], ms=9)
ax.axvline(0.5, color=plotting.GREY, linestyle=":")
ax.set_yticks([0, 1], ["chosen before the split", "chosen inside"])
ax.set(xlabel="AUC on pure noise; diamonds: means of 12", xlim=(0, 1.02), ylim=(1.4, -0.4))
plotting.show(
    fig,
    alt="AUC of 12 repetitions on pure noise. With features chosen before the split all are far above one "
    "half, with features chosen inside they scatter around it.",
)
ledger.record("05/leak", np.mean(leaky), parameters, limits=(0, 1), chance=0.5)
ledger.say(
    "Mean AUC of 12 repetitions: **{leak:.2f}** if the features are chosen before the split, {honest:.2f} if inside. The "
    "truth is 0.5.",
    honest=np.mean(honest),
)

# %% [markdown]
# A brilliant result from nothing: the labels of the patients to be scored had helped to choose, as in published studies
# ([Ambroise and McLachlan 2002](https://doi.org/10.1073/pnas.102102699)). With *every* step that learns in the pipeline, *this*
# leak cannot happen.
#
# ## The test, once
#
# The best of five noisy numbers is on average a little too good, and so is its lead. We measure the number again, on the
# 90 patients simulated for this test; the lead we leave untested.

# %%
pipeline, table = candidates[best]
test_scores = pipeline.decision_function(table["test"])

# %% tags=["plumbing"]
on_test = with_interval(test, test_scores)
ledger.record("05/test_auc", on_test.value, parameters, limits=(0, 1), chance=0.5)
ledger.say(
    "On {n} images of {m} test patients: AUC **{interval}** (95 % interval over patients). On validation it was {before:.3f}.",
    n=len(test),
    m=len(set(test.subjects)),
    interval=on_test,
    before=on_validation.value,
)

# %% [markdown]
# It did not fall this time: the expected loss is small beside an interval that reaches 0.06 to 0.08 either way.
#
# Below are the two tumour images with the lowest scores and the two normal ones with the highest. Which are the tumours?

# %% tags=["plumbing"]
missed = np.flatnonzero(test.labels == 1)[np.argsort(test_scores[test.labels == 1])[:2]]
alarms = np.flatnonzero(test.labels == 0)[np.argsort(-test_scores[test.labels == 0])[:2]]
worst = np.concatenate([missed, alarms])[[2, 0, 3, 1]]
ys, xs = test.images[worst].max(axis=(0, 3)).nonzero()
crop = np.s_[:, ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]  # cut off the empty margin
pictures = test.images[worst][..., -1][crop]
fig = plotting.image_grid(pictures, titles=list("CDEF"), window=window)
plotting.show(fig, alt=f"{channel} of four test images that the model gets wrong.")

# %% [markdown]
# Decide, then open the answer.

# %% tags=["plumbing"]
titles = [f"{c}: {names[test.labels[w]]}, {test_scores[w]:+.1f}" for c, w in zip("CDEF", worst, strict=True)]
fig = plotting.image_grid(pictures, titles=titles, window=window)
if test.masks is not None:
    for ax, mask in zip(fig.axes, test.masks[worst][crop], strict=True):
        plotting.outline(ax, mask)
plotting.show(
    fig,
    fold="Answer: scores and outlines",
    alt="The same four images with their scores and the tumours outlined: two that were missed are small and faint, two false "
    "alarms are full of bright spots.",
)

# %% [markdown]
# <details><summary>What the four say</summary>
#
# These two missed tumours are small and faint, these two false alarms full of bright spots. (The misses also lie higher in the
# head; four images cannot tell which matters.) Percentiles tell how much is bright, texture how bright and dark are mixed nearby.
# Neither tells *where* in the head the bright pixels lie, or whether they form one round lump.
#
# </details>
#
# ## Three claims about deep learning
#
# Now a small **convolutional network**: layers of filters whose numbers are *learnt*, then a weighted sum of what the last ones
# find ([lesson 06](06_convolution.ipynb) and [lesson 08](08_first_cnn.ipynb) open the box). It is trained once, briefly; its score is
# the mean over an image and its mirror image. We use the same test patients again, but choose nothing by them.

# %% tags=["plumbing"]
from medlib import models as networks
from medlib import tasks, training

training.set_seed(seed)  # imports Keras quietly, and seeds it
import keras

# %%
task = tasks.Classification(data.class_names)
epochs = round(steps / (len(train) // 32))
recipe = training.recipe("cnn", n_images=len(train), epochs=epochs)
recipe["augmentation"] = {"flip": True}  # random mirroring, nothing else
network = networks.build("cnn", data.image_shape, task, seed=seed)
training.fit(network, train, task=task, seed=seed, **recipe)
network_scores = training.predict(network, test.images, task, mirror=True)[:, 1]

# %% tags=["plumbing"]
live = {"classical": on_test, "cnn": with_interval(test, network_scores)}
ledger.record("05/network_auc", live["cnn"].value, parameters, limits=(0, 1), chance=0.5)
ledger.say(
    "One training on {n} images, {steps} steps. On the test patients: network {cnn}, hand-made features {classical} (AUC, 95 %).",
    n=len(train),
    steps=recipe["epochs"] * (len(train) // 32),
    **live,
)

# %% [markdown]
# *One* training, on *one* draw of patients: not yet a claim.
#
# ### Claim 1: a network learns its features
#
# Cut off the network's last layer: 64 numbers an image remain, its **learnt features**. Are they worth more than those of the same
# network *before* training, with random filters? A logistic regression learns from either on the validation patients, whom the
# network has not seen.

# %%
untrained = networks.build("cnn", data.image_shape, task, seed=seed)  # before training


def score_features(source):
    encoder = keras.Model(source.input, source.layers[-2].output)
    known, new = (
        np.vstack([encoder(some) for some in np.array_split(part.images, 12)])
        for part in (validation, test)
    )
    return classical.build_classifier().fit(known, validation.labels).decision_function(new)


# %%
learnt, random = score_features(network), score_features(untrained)
learning = statistics.auc_test(test.labels, learnt, random, subjects=test.subjects)
learning = learning.difference

# %% tags=["plumbing"]
ledger.record("05/learning", learning.value, parameters, limits=(-1, 1), chance=0)
ledger.say(
    "AUC from random filters {random} and from learnt filters {learnt}; learnt minus random **{learning}** "
    "(95 % over patients, paired).",
    random=with_interval(test, random),
    learnt=with_interval(test, learnt),
    learning=learning,
)

# %% [markdown]
# The interval speaks about other *test* patients. The band above it speaks about other *trainings*, on the same patients: it is from ten of them, and stays far
# above zero. Claim 1 holds here.
#
# ### A study for the other two claims
#
# Claims 2 and 3 compare two *ways of learning*. That takes many trainings, a **study** (`studies/learning_curve.toml`):
#
# - 100, 300, 1,000 or all 2,040 images of the training and validation patients, always *whole patients*;
# - at each size ten trainings of our winner and of the network; each draws other patients, the same for both models;
# - about 400 steps for the network at every size: more images do not mean a longer training;
# - this lesson's test patients.
#
# > **Predict** Draw two curves, AUC against the number of images. Which is on top with 100 images? Do they cross, and if so, where?

# %% tags=["plumbing"]
from coursekit import studies

study = studies.load_study("learning_curve")  # None where only the package is installed
rows = studies.table(study) if study else None


def gain_difference(labels, scores):
    """The network's gain minus the hand-made model's; scores: few and all, of either."""
    few, every, few_network, every_network = (auc(labels, column) for column in scores.T)
    return (every_network - few_network) - (every - few)


# %% tags=["plumbing"]
COLOUR = {"classical": plotting.BLUE, "cnn": plotting.VERMILION}
LABEL = {"classical": "hand-made features", "cnn": "network"}


def draw_curve(ax, model, shift):
    """Mean over trainings with its interval, and every training as a small open marker."""
    sizes = study.records.groupby("n_train", sort=False)["n_images"].mean()
    curve = rows[rows["what"] == model]
    ax.plot(sizes, curve["value"], color=COLOUR[model], label=LABEL[model])
    ax.fill_between(sizes, curve["low"], curve["high"], color=COLOUR[model], alpha=0.15, lw=0)
    for place, size in zip(sizes, sizes.index, strict=True):
        aucs = [auc(study.labels, s) for s in study.scores[model, size]]
        ax.plot([place * shift] * len(aucs), aucs, "o", ms=5, fillstyle="none", color=COLOUR[model])
    if dataset == "simbrain":
        style = {"ms": 15, "color": COLOUR[model], "mec": "k", "ls": "none", "zorder": 5}
        label = f"this lesson's {'network' if model == 'cnn' else 'hand-made'}"
        ax.plot(len(train), live[model].value, "*", label=label, **style)


# %% tags=["plumbing"]
if study:
    fig, ax = plt.subplots(figsize=(6.5, 4.2))
    for model, shift in (("classical", 0.97), ("cnn", 1.03)):
        draw_curve(ax, model, shift)
    ax.axhline(0.5, color=plotting.GREY, linestyle=":")
    ax.set(xscale="log", xlabel="training images", ylabel="AUC on test patients", ylim=(0.38, 1.0))
    ax.set_xticks([100, 300, 1000, 2040], ["100", "300", "1000", "2040"])
    ax.minorticks_off()
    ax.legend(loc="lower right", frameon=True, framealpha=1, fontsize=10)
    plotting.show(
        fig,
        alt="Test AUC of hand-made features and of the network against the number of training images. With 100 "
        "images both are low and overlap; with 300 the network is higher except for one failed training; with 1,000 "
        "and 2,040 it is clearly higher. Stars: the two models of this lesson.",
        save="05_learning_curves",
    )
    worst_network = min(auc(study.labels, s) for s in study.scores["cnn", 300])
    ledger.say("With 300 images one of the ten networks failed: its AUC is {worst:.2f}.", worst=worst_network)

# %% [markdown]
# Lines are means of ten trainings, circles the single ones, stars this lesson's models (the network with half the steps and fewer
# random changes of its images). The bands are 95 % intervals for the *mean*. They allow for two kinds of luck: which patients were drawn
# for training, and which were tested ([Dorfman, Berbaum and Metz 1992](https://doi.org/10.1097/00004424-199209000-00015)). Ten
# draws of 1,000 images share many patients, and all 2,040 are the same every time: there the bands are, if anything, too narrow.
#
# With 100 images both models are poor; the hand-made mean is on top, but the bands overlap almost wholly. The two means cross
# between 100 and 300. With 300, the other nine networks beat every hand-made model.
#
# ### Claims 2 and 3, size by size
#
# Claim 3: the network's AUC is higher. Claim 2: from few images (100, 300 or 1,000) to all, it **gains** more. Either is a
# difference, network minus hand-made:

# %% tags=["plumbing"]
def gains_from(n):
    which = [(model, size) for model in ("classical", "cnn") for size in (n, "all")]
    stacked = np.stack([study.scores[each] for each in which], axis=-1)
    give = study.labels, stacked
    return statistics.seeds_and_patients_interval(gain_difference, *give, subjects=study.subjects)


def draw_intervals(ax, found, title):
    for height, each in enumerate(found.values()):
        ends = [[each.value - each.low], [each.high - each.value]]
        colour = plotting.GREEN if each.low > 0 else plotting.GREY
        ax.errorbar(each.value, height, xerr=ends, fmt="o", capsize=4, color=colour)
        said = f"{each.value:+.3f} [{each.low:+.3f}, {each.high:+.3f}]"
        white = {"boxstyle": "square,pad=0.1", "color": "w"}
        place = each.value, height - 0.2
        ax.annotate(said, place, ha="center", va="bottom", fontsize=10, bbox=white)
    ax.axvline(0, color="k", linestyle=":", lw=1, zorder=0)
    ax.set_yticks(range(len(found)), [f"{n}" for n in found])
    ax.set(ylim=(len(found) - 0.6, -0.6), xlim=(-0.25, 0.4), title=title)


# %% tags=["plumbing"]
if study:
    gaps = rows[rows["what"] == "cnn - classical"].set_index("n_train")
    gaps.index = [100, 300, 1000, 2040]
    gaps = {n: gap for n, gap in zip(gaps.index, gaps.itertuples(), strict=True)}
    gains = {f"{n} to 2040": gains_from(n) for n in (100, 300, 1000)}
    fig, (left, right) = plt.subplots(2, 1, figsize=(5.5, 5.6), height_ratios=(4, 3.2))
    draw_intervals(left, gaps, "claim 3: AUC")
    draw_intervals(right, gains, "claim 2: gain in AUC")
    left.set(ylabel="training images")
    left.tick_params(labelbottom=False)
    right.set(ylabel="training images", xlabel="network minus hand-made")
    plotting.show(
        fig,
        alt="Differences with 95 % intervals. AUC: at 100 images the interval holds zero, at 300 it just reaches it, at "
        "1,000 and 2,040 it lies above. Gain: from 100 images above zero, from 300 and from 1,000 it holds zero.",
    )

# %% [markdown]
# Green intervals lie above zero.
#
# - **Claim 3, more accurate.** With 1,000 and 2,040 images: yes. These intervals may be too narrow, but they lie well clear of zero. With 100 or 300 neither model is shown to be better; at 300 the
#   failed training widens the interval.
# - **Claim 2, gains more.** From 100 images: yes. From 300 the interval is too wide to say. From 1,000 the estimate even points the
#   other way, but its interval holds zero.
#
# So ask "which is better *with the images I have*?" The study compared a small network, 400 steps and no tuning, with features
# settled on validation patients who are among the 2,040 images, on a simulation from one template brain.
#
# **Exercise 05.3: one training each.** Somebody trains each model once and believes the higher AUC. Write a function that gets the
# labels and the scores of both models, shape `(trainings, n)`, and returns the share of trainings in which the network's AUC is
# strictly higher.
#
# > **Hint** `auc` takes one row at a time. Row $t$ of one belongs to row $t$ of the other.


# %% tags=["exercise"]
def share_of_wins(labels, network, hand_made):
    return ...  # your code here


# %% tags=["solution"]
def share_of_wins(labels, network, hand_made):
    pairs = zip(network, hand_made, strict=True)
    return np.mean([auc(labels, first) > auc(labels, second) for first, second in pairs])


# %%
check.exercise("05.3", share_of_wins)

# %% [markdown]
# [Solution](solutions/05_classical_baseline.ipynb). Then call it with `study.labels`, `study.scores["cnn", n]` and `study.scores["classical", n]` for
# `n` of 100, 300, 1000 and "all". How often does the network win, and where would one training have misled?
#
# <details><summary>Answer</summary>
#
# With 100 images four times out of ten: no story at all. With 300 and with all images one training in ten contradicts the others;
# with 1,000 none.
#
# </details>
#
# ## In this lesson we
#
# - turned images into features, and saw bright spots fool a single one;
# - weighed features by logistic regression, and read its scores by a ROC curve and an AUC;
# - compared five candidates on validation patients, and tested the winner once;
# - made an excellent AUC from pure noise by choosing features before the split;
# - found claim 1 to hold here, showed claim 2 only from 100 images to all, claim 3 only with 1,000 and 2,040.
#
# Nothing here is a medical device.
#
# **Next** [Lesson 06](06_convolution.ipynb) opens the network: what is a filter, and what does it see?
#
# ## References
#
# - R. J. Gillies, P. E. Kinahan, H. Hricak: [Radiomics: images are more than pictures, they are data](https://doi.org/10.1148/radiol.2015151169),
#   *Radiology* 278 (2016) 563-577.
# - R. M. Haralick, K. Shanmugam, I. Dinstein: [Textural features for image classification](https://doi.org/10.1109/TSMC.1973.4309314), *IEEE Trans. Syst. Man
#   Cybern.* SMC-3 (1973) 610-621.
# - N. Dalal, B. Triggs: [Histograms of oriented gradients for human detection](https://doi.org/10.1109/CVPR.2005.177), *CVPR* 2005, 886-893.
# - J. A. Hanley, B. J. McNeil: [The meaning and use of the area under a ROC curve](https://doi.org/10.1148/radiology.143.1.7063747), *Radiology* 143 (1982) 29-36.
# - E. R. DeLong, D. M. DeLong, D. L. Clarke-Pearson: [Comparing the areas under two or more correlated ROC curves](https://doi.org/10.2307/2531595),
#   *Biometrics* 44 (1988) 837-845.
# - N. A. Obuchowski: [Nonparametric analysis of clustered ROC curve data](https://doi.org/10.2307/2533958), *Biometrics* 53 (1997) 567-578.
# - C. Ambroise, G. J. McLachlan: [Selection bias in gene extraction](https://doi.org/10.1073/pnas.102102699), *PNAS* 99 (2002) 6562-6566.
# - D. D. Dorfman, K. S. Berbaum, C. E. Metz: [Receiver operating characteristic rating analysis](https://doi.org/10.1097/00004424-199209000-00015),
#   *Investigative Radiology* 27 (1992) 723-731.

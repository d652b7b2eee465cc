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
# # 18 Tumour detection
#
# **Where should I look?** In one large hospital a radiologist has to read [an image every three to four seconds](https://doi.org/10.1016/j.acra.2015.05.007), all
# day long. A program that points may help: look here, and how sure I am. But it must keep still everywhere else. When seven centres used such programs in breast screening,
# [more women were called back, and it is not sure that more cancers were found](https://doi.org/10.1056/NEJMoa066099). So today we learn to point, and to count both: what is found, and how
# often the alarm is false.

# %% tags=["install"]
import medlib

# %% tags=["parameters"]
epochs = 5  # passes over the training slices
seed = 0  # of the network's weights, and of the order of the slices

# %% tags=["plumbing"]
from dataclasses import replace

from medlib import training

training.set_seed(seed)  # imports Keras without its messages
import ipywidgets
import keras
import matplotlib.pyplot as plt
import numpy as np
from scipy import ndimage

from coursekit import check, ledger, studies
from coursekit.experiments.detection import DATA, MIDDLE, MODELS, as_scores, best_blobs, blob_boxes, find_blobs, piece_boxes, sensitivity
from medlib import datasets, plotting, tasks
from medlib.datasets.simbrain import new_patients
from medlib.evaluation import detection, statistics
from medlib.preprocessing.intensity import standardise_foreground

parameters, WINDOW, TRUE, FOUND = {"epochs": epochs, "seed": seed}, (0.2, 0.9), plotting.ORANGE, plotting.SKY

# %% tags=["plumbing"]
plotting.use_style()


def standardised(split):
    """The brain of each slice, contrast by contrast, brought to the same grey values."""
    return replace(split, images=standardise_foreground(split.images))


data = datasets.load("simbrain")
train, validation = standardised(data.train), standardised(data.validation)
test = standardised(new_patients(seed=20358))
del data  # frees memory


def look(ax, split, row, *, true=True):
    """FLAIR of a slice, with its true boxes."""
    ax.imshow(split.images[row, ..., 2], vmin=WINDOW[0], vmax=WINDOW[1])
    ax.set(xlim=(5.5, 59.5), ylim=(61.5, 3.5)), ax.set_axis_off()
    plotting.boxes(ax, split.boxes[row] if true else np.empty((0, 4)), colour=TRUE)


# %% [markdown]
# Here are eight slices (FLAIR) of virtual patients ([lesson 02](02_mr_simulation.ipynb)).
#
# > **Predict** Four of them have a tumour. Which, and where? Point before you unfold the answer.

# %% tags=["plumbing"]
quiz = np.array([16, 44, 63, 267, 243, 85, 11, 270])


def show_quiz(true):
    fig, axes = plt.subplots(2, 4, figsize=(7.2, 4.1))
    for number, (ax, row) in enumerate(zip(axes.flat, quiz, strict=True), start=1):
        look(ax, validation, row, true=true)
        ax.set_title(str(number), fontsize=11)
    return fig


plotting.show(show_quiz(False), alt="Eight FLAIR slices, numbered from 1 to 8, all with bright spots of several sizes.")

# %% tags=["plumbing"]
plotting.show(show_quiz(True), fold="Answer", alt="The same slices, with a box around the tumour in four of them.")

# %% [markdown]
# The other bright spots are harmless traces of age; healthy people have them, too.
#
# **You will**
#
# - measure how well two boxes agree, and decide what counts as found;
# - draw a FROC curve: tumours found against false alarms, with intervals;
# - build a detector that marks centres, and turn its heat map into boxes by hand;
# - compare it with a rival without learning, and with boxes around a U-Net's mask;
# - work out what one false alarm an image means in a day of screening.
#
# **Reading:** about 40 min · **running:** about 40 s · **builds on:** [07](07_learning.ipynb) (cross-entropy), [08](08_first_cnn.ipynb) (training and testing a CNN),
# [17](17_unet_segmentation.ipynb) (U-Net)
#
# ## A box, and when it counts
#
# **Detection** asks less than segmentation: not every pixel, only a **box** around each lesion, and a score that says how sure we are. A box is four numbers, in pixels: first row, first column,
# last row + 1, last column + 1.

# %% tags=["nbval-check-output"]
print("images", train.images.shape, "- boxes of the first slices with a tumour:")
print(*train.boxes[train.labels == 1][:3], sep="\n")

# %% [markdown]
# (`train`, `validation` and `test` hold slices of different patients; those of `test` are this lesson's own. The brain of each slice is standardised, as in
# [lesson 17](17_unet_segmentation.ipynb).)
#
# No two people draw the same box. With $A$ and $B$ the pixels of two boxes, and $|\cdot|$ their number, how much do they agree? The usual measure is the **intersection over union**:
#
# $$\mathrm{IoU} = \frac{|A \cap B|}{|A \cup B|} = \frac{|A \cap B|}{|A| + |B| - |A \cap B|}$$
#
# > **Predict** A box of the right size is off by half its width, to the side. What is the IoU? And if it is off by half its height as well?

# %% tags=["plumbing"]
example = 1577
true_box = train.boxes[example][0]
side = true_box[2:] - true_box[:2]
shifts = np.linspace(-1.2, 1.2, 13)
moved = {"to the side": [true_box + s * side[1] * np.array([0, 1, 0, 1]) for s in shifts], "diagonally": [true_box + s * np.tile(side, 2) for s in shifts]}
agree = {name: detection.box_overlap(true_box[None], np.array(boxes))[0] for name, boxes in moved.items()}
STYLE = {"to the side": (FOUND, "-"), "diagonally": (plotting.VERMILION, "--")}


# %% tags=["plumbing"]
def shift_film():
    fig, (left, right) = plt.subplots(1, 2, figsize=(6.6, 3.2), width_ratios=(1, 1.25))
    for k in [8, *range(len(shifts))]:
        left.clear(), right.clear()
        look(left, train, example)
        for name, (colour, style) in STYLE.items():
            plotting.boxes(left, moved[name][k][None], colour=colour)
            right.plot(shifts, agree[name], style, color=colour, label=name)
            right.plot(shifts[k], agree[name][k], "o", color=colour)
        right.axhline(detection.LEAST_OVERLAP, color=plotting.GREY, ls=":", lw=1)
        right.set(xlabel="shift (sides of the box)", ylabel="IoU", ylim=(0, 1.25), yticks=np.linspace(0, 1, 6))
        right.legend(loc="upper right", fontsize=9.5)
        yield fig


plotting.show_animation(shift_film(), milliseconds=250, alt="Two boxes slide over a FLAIR slice and past the true box of its tumour, one sideways, one diagonally. The intersection over union rises to 1 and falls again, much faster for the diagonal one.")

# %% [markdown]
# <details><summary>Answer</summary>
#
# To the side: the boxes share half a box; together they cover one and a half. IoU 1/3. Diagonally: they share a quarter, and cover 1.75. IoU 1/7.
#
# </details>
#
# IoU is strict with small boxes: for a tumour four pixels wide, two pixels are half its width. To find a tumour we do not need its exact edge. So here a box **hits** a lesion if the IoU is at least 0.3 (dotted).
# This is our choice. Others ask for 0.5, or only for the centre to lie in the lesion. State it, for every number below depends on it.
#
# **Exercise 18.1: IoU.** Write the intersection over union of two boxes, arrays of four numbers.
#
# > **Hint** The intersection begins at the larger of both first rows and ends at the smaller of both last ones. It may be empty. ([Solution](solutions/18_tumour_detection.ipynb))


# %% tags=["exercise"]
def iou(box, other):
    return ...  # your code here


# %% tags=["solution"]
def iou(box, other):
    first, last = np.maximum(box[:2], other[:2]), np.minimum(box[2:], other[2:])
    both = np.prod(np.maximum(last - first, 0))
    return both / (np.prod(box[2:] - box[:2]) + np.prod(other[2:] - other[:2]) - both)


# %%
check.exercise("18.1", iou)

# %% [markdown]
# ## The rival: blobs
#
# A tumour is a bright blob in FLAIR. Blobs can be found without any learning. Blur the image $I$ with a Gaussian $G_\sigma$, and take the second derivatives down and across. In the middle of a bright blob
# both are negative. Minus their sum, times $\sigma^2$, so that sizes can be compared, is the **Laplacian of Gaussian** ([Lindeberg 1998](https://doi.org/10.1023/A:1008045108935)):
#
# $$S_\sigma = -\sigma^2 \left( \frac{\partial^2}{\partial y^2} + \frac{\partial^2}{\partial x^2} \right) (G_\sigma * I)$$


# %%
def strength(image, sigma):
    return -(sigma**2) * ndimage.gaussian_laplace(image, sigma)


# %% [markdown]
# The black air around the brain would make its rim the strongest edge of all. So we paint the air as grey as the middle of the brain.

# %%
is_brain = train.images[example].max(axis=-1) > 0
flair = np.where(is_brain, train.images[example, ..., 2], MIDDLE)

# %% [markdown]
# > **Predict** We try larger and larger $\sigma$. Which one answers most in the middle of the tumour: much less than its radius, about its radius, or much more?

# %% tags=["plumbing"]
sigmas = np.arange(1, 7.6, 0.5)
maps = [strength(flair, sigma) for sigma in sigmas]
middle = ((true_box[:2] + true_box[2:]) / 2).astype(int)
far = np.hypot(*(np.indices(flair.shape) - middle[:, None, None])) > 15
spot = np.array(np.unravel_index((maps[2] * far).argmax(), flair.shape))
marks = {"middle of the tumour": (middle, TRUE, "o"), "a spot": (spot, FOUND, "s")}


def draw_strengths(ax, k):
    for name, ((row, column), colour, marker) in marks.items():
        values = [each[row, column] for each in maps]
        ax.plot(sigmas, values, color=colour, label=name)
        ax.plot(sigmas[k], values[k], marker, color=colour, mec="k")
    ax.axvline(side.mean() / 2 / np.sqrt(2), color=plotting.GREY, ls=":", lw=1)
    ax.set(xlabel="$\\sigma$ (pixels)", ylabel="strength", ylim=(-0.1, 0.65))
    ax.legend(loc="upper right", fontsize=9)


# %% tags=["plumbing"]
def scale_film():
    fig, (left, centre, right) = plt.subplots(1, 3, figsize=(7.6, 2.9), width_ratios=(1, 1, 1.2))
    look(left, train, example), left.set_title("FLAIR", fontsize=11)
    for k in [6, *range(0, len(sigmas), 2)]:
        centre.clear(), right.clear()
        centre.imshow(maps[k], vmin=-0.15, vmax=0.4, cmap="cividis")
        centre.set(xlim=(5.5, 59.5), ylim=(61.5, 3.5)), centre.set_axis_off()
        centre.set_title(f"strength, $\\sigma$ = {sigmas[k]:.1f}", fontsize=11)
        for ax in (left, centre):
            for (row, column), colour, marker in marks.values():
                ax.plot(column, row, marker, ms=5, color=colour, mec="k")
        draw_strengths(right, k)
        yield fig


plotting.show_animation(scale_film(), milliseconds=300, alt="The strength map of a slice for growing sigma. At first every small spot lights up, then the tumour, last wide regions. Curves: the spot answers most to a small sigma, the tumour to a larger one.")

# %% [markdown]
# <details><summary>Answer</summary>
#
# A disc of radius $r$ answers most to $\sigma = r / \sqrt{2}$ (dotted: with half the side of the true box for $r$). So the best $\sigma$ tells the size, and gives us a box.
#
# </details>
#
# A blob is a peak in three directions: down, across and over $\sigma$. `find_blobs` of this lesson's study finds them. It is a few lines of SciPy; does it agree with scikit-image?

# %% tags=["nbval-check-output"]
from skimage.feature import blob_log

ours = find_blobs(train.images[[example]], smallest=3)[:, 1:4]  # row, column, sigma
theirs = blob_log(flair, min_sigma=3, max_sigma=8, num_sigma=11, threshold=0.01, overlap=1)
same = set(map(tuple, ours)) == set(map(tuple, theirs))
print(f"{len(ours)} and {len(theirs)} blobs, the same: {same}")

# %% [markdown]
# The score of a blob is its strength. Three numbers remain open: the smallest $\sigma$, the half side of the box in $\sigma$, and the least brightness in the middle. We choose them on validation slices, the first of each patient: what finds most there, in the mean over
# 1/16, 1/4 and 1 false alarms an image.

# %%
some = validation.take(np.arange(0, len(validation), 4))
rule = best_blobs(some)


def mark_blobs(images):
    return blob_boxes(find_blobs(images, rule[0]), len(images), *rule[1:])


blobs = mark_blobs(some.images)

# %% tags=["nbval-check-output"]
print("smallest sigma {}, half a side {} sigma, brightness at least {}".format(*rule))
for box, score in zip(*blobs[0], strict=True):
    print("first slice: box", box, f"score {score:.2f}")

# %% tags=["plumbing"]
ledger.say("For a sharp disc the half side would be {sharp:.1f} sigma; our tumours are no sharp discs, and validation prefers {reach:.1f}.", sharp=np.sqrt(2), reach=rule[1])

# %% [markdown]
# ## Found against false alarms
#
# We now have, for each slice, a list of boxes with scores. Each box is judged:
#
# - it hits a lesion (IoU of at least 0.3): **found**. A lesion counts once; more boxes on it are neither good nor bad;
# - it hits nothing: a **false alarm**.
#
# `match_boxes` gives two tables: the lesions, each with the score of the surest box that hits it (minus infinity: none does), and the false alarms.

# %%
boxes, scores = zip(*blobs, strict=True)
lesions, alarms = detection.match_boxes(some.boxes, boxes, scores)

# %% tags=["nbval-check-output"]
print(f"{len(some)} slices, {len(lesions)} lesions, {len(alarms)} false alarms")

# %% [markdown]
# Show only boxes above a threshold, and there are fewer false alarms, but fewer tumours found. A ROC curve ([lesson 05](05_classical_baseline.ipynb)) would draw that against specificity. But nobody can count the places where there is *no* tumour.
# So we count false alarms **an image**. The result is the **FROC** curve, for free-response ([Chakraborty 2013](https://doi.org/10.1016/j.acra.2013.03.001)): readers are free to mark as many places as they like.

# %% tags=["plumbing"]
curve = detection.free_response_curve(lesions, alarms, len(some))
steps_shown = np.linspace(3, np.searchsorted(curve["false_positives"], 1.05), 12).astype(int)
hits = lesions.loc[np.isfinite(lesions["score"]), "score"]
jitter = np.random.default_rng(0)
dots = [(values, jitter.uniform(0.1, 0.9, len(values)) + base, colour) for values, base, colour in ((hits, 1, TRUE), (alarms["score"], 0, plotting.BLACK))]


# %% tags=["plumbing"]
def threshold_film():
    fig, (left, right) = plt.subplots(1, 2, figsize=(7, 3.2), width_ratios=(1.1, 1))
    for k in [steps_shown[5], *steps_shown]:
        left.clear(), right.clear()
        at = curve.iloc[k]
        for values, height, colour in dots:
            shown = values >= at["threshold"]
            left.scatter(values, height, s=14, color=colour, alpha=np.where(shown, 0.8, 0.12), lw=0)
        left.axvline(at["threshold"], color=plotting.BLUE)
        left.set(xlabel="score", yticks=[0.5, 1.5], yticklabels=["false\nalarms", "found"], xlim=(0, 0.3), ylim=(0, 2.1))
        left.set_title(f"threshold {at['threshold']:.2f}", fontsize=11)
        right.plot(curve["false_positives"], curve["sensitivity"], color=plotting.GREY, lw=1)
        right.plot(curve["false_positives"][: k + 1], curve["sensitivity"][: k + 1], color=plotting.BLUE)
        right.plot(at["false_positives"], at["sensitivity"], "o", color=plotting.BLUE)
        right.set(xlim=(0, 1.1), ylim=(0, 1.02), xlabel="false alarms an image", ylabel="tumours found")
        yield fig


plotting.show_animation(threshold_film(), milliseconds=250, alt="Left: scores of the boxes that found a tumour and of false alarms; a threshold slides from high to low, and what is above it lights up. Right: the point of the FROC curve moves up and to the right.")

# %% [markdown]
# **Exercise 18.2: a point of the FROC curve.** Take the scores of the lesions (`-np.inf` where nothing hits one), the scores of the false alarms, the number of images and a threshold. Boxes at or above the threshold are shown. Return false alarms an image, and the share of
# lesions found.
#
# > **Hint** `(scores >= threshold)` is an array of `True` and `False`; its mean is a share. Which of the two numbers is a share? ([Solution](solutions/18_tumour_detection.ipynb))


# %% tags=["exercise"]
def froc_point(lesion_scores, alarm_scores, n_images, threshold):
    return ...  # your code here


# %% tags=["solution"]
def froc_point(lesion_scores, alarm_scores, n_images, threshold):
    false_alarms = np.sum(np.asarray(alarm_scores) >= threshold) / n_images
    return false_alarms, np.mean(np.asarray(lesion_scores) >= threshold)


# %%
check.exercise("18.2", froc_point)

# %% [markdown]
# ## A detector of centres
#
# Now a network shall point. What should it answer? A list of boxes has no fixed length; what a network gives has. The trick of [Zhou and others 2019](https://arxiv.org/abs/1904.07850): lay a grid over the image, here 16 x 16 cells of 4 x 4 pixels. For each
# cell the network gives five numbers: how likely a lesion has its **centre** there (all cells together: the **heat map**), where in the cell, down and across, and the logarithms of height and width.
#
# For a true box with centre $(u, v)$ and size $(a, b)$, in cells, the heat of the cell with middle $(i, j)$ shall be
#
# $$Y_{ij} = \exp\left(-\frac{1}{2}\left[\left(\frac{u - i}{a/6}\right)^2 + \left(\frac{v - j}{b/6}\right)^2\right]\right)$$
#
# and 1 in the cell that holds the centre. This is a Gaussian whose standard deviation is a sixth of the box: to be off by one cell is less wrong than to be off by ten.


# %%
middles = np.stack(np.meshgrid(np.arange(16) + 0.5, np.arange(16) + 0.5, indexing="ij"), axis=-1)


def targets_of(box):
    """The five numbers of each cell, shape (16, 16, 5)."""
    centre, size = (box[:2] + box[2:]) / 2 / 4, (box[2:] - box[:2]) / 4  # in cells
    offset = centre - middles
    heat = np.exp(-((offset / (size / 6)) ** 2).sum(axis=-1) / 2)
    heat[tuple(centre.astype(int))] = 1
    logs = np.broadcast_to(np.log(size), offset.shape)
    return np.concatenate([heat[..., None], offset, logs], axis=-1)


# %% tags=["nbval-check-output"]
task = tasks.Detection()
by_hand = targets_of(true_box)
by_medlib = task.maps(true_box[None, None], (64, 64))[0]
same = np.allclose(by_hand, by_medlib, atol=1e-5)
print("shape", by_hand.shape, "- the same as medlib's:", same)

# %% [markdown]
# And back. A lesion is where a cell is the hottest of its 3 x 3 neighbourhood. The other four numbers give its centre and size. We **decode**:


# %% tags=["nbval-check-output"]
def boxes_of(numbers, least=0.05):
    """Boxes and scores from the five numbers of each cell."""
    heat = numbers[..., 0]
    peak = (heat == ndimage.maximum_filter(heat, 3)) & (heat >= least)
    centre, size = (middles + numbers[..., 1:3])[peak], np.exp(numbers[peak][:, 3:])
    return 4 * np.hstack([centre - size / 2, centre + size / 2]), heat[peak]


decoded, heat = boxes_of(by_hand)
print("true box", true_box, "- decoded", decoded[0].round(3), "score", heat[0])

# %% tags=["plumbing"]
def draw_grid(ax, colour):
    for k in range(17):
        ax.axhline(4 * k - 0.5, color=colour, lw=0.4), ax.axvline(4 * k - 0.5, color=colour, lw=0.4)


fig, axes = plt.subplots(1, 3, figsize=(7.6, 2.8))
look(axes[0], train, example), draw_grid(axes[0], "0.6")
axes[1].imshow(np.kron(by_hand[..., 0], np.ones((4, 4))), vmin=0, vmax=1, cmap="cividis"), draw_grid(axes[1], "0.4")
look(axes[2], train, example)
hot = by_hand[..., 0] > 0.15
rows, columns = (middles[hot] * 4 - 0.5).T
axes[2].quiver(columns, rows, *(4 * by_hand[hot][:, [2, 1]].T), angles="xy", scale_units="xy", scale=1, color=FOUND, width=0.02)
top, left_edge, bottom, right_edge = true_box
for ax, title in zip(axes, ("slice, box and cells", "heat map", "offsets of warm cells"), strict=True):
    ax.set(xlim=(left_edge - 9.5, right_edge + 8.5), ylim=(bottom + 8.5, top - 9.5)), ax.set_axis_off()
    ax.set_title(title, fontsize=11)
plotting.show(fig, alt="Detail of a slice with the true box of its tumour and a grid of cells; the heat map, bright in the cell of the centre and dimmer around; arrows from the middles of the warm cells to the centre of the tumour.")

# %% [markdown]
# Heat: 0 (dark) to 1 (yellow). Each arrow leads from the middle of a cell to the centre of the tumour. Without offsets a box could be off by half a cell, two pixels. (`task.boxes` decodes in the same way. It also drops a box that agrees with a surer one to more than one half.)
#
# How should wrong heat $p$ be punished? In a slice with a tumour one cell in 256 holds its centre, in the others none: with plain cross-entropy ([lesson 07](07_learning.ipynb)) the many easy cells would drown it. The **focal loss** ([Lin and others 2017](https://arxiv.org/abs/1708.02002)) turns down what is nearly right already:
#
# $$L = -\frac{1}{N} \sum_{ij} \begin{cases} (1 - p_{ij})^2 \log p_{ij} & \text{where } Y_{ij} = 1 \\ (1 - Y_{ij})^4\, p_{ij}^2 \log(1 - p_{ij}) & \text{elsewhere} \end{cases}$$
#
# with $N$ the number of lesions in the batch. The factor $(1 - Y)^4$ spares the neighbours of a centre. Offsets and sizes are judged by their absolute errors, in hot cells only.
#
# > **Predict** An easy empty cell: $p = 0.1$, $Y = 0$. By what factor is its loss smaller than plain cross-entropy's? And a false alarm with $p = 0.9$?
#
# <details><summary>Answer</summary>
#
# The factor is $p^2$: 1/100 for the easy cell, 0.81 for the false alarm. So the loud mistakes count.
#
# </details>
#
# **Exercise 18.3: another heat map.** Is a sixth of the box right? Write a function that returns a task whose heat falls off `factor` times as slowly; everything else stays. The check trains a small detector with it.
# When it is correct, set `task = with_width(2.0)` before the network is built below, and run on from there.
#
# > **Hint** A class in the function: `class Wide(tasks.Detection)` with a method `maps(self, boxes, shape)`. `super().maps(boxes, shape)` gives Keras arrays of shape (n, rows, columns, 5). A
# > Gaussian to the power of 1/4 is a Gaussian twice as wide. ([Solution](solutions/18_tumour_detection.ipynb))


# %% tags=["exercise"]
def with_width(factor):
    return ...  # your code here


# %% tags=["solution"]
def with_width(factor):
    class Wide(tasks.Detection):
        def maps(self, boxes, shape):
            right = super().maps(boxes, shape)
            heat = right[..., :1] ** (1 / factor**2)
            return keras.ops.concatenate([heat, right[..., 1:]], axis=-1)

    return Wide()


# %%
check.exercise("18.3", with_width)

# %% [markdown]
# <details><summary>Is a sixth right? An answer, for after the training</summary>
#
# With a sixth the heat at the edge of the box is $e^{-4.5} \approx 0.01$; with `factor` 2 it is 0.32. A wide Gaussian forgives more, but its peak is flat, and two lesions side by side may melt. A narrow one punishes the next cell nearly as hard as one far away.
# On validation slices, two trainings of each: twice as wide found about as much, half as wide less at few false alarms. So a sixth is a fair choice, but nothing shows that it is the best. One run of yours cannot tell either: look whether its numbers leave the bands of ten seeds.
#
# </details>
#
# ## Training
#
# The network is the U-Net of [lesson 17](17_unet_segmentation.ipynb) with one level more; its way up ends at the cells, a quarter of the resolution. (To save time it is a little narrower than that of `medlib train --task detect`.)

# %%
from medlib.models.detector import build_detector

network = build_detector((64, 64, 3), task, seed=seed, width=12)
print(f"{network.count_params():,} weights, output {network.output_shape[1:]}")

# %% [markdown]
# We train on all slices, also those without a tumour: they teach it to keep still. The recipe is medlib's, but images are only mirrored, not moved and turned: five passes are too few to learn from all that.

# %%
shown = validation.take(np.array([5, 70, 146, 256]))
film = [task.predict(network, shown.images, batch_size=4)]
recipe = training.recipe("detector", n_images=len(train), epochs=epochs)
recipe["augmentation"] = {"flip": True}
history = training.fit(
    network, train, task=task, seed=seed, **recipe,
    on_epoch=lambda row: film.append(task.predict(network, shown.images, batch_size=4)),
)

# %% tags=["plumbing"]
def training_film():
    """Frames: four validation slices; below, the heat map after each pass."""
    fig, axes = plt.subplots(2, 4, figsize=(6.8, 3.9))
    for k in [len(film) - 1, *range(len(film))]:
        for column, (numbers, (boxes, scores)) in enumerate(zip(film[k], task.boxes(film[k]), strict=True)):
            above, below = axes[:, column]
            above.clear(), below.clear()
            look(above, shown, column)
            plotting.boxes(above, boxes[scores >= 0.2][:3], colour=FOUND)
            below.imshow(np.kron(numbers[..., 0], np.ones((4, 4))), vmin=0, vmax=0.6, cmap="cividis")
            below.set(xlim=(5.5, 59.5), ylim=(61.5, 3.5)), below.set_axis_off()
        fig.suptitle(f"after {k} of {epochs} passes" if k else "before training", fontsize=12)
        yield fig


plotting.show_animation(training_film(), milliseconds=900, alt="Four validation slices with true boxes, and below them the heat maps after each pass over the training slices. At first the maps are flat; then cells light up, and few bright ones stay where the tumours are.")

# %% [markdown]
# Two of the four have a tumour (orange). Blue: boxes with a score of at least 0.2, three at most. Heat: 0 (dark) to 0.6 (yellow). At first the heat map says nothing; then the network learns to keep still nearly everywhere, and where it is worth speaking.

# %% tags=["plumbing"]
last = [boxes[scores >= 0.2][:3] for boxes, scores in task.boxes(film[-1])]
wrong = [(detection.box_overlap(truth, boxes).max(axis=0, initial=0) < detection.LEAST_OVERLAP).sum() for truth, boxes in zip(shown.boxes, last, strict=True)]
ledger.say("Not all is right yet. Blue boxes that hit nothing in the end: {wrong} of {n}. Hottest cell in the two slices without a tumour: {heat:.2f}.", wrong=sum(wrong), n=sum(map(len, last)), heat=film[-1][shown.labels == 0, ..., 0].max())

# %% [markdown]
# ## The test, once
#
# New patients. The heat maps are averaged with those of the mirrored slices, and the blobs stand beside them.

# %%
numbers = training.predict(network, test.images, task, mirror=True)
found = {
    "detector": task.boxes(numbers),
    "blobs": [boxes for part in np.split(test.images, 4) for boxes in mark_blobs(part)],
}
matched = {}
for who, each in found.items():
    matched[who] = detection.match_boxes(test.boxes, *zip(*each, strict=True))

# %% [markdown]
# `detection.report` reads the curves at three numbers of false alarms an image, with 95 % intervals. It resamples (bootstrap, [lesson 12](12_comparing_architectures.ipynb)) *patients*, not slices: four slices of one patient are not four independent trials. And it finds the threshold anew each time.

# %%
reports = {}
for who, each in matched.items():
    reports[who] = detection.report(*each, subjects=test.subjects)
reports["detector"].round(3)

# %% tags=["plumbing"]
COLOURS = {"detector": plotting.BLUE, "blobs": plotting.GREEN, "unet": plotting.VERMILION}
fig, ax = plt.subplots(figsize=(5.8, 3.6))
for (who, each), shift in zip(matched.items(), (0.96, 1.04), strict=True):
    points = detection.free_response_curve(*each, len(test))
    ax.step(points["false_positives"], points["sensitivity"], where="post", color=COLOURS[who], label=who)
    ax.vlines(np.array(detection.FALSE_POSITIVES) * shift, reports[who]["low"], reports[who]["high"], color=COLOURS[who], lw=4, alpha=0.4)
ax.set(xscale="log", xlim=(1 / 90, 2), ylim=(0, 1.02), xlabel="false alarms an image", ylabel="tumours found")
ax.set_xticks([1 / 64, 1 / 16, 1 / 4, 1], ["1/64", "1/16", "1/4", "1"]), ax.minorticks_off()
ax.legend(loc="lower right")
plotting.show(fig, alt="FROC curves of the detector and of the blobs on the test slices, false alarms on a logarithmic axis, with 95 % intervals at 1/16, 1/4 and 1 false alarm an image.")

# %% [markdown]
# (Logarithmic axis; bars: the intervals.) Both were tested on the same slices, so we look at the difference. It is not only one of learning: the blobs look at FLAIR alone, the detector at all three contrasts. `as_scores` keeps of each slice what a FROC curve needs, and `sensitivity` reads it at 1/16, 1/4 and 1.

# %%
pair = [as_scores(test, found[who]) for who in ("detector", "blobs")]


def gain(ours, theirs):
    return (sensitivity(ours) - sensitivity(theirs))[0]  # at 1/16


gap = statistics.bootstrap_interval(gain, *pair, groups=test.subjects)

# %% tags=["plumbing"]
sizes = [scores[:, 3:6][scores[:, 3:6] > 0] for scores in (as_scores(some, blobs), pair[0])]
at_16, at_4, _ = reports["detector"]["value"]
ledger.record("18/found_at_1_16", at_16, parameters, limits=(0, 1), chance=0)
ledger.record("18/found_at_1_4", at_4, parameters, limits=(0, 1), chance=0)
tuned, tested = map(np.median, sizes)
ledger.say("At 1/16 false alarms an image the detector finds **{at_16:.0%}** of {n} tumours, the blobs {rival:.0%}. Detector minus blobs: {gap} (95 %). That interval knows other patients, not other trainings. (Lines that begin with `18/` give the 99 % band of ten seeds.)\n\n"
           "The blobs find more here than in their film above. One reason: that took the first of a patient's four slices, near an end of the tumour ({tuned:.0f} mm across in the median, here {tested:.0f} mm).",
           tuned=tuned, tested=tested, at_16=at_16, n=len(matched["detector"][0]), rival=reports["blobs"]["value"][0], gap=gap)

# %% [markdown]
# The rival finds nearly as much where many false alarms are allowed. The strict end of the curve is where they part, and it is the end that counts in the clinic.
#
# Now what went wrong (orange: truth): above, the four tumours that are missed (blue: the surest box of the slice) or least sure (the box that hits); below, the four surest false alarms.

# %% tags=["plumbing"]
lesions, alarms = matched["detector"]
missed = lesions.sort_values("score", kind="stable")[:4]
loud = alarms.sort_values("score", ascending=False, kind="stable").drop_duplicates("image")[:4]
on_tumour = 0  # false alarms that touch one

# %% tags=["plumbing"]
fig, axes = plt.subplots(2, 4, figsize=(7.4, 4.3))
for k, (ax, (image, score)) in enumerate(zip(axes.flat, [*missed.to_numpy(), *loud.to_numpy()], strict=True)):
    row = int(image)
    some_boxes = found["detector"][row][0]  # the surest first
    agreement = detection.box_overlap(test.boxes[row], some_boxes).max(axis=0, initial=0)
    false = agreement < detection.LEAST_OVERLAP
    if k >= 4:
        some_boxes, on_tumour = some_boxes[false], on_tumour + (agreement[false][0] > 0)
    elif np.isfinite(score):
        some_boxes = some_boxes[~false]
    look(ax, test, row)
    plotting.boxes(ax, some_boxes[:1], colour=FOUND)
    state = f"found: {score:.2f}" if np.isfinite(score) else "missed"
    ax.set_title(state if k < 4 else f"false alarm: {score:.2f}", fontsize=10)
plotting.show(fig, alt="Above four test slices whose tumour was missed or found with the least certainty, with the true box and the surest box, or the one that hits; below the four slices with the surest false alarms, with that box.")

# %% tags=["plumbing"]
overlaps = [detection.box_overlap(truth, each[0]).max(axis=1, initial=0) for truth, each in zip(test.boxes, found["detector"], strict=True)]
overlaps = np.concatenate(overlaps)
overlap = overlaps[overlaps >= detection.LEAST_OVERLAP].mean()
ledger.record("18/overlap", overlap, parameters, limits=(detection.LEAST_OVERLAP, 1))
ledger.say("Tumours above that no box hits: {n} of four. False alarms below that touch a tumour: {touching} of four. Where a tumour is hit, the mean IoU is **{overlap:.2f}**.",
           n=int(np.isinf(missed["score"]).sum()), touching=on_tumour, overlap=overlap)

# %% [markdown]
# A box that touches a tumour and still is a false alarm lies too far off, or has the wrong size. If no other box hits that tumour, the mistake counts twice: as a miss, and as a false alarm.
#
# ## Boxes around a mask
#
# With a U-Net ([lesson 17](17_unet_segmentation.ipynb)) you may need no detector: take the pixels above a cut, put a box around each connected piece, and call its highest or mean probability the score. That is `piece_boxes`. What can go
# wrong? Suppose a U-Net gave this map, for a patient with two tumours:

# %% tags=["plumbing"]
hard, close = standardised(new_patients(20338, n_subjects=24, slices_per_subject=1, difficulty=DATA["small-and-faint"])), 10
probability = ndimage.gaussian_filter((hard.masks[close] > 0).astype(float), 2.5)
probability /= probability.max()

# %%
pieces = {}
for cut in (0.1, 0.4, 0.7):
    pieces[cut] = piece_boxes(probability[None], cut, "intensity_mean")[0]

# %% tags=["plumbing"]
fig, axes = plt.subplots(1, 4, figsize=(7.6, 2.4))
look(axes[0], hard, close), axes[0].set_title("FLAIR", fontsize=11)
for ax, (cut, (boxes, _)) in zip(axes[1:], pieces.items(), strict=True):
    ax.imshow(probability, vmin=0, vmax=1, cmap="cividis"), ax.set_axis_off()
    plotting.boxes(ax, boxes, colour=FOUND)
    ax.set(xlim=(5.5, 59.5), ylim=(61.5, 3.5)), ax.set_title(f"cut {cut}: {len(boxes)} piece{'s' * (len(boxes) > 1)}", fontsize=11)
plotting.show(fig, alt="A slice with small tumours, and a map of probabilities with the boxes around its pieces at three cuts.")

# %% [markdown]
# At a low cut the two melt into one piece, whose box hits neither. At a high cut the fainter one drops out. The cut decides, so it is chosen on validation slices. In turn, a mask gives area and diameter for nothing. How a real U-Net does, the study says.
#
# ## Over seeds, by size: the study
#
# One training is an anecdote. The study trained detector and U-Net with five seeds on all 1,680 slices, longer than we did, with as many steps each, and tested them and the blobs on new patients of its own, with the same hit rule. A second cohort is harder: small and faint tumours, up to three in a patient.

# %% tags=["plumbing"]
TITLES, RATES, EDGES = {"blobs": "blobs", "detector": "detector", "unet": "pieces of a U-Net's mask"}, np.geomspace(1 / 64, 1, 25), (12, 16, 20, 60)
COHORTS = {"simbrain": "default cohort", "small-and-faint": "small and faint"}


# %% tags=["plumbing"]
def stored(name):
    try:
        return studies.load_study("detection", name)
    except (FileNotFoundError, KeyError):
        return None


def over_seeds(study, statistic, *models):
    """Mean over seeds with its 95 % interval over seeds and patients; of two models, the difference."""
    scores = [study.scores[model, "all"] for model in models]
    stacked = np.stack([each[: min(map(len, scores))] for each in scores], axis=-1)

    def combined(labels, s):
        return statistic(s[..., 0]) - (statistic(s[..., 1]) if len(models) == 2 else 0)

    return statistics.seeds_and_patients_interval(combined, study.labels, stacked, subjects=study.subjects, logit=len(models) == 1)


# %% tags=["plumbing"]
of_data = {name: study for name in DATA if (study := stored(name))}
present = {name: [m for m in MODELS if (m, "all") in study.scores and len(study.scores[m, "all"]) > 1] for name, study in of_data.items()}
if missing := [f"{COHORTS[name]}: {', '.join(gone)}" for name in DATA if (gone := [m for m in MODELS if m not in present.get(name, [])])]:
    ledger.say("Not there yet (the study comes with the repository, not with the installed package): {missing}.", missing="; ".join(missing))

# %% tags=["plumbing"]
if of_data:
    fig, axes = plt.subplots(1, len(of_data), figsize=(7.4, 3.5), sharey=True, squeeze=False)
    for ax, (name, study) in zip(axes[0], of_data.items(), strict=True):
        for model in present[name]:
            curves = np.array([sensitivity(each, RATES) for each in study.scores[model, "all"]])
            ax.plot(RATES, curves.T, color=COLOURS[model], lw=0.6, alpha=0.4)
            ax.plot(RATES, curves.mean(axis=0), color=COLOURS[model], lw=2.5, label=TITLES[model] if ax is axes[0, 0] else None)
        ax.set(xscale="log", ylim=(0, 1.02), xlabel="false alarms an image"), ax.set_title(COHORTS[name])
        ax.set_xticks([1 / 64, 1 / 16, 1 / 4, 1], ["1/64", "1/16", "1/4", "1"]), ax.minorticks_off()
    axes[0, 0].set_ylabel("tumours found")
    fig.legend(loc="outside lower center", ncols=3)
    plotting.show(fig, save="18_detection", alt="FROC curves of blobs, detector and U-Net on the default cohort and on small and faint tumours: a thin line for each seed, a thick one for their mean.")

# %% tags=["plumbing"]
STATISTICS = {
    "at 1/16": lambda s: sensitivity(s)[0], "at 1/4": lambda s: sensitivity(s)[1],
    "under 20 mm, at 1/4": lambda s: sensitivity(s, below_mm=20)[1],
}


names = {"blobs": "blobs", "detector": "detector", "unet": "U-Net"}


def brief(found, style=".2f"):
    return f"{found.value:{style}}" + ("" if np.isnan(found.low) else f" [{found.low:{style}}, {found.high:{style}}]")


def sizes_of(study):
    """Diameters of all lesions."""
    sizes = study.scores[present[study.data][0], "all"][0][:, 3:6]
    return sizes[sizes > 0]


# %% tags=["plumbing"]
for name, study in of_data.items():
    shown = STATISTICS if np.sum(sizes_of(study) < 20) >= 30 else dict(list(STATISTICS.items())[:2])  # few small ones say little
    rows = [f"| {COHORTS[name]}, found | {' | '.join(shown)} |", "|---|" + "---|" * len(shown)]
    rows += [" | ".join([f"| {TITLES[m]}", *(brief(over_seeds(study, each, m)) for each in shown.values())]) + " |" for m in present[name]]
    pairs = [pair for pair in (("detector", "blobs"), ("unet", "blobs"), ("detector", "unet")) if set(pair) <= set(present[name])]
    rows += [" | ".join([f"| {names[a]} minus {names[b]}", *(brief(over_seeds(study, each, a, b), "+.2f") for each in shown.values())]) + " |" for a, b in pairs]
    ledger.say("{table}", table="\n".join(rows))
    steps_of = study.records.groupby("model")["steps"].max().dropna()
    ledger.say("95 % over seeds and patients; {n} trainings of {steps}; {all} lesions in slices of {patients} patients, {small} of them under 20 mm.", n=study.records["seed"].nunique(), all=len(sizes_of(study)), small=np.sum(sizes_of(study) < 20),
               steps=", ".join(f"{step:.0f} steps ({names[model]})" for model, step in steps_of.items()), patients=len(np.unique(study.subjects)))

# %% [markdown]
# (A difference is one of shares: +0.10 means ten more of a hundred tumours.) Both networks find more than the blobs, in both cohorts; only at 1/16 in the harder one does the U-Net's interval reach zero. On the default cohort the gap narrows as more false alarms are allowed. In the harder one it stays: brightness and size
# in FLAIR do not suffice to tell a tumour from a spot. Detector or U-Net: these data do not tell them apart, and the thin lines of their seeds cross. And by size, at 1/4 false alarms an image, in the harder cohort:

# %% tags=["plumbing"]
def found_between(scores, low, high):
    """Share of lesions of this size that are found at 1/4 false alarms an image."""
    counts = [np.sum((scores[:, 3:6] > 0) & (scores[:, 3:6] < limit)) for limit in (low, high)]
    of_lower, of_all = (sensitivity(scores, below_mm=limit)[1] * n if n else 0 for limit, n in zip((low, high), counts, strict=True))
    return (of_all - of_lower) / (counts[1] - counts[0])


if hard_study := of_data.get("small-and-faint"):
    fig, ax = plt.subplots(figsize=(5.8, 3.5))
    for model in present["small-and-faint"]:
        shares = [np.mean([found_between(s, *bounds) for s in hard_study.scores[model, "all"]]) for bounds in zip((0, *EDGES[:-1]), EDGES, strict=True)]
        ax.plot(range(4), shares, "o-", color=COLOURS[model], label=TITLES[model])
    counts = np.histogram(sizes_of(hard_study), bins=(0, *EDGES))[0]
    ax.set_xticks(range(4), [f"{label}\nn={n}" for label, n in zip(["< 12", "12-16", "16-20", "> 20"], counts, strict=True)], fontsize=10)
    ax.set(xlabel="longest diameter in the slice (mm)", ylabel="found", ylim=(0, 1.02)), ax.legend(loc="upper left", fontsize=10)
    plotting.show(fig, alt="Share of tumours found at a quarter false alarm an image against their diameter, for blobs, detector and U-Net, on the cohort of small and faint tumours. All rise with the diameter.")

# %% [markdown]
# Small, faint tumours look like the spots of old age that healthy people have, too. None of the three finds them all, even at one false alarm an image.
#
# ## A day of screening
#
# Back to the question at the beginning. A thousand people without symptoms are screened; five of them have a tumour (a **prevalence** of 0.5 %). To keep it simple, one slice each.
#
# > **Predict** The detector finds every tumour, at one false alarm an image. The alarm sounds. How likely is it that this box holds a tumour?
#
# <details><summary>Answer</summary>
#
# Five boxes in a thousand and five: one in two hundred. At a sixteenth of a false alarm an image, five in 67 or 68. And a real examination has not one slice but dozens, each with its own chance of a false alarm.
#
# </details>
#
# With $n$ images, $t$ tumours, a sensitivity $s$ and $f$ false alarms an image there are $s\,t$ true boxes and $f\,n$ false ones. The **positive predictive value** is the share of true ones:
#
# $$\mathrm{PPV} = \frac{s\,t}{s\,t + f\,n}$$
#
# We assume that healthy images give as many false alarms as our mixed test slices did.


# %% tags=["nbval-check-output"]
def predictive_value(share_with_tumour, sensitivity, false_alarms):
    true = sensitivity * share_with_tumour  # boxes an image
    return true / (true + false_alarms)


for rate in (1, 1 / 16):
    value = predictive_value(0.005, 1, rate)
    print(f"{rate} an image: 5 true boxes, {1000 * rate:g} false; PPV {value:.1%}")

# %% [markdown]
# In our test slices every second one has a tumour. There the same detector, at the same threshold, looks splendid (dashed: 1/16):

# %% tags=["plumbing"]
shares = np.geomspace(0.001, 0.5, 60)
fig, ax = plt.subplots(figsize=(5.8, 3.4))
for rate, style, label in ((1 / 256, ":", "1/256"), (1 / 16, "--", "1/16"), (1, "-", "1 false alarm an image")):
    ax.plot(100 * shares, predictive_value(shares, 0.95, rate), style, color=plotting.BLUE, label=label)
for share, name in ((0.5, "screening"), (50, "this lesson's\ntest slices")):
    ax.axvline(share, color=plotting.GREY, lw=1, ls="-.")
    ax.text(share * (1.1 if share < 1 else 0.9), 0.5, name, fontsize=10, ha="left" if share < 1 else "right", color=plotting.BLACK)
ax.set(xscale="log", xlabel="images with a tumour (%)", ylabel="positive predictive value", ylim=(0, 1.02))
ax.set_xticks([0.1, 0.5, 1, 5, 10, 50], ["0.1", "0.5", "1", "5", "10", "50"]), ax.minorticks_off()
fig.legend(loc="outside lower center", ncols=3, fontsize=10.5)
plotting.show(fig, alt="Positive predictive value against the share of images with a tumour, for 1, 1/16 and 1/256 false alarms an image, at a sensitivity of 95 %. All fall steeply to the left, where screening lies.")

# %% [markdown]
# The lines hold for 95 % of tumours found. The FROC curve does not know the prevalence; the day in the clinic does. Try other days:

# %% tags=["plumbing"]
def a_day(one_image_in=16):
    """A thousand slices of screening, five with a tumour."""
    false = 1000 / one_image_in
    print(f"1,000 slices, 5 tumours, one false alarm in {one_image_in} images: 4.75 true boxes, {false:.0f} false, PPV {predictive_value(0.005, 0.95, 1 / one_image_in):.0%}")


_ = ipywidgets.interact(a_day, one_image_in=ipywidgets.SelectionSlider(options=[1, 4, 16, 64, 256, 1024], value=16))

# %% [markdown]
# What a simulation cannot show: bleeding, scars, movement, and all the other diseases that light up in FLAIR. The training set holds none of these, so in real images expect more false alarms. For three dimensions and
# real patients, [LUNA16](https://arxiv.org/abs/1612.08012) and [nnDetection](https://arxiv.org/abs/2106.00817) are places to start.
#
# **In this lesson we**
#
# - measured boxes by their IoU, and stated when one counts as a hit;
# - drew FROC curves, with intervals that resample patients;
# - computed a heat map, offsets and sizes by hand, decoded them, and trained a detector of centres;
# - met a rival without learning, nearly as good on large, bright tumours where false alarms are cheap, but not on small, faint ones; and boxes around a mask;
# - saw that the number of false alarms an image, times all the images of a day, decides what an alarm is worth.
#
# **Next** comes lesson 19, evaluation: which number answers the clinical question, and what it hides. The intervals used here come from [lesson 12](12_comparing_architectures.ipynb).
#
# **References**
#
# - X. Zhou, D. Wang, P. Krähenbühl: Objects as points, 2019, [arXiv:1904.07850](https://arxiv.org/abs/1904.07850).
# - T.-Y. Lin and others: Focal loss for dense object detection, *ICCV* 2017, [arXiv:1708.02002](https://arxiv.org/abs/1708.02002).
# - T. Lindeberg: Feature detection with automatic scale selection, *International Journal of Computer Vision* 30 (1998) 79-116, [doi:10.1023/A:1008045108935](https://doi.org/10.1023/A:1008045108935).
# - D. P. Chakraborty: A brief history of free-response receiver operating characteristic paradigm data analysis, *Academic Radiology* 20 (2013) 915-919, [doi:10.1016/j.acra.2013.03.001](https://doi.org/10.1016/j.acra.2013.03.001).
# - J. J. Fenton and others: Influence of computer-aided detection on performance of screening mammography, *New England Journal of Medicine* 356 (2007) 1399-1409, [doi:10.1056/NEJMoa066099](https://doi.org/10.1056/NEJMoa066099).
# - R. J. McDonald and others: The effects of changes in utilization and technological advancements of cross-sectional imaging on radiologist workload, *Academic Radiology* 22 (2015) 1191-1198, [doi:10.1016/j.acra.2015.05.007](https://doi.org/10.1016/j.acra.2015.05.007).
# - A. A. A. Setio and others: Validation, comparison, and combination of algorithms for automatic detection of pulmonary nodules in computed tomography images: the LUNA16 challenge, 2017, [arXiv:1612.08012](https://arxiv.org/abs/1612.08012).
# - M. Baumgartner and others: nnDetection: a self-configuring method for medical object detection, *MICCAI* 2021, [arXiv:2106.00817](https://arxiv.org/abs/2106.00817).

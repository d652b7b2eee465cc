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
# # 17 U-Net segmentation
#
# **How large is this tumour, and has it grown?** On the answer hangs whether a treatment goes on or is changed. By the rules of
# [RECIST 1.1](https://doi.org/10.1016/j.ejca.2008.10.026), which most cancer trials follow, a radiologist measures the longest
# diameter of a lesion at each visit. A fifth more than the smallest so far, and at least 5 mm, is progression. Today we let a network draw the outline and take
# the ruler ourselves.

# %% tags=["install"]
import medlib

# %% tags=["parameters"]
epochs = 4  # passes over the training slices
seed = 0  # of the network's weights, and of the order of the slices

# %% tags=["plumbing"]
from medlib import training

training.set_seed(seed)  # imports Keras without its messages
import keras
import matplotlib.pyplot as plt
import numpy as np
from scipy import ndimage

from coursekit import check, ledger, studies
from coursekit.experiments.segmentation import DATA, MODELS, best_threshold, threshold_masks
from medlib import plotting, tasks
from medlib.evaluation import segmentation, statistics
from medlib.preprocessing.intensity import standardise_foreground
from medlib.simulation.cohort import SLICE_GAP_MM, Difficulty, longest_diameter, simulate_subject

plotting.use_style()
parameters, WHERE = {"epochs": epochs, "seed": seed}, (slice(4, 62), slice(6, 60))  # of a picture
WINDOW, TRUE, FOUND, RIVAL = (0.2, 0.9), plotting.ORANGE, plotting.SKY, plotting.GREEN

# %% [markdown]
# A virtual patient of `simbrain` ([lesson 02](02_mr_simulation.ipynb)) comes six times. Each time we have a stack of slices 4 mm
# apart; you see the one in which the tumour is largest.
#
# > **Predict** Find the tumour. At which visit would you say for the first time: it has grown by a fifth?

# %% tags=["plumbing"]
patient = np.random.SeedSequence(3).spawn(3)[0]
shape = {"has_tumour": True, "slices_per_subject": 1, "image_size": 64, "depth": 16}
visits = [simulate_subject(0, patient, difficulty=Difficulty(radius_mm=(r, r)), **shape) for r in np.linspace(9, 14, 6)]
stacks = np.stack([standardise_foreground(images[0] / np.float32(255)) for images, *_ in visits])
true_stacks = np.stack([masks[0] for _, masks, _ in visits])
volumes = np.array([rows[0]["tumour_volume_mm3"] for *_, rows in visits])
spacing_mm = visits[0][2][0]["row_spacing_mm"]
largest = true_stacks.sum(axis=(2, 3)).argmax(axis=1)  # slice of each visit


# %% tags=["plumbing"]
def visit_film():
    fig, ax = plt.subplots(figsize=(3.4, 3.7))
    for k, row in enumerate(largest):
        ax.clear(), ax.set_axis_off()
        ax.imshow(stacks[k, row, 6:60, 6:60, 2], vmin=WINDOW[0], vmax=WINDOW[1])
        ax.set_title(f"visit {k + 1} of {len(stacks)} (FLAIR)")
        yield fig


plotting.show_animation(visit_film(), milliseconds=900, alt="FLAIR slices of a virtual patient at six visits. A bright round spot left of the middle grows; the brain around it stays.")

# %% [markdown]
# <details><summary>Answer</summary>
#
# It sits left of the middle, in the patient's right half. From one visit to the next hardly anything happens, and yet
# the last tumour is much larger than the first. Where the fifth is passed, we measure at the end of the lesson.
#
# </details>
#
# **You will**
#
# - measure diameter, area and volume of a mask in millimetres, and decide by RECIST;
# - build a U-Net, and see what its skip connections carry;
# - work out two losses by hand, and say what each does to small tumours;
# - test against a strong rival, a plain threshold, by size and with limits of agreement;
# - avoid traps of the Dice score.
#
# **Reading:** about 45 min · **running:** about 40 s · **builds on:** [06](06_convolution.ipynb) (receptive field),
# [07](07_learning.ipynb) (cross-entropy), [08](08_first_cnn.ipynb) (training and testing a CNN)
#
# ## A mask
#
# **Segmentation** is a decision for every pixel: tumour or not. The answer is a **mask**, an array of the size of the image. `simbrain`
# knows the truth exactly; with real images it is drawn by people, who differ.
#
# Scanners have no common grey scale. So we **standardise** each slice by its brain, contrast by contrast: the median becomes 0.4, the interquartile
# range 0.125.

# %%
from dataclasses import replace


def standardised(split):
    return replace(split, images=standardise_foreground(split.images))


# %% [markdown]
# Patients to learn from, to look at, and, at the end, to test on: the last are this lesson's own.

# %%
from medlib import datasets
from medlib.datasets.simbrain import new_patients

data = datasets.load("simbrain")
train, validation = standardised(data.train), standardised(data.validation)
test = standardised(new_patients(seed=20357))
del data  # frees memory

# %% tags=["nbval-check-output"]
truth = train.masks > 0
print("images", train.images.shape, "masks", truth.shape)
print(f"slices with a tumour: {truth.any(axis=(1, 2)).mean():.0%}; pixels: {truth.mean():.1%}")

# %% [markdown]
# Fewer than one pixel in a hundred is tumour: **class imbalance**. A mask that is empty everywhere would be right for more than 99 % of all
# pixels. So accuracy is no use here.
#
# The usual measure is the [**Dice score**](https://doi.org/10.2307/1932409). With $A$ the set of pixels in the true mask, $B$ those found, and $|\cdot|$
# their number,
#
# $$D = \frac{2\,|A \cap B|}{|A| + |B|}$$
#
# It is 1 if both masks are equal, 0 if they have no pixel in common. And where both are *empty*, it is 0/0.
#
# **Exercise 17.1: Dice, with the empty case.** Write the score of two masks, arrays of `True` and `False`. Two empty masks give `np.nan`:
# there is no overlap to speak of. (This is a choice; other people choose 1. We come back to it.)
#
# > **Hint** `(truth & found).sum()` counts the pixels that both have. ([Solution](solutions/17_unet_segmentation.ipynb))


# %% tags=["exercise"]
def dice_of(truth, found):
    return ...  # your code here


# %% tags=["solution"]
def dice_of(truth, found):
    total = truth.sum() + found.sum()
    return 2 * (truth & found).sum() / total if total else np.nan


# %%
check.exercise("17.1", dice_of)

# %% [markdown]
# From here on we use `segmentation.dice` of `medlib.evaluation`, which takes many masks at once.
#
# ## The rival: a threshold
#
# Tumours are bright in FLAIR. Then why not call tumour what is brighter than some grey value? We slide this **threshold** over one
# training slice.

# %% tags=["plumbing"]
example = 386
flair, mask = train.images[example, ..., 2], truth[example]
thresholds = np.arange(0.36, 0.85, 0.04)
above = np.stack([flair > level for level in thresholds])
single = np.stack([threshold_masks(train.images[[example]], level, 1, True)[0] for level in thresholds])
overlaps = [segmentation.dice(np.broadcast_to(mask, m.shape), m) for m in (above, single)]

# %% tags=["plumbing"]
def threshold_film():
    fig, (left, right) = plt.subplots(1, 2, figsize=(6.4, 3.3), width_ratios=(1, 1.1))
    middle = int(overlaps[0].argmax())
    for k in [middle, *range(len(thresholds))]:
        left.clear(), right.clear(), left.set_axis_off()
        left.imshow(flair[WHERE], vmin=WINDOW[0], vmax=WINDOW[1])
        plotting.outline(left, above[k][WHERE], colour=RIVAL)
        plotting.outline(left, mask[WHERE], colour=TRUE)
        left.set_title(f"above {thresholds[k]:.2f}")
        right.plot(thresholds, overlaps[0], color=RIVAL, label="all that is brighter")
        right.plot(thresholds, overlaps[1], color=RIVAL, ls="--", label="its largest piece")
        right.plot(np.repeat(thresholds[k], 2), [each[k] for each in overlaps], "o", color=RIVAL)
        right.set(xlabel="threshold (grey value)", ylabel="Dice", ylim=(0, 1.35), yticks=np.linspace(0, 1, 6))
        right.legend(loc="upper right", fontsize=10)
        yield fig


plotting.show_animation(threshold_film(), milliseconds=350, alt="A threshold slides over a FLAIR slice. At low values half of the brain is called tumour, then tumour and bright spots, "
                        "at last only fragments of the tumour. Dice rises and falls; the largest connected piece alone scores higher.")

# %% [markdown]
# Orange is the true outline, green what the threshold finds. All that is brighter includes the spots of white matter that healthy people have, too. Taking only
# the largest connected piece helps. `best_threshold` tries grey values, smallest sizes, and largest piece or all pieces, and keeps what gives the best mean Dice on
# training slices with a tumour. (Here every fifth of them, to save time.)

# %%
with_tumour = np.flatnonzero(train.labels == 1)
rule = best_threshold(train.take(with_tumour[::5]))
ill = validation.take(validation.labels == 1)  # slices with a tumour
overlap = segmentation.dice(ill.masks > 0, threshold_masks(ill.images, *rule))

# %% tags=["plumbing", "nbval-check-output"]
print(f"Threshold {rule[0]:.3f}, {'only the largest piece' if rule[2] else 'all pieces'} of at least {rule[1]} pixel(s)")
print(f"Mean Dice on {len(ill)} validation slices with a tumour: {overlap.mean():.2f}")

# %% [markdown]
# That is a strong rival, without a network, after one sensible preparation. (Without standardising by the brain it would be a straw
# man.) Any network must be shown next to it.
#
# ## The U-Net
#
# A classifying CNN ([lesson 08](08_first_cnn.ipynb)) shrinks its maps: a number of a late map sees much of the image, but no longer knows the exact place. Suppose we
# drew our mask on such a coarse map. How good could it be?

# %%
def redrawn(masks, side):
    """Masks as squares of a map of side x side pixels, each as most of its pixels are."""
    cell = 64 // side
    shares = masks.reshape(-1, side, cell, side, cell).mean(axis=(2, 4))
    return np.kron(shares >= 0.5, np.ones((cell, cell))) > 0


# %% [markdown]
# > **Predict** Slices have 64 x 64 pixels. What is the mean Dice score of true masks, redrawn with 32 x 32, 16 x 16 and 8 x 8 squares?

# %% tags=["plumbing"]
sides = (64, 32, 16, 8)
every = truth[with_tumour]
coarse_dice = np.array([segmentation.dice(every, redrawn(every, side)) for side in sides])
usual = np.abs(coarse_dice - coarse_dice.mean(axis=1, keepdims=True)).sum(axis=0).argmin()  # near the mean at every size
fig, axes = plt.subplots(1, 4, figsize=(7.4, 2.3))
for ax, side, score in zip(axes, sides, coarse_dice.mean(axis=1), strict=True):
    ax.imshow(train.images[with_tumour[usual], ..., 2][WHERE], vmin=WINDOW[0], vmax=WINDOW[1])
    plotting.outline(ax, redrawn(every[[usual]], side)[0][WHERE], colour=FOUND)
    plotting.outline(ax, every[usual][WHERE], colour=TRUE)
    ax.set_title(f"{side} x {side}: {score:.2f}"), ax.set_axis_off()
plotting.show(fig, alt="A slice with the true outline of its tumour, and that outline redrawn from larger and larger squares. Above, the mean Dice score of all training masks redrawn so: it falls.")

# %% [markdown]
# Blue is the redrawn mask; above stands the mean Dice of all training tumours, redrawn so. On the coarsest map a square is 26 mm wide; a tumour that fills less than half of every square vanishes. *What* there is, the coarse map may well know; *where* its edge
# runs is lost. The **U-Net** ([Ronneberger and others 2015](https://doi.org/10.1007/978-3-319-24574-4_28)) keeps both. Its **encoder** halves the maps level by level. Its **decoder**
# doubles them again. And at each level a **skip connection** hands the encoder's map straight over to the decoder, which gets both.

# %% tags=["plumbing"]
LEVELS = (("fine", 32, "16 channels"), ("middle", 16, "32 channels"), ("coarse", 8, "64 channels"))


def box(ax, x, y, side, text, colour):
    size = 0.28 + side / 64
    ax.add_patch(plt.Rectangle((x - size / 2, y - size / 2), size, size, facecolor=colour, alpha=0.55, edgecolor="k", lw=1))
    ax.text(x, y, f"{side}²", ha="center", va="center", fontsize=11)
    ax.text(x, y - size / 2 - 0.05, text, ha="center", va="top", fontsize=10.5)
    return size / 2


def arrow(ax, start, end, colour="k", words="", lift=0.07):
    ax.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 2})
    ax.text((start[0] + end[0]) / 2, (start[1] + end[1]) / 2 + lift, words, ha="center", fontsize=11, color=colour)


# %% tags=["plumbing"]
fig, ax = plt.subplots(figsize=(7, 3.9))
down, up = ((2.05, 0), (2.75, -1.4), (3.8, -2.7)), ((5.55, 0), (4.85, -1.4))
first = box(ax, 0.5, 0, 64, "slice: T1,\nT2, FLAIR", "0.8")
last = box(ax, 7.1, 0, 64, "mask:\nprobabilities", TRUE)
half = [box(ax, *place, side, f"{name}\n{channels}", plotting.BLUE) for place, (name, side, channels) in zip(down, LEVELS, strict=True)]
for place, (_, side, channels) in zip(up, LEVELS, strict=False):
    box(ax, *place, side, channels, RIVAL)
arrow(ax, (0.5 + first, 0), (down[0][0] - half[0], 0))
for k in (0, 1):
    arrow(ax, (down[k][0] + 0.1, down[k][1] - half[k] - 0.42), (down[k + 1][0] - half[k + 1], down[k + 1][1] + 0.15))
    arrow(ax, (down[k][0] + half[k], down[k][1]), (up[k][0] - half[k], up[k][1]), plotting.VERMILION, "skip")
arrow(ax, (down[2][0] + half[2], down[2][1] + 0.1), (up[1][0] - 0.1, up[1][1] - half[1] - 0.26))
arrow(ax, (up[1][0] + half[1] - 0.1, up[1][1] + half[1]), (up[0][0] - 0.1, up[0][1] - half[0] - 0.26))
arrow(ax, (up[0][0] + half[0], 0), (7.1 - last, 0))
ax.text(0.95, -2.1, "encoder: halve,\nconvolve", ha="center", color=plotting.BLUE), ax.text(6.6, -2.1, "decoder: double,\nconvolve", ha="center", color=RIVAL)
ax.set(xlim=(-0.25, 7.85), ylim=(-3.5, 0.7), aspect="equal"), ax.set_axis_off()
plotting.show(fig, alt="Diagram of the U-Net. On the left the encoder: slice of 64 x 64 pixels, maps of 32, 16 and 8. On the right the decoder: maps of 16 and 32, then the mask. "
              "Arrows called skip lead from the encoder's maps of 32 and 16 across to the decoder.")

# %% [markdown]
# In Keras that is a few lines. The block is that of lesson 08: convolution, batch normalisation, ReLU. The first one moves in steps of two pixels. That already halves the map, and saves time.

# %%
from keras import layers


def block(x, width, stride=1):
    start = {"use_bias": False, "kernel_initializer": "he_normal"}
    x = layers.Conv2D(width, 3, strides=stride, padding="same", **start)(x)
    return layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))


# %% [markdown]
# The encoder, top to bottom:

# %%
inputs = keras.Input((64, 64, 3))
fine = block(inputs, 16, stride=2)  # 32 x 32
middle = block(layers.MaxPooling2D()(fine), 32)  # 16 x 16
coarse = block(layers.MaxPooling2D()(middle), 64)  # 8 x 8

# %% [markdown]
# The decoder, bottom to top. `UpSampling2D` repeats each number 2 x 2 times; `Concatenate`, the skip connection, stacks its channels on the encoder's. The last layer, a
# convolution turned round, doubles once more and gives a probability for each pixel.

# %%
x = block(layers.Concatenate()([layers.UpSampling2D()(coarse), middle]), 32)
x = block(layers.Concatenate()([layers.UpSampling2D()(x), fine]), 16)
mask_layer = layers.Conv2DTranspose(1, 4, strides=2, padding="same", activation="sigmoid")
probability = mask_layer(x)
network = keras.Model(inputs, probability)

# %% tags=["nbval-check-output"]
from medlib.models.unet import build_unet

task = tasks.Segmentation()
ours = build_unet((64, 64, 3), task, seed=seed, width=16, levels=3)
print(f"{network.count_params():,} weights; build_unet of medlib: {ours.count_params():,}")

# %% [markdown]
# `medlib.models.unet.build_unet` is the same network as a loop over levels.
#
# ## Two losses
#
# Let $y_i$ be 1 if pixel $i$ is tumour, else 0; $p_i$ the probability the network gives it; $n$ the number of pixels. **Cross-entropy** ([lesson 07](07_learning.ipynb)) judges
# each pixel by itself. The **Dice loss** ([Milletari and others 2016](https://arxiv.org/abs/1606.04797)) puts probabilities into the Dice score, so that it has a gradient. (The 1 below keeps it from 0/0.)
#
# $$L_\mathrm{CE} = -\frac{1}{n}\sum_{i=1}^{n} \bigl[y_i \log p_i + (1 - y_i) \log (1 - p_i)\bigr], \qquad
# L_\mathrm{Dice} = 1 - \frac{2 \sum_i y_i\,p_i}{\sum_i y_i + \sum_i p_i + 1}$$

# %%
def cross_entropy(y, p):
    return -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))


def dice_loss(y, p):
    return 1 - 2 * np.sum(y * p) / (np.sum(y) + np.sum(p) + 1)


# %% [markdown]
# Now the imbalance. Suppose a network misses a tumour altogether: it says $p_i = 0.01$ everywhere. What does that cost?
#
# > **Predict** How do both losses change when the missed tumour has a third of the diameter?

# %% tags=["plumbing"]
diameters = np.linspace(8, 50, 100)
k = np.pi / 4 * (diameters / spacing_mm) ** 2  # pixels of a disc
n_pixels, found_too = 64**2, 7 * truth[with_tumour].sum(axis=(1, 2)).mean()
costs = {
    "cross-entropy (beyond an empty slice's)": (-(k * np.log(0.01) + (n_pixels - k) * np.log(0.99)) / n_pixels + np.log(0.99), plotting.BLUE, "-"),
    "Dice loss of this slice": (1 - 2 * 0.01 * k / (k + 0.01 * n_pixels + 1), plotting.VERMILION, "-"),
    "Dice loss of 8 slices, 7 tumours found": (1 - 2 * found_too / (2 * found_too + k), plotting.VERMILION, "--"),
}
fig, ax = plt.subplots(figsize=(6, 3.7))
for name, (cost, colour, style) in costs.items():
    ax.plot(diameters, cost, color=colour, ls=style, label=name)
ax.set(yscale="log", xlabel="diameter of the missed tumour (mm)", ylabel="cost of missing it", ylim=(3e-3, 12))
ax.set_yticks([0.01, 0.1, 1], ["0.01", "0.1", "1"])
ax.legend(loc="upper left", fontsize=10.5)
plotting.show(fig, alt="Cost of missing a tumour against its diameter, on a logarithmic axis. Cross-entropy rises with the area. The Dice loss of a single slice is nearly 1 at any size. "
              "The Dice loss of eight slices together, seven of whose tumours are found, rises with the area like cross-entropy.")

# %% [markdown]
# <details><summary>Answer</summary>
#
# A third of the diameter is a ninth of the area. Cross-entropy counts pixels, so the small tumour costs a ninth. The Dice loss of a single slice is a share: it stays near 1.
#
# </details>
#
# So cross-entropy hardly cares for small tumours: the many pixels of background and the large tumours drown them. The Dice loss of a slice does care. But often
# a whole batch is summed as *one* big mask; then the dashed line holds, and the loss counts pixels again.
#
# **Exercise 17.2: every tumour counts the same.** Write a Dice loss that is computed slice by slice and averaged over the slices *with a tumour*. `y` and `p` are Keras arrays of
# shape (slices, height, width, 1). A batch without a tumour costs 0. Keep the 1 in the denominator. The check trains a tiny network with your loss.
#
# > **Hint** `ops = keras.ops`: `ops.sum(y, axis=(1, 2, 3))` gives one number a slice. Multiply by a 0 or 1 for each slice, and divide by
# > `ops.maximum(number, 1)`. ([Solution](solutions/17_unet_segmentation.ipynb))


# %% tags=["exercise"]
def dice_each(y, p):
    return ...  # your code here


# %% tags=["solution"]
def dice_each(y, p):
    ops, pixels = keras.ops, (1, 2, 3)
    size = ops.sum(y, axis=pixels)
    dice = 2 * ops.sum(y * p, axis=pixels) / (size + ops.sum(p, axis=pixels) + 1)
    counts = ops.cast(size > 0, "float32")
    return ops.sum(counts * (1 - dice)) / ops.maximum(ops.sum(counts), 1)


# %%
check.exercise("17.2", dice_each)

# %% [markdown]
# Slices without a tumour teach this loss nothing. Alone, it would let the network see tumours everywhere. So `medlib` takes for such a slice another share: what was found there, by that plus a 40th of
# the pixels. And it adds cross-entropy. By hand, and by Keras:


# %%
def loss_of_slice(y, p):
    return dice_loss(y, p) if y.any() else p.sum() / (p.sum() + y.size / 40)


def whole_loss(y, p):
    of_slices = [loss_of_slice(*pair) for pair in zip(y, p, strict=True)]
    return cross_entropy(y, p) + np.mean(of_slices)


# %% tags=["nbval-check-output"]
y = truth[:16, ..., np.newaxis].astype("float32")
p = np.clip(ndimage.gaussian_filter(y, (0, 2, 2, 0)), 0.01, 0.99)  # blurred masks
by_hand, by_keras = whole_loss(y, p), float(task.loss()(y, p))
print(f"by hand {by_hand:.5f}, Keras {by_keras:.5f}, equal: {abs(by_hand - by_keras) < 1e-5}")

# %% [markdown]
# ## A mask goes with its image
#
# Training images are changed at random (mirrored, turned, moved), so that the network does not learn them by heart. If the tumour moves, its mask must move as well.
# `RandomAffine` changes both, given both:

# %%
from medlib.preprocessing.augmentation import RandomAffine

turn = RandomAffine(rotation=30, seed=4)
pair = {"images": train.images[[example]], "masks": train.masks[[example]]}
together = turn(pair, training=True)

# %% tags=["plumbing"]
moved, moved_mask = (keras.ops.convert_to_numpy(together[name])[0] for name in ("images", "masks"))
fig, axes = plt.subplots(1, 3, figsize=(7.4, 2.9))
views = ((flair, mask, "as it is"), (moved[..., 2], moved_mask, "both changed"), (moved[..., 2], mask, "the bug: only the image"))
for ax, (image, outline, title) in zip(axes, views, strict=True):
    ax.imshow(image, vmin=WINDOW[0], vmax=WINDOW[1])
    plotting.outline(ax, outline, colour=TRUE)
    ax.set_title(title), ax.set_axis_off()
plotting.show(fig, alt="A slice with the outline of its tumour; the slice and the outline turned; the slice turned while the outline stays where it was, beside the tumour.")

# %% [markdown]
# The bug raises no error; training goes on, with wrong answers. Look at changed images *with* their masks before you train. (Masks take the nearest pixel; interpolated, they would get
# values between 0 and 1.)
#
# ## Training
#
# We train on all training slices, *also* those without a tumour: only they teach the network to keep silent. The recipe is that of `medlib train`: AdamW, cosine, images mirrored, moved and turned, averaged weights.

# %%
shown = validation.take(np.array([5, 70, 146, 256]))
film = [task.predict(network, shown.images, batch_size=4)]
recipe = training.recipe("unet", n_images=len(train), epochs=epochs)
history = training.fit(
    network, train, task=task, seed=seed, **recipe,
    on_epoch=lambda row: film.append(task.predict(network, shown.images, batch_size=4)),
)

# %% tags=["plumbing"]
def training_film():
    """Frames: four validation slices; below, the probability of tumour after each pass."""
    fig, axes = plt.subplots(2, 4, figsize=(6.8, 3.9))
    for k in [len(film) - 1, *range(len(film))]:
        for column, probabilities in enumerate(film[k]):
            above, below = axes[:, column]
            for ax, image, window in ((above, shown.images[column, ..., 2], WINDOW), (below, probabilities, (0, 1))):
                ax.clear(), ax.set_axis_off()
                ax.imshow(image[WHERE], vmin=window[0], vmax=window[1], cmap="gray")
                plotting.outline(ax, shown.masks[column][WHERE], colour=TRUE)
            plotting.outline(above, task.masks(probabilities)[WHERE], colour=FOUND)
        fig.suptitle(f"after {k} of {epochs} passes" if k else "before training", fontsize=12)
        yield fig

plotting.show_animation(training_film(), milliseconds=900, alt="Four validation slices with true outlines, and below them maps of the predicted probability, after each pass over the training slices. "
                        "At first the whole map is grey, then the brain darkens and bright blobs stay where the tumours are, with sharper and sharper edges.")

# %% [markdown]
# Orange: truth. Blue: pixels with a probability of at least 1/2. Background is dark after the first pass, then the large tumour is filled towards its edge. The two slices in the middle have none. Look for the small one on the left.
#
# ## What the skips carry
#
# Encoder and decoder are networks of their own, and we can step in between. Let each map that crosses over say only its *mean*: it keeps its average, and forgets all places.

# %%
encoder = keras.Model(inputs, [fine, middle, coarse])
decoder = keras.Model([fine, middle, coarse], probability)


def without_places(maps):
    return np.broadcast_to(maps.mean(axis=(1, 2), keepdims=True), maps.shape)


# %% [markdown]
# > **Predict** What will be left of a mask if the skips are silent? And if they speak, but the coarse map is silent?

# %%
f, m, c = encoder.predict(ill.images, verbose=0)
answers = {
    "as it is": decoder.predict([f, m, c], verbose=0)[..., 0],
    "silent skips": decoder.predict([without_places(f), without_places(m), c], verbose=0)[..., 0],
    "silent coarse map": decoder.predict([f, m, without_places(c)], verbose=0)[..., 0],
}

# %% tags=["plumbing"]
ill_truth, ill_sizes = ill.masks > 0, ill.table["tumour_diameter_mm"].to_numpy()
cases = [np.argsort(abs(ill_sizes - wanted))[2] for wanted in (45, 28)]
fig, axes = plt.subplots(2, 4, figsize=(7.4, 4.1))
for row, case in zip(axes, cases, strict=True):
    pictures = {"FLAIR": ill.images[case, ..., 2]} | {name: each[case] for name, each in answers.items()}
    for ax, (name, picture) in zip(row, pictures.items(), strict=True):
        window, colours = (WINDOW, "gray") if name == "FLAIR" else ((0, 1), "cividis")
        ax.imshow(picture[WHERE], vmin=window[0], vmax=window[1], cmap=colours)
        plotting.outline(ax, ill_truth[case][WHERE], colour=TRUE)
        ax.set_axis_off(), case == cases[0] and ax.set_title(name, fontsize=11)
plotting.show(fig, alt="Two validation slices with the true outline of the tumour, and maps of the predicted probability: by the whole network, with silent skip connections, and with a silent coarse map.")

overlap = {name: segmentation.dice(ill_truth, task.masks(each)).mean() for name, each in answers.items()}
spread = {name: task.masks(each).sum() / ill_truth.sum() for name, each in answers.items()}
ledger.say("Mean Dice on validation slices with a tumour: {whole:.2f} as it is, {skips:.2f} with silent skips, {coarse:.2f} with a silent coarse map. "
           "Pixels called tumour, for each true one: {a:.2f}, {b:.2f} and {c:.2f}.", whole=overlap["as it is"], skips=overlap["silent skips"], coarse=overlap["silent coarse map"],
           a=spread["as it is"], b=spread["silent skips"], c=spread["silent coarse map"])

# %% [markdown]
# You may have expected a blob in the right place without skips, since the coarse map sees most. But without the skips nothing is left, and without the coarse map much, or even all. So it seems that the skips carry where the tumour is *and* where it ends.
# The receptive field ([lesson 06](06_convolution.ipynb)) says how that can be: a number of the middle map sees 13 x 13 pixels, 42 mm, often enough to tell a tumour from a spot. How much the coarse map adds differs from one training to the next: try another `seed`.
# And beware: the decoder never met maps without places, so a part of what is lost may be surprise.
#
# Such an **ablation** shows what *this* network leans on, not what a network could do without. One *trained* without skips must squeeze all places through the coarse
# map. How far that gets, the study below says.
#
# ## The test, once
#
# The masks of the whole network, averaged with those of the mirrored slices, next to the threshold's. Each row of a table is a slice.

# %%
there, test_truth = test.labels == 1, test.masks > 0
masks = {"U-Net": task.masks(training.predict(network, test.images, task, mirror=True))}
masks["threshold"] = threshold_masks(test.images, *rule)
pixel = test.table["row_spacing_mm"].to_numpy()
tables = {
    name: segmentation.measure_masks(test_truth, m, spacing=pixel) for name, m in masks.items()
}
tables["U-Net"][there].head(4).round(2)

# %% [markdown]
# (`iou`: the intersection by the union of both masks. `hausdorff_95`: how far the outlines are apart in mm, all but the farthest 5 % of their pixels.)
# Both methods meet the same slices, so we look at the difference, with a 95 % interval that draws patients.

# %%
pairs = tables["U-Net"]["dice"][there] - tables["threshold"]["dice"][there]
subjects = test.subjects[there]
gap = statistics.bootstrap_interval(np.mean, pairs.to_numpy(), groups=subjects)

# %% tags=["plumbing"]
COLOURS, CAVEAT = {"U-Net": plotting.BLUE, "threshold": RIVAL}, "The interval knows other patients, not other trainings."
ledger.record("17/unet_dice", tables["U-Net"]["dice"][there].mean(), parameters, limits=(0, 1), chance=0)
ledger.say("Mean Dice: U-Net **{unet_dice:.3f}**, threshold {rival:.3f}; U-Net minus threshold {gap}. {verdict} ({caveat})", rival=tables["threshold"]["dice"][there].mean(), gap=gap, caveat=CAVEAT,
           verdict="The interval holds zero." if gap.low <= 0 <= gap.high else "The interval lies above zero." if gap.low > 0 else "The interval lies below zero: so short a training loses against one number.")

# %% [markdown]
# So much for slices *with* a tumour, all that Dice can judge. Of the others we ask how often something is found. A threshold that keeps the largest piece *always* finds something.
# To be fair to both, let small findings be dropped, under 1, 2, 3 ... pixels:

# %% tags=["plumbing"]
def operating_points(found):
    """Share of tumour-free slices with a finding, and mean Dice, if findings under k pixels are dropped."""
    area = found.sum(axis=(1, 2))
    overlap = segmentation.dice(test_truth[there], found[there])
    return np.array([[(area[~there] >= k).mean(), (overlap * (area[there] >= k)).mean()] for k in range(1, 61)])


fig, ax = plt.subplots(figsize=(5.6, 3.5))
points = {who: operating_points(m) for who, m in masks.items()}
for who, each in points.items():
    ax.plot(*each.T, "-", color=COLOURS[who], label=who)
    ax.plot(*each[0], "o", color=COLOURS[who])
ax.axvline(0.05, color=plotting.GREY, ls=":", lw=1)
ax.set(xlim=(-0.02, 1.03), ylim=(0, 1), xlabel="tumour-free slices with a finding (dotted: 5 %)", ylabel="mean Dice,\nslices with a tumour")
ax.legend(loc="lower right")
plotting.show(fig, alt="Mean Dice on slices with a tumour against the share of tumour-free slices with a finding, as small findings are dropped. The threshold starts where every tumour-free slice has a finding, "
              "and pays with Dice on the way to few. The U-Net starts at few.")

# %% tags=["plumbing"]
quiet = {who: each[each[:, 0] <= 0.05][0] for who, each in points.items()}
ledger.say("Without any dropping, something is found in {u:.0%} (U-Net) and {t:.0%} (threshold) of the tumour-free slices. Brought to 5 % at most, mean Dice is {ud:.2f} and {td:.2f}. (This size is read off these test slices, so both numbers flatter a little; the study below chooses it on validation.)",
           u=points["U-Net"][0, 0], t=points["threshold"][0, 0], ud=quiet["U-Net"][1], td=quiet["threshold"][1])

# %% [markdown]
# ## Where it fails
#
# > **Predict** Which tumours have the lower Dice: small or large? And if a perfect mask were moved by *one* pixel, what would it score?

# %% tags=["plumbing"]
sizes = test.table["tumour_diameter_mm"].to_numpy()
edges = np.array([0, 20, 25, 30, 35, 40, 100])
group = np.digitize(sizes[there], edges) - 1
shifted = np.roll(test_truth, 1, axis=2)
lines = {who: tables[who]["dice"][there].to_numpy() for who in masks} | {"truth, moved by a pixel": segmentation.dice(test_truth[there], shifted[there])}
fig, ax = plt.subplots(figsize=(6, 3.7))
rng = np.random.default_rng(0)
ax.plot(group + rng.uniform(-0.25, 0.25, len(group)), lines["U-Net"], "o", ms=3, color=plotting.BLUE, alpha=0.35, zorder=0)
for (who, values), style in zip(lines.items(), ("o-", "s-", "^:"), strict=True):
    ax.plot([values[group == k].mean() for k in range(6)], style, color=COLOURS.get(who, plotting.BLACK), label=who)
names = ["< 20", *(f"{a}-{b}" for a, b in zip(edges[1:-2], edges[2:-1], strict=True)), "> 40"]
ax.set_xticks(range(6), [f"{name}\nn={np.sum(group == k)}" for k, name in enumerate(names)], fontsize=10)
ax.set(xlabel="longest diameter in the slice (mm)", ylabel="Dice", ylim=(-0.03, 1.03))
ax.legend(loc="lower right", fontsize=10)
plotting.show(fig, alt="Mean Dice against the diameter of the tumour: for the U-Net, with a dot for each slice, for the threshold, and for the true mask moved by one pixel. All rise with the diameter.")

# %% [markdown]
# All three are lower for small tumours, also the true mask that is one pixel off, and nothing is wrong with that one but 3 mm. A small mask is nearly all edge. So part of the bad score of small tumours is the ruler's: the **size
# bias** of Dice. Never compare mean Dice between groups with tumours of different size. The rest is real: some small tumours are missed altogether (dots at 0). The two largest of the missed tumours, and the two lowest scores of tumours above 40 mm:

# %% tags=["plumbing"]
rows, score = np.flatnonzero(there), lines["U-Net"]
order, big = np.lexsort((score, -sizes[rows])), sizes[rows] > 40
missed = [k for k in order if score[k] == 0 and not big[k]][:2]
worst = rows[[*missed, *[k for k in np.argsort(score, kind="stable") if big[k]][:2]]]
fig, axes = plt.subplots(1, 4, figsize=(7.6, 2.7))
for ax, case in zip(axes, worst, strict=False):
    ax.imshow(test.images[case, ..., 2][WHERE], vmin=WINDOW[0], vmax=WINDOW[1])
    plotting.outline(ax, masks["U-Net"][case][WHERE], colour=FOUND)
    plotting.outline(ax, test_truth[case][WHERE], colour=TRUE)
    ax.set_title(f"{sizes[case]:.0f} mm, contrast {test.table['tumour_contrast'][case]:.2f}", fontsize=9.5), ax.set_axis_off()
plotting.show(fig, alt="Test slices with a low Dice: true outlines in orange; found ones, in blue, are missing, too small or elsewhere.")

wrong = masks["U-Net"][there] != test_truth[there]
near = np.stack([ndimage.binary_dilation(m) & ~ndimage.binary_erosion(m) for m in test_truth[there]])
ledger.record("17/wrong_at_edges", (wrong & near).sum() / wrong.sum(), parameters, limits=(0, 1))
ledger.say("In slices with a tumour **{wrong_at_edges:.0%}** of all wrong pixels lie within one pixel of the true outline. (In a small tumour that is missed, most do, too.)")

# %% [markdown]
# (Contrast: how much of the tissue the tumour replaces, here 0.6 to 1.)
#
# Two further traps. **Empty masks**: we left slices without a tumour out of the mean, and counted findings in them apart, as [Metrics Reloaded](https://doi.org/10.1038/s41592-023-02151-z)
# recommends. Others give an empty answer to an empty slice Dice 1. **Resampling**: what happens to a perfect mask that is reduced to 32 x 32 pixels and enlarged again?

# %% tags=["plumbing", "nbval-check-output"]
half_size = redrawn(test_truth, 32)
print(f"Found nothing, ever: mean Dice 0.00 on slices with a tumour; {np.mean(~there):.2f} on all slices, if empty on empty counts 1")
print(f"The truth, through 32 x 32 pixels and back: mean Dice {segmentation.dice(test_truth[there], half_size[there]).mean():.2f}")

# %% [markdown]
# Under the other rule, a method that never finds anything gets half marks. And a perfect mask is not perfect any more. So say what empty masks count, and measure on the grid of the original image.
#
# ## From mask to measurement
#
# Back to the question. A mask is a ruler: its **area** is the number of pixels times the size of one (here 3.25 mm x 3.25 mm), its **volume** the areas of all slices times their distance, its **longest diameter** the longest
# line from one corner of a pixel to another. Which of them suffers most from a stray pixel? We measure the masks as they are, and the largest connected piece alone:

# %%
def largest_piece(mask):
    pieces, n = ndimage.label(mask)
    return pieces == np.bincount(pieces[mask]).argmax() if n else mask


# %% [markdown]
# For each patient we take the longest diameter of any slice, as RECIST does.

# %%
whole = masks["U-Net"]
pieces = np.array([largest_piece(mask) for mask in whole])
rulers = {"all that was found": whole, "its largest piece": pieces}
longest = {}
for name, found in rulers.items():
    table = segmentation.measure_masks(test_truth, found, spacing=pixel).groupby(test.subjects)
    largest_of = table[["true_diameter", "diameter"]].max()  # of each patient
    longest[name] = largest_of[largest_of["true_diameter"] > 0]

# %% [markdown]
# A correlation would not do: two rulers, one of which adds a centimetre, correlate perfectly. [Bland and Altman](https://doi.org/10.1016/S0140-6736(86)90837-8) draw the *error* against the size. With $\bar e$ the
# mean error and $s$ the standard deviation of the errors, the **limits of agreement** $\bar e \pm 1.96\,s$ hold about 95 % of them, if errors are about normal.

# %%
agreement = {
    name: segmentation.limits_of_agreement(table["true_diameter"], table["diameter"])
    for name, table in longest.items()
}

# %% tags=["plumbing"]
errors = {name: (table["diameter"] - table["true_diameter"]).to_numpy() for name, table in longest.items()}
true_longest = longest["its largest piece"]["true_diameter"].to_numpy()
fig, axes = plt.subplots(1, 2, figsize=(7.2, 3.6), sharey=True)
for ax, (name, (bias, lower, upper)) in zip(axes, agreement.items(), strict=True):
    ax.plot(true_longest, errors[name], "o", color=plotting.BLUE, alpha=0.7)
    for line, colour in ((bias, plotting.BLACK), (lower, plotting.VERMILION), (upper, plotting.VERMILION)):
        ax.axhspan(line.low, line.high, color=colour, alpha=0.12, lw=0)
        ax.axhline(line.value, color=colour, lw=1.5)
    ax.set(xlabel="true longest diameter (mm)", title=f"{name}:\nlimits {lower.value:+.0f} to {upper.value:+.0f} mm")
axes[0].set_ylabel("found minus true (mm)")
plotting.show(fig, save="17_bland_altman", alt="Two Bland-Altman plots: error of the longest diameter against the true one, a dot for each patient, with mean error and limits of agreement, and their 95 % intervals as bands. "
              "For all that was found, a few errors are of many centimetres and the limits are wide; for the largest piece alone they are narrower.")

# %% tags=["plumbing"]
rng, single_error = np.random.default_rng(0), errors["its largest piece"]
first_visit, second_visit = (np.maximum(0, true_longest + rng.choice(single_error, size=(4000, len(true_longest)))) for _ in range(2))
alarm = np.mean((second_visit - first_visit >= 5) & (second_visit >= 1.2 * first_visit))
whole = tables["U-Net"][there]
area_bias = whole["area"].sum() / whole["true_area"].sum() - 1
ledger.record("17/area_bias", area_bias, parameters, limits=(-1, 1), chance=-1)
ledger.say("{n} patients, largest piece: mean error {bias.value:+.1f} mm [{bias.low:.1f}, {bias.high:.1f}], limits {lower.value:.1f} and {upper.value:.1f} mm. All areas together, stray pixels included: {area_bias:+.1%} of the truth: a short training draws too small. "
           "If the errors of two visits were independent, **{alarm:.0%}** of patients whose tumour has *not* changed would be called progressive.", n=len(true_longest), alarm=alarm, **dict(zip(("bias", "lower", "upper"), agreement["its largest piece"], strict=True)))

# %% [markdown]
# Black: mean error; orange: limits; bands: their 95 % intervals. On the left, a stray piece at the other side of the brain makes a diameter of ten centimetres and more, and changes the area by next to nothing: the longest diameter hangs on two points. A few such dots make the limits on the left. On the right
# most errors are of a few pixels; outliers are tumours missed, or taken for something else. And whoever measures *change* measures twice, and pays for both errors.
#
# **Exercise 17.3: has it grown?** Take the masks `before` and `after` and the `spacing`, (mm down, mm across). Return `"progression"` if the longest diameter is at least 20 % *and* at least 5 mm longer, `"response"` if it is at
# least 30 % shorter, else `"stable"`.
#
# > **Hint** `longest_diameter(mask, spacing)` measures in mm, and gives 0 for an empty mask. ([Solution](solutions/17_unet_segmentation.ipynb))


# %% tags=["exercise"]
def change(before, after, spacing):
    return ...  # your code here


# %% tags=["solution"]
def change(before, after, spacing):
    first, second = (longest_diameter(mask, spacing) for mask in (before, after))
    if second >= 1.2 * first and second - first >= 5:
        return "progression"
    return "response" if second <= 0.7 * first else "stable"


# %%
check.exercise("17.3", change)

# %% [markdown]
# (For gliomas, the tumours simulated here, trials use [RANO](https://doi.org/10.1200/JCO.2017.72.7511) instead: the product of two diameters at right angles.) Now our patient. We measure all slices of all six visits, by their largest piece.

# %%
found = task.masks(training.predict(network, np.concatenate(stacks), task, mirror=True))
found_stacks = np.array([largest_piece(m) for m in found]).reshape(true_stacks.shape)
cell_mm3 = spacing_mm**2 * SLICE_GAP_MM
found_ml = found_stacks.sum(axis=(1, 2, 3)) * cell_mm3 / 1000
found_mm = [max(longest_diameter(m) for m in s) * spacing_mm for s in found_stacks]
true_mm = [max(longest_diameter(m) for m in s) * spacing_mm for s in true_stacks]

# %% tags=["plumbing"]
def growth_film():
    fig, (left, middle_ax, right) = plt.subplots(1, 3, figsize=(7.4, 3), width_ratios=(1.15, 1, 1))
    number = np.arange(1, len(stacks) + 1)
    for k in [len(stacks) - 1, *range(len(stacks))]:
        left.clear(), left.set_axis_off()
        left.imshow(stacks[k, largest[k], 6:60, 6:60, 2], vmin=WINDOW[0], vmax=WINDOW[1])
        plotting.outline(left, found_stacks[k, largest[k]][6:60, 6:60], colour=FOUND)
        plotting.outline(left, true_stacks[k, largest[k]][6:60, 6:60], colour=TRUE)
        left.set_title(f"visit {k + 1}")
        for ax, truth_line, line, title in ((middle_ax, true_mm, found_mm, "longest diameter (mm)"), (right, volumes / 1000, found_ml, "volume (ml)")):
            ax.clear()
            ax.plot(number, truth_line, color=TRUE, label="true")
            ax.plot(number[: k + 1], line[: k + 1], "o", color=plotting.BLUE, label="found")
            ax.set(xlabel="visit", xlim=(0.5, len(stacks) + 0.5), ylim=(0, 1.35 * max(*truth_line, *line)), xticks=number)
            ax.set_title(title, fontsize=11)
        for first, colour in ((true_mm[0], TRUE), (found_mm[0], plotting.BLUE)):
            middle_ax.axhline(max(1.2 * first, first + 5), color=colour, ls=":", lw=1.5)
        right.legend(loc="upper left", fontsize=9)
        yield fig


# %% tags=["plumbing"]
plotting.show_animation(growth_film(), milliseconds=900, alt="The patient's six visits: the slice with true and found outline; the longest diameter and the volume, true as a line and found as dots, visit by visit. Two dotted lines mark progression, against the first true and the first found diameter.")

def first_progression(diameters):
    if not diameters[0]:
        return "cannot say, for it found nothing at visit 1"
    grown = [k for k, d in enumerate(diameters, start=1) if d >= 1.2 * diameters[0] and d - diameters[0] >= 5]
    return f"visit {grown[0]}" if grown else "never"


ledger.say("Progression against visit 1, by the true diameter: **{true}**; by the network's: **{found}**.", true=first_progression(true_mm), found=first_progression(found_mm))

# %% [markdown]
# Dotted: progression against visit 1, orange for the truth, blue for the network, each against its own first measurement: a ruler that is always wrong by the same share still shows growth. The diameter moves in steps of a pixel; the volume rests on all pixels, and grows with the third power. (Here all visits share position, scanner and noise. Real ones do not.)
#
# ## Over seeds: the study
#
# One training is an anecdote. The study trained each variant with several seeds, one level deeper and for longer than we could, and tested on its own new patients. A second cohort is harder: tumours with the volume of a ball of 8 to 20 mm, fainter, up to three in a patient.
# Here are four of those patients, with the largest diameter in the slice.

# %% tags=["plumbing"]
hard = standardised(new_patients(20337, n_subjects=16, slices_per_subject=1, difficulty=DATA["small-and-faint"]))
some = np.flatnonzero(hard.labels == 1)[[0, 2, 3, 4]]
fig = plotting.image_grid(hard.images[some, 4:62, 6:60, 2], titles=[f"{d:.0f} mm" for d in hard.table["tumour_diameter_mm"][some]], window=WINDOW)
for ax, case in zip(fig.axes, some, strict=True):
    plotting.outline(ax, hard.masks[case][WHERE])
plotting.show(fig, alt="Four slices of the harder cohort with outlines: small tumours that look like spots of old age.")

# %% tags=["plumbing"]
TITLES = {"threshold": "threshold", "unet": "U-Net, both losses", "no-skips": "without skips", "entropy": "only cross-entropy", "dice": "only Dice loss", "pooled": "Dice of the whole batch"}


def stored(name, study="segmentation"):
    try:
        return studies.load_study(study, name)
    except (FileNotFoundError, KeyError):
        return None


STATISTICS = {  # of labels and scores: columns are Dice (or a finding, 1 or 0), the same when quiet, area, diameter, true area, true diameter
    "all tumours": lambda y, s: s[y == 1, 0].mean(), "under 20 mm": lambda y, s: s[(y == 1) & (s[:, 5] < 20), 0].mean(),
    "findings": lambda y, s: s[y == 0, 0].mean(), "quiet": lambda y, s: s[y == 1, 1].mean(), "quiet findings": lambda y, s: s[y == 0, 1].mean(),
    "area": lambda y, s: s[y == 1, 2].sum() / s[y == 1, 4].sum() - 1,
}


# %% tags=["plumbing"]
def over_seeds(study, statistic, *models):
    """Mean over seeds with its 95 % interval over seeds and patients; of two models, the difference."""
    scores = [study.scores[model, "all"] for model in models]
    n = min(map(len, scores))
    if len(models) == 2:
        scores = np.stack([each[:n] for each in scores], axis=-1)
        return statistics.seeds_and_patients_interval(lambda y, s: statistic(y, s[..., 0]) - statistic(y, s[..., 1]), study.labels, scores, subjects=study.subjects)
    return statistics.seeds_and_patients_interval(statistic, study.labels, scores[0], subjects=study.subjects, logit=statistic is not STATISTICS["area"])


def brief(found, style=".2f"):
    interval = "" if np.isnan(found.low) else f" [{found.low:{style}}, {found.high:{style}}]"
    return f"{found.value:{style}}{interval}"


of_data = {name: study for name in DATA if (study := stored(name))}
present = {name: [model for model in MODELS if (model, "all") in study.scores and len(study.scores[model, "all"]) > 1] for name, study in of_data.items()}
if missing := [f"{name}: {', '.join(gone)}" for name in DATA if (gone := [m for m in MODELS if m not in present.get(name, [])])]:
    ledger.say("Not there yet (the study comes with the repository, not with the installed package): {missing}.", missing="; ".join(missing))

# %% tags=["plumbing"]
if of_data:
    fig, axes = plt.subplots(1, len(of_data), figsize=(7.4, 3.2), sharey=True, squeeze=False)
    for ax, (name, study) in zip(axes[0], of_data.items(), strict=True):
        for y, model in enumerate(present[name]):
            for offset, label, colour in ((-0.13, "all tumours", plotting.BLUE), (0.13, "under 20 mm", plotting.VERMILION)):
                found = over_seeds(study, STATISTICS[label], model)
                ax.plot([found.low, found.high], [y + offset] * 2, color=colour, lw=4, alpha=0.4)
                ax.plot(found.value, y + offset, "o", color=colour, label=label if y == 0 and ax is axes[0, 0] else None)
        ax.set_yticks(range(len(present[name])), [TITLES[model] for model in present[name]])
        ax.set(xlim=(0, 1), xlabel="mean Dice"), ax.set_title(name)
    axes[0, 0].invert_yaxis()  # and so the other, which shares it
    fig.legend(loc="outside lower center", ncols=2)
    plotting.show(fig, save="17_segmentation", alt="Mean Dice of threshold, U-Net and its variants on two cohorts, with 95 % intervals over seeds and patients, for all tumours and for those under 20 mm.")

# %% tags=["plumbing"]
for name, study in of_data.items():
    rows = [f"| {name} | Dice | tumour-free slices with a finding | Dice, quiet | with a finding, quiet | area, quiet |", "|---|---|---|---|---|---|"]
    for model in present[name]:
        cells = [brief(over_seeds(study, STATISTICS[of], model), style) for of, style in (("all tumours", ".3f"), ("findings", ".0%"), ("quiet", ".3f"), ("quiet findings", ".0%"), ("area", "+.0%"))]
        rows.append(" | ".join([f"| {TITLES[model]}", *cells]) + " |")
    ledger.say("{table}", table="\n".join(rows))
    if {"unet", "threshold", "entropy"} <= set(present[name]):
        of = {m + what: over_seeds(study, STATISTICS[key], m).value for m in ("unet", "threshold", "entropy") for what, key in (("_f", "findings"), ("_q", "quiet"), ("_qf", "quiet findings"))}
        ledger.say("Findings in tumour-free slices: threshold {threshold_f:.0%}, U-Net {unet_f:.0%}. Made quiet, the threshold keeps a Dice of {threshold_q:.2f} with findings in {threshold_qf:.0%}, the U-Net {unet_q:.2f} with {unet_qf:.0%}; trained on cross-entropy alone, {entropy_q:.2f} with {entropy_qf:.0%}.", **of)
        others = [model for model in present[name] if model != "unet"]
        gaps = "; ".join(f"{TITLES[m]} {brief(over_seeds(study, STATISTICS['all tumours'], 'unet', m), '+.3f')}" for m in others)
        empty = {m: np.sum(study.scores[m, "all"][:, study.labels == 1, 0].mean(axis=1) < 0.01) for m in present[name]}
        gaps += "".join(f". {TITLES[m]}: {n} training(s) of {len(study.scores[m, 'all'])} ended in empty masks" for m, n in empty.items() if n)
        ledger.say("**{name}**, U-Net minus each, Dice: {gaps} (95 % over seeds and patients; {n} trainings each, about {steps:.0f} steps).", name=name, gaps=gaps,
                   n=len(study.scores["unet", "all"]), steps=study.records.query("model == 'unet'")["steps"].astype(float).mean())

# %% [markdown]
# (For "quiet", the cut, and how sure a network must be somewhere in a piece, were chosen on validation so that at most 5 % of tumour-free slices had a finding; on new patients it may be more.)
#
# Read it with the rival in mind. In Dice on slices with a tumour, one grey value comes close to the U-Net, and on the few smallest tumours of the default cohort its mean is higher. There the network adds silence. In the harder cohort neither is silent; and where the U-Net
# is to be quiet, it is so on validation and not on new patients: its Dice stands at more findings than the threshold's, no fair match. Cross-entropy alone, as quiet as the threshold, keeps less. Counting every tumour the same has its price, too: more findings than with the Dice of the whole
# batch. The lines with differences say what skips and losses are worth; an interval that holds zero decides nothing.
#
# ## Real images
#
# The same network, by one command, on 452 breast ultrasound images with a lesion ([Al-Dhabyani and others 2020](https://doi.org/10.1016/j.dib.2019.104863)): `medlib train labels.csv --task segment --image-size 128 --classes benign,malignant`. Each image
# is drawn by a network that has not seen it, nor one that looks like it.

# %% tags=["plumbing"]
if breast := stored("busi", "breast_masks"):
    ((values,),) = breast.scores.values()
    malignant, overlap, sizes = breast.labels == 1, values[:, 0], values[:, [4, 2]]
    of_subject = {kind: np.array([sizes[(breast.subjects == who) & rows].mean(axis=0) for who in np.unique(breast.subjects[rows])]) for kind, rows in (("benign", ~malignant), ("malignant", malignant))}
    bias, lower, upper = segmentation.limits_of_agreement(*np.concatenate(list(of_subject.values())).T)
    fig, ax = plt.subplots(figsize=(6, 3.5))
    for (kind, pairs), colour in zip(of_subject.items(), (plotting.BLUE, plotting.VERMILION), strict=True):
        ax.plot(pairs[:, 0], pairs[:, 1] - pairs[:, 0], "o", ms=4, color=colour, alpha=0.5, label=kind)
    for line in (bias, lower, upper):
        ax.axhline(line.value, color=plotting.BLACK, lw=1.5, ls="-" if line is bias else "--")
    ax.set(xlabel="annotated longest diameter (pixels of the file)", ylabel="found minus annotated")
    ax.legend(loc="upper right", fontsize=10)
    plotting.show(fig, alt="Bland-Altman plot of breast lesions: error of the longest diameter against the annotated one, benign and malignant, with mean error and limits of agreement.")
    dice_of = {name: statistics.bootstrap_interval(np.mean, overlap[rows], groups=breast.subjects[rows]) for name, rows in (("all", malignant | True), ("benign", ~malignant), ("malignant", malignant))}
    ledger.say("Mean Dice **{all}**, benign {benign}, malignant {malignant} (95 % over groups of images that look alike). All areas together {area:+.0%} of the annotated; longest diameter {bias.value:+.0f} pixels, limits {lower.value:.0f} and {upper.value:.0f}.",
               area=values[:, 1].sum() / values[:, 3].sum() - 1, bias=bias, lower=lower, upper=upper, **{name: brief(each) for name, each in dice_of.items()})

# %% [markdown]
# "Annotated", not "true": somebody drew these outlines. Malignant lesions have jagged edges that fade into what lies around them. And only images *with* a lesion were learnt: shown a healthy breast, this network was never taught to keep silent. The malignant lesions are larger here, so the size bias would favour them; they score lower all the same.
#
# What a simulation cannot show: where two experts would have drawn the edge, scars after surgery, movement, other diseases. [nnU-Net](https://doi.org/10.1038/s41592-020-01008-z) is where to start with real images.
#
# **In this lesson we**
#
# - turned masks into diameters, areas and volumes in mm, with limits of agreement, and decided by RECIST;
# - built a U-Net, silenced parts of it, and saw how much it leans on its skips;
# - computed cross-entropy and Dice loss by hand, and let every tumour count the same;
# - met a threshold that a short training does not beat where there is a tumour, and that never keeps silent;
# - saw the size bias of Dice, and stated what empty masks count.
#
# **Next**, in [lesson 18](18_tumour_detection.ipynb): tumour detection, boxes and heat maps instead of outlines.
#
# **References**
#
# - O. Ronneberger, P. Fischer, T. Brox: U-Net: convolutional networks for biomedical image segmentation, *MICCAI* 2015, [doi:10.1007/978-3-319-24574-4_28](https://doi.org/10.1007/978-3-319-24574-4_28).
# - F. Milletari, N. Navab, S.-A. Ahmadi: V-Net: fully convolutional neural networks for volumetric medical image segmentation, *3DV* 2016, [arXiv:1606.04797](https://arxiv.org/abs/1606.04797).
# - L. R. Dice: Measures of the amount of ecologic association between species, *Ecology* 26 (1945) 297-302, [doi:10.2307/1932409](https://doi.org/10.2307/1932409).
# - E. A. Eisenhauer and others: New response evaluation criteria in solid tumours: revised RECIST guideline (version 1.1), *European Journal of Cancer* 45 (2009) 228-247, [doi:10.1016/j.ejca.2008.10.026](https://doi.org/10.1016/j.ejca.2008.10.026).
# - P. Y. Wen and others: Response assessment in neuro-oncology clinical trials, *Journal of Clinical Oncology* 35 (2017) 2439-2449, [doi:10.1200/JCO.2017.72.7511](https://doi.org/10.1200/JCO.2017.72.7511).
# - J. M. Bland, D. G. Altman: Statistical methods for assessing agreement between two methods of clinical measurement, *Lancet* 327 (1986) 307-310, [doi:10.1016/S0140-6736(86)90837-8](https://doi.org/10.1016/S0140-6736(86)90837-8).
# - L. Maier-Hein and others: Metrics reloaded: recommendations for image analysis validation, *Nature Methods* 21 (2024) 195-212, [doi:10.1038/s41592-023-02151-z](https://doi.org/10.1038/s41592-023-02151-z).
# - W. Al-Dhabyani and others: Dataset of breast ultrasound images, *Data in Brief* 28 (2020) 104863, [doi:10.1016/j.dib.2019.104863](https://doi.org/10.1016/j.dib.2019.104863).
# - F. Isensee and others: nnU-Net: a self-configuring method for deep learning-based biomedical image segmentation, *Nature Methods* 18 (2021) 203-211, [doi:10.1038/s41592-020-01008-z](https://doi.org/10.1038/s41592-020-01008-z).

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
# # 16 Residual networks
#
# Finding a faint tumour may take many steps of thought: edges, textures, shapes, what belongs to whom. A network's steps are its
# layers. So take a network that works and **add layers**. It can do all that it could before, and more.
#
# > **Predict** What happens to the loss on the *training* images: better, the same, or worse?

# %% tags=["install"]
import medlib

# %% tags=["parameters"]
n_images = 320  # slices that the networks here learn from
steps = 200  # of each training, 32 slices each
seed = 0  # of the patients drawn, and of all weights

# %% tags=["plumbing"]
from medlib import training

training.set_seed(seed)  # imports Keras without its messages
import keras
import matplotlib.pyplot as plt
import numpy as np
from keras import layers
from scipy import stats

from coursekit import check, ledger, studies
from coursekit.experiments import degradation
from medlib import models, plotting
from medlib.evaluation import statistics

plotting.use_style()
parameters = {"n_images": n_images, "steps": steps, "seed": seed}


# %% tags=["plumbing"]
def stored(name):
    """A study; None where only the package is installed."""
    try:
        return studies.load_study(name)
    except FileNotFoundError:
        return None


everyone, test, task = degradation.splits(20336, degradation.TEST_PATIENTS)
train, _ = degradation.draw(everyone, {"n_train": n_images, "seed": seed})
elsewhere = everyone.take(everyone.table["site"].to_numpy() != "D")  # for the last part
learnt_before = {"patients": len(set(elsewhere.subjects)), "slices": len(elsewhere)}
del everyone, elsewhere
ORANGE, BLUE, GREEN = plotting.VERMILION, plotting.BLUE, plotting.GREEN

# %% [markdown]
# We try it on slices of `simbrain` ([lesson 02](02_mr_simulation.ipynb)), with a tumour or without. To be quick, each slice is reduced to 32 x 32 pixels,
# and the training slices are only 320, of 80 virtual patients.

# %% tags=["plumbing"]
from medlib import datasets

shown = np.concatenate([np.flatnonzero(train.labels == label)[::30][:5] for label in (0, 1)])
full = datasets.load("simbrain").train  # the small slices have no outlines
keys = ["subject", "slice_position_mm"]
row_of = {key: row for row, key in enumerate(full.table[keys].itertuples(index=False, name=None))}
rows = [row_of[key] for key in train.table[keys].iloc[shown[5:]].itertuples(index=False, name=None)]
outlines = (full.masks[rows] > 0).reshape(5, 32, 2, 32, 2).mean(axis=(2, 4)) >= 0.5
del full
fig = plotting.image_grid(train.images[[*shown, *shown[5:]]][..., 2], window=(0.2, 0.75), columns=5)
for ax, mask in zip(fig.axes[10:], outlines, strict=True):
    plotting.outline(ax, mask)
plotting.show(fig, alt="Fifteen small FLAIR slices: five without a tumour, five with one, and those five again with the tumour outlined. The first tumour is plain to see, the third hides among other bright specks.")

# %% [markdown]
# FLAIR: above without a tumour, in the middle with one, below the same with its outline. Would you have seen them? `train` holds the training slices, `test` those of 50 new patients, for later.
#
# **You will**
#
# - watch depth make a network worse, and find out why by following the signal and the gradient;
# - derive what a shortcut, `x + f(x)`, does to the gradient, and count its paths;
# - write residual blocks, and take some out of a trained network;
# - judge by a study over seeds and learning rates what shortcuts are worth;
# - judge by another one what a training on other images gives to fifty labelled patients.
#
# **Reading:** about 45 min · **running:** about 30 s · **builds on:** [06](06_convolution.ipynb) (convolution), [07](07_learning.ipynb) (gradient,
# learning rate), [08](08_first_cnn.ipynb) (a CNN, batch normalisation), [12](12_comparing_architectures.ipynb) (studies)
#
# ## Deeper, and worse
#
# Our building block has two convolutions, each after a ReLU. Size and channels stay the same, so any number of blocks fit one after the other.


# %%
from keras.ops import relu


class Plain(keras.Layer):
    """ReLU, convolution, ReLU, convolution."""

    def __init__(self, start="he_normal"):
        super().__init__()
        self.first = layers.Conv2D(16, 3, padding="same", kernel_initializer="he_normal")
        self.second = layers.Conv2D(16, 3, padding="same", kernel_initializer=start)

    def call(self, x):
        return self.second(relu(self.first(relu(x))))


# %% [markdown]
# (`he_normal` draws random weights at a scale that suits ReLU, as in [lesson 08](08_first_cnn.ipynb).) In front of the blocks stands one convolution with
# a stride of 4, the **stem**. It makes maps of 8 x 8 places. Behind the blocks stands the **head**: the largest value of each channel, and one unit that
# gives the probability of a tumour. One block makes 4 layers with weights, three make 8, nine make 20.


# %%
def build(block, n_blocks):
    """Stem, blocks in a row, head."""
    stem = layers.Conv2D(16, 7, strides=4, padding="same", kernel_initializer="he_normal")
    head = [layers.ReLU(), layers.GlobalMaxPooling2D(), layers.Dense(1, activation="sigmoid")]
    scale = layers.Rescaling(**degradation.SCALE)  # grey values to mean 0 and SD 1
    blocks = [block() for _ in range(n_blocks)]
    return keras.Sequential([keras.Input((32, 32, 3)), scale, stem, *blocks, *head])


# %%
def learn(block, n_blocks, rate=0.05):
    """Train; return the network, and the loss in each pass over the training slices."""
    training.set_seed(seed)
    network = build(block, n_blocks)
    degradation.fit(network, train, task, rate=rate, steps=steps, seed=seed)
    return network, network.history.history["loss"]


# %% [markdown]
# `degradation.fit` is gradient descent ([lesson 07](07_learning.ipynb)) with momentum and a learning rate that rises, then falls; `degradation` is the module
# behind this lesson's study.

# %%
four, twenty = learn(Plain, 1), learn(Plain, 9)

# %% tags=["plumbing"]
def training_film(runs):
    """Frames: the training loss, pass after pass."""
    fig, ax = plt.subplots(figsize=(5.4, 3.2))
    ax.axhline(np.log(2), color=plotting.GREY, ls=":", lw=1)
    n = len(runs[0][1])
    ax.text(n, np.log(2) + 0.012, "always saying 1/2", fontsize=10, color=plotting.GREY, ha="right")
    ax.set(xlim=(0, n + 0.5), ylim=(0, 0.85), xlabel="pass over the training slices", ylabel="training loss")
    lines = [ax.plot([], [], color=colour, label=name)[0] for name, _, colour in runs]
    ax.set_xticks(range(0, n + 1, 5))
    ax.legend(loc="lower left")
    for end in [n, *range(2, n + 1, 2)]:
        for line, (_, losses, *_) in zip(lines, runs, strict=True):
            line.set_data(np.arange(1, end + 1), losses[:end])
        yield fig


# %% tags=["plumbing"]
runs = [("4 layers", four[1], BLUE), ("20 layers", twenty[1], ORANGE)]
plotting.show_animation(training_film(runs), alt="Training loss of plain networks of 4 and of 20 layers, pass after pass. That of 4 layers falls further.")

# %% tags=["plumbing"]
def loss_of(network):
    """Cross-entropy of all training slices."""
    return float(task.loss(label_smoothing=0)(task.targets(train), network(train.images)))


loss_four, loss_twenty = loss_of(four[0]), loss_of(twenty[0])
ledger.say("Training loss at the end: 4 layers **{four:.2f}**, 20 layers **{twenty:.2f}**.", four=loss_four, twenty=loss_twenty)

# %% [markdown]
# Worse, on the very images that it learns from. So this is no overfitting: an overfitted network would have a *low* training loss. And 20
# layers could do all that 4 can: let the other blocks pass on what they get. Such weights exist; gradient descent does not find
# them. Where more layers make the *training* loss worse, one speaks of **degradation** ([He and others 2016a](https://doi.org/10.1109/CVPR.2016.90)).
# (Or is only the learning rate wrong? Wait for the study below.)
#
# ## One plus
#
# If passing on is so hard to learn, let us give it away for nothing. Each block adds to its input:
#
# $$y = x + f(x)$$
#
# where $f$ is what the plain block does. A block that has nothing to say needs $f = 0$, which is easy. This is a **residual block**: $f$ learns
# what is left to do, the residual. The way past it is the **shortcut**.

# %% tags=["plumbing"]
def draw_block(ax, y, shortcut):
    """ReLU, convolution, ReLU, convolution from left to right, and perhaps a way past them."""
    stations = [(0, "$x$"), (1.3, "ReLU"), (2.6, "conv"), (3.9, "ReLU"), (5.2, "conv"), (6.5, "+" if shortcut else None), (7.8, "$y$")]
    stations = [(x, name) for x, name in stations if name]
    for (x, _), (after, _) in zip(stations[:-1], stations[1:], strict=True):
        ax.annotate("", (after - 0.35, y), (x + 0.3, y), arrowprops={"arrowstyle": "->", "lw": 1.5})
    for x, name in stations:
        box = name in ("ReLU", "conv", "+")
        style = {"boxstyle": "circle" if name == "+" else "round", "fc": GREEN if name == "+" else plotting.SKY, "alpha": 0.5} if box else None
        ax.text(x, y, name, ha="center", va="center", fontsize=12, bbox=style)
    if shortcut:
        ax.plot([0.05, 0.05, 6.5], [y + 0.15, y + 0.5, y + 0.5], color=GREEN, lw=2.5)
        ax.annotate("", (6.5, y + 0.17), (6.5, y + 0.54), arrowprops={"arrowstyle": "->", "lw": 2.5, "color": GREEN})
        ax.text(3.25, y + 0.56, "shortcut", ha="center", color=GREEN, fontsize=11)


# %% tags=["plumbing"]
fig, ax = plt.subplots(figsize=(6.4, 2.3))
draw_block(ax, 1.2, False), draw_block(ax, 0, True)
ax.set(xlim=(-0.4, 8.2), ylim=(-0.3, 1.45))
ax.set_axis_off()
plotting.show(fig, alt="Above the plain block: x, ReLU, convolution, ReLU, convolution, y. Below the residual block: the same, and a way from x past all of them to a plus sign in front of y.")


# %%
class Residual(Plain):
    """The same layers, with a shortcut past them."""

    def __init__(self):
        super().__init__(start="zeros")

    def call(self, x):
        return x + super().call(x)


# %% [markdown]
# So we change two things: the plus, *and* the last convolution of each block begins at zero. At first a block changes nothing at all. (In a plain network such zeros would silence
# everything behind them.) Why the second? Let us see what nine blocks with a plus, but a random start, do before any training.

# %%
class RandomStart(Plain):
    def call(self, x):
        return x + super().call(x)


# %% tags=["plumbing"]
def size(x):
    """Root mean square of all numbers."""
    return float(np.sqrt(np.mean(np.square(x))))


training.set_seed(seed)
x, sizes = train.images[::5], []
for part in build(RandomStart, 9).layers[:-3]:
    x = part(x)
    sizes.append(size(x))
ledger.say("After the nine blocks the numbers are **{times:.0f} times** as large as before (root mean square), although none has learnt anything.", times=sizes[-1] / sizes[1])

# %% [markdown]
# With a random start, $f(x)$ is about as large as $x$, and each block adds it. With zeros the signal keeps its size, and each block grows as it learns. The number of weights is the same in all three.
#
# > **Predict** Same layers, same number of weights, same images, same steps. How far does the loss of 20 layers fall now?

# %%
residual = learn(Residual, 9)

# %% tags=["plumbing"]
fig = next(training_film([*runs, ("20 layers, residual", residual[1], GREEN)]))
plotting.show(fig, alt="The same curves, and that of 20 layers with shortcuts, which falls lowest.")

# %% tags=["plumbing"]
loss_residual = loss_of(residual[0])
ledger.record("16/gain", loss_twenty - loss_residual, parameters, chance=0)
ledger.say("Training loss: 20 layers {twenty:.2f}, with shortcuts **{residual:.2f}**. (A line that begins with `16/` compares a number of this run with its 99 % band from ten seeds; `16/gain` is the difference of these two losses.)", twenty=loss_twenty, residual=loss_residual)

# %% [markdown]
# ## Is it the learning rate?
#
# One training proves little, and the plain network may only want another learning rate. So a study: plain and residual, 4 to 44 layers, two to four rates,
# with batch normalisation ("BN", [lesson 08](08_first_cnn.ipynb); at 20 layers only) and without, five seeds: each time other patients and other weights. Steps and slices
# are as many as here.
#
# > **Predict** At 8 layers, which is better? And what will batch normalisation do to 20 plain layers?

# %% tags=["plumbing"]
study = stored("degradation")
if study:
    table = study.records.copy()
    table[["kind", "layers", "rate"]] = table["model"].str.split(expand=True)
    table = table.astype({"layers": int, "rate": float})
    mean = table.groupby(["kind", "layers", "rate"])["loss"].mean()
    best = mean.groupby(["kind", "layers"]).idxmin()
    at_best = {key[:2]: table[(table["kind"] == key[0]) & (table["layers"] == key[1]) & (table["rate"] == key[2])].sort_values("seed")["loss"].to_numpy() for key in best}
KINDS = {"plain": ("plain", ORANGE, "o-"), "residual": ("residual", GREEN, "o-"), "plain+bn": ("plain, with BN", ORANGE, "s"), "residual+bn": ("residual, with BN", GREEN, "s")}

# %% tags=["plumbing"]
def draw_depths(ax):
    for kind, (name, colour, style) in KINDS.items():
        depths = sorted(n for k, n in at_best if k == kind)
        places = np.array([(4, 8, 20, 44).index(n) for n in depths]) + (-0.1 if kind.startswith("plain") else 0.1)
        for x, n in zip(places, depths, strict=True):
            ax.plot([x] * len(at_best[kind, n]), at_best[kind, n], style[0], ms=5, color=colour, alpha=0.45, mfc="none")
        ax.plot(places, [at_best[kind, n].mean() for n in depths], style, color=colour, ms=8, label=name)
    ax.set_xticks(range(4), ["4", "8", "20", "44"])
    ax.set(xlabel="layers with weights", ylabel="training loss", ylim=(0, 0.75), title="each at its best rate")


def draw_rates(ax):
    for kind in ("plain", "residual"):
        for n, style in ((20, "o-"), (44, "D--")):
            ax.plot(mean[kind, n], style, color=KINDS[kind][1], label=f"{n} layers")
    ax.set(xscale="log", xlabel="learning rate", title="20 layers, 44 (dashed)")
    ax.set_xticks([0.001, 0.003, 0.01, 0.05], [".001", ".003", ".01", ".05"])
    ax.minorticks_off()


# %% tags=["plumbing"]
if study:
    fig, axes = plt.subplots(1, 2, figsize=(6.2, 3.9), sharey=True)
    draw_depths(axes[0])
    draw_rates(axes[1])
    for ax in axes:
        ax.axhline(np.log(2), color=plotting.GREY, ls=":", lw=1)
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    plotting.show(fig, save="16_degradation", alt="Training loss against the number of layers. Without shortcuts it rises with depth, with shortcuts it does not. Right: against "
                  "the learning rate; the residual networks are below the plain ones.")

# %% tags=["plumbing"]
def over_seeds(values):
    """Mean with its 95 % interval, by Student's t."""
    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    return f"{np.mean(values):.2f} [{np.mean(values) - half:.2f}, {np.mean(values) + half:.2f}]"


if study:
    rows = []
    for n in (4, 8, 20, 44):
        for end in ("", "+bn"):
            if ("plain" + end, n) in at_best:
                plain, shortcuts = at_best["plain" + end, n], at_best["residual" + end, n]
                rows.append(f"| {n}{', with BN' if end else ''} | {plain.mean():.2f} | {shortcuts.mean():.2f} | {over_seeds(plain - shortcuts)} | {(plain > shortcuts).sum()} of {len(plain)} |")
    ledger.say("{table}", table="\n".join(["| layers | plain | residual | plain minus residual | plain is worse in |", "|---|---|---|---|---|", *rows]))

# %% tags=["plumbing"]
if study:
    choosy = table[(table["kind"] == "plain") & (table["layers"] == 44)].groupby("seed")["loss"].min().to_numpy()
    ledger.say("Means of {n} seeds, and 95 % intervals of the differences over seeds.", n=len(choosy))
    aucs = [np.mean([statistics.area_under_curve(study.labels == 1, each) for each in scores]) for scores in study.scores.values()]
    ledger.say("On {patients} *new* patients all of them are near guessing: mean AUC {low:.2f} to {high:.2f}. They learn 320 slices by heart. Here that is the question: which networks *can* learn.",
               patients=len(np.unique(study.subjects)), low=min(aucs), high=max(aucs))

# %% [markdown]
# Left, each open mark is one training; filled marks are means. Each kind stands at the rate that is best for *it* at that depth, in the mean over seeds. Plain networks of 20 and 44 layers
# were even allowed lower rates (right).

# %% tags=["plumbing"]
if study:
    ledger.say("So was it the rate? **At 20 layers, largely yes.** Our plain network above stood at 0.05, where it hardly learns: {high:.2f} in the mean of the study. At {rate:g} it gets to {low:.2f}, sometimes "
               "fine and sometimes lost, and the interval of the difference from its rival holds zero.", high=mean["plain", 20, 0.05], low=at_best["plain", 20].mean(), rate=best["plain", 20][-1])
    ledger.say("**At 44 layers, no:** even if the plain network may choose its rate anew for each seed, after the fact, it is worse in {worse} of {n}. With **batch normalisation**, tried at two rates, the plain network of 20 layers learns every time, but worse than "
               "its rival in {bn} of {n}, and in the mean also worse than 8 layers without it ({there:.2f}, {eight:.2f}).", worse=(choosy > at_best["residual", 44]).sum(), n=len(choosy),
               bn=(at_best["plain+bn", 20] > at_best["residual+bn", 20]).sum(), there=at_best["plain+bn", 20].mean(), eight=at_best["plain", 8].mean())

# %% [markdown]
# That is the degradation of He and others: their plain networks had batch normalisation too, and trained, only worse with more layers. At 8 layers the study shows no difference; with shortcuts, depth does no harm that we can see.
#
# ## Follow the signal
#
# Why can deep plain networks not learn? We build two of 44 layers, untrained, send slices through, and look at what leaves the stem and each block.


# %%
def follow(network, images):
    """What leaves the stem, and each block."""
    x, found = images, []
    for part in network.layers[:-3]:  # all but the head
        x = part(x)
        found.append(x)
    return found[1:]  # the first only shifts grey values


# %% [markdown]
# What can a head tell apart? Only what *differs* between slices. So we measure the standard deviation over the slices, as root mean square over all places and channels.


# %%
def spread(x):
    """How much what leaves a block differs between images."""
    return float(np.sqrt(np.var(x, axis=0).mean()))


# %% [markdown]
# > **Predict** `he_normal` was made to keep the size of the numbers through a ReLU and a convolution. After 21 plain blocks with such random weights, how different are 64 slices still?

# %%
images, targets, deep = train.images[::5], task.targets(train)[::5], {}
for name, block in {"plain": Plain, "residual": Residual}.items():
    training.set_seed(seed)  # so that both have the same stem
    deep[name] = build(block, 21)
signals = {name: follow(network, images) for name, network in deep.items()}

# %% tags=["plumbing"]
def signal_film():
    """Frames: slices as dots in the plane in which they differ most, block after block."""
    colours = np.where(train.labels[::5], ORANGE, BLUE)
    fig, axes = plt.subplots(1, 2, figsize=(6.2, 3.5))
    start = {}
    for number in (0, 1, 2, 3, 4, 6, 8, 10, 12, 15, 18, 21):
        for ax, (name, found) in zip(axes, signals.items(), strict=True):
            unit = spread(found[0])
            rows = np.reshape(found[number], (len(images), -1))
            u, sizes, _ = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
            u = u * np.sign(np.sum(u * start.setdefault(name, u), axis=0))  # the sign of an axis means nothing
            points = (u * sizes)[:, :2] / np.sqrt(rows.shape[1]) / unit
            ax.clear()
            ax.scatter(*points.T, s=16, c=colours, alpha=0.7)
            ax.set(xlim=(-2, 2), ylim=(-2, 2), xticks=[], yticks=[], aspect="equal", xlabel="largest difference")
            axes[0].set_ylabel("second largest")
            ax.set_title(f"{name}: spread {spread(found[number]) / unit:.2f}")
        fig.suptitle(f"after {number} block{'s' * (number > 1)}" if number else "after the stem", fontsize=12)
        yield fig


# %% tags=["plumbing"]
plotting.show_animation(
    signal_film(), milliseconds=250,
    alt="64 slices as dots, block after block, in an untrained plain network and a residual one of 44 layers. In the plain network the dots run "
        "together into one point; in the residual one they stay where they were.")

# %% tags=["plumbing"]
def cosine(x):
    rows = np.reshape(x, (len(x), -1))
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows @ rows.T)[~np.eye(len(x), dtype=bool)].mean()


left = spread(signals["plain"][-1]) / spread(signals["plain"][0])
smaller = size(signals["plain"][0]) / size(signals["plain"][-1])
ledger.say("Each dot is a slice (orange: with a tumour), in the plane in which the slices differ most. Of their differences **{percent:.1f} %** are left after 21 plain blocks. "
           "Two things happen: all numbers become {smaller:.0f} times smaller, and of what is left the part in which slices differ becomes another {alike:.1f} times smaller "
           "(mean cosine between two slices: {before:.2f}, then {after:.2f}).", percent=100 * left, smaller=smaller, alike=1 / left / smaller,
           before=cosine(signals["plain"][0]), after=cosine(signals["plain"][-1]))

# %% [markdown]
# So before the training begins, the head gets small numbers, and nearly the same ones for every slice. (`he_normal` keeps the size on average, for many channels and away from borders; with 16 channels and
# maps of 8 x 8, beside zeros, much is lost. And after a ReLU no number is negative, so what all slices share grows at the expense of the rest.) Shortcuts with $f = 0$ lose nothing, for nothing is changed.
#
# ## Follow the gradient
#
# Learning goes the other way ([lesson 07](07_learning.ipynb)): from the loss back to the first block. On its way to the weights the gradient passes what *leaves* each block, and from here on "the gradient" is
# that: of the loss with respect to what leaves a block, not to its weights. How large is it when it arrives at the stem?

# %%
import tensorflow as tf


def watch(network):
    """Let TensorFlow write down what happens between the stem and the loss."""
    with tf.GradientTape(persistent=True) as tape:
        found = follow(network, images)
        x = found[-1]
        for part in network.layers[-3:]:
            x = part(x)
        loss = task.loss(label_smoothing=0)(targets, x)
    return tape, found, loss


# %%
def both_ways(network):
    """Spread and gradient of what leaves the stem, and each block."""
    tape, found, loss = watch(network)
    sizes = [float(tf.norm(each)) for each in tape.gradient(loss, found)]
    return np.array([[spread(x) for x in found], sizes])


# %% [markdown]
# Beside the two we now look at both kinds with **batch normalisation**. The order of a block is then BN, ReLU, convolution, twice.


# %%
class NormalisedPlain(Plain):
    """BN, ReLU, convolution, BN, ReLU, convolution."""

    def __init__(self):
        super().__init__()
        self.norms = [layers.BatchNormalization() for _ in range(2)]

    def call(self, x):
        x = self.first(relu(self.norms[0](x, training=True)))
        return self.second(relu(self.norms[1](x, training=True)))


class NormalisedResidual(NormalisedPlain):
    def call(self, x):
        return x + super().call(x)


# %%
deep["plain, with BN"] = build(NormalisedPlain, 21)
deep["residual, with BN"] = build(NormalisedResidual, 21)
measured = {name: both_ways(network) for name, network in deep.items()}

# %% tags=["plumbing"]
fig, axes = plt.subplots(1, 2, figsize=(6.2, 3.8))
for name, (there, back) in measured.items():
    colour, style = (ORANGE if name.startswith("plain") else GREEN), (":" if "BN" in name else "-")
    axes[0].plot(there / there[0], style, color=colour, label=name)
    axes[1].plot(back / back[-1], style, color=colour)
axes[0].set(yscale="log", xlabel="block", ylabel="spread (1: after the stem)", title="forward")
axes[1].set(yscale="log", xlabel="block", ylabel="gradient (1: at the last block)", title="backward")
fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
plotting.show(fig, alt="Left: differences between slices, block after block. Plain: they fall to about a hundredth. The others keep them. Right: the gradient, which grows or shrinks from right to left. Plain: it "
                       "shrinks a little. Plain with batch normalisation: it grows steeply and steadily. Residual: it stays; with batch normalisation it grows little.")

# %% tags=["plumbing"]
growth = {name: back[0] / back[-1] for name, (_, back) in measured.items()}
ledger.record("16/bn_growth", np.log10(growth["plain, with BN"]), parameters, chance=0)
back = measured["plain, with BN"][1]
rows = [f"| {name} | {there[-1] / there[0]:.2g} | {growth[name]:,.{0 if growth[name] > 9 else 2}f} |" for name, (there, back_) in measured.items()]
ledger.say("{table}", table="\n".join(["| untrained, 21 blocks | spread: last block / stem | gradient: stem / last block |", "|---|---|---|", *rows]))
ledger.say("(`16/bn_growth` is the logarithm of **{bn:,.0f}** to base 10.) Over nine blocks, as many as were trained with batch normalisation above, the same curve grows {nine:.0f}-fold.", bn=growth["plain, with BN"], nine=back[-10] / back[-1])

# %% [markdown]
# In the plain network the gradient shrinks too, but far less than the signal: there the way forward is the greater trouble. Batch normalisation heals the way forward: it takes the shared part away and stretches the rest.
# The price is paid on the way back, in each block anew ([Yang and others 2019](https://arxiv.org/abs/1902.08129)). Nine blocks can bear it, and learn, if less well. With 21 the gradients of the *weights* too are
# far larger in the first layers than in the last, and no one learning rate suits both.
#
# Shortcuts with $f = 0$ change nothing on the way back either. With batch normalisation the residual network's gradient does grow, but much more slowly: $x$ gets larger from block to block, so what one more block
# adds counts for less and less ([De and Smith 2020](https://arxiv.org/abs/2002.10444)).
#
# ## Why a plus does that
#
# Let block $l$ give $x_l = x_{l-1} + f_l(x_{l-1})$. Its matrix of derivatives is the identity $I$ plus that of $f_l$, called $J_l$ (a Jacobian). By the chain rule they are multiplied:
#
# $$\frac{\partial x_n}{\partial x_0} = (I + J_n) \cdots (I + J_2)(I + J_1), \qquad \text{plain:}\quad J_n \cdots J_2\, J_1$$
#
# A plain network has one product of $n$ matrices: if each shrinks a little, the product vanishes; if each stretches a little, it explodes. Multiply out the residual one, for two blocks:
#
# $$(I + J_2)(I + J_1) = I + J_1 + J_2 + J_2 J_1$$
#
# Each term is a **path**: through $f_l$ or past it, at each block. With $n$ blocks there are $2^n$ paths, and one of them, $I$, goes past all. Whatever the others do,
# it carries the gradient to the stem as it is ([He and others 2016b](https://arxiv.org/abs/1603.05027); [Veit and others 2016](https://arxiv.org/abs/1605.06431)).
#
# > **Predict** Nine blocks: how many paths are there, and how many go through exactly four of them?
#
# <details><summary>Answer</summary>
#
# $2^9 = 512$ paths. Four of nine blocks can be chosen in $\binom{9}{4} = 126$ ways; four and five are the commonest lengths.
#
# </details>
#
# **Exercise 16.1: paths by length.** `jacobians` is a list of square matrices, first block first. Return an array of shape (n + 1, d, d): entry $k$ is the sum of all
# paths that go through exactly $k$ blocks. ([Solution](solutions/16_residual_networks.ipynb))
#
# > **Hint** Start with `[I, 0, 0, ...]`. What does one more block do to the paths of length $k$? Some go past it; those of length $k - 1$ may go through it, which
# > multiplies them by its matrix from the left.


# %% tags=["exercise"]
def by_length(jacobians):
    return ...  # your code here


# %% tags=["solution"]
def by_length(jacobians):
    d = len(jacobians[0])
    paths = np.array([np.eye(d)] + [np.zeros((d, d))] * len(jacobians))
    for jacobian in jacobians:
        paths[1:] = paths[1:] + jacobian @ paths[:-1]
    return paths


# %%
check.exercise("16.1", by_length)

# %% [markdown]
# For our *trained* residual network the same sum can be done without large matrices: take the gradient at the last block, and carry it back through each $J_l$, sorted by length.


# %%
def sizes_by_length(network):
    """Size of the gradient that reaches the stem, by the number of blocks passed through."""
    tape, found, loss = watch(network)
    paths = [tape.gradient(loss, found[-1])]
    for before, after in zip(found[-2::-1], found[:0:-1], strict=True):
        through = [tape.gradient(after, before, each) - each for each in paths]  # J alone
        paths = [a + b for a, b in zip([*paths, 0], [0, *through], strict=True)]
    return np.array([float(tf.norm(each)) for each in paths])


# %% tags=["plumbing"]
from math import comb

by_size = sizes_by_length(residual[0])
fig, ax = plt.subplots(figsize=(5.6, 3.1))
ax.bar(np.arange(10) - 0.2, by_size / by_size.sum(), 0.4, color=GREEN, label="gradient they carry")
ax.bar(np.arange(10) + 0.2, [comb(9, k) / 2**9 for k in range(10)], 0.4, color=plotting.GREY, alpha=0.5, label="number of paths")
ax.set(xlabel="blocks that a path goes through", ylabel="share", xticks=range(10))
ax.legend()
plotting.show(fig, alt="By the number of blocks that paths go through: their number, most for four and five, and the gradient they carry in the trained network, which is shifted to short paths.")

# %% tags=["plumbing"]
mean_length = (by_size * np.arange(10)).sum() / by_size.sum()
ledger.record("16/path_length", mean_length, parameters, limits=(0, 9), chance=4.5)
ledger.say("The mean length of all 512 paths is 4.5 blocks; weighed by the gradient that they carry it is {mean:.1f} (`16/path_length`).", mean=mean_length)

# %% [markdown]
# ## Take a block away
#
# The gradient is a sum of many paths. If what the network computes is nearly so too, it should survive the loss of some. Take one block out of a *trained* network, change nothing else, and measure again. (In the plain
# one the maps have the same shape everywhere, so the rest still fits together.) As the plain rival we need one that has learnt: three blocks, at the rate that suits them best in the study.

# %%
eight = learn(Plain, 3, rate=0.01)


def without(network, *numbers):
    """The same network, blocks with these numbers (from 1) left out."""
    parts = enumerate(network.layers, start=-1)  # -1 and 0 are scaling and stem
    kept = [part for number, part in parts if number not in numbers]
    return keras.Sequential([keras.Input((32, 32, 3)), *kept])


# %% [markdown]
# > **Predict** By how much will each of the two suffer?

# %%
left_out = {
    "plain, 8 layers": [loss_of(without(eight[0], k)) for k in range(1, 4)],
    "residual, 20 layers": [loss_of(without(residual[0], k)) for k in range(1, 10)],
}

# %% tags=["plumbing"]
whole = dict(zip(left_out, (loss_of(eight[0]), loss_residual), strict=True))
fig, axes = plt.subplots(1, 2, figsize=(7.5, 3.2), width_ratios=(4, 10), sharey=True)
for ax, (name, losses), colour in zip(axes, left_out.items(), (ORANGE, GREEN), strict=True):
    heights = np.minimum([whole[name], *losses], 1.5)
    ax.bar(range(len(heights)), heights, color=[plotting.GREY, *[colour] * len(losses)])
    for k, loss in enumerate([whole[name], *losses]):
        ax.text(k, heights[k] + 0.02, f"{loss:.2f}", ha="center", fontsize=9)
    ax.axhline(np.log(2), color=plotting.GREY, ls=":", lw=1)
    ax.set(title=name, xlabel="block left out", ylim=(0, 1.65))
    ax.set_xticks(range(len(heights)), ["none", *range(1, len(heights))])
    ax.grid(axis="x", visible=False)
axes[0].set_ylabel("training loss")
plotting.show(fig, alt="Training loss after one block has been left out; the dotted line is guessing. Plain network: at guessing or worse, whichever block. Residual network: little changes for most blocks.")

# %% tags=["plumbing"]
medians = {name: np.median(losses) for name, losses in left_out.items()}
ledger.record("16/lost_with_a_block", medians["residual, 20 layers"] - loss_residual, parameters, limits=(-0.69, 0.69))
ledger.say("Median over the blocks: plain {a:.2f} before, **{b:.2f}** after; residual {c:.2f} before, **{d:.2f}** after. (Dotted: always saying 1/2, {half:.2f}. Bars end at 1.5.)", a=whole["plain, 8 layers"],
           b=medians["plain, 8 layers"], c=loss_residual, d=medians["residual, 20 layers"], half=np.log(2))
left_over = follow(residual[0], images)
added = [100 * size(after - before) / size(before) for before, after in zip(left_over[:-1], left_over[1:], strict=True)]
ledger.say("(`16/lost_with_a_block` is the rise of the residual median.) Left out at once: blocks 3, 6 and 9: {three:.2f}; **all nine: {nine:.2f}**.",
           three=loss_of(without(residual[0], 3, 6, 9)), nine=loss_of(without(residual[0], *range(1, 10))))
ledger.say("Our blocks began at zero; did they learn anything? The first one adds to $x$ numbers {first:.0f} % as large as $x$, the last one {last:.0f} %.", first=added[0], last=added[-1])

# %% [markdown]
# So the blocks together do the work, and each alone can be spared; the last ones partly because they learnt little. (One block of three is a larger share than one of nine; hence three of nine.) In the plain network each
# block speaks a language of its own, and its neighbour is the only one who understands it. In the residual one all blocks write into the same $x$.
#
# ## Blocks in the wild
#
# What you have written is a **pre-activation** block: nothing but the sum lies on the way from block to block ([He and others 2016b](https://arxiv.org/abs/1603.05027)). The first residual networks were
# **post-activation**: a ReLU stands behind each sum, which harms where hundreds of blocks follow one another.
#
# | | $y$ | at the start |
# |---|---|---|
# | post-activation (ResNet-50, `medlib`) | $\mathrm{ReLU}(x + f(x))$ | $f$ random; BN keeps the scale |
# | pre-activation (ResNet-50 V2) | $x + f(x)$ | the same |
# | ours ([Fixup](https://arxiv.org/abs/1901.09321) is alike) | $x + f(x)$ | last convolution of $f$ is 0, no BN |
#
# Where the size changes, $x$ and $f(x)$ have different shapes. There alone the shortcut is not $x$ itself: it gets a convolution of 1 x 1, with the same stride. Here are the sums in `medlib`'s residual network:

# %% tags=["nbval-check-output"]
library = models.build("resnet", (64, 64, 3), task, seed=0)
for layer in library.layers:
    if isinstance(layer, layers.Add):
        shortcut, f = layer.input
        print("shortcut", shortcut.shape[1:], "+ f(x)", f.shape[1:])

# %% [markdown]
# Three blocks: the maps get smaller, the channels more.
#
# **Exercise 16.2: half the size.** Write a pre-activation block without batch normalisation that halves the maps and gives `width` channels: stride 2 in the first convolution of $f$ *and* in the
# shortcut. $f$ begins at zero. `x` is a Keras tensor, such as `keras.Input((8, 8, 16))`. ([Solution](solutions/16_residual_networks.ipynb))
#
# > **Hint** `layers.Conv2D(width, 1, strides=2)(x)` is the shortcut. `layers.Add()([a, b])` adds.


# %% tags=["exercise"]
def halving_block(x, width):
    return ...  # your code here


# %% tags=["solution"]
def halving_block(x, width):
    f = layers.Conv2D(width, 3, strides=2, padding="same")(layers.ReLU()(x))
    f = layers.Conv2D(width, 3, padding="same", kernel_initializer="zeros")(layers.ReLU()(f))
    return layers.Add()([layers.Conv2D(width, 1, strides=2)(x), f])


# %%
check.exercise("16.2", halving_block)

# %% [markdown]
# **Exercise 16.3: half a shortcut.** Must it be all of $x$? Write a block that gives $x / 2 + f(x)$, let `learn` train nine of them, and return the loss in the last pass. What do the
# shortcuts of nine blocks make of the gradient? ([Solution](solutions/16_residual_networks.ipynb))
#
# > **Hint** A subclass of `Residual` with its own `call`; `Plain.call(self, x)` is $f(x)$. `learn` returns the network and its losses.


# %% tags=["exercise"]
def halved_shortcut():
    return ...  # your code here


# %% tags=["solution"]
def halved_shortcut():
    class Half(Residual):
        def call(self, x):
            return x / 2 + Plain.call(self, x)

    _, losses = learn(Half, 9)
    return losses[-1]


# %%
check.exercise("16.3", halved_shortcut)

# %% [markdown]
# <details><summary>What comes out</summary>
#
# $(1/2)^9$ is about 0.002: the first blocks get hardly any gradient, and the head hardly any signal. The plus is not enough; what it carries must arrive whole.
#
# </details>
#
# ## Somebody else's layers
#
# Deep networks want many images, and a hospital has fifty labelled patients. **Transfer**: train on something else first, keep the weights, replace the last layer where the question
# is another one, go on with the few (**fine-tuning**). What should that something else be? In a second study the residual network of 20 layers learns from 50 patients of `simbrain`'s site D. Before, it
# has learnt on all patients of the other three sites:
#
# - nothing (**from scratch**);
# - to tell upper from lower slices: a label that every file holds;
# - to tell slices into which a computer has **painted** a blob, dark in T1, bright in T2 and FLAIR: what a textbook knows, and no labelled patient;
# - to find tumours, labelled there.

# %% tags=["plumbing"]
ledger.say("The three trainings before have the same {patients} patients, {slices:,} slices.", **learnt_before)

# %% [markdown]
# Every fine-tuning has the same 200 steps; the training before 400. Learning rates were tried on patients of another draw. Tested are new patients of site D. The last two networks are also tested as they are, without fine-tuning.
#
# > **Predict** Bring the four in order. And do the last two need the fifty patients at all?

# %% tags=["plumbing"]
from coursekit.experiments.transfer import painted

healthy = train.take(np.flatnonzero(train.labels == 0)[::20][:8])
changed = painted(healthy, np.random.default_rng(4))
with_blob = np.flatnonzero(changed.labels)
fig = plotting.image_grid(np.concatenate([each.images[with_blob, ..., 2] for each in (healthy, changed)]), window=(0.2, 0.75))
plotting.show(fig, alt="Above four slices without a tumour, below the same with a painted bright blob each.")

# %% [markdown]
# Four slices as they were (above), and with their painted blob (FLAIR).

# %% tags=["plumbing"]
transfer = stored("transfer")
BEFORE = {
    "scratch": "from scratch", "position": "upper or lower", "painted": "painted blobs", "painted as it is": "painted blobs,\nnot fine-tuned",
    "sites": "tumours, other sites", "sites as it is": "tumours, other sites,\nnot fine-tuned",
}


def auc(labels, scores):
    return statistics.area_under_curve(labels == 1, scores)


if transfer:
    who = {"subjects": transfer.subjects}
    scores = {model: transfer.scores[model, 200] for model in BEFORE}
    means = {m: statistics.seeds_and_patients_interval(auc, transfer.labels, s, logit=True, **who) for m, s in scores.items()}
    gains = {m: studies.compare(transfer, m, "scratch", at=200) for m in BEFORE if m != "scratch"}

# %% tags=["plumbing"]
if transfer:
    fig, ax = plt.subplots(figsize=(6, 3.4))
    for y, model in enumerate(BEFORE):
        colour = plotting.GREY if model == "scratch" else plotting.PURPLE if "as it is" in model else GREEN
        ax.plot([auc(transfer.labels, s) for s in scores[model]], [y] * len(scores[model]), "o", ms=5, fillstyle="none", color=colour, alpha=0.6)
        ax.plot([means[model].low, means[model].high], [y + 0.2] * 2, color=colour, lw=4, alpha=0.5)
        ax.plot(means[model].value, y + 0.2, "D", color=colour, ms=7)
    ax.axvline(0.5, color=plotting.GREY, ls=":", lw=1)
    ax.set_yticks(range(len(BEFORE)), list(BEFORE.values()), fontsize=11)
    ax.set(ylim=(len(BEFORE) - 0.5, -0.5), xlabel="AUC on new patients of site D")
    ax.grid(axis="y", visible=False)
    plotting.show(fig, save="16_transfer", alt="AUC on new patients of site D by what the network had learnt before: each training a circle, means with 95 % intervals.")

# %% tags=["plumbing"]
if transfer:
    rows = [f"| {BEFORE[m].replace(chr(10), ' ')} | {means[m]} | {gains.get(m, '')} |" for m in BEFORE]
    ledger.say("{table}", table="\n".join(["| learnt before | AUC | minus from scratch |", "|---|---|---|", *rows]))
    ledger.say("{seeds} trainings each, {n} slices of {patients} new patients; 95 % intervals over trainings and patients. A difference whose interval holds zero decides nothing.",
               seeds=len(scores["scratch"]), n=len(transfer.labels), patients=len(np.unique(transfer.subjects)))

# %% [markdown]
# Fifty patients alone are little better than guessing.
#
# - *Upper or lower*: no help that we can see; undecided.
# - *Painted blobs*: more in the mean than from scratch, but the interval holds zero; undecided.
# - *Tumours, other sites*: a clear gain.

# %% tags=["plumbing"]
if transfer:
    steps_up = {f"{a} minus {b}": studies.compare(transfer, a, b, at=200) for a, b in [("sites", "painted"), ("painted", "painted as it is"), ("sites", "sites as it is")]}
    ledger.say("The order of the means is: tumours elsewhere, painted blobs, from scratch, upper or lower. Of its three steps only the first is clear of zero, {step}. **What the fifty add:** to painted blobs {few}, "
               "to tumours from elsewhere {none}, where zero lies within.", step=steps_up["sites minus painted"], few=steps_up["painted minus painted as it is"], none=steps_up["sites minus sites as it is"])

# %% [markdown]
# So painted blobs alone do need the fifty patients: as they are, they are no better than from scratch that we can see. For tumours from elsewhere the fifty add nothing that we can see. The nearer the first question to the second,
# the higher the mean. Beware: those who learnt before had 600 steps in all, from scratch 200 (though upper or lower had 600 too, and gained nothing that we can see). And sites, patients and tumours of `simbrain` come from one simulation; its hospitals are more alike than those of the
# world, where weights from elsewhere may fail and local labels may matter.
#
# **A million photographs.** The commonest start is a residual network trained on [ImageNet](https://www.image-net.org), photographs of animals and things. For medical images it often helps less than expected
# ([Raghu and others 2019](https://arxiv.org/abs/1902.07208)). Try it where you have a network: set `download = True` (about 100 MB from [Keras](https://keras.io/api/applications/)). A logistic regression then learns from the
# 2,048 features that ResNet-50 V2 makes of each of our 320 slices, and you get its AUC for the 50 new patients of `test`.

# %%
from medlib.models import classical

download = False


def photographs(images, weights="imagenet"):
    """2,048 features of each slice, of a network trained on photographs."""
    shape = {"include_top": False, "input_shape": (96, 96, 3), "pooling": "avg"}
    body = keras.applications.ResNet50V2(weights=weights, **shape)
    return body.predict(keras.ops.image.resize(2 * images - 1, (96, 96)), verbose=0)


if download:
    regression = classical.build_classifier().fit(photographs(train.images), train.labels)
    found = regression.decision_function(photographs(test.images))
    print(statistics.auc_interval(test.labels, found, subjects=test.subjects))

# %% [markdown]
# **In this lesson we**
#
# - made a network worse by adding layers, also on its training images, and mended it with a plus and a start at zero;
# - saw in a study over depths, learning rates and seeds that at 20 layers this was largely a matter of the rate, and at 44 is not;
# - followed the signal, in which the slices' differences die out, and the gradient, which batch normalisation blows up;
# - derived $I + J$, sorted $2^n$ paths by length, and took blocks out of trained networks;
# - judged by a second study what weights from elsewhere give to fifty labelled patients.
#
# Training loss says how well a network *can* learn, not how good it is on new patients.
#
# **Next**, in [lesson 17](17_unet_segmentation.ipynb): U-Net segmentation. Shortcuts again, over the whole network, to say *where* a tumour is. And look once more at the contestants of
# [lesson 12](12_comparing_architectures.ipynb): you now know what the residual CNN is.
#
# **References**
#
# - K. He, X. Zhang, S. Ren, J. Sun: Deep residual learning for image recognition, *CVPR* 2016, [doi:10.1109/CVPR.2016.90](https://doi.org/10.1109/CVPR.2016.90) (2016a).
# - K. He, X. Zhang, S. Ren, J. Sun: Identity mappings in deep residual networks, *ECCV* 2016, [arXiv:1603.05027](https://arxiv.org/abs/1603.05027) (2016b).
# - A. Veit, M. Wilber, S. Belongie: Residual networks behave like ensembles of relatively shallow networks, *NeurIPS* 2016, [arXiv:1605.06431](https://arxiv.org/abs/1605.06431).
# - G. Yang and others: A mean field theory of batch normalization, *ICLR* 2019, [arXiv:1902.08129](https://arxiv.org/abs/1902.08129).
# - H. Zhang, Y. N. Dauphin, T. Ma: Fixup initialization, *ICLR* 2019, [arXiv:1901.09321](https://arxiv.org/abs/1901.09321).
# - S. De, S. L. Smith: Batch normalization biases residual blocks towards the identity function in deep networks, *NeurIPS* 2020, [arXiv:2002.10444](https://arxiv.org/abs/2002.10444).
# - M. Raghu and others: Transfusion: understanding transfer learning for medical imaging, *NeurIPS* 2019, [arXiv:1902.07208](https://arxiv.org/abs/1902.07208).

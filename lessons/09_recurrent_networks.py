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
# # 09 Recurrent networks
#
# A radiologist does not look at one slice of a brain scan: she scrolls. A bright dot that grows from slice to slice may be a
# tumour; one that is gone in the next slice is probably not. The network of [lesson 08](08_first_cnn.ipynb) cannot do
# that: it judges each slice by itself. A **recurrent network** reads the slices one after another and carries along what
# it has seen. Does that help? And can it notice what no single slice shows: that a scan arrived in the wrong order?

# %% tags=["install"]
import medlib

# %% tags=["parameters"]
seed = 0  # of the weights and of the order of the images
encoder_steps = 300  # changes of the weights of the network that looks at slices

# %% [markdown]
# We need **stacks**: slices of one head, 4 mm apart, from below upwards. The virtual patients are simulated
# ([lesson 02](02_mr_simulation.ipynb)), half of them with a tumour: one stack of 16 slices from each. Of 500, the training split has 70 %. (The first time, that takes some ten seconds on a
# fast computer; then they are kept on disk.)

# %%
from medlib.datasets.simbrain import load_simbrain, new_patients

size = {"image_size": 48, "depth": 16, "slices_per_subject": 1}
train = load_simbrain(n_subjects=500, **size).train
test = new_patients(seed=20329, n_subjects=150, **size)

# %%
from medlib import training

training.set_seed(seed)
import keras
import numpy as np
from keras import layers

# %% tags=["plumbing"]
import warnings

import matplotlib.pyplot as plt

from coursekit import ledger
from medlib import plotting

plotting.use_style()
warnings.filterwarnings("ignore", message=r"(?s).*shuffle=True")  # our batches are shuffled already
parameters = {"encoder_steps": encoder_steps, "seed": seed}
WINDOW = (0.25, 0.7)  # of grey values


def strip(images, titles=None, masks=None):
    """Eight slices in two rows, with outlines if there are masks."""
    fig = plotting.image_grid(images[..., -1], titles=titles, window=WINDOW)
    for ax, mask in zip(fig.axes, masks if masks is not None else [], strict=False):
        plotting.outline(ax, mask)
    return fig


# %% tags=["nbval-check-output"]
print("training (stacks, slices, height, width, contrasts):", train.images.shape)
print("test patients:", len(test))
example = train.images[51, 4:12].copy()  # eight slices of one patient

# %% [markdown]
# > **Predict** Here are the eight slices of `example`, in FLAIR. In which of them is the tumour?

# %% tags=["plumbing"]
example_masks = train.masks[51, 4:12]
fig = strip(example, titles=[f"slice {k}" for k in range(1, 9)])
plotting.show(fig, alt="Eight neighbouring slices of one head in FLAIR, from below upwards, without outlines.")

# %% tags=["plumbing"]
names = [f"slice {k}: {'tumour' if mask.any() else '-'}" for k, mask in enumerate(example_masks, start=1)]
fig = strip(example, titles=names, masks=example_masks)
plotting.show(fig, alt="The same eight slices; the tumour is outlined where there is one.")

# %% [markdown]
# The middle of the tumour is easy. Its ends are hard, and there you looked at the neighbours. That is **context**.
#
# **You will**
#
# - write three recurrent networks in NumPy, and show that they agree with Keras to 1e-5;
# - measure how a gradient fades or explodes on its way back through the steps, and what gates change;
# - let a network read stacks, and measure what context adds;
# - tell questions that need the order of the slices from questions that do not.
#
# **Reading:** about 45 min · **running:** about 40 s · **builds on:** [lesson 07](07_learning.ipynb) (gradients, tanh and
# sigmoid), [lesson 08](08_first_cnn.ipynb) (CNN, training, AUC on new patients)
#
# ## One step, again and again
#
# A recurrent network has a **state** $h_t$, a short row of numbers: its memory after slice $t$. One step makes the new
# state from the old one and from what the slice shows, $x_t$:
#
# $$h_t = \tanh(x_t W + h_{t-1} U + b)$$
#
# The weights $W$, $U$ and $b$ are the same at every step ([Elman 1990](https://doi.org/10.1207/s15516709cog1402_1)). So
# the network takes a sequence of any length.


# %%
def simple_step(x, h, W, U, b):
    return np.tanh(x @ W + h @ U + b)


def unroll(step, sequence, state, weights):
    for x in sequence:
        state = step(x, state, *weights)
    return state


# %% [markdown]
# For now, $x_t$ shall be three numbers: the mean grey value of the slice in T1, T2 and FLAIR. Six units start from
# zeros, with random weights.

# %% tags=["nbval-check-output"]
sequence = example.mean(axis=(1, 2))
layer = layers.SimpleRNN(6)
layer.build((None, 8, 3))
last = unroll(simple_step, sequence, np.zeros(6), layer.get_weights())
print("sequence", sequence.shape, "-> last state", last.shape)

# %% [markdown]
# The film shows these steps side by side: the network is **unrolled**. There is only one set of weights; the boxes are
# copies.

# %% tags=["plumbing"]
states = [np.zeros(6)]
for x in sequence:
    states.append(simple_step(x, states[-1], *layer.get_weights()))


def draw_step(above, below, t, now):
    """Slice t, the state after it and the arrows, pale if step t is still to come."""
    ink = "black" if t <= now else "0.8"
    above.clear(), below.clear()
    above.imshow(example[t - 1, ..., -1], vmin=WINDOW[0], vmax=WINDOW[1], alpha=1 if t <= now else 0.25)
    above.set_title(f"$x_{t}$", color=ink, fontsize=11), above.set_axis_off()
    below.imshow(states[t][:, None] if t <= now else np.full((6, 1), np.nan), cmap="PuOr_r", vmin=-0.5, vmax=0.5, extent=(0.2, 0.8, 0, 1), aspect="auto")
    below.add_patch(plt.Rectangle((0.2, 0), 0.6, 1, fill=False, ec=plotting.SKY, lw=4 if t == now else 1))
    below.set(xlim=(0, 1), ylim=(0, 1)), below.set_axis_off()
    below.text(0.5, -0.05, f"$h_{t}$", ha="center", va="top")
    arrow = {"arrowstyle": "-|>", "lw": 1.5}
    below.annotate("", (0.5, 1.0), (0.5, 1.3), annotation_clip=False, arrowprops=arrow | {"color": ink})
    if t > 1:
        below.annotate("", (0.16, 0.5), (-0.55, 0.5), annotation_clip=False, arrowprops=arrow | {"color": ink})


# %% tags=["plumbing"]
def unrolled():
    """Frames: all steps, then one more slice read in each."""
    fig, axes = plt.subplots(2, 8, figsize=(7.6, 3.0), height_ratios=[1, 1.5], layout="none")
    fig.subplots_adjust(0.01, 0.1, 0.99, 0.9, 0.35, 0.28)
    for frame, now in enumerate((8, *range(1, 9))):
        for t in range(1, 9) if frame < 2 else (now - 1, now):  # the others stay as they are
            draw_step(*axes[:, t - 1], t, now)
        fig.set_layout_engine("none")  # saving a frame has put the default back
        yield fig


plotting.show_animation(
    unrolled(), milliseconds=600,
    alt="Eight slices in a row, each with an arrow down into a column of six coloured cells, the state after it; arrows lead "
    "from each state to the next. One slice after another is read, and its state appears.",
)

# %% [markdown]
# Each state (orange: above zero, purple: below) depends on its slice and, through the arrow from the left, on all slices
# before it.
#
# ## How long does it remember?
#
# To learn that slice 1 matters for an answer after slice 100, a network needs the gradient of $h_{100}$ by $h_1$. By the
# chain rule ([lesson 07](07_learning.ipynb)) that is a product of 99 matrices, one a step, each close to $U$ if
# states are small. If $U$ multiplies the length of every vector by $s$, we expect $s^{99}$ ([Bengio, Simard and Frasconi
# 1994](https://doi.org/10.1109/72.279181)).
#
# > **Predict** How much is left of a gradient after 99 steps with $s = 0.9$? And with $s = 1.5$?
#
# We let TensorFlow take the gradients by all states, 1 to 100 steps back. It needs one number to start from: we take
# the last state's part along a random `direction`. The `inputs` are 16 random sequences of 100 steps.

# %%
import tensorflow as tf

draw = np.random.default_rng(seed).normal
inputs = draw(scale=0.1, size=(100, 16, 8)).astype("float32")
direction = draw(size=(16, 32)).astype("float32")
direction /= np.linalg.norm(direction, axis=1, keepdims=True)


# %%
def gradient_norms(cell, state):
    """Norm of the gradient of the last state by the state k steps before, k = 1 ... 100."""
    states = []
    with tf.GradientTape() as tape:
        for x in inputs:
            tape.watch(state)
            states.append(state[-1])
            _, state = cell(x, state)
        target = tf.reduce_sum(state[-1] * direction)
    gradients = tape.gradient(target, states)[::-1]
    return [np.linalg.norm(each, axis=1).mean() for each in gradients]


# %% [markdown]
# An `Orthogonal` matrix leaves the length of every vector as it is; `gain` multiplies it by $s$.

# %%
zeros = tf.zeros((16, 32))
simple = {}
for s in (0.5, 0.9, 1.0, 1.5):
    start = keras.initializers.Orthogonal(gain=s, seed=seed)
    cell = layers.SimpleRNNCell(32, recurrent_initializer=start)
    simple[s] = gradient_norms(cell, [zeros])

# %% tags=["plumbing"]
STEPS_BACK = np.arange(1, 101)


def draw_norms(ax, curves, title):
    """Norms on a logarithmic axis, each with its name at the end."""
    for (name, norms), colour in zip(curves.items(), plotting.COLOURS, strict=False):
        norms = np.array(norms)
        ax.plot(STEPS_BACK, np.where(norms > 1e-13, norms, np.nan), color=colour, label=name)
    ax.axhline(1, color=plotting.GREY, linewidth=1)
    ax.set(yscale="log", ylim=(1e-12, 1e6), xlabel="steps back", ylabel="norm of the gradient", title=title)
    ax.legend(loc="lower left", fontsize=10)


# %% tags=["plumbing"]
fig, ax = plt.subplots(figsize=(6.4, 3.6))
draw_norms(ax, {f"s = {s}": norms for s, norms in simple.items()}, "simple recurrent network")
for s, colour in zip(simple, plotting.COLOURS, strict=False):
    ax.plot(STEPS_BACK, s**STEPS_BACK, ":", color=colour, linewidth=1.5)
ax.plot([], [], ":", color="black", linewidth=1.5, label="expected")
ax.legend(loc="lower left", fontsize=10)
plotting.show(
    fig,
    alt="Norm of the gradient against steps back, on a logarithmic axis. For s of 0.5 and 0.9 it falls along the dotted lines of s "
    "to the power k; for 1.0 it falls slowly; for 1.5 it grows, less than the dotted line.",
)

# %% [markdown]
# <details><summary>Answer</summary>
#
# $0.9^{99}$ is 0.00003: what happened 100 steps ago can hardly change a weight. $1.5^{99}$ is $3 \cdot 10^{17}$ (dotted).
# The measured curve grows less, because tanh flattens: its slope is at most 1. So even with $s = 1$ a little is lost in every step. At
# the far right the states have only just left zero, where tanh is steepest: there the gradient grows by nearly 1.5 a step.
#
# </details>
#
# So the gradient **vanishes** or **explodes**, unless $s$ stays close to 1. Against explosion, gradients are cut to a
# largest norm (Keras: `clipnorm`; [Pascanu, Mikolov and Bengio 2013](https://arxiv.org/abs/1211.5063)). Against vanishing
# another step is needed.
#
# ## Gates
#
# The **gated recurrent unit** (GRU, [Cho and others 2014](https://arxiv.org/abs/1406.1078)) does not compute its memory
# anew in each step. It makes a proposal $\tilde h_t$ and mixes it with the old state. $\sigma$ is the sigmoid, $\odot$
# multiplies number by number:
#
# $$z_t = \sigma(x_t W_z + b_z + h_{t-1} U_z + d_z)$$
#
# $$r_t = \sigma(x_t W_r + b_r + h_{t-1} U_r + d_r)$$
#
# $$\tilde h_t = \tanh(x_t W_h + b_h + r_t \odot (h_{t-1} U_h + d_h))$$
#
# $$h_t = z_t \odot h_{t-1} + (1 - z_t) \odot \tilde h_t$$
#
# $z_t$ and $r_t$ are **gates**, numbers from 0 to 1 that the network computes in each step: $z_t$ says how much of the old
# state is kept, $r_t$ how much of it the proposal looks at. (In the paper $r_t$ stands
# before $U_h$. Keras multiplies afterwards, `reset_after=True`, and therefore has two biases, $b$ and $d$.)


# %%
def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def gru_step(x, h, W, U, biases):
    x_z, x_r, x_h = np.split(x @ W + biases[0], 3, axis=-1)
    h_z, h_r, h_h = np.split(h @ U + biases[1], 3, axis=-1)
    z, r = sigmoid(x_z + h_z), sigmoid(x_r + h_r)
    proposal = np.tanh(x_h + r * h_h)
    return z * h + (1 - z) * proposal


# %% [markdown]
# The older **long short-term memory** (LSTM, [Hochreiter and Schmidhuber
# 1997](https://doi.org/10.1162/neco.1997.9.8.1735)) carries two rows of numbers: a memory $c_t$ and an output $h_t$. At first its
# memory was only added to; the forget gate came later ([Gers, Schmidhuber and Cummins
# 2000](https://doi.org/10.1162/089976600300015015)). The gates $f$, $i$ and $o$ (forget, input, output) are sigmoids like $z_t$,
# and the proposal $g$ a tanh, each of $x_t$ and $h_{t-1}$ with weights of its own:
#
# $$c_t = f_t \odot c_{t-1} + i_t \odot g_t, \qquad h_t = o_t \odot \tanh(c_t)$$


# %%
def lstm_step(x, state, W, U, b):
    h, c = state
    i, f, g, o = np.split(x @ W + h @ U + b, 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


# %% [markdown]
# Do our three steps compute what Keras computes? Its layers give the last output.

# %% tags=["nbval-check-output"]
six = np.zeros(6)
cells = [(layers.SimpleRNN, simple_step, six), (layers.GRU, gru_step, six)]
cells += [(layers.LSTM, lstm_step, (six, six))]
for kind, step, state in cells:
    layer = kind(6, bias_initializer="random_normal")
    by_keras = np.asarray(layer(sequence[np.newaxis]))[0]
    ours = unroll(step, sequence, state, layer.get_weights())
    ours = ours[0] if step is lstm_step else ours
    print(f"{kind.__name__:<10} equal to 1e-5:", np.abs(ours - by_keras).max() < 1e-5)

# %% [markdown]
# They agree. Now the same gradients as above, for gated cells. If nothing else mattered, a step would multiply the
# gradient by $z_t$.
#
# > **Predict** Keras starts a GRU with all biases zero, so $z_t \approx \sigma(0)$. How much is left after 10 steps?

# %%
def gru_with(bias):
    """A GRU whose gate z has this bias."""
    cell = layers.GRUCell(32)
    cell.build((16, 8))
    biases = cell.bias.numpy()
    biases[0, :32] = bias
    cell.bias.assign(biases)
    return cell


# %%
gated = {}
for bias in (0, 2, 4):
    gated[f"GRU, bias {bias}"] = gradient_norms(gru_with(bias), [zeros])
gated["LSTM (memory c)"] = gradient_norms(layers.LSTMCell(32), [zeros, zeros])

# %% tags=["plumbing"]
fig, ax = plt.subplots(figsize=(6.4, 3.6))
draw_norms(ax, gated, "gated networks, before any training")
for bias, colour in zip((0, 2, 4), plotting.COLOURS, strict=False):
    ax.plot(STEPS_BACK, sigmoid(bias) ** STEPS_BACK, ":", color=colour, linewidth=1.5)
ax.set_ylim(1e-12, 1e3)
plotting.show(
    fig,
    alt="Norm of the gradient against steps back for a GRU with bias 0, 2 and 4 of its gate, and an LSTM. With bias 0 it falls "
    "steeply, the LSTM less, with bias 2 slowly, with bias 4 it is still above a tenth after 100 steps.",
)

# %% [markdown]
# $\sigma(0)^{10} = 1/1024$; the blue line has several times as much left (dotted: $z^k$ alone), and the gap grows with every step,
# because the old state comes back through the proposal, too. So a gate is no magic: untrained, this GRU forgets faster than the simple network with $s = 0.9$. But how long it remembers hangs on $z_t$, which *learning can move*, unit by unit and
# slice by slice. With a bias of 4, $z_t$ is .98, and more than a tenth is left after 100 steps. (Keras starts the
# forget gate of an LSTM with bias 1, for this reason.)
#
# **Exercise 09.1: a memory of your choice.** Suppose each step multiplies the gradient by $z = \sigma(\text{bias})$, and
# by nothing else. Write a function that returns the bias with which *half* of it is left after `steps` steps.
#
# > **Hint** First find $z$ with $z^{\text{steps}} = 1/2$, then turn $\sigma$ round. ([Solution](solutions/09_recurrent_networks.ipynb))


# %% tags=["exercise"]
def bias_for(steps):
    return ...  # your code here


# %% tags=["solution"]
def bias_for(steps):
    z = 0.5 ** (1 / steps)
    return np.log(z / (1 - z))


# %%
from coursekit import check

check.exercise("09.1", bias_for)

# %% [markdown]
# ## From slices to a sequence
#
# Three grey values say little about a slice. We need a better $x_t$, and have one: a CNN. The network of lesson 08 turns
# a slice into 64 **features**, and a last unit turns these into the probability of a tumour. We train it on single
# slices, then cut off the last unit and keep the **encoder**. Only a quarter of the slices show a tumour, so each batch
# takes half of its 32 from them.

# %%
slices = train.images.reshape(-1, 48, 48, 3)
in_slice = (train.masks > 0).any(axis=(2, 3)).astype("float32")  # (stacks, 16)


def batches(seed):
    """Batches without end: 16 slices without a tumour and 16 with one, half of them mirrored."""
    generator = np.random.default_rng(seed)
    groups = [np.flatnonzero(in_slice.ravel() == k) for k in (0, 1)]
    while True:
        rows = np.concatenate([generator.choice(group, 16) for group in groups])
        mirror = generator.random(32)[:, None, None, None] < 0.5
        images = np.where(mirror, slices[rows, :, ::-1], slices[rows])
        yield images, in_slice.ravel()[rows, None]


# %%
from medlib import models, tasks

task = tasks.Classification(("normal", "tumour"))
network = models.build("cnn", (48, 48, 3), task, seed=seed)
untrained = models.build("cnn", (48, 48, 3), task, seed=seed)  # its twin

# %%
rising = encoder_steps // 5
rate = keras.optimizers.schedules.CosineDecay(
    5e-4, encoder_steps - rising, warmup_target=1e-2, warmup_steps=rising)
network.compile(keras.optimizers.AdamW(rate, weight_decay=1e-3), loss="binary_crossentropy")
_ = network.fit(batches(seed), steps_per_epoch=encoder_steps, verbose=0)

# %% [markdown]
# (The twin is never trained; its hour will come.) From here on the encoder stays **frozen**: no
# weight of it changes. Each slice becomes 64 numbers once, so what reads them trains in seconds.


# %%
def features_of(network, stacks):
    """The 64 features of every slice, shape (stacks, slices, 64)."""
    encoder = keras.Model(network.inputs, network.layers[-1].input)
    return np.stack([encoder.predict_on_batch(stack) for stack in stacks])


# %% [markdown]
# ### A trap
#
# Each stack was simulated around the middle of its tumour. So a network could answer "slice 9" without looking (left). We show
# it **windows** of eight neighbouring slices instead: in training all nine windows of each stack, in the test one at a random place
# for each patient. Now the place says little (right).


# %%
def windows_of(stacks):
    return np.concatenate([stacks[:, k : k + 8] for k in range(9)])


def test_window(stacks):
    first = np.random.default_rng(20329).integers(0, 9, len(stacks))
    return np.stack([stack[k : k + 8] for stack, k in zip(stacks, first, strict=True)])


# %% tags=["plumbing"]
fig, (left, right) = plt.subplots(1, 2, figsize=(7.4, 2.9), sharey=True)
left.bar(np.arange(1, 17), in_slice.mean(axis=0), color=plotting.BLUE)
right.bar(np.arange(1, 9), windows_of(in_slice).mean(axis=0), color=plotting.VERMILION)
left.set(xlabel="slice in the stack", ylabel="share with tumour", title="whole stacks of 16")
right.set(xlabel="slice in the window", title="windows of 8 at any place")
plotting.show(
    fig,
    alt="Share of slices with a tumour by their place. In whole stacks it rises to one half at slice 9 and is nearly zero at "
    "both ends; in windows of eight slices it is much flatter.",
)

# %% [markdown]
# `x` are the features of the windows, standardised by mean and spread in training; `y` says for each of their slices
# whether there is a tumour.


# %%
def inputs_from(network):
    """Standardised features of all training windows and of the test windows."""
    known = features_of(network, train.images)
    mean, spread = known.mean(axis=(0, 1)), known.std(axis=(0, 1)) + 1e-6
    new = features_of(network, test_window(test.images))
    return windows_of((known - mean) / spread), (new - mean) / spread


x, x_test = inputs_from(network)
y = windows_of(in_slice)[..., None]
y_test = test_window((test.masks > 0).any(axis=(2, 3)))

# %% tags=["plumbing"]
raw, raw_test = inputs_from(untrained)  # for later, so that the training images can go
train = slices = None

# %% [markdown]
# ## Which slice?
#
# Two readers of these features, both with a probability for every slice. The first judges each slice **alone**. The
# second is a **bidirectional** GRU ([Schuster and Paliwal 1997](https://doi.org/10.1109/78.650093)): one reads upwards,
# another downwards, and both states together say what surrounds a slice.

# %%
alone = keras.Sequential([
    layers.Input((8, 64)),
    layers.Dense(32, activation="relu"),
    layers.Dense(1, activation="sigmoid"),
])
context = keras.Sequential([
    layers.Input((8, 64)),
    layers.Bidirectional(layers.GRU(32, return_sequences=True)),
    layers.Dense(1, activation="sigmoid"),
])


# %%
def fit(reader, x, y, epochs):
    """Train a reader on stacks of features; the learning rate falls to zero."""
    steps = epochs * (len(x) // 32)
    rate = keras.optimizers.schedules.CosineDecay(5e-3, steps)
    reader.compile(keras.optimizers.AdamW(rate, weight_decay=1e-3), loss="binary_crossentropy")
    reader.fit(x, y, batch_size=32, epochs=epochs, verbose=0)


for reader in (alone, context):
    fit(reader, x, y, epochs=4)

# %% [markdown]
# > **Predict** AUC over all slices of the test patients: by how much is context better? At which slices will the two
# > differ?

# %%
import pandas as pd

from medlib.evaluation import statistics

labels, whose = y_test.ravel().astype(int), np.repeat(test.subjects, 8)
p_alone = alone.predict(x_test, verbose=0)[..., 0]
p_context = context.predict(x_test, verbose=0)[..., 0]
aucs = pd.Series({
    "alone": statistics.auc_interval(labels, p_alone.ravel(), subjects=whose),
    "with context": statistics.auc_interval(labels, p_context.ravel(), subjects=whose),
})
aucs.to_frame("AUC, 95 % interval over patients")

# %% tags=["plumbing"]
ledger.record("09/slice_auc_context", aucs["with context"].value, parameters, limits=(0, 1), chance=0.5)
ledger.record("09/gain_of_context", aucs["with context"].value - aucs["alone"].value, parameters, limits=(-1, 1), chance=0)

# %% [markdown]
# (The two lines are the course's ledger, as in lesson 08: one more training should end in the 99 % band.) Where does
# the gain come from? Here are three test patients with a tumour: the one whom context helps most, a middle one, and the one whom it harms most.

# %% tags=["plumbing"]
def cost(probability):
    """Cross-entropy of each stack, mean over its slices."""
    right = np.where(y_test, probability, 1 - probability)
    return -np.log(np.clip(right, 1e-4, 1)).mean(axis=1)


helped = cost(p_alone) - cost(p_context)
ill = np.flatnonzero(y_test.any(axis=1))
ranked = ill[np.argsort(-helped[ill])]
cases = {"helped most": ranked[0], "a middle one": ranked[len(ranked) // 2], "harmed most": ranked[-1]}
window_masks = test_window(test.masks)
window_images = {case: test_window(test.images)[case] for case in cases.values()}


# %% tags=["plumbing"]
def draw_case(fig, rows, case, name):
    """Eight slices with outlines in the first row, both readers' probabilities in the second."""
    for k, place in enumerate(rows[0]):
        ax = fig.add_subplot(place)
        ax.imshow(window_images[case][k, ..., -1], vmin=WINDOW[0], vmax=WINDOW[1])
        plotting.outline(ax, window_masks[case, k])
        ax.set_axis_off()
        ax.set_title(name if k == 0 else "", loc="left", fontsize=12)
    ax = fig.add_subplot(rows[1])
    for k in np.flatnonzero(y_test[case]):
        ax.axvspan(k + 0.5, k + 1.5, color=plotting.ORANGE, alpha=0.2, linewidth=0)
    readers = ((p_alone, "s-", plotting.BLUE, "alone"), (p_context, "o-", plotting.VERMILION, "with context"))
    for p, style, colour, label in readers:
        ax.plot(np.arange(1, 9), p[case], style, color=colour, label=label)
    ax.set(xlim=(0.5, 8.5), ylim=(-0.05, 1.05), yticks=[0, 0.5, 1], xticks=range(1, 9), ylabel="probability")
    ax.tick_params(labelbottom=name == "harmed most")
    return ax


# %% tags=["plumbing"]
fig = plt.figure(figsize=(8, 7.4), layout="none")
shape = {"left": 0.09, "right": 0.99, "top": 0.95, "bottom": 0.08, "wspace": 0.03, "hspace": 0.08}
grid = fig.add_gridspec(8, 8, height_ratios=[1, 1.1, 0.35, 1, 1.1, 0.35, 1, 1.1], **shape)
for row, (name, case) in enumerate(cases.items()):
    ax = draw_case(fig, ([grid[3 * row, k] for k in range(8)], grid[3 * row + 1, :]), case, name)
    if row == 0:
        ax.legend(loc="best", fontsize=10)
ax.set_xlabel("slice (shaded: tumour)")
plotting.show(
    fig,
    alt="Three test stacks of eight slices with outlined tumours; below each the probability of a tumour slice by slice, judged "
    "alone and with context, with the tumour slices shaded. With context the probability is smoother.",
    save="09_slices",
)

# %% [markdown]
# Look at the ends of the tumour in the first patient: with context a doubtful slice beside a clear one is believed. In the last
# patient a suspicion that no clear neighbour supports gets weaker still, and the tumour is missed. Three patients
# illustrate; they prove nothing.
#
# **Exercise 09.2: context without recurrence.** A one-dimensional convolution along the slices has neighbours, too.
# Write a function that returns a network from `(8, n_features)` to one probability a slice, `(8, 1)`, in which each slice is
# judged by itself and its direct neighbours, without a recurrent layer. The check trains it on slices whose answer stands in their neighbours.
#
# > **Hint** [`Conv1D`](https://keras.io/api/layers/convolution_layers/convolution1d/) slides along the slices; with which
# > `padding` do eight slices stay eight? ([Solution](solutions/09_recurrent_networks.ipynb))


# %% tags=["exercise"]
def neighbours(n_features):
    return ...  # your code here


# %% tags=["solution"]
def neighbours(n_features):
    return keras.Sequential([
        layers.Input((8, n_features)),
        layers.Conv1D(32, 3, padding="same", activation="relu"),
        layers.Dense(1, activation="sigmoid"),
    ])


# %%
check.exercise("09.2", neighbours)

# %% [markdown]
# ### Over seeds and patients
#
# One training proves little. The study `studies/stacks.toml` repeats all of this with ten seeds of the encoder *and*
# the readers, on the same test patients, and with more readers: those that add to each slice the mean or the maximum over its
# window; two convolutions along the slices; a simple network, an LSTM and a GRU, all bidirectional; and a GRU that meets the slices of every
# window in random order. (The readers' size and steps, the same for all, were settled on other
# patients.)

# %%
from coursekit import studies

study = studies.load_study("stacks", "which-slice")  # None where only the package is installed

# %% tags=["plumbing"]
READERS = {
    "alone": "alone", "mean": "alone and mean", "max": "alone and maximum", "convolution": "convolution",
    "simple": "simple recurrent", "lstm": "LSTM", "gru": "GRU", "shuffled": "GRU, shuffled",
}


def auc_of(study, model):
    """AUC of a model, mean over seeds, with its 95 % interval over seeds and patients."""
    def auc(labels, scores):
        return statistics.area_under_curve(labels == 1, scores)
    return statistics.seeds_and_patients_interval(
        auc, study.labels, study.scores[model, "all"], subjects=study.subjects, logit=True)


# %% tags=["plumbing"]
def draw_intervals(ax, intervals, names, colour=plotting.BLUE, shift=0.0, **how):
    """Horizontal intervals, one a name, from above downwards."""
    places = np.arange(len(names)) + shift
    values = np.array([each.value for each in intervals])
    ends = [[each.value - each.low for each in intervals], [each.high - each.value for each in intervals]]
    ax.errorbar(values, places, xerr=np.nan_to_num(ends), color=colour, **{"fmt": "o", "capsize": 4} | how)
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)


# %% tags=["plumbing"]
if study:
    fig, ax = plt.subplots(figsize=(6.6, 3.8))
    draw_intervals(ax, [auc_of(study, model) for model in READERS], list(READERS.values()), label="ten seeds")
    for name, model in (("alone", "alone"), ("with context", "gru")):
        ax.plot(aucs[name].value, list(READERS).index(model), "*", color=plotting.VERMILION, markersize=12)
    ax.plot([], [], "*", color=plotting.VERMILION, markersize=12, label="this notebook")
    ax.set_xlabel("AUC, which slice")
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    plotting.show(
        fig,
        alt="AUC over slices of eight readers with 95 % intervals over seeds and patients. Lowest: alone; then mean, maximum and "
        "the shuffled GRU; highest, close together: convolution, simple recurrent, LSTM and GRU.",
        save="09_context",
    )

# %% tags=["plumbing"]
def hits(study, model):
    """Share of the windows with a tumour whose most suspicious slice shows it."""
    def share(labels, scores):
        labels, scores = labels.reshape(-1, 8), scores.reshape(-1, 8)
        found = labels[np.arange(len(labels)), scores.argmax(axis=1)]
        return found[labels.any(axis=1)].mean()
    return statistics.seeds_and_patients_interval(
        share, study.labels, study.scores[model, "all"], subjects=study.subjects, logit=True)


# %% tags=["plumbing"]
if study:
    others = ("alone", "shuffled", "simple", "convolution")
    gain, order, gates, kernels = (studies.compare(study, "gru", other) for other in others)
    company = studies.compare(study, "shuffled", "alone")
    ledger.say(
        "Differences of AUC with 95 % intervals over ten seeds and {n} patients: GRU minus alone **{gain}**; shuffled GRU "
        "minus alone {company}; GRU minus the shuffled GRU {order}; GRU minus the simple network {gates}; GRU minus convolution {kernels}. In windows with a tumour, the most suspicious slice "
        "really shows it in {alone} of the cases alone, in {gru} with the GRU.",
        n=len(set(study.subjects)), gain=gain, company=company, order=order, gates=gates, kernels=kernels, alone=hits(study, "alone"), gru=hits(study, "gru"),
    )
else:
    ledger.say("The study comes with the repository, not with the installed package: its figures are left out here.")

# %% [markdown]
# Context helps, clearly: the interval of the first difference lies above zero. It need not be recurrent: the convolution does as well. Nor need it be
# gated: the simple network does about as well. Perhaps little memory is needed here: a convolution has none. And much of the gain comes from knowing the *other slices
# at all*, in whatever order; only a part from knowing which ones are next to it.
#
# But what was the question? In a window with a tumour, the most suspicious slice nearly always shows it, with the GRU and alone.
# So the gain must come from the *other* slices: perhaps from the faint ends of tumours; perhaps also because this AUC mixes the slices
# of all patients, and whoever knows the whole window knows whether to be suspicious at all. The study does not separate the two.
#
# ## When does order matter?
#
# Slices in the wrong order happen: files sorted by name (`10.dcm` before `2.dcm`), or a tool that counts from the top.
# The position in the header tells ([lesson 01](01_image_files.ipynb)); without headers the stack itself must.
# Two questions about the same windows:
#
# 1. Does any slice show a tumour?
# 2. Is the stack **reversed**, its top slice first?
#
# > **Predict** Now the slices are shuffled. Which question suffers? And which of the two can a network answer that takes
# > only the maximum (or the mean) of each feature over the slices, **pooling**?
#
# For pooling we need no training: just the library's CNN for stacks, with random weights. It encodes every slice and takes the
# maximum over them.

# %% tags=["nbval-check-output"]
pooling = models.build("cnn", (8, 48, 48, 3), task, seed=seed)
some = test.images[:5, :8]
upright, turned = (np.asarray(pooling(stacks)) for stacks in (some, some[:, ::-1]))
print("identical scores, upright and reversed:", np.array_equal(upright, turned))

# %% [markdown]
# Identical, whatever the weights are: a maximum does not know where it came from. If each stack and its
# reversed twin get the same score, the AUC is exactly one half. No training will ever change that.
#
# A GRU, however, can tell the two orders apart. We train one on question 2, with the features of the twin that was *never trained*: random convolutions.


# %%
def with_reversed(stacks):
    """Every stack in both orders, and the labels 0 (upright) and 1 (reversed)."""
    labels = np.repeat([0.0, 1.0], len(stacks))[:, None]
    return np.concatenate([stacks, stacks[:, ::-1]]), labels


# raw, raw_test = inputs_from(untrained): a folded cell above did it, while it had the images
stacks, reversed_or_not = with_reversed(raw)

# %%
in_order = keras.Sequential([
    layers.Input((8, 64)),
    layers.Bidirectional(layers.GRU(32, return_sequences=True)),
    layers.GlobalMaxPooling1D(),
    layers.Dense(1, activation="sigmoid"),
])
fit(in_order, stacks, reversed_or_not, epochs=2)

# %% [markdown]
# (Its maximum does no harm: it pools *states*, and each state has already read its slices in order.)

# %%
stacks_test, labels_test = with_reversed(raw_test)
p_reversed = in_order.predict(stacks_test, verbose=0).ravel()
labels = labels_test.ravel().astype(int)
twice = np.tile(test.subjects, 2)  # each patient has two stacks
reversed_auc = statistics.auc_interval(labels, p_reversed, subjects=twice)
print("AUC, 95 % interval over patients:", reversed_auc)

# %% tags=["plumbing"]
ledger.record("09/reversed_auc", reversed_auc.value, parameters, limits=(0, 1), chance=0.5)

# %% [markdown]
# What a slice shows changes from below upwards, and random convolutions keep enough of that. Now shuffle, in the study (the figure repeats *which slice?* between the two questions): the GRU in order, the GRU on shuffled windows (in
# training and test) and pooling by the maximum (for *which slice*, added to the slice's own features), each trained for its question. The last line is question 2 again, but with the features of the encoder that was *trained on tumours*.

# %% tags=["plumbing"]
QUESTIONS = {
    "tumour": "1 a tumour?", "which-slice": "  which slice?", "reversed": "2 reversed?,\nuntrained features",
    "reversed-tuned": "  reversed?,\ntumour features",
}

# %% tags=["plumbing"]
if study:
    of = {question: studies.load_study("stacks", question) for question in QUESTIONS}
    fig, ax = plt.subplots(figsize=(6.6, 3.9))
    marks = {"gru": ("GRU", plotting.BLUE, "o"), "shuffled": ("GRU, shuffled", plotting.VERMILION, "s"), "max": ("pooling (maximum)", plotting.GREEN, "^")}
    for shift, (model, (name, colour, marker)) in zip((-0.2, 0, 0.2), marks.items(), strict=True):
        intervals = [auc_of(of[question], model) for question in QUESTIONS]
        draw_intervals(ax, intervals, list(QUESTIONS.values()), colour, shift, fmt=marker, label=name)
    ax.axvline(0.5, color=plotting.GREY, linewidth=1)
    ax.set_xlabel("AUC (grey line: guessing)")
    ax.legend(loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=3)
    plotting.show(
        fig,
        alt="AUC of the GRU, the shuffled GRU and the maximum for four questions, with 95 % intervals. For a tumour all three are "
        "alike; for which slice the GRU leads a little; for reversed the GRU is near one and the others at one half; with "
        "features trained on tumours the GRU loses much of it.",
        save="09_order",
    )

# %% tags=["plumbing"]
if study:
    ledger.say(
        "Over ten seeds and {n} patients (95 %): for a tumour, GRU minus shuffled {tumour} and GRU minus maximum {pooled}; reversed, "
        "GRU **{reversed}**, shuffled {shuffled}, maximum {maximum:.3f} for every seed; with features trained on tumours, GRU {tuned}.",
        n=len(set(study.subjects)), tumour=studies.compare(of["tumour"], "gru", "shuffled"),
        pooled=studies.compare(of["tumour"], "gru", "max"), reversed=auc_of(of["reversed"], "gru"),
        shuffled=auc_of(of["reversed"], "shuffled"), maximum=auc_of(of["reversed"], "max").value,
        tuned=auc_of(of["reversed-tuned"], "gru"),
    )

# %% [markdown]
# "Is there a tumour?" is a question to a *set* of slices. The GRU leads the maximum a little; but the interval of what it loses when
# shuffled includes zero, so the order matters little there, if at all. "Is it reversed?" is a question to a *sequence*: order is all
# there is.
#
# The last line is a warning. Trained on tumours, the encoder has lost much of what tells the bottom of a brain from its
# top; untrained, it had it still. It seems that an encoder keeps what its task rewards. **Features frozen after one task can
# serve another much worse**: better than guessing, but worse than no training at all.
#
# ## Rows as a sequence?
#
# An image has rows, and rows come one after another. So an image is a sequence, isn't it? `medlib` builds that
# network as well: given single images, it reads their rows.

# %% tags=["nbval-check-output"]
by_rows = models.build("rnn", (48, 48, 3), task, seed=seed)
for name, each in (("CNN", network), ("rows", by_rows)):
    print(f"{name}: {sum(w.numpy().size for w in each.trainable_weights):,} weights")

# %% [markdown]
# > **Predict** Both learn from the same slices, for the same 300 steps. Which AUC do the rows reach, slice by slice?

# %% tags=["plumbing"]
if study:
    gap = studies.compare(study, "alone", "rows")
    fig, ax = plt.subplots(figsize=(6.6, 1.9))
    draw_intervals(ax, [auc_of(study, model) for model in ("alone", "rows")], ["CNN, alone", "rows, alone"])
    ax.set(xlabel="AUC, which slice", xlim=(0.5, 1))
    plotting.show(fig, alt="AUC over slices of features of a CNN and of a recurrent network over rows, with 95 % intervals: the rows are far lower.")
    ledger.say("CNN minus rows, each slice alone: {gap} (95 %, ten seeds, {n} patients).", gap=gap, n=len(set(study.subjects)))

# %% [markdown]
# The wrong tool. A likely reason: within a row, every pixel has weights of its own. What the network learns of a tumour on the left it must learn again
# on the right, and again one pixel further: just what convolution was made to avoid ([lesson 06](06_convolution.ipynb)). (On validation patients, with
# two seeds, we also tried a third and a tenth of the learning rate: no better.) A
# recurrent network shares its weights along *one* axis. Give it the axis along which the data is a sequence.
#
# For whole stacks, `models.build("rnn", (depth, height, width, channels), ...)` joins this lesson's two parts, CNN and
# bidirectional GRU, and trains them together; so does `medlib train --model rnn --depth 16` on your own volumes. Such networks have
# read real scans: [Burduja and others 2020](https://doi.org/10.3390/s20195611) find bleeding in CT slices with a CNN and a
# bidirectional LSTM over them.
#
# **In this lesson we**
#
# - wrote a simple recurrent network, a GRU and an LSTM, equal to Keras;
# - measured gradients that vanish and explode, and saw that gates make memory something to be learnt;
# - found slices with a tumour better with context than without, over ten seeds and new patients, and that a convolution
#   along the slices did as well;
# - saw pooling fail where order is the question, and hardly lose where it is not;
# - saw frozen features that had lost part of what we asked next, and a recurrent network along the wrong axis.
#
# All stacks are simulated, from one template, with slices 4 mm apart and no patient who moves. How much context helps on real
# scans, this lesson cannot say.
#
# **Next** comes lesson 10, transformers, in which every part of an image can look at every other part directly
# ([10](10_transformers.ipynb)).
#
# **References**
#
# - J. L. Elman: Finding structure in time, *Cognitive Science* 14 (1990) 179-211,
#   [doi:10.1207/s15516709cog1402_1](https://doi.org/10.1207/s15516709cog1402_1).
# - Y. Bengio, P. Simard, P. Frasconi: Learning long-term dependencies with gradient descent is difficult, *IEEE Transactions
#   on Neural Networks* 5 (1994) 157-166, [doi:10.1109/72.279181](https://doi.org/10.1109/72.279181).
# - R. Pascanu, T. Mikolov, Y. Bengio: On the difficulty of training recurrent neural networks, *ICML* 2013,
#   [arXiv:1211.5063](https://arxiv.org/abs/1211.5063).
# - K. Cho and others: Learning phrase representations using RNN encoder-decoder for statistical machine translation, *EMNLP*
#   2014, [arXiv:1406.1078](https://arxiv.org/abs/1406.1078).
# - S. Hochreiter, J. Schmidhuber: Long short-term memory, *Neural Computation* 9 (1997) 1735-1780,
#   [doi:10.1162/neco.1997.9.8.1735](https://doi.org/10.1162/neco.1997.9.8.1735).
# - F. A. Gers, J. Schmidhuber, F. Cummins: Learning to forget: continual prediction with LSTM, *Neural Computation* 12 (2000)
#   2451-2471, [doi:10.1162/089976600300015015](https://doi.org/10.1162/089976600300015015).
# - M. Schuster, K. K. Paliwal: Bidirectional recurrent neural networks, *IEEE Transactions on Signal Processing* 45 (1997)
#   2673-2681, [doi:10.1109/78.650093](https://doi.org/10.1109/78.650093).
# - M. Burduja, R. T. Ionescu, N. Verga: Accurate and efficient intracranial hemorrhage detection and subtype classification in 3D CT
#   scans with convolutional and long short-term memory neural networks, *Sensors* 20 (2020) 5611,
#   [doi:10.3390/s20195611](https://doi.org/10.3390/s20195611).

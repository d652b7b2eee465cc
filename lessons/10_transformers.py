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
# # 10 Transformers
#
# A radiologist who suspects something on one side of a brain looks at the same place on the other side. A convolution
# cannot: it sees a few neighbouring pixels, and news from far away must travel through many layers. **Attention** lets
# every place of an image ask every other place directly. Networks made of it, **Transformers**, are what today's
# language models are built from. They can read images too. What exactly does attention compute? And with how many
# training images is such a network as good as a convolutional one?

# %% tags=["install"]
import medlib

# %% tags=["parameters"]
epochs = 4  # of the one network that is trained on all training images
seed = 0  # of weights, order of images, and random numbers in this lesson

# %% tags=["plumbing"]
from medlib import training

training.set_seed(seed)  # imports Keras without its messages
import keras
import matplotlib.pyplot as plt
import numpy as np
from keras import layers
from matplotlib import colors

from coursekit import check, ledger
from medlib import datasets, plotting, tasks
from medlib.datasets.simbrain import new_patients
from medlib.evaluation import statistics

plotting.use_style()
parameters = {"epochs": epochs, "seed": seed}
data = datasets.load("simbrain")
train, validation, test = data.train, data.validation, new_patients(seed=20310)
WINDOW = {"cmap": "gray", "vmin": 0.25, "vmax": 0.7}

# %% tags=["plumbing"]
example = 749  # a training slice with a tumour
image, tumour = train.images[example], train.masks[example] > 0
EDGES = np.arange(-0.5, 64, 8)  # of the 8 x 8 patches


def draw_patches(ax, picture, query=None):
    """A FLAIR slice with the borders of its patches, and one patch framed."""
    ax.imshow(picture[..., -1], **WINDOW)
    ax.hlines(EDGES, -0.5, 63.5, color=plotting.SKY, lw=0.5)
    ax.vlines(EDGES, -0.5, 63.5, color=plotting.SKY, lw=0.5)
    if query is not None:
        corner = EDGES[query % 8], EDGES[query // 8]
        ax.add_patch(plt.Rectangle(corner, 8, 8, fill=False, ec=plotting.ORANGE, lw=3, zorder=5))
    ax.set_axis_off()


# %% tags=["plumbing"]
centre = np.argwhere(tumour).mean(axis=0) // 8
in_tumour = int(centre[0] * 8 + centre[1])  # the patch in the middle of the tumour
fig, axes = plt.subplots(1, 3, figsize=(8, 3.0))
axes[0].imshow(image[..., -1], **WINDOW)
plotting.outline(axes[0], tumour)
draw_patches(axes[1], image)
draw_patches(axes[2], image, in_tumour)
for j in range(64):
    ends = [[4 + 8 * (k % 8), 4 + 8 * (k // 8)] for k in (in_tumour, j)]
    axes[2].plot(*np.transpose(ends), color=plotting.ORANGE, lw=0.6, alpha=0.8)
for ax, title in zip(axes, ("a slice, its tumour outlined", "64 patches", "one patch asks the others"), strict=True):
    ax.set_title(title, fontsize=11)
    ax.set_axis_off()
fig.supxlabel("FLAIR, window 0.25 (black) to 0.7 (white)", fontsize=10, color=plotting.GREY)
plotting.show(fig, alt="A FLAIR slice with an outlined tumour; the same slice cut into 8 by 8 square patches; lines from the "
              "patch in the tumour to all other patches, of brain and of background.")

# %% [markdown]
# **You will**
#
# - compute attention by hand, and show that NumPy and Keras agree to 1e-5;
# - show why its scores are divided by a square root, and that it does not know where anything is;
# - build a small vision Transformer, train it, and test it once, on new patients;
# - lay attention over images, and tamper with it to see what such a map is worth;
# - read from a study whether a small Transformer keeps up with a CNN.
#
# **Reading:** about 50 min · **running:** about 35 s · **builds on:** [06](06_convolution.ipynb) (convolution),
# [07](07_learning.ipynb) (softmax, gradient), [08](08_first_cnn.ipynb) (a network, trained and tested)
#
# The images are `simbrain`'s simulated slices ([lesson 02](02_mr_simulation.ipynb)) in three contrasts, T1, T2 and
# FLAIR. Half of the virtual patients have a tumour. The lesson draws its own test patients; nothing looks at them
# before the test. In the code, `train`, `validation` and `test` are these three groups, and `example` is the row of the slice above in `train.images`.
#
# ## Tokens
#
# A Transformer takes a list of vectors, called **tokens**. In a text they stand for words, here for patches of 8 x 8
# pixels. We begin with the simplest description of a patch: its mean in each contrast, three numbers.

# %%
def patch_means(images):
    """(n, 64, 64, 3) becomes (n, 64 patches, 3)."""
    cut = images.reshape(-1, 8, 8, 8, 8, 3)  # 8 rows of patches, 8 pixels high, ...
    return cut.mean(axis=(2, 4)).reshape(-1, 64, 3)


# %% [markdown]
# We standardise them ([lesson 04](04_grey_values_and_leaks.ipynb)): over all training patches that show brain, each contrast gets
# mean 0 and standard deviation 1.

# %% tags=["nbval-check-output"]
means = patch_means(train.images)
brain = means[means.max(axis=-1) > 0.1]
middle, spread = brain.mean(axis=0), brain.std(axis=0)
tokens = (means - middle) / spread
tokens.shape

# %% [markdown]
# ## Attention
#
# Each token sends out a **query**: what am I looking for? Each token shows a
# **key**: what do I have to offer? And each holds a **value**: what do I hand over? All three are vectors. The query
# $q$ of one token is compared with the key $k_j$ of every token $j$ by a dot product, which gives the score $s_j$.
# Softmax ([lesson 07](07_learning.ipynb)) turns scores into weights $a_j$ that add up to 1. The answer $y$ is the mean
# of the values $v_j$ with these weights:
#
# $$s_j = \frac{q \cdot k_j}{\sqrt d}, \qquad a_j = \frac{e^{s_j}}{\sum_i e^{s_i}}, \qquad y = \sum_j a_j v_j$$
#
# Here $d$ is how many numbers a query or a key has; we shall see what its root is good for. Put all queries into the rows of a
# table $Q$, keys into $K$, values into $V$, and the answers of all tokens are
#
# $$Y = A V, \qquad A = \mathrm{softmax}\left(\frac{Q K^\top}{\sqrt d}\right)$$
#
# ([Vaswani and others 2017](https://arxiv.org/abs/1706.03762), equation 1). Softmax is taken row by row: row $t$ of the
# **attention map** $A$ says how much token $t$ takes from each token.

# %%
def softmax(scores):
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))  # at most 1
    return powers / powers.sum(axis=-1, keepdims=True)


def attention_map(q, k):
    """Queries and keys (..., tokens, d) give weights (..., tokens, tokens)."""
    return softmax(q @ k.swapaxes(-1, -2) / q.shape[-1] ** 0.5)


# %% [markdown]
# Nothing is learnt yet. Let query and key both be the patch itself ($d$ = 3), scaled so that its norm is 8. Then the dot product is
# largest for patches that differ from the average patch in the same direction: each patch looks for its like.

# %% tags=["nbval-check-output"]
own = tokens[example]
own = 8 * own / np.linalg.norm(own, axis=-1, keepdims=True)
A = attention_map(own, own)
print("map", A.shape, " rows add up to 1:", np.allclose(A.sum(axis=-1), 1))

# %% [markdown]
# > **Predict** The patch that asks moves over the slice. Where will the weights be large when it lies in the background? In
# > the tumour?

# %% tags=["plumbing"]
SHARES = [0, *(2.0**-k for k in range(7, -1, -1))]  # 1/128 to 1
SHADES = {"cmap": "inferno", "norm": colors.BoundaryNorm(SHARES, 256)}


def draw_weights(ax, picture, weights):
    """The weights of 64 patches, and the outline of the head."""
    shades = ax.imshow(weights.reshape(8, 8), **SHADES, extent=(-0.5, 63.5, 63.5, -0.5))
    plotting.outline(ax, picture[..., -1] > 0, colour="white")
    ax.set_axis_off()
    return shades


def draw_bar(fig, shades, axes):
    bar = fig.colorbar(shades, ax=axes, shrink=0.8, label="weight, in doublings", spacing="uniform")
    bar.set_ticks([0, 1 / 64, 1 / 16, 1 / 4, 1], labels=["0", "1/64", "1/16", "1/4", "1"])


# %% tags=["plumbing"]
def asking():
    """Frames: the query goes along a path; its row of the map, and the outline of the head."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(6.2, 2.9))
    path = [in_tumour, 0, 10, 19, 20, 21, 29, 37, 36, 34, 43, 62, in_tumour]
    for query in path:
        left.clear(), right.clear()
        draw_patches(left, image, query)
        shades = draw_weights(right, image, A[query])
        plotting.outline(right, tumour, colour=plotting.SKY)
        left.set_title("the patch that asks", fontsize=11), right.set_title("what it attends to", fontsize=11)
        if len(fig.axes) == 2:
            draw_bar(fig, shades, right)
        yield fig


# %% tags=["plumbing"]
plotting.show_animation(
    asking(), milliseconds=700,
    alt="A framed patch moves over a slice. Beside it the weights of its row: in the background it attends to the background, evenly, in "
        "the tumour to the tumour, in healthy tissue to similar tissue on both sides.",
)

# %% [markdown]
# White: outline of the head; blue: of the tumour. A patch of background attends to all the background, a little to each patch; a patch of tissue to tissue like it, on *both* sides
# of the head: one step reaches across the whole image. The patch in the tumour (first frame of the film) attends to the tumour. (We
# chose a slice whose tumour is unlike everything else.) The reach has a price: $A$ has a number for every pair of patches.

# %% tags=["nbval-check-output"]
print("patch  tokens  numbers in A")
for side in (16, 8, 4, 2):
    n = (64 // side) ** 2
    print(f"{side:5d}  {n:6,}  {n * n:12,}")

# %% [markdown]
# Four times the tokens, sixteen times the numbers. For this reason patches are large.
#
# **Exercise 10.1: ask only the brain.** Much of the slice is background, and softmax gives it weight anyway. Write a
# function that takes scores (one row for each query) and `keep`, one `True` or `False` for each key. It returns weights
# that are 0 for keys not kept, and each row of which adds up to 1. ([Solution](solutions/10_transformers.ipynb))
#
# > **Hint** Change the scores *before* softmax. Which score gives a weight of exactly 0?


# %% tags=["exercise"]
def masked_weights(scores, keep):
    return ...  # your code here


# %% tags=["solution"]
def masked_weights(scores, keep):
    return softmax(np.where(keep, scores, -np.inf))


# %%
check.exercise("10.1", masked_weights)

# %% [markdown]
# ## Why the square root?
#
# Take queries and keys of independent random numbers with mean 0 and variance 1. Their dot product is a sum of $d$ products, each with
# variance 1, so its variance is $d$ and its standard deviation $\sqrt d$. We draw one query and 64 keys, many times over.
#
# > **Predict** For $d$ = 256: how large is the largest of the 64 weights, on average, without the division by $\sqrt d$?
# > Without any preference it would be 1/64.

# %% tags=["nbval-check-output"]
rng = np.random.default_rng(seed)
print("      spread    largest weight:")
print("   d  of scores  raw   divided")
for d in (4, 16, 64, 256):
    q, k = rng.normal(size=(100, 1, d)), rng.normal(size=(100, 64, d))
    scores = (q @ k.swapaxes(1, 2))[:, 0]
    raw, divided = (softmax(each).max(axis=1).mean() for each in (scores, scores / np.sqrt(d)))
    print(f"{d:4d}  {scores.std():9.1f}  {raw:4.2f}  {divided:7.2f}")

# %% [markdown]
# Raw, that is not divided, the scores of long vectors give one random key nearly all the weight, for no reason. Worse, softmax then hardly moves: when
# a score changes, its own weight changes at the rate $a_j (1 - a_j)$, which is nearly zero for weights near 0 or 1. Training
# would get almost no gradient, as with the flat ends of a sigmoid ([lesson 07](07_learning.ipynb)). Divided, the largest weight stays near 0.1
# for all $d$.
#
# ## Heads, and the layer of Keras
#
# In a network, queries, keys and values are *learnt*: dense layers compute them from the tokens $X$, as $Q = X W_Q + b_Q$, and $K$ and
# $V$ likewise. One set of them is a **head**. Several heads side by side can look for several things; a last dense layer
# mixes their answers into one vector for each token. Here is the whole layer in NumPy; $n$ counts images, $t$ tokens, $w$ the
# numbers of a token, $h$ heads, $d$ the numbers of a query.

# %%
def project(x, dense):
    """Queries, keys or values of all heads: (n, t, w) becomes (n, h, t, d)."""
    kernel, bias = dense.get_weights()  # (w, h, d) and (h, d)
    return np.einsum("ntw,whd->nhtd", x, kernel) + bias[:, np.newaxis]


# %%
def attend(x, layer, tamper=lambda A: A):
    """What a MultiHeadAttention layer makes of tokens x, (n, t, w)."""
    q, k = project(x, layer.query_dense), project(x, layer.key_dense)
    A = tamper(attention_map(q, k))  # (n, h, t, t); left alone here, changed further down
    answers = A @ project(x, layer.value_dense)
    kernel, bias = layer.output_dense.get_weights()  # (h, d, w) and (w,)
    return np.einsum("nhtd,hdw->ntw", answers, kernel) + bias


# %% [markdown]
# (`einsum` multiplies and adds up over the letters that the result does not have.) Keras's layer has random weights; both get random tokens:

# %% tags=["nbval-check-output"]
layer = keras.layers.MultiHeadAttention(num_heads=4, key_dim=12, bias_initializer="random_normal")
x = rng.normal(size=(2, 64, 48)).astype("float32")
by_keras = np.asarray(layer(x, x))
print("equal to 1e-5:", np.abs(by_keras - attend(x, layer)).max() < 1e-5)

# %% [markdown]
# ## A bag of patches
#
# Look at the equation again: nowhere does it say *where* a token lies. Now shuffle the tokens.
#
# > **Predict** Do the answers stay the same, come out in the new order, or change altogether?

# %% tags=["nbval-check-output"]
order = rng.permutation(64)
of_shuffled, of_ordered = attend(x[:, order], layer), attend(x, layer)
print("in the new order:", np.abs(of_shuffled - of_ordered[:, order]).max() < 1e-5)

# %% tags=["plumbing"]
cut = image.reshape(8, 8, 8, 8, 3).swapaxes(1, 2).reshape(64, 8, 8, 3)
mixed = cut[order].reshape(8, 8, 8, 8, 3).swapaxes(1, 2).reshape(64, 64, 3)
fig, axes = plt.subplots(1, 3, figsize=(8, 2.9))
for ax, picture, title in zip(axes, (image, mixed, image[:, ::-1]), ("a slice", "its patches shuffled", "mirrored"), strict=True):
    draw_patches(ax, picture)
    ax.set_title(title, fontsize=11)
plotting.show(fig, alt="A slice, the same slice with its 64 patches in random order, and its mirror image.")

# %% [markdown]
# The same answers come out, in the new order. Take their mean or their maximum, as a classifier does, and the order is gone
# altogether. To attention the first two pictures are the same. And since our tokens are means of patches, so is the third.
#
# That matters. Ask **on which side is the tumour?** A report with the wrong side can end in [surgery on the wrong
# side](https://psnet.ahrq.gov/issue/wrong-sidewrong-site-wrong-procedure-and-wrong-patient-adverse-events-are-they-preventable). We take all slices with a
# tumour, and the mirror image of each: same bag, opposite answer. (Right of
# the *picture*: whether that is the patient's right depends on how the image is stored, [lesson 03](03_cleaning_and_geometry.ipynb).)

# %%
def sides(split):
    """Tokens of slices with a tumour, then of their mirror images; True: on the right."""
    masks = split.masks > 0
    column = (masks.sum(axis=1) * np.arange(64)).sum(axis=1) / masks.sum(axis=(1, 2)).clip(1)
    clear = masks.any(axis=(1, 2)) & (np.abs(column - 31.5) > 3)  # not in the middle
    x, right = (patch_means(split.images[clear]) - middle) / spread, column[clear] > 31.5
    mirrored = x.reshape(-1, 8, 8, 3)[:, :, ::-1].reshape(-1, 64, 3)
    return np.concatenate([x, mirrored]), np.concatenate([right, ~right])


# %% [markdown]
# A small network for that question: a dense layer, attention, one more dense layer, the largest value over all tokens, a sigmoid.
# Its first layer is left open.

# %%
def side_network(first, numbers=3):
    inputs = keras.Input((64, numbers))
    x = first(inputs)
    x = x + layers.MultiHeadAttention(2, 8)(x, x)
    pooled = layers.GlobalMaxPooling1D()(layers.Dense(64, activation="gelu")(x))
    return keras.Model(inputs, layers.Dense(1, activation="sigmoid")(pooled))


# %% [markdown]
# > **Predict** Its weights are still random. How do the scores of a slice and of its mirror image differ? Will training change that?

# %% tags=["nbval-check-output"]
x_new, right_new = sides(validation)
of_slices, of_mirrored = np.split(side_network(layers.Dense(32)).predict(x_new, verbose=0), 2)
print("same score, to 1e-5:", np.abs(of_slices - of_mirrored).max() < 1e-5)

# %% [markdown]
# They do not differ, whatever the weights are. So no training can help: one of the two answers is always wrong, and the AUC is exactly one half.
#
# ### Tell it the place
#
# Each token must carry its place. There are several ways. Vision Transformers learn one vector $p_t$ for each place $t$, and add
# it to what the first layer makes of the token $x_t$, that is $x_t W + p_t$ ([Dosovitskiy and others 2021](https://arxiv.org/abs/2010.11929), equation 1). In
# other words: a dense layer with a bias of its own for each token.

# %%
def with_places(width):
    """A dense layer for 64 tokens; t in bias_axes: the bias differs from token to token."""
    start = keras.initializers.RandomNormal(stddev=0.5)
    return layers.EinsumDense("ntc,cw->ntw", (64, width), bias_axes="tw", bias_initializer=start)


# %%
def side_auc(network, change=lambda x: x):
    """Train on the training patients; AUC on the validation patients."""
    x, right = sides(train)
    network.compile(keras.optimizers.Adam(5e-3), loss="binary_crossentropy")
    network.fit(change(x), right, batch_size=64, epochs=7, verbose=0)
    scores = network.predict(change(x_new), verbose=0).ravel()
    return statistics.area_under_curve(right_new, scores)


# %%
keras.utils.set_random_seed(seed)
found = side_auc(side_network(with_places(32)))

# %% tags=["plumbing"]
ledger.record("10/side_auc", found, parameters, limits=(0, 1), chance=0.5)
ledger.say("With places, the same network tells the sides apart on the validation patients: AUC {side_auc:.2f}.")

# %% [markdown]
# **Exercise 10.2: coordinates.** Write a function that takes tokens, shape `(n, 64, 3)`, and returns them with two more numbers
# each: the row and the column of the patch. Keep all numbers within about -2 to 2, like the tokens. Then train with them:
# `side_auc(side_network(layers.Dense(32), 5), with_coordinates)`. Are learnt places needed here? ([Solution](solutions/10_transformers.ipynb))
#
# > **Hint** Token $t$ lies in row `t // 8` and column `t % 8`. `np.broadcast_to` gives all images the same table.


# %% tags=["exercise"]
def with_coordinates(tokens):
    return ...  # your code here


# %% tags=["solution"]
def with_coordinates(tokens):
    place = np.arange(64)
    table = (np.stack([place // 8, place % 8], axis=1) - 3.5) / 2
    return np.concatenate([tokens, np.broadcast_to(table, (len(tokens), 64, 2))], axis=2)


keras.utils.set_random_seed(seed)
print(f"AUC with coordinates: {side_auc(side_network(layers.Dense(32), 5), with_coordinates):.2f}")

# %%
check.exercise("10.2", with_coordinates)

# %% [markdown]
# <details><summary>Answer</summary>
#
# Not for this question: rows and columns say enough.
#
# </details>
#
# ## A vision Transformer
#
# Three means are a poor description of a patch. What should a token be? **Plain patches**: all 8 x 8 x 3 = 192 numbers of a patch, as they
# are. Or a **convolutional stem**: a few convolutions that halve the image until one place of the map is one token ([Xiao and others
# 2021](https://arxiv.org/abs/2106.14881)). We take the stem; the study below has both.

# %%
def stem(x):
    """Three convolutions of stride 2: from 64 x 64 x 3 to 8 x 8 x 48."""
    start = {"use_bias": False, "kernel_initializer": "he_normal"}
    for channels in (12, 24, 48):
        x = layers.Conv2D(channels, 3, strides=2, padding="same", **start)(x)
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
    return x


# %% [markdown]
# Then come **blocks**. In each, tokens first ask each other (attention); then two dense layers work on every token by itself. Both times the
# result is *added* to what was there, so that a block need only learn what to change (lesson 16 will measure that). And both times **layer
# normalisation** stands before: each token is standardised over its own 48 numbers, then each number gets a learnt scale and shift ([Ba and others
# 2016](https://arxiv.org/abs/1607.06450)); one more stands before the final mean (the diagram leaves them out). (GELU is
# a smooth relative of ReLU.)

# %%
def normalised(x):
    return layers.LayerNormalization(epsilon=1e-6)(x)


def block(x):
    """Tokens ask each other, then each thinks for itself."""
    y = normalised(x)
    x = x + layers.MultiHeadAttention(num_heads=4, key_dim=12)(y, y)
    y = layers.Dense(96, activation="gelu")(normalised(x))
    return x + layers.Dense(48)(y)


# %%
keras.utils.set_random_seed(seed)
inputs = keras.Input(data.image_shape)
first_tokens = with_places(48)(layers.Reshape((64, 48))(stem(inputs)))
last_tokens = normalised(block(block(first_tokens)))
pooled = layers.GlobalAveragePooling1D()(last_tokens)
network = keras.Model(inputs, layers.Dense(1, activation="sigmoid")(pooled))
print(f"{sum(w.numpy().size for w in network.trainable_weights):,} weights to learn")

# %% [markdown]
# "Ask" is attention, "think" are the two dense layers:

# %% tags=["plumbing"]
boxes = [("image", "64 x 64 x 3", "0.85"), ("stem", "8 x 8 x 48", plotting.SKY), ("places", "64 x 48", plotting.GREEN)]
boxes += [(kind, "64 x 48", colour) for _ in range(2) for kind, colour in (("ask", plotting.ORANGE), ("think", plotting.PURPLE))]
boxes += [("mean", "48", "0.85"), ("sigmoid", "1", "0.85")]
left = [0, 1, 2, 3.2, 4.7, 6.2, 7.7, 9.1, 10.1]  # edges of the boxes

# %% tags=["plumbing"]
fig, ax = plt.subplots(figsize=(6.8, 2.6))
for k, (start, (name, size, colour)) in enumerate(zip(left, boxes, strict=True)):
    ax.add_patch(plt.Rectangle((start, 0), 0.7, 1, fc=colour, ec="black", alpha=0.8))
    ax.text(start + 0.35, 0.5, name, ha="center", va="center", rotation=90, fontsize=12)
    ax.text(start + 0.5, -0.1, size, ha="right", va="top", fontsize=10, rotation=40, rotation_mode="anchor")
    if k:
        ax.annotate("", (start, 0.5), (left[k - 1] + 0.7, 0.5), arrowprops={"arrowstyle": "->", "shrinkA": 0, "shrinkB": 0})
    if name in ("ask", "think"):  # a way around it, to a sum
        branch, join = start - 0.2, start + 0.7 + 0.3
        ax.plot([branch, branch, join, join], [0.5, 1.25, 1.25, 0.62], color="black", lw=1)
        ax.plot(join, 0.5, "o", ms=12, mfc="white", mec="black", zorder=3)
        ax.text(join, 0.49, "+", ha="center", va="center", fontsize=11, zorder=4)
for b in range(2):
    ax.text(left[3 + 2 * b] + 1.2, 1.4, f"block {b + 1}", ha="center")
ax.set(xlim=(-0.2, 10.9), ylim=(-1.0, 1.75)), ax.set_axis_off()
plotting.show(fig, alt="Diagram from left to right: image, stem, places, then two blocks of asking and thinking; round each of these four boxes a "
              "way leads from its input to a plus sign behind it; then the mean over tokens and a sigmoid; below each, the shape of its output.")

# %% [markdown]
# We train it with the recipe of [lesson 08](08_first_cnn.ipynb) (AdamW, a rate that rises and then falls, mirrored images), a running average of the weights, and labels of 0.95 and 0.05 instead of 1 and 0, which keep the network from being too sure.
# Batches of 16, not 32, at half the rate give twice the steps: before, one seed in ten had failed on the validation patients.

# %%
task = tasks.Classification(data.class_names)
recipe = {"epochs": epochs, "batch_size": 16, "learning_rate": 4e-3, "augmentation": {"flip": True}}
history = training.fit(network, train, task=task, seed=seed, **recipe)

# %% [markdown]
# ### The test, once

# %%
probability = training.predict(network, test.images, task)[:, 1]
live = statistics.auc_interval(test.labels, probability, subjects=test.subjects)

# %% tags=["plumbing"]
ledger.record("10/test_auc", live.value, parameters, limits=(0, 1), chance=0.5)
ledger.say(
    "After {steps} steps of 16 of the {n_train:,} training slices: AUC **{test_auc:.3f}** on {n} slices of {m} new patients, 95 % interval over patients "
    "{low:.3f} to {high:.3f}. Guessing gives 0.5.",
    steps=epochs * (len(train) // 16), n_train=len(train), n=len(test), m=len(set(test.subjects)), low=live.low, high=live.high,
)

# %% [markdown]
# The interval covers other patients, not other seeds. How far other seeds may land, the line `10/test_auc` says: a 99 % band, from ten
# trainings. This one is an example; comparisons are left to the study at the end.
#
# ## What does it look at?
#
# Our own `attend` can take the place of Keras's layers, so we can run the network by hand and look inside. The test is over;
# from here on we use half of the *validation* slices.

# %%
def of_kind(kind):
    return [layer for layer in network.layers if isinstance(layer, kind)]


norms, dense = of_kind(layers.LayerNormalization), of_kind(layers.Dense)
attention = of_kind(layers.MultiHeadAttention)
look = validation.take(np.arange(0, len(validation), 2))
tokens_in = keras.Model(inputs, first_tokens).predict(look.images, verbose=0)


# %%
def by_hand(tamper):
    """Probabilities; tamper(A, b) may change the maps A, (n, h, t, t), of block b."""
    x = tokens_in
    for b in range(2):
        x = x + attend(norms[2 * b](x).numpy(), attention[b], lambda A, b=b: tamper(A, b))
        x = x + dense[2 * b + 1](dense[2 * b](norms[2 * b + 1](x))).numpy()
    pooled = norms[-1](x).numpy().mean(axis=1)
    return dense[-1](pooled).numpy().ravel()


# %% tags=["nbval-check-output"]
maps = {}


def keep(A, b):
    maps[b] = A
    return A


as_it_is = by_hand(keep)
by_keras = network.predict(look.images, verbose=0).ravel()
print("equal to 1e-5:", np.abs(as_it_is - by_keras).max() < 1e-5)

# %% [markdown]
# Two blocks with four heads each make eight maps for every slice; we take the mean over the 64 tokens that ask. Which head gives most of its
# weight to the tumour? A token of the stem sees more than its patch: three convolutions of 3 x 3 with stride 2 see 15 x 15 pixels
# ([lesson 06](06_convolution.ipynb)), from the patch's upper left corner on, so 7 pixels beyond the patch to the right and downwards. A token counts as
# "on the tumour" if a quarter of what it sees is tumour.

# %%
padded = np.pad(look.masks > 0, ((0, 0), (0, 7), (0, 7)))
seen = np.lib.stride_tricks.sliding_window_view(padded, (15, 15), axis=(1, 2))
covered = seen[:, ::8, ::8].mean(axis=(3, 4)).reshape(-1, 64) >= 0.25

# %%
shows = covered.any(axis=1)  # slices with a tumour that some token sees well
asked = {(b, h): maps[b][:, h].mean(axis=1) for b in range(2) for h in range(4)}
points = {head: (a * covered)[shows].sum(axis=1).mean() for head, a in asked.items()}
best = max(points, key=points.get)

# %% tags=["plumbing"]
sure = np.flatnonzero(shows & (as_it_is > 0.5))
area = (look.masks[sure] > 0).sum(axis=(1, 2))
chosen = sure[np.argsort(area)[[-2, len(sure) // 2, len(sure) // 4]]]
fig, axes = plt.subplots(2, 3, figsize=(7, 4.9))
for (top, bottom), row in zip(axes.T, chosen, strict=True):
    top.imshow(look.images[row, ..., -1], **WINDOW)
    shades = draw_weights(bottom, look.images[row], asked[best][row])
    top_token = asked[best][row].argmax()
    corner = EDGES[top_token % 8], EDGES[top_token // 8]
    bottom.add_patch(plt.Rectangle(corner, 15, 15, fill=False, ec=plotting.GREEN, lw=2))
    bottom.set(xlim=(-0.5, 63.5), ylim=(63.5, -0.5))
    for ax in (top, bottom):
        plotting.outline(ax, look.masks[row], colour=plotting.SKY)
        ax.set_axis_off()
draw_bar(fig, shades, axes[1])
fig.supxlabel("above: FLAIR, window 0.25 (black) to 0.7 (white); blue: outline of the tumour\ngreen: what the token with the largest weight sees", fontsize=10, color=plotting.GREY)
plotting.show(fig, alt="Three validation slices with outlined tumours; below, the weights of one head, with the same outlines. Most weight is on "
              "patches at the tumours.")

# %% tags=["plumbing"]
alike = covered[shows].mean()
ledger.say(
    "This is head {h} of block {b}, in three slices that the network got right. Over all slices whose tumour fills a quarter of what some token sees, "
    "**{share:.0%}** of its weight lies on tokens that count as on the tumour; only {cover:.0%} of the tokens do.",
    h=best[1] + 1, b=best[0] + 1, share=points[best], cover=alike,
)

# %% [markdown]
# Drawn over its patch, the weight may lie *beside* the tumour: the green frame shows what that token really sees. The network learnt only from "tumour" and "no
# tumour", and yet this head finds the place. It is tempting to print such a map next to the answer, as its reason. (The
# slider shows single patches that ask, in any head.)

# %% tags=["plumbing"]
import ipywidgets


def one_row(patch=27, head=1):
    b, h = divmod(head - 1, 4)
    fig, (left, right) = plt.subplots(1, 2, figsize=(6, 3))
    draw_patches(left, look.images[chosen[0]], patch)
    draw_weights(right, look.images[chosen[0]], maps[b][chosen[0], h, patch])
    plotting.show(fig, alt="A patch that asks, and the weights of its row in one head.")


_ = ipywidgets.interact(one_row, patch=(0, 63), head=(1, 8))

# %% [markdown]
# ### What such a map does not prove
#
# A map is a reason for the answer only if the answer depends on it. That can be tested: take one head, make all its weights equal, 1/64, so that
# it looks everywhere alike, and leave the rest of the network alone. How far do the probabilities move?
#
# > **Predict** Eight heads, each made blind in turn. Will a head that points at the tumour ever *not* matter?

# %%
def blind(head):
    """A change that makes one head look everywhere alike."""
    def tamper(A, b):
        if b == head[0]:
            A = A.copy()
            A[:, head[1]] = 1 / 64
        return A
    return tamper


# %%
moved = {head: np.abs(by_hand(blind(head)) - as_it_is).mean() for head in points}

# %% tags=["plumbing"]
fig, ax = plt.subplots(figsize=(5.6, 3.8))
for b, (colour, marker) in enumerate(((plotting.BLUE, "o"), (plotting.VERMILION, "s"))):
    heads = [head for head in points if head[0] == b]
    ax.plot([points[h] for h in heads], [moved[h] for h in heads], marker, color=colour, ms=9, label=f"block {b + 1}")
    for head in heads:
        ax.annotate(f"{head[1] + 1}", (points[head], moved[head]), xytext=(7, 3), textcoords="offset points", fontsize=10)
ax.axvline(alike, color=plotting.GREY, ls=":")
ax.set(xlabel="share of its weight on the tumour", ylabel="mean change of the probability\nwhen the head is blind")
ax.set(xlim=(0, None), ylim=(0, None))
ax.legend()
plotting.show(fig, alt="Eight heads: how much of their weight lies on the tumour, and how far the probabilities move when the head is made blind. "
              "Heads that point at tumours alike differ widely in how much they matter.")

# %% tags=["plumbing"]
auc = statistics.area_under_curve
pointing = [head for head in points if points[head] > points[best] / 2]
idle, busy = min(pointing, key=moved.get), max(pointing, key=moved.get)
before, without = (auc(look.labels == 1, p) for p in (as_it_is, by_hand(blind(idle))))
ledger.say(
    "The dotted line is what a head would reach by looking everywhere alike. Look at the heads on the right ({n} have more than half of the largest share). Head {c} of block {d} "
    "puts {other:.0%} of its weight on the tumour, and blind it moves the probabilities by {large:.3f} on average; head {a} of block {b} puts {share:.0%} there, and moves them by "
    "{small:.3f}. Without it, the AUC goes from {before:.3f} to {after:.3f}.",
    n=len(pointing), c=busy[1] + 1, d=busy[0] + 1, other=points[busy], large=moved[busy], a=idle[1] + 1, b=idle[0] + 1, share=points[idle], small=moved[idle],
    before=before, after=without,
)

# %% [markdown]
# So where a head looks does not say how much it matters: heads further to the right do not simply stand higher. With another seed they stand elsewhere, and there may be no idle head at all. The map cannot tell
# you. The experiment tells more, but not all: another head may step in for the blind one. And weights say only *from where*
# values are fetched, not what is in them: after a stem and a block, a token holds news from far outside its patch. Researchers
# disagree: [Jain and Wallace 2019](https://arxiv.org/abs/1902.10186) say that attention is no explanation, [Wiegreffe and Pinter
# 2019](https://aclanthology.org/D19-1002) that it depends on what one calls one. Lesson 20 compares other ways to explain.
#
# Do the maps matter at all? Make *all* heads blind, or give every slice the maps of another patient's slice.

# %%
def all_blind(A, b):
    return np.full_like(A, 1 / 64)


def of_another(A, b):
    return np.roll(A, len(A) // 2, axis=0)  # half a set further: another patient


def auc_with(tamper):
    return statistics.area_under_curve(look.labels == 1, by_hand(tamper))


blind_auc, another_auc = auc_with(all_blind), auc_with(of_another)

# %% tags=["plumbing"]
ledger.say(
    "AUC on these slices: {before:.2f} as it is, **{blind:.2f}** with all heads blind, **{another:.2f}** with the maps of another patient.",
    before=before, blind=blind_auc, another=another_auc,
)

# %% [markdown]
# So the maps matter together, at least in this training. (Part of the loss is the shock: the network was never trained to live without them. What attention is *worth*,
# only a network trained without it would tell.)
#
# **Exercise 10.3: shuffle.** A third way to tamper: every row keeps its weights, but gives them to the wrong tokens. Write a function that takes `A`,
# shape `(n, heads, t, t)`, and returns a copy in which the weights of each row stand in random order, another order for every row. Then run
# `auc_with(lambda A, b: shuffled(A))`. Is that worse than blind? ([Solution](solutions/10_transformers.ipynb))
#
# > **Hint** NumPy's generators have `permutation`, `shuffle` and `permuted`. Which one treats every row by itself?


# %% tags=["exercise"]
def shuffled(A):
    return ...  # your code here


# %% tags=["solution"]
def shuffled(A):
    return np.random.default_rng(0).permuted(A, axis=-1)


print(f"AUC shuffled: {auc_with(lambda A, b: shuffled(A)):.2f}, blind: {blind_auc:.2f}")

# %%
check.exercise("10.3", shuffled)

# %% [markdown]
# ## Hunger for data
#
# A convolution knows from the start that neighbours belong together, and that a tumour looks alike everywhere. On plain patches, all of
# which share the same weights, a Transformer must still learn which pixels and which patches are neighbours, and that a tumour
# moved by a few pixels is still a tumour. [Dosovitskiy and others](https://arxiv.org/abs/2010.11929) found theirs behind convolutional networks until they trained it on
# many millions of images. And with 300 to 2,040? One training would not tell, so there is a study (`studies/transformer.toml`):
#
# - the Transformer with a stem, one with plain patches, the CNN of [lesson 08](08_first_cnn.ipynb), the hand-made features of [lesson
#   05](05_classical_baseline.ipynb);
# - 300, 1,000 or all 2,040 images of the training and validation patients, always whole patients; ten trainings each, the same patients for all models;
# - about 500 steps of 32 images for every network at every size, well over twice the images seen above, and more random changes of them;
# - learning rates found beforehand on validation patients (three or four were tried for each Transformer); this lesson's test patients.
#
# > **Predict** Draw four curves, AUC against the number of training images. Does the Transformer with a stem meet the CNN?

# %%
from coursekit import studies

study = studies.load_study("transformer")  # None where only the package is installed

# %% tags=["plumbing"]
LABELS = {"cnn": "CNN", "vit": "Transformer with stem", "classical": "hand-made features", "vit_patches": "Transformer, plain patches"}
COLOURS = dict(zip(LABELS, (plotting.VERMILION, plotting.BLUE, plotting.GREEN, plotting.PURPLE), strict=True))


def draw_study(ax):
    rows = studies.table(study)
    sizes = study.records.groupby("n_train", sort=False)["n_images"].mean()
    for k, (model, label) in enumerate(LABELS.items()):
        curve = rows[rows["what"] == model]
        ax.plot(sizes, curve["value"], color=COLOURS[model], label=label)
        ax.fill_between(sizes, curve["low"], curve["high"], color=COLOURS[model], alpha=0.15, lw=0)
        for place, size in zip(sizes, sizes.index, strict=True):
            each = [auc(study.labels == 1, scores) for scores in study.scores[model, size]]
            ax.plot([place * (0.97 + 0.02 * k)] * len(each), each, "o", ms=4, fillstyle="none", color=COLOURS[model])
    ax.plot(len(train), live.value, "*", ms=15, color=COLOURS["vit"], mec="k", ls="none", zorder=5, label="this lesson's training")
    ax.set(xscale="log", xlabel="training images", ylabel="AUC on test patients", ylim=(0.3, 1))
    ax.set_xticks([300, 1000, 2040], ["300", "1,000", "2,040"])
    ax.minorticks_off()


# %% tags=["plumbing"]
if study:
    fig, ax = plt.subplots(figsize=(6.5, 4.8))
    draw_study(ax)
    ax.axhline(0.5, color=plotting.GREY, ls=":")
    fig.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=10)
    plotting.show(fig, alt="Test AUC against training images. The CNN is on top at every size. The Transformer with a stem starts scattered at 300 "
                  "images, one training below guessing, and lies a little below the CNN at 1,000 and 2,040, above the hand-made features. Plain "
                  "patches average below 0.6; two trainings at 300 and two at 1,000 images lie between 0.74 and 0.85. A star: this lesson's training.", save="10_learning_curves")

# %% [markdown]
# Lines are means of ten trainings, circles single ones (moved a little sideways), pale bands 95 % intervals for the mean, over trainings *and* test
# patients ([lesson 05](05_classical_baseline.ipynb)). The star was trained for less long, and on fewer images. Here is
# the Transformer with a stem minus each other model, on the same patients, with 95 % intervals:

# %% tags=["plumbing"]
def draw_differences(ax, other, title):
    for height, n in enumerate((300, 1000, "all")):
        found = studies.compare(study, "vit", other, at=n)
        ends = [[found.value - found.low], [found.high - found.value]]
        colour = "black" if found.low > 0 or found.high < 0 else plotting.GREY
        ax.errorbar(found.value, height, xerr=ends, fmt="o", capsize=4, color=colour)
        said = f"{found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"
        ax.annotate(said, (1.02, height), xycoords=("axes fraction", "data"), va="center", fontsize=11, color=colour)
    ax.axvline(0, color="k", ls=":", lw=1, zorder=0), ax.set_yticks(range(3), ["300", "1,000", "2,040"])
    ax.set(ylim=(2.5, -0.5), title=f"minus {title}", xlim=(-0.25, 0.55), ylabel="training images")


if study:
    fig, axes = plt.subplots(3, 1, figsize=(6.2, 6), sharex=True)
    for ax, other in zip(axes, ("cnn", "vit_patches", "classical"), strict=True):
        draw_differences(ax, other, LABELS[other])
    axes[-1].set_xlabel("AUC of the Transformer with stem, minus the other's")
    plotting.show(fig, alt="Differences of AUC with 95 % intervals. Minus the CNN: below zero at 1,000 and 2,040 images, the interval holds zero at 300. "
                  "Minus plain patches: far above zero at every size. Minus hand-made features: above zero at 1,000 and 2,040, holds zero at 300.")

# %% [markdown]
# Black intervals exclude zero, grey ones do not.
#
# - **Against the CNN**: with 1,000 and with 2,040 images the Transformer is behind, by about two hundredths. With 300 no difference is shown: single trainings scatter, and one
#   (the lowest blue circle) ended below guessing.
# - **Against hand-made features**: ahead with 1,000 and 2,040 images; with 300 no difference is shown.
# - **Against plain patches**: far ahead at every size. In 500 steps, most trainings on plain patches learn little. Whether they need more images, more steps or
#   another recipe, the study cannot say.
#
# And our first question? With 1,000 and 2,040 images this Transformer is not as good as the CNN; with 300 the study cannot tell. That holds for small networks, short
# trainings and a simulation, not for large Transformers trained on millions of images (lesson 24).

# %% [markdown]
# **In this lesson we**
#
# - computed attention from its equation, equal to Keras;
# - saw why scores are divided by $\sqrt d$, and that without places the tokens are a bag: sides cannot be told;
# - built a vision Transformer of two blocks with a convolutional stem, and tested it once;
# - tampered with its maps: where a head points does not tell how much it matters for the answer;
# - compared it with a CNN: behind with 1,000 and 2,040 images, no difference shown with 300.
#
# `simbrain` is a simulation from one template: it compares methods, and says nothing of real patients.
#
# **Next** come networks that make images instead of judging them: [lesson 11](11_generative_adversarial_networks.ipynb), generative adversarial
# networks, where a classifier judges what they make.
#
# **References**
#
# - A. Vaswani and others: Attention is all you need, *NeurIPS* 2017, [arXiv:1706.03762](https://arxiv.org/abs/1706.03762).
# - A. Dosovitskiy and others: An image is worth 16x16 words: Transformers for image recognition at scale, *ICLR* 2021,
#   [arXiv:2010.11929](https://arxiv.org/abs/2010.11929).
# - T. Xiao and others: Early convolutions help Transformers see better, *NeurIPS* 2021, [arXiv:2106.14881](https://arxiv.org/abs/2106.14881).
# - J. L. Ba, J. R. Kiros, G. E. Hinton: Layer normalization, 2016, [arXiv:1607.06450](https://arxiv.org/abs/1607.06450).
# - S. Jain, B. C. Wallace: Attention is not explanation, *NAACL* 2019, [arXiv:1902.10186](https://arxiv.org/abs/1902.10186).
# - S. Wiegreffe, Y. Pinter: Attention is not not explanation, *EMNLP* 2019, [doi:10.18653/v1/D19-1002](https://doi.org/10.18653/v1/D19-1002).
# - S. C. Seiden, P. Barach: Wrong-side/wrong-site, wrong-procedure, and wrong-patient adverse events, *Archives of Surgery* 141 (2006)
#   931-939, [summary](https://psnet.ahrq.gov/issue/wrong-sidewrong-site-wrong-procedure-and-wrong-patient-adverse-events-are-they-preventable).

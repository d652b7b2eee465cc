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
example = 137  # a training slice with a tumour
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
asked = [j for j in range(64) if image[j // 8 * 8 :, j % 8 * 8 :][:8, :8].max() > 0 and j != in_tumour]
for j in asked:
    ends = [[4 + 8 * (k % 8), 4 + 8 * (k // 8)] for k in (in_tumour, j)]
    axes[2].plot(*np.transpose(ends), color=plotting.ORANGE, lw=0.7, alpha=0.8)
for ax, title in zip(axes, ("a slice, its tumour outlined", "64 patches", "one patch asks the others"), strict=True):
    ax.set_title(title, fontsize=11)
    ax.set_axis_off()
fig.supxlabel("FLAIR, window 0.25 (black) to 0.7 (white)", fontsize=10, color=plotting.GREY)
plotting.show(fig, alt="A FLAIR slice with an outlined tumour; the same slice cut into 8 by 8 square patches; lines from the "
              "patch in the tumour to all other patches of the brain.")

# %% [markdown]
# **You will**
#
# - compute attention by hand, and show that NumPy and Keras agree to 1e-5;
# - show why its scores are divided by a square root, and that it does not know where anything is;
# - build a small vision Transformer, train it, and test it once, on new patients;
# - lay attention over images, and tamper with it to see what such a map is worth;
# - read from a study how many images a Transformer needs.
#
# **Reading:** about 45 min · **running:** about 30 s · **builds on:** [06](06_convolution.ipynb) (convolution),
# [07](07_learning.ipynb) (softmax, gradient), [08](08_first_cnn.ipynb) (a network, trained and tested)
#
# The images are `simbrain`'s simulated slices ([lesson 02](02_mr_simulation.ipynb)) in three contrasts, T1, T2 and
# FLAIR. Half of the virtual patients have a tumour. The lesson draws its own test patients; nothing looks at them
# before the test.
#
# ## Tokens
#
# A Transformer takes a list of vectors, called **tokens**. In a text they stand for words, here for patches of 8 x 8
# pixels. We begin with the simplest description of a patch: its mean in each contrast, three numbers.

# %%
def patch_means(images):
    """(n, 64, 64, 3) becomes (n, 64 patches, 3)."""
    cut = images.reshape(-1, 8, 8, 8, 8, 3)  # image, row, row inside, column, column inside, contrast
    return cut.mean(axis=(2, 4)).reshape(-1, 64, 3)


# %% [markdown]
# We standardise them ([lesson 04](04_grey_values_and_leaks.ipynb)): over all training patches, each contrast gets mean 0
# and standard deviation 1.

# %% tags=["nbval-check-output"]
means = patch_means(train.images)
middle, spread = means.mean(axis=(0, 1)), means.std(axis=(0, 1))
tokens = (means - middle) / spread
tokens.shape

# %% [markdown]
# ## Attention
#
# Attention works like a search in a library. Each token sends out a **query**: what am I looking for? Each token shows a
# **key**: what do I have to offer? And each holds a **value**: what do I hand over? All three are vectors. The query
# $q$ of one token is compared with the key $k_j$ of every token $j$ by a dot product, which gives the score $s_j$.
# Softmax ([lesson 07](07_learning.ipynb)) turns scores into weights $a_j$ that add up to 1. The answer $y$ is the mean
# of the values $v_j$ with these weights:
#
# $$s_j = \frac{q \cdot k_j}{\sqrt d}, \qquad a_j = \frac{e^{s_j}}{\sum_i e^{s_i}}, \qquad y = \sum_j a_j v_j$$
#
# Here $d$ is the length of queries and keys; we shall see what its root is good for. Put all queries into the rows of a
# table $Q$, keys into $K$, values into $V$, and the answers of all tokens are
#
# $$Y = A V, \qquad A = \mathrm{softmax}\left(\frac{Q K^\top}{\sqrt d}\right)$$
#
# ([Vaswani and others 2017](https://arxiv.org/abs/1706.03762), equation 1). Softmax is taken row by row: row $t$ of the
# **attention map** $A$ says how much token $t$ takes from each token.

# %%
def softmax(scores):
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))  # the largest becomes 1: no overflow
    return powers / powers.sum(axis=-1, keepdims=True)


def attention_map(q, k):
    """Queries and keys (..., tokens, d) give weights (..., tokens, tokens)."""
    return softmax(q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1]))


# %% [markdown]
# Nothing is learnt yet. Let query and key both be the patch itself, stretched to length 5. Then the dot product is
# largest for patches whose three means stand in the same proportion: each patch looks for its like.

# %% tags=["nbval-check-output"]
own = tokens[example]
own = 5 * own / np.linalg.norm(own, axis=-1, keepdims=True)
A = attention_map(own, own)
print("map", A.shape, " sums of its rows:", A.sum(axis=-1).min().round(6), "to", A.sum(axis=-1).max().round(6))

# %% [markdown]
# > **Predict** The patch that asks moves over the slice. Where will the weights be large when it lies in the background? In
# > the tumour?

# %% tags=["plumbing"]
def overlay(ax, picture, weights, *, most):
    """Lay 64 weights over a FLAIR slice."""
    ax.imshow(picture[..., -1], **WINDOW)
    shades = ax.imshow(weights.reshape(8, 8), cmap="inferno", vmin=0, vmax=most, alpha=0.6, extent=(-0.5, 63.5, 63.5, -0.5))
    ax.set_axis_off()
    return shades


def asking():
    """Frames: the query goes along a path; its row of the map lies over the slice."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(6.2, 3.2))
    path = [in_tumour, 0, 9, 18, 19, 20, 21, 29, 37, 36, 35, 34, 42, 43, 44, 53, 62, in_tumour]
    bar = None
    for query in path:
        left.clear(), right.clear()
        draw_patches(left, image, query)
        shades = overlay(right, image, A[query], most=0.1)
        left.set_title("the patch that asks", fontsize=11)
        right.set_title("what it attends to", fontsize=11)
        bar = bar or fig.colorbar(shades, ax=right, shrink=0.8, label="weight")
        yield fig


plotting.show_animation(
    asking(), milliseconds=500,
    alt="A framed patch moves over a slice. Beside it the weights of its row: in the background it attends to the background, in "
        "the tumour to the tumour and to other bright patches, in healthy tissue to similar tissue on both sides.",
)

# %% [markdown]
# A patch of background attends to the background, a patch of tissue to tissue like it, on *both* sides of the head: one
# step reaches across the whole image. The patch in the tumour (first picture) attends to the tumour. That reach has a
# price: $A$ has a number for every pair of patches.
#
# > **Predict** How many times more numbers has $A$ if patches have 4 x 4 pixels instead of 8 x 8?

# %% tags=["nbval-check-output"]
for side in (16, 8, 4, 2):
    n = (64 // side) ** 2
    print(f"patches of {side:2d} pixels: {n:5,} tokens, map of {n * n:9,} numbers")

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
# Take queries and keys of random numbers with mean 0 and variance 1. Their dot product is a sum of $d$ products, each with
# variance 1, so its variance is $d$ and its standard deviation $\sqrt d$. We draw one query and 64 keys, many times over.
#
# > **Predict** For $d$ = 256: how large is the largest of the 64 weights, typically, without the division by $\sqrt d$?
# > Without any preference it would be 1/64.

# %% tags=["nbval-check-output"]
rng = np.random.default_rng(seed)
print("   d  spread of scores  largest weight: not divided  divided")
for d in (4, 16, 64, 256):
    q, k = rng.normal(size=(1000, 1, d)), rng.normal(size=(1000, 64, d))
    scores = (q @ k.swapaxes(1, 2))[:, 0]
    raw, divided = (softmax(each).max(axis=1).mean() for each in (scores, scores / np.sqrt(d)))
    print(f"{d:4d}  {scores.std():16.1f}  {raw:27.2f}  {divided:7.2f}")

# %% [markdown]
# Not divided, long vectors give one random key nearly all the weight, for no reason. Worse, softmax then hardly moves: when
# a score changes, its own weight changes at the rate $a_j (1 - a_j)$, which is nearly zero for weights near 0 or 1. Training
# would get almost no gradient, as with the flat ends of a sigmoid ([lesson 07](07_learning.ipynb)). Divided, the largest weight is the same for
# all $d$.
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
    q, k, v = (project(x, each) for each in (layer.query_dense, layer.key_dense, layer.value_dense))
    A = tamper(attention_map(q, k))  # (n, h, t, t); left alone here, changed further down
    kernel, bias = layer.output_dense.get_weights()  # (h, d, w) and (w,)
    return np.einsum("nhtd,hdw->ntw", A @ v, kernel) + bias


# %% [markdown]
# (`einsum` multiplies and adds up over the letters that the result does not have.) The layer of Keras has random weights, and we
# give random tokens to both:

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
# > **Predict** What happens to the answers?

# %% tags=["nbval-check-output"]
order = rng.permutation(64)
shuffled = attend(x[:, order], layer)
print("answers shuffled alike:", np.abs(shuffled - attend(x, layer)[:, order]).max() < 1e-5)

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
# That matters. Ask **on which side is the tumour?** Mixing up sides is among the
# [gravest errors](https://www.jointcommission.org/standards/universal-protocol/) in medicine. We take all slices with a
# tumour, and the mirror image of each: same bag, opposite answer.

# %%
def sides(split):
    """Tokens of slices with a tumour and of their mirror images; 1 where it is on the right of the picture."""
    masks = split.masks > 0
    column = (masks.sum(axis=1) * np.arange(64)).sum(axis=1) / masks.sum(axis=(1, 2)).clip(1)
    clear = masks.any(axis=(1, 2)) & (np.abs(column - 31.5) > 3)  # not in the middle
    images, right = split.images[clear], column[clear] > 31.5
    images = np.concatenate([images, images[:, :, ::-1]])
    return (patch_means(images) - middle) / spread, np.concatenate([right, ~right])


# %% [markdown]
# The network: a dense layer, attention, one more dense layer, the largest value over all tokens, a sigmoid. Its first layer
# is left open.

# %%
def side_auc(first, tokens_of=lambda tokens: tokens):
    """Train on the training patients; AUC on the validation patients."""
    (x, right), (x_new, right_new) = sides(train), sides(validation)
    inputs = keras.Input(tokens_of(x).shape[1:])
    x_t = first(inputs)
    x_t = x_t + layers.MultiHeadAttention(2, 8)(x_t, x_t)
    pooled = layers.GlobalMaxPooling1D()(layers.Dense(64, activation="gelu")(x_t))
    network = keras.Model(inputs, layers.Dense(1, activation="sigmoid")(pooled))
    network.compile(keras.optimizers.Adam(5e-3), loss="binary_crossentropy")
    network.fit(tokens_of(x), right, batch_size=64, epochs=8, verbose=0)
    scores = network.predict(tokens_of(x_new), verbose=0).ravel()
    return statistics.area_under_curve(right_new, scores)


# %%
keras.utils.set_random_seed(seed)
print(f"AUC without places: {side_auc(layers.Dense(32)):.3f}")

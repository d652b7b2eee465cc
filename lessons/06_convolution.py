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
# # 06 Convolution from first principles
#
# A tumour can sit anywhere in a brain. A program that looks for it should therefore do the same thing
# at every place of the image, and do it with few numbers that are easy to learn from few patients.
# **Convolution** is that operation: a small window of weights that slides over the image. This
# lesson asks what a convolutional layer computes, exactly, and what follows from it. Whoever can
# work out a layer by hand can tell a right one from a wrong one. A network that is built wrongly still
# gives an answer, and here the answer is about a patient.
#
# **You will**
#
# - compute a convolutional layer by hand and in NumPy, and show that it equals Keras's to 1e-5;
# - predict the size of its output, its number of weights, and how much of the image it sees;
# - derive its gradient, check it twice, and use it to learn a filter from examples;
# - explain sigmoid, softmax and cross-entropy, and why their gradient is simply $p - y$;
# - measure when a shifted image gives a shifted answer, and when it does not.
#
# **Reading:** about 60 min · **running:** about 20 s on two CPU cores · **builds on:** Python and
# NumPy; 01 (what a grey value in a magnetic resonance image means) helps

# %% tags=["install"]
import medlib

# %% tags=["parameters"]
n_subjects = 60  # virtual patients
image_size = 64  # pixels; a multiple of 8, from 64 to 128
epochs = 20  # of the small network at the end
seed = 0  # of random numbers and initial weights

# %%
parameters = {"n_subjects": n_subjects, "image_size": image_size, "epochs": epochs, "seed": seed}

# %% [markdown]
# ## One image to work on
#
# The images are `simbrain`: simulated **magnetic resonance** (MR) slices of virtual patients, made from one
# anatomical template. Each slice is shown in three **contrasts**, T1, T2 and FLAIR: three settings of
# the scanner in which the same tissue comes out in different greys. Half of the patients have a tumour. All that
# this lesson says about *operations* holds for any image; nothing in it says how well a network would do in a
# hospital.

# %%
from medlib import training

training.set_seed(seed)  # imports Keras quietly, then seeds Python, NumPy and TensorFlow
import keras
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from coursekit import ledger
from medlib import plotting
from medlib.datasets.simbrain import load_simbrain

plotting.use_style()

# %%
rng = np.random.default_rng(seed)
data = load_simbrain(n_subjects=n_subjects, image_size=image_size)

# %% [markdown]
# We take the training slice with the largest tumour, and from it the T2 contrast: in T2, fluid is bright. The forehead is
# at the top.

# %%
example = int(data.train.masks.sum(axis=(1, 2)).argmax())
contrasts = data.train.images[example]  # (height, width, 3)
brain = contrasts[..., 1]  # T2: (height, width)
fig = plotting.image_grid(
    np.moveaxis(contrasts, -1, 0), titles=list(data.channel_names), columns=3
)
plotting.outline(fig.axes[2], data.train.masks[example])
plotting.show(fig, alt="The same slice of one virtual patient in the contrasts T1, T2 and FLAIR. In "
              "FLAIR the simulation's outline of the tumour is drawn.")

# %% [markdown]
# To the computer the T2 slice is a table of numbers between 0 (black) and 1 (white). One pixel is a few
# millimetres wide at this size.

# %%
spacing_mm = data.train.table["row_spacing_mm"][0]
ledger.say("Shape {shape}, one pixel is {mm:.1f} mm wide, values from {low:.2f} to {high:.2f}.",
           shape=brain.shape, mm=spacing_mm, low=brain.min(), high=brain.max())

# %% [markdown]
# ## The sum
#
# A **kernel** (also called filter) is a small table of weights, here $k \times k$. Lay it on the image with its
# top left corner on pixel $(i, j)$. Multiply each weight by the pixel under it and add everything up. The
# result is one number of the output, called **feature map**:
#
# $$y_{ij} = b + \sum_{u=0}^{k-1} \sum_{v=0}^{k-1} x_{i+u,\,j+v}\; w_{uv}$$
#
# Here $x$ is the image, $w$ the kernel, $b$ a constant called **bias**, and $u, v$ count rows and columns of the
# kernel (Goodfellow, Bengio and Courville 2016, equation 9.6, there without bias). Then move the kernel by one
# pixel and do it again.
#
# Laid this way, output $(i, j)$ belongs to the pixel under the kernel's middle. With `same` padding (below) the two get
# the same index.
#
# The kernel below subtracts what is left of a pixel from what is right of it. (It is Sobel's: the middle
# row counts twice.)

# %%
right_minus_left = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 4
right_minus_left

# %% [markdown]
# We try it on 5 x 5 pixels at the left edge of the brain, where dark background meets the bright rim.
# (The images hold the brain alone: the skull has been taken away, as is often done.)

# %%
row = image_size // 2
left = int(np.flatnonzero(brain[row] > 0.3)[0]) - 2
patch = brain[row - 2 : row + 3, left - 1 : left + 4].round(2)
products = patch[1:4, 1:4] * right_minus_left  # the kernel laid on the middle of the patch
output = np.array([[np.sum(patch[i : i + 3, j : j + 3] * right_minus_left) for j in range(3)]
                   for i in range(3)])

# %% [markdown]
# A helper draws a table of numbers in colour.

# %%
def number_table(ax, values, title, box=None, limit=1.0, digits=2):
    """Draw a small table of numbers on its colours, with a box around some of them."""
    ax.imshow(values, cmap="PuOr_r", vmin=-limit, vmax=limit)
    for (i, j), value in np.ndenumerate(values):
        colour = "white" if abs(value) > 0.7 * limit else "black"
        ax.text(j, i, f"{round(value, digits) + 0:.{digits}f}", color=colour, ha="center", va="center", fontsize=13)
    if box:
        ax.add_patch(plt.Rectangle(box[0], *box[1], fill=False, edgecolor="black", linewidth=3))
    ax.set(title=title, xticks=[], yticks=[])
    ax.grid(False)


# %% [markdown]
# > **Predict** The output has 3 x 3 numbers. Why not 5 x 5? Will they be positive, negative or zero?

# %%
fig, axes = plt.subplots(2, 2, figsize=(6.4, 6.8))
number_table(axes[0, 0], patch, "image x", box=((0.5, 0.5), (3, 3)))
number_table(axes[0, 1], right_minus_left, "kernel w")
number_table(axes[1, 0], products, f"x times w: sum {products.sum():.3f}", digits=3)
number_table(axes[1, 1], output, "output y", box=((0.5, 0.5), (1, 1)))
plotting.show(fig, alt="Four tables of numbers: 5 by 5 pixels with a 3 by 3 window marked, the kernel, the nine "
              "products of window and kernel, and the 3 by 3 output whose middle number is their sum. "
              "Orange is positive, purple negative, one scale from -1 to 1.")

# %% [markdown]
# The nine products below left add up to the framed number below right, which is rounded. A 3 x 3 kernel fits on 5 pixels
# at three places, so the output has three rows and columns. Where the pixels to the right of a place are
# brighter than those to its left the output is positive (orange); where they are darker it would be negative (purple).
# Where all nine pixels are background it is zero.
#
# Written out as a program, the equation is four nested sums; NumPy does the inner two.

# %%
def correlate_by_loops(x, w):
    """The sum, as the equation has it: x (height, width), w (k, k)."""
    k = len(w)
    y = np.zeros((x.shape[0] - k + 1, x.shape[1] - k + 1))
    for i in range(y.shape[0]):
        for j in range(y.shape[1]):
            y[i, j] = np.sum(x[i : i + k, j : j + k] * w)
    return y


# %% tags=["nbval-check-output"]
edges = correlate_by_loops(brain, right_minus_left)
print("image", brain.shape, "-> output", edges.shape)
print("same as the table above:", np.allclose(correlate_by_loops(patch, right_minus_left), output))

# %% [markdown]
# ### Is that a convolution?
#
# Honestly: no. Mathematicians call this sum **cross-correlation**. Their convolution walks through the kernel
# backwards, with a minus sign (equation 9.5 of the same book):
#
# $$(w * x)_{ij} = \sum_{u} \sum_{v} x_{i-u,\,j-v}\; w_{uv}$$
#
# That is the same as turning the kernel by 180 degrees first. SciPy has both.
#
# > **Predict** Which of SciPy's two functions does our program equal? And which one does Keras's `Conv2D`
# > equal, given its name?
#
# Keras wants arrays of shape (images, height, width, channels); our slice is one image with one channel. Indexing
# with `None` adds such an axis of length 1.

# %%
def keras_convolution(x, w, b, **options):
    """What keras.layers.Conv2D gives for these weights: x (n, height, width, channels)."""
    layer = keras.layers.Conv2D(w.shape[-1], w.shape[:2], **options)
    layer.build(x.shape)
    layer.set_weights([w, b])
    return keras.ops.convert_to_numpy(layer(x.astype("float32")))


# %% tags=["nbval-check-output"]
from scipy import signal

from_keras = keras_convolution(brain[None, :, :, None], right_minus_left[:, :, None, None], np.zeros(1))
for name, result in (("our program", edges), ("Keras's Conv2D", from_keras[0, :, :, 0])):
    for function in (signal.correlate2d, signal.convolve2d):
        same = np.allclose(result, function(brain, right_minus_left, mode="valid"), atol=1e-5)
        print(f"{name:14s} = scipy.signal.{function.__name__}: {same}")
turned_kernel = right_minus_left[::-1, ::-1]
print("our program    = convolve2d with the kernel turned:",
      np.allclose(edges, signal.convolve2d(brain, turned_kernel, mode="valid")))

# %% [markdown]
# Keras's convolution is a cross-correlation, and so is PyTorch's. For a network it
# makes no difference: the weights are learnt, and a flipped kernel can be learnt as easily. It does
# make a difference when you type in a kernel from a book. From here on we say convolution, as everybody does.
#
# ## Filters at work
#
# What a kernel does can often be read from its numbers. Here are four.
#
# | kernel | weights | they add up to |
# |---|---|---|
# | blur | 25 times 1/25 | 1 |
# | right minus left | as above | 0 |
# | below minus above | the same, transposed | 0 |
# | detail | 1 in the middle, minus the blur | 0 |
#
# > **Predict** In a flat region all pixels are equal. What is the output there, for weights that add up to 1? To
# > 0? Which kernel will show the outline of the brain, and which the noise?
#
# `mode="same"` puts zeros around the image so that the output keeps its size; more on that below.

# %%
blur = np.full((5, 5), 1 / 25)
middle = np.zeros((5, 5))
middle[2, 2] = 1
kernels = {
    "blur": blur,
    "right minus left": right_minus_left,
    "below minus above": right_minus_left.T,
    "detail": middle - blur,
}
filtered = {name: signal.correlate2d(brain, w, mode="same") for name, w in kernels.items()}

# %%
fig = plotting.image_grid(
    np.stack([brain, filtered["blur"]]), titles=["T2 slice", "blur"], columns=2
)
plotting.show(fig, alt="The T2 slice and the same slice blurred: noise and fine detail are gone, large "
              "regions keep their grey.")

# %%
names = ["right minus left", "below minus above", "detail"]
fig = plotting.image_grid(
    np.stack([filtered[name] for name in names]), titles=names, columns=3, window=(-0.4, 0.4)
)
plotting.show(fig, alt="Outputs of three kernels whose weights add up to zero; grey is zero. Right minus left shows "
              "edges that run up and down, below minus above those that run across, detail shows "
              "every fine structure and the noise.")

# %% [markdown]
# Weights that add up to 1 keep the grey of a flat region; weights that add up to 0 turn it into 0, drawn mid-grey
# here. An edge filter answers to one direction: the first shows the sides of the brain, the second its top
# and bottom. Detail is what the blur took away: the outline all round, fine structure and the noise.
#
# Hand-made filters like these were the craft of image analysis for decades. A network replaces the craft by learning: its
# kernels start as random numbers, and the training data decides what they become.
#
# ## Borders, steps, channels
#
# ### Padding and stride
#
# The output above was smaller than the image. **Padding** adds $m$ rows and columns of zeros on each side
# first. **Stride** $s$ moves the kernel by $s$ pixels instead of one, which makes the output smaller. An image
# of side $h$ and a kernel of side $k$ give an output of side (Dumoulin and Visin 2016, relationship 6)
#
# $$o = \left\lfloor \frac{h + 2m - k}{s} \right\rfloor + 1$$
#
# Keras offers two choices: `padding="valid"` is $m = 0$; `padding="same"` pads just so much that $o = h / s$, rounded up.
# (In Python `-(-a // b)` is a / b rounded up.)
#
# > **Predict** An image of 64 pixels, a 3 x 3 kernel, stride 2, `"valid"`: what is the side of the output?

# %% tags=["nbval-check-output"]
square, rows = np.zeros((1, 64, 64, 1)), []
for k, s in ((3, 1), (3, 2), (5, 2), (7, 4)):
    w = np.zeros((k, k, 1, 1))
    valid, same = (keras_convolution(square, w, np.zeros(1), strides=s, padding=p).shape[1]
                   for p in ("valid", "same"))
    rows.append({"k": k, "s": s, "formula, m=0": (64 - k) // s + 1, "Keras valid": valid,
                 "64/s, up": -(-64 // s), "Keras same": same})
print(pd.DataFrame(rows).to_string(index=False))

# %% [markdown]
# Keras agrees with both formulas. With a 3 x 3 kernel and stride 2 on an image of even side, `"same"` needs one row and
# one column of zeros in total. They cannot be put on both sides. TensorFlow puts them *below and right*; PyTorch's
# padding of 1 puts zeros on both sides. The same weights then give another answer, without any error. Keep
# that in mind when you move a network from one library to another.
#
# ### Channels
#
# A colour picture has three numbers per pixel, and our slice has three contrasts. These are **channels**. A layer has a
# kernel for every pair of an input channel $c$ and an output channel $f$, and sums over the input channels too. With
# image number $n$ and stride $s$, this is the whole layer:
#
# $$y_{nijf} = b_f + \sum_{c} \sum_{u,v} x_{n,\;is+u,\;js+v,\;c}\; w_{uvcf}$$
#
# In NumPy: `sliding_window_view` gives every window of the image without copying it. `einsum` does the sum whose indices
# we write down. The letters before the arrow name the axes of its two arrays; a letter missing after the arrow is summed
# over.

# %%
from numpy.lib.stride_tricks import sliding_window_view


def convolve(x, w, b, stride=1):
    """Convolve x (n, height, width, c) with w (k, k, c, f) and add b (f,)."""
    windows = sliding_window_view(x, w.shape[:2], axis=(1, 2))[:, ::stride, ::stride]
    return np.einsum("nijcuv,uvcf->nijf", windows, w, optimize=True) + b


# %%
def pad_same(x, k, stride=1):
    """Pad x with zeros as TensorFlow does for padding="same"."""
    totals = [max((-(-side // stride) - 1) * stride + k - side, 0) for side in x.shape[1:3]]
    return np.pad(x, [(0, 0), *((total // 2, -(-total // 2)) for total in totals), (0, 0)])


# %% [markdown]
# These few lines should do what Keras does. We try random kernels on eight slices in three contrasts,
# for both paddings and two strides.

# %% tags=["nbval-check-output"]
x = data.train.images[:8]
w, b = rng.normal(0, 0.2, (5, 5, 3, 4)), rng.normal(0, 0.2, 4)
for padding, stride in (("valid", 1), ("valid", 2), ("same", 1), ("same", 2)):
    ours = convolve(pad_same(x, 5, stride) if padding == "same" else x, w, b, stride)
    theirs = keras_convolution(x, w, b, padding=padding, strides=stride)
    equal = ours.shape == theirs.shape and np.abs(ours - theirs).max() < 1e-5
    print(f"{padding:5s} stride {stride}: shape {ours.shape}, equal to 1e-5: {equal}")

# %% [markdown]
# Nothing is hidden in the layer: it is this sum.
#
# ### How many weights?
#
# A layer with $k \times k$ kernels, $C$ input and $F$ output channels has $(k^2 C + 1)\,F$ weights, whatever the size
# of the image. A **dense** layer connects every input number with every output number by a weight of its
# own.
#
# > **Predict** Three contrasts of 64 x 64 pixels in, 32 feature maps of the same size out. How many weights has the
# > convolution with 3 x 3 kernels? And a dense layer: thousands, millions or more?

# %% tags=["nbval-check-output"]
convolution_weights = (3 * 3 * 3 + 1) * 32
dense_weights = (64 * 64 * 3 + 1) * (64 * 64 * 32)
print(f"convolution: {convolution_weights:>13,}")
print(f"dense:       {dense_weights:>13,}  ({dense_weights * 4 / 1e9:.1f} GB as 32-bit numbers)")

# %% [markdown]
# A data set of a few hundred patients cannot determine more than a thousand million weights. Where does the
# saving come from? Write the convolution as a dense layer and look at its weights: flatten the image to a
# vector $x$, and find the matrix $A$ with $y = A x$. Column by column: switch on one pixel, see what comes out.

# %%
small_kernel = np.arange(1.0, 10.0).reshape(3, 3)  # nine different weights
columns = [correlate_by_loops(pixel.reshape(6, 6), small_kernel).ravel() for pixel in np.eye(36)]
matrix = np.stack(columns, axis=1)  # (16 outputs, 36 pixels)
fig, ax = plt.subplots(figsize=(7, 3.6))
shown = ax.imshow(np.where(matrix == 0, np.nan, matrix), cmap="viridis")
ax.set(xlabel="pixel of a 6 x 6 image", ylabel="number of the output", yticks=range(0, 16, 5))
ax.grid(False)
fig.colorbar(shown, label="weight")
plotting.show(fig, alt="The 16 by 36 matrix of a 3 by 3 convolution on a 6 by 6 image. Each row holds the same nine "
              "weights, shifted to the right from row to row; all other entries are zero (white).")

# %% [markdown]
# Two savings, both visible. Most entries are zero (white): an output sees only its **neighbourhood**. And every
# row holds the same nine numbers: the weights are **shared** between all places. A convolution is a dense layer
# that was told two things about images before it saw one: near pixels belong together, and a thing is the same thing
# wherever it is. That made networks for images practical (LeCun and others 1998).
#
# ## Between the convolutions
#
# ### Why there must be a bend
#
# > **Predict** Two convolutions, one after the other, with nothing in between. What can the pair do that a single
# > convolution cannot?

# %% tags=["nbval-check-output"]
first, second = rng.normal(size=(2, 3, 3))
two_steps = correlate_by_loops(correlate_by_loops(brain, first), second)
merged = signal.convolve2d(first, second)  # a 5 x 5 kernel
print("merged kernel:", merged.shape)
print("one step gives the same: ", np.allclose(two_steps, correlate_by_loops(brain, merged)))

# %% [markdown]
# Nothing: a sum of sums is a sum, here with one 5 x 5 kernel. Depth pays only if something that is not a
# sum stands between the layers. The usual choice is the **rectifier** $\mathrm{ReLU}(z) = \max(0, z)$: negative numbers
# become zero.
#
# ### Pooling
#
# **Max pooling** keeps the largest of each 2 x 2 numbers. It halves the side and has no weights. In NumPy it is a
# matter of cutting the image into blocks.

# %% tags=["nbval-check-output"]
def max_pool(x):
    """Largest of each 2 x 2 block: x (n, height, width, c), even sides."""
    n, height, width, c = x.shape
    return x.reshape(n, height // 2, 2, width // 2, 2, c).max(axis=(2, 4))


theirs = keras.ops.convert_to_numpy(keras.layers.MaxPooling2D()(x))
print(x.shape, "->", max_pool(x).shape, "  equal to Keras:", np.array_equal(max_pool(x), theirs))

# %% [markdown]
# ## How much does one output see?
#
# The **receptive field** of an output is the part of the image that can influence it. Each layer with
# kernel $k_l$ and stride $s_l$ widens it by $k_l - 1$ steps. A step is as many pixels as the product of all strides before
# (Araujo, Norris and Sim 2019):
#
# $$r_l = r_{l-1} + (k_l - 1)\prod_{i<l} s_i, \qquad r_0 = 1$$
#
# Pooling counts as a layer with $k = s = 2$. The product of all strides, the **total stride**, is the distance in the image
# between two neighbouring outputs. Here is the formula for the network of the next lesson, three times a
# 3 x 3 convolution with pooling.

# %%
def receptive_field(stack):
    """Receptive field after each layer, given as (name, kernel, stride)."""
    field, step, rows = 1, 1, []
    for name, kernel, stride in stack:
        field, step = field + (kernel - 1) * step, step * stride
        rows.append({"layer": name, "receptive field [px]": field, "total stride": step})
    return pd.DataFrame(rows)


# %%
stack = [("convolution", 3, 1), ("max pooling", 2, 2)] * 3
fields = receptive_field(stack)
fields["receptive field [mm]"] = (fields["receptive field [px]"] * spacing_mm).round()
fields

# %% [markdown]
# A formula can be mistaken, so we measure. The **gradient** of an output with respect to the image says how much the
# output changes when a pixel changes a little. Outside the receptive field it must be exactly zero. TensorFlow
# computes it; how, we shall see in the next section.
#
# > **Predict** Inside the receptive field, do all pixels count the same?

# %%
from keras import layers

blocks = [[layers.Conv2D(8, 3, padding="same", activation="relu"), layers.MaxPooling2D()]
          for _ in range(3)]
network = keras.Sequential([layers.Input((64, 64, 1)), *sum(blocks, [])])

# %% [markdown]
# We ask for one place of the 8 x 8 output, all eight channels added. ReLU and max pooling switch paths off, differently for
# each image, so we average over many random images. The `tape` records the operations.

# %%
import tensorflow as tf

noise = tf.constant(rng.random((256, 64, 64, 1), dtype="float32"))
with tf.GradientTape() as tape:
    tape.watch(noise)
    centre = network(noise)[:, 4, 4, :]  # one place of the 8 x 8 output
influence = np.abs(tape.gradient(centre, noise).numpy()).mean(axis=(0, 3))
rows, columns = np.nonzero(influence)

# %% tags=["nbval-check-output"]
print(f"measured: rows {rows.min()} to {rows.max()}, columns {columns.min()} to {columns.max()}, "
      f"a side of {np.ptp(rows) + 1} pixels; formula: {fields['receptive field [px]'].iloc[-1]}")

# %%
def draw_fields(ax):
    """Draw the receptive fields of the three convolutions as boxes around the middle."""
    for side, colour in zip(fields["receptive field [px]"].iloc[::2], plotting.COLOURS, strict=False):
        corner = (image_size / 2 - side / 2,) * 2
        ax.add_patch(plt.Rectangle(corner, side, side, fill=False, ec=colour, lw=3, label=f"{side} px"))


# %%
fig, axes = plt.subplots(1, 2, figsize=(8, 4.9))
axes[0].imshow(influence / influence.max(), vmin=0, vmax=1)
axes[1].imshow(brain, vmin=0, vmax=1)
for ax, title in zip(axes, ("influence on one output", "receptive fields"), strict=True):
    ax.set(title=title, xlabel="column [px]", ylabel="row [px]")
    ax.grid(False)
axes[0].add_patch(plt.Rectangle((24.5, 24.5), 22, 22, fill=False, ec=plotting.ORANGE, lw=2))
draw_fields(axes[1])
axes[1].legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=3, handlelength=1)
fig.supxlabel("windows from black to white: influence 0 to its largest, slice 0 to 1", fontsize=10)
plotting.show(fig, alt="Left: mean size of the gradient of one output with respect to each pixel; a bright middle fades "
              "out inside a square of 22 pixels, and outside it is zero. Right: the T2 slice with the receptive "
              "fields of the three convolutions, 3, 8 and 18 pixels.")

# %% [markdown]
# Left: the square after the last pooling. Right: after each convolution, drawn around the middle of the image.
# `ledger.record`, below, notes a result so that later runs can be compared with it. The *band*, computed from runs with
# several seeds, is where one more run should end.

# %%
inner = influence[30:42, 30:42].sum() / influence.sum()
ledger.record("06/inner_influence", inner, parameters, limits=(0, 1))
ledger.say("The inner 12 x 12 pixels, {area:.0%} of the square, hold **{inner_influence:.0%}** of the influence.",
           area=12**2 / 22**2)

# %% [markdown]
# The measured square is the formula's. But it is a border, not a description: pixels in the middle reach
# the output on many paths, those at the rim on few (Luo and others 2016). What a network *uses* is smaller than what it
# *can* see. For a tumour with its surroundings, plan the receptive field generously. (Our network is untrained; training
# can widen the part that is used.)
#
# ## The gradient, by hand
#
# Training changes each weight a little in the direction that makes a **loss** $L$ smaller: a number that says how wrong
# the outputs are. For that it needs the derivative of $L$ with respect to every weight. Suppose
# that the layers behind ours give us $G_{nijf} = \partial L / \partial y_{nijf}$, the gradient at the layer's output. The layer has to
# turn it into three others. From the sum above,
#
# $$\frac{\partial y_{nijf}}{\partial w_{uvcf}} = x_{n,\,is+u,\,js+v,\,c} \qquad
# \frac{\partial y_{nijf}}{\partial x_{n,\,is+u,\,js+v,\,c}} = w_{uvcf} \qquad
# \frac{\partial y_{nijf}}{\partial b_f} = 1$$
#
# and the chain rule adds over all the ways by which a number reaches the loss:
#
# $$\frac{\partial L}{\partial w_{uvcf}} = \sum_{n,i,j} x_{n,\,is+u,\,js+v,\,c}\,G_{nijf} \qquad
# \frac{\partial L}{\partial b_f} = \sum_{n,i,j} G_{nijf}$$
#
# $$\frac{\partial L}{\partial x_{npqc}} = \sum_{\substack{i,u:\; is+u=p \\ j,v:\; js+v=q}} \sum_f G_{nijf}\,w_{uvcf}$$
#
# In words: a weight collects the pixels it was laid on, each times the gradient of the output it went to. A
# pixel $(p, q)$ collects from every window that it was in. (With $s = 1$ the last sum runs through the kernel
# backwards: there is the mathematicians' convolution after all.)

# %%
def convolve_gradients(x, w, gradient, stride=1):
    """Gradients with respect to x, w and b, given the one at the output (n, i, j, f)."""
    k = len(w)
    windows = sliding_window_view(x, (k, k), axis=(1, 2))[:, ::stride, ::stride]
    for_w = np.einsum("nijcuv,nijf->uvcf", windows, gradient, optimize=True)
    for_x = np.zeros_like(x)
    height, width = (stride * size for size in gradient.shape[1:3])
    for u in range(k):
        for v in range(k):
            for_x[:, u : u + height : stride, v : v + width : stride] += gradient @ w[u, v].T
    return for_x, for_w, gradient.sum(axis=(0, 1, 2))


# %% [markdown]
# ### First check: change every number a little
#
# A derivative is what the loss does when one number $\theta$ changes by a small $\varepsilon$. The symmetric
# difference needs no theory, only patience (Press and others 2007, section 5.7):
#
# $$\frac{\partial L}{\partial \theta} \approx \frac{L(\theta + \varepsilon) - L(\theta - \varepsilon)}{2\varepsilon}$$
#
# We need some loss whose gradient at the output is known: $L = \sum \sin y$, so $G = \cos y$.

# %%
def differences(loss, array, epsilon):
    """Symmetric differences of loss() for every entry of an array, changed in place."""
    slopes = np.zeros_like(array)
    for place in np.ndindex(array.shape):
        kept = array[place]
        array[place] = kept + epsilon
        above = loss()
        array[place] = kept - epsilon
        slopes[place] = (above - loss()) / (2 * epsilon)
        array[place] = kept
    return slopes


# %% [markdown]
# The arrays are small, the sides are unequal and the stride is 2, so that a confusion of rows and columns, or a row
# left over at the border, would show.
#
# > **Predict** Which $\varepsilon$ comes closest: 0.1, 1e-5 or 1e-13?

# %%
x_small, w_small = rng.normal(size=(2, 8, 7, 2)), rng.normal(size=(3, 3, 2, 3))
b_small = rng.normal(size=3)


def small_loss():
    """Sum of the sines of the layer's outputs, with stride 2."""
    return np.sin(convolve(x_small, w_small, b_small, stride=2)).sum()


upstream = np.cos(convolve(x_small, w_small, b_small, stride=2))
by_hand = convolve_gradients(x_small, w_small, upstream, stride=2)

# %%
numbers = {}
for epsilon in (1e-1, 1e-5, 1e-13):
    slopes = [differences(small_loss, array, epsilon) for array in (x_small, w_small, b_small)]
    numbers[f"{epsilon:g}"] = [np.abs(a - n).max() for a, n in zip(by_hand, slopes, strict=True)]
table = pd.DataFrame(numbers, index=["image", "kernel", "bias"]).T
table.index.name = "epsilon"
table.map("{:.0e}".format)

# %% tags=["nbval-check-output"]
print("by hand and by differences agree to 1e-7:", bool(table.loc["1e-05"].max() < 1e-7))

# %% [markdown]
# The derivation is right: for $\varepsilon$ = 1e-5 the largest difference is tiny. A large $\varepsilon$ sees the curve of the
# loss, a very small one loses its digits in the subtraction of two almost equal numbers. If ever you check
# a gradient and it fails, check $\varepsilon$ before you doubt the formula.
#
# ### Second check: TensorFlow
#
# TensorFlow keeps a record of all operations (on a "tape") and applies the chain rule backwards. It should find
# the same three arrays.

# %% tags=["nbval-check-output"]
tensors = [tf.constant(array) for array in (x_small, w_small, b_small)]
with tf.GradientTape() as tape:
    tape.watch(tensors)
    y = tf.nn.conv2d(tensors[0], tensors[1], strides=2, padding="VALID") + tensors[2]
    loss = tf.reduce_sum(tf.sin(y))
for name, ours, theirs in zip(table, by_hand, tape.gradient(loss, tensors), strict=False):
    print(name, ours.shape, "equal to 1e-9:", bool(np.abs(ours - theirs.numpy()).max() < 1e-9))

# %% [markdown]
# ### The gradient at work
#
# With the gradient a kernel can be learnt instead of designed. Suppose that we are given the slice and its
# filtered version, but not the kernel. We begin with nine zeros and repeat: compute the output, compare it with the
# wanted one $t$, and step against the gradient. The loss is the mean squared error over the $N$ outputs,
#
# $$L = \frac{1}{N} \sum_{ij} (y_{ij} - t_{ij})^2, \qquad G_{ij} = \frac{2}{N} (y_{ij} - t_{ij}), \qquad
# w \leftarrow w - \eta\,\frac{\partial L}{\partial w}$$
#
# The **learning rate** $\eta$ says how long a step is. This is **gradient descent**, and all training in this
# course is a refinement of it.
#
# > **Predict** The wanted output was made with "right minus left". Will the nine weights become exactly that
# > kernel? Where will they be after ten steps?

# %%
def difference(a, b):
    """Size of a - b, relative to the size of b."""
    return np.linalg.norm(a - b) / np.linalg.norm(b)


# %%
def learn_kernel(image, steps):
    """Kernels after some numbers of steps, and how far the last output is from the wanted one."""
    x, w, kept = image[None, :, :, None].astype("float64"), np.zeros((3, 3, 1, 1)), {}
    wanted = convolve(x, right_minus_left[:, :, None, None], 0)
    rate = 0.08 / np.mean(x**2)  # much longer steps would overshoot
    for step in range(1, max(steps) + 1):
        output = convolve(x, w, 0)
        w -= rate * convolve_gradients(x, w, 2 * (output - wanted) / output.size)[1]
        if step in steps:
            kept[f"after {step} steps"] = w[:, :, 0, 0].copy()
    return kept, difference(output, wanted)


# %%
learnt, output_error = learn_kernel(brain, steps=(10, 100, 1000))
fig, axes = plt.subplots(2, 2, figsize=(6.4, 6.8))
tables = learnt | {"what made the output": right_minus_left}
for ax, (title, values) in zip(axes.flat, tables.items(), strict=True):
    number_table(ax, values, title, limit=0.6)
plotting.show(fig, alt="The nine weights after 10, 100 and 1000 steps of gradient descent, and the kernel that made the "
              "wanted output. Signs are right early, values follow. Orange is positive, purple negative, "
              "one scale from -0.6 to 0.6.")

# %% [markdown]
# Nobody told the program what an edge is; examples were enough. The rough shape comes first (left negative, right
# positive), the difference between the rows later.
#
# > **Predict** Now the program learns from the *blurred* slice and its filtered version. Will it find the same kernel?

# %%
blurred, blurred_error = learn_kernel(filtered["blur"], steps=(1000,))
its_kernel = blurred["after 1000 steps"]
on_sharp = difference(correlate_by_loops(brain, its_kernel), edges)
ledger.say(
    "From the slice: outputs off by {a:.1%}, weights off by {b:.1%}. From the blurred slice: outputs off by {c:.1%}, "
    "**weights off by {d:.0%}**. On the sharp slice the outputs of that kernel are off by {e:.0%}.", e=on_sharp,
    a=output_error, b=difference(learnt["after 1000 steps"], right_minus_left),
    c=blurred_error, d=difference(its_kernel, right_minus_left),
)

# %% [markdown]
# In a blurred image neighbouring pixels are so alike that it hardly matters which of them gets the weight. Descent is then
# very slow: after 1000 steps the blurred outputs are nearly right, and the kernel is not. Many more steps would bring it
# nearer. Keep this: being right on the examples does not prove that a network works as you think. Only other images can show it.
#
# ## From scores to probabilities
#
# A network that sorts images into classes ends with one number per class, the **scores** $z$ (also called logits). A score
# can be anything from minus to plus infinity. Two functions turn scores into probabilities.
#
# ### Sigmoid and softmax
#
# The **sigmoid** turns one score into the probability of "yes" (Goodfellow and others 2016, equation 3.30); the **softmax**
# turns $K$ scores into $K$ probabilities that add up to one (equation 6.29):
#
# $$\sigma(z) = \frac{1}{1 + e^{-z}} \qquad\qquad p_k = \frac{e^{z_k}}{\sum_{j=1}^{K} e^{z_j}}$$
#
# In code, softmax needs care: $e^{1000}$ is too large for the computer. Adding the same number to all scores changes
# nothing, because it cancels in the fraction. So we subtract the largest score first.

# %%
def sigmoid(z):
    """Probability of "yes" from a score."""
    return 1 / (1 + np.exp(-z))


# %%
def softmax(z):
    """Probabilities from scores; the classes are the last axis."""
    exponentials = np.exp(z - z.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


# %% tags=["nbval-check-output"]
scores = np.array([[0.0, 0.0, 0.0], [2.0, 1.0, -1.0], [1000.0, 999.0, 0.0]])
print(softmax(scores).round(3))
with np.errstate(over="ignore", invalid="ignore"):
    print("last row, without the subtraction:", np.exp(scores[2]) / np.exp(scores[2]).sum())

# %% [markdown]
# `nan` is "not a number": infinity divided by infinity. A library's softmax has the subtraction built in.
#
# > **Predict** For two classes one can use two scores with softmax, or one score with sigmoid. Which is the more
# > powerful?
#
# Numbering the two classes 0 and 1, we divide numerator and denominator by $e^{z_1}$:
#
# $$p_1 = \frac{e^{z_1}}{e^{z_0} + e^{z_1}} = \frac{1}{1 + e^{-(z_1 - z_0)}} = \sigma(z_1 - z_0)$$

# %% tags=["nbval-check-output"]
two_scores = rng.normal(0, 3, (1000, 2))
print("softmax of two scores = sigmoid of their difference:",
      np.allclose(softmax(two_scores)[:, 1], sigmoid(two_scores[:, 1] - two_scores[:, 0])))

# %% [markdown]
# They are the same. Only the difference of the two scores matters, so one of the two is superfluous. Beware of softmax over a
# *single* score: $e^z / e^z$ is 1 for every image.
#
# ### Cross-entropy
#
# How wrong is a probability? Let $y_k$ be 1 for the true class and 0 for the others. (From here on $y$ is the
# truth, as is usual, and no longer the output of a layer.) The **cross-entropy** is
#
# $$L = -\sum_{k=1}^{K} y_k \log p_k$$
#
# Only the true class counts: $L = -\log p_\mathrm{true}$ ($\log$ is the natural logarithm). With two classes and one
# sigmoid this is the **binary cross-entropy** $-y \log p - (1 - y) \log (1 - p)$.

# %% tags=["nbval-check-output"]
for p in (0.99, 0.5, 1 / 3, 0.01, 0.0001):
    print(f"probability given to the true class {p:<8.4g} loss {-np.log(p):.3f}")

# %% [markdown]
# To be sure and wrong is expensive. And there is a mark to remember: who knows nothing and gives $1/K$ to each of $K$ classes
# pays $\log K$, which is 0.693 for two classes and 1.099 for three. A network whose loss is above that mark is worse than
# an honest "I do not know".
#
# ### Why the gradient is $p - y$
#
# Put softmax into cross-entropy. With $c$ the true class, the logarithm takes the fraction apart:
#
# $$L = -z_c + \log \sum_{j} e^{z_j} \qquad\Rightarrow\qquad \frac{\partial L}{\partial z_k} = \frac{e^{z_k}}{\sum_j
# e^{z_j}} - y_k = p_k - y_k$$
#
# The exponential and the logarithm cancel, and what is left is simply the error: what was said minus what is true
# (Bishop 2006, section 4.3.4). For one score with sigmoid it is $p - y$ as well. The symmetric differences from above
# check it for softmax.

# %% tags=["nbval-check-output"]
z, y = rng.normal(size=5), np.eye(5)[2]
by_differences = differences(lambda: -np.log(softmax(z) @ y), z, 1e-5)
print("p - y equals the differences to 1e-8:", bool(np.abs(softmax(z) - y - by_differences).max() < 1e-8))

# %% [markdown]
# Why not the squared error $\frac{1}{2}(p - y)^2$, which looks simpler? The sigmoid has the derivative
# $\sigma' = p\,(1 - p)$, so the gradient is $(p - y)\,p\,(1 - p)$.
#
# > **Predict** The truth is $y = 1$ and the network is sure of the opposite: $z = -8$. Under which of the two losses does it
# > learn faster?

# %%
z = np.linspace(-8, 8, 161)
p = sigmoid(z)
fig, axes = plt.subplots(1, 2, figsize=(8, 3.4))
axes[0].plot(z, p, color=plotting.BLACK)
axes[0].set(xlabel="score z", ylabel="probability p of class 1", title="sigmoid")
axes[1].plot(z, p - 1, label="cross-entropy")
axes[1].plot(z, (p - 1) * p * (1 - p), linestyle="--", label="squared error")
axes[1].set(xlabel="score z", ylabel="gradient of the loss", title="truth: class 1")
axes[1].legend(loc="lower right")
plotting.show(fig, alt="Left: the sigmoid, rising from 0 to 1. Right: for a true class 1 the gradient of cross-entropy goes "
              "from -1 at very negative scores to 0 at positive ones; that of the squared error is near 0 at both "
              "ends.")

# %% [markdown]
# Where the network is sure and wrong (right picture, at its left end), cross-entropy pulls with full force. The squared
# error hardly pulls at all, since the sigmoid is flat there. That is why classification networks are trained with cross-entropy.
#
# ## What happens when the image moves
#
# Patients do not lie in the scanner as they do in the textbook. Two words say how an operation $f$ takes a
# change $T$ of the image, such as a shift. It is **equivariant** if the output changes in the same way, $f(Tx) =
# T f(x)$, and **invariant** if the output does not change, $f(Tx) = f(x)$. To find where a tumour is we want the
# first, to say whether there is one the second.
#
# ### Which changes does a kernel follow?
#
# We shift, mirror and turn the slice before and after filtering, and compare. It is laid on a larger black canvas first,
# so that nothing leaves the picture.
#
# > **Predict** Three kernels (blur, detail, right minus left), three changes: in which of the nine cases do the two
# > orders agree?

# %%
canvas = np.pad(brain, 24)
changes = {
    "shift by 3 px": lambda x: np.roll(x, 3, axis=1),
    "mirror left-right": lambda x: x[:, ::-1],
    "turn by 90 degrees": np.rot90,
}

# %%
rows = {}
for change, T in changes.items():
    for name in ("blur", "detail", "right minus left"):
        filtered_last = signal.correlate2d(T(canvas), kernels[name], mode="same")
        filtered_first = T(signal.correlate2d(canvas, kernels[name], mode="same"))
        rows.setdefault(name, {})[change] = difference(filtered_last, filtered_first)
pd.DataFrame(rows).map("{:.0%}".format)

# %% [markdown]
# Every kernel follows a shift: that is built into the sliding. A mirror image or a turn is followed only by kernels that
# look the same after it, as blur and detail do.
#
# The numbers are the size of the difference, relative to the result. 200 % is the same picture with the opposite sign:
# mirrored, right minus left becomes left minus right. Turned, the edge filter shows other edges.
#
# So a network is *not* prepared for a patient who lies turned. It has to see such images in training (lesson 11 makes
# them), or be built for it (Cohen and Welling 2016).
#
# ### The border
#
# The canvas was chosen so that the border played no part. Now we cut two squares out of the slice, one four pixels further
# down and right. We send both through three layers with random weights and compare the outputs *where the squares
# overlap*. The layers are our own NumPy functions.

# %%
def features(x, kernels, pools=0):
    """3 x 3 convolutions with ReLU; the first of them are followed by max pooling."""
    for number, w in enumerate(kernels):
        x = np.maximum(convolve(pad_same(x, 3), w, 0), 0)
        if number < pools:
            x = max_pool(x)
    return x


shapes = [(3, 3, 1, 8), (3, 3, 8, 8), (3, 3, 8, 8)]
random_kernels = [rng.normal(0, np.sqrt(2 / np.prod(s[:3])), s) for s in shapes]

# %% [markdown]
# > **Predict** The same tissue, the same weights. Are the outputs equal?

# %%
cut, move = image_size // 2, 4
corner = image_size // 4
here = brain[corner : corner + cut, corner : corner + cut]
there = brain[corner + move :, corner + move :][:cut, :cut]
first, second = (features(s[None, :, :, None], random_kernels)[0] for s in (here, there))
gap = np.abs(first[move:, move:] - second[:-move, :-move]).mean(axis=-1)

# %%
fig, ax = plt.subplots(figsize=(4.8, 4))
shown = ax.imshow(gap / first.mean(), cmap="magma", vmin=0)
ax.grid(False)
ax.set(xlabel="column of the overlap [px]", ylabel="row of the overlap [px]")
fig.colorbar(shown, label="difference / mean output")
plotting.show(fig, alt="Difference between the outputs for the two squares at the same tissue: exactly zero (black) inside, "
              "above zero in a rim up to three pixels wide on all four sides, mostly largest at the edge.")

# %% tags=["nbval-check-output"]
print("largest difference inside the rim of 3 pixels:", gap[3:-3, 3:-3].max().round(9))
print("largest difference in the rim is above zero:  ", bool(gap.max() > 0))

# %% [markdown]
# Inside they are equal. At the border each layer sees zeros that are not part of the patient, and three layers
# carry them three pixels inwards. With deep networks that rim grows to the whole image, and a network can learn
# from it *where* in the image something is (Kayhan and van Gemert 2020). Shift equivariance is a property of the sum, not of
# every network made from it.
#
# ### Steps, and what pooling gives
#
# Finally we ask about invariance. The features are averaged over all places (**global average pooling**), which should make a
# shift invisible. We shift the slice on its canvas by 0 to 16 pixels. The network has no, one, two or three poolings, a
# total stride of 1, 2, 4 or 8.
#
# > **Predict** For which shifts do the averaged features stay the same, in the network with three poolings?

# %%
shifts = np.arange(17)
stack_of_shifts = np.stack([np.roll(canvas, d, axis=1) for d in shifts])[..., None]
changed = {}
for pools in range(4):
    average = features(stack_of_shifts, random_kernels, pools).mean(axis=(1, 2))
    changed[2**pools] = [difference(a, average[0]) for a in average]

# %%
fig, ax = plt.subplots(figsize=(7, 3.6))
styles = zip(changed.items(), ("-", "--", "-", "-"), ("", "s", "^", "o"), strict=True)
for (stride, values), line, marker in styles:
    ax.plot(shifts, 100 * np.array(values), linestyle=line, marker=marker, label=str(stride))
ax.set(xlabel="shift of the image [px]", ylabel="change of the features [%]", xticks=shifts[::2])
ax.set_ylim(top=1.4 * ax.get_ylim()[1])
ax.legend(title="total stride", ncols=4, loc="upper center")
plotting.show(fig, alt="Relative change of the averaged features against the shift of the image. Total stride 1: zero "
              "everywhere. Stride 2: zero at even shifts. Stride 4: zero at multiples of 4. Stride 8: zero at 0, 8 "
              "and 16 only, largest in between.")

# %% tags=["nbval-check-output"]
for stride, values in changed.items():
    print(f"total stride {stride}: unchanged at shifts", shifts[np.array(values) < 1e-6].tolist())

# %% [markdown]
# The averaged features are exactly the same only after shifts by a multiple of the total stride. In between, the image falls
# differently into the blocks of the pooling, and the features change: by some per cent here. Published networks
# have changed their answer when an image was moved by one pixel (Azulay and Weiss 2019; Zhang 2019 has a remedy).
#
# So does pooling help at all? Compare the features *place by place*, without the average.

# %%
turned = np.rot90(canvas)
rows = {}
for pools in range(4):
    views = np.stack([canvas, np.roll(canvas, 1, axis=1), turned])[..., None]
    still, moved, rotated = features(views, random_kernels, pools)
    name = f"total stride {2**pools}"
    rows[name] = {"shift by 1 px": difference(moved, still), "turn by 90 degrees": difference(rotated, still)}
pd.DataFrame(rows).T.map("{:.0%}".format)

# %% [markdown]
# Yes: the more pooling, the less a shift by one pixel shows in a feature map. It buys *some* tolerance to small shifts, at the
# price of exact equivariance and of the exact place. Against a turn it helps little.
#
# ## A network that learns its filters
#
# All pieces are together: convolution, rectifier, pooling, softmax, cross-entropy, gradient. For a last experiment we
# need a task. An image file carries a text, its **header**, that should say how the image was made. Such texts are not
# always right (Gueld and others 2002, on the part of the body). So let a network tell T1, T2 and FLAIR apart from the
# slice alone. Lesson 00 set this task; now every step of it is known.
#
# `simbrain` deals its patients into training, validation and test. Each patient has several slices, and each slice gives
# three images. Validation is not needed here: we choose nothing. We make the task harder by giving every image the
# same mean and spread: brightness alone will not do.

# %%
def contrast_task(split):
    """Every contrast of every slice as an image of its own; the label is the contrast."""
    images = np.moveaxis(split.images, -1, 1).reshape(-1, *brain.shape, 1)
    images = images - images.mean(axis=(1, 2), keepdims=True)
    return images / images.std(axis=(1, 2), keepdims=True), np.tile([0, 1, 2], len(split))


# %%
train_images, train_labels = contrast_task(data.train)
test_images, test_labels = contrast_task(data.test)
print(len(train_labels), "training and", len(test_labels), "test images; slices of each patient:",
      len(data.train) // len(set(data.train.subjects)))
print("patients in both training and test:", len(set(data.train.subjects) & set(data.test.subjects)))

# %% [markdown]
# The network is small: one layer of eight 7 x 7 kernels, ReLU, **global max pooling**, three scores. Global max pooling
# keeps the largest answer of each kernel, wherever in the image.
#
# `Adam` is a refined gradient descent (lesson 12), here with steps that shrink to zero. It uses a random **batch** of 32
# images for each step; one pass over all training images is an **epoch**. "Sparse" categorical cross-entropy is the one from above, for labels given as 0, 1
# or 2.
#
# > **Predict** How many weights has it? And what will the loss be, roughly, before the first step?

# %%
training.set_seed(seed)
network = keras.Sequential([
    layers.Input((*brain.shape, 1)),
    layers.Conv2D(8, 7, activation="relu", kernel_initializer="he_normal"),
    layers.GlobalMaxPooling2D(),
    layers.Dense(3, activation="softmax"),
])

# %%
steps = epochs * int(np.ceil(len(train_images) / 32))
rate = keras.optimizers.schedules.CosineDecay(0.01, steps)  # smaller and smaller steps, to zero
network.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy")
start = network.evaluate(train_images, train_labels, verbose=0)
history = network.fit(train_images, train_labels, batch_size=32, epochs=epochs, verbose=0).history

# %%
ledger.say(
    "The network has {weights} weights. Its loss was {start:.2f} at the start (knowing nothing costs {nothing:.2f}) "
    "and {end:.2f} in the last of {epochs} epochs. Random weights give confident nonsense, which may cost more "
    "than knowing nothing.",
    weights=network.count_params(), start=start, nothing=np.log(3), end=history["loss"][-1], epochs=epochs,
)

# %% [markdown]
# How good is it on patients that it has not seen? Beside it stands a baseline, **logistic regression** (softmax on a
# weighted sum of a few numbers), which gets two numbers of each image, mean and spread of the brightness *before* we
# made them equal. Slices of one patient are alike. So we draw whole patients with replacement, compute the accuracy of
# each draw, and keep the range of the middle 95 %: a **bootstrap** interval (Efron and Tibshirani 1993; lesson 02).

# %%
from sklearn.linear_model import LogisticRegression


def brightness(split):
    """Mean and spread of every contrast of every slice."""
    images = np.moveaxis(split.images, -1, 1).reshape(3 * len(split), -1)
    return np.stack([images.mean(axis=1), images.std(axis=1)], axis=1)


# %%
baseline = LogisticRegression(C=1000).fit(brightness(data.train), train_labels)
probabilities = network.predict(test_images, verbose=0)
answers = {"brightness": baseline.predict(brightness(data.test)), "network": probabilities.argmax(axis=1)}

# %%
from medlib.evaluation import statistics


def accuracy(labels, given):
    """Share of right answers."""
    return float(np.mean(labels == given))


# %%
patients = np.repeat(data.test.subjects, 3)
table = {name: statistics.bootstrap_interval(accuracy, test_labels, given, groups=patients)
         for name, given in answers.items()}
for name, interval in table.items():
    ledger.record(f"04/{name}_accuracy", interval.value, parameters, limits=(0, 1), chance=1 / 3)

# %%
ledger.say(
    "On {n} test images of {m} patients the network is right in **{net}** of cases, the baseline in {base}, "
    "each with a 95 % interval. Guessing gives 0.333. {m} patients are few, however many images they give.",
    n=len(test_labels), m=len(set(patients)), net=table["network"], base=table["brightness"],
)

# %% [markdown]
# The interval knows one kind of luck: which patients happened to be tested. The other kind, the random start of the
# training, shows in the band after `06/network_accuracy`. One training says how *this* network does; the band, how others like it do.
#
# Which contrasts does it confuse? Rows are the truth, columns what the network says.

# %%
channels = np.array(data.channel_names)
pd.crosstab(
    pd.Categorical(channels[test_labels], channels),
    pd.Categorical(channels[answers["network"]], channels),
    rownames=["true contrast"], colnames=["network"], dropna=False,
)

# %%
wrong = np.flatnonzero(answers["network"] != test_labels)
mixed = np.sum((answers["network"][wrong] != 1) & (test_labels[wrong] != 1))
ledger.say("Of the {n} errors, {mixed} are between T1 and FLAIR.", n=len(wrong), mixed=mixed)

# %% [markdown]
# T1 and FLAIR have in common that fluid is dark; in T2 it is bright. Would you have told the following apart? (At
# most six are drawn; grey: standard deviations.) The small bright dots in FLAIR are simulated white-matter spots, which
# occur in patients with and without a tumour.

# %%
wrong = wrong[:6]
if len(wrong):
    titles = [f"{channels[test_labels[i]]}, said {channels[answers['network'][i]]}" for i in wrong]
    fig = plotting.image_grid(test_images[wrong], titles=titles, columns=3, window=(-2, 3))
    plotting.show(fig, alt="Test images on which the network is wrong, with the true contrast and the one it gave. "
                  "Grey is in standard deviations from the mean of the slice.")

# %% [markdown]
# Now the filters. Nobody wrote them; they began as random numbers.
#
# > **Predict** Will they look like the filters at the beginning of this lesson?

# %%
filters, biases = network.layers[0].get_weights()
shown = contrast_task(data.train.take([example]))[0][1:2]  # our T2 slice
responses = np.maximum(convolve(shown, filters, biases), 0)
limit = np.abs(filters).max()

# %%
fig, axes = plt.subplots(4, 4, figsize=(8, 8.8))
for number, (kernel_ax, response_ax) in enumerate(axes.reshape(8, 2)):
    kernel_ax.imshow(filters[:, :, 0, number], cmap="PuOr_r", vmin=-limit, vmax=limit)
    largest = responses[0, :, :, number].max()
    response_ax.imshow(responses[0, :, :, number], vmin=0, vmax=max(largest, 1e-6))
    kernel_ax.set_title(f"filter {number + 1}")
    response_ax.set_title(f"its output, to {largest:.1f}")
for ax in axes.flat:
    ax.set(xticks=[], yticks=[])
    ax.grid(False)
fig.supxlabel(f"filters -{limit:.1f} (purple) to {limit:.1f} (orange); outputs 0 (black) to their largest (white)",
              fontsize=10)
plotting.show(fig, alt="The eight learnt 7 by 7 filters, each with its output after ReLU on the T2 slice.")

# %% [markdown]
# None is as tidy as those that we wrote by hand: they began as random numbers, and it shows. Yet look at their outputs:
# several filters answer along the edges of the brain, others to everything outside it. The outputs are smaller than the slice, since nothing was padded. Background
# is not 0 but below the mean of the slice, so a filter can answer there.
#
# Global max pooling keeps only the largest output of each filter. So we can ask *where* it came from, over all
# test images: tissue, the outline of the brain, or empty background?

# %%
each = [convolve(image[None], filters, biases).reshape(-1, 8) for image in test_images]
every = np.maximum(np.stack(each), 0)  # (image, place, filter)
inside = np.repeat(data.test.images.max(axis=-1) > 0, 3, axis=0)
tissue = sliding_window_view(inside, (7, 7), axis=(1, 2)).mean(axis=(3, 4)).reshape(len(inside), -1)
share = np.take_along_axis(tissue, every.argmax(axis=1), axis=1)[every.max(axis=1) > 0]
ledger.say(
    "Windows of the largest outputs: **{full:.0%}** tissue only, **{outline:.0%}** across the outline of the brain, "
    "{empty:.0%} empty background (rounded).",
    full=np.mean(share == 1), outline=np.mean((share > 0) & (share < 1)), empty=np.mean(share == 0),
)

# %% [markdown]
# Windows across the outline, or of background, probably have much to do with how bright tissue is against nothing, and little with
# what is in the tissue. Here the background is exactly black and the outline was cut by the simulation. Real images have a skull, or an
# outline cut by some other program, so part of what this network learnt may not hold for them. Nobody would have
# seen that from the accuracy. Looking at filters
# gives such suspicions; it does not explain a network (lesson 17 is about that).
#
# ## Try it
#
# Three exercises. Fill in the cell with the dots, run it, then the cell below it: it says at once whether
# your answer is right, and if not, what is wrong.
#
# **Exercise 06.1: a kernel that moves things.** Write down a kernel, as a 3 x 3 array or nested list, that moves the
# image by one pixel *down and to the right*: what was at row 10, column 20 appears at row 11, column 21. (As in
# Keras: cross-correlation, `padding="same"`.)
#
# > **Hint** The output at a place is a weighted sum of its nine neighbours. Which neighbour must it copy?

# %% tags=["exercise"]
moving_kernel = ...  # your nine weights here

# %% tags=["solution"]
# The output copies the pixel above and to the left of it. Turned by 180 degrees, as in a mathematician's
# convolution, the 1 would stand below on the right.
moving_kernel = np.array([[1, 0, 0], [0, 0, 0], [0, 0, 0]])

# %%
from coursekit import check

check.exercise("06.1", moving_kernel)

# %% [markdown]
# **Exercise 06.2: the gradient of max pooling.** Given the input `x` of `max_pool`, shape (n, height, width, c) with
# even sides, and the gradient at its output, shape (n, height/2, width/2, c), return the gradient with respect to `x`.
# You may assume that no two numbers of a block are equal.
#
# > **Hint** If a number is not the largest of its block and changes a little, does the output change? `max_pool` shows
# > how to cut an image into blocks; `keepdims=True` keeps the shape for comparing.


# %% tags=["exercise"]
def max_pool_gradient(x, gradient):
    return ...  # your code here


# %% tags=["solution"]
def max_pool_gradient(x, gradient):
    n, height, width, c = x.shape
    blocks = x.reshape(n, height // 2, 2, width // 2, 2, c)
    is_largest = blocks == blocks.max(axis=(2, 4), keepdims=True)
    return (is_largest * gradient[:, :, None, :, None]).reshape(x.shape)


# %%
check.exercise("06.2", max_pool_gradient)

# %% [markdown]
# **Exercise 06.3: plan a network.** Plan layers for three-channel images: a list of `("convolution", k)`, with
# stride 1 and 8 output channels, and `("pooling", 2)`, with stride 2. The receptive field shall be **at least 32
# pixels**, the total stride **at most 4** (small tumours must not get lost), and there shall be **at most 3,000
# weights**, biases included. The plan starts with a convolution; kernels have side 3 or 5.
#
# > **Hint** Where does one more 3 x 3 convolution widen the receptive field most: before or after the poolings?

# %% tags=["exercise"]
plan = ...  # such as [("convolution", 3), ("pooling", 2), ("convolution", 3)]

# %% tags=["solution"]
plan = [("convolution", 3), ("pooling", 2)] * 2 + [("convolution", 3)] * 3

# %%
check.exercise("06.3", plan)

# %% [markdown]
# ## In this lesson we
#
# - wrote a convolutional layer as one sum, in NumPy, and found it equal to Keras's to 1e-5; it is a cross-correlation;
# - saw that it is a dense layer with most weights zero and the rest shared, and what that saves;
# - computed output sizes and receptive fields, and measured that the middle of a receptive field counts most;
# - derived the gradient, checked it by differences and by TensorFlow, and learnt a filter with it;
# - met sigmoid, softmax and cross-entropy, whose gradient is $p - y$, the error itself;
# - measured that convolution follows shifts but not turns, that borders and strides break even that, and that
#   pooling buys a little tolerance.
#
# `simbrain` is a simulation from one anatomical template. What holds here for operations holds everywhere; how well the
# small network told contrasts apart says nothing about a hospital's archive. Nothing here is a medical device.
#
# ## References
#
# - A. Araujo, W. Norris, J. Sim: Computing receptive fields of convolutional neural networks, *Distill* 2019,
#   doi 10.23915/distill.00021.
# - A. Azulay, Y. Weiss: Why do deep convolutional networks generalize so poorly to small image transformations?
#   *Journal of Machine Learning Research* 20 (2019) 184.
# - C. M. Bishop: *Pattern Recognition and Machine Learning*, Springer 2006, section 4.3.
# - T. Cohen, M. Welling: Group equivariant convolutional networks, *ICML* 2016.
# - V. Dumoulin, F. Visin: A guide to convolution arithmetic for deep learning, arXiv 1603.07285 (2016).
# - B. Efron, R. J. Tibshirani: *An Introduction to the Bootstrap*, Chapman & Hall 1993.
# - I. Goodfellow, Y. Bengio, A. Courville: *Deep Learning*, MIT Press 2016, chapters 3, 6 and 9.
# - M. O. Gueld and others: Quality of DICOM header information for image categorization, *Proceedings of SPIE* 4685
#   (2002) 280, doi 10.1117/12.467017.
# - O. S. Kayhan, J. C. van Gemert: On translation invariance in CNNs: convolutional layers can exploit absolute spatial
#   location, *CVPR* 2020.
# - Y. LeCun, L. Bottou, Y. Bengio, P. Haffner: Gradient-based learning applied to document recognition,
#   *Proceedings of the IEEE* 86 (1998) 2278-2324.
# - W. Luo, Y. Li, R. Urtasun, R. Zemel: Understanding the effective receptive field in deep convolutional neural
#   networks, *NeurIPS* 2016.
# - W. H. Press, S. A. Teukolsky, W. T. Vetterling, B. P. Flannery: *Numerical Recipes*, 3rd edition, Cambridge
#   University Press 2007.
# - R. Zhang: Making convolutional networks shift-invariant again, *ICML* 2019.

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
# # 06 Convolution
#
# A tumour can sit anywhere in a brain. A program that looks for one should therefore do the same thing at every place
# of the image. **Convolution** does: a small table of weights slides over the image, and answers at each place with
# one number. Most networks of this course are built from it. What exactly does it compute? And what follows for a
# tumour, for a patient who lies a little to the left, and for the number of weights that somebody has to learn?

# %% tags=["install"]
import medlib

# %% tags=["parameters"]
seed = 0  # of the random kernels that are compared with Keras

# %% tags=["plumbing"]
from medlib import training

training.set_seed(seed)  # imports Keras without its messages
import keras
import matplotlib.pyplot as plt
import numpy as np
from scipy import signal

from medlib import plotting
from medlib.datasets.simbrain import load_simbrain

plotting.use_style()

# %% tags=["plumbing"]
slices = load_simbrain(n_subjects=40).train
flair, tumour = slices.images[21, :, :, 2], slices.masks[21] > 0


def mark(ax, image, mask, points, window=(0.2, 0.8)):
    """Draw an image, the outline of a mask and ringed points (row, column)."""
    ax.imshow(image, vmin=window[0], vmax=window[1])
    plotting.outline(ax, mask)
    for row, column in points:
        ax.plot(column, row, "o", markersize=15, markerfacecolor="none", markeredgecolor=plotting.SKY, markeredgewidth=2.5)
    ax.set_axis_off()


# %% tags=["plumbing"]
mean_of_25 = signal.correlate2d(flair, np.full((5, 5), 1 / 25), mode="same")
fig, axes = plt.subplots(1, 3, figsize=(8, 3.1))
mark(axes[0], flair, 0 * tumour, [])
mark(axes[1], flair, tumour, [np.unravel_index(flair.argmax(), flair.shape)])
mark(axes[2], mean_of_25, tumour, [np.unravel_index(mean_of_25.argmax(), flair.shape)])
for ax, title in zip(axes, ("a FLAIR slice", "its brightest pixel", "after a convolution"), strict=True):
    ax.set_title(title)
fig.supxlabel("window 0.2 (black) to 0.8 (white); orange: outline of the tumour", fontsize=10, color=plotting.GREY)
plotting.show(fig, alt="Three pictures of one FLAIR slice. In the second the brightest pixel is ringed: it is a small white "
              "spot far from the outlined tumour. In the third, after a convolution, the brightest point lies in the tumour.")

# %% [markdown]
# The slice is simulated ([lesson 02](02_mr_simulation.ipynb) says how): one patient, with the forehead at the top, in
# the contrast FLAIR, where tumours are bright. So are the small white-matter spots that many people without a tumour
# have. One of them holds the brightest pixel (middle). After a convolution with 25 equal weights the brightest point
# lies in the tumour (right). In the code below, `flair` is this slice, 64 x 64 numbers from 0 to 1; `slices` holds
# those of 28 patients, with the outlines of their tumours; `signal` is SciPy's module.
#
# **You will**
#
# - compute a convolutional layer by hand, and show that NumPy and Keras agree to 1e-5;
# - predict the size of its output, its number of weights, and how much of the image it sees;
# - design kernels that shift an image, show edges, or find a tumour;
# - say which changes of an image a convolution follows, and what breaks that.
#
# **Reading:** about 45 min · **running:** about 15 s · **builds on:** Python and NumPy; [lesson
# 01](01_image_files.ipynb) (an image is an array) helps

# %% [markdown]
# ## The sum
#
# A **kernel** $w$, also called filter, is a small table of $k \times k$ weights. Lay it on the image $x$, with its
# top left corner on pixel $(i, j)$. Multiply each weight by the pixel under it and add everything up. That gives one
# number of the output $y$, the **feature map** (map, for short):
#
# $$y_{ij} = \sum_{u=0}^{k-1} \sum_{v=0}^{k-1} x_{i+u,\,j+v}\; w_{uv}$$
#
# Then move the kernel by one pixel and do it again ([Goodfellow, Bengio and Courville
# 2016](https://www.deeplearningbook.org/contents/convnets.html), equation 9.6). Our first kernel takes what is right
# of a place, minus what is left of it. The middle row counts twice: this is [Sobel's
# filter](https://en.wikipedia.org/wiki/Sobel_operator).

# %% tags=["nbval-check-output"]
right_minus_left = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 4
right_minus_left

# %% [markdown]
# We let it slide over 6 x 6 pixels at the left edge of the brain, where the background meets tissue. (The skull was
# removed, and the background is exactly zero.)

# %% tags=["plumbing"]
row = 32  # of the middle of the 6 x 6 pixels
left = int(np.flatnonzero(flair[row] > 0.2)[0])
patch = flair[row - 3 : row + 3, left - 3 : left + 3].astype(float).round(2)
patch_output = signal.correlate2d(patch, right_minus_left, mode="valid")

# %% tags=["plumbing"]
def number_table(ax, values, title, *, limit=0.6, digits=2, box=None, size=11, grey=False):
    """Draw numbers on colours (orange above zero, purple below) or on the image's greys; nan is left empty."""
    ax.clear()
    ax.imshow(values, cmap="gray" if grey else "PuOr_r", vmin=0 if grey else -limit, vmax=limit)
    for (i, j), value in np.ndenumerate(values):
        dark = value < 0.5 * limit if grey else abs(value) > 0.7 * limit
        if np.isfinite(value):
            ax.text(j, i, f"{value + 0:.{digits}f}", color="white" if dark else "black", ha="center", va="center", fontsize=size)
    if box:
        (i, j), side = box
        ax.add_patch(plt.Rectangle((j - 0.5, i - 0.5), side, side, fill=False, ec=plotting.SKY, lw=4, clip_on=False))
    ax.set(title=title, xticks=[], yticks=[])
    ax.grid(False)
    ax.spines[:].set_visible(True)


# %% tags=["plumbing"]
fig, axes = plt.subplots(1, 2, figsize=(6.4, 3.3))
mark(axes[0], flair, 0 * tumour, [])
axes[0].add_patch(plt.Rectangle((left - 3.5, row - 3.5), 6, 6, fill=False, ec=plotting.SKY, lw=3))
axes[0].set_title("the slice")
number_table(axes[1], patch, "the 36 pixels in the square", grey=True)
plotting.show(fig, alt="The slice with a small square on the left edge of the brain, and the 36 numbers in that square: zeros on "
              "the left, values around 0.45 on the right.")

# %% [markdown]
# > **Predict** How many numbers will the output have? In which columns will they be large?

# %% tags=["plumbing"]
def sliding():
    """Frames: the kernel at each of its 16 places; the first shows the whole output."""
    fig, axes = plt.subplots(2, 2, figsize=(5.6, 5.7), width_ratios=[6, 4], height_ratios=[6, 4.2])
    places = [(i, j) for i in range(4) for j in range(4)]
    for step, (i, j) in enumerate([(2, 1), *places]):
        known = np.arange(16).reshape(4, 4) < (step or 16)
        products = patch[i : i + 3, j : j + 3] * right_minus_left
        number_table(axes[0, 0], patch, "image x", box=((i, j), 3), grey=True)
        number_table(axes[0, 1], np.where(known, patch_output, np.nan), "output y", box=((i, j), 1))
        number_table(axes[1, 0], products, f"x times w: sum {products.sum() + 0:.2f}", size=10, digits=3)
        number_table(axes[1, 1], right_minus_left, "kernel w")
        yield fig


plotting.show_animation(
    sliding(), milliseconds=600,
    alt="A 3 by 3 window slides over 6 by 6 pixels. At each of its 16 places the nine products of pixels and weights are "
        "shown, and their sum appears in the 4 by 4 output. It is large where dark background meets bright tissue.",
)

# %% [markdown]
# A 3 x 3 kernel fits on six pixels at four places, so the output is 4 x 4. It is large (orange) in the two middle
# columns, where it is brighter on the right than on the left, zero on the background, and small inside the tissue. As
# a program, the equation is two loops; NumPy adds up the window.

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
edges = correlate_by_loops(flair, right_minus_left)
print("image", flair.shape, "-> output", edges.shape)

# %% [markdown]
# ### Is that a convolution?
#
# Honestly: no. Mathematicians call this sum **cross-correlation**. Their convolution has minus signs,
# $\sum_{u,v} x_{i-u,\,j-v}\, w_{uv}$ (equation 9.5 of the same book), so it walks through the kernel backwards. That
# is the same as turning the kernel by 180 degrees first.
# [SciPy](https://docs.scipy.org/doc/scipy/reference/signal.html) has both.

# %% tags=["nbval-check-output"]
by_180_degrees = right_minus_left[::-1, ::-1]
correlated = signal.correlate2d(flair, right_minus_left, mode="valid")
convolved = signal.convolve2d(flair, right_minus_left, mode="valid")
with_turned = signal.convolve2d(flair, by_180_degrees, mode="valid")
print("our loops = correlate2d:                   ", np.allclose(edges, correlated))
print("our loops = convolve2d:                    ", np.allclose(edges, convolved))
print("our loops = convolve2d with turned kernel: ", np.allclose(edges, with_turned))

# %% [markdown]
# Keras's `Conv2D` is a cross-correlation too (we compare below), and so is PyTorch's. A network that learns its
# weights does not care: it learns the turned kernel as easily. You must care when you type in a kernel from a book.
# From here on we say convolution, as everybody does.
#
# **Exercise 06.1: a kernel that moves things.** Write down a 3 x 3 kernel (nested list or array) that moves the image
# by one pixel *down and to the right*: what was at row 10, column 20 appears at row 11, column 21. As in Keras:
# cross-correlation, and the output belongs to the pixel under the kernel's middle.
# ([solution](solutions/06_convolution.ipynb))
#
# > **Hint** Each output is a weighted sum of a pixel and its eight neighbours. Which neighbour must it copy?

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
# ## Four kernels at work
#
# What a kernel does can often be read from its weights. `mean_kernel(k)` takes the mean of $k \times k$ pixels;
# "detail" is a pixel minus the mean around it.

# %%
def mean_kernel(k):
    """A kernel of k x k equal weights that add up to 1."""
    return np.full((k, k), 1 / k**2)


# %%
detail = -mean_kernel(3)
detail[1, 1] += 1
kernels = {"mean": mean_kernel(3), "right minus left": right_minus_left,
           "below minus above": right_minus_left.T, "detail": detail}

# %% [markdown]
# > **Predict** In a flat region all pixels are equal. What is the output there, for weights that add up to 1? To 0?
# > Which kernel shows the outline of the brain all round?
#
# SciPy computes the maps. With `mode="same"` it puts zeros around the image, so that the map is as large as the
# image.

# %%
def feature_map(image, w):
    return signal.correlate2d(image, w, mode="same")


maps = {name: feature_map(flair, w) for name, w in kernels.items()}

# %% tags=["plumbing"]
fig, axes = plt.subplots(2, 4, figsize=(8, 4.4), height_ratios=[1, 1.1])
for (top, bottom), (name, w) in zip(axes.T, kernels.items(), strict=True):
    number_table(top, w, name, limit=1, size=9)
    low, high = (0.2, 0.8) if name == "mean" else (-0.3, 0.3)
    bottom.imshow(maps[name], vmin=low, vmax=high)
    bottom.set_title(f"{low:g} to {high:g}", fontsize=10, color=plotting.GREY)
    bottom.set_axis_off()
plotting.show(fig, alt="Four kernels and their maps. Mean: a smoothed slice. Right minus left: edges that run up and down, "
              "white on the left side of the brain, black on the right. Below minus above: edges that run across. "
              "Detail: the outline, spots and noise. The last three are mid-grey, zero, in flat regions.")

# %% [markdown]
# Weights that add up to 1 keep the grey of a flat region. Weights that add up to 0 turn it into 0, drawn mid-grey.
# (Above each map stand the values drawn black and white.) An edge kernel answers to one direction: "right minus left"
# misses the top of the brain. Only "detail" shows the outline all round, together with spots and noise.
#
# ## A kernel that finds tumours
#
# White-matter spots are bright but small, a tumour is bright and larger. So take the mean over a square of about the
# tumour's size, and ask where the map is brightest. We try that on all slices of 28 virtual patients that show a
# tumour.

# %% tags=["nbval-check-output"]
with_tumour = slices.masks.any(axis=(1, 2))
images, masks = slices.images[with_tumour, :, :, 2], slices.masks[with_tumour] > 0
print(len(images), "slices of", len(set(slices.subjects[with_tumour])), "patients")

# %%
def brightest(image, w):
    """Row and column of the largest output."""
    y = feature_map(image, w)
    return np.unravel_index(y.argmax(), y.shape)


# %%
def found(w):
    """In how many slices does the largest output lie inside the tumour?"""
    return sum(mask[brightest(image, w)] for image, mask in zip(images, masks, strict=True))


# %% [markdown]
# > **Predict** With $k = 1$ the map is the image itself. Will more tumours be found as $k$ grows from 1 to 15? Always
# > more?

# %% tags=["nbval-check-output"]
for k in (1, 3, 5, 7, 9, 11, 15):
    print(f"mean of {k:2d} x {k:2d} pixels: {found(mean_kernel(k))} of {len(images)}")

# %% tags=["plumbing"]
def draw_search(k, ax):
    """The map of one mean kernel, with its brightest point."""
    w = mean_kernel(k)
    mark(ax, feature_map(flair, w), tumour, [brightest(flair, w)])
    ax.set_title(f"k = {k}")


fig, axes = plt.subplots(1, 4, figsize=(8, 2.5))
for k, ax in zip((1, 3, 5, 15), axes, strict=True):
    draw_search(k, ax)
fig.supxlabel("mean of k x k pixels; window 0.2 (black) to 0.8 (white)", fontsize=10, color=plotting.GREY)
plotting.show(fig, alt="Maps of one slice for k = 1, 3, 5 and 15, with the brightest point ringed: for small k it is in a "
              "white-matter spot, for k = 5 in the outlined tumour, for k = 15 beside it in a blurred brain.")

# %% [markdown]
# First more, then fewer. A small kernel sees spots, a large one mixes the tumour with all around it. Of the sizes we
# tried, 5 x 5 found most: it pays to match the kernel to what one looks for. The slider shows the sizes in between.

# %% tags=["plumbing"]
import ipywidgets


def search(k=5):
    fig, ax = plt.subplots(figsize=(3.5, 3.7))
    draw_search(k, ax)
    plotting.show(fig, alt="Map of the mean kernel, its brightest point ringed.")


_ = ipywidgets.interact(search, k=(1, 21, 2))

# %% [markdown]
# Do not take that for a detector. We chose $k$ on the very slices we counted on, these are slices of only 14
# simulated patients, and a healthy slice has a brightest point as well. But note the form: *a convolution, then one
# number for the whole map*. The networks to come have it too, with weights that nobody types in: [lesson
# 07](07_learning.ipynb) learns them.
#
# **Exercise 06.2: change the experiment.** Add 0.1 to all pixels, and every mean grows by 0.1. Since scanners differ
# in their scale of grey ([lesson 04](04_grey_values_and_leaks.ipynb)), the largest mean is a poor score for "tumour
# or not". A kernel whose weights add up to 0 does not notice the 0.1. Write `spot(inner, outer)`, two odd numbers: an
# `outer` x `outer` kernel that takes the mean of the `inner` x `inner` pixels in the middle, minus the mean of the
# ring around them. Then let it search: run `found(spot(5, 11))`. More tumours than with `mean_kernel(5)`, or fewer?
# Try wider rings, up to `spot(5, 31)`. ([solution](solutions/06_convolution.ipynb))
#
# > **Hint** Fill the whole square with the ring's weight, then overwrite the middle. How many pixels has the ring?


# %% tags=["exercise"]
def spot(inner, outer):
    return ...  # your code here


# %% tags=["solution"]
def spot(inner, outer):
    w = np.full((outer, outer), -1 / (outer**2 - inner**2))
    first = (outer - inner) // 2
    w[first : first + inner, first : first + inner] = 1 / inner**2
    return w


print({outer: int(found(spot(5, outer))) for outer in (7, 11, 21, 31)})

# %%
check.exercise("06.2", spot)

# %% [markdown]
# <details><summary>Answer: what it finds</summary>
#
# Far fewer: 17 of 56 with `spot(5, 11)`. Beside the black background the whole rim of the brain is "brighter than
# around it". Wider rings find more, but none up to 31 reaches the plain mean. What helps against one mistake may
# invite another; only trying it on images shows which.
#
# </details>

# %% [markdown]
# ## Padding and stride
#
# Two settings decide where the kernel is laid. **Padding** puts $m$ rows and columns of zeros on each side of the
# image first. **Stride** $s$ moves the kernel by $s$ pixels instead of one. Keras knows two paddings: `"valid"` is
# none, `"same"` is just so much that stride 1 keeps the size. Here are three layers on 6 x 6 pixels.

# %% tags=["plumbing"]
def draw_places(ax, title, side, before, after, stride):
    """The image's pixels, the zeros around them, and the middle of the 3 x 3 kernel at each of its places."""
    for i in range(-before, side + after):
        for j in range(-before, side + after):
            inside = 0 <= i < side and 0 <= j < side
            face = "0.85" if inside else "white"
            ax.add_patch(plt.Rectangle((j, i), 1, 1, fc=face, ec="0.6", lw=0.8, ls="-" if inside else ":"))
            if not inside:
                ax.text(j + 0.5, i + 0.5, "0", color="0.5", ha="center", va="center", fontsize=9)
    places = np.arange(-before, side + after - 2, stride) + 1.5
    columns, rows = np.meshgrid(places, places)
    ax.scatter(columns, rows, color=plotting.BLUE, s=28, zorder=3)
    ax.add_patch(plt.Rectangle((-before, -before), 3, 3, fill=False, ec=plotting.VERMILION, lw=3, zorder=4))
    ax.set(xlim=(-1.2, side + 1.2), ylim=(side + 1.2, -1.2), aspect="equal")
    ax.set_title(f"{title}\n{side} x {side} gives {len(places)} x {len(places)}", fontsize=11)
    ax.set_axis_off()


# %% tags=["plumbing"]
fig, axes = plt.subplots(1, 3, figsize=(8, 2.95))
draw_places(axes[0], "valid, stride 1", 6, 0, 0, 1)
draw_places(axes[1], "same, stride 1", 6, 1, 1, 1)
draw_places(axes[2], "same, stride 2", 6, 0, 1, 2)
plotting.show(fig, alt="An image of 6 by 6 pixels and a 3 by 3 kernel. Valid with stride 1: 4 by 4 places. Same with stride 1: "
              "a ring of zeros and 6 by 6 places. Same with stride 2: zeros only below and on the right, 3 by 3 places.")

# %% [markdown]
# Grey squares are pixels, zeros are padding. The red square is the kernel at its first place; a dot marks its middle
# at every place, so each dot is one number of the output. An image of side $h$ gives a map of side ([Dumoulin and
# Visin 2016](https://arxiv.org/abs/1603.07285), relationship 6)
#
# $$o = \left\lfloor \frac{h + 2m - k}{s} \right\rfloor + 1$$
#
# Keras agrees, and can say it without computing anything:

# %% tags=["nbval-check-output"]
for k, s in ((3, 1), (3, 2), (5, 2), (7, 4)):
    print(f"64 pixels, k = {k}, s = {s}: formula with m = 0: {(64 - k) // s + 1}", end="")
    for padding in ("valid", "same"):
        layer = keras.layers.Conv2D(1, k, strides=s, padding=padding)
        print(f", {padding}: {layer.compute_output_shape((1, 64, 64, 1))[1]}", end="")
    print()

# %% [markdown]
# With $k = 3$ and $s = 2$ the last column is never reached. `"same"` always gives $h / s$, rounded up. For that,
# stride 2 needs one row and one column of zeros in total, an odd number.
# [TensorFlow](https://www.tensorflow.org/api_docs/python/tf/nn#notes_on_padding_2) puts them below and on the right
# (third drawing); PyTorch's `padding=1` puts zeros on all four sides. The same weights then give another answer,
# without any error. Remember that when you move a network from one library to the other.
#
# ## Channels
#
# A colour photo has three numbers per pixel, and so has our slice: T1, T2 and FLAIR. These are **channels**. A layer
# has one kernel for every pair of an input channel $c$ and an output channel $f$, and adds the maps of its input
# channels up. With a constant $b_f$ per output channel, the **bias**, and images numbered by $n$, this is the whole
# layer:
#
# $$y_{nijf} = b_f + \sum_{c} \sum_{u,v} x_{n,\;is+u,\;js+v,\;c}\; w_{uvcf}$$
#
# Here is a layer with three input and two output channels, its weights made up: the first map asks "brighter in FLAIR
# than in T1?", the second "is there detail in T2?"

# %%
two_kernels = np.zeros((3, 3, 3, 2))  # (u, v, c, f): c = T1, T2, FLAIR
two_kernels[..., 0, 0] = -mean_kernel(3)
two_kernels[..., 2, 0] = mean_kernel(3)
two_kernels[..., 1, 1] = detail

# %% tags=["plumbing"]
contrasts = slices.images[21]


def layer_map(f):
    """The map of one output channel of the two kernels."""
    return sum(signal.correlate2d(contrasts[..., c], two_kernels[:, :, c, f], mode="same") for c in range(3))


# %% tags=["plumbing"]
fig, axes = plt.subplots(3, 4, figsize=(7.2, 6.0), height_ratios=[1.05, 1, 1])
for c, name in enumerate(("T1", "T2", "FLAIR")):
    axes[0, c].imshow(contrasts[..., c], vmin=0, vmax=0.9)
    axes[0, c].set_title(f"c = {c}: {name}")
    axes[0, c].set_axis_off()
    for f in range(2):
        number_table(axes[f + 1, c], two_kernels[:, :, c, f], "", limit=1, size=10)
for f in range(2):
    axes[f + 1, 3].imshow(layer_map(f), vmin=-0.3, vmax=0.3)
    axes[f + 1, 3].set(title=f"map f = {f}", xticks=[], yticks=[])
    axes[f + 1, 3].grid(False)
    axes[f + 1, 0].set_ylabel(f"kernels f = {f}")
axes[0, 3].text(0, 0.5, "Each row of\nkernels, laid on\nthe images above\nand added up,\ngives one map.", fontsize=11, va="center")
axes[0, 3].set_axis_off()
fig.supxlabel("windows: images 0 to 0.9, maps -0.3 to 0.3", fontsize=10, color=plotting.GREY)
plotting.show(fig, alt="A layer with three input and two output channels. Top: T1, T2 and FLAIR. Below, two rows of three "
              "kernels, each row followed by its map. In the first map the tumour is white.")

# %% [markdown]
# Each map has its own three kernels, and looks at all three contrasts through them. In the first map the tumour
# stands out, and white matter, bright in T1, turns black.
#
# In NumPy,
# [`sliding_window_view`](https://numpy.org/doc/stable/reference/generated/numpy.lib.stride_tricks.sliding_window_view.html)
# gives every window of the image without copying it: an array with the axes $n, i, j, c, u, v$. `einsum` multiplies,
# and adds over the letters that are missing after the arrow. They are those of the equation.

# %%
from numpy.lib.stride_tricks import sliding_window_view


def convolve(x, w, b, stride=1):
    """A layer: x (n, height, width, c), w (k, k, c, f), b (f,)."""
    windows = sliding_window_view(x, w.shape[:2], axis=(1, 2))[:, ::stride, ::stride]
    return np.einsum("nijcuv,uvcf->nijf", windows, w, optimize=True) + b


# %% [markdown]
# First against our loops, then against [Keras](https://keras.io/api/layers/convolution_layers/convolution2d/): eight
# slices in three contrasts, and four output channels with random kernels of 5 x 5.

# %% tags=["nbval-check-output"]
y = convolve(flair[None, :, :, None], right_minus_left[:, :, None, None], 0)
print("equal to the loops:", np.allclose(y[0, :, :, 0], edges))

# %%
rng = np.random.default_rng(seed)
x, w, b = slices.images[:8], rng.normal(0, 0.2, (5, 5, 3, 4)), rng.normal(0, 0.2, 4)

# %% tags=["nbval-check-output"]
for padding, stride, m in (("valid", 1, 0), ("valid", 2, 0), ("same", 1, 2)):
    layer = keras.layers.Conv2D(4, 5, strides=stride, padding=padding)
    layer.build(x.shape)
    layer.set_weights([w, b])
    theirs = keras.ops.convert_to_numpy(layer(x))
    ours = convolve(np.pad(x, ((0, 0), (m, m), (m, m), (0, 0))), w, b, stride)
    equal = np.allclose(ours, theirs, rtol=0, atol=1e-5)
    print(f"{padding:5s} stride {stride}: {ours.shape}, equal to 1e-5: {equal}")

# %% [markdown]
# Nothing is hidden in the layer: it is this sum.
#
# ## What it saves
#
# A layer with $C$ input and $F$ output channels has $(k^2 C + 1)\,F$ weights, whatever the size of the image. A
# **dense** layer instead connects every input number with every output number by a weight of its own.
#
# > **Predict** Three contrasts of 64 x 64 pixels in, 32 maps of the same size out. How many weights has the
# > convolution with 3 x 3 kernels? And a dense layer: thousands, millions, or more?

# %% tags=["nbval-check-output"]
convolution_weights = (3 * 3 * 3 + 1) * 32
dense_weights = (64 * 64 * 3 + 1) * (64 * 64 * 32)
print(f"convolution: {convolution_weights:>13,}")
print(f"dense:       {dense_weights:>13,}  ({dense_weights * 4 / 1e9:.1f} GB as 32-bit numbers)")

# %% [markdown]
# More than a thousand million: no data set of some hundred patients can determine them. Where does the saving come
# from? Write a convolution as a dense layer and look. Switch on one pixel of a 6 x 6 image at a time; the 16 outputs
# are one column of the layer's weights.

# %%
nine_weights = np.arange(1.0, 10.0).reshape(3, 3)
pixels = np.eye(36).reshape(36, 6, 6)  # 36 images with one bright pixel
columns = [correlate_by_loops(pixel, nine_weights).ravel() for pixel in pixels]
matrix = np.stack(columns, axis=1)  # (16 outputs, 36 pixels)

# %% tags=["plumbing"]
fig, ax = plt.subplots(figsize=(7.5, 3.7))
drawn = ax.imshow(np.where(matrix == 0, np.nan, matrix), cmap="viridis")
ax.set(xlabel="number of the pixel, of 36", ylabel="number of the output, of 16", xticks=range(0, 36, 6), yticks=range(0, 16, 4))
ax.grid(False)
fig.colorbar(drawn, label="weight")
plotting.show(fig, alt="The 16 by 36 weights of a 3 by 3 convolution written as a dense layer. Each row holds the same nine "
              "weights, shifted to the right from row to row; all other entries are zero and drawn white.")

# %% [markdown]
# Two savings, both visible. Most entries are zero (white): an output sees only its **neighbourhood**. And each row
# holds the same nine numbers: all places **share** their weights. A convolution is a dense layer that was told two
# things before it saw an image: near pixels belong together, and a thing is the same thing wherever it is. That made
# networks for images practical ([LeCun and others 1998](https://doi.org/10.1109/5.726791)).
#
# ## Pooling, and how far an output sees
#
# **Max pooling** keeps the largest of each 2 x 2 numbers. It halves the sides and has no weights. Here it shrinks the
# map from the film above.

# %%
def max_pool(x):
    """Largest of each 2 x 2 block: x (n, height, width, c), even sides."""
    n, height, width, c = x.shape
    return x.reshape(n, height // 2, 2, width // 2, 2, c).max(axis=(2, 4))


# %% tags=["plumbing"]
fig, axes = plt.subplots(1, 2, figsize=(4.6, 2.6))
number_table(axes[0], patch_output, "map", box=((2, 2), 2))
number_table(axes[1], max_pool(patch_output[None, :, :, None])[0, :, :, 0], "pooled", box=((1, 1), 1))
plotting.show(fig, alt="The 4 by 4 map and the 2 by 2 numbers after max pooling; the marked number is the largest of the marked "
              "four.")

# %% tags=["nbval-check-output"]
theirs = keras.ops.convert_to_numpy(keras.layers.MaxPooling2D()(x))
print(x.shape, "->", max_pool(x).shape, "equal to Keras:", np.array_equal(max_pool(x), theirs))

# %% [markdown]
# Why throw numbers away? Because the next kernel then covers twice as much of the image. The **receptive field** of
# an output is the part of the image that can influence it. A layer with kernel $k_l$ and stride $s_l$ widens it by
# $k_l - 1$ steps, and a step is as many pixels as the product of all strides before, the **total stride** ([Araujo,
# Norris and Sim 2019](https://doi.org/10.23915/distill.00021)):
#
# $$r_l = r_{l-1} + (k_l - 1)\prod_{i<l} s_i, \qquad r_0 = 1$$

# %% tags=["nbval-check-output"]
def receptive_fields(stack):
    """Side of the field after each layer; the layers are given as (k, s)."""
    field, total_stride, fields = 1, 1, []
    for k, s in stack:
        field, total_stride = field + (k - 1) * total_stride, total_stride * s
        fields.append(field)
    return fields


stack = [(3, 1), (2, 2)] * 3  # three times: 3 x 3 convolution, 2 x 2 pooling
print(receptive_fields(stack))

# %% [markdown]
# A formula can be mistaken, so we measure. Build these six layers in Keras, with all weights 1 so that no influence
# can cancel another. Light a single pixel of a black image, and look whether *one* output near the tumour's place
# changes. Do that for each of the 4096 pixels.

# %%
x = inputs = keras.Input((64, 64, 1))
outputs = []
for k, s in stack:
    convolution = keras.layers.Conv2D(1, k, padding="same", kernel_initializer="ones")
    x = (convolution if s == 1 else keras.layers.MaxPooling2D())(x)
    place = 36 * x.shape[1] // 64  # of the output that belongs to row 36, column 36
    outputs.append(x[:, place, place, 0])

# %%
one_pixel_each = np.eye(64 * 64, dtype="float32").reshape(-1, 64, 64, 1)
answers = keras.Model(inputs, outputs).predict(one_pixel_each, batch_size=256, verbose=0)
influences = [answer.reshape(64, 64) for answer in answers]  # of each pixel

# %% tags=["nbval-check-output"]
print([int(np.ptp(np.nonzero(influence)[0])) + 1 for influence in influences])

# %% [markdown]
# Measured and computed sides are the same. The film draws them layer by layer: the square of the formula on our
# slice, and beside it what was measured.

# %% tags=["plumbing"]
spacing_mm = float(slices.table["row_spacing_mm"][21])
names = [f"{kind} {number}" for number in (1, 2, 3) for kind in ("convolution", "pooling")]


def draw_growth(left_ax, right_ax, frame):
    """Draw the squares up to a layer on the slice, and beside it what was measured for that layer."""
    mark(left_ax, flair, tumour, [])
    right_ax.imshow(np.sqrt(influences[frame] / influences[frame].max()), cmap="magma", vmin=0, vmax=1)
    right_ax.set_axis_off()
    for number, side in enumerate(receptive_fields(stack)[: frame + 1]):
        row, column = (indices.min() - 0.5 for indices in np.nonzero(influences[number]))
        width = 3.5 if number == frame else 1.2
        left_ax.add_patch(plt.Rectangle((column, row), side, side, fill=False, ec=plotting.SKY, lw=width))
    left_ax.set_title(f"after {names[frame]}")
    right_ax.set_title(f"{side} x {side} px = {side * spacing_mm:.0f} x {side * spacing_mm:.0f} mm")


# %% tags=["plumbing"]
def growing():
    """Frames: the receptive field after each layer; the first shows all of them."""
    fig, axes = plt.subplots(1, 2, figsize=(6.4, 3.45))
    for frame in (5, *range(6)):
        for ax in axes:
            ax.clear()
        draw_growth(*axes, frame)
        fig.draw_without_rendering()  # so that the first frame is laid out like the others
        yield fig


plotting.show_animation(
    growing(), milliseconds=1000,
    alt="Squares on the slice grow from layer to layer: 3, 4, 8, 10, 18 and 22 pixels. Beside it the measured influence of "
        "each pixel on one output fills just that square, brightest in its middle.",
)

# %% [markdown]
# On the right, the brighter a pixel is drawn, the more it moves the output. (Colours follow the square root, so that
# the rim can be seen.) The square is a limit, not a description: pixels in its middle reach the output on many ways,
# those at its rim on few ([Luo and others 2016](https://arxiv.org/abs/1701.04128)). So plan a field larger than the
# tumour and the surroundings that are needed to judge it.
#
# <details><summary>Aside: why two convolutions are not enough to be deep</summary>
#
# Two 3 x 3 convolutions one after the other see 5 x 5 pixels, but with nothing in between they are *one* convolution
# with a 5 x 5 kernel: a sum of sums is a sum. Depth pays only if something stands between that is not a sum. Max
# pooling is such a thing; the usual one is the **rectifier**, $\mathrm{ReLU}(z) = \max(0, z)$, which every network
# from [lesson 07](07_learning.ipynb) on has.
#
# </details>

# %% [markdown]
# **Exercise 06.3: plan a network.** Plan layers for images with three channels: a list of `("convolution", k)`, with
# stride 1 and 8 output channels, and `("pooling", 2)`, with stride 2. The receptive field shall be **at least 32
# pixels**, the total stride **at most 4** (small tumours must not get lost), and there shall be **at most 3,000
# weights**, biases included. Begin with a convolution; kernels have side 3 or 5.
# ([solution](solutions/06_convolution.ipynb))
#
# > **Hint** Where does one more 3 x 3 convolution widen the field most: before or after the poolings?

# %% tags=["exercise"]
plan = ...  # such as [("convolution", 3), ("pooling", 2), ("convolution", 3)]

# %% tags=["solution"]
plan = [("convolution", 3), ("pooling", 2)] * 2 + [("convolution", 3)] * 3

# %%
check.exercise("06.3", plan)

# %% [markdown]
# ## When the patient moves
#
# Two words say how an operation takes a change of the image. It is **equivariant** if its output changes in the same
# way: the image shifts, the map shifts. It is **invariant** if its output does not change. To find where a tumour is
# we want the first; to say whether there is one, the second. Here the patient moves to the right, one pixel a frame.
# A map with stride $s$ is every $s$-th row and column of the map with stride 1.

# %%
canvas = np.pad(flair, 8)  # black all round, so that nothing leaves the picture


def strided_map(image, stride):
    return feature_map(image, mean_kernel(5))[::stride, ::stride]


# %% tags=["plumbing"]
def moving():
    """Frames: the image shifted by 0 to 8 pixels, its map with stride 1, and with stride 4."""
    fig, axes = plt.subplots(1, 3, figsize=(7.2, 2.75))
    for shift in range(9):
        image = np.roll(canvas, shift, axis=1)
        for ax, drawn in zip(axes, (image, strided_map(image, 1), strided_map(image, 4)), strict=True):
            ax.clear()
            ax.imshow(drawn, vmin=0.2, vmax=0.8)
            ax.set_axis_off()
        axes[0].set_title(f"shifted by {shift} px", fontsize=11)
        axes[1].set_title(f"stride 1: largest {strided_map(image, 1).max():.3f}", fontsize=11)
        axes[2].set_title(f"stride 4: largest {strided_map(image, 4).max():.3f}", fontsize=11)
        fig.draw_without_rendering()
        yield fig


plotting.show_animation(
    moving(), milliseconds=600,
    alt="A slice moves to the right by 8 pixels. Its map with stride 1 moves along, its largest value stays. The map with stride 4 flickers.",
)

# %% [markdown]
# The map with stride 1 travels along: equivariant. Its largest number stays: invariant. The map with stride 4
# flickers. These are the largest numbers after shifts by 0 to 8 pixels:

# %% tags=["nbval-check-output"]
for stride in (1, 2, 4):
    shifted = [np.roll(canvas, shift, axis=1) for shift in range(9)]
    largest = [strided_map(image, stride).max() for image in shifted]
    print(f"stride {stride}:", *(f"{value:.3f}" for value in largest))

# %% [markdown]
# With stride 2 every second number is the same, with stride 4 every fourth: after a shift by a multiple of the total
# stride the image falls into the grid as before. In between, the brightest place may not be among those that are
# kept. Pooling lays such a grid too. Published networks have changed their answer when an image moved by one pixel
# ([Azulay and Weiss 2019](https://arxiv.org/abs/1805.12177)); [Zhang
# 2019](https://proceedings.mlr.press/v97/zhang19a.html) has a remedy.
#
# <details><summary>Aside: the border breaks it too</summary>
#
# With `"same"` padding, tissue near the edge of the picture sees zeros that are not part of the patient. Each layer
# carries them further inwards. A deep network can learn from that rim *where* in the picture something is ([Kayhan
# and van Gemert 2020](https://arxiv.org/abs/2003.07064)). Equivariance is a property of the sum, not of every network
# made from it.
#
# </details>
#
# ### Turns
#
# Now the patient's head lies turned by 90 degrees. Turn first and filter then, or filter first and turn the map:
#
# > **Predict** For which of the two kernels, mean and "right minus left", are both orders the same?

# %%
turn = np.rot90  # by 90 degrees

# %% tags=["plumbing"]
fig, axes = plt.subplots(2, 3, figsize=(7, 5.5))
rows = (("mean", mean_kernel(5), (0.2, 0.8)), ("right minus left", right_minus_left, (-0.3, 0.3)))
for row_of_axes, (name, w, window) in zip(axes, rows, strict=True):
    first, last = feature_map(turn(flair), w), turn(feature_map(flair, w))
    titles = (f"{name}:\nturn, then filter", f"{name}:\nfilter, then turn", "difference")
    for ax, title, picture in zip(row_of_axes, titles, (first, last, first - last), strict=True):
        low, high = (-0.3, 0.3) if title == "difference" else window
        ax.imshow(picture, vmin=low, vmax=high)
        ax.set_title(title, fontsize=11)
        ax.set_axis_off()
fig.supxlabel("windows: mean 0.2 to 0.8; right minus left and differences -0.3 to 0.3", fontsize=10, color=plotting.GREY)
plotting.show(fig, alt="The slice turned and filtered, filtered and turned, and the difference. For the mean kernel the "
              "difference is zero everywhere. For right minus left other edges are shown, and the difference is large.")

# %% tags=["nbval-check-output"]
for name, w in kernels.items():
    turned_map = turn(feature_map(flair, w))
    image_only = np.allclose(feature_map(turn(flair), w), turned_map, atol=1e-6)
    kernel_too = np.allclose(feature_map(turn(flair), turn(w)), turned_map, atol=1e-6)
    print(f"{name:18s} turned image: {image_only!s:5}   kernel turned too: {kernel_too}")

# %% [markdown]
# `True` means: the map is the old map, turned. Mean and detail look the same after a quarter turn, so a turned image
# gives a turned map. The two edge kernels do not: on the turned image they show other edges. What holds for *every*
# kernel is the last column: turn the image *and* the kernel, and the map turns.
#
# So shifts are built into the sum, and turns are not. To cope with a head that lies turned, a network has to see such
# images in training (lesson 14, augmentation), or be built for them ([Cohen and Welling
# 2016](https://arxiv.org/abs/1602.07576)).
#
# **In this lesson we**
#
# - wrote a convolutional layer as one sum, in loops and in NumPy, equal to Keras's to 1e-5; strictly, it is a
#   cross-correlation;
# - read from its weights what a kernel does, and found tumours with the mean of a square;
# - computed the size of maps, and saw what the layer saves: neighbourhood and shared weights;
# - measured a receptive field, pixel by pixel, and found the formula right;
# - saw that maps follow shifts, that strides break this, and that a kernel follows a turn only if the turn leaves the
#   kernel as it is.
#
# All this holds for any image, with one exception: 25 equal weights find most tumours only in a simulation, where
# tumours are larger than other bright spots.
#
# **Next** We typed in every weight. In [lesson 07](07_learning.ipynb) they are learnt from examples.
#
# **References**
#
# - A. Araujo, W. Norris, J. Sim: Computing receptive fields of convolutional neural networks, *Distill* 2019,
#   [doi:10.23915/distill.00021](https://doi.org/10.23915/distill.00021).
# - A. Azulay, Y. Weiss: Why do deep convolutional networks generalize so poorly to small image transformations?
#   *Journal of Machine Learning Research* 20 (2019), [arXiv:1805.12177](https://arxiv.org/abs/1805.12177).
# - T. Cohen, M. Welling: Group equivariant convolutional networks, *ICML* 2016,
#   [arXiv:1602.07576](https://arxiv.org/abs/1602.07576).
# - V. Dumoulin, F. Visin: A guide to convolution arithmetic for deep learning,
#   [arXiv:1603.07285](https://arxiv.org/abs/1603.07285) (2016).
# - I. Goodfellow, Y. Bengio, A. Courville: *Deep Learning*, MIT Press 2016, [chapter
#   9](https://www.deeplearningbook.org/contents/convnets.html).
# - O. S. Kayhan, J. C. van Gemert: On translation invariance in CNNs: convolutional layers can exploit absolute
#   spatial location, *CVPR* 2020, [arXiv:2003.07064](https://arxiv.org/abs/2003.07064).
# - Y. LeCun, L. Bottou, Y. Bengio, P. Haffner: Gradient-based learning applied to document recognition, *Proceedings
#   of the IEEE* 86 (1998), [doi:10.1109/5.726791](https://doi.org/10.1109/5.726791).
# - W. Luo, Y. Li, R. Urtasun, R. Zemel: Understanding the effective receptive field in deep convolutional neural
#   networks, *NeurIPS* 2016, [arXiv:1701.04128](https://arxiv.org/abs/1701.04128).
# - R. Zhang: Making convolutional networks shift-invariant again, *ICML* 2019, [PMLR
#   97](https://proceedings.mlr.press/v97/zhang19a.html).

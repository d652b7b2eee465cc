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
# of the image. **Convolution** does: a small table of weights slides over the image and gives one number at each place.
# Most networks of this course are built from it. What exactly does it compute, how many weights does it need, and what
# happens when the patient lies a little further to the right?

# %% tags=["install"]
import medlib

# %% tags=["parameters"]
seed = 0  # of the few random numbers in this lesson

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
fig, axes = plt.subplots(1, 3, figsize=(6.4, 3.0))
mark(axes[0], flair, 0 * tumour, [])
mark(axes[1], flair, tumour, [np.unravel_index(flair.argmax(), flair.shape)])
mark(axes[2], mean_of_25, tumour, [np.unravel_index(mean_of_25.argmax(), flair.shape)])
for ax, title in zip(axes, ("a FLAIR slice", "its brightest pixel", "after a convolution"), strict=True):
    ax.set_title(title, fontsize=11)
fig.supxlabel("window 0.2 (black) to 0.8 (white)\norange: outline of the tumour; blue ring: the brightest point",
              fontsize=10, color=plotting.GREY)
plotting.show(fig, alt="Three pictures of one FLAIR slice. In the second the brightest pixel is ringed: it is a small white "
              "spot far from the outlined tumour. In the third, after a convolution, the brightest point lies in the tumour.")

# %% [markdown]
# This slice through a head, forehead at the top, is simulated ([lesson 02](02_mr_simulation.ipynb) says how). An MR
# scanner can show it in several contrasts; in this one, FLAIR, tumours are bright. So are small spots in the white
# matter, the brain's inner tissue, that many older people have without any tumour. One of them holds the brightest
# pixel (middle). After a convolution with 25 equal weights the brightest point lies in the tumour (right). In the code,
# `flair` is this slice, 64 x 64 numbers from 0 to 1; `slices` holds those of 28 patients, with masks that mark the
# tumours; `signal` is SciPy's module.
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
# We let it slide over 6 x 6 pixels at the left edge of the brain. (The skull was removed; the background is exactly zero.)

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
# columns, where it is brighter on the right than on the left; zero where the kernel sees only background; and small
# inside the tissue. As a program, the equation is two loops; NumPy adds up the window.

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
# [SciPy](https://docs.scipy.org/doc/scipy/reference/signal.html) has both. Which one equals our loops?

# %% tags=["nbval-check-output"]
by_180_degrees = right_minus_left[::-1, ::-1]
correlated = signal.correlate2d(flair, right_minus_left, mode="valid")
convolved = signal.convolve2d(flair, right_minus_left, mode="valid")
with_turned = signal.convolve2d(flair, by_180_degrees, mode="valid")
print("correlate2d:               ", np.allclose(edges, correlated))
print("convolve2d:                ", np.allclose(edges, convolved))
print("convolve2d, kernel turned: ", np.allclose(edges, with_turned))

# %% [markdown]
# Keras's `Conv2D` is a cross-correlation too (we compare below), and so is PyTorch's. A network that learns its
# weights does not care: it learns the turned kernel as easily. You must care when you type in a kernel from a book.
# From here on we say convolution, as the whole field does.
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
# You can often read from the weights what a kernel does. `mean_kernel(k)` takes the mean of $k \times k$ pixels;
# "detail" is a pixel minus that mean.

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
# With `mode="same"` SciPy puts zeros around the image, so that the map is as large as the image.

# %%
def feature_map(image, w):
    return signal.correlate2d(image, w, mode="same")


maps = {name: feature_map(flair, w) for name, w in kernels.items()}

# %% tags=["plumbing"]
fig, axes = plt.subplots(2, 4, figsize=(6.4, 3.7), height_ratios=[1, 1.1])
for (top, bottom), (name, w) in zip(axes.T, kernels.items(), strict=True):
    number_table(top, w, "", limit=1, size=9)
    top.set_title(name.replace(" minus", "\nminus"), fontsize=11)
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
# White-matter spots are bright but small; a tumour is bright and larger. So take the mean over a square that is larger
# than a spot, and ask where the map is brightest. Half of our 28 virtual patients have a tumour. We try it on all
# slices that show one.

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


fig, axes = plt.subplots(1, 4, figsize=(6.4, 2.3))
for k, ax in zip((1, 3, 5, 15), axes, strict=True):
    draw_search(k, ax)
fig.supxlabel("mean of k x k pixels; window 0.2 (black) to 0.8 (white)\norange: outline of the tumour; blue ring: the brightest point",
              fontsize=10, color=plotting.GREY)
plotting.show(fig, alt="Maps of one slice for k = 1, 3, 5 and 15, with the brightest point ringed: for k = 1 it is in a "
              "white-matter spot, for k = 3 and 5 in the outlined tumour, for k = 15 beside it in a blurred brain.")

# %% [markdown]
# First more, then fewer. A small square is filled by a spot. A large one no longer fits into the tumour, and mixes it
# with all around. Of the sizes we tried, 5 x 5 found most: it pays to match the kernel to what you look for. The
# slider shows every odd size up to 21.

# %% tags=["plumbing"]
import ipywidgets


def search(k=5):
    fig, ax = plt.subplots(figsize=(3.5, 3.7))
    draw_search(k, ax)
    plotting.show(fig, alt="Map of the mean kernel, its brightest point ringed.")


_ = ipywidgets.interact(search, k=(1, 21, 2))

# %% [markdown]
# Do not take that for a detector. We chose $k$ on the very slices we counted on; they come from only 14 simulated
# patients; and a healthy slice has a brightest point as well. But remember the form: *a convolution, then one answer
# from the whole map*. Networks that classify images have it too.
#
# **Exercise 06.2: change the experiment.** Scanners differ in their greys ([lesson
# 04](04_grey_values_and_leaks.ipynb)). If one adds 0.1 to all pixels, every mean grows by 0.1. A kernel whose weights
# add up to 0 does not notice. Write `spot(inner, outer)` for two odd numbers: an `outer` x `outer` kernel that takes
# the mean of the `inner` x `inner` pixels in the middle, minus the mean of the ring around them. Then let it search:
# does `found(spot(5, 11))` count more tumours than `found(mean_kernel(5))`, or fewer? Try wider rings, up to
# `spot(5, 31)`. ([solution](solutions/06_convolution.ipynb))
#
# > **Hint** Fill the whole square with the ring's weight, then overwrite the middle. How many pixels are in the ring?


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
# Far fewer: 17 of 56 with `spot(5, 11)`. Next to the black background the whole rim of the brain is "brighter than its
# surroundings". Wider rings find more, but none up to 31 reaches the plain mean. A cure for one mistake may bring
# another; only a trial on images shows which.
#
# </details>

# %% [markdown]
# ## Padding and stride
#
# Two settings decide where the kernel is laid. **Padding** first puts $m$ rows and columns of zeros on each side of
# the image. **Stride** $s$ moves the kernel by $s$ pixels instead of one. Keras knows two paddings: `"valid"` is none,
# `"same"` adds just enough zeros for an output of side $h/s$, rounded up, where $h$ is the image's side: with stride 1 the
# size of the image. Here are three layers on 6 x 6 pixels.

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
    ax.scatter(columns, rows, color=plotting.BLUE, s=22, zorder=3)
    ax.add_patch(plt.Rectangle((-before, -before), 3, 3, fill=False, ec=plotting.VERMILION, lw=3, zorder=4))
    ax.set(xlim=(-1.2, side + 1.2), ylim=(side + 1.2, -1.2), aspect="equal")
    ax.set_title(f"{title}\n{side} x {side} gives {len(places)} x {len(places)}", fontsize=11)
    ax.set_axis_off()


# %% tags=["plumbing"]
fig, axes = plt.subplots(1, 3, figsize=(6.4, 2.6))
draw_places(axes[0], "valid, stride 1", 6, 0, 0, 1)
draw_places(axes[1], "same, stride 1", 6, 1, 1, 1)
draw_places(axes[2], "same, stride 2", 6, 0, 1, 2)
plotting.show(fig, alt="An image of 6 by 6 pixels and a 3 by 3 kernel. Valid with stride 1: 4 by 4 places. Same with stride 1: "
              "a ring of zeros and 6 by 6 places. Same with stride 2: zeros only below and on the right, 3 by 3 places.")

# %% [markdown]
# Grey squares are pixels, zeros are padding. The thick square is the kernel at its first place; a dot marks its middle
# at every place, so each dot is one number of the output. An image of side $h$ gives a map of side ([Dumoulin and
# Visin 2016](https://arxiv.org/abs/1603.07285), relationship 6)
#
# $$o = \left\lfloor \frac{h + 2m - k}{s} \right\rfloor + 1$$
#
# Keras tells us the size without computing a map. Here are 64 x 64 pixels, and the formula without padding ($m = 0$):

# %% tags=["nbval-check-output"]
def side(k, s, padding):
    layer = keras.layers.Conv2D(1, k, strides=s, padding=padding)
    return layer.compute_output_shape((1, 64, 64, 1))[1]


print("k  s  formula  valid  same")
for k, s in ((3, 1), (3, 2), (5, 2), (7, 4)):
    print(f"{k}  {s}  {(64 - k) // s + 1:7}  {side(k, s, 'valid'):5}  {side(k, s, 'same'):4}")

# %% [markdown]
# `"valid"` is the formula. With `"same"`, $k = 3$, $s = 2$ and an even side, that takes only one row
# and one column of zeros. [TensorFlow](https://www.tensorflow.org/api_docs/python/tf/nn#notes_on_padding_2) puts them
# below and on the right (third drawing); PyTorch's `padding=1` puts zeros on all four sides. The same weights then
# give another answer, and no error message.
#
# ## Channels
#
# A colour photo has three numbers per pixel, and so has our slice: the contrasts T1, T2 and FLAIR. These are
# **channels**. A layer has one kernel for every pair of an input channel $c$ and an output channel $f$. Each output
# map is the sum over the input channels, plus a constant $b_f$, the **bias**. For image number $n$:
#
# $$y_{nijf} = b_f + \sum_{c} \sum_{u,v} x_{n,\;s i+u,\;s j+v,\;c}\; w_{uvcf}$$
#
# In this example with two output channels, the first map asks "brighter in FLAIR than in T1?", the second "is there
# detail in T2?"

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
fig, axes = plt.subplots(3, 4, figsize=(6.4, 5.4), height_ratios=[1.05, 1, 1])
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
axes[0, 3].text(0, 0.5, "Each row of\nkernels, laid on\nthe images above\nand added up,\ngives one map.", fontsize=10, va="center")
axes[0, 3].set_axis_off()
fig.supxlabel("windows: images 0 to 0.9, maps -0.3 to 0.3", fontsize=10, color=plotting.GREY)
plotting.show(fig, alt="A layer with three input and two output channels. Top: T1, T2 and FLAIR. Below, two rows of three "
              "kernels, each row followed by its map. In the first map the tumour is light, the white matter black.")

# %% [markdown]
# Each map has its own three kernels, and looks at all three contrasts through them. In the first map the tumour
# stands out, and white matter, bright in T1, turns black.
#
# In NumPy,
# [`sliding_window_view`](https://numpy.org/doc/stable/reference/generated/numpy.lib.stride_tricks.sliding_window_view.html)
# gives every window of the image without copying it: an array with the axes $n, i, j, c, u, v$. `einsum` multiplies,
# and adds over the letters that are missing after the arrow. The letters are those of the equation.

# %%
from numpy.lib.stride_tricks import sliding_window_view


def convolve(x, w, b, stride=1):
    """A layer: x (n, height, width, c), w (k, k, c, f), b (f,)."""
    windows = sliding_window_view(x, w.shape[:2], axis=(1, 2))[:, ::stride, ::stride]
    return np.einsum("nijcuv,uvcf->nijf", windows, w) + b


# %% [markdown]
# First against our loops, then against [Keras](https://keras.io/api/layers/convolution_layers/convolution2d/): eight
# slices in three contrasts, and four output channels with random kernels of 5 x 5. (The index `None` adds an axis.)

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
    print(f"{padding:5s} stride {stride}: {ours.shape} {equal}")

# %% [markdown]
# Three times `True`: no output differs from Keras's by more than 1e-5. Nothing is hidden in the layer: it is this sum.
#
# ## What it saves
#
# A layer with $C$ input and $F$ output channels has $(k^2 C + 1)\,F$ weights, biases included, whatever the size of the
# image. A **dense** layer instead connects every input number with every output number by a weight of its own.
#
# > **Predict** Three contrasts of 64 x 64 pixels in, 32 maps of the same size out. How many weights does a convolution
# > with 3 x 3 kernels have? And a dense layer: thousands, millions, or more?

# %% tags=["nbval-check-output"]
convolution_weights = (3 * 3 * 3 + 1) * 32
dense_weights = (64 * 64 * 3 + 1) * (64 * 64 * 32)
print(f"convolution: {convolution_weights:>13,}")
print(f"dense:       {dense_weights:>13,}")

# %% [markdown]
# More than a thousand million (10⁹): a few hundred patients cannot determine so many. Where does the saving come
# from? Write a convolution as a dense layer and look. Switch on one pixel of a 6 x 6 image at a time; the 16 outputs
# are one column of the dense layer's weights.

# %%
nine_weights = np.arange(1.0, 10.0).reshape(3, 3)
pixels = np.eye(36).reshape(36, 6, 6)  # 36 images with one bright pixel
columns = [correlate_by_loops(pixel, nine_weights).ravel() for pixel in pixels]
matrix = np.stack(columns, axis=1)  # (16 outputs, 36 pixels)

# %% tags=["plumbing"]
fig, ax = plt.subplots(figsize=(6.2, 3.1))
drawn = ax.imshow(np.where(matrix == 0, np.nan, matrix), cmap="viridis")
ax.set(xlabel="pixel (row by row)", ylabel="output (row by row)", xticks=range(0, 36, 6), yticks=range(0, 16, 4))
ax.grid(False)
fig.colorbar(drawn, label="weight")
plotting.show(fig, alt="The 16 by 36 weights of a 3 by 3 convolution written as a dense layer. Each row holds the same nine "
              "weights, shifted to the right from row to row; all other entries are zero and drawn white.")

# %% [markdown]
# You see two savings. Most entries are zero (white): an output sees only its **neighbourhood**. And each row holds the
# same nine numbers: all places **share** their weights. A convolution is a dense layer that was told two things before
# it saw an image: near pixels belong together, and a thing is the same thing wherever it is. These are two of the three
# ideas of [LeCun and others 1998](https://doi.org/10.1109/5.726791). The third is to make maps smaller.
#
# ## Pooling, and how far an output sees
#
# **Max pooling** cuts a map into blocks of 2 x 2 numbers and keeps the largest of each. It halves the sides and has no
# weights. Here it shrinks the map from the film above.

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
print(x.shape, "->", max_pool(x).shape)
print("equal to Keras:", np.array_equal(max_pool(x), theirs))

# %% [markdown]
# Why throw numbers away? Because the next kernel then sees further. The **receptive field** of an output is the part of
# the image that can influence it; after layer $l$ its side is $r_l$. The **total stride** $t_l$ is the product of all
# strides so far: neighbours on the map lie $t_l$ pixels apart in the image. So a layer with kernel $k_l$ and stride
# $s_l$ widens the field by $k_l - 1$ steps of $t_{l-1}$ pixels ([Araujo,
# Norris and Sim 2019](https://doi.org/10.23915/distill.00021)):
#
# $$r_l = r_{l-1} + (k_l - 1)\, t_{l-1}, \qquad t_l = t_{l-1}\, s_l, \qquad r_0 = t_0 = 1$$

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
# Is that right? We measure. Build these six layers in Keras, with all weights 1 so that no influence can
# cancel another. After each layer, watch *one* output near the tumour's place. Light a single pixel of a black image:
# does that output change? Ask this for each of the 4096 pixels.

# %%
x = inputs = keras.Input((64, 64, 1))
outputs = []
for k, s in stack:
    if s == 1:
        x = keras.layers.Conv2D(1, k, padding="same", kernel_initializer="ones")(x)
    else:
        x = keras.layers.MaxPooling2D()(x)
    place = 36 * x.shape[1] // 64  # of the output that belongs to row 36, column 36
    outputs.append(x[:, place, place, 0])

# %%
one_pixel_each = np.eye(64 * 64, dtype="float32").reshape(-1, 64, 64, 1)
answers = keras.Model(inputs, outputs).predict(one_pixel_each, batch_size=256, verbose=0)
influences = [answer.reshape(64, 64) for answer in answers]  # of each pixel

# %% tags=["nbval-check-output"]
# how many rows each influence spans
print([int(np.ptp(np.nonzero(influence)[0])) + 1 for influence in influences])

# %% [markdown]
# The measured sides are those of the formula. The film draws its squares (pooling groups fixed pairs, so they do not share a centre) on our slice, layer by layer, and beside them
# what was measured.

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
    right_ax.set_title(f"{side} x {side} px = {side * spacing_mm:.1f} mm")


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
# On the right, the brighter a pixel is drawn, the larger the output when it is lit. (Colours follow the square root, so
# that the rim can be seen.) The square is a limit, not a description: pixels in its middle reach the output by many
# paths, those at its rim by few ([Luo and others 2016](https://arxiv.org/abs/1701.04128)). So plan a field larger than
# the tumour and the surroundings that are needed to judge it.
#
# <details><summary>Aside: two convolutions in a row are only one</summary>
#
# Two 3 x 3 convolutions one after the other see 5 x 5 pixels, but with nothing in between they are *one* convolution
# with a 5 x 5 kernel: a sum of sums is a sum. Depth pays only if something stands between that is not a sum. Max
# pooling is such a thing; the usual one is the **rectifier**, $\mathrm{ReLU}(z) = \max(0, z)$.
#
# </details>

# %% [markdown]
# **Exercise 06.3: plan a network.** Plan layers for images with three channels: a list of `("convolution", k)`, with
# stride 1 and 8 output channels, and `("pooling", 2)`, with stride 2. Make the receptive field **at least 32 pixels**
# and the total stride **at most 4** (small tumours must not get lost), with **at most 3,000 weights**, biases
# included. Begin with a convolution; kernels have side 3 or 5.
# ([solution](solutions/06_convolution.ipynb))
#
# > **Hint** Where does one more 3 x 3 convolution widen the field most: before or after the pooling layers?

# %% tags=["exercise"]
plan = ...  # such as [("convolution", 3), ("pooling", 2), ("convolution", 3)]

# %% tags=["solution"]
plan = [("convolution", 3), ("pooling", 2)] * 2 + [("convolution", 3)] * 3

# %%
check.exercise("06.3", plan)

# %% [markdown]
# ## When the patient moves
#
# Two words say what becomes of a change in the image. An operation is **equivariant** if its output changes in the same
# way: the image shifts, the map shifts. It is **invariant** if its output does not change. To find *where* a tumour is
# we want the first; to say *whether* there is one, the second. Here the patient moves to the right, one pixel a frame.
# To get a map with stride $s$, we keep every $s$-th row and column of the map with stride 1.

# %%
def shifted(by):
    return np.roll(flair, by, axis=1)  # the border is black: nothing is lost


def strided_map(image, stride):
    return feature_map(image, mean_kernel(5))[::stride, ::stride]


# %% tags=["plumbing"]
def moving():
    """Frames: the image shifted by 0 to 8 pixels, its map with stride 1, and with stride 4."""
    fig, axes = plt.subplots(1, 3, figsize=(6.4, 2.5))
    for shift in range(9):
        image = shifted(shift)
        for ax, drawn in zip(axes, (image, strided_map(image, 1), strided_map(image, 4)), strict=True):
            ax.clear()
            ax.imshow(drawn, vmin=0.2, vmax=0.8), ax.set_axis_off()
        axes[0].set_title(f"shifted\nby {shift} px", fontsize=11)
        axes[1].set_title(f"stride 1:\nlargest {strided_map(image, 1).max():.3f}", fontsize=11)
        axes[2].set_title(f"stride 4:\nlargest {strided_map(image, 4).max():.3f}", fontsize=11)
        fig.draw_without_rendering()
        yield fig


plotting.show_animation(
    moving(), milliseconds=600,
    alt="A slice moves to the right by 8 pixels. Its map with stride 1 moves along, its largest value stays. The map with stride 4 flickers.",
)

# %% [markdown]
# The map with stride 1 travels along: equivariant. Its largest number stays: invariant. The map with stride 4
# flickers: in between, its brightest place is not kept. Here that costs little. It matters where an answer lies close to
# a threshold. The largest numbers after shifts by 0 to 4 pixels:

# %% tags=["nbval-check-output"]
for stride in (1, 2, 4):
    largest = [strided_map(shifted(by), stride).max() for by in range(5)]
    print(f"stride {stride}:", *(f"{value:.3f}" for value in largest))

# %% [markdown]
# With stride 2 every second number is the same, with stride 4 every fourth: after a shift by a multiple of the stride
# the image falls into the grid as before. In between, the brightest place may not be kept. Max pooling has such a grid too: the largest number survives it, the rest of the map changes. Published networks
# have changed their answer when an image moved by one pixel ([Azulay and Weiss
# 2019](https://arxiv.org/abs/1805.12177)); [Zhang 2019](https://proceedings.mlr.press/v97/zhang19a.html) smooths the
# map before it is thinned out.
#
# <details><summary>Aside: the border breaks it too</summary>
#
# With `"same"` padding, tissue near the edge of the picture sees zeros that are not part of the patient. Each layer
# carries them further inwards. A deep network can learn from that rim *where* in the picture something is ([Kayhan
# and van Gemert 2020](https://arxiv.org/abs/2003.07064)).
#
# </details>
#
# ### Turns
#
# Now the image is turned by 90 degrees. We can turn first and then filter, or filter first and then turn the map.
#
# > **Predict** For which of the two kernels, mean and "right minus left", do both orders give the same?

# %%
turn = np.rot90  # by 90 degrees

# %% tags=["plumbing"]
fig, axes = plt.subplots(2, 3, figsize=(6.2, 5.2))
rows = (("mean", mean_kernel(5), (0.2, 0.8)), ("right minus left", right_minus_left, (-0.3, 0.3)))
for row_of_axes, (name, w, window) in zip(axes, rows, strict=True):
    first, last = feature_map(turn(flair), w), turn(feature_map(flair, w))
    titles = (f"{name}:\nturn, then filter", f"{name}:\nfilter, then turn", f"difference:\nat most {abs(first - last).max():.2f}")
    for ax, title, picture in zip(row_of_axes, titles, (first, last, first - last), strict=True):
        low, high = (-0.3, 0.3) if title.startswith("difference") else window
        ax.imshow(picture, vmin=low, vmax=high)
        ax.set_title(title, fontsize=11)
        ax.set_axis_off()
fig.supxlabel("windows: mean 0.2 to 0.8; right minus left and differences -0.3 to 0.3", fontsize=10, color=plotting.GREY)
plotting.show(fig, alt="The slice turned and filtered, filtered and turned, and the difference. For the mean kernel the "
              "difference is zero everywhere. For right minus left other edges are shown, and the difference is large.")

# %% tags=["nbval-check-output"]
print("kernel              not turned  turned too")
for name, w in kernels.items():
    turned_map = turn(feature_map(flair, w))
    image_only = np.allclose(feature_map(turn(flair), w), turned_map, atol=1e-6)
    kernel_too = np.allclose(feature_map(turn(flair), turn(w)), turned_map, atol=1e-6)
    print(f"{name:18s}  {image_only!s:10}  {kernel_too}")

# %% [markdown]
# The image was turned in both columns; `True` means that its map is the old map, turned. Mean and detail look the same
# after a quarter turn, so they give a turned map. The two edge kernels do not: on the turned image they show other
# edges. The last column holds for *every* kernel: turn the image *and* the kernel, and the map turns.
#
# So shifts are built into the sum, and turns are not. To cope with turned heads, a network sees turned images in
# training (lesson 14, augmentation), or is built for them ([Cohen and Welling
# 2016](https://arxiv.org/abs/1602.07576)).
#
# **In this lesson we**
#
# - wrote a convolutional layer as one sum, in loops and in NumPy, equal to Keras's to 1e-5; strictly, it is a
#   cross-correlation;
# - read from its weights what a kernel does, and found tumours with the mean of a square;
# - computed the size of maps, and saw why so few weights are needed: neighbourhoods, and shared weights;
# - measured a receptive field, pixel by pixel, and found the formula right;
# - saw that maps follow shifts, that strides break this, and that a map follows a turn only if the turn leaves the
#   kernel as it is.
#
# The sums and formulas hold for any image. That 25 equal weights found most tumours does not: it holds for a simulation in
# which tumours are larger than other bright spots.
#
# **Next** We typed in every weight. In [lesson 07](07_learning.ipynb) they are learnt from examples.
#
# **References**
#
# - A. Araujo, W. Norris, J. Sim: Computing receptive fields of convolutional neural networks, *Distill* 2019,
#   [doi:10.23915/distill.00021](https://doi.org/10.23915/distill.00021).
# - A. Azulay, Y. Weiss: *Journal of Machine Learning Research* 20 (2019), [arXiv:1805.12177](https://arxiv.org/abs/1805.12177).
# - T. Cohen, M. Welling: Group equivariant convolutional networks, *ICML* 2016,
#   [arXiv:1602.07576](https://arxiv.org/abs/1602.07576).
# - V. Dumoulin, F. Visin: A guide to convolution arithmetic for deep learning,
#   [arXiv:1603.07285](https://arxiv.org/abs/1603.07285) (2016).
# - I. Goodfellow, Y. Bengio, A. Courville: *Deep Learning*, MIT Press 2016, [chapter
#   9](https://www.deeplearningbook.org/contents/convnets.html).
# - O. S. Kayhan, J. C. van Gemert: *CVPR* 2020, [arXiv:2003.07064](https://arxiv.org/abs/2003.07064).
# - Y. LeCun, L. Bottou, Y. Bengio, P. Haffner: *Proceedings
#   of the IEEE* 86 (1998), [doi:10.1109/5.726791](https://doi.org/10.1109/5.726791).
# - W. Luo, Y. Li, R. Urtasun, R. Zemel: *NeurIPS* 2016, [arXiv:1701.04128](https://arxiv.org/abs/1701.04128).
# - R. Zhang: Making convolutional networks shift-invariant again, *ICML* 2019, [PMLR
#   97](https://proceedings.mlr.press/v97/zhang19a.html).

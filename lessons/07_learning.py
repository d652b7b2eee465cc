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
# # 07 Learning
#
# Nobody writes down how a tumour looks. A network starts with random numbers, sees examples, and ends with numbers
# that work. What happens in between? This lesson builds the parts of a network by hand, small enough to watch every step. And it
# shows what training rewards, which is not always what we want.
#
# **You will**
#
# - turn a score into a probability, and a probability into a loss;
# - derive the gradient of that loss, and watch gradient descent follow it downhill;
# - carry a gradient back through a convolution, check it, and learn a kernel with it;
# - tell overfitting from a generalisation gap;
# - train a small network on virtual patients, and find out what it has learnt.
#
# **Reading:** about 40 min · **running:** about 20 s ·
# **builds on:** [lesson 05](05_classical_baseline.ipynb) (AUC, intervals), [lesson 06](06_convolution.ipynb) (convolution)

# %% tags=["install"]
import medlib

# %% tags=["parameters"]
n_subjects = 240  # virtual patients, two slices each; 15 % are set aside, unused
epochs = 20  # passes over the training slices
seed = 0  # of the initial weights of the two networks at the end

# %% tags=["plumbing"]
parameters = {"n_subjects": n_subjects, "epochs": epochs, "seed": seed}

from medlib import training

keras = training.import_keras()  # without TensorFlow's start-up messages
import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from coursekit import check, ledger
from medlib import plotting

plotting.use_style()

# %% [markdown]
# ## One number per slice
#
# Our patients are virtual: `simbrain`, the simulation of lessons 00 to 06. Half of them have a tumour. We use the FLAIR
# images (channel 2). The set's own test patients stay aside: we draw new ones, which no other lesson has seen.

# %% tags=["nbval-check-output"]
from medlib.datasets import simbrain

data = simbrain.load_simbrain(n_subjects=n_subjects, slices_per_subject=2, image_size=64)
test = simbrain.new_patients(seed=30307, n_subjects=120, slices_per_subject=2, image_size=64)
print(len(data.train), "training,", len(data.validation), "validation,", len(test), "test slices")

# %% [markdown]
# Scanners differ in brightness. So we standardise the tissue of every slice: subtract its mean, divide by its standard
# deviation (SD). The background stays 0. (Why only the tissue? The last section says.)


# %%
def standardise_tissue(flair):
    """Give the tissue of each slice, shape (n, height, width), mean 0 and SD 1."""
    tissue = np.where(flair > 0, flair, np.nan)
    mean, sd = (f(tissue, axis=(1, 2), keepdims=True) for f in (np.nanmean, np.nanstd))
    return np.nan_to_num((tissue - mean) / sd)


images, new_images = (standardise_tissue(split.images[..., 2]) for split in (data.train, test))
labels = data.train.labels  # 1 is tumour, 0 is none

# %% [markdown]
# A tumour is often a bright blob in FLAIR. [Lesson 06](06_convolution.ipynb) found it with a blur, the mean of 5 x 5 pixels. The
# *largest* output of this blur anywhere in the slice is our one number $x$. It is standardised too, over the training slices.

# %%
from scipy import ndimage


def brightest_blob(images):
    """Largest output of the 5 x 5 blur in each slice."""
    return ndimage.uniform_filter(images, (0, 5, 5)).max(axis=(1, 2))


blob = brightest_blob(images)
x = (blob - blob.mean()) / blob.std()

# %% tags=["plumbing"]
colours = np.where(labels, plotting.VERMILION, plotting.BLUE)
jitter = np.random.default_rng(7).uniform(-0.12, 0.12, len(x))
fig, axes = plt.subplots(1, 3, figsize=(8, 2.7), width_ratios=(1, 1, 1.3))
for ax, (kind, rank, name) in zip(axes, ((1, 138, "tumour"), (0, 84, "no tumour")), strict=False):
    row = np.flatnonzero(labels == kind)[np.argsort(x[labels == kind])[rank]]
    ax.imshow(images[row], vmin=-2, vmax=4)
    plotting.outline(ax, data.train.masks[row])
    place = np.unravel_index(ndimage.uniform_filter(images[row], 5).argmax(), images[row].shape)
    ax.add_patch(plt.Rectangle((place[1] - 2.5, place[0] - 2.5), 5, 5, fill=False, ec=plotting.SKY, lw=2))
    ax.set_title(f"{name}: x = {x[row]:.1f}")
    ax.set_axis_off()
axes[2].scatter(x, labels + jitter, s=9, c=colours, alpha=0.6)
axes[2].set(xlabel="x, brightest blob [SD]", yticks=[0, 1], yticklabels=["none", "tumour"], ylim=(-0.3, 1.3))
plotting.show(fig, alt="Two standardised FLAIR slices with the 5 by 5 window of the largest blur output: on the tumour in "
              "one, on ordinary tissue in the other. Right: x of every training slice; tumours mostly lie further "
              "right, with overlap between about -1 and 1.")

# %% [markdown]
# Blue square: where the blur is largest. Orange: the tumour, known from the simulation. Grey runs from -2 SD (black) to 4 SD
# (white). Right: each dot is a training slice. Tumours lie further right, but no limit on $x$ separates the two groups.
#
# ## From score to probability
#
# A **score** is a weighted sum, here $z = w x + b$ with a weight $w$ and a **bias** $b$. It can be any number. The **sigmoid**
# makes a probability of it, the probability of "tumour"
# ([Goodfellow and others, equation 3.30](https://www.deeplearningbook.org/contents/prob.html)):
#
# $$p = \sigma(z) = \frac{1}{1 + e^{-z}}$$


# %%
def sigmoid(z):
    """Probability of class 1 from a score."""
    return 1 / (1 + np.exp(-z))


# %% [markdown]
# Both weights stand in one array, `weights = [w, b]`: what training changes.


# %% tags=["nbval-check-output"]
def probability(weights, x):
    """What the model says for the numbers x."""
    return sigmoid(weights[0] * x + weights[1])


for weights in ([0, 0], [1, 0], [5, 0], [5, -5]):
    print(weights, probability(weights, np.array([-1, 0, 1, 2])).round(2))

# %% [markdown]
# Each row: the answers for $x$ = -1, 0, 1 and 2. With $w = 0$ the slice does not count. A larger $w$ makes the model surer;
# $b$ moves the place where it changes its mind.
#
# ### More than two classes
#
# With $C$ classes a network gives $C$ scores, and **softmax** makes $C$ probabilities of them
# ([equation 6.29](https://www.deeplearningbook.org/contents/mlp.html)):
#
# $$p_k = \frac{e^{z_k}}{\sum_{j=1}^{C} e^{z_j}}$$
#
# They are positive and add up to one. A number added to all scores cancels. So we may subtract the largest score first, and
# no exponential overflows.


# %%
def softmax(z):
    """Probabilities from scores; the classes are the last axis."""
    exponentials = np.exp(z - z.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


# %% [markdown]
# > **Predict** Two classes with the scores 0 and $z$: what does softmax give for the second? And what does softmax give
# > for a *single* score?

# %% tags=["nbval-check-output"]
for z in (-2.0, 0.0, 3.0):
    two, one = softmax(np.array([0, z])), softmax(np.array([z]))
    print(f"z {z:4.1f}  sigmoid {sigmoid(z):.3f}  softmax (0, z)", two.round(3), " (z)", one)

# %% [markdown]
# **Sigmoid is softmax over the scores 0 and $z$**: divide the numerator and denominator of $e^z / (e^0 + e^z)$ by $e^z$. So for
# two classes one score is enough, with sigmoid. Softmax over one score is $e^z / e^z = 1$, whatever the image: a mistake
# that we shall meet in [lesson 08](08_first_cnn.ipynb).
#
# ## How wrong is a probability?
#
# The **loss** $L$ is the number that training makes small. For probabilities it is the **cross-entropy**: minus the
# logarithm of the probability that the *true* class got. With the label $y$ (1 for tumour, 0 for none),
#
# $$L = -\log p_\mathrm{true} = -y \log p - (1 - y) \log (1 - p),$$
#
# averaged over the slices. With $C$ classes it is $L = -\sum_k y_k \log p_k$, where $y_k$ is 1 for the true class and 0 for the
# others: again $-\log p_\mathrm{true}$. Keras calls the two `binary_crossentropy` and `categorical_crossentropy`. ($\log$ is the
# natural logarithm.)


# %%
def cross_entropy(p, y):
    """Mean over the slices; the maximum avoids the logarithm of 0."""
    p_true = np.where(y == 1, p, 1 - p)
    return float(-np.mean(np.log(np.maximum(p_true, 1e-12))))


def loss(weights):
    """Cross-entropy of the two-weight model on the training slices."""
    return cross_entropy(probability(weights, x), labels)


# %% tags=["nbval-check-output"]
print("always 1/2:", round(loss([0, 0]), 3))
for p in (0.99, 0.9, 0.5, 0.1, 0.01):
    print(f"probability given to the truth {p:4.2f}   loss {-np.log(p):.3f}")

# %% [markdown]
# Being sure and wrong is expensive. One number to remember: saying 1/2 costs $\log 2 = 0.693$. A loss above that is worse than an
# honest "I do not know".
#
# ## The gradient
#
# Which way should $w$ and $b$ move? The **gradient** holds the derivatives of $L$, one for each weight. The chain rule
# goes backwards from the loss to the weights. For one slice:
#
# $$\frac{\partial L}{\partial z} = \frac{\partial L}{\partial p}\,\frac{\partial p}{\partial z}
# = \frac{p - y}{p\,(1 - p)}\; p\,(1 - p) = p - y$$
#
# What is left is the error: said minus true. Since $z = wx + b$, one more step gives
#
# $$\frac{\partial L}{\partial w} = (p - y)\,x, \qquad \frac{\partial L}{\partial b} = p - y .$$


# %%
def gradient(weights):
    """Derivatives of the loss with respect to w and b."""
    error = probability(weights, x) - labels
    return np.array([np.mean(error * x), np.mean(error)])


# %% [markdown]
# A derivation can be wrong. To check it, change one number $\theta$ a little, up and down, and see what the loss does. This
# **finite difference**, $\left( L(\theta + \varepsilon) - L(\theta - \varepsilon) \right) / 2\varepsilon$, is near the derivative.


# %%
def differences(loss, array, epsilon=1e-5):
    """Finite difference of loss(array) for every number of an array."""
    slopes = np.zeros(array.shape)
    for place in np.ndindex(array.shape):
        change = np.zeros(array.shape)
        change[place] = epsilon
        slopes[place] = (loss(array + change) - loss(array - change)) / (2 * epsilon)
    return slopes


# %% tags=["nbval-check-output"]
start = np.array([-2.0, 2.0])
print("by formula:    ", gradient(start).round(6))
print("by differences:", differences(loss, start).round(6))

# %% [markdown]
# For softmax the same cancellation gives $\partial L / \partial z_k = p_k - y_k$
# ([Bishop 2006](https://www.microsoft.com/en-us/research/publication/pattern-recognition-machine-learning/), section 4.3.4).
#
# **Exercise 07.1: the gradient of softmax.** Given `scores`, shape (n, classes), and `truth`, the n true classes
# as integers, return the gradient of the *mean* cross-entropy over the rows with respect to the scores.
# ([solution](solutions/07_learning.ipynb))
#
# > **Hint** `np.eye(classes)[truth]` has a 1 at the true class of each row. Each row contributes $1/n$ to the mean.


# %% tags=["exercise"]
def softmax_gradient(scores, truth):
    return ...  # your code here


# %% tags=["solution"]
def softmax_gradient(scores, truth):
    n, classes = scores.shape
    return (softmax(scores) - np.eye(classes)[truth]) / n


# %%
check.exercise("07.1", softmax_gradient)

# %% [markdown]
# ## Downhill
#
# **Gradient descent** repeats one step, against the gradient. The **learning rate** $\eta$ sets its length.
#
# $$(w, b) \leftarrow (w, b) - \eta \left( \frac{\partial L}{\partial w}, \frac{\partial L}{\partial b} \right)$$


# %%
def descend(weights, rate, steps):
    """Weights before the first step and after each one, shape (steps + 1, 2)."""
    path = [np.array(weights, dtype=float)]
    for _ in range(steps):
        path.append(path[-1] - rate * gradient(path[-1]))
    return np.array(path)


path = descend(start, rate=1.0, steps=40)

# %% [markdown]
# Two weights can be drawn on paper. Left: every point is a model, and the contour lines show its loss. Inside the line 0.693
# a model does better than always saying 1/2. We start at a bad one. Right: the probability that the model gives to each $x$.

# %% tags=["plumbing"]
grid_w, grid_b = np.meshgrid(np.linspace(-3.5, 6, 70), np.linspace(-4, 4, 60))
heights = np.array([loss(np.array(pair)) for pair in zip(grid_w.ravel(), grid_b.ravel(), strict=True)]).reshape(grid_w.shape)
curve_x = np.linspace(-2, 3.2, 120)


def draw_surface(ax):
    """Contours of the loss, equal steps of its logarithm."""
    ax.contourf(grid_w, grid_b, np.log(heights), levels=14, cmap="Blues", alpha=0.6)
    lines = ax.contour(grid_w, grid_b, heights, levels=[0.4, 0.5, 0.693, 1, 1.5, 2.5, 4], colors="0.35", linewidths=0.8)
    ax.clabel(lines, fontsize=9, fmt="%g")
    ax.set(xlabel="weight w", ylabel="bias b", xlim=(-3.5, 6), ylim=(-4, 4))
    ax.set_aspect("equal")
    ax.grid(False)


# %% tags=["plumbing"]
def frames_of_descent():
    fig, (left, right) = plt.subplots(1, 2, figsize=(7.0, 3.2))
    draw_surface(left)
    (trail,) = left.plot([], [], color=plotting.VERMILION, marker=".", linewidth=1.5)
    (dot,) = left.plot([], [], "o", color=plotting.VERMILION, markersize=11)
    right.scatter(x, labels + 0.3 * jitter, s=9, c=colours, alpha=0.5)
    (curve,) = right.plot([], [], color=plotting.BLACK)
    right.set(xlabel="x, brightest blob [SD]", ylabel="probability of tumour", ylim=(-0.08, 1.08))
    for step in [*range(12), 14, 18, 25, 40]:
        trail.set_data(*path[: step + 1].T)
        dot.set_data(*path[step : step + 1].T)
        curve.set_data(curve_x, probability(path[step], curve_x))
        left.set_title(f"step {step}: loss {loss(path[step]):.2f}")
        yield fig


plotting.show_animation(frames_of_descent(), milliseconds=350, alt="Left: contours of the loss over w and b. A dot starts at w = -2, b = 2, where the "
                        "loss is 2.07, and rolls down to about w = 2.3, b = 0.1, with shorter and shorter steps. Right: the "
                        "sigmoid over the training slices starts upside down, flattens and becomes a rising S.")

# %% [markdown]
# Each step leaves its contour line at a right angle: the gradient points straight uphill, and we go the other way. Near the
# bottom the steps shrink by themselves, because the gradient does.
#
# ### The learning rate
#
# > **Predict** We try $\eta$ = 0.03, 2 and 40. What will 40 steps of each look like?

# %%
paths = {rate: descend(start, rate, steps=40) for rate in (0.03, 2.0, 40.0)}

# %% tags=["plumbing"]
fig, axes = plt.subplots(1, 3, figsize=(8, 2.8), sharey=True)
for ax, (rate, path), name in zip(axes, paths.items(), ("too small", "right", "too large"), strict=True):
    draw_surface(ax)
    ax.plot(*path.T, color=plotting.VERMILION, marker=".", linewidth=1)
    ax.plot(*path[-1], "o", color=plotting.VERMILION, markersize=9)
    ax.set_title(f"{rate:g}, {name}: loss {loss(path[-1]):.2f}")
    ax.label_outer()
plotting.show(fig, alt="Paths of 40 steps on the loss surface. Rate 0.03 has hardly left the start. Rate 2 goes to the "
              "bottom. Rate 40 jumps from side to side and out of the picture.")

# %% [markdown]
# Each title gives the loss after 40 steps. Too small: far from the bottom. Too large: steps overshoot the valley and land on the
# other slope, some of them higher up. (It even came near the bottom, and was thrown out again.) With thousands of weights there is no such picture, but the curve of the loss shows the same: it crawls, it falls, or it jumps.

# %% tags=["plumbing"]
def draw_path(exponent):
    """The path for one learning rate."""
    fig, ax = plt.subplots(figsize=(4.6, 3.4))
    draw_surface(ax)
    trial = descend(start, 10**exponent, steps=40)
    ax.plot(*trial.T, color=plotting.VERMILION, marker=".", linewidth=1)
    ax.set_title(f"rate {10**exponent:.2g}: loss {loss(trial[-1]):.2f}")
    plotting.show(fig, alt="The path of 40 steps for the chosen learning rate.")


_ = ipywidgets.interact(draw_path, exponent=ipywidgets.FloatSlider(value=0, min=-2, max=2, step=0.25, description="log10 rate"))

# %% [markdown]
# **Exercise 07.2: momentum.** A heavy ball keeps part of its velocity $v$, which starts at zero. With $g$ the gradient where
# the ball is, each step first does $v \leftarrow m v - \eta g$, then $\theta \leftarrow \theta + v$. Write the function; it
# returns the last $\theta$. Then train with it: which ends lower,
# `loss(descend_with_momentum(gradient, start, 0.03, m, 40))` with `m` = 0 or with 0.9?
# ([solution](solutions/07_learning.ipynb))
#
# > **Hint** Take `descend` as a model. `gradient` is a function: call it at the present place.


# %% tags=["exercise"]
def descend_with_momentum(gradient, start, rate, momentum, steps):
    return ...  # your code here


# %% tags=["solution"]
def descend_with_momentum(gradient, start, rate, momentum, steps):
    place, velocity = np.array(start, dtype=float), 0.0
    for _ in range(steps):
        velocity = momentum * velocity - rate * gradient(place)
        place = place + velocity
    return place


for m in (0, 0.9):
    print(f"momentum {m}: loss {loss(descend_with_momentum(gradient, start, 0.03, m, 40)):.2f}")

# %%
check.exercise("07.2", descend_with_momentum)

# %% [markdown]
# ## Back through a convolution
#
# We chose the blur by hand. Could its 25 weights be learnt as well? Then the gradient must pass through the convolution.
# **Back-propagation** ([Rumelhart and others 1986](https://doi.org/10.1038/323533a0)) is the chain rule from the loss
# backwards: each operation receives the gradient of its output and hands on the gradient of its input.

# %% tags=["plumbing"]
fig, ax = plt.subplots(figsize=(6.4, 1.3))
boxes = {"image\n$X$": 1.2, "convolution\n$W, b$": 2.1, "ReLU,\nlargest": 1.35, "score\n$w, b$": 1.1, "sigmoid\n ": 1.45, "loss\n$L$": 0.9}
arrows = [("", ""), ("$Z$", "$G$"), ("$x$", ""), ("$z$", "$p - y$"), ("$p$", ""), None]
edge = 0
for (text, width), labelled in zip(boxes.items(), arrows, strict=True):
    style = {"fc": "#DCEBF7", "ec": plotting.BLUE} if "$W" in text or "$w" in text else {"fc": "white", "ec": plotting.GREY}
    ax.add_patch(plt.Rectangle((edge, -0.6), width, 1.2, lw=1.2, **style))
    ax.text(edge + width / 2, 0, text, ha="center", va="center", fontsize=12)
    edge += width + 0.75
    for way, label in zip((1, -1), labelled or (), strict=False):
        colour = plotting.BLACK if way == 1 else plotting.VERMILION
        ends = (edge - 0.7, edge - 0.05)[::way]
        ax.annotate("", (ends[1], 0.25 * way), (ends[0], 0.25 * way), arrowprops={"arrowstyle": "->", "lw": 1.8, "color": colour})
        ax.text(edge - 0.37, 0.85 * way, label, ha="center", va="center", fontsize=13, color=colour)
ax.set(xlim=(-0.1, edge - 0.6), ylim=(-1.1, 1.1))
ax.set_axis_off()
plotting.show(fig, alt="A chain of boxes: image X, convolution with weights W and b, ReLU and largest, score with weights w and b, "
              "sigmoid, loss. Black arrows lead forwards from image to loss, red ones backwards from loss to image. "
              "The gradient at the score is p minus y, the one at the output Z of the convolution is called G.")

# %% [markdown]
# Black: what is handed on, the forward pass. Orange: the gradients on their way back. Blue boxes hold weights; each has its own
# bias $b$. **ReLU**, the rectified linear unit, replaces negative numbers by 0: $\mathrm{ReLU}(Z) = \max(0, Z)$. Without it two
# convolutions in a row would be no more than one. On the way back it lets the gradient pass where $Z > 0$, and stops it elsewhere;
# "largest" hands it only to the output that was largest.
#
# The convolution of lesson 06, with capital letters for arrays:
#
# $$Z_{ij} = b + \sum_{u,v} X_{i+u,\,j+v}\, W_{uv}$$
#
# ReLU hands us $G_{ij} = \partial L / \partial Z_{ij}$. A weight collects from all outputs in which it took part. Below, $W_{02}$ met
# the nine framed pixels, one for each output.

# %% tags=["plumbing"]
def number_table(ax, values, title, frame=(0, 0, 0, 0)):
    """A small table of numbers on its colours."""
    ax.imshow(values, cmap="PuOr_r", vmin=-14, vmax=14)
    for (i, j), value in np.ndenumerate(values):
        ax.text(j, i, f"{value:.0f}", ha="center", va="center", fontsize=12)
    ax.add_patch(plt.Rectangle(frame[:2], *frame[2:], fill=False, ec="black", lw=3))
    ax.set_title(title), ax.set_axis_off()


tables = np.random.default_rng(3)
image_numbers, table_G = tables.integers(-2, 3, (5, 5)), tables.integers(-2, 3, (3, 3))
products = image_numbers[0:3, 2:5] * table_G
fig, axes = plt.subplots(1, 4, figsize=(8, 2.6), width_ratios=(5, 3, 3, 3))
number_table(axes[0], image_numbers, "image X", frame=(1.5, -0.5, 3, 3))
number_table(axes[1], table_G, "G")
number_table(axes[2], products, f"products: sum {products.sum()}")
number_table(axes[3], ndimage.correlate(image_numbers, table_G)[1:-1, 1:-1], "∂L/∂W", frame=(1.5, -0.5, 1, 1))
plotting.show(fig, alt="A 5 by 5 image with the upper right 3 by 3 window framed, the 3 by 3 gradient G, their nine products, "
              "and the 3 by 3 gradient of the kernel, whose upper right number is the sum of the products.")

# %% [markdown]
# In symbols, the gradient of the kernel is again a convolution as in lesson 06: $G$ slides over the image. The bias took part in
# every output.
#
# $$\frac{\partial L}{\partial W_{uv}} = \sum_{i,j} G_{ij}\, X_{i+u,\,j+v}, \qquad
# \frac{\partial L}{\partial b} = \sum_{i,j} G_{ij}$$
#
# A pixel collects in the same way, and its gradient goes on to the layer before, if there is one. There the indices run backwards:
# the mathematicians' convolution.
#
# <details><summary>Aside: the formula for a pixel</summary>
#
# With terms outside the arrays counted as zero,
#
# $$\frac{\partial L}{\partial X_{rs}} = \sum_{u,v} G_{r-u,\,s-v}\, W_{uv} .$$
#
# </details>

# %%
from scipy.signal import convolve2d, correlate2d


def convolution_gradients(X, W, G):
    """Gradients of the loss with respect to image, kernel and bias."""
    return convolve2d(G, W), correlate2d(X, G, mode="valid"), G.sum()


# %% [markdown]
# We check it by finite differences, with a loss whose $G$ is easy: $L = \sum \sin Z$, so $G = \cos Z$.

# %% tags=["nbval-check-output"]
rng = np.random.default_rng(7)
X, W, b = rng.normal(size=(8, 7)), rng.normal(size=(3, 3)), rng.normal()


def output(X, W, b):
    return correlate2d(X, W, mode="valid") + b


by_hand = convolution_gradients(X, W, G=np.cos(output(X, W, b)))
by_differences = (
    differences(lambda X: np.sin(output(X, W, b)).sum(), X),
    differences(lambda W: np.sin(output(X, W, b)).sum(), W),
    differences(lambda b: np.sin(output(X, W, b)).sum(), np.array(b)),
)
for name, ours, other in zip(("image", "kernel", "bias"), by_hand, by_differences, strict=True):
    print(name, np.allclose(ours, other, rtol=0, atol=1e-5))

# %% [markdown]
# All three agree to 0.00001. TensorFlow, the library under Keras, applies the chain rule backwards through any operations:
# [**automatic differentiation**](https://www.tensorflow.org/guide/autodiff). From the network below on it does the work; we know what
# it does.
#
# ### A kernel learnt
#
# Somebody filtered a slice $X$ with a secret 5 x 5 kernel, and gives us the slice and the
# result $T$. We begin with noise. The loss is the mean of $(Z - T)^2$, so $G = 2\,(Z - T) / N$ with $N$ outputs.

# %%
secret = np.pad([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], 1) / 4  # right minus left, of lesson 06
example = int(data.train.masks.sum(axis=(1, 2)).argmax())  # the slice with the largest tumour


# %%
def learn_kernel(X, steps):
    """Kernels and losses, from noise, before each step."""
    W, kernels, losses = np.random.default_rng(7).normal(0, 0.3, (5, 5)), [], []
    T, rate = correlate2d(X, secret, mode="valid"), 0.04 / np.mean(X**2)
    for _ in range(steps + 1):
        error = correlate2d(X, W, mode="valid") - T
        kernels.append(W)
        losses.append(np.mean(error**2))
        W = W - rate * correlate2d(X, 2 * error / error.size, mode="valid")
    return kernels, losses


kernels, losses = learn_kernel(images[example], steps=400)

# %% tags=["plumbing"]
def frames_of_kernel():
    fig, axes = plt.subplots(2, 2, figsize=(4.6, 4.9))
    target = correlate2d(images[example], secret, mode="valid")
    shown = [axes[0, 0].imshow(kernels[0], cmap="PuOr_r", vmin=-0.6, vmax=0.6), axes[1, 0].imshow(target, vmin=-3, vmax=3)]
    axes[0, 1].imshow(secret, cmap="PuOr_r", vmin=-0.6, vmax=0.6)
    axes[1, 1].imshow(target, vmin=-3, vmax=3)
    for ax, title in zip(axes.flat, ("", "secret kernel", "its output", "wanted output T"), strict=True):
        ax.set_title(title)
        ax.set_axis_off()
    for step in (0, 1, 2, 4, 7, 11, 17, 25, 35, 50, 75, 110, 200, 400):
        shown[0].set_data(kernels[step])
        shown[1].set_data(correlate2d(images[example], kernels[step], mode="valid"))
        axes[0, 0].set_title(f"step {step}: loss {losses[step]:.4f}")
        yield fig


plotting.show_animation(frames_of_kernel(), milliseconds=350, alt="A 5 by 5 kernel begins as noise and becomes, in 400 steps, the secret one: a negative left "
                        "column, a positive right one, zeros around. Below, its output becomes the wanted picture of vertical edges "
                        "much earlier than the kernel is right.")

# %% [markdown]
# (Weights from -0.6, purple, to 0.6, orange; outputs from -3 to 3.) Nobody told the program what an edge is.
#
# > **Predict** Now it learns from a *blurred* slice and its filtered version. Will 400 steps find the same kernel?

# %% tags=["nbval-check-output"]
blurred = ndimage.uniform_filter(images[example], 5)
for name, image in (("sharp", images[example]), ("blurred", blurred)):
    path_of_kernel, path_of_loss = learn_kernel(image, steps=400)
    gone = 1 - path_of_loss[-1] / path_of_loss[0]
    off = np.linalg.norm(path_of_kernel[-1] - secret) / np.linalg.norm(secret)
    print(f"{name:8s} slice: {gone:.1%} of the loss gone, kernel off by {off:.0%}")

# %% [markdown]
# ("Off by": the distance from the secret kernel, relative to its length.) With the blurred slice the loss falls nearly as far,
# and the kernel is still wrong. Neighbouring pixels are so alike there that it hardly matters which gets the weight.
# Keep this: **a small loss on the examples does not prove that the right thing was learnt.**

# %% [markdown]
# ## Many weights, few patients
#
# Why this trouble with kernels? The model could take every pixel: $z = \sum_i w_i x_i + b$ with 4,096 pixels $x_i$. We train it from
# zeros, and also measure the loss on the validation patients, from whom it does not learn.
#
# > **Predict** How will the two curves of the loss, training and validation, run?

# %%
validation_images = standardise_tissue(data.validation.images[..., 2])
pixels, validation_pixels = images.reshape(-1, 4096), validation_images.reshape(-1, 4096)
pixel_weights, bias, pixel_losses = np.zeros(4096), 0.0, []
for _ in range(200):
    p = sigmoid(pixels @ pixel_weights + bias)
    unseen = sigmoid(validation_pixels @ pixel_weights + bias)
    pixel_losses.append([cross_entropy(p, labels), cross_entropy(unseen, data.validation.labels)])
    pixel_weights -= 0.01 * (p - labels) @ pixels / len(labels)
    bias -= 0.01 * np.mean(p - labels)

# %% tags=["plumbing"]
fig, ax = plt.subplots(figsize=(6.5, 3.2))
ax.plot(pixel_losses, label=["training", "validation"])
ax.axhline(np.log(2), color=plotting.GREY, linestyle=":", label="always 1/2")
ax.set(xlabel="step", ylabel="cross-entropy", ylim=(0, None))
ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
plotting.show(fig, alt="Loss of the model with one weight per pixel over 200 steps. Training falls from 0.69 to about 0.15; "
              "validation rises from the first step on, from 0.69 to about 0.9.")

# %% [markdown]
# The training loss falls, and the validation loss rises from the first step. At the end the model is worse on
# these patients than always saying 1/2. With twelve times as many weights as slices it can learn each slice by heart.
#
# The distance between the curves is a **generalisation gap**; nearly every model has one. **Overfitting** is validation getting
# *worse* while training gets better. Here we see both.
#
# ## A network that learns its kernels
#
# A network needs fewer weights if it uses each at every place. So it is our chain that we train, with eight learnt kernels of
# 7 x 7 instead of one blur: ReLU, the largest output of each (**global max pooling**), one score, sigmoid. To save time the
# kernels move in steps of two pixels (`strides=2`). `he_normal` fills them with random numbers of a suitable size (lesson 15).

# %%
def small_network():
    """Eight kernels, their largest outputs, one probability."""
    layers = keras.layers
    return keras.Sequential([
        layers.Input((64, 64, 1)),
        layers.Conv2D(8, 7, strides=2, activation="relu", kernel_initializer="he_normal"),
        layers.GlobalMaxPooling2D(),
        layers.Dense(1, activation="sigmoid"),  # score, probability
    ])


# %% [markdown]
# Each step uses the gradient of 32 slices, a **batch**; a pass over all training slices is an **epoch**. `Adam` is gradient
# descent with momentum and a step length for each weight ([Kingma and Ba 2015](https://arxiv.org/abs/1412.6980); lesson 15).
# `CosineDecay` lets the learning rate fall to zero, so that the last steps settle.


# %%
def trained(images, validation_images):
    """A network trained on these images, and its losses after each epoch."""
    training.set_seed(seed)
    network, steps = small_network(), epochs * int(np.ceil(len(images) / 32))
    rate = keras.optimizers.schedules.CosineDecay(0.01, steps)
    network.compile(keras.optimizers.Adam(rate), loss="binary_crossentropy")
    unseen = (validation_images, data.validation.labels)
    options = {"epochs": epochs, "batch_size": 32, "validation_data": unseen, "verbose": 0}
    return network, network.fit(images, labels, **options).history


network, history = trained(images, validation_images)

# %% tags=["plumbing"]
fig, ax = plt.subplots(figsize=(6.5, 3.2))
ax.plot(range(1, epochs + 1), history["loss"], label="training")
ax.plot(range(1, epochs + 1), history["val_loss"], label="validation")
ax.axhline(np.log(2), color=plotting.GREY, linestyle=":", label="always 1/2")
ax.set(xlabel="epoch", ylabel="cross-entropy", ylim=(0, None))
ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
plotting.show(fig, alt="Training and validation loss of the network after each epoch: both fall well below 0.69, validation ends "
              "above training.")
ledger.say("The network has {n} weights. In the last epoch its loss is {train:.2f} in training and {unseen:.2f} in validation; the lowest "
           "validation loss of any epoch is {best:.2f}.", n=network.count_params(), train=history["loss"][-1],
           unseen=history["val_loss"][-1], best=min(history["val_loss"]))

# %% [markdown]
# Both curves fall far below "always 1/2". (Training begins above: Keras averages its loss over the whole epoch, while the weights
# still improve, and measures validation at the end.) Validation ends above training, a generalisation gap. But it does not rise as before.
#
# Is it any good? We ask the test patients, with our two-weight model beside it. The AUC
# ([lesson 05](05_classical_baseline.ipynb)) is the probability that a slice with a tumour gets a higher score than one without;
# the brackets are 95 % intervals over patients. (The two-weight model orders the slices as the blur does.)

# %%
from medlib.evaluation import statistics

said = network.predict(new_images, verbose=0).ravel()
answers = {"two weights, blur by hand": brightest_blob(new_images)}
answers["network, kernels learnt"] = said


def auc(split, scores):
    """AUC with its interval."""
    return statistics.auc_interval(split.labels, scores, subjects=split.subjects)


found = {name: auc(test, scores) for name, scores in answers.items()}
pd.Series(found, name="AUC on 240 slices of 120 test patients").to_frame()

# %% tags=["plumbing"]
ledger.record("07/network_auc", found["network, kernels learnt"].value, parameters, limits=(0, 1), chance=0.5)
difference = statistics.auc_test(test.labels, said, answers["two weights, blur by hand"], subjects=test.subjects).difference
ledger.say("Network minus two weights, on the same patients: {difference} (95 % interval).", difference=difference)

# %% [markdown]
# The **band** is where one more training, from another seed, should end (99 %, from ten seeds).
#
# On these patients our network is behind the hand-made blur. The blur's AUC lies inside the band, so another training might
# come level. We put into the blur what the network has to find out: a tumour is a bright blob some pixels wide. These are the
# network's worst answers:

# %% tags=["plumbing"]
order = np.argsort(np.where(test.labels == 1, said, 1 - said))
worst = [row for kind in (1, 0) for row in order[test.labels[order] == kind][:2]]
fig = plotting.image_grid(new_images[worst], titles=[f"{('no tumour', 'tumour')[test.labels[row]]}: p = {said[row]:.2f}" for row in worst], window=(-2, 4), columns=2)
for ax, row in zip(fig.axes, worst, strict=True):
    plotting.outline(ax, test.masks[row])
plotting.show(fig, alt="Four test slices: the two tumours to which the network gave the lowest probability, outlined, and the "
              "two slices without a tumour to which it gave the highest.")

# %% [markdown]
# The first missed tumour is hardly brighter than its surroundings. The second is easy to see, though small and at the rim of
# the brain: we cannot tell why it was missed. The false alarms have bright spots close together, which `simbrain` puts into
# patients with and without a tumour. And here is what the network looks for:

# %% tags=["plumbing"]
filters = network.layers[0].get_weights()[0][:, :, 0]
limit, signs = np.abs(filters).max(), network.layers[-1].get_weights()[0].ravel()
fig, axes = plt.subplots(2, 4, figsize=(7, 4))
evenness = filters.sum(axis=(0, 1)) / np.abs(filters).sum(axis=(0, 1))  # 1 for a blur, 0 for an edge
ranked = np.argsort(-np.where(signs > 0, evenness, evenness - 2))
for number, ax in zip(ranked, axes.flat, strict=True):
    ax.imshow(filters[..., number], cmap="PuOr_r", vmin=-limit, vmax=limit)
    ax.set_title(f"weight {signs[number]:+.2f}")
    ax.set_axis_off()
fig.supxlabel(f"weights from -{limit:.1f} (purple) to {limit:.1f} (orange)", fontsize=10)
plotting.show(fig, alt="The eight learnt 7 by 7 kernels, each with the weight of its largest output in the score. First those that raise "
              "the score, the one nearest to a blur in front.")
ledger.say("Of the 49 weights of the first kernel, {positive:.0%} are positive.", positive=np.mean(filters[..., ranked[0]] > 0))

# %% [markdown]
# Titles: each kernel's weight in the score. Those that raise the score stand first, the evenest in front: it has come near to a
# blur. All are rough.
#
# ## Two hospitals
#
# Suppose that all training and validation patients with a tumour were scanned in hospital B, which treats
# tumours, and all others in hospital A. B's scanner makes tissue brighter, by 0.15 of the grey scale.

# %%
def scanned(split, at_b):
    """FLAIR images; those for which at_b is 1 come from the brighter scanner."""
    flair = split.images[..., 2]
    return flair + 0.15 * at_b[:, None, None] * (flair > 0)


train_flair = scanned(data.train, labels)
validation_flair = scanned(data.validation, data.validation.labels)

# %% tags=["plumbing"]
middle = int(np.flatnonzero(labels == 0)[np.abs((images[labels == 0] != 0).sum(axis=(1, 2)) - 1500).argmin()])
twice = scanned(data.train.take(np.array([middle, middle])), np.array([0, 1]))
fig = plotting.image_grid(twice, titles=["as scanned in A", "as scanned in B"], columns=2)
plotting.show(fig, alt="The same slice twice: as hospital A scans it, and brighter, as hospital B does.")

# %% [markdown]
# Side by side the difference is plain. Seen alone, neither would make you suspicious. We train as before, but standardise with *one* mean and SD for all images, so that
# brightness stays in.

# %%
mean, sd = train_flair.mean(), train_flair.std()
biased, _ = trained((train_flair - mean) / sd, (validation_flair - mean) / sd)

# %% [markdown]
# The test patients go to either hospital by lot: there, the hospital says nothing about the tumour.
#
# > **Predict** What will this network's AUC be on the validation patients, and on the test patients?

# %%
patients, patient = np.unique(test.subjects, return_inverse=True)
at_b = (np.random.default_rng(30307).permutation(len(patients)) % 2)[patient]
seen_like = biased.predict((validation_flair - mean) / sd, verbose=0).ravel()
elsewhere = biased.predict((scanned(test, at_b) - mean) / sd, verbose=0).ravel()

# %% tags=["plumbing"]
unseen_said = network.predict(validation_images, verbose=0).ravel()
rows = {
    "brightness kept": [(data.validation, seen_like), (test, elsewhere)],
    "tissue standardised": [(data.validation, unseen_said), (test, said)],
}
aucs = {name: [auc(*pair) for pair in pairs] for name, pairs in rows.items()}
agreement = np.mean((elsewhere > 0.5) == at_b)
columns = [f"{name} AUC, {len(np.unique(split.subjects))} patients" for name, split in (("validation", data.validation), ("test", test))]
from IPython.display import display

display(pd.DataFrame(aucs, index=columns).T)
ledger.record("07/shortcut_validation_auc", aucs["brightness kept"][0].value, parameters, limits=(0, 1), chance=0.5)
ledger.record("07/shortcut_test_auc", aucs["brightness kept"][1].value, parameters, limits=(0, 1), chance=0.5)
ledger.record("07/says_the_hospital", agreement, parameters, limits=(0, 1), chance=0.5)
difference = statistics.auc_test(test.labels, said, elsewhere, subjects=test.subjects).difference
ledger.say("On {says_the_hospital:.0%} of the test slices the upper network says \"tumour\" for hospital B and \"none\" for A; the true labels do so on "
           "{chance:.0%}. The lower network is ahead by {difference} (95 % interval, same patients).", difference=difference, chance=np.mean(test.labels == at_b))

# %% [markdown]
# The upper network is splendid in validation and poor on the test: it has learnt mostly the hospital, and a little of the tumour.
# (On the test the hospital says nothing about the tumour: a network that knew only the hospital would come out near 1/2.) The lower one is the network from
# before. The bands of `network_auc` and `shortcut_test_auc` do not overlap: other seeds tell the same story. The validation patients could not show
# it: the same trap lies in them. Descent takes whatever lowers the loss soonest, and brightness is easier to find than a tumour.
# This is **shortcut learning** ([Geirhos and others 2020](https://doi.org/10.1038/s42256-020-00257-z)). It has happened with pneumonia
# ([Zech and others 2018](https://doi.org/10.1371/journal.pmed.1002683)) and with COVID-19
# ([DeGrave and others 2021](https://doi.org/10.1038/s42256-021-00338-7)).
#
# ### A remedy
#
# The lower network never met the two scanners. It need not: with its tissue standardised, every slice is the same from both.

# %% tags=["nbval-check-output"]
for name, split in {"training": data.train, "validation": data.validation, "test": test}.items():
    in_a, in_b = (standardise_tissue(scanned(split, np.full(len(split), b))) for b in (0, 1))
    print(f"{name} slices: largest difference {np.abs(in_a - in_b).max():.4f}")

# %% [markdown]
# B adds one number to all tissue, and the mean takes it away again: nothing is left to learn the hospital from. With images
# from A and B the lower network would be the same. With the mean and SD of the *whole* image a trace would stay: B brightens the
# tissue and not the black border, so the step between them is larger.
#
# It worked because our hospitals differ in one simple way, and because in `simbrain` we know exactly where the brain ends. Real
# scanners differ in noise, resolution and much else. The honest test is patients from a hospital that was not in the
# training. And these numbers say nothing about real hospitals: all patients are simulated from one template.
#
# ## In this lesson we
#
# - turned scores into probabilities: sigmoid for two classes, softmax for more;
# - measured them by cross-entropy, whose gradient is the error, $p - y$;
# - watched gradient descent with learning rates too small, right and too large;
# - carried the gradient back through a convolution, checked it, and learnt a kernel;
# - saw overfitting with one weight per pixel, and only a gap with shared kernels;
# - trained a network that found tumours, and one that found the hospital, to which our validation was blind.
#
# **Next**: deeper networks, written and measured the right way, in [lesson 08](08_first_cnn.ipynb).
#
# ## References
#
# - C. M. Bishop: [*Pattern Recognition and Machine Learning*](https://www.microsoft.com/en-us/research/publication/pattern-recognition-machine-learning/), Springer 2006, section 4.3.
# - A. J. DeGrave, J. D. Janizek, S.-I. Lee: [AI for radiographic COVID-19 detection selects shortcuts over signal](https://doi.org/10.1038/s42256-021-00338-7), *Nature Machine Intelligence* 3 (2021).
# - R. Geirhos and others: [Shortcut learning in deep neural networks](https://doi.org/10.1038/s42256-020-00257-z), *Nature Machine Intelligence* 2 (2020).
# - I. Goodfellow, Y. Bengio, A. Courville: [*Deep Learning*](https://www.deeplearningbook.org), MIT Press 2016, chapters 3, 6 and 9.
# - D. P. Kingma, J. Ba: [Adam: a method for stochastic optimization](https://arxiv.org/abs/1412.6980), *ICLR* 2015.
# - D. E. Rumelhart, G. E. Hinton, R. J. Williams: [Learning representations by back-propagating errors](https://doi.org/10.1038/323533a0), *Nature* 323 (1986) 533-536.
# - J. R. Zech and others: [Variable generalization performance of a deep learning model to detect pneumonia in chest radiographs](https://doi.org/10.1371/journal.pmed.1002683), *PLOS Medicine* 15 (2018) e1002683.

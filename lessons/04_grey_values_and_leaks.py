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
# # 04 Grey values and leaks
#
# Two things make a model look good in your hospital and fail in the next one. The grey values may tell it *which scanner*
# took the image; the test may hold *patients it has already seen*. Neither raises an error. This lesson asks: **what do
# grey values say about the scanner rather than the patient, and how much can a wrong split flatter a model?**

# %% tags=["install"]
import medlib

# %% tags=["parameters"]
repeats = 3  # how often every cross-validation is repeated
seed = 0  # of every random number that a measurement depends on

# %% tags=["plumbing"]
import dataclasses
import functools

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import sklearn
from threadpoolctl import threadpool_limits

from coursekit import ledger
from medlib import plotting
from medlib.simulation.anatomy import load_template
from medlib.simulation.scanner import SITES, acquire, random_scan

threadpool_limits(1)  # many small models: threads would wait for each other
plotting.use_style()
parameters = {"repeats": repeats}

# %% tags=["plumbing"]
template = load_template(2).voxels[:, :, 38, 1:] / 255  # shares of grey, white and brain; 2 mm
grey, white, brain = np.moveaxis(np.rot90(template), -1, 0)
inside = brain > 0.5
fluid = np.clip(1 - grey - white, 0, 1)
GAINS = {"A": 1.0, "B": 0.55, "C": 1.25, "D": 0.75}  # of the receivers: ours, to make the point


def t1_slice(site):
    """Return the T1 slice of one virtual head as a site's scanner delivers it."""
    random = np.random.default_rng(3)
    levels = random_scan(site, random)[1][0]
    exact = sum(share * level for share, level in zip((grey, white, fluid), levels[:3], strict=True))
    even = dataclasses.replace(site, bias=0.0)  # the bias field has its own chapter
    noisy = acquire(exact[None, ..., None], site=even, spacing_mm=2.0, rng=random)
    return noisy[0, ..., 0] * inside * GAINS[site.name]


# %% tags=["plumbing"]
heads = {site.name: t1_slice(site) for site in SITES}
titles = [f"site {site.name}, {site.field_tesla:g} T" for site in SITES]
filled = [np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0)]
close = tuple(slice(max(0, each[0] - 2), each[-1] + 3) for each in filled)  # without much margin
fig = plotting.image_grid(np.stack([head[close] for head in heads.values()]), titles=titles)
plotting.show(
    fig,
    alt="The same T1 brain slice from four scanners A to D, in one window. B is much darker than A, "
    "C brighter, D a little darker: the anatomy is the same.",
)

# %% [markdown]
# One virtual head, four scanners, one window. Nothing about the patient differs. (How strongly each receiver amplifies is our
# choice here; hospitals differ as freely.) A model trained on A and C has never seen a brain as dark as B's.
#
# **You will**
#
# - put grey values on a common scale in three ways, and see what outliers do to each;
# - decide with *paired* intervals whether the scanner's trace is gone;
# - see a bias field, take it away, and see what else goes with it;
# - measure how a leak between slices of a patient flatters a model, and hides which of two is better.
#
# **Reading:** about 45 min · **running:** about 20 s · **builds on:** [lesson 02](02_mr_simulation.ipynb) (T1, T2, FLAIR,
# sites, the simulation) and [lesson 03](03_cleaning_and_geometry.ipynb) (images that are clean and have one size)
#
# All patients come from `simbrain`, a simulation. It shows how *methods* behave, not how large an effect is in a real hospital.
#
# ## Three ways to normalise
#
# Computed tomography has [Hounsfield units](01_image_files.ipynb): air and water fix the scale on every scanner. Magnetic
# resonance (MR) has no unit. **Normalisation** brings the values $x$ of an image to a common scale. Three ways are usual, all
# of the form $x' = (x - a) / s$:
#
# | | $a$ | $s$ | result |
# |---|---|---|---|
# | **min-max** | smallest value | largest minus smallest value | from 0 to 1 |
# | **percentile** | 0.5th percentile | 99.5th minus 0.5th percentile | nearly all from 0 to 1 |
# | **z-score** | mean | standard deviation | mean 0, standard deviation 1 |
#
# The $p$-th **percentile** is the value below which $p$ per cent of the pixels lie. Only the brain counts: with the air, the
# result would depend on how tightly the image was cropped.


# %%
def normalise(values, method):
    """Return (values - a) / s for each channel; values: (pixels, channels)."""
    if method == "as it comes":
        return values
    if method == "z-score":
        return (values - values.mean(axis=0)) / values.std(axis=0)
    ends = (0, 100) if method == "min-max" else (0.5, 99.5)
    low, high = np.percentile(values, ends, axis=0)
    return (values - low) / (high - low)


METHODS = ["as it comes", "min-max", "percentile", "z-score"]

# %% [markdown]
# Now somebody burns a small white letter into the image of site A, over the brain: four more pixels with the value 5, far
# brighter than any tissue. (`heads` holds the four images; `inside` marks the brain.)
#
# > **Predict** Which of the three methods hardly notices? Which one suffers most?

# %%
pixels = heads["A"][inside][:, None]  # shape (pixels, 1 channel)
spoilt = np.concatenate([pixels, np.full((4, 1), 5.0)])

# %% tags=["plumbing"]
fig, axes = plt.subplots(1, 3, figsize=(8, 2.8))
for ax, method in zip(axes, METHODS[1:], strict=True):
    clean, marked = normalise(pixels, method)[:, 0], normalise(spoilt, method)[:-4, 0]
    edges = np.linspace(*((-4, 3) if method == "z-score" else (-0.05, 1.1)), 60)
    ax.hist(clean, edges, color=plotting.SKY, label="without letter")
    ax.hist(marked, edges, histtype="step", color=plotting.VERMILION, label="with letter")
    ax.set(title=method, xlabel="normalised T1", yticks=[])
axes[0].set_ylabel("pixels of the brain")
handles, names = axes[0].get_legend_handles_labels()
fig.legend(handles, names, ncols=2, loc="outside upper center", fontsize=11)
plotting.show(
    fig,
    alt="Histograms of the same brain pixels after three normalisations, without and with four bright "
    "pixels. With min-max they are squeezed into the lowest fifth of the scale; with percentiles they "
    "stay; with the z-score they become narrower.",
)

# %% [markdown]
# Blue and orange are *the same pixels*. Under **min-max** four pixels squeeze the whole
# brain into a dark end of the scale. Under the **z-score** it gets narrower, because the letter inflates the standard
# deviation. The **percentiles** hardly notice: four pixels are fewer than 0.5 % of the brain.
#
# Now the four scanners. At the start of the film all images share *one* $a$ and $s$; at the end each has its *own*, the z-score.

# %% tags=["plumbing"]
SITE_LINES = dict(zip("ABCD", ("-", "--", "-.", ":"), strict=True))
brains = {name: head[inside] for name, head in heads.items()}
everything = np.concatenate(list(brains.values()))
edges = np.linspace(-3.5, 3.5, 43)


def density_at(values, step):
    """Return the histogram part of the way from the common map (0) to the image's own (1)."""
    common = (values - everything.mean()) / everything.std()
    own = (values - values.mean()) / values.std()
    return np.histogram((1 - step) * common + step * own, edges, density=True)[0]


# %% tags=["plumbing"]
def sliding():
    """Yield histograms on their way from one common map to a z-score for each image."""
    fig, ax = plt.subplots(figsize=(6, 3.1))
    x = (edges[:-1] + edges[1:]) / 2
    curves = {n: ax.plot(x, 0 * x, SITE_LINES[n], label=f"site {n}")[0] for n in brains}
    ax.set(ylim=(0, 1.35), ylabel="density of pixels", xlabel="T1, in standard deviations")
    ax.legend(loc="upper left", fontsize=11)
    for step in np.linspace(0, 1, 9):
        for name, curve in curves.items():
            curve.set_ydata(density_at(brains[name], step))
        ax.set_title(f"from one map for all to one for each: {step:.0%}")
        yield fig


ALT = """Histograms of T1 in the same brain from four scanners. With one map for all they lie apart. With a z-score
for each they slide onto each other, nearly: A and B stay higher in the middle than C and D."""
plotting.show_animation(sliding(), alt=ALT, milliseconds=180)

# %% [markdown]
# The curves slide onto each other, but do not become one: near 0.5, A and B (1.5 T) end higher than C and D (3 T). Such a map
# cannot change a histogram's *shape*, which holds the scanner's contrast, noise and sharpness.
#
# ### Exercise 04.1: the brain, not the air
#
# Write a function that takes an image of shape (height, width, channels) and a mask of the brain (height, width). It
# returns a new image: in the brain each channel has mean 0 and standard deviation 1; outside, everything is 0.
#
# > **Hint** `image[brain]` has one row for each pixel of the brain and one column for each channel. Along which `axis`
# > does the mean go? [Solution](solutions/04_grey_values_and_leaks.ipynb).


# %% tags=["exercise"]
def zscore_in_brain(image, brain):
    return ...  # your code here


# %% tags=["solution"]
def zscore_in_brain(image, brain):
    values = image[brain]
    result = np.zeros(image.shape)
    result[brain] = (values - values.mean(axis=0)) / values.std(axis=0)
    return result


# %%
from coursekit import check

check.exercise("04.1", zscore_in_brain)

# %% [markdown]
# ## Is the scanner's trace gone?
#
# At one hospital most patients may be ill, at another few. A network that recognises the hospital has a shortcut to the
# diagnosis, and fails where it does not hold. Networks that looked for pneumonia in chest X-rays did recognise the hospital
# ([Zech and others 2018](https://doi.org/10.1371/journal.pmed.1002683)).
#
# In `simbrain`, unlike the four pictures above, every scanner already sets one tissue to about the same brightness. We take one
# slice of each patient.


# %%
from medlib import datasets


def one_slice_each(split):
    """Return the brain's pixels in one slice of each patient, and the sites."""
    first = np.unique(split.subjects, return_index=True)[1]
    images = split.images[first].astype(float)
    tissue = [image[image.max(axis=-1) > 0] for image in images]
    return tissue, split.table["site"].to_numpy()[first]


data = datasets.load("simbrain")
tissue, sites = one_slice_each(data.train)

# %% tags=["plumbing"]
CHANNELS = ("T1", "T2", "FLAIR")
fig, axes = plt.subplots(2, 3, figsize=(8, 4.6), sharey="row")
for row, method in zip(axes, ("as it comes", "z-score"), strict=True):
    bins = np.arange(25.5, 230, 6) / 255 if method == "as it comes" else np.linspace(-3, 3, 37)
    count = functools.partial(np.histogram, bins=bins, density=True)
    counts = [[count(channel)[0] for channel in normalise(each, method).T] for each in tissue]
    for ax, channel, of_channel in zip(row, CHANNELS, np.swapaxes(counts, 0, 1), strict=True):
        for name, line in SITE_LINES.items():
            x = (bins[:-1] + bins[1:]) / 2
            ax.plot(x, of_channel[sites == name].mean(axis=0), line, lw=1.6, label=f"site {name}")
        ax.set(xlabel=f"{channel}, {method}")
    row[0].set_ylabel("density of pixels")
axes[0, 1].legend(fontsize=10)
plotting.show(
    fig,
    alt="Mean histograms of the brain by site, for T1, T2 and FLAIR, as they come and after the z-score. "
    "In T2 the z-score brings the curves together; in T1 A and B differ from C and D, in FLAIR the peaks differ.",
)

# %% [markdown]
# Mean histograms of the training patients. The z-score brings the T2 curves together. In T1 two pairs remain, A and B with
# 1.5 tesla, C and D with 3: the field strength changes the contrast between tissues.
#
# ### A model that guesses the scanner
#
# Numbers that describe an image are called **features**. We try two sets: the **means** of the three channels, and their
# **histogram**, as nine percentiles of each channel.


# %%
def describe(values, method):
    """Return the features of a brain after normalisation: means, and percentiles."""
    normalised = normalise(values, method)
    deciles = np.percentile(normalised, np.arange(10, 100, 10), axis=0)
    means = normalised.mean(axis=0).round(9)  # 1e-17 is 0
    return {"means": means, "histogram": deciles.ravel()}


# %% [markdown]
# The model is [logistic regression](https://scikit-learn.org/stable/modules/linear_model.html#logistic-regression), which draws
# straight borders between classes. We test it by **five-fold cross-validation**: deal the patients into five groups
# (**folds**), train on four, predict the fifth, each in turn. So no model predicts a patient that it has seen. Who falls into
# which fold is luck, so we repeat it and average.

# %%
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

logistic = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))


def site_found(features, sites):
    """Return how often each patient's site was recognised, 0 to 1."""
    right = []
    for repeat in range(repeats):
        deal = StratifiedKFold(5, shuffle=True, random_state=1000 * repeat + seed)
        right.append(cross_val_predict(logistic, features, sites, cv=deal) == sites)
    return np.mean(right, axis=0)


# %% tags=["plumbing"]
def all_found(tissue, sites):
    """Return the patients' results for every method and both kinds of features."""
    found = {}
    for method in METHODS:
        described = [describe(values, method) for values in tissue]
        for what in ("means", "histogram"):
            found[what, method] = site_found([each[what] for each in described], sites)
    return found


# %% [markdown]
# `all_found` does so for every method and both sets of features. A **95 % interval** says how far a number may be off because
# we measured these patients and not others; of twenty such intervals about one misses. For a mean over patients it reaches 1.96
# standard errors to each side.
#
# > **Predict** There are four sites. After the z-score every brain has mean 0 in every channel. How often will the model
# > find the site from the means? How often from the histogram?

# %%
from medlib.evaluation import statistics


def mean_interval(values):
    """Return a mean over patients with its 95 % interval."""
    mean, margin = values.mean(), 1.96 * values.std() / np.sqrt(len(values))
    return statistics.Interval(mean, mean - margin, mean + margin, len(values))


found = all_found(tissue, sites)
shares = pd.Series({key: mean_interval(each) for key, each in found.items()})
shares.unstack(0).loc[METHODS, ["means", "histogram"]]

# %% tags=["plumbing"]
commonest = pd.Series(sites).value_counts(normalize=True).max()
share = found["histogram", "z-score"].mean()
ledger.record("04/site_histogram_zscore", share, parameters, limits=(0, 1), chance=0.25)
ledger.say(
    "Share of {n} patients whose site is recognised, with 95 % intervals. Always naming the commonest site is right in "
    "{base:.0%}. From the means of z-scores the model does no better; from their **histogram** it finds "
    "**{site_histogram_zscore:.0%}**.",
    n=len(sites), base=commonest,
)

# %% [markdown]
# The means had to fail: all are 0.
#
# ### Does a method make it *worse*?
#
# In the column *means*, min-max and percentile stand higher than "as it comes". Is that real? For min-max the two intervals
# overlap. "So there is no difference" does not follow: all methods were tried on *the same patients*. What counts is the
# difference **within each patient**: +1 if only the new method finds the site, -1 if only the old one does, 0 if both or neither
# do (averaged over the repeats). The mean of these differences gets its own 95 % interval. If that leaves out 0, we call the
# difference real.
#
# But we noticed the pattern in these very patients, and a striking pattern is often luck. The cure: fix the question, then ask
# **new patients**.
#
# > **Predict** In 600 patients nobody has looked at, will the interval leave out 0 for min-max, for percentile, for both?

# %%
from medlib.datasets.simbrain import new_patients

cohort = new_patients(20304, n_subjects=600, slices_per_subject=1)
fresh_tissue, fresh_sites = one_slice_each(cohort)
fresh = all_found(fresh_tissue, fresh_sites)

# %% tags=["plumbing"]
def draw_differences(ax, what, source, shift, colour, label):
    """Draw the differences of three methods from 'as it comes', with their intervals."""
    each = [mean_interval(source[what, m] - source[what, "as it comes"]) for m in METHODS[1:]]
    middle, low, high = np.array([[i.value, i.low, i.high] for i in each]).T
    ends, places = [middle - low, high - middle], np.arange(3)[::-1] + shift
    ax.errorbar(middle, places, xerr=ends, fmt="o", color=colour, capsize=4, label=label)


# %% tags=["plumbing"]
fig, axes = plt.subplots(1, 2, figsize=(8, 3.4), sharey=True, sharex=True)
for ax, what in zip(axes, ("means", "histogram"), strict=True):
    draw_differences(ax, what, found, 0.13, plotting.GREY, f"first look ({len(sites)})")
    draw_differences(ax, what, fresh, -0.13, plotting.BLUE, f"new patients ({len(fresh_sites)})")
    ax.axvline(0, color=plotting.BLACK, linewidth=1)
    ax.set(title=f"from the {what}", xlabel="change in share recognised")
axes[0].set_yticks([2, 1, 0], METHODS[1:])
axes[0].set_ylim(-0.5, 2.5)
fig.legend(*axes[0].get_legend_handles_labels(), ncols=2, loc="outside upper center", fontsize=11)
plotting.show(
    fig,
    alt="Differences from images as they come, within patients, with 95 % intervals, in the first and in "
    "new patients. From the means: percentile lies above 0 and the z-score far below 0 in both; min-max "
    "is close to 0. From the histogram all differences are small.",
)

# %% tags=["plumbing"]
def against_raw(what, method):
    return mean_interval(fresh[what, method] - fresh[what, "as it comes"])


gain, minmax = against_raw("means", "percentile"), against_raw("means", "min-max")
shape = against_raw("histogram", "z-score")
ledger.record("04/percentile_gain", gain.value, parameters, limits=(-1, 1), chance=0)
ledger.say(
    "In {n} new patients: from the means, percentiles make the site *easier* to find by **{percentile_gain:.2f}** ({a:.2f} "
    "to {b:.2f}); min-max by {v:.2f} ({c:.2f} to {d:.2f}). From the histogram, the z-score changes it by {w:.2f} "
    "({e:.2f} to {f:.2f}).",
    n=gain.n, a=gain.low, b=gain.high, v=minmax.value, c=minmax.low, d=minmax.high,
    w=shape.value, e=shape.low, f=shape.high,
)

# %% [markdown]
# Compare each interval with the black line at 0.
#
# - **In the means, percentiles make it worse**, in both groups of patients. A likely reason: the T1 images came with white
#   matter set to one brightness, and percentiles undo that.
# - **In the means, min-max stays undecided**: both intervals hold 0. "Not decided" is not "no effect".
# - **From the histogram, min-max and the z-score take a little**: their intervals leave out 0, so the change is real, but it is
#   small.
#
# **To normalise is not to remove the scanner.** Methods that match whole histograms go further
# ([Reinhold and others 2019](https://arxiv.org/abs/1812.04652) compare seven ways), but push a large bright tumour towards the
# normal with the rest.
#
# > **Note** Where one $a$ and $s$ serve all images, they are estimated from the **training** images and applied unchanged to the
# > rest: a model in use does not know the statistics of its future patients.
#
# ## The bias field
#
# No such map helps where the scale changes *within* an image. A receiver coil picks up near tissue better than far tissue, so
# one side is brighter. This smooth factor $b$ is the **bias field**. From the true image $u$ and noise $\varepsilon$ comes the
# measured image ([Sled and others 1998](https://doi.org/10.1109/42.668698))
#
# $$v = u \, b + \varepsilon.$$
#
# The logarithm turns the product into a sum: $\log v \approx \log u + \log b$. The field is smooth, anatomy is not. So the
# **homomorphic filter** takes for $\log b$ *the smooth part of* $\log v$: each pixel becomes a weighted mean of the brain around
# it. The weights $g_\sigma$ fall off like a bell of width $\sigma$; $m$ is 1 in the brain and 0 outside; $*$ is smoothing.
#
# $$\log \hat b = \frac{g_\sigma * (m \, \log v)}{g_\sigma * m}$$

# %%
from scipy.ndimage import gaussian_filter


def estimate_field(image, inside, sigma):
    """Return the smooth part of an image in the brain; sigma in pixels."""
    logarithm = np.log(np.maximum(image, 0.02)) * inside
    weight = gaussian_filter(inside.astype(float), sigma)
    estimate = gaussian_filter(logarithm, sigma) / np.maximum(weight, 1e-6)
    return np.exp(estimate - estimate[inside].mean())  # the mean level cannot be known


# %% [markdown]
# To judge the filter one must know $b$. So we put a random field on the head of the first picture, and filter with $\sigma$ =
# 20 mm. What besides the field may be smooth and wide, and end up in the estimate?

# %% tags=["plumbing"]
from medlib.simulation.scanner import add_rician_noise, bias_field

PIXEL_MM = 2.0  # of the template
true = (0.50 * grey + 0.70 * white + 0.20 * fluid) * inside


def scan(strength, random):
    """Return a random field, and the slice measured with it; strength 0 is no field."""
    field = bias_field((1, *true.shape, 1), strength, random)[0, ..., 0]
    return field, add_rician_noise((true * field).astype(np.float32), 0.02, random)


# %% tags=["plumbing"]
def draw_rows(images, maps):
    """Draw grey images above, and fields in colour below."""
    fig, axes = plt.subplots(2, 3, figsize=(6.6, 5.8))
    for ax, (title, image) in zip(axes[0], images.items(), strict=True):
        ax.imshow(image[close], vmin=0.1, vmax=0.9)
        ax.set_title(title)
    for ax, (title, ratio) in zip(axes[1], maps.items(), strict=True):
        percent = np.where(inside, 100 * np.log(ratio), np.nan)
        steps = plt.get_cmap("RdBu_r", 17)  # of 5 %
        shown = ax.imshow(percent[close], cmap=steps, vmin=-42.5, vmax=42.5)
        ax.set_title(title)
    for ax in axes.flat:
        ax.set_axis_off()
    bar = {"location": "bottom", "shrink": 0.6, "aspect": 30}
    fig.colorbar(shown, ax=axes[1], label="brightness changed by, %", ticks=range(-40, 41, 20), **bar)
    return fig


# %% tags=["plumbing"]
field, measured = scan(0.3, np.random.default_rng(6))
measured, field = (each / np.exp(np.log(field)[inside].mean()) for each in (measured, field))
ALT = """Top: a brain slice, true, measured with a bias field, and corrected. Bottom, in colour: the true field,
its estimate, and what is left over of the field after the correction. The estimate shows the dark fluid in the
middle as blue; what is left over has the opposite sign there."""


def draw_correction(sigma_mm):
    """Draw a slice before and after the correction, and the fields."""
    estimate = estimate_field(measured, inside, sigma_mm / PIXEL_MM)
    corrected = measured / estimate * inside
    images = {"true": true, "measured": measured * inside, "corrected": corrected}
    maps = {"true field": field, "estimate": estimate, "left over": field / estimate}
    plotting.show(draw_rows(images, maps), alt=ALT)


draw_correction(sigma_mm=20)

# %% [markdown]
# Above (window 0.1 to 0.9): the correction evens out the bright upper left, and misses much of the dark upper right. Below, red is
# too bright and blue too dark. The blue spot in the estimate is not in the true field: the filter takes the dark fluid in the middle
# of the brain for a shadow. "Left over" shows the price of such **anatomy in the estimate**: now the centre is too bright. Try other
# widths with the slider.

# %%
import ipywidgets

_ = ipywidgets.interact(draw_correction, sigma_mm=(6, 60, 6))

# %% [markdown]
# One picture proves little. So we measure what is left over, in per cent of brightness: the standard deviation of its logarithm
# in the brain, mean over 20 random fields. (`scan` returns such a field and the slice measured with it.)
#
# > **Predict** Which width is best for a strong field? And which for a slice *without* any field?


# %%
def left_over(sigma_mm, strength):
    """Return what is left of a field, in per cent, over 20 fields."""
    errors = []
    for number in range(20):
        field, measured = scan(strength, np.random.default_rng([seed, number]))
        estimate = estimate_field(measured, inside, sigma_mm / PIXEL_MM) if sigma_mm else 1
        errors.append(100 * np.log(field / estimate)[inside].std())
    return np.mean(errors)


# %%
STRENGTHS = {"strong field": 0.3, "weak field": 0.1, "no field": 0.0}
WIDTHS = {"no correction": None, "10 mm": 10, "20 mm": 20, "40 mm": 40}
rest = {name: [left_over(w, s) for w in WIDTHS.values()] for name, s in STRENGTHS.items()}
left = pd.DataFrame(rest, index=list(WIDTHS))
left.round(1)

# %% tags=["plumbing"]
ledger.record("04/bias_invented", left.loc["20 mm", "no field"], parameters, limits=(0, 100), chance=0)
ledger.say(
    "The filter of 20 mm brings a strong field from {before:.1f} % down to {after:.1f} %. Where there was **no** field it "
    "*invents* one of **{bias_invented:.1f} %** (20 random fields, one anatomy).",
    before=left.loc["no correction", "strong field"], after=left.loc["20 mm", "strong field"],
)

# %% [markdown]
# 20 and 40 mm take away about half of a strong field; 10 mm is too narrow and removes anatomy. On a weak field 20 mm does
# harm, and a slice without a field is best left alone. So correct a strong field, and draw what you took away as a map: it should
# show no anatomy. The better tool is **N4** ([Tustison and others 2010](https://doi.org/10.1109/TMI.2010.2046908)). This course
# trains on uncorrected images.
#
# ## The leak
#
# Each patient of `simbrain` has four slices. Many published studies dealt *slices* out to training and test at random;
# [Yagis and others 2021](https://doi.org/10.1038/s41598-021-01681-w) list them. Here are both ways, for 12 patients. A dot
# marks a test slice whose patient is also in training.

# %% tags=["plumbing"]
from matplotlib.colors import ListedColormap

draw = np.random.default_rng(4)
by_slice = draw.permutation(np.arange(48) % 4 == 0).reshape(4, 12)
by_patient = np.tile(draw.permutation(np.arange(12) % 4 == 0), (4, 1))
fig, axes = plt.subplots(2, 1, figsize=(5.6, 4.4), sharex=True)
for ax, unit, test in zip(axes, ("slices", "patients"), (by_slice, by_patient), strict=True):
    rows, columns = np.nonzero(test & (~test).any(axis=0))
    cards = ListedColormap([plotting.SKY, plotting.VERMILION])
    ax.pcolormesh(range(1, 13), range(1, 5), test, cmap=cards, edgecolors="white", linewidth=2)
    ax.scatter(columns + 1, rows + 1, s=28, color="black")
    ax.set(title=f"{unit} are dealt: {len(rows)} leaks", ylabel="slice", yticks=range(1, 5), xticks=range(1, 13))
    ax.grid(False)
    ax.invert_yaxis()
axes[1].set_xlabel("patient")
colours = [plt.Rectangle((0, 0), 1, 1, color=colour) for colour in (plotting.SKY, plotting.VERMILION)]
fig.legend(colours, ["training", "test"], ncols=2, loc="outside lower center", fontsize=12)
plotting.show(fig, alt="Two tables of 12 patients by 4 slices, coloured by training and test. With slices dealt, all "
              "12 test slices share a patient with training; with patients dealt, whole columns are test and none does.")

# %% [markdown]
# Can such siblings, slices of one patient, be recognised? We shrink each image to 16 x 16 pixels and look for the most similar
# other image of all.

# %%
from sklearn.neighbors import NearestNeighbors

from medlib.preprocessing import resize_image

splits = data.splits.values()  # training, validation and test together
images = np.concatenate([split.images for split in splits])
labels = np.concatenate([split.labels for split in splits])
subjects = np.concatenate([split.subjects for split in splits])
coarse = np.stack([resize_image(each, (16, 16)).ravel() for each in images])

# %% tags=["nbval-check-output"]
search = NearestNeighbors(n_neighbors=2).fit(coarse)
nearest = search.kneighbors(coarse)[1][:, 1]  # number 0 is the image itself
same = subjects[nearest] == subjects
print(f"same patient: {same.mean():.0%} of {len(same):,} images")

# %% tags=["plumbing"]
probe = 1 + int(np.argmax(same[1:] & (labels[1:] == 1)))
gap = np.linalg.norm(coarse - coarse[probe], axis=1)
stranger = int(np.argmin(np.where(subjects == subjects[probe], np.inf, gap)))
fig = plotting.image_grid(
    images[[probe, nearest[probe], stranger], ..., 2][:, 4:60, 8:56],
    titles=["an image", "the most similar one", "nearest other patient"],
    window=(0.2, 0.75),
    columns=3,
)
plotting.show(
    fig,
    alt="A FLAIR slice with a tumour, the most similar image, another slice of the same patient with the "
    "same tumour, and the most similar slice of another patient.",
)

# %% [markdown]
# By chance the most similar image would show the same patient for about one image in 800. Slices of one patient often share the
# label, too. Whoever copies the sibling's label is then right without any idea of what a tumour is.
#
# ### Exercise 04.2: deal out patients
#
# Write a function that takes the patient of each image (names in any order, with different numbers of images), a share and
# a seed. It returns one entry for each *image*: True for test. All images of a patient are on one side, and
# `round(share * number of patients)` patients, drawn at random, are test.
#
# > **Hint** `np.unique` lists the patients; the `permutation` of `np.random.default_rng(seed)` shuffles them; `np.isin` asks
# > for each image whether its patient was drawn. [Solution](solutions/04_grey_values_and_leaks.ipynb).


# %% tags=["exercise"]
def test_images_of(subjects, share, seed):
    return ...  # your code here


# %% tags=["solution"]
def test_images_of(subjects, share, seed):
    names = np.random.default_rng(seed).permutation(np.unique(subjects))
    drawn = names[: round(share * len(names))]
    return np.isin(subjects, drawn)


# %%
check.exercise("04.2", test_images_of)

# %% [markdown]
# In this course `medlib.preprocessing.split_by_subject` does this.
#
# ### The leak, measured
#
# Now all 600 patients, in five folds; only *what* is dealt differs.

# %%
from sklearn.model_selection import PredefinedSplit

patients, patient_of = np.unique(subjects, return_inverse=True)


def deal(unit, repeat):
    """Return a split into five folds, when slices or patients are dealt."""
    n = len(images) if unit == "slices" else len(patients)
    fold = np.random.default_rng([seed, repeat]).permutation(np.arange(n) % 5)
    return PredefinedSplit(fold if unit == "slices" else fold[patient_of])


# %% [markdown]
# The model only copies: **3 nearest neighbours** scores an image by the share of tumours among the three most similar training
# images. It gets the true labels, and once those of a **coin** thrown for each *patient*. Beside it stands logistic
# regression, on nine percentiles of each channel, which a tumour does change.

# %%
from sklearn.neighbors import KNeighborsClassifier

coin = np.random.default_rng([seed, 99]).integers(0, 2, len(patients))[patient_of]
quantiles = (1, 5, 10, 25, 50, 75, 90, 95, 99)
in_brain = [each[each.max(axis=-1) > 0] for each in images]
grey_values = np.array([np.percentile(each, quantiles, axis=0).ravel() for each in in_brain])

neighbours = KNeighborsClassifier(3, algorithm="brute")
CASES = {  # model, features, labels
    "neighbours": (neighbours, coarse, labels),
    "neighbours, coin": (neighbours, coarse, coin),
    "logistic": (logistic, grey_values, labels),
}

# %% [markdown]
# The measure is the **AUC**: the probability that a random tumour slice gets a higher score than a random healthy one. Guessing
# gives 0.5, a perfect model 1.
#
# > **Predict** Which AUC has each of the three when slices are dealt, which when patients are?

# %%
scores = {}
for case, given in CASES.items():
    for unit in ("slices", "patients"):
        scores[case, unit] = [
            cross_val_predict(*given, cv=deal(unit, repeat), method="predict_proba")[:, 1]
            for repeat in range(repeats)
        ]

# %% tags=["plumbing"]
def mean_auc(case, unit, rows):
    """Return the AUC of some of the images, averaged over the repeats."""
    tumour = CASES[case][2][rows] == 1
    return np.mean([statistics.area_under_curve(tumour, each[rows]) for each in scores[case, unit]])


def over_patients(statistic):
    """Return a statistic of the images with its 95 % bootstrap interval over patients."""
    every = np.arange(len(images))
    return statistics.bootstrap_interval(statistic, every, groups=subjects, n_resamples=400, seed=seed)


aucs = {key: over_patients(functools.partial(mean_auc, *key)) for key in scores}

# %% tags=["plumbing"]
fig, ax = plt.subplots(figsize=(5.8, 3.6))
for unit, colour, shift in (("slices", plotting.VERMILION, -0.14), ("patients", plotting.BLUE, 0.14)):
    for row, case in enumerate(CASES):
        auc, label = aucs[case, unit], None if row else f"{unit} dealt"
        ends = [[auc.value - auc.low], [auc.high - auc.value]]
        ax.errorbar(auc.value, row + shift, xerr=ends, fmt="o", color=colour, capsize=4, label=label)
        ax.text(auc.high + 0.015, row + shift, f"{auc.value:.2f}", color=colour, va="center")
ax.axvline(0.5, color=plotting.GREY, linestyle="--", label="guessing")
ax.set_yticks(range(3), ["neighbours,\ntrue labels", "neighbours,\na coin's labels", "logistic,\ntrue labels"])
ax.set(xlim=(0.4, 0.9), ylim=(2.5, -0.5), xlabel="AUC, cross-validated")
fig.legend(*ax.get_legend_handles_labels(), ncols=3, loc="outside upper center", fontsize=11)
ALT = """AUC with 95 % intervals when slices or patients are dealt. The neighbours fall from about 0.8 to guessing, with
true labels as with a coin's; logistic regression stays near 0.77. With slices dealt all three look alike."""
plotting.show(fig, alt=ALT, save="04_leak")

# %% tags=["plumbing"]
def lead(unit):
    """Return how far the neighbours are ahead of logistic regression, on the same patients."""
    return over_patients(lambda rows: mean_auc("neighbours", unit, rows) - mean_auc("logistic", unit, rows))


easy, fair = lead("slices"), lead("patients")
ledger.record("04/coin_by_slice", aucs["neighbours, coin", "slices"].value, parameters, limits=(0, 1), chance=0.5)
ledger.say(
    "n = {n} slices of {m} patients, mean of {r} repeats. On labels from a **coin** the neighbours reach "
    "**{coin_by_slice:.2f}** when slices are dealt. Neighbours minus logistic regression, both on true labels: {lead:.3f} "
    "({a:.3f} to {b:.3f}) when slices are dealt; when patients are, the neighbours are **{behind:.2f}** behind "
    "({c:.2f} to {d:.2f}).",
    n=len(images), m=len(patients), r=repeats, lead=easy.value, a=easy.low, b=easy.high,
    behind=-fair.value, c=-fair.high, d=-fair.low,
)

# %% [markdown]
# (The 95 % intervals are over *patients*: the slices of one are alike and count together. [Lesson
# 05](05_classical_baseline.ipynb) teaches this, and the AUC.)
#
# - **The neighbours know nothing.** With patients dealt they guess. With slices dealt they look good, even on labels from a
#   coin, where there is nothing to learn but who is who. On real brain scans, networks with random labels got 96 % right by
#   slice and 50 % by patient ([Yagis and others 2021](https://doi.org/10.1038/s41598-021-01681-w)).
# - **The flattery depends on the model.** Logistic regression, with its straight border, can hardly bend around single
#   patients, and gains little.
# - **So the leak hides which model is better.** With slices dealt, the interval of the difference holds 0: the one that guesses
#   looks as good as the one that has learnt. "The numbers are too high, but the ranking holds" is no excuse.
#
# ### What will be new?
#
# The patient is not always the right unit. **Ask what will be new when the model is used, and split by that.** For a new
# hospital, hold out whole sites; for next year, later patients.
#
# ### Exercise 04.3: train for a new hospital
#
# Write a function that trains a model on all images *except* those of one site, and returns its AUC on that site.
#
# > **Hint** `held_out = sites == new` is True for the images of the new site. Use `model.fit`, `model.decision_function` and
# > `statistics.area_under_curve(labels == 1, scores)`. [Solution](solutions/04_grey_values_and_leaks.ipynb).


# %% tags=["exercise"]
def auc_at_new_site(model, features, labels, sites, new):
    return ...  # your code here


# %% tags=["solution"]
def auc_at_new_site(model, features, labels, sites, new):
    held_out = sites == new
    model.fit(features[~held_out], labels[~held_out])
    scores = model.decision_function(features[held_out])
    return statistics.area_under_curve(labels[held_out] == 1, scores)


# %%
check.exercise("04.3", auc_at_new_site)

# %% [markdown]
# When it is right, hold out each of the four sites in turn, with `grey_values` and `logistic`. The sites of all images are
# `np.concatenate([split.table["site"] for split in splits])`. Is a new *site* harder than a new *patient*?
#
# <details><summary>Answer</summary>
#
# Hardly, here. Compare with logistic regression in the figure, patients dealt: three sites come out a little above, site C a
# little below. The sites of `simbrain` see equally many tumours, so there is no shortcut to lose; and every scanner sets one
# tissue to about the same brightness, so no site is as strange as B in the first picture. At a real hospital neither need hold.
#
# </details>
#
# **In this lesson we**
#
# - normalised in three ways: percentiles resist outliers, the z-score empties the means, and none removes the scanner;
# - decided claims by differences within patients, and asked new patients before believing a pattern;
# - took a bias field away, and with it part of the anatomy;
# - drew and measured the leak: it made guessing look like knowledge, and as good as a model that has learnt.
#
# **Next** [lesson 05](05_classical_baseline.ipynb) builds the honest opponent that every network has to beat: a classical model on
# hand-made features.
#
# **References**
#
# - J. C. Reinhold and others: Evaluating the impact of intensity normalization on MR image synthesis (2019),
#   [arXiv:1812.04652](https://arxiv.org/abs/1812.04652).
# - J. G. Sled, A. P. Zijdenbos, A. C. Evans: A nonparametric method for automatic correction of intensity nonuniformity in MRI
#   data, *IEEE Transactions on Medical Imaging* 17 (1998), [doi:10.1109/42.668698](https://doi.org/10.1109/42.668698).
# - N. J. Tustison and others: N4ITK: improved N3 bias correction, *IEEE Transactions on Medical Imaging* 29 (2010),
#   [doi:10.1109/TMI.2010.2046908](https://doi.org/10.1109/TMI.2010.2046908).
# - E. Yagis and others: Effect of data leakage in brain MRI classification using 2D convolutional neural networks,
#   *Scientific Reports* 11 (2021), [doi:10.1038/s41598-021-01681-w](https://doi.org/10.1038/s41598-021-01681-w).
# - J. R. Zech and others: Variable generalization performance of a deep learning model to detect pneumonia in chest radiographs,
#   *PLOS Medicine* 15 (2018), [doi:10.1371/journal.pmed.1002683](https://doi.org/10.1371/journal.pmed.1002683).

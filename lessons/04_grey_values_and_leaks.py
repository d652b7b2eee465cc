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
# Two things can make a model look good in your test and fail in use. The grey values may tell it *which scanner* took the
# image: it may fail in the next hospital. The test may hold *patients it has already seen*: it may fail on the next patient.
# Neither raises an error. This lesson asks: **what do grey values say about the scanner rather than the patient, and how
# much can a wrong split flatter a model?**

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
    even = dataclasses.replace(site, bias=0.0)  # the bias field comes at the end
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
# One virtual head, four scanners, one window. (How strongly each receiver amplifies is our choice.) A model trained on A and C has never seen a brain as dark as B's.
#
# **You will**
#
# - put grey values on a common scale in three ways, and see what outliers do to each;
# - see whether the scanner's trace is gone, and decide with *paired* intervals whether a method changes it;
# - measure how a leak between slices of a patient flatters a model, and hides which of two is better;
# - see a bias field, take it away, and see what else goes with it (an aside).
#
# **Reading:** about 40 min · **running:** about 20 s · **builds on:** [lesson 02](02_mr_simulation.ipynb) (T1, T2, FLAIR,
# sites) and [lesson 03](03_cleaning_and_geometry.ipynb) (clean images of one size)
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
# The $p$-th **percentile** is the value below which $p$ per cent of the pixels lie. Only the brain counts: how much air there is
# depends on the cropping.


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
# Now somebody burns a white letter into the image of site A: four more pixels with the value 5, far brighter than any
# tissue.
#
# > **Predict** Which of the three methods hardly notices? Which one suffers most?

# %%
pixels = heads["A"][inside][:, None]  # of the brain; shape (pixels, 1 channel)
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
SITE_LINES = {  # from wide to narrow: a line shows even where others lie on it
    "A": {"color": plotting.SKY, "lw": 5},
    "B": {"color": plotting.VERMILION, "lw": 2.8},
    "C": {"color": plotting.GREEN, "lw": 2, "ls": "--"},
    "D": {"color": plotting.BLACK, "lw": 1.8, "ls": ":"},
}
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
    curves = {n: ax.plot(x, 0 * x, **SITE_LINES[n], label=f"site {n}")[0] for n in brains}
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
# only shifts and stretches a histogram. It cannot turn one hump into two, or move tissues relative to each other; in what remains
# are the anatomy and the scanner's contrast, noise and sharpness.
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
# diagnosis, which fails elsewhere. Networks that looked for pneumonia in chest X-rays did recognise the hospital
# ([Zech and others 2018](https://doi.org/10.1371/journal.pmed.1002683)).
#
# In `simbrain`, unlike the four pictures above, every scanner already sets one tissue (in T1, white matter) to about the same
# brightness; the others fall where the scanner's contrast puts them. We take one slice of each patient.


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
            ax.plot(x, of_channel[sites == name].mean(axis=0), **line, label=f"site {name}")
        ax.set(xlabel=f"{channel}, {method}")
    row[0].set_ylabel("density of pixels")
axes[0, 1].legend(fontsize=10)
plotting.show(
    fig,
    alt="Mean histograms of the brain by site, for T1, T2 and FLAIR, as they come and after the z-score. "
    "In T2 D stands apart until the z-score brings it in; in T1 A and B differ from C and D, in FLAIR C has the "
    "highest peak.",
)

# %% [markdown]
# Mean histograms of the training patients. As they come, D stands apart in T2, and the z-score brings it in. In T1 two pairs
# remain, A and B with 1.5 tesla, C and D with 3: the field strength changes the contrast between tissues. In FLAIR the peaks
# differ, C's being the highest.
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
# (**folds**), train on four, predict the fifth, in turn. So no model predicts a patient that it has seen. We repeat it with
# other folds, and average.

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
# we measured these patients and not others; of twenty such intervals about one misses. (With cross-validation a few more: the
# models, too, would differ with other patients.) For a mean over patients it reaches 1.96 standard errors to each side.
#
# > **Predict** There are four sites, and z-scores have mean 0. How often will the model find the site from their means? How
# > often from their histogram?

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
# ### Does a method make it *worse*?
#
# In the column *means*, min-max and percentile stand higher than "as it comes". Is that real? All methods were tried on *the
# same patients*, so what counts is the difference **within each patient**: +1 if only the new method finds the site, -1 if only
# the old one does, 0 otherwise (averaged over the repeats). For *one* question fixed beforehand, we call the difference real if
# the 95 % interval of its mean leaves out 0. Among many questions, some intervals leave it out by luck.
#
# And we noticed the pattern in these very patients. The cure: fix the question, then ask **new patients**.
#
# > **Predict** In 600 new patients, will the interval leave out 0 for min-max, for percentile, for both?

# %%
from medlib.datasets.simbrain import new_patients

cohort = new_patients(20304, n_subjects=600, slices_per_subject=1)
fresh_tissue, fresh_sites = one_slice_each(cohort)
fresh = all_found(fresh_tissue, fresh_sites)

# %% tags=["plumbing"]
fig, axes = plt.subplots(1, 2, figsize=(8, 3.1), sharey=True)
groups = {"first look": (found, 0.13, plotting.GREY), "new patients": (fresh, -0.13, plotting.BLUE)}
for ax, what in zip(axes, ("means", "histogram"), strict=True):
    for label, (source, shift, colour) in groups.items():
        each = [mean_interval(source[what, m] - source[what, "as it comes"]) for m in METHODS[1:]]
        middle, low, high = np.array([[i.value, i.low, i.high] for i in each]).T
        ends, places = [middle - low, high - middle], np.arange(3)[::-1] + shift
        label = f"{label} ({each[0].n})"
        ax.errorbar(middle, places, xerr=ends, fmt="o", color=colour, capsize=4, label=label)
    ax.axvline(0, color=plotting.BLACK, linewidth=1)
    ax.set(ylim=(-0.5, 2.5), xlim=(-0.25, 0.18), xticks=(-0.2, -0.1, 0, 0.1), title=f"from the {what}")
axes[0].set_yticks([2, 1, 0], METHODS[1:])
_ = fig.supxlabel("change in share recognised", fontsize=11)

# %% tags=["plumbing"]
fig.legend(*ax.get_legend_handles_labels(), ncols=2, loc="outside upper center", fontsize=11)
plotting.show(
    fig,
    alt="Change from images as they come, within patients, with 95 % intervals, in the first and in new patients. From the "
    "means, percentile lies above 0 and the z-score far below in both; the intervals of min-max hold 0. From the histogram "
    "all changes are small; those of min-max and the z-score end just below 0.",
)

# %% tags=["plumbing"]
before = fresh["means", "as it comes"]
gain, minmax = (mean_interval(fresh["means", method] - before) for method in ("percentile", "min-max"))
ledger.record("04/percentile_gain", gain.value, parameters, limits=(-1, 1), chance=0)
ledger.say(
    "In {n} new patients: from the means, percentiles make the site *easier* to find by **{percentile_gain:.2f}** ({a:.2f} "
    "to {b:.2f}), min-max by {v:.2f} ({c:.2f} to {d:.2f}).",
    n=gain.n, a=gain.low, b=gain.high, v=minmax.value, c=minmax.low, d=minmax.high,
)

# %% [markdown]
# **In the means, percentiles make it worse**, in both groups. A likely reason: the T1 images came with white matter set to one
# brightness, and percentiles undo that. Min-max stays undecided, which is not "no effect".
#
# From the histogram (right), min-max and the z-score take a little away. The new intervals leave out 0 only just, and with
# six comparisons one may do so by luck: probably real, and small.
#
# **To normalise is not to remove the scanner.**
#
# > **Note** Where one $a$ and $s$ serve all images, estimate them from the **training** images alone.
#
# ## The leak
#
# Each patient of `simbrain` has four slices. Many studies dealt *slices* out to training and test at random;
# [Yagis and others 2021](https://doi.org/10.1038/s41598-021-01681-w) list them. Both ways, for 12 patients; a dot
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
# other image of all. (Training, validation and test go together in this section. We may do so because we tune nothing, and
# what we report comes from cross-validation and is no final result of any model. In a real study the test patients stay
# untouched.)

# %%
from sklearn.neighbors import NearestNeighbors

from medlib.preprocessing import resize_image

splits = data.splits.values()
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
# By chance it would be the same patient for about one image in 800. Siblings often share the label, too: whoever copies it is
# right without any idea of what a tumour is.
#
# ### Exercise 04.2: deal out patients
#
# Write a function that takes the patient of each image (names, in any order), a share and a seed. It returns one entry for each
# *image*: True for test. All images of a patient are on one side; `round(share * number of patients)` patients, drawn at
# random, are test.
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
# The measure is the **AUC**: the probability that a random slice with a tumour gets a higher score than a random one without (a tie
# counts half). Guessing gives 0.5, a perfect model 1. For the coin, read "heads" for "tumour".
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
# (The 95 % intervals are over *patients*, whose slices count together: see [lesson 05](05_classical_baseline.ipynb).)
#
# - **The neighbours know nothing.** With patients dealt they guess. With slices dealt they look good, even on a coin's labels,
#   where there is nothing to learn but who is who. On real brain scans, networks with random labels got 96 % right by
#   slice and 50 % by patient ([Yagis and others 2021](https://doi.org/10.1038/s41598-021-01681-w)).
# - **The flattery depends on the model and its features.** Logistic regression gains little. Two likely reasons, not separated
#   here: a straight border can hardly bend around single patients, and percentiles say less about who is who than a small image.
# - **So the leak hides which model is better.** With slices dealt, the interval of the lead holds 0: the one that guesses looks
#   at least about as good as the one that has learnt. "The numbers are too high, but the ranking holds" is no excuse.
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
# When it is right, hold out each of the four sites in turn, in a new cell:
#
# ```python
# all_sites = np.concatenate([split.table["site"] for split in splits])
# {new: auc_at_new_site(logistic, grey_values, labels, all_sites, new) for new in "ABCD"}
# ```
#
# Is a new *site* harder than a new *patient*? (The [solutions](solutions/04_grey_values_and_leaks.ipynb) show the four numbers.)
#
# <details><summary>Answer</summary>
#
# Hardly, here. Compare with logistic regression in the figure, patients dealt: three sites come out a little above, site C a
# little below. The sites of `simbrain` see equally many tumours, so there is no shortcut to lose; and no site is as strange as B
# in the first picture. At a real hospital neither need hold.
#
# </details>

# %% tags=["solution"]
all_sites = np.concatenate([split.table["site"] for split in splits])
{new: round(auc_at_new_site(logistic, grey_values, labels, all_sites, new), 3) for new in "ABCD"}

# %% [markdown]
# ## An aside: the bias field
#
# *You may skip to* What to take along. No map of a whole image helps where the scale changes *within* it: a receiver coil picks up near
# tissue better than far tissue. This smooth factor $b$ is the **bias field**. Of the true image $u$ we measure $v = u \, b$,
# plus noise ([Tustison and others 2010](https://doi.org/10.1109/TMI.2010.2046908)), so $\log v \approx \log u + \log b$. The **homomorphic
# filter** takes for $\log b$ *the smooth part of* $\log v$: a mean over the brain around each pixel, with weights $g_\sigma$ that
# fall off like a bell of width $\sigma$ ($m$ is 1 in the brain and 0 outside; $*$ is smoothing).
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
# We put a random field on the head of the first picture, and filter with $\sigma$ = 20 mm. What else may be smooth and wide, and
# end up in the estimate?

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
estimate = estimate_field(measured, inside, 20 / PIXEL_MM)
slices = {"true": true, "measured": measured * inside, "corrected": measured / estimate * inside}
maps = {"true field": field, "estimate": estimate, "left over": field / estimate}
plotting.show(draw_rows(slices, maps), alt=ALT)

# %% [markdown]
# Above (window 0.1 to 0.9), the bright upper left is evened out. Below, the blue spot in the estimate is not in the true field: the
# filter takes the dark fluid in the middle for a shadow. So, in "left over", the centre is too bright.

# %% tags=["plumbing"]
def left_over(sigma_mm, strength):
    """Return what is left of a field, in per cent, over 20 fields."""
    errors = []
    for number in range(20):
        field, measured = scan(strength, np.random.default_rng([seed, number]))
        estimate = estimate_field(measured, inside, sigma_mm / PIXEL_MM) if sigma_mm else 1
        errors.append(100 * np.log(field / estimate)[inside].std())
    return np.mean(errors)


# %% tags=["plumbing"]
invented = left_over(20, 0.0)
ledger.record("04/bias_invented", invented, parameters, limits=(0, 100), chance=0)
ledger.say(
    "What is left over (standard deviation of the brightness in the brain; mean over 20 fields, one anatomy):\n\n"
    "- a **strong** field of {s0:.1f} %: {s20:.1f} % after 20 mm, {s40:.1f} % after 40 mm;\n"
    "- a **weak** field of {w0:.1f} %: {w20:.1f} % after 20 mm, {w40:.1f} % after 40 mm;\n"
    "- **no** field (20 draws of the noise): the filter *invents* one, of {bias_invented:.1f} % with 20 mm, {n40:.1f} % with 40 mm.",
    s0=left_over(None, 0.3), s20=left_over(20, 0.3), s40=left_over(40, 0.3),
    w0=left_over(None, 0.1), w20=left_over(20, 0.1), w40=left_over(40, 0.1), n40=left_over(40, 0.0),
)

# %% [markdown]
# On a strong field both widths help, 20 mm slightly more. On a weak one 20 mm does harm while 40 mm helps; without a field both
# do harm. You rarely know how strong a field is: when in doubt choose wide, and draw what you took away as a map: it should
# show no anatomy. The usual tool is **N4**, which fits a smooth surface
# step by step while it sharpens the histogram (the same paper).
#
# ## What to take along
#
# **In this lesson we**
#
# - normalised in three ways: percentiles resist outliers, the z-score empties the means, and none removes the scanner;
# - decided claims by differences within patients, and asked new patients before believing a pattern;
# - drew and measured the leak: it made guessing look like knowledge, and about as good as a model that has learnt;
# - (in the aside) took a bias field away, and with it part of the anatomy.
#
# **Next** [lesson 05](05_classical_baseline.ipynb) builds the honest opponent that every network has to beat: a classical model on
# hand-made features.
#
# **References**
#
# - N. J. Tustison and others: N4ITK: improved N3 bias correction, *IEEE Transactions on Medical Imaging* 29 (2010),
#   [doi:10.1109/TMI.2010.2046908](https://doi.org/10.1109/TMI.2010.2046908).
# - E. Yagis and others: Effect of data leakage in brain MRI classification using 2D convolutional neural networks,
#   *Scientific Reports* 11 (2021), [doi:10.1038/s41598-021-01681-w](https://doi.org/10.1038/s41598-021-01681-w).
# - J. R. Zech and others: Variable generalization performance of a deep learning model to detect pneumonia in chest radiographs,
#   *PLOS Medicine* 15 (2018), [doi:10.1371/journal.pmed.1002683](https://doi.org/10.1371/journal.pmed.1002683).

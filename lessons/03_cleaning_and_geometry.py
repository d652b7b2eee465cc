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
# # 03 Preprocessing
#
# Between the scanner and the first line of training lies work that papers seldom describe: files are sorted out,
# images are brought to one size and one grey scale, patients are dealt out to training and test. Mistakes made
# here raise no error. They can give a network that recognises the hospital instead of the disease, or a test result
# that no other hospital will see again. This lesson asks: **what must be done to medical images before a
# model sees them, and how large is the damage when it is done wrongly?**
#
# **You will**
#
# - find damaged, doubled and wrongly described images in a folder, and say what your tools cannot find;
# - crop, and bring images to one pixel size in millimetres;
# - normalise grey values in three ways, and measure what that does to the traces of the scanner;
# - see a bias field, remove part of it, and see what else is removed;
# - measure how much better a useless model looks when images of one patient stand on both sides of a split.
#
# **Reading:** about 65 min · **running:** about 35 s on two CPU cores · **builds on:** Python and NumPy; 01 (pixels,
# millimetres, T1, T2 and FLAIR) helps

# %% tags=["install"]
import medlib

# %% tags=["parameters"]
dataset = "simbrain"  # for cleaning and splitting; or "breastmnist", "pneumoniamnist"
repeats = 5  # of the split in the last part
seed = 0  # of the planted defects, the splits and all random numbers

# %%
parameters = {"dataset": dataset, "repeats": repeats, "seed": seed}

# %% [markdown]
# The images are `simbrain`, unless you chose another set: simulated magnetic resonance (MR) slices of virtual
# patients, half of them with a tumour. Each slice comes in three **channels**, T1, T2 and FLAIR: three settings of
# the scanner in which the same tissue has different greys. Because it is a simulation we know the truth about each
# image. Because it is made from one template brain, numbers measured on it say something about *methods*, and
# nothing about hospitals.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from coursekit import ledger
from medlib import datasets, plotting

plotting.use_style()

# %%
rng = np.random.default_rng(seed)
data = datasets.load(dataset, strict=True)
data.summary()

# %% [markdown]
# ## Data cleaning
#
# ### A delivery
#
# An archive has sent you a folder: image files, and a CSV with one row for each. The next cell makes such a folder
# from images of different patients. It also plants fifteen defects. They are written down in the **key**, which we
# open at the end.

# %%
import tempfile
from pathlib import Path

from coursekit.check import lesson_03

folder = Path(tempfile.mkdtemp(prefix="delivery_"))
key = lesson_03.messy_folder(folder, data, seed=seed)

# %%
table = pd.read_csv(folder / "labels.csv")
table.head()

# %% [markdown]
# > **Your turn** Before you read on, open a new cell and look for what is wrong with `folder` and `table`. Write
# > down what you find. Fifteen defects: six of them are copies of one kind or another.
#
# ### The table against the folder
#
# The cheapest question first: do the table and the folder speak of the same files?

# %%
on_disk = {path.name for path in folder.glob("*.png")}
in_table = set(table["image"])
twice = table.loc[table["image"].duplicated(), "image"].tolist()

# %% tags=["nbval-check-output"]
print("rows whose file is missing:", sorted(in_table - on_disk))
print("files that no row speaks of:", sorted(on_disk - in_table))
print("files with several rows:", twice)

# %% [markdown]
# Now the columns. Count each label as it is spelled, and look at the extremes of each number.

# %%
print(table["label"].value_counts().to_dict())
table.describe().loc[["count", "min", "50%", "max"]]

# %% [markdown]
# A label that occurs once is usually a typing error: here with a capital letter and a trailing blank. To a program
# it is a third class. An age of 999 is an old way to write "not known", and a mean of ages would have swallowed it
# without complaint.

# %% tags=["nbval-check-output"]
odd_label = table.loc[~table["label"].isin(data.class_names), "image"].tolist()
odd_age = table.loc[~table["age"].between(0, 110), "image"].tolist()
print("odd label:", odd_label, "  odd age:", odd_age)

# %% [markdown]
# ### Does every file open?
#
# Many scripts check files like this: open each one with Pillow (Python's usual library for image files), and go on
# if there is no error. We do that, and then also **decode** each file: turn its bytes into pixels.

# %%
from PIL import Image


def is_broken(path, decode):
    """Say whether an image file cannot be opened or, if wished, not be decoded."""
    try:
        image = Image.open(path)
        if decode:
            image.load()
    except OSError:
        return True
    return False


# %% tags=["nbval-check-output"]
files = sorted(on_disk)
broken = [name for name in files if is_broken(folder / name, decode=True)]
print("cannot be opened: ", [name for name in files if is_broken(folder / name, decode=False)])
print("cannot be decoded:", broken)

# %% [markdown]
# > **Predict** Opening found one file, decoding found two. What may these two be?

# %%
for name in broken:
    print(name, "begins with", (folder / name).read_bytes()[:12])

# %% [markdown]
# One file is a web page that a download script saved under the name of an image. The other one has a correct
# beginning and lacks its end: a **truncated** file. `Image.open` reads only the beginning, so it sees nothing
# wrong. Decode every pixel before you trust a file.
#
# Now that we have all pixels: is each image as large as the table says? And an image without any variation shows
# nothing.

# %%
pixels = {name: np.asarray(Image.open(folder / name)) for name in files if name not in broken}
said = table.drop_duplicates("image").set_index("image")
size = said[["height", "width"]]
wrong_size = [n for n in pixels if n in in_table and pixels[n].shape != tuple(size.loc[n])]
flat = [name for name in pixels if pixels[name].std() == 0]

# %% tags=["nbval-check-output"]
print("size is not as the table says:", wrong_size, "  one grey level only:", flat)

# %% [markdown]
# ### Exact copies
#
# The same image twice is one patient counted twice. If one copy trains the model and the other one tests it, the test
# measures memory. Comparing all pairs of files would be slow. A **hash** is quicker: a function that turns any number
# of bytes into a short text, such that equal bytes give equal texts, and different bytes practically never do.
#
# We hash the *pixels*, not the file: the same pixels saved by two programs can give different files.

# %%
import hashlib

digests = pd.Series({n: hashlib.sha256(p.tobytes()).hexdigest() for n, p in pixels.items()})
copies = digests[digests.duplicated(keep=False)]

# %% tags=["nbval-check-output"]
for names in copies.groupby(copies).groups.values():
    print([f"{name}: {said.label[name]}, patient {said.subject[name]}" for name in names])

# %% [markdown]
# Two images are there twice, under the names of different patients. One of the two pairs is worse: the same image is
# labelled once one way and once the other. That is a **label conflict**. No program can know which label is right.
# Ask the archive, or remove both.
#
# ### Near copies
#
# Change a single pixel and the hash is another one. Yet the same slice saved as JPEG, or with a mark drawn on it,
# is still the same patient. We need a hash that is similar for images that *look* similar: a **perceptual hash**. The one
# called pHash (Zauner 2010) looks at the coarse pattern only:
#
# 1. Shrink the image to 32 x 32 pixels $x_{ij}$.
# 2. Write it as a sum of waves. The strength of the wave with $u$ half periods down and $v$ across is
#    $$X_{uv} \propto \sum_{i=0}^{31} \sum_{j=0}^{31} x_{ij} \cos\frac{\pi (2i+1) u}{64} \cos\frac{\pi (2j+1) v}{64},$$
#    the **discrete cosine transform**. Keep the slowest ones, $u, v < 8$, without the constant $u = v = 0$.
# 3. For each of these 63 waves note one bit: is it stronger than the median of all 63?
#
# Two images are compared by the number of bits that differ, from 0 to 63. (It is always even, because every hash has the
# same number of ones.)

# %%
from scipy.fft import dctn

from medlib.preprocessing import resize_image


def phash(image):
    """Return 63 bits that describe the coarse pattern of a grey image, shape (height, width)."""
    small = resize_image(image[..., None], (32, 32))[..., 0]
    waves = dctn(small, norm="ortho")[:8, :8].ravel()[1:]
    return waves > np.median(waves)


# %% [markdown]
# > **Predict** Which of these changes keeps most bits: making the image brighter, moving it by two pixels, or
# > mirroring it?

# %%
original, stranger = data.train.images[0][..., -1], data.train.images[-1][..., -1]
changed = {
    "brighter by 15 %": np.clip(original * 1.15, 0, 1),
    "moved by two pixels": np.roll(original, 2, axis=1),
    "mirrored": original[:, ::-1],
    "another patient": stranger,
}

# %%
bits = {name: int((phash(image) != phash(original)).sum()) for name, image in changed.items()}
pd.Series(bits, name="bits that differ").to_frame()

# %% [markdown]
# Brightness changes next to nothing: all waves get stronger together. A small movement already costs many bits, and
# a mirrored image looks to this hash like somebody else.
#
# The course's version is `medlib.preprocessing.fingerprint`. It keeps the bits and the thumbnail, because bits alone are
# coarse. A second measure is the **correlation** of two thumbnails after what all thumbnails have in common has been
# subtracted: +1 for the same pattern, scattered around 0 for unrelated ones. We compute both
# for all pairs.

# %%
from medlib.preprocessing import fingerprint

names = [name for name in pixels if name not in flat]
prints = [fingerprint(pixels[name][..., None] / 255) for name in names]
# ^ leaves a 1 wherever two numbers have different bits
distance = np.array([[(a.bits ^ b.bits).bit_count() for a in prints] for b in prints])
thumbnails = np.array([each.thumbnail.ravel() for each in prints])
correlation = np.corrcoef(thumbnails - thumbnails.mean(axis=0))

# %%
pairs = np.triu_indices(len(names), k=1)  # each pair once: rows and columns of the two tables
fig, ax = plt.subplots(figsize=(7, 3.8))
jitter = rng.uniform(-0.4, 0.4, len(pairs[0]))  # so that equal distances do not hide each other
ax.scatter(distance[pairs] + jitter, correlation[pairs], s=10, color=plotting.GREY)
ax.set(xlabel="bits that differ (of 63)", ylabel="correlation of thumbnails")
plotting.show(
    fig,
    alt="All pairs of images: bits that differ against correlation of thumbnails. Nearly all pairs "
    "form one broad cloud. A few lie apart from it, with few different bits and a high correlation.",
)

# %% [markdown]
# A cloud of pairs, and at the upper left a few that stand apart. How far does the cloud reach, and
# where do copies begin? No formula says so: one **looks at the closest pairs** and decides. Here are the eight with the
# highest correlation.

# %%
closest = np.argsort(-correlation[pairs])[:8]
first, second = (np.array(names)[index[closest]] for index in pairs)
top = pd.DataFrame({"first": first, "second": second, "bits": distance[pairs][closest]})
top["correlation"] = correlation[pairs][closest].round(2)
top

# %%
shown = [name for pair in zip(first, second, strict=True) for name in pair]
gallery = [resize_image(pixels[name][..., None] / 255, (64, 64)) for name in shown]
titles = [f"pair {number // 2 + 1}: {name[:-4]}" for number, name in enumerate(shown)]
fig = plotting.image_grid(np.stack(gallery), titles=titles, columns=4)
plotting.show(
    fig,
    alt="The eight closest pairs, two in a row. Some plainly show the same image twice: exact, with a "
    "small cross drawn into it, or brighter. The others resemble each other.",
)

# %% [markdown]
# Some pairs are plainly copies, others only resemble each other. Decide for each before you read on. And does a gap in
# the numbers prove that no copy lies below it?
#
# ### The key
#
# Now we open it. Which planted copies are among the eight pairs that we looked at, and how far from their originals are
# the others?

# %%
planted = key[key["original"] != ""].reset_index(drop=True)
couples = list(zip(planted["image"], planted["original"], strict=True))
at = [(names.index(one), names.index(other)) for one, other in couples]
planted["bits"] = [distance[cell] for cell in at]
planted["correlation"] = [round(float(correlation[cell]), 2) for cell in at]

# %%
looked_at = [{one, other} for one, other in zip(first, second, strict=True)]
planted["seen"] = [set(couple) in looked_at for couple in couples]
planted

# %%
ledger.say("Of the six planted copies, **{seen}** are among the eight pairs.", seen=planted["seen"].sum())

# %% [markdown]
# Both measures need the pattern to stay where it was. A mirrored copy looks like a stranger; a moved one can keep most
# of its bits and still lose the correlation, by which we sorted. Such copies can slip through, and so can a
# neighbouring slice of the same patient. A search for copies lowers their number; it does not prove that none are
# left. What helps more is to know the patient of every image.
#
# The other nine defects were found by the plain checks before. Compare with your own list.

# %% tags=["nbval-check-output"]
by_us = (in_table ^ on_disk) | {*twice, *odd_label, *odd_age, *broken, *wrong_size, *flat}
single = key.loc[key["original"] == "", ["defect", "image"]].reset_index(drop=True)
single.assign(found=single["image"].isin(by_us))

# %% [markdown]
# ### The tool, and the decisions
#
# `datasets.from_folder` reads a CSV and its images. It refuses what cannot be right instead of guessing, and names
# the first thing in its way.

# %%
from medlib.errors import DataError

try:
    datasets.from_folder(folder / "labels.csv", image_size=64)
except DataError as refusal:
    print(str(refusal).replace(str(folder), "delivery"))

# %% [markdown]
# What to do about a defect is a *decision*. It belongs in a script, with its reason, and never in the CSV by hand:
# who edits by hand cannot tell a year later what was done, or do it again for the next delivery.

# %%
clean = table.drop_duplicates()
clean = clean.assign(label=clean["label"].str.strip().str.lower())  # a typing error, no doubt
clean["age"] = clean["age"].where(clean["age"].between(0, 110))  # 999 becomes "not a number"
clean = clean[clean["image"].isin(set(pixels) - set(flat))]  # nothing to see: leave out

# %% [markdown]
# The file without a row drops out by itself; about the size we believe the file. Both images of a label
# conflict are left out. Copies stay, and count as images of one patient. Here the key names them. Without a key it is
# the pairs you decided on, and a copy that you missed stays a patient of its own.

# %%
n_labels = said.label[copies.index].groupby(copies).transform("nunique")
clean = clean[~clean["image"].isin(n_labels.index[n_labels > 1])]
patient_of_copy = dict(zip(planted["image"], said.subject[planted["original"]], strict=True))
clean["subject"] = clean["image"].map(patient_of_copy).fillna(clean["subject"])

# %% tags=["nbval-check-output"]
clean.to_csv(folder / "clean.csv", index=False)
delivery = datasets.from_folder(folder / "clean.csv", image_size=64)
delivery.summary()[["images", "subjects"]]

# %% [markdown]
# Where there are more images than subjects, copies now share a patient.
#
# Published data needs the same care. A widely used set of breast ultrasound images was found to hold many copies, some
# of them with contradicting labels (Pawłowska and others 2023). Data sets for COVID-19 were glued together from
# others that shared images, so that some groups tested on what they had trained on (Roberts and others 2021).

# %%
import shutil

shutil.rmtree(folder)

# %% [markdown]
# ## Geometry
#
# This part and the next two need patients whose truth we know, so they always use `simbrain`, and of it the training
# patients only.
#
# ### Cropping to the content
#
# Much of a scan is air. **Cropping** cuts the image to the smallest box that holds everything brighter than a
# threshold. In NumPy: which rows and which columns have content, and what are the first and the last of them? We take
# the slice with the largest tumour.

# %%
brains = data if dataset == "simbrain" else datasets.load("simbrain")
mri = brains.train
pixel_mm = mri.table["row_spacing_mm"][0]  # the same in every image, and square
example = int(mri.masks.sum(axis=(1, 2)).argmax())
image, tumour = mri.images[example], mri.masks[example] == 1

# %%
content = (image > 0.05).any(axis=-1)
rows, columns = np.flatnonzero(content.any(axis=1)), np.flatnonzero(content.any(axis=0))
cropped = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]

# %% [markdown]
# `medlib.preprocessing.crop_to_content` does the same and also returns the box. A **mask** (an image of True and
# False that says where the tumour is) must be cut in exactly the same place.

# %%
from medlib.preprocessing import crop_to_content

again, box = crop_to_content(image)
print(f"same result: {np.array_equal(cropped, again)}, {image.shape[:2]} became {again.shape[:2]}")
print(f"tumour pixels before {tumour.sum()}, after {tumour[box].sum()}")

# %% [markdown]
# So far nothing is lost. But networks want images of one size, so cropping is usually followed by stretching every
# box to, say, 64 x 64 pixels.
#
# > **Predict** A wide slice and a narrow one are both cropped and stretched to 64 x 64. In which of them does a tumour
# > of 20 mm become wider?

# %%
boxes = np.array([crop_to_content(each)[0].shape[:2] for each in mri.images])
height_mm, width_mm = boxes.T * pixel_mm
stretched = 20 / (width_mm / 64)  # 20 mm, in pixels of the stretched box

# %%
ledger.record("03/stretched_low", stretched.min(), parameters)
ledger.record("03/stretched_high", stretched.max(), parameters)
ledger.say(
    "Across {n} slices the same 20 mm come out as **{stretched_low:.1f} to {stretched_high:.1f} pixels**. "
    "And the boxes are {low:.2f} to {high:.2f} times as high as wide: stretched to a square, all "
    "get the same shape.",
    n=len(boxes),
    low=(height_mm / width_mm).min(),
    high=(height_mm / width_mm).max(),
)

# %% [markdown]
# In the narrow slice the tumour becomes wider: fewer millimetres are stretched over the same 64 pixels.
#
# > **Note** The lines before the sentence note the numbers, so that later runs can be compared with them. The *band* comes
# > from runs with several seeds: one more run should end within it. Where the seed plays no part, both ends are equal.
#
# Size is often what the question is about: a tumour that grew, a brain that shrank. Cropping saves memory. Stretching
# after it throws the millimetres away. Better: crop every image to a box of the same size *in millimetres*, or pad it
# with black.
#
# ### One spacing for all
#
# **Spacing** is the distance between the centres of neighbouring pixels, in mm. Two scanners seldom agree on it. If $s$ is
# the spacing and $n$ the number of pixels along one axis, the image covers $n s$ millimetres. **Resampling** to the
# spacing $s'$ keeps the millimetres and changes the number of pixels:
#
# $$n' = \mathrm{round}\left(n \, \frac{s}{s'}\right)$$
#
# We let three scanners image the same virtual patient: one coarse, one fine, and one whose pixels are rectangles, twice as
# wide as high.

# %%
from medlib.datasets.simbrain import load_simbrain

sizes = {"coarse": 64, "fine": 160}  # pixels for the same field of view
cohorts = {
    name: load_simbrain(n_subjects=20, slices_per_subject=1, image_size=size).train
    for name, size in sizes.items()
}

# %%
patient = int(cohorts["fine"].table["tumour_diameter_mm"].argmax())
flair = {name: cohort.images[patient][..., 2:] for name, cohort in cohorts.items()}
flair["wide pixels"] = (flair["fine"][:, 0::2] + flair["fine"][:, 1::2]) / 2  # join two columns
spacing = {"coarse": (3.25, 3.25), "fine": (1.3, 1.3), "wide pixels": (1.3, 2.6)}  # mm down, across

# %%
from medlib.preprocessing import resample_to_spacing

resampled = {name: resample_to_spacing(flair[name], spacing[name], to_mm=2.0) for name in flair}


def draw(ax, image, title):
    """Draw an image so that a pixel is equally large in every panel."""
    ax.imshow(image[..., 0], vmin=0, vmax=1)
    ax.set(xlim=(0, 160), ylim=(160, 0), xlabel="pixel", title=title)
    ax.grid(False)


# %%
fig, axes = plt.subplots(2, 3, figsize=(8, 6))
for column, name in enumerate(flair):
    draw(axes[0, column], flair[name], f"{name}, as delivered")
    draw(axes[1, column], resampled[name], f"{name}, at 2 mm")
axes[0, 0].set_ylabel("pixel")
axes[1, 0].set_ylabel("pixel")
plotting.show(
    fig,
    alt="The same FLAIR slice from three scanners. As delivered the brain is small, large, and squeezed "
    "to half its width; resampled to 2 mm all three are equally large. Window 0 to 1.",
)

# %% [markdown]
# Above, what a network would be given: three brains of different size and shape (window 0 to 1: 0 is black, 1 is
# white). Below, the same after resampling. How many pixels does the tumour have in each?
#
# A mask is resampled by taking the *nearest* pixel, never by interpolation: between "tumour" and "not tumour" there is
# nothing half.

# %%
from medlib.preprocessing import resize_mask

truth = cohorts["fine"].masks[patient] == 1
delivered = {n: resize_mask(truth, flair[n].shape[:2]) for n in flair}
at_2_mm = {n: resize_mask(delivered[n], resampled[n].shape[:2]) for n in flair}
masks = {"pixels as delivered": delivered, "pixels at 2 mm": at_2_mm}
pd.DataFrame({what: {n: each[n].sum() for n in flair} for what, each in masks.items()})

# %% [markdown]
# One tumour, three very different numbers of pixels; at a common spacing, nearly the same number. What resampling
# cannot do is bring back detail: the coarse scan has the size of the others now, and is as blurred as before.
#
# When an image gets smaller, `resample_to_spacing` averages all pixels that fall together. Taking every second pixel
# instead would turn fine texture into stripes that are not there (**aliasing**).
#
# ## Grey values
#
# ### Three ways to normalise
#
# The grey values of computed tomography (CT) are Hounsfield units: a scale fixed by air and water on every scanner.
# Those of MR are not. Their scale depends on coils, amplifiers and software. **Normalisation** puts the values $x$ of
# an image on a common scale. Three ways are common. Each is an affine map (a shift and a stretch),
# $x' = (x - a) / b$:
#
# | | $a$ | $b$ | result |
# |---|---|---|---|
# | **min-max** | smallest value | largest minus smallest value | from 0 to 1 |
# | **percentile** | 0.5th percentile | 99.5th minus 0.5th percentile | nearly all from 0 to 1 |
# | **z-score** | mean | standard deviation | mean 0, standard deviation 1 |
#
# The $p$-th **percentile** is the value that $p$ per cent of the pixels lie below. All statistics are taken over the
# pixels of the brain. Air would count otherwise, and how much air there is depends on the crop (exercise 02.2).


# %%
def shift_and_scale(values, method):
    """Return a and b of x' = (x - a) / b for values of shape (pixels, channels)."""
    if method == "as it comes":
        return 0.0, 1.0
    if method == "z-score":
        return values.mean(axis=0), values.std(axis=0)
    ends = (0, 100) if method == "min-max" else (0.5, 99.5)
    low, high = np.percentile(values, ends, axis=0)
    return low, high - low


METHODS = ("as it comes", "min-max", "percentile", "z-score")

# %% [markdown]
# What happens if a few pixels are far brighter than everything else: a metal clip, a letter burned into the image?
#
# > **Predict** Four pixels with the value 5 are added to the brain. Which of the three methods hardly notices?

# %%
values = image[image.max(axis=-1) > 0][:, :1]  # T1 of the brain, shape (pixels, 1)
spoilt = np.concatenate([values, np.full((4, 1), 5.0)])
typical = {}
for method in METHODS[1:]:
    scales = [shift_and_scale(each, method) for each in (values, spoilt)]
    halves = [(np.percentile(values, (25, 75)) - a[0]) / b[0] for a, b in scales]
    typical[method] = [f"{low:.2f} to {high:.2f}" for low, high in halves]
pd.DataFrame(typical, index=["without bright pixels", "with four of them"]).T

# %% [markdown]
# The table shows where the middle half of the brain's pixels ends up, from the 25th to the 75th percentile. Under min-max
# the four pixels squeeze it into a thin strip at the dark end of the scale. Under the z-score it moves and shrinks to less
# than half its width, because they raise the mean and inflate the standard deviation. The percentiles hardly move, since
# four pixels are fewer than 0.5 % of the brain.
#
# ### What does it do across sites?
#
# `simbrain` has four **sites**: scanners with their own magnet, timing, noise and sharpness. Why should that matter
# to a model that looks for tumours? In practice sites differ in their patients as well. A network that can tell the
# hospital from the image can use it as a shortcut to the diagnosis, and then fail at the next hospital (Zech and
# others 2018).
#
# So we measure the trace of the site directly: *how well can a simple model tell the site from the grey values*? We take one
# slice of each training patient and describe it in two ways: by the **means** of the three channels, or by the
# **histogram**, here as nine percentiles of each channel. Numbers that describe an image are called **features**.

# %%
one_each = np.unique(mri.subjects, return_index=True)[1]
sites = mri.table["site"].to_numpy()[one_each]
tissue = [each[each.max(axis=-1) > 0].astype(float) for each in mri.images[one_each]]


def describe(values, method):
    """Return the means and the histogram of a brain after normalisation."""
    a, b = shift_and_scale(values, method)
    normalised = (values - a) / b
    histogram = np.percentile(normalised, np.arange(10, 100, 10), axis=0)
    # rounded, so that a mean of 0 is not told from one of 1e-17
    return {"means": normalised.mean(axis=0).round(9), "histogram": histogram.ravel()}


# %% [markdown]
# The model is **logistic regression**, which draws straight borders between the classes, after a z-score of each
# feature (`StandardScaler`). We use it in **five-fold cross-validation**: deal the patients into five groups
# (**folds**), train on four, predict the fifth, each in turn. So every patient is predicted once, by a model that has
# not seen him or her. The result is the share of patients whose site is recognised. Its **95 % interval** says how far
# that share could be off by the luck of these patients.

# %%
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from medlib.evaluation import statistics


def sites_recognised(features):
    """Return the share of sites recognised, with its 95 % interval (Wilson 1927)."""
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    answers = cross_val_predict(model, np.array(features), sites, cv=5)
    return statistics.wilson_interval(int((answers == sites).sum()), len(sites))


# %% [markdown]
# > **Predict** After the z-score every brain has mean 0 in each channel. What can the three means still tell about the
# > site? And the histogram?

# %%
recognised = pd.DataFrame(index=METHODS, columns=["means", "histogram"], dtype=object)
for method in METHODS:
    described = [describe(values, method) for values in tissue]
    for what in recognised:
        recognised.loc[method, what] = sites_recognised([each[what] for each in described])
recognised

# %%
commonest = statistics.wilson_interval(int(pd.Series(sites).value_counts().max()), len(sites))
fig, ax = plt.subplots(figsize=(7, 3.6))
for offset, what in ((-0.1, "means"), (0.1, "histogram")):
    middle, low, high = np.array([[i.value, i.low, i.high] for i in recognised[what]]).T
    ends = [middle - low, high - middle]
    ax.errorbar(np.arange(4) + offset, middle, yerr=ends, fmt="o", capsize=4, label=what)
ax.axhline(commonest.value, color=plotting.GREY, linestyle="--", label="commonest site")
ax.set_xticks(range(4), METHODS)
ax.set(ylim=(0, 1), ylabel="sites recognised (share)")
ax.legend(ncols=3, loc="upper center", bbox_to_anchor=(0.5, 1.2))
plotting.show(
    fig,
    alt="Share of sites recognised after each normalisation, from means and from histograms, with 95 % "
    "intervals. The z-score brings the means down to the dashed line of always naming the "
    "commonest site. From the histogram sites are recognised far more often with every method.",
)

# %%
for method, short in zip(METHODS, ("raw", "minmax", "percentile", "zscore"), strict=True):
    for what in recognised:
        value = recognised.loc[method, what].value
        ledger.record(f"03/site_{what}_{short}", value, parameters, limits=(0, 1))

# %%
ledger.say(
    "n = {n} patients. From the means of z-scores, {site_means_zscore:.0%} of the sites are recognised; "
    "always naming the commonest of the four is right in {base:.0%}. From the **histogram** of z-scores "
    "it is still **{site_histogram_zscore:.0%}**, against {site_histogram_raw:.0%} for images as they come.",
    n=len(sites),
    base=commonest.value,
)

# %% [markdown]
# The z-score removes what it promises, and no more. An affine map moves and stretches a histogram; it cannot change its
# *shape*. The shape comes from the patient, and from contrast, noise and blur: the scanner and its settings. The next
# figure shows it.

# %%
EDGES = {"as it comes": np.arange(0, 256, 8) / 255, "z-score": np.linspace(-3, 3, 32)}


def mean_histogram(site, method):
    """Return the histogram of T1 in the brain, mean over the patients of a site."""
    curves = []
    for values in (tissue[i][:, :1] for i in np.flatnonzero(sites == site)):
        a, b = shift_and_scale(values, method)
        curves.append(np.histogram((values - a) / b, EDGES[method], density=True)[0])
    return np.mean(curves, axis=0)


# %%
fig, axes = plt.subplots(1, 2, figsize=(8, 3.4))
for ax, (method, edges) in zip(axes, EDGES.items(), strict=True):
    middle = (edges[:-1] + edges[1:]) / 2
    for site, style in zip("ABCD", ("-", "--", "-.", ":"), strict=True):
        ax.plot(middle, mean_histogram(site, method), style, label=f"site {site}")
    ax.set(title=method, xlabel=f"T1 signal, {method}", ylabel="density of brain pixels")
axes[1].legend(fontsize=10)
plotting.show(
    fig,
    alt="Mean histogram of T1 signal in the brain for sites A to D, as it comes and after the z-score. "
    "After the z-score A and B have nearly the same curve, and C and D another one.",
)

# %% [markdown]
# On the right the curves come in two pairs: the scanners of A and B have a magnet of 1.5 tesla, those of C and D one of
# 3 tesla. The strength of the magnet changes the contrast between grey and white matter, and the z-score leaves it in
# the picture.
#
# After min-max and percentile the means tell *more* about the site than as they come. Why? The images of `simbrain`
# come already adjusted: the receiver sets one tissue to about one brightness. A scale that is tied to extremes or
# percentiles hangs on the darkest and brightest pixels instead, and so on the site's noise and contrast.
#
# Methods that match whole histograms go further (Nyúl and Udupa 1999). They have a price: a large bright tumour *is* part
# of the histogram, and is pushed towards the normal with the rest.
#
# ### One map for all, learnt from the training images
#
# So far each image had its own $a$ and $b$. The other habit is one $a$ and $b$ for the whole data set. That is what a network
# needs to start from well-scaled numbers, and the only sensible choice where values have a unit, as in CT. It treats all
# sites alike and so cannot remove any difference between them. Here it counts all pixels, air too.
#
# The rule: **whatever is estimated from data is estimated from the training data**, then applied unchanged to
# validation and test, because a model in use will not know the statistics of its future patients.

# %%
from medlib.preprocessing import fit_normalisation

normalisation = fit_normalisation(mri.images, method="zscore")
splits = {"train": mri, "validation": brains.validation, "test": brains.test}
means = {
    name: normalisation.apply(split.images).mean(axis=(0, 1, 2), dtype=float)
    for name, split in splits.items()
}
pd.DataFrame(means, index=brains.channel_names).abs().round(3)  # distance of the mean from 0

# %% [markdown]
# The unit is one standard deviation. In the training images the mean is 0 by construction, in the others nearly so. A
# mean over so many pixels hardly depends on who is in it. Breaking the rule would have changed little *here*.
#
# It is another matter when the statistic is *which features to use*. The next experiment has no signal at all: 60 patients
# with 2,000 random numbers each, and labels from a coin. We keep the 20 numbers that go best with the label, and test a model
# on them by cross-validation. Once the 20 are chosen from all patients before the split, once from the training patients of each
# fold.
#
# The measure is the **AUC** (area under the receiver operating characteristic): the probability that a random
# patient with label 1 gets a higher score than a random one with label 0. 0.5 is guessing, 1 is perfect.
#
# > **Predict** There is nothing to find. What AUC will each of the two ways report?

# %%
from sklearn.feature_selection import SelectKBest


def noise_auc(repeat, where):
    """Return the AUC on pure noise, with features chosen inside the folds or before."""
    generator = np.random.default_rng([seed, repeat])
    numbers, coin = generator.normal(size=(60, 2000)), generator.permutation(60) % 2
    model = make_pipeline(SelectKBest(k=20), LogisticRegression())
    if where == "before":
        numbers = SelectKBest(k=20).fit_transform(numbers, coin)
    scores = cross_val_predict(model, numbers, coin, cv=5, method="decision_function")
    return statistics.area_under_curve(coin == 1, scores)


# %%
noise = pd.DataFrame({w: [noise_auc(r, w) for r in range(20)] for w in ("before", "inside")})
for where in noise:
    ledger.record(f"03/noise_auc_{where}", noise[where].mean(), parameters, limits=(0, 1))
noise.agg(["mean", "min", "max"]).round(2)

# %%
ledger.say(
    "Mean of 20 repetitions: **{noise_auc_before:.2f}** when features are chosen before the split, "
    "**{noise_auc_inside:.2f}** when they are chosen inside it. The truth is 0.5."
)

# %% [markdown]
# A brilliant result from nothing: the labels of the test patients were used to choose the features. Papers on gene
# expression made this mistake for years (Ambroise and McLachlan 2002). A scikit-learn `Pipeline` that holds *every* step
# that learns, and is fitted inside each fold, makes it impossible.
#
# ## The bias field
#
# ### What it is
#
# An MR scanner receives its signal with a coil, which hears what is near better than what is far. With strong magnets the
# radio wave itself is uneven, too. So the same tissue is brighter on one side of the image than on the other: a smooth
# factor called **bias field**. With true image $u$, field $b$ and noise $\varepsilon$, the measured image at the place
# $\mathbf{r}$ is (Sled and others 1998)
#
# $$v(\mathbf{r}) = u(\mathbf{r}) \, b(\mathbf{r}) + \varepsilon(\mathbf{r})$$
#
# To judge a correction we must know $u$. So we make one: a slice of the template brain with one brightness for each
# tissue (grey matter, white matter, fluid).

# %%
from medlib.simulation.anatomy import load_template

maps = load_template(2).voxels[:, :, 38, 1:] / 255  # shares of grey, white and brain; 2 mm
grey, white, brain = np.moveaxis(np.rot90(maps), -1, 0)
inside = brain > 0.5
true = (0.50 * grey + 0.70 * white + 0.20 * np.clip(1 - grey - white, 0, 1)) * inside

# %% [markdown]
# The field and a little noise come from the scanner model that made `simbrain`. `strength` scales the field's
# logarithm: 0 is no field at all.

# %%
from medlib.simulation.scanner import add_rician_noise, bias_field


def scan(strength, generator):
    """Return a random field and the logarithm of the slice measured with it."""
    field = bias_field((1, *true.shape, 1), strength, generator)[0, ..., 0]
    measured = add_rician_noise((true * field).astype(np.float32), 0.02, generator)
    return field, np.log(np.maximum(measured, 0.02))


# %% [markdown]
# ### Taking it away in the logarithm
#
# The logarithm turns the product into a sum. Where noise is small,
#
# $$\log v(\mathbf{r}) \approx \log u(\mathbf{r}) + \log b(\mathbf{r}).$$
#
# The field is smooth, anatomy is not. So we estimate $\log b$ as *the smooth part of* $\log v$, in one of two ways.
#
# **Homomorphic filter** (Brinkmann and others 1998): smooth the image, so that each pixel becomes a weighted mean of its
# surroundings. The weights $g_\sigma$ fall off with distance like a bell (a **Gaussian** of width $\sigma$). Only pixels of
# the brain count; $m$ is 1 there and 0 outside, and $*$ is smoothing:
#
# $$\widehat{\log b} = \frac{g_\sigma * (m \log v)}{g_\sigma * m}$$

# %%
from scipy.ndimage import gaussian_filter


def homomorphic(logarithm, inside, sigma):
    """Estimate the logarithm of the field by smoothing within the brain; sigma in pixels."""
    weight = gaussian_filter(inside.astype(float), sigma)
    return gaussian_filter(logarithm * inside, sigma) / np.maximum(weight, 1e-6)


# %% [markdown]
# **Polynomial** (after Dawant and others 1993): a surface of low degree $d$ over the coordinates $x$ and $y$,
#
# $$\widehat{\log b} = \sum_{i + j \le d} c_{ij} \, x^i y^j,$$
#
# whose coefficients $c_{ij}$ are found by least squares over the brain.


# %%
def polynomial(logarithm, inside, degree):
    """Estimate the logarithm of the field by a polynomial surface."""
    height, width = logarithm.shape
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]  # both from -1 to 1
    powers = [(i, j) for i in range(degree + 1) for j in range(degree + 1 - i)]
    terms = np.stack([x**i * y**j for i, j in powers], axis=-1)
    coefficients = np.linalg.lstsq(terms[inside], logarithm[inside], rcond=None)[0]
    return terms @ coefficients


# %% [markdown]
# The level of a field (how bright it is on average) cannot be known from the image, and does not matter. To compare, we give
# the estimate the level of the true field.

# %%
field, logarithm = scan(0.3, np.random.default_rng([seed, 0]))
estimate = homomorphic(logarithm, inside, sigma=10)  # 10 pixels of 2 mm: 20 mm
estimate -= (estimate - np.log(field))[inside].mean()
measured, corrected = np.exp(logarithm) * inside, np.exp(logarithm - estimate) * inside

# %%
fig = plotting.image_grid(
    np.stack([true, measured, corrected]), titles=["true", "measured", "corrected"], columns=3
)
plotting.show(
    fig,
    alt="A template brain slice: true, as measured under a strong bias field that makes one side "
    "darker than the other, and corrected, where both sides are about equally bright.",
)

# %% [markdown]
# The correction evens out the large-scale pattern. But look at the estimated field beside the true one. On the right is what
# the same filter finds in a slice **without any field**.

# %%
nothing_there = homomorphic(scan(0.0, np.random.default_rng([seed, 1]))[1], inside, sigma=10)
nothing_there -= nothing_there[inside].mean()
fields = [each * inside for each in (field, np.exp(estimate), np.exp(nothing_there))]
titles = ["true field", "its estimate", "estimate without a field"]
fig = plotting.image_grid(np.stack(fields), titles=titles, window=(0.6, 1.4), columns=3)
plotting.show(
    fig,
    alt="The true field, a smooth change of brightness; its estimate, similar but with a dark spot in "
    "the middle; and the estimate from a slice without any field, which has the same dark spot.",
)

# %% [markdown]
# The dark spot in the middle is anatomy: fluid is dark, and to a wide filter it looks like a shadow. The filter cannot know.
#
# How much of a field is left after a correction? In the logarithm the error is a difference. Its standard deviation over the
# brain, times 100, is close to a percentage of the brightness. We repeat this over 20 random fields: strong, weak, and none.

# %%
CORRECTIONS = {
    "no correction": lambda logarithm: 0 * logarithm,
    "homomorphic, 20 mm": lambda logarithm: homomorphic(logarithm, inside, 10),
    "homomorphic, 40 mm": lambda logarithm: homomorphic(logarithm, inside, 20),
    "polynomial, degree 1": lambda logarithm: polynomial(logarithm, inside, 1),
    "polynomial, degree 3": lambda logarithm: polynomial(logarithm, inside, 3),
}

# %% [markdown]
# > **Predict** Which of the five is best for a strong field? Which for no field at all?


# %%
def remaining(correct, strength):
    """Return what is left of a field, in per cent of brightness, mean over 20 random fields."""
    errors = []
    for number in range(20):
        field, logarithm = scan(strength, np.random.default_rng([seed, number]))
        errors.append(100 * (correct(logarithm) - np.log(field))[inside].std())
    return float(np.mean(errors))


# %%
STRENGTHS = {"strong field": 0.3, "weak field": 0.1, "no field": 0.0}
left = pd.DataFrame(
    [{n: remaining(correct, s) for n, s in STRENGTHS.items()} for correct in CORRECTIONS.values()],
    index=list(CORRECTIONS),
)
left.round(1)

# %%
before, after = left.loc["no correction"], left.loc["homomorphic, 20 mm"]
ledger.record("03/bias_before", before["strong field"], parameters)
ledger.record("03/bias_after", after["strong field"], parameters)
ledger.record("03/bias_invented", after["no field"], parameters)
ledger.say(
    "The filter of 20 mm brings a strong field from {bias_before:.1f} % down to {bias_after:.1f} %. Where there was "
    "**no** field, it *invents* one of **{bias_invented:.1f} %** (n = 20 random fields, one anatomy)."
)

# %% [markdown]
# Every row has its price. Whatever is flexible enough to follow a strong field also follows the anatomy, and makes a good
# image worse.
#
# ### What else is taken away
#
# A tumour is large and bright, so part of it is "smooth" as well. We measure its **excess** in FLAIR: by how much the tumour is brighter
# than the rest of the brain, before and after the filter of 20 mm, over training slices with a tumour.


# %%
def excess(flair, mask):
    """Return how much brighter the tumour is than the rest of the brain, as a share of the rest."""
    inside = flair > 0.02
    return flair[inside & mask].mean() / flair[inside & ~mask].mean() - 1


def without_field(flair):
    """Return a FLAIR slice after the homomorphic filter of 20 mm."""
    logarithm = np.log(np.maximum(flair, 0.02))
    return flair / np.exp(homomorphic(logarithm, flair > 0.02, 20 / pixel_mm))


# %%
ill = np.flatnonzero(mri.masks.sum(axis=(1, 2)) > 5)
slices = [(mri.images[i][..., 2], mri.masks[i] == 1) for i in ill]
raw = np.array([excess(flair, mask) for flair, mask in slices])
filtered = np.array([excess(without_field(flair), mask) for flair, mask in slices])

# %% [markdown]
# Several slices belong to one patient and resemble each other. So the interval comes from drawing *patients* at random, with
# replacement and with all of their slices, and computing the number again and again: the **bootstrap** (Efron and Tibshirani
# 1993).


# %%
def share_lost(raw, filtered):
    """Return the share of the mean excess that the filter takes away."""
    return 1 - filtered.mean() / raw.mean()


lost = statistics.bootstrap_interval(share_lost, raw, filtered, groups=mri.subjects[ill], seed=seed)

# %%
ledger.record("03/excess_lost", lost.value, parameters)
ledger.say(
    "In {n} slices of {m} patients the tumour is on average {raw:.0%} brighter than the rest of the brain. "
    "The filter takes **{excess_lost:.0%}** of that away (95 % interval {low:.0%} to {high:.0%}).",
    n=lost.n,
    m=len(set(mri.subjects[ill])),
    raw=raw.mean(),
    low=lost.low,
    high=lost.high,
)

# %% [markdown]
# So correct a bias field when it is strong and the question depends on absolute brightness, and look at the estimated field:
# anatomy must not show in it. In practice one uses **N4** (Tustison and others 2010), which sharpens the histogram
# and fits a smooth surface in turn, in three dimensions. We train on uncorrected images in this course.
#
# ## Splitting, and the leak measured
#
# ### Slices are not patients
#
# Each patient in `simbrain` has four slices through one part of the brain. Many published studies dealt *slices* out to
# training and test at random (Yagis and others 2021 name some). Then one slice of a patient trains and its neighbour
# tests. Does a model recognise the neighbour?
#
# For this part all splits of the data set are put together and dealt out anew. We compare two ways of splitting; how good
# the models are is not the question.

# %%
images, labels, subjects = (
    np.concatenate([getattr(split, part) for split in data.splits.values()])
    for part in ("images", "labels", "subjects")
)

# %% [markdown]
# Some sets, such as `breastmnist`, do not say whose images they are. Then near copies, grouped by the fingerprints from
# above, are the best substitute for patients that we have.

# %%
from medlib.preprocessing import group_near_duplicates

if len(np.unique(subjects)) == len(subjects):
    subjects = group_near_duplicates([fingerprint(each) for each in images]).astype(str)
patients, patient_of = np.unique(subjects, return_inverse=True)
print(f"{len(images)} images of {len(patients)} patients, {np.mean(labels == 1):.0%} with label 1")

# %% [markdown]
# The first model is as simple as can be. **k nearest neighbours**: describe an image by its pixels, here at 16 x 16, and find
# the $k = 3$ most similar training images. The score is the share of them with label 1. So whose images are nearest?

# %%
from sklearn.neighbors import NearestNeighbors

coarse = np.stack([resize_image(each, (16, 16)) for each in images]).reshape(len(images), -1)
search = NearestNeighbors(n_neighbors=2).fit(coarse)
nearest = search.kneighbors(coarse)[1][:, 1]  # number 0 is the image itself
same_patient = patient_of[nearest] == patient_of

# %%
others = np.bincount(patient_of)[patient_of] - 1  # images of the same patient
ledger.record("03/nearest_is_same", same_patient.mean(), parameters, limits=(0, 1))
ledger.say(
    "In **{nearest_is_same:.0%}** of {n} images the most similar other image is one of the *same patient*; "
    "of random images {chance:.1%} would be.",
    n=len(images),
    chance=others.mean() / (len(images) - 1),
)

# %%
probe = int(np.argmax(same_patient & (labels == 1)))
gap = np.linalg.norm(coarse - coarse[probe], axis=1)
stranger = int(np.argmin(np.where(patient_of == patient_of[probe], np.inf, gap)))
titles = ["test image", "nearest of all", "nearest other patient"]
fig = plotting.image_grid(images[[probe, nearest[probe], stranger]][..., -1], titles=titles)
plotting.show(
    fig,
    alt="A test image, the most similar image of all, which is another slice of the same patient, and "
    "the most similar image of another patient.",
)

# %% [markdown]
# The image in the middle is another slice of the same patient. Copying its label gives the right answer without any
# idea of what a tumour is. (Now and then a stranger's label would do as well. One picture proves nothing; the table below
# counts.)
#
# ### Two ways to deal
#
# Five-fold cross-validation needs a fold from 0 to 4 for each image. The whole difference between a wrong and a right
# split is *what is dealt out*: images or patients.


# %%
def deal(n, repeat):
    """Deal n things into five folds of equal size, at random."""
    return np.random.default_rng([seed, repeat]).permutation(np.arange(n) % 5)


def folds(unit, repeat):
    """Return the fold of each image when slices or patients are dealt out."""
    if unit == "slice":
        return deal(len(images), repeat)
    return deal(len(patients), repeat)[patient_of]


# %% tags=["nbval-check-output"]
for unit in ("slice", "patient"):
    n_folds = pd.Series(folds(unit, 0)).groupby(patient_of).nunique()
    print(f"dealt by {unit}: {(n_folds > 1).sum()} of {len(patients)} patients in several folds")

# %% [markdown]
# Three cases, each with the same model in both splits:
#
# 1. **3 nearest neighbours** on coarse pixels, true labels.
# 2. The same model, but each *patient* gets a label **from a coin**, a new one in each repeat.
# 3. A less naive model: a **support vector machine** (SVM, a classifier with curved borders, lesson 03) on nine percentiles
#    of the grey values of each channel. A tumour does change those.

# %%
quantiles = (1, 5, 10, 25, 50, 75, 90, 95, 99)
visible = [each[each.max(axis=-1) > 0] for each in images]  # without the black background
grey_values = np.array([np.percentile(each, quantiles, axis=0).ravel() for each in visible])

# %% [markdown]
# The labels get one column for each repeat.

# %%
tosses = np.random.default_rng([seed, 99]).integers(0, 2, (len(patients), repeats)) == 1
coin = tosses[patient_of]  # all images of a patient have the same label
true_label = np.repeat(labels[:, None] == 1, repeats, axis=1)

# %%
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC

neighbours, svm = KNeighborsClassifier(3), make_pipeline(StandardScaler(), SVC())
CASES = {  # model, features, labels, the method that gives its scores
    "3 neighbours": (neighbours, coarse, true_label, "predict_proba"),
    "3 neighbours, coin": (neighbours, coarse, coin, "predict_proba"),
    "SVM": (svm, grey_values, true_label, "decision_function"),
}

# %% [markdown]
# > **Predict** For each of the three: which AUC by slice, which by patient?

# %%
from sklearn.model_selection import PredefinedSplit


def out_of_fold(case, unit, repeat):
    """Return a score for each image, from a model that was not trained on its fold."""
    model, features, target, method = CASES[case]
    cv = PredefinedSplit(folds(unit, repeat))
    scores = cross_val_predict(model, features, target[:, repeat], cv=cv, method=method)
    return scores if scores.ndim == 1 else scores[:, 1]


# %%
scores = {
    (case, unit): np.stack([out_of_fold(case, unit, repeat) for repeat in range(repeats)], axis=1)
    for case in CASES
    for unit in ("slice", "patient")
}

# %% [markdown]
# The **optimism** of the wrong split is
#
# $$\text{optimism} = \mathrm{AUC}_\text{by slice} - \mathrm{AUC}_\text{by patient},$$
#
# each AUC a mean over the repeats. Its interval must say how it would vary with *other patients*: the bootstrap over patients
# again. The models are not trained anew in it; what training adds to the spread is seen from repeat to repeat.


# %%
def aucs(target, scores):
    """Return the AUC of each repeat."""
    columns = zip(target.T, scores.T, strict=True)
    return [statistics.area_under_curve(label, score) for label, score in columns]


def optimism(target, by_slice, by_patient):
    """Return how much better the model looks when slices are dealt out."""
    return np.mean(aucs(target, by_slice)) - np.mean(aucs(target, by_patient))


# %%
leak = pd.DataFrame(index=list(CASES), columns=["by slice", "by patient", "optimism"], dtype=object)
for case, (_, _, target, _) in CASES.items():
    both = scores[case, "slice"], scores[case, "patient"]
    means = [np.mean(aucs(target, each)).round(3) for each in both]
    leak.loc[case, ["by slice", "by patient"]] = means
    leak.loc[case, "optimism"] = statistics.bootstrap_interval(
        optimism, target, *both, groups=subjects, n_resamples=300, seed=seed
    )
leak

# %%
fig, ax = plt.subplots(figsize=(7, 3.6))
for unit, shift, colour in (
    ("slice", -0.12, plotting.VERMILION),
    ("patient", 0.12, plotting.BLUE),
):
    for place, (case, (_, _, target, _)) in enumerate(CASES.items()):
        dots = aucs(target, scores[case, unit])
        x = place + shift + np.linspace(-0.06, 0.06, repeats)
        ax.plot(x, dots, "o", color=colour, label=None if place else f"dealt by {unit}")
ax.axhline(0.5, color=plotting.GREY, linestyle="--", label="guessing")
ax.set_xticks(range(3), list(CASES))
ax.set(ylim=(0.4, 1), ylabel="AUC, cross-validated")
ax.legend(ncols=3, loc="upper center", bbox_to_anchor=(0.5, 1.2))
plotting.show(
    fig,
    alt="Cross-validated AUC of the three cases, one dot a repeat. For the neighbours, also with coin "
    "labels, dots are high when dealt by slice and near 0.5 when dealt by patient. For the SVM both "
    "are above 0.5, and those dealt by slice are higher.",
    save="03_leak",
)

# %%
for case, short in zip(CASES, ("neighbours", "coin", "svm"), strict=True):
    by_slice, by_patient, gain = leak.loc[case]
    ledger.record(f"02/{short}_by_slice", by_slice, parameters, limits=(0, 1), chance=0.5)
    ledger.record(f"02/{short}_by_patient", by_patient, parameters, limits=(0, 1))
    ledger.record(f"02/{short}_optimism", gain.value, parameters, limits=(-1, 1), chance=0)

# %%
gain = leak.loc["3 neighbours", "optimism"]
ledger.say(
    "n = {n} images of {m} patients, five-fold cross-validation, {r} repeats. Dealt by slice, three neighbours "
    "reach an AUC of **{neighbours_by_slice:.2f}**; dealt by patient, **{neighbours_by_patient:.2f}**. The optimism "
    "is **{neighbours_optimism:.2f}** (95 % interval {low:.2f} to {high:.2f}).",
    n=gain.n,
    m=len(patients),
    r=repeats,
    low=gain.low,
    high=gain.high,
)

# %%
ledger.say(
    "With labels from a coin: {coin_by_slice:.2f} by slice, {coin_by_patient:.2f} by patient. The SVM reaches "
    "{svm_by_slice:.2f} by slice and keeps {svm_by_patient:.2f} by patient."
)

# %% [markdown]
# What does this say, on `simbrain`? Answer in your own words before you read on.
#
# - The neighbours know little about tumours: dealt by patient they are about as good as guessing. Dealt by slice they
#   look far better. Had we done only the wrong split, we would have believed it.
# - The coin settles what they learnt: patients. The same experiment on real brain scans, with networks and random labels,
#   gave 96 % right answers by slice and 50 % by patient (Yagis and others 2021).
# - The SVM knows something. It is flattered too, but less. The size of a leak belongs to data *and* model: here
#   the model that lives by memory alone profits most.
#
# A dot a little below 0.5 is no mistake. If the fold under test happens to hold many tumours, the other four hold
# few, and a model without knowledge leans the wrong way.
#
# ### Splits in this course
#
# `medlib.preprocessing.split_by_subject` deals patients out to training, validation and test, with the classes in
# equal parts. `simbrain` and your own folders are split by it; public sets keep the splits they were published with.
# The container `MedicalDataset` refuses to be built when a patient or an identical image stands in two splits; for
# published splits it only warns.

# %% tags=["nbval-check-output"]
from medlib.preprocessing import split_by_subject

split_of = split_by_subject(subjects, labels, seed=seed)
groups = {name: set(subjects[split_of == name]) for name in ("train", "validation", "test")}
print({name: len(group) for name, group in groups.items()}, "patients")
print("in training and in test:", len(groups["train"] & groups["test"]))

# %% [markdown]
# The patient is not always the right unit. To know how a model does at a *new hospital*, whole sites must be held out; to
# know how it does *next year*, later patients. Ask what will be new when the model is used, and deal that out.
#
# ## Try it
#
# Replace the dots, run the cell, then run the check below it. The check says what is wrong, not what is right.
#
# **Exercise 03.1: label conflicts.** Write a function that takes one hash and one label for each image. It returns the list
# of the row numbers whose image occurs with more than one label.
#
# > **Hint** `pd.Series(labels).groupby(hashes)` puts rows with equal hashes together; `transform("nunique")` counts the
# > different labels in each group and gives the count to every row of it.


# %% tags=["exercise"]
def conflicting_rows(hashes, labels):
    return ...  # your code here


# %% tags=["solution"]
def conflicting_rows(hashes, labels):
    n_labels = pd.Series(labels).groupby(np.asarray(hashes)).transform("nunique")
    return np.flatnonzero(n_labels > 1).tolist()


# %%
from coursekit import check

check.exercise("03.1", conflicting_rows)

# %% [markdown]
# **Exercise 03.2: a z-score of the brain, not of the air.** Write a function that takes an image of shape
# (height, width, channels) and a mask of the brain (height, width). It returns a new image: in the brain, each channel has
# mean 0 and standard deviation 1; outside, everything is 0.
#
# > **Hint** `image[brain]` has one row for each pixel of the brain and one column for each channel. Which `axis` does the
# > mean go along?


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
check.exercise("03.2", zscore_in_brain)

# %% [markdown]
# When it is right, normalise `image` twice: with the mask `image.max(axis=-1) > 0`, and with one that is True
# everywhere. Put ten black pixels on each side, `np.pad(image, ((10, 10), (10, 10), (0, 0)))`, and do both again.
# Which brain changes?
#
# **Exercise 03.3: deal out patients.** Write a function that takes the patient of each image (names, in any order, a different
# number of images for each), a share and a seed. It returns a boolean array, one entry for each *image*: True for test. All
# images of a patient must be on one side, and `round(share * number of patients)` patients, drawn at random, are test.
#
# > **Hint** `np.unique(subjects)` lists the patients; `np.random.default_rng(seed).permutation` shuffles them; `np.isin`
# > asks for each image whether its patient was drawn.


# %% tags=["exercise"]
def test_images_of(subjects, share, seed):
    return ...  # your code here


# %% tags=["solution"]
def test_images_of(subjects, share, seed):
    names = np.random.default_rng(seed).permutation(np.unique(subjects))
    drawn = names[: round(share * len(names))]
    return np.isin(subjects, drawn)


# %%
check.exercise("03.3", test_images_of)

# %% [markdown]
# When it is right: what changes in the leak's table if there are two slices a patient instead of four? Predict, then
# set `data = load_simbrain(slices_per_subject=2)` and run the part on splitting again. And what is left of the leak
# on real images? Set `dataset = "breastmnist"` at the top and run everything again.
#
# ## In this lesson we
#
# - checked a delivery: the table against the folder, every file decoded, exact copies by hash, near copies by perceptual
#   hash, and saw which copies slip through;
# - kept millimetres: crop without stretching, resample to one spacing, masks by the nearest pixel;
# - normalised in three ways, and measured that the z-score takes the site out of the means, not out of the histogram;
# - learnt statistics from training images, and saw features chosen before the split make a result out of noise;
# - removed part of a bias field, and with it part of the tumour;
# - measured the leak: the same model, dealt by slice and by patient, also with labels from a coin.
#
# `simbrain` is a simulation from one template brain. The leak's *mechanism* is the same in hospitals; its size here is that of this
# simulation. Nothing in this course is a medical device.
#
# ## References
#
# - C. Zauner: *Implementation and Benchmarking of Perceptual Image Hash Functions*, diploma thesis, Upper Austria
#   University of Applied Sciences, Hagenberg 2010.
# - A. Pawłowska, P. Karwat, N. Żołek: Letter to the editor on "Dataset of breast ultrasound images", *Data in Brief* 48
#   (2023) 109247.
# - M. Roberts and others: Common pitfalls and recommendations for using machine learning to detect and prognosticate for
#   COVID-19, *Nature Machine Intelligence* 3 (2021) 199-217.
# - J. R. Zech and others: Variable generalization performance of a deep learning model to detect pneumonia in chest
#   radiographs, *PLOS Medicine* 15 (2018) e1002683.
# - L. G. Nyúl, J. K. Udupa: On standardizing the MR image intensity scale, *Magnetic Resonance in Medicine* 42 (1999)
#   1072-1081.
# - J. G. Sled, A. P. Zijdenbos, A. C. Evans: A nonparametric method for automatic correction of intensity nonuniformity
#   in MRI data, *IEEE Transactions on Medical Imaging* 17 (1998) 87-97.
# - B. H. Brinkmann, A. Manduca, R. A. Robb: Optimized homomorphic unsharp masking for MR grayscale inhomogeneity
#   correction, *IEEE Transactions on Medical Imaging* 17 (1998) 161-171.
# - B. M. Dawant, A. P. Zijdenbos, R. A. Margolin: Correction of intensity variations in MR images for computer-aided
#   tissue classification, *IEEE Transactions on Medical Imaging* 12 (1993) 770-781.
# - N. J. Tustison and others: N4ITK: improved N3 bias correction, *IEEE Transactions on Medical Imaging* 29 (2010)
#   1310-1320.
# - C. Ambroise, G. J. McLachlan: Selection bias in gene extraction on the basis of microarray gene-expression data,
#   *Proceedings of the National Academy of Sciences* 99 (2002) 6562-6566.
# - E. Yagis and others: Effect of data leakage in brain MRI classification using 2D convolutional neural networks,
#   *Scientific Reports* 11 (2021) 22544.
# - E. B. Wilson: Probable inference, the law of succession, and statistical inference, *Journal of the American
#   Statistical Association* 22 (1927) 209-212.
# - B. Efron, R. J. Tibshirani: *An Introduction to the Bootstrap*, Chapman & Hall 1993.

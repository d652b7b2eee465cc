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
# # 03 Cleaning and geometry
#
# A hospital archive has sent you 45 brain scans. May you train a network on them? Perhaps a file is cut short,
# a label is misspelled, or one patient lies in the folder under two names. Perhaps a tumour looks larger than last
# year only because the pixels got smaller. **Little of this raises an error.** The network trains, and its numbers
# are wrong. This lesson asks: **what must you check before you believe a folder of images, and how does a
# millimetre stay a millimetre?**

# %% tags=["install"]
import medlib

# %% tags=["parameters"]
dataset = "simbrain"  # or "breastmnist"; the text describes simbrain
seed = 0  # of the planted defects; the text describes seed 0

# %% tags=["plumbing"]
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.patches import Ellipse
from PIL import Image

from coursekit.check import lesson_03
from medlib import datasets, plotting
from medlib.datasets.simbrain import load_simbrain
from medlib.preprocessing import resize_image

plotting.use_style()
brains = load_simbrain(n_subjects=80, slices_per_subject=1, image_size=208)
data = brains if dataset == "simbrain" else datasets.load(dataset, strict=True)
WINDOW, folder = 0.8, Path(tempfile.mkdtemp(prefix="delivery_"))  # grey value drawn white; black is 0
key = lesson_03.messy_folder(folder, data, seed=seed)

# %% tags=["plumbing"]
CELL, FULL = 100, data.train.images.shape[1]


def contact_sheet():
    """Draw every file of the delivery."""
    fig, ax = plt.subplots(figsize=(8, 7.1))
    step = CELL + 26
    for place in range(46):
        if (folder / (name := f"scan_{place:02d}.png")).is_file():
            draw_slot(ax, name, place % 8 * (CELL + 8), place // 8 * step)
    ax.set(xlim=(-3, 8 * (CELL + 8)), ylim=(6 * step - 24, -22), aspect="equal")
    ax.set_axis_off()
    return fig


# %% tags=["plumbing"]
def draw_slot(ax, name, x, y):
    """Draw one file at its true size, below its number; a file without a picture says so."""
    ax.text(x, y - 3, name[5:7], fontsize=12)
    if not (folder / name).is_file():
        return
    try:
        pixels = np.asarray(Image.open(folder / name)) / 255
    except OSError:
        ax.add_patch(plt.Rectangle((x, y), CELL, CELL, color="#DDDDDD"))
        ax.text(x + CELL / 2, y + CELL / 2 + 4, "no preview", fontsize=10, ha="center")
        return
    height, width = np.array(pixels.shape) * CELL / FULL
    extent = (x, x + width, y + height, y)
    ax.imshow(pixels, vmin=0, vmax=WINDOW, extent=extent, interpolation="antialiased")


# %% tags=["plumbing"]
plotting.show(
    contact_sheet(),
    alt="Contact sheet of the delivery: 45 numbered FLAIR slices of brains. Number 16 is black, 14 is half "
    "as large as the others, 03 and 34 have no preview, 45 has a small cross drawn on it, number 12 is missing.",
)

# %% [markdown]
# This is the **delivery**, a folder of image files and a table of labels, as a file browser would show it
# (black is 0, white 0.8, as in all scans below). **Fifteen things are wrong with it.** (Bright spots are not among them.) They are written down in a *key*,
# which we open later.
#
# > **Predict** Look for a minute. How many of the fifteen can you see?
#
# <details><summary>Answer</summary>
#
# Six, with good eyes: 16 is black, 14 is too small, 03 and 34 have no preview, 12 is missing, and on 45 somebody drew
# a cross. Seven, if you noticed that 24 and 25 are the same: neighbours by luck, one of 45 · 44 / 2 = 990 pairs.
# What is wrong in the table shows in no picture.
#
# </details>

# %% [markdown]
# **You will**
#
# - check a table against its folder, and every file by its pixels;
# - find copies: the same pixels, then pictures that only *look* the same, and know which copies slip through;
# - turn what you found into decisions in a script;
# - crop and resample images and masks without losing their size in millimetres.
#
# **Reading:** about 45 min · **running:** about 10 s · **builds on:** [lesson 01](01_image_files.ipynb) (pixels
# and millimetres), [lesson 02](02_mr_simulation.ipynb) (FLAIR; `simbrain`, the simulated patients used here)
#
# ## The table against the folder
#
# The delivery lies in `folder`. The cheapest question comes first: do table and folder speak of the same files?

# %%
table = pd.read_csv(folder / "labels.csv")
table.head(3)

# %% tags=["nbval-check-output"]
on_disk = {path.name for path in folder.glob("*.png")}
in_table = set(table["image"])
print("rows whose file is missing:", sorted(in_table - on_disk))
print("files that no row speaks of:", sorted(on_disk - in_table))
print("files with several rows:", table.loc[table["image"].duplicated(), "image"].tolist())

# %% [markdown]
# Three defects. Now the columns: count each label as it is spelled, and look at the extremes of each number.

# %% tags=["nbval-check-output"]
print(table["label"].value_counts().to_dict())
print("age:", table["age"].min(), "to", table["age"].max())

# %% [markdown]
# A label that occurs once is usually a typing error: here a capital letter and a blank at the end. To a program it is
# a third class. An age of 999 is an old way to write "not known"; a mean of all ages swallows it without complaint.
#
# ## Does every file open?
#
# Many scripts open each file with [Pillow](https://pillow.readthedocs.io/en/stable/reference/Image.html), Python's
# usual library for image files, and go on if there is no error. We also **decode** each file: turn all of its bytes into
# pixels.


# %%
def is_broken(name, decode):
    try:
        image = Image.open(folder / name)
        if decode:
            image.load()
    except OSError:
        return True
    return False


# %% tags=["nbval-check-output"]
files = sorted(on_disk)
broken = [name for name in files if is_broken(name, decode=True)]
print("cannot be opened: ", [name for name in files if is_broken(name, decode=False)])
print("cannot be decoded:", broken)

# %% [markdown]
# Opening finds one broken file, decoding two: `Image.open` reads only the first bytes, which say "PNG" and how large
# the picture is, and leaves the pixels for later. How do the two files begin?

# %% tags=["nbval-check-output"]
for name in broken:
    content = (folder / name).read_bytes()
    print(name, "has", len(content), "bytes and begins with", content[:9])

# %% [markdown]
# One is a web page that a download script saved under the name of an image. The other is **truncated**: it begins as
# a PNG and lacks its end. Decode every pixel before you trust a file.
#
# Two more questions cost a line each. Is an image as large as the table says? Does it show anything at all?

# %% tags=["nbval-check-output"]
pixels = {name: np.asarray(Image.open(folder / name)) for name in files if name not in broken}
row_of = table.drop_duplicates("image").set_index("image")
sizes = {n: tuple(row_of.loc[n, ["height", "width"]]) for n in pixels if n in in_table}
print("not the size in the table:", [n for n in sizes if pixels[n].shape != sizes[n]])
print("one grey level only:", [n for n in pixels if pixels[n].std() == 0])

# %% [markdown]
# Nine defects, found with a line or two each. The other six are copies.
#
# ## Exact copies
#
# A scan that lies in the folder twice, under two names, is one patient counted as two. If one copy trains the network and
# the other one tests it, the test measures memory ([lesson 04](04_grey_values_and_leaks.ipynb) measures by how much).
#
# A **hash** turns any number of bytes into a short number. Equal bytes give equal hashes; different
# bytes practically never do. We hash the *pixels*, not the file: two programs can save the same pixels as different files.

# %%
import hashlib

digest = pd.Series({n: hashlib.sha256(p.tobytes()).hexdigest() for n, p in pixels.items()})
copies = digest[digest.duplicated(keep=False)]

# %% tags=["nbval-check-output"]
for names in copies.groupby(copies).groups.values():
    print([f"{name}: {row_of.label[name]}, patient {row_of.subject[name]}" for name in names])

# %% [markdown]
# Two images each appear twice, under the names of different patients. The pair of 24 and 25 is worse: one image, called
# normal in one row and tumour in the other. That is a **label conflict**. No program can know which label
# is right. Ask the archive, or leave both out.
#
# **Exercise 03.1: label conflicts.** Write a function that takes one hash and one label for each image. It returns the list
# of the row numbers whose image occurs with more than one label. ([solution](solutions/03_cleaning_and_geometry.ipynb))
#
# > **Hint** `pd.Series(labels).groupby(hashes)` puts rows with equal hashes together; `transform("nunique")` counts the
# > different labels in each group and gives that count to every row of it.


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
# ## Near copies
#
# Change one pixel, and the hash is another. Yet the same scan saved as JPEG, or with a cross drawn on it, still shows
# the same patient. We need a **perceptual hash**, which stays similar while the picture *looks* similar. The one
# called pHash ([Zauner 2010](https://www.phash.org/docs/pubs/thesis_zauner.pdf)) keeps the coarse pattern only:
#
# 1. Shrink the image to 32 × 32 pixels $x_{ij}$.
# 2. Write it as a sum of waves, with the
#    [discrete cosine transform](https://docs.scipy.org/doc/scipy/reference/generated/scipy.fft.dctn.html). The wave
#    with $u$ half periods down and $v$ across gets the number
#    $$X_{uv} \propto \sum_{i=0}^{31} \sum_{j=0}^{31} x_{ij} \cos\frac{\pi (2i+1) u}{64} \cos\frac{\pi (2j+1) v}{64}.$$
#    Keep the slowest waves, $u, v < 8$, without the constant one, $u = v = 0$: 63 numbers.
# 3. Each wave gives one bit: is $X_{uv}$ greater than the median of all 63?
#
# $X_{uv}$ has a **sign**: positive if the image is bright where the wave is bright, negative if it is bright where the
# wave is dark. The median lies near 0, so a bit says mostly *which way round* its wave is, not how strong it is.

# %%
from scipy.fft import dctn

from medlib.preprocessing import resize_image


def thumbnail(image):  # medlib wants (height, width, channels): add a channel, take it off
    return resize_image(image[..., None], (32, 32))[..., 0]


def waves(image):
    return dctn(thumbnail(image), norm="ortho")[:8, :8]


def phash(image):
    slowest = waves(image).ravel()[1:]  # without the constant one
    return slowest > np.median(slowest)


first, second, *_ = pixels  # scans 00 and 01
original = pixels[first] / 255

# %% tags=["plumbing"]
fig, axes = plt.subplots(1, 4, figsize=(8, 2.7))
strength = waves(original)
strength[0, 0] = np.nan
bits = np.concatenate([[np.nan], phash(original)]).reshape(8, 8)
axes[0].imshow(original, vmin=0, vmax=WINDOW)
axes[1].imshow(thumbnail(original), vmin=0, vmax=WINDOW)
axes[2].imshow(strength, cmap="RdBu_r", vmin=-1, vmax=1)
axes[3].imshow(bits, cmap="gray", vmin=-0.5, vmax=1.2)
for ax, title in zip(axes, ("image", "1. thumbnail", "2. numbers X", "3. bits"), strict=True):
    ax.set(title=title, xticks=[], yticks=[])
for ax in axes[2:]:
    ax.set(xticks=[0, 7], yticks=[0, 7], xlabel="$v$", ylabel="$u$")
    ax.grid(False)
plotting.show(
    fig,
    alt="Four panels: a FLAIR slice; its thumbnail of 32 by 32 pixels; its 8 by 8 waves, positive ones red "
    "and negative ones blue, strong for small u and v; and the 63 bits, light for red waves, dark for the others.",
)

# %% [markdown]
# Red waves are positive, blue ones negative (full colour at ±1). Light bits are 1, dark ones 0; the white corner is the
# constant wave, left out. Scan 00 has become 63 bits. Two hashes are compared by the number of bits that differ. Exactly 31 of 63 numbers lie above their median, so every hash
# has 31 ones. Two hashes therefore differ in an even number of bits, **at most 62**; two random ones in about half.
#
# > **Predict** Which of these changes keeps most bits: 15 % more brightness, moving the image by six
# > of its 208 pixels, or mirroring it?


# %% tags=["nbval-check-output"]
def bits_between(a, b):
    return int((phash(a) != phash(b)).sum())


print("brighter:       ", bits_between(original, np.clip(1.15 * original, 0, 1)))
print("moved:          ", bits_between(original, np.roll(original, 6, axis=1)))
print("mirrored:       ", bits_between(original, original[:, ::-1]))
print("another patient:", bits_between(original, pixels[second] / 255))

# %% tags=["plumbing"]
fig, axes = plt.subplots(1, 3, figsize=(8, 3))
for ax, image, title in zip(axes, (original, original[:, ::-1]), ("scan 00", "mirrored"), strict=False):
    strength = waves(image)
    strength[0, 0] = np.nan
    ax.imshow(strength, cmap="RdBu_r", vmin=-1, vmax=1)
    ax.set_title(f"waves, {title}")
differ = np.concatenate([[0], phash(original) != phash(original[:, ::-1])]).reshape(8, 8)
axes[2].imshow(differ, cmap="Oranges", vmin=0, vmax=1.4)
axes[2].set_title("bits that differ")
for ax in axes:
    ax.set(xticks=range(8), yticks=[0, 7], xlabel="$v$", ylabel="$u$")
    ax.grid(False)
plotting.show(
    fig,
    alt="Waves of scan 00 and of its mirror image: the columns with odd v have exchanged red and blue. The third "
    "panel marks the bits that differ: all of the columns 1, 3, 5 and 7, and no other.",
)

# %% [markdown]
# Brightness keeps them all: it multiplies every wave by the same number, and the median with them. A small movement
# costs 12 bits. A mirror turns a wave round if it has an odd number of half periods across: the columns
# $v = 1, 3, 5, 7$ exchange red and blue, and exactly their 32 bits flip. To this hash, a mirrored brain is a stranger.
#
# ## All pairs
#
# Now the whole delivery. We measure each pair twice: by the bits that differ, and by the **correlation** of the two
# thumbnails (+1 for the same pattern, around 0 for unrelated ones). All heads look alike, so we first subtract the mean
# of all thumbnails.

# %%
names = [name for name in pixels if pixels[name].std() > 0]
scans = [pixels[name] / 255 for name in names]
hashes = np.array([phash(scan) for scan in scans])
distance = (hashes[:, None] != hashes[None]).sum(axis=-1)

# %%
thumbnails = np.array([thumbnail(scan).ravel() for scan in scans])
correlation = np.corrcoef(thumbnails - thumbnails.mean(axis=0))
pairs = np.triu_indices(len(names), k=1)  # rows and columns of both tables: each pair once
closest = np.argsort(-correlation[pairs].round(3), kind="stable")[:6]

# %% tags=["plumbing"]
jitter = np.random.default_rng(1).uniform(-0.7, 0.7, len(pairs[0]))  # so that no dot hides another


def draw_pairs(ax, bits):
    ax.scatter(bits + jitter, correlation[pairs], s=10, color=plotting.GREY, linewidths=0)
    ax.set(xlabel="bits that differ", ylabel="correlation of thumbnails")
    ax.set(xlim=(-2, 44), ylim=(-0.8, 1.1))


fig, ax = plt.subplots(figsize=(7, 3.8))
draw_pairs(ax, distance[pairs])
plotting.show(
    fig,
    alt="861 pairs of images: bits that differ against correlation of thumbnails. Nearly all pairs form one broad "
    "cloud between 8 and 40 bits. Four dots lie apart, at the upper left.",
)

# %% [markdown]
# Each dot is a pair, spread a little sideways so that fewer dots hide others.
#
# > **Predict** The delivery holds six copies. Four dots stand apart. What was done to the other two, and
# > where in the cloud are they?
#
# No formula says where copies begin: look. Here are the six pairs with the highest correlation, each with its difference.

# %% tags=["plumbing"]
def draw_pair(axes, number, pair):
    """Draw the two scans of a pair and their difference, from the top down."""
    one, other = (pairs[side][pair] for side in (0, 1))
    upper, lower, below = axes
    smooth = {"interpolation": "antialiased"}
    upper.set_title(f"pair {number}\n{names[one][5:7]}", fontsize=11)
    lower.set_title(names[other][5:7], fontsize=11)
    upper.imshow(scans[one], vmin=0, vmax=WINDOW, **smooth)
    lower.imshow(scans[other], vmin=0, vmax=WINDOW, **smooth)
    if scans[one].shape == scans[other].shape:
        below.imshow(scans[other] - scans[one], cmap="RdBu_r", vmin=-0.3, vmax=0.3, **smooth)
    below.set_xlabel(f"{distance[pairs][pair]} bits\nr = {correlation[pairs][pair]:.2f}", fontsize=11)


# %% tags=["plumbing"]
fig, axes = plt.subplots(3, 6, figsize=(8, 4.9))
for column, pair in enumerate(closest):
    draw_pair(axes[:, column], column + 1, pair)
for ax in axes.flat:
    ax.set(xticks=[], yticks=[])
axes[2, 0].set_ylabel("lower − upper", fontsize=11)
plotting.show(
    fig,
    alt="Six pairs of FLAIR slices, one above the other, and their difference from blue, -0.3, over white to red, "
    "+0.3. Pairs 1 and 2: no difference. Pair 3: pale blue all over. Pair 4: only a small cross. Pairs 5 and 6: "
    "strong differences everywhere, the brains of different people.",
)

# %% [markdown]
# - Pairs 1 and 2 are the exact copies. Nothing is left in the difference (white 0, red +0.3, blue −0.3).
# - Pair 3 is a copy: the same brain, one picture a little brighter all over.
# - Pair 4 is a copy: look at the cross. It is all that the difference shows.
# - Pairs 5 and 6 are different people with similar outlines; a thumbnail sees hardly more.
#
# Correlation (*r*) put them in this order; it took eyes to end the list after pair 4.
#
# ### The key
#
# Time to open it. The same cloud again, with the planted copies coloured:

# %% tags=["plumbing"]
planted = key[key["original"] != ""].reset_index(drop=True)
place = {name: number for number, name in enumerate(names)}
couples = [
    tuple(sorted((place[one], place[other])))
    for one, other in zip(planted["image"], planted["original"], strict=True)
]
row_of_pair = {couple: row for row, couple in enumerate(zip(*pairs, strict=True))}
planted_rows = np.array([row_of_pair[couple] for couple in couples])
is_copy = np.isin(np.arange(len(pairs[0])), planted_rows)
jitter[planted_rows[:3]] = -1, 0, 1
SHORT = ["exact", "other label", "brighter", "mark", "moved", "mirrored"]


# %% tags=["plumbing"]
def draw_key(ax, bits):
    draw_pairs(ax, bits)
    looks = zip(planted_rows, SHORT, ["o", "s", "^", "D", "v", "X"], plotting.COLOURS, strict=False)
    for row, short, mark, colour in looks:
        dot = (bits[row] + jitter[row], correlation[pairs][row])
        ax.scatter(*dot, s=80, marker=mark, color=colour, label=short, edgecolor="white")
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), title="copies")


fig, ax = plt.subplots(figsize=(8, 3.8))
draw_key(ax, distance[pairs])
plotting.show(
    fig,
    alt="The same scatter with the six planted copies coloured. Exact, other label, brighter and mark lie at the "
    "upper left. Moved lies at the left edge of the cloud, mirrored at its upper edge.",
)

# %% [markdown]
# Four copies stand apart (*brighter*, our pair 3, was also saved as JPEG). The copy that was **moved** hides at the edge of the cloud, among pairs of strangers, and the
# **mirrored** one lies at its upper edge. No limit on either axis finds these two without accusing strangers. A search for
# copies lowers their number; it never proves that none are left.
#
# ## Make the hash blind to what does not matter
#
# If position should not count, take it away before hashing: **crop** the image to the box that holds everything
# brighter than a threshold (0.2 here, above the faint noise that JPEG leaves around the head).

# %%
from medlib.preprocessing import crop_to_content


def cropped(image):  # crop_to_content returns the image and its box: we need the image
    return crop_to_content(image[..., None], threshold=0.2)[0][..., 0]


# %% tags=["plumbing"]
shifts = np.arange(22, -1, -2)
moved = [np.roll(original, shift, axis=1) for shift in shifts]
curves = {
    "as it is": ([bits_between(original, each) for each in moved], plotting.VERMILION, "-"),
    "cropped": ([bits_between(cropped(original), cropped(each)) for each in moved], plotting.BLUE, "--"),
}


# %% tags=["plumbing"]
def moving():
    fig, (left, middle, right) = plt.subplots(1, 3, figsize=(7.4, 2.6), width_ratios=[1, 1, 1.4])
    drawn = left.imshow(thumbnail(original), vmin=0, vmax=WINDOW)
    grid = middle.imshow(np.zeros((8, 8)), cmap="Oranges", vmin=0, vmax=1.4)
    for name, (bits, colour, style) in curves.items():
        right.plot(shifts, bits, style, color=colour, label=name)
    dots = right.scatter([0, 0], [0, 0], color=plotting.BLACK, zorder=3)
    right.set(xlabel="moved (pixels)", ylabel="bits that differ")
    right.legend(fontsize=10)
    for ax, title in ((left, "thumbnail"), (middle, "bits that differ")):
        ax.set(xticks=[], yticks=[], title=title)
    fig.draw_without_rendering()
    fig.set_layout_engine("none")  # nothing shall jump from frame to frame
    for step, (shift, each) in enumerate(zip(shifts, moved, strict=True)):
        drawn.set_data(thumbnail(each))
        grid.set_data(np.append(False, phash(original) != phash(each)).reshape(8, 8))
        dots.set_offsets([(shift, bits[step]) for bits, _, _ in curves.values()])
        yield fig


# %% tags=["plumbing"]
plotting.show_animation(
    moving(),
    milliseconds=400,
    alt="A brain that was moved by 22 pixels slides back into its place, two pixels a frame. 30 of its 63 bits differ at "
    "first, fewer and fewer later, none in the end. The curve of the cropped image stays at 0.",
)

# %% [markdown]
# The moved brain slides back into its place, and the bits that differ (orange) vanish. The cropped image (blue) does not
# notice the movement at all. For mirrors there is an even simpler way: compare with the mirror image, too.


# %%
def all_distances(first, second):
    return (first[:, None] != second[None]).sum(axis=-1)


crops = np.array([phash(cropped(scan)) for scan in scans])
mirrors = np.array([phash(scan[:, ::-1]) for scan in scans])
both_cropped = all_distances(crops, crops)
one_mirrored = all_distances(hashes, mirrors)

# %% tags=["plumbing", "nbval-check-output"]
views = {"as delivered": distance, "both cropped": both_cropped, "one mirrored": one_mirrored}
pd.DataFrame({view: [bits[couple] for couple in couples] for view, bits in views.items()}, index=SHORT)

# %% [markdown]
# Each row is a planted copy; the numbers are the bits that differ. The crop brings *moved* from 12 to 0, the mirror
# *mirrored* from 32 to 0. So we take the smallest of the three numbers for each pair. How far can this new search go
# before it accuses strangers?

# %%
smallest = np.minimum.reduce([distance, both_cropped, one_mirrored])[pairs]

# %% tags=["plumbing"]
limits = np.arange(0, 15, 2)


def found(bits, limit):
    return (bits[is_copy] <= limit).sum(), (bits[~is_copy] <= limit).sum()


fig, axes = plt.subplots(1, 2, figsize=(8, 3.2), sharex=True)
searches = {"as delivered": (distance[pairs], "--o"), "smallest of three": (smallest, "-o")}
for (label, (bits, style)), colour in zip(searches.items(), (plotting.VERMILION, plotting.BLUE), strict=True):
    for ax, count in zip(axes, np.array([found(bits, limit) for limit in limits]).T, strict=True):
        ax.plot(limits, count, style, color=colour, label=label, markersize=4)
axes[0].set(title="copies found", xlabel="limit (bits)", ylabel="of 6", ylim=(0, 6.4)), axes[0].legend(fontsize=10)
axes[1].set(title="strangers accused", xlabel="limit (bits)", ylabel="pairs")
plotting.show(
    fig,
    alt="Copies found and strangers accused, against the limit on bits. As delivered: four copies from 4 bits on. "
    "Smallest of three: six from 4 bits on. Strangers: none up to 4 bits, then more and more, above 100 at 14 bits.",
)

# %% [markdown]
# With a limit of 4 bits the new search finds all six copies and accuses nobody (blue). But look at the right panel: just
# above that limit strangers come in, soon by the dozen. Three ways of looking are three chances for strangers to look alike.
#
# And the limit belongs to *this* delivery: we chose it with the key in hand. The course's tool,
# `group_near_duplicates`, has limits that were found on ultrasound images of breasts. What does it say of brains?

# %% tags=["nbval-check-output"]
from medlib.preprocessing import fingerprint, group_near_duplicates

groups = group_near_duplicates([fingerprint(scan[..., None]) for scan in scans])
called = np.flatnonzero(groups != np.arange(len(groups)))
print(*[f"{names[n][5:7]} with {names[groups[n]][5:7]}" for n in called], sep=", ")

# %% [markdown]
# Four of the eleven are right: 23, 25, 45, and 35, which is joined with its copy 32 and the stranger 30. The others are
# strangers; the moved and the mirrored copy are not found. Brains in the same position are more alike
# than breasts, and these come from one template. Every data set needs its own look at the closest pairs.
# Better than any hash is to *know* the patient of every image.
#
# Move the limit yourself:

# %% tags=["plumbing"]
import ipywidgets


def with_limit(limit):
    fig, ax = plt.subplots(figsize=(8, 3.6))
    draw_key(ax, smallest)
    ax.axvline(limit + 1, color=plotting.BLACK, linestyle="--")
    ax.set(xlabel="bits that differ, smallest of three")
    n_copies, accused = found(smallest, limit)
    ax.set_title(f"at most {limit} bits: {n_copies} of 6 copies, {accused} pairs of strangers")
    plotting.show(fig, alt="Scatter of all pairs with a limit on the bits.")


_ = ipywidgets.interact(with_limit, limit=ipywidgets.IntSlider(4, 0, 30, 2, description="limit (bits)"))

# %% [markdown]
# **Exercise 03.2: copies that were turned.** An archive that ignores the orientation in the file's header delivers
# some scans turned by 90, 180 or 270 degrees. Write a function that takes two square images and a function like
# `bits_between`. It returns the smallest number of bits between `a` and `b`, with `b` as it is or turned by any of the
# three. ([solution](solutions/03_cleaning_and_geometry.ipynb))
#
# > **Hint** `np.rot90(b, k)` turns `b` by `k` times 90 degrees.


# %% tags=["exercise"]
def bits_in_any_turn(a, b, bits_between):
    return ...  # your code here


# %% tags=["solution"]
def bits_in_any_turn(a, b, bits_between):
    return min(bits_between(a, np.rot90(b, k)) for k in range(4))


# %%
check.exercise("03.2", bits_in_any_turn)

# %% [markdown]
# When it is right, try it: `bits_in_any_turn(original, np.rot90(original), bits_between)`, and the same with another scan.
#
# ## Decisions
#
# What to do about a defect is a *decision*. It belongs in a script, with its reason, never in the CSV by hand:
# a year later nobody could tell what was done, or do it again.
# `datasets.from_folder`, the course's reader, refuses what cannot be right, and names the first thing in its way:

# %% tags=["nbval-check-output"]
from medlib.errors import DataError

try:
    datasets.from_folder(folder / "labels.csv", image_size=64)
except DataError as refusal:
    print(str(refusal).replace(str(folder), "delivery"))

# %% [markdown]
# So we decide, with a reason each. (The last three lines count the labels of each exact copy, as in exercise 03.1.)

# %%
clean = table.drop_duplicates()  # a row given twice
clean = clean.assign(label=clean["label"].str.strip().str.lower())  # a typing error, no doubt
clean["age"] = clean["age"].where(clean["age"].between(0, 110))  # 999 becomes "not known"
clean = clean[clean["image"].isin(names)]  # no file, no picture, or nothing to see: left out
clean[["height", "width"]] = [pixels[name].shape for name in clean["image"]]  # believe the file
label = clean.set_index("image")["label"]
n_labels = label[label.index.isin(copies.index)].groupby(copies).transform("nunique")
clean = clean[~clean["image"].isin(n_labels.index[n_labels > 1])]  # a label conflict: both out

# %% [markdown]
# The file without a row drops out by itself. Scan 14 shows a whole head in half as many pixels each way: each is
# probably twice as wide, so it may stay. Copies may stay, as images of *one* patient: then no split can put them on both sides. (Without
# a key, join only pairs that you recognise.)

# %% tags=["nbval-check-output"]
for pair in np.flatnonzero(smallest <= 4):
    one, other = (names[side[pair]] for side in pairs)
    clean.loc[clean["image"] == other, "subject"] = row_of.subject[one]
clean.to_csv(folder / "clean.csv", index=False)
datasets.from_folder(folder / "clean.csv", image_size=64).summary()[["images", "subjects"]]

# %% [markdown]
# The rows add up to 39 images of 34 patients: five pairs of copies now share a patient each. And here is everything
# that was wrong. Would you have seen it?

# %% tags=["plumbing"]
def answer_sheet():
    """Draw the originals above their copies, and below them the other nine defects."""
    others = key[key["original"] == ""]
    tiles = [(name, "original", "none") for name in planted["original"]]
    tiles += [(name, short, plotting.VERMILION) for name, short in zip(planted["image"], SHORT, strict=True)]
    tiles += [(row.image, NOTES[row.defect], plotting.BLUE) for row in others.itertuples()]
    fig, ax = plt.subplots(figsize=(8, 7.2))
    for number, (name, note, colour) in enumerate(tiles):
        draw_slot(ax, name, x := number % 6 * (CELL + 10), y := number // 6 * (CELL + 48))
        ax.add_patch(plt.Rectangle((x, y), CELL, CELL, fill=False, edgecolor=colour, linewidth=3))
        ax.text(x + CELL / 2, y + CELL + 16, note, fontsize=12, ha="center")
    ax.set(xlim=(-3, 6 * (CELL + 10)), ylim=(4 * (CELL + 48) - 26, -20), aspect="equal")
    ax.set_axis_off()
    return fig


# %% tags=["plumbing"]
import shutil

NOTES = {
    "cut short": "cut short", "an error page, not an image": "web page", "all black": "black",
    "row without a file": "no file", "file without a row": "no row", "row given twice": "two rows",
    "label spelled differently": "label", "impossible age": "age 999", "size is not as the table says": "half size",
}
plotting.show(
    answer_sheet(),
    alt="All fifteen defects. Six originals; below each its copy, framed in orange: exact, other label, brighter, mark, "
    "moved, mirrored. Then the other nine, framed in blue, among them brains that look like any other.",
)
shutil.rmtree(folder)

# %% [markdown]
# First row: the originals. Below them, framed in orange, their copies. Framed in blue, the other nine: four of them are
# good pictures of full size, and only the table is wrong.
#
# Published data needs the same care. BUSI, a widely used set of breast ultrasound images
# ([Al-Dhabyani and others 2020](https://doi.org/10.1016/j.dib.2019.104863)), holds many copies, some with contradicting
# labels ([Pawłowska and others 2023](https://doi.org/10.1016/j.dib.2023.109247)). **BreastMNIST, which this course can
# load, is made from that very set** and inherits them: at 28 pixels its test image 76, "normal or benign", is identical to its
# training image 115, "malignant". `datasets.load("breastmnist", strict=True)` drops the training image.
#
# ## Stretching throws the millimetres away
#
# Networks want all images in one size. It is tempting to crop each image to its content and stretch the box to, say,
# 64 × 64 pixels.
#
# > **Predict** A wide slice and a narrow one are both cropped and stretched to 64 × 64. In which of them does a tumour of
# > 20 mm become wider?
#
# `brains` holds the simulated patients; their pixels measure 1 mm × 1 mm. We draw a circle of 20 mm into the narrowest
# and the widest slice.

# %%
flair = brains.train.images[..., 2:]  # the last of the three channels, T1, T2 and FLAIR
boxes = np.array([crop_to_content(each)[0].shape[:2] for each in flair])
chosen = {"narrow": boxes[:, 1].argmin(), "wide": boxes[:, 1].argmax()}

# %%
def stretched(image):
    return resize_image(crop_to_content(image)[0], (64, 64))


def same_box(image):
    """Put the content into the middle of 200 mm x 200 mm, then make it 64 x 64."""
    content = crop_to_content(image)[0]
    missing = 200 - np.array(content.shape[:2])
    pad = [(n // 2, n - n // 2) for n in missing]
    return resize_image(np.pad(content, [*pad, (0, 0)]), (64, 64))


# %% tags=["plumbing"]
fig, axes = plt.subplots(2, 3, figsize=(8, 5.9))
for row, (name, index) in zip(axes, chosen.items(), strict=True):
    height, width = boxes[index]
    rows, columns = crop_to_content(flair[index])[1]
    middle = (columns.start + width / 2 - 0.5, rows.start + height / 2 - 0.5)
    panels = (  # image, title, middle and size of the circle
        (flair[index], f"{name}: delivered, 1 mm", middle, (20, 20)),
        (stretched(flair[index]), "stretched to 64 × 64", (31.5, 31.5), (1280 / width, 1280 / height)),
        (same_box(flair[index]), "same box of 200 mm", (31.5, 31.5), (6.4, 6.4)),
    )
    for ax, (image, title, centre, size) in zip(row, panels, strict=True):
        ax.imshow(image[..., 0], vmin=0, vmax=WINDOW)
        ax.add_patch(Ellipse(centre, *size, fill=False, color=plotting.ORANGE, linewidth=2))
        ax.set(title=title, xticks=[], yticks=[])
plotting.show(
    fig,
    alt="A narrow and a wide brain. Delivered, their circles are equal. Stretched, both brains fill the square, the "
    "narrow one with the larger ellipse. In the same box of 200 mm brains differ in size, circles are equal.",
)

# %% tags=["nbval-check-output"]
for name, index in chosen.items():
    height, width = boxes[index]
    across, down = 20 * 64 / width, 20 * 64 / height
    print(f"{name}, {width} x {height} mm: 20 mm are {across:.1f} pixels across, {down:.1f} down")

# %% [markdown]
# In the narrow one: fewer millimetres fill the same 64 pixels. There 20 mm become 10.9 pixels, in the wide
# brain 8.0, and both circles become ellipses. Yet size is often the question itself: a tumour that grew, a brain
# that shrank. In the right column every image gets the same box *in millimetres*, and circles stay circles.
#
# Cropping alone loses only background. A **mask** (an image that says which pixels are tumour) must be cut in the
# same place; `crop_to_content` returns the box for that.
#
# ## One spacing for all
#
# **Spacing** is the distance between the centres of neighbouring pixels, in mm. Scanners seldom agree on it. With
# spacing $s$ and $n$ pixels along one axis, an image covers $n s$ millimetres. **Resampling** to a
# spacing $s_\mathrm{new}$ keeps the millimetres and changes the number of pixels:
#
# $$n_\mathrm{new} = n \, \frac{s}{s_\mathrm{new}}, \quad \text{rounded to a whole number.}$$
#
# Let three scanners image the patient with the largest tumour: one with fine pixels, one with coarse ones,
# and one whose pixels are twice as wide as high. A coarse pixel shows the mean of the fine ones inside it.


# %%
def scanned(image, down, across):
    """Return an image with larger pixels, in mm; the pixels of the one given measure 1 mm."""
    height, width = image.shape
    blocks = image.reshape(height // down, down, width // across, across)
    return blocks.mean(axis=(1, 3))


scanners = {"fine": (1, 1), "coarse": (4, 4), "wide pixels": (1, 2)}  # mm down, across

# %%
from medlib.preprocessing import resample_to_spacing

patient = int((brains.train.masks == 1).sum(axis=(1, 2)).argmax())
delivered = {name: scanned(flair[patient][..., 0], *mm) for name, mm in scanners.items()}
at_2_mm = {
    name: resample_to_spacing(delivered[name][..., None], mm, to_mm=2.0)[..., 0]
    for name, mm in scanners.items()
}

# %% tags=["plumbing"]
fig, axes = plt.subplots(2, 3, figsize=(8, 4.6), sharex=True, height_ratios=[208, 106])
for row, images, when in ((0, delivered, "delivered"), (1, at_2_mm, "at 2 mm")):
    for ax, (name, image) in zip(axes[row], images.items(), strict=True):
        ax.imshow(image, vmin=0, vmax=WINDOW)
        ax.set(xlim=(0, 208), ylim=((208, 106)[row], 0), title=f"{name}, {when}")
        ax.set(xticks=[0, 100, 200], yticks=[0, 100, 200][: 3 - row])
        ax.grid(False)
for ax in axes[1]:
    ax.set_xlabel("pixel")
axes[0, 0].set_ylabel("pixel")
axes[1, 0].set_ylabel("pixel")
plotting.show(
    fig,
    alt="One patient from three scanners, drawn pixel by pixel. As delivered the brain is large, a quarter as large, "
    "and squeezed to half its width. Resampled to 2 mm all three have equal size and shape; the coarse one stays blurred.",
)

# %% [markdown]
# Above, what a network would be given: one patient, three sizes and shapes. Below, after resampling, they agree.
# Resampling cannot bring back detail: the coarse scan is as blurred as before. Where an image gets
# smaller, `resample_to_spacing` averages the pixels that fall together; taking every second pixel would invent patterns
# ([aliasing](https://en.wikipedia.org/wiki/Aliasing)).
#
# How large is the tumour? A pixel belongs to it if the tumour fills at least half of it. Count these pixels, then
# multiply by the area of one.

# %%
tumour = brains.train.masks[patient] == 1  # 0 is everything else
drawn = {name: scanned(tumour, *mm) >= 0.5 for name, mm in scanners.items()}

# %% tags=["nbval-check-output"]
area = pd.DataFrame({"pixels": {name: mask.sum() for name, mask in drawn.items()}})
area["mm² of one pixel"] = [down * across for down, across in scanners.values()]
area["tumour in mm²"] = area["pixels"] * area["mm² of one pixel"]
area

# %% [markdown]
# The pixels say 1,832 or 117; the square millimetres agree within 3 per cent. **A number of pixels is not a size.**
#
# **Exercise 03.3: the longest diameter.** Whether a brain tumour responds to treatment is judged, among other things, by
# its diameters in millimetres ([Wen and others 2010](https://doi.org/10.1200/JCO.2009.26.3541)). Write a function that takes a mask and the
# spacing (down, across) in mm. It returns the largest distance between the centres of any two pixels of the mask, in mm.
# ([solution](solutions/03_cleaning_and_geometry.ipynb))
#
# > **Hint** `np.argwhere(mask)` has one row (down, across) for each pixel of the mask.
# > `pdist(points)`, from `scipy.spatial.distance`, returns the distances of all pairs of rows.


# %% tags=["exercise"]
def longest_diameter_mm(mask, spacing_mm):
    return ...  # your code here


# %% tags=["solution"]
def longest_diameter_mm(mask, spacing_mm):
    from scipy.spatial.distance import pdist

    return pdist(np.argwhere(mask) * np.array(spacing_mm)).max()


# %%
check.exercise("03.3", longest_diameter_mm)

# %% [markdown]
# When it is right, measure the three masks in `drawn`, with the spacings in `scanners`. Do they agree?
#
# <details><summary>Answer</summary>
#
# To within one coarse pixel: 51.4, 50.6 and 52.2 mm. In pixels it would be 51, 13 and 48.
#
# </details>
#
# ## Masks
#
# Resampling puts new pixels between old ones, and **linear interpolation** gives them values in between. For labels that
# can be nonsense. Let 0 mean background, 1 bone and 2 tumour: halfway between background and tumour lies 1, a rim of bone
# that nobody drew. One safe way is to take the **nearest** pixel. Another is to interpolate the mask of *each label by
# itself*, from 0 to 1, and to call tumour what is **at least one half**. [nnU-Net](https://github.com/MIC-DKFZ/nnUNet),
# a widely used tool that draws such masks, resamples its labels in this way
# ([Isensee and others 2021](https://doi.org/10.1038/s41592-020-01008-z)).
#
# > **Predict** A tumour was outlined on the coarse scan, with 4 mm pixels. We resample the mask to 1 mm. Which of the
# > two ways comes closer to the truth at 1 mm?

# %%
from medlib.preprocessing import resize_mask

coarse = drawn["coarse"]
nearest = resize_mask(coarse, tumour.shape)
linear = resize_image(coarse[..., None].astype(float), tumour.shape)[..., 0] >= 0.5

# %% tags=["plumbing"]
rows, columns = (slice(max(0, where.min() - 8), where.max() + 9) for where in np.nonzero(tumour))
fig, axes = plt.subplots(1, 3, figsize=(8, 3.1))
window = (rows, columns)
axes[0].imshow(flair[patient][..., 0][window], vmin=0.3, vmax=0.75)
plotting.outline(axes[0], tumour[window])
axes[0].set_title("truth at 1 mm")
for ax, mask, title in ((axes[1], nearest, "nearest"), (axes[2], linear, "linear, then ≥ 0.5")):
    wrong = mask[window].astype(int) - tumour[window]
    ax.imshow(0.85 - 0.25 * tumour[window], cmap="gray", vmin=0, vmax=1)
    ax.imshow(np.ma.masked_equal(wrong, 0), cmap="RdBu_r", vmin=-1.4, vmax=1.4)
    ax.set_title(f"{title}: {(wrong != 0).sum()} wrong")
for ax in axes:
    ax.set(xticks=[], yticks=[])
plotting.show(
    fig,
    alt="The tumour outlined on FLAIR, and the two resampled masks with wrong pixels in red, too many, and blue, "
    "missing. The nearest pixel gives stairs with more wrong pixels along the edge than linear interpolation.",
)

# %% [markdown]
# Left, the truth on the scan (window 0.3 to 0.75). Red pixels were called tumour by mistake, blue ones were missed. The
# nearest pixel keeps the stairs of the coarse mask; interpolation cuts their corners. One tumour proves little, so count
# all of them:


# %%
def wrong_pixels(truth):
    coarse = scanned(truth, 4, 4) >= 0.5
    linear = resize_image(coarse[..., None].astype(float), truth.shape)[..., 0] >= 0.5
    return (resize_mask(coarse, truth.shape) != truth).sum(), (linear != truth).sum()


# %% tags=["nbval-check-output"]
masks = brains.train.masks == 1
errors = np.array([wrong_pixels(mask) for mask in masks[masks.any(axis=(1, 2))]])
print("linear is better for", (errors[:, 1] < errors[:, 0]).sum(), "of", len(errors), "tumours")
print("wrong pixels, mean: nearest {:.0f}, linear {:.0f}".format(*errors.mean(axis=0)))

# %% [markdown]
# Linear interpolation with a threshold is better for nearly every tumour, though not by much, and smooth simulated tumours
# suit it. So take the nearest pixel where simple is good enough; take linear with a threshold, one label at a
# time, for smoother outlines; and never interpolate the label *numbers*.
#
# **In this lesson we**
#
# - checked a table against its folder, decoded every file, and found nine defects;
# - found exact copies by a hash of the pixels, and near copies by a perceptual hash: the signs of 63 coarse waves, mostly;
# - found a moved and a mirrored copy by cropping and mirroring, and saw strangers come in as the limit rose;
# - wrote decisions into a script, and gave copies one patient;
# - kept millimetres: one box in mm instead of stretching, one spacing, sizes in mm².
#
# `simbrain` is a simulation from one template brain: real brains, and real defects, vary more. To meet real near copies,
# set `dataset = "breastmnist"` at the top and run everything again; what the text says of single files no longer fits
# then. Nothing in this course is a medical device.
#
# **Next** come the grey values, and what happens when one patient stands on both sides of a split:
# [lesson 04](04_grey_values_and_leaks.ipynb).
#
# ## References
#
# - C. Zauner: *Implementation and Benchmarking of Perceptual Image Hash Functions*, diploma thesis, Upper Austria
#   University of Applied Sciences, Hagenberg 2010,
#   [phash.org](https://www.phash.org/docs/pubs/thesis_zauner.pdf).
# - W. Al-Dhabyani and others: *Data in Brief* 28 (2020) 104863,
#   [doi:10.1016/j.dib.2019.104863](https://doi.org/10.1016/j.dib.2019.104863).
# - A. Pawłowska, P. Karwat, N. Żołek: *Data in Brief* 48
#   (2023) 109247, [doi:10.1016/j.dib.2023.109247](https://doi.org/10.1016/j.dib.2023.109247).
# - J. Yang and others: MedMNIST v2 (the source of BreastMNIST), *Scientific Data* 10 (2023) 41,
#   [doi:10.1038/s41597-022-01721-8](https://doi.org/10.1038/s41597-022-01721-8).
# - P. Y. Wen and others: *Journal of Clinical Oncology* 28
#   (2010) 1963-1972, [doi:10.1200/JCO.2009.26.3541](https://doi.org/10.1200/JCO.2009.26.3541).
# - F. Isensee and others: nnU-Net, *Nature Methods* 18 (2021) 203-211,
#   [doi:10.1038/s41592-020-01008-z](https://doi.org/10.1038/s41592-020-01008-z).

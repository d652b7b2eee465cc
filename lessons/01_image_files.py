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
# # 01 Image files
#
# A photograph shows what things look like. A medical image is a **measurement**: each number in it belongs to a place
# in a patient, in millimetres. Code that forgets the place or the millimetres still runs, and its pictures still look
# right. But a mirrored scan puts the tumour on the wrong side, and a lost pixel size turns 8 mm into 12. What do
# the numbers in an image file mean, and what must be read along with the pixels?

# %% tags=["install"]
import medlib

# %% tags=["plumbing"]
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pydicom
from pydicom.data import get_testdata_file

from medlib import plotting

plotting.use_style()


def draw(ax, image, low, high, title):
    """Draw an image with `low` black and `high` white, and give both in the title."""
    ax.imshow(image, cmap="gray", vmin=low, vmax=high)
    ax.set_title(f"{title}\n{low:g} to {high:g}", fontsize=16)
    ax.set_axis_off()


# %% tags=["plumbing"]
names = ("CT_small.dcm", "examples_overlay.dcm", "examples_ybr_color.dcm")
first, second, third = (pydicom.dcmread(get_testdata_file(name, download=False)) for name in names)
fig, axes = plt.subplots(1, 3, figsize=(8, 3.0), width_ratios=[1, 1.6, 1.17])
draw(axes[0], first.pixel_array, 800, 1500, "CT")
draw(axes[1], second.pixel_array, 0, 800, "MR")
draw(axes[2], third.pixel_array[0][:, 20:300], 0, 120, "ultrasound")
plotting.show(
    fig,
    alt="Three medical images as stored in their files. CT: a bright vertebra between dark lungs. MR: a slice "
    "across the abdomen. Ultrasound: the fan-shaped view of a heart, with text at the edges.",
)

# %% [markdown]
# Three real files. Left, **computed tomography** (CT) of a chest: the bright arrowhead is a vertebra of the spine, the
# black areas are lung. Middle, **magnetic resonance** (MR): a slice across the abdomen. Right, **ultrasound** of a
# heart, seen from its tip. The kind of scanner is called the **modality**. Above each picture stand the two stored
# numbers that are drawn black and white. We take the files in this order: CT for values and lengths, MR for left and
# right, ultrasound for movement.
#
# **You will**
#
# - read DICOM files by hand: rescale, window, pixel size, position, clip;
# - tell the patient's left from right by the numbers in the file, and recognise a wrong flip;
# - remove from a file what tells who the patient is, and see why no list of tags is enough;
# - read a NIfTI volume and go from voxel to millimetre and back.
#
# **Reading:** about 45 min · **running:** about 10 s · **builds on:** Python and NumPy, the words of
# [lesson 00](00_start_here.ipynb); no medicine
#
# ## DICOM: pixels and what is known about them
#
# Hospitals store images as [DICOM](https://www.dicomstandard.org) (Digital Imaging and Communications in Medicine). The
# package [pydicom](https://pydicom.github.io/pydicom/stable/) reads such files, and brings small real ones along.

# %%
import pydicom
from pydicom.data import get_testdata_file


def open_dicom(name):
    """Open one of the files that come with pydicom."""
    return pydicom.dcmread(get_testdata_file(name, download=False))


ct = open_dicom("CT_small.dcm")

# %% [markdown]
# A DICOM file is a list of **data elements**. Each has a **tag** (two hexadecimal numbers), a type (two letters, called
# VR) and a value. The pixels are one element among many. pydicom knows the names of the tags: `ct.Rows` and
# `ct[0x0028, 0x0010].value` are the same number.

# %% tags=["nbval-check-output"]
shown = "Modality Rows PixelSpacing SliceThickness RescaleSlope RescaleIntercept"
for name in shown.split():
    element = ct[name]
    print(element.tag, element.VR, f"{name:16s}", element.value)

# %% [markdown]
# ### CT numbers have a unit
#
# A CT scanner sends X-rays through the body from all around, and measures how much of them comes out on the other side.
# From that it computes the **attenuation coefficient** $\mu$ (per cm), how strongly they are weakened at every point of a
# slice, and reports it relative to water, in **Hounsfield units**
# ([Hounsfield's Nobel lecture](https://www.nobelprize.org/prizes/medicine/1979/hounsfield/lecture/)):
#
# $$\mathrm{HU} = 1000 \, \frac{\mu - \mu_\text{water}}{\mu_\text{water}}$$
#
# [Tables](https://doi.org/10.18434/T4D01F) give the attenuation per gram; times the density, that is $\mu$. We take X-rays
# of 60 keV (kiloelectronvolts), a typical energy in CT.

# %% tags=["nbval-check-output"]
mu = {  # attenuation in cm²/g at 60 keV, times density in g/cm³
    "air": 0.1875 * 0.0012,
    "fat": 0.1974 * 0.95,
    "water": 0.2059 * 1.00,
    "muscle": 0.2048 * 1.05,
    "compact bone": 0.3148 * 1.92,
}
for tissue in mu:
    print(f"{tissue:12s} {1000 * (mu[tissue] - mu['water']) / mu['water']:6.0f} HU")

# %% [markdown]
# Water is 0 by definition and air is near -1000.
#
# The numbers stored in the file are not yet Hounsfield units. The scanner has shifted them, and the file says how to
# undo that ([PS3.3 C.11.1](https://dicom.nema.org/medical/dicom/current/output/chtml/part03/sect_C.11.html)): with
# the stored value $s$, `RescaleSlope` $m$ and `RescaleIntercept` $b$,
#
# $$\mathrm{HU} = m \, s + b$$

# %% tags=["nbval-check-output"]
stored = ct.pixel_array.astype("float32")
hu = float(ct.RescaleSlope) * stored + float(ct.RescaleIntercept)
print(f"stored {stored.min():.0f} to {stored.max():.0f}, so HU {hu.min():.0f} to {hu.max():.0f}")

# %% [markdown]
# Is it right? We test it on tissue, in five small squares.
#
# > **Predict** A lies in the lung, which is mostly air, C in fat, D in muscle, E inside a vertebra. B lies in the
# > largest artery, the aorta; blood by itself has about 40 HU. Which values do you expect?

# %% tags=["plumbing"]
squares = {  # centre row, centre column, pixels to each side
    "A lung": (12, 12, 5),
    "B aorta": (5, 90, 4),
    "C fat": (121, 60, 3),
    "D muscle": (100, 45, 3),
    "E vertebra": (20, 60, 4),
}
fig, ax = plt.subplots(figsize=(4.6, 4.9))
draw(ax, hu, -1000, 1000, "CT in Hounsfield units")
for name, (row, column, half) in squares.items():
    corner, side = (column - half - 0.5, row - half - 0.5), 2 * half + 1
    ax.add_patch(plt.Rectangle(corner, side, side, fill=False, color=plotting.ORANGE, linewidth=2))
    box = {"facecolor": "black", "linewidth": 0, "pad": 2}
    ax.text(column + half + 3, row, name[0], color="white", va="center", fontsize=14, bbox=box)
plotting.show(
    fig,
    alt="The CT slice with five marked squares: A in the lung, B in the round aorta beside the vertebra, C in fat "
    "at the lower edge, D in muscle of the back, E in the body of the vertebra.",
)

# %% tags=["nbval-check-output"]
inside = {}  # squares: row and column of the centre, pixels to each side
for name, (row, column, half) in squares.items():
    square = hu[row - half : row + half + 1, column - half : column + half + 1]
    inside[name] = {"mean HU": square.mean(), "standard deviation": square.std()}
pd.DataFrame(inside).T.round(0).astype(int)

# %% [markdown]
# Fat and muscle are where physics puts them, within a few units. Lung is a mixture of tissue and air. The
# inside of a vertebra is spongy: thin struts of bone with marrow in between, so its mean is far below compact bone. Even the
# bright rim does not reach that: it is thin, and a pixel averages it with what lies beside it. But the aorta? The file knows why it is so far above 40.

# %% tags=["nbval-check-output"]
print(ct.ContrastBolusAgent, "|", ct.ContrastBolusRoute)

# %% [markdown]
# A **contrast agent**, here of the brand Isovue, had been injected into a vein ("IV"): a liquid with iodine, which
# weakens X-rays strongly and shows where the blood is.
#
# Ordinary MR and ultrasound pictures have no such unit: twice the number is a brighter pixel, and no more. Our MR file
# does not even have a `RescaleSlope`; `pydicom.pixels.apply_rescale`, which does the sum for you, then returns the
# stored numbers without a word.
#
# ## Windows: what you may see
#
# A CT pixel can take thousands of values; an ordinary screen shows 256 greys. So one looks through a **window** with
# centre $c$ and width $w$. What lies below is black, what lies above is white, and all greys are spent in between. DICOM's
# default, called LINEAR
# ([PS3.3 C.11.2](https://dicom.nema.org/medical/dicom/current/output/chtml/part03/sect_C.11.2.html)), gives the grey
#
# $$g = \frac{\mathrm{HU} - (c - \frac{1}{2})}{w - 1} + \frac{1}{2}, \quad \text{cut off below 0 and above 1.}$$
#
# The halves are there because $w$ whole numbers have $w - 1$ steps between them.

# %%
def window(values, centre, width):
    """Grey values in [0, 1]: DICOM's LINEAR window."""
    return np.clip((values - (centre - 0.5)) / (width - 1) + 0.5, 0, 1)


# %% [markdown]
# Radiologists have a usual window for each question.
#
# > **Predict** Lung: $c = -600$, $w = 1500$. Soft tissue: $c = 40$, $w = 400$. Bone: $c = 400$, $w = 1800$. In which of
# > these windows will the lungs be plain black? In which will fat, muscle and aorta look clearly different?

# %% tags=["plumbing"]
windows = {"lung": (-600, 1500), "soft tissue": (40, 400), "bone": (400, 1800)}
fig, axes = plt.subplots(1, 3, figsize=(8, 3.2))
for ax, (name, (centre, width)) in zip(axes, windows.items(), strict=True):
    ax.imshow(window(hu, centre, width), cmap="gray", vmin=0, vmax=1)
    ax.set_title(f"{name}\n{centre - width // 2} to {centre + width // 2}", fontsize=16)
    ax.set_axis_off()
plotting.show(
    fig,
    alt="The same CT slice through three windows. Lung window: vessels inside the lung are seen, the rest is nearly "
    "white. Soft-tissue window: muscle, fat and aorta differ, lungs are black and bone is white. Bone window: the "
    "inner structure of the vertebra is seen.",
)

# %% [markdown]
# One file, three pictures. Why they differ is seen on a ruler: each strip shows the grey that a window gives to each
# number, and the letters are our five squares.

# %% tags=["plumbing"]
fig, axes = plt.subplots(3, 1, figsize=(6, 2.9), sharex=True)
ruler = np.arange(-1100, 1001)
for ax, (name, (centre, width)) in zip(axes, windows.items(), strict=True):
    grey = window(ruler, centre, width)[None]
    ax.imshow(grey, cmap="gray", vmin=0, vmax=1, aspect="auto", extent=(-1100, 1000, 0, 1))
    ax.set(yticks=[0.5], yticklabels=[name])
    ax.grid(False)
    for tissue in inside.values():
        ax.axvline(tissue["mean HU"], color=plotting.ORANGE, linewidth=2)
sides = ("center", "right", "center", "center", "left")
for (name, tissue), side in zip(inside.items(), sides, strict=True):
    axes[0].text(tissue["mean HU"], 1.1, name[0], ha=side, fontsize=13)
axes[-1].set_xlabel("HU")
plotting.show(
    fig,
    alt="Three grey strips over Hounsfield units, with lines at the five squares. Lung window: only A is dark, the "
    "others are nearly white. Soft tissue: A is black, C, D, B and E are four different greys. Bone: A is black, the "
    "others are close together.",
)

# %% [markdown]
# In the soft-tissue and the bone window the lung, A, is black: its fine vessels are gone. Only the soft-tissue window
# gives fat, muscle and aorta (C, D, B) clearly different greys, and there the denser bone is a white blot. For a network as well, **a window decides what it may see**. Try your own:

# %% tags=["parameters"]
window_centre = 40  # HU, what the window slider starts with
window_width = 400  # HU

# %% tags=["plumbing"]
import ipywidgets


def look(centre, width):
    """The CT slice through one window."""
    fig = plotting.image_grid(window(hu, centre, width)[None])
    plotting.show(fig, alt=f"The CT slice through a window around {centre} HU, {width} HU wide.")


centres = ipywidgets.IntSlider(window_centre, -1000, 1000, 20)
widths = ipywidgets.IntSlider(window_width, 20, 2000, 20)
_ = ipywidgets.interact(look, centre=centres, width=widths)

# %% [markdown]
# **Exercise 01.1: from stored numbers to greys.** Write a function that takes stored values of a CT (an array of
# whole numbers), the slope and intercept of the file, and centre and width of a window in HU. It returns greys in
# [0, 1].
#
# > **Hint** Two equations of this lesson, in the right order, and nothing below 0 or above 1.


# %% tags=["exercise"]
def to_grey(stored, slope, intercept, centre, width):
    return ...  # your code here


# %% tags=["solution"]
def to_grey(stored, slope, intercept, centre, width):
    hounsfield = slope * np.asarray(stored, dtype=float) + intercept
    return np.clip((hounsfield - (centre - 0.5)) / (width - 1) + 0.5, 0, 1)


# %%
from coursekit import check

check.exercise("01.1", to_grey)

# %% [markdown]
# ### What eight bits lose
#
# An ordinary JPEG or PNG file has 8 bits, so 256 greys. The quick conversion maps the smallest value to 0 and the
# largest to 255. We try it on a CT of a head. Brain is looked at between 0 and 80 HU, because its grey and its white
# matter differ by only about 10.
#
# > **Predict** The file spans about 3,900 HU. How many different values between 0 and 80 will be left?

# %% tags=["nbval-check-output"]
head = open_dicom("J2K_pixelrep_mismatch.dcm")
head_hu = pydicom.pixels.apply_rescale(head.pixel_array, head)
low, high = head_hu.min(), head_hu.max()
step = (high - low) / 255
restored = np.round((head_hu - low) / step) * step + low
brain = (head_hu >= 0) & (head_hu <= 80)
print(f"{low:.0f} to {high:.0f} HU; one of 255 steps is {step:.1f} HU")
print(len(np.unique(head_hu[brain])), "values between 0 and 80 HU in the file")
print(len(np.unique(restored[brain])), "after the conversion")

# %% tags=["plumbing"]
fig, axes = plt.subplots(1, 2, figsize=(8, 4.6))
part = np.s_[150:420, 110:410]  # the middle of the image
draw(axes[0], head_hu[part], 0, 80, "from the file, HU")
draw(axes[1], restored[part], 0, 80, "after 8 bits, HU")
plotting.show(
    fig,
    alt="Base of the skull with the brain inside, window 0 to 80 HU. Left, from the file: fine grain and soft "
    "shades. Right, after conversion to 8 bits: flat patches with hard edges.",
)

# %% [markdown]
# A handful of greys is left, and the brain turns into patches. (Part of the range went to -2000, which is no tissue: it
# fills the corners outside the scanner's round view.) The remedy is to window *first*, and to convert to 8 bits
# afterwards: then the values of the brain survive, and what is outside is lost on purpose.
#
# ## Where in the patient is a pixel?
#
# `PixelSpacing` holds the distance between the centres of neighbouring pixels, in millimetres: first from row to row,
# then from column to column. Pixels times spacing is a length. (Take each of these pixels for
# a millimetre, and 8 mm become 12.)

# %% tags=["nbval-check-output"]
down, across = (float(value) for value in ct.PixelSpacing)
print(f"{ct.Columns} x {across:.2f} mm = {ct.Columns * across:.0f} mm wide")
print(f"slice thickness {float(ct.SliceThickness):.0f} mm")
print(f"diameter of the image, by the header: {float(ct.ReconstructionDiameter):.0f} mm")

# %% [markdown]
# The slice is over seven times as thick as a pixel is wide: a **voxel** (pixel with depth) is a long box, and whatever
# is thinner than the slice is averaged with its surroundings.
#
# And the header contradicts itself. No chest fits into 85 mm, and by another tag the picture is four times as wide.
# Somebody has made this file smaller for testing. If they kept every fourth pixel, then a pixel is four times as large
# as the header says; if they cut out a part, the spacing holds. The patient decides.
# We measure the width of the vertebra in row 30, a little below square E.

# %% tags=["nbval-check-output"]
bone = np.flatnonzero(hu[30] > 120)  # columns with more HU than muscle or blood by itself
wide = (bone[-1] - bone[0] + 1) * across
print(f"{wide:.0f} mm, or {4 * wide:.0f} mm if pixels were four times as large")

# %% [markdown]
# No vertebra is 10 cm wide: the picture was cut out, and the spacing holds. **A header survives what was done to the
# pixels.** When a number matters, compare it with something whose size you know.
#
# ### Left is not right
#
# DICOM places every pixel in the patient. Its axes are called **LPS**: $x$ grows to the patient's **l**eft, $y$ to the
# back (**p**osterior), $z$ to the head (**s**uperior). Research on the brain mostly uses **RAS** instead: right, front
# (**a**nterior), superior.

# %% tags=["plumbing"]
import importlib.util
from pathlib import Path

import nibabel

nilearn_data = Path(importlib.util.find_spec("nilearn").origin).parent / "datasets" / "data"
template = nibabel.load(nilearn_data / "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz")
volume = np.asarray(template.dataobj)
CREAM = "#F3E3D3"


def arrows(ax, start, ends, colour):
    """Arrows from one point, each with its text at the tip."""
    for text, (x, y) in ends.items():
        tip = (start[0] + x, start[1] + y)
        style = {"arrowstyle": "-|>", "color": colour, "linewidth": 2.5, "mutation_scale": 18}
        ax.annotate("", tip, start, arrowprops=style, zorder=3)
        box = {"facecolor": "black", "linewidth": 0, "pad": 2}
        ax.text(start[0] + 1.16 * x, start[1] + 1.16 * y, text, color=colour, ha="center", va="center", fontsize=18, bbox=box, zorder=4)


# %% tags=["plumbing"]
from scipy.interpolate import splev, splprep


def head_from_below(ax):
    """A horizontal brain slice in a drawn head, seen from the feet: x to the right, y downwards."""
    turn = np.linspace(0, 2 * np.pi, 200)
    for side in (-1, 1):
        ax.fill(side * 86 + 9 * np.cos(turn), 22 + 20 * np.sin(turn), color=CREAM)  # ears
    ax.fill([-15, -5, 5, 15], [-96, -122, -122, -96], color=CREAM)  # nose
    ax.fill(86 * np.cos(turn), 18 + 122 * np.sin(turn), color=CREAM)
    piece = np.ma.masked_less(volume[:, :, 80].T[::-1, ::-1], 20)
    place = (-98.5, 98.5, -98.5, 134.5)
    ax.imshow(piece, cmap="gray", vmin=0, vmax=255, extent=place, origin="lower", zorder=2)


# %% tags=["plumbing"]
def head_from_the_left(ax):
    """The brain cut in the middle, in a drawn profile that looks to the left of the picture."""
    front = [(-22, -128), (-34, -98), (-72, -100), (-86, -90), (-82, -78), (-92, -70), (-88, -60), (-112, -48)]
    crown = [(-94, -14), (-97, 10), (-88, 50), (-56, 84), (-8, 100), (52, 92), (100, 60), (122, 10)]
    back = [(112, -46), (86, -82), (80, -128)]
    smooth, _ = splprep(np.array(front + crown + back).T, s=60)
    ax.fill(*splev(np.linspace(0, 1, 300), smooth), color=CREAM)
    piece = np.ma.masked_less(volume[98].T[::-1, ::-1], 20)
    ax.imshow(piece, cmap="gray", vmin=0, vmax=255, extent=(-98.5, 134.5, -72.5, 116.5), zorder=2)


# %% tags=["plumbing"]
fig, axes = plt.subplots(1, 2, figsize=(8, 4.7), width_ratios=[250, 275])
head_from_below(axes[0])
arrows(axes[0], (0, 0), {"L": (80, 0), "P": (0, 100)}, plotting.SKY)
arrows(axes[0], (0, 0), {"R": (-80, 0), "A": (0, -92)}, plotting.ORANGE)
axes[0].set(xlim=(-125, 125), ylim=(150, -130), title="seen from the feet")
head_from_the_left(axes[1])
arrows(axes[1], (0, 0), {"P": (95, 0), "S": (0, 84)}, plotting.SKY)
for start, ends in (((0, 0), {"A": (-78, 0)}), ((6, 0), {"": (0, 84)})):
    arrows(axes[1], start, ends, plotting.ORANGE)
axes[1].set(xlim=(-130, 145), ylim=(-155, 125), title="seen from the left")
for ax in axes:
    ax.set(aspect="equal", frame_on=False, xticks=[], yticks=[]), ax.title.set_fontsize(16)
fig.suptitle("blue: DICOM, LPS · orange: NIfTI, RAS", fontsize=16)
plotting.show(
    fig,
    alt="Axes drawn on a head. Seen from the feet with the nose up, DICOM's x arrow, L, points to the right of the "
    "picture and its y arrow, P, down to the back of the head; NIfTI's arrows R and A point the opposite ways. In "
    "profile, the arrow S points up in both systems.",
)

# %% [markdown]
# `ImageOrientationPatient` holds two unit vectors: $\mathbf{X}$ points along a row of the image, $\mathbf{Y}$ down a
# column. `ImagePositionPatient` $\mathbf{S}$ is where the first pixel lies. The pixel in column $i$ and row $j$ then lies at
# ([PS3.3 equation C.7.6.2.1-1](https://dicom.nema.org/medical/dicom/current/output/chtml/part03/sect_C.7.6.2.html))
#
# $$\mathbf{P}(i, j) = \mathbf{S} + i \, \Delta_i \, \mathbf{X} + j \, \Delta_j \, \mathbf{Y}$$
#
# with the spacing $\Delta_i$ from column to column and $\Delta_j$ from row to row. Mind the order: `PixelSpacing` names
# $\Delta_j$ first, and NumPy counts `[row, column]`, so $[j, i]$. We try it on the second file, the MR of the abdomen.

# %%
def position_mm(file, i, j):
    """Where the pixel in column i and row j lies in the patient, in LPS coordinates."""
    six = np.array(file.ImageOrientationPatient, dtype=float)
    spacing_j, spacing_i = (float(spacing) for spacing in file.PixelSpacing)
    start = np.array(file.ImagePositionPatient, dtype=float)
    return start + i * spacing_i * six[:3] + j * spacing_j * six[3:]


# %% tags=["nbval-check-output"]
abdomen = open_dicom("examples_overlay.dcm")
corners = {"first pixel": (0, 0), "end of first row": (abdomen.Columns - 1, 0),
           "end of first column": (0, abdomen.Rows - 1)}
for name, (i, j) in corners.items():
    print(f"{name:20s}", position_mm(abdomen, i, j).round(1), "mm")

# %% [markdown]
# $z$ stays the same: the MR slice lies straight across the body (an **axial** slice). Along a row $x$ grows, towards the
# patient's left; down a column $y$ grows, towards the back. So we look from the feet, at somebody lying on their back. This is
# the **radiological display**, the custom in hospitals.
#
# The liver, the largest organ here, light grey with a dark round patch in it, lies on the *right* side of nearly everybody. One of these two pictures is
# mirrored.
#
# > **Predict** Which one?

# %% tags=["plumbing"]
def pair(titles):
    """The abdomen mirrored and as stored."""
    fig, axes = plt.subplots(1, 2, figsize=(7.2, 3.0))
    draw(axes[0], abdomen.pixel_array[:, ::-1], 0, 800, titles[0])
    draw(axes[1], abdomen.pixel_array, 0, 800, titles[1])
    return fig


plotting.show(
    pair("12"),
    alt="An MR slice of the abdomen and its mirror image. In picture 1 the large grey liver is at the right edge, in "
    "picture 2 at the left edge.",
)

# %% [markdown]
# Again, with letters for the sides of the patient:

# %% tags=["plumbing"]
def letters(ax, left, top, right, bottom):
    """Write at the edges which side of the patient is there."""
    places = {(0.06, 0.5): left, (0.5, 0.92): top, (0.94, 0.5): right, (0.5, 0.08): bottom}
    for (x, y), text in places.items():
        style = {"ha": "center", "va": "center", "fontsize": 16, "fontweight": "bold"}
        ax.text(x, y, text, transform=ax.transAxes, color=plotting.ORANGE, **style)


fig = pair(["1: image[:, ::-1]", "2: as stored"])
letters(fig.axes[0], "L", "A", "R", "P")
letters(fig.axes[1], "R", "A", "L", "P")
plotting.show(fig, alt="The same two pictures with letters. In both, the liver lies at the letter R.")

# %% [markdown]
# Picture 1 is mirrored: the liver has moved to the right edge, where a radiologist expects the patient's left. Its letters were
# swapped as well, so it is still true. The danger is a flip that forgets them: with the letters of picture 2 it would put the
# liver on the patient's left, and no error would be raised.
#
# ## A clip
#
# Ultrasound sends sound into the body and listens for **echoes**. One picture takes a few hundredths of a second, so it
# shows movement: one DICOM file, many **frames**.

# %% tags=["nbval-check-output"]
heart = open_dicom("examples_ybr_color.dcm")
print("shape", heart.pixel_array.shape, "- one frame every", heart.FrameTime, "ms")

# %% [markdown]
# Thirty frames of 240 rows, 320 columns and three colours, one second in all:

# %% tags=["plumbing"]
def beat():
    """Frames: every second picture of the clip, cropped to the heart."""
    fig, ax = plt.subplots(figsize=(3.7, 3.5))
    clip = heart.pixel_array.mean(axis=-1)  # the echoes are grey: average the three colours
    picture = ax.imshow(clip[0, 20:205, 60:260], cmap="gray", vmin=0, vmax=180)
    ax.set_axis_off()
    for number in range(0, 30, 2):
        picture.set_data(clip[number, 20:205, 60:260])
        ax.set_title(f"{number * heart.FrameTime / 1000:.2f} s\n0 to 180", fontsize=14)
        yield fig


plotting.show_animation(
    beat(),
    milliseconds=67,
    alt="The heart beats: its walls move in and out, and a thin bright line between them, a valve, flaps.",
)

# %% [markdown]
# The thin line in the middle that opens and closes is a valve.
#
# ## What a file tells about its patient
#
# A header is written for those who treat the patient. It holds names, dates, places and serial numbers. Before images
# are shared, they must be **de-identified**. For our CT somebody has tried. Have they thought of the hospital? (We ask
# only whether the field is empty: a notebook that prints a header publishes it.)

# %% tags=["nbval-check-output"]
print("name of the hospital removed:", ct["InstitutionName"].is_empty)

# %% [markdown]
# It is still there. A list of things to *delete* forgets what its author did not think of, and nobody but the manufacturer knows for
# certain what is in its **private** elements. Better a list of things to *keep*:

# %%
KEEP = ["SOPClassUID", "Modality", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit",
        "PixelRepresentation", "SamplesPerPixel", "PhotometricInterpretation", "PixelData",
        "PixelSpacing", "SliceThickness", "ImagePositionPatient", "ImageOrientationPatient",
        "RescaleSlope", "RescaleIntercept"]
kept = pydicom.Dataset()
for name in KEEP:
    kept[name] = ct[name]

# %% [markdown]
# To be usable the file needs a little more: a new code for the patient, the same for all images of one patient, so that
# they can be kept together (lesson [04](04_grey_values_and_leaks.ipynb) shows what it costs otherwise); new **unique
# numbers**, since the old ones lead to the examination in the hospital's archive (images that shared a number must share
# the new one too); and the **transfer syntax**, which says how the pixels are packed.

# %%
kept.PatientID = "subject-0001"
for name in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
    setattr(kept, name, pydicom.uid.generate_uid())
kept.file_meta = pydicom.dataset.FileMetaDataset()
kept.file_meta.TransferSyntaxUID = ct.file_meta.TransferSyntaxUID

# %% [markdown]
# We save the file (here into memory) and read it again.

# %% tags=["nbval-check-output"]
import io

saved = io.BytesIO()
kept.save_as(saved, enforce_file_format=True)
saved.seek(0)
again = pydicom.dcmread(saved)
print(len(ct), "elements before,", len(again), "after")
print("same pixels:", np.array_equal(again.pixel_array, ct.pixel_array))
print("same place: ", np.array_equal(position_mm(again, 7, 9), position_mm(ct, 7, 9)))

# %% [markdown]
# pydicom reads the same pixels in the same place. (An archive may ask for more.) Is the patient safe now? `PixelData` is
# on the list, as it must be. Here are the pixels of another ultrasound file:

# %% tags=["plumbing"]
burned = open_dicom("examples_rgb_color.dcm")
fig, ax = plt.subplots(figsize=(7, 2.3))
draw(ax, burned.pixel_array[:75], 0, 255, "top of an ultrasound picture")
plotting.show(
    fig,
    alt="The upper part of an ultrasound picture: white text in the corners names a medical centre and gives numbers "
    "and a time.",
)

# %% [markdown]
# A medical centre, numbers, a time, all **burned into the pixels** (the file is public): a list of tags lets it pass. A
# scan of a whole head also holds the patient's face, as a surface that can be drawn. And a network that sees such text may
# learn "hospital B" instead of "tumour".
# [PS3.15, annex E](https://dicom.nema.org/medical/dicom/current/output/chtml/part15/chapter_E.html) treats tags, pixels and
# faces; which rules apply to your data, your data-protection officer knows.
#
# ## NIfTI: a volume and its place
#
# Research on the brain mostly uses [NIfTI](https://nifti.nimh.nih.gov/nifti-1): one file with a whole volume and a small
# header. It has no field for a name, but some for free text: look into those before you share a file. Ours comes with
# [nilearn](https://nilearn.github.io), in the folder `nilearn_data`: the
# [average of 152 brains](https://doi.org/10.1016/j.neuroimage.2010.07.033) of the drawing above.

# %% tags=["nbval-check-output"]
import nibabel

template = nibabel.load(nilearn_data / "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz")
volume = np.asarray(template.dataobj)
affine = template.affine
print("shape", volume.shape, volume.dtype)
print(affine)

# %% [markdown]
# The 4 × 4 matrix is the **affine** $A$. It takes voxel numbers $(i, j, k)$ to millimetres $(x, y, z)$ in RAS,
#
# $$(x, y, z, 1)^\top = A \, (i, j, k, 1)^\top,$$
#
# and its inverse leads back. The first three columns say how far, and in which direction, one step in $i$, $j$ or $k$
# leads: here 1 mm. The last says where voxel (0, 0, 0) lies.

# %% tags=["nbval-check-output"]
print("0 mm is voxel", (np.linalg.inv(affine) @ [0, 0, 0, 1])[:3])
print("the axes of the array point towards", nibabel.aff2axcodes(affine))

# %% [markdown]
# The first index runs to the right, the second to the front, the third upwards. But `plt.imshow` draws the first index
# downwards and the second to the right. So the forehead points to the right:

# %% tags=["plumbing"]
axial = volume[:, :, 100]
fig, axes = plt.subplots(1, 3, figsize=(8, 3.3))
draw(axes[0], axial, 0, 255, "as indexed")
draw(axes[1], axial.T, 0, 255, "transposed")
draw(axes[2], axial.T[::-1, ::-1], 0, 255, "radiological")
letters(axes[0], "P", "L", "A", "R")
letters(axes[1], "L", "P", "R", "A")
letters(axes[2], "R", "A", "L", "P")
for ax in axes:
    ax.set_anchor("N")  # titles in one line
plotting.show(
    fig,
    alt="The same horizontal slice of the template three times. As indexed, the brain lies on its side, with the front "
    "to the right. Transposed, the front is at the bottom. Transposed and turned, the front is at the top and the "
    "patient's right is on the left.",
)

# %% [markdown]
# `.T` stands it upside down; `.T[::-1, ::-1]` is what a radiologist wants. So drawn, we scroll through the volume:

# %% tags=["plumbing"]
def scroll():
    """Frames: horizontal slices from bottom to top, and their height in a view from the left."""
    fig, axes = plt.subplots(1, 2, figsize=(5.4, 3.0), width_ratios=[1, 1.3])
    for ax in axes:
        ax.set_anchor("N")  # titles in one line
    side = volume[98, ::2, ::2].T[::-1, ::-1]
    axes[1].imshow(side, vmin=0, vmax=255, extent=(98.5, -134.5, -72.5, 116.5))
    axes[1].set(xticks=[], ylabel="z (mm)", title="from the left", xlabel="black 0, white 255")
    axes[1].grid(False)
    picture = axes[0].imshow(axial.T[::-2, ::-2], vmin=0, vmax=255)
    letters(axes[0], "R", "A", "L", "P")
    axes[0].set_axis_off()
    line = axes[1].axhline(0, color=plotting.ORANGE)
    for height in [28, *range(38, 72, 10), *range(-60, 28, 10)]:
        picture.set_data(volume[:, :, height + 72].T[::-2, ::-2])
        line.set_ydata([height] * 2)
        axes[0].set_title(f"z = {height} mm")
        yield fig


# %% tags=["plumbing"]
plotting.show_animation(
    scroll(),
    milliseconds=250,
    alt="Scrolling through the template: horizontal slices with the forehead at the top, and beside them a view from "
    "the left in which a line rises with the height of the slice.",
)

# %% [markdown]
# **Exercise 01.2: which voxel is it?** A surgeon names a point in millimetres, in RAS. Write a function that returns
# the numbers $(i, j, k)$ of the voxel whose centre is nearest, as three whole numbers. The affine may rotate.
#
# > **Hint** Which matrix leads back? And `int()` cuts off instead of rounding.


# %% tags=["exercise"]
def voxel_at(affine, point_mm):
    return ...  # your code here


# %% tags=["solution"]
def voxel_at(affine, point_mm):
    exact = np.linalg.inv(affine) @ [*point_mm, 1]
    return tuple(int(number) for number in np.rint(exact[:3]))


# %%
check.exercise("01.2", voxel_at)

# %% [markdown]
# ### A flip that nobody sees
#
# Wrong transposes are easy to see. A wrong flip of left and right is not, and on this template it cannot be seen at all: it
# was built to be symmetric.

# %% tags=["nbval-check-output"]
print("equal to its mirror image:", np.array_equal(volume, volume[::-1]))

# %% [markdown]
# We need an image with a known side. nilearn brings one: a [map of brain activity](https://neurovault.org/images/10426/)
# during button presses, in which positive means more active with the *left* hand than with the right. The left hand
# is steered by the *right* half of the brain. So the maximum must be on the right.

# %% tags=["nbval-check-output"]
activity = nibabel.load(nilearn_data / "image_10426.nii.gz")
values = activity.get_fdata()
voxel = np.unravel_index(np.argmax(values), values.shape)
print("axes point towards", nibabel.aff2axcodes(activity.affine))
print("maximum in voxel", tuple(int(i) for i in voxel))
print("which lies at   ", (activity.affine @ [*voxel, 1])[:3], "mm")

# %% [markdown]
# $x$ is positive: right, as it must be. But the first axis of *this* array runs to the left.
#
# > **Predict** Below, both arrays are drawn by the same code: on the left as they come, on the right after
# > `nibabel.as_closest_canonical`, which swaps and flips axes until they point to RAS. Lines enclose where the map is above
# > 4. On which side will they be in each?

# %% tags=["plumbing"]
def slice_at(image, height_mm):
    """One horizontal slice, first axis to the right and second upwards, as indexed."""
    k = round((np.linalg.inv(image.affine) @ [0, 0, height_mm, 1])[2])
    return np.asarray(image.dataobj)[:, :, k].T


def compare(ax, below, above, title):
    """The template's slice with the map's lines on it, as if both began at the patient's left."""
    place = {"extent": (-98.5, 98.5, -134.5, 98.5), "origin": "lower"}
    ax.imshow(slice_at(below, 46), cmap="gray", vmin=0, vmax=255, **place)
    # the map's voxels are 3 mm wide, with centres from -78 to 78 mm
    ax.contour(slice_at(above, 46), levels=[4], colors=[plotting.ORANGE], extent=(-78, 78, -112, 74))
    ax.set(title=f"{title}\n0 to 255", xlabel="x (mm), right is +", ylabel="y (mm)")
    ax.set(xlim=(-80, 80), ylim=(-105, 75))
    ax.grid(False)


# %% tags=["plumbing"]
to_ras = nibabel.as_closest_canonical
fig, axes = plt.subplots(1, 2, figsize=(6, 3.9))
compare(axes[0], template, activity, "affine ignored")
compare(axes[1], to_ras(template), to_ras(activity), "both in RAS")
plotting.show(
    fig,
    alt="A horizontal slice of the template, 46 mm above the origin, with lines around the strongest activity, twice: "
    "one area at the side of the brain, a smaller one beside the midline. With the affine ignored both are in the left "
    "half; with both images in RAS, in the right.",
)

# %% [markdown]
# The left picture shows a left hand steered by the left half of the brain: a wrong finding without an error
# message. Bring NIfTI images to RAS before you compare arrays. That settles directions only: voxel size and origin
# still differ (here 1 mm and 3 mm), so we also placed both in millimetres. (Here right is on the right: **neurological** display, the
# custom of brain research. Say on your figures which one it is.)
#
# **Exercise 01.3: a flip that keeps the truth.** Mirroring is a popular way to vary training images. Write a function
# that reverses the first axis of a volume *and* returns the affine that goes with the new array, so that every
# value keeps its place in the patient.
#
# > **Hint** Voxel $i$ of the new array is voxel $n - 1 - i$ of the old one. Write that as a 4 × 4 matrix. The new affine
# > first applies this matrix, then the old affine: which of the two stands on the right of `@`? Solutions are
# > [here](solutions/01_image_files.ipynb).


# %% tags=["exercise"]
def flipped(volume, affine):
    return ...  # your code here: two results, the array and its affine


# %% tags=["solution"]
def flipped(volume, affine):
    new_to_old = np.diag([-1.0, 1, 1, 1])
    new_to_old[0, 3] = volume.shape[0] - 1
    return volume[::-1], affine @ new_to_old


# %%
check.exercise("01.3", flipped)

# %% [markdown]
# From now on `medlib.datasets.reading.read_image` reads all these formats. It returns values in the file's unit, with
# spacing and window.
#
# ## In this lesson we
#
# - read CT values as a physical measurement, tested them on tissue, and saw that MR and ultrasound have no such unit;
# - looked through windows, and saw what a careless conversion to 8 bits destroys;
# - turned pixels into millimetres, and caught a header that no longer fitted its pixels;
# - told left from right by vectors, affines and letters, and saw two flips that raise no error;
# - kept of a header what is needed, checked that pixels and place survive, and saw what no list of tags can catch.
#
# Nothing here is a medical device.
#
# **Next** Why is one fluid dark in T1, bright in T2 and dark again in FLAIR? And how can one make patients who do not
# exist? [Lesson 02: MR images and their simulation](02_mr_simulation.ipynb)
#
# ## References
#
# - [The DICOM standard](https://www.dicomstandard.org/current), NEMA PS3: part 3 (C.7.6.2 image plane, C.11
#   look-up tables and windows), part 15 (annex E, de-identification).
# - G. N. Hounsfield: Computed medical imaging, [Nobel lecture](https://www.nobelprize.org/prizes/medicine/1979/hounsfield/lecture/),
#   1979.
# - J. H. Hubbell, S. M. Seltzer: *X-ray mass attenuation coefficients*, National Institute of Standards and Technology 2004,
#   [doi:10.18434/T4D01F](https://doi.org/10.18434/T4D01F), tables 2 and 4.
# - V. Fonov and others: Unbiased average age-appropriate atlases for pediatric studies, *NeuroImage* 54 (2011) 313-327,
#   [doi:10.1016/j.neuroimage.2010.07.033](https://doi.org/10.1016/j.neuroimage.2010.07.033).
# - Images: the [test files of pydicom](https://github.com/pydicom/pydicom/tree/main/src/pydicom/data/test_files); the
#   template ICBM 2009a, copyright 1993-2009 Louis Collins, McConnell Brain Imaging Centre, Montreal Neurological Institute,
#   McGill University; [NeuroVault](https://neurovault.org/images/10426/) image 10426.

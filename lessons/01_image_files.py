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
# # 01 Medical images
#
# A photograph shows what things look like. A medical image is a **measurement**: each number in it is a physical
# quantity, at a place in a patient, in millimetres. Code that forgets the quantity, the place or the millimetres
# still runs, and its pictures still look right. A mirrored scan puts the tumour on the wrong side; a lost pixel
# size turns 8 mm into 12. This lesson asks: what do the numbers in a medical image mean, and what must be read
# along with the pixels?
#
# **You will**
#
# - say what a pixel of a CT, an MR and an ultrasound image measures, and in which unit;
# - read DICOM files by hand: rescale, window, pixel size, orientation, clip;
# - see what a file tells about its patient, and why removing the name is not enough;
# - read a NIfTI file, go from voxel to millimetre and back, and recognise a wrong flip;
# - derive from the signal equation why the same fluid is dark, bright and dark again in three MR images.
#
# **Reading:** about 55 min · **running:** about 15 s on two CPU cores · **builds on:** Python and NumPy; no
# medicine

# %% tags=["install"]
import medlib

# %% tags=["parameters"]
image_size = 128  # pixels, of the simulated brain images at the end
n_subjects = 12  # virtual patients in that part
seed = 0  # of those patients

# %%
parameters = {"image_size": image_size, "n_subjects": n_subjects, "seed": seed}

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from coursekit import ledger
from medlib import plotting  # ledger writes sentences with measured numbers

plotting.use_style()

# %% [markdown]
# ## What a scanner measures
#
# Three kinds of scanner make most of the images in this course. The kind is called the **modality**.
#
# | modality | what is sent into the body | what comes back | unit of a pixel |
# |---|---|---|---|
# | **CT** (computed tomography) | X-rays, from all around | how much was absorbed on each path | Hounsfield units: on every scanner the same for air and water |
# | **MR** (magnetic resonance) | radio pulses, in a strong magnet | a radio signal from hydrogen nuclei | none: signal, scaled by each scanner in its own way |
# | **ultrasound** | short sound pulses | echoes from where tissue changes | none: brightness of an echo |
#
# Only CT has a real unit; we begin with it.
#
# ### From absorption to Hounsfield units
#
# On a straight path through tissue, X-rays of intensity $I_0$ are weakened to $I$ (Beer and Lambert's law):
#
# $$I = I_0 \, e^{-\int \mu \, \mathrm{d}l}$$
#
# Here $\mu$ is the **attenuation coefficient** of the tissue in 1/cm, and $l$ the position on the path in cm. The
# scanner measures $I$ on many paths, in all directions, and computes $\mu$ at every point of a slice. It reports
# $\mu$ relative to water, in **Hounsfield units** (HU; Hounsfield 1980):
#
# $$\mathrm{HU} = 1000 \, \frac{\mu - \mu_\text{water}}{\mu_\text{water}}$$
#
# Physicists have tabulated $\mu$ as (mass attenuation) × (density). We take X-rays of 60 keV (kiloelectronvolts), a
# typical energy in a CT scanner (Hubbell and Seltzer 2004).
#
# > **Predict** By the formula, which value has water? And air, which absorbs nearly nothing?

# %% tags=["nbval-check-output"]
mu_per_cm = {  # mass attenuation in cm²/g at 60 keV, times density in g/cm³
    "air": 0.1875 * 0.0012,
    "fat": 0.1974 * 0.95,
    "water": 0.2059 * 1.00,
    "muscle": 0.2048 * 1.05,
    "compact bone": 0.3148 * 1.92,
}
for name, mu in mu_per_cm.items():
    print(f"{name:12s} {1000 * (mu - mu_per_cm['water']) / mu_per_cm['water']:6.0f} HU")

# %% [markdown]
# Air is near -1000, water is 0 by definition. Fat is a little below water, muscle a little above, and bone far
# above. We will look for fat and muscle in a patient.
#
# ### Three files
#
# Hospitals store images as **DICOM** (Digital Imaging and Communications in Medicine). The Python package
# `pydicom` reads them, and brings small real files along: this lesson needs no network.

# %%
import pydicom
from pydicom.data import get_testdata_file


def open_dicom(name):
    """Open one of the files that come with pydicom."""
    return pydicom.dcmread(get_testdata_file(name, download=False))


# %% tags=["nbval-check-output"]
ct = open_dicom("CT_small.dcm")
mr = open_dicom("MR_small.dcm")
us = open_dicom("examples_ybr_color.dcm")
for file in (ct, mr, us):
    pixels = file.pixel_array
    print(f"{file.Modality}: shape {pixels.shape}, {pixels.dtype}, {file.BitsStored} bits a value")

# %% [markdown]
# CT and MR are grey: one number a pixel, in 16 bits. The ultrasound file is a clip of many frames, each with
# three colours of 8 bits, like a video. Values in these files differ by a factor of ten, so each picture gets its
# own **window**: the values that are drawn black and white.

# %%
def show_window(ax, image, low, high, title):
    """Draw an image with `low` black and `high` white, and say so."""
    ax.imshow(image, cmap="gray", vmin=low, vmax=high)
    ax.set_title(f"{title}\nblack {low:g}, white {high:g}", fontsize=11)
    ax.set_axis_off()


# %%
fig, axes = plt.subplots(1, 3, figsize=(8, 3.2))
show_window(axes[0], ct.pixel_array, 800, 1500, "CT")
show_window(axes[1], mr.pixel_array, 0, 1500, "MR")
show_window(axes[2], us.pixel_array[0], 0, 255, "ultrasound, first frame")
plotting.show(fig, alt="Three medical images as stored in their files. CT: a bright vertebra between dark "
              "lungs. MR: a small coarse detail of bright and dark areas. Ultrasound: the fan-shaped view "
              "of a heart, with text in the corners.")

# %% [markdown]
# **CT**: a slice through the chest; the bright arrowhead is a vertebra of the spine, the black areas are lung.
# **MR**: a small detail; the file does not even say of which part of the body. **Ultrasound**: a beating heart,
# seen from the tip.
#
# ## DICOM: pixels and what is known about them
#
# ### Tags
#
# A DICOM file is a list of **data elements**. Each has a **tag** (two hexadecimal numbers: group and element), a
# type of two letters, and a value. The pixels are one element among many. pydicom knows the names of the tags, so
# that `ct.Rows` and `ct[0x0028, 0x0010].value` are the same number.

# %% tags=["nbval-check-output"]
for keyword in ("Modality", "KVP", "SliceThickness", "Rows", "Columns", "PixelSpacing",
                "RescaleSlope", "RescaleIntercept"):
    element = ct[keyword]
    print(f"({element.tag.group:04x},{element.tag.element:04x}) {element.VR}  {keyword:18s} {element.value}")

# %% [markdown]
# `KVP` is the voltage of the X-ray tube in kilovolts. Lengths are in millimetres.
#
# ### From stored numbers to Hounsfield units
#
# The CT above was drawn with its *stored* numbers, and they are not Hounsfield units. The scanner shifted them so
# that hardly any is negative. The file says how to undo that (DICOM PS3.3, section C.11.1, modality
# transformation):
#
# $$\mathrm{HU} = m \cdot s + b$$
#
# with stored value $s$, `RescaleSlope` $m$ and `RescaleIntercept` $b$.
#
# > **Predict** The intercept is -1024. Which stored value has water?

# %%
stored = ct.pixel_array.astype("float32")
hu = float(ct.RescaleSlope) * stored + float(ct.RescaleIntercept)

# %% tags=["nbval-check-output"]
print(f"stored: {stored.min():.0f} to {stored.max():.0f}")
print(f"HU:     {hu.min():.0f} to {hu.max():.0f}")
print("water is stored as", round(-float(ct.RescaleIntercept) / float(ct.RescaleSlope)))

# %% [markdown]
# Is it right? We test it on tissue. Five small squares are marked in the next picture. The cell gives the row and
# column of each centre, and how many pixels the square reaches to each side.
#
# > **Predict** Square A lies in the lung, which is mostly air, C in fat, D in muscle, E in bone. B lies in a
# > large blood vessel, the aorta. Blood without anything in it has about 40 HU. Which values do you expect?

# %%
regions = {
    "A lung": (12, 12, 5),
    "B aorta": (5, 90, 4),
    "C fat": (121, 60, 3),
    "D muscle": (100, 45, 3),
    "E bone": (64, 60, 3),
}


def cut(image, row, column, half):
    """The square of side 2 * half + 1 around a pixel."""
    return image[row - half : row + half + 1, column - half : column + half + 1]


# %%
fig, ax = plt.subplots(figsize=(5, 5))
show_window(ax, hu, -1000, 1000, "CT in Hounsfield units")
for name, (row, column, half) in regions.items():
    side = 2 * half + 1
    corner = (column - half - 0.5, row - half - 0.5)
    ax.add_patch(plt.Rectangle(corner, side, side, fill=False, color=plotting.ORANGE, linewidth=2))
    ax.text(column + half + 3, row, name[0], color="white", va="center", fontsize=13,
            bbox={"facecolor": "black", "linewidth": 0, "pad": 2})
plotting.show(fig, alt="The CT slice with five marked squares: A in the lung, B in the round aorta beside "
              "the vertebra, C in fat at the lower edge, D in muscle of the back, E in bone.")

# %% tags=["nbval-check-output"]
measured = pd.DataFrame(
    {name: {"mean HU": cut(hu, *place).mean(), "standard deviation": cut(hu, *place).std()}
     for name, place in regions.items()}
).T
measured.round(0).astype(int)

# %% [markdown]
# Fat and muscle are near what physics promised. Lung is tissue and air mixed. Bone in the body is not compact all
# through, and it stays below the tabulated value. Why is the aorta so far above 40? The header knows: a **contrast
# agent** had been injected, a liquid with iodine that absorbs X-rays and shows where the blood is. The first text
# below is its brand name, "IV" means into a vein.

# %% tags=["nbval-check-output"]
print(ct.ContrastBolusAgent, "|", ct.ContrastBolusRoute)

# %%
lung, muscle = measured["mean HU"]["A lung"], measured["mean HU"]["D muscle"]
ledger.say(
    "If lung is a mixture of air (-1000 HU) and tissue like muscle ({muscle:.0f} HU), then {lung:.0f} HU means "
    "**{share:.0%} air**. So a pixel of a CT can be read as a measurement.",
    muscle=muscle, lung=lung, share=(muscle - lung) / (muscle + 1000),
)

# %% [markdown]
# That holds for CT only. Numbers in MR have no unit: within one image, twice the number means twice the signal, and
# nothing else. Our MR file has no rescale tags either.

# %% tags=["nbval-check-output"]
print("MR file has a rescale slope:", "RescaleSlope" in mr)

# %% [markdown]
# > **Note** `pydicom.pixels.apply_rescale(array, file)` does the same sum. If the tags are missing it returns the
# > stored numbers without a word. Before you believe in Hounsfield units, ask whether the file has the tags.
#
# ### Windowing
#
# A CT pixel can take thousands of values. An ordinary screen shows 256 greys. So one looks through a **window**
# with centre $c$ and width $w$: what lies below is black, what lies above is white, and all greys are spent in
# between (DICOM PS3.3, section C.11.2.1.3.2):
#
# $$g = \min\left(1, \max\left(0, \; \frac{\mathrm{HU} - c}{w} + \frac{1}{2} \right)\right)$$
#
# Radiologists have a usual window for each question.
#
# > **Predict** Three windows: lung ($c = -600$, $w = 1500$), soft tissue ($c = 40$, $w = 400$), bone ($c = 400$,
# > $w = 1800$). In which will the lungs be plain black? In which will fat, muscle and aorta look clearly
# > different?

# %%
def apply_window(image, centre, width):
    """Grey values in [0, 1]: the equation above."""
    return np.clip((image - centre) / width + 0.5, 0, 1)


# %%
windows = {"lung": (-600, 1500), "soft tissue": (40, 400), "bone": (400, 1800)}
fig, axes = plt.subplots(1, 3, figsize=(8, 3.3))
for ax, (name, (centre, width)) in zip(axes, windows.items(), strict=True):
    ax.imshow(apply_window(hu, centre, width), cmap="gray", vmin=0, vmax=1)
    ax.set_title(f"{name}\n{centre - width // 2} to {centre + width // 2} HU", fontsize=11)
    ax.set_axis_off()
plotting.show(fig, alt="The same CT slice through three windows. Lung window: vessels inside the lung are "
              "seen, the rest is nearly white. Soft-tissue window: muscle, fat and aorta differ, lungs are "
              "black and bone is white. Bone window: the inner structure of the vertebra is seen.")

# %% [markdown]
# One file, three pictures. In the soft-tissue and the bone window the lung is black: the fine vessels in it are
# gone, although they are in the file. Only the soft-tissue window clearly separates aorta, muscle and fat, and in
# exchange the vertebra is a white blot.
#
# For a network as well, **a window is a decision about what it may see**. It belongs in the record of the
# experiment. From now on we use `medlib.preprocessing.apply_window`, which is this function.

# %% tags=["nbval-check-output"]
from medlib import preprocessing

print(np.allclose(preprocessing.apply_window(hu, 40, 400), apply_window(hu, 40, 400)))

# %% [markdown]
# ### Bit depth: what eight bits lose
#
# PNG, JPEG and most tutorials work with 8 bits: 256 grey levels. The quick conversion maps the smallest value to
# 0 and the largest to 255. We try it on a CT of a head, where the interesting differences are small: **grey
# matter** (nerve cells, mostly in the folded outer layer of the brain) and **white matter** (the fibres between
# them) differ by about 10 HU. Brain is therefore viewed in a narrow window, from 0 to 80 HU.

# %% tags=["nbval-check-output"]
head = open_dicom("J2K_pixelrep_mismatch.dcm")
head_hu = float(head.RescaleSlope) * head.pixel_array.astype("float32") + float(head.RescaleIntercept)
low, high = head_hu.min(), head_hu.max()
eight_bits = np.round(255 * (head_hu - low) / (high - low)).astype("uint8")
print(f"HU in the file: {low:.0f} to {high:.0f}")

# %% [markdown]
# > **Predict** All whole numbers from 0 to 80 HU occur in the file. How many HU is one of the 255 steps? So how
# > many different values from 0 to 80 are left after the conversion?

# %% tags=["nbval-check-output"]
restored = eight_bits.astype("float32") / 255 * (high - low) + low
for name, image in (("in the file", head_hu), ("after 8 bits", restored)):
    inside = image[(image >= 0) & (image <= 80)]
    print(f"{name:12s}: {len(np.unique(inside)):2d} values between 0 and 80 HU")
print(f"one of 255 steps is {(high - low) / 255:.1f} HU")

# %%
fig, axes = plt.subplots(1, 2, figsize=(8, 4.2))
part = np.s_[150:420, 110:410]  # the middle of the image
show_window(axes[0], head_hu[part], 0, 80, "from the file, HU")
show_window(axes[1], restored[part], 0, 80, "after 8 bits, HU")
plotting.show(fig, alt="Base of the skull with the brain inside, window 0 to 80 HU. Left, from the file: "
              "fine grain and soft shades. Right, after conversion to 8 bits: flat patches with hard edges.")

# %% [markdown]
# Only a handful of greys is left: the brain turns into patches. And part of the range was wasted on values that are no
# tissue at all: the smallest one is a **padding value**, with which the scanner fills the corners outside its
# round field of view.
#
# The remedy is to window *first*, in Hounsfield units, and convert afterwards.

# %% tags=["nbval-check-output"]
windowed = np.round(255 * preprocessing.apply_window(head_hu, 40, 80)).astype("uint8")
inside = windowed[(head_hu >= 0) & (head_hu <= 80)]
print("window first, then 8 bits:", len(np.unique(inside)), "values")

# %% [markdown]
# Nothing between 0 and 80 HU is lost now; everything outside is, on purpose.
#
# ### A pixel has a size
#
# `PixelSpacing` is the distance between the centres of neighbouring pixels in millimetres: first between *rows*
# (down), then between *columns* (across). With it, pixels become lengths and areas.
#
# $$\text{length in mm} = \text{number of pixels} \times \text{spacing}$$
#
# > **Predict** The CT has 128 pixels of 0.66 mm across. How wide is the picture? Can a whole chest be in it?

# %% tags=["nbval-check-output"]
down, across = (float(value) for value in ct.PixelSpacing)
print(f"pixel: {down:.3f} x {across:.3f} mm, slice thickness {float(ct.SliceThickness):.0f} mm")
print(f"picture: {ct.Columns * across:.0f} mm wide")
print(f"header, diameter of the reconstructed image: {float(ct.ReconstructionDiameter):.0f} mm")

# %% [markdown]
# First, the slice is several times thicker than a pixel is wide: the **voxel** (pixel with depth) is a long box,
# not a cube. Whatever is thinner than the slice is averaged with what lies above or below it.
#
# Second, no adult's chest fits into that width. And the header contradicts itself: by one of its lines the picture
# is four times as wide as by the other. Somebody has made this file smaller for testing. Either they kept every
# fourth pixel, and then a pixel is four times as large as the header says. Or they cut out a part, and then the
# spacing still holds. The patient decides: the body of a vertebra in the chest is 2 to 4 cm wide. We measure it
# along row 30.

# %%
fig, ax = plt.subplots(figsize=(7, 3))
ax.plot(np.arange(128) * across, hu[30])
ax.axhline(120, color=plotting.GREY, linestyle=":")
ax.text(0, 150, "bone: above 120 HU", color=plotting.GREY)
ax.set(xlabel="position across the picture (mm, if the spacing holds)", ylabel="HU in row 30")
plotting.show(fig, alt="Hounsfield units along row 30: lung near -800 on both sides, and in the middle a "
              "plateau of bone above 120, a good 20 mm wide.")

# %% tags=["nbval-check-output"]
edges = np.flatnonzero(hu[30] > 120)
print(f"bone from column {edges[0]} to {edges[-1]}: {(edges[-1] - edges[0] + 1) * across:.0f} mm, "
      f"or {(edges[-1] - edges[0] + 1) * across * 4:.0f} mm if pixels were four times as large")

# %% [markdown]
# No vertebra is 10 cm wide: the picture was cut out and the spacing holds. **A header survives what was done to the
# pixels.** Whenever a number matters, compare it with something whose size you know.
#
# ### Which side is left
#
# DICOM places every image in the patient. Its axes: $x$ grows to the patient's **l**eft, $y$ to the back
# (**p**osterior), $z$ to the head (**s**uperior); hence **LPS**. `ImageOrientationPatient` holds two unit
# vectors: $\mathbf{r}$ points along a row, in the direction of growing column number, and $\mathbf{c}$ down a
# column. With `ImagePositionPatient` $\mathbf{p}$ (the first pixel) and the spacings $\Delta_\text{down}$,
# $\Delta_\text{across}$, pixel (row $i$, column $j$) lies at (DICOM PS3.3, equation C.7.6.2.1-1)
#
# $$\mathbf{x}(i, j) = \mathbf{p} + j \, \Delta_\text{across} \, \mathbf{r} + i \, \Delta_\text{down} \, \mathbf{c}$$
#
# We ask for two pixels of an MR slice through the abdomen.
#
# > **Predict** The slice lies straight across the body (an **axial** slice). Which of $x$, $y$ and $z$ is the same
# > at all its pixels? If $x$ goes from negative to positive along a row, from which side to which does the row run?

# %%
abdomen = open_dicom("examples_overlay.dcm")


def position_mm(file, i, j):
    """Where the pixel in row i and column j lies in the patient, in LPS coordinates."""
    six = np.array(file.ImageOrientationPatient, dtype=float)
    down, across = (float(spacing) for spacing in file.PixelSpacing)
    first = np.array(file.ImagePositionPatient, dtype=float)
    return first + j * across * six[:3] + i * down * six[3:]


# %% tags=["nbval-check-output"]
last = abdomen.Rows - 1, abdomen.Columns - 1
print("first pixel:", position_mm(abdomen, 0, 0).round(1), "mm")
print("last pixel: ", position_mm(abdomen, *last).round(1), "mm")

# %% [markdown]
# From negative to positive $x$: the row runs from the right side of the patient to the left. From negative to
# positive $y$: the column runs from front to back. $z$ does not change.
#
# The function below names the side to which a direction mostly points: R or L,
# A (anterior: front) or P, F (feet) or H (head, the S of LPS).

# %%
def towards(direction):
    """Name the side of the patient to which an LPS vector mostly points."""
    axis = int(np.argmax(np.abs(direction)))
    return ("RL", "AP", "FH")[axis][int(direction[axis] > 0)]


def directions(file):
    """Unit vectors along a row and down a column, in LPS coordinates."""
    six = np.array(file.ImageOrientationPatient, dtype=float)
    return six[:3], six[3:]


# %% tags=["nbval-check-output"]
for name, file in (("chest CT", ct), ("head CT", head), ("abdomen MR", abdomen)):
    row, column = directions(file)
    print(f"{name:10s} along a row: {towards(row)} {row}   down a column: {towards(column)} {column}")

# %% [markdown]
# In all three, rows run towards the patient's **left**. So the right edge of the picture is the left side of
# the patient: we look from the feet, at somebody lying on the back. This is the **radiological display**, the
# custom in hospitals.
#
# The head CT is tilted: its columns do not point straight to the back. The angle is in the vector, and the header
# gives it once more (the sign says to which side).

# %% tags=["nbval-check-output"]
row, column = directions(head)
print(f"{np.degrees(np.arctan2(-column[2], column[1])):.1f} degrees from the vector, "
      f"{float(head.GantryDetectorTilt):.1f} in the header")

# %% [markdown]
# Now the picture of the abdomen. The **liver** is the large organ on the right side of nearly everybody.
#
# > **Predict** One of the next two pictures is mirrored. At which edge of the picture must the liver be in the
# > other one? Decide before you look at the letters.

# %%
def mark_sides(ax, row, column):
    """Write at each edge to which side of the patient it points."""
    places = {(0.97, 0.5): row, (0.03, 0.5): -row, (0.5, 0.05): column, (0.5, 0.95): -column}
    for (x, y), direction in places.items():
        ax.text(x, y, towards(direction), transform=ax.transAxes, color=plotting.ORANGE,
                ha="center", va="center", fontsize=13, fontweight="bold")


# %%
fig, axes = plt.subplots(1, 2, figsize=(8, 3.2))
row, column = directions(abdomen)
show_window(axes[0], abdomen.pixel_array, 0, 800, "as stored")
show_window(axes[1], abdomen.pixel_array[:, ::-1], 0, 800, "image[:, ::-1]")
mark_sides(axes[0], row, column)
mark_sides(axes[1], -row, column)
plotting.show(fig, alt="MR slice of the abdomen, twice. Left, as stored: R at the left edge, the large grey "
              "liver at the left. Right, mirrored: the liver at the right, under the letter R.")

# %% [markdown]
# Only the letters, or knowing where the liver belongs, tell them apart. The letters in the right-hand picture are
# correct because we mirrored the vector along with the pixels. A library that returns the array alone leaves that
# to you.
#
# > **Note** Mirroring is also a popular augmentation (varying training images artificially, lesson 11). It is
# > harmless where left and right mean nothing, and wrong where they do.
#
# ### A clip
#
# Ultrasound measures **echoes**. A sound pulse travels to a boundary between tissues and back, so an echo after
# the time $t$ comes from the depth (Szabo 2014)
#
# $$d = \frac{v \, t}{2}$$
#
# with the speed of sound in soft tissue $v \approx 1540$ m/s. Many such pictures a second make a clip: one DICOM
# file, many **frames**.

# %% tags=["nbval-check-output"]
frames, milliseconds = int(us.NumberOfFrames), float(us.FrameTime)
print(f"{frames} frames, one every {milliseconds:.1f} ms: {frames * milliseconds / 1000:.1f} s")
print(f"an echo from 10 cm depth returns after {2 * 0.10 / 1540 * 1e6:.0f} microseconds")

# %% [markdown]
# How deep does the picture reach? Ultrasound files usually hold no `PixelSpacing`, but a description of the region
# of the picture that is the echo image: its corners, and centimetres per pixel.

# %% tags=["nbval-check-output"]
region = us.SequenceOfUltrasoundRegions[0]
print(f"columns {region.RegionLocationMinX0} to {region.RegionLocationMaxX1}, "
      f"{region.PhysicalDeltaX * 10:.3f} mm a pixel")
print(f"the picture has {us.Columns} columns")
mm = 2 * 10 * region.PhysicalDeltaX
print(f"if the frames were reduced to half their size: {mm:.2f} mm a pixel")

# %% [markdown]
# Another header that has outlived its pixels: the region ends far outside the picture. The frames were reduced to
# half their size and the description was not, so a pixel is twice as large. The scale burned into the picture
# agrees: its last mark, 19 cm, stands at the lower end of the fan.
#
# A clip can be cut along time. We take one column of pixels, the one through the middle of the heart, from every
# frame, and put them side by side: depth downwards, time to the right. Cardiologists call this an **M-mode**
# (motion mode) picture.
#
# > **Predict** How does a wall that does not move look in it? And one that moves with the heartbeat?

# %%
clip = us.pixel_array.mean(axis=-1)  # the echoes are grey: average the three colours
column_number, top, bottom = 160, 20, 200
m_mode = clip[:, top:bottom, column_number].T

# %%
fig, axes = plt.subplots(1, 2, figsize=(8, 3.8), width_ratios=[1, 1.3])
show_window(axes[0], us.pixel_array[0], 0, 255, "frame 0")
axes[0].plot([column_number] * 2, [top, bottom], color=plotting.ORANGE)
duration = frames * milliseconds / 1000
axes[1].imshow(m_mode, vmin=0, vmax=200, aspect="auto", extent=(0, duration, (bottom - top) * mm, 0))
axes[1].set(xlabel="time (s)", ylabel="distance along the line (mm)")
axes[1].set_title("the marked line over time\nblack 0, white 200", fontsize=11)
axes[1].grid(False)
plotting.show(fig, alt="Left: first frame of the clip, with a vertical line through the heart. Right: the "
              "pixels on that line over one second: some bands stay at the same depth, others wave up and "
              "down as the heart beats.")

# %% [markdown]
# Bands that run straight across are echoes at rest. The waves are parts of the heart: within this second they
# move by a centimetre or two. In a single frame none of that is to be seen.
#
# ### The same in one call
#
# `read_image` does all this for the course's formats and says what it found: values in the file's unit, spacing,
# and the window that the file itself asks for (here none).

# %% tags=["nbval-check-output"]
from medlib.datasets.reading import read_image

image = read_image(get_testdata_file("CT_small.dcm", download=False))
print("equal to our Hounsfield units:", bool(np.array_equal(image.pixels[..., 0], hu)))
print(image.modality, image.pixels.shape, "spacing", image.spacing_mm, "window", image.window)

# %% [markdown]
# ## What a file tells about its patient
#
# A DICOM header is written for the people who treat the patient. It holds names, dates, places and serial
# numbers. Before images are shared, they must be **de-identified**. For our files someone has tried. How much is
# still filled in? We print only the *number* of filled elements of each kind: a notebook that prints a header
# publishes it.

# %%
def kind(element):
    """What an element could tell, judged by its tag and its type alone."""
    if element.tag.is_private:
        return "private"
    if element.tag.group == 0x0010:  # the patient's group of tags
        return "patient"
    # types: PN is a person's name, DA a date, TM a time, UI a unique identifier
    kinds = {"PN": "staff names", "DA": "dates, times", "TM": "dates, times", "UI": "unique numbers"}
    return kinds.get(element.VR, "other")


# %% tags=["nbval-check-output"]
files = {"chest CT": ct, "head CT": head, "MR detail": mr, "abdomen MR": abdomen, "ultrasound": us}
counts = {
    name: pd.Series([kind(e) for e in file if not e.is_empty]).value_counts()
    for name, file in files.items()
}
pd.DataFrame(counts).T.fillna(0).astype(int)

# %% [markdown]
# **Private** elements are the manufacturer's own: nobody else knows for certain what is in them. **Unique
# numbers** tie an image to its examination in the hospital's archive: not a name, but a key to one. Dates narrow
# down who it was.
# And a header can hold lists of smaller headers (**sequences**), each with elements of its own. Our count does not
# look into them; a real tool must.
#
# The obvious remedy: a list of things to delete. We go by what the table shows: all private elements and the
# whole patient group are deleted; staff names, dates and times are emptied. (Unique numbers would have to be
# replaced, the same old one by the same new one everywhere. We leave them.)

# %%
import copy

cleaned = copy.deepcopy(ct)
cleaned.remove_private_tags()
for element in list(cleaned):
    if kind(element) == "patient":
        del cleaned[element.tag]
    elif kind(element) in ("staff names", "dates, times"):
        element.value = ""

# %% [markdown]
# > **Predict** Is the hospital's name gone?

# %% tags=["nbval-check-output"]
for keyword in ("PatientName", "StudyDate", "InstitutionName", "StationName"):
    print(f"{keyword:16s} still filled in: {bool(cleaned.get(keyword))}")

# %% [markdown]
# Where the scan was made stands among the "other" elements, under a tag that we had not thought of. A delete list
# forgets; a **keep list** cannot. So the rule is: *keep what the analysis needs, drop the rest, and give each
# patient a new code*. The code must be the same for all images of one patient, or nobody can split the data by
# patient any more (lesson 02 measures what that costs).

# %% tags=["nbval-check-output"]
KEEP = ("Modality", "Rows", "Columns", "PixelSpacing", "SliceThickness", "ImageOrientationPatient",
        "RescaleSlope", "RescaleIntercept", "BitsAllocated", "BitsStored", "HighBit",
        "PixelRepresentation", "SamplesPerPixel", "PhotometricInterpretation", "PixelData")
kept = pydicom.Dataset()
for keyword in KEEP:
    kept[keyword] = ct[keyword]
kept.PatientID = "subject-0001"
print(f"{len(ct)} elements before, {len(kept)} after")

# %% [markdown]
# And the header is not all. Many ultrasound pictures carry text **burned into the pixels**:

# %%
burned = open_dicom("examples_rgb_color.dcm")
fig, ax = plt.subplots(figsize=(7, 2.6))
show_window(ax, burned.pixel_array[:75], 0, 255, "top of an ultrasound picture")
plotting.show(fig, alt="The upper part of an ultrasound picture: white text in the corners names a medical "
              "centre and gives numbers and a time.")

# %% [markdown]
# Name of a hospital, numbers, a time (this file is public): no tag was involved. Besides, a scan of a head contains
# the patient's face, as a surface that can be drawn. And a network that finds such text can learn "picture from
# hospital B" instead of "tumour".
#
# DICOM PS3.15, annex E lists what to do with each tag that may tell who it is, with the pixels and the face. Which
# rules apply to your data is a question for your data-protection officer.
#
# ## NIfTI: a volume and its place
#
# Research on the brain mostly uses **NIfTI**: one file with a whole volume and a small header without a field for
# the patient's name. Ours is the **MNI template**, an average of 152 aligned brains (Fonov and others 2011). It
# comes with the package `nilearn`.

# %% tags=["nbval-check-output"]
import importlib.util
from pathlib import Path

import nibabel

nilearn_data = Path(importlib.util.find_spec("nilearn").origin).parent / "datasets" / "data"
template = nibabel.load(nilearn_data / "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz")
volume = np.asarray(template.dataobj)
sizes = [float(size) for size in template.header.get_zooms()]
print("shape", volume.shape, volume.dtype, "voxel size", sizes, "mm")

# %% [markdown]
# ### From voxel to millimetre
#
# Position, size and direction of the axes stand in one 4 × 4 matrix, the **affine** $A$. It takes voxel numbers
# $(i, j, k)$ to millimetres $(x, y, z)$ (Cox and others 2004):
#
# $$\begin{pmatrix} x \\ y \\ z \\ 1 \end{pmatrix} = A \begin{pmatrix} i \\ j \\ k \\ 1 \end{pmatrix}$$
#
# The axes are **RAS**: $x$ grows to the patient's *right*, $y$ to the front (*anterior*), $z$ up (*superior*).
# DICOM's are LPS: between the two, the signs of $x$ and $y$ change; forget it and you have turned the
# patient around.

# %% tags=["nbval-check-output"]
affine = template.affine
print(affine)
print("voxel (0, 0, 0) lies at", (affine @ [0, 0, 0, 1])[:3], "mm")
print("the origin, 0 mm, is voxel", (np.linalg.inv(affine) @ [0, 0, 0, 1])[:3])
print("axes point towards", nibabel.aff2axcodes(affine))

# %% [markdown]
# The inverse matrix leads back, from millimetres to voxel numbers. The last line says how the array lies: the first
# index runs from left to right, the second from back to front, the third upwards.
#
# > **Predict** `plt.imshow(volume[:, :, 100])` draws the first index downwards and the second to the right. In
# > which direction will the face look?

# %%
axial = volume[:, :, 100]
fig, axes = plt.subplots(1, 3, figsize=(8, 3.4))
show_window(axes[0], axial, 0, 255, "volume[:, :, 100]")
show_window(axes[1], axial.T, 0, 255, "transposed")
show_window(axes[2], axial.T[::-1, ::-1], 0, 255, "radiological")
right, anterior = np.array([-1, 0, 0]), np.array([0, -1, 0])  # in LPS, as mark_sides wants them
mark_sides(axes[0], anterior, right)
mark_sides(axes[1], right, anterior)
mark_sides(axes[2], -right, -anterior)
plotting.show(fig, alt="The same horizontal slice of the template three times. As indexed, the brain lies on "
              "its side, with the front to the right. Transposed, the front is at the bottom. Transposed "
              "and turned, the front is at the top and the patient's right is on the left.")

# %% [markdown]
# Lying on its side, upside down, and as a radiologist wants it. Wrong transposes are easy to see. A wrong *flip*
# of left and right is not, and on this template it cannot be seen at all:

# %% tags=["nbval-check-output"]
difference = volume.astype(int) - volume[::-1]
print("largest difference between the template and its mirror image:", np.abs(difference).max())

# %% [markdown]
# It was built to be symmetric. So a test picture that cannot show the mistake proves nothing. We need an image
# with a known side. `nilearn` brings one: a map of brain activity during button presses. Positive means more
# active with the *left* hand than with the right.
#
# The left hand is steered by the *right* half of the brain: nerve fibres cross on their way down. So the maximum
# must be on the right.

# %% tags=["nbval-check-output"]
activity = nibabel.load(nilearn_data / "image_10426.nii.gz")
values = activity.get_fdata()
voxel = np.unravel_index(np.argmax(values), values.shape)
world = (activity.affine @ [*voxel, 1])[:3]
print("axes point towards", nibabel.aff2axcodes(activity.affine))
print("maximum in voxel", tuple(int(i) for i in voxel), "=", world, "mm")

# %% [markdown]
# $x$ is positive: right, as it must be. But this file's first axis runs to the *left*, unlike the template's. Who
# takes the array and ignores the affine finds the maximum at a low index, and calls it left.
#
# > **Predict** Below, both files are drawn by the same code. Left: arrays as they come. Right: both brought to
# > RAS first. Lines enclose where the map (a statistic without unit) is above 4. On which side are they in each?

# %%
def neurological(image, height_mm):
    """One horizontal slice at a height, first axis to the right and second upwards, as indexed."""
    k = round((np.linalg.inv(image.affine) @ [0, 0, height_mm, 1])[2])
    return np.asarray(image.dataobj)[:, :, k].T


# %%
to_ras = nibabel.as_closest_canonical
pairs = {"affine ignored": (template, activity), "both in RAS": (to_ras(template), to_ras(activity))}
fig, axes = plt.subplots(1, 2, figsize=(7, 4.4))
for ax, (name, (brain, map_)) in zip(axes, pairs.items(), strict=True):
    ax.imshow(neurological(brain, 46), cmap="gray", vmin=0, vmax=255, origin="lower",
              extent=(-98.5, 98.5, -134.5, 98.5))
    active = neurological(map_, 46)  # its voxels are 3 mm wide, centres from -78 to 78 mm
    ax.contour(active, levels=[4], colors=[plotting.ORANGE], extent=(-78, 78, -112, 74))
    ax.set(title=f"{name}\nblack 0, white 255", xlabel="x (mm), right is positive", ylabel="y (mm)")
    ax.grid(False)
plotting.show(fig, alt="A horizontal slice of the template, 46 mm above the origin, with lines around the "
              "strongest activity, twice: one area at the side of the brain, a smaller one beside the midline. "
              "With the affine ignored, both are in the left half; with both images in RAS, in the right.")

# %% [markdown]
# The left picture shows a left hand steered by the left half of the brain: a wrong finding, without any error
# message. `as_closest_canonical` swaps and flips the axes of any NIfTI image until they are nearest to RAS. Do it
# first, always.
#
# > **Note** The two pictures are drawn with right on the right: **neurological** display, the custom of brain
# > research. Radiological display has it the other way round. Write on your figures which one it is.
#
# ## Why one fluid has three brightnesses
#
# The brain floats in **cerebrospinal fluid** (CSF), which also fills chambers inside it, the ventricles. On a
# **T1-weighted** MR image CSF is dark, on a **T2-weighted** one it is bright, and on **FLAIR** (fluid-attenuated
# inversion recovery) dark again. How?
#
# ### Recovery and decay
#
# A scanner's magnet aligns the hydrogen nuclei of the body a little: that is **magnetisation** along the field. A
# radio pulse tips it sideways, where it can be received as a signal. Then two things happen, each at its own
# pace:
#
# - the magnetisation along the field **recovers**, with time constant $T_1$;
# - the sideways signal **decays**, with time constant $T_2$.
#
# Both depend on the tissue. The operator chooses two times: the **repetition time** $T_R$ from one pulse to the
# next (how long things may recover), and the **echo time** $T_E$ from the pulse to the measurement (how long they
# decay). For the **spin-echo** sequence (programme of pulses), with $T_E$ short against $T_R$, the
# signal is (Bernstein, King and Zhou 2004, section 14.3)
#
# $$S = \rho \; \underbrace{\left(1 - e^{-T_R / T_1}\right)}_{\text{recovered}} \; \underbrace{e^{-T_E / T_2}}_{\text{not yet decayed}}$$
#
# with the **proton density** $\rho$: hydrogen nuclei in the tissue, relative to water. So $S = 1$ is water, fully
# recovered and not yet decayed. Here is what the literature gives for a magnet of 1.5 tesla. The sources stand in
# `medlib/simulation/signal.py`.

# %% tags=["nbval-check-output"]
from medlib.simulation import signal

tissues = {name: signal.TISSUES[1.5][name] for name in ("grey", "white", "csf")}
pd.DataFrame({name: vars(tissue) for name, tissue in tissues.items()}).T


# %%
def spin_echo(tissue, tr, te):
    """Signal of a spin echo; times in ms."""
    return tissue.proton_density * (1 - np.exp(-tr / tissue.t1_ms)) * np.exp(-te / tissue.t2_ms)


# %% [markdown]
# CSF is nearly water: it recovers very slowly, and decays very slowly.
#
# > **Predict** With a short $T_R$ (520 ms), nothing has time to recover fully. Which tissue gives most signal
# > then? With a long $T_R$ (4500 ms) and a long $T_E$ (100 ms), which one?

# %%
fig, axes = plt.subplots(1, 2, figsize=(8, 3.6), sharey=True)
tr, te = np.linspace(0, 6000, 300), np.linspace(0, 300, 300)
for (name, tissue), style in zip(tissues.items(), ("-", "--", "-."), strict=True):
    axes[0].plot(tr, spin_echo(tissue, tr, 14), style, label=name.replace("csf", "CSF"))
    axes[1].plot(te, spin_echo(tissue, 4500, te), style, label=name.replace("csf", "CSF"))
axes[0].set(xlabel="repetition time (ms), echo time 14 ms", ylabel="signal (1: water)", ylim=(0, 1))
axes[1].set(xlabel="echo time (ms), repetition time 4500 ms")
for ax, time, name in zip(axes, (520, 100), ("T1-weighted", "T2-weighted"), strict=True):
    ax.axvline(time, color=plotting.GREY, linestyle=":")
    ax.text(time, 0.93, f" {name}", color=plotting.GREY)
axes[0].legend(loc="lower right")
plotting.show(fig, alt="Spin-echo signal of grey matter, white matter and CSF. Left, against repetition time: "
              "at 520 ms white matter is highest and CSF lowest. Right, against echo time: at 100 ms CSF "
              "is far above grey and white matter.")

# %% [markdown]
# Left, at the dotted line: white matter has recovered most, CSF least. An image taken there is **T1-weighted**.
# Right: most has recovered, but after 100 ms only CSF has kept its signal: **T2-weighted**. "Weighted", because
# the other constants still play a part.
#
# So on a T2-weighted image, fluid is bright. Many diseased tissues hold more water and light up as well. But beside
# a bright ventricle, a bright **lesion** (a spot of diseased tissue) is easily overlooked.
#
# ### Inversion: making CSF vanish
#
# FLAIR begins with a pulse that turns the magnetisation upside down. From $-1$ it recovers through zero to $+1$.
# If one measures, after the **inversion time** $T_I$, just when CSF passes through zero, CSF gives no signal
# (Bernstein and others, section 14.2):
#
# $$S = \rho \; \left| 1 - 2 e^{-T_I / T_1} + e^{-T_R / T_1} \right| \; e^{-T_E / T_2}$$
#
# If $T_R$ is long against $T_1$, the term $e^{-T_R / T_1}$ is nearly 0. Then the zero lies where $2 e^{-T_I / T_1} =
# 1$, at $T_I = T_1 \ln 2$. (When it is not quite so long, the zero moves: exercise 01.3.)

# %%
def inversion_recovery(tissue, tr, te, ti):
    """Magnitude signal after an inversion; times in ms."""
    along = 1 - 2 * np.exp(-ti / tissue.t1_ms) + np.exp(-tr / tissue.t1_ms)
    return tissue.proton_density * np.abs(along) * np.exp(-te / tissue.t2_ms)


# %% tags=["nbval-check-output"]
csf = tissues["csf"]
very_long = 1e6  # ms
for ti in (0.5 * csf.t1_ms, np.log(2) * csf.t1_ms, csf.t1_ms):
    print(f"TI {ti:4.0f} ms: CSF signal {inversion_recovery(csf, very_long, 0, ti):.3f}")

# %%
ti = np.linspace(0, 5000, 500)
nulling = signal.nulling_time(csf.t1_ms, 9000)  # for the repetition time of 9 s used here
fig, ax = plt.subplots(figsize=(7, 3.6))
for (name, tissue), style in zip(tissues.items(), ("-", "--", "-."), strict=True):
    ax.plot(ti, inversion_recovery(tissue, 9000, 120, ti), style, label=name.replace("csf", "CSF"))
ax.axvline(nulling, color=plotting.GREY, linestyle=":")
ax.text(nulling, 0.8, f" FLAIR: {nulling:.0f} ms", color=plotting.GREY)
ax.set(xlabel="inversion time (ms); repetition 9000 ms, echo 120 ms", ylabel="signal (1: water)")
ax.legend(loc="upper right")
plotting.show(fig, alt="Inversion-recovery signal against inversion time. CSF starts high, falls to zero near "
              "2500 ms and rises again; grey and white matter reach their zeros below 900 ms and have "
              "mostly recovered at 2500 ms.")

# %% [markdown]
# At the dotted line CSF is silent, while grey and white matter, with their shorter $T_1$, have mostly recovered.
# The echo time is long, so the image is T2-weighted otherwise: a T2 image without the fluid.
#
# `medlib.simulation.signal` holds the same two equations; the simulation of this course is made with them.

# %% tags=["nbval-check-output"]
rows = {}
for name, tissue in tissues.items():
    rows[name] = {
        "T1 (TR 520, TE 14)": spin_echo(tissue, 520, 14),
        "T2 (TR 4500, TE 100)": spin_echo(tissue, 4500, 100),
        "FLAIR (TR 9000, TE 120)": inversion_recovery(tissue, 9000, 120, nulling),
    }
same = signal.spin_echo(csf, repetition_time_ms=520, echo_time_ms=14) == spin_echo(csf, 520, 14)
print("equal to medlib's:", bool(same))
pd.DataFrame(rows).T.round(3)

# %% [markdown]
# Read down each column: in T1 white is brightest and CSF darkest, in T2 CSF is by far the brightest, in FLAIR it is
# gone. Now a real file: the MR detail at the beginning of this lesson says with which times it was taken.

# %%
tr, te = float(mr.RepetitionTime), float(mr.EchoTime)
ledger.say(
    "TR {tr:.0f} ms, TE {te:.0f} ms. With such times, fluid gives **{ratio:.0f} times** the signal of white matter at "
    "1.5 tesla. So the brightest parts of that picture may well be fluid.",
    tr=tr, te=te, ratio=spin_echo(csf, tr, te) / spin_echo(tissues["white"], tr, te),
)

# %% [markdown]
# ## Seen: simbrain
#
# **simbrain** is the data set that this course always has at hand: MR slices of *virtual* patients. The template
# above is deformed into many heads, and half of them get a simulated tumour. The signal equations turn tissue into
# brightness, and blur and noise follow. We make a few patients, one slice each.

# %%
from medlib.simulation.cohort import simulate_cohort

cohort = simulate_cohort(n_subjects, slices_per_subject=1, image_size=image_size, seed=seed)
columns = ["subject", "age", "field_tesla", "t2_echo_time_ms", "flair_inversion_time_ms",
           "row_spacing_mm", "tumour_diameter_mm"]
cohort.table[columns].head(4)

# %% [markdown]
# One row per slice. Like a DICOM header, it holds the times of the scan and the pixel size in mm.
#
# > **Predict** Below is a slice without a tumour: T1, T2, FLAIR. Find the ventricles, the dark chambers in the
# > middle of the T1 image. How will they look in the other two?

# %%
middle = slice(3 * image_size // 8, 5 * image_size // 8)
varied = cohort.images[:, middle, middle, 1].std(axis=(1, 2))  # T2: fluid beside brain
healthy = int(np.where(cohort.table["tumour_diameter_mm"] == 0, varied, 0).argmax())
fig = plotting.image_grid(
    np.moveaxis(cohort.images[healthy] / 255, -1, 0), titles=["T1", "T2", "FLAIR"], columns=3
)
plotting.show(fig, alt="A simulated brain slice without tumour in three contrasts. Fluid in the ventricles "
              "is dark in T1, white in T2 and nearly black in FLAIR. A rim of fluid is bright in T2.")

# %% [markdown]
# Bright spots in FLAIR are no tumours. They occur with and without a tumour, on average more of them with age, and in
# some brains so many that they merge into patches.
#
# Now we measure the fluid. In all slices without a tumour, we take the brightest twentieth of the brain's pixels in
# T2; by the equation most are fluid. In T2 they are bright by choice. The test is T1 and FLAIR: how bright are the
# *same* pixels there, compared with the average of the brain? The *band* after each number says where it should
# fall for other virtual patients.

# %%
slices = cohort.images[cohort.table["tumour_diameter_mm"] == 0] / 255
brain = slices.max(axis=-1) > 0.15  # outside the brain all is zero
fluid = brain & (slices[..., 1] > np.quantile(slices[brain][:, 1], 0.95))
relative = slices[fluid].mean(axis=0) / slices[brain].mean(axis=0)

# %%
for number, name in enumerate(("t1", "t2", "flair")):
    ledger.record(f"01/fluid_{name}", relative[number], parameters, limits=(0, 10))
ledger.say(
    "Brightness of fluid, average of the brain = 1: **T1 {fluid_t1:.2f}, T2 {fluid_t2:.2f}, FLAIR {fluid_flair:.2f}** "
    "({n} slices). The simulation keeps it from being zero in FLAIR: a pixel at a border holds brain as well, "
    "the inversion time is not quite exact, and noise has no negative values.",
    n=len(slices),
)

# %% [markdown]
# Now a slice with a tumour.
#
# > **Predict** The tumour holds more water than healthy tissue. In which of the three images will you find it
# > most easily?

# %%
largest = int(cohort.table["tumour_diameter_mm"].argmax())
three = np.moveaxis(cohort.images[largest] / 255, -1, 0)
fig = plotting.image_grid(np.concatenate([three, three]), titles=["T1", "T2", "FLAIR", *3 * [""]], columns=3)
for ax in fig.axes[3:6]:
    plotting.outline(ax, cohort.masks[largest])
plotting.show(fig, alt="A simulated slice with a tumour in T1, T2 and FLAIR; below, the same with the outline of "
              "the tumour. In T2 the fluid is the brightest; in FLAIR it is dark, and the tumour and many "
              "spots are bright.")

# %% [markdown]
# How bright are the tumour, against the rest of the slice, and the fluid, as measured above?

# %%
picture, mask = cohort.images[largest] / 255, cohort.masks[largest]
around = (picture.max(axis=-1) > 0.15) & ~mask  # the rest of the slice, fluid included
tumour = picture[mask].mean(axis=0) / picture[around].mean(axis=0)
words = np.where(tumour > relative, "the tumour is the brighter one", "the fluid outshines it")
ledger.say(
    "Average of the brain = 1. In T2 this tumour has {t2:.2f}, fluid {fluid_t2:.2f}: {in_t2}. In FLAIR it has "
    "{flair:.2f}, fluid {fluid_flair:.2f}: {in_flair}.",
    t2=tumour[1], flair=tumour[2], in_t2=words[1], in_flair=words[2],
)

# %% [markdown]
# This is one virtual patient, and a tumour chosen for its size. Lesson 05 asks how often such tumours are found.
#
# ### What simbrain can and cannot show
#
# Every data set of the course has a **card**: how it was made, and what must not be concluded from it. The last two
# paragraphs matter now; you need not know every word of the others yet.

# %%
from IPython.display import Markdown

from medlib import datasets

Markdown(datasets.info("simbrain").card)

# %% [markdown]
# So: when a method works here, it *can* work. When it fails here, that is a reason to look closer. Neither says
# what happens in a hospital.
#
# ## Try it
#
# Replace the dots, run the cell, then run the check below it. The check says what is wrong, not what is right.
#
# **Exercise 01.1: from stored numbers to greys.** Write a function that takes stored values of a CT (an array of
# whole numbers), the slope and intercept of the file and the centre and width of a window in HU. It returns grey
# values in [0, 1].
#
# > **Hint** Two equations of this lesson, in the right order, and nothing below 0 or above 1.


# %% tags=["exercise"]
def to_grey(stored, slope, intercept, centre, width):
    return ...  # your code here


# %% tags=["solution"]
def to_grey(stored, slope, intercept, centre, width):
    hounsfield = slope * np.asarray(stored, dtype=float) + intercept
    return np.clip((hounsfield - centre) / width + 0.5, 0, 1)


# %%
from coursekit import check

check.exercise("01.1", to_grey)

# %% [markdown]
# **Exercise 01.2: which voxel is it?** A surgeon names a point in millimetres, in RAS coordinates. Write a
# function that returns the numbers $(i, j, k)$ of the voxel whose centre is nearest, as three whole numbers. The
# affine may rotate as well: do not assume that it only scales.
#
# > **Hint** The lesson went from voxel to millimetres with the affine. Which matrix leads back? And `int()` cuts
# > off instead of rounding.


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
# When it is right: which voxel of `activity` lies at (60, -19, 46) mm? And which one of `template`? The lesson
# printed the first. For the second, start at the voxel of the origin and count steps of 1 mm.
#
# **Exercise 01.3: the exact inversion time.** $T_I = T_1 \ln 2$ holds for a very long repetition time. Derive the
# inversion time at which a tissue gives no signal for *any* $T_R$, and write it as a function of $T_1$ and $T_R$
# (all in ms).
#
# > **Hint** Set the expression between the bars of the signal equation to zero and solve for $T_I$. For a long
# > $T_R$ you must get back $T_1 \ln 2$.


# %% tags=["exercise"]
def inversion_time(t1_ms, tr_ms):
    return ...  # your code here


# %% tags=["solution"]
def inversion_time(t1_ms, tr_ms):
    return t1_ms * np.log(2 / (1 + np.exp(-tr_ms / t1_ms)))


# %%
check.exercise("01.3", inversion_time)

# %% [markdown]
# ## In this lesson we
#
# - read CT values as a physical measurement, tested that on fat and muscle, and saw that MR and ultrasound have no
#   such unit;
# - chose windows, and counted what a careless conversion to 8 bits destroys;
# - turned pixels into millimetres, and twice caught a header that no longer fitted its pixels;
# - told left from right by vectors and letters, and saw two flips that raise no error;
# - counted what headers still tell about patients, and kept what is needed instead of deleting what we remember;
# - derived why CSF is dark in T1, bright in T2 and dark in FLAIR, and measured it on simulated images.
#
# `simbrain` is a simulation from one anatomical template: it teaches methods and says nothing about hospitals.
# Nothing here is a medical device.
#
# ## References
#
# - G. N. Hounsfield: Computed medical imaging (Nobel lecture), *Medical Physics* 7 (1980) 283-290.
# - J. H. Hubbell, S. M. Seltzer: *Tables of X-ray mass attenuation coefficients and mass energy-absorption
#   coefficients*, version 1.4, National Institute of Standards and Technology 2004, tables 2 and 4.
# - *Digital Imaging and Communications in Medicine (DICOM)*, NEMA PS3: part 3 (C.7.6.2 image plane, C.8.5.5
#   ultrasound regions, C.11 look-up tables and windows), part 15 (annex E de-identification).
#   https://www.dicomstandard.org
# - T. L. Szabo: *Diagnostic Ultrasound Imaging: Inside Out*, 2nd edition, Academic Press 2014.
# - R. W. Cox and others: A (sort of) new image data format standard: NIfTI-1, *NeuroImage* 22 (2004) e1440.
# - V. Fonov and others: Unbiased average age-appropriate atlases for pediatric studies, *NeuroImage* 54 (2011)
#   313-327.
# - M. A. Bernstein, K. F. King, X. J. Zhou: *Handbook of MRI Pulse Sequences*, Elsevier 2004.
# - Images: the test files of pydicom (CT, MR, ultrasound); the ICBM 2009a template, copyright 1993-2009 Louis
#   Collins, McConnell Brain Imaging Centre, Montreal Neurological Institute, McGill University; the activity map
#   is NeuroVault image 10426, from the package nilearn.

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
# # 02 MR images and their simulation
#
# One patient, one slice through the brain, three magnetic resonance (MR) images. The same fluid is dark in the first, bright
# in the second and dark again in the third, and a disease that is plain in one may be hidden in another. Why? In this lesson
# you paint such images yourself, from two short equations. Then you build a whole virtual patient, tumour and noise
# included. The images of this course are made like that, so you should know what they can teach.
#
# **You will**
#
# - see magnetisation recover and decay in three tissues, and paint a slice at any moment of it;
# - choose scanner times that make fluid dark, bright, or vanish;
# - bend a head, grow a tumour in it and add the faults of a scanner;
# - say what a simulated patient cannot show.
#
# **Reading:** about 45 min · **running:** about 20 s · **builds on:** [lesson 01](01_image_files.ipynb); no physics, no
# medicine

# %% tags=["install"]
import medlib

# %% tags=["parameters"]
image_size = 128  # pixels
n_subjects = 80  # virtual patients measured at the end
seed = 0  # of those patients

# %% tags=["plumbing"]
import matplotlib.pyplot as plt

parameters = {"image_size": image_size, "n_subjects": n_subjects, "seed": seed}

# %% [markdown]
# Here is our patient, a virtual one. We look from the feet: the forehead is at the top, the patient's left is on the right.
# The chambers in the middle are the **ventricles**. They hold **cerebrospinal fluid** (CSF), which also surrounds the brain.

# %%
from medlib import plotting
from medlib.simulation.cohort import simulate_cohort

plotting.use_style()
cohort = simulate_cohort(24, slices_per_subject=1, image_size=image_size, seed=0)
patient = cohort.images[5].transpose(2, 0, 1) / 255  # T1, T2 and FLAIR, grey values from 0 to 1

# %% tags=["plumbing"]
fig = plotting.image_grid(patient, titles=["T1", "T2", "FLAIR"], window=(0, 0.9), columns=3)
plotting.show(fig, alt="One brain slice three times. The ventricles in the middle are dark in T1, white in T2 and black in "
              "FLAIR. In FLAIR a bright round patch is seen beside the right-hand ventricle.")

# %% [markdown]
# > **Predict** One thing in this brain is not as it should be. Where is it, and which of the three images shows it best?
#
# <details><summary>Answer</summary>
#
# A tumour lies beside the ventricle, to the right of the middle. FLAIR shows it as a bright round patch. In T2 it is a little
# brighter than the tissue around it, but the fluid next to it is far brighter and draws the eye. In T1 there is hardly anything to
# see. (The small bright spots in FLAIR are no tumours. They become more frequent with age.)
#
# </details>
#
# T1, T2 and FLAIR are three settings of one scanner. To understand them we need a brain of which we know, in every pixel, what it
# is made of.
#
# ## A brain by numbers
#
# The [MNI template](https://nist.mni.mcgill.ca/icbm-152-nonlinear-atlases-2009/) is an average of 152 aligned brains
# ([Fonov and others 2011](https://doi.org/10.1016/j.neuroimage.2010.07.033)). It says how much of each place is **grey matter**
# (nerve cells, mostly in the folded rim) and how much **white matter** (the fibres that connect them). The rest is CSF. We cut one
# horizontal slice, 208 mm wide and 12 mm above the middle. `mm` holds the places of its columns (from the
# patient's right to the left) and rows (from front to back); 0 is the middle.

# %%
import numpy as np

from medlib.simulation import anatomy

spacing = 208 / image_size  # mm from pixel to pixel
mm = ((image_size - 1) / 2 - np.arange(image_size)) * spacing
points = anatomy.scanner_grid(mm, mm, [12.0])[0] + np.float32(anatomy.CENTRE_MM)  # x, y, z
template = anatomy.load_template()
maps = template.sample(points)  # last axis: T1, grey matter, white matter, brain

# %%
def fractions_of(maps):
    """Share of grey matter, white matter and CSF in each pixel: shape (3, height, width)."""
    grey, white, brain = maps[..., 1], maps[..., 2], maps[..., 3] >= 0.5
    total = np.maximum(grey + white, 1)
    return np.stack([grey / total, white / total, 1 - (grey + white) / total]) * brain


# %% tags=["nbval-check-output"]
names = ["grey matter", "white matter", "CSF"]
fractions = fractions_of(maps)
print(fractions.shape, "sums:", np.unique(fractions.sum(axis=0).round(3)))

# %% tags=["plumbing"]
middle = slice(image_size // 18, image_size * 17 // 18), slice(image_size // 6, image_size * 5 // 6)
fig = plotting.image_grid(fractions[:, *middle], titles=names, columns=3)
plotting.show(fig, alt="Share of three tissues in a slice of the template. Grey matter: a folded rim and islands deep inside. "
              "White matter: everything between. CSF: two horn-shaped ventricles in the middle, gaps between the folds.")

# %% [markdown]
# The three shares add up to 1 inside the brain and to 0 outside. If each tissue $k$ has a signal $S_k$, the image is a sum: in
# every pixel, share times signal.
#
# $$\text{image} = \sum_k \text{share}_k \, S_k$$

# %%
def paint(signals, fractions=fractions):
    """Image of a slice from one signal for each tissue."""
    return np.tensordot(signals, fractions, axes=1)


# %% [markdown]
# Three signals are missing. Physics gives them.
#
# ## Recovery and decay
#
# The scanner is a strong magnet. It aligns the hydrogen nuclei of the body a little, so that tissue becomes a weak magnet
# itself: it has a **magnetisation** along the field. Left alone, it is $M_0$, which grows with the number of hydrogen nuclei; we
# state it relative to water. A radio **pulse** tips the magnetisation sideways, where it turns around the field and sends out radio
# waves. Two things follow, each at its own pace ([Bloch 1946](https://doi.org/10.1103/PhysRev.70.460)). At time $t$ after the pulse:
#
# - along the field, magnetisation **recovers** with time constant $T_1$: $\;M_0 \, (1 - e^{-t/T_1})$;
# - sideways, it **decays** with time constant $T_2$: $\;M_0 \, e^{-t/T_2}$. Only this part is heard.

# %% tags=["plumbing"]
fig, axes = plt.subplots(1, 5, figsize=(8, 1.6))
for ax, title, t in zip(axes, ("before", "pulse", "0.1 s later", "1 s later", "3 s later"), (1e5, 0, 100, 1000, 3000), strict=True):
    along, sideways = 1 - np.exp(-t / 1188), np.exp(-t / 95)
    turning = np.linspace(0, 2 * np.pi)
    ax.plot(sideways * np.cos(turning), along + 0.25 * sideways * np.sin(turning), ":", color=plotting.GREY)
    for start, tip, colour in (((0, 0), (0, along), plotting.BLUE), ((0, along), (sideways, along), plotting.VERMILION)):
        if np.hypot(*np.subtract(tip, start)) > 0.02:
            ax.annotate("", tip, start, arrowprops={"arrowstyle": "-|>", "color": colour, "linewidth": 3, "shrinkA": 0, "shrinkB": 0})
    ax.set_title(title, fontsize=15)
    ax.set(xlim=(-1.1, 1.1), ylim=(-0.3, 1.1), aspect="equal")
    ax.set_axis_off()
axes[0].text(-0.12, 0.4, "along", color=plotting.BLUE, ha="right", fontsize=13)
axes[1].text(0.5, 0.35, "sideways", color=plotting.VERMILION, ha="center", fontsize=13)
plotting.show(fig, alt="Two arrows for grey matter at five moments. Before the pulse there is a long arrow upward, along the field. The pulse "
              "turns it sideways, where it circles. After 0.1 s the sideways arrow is a third as long; after 1 s it is gone and "
              "the upward one is back to more than half; after 3 s it is nearly whole.")

# %% [markdown]
# This is grey matter; the dotted circle is the turning. The sideways part dies in tenths of a second, the part along the field
# takes seconds to return.
#
# Published values for a magnet of 1.5 tesla ([Rooney and others 2007](https://doi.org/10.1002/mrm.21122),
# [Stanisz and others 2005](https://doi.org/10.1002/mrm.20605)), times in milliseconds:

# %% tags=["nbval-check-output"]
import pandas as pd

from medlib.simulation import signal

tissues = [signal.TISSUES[1.5][name] for name in ("grey", "white", "csf")]
grey, white, csf = tissues
pd.DataFrame([vars(tissue) for tissue in tissues], index=names)

# %% [markdown]
# `proton_density` is $M_0$. CSF is nearly water: slow in both, with the greatest $M_0$.

# %%
def recovered(tissue, t):
    return tissue.proton_density * (1 - np.exp(-t / tissue.t1_ms))


def remaining(tissue, t):
    return tissue.proton_density * np.exp(-t / tissue.t2_ms)


# %% [markdown]
# > **Predict** In the first film magnetisation comes back after a pulse; the slice is painted with what has
# > recovered so far. Which tissue is brightest at the start, and which at the end?

# %% tags=["plumbing"]
STYLES = [(plotting.BLUE, "-"), (plotting.VERMILION, "--"), (plotting.GREEN, "-.")]


def film(curve, times, axis, label, white=0.9):
    """Yield a figure for each time: one curve a tissue, and the slice painted with its values."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(6.6, 2.8), width_ratios=(1.5, 1))
    for tissue, name, (colour, style) in zip(tissues, names, STYLES, strict=True):
        left.plot(np.linspace(*axis), curve(tissue, np.linspace(*axis)), style, color=colour, label=name)
    left.axhline(0, color=plotting.BLACK, linewidth=0.8)
    left.set(xlabel=label, ylabel="magnetisation (water: 1)", xlim=axis), left.legend(fontsize=9)
    for t in times:
        values = [curve(tissue, t) for tissue in tissues]
        moving = [left.scatter([t] * 3, values, c=[each[0] for each in STYLES], zorder=3, clip_on=False),
                  left.axvline(t, color=plotting.GREY, linewidth=1),
                  right.imshow(paint(np.abs(values))[middle], vmin=0, vmax=white)]
        right.set(title=f"{t:.0f} ms", xticks=[], yticks=[], xlabel=f"black 0, white {white}")
        yield fig
        fig.set_layout_engine("none")  # it stays as it is: faster
        _ = [each.remove() for each in moving]


# %% tags=["plumbing"]
ALT = ("Film: after a pulse, magnetisation of grey matter, white matter and CSF recovers over nine seconds. The slice beside the "
       "curves brightens: white matter is brightest at first, then grey matter, at the end CSF.")
plotting.show_animation(film(recovered, np.arange(400, 9001, 781), (0, 9000), "time after the pulse (ms)"), alt=ALT)

# %% [markdown]
# White matter leads: its $T_1$ is shortest. After two seconds grey matter, with more hydrogen, overtakes it. CSF comes last and
# ends brightest: the order is reversed.
#
# The second film begins with everything recovered, tips it sideways and lets it decay.

# %% tags=["plumbing"]
ALT = ("Film: sideways magnetisation of the three tissues decays over 300 milliseconds. Grey and white matter fade quickly; the "
       "slice darkens until only the CSF in the ventricles and around the brain still shines.")
plotting.show_animation(film(remaining, np.arange(0, 301, 25), (0, 300), "time after the pulse (ms)"), alt=ALT)

# %% [markdown]
# After 0.3 s grey and white matter are nearly gone. CSF has hardly faded.
#
# ## Two times to choose
#
# A scan repeats the pulse many times. The operator chooses
#
# - the **repetition time** TR from one pulse to the next: how long tissue may recover;
# - the **echo time** TE from the pulse to the measurement: how long the signal decays.

# %% tags=["plumbing"]
tr, te = 1500, 150
t = np.linspace(0, 3 * tr - 1, 3000)
fig, axes = plt.subplots(2, 1, figsize=(8, 4.2), sharex=True)
for tissue, name, (colour, style) in list(zip(tissues, names, STYLES, strict=True))[::2]:
    axes[0].plot(t, recovered(tissue, t % tr), style, color=colour, label=name)
    ready = recovered(tissue, tr) / tissue.proton_density
    axes[1].plot(t, ready * remaining(tissue, t % tr), style, color=colour)
for pulse in (0, tr, 2 * tr):
    for ax in axes:
        ax.axvline(pulse, color=plotting.BLACK, linewidth=3)
    axes[1].axvline(pulse + te, color=plotting.GREY, linestyle=":")
axes[0].annotate("", (0, 0.85), (tr, 0.85), arrowprops={"arrowstyle": "<->"})
axes[0].text(tr / 2, 0.88, "TR", ha="center")
axes[1].text(te + 30, 0.5, "TE: measured here", color=plotting.GREY)
axes[0].set(ylabel="along the field", ylim=(0, 1)), axes[0].legend(loc="upper right", fontsize=10)
axes[1].set(ylabel="sideways", xlabel="time (ms); thick lines are pulses", ylim=(0, 0.6))
plotting.show(fig, alt="Three pulses, 1500 ms apart. Along the field, grey matter recovers to 72 % of its full height before the next pulse, "
              "CSF to less than a third; each pulse sets both to zero. Sideways, each pulse starts a decay from that height, "
              "and the signal is measured 150 ms later.")

# %% [markdown]
# These are three of many pulses. The upper curve climbs until the next pulse. What it has reached is tipped sideways, becomes the
# start of the lower curve, and decays until TE. (What is left sideways is wiped out before the next pulse.) Its height at TE is the
# **spin-echo** equation, for TE short against TR
# ([Bernstein, King and Zhou 2004](https://doi.org/10.1016/B978-0-12-092861-3.X5000-6), section 14.3):
#
# $$S = M_0 \; \underbrace{\left(1 - e^{-\mathrm{TR} / T_1}\right)}_{\text{recovered}} \;
# \underbrace{e^{-\mathrm{TE} / T_2}}_{\text{not yet decayed}}$$

# %%
def spin_echo(tissue, tr, te):
    """Signal of a spin echo; times in ms."""
    return recovered(tissue, tr) * np.exp(-te / tissue.t2_ms)


# %% [markdown]
# <details><summary>Why "echo"?</summary>
#
# No magnet is perfectly even, and where the field is stronger, nuclei turn faster. Soon their signals cancel. A second pulse
# at TE/2 flips them, so that the fast ones are behind, and at TE all meet again: an echo. What is lost even then is $T_2$ decay.
#
# </details>
#
# > **Predict** Setting A: TR 520 ms, TE 14 ms. Setting B: TR 4500 ms, TE 100 ms. Which tissue is brightest in A, which in B?

# %% tags=["nbval-check-output"]
table = {
    "A: TR 520, TE 14": [spin_echo(tissue, 520, 14) for tissue in tissues],
    "B: TR 4500, TE 100": [spin_echo(tissue, 4500, 100) for tissue in tissues],
}
pd.DataFrame(table, index=names).round(2)

# %% [markdown]
# Painted, and divided by the brightest tissue:

# %%
images = np.stack([paint(signals) / max(signals) for signals in table.values()])

# %% tags=["plumbing"]
fig = plotting.image_grid(images[:, *middle], titles=list(table), window=(0, 1.05), columns=2)
plotting.show(fig, alt="The slice painted with two settings. A: white matter bright, grey matter darker, CSF dark. "
              "B: CSF white, grey matter dark grey, white matter darker still.")

# %% [markdown]
# A leaves little time to recover: the short $T_1$ of white matter wins and CSF is dark. This is a **T1-weighted** image, T1 for
# short. In B nearly all has recovered, and after 100 ms only CSF has kept its signal: a **T2-weighted** image. "Weighted",
# because the other constants still take part. A scanner scales each image as it likes, as we just did: **MR grey values have no
# unit**, unlike the Hounsfield units of [lesson 01](01_image_files.ipynb). [Lesson 04](04_grey_values_and_leaks.ipynb) deals with
# the consequences.
#
# Diseased tissue often holds more water, so its $T_1$ and $T_2$ are longer: it shines in T2. But beside a ventricle, which
# shines more, it is easily overlooked.
#
# **Exercise 02.1: choose a repetition time.** Write a function that gets a list of repetition times and returns the one
# at which the signal of `white` exceeds that of `grey` most. The echo time is 14 ms.
#
# > **Hint** Signals for all times at once: `spin_echo(white, np.array(times), 14)`. `np.argmax` tells the position of the largest.


# %% tags=["exercise"]
def best_repetition_time(times, white, grey):
    return ...  # your code here


# %% tags=["solution"]
def best_repetition_time(times, white, grey):
    difference = spin_echo(white, np.array(times), 14) - spin_echo(grey, np.array(times), 14)
    return times[np.argmax(difference)]


# %%
from coursekit import check

check.exercise("02.1", best_repetition_time)

# %% [markdown]
# When it is right, call `best_repetition_time(range(100, 3001, 20), white, grey)`. How good was setting A? All solutions
# are [here](solutions/02_mr_simulation.ipynb).
#
# <details><summary>Answer</summary>
#
# 560 ms is best, and 520 ms loses next to nothing: white matter leads by 0.0646 instead of 0.0649.
#
# </details>
#
# ## Making the fluid vanish
#
# **FLAIR** (fluid-attenuated inversion recovery, [Hajnal and others 1992](https://doi.org/10.1097/00004728-199211000-00001))
# begins with a stronger pulse that turns the magnetisation upside down. It recovers *through zero*. After the **inversion
# time** TI come the usual pulse and echo. TR now runs from one inversion to the next, and after the
# measuring pulse only TR - TI is left to recover: the last term. An image shows the signal's size, not its sign (Bernstein and others,
# section 14.2):
#
# $$S = M_0 \; \left| 1 - 2 e^{-\mathrm{TI} / T_1} + e^{-\mathrm{TR} / T_1} \right| \; e^{-\mathrm{TE} / T_2}$$

# %%
def inversion_recovery(tissue, tr, te, ti):
    """Signal of a spin echo after an inversion, with its sign; times in ms."""
    along = 1 - 2 * np.exp(-ti / tissue.t1_ms) + np.exp(-tr / tissue.t1_ms)
    return tissue.proton_density * along * np.exp(-te / tissue.t2_ms)


# %% [markdown]
# In the next film TI grows to 4 s, at TR 9 s and TE 0. The curves keep their sign; the picture shows the size. Which tissue turns
# black when?

# %% tags=["plumbing"]
ALT = ("Film: signal against inversion time, from negative through zero to positive. First white matter turns black in the slice, "
       "then grey matter, and near 2500 ms the CSF, while grey and white matter are bright.")
times = [200, 320, 440, 560, 680, 800, 920, 1200, 1500, 1800, 2100, 2350, 2481, 2600, 2900, 3400, 4000]
plotting.show_animation(film(lambda tissue, ti: inversion_recovery(tissue, 9000, 0, ti), times, (0, 4000),
                             "inversion time TI (ms)", 0.8), alt=ALT, milliseconds=300)

# %% [markdown]
# White matter first, then grey, and CSF last: the order of $T_1$. By then the other two have nearly recovered: the brain is bright,
# the fluid black.
#
# Where exactly is the zero? If TR is very long, the last term is 0. What remains, $1 - 2e^{-\mathrm{TI}/T_1}$, is
# zero at $\mathrm{TI} = T_1 \ln 2$. We test that for CSF, and see what is left of the equation if $\mathrm{TI} = 0$.

# %% tags=["nbval-check-output"]
ti = np.log(2) * csf.t1_ms
for tr in (1_000_000, 9000):
    print(f"TI {ti:.0f}, TR {tr} ms: CSF {inversion_recovery(csf, tr, 0, ti):.3f}")
size = abs(inversion_recovery(csf, 520, 14, 0))
print("TI = 0 gives the spin echo:", np.isclose(size, spin_echo(csf, 520, 14)))

# %% [markdown]
# For an endless TR the signal is zero, as it must be. For 9 s, only twice the $T_1$ of CSF, it is not: the zero comes earlier,
# near 2.5 s, as in the film. With $\mathrm{TI} = 0$ the equation becomes the spin echo's: one function is enough for all three images.
#
# **Exercise 02.2: the exact inversion time.** At which TI does a tissue give no signal if TR is *not* endless? Write it
# as a function of $T_1$ and TR, in ms.
#
# > **Hint** Set the expression between the bars to zero and solve for TI. For a long TR you must get back $T_1 \ln 2$.


# %% tags=["exercise"]
def inversion_time(t1_ms, tr_ms):
    return ...  # your code here


# %% tags=["solution"]
def inversion_time(t1_ms, tr_ms):
    return t1_ms * np.log(2 / (1 + np.exp(-tr_ms / t1_ms)))


# %%
check.exercise("02.2", inversion_time)

# %% [markdown]
# For CSF and a TR of 9 s the answer is 2481 ms. Now all three images from one function. FLAIR also has a long TE: a T2-weighted
# image without the fluid.

# %%
def scan(tr=9000, te=120, ti=2481):
    """Image for any three times; the brightest tissue becomes 1."""
    signals = [abs(inversion_recovery(tissue, tr, te, ti)) for tissue in tissues]
    return paint(signals) / max(signals)


images = np.stack([scan(520, 14, 0), scan(4500, 100, 0), scan(9000, 120, 2481)])

# %% tags=["plumbing"]
fig = plotting.image_grid(images[:, *middle], titles=["T1", "T2", "FLAIR"], window=(0, 1.05), columns=3)
plotting.show(fig, alt="The slice painted with three settings. T1: white matter bright, CSF dark. T2: CSF white. FLAIR: CSF "
              "black, grey matter a little brighter than white matter.")

# %% [markdown]
# Dark, bright, dark: that solves the riddle of the first picture, with one equation. Move TR, TE and TI yourself. Can you make
# grey matter vanish? (Use a long TR; where is $T_1 \ln 2$?)

# %%
import ipywidgets


def show_scan(tr, te, ti):
    image = scan(tr, te, min(ti, tr))[middle]  # TI is part of TR; without the empty margin
    fig = plotting.image_grid(image[None], window=(0, 1.05))
    plotting.show(fig, alt=f"The slice at TR {tr}, TE {te} and TI {ti} ms.")


_ = ipywidgets.interact(show_scan, tr=(200, 9000, 100), te=(10, 200, 5), ti=(0, 4000, 20))

# %% [markdown]
# > **Note** Most scans today record many echoes after each pulse, or use other sequences. Then these two equations, which simbrain
# > uses, hold only roughly.
#
# ## A virtual patient in four steps
#
# **simbrain** is the data set that this course always has at hand. Each of its patients is made in four steps: a head, perhaps a
# tumour, contrast, and the faults of a scanner.
#
# ### Step 1: bend the head
#
# All heads are the template, turned, scaled and smoothly bent at random. A head says which point of the template is seen at each
# point in the scanner.

# %%
generator = np.random.default_rng(2)
heads = [anatomy.random_head(generator) for _ in range(3)]
bent = [head.to_template(mm, mm, [12.0])[0] for head in heads]  # x, y, z in the template, mm

# %% tags=["plumbing"]
fig, axes = plt.subplots(1, 4, figsize=(8, 2.7))
for ax, places, title in zip(axes, [points, *bent], ["template", "head 1", "head 2", "head 3"], strict=True):
    ax.imshow(paint(table["A: TR 520, TE 14"], fractions_of(template.sample(places))), vmin=0, vmax=0.35)
    for axis in (0, 1):
        ax.contour(places[..., axis], np.arange(-200, 200, 20), colors=plotting.ORANGE, linewidths=0.8, linestyles="solid")
    ax.set_title(title, fontsize=11)
    ax.set_axis_off()
fig.supxlabel("setting A, window 0 (black) to 0.35 (white)", fontsize=10, color=plotting.GREY)
plotting.show(fig, alt="The template slice under a straight grid, and the same slice in three heads, where the grid is turned and "
              "gently bent and the brain has another size and outline.")

# %% [markdown]
# Follow the orange lines: on the template they are straight, 20 mm apart. In the heads they turn and bend, but never
# double back: tissue is stretched, not folded.
#
# ### Step 2: grow a tumour
#
# A **glioma** is a tumour of the brain's supporting cells. Its cells divide, and they wander into healthy tissue. The
# **Fisher-Kolmogorov equation** holds both ([Swanson and others 2000](https://doi.org/10.1046/j.1365-2184.2000.00177.x)):
#
# $$\frac{\partial c}{\partial t} = \underbrace{\nabla \cdot (D \, \nabla c)}_{\text{wandering}} +
# \underbrace{\rho \, c \, (1 - c)}_{\text{dividing}}$$
#
# Here $c$ is the density of tumour cells, as a share of the most that tissue can hold; $t$ is the time in days. The first term moves
# cells from crowded places to emptier ones, as ink spreads in water; the **motility** $D$ (mm² a day) says how fast. The second lets
# them multiply until the place is full; the **proliferation** $\rho$ (per day) says how fast. We start on a line, 120 mm of one
# tissue with tumour at its left end, and let it grow for 800 days.

# %%
from medlib.simulation import tumour

D, rho = 0.13, 0.03  # a fast tumour in white matter
line = np.full(240, D)  # one place every 0.5 mm
cells = np.float32(np.arange(240) < 4)
profiles = []
for _ in range(8):
    cells = tumour.grow(cells, line, proliferation_per_day=rho, spacing_mm=0.5, days=100)
    profiles.append(cells)

# %% tags=["plumbing"]
position = np.arange(240) * 0.5
fig, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2))
for number, profile in enumerate(profiles, start=1):
    left.plot(position, profile, color=plt.cm.viridis(number / 9), linewidth=1.5)
left.text(0, 1.04, "day 100", fontsize=10)
left.text(np.interp(-0.5, -profiles[-1], position), 1.04, "day 800", fontsize=10, ha="center")
left.axhline(tumour.VISIBLE_CONCENTRATION, color=plotting.GREY, linestyle=":")
left.set(xlabel="position (mm)", ylabel="density of tumour cells c", ylim=(-0.03, 1.15))
days = np.arange(100, 801, 100)
fronts = [np.interp(-0.16, -profile, position) for profile in profiles]
right.plot(days, fronts, "o", label="front (c = 0.16)")
theory = fronts[0] + 2 * np.sqrt(D * rho) * (days - 100)
right.plot(days, theory, color=plotting.VERMILION, label=r"speed $2\sqrt{D\rho}$")
right.set(xlabel="day", ylabel="front (mm)")
right.legend(fontsize=10)
plotting.show(fig, alt="Left: density of tumour cells along a line on day 100, 200 and so on to 800. The curves have one shape and "
              "equal distances. Right: the front against the day, a little below the straight line of the predicted speed.")

# %% [markdown]
# The tumour becomes a **travelling wave**: one shape, moving at a nearly steady speed. The dotted line, $c = 0.16$, is the least that
# a T2 image is taken to show ([Swanson and others 2008](https://doi.org/10.1038/sj.bjc.6604125)); where a curve crosses it is the front
# (`fronts`, in mm). Theory says that its speed slowly climbs to $2\sqrt{D\rho}$
# ([Fisher 1937](https://doi.org/10.1111/j.1469-1809.1937.tb02153.x)), so the dots fall a little behind. In the last 100 days, in mm a day:

# %% tags=["nbval-check-output"]
print(f"measured {(fronts[-1] - fronts[-2]) / 100:.3f}, theory {2 * np.sqrt(D * rho):.3f}")

# %% [markdown]
# > **Predict** In grey matter simbrain's cells move with a tenth of the motility. How much slower is the front there?
#
# <details><summary>Answer</summary>
#
# By the square root: $\sqrt{10}$, about three times, not ten. So a tumour is held up by grey matter. In CSF $D = 0$: it is a
# wall.
#
# </details>
#
# Now in three dimensions, in the first head (`head`). We cut a box of tissue maps beside a ventricle (`around`) and plant a small
# ball of tumour (`cells`) in its middle (`centre_mm`). Motility follows from the tissue.

# %% tags=["plumbing"]
head = heads[0]
centre_mm = head.from_template(np.array([[-27.0, -22.0, 24.0]]))[0]
columns, rows = (np.abs(mm - centre_mm[axis]) < 42 for axis in (0, 1))
heights = centre_mm[2] + np.arange(-26, 26.1, spacing)
around = template.sample(head.to_template(mm[columns], mm[rows], heights))
layer = len(heights) // 2
box = anatomy.scanner_grid(mm[columns], mm[rows], heights)
cells = 0.8 * np.float32(np.linalg.norm(box - np.float32(centre_mm), axis=-1) < 3.5)

# %%
grey_map, white_map, brain_map = around[..., 1], around[..., 2], around[..., 3]
motility = tumour.motility_map(grey_map, white_map, brain_map, white_mm2_per_day=D)
stages = [cells]
for _ in range(18):
    cells = tumour.grow(cells, motility, proliferation_per_day=rho, spacing_mm=spacing, days=15)
    stages.append(cells)

# %% tags=["plumbing"]
def growth():
    """Yield a figure for every stage."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(6.6, 2.9), width_ratios=(1, 1.3))
    days = 15 * np.arange(len(stages))
    radius = [(3 / 4 / np.pi * (stage >= 0.16).sum()) ** (1 / 3) * spacing for stage in stages]
    slice_ = paint([0.45, 0.3, 1], fractions_of(around[layer]))
    right.plot(days, radius, color=plotting.GREY)
    (dot,) = right.plot([0], [0], "o", color=plotting.ORANGE)
    right.set(xlabel="day", ylabel="radius of equal ball (mm)")
    for number in range(len(stages)):
        left.clear()
        left.imshow(slice_, vmin=0, vmax=1)
        density = np.ma.masked_less(stages[number][layer], 0.03)
        left.imshow(density, cmap="YlOrRd", vmin=0, vmax=1, alpha=0.75)
        plotting.outline(left, stages[number][layer] >= 0.16, colour=plotting.SKY)
        left.set_title(f"day {days[number]}", fontsize=11), left.set_axis_off()
        dot.set_data([days[number]], [radius[number]])
        yield fig
        fig.set_layout_engine("none")


# %% tags=["plumbing"]
ALT = ("Film: density of tumour cells over a slice. A small ball beside a ventricle grows, cannot enter the fluid, creeps around "
       "it, and is held up by grey matter. Its radius grows nearly along a straight line.")
plotting.show_animation(growth(), alt=ALT)

# %% [markdown]
# Yellow is few tumour cells, red many; the blue line encloses what a T2 image would show. The tumour cannot enter the ventricle
# (white), creeps around its end, and is a little dented on the right, where grey matter holds it up. Its radius soon grows by
# equal steps: the wave again, slower because its front is curved.
#
# simbrain's `random_tumour` does the same in a coarser box until a radius is reached, and then lets the tumour **push** the tissue
# around it aside. The **grade** (here 2 to 4) says how malignant it is: 4 moves and pushes most.

# %%
coarse = anatomy.load_template(2)  # a voxel every 2 mm
grown = tumour.random_tumour(
    head, coarse, centre_mm=centre_mm, radius_mm=17.0, grade=4, rng=generator
)

# %% [markdown]
# Through its centre we cut three maps: `still`, the shares of tissue without tumour; `pushed`, the same after the push; and
# `density`, the tumour cells $c$.

# %% tags=["plumbing"]
straight = head.to_template(mm, mm, centre_mm[2:])[0]
maps, bulged = template.sample(straight), straight.copy()
still = fractions_of(maps)
rows, columns = grown.covers(1, mm), grown.covers(2, mm)
before, inside = grown.undo(anatomy.scanner_grid(mm[columns], mm[rows], centre_mm[2:])[0])
bulged[rows, columns] = head.place(before)
maps[rows, columns, :3] = template.sample(bulged[rows, columns])[..., :3]
pushed, density = fractions_of(maps), np.zeros((image_size, image_size))
density[rows, columns] = inside

# %% [markdown]
# The density decides what a pixel becomes. In simbrain, few tumour cells mean tissue swollen with water (**oedema**), and many mean
# tumour. (We leave out **necrosis**, dead tissue.)

# %%
def with_tumour(fractions, c):
    """Shares of grey matter, white matter, CSF, tumour and oedema."""
    grey, white, csf = fractions
    ill = np.clip(c / 0.16 - 0.5, 0, 1)  # 0 below c = 0.08, 1 above 0.24
    core = np.clip((c - 0.45) / 0.35, 0, 1)  # 0 below c = 0.45, 1 above 0.8
    healthy, lesion = 1 - ill, ill * (grey + white)
    return np.stack([healthy * grey, healthy * white, csf, lesion * core, lesion * (1 - core)])


# %% tags=["nbval-check-output"]
tissue = with_tumour(pushed, density)
print(tissue.shape, "sums:", np.unique(tissue.sum(axis=0).round(3)))

# %% tags=["plumbing"]
near = tuple(slice(*(np.abs(mm - centre_mm[axis] - shift) < 50).nonzero()[0][[0, -1]]) for axis, shift in ((1, 0), (0, 10)))
fig, axes = plt.subplots(1, 3, figsize=(8, 3))
for ax, shares, places, title in zip(axes, (still, pushed), (straight, bulged), ("before", "pushed aside"), strict=False):
    ax.imshow(paint([0.55, 0.8, 0.1], shares)[near], vmin=0, vmax=1)
    ax.set_title(title)
    for axis in (0, 1):
        ax.contour(places[near][..., axis], np.arange(-200, 200, 8), colors=plotting.ORANGE, linewidths=0.8, linestyles="solid")
plotting.outline(axes[1], density[near] >= 0.16, colour=plotting.BLUE)
colours = np.array([(0.55, 0.55, 0.55), (0.85, 0.85, 0.85), (0.1, 0.1, 0.1), (0.84, 0.37, 0), (0.34, 0.71, 0.91)])
axes[2].imshow(np.clip(np.moveaxis(tissue, 0, -1) @ colours, 0, 1)[near])
axes[2].set_title("what it is made of")
for name, colour in (("tumour", plotting.VERMILION), ("oedema", plotting.SKY)):
    axes[2].plot([], [], "s", color=colour, label=name)
axes[2].legend(loc="lower right", fontsize=9, facecolor="white", framealpha=1, frameon=True, handletextpad=0.1)
for ax in axes:
    ax.set_axis_off()
plotting.show(fig, alt="The part of head 1 around the tumour. Left: without it, under a grid. Middle: the grid bulges where tissue is "
              "pushed aside. Right: an orange core of tumour in a ring of blue oedema.")

# %% [markdown]
# Compare the lines (8 mm apart): they bulge around the tumour, and the ventricle is a little narrower.
# The blue outline is the **mask**, the answer that a network should learn: $c \ge 0.16$, tumour and most of the oedema. Nobody had
# to draw it. (Here it takes in the tip of the ventricle.)
#
# ### Step 3: contrast
#
# Every tissue, diseased or healthy, has its $M_0$, $T_1$ and $T_2$, so the equations give it a brightness. simbrain has four hospitals,
# or **sites**, each with its own TR, TE and TI, which vary a little from patient to patient. It scales each image as a scanner would
# (0 is black, 1 white).

# %% tags=["nbval-check-output"]
from medlib.simulation import scanner

site = scanner.SITES[0]
_, brightness = scanner.random_scan(site, np.random.default_rng(1))
brightness = pd.DataFrame(brightness, index=["T1", "T2", "FLAIR"], columns=signal.TISSUE_NAMES)
brightness = brightness[["grey", "white", "csf", "tumour", "oedema"]]
brightness.round(2)

# %%
clean = np.stack([paint(row, tissue) for row in brightness.to_numpy()])

# %% tags=["plumbing"]
fig = plotting.image_grid(clean[:, *middle], titles=["T1", "T2", "FLAIR"], window=(0, 0.9), columns=3)
plotting.show(fig, alt="The patient without scanner faults. T1: the tumour is a little darker than white matter. T2: grey, beside "
              "white ventricles. FLAIR: by far the brightest, beside black ventricles.")

# %% [markdown]
# In T2 the tumour outshines healthy brain, and CSF outshines both. In FLAIR tumour and oedema are brightest, and CSF is nearly 0.
#
# ### Step 4: the faults of a scanner
#
# A scanner blurs. Its antenna hears some places better than others: the **bias field**, a slow change of brightness that multiplies
# the image. And it adds **noise**.

# %%
from scipy import ndimage

generator = np.random.default_rng(8)
blurred = ndimage.gaussian_filter(clean[2], site.blur_mm / spacing)
field = scanner.bias_field((1, image_size, image_size, 1), site.bias, generator)[0, ..., 0]
biased = blurred * field
noisy = scanner.add_rician_noise(biased, site.noise, generator)

# %% tags=["plumbing"]
fig, axes = plt.subplots(1, 4, figsize=(8, 3.1))
for ax, picture, title in zip(axes, (blurred, field, biased, noisy), ("blurred", "bias field", "multiplied", "noise"),
                              strict=True):
    limits = {"cmap": "RdBu_r", "vmin": 0.6, "vmax": 1.4} if picture is field else {"vmin": 0, "vmax": 0.8}
    shown = ax.imshow(picture[middle], **limits)
    ax.set_title(title)
    ax.set_axis_off()
    if picture is field:
        fig.colorbar(shown, ax=ax, orientation="horizontal", ticks=(0.6, 1, 1.4), pad=0.02)
fig.supxlabel("images: window 0 (black) to 0.8 (white)", fontsize=10, color=plotting.GREY)
plotting.show(fig, alt="FLAIR of the patient blurred; a bias field, below 1 in one part of the head and above 1 in another; their "
              "product; and the product with noise, also in the air around the head.")

# %% [markdown]
# Look closer at the noise. The receiver measures two numbers, the **real** and the **imaginary** part of the signal, and each gets
# Gaussian noise with standard deviation $\sigma$ and mean 0. The image shows their length, $\sqrt{\text{real}^2 +
# \text{imaginary}^2}$. Such lengths follow the **Rician** distribution ([Gudbjartsson and Patz
# 1995](https://doi.org/10.1002/mrm.1910340618)).
#
# > **Predict** In the air around the head there is no signal, and the noise has mean 0. What is the mean of the *image* there:
# > 0, $\sigma$, or something else?

# %% tags=["nbval-check-output"]
air = scanner.add_rician_noise(np.zeros((1000, 1000)), site.noise, generator)
print(f"mean of air: {air.mean() / site.noise:.2f} sigma")

# %% tags=["plumbing"]
fig, (left, right) = plt.subplots(1, 2, figsize=(8, 3.3), width_ratios=(1, 1.2))
cloud = generator.normal(0, 1, (2, 20_000))
for true, name, colour in ((0, "air", plotting.BLUE), (5, "tissue", plotting.VERMILION)):
    left.plot(cloud[0, :400] + true, cloud[1, :400], ".", color=colour, markersize=3, alpha=0.6)
    right.hist(np.hypot(cloud[0] + true, cloud[1]), 60, density=True, color=colour, alpha=0.6, label=name)
left.plot([0, 1.1], [0, 1.6], color=plotting.BLACK)
left.plot(1.1, 1.6, "o", color=plotting.BLACK, markersize=4)
left.text(-0.2, 2.9, "length", fontsize=10)
left.set(xlabel=r"real part ($\sigma$)", ylabel=r"imaginary part ($\sigma$)", aspect="equal")
right.axvline(np.sqrt(np.pi / 2), color=plotting.BLACK, linestyle=":")
right.set(xlabel=r"grey value ($\sigma$)", ylabel="share per $\\sigma$")
right.legend(fontsize=10)
plotting.show(fig, alt="Left: noisy measurements as dots in the plane of real and imaginary part, around 0 for air and around 5 for "
              "tissue. Right: histograms of their distance from 0. Tissue has a bell around 5. Air has a skewed hill that begins at "
              "0, with its mean at 1.25.")

# %% [markdown]
# Left, each dot is a pixel; the black line is the length of one. A length is never negative, so noise in air cannot cancel: its mean is
# $\sigma\sqrt{\pi/2} \approx 1.25\,\sigma$, the dotted line. So even silent CSF is not quite black in FLAIR, and averaging such images
# does not make it so. In bright tissue the noise is nearly Gaussian.
#
# simbrain then sets everything outside the brain to 0 and rounds to 256 grey levels. We left out small bright spots in
# the white matter (more with age) and dark vessels, both with and without a tumour, and faint tumours, which replace only a part of
# the tissue.
#
# **Exercise 02.3: measure the noise.** An unknown scanner sends you an image. Write a function that gets the grey values of its
# *air* and returns $\sigma$, the noise of the real and the imaginary part.
#
# > **Hint** You know the mean of air as a multiple of $\sigma$. The standard deviation of air is *not* $\sigma$.


# %% tags=["exercise"]
def noise_level(air):
    return ...  # your code here


# %% tags=["solution"]
def noise_level(air):
    return np.mean(air) / np.sqrt(np.pi / 2)


# %%
check.exercise("02.3", noise_level)

# %% [markdown]
# ## Does FLAIR keep its promise?
#
# FLAIR should keep fluid from outshining disease. Does it, after blur, bias field and noise, and for tumours of all
# sizes? We make new virtual patients, one slice each, half of them with a tumour, and divide the tumour's mean brightness by that of
# the fluid. As fluid we take the darkest twentieth of the rest of the brain in *T1*.

# %%
new = {"slices_per_subject": 1, "image_size": image_size, "seed": 20302 + seed}
virtual = simulate_cohort(n_subjects, **new)
ratios = []
for image, mask in zip(virtual.images / 255, virtual.masks, strict=True):
    if mask.any():
        rest = (image.max(axis=-1) > 0) & ~mask
        fluid = rest & (image[..., 0] < np.quantile(image[rest][:, 0], 0.05))
        ratios.append(image[mask].mean(axis=0) / image[fluid].mean(axis=0))

# %% tags=["plumbing"]
from coursekit import ledger
from medlib.evaluation.statistics import wilson_interval

ratios = np.array(ratios)
ledger.record("02/tumour_to_fluid_t2", ratios[:, 1].mean(), parameters, chance=1)
ledger.record("02/tumour_to_fluid_flair", ratios[:, 2].mean(), parameters, chance=1)
n, brighter = len(ratios), (ratios > 1).sum(axis=0)
bounds = [wilson_interval(int(count), n) for count in brighter]
ledger.say(
    "Brightness of the tumour, fluid = 1, mean of {n} patients: **T2 {tumour_to_fluid_t2:.2f}, FLAIR "
    "{tumour_to_fluid_flair:.2f}**. The tumour is the brighter one in {t2} of {n} patients in T2 (95 % interval "
    "{a.low:.0%} to {a.high:.0%}) and in {flair} of {n} in FLAIR ({b.low:.0%} to {b.high:.0%}).",
    n=n, t2=brighter[1], flair=brighter[2], a=bounds[1], b=bounds[2],
)

# %% [markdown]
# In T2 the fluid wins, in FLAIR the tumour. The table in step 3 promised far more: noise that cannot cancel, blur and pixels that
# are only partly fluid make it brighter. In real scans, CSF that flows may stay bright. (The *band* behind a recorded number, 99 %
# from ten runs, says where it should fall for other virtual patients.)
#
# The first patient again, with the mask:

# %% tags=["plumbing"]
fig = plotting.image_grid(patient, titles=["T1", "T2", "FLAIR"], window=(0, 0.9), columns=3)
for ax in fig.axes[:3]:
    plotting.outline(ax, cohort.masks[5])
plotting.show(fig, alt="The first patient again, with the outline of the tumour beside the ventricle. In FLAIR the outline "
              "follows the bright patch; in T2 the ventricle next to it is brighter.")

# %% [markdown]
# ## What simbrain cannot show
#
# Six of the new patients without a tumour, in T1, cut at nearly the same height:

# %% tags=["plumbing"]
healthy = virtual.table[virtual.table["grade"] == 0]
chosen = (healthy["slice_position_mm"] - 12).abs().nsmallest(6).index
fig = plotting.image_grid(virtual.images[chosen, ..., 0] / 255, window=(0, 0.9), columns=3)
plotting.show(fig, alt="T1 images of six virtual patients without a tumour, cut at nearly the same height. Sizes and tilts differ, but "
              "folds and ventricles have the same shapes, and left and right mirror each other.")

# %% [markdown]
# Sizes, tilts and brightness differ. But it is one brain, six times: the same folds, blurred by averaging, left and right
# as mirror images. Nobody has had a stroke or an operation, or has moved in the scanner. From simbrain's card:

# %% tags=["nbval-check-output"]
from IPython.display import Markdown

from medlib import datasets

card = datasets.info("simbrain").card
Markdown(card[card.index("**It can show**"):])

# %% [markdown]
# So a method that works here *can* work, and one that fails here deserves a second look. Neither says what happens in a
# hospital. Nothing here is a medical device.
#
# **In this lesson we**
#
# - painted a slice from three shares of tissue and three signals;
# - let magnetisation recover with $T_1$ and decay with $T_2$, and chose TR, TE and TI: fluid dark (T1), bright (T2) and gone (FLAIR);
# - built a patient: a bent head, a tumour that travels at $2\sqrt{D\rho}$ and pushes, contrast, blur, bias field and Rician noise;
# - measured that fluid outshines these tumours in T2 and not in FLAIR, and saw that all these patients are one brain, bent.
#
# **Next** A folder of images arrives. Before anything is learnt from it, it must be cleaned: [lesson
# 03](03_cleaning_and_geometry.ipynb).
#
# **References**
#
# - M. A. Bernstein, K. F. King, X. J. Zhou: [*Handbook of MRI Pulse Sequences*](https://doi.org/10.1016/B978-0-12-092861-3.X5000-6), 2004.
# - F. Bloch: [*Physical Review* 1946](https://doi.org/10.1103/PhysRev.70.460).
# - R. A. Fisher: [*Annals of Eugenics* 1937](https://doi.org/10.1111/j.1469-1809.1937.tb02153.x).
# - V. Fonov and others: [*NeuroImage* 2011](https://doi.org/10.1016/j.neuroimage.2010.07.033).
# - H. Gudbjartsson, S. Patz: [*Magnetic Resonance in Medicine* 1995](https://doi.org/10.1002/mrm.1910340618).
# - J. V. Hajnal and others: [*Journal of Computer Assisted Tomography* 1992](https://doi.org/10.1097/00004728-199211000-00001).
# - W. D. Rooney and others: [*Magnetic Resonance in Medicine* 2007](https://doi.org/10.1002/mrm.21122).
# - G. J. Stanisz and others: [*Magnetic Resonance in Medicine* 2005](https://doi.org/10.1002/mrm.20605).
# - K. R. Swanson, E. C. Alvord, J. D. Murray: [*Cell Proliferation* 2000](https://doi.org/10.1046/j.1365-2184.2000.00177.x).
# - K. R. Swanson, R. C. Rostomily, E. C. Alvord: [*British Journal of Cancer* 2008](https://doi.org/10.1038/sj.bjc.6604125).
# - Template: ICBM 2009a, copyright 1993-2009 Louis Collins, McConnell Brain Imaging Centre, Montreal Neurological Institute, McGill University ([licence](https://nist.mni.mcgill.ca/icbm-152-nonlinear-atlases-2009/)).

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
# in the second and dark again in the third, and a disease that is easy to see in one may be hidden in another. Why? In this lesson
# you paint such images yourself, from two short equations. Then you build a whole virtual patient, tumour and noise
# included: that is how the images of this course are made, so you should know what they can teach and what they cannot.
#
# **You will**
#
# - see how magnetisation recovers and decays in three tissues, and paint a slice at any moment of it;
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
# A tumour lies right beside the ventricle, a little to the right of the middle. FLAIR shows it as a bright round patch. In T2 it
# is bright too, but the fluid next to it is brighter and draws the eye. In T1 it is slightly darker than its surroundings. The
# small bright spots in FLAIR are harmless here: many people collect them with age.
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
# (nerve cells, mostly in the folded rim) and how much **white matter** (the fibres between them). The rest is CSF. We cut one
# horizontal slice.

# %%
import numpy as np

from medlib.simulation import anatomy

field_mm = 208  # width and height of the slice
mm = (0.5 - (np.arange(image_size) + 0.5) / image_size) * field_mm  # right to left, front to back
template = anatomy.load_template()
points = anatomy.scanner_grid(mm, mm, [12.0])[0] + anatomy.CENTRE_MM.astype("float32")
maps = template.sample(points)  # last axis: T1, grey matter, white matter, brain

# %%
def fractions_of(maps):
    """Share of grey matter, white matter and CSF in each pixel: shape (3, height, width)."""
    grey, white, brain = maps[..., 1], maps[..., 2], maps[..., 3] >= 0.5
    total = np.maximum(grey + white, 1)
    return np.stack([grey / total, white / total, 1 - (grey + white) / total]) * brain


# %% tags=["nbval-check-output"]
fractions = fractions_of(maps)
print(fractions.shape, "sums in the brain:", np.unique(fractions.sum(axis=0).round(3)))

# %% tags=["plumbing"]
names = ["grey matter", "white matter", "CSF"]
middle = slice(image_size * 15 // 128, image_size * 113 // 128), slice(image_size * 22 // 128, image_size * 106 // 128)
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
# So all that is missing are three numbers. Physics gives them.
#
# ## Recovery and decay
#
# The scanner is a strong magnet. It aligns the hydrogen nuclei of the body a little, so that tissue becomes a weak magnet
# itself: it has a **magnetisation** along the field, $M_0$ when left alone. $M_0$ grows with the number of hydrogen nuclei;
# we state it relative to water. A radio **pulse** tips the magnetisation sideways, where it turns around the field and sends a radio
# signal. Two things follow, each at its own pace ([Bloch 1946](https://doi.org/10.1103/PhysRev.70.460)). At time $t$ after the pulse:
#
# - along the field, magnetisation **recovers** with time constant $T_1$: $\;M_0 \, (1 - e^{-t/T_1})$;
# - sideways, it **decays** with time constant $T_2$: $\;M_0 \, e^{-t/T_2}$. Only this part is heard.
#
# Published values for a magnet of 1.5 tesla ([Rooney and others 2007](https://doi.org/10.1002/mrm.21122),
# [Stanisz and others 2005](https://doi.org/10.1002/mrm.20605)), times in milliseconds:

# %% tags=["nbval-check-output"]
import pandas as pd

from medlib.simulation import signal

tissues = [signal.TISSUES[1.5][name] for name in ("grey", "white", "csf")]
pd.DataFrame([vars(tissue) for tissue in tissues], index=names)

# %% [markdown]
# `proton_density` is $M_0$. White matter recovers fastest. CSF is nearly water: it recovers slowly, decays slowly, and has the
# greatest $M_0$.

# %%
def recovered(tissue, t):
    return tissue.proton_density * (1 - np.exp(-t / tissue.t1_ms))


def remaining(tissue, t):
    return tissue.proton_density * np.exp(-t / tissue.t2_ms)


# %% [markdown]
# > **Predict** In the first film magnetisation comes back after a pulse. The picture beside it is painted with what has
# > recovered so far. Which tissue is brightest at the start, and which at the end?

# %% tags=["plumbing"]
import matplotlib.pyplot as plt

STYLES = [(plotting.BLUE, "-"), (plotting.VERMILION, "--"), (plotting.GREEN, "-.")]


def film(curve, times, axis, label, white):
    """Yield a figure for each time: one curve a tissue, and the slice painted with its values."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(6.6, 2.8), width_ratios=(1.5, 1))
    fine = np.linspace(*axis, 200)
    for tissue, name, (colour, style) in zip(tissues, names, STYLES, strict=True):
        left.plot(fine, curve(tissue, fine), style, color=colour, label=name)
    dots = left.scatter([0] * 3, [0] * 3, c=[colour for colour, _ in STYLES], zorder=3)
    line = left.axvline(0, color=plotting.GREY, linewidth=1)
    left.set(xlabel=label, ylabel="magnetisation (water: 1)", xlim=axis)
    left.legend(fontsize=9, loc="best")
    picture = right.imshow(paint([0, 0, 0])[middle], vmin=0, vmax=white)
    right.set_axis_off()
    right.set_title("0000 ms", fontsize=11)
    fig.draw_without_rendering()
    fig.set_layout_engine("none")  # it stays as it is: faster
    yield from _frames(fig, right, picture, dots, line, curve, times)


def _frames(fig, right, picture, dots, line, curve, times):
    for t in times:
        values = [curve(tissue, t) for tissue in tissues]
        picture.set_data(paint(np.abs(values))[middle])
        dots.set_offsets([(t, value) for value in values])
        line.set_xdata([t, t])
        right.set_title(f"{t:.0f} ms", fontsize=11)
        yield fig


# %% tags=["plumbing"]
ALT = ("Film: after a pulse, magnetisation of grey matter, white matter and CSF recovers over nine seconds. The slice beside the "
       "curves brightens: white matter is brightest at first, then grey matter, at the end CSF.")
plotting.show_animation(film(recovered, np.arange(400, 9001, 430), (0, 9000), "time after the pulse (ms)", 0.9), alt=ALT)

# %% [markdown]
# White matter is first, because its $T_1$ is shortest. Between one and two seconds grey matter overtakes it, because it has more
# hydrogen. CSF is last to arrive and ends as the brightest. The order turns over completely, in one and the same slice.
#
# The second film begins with everything recovered, tips it sideways and lets it decay.

# %% tags=["plumbing"]
ALT = ("Film: sideways magnetisation of the three tissues decays over 300 milliseconds. Grey and white matter fade quickly; the "
       "slice darkens until only the CSF in the ventricles and around the brain still shines.")
plotting.show_animation(film(remaining, np.arange(0, 301, 15), (0, 300), "time after the pulse (ms)", 0.9), alt=ALT)

# %% [markdown]
# Everything fades, CSF hardly at all. Note the scales: decay takes tenths of a second, recovery takes seconds.
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
axes[0].set(ylabel="along the field", ylim=(0, 1))
axes[1].set(ylabel="sideways", xlabel="time (ms); thick lines are pulses", ylim=(0, 0.6))
axes[0].legend(loc="upper right", fontsize=10)
plotting.show(fig, alt="Three pulses, 1500 ms apart. Along the field, grey matter recovers to two thirds before the next pulse, "
              "CSF to less than a third; each pulse sets both to zero. Sideways, each pulse starts a decay from that height, "
              "and the signal is measured 150 ms later.")

# %% [markdown]
# Read one period. The upper curve climbs until the next pulse. What it has reached is tipped sideways, becomes the start of the
# lower curve, and decays until TE. Multiply both and you have the **spin-echo** equation, for TE short against TR
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
# No magnet is perfectly even, and nuclei in a slightly stronger field turn faster. They soon point in all directions and
# their signals cancel. A second pulse at TE/2 flips them, the fast ones are now behind, and at TE all meet again: an echo.
# What is lost even then is $T_2$.
#
# </details>
#
# > **Predict** Setting A: TR 520 ms, TE 14 ms. Setting B: TR 4500 ms, TE 100 ms. Which tissue is brightest in A, which in B? Use
# > the films.

# %% tags=["nbval-check-output"]
settings = {"A: TR 520, TE 14": (520, 14), "B: TR 4500, TE 100": (4500, 100)}
table = {name: [spin_echo(tissue, *times) for tissue in tissues] for name, times in settings.items()}
pd.DataFrame(table, index=names).round(2)

# %%
images = np.stack([paint(signals) / max(signals) for signals in table.values()])  # brightest tissue: 1

# %% tags=["plumbing"]
fig = plotting.image_grid(images[:, *middle], titles=list(table), columns=2)
plotting.show(fig, alt="The slice painted with two settings. A: white matter bright, grey matter darker, CSF nearly black. "
              "B: CSF white, grey matter dark grey, white matter darker still.")

# %% [markdown]
# In A there was no time to recover: the short $T_1$ of white matter wins and CSF is dark. This is a **T1-weighted** image, T1 for
# short. In B nearly all has recovered, and after 100 ms only CSF has kept its signal: a **T2-weighted** image. "Weighted",
# because the other constants still take part. The scanner scales each image as it likes, as we did by dividing by the
# brightest: **MR grey values have no unit**, unlike the Hounsfield units of [lesson 01](01_image_files.ipynb). What follows from that
# fills [lesson 04](04_grey_values_and_leaks.ipynb).
#
# Diseased tissue often holds more water, so its $T_1$ and $T_2$ are longer: it shines in T2. But beside a ventricle, which
# shines more, it is overlooked.
#
# **Exercise 02.1: choose a repetition time.** For T1-weighted images you want white matter to outshine grey matter as
# clearly as possible. Write a function that gets a list of repetition times and returns the one at which the signal of `white`
# exceeds that of `grey` most. The echo time is 14 ms.
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
# When it is right, call it with `range(100, 3001, 20)` and the tissues of our table. How far is setting A from it? All solutions
# stand [here](solutions/02_mr_simulation.ipynb).
#
# ## Making the fluid vanish
#
# **FLAIR** (fluid-attenuated inversion recovery, [Hajnal and others 1992](https://doi.org/10.1097/00004728-199211000-00001))
# begins with a stronger pulse that turns the magnetisation upside down. From below it recovers *through zero*. After the **inversion
# time** TI comes the usual pulse and echo. An image shows only the size of the signal, not its sign (Bernstein and others,
# section 14.2):
#
# $$S = M_0 \; \left| 1 - 2 e^{-\mathrm{TI} / T_1} + e^{-\mathrm{TR} / T_1} \right| \; e^{-\mathrm{TE} / T_2}$$

# %%
def inversion_recovery(tissue, tr, te, ti):
    """Signal of a spin echo after an inversion, with its sign; times in ms."""
    along = 1 - 2 * np.exp(-ti / tissue.t1_ms) + np.exp(-tr / tissue.t1_ms)
    return tissue.proton_density * along * np.exp(-te / tissue.t2_ms)


# %% [markdown]
# > **Predict** In the next film TI grows from 0 to 4 s. Each tissue turns black once. In which order, and what shines when it is
# > the turn of CSF?

# %% tags=["plumbing"]
ALT = ("Film: signal against inversion time, from negative through zero to positive. First white matter turns black in the slice, "
       "then grey matter, and near 2500 ms the CSF, while grey and white matter are bright.")
times = [200, 320, 440, 560, 680, 800, 920, 1200, 1500, 1800, 2000, 2200, 2350, 2482, 2600, 2800, 3100, 3500, 4000]
plotting.show_animation(film(lambda tissue, ti: inversion_recovery(tissue, 9000, 20, ti), times, (0, 4000),
                             "inversion time TI (ms); TR 9000, TE 20", 0.75), alt=ALT, milliseconds=300)

# %% [markdown]
# White matter first, then grey, and CSF last, near 2500 ms: the order of $T_1$. By then the other two have nearly recovered, so the fluid
# is gone from an otherwise bright brain.
#
# Where exactly is the zero? If TR is very long, the last term is 0 and the bars hold $1 - 2e^{-\mathrm{TI}/T_1}$. That is
# zero at $\mathrm{TI} = T_1 \ln 2$. Let us test it, and something else: what is left of the equation if $\mathrm{TI} = 0$?

# %% tags=["nbval-check-output"]
grey, white, csf = tissues
for ti in (0.5 * csf.t1_ms, np.log(2) * csf.t1_ms, csf.t1_ms):
    print(f"TI {ti:4.0f} ms: CSF signal {inversion_recovery(csf, 1e9, 0, ti):6.3f}")
same = np.isclose(abs(inversion_recovery(csf, 520, 14, 0)), spin_echo(csf, 520, 14))
print("TI = 0 gives the spin echo:", same)

# %% [markdown]
# Zero in the second line, as it must be. And with $\mathrm{TI} = 0$ the equation is that of the spin echo: one function is enough for
# all three images. With a real repetition time of 9 s the zero lies a little earlier, at

# %% tags=["nbval-check-output"]
print(f"{signal.nulling_time(csf.t1_ms, 9000):.0f} ms")

# %% [markdown]
# **Exercise 02.2: the exact inversion time.** Find the TI at which a tissue gives no signal for *any* TR, and write it
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
# Now all three images from one function. FLAIR also has a long TE, so that it is T2-weighted apart from the missing fluid.

# %%
def scan(tr=9000, te=120, ti=2482):
    """Image for any three times; the brightest tissue becomes 1."""
    signals = [abs(inversion_recovery(tissue, tr, te, ti)) for tissue in tissues]
    return paint(signals) / max(signals)


images = np.stack([scan(520, 14, 0), scan(4500, 100, 0), scan(9000, 120, 2482)])

# %% tags=["plumbing"]
fig = plotting.image_grid(images[:, *middle], titles=["T1\nTR 520, TE 14, TI 0", "T2\nTR 4500, TE 100, TI 0",
                                                       "FLAIR\nTR 9000, TE 120, TI 2482"], columns=3)
plotting.show(fig, alt="The slice painted with three settings. T1: white matter bright, CSF dark. T2: CSF white. FLAIR: CSF "
              "black, grey matter a little brighter than white matter.")

# %% [markdown]
# Dark, bright, dark: the riddle of the first picture is solved, with one equation and three times. Move them yourself.
# Can you make grey matter vanish? White matter?

# %%
import ipywidgets


def show_scan(tr, te, ti):
    fig = plotting.image_grid(scan(tr, te, ti)[None][:, *middle], columns=1)
    plotting.show(fig, alt=f"The slice at TR {tr}, TE {te} and TI {ti} ms.")


_ = ipywidgets.interact(show_scan, tr=(200, 9000, 100), te=(10, 200, 5), ti=(0, 4000, 20))

# %% [markdown]
# > **Note** Most scans today record many echoes after each pulse, or use other sequences, and cover a volume at once. Then these
# > two equations hold only roughly. `simbrain` uses exactly these two.
#
# ## A virtual patient in four steps
#
# **simbrain** is the data set that this course always has at hand. Each of its patients is made in four steps: a head, perhaps a
# tumour, contrast, and the faults of a scanner.
#
# ### Step 1: bend the head
#
# All heads are the template, turned, scaled and smoothly bent at random. The method, and ranges like these, train networks
# that work on any MR contrast ([Billot and others 2023](https://doi.org/10.1016/j.media.2023.102789)). A `Head` says for
# each point of the scanner which point of the template is seen there.

# %%
generator = np.random.default_rng(2)
heads = [anatomy.random_head(generator) for _ in range(3)]
bent = [head.to_template(mm, mm, [12.0])[0] for head in heads]  # template points, in mm

# %% tags=["plumbing"]
fig, axes = plt.subplots(1, 4, figsize=(8, 2.7))
for ax, places, title in zip(axes, [points, *bent], ["template", "head 1", "head 2", "head 3"], strict=True):
    ax.imshow(paint(table["A: TR 520, TE 14"], fractions_of(template.sample(places))), vmin=0, vmax=0.35)
    for axis in (0, 1):
        ax.contour(places[..., axis], np.arange(-200, 200, 20), colors=plotting.ORANGE, linewidths=0.8, linestyles="solid")
    ax.set_title(title, fontsize=11)
    ax.set_axis_off()
plotting.show(fig, alt="The template slice under a straight grid, and the same slice in three heads, where the grid is turned and "
              "gently bent and the brain has another size and outline.")

# %% [markdown]
# Follow the orange lines: on the template they are straight, 20 mm apart. In the heads they turn and bend, but never cross, so tissue is
# stretched and never folded.
#
# ### Step 2: grow a tumour
#
# A **glioma** is a tumour of the brain's supporting cells. Its cells divide, and they wander into healthy tissue. A well-known model
# writes both into one equation, named after Fisher and Kolmogorov ([Swanson and others
# 2000](https://doi.org/10.1046/j.1365-2184.2000.00177.x)):
#
# $$\frac{\partial c}{\partial t} = \underbrace{\nabla \cdot (D \, \nabla c)}_{\text{wandering}} +
# \underbrace{\rho \, c \, (1 - c)}_{\text{dividing}}$$
#
# Here $c$ is the density of tumour cells, as a share of the most that tissue can hold; $t$ is the time in days. The **motility** $D$ (mm² a day)
# says how fast cells spread, the **proliferation** $\rho$ (per day) how fast they multiply. First along a line, 120 mm of one tissue,
# with tumour at the left end.

# %%
from medlib.simulation import tumour

D, rho = 0.13, 0.03  # a fast tumour in white matter
cells = np.zeros(240, "float32")  # every 0.5 mm
cells[:4] = 1
profiles = [cells]
for _ in range(8):
    cells = tumour.grow(cells, np.full(240, D), proliferation_per_day=rho, spacing_mm=0.5, days=100)
    profiles.append(cells)

# %% tags=["plumbing"]
position = np.arange(240) * 0.5
fig, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2))
for number, profile in enumerate(profiles[1:], start=1):
    left.plot(position, profile, color=plt.cm.viridis(number / 9), linewidth=1.5)
    if number in (1, 8):
        left.text(np.interp(-0.5, -profile, position) + 2, 0.55, f"day {100 * number}", fontsize=10)
left.axhline(tumour.VISIBLE_CONCENTRATION, color=plotting.GREY, linestyle=":")
left.set(xlabel="position (mm)", ylabel="density of tumour cells c")
days = np.arange(100, 801, 100)
fronts = [np.interp(-0.16, -profile, position) for profile in profiles[1:]]
right.plot(days, fronts, "o", label="front (c = 0.16)")
right.plot(days, fronts[0] + 2 * np.sqrt(D * rho) * (days - 100), color=plotting.VERMILION, label=r"$2\sqrt{D\rho}$")
right.set(xlabel="day", ylabel="front (mm)")
right.legend(fontsize=10)
plotting.show(fig, alt="Left: density of tumour cells along a line on day 100, 200 and so on to 800. The curves have one shape and "
              "equal distances. Right: the front against the day, nearly on the straight line of the predicted speed.")

# %% [markdown]
# The tumour becomes a **travelling wave**: one shape, moving at a steady speed. Theory says that the speed tends to
# $2\sqrt{D\rho}$, slowly and from below (Swanson and others 2000). Below is the speed of the last 100 days beside the
# theory, in mm a day.

# %% tags=["nbval-check-output"]
print(f"measured {(fronts[-1] - fronts[-2]) / 100:.3f}, theory {2 * np.sqrt(D * rho):.3f}")

# %% [markdown]
# > **Predict** In grey matter simbrain's cells move with a tenth of the motility. How much slower is the front there?
#
# <details><summary>Answer</summary>
#
# By the square root: $\sqrt{10}$, about three times slower, not ten. So a tumour grows along white matter and is held up
# by grey. CSF has no motility at all: it is a wall.
#
# </details>
#
# Now in three dimensions, in head 1: motility from its tissue maps, a few cells in the white matter beside a ventricle, and a frame every 15
# days. The line encloses what an MR image shows, $c \ge 0.16$ ([Swanson and others
# 2008](https://doi.org/10.1038/sj.bjc.6604125)).

# %%
head = heads[0]
centre_mm = head.from_template(np.array([[-27.0, -22.0, 24.0]]))[0]
spacing = field_mm / image_size
columns, rows = (np.abs(mm - centre_mm[axis]) < 42 for axis in (0, 1))
heights = centre_mm[2] + np.arange(-26, 26.1, spacing)
around = template.sample(head.to_template(mm[columns], mm[rows], heights))
motility = tumour.motility_map(around[..., 1], around[..., 2], around[..., 3], white_mm2_per_day=D)

# %%
layer = len(heights) // 2
cells = np.zeros(motility.shape, "float32")
cells[layer, rows.sum() // 2, columns.sum() // 2] = 0.8
stages = []
for _ in range(22):
    cells = tumour.grow(cells, motility, proliferation_per_day=rho, spacing_mm=spacing, days=15)
    stages.append(cells)

# %% tags=["plumbing"]
def growth():
    """Yield a figure for every stage from the sixth on."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(6.6, 2.9), width_ratios=(1, 1.3))
    days = 15 * np.arange(1, len(stages) + 1)
    radius = [(3 / 4 / np.pi * (stage >= 0.16).sum()) ** (1 / 3) * spacing for stage in stages]
    slice_ = paint([0.45, 0.3, 1], fractions_of(around[layer]))
    right.plot(days, radius, color=plotting.GREY)
    (dot,) = right.plot([0], [0], "o", color=plotting.ORANGE)
    right.set(xlabel="day", ylabel="radius of an equal ball (mm)")
    for number in range(5, len(stages)):
        left.clear()
        left.imshow(slice_, vmin=0, vmax=1)
        density = np.ma.masked_less(stages[number][layer], 0.03)
        left.imshow(density, cmap="inferno", vmin=0, vmax=1, alpha=0.6)
        plotting.outline(left, stages[number][layer] >= 0.16)
        left.set_title(f"day {days[number]}", fontsize=11)
        left.set_axis_off()
        dot.set_data([days[number]], [radius[number]])
        yield fig


ALT = ("Film: a tumour grows in white matter beside a ventricle. It spreads along the white matter, is slowed by the grey "
       "matter and stopped by the fluid. Its radius grows nearly along a straight line.")
plotting.show_animation(growth(), alt=ALT)

# %% [markdown]
# It began as a ball. It cannot enter the ventricle and flattens against it, and it becomes longer where white matter leads. After
# a slow start the radius grows by equal steps: the wave again.
#
# simbrain's `random_tumour` does the same in a coarser box and then lets the tumour **push**: tissue around it is moved aside. We use it for our
# patient.

# %%
grown = tumour.random_tumour(head, anatomy.load_template(2), centre_mm=centre_mm, radius_mm=17.0, grade=4, rng=generator)
places = head.to_template(mm, mm, [centre_mm[2]])[0]
maps = template.sample(places)
fractions = fractions_of(maps)  # without the tumour

# %%
rows, columns = grown.covers(1, mm), grown.covers(2, mm)
scanner = anatomy.scanner_grid(mm[columns], mm[rows], centre_mm[2:])[0]
before, inside = grown.undo(scanner)  # where each pixel's tissue was, and its tumour cells
maps[rows, columns, :3] = template.sample(head.place(before))[..., :3]
pushed, density = fractions_of(maps), np.zeros((image_size, image_size))
density[rows, columns] = inside

# %% [markdown]
# The density of cells decides what a pixel becomes. Where there are few cells, tissue swells with water: **oedema**. Where there are many it is
# tumour. In the most malignant tumours (**grade** 4) the crowded core dies: **necrosis**.

# %%
def with_tumour(fractions, c):
    """Tissue shares in the order grey, white, CSF, tumour, necrosis, oedema."""
    ill = np.clip(c / 0.16 - 0.5, 0, 1) * (fractions[0] + fractions[1])  # taken from grey and white
    core, dead = np.clip((c - 0.45) / 0.35, 0, 1), np.clip((c - 0.93) / 0.05, 0, 1)
    healthy = np.stack([*(fractions[:2] * (1 - np.clip(c / 0.16 - 0.5, 0, 1))), fractions[2]])
    return np.concatenate([healthy, ill * np.stack([core * (1 - dead), core * dead, 1 - core])])


# %%
tissue = with_tumour(pushed, density)

# %% tags=["plumbing"]
fig, axes = plt.subplots(1, 3, figsize=(8, 3.4))
for ax, shares, title in zip(axes, (fractions, pushed), ("without tumour", "pushed aside"), strict=False):
    ax.imshow(paint([0.6, 1, 0.15], shares), vmin=0, vmax=1)
    ax.set_title(title)
plotting.outline(axes[1], density >= 0.16)
colours = [(0.55, 0.55, 0.55), (0.85, 0.85, 0.85), (0.1, 0.1, 0.1), (0.84, 0.37, 0), (0.35, 0.1, 0.3), (0.34, 0.71, 0.91)]
axes[2].imshow(np.clip(np.tensordot(np.moveaxis(tissue, 0, -1), np.array(colours), axes=1), 0, 1))
axes[2].set_title("what it is made of")
for name, colour in zip(("oedema", "tumour", "necrosis"), (colours[5], colours[3], colours[4]), strict=True):
    axes[2].plot([], [], "s", color=colour, label=name)
axes[2].legend(loc="lower center", bbox_to_anchor=(0.5, -0.28), ncol=3, fontsize=9, handletextpad=0, columnspacing=0.5)
for ax in axes:
    ax.set_axis_off()
plotting.show(fig, alt="Head 1 without a tumour; then with the tissue pushed aside, so that the ventricle is dented; then in "
              "colours: a dark necrotic core, an orange rim of tumour, and blue oedema around it.")

# %% [markdown]
# Compare the ventricle in the first two pictures: the tumour dents it. **The mask**, the answer that a network shall
# learn, is exact: $c \ge 0.16$ in solid tissue. Nobody had to draw it.
#
# ### Step 3: contrast
#
# Every tissue, ill or healthy, has its $M_0$, $T_1$ and $T_2$. The equations give it a brightness. simbrain knows four hospitals, **sites**, each
# with its own times, and adds a little chance from patient to patient.

# %% tags=["nbval-check-output"]
from medlib.simulation import scanner

times, brightness = scanner.random_scan(scanner.SITES[0], np.random.default_rng(1))
pd.DataFrame(brightness[:, :6], index=["T1", "T2", "FLAIR"], columns=signal.TISSUE_NAMES[:6]).round(2)

# %%
clean = np.stack([paint(row[:6], tissue) for row in brightness])

# %% [markdown]
# Read the last row: in FLAIR everything ill is brighter than everything healthy, and CSF is nearly 0. That is why
# radiologists look there first.
#
# ### Step 4: the faults of a scanner
#
# A scanner blurs. Its antenna hears some places better than others: the **bias field**, a slow change of brightness. And it adds
# **noise**.

# %%
from scipy import ndimage

site, generator = scanner.SITES[0], np.random.default_rng(3)
flair = clean[2]
blurred = ndimage.gaussian_filter(flair, site.blur_mm / spacing)
biased = blurred * scanner.bias_field((1, image_size, image_size, 1), site.bias, generator)[0, ..., 0]
noisy = scanner.add_rician_noise(biased, site.noise, generator)

# %% tags=["plumbing"]
fig = plotting.image_grid(np.stack([flair, blurred, biased, noisy]), titles=["clean", "blurred", "bias field", "noise"],
                          window=(0, 0.9), columns=4)
plotting.show(fig, alt="FLAIR of the patient in four stages: clean; slightly blurred; brighter on one side than on the other; and "
              "noisy, with grey noise in the air around the head too.")

# %% [markdown]
# Noise is the interesting one. The receiver measures two numbers, the **real** and the **imaginary** part of the signal, and each gets
# Gaussian noise with standard deviation $\sigma$ and mean 0. The image shows their length, $\sqrt{\text{real}^2 +
# \text{imaginary}^2}$. Its values follow the **Rician** distribution ([Gudbjartsson and Patz
# 1995](https://doi.org/10.1002/mrm.1910340618)).
#
# > **Predict** In the air around the head there is no signal at all, and the noise has mean 0. What is the mean of the *image* there:
# > 0, $\sigma$, or something else?

# %% tags=["nbval-check-output"]
air = noisy[blurred < 1e-6]
print(f"mean of the air: {air.mean() / site.noise:.2f} sigma; least value {air.min() / site.noise:.2f} sigma")

# %% [markdown]
# A length is never negative, so noise cannot average out. In air the mean is $\sigma\sqrt{\pi/2} \approx 1.25\,\sigma$. So even
# perfectly silent CSF is not black, and averaging many such images does not make it so.
#
# simbrain ends by setting everything outside the brain to 0 and rounding to 256 grey levels. It also scatters two kinds of harmless detail,
# which we left out: small bright spots in the white matter, more with age, and dark vessels.
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
# FLAIR was made so that fluid does not outshine disease. Is that still true after blur, bias field and noise, and for tumours of all
# grades and sizes? We make 80 new virtual patients, half of them with a tumour, one slice each. In every slice with
# a tumour, we divide its mean brightness by that of the fluid. Fluid is the darkest twentieth of the rest of the brain in *T1*, so
# that T2 and FLAIR have no say in it.

# %%
virtual = simulate_cohort(n_subjects, slices_per_subject=1, image_size=image_size, seed=seed + 1000)
ratios = []
for image, mask in zip(virtual.images / 255, virtual.masks, strict=True):
    if mask.any():
        rest = (image.max(axis=-1) > 0) & ~mask
        fluid = rest & (image[..., 0] < np.quantile(image[rest][:, 0], 0.05))
        ratios.append(image[mask].mean(axis=0) / image[fluid].mean(axis=0))

# %% tags=["plumbing"]
from coursekit import ledger

ratios = np.array(ratios)
ledger.record("02/tumour_to_fluid_t2", ratios[:, 1].mean(), parameters, limits=(0, 10), chance=1)
ledger.record("02/tumour_to_fluid_flair", ratios[:, 2].mean(), parameters, limits=(0, 10), chance=1)
ledger.say(
    "Brightness of tumour, fluid = 1, mean of {n} tumours: **T2 {tumour_to_fluid_t2:.2f}, FLAIR {tumour_to_fluid_flair:.2f}**. The "
    "tumour is the brighter one in {t2} of {n} slices in T2, and in {flair} of {n} in FLAIR.",
    n=len(ratios), t2=int((ratios[:, 1] > 1).sum()), flair=int((ratios[:, 2] > 1).sum()),
)

# %% [markdown]
# The *band* behind a recorded number says where it should fall for other virtual patients: it is a 99 % prediction interval from ten seeds.
# If a change to the course moves the number out of it, the course's tests fail.
#
# Back to the first patient, with the mask drawn in.

# %% tags=["plumbing"]
fig = plotting.image_grid(patient, titles=["T1", "T2", "FLAIR"], window=(0, 0.9), columns=3)
for ax in fig.axes[:3]:
    plotting.outline(ax, cohort.masks[5])
plotting.show(fig, alt="The first patient again, with the outline of the tumour beside the ventricle. In FLAIR the outline "
              "follows the bright patch; in T2 the ventricle next to it is brighter.")

# %% [markdown]
# ## What simbrain cannot show
#
# Look at six patients without a tumour.

# %%
healthy = np.flatnonzero(cohort.table["tumour_diameter_mm"] == 0)[:6]

# %% tags=["plumbing"]
fig = plotting.image_grid(cohort.images[healthy, ..., 0] / 255, window=(0, 0.9), columns=6)
plotting.show(fig, alt="T1 images of six virtual patients without a tumour. Sizes, tilts and heights differ, but folds and "
              "ventricles have the same shapes, and left and right mirror each other.")

# %% [markdown]
# Sizes, tilts, heights and brightness differ. But it is one brain, six times: the same folds, blurred by averaging, and left and right
# mirror each other. Nobody has had a stroke, an operation or moved in the scanner. Each data set of the course has a card that
# says such things. This is the end of simbrain's:

# %% tags=["nbval-check-output"]
from IPython.display import Markdown

from medlib import datasets

card = datasets.info("simbrain").card
Markdown(card[card.index("**It can show**"):])

# %% [markdown]
# So: a method that fails here deserves a second look, and a method that works here *can* work. Neither says what happens in a
# hospital. Nothing here is a medical device.
#
# **In this lesson we**
#
# - painted a slice from three shares of tissue and three signals;
# - saw magnetisation recover with $T_1$ and decay with $T_2$, and chose TR, TE and TI: fluid dark (T1), bright (T2) and gone (FLAIR);
# - built a patient: a bent template, a tumour that travels at $2\sqrt{D\rho}$ and pushes, contrast, blur, bias field and Rician noise;
# - measured that fluid outshines these tumours in T2 and not in FLAIR;
# - saw that all patients of simbrain are one brain, bent.
#
# **Next** A folder of images arrives. Before anything is learnt from it, it must be cleaned: [lesson
# 03](03_cleaning_and_geometry.ipynb).
#
# **References**
#
# - M. A. Bernstein, K. F. King, X. J. Zhou: [*Handbook of MRI Pulse Sequences*](https://doi.org/10.1016/B978-0-12-092861-3.X5000-6),
#   Elsevier 2004.
# - B. Billot and others: [SynthSeg](https://doi.org/10.1016/j.media.2023.102789), *Medical Image Analysis* 86 (2023) 102789.
# - F. Bloch: [Nuclear induction](https://doi.org/10.1103/PhysRev.70.460), *Physical Review* 70 (1946) 460-474.
# - V. Fonov and others: [Unbiased average age-appropriate atlases for pediatric
#   studies](https://doi.org/10.1016/j.neuroimage.2010.07.033), *NeuroImage* 54 (2011) 313-327.
# - H. Gudbjartsson, S. Patz: [The Rician distribution of noisy MRI data](https://doi.org/10.1002/mrm.1910340618), *Magnetic
#   Resonance in Medicine* 34 (1995) 910-914.
# - J. V. Hajnal and others: [Use of fluid attenuated inversion recovery (FLAIR) pulse sequences in MRI of the
#   brain](https://doi.org/10.1097/00004728-199211000-00001), *Journal of Computer Assisted Tomography* 16 (1992) 841-844.
# - W. D. Rooney and others: [Magnetic field and tissue dependencies of human brain longitudinal ¹H₂O relaxation in
#   vivo](https://doi.org/10.1002/mrm.21122), *Magnetic Resonance in Medicine* 57 (2007) 308-318.
# - G. J. Stanisz and others: [T1, T2 relaxation and magnetization transfer in tissue at
#   3T](https://doi.org/10.1002/mrm.20605), *Magnetic Resonance in Medicine* 54 (2005) 507-512.
# - K. R. Swanson, E. C. Alvord, J. D. Murray: [A quantitative model for differential motility of gliomas in grey and white
#   matter](https://doi.org/10.1046/j.1365-2184.2000.00177.x), *Cell Proliferation* 33 (2000) 317-329.
# - K. R. Swanson, R. C. Rostomily, E. C. Alvord: [A mathematical modelling tool for predicting survival of individual patients
#   following resection of glioblastoma](https://doi.org/10.1038/sj.bjc.6604125), *British Journal of Cancer* 98 (2008) 113-119.
# - Template: ICBM 2009a, copyright 1993-2009 Louis Collins, McConnell Brain Imaging Centre, Montreal Neurological Institute,
#   McGill University ([licence](https://nist.mni.mcgill.ca/icbm-152-nonlinear-atlases-2009/)).

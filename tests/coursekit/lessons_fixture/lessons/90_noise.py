# %% [markdown]
# # 90 Noise averages out
#
# How much does the mean of several noisy scans differ from the truth? Repeated scans cost time that
# a patient spends in the scanner, so it matters how fast the error falls.
#
# **You will**
# - simulate repeated scans,
# - measure the error of their mean,
# - see it fall with the square root of their number.
#
# Reading: about 15 min · running: about 5 s · builds on: nothing

# %% tags=["parameters"]
scans = 16
seed = 0

# %% tags=["install"]

# %% [markdown]
# Every scan is the truth plus Gaussian noise.
#
# > **Predict** Does the error of 16 scans fall to a half, a quarter or a sixteenth?
#
# <details><summary>Answer</summary>
#
# To a quarter.
#
# </details>

# %%
import numpy as np

from coursekit import ledger
from medlib import plotting

plotting.use_style()
generator = np.random.default_rng(seed)
noise = generator.normal(0, 1, (scans, 32, 32))

# %% tags=["plumbing"]
parameters = {"scans": scans, "seed": seed}

# %%
ledger.record("90/error", noise.mean(axis=0).std(), parameters, limits=(0, 10))
ledger.record("90/pixels", noise[0].size, parameters)
ledger.say("The mean of the scans has an error of **{error:.2f}**.")

# %% tags=["nbval-check-output"]
print(noise.shape[1:])

# %%
pair = np.stack([noise[0], noise.mean(axis=0)])
fig = plotting.image_grid(pair, titles=["one scan", "mean"], window=(-3, 3))
plotting.show(fig, alt="Noise of one scan, and the much weaker noise of the mean of all.")

# %%
import ipywidgets

ALT = "Noise that gets weaker as more scans are averaged."
films = (plotting.image_grid(noise[:n].mean(axis=0)[None], window=(-3, 3)) for n in (1, 4, scans))
plotting.show_animation(films, alt=ALT)
_ = ipywidgets.interact(lambda n: print(noise[:n].mean()), n=(1, scans))

# %% [markdown]
# **Exercise 90.1** Write a function that returns the standard error of a mean.
#
# > **Hint** Divide by the square root of something.


# %% tags=["exercise"]
def standard_error(deviation, n):
    return ...  # your code here


# %% tags=["solution"]
def standard_error(deviation, n):
    return deviation / n**0.5


# %%
from coursekit import check


@check.define("90.1")
def _(answer):
    check.that(answer(1, 4) != 0.25, "Noise falls more slowly than that.")
    check.that(abs(answer(3, 9) - 1) < 1e-9, "It is wrong for a deviation of 3 and 9 scans.")


check.exercise("90.1", standard_error)

# %% [markdown]
# **Exercise 90.2** Write a function that returns how many scans halve the error of `n` scans.
#
# > **Hint** The [solutions](solutions/90_noise.ipynb) say it.


# %% tags=["exercise"]
def scans_to_halve(n):
    return ...  # your code here


# %% tags=["solution"]
def scans_to_halve(n):
    return 4 * n


# %%
check.define("90.2")(lambda answer: check.compare(answer(2), 8, "It is wrong for two scans."))
check.exercise("90.2", scans_to_halve)

# %% [markdown]
# **In this lesson we** averaged noise away.
#
# **Next** read it [again](90_noise.ipynb).
#
# **References**
#
# - H. Gudbjartsson, S. Patz: The Rician distribution of noisy MRI data, *Magnetic Resonance in
#   Medicine* 34 (1995), [doi:10.1002/mrm.1910340618](https://doi.org/10.1002/mrm.1910340618).

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
# Reading: about 3 min · running: about 5 s · builds on: nothing

# %% tags=["parameters"]
scans = 16
seed = 0

# %% tags=["install"]

# %% [markdown]
# Every scan is the truth plus Gaussian noise. Predict before you run the cell: does the error of
# 16 scans fall to a half, a quarter or a sixteenth?

# %%
import numpy as np

from coursekit import ledger
from medlib import plotting

plotting.use_style()
generator = np.random.default_rng(seed)
noise = generator.normal(0, 1, (scans, 32, 32))
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

# %% [markdown]
# ## Try it
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
# **In this lesson we** averaged noise away.
#
# **References**: none.

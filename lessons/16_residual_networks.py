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
# # 16 Residual networks
#
# Finding a faint tumour may take many steps of thought: edges, textures, shapes, what belongs to whom. A network's steps are its
# layers. So take a network that works and **add layers**. It can do all that it could before, and more.
#
# > **Predict** What happens to the loss on the *training* images: better, the same, or worse?

# %% tags=["install"]
import medlib

# %% tags=["parameters"]
n_images = 320  # slices that the networks here learn from
steps = 200  # of each training, 32 slices each
seed = 0  # of the patients drawn, and of all weights

# %% tags=["plumbing"]
from medlib import training

training.set_seed(seed)  # imports Keras without its messages
import keras
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from keras import layers

from coursekit import check, ledger, studies
from coursekit.experiments import degradation
from coursekit.experiments.classification import choose_images
from medlib import models, plotting, tasks
from medlib.evaluation import statistics

plotting.use_style()
parameters = {"n_images": n_images, "steps": steps, "seed": seed}


def stored(name):
    """A study; None where only the package is installed."""
    try:
        return studies.load_study(name)
    except FileNotFoundError:
        return None


# %% tags=["plumbing"]
everyone, test, class_names = degradation.splits(20336)
rows = choose_images(everyone.subjects, everyone.labels, n_images, np.random.default_rng(seed))
train, task = everyone.take(rows), tasks.Classification(class_names)
RED, BLUE, GREEN = plotting.VERMILION, plotting.BLUE, plotting.GREEN

# %% [markdown]
# We try it: slices of `simbrain` ([lesson 02](02_mr_simulation.ipynb)), tumour or not. To be quick, each slice is reduced to 32 x 32 pixels, and there are
# only 320 of them, from 80 virtual patients. `train` holds these; `test` holds slices of 50 new patients, for later.
#
# Our building block has two convolutions, each after a ReLU. Channels and size stay the same, so any number of blocks fit
# one after the other.


# %%
class Plain(keras.Layer):
    """ReLU, convolution, ReLU, convolution."""

    def __init__(self, last="he_normal"):
        super().__init__()
        kind = {"filters": 16, "kernel_size": 3, "padding": "same"}
        self.first = layers.Conv2D(kernel_initializer="he_normal", **kind)
        self.second = layers.Conv2D(kernel_initializer=last, **kind)

    def call(self, x):
        return self.second(keras.ops.relu(self.first(keras.ops.relu(x))))


# %% [markdown]
# In front of the blocks stands one convolution with a stride of 4 (the **stem**), behind them the largest value of each channel and one unit: the
# probability of a tumour. With 3 blocks that makes 8 layers with weights, with 9 blocks 20.


# %%
def build(block, n_blocks):
    """Stem, blocks in a row, head."""
    parts = [keras.Input(train.images.shape[1:])]
    parts += [layers.Conv2D(16, 7, strides=4, padding="same", kernel_initializer="he_normal")]
    parts += [block() for _ in range(n_blocks)]
    parts += [layers.ReLU(), layers.GlobalMaxPooling2D(), layers.Dense(1, activation="sigmoid")]
    return keras.Sequential(parts)


# %%
def learn(block, n_blocks, rate=0.05):
    """Train; return the network, and the loss after each pass over the training slices."""
    training.set_seed(seed)
    network, losses = build(block, n_blocks), []
    follow = {"seed": seed, "on_epoch": lambda epoch, logs: losses.append(logs["loss"])}
    degradation.fit(network, train, task, rate=rate, steps=steps, **follow)
    return network, losses


# %% [markdown]
# `degradation.fit` is the plain gradient descent of [lesson 07](07_learning.ipynb), with momentum and a learning rate that rises, then falls. It stands in
# the module behind this lesson's study.

# %%

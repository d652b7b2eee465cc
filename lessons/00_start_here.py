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
# # 00 Start here
#
# Can a computer learn to read a medical image, and how would you know whether it has? That is what this
# course is about. It goes from the file that leaves a scanner to a network that has been measured, audited
# and packed for use. This first lesson asks a small version of the question: given one picture of a brain, can a
# network tell **how the scanner was set**? The text filed with an image should say such things, but is not always
# right (Gueld and others 2002).
#
# **You will**
#
# - know what this course is, and what it is not;
# - check that your computer has what the lessons need;
# - look at a first medical image, and train a first small network in a few seconds;
# - measure it on patients it has never seen, next to something simpler;
# - know how a lesson is built, and where to go next.
#
# **Reading:** about 15 min · **running:** about 20 s · **builds on:** nothing but Python

# %% tags=["install"]
import medlib

# %% tags=["parameters"]
n_subjects = 120  # virtual patients
image_size = 32  # pixels
epochs = 20  # passes over the training images
seed = 0  # of the random start of the training

# %%
parameters = {"n_subjects": n_subjects, "image_size": image_size, "epochs": epochs, "seed": seed}

# %% [markdown]
# ## What this course is, and is not
#
# **It is** a course you can run. Every measured number was computed by the code above it, on two CPU cores and
# without the internet. Every lesson is run again each time the course changes. A test result carries an interval that
# says how uncertain it is. When a result contradicts the story one expects, the result stays.
#
# **It is not** a medical device, nor medical advice. The images that are always there, a set called `simbrain`, are
# *simulated* from one template of a human brain: good for learning methods, useless for claims about patients.
# Where a lesson says so, you can put public images or your own in their place.
#
# You need Python and a little NumPy. A new term is **bold** and explained where it first appears.
#
# ## Your computer
#
# The next cells list what the course uses. If they run without an error, you can go on. A missing graphics processor
# (GPU) only makes training slower, and a C++ compiler is used in later lessons only.

# %%
from medlib import training

keras = training.import_keras()  # without TensorFlow's start-up messages
import platform
import shutil
import subprocess
from importlib import metadata

import pandas as pd
import psutil
import tensorflow as tf


# %%
def compiler():
    """Name of a C++ compiler that understands C++17."""
    for name in ("g++", "clang++"):
        if shutil.which(name):
            test = [name, "-std=c++17", "-x", "c++", "-fsyntax-only", "-"]
            done = subprocess.run(test, input="int main() {}", text=True, capture_output=True)
            if done.returncode == 0:
                return name
    return "none found (needed in later lessons only)"


# %%
found = {"Python": platform.python_version()}
found |= {name: metadata.version(name) for name in ("pip", "numpy", "keras", "medlib")}
found["Keras's backend"] = keras.backend.backend()
found["TensorFlow"] = tf.__version__
gpus = tf.config.list_physical_devices("GPU")
found["GPU"] = f"{len(gpus)} found" if gpus else "none found (training takes a little longer)"
found["CPU cores"] = psutil.cpu_count()
found["memory"] = f"{psutil.virtual_memory().total / 2**30:.0f} GiB"
found["C++17 compiler"] = compiler()
pd.Series(found, name="found").to_frame()

# %% [markdown]
# ## A first picture
#
# A magnetic resonance (MR) scanner does not take *one* picture. It can be set so that different properties of the
# tissue become bright. Three common settings, or **contrasts**, are called **T1**, **T2** and **FLAIR**; lesson 01
# explains what they measure. Here is one slice through the brain of one virtual patient, without skull and skin. We
# look from the feet: the forehead is at the top, and the patient's right side is on the left.

# %%
from coursekit import ledger
from medlib import plotting
from medlib.datasets import simbrain

plotting.use_style()
data = simbrain.load_simbrain(image_size=128, n_subjects=20, slices_per_subject=1, seed=1)
healthy = data.train.images[data.train.labels == 0]  # slices without a tumour
middles = healthy[:, 48:80, 48:80, 1]  # of their T2 pictures
image = healthy[middles.std(axis=(1, 2)).argmax()]  # its middle is the most varied

# %%
contrasts = data.channel_names
fig = plotting.image_grid(image.transpose(2, 0, 1), titles=list(contrasts), columns=3)
plotting.show(
    fig,
    alt="The same slice through a virtual brain three times: in T1 the fluid in the middle is dark and "
    "the brain light grey, in T2 the fluid is bright, in FLAIR it is dark.",
)

# %% [markdown]
# The chambers in the middle, the **ventricles**, hold fluid: dark in T1, bright in T2, dark again in FLAIR. This patient
# has no tumour. If you see small bright spots in FLAIR, they are something else; lesson 01 returns to them.
#
# To the computer this is an **array**: a table of numbers between 0 (black) and 1 (white), one for each **pixel** of
# each of the three pictures, its **channels**.

# %% tags=["nbval-check-output"]
print(image.shape, image.dtype)

# %% [markdown]
# > **Predict** Commit to an answer before you read on. A rule sees only one number a picture, its average grey. For
# > how many of 100 pictures would it name the right setting? A blind guess is right for about 33.
#
# ## A first network
#
# We take four small slices of each of many virtual patients, cut each into its three pictures, and **label** every
# picture with its setting: 0 for T1, 1 for T2, 2 for FLAIR. `simbrain` comes in three groups of *patients*. The network
# learns from the **training** group and is judged on the **test** group, patients it has never seen. (The third,
# **validation**, is for decisions on the way; we make none.)

# %%
import numpy as np

data = simbrain.load_simbrain(image_size=image_size, n_subjects=n_subjects, slices_per_subject=4)


# %%
def one_by_one(split):
    """Pictures, shape (n, height, width, 1), their settings and their patients."""
    pictures = np.concatenate([split.images[..., [c]] for c in range(3)])
    labels = np.repeat(np.arange(3), len(split))
    return pictures, labels, np.tile(split.subjects, 3)


train_pictures, train_labels, train_patients = one_by_one(data.train)
test_pictures, test_labels, test_patients = one_by_one(data.test)

# %% tags=["nbval-check-output"]
print("training:", train_pictures.shape, "of", len(set(train_patients)), "patients")
print("test:    ", test_pictures.shape, "of", len(set(test_patients)), "patients")
print("patients in both:", len(set(train_patients) & set(test_patients)))

# %% [markdown]
# A **neural network** is a chain of simple computations with adjustable numbers, its **weights**. This one looks at
# small neighbourhoods of pixels (a *convolution*, lesson 04), averages what it has found over the picture, and gives
# three probabilities. Training changes the weights step by step so that the probability of the right answer grows.
# Lessons 04 and 05 explain the lines below.

# %%
training.set_seed(seed)
from keras import layers

network = keras.Sequential(
    [
        layers.Input((image_size, image_size, 1)),
        layers.Conv2D(16, 3, strides=2, activation="relu"),
        layers.Conv2D(16, 3, strides=2, activation="relu"),
        layers.GlobalAveragePooling2D(),
        layers.Dense(3, activation="softmax"),
    ]
)
network.compile(keras.optimizers.Adam(1e-2), loss="sparse_categorical_crossentropy")
print(f"{network.count_params():,} weights")

# %%
history = network.fit(train_pictures, train_labels, epochs=epochs, batch_size=16, verbose=0).history
for epoch, loss in enumerate(history["loss"], start=1):
    if epoch == 1 or epoch % 4 == 0:
        print(f"after pass {epoch:2d}: loss {loss:.3f}")

# %% [markdown]
# The **loss** says how surprised the network is by the right answers; a blind guess among three costs log 3, about
# 1.1. A falling loss alone proves nothing: it was measured on the pictures the network learnt from.
#
# ## Is it any good?
#
# Two questions decide. How often is it right for *new* patients? And what would something much simpler have done? We
# compare with always giving the same answer, and with the rule of average grey: a **decision tree**, which learns from
# the training pictures at which greys to change its answer.

# %%
from sklearn.tree import DecisionTreeClassifier

from medlib.evaluation import statistics


train_grey, test_grey = train_pictures.mean(axis=(1, 2)), test_pictures.mean(axis=(1, 2))
tree = DecisionTreeClassifier(max_leaf_nodes=3, random_state=0).fit(train_grey, train_labels)
answers = {
    "always T1": np.zeros(len(test_labels), int),
    "average grey": tree.predict(test_grey),
    "network": network.predict(test_pictures, verbose=0).argmax(axis=1),
}


# %%
def share_right(labels, given):
    """Accuracy: share of right answers."""
    return float(np.mean(labels == given))


accuracy = {
    name: statistics.bootstrap_interval(share_right, test_labels, given, groups=test_patients)
    for name, given in answers.items()
}
pd.Series(accuracy, name="accuracy on test patients [95 % interval]").to_frame()

# %%
ledger.record("00/accuracy_grey", accuracy["average grey"].value, parameters, limits=(0, 1))
ledger.record("00/accuracy", accuracy["network"].value, parameters, limits=(0, 1), chance=1 / 3)
ledger.say(
    "On {n} pictures of {patients} test patients the network is right in **{accuracy:.0%}**, the rule with "
    "one number in {accuracy_grey:.0%}, and always answering T1 in {always:.0%}.",
    n=len(test_labels),
    patients=len(set(test_patients)),
    always=accuracy["always T1"].value,
)

# %% [markdown]
# The brackets hold a **95 % interval**: how far the number could be off because we happened to test these patients and
# not others. For "always T1" it has no width: T1 makes up the same share of everybody's pictures.
#
# It leaves out a second kind of luck, the random start of the training. One more training, from another *seed*, should
# end within the **band** that stands after `00/accuracy`; it was computed from several such trainings. The wider the
# band, the less one training tells. The rule has no random start, so its band is a single number.
#
# Never believe the number alone. Look at the pictures whose true setting got the lowest probability: each title gives
# the truth, the network's answer, and that probability.

# %%
probabilities = network.predict(test_pictures, verbose=0)
right = probabilities[np.arange(len(test_labels)), test_labels]
unsure = np.argsort(right)[:4]
said = answers["network"]
titles = [f"{contrasts[test_labels[i]]}, said {contrasts[said[i]]}: {right[i]:.2f}" for i in unsure]
fig = plotting.image_grid(test_pictures[unsure], titles=titles)
plotting.show(
    fig,
    alt="The four test pictures to whose true setting the network gave the lowest probability: "
    f"{'; '.join(titles)}.",
    save="00_unsure",
)

# %% [markdown]
# Could you have told? Look for the fluid: only in T2 is it bright. T1 and FLAIR both show it dark, so it takes finer
# signs to tell these two apart. And was the task hard? The closer the rule with one number comes to the network, the
# less the network adds. That is why a **baseline**, something simpler, stands beside every result in this course.
#
# ## How to read the rest
#
# Every lesson has this shape: a question, **You will**, parameters that you may change, then text, a short cell and
# what its output shows. At **Predict** you learn most where you were wrong. Each lesson runs alone; *builds on* says
# what to read before.
#
# | part | lessons |
# |---|---|
# | A images | 00 start here · 01 medical images · 02 preprocessing · 03 classical baseline |
# | B networks | 04 convolution · 05 first CNN · 06 recurrent · 07 transformers · 08 generative adversarial · 09 comparing |
# | C better | 10 GPU · 11 augmentation · 12 initialisation, normalisation, optimisers · 13 residual · 14 U-Net · 15 detection |
# | D trust | 16 evaluation · 17 explanations · 18 uncertainty · 19 security · 20 model audit |
# | E frontier | 21 large models · 22 annotation · 23 multimodal · 24 ideal observer · 25 deployment · 26 benchmark |
#
# The README says which are written. In a hurry? Read 01, 02 and 05, and 16 once it is there. For images of your own,
# read 01, 02 and the README's section about `medlib train`.
#
# ## Try it
#
# Replace the dots, run the cell, then the check below it. The check says what is wrong, not what is right.
#
# **Exercise 00.1: accuracy for one setting.** Write a function that returns the share of right answers, from 0 to 1,
# among the pictures whose true setting is `setting`. Then ask it which setting the network finds hardest.
#
# > **Hint** `given[labels == setting]` are the answers to these pictures. For the network, `labels` is `test_labels`
# > and `given` is `answers["network"]`.


# %% tags=["exercise"]
def accuracy_for(labels, given, setting):
    return ...  # your code here


# %% tags=["solution"]
def accuracy_for(labels, given, setting):
    return float(np.mean(given[labels == setting] == setting))


# %%
from coursekit import check

check.exercise("00.1", accuracy_for)

# %% [markdown]
# **Exercise 00.2: the laziest baseline.** Write a function that gets the labels of the *training* and of the *test*
# pictures and returns the accuracy, on test, of always answering the commonest training label.
#
# > **Hint** `np.bincount(train_labels).argmax()` is the commonest label. It must not come from the test labels: no
# > method may see the answers that it is judged by.


# %% tags=["exercise"]
def laziest_accuracy(train_labels, test_labels):
    return ...  # your code here


# %% tags=["solution"]
def laziest_accuracy(train_labels, test_labels):
    commonest = np.bincount(train_labels).argmax()
    return float(np.mean(test_labels == commonest))


# %%
check.exercise("00.2", laziest_accuracy)

# %% [markdown]
# ## In this lesson we
#
# - saw that a medical image is an array, and that one slice gives several pictures;
# - trained a network of a few thousand weights on some patients and tested it on others;
# - put an interval on its accuracy and a simpler method beside it, and looked at its worst answers.
#
# ## References
#
# - M. O. Gueld and others: Quality of DICOM header information for image categorization, *Proceedings of SPIE* 4685
#   (2002) 280, doi 10.1117/12.467017 (it checked the part of the body).
# - V. Fonov and others: Unbiased average age-appropriate atlases for pediatric studies, *NeuroImage* 54 (2011) 313-327
#   (the template behind `simbrain`).

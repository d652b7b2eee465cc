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
# # 12 Comparing architectures
#
# Four lessons, four kinds of network. **Which one should read your images?** A clinic that buys the winner of somebody's
# table lives with it for years, and many tables rest on one training of each model. Here the models of this course look for
# tumours in `simbrain`'s simulated slices, on the same patients, under the same rules, ten trainings each.
#
# > **Predict** Each model learns from 300 images, ten times, each time from other patients. In how many of the ten
# > trainings will the same model come first?

# %% tags=["install"]
import medlib

# %% tags=["parameters"]
n_images = 1000  # that the two models trained here learn from
steps = 62  # of the network trained here, 32 images each
seed = 0  # of patients drawn, weights and random numbers

# %% tags=["plumbing"]
from medlib import training

training.set_seed(seed)  # imports Keras without its messages
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy import stats
from scipy.special import expit

from coursekit import check, ledger, studies
from coursekit.experiments import architectures, classification, tuning
from medlib import datasets, models, plotting, tasks
from medlib.datasets.simbrain import new_patients
from medlib.evaluation import statistics

plotting.use_style()
parameters = {"n_images": n_images, "steps": steps, "seed": seed}

# %% tags=["plumbing"]
CONTESTANTS = {  # as the studies name them: as we do, colour
    "classical": ("hand-made features", plotting.GREEN), "cnn": ("CNN", plotting.VERMILION), "resnet": ("residual CNN", plotting.ORANGE),
    "vit": ("stem Transformer", plotting.BLUE), "vit_patches": ("patch Transformer", plotting.SKY), "rnn": ("row RNN", plotting.BLACK),
    "gan": ("GAN features", plotting.PURPLE), "gan_untrained": ("untrained features", "#882255"),
}
TITLE, COLOUR = ({model: each[k] for model, each in CONTESTANTS.items()} for k in (0, 1))
TITLE["outsider"], COLOUR["outsider"] = "five windows", plotting.GREEN
SETS = {"simbrain": "simbrain", "breastmnist": "BreastMNIST", "pneumoniamnist": "PneumoniaMNIST"}
SIZES, AT = np.array([300, 1000, 2040]), (300, 1000, "all")


def stored(name, data=None):
    """A study; None where only the package is installed, or where it has not been run."""
    try:
        return studies.load_study(name, data)
    except FileNotFoundError:
        return None


# %% tags=["plumbing"]
def auc(labels, scores):
    return statistics.area_under_curve(labels == 1, scores)


def mean_with_interval(study, model, n="all"):
    """Mean AUC over trainings with its interval over trainings and patients."""
    give = auc, study.labels, study.scores[model, n]
    return statistics.seeds_and_patients_interval(*give, subjects=study.subjects, logit=True)


study, of_set, present, aucs, means = stored("architectures"), {}, [], {}, {}
if study:
    of_set = {name: study if name == "simbrain" else stored("public_benchmark", name) for name in SETS}
    present = [model for model in CONTESTANTS if (model, "all") in study.scores]
    aucs = {key: np.array([auc(study.labels, s) for s in each]) for key, each in study.scores.items()}
    means = {(name, *key): mean_with_interval(each, *key) for name, each in of_set.items() for key in each.scores}
else:
    ledger.say("The studies come with the repository, not with the installed package: their figures and tables are left out here.")

# %% tags=["plumbing"]
def name_rows(ax, heights, which, size=11):
    ax.set_yticks(heights, [TITLE[model] for model in which], fontsize=size)
    for text, model in zip(ax.get_yticklabels(), which, strict=True):
        text.set_color(COLOUR[model])
    ax.grid(axis="y", visible=False)


def draw_ranking(ax, heights, past, now=None):
    """A row for each model: past trainings as open circles, the present one filled."""
    ax.clear()
    for k, (y, model) in enumerate(zip(heights, present, strict=True)):
        ax.plot(past[k], [y] * len(past[k]), "o", ms=5, fillstyle="none", color=COLOUR[model], alpha=0.6)
        if now is not None:
            ax.hlines(y, 0.35, now[k], color=COLOUR[model], lw=3, alpha=0.5)
            ax.plot(now[k], y, "o", ms=11, color=COLOUR[model])
    ax.axvline(0.5, color=plotting.GREY, ls=":", lw=1)
    name_rows(ax, heights, present, 12)
    ax.set(xlim=(0.35, 1), ylim=(len(present) - 0.4, -0.6), xlabel="AUC on new patients (dotted: guessing)")


# %% tags=["plumbing"]
def ranking_film():
    """Frames: the ranking by each training; at the end the means."""
    single = np.array([aucs[model, 300] for model in present])
    ranks, last = ((-each).argsort(axis=0).argsort(axis=0) for each in (single, single.mean(axis=1)))
    fig, ax = plt.subplots(figsize=(6, 3.9))
    for t in range(single.shape[1]):
        for share in (0.5, 1) if t else (1,):  # half-way, there
            heights, now = (share * each[:, t] + (1 - share) * each[:, t - 1] for each in (ranks, single))
            draw_ranking(ax, heights, single[:, :t], now if share == 1 else None)
            ax.set_title(f"300 training images: training {t + 1} of {single.shape[1]}" + " ..." * (share < 1), loc="left")
            yield fig
    draw_ranking(ax, last, single)
    for y, model in zip(last, present, strict=True):
        found = means["simbrain", model, 300]
        ax.plot([found.low, found.high], [y, y], color=COLOUR[model], lw=7, alpha=0.35, solid_capstyle="round")
        ax.plot(found.value, y, "D", ms=9, color=COLOUR[model], mec="w")
    ax.set_title("mean of ten trainings, with its 95 % interval", loc="left")
    yield fig


# %% tags=["plumbing"]
if study:
    plotting.show_animation(
        ranking_film(), milliseconds=600,
        alt="The models as rows, the best on top, ranked by the AUC of one training with 300 images. From training to training rows change "
            "places, also the first. At the end the means of ten trainings with 95 % intervals, which overlap widely at the top.")
    firsts = pd.Series([TITLE[present[k]] for k in np.argmax([aucs[model, 300] for model in present], axis=0)]).value_counts()
    ledger.say("First places in {n} trainings: {each}.", n=firsts.sum(), each=", ".join(f"{name} {n}" for name, n in firsts.items()))

# %% [markdown]
# Whoever trains each model once finds *a* winner, and may find another one next week. The last frame shows means of ten
# trainings with 95 % intervals: the honest answer, and a modest one.
#
# **You will**
#
# - compare models fairly: same patients, same steps, as many tuning trials, one test;
# - see a clear, "significant" result reversed by the training budget alone;
# - measure how many trainings it takes to name a winner, and whether seeds or patients limit you;
# - judge common claims, and what each architecture is for;
# - enter a contestant of your own.
#
# **Reading:** about 40 min · **running:** about 30 s · **builds on:** [05](05_classical_baseline.ipynb) (AUC, paired intervals),
# [08](08_first_cnn.ipynb), [09](09_recurrent_networks.ipynb), [10](10_transformers.ipynb), [11](11_generative_adversarial_networks.ipynb)
#
# ## The contestants
#
# An **architecture** is the plan of a network before it has seen an image. What it has built in, it need not learn.
#
# | | what is built in | lesson |
# |---|---|---|
# | hand-made features | 96 percentiles and textures, weighed by a logistic regression | [05](05_classical_baseline.ipynb) |
# | CNN | neighbours belong together; a pattern means the same everywhere | [08](08_first_cnn.ipynb) |
# | residual CNN | the same, with four times the weights; each block adds to what was there | [16](16_residual_networks.ipynb) |
# | stem Transformer | a few convolutions, then every place asks every other | [10](10_transformers.ipynb) |
# | patch Transformer | the same without convolutions | [10](10_transformers.ipynb) |
# | row RNN | a recurrent network that reads the rows of the image one after the other | [09](09_recurrent_networks.ipynb) |
# | GAN features | what a GAN's discriminator computes, weighed by a logistic regression | [11](11_generative_adversarial_networks.ipynb) |
# | untrained features | the same filters, still random: the control | |
#
# Recurrent networks are not made for rows of pixels ([lesson 09](09_recurrent_networks.ipynb)); this one stands here because people
# ask. The GAN saw *all* training images, without labels. So where the others have 300 images, it has seen more.
#
# ## The rules
#
# 1. **The same patients.** For each size and seed all models learn from the same patients; all are tested on the same new ones.
# 2. **The same steps.** Classifying networks take about 500 steps of 32 images at every size, with the same random changes of the images. (The GAN
#    plays about 1,000 steps of 16.)
# 3. **The same tuning.** One number a model, five values, two trainings each: the learning rate of a network, the penalty of a logistic
#    regression. The log is below. (Patch Transformer: three or four values, [lesson 10](10_transformers.ipynb).)
# 4. **One test**, when everything is settled, on the test patients of [lesson 10](10_transformers.ipynb): nothing was chosen on them.
# 5. **Ten seeds**, and an interval for every measured number.

# %% tags=["plumbing"]
fig, ax = plt.subplots(figsize=(6.2, 2.5))
PARTS = {"tuning": [(0, 420, "learn"), (430, 90, "choose")], "study": [(0, 520, "learn: 300, 1,000 or all 2,040 images"), (560, 90, "test")],
         "here": [(0, 420, f"learn: {n_images:,} images"), (690, 90, "test")]}
SHADES = {"learn": plotting.SKY, "choose": plotting.ORANGE, "test": plotting.GREEN}
for row, parts in enumerate(PARTS.values()):
    for start, width, text in parts:
        ax.barh(row, width, left=start, height=0.62, color=SHADES[text.partition(":")[0]], alpha=0.75)
        ax.text(start + width / 2, row, text, ha="center", va="center", fontsize=10)
for place, text in ((210, "420 patients"), (475, "90"), (605, "90 new"), (735, "90 new")):
    ax.text(place, -0.65, text, ha="center", fontsize=10, color=plotting.GREY)
ax.set_yticks(range(3), list(PARTS))
ax.set(xlim=(0, 790), ylim=(2.5, -0.9), xticks=[])
ax.tick_params(length=0), ax.grid(visible=False)
ax.spines[["left", "bottom"]].set_visible(False)
plotting.show(fig, alt="Who is used for what. Tuning: 420 patients to learn from, 90 to choose by. Study: these 510 to learn from, 90 new patients to "
              "test. In this lesson: the 420 to learn from, 90 other new patients to test.")

# %% [markdown]
# The log of rule 3: one panel a model, one dot a training, measured on validation images; lines are means.

# %% tags=["plumbing"]
logs = {name: log for name in list(SETS)[:2] if (log := stored("tuning", name))}
rows = [(name, *key.split(), auc(log.labels, s)) for name, log in logs.items() for (key, _), each in log.scores.items() for s in each]
tuned = pd.DataFrame(rows, columns=["data", "model", "value", "auc"]).astype({"value": float})
RECIPE = training.LEARNING_RATES | classification.REGULARISATION
USED = {"simbrain": RECIPE | architectures.TUNED, "breastmnist": RECIPE}


def draw_tuning(ax, model):
    for (name, found), colour in zip(tuned[tuned["model"] == model].groupby("data", sort=False), (plotting.BLUE, plotting.ORANGE), strict=False):
        ax.plot(found["value"], found["auc"], "o", ms=4, color=colour, alpha=0.6)
        ax.plot(found.groupby("value")["auc"].mean(), color=colour, label=SETS[name])
        ax.axvline(USED[name][model], color=colour, ls="--" if name == "simbrain" else ":", label="used there")
    ax.set(xscale="log", ylim=(0.45, 1))
    ax.set_title(TITLE[model], fontsize=11, color=COLOUR[model])
    values = sorted(found["value"].unique())
    ax.set_xticks(values, [f"{value:g}".lstrip("0") for value in values], fontsize=9)
    ax.set_xlim(values[0] / 1.6, values[-1] * 1.6)
    ax.minorticks_off()


# %% tags=["plumbing"]
if logs:
    shown = [model for model in CONTESTANTS if model in set(tuned["model"])]
    n_rows = -(-len(shown) // 2)
    fig, axes = plt.subplots(n_rows, 2, figsize=(5.6, 1.6 * n_rows + 0.3), sharey=True)
    for ax, model in zip(axes.flat, shown, strict=False):
        draw_tuning(ax, model)
    for ax in axes.flat[len(shown) :]:
        ax.set_axis_off()
        ax.legend(*axes.flat[0].get_legend_handles_labels(), loc="center")
    fig.supylabel("validation AUC", fontsize=11)
    fig.supxlabel("learning rate of a network, or 1 / penalty of a regression", fontsize=11)
    plotting.show(fig, alt="For each model the validation AUC with five values of its tuned number, two trainings each, on simbrain and BreastMNIST. "
                  "Dashed and dotted lines mark the values that the studies use.")

# %% tags=["plumbing"]
def listed(which):
    which = [TITLE[model] for model in which]
    return " and ".join(filter(None, (", ".join(which[:-1]), *which[-1:]))) or "none"


if logs:
    curves = tuned.groupby(["data", "model", "value"])["auc"]
    not_best = [m for m in shown if curves.mean().loc["simbrain", m].idxmax() != USED["simbrain"][m]]
    ledger.say("On simbrain each model has the best of its five values" + (f" (not {listed(not_best)})" if not_best else "") + ". Two trainings with the *same* value differ by {noise:.3f} in the "
               "median, and by up to {most_noise:.3f}. So two trainings cannot tell a bad value from bad luck. Where the chosen value is the largest tried (CNN, stem Transformer), a still larger one may be better. (The patch Transformer's log is in lesson 10.)", noise=curves.agg(np.ptp).median(), most_noise=curves.agg(np.ptp).max())
    top = tuned.loc[tuned["auc"].idxmax()]
    ledger.say("The highest AUC of all: **{auc:.3f}**, {model} with the value {value:g} on {data}.", auc=top["auc"], model=TITLE[top["model"]], value=top["value"], data=SETS[top["data"]])

# %% [markdown]
# If that is the ultrasound set: it is too good to be true. Its source holds many near-duplicates of the same lesion ([Pawłowska and others
# 2023](https://doi.org/10.1016/j.dib.2023.109247)), some in training *and* validation: copies as in [lesson 03](03_cleaning_and_geometry.ipynb), a leak as in [lesson 04](04_grey_values_and_leaks.ipynb). A regression on hundreds
# of features with hardly any penalty remembers images, and such a validation set rewards it. So we choose nothing there: on the public sets all models keep
# the recipe of `medlib train`.
#
# ## One training, here
#
# Let two of them compete at once: hand-made features and the CNN. We call the function that made the study's records, but allow
# the network only 62 steps, twice through 1,000 images: a budget for a coffee break. The test is on 90 new patients, this
# lesson's own.

# %% tags=["plumbing"]
data = datasets.load("simbrain")
train, validation, class_names = data.train, data.validation, data.class_names
del data  # its own test images are not needed
test = new_patients(seed=20312)

# %%
def enter(model):
    config = {"data": "simbrain", "model": model, "n_train": n_images, "seed": seed}
    config |= {"steps": steps, "batch_size": 32}  # for networks
    tuned = architectures.TUNED[model]  # as the study has it
    return classification.measure(config, train, test, class_names, tuned=tuned)["scores"]


# %% [markdown]
# > **Predict** Which is ahead? And will a paired 95 % interval over the 90 patients exclude zero?

# %%
hand_made, network = enter("classical"), enter("cnn")
who = {"subjects": test.subjects}
gap = statistics.auc_test(test.labels, network, hand_made, **who).difference

# %% tags=["plumbing"]
live = {model: statistics.auc_interval(test.labels, s, **who) for model, s in (("classical", hand_made), ("cnn", network))}
ledger.record("12/hand_made_auc", live["classical"].value, parameters, limits=(0, 1), chance=0.5)
ledger.record("12/difference", gap.value, parameters, limits=(-1, 1), chance=0)
ledger.say("AUC: hand-made features {classical}, CNN {cnn}. **CNN minus hand-made: {gap}** (95 % over patients).", gap=gap, **live)

# %% [markdown]
# (The lines that begin with `12/` give the 99 % band of ten seeds.) The CNN only guesses, and the interval is clear of zero. A paper could be
# written: same patients, paired test, "significant". Now the same two in the study, where the network has about 500 steps:

# %% tags=["plumbing"]
at = n_images if n_images in AT else "all"
fig, ax = plt.subplots(figsize=(6, 2.3))
for y, model in enumerate(live):
    if study:
        ax.plot(aucs[model, at], [y] * len(aucs[model, at]), "o", ms=7, fillstyle="none", color=COLOUR[model])
    ax.plot(live[model].value, y, "*", ms=17, color=COLOUR[model], mec="k")
ax.plot([], [], "o", fillstyle="none", color=plotting.GREY, label="study, ten trainings, 500 steps")
ax.plot([], [], "*", ms=12, color="w", mec="k", label=f"here, one training, {steps} steps")
ax.axvline(0.5, color=plotting.GREY, ls=":", lw=1)
name_rows(ax, range(2), list(live), 12)
ax.set(xlim=(0.4, 1), ylim=(1.6, -0.6), xlabel=f"AUC on test patients, {n_images:,} training images")
fig.legend(loc="outside upper center", ncols=1, fontsize=10)
plotting.show(fig, alt="AUC of hand-made features and CNN. Stars: this lesson's single trainings, the CNN far behind. Circles: ten trainings of the study "
              "with 500 steps, where the CNN is far ahead.")

# %% [markdown]
# The order is reversed. (The stars have other test patients, and their 1,000 images come from 420 patients, not 510. That moves both models.) The
# paired interval was right about what it knows, *other patients*. It knows nothing of other seeds, and nothing of another budget.
# "The same budget" is a choice, too: equal steps are not equal seconds, and 500 of them suit some models better than
# others. So a fair comparison *states* its budget, and its result holds for that budget.

# %% tags=["plumbing"]
if study:
    able = [model for model in ("cnn", "resnet", "vit") if model in present]
    idle = {n: sum((aucs[model, n] < 0.75).sum() for model in able) for n in AT}
    if sum(idle.values()):
        ledger.say("Nor do 500 steps always suffice. Of the {all} trainings of {who}, {few} stayed below an AUC of 0.75 with 300 images, {middle} with 1,000, {many} with 2,040: they never took "
                   "off. Left out as accidents, they would make a network look better than it is.", all=10 * len(able), who=listed(able), few=idle[300], middle=idle[1000], many=idle["all"])

# %% [markdown]
# ## How many trainings name the winner?
#
# **Exercise 12.1: enough trainings?** `aucs` has a row for each model, a column for each training. Somebody can afford `k` trainings: draw `k`
# columns at random with replacement, the same columns for all models, and average every row over them. The row with the highest mean is
# declared the winner. Return the share of 2,000 such draws in which it is the row with the highest mean over *all* columns.
#
# > **Hint** `np.random.default_rng(0).integers(n, size=(2000, k))` draws all columns at once; `aucs[:, columns]` then has shape `(models, 2000, k)`.
# > ([Solution](solutions/12_comparing_architectures.ipynb))


# %% tags=["exercise"]
def share_right(aucs, k):
    return ...  # your code here


# %% tags=["solution"]
def share_right(aucs, k):
    rng = np.random.default_rng(0)
    columns = rng.integers(aucs.shape[1], size=(2000, k))
    declared = aucs[:, columns].mean(axis=2).argmax(axis=0)
    return np.mean(declared == aucs.mean(axis=1).argmax())


# %%
check.exercise("12.1", share_right)

# %% [markdown]
# For the study, computed by a tested version of that function:

# %% tags=["plumbing"]
from coursekit.check.lesson_12 import share_right as tested_share

if study:
    fig, ax = plt.subplots(figsize=(5.6, 3.2))
    trials = np.arange(1, 11)
    for n, size, shade in zip(AT, SIZES, (plotting.SKY, plotting.BLUE, plotting.BLACK), strict=True):
        single = np.array([aucs[model, n] for model in present])
        winner = TITLE[present[single.mean(axis=1).argmax()]]
        ax.plot(trials, [tested_share(single, k) for k in trials], "o-", color=shade, label=f"{size:,} images: {winner}")
    ax.set(xlabel="trainings of each model that are averaged", ylabel="how often the model that is\nbest over ten is named", ylim=(0, 1.03), xticks=trials)
    ax.legend(loc="lower right")
    plotting.show(fig, alt="How often the best of k averaged trainings is the model that is best over ten, against k, for three numbers of training images.")

# %% [markdown]
# The legend names the model that is best over all ten. Whether *that* is the truth the curves cannot say: it is
# the best of ten trainings on 90 patients. For this we need intervals.
#
# ## More than an AUC
#
# The AUC only asks for the *order* of the scores. If a physician is shown a probability, it should mean what it says: of all
# slices given 0.8, 80 % should have a tumour. That is **calibration**. Sort the $n$ images into bins by their probability. In bin $b$, with $n_b$
# images, compare the mean probability $\bar p_b$ with the share of tumours $\bar y_b$. The **expected calibration error** is
#
# $$\mathrm{ECE} = \sum_b \frac{n_b}{n} \, \lvert \bar p_b - \bar y_b \rvert$$
#
# ([Guo and others 2017](https://arxiv.org/abs/1706.04599), equation 3, here for the probability of a tumour.)
#
# **Exercise 12.2: calibration error.** Write it, with `bins` bins of equal width from 0 to 1. `labels` are 0 or 1.
#
# > **Hint** `np.minimum((p * bins).astype(int), bins - 1)` gives each image its bin. Empty bins have no mean: leave them out.
# > ([Solution](solutions/12_comparing_architectures.ipynb))


# %% tags=["exercise"]
def calibration_error(labels, p, bins=10):
    return ...  # your code here


# %% tags=["solution"]
def calibration_error(labels, p, bins=10):
    b = np.minimum((p * bins).astype(int), bins - 1)
    filled = [b == k for k in range(bins) if (b == k).any()]
    return sum(each.mean() * abs(p[each].mean() - labels[each].mean()) for each in filled)


# %%
check.exercise("12.2", calibration_error)

# %% [markdown]
# > **Predict** Our networks learnt from softened labels: 0.05 and 0.95 instead of 0 and 1. Are their probabilities too bold, or too
# > modest?

# %% tags=["plumbing"]
def probabilities(study, model, n="all"):
    """(trainings, images); logistic regressions give log-odds."""
    scores = study.scores[model, n]
    return scores if model in models.NAMES else expit(scores)


def draw_reliability(ax, model):
    p = probabilities(study, model)
    y, bins = np.broadcast_to(study.labels, p.shape), np.minimum((p * 10).astype(int), 9)
    filled = [bins == k for k in range(10) if (bins == k).sum() >= 20]
    ax.axline((0, 0), slope=1, color=plotting.GREY, lw=1, ls="--")
    ax.bar(np.arange(10) / 10 + 0.05, np.bincount(bins.ravel(), minlength=10) / p.size, 0.09, color=COLOUR[model], alpha=0.25)
    ax.plot([p[each].mean() for each in filled], [y[each].mean() for each in filled], "o-", color=COLOUR[model])
    ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
    ax.set_title(TITLE[model], color=COLOUR[model])


# %% tags=["plumbing"]
if study:
    fig, axes = plt.subplots(1, 2, figsize=(5.8, 3.3), sharey=True)
    for ax, model in zip(axes, ("cnn", "classical"), strict=True):
        draw_reliability(ax, model)
    axes[0].set_ylabel("share with a tumour")
    fig.supxlabel("probability given (bars: share of the images)", fontsize=12)
    plotting.show(fig, alt="Reliability of the CNN and of hand-made features, 2,040 training images: the share of slices with a tumour against the probability "
                  "given, and the diagonal of perfect calibration. The CNN's curve is steeper than the diagonal.")

# %% [markdown]
# Too modest: the CNN's curve is steeper than the diagonal. Of the slices to which it gives about 0.75, far more than 75 % have a tumour. The AUC does not notice. Those
# who read probabilities should (lesson 21).
#
# ### The table
#
# All 2,040 images, means of ten trainings; in brackets 95 % intervals over trainings *and* patients ([lesson
# 05](05_classical_baseline.ipynb)). Accuracy calls everything over one half a tumour.

# %%
from coursekit.check.lesson_12 import calibration_error as tested_error


def accuracy(labels, p):
    return np.mean((p > 0.5) == labels)


# %% tags=["plumbing"]
def say_table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    ledger.say("{table}", table="\n".join(f"| {' | '.join(map(str, line))} |" for line in lines))


def brief(found, digits=2, sign=""):
    low = found.low if sign else max(found.low, 0)  # differences have signs
    return f"{found.value:{sign}.{digits}f} [{low:{sign}.{digits}f},\u00a0{found.high:{sign}.{digits}f}]"


def measured(study, model, statistic):
    give = study.labels, probabilities(study, model)
    return statistics.seeds_and_patients_interval(statistic, *give, subjects=study.subjects)


if study:
    ranked = sorted(present, key=lambda model: -means["simbrain", model, "all"].value)
    say_table(["", "AUC", "accuracy", "calibration error"], [
        [TITLE[m], brief(means["simbrain", m, "all"], 3), brief(measured(study, m, accuracy)), brief(measured(study, m, tested_error))] for m in ranked])

# %% tags=["plumbing"]
if study:
    rng, p = np.random.default_rng(0), probabilities(study, "cnn")[0]
    floor = np.mean([tested_error((rng.random(len(p)) < p).astype(int), p) for _ in range(200)])
    ledger.say("Chance alone makes a calibration error: if the CNN's probabilities were all true, {n} images would still show about {floor:.2f} (less where probabilities hardly vary). So the errors of GAN and hand-made features may be chance. And it asks for little: "
               "half of the slices show a tumour, so whoever gives 0.5 to all of them guesses, and is perfectly calibrated.", n=len(p), floor=floor)

# %% [markdown]
# What does it cost? Weights are counted. CPU-seconds are for one training and its test, milliseconds for one prediction: means with 95 % intervals over ten
# trainings. The two slow cores had other work, too: trust the order of magnitude.

# %%
def over_trainings(values):
    """Mean with its 95 % interval, by Student's t: a time knows no patients."""
    mean, n = np.mean(values), len(values)
    half = stats.t.ppf(0.975, n - 1) * stats.sem(values)
    return statistics.Interval(mean, mean - half, mean + half, n)


# %% tags=["plumbing"]
def cost(model, what):
    """Of the study; where its older records do not tell, of the same trainings when they were tuned."""
    records = [study.records[(study.records["model"] == model) & (study.records["n_train"] == "all")]]
    records += [log.records[log.records["model"].str.startswith(f"{model} ")] for log in list(logs.values())[:1]]
    found = [each[what].dropna().to_numpy(float) for each in records if what in each]
    return next((over_trainings(each) for each in found if len(each) > 1), None)


def n_weights(model):
    if known := cost(model, "n_weights"):
        return round(known.value)
    return models.build(model, train.images.shape[1:], tasks.Classification(class_names), seed=0).count_params() if model in models.NAMES else 97


if study:
    costs = {m: (cost(m, "cpu_seconds"), cost(m, "milliseconds")) for m in ranked}
    say_table(["", "weights", "CPU-seconds", "milliseconds"], [
        [TITLE[m], f"{n_weights(m):,}", *(brief(each, 1) if each else "not measured" for each in costs[m])] for m in ranked])

# %% tags=["plumbing"]
def apart(heights, least):
    """Heights of labels, moved so that neighbours are at least so far apart."""
    heights = np.array(heights, float)
    order = np.argsort(heights)
    for _ in range(300):
        for low, high in zip(order[:-1], order[1:], strict=True):
            if (lack := least - (heights[high] - heights[low])) > 1e-6:
                heights[[low, high]] += np.array([-lack, lack]) / 2
    return heights


def label_right(ax, x, ends, which, place, least, titles=TITLE):
    """Write the models' names to the right, each joined to its point."""
    for y, at, end, model in zip(apart(ends, least), np.broadcast_to(x, len(ends)), ends, which, strict=True):
        arrow = {"arrowstyle": "-", "color": COLOUR[model], "lw": 0.7, "alpha": 0.6, "shrinkB": 5}
        ax.annotate(titles[model], (at, end), (place, y), fontsize=10, color=COLOUR[model], va="center", arrowprops=arrow)


# %% tags=["plumbing"]
if study:
    fig, ax = plt.subplots(figsize=(6.2, 3.9))
    for model in present:
        spent, found = costs[model][0], means["simbrain", model, "all"]
        ends = [[found.value - found.low], [found.high - found.value]], [[spent.value - spent.low], [spent.high - spent.value]]
        ax.errorbar(spent.value, found.value, *ends, fmt="o", color=COLOUR[model], capsize=2, ms=8)
    label_right(ax, [costs[m][0].value for m in present], [means["simbrain", m, "all"].value for m in present], present, 150, 0.05)
    ax.axhline(0.5, color=plotting.GREY, ls=":", lw=1)
    ax.set(xscale="log", xlabel="CPU-seconds for training and test", ylabel="AUC, 2,040 training images", ylim=(0.42, 1.02), xlim=(2, 130))
    ax.set_xticks([3, 10, 30, 100], ["3", "10", "30", "100"])
    plotting.show(fig, alt="AUC against CPU-seconds for each model, with 95 % intervals. Hand-made features take a few seconds; networks take many times as "
                  "long, and some are no better.")

# %% [markdown]
# Time alone buys nothing: the patch Transformer costs about as much as the CNN and is hardly better than guessing.
#
# ## Against the best
#
# Two intervals may overlap although one model is better on nearly every patient. So compare in *pairs*: the same patients, the same seed, one
# number, the difference. What is easy or hard for both drops out.

# %%
def difference(study, first, second, n="all", confidence=0.95):
    """AUC of the first minus the second, over trainings and patients together."""
    pair = np.stack([study.scores[first, n], study.scores[second, n]], axis=-1)

    def minus(labels, scores):
        return auc(labels, scores[:, 0]) - auc(labels, scores[:, 1])

    options = {"subjects": study.subjects, "confidence": confidence}
    return statistics.seeds_and_patients_interval(minus, study.labels, pair, **options)


# %% tags=["plumbing"]
def draw_differences(ax, n):
    """Thick 95 %, thin for all of them together; grey where the thick one holds zero."""
    for y, model in enumerate(others):
        found, wide = (difference(study, model, best, n, confidence) for confidence in (0.95, 1 - 0.05 / len(others)))
        colour = plotting.GREY if found.low <= 0 <= found.high else COLOUR[model]
        ax.plot([wide.low, wide.high], [y, y], "|-", color=colour, lw=1)
        ax.plot([found.low, found.high], [y, y], color=colour, lw=5, alpha=0.6)
        ax.plot(found.value, y, "o", color=colour, ms=8)
        behind[n][model] = 2 if wide.high < 0 else 1 if found.high < 0 else 0
    ax.axvline(0, color="k", lw=1, ls=":")
    name_rows(ax, range(len(others)), others, 10)
    ax.set(ylim=(len(others) - 0.5, -0.5))


# %% tags=["plumbing"]
if study:
    best, *others = ranked
    behind = {n: {} for n in AT}
    fig, axes = plt.subplots(3, 1, figsize=(5.6, 7.4), sharex=True)
    for ax, n, size in zip(axes, AT, SIZES, strict=True):
        draw_differences(ax, n)
        ax.set_title(f"{size:,} training images", fontsize=11)
    axes[-1].set_xlabel(f"AUC minus that of the {TITLE[best]}")
    plotting.show(fig, alt="Differences of AUC to the model with the highest mean, with 95 % intervals, thick, and wider ones, thin, at three numbers of "
                  "training images. Grey intervals hold zero.")
    for n, size in zip(AT, SIZES, strict=True):
        kinds = [[m for m in others if behind[n][m] == kind] for kind in (2, 1, 0)]
        ledger.say("**{n:,} images.** Behind the {best}: {sure}. Behind by the thick interval only: {thick}. No difference shown: {open}.",
                   n=size, best=TITLE[best], **dict(zip(("sure", "thick", "open"), map(listed, kinds), strict=True)))

# %% [markdown]
# Thick intervals are for 95 %, grey ones hold zero. An interval at 95 % misses the truth once in twenty times. With $m$ of them, the chance that at least one
# misses is $1 - 0.95^m$, if they miss independently. The thin ones are at $1 - 0.05/m$ ([Dunn 1961](https://doi.org/10.1080/01621459.1961.10482090)): that *any* of the
# $m$ misses then happens at most once in twenty studies.

# %% tags=["plumbing"]
if study:
    m = len(others)
    ledger.say("Here $m$ = {m} for each panel: {all:.0%} for the thick ones; the thin ones are at {level:.1%}.", m=m, all=1 - 0.95**m, level=1 - 0.05 / m)

# %% [markdown]
# One flaw is left: "the best" was picked on these very patients, so its own AUC is a little too good.
#
# ## An outsider
#
# "Hand-made features" are what somebody made by hand. *Which* features? [Lesson 05](05_classical_baseline.ipynb) saw that percentiles do not know whether bright
# pixels lie together. So ask just that. Slide a square window over the FLAIR image and keep the highest mean: five window sizes, five numbers.

# %%
from scipy.ndimage import uniform_filter


def brightest_windows(images):
    flair, sizes = images[..., 2], (1, 3, 5, 9, 15)
    highest = [uniform_filter(flair, (0, w, w)).max(axis=(1, 2)) for w in sizes]
    return np.stack(highest, axis=1)


# %% [markdown]
# The outsider enters the study under its rules: a logistic regression, its penalty chosen from the same five values on validation patients, the ten draws of
# patients that all others had, the same test patients.

# %%
windows = np.concatenate([brightest_windows(part.images) for part in (train, validation)])
labels = np.concatenate([train.labels, validation.labels])
subjects = np.concatenate([train.subjects, validation.subjects])


def draw(n, k):
    """Rows of the images that all models of the study learnt from with seed k."""
    if n == "all":
        return np.arange(len(labels))
    generator = np.random.default_rng(np.random.SeedSequence(k).spawn(2)[0])
    return classification.choose_images(subjects, labels, n, generator)


# %%
from medlib.models.classical import build_classifier


def regression(C=1):  # 1 / penalty
    return build_classifier().set_params(logisticregression__C=C)


def outsider(new, n):
    """Scores of new images, shape (10 trainings, images)."""
    draws = [draw(n, k) for k in range(10)]
    fitted = [regression().fit(windows[rows], labels[rows]) for rows in draws]
    return np.stack([each.decision_function(new) for each in fitted])


# %% tags=["plumbing"]
on_train, on_validation = windows[: len(train)], windows[len(train) :]
by_penalty = {c: auc(validation.labels, regression(c).fit(on_train, train.labels).decision_function(on_validation)) for c in tuning.PENALTIES}
ledger.say("C and AUC on validation patients: " + ", ".join(f"{c:g}: {found:.3f}" for c, found in by_penalty.items()) + ". We take 1.")
rows = classification.choose_images(train.subjects, train.labels, n_images, np.random.default_rng(np.random.SeedSequence(seed).spawn(2)[0]))
here = statistics.auc_interval(test.labels, regression().fit(windows[rows], labels[rows]).decision_function(brightest_windows(test.images)), **who)
ledger.record("12/five_windows_auc", here.value, parameters, limits=(0, 1), chance=0.5)
ledger.say("On this lesson's own test patients, from the same {n:,} images as above: AUC {here} (hand-made features {old}). And in the study:", n=n_images, here=here, old=live["classical"])
if study:
    for_study = new_patients(seed=20310)
    assert np.array_equal(for_study.subjects, study.subjects)  # they are the study's
    new_windows = brightest_windows(for_study.images)
    study.scores.update({("outsider", n): outsider(new_windows, n) for n in AT})
    means |= {("simbrain", "outsider", n): mean_with_interval(study, "outsider", n) for n in AT}

# %% tags=["plumbing"]
if study:
    fig, ax = plt.subplots(figsize=(6, 3.6))
    for model, style in (("cnn", "o-"), ("classical", "o-"), ("outsider", "s--")):
        found = [means["simbrain", model, n] for n in AT]
        ax.plot(SIZES, [f.value for f in found], style, color=COLOUR[model])
        ax.fill_between(SIZES, [f.low for f in found], [f.high for f in found], color=COLOUR[model], alpha=0.12, lw=0)
    which = ["cnn", "classical", "outsider"]
    label_right(ax, 2040, [means["simbrain", m, "all"].value for m in which], which, 2300, 0.03)
    ax.set(xscale="log", ylim=(0.7, 1), xlim=(280, 2150), xlabel="training images", ylabel="AUC on test patients")
    ax.set_xticks(SIZES, [f"{size:,}" for size in SIZES])
    ax.minorticks_off()
    plotting.show(fig, alt="AUC against training images of the CNN, of the hand-made features and of the five windows, with 95 % bands. The five windows "
                  "hardly gain from more images, the other two do.")
    say_table(["five windows minus ...", *(TITLE[m] for m in which[:2])], [
        [f"{size:,} images", *(brief(difference(study, "outsider", m, n), 3, "+") for m in which[:2])] for n, size in zip(AT, SIZES, strict=True)])

# %% [markdown]
# Five numbers, six weights, a second of work: and it rivals networks. They know what *we* know: here a tumour is a bright lump in FLAIR. That is built in, more firmly than anything a network has
# built in, and it needs few images. Whoever compares a network with a weak rival learns little about networks; we did so ourselves in lesson 05. (We also know
# how `simbrain` draws tumours. On real images nobody has tried these windows.)
#
# **Exercise 12.3: a contestant of your own.** Write a function that takes a split `known` (with `known.images` and `known.labels`) and `new` images, learns from the
# first, and returns a score for each of the second, higher for a tumour. Anything is allowed: other features, scikit-learn, a small network. Then run
# `against_outsider(contestant)`: both learn from 300 images and are compared on *validation* patients.
#
# > **Hint** Begin with `regression().fit(features(known.images), known.labels)`. In lesson 05 the tumour was an *even* disc: what is
# > low inside it? ([Solution](solutions/12_comparing_architectures.ipynb))

# %%
def against_outsider(contestant):
    generator = np.random.default_rng(seed)
    rows = classification.choose_images(train.subjects, train.labels, 300, generator)
    yours = contestant(train.take(rows), validation.images)
    theirs = regression().fit(windows[rows], labels[rows]).decision_function(on_validation)
    return statistics.auc_test(validation.labels, yours, theirs, subjects=validation.subjects)


# %% tags=["exercise"]
def contestant(known, new):
    return ...  # your code here


# %% tags=["solution"]
def even_and_bright(images):
    """The five windows, and the highest mean minus two standard deviations: bright and even."""
    flair, even = images[..., 2], []
    for w in (5, 9, 15):
        mean = uniform_filter(flair, (0, w, w))
        spread = np.sqrt((uniform_filter(flair**2, (0, w, w)) - mean**2).clip(0))
        even.append((mean - 2 * spread).max(axis=(1, 2)))
    return np.hstack([brightest_windows(images), np.stack(even, axis=1)])


def contestant(known, new):
    model = regression().fit(even_and_bright(known.images), known.labels)
    return model.decision_function(even_and_bright(new))


print("minus the outsider, on validation patients:", against_outsider(contestant))

# %%
check.exercise("12.3", contestant)

# %% [markdown]
# The more contestants you try, the more these validation patients flatter the best of them. A claim would need new patients.
#
# ## How many images?
#
# > **Predict** From 300 to 2,040 images: which model gains most? And will the order on brain slices return on two public sets, breast ultrasound and chest
# > X-rays?

# %% tags=["plumbing"]
def draw_curves(ax):
    which = [*present, *(["outsider"] if ("simbrain", "outsider", "all") in means else [])]
    for k, model in enumerate(which):
        found = [means["simbrain", model, n] for n in AT]
        x = SIZES * 1.008 ** (k - len(which) / 2)  # side by side
        style = "--" if model in ("gan_untrained", "outsider") else "-"
        ends = [f.value - f.low for f in found], [f.high - f.value for f in found]
        ax.plot(x, [f.value for f in found], style, marker="s" if model == "outsider" else "o", color=COLOUR[model], ms=5)
        ax.errorbar(x, [f.value for f in found], ends, fmt="none", color=COLOUR[model], alpha=0.45, lw=1.5)
    dodged = [2040 * 1.008 ** (k - len(which) / 2) for k in range(len(which))]
    label_right(ax, dodged, [means["simbrain", model, "all"].value for model in which], which, 2400, 0.043, TITLE)
    ax.axhline(0.5, color=plotting.GREY, ls=":", lw=1)
    ax.text(500, 0.503, "guessing", fontsize=9, color=plotting.GREY)
    ax.set(xscale="log", ylim=(0.43, 1.01), xlim=(280, 2180), xlabel="labelled training images", ylabel="AUC on new patients")
    ax.set_xticks(SIZES, [f"{size:,}" for size in SIZES])
    ax.minorticks_off()


# %% tags=["plumbing"]
def draw_set(ax, name, title):
    here = sorted((m for m in CONTESTANTS if (name, m, "all") in means), key=lambda m: means[name, m, "all"].value)
    for y, model in enumerate(here):
        found = means[name, model, "all"]
        ax.plot([found.low, found.high], [y, y], color=COLOUR[model], lw=5, alpha=0.35, solid_capstyle="round")
        ax.plot(found.value, y, "D", ms=7, color=COLOUR[model], mec="w")
    name_rows(ax, range(len(here)), here, 10)
    ax.set(ylim=(-0.6, len(here) - 0.4), xlim=(0.68, 1), xticks=(0.7, 0.8, 0.9, 1))
    ax.set_title(title, fontsize=11, loc="left")
    ax.set_xlabel(f"AUC on {len(of_set[name].labels)} test images", fontsize=10)


# %% tags=["plumbing"]
if study:
    fig = plt.figure(figsize=(7.4, 7.6))
    top, bottom = fig.subfigures(2, 1, height_ratios=(1.35, 1))
    top.suptitle("Which architecture reads medical images best?", fontsize=15, weight="bold")
    ax, (left, right) = top.subplots(), bottom.subplots(1, 2)
    draw_curves(ax)
    ax.set_title("Tumour in a brain slice? (simulated MR)", fontsize=11, loc="left")
    draw_set(left, "breastmnist", "Malignant? (breast ultrasound)")
    draw_set(right, "pneumoniamnist", "Pneumonia? (chest X-ray)")
    n_trainings = " or ".join(str(k) for k in sorted({each.records["seed"].nunique() for each in of_set.values()}))
    bottom.supxlabel(f"same patients for all; means of {n_trainings} trainings, 95 % intervals over trainings and patients (public sets: images)", fontsize=9.5, color="0.35")
    plotting.show(fig, save="12_architectures", alt="Top: AUC on simulated brain MR against the number of training images, a curve with 95 % intervals for each "
                  "model. Bottom: AUC with 95 % intervals of the models on breast ultrasound and on chest X-rays.")

# %% tags=["plumbing"]
if study:
    gains = {m: means["simbrain", m, "all"].value - means["simbrain", m, 300].value for m in present}
    most = max(gains, key=gains.get)
    firsts = [max((m for m in CONTESTANTS if (name, m, "all") in means), key=lambda m: means[name, m, "all"].value) for name in of_set]
    ledger.say("The largest gain: {most}, {gain:+.2f}. The highest mean: {each}.", most=TITLE[most], gain=gains[most],
               each=", ".join(f"{TITLE[m]} on {SETS[name]}" for name, m in zip(of_set, firsts, strict=True)))

# %% [markdown]
# How many images does a model need for a mean AUC of nine tenths? We draw straight lines between the three sizes, over the logarithm of the number of images:

# %%
def images_needed(curve, goal=0.9):
    """From mean AUCs at 300, 1,000 and 2,040 images; infinite where the goal is not reached."""
    best_so_far = np.maximum.accumulate(curve)
    return np.exp(np.interp(goal, best_so_far, np.log(SIZES), right=np.inf))


# %% [markdown]
# Its interval comes from the **bootstrap**: draw trainings and patients with replacement, again and again, and take the middle 95 % of the answers.

# %%
def needed_again(rng, model):
    drawn = rng.choice(names, len(names))  # patients
    rows = np.concatenate([rows_of[name] for name in drawn])
    trainings = rng.integers(10, size=10)
    new = {n: study.scores[model, n][trainings][:, rows] for n in AT}
    return images_needed([np.mean([auc(study.labels[rows], s) for s in new[n]]) for n in AT])


# %% tags=["plumbing"]
def spoken(number):
    return "300 or fewer" if number <= 300.5 else "more than 2,040" if np.isinf(number) else f"{float(f'{number:.2g}'):,.0f}"


if study:
    names = np.unique(study.subjects)
    rows_of = {name: np.flatnonzero(study.subjects == name) for name in names}
    found, rng = {}, np.random.default_rng(0)
    for model in [*ranked, "outsider"]:
        estimate = images_needed([means["simbrain", model, n].value for n in AT])
        close = means["simbrain", model, "all"].high > 0.88  # else no draw reaches it
        again = [needed_again(rng, model) for _ in range(200)] if close else [np.inf]
        found[model] = estimate, *np.quantile(again, [0.025, 0.975], method="nearest")
    say_table(["", "images for a mean AUC of 0.9", "95 % interval"], [
        [TITLE[m], spoken(each[0]), " to ".join(dict.fromkeys(map(spoken, each[1:])))] for m, each in sorted(found.items(), key=lambda item: item[1])])

# %% [markdown]
# The public sets in numbers. There the official splits hold, and networks are trained by the recipe of `medlib train`, with about 800 and 1,200 steps.

# %% tags=["plumbing"]
if study:
    public = list(SETS)[1:]
    for name in public:
        here = sorted((m for m in CONTESTANTS if (name, m, "all") in means), key=lambda m: -means[name, m, "all"].value)
        say_table([SETS[name], "AUC", "accuracy"], [[TITLE[m], brief(means[name, m, "all"], 3), brief(measured(of_set[name], m, accuracy))] for m in here])
    breast, chest = (max(np.mean(of_set[name].labels), 1 - np.mean(of_set[name].labels)) for name in public)
    ledger.say("Always giving the commoner answer is right in {breast:.0%} and {chest:.0%}.", breast=breast, chest=chest)

# %% [markdown]
# With 156 test images BreastMNIST's intervals are wide, and may still be too narrow: the set does not say which images show the same patient, so they are over
# images; and near-duplicates may stand in training *and* test. Published tables of that set rank models by much smaller differences.
#
# ## Seeds or patients?
#
# Every number here has two kinds of luck: *which training* (its seed, and the patients drawn for it), and *which 90 patients* were tested. The first is the
# standard deviation of ten trainings, tested on the same patients. The second we get from one training, by leaving out one patient after the other: the **jackknife**, which
# also stands behind our intervals.

# %%
def patients_sd(labels, scores, subjects):
    """Standard deviation of the AUC over other groups of as many patients."""
    left_out = [auc(labels[subjects != s], scores[subjects != s]) for s in np.unique(subjects)]
    return np.sqrt((len(left_out) - 1) * np.var(left_out))


# %% [markdown]
# > **Predict** Which is larger with 300 training images? With 2,040? And which can be bought down with computing time?

# %% tags=["plumbing"]
if study:
    two = {(m, n): (aucs[m, n].std(ddof=1), np.mean([patients_sd(study.labels, s, study.subjects) for s in study.scores[m, n]])) for m in present for n in AT}
    fig, ax = plt.subplots(figsize=(6, 4.4))
    wide, high = np.max(list(two.values()), axis=0) * (1.08, 1.25)
    ax.fill_between([0, high, wide], [0, high, high], color=plotting.SKY, alpha=0.2, lw=0)
    ax.fill_between([0, high], [0, high], [high, high], color=plotting.ORANGE, alpha=0.15, lw=0)
    ax.text(0.98 * wide, 0.04 * high, "training matters more", ha="right", fontsize=11, color=plotting.BLUE)
    ax.text(0.03 * high, 0.97 * high, "patients matter more", va="top", fontsize=11, color=plotting.VERMILION)
    for n, size, marker, fill in zip(AT, SIZES, "osD", ("none", "left", "full"), strict=True):
        for model in present:
            ax.plot(*two[model, n], marker, ms=10, color=COLOUR[model], fillstyle=fill, mew=2)
        ax.plot([], [], marker, color=plotting.GREY, fillstyle=fill, mew=2, label=f"{size:,} images")
    ax.set(xlim=(-0.02 * wide, wide), ylim=(0, high), xlabel="standard deviation over trainings", ylabel="standard deviation\nover test patients")
    dots = [plt.Line2D([], [], marker="o", ls="", color=COLOUR[m], label=TITLE[m]) for m in present]
    fig.legend(handles=[*ax.get_legend_handles_labels()[0], *dots], loc="outside lower center", ncols=3, fontsize=9.5)
    plotting.show(fig, alt="For each model and number of images, the standard deviation of the AUC over trainings against that over test patients. With 300 "
                  "images most networks lie where the training matters more; with 2,040 most lie where the patients matter more.")

# %% tags=["plumbing"]
if study:
    more = [sum(np.greater(*two[m, n]) for m in present) for n in AT]
    paired = difference(study, "classical", "cnn")
    ledger.say(
        "The training matters more for {few} of {k} models with 300 images, for {middle} with 1,000, for {many} with 2,040. Pairing helps against the luck of patients: hand-made "
        "features minus CNN has, with 2,040 images, an interval of {half:.3f} to either side. Had each model been tested on *other* patients, it would be about {unpaired:.3f}.", few=more[0],
        middle=more[1], many=more[2], k=len(present), half=(paired.high - paired.low) / 2, unpaired=2 * np.hypot(two["cnn", "all"][1], two["classical", "all"][1]))

# %% [markdown]
# More trainings shrink only the first kind. With few images, train often. With 2,040 it depends on the model: for the CNN the test patients are the limit, for
# the residual CNN and the stem Transformer it is still the trainings, even in a mean of ten. (With all 2,040 images no patients are drawn; only the
# seed is left.) Outside a simulation, no computer makes more patients.
#
# ## Common claims
#
# Each is a paired difference. Circles: simbrain with 2,040 images; squares: BreastMNIST; diamonds: PneumoniaMNIST. 95 % intervals, grey where they hold zero.

# %% tags=["plumbing"]
CLAIMS = {
    "Transformers have replaced CNNs": ("vit", "cnn", "large Transformers, trained on millions of images before (lesson 24)"),
    "bigger networks are better": ("resnet", "cnn", "larger images, more of them, more steps; real depth (lesson 16)"),
    "recurrent networks suit images": ("rnn", "cnn", "stacks of slices, each first read by a CNN ([lesson 09](09_recurrent_networks.ipynb))"),
    "learning without labels helps": ("gan", "gan_untrained", "other ways to learn without labels, on many more images"),
    "deep learning beats hand-made features": ("cnn", "classical", "few images"),
    "... any hand-made features": ("cnn", "outsider", "where nobody knows what to look for; real images"),
}
claimed = {claim: {name: difference(of_set[name], first, second) for name in of_set if {(first, "all"), (second, "all")} <= set(of_set[name].scores)}
           for claim, (first, second, _) in CLAIMS.items()}

# %% tags=["plumbing"]
if study:
    fig, ax = plt.subplots(figsize=(6, 7))
    for k, (claim, (first, second, _)) in enumerate(CLAIMS.items()):
        for name, found in claimed[claim].items():
            place = list(SETS).index(name)
            y = k + 0.04 + 0.19 * place
            colour = plotting.GREY if found.low <= 0 <= found.high else plotting.GREEN if found.low > 0 else plotting.VERMILION
            ax.plot([found.low, found.high], [y, y], color=colour, lw=3, alpha=0.6)
            ax.plot(found.value, y, "osD"[place], color=colour, ms=8)
        words = f'"{claim}"\n{TITLE[first]} minus {TITLE[second]}'
        ax.text(0, k - 0.29, words, ha="center", va="center", fontsize=10, linespacing=1.25, bbox={"color": "w", "pad": 0.5}, zorder=1)
    ax.axvline(0, color="k", lw=1, ls=":", zorder=0)
    edge = 1.05 * max(max(abs(f.low), abs(f.high)) for each in claimed.values() for f in each.values())
    ax.set(ylim=(len(CLAIMS) - 0.4, -0.55), yticks=[], xlim=(-edge, edge), xlabel="difference of AUC: against the claim (left), for it (right)")
    plotting.show(fig, alt="Six claims as paired differences of AUC on up to three data sets, with 95 % intervals; grey where the interval holds zero.")

# %% tags=["plumbing"]
def bold(gap):
    """Bold where the interval excludes zero."""
    text = brief(gap, 3, "+")
    return text if gap.low <= 0 <= gap.high else f"**{text.replace(' ', '** ', 1)}"


if study:
    say_table(["claim", "here", "where that may not hold"], [
        [claim, "<br>".join(f"{SETS[name]} {bold(gap)}" for name, gap in claimed[claim].items()) or "not measured", where]
        for claim, (*_, where) in CLAIMS.items()])

# %% [markdown]
# Bold numbers have a 95 % interval that excludes zero, not corrected for looking so often: those that exclude it narrowly (learning without labels; the RNN
# on BreastMNIST) would not survive that. The others do not show that there is no difference: look at the width. And what was "learnt without labels" met labels
# after all, in its logistic regression.
#
# ## What is each for?
#
# In short, with what the course has measured so far:

# %% tags=["plumbing"]
if study:
    turned, synthetic = stored("stacks", "reversed"), stored("synthetic")
    say_table(["", "worth a try when", "what this course has measured (AUC)"], [
        ["hand-made features", "you know what to look for, or images are few; as a rival, always", "300 images: " + "; ".join(f"{TITLE[m]} {brief(means['simbrain', m, 300])}" for m in ("outsider", "classical"))],
        ["CNN", "the finding is local: the default", f"1,000 images: {brief(means['simbrain', 'cnn', 1000])}"],
        ["residual CNN", "networks get deep, images large", "minus CNN: " + "; ".join(f"{SETS[name]} {gap.value:+.3f}" for name, gap in claimed["bigger networks are better"].items())],
        ["recurrent network", "order carries the answer: slices, time", f"[lesson 09](09_recurrent_networks.ipynb), stack the wrong way round? {brief(mean_with_interval(turned, 'gru'))}; without order exactly 0.5"],
        ["Transformer", "distant places must be compared; images are many, or others have trained it on millions", f"minus CNN, 2,040 images: {brief(claimed['Transformers have replaced CNNs']['simbrain'], 3, '+')}"],
        ["GAN", "images must be made, not judged", f"[lesson 11](11_generative_adversarial_networks.ipynb), its images as extra training images, 200 real ones: {brief(studies.compare(synthetic, 'real+generated', 'real', at=200), 3, '+')}"],
    ])

# %% [markdown]
# ## What this comparison cannot show
#
# - **Scale.** Images of 64 and 28 pixels, networks of 40,000 to 300,000 weights, some hundred steps on two cores. Large pre-trained networks play another game.
# - **Tuning.** One number a model. Steps, random changes and softened labels came from earlier work with CNNs: a head start for CNNs.
# - **Data.** `simbrain` is a simulation from one template, the public sets are small and curated. Nothing here says how a model would do in a hospital.
# - **The question.** One answer for each image, of two. Where, how large, how sure: lessons 17, 18 and 21.
#
# **In this lesson we**
#
# - compared our models on the same patients, with the same steps and tuning trials, over ten seeds;
# - saw a clear result, with a paired interval, reversed by a larger budget;
# - measured AUC, accuracy, calibration and cost with intervals, and allowed for looking many times;
# - met five hand-made numbers that rival networks while images are few;
# - told the luck of trainings from the luck of patients, and held common claims against three sets.
#
# **Next** comes part C, better networks: lesson 13 trains on a GPU, and begins with the recipe of [lesson 08](08_first_cnn.ipynb).
#
# **References**
#
# - C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger: On calibration of modern neural networks, *ICML* 2017, [arXiv:1706.04599](https://arxiv.org/abs/1706.04599).
# - D. D. Dorfman, K. S. Berbaum, C. E. Metz: Receiver operating characteristic rating analysis, *Investigative Radiology* 27 (1992) 723-731,
#   [doi:10.1097/00004424-199209000-00015](https://doi.org/10.1097/00004424-199209000-00015).
# - O. J. Dunn: Multiple comparisons among means, *Journal of the American Statistical Association* 56 (1961) 52-64,
#   [doi:10.1080/01621459.1961.10482090](https://doi.org/10.1080/01621459.1961.10482090).
# - A. Pawłowska, P. Karwat, N. Żołek: Letter to the editor re: Dataset of breast ultrasound images, *Data in Brief* 48 (2023) 109247,
#   [doi:10.1016/j.dib.2023.109247](https://doi.org/10.1016/j.dib.2023.109247).
# - X. Bouthillier and others: Accounting for variance in machine learning benchmarks, *MLSys* 2021, [arXiv:2103.03098](https://arxiv.org/abs/2103.03098).
# - J. Yang and others: MedMNIST v2, *Scientific Data* 10 (2023) 41, [doi:10.1038/s41597-022-01721-8](https://doi.org/10.1038/s41597-022-01721-8).

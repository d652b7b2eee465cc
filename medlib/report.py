"""The page about a run: what was done, how well it does, and where it errs."""

import base64
from html import escape

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.metrics import confusion_matrix, roc_curve

from medlib import plotting, tasks
from medlib.datasets.structure import Split
from medlib.evaluation import classification, detection, segmentation, statistics

N_ERRORS = 8  # shown as pictures
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 52rem; margin: 2rem auto; padding: 0 1rem; }
img { max-width: 100%; }
table { border-collapse: collapse; margin: 1rem 0; display: block; overflow-x: auto; }
th, td { padding: .25rem .75rem; text-align: right; border-top: 1px solid #ccc; }
td:first-child, th:first-child { text-align: left; }
"""


def page(
    config: dict, metrics: dict, history: pd.DataFrame, measured: Split, predictions: np.ndarray
) -> str:
    """Return a page in HTML that needs no other file and no network.

    Parameters
    ----------
    config, metrics : dict
        The content of ``config.json`` and ``metrics.json``.
    history : DataFrame
        One row an epoch of each network.
    measured : Split
        The images that the metrics are about.
    predictions : ndarray
        As the task predicts them.

    Returns
    -------
    str
    """
    task = tasks.TASKS[config["task"]](tuple(config["class_names"]))
    with plt.rc_context(plotting.STYLE):
        parts = [
            f"<h1>{escape(config['data']['name'])}</h1>",
            f"<p>Measured on {escape(metrics['measured_on'])}. Intervals are 95 %.</p>",
            _metrics(metrics),
            _picture(_curves(history), "Loss after each epoch, one line a network."),
            *SECTIONS[task.name](task, measured, predictions),
        ]
    parts += ["<h2>What was done</h2>", _words(config, metrics)]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(config['data']['name'])}</title><style>{STYLE}</style></head>\n<body>"
        + "\n".join(parts)
        + "</body></html>\n"
    )


def metric_table(metrics: dict) -> pd.DataFrame:
    """Return the metrics as texts, the network's beside the classical model's.

    Parameters
    ----------
    metrics : dict
        The content of ``metrics.json``.

    Returns
    -------
    DataFrame
        Index: the metrics; columns ``network [95 %]``, ``classical model [95 %]`` where it was
        measured, and ``n``: images, or what the metric is about (subjects, lesions).
    """
    columns = {"network [95 %]": metrics["metrics"]}
    if metrics.get("classical"):
        columns["classical model [95 %]"] = metrics["classical"]
    texts = {
        name: {row["metric"]: _interval(row) for row in rows} for name, rows in columns.items()
    }
    counts = {row["metric"]: row["n"] for row in metrics["metrics"]}
    return pd.DataFrame(texts | {"n": counts})


def remarks(metrics: dict) -> list[str]:
    """Return sentences about the networks one by one, and about the classical model."""
    sentences = []
    scores, name = np.array(metrics["networks"], dtype=float), metrics.get("score", "AUC")
    if len(scores) > 1:
        sentences.append(
            f"{name} of the single networks: {', '.join(f'{score:.3f}' for score in scores)}; "
            f"mean {scores.mean():.3f}, standard deviation {scores.std(ddof=1):.3f}."
        )
    if metrics.get("difference"):
        found = metrics["difference"]
        verdict = "which includes zero: these images cannot tell the two apart"
        if found["low"] > 0:
            verdict = "above zero: the network is better"
        elif found["high"] < 0:
            verdict = "below zero: the classical model is better, and simpler"
        sentences.append(
            f"AUC of the network minus the classical model's: {_interval(found)}, {verdict}."
        )
    return sentences


def _interval(row: dict) -> str:
    numbers = [np.nan if row[name] is None else row[name] for name in ("value", "low", "high")]
    return "{:.3f} [{:.3f}, {:.3f}]".format(*numbers)


def _metrics(metrics: dict) -> str:
    sentences = "".join(f"<p>{escape(text)}</p>" for text in remarks(metrics))
    return metric_table(metrics).to_html(na_rep="") + sentences


def _picture(fig, alt: str) -> str:
    png = base64.b64encode(plotting.png(fig)).decode("ascii")
    plt.close(fig)
    return f'<img alt="{escape(alt)}" src="data:image/png;base64,{png}">'


def _curves(history: pd.DataFrame):
    fig, ax = plt.subplots(figsize=(8, 3.2))
    for number, (_, rows) in enumerate(history.groupby("network", sort=False)):
        colour = plotting.COLOURS[number % len(plotting.COLOURS)]
        ax.plot(rows["epoch"], rows["loss"], color=colour, linewidth=1)
        if "validation_loss" in rows:
            ax.plot(rows["epoch"], rows["validation_loss"], color=colour, linestyle="--")
    ax.plot([], [], color=plotting.GREY, label="training")
    if "validation_loss" in history:
        ax.plot([], [], color=plotting.GREY, linestyle="--", label="validation")
    ax.set(xlabel="epoch", ylabel="loss", ylim=(0, None))
    ax.legend()
    return fig


# Of each task -------------------------------------------------------------------------------------


def _classes(task, measured: Split, predictions: np.ndarray) -> list[str]:
    names = task.class_names
    answers = classification.predicted_labels(predictions)
    counts = confusion_matrix(measured.labels, answers, labels=range(len(names)))
    parts = [
        f"<h2>{escape(' or '.join(names))}: right and wrong answers</h2>",
        pd.DataFrame(counts, names, names).to_html(),
        "<p>Rows: what is true. Columns: what was answered.</p>",
    ]
    if len(names) == 2:
        parts += ["<h2>Receiver operating characteristic</h2>", _roc(measured, predictions)]
    return [*parts, "<h2>The worst errors</h2>", _errors(measured, predictions, names)]


def _masks(task, measured: Split, predictions: np.ndarray) -> list[str]:
    masks = task.masks(predictions)
    dice = segmentation.dice(measured.masks > 0, masks)
    worst, middle = np.argsort(dice), np.isfinite(dice).sum() // 2  # nothing there, or found: last
    shown = list(dict.fromkeys([*worst[: N_ERRORS // 2], *worst[middle:][: N_ERRORS // 2]]))
    titles = [f"Dice {value:.2f}" for value in dice[shown]]
    fig = plotting.image_grid(_grey_or_colour(measured.images[shown]), titles=titles)
    for ax, row in zip(fig.axes, shown, strict=True):
        plotting.outline(ax, measured.masks[row])
        plotting.outline(ax, masks[row], colour=plotting.SKY)
    text = "The worst masks, then some of middling Dice: orange as annotated, blue as found."
    return ["<h2>Masks</h2>", _picture(fig, text), f"<p>{text} {segmentation.EMPTY_MASKS}</p>"]


def _boxes(task, measured: Split, predictions: np.ndarray) -> list[str]:
    lesions, alarms = task.matched(measured, predictions)
    curve = detection.free_response_curve(lesions, alarms, len(measured))
    fig, ax = plt.subplots(figsize=(5.2, 3.6))
    ax.plot(curve["false_positives"], curve["sensitivity"], drawstyle="steps-post")
    ax.set(xlabel="false positives an image", ylabel="sensitivity", ylim=(0, 1.02), xlim=(0, 2))
    text = "Free-response curve: lesions found against false alarms, for every least score."
    parts = ["<h2>Free-response curve</h2>", _picture(fig, text)]
    missed = lesions.sort_values("score")["image"].iloc[: N_ERRORS // 2]
    false = alarms.sort_values("score", ascending=False)["image"].iloc[: N_ERRORS // 2]
    shown = list(dict.fromkeys([*missed.astype(int), *false.astype(int)])) or [0]
    found = task.boxes(predictions[shown])
    titles = [f"surest {max(scores, default=0):.2f}" for _, scores in found]
    fig = plotting.image_grid(_grey_or_colour(measured.images[shown]), titles=titles)
    for ax, row, (boxes, scores) in zip(fig.axes, shown, found, strict=True):
        plotting.boxes(ax, measured.boxes[row])
        plotting.boxes(ax, boxes, colour=plotting.SKY, opacity=scores)
    text = "The least sure lesions, then the surest false alarms: orange as annotated, blue found."
    return [*parts, "<h2>Boxes</h2>", _picture(fig, text), f"<p>{text} {detection.HIT_RULE}</p>"]


SECTIONS = {"classify": _classes, "segment": _masks, "detect": _boxes}


def _roc(measured: Split, predictions: np.ndarray) -> str:
    grid = np.linspace(0, 1, 101)

    def sensitivities(labels, scores):
        if len(np.unique(labels)) < 2:
            return np.full(len(grid), np.nan)
        false_positives, sensitivity, _ = roc_curve(labels, scores)
        return np.interp(grid, false_positives, sensitivity)

    scores = predictions[:, 1]
    values = statistics.bootstrap_values(
        sensitivities, measured.labels, scores, groups=measured.subjects, n_resamples=300
    )
    low, high = np.nanpercentile(values, (2.5, 97.5), axis=0)
    fig, ax = plt.subplots(figsize=(4.6, 4.4))
    ax.fill_between(grid, low, high, color=plotting.BLUE, alpha=0.2, linewidth=0)
    plotting.roc_curve(ax, measured.labels, scores, label="network, with 95 % band")
    ax.legend(loc="lower right")
    return _picture(
        fig, "Sensitivity against 1 - specificity, with a band that resamples subjects."
    )


def _errors(measured: Split, predictions: np.ndarray, names: tuple[str, ...]) -> str:
    of_truth = predictions[np.arange(len(measured)), measured.labels]
    is_wrong = classification.predicted_labels(predictions) != measured.labels
    worst = []  # of each class
    for label in range(len(names)):
        rows = np.flatnonzero(is_wrong & (measured.labels == label))
        worst.extend(rows[np.argsort(of_truth[rows])][: max(1, N_ERRORS // len(names))])
    if not worst:
        return "<p>None.</p>"
    images = _grey_or_colour(measured.images[worst])
    titles = [f"{names[measured.labels[row]]}: {of_truth[row]:.2f}" for row in worst]
    text = "True class, and the probability that was given to it."
    return _picture(plotting.image_grid(images, titles=titles), text) + f"<p>{text}</p>"


def _grey_or_colour(images: np.ndarray) -> np.ndarray:
    """Return what can be drawn: the middle slice of stacks, the last of other channels."""
    images = images[:, images.shape[1] // 2] if images.ndim == 5 else images
    return images if images.shape[-1] in (1, 3) else images[..., -1:]


def _words(config: dict, metrics: dict) -> str:
    how = config["training"]
    data = config["data"]
    trained = f"{data['images']} images of {data['source']}, in the classes " + ", ".join(
        config["class_names"]
    )
    if config["folds"] > 1:
        scheme = (
            f"The subjects were dealt to {config['folds']} folds. Each fold was predicted by a "
            "network trained on the others; new images are predicted by their average."
        )
    else:
        scheme = (
            f"{config['seeds']} network{'s' * (config['seeds'] > 1)} trained on the training "
            "images and measured once on the test images."
        )
    sentences = [
        f"Data: {trained}, {' x '.join(map(str, config['image_shape'][:-1]))} pixels.",
        data["card"],
        scheme,
        f"Network {config['model']}, {how['epochs']} epochs, batches of {how['batch_size']}, "
        f"learning rate {how['learning_rate']:g}, seed {config['seed']}. The running average of "
        "the weights at the end was kept; no epoch was chosen.",
        "The classical model is a logistic regression on percentiles of intensity and measures of "
        "texture, trained and measured on the same images." * bool(metrics["classical"]),
        "Versions: " + ", ".join(f"{name} {text}" for name, text in config["versions"].items()),
        "This is research software, not a medical device.",
    ]
    return "".join(f"<p>{escape(sentence)}</p>" for sentence in sentences if sentence)

"""Figures with alternative text, in one style that colour-blind readers can read.

A lesson draws with matplotlib, then calls :func:`show`, or :func:`show_animation` for what moves:
they put the picture into the page together with a text for readers who cannot see it, and close the
figure. The colours are those of Okabe and
Ito, without the yellow (too pale on white) [1]_.

References
----------
.. [1] M. Okabe, K. Ito (2008). Color Universal Design: how to make figures and presentations that
   are friendly to colorblind people. https://jfly.uni-koeln.de/color/
"""

import base64
import io
import os
from collections.abc import Iterable
from html import escape
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medlib import files
from medlib.errors import UsageError

BLUE, ORANGE, GREEN, VERMILION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
SKY, PURPLE, BLACK, GREY = "#56B4E9", "#CC79A7", "#000000", "#7F7F7F"
COLOURS = (BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY, BLACK)

PAGE_WIDTH = 8.0  # inches: a figure as wide as the text of a page
PIXELS_PER_INCH = 110
LARGEST_FILM = 400_000  # bytes: a notebook with some of them still loads quickly

STYLE = {
    "figure.figsize": (PAGE_WIDTH, 4.0),
    "figure.constrained_layout.use": True,
    "figure.facecolor": "white",
    "font.size": 12,
    "axes.titlesize": 12,
    "axes.labelsize": 12,
    "axes.prop_cycle": plt.cycler(color=COLOURS),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "image.cmap": "gray",
    "image.interpolation": "nearest",
    "legend.frameon": False,
    "lines.linewidth": 2,
}


def use_style() -> None:
    """Draw every figure made from here on in the style of the course."""
    plt.rcParams.update(STYLE)


def show(fig: Figure, *, alt: str, save: str | None = None, fold: str | None = None) -> None:
    """Display a figure with its alternative text, and close it.

    Parameters
    ----------
    fig : Figure
    alt : str
        What a reader who cannot see the figure must know: what is drawn and what it shows.
    save : str, optional
        Name of the picture in the repository's ``figures/``, without an ending. It is written while
        the notebooks are being built (``MEDLIB_FIGURES`` names the folder), never from a reader's
        own session.
    fold : str, optional
        Words to click on before the figure is seen, for one that gives an answer away.

    Raises
    ------
    UsageError
        If the alternative text is missing or says next to nothing.
    """
    _expect_text(alt)
    picture = png(fig)
    plt.close(fig)
    folder = os.environ.get("MEDLIB_FIGURES")
    if save and folder:
        with files.replacing(Path(folder) / f"{save}.png") as partial:
            partial.write_bytes(picture)
    _display(picture, alt, fold)


def show_animation(frames: Iterable[Figure], *, alt: str, milliseconds: int = 200) -> None:
    """Display figures one after the other, again and again: an animated PNG.

    It plays in JupyterLab, in Colab and on GitHub. Paper shows the first frame, so that one should
    say something by itself. The last frame stays five times as long as the others.

    Parameters
    ----------
    frames : iterable of Figure
        All of one size. A generator may change one figure and yield it again.
    alt : str
        What moves, and what that shows, for readers who cannot see it.
    milliseconds : int
        How long a frame is shown.

    Raises
    ------
    UsageError
        If the text says next to nothing, the frames differ in size, or the film has more than
        400 kB.
    """
    from PIL import Image

    _expect_text(alt)
    pictures = []
    for fig in frames:
        pictures.append(_drawn(fig))
        plt.close(fig)
    if sizes := {picture.size for picture in pictures[1:]} - {pictures[0].size}:
        expected = f"frames of one size, {pictures[0].size} pixels as the first"
        raise UsageError("show_animation(frames)", expected=expected, found=f"{sizes}")
    width, height = pictures[0].size
    every = Image.new("RGB", (width, height * len(pictures)))  # colours that suit all frames
    for number, picture in enumerate(pictures):
        every.paste(picture, (0, number * height))
    palette = every.resize((width, every.height // 4), Image.Resampling.NEAREST).quantize(128)
    colours = np.array(palette.getpalette()).reshape(-1, 3)
    colours[colours.min(axis=1) >= 248] = 255  # Pillow looks up every fourth level: no tinted paper
    palette.putpalette(colours.astype(np.uint8).tobytes())
    first, *others = (each.quantize(palette=palette, dither=0) for each in pictures)
    durations = [milliseconds] * len(others) + [5 * milliseconds]
    film = io.BytesIO()
    first.save(film, "png", save_all=True, append_images=others, duration=durations, loop=0)
    if film.tell() > LARGEST_FILM:
        found = f"{film.tell() / 1000:.0f} kB in {len(pictures)} frames"
        advice = "Draw fewer or smaller frames, or let less change from one to the next"
        expected = f"at most {LARGEST_FILM / 1000:.0f} kB"
        raise UsageError("show_animation(frames)", expected=expected, found=found, advice=advice)
    _display(film.getvalue(), alt)


def png(fig: Figure) -> bytes:
    """Return a figure as a picture; the same figure gives the same bytes.

    Its colours are reduced to 256, which nobody sees and which keeps notebooks a third of the size.
    """
    reduced = io.BytesIO()
    _drawn(fig).quantize(256, dither=0).save(reduced, format="png", optimize=True)
    return reduced.getvalue()


def image_grid(
    images: np.ndarray,
    *,
    titles: list[str] | None = None,
    window: tuple[float, float] = (0.0, 1.0),
    columns: int = 4,
) -> Figure:
    """Draw images side by side, all with the same window, which is stated below them.

    Parameters
    ----------
    images : ndarray, shape (n, height, width), (n, height, width, 1) or (n, height, width, 3)
        Grey or red-green-blue images. Three channels that are not colours (T1, T2, FLAIR) are
        better drawn one at a time: ``images[..., 2]``.
    titles : list of str, optional
        One for each image.
    window : tuple of float
        Values drawn black and white. It is never adapted to an image, so that equal greys are equal
        values everywhere in the figure.
    columns : int
        Images in a row.

    Returns
    -------
    Figure
        ``fig.axes[i]`` belongs to image ``i``.

    Raises
    ------
    UsageError
        If the shapes, the number of titles or the window do not fit.
    """
    images = np.asarray(images)
    if images.ndim == 4 and images.shape[-1] == 1:
        images = images[..., 0]
    low, high = window
    columns = max(1, min(columns, len(images)))
    rows = -(-len(images) // columns)
    cell = min(PAGE_WIDTH / columns, 3.0)
    height = cell * images.shape[1] / images.shape[2] + (0.35 if titles else 0.0)
    with plt.rc_context(STYLE):
        fig, axes = plt.subplots(
            rows, columns, figsize=(cell * columns, height * rows + 0.3), squeeze=False
        )
        for ax in axes.flat[len(images) :]:
            ax.remove()
        for ax, image, title in zip(fig.axes, images, titles or [""] * len(images), strict=True):
            ax.set_axis_off()
            ax.imshow(np.clip((image - low) / (high - low), 0, 1), cmap="gray", vmin=0, vmax=1)
            ax.set_title(title, fontsize=11)
        fig.supxlabel(f"window {low:g} (black) to {high:g} (white)", fontsize=10, color=GREY)
    return fig


def outline(ax: Axes, mask: np.ndarray, *, colour: str = ORANGE) -> None:
    """Draw the border of a mask over an image.

    Parameters
    ----------
    ax : Axes
        With the image drawn in pixel coordinates.
    mask : ndarray of bool or int, shape (height, width)
        Inside is above 0. An empty mask draws nothing.
    colour : str
    """
    mask = np.asarray(mask) > 0
    if mask.any():
        padded = np.pad(mask, 1).astype(float)  # so that a mask at the edge is closed as well
        rows, columns = (np.arange(size) - 1 for size in padded.shape)
        limits = ax.axis()
        ax.contour(columns, rows, padded, levels=[0.5], colors=[colour], linewidths=1.5)
        ax.axis(limits)


def boxes(ax: Axes, corners: np.ndarray, *, colour: str = ORANGE, opacity=1.0) -> None:
    """Draw boxes over an image.

    Parameters
    ----------
    ax : Axes
        With the image drawn in pixel coordinates.
    corners : ndarray, shape (k, 4)
        First row and column, last row + 1 and column + 1.
    colour : str
    opacity : float, or one for each box
        From 0 to 1.
    """
    for box, alpha in zip(corners, np.resize(opacity, len(corners)), strict=True):
        top, left, bottom, right = box - 0.5  # the middle of a pixel is a whole number
        across, down = [left, right, right, left, left], [top, top, bottom, bottom, top]
        ax.plot(across, down, color=colour, linewidth=1.5, alpha=alpha)


def roc_curve(ax: Axes, labels: np.ndarray, scores: np.ndarray, *, label: str) -> None:
    """Draw a receiver operating characteristic, with the diagonal of a coin toss below it.

    Parameters
    ----------
    ax : Axes
    labels : ndarray of int, shape (n,)
        1 for the class looked for, 0 for the other.
    scores : ndarray of float, shape (n,)
        Higher for the class looked for.
    label : str
        Name in the legend, for example with the area under the curve and its interval.
    """
    from sklearn import metrics

    false_positives, sensitivity, _ = metrics.roc_curve(labels, scores)
    ax.plot(false_positives, sensitivity, drawstyle="steps-post", label=label)
    if not any(line.get_gid() == "coin toss" for line in ax.lines):
        ax.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--", gid="coin toss")
    ax.set(xlabel="1 - specificity", ylabel="sensitivity", aspect="equal")
    ax.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))


def _expect_text(alt: str) -> None:
    if not isinstance(alt, str) or len(alt.split()) < 3:
        expected = "a sentence that says what the figure shows"
        raise UsageError("show(alt=...)", expected=expected, found=repr(alt))


def _drawn(fig: Figure):
    from PIL import Image

    drawn = io.BytesIO()
    fig.savefig(drawn, format="png", dpi=PIXELS_PER_INCH)
    return Image.open(drawn).convert("RGB")


def _display(picture: bytes, alt: str, fold: str | None = None) -> None:
    """Put the picture into the notebook; outside a notebook print its text."""
    from IPython import get_ipython
    from IPython.display import display

    if get_ipython() is None:
        print(alt)
        return
    encoded = base64.b64encode(picture).decode("ascii")
    data = {"image/png": encoded, "text/plain": alt}
    if fold:
        image = f'<img alt="{escape(alt)}" src="data:image/png;base64,{encoded}">'
        html = f"<details><summary>{escape(fold)}</summary>{image}</details>"
        data = {"text/html": html, "text/plain": alt}
    display(data, raw=True, metadata={"image/png": {"alt": alt}})

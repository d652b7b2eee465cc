import io

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image
from sklearn import metrics

from medlib import plotting
from medlib.errors import UsageError

matplotlib.use("Agg")
ALT = "A curve that rises"


@pytest.fixture(autouse=True)
def _no_figure_is_left():
    yield
    plt.close("all")


def test_show_closes_the_figure_and_writes_it_only_when_asked(tmp_path, monkeypatch, capsys):
    fig, _ = plt.subplots()
    plotting.show(fig, alt=ALT, save="05_curve")
    assert not plt.fignum_exists(fig.number)
    assert ALT in capsys.readouterr().out
    monkeypatch.setenv("MEDLIB_FIGURES", str(tmp_path))
    pictures = []
    for _ in range(2):
        fig, ax = plt.subplots()
        ax.plot([0, 1])
        plotting.show(fig, alt=ALT, save="05_curve")
        pictures.append((tmp_path / "05_curve.png").read_bytes())
    assert pictures[0] == pictures[1]
    assert [path.name for path in tmp_path.iterdir()] == ["05_curve.png"]


def test_a_folded_figure_is_seen_only_after_a_click(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.get_ipython", lambda: True)
    monkeypatch.setattr("IPython.display.display", lambda data, **_: shown.append(data))
    for fold in (None, "Answer: 2 < 3"):
        plotting.show(plt.figure(figsize=(1, 1)), alt='a "line" that rises', fold=fold)
    plain, folded = shown
    assert set(plain) == {"image/png", "text/plain"}
    assert "image/png" not in folded
    assert folded["text/html"].startswith("<details><summary>Answer: 2 &lt; 3</summary><img alt=")
    assert "a &quot;line&quot; that rises" in folded["text/html"]


@pytest.mark.parametrize("alt", ["", "   ", "figure", None])
def test_show_wants_an_alternative_text(alt):
    with pytest.raises(UsageError, match="alt"):
        plotting.show(plt.figure(), alt=alt)


def _bars(width=4):
    fig, ax = plt.subplots(figsize=(width, 2))
    for height in (1, 3, 2):
        ax.cla()
        ax.set(ylim=(0, 4))
        yield fig if ax.bar(0, height) else None


@pytest.fixture
def displayed(monkeypatch):
    shown = []
    monkeypatch.setattr(plotting, "_display", lambda picture, alt, *_: shown.append(picture))
    return shown


def test_an_animation_plays_its_frames_in_order_and_closes_its_figure(displayed):
    for _ in range(2):
        plotting.show_animation(_bars(), alt=ALT, milliseconds=50)
    assert displayed[0] == displayed[1]
    assert not plt.get_fignums()
    film = Image.open(io.BytesIO(displayed[0]))
    assert (film.format, film.n_frames, film.info["loop"]) == ("PNG", 3, 0)
    coloured, milliseconds = [], []
    for frame in range(3):
        film.seek(frame)
        milliseconds.append(film.info["duration"])
        pixels = np.asarray(film.convert("RGB")).astype(int)
        coloured.append((np.ptp(pixels, axis=2) > 50).sum())
        assert pixels[0, 0].tolist() == [255, 255, 255]
    assert milliseconds == [50, 50, 250]
    assert coloured[1] / coloured[0] == pytest.approx(3, rel=0.05)
    assert coloured[2] / coloured[0] == pytest.approx(2, rel=0.05)


def test_an_animation_that_is_too_large_or_jumps_is_refused(displayed):
    with pytest.raises(UsageError, match="alt"):
        plotting.show_animation(_bars(), alt="bars")
    with pytest.raises(UsageError, match="one size"):
        plotting.show_animation([*_bars(), *_bars(width=3)], alt=ALT)
    noise = np.random.default_rng(0).random((12, 300, 300))
    with pytest.raises(UsageError, match="at most 400 kB"):
        plotting.show_animation((plotting.image_grid(each[None]) for each in noise), alt=ALT)
    assert not displayed


def test_image_grid_draws_equal_values_equally_and_states_the_window():
    images = np.stack([np.full((8, 8), 0.2), np.linspace(0, 1, 64).reshape(8, 8)])
    fig = plotting.image_grid(images, titles=["flat", "ramp"], window=(0.1, 0.6))
    assert [ax.get_title() for ax in fig.axes] == ["flat", "ramp"]
    drawn = [ax.images[0] for ax in fig.axes]
    assert {image.get_clim() for image in drawn} == {(0, 1)}
    assert drawn[0].get_array().data == pytest.approx(
        np.full((8, 8), 0.2)
    )  # (0.2 - 0.1) / (0.6 - 0.1)
    assert drawn[1].get_array().max() == 1
    assert "0.1" in fig.get_supxlabel()
    assert "0.6" in fig.get_supxlabel()


@pytest.mark.parametrize("shape", [(5, 8, 8), (5, 8, 8, 1), (5, 8, 8, 3)])
def test_image_grid_has_one_axes_for_each_image(shape):
    fig = plotting.image_grid(np.zeros(shape), columns=3)
    assert len(fig.axes) == 5


def test_outline_goes_around_the_mask_and_leaves_the_view():
    fig = plotting.image_grid(np.zeros((2, 10, 10)))
    mask = np.zeros((10, 10), bool)
    mask[0:3, 4:8] = True  # at the edge of the image
    before = fig.axes[0].axis()
    plotting.outline(fig.axes[0], mask)
    assert fig.axes[0].axis() == before
    (path,) = fig.axes[0].collections[0].get_paths()
    assert path.get_extents().extents == pytest.approx([3.5, -0.5, 7.5, 2.5])
    plotting.outline(fig.axes[1], np.zeros((10, 10), bool))
    assert not fig.axes[1].collections


def test_roc_curve_has_the_area_of_the_auc_and_one_diagonal():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 200)
    scores = labels + generator.normal(0, 1, 200)
    _, ax = plt.subplots()
    plotting.roc_curve(ax, labels, scores, label="a")
    plotting.roc_curve(ax, labels, -scores, label="b")
    x, y = ax.lines[0].get_data()
    assert np.trapezoid(y, x) == pytest.approx(metrics.roc_auc_score(labels, scores))
    assert sum(line.get_gid() == "coin toss" for line in ax.lines) == 1


def test_colours_are_told_apart_by_colour_blind_readers():
    """Least distance in Lab, also as a deuteranope sees them (Machado 2009, severity 1)."""
    from matplotlib.colors import to_rgb
    from skimage.color import deltaE_ciede2000, rgb2lab

    deuteranopia = np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    )
    rgb = np.array([to_rgb(colour) for colour in plotting.COLOURS[:4]])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ deuteranopia.T, 0, 1)
    seen = np.where(seen <= 0.0031308, seen * 12.92, 1.055 * seen ** (1 / 2.4) - 0.055)
    for colours in (rgb, seen):
        lab = rgb2lab(colours[None])[0]
        distances = deltaE_ciede2000(lab[:, None], lab[None])
        assert distances[np.triu_indices(4, 1)].min() > 10

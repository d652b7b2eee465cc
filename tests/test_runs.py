"""A run folder is whole, says how it was made, and survives whatever stops its making."""

import errno
import json
import os
import re
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pydicom
import pytest
from PIL import Image

from medlib import cli, files, models, runfiles, runs
from medlib.errors import DataError, RunError, UsageError

EPOCHS, FOLDS = 3, 2
MODELS = [f"model_{k + 1}.keras" for k in range(FOLDS)]


class Killed(BaseException):
    """Stands for kill -9: nothing in the package may catch it."""


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    """A CSV of 60 noisy images: of a bright disc, or of none; in masks.csv with their masks."""
    return write_images(tmp_path_factory.mktemp("images"), seed=0, with_masks=True)


def write_images(folder, *, seed, n=60, with_masks=False):
    generator = np.random.default_rng(seed)
    down, across = np.mgrid[:12, :12]
    rows, discs = [], []
    for number in range(n):
        pixels = generator.integers(0, 120, (12, 12))
        disc = np.zeros((12, 12), bool)
        if number % 2:
            centre = generator.integers(3, 9, 2)
            disc = (down - centre[0]) ** 2 + (across - centre[1]) ** 2 < 8
            pixels[disc] += 80
        name = f"{number:02}.png"
        Image.fromarray(pixels.astype(np.uint8)).save(folder / name)
        discs.append(Image.fromarray(disc))
        rows.append((name, ("healthy", "tumour")[number % 2], f"{seed}-{number}"))
    table = pd.DataFrame(rows, columns=["image", "label", "subject"])
    table.to_csv(folder / "labels.csv", index=False)
    if with_masks:
        (folder / "masks").mkdir()
        for disc, name in zip(discs, table["image"], strict=True):
            disc.save(folder / "masks" / name)
        table.assign(mask="masks/" + table["image"]).to_csv(folder / "masks.csv", index=False)
    return folder / "labels.csv"


def build_tiny(name, image_shape, task, *, seed):
    """Build a network that takes no time, with something random in it."""
    import keras

    inputs = keras.Input(image_shape)
    strides = {"classify": 1, "segment": 2, "detect": 4}[task.name]
    smaller = keras.layers.Conv2D(2, 3, strides=strides, padding="same", activation="relu")
    first = keras.layers.Flatten() if task.name == "classify" else smaller
    x = keras.layers.Dropout(0.1, seed=seed)(first(inputs))
    return keras.Model(inputs, task.head(x, seed=seed))


@pytest.fixture(scope="module", autouse=True)
def tiny_network():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "build", build_tiny)
        yield


def trained(images, out, **settings):
    settings = {"image_size": 12, "epochs": EPOCHS, "folds": FOLDS} | settings
    return runs.train(str(images), out, **settings)


def read_pixels(paths):
    pixels = np.stack([np.asarray(Image.open(path)) for path in paths])
    return pixels[..., np.newaxis].astype(np.float32) / 255


@pytest.fixture(scope="module")
def finished(images, tmp_path_factory, tiny_network):
    out = tmp_path_factory.mktemp("runs") / "finished"
    trained(images, out)
    return out


@pytest.fixture(scope="module")
def finished_masks(images, tmp_path_factory, tiny_network):
    out = tmp_path_factory.mktemp("runs") / "masks"
    trained(images.with_name("masks.csv"), out, task="segment")
    return out


@pytest.fixture(scope="module")
def finished_boxes(images, tmp_path_factory, tiny_network):
    out = tmp_path_factory.mktemp("runs") / "boxes"
    trained(images.with_name("masks.csv"), out, task="detect")
    return out


def content(out):
    """All files of a run; the networks as their weights, because the archive has a date in it."""
    networks = {path.name: runfiles.load_model(path) for path in out.glob("*.keras")}
    weights = {name: [w.tobytes() for w in net.get_weights()] for name, net in networks.items()}
    tables = {path.name: path.read_bytes() for path in out.iterdir() if path.suffix != ".keras"}
    return tables | weights


def test_a_run_has_all_its_files_and_no_other(finished):
    assert sorted(path.name for path in finished.iterdir()) == sorted(
        [
            *MODELS,
            runfiles.CONFIG,
            runfiles.HISTORY,
            runfiles.METRICS,
            runfiles.PREDICTIONS,
            runfiles.REPORT,
            runfiles.SPLITS,
        ]
    )


def value(metrics, name):
    (row,) = [row for row in metrics if row["metric"] == name]
    return row


def test_every_image_is_measured_once_and_by_a_network_that_had_not_seen_its_subject(finished):
    splits = pd.read_csv(finished / runfiles.SPLITS, dtype=str)
    predictions = pd.read_csv(finished / runfiles.PREDICTIONS)
    assert list(predictions["image"]) == list(splits["image"])
    assert list(predictions["true_label"]) == list(splits["label"])
    assert set(splits["split"]) == {"fold 1 of 2", "fold 2 of 2"}
    assert splits.groupby("subject")["split"].nunique().max() == 1
    assert splits.groupby("split")["label"].nunique().min() == 2
    metrics = runfiles.read_metrics(finished)
    accuracy = value(metrics["metrics"], "accuracy")
    right = (predictions["label"] == predictions["true_label"]).mean()
    assert accuracy["value"] == pytest.approx(right)
    assert accuracy["low"] <= right <= accuracy["high"]
    assert accuracy["n"] == 60
    assert len(metrics["networks"]) == FOLDS
    history = pd.read_csv(finished / runfiles.HISTORY)
    assert history.groupby("network")["epoch"].max().tolist() == [EPOCHS] * FOLDS


def test_each_fold_is_predicted_by_its_own_network_and_the_mirror_image(images, tmp_path):
    table = pd.read_csv(images)
    trained(images, tmp_path / "before")
    splits = pd.read_csv(tmp_path / "before" / runfiles.SPLITS)
    first = (splits["split"] == "fold 1 of 2").to_numpy()
    config = json.loads((tmp_path / "before" / runfiles.CONFIG).read_text())
    assert config["folds"] == FOLDS
    run = runs.read_run(tmp_path / "before")
    pixels = read_pixels(images.parent / name for name in table["image"])
    found = pd.read_csv(tmp_path / "before" / runfiles.PREDICTIONS)["probability_tumour"].to_numpy()
    for network, rows in zip(run.networks, (first, ~first), strict=True):
        own = [
            network.predict(x, verbose=0)[:, 0] for x in (pixels[rows], pixels[rows][:, :, ::-1])
        ]
        assert np.allclose(np.mean(own, axis=0), found[rows], atol=1e-6)


def test_the_classical_model_is_measured_beside_the_network(finished):
    metrics = runfiles.read_metrics(finished)
    assert value(metrics["classical"], "AUC")["n"] == 60
    gap = value(metrics["metrics"], "AUC")["value"] - value(metrics["classical"], "AUC")["value"]
    assert metrics["difference"]["value"] == pytest.approx(gap)


def test_the_page_needs_no_other_file_and_says_what_was_done(finished):
    page = (finished / runfiles.REPORT).read_text()
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    for words in ("sensitivity (tumour)", "2 folds", "seed 0", "classical model", "not a medical"):
        assert words in page
    assert page.count("<img alt=") >= 3


def test_a_set_with_a_split_of_its_own_is_measured_on_its_test_images(images, tmp_path):
    table = pd.read_csv(images)
    table["image"] = [str(images.parent / name) for name in table["image"]]
    table["split"] = np.repeat(["train", "validation", "test"], 20)
    table.to_csv(tmp_path / "split.csv", index=False)
    trained(tmp_path / "split.csv", tmp_path / "run", seeds=2)
    config = json.loads((tmp_path / "run" / runfiles.CONFIG).read_text())
    assert (config["folds"], config["seeds"]) == (1, 2)
    predictions = pd.read_csv(tmp_path / "run" / runfiles.PREDICTIONS)
    assert list(predictions["image"]) == list(table["image"][40:])
    history = pd.read_csv(tmp_path / "run" / runfiles.HISTORY)
    assert history["validation_loss"].notna().all()
    assert history["network"].unique().tolist() == ["network 1 of 2", "network 2 of 2"]
    one, two = (runfiles.load_model(tmp_path / "run" / name).get_weights() for name in MODELS)
    assert not np.array_equal(one[0], two[0])


def test_one_fold_is_a_single_split(images, tmp_path):
    trained(images, tmp_path / "run", folds=1)
    counts = pd.read_csv(tmp_path / "run" / runfiles.SPLITS)["split"].value_counts()
    assert counts["train"] == pytest.approx(42, abs=2)
    assert counts["test"] == len(pd.read_csv(tmp_path / "run" / runfiles.PREDICTIONS))
    assert (tmp_path / "run" / "model.keras").exists()


def test_the_same_settings_again_change_nothing(finished, images):
    before = {path.name: path.stat().st_mtime_ns for path in finished.iterdir()}
    assert trained(images, finished) is None
    assert {path.name: path.stat().st_mtime_ns for path in finished.iterdir()} == before


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seed": 1}, "seed 0.*found seed 1"),
        ({"epochs": 9}, "epochs 3.*found epochs 9"),
        ({"model": "resnet"}, "model cnn.*found model resnet"),
        ({"folds": 3}, "folds 2.*found folds 3"),
        ({"image_size": 10}, r"image_shape \[12, 12, 1\].*found image_shape \[10"),
        ({"merge": {"lesion": ("tumour",)}}, "class_names"),
    ],
)
def test_other_settings_in_the_same_folder_are_refused(finished, images, settings, message):
    before = content(finished)
    with pytest.raises(UsageError, match=message):
        trained(images, finished, **settings)
    assert content(finished) == before


def test_another_task_in_the_same_folder_is_refused(finished, images):
    with pytest.raises(UsageError, match="task classify.*found task segment"):
        trained(images.with_name("masks.csv"), finished, task="segment")


def test_other_images_in_the_same_folder_are_refused(finished, tmp_path):
    with pytest.raises(UsageError, match="other images"):
        trained(write_images(tmp_path, seed=1), finished)


def test_folds_do_not_depend_on_the_seed_of_the_training(finished, images, tmp_path):
    trained(images, tmp_path / "run", seed=5, epochs=1)
    one, other = (pd.read_csv(out / runfiles.SPLITS) for out in (finished, tmp_path / "run"))
    pd.testing.assert_frame_equal(one, other)


# The configuration; of each fold a checkpoint an epoch, its history and its network; four tables.
N_WRITES = 1 + FOLDS * (EPOCHS + 2) + 4


@pytest.mark.parametrize(
    ("task", "write", "after"),
    [
        *(("classify", write, False) for write in range(N_WRITES)),
        ("classify", N_WRITES - 1, True),
        *((task, n, False) for task in ("segment", "detect") for n in (2, 8, N_WRITES - 1)),
    ],
)
def test_killed_at_any_write_it_ends_as_if_it_had_not_been(
    task, write, after, request, images, tmp_path, monkeypatch
):
    names = {"classify": "finished", "segment": "finished_masks", "detect": "finished_boxes"}
    finished = request.getfixturevalue(names[task])
    images = images if task == "classify" else images.with_name("masks.csv")
    count = 0

    def replace(partial, path):
        nonlocal count
        count += 1
        if count == write + 1 and after:
            real(partial, path)
        if count == write + 1:
            # A killed process leaves its temporary file: give it back after the clean-up.
            monkeypatch.setattr(Path, "unlink", lambda self, missing_ok=False: None)
            raise Killed
        real(partial, path)

    real = os.replace
    monkeypatch.setattr(files.os, "replace", replace)
    with pytest.raises(Killed):
        trained(images, tmp_path / "run", task=task)
    monkeypatch.undo()
    trained(images, tmp_path / "run", task=task)
    assert content(tmp_path / "run") == content(finished)


def test_a_folder_of_another_program_is_left_alone(tmp_path, images):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(RunError, match=r"found thesis.tex. Nothing was changed"):
        trained(images, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("text", ['{"epochs": 3}', "[1, 2]", '"medlib_run"', "not JSON", ""])
def test_a_configuration_of_another_program_is_left_alone(tmp_path, images, text):
    (tmp_path / runfiles.CONFIG).write_text(text)
    with pytest.raises(RunError, match=r"config.json"):
        trained(images, tmp_path)
    assert (tmp_path / runfiles.CONFIG).read_text() == text
    assert len(list(tmp_path.iterdir())) == 1


def test_a_run_of_a_newer_medlib_is_left_alone(tmp_path, images):
    (tmp_path / runfiles.CONFIG).write_text('{"medlib_run": 99, "medlib": "9.0"}')
    with pytest.raises(RunError, match=r"format 99 of medlib 9.0. Nothing was changed"):
        trained(images, tmp_path)


def test_a_run_folder_cannot_be_a_file_or_in_one(tmp_path, images):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="found a file"):
        trained(images, tmp_path / "file")
    with pytest.raises(RunError, match="can be written"):
        trained(images, tmp_path / "file" / "run")


@pytest.mark.parametrize("name", [runfiles.CHECKPOINT, MODELS[0], runfiles.METRICS])
def test_a_full_disk_is_one_error_and_space_continues_it(
    name, finished, images, tmp_path, monkeypatch
):
    def replace(partial, path):
        if Path(path).name == name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(partial, path)

    real = os.replace
    monkeypatch.setattr(files.os, "replace", replace)
    with pytest.raises(RunError, match=f"{name}.*No space left on device"):
        trained(images, tmp_path / "run")
    assert not list((tmp_path / "run").glob("*partial*"))
    monkeypatch.setattr(files.os, "replace", real)
    trained(images, tmp_path / "run")
    assert content(tmp_path / "run") == content(finished)


def test_wrong_settings_are_refused_before_anything_is_made(images, tmp_path):
    for settings in (
        {"model": "alexnet"},
        {"seeds": 2},
    ):
        with pytest.raises(UsageError):
            trained(images, tmp_path / "run", **settings)
    with pytest.raises(UsageError, match="no_such_set"):
        trained("no_such_set", tmp_path / "run")
    assert not (tmp_path / "run").exists()


# Loading ------------------------------------------------------------------------------------------


COLUMNS = ["image", "label", "probability_healthy", "probability_tumour"]


def test_new_images_are_predicted_by_the_average_of_networks_and_mirror_images(finished, images):
    run = runs.read_run(finished)
    found, errors = runs.predict(run, sorted(images.parent.glob("*.png")))
    assert not errors
    assert list(found.columns) == COLUMNS
    pixels = np.stack(
        [np.asarray(Image.open(path)) for path in sorted(images.parent.glob("*.png"))]
    )
    pixels = pixels[..., None].astype(np.float32) / 255
    both = (pixels, pixels[:, :, ::-1])
    each = [network.predict(x, verbose=0)[:, 0] for network in run.networks for x in both]
    assert np.allclose(np.mean(each, axis=0), found["probability_tumour"], atol=1e-6)


@pytest.fixture
def a_copy(finished, tmp_path):
    out = tmp_path / "copy"
    out.mkdir()
    for path in finished.iterdir():
        (out / path.name).write_bytes(path.read_bytes())
    return out


@pytest.mark.parametrize(
    "damage", [lambda b: b"a text", lambda b: b"", lambda b: b[: len(b) // 2], lambda b: b[:-40]]
)
def test_a_damaged_network_is_one_error(a_copy, damage):
    model = a_copy / MODELS[0]
    model.write_bytes(damage(model.read_bytes()))
    with pytest.raises(RunError, match=r"model_1.keras: expected a Keras model file") as caught:
        runs.read_run(a_copy)
    assert "\n" not in str(caught.value)


def test_weights_that_are_not_numbers_are_refused(a_copy):
    network = runfiles.load_model(a_copy / MODELS[0])
    network.set_weights([np.full_like(weight, np.nan) for weight in network.get_weights()])
    network.save(a_copy / MODELS[0])
    with pytest.raises(RunError, match="finite weights, found NaN or infinity in dense"):
        runs.read_run(a_copy)


def test_a_network_with_code_in_it_is_refused(a_copy):
    import keras

    inputs = keras.Input((12, 12, 1))
    keras.Model(inputs, keras.layers.Lambda(lambda x: x * 2)(inputs)).save(a_copy / MODELS[0])
    with pytest.raises(RunError, match="expected a Keras model file"):
        runs.read_run(a_copy)


def test_a_network_for_other_images_is_refused(a_copy, tmp_path):
    import keras

    inputs = keras.Input((8, 8, 1))
    outputs = keras.layers.Dense(1, "sigmoid")(keras.layers.Flatten()(inputs))
    keras.Model(inputs, outputs).save(a_copy / MODELS[0])
    with pytest.raises(UsageError, match=r"shape \(8, 8, 1\), as the network takes"):
        runs.evaluate(runs.read_run(a_copy), str(write_images(tmp_path, seed=5)))


def test_an_unfinished_run_says_how_to_finish_it(a_copy):
    (a_copy / runfiles.METRICS).unlink()
    with pytest.raises(RunError, match=r"finished run.*continues it"):
        runs.read_run(a_copy)


def test_no_run_is_an_error(tmp_path):
    with pytest.raises(RunError, match="expected a run folder of medlib train"):
        runs.read_run(tmp_path / "none")


# Measuring and predicting -------------------------------------------------------------------------


def test_on_its_own_data_a_run_gives_what_was_measured_in_training(a_copy, images):
    before = runfiles.read_metrics(a_copy)
    metrics, measured_on = runs.evaluate(runs.read_run(a_copy), str(images))
    assert measured_on == before["measured_on"]
    assert metrics.to_dict("records") == before["metrics"]
    assert runfiles.read_metrics(a_copy) == before


def test_on_other_data_a_run_is_measured_on_all_images(a_copy, tmp_path):
    other = write_images(tmp_path, seed=1)
    metrics, measured_on = runs.evaluate(runs.read_run(a_copy), str(other))
    assert measured_on == f"all 60 images of {other}"
    assert list(runfiles.read_metrics(a_copy)["external"]) == [str(other)]
    assert metrics.set_index("metric").loc["accuracy", "n"] == 60


@pytest.mark.parametrize("name", ["test", "metrics", "external"])
def test_data_of_any_name_leaves_the_run_s_own_metrics(a_copy, tmp_path, name, monkeypatch):
    """Other data is measured beside the run's own, whatever its folder is called."""
    (tmp_path / name).mkdir()
    write_images(tmp_path / name, seed=1)
    before = runfiles.read_metrics(a_copy)
    monkeypatch.chdir(tmp_path)
    for label in ("healthy", "tumour"):
        (tmp_path / name / label).mkdir()
    for row in pd.read_csv(tmp_path / name / "labels.csv").itertuples():
        (tmp_path / name / row.image).rename(tmp_path / name / row.label / row.image)
    (tmp_path / name / "labels.csv").unlink()
    runs.evaluate(runs.read_run(a_copy), name)
    after = runfiles.read_metrics(a_copy)
    assert list(after.pop("external")) == [name]
    assert after == {key: value for key, value in before.items() if key != "external"}


def test_external_data_may_be_all_test_and_of_few_subjects(a_copy, tmp_path):
    other = write_images(tmp_path, seed=1, n=4)
    pd.read_csv(other).assign(split="test").to_csv(other, index=False)
    _, measured_on = runs.evaluate(runs.read_run(a_copy), str(other))
    assert measured_on.startswith("all 4 images")


def test_images_and_subjects_it_was_trained_on_are_left_out_of_other_data(a_copy, images, tmp_path):
    """60 known images, 10 others of known subjects, 20 that are new."""
    other = pd.read_csv(write_images(tmp_path, seed=1, n=30))
    other.loc[:9, "subject"] = pd.read_csv(images)["subject"][:10]
    other["image"] = [str(tmp_path / name) for name in other["image"]]
    known = pd.read_csv(images).assign(image=lambda t: f"{images.parent}/" + t["image"])
    pd.concat([known, other]).to_csv(tmp_path / "mixed.csv", index=False)
    _, measured_on = runs.evaluate(runs.read_run(a_copy), str(tmp_path / "mixed.csv"))
    assert measured_on.startswith("all 20 images")
    assert "70 left out" in measured_on


def test_other_classes_cannot_be_measured(a_copy, tmp_path):
    other = write_images(tmp_path, seed=1)
    other.write_text(other.read_text().replace("tumour", "cyst"))
    with pytest.raises(DataError, match="cyst"):
        runs.evaluate(runs.read_run(a_copy), str(other))


def test_bad_images_do_not_keep_the_others_from_a_prediction(finished, images, tmp_path):
    text = tmp_path / "text.png"
    text.write_text("not an image")
    good = [images.parent / "00.png", images.parent / "01.png"]
    files_given = [good[0], text, tmp_path / "missing.png", good[1]]
    predictions, errors = runs.predict(runs.read_run(finished), files_given)
    assert list(predictions["image"]) == [str(files_given[0]), str(files_given[3])]
    assert np.allclose(predictions.filter(like="probability_").sum(axis=1), 1)
    assert [error.subject for error in errors] == [str(text), str(files_given[2])]


def test_without_any_good_image_the_table_is_empty_but_whole(finished, tmp_path):
    predictions, errors = runs.predict(runs.read_run(finished), [tmp_path / "missing.png"])
    assert len(errors) == 1
    assert list(predictions.columns) == COLUMNS


def test_a_table_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "table.csv"
    path.write_text("old")

    def to_csv(*arguments, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pd.DataFrame, "to_csv", to_csv)
    with pytest.raises(RunError, match=r"table.csv.*No space left"):
        runfiles.write_table(path, pd.DataFrame({"image": ["a"]}))
    assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def write_ct(folder, *, seed):
    """Write CT slices around 10 and around 70 Hounsfield units, a folder for each."""
    ct = pydicom.dcmread(Path(pydicom.__file__).parent / "data" / "test_files" / "CT_small.dcm")
    ct.Rows = ct.Columns = 16
    generator = np.random.default_rng(seed)
    for label, level in (("dark", 10), ("bright", 70)):
        (folder / label).mkdir(parents=True)
        for number in range(12):
            units = generator.normal(level, 20, (16, 16))
            stored = (units - float(ct.RescaleIntercept)) / float(ct.RescaleSlope)
            ct.PixelData = np.rint(stored).astype("<i2").tobytes()
            ct.save_as(folder / label / f"{number}.dcm")
    return folder


def test_a_window_is_kept_and_used_again(tmp_path):
    folder, new = write_ct(tmp_path / "ct", seed=0), write_ct(tmp_path / "new", seed=1)
    trained(folder, tmp_path / "run", window=(40, 400))
    run = runs.read_run(tmp_path / "run")
    seen = []
    for network in run.networks:
        network.predict = lambda images, **_: seen.append(images) or np.full((len(images), 1), 0.5)
    runs.evaluate(run, str(new))
    runs.predict(run, sorted(new.rglob("*.dcm")))
    assert {len(images) for images in seen} == {24}
    for images in seen:  # the mean of 40 units lies in the middle of the window, 20 are 0.05 of it
        assert images.mean() == pytest.approx(0.5, abs=0.01)
        assert 0.05 < images.std() < 0.12
    with pytest.raises(UsageError, match="window"):
        trained(folder, tmp_path / "run", window=(40, 80))


def test_stacks_go_the_same_way_as_images(tmp_path):
    """Bright volumes or dark ones, trained, reported, measured again and predicted as stacks."""
    generator, rows = np.random.default_rng(0), []
    for number in range(16):
        voxels = generator.integers(0, 100, (12, 12, 6 + number % 3)) + 100 * (number % 2)
        name = f"{number:02}.nii"
        nibabel.Nifti1Image(voxels.astype(np.uint8), np.eye(4)).to_filename(tmp_path / name)
        rows.append((name, ("healthy", "bright")[number % 2], f"p{number}"))
    csv = tmp_path / "labels.csv"
    pd.DataFrame(rows, columns=["image", "label", "subject"]).to_csv(csv, index=False)
    metrics = trained(csv, tmp_path / "run", depth=4)
    run = runs.read_run(tmp_path / "run")
    assert run.config.image_shape == [4, 12, 12, 1]
    assert "4 x 12 x 12 pixels" in (tmp_path / "run" / "report.html").read_text()
    assert value(metrics["classical"], "AUC")["value"] == 1
    table, _ = runs.evaluate(run, str(csv))
    assert len(table) == len(metrics["metrics"])
    found, errors = runs.predict(run, [tmp_path / name for name, *_ in rows])
    assert len(found) == 16
    assert not errors
    for network in run.networks:  # each stack once, and in the mirror
        assert network.input_shape == (None, 4, 12, 12, 1)


def test_a_window_on_the_command_line_must_be_one():
    assert cli._parse_window("40,400") == (40.0, 400.0)
    for text in ("40", "a,b", "1,2,3"):
        with pytest.raises(ValueError, match="unpack|convert"):
            cli._parse_window(text)


@pytest.mark.parametrize("width", [0, -1, np.inf])
def test_a_window_without_a_width_is_refused_before_anything_is_made(images, tmp_path, width):
    with pytest.raises(UsageError, match="window: .*a width above 0"):
        trained(images, tmp_path / "run", window=(40, width))
    assert not (tmp_path / "run").exists()


def test_a_run_for_grey_images_measures_colour_files(a_copy, tmp_path):
    source = write_images(tmp_path, seed=5)
    for path in tmp_path.glob("*.png"):
        Image.open(path).convert("RGB").save(path)
    _, measured_on = runs.evaluate(runs.read_run(a_copy), str(source))
    assert measured_on.startswith("all 60 images")

"""A run folder is whole, says how it was made, and survives whatever stops its making."""

import errno
import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
from PIL import Image

from medlib import cli, files, models, runs
from medlib.errors import DataError, RunError, UsageError

EPOCHS = 3


class Killed(BaseException):
    """Stands for kill -9: nothing in the package may catch it."""


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    """A CSV of 60 noisy images: of a bright disc, or of none."""
    return write_images(tmp_path_factory.mktemp("images"), seed=0)


def write_images(folder, *, seed, n=60):
    generator = np.random.default_rng(seed)
    down, across = np.mgrid[:12, :12]
    rows = []
    for number in range(n):
        pixels = generator.integers(0, 120, (12, 12))
        if number % 2:
            centre = generator.integers(3, 9, 2)
            pixels[(down - centre[0]) ** 2 + (across - centre[1]) ** 2 < 8] += 80
        name = f"{number:02}.png"
        Image.fromarray(pixels.astype(np.uint8)).save(folder / name)
        rows.append((name, ("healthy", "tumour")[number % 2], f"{seed}-{number}"))
    table = pd.DataFrame(rows, columns=["image", "label", "subject"])
    table.to_csv(folder / "labels.csv", index=False)
    return folder / "labels.csv"


def build_tiny(name, image_shape, n_classes, *, seed):
    """Build a network that takes no time, with something random in it."""
    import keras

    inputs = keras.Input(image_shape)
    x = keras.layers.Dropout(0.1, seed=seed)(keras.layers.Flatten()(inputs))
    initialiser = keras.initializers.GlorotUniform(seed=seed)
    units, activation = (1, "sigmoid") if n_classes == 2 else (n_classes, "softmax")
    outputs = keras.layers.Dense(units, activation, kernel_initializer=initialiser)(x)
    return keras.Model(inputs, outputs)


@pytest.fixture(scope="module", autouse=True)
def tiny_network():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "build", build_tiny)
        yield


def trained(images, out, **settings):
    return runs.train(str(images), out, **{"image_size": 12, "epochs": EPOCHS} | settings)


@pytest.fixture(scope="module")
def finished(images, tmp_path_factory, tiny_network):
    out = tmp_path_factory.mktemp("runs") / "finished"
    trained(images, out)
    return out


def content(out):
    """All files of a run; the network as its weights, because the archive has a date in it."""
    network = runs.load_model(out / runs.MODEL)
    tables = {path.name: path.read_bytes() for path in out.iterdir() if path.suffix != ".keras"}
    return tables | {"weights": [weight.tobytes() for weight in network.get_weights()]}


def test_a_run_has_all_its_files_and_no_other(finished):
    assert sorted(path.name for path in finished.iterdir()) == sorted(
        [runs.CONFIG, runs.MODEL, runs.HISTORY, runs.METRICS, runs.PREDICTIONS, runs.SPLITS]
    )


def test_the_tables_of_a_run_agree_with_each_other(finished):
    splits = pd.read_csv(finished / runs.SPLITS)
    predictions = pd.read_csv(finished / runs.PREDICTIONS)
    metrics = json.loads((finished / runs.METRICS).read_text())["test"]
    test = splits[splits["split"] == "test"]
    assert list(predictions["image"]) == list(test["image"])
    assert list(predictions["true_label"]) == list(test["label"])
    right = (predictions["label"] == predictions["true_label"]).mean()
    assert metrics["accuracy"]["value"] == pytest.approx(right)
    assert metrics["accuracy"]["low"] <= right <= metrics["accuracy"]["high"]
    assert len(pd.read_csv(finished / runs.HISTORY)) == EPOCHS
    assert splits.groupby("subject")["split"].nunique().max() == 1


def test_the_same_settings_again_change_nothing(finished, images):
    before = {path.name: path.stat().st_mtime_ns for path in finished.iterdir()}
    assert trained(images, finished) is None
    assert {path.name: path.stat().st_mtime_ns for path in finished.iterdir()} == before


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seed": 1}, "seed 0.*found seed 1"),
        ({"epochs": 9}, "epochs 3.*found epochs 9"),
        ({"model": "cnn"}, "model resnet.*found model cnn"),
        ({"image_size": 10}, r"image_shape \[12, 12, 1\].*found image_shape \[10"),
        ({"merge": {"lesion": ("tumour",)}}, "class_names"),
    ],
)
def test_other_settings_in_the_same_folder_are_refused(finished, images, settings, message):
    before = content(finished)
    with pytest.raises(UsageError, match=message):
        trained(images, finished, **settings)
    assert content(finished) == before


def test_other_images_in_the_same_folder_are_refused(finished, tmp_path):
    with pytest.raises(UsageError, match="other images"):
        trained(write_images(tmp_path, seed=1), finished)


def test_splits_do_not_depend_on_the_seed_of_the_training(finished, images, tmp_path):
    trained(images, tmp_path / "run", seed=5, epochs=1)
    one, other = (pd.read_csv(out / runs.SPLITS) for out in (finished, tmp_path / "run"))
    pd.testing.assert_frame_equal(one, other)


N_WRITES = 1 + EPOCHS + 5  # the configuration, a checkpoint an epoch, the network and four tables


@pytest.mark.parametrize(
    ("write", "after"), [*((write, False) for write in range(N_WRITES)), (N_WRITES - 1, True)]
)
def test_killed_at_any_write_it_ends_as_if_it_had_not_been(
    write, after, finished, images, tmp_path, monkeypatch
):
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
        trained(images, tmp_path / "run")
    monkeypatch.undo()
    trained(images, tmp_path / "run")
    assert content(tmp_path / "run") == content(finished)


def test_a_folder_of_another_program_is_left_alone(tmp_path, images):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(RunError, match=r"found thesis.tex. Nothing was changed"):
        trained(images, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("text", ['{"epochs": 3}', "[1, 2]", '"medlib_run"', "not JSON", ""])
def test_a_configuration_of_another_program_is_left_alone(tmp_path, images, text):
    (tmp_path / runs.CONFIG).write_text(text)
    with pytest.raises(RunError, match=r"config.json"):
        trained(images, tmp_path)
    assert (tmp_path / runs.CONFIG).read_text() == text
    assert len(list(tmp_path.iterdir())) == 1


def test_a_run_of_a_newer_medlib_is_left_alone(tmp_path, images):
    (tmp_path / runs.CONFIG).write_text('{"medlib_run": 99, "medlib": "9.0"}')
    with pytest.raises(RunError, match=r"format 99. It was made by medlib 9.0"):
        trained(images, tmp_path)


def test_a_run_folder_cannot_be_a_file_or_in_one(tmp_path, images):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="found a file"):
        trained(images, tmp_path / "file")
    with pytest.raises(RunError, match="can be written"):
        trained(images, tmp_path / "file" / "run")


@pytest.mark.parametrize("name", [runs.CHECKPOINT, runs.MODEL, runs.METRICS])
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
    for settings in ({"epochs": 0}, {"epochs": -1}, {"model": "alexnet"}):
        with pytest.raises(UsageError):
            trained(images, tmp_path / "run", **settings)
    with pytest.raises(UsageError, match="no_such_set"):
        trained("no_such_set", tmp_path / "run")
    assert not (tmp_path / "run").exists()


# Loading ------------------------------------------------------------------------------------------


def test_a_saved_network_predicts_what_the_table_says(finished, images):
    run = runs.load(finished)
    table = pd.read_csv(finished / runs.PREDICTIONS)
    again, errors = runs.predict(run, [images.parent / name for name in table["image"]])
    assert not errors
    assert list(again.columns) == [
        "image",
        "label",
        "probability_healthy",
        "probability_tumour",
    ]
    assert np.allclose(again["probability_tumour"], table["probability_tumour"], atol=1e-6)
    assert list(again["label"]) == list(table["label"])


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
    model = a_copy / runs.MODEL
    model.write_bytes(damage(model.read_bytes()))
    with pytest.raises(RunError, match=r"model.keras: expected a Keras model file") as caught:
        runs.load(a_copy)
    assert "\n" not in str(caught.value)


def test_weights_that_are_not_numbers_are_refused(a_copy):
    network = runs.load_model(a_copy / runs.MODEL)
    network.set_weights([np.full_like(weight, np.nan) for weight in network.get_weights()])
    network.save(a_copy / runs.MODEL)
    with pytest.raises(RunError, match="finite weights, found NaN or infinity in dense"):
        runs.load(a_copy)


def test_a_network_with_code_in_it_is_refused(a_copy):
    import keras

    inputs = keras.Input((12, 12, 1))
    keras.Model(inputs, keras.layers.Lambda(lambda x: x * 2)(inputs)).save(a_copy / runs.MODEL)
    with pytest.raises(RunError, match="expected a Keras model file"):
        runs.load(a_copy)


def test_a_small_file_with_a_huge_description_is_refused(a_copy):
    with zipfile.ZipFile(a_copy / runs.MODEL, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", b" " * (runs.MAX_MODEL_CONFIG_BYTES + 2**20))
    with pytest.raises(RunError, match="at most 16 MB of config.json, found 17 MB"):
        runs.load(a_copy)


def test_a_network_for_other_images_is_refused(a_copy):
    import keras

    inputs = keras.Input((8, 8, 1))
    outputs = keras.layers.Dense(1, "sigmoid")(keras.layers.Flatten()(inputs))
    keras.Model(inputs, outputs).save(a_copy / runs.MODEL)
    with pytest.raises(RunError, match=r"shape \(12, 12, 1\)"):
        runs.load(a_copy)


def test_an_unfinished_run_says_how_to_finish_it(a_copy):
    (a_copy / runs.MODEL).unlink()
    with pytest.raises(RunError, match=r"finished run.*continues it"):
        runs.load(a_copy)


def test_no_run_is_an_error(tmp_path):
    with pytest.raises(RunError, match="expected a run folder of medlib train"):
        runs.load(tmp_path / "none")


# Measuring and predicting -------------------------------------------------------------------------


def test_on_its_own_data_a_run_is_measured_on_the_test_split(a_copy, images):
    before = json.loads((a_copy / runs.METRICS).read_text())
    metrics, measured_on = runs.evaluate(runs.load(a_copy), str(images))
    n_test = (pd.read_csv(a_copy / runs.SPLITS)["split"] == "test").sum()
    assert measured_on.startswith(f"{n_test} test images")
    after = json.loads((a_copy / runs.METRICS).read_text())
    assert after.keys() == {"test"}
    assert after["test"]["AUC"]["value"] == pytest.approx(before["test"]["AUC"]["value"])


def test_on_other_data_a_run_is_measured_on_all_images(a_copy, tmp_path):
    other = write_images(tmp_path, seed=1)
    metrics, measured_on = runs.evaluate(runs.load(a_copy), str(other))
    assert measured_on == f"all 60 images of {other}"
    assert set(json.loads((a_copy / runs.METRICS).read_text())) == {"test", str(other)}
    assert metrics.set_index("metric").loc["accuracy", "n"] == 60


def test_images_it_was_trained_on_are_left_out_of_other_data(a_copy, images, tmp_path):
    other = write_images(tmp_path, seed=1, n=30)
    mixed = pd.concat(
        [
            pd.read_csv(table).assign(image=lambda rows, at=table.parent: f"{at}/" + rows["image"])
            for table in (images, other)
        ]
    )
    mixed.to_csv(tmp_path / "mixed.csv", index=False)
    _, measured_on = runs.evaluate(runs.load(a_copy), str(tmp_path / "mixed.csv"))
    n_used = (pd.read_csv(a_copy / runs.SPLITS)["split"] != "test").sum()
    assert measured_on.endswith(f"({n_used} left out)")
    assert measured_on.startswith(f"all {90 - n_used} images")


def test_other_classes_cannot_be_measured(a_copy, tmp_path):
    other = write_images(tmp_path, seed=1)
    other.write_text(other.read_text().replace("tumour", "cyst"))
    with pytest.raises(DataError, match="classes: expected.*tumour.*found.*cyst"):
        runs.evaluate(runs.load(a_copy), str(other))


def test_bad_images_do_not_keep_the_others_from_a_prediction(finished, images, tmp_path):
    text = tmp_path / "text.png"
    text.write_text("not an image")
    good = [images.parent / "00.png", images.parent / "01.png"]
    files_given = [good[0], text, tmp_path / "missing.png", good[1]]
    predictions, errors = runs.predict(runs.load(finished), files_given)
    assert list(predictions["image"]) == [str(files_given[0]), str(files_given[3])]
    assert np.allclose(predictions.filter(like="probability_").sum(axis=1), 1)
    assert [error.subject for error in errors] == [str(text), str(files_given[2])]


def test_without_any_good_image_the_table_is_empty_but_whole(finished, tmp_path):
    predictions, errors = runs.predict(runs.load(finished), [tmp_path / "missing.png"])
    assert len(errors) == 1
    assert list(predictions.columns) == [
        "image",
        "label",
        "probability_healthy",
        "probability_tumour",
    ]


def test_a_table_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "table.csv"
    path.write_text("old")

    def to_csv(*arguments, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pd.DataFrame, "to_csv", to_csv)
    with pytest.raises(RunError, match=r"table.csv.*No space left"):
        runs.write_table(path, pd.DataFrame({"image": ["a"]}))
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
    run = runs.load(tmp_path / "run")
    seen = []
    run.model.predict = lambda images, **_: seen.append(images) or np.full((len(images), 1), 0.5)
    runs.evaluate(run, str(new))
    runs.predict(run, sorted(new.rglob("*.dcm")))
    assert [len(images) for images in seen] == [24, 24]
    for images in seen:  # the mean of 40 units lies in the middle of the window, 20 are 0.05 of it
        assert images.mean() == pytest.approx(0.5, abs=0.01)
        assert 0.05 < images.std() < 0.12
    with pytest.raises(UsageError, match="window"):
        trained(folder, tmp_path / "run", window=(40, 80))


def test_a_window_on_the_command_line_must_be_one():
    assert cli._parse_window("40,400") == (40.0, 400.0)
    for text in ("40", "40,0", "40,-1", "a,b", "1,2,3", "40,inf"):
        with pytest.raises(UsageError, match=r"--window.*width above 0"):
            cli._parse_window(text)


def test_a_run_for_grey_images_measures_colour_files(a_copy, tmp_path):
    source = write_images(tmp_path, seed=5)
    for path in tmp_path.glob("*.png"):
        Image.open(path).convert("RGB").save(path)
    _, measured_on = runs.evaluate(runs.load(a_copy), str(source))
    assert measured_on.startswith("all 60 images")

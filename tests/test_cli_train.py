"""The commands that train, measure and predict: exit codes, one line of error, kill and go on."""

import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from medlib import cli, runfiles

EPOCHS = "8"


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    rows = []
    for number in range(60):
        pixels = generator.integers(0, 150, (12, 12))
        pixels[3:9, 3:9] += 60 * (number % 2)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number:02}.png")
        label = ("healthy", "benign", "healthy", "malignant")[number % 4]
        rows.append((f"{number:02}.png", label, f"patient {number}"))
    table = pd.DataFrame(rows, columns=["image", "label", "subject"])
    table.to_csv(folder / "labels.csv", index=False)
    return folder / "labels.csv"


def medlib(*arguments, **options):
    command = [sys.executable, "-m", "medlib.cli", *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


def train_arguments(images, out):
    settings = ["--merge", "tumour=benign,malignant", "--image-size", "12", "--epochs", EPOCHS]
    return ["train", images, "--out", out, "--folds", "2", *settings]


def in_process(capsys, *arguments):
    """Run a command here; return its exit code, stdout and stderr."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["medlib", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
    return ended.value.code or 0, *capsys.readouterr()


@pytest.fixture(scope="module")
def finished(images, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "finished"
    process = medlib(*train_arguments(images, out))
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    return out, stdout, stderr


def wait_for(path, process, seconds=90):
    end = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.01)


def test_training_shows_metrics_with_intervals_and_where_things_are(finished):
    out, stdout, stderr = finished
    assert "[95 %]" in stdout
    assert "sensitivity (tumour)" in stdout
    assert "standard deviation" in stdout
    assert "classical model" in stdout
    assert str(out) in stdout.replace("\n", "")
    assert stderr == ""


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
def test_interrupted_then_killed_it_ends_with_the_same_weights(finished, images, tmp_path):
    out = tmp_path / "run"
    # A background job of a shell ignores Ctrl-C, and so would its children, if not told otherwise.
    listens = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.default_int_handler)}
    process = medlib(*train_arguments(images, out), **listens)
    wait_for(out / runfiles.CHECKPOINT, process)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stderr == f"medlib: the same command continues {out}\nmedlib: interrupted\n"

    process = medlib(*train_arguments(images, out))
    before = (out / runfiles.CHECKPOINT).stat().st_mtime_ns
    while process.poll() is None and (out / runfiles.CHECKPOINT).exists():
        if (out / runfiles.CHECKPOINT).stat().st_mtime_ns > before:
            break
        time.sleep(0.005)
    time.sleep(random.uniform(0, 1))
    process.kill()
    process.communicate()

    process = medlib(*train_arguments(images, out))
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    for name in ("model_1.keras", "model_2.keras"):
        ours, theirs = (runfiles.load_model(folder / name) for folder in (out, finished[0]))
        for one, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
            assert one.tobytes() == other.tobytes()
    assert sorted(path.name for path in out.iterdir()) == sorted(
        path.name for path in finished[0].iterdir()
    )


def test_a_finished_run_says_so(finished, images, capsys):
    code, stdout, _ = in_process(capsys, *train_arguments(images, finished[0]))
    assert code == 0
    assert "finished already" in stdout


def test_evaluate_adds_to_the_metrics(finished, images, capsys):
    code, stdout, stderr = in_process(capsys, "evaluate", finished[0], images)
    assert (code, stderr) == (0, "")
    assert "AUC" in stdout


def test_predict_names_a_bad_image_and_ends_with_1(finished, images, tmp_path, capsys):
    bad, out = tmp_path / "bad.png", tmp_path / "predictions.csv"
    bad.write_text("not an image")
    good = images.parent / "00.png"
    code, _, stderr = in_process(capsys, "predict", finished[0], bad, good, "--out", out)
    assert code == 1
    assert str(bad) in stderr
    assert "1 of 2 images failed" in stderr
    table = pd.read_csv(out)
    assert list(table.columns) == ["image", "label", "probability_healthy", "probability_tumour"]
    assert list(table["image"]) == [str(good)]


def test_predict_good_images_ends_with_0(finished, images, tmp_path, capsys):
    out = tmp_path / "predictions.csv"
    code, _, stderr = in_process(
        capsys, "predict", finished[0], images.parent / "00.png", "--out", out
    )
    assert (code, stderr) == (0, "")
    assert len(pd.read_csv(out)) == 1


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (
            ["--model", "alexnet"],
            2,
            "model: expected one of cnn, resnet,",
        ),
        (["--merge", "tumour"], 2, "merge"),
        (["--merge", "tumour=benign,"], 2, "merge"),
        (["--classes", "benign"], 2, "class"),
        (["--positive", "cyst"], 2, "cyst"),
        (["--classes", "benign,cyst"], 2, "cyst"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(arguments, code, message, images, tmp_path, capsys):
    found, stdout, stderr = in_process(
        capsys, "train", images, "--out", tmp_path / "run", "--image-size", "12", *arguments
    )
    assert found == code
    assert stdout == ""
    assert message in stderr
    assert stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--epochs", "0"),
        ("--folds", "0"),
        ("--seeds", "-1"),
        ("--seed", "-1"),
        ("--image-size", "4"),
        ("--depth", "1"),
        ("--window", "40"),
    ],
)
def test_a_number_out_of_range_is_wrong_use(option, value, images, tmp_path, capsys):
    code, _, stderr = in_process(capsys, "train", images, "--out", tmp_path / "run", option, value)
    assert code == 2
    assert f"'{option}'" in stderr
    assert not (tmp_path / "run").exists()


def test_more_folds_than_subjects_are_refused(images, tmp_path, capsys):
    code, _, stderr = in_process(
        capsys, "train", images, "--out", tmp_path / "run", "--image-size", "12", "--folds", "61"
    )
    assert code in (1, 2)
    assert stderr.count("\n") == 1
    assert "61" in stderr
    assert not (tmp_path / "run").exists()


def test_a_folder_of_another_program_is_one_line_and_exit_code_1(images, tmp_path, capsys):
    (tmp_path / "thesis.tex").write_text("years of work")
    code, _, stderr = in_process(capsys, "train", images, "--out", tmp_path)
    assert code == 1
    assert stderr.count("\n") == 1
    assert "thesis.tex" in stderr


def test_debug_shows_the_traceback_and_keeps_the_exit_code(images, tmp_path, capsys):
    arguments = ["--debug", "train", images, "--out", tmp_path / "run", "--model", "alexnet"]
    code, _, stderr = in_process(capsys, *arguments)
    assert code == 2
    assert "Traceback" in stderr
    assert "UsageError" in stderr


def test_an_output_that_cannot_be_written_is_one_line(finished, images, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "predictions.csv"
    code, _, stderr = in_process(
        capsys, "predict", finished[0], images.parent / "00.png", "--out", out
    )
    assert code == 1
    assert stderr.count("\n") == 1
    assert str(out) in stderr


@pytest.mark.parametrize("command", ["train", "evaluate", "predict"])
def test_help_names_every_argument(command, capsys):
    code, stdout, _ = in_process(capsys, command, "--help")
    assert code == 0
    words = {
        "train": [
            "DATA",
            "--out",
            "--folds",
            "--seeds",
            "--positive",
            "--task",
            "--model",
            "--image-size",
            "--epochs",
            "--merge",
            "--classes",
        ],
        "evaluate": ["RUN", "DATA"],
        "predict": ["RUN", "IMAGE", "--out"],
    }
    assert all(word in stdout for word in words[command])

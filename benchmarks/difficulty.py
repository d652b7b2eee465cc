"""How hard simbrain is: prints one JSON line of test AUCs.

Classical models, a plain network with dense layers and one with He initialisation, batch
normalisation and global pooling must differ as they do on real images; models that see only what
should not matter must fail.

    python benchmarks/difficulty.py            # cohorts 0 to 4, all models
    python benchmarks/difficulty.py --quick    # cohort 0, no networks
"""

import argparse
import json
import sys
import time
from collections.abc import Collection
from operator import attrgetter

import numpy as np
from skimage.feature import hog
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from medlib import training
from medlib.datasets.simbrain import load_simbrain
from medlib.datasets.structure import MedicalDataset, Split
from medlib.models import classical
from medlib.tasks import Classification

# What the table says of the examination, not of the tumour.
METADATA = (
    "slice_position_mm",
    "age",
    "field_tesla",
    "t1_repetition_time_ms",
    "t1_echo_time_ms",
    "t2_repetition_time_ms",
    "t2_echo_time_ms",
    "flair_repetition_time_ms",
    "flair_echo_time_ms",
    "flair_inversion_time_ms",
)
DIAMETERS_MM = (0, 20, 30, 40, 100)

TASK = Classification(("normal", "tumour"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cohorts", default="0,1,2,3,4", help="seeds of simbrain")
    parser.add_argument("--quick", action="store_true", help="cohort 0, no networks")
    options = parser.parse_args()
    cohorts = [0] if options.quick else [int(seed) for seed in options.cohorts.split(",")]
    runs = [measure(seed, () if options.quick else NETWORKS) for seed in cohorts]
    print(json.dumps(summarise(runs)))


def measure(seed: int, networks: Collection[str]) -> dict[str, float]:
    """Test AUC of every model on one cohort, and sensitivity of the networks by diameter."""
    data = load_simbrain(seed=seed)
    aucs: dict[str, float] = {}
    for name, (features, model) in classical_models().items():
        start = time.perf_counter()
        model.fit(features(data.train), data.train.labels)
        scores = score(model, features(data.test))
        aucs[name] = roc_auc_score(data.test.labels, scores)
        report(seed, name, aucs[name], start)
    for name in networks:
        start = time.perf_counter()
        scores = NETWORKS[name](data, seed)
        aucs[f"network {name}"] = roc_auc_score(data.test.labels, scores)
        report(seed, name, aucs[f"network {name}"], start)
        aucs |= {
            f"sensitivity {name} {bin_name}": value
            for bin_name, value in sensitivity(data.test, scores).items()
        }
    return aucs


def classical_models() -> dict:
    """Features and classifier by name; a name tells which claim the model is for."""

    def svm():
        return make_pipeline(StandardScaler(), SVC(C=3, gamma="scale"))

    def trees():
        return HistGradientBoostingClassifier(max_iter=150, random_state=0)

    return {
        "classical pixels + SVM": (pixels, make_pipeline(StandardScaler(), PCA(150), SVC(C=3))),
        "classical HOG + SVM": (histogram_of_gradients, svm()),
        "classical intensities + trees": (intensities, trees()),
        "classical intensities + SVM": (intensities, svm()),
        "classical HOG and intensities + SVM": (everything, svm()),
        "classical intensities and texture": (attrgetter("images"), classical.build_classical()),
        "shortcut border": (border, svm()),
        "shortcut outline": (outline, svm()),
        "shortcut mean intensity": (mean_intensity, svm()),
        "shortcut mean intensity, trees": (mean_intensity, trees()),
        "shortcut metadata": (metadata, svm()),
        "shortcut metadata, trees": (metadata, trees()),
    }


def pixels(split: Split) -> np.ndarray:
    """Every second pixel after averaging, all channels."""
    n, height, width, channels = split.images.shape
    blocks = split.images.reshape(n, height // 2, 2, width // 2, 2, channels)
    return blocks.mean(axis=(2, 4)).reshape(n, -1)


def histogram_of_gradients(split: Split) -> np.ndarray:
    """HOG of the FLAIR channel, where tumours show best."""
    return np.array(
        [
            hog(image[..., 2], orientations=8, pixels_per_cell=(8, 8), cells_per_block=(2, 2))
            for image in split.images
        ]
    )


def intensities(split: Split) -> np.ndarray:
    """Percentiles of the brain's intensities in each channel."""
    levels = (1, 5, 10, 25, 50, 75, 90, 95, 98, 99, 99.7)
    rows = []
    for image in split.images:
        brain = image[image.max(axis=-1) > 0]
        rows.append(np.percentile(brain, levels, axis=0).ravel())
    return np.array(rows)


def everything(split: Split) -> np.ndarray:
    return np.hstack([histogram_of_gradients(split), intensities(split)])


def border(split: Split) -> np.ndarray:
    """The outer eighth of the image on every side."""
    edge = split.images.shape[1] // 8
    inner = np.zeros(split.images.shape[1:3], bool)
    inner[edge:-edge, edge:-edge] = True
    return split.images[:, ~inner].reshape(len(split), -1)


def outline(split: Split) -> np.ndarray:
    """Where the brain is, without what is in it."""
    n, height, width, _ = split.images.shape
    brain = (split.images.max(axis=-1) > 0).reshape(n, height // 4, 4, width // 4, 4)
    return brain.mean(axis=(2, 4)).reshape(n, -1)


def mean_intensity(split: Split) -> np.ndarray:
    return split.images.mean(axis=(1, 2))


def metadata(split: Split) -> np.ndarray:
    sites = split.table["site"].to_numpy()[:, None] == np.array(list("ABCD"))
    return np.hstack([split.table[list(METADATA)].to_numpy(float), sites])


def score(model, features: np.ndarray) -> np.ndarray:
    if hasattr(model, "decision_function"):
        return model.decision_function(features)
    return model.predict_proba(features)[:, 1]


def train_cnn(data: MedicalDataset, seed: int) -> np.ndarray:
    """Lesson 05: standardised input, plain fit, the best of the last epochs by validation AUC."""
    keras = training.import_keras()
    training.set_seed(seed)
    standardise = keras.layers.Normalization()
    standardise.adapt(data.train.images)
    train, validation, test = (
        standardise(split.images).numpy() for split in (data.train, data.validation, data.test)
    )
    model = build_plain(data.image_shape)
    auc = keras.metrics.AUC(name="auc")
    model.compile(keras.optimizers.Adam(5e-4), "binary_crossentropy", metrics=[auc])
    stop = keras.callbacks.EarlyStopping(
        "val_auc", mode="max", patience=3, start_from_epoch=8, restore_best_weights=True
    )
    model.fit(
        train,
        data.train.labels,
        batch_size=16,
        epochs=12,
        validation_data=(validation, data.validation.labels),
        callbacks=[stop],
        verbose=0,
    )
    return training.predict(model, test, TASK)[:, 1]


def train_normalised(data: MedicalDataset, seed: int) -> np.ndarray:
    """Train :func:`build_normalised` as ``medlib train`` does, for 24 epochs."""
    training.set_seed(seed)
    model = build_normalised(data.image_shape)
    training.fit(
        model,
        data.train,
        task=TASK,
        epochs=24,
        seed=seed,
        augmentation=training.AUGMENTATION,
    )
    return training.predict(model, data.test.images, TASK)[:, 1]


def build_plain(image_shape: tuple[int, int, int]):
    """Three convolutions with pooling and two dense layers, as in many tutorials."""
    from keras import Sequential, layers

    blocks = []
    for width in (32, 64, 128):
        blocks += [layers.Conv2D(width, 3, padding="same", activation="relu")]
        blocks += [layers.MaxPooling2D()]
    dense = [layers.Flatten(), layers.Dense(128, activation="relu")]
    return Sequential(
        [layers.Input(image_shape), *blocks, *dense, layers.Dense(1, activation="sigmoid")]
    )


def build_normalised(image_shape: tuple[int, int, int]):
    """The plain blocks with He initialisation, batch normalisation and global max pooling.

    A tumour fills a few hundredths of a slice: its greatest response says more than the mean.
    """
    import keras

    inputs = keras.Input(image_shape)
    x = inputs
    for width in (32, 64, 128):
        x = keras.layers.Conv2D(
            width, 3, padding="same", use_bias=False, kernel_initializer="he_normal"
        )(x)
        x = keras.layers.BatchNormalization(momentum=0.9)(x)
        x = keras.layers.ReLU()(x)
        x = keras.layers.MaxPooling2D()(x)
    x = keras.layers.Conv2D(128, 3, padding="same", use_bias=False, kernel_initializer="he_normal")(
        x
    )
    x = keras.layers.ReLU()(keras.layers.BatchNormalization(momentum=0.9)(x))
    x = keras.layers.GlobalMaxPooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(x), name="normalised")


NETWORKS = {"cnn": train_cnn, "normalised": train_normalised}


def sensitivity(split: Split, scores: np.ndarray) -> dict[str, float]:
    """Share of tumours found at a specificity of 0.90, by diameter."""
    threshold = np.quantile(scores[split.labels == 0], 0.90)
    diameter = split.table["tumour_diameter_mm"].to_numpy()
    shares = {}
    for low, high in zip(DIAMETERS_MM, DIAMETERS_MM[1:], strict=False):
        chosen = (split.labels == 1) & (diameter >= low) & (diameter < high)
        if chosen.any():
            shares[f"{low}-{high} mm"] = float((scores[chosen] > threshold).mean())
    return shares


def summarise(runs: list[dict[str, float]]) -> dict:
    """Mean, lowest and highest over the cohorts."""
    result = {
        name: {
            statistic: round(float(compute([run[name] for run in runs if name in run])), 3)
            for statistic, compute in (("mean", np.mean), ("lowest", np.min), ("highest", np.max))
        }
        for name in runs[0]
    }
    return {"cohorts": len(runs), **result}


def report(seed: int, name: str, auc: float, start: float) -> None:
    seconds = time.perf_counter() - start
    print(f"seed {seed}: {name} {auc:.3f} ({seconds:.0f} s)", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()

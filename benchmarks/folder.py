"""Train a network on several splits of your own images; print one JSON line.

One test set of some dozens of images says little: by the luck of the split it can be an easy or a
hard one. Each split is dealt anew as `medlib train` deals the first, near-duplicates and subjects
kept together, and its test images are looked at once, by the network that its validation chose.

    python benchmarks/folder.py DATA [--splits 5] [--first-split 0] [--model resnet]
        [--image-size 96] [--merge NEW=OLD,OLD] [--classes A,B]

The splits share images, so the mean over them has no simple interval; each test AUC has its own.
"""

import argparse
import json
import time
import warnings

import numpy as np

from medlib import datasets, models, training
from medlib.errors import MedlibError
from medlib.evaluation import classification


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="CSV or folder")
    parser.add_argument("--splits", type=int, default=5, help="how many")
    parser.add_argument("--first-split", type=int, default=0)
    parser.add_argument("--model", default="resnet", choices=models.NAMES)
    parser.add_argument("--image-size", type=int, default=96)
    parser.add_argument("--merge", action="append", type=joined, metavar="NEW=OLD,OLD")
    parser.add_argument("--classes", type=lambda text: text.split(","))
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.splits < 1:
        parser.error("--splits: expected 1 or more")
    start, results = time.perf_counter(), []
    for split in range(options.first_split, options.first_split + options.splits):
        try:
            dataset = datasets.from_folder(
                options.data,
                image_size=options.image_size,
                merge=dict(options.merge or []) or None,
                classes=options.classes,
                seed=split,
            )
        except MedlibError as error:
            parser.exit(error.exit_code, f"{error}\n")
        results.append(measure(dataset, options.model, seed=split))
    aucs = np.array([result["auc"] for result in results])
    summary = {"mean_auc": aucs.mean(), "seconds_a_split": time.perf_counter() - start}
    summary["seconds_a_split"] /= len(results)
    if len(aucs) > 1:
        summary["deviation"] = aucs.std(ddof=1)
    print(json.dumps({"splits": results, **summary}, default=float))


def joined(text: str) -> tuple[str, list[str]]:
    """Read "tumour=benign,malignant"."""
    new, old = text.split("=")
    return new, old.split(",")


def measure(dataset, model: str, *, seed: int) -> dict:
    """Train as `medlib train` does, and measure on the test images of this split."""
    training.set_seed(seed)
    network = models.build(model, dataset.image_shape, len(dataset.class_names), seed=seed)
    settings = training.recipe(model, n_images=len(dataset.train))
    history = training.fit(network, dataset.train, dataset.validation, seed=seed, **settings)
    test = dataset.test
    probabilities = training.predict(network, test.images)
    report = classification.report(
        test.labels, probabilities, dataset.class_names, subjects=test.subjects
    ).set_index("metric")
    auc = report.loc["AUC" if "AUC" in report.index else "macro AUC"]
    return {
        "seed": seed,
        "auc": auc["value"],
        "auc_interval": [auc["low"], auc["high"]],
        "n": int(auc["n"]),
        "accuracy": report.loc["accuracy", "value"],
        "balanced_accuracy": report.loc["balanced accuracy", "value"],
        "majority_accuracy": report.loc["majority-class accuracy", "value"],
        "validation_auc": history["validation_auc"][history["kept"]].item(),
    }


if __name__ == "__main__":
    main()

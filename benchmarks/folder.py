"""Train a network on several splits of your own images; print one JSON line.

One test set of some dozens of images says little: by the luck of the split it can be an easy or a
hard one. Each split is dealt anew as `medlib train` deals the first, near-duplicates and subjects
kept together, and its test images are looked at once, by the network that its validation chose.

    python benchmarks/folder.py DATA [--splits 5] [--first-split 0] [--model resnet]
        [--image-size 96] [--merge NEW=OLD,OLD] [--classes A,B]

The interval of the mean AUC takes the splits for independent, which they are not, since they share
images: read it as the least that the result is uncertain.
"""

import argparse
import json
import time
import warnings

import numpy as np
from scipy import stats

from medlib import datasets, models, training
from medlib.evaluation import classification


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="CSV or folder")
    parser.add_argument("--splits", type=int, default=5, help="how many")
    parser.add_argument("--first-split", type=int, default=0)
    parser.add_argument("--model", default="resnet", choices=models.NAMES)
    parser.add_argument("--image-size", type=int, default=96)
    parser.add_argument("--merge", action="append", default=[], metavar="NEW=OLD,OLD")
    parser.add_argument("--classes", type=lambda text: text.split(","))
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    merge = {new: old.split(",") for new, old in (text.split("=") for text in options.merge)}
    start, results = time.perf_counter(), []
    for split in range(options.first_split, options.first_split + options.splits):
        dataset = datasets.from_folder(
            options.data,
            image_size=options.image_size,
            merge=merge or None,
            classes=options.classes,
            seed=split,
        )
        results.append(measure(dataset, options.model, seed=split))
    aucs = np.array([result["auc"] for result in results])
    summary = {"mean_auc": aucs.mean(), "seconds_a_split": time.perf_counter() - start}
    summary["seconds_a_split"] /= len(results)
    if len(aucs) > 1:
        summary["deviation"] = aucs.std(ddof=1)
        half = stats.t.ppf(0.975, len(aucs) - 1) * summary["deviation"] / np.sqrt(len(aucs))
        summary["interval_of_the_mean"] = [aucs.mean() - half, aucs.mean() + half]
    print(json.dumps({"splits": results, **summary}, default=float))


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

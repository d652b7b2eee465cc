"""Train the residual network on two public sets with five seeds; print one JSON line.

Test AUC and accuracy are means over the seeds, each with the standard deviation and with the values
of every seed. The test images are looked at once, by the network that validation chose.

    python benchmarks/public.py [--seeds 5] [--first-seed 0] [--sets breastmnist] [--out FOLDER]
"""

import argparse
import json
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

from medlib import runs

PUBLISHED_RESNET18_AUC = {"breastmnist": 0.901, "pneumoniamnist": 0.944}  # MedMNIST v2, table 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5, help="how many")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--sets", default=",".join(PUBLISHED_RESNET18_AUC))
    parser.add_argument("--out", type=Path, help="Keep the run folders here.")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    results = {}
    with tempfile.TemporaryDirectory() as temporary:
        for name in options.sets.split(","):
            seeds = range(options.first_seed, options.first_seed + options.seeds)
            results[name] = measure(name, seeds, options.out or Path(temporary))
    print(json.dumps(results))


def measure(name: str, seeds: range, out: Path) -> dict:
    aucs, accuracies, start = [], [], time.perf_counter()
    for seed in seeds:
        folder = out / f"{name}_{seed}"
        runs.train(name, folder, model="resnet", seed=seed)
        metrics = json.loads((folder / runs.METRICS).read_text())["test"]
        aucs.append(metrics["AUC" if "AUC" in metrics else "macro AUC"]["value"])
        accuracies.append(metrics["accuracy"]["value"])
    return {
        "test_auc": round(float(np.mean(aucs)), 4),
        "test_auc_deviation": round(float(np.std(aucs, ddof=1)), 4) if len(seeds) > 1 else None,
        "test_aucs": [round(auc, 4) for auc in aucs],
        "test_accuracy": round(float(np.mean(accuracies)), 4),
        "published_resnet18_auc": PUBLISHED_RESNET18_AUC.get(name),
        "seconds_a_seed": round((time.perf_counter() - start) / len(seeds), 1),
    }


if __name__ == "__main__":
    main()

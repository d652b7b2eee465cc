"""What a change of the training recipe does, by cross-validation: prints one JSON line a run.

The settings of `medlib.training` were chosen with it, never on test images:

    python benchmarks/recipe.py breastmnist --seeds 0,1
    python benchmarks/recipe.py breastmnist --seeds 0,1 --change gamma=0 --change contrast=0
    python benchmarks/recipe.py my/labels.csv --image-size 96 --merge tumour=benign,malignant

Of a public set and of simbrain the training and validation images are used, of your own all.
"""

import argparse
import json
import time
from dataclasses import replace

import numpy as np

from medlib import datasets, models, tasks, training
from medlib.datasets import Images
from medlib.evaluation.statistics import area_under_curve
from medlib.preprocessing import fold_by_subject

FOLDS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="a set's name, a CSV or a folder, of two classes")
    parser.add_argument("--model", default="cnn", help=f"one of {', '.join(models.NAMES)}")
    parser.add_argument("--seeds", default="0", help="one run each, as 0,1,2")
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--merge", help="as tumour=benign,malignant")
    change = "of an augmentation, or of learning_rate, averaging ...: gamma=0.2"
    parser.add_argument("--change", action="append", default=[], help=change)
    options = parser.parse_args()
    changes = {name: float(value) for name, value in (c.split("=") for c in options.change)}
    merge = None
    if options.merge:
        name, old = options.merge.split("=")
        merge = {name: old.split(",")}
    images = without_test(datasets.read(options.data, image_size=options.image_size, merge=merge))
    for seed in map(int, options.seeds.split(",")):
        print(json.dumps(cross_validate(images, options.model, changes, seed)), flush=True)


def without_test(images: Images) -> Images:
    """Leave out the test images of a set that has a split of its own."""
    if images.given_split is None:
        return images
    kept = np.flatnonzero(images.given_split != "test")
    return replace(images, all=images.all.take(kept), groups=images.groups[kept], given_split=None)


def cross_validate(images: Images, model: str, changes: dict, seed: int) -> dict:
    """Train a network without each fold, and measure it there; the folds are always the same."""
    keras = training.import_keras()
    task, everything = tasks.Classification(tuple(images.class_names)), images.all
    fold_of = fold_by_subject(images.groups, everything.labels, n_folds=FOLDS, seed=0)
    scores, aucs = np.empty(len(everything)), []
    start = time.process_time()
    for fold, state in enumerate(np.random.SeedSequence(seed).generate_state(FOLDS)):
        keras.backend.clear_session()
        training.set_seed(int(state))
        train, test = (
            everything.take(np.flatnonzero(m)) for m in (fold_of != fold, fold_of == fold)
        )
        settings = training.recipe(model, n_images=len(train))
        ours = {name: value for name, value in changes.items() if name in training.AUGMENTATION}
        settings["augmentation"] = settings["augmentation"] | ours
        settings |= {name: value for name, value in changes.items() if name not in ours}
        network = models.build(model, train.images.shape[1:], task, seed=int(state))
        training.fit(network, train, task=task, seed=int(state), **settings)
        scores[fold_of == fold] = training.predict(network, test.images, task, mirror=True)[:, 1]
        aucs.append(area_under_curve(test.labels == 1, scores[fold_of == fold]))
    return {
        "data": images.name,
        "model": model,
        "changes": changes,
        "seed": seed,
        "pooled_auc": round(area_under_curve(everything.labels == 1, scores), 3),
        "fold_aucs": np.round(aucs, 3).tolist(),
        "cpu_seconds": round(time.process_time() - start),
    }


if __name__ == "__main__":
    main()

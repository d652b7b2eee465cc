"""How often 95 % intervals contain the truth: prints one JSON line of shares and mean widths.

Several images a subject: scores with random intercepts for the area under the ROC curve, answers
from beta-binomial shares for the rest, 1 to 8 images each; a subject's images are of one class
("one"), of both with independent effects ("both") or of both with one effect ("shared").

Seeds and patients: effects of seed, patient, image, patient with model and patient with seed;
patients with four images of one class each.

    python benchmarks/coverage.py [--repetitions 1000] [--only subjects|seeds]
"""

import argparse
import json
from itertools import product

import numpy as np
from scipy import stats

from medlib.evaluation.statistics import (
    area_under_curve,
    auc_interval,
    balanced_accuracy_interval,
    proportion_interval,
    seeds_and_patients_interval,
)

TRUTHS = ((0.7, 0.6, 0.8), (0.85, 0.8, 0.9), (0.95, 0.95, 0.95))  # area, sensitivity, specificity
N_IMAGES = 4  # of a patient, in the trials of seeds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=1000)
    parser.add_argument("--only", choices=("subjects", "seeds"))
    options = parser.parse_args()
    trials = []
    if options.only != "seeds":
        for setting in product((5, 8, 12, 20, 40), ("one", "both", "shared"), (0.3, 0.7), TRUTHS):
            trials.append(few_subjects(*setting, options.repetitions))
    if options.only != "subjects":
        for setting in product((5, 10), (30, 60, 90), ((0.1, 0.4), (0.4, 0.6)), (1.5, 2.8)):
            trials.append(few_seeds(*setting, options.repetitions))
    print(json.dumps(trials))


def few_subjects(n_subjects, design, correlation, truth, repetitions) -> dict:
    """Draw subjects with several images each; one trial of every interval of a report."""
    rng, found = np.random.default_rng(0), {}
    area, sensitivity, specificity = truth
    mean = (sensitivity + specificity) / 2
    for _ in range(repetitions):
        subjects = np.repeat(np.arange(n_subjects), rng.integers(1, 9, n_subjects))
        labels = np.zeros(len(subjects), dtype=int)
        while len(np.unique(labels)) < 2:
            one_class = rng.integers(2, size=n_subjects)[subjects]
            labels = one_class if design == "one" else rng.integers(2, size=len(subjects))
        intercept, rank = rng.normal(size=(n_subjects, 2)), rng.random((n_subjects, 2))
        if design == "shared":
            intercept[:, 1], rank[:, 1] = intercept[:, 0], rank[:, 0]
        scores = labels * stats.norm.ppf(area) * np.sqrt(2)
        scores = scores + np.sqrt(correlation) * intercept[subjects, labels]
        scores += np.sqrt(1 - correlation) * rng.normal(size=len(subjects))
        share = np.array([specificity, sensitivity])
        scale = (1 - correlation) / correlation
        share = stats.beta.ppf(rank, share * scale, (1 - share) * scale)
        correct = rng.random(len(subjects)) < share[subjects, labels]
        whole = proportion_interval(correct, subjects=subjects)
        balanced = balanced_accuracy_interval(correct, labels, subjects=subjects)
        sick, well = (
            proportion_interval(correct[labels == c], subjects=subjects[labels == c])
            for c in (1, 0)
        )
        trials = {
            "AUC": (auc_interval(labels, scores, subjects=subjects), area),
            "accuracy": (whole, mean),
            "balanced accuracy": (balanced, mean),
            "sensitivity": (sick, sensitivity),
            "specificity": (well, specificity),
        }
        for name, trial in trials.items():
            found.setdefault(name, []).append(trial)
    if design == "shared":  # pairs within a subject are easier: the truth is what is estimated
        mean_area = np.mean([interval.value for interval, _ in found["AUC"]])
        found["AUC"] = [(interval, mean_area) for interval, _ in found["AUC"]]
    setting = {"subjects": n_subjects, "classes of a subject": design, "correlation": correlation}
    return setting | {"truth": truth} | {name: summary(each) for name, each in found.items()}


def few_seeds(n_seeds, n_patients, deviations, separation, repetitions) -> dict:
    """Draw networks of several seeds, of two models, and patients."""
    of_seed, of_seed_and_patient = deviations
    separations = np.array([separation, 0.8 * separation])
    variance = 0.7**2 + 0.5**2 + 0.4**2 + of_seed_and_patient**2
    areas = stats.norm.cdf(separations / np.sqrt(2 * variance + of_seed**2))
    normal = stats.norm.cdf(separations / 2 / np.sqrt(variance))
    shares = (normal + stats.norm.cdf(separations / 2 / np.sqrt(variance + of_seed**2))) / 2
    patients = np.repeat(np.arange(n_patients), N_IMAGES)
    sick, n = patients % 2 == 1, len(patients)
    rng, found = np.random.default_rng(0), {}

    def mean(_, values):
        return values.mean()

    def difference(statistic):
        return lambda labels, both: statistic(labels, both[:, 0]) - statistic(labels, both[:, 1])

    for _ in range(repetitions):
        scores = 0.7 * rng.normal(size=(1, n_patients, 1))[:, patients]
        scores = scores + 0.5 * rng.normal(size=(1, n, 1))
        scores = scores + 0.4 * rng.normal(size=(1, n_patients, 2))[:, patients]
        joint = 0.8 * rng.normal(size=(n_seeds, n_patients, 2))[:, patients]
        joint = joint + 0.6 * rng.normal(size=(n_seeds, n, 2))
        quality = separations + of_seed * rng.normal(size=(n_seeds, 1, 2))
        scores = scores + of_seed_and_patient * joint + quality * sick[:, None]
        right = (scores > separations / 2) == sick[:, None]
        for name, statistic, values, truth in (
            ("AUC", area_under_curve, scores[..., 0], areas[0]),
            ("AUC difference", difference(area_under_curve), scores, areas[0] - areas[1]),
            ("accuracy", mean, right[..., 0], shares[0]),
            ("accuracy difference", difference(mean), right.astype(float), shares[0] - shares[1]),
        ):
            interval = seeds_and_patients_interval(
                statistic, sick, values, subjects=patients, logit="difference" not in name
            )
            found.setdefault(name, []).append((interval, truth))
    setting = {"seeds": n_seeds, "patients": n_patients, "deviations": deviations}
    setting["area"] = round(float(areas[0]), 3)
    return setting | {name: summary(each) for name, each in found.items()}


def summary(trials) -> dict:
    covered = np.mean([interval.low <= truth <= interval.high for interval, truth in trials])
    width = np.mean([interval.high - interval.low for interval, _ in trials])
    return {"covered": round(float(covered), 3), "width": round(float(width), 3)}


if __name__ == "__main__":
    main()

"""The checks of lesson 04 tell wrong answers what is wrong."""

import numpy as np
import pytest

from coursekit import check
from medlib.evaluation import statistics


def scaled(image, values):
    return (image - values.mean(axis=0)) / values.std(axis=0)


def with_air(image, brain):
    return scaled(image, image.reshape(-1, image.shape[-1])) * brain[..., None]


def air_left_in(image, brain):
    return scaled(image, image[brain])


def channels_together(image, brain):
    values = image[brain]
    return (image - values.mean()) / values.std() * brain[..., None]


def each_pixel(image, brain):
    result, values = np.zeros(image.shape), image[brain]
    result[brain] = scaled(values.T, values.T).T
    return result


def divided_by_variance(image, brain):
    values = image[brain]
    return (image - values.mean(axis=0)) / values.var(axis=0) * brain[..., None]


def in_place(image, brain):
    image[brain] = scaled(image[brain], image[brain])
    image[~brain] = 0
    return image


def images_dealt(subjects, share, seed):
    return np.random.default_rng(seed).random(len(subjects)) < share


def always_the_first(subjects, share, seed):
    names = np.unique(subjects)
    return np.isin(subjects, names[: round(share * len(names))])


def rounded_down(subjects, share, seed):
    names = np.random.default_rng(seed).permutation(np.unique(subjects))
    return np.isin(subjects, names[: int(share * len(names))])


def rounded_up(subjects, share, seed):
    names = np.random.default_rng(seed).permutation(np.unique(subjects))
    return np.isin(subjects, names[: int(np.ceil(share * len(names)))])


def share_of_training(subjects, share, seed):
    names = np.random.default_rng(seed).permutation(np.unique(subjects))
    return np.isin(subjects, names[round(share * len(names)) :])


def patients_not_images(subjects, share, seed):
    names = np.random.default_rng(seed).permutation(np.unique(subjects))
    return names[: round(share * len(names))]


def new_split_each_time(subjects, share, seed):
    names = np.random.default_rng().permutation(np.unique(subjects))
    return np.isin(subjects, names[: round(share * len(names))])


def auc_of(model, features, labels, rows):
    return statistics.area_under_curve(labels[rows] == 1, model.decision_function(features[rows]))


def trained_on_all(model, features, labels, sites, new):
    return auc_of(model.fit(features, labels), features, labels, sites == new)


def trained_on_the_new_one(model, features, labels, sites, new):
    there = sites == new
    return auc_of(model.fit(features[there], labels[there]), features, labels, ~there)


def never_trained(model, features, labels, sites, new):
    return auc_of(model, features, labels, sites == new)


def scored_on_all(model, features, labels, sites, new):
    model.fit(features[sites != new], labels[sites != new])
    return auc_of(model, features, labels, slice(None))


def scored_on_training(model, features, labels, sites, new):
    model.fit(features[sites != new], labels[sites != new])
    return auc_of(model, features, labels, sites != new)


def answers_not_scores(model, features, labels, sites, new):
    there = sites == new
    model.fit(features[~there], labels[~there])
    answers = model.predict(features[there])
    return statistics.area_under_curve(labels[there] == 1, answers)


def accuracy(model, features, labels, sites, new):
    there = sites == new
    model.fit(features[~there], labels[~there])
    return np.mean(model.predict(features[there]) == labels[there])


def upside_down(model, features, labels, sites, new):
    there = sites == new
    model.fit(features[~there], labels[~there])
    return 1 - auc_of(model, features, labels, there)


def one_site_only(model, features, labels, sites, new):
    model.fit(features[sites == "A"], labels[sites == "A"])
    return auc_of(model, features, labels, sites == new)


WRONG = [  # exercise, answer, what the reader must be told
    ("04.1", with_air, "Which pixels"),
    ("04.1", air_left_in, "Outside the brain"),
    ("04.1", channels_together, "normalised together"),
    ("04.1", each_pixel, "over its channels"),
    ("04.1", divided_by_variance, "standard deviations"),
    ("04.1", in_place, "changes the image"),
    ("04.2", images_dealt, "What do you deal out"),
    ("04.2", always_the_first, "Every seed"),
    ("04.2", rounded_down, "share=0.24"),
    ("04.2", rounded_up, "share=0.12"),
    ("04.2", share_of_training, "15 of 20"),
    ("04.2", patients_not_images, "for each image"),
    ("04.2", new_split_each_time, "same seed"),
    ("04.3", trained_on_all, "not there yet"),
    ("04.3", trained_on_the_new_one, "nothing else"),
    ("04.3", never_trained, "never trained"),
    ("04.3", scored_on_all, "new site only"),
    ("04.3", scored_on_training, "images of training"),
    ("04.3", answers_not_scores, "needs scores"),
    ("04.3", accuracy, "not an AUC"),
    ("04.3", upside_down, "upside down"),
    ("04.3", one_site_only, "not used"),
]


@pytest.mark.parametrize(("exercise", "answer", "hint"), WRONG)
def test_a_wrong_answer_is_told_what_is_wrong(exercise, answer, hint):
    verdict = check.verdict(exercise, answer)
    assert verdict.state == "wrong"
    assert hint in verdict.message

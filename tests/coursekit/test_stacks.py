"""The study of stacks: all that read them meet equal items, and order answers some questions."""

import numpy as np
import pytest

from coursekit.experiments import stacks


@pytest.fixture(scope="module", autouse=True)
def _small():
    patch = pytest.MonkeyPatch()
    patch.setattr(stacks, "STACKS", stacks.STACKS | {"image_size": 32})
    for name, value in {"N_PATIENTS": 40, "N_TEST": 8, "ENCODER_STEPS": 2}.items():
        patch.setattr(stacks, name, value)
    yield
    patch.undo()
    stacks._patients.cache_clear()
    stacks._features.cache_clear()


def record(question, model, **other):
    config = {"data": question, "model": model, "n_train": "all", "seed": 0, "test_seed": 5}
    return stacks.train_and_test(config | {"steps": 8, "batch_size": 8} | other)


@pytest.mark.parametrize(
    ("question", "n_items"), [("tumour", 8), ("which-slice", 64), ("reversed", 16)]
)
def test_all_readers_and_seeds_meet_the_same_test_items(question, n_items):
    first, *others = [record(question, model) for model in ("alone", "gru", "shuffled")]
    others.append(record(question, "mean", seed=1))
    assert len(first["labels"]) == n_items
    for each in others:
        assert np.array_equal(each["labels"], first["labels"])
        assert np.array_equal(each["subjects"], first["subjects"])
        assert np.shape(each["scores"]) == (n_items,)


def test_reversed_stacks_get_identical_scores_from_what_pools():
    for model in ("alone", "mean", "max"):
        upright, turned = np.split(record("reversed", model)["scores"], 2)
        assert upright == pytest.approx(turned, abs=1e-5)
    upright, turned = np.split(record("reversed", "gru")["scores"], 2)
    assert not np.allclose(upright, turned, atol=1e-3)


def test_scores_of_shuffled_slices_go_back_to_their_slices(monkeypatch):
    """What answers with a slice's own first feature must not care that slices were shuffled."""
    import keras

    def first_feature(model, n_features, *, every_slice):
        inputs = keras.Input((stacks.LENGTH, n_features))
        pick = keras.layers.Dense(1, kernel_initializer="zeros")
        outputs = pick(inputs)
        pick.trainable = False
        pick.kernel.assign(np.eye(n_features, 1))
        return keras.Model(inputs, outputs)

    monkeypatch.setattr(stacks, "build_reader", first_feature)
    in_order, shuffled = (record("which-slice", model)["scores"] for model in ("gru", "shuffled"))
    assert shuffled == pytest.approx(in_order, abs=1e-6)

"""One training and one test on stacks of slices: questions to a sequence, and what may read it.

An encoder turns every slice into features and stays as it is. What reads the features of a stack,
the model, is trained for each question. Lesson 09 does the same, step by step.
"""

import functools

import numpy as np

DATA = ("tumour", "which-slice", "reversed", "reversed-tuned")
WITH_TEST = ()
CONTEXT = ("convolution", "simple", "lstm", "gru", "shuffled")
MODELS = ("alone", "mean", "max", *CONTEXT, "rows")

STACKS = {"image_size": 48, "depth": 16, "slices_per_subject": 1}
N_PATIENTS, N_TEST = 500, 150  # of the first the training patients, 348, are used
LENGTH = 8  # slices in a row that are shown; drawn, because tumours lie around the middle of 16
ENCODER_STEPS, ENCODER_RATE = 300, 1e-2
STEPS, RATE, BATCH_SIZE, UNITS = 400, 5e-3, 32, 32


def train_and_test(config: dict) -> dict:
    """Train one reader of stacks for one question, and score the test stacks or their slices.

    Parameters
    ----------
    config : dict
        ``data``: the question. "tumour": is there one in any slice? "which-slice": is there one in
        this slice? "reversed": do the slices come in the wrong order? There the encoder was never
        trained; for "reversed-tuned", as for the first two, it was, to tell slices with a tumour.
        ``model``: what a slice is judged by. "alone": its own features (a stack: the highest of its
        slices' scores); "mean", "max": these, and their mean or maximum over the stack (a stack:
        that only); "convolution": two neighbours on either side as well; "simple", "lstm", "gru":
        what a bidirectional recurrent layer has read; "shuffled": the GRU, on slices in random
        order; "rows": alone, and the encoder is a recurrent network over the rows of the slice.
        ``seed``, ``test_seed``, ``steps``, ``batch_size``: as in the plan of a study.

    Returns
    -------
    dict
        ``labels``, ``subjects`` and ``scores`` (log-odds) of the test items, and of the training
        ``n_images`` (slices), ``n_subjects`` and ``steps``.
    """
    from medlib import training

    question, model, test_seed = config["data"], config["model"], config["test_seed"]
    kind = "untrained" if question == "reversed" else "rows" if model == "rows" else "cnn"
    seeds = [int(state) for state in np.random.SeedSequence(config["seed"]).generate_state(2)]
    features, new_features = _features(kind, seeds[0], test_seed)
    known, test = _patients(test_seed)
    training.set_seed(seeds[1])
    import keras

    generator, every_slice = np.random.default_rng(seeds[1]), question == "which-slice"
    windows = [slice(first, first + LENGTH) for first in range(STACKS["depth"] - LENGTH + 1)]
    inputs, targets = (
        np.concatenate([each[:, window] for window in windows])
        for each in (features, _slice_labels(known))
    )
    shown, labels = (_shown(each, test_seed) for each in (new_features, _slice_labels(test)))
    (inputs, targets), (shown, labels) = (
        _ask(question, inputs, targets),
        _ask(question, shown, labels),
    )
    orders = [np.tile(np.arange(LENGTH), (len(stacks), 1)) for stacks in (inputs, shown)]
    if model == "shuffled":
        orders = [generator.permuted(order, axis=1) for order in orders]
    inputs, targets = (_in_order(each, orders[0]) for each in (inputs, targets))
    batch_size = config["batch_size"] or BATCH_SIZE
    an_epoch = len(inputs) // batch_size
    epochs = max(1, round((config["steps"] or STEPS) / an_epoch))
    reader = build_reader(model, features.shape[-1], every_slice=every_slice)
    rate = keras.optimizers.schedules.CosineDecay(RATE, epochs * an_epoch)
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    reader.compile(keras.optimizers.AdamW(rate, weight_decay=1e-3), loss=loss)
    chosen = generator.permutation(len(inputs))[: an_epoch * batch_size]
    reader.fit(inputs[chosen], targets[chosen], batch_size, epochs, verbose=0)
    scores = reader.predict(_in_order(shown, orders[1]), verbose=0)
    scores = _in_order(scores, orders[1].argsort(axis=1))
    return {
        "labels": labels.ravel().astype(int),
        "subjects": np.repeat(np.resize(test.subjects, len(shown)), labels.size // len(shown)),
        "scores": scores.ravel(),
        "n_images": known.masks.shape[0] * known.masks.shape[1],
        "n_subjects": len(known),
        "steps": epochs * an_epoch,
    }


def build_reader(model: str, n_features: int, *, every_slice: bool):
    """Return an uncompiled network from the features of a stack to log-odds.

    Parameters
    ----------
    model : str
        One of :data:`MODELS`.
    n_features : int
    every_slice : bool
        Whether there is a score for each slice, shape (n, slices, 1), or for the stack, (n, 1).
    """
    from keras import Input, Model, layers

    x = inputs = Input((LENGTH, n_features))
    if model == "convolution":
        for _ in range(2):
            x = layers.Conv1D(UNITS, 3, padding="same", activation="relu")(x)
    elif model in CONTEXT:
        kinds = {"simple": layers.SimpleRNN, "lstm": layers.LSTM}
        layer = kinds.get(model, layers.GRU)(UNITS, return_sequences=True)
        x = layers.Bidirectional(layer)(x)
    else:
        x = layers.Dense(UNITS, activation="relu")(x)
    pool = layers.GlobalAveragePooling1D if model == "mean" else layers.GlobalMaxPooling1D
    if every_slice:
        if model in ("mean", "max"):
            x = layers.Concatenate()([x, layers.RepeatVector(LENGTH)(pool()(x))])
        return Model(inputs, layers.Dense(1)(x))
    if model in ("alone", "rows"):
        return Model(inputs, pool()(layers.Dense(1)(x)))
    return Model(inputs, layers.Dense(1)(pool()(x)))


def _ask(question: str, stacks: np.ndarray, tumour: np.ndarray):
    """Return the stacks of a question, shape (n, slices, k), and its labels, (n, slices or 1)."""
    if question == "which-slice":
        return stacks, tumour
    if question == "tumour":
        return stacks, tumour.max(axis=1, keepdims=True)
    labels = np.repeat([[0.0], [1.0]], len(stacks), axis=0)
    return np.concatenate([stacks, stacks[:, ::-1]]), labels


def _in_order(values: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Put what belongs to slices, shape (n, slices, ...), into an order; leave (n, 1) alone."""
    return values if values.shape[1] == 1 else values[np.arange(len(order))[:, None], order]


def _shown(stacks: np.ndarray, test_seed: int) -> np.ndarray:
    """Cut the same slices out of each test stack for all models and seeds."""
    generator = np.random.default_rng(test_seed)
    first = generator.integers(0, STACKS["depth"] - LENGTH + 1, len(stacks))
    return stacks[np.arange(len(stacks))[:, None], first[:, None] + np.arange(LENGTH)]


def _slice_labels(split) -> np.ndarray:
    return (split.masks > 0).any(axis=(2, 3)).astype(np.float32)


@functools.lru_cache(maxsize=1)
def _patients(test_seed: int):
    from medlib.datasets.simbrain import load_simbrain, new_patients

    known = load_simbrain(n_subjects=N_PATIENTS, **STACKS).train
    return known, new_patients(test_seed, n_subjects=N_TEST, **STACKS)


@functools.lru_cache(maxsize=3)  # a worker asks several questions of one seed
def _features(kind: str, seed: int, test_seed: int):
    """Return the features of all training and test slices, each standardised in training."""
    from medlib import models, tasks, training

    known, test = _patients(test_seed)
    images = known.images.reshape(-1, *known.images.shape[2:])
    labels = _slice_labels(known).ravel()
    training.set_seed(seed)
    import keras

    task = tasks.Classification(("normal", "tumour"))
    name = "rnn" if kind == "rows" else "cnn"
    network = models.build(name, images.shape[1:], task, seed=seed)
    if kind != "untrained":
        falling, rising = ENCODER_STEPS * 4 // 5, ENCODER_STEPS // 5
        warm_up = {"warmup_target": ENCODER_RATE, "warmup_steps": rising}
        rate = keras.optimizers.schedules.CosineDecay(ENCODER_RATE / 20, falling, **warm_up)
        optimizer = keras.optimizers.AdamW(rate, weight_decay=1e-3)
        network.compile(optimizer, loss=task.loss(label_smoothing=0))
        batches = _balanced(images, labels, np.random.default_rng(seed))
        network.fit(batches, steps_per_epoch=ENCODER_STEPS, verbose=0)
    encoder = keras.Model(network.inputs, network.layers[-1].input)
    found = []
    for split in (known, test):
        flat = encoder.predict(
            split.images.reshape(-1, *images.shape[1:]), batch_size=256, verbose=0
        )
        found.append(flat.reshape(*split.images.shape[:2], -1))
    mean, spread = found[0].mean(axis=(0, 1)), found[0].std(axis=(0, 1)) + 1e-6
    return [(each - mean) / spread for each in found]


def _balanced(images: np.ndarray, labels: np.ndarray, generator: np.random.Generator):
    """Yield batches, half of them slices with a tumour; about half of all are mirrored."""
    of_class = [np.flatnonzero(labels == k) for k in (0, 1)]
    while True:
        rows = np.concatenate([generator.choice(each, BATCH_SIZE // 2) for each in of_class])
        mirrored = generator.random(len(rows)) < 0.5
        batch = images[rows]
        batch[mirrored] = batch[mirrored, :, ::-1]
        yield batch, labels[rows, None]

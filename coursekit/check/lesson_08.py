"""Checks of the exercises of lesson 08."""

import numpy as np
import pandas as pd

from coursekit import check


@check.define("08.1")
def repair(answer):
    """Check that the repaired network gives probabilities and learns."""
    import keras

    rng = np.random.default_rng(0)
    labels = np.repeat([0.0, 1.0], 16)[:, None].astype("float32")
    images = rng.uniform(0, 0.5, (32, 8, 8, 3)).astype("float32") + labels[:, :, None, None] / 2
    keras.utils.set_random_seed(0)
    body = [keras.layers.Input((8, 8, 3)), keras.layers.Conv2D(4, 3, activation="relu")]
    network = answer([*body, keras.layers.Flatten()])
    check.that(isinstance(network, keras.Model), "Return the network, a keras.Sequential.")
    check.that(network.compiled, "Your network is not compiled: it has no loss to learn from.")
    check.that(
        network.output_shape == (None, 1),
        f"One unit is wanted at the end; yours has output shape {network.output_shape}.",
    )
    wide = network.predict(200 * (images - 0.5), verbose=0)
    check.that(np.ptp(wide) > 1e-6, "Every image still gets the same answer: which activation?")
    check.that(
        wide.min() >= 0 and wide.max() <= 1,
        f"Some answers are no probabilities, they lie at {wide.min():.3g} or {wide.max():.3g}.",
    )
    first = network.evaluate(images, labels, verbose=0, return_dict=True)["loss"]
    check.that(abs(first) > 1e-9, "The loss is still zero before anything was learnt.")
    given = network.predict(images, verbose=0).astype(float).clip(1e-7, 1 - 1e-7)
    expected = -np.log(np.where(labels == 1, given, 1 - given)).mean()
    check.that(
        abs(first - expected) < 1e-3,
        "Your loss is not the cross-entropy of two classes. Which loss goes with one sigmoid unit?",
    )
    network.fit(images, labels, epochs=40, batch_size=8, verbose=0)
    last = network.evaluate(images, labels, verbose=0, return_dict=True)["loss"]
    check.that(
        last < 0.9 * first,
        f"After 40 epochs the loss is {last:.2f}, and it began at {first:.2f}. Does it learn?",
    )


@check.define("08.2")
def matching(answer):
    """Check that labels follow their files."""
    table = pd.DataFrame({"image": ["a2.png", "a10.png", "a1.png"], "label": [1, 0, 2]})
    found = list(answer(["a1.png", "a2.png", "a10.png"], table))
    mistakes = {"You return the labels in the order of the table, not of the files.": [1, 0, 2]}
    check.compare(found, [2, 1, 0], "A file got the label of another one.", mistakes)
    some = list(answer(["a10.png"], table))
    check.that(some == [0], "It is wrong when only some of the files are asked for.")
    try:
        answer(["a1.png", "a3.png"], table)
    except KeyError:
        return
    check.that(False, "A file that is not in the table must raise a KeyError.")


@check.define("08.3")
def threshold(answer):
    """Check the highest threshold that reaches a sensitivity."""
    labels = np.array([1] * 10 + [0] * 10)
    tumours = np.array([0.95, 0.9, 0.8, 0.75, 0.7, 0.6, 0.5, 0.4, 0.3, 0.1])
    probabilities = np.concatenate([tumours, np.linspace(0.02, 0.22, 10)])
    for sensitivity, best in ((0.9, 0.3), (0.5, 0.7), (1.0, 0.1), (0.85, 0.3)):
        found = float(answer(labels, probabilities, sensitivity))
        reached = np.mean(tumours >= found)
        where = f"With ten tumours and sensitivity={sensitivity},"
        check.that(
            reached >= sensitivity,
            f"{where} your threshold finds only {reached:.0%} of them. Do you count from the right "
            "end?",
        )
        check.that(
            found >= best - 1e-9,
            f"{where} a higher threshold would still find enough of them. Does yours equal one of "
            "the probabilities, and do you look at images with label 1 only?",
        )
    shuffled = np.random.default_rng(0).permutation(20)
    again = float(answer(labels[shuffled], probabilities[shuffled], 0.9))
    check.that(abs(again - 0.3) < 1e-9, "The answer changes with the order of the images.")

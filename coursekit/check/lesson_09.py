"""Checks of the exercises of lesson 09."""

import numpy as np

from coursekit import check


@check.define("09.1")
def bias_for(answer):
    """Check the bias of a gate that keeps half of a gradient for a number of steps."""
    for steps in (1, 10, 100):
        z = 0.5 ** (1 / steps)
        name = f"bias_for({steps})"
        mistakes = {
            f"{name} is z itself, from 0 to 1: which bias gives it, through the sigmoid?": z,
            f"{name} has the wrong sign: its gate lets go as much as it should keep.": -np.log(
                z / (1 - z)
            ),
            f"{name} is the sigmoid of z; it must be turned round.": 1 / (1 + np.exp(-z)),
            f"{name} is the logarithm of z alone: sigmoid(bias) = z gives z / (1 - z).": np.log(z),
        }
        if steps == 1:  # there the right answer is zero, and so is its opposite
            mistakes = {hint: wrong for hint, wrong in mistakes.items() if abs(wrong) > 1e-9}
        found = float(np.asarray(answer(steps), dtype=float))
        left = 1 / (1 + np.exp(-found))
        wrong = f"With {name} the share {left**steps:.3f} is left after {steps} steps, not 1/2."
        check.compare(found, np.log(z / (1 - z)), wrong, mistakes, tolerance=1e-6)


@check.define("09.2")
def neighbours(answer):
    """Check a network with context by what it may depend on, then by training it."""
    import keras
    import tensorflow as tf

    network = answer(3)
    check.that(isinstance(network, keras.Model), "Return a Keras model.")
    recurrent = (keras.layers.RNN, keras.layers.Bidirectional)
    kinds = [type(layer).__name__ for layer in network.layers if isinstance(layer, recurrent)]
    check.that(not kinds, f"It has a recurrent layer, {', '.join(kinds)}; do without.")
    generator = np.random.default_rng(0)
    stacks = generator.normal(size=(256, 8, 3)).astype("float32")
    found = np.asarray(network(stacks))
    wanted = "for 256 stacks of eight slices it should give (256, 8, 1)"
    check.that(found.shape == (256, 8, 1), f"It gives shape {found.shape}; {wanted}.")
    inside = (found >= 0).all() and (found <= 1).all()
    check.that(inside, "Its answers are no probabilities: some lie outside 0 to 1.")
    with tf.GradientTape() as tape:
        given = tf.constant(stacks)
        tape.watch(given)
        of_slice = tf.reduce_sum(network(given)[:, 3])
    reach = np.abs(np.asarray(tape.gradient(of_slice, given))).sum(axis=(0, 2)) > 0
    check.that(reach[3], "Slice 4 is not judged by itself.")
    check.that(
        reach[[2, 4]].any(), "Slice 4 is judged by itself only: which layer sees neighbours?"
    )
    check.that(reach[[2, 4]].all(), "Slice 4 sees the neighbour on one side only.")
    far = "Slice 4 also sees slices that are not its direct neighbours."
    check.that(not reach[[0, 1, 5, 6, 7]].any(), far)
    around = np.pad(stacks[..., :1], ((0, 0), (1, 1), (0, 0)))
    labels = (around[:, :-2] + around[:, 2:] > 0).astype("float32")
    network.compile(keras.optimizers.Adam(0.02), loss="binary_crossentropy")
    network.fit(stacks, labels, epochs=25, batch_size=64, verbose=0)
    right = ((np.asarray(network(stacks)) > 0.5) == labels).mean()
    check.that(right > 0.85, f"Trained, it is right for {right:.0%} of slices: more units?")

"""Checks of the exercises of lesson 16."""

import numpy as np

from coursekit import check


@check.define("16.1")
def by_length(answer):
    """Check the products of matrices, added up by the number of blocks that a path enters."""
    first, second = np.array([[1.0, 2.0], [0.0, 1.0]]), np.array([[0.0, 1.0], [3.0, 1.0]])
    found = np.asarray(answer([first.copy(), second.copy()]), dtype=float)
    one = np.eye(2)
    right = np.array([one, first + second, second @ first])
    mistakes = {
        "The path that enters both blocks is in the wrong order: the first block acts first, so "
        "its matrix stands on the right.": np.array([one, first + second, first @ second]),
        "This is the whole sum. Keep the lengths apart.": right.sum(axis=0),
        "A path that enters no block is the identity matrix, not zeros.": np.array(
            [0 * one, first + second, second @ first]
        ),
        "A path that enters no block is the identity matrix, not ones.": np.array(
            [np.ones((2, 2)), first + second, second @ first]
        ),
        "The matrices were multiplied number by number; @ multiplies matrices.": np.array(
            [one, first + second, second * first]
        ),
    }
    check.that(
        found.shape in ((3, 2, 2), (2, 2)),
        f"For two blocks and matrices of 2 x 2 the shape is (3, 2, 2); yours is {found.shape}.",
    )
    check.compare(found, right, "For two blocks it is wrong.", mistakes)
    third = np.array([[0.0, -1.0], [2.0, 0.5]])
    found = np.asarray(answer([first, second, third]), dtype=float)
    right = np.array(
        [
            one,
            first + second + third,
            second @ first + third @ first + third @ second,
            third @ second @ first,
        ]
    )
    check.compare(found, right, "It is right for two blocks, and wrong for three.", tolerance=1e-9)


@check.define("16.2")
def halving_block(answer):
    """Check a residual block that halves the size and changes the number of channels."""
    import keras

    x = keras.Input((8, 8, 3))
    y = answer(x, 4)
    check.that(
        tuple(y.shape) == (None, 4, 4, 4),
        f"From 8 x 8 x 3 and a width of 4 it must make 4 x 4 x 4; yours is {tuple(y.shape[1:])}.",
    )
    network = keras.Model(x, y)
    images = np.random.default_rng(0).standard_normal((2, 8, 8, 3)).astype("float32")
    out, of_minus, of_double = (np.asarray(network(k * images)) for k in (1, -1, 2))
    check.that(bool(np.abs(out).max() > 0), "It gives zeros at the start. Is the shortcut there?")
    check.that(
        bool((out < 0).any()), "Nothing below zero comes out: is there a ReLU after the sum?"
    )
    linear = np.allclose(of_minus, -out, atol=1e-4) and np.allclose(of_double, 2 * out, atol=1e-4)
    check.that(
        bool(linear),
        "At the start only the shortcut should count, and it should be a convolution and nothing "
        "else. Where does f begin, and is there a ReLU on the shortcut?",
    )
    right = (3 * 9 + 1) * 4 + (4 * 9 + 1) * 4 + (3 + 1) * 4
    counts = (right, right - 4, right - 12)  # with fewer biases
    check.that(
        network.count_params() in counts,
        f"It has {network.count_params()} weights; two convolutions of 3 x 3 and one of 1 x 1 have "
        f"{right}.",
    )


@check.define("16.3")
def halved_shortcut(answer):
    """Check the training loss of twenty layers whose shortcuts halve what they carry."""
    loss = answer()
    check.that(
        np.shape(loss) == () and bool(np.isfinite(loss)), "One number is wanted: the last loss."
    )
    check.that(
        loss > 0.4,
        f"{loss:.3f} is what whole shortcuts reach. Is x multiplied by one half in every block?",
    )
    check.that(loss < 1.0, f"{loss:.3f} is worse than guessing; was something else changed?")

"""Checks of the exercises of lesson 06."""

import numpy as np

from coursekit import check


@check.define("06.1")
def moving_kernel(answer):
    """Check the kernel that moves an image by one pixel, down and to the right."""
    kernel = np.asarray(answer, dtype=float)
    check.that(
        kernel.shape == (3, 3),
        f"A 3 x 3 array or nested list is wanted; yours has shape {kernel.shape}.",
    )
    image = np.random.default_rng(0).uniform(0.5, 1.0, (9, 9))
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(image, 1), (3, 3))
    moved = np.sum(windows * kernel, axis=(2, 3))[2:-2, 2:-2]  # away from the border
    steps = {(0, 0): "stays where it is"}
    steps |= {(1, 0): "moves down only", (0, 1): "moves to the right only"}
    steps |= {(-1, 0): "moves up", (0, -1): "moves to the left"}
    steps |= {(1, -1): "moves down and to the left", (-1, 1): "moves up and to the right"}
    steps[-1, -1] = "moves up and to the left: in which direction does the kernel look?"
    check.that(
        np.isclose(kernel.sum(), 1),
        f"Your weights add up to {kernel.sum():g}, which changes the brightness of the image.",
    )
    mistakes = {
        f"With your kernel the image {what}{'' if what.endswith('?') else '.'}": np.roll(
            image, step, axis=(0, 1)
        )[2:-2, 2:-2]
        for step, what in steps.items()
    }
    wanted = np.roll(image, (1, 1), axis=(0, 1))[2:-2, 2:-2]
    wrong = "Your output mixes several pixels. How many of the nine must it look at?"
    check.compare(moved, wanted, wrong, mistakes, tolerance=1e-5)


@check.define("06.2")
def max_pool_gradient(answer):
    """Check the gradient of max pooling with respect to its input."""
    rng = np.random.default_rng(0)
    x = rng.permutation(2 * 4 * 6 * 3).reshape(2, 4, 6, 3).astype(float)  # no two are equal
    gradient = rng.uniform(1, 2, (2, 2, 3, 3)) * rng.choice([-1, 1], (2, 2, 3, 3))
    found = np.asarray(answer(x.copy(), gradient.copy()), dtype=float)
    check.that(
        found.shape == x.shape,
        f"The gradient must have the shape of x, {x.shape}; yours has {found.shape}.",
    )
    blocks = found.reshape(2, 2, 2, 3, 2, 3)
    values = x.reshape(2, 2, 2, 3, 2, 3)
    largest = values == values.max(axis=(2, 4), keepdims=True)
    check.that(
        not np.any(blocks[~largest]),
        "Some number that is not the largest of its block has a gradient, although the output does "
        "not depend on it.",
    )
    check.that(
        np.all(blocks[largest]),
        "The largest number of some block has no gradient: it is the output.",
    )
    wanted = np.broadcast_to(gradient[:, :, None, :, None], blocks.shape)
    check.that(
        np.allclose(blocks[largest], wanted[largest]),
        "The gradient arrives at the right places with wrong values. How much does the output "
        "change when the largest number grows by a little?",
    )


@check.define("06.3")
def plan(answer):
    """Check a list of layers against receptive field, total stride and number of weights."""
    form = 'a list of ("convolution", k) and ("pooling", 2)'
    pairs = [tuple(layer) for layer in answer]
    check.that(len(pairs) > 0, f"It is empty; {form} is wanted.")
    for name, size in pairs:
        known = (name == "convolution" and int(size) == size >= 1) or (name, size) == ("pooling", 2)
        check.that(known, f"{(name, size)} is not a layer here; {form} is wanted.")
    sides = {size for name, size in pairs if name == "convolution"}
    check.that(sides <= {3, 5}, "Use kernels of side 3 or 5.")
    check.that(pairs[0][0] == "convolution", "The plan must start with a convolution.")
    field, stride, channels, weights = 1, 1, 3, 0
    for name, size in pairs:
        field += (size - 1) * stride
        if name == "pooling":
            stride *= 2
        else:
            weights, channels = weights + (size**2 * channels + 1) * 8, 8
    check.that(stride <= 4, f"Its total stride is {stride}, more than 4.")
    check.that(field >= 32, f"Its receptive field is {field} pixels, less than 32.")
    check.that(weights <= 3000, f"It has {weights:,} weights, more than 3,000.")

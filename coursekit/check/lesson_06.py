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
def spot(answer):
    """Check a kernel that takes the mean of its middle minus the mean of the ring around it."""
    for inner, outer in ((1, 3), (3, 7), (5, 11)):
        kernel = np.asarray(answer(inner, outer), dtype=float)
        name = f"spot({inner}, {outer})"
        check.that(
            kernel.shape == (outer, outer),
            f"{name} must have shape ({outer}, {outer}); yours has {kernel.shape}.",
        )
        middle = np.pad(np.ones((inner, inner)), (outer - inner) // 2)
        ring = 1 - middle
        right = middle / middle.sum() - ring / ring.sum()
        mistakes = {
            f"{name} has its signs turned round: it looks for dark spots.": -right,
            f"{name} takes sums, not means.": middle - ring,
            f"In {name} you subtract the mean of the whole square, its middle included.": (
                middle / middle.sum() - 1 / outer**2
            ),
            f"In {name}, how many pixels has the ring? Its middle is missing.": (
                middle / middle.sum() - ring / outer**2
            ),
            f"{name} takes the mean of the middle; nothing is subtracted.": middle / middle.sum(),
        }
        wrong = f"The weights of {name} add up to {kernel.sum():g}; they should to 0."
        if np.isclose(kernel.sum(), 0):
            wrong = f"The weights of {name} add up to 0, but are not a mean minus a mean."
        check.compare(kernel, right, wrong, mistakes)


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

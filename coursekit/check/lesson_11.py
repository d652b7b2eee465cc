"""Checks of the exercises of lesson 11."""

import numpy as np

from coursekit import check


@check.define("11.1")
def losses(answer):
    """Check the losses of discriminator and generator."""
    of_real, of_made = np.array([2.0, -1.0, 0.5]), np.array([-3.0, 0.5, 1.0, 0.0])

    def softplus(score):
        return np.logaddexp(0, score)

    found = answer(of_real.copy(), of_made.copy())
    check.that(
        np.shape(found) == (2,),
        f"Two numbers are wanted, (L_D, L_G); yours has shape {np.shape(found)}.",
    )
    right_d = softplus(-of_real).mean() + softplus(of_made).mean()
    right_g = softplus(-of_made).mean()
    mistakes = {
        "The two losses are in the wrong order.": (right_g, right_d),
        "Your discriminator calls made points real, and real ones made: look at the signs.": (
            softplus(of_real).mean() + softplus(-of_made).mean(),
            right_g,
        ),
        "Your generator wants its points to be called made: look at its sign.": (
            right_d,
            softplus(of_made).mean(),
        ),
        "Your generator's loss is minus the discriminator's second term. That is the game's first "
        "form; its slope dies when the discriminator is sure. Take the one above.": (
            right_d,
            -softplus(of_made).mean(),
        ),
        "You added up over the points. What does the mean change?": (
            softplus(-of_real).sum() + softplus(of_made).sum(),
            softplus(-of_made).sum(),
        ),
        "The discriminator's loss is the sum of two means, not their mean.": (right_d / 2, right_g),
    }
    check.compare(found, (right_d, right_g), "At least one of them is wrong.", mistakes)
    large = np.asarray(answer(np.array([-1000.0]), np.array([-1000.0])), dtype=float)
    check.that(
        bool(np.allclose(large, [1000, 1000])),
        "Right for small scores; with scores of -1000 it overflows. See the hint.",
    )


@check.define("11.2")
def repaired(answer):
    """Check that the points of a repaired game cover all places."""
    points = np.asarray(answer(), dtype=float)
    check.that(
        points.ndim == 2 and points.shape[1] == 2 and len(points) >= 100,
        f"The points of the last frame are wanted, shape (600, 2); yours has {points.shape}.",
    )
    angles = np.arange(8) * np.pi / 4
    places = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    apart = np.linalg.norm(points[:, None] - places, axis=2)
    check.that(
        bool(len(np.unique(points.round(1), axis=0)) > 8 and apart.min(axis=1).std() > 1e-3),
        "These are the places themselves, not points of a generator. Train one.",
    )
    n = int(((apart < 0.2).mean(axis=0) >= 0.02).sum())
    check.that(n == 8, f"{n} of eight places are covered. What else was changed above?")
    near = (apart.min(axis=1) < 0.2).mean()
    check.that(
        bool(near >= 0.5),
        f"All places are covered, but only {near:.0%} of the points are near one. Go on longer?",
    )

"""Networks of the course, one file per family; each builder takes sizes, a task and a seed."""

import importlib

from medlib.errors import expect_one_of

NAMES = ("cnn", "resnet", "rnn", "vit", "vit_patches")  # that classify
SEGMENTING = ("unet",)
DETECTING = ("detector",)


def build(name: str, image_shape: tuple[int, ...], task, *, seed: int):
    """Build a network by name, not yet compiled.

    Parameters
    ----------
    name : str
        One of :data:`NAMES`, :data:`SEGMENTING` or :data:`DETECTING`: up to an underscore, the file
        of its family in ``medlib/models/``.
    image_shape : tuple of int
        (height, width, channels), or (depth, height, width, channels).
    task : medlib.tasks.Classification, or another task
        Its ``head`` makes the last layer.
    seed : int
        Of the initial weights.

    Returns
    -------
    keras.Model

    Raises
    ------
    UsageError
        If there is no network of that name.
    """
    expect_one_of("model", name, (*NAMES, *SEGMENTING, *DETECTING))
    module = importlib.import_module(f"medlib.models.{name.partition('_')[0]}")
    return getattr(module, f"build_{name}")(image_shape, task, seed=seed)

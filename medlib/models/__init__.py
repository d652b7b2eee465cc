"""Networks of the course, one file per family; each builder takes sizes, a task and a seed."""

import importlib

from medlib.errors import UsageError

_BUILDERS = {
    "cnn": "build_cnn",
    "resnet": "build_resnet",
    "rnn": "build_rnn",
    "vit": "build_vit",
    "vit_patches": "build_vit_patches",
}
NAMES = tuple(_BUILDERS)


def build(name: str, image_shape: tuple[int, ...], task, *, seed: int):
    """Build a network by name, not yet compiled.

    Parameters
    ----------
    name : str
        One of :data:`NAMES`: up to an underscore, the file of its family in ``medlib/models/``.
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
    if name not in _BUILDERS:
        raise UsageError("model", expected=f"one of {', '.join(NAMES)}", found=repr(name))
    module = importlib.import_module(f"medlib.models.{name.partition('_')[0]}")
    return getattr(module, _BUILDERS[name])(image_shape, task, seed=seed)

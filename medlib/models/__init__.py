"""Networks of the course, one file per family."""

NAMES = ("cnn", "resnet")


def build(name: str, image_shape: tuple[int, ...], n_classes: int, *, seed: int):
    """Build a network by name, not yet compiled.

    Parameters
    ----------
    name : {"cnn", "resnet"}
    image_shape : tuple of int
        (height, width, channels).
    n_classes : int
        Two give one sigmoid unit: the probability of class 1. More give a softmax over them.
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
    from medlib.errors import UsageError

    if name == "cnn":
        from medlib.models.cnn import build_cnn as builder
    elif name == "resnet":
        from medlib.models.resnet import build_resnet as builder
    else:
        raise UsageError("model", expected=f"one of {', '.join(NAMES)}", found=repr(name))
    return builder(image_shape, n_classes, seed=seed)

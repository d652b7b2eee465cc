"""A recurrent network: the slices of a stack, or the rows of an image, are read one after another.

References
----------
Cho and others, Learning Phrase Representations using RNN Encoder-Decoder for Statistical Machine
Translation, EMNLP 2014, section 2.3 (the gated recurrent unit).
Schuster and Paliwal, Bidirectional Recurrent Neural Networks, IEEE Transactions on Signal
Processing 45 (1997) 2673-2681.
"""

import keras

from medlib.models.cnn import encode
from medlib.models.layers import layer_seeds, slices_of


def build_rnn(image_shape: tuple[int, ...], task, *, seed: int, units: int = 32, width: int = 16):
    """Read a sequence forwards and backwards, and keep the largest value of each unit.

    Of a stack, one convolutional encoder, that of :func:`medlib.models.cnn.build_cnn`, turns every
    slice into features, and a bidirectional GRU reads these. So, unlike that network, this one can
    tell in which order the slices come. Of a single image the rows are the sequence, read as they
    are: no convolution looks at them, and lesson 09 shows how little that is good for.

    Parameters
    ----------
    image_shape : tuple of int
        (depth, height, width, channels), or (height, width, channels).
    task : medlib.tasks.Classification
    seed : int
        Of the initial weights.
    units : int
        Of the GRU in each direction.
    width : int
        Channels of the encoder's first block.

    Returns
    -------
    keras.Model
        Not compiled.
    """
    seeds = layer_seeds(seed)
    inputs = keras.Input(image_shape)
    features = image_shape[1] * image_shape[2]  # of a row: its pixels
    x = inputs
    if len(image_shape) == 4:
        x = encode(slices_of(inputs), seeds, width=width)
        features = x.shape[-1]
    sequence = keras.ops.reshape(x, (-1, image_shape[0], features))

    def gru(**direction):
        return keras.layers.GRU(
            units,
            return_sequences=True,
            kernel_initializer=keras.initializers.GlorotUniform(seed=next(seeds)),
            recurrent_initializer=keras.initializers.Orthogonal(seed=next(seeds)),
            **direction,
        )

    states = keras.layers.Bidirectional(gru(), backward_layer=gru(go_backwards=True))(sequence)
    return keras.Model(
        inputs, task.head(keras.ops.max(states, axis=1), seed=next(seeds)), name="rnn"
    )

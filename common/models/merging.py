"""Layers that part and merge: channels, halves, two branches, gates, activations of axes."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import keras

from common.models.layers import PACKAGE

Gate = Literal["glu", "cg"]


@keras.saving.register_keras_serializable(package=PACKAGE)
class HalvesProduct(keras.layers.Layer):
    """Multiplies the first half of the last axis by the second: (..., 2D) -> (..., D)."""

    def call(self, inputs: Any) -> Any:
        """Returns the product of the halves."""
        first, second = keras.ops.split(inputs, 2, axis=-1)
        return first * second

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Returns the input's shape with half of the last axis."""
        return (*input_shape[:-1], input_shape[-1] // 2)


@keras.saving.register_keras_serializable(package=PACKAGE)
class FirstChannels(keras.layers.Layer):
    """Keeps the first channels: (..., C) -> (..., n_channels).

    Args:
        n_channels: number of channels that are kept.
    """

    def __init__(self, n_channels: int, **options: Any) -> None:
        super().__init__(**options)
        self.n_channels = n_channels

    def call(self, inputs: Any) -> Any:
        """Returns the first channels."""
        return inputs[..., : self.n_channels]

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Returns the input's shape with fewer channels."""
        return (*input_shape[:-1], self.n_channels)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that build the layer again."""
        return {**super().get_config(), "n_channels": self.n_channels}


@keras.saving.register_keras_serializable(package=PACKAGE)
class ChannelsToBatch(keras.layers.Layer):
    """Makes an example of each channel: (B, T, F, C) -> (B * C, T, F, 1)."""

    def call(self, inputs: Any) -> Any:
        """Returns the channels of an example one after the other."""
        ops = keras.ops
        sizes = ops.shape(inputs)
        return ops.reshape(ops.transpose(inputs, (0, 3, 1, 2)), (-1, sizes[1], sizes[2], 1))

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Returns the shape of one channel, for an unknown number of examples."""
        return (None, *input_shape[1:3], 1)


@keras.saving.register_keras_serializable(package=PACKAGE)
class BatchToChannels(keras.layers.Layer):
    """Joins the maps of an example's channels: (B * C, T, F, N) -> (B, T, F, C * N).

    Args:
        n_channels: channels of an example, C, see `ChannelsToBatch`.
    """

    def __init__(self, n_channels: int, **options: Any) -> None:
        super().__init__(**options)
        self.n_channels = n_channels

    def call(self, inputs: Any) -> Any:
        """Returns the maps of the first channel, then those of the second, and so on."""
        ops = keras.ops
        sizes = tuple(ops.shape(inputs)[1:])
        maps = ops.reshape(inputs, (-1, self.n_channels, *sizes))  # (B, C, T, F, N)
        maps = ops.transpose(maps, (0, 2, 3, 1, 4))  # (B, T, F, C, N)
        return ops.reshape(maps, (-1, *sizes[:2], self.n_channels * sizes[2]))

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Returns the shape of the joined maps."""
        return (None, *input_shape[1:3], self.n_channels * input_shape[3])

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that build the layer again."""
        return {**super().get_config(), "n_channels": self.n_channels}


@keras.saving.register_keras_serializable(package=PACKAGE)
class CrossStitch(keras.layers.Layer):
    """Mixes the maps of two branches channel by channel, with learned weights.

    With weights w (2, 2) of a channel: a' = w00 a + w01 b, then b' = w10 a' + w11 b. The second
    branch gets the NEW map of the first, as in the code of EINV2, whose weights are made for it; in
    the paper of cross-stitch networks both get the old ones.

    Args:
        n_channels: channels of both branches.

    References:
        Misra et al., "Cross-stitch networks for multi-task learning", CVPR 2016, arXiv:1604.03539.
        Cao et al., "An improved event-independent network for polyphonic sound event localization
        and detection", ICASSP 2021, arXiv:2010.13092.
    """

    def __init__(self, n_channels: int, **options: Any) -> None:
        super().__init__(**options)
        self.n_channels = n_channels
        initial = keras.initializers.RandomUniform(0.1, 0.9)
        shape = (n_channels, 2, 2)
        self.stitch = self.add_weight(shape=shape, initializer=initial, name="stitch")

    def call(self, inputs: Sequence[Any]) -> list[Any]:
        """Returns both maps (..., n_channels), mixed."""
        first, second = inputs
        weights = keras.ops.convert_to_tensor(self.stitch)
        first = weights[:, 0, 0] * first + weights[:, 0, 1] * second
        return [first, weights[:, 1, 0] * first + weights[:, 1, 1] * second]

    def compute_output_shape(self, input_shape: Sequence[tuple]) -> list[tuple]:
        """Returns the inputs' shapes."""
        return [tuple(shape) for shape in input_shape]

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that build the layer again."""
        return {**super().get_config(), "n_channels": self.n_channels}


@keras.saving.register_keras_serializable(package=PACKAGE)
class AxisActivations(keras.layers.Layer):
    """Applies an activation of its own to each entry of an axis, in float32.

    Args:
        activations: Keras names of the activations, one for each entry.
        axis: the axis, counted from the end, -1 the last.
    """

    def __init__(self, activations: Sequence[str], axis: int, **options: Any) -> None:
        options.setdefault("dtype", "float32")  # coordinates, metres and probabilities
        super().__init__(**options)
        self.activations, self.axis = list(activations), axis

    def call(self, inputs: Any) -> Any:
        """Returns a tensor of the shape received."""
        parts = keras.ops.split(inputs, len(self.activations), axis=self.axis)
        pairs = zip(self.activations, parts, strict=True)
        parts = [keras.activations.get(name)(part) for name, part in pairs]
        return keras.ops.concatenate(parts, axis=self.axis)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Returns the input's shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that build the layer again."""
        own = {"activations": self.activations, "axis": self.axis}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(package=PACKAGE)
class IdleWeights(keras.layers.Layer):
    """Passes its input on; holds weights that nothing uses, for checkpoints that hold them too.

    Args:
        shapes: shape of each weight, by name.
    """

    def __init__(self, shapes: Mapping[str, Sequence[int]], **options: Any) -> None:
        super().__init__(**options)
        self.shapes = {name: tuple(shape) for name, shape in shapes.items()}
        for name, shape in self.shapes.items():
            self.add_weight(shape=shape, initializer="zeros", name=name)

    def call(self, inputs: Any) -> Any:
        """Returns the input."""
        return inputs

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Returns the input's shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that build the layer again."""
        shapes = {name: list(shape) for name, shape in self.shapes.items()}
        return {**super().get_config(), "shapes": shapes}


def gate(x: Any, kind: Gate, dense: keras.layers.Layer, name: str) -> Any:
    """Multiplies maps by a gate within (0, 1), channel by channel.

    Args:
        x: (..., C).
        kind: "glu": a dense layer of the maps, times the sigmoid of the maps themselves, as in the
            code of the baselines (a gated linear unit has two dense layers); "cg": context gating,
            the maps times the sigmoid of a dense layer of them.
        dense: dense layer without activation, C -> C.
        name: stem of the names of the other layers.

    Returns:
        (..., C).

    References:
        Miech, Laptev, Sivic, "Learnable pooling with context gating for video classification",
        arXiv:1706.06905. Turpault et al., DCASE 2019 task 4 baseline.
    """
    linear = dense(x)
    value, control = (linear, x) if kind == "glu" else (x, linear)
    control = keras.layers.Activation("sigmoid", name=f"{name}_sigmoid")(control)
    return keras.layers.Multiply(name=f"{name}_product")([value, control])

"""Dynamic convolutions: filters mixed from basis kernels, as an attention to the input asks.

A convolution has the same filters everywhere, as if a sound were the same sound at any pitch. A
dynamic one has several basis kernels, and mixes their outputs by weights made from its input: for
each band (frequency dynamic), for each frame (temporal dynamic) or for the whole clip.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

import keras

from common.models.layers import PACKAGE, Aggregate, NormOptions, torch_initializers

DynamicPooling = Literal["time", "frequency", "both", "channels"]
ATTENTION_NORM = NormOptions(epsilon=1e-5, momentum=0.9, unbiased=True)  # PyTorch's default
# Most channels of an attention are a quarter of the input's, but at least so many.
LEAST_CHANNELS = 4


@dataclass(frozen=True)
class DynamicOptions:
    """Options of dynamic convolutions.

    Attributes:
        n_kernels: number of basis kernels.
        pooling: axis that the input is averaged over before the attention. "time": weights for each
            band; "frequency": for each frame; "both": for the clip; "channels": for each frame,
            from its bands.
        temperature: divides the scores before the softmax; high values keep the weights of all
            kernels alive at the beginning.
        frozen: see `NormOptions`.
    """

    n_kernels: int = 4
    pooling: DynamicPooling = "time"
    temperature: float = 31.0
    frozen: bool = False


@keras.saving.register_keras_serializable(package=PACKAGE)
class KernelMixture(keras.layers.Layer):
    """Mixes the maps of basis kernels: (B, T, F, n * N) and their weights -> (B, T, F, N).

    Args:
        n_kernels: number of basis kernels, n; the maps of one stand next to each other.
        pooling: see `DynamicOptions`.
    """

    def __init__(self, n_kernels: int, pooling: DynamicPooling, **options: Any) -> None:
        super().__init__(**options)
        self.n_kernels, self.pooling = n_kernels, pooling

    def call(self, maps: Any, shares: Any) -> Any:
        """Adds the maps up.

        Args:
            maps: (B, T, F, n * N).
            shares: weights of the kernels: (B, F, n) for the pooling "time", (B, n) for "both",
                (B, T, n) else.

        Returns:
            (B, T, F, N).
        """
        ops = keras.ops
        axes = {"time": (1,), "both": (1, 2)}.get(self.pooling, (2,))
        for axis in axes:
            shares = ops.expand_dims(shares, axis)  # (B, 1 or T, 1 or F, n)
        shares = ops.cast(shares, maps.dtype)
        parts = ops.split(maps, self.n_kernels, axis=-1)
        weighted = [part * shares[..., n : n + 1] for n, part in enumerate(parts)]
        return sum(weighted[1:], start=weighted[0])

    def compute_output_shape(self, maps_shape: tuple, shares_shape: tuple) -> tuple:
        """Returns the shape of the maps of one kernel."""
        return (*maps_shape[:-1], maps_shape[-1] // self.n_kernels)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that build the layer again."""
        own = {"n_kernels": self.n_kernels, "pooling": self.pooling}
        return {**super().get_config(), **own}


def kernel_attention(x: Any, kernel_size: int, options: DynamicOptions, name: str) -> Any:
    """Computes the weights of basis kernels from the input of a convolution, in float32.

    Args:
        x: (B, T, F, C).
        kernel_size: frames and bands of a filter; the attention looks at as many bands or frames.
        options: see `DynamicOptions`.
        name: stem of the layers' names.

    Returns:
        Weights whose sum over the n kernels is 1: (B, F, n) for the pooling "time", (B, n) for
        "both", (B, T, n) else. The pooling "channels", which fails in the published code, takes the
        bands of a frame as the channels of its attention, as the comments there say.
    """
    if options.pooling == "both":
        scores = _clip_scores(x, options, name)
    else:
        scores = _scores(x, kernel_size, options, name)
    layers = keras.layers
    scale = layers.Rescaling(1.0 / options.temperature, name=f"{name}_scale", dtype="float32")
    return layers.Softmax(name=name, dtype="float32")(scale(scores))


def _clip_scores(x: Any, options: DynamicOptions, name: str) -> Any:
    """Scores the kernels for a clip: (B, T, F, C) -> (B, n)."""
    layers, channels = keras.layers, x.shape[-1]
    n_hidden = max(channels // 4, LEAST_CHANNELS)
    last: dict[str, Any] = {"dtype": "float32"}
    x = layers.GlobalAveragePooling2D("channels_last", name=f"{name}_mean", **last)(x)  # (B, C)
    last["activation"], start = "relu", torch_initializers(channels)
    x = layers.Dense(n_hidden, name=f"{name}_dense1", **last, **start)(x)  # (B, n_hidden)
    last["activation"], start = None, torch_initializers(n_hidden)
    return layers.Dense(options.n_kernels, name=f"{name}_dense2", **last, **start)(x)


def _scores(x: Any, kernel_size: int, options: DynamicOptions, name: str) -> Any:
    """Scores the kernels for each band or frame: (B, T, F, C) -> (B, F or T, n)."""
    layers, n_hidden = keras.layers, max(x.shape[-1] // 4, LEAST_CHANNELS)
    last = {"dtype": "float32", "data_format": "channels_last"}
    axis = {"time": 1, "frequency": 2, "channels": 3}[options.pooling]
    x = Aggregate("average", axis, name=f"{name}_mean")(x)  # (B, F, C), (B, T, C) or (B, T, F)
    last["kernel_initializer"] = _he_normal("fan_out")
    conv = layers.Conv1D(
        n_hidden, kernel_size, padding="same", use_bias=False, name=f"{name}_conv1", **last
    )
    norm = replace(ATTENTION_NORM, frozen=options.frozen)
    x = norm.layer(f"{name}_norm", dtype="float32")(conv(x))  # (B, F or T, n_hidden)
    x = layers.Activation("relu", name=f"{name}_relu", dtype="float32")(x)
    last["kernel_initializer"] = _he_normal("fan_out")
    return layers.Conv1D(options.n_kernels, 1, name=f"{name}_conv2", **last)(x)


def _he_normal(mode: Literal["fan_in", "fan_out"]) -> keras.initializers.Initializer:
    """Normal distribution of variance 2 / fan, not truncated."""
    return keras.initializers.VarianceScaling(2.0, mode, "untruncated_normal")


def dynamic_convolution(
    x: Any, n_filters: int, kernel_size: int, options: DynamicOptions, name: str
) -> Any:
    """Applies a dynamic convolution, without bias.

    Args:
        x: (B, T, F, C).
        n_filters: number of filters, N.
        kernel_size: frames and bands of a filter, odd.
        options: see `DynamicOptions`.
        name: name of the convolution, and stem of the names of its attention.

    Returns:
        (B, T, F, N): the sum of the basis kernels' outputs, weighted by `kernel_attention`.

    References:
        Nam, Kim, Ko, Park, "Frequency dynamic convolution: frequency-adaptive pattern recognition
        for sound event detection", Interspeech 2022, arXiv:2203.15296. Chen et al., "Dynamic
        convolution: attention over convolution kernels", CVPR 2020, arXiv:1912.03458.
    """
    shares = kernel_attention(x, kernel_size, options, f"{name}_attention")
    maps = keras.layers.Conv2D(
        options.n_kernels * n_filters,
        kernel_size,
        padding="same",
        use_bias=False,
        kernel_initializer=_he_normal("fan_in"),
        data_format="channels_last",
        name=name,
    )(x)  # (B, T, F, n * N)
    return KernelMixture(options.n_kernels, options.pooling, name=f"{name}_mixture")(maps, shares)

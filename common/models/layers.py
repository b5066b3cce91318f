"""Keras layers and blocks that several systems share; channels last, any backend."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import keras
import numpy as np
from pydantic import Field

from common.errors import CheckpointError
from common.settings.section import Section

Pooling = Literal["average", "max"]
STATISTICS = "standardize"  # the layer that holds the statistics of the training data
PACKAGE = "dcase_keras"  # the name under which own objects are stored in `.keras` files


@keras.saving.register_keras_serializable(package=PACKAGE)
def hard_sigmoid_keras2(x: Any) -> Any:
    """Computes clip(0.2 x + 0.5, 0, 1), the recurrent activation of Keras 2, not of Keras 3."""
    return keras.ops.clip(0.2 * x + 0.5, 0.0, 1.0)


@keras.saving.register_keras_serializable(package=PACKAGE)
class Standardize(keras.layers.Layer):
    """Standardises each band and channel by its mean and standard deviation, in float32.

    Inputs may have the type they are stored in (float16). Constant values (standard deviation 0)
    are only centred, since nothing can be learned from their scale.

    Args:
        shape: shape of both statistics, (F, C) for features (B, T, F, C).
    """

    def __init__(self, shape: Sequence[int], **options: Any) -> None:
        options.setdefault("dtype", "float32")  # half precision is too coarse for dB or phases
        super().__init__(**options)
        self.shape = tuple(shape)
        options = {"shape": self.shape, "trainable": False}
        self.mean = self.add_weight(initializer="zeros", name="mean", **options)
        self.std = self.add_weight(initializer="ones", name="deviation", **options)

    def call(self, inputs: Any) -> Any:
        """Returns standardised features of the shape received, float32."""
        inputs = keras.ops.cast(inputs, "float32")
        std = keras.ops.convert_to_tensor(self.std)
        return (inputs - self.mean) / keras.ops.where(std > 0.0, std, 1.0)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Returns the input's shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that build the layer again; statistics are stored as weights."""
        return {**super().get_config(), "shape": list(self.shape)}


def with_statistics(
    network: keras.Model,
    mean: np.ndarray,
    std: np.ndarray,
    frontend: keras.layers.Layer | None = None,
    levels: Sequence[keras.layers.Layer] = (),
) -> keras.Model:
    """Joins the statistics of the training data to a network, so that the model takes raw features.

    Args:
        network: model whose input is standardised features (B, T, F, C), or a mapping of inputs
            with these as "features"; the others are passed on.
        mean: (F, C), mean of each band and channel, in the unit of the features.
        std: (F, C), standard deviation, same unit, 0 or more.
        frontend: layer that computes raw features from audio, see
            `common.models.audio_features.AudioFeatures`; None: the model takes features.
        levels: layers between raw features and statistics, see `common.models.levels`, in whose
            unit `mean` and `std` are then.

    Returns:
        Model from raw features (B, T, F, C), float16 or float32, or with a frontend from audio (B,
        S, C), int16, and from the other inputs by name, to the outputs of `network`. It shares the
        network's weights and has two non-trainable weights more.

    Raises:
        ValueError: a statistic has another shape than the network's bands and channels, or is not
            finite.
    """
    given = network.input if isinstance(network.input, dict) else {"features": network.input}
    shape = tuple(given["features"].shape[1:])  # (T, F, C)
    bands_channels = shape[1:]
    for name, values in (("mean", mean), ("std", std)):
        if values.shape != bands_channels:
            raise ValueError(
                f"`{name}` must have the bands and channels of the network. "
                f"Expected: {bands_channels}. Received: {values.shape}."
            )
        if n_wrong := np.sum(~np.isfinite(values)):
            raise ValueError(f"`{name}` must be finite. Received: {n_wrong} NaN or Inf values.")
    standardize = Standardize(bands_channels, name=STATISTICS)
    standardize.set_weights([mean.astype(np.float32), std.astype(np.float32)])
    if frontend is None:
        raw = features = keras.Input(shape, name="features", dtype="float32")  # (B, T, F, C)
    else:
        audio_shape = (None, frontend.frontend.channels)
        raw = keras.Input(audio_shape, name="audio", dtype="int16")  # (B, S, C)
        features = frontend(raw)  # (B, T, F, C)
    for layer in levels:
        features = layer(features)
    name, x = f"{network.name}_with_statistics", standardize(features)
    others = {
        key: keras.Input(each.shape[1:], name=key, dtype=each.dtype)
        for key, each in given.items()
        if key != "features"
    }
    if not others:
        return keras.Model(raw, network(x), name=name)
    return keras.Model({raw.name: raw, **others}, network({"features": x, **others}), name=name)


@keras.saving.register_keras_serializable(package=PACKAGE)
class BatchNormalization(keras.layers.BatchNormalization):
    """Keras' batch normalisation, with a fused kernel for the channels of maps on TensorFlow.

    Keras composes it from a dozen operations, each of which reads and writes the whole map, and
    widens bfloat16 before; the kernel passes over the map twice. Weights, statistics and results
    are the same to rounding. If devices share a batch, statistics are those of the whole batch,
    which only Keras' operations compute.

    Args:
        unbiased: the running variance is that of the estimate for all data, with n - 1 in the
            divisor, as in PyTorch; else with n, as in Keras. It matters where n is small, after
            much pooling. Masks are not looked at.
        options: those of `keras.layers.BatchNormalization`.
    """

    def __init__(self, *, unbiased: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.unbiased = unbiased
        self.synchronized = _batch_is_shared()

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that build the layer again, without the devices of this run."""
        own = {"unbiased": self.unbiased, "synchronized": False}
        return {**super().get_config(), **own}

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Returns normalised values of the shape and type received."""
        over_channels = len(inputs.shape) == 4 and self.axis in (-1, 3)
        learns = training and self.trainable
        plain = mask is None and self.scale and self.center and not self.renorm
        joint = learns and self.synchronized
        if joint or not (over_channels and plain and _has_kernel(inputs)):
            if not (learns and self.unbiased):
                return super().call(inputs, training=training, mask=mask)
            kept = self.moving_variance * self.momentum
            outputs = super().call(inputs, training=training, mask=mask)
            added = self.moving_variance - kept
            self.moving_variance.assign(kept + added * self._unbiasing(inputs))
            return outputs
        from common.runtime.distribution import normalize_channels  # loads TensorFlow

        if not learns:
            kept = self.moving_mean, self.moving_variance
            return normalize_channels(inputs, self.gamma, self.beta, self.epsilon, kept)[0]
        outputs, mean, variance = normalize_channels(inputs, self.gamma, self.beta, self.epsilon)
        if self.unbiased:
            variance = variance * self._unbiasing(inputs)
        for moving, now in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + now * (1.0 - self.momentum))
        return outputs

    def _unbiasing(self, inputs: Any) -> Any:
        """Computes n / (n - 1) for the n values of a channel in the whole batch; 1 for n = 1."""
        sizes = keras.ops.shape(inputs)
        n = math.prod(keras.ops.cast(sizes[axis], "float32") for axis in self._reduction_axes)
        if self.synchronized:
            from common.runtime.distribution import n_replicas

            n = n * n_replicas()
        return n / keras.ops.maximum(n - 1.0, 1.0)


def _batch_is_shared() -> bool:
    """True if several devices share a batch and each has a part, as under TensorFlow strategies."""
    if keras.backend.backend() != "tensorflow":
        return False
    from common.runtime.distribution import n_replicas

    return n_replicas() > 1


def _has_kernel(inputs: Any) -> bool:
    """True if the backend normalises maps of this type with a fused kernel."""
    if isinstance(inputs, keras.KerasTensor):  # only its shape is needed
        return False
    kind = keras.backend.standardize_dtype(inputs.dtype)
    return keras.backend.backend() == "tensorflow" and kind in ("float32", "bfloat16")


@dataclass(frozen=True)
class NormOptions:
    """Options of batch normalisation.

    Attributes:
        epsilon: constant added to the variance.
        momentum: share of the old value in the running statistics, 1 minus PyTorch's momentum.
        gamma_deviation: standard deviation of the initial scales about 1.
        unbiased: see `BatchNormalization`.
        frozen: scales, offsets and statistics stay as they are, and normalise in training, too.
    """

    epsilon: float
    momentum: float
    gamma_deviation: float = 0.0
    unbiased: bool = False
    frozen: bool = False

    def layer(self, name: str, axis: int = -1, dtype: Any = None) -> BatchNormalization:
        """Makes one layer; each draws initial scales of its own."""
        std = self.gamma_deviation
        options: dict[str, Any] = {"epsilon": self.epsilon, "momentum": self.momentum, "name": name}
        options |= {"unbiased": self.unbiased, "trainable": not self.frozen}
        gamma = keras.initializers.RandomNormal(1.0, std) if std else "ones"
        return BatchNormalization(axis=axis, gamma_initializer=gamma, dtype=dtype, **options)


KERAS_NORM = NormOptions(epsilon=1e-3, momentum=0.99)  # what Keras does if not told otherwise


def conv_block(
    x: Any,
    n_filters: int,
    *,
    pool: tuple[int, int],
    norm_axis: int = -1,
    norm: NormOptions = KERAS_NORM,
    dropout: float = 0.0,
    drop_channels: bool = False,
    name: str,
) -> Any:
    """Applies a 3 x 3 convolution, batch normalisation, max pooling, ReLU and dropout.

    Args:
        x: (B, T, F, C).
        n_filters: number of filters.
        pool: pooled frames and bands; frames and bands that do not fill a pool are dropped.
        norm_axis: axis that has statistics of its own: -1 channels, 2 bands.
        norm: options of batch normalisation.
        dropout: dropout rate, [0, 1).
        drop_channels: dropout of whole channels of an example, not of single entries.
        name: stem of the layers' names: conv<name>, bn<name>, ...

    Returns:
        (B, T // pool[0], F // pool[1], n_filters).
    """
    layers = keras.layers
    last = {"data_format": "channels_last"}
    x = layers.Conv2D(n_filters, 3, padding="same", name=f"conv{name}", **last)(x)
    x = norm.layer(f"bn{name}", norm_axis)(x)
    # The largest value of a pool is the same before and after a ReLU, which has less to do now.
    x = layers.MaxPooling2D(pool, name=f"pool{name}", **last)(x)  # (B, T', F', n_filters)
    x = layers.Activation("relu", name=f"relu{name}")(x)
    if not dropout:
        return x
    if drop_channels:
        return layers.SpatialDropout2D(dropout, name=f"drop{name}", **last)(x)
    return layers.Dropout(dropout, name=f"drop{name}")(x)


@keras.saving.register_keras_serializable(package=PACKAGE)
class Aggregate(keras.layers.Layer):
    """Reduces one axis of a tensor to one value, in float32.

    Args:
        kind: "average"; "max"; "linear_softmax", the sum of squares by the sum, an average weighted
            by the values themselves, which must not be negative; it is 0 where all are 0.
        axis: axis that vanishes, counted from the batch axis 0.

    References:
        Wang, Li, Metze, "A comparison of five multiple instance learning pooling functions for
        sound event detection with weak labeling", ICASSP 2019, arXiv:1810.09050 (linear softmax).
    """

    def __init__(
        self, kind: Literal["average", "max", "linear_softmax"], axis: int, **options: Any
    ) -> None:
        options.setdefault("dtype", "float32")  # sums over hundreds of frames
        super().__init__(**options)
        self.kind, self.axis = kind, axis

    def call(self, inputs: Any) -> Any:
        """Returns the input without one axis."""
        ops = keras.ops
        if self.kind == "average":
            return ops.mean(inputs, axis=self.axis)
        if self.kind == "max":
            return ops.max(inputs, axis=self.axis)
        squares, weights = (ops.sum(x, axis=self.axis) for x in (ops.square(inputs), inputs))
        return squares / ops.maximum(weights, keras.config.epsilon())

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Returns the input's shape without one axis."""
        return (*input_shape[: self.axis], *input_shape[self.axis + 1 :])

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that build the layer again."""
        return {**super().get_config(), "kind": self.kind, "axis": self.axis}


@keras.saving.register_keras_serializable(package=PACKAGE)
class RecurrentGates(keras.initializers.Initializer):
    """First recurrent weights of a GRU (U, 3U): gates within +-sqrt(3 / U), orthogonal candidate.

    References:
        The code of Cao et al., DCASE 2019, arXiv:1905.00268.
    """

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Any:
        """Returns weights of update gate, reset gate and candidate, in this order."""
        units = shape[0]
        gates = keras.initializers.LecunUniform()((units, 2 * units), dtype)
        candidate = keras.initializers.Orthogonal()((units, units), dtype)
        return keras.ops.concatenate([gates, candidate], axis=1)


def torch_initializers(fan_in: int) -> dict[str, keras.initializers.Initializer]:
    """First weights of a dense layer or a convolution in PyTorch: within +-1 / sqrt(fan_in).

    Args:
        fan_in: inputs of one output: channels, times the entries of a filter.

    Returns:
        New initializers of one layer, as its arguments.
    """
    most = 1.0 / math.sqrt(fan_in)
    draw = keras.initializers.RandomUniform
    return {"kernel_initializer": draw(-most, most), "bias_initializer": draw(-most, most)}


class NormConfig(Section):
    """Batch normalisation of networks published in PyTorch; a `NetworkConfig` extends it."""

    batch_norm_epsilon: float = Field(
        1e-5, gt=0.0, description="Value added to the variance in batch normalisation."
    )
    batch_norm_momentum: float = Field(
        0.9,
        ge=0.0,
        lt=1.0,
        description="Momentum of the running mean and variance; PyTorch's is 1 minus this.",
    )

    def norm(self, gamma_deviation: float = 0.0, **options: bool) -> NormOptions:
        """Options of the layers; `gamma_deviation` and `options` as in `NormOptions`."""
        momentum = self.batch_norm_momentum
        return NormOptions(self.batch_norm_epsilon, momentum, gamma_deviation, **options)


def stacked_conv_block(
    x: Any,
    n_filters: int,
    *,
    kernel: int,
    pool: tuple[int, int],
    pooling: Pooling,
    initialisation: str,
    norm: NormOptions,
    names: Sequence[tuple[str, str]],
) -> Any:
    """Applies convolutions without bias, each with batch normalisation and ReLU, then one pooling.

    Args:
        x: (B, T, F, C).
        n_filters: filters of each convolution.
        kernel: size of a filter in frames and in bands.
        pool: pooled frames and bands, trailing ones that do not fill a pool are dropped; (1, 1): no
            pooling.
        pooling: average or max pooling.
        initialisation: Keras name of the kernel initializer.
        norm: options of batch normalisation.
        names: names of each convolution and of its batch normalisation; one pair per convolution.

    Returns:
        (B, T // pool[0], F // pool[1], n_filters).
    """
    layers, last = keras.layers, {"data_format": "channels_last"}
    for conv_name, norm_name in names:
        options = {"use_bias": False, "kernel_initializer": initialisation, "name": conv_name}
        x = layers.Conv2D(n_filters, kernel, padding="same", **last, **options)(x)
        x = norm.layer(norm_name)(x)
        x = layers.Activation("relu", name=f"{norm_name}_relu")(x)  # (B, T, F, n_filters)
    if pool == (1, 1):
        return x
    pool_layer = layers.AveragePooling2D if pooling == "average" else layers.MaxPooling2D
    return pool_layer(pool, name=f"{norm_name}_pool", **last)(x)  # (B, T', F', n_filters)


def weights_by_name(model: keras.Model) -> dict[str, Any]:
    """Lists the weights of a model under names that do not depend on how Keras nests its layers.

    Args:
        model: any model; models within it are entered, so the names are the same with and without
            statistics.

    Returns:
        Variables by "layer/weight", or "layer/forward/weight" and "layer/backward/weight" for
        bidirectional layers.
    """
    named: dict[str, Any] = {}
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            named.update(weights_by_name(layer))
        elif isinstance(layer, keras.layers.Bidirectional):
            parts = {"forward": layer.forward_layer, "backward": layer.backward_layer}
            for direction, part in parts.items():
                named |= {f"{layer.name}/{direction}/{each.name}": each for each in part.weights}
        else:
            named |= {f"{layer.name}/{each.name}": each for each in layer.weights}
    return named


def set_weights_by_name(model: keras.Model, arrays: Mapping[str, np.ndarray]) -> None:
    """Sets all weights of a model from arrays under the names of `weights_by_name`.

    Args:
        model: any model.
        arrays: by name, of the weights' shapes.

    Raises:
        ValueError: a name is missing or unknown, or a shape differs; the model is then unchanged.
    """
    weights = weights_by_name(model)
    if set(weights) != set(arrays):
        raise ValueError(
            "`arrays` must have one entry per weight. Missing:"
            f" {sorted(set(weights) - set(arrays))}. Unknown: {sorted(set(arrays) - set(weights))}."
        )
    for name, weight in weights.items():
        shape, received = tuple(weight.shape), arrays[name].shape
        if shape != received:
            raise ValueError(f"{name}: expected shape {shape}. Received: {received}.")
    for name, weight in weights.items():
        weight.assign(arrays[name])


def copy_weights(source: keras.Model, target: keras.Model, wanted: Callable[[str], bool]) -> None:
    """Copies the weights of some layers to the layers of the same names in another model.

    Args:
        source: any model.
        target: any model; its other weights stay.
        wanted: true for the names of layers whose weights are copied.

    Raises:
        CheckpointError: a wanted layer is missing in the source, or of another shape there; nothing
            is copied.
    """
    given, taken = weights_by_name(source), weights_by_name(target)
    chosen = [name for name in taken if wanted(name.split("/")[0])]
    for name in chosen:
        expected = tuple(taken[name].shape)
        received = tuple(given[name].shape) if name in given else None
        if expected != received:
            raise CheckpointError(
                f"The model to start from does not fit. Expected: a weight {name} of shape"
                f" {expected}. Received: {received or 'none'}. Give a model of the same"
                " architecture."
            )
    for name in chosen:
        # A copy: on JAX, training deletes the arrays of its model, and each stays on its devices.
        taken[name].assign(np.array(keras.ops.convert_to_numpy(given[name])))

"""Pooling of a map of probabilities, frames by bands, to one probability for each class."""

from typing import Any, Literal

import keras

from common.models.layers import PACKAGE

MapPooling = Literal["gwrp", "gmp", "gap"]


@keras.saving.register_keras_serializable(package=PACKAGE)
class GlobalPooling(keras.layers.Layer):
    """Global weighted rank, max or average pooling of maps (B, T, F, K) to (B, K), in float32.

    In weighted rank pooling the n-th largest value of a map, n from 0, has weight decay^n, divided
    by the sum of the weights: decay 0 is the maximum, 1 the average. About 1 / (1 - decay) values
    count, so a smaller map needs a smaller decay: 0.9998 averages a quarter of a map of 311 x 64.

    Memory: next to the maps, training keeps one weight for each value. The sort is not
    differentiated; the derivative of the pooled value by each value is that value's weight.

    Args:
        kind: "gwrp", "gmp" (maximum) or "gap" (average).
        decay: ratio of successive weights, in [0, 1]; unused by the others.

    References:
        Kolesnikov, Lampert, "Seed, expand and constrain: three principles for weakly-supervised
        image segmentation", ECCV 2016, arXiv:1603.06098 (weighted rank pooling). Kong, Xu, Wang,
        Plumbley, "Sound event detection and time-frequency segmentation from weakly labelled data",
        IEEE/ACM Trans. Audio Speech Lang. Process. 27(4), 2019, arXiv:1804.04715.
    """

    def __init__(self, kind: MapPooling, decay: float = 0.9998, **options: Any) -> None:
        options.setdefault("dtype", "float32")  # sums over twenty thousand values
        super().__init__(**options)
        if kind not in ("gwrp", "gmp", "gap") or not 0.0 <= decay <= 1.0:
            raise ValueError(
                f"Expected: gwrp, gmp or gap, and a decay in [0, 1]. Received: {kind!r}, {decay!r}."
            )
        self.kind, self.decay = kind, decay

    def call(self, inputs: Any) -> Any:
        """Returns the pooled values (B, K)."""
        ops = keras.ops
        if self.kind == "gmp":
            return ops.max(inputs, axis=(1, 2))
        if self.kind == "gap":
            return ops.mean(inputs, axis=(1, 2))
        n_classes = inputs.shape[-1]
        n_values = ops.shape(inputs)[1] * ops.shape(inputs)[2]
        maps = ops.reshape(ops.transpose(inputs, (0, 3, 1, 2)), (-1, n_values))
        weights = rank_weights(ops.stop_gradient(maps), self.decay)
        pooled = ops.sum(maps * weights, axis=1)  # (B * K,)
        return ops.reshape(pooled, (-1, n_classes))

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Returns (B, K)."""
        return (input_shape[0], input_shape[-1])

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that build the layer again."""
        return {**super().get_config(), "kind": self.kind, "decay": self.decay}


def rank_weights(values: Any, decay: float) -> Any:
    """Gives each value its weight by rank within its row.

    Args:
        values: (N, M), float32 or float64.
        decay: the n-th largest value of a row, n from 0, gets decay^n, divided by the sum over n.

    Returns:
        (N, M) of their type, rows of sum 1; equal values share out their weights in any order.
    """
    ops = keras.ops
    n_rows, length = ops.shape(values)[0], ops.shape(values)[1]
    ranks = length - 1 - ops.arange(length, dtype="int32")  # of the smallest value first
    base = ops.convert_to_tensor(decay, values.dtype)
    by_rank = ops.power(base, ops.cast(ranks, values.dtype))  # (M,), 0^0 is 1
    repeated = ops.broadcast_to(by_rank / ops.sum(by_rank), (n_rows, length))
    order = ops.cast(ops.argsort(values, axis=1), "int32")  # (N, M), ascending
    indices = order + ops.expand_dims(ops.arange(n_rows, dtype="int32") * length, 1)
    indices, repeated = ops.reshape(indices, (-1, 1)), ops.reshape(repeated, (-1,))
    flat = ops.scatter(indices, repeated, (n_rows * length,))
    return ops.stop_gradient(ops.reshape(flat, (n_rows, length)))

"""Losses of several systems: float32 means over valid entries only, zero without any."""

from typing import Any

import keras

PACKAGE = "dcase_keras"


def masked_mean(values: Any, mask: Any) -> Any:
    """Averages the entries under a mask over a whole batch, given as one share per example.

    One value per example is what Keras reduces: a scalar would not be scaled when a batch is split
    over devices.

    Args:
        values: (B, ...), any further axes.
        mask: same shape or one that broadcasts to it; 1 for entries that count, 0 for others.

    Returns:
        (B,); its mean is the sum over counted entries by their number, and 0, with gradient 0, when
        none counts. Where devices share a batch, the mean over all of them is that.
    """
    ops = keras.ops
    mask = ops.broadcast_to(ops.cast(mask, values.dtype), ops.shape(values))
    n_counted = mean_over_replicas(ops.sum(mask))
    counted = ops.where(mask > 0, values, ops.zeros_like(values))
    n_examples = ops.shape(values)[0]
    sums = ops.sum(ops.reshape(counted, (n_examples, -1)), axis=1)  # (B,)
    n_examples = ops.cast(n_examples, values.dtype)
    return sums * n_examples / ops.maximum(n_counted, keras.config.epsilon())


def mean_over_replicas(value: Any) -> Any:
    """Averages a number over the devices that share a batch, with its gradient.

    Keras averages the losses of the devices. A loss that divides by a number of the whole batch
    must divide by this mean, or entries on devices with few valid ones weigh more. On JAX a loss
    gets the whole batch.
    """
    if keras.backend.backend() != "tensorflow":
        return value
    from common.runtime.distribution import replica_mean  # loads TensorFlow

    return replica_mean(value)


@keras.saving.register_keras_serializable(package=PACKAGE)
class MaskedBinaryCrossentropy(keras.losses.Loss):
    """Binary cross-entropy of activity (B, T, K) or tags (B, K), averaged over labelled entries.

    Targets are 1 (active), 0 (inactive), anything between (a probability) or -1 (unknown, or
    outside the recording: ignored). Trailing frames that only targets or only outputs have are
    ignored.

    Args:
        log_floor: minimum of a logarithm, in nats: -100 as in PyTorch, where a certain mistake
            costs 100. None: probabilities are clipped at 1e-7 as in Keras, where it costs 16.
    """

    def __init__(
        self, log_floor: float | None = None, name: str = "masked_bce", **options: Any
    ) -> None:
        super().__init__(name=name, **options)
        self.log_floor = log_floor

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Returns each example's share of the mean, (B,), in nats."""
        ops = keras.ops
        if len(y_true.shape) == 3:  # slices that reach beyond the end are cut there
            y_true, y_pred = y_true[:, : ops.shape(y_pred)[1]], y_pred[:, : ops.shape(y_true)[1]]
        target = ops.maximum(y_true, 0.0)
        if self.log_floor is None:
            errors = ops.binary_crossentropy(target, y_pred)  # (B, ..., K)
        else:
            errors = -target * floored_log(y_pred, self.log_floor)
            errors -= (1.0 - target) * floored_log(1.0 - y_pred, self.log_floor)  # (B, ..., K)
        return masked_mean(errors, y_true >= 0.0)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that build the loss again."""
        return {**super().get_config(), "log_floor": self.log_floor}


def floored_log(x: Any, floor: float) -> Any:
    """Computes max(ln x, floor) for x >= 0, with gradient 0, not NaN, at 0."""
    ops = keras.ops
    positive = x > 0.0
    logarithm = ops.log(ops.where(positive, x, 1.0))
    return ops.where(positive, ops.maximum(logarithm, floor), floor)

"""Losses of several systems: means over the valid entries only, in float32, zero when there is none."""

from typing import Any

import keras

PACKAGE = "dcase_keras"


def masked_mean(values: Any, mask: Any) -> Any:
    """Averages the entries under a mask over a whole batch, given as one share per example.

    One value per example is what Keras reduces: a scalar would not be scaled when a batch is split over devices.

    Args:
        values: (B, ...), any further axes.
        mask: same shape or one that broadcasts to it; 1 for entries that count, 0 for others.

    Returns:
        (B,); its mean is the sum over counted entries by their number, and 0, with gradient 0, when none counts.
    """
    ops = keras.ops
    mask = ops.broadcast_to(ops.cast(mask, values.dtype), ops.shape(values))
    counted = ops.where(mask > 0, values, ops.zeros_like(values))
    n_examples = ops.shape(values)[0]
    sums = ops.sum(ops.reshape(counted, (n_examples, -1)), axis=1)  # (B,)
    return sums * ops.cast(n_examples, values.dtype) / ops.maximum(ops.sum(mask), 1.0)


@keras.saving.register_keras_serializable(package=PACKAGE)
class MaskedBinaryCrossentropy(keras.losses.Loss):
    """Binary cross-entropy of activity (B, T, K), averaged over the entries that are labelled.

    Targets are 1 (active), 0 (inactive) or -1 (outside the recording: ignored). Probabilities are clipped at 1e-7
    as in Keras.
    """

    def __init__(self, name: str = "masked_bce", **options: Any) -> None:
        super().__init__(name=name, **options)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Returns each example's share of the mean, (B,), in nats."""
        errors = keras.ops.binary_crossentropy(keras.ops.maximum(y_true, 0.0), y_pred)  # (B, T, K)
        return masked_mean(errors, y_true >= 0.0)

"""Losses of several systems: means over the valid entries only, in float32, zero when there is none."""

from typing import Any

import keras

PACKAGE = "dcase_keras"


def masked_mean(values: Any, mask: Any) -> Any:
    """Averages the entries under a mask.

    Args:
        values: any shape, finite.
        mask: same shape or one that broadcasts to it; 1 for entries that count, 0 for others.

    Returns:
        Scalar, the sum over counted entries by their number; 0, with gradient 0, when none counts.
    """
    mask = keras.ops.broadcast_to(keras.ops.cast(mask, values.dtype), keras.ops.shape(values))
    total = keras.ops.sum(keras.ops.where(mask > 0, values, keras.ops.zeros_like(values)))
    return total / keras.ops.maximum(keras.ops.sum(mask), 1.0)


@keras.saving.register_keras_serializable(package=PACKAGE)
class MaskedBinaryCrossentropy(keras.losses.Loss):
    """Binary cross-entropy of activity (B, T, K), averaged over the entries that are labelled.

    Targets are 1 (active), 0 (inactive) or -1 (outside the recording: ignored). Probabilities are clipped at 1e-7
    as in Keras.
    """

    def __init__(self, name: str = "masked_bce", **options: Any) -> None:
        super().__init__(name=name, **options)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Returns the mean, a scalar in nats."""
        errors = keras.ops.binary_crossentropy(keras.ops.maximum(y_true, 0.0), y_pred)  # (B, T, K)
        return masked_mean(errors, y_true >= 0.0)

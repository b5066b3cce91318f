"""Losses of Cartesian directions of each class, next to a detection output.

Targets are (B, T, 1 + A, K): activity first, then A axes: coordinates and, where it is learned, the
distance in metres. Outputs are (B, T', A, K). Frames of activity -1 are ignored, unknown values are
NaN and ignored too, and trailing frames that only one of both has count nowhere.
"""

from typing import Any

import keras

from common.models.losses import PACKAGE, masked_mean, mean_over_replicas
from seld.losses.directions import MIN_SQUARE


def common_frames(y_true: Any, y_pred: Any) -> tuple[Any, Any]:
    """Cuts targets and outputs (B, T, ...) to the frames that both have, in float32."""
    shape, cast = keras.ops.shape, keras.ops.cast
    # Slices that reach beyond the end are cut there.
    y_true, y_pred = y_true[:, : shape(y_pred)[1]], y_pred[:, : shape(y_true)[1]]
    return cast(y_true, "float32"), cast(y_pred, "float32")


def known_values(values: Any) -> tuple[Any, Any]:
    """Replaces unknown values, NaN, by 0; also returns which ones are known."""
    unknown = keras.ops.isnan(values)
    return keras.ops.where(unknown, 0.0, values), keras.ops.logical_not(unknown)


def active_errors(y_true: Any, y_pred: Any) -> tuple[Any, Any]:
    """Differences between outputs and targets, and which of them belong to active classes.

    Args:
        y_true: (B, T, 1 + A, K).
        y_pred: (B, T', A, K).

    Returns:
        (B, T'', A, K) each, of the frames that both have.
    """
    y_true, y_pred = common_frames(y_true, y_pred)
    values, known = known_values(y_true[:, :, 1:])
    return y_pred - values, keras.ops.logical_and(y_true[:, :, :1] > 0.0, known)


@keras.saving.register_keras_serializable(package=PACKAGE)
class MaskedVectorError(keras.losses.Loss):
    """Mean squared error over the coordinates of active classes; without any it is 0."""

    def __init__(self, name: str = "masked_mse", **options: Any) -> None:
        super().__init__(name=name, **options)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Returns each example's share of the mean, (B,)."""
        errors, active = active_errors(y_true, y_pred)
        return masked_mean(keras.ops.square(errors), active)


@keras.saving.register_keras_serializable(package=PACKAGE)
class MaskedVectorDistance(keras.losses.Loss):
    """Sum over the axes of the mean absolute error over active classes; without any it is 0.

    References:
        Nguyen et al., "SALSA: spatial cue-augmented log-spectrogram features for polyphonic sound
        event localization and detection", arXiv:2110.00275. There it is NaN without active classes.
    """

    def __init__(self, name: str = "masked_mae", **options: Any) -> None:
        super().__init__(name=name, **options)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Returns each example's share of the sum of means, (B,)."""
        errors, active = active_errors(y_true, y_pred)
        axes = range(errors.shape[2])
        errors = keras.ops.abs(errors)
        return sum(masked_mean(errors[:, :, axis], active[:, :, axis]) for axis in axes)


@keras.saving.register_keras_serializable(package=PACKAGE)
class MaskedVectorError2020(keras.losses.Loss):
    """The published loss of 2020 and 2021, with its mask of the wrong classes.

    The root of the sum of squared errors, divided by the number of errors summed: neither a mean
    square nor its root. Activity is repeated class by class (0, 0, 0, 1, ...) over coordinates that
    are stored axis by axis, so coordinate i of the A * K is masked by class i // A. Without active
    classes the loss is 0 (published: NaN). Where devices share a batch, sum and number are means
    over them. For comparison only: `MaskedVectorError` is the mask of the right classes.
    """

    def __init__(self, name: str = "masked_mse_2020", **options: Any) -> None:
        super().__init__(name=name, **options)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Returns each example's share of the loss, (B,)."""
        ops = keras.ops
        y_true, y_pred = common_frames(y_true, y_pred)
        activity, n_axes = y_true[:, :, 0], y_pred.shape[2]
        mask = ops.repeat(ops.cast(activity > 0.0, "float32"), n_axes, axis=-1)  # (B, T, K * A)
        values, known = known_values(y_true[:, :, 1:])
        mask = ops.reshape(mask, ops.shape(y_pred)) * ops.cast(known, "float32")  # (B, T, A, K)
        sums = ops.sum(ops.square(y_pred - values) * mask, axis=(1, 2, 3))  # (B,)
        total = mean_over_replicas(ops.sum(sums))
        n_counted = mean_over_replicas(ops.sum(mask))
        positive = total > MIN_SQUARE
        root = ops.sqrt(ops.where(positive, total, 1.0))
        n_examples = ops.cast(ops.shape(sums)[0], "float32")
        shares = sums * n_examples / (root * ops.maximum(n_counted, 1.0))
        return ops.where(positive, shares, 0.0)

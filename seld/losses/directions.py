"""Losses of the direction of arrival (DOA), from activity and angles in degrees."""

import math
from typing import Any, Literal

import keras

from common.errors import ConfigError
from common.models.losses import PACKAGE, MaskedBinaryCrossentropy, masked_mean, mean_over_replicas
from seld.labels import INACTIVE_AZIMUTH_DEG, INACTIVE_ELEVATION_DEG

DoaOutput = Literal["polar", "xyz"]
DoaLoss = Literal["mse", "masked_mse", "masked_mae", "masked_rmse", "masked_mse_2020"]
# Squared radians: below it, float32 cannot divide by the root and differentiate.
MIN_SQUARE = 1e-14
LOG_FLOOR = -100.0  # of the published two-stage loss


def split_targets(y_true: Any) -> tuple[Any, Any, Any]:
    """Splits targets (B, T, 3K) into activity, azimuth and elevation in degrees, each (B, T, K)."""
    activity, azimuth_deg, elevation_deg = keras.ops.split(y_true, 3, axis=-1)
    return activity, azimuth_deg, elevation_deg


def polar_targets(azimuth_deg: Any, elevation_deg: Any) -> Any:
    """Joins azimuths in radians and elevations stretched to +-pi: (B, T, K) twice -> (B, T, 2K)."""
    azimuth = azimuth_deg * (math.pi / INACTIVE_AZIMUTH_DEG)
    elevation = elevation_deg * (math.pi / INACTIVE_ELEVATION_DEG)
    return keras.ops.concatenate([azimuth, elevation], axis=-1)


def cartesian_targets(azimuth_deg: Any, elevation_deg: Any) -> Any:
    """Unit vectors of directions: (B, T, K) twice -> (B, T, 3K), all x, then all y, then all z."""
    azimuth_rad, elevation_rad = azimuth_deg * (math.pi / 180.0), elevation_deg * (math.pi / 180.0)
    horizontal = keras.ops.cos(elevation_rad)
    x, y = horizontal * keras.ops.cos(azimuth_rad), horizontal * keras.ops.sin(azimuth_rad)
    return keras.ops.concatenate([x, y, keras.ops.sin(elevation_rad)], axis=-1)


@keras.saving.register_keras_serializable(package=PACKAGE)
class PolarMeanSquaredError(keras.losses.Loss):
    """The published DOA loss: mean squared error of all angles, silent classes included.

    Silent classes have targets of azimuth 180 and elevation 50 degrees, whatever the shards hold
    there, so the loss teaches activity too. Targets (B, T, 3K): activity, azimuth and elevation in
    degrees. Outputs (B, T, 2K): azimuths in radians and elevations stretched by pi / 50 degrees.
    Frames of activity -1 are ignored.

    References:
        Adavanne et al., IEEE J. Sel. Topics Signal Process. 13(1), 2019, arXiv:1807.00129.
    """

    def __init__(self, name: str = "polar_mse", **options: Any) -> None:
        super().__init__(name=name, **options)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Returns each example's share of the mean, (B,), in squared (stretched) radians."""
        activity, azimuth_deg, elevation_deg = split_targets(y_true)
        where = keras.ops.where
        azimuth_deg = where(activity > 0.0, azimuth_deg, float(INACTIVE_AZIMUTH_DEG))
        elevation_deg = where(activity > 0.0, elevation_deg, float(INACTIVE_ELEVATION_DEG))
        errors = keras.ops.square(y_pred - polar_targets(azimuth_deg, elevation_deg))  # (B, T, 2K)
        labelled = keras.ops.concatenate([activity, activity], axis=-1) >= 0.0
        return masked_mean(errors, labelled)


@keras.saving.register_keras_serializable(package=PACKAGE)
class MaskedDirectionError(keras.losses.Loss):
    """Squared error of the direction of active classes only.

    Targets (B, T, 3K) as in `PolarMeanSquaredError`. The squared error is summed over coordinates
    and averaged over the active classes of all frames; without any it is 0.

    Args:
        output: "polar", outputs (B, T, 2K) of angles; "xyz", outputs (B, T, 3K) of unit vectors.
    """

    def __init__(self, output: DoaOutput, name: str = "masked_mse", **options: Any) -> None:
        super().__init__(name=name, **options)
        self.output = output

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Returns each example's share of the mean, (B,): squared radians or squared distance."""
        activity, azimuth_deg, elevation_deg = split_targets(y_true)
        targets = polar_targets if self.output == "polar" else cartesian_targets
        n_coordinates = 2 if self.output == "polar" else 3
        errors = keras.ops.square(y_pred - targets(azimuth_deg, elevation_deg))  # (B, T, 2K or 3K)
        errors = sum(keras.ops.split(errors, n_coordinates, axis=-1))  # (B, T, K)
        return masked_mean(errors, activity > 0.0)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that build the loss again."""
        return {**super().get_config(), "output": self.output}


def masked_root_mean(squares: Any, mask: Any) -> Any:
    """Computes the root of the mean under a mask over a whole batch, as one share per example.

    Each example's share of the mean is divided by the root of that mean M: the mean of the shares
    is then M / sqrt(M).

    Args:
        squares: (B, ...), not negative.
        mask: same shape; 1 for entries that count, 0 for others.

    Returns:
        (B,); its mean is the root, and 0, with gradient 0, when no entry counts or all that count
        are 0.
    """
    ops = keras.ops
    shares = masked_mean(squares, mask)  # (B,)
    mean = mean_over_replicas(ops.mean(shares))
    positive = mean > MIN_SQUARE
    return ops.where(positive, shares / ops.sqrt(ops.where(positive, mean, 1.0)), 0.0)


@keras.saving.register_keras_serializable(package=PACKAGE)
class MaskedAngleError(keras.losses.Loss):
    """Error of azimuths plus error of elevations of active classes, as published for two stages.

    Targets (B, T, 3K): activity, azimuth and elevation in degrees. Outputs (B, T', 2K): azimuths,
    then elevations, in radians. Frames that only one of them has are ignored. Angles are compared
    as numbers: from -180 to 180 degrees the error is 2 pi. Without active classes the loss is 0
    (published: NaN).

    Args:
        root: each of the two errors is the root of the mean square (published under the name MSE);
            otherwise the mean of the absolute values. Means are over the active classes of all
            frames of the batch.

    References:
        Cao et al., "Polyphonic sound event detection and localization using a two-stage strategy",
        arXiv:1905.00268.
    """

    def __init__(self, root: bool, name: str = "masked_angle_error", **options: Any) -> None:
        super().__init__(name=name, **options)
        self.root = root

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Returns each example's share of the error, (B,), in radians."""
        ops = keras.ops
        # Slices that reach beyond the end are cut there.
        y_true, y_pred = y_true[:, : ops.shape(y_pred)[1]], y_pred[:, : ops.shape(y_true)[1]]
        activity, *angles_deg = split_targets(y_true)
        pairs = zip(ops.split(y_pred, 2, axis=-1), angles_deg, strict=True)
        errors = [angle - deg * (math.pi / 180.0) for angle, deg in pairs]  # (B, T, K) each
        if self.root:
            return sum(masked_root_mean(ops.square(error), activity > 0.0) for error in errors)
        return sum(masked_mean(ops.abs(error), activity > 0.0) for error in errors)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that build the loss again."""
        return {**super().get_config(), "root": self.root}


def seld_losses(doa_loss: DoaLoss, doa_output: DoaOutput) -> dict[str, keras.losses.Loss]:
    """Chooses the losses of SELDnet's two heads.

    Args:
        doa_loss: "mse" (published; weight 50) or "masked_mse" (active classes only; weight near
            0.3).
        doa_output: form of the network's directions, "polar" or "xyz".

    Returns:
        Losses by output, {"sed", "doa"}.

    Raises:
        ConfigError: the loss is of another system, or the published one is combined with xyz
            outputs, which have no direction for silence.
    """
    check_loss(doa_loss, ("mse", "masked_mse"), "seldnet")
    if doa_loss == "mse" and doa_output != "polar":
        raise ConfigError(
            "`doa_loss: mse` is the published loss of angles. Expected: `doa_output: polar`."
            f" Received: `doa_output: {doa_output}`. Set `doa_loss: masked_mse`, or `doa_output:"
            " polar`."
        )
    doa = PolarMeanSquaredError() if doa_loss == "mse" else MaskedDirectionError(doa_output)
    return {"sed": MaskedBinaryCrossentropy(), "doa": doa}


def two_stage_losses(doa_loss: DoaLoss) -> dict[str, keras.losses.Loss]:
    """Chooses the losses of the two-stage system.

    Args:
        doa_loss: "masked_mae" or "masked_rmse", see `MaskedAngleError`.

    Returns:
        Losses by output, {"sed", "doa"}.

    Raises:
        ConfigError: the loss is of another system.
    """
    check_loss(doa_loss, ("masked_mae", "masked_rmse"), "two_stage")
    doa = MaskedAngleError(root=doa_loss == "masked_rmse", name=doa_loss)
    return {"sed": MaskedBinaryCrossentropy(LOG_FLOOR), "doa": doa}


def check_loss(doa_loss: str, known: tuple[str, ...], system: str) -> None:
    """Raises ConfigError if `training.doa_loss` is not one that a system can learn from."""
    if doa_loss not in known:
        raise ConfigError(
            f"`training.doa_loss` must be one that the system {system} can learn from. "
            f"Expected: {' or '.join(known)}. Received: {doa_loss}."
        )

"""Losses of track-wise outputs, whose tracks have no order, and of detection by logits."""

import itertools
from typing import Any, Literal

import keras
import numpy as np

from common.models.losses import PACKAGE, masked_mean
from seld.losses.vectors import common_frames

DoaError = Literal["mse", "masked_mse"]
N_AXES = 3  # x, y, z


def logit_crossentropy(target: Any, logits: Any) -> Any:
    """Binary cross-entropy of logits in nats, entry by entry, without overflow."""
    ops = keras.ops
    return ops.maximum(logits, 0.0) - logits * target + ops.log1p(ops.exp(-ops.abs(logits)))


@keras.saving.register_keras_serializable(package=PACKAGE)
class MaskedLogitCrossentropy(keras.losses.Loss):
    """Binary cross-entropy of logits (B, T', K), averaged over labelled entries.

    Targets (B, T, K) are 1, 0, anything between, or -1: ignored. Trailing frames that only targets
    or only outputs have are ignored.
    """

    def __init__(self, name: str = "masked_logit_bce", **options: Any) -> None:
        super().__init__(name=name, **options)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Returns each example's share of the mean, (B,), in nats."""
        y_true, y_pred = common_frames(y_true, y_pred)
        errors = logit_crossentropy(keras.ops.maximum(y_true, 0.0), y_pred)
        return masked_mean(errors, y_true >= 0.0)


def split_tracks(tracks: Any) -> tuple[Any, Any]:
    """Splits (..., N, K + 3) into classes (..., N, K) and directions (..., N, 3)."""
    return tracks[..., :-N_AXES], tracks[..., -N_AXES:]


def best_order(y_true: Any, y_pred: Any, doa_error: DoaError) -> Any:
    """Puts the tracks of the ground truth of each frame in the order that costs least.

    The cost of an order is the mean cross-entropy plus the mean squared error of the directions,
    neither of them weighted. Of equal costs, the first order in the sense of
    `itertools.permutations` wins, so that the given one is kept.

    Args:
        y_true: (B, T, N, K + 3), float32.
        y_pred: (B, T, N, K + 3), logits and directions.
        doa_error: see `TrackError`.

    Returns:
        y_true with its tracks reordered frame by frame, without a gradient.
    """
    ops = keras.ops
    n_tracks = y_pred.shape[2]
    target, outputs = ops.expand_dims(y_true, 3), ops.expand_dims(y_pred, 2)
    (activity, directions), (logits, estimates) = split_tracks(target), split_tracks(outputs)
    # (B, T, N of the ground truth, N of the outputs)
    costs = ops.mean(logit_crossentropy(ops.maximum(activity, 0.0), logits), axis=-1)
    squares = ops.mean(ops.square(estimates - directions), axis=-1)
    if doa_error == "masked_mse":
        squares = ops.where(ops.any(activity > 0.0, axis=-1), squares, 0.0)
    costs += squares
    orders = list(itertools.permutations(range(n_tracks)))
    totals = [
        sum(costs[:, :, source, track] for track, source in enumerate(order)) for order in orders
    ]
    best = ops.argmin(ops.stack(totals, axis=-1), axis=-1)  # (B, T)
    order = ops.take(ops.convert_to_tensor(np.array(orders, np.int32)), best, axis=0)  # (B, T, N)
    order = ops.broadcast_to(ops.expand_dims(order, -1), ops.shape(y_true))
    return ops.stop_gradient(ops.take_along_axis(y_true, order, axis=2))


def track_errors(y_true: Any, y_pred: Any, doa_error: DoaError) -> tuple[Any, Any]:
    """Errors of detection and direction, for tracks in the order given.

    Args:
        y_true: (B, T, N, K + 3), float32.
        y_pred: (B, T, N, K + 3), logits and directions.
        doa_error: see `TrackError`.

    Returns:
        Each example's share of the mean cross-entropy in nats, and of the mean squared error, (B,)
        each.
    """
    ops = keras.ops
    (activity, directions), (logits, estimates) = split_tracks(y_true), split_tracks(y_pred)
    crossentropy = logit_crossentropy(ops.maximum(activity, 0.0), logits)  # (B, T, N, K)
    sed = masked_mean(crossentropy, activity >= 0.0)
    most = ops.max(activity, axis=-1, keepdims=True)  # (B, T, N, 1)
    counted = most > 0.0 if doa_error == "masked_mse" else most >= 0.0
    return sed, masked_mean(ops.square(estimates - directions), counted)


@keras.saving.register_keras_serializable(package=PACKAGE)
class TrackError(keras.losses.Loss):
    """Detection and direction of tracks without order: beta * cross-entropy + (1 - beta) * MSE.

    Targets (B, T, N, K + 3): activity of the classes in each track, then a unit vector. Outputs (B,
    T', N, K + 3): logits, then a vector; one tensor, since the order is chosen by both. Frames of
    activity -1 are ignored, as are trailing frames that only targets or only outputs have. The cost
    of the choice grows with the factorial of N.

    Args:
        beta: weight of the detection, [0, 1].
        permutation: "frame", the best order of each frame (tPIT); "none", the order given.
        doa_error: "mse", all tracks count, silent ones with the vector (0, 0, 0) (published); or
            "masked_mse", tracks with an active class.

    References:
        Cao et al., "An improved event-independent network for polyphonic sound event localization
        and detection", ICASSP 2021, arXiv:2010.13092.
    """

    def __init__(
        self,
        beta: float = 0.5,
        permutation: Literal["frame", "none"] = "frame",
        doa_error: DoaError = "mse",
        name: str = "tracks",
        **options: Any,
    ) -> None:
        super().__init__(name=name, **options)
        self.beta, self.permutation, self.doa_error = beta, permutation, doa_error

    def parts(self, y_true: Any, y_pred: Any) -> tuple[Any, Any]:
        """Returns detection and direction error in the chosen order, shares (B,) each."""
        y_true, y_pred = common_frames(y_true, y_pred)
        if self.permutation == "frame":
            y_true = best_order(y_true, y_pred, self.doa_error)
        return track_errors(y_true, y_pred, self.doa_error)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Returns each example's share of the error, (B,)."""
        sed, doa = self.parts(y_true, y_pred)
        return self.beta * sed + (1.0 - self.beta) * doa

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that build the loss again."""
        own = {"beta": self.beta, "permutation": self.permutation, "doa_error": self.doa_error}
        return {**super().get_config(), **own}

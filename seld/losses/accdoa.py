"""Losses of vectors whose length is the activity: ACCDOA, and multi-ACCDOA for several tracks.

Targets start with the activity, then come A axes: coordinates and, where they are learned, the
distance in metres and whether the source is on the screen. What an output learns is activity times
value. Frames of activity -1 are ignored, unknown values are NaN and ignored too, and trailing
frames that only targets or only outputs have count nowhere.
"""

import itertools
from typing import Any, Literal

import keras
import numpy as np

from common.models.losses import PACKAGE, floored_crossentropy, masked_mean
from seld.losses.vectors import common_frames, known_values

Onscreen = Literal["none", "all", "active"]


def learned_values(y_true: Any, axis: int) -> tuple[Any, Any, Any]:
    """Splits targets into activity, activity times value, and which of these are known.

    Args:
        y_true: activity and values along `axis`.
        axis: position of the axis.

    Returns:
        Activity, with an axis of size 1; values and bool of the other shape. Values of inactive
        classes are 0 and known.
    """
    activity, values = keras.ops.split(y_true, [1], axis=axis)
    values, known = known_values(values)
    active = activity > 0.0
    values = keras.ops.where(active, activity * values, 0.0)
    return activity, values, keras.ops.logical_or(known, keras.ops.logical_not(active))


@keras.saving.register_keras_serializable(package=PACKAGE)
class AccdoaError(keras.losses.Loss):
    """Mean squared error over all axes, classes and frames: silence is a vector of length 0.

    Targets (B, T, 1 + A, K), outputs (B, T', A, K).

    Args:
        onscreen: "none"; otherwise the last axis is the probability of the source being on the
            screen, the loss is the mean of both errors, and binary cross-entropy counts for "all"
            classes, silent ones being off screen (published 2025), or for "active" ones.

    References:
        Shimada et al., ICASSP 2021, arXiv:2010.15306.
    """

    def __init__(self, onscreen: Onscreen = "none", name: str = "accdoa", **options: Any) -> None:
        super().__init__(name=name, **options)
        self.onscreen = onscreen

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Returns each example's share of the mean, (B,)."""
        both = keras.ops.logical_and
        y_true, y_pred = common_frames(y_true, y_pred)
        activity, values, known = learned_values(y_true, axis=2)
        known = both(known, activity >= 0.0)
        if self.onscreen == "none":
            return masked_mean(keras.ops.square(y_pred - values), known)
        errors = keras.ops.square(y_pred[:, :, :-1] - values[:, :, :-1])
        vectors = masked_mean(errors, known[:, :, :-1])
        counted = known[:, :, -1:]
        if self.onscreen == "active":
            counted = both(counted, activity > 0.0)
        errors = floored_crossentropy(values[:, :, -1:], y_pred[:, :, -1:])
        return (vectors + masked_mean(errors, counted)) / 2.0

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that build the loss again."""
        return {**super().get_config(), "onscreen": self.onscreen}


@keras.saving.register_keras_serializable(package=PACKAGE)
class FrameAccdoaError(keras.losses.Loss):
    """Squared error summed over axes and classes, averaged over frames, as published for SALSA.

    Targets (B, T, 1 + A, K), outputs (B, T', A, K).

    Args:
        active_only: only active classes are summed (published): nothing then teaches silence.

    References:
        Nguyen et al., arXiv:2110.00275.
    """

    def __init__(
        self, active_only: bool = False, name: str = "frame_accdoa", **options: Any
    ) -> None:
        super().__init__(name=name, **options)
        self.active_only = active_only

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Returns each example's share of the mean, (B,)."""
        ops = keras.ops
        y_true, y_pred = common_frames(y_true, y_pred)
        activity, values, known = learned_values(y_true, axis=2)
        labelled = activity[:, :, 0] >= 0.0  # (B, T, K)
        counted = activity > 0.0 if self.active_only else activity >= 0.0
        counted = ops.logical_and(counted, known)  # (B, T, A, K)
        errors = ops.where(counted, ops.square(y_pred - values), 0.0)
        return masked_mean(ops.sum(errors, axis=(2, 3)), ops.any(labelled, axis=-1))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that build the loss again."""
        return {**super().get_config(), "active_only": self.active_only}


def dummy_tracks(n_tracks: int) -> list[range]:
    """Indices of the dummy tracks of a class with 1, 2, ... n_tracks sources.

    With three tracks: A0; B0, B1; C0, C1, C2.
    """
    starts = [n * (n - 1) // 2 for n in range(1, n_tracks + 1)]
    return [range(start, start + n) for n, start in enumerate(starts, start=1)]


def assignments(group: range, n_tracks: int) -> list[tuple[int, ...]]:
    """All ways to give each track one of the dummy tracks of a group, none of which is left out."""
    found = itertools.product(group, repeat=n_tracks)
    return [chosen for chosen in found if set(chosen) == set(group)]


@keras.saving.register_keras_serializable(package=PACKAGE)
class MultiAccdoaError(keras.losses.Loss):
    """Auxiliary duplicating permutation invariant training (ADPIT).

    Targets (B, T, N (N + 1) / 2, 1 + A, K), one dummy track for each source of a class that has 1,
    2, ... N sources, see `dummy_tracks`; outputs (B, T', N, A, K). A class with fewer sources than
    tracks teaches some of them to several tracks. For each frame and class, the cheapest assignment
    counts: the mean of the squared errors over tracks and axes, averaged over frames and classes.
    The distance takes part like a coordinate, also in the choice.

    Args:
        onscreen: "none"; otherwise the last axis is the probability of the source being on the
            screen, and its binary cross-entropy under the chosen assignment is added: for "all"
            classes, silent ones being off screen (published 2025), or for "active" ones.

    References:
        Shimada et al., "Multi-ACCDOA: localizing and detecting overlapping sounds from the same
        class with auxiliary duplicating permutation invariant training", ICASSP 2022,
        arXiv:2110.07124.
    """

    def __init__(self, onscreen: Onscreen = "none", name: str = "adpit", **options: Any) -> None:
        super().__init__(name=name, **options)
        self.onscreen = onscreen

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Returns each example's share of the mean, (B,).

        Raises:
            ValueError: the number of dummy tracks does not belong to the number of tracks.
        """
        ops = keras.ops
        y_true, y_pred = common_frames(y_true, y_pred)
        groups = dummy_tracks(y_pred.shape[2])
        if y_true.shape[2] != groups[-1].stop:
            raise ValueError(
                f"Targets for {len(groups)} tracks have {groups[-1].stop} dummy tracks. Received:"
                f" {y_true.shape[2]}."
            )
        activity, values, known = learned_values(y_true, axis=3)
        activity = activity[:, :, :, 0]  # (B, T, S, K) of S dummy tracks
        labelled = activity[:, :, 0] >= 0.0  # (B, T, K)
        n_axes = y_pred.shape[3] - (self.onscreen != "none")
        located = y_pred[:, :, :, :n_axes], values[:, :, :, :n_axes], known[:, :, :, :n_axes]
        # Only the chosen assignment has a gradient: that of all would cost twice as much again.
        costs = ops.stop_gradient(_assignment_costs(*located, groups))  # (B, T, K, assignments)
        best = ops.argmin(ops.where(_possible(activity, groups), costs, float("inf")), axis=-1)
        # (B, T, K, N, 1 + A) each, of the dummy track that an output learns
        outputs = ops.transpose(y_pred, (0, 1, 4, 2, 3))
        targets, counted = (_of_assignment(each, best, groups) for each in (values, known))
        errors = ops.square(outputs[..., :n_axes] - targets[..., :n_axes])
        loss = masked_mean(_means(errors, counted[..., :n_axes]), labelled)
        if self.onscreen == "none":
            return loss
        errors = floored_crossentropy(targets[..., n_axes:], outputs[..., n_axes:])
        chosen = _means(errors, counted[..., n_axes:])
        if self.onscreen == "active":
            labelled = ops.any(activity > 0.0, axis=2)
        return loss + masked_mean(chosen, labelled)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that build the loss again."""
        return {**super().get_config(), "onscreen": self.onscreen}


def _assignment_costs(y_pred: Any, values: Any, known: Any, groups: list[range]) -> Any:
    """Mean squared error of each assignment, over tracks and known axes.

    Args:
        y_pred: (B, T, N, A, K).
        values: (B, T, S, A, K).
        known: bool, as `values`.
        groups: see `dummy_tracks`.

    Returns:
        (B, T, K, assignments).
    """
    ops, n_tracks, costs = keras.ops, len(groups), []
    numbers = ops.sum(ops.cast(known, "float32"), axis=3)  # (B, T, S, K)
    pairs: dict[tuple[int, int], Any] = {}  # squared error of a track and a dummy track, (B, T, K)
    for track, dummy in itertools.product(range(n_tracks), range(groups[-1].stop)):
        errors = ops.square(y_pred[:, :, track] - values[:, :, dummy])
        pairs[track, dummy] = ops.sum(ops.where(known[:, :, dummy], errors, 0.0), axis=2)
    for group in groups:
        for chosen in assignments(group, n_tracks):
            total = sum(pairs[pair] for pair in enumerate(chosen))
            number = sum(numbers[:, :, dummy] for dummy in chosen)
            costs.append(total / ops.maximum(number, 1.0))
    return ops.stack(costs, axis=-1)


def _of_assignment(slots: Any, best: Any, groups: list[range]) -> Any:
    """Slots of the dummy tracks that each track learns: (B, T, S, A, K) -> (B, T, K, N, A).

    Args:
        slots: of all dummy tracks.
        best: number of the assignment, (B, T, K).
        groups: see `dummy_tracks`.
    """
    ops = keras.ops
    table = [chosen for group in groups for chosen in assignments(group, len(groups))]
    dummies = ops.take(ops.convert_to_tensor(np.array(table, np.int32)), best, axis=0)
    n_slots, n_axes, n_classes = slots.shape[2:]
    rows = ops.reshape(ops.transpose(slots, (0, 1, 4, 2, 3)), (-1, n_axes))  # (B * T * K * S, A)
    n_cells = ops.shape(rows)[0] // n_slots
    first = ops.arange(n_cells, dtype="int32")[:, None] * n_slots
    found = ops.take(rows, first + ops.reshape(dummies, (-1, len(groups))), axis=0)
    n_frames = ops.shape(slots)[1]
    return ops.reshape(found, (-1, n_frames, n_classes, len(groups), n_axes))


def _means(errors: Any, known: Any) -> Any:
    """Means of the known errors over tracks and axes: (B, T, K, N, A) -> (B, T, K)."""
    ops = keras.ops
    total = ops.sum(ops.where(known, errors, 0.0), axis=(3, 4))
    return total / ops.maximum(ops.sum(ops.cast(known, errors.dtype), axis=(3, 4)), 1.0)


def _possible(activity: Any, groups: list[range]) -> Any:
    """True for assignments of the dummy tracks that are active; of the first ones in silence.

    Args:
        activity: (B, T, S, K).

    Returns:
        bool (B, T, K, assignments).
    """
    ops = keras.ops
    silent = ops.logical_not(ops.any(activity > 0.0, axis=2))  # (B, T, K)
    possible = []
    for group in groups:
        active = ops.any(activity[:, :, group.start : group.stop] > 0.0, axis=2)
        if len(group) == 1:
            active = ops.logical_or(active, silent)
        possible += [active] * len(assignments(group, len(groups)))
    return ops.stack(possible, axis=-1)

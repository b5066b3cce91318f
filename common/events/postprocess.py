"""Probabilities to events: thresholds, median filter, active regions, hysteresis thresholds.

Frames are half-open everywhere, [onset, offset), except in `detect_published`, which keeps the
published form.

References:
    Kong et al., "Cross-task learning for audio tagging, sound event detection and spatial
    localization: DCASE 2019 baseline systems", 2019, arXiv:1904.03476. Serizel et al., "Large-scale
    weakly labeled semi-supervised sound event detection in domestic environments", DCASE 2018,
    arXiv:1807.10501.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

Edge = Literal["zeros", "reflect"]
_ROUNDING = 1e-12  # of a ratio of thresholds: a value equal to the low one still reaches it
_PAD_MODES = {"zeros": "constant", "reflect": "symmetric"}  # names of numpy


def binarize(
    probabilities: np.ndarray, thresholds: float | np.ndarray = 0.5, exceeded: bool = False
) -> np.ndarray:
    """Thresholds probabilities: bool (T, K), true where at least the threshold.

    Args:
        probabilities: (T, K).
        thresholds: one number or (K,).
        exceeded: true only above the threshold.
    """
    values = np.asarray(probabilities)
    return values > thresholds if exceeded else values >= thresholds


def median_filter(
    values: np.ndarray, frames: int | Sequence[int], edges: Edge | tuple[Edge, Edge] = "zeros"
) -> np.ndarray:
    """Takes the median over time.

    Args:
        values: (T, K), activity or probabilities.
        frames: window in frames, odd; one number or one for each class. 1 changes nothing.
        edges: values before the start and after the end: zeros, or the mirror image, whose first
            value repeats the last one ("reflect" of `scipy.ndimage`); one for both ends, or two.

    Returns:
        (T, K), of the type of `values`, which are left as they are.

    Raises:
        ValueError: a window is even or below 1, or the number of windows is not K.
    """
    values = np.asarray(values)
    windows = np.broadcast_to(np.asarray(frames, np.int64), (values.shape[1],))
    if len(values) == 0:
        return values
    if (windows < 1).any() or (windows % 2 == 0).any():
        raise ValueError(
            f"Expected: an odd number of frames from 1 on. Received: {np.unique(windows).tolist()}."
        )
    both = (edges, edges) if isinstance(edges, str) else edges
    filtered = np.empty_like(values)
    for window in np.unique(windows):
        chosen = windows == window
        padded = _padded(values[:, chosen], window // 2, both)
        apply = _majority if values.dtype == bool else _median
        filtered[:, chosen] = apply(padded, window)
    return filtered


def _padded(values: np.ndarray, half: int, edges: tuple[Edge, Edge]) -> np.ndarray:
    """Values (T, K) with `half` frames more at either end."""
    for edge, pad in zip(edges, ((half, 0), (0, half)), strict=True):
        mode: Any = _PAD_MODES[edge]
        values = np.pad(values, (pad, (0, 0)), mode=mode)
    return values


def _median(padded: np.ndarray, window: int) -> np.ndarray:
    from scipy.ndimage import median_filter as filter_median

    half = window // 2
    filtered = filter_median(padded, size=(window, 1), mode="constant", cval=0)
    return filtered[half : len(padded) - half]


def _majority(padded: np.ndarray, window: int) -> np.ndarray:
    """Median of zeros and ones: the majority in the window."""
    sums = np.cumsum(np.pad(padded.astype(np.int32), ((1, 0), (0, 0))), axis=0)
    return sums[window:] - sums[:-window] > window // 2


def regions(activity: np.ndarray) -> np.ndarray:
    """Finds contiguous active frames.

    Args:
        activity: bool (T, K).

    Returns:
        int64 (n, 3) = class, onset frame, offset frame (exclusive), ordered by class and onset.
    """
    padded = np.pad(np.asarray(activity, bool).astype(np.int8), ((1, 1), (0, 0)))
    edges = np.diff(padded, axis=0).T  # (K, T + 1)
    classes, onsets = np.nonzero(edges == 1)
    return np.stack([classes, onsets, np.nonzero(edges == -1)[1]], axis=1)


def runs(active: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns onsets and exclusive offsets of the active stretches of one class, from bool (T,)."""
    found = regions(np.asarray(active, bool)[:, None])
    return found[:, 1], found[:, 2]


def detect_half_open(
    curve: np.ndarray,
    high: float,
    low: float | None = None,
    *,
    smooth_frames: int = 0,
    salt_frames: int = 0,
) -> np.ndarray:
    """Finds the active stretches of one class by hysteresis thresholds, half-open throughout.

    A stretch holds a frame above `high` and reaches as far as the curve is not below `low`. Gaps of
    up to `smooth_frames` frames are then closed, and stretches of up to `salt_frames` frames
    dropped.

    Args:
        curve: probabilities (T,).
        high: starts a stretch, exceeded.
        low: continues it; None: only `high` is used.
        smooth_frames: longest gap that is closed.
        salt_frames: longest stretch that is dropped.

    Returns:
        int64 (n, 2) = onset frame, offset frame (exclusive).

    Raises:
        ValueError: `low` is above `high`.
    """
    if low is not None and low > high:
        raise ValueError(f"Expected: `low` of at most `high`, {high}. Received: {low}.")
    curve = np.asarray(curve, np.float64)
    onsets, offsets = runs(curve > high)
    if low is not None and len(onsets):
        onsets, offsets = _widen(curve, onsets, offsets - 1, low)
    return _join_and_drop(onsets, offsets, smooth_frames, salt_frames)


def detect_published(
    curve: np.ndarray,
    high: float,
    low: float | None = None,
    *,
    smooth_frames: int = 1,
    salt_frames: int = 0,
) -> np.ndarray:
    """Finds the active stretches of one class as in the published code.

    Without `low` the second number of a pair is the last active frame, with `low` the first frame
    below it (the last frame above `high` where that one is itself below `low`). Pairs are joined
    when the next begins at most `smooth_frames` after the last end, and dropped when they span at
    most `salt_frames`; so single frames go, without `low`, even for 0.

    Args:
        curve: probabilities (T,).
        high: exceeded where a stretch starts.
        low: second threshold, or None.
        smooth_frames: see above.
        salt_frames: see above.

    Returns:
        int64 (n, 2), begin and end.
    """
    curve = np.asarray(curve, np.float64)
    begins, ends = runs(curve > high)
    ends = ends - 1
    if low is not None and len(begins):
        begins, ends = _widen(curve, begins, ends, low)
    return _join_and_drop(begins, ends, smooth_frames, salt_frames)


def _widen(
    curve: np.ndarray, begins: np.ndarray, lasts: np.ndarray, low: float
) -> tuple[np.ndarray, np.ndarray]:
    """Extends begins back to the frame after one below `low`, lasts to the next frame below it."""
    below = np.concatenate([[-1], np.flatnonzero(curve < low), [len(curve)]])
    before = below[np.searchsorted(below, begins, side="right") - 1]
    return before + 1, below[np.searchsorted(below, lasts, side="left")]


def _join_and_drop(begins: np.ndarray, ends: np.ndarray, smooth: int, salt: int) -> np.ndarray:
    if len(begins) == 0:
        return np.zeros((0, 2), np.int64)
    new = np.flatnonzero(begins[1:] - ends[:-1] > smooth) + 1
    pairs = np.stack([begins[np.r_[0, new]], ends[np.r_[new - 1, len(ends) - 1]]], axis=1)
    return pairs[pairs[:, 1] - pairs[:, 0] > salt].astype(np.int64)


def level_scores(
    curve: np.ndarray,
    high: float,
    low: float | None = None,
    *,
    smooth_frames: int = 0,
    salt_frames: int = 0,
    published: bool = False,
) -> np.ndarray:
    """Computes scores of one class that, thresholded, give the stretches of the detection.

    `low` keeps its ratio to the threshold. The stretches of a lower threshold then contain those of
    a higher one: widening, closing gaps and dropping short ones preserve that order. So one score
    for each frame describes all thresholds: the highest one below which the frame is in a stretch.

    Args:
        curve: probabilities (T,), not negative.
        high: see `detect_half_open`.
        low: as well; above `high` (only `published`) stretches are not nested: approximate scores.
        smooth_frames: as well.
        salt_frames: as well.
        published: stretches are those of `detect_published`.

    Returns:
        float64 (T,); minus infinity where a frame lies in no stretch at any threshold.
    """
    curve = np.asarray(curve, np.float64)
    ratio = None if low is None else (low / high if high > 0 else 1.0)
    limits = _changes(curve, ratio)  # (U,), rising: between two neighbours nothing changes
    below = np.concatenate([limits[:1] / 2, (limits[1:] + limits[:-1]) / 2])
    detect = detect_published if published else detect_half_open
    scores = np.full(len(curve), -np.inf)
    if ratio is not None and ratio > 1:
        sizes = {"smooth_frames": smooth_frames, "salt_frames": salt_frames}
        for limit, threshold in zip(limits, below, strict=True):
            for onset, offset in detect(curve, threshold, ratio * threshold, **sizes):
                scores[onset:offset] = limit
        return scores
    stretches = _all_stretches(curve, below, ratio, smooth_frames, salt_frames, published)
    for number, onset, offset in stretches.tolist():
        scores[onset:offset] = limits[number]
    return scores


def _changes(curve: np.ndarray, ratio: float | None) -> np.ndarray:
    """High thresholds at which stretches change, rising; each is the first one not exceeded."""
    exceeded = np.unique(curve)
    if ratio is None:
        return exceeded[exceeded > 0]  # no threshold is negative
    # Up to here a value is not below the low threshold.
    reached = exceeded / ratio * (1 + _ROUNDING) if ratio else exceeded[:0]
    changes = np.unique(np.concatenate([exceeded, reached]))
    return changes[changes <= curve.max(initial=-np.inf)]


def _all_stretches(
    curve: np.ndarray,
    thresholds: np.ndarray,
    ratio: float | None,
    smooth: int,
    salt: int,
    published: bool,
) -> np.ndarray:
    """Detects at all thresholds (U,) at once: sorted (n, 3) = threshold number, onset, offset."""
    held = curve[:, None] > thresholds  # (T, U)
    if ratio is not None:
        held = curve[:, None] >= ratio * thresholds * (1 - _ROUNDING)
    found = regions(held)
    if len(found):
        edges = found[:, 1:].reshape(-1)
        peaks = np.maximum.reduceat(np.append(curve, -np.inf), edges)[::2]
        found = found[peaks > thresholds[found[:, 0]]]
    if published and ratio is None:
        found = found - [0, 0, 1]  # the published form ends at the last active frame
    if not len(found):
        return found
    number, onset, offset = found.T
    new = np.r_[True, (np.diff(number) != 0) | (onset[1:] - offset[:-1] > smooth)]
    first = np.flatnonzero(new)
    last = np.append(first[1:], len(found)) - 1
    joined = np.stack([number[first], onset[first], offset[last]], axis=1)
    return joined[joined[:, 2] - joined[:, 1] > salt]

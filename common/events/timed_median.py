"""Median filter over a window of seconds, exact between frames.

The window need not be a whole number of frames, and frames may differ in length: each score counts
for the time that its frame lies in the window. The filtered scores change wherever the median does,
which may be within a frame.

References:
    Ebbers, Haeb-Umbach, Serizel, "Post-processing independent evaluation of sound event detection
    systems", DCASE 2023, arXiv:2306.15440.
"""

from typing import NamedTuple

import numpy as np

_SLACK_S = 1e-7  # times closer than that are one
_DECIMALS = 6


class Curve(NamedTuple):
    """Piecewise constant scores of one class: `values` (n,) between `edges_s` (n + 1,)."""

    edges_s: np.ndarray
    values: np.ndarray


def timed_median(edges_s: np.ndarray, scores: np.ndarray, window_s: float) -> list[Curve]:
    """Filters the scores of one recording.

    At each time the result is the lowest score that, with all lower ones, fills half of the window
    around it. Outside the recording the score is minus infinity.

    Args:
        edges_s: (T + 1,), edges of the frames in seconds, rising.
        scores: (T, K).
        window_s: length of the window in seconds; 0: nothing is filtered.

    Returns:
        K curves; one without pieces where the window is nowhere filled by half.

    Raises:
        ValueError: the window is negative, or edges and scores do not fit.
    """
    edges_s, scores = np.asarray(edges_s, np.float64), np.asarray(scores, np.float64)
    if window_s < 0 or scores.ndim != 2 or len(edges_s) != len(scores) + 1:
        raise ValueError(
            "Expected: scores (T, K), T + 1 edges and a window of 0 s or more. Received:"
            f" {scores.shape}, {len(edges_s)} and {window_s}."
        )
    if window_s == 0 or len(scores) == 0:
        return [Curve(edges_s, column) for column in scores.T]
    changes = _changes(edges_s, scores, window_s)
    return [
        _joined(*(each[chosen] for each in changes[1:]))
        for chosen in (changes[0] == k for k in range(scores.shape[1]))
    ]


def _changes(
    edges_s: np.ndarray, scores: np.ndarray, window_s: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lists times from which on a class has a value: class, time, value, (C,) each, unsorted.

    Between two neighbouring breakpoints the window leaves one frame and enters another, so that the
    time of the scores not below a value rises, falls or stays, in a straight line.
    """
    half_s = window_s / 2
    ends = np.concatenate([edges_s - half_s, edges_s + half_s])
    breaks = np.unique(np.round(ends, _DECIMALS + 2))
    breaks = breaks[np.r_[True, np.diff(breaks) > _SLACK_S]]
    begin_s, step_s = breaks[:-1], np.diff(breaks)
    values, held_s, slope = _windows(edges_s, scores, begin_s, window_s)  # (I, W, K) each
    after_s = held_s + slope * step_s[:, None, None]
    above = (held_s > half_s + _SLACK_S) | ((held_s >= half_s - _SLACK_S) & (slope > 0))
    at_start = np.argmax(above, axis=1)[:, None]  # the highest value that is held by then
    start = np.take_along_axis(values, at_start, axis=1)[:, 0]  # (I, K)
    interval, k = (each.reshape(-1) for each in np.indices(start.shape))
    parts: list[tuple[np.ndarray, ...]] = [(k, begin_s[interval], start.reshape(-1))]
    rising = (slope > 0) & (held_s < half_s - _SLACK_S) & (after_s > half_s + _SLACK_S)
    falling = (slope < 0) & (held_s > half_s + _SLACK_S) & (after_s < half_s - _SLACK_S)
    for moving, later in ((rising, 0), (falling, 1)):
        places = np.nonzero(moving)
        reached_s = begin_s[places[0]] + np.abs(held_s[places] - half_s)
        # What falls below half leaves the next value, which is held longer.
        rank = np.minimum(places[1] + later, values.shape[1] - 1)
        parts.append((places[2], reached_s, values[places[0], rank, places[2]]))
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return columns[0], columns[1], columns[2]


def _windows(
    edges_s: np.ndarray, scores: np.ndarray, begin_s: np.ndarray, window_s: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores in each window, highest first, and how long the window holds them or higher ones.

    Returns:
        (I, W, K) each: scores, seconds at the beginning of the interval, and their change per
        second of time: 1, 0 or -1.
    """
    silence = np.full((1, scores.shape[1]), -np.inf)
    padded = np.concatenate([silence, scores, silence])
    bounds = np.concatenate(
        [[-np.inf], edges_s, [np.inf]]
    )  # frame p lies in bounds[p], bounds[p+1]
    left_s, right_s = begin_s - window_s / 2, begin_s + window_s / 2
    leaving = np.searchsorted(bounds, left_s + _SLACK_S, side="right") - 1
    entering = np.searchsorted(bounds, right_s + _SLACK_S, side="right") - 1
    width = int((entering - leaving).max()) + 1
    frame = leaving[:, None] + np.arange(width)  # (I, W)
    inside = frame <= entering[:, None]
    frame = np.minimum(frame, len(padded) - 1)
    ends = np.minimum(bounds[frame + 1], right_s[:, None])
    held = np.where(inside, np.maximum(ends - np.maximum(bounds[frame], left_s[:, None]), 0), 0.0)
    change = (inside & (frame == entering[:, None])).astype(np.float64)
    change -= inside & (frame == leaving[:, None])
    values = np.where(inside[..., None], padded[frame], -np.inf)  # (I, W, K)
    order = np.argsort(-values, axis=1, kind="stable")
    ranked = np.take_along_axis(values, order, axis=1)
    rows = np.arange(len(begin_s))[:, None, None]
    return ranked, np.cumsum(held[rows, order], axis=1), np.cumsum(change[rows, order], axis=1)


def _joined(time_s: np.ndarray, value: np.ndarray) -> Curve:
    """Puts changes in order, takes the last of one time, and leaves out silence at both ends."""
    time_s = np.round(time_s, _DECIMALS)
    order = np.argsort(time_s, kind="stable")
    time_s, value = time_s[order], value[order]
    kept = np.r_[np.diff(time_s) > 0, True]
    time_s, value = time_s[kept], value[kept]
    changed = np.r_[True, value[1:] != value[:-1]]
    time_s, value = time_s[changed], value[changed]
    sounding = np.flatnonzero(value > -np.inf)
    if not len(sounding):
        return Curve(np.zeros(1), np.zeros(0))
    first, last = sounding[0], min(sounding[-1] + 1, len(time_s) - 1)
    return Curve(time_s[first : last + 1], value[first:last])

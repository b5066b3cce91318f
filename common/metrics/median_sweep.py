"""PSDS that does not depend on the length of the median filter.

Operating points of all lengths are joined: at each rate of false positives, each class has the
share of events found of its best length.

References:
    Ebbers, Haeb-Umbach, Serizel, "Post-processing independent evaluation of sound event detection
    systems", DCASE 2023, arXiv:2306.15440.
"""

from collections.abc import Sequence

import numpy as np

from common.events.timed_median import timed_median
from common.metrics.psds import (
    Points,
    PsdsScenario,
    PsdsScore,
    ThresholdSweep,
    intersection_curve,
    points_of_curves,
    psds_of_points,
)
from common.metrics.sweep import Coverage, Frames, all_detections


def median_independent_psds(
    sweep: ThresholdSweep,
    windows_s: Sequence[float],
    scenario: PsdsScenario,
    weights: np.ndarray | None = None,
) -> PsdsScore:
    """Computes PSDS over all thresholds and several lengths of a median filter.

    Args:
        sweep: of the scores without a filter.
        windows_s: lengths of the filter in seconds; 0 is no filter.
        scenario: criteria and costs.
        weights: (N,), how often each recording counts; None: once.

    Raises:
        ValueError: no length, or a negative one.
    """
    if not len(windows_s) or min(windows_s) < 0:
        raise ValueError(
            f"Expected: lengths of a median filter in seconds, 0 or more. Received: {windows_s}."
        )
    every: list[Points] = [_points(sweep, window_s, scenario, weights) for window_s in windows_s]
    joined = {
        k: (
            np.concatenate([points[k][0] for points in every]),
            np.concatenate([points[k][1] for points in every]),
        )
        for k in every[0]
    }
    return psds_of_points(joined, sweep.n_classes, scenario)


def _points(
    sweep: ThresholdSweep, window_s: float, scenario: PsdsScenario, weights: np.ndarray | None
) -> Points:
    """Operating points of one length."""
    if window_s == 0:
        curves = sweep.intersection_curves(scenario)
        return points_of_curves(curves, sweep.totals, scenario, weights)
    edges_s, values = _filtered(sweep, window_s)
    curves = {}
    for k in sweep.classes:
        frames = Frames.from_edges(edges_s[k])
        found = all_detections(frames, np.concatenate([np.zeros(0), *values[k]]))
        coverage = Coverage(sweep.reference, frames)
        curves[k] = intersection_curve(found, k, coverage, sweep.reference, scenario)
    return points_of_curves(curves, sweep.totals, scenario, weights)


def _filtered(
    sweep: ThresholdSweep, window_s: float
) -> tuple[dict[int, list[np.ndarray]], dict[int, list[np.ndarray]]]:
    """Edges and filtered scores of each recording, by class."""
    frames = sweep.frames
    edges_s: dict[int, list[np.ndarray]] = {k: [] for k in sweep.classes}
    values: dict[int, list[np.ndarray]] = {k: [] for k in sweep.classes}
    for first, last in zip(frames.first[:-1], frames.first[1:], strict=True):
        numbers = first + np.flatnonzero(frames.onset_s[first:last] < frames.offset_s[first:last])
        ends_s = np.append(frames.onset_s[numbers], frames.offset_s[numbers[-1:]])
        if not len(numbers):
            ends_s = np.zeros(1)
        chosen = sweep.scores[np.ix_(numbers, sweep.classes)]
        for k, curve in zip(sweep.classes, timed_median(ends_s, chosen, window_s), strict=True):
            edges_s[k].append(curve.edges_s)
            values[k].append(curve.values)
    return edges_s, values

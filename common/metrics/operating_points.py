"""Intersection-based scores of lists of events: PSDS from a few operating points, and F.

This is the form of psds_eval: a system is decoded at some thresholds, usually 50, and each list of
events is one point of the curve. The exact curve of `common.metrics.psds` lies above it.

References:
    Bilen et al., "A framework for the robust evaluation of sound event detection", ICASSP 2020,
    arXiv:1910.08440; psds_eval 0.5.3.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from common.events.table import EventTable
from common.metrics.event_based import check_tables, pairs_within_recordings
from common.metrics.psds import (
    HOUR_S,
    INTERSECTION_F,
    EventTotals,
    PsdsScenario,
    PsdsScore,
    psds_of_points,
)
from common.metrics.threshold_curves import CurveScores, scores_of_counts

N_POINTS = 50


@dataclass(frozen=True)
class PointCounts:
    """Counts of one list of events.

    Attributes:
        found: (K,), true events that are covered.
        false: (K,), false detections that begin within their recording.
        crossing: (K, K), false detections of a class (row) on events of another one (column).
    """

    found: np.ndarray
    false: np.ndarray
    crossing: np.ndarray


def default_thresholds(n_points: int = N_POINTS) -> np.ndarray:
    """Returns the usual thresholds, the middles of `n_points` equal parts of [0, 1]."""
    return (np.arange(n_points) + 0.5) / n_points


def count_intersections(
    reference: EventTable,
    estimate: EventTable,
    scenario: PsdsScenario,
    lengths_s: np.ndarray | float = np.inf,
) -> PointCounts:
    """Counts events found, false detections and cross triggers.

    Shares are compared as they are, without rounding, as psds_eval does.

    Args:
        reference: true events; those of one class that overlap or touch count as one.
        estimate: estimated events of the same recordings.
        scenario: criteria.
        lengths_s: length of the recordings; detections that begin later are not false alarms.

    Raises:
        ValueError: the tables are of different sets.
    """
    check_tables(reference, estimate)
    reference, estimate = reference.with_length().merge_connected(), estimate.with_length()
    n = reference.n_classes
    event, detection = pairs_within_recordings(reference, estimate)
    ends_s = np.minimum(reference.offset_s[event], estimate.offset_s[detection])
    shared_s = ends_s - np.maximum(reference.onset_s[event], estimate.onset_s[detection])
    inside = shared_s > 0
    event, detection, shared_s = event[inside], detection[inside], shared_s[inside]
    share = shared_s / (estimate.offset_s - estimate.onset_s)[detection]
    own = reference.class_index[event] == estimate.class_index[detection]
    precision = np.bincount(detection[own], share[own], minlength=len(estimate))
    accepted = precision >= scenario.dtc
    kept = own & accepted[detection]
    covered = shared_s[kept] / (reference.offset_s - reference.onset_s)[event[kept]]
    covered = np.bincount(event[kept], covered, minlength=len(reference))
    touched = np.bincount(event[kept], minlength=len(reference)) > 0
    hit = touched & (covered >= scenario.gtc)
    within = (
        estimate.onset_s < np.broadcast_to(lengths_s, reference.n_recordings)[estimate.recording]
    )
    crossing = np.zeros((n, n))
    if scenario.cttc is not None:
        chosen = ~own & ~accepted[detection]
        keys = detection[chosen] * n + reference.class_index[event[chosen]]
        keys, inverse = np.unique(keys, return_inverse=True)
        on_other = np.bincount(inverse, share[chosen], minlength=len(keys)) >= scenario.cttc
        rows, columns = np.divmod(keys[on_other], n)
        np.add.at(crossing, (estimate.class_index[rows], columns), 1)
    return PointCounts(
        np.bincount(reference.class_index[hit], minlength=n),
        np.bincount(estimate.class_index[~accepted & within], minlength=n),
        crossing,
    )


def psds_from_points(
    reference: EventTable,
    estimates: Sequence[EventTable],
    scenario: PsdsScenario,
    lengths_s: np.ndarray | float,
) -> PsdsScore:
    """Computes PSDS from lists of events, each of one operating point.

    Args:
        reference: see `count_intersections`.
        estimates: for each operating point.
        scenario: criteria and costs.
        lengths_s: length of the recordings in seconds, one number or (recordings,).

    Raises:
        ValueError: there is no operating point, or a table is of another set.
    """
    if not estimates:
        raise ValueError("Expected: events of at least one operating point. Received: none.")
    reference = reference.with_length().merge_connected()
    counts, seconds, total_s = EventTotals.of(reference, lengths_s).sums(None)
    points = [count_intersections(reference, each, scenario, lengths_s) for each in estimates]
    present = np.flatnonzero(counts)
    found = np.stack([point.found for point in points])  # (points, K)
    rate = np.stack([point.false for point in points]) / total_s
    if scenario.alpha_ct and len(present) > 1:
        crossing = np.stack([point.crossing for point in points])[:, :, present]
        per_second = (crossing / seconds[present]).sum(axis=2) / (len(present) - 1)
        rate = rate + scenario.alpha_ct * per_second
    silent = np.zeros(1)  # no threshold at all: nothing found, nothing false
    curves = {
        k: (np.append(found[:, k] / counts[k], silent), np.append(rate[:, k] * HOUR_S, silent))
        for k in present.tolist()
    }
    return psds_of_points(curves, reference.n_classes, scenario)


def intersection_f_scores(
    reference: EventTable,
    estimate: EventTable,
    scenario: PsdsScenario = INTERSECTION_F,
    lengths_s: np.ndarray | float = np.inf,
) -> CurveScores:
    """Computes the intersection-based F of one list of events.

    A class that is never found has F = 0; psds_eval leaves it out of the mean, which
    `CurveScores.macro_f_of_hit` is for.

    Args:
        reference: see `count_intersections`.
        estimate: estimated events.
        scenario: criteria of detections.
        lengths_s: see `count_intersections`.

    Raises:
        ValueError: the tables are of different sets.
    """
    reference = reference.with_length().merge_connected()
    point = count_intersections(reference, estimate, scenario, lengths_s)
    counts = reference.counts()
    found = {
        k: (float(point.found[k]), float(point.false[k]), float(counts[k]))
        for k in np.flatnonzero(counts).tolist()
    }
    return scores_of_counts(found, np.full(reference.n_classes, np.nan))

"""Scores over all thresholds at once: PSDS 1 and 2, and the best event-based F-score of each class.

The curves are exact: every value of a score is tried as the threshold.

References:
    Bilen et al., "A framework for the robust evaluation of sound event detection", ICASSP 2020,
    arXiv:1910.08440. Ebbers, Haeb-Umbach, Serizel, "Threshold independent evaluation of sound event
    detection scores", ICASSP 2022, arXiv:2201.13148.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from common.events.postprocess import regions
from common.events.table import EventTable
from common.metrics.detection import nan_mean
from common.metrics.event_based import COLLAR_S, OFFSET_SHARE, maximum_matching

HOUR_S = 3600.0
DECIMALS = 6  # times are compared to a microsecond, against rounding errors at a limit


@dataclass(frozen=True)
class PsdsScenario:
    """Criteria of detections, and costs of errors.

    Attributes:
        dtc: share of a detection that must lie on events of its class (detection tolerance).
        gtc: share of an event that accepted detections must cover.
        cttc: minimum share of a false detection on another class's events for a cross trigger;
            None: not used.
        alpha_ct: weight of cross triggers in the rate of false positives.
        alpha_st: weight of the spread between classes.
        max_rate: false positives per hour up to which the curve is integrated.
    """

    dtc: float
    gtc: float
    cttc: float | None = None
    alpha_ct: float = 0.0
    alpha_st: float = 1.0
    max_rate: float = 100.0


PSDS1 = PsdsScenario(dtc=0.7, gtc=0.7)
PSDS2 = PsdsScenario(dtc=0.1, gtc=0.1, cttc=0.3, alpha_ct=0.5)


@dataclass(frozen=True)
class SweepScores:
    """Scores over all thresholds; NaN where a class has no event, and everywhere without any.

    Attributes:
        psds1: score that emphasises exact times.
        psds2: score that emphasises the right classes.
        class_psds1: (K,), of each class.
        class_psds2: (K,).
        best_f: mean over classes of the best event-based F that one threshold gives.
        class_best_f: (K,).
        class_thresholds: (K,), the thresholds of `class_best_f`.
    """

    psds1: float
    psds2: float
    class_psds1: np.ndarray
    class_psds2: np.ndarray
    best_f: float
    class_best_f: np.ndarray
    class_thresholds: np.ndarray


@dataclass(frozen=True)
class Sweep:
    """Detections of one class in one recording at every threshold.

    Attributes:
        values: (U,), occurring scores, rising; threshold number u accepts scores of at least
            values[u].
        threshold: int (R,), number of a detection's threshold, never falling.
        onset_s, offset_s: (R,), its times.
    """

    values: np.ndarray
    threshold: np.ndarray
    onset_s: np.ndarray
    offset_s: np.ndarray


@dataclass
class _Curve:
    """Changes of counts at values of the score, collected over recordings."""

    values: list[np.ndarray]
    changes: list[np.ndarray]

    def add(self, values: np.ndarray, counts: np.ndarray) -> None:
        """Adds the counts (U, n) of one recording at its thresholds."""
        changes = counts - np.concatenate([counts[1:], np.zeros_like(counts[:1])])
        moved = np.abs(changes).sum(axis=1) > 0
        self.values.append(values[moved])
        self.changes.append(changes[moved])

    def totals(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns all values, rising, infinity last, and the set's counts there, (U + 1, n)."""
        values, inverse = np.unique(np.concatenate(self.values), return_inverse=True)
        changes = np.concatenate(self.changes)
        sums = np.zeros((len(values) + 1, changes.shape[1]))
        np.add.at(sums, inverse, changes)
        return np.append(values, np.inf), np.cumsum(sums[::-1], axis=0)[::-1]


def sweep_scores(
    reference: EventTable,
    scores: Sequence[np.ndarray],
    hop_s: float,
    durations_s: np.ndarray | float,
    *,
    collar_s: float = COLLAR_S,
    offset_share: float = OFFSET_SHARE,
) -> SweepScores:
    """Computes PSDS 1, PSDS 2 and the best F over all thresholds.

    Args:
        reference: true events of the set; those of one class that overlap or touch count as one.
        scores: for each recording (T, K), probabilities per frame; minus infinity where no
            threshold gives an event.
        hop_s: hop length in seconds.
        durations_s: length of the recordings in seconds, one number or (recordings,).
        collar_s: of the event-based F, see `common.metrics.event_based`.
        offset_share: as well.

    Raises:
        ValueError: scores and reference do not belong together.
    """
    _check(reference, scores)
    reference = reference.with_length().merge_connected()
    n_classes = reference.n_classes
    present = reference.counts() > 0
    undefined = np.full(n_classes, np.nan)
    if not present.any():
        return SweepScores(np.nan, np.nan, undefined, undefined, np.nan, undefined, undefined)
    lengths_s = np.broadcast_to(np.asarray(durations_s, np.float64), (reference.n_recordings,))
    curves = _curves(reference, scores, hop_s, lengths_s, collar_s, offset_share)
    total_s = float(lengths_s.sum())
    lasting_s = reference.offset_s - reference.onset_s
    seconds = np.bincount(reference.class_index, lasting_s, minlength=n_classes)
    known, results = np.flatnonzero(present), []
    for of_classes, scenario in zip(curves, (PSDS1, PSDS2), strict=False):
        totals = [of_classes[k].totals()[1] for k in known]
        results.append(_psds(totals, reference, seconds, total_s, scenario))
    best, thresholds = undefined.copy(), undefined.copy()
    for k in known:
        best[k], thresholds[k] = _best_f(*curves[2][k].totals(), int(reference.counts()[k]))
    (psds1, class_psds1), (psds2, class_psds2) = results
    mean_f = nan_mean(best)
    return SweepScores(psds1, psds2, class_psds1, class_psds2, mean_f, best, thresholds)


def _curves(
    reference: EventTable,
    scores: Sequence[np.ndarray],
    hop_s: float,
    lengths_s: np.ndarray,
    collar_s: float,
    offset_share: float,
) -> list[list[_Curve]]:
    """Counts of PSDS 1, PSDS 2 and the event-based F, for each class of the set."""
    present = reference.counts() > 0
    curves = [[_Curve([], []) for _ in range(reference.n_classes)] for _ in range(3)]
    for number, (frames, length_s) in enumerate(zip(scores, lengths_s, strict=True)):
        rows = reference.of_recording(number)
        for k in np.flatnonzero(present):
            sweep = sweep_thresholds(frames[:, k], hop_s, length_s)
            for scenario, curve in ((PSDS1, curves[0]), (PSDS2, curves[1])):
                counts = intersection_counts(sweep, rows, int(k), present, scenario)
                curve[k].add(sweep.values, counts)
            own = rows[rows[:, 0] == k, 1:]
            curves[2][k].add(sweep.values, collar_counts(sweep, own, collar_s, offset_share))
    return curves


def _check(reference: EventTable, scores: Sequence[np.ndarray]) -> None:
    if len(scores) != reference.n_recordings:
        raise ValueError(
            f"Expected: scores of {reference.n_recordings} recordings. Received: {len(scores)}."
        )
    for frames in scores:
        shaped = np.ndim(frames) == 2 and frames.shape[1] == reference.n_classes
        if not shaped or not (frames < np.inf).all():
            raise ValueError(
                f"Expected: finite scores (T, {reference.n_classes}), or minus infinity. Received:"
                f" shape {np.shape(frames)}, {np.count_nonzero(~np.less(frames, np.inf))} values"
                " not finite."
            )


def sweep_thresholds(curve: np.ndarray, hop_s: float, duration_s: float = np.inf) -> Sweep:
    """Finds the detections of one class at every threshold, from its scores (T,)."""
    curve = np.asarray(curve, np.float64)
    values = np.unique(curve[curve > -np.inf])
    found = regions((curve >= values[:, None]).T)  # one "class" for each threshold
    times_s = np.minimum(np.arange(len(curve) + 1) * hop_s, duration_s)
    sweep = Sweep(values, found[:, 0], times_s[found[:, 1]], times_s[found[:, 2]])
    inside = sweep.onset_s < sweep.offset_s
    return Sweep(values, sweep.threshold[inside], sweep.onset_s[inside], sweep.offset_s[inside])


def overlaps(sweep: Sweep, onset_s: np.ndarray, offset_s: np.ndarray) -> np.ndarray:
    """Seconds that each detection shares with each event, (R, events)."""
    ends = np.minimum(sweep.offset_s[:, None], offset_s)
    return np.maximum(ends - np.maximum(sweep.onset_s[:, None], onset_s), 0.0)


def intersection_counts(
    sweep: Sweep, events: np.ndarray, k: int, present: np.ndarray, scenario: PsdsScenario
) -> np.ndarray:
    """Counts events found, false detections and cross triggers at each threshold.

    Args:
        sweep: detections of class k.
        events: all events of the recording, (n, 3) = class_index, onset_s, offset_s.
        k: the class.
        present: bool (K,), classes of the set; the others are no target of cross triggers.
        scenario: criteria of detections.

    Returns:
        (U, 2 + others): events found, false detections, and cross triggers with each other present
        class (in the order of the classes; none without `scenario.cttc`).
    """
    lengths = sweep.offset_s - sweep.onset_s
    own = events[events[:, 0] == k]
    shared = overlaps(sweep, own[:, 1], own[:, 2])  # (R, G)
    accepted = _at_least(shared.sum(axis=1), scenario.dtc * lengths)
    n_thresholds = len(sweep.values)
    covered = np.zeros((n_thresholds, len(own)))
    np.add.at(covered, sweep.threshold[accepted], shared[accepted])
    found = _at_least(covered, scenario.gtc * (own[:, 2] - own[:, 1])).sum(axis=1)
    false = np.bincount(sweep.threshold[~accepted], minlength=n_thresholds)
    columns = [found, false]
    if scenario.cttc is not None:
        for other in np.flatnonzero(present):
            if other != k:
                rows = events[events[:, 0] == other]
                wrong = overlaps(sweep, rows[:, 1], rows[:, 2]).sum(axis=1)
                crossing = ~accepted & _at_least(wrong, scenario.cttc * lengths) & (len(rows) > 0)
                columns.append(np.bincount(sweep.threshold[crossing], minlength=n_thresholds))
    return np.stack(columns, axis=1)


def _at_least(seconds: np.ndarray, limit_s: np.ndarray) -> np.ndarray:
    return np.round(seconds, DECIMALS) >= np.round(limit_s, DECIMALS)


def collar_counts(
    sweep: Sweep, events: np.ndarray, collar_s: float, offset_share: float
) -> np.ndarray:
    """Counts event-based hits and false detections of one class at each threshold, (U, 2).

    Args:
        sweep: detections of the class.
        events: its events in the recording, (G, 2) = onset_s, offset_s.
        collar_s: see `common.metrics.event_based.count_events`.
        offset_share: as well.
    """
    n_thresholds = len(sweep.values)
    detections = np.bincount(sweep.threshold, minlength=n_thresholds)
    near = np.round(np.abs(sweep.onset_s[:, None] - events[:, 0]) - collar_s, DECIMALS) <= 0
    allowed = np.maximum(collar_s, offset_share * (events[:, 1] - events[:, 0]))
    ends = np.abs(sweep.offset_s[:, None] - events[:, 1]) - allowed
    hits = near & (np.round(ends, DECIMALS) <= 0)  # (R, G)
    per_event = np.zeros((n_thresholds, len(events)), np.int64)
    np.add.at(per_event, sweep.threshold, hits)
    several = np.zeros(n_thresholds, bool)
    several[sweep.threshold[hits.sum(axis=1) > 1]] = True
    several |= (per_event > 1).any(axis=1)
    found = per_event.sum(axis=1)
    for number in np.flatnonzero(several):
        detection, event = np.nonzero(hits & (sweep.threshold == number)[:, None])
        found[number] = len(maximum_matching(np.stack([event, detection], axis=1)))
    return np.stack([found, detections - found], axis=1)


def _best_f(values: np.ndarray, totals: np.ndarray, n_events: int) -> tuple[float, float]:
    """Returns the best F of a class and a threshold with it, halfway between two scores."""
    found, false = totals.T
    f = 2 * found / np.maximum(found + false + n_events, 1)
    best = len(f) - 1 - int(np.argmax(f[::-1]))
    below = values[best - 1] if best else 0.0
    return float(f[best]), float((values[best] + below) / 2 if np.isfinite(values[best]) else 1.0)


def _psds(
    totals: Sequence[np.ndarray],
    reference: EventTable,
    seconds: np.ndarray,
    total_s: float,
    scenario: PsdsScenario,
) -> tuple[float, np.ndarray]:
    """Integrates the curves of the present classes; returns PSDS and the score of each class."""
    counts = reference.counts()
    present = np.flatnonzero(counts)
    curves = []
    for k, total in zip(present, totals, strict=True):
        rate = total[:, 1] / total_s
        if scenario.cttc is not None and len(present) > 1:
            others = seconds[present[present != k]]
            crossing = (total[:, 2:] / np.maximum(others, 1e-12)).mean(axis=1)
            rate = rate + scenario.alpha_ct * crossing
        curves.append(_upper_curve(total[:, 0] / counts[k], rate * HOUR_S, scenario.max_rate))
    single = np.full(reference.n_classes, np.nan)
    single[present] = [_area(found, rate, scenario.max_rate) for found, rate in curves]
    rates = np.unique(np.concatenate([rate for _, rate in curves]))
    steps = np.stack([_step(found, rate, rates) for found, rate in curves])  # (classes, rates)
    effective = np.maximum(steps.mean(axis=0) - scenario.alpha_st * steps.std(axis=0), 0.0)
    return _area(effective, rates, scenario.max_rate), single


def _upper_curve(
    found: np.ndarray, rate: np.ndarray, max_rate: float
) -> tuple[np.ndarray, np.ndarray]:
    """Upper envelope of the points, (share found, rates), rates rising."""
    order = np.lexsort((found, rate))
    found, rate = np.maximum.accumulate(found[order]), rate[order]
    rising = np.r_[True, found[1:] > found[:-1]]
    found, rate = found[rising], rate[rising]
    last = np.r_[rate[1:] > rate[:-1], True]
    keep = last & (rate <= max_rate)
    return found[keep], rate[keep]


def _step(found: np.ndarray, rate: np.ndarray, at: np.ndarray) -> np.ndarray:
    if not len(found):
        return np.zeros(len(at))
    index = np.searchsorted(rate, at, side="right") - 1
    return np.where(index < 0, 0.0, found[np.maximum(index, 0)])


def _area(found: np.ndarray, rate: np.ndarray, max_rate: float) -> float:
    return float((found * np.diff(np.append(rate, max_rate))).sum() / max_rate)

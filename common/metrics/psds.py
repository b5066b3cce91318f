"""Polyphonic sound detection score (PSDS), exact over all thresholds or from operating points.

A detection counts if a share of it lies on events of its class; an event is found if detections
that count cover a share of it; the other detections are false, and cross triggers if a share of
them lies on events of another class. The score is the area under the curve of events found over
false positives per hour.

References:
    Bilen et al., "A framework for the robust evaluation of sound event detection", ICASSP 2020,
    arXiv:1910.08440. Ebbers, Haeb-Umbach, Serizel, "Threshold independent evaluation of sound event
    detection scores", ICASSP 2022, arXiv:2201.13148; "Post-processing independent evaluation of
    sound event detection systems", DCASE 2023, arXiv:2306.15440.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from common.events.table import EventTable
from common.metrics.event_based import COLLAR_S, OFFSET_SHARE
from common.metrics.sweep import (
    Coverage,
    Detections,
    Frames,
    Steps,
    all_detections,
    at_least,
    spread,
)
from common.metrics.threshold_curves import ClassCurve, Curves, best_f_scores, collar_curve

HOUR_S = 3600.0
MOST_KEPT = 4_000_000  # frames times classes, up to which all detections are kept: about 0.3 GB


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
SCENARIOS = {
    "psds1": PSDS1,
    "psds2": PSDS2,
    # DCASE 2020 task 4
    "psds_2020": PsdsScenario(dtc=0.5, gtc=0.5, alpha_st=0.0),
    "psds_2020_cross_trigger": PsdsScenario(dtc=0.5, gtc=0.5, cttc=0.3, alpha_ct=1.0, alpha_st=0.0),
    "psds_2020_macro": PsdsScenario(dtc=0.5, gtc=0.5),
}
INTERSECTION_F = PsdsScenario(dtc=0.5, gtc=0.5)  # criteria of the intersection-based F


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
class PsdsScore:
    """PSDS of a set; NaN where a class has no event, and everywhere without any.

    Attributes:
        psds: of all classes together.
        class_psds: (K,), area under the curve of each class.
        rates: (R,), effective false positives per hour at which the curve of all classes together
            steps, rising.
        effective: (R,), effective rate of events found from each of `rates` on; 0 below the first.
    """

    psds: float
    class_psds: np.ndarray
    rates: np.ndarray = field(default_factory=lambda: np.zeros(0))
    effective: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def effective_at(self, rates: np.ndarray) -> np.ndarray:
        """Returns the effective rate of events found at rates of false positives per hour."""
        return _step(self.effective, self.rates, rates)


@dataclass(frozen=True)
class EventTotals:
    """True events of a set by recording and class.

    Attributes:
        counts: int (N, K), number of events.
        seconds: (N, K), their length.
        lengths_s: (N,), length of the recordings.
    """

    counts: np.ndarray
    seconds: np.ndarray
    lengths_s: np.ndarray

    @classmethod
    def of(cls, reference: EventTable, lengths_s: np.ndarray | float) -> "EventTotals":
        """Sums up a table of events."""
        shape = reference.n_recordings, reference.n_classes
        keys = reference.recording * reference.n_classes + reference.class_index
        lasting_s = reference.offset_s - reference.onset_s
        counts = np.bincount(keys, minlength=shape[0] * shape[1]).reshape(shape)
        seconds = np.bincount(keys, lasting_s, minlength=shape[0] * shape[1]).reshape(shape)
        given_s = np.broadcast_to(np.asarray(lengths_s, np.float64), shape[:1])
        return cls(counts, seconds, given_s)

    def sums(self, weights: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, float]:
        """Returns counts (K,), seconds (K,) and length of a set with weighted recordings."""
        each = np.ones(len(self.lengths_s)) if weights is None else np.asarray(weights, np.float64)
        return each @ self.counts, each @ self.seconds, float(each @ self.lengths_s)


class LazyCurves(Mapping[int, ClassCurve]):
    """Curves that are computed when they are asked for, so that only one is held at a time.

    Args:
        classes: with curves.
        of_class: from the class to its curve.
    """

    def __init__(self, classes: Sequence[int], of_class: Callable[[int], ClassCurve]):
        self._classes, self._of_class = list(classes), of_class

    def __getitem__(self, k: int) -> ClassCurve:
        if k not in self._classes:
            raise KeyError(k)
        return self._of_class(k)

    def __iter__(self) -> Iterator[int]:
        return iter(self._classes)

    def __len__(self) -> int:
        return len(self._classes)


class ThresholdSweep:
    """Detections of a set at all thresholds, searched once for all scores.

    Args:
        reference: true events of the set; those of one class that overlap or touch count as one,
            those without a length are left out.
        scores: for each recording (T, K), probabilities per frame; minus infinity where no
            threshold gives an event.
        hop_s: hop length in seconds; or for each recording (T + 1,) the edges of its frames.
        durations_s: length of the recordings in seconds, one number or (recordings,). Regular
            frames end there; rates are per hour of it.

    Raises:
        ValueError: scores and reference do not belong together.
    """

    def __init__(
        self,
        reference: EventTable,
        scores: Sequence[np.ndarray],
        hop_s: float | Sequence[np.ndarray],
        durations_s: np.ndarray | float,
    ):
        _check(reference, scores)
        lengths = [len(each) for each in scores]
        self.reference = reference.with_length().merge_connected()
        self.n_classes = reference.n_classes
        self.totals = EventTotals.of(self.reference, durations_s)
        if isinstance(hop_s, int | float | np.number):
            self.frames = Frames.regular(lengths, float(hop_s), durations_s)
        else:
            _check_edges(hop_s, lengths)
            self.frames = Frames.from_edges(hop_s)
        empty = np.zeros((0, self.n_classes))
        self.scores = np.concatenate([empty, *scores]).astype(np.float64)  # (F, K)
        self.classes = np.flatnonzero(self.reference.counts()).tolist()
        self._coverage = Coverage(self.reference, self.frames)
        self._is_small = len(self.scores) * len(self.classes) <= MOST_KEPT
        self._kept: dict[int, Detections] = {}

    def detections(self, k: int) -> Detections:
        """Returns the detections of a class; of a large set they are searched each time."""
        found = self._kept.get(k)
        if found is None:
            found = all_detections(self.frames, np.ascontiguousarray(self.scores[:, k]))
            if self._is_small:
                self._kept[k] = found
        return found

    def _curves(self, of_class: Callable[[int], ClassCurve]) -> Curves:
        """Curves of all classes with events, of a large set each when it is asked for."""
        lazy = LazyCurves(self.classes, of_class)
        return dict(lazy) if self._is_small else lazy

    def intersection_curves(self, scenario: PsdsScenario, max_false: float = np.inf) -> Curves:
        """Returns events found and false detections of each class with events.

        Args:
            scenario: criteria.
            max_false: see `intersection_curve`.
        """
        parts = self._coverage, self.reference, scenario, max_false
        return self._curves(lambda k: intersection_curve(self.detections(k), k, *parts))

    def collar_curves(
        self, collar_s: float = COLLAR_S, offset_share: float = OFFSET_SHARE
    ) -> Curves:
        """Returns event-based hits of each class with events."""

        def of_class(k: int) -> ClassCurve:
            events, recording = _of_class(self.reference, k)
            return collar_curve(self.detections(k), events, recording, collar_s, offset_share)

        return self._curves(of_class)

    def events_at(self, threshold: float) -> EventTable:
        """Returns the detections of scores above a threshold, of the classes with events."""
        recording, rows = [np.zeros(0, np.int64)], [np.zeros((0, 3))]
        for k in self.classes:
            found = self.detections(k)
            level = int(np.searchsorted(found.values, threshold, side="right"))
            alive = (found.until < level) & (found.level >= level)
            recording.append(found.recording[alive])
            times = found.onset_s[alive], found.offset_s[alive]
            rows.append(np.stack([np.full(int(alive.sum()), float(k)), *times], axis=1))
        return EventTable.from_columns(
            np.concatenate(recording),
            np.concatenate(rows),
            self.reference.n_recordings,
            self.n_classes,
        )

    def psds(
        self,
        scenario: PsdsScenario,
        *,
        curves: Curves | None = None,
        weights: np.ndarray | None = None,
        oracle: bool = True,
    ) -> PsdsScore:
        """Computes PSDS.

        Args:
            scenario: criteria and costs.
            curves: of `intersection_curves` with the same criteria; None: computed.
            weights: (N,), how often each recording counts; None: once.
            oracle: the best threshold of all with at most some rate of false positives counts;
                otherwise the one whose rate is nearest below.
        """
        if curves is None:
            hours = float(self.totals.lengths_s.sum()) / HOUR_S
            max_false = scenario.max_rate * hours if weights is None else np.inf
            curves = self.intersection_curves(scenario, max_false * (1 + 1e-9))
        points = points_of_curves(curves, self.totals, scenario, weights)
        return psds_of_points(points, self.n_classes, scenario, oracle=oracle)


def sweep_scores(
    reference: EventTable,
    scores: Sequence[np.ndarray],
    hop_s: float | Sequence[np.ndarray],
    durations_s: np.ndarray | float,
    *,
    collar_s: float = COLLAR_S,
    offset_share: float = OFFSET_SHARE,
) -> SweepScores:
    """Computes PSDS 1, PSDS 2 and the best F over all thresholds; see `ThresholdSweep`.

    Args:
        reference: true events of the set.
        scores: for each recording (T, K).
        hop_s: hop length in seconds, or edges of the frames of each recording.
        durations_s: length of the recordings in seconds.
        collar_s: of the event-based F, see `common.metrics.event_based`.
        offset_share: as well.

    Raises:
        ValueError: scores and reference do not belong together.
    """
    return swept_scores(
        ThresholdSweep(reference, scores, hop_s, durations_s), collar_s, offset_share
    )


def swept_scores(
    sweep: ThresholdSweep, collar_s: float = COLLAR_S, offset_share: float = OFFSET_SHARE
) -> SweepScores:
    """Computes PSDS 1, PSDS 2 and the best F of a sweep."""
    one, two = sweep.psds(PSDS1), sweep.psds(PSDS2)
    best = best_f_scores(sweep.collar_curves(collar_s, offset_share), sweep.n_classes)
    known = best.macro_f, best.f, best.thresholds
    return SweepScores(one.psds, two.psds, one.class_psds, two.class_psds, *known)


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


def _check_edges(edges_s: Sequence[np.ndarray], lengths: Sequence[int]) -> None:
    """Raises ValueError unless each recording has one edge more than frames, rising."""
    if len(edges_s) != len(lengths):
        raise ValueError(f"Expected: edges of {len(lengths)} recordings. Received: {len(edges_s)}.")
    for number, (edges, n_frames) in enumerate(zip(edges_s, lengths, strict=True)):
        wrong = len(edges) != n_frames + 1 if n_frames else len(edges) > 1
        if wrong or (np.diff(edges) < 0).any():
            raise ValueError(
                f"Recording {number}: expected {n_frames + 1} rising edges of {n_frames} frames."
                f" Received: {len(edges)} edges, {np.count_nonzero(np.diff(edges) < 0)} falling."
            )


def _of_class(reference: EventTable, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Events of one class, (G, 2) = onset_s, offset_s, and their recordings (G,)."""
    rows = reference.class_index == k
    times_s = np.stack([reference.onset_s[rows], reference.offset_s[rows]], axis=1)
    return times_s, reference.recording[rows]


def intersection_curve(
    detections: Detections,
    k: int,
    coverage: Coverage,
    reference: EventTable,
    scenario: PsdsScenario,
    max_false: float = np.inf,
) -> ClassCurve:
    """Counts events found, false detections and cross triggers of one class at all thresholds.

    Args:
        detections: of the class.
        k: the class.
        coverage: of the same frames.
        reference: true events; those of one class in a recording do not overlap.
        scenario: criteria.
        max_false: events found and cross triggers count only from the lowest threshold on that has
            at most as many false detections; a rate that is limited needs no others.
    """
    pair = coverage.pairs_of_class(k)[detections.recording]
    own = np.flatnonzero(pair >= 0)
    shared_s = coverage.shared_s(pair[own], detections.begin[own], detections.end[own])
    accepted = own[at_least(shared_s, scenario.dtc * detections.lengths_s[own])]
    false = detections.all_steps.minus(detections.steps(accepted))
    level = detections.level
    is_false = np.ones(len(pair), bool)
    is_false[accepted] = False
    if np.isfinite(max_false):
        few = false.totals(len(detections.values)) <= max_false
        lowest = int(np.argmax(few))  # the last is above all scores
        accepted = accepted[level[accepted] >= lowest]
        is_false &= level >= lowest
    found = _found_steps(detections, accepted, *_of_class(reference, k), scenario.gtc)
    crossing = None
    if scenario.cttc is not None:
        crossing = _crossing_steps(detections, k, coverage, is_false, scenario.cttc)
    events = np.bincount(
        reference.recording[reference.class_index == k], minlength=reference.n_recordings
    )
    return ClassCurve(detections.values, found, false, events, crossing)


def _found_steps(
    detections: Detections,
    accepted: np.ndarray,
    events: np.ndarray,
    recording: np.ndarray,
    gtc: float,
) -> Steps:
    """Changes of the number of events that accepted detections cover.

    Args:
        detections: of the class.
        accepted: their numbers.
        events: of the class, (G, 2) = onset_s, offset_s.
        recording: int (G,), never falling.
        gtc: share of an event that must be covered.
    """
    numbers = detections.recording[accepted]
    index, event = spread(*np.searchsorted(recording, [numbers, numbers + 1]))
    detection = accepted[index]
    onset_s = np.maximum(detections.onset_s[detection], events[event, 0])
    shared_s = np.minimum(detections.offset_s[detection], events[event, 1]) - onset_s
    inside = shared_s > 0
    event, detection, shared_s = event[inside], detection[inside], shared_s[inside]
    level, until = detections.level[detection], detections.until[detection]
    ends = until >= 0
    event = np.concatenate([event, event[ends]])
    level = np.concatenate([level, until[ends]])
    change_s = np.concatenate([shared_s, -shared_s[ends]])
    order = np.argsort(event * (len(detections.values) + 1) - level, kind="stable")
    event, level, covered_s = event[order], level[order], np.cumsum(change_s[order])
    if not len(event):
        return Steps.none()
    new_event = np.r_[True, np.diff(event) != 0]
    before_s = (covered_s - change_s[order])[new_event]  # all events stand in one row
    covered_s = covered_s - before_s[np.cumsum(new_event) - 1]
    last = np.flatnonzero(np.r_[(np.diff(event) != 0) | (np.diff(level) != 0), True])
    event, level, covered_s = event[last], level[last], covered_s[last]
    hit = at_least(covered_s, gtc * (events[event, 1] - events[event, 0])).astype(np.int64)
    change = hit - np.where(np.r_[True, np.diff(event) != 0], 0, np.r_[0, hit[:-1]])
    moved = change != 0
    return Steps(level[moved], recording[event[moved]], change[moved].astype(np.float64))


def _crossing_steps(
    detections: Detections, k: int, coverage: Coverage, is_false: np.ndarray, cttc: float
) -> Steps:
    """Changes of the number of false detections on events of each other class.

    Only pairs of a recording and a class that occur are looked at: the memory does not grow with
    the square of the number of classes.
    """
    numbers = np.flatnonzero(is_false)
    recording = detections.recording[numbers]
    index, pair = spread(coverage.first_pair[recording], coverage.first_pair[recording + 1])
    other = coverage.class_of_pair[pair] != k
    index, pair = index[other], pair[other]
    detection = numbers[index]
    shared_s = coverage.shared_s(pair, detections.begin[detection], detections.end[detection])
    crossing = np.flatnonzero(at_least(shared_s, cttc * detections.lengths_s[detection]))
    pair, detection = pair[crossing], detection[crossing]
    level, until = detections.level[detection], detections.until[detection]
    ends = until >= 0
    keys = np.concatenate([pair, pair[ends]]) * len(detections.values)
    keys += np.concatenate([level, until[ends]])
    change = np.concatenate([np.ones(len(pair)), -np.ones(int(ends.sum()))])
    unique, inverse = np.unique(keys, return_inverse=True)
    change = np.bincount(inverse, change, minlength=len(unique))
    moved = change != 0
    pair, level = np.divmod(unique[moved], max(len(detections.values), 1))
    at = np.atleast_1d(np.searchsorted(coverage.first_pair, pair, side="right")) - 1
    return Steps(level, at, change[moved], coverage.class_of_pair[pair])


Points = Mapping[int, tuple[np.ndarray, np.ndarray]]  # by class: shares found, rates per hour


def points_of_curves(
    curves: Curves, totals: EventTotals, scenario: PsdsScenario, weights: np.ndarray | None
) -> Points:
    """Returns shares of events found and effective false positives per hour, up to the limit.

    Args:
        curves: of the classes with events.
        totals: true events, and lengths of the recordings.
        scenario: costs.
        weights: (N,), how often each recording counts; None: once.
    """
    counts, seconds, total_s = totals.sums(weights)
    present = [k for k in curves if counts[k] > 0]
    points = {}
    for k in present:
        curve = curves[k]
        found, false = curve.counts(weights)
        rate = false / max(total_s, 1e-12)
        if scenario.alpha_ct and curve.crossing is not None and len(present) > 1:
            per_second = 1 / np.maximum(seconds, 1e-12)
            crossing = curve.crossing.totals(len(curve.values), weights, per_second)
            rate = rate + scenario.alpha_ct * crossing / (len(present) - 1)
        per_hour = rate * HOUR_S
        allowed = per_hour <= scenario.max_rate
        points[k] = found[allowed] / counts[k], per_hour[allowed]
    return points


def psds_of_points(
    points: Points, n_classes: int, scenario: PsdsScenario, *, oracle: bool = True
) -> PsdsScore:
    """Integrates the curves of the classes.

    Args:
        points: by class, share of events found and effective false positives per hour at each
            operating point, one without any detection among them.
        n_classes: K.
        scenario: spread between classes, and limit of the rate.
        oracle: see `ThresholdSweep.psds`.
    """
    single = np.full(n_classes, np.nan)
    if not points:
        return PsdsScore(float("nan"), single)
    limit = scenario.max_rate
    curves = {k: _upper_curve(*each, limit, oracle) for k, each in points.items()}
    for k, (found, rate) in curves.items():
        single[k] = _area(found, rate, limit)
    rates = np.unique(np.concatenate([rate for _, rate in curves.values()]))
    steps = np.stack([_step(found, rate, rates) for found, rate in curves.values()])  # (classes, R)
    effective = np.maximum(steps.mean(axis=0) - scenario.alpha_st * steps.std(axis=0), 0.0)
    return PsdsScore(_area(effective, rates, limit), single, rates, effective)


def _upper_curve(
    found: np.ndarray, rate: np.ndarray, max_rate: float, oracle: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Best point at each rate, rates rising; `oracle`: or at any lower rate."""
    allowed = rate <= max_rate
    found, rate = found[allowed], rate[allowed]
    order = np.lexsort((found, rate))
    found, rate = found[order], rate[order]
    if oracle:
        found = np.maximum.accumulate(found)
        rising = np.r_[True, found[1:] > found[:-1]][: len(found)]
        found, rate = found[rising], rate[rising]
    last = np.r_[rate[1:] > rate[:-1], True][: len(rate)]
    return found[last], rate[last]


def _step(found: np.ndarray, rate: np.ndarray, at: np.ndarray) -> np.ndarray:
    if not len(found):
        return np.zeros(len(at))
    index = np.searchsorted(rate, at, side="right") - 1
    return np.where(index < 0, 0.0, found[np.maximum(index, 0)])


def _area(found: np.ndarray, rate: np.ndarray, max_rate: float) -> float:
    return float((found * np.diff(np.append(rate, max_rate))).sum() / max_rate)

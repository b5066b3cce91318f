"""Hits and false alarms of each class at every threshold, and the scores that follow from them.

One form for all kinds of hits: events found within a collar or by intersection, active segments,
tags of clips. A curve holds changes by recording; `weights` count recordings several times or not
at all, for resampling and for sets without some clips.

References:
    Mesaros, Heittola, Virtanen, "Metrics for polyphonic sound event detection", Appl. Sci. 6(6),
    2016. Ebbers, Haeb-Umbach, Serizel, ICASSP 2022, arXiv:2201.13148.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from common.metrics.detection import nan_mean
from common.metrics.event_based import maximum_matching
from common.metrics.sweep import DECIMALS, Detections, Steps, spread

MAX_FALSE_RATE = 0.1  # up to which the partial area under the ROC curve is taken


@dataclass(frozen=True)
class ClassCurve:
    """Hits and false alarms of one class at all thresholds.

    Attributes:
        values: (U,), scores of the set, rising; threshold number u accepts at least values[u].
        found: changes of the number of hits.
        false: changes of the number of false alarms.
        n_events: (N,), true entries of each recording.
        crossing: changes of the number of false alarms on events of each other class; None: not
            counted.
    """

    values: np.ndarray
    found: Steps
    false: Steps
    n_events: np.ndarray
    crossing: Steps | None = None

    @cached_property
    def moved(self) -> np.ndarray:
        """Numbers of the thresholds at which hits or false alarms of some recording change."""
        return _moved(self)

    def compact(self) -> "ClassCurve":
        """Returns the same curve without thresholds at which nothing changes, for resampling."""
        steps = [each for each in (self.found, self.false, self.crossing) if each is not None]
        used = np.zeros(len(self.values), bool)
        for each in steps:
            used[each.level] = True
        number = np.cumsum(used) - 1
        parts = [replace(each, level=number[each.level]) for each in steps]
        crossing = parts[2] if self.crossing is not None else None
        return ClassCurve(self.values[used], parts[0], parts[1], self.n_events, crossing)

    def counts(self, weights: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Returns hits and false alarms at each threshold, and 0 above all, (U + 1,) each."""
        n_levels = len(self.values)
        return self.found.totals(n_levels, weights), self.false.totals(n_levels, weights)

    def n_true(self, weights: np.ndarray | None = None) -> float:
        """Returns the number of true entries."""
        return float(self.n_events.sum() if weights is None else self.n_events @ weights)


Curves = Mapping[int, ClassCurve]  # by class, those with true entries


@dataclass(frozen=True)
class CurveScores:
    """F-scores of classes at thresholds; NaN where a class has no true entry.

    Attributes:
        f: (K,), of each class.
        thresholds: (K,), at which it was taken.
        macro_f: mean of `f` over the classes with true entries.
        micro_f: of all hits and false alarms together.
        macro_f_of_hit: mean of `f` over the classes with a hit, as psds_eval computes it: a class
            that is never found is left out, which raises the mean.
    """

    f: np.ndarray
    thresholds: np.ndarray
    macro_f: float
    micro_f: float
    macro_f_of_hit: float


def best_f_scores(curves: Curves, n_classes: int, weights: np.ndarray | None = None) -> CurveScores:
    """Computes F at the best threshold of each class, halfway between two scores.

    Of several best thresholds the highest is taken.

    Args:
        curves: of the classes with true entries.
        n_classes: K.
        weights: (N,), how often each recording counts; None: once.
    """
    found, thresholds = {}, np.full(n_classes, np.nan)
    for k, curve in curves.items():
        counts, n_true = curve.counts(weights), curve.n_true(weights)
        found[k], thresholds[k] = _best_point(curve, *counts, n_true)
    return scores_of_counts(found, thresholds)


def _best_point(
    curve: ClassCurve, hits: np.ndarray, false: np.ndarray, n_true: float
) -> tuple[tuple[float, float, float], float]:
    """Hits, false alarms and true entries at the best threshold of a class, and the threshold."""
    kept = np.append(curve.moved, len(curve.values))
    values = np.append(curve.values, np.inf)[kept]
    f = f_score(hits[kept], false[kept], n_true)
    best = len(f) - 1 - int(np.argmax(f[::-1]))
    below = values[best - 1] if best else 0.0
    threshold = (values[best] + below) / 2 if np.isfinite(values[best]) else 1.0
    return (hits[kept][best], false[kept][best], n_true), threshold


@dataclass(frozen=True)
class FCurves:
    """F-scores against a threshold that all classes share; NaN where a class has no true entry.

    Attributes:
        thresholds: (M,), scores above are detections.
        f: (M, K), of each class.
        best: at the best threshold of each class, of all thresholds, see `best_f_scores`.
    """

    thresholds: np.ndarray
    f: np.ndarray
    best: CurveScores

    @property
    def macro_f(self) -> np.ndarray:
        """Mean over the classes with true entries, (M,); NaN without any."""
        return np.array([nan_mean(row) for row in self.f])


def f_curves(curves: Curves, n_classes: int, thresholds: np.ndarray) -> FCurves:
    """Computes F at some thresholds and at the best of each class; each curve is used once.

    Args:
        curves: of the classes with true entries.
        n_classes: K.
        thresholds: (M,), as of `f_scores_at`.
    """
    f = np.full((len(thresholds), n_classes), np.nan)
    found, best = {}, np.full(n_classes, np.nan)
    for k, curve in curves.items():
        (hits, false), n_true = curve.counts(), curve.n_true()
        found[k], best[k] = _best_point(curve, hits, false, n_true)
        at = np.searchsorted(curve.values, thresholds, side="right")
        f[:, k] = f_score(hits[at], false[at], n_true)
    return FCurves(thresholds, f, scores_of_counts(found, best))


def f_scores_at(
    curves: Curves,
    n_classes: int,
    thresholds: np.ndarray | float,
    weights: np.ndarray | None = None,
) -> CurveScores:
    """Computes F where scores above a threshold are detections.

    Args:
        curves: of the classes with true entries.
        n_classes: K.
        thresholds: one or (K,).
        weights: see `best_f_scores`.
    """
    given = np.broadcast_to(np.asarray(thresholds, np.float64), (n_classes,))
    found, used = {}, np.full(n_classes, np.nan)
    for k, curve in curves.items():
        at = np.searchsorted(curve.values, given[k], side="right")
        hits, false = (each[at] for each in curve.counts(weights))
        found[k], used[k] = (hits, false, curve.n_true(weights)), given[k]
    return scores_of_counts(found, used)


def f_score(hits: np.ndarray, false: np.ndarray, n_true: float) -> np.ndarray:
    """Computes F = 2 P R / (P + R) from counts; P is 1 without any estimate, F 0 without a hit."""
    n_estimated = hits + false
    precision = np.where(n_estimated > 0, hits / np.maximum(n_estimated, 1), 1.0)
    recall = hits / max(n_true, 1.0)
    return 2 * precision * recall / np.maximum(precision + recall, 1e-15)


def scores_of_counts(
    found: Mapping[int, tuple[float, float, float]], thresholds: np.ndarray
) -> CurveScores:
    """Joins hits, false alarms and true entries by class."""
    f, hit = np.full(len(thresholds), np.nan), np.zeros(len(thresholds), bool)
    true = {k: counts for k, counts in found.items() if counts[2] > 0}
    for k, (hits, false, n_true) in true.items():
        f[k], hit[k] = float(f_score(np.array(hits), np.array(false), n_true)), hits > 0
    totals = np.sum(list(true.values()), axis=0) if true else np.zeros(3)
    micro_f = float(f_score(totals[0], totals[1], totals[2])) if totals[2] else float("nan")
    return CurveScores(f, thresholds, nan_mean(f), micro_f, nan_mean(f[hit]))


def compacted(curves: Curves) -> dict[int, ClassCurve]:
    """Returns curves without thresholds at which nothing changes, see `ClassCurve.compact`."""
    return {k: curve.compact() for k, curve in curves.items()}


def _moved(curve: ClassCurve) -> np.ndarray:
    levels, keys, changes = [], [], []
    for number, steps in enumerate((curve.found, curve.false)):
        levels.append(steps.level)
        keys.append(steps.recording * 2 + number)
        changes.append(steps.change)
    level, key, change = (np.concatenate(parts) for parts in (levels, keys, changes))
    moved = np.zeros(len(curve.values), bool)
    repeated = np.bincount(level, minlength=len(moved))[level] > 1
    moved[level[~repeated]] = True  # no other change at this value can take it back
    level, key, change = level[repeated], key[repeated], change[repeated]
    if len(level):
        order = np.lexsort((key, level))
        level, key, change = level[order], key[order], change[order]
        first = np.flatnonzero(np.r_[True, (np.diff(level) != 0) | (np.diff(key) != 0)])
        moved[level[first][np.add.reduceat(change, first) != 0]] = True
    return np.flatnonzero(moved)


@dataclass(frozen=True)
class AreaScores:
    """Areas under the ROC curves; NaN where a class is always or never true.

    Attributes:
        auc: (K,), area under the ROC curve; chance is 0.5.
        pauc: (K,), area up to a rate of false positives, divided by that rate; chance is half of
            the rate, 0.05 for 0.1.
        mean_auc: mean over the classes where it is defined.
        mean_pauc: as well.
    """

    auc: np.ndarray
    pauc: np.ndarray
    mean_auc: float
    mean_pauc: float


def area_scores(
    curves: Curves,
    n_classes: int,
    n_entries: np.ndarray,
    weights: np.ndarray | None = None,
    max_rate: float = MAX_FALSE_RATE,
) -> AreaScores:
    """Computes the areas under the ROC curves, straight between neighbouring thresholds.

    The partial area is not corrected for chance (McClish), as published.

    Args:
        curves: of segments or clips, for which false entries are counted.
        n_classes: K.
        n_entries: (N,), segments of each recording, true or not.
        weights: see `best_f_scores`.
        max_rate: rate of false positives up to which the partial area is taken, in (0, 1].

    Raises:
        ValueError: `max_rate` is out of range.
    """
    if not 0 < max_rate <= 1:
        raise ValueError(f"Expected: a rate of false positives in (0, 1]. Received: {max_rate}.")
    auc, pauc = np.full(n_classes, np.nan), np.full(n_classes, np.nan)
    for k, curve in curves.items():
        n_true = curve.n_true(weights)
        n_false = float(n_entries.sum() if weights is None else n_entries @ weights) - n_true
        if n_true <= 0 or n_false <= 0:
            continue
        hits, false = curve.counts(weights)
        recall, rate = hits[::-1] / n_true, false[::-1] / n_false
        auc[k] = np.trapezoid(recall, rate)
        pauc[k] = _area_up_to(recall, rate, max_rate) / max_rate
    return AreaScores(auc, pauc, nan_mean(auc), nan_mean(pauc))


def mcclish(pauc: np.ndarray, max_rate: float = MAX_FALSE_RATE) -> np.ndarray:
    """Brings partial areas of `area_scores` to a scale on which chance is 0.5 and the best is 1.

    References:
        McClish, "Analyzing a portion of the ROC curve", Med. Decis. Making 9(3), 1989.
    """
    chance = max_rate / 2
    return 0.5 * (1 + (pauc - chance) / (1 - chance))


def _area_up_to(recall: np.ndarray, rate: np.ndarray, limit: float) -> float:
    """Area under a curve of never falling points up to a limit, interpolated there."""
    inside = int(np.searchsorted(rate, limit, side="right"))
    if inside == len(rate):
        return float(np.trapezoid(recall, rate))
    x0, x1, y0, y1 = rate[inside - 1], rate[inside], recall[inside - 1], recall[inside]
    end = y0 + (limit - x0) / (x1 - x0) * (y1 - y0)
    return float(np.trapezoid(np.append(recall[:inside], end), np.append(rate[:inside], limit)))


def entry_curve(
    scores: np.ndarray, targets: np.ndarray, recording: np.ndarray, n: int
) -> ClassCurve:
    """Builds the curve of one class from entries: segments, or whole clips.

    Args:
        scores: (S,), of each entry.
        targets: bool (S,), true where the class is active.
        recording: int (S,), of each entry.
        n: number of recordings, N.
    """
    values, level = np.unique(np.asarray(scores, np.float64), return_inverse=True)
    parts = [
        Steps(level[chosen], recording[chosen], np.ones(int(chosen.sum())))
        for chosen in (targets, ~targets)
    ]
    return ClassCurve(values, parts[0], parts[1], np.bincount(recording[targets], minlength=n))


def collar_curve(
    detections: Detections,
    events: np.ndarray,
    recording: np.ndarray,
    collar_s: float,
    offset_share: float,
) -> ClassCurve:
    """Builds the curve of event-based hits of one class.

    Args:
        detections: of the class.
        events: its true events, (G, 2) = onset_s, offset_s.
        recording: int (G,), never falling.
        collar_s: see `common.metrics.event_based.count_events`.
        offset_share: as well.
    """
    n = detections.frames.n_recordings
    first, last = np.searchsorted(recording, [np.arange(n), np.arange(1, n + 1)])
    first, last = first[detections.recording], last[detections.recording]
    own = np.flatnonzero(last > first)
    index, event = spread(first[own], last[own])
    detection = own[index]
    onset_s, offset_s = events[event, 0], events[event, 1]
    near = np.round(np.abs(detections.onset_s[detection] - onset_s) - collar_s, DECIMALS) <= 0
    detection, event = detection[near], event[near]
    onset_s, offset_s = onset_s[near], offset_s[near]
    allowed_s = np.maximum(collar_s, offset_share * (offset_s - onset_s))
    ends_s = np.abs(detections.offset_s[detection] - offset_s) - allowed_s
    near = np.round(ends_s, DECIMALS) <= 0
    found = _matched_steps(detections, detection[near], event[near])
    false = detections.all_steps.minus(found)
    n_events = np.bincount(recording, minlength=n)
    return ClassCurve(detections.values, found, false, n_events)


def _matched_steps(detections: Detections, detection: np.ndarray, event: np.ndarray) -> Steps:
    """Changes of the number of hits, of pairs that agree; each is used once at any threshold."""
    level, until = detections.level[detection], detections.until[detection]
    order = np.lexsort((-level, event))
    same = event[order][1:] == event[order][:-1]
    together = np.flatnonzero(same & (level[order][1:] > until[order][:-1]))
    several = np.bincount(detection, minlength=len(detections.peak))[detection] > 1
    several[order[together]] = True
    unclear = np.isin(detections.recording[detection], detections.recording[detection[several]])
    plain = detections.steps(detection[~unclear])
    parts = [plain]
    recording = detections.recording[detection]
    for number in np.unique(recording[unclear]):
        chosen = recording == number
        rows = np.stack([event, detection, level, until], axis=1)[chosen]
        parts.append(_matching_steps(rows, int(number)))
    columns = zip(*((each.level, each.recording, each.change) for each in parts), strict=True)
    return Steps(*(np.concatenate(column) for column in columns))


def _matching_steps(rows: np.ndarray, recording: int) -> Steps:
    """Changes of the size of a maximum matching of one recording.

    Args:
        rows: int (n, 4) = event, detection, level and until of a pair that agrees.
        recording: its number.
    """
    levels = np.unique(rows[:, 2:])
    levels = levels[levels >= 0]
    sizes = [
        len(maximum_matching(rows[(rows[:, 2] >= level) & (rows[:, 3] < level), :2]))
        for level in levels
    ]
    change = np.array(sizes) - np.append(sizes[1:], 0)
    moved = change != 0
    return Steps(
        levels[moved], np.full(int(moved.sum()), recording), change[moved].astype(np.float64)
    )

"""PSDS and best F by tables of all thresholds, one for each clip and class.

Written from the description in arXiv:2201.13148: for each clip and class, the detections at all
scores that occur in it are compared with the events at once; the changes of the counts are joined
over the clips, and once more for each resample.
"""

from collections.abc import Sequence

import numpy as np

from common.events.postprocess import regions
from common.metrics.event_based import maximum_matching
from common.metrics.psds import PSDS1, PSDS2, PsdsScenario, psds_of_points

Changes = tuple[np.ndarray, np.ndarray]  # scores (n,), changes of the counts there (n, columns)
DECIMALS = 6
COLLAR_S = OFFSET_SHARE = 0.2


def all_changes(
    clips: Sequence[np.ndarray], scores: Sequence[np.ndarray], hop_s: float, clip_s: float
) -> list[list[list[Changes]]]:
    """Changes for PSDS 1, PSDS 2 and F, by class and clip, of events (n, 3) and scores (T, K)."""
    n_classes = scores[0].shape[1]
    every: list[list[list[Changes]]] = [[[] for _ in range(n_classes)] for _ in range(3)]
    for rows, frames in zip(clips, scores, strict=True):
        for k in range(n_classes):
            values, table = _table(frames[:, k].astype(np.float64), hop_s, clip_s)
            for kind, scenario in enumerate((PSDS1, PSDS2)):
                counts = _intersections(values, table, rows, k, n_classes, scenario)
                every[kind][k].append(_changes(values, counts))
            own = rows[rows[:, 0] == k, 1:]
            every[2][k].append(_changes(values, _collar(values, table, own)))
    return every


def _table(curve: np.ndarray, hop_s: float, clip_s: float) -> tuple[np.ndarray, np.ndarray]:
    """Occurring scores, and detections at all of them (R, 3) = number of the score, times."""
    values = np.unique(curve)
    found = regions((curve >= values[:, None]).T)
    times_s = np.minimum(np.arange(len(curve) + 1) * hop_s, clip_s)
    return values, np.column_stack([found[:, 0], times_s[found[:, 1:]]])


def _shared(table: np.ndarray, events: np.ndarray) -> np.ndarray:
    """Seconds that detections share with events, (R, G)."""
    ends = np.minimum(table[:, 2:3], events[:, 1])
    return np.maximum(ends - np.maximum(table[:, 1:2], events[:, 0]), 0.0)


def _reached(seconds: np.ndarray, limit_s: np.ndarray) -> np.ndarray:
    return np.round(seconds, DECIMALS) >= np.round(limit_s, DECIMALS)


def _intersections(
    values: np.ndarray,
    table: np.ndarray,
    rows: np.ndarray,
    k: int,
    n_classes: int,
    scenario: PsdsScenario,
) -> np.ndarray:
    """Events found, false detections and cross triggers at each score, (U, columns)."""
    number, lengths_s = table[:, 0].astype(int), table[:, 2] - table[:, 1]
    own = rows[rows[:, 0] == k, 1:]
    shared = _shared(table, own)
    accepted = _reached(shared.sum(axis=1), scenario.dtc * lengths_s)
    covered = np.zeros((len(values), len(own)))
    np.add.at(covered, number[accepted], shared[accepted])
    columns = [_reached(covered, scenario.gtc * (own[:, 1] - own[:, 0])).sum(axis=1)]
    columns.append(np.bincount(number[~accepted], minlength=len(values)))
    if scenario.cttc is not None:
        for other in (each for each in range(n_classes) if each != k):
            events = rows[rows[:, 0] == other, 1:]
            on_other = _shared(table, events).sum(axis=1)
            crossing = ~accepted & _reached(on_other, scenario.cttc * lengths_s) & (len(events) > 0)
            columns.append(np.bincount(number[crossing], minlength=len(values)))
    return np.stack(columns, axis=1)


def _collar(values: np.ndarray, table: np.ndarray, events: np.ndarray) -> np.ndarray:
    """Hits within the collar and false detections at each score, (U, 2)."""
    number = table[:, 0].astype(int)
    allowed_s = np.maximum(COLLAR_S, OFFSET_SHARE * (events[:, 1] - events[:, 0]))
    near = np.round(np.abs(table[:, 1:2] - events[:, 0]) - COLLAR_S, DECIMALS) <= 0
    near &= np.round(np.abs(table[:, 2:3] - events[:, 1]) - allowed_s, DECIMALS) <= 0
    per_event = np.zeros((len(values), len(events)), np.int64)
    np.add.at(per_event, number, near)
    several = np.zeros(len(values), bool)
    several[number[near.sum(axis=1) > 1]] = True
    several |= (per_event > 1).any(axis=1)
    found = per_event.sum(axis=1)
    for each in np.flatnonzero(several):
        pairs = np.argwhere(near & (number == each)[:, None])
        found[each] = len(maximum_matching(pairs[:, ::-1]))
    return np.stack([found, np.bincount(number, minlength=len(values)) - found], axis=1)


def _changes(values: np.ndarray, counts: np.ndarray) -> Changes:
    changes = counts - np.concatenate([counts[1:], np.zeros_like(counts[:1])])
    moved = np.abs(changes).sum(axis=1) > 0
    return values[moved], changes[moved]


def scores_of_changes(
    every: list[list[list[Changes]]],
    clips: Sequence[np.ndarray],
    clip_s: float,
    chosen: Sequence[int],
) -> tuple[float, float, float]:
    """PSDS 1, PSDS 2 and the mean of the best F, of chosen clips, which may occur repeatedly."""
    n_classes = len(every[0])
    rows = np.concatenate([clips[number] for number in chosen])
    counts = np.bincount(rows[:, 0].astype(int), minlength=n_classes)
    seconds = np.bincount(rows[:, 0].astype(int), rows[:, 2] - rows[:, 1], minlength=n_classes)
    present = np.flatnonzero(counts)
    results = []
    for kind, scenario in enumerate((PSDS1, PSDS2)):
        points = {}
        for k in present.tolist():
            totals = _totals([every[kind][k][number] for number in chosen])
            rate = totals[:, 1] / (clip_s * len(chosen))
            if scenario.cttc is not None:
                others = [each for each in range(n_classes) if each != k]
                known = [column for column, each in enumerate(others) if counts[each]]
                of_others = totals[:, 2:][:, known] / seconds[[others[each] for each in known]]
                rate = rate + scenario.alpha_ct * of_others.mean(axis=1)
            points[k] = totals[:, 0] / counts[k], 3600 * rate
        results.append(psds_of_points(points, n_classes, scenario).psds)
    best = []
    for k in present.tolist():
        totals = _totals([every[2][k][number] for number in chosen])
        best.append((2 * totals[:, 0] / (totals.sum(axis=1) + counts[k])).max())
    return results[0], results[1], float(np.mean(best))


def _totals(parts: Sequence[Changes]) -> np.ndarray:
    """Counts of a set at all scores of its clips, and above all, (U + 1, columns)."""
    values, inverse = np.unique(np.concatenate([part[0] for part in parts]), return_inverse=True)
    changes = np.concatenate([part[1] for part in parts])
    sums = np.zeros((len(values) + 1, changes.shape[1]))
    np.add.at(sums, inverse, changes)
    return np.cumsum(sums[::-1], axis=0)[::-1]

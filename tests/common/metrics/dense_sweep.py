"""Counts at every threshold by tables of all thresholds: slow, and independent of the sweep."""

import numpy as np

from common.events.postprocess import regions
from common.events.table import EventTable
from common.metrics.event_based import maximum_matching
from common.metrics.psds import PsdsScenario

DECIMALS = 6


def detections_at(
    curve: np.ndarray, edges_s: np.ndarray, value: float
) -> list[tuple[float, float]]:
    """Stretches of scores of at least a value, as times."""
    found = regions(curve[:, None] >= value)[:, 1:]
    times = [(edges_s[first], edges_s[last]) for first, last in found]
    return [(onset, offset) for onset, offset in times if onset < offset]


def shared_s(stretch: tuple[float, float], events: np.ndarray) -> float:
    """Seconds that a stretch shares with events (n, 2)."""
    return sum(max(0.0, min(stretch[1], b) - max(stretch[0], a)) for a, b in events)


def reached(seconds: float, limit: float) -> bool:
    """Comparison to a microsecond."""
    return round(seconds, DECIMALS) >= round(limit, DECIMALS)


def intersection_counts_at(
    stretches: list[tuple[float, float]], rows: np.ndarray, k: int, scenario: PsdsScenario
) -> tuple[int, int, dict[int, int]]:
    """Events found, false detections, and cross triggers by class, of one recording."""
    own = rows[rows[:, 0] == k, 1:]
    accepted, false = [], []
    for each in stretches:
        fits = reached(shared_s(each, own), scenario.dtc * (each[1] - each[0]))
        (accepted if fits else false).append(each)
    found = 0
    for event in own:
        covered = sum(shared_s(each, event[None]) for each in accepted)
        found += reached(covered, scenario.gtc * (event[1] - event[0]))
    crossing = {}
    for other in set(rows[:, 0].astype(int)) - {k}:
        events = rows[rows[:, 0] == other, 1:]
        limit = scenario.cttc or 2.0
        crossing[other] = sum(
            reached(shared_s(each, events), limit * (each[1] - each[0])) for each in false
        )
    return found, len(false), crossing


def collar_counts_at(
    stretches: list[tuple[float, float]], events: np.ndarray, collar_s: float, share: float
) -> tuple[int, int]:
    """Event-based hits and false detections of one recording."""
    pairs = [
        (number, index)
        for index, (onset, offset) in enumerate(stretches)
        for number, (begin, end) in enumerate(events)
        if round(abs(onset - begin) - collar_s, DECIMALS) <= 0
        and round(abs(offset - end) - max(collar_s, share * (end - begin)), DECIMALS) <= 0
    ]
    hits = len(maximum_matching(np.array(pairs, np.int64).reshape(-1, 2)))
    return hits, len(stretches) - hits


def random_set(
    seed: int, n_clips: int = 10, n_classes: int = 4, decimals: int = 2
) -> tuple[EventTable, list[np.ndarray], list[np.ndarray]]:
    """Events, scores and edges of frames: uneven frames, clips without events or frames."""
    rng = np.random.default_rng(seed)
    clips, scores, edges = [], [], []
    for number in range(n_clips):
        n_frames = 0 if number == 1 else int(rng.integers(5, 40))
        steps = rng.choice([0.1, 0.25, 0.064], n_frames)
        edge = np.round(np.concatenate([[0.0], np.cumsum(steps)]), 4)
        values = rng.integers(-40, -10, (n_frames, n_classes)) / 10
        rows = []
        for _ in range(0 if number == 2 else rng.integers(0, 5)):
            k, onset = int(rng.integers(n_classes - 1)), rng.integers(0, 30) / 10
            offset = onset + rng.integers(1, 15) / 10
            rows.append((k, onset, offset))
            inside = (edge[:-1] >= onset) & (edge[1:] <= offset + 0.1)
            values[inside, k] += rng.integers(5, 60) / 10
            values[inside, rng.integers(n_classes)] += rng.integers(0, 40) / 10
        clips.append(np.array(rows, float).reshape(-1, 3))
        scores.append(np.round(1 / (1 + np.exp(-values)), decimals))
        edges.append(edge)
    return EventTable.from_recordings(clips, n_classes), scores, edges

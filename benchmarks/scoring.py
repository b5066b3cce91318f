"""Scores of a SELD test set: ours and the official frame-by-frame routes.

python -m benchmarks.scoring [--quick]
"""

import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.baselines.scores import by_classification, by_regression
from benchmarks.cores import core_s
from benchmarks.measure import Figure, Goal, Timing, in_turns, run_alone
from seld.dataset import Events
from seld.labels import INACTIVE_AZIMUTH_DEG, INACTIVE_ELEVATION_DEG
from seld.metrics.dcase2019 import DEFINITIONS, SeldScorer, SeldScores, reference_for

TITLE = "Scoring: 60-second recordings with two events at a time, in 3000 frames each, on one core"
N_FRAMES = 3000
N_CLASSES = 11


def scene(rng: np.random.Generator) -> Events:
    """Two layers of events with gaps of a second, on the real dataset's grid of directions."""
    onsets, offsets = [], []
    for _ in range(2):
        durations = rng.uniform(0.3, 3.0, 20)
        ends = np.cumsum(durations + rng.uniform(0.5, 1.5, 20))
        onsets.append(ends - durations)
        offsets.append(ends)
    onset_s, offset_s = np.concatenate(onsets), np.concatenate(offsets)
    keep = onset_s < 60.0
    n = int(keep.sum())
    azimuth_deg, elevation_deg = rng.integers(-18, 18, n) * 10.0, rng.integers(-4, 5, n) * 10.0
    columns = [
        rng.integers(0, N_CLASSES, n),
        onset_s[keep],
        offset_s[keep],
        azimuth_deg,
        elevation_deg,
        np.ones(n),
    ]
    return Events.from_array(np.stack(columns, axis=1))


def estimate_of(reference: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rows of a mediocre system: a sixth missed, a tenth confused, 20 degrees of error."""
    rows = reference[rng.random(len(reference)) > 1 / 6].copy()  # (m, 4)
    confused = rng.random(len(rows)) < 0.1
    rows[confused, 1] = rng.integers(0, N_CLASSES, confused.sum())
    rows[:, 2:] += rng.normal(0.0, 20.0, (len(rows), 2))
    return rows


def score(definition: str, pairs: list[tuple[np.ndarray, np.ndarray]]) -> SeldScores:
    """Scores all recordings, each of them given as rows of the reference and of the estimate."""
    scorer = SeldScorer(definition, N_CLASSES)
    for reference, estimate in pairs:
        scorer.update(reference, estimate, N_FRAMES)
    return scorer.result()


def score_regression(recordings: list[tuple[np.ndarray, ...]]) -> SeldScores:
    """Scores all recordings by the official definition, four arrays each, see `by_regression`."""
    scorer = SeldScorer("dcase2019", N_CLASSES)
    for recording in recordings:
        scorer.update_regression(*recording)
    return scorer.result()


def regression_arrays(pair: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, ...]:
    """Activity (T, K) and directions in radians (T, 2K) of the reference, then of the estimate."""
    arrays: list[np.ndarray] = []
    for rows in pair:
        activity = np.zeros((N_FRAMES, N_CLASSES), np.uint8)
        azimuth_deg = np.full((N_FRAMES, N_CLASSES), float(INACTIVE_AZIMUTH_DEG))
        elevation_deg = np.full((N_FRAMES, N_CLASSES), float(INACTIVE_ELEVATION_DEG))
        frame, k = rows[:, :2].astype(np.int64).T
        activity[frame, k], azimuth_deg[frame, k], elevation_deg[frame, k] = 1, *rows[:, 2:].T
        arrays += [activity, np.hstack([azimuth_deg, elevation_deg]) * np.pi / 180.0]
    return tuple(arrays)


def check_equal(route: str, ours: SeldScores, official: dict[str, float]) -> None:
    """Raises ArithmeticError if the scores differ."""
    apart = max(abs(getattr(ours, name) - value) for name, value in official.items())
    if not apart <= 1e-9:
        raise ArithmeticError(
            f"{route}: our scores and the official ones are {apart:.3g} apart. Expected: 1e-9."
        )


def of_several(work: Callable[[], object]) -> float:
    """Seconds on one core, median of five, since single short runs vary."""
    return statistics.median(core_s(work) for _ in range(5))


def measure(quick: bool, folder: Path) -> list[Figure | Goal]:
    """Measures both routes in turns, and checks that they agree; `folder` is not needed."""
    recordings, repeats = (2, 1) if quick else (100, 2)
    rng = np.random.default_rng(0)
    scenes = [scene(rng) for _ in range(recordings)]
    pairs = {}
    for definition in DEFINITIONS:
        references = [reference_for(definition, events, N_FRAMES) for events in scenes]
        pairs[definition] = [(reference, estimate_of(reference, rng)) for reference in references]
    arrays = [regression_arrays(pair) for pair in pairs["dcase2019"]]
    works: dict[str, partial] = {
        "regression": partial(score_regression, arrays),
        "regression, official": partial(by_regression, arrays),
        "classification": partial(score, "dcase2019", pairs["dcase2019"]),
        "classification, official": partial(
            by_classification, pairs["dcase2019"], N_FRAMES, N_CLASSES
        ),
        "corrected": partial(score, "corrected", pairs["corrected"]),
    }
    for route in ("regression", "classification"):
        few = partial(works[route].func, *works[route].args[:-1], works[route].args[-1][:5])
        check_equal(
            route,
            few(),
            works[f"{route}, official"].func(few.args[-1], *works[f"{route}, official"].args[1:]),
        )
    takers = {name: core_s if name.endswith("official") else of_several for name in works}
    timings = in_turns({name: partial(takers[name], work) for name, work in works.items()}, repeats)
    return [
        *(
            _goal(route, aim, recordings, timings)
            for route, aim in (("regression", 80.0), ("classification", 100.0))
        ),
        Figure(
            f"{recordings} recordings, corrected",
            timings["corrected"].median,
            "s",
            "below 1 s for 100 recordings",
        ),
    ]


def _goal(route: str, aim: float, recordings: int, timings: dict[str, Timing]) -> Goal:
    ours, official = timings[route], timings[f"{route}, official"]
    return Goal(
        f"SELD scores of {recordings} recordings of 3000 frames, {route}, one core, equal to 1e-9",
        official.median / ours.median,
        aim,
        "times faster",
        at_least=True,
        details=f"ours {ours.text()}, official route {official.text()}",
    )


if __name__ == "__main__":
    run_alone(TITLE, measure)

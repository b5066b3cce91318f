"""Scores of 2022 and 2024 of a SELD test set and their intervals: ours and frame-by-frame routes.

python -m benchmarks.location_scores [--quick]
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.baselines.location_scores import Pair, by_blocks, by_frames, partial_scores
from benchmarks.cores import core_s
from benchmarks.measure import Figure, Goal, Timing, in_turns, run_alone
from benchmarks.scoring import of_several
from seld.metrics.jackknife import jackknife, score_intervals
from seld.metrics.location_aware import LocationScorer
from seld.recordings.csv_formats import format_rows, parse_rows
from seld.recordings.rows import AZIMUTH, CLASS, DISTANCE, ELEVATION, FRAME, make_rows

TITLE = (
    "Location-aware scores: 60-second recordings with two sources at a time, in 600 frames each, on"
    " one core"
)
N_FRAMES, N_CLASSES = 600, 13
ROUTES: dict[str, Callable[[Sequence[Pair], int], np.ndarray]] = {
    "dcase2022": by_blocks,
    "dcase2024": by_frames,
}


def scene(rng: np.random.Generator) -> np.ndarray:
    """Rows of two layers of moving sources with gaps."""
    parts = []
    for source in range(2):
        frame = 0
        while frame < N_FRAMES:
            n = int(rng.integers(10, 80))
            frames = np.arange(frame, min(frame + n, N_FRAMES))
            azimuth_deg = rng.integers(-180, 180) + np.arange(len(frames)) * rng.integers(-2, 3)
            part = make_rows(
                frames,
                np.full(len(frames), rng.integers(0, N_CLASSES)),
                (azimuth_deg + 180) % 360 - 180,
                float(rng.integers(-40, 40)),
                source=source,
                distance_m=rng.integers(100, 400) / 100,
            )
            parts.append(part)
            frame += n + int(rng.integers(0, 6))
    rows = np.concatenate(parts)
    return rows[np.argsort(rows[:, FRAME], kind="stable")]


def estimate_of(reference: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rows of a mediocre system: some missed, doubled or confused, 12 degrees of error."""
    rows = np.repeat(reference, rng.choice([0, 1, 2], len(reference), p=[0.15, 0.8, 0.05]), axis=0)
    rows[:, AZIMUTH] += rng.normal(0.0, 12.0, len(rows))
    rows[:, ELEVATION] += rng.normal(0.0, 6.0, len(rows))
    rows[:, DISTANCE] *= rng.uniform(0.5, 2.2, len(rows))
    confused = rng.random(len(rows)) < 0.1
    rows[confused, CLASS] = rng.integers(0, N_CLASSES, confused.sum())
    return rows


def scorer_of(name: str, pairs: Sequence[Pair]) -> LocationScorer:
    """Our scorer after all recordings."""
    scorer = LocationScorer(name, N_CLASSES)
    for pair in pairs:
        scorer.update(*pair)
    return scorer


def ours(name: str, pairs: Sequence[Pair]) -> np.ndarray:
    """Our scores of all recordings."""
    return scorer_of(name, pairs).result().values()


def our_intervals(name: str, pairs: Sequence[Pair]) -> np.ndarray:
    """Our scores and intervals of all recordings, (scores, 2)."""
    return score_intervals(scorer_of(name, pairs)).values()


def check_equal(name: str, pairs: Sequence[Pair]) -> None:
    """Raises ArithmeticError if scores or intervals of a few recordings differ."""
    plain = ROUTES[name](pairs, N_CLASSES)
    expected = jackknife(plain, partial_scores(ROUTES[name], pairs, N_CLASSES)).interval
    for found, wanted in ((ours(name, pairs), plain), (our_intervals(name, pairs), expected)):
        if not np.allclose(found, wanted, rtol=1e-9, atol=1e-9):
            apart = np.abs(found - wanted).max()
            raise ArithmeticError(
                f"{name}: our scores and those of the plain loops are {apart:.3g} apart. Expected:"
                " 1e-9."
            )


def measure(quick: bool, folder: Path) -> list[Figure | Goal]:
    """Measures all routes in turns, and checks that they agree; `folder` is not needed."""
    recordings, repeats = (2, 1) if quick else (100, 2)
    rng = np.random.default_rng(0)
    references = [scene(rng) for _ in range(recordings)]
    pairs = [(reference, estimate_of(reference, rng)) for reference in references]
    works: dict[str, Callable[[], object]] = {}
    for name, plain in ROUTES.items():
        check_equal(name, pairs[:3])
        works[name] = partial(ours, name, pairs)
        works[f"{name}, plain"] = partial(plain, pairs, N_CLASSES)
        works[f"{name}, intervals"] = partial(our_intervals, name, pairs)
        works[f"{name}, one left out"] = partial(plain, pairs[1:], N_CLASSES)
    plain_ends = ("plain", "one left out")
    takers = {name: core_s if name.endswith(plain_ends) else of_several for name in works}
    timings = in_turns({name: partial(takers[name], work) for name, work in works.items()}, repeats)
    goals = [goal for name in ROUTES for goal in _goals(name, recordings, timings)]
    text = format_rows(pairs[0][1], "submission2024")
    reading_s = of_several(partial(parse_rows, text, "submission2024", N_CLASSES))
    label = f"reading one submission of 2024, {len(pairs[0][1])} rows"
    return [*goals, Figure(label, 1e3 * reading_s, "ms", "below 10 ms")]


def _goals(name: str, recordings: int, timings: dict[str, Timing]) -> list[Goal]:
    mine, plain = timings[name], timings[f"{name}, plain"]
    intervals, round_s = timings[f"{name}, intervals"], timings[f"{name}, one left out"]
    return [
        Goal(
            f"{name} scores of {recordings} recordings of 600 frames, one core, equal to 1e-9",
            plain.median / mine.median,
            20.0,
            "times faster",
            at_least=True,
            details=f"ours {mine.text('ms', 1e3)}, plain loops {plain.text()}",
        ),
        Goal(
            f"{name} scores and jackknife intervals of {recordings} recordings, one core",
            (plain.median + recordings * round_s.median) / intervals.median,
            200.0,
            "times faster",
            at_least=True,
            details=(
                f"ours {intervals.text('ms', 1e3)}, plain loops once and {recordings} rounds of"
                f" {round_s.text()} without one recording, one of which is measured"
            ),
        ),
    ]


if __name__ == "__main__":
    run_alone(TITLE, measure)

"""How long the scores of a test set take, by both definitions.

python -m benchmarks.scoring [--quick]
"""

from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.measure import Figure, median_wall_s, run_alone
from seld.dataset import Events
from seld.metrics import DEFINITIONS, SeldScorer, reference_for

TITLE = "Scoring: 60-second recordings with two events at a time, in 3000 frames each"
N_FRAMES = 3000
N_CLASSES = 11


def scene(rng: np.random.Generator) -> Events:
    """Two layers of events with gaps of a second, on the grid of directions, as in the real dataset."""
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
    columns = [rng.integers(0, N_CLASSES, n), onset_s[keep], offset_s[keep], azimuth_deg, elevation_deg, np.ones(n)]
    return Events.from_array(np.stack(columns, axis=1))


def estimate_of(reference: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rows of a middling system: one in six is missed, one in ten has another class, directions are 20 degrees off."""
    rows = reference[rng.random(len(reference)) > 1 / 6].copy()  # (m, 4)
    confused = rng.random(len(rows)) < 0.1
    rows[confused, 1] = rng.integers(0, N_CLASSES, confused.sum())
    rows[:, 2:] += rng.normal(0.0, 20.0, (len(rows), 2))
    return rows


def score(definition: str, pairs: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """Scores all recordings, each of them given as rows of the reference and of the estimate."""
    scorer = SeldScorer(definition, N_CLASSES)
    for reference, estimate in pairs:
        scorer.update(reference, estimate, N_FRAMES)
    scorer.result()


def measure(quick: bool, folder: Path) -> list[Figure]:
    """Measures seconds per definition; `folder` is not needed."""
    recordings, repeats = (5, 1) if quick else (100, 5)
    rng = np.random.default_rng(0)
    scenes = [scene(rng) for _ in range(recordings)]
    figures = []
    for definition in DEFINITIONS:
        references = [reference_for(definition, events, N_FRAMES) for events in scenes]
        pairs = [(reference, estimate_of(reference, rng)) for reference in references]
        seconds = median_wall_s(partial(score, definition, pairs), repeats)
        figures.append(Figure(f"{recordings} recordings, {definition}", seconds, "s", "below 1 s for 100 recordings"))
    return figures


if __name__ == "__main__":
    run_alone(TITLE, measure)

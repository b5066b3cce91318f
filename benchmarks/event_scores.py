"""Event- and segment-based scores of a test set of DCASE task 4: ours beside sed_eval's.

python -m benchmarks.event_scores [--quick]
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.measure import Figure, median_wall_s, run_alone
from common.events import EventTable
from common.metrics.event_based import event_based_scores
from common.metrics.sed_eval_scores import event_based_by_sed_eval, segment_based_by_sed_eval
from common.metrics.segment_based import segment_based_scores

TITLE = "Scores of events: clips of 10 seconds with 3.6 events on average, the size of the validation set of 2019"
LABELS = [f"class {number}" for number in range(10)]


def random_clips(n_clips: int, seed: int) -> list[np.ndarray]:
    """Events (n, 3) = class_index, onset_s, offset_s of clips; a few have none."""
    rng = np.random.default_rng(seed)
    clips = []
    for count in rng.poisson(3.6, n_clips):
        onset_s = rng.uniform(0.0, 9.0, count)
        offset_s = np.minimum(onset_s + rng.lognormal(0.0, 1.0, count), 10.0)
        clips.append(np.column_stack([rng.integers(0, len(LABELS), count), onset_s, offset_s]))
    return clips


def distorted(clips: list[np.ndarray], seed: int) -> list[np.ndarray]:
    """What a middling system would say: times off by a little, events missed and confused."""
    rng = np.random.default_rng(seed)
    estimates = []
    for clip in clips:
        kept = clip[rng.random(len(clip)) > 0.2].copy()
        kept[:, 1] = np.maximum(kept[:, 1] + rng.normal(0.0, 0.15, len(kept)), 0.0)
        kept[:, 2] = np.maximum(kept[:, 2] + rng.normal(0.0, 0.3, len(kept)), kept[:, 1] + 0.1)
        confused = rng.random(len(kept)) < 0.15
        kept[confused, 0] = rng.integers(0, len(LABELS), confused.sum())
        estimates.append(kept)
    return estimates


def measure(quick: bool, folder: Path) -> list[Figure]:
    """Measures both, checks that they agree, and gives the ratio; `folder` is not needed."""
    n_clips, repeats = (20, 1) if quick else (1168, 5)
    clips = random_clips(n_clips, 0)
    tables = [EventTable.from_recordings(each, len(LABELS)) for each in (clips, distorted(clips, 1))]
    pairs: dict[str, tuple[Callable, Callable, dict[str, float]]] = {
        "event-based": (event_based_scores, event_based_by_sed_eval, {}),
        "segments of 1 s": (segment_based_scores, segment_based_by_sed_eval, {"segment_s": 1.0}),
        "segments of 0.2 s": (segment_based_scores, segment_based_by_sed_eval, {"segment_s": 0.2}),
    }
    figures = []
    for name, (ours, theirs, options) in pairs.items():
        expected, received = theirs(*tables, LABELS, **options), ours(*tables, **options).main()
        apart = max(abs(expected[key] - received[key]) for key in expected)
        if not apart <= 1e-9:
            raise ArithmeticError(f"{name}: ours and sed_eval's scores are {apart:.3g} apart. Expected: at most 1e-9.")
        seconds = median_wall_s(partial(ours, *tables, **options), repeats)
        seconds_theirs = median_wall_s(partial(theirs, *tables, LABELS, **options), min(repeats, 2))
        figures += [
            Figure(f"{name}, {n_clips} clips", seconds, "s"),
            Figure(f"{name}, sed_eval", seconds_theirs, "s"),
            Figure(f"{name}, times faster", seconds_theirs / seconds, "", "10 at least, equal to 1e-9"),
        ]
    return figures


if __name__ == "__main__":
    run_alone(TITLE, measure)

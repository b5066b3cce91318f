"""Event- and segment-based scores of a task 4 test set: ours and sed_eval, with and without pandas.

python -m benchmarks.event_scores [--quick]
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.baselines.scores import events_by_pandas
from benchmarks.cores import core_s
from benchmarks.measure import Figure, Goal, Timing, in_turns, run_alone
from common.events.table import EventTable
from common.metrics.event_based import event_based_scores
from common.metrics.sed_eval_scores import event_based_by_sed_eval, segment_based_by_sed_eval
from common.metrics.segment_based import segment_based_scores

TITLE = (
    "Scores of events: clips of 10 seconds with 3.6 events on average, the size of the validation"
    " set of 2019"
)
SEGMENTS_S = (1.0, 0.2)  # of DCASE 2018 and of the published CNNs
ROUTES = {"sed_eval": "sed_eval", "pandas": "sed_eval fed from tables of pandas"}
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
    """Predictions of a mediocre system: small errors of time, missed and confused events."""
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


def data_frame(clips: list[np.ndarray]) -> pd.DataFrame:
    """The same events as a table of pandas; a clip without events is one row without a label."""
    rows: list[dict[str, object]] = []
    for number, clip in enumerate(clips):
        name = f"clip{number}.wav"
        rows += [
            {"filename": name, "event_label": LABELS[int(k)], "onset": onset, "offset": offset}
            for k, onset, offset in clip.tolist()
        ] or [{"filename": name, "event_label": None, "onset": None, "offset": None}]
    return pd.DataFrame(rows)


def by_ours(
    reference: EventTable, estimate: EventTable, segment_s: float
) -> dict[str, dict[str, float]]:
    """Both kinds of scores: f, er, macro_f and macro_er."""
    return {
        "event": event_based_scores(reference, estimate).main(),
        "segment": segment_based_scores(reference, estimate, segment_s).main(),
    }


def by_sed_eval(
    reference: EventTable, estimate: EventTable, segment_s: float
) -> dict[str, dict[str, float]]:
    """The same scores by sed_eval, from lists of events."""
    return {
        "event": event_based_by_sed_eval(reference, estimate, LABELS),
        "segment": segment_based_by_sed_eval(reference, estimate, LABELS, segment_s),
    }


def check_equal(
    ours: dict[str, dict[str, float]], other: dict[str, dict[str, float]], route: str
) -> None:
    """Raises ArithmeticError if the scores of two routes differ."""
    apart = max(
        abs(ours[kind][key] - value)
        for kind, scores in other.items()
        for key, value in scores.items()
    )
    if not apart <= 1e-9:
        raise ArithmeticError(
            f"Our scores and those of {route} are {apart:.3g} apart. Expected: at most 1e-9."
        )


def measure(quick: bool, folder: Path) -> list[Figure | Goal]:
    """Measures all routes in turns, and checks that they agree; `folder` is not needed."""
    n_clips, repeats = (20, 1) if quick else (1168, 3)
    clips = random_clips(n_clips, 0)
    estimates = distorted(clips, 1)
    reference, estimate = (
        EventTable.from_recordings(each, len(LABELS)) for each in (clips, estimates)
    )
    true_frame, estimated_frame = data_frame(clips), data_frame(estimates)
    works: dict[str, Callable] = {}
    for segment_s in SEGMENTS_S:
        works[f"ours, {segment_s}"] = partial(by_ours, reference, estimate, segment_s)
        works[f"sed_eval, {segment_s}"] = partial(by_sed_eval, reference, estimate, segment_s)
        works[f"pandas, {segment_s}"] = partial(
            events_by_pandas, true_frame, estimated_frame, LABELS, segment_s
        )
        for route in ("sed_eval", "pandas"):
            check_equal(works[f"ours, {segment_s}"](), works[f"{route}, {segment_s}"](), route)
    timings = in_turns({name: partial(core_s, work) for name, work in works.items()}, repeats)
    return [
        _goal(timings, route, segment_s, n_clips) for segment_s in SEGMENTS_S for route in ROUTES
    ]


def _goal(timings: dict[str, Timing], route: str, segment_s: float, n_clips: int) -> Goal:
    ours, other = timings[f"ours, {segment_s}"], timings[f"{route}, {segment_s}"]
    return Goal(
        f"event-based and segment-based ({segment_s:g} s) scores of {n_clips} clips against"
        f" {ROUTES[route]}, equal to 1e-9",
        other.median / ours.median,
        10.0,
        "times faster",
        at_least=True,
        details=f"ours {ours.text('ms', 1e3)}, theirs {other.text()}",
    )


if __name__ == "__main__":
    run_alone(TITLE, measure)

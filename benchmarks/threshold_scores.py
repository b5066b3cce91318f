"""Scores over all thresholds: PSDS 1, PSDS 2 and best F of a test set, and of its resamples.

python -m benchmarks.threshold_scores [--quick]
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.baselines.threshold_scores import all_changes, scores_of_changes
from benchmarks.cores import core_s
from benchmarks.event_scores import LABELS, random_clips
from benchmarks.measure import Figure, Goal, in_turns, run_alone
from common.events.table import EventTable
from common.metrics.bootstrap import draw_weights
from common.metrics.psds import PSDS1, PSDS2, ThresholdSweep, sweep_scores
from common.metrics.threshold_curves import best_f_scores, compacted

TITLE = (
    "Scores over all thresholds: PSDS 1, PSDS 2 and best F of clips of 10 seconds with 156 frames"
    " and 10 classes, the size of the validation set of 2019, on one core"
)
N_FRAMES, HOP_S, CLIP_S = 156, 0.064, 10.0
N_RESAMPLES = 100
PACKAGES_S = 7.8  # CPU seconds of sed_scores_eval 0.0.4 for the same size


def separated(n_clips: int) -> list[np.ndarray]:
    """Events (n, 3) of clips; those of one class neither overlap nor touch."""
    table = EventTable.from_recordings(random_clips(n_clips, 0), len(LABELS)).merge_connected()
    return [table.of_recording(number) for number in range(n_clips)]


def scores_of(clips: list[np.ndarray], seed: int) -> list[np.ndarray]:
    """Scores (T, K), float32, of a fair system: smooth, higher within events, some confused."""
    rng = np.random.default_rng(seed)
    middle_s = (np.arange(N_FRAMES) + 0.5) * HOP_S
    scores = []
    for rows in clips:
        logits = rng.normal(-2.5, 1.5, (N_FRAMES, len(LABELS)))
        for k, onset_s, offset_s in rows.tolist():
            inside = (middle_s >= onset_s) & (middle_s < offset_s)
            logits[inside, int(k)] += rng.normal(3.5, 1.0)
            logits[inside, rng.integers(0, len(LABELS))] += rng.normal(1.0, 0.7)
        smooth = sum(np.roll(logits, shift, axis=0) for shift in range(-2, 3)) / 5
        scores.append((1 / (1 + np.exp(-smooth))).astype(np.float32))
    return scores


def ours(reference: EventTable, scores: list[np.ndarray]) -> np.ndarray:
    """PSDS 1, PSDS 2 and best F."""
    found = sweep_scores(reference, scores, HOP_S, CLIP_S)
    return np.array([found.psds1, found.psds2, found.best_f])


def plain(clips: list[np.ndarray], scores: list[np.ndarray]) -> np.ndarray:
    """The same by tables of all thresholds."""
    changes = all_changes(clips, scores, HOP_S, CLIP_S)
    return np.array(scores_of_changes(changes, clips, CLIP_S, range(len(clips))))


def our_resamples(sweep: ThresholdSweep, weights: np.ndarray) -> np.ndarray:
    """The scores of all resamples of a set whose detections are known."""
    both = (PSDS1, PSDS2)
    curves = [(each, compacted(sweep.intersection_curves(each))) for each in both]
    collar = compacted(sweep.collar_curves())
    rows = []
    for each in weights:
        row = [sweep.psds(scenario, curves=found, weights=each).psds for scenario, found in curves]
        rows.append([*row, best_f_scores(collar, sweep.n_classes, each).macro_f])
    return np.array(rows)


def check_equal(found: np.ndarray, wanted: np.ndarray, what: str) -> None:
    """Raises ArithmeticError if two routes differ."""
    apart = np.abs(found - wanted).max()
    if not apart <= 1e-9:
        raise ArithmeticError(
            f"{what}: our scores and those of the tables are {apart:.3g} apart. Expected: 1e-9."
        )


def measure(quick: bool, folder: Path) -> list[Figure | Goal]:
    """Measures both routes in turns, and checks that they agree; `folder` is not needed."""
    n_clips, repeats, n_resamples = (20, 1, 2) if quick else (1168, 3, N_RESAMPLES)
    clips = separated(n_clips)
    scores = scores_of(clips, 1)
    reference = EventTable.from_recordings(clips, len(LABELS))
    check_equal(ours(reference, scores), plain(clips, scores), "the set")
    sweep = ThresholdSweep(reference, scores, HOP_S, CLIP_S)
    changes = all_changes(clips, scores, HOP_S, CLIP_S)
    weights = draw_weights(n_clips, n_resamples)
    chosen = np.repeat(np.arange(n_clips), weights[0].astype(int)).tolist()
    one = partial(scores_of_changes, changes, clips, CLIP_S, chosen)
    check_equal(our_resamples(sweep, weights[:1])[0], np.array(one()), "a resample")
    works: dict[str, Callable[[], object]] = {
        "ours": partial(ours, reference, scores),
        "plain": partial(plain, clips, scores),
        "our resamples": partial(our_resamples, sweep, weights),
        "one resample": one,
    }
    timings = in_turns({name: partial(core_s, work) for name, work in works.items()}, repeats)
    mine, tables = timings["ours"], timings["plain"]
    resamples, single = timings["our resamples"], timings["one resample"]
    return [
        Goal(
            f"PSDS 1, PSDS 2 and best F of {n_clips} clips, one core, equal to 1e-9",
            tables.median / mine.median,
            10.0,
            "times faster",
            at_least=True,
            details=(
                f"ours {mine.text('ms', 1e3)}, tables of all thresholds by clip {tables.text()};"
                f" sed_scores_eval took {PACKAGES_S:g} s for the same size"
            ),
        ),
        Goal(
            f"the same of {n_resamples} resamples, one core, equal to 1e-9",
            n_resamples * single.median / resamples.median,
            10.0,
            "times faster",
            at_least=True,
            details=(
                f"ours {resamples.text()}, the changes of all clips joined again"
                f" {single.text()} each, one of which is measured"
            ),
        ),
    ]


if __name__ == "__main__":
    run_alone(TITLE, measure)

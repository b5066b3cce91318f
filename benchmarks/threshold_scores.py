"""Scores over all thresholds: PSDS 1, PSDS 2 and best F of a test set, and of its resamples.

python -m benchmarks.threshold_scores [--quick]
"""

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.baselines.threshold_scores import all_changes, scores_of_changes
from benchmarks.cores import core_s
from benchmarks.event_scores import LABELS, random_clips
from benchmarks.measure import Figure, Goal, Timing, in_turns, run_alone
from benchmarks.workers import Worker, package_worker
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
PACKAGE = "sed_scores_eval"


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
            f"Our scores and those of {what} are {apart:.3g} apart. Expected: 1e-9."
        )


def load_package(
    worker: Worker,
    clips: list[np.ndarray],
    scores: list[np.ndarray],
    wanted: np.ndarray,
    path: Path,
) -> Callable[[], float]:
    """Gives clips to the package, whose scores must be the wanted ones.

    Returns:
        Scores them once and returns its CPU seconds.
    """
    rows = [np.insert(rows, 0, clip, axis=1) for clip, rows in enumerate(clips)]
    np.savez(
        path,
        scores=np.stack(scores),
        edges_s=np.arange(N_FRAMES + 1) * HOP_S,
        events=np.concatenate(rows),
        duration_s=CLIP_S,
    )
    worker.ask("load", arrays=str(path))
    check_equal(wanted, np.array(worker.ask("step")["scores"]), PACKAGE)
    return worker.seconds


def measure(quick: bool, folder: Path) -> list[Figure | Goal]:
    """Measures the routes in turns, and checks that they agree."""
    n_clips, repeats, n_resamples = (20, 1, 2) if quick else (1168, 3, N_RESAMPLES)
    clips = separated(n_clips)
    scores = scores_of(clips, 1)
    reference = EventTable.from_recordings(clips, len(LABELS))
    found = ours(reference, scores)
    check_equal(found, plain(clips, scores), "the tables")
    sweep = ThresholdSweep(reference, scores, HOP_S, CLIP_S)
    changes = all_changes(clips, scores, HOP_S, CLIP_S)
    weights = draw_weights(n_clips, n_resamples)
    chosen = np.repeat(np.arange(n_clips), weights[0].astype(int)).tolist()
    one = partial(scores_of_changes, changes, clips, CLIP_S, chosen)
    check_equal(our_resamples(sweep, weights[:1])[0], np.array(one()), "the tables of a resample")
    works: dict[str, Callable[[], object]] = {
        "ours": partial(ours, reference, scores),
        "plain": partial(plain, clips, scores),
        "our resamples": partial(our_resamples, sweep, weights),
        "one resample": one,
    }
    routes: dict[str, Callable[[], float]] = {
        name: partial(core_s, work) for name, work in works.items()
    }
    worker = package_worker()
    with worker or nullcontext():
        if worker:
            path = folder / "scores.npz"
            routes[PACKAGE] = load_package(worker, clips, scores, found, path)
        timings = in_turns(routes, repeats)
    return goals(timings, n_clips, n_resamples)


def goals(timings: dict[str, Timing], n_clips: int, n_resamples: int) -> list[Figure | Goal]:
    """Ratios of the routes, by their timings."""
    mine, resamples, single = (timings[name] for name in ("ours", "our resamples", "one resample"))
    routes = {"tables of all thresholds by clip": timings["plain"]}
    if PACKAGE in timings:
        routes[PACKAGE] = timings[PACKAGE]
    aim, unit = 10.0, "times faster"
    work = f"PSDS 1, PSDS 2 and best F of {n_clips} clips, one core, equal to 1e-9"
    return [
        *(
            Goal(
                f"{work}, against {name}",
                theirs.median / mine.median,
                aim,
                unit,
                at_least=True,
                details=f"ours {mine.text('ms', 1e3)}, {name} {theirs.text()}",
            )
            for name, theirs in routes.items()
        ),
        Goal(
            f"the same of {n_resamples} resamples, one core, equal to 1e-9",
            n_resamples * single.median / resamples.median,
            aim,
            unit,
            at_least=True,
            details=(
                f"ours {resamples.text()}, the changes of all clips joined again"
                f" {single.text()} each, one of which is measured"
            ),
        ),
    ]


if __name__ == "__main__":
    run_alone(TITLE, measure)

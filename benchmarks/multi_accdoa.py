"""Multi-ACCDOA: its loss against PyTorch's, its targets and decoding against loops over frames.

python -m benchmarks.multi_accdoa [--quick]
"""

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.baselines import multi_accdoa as plain
from benchmarks.cores import core_s
from benchmarks.location_scores import N_CLASSES, N_FRAMES, scene
from benchmarks.measure import Figure, Goal, Timing, in_turns, run_alone
from benchmarks.scoring import of_several
from benchmarks.training_steps import PYTORCH, goals
from benchmarks.workers import our_worker, torch_python, torch_worker
from common.runtime.memory import keep_freed_memory
from seld.decoding import UNIFY_DEG, Vectors, decode_multi_accdoa
from seld.recordings.rows import CLASS, FRAME
from seld.targets import TargetForm

TITLE = (
    "Multi-ACCDOA of 13 classes and three tracks: ADPIT, forward and backward, on random data;"
    " targets and decoding of 60-second recordings with two sources at a time, in 600 frames each"
)
FORM = TargetForm("multi", N_CLASSES)
EXAMPLES, SEQUENCE_FRAMES = 32, 50
APART = 1e-5  # relative; of losses in float32
FEW_ROWS = "a recording takes under a millisecond, in calls of NumPy on about a thousand rows"
SMALL_ARRAYS = "both compute the same 13 candidates of arrays that the caches hold"


def outputs_of(rows: np.ndarray, n_frames: int, rng: np.random.Generator) -> np.ndarray:
    """Outputs (T, 3, 3, K) of a mediocre network: sources on all tracks, some degrees apart."""
    slots = FORM.whole(rows, n_frames)[:, :, 1:]  # (T, 6, 3, K): A0 | B0, B1 | C0, C1, C2
    vectors = slots[:, [0, 0, 0]] + slots[:, [1, 1, 2]] + slots[:, [3, 4, 5]]
    noise = rng.normal(0.0, 0.1, vectors.shape)
    return (0.8 * vectors + noise).astype(np.float32)


def crowded(rows: np.ndarray) -> np.ndarray:
    """Twice the sources, all of one class: up to four at once."""
    both = np.concatenate([rows, rows[::-1]])
    both[:, CLASS] = 0
    return both[np.argsort(both[:, FRAME], kind="stable")]


def check_equal(rows: np.ndarray, rng: np.random.Generator) -> None:
    """Raises ArithmeticError if targets or decoded sources of a recording differ."""
    found, wanted = FORM.whole(rows, N_FRAMES), plain.targets(rows, N_FRAMES, N_CLASSES)
    if not np.allclose(found, wanted, rtol=0.0, atol=1e-6):
        raise ArithmeticError(
            f"Our targets are {np.abs(found - wanted).max():.3g} from the loops'."
        )
    outputs = outputs_of(rows, N_FRAMES, rng)
    ours, loops = as_rows(decode_multi_accdoa(outputs)), plain.decode(outputs, UNIFY_DEG)
    theirs = np.array([[frame, *source] for frame, found in loops.items() for source in found])
    if ours.shape != theirs.shape or not np.allclose(ours, theirs, rtol=0.0, atol=1e-6):
        raise ArithmeticError("Our decoding and that of the loops give different sources.")


def as_rows(vectors: Vectors) -> np.ndarray:
    """Frame, class, x, y, z of each source, (n, 5)."""
    return np.column_stack([vectors.frame, vectors.klass, vectors.xyz])


def our_targets(recordings: Sequence[np.ndarray]) -> None:
    """Makes the targets of recordings from their rows."""
    for rows in recordings:
        FORM.whole(rows, N_FRAMES)


def plain_targets(recordings: Sequence[np.ndarray]) -> None:
    """Makes them by loops."""
    for rows in recordings:
        plain.targets(rows, N_FRAMES, N_CLASSES)


def our_decoding(outputs: Sequence[np.ndarray]) -> None:
    """Decodes the outputs for recordings."""
    for each in outputs:
        decode_multi_accdoa(each)


def plain_decoding(outputs: Sequence[np.ndarray]) -> None:
    """Decodes them by loops."""
    for each in outputs:
        plain.decode(each, UNIFY_DEG)


def loops_goals(quick: bool) -> list[Goal]:
    """Measures targets and decoding of recordings, ours and by loops, which are checked first."""
    recordings, repeats = (1, 1) if quick else (100, 2)
    rng = np.random.default_rng(0)
    rows = [scene(rng) for _ in range(recordings)]
    for each in (*rows[:3], crowded(rows[0])):
        check_equal(each, rng)
    outputs = [outputs_of(each, N_FRAMES, rng) for each in rows]
    timings = in_turns(
        {
            "targets": partial(of_several, partial(our_targets, rows)),
            "targets, loops": partial(core_s, partial(plain_targets, rows)),
            "decoding": partial(of_several, partial(our_decoding, outputs)),
            "decoding, loops": partial(core_s, partial(plain_decoding, outputs)),
        },
        repeats,
    )
    return [
        _loop_goal(f"multi-ACCDOA {work} of {recordings} recordings, one core", work, timings)
        for work in ("targets", "decoding")
    ]


def _loop_goal(title: str, work: str, timings: dict[str, Timing]) -> Goal:
    ours, loops = timings[work], timings[f"{work}, loops"]
    details = f"ours {ours.text('ms', 1e3)}, loops {loops.text()}"
    return Goal(title, loops.median / ours.median, 20.0, "times faster", True, details, FEW_ROWS)


def write_batch(path: Path, examples: int) -> None:
    """Writes targets of random scenes and random outputs, for both losses."""
    rng, targets = np.random.default_rng(0), []
    for _ in range(examples):
        rows = scene(rng)
        rows[:, CLASS] %= 4  # more sources of one class at once
        targets.append(FORM.whole(rows, SEQUENCE_FRAMES))
    outputs = rng.uniform(-1.0, 1.0, (examples, SEQUENCE_FRAMES, FORM.n_tracks, 3, N_CLASSES))
    np.savez(path, target=np.stack(targets), output=outputs.astype(np.float32))


def loss_goals(quick: bool, folder: Path) -> list[Goal]:
    """Measures ADPIT, ours and PyTorch's.

    Raises:
        ArithmeticError: the losses of one batch differ.
    """
    path, examples = folder / "batch.npz", 2 if quick else EXAMPLES
    write_batch(path, examples)
    with ExitStack() as stack:
        ours = stack.enter_context(our_worker())
        wanted = ours.ask("load_adpit", arrays=str(path))["loss"]
        routes = {"ours": ours.seconds}
        for name, keeps in zip(PYTORCH, (False, True), strict=True) if torch_python() else ():
            theirs = stack.enter_context(torch_worker(keeps))
            found = theirs.ask("load_adpit", arrays=str(path))["loss"]
            if not abs(found / wanted - 1.0) <= APART:
                raise ArithmeticError(f"ADPIT of one batch: ours {wanted}, PyTorch's {found}.")
            routes[name] = theirs.seconds
        measured = in_turns(routes, 1 if quick else 20)
    work = f"ADPIT of {examples} x {SEQUENCE_FRAMES} frames, forward and backward"
    return goals(work, measured, (0.8, 1.0), SMALL_ARRAYS)


def measure(quick: bool, folder: Path) -> list[Figure | Goal]:
    """Measures the loss, the targets and the decoding."""
    keep_freed_memory()  # as training does
    return [*loss_goals(quick, folder), *loops_goals(quick)]


if __name__ == "__main__":
    run_alone(TITLE, measure)

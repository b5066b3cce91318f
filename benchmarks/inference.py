"""Time of predictions on a CPU, ours and PyTorch's; both keep freed memory.

python -m benchmarks.inference [--quick]
"""

from pathlib import Path

from benchmarks.measure import Figure, Goal, run_alone
from benchmarks.training_steps import CNN9, CRNN10, PYTORCH, Size, goals, request, timings
from benchmarks.workers import our_worker

TITLE = (
    "Predictions of batches on random data, in float32, as `common.training.evaluation` makes them"
)
MATRIX_SIZE = 4096


def least_s(size: Size, quick: bool) -> float:
    """Seconds of a batch's matrix products at the rate of one large product on this machine."""
    with our_worker() as worker:
        operations = worker.ask("load", **request(size, quick, "float32", training=False))[
            "operations"
        ]
        peak = worker.ask("peak", size=256 if quick else MATRIX_SIZE, precision="float32")[
            "operations_per_s"
        ]
    return operations / peak


def measure(quick: bool, folder: Path) -> list[Figure | Goal]:
    """Measures CNN9 and CRNN10; with `quick` only CNN9."""
    results: list[Figure | Goal] = []
    for size in (CNN9,) if quick else (CNN9, CRNN10):
        measured, _ = timings(size, "float32", quick, 1 if quick else 7, training=False)
        floor_s = least_s(size, quick)
        reason = (
            "the same convolutions of oneDNN take nearly all of the time in both, and at the rate"
            f" of a large matrix product they would take {1000 * floor_s:.0f} ms"
        )
        results += goals(f"predictions of {size.name}", measured, (None, 0.65), reason)
        results.append(
            Figure(
                f"{size.name}: its products at the rate of a large matrix product",
                1000 * floor_s,
                "ms",
            )
        )
        results += [
            Figure(f"{size.name}: {name}", 1000 * measured[name].median, "ms")
            for name in ("ours", *PYTORCH)
            if name in measured
        ]
    return results


if __name__ == "__main__":
    run_alone(TITLE, measure)

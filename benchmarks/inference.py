"""How long predictions take on a CPU, PyTorch beside ours; both keep freed memory.

python -m benchmarks.inference [--quick]
"""

from pathlib import Path

from benchmarks.measure import Figure, Goal, run_alone
from benchmarks.training_steps import CNN9, CRNN10, PYTORCH, goals, timings

TITLE = "Predictions of batches on random data, in float32, as `common.prediction` makes them"
REASON = (
    "the convolutions decide, and both run them by the same direct kernels of oneDNN: a batch of CNN9 has 133 billion "
    "operations, and the fastest of its convolutions alone reached 234 billion a second where ours took 0.63 s, so "
    "0.57 s is the least"
)


def measure(quick: bool, folder: Path) -> list[Figure | Goal]:
    """Measures CNN9 and CRNN10; with `quick` CNN9 alone."""
    results: list[Figure | Goal] = []
    for size in (CNN9,) if quick else (CNN9, CRNN10):
        measured, _ = timings(size, "float32", quick, 1 if quick else 7, training=False)
        results += goals(f"predictions of {size.name}", measured, (None, 0.65), REASON)
        results += [
            Figure(f"{size.name}: {name}", 1000 * measured[name].median, "ms")
            for name in ("ours", *PYTORCH)
            if name in measured
        ]
    return results


if __name__ == "__main__":
    run_alone(TITLE, measure)

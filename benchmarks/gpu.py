"""Training steps at published sizes on a GPU, on JAX with XLA, and on PyTorch.

    python -m benchmarks.gpu [--quick]

Steps are timed from data on the device until the loss is on the host, one call of `train_on_batch`
each. JAX needs its wheels for CUDA. Without a GPU only the names of the goals appear;
--quick runs a minimal form on the CPU.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.gpu_sampler import gpu_names
from benchmarks.measure import Figure, Goal, Timing, in_turns, pivot_table, run_alone
from benchmarks.training_steps import CNN9, CRNN10, SEGMENTATION, SELDNET, Size, request
from benchmarks.workers import NO_TORCH, our_worker, torch_python, torch_worker

TITLE = (
    "Training steps on a GPU: forward, backward and optimizer, on JAX with XLA, without the"
    " pipeline"
)
NO_GPU = "no GPU found"
# and their names in JAX
PRECISIONS = {"float32": "float32", "tf32": "tensorfloat32", "bfloat16": "default"}
SIZES = (
    replace(CNN9, examples=32),
    Size("CNN5", "cnn5", 32, torch="cnn5"),
    Size("CNN13", "cnn13", 32, torch="cnn13"),
    CRNN10,
    Size("VGG9", "two-stage-vgg9", 32, ("network.mode=seld",)),
    replace(SEGMENTATION, examples=24),
    Size("CRNN", "crnn", 16, torch="crnn", amsgrad=False),
    SELDNET,
)
WITHOUT_GRUS = replace(
    SELDNET, name="SELDnet without its GRUs", overrides=("network.gru_units=[]",), torch=""
)
CONVOLUTIONAL = ("CNN9, average pooling", "CNN5", "CNN13", "segmentation, rank pooling")
LIMITS_MS = {"CNN9, average pooling": 10.0, "CRNN10": 12.0}  # published: 200 and 210 ms


@dataclass(frozen=True)
class Steps:
    """Steps of one network in one precision.

    Attributes:
        shape: of the batch, (B, T, F, C).
        operations: of one step.
        peak: operations per second of a product of large matrices in the same precision.
        timings: seconds by route, "ours" and, where PyTorch is installed, "PyTorch".
    """

    shape: tuple[int, ...]
    operations: float
    peak: float
    timings: Mapping[str, Timing]


def measured_steps(size: Size, precision: str, quick: bool) -> Steps:
    """Measures one network in one precision, in processes of its own."""
    environment = {"KERAS_BACKEND": "jax", "JAX_DEFAULT_MATMUL_PRECISION": PRECISIONS[precision]}
    environment["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # PyTorch needs memory, too
    with ExitStack() as stack:
        ours = stack.enter_context(our_worker(environment))
        loaded = ours.ask("load", **request(size, quick, precision))
        peak = ours.ask("peak", size=256 if quick else 8192, precision=precision)[
            "operations_per_s"
        ]
        routes = {"ours": ours.seconds}
        if size.torch and torch_python():
            theirs = stack.enter_context(torch_worker(keeps_memory=True))
            theirs.ask(
                "load",
                model=size.torch,
                shape=loaded["shape"],
                precision=precision,
                training=True,
                amsgrad=size.amsgrad,
                device="cpu" if quick else "cuda",
            )
            routes["PyTorch"] = theirs.seconds
        ours.seconds()  # compiles
        timings = in_turns(routes, 1 if quick else 20)
    return Steps(tuple(loaded["shape"]), 3.0 * loaded["operations"], peak, timings)


def figures(size: Size, precision: str, steps: Steps) -> list[Figure]:
    """Time of a step, examples per second and share of the peak."""
    name, seconds = f"{size.name}, {precision}", steps.timings["ours"].median
    results = [
        Figure(f"{name}: one step", 1000 * seconds, "ms"),
        Figure(f"{name}: examples", steps.shape[0] / seconds, "1/s"),
        Figure(
            f"{name}: share of the matrix peak", 100 * steps.operations / seconds / steps.peak, "%"
        ),
    ]
    if "PyTorch" in steps.timings:
        results.append(
            Figure(f"{name}: PyTorch, one step", 1000 * steps.timings["PyTorch"].median, "ms")
        )
    return results


def goals(measured: Mapping[tuple[str, str], Steps]) -> list[Goal]:
    """The goals of a GPU.

    Args:
        measured: steps by name of the network and precision; what is missing was not measured, for
            want of a GPU.
    """
    results = []
    for name, limit_ms in LIMITS_MS.items():
        for precision in PRECISIONS:
            steps = measured.get((name, precision))
            milliseconds = 1000 * steps.timings["ours"].median if steps else None
            details = steps.timings["ours"].text("ms", 1000) if steps else ""
            title = f"training step of {name} on a GPU, {precision}"
            results.append(
                Goal(title, milliseconds, limit_ms, "ms", False, details, "" if steps else NO_GPU)
            )
    for name in CONVOLUTIONAL:
        results += [
            _against_torch(name, precision, measured.get((name, precision)))
            for precision in PRECISIONS
        ]
    return results


def _against_torch(name: str, precision: str, steps: Steps | None) -> Goal:
    title = f"training step of {name} on a GPU, {precision}, against PyTorch"
    if steps is None or "PyTorch" not in steps.timings:
        return Goal(title, None, 1.0, "of its time", False, reason=NO_TORCH if steps else NO_GPU)
    ours, theirs = steps.timings["ours"], steps.timings["PyTorch"]
    details = f"ours {ours.text('ms', 1000)}; PyTorch {theirs.text('ms', 1000)}"
    return Goal(title, ours.median / theirs.median, 1.0, "of its time", False, details)


def measure(quick: bool, folder: Path) -> list[Figure | Goal]:
    """Measures all networks in all precisions on a GPU; with `quick` SELDnet, on the CPU."""
    if not gpu_names() and not quick:
        return list(goals({}))
    sizes, precisions = (
        ((SELDNET, WITHOUT_GRUS), ("float32",)) if quick else ((*SIZES, WITHOUT_GRUS), PRECISIONS)
    )
    measured = {
        (size.name, precision): measured_steps(size, precision, quick)
        for size in sizes
        for precision in precisions
    }
    of_sizes = [
        figure
        for size in sizes
        for precision in precisions
        for figure in figures(size, precision, measured[size.name, precision])
    ]
    shares = [_share_of_grus(precision, measured) for precision in precisions]
    return [*goals(measured if gpu_names() else {}), *of_sizes, *shares]


def _share_of_grus(precision: str, measured: Mapping[tuple[str, str], Steps]) -> Figure:
    """GRU time of SELDnet's step: a loop over the frames, shorter only with fewer, larger steps."""
    whole, without = (
        measured[size.name, precision].timings["ours"].median for size in (SELDNET, WITHOUT_GRUS)
    )
    return Figure(
        f"SELDnet, {precision}: share of its GRUs", max(0.0, 100 * (1 - without / whole)), "%"
    )


if __name__ == "__main__":
    run_alone(TITLE, measure, to_table=lambda figures: pivot_table(figures, "network, precision"))

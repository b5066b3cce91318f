"""Time and memory of one training step of each published network, ours and PyTorch's.

python -m benchmarks.training_steps [--quick]
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measure import Figure, Goal, Timing, in_turns, pivot_table, run_alone
from benchmarks.workers import NO_TORCH, our_worker, torch_python, torch_worker

TITLE = (
    "Training steps on random data: forward, backward and optimizer, without the pipeline; the"
    " table in float32"
)
PYTORCH = "PyTorch as shipped", "PyTorch keeping freed memory"


@dataclass(frozen=True)
class Size:
    """A published network.

    Attributes:
        name: its name.
        task_id: task of params.yaml with its features, sizes, loss and optimizer.
        examples: of one batch; fewer than published where a step would take a minute on two cores.
        overrides: settings other than the task's, `key=value`.
        torch: name of the same network in `baselines/torch_models.py`, `torch_tracks.py` or
            `torch_teacher.py`; empty: PyTorch is not measured.
        amsgrad: True for the AMSGrad variant of Adam.
        has_parts: the batch has parts, whose numbers of examples are settings.
    """

    name: str
    task_id: str
    examples: int
    overrides: tuple[str, ...] = ()
    torch: str = ""
    amsgrad: bool = True
    has_parts: bool = False


CNN9 = Size("CNN9, average pooling", "cnn9", 8, torch="cnn9")
# With all heads: the two stages train one network with either of them.
CRNN10 = Size("CRNN10", "two-stage", 32, ("network.mode=seld",), "crnn10")
SEGMENTATION = Size(
    "segmentation, rank pooling", "segmentation", 8, torch="segmentation", amsgrad=False
)
SELDNET = Size("SELDnet", "seldnet-foa", 16, torch="seldnet", amsgrad=False)
MULTI_ACCDOA = Size(
    "multi-ACCDOA of 2023", "seldnet2023-foa-multi", 128, torch="multi_accdoa", amsgrad=False
)
EINV2 = Size("EINV2", "einv2", 4, torch="einv2", amsgrad=False)
TEACHER_2019 = Size(
    "mean teacher of 2019",
    "mean-teacher-2019",
    24,
    torch="teacher_2019",
    amsgrad=False,
    has_parts=True,
)
QUARTER_BATCH = (  # of the 12, 12 and 24 clips of 2023
    "sets.parts=["
    "{name: strong, subsets: [synthetic21_train], batch_size: 3, labels: strong,"
    " clip_labels: false},"
    "{name: weak, subsets: [weak], batch_size: 3, labels: weak, validation_fraction: 0.1},"
    "{name: unlabelled, subsets: [unlabel_in_domain], batch_size: 6, labels: none}]"
)
TEACHER_2023 = Size(  # mixup is a change of the batch, not of the network
    "mean teacher of 2023",
    "desed-2023",
    12,
    ("training.batch_augmentation.mixup=null", QUARTER_BATCH),
    "teacher_2023",
    amsgrad=False,
    has_parts=True,
)
TEACHERS = (TEACHER_2019, TEACHER_2023)
COMPARED = (CNN9, CRNN10, SEGMENTATION, SELDNET, MULTI_ACCDOA, EINV2, *TEACHERS)
ALONE = (
    Size("CRNN", "crnn", 16),
    Size("CNN5", "cnn5", 8),
    Size("CNN9, max pooling", "cnn9-max", 8),
    Size("CNN13", "cnn13", 8),
    Size("VGG9", "two-stage-vgg9", 32, ("network.mode=seld",)),
    Size("segmentation, maximum", "segmentation-gmp", 8),
    Size("segmentation, average", "segmentation-gap", 8),
)
QUICK_SHAPE = (1, 80)  # one example unless the batch has parts; frames every network can pool


def request(size: Size, quick: bool, precision: str, training: bool = True) -> dict[str, Any]:
    """Networks that our worker loads."""
    examples, frames = QUICK_SHAPE
    quick_shape = size.examples if size.has_parts else examples, frames
    return {
        "task": size.task_id,
        "overrides": size.overrides,
        "shape": quick_shape if quick else (size.examples, None),
        "precision": precision,
        "training": training,
    }


def timings(
    size: Size, precision: str, quick: bool, repeats: int, training: bool = True
) -> tuple[dict[str, Timing], list[Figure]]:
    """Measures a network and PyTorch's, which take turns.

    Args:
        size: the network.
        precision: "float32" or "bfloat16".
        quick: minimal batch.
        repeats: counted rounds.
        training: training steps, otherwise predictions.

    Returns:
        Seconds by route, "ours" and those of `PYTORCH` where PyTorch is installed; and the figures
        of ours.

    Raises:
        ArithmeticError: the networks differ in size.
    """
    with ExitStack() as stack:
        ours = stack.enter_context(our_worker())
        loaded = ours.ask("load", **request(size, quick, precision, training))
        routes: dict[str, Callable[[], float]] = {"ours": ours.seconds}
        for name, keeps in (
            zip(PYTORCH, (False, True), strict=True) if size.torch and torch_python() else ()
        ):
            theirs = stack.enter_context(torch_worker(keeps))
            given = {
                "model": size.torch,
                "amsgrad": size.amsgrad,
                "precision": precision,
                "training": training,
            }
            there = theirs.ask("load", shape=loaded["shape"], **given)
            if there["parameters"] != loaded["parameters"]:
                raise ArithmeticError(
                    f"{size.name}: {loaded['parameters']} weights, PyTorch: {there['parameters']}."
                )
            routes[name] = theirs.seconds
        # builds the graph; the round that `in_turns` leaves out settles memory and kernels
        ours.seconds()
        measured = in_turns(routes, repeats)
        return measured, _figures(
            size, loaded, measured["ours"].median, ours.ask("memory")["megabytes"]
        )


def _figures(size: Size, loaded: dict[str, Any], seconds: float, megabytes: float) -> list[Figure]:
    name = f"{size.name}, {' x '.join(map(str, loaded['shape']))}"
    return [
        Figure(f"{name}: trainable parameters", loaded["parameters"], ""),
        Figure(f"{name}: one step", 1000 * seconds, "ms"),
        Figure(f"{name}: examples", loaded["shape"][0] / seconds, "1/s"),
        Figure(f"{name}: peak memory of the process", megabytes, "MB"),
    ]


def goals(
    work: str, measured: dict[str, Timing], bounds: Sequence[float | None], reason: str
) -> list[Goal]:
    """Compares ours with PyTorch as shipped, and with PyTorch keeping freed memory.

    Args:
        work: name of the measurement.
        measured: by route, see `timings`.
        bounds: for each of `PYTORCH`, the largest share of its time to reach; None: no goal.
        reason: why one is missed.
    """
    results = []
    for name, bound in zip(PYTORCH, bounds, strict=True):
        if bound is None:
            continue
        title = f"{work}, against {name}"
        if name not in measured:
            results.append(Goal(title, None, bound, "of its time", False, reason=NO_TORCH))
            continue
        details = f"ours {measured['ours'].text()}; PyTorch {measured[name].text()}"
        value = measured["ours"].median / measured[name].median
        results.append(Goal(title, value, bound, "of its time", False, details, reason))
    return results


CONVOLUTIONS = (
    "the convolutions of oneDNN, the same in both, take most of the step; where PyTorch allocates"
    " little, nothing is left to gain"
)
RANKING = (
    "ranking the values of all masks, in float32 under any precision, takes a fifth of it, see"
    " averaging in the table"
)


def measure(quick: bool, folder: Path) -> list[Figure | Goal]:
    """Measures all networks, one after another; with `quick` only one and PyTorch's."""
    results: list[Figure | Goal] = []
    for size in COMPARED[:1] if quick else COMPARED:
        reason = RANKING if size is SEGMENTATION else CONVOLUTIONS
        for precision in ("float32",) if quick else ("float32", "bfloat16"):
            measured, figures = timings(size, precision, quick, 1 if quick else 3)
            results += figures if precision == "float32" else []
            results += goals(
                f"training step of {size.name}, {precision}", measured, (0.8, 1.0), reason
            )
    for size in () if quick else ALONE:
        results += timings(size, "float32", quick, 1 if quick else 2)[1]
    return results


def steps_table(figures: Sequence[Figure]) -> str:
    """One row for each network, one column for each of its figures."""
    return pivot_table(figures, "network, batch x frames x bands x channels")


if __name__ == "__main__":
    run_alone(TITLE, measure, to_table=steps_table)

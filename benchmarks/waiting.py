"""Time that training waits for batches, parts of an epoch's time, and the limits of this machine.

Each system trains at its published size on a stream of random recordings, step by step, and the
time until the stream yields the next batch is the waiting. Since reading also takes cores away from
the steps, these are also timed on one batch held in memory, in turns with those on the stream.

    python -m benchmarks.waiting [--quick]
"""

import multiprocessing
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import (
    Figure,
    Goal,
    Timing,
    figures_table,
    median_wall_s,
    pivot_table,
    run_alone,
    task,
    wall_s,
)
from benchmarks.our_steps import STEPS_PER_EPOCH, new_model
from common.data.feature_store import FeatureStore, ShardEntry
from common.data.selection import BatchPart, BatchParts, Selection
from common.data.tfrecord import ArraySpec, ExampleSchema, write_shard

TITLE = (
    "Waiting for data and where the time of training goes, at published sizes with shards in the"
    " page cache, and what this machine can do at most"
)


@dataclass(frozen=True)
class Case:
    """A system whose training is measured.

    Attributes:
        name: its name.
        task_id: task of params.yaml.
        batch_size: fewer than published where a step would take a minute on two cores; of a task
            whose batches have parts, their sum.
        recordings: on disk, enough for two batches.
        frames: of each.
        stored: type of the stored features.
        overrides: settings other than the task's, `key=value`.
    """

    name: str
    task_id: str
    batch_size: int
    recordings: int
    frames: int
    stored: str = "float32"
    overrides: tuple[str, ...] = ()


CASES = (
    Case("SELDnet", "seldnet-foa", 16, 6, 3000, "float16"),
    Case("two-stage", "two-stage", 32, 2, 6001, overrides=("network.mode=seld",)),
    Case("CRNN", "crnn", 16, 64, 500),
    Case("CNN9", "cnn9", 8, 32, 640),
    Case("segmentation", "segmentation", 24, 48, 311),
    Case("mean teacher of 2019, three parts", "mean-teacher-2019", 24, 64, 864),
)


def write_recordings(
    folder: Path, case: Case, shapes: Mapping[str, tuple[int | None, ...]]
) -> Selection:
    """Writes random recordings, one a shard, whose labels are zeros and ones."""
    types = {name: case.stored if name == "features" else "int8" for name in shapes}
    schema = ExampleSchema({name: ArraySpec(types[name], shape) for name, shape in shapes.items()})
    rng = np.random.default_rng(0)
    sizes = {
        name: tuple(case.frames if size is None else size for size in shape)
        for name, shape in shapes.items()
    }
    arrays = {
        name: (
            (
                rng.standard_normal(size, np.float32)
                if name == "features"
                else rng.integers(0, 2, size, np.int8)
            ).astype(types[name])
        )
        for name, size in sizes.items()
    }
    folder.mkdir(parents=True)
    entries = []
    for name in (f"{number:03d}" for number in range(case.recordings)):
        write_shard(folder / f"{name}.tfrecord", [(name, arrays)], schema)
        entries.append(ShardEntry(f"{name}.tfrecord", "", (name,), (case.frames,), 0, 0))
    return Selection(FeatureStore(folder, {}, schema, entries))


def prepare(case: Case, quick: bool, folder: Path) -> tuple[Any, Iterator]:
    """The compiled model of a system's first stage, and its stream of batches."""
    import keras

    from common.data.pipeline import parts_stream
    from common.data.sequences import SequenceFormat
    from common.family import load
    from common.models.optimizer import build_optimizer
    from common.runtime import distribution

    settings = task(case.task_id, folder, *case.overrides)
    distribution.prepare(settings.run)
    experiment = load(settings.family, "experiment").Experiment.prepare(settings)
    stage = experiment.system.stages(settings)[0]
    bands_channels = experiment.new_network().input_shape[2:]
    keras.utils.set_random_seed(0)
    model = new_model(experiment, stage, bands_channels)
    model.compile(
        build_optimizer(settings.training, STEPS_PER_EPOCH),
        loss=dict(stage.losses),
        loss_weights=dict(stage.loss_weights),
        jit_compile=distribution.jit_setting(settings.run),
    )
    n_classes = settings.dataset.n_classes
    names = {name for arrays in stage.targets.values() for name in arrays} | {"activity"}
    shapes = {name: (n_classes,) if name == "tags" else (None, n_classes) for name in sorted(names)}
    shapes["features"] = (None, *bands_channels)
    selection = write_recordings(folder / case.task_id, case, shapes)
    parts = batch_parts(settings, selection, 1 if quick else case.batch_size)
    pipeline = settings.pipeline.model_copy(update={"last_batch": "keep"})
    sequence_format = SequenceFormat(stage.targets, stage.target_stride)
    return model, iter(parts_stream(parts, sequence_format, pipeline, seed=0))


def batch_parts(settings: Any, selection: Selection, batch_size: int) -> BatchParts:
    """The parts of a task's batches, each of the same recordings; without parts, whole batches."""
    named = getattr(getattr(settings, "sets", None), "parts", ())
    if not named:
        return BatchParts.of(selection, batch_size)
    return BatchParts(
        tuple(
            BatchPart(part.name, selection, part.batch_size, tuple(part.unknown)) for part in named
        )
    )


def measure_case(case: Case, quick: bool, folder: Path) -> dict[str, Timing]:
    """Seconds of waiting, steps on the stream and on a held batch, reading and prediction."""
    model, batches = prepare(case, quick, folder)
    held = next(batches)
    model.train_on_batch(*held)  # builds the graph
    waits, steps, held_steps = [], [], []
    for _ in range(1 if quick else 3):
        start = time.perf_counter()
        batch = next(batches)
        waits.append(time.perf_counter() - start)
        steps.append(wall_s(partial(model.train_on_batch, *batch)))
        held_steps.append(wall_s(partial(model.train_on_batch, *held)))
    n_read = 2 if quick else 40
    reading = wall_s(lambda: [next(batches) for _ in range(n_read)]) / n_read
    model.predict_on_batch(held[0])
    predicting = wall_s(partial(model.predict_on_batch, held[0]))
    measured = {"waiting": waits, "step": steps, "step on a held batch": held_steps}
    measured |= {"reading only": [reading], "prediction": [predicting]}
    return {name: Timing(tuple(values)) for name, values in measured.items()}


def floor(folder: Path, quick: bool) -> list[Figure]:
    """Upper bounds of the machine: raw reading, a Fourier transform, a matrix product."""
    import scipy.fft
    import tensorflow as tf

    n_bytes, size = (10**6, 64) if quick else (5 * 10**8, 4096)
    path = folder / "raw"
    path.write_bytes(bytes(n_bytes))
    target = bytearray(n_bytes)
    with path.open("rb", buffering=0) as file:
        reading = median_wall_s(lambda: (file.seek(0), file.readinto(target)), 3)
    matrix = tf.random.stateless_normal((size, size), (0, 0))
    product = median_wall_s(lambda: tf.linalg.matmul(matrix, matrix).numpy()[0, 0], 3)
    audio = np.random.default_rng(0).standard_normal((12 if quick else 3000, 4, 2048), np.float32)
    transform = median_wall_s(partial(scipy.fft.rfft, audio), 3)
    return [
        Figure("floor: reading from the page cache, one core", n_bytes / reading / 1e9, "GB/s"),
        Figure(
            "floor: product of float32 matrices, all cores", 2 * size**3 / product / 1e9, "GFLOP/s"
        ),
        Figure("floor: 3000 transforms of 2048 samples in 4 channels, one core", transform, "s"),
    ]


def measure(quick: bool, folder: Path) -> list[Figure | Goal]:
    """Measures all systems, each in a process of its own; with `quick` only a small one."""
    results: list[Figure | Goal] = []
    for case in CASES[2:3] if quick else CASES:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            results += _results(case, pool.submit(measure_case, case, quick, folder).result())
    return [*results, *floor(folder, quick)]


def _results(case: Case, measured: Mapping[str, Timing]) -> list[Figure | Goal]:
    """The share of waiting in the time of all steps, and all medians."""
    waits, steps = measured["waiting"], measured["step"]
    total = sum(waits.values) + sum(steps.values)
    details = f"waiting {waits.text('ms', 1000)}, step {steps.text('ms', 1000)}"
    goal = Goal(
        f"share of training spent waiting for data, {case.name}",
        100 * sum(waits.values) / total,
        3,
        "%",
        at_least=False,
        details=details,
    )
    return [
        goal,
        *(
            Figure(f"{case.name}: {name}", 1000 * each.median, "ms")
            for name, each in measured.items()
        ),
    ]


def waiting_table(figures: Sequence[Figure]) -> str:
    """Table of the parts of each system's time, and table of the machine's limits."""
    parts = [figure for figure in figures if not figure.name.startswith("floor")]
    rest = [
        Figure(figure.name.partition(": ")[2], figure.value, figure.unit)
        for figure in figures
        if figure not in parts
    ]
    return f"{pivot_table(parts, 'one batch of')}\n\nWhat bounds them:\n\n{figures_table(rest)}"


if __name__ == "__main__":
    run_alone(TITLE, measure, to_table=waiting_table)

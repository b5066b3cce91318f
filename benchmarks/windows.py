"""Overlapping windows for the two-stage systems: our two routes and that of the published code.

python -m benchmarks.windows [--quick]
"""

import math
import multiprocessing
import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.baselines.feeding import one_array_batches
from benchmarks.measure import Figure, Goal, Timing, peak_megabytes, pivot_table, run_alone, wall_s
from common.data.pipeline import train_stream
from common.data.selection import Selection
from common.data.sequences import SequenceFormat
from common.data.tfrecord import ArraySpec, ExampleSchema, read_shard, write_shard
from common.settings.pipeline import PipelineConfig

TITLE = (
    "Shuffled training batches of 32 windows, 200 frames every 50, of 60-second recordings with 96"
    " bands and 10 channels: streamed, all places shuffled or drawn through a buffer of 256 MB;"
    " cached; as published from one array"
)
FRAMES, WINDOW_FRAMES, HOP_FRAMES, BATCH_SIZE = 6001, 200, 50, 32
BANDS_CHANNELS, N_CLASSES = (96, 10), 11
BUFFER_MB = 256
READ_AHEAD = 12  # batches that a stream may hold
SCHEMA = ExampleSchema(
    {
        "features": ArraySpec("float32", (None, *BANDS_CHANNELS)),
        "activity": ArraySpec("uint8", (None, N_CLASSES)),
        "azimuth_deg": ArraySpec("int16", (None, N_CLASSES)),
        "elevation_deg": ArraySpec("int16", (None, N_CLASSES)),
    }
)
TARGETS = {"sed": ("activity",), "doa": ("activity", "azimuth_deg", "elevation_deg")}
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "streamed": {},
    "streamed, buffer": {"shuffle_buffer_mb": BUFFER_MB},
    "cached": {"cache": True},
}
ONE_ARRAY = "one array"


def write_recordings(folder: Path, recordings: int) -> list[Path]:
    """Writes recordings of random features and labels of the real size, one shard each."""
    rng = np.random.default_rng(0)
    features = rng.standard_normal((FRAMES, *BANDS_CHANNELS), np.float32)
    labels = rng.integers(0, 2, (FRAMES, N_CLASSES))
    arrays: dict[str, np.ndarray] = {"features": features, "activity": labels.astype(np.uint8)}
    arrays |= {name: (10 * labels).astype(np.int16) for name in ("azimuth_deg", "elevation_deg")}
    paths = [folder / f"{number:03d}.tfrecord" for number in range(recordings)]
    for path in paths:
        write_shard(path, [(path.stem, arrays)], SCHEMA)
    return paths


def published_batches(shards: Sequence[Path]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The published way over the same recordings, all of which are held in one array."""
    examples = [next(read_shard(path, SCHEMA)) for path in shards]
    features = np.concatenate([example["features"] for example in examples])
    names = TARGETS["doa"]
    targets = np.concatenate(
        [np.concatenate([each[name] for name in names], axis=1) for each in examples]
    )
    targets = targets.astype(np.float32)
    del examples
    within = np.append(np.arange(0, FRAMES - WINDOW_FRAMES, HOP_FRAMES), FRAMES - WINDOW_FRAMES)
    starts = (FRAMES * np.arange(len(shards))[:, None] + within).reshape(-1)
    return one_array_batches(features, targets, starts, WINDOW_FRAMES, BATCH_SIZE)


def batches_of(route: str, shards: Sequence[Path]) -> Iterator:
    """The batches of one of `OPTIONS`, or `ONE_ARRAY`; as many in a pass each."""
    if route == ONE_ARRAY:
        return published_batches(shards)
    pipeline = PipelineConfig(
        sequence_frames=WINDOW_FRAMES,
        sequence_hop_frames=HOP_FRAMES,
        batch_size=BATCH_SIZE,
        last_batch="drop",
        **OPTIONS[route],
    )
    selection = Selection.of_shards(shards, SCHEMA)
    return iter(train_stream(selection, SequenceFormat(TARGETS), pipeline, seed=0))


def batches_in_pass(recordings: int) -> int:
    """Whole batches of all windows."""
    return recordings * (1 + -(-(FRAMES - WINDOW_FRAMES) // HOP_FRAMES)) // BATCH_SIZE


def measure_route(
    route: str, shards: Sequence[Path], rounds: int, n_batches: int
) -> tuple[Timing, float]:
    """Batches per second, several times, and peak memory in MB; runs in a process of its own."""
    batches = batches_of(route, shards)
    # the first pass of the stream compares checksums
    deque(islice(batches, batches_in_pass(len(shards))), maxlen=0)
    rates = [
        n_batches / wall_s(lambda: deque(islice(batches, n_batches), maxlen=0))
        for _ in range(rounds)
    ]
    return Timing(tuple(rates)), peak_megabytes()


def measure_cold(route: str, shards: Sequence[Path], rounds: int, n_batches: int) -> Timing:
    """Batches per second with no shard in the page cache, after the first pass of a stream."""
    batches = batches_of(route, shards)
    deque(islice(batches, batches_in_pass(len(shards))), maxlen=0)
    rates = []
    for _ in range(rounds):
        deque(islice(batches, 2 * READ_AHEAD), maxlen=0)  # batches read before memory is emptied
        forget(shards)
        rates.append(n_batches / wall_s(lambda: deque(islice(batches, n_batches), maxlen=0)))
    return Timing(tuple(rates))


def forget(paths: Sequence[Path]) -> None:
    """Drops files from the page cache; written ones go to the disk first."""
    for path in paths:
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def check_same(shards: Sequence[Path]) -> None:
    """Compares a pass of the streamed windows with one of the published ones, in whatever order.

    Raises:
        ArithmeticError: they are not the same windows.
    """
    n_batches = batches_in_pass(len(shards))
    ours = {
        x.tobytes()
        for features, _ in islice(batches_of("streamed", shards), n_batches)
        for x in features.numpy()
    }
    theirs = {
        x.tobytes()
        for features, _ in islice(batches_of(ONE_ARRAY, shards), n_batches + 1)
        for x in features
    }
    # The last, incomplete batch of a pass is dropped: it holds other windows on either side.
    if len(ours) < n_batches * BATCH_SIZE // len(shards) or len(ours - theirs) >= BATCH_SIZE:
        raise ArithmeticError("The streamed windows are not those of the published code.")


def reading_only(shards: Sequence[Path], n_batches: int) -> float:
    """Batches per second of as many bytes, read at random by two threads: an upper bound.

    Args:
        shards: files of one size.
        n_batches: batches that each thread reads.
    """
    piece = WINDOW_FRAMES * math.prod(BANDS_CHANNELS) * 4
    files = [path.open("rb", buffering=0) for path in shards]
    starts = np.random.default_rng(0).integers(
        0, shards[0].stat().st_size - piece, (n_batches, BATCH_SIZE)
    )

    def read(seed: int) -> None:
        order = np.random.default_rng(seed).integers(0, len(files), BATCH_SIZE)
        target = memoryview(bytearray(piece))
        for batch in starts:
            for file, start in zip(order.tolist(), batch.tolist(), strict=True):
                os.preadv(files[file].fileno(), [target], start)

    with ThreadPoolExecutor(2) as pool:
        rate = 2 * n_batches / wall_s(lambda: list(pool.map(read, range(2))))
    for file in files:
        file.close()
    return rate


def measure(quick: bool, folder: Path) -> list[Figure | Goal]:
    """Measures all routes for several numbers of recordings; with `quick` in one process."""
    sizes, rounds, n_batches = ((1, 2), 1, 2) if quick else ((10, 20, 40), 5, 60)
    shards = write_recordings(folder, max(sizes))
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, max_tasks_per_child=None if quick else 1) as pool:
        pool.submit(check_same, shards[:1]).result()
        # routes in turns
        cases = [(route, size) for size in sizes for route in (*OPTIONS, ONE_ARRAY)]
        tasks = [
            pool.submit(measure_route, route, shards[:size], rounds, n_batches)
            for route, size in cases
        ]
        measured = {case: task.result() for case, task in zip(cases, tasks, strict=True)}
        streamed = [route for route, options in OPTIONS.items() if "cache" not in options]
        cold = {
            route: pool.submit(measure_cold, route, shards, rounds, n_batches).result()
            for route in streamed
        }
        # of a process with the routes' imports, without data
        bare = pool.submit(peak_megabytes).result()
    floor = reading_only(shards, n_batches)
    results = _goals(measured, min(sizes), max(sizes), floor)
    for (route, size), (rates, peak) in measured.items():
        name = f"{route}, {size} recordings"
        results.append(Figure(f"{name}: windows", BATCH_SIZE * rates.median, "1/s"))
        results.append(Figure(f"{name}: batches", rates.median, "1/s"))
        results.append(Figure(f"{name}: peak memory of the process", peak, "MB"))
    for route, rates in cold.items():
        name = f"{route}, cold, {max(sizes)} recordings"
        results.append(Figure(f"{name}: windows", BATCH_SIZE * rates.median, "1/s"))
        results.append(Figure(f"{name}: batches", rates.median, "1/s"))
    results.append(Figure("floor, reading only: batches", floor, "1/s"))
    return [*results, Figure("no data: peak memory of the process", bare, "MB")]


def _goals(
    measured: Mapping[tuple[str, int], tuple[Timing, float]], least: int, most: int, floor: float
) -> list[Figure | Goal]:
    """Rate and growth of memory of the streamed route."""
    ours, peak = measured["streamed", most]
    theirs, held = measured[ONE_ARRAY, most]
    _, small = measured["streamed", least]
    rate = Goal(
        "feeding two-stage windows, streamed",
        ours.median,
        290,
        "batches/s",
        at_least=True,
        details=(
            f"{ours.text('batches/s')} against {theirs.text('batches/s')} with all data in memory"
        ),
        reason=(
            "a batch is 25 MB; reading as much from the page cache and nothing else reaches"
            f" {floor:.0f} batches/s on both cores, and the memory of batches that wait does not"
            " stay in the processor's cache"
        ),
    )
    memory = Goal(
        f"memory of streamed windows, {most} recordings against {least}",
        peak / small,
        1.1,
        "times",
        at_least=False,
        details=f"{peak:,.0f} MB against {small:,.0f} MB; all data in memory: {held:,.0f} MB",
    )
    return [rate, memory]


def windows_table(figures: Sequence[Figure]) -> str:
    """One row for each route and number of recordings, one column for each of its figures."""
    return pivot_table(figures, "route, recordings")


if __name__ == "__main__":
    run_alone(TITLE, measure, to_table=windows_table)

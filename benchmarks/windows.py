"""Overlapping windows for the training of the two-stage systems: our two ways beside that of the published code.

python -m benchmarks.windows [--quick]
"""

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np

from benchmarks.measure import Figure, peak_megabytes, pivot_table, run_alone, wall_s
from common.pipeline import train_stream
from common.tfrecord import ArraySpec, ExampleSchema, read_shard, write_shard

TITLE = (
    "Shuffled training batches of 32 windows, 200 frames every 50, of 60-second recordings with 96 bands and 10 "
    "channels: streamed through a buffer of 256 MB, cached, and as published from one array"
)
FRAMES, WINDOW_FRAMES, HOP_FRAMES, BATCH_SIZE = 6001, 200, 50, 32
BANDS_CHANNELS, N_CLASSES = (96, 10), 11
BUFFER_MB = 256
SCHEMA = ExampleSchema(
    {
        "features": ArraySpec("float32", (None, *BANDS_CHANNELS)),
        "activity": ArraySpec("uint8", (None, N_CLASSES)),
        "azimuth_deg": ArraySpec("int16", (None, N_CLASSES)),
        "elevation_deg": ArraySpec("int16", (None, N_CLASSES)),
    }
)
TARGETS = {"sed": ("activity",), "doa": ("activity", "azimuth_deg", "elevation_deg")}
ROUTES = ("streamed", "cached", "one array")


def write_recordings(folder: Path, recordings: int) -> list[Path]:
    """Writes recordings of random features and labels, one shard each, as large as those of the real dataset."""
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
    """Holds all recordings in one array and picks the frames of a batch by their numbers, as the published code does.

    Yields:
        Features (B, T, F, C) and targets (B, T, 3K), for ever, in a new order in each pass.
    """
    examples = [next(read_shard(path, SCHEMA)) for path in shards]
    features = np.concatenate([example["features"] for example in examples])
    names = TARGETS["doa"]
    targets = np.concatenate([np.concatenate([each[name] for name in names], axis=1) for each in examples])
    targets = targets.astype(np.float32)
    del examples
    within = np.append(np.arange(0, FRAMES - WINDOW_FRAMES, HOP_FRAMES), FRAMES - WINDOW_FRAMES)
    starts = (FRAMES * np.arange(len(shards))[:, None] + within).reshape(-1)
    rng = np.random.default_rng(0)
    while True:
        rng.shuffle(starts)
        for first in range(0, len(starts) - BATCH_SIZE + 1, BATCH_SIZE):
            chosen = starts[first : first + BATCH_SIZE, None] + np.arange(WINDOW_FRAMES)  # (B, T)
            yield features[chosen], targets[chosen]


def batches_of(route: str, shards: Sequence[Path]) -> Iterator:
    """The batches of one of `ROUTES`."""
    if route == "one array":
        return published_batches(shards)
    stream = train_stream(
        shards, SCHEMA, TARGETS, sequence_frames=WINDOW_FRAMES, sequence_hop_frames=HOP_FRAMES,
        batch_size=BATCH_SIZE, shuffle_buffer_mb=BUFFER_MB, seed=0, cache=route == "cached",
    )  # fmt: skip
    return iter(stream)


def measure_route(route: str, shards: Sequence[Path], n_batches: int) -> list[Figure]:
    """Measures one route; in a process of its own, since memory is counted from the start of the process."""
    batches = batches_of(route, shards)
    next(batches)  # fills the buffers
    rate = n_batches / wall_s(lambda: [None for _ in islice(batches, n_batches)])
    name = f"{route}, {len(shards)} recordings"
    return [
        Figure(f"{name}: windows", BATCH_SIZE * rate, "1/s"),
        Figure(f"{name}: batches", rate, "1/s"),
        Figure(f"{name}: peak memory of the process", peak_megabytes(), "MB"),
    ]


def measure_libraries() -> list[Figure]:
    """Measures the memory of a process that has loaded what the routes need, and no data."""
    return [Figure("no data: peak memory of the process", peak_megabytes(), "MB")]


def measure(quick: bool, folder: Path) -> list[Figure]:
    """Measures all routes for several numbers of recordings; with `quick` in one process, whose memory says nothing."""
    sizes, n_batches = ((1,), 2) if quick else ((10, 20, 40), 300)
    shards = write_recordings(folder, max(sizes))
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, max_tasks_per_child=None if quick else 1) as pool:
        tasks = [pool.submit(measure_route, route, shards[:size], n_batches) for route in ROUTES for size in sizes]
        tasks.append(pool.submit(measure_libraries))
        return [figure for task in tasks for figure in task.result()]


def windows_table(figures: Sequence[Figure]) -> str:
    """One row for each route and number of recordings, one column for each of its figures."""
    return pivot_table(figures, "route, recordings")


if __name__ == "__main__":
    run_alone(TITLE, measure, to_table=windows_table)

"""Cost of one more recording apart from its features: files, manifest, opening, memory.

python -m benchmarks.large_stores [--quick]
"""

import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from benchmarks.measure import Figure, Goal, peak_megabytes, run_alone
from common.data.extraction import Item, Recipe, extract
from common.data.feature_store import MANIFEST, FeatureStore
from common.data.tfrecord import ArraySpec, ExampleSchema
from common.settings.parallel import ParallelConfig
from common.settings.pipeline import PipelineConfig

TITLE = (
    "Stores of many tiny recordings, of 8 frames with 2 bands: costs of each apart from its"
    " features, on one core"
)
FRAMES, CLASSES = 8, 3
SCHEMA = ExampleSchema(
    {
        "features": ArraySpec("float32", (None, 2, 1)),
        "activity": ArraySpec("uint8", (None, CLASSES)),
    }
)
ONE, MANY = "one recording in a shard", "64 recordings in a shard"
PER_SHARD = {ONE: 1, MANY: 64}


def tiny_example(item: Item) -> dict[str, np.ndarray]:
    """Arrays that take no time to compute."""
    values = np.arange(FRAMES * 2, dtype=np.float32).reshape(FRAMES, 2, 1)
    return {"features": values, "activity": np.zeros((FRAMES, CLASSES), np.uint8)}


def build(folder: Path, recordings: int, per_shard: int) -> float:
    """Writes a store and returns the seconds that took."""
    items = [Item(f"recording_{number:07d}", "train") for number in range(recordings)]
    start = time.perf_counter()
    recipe = Recipe(folder, tiny_example, SCHEMA, {}, per_shard)
    extract(recipe, items, parallel=ParallelConfig(jobs=1), progress=False)
    return time.perf_counter() - start


def use(folder: Path) -> tuple[float, float, float]:
    """Opens a store and reads a pass of batches; seconds of both, and peak memory in MB."""
    from common.data.pipeline import train_stream
    from common.data.selection import Selection
    from common.data.sequences import SequenceFormat

    start = time.perf_counter()
    store = FeatureStore.open(folder)
    opened_s = time.perf_counter() - start
    pipeline = PipelineConfig(sequence_frames=FRAMES, batch_size=32)
    sequence_format = SequenceFormat({"sed": ("activity",)})
    batches = train_stream(Selection(store), sequence_format, pipeline, seed=0)
    start = time.perf_counter()
    for _ in batches.take(len(store.names()) // 32):
        pass
    return opened_s, time.perf_counter() - start, peak_megabytes()


def measure(quick: bool, folder: Path) -> list[Figure | Goal]:
    """Measures two sizes of store in separate processes; figures are differences per recording."""
    sizes = (32, 96) if quick else (500, 3_000)
    spawn = multiprocessing.get_context("spawn")
    figures: list[Figure | Goal] = []
    with ProcessPoolExecutor(1, mp_context=spawn, max_tasks_per_child=None if quick else 1) as pool:
        for form, per_shard in PER_SHARD.items():
            written_s, used, manifest_bytes = [], [], []
            for size in sizes:
                own = folder / f"{per_shard}_{size}"
                written_s.append(pool.submit(build, own, size, per_shard).result())
                used.append(pool.submit(use, own).result())
                manifest_bytes.append((own / MANIFEST).stat().st_size)
            figures += _per_recording(form, sizes, written_s, used, manifest_bytes)
    return figures


def _per_recording(
    form: str,
    sizes: Sequence[int],
    written_s: Sequence[float],
    used: Sequence[tuple[float, float, float]],
    manifest_bytes: Sequence[int],
) -> list[Figure]:
    more = sizes[1] - sizes[0]
    opened_s, read_s, peak_mb = ([each[place] for each in used] for place in range(3))

    def each(values: Sequence[float], scale: float) -> float:
        return max(values[1] - values[0], 0.0) * scale / more or 1e-9  # tiny forms drown in noise

    return [
        Figure(f"{form}: written in", each(written_s, 1e3), "ms"),
        Figure(f"{form}: opened in", each(opened_s, 1e6), "us"),
        Figure(f"{form}: read in", each(read_s, 1e6), "us"),
        Figure(f"{form}: in the manifest", each(manifest_bytes, 1.0), "bytes"),
        Figure(f"{form}: in memory while training", each(peak_mb, 1e3), "kB"),
    ]


if __name__ == "__main__":
    run_alone(TITLE, measure)

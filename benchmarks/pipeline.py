"""How many feature frames a second reach the training, from shards on disk.

python -m benchmarks.pipeline [--quick]
"""

import collections
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.extraction import KINDS, dataset
from benchmarks.measure import Figure, run_alone, task, wall_s
from common.pipeline import batches_per_pass, evaluation_stream, train_stream
from seld.augmentation import foa_transforms
from seld.extraction import run

TITLE = "Pipeline: shuffled training batches and whole recordings from shards, all cores"
TARGETS = {"sed": ("activity",), "doa": ("activity", "azimuth_deg", "elevation_deg")}


def frames_per_s(stream: Any, batches: int, frames_per_batch: int) -> float:
    """Rate at which batches come, after a first one that fills the buffers."""
    iterator = iter(stream)
    next(iterator)
    return batches * frames_per_batch / wall_s(lambda: [next(iterator) for _ in range(batches)])


def measure(quick: bool, folder: Path) -> list[Figure]:
    """Measures training batches with and without augmentation, and evaluation, for both kinds of features."""
    recordings, recording_s, passes = (1, 6.0, 1) if quick else (12, 60.0, 5)
    dataset(folder / "dataset", recordings, recording_s)
    figures = []
    for kind in KINDS:
        settings = task("1", folder, f"features.kind={kind}", f"dataset.recording_s={recording_s}")
        (store,) = run(settings, ["dev"], progress=False)
        shards, frames = store.shards(store.groups), store.frames(store.groups)
        cut = settings.pipeline.sequence_frames
        size = 2 if quick else settings.pipeline.batch_size
        batches = batches_per_pass(frames, cut, size) * passes
        for transforms, name in ((None, "training"), (foa_transforms(kind), "training with rotations")):
            stream = train_stream(
                shards, store.schema, TARGETS, sequence_frames=cut, batch_size=size, shuffle_buffer_mb=256, seed=0,
                transforms=transforms,
            )  # fmt: skip
            rate = frames_per_s(stream, batches, size * cut)
            figures.append(Figure(f"{kind}: {name}", rate, "frames/s"))
        whole = evaluation_stream(shards, store.schema, TARGETS, sequence_frames=cut)
        seconds = wall_s(partial(collections.deque, whole, maxlen=0))  # reads all, keeps none
        figures.append(Figure(f"{kind}: evaluation", sum(frames) / seconds, "frames/s"))
    return figures


if __name__ == "__main__":
    run_alone(TITLE, measure)

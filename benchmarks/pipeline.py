"""Feature frames per second from shards to training, ours and the published generator.

python -m benchmarks.pipeline [--quick]
"""

import collections
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.baselines.feeding import seldnet_batches, write_arrays
from benchmarks.extraction import KINDS, dataset
from benchmarks.measure import Figure, Goal, Timing, in_turns, run_alone, task, wall_s
from common.data.augmentation import Augmentation
from common.data.feature_store import FeatureStore
from common.data.pipeline import evaluation_stream, train_stream
from common.data.selection import Selection
from common.data.sequences import SequenceFormat, batches_per_pass
from common.data.tfrecord import read_shard
from common.settings.pipeline import PipelineConfig
from seld.augmentation import foa_transforms
from seld.extraction import run
from seld.features import KINDS as FEATURE_KINDS

TITLE = (
    "Pipeline: shuffled training batches and whole recordings from shards in the page cache, all"
    "cores, and the published generator over NumPy files, which are in the page cache, too"
)
TARGETS = {"sed": ("activity",), "doa": ("activity", "azimuth_deg", "elevation_deg")}
LABELS = TARGETS["doa"]
FORMAT = SequenceFormat(TARGETS)
WORK = "feeding SELDnet batches, against the published generator"


def rate_of(
    new_batches: Callable[[], Iterator], n_batches: int, frames_per_batch: int
) -> Callable[[], float]:
    """A route for `in_turns`: frames per second of some batches, after as many for warm-up.

    The batches are made again each time, so that none wait in buffers when time begins, and that
    none are read while another route is measured.
    """

    def route() -> float:
        batches = new_batches()
        collections.deque(islice(batches, n_batches), maxlen=0)
        return (
            n_batches
            * frames_per_batch
            / wall_s(lambda: collections.deque(islice(batches, n_batches), maxlen=0))
        )

    return route


def write_baseline(folder: Path, store: FeatureStore) -> None:
    """Writes the same recordings as the published code stores them."""
    for shard in store.shards(store.groups):
        for example in read_shard(shard, store.schema):
            write_arrays(
                folder, example["name"], example["features"], [example[name] for name in LABELS]
            )


def check_same(batch: Any, folder: Path) -> None:
    """Compares sequences of ours with the files of the published generator.

    Raises:
        ArithmeticError: a sequence is in none of them.
    """
    features, targets = batch
    files = [
        np.load(path, mmap_mode="r", allow_pickle=False)
        for path in sorted((folder / "features").iterdir())
    ]
    for sequence, known in zip(features.numpy(), targets["sed"].numpy(), strict=True):
        flat = sequence[known[:, 0] >= 0].reshape(-1, files[0].shape[1])  # without padding
        starts = (
            (file, int(row)) for file in files for row in np.flatnonzero(file[:, 0] == flat[0, 0])
        )
        if not any(np.array_equal(file[row : row + len(flat)], flat) for file, row in starts):
            raise ArithmeticError(
                "A sequence of the stream is not in the recordings that were written."
            )


def rates(
    store: FeatureStore, kind: Any, folder: Path, settings: Any, quick: bool
) -> dict[str, Timing]:
    """Frames per second of our routes and, for magnitude and phase, the published one, in turns."""
    cut = settings.pipeline.sequence_frames
    size = 2 if quick else settings.pipeline.batch_size
    n_passes = 1 if quick else 2
    selection, frames = Selection(store), store.frames()
    pipeline = PipelineConfig(sequence_frames=cut, batch_size=size, shuffle_buffer_mb=256)
    n_batches = batches_per_pass(frames, pipeline) * n_passes
    routes = {}
    swaps = FEATURE_KINDS[kind].channel_swaps
    rotations = None if swaps is None else foa_transforms(swaps)
    for transforms, name in ((None, "training"), (rotations, "training with rotations")):
        stream = train_stream(
            selection, FORMAT, pipeline, seed=0, augmentation=Augmentation(transforms=transforms)
        )
        routes[name] = rate_of(partial(iter, stream), n_batches, size * cut)
    if kind == "magnitude_phase":
        write_baseline(folder, store)
        _, n_bands, n_channels = store.schema.arrays["features"].shape
        bands_channels = (n_bands or 0, n_channels or 0)
        check_same(next(iter(train_stream(selection, FORMAT, pipeline, seed=0))), folder)
        published = partial(seldnet_batches, folder, bands_channels, cut, size)
        routes["published"] = rate_of(published, n_batches, size * cut)
    whole = evaluation_stream(selection, FORMAT, pipeline)
    routes["evaluation"] = lambda: sum(frames) / wall_s(partial(collections.deque, whole, maxlen=0))
    return in_turns(routes, 1 if quick else 5)


def measure(quick: bool, folder: Path) -> list[Figure | Goal]:
    """Measures training batches (also augmented) and evaluation, for both kinds of features."""
    recordings, recording_s = (1, 6.0) if quick else (12, 60.0)
    dataset(folder / "dataset", recordings, recording_s)
    results: list[Figure | Goal] = []
    for kind in KINDS:
        settings = task(
            "seldnet-foa", folder, f"features.kind={kind}", f"dataset.recording_s={recording_s}"
        )
        (store,) = run(settings, ["dev"], progress=False, whole_task=False)
        timings = rates(store, kind, folder / "published", settings, quick)
        results += [
            Figure(f"{kind}: {name}", timing.median, "frames/s") for name, timing in timings.items()
        ]
        if "published" in timings:
            ours, theirs = timings["training"], timings["published"]
            details = f"{ours.text('frames/s')} against {theirs.text('frames/s')}"
            results.append(
                Goal(
                    WORK,
                    ours.median / theirs.median,
                    3,
                    "times the rate",
                    at_least=True,
                    details=details,
                )
            )
    return results


if __name__ == "__main__":
    run_alone(TITLE, measure)

"""Features computed by the model from 16-bit audio, and features from shards: size and speed.

python -m benchmarks.frontend [--quick]
"""

from collections import deque
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np

from benchmarks.extraction import dataset
from benchmarks.measure import Figure, Goal, in_turns, run_alone, task, timed
from common.data.feature_store import FeatureStore
from common.data.pipeline import train_stream
from common.data.selection import Selection
from common.data.sequences import SequenceFormat
from common.features.frontend import Frontend, context_frames
from common.features.settings import frontend_of
from common.settings.pipeline import PipelineConfig
from seld.extraction import run

TITLE = (
    "SELDnet's magnitudes and phases computed by the model from 16-bit audio, and those read"
    " from shards"
)
STORED = {"features": "extraction", "audio": "device"}  # content of shards, and its setting
TAU_MINUTES = 400  # of the development set
SEQUENCE_FRAMES = 128


def batches(store: FeatureStore, frontend: Frontend | None, batch_size: int) -> Iterator[Any]:
    """Endless shuffled training batches of SELDnet's size."""
    pipeline = PipelineConfig(
        sequence_frames=SEQUENCE_FRAMES, batch_size=batch_size, shuffle_buffer_mb=256
    )
    sequence_format = SequenceFormat(
        {"sed": ("activity",)}, context_frames=context_frames(frontend)
    )
    return iter(train_stream(Selection(store), sequence_format, pipeline, seed=0))


def take(stream: Iterator[Any], count: int) -> None:
    """Reads batches and keeps none."""
    deque(islice(stream, count), maxlen=0)


def computing(frontend: Frontend, audio: np.ndarray) -> float:
    """Seconds that the layer takes for a batch (B, S, C), compiled as in a model."""
    import keras  # after the pipeline, which keeps TensorFlow from announcing itself

    from common.models.audio_features import AudioFeatures

    inputs = keras.Input((None, frontend.channels), dtype="int16")
    features = AudioFeatures(frontend)(inputs)
    # an output that is quickly copied
    model = keras.Model(inputs, keras.ops.mean(features, axis=(2, 3)))
    return in_turns({"layer": timed(partial(model.predict_on_batch, audio))}, 5)["layer"].median


def measure(quick: bool, folder: Path) -> list[Figure | Goal]:
    """Measures bytes on disk, the rate of batches, and the layer that computes features."""
    recordings, recording_s, batch_size, n_batches, repeats = (
        (1, 6.0, 2, 1, 1) if quick else (12, 60.0, 16, 22, 5)
    )
    dataset(folder / "dataset", recordings, recording_s)
    streams, megabytes, frontend = {}, {}, None
    for name, setting in STORED.items():
        settings = task(
            "seldnet-foa",
            folder,
            f"features.frontend={setting}",
            f"dataset.recording_s={recording_s}",
        )
        (store,) = run(settings, ["dev"], progress=False, whole_task=False)
        frontend = frontend_of(
            settings.features, settings.dataset.sample_rate_hz, settings.dataset.channels
        )
        streams[name] = batches(store, frontend, batch_size)
        megabytes[name] = sum(entry.n_bytes for entry in store.entries) / 1e6 / recordings
    routes = {name: timed(partial(take, stream, n_batches)) for name, stream in streams.items()}
    timings = in_turns(routes, repeats)
    results: list[Figure | Goal] = [_size_goal(megabytes["audio"] * 60.0 / recording_s)]
    frames = batch_size * SEQUENCE_FRAMES
    for name, timing in timings.items():
        results.append(Figure(f"{name}: on disk per recording", megabytes[name], "MB"))
        results.append(
            Figure(
                f"{name}: shuffled training batches", n_batches * frames / timing.median, "frames/s"
            )
        )
    layer_s = computing(cast(Frontend, frontend), np.asarray(next(streams["audio"])[0]))
    return [
        *results,
        Figure("audio: features computed by the layer on the CPU", frames / layer_s, "frames/s"),
    ]


def _size_goal(megabytes_per_minute: float) -> Goal:
    gigabytes = megabytes_per_minute * TAU_MINUTES / 1e3
    return Goal(
        "shards of TAU 2019 as audio",
        gigabytes,
        10.0,
        "GB",
        at_least=False,
        details="published: 160 GB",
    )


if __name__ == "__main__":
    run_alone(TITLE, measure)

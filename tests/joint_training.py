"""A small stage, trained by one or several devices or processes; run by `test_joint_training`."""

import json
import sys
import time
from pathlib import Path

import numpy as np

from common.errors import ConfigError
from common.runtime.backend import choose_backend
from common.settings.pipeline import PipelineConfig
from common.settings.tasks import RunConfig, TrainingConfig

BATCH_SIZE, SHAPE = 4, (6, 2)
# Adam's epsilon keeps what is rounded otherwise on other devices from becoming a step of full
# length.
TRAINING = TrainingConfig(
    epochs=4, iterations_per_epoch=4, patience_epochs=0, learning_rate=0.01, epsilon=1e-3
)
# of recordings to train on; sequences have 10, so that some are padded
FRAMES = (25, 3, 31, 8, 22, 17, 40, 12, 6)
VALIDATING = 2  # more recordings, of equal length: JAX compiles the prediction for each


def write_features(folder: Path) -> None:
    """Writes a store in shards of two recordings and one; every third recording is unlabelled."""
    from common.data.extraction import Item, Recipe, extract
    from common.data.tfrecord import ArraySpec, ExampleSchema
    from common.settings.parallel import ParallelConfig

    def compute(item: Item) -> dict[str, np.ndarray]:
        rng, labelled = np.random.default_rng(item.payload), item.payload % 3 > 0
        frames = (*FRAMES, *VALIDATING * [20])[item.payload]
        return {
            "features": rng.normal(1.0, 2.0, (frames, *SHAPE)).astype(np.float16),
            "activity": (rng.random((frames, 3)) > 0.6).astype(np.uint8) * labelled,
            "azimuth_deg": rng.integers(-180, 180, (frames, 3)).astype(np.int16),
            "elevation_deg": rng.integers(-40, 40, (frames, 3)).astype(np.int16),
            "labelled": np.array(labelled, np.uint8),
            "events": np.zeros((0, 6)),
        }

    per_frame = {"activity": "uint8", "azimuth_deg": "int16", "elevation_deg": "int16"}
    arrays = {name: ArraySpec(kind, (None, 3)) for name, kind in per_frame.items()}
    arrays |= {
        "features": ArraySpec("float16", (None, *SHAPE)),
        "events": ArraySpec("float64", (None, 6)),
    }
    schema = ExampleSchema(arrays | {"labelled": ArraySpec("uint8", ())})
    groups = [*len(FRAMES) * ["train"], *VALIDATING * ["validate"]]
    items = [Item(f"r{number:02d}", group, payload=number) for number, group in enumerate(groups)]
    one = ParallelConfig(jobs=1)
    recipe = Recipe(folder, compute, schema, {}, recordings_per_shard=2)
    extract(recipe, items, parallel=one, progress=False)


class MeanOutput:
    """Scores a set by the distance of its mean output from one half; may never come back."""

    def __init__(self, last_epoch: int | None = None, folder: Path | None = None):
        self.sums = 0.0
        self.frames = 0
        self.hangs = bool(folder and (folder / f"epoch-{last_epoch:05d}").exists())

    def update(self, prediction):
        if self.hangs:
            time.sleep(100_000)
        self.sums += float(prediction.outputs["sed"].mean()) * prediction.frames
        self.frames += prediction.frames

    def result(self):
        return {"error": abs(self.sums / self.frames - 0.5)}


def train(
    features: Path,
    folder: Path,
    run: RunConfig,
    dropout: float = 0.0,
    last_epoch: int | None = None,
):
    """Trains the stage; a process with a stored epoch hangs in the scores of the next one."""
    import keras

    from common.data.feature_store import FeatureStore
    from common.data.selection import Selection
    from common.models.layers import BatchNormalization
    from common.models.losses import MaskedBinaryCrossentropy
    from common.training.stage import Goal, train_stage
    from common.training.stage_data import stage_data
    from common.training.system import Stage
    from seld.losses.directions import MaskedAngleError

    def build(shape):
        inputs = keras.Input(shape)
        x = keras.layers.Conv2D(4, 3, padding="same")(inputs)
        x = keras.layers.Activation("relu")(BatchNormalization(momentum=0.8)(x))
        x = keras.layers.Dropout(dropout)(keras.layers.Reshape((-1, 4 * shape[1]))(x))
        sed, doa = keras.layers.Dense(3, "sigmoid", name="sed"), keras.layers.Dense(6, name="doa")
        return keras.Model(inputs, {"sed": sed(x), "doa": doa(x)})

    targets = {"sed": ("activity",), "doa": ("activity", "azimuth_deg", "elevation_deg")}
    losses = {"sed": MaskedBinaryCrossentropy(), "doa": MaskedAngleError(root=True)}
    stage = Stage("sed", build, targets, losses, {"sed": 1.0, "doa": 0.1})
    store = FeatureStore.open(features)
    chosen, validating = (Selection(store, (group,)) for group in ("train", "validate"))
    pipeline = PipelineConfig(sequence_frames=10, batch_size=BATCH_SIZE)
    data = stage_data(stage, chosen, validating, store.statistics(), pipeline, seed=1)
    goal = Goal(
        "val_error",
        "min",
        lambda: MeanOutput(last_epoch, last_epoch and folder / "resume"),
        panels=[],
    )
    train_stage(stage, data, goal, TRAINING, run, folder, seed=2)


def _process(features: str, folder: str, multi_host: str, last_epoch: str) -> None:
    """Trains in one of several processes on JAX, or in the only one; prints the history."""
    settings, epoch = json.loads(multi_host), json.loads(last_epoch)
    shared = {} if settings is None else {"distribution": "multi_host", "multi_host": settings}
    run = RunConfig(backend="jax", device="cpu", **shared)
    choose_backend(run)
    from common.runtime import distribution
    from common.runtime import multi_host as processes
    from common.training.stage import finished_epochs

    distribution.prepare(run, [BATCH_SIZE])
    with processes.own_folder(Path(folder)) as own:
        train(Path(features), own, run, dropout=0.3, last_epoch=epoch)
        print(json.dumps({"folder": str(own), "history": finished_epochs(own)["history"]}))


def _mirrored(features: str, folder: str) -> None:
    """Trains on one device, then on two logical ones that share each batch, on TensorFlow."""
    alone, mirrored = (RunConfig(device="cpu", distribution=kind) for kind in ("none", "mirrored"))
    choose_backend(alone)
    import tensorflow as tf

    two = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], two)
    from common.runtime import distribution

    for name, run in (("alone", alone), ("mirrored", mirrored)):
        distribution.prepare(run, [BATCH_SIZE])
        train(Path(features), Path(folder) / name, run)
    try:
        distribution.prepare(mirrored, [BATCH_SIZE, 3])
    except ConfigError as error:
        print(error)


if __name__ == "__main__":
    {"process": _process, "mirrored": _mirrored}[sys.argv[1]](*sys.argv[2:])

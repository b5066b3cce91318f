"""Streams with inputs of whole recordings beside the features, such as embeddings."""

import numpy as np
import pytest

from common.data.feature_store import FeatureStore, ShardEntry
from common.data.pipeline import evaluation_stream, parts_stream, train_stream
from common.data.selection import BatchPart, BatchParts, Selection
from common.data.sequences import SequenceFormat
from common.data.tfrecord import ArraySpec, ExampleSchema, write_shard
from common.errors import DataError
from common.settings.pipeline import PipelineConfig
from common.training.evaluation import predict_recordings

LENGTH, COUNT = 6, 7
SCHEMA = ExampleSchema(
    {
        "features": ArraySpec("float16", (None, 2, 1)),
        "embeddings": ArraySpec("float16", (4, 3)),
        "valid": ArraySpec("uint8", (2,)),
        "activity": ArraySpec("int8", (None, 2)),
        "tags": ArraySpec("int8", (2,)),
        "events": ArraySpec("float64", (None, 3)),
    }
)
FORMAT = SequenceFormat(
    {"clip": ("tags",), "frames": ("activity",)}, inputs=("embeddings", "valid")
)
ROUTES = {"streamed": {}, "drawn": {"shuffle_buffer_mb": 1.0}, "cached": {"cache": True}}


def embeddings(number):
    return (number + np.arange(12).reshape(4, 3) / 16).astype(np.float16)


def clip(number, frames=LENGTH):
    return {
        "features": np.full((frames, 2, 1), number, np.float16),
        "embeddings": embeddings(number),
        "valid": np.array([number % 2, 1], np.uint8),
        "activity": np.ones((frames, 2), np.int8),
        "tags": np.full(2, number, np.int8),
        "events": np.zeros((0, 3)),
    }


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder, entries = tmp_path_factory.mktemp("shards"), []
    for group, numbers in (("a", range(3)), ("b", range(3, COUNT))):
        path = folder / f"{group}.tfrecord"
        frames = tuple(LENGTH - (number == 2) for number in numbers)
        pairs = zip(numbers, frames, strict=True)
        write_shard(path, [(f"c{n}", clip(n, count)) for n, count in pairs], SCHEMA)
        entries.append(ShardEntry(path.name, group, tuple(f"c{n}" for n in numbers), frames, 0, 0))
    return FeatureStore(folder, {}, SCHEMA, entries)


def check(inputs, targets):
    assert sorted(inputs) == ["embeddings", "features", "valid"]
    assert inputs["embeddings"].dtype == np.float16 and inputs["valid"].dtype == np.uint8
    for row, number in enumerate(inputs["features"][:, 0, 0, 0].astype(int)):
        np.testing.assert_array_equal(inputs["embeddings"][row], embeddings(number))
        assert inputs["valid"][row].tolist() == [number % 2, 1]
        assert targets["clip"][row].tolist() == [number, number]


@pytest.mark.parametrize("route", ROUTES)
def test_inputs_come_with_each_sequence(store, route):
    settings = PipelineConfig(
        sequence_frames=LENGTH, batch_size=3, last_batch="drop", **ROUTES[route]
    )
    stream = train_stream(Selection(store), FORMAT, settings, seed=1)
    assert stream.element_spec[0]["embeddings"].shape == (3, 4, 3)
    seen = set()
    for inputs, targets in stream.take(6).as_numpy_iterator():
        check(inputs, targets)
        seen |= set(inputs["features"][:, 0, 0, 0].astype(int))
    assert len(seen) > 5


def test_inputs_come_with_the_rows_of_parts(store):
    parts = BatchParts(
        tuple(BatchPart(name, Selection(store, (name,)), 2) for name in "ab"), number_output="part"
    )
    settings = PipelineConfig(sequence_frames=LENGTH, last_batch="drop")
    for devices in (1, 2):
        stream = parts_stream(parts, FORMAT, settings, seed=1, n_devices=devices)
        for inputs, targets in stream.take(4).as_numpy_iterator():
            check(inputs, targets)
            assert (targets["part"] == (inputs["features"][:, 0, 0, 0] >= 3)).all()


def test_inputs_come_with_recordings_and_reach_the_model(store):
    settings = PipelineConfig(sequence_frames=LENGTH)
    elements = list(evaluation_stream(Selection(store), FORMAT, settings).as_numpy_iterator())
    assert len(elements) == COUNT
    for element in elements:
        check(element["features"], element["targets"])

    class Model:
        def predict_on_batch(self, batch):
            return {"clip": batch["embeddings"].mean(axis=1), "frames": batch["features"][..., 0]}

    for number, prediction in enumerate(predict_recordings(Model(), elements)):
        np.testing.assert_array_equal(
            prediction.outputs["clip"], embeddings(number)[None].mean(axis=1)[0]
        )
        assert prediction.frames == LENGTH - (number == 2)


def test_inputs_with_frames_need_recordings_of_one_sequence(store):
    short = PipelineConfig(sequence_frames=3, batch_size=2)
    for settings in (short, short.model_copy(update={"cache": True})):
        with pytest.raises(DataError, match=r"embeddings belong.*at most 3.*sequence_frames: 6"):
            train_stream(Selection(store), FORMAT, settings, seed=1)
    with pytest.raises(DataError, match="embeddings belong to whole recordings"):
        evaluation_stream(Selection(store), FORMAT, short)
    only_valid = SequenceFormat(FORMAT.targets, inputs=("valid",))
    stream = train_stream(Selection(store), only_valid, short, seed=1)
    ((inputs, _),) = stream.take(1).as_numpy_iterator()
    assert inputs["valid"].shape == (2, 2)


def test_inputs_without_a_fixed_shape_or_unknown_ones_are_refused(store):
    settings = PipelineConfig(sequence_frames=LENGTH, batch_size=2)
    for name, message in (("events", "fixed shape"), ("absent", "lacks arrays")):
        wrong = SequenceFormat(FORMAT.targets, inputs=(name,))
        with pytest.raises(ValueError, match=message):
            train_stream(Selection(store), wrong, settings, seed=1)

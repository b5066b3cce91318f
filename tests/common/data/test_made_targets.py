"""Targets made from events belong to the frames of the sequences that they come with."""

import numpy as np
import pytest

from common.data.pipeline import evaluation_stream, train_stream
from common.data.selection import Selection
from common.data.sequences import SequenceFormat
from common.data.tfrecord import ArraySpec, ExampleSchema, write_shard
from common.settings.pipeline import PipelineConfig

SCHEMA = ExampleSchema(
    {
        "features": ArraySpec("float32", (None, 2, 1)),
        "events": ArraySpec("float64", (None, 3)),
        "labelled": ArraySpec("uint8", ()),
    }
)
FRAMES = [43, 7, 60]


class Middles:
    """Target of an output frame: 1000 * recording + its middle feature frame; -1 outside."""

    shapes, vectors = {"place": (1,)}, {}

    def table(self, events, frames, labelled):
        return events[0, 0] * 1000 if len(events) else None, frames if labelled else 0

    def n_lost(self, table):
        return int(table[1] == FRAMES[0])

    def make(self, table, middles):
        first, frames = table
        return {"place": np.where(middles < frames, first + middles, -1)[:, None].astype("float32")}


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    for number, frames in enumerate(FRAMES):
        features = 1000.0 * number + np.arange(frames)
        record = {
            "features": np.repeat(features, 2).reshape(frames, 2, 1).astype(np.float32),
            "events": np.full((number + 1, 3), number, np.float64),
            "labelled": np.array(number < 2, np.uint8),
        }
        write_shard(folder / f"{number}.tfrecord", [(f"r{number}", record)], SCHEMA)
    return sorted(folder.iterdir())


def streams(shards, make, **options):
    settings = PipelineConfig(**{"sequence_frames": 10, "batch_size": 2} | options)
    selected = Selection.of_shards(shards, SCHEMA)
    return make(selected, SequenceFormat({}, 5, event_targets=Middles()), settings)


@pytest.mark.parametrize("options", [{}, {"cache": True}, {"sequence_hop_frames": 5}])
def test_training_targets_belong_to_the_frames_of_their_sequences(shards, options):
    def make(*given):
        return train_stream(*given, seed=1)

    seen = 0
    for features, targets in streams(shards, make, last_batch="drop", **options).take(8):
        first = features.numpy()[:, 0, 0, 0]  # (B,)
        place = targets["place"].numpy()[..., 0]  # (B, 2)
        assert place.shape == (2, 2)
        for start, own in zip(first, place, strict=True):
            expected = [start + 2, start + 7]
            if start >= 2000:
                expected = [-1, -1]
            elif start == 1000:
                expected = [1002, -1]
            assert own.tolist() == expected
            seen += 1
    assert seen == 16


@pytest.mark.parametrize("whole", [False, True])
def test_evaluation_targets_cover_recordings_and_their_padding(shards, whole):
    options = {"whole_recordings": whole, "last_batch": "keep"}
    elements = list(streams(shards, evaluation_stream, **options))
    first = elements[0]["targets"]["place"].numpy()
    assert first.shape == ((1, 8, 1) if whole else (5, 2, 1))
    expected = np.where(5 * np.arange(10) + 2 < 43, 5 * np.arange(10) + 2, -1)
    np.testing.assert_array_equal(first.ravel(), expected[: first.size])
    assert (elements[2]["targets"]["place"].numpy() == -1).all()


def test_events_without_a_place_in_the_targets_are_told(shards, caplog):
    def make(*given):
        return train_stream(*given, seed=1)

    streams(shards, make, last_batch="drop")
    assert "1 label frame(s) of sources in the training recordings are not learned" in caplog.text

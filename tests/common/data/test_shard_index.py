"""The index of shards and frames read by it, compared with protocol buffers and whole records."""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from common.data.pipeline import evaluation_stream, guard_stream, train_stream
from common.data.selection import Selection
from common.data.sequences import SequenceFormat
from common.data.shard_index import FrameReader, Records, _Buffers, _Calls, index_shard
from common.data.tfrecord import ArraySpec, ExampleSchema, read_shard, write_shard
from common.errors import DataError
from common.settings.pipeline import PipelineConfig
from tests.fuzz.shards import features_of, framed, message_of
from tests.patience import PATIENCE_S

SCHEMA = ExampleSchema(
    {
        "features": ArraySpec("float16", (None, 4, 3)),
        "activity": ArraySpec("int16", (None, 2)),
        "tags": ArraySpec("int8", (5,)),
        "labelled": ArraySpec("uint8", ()),
    }
)
FORMAT = SequenceFormat({"y": ("activity",)})
FRAMES = (300, 7, 150)  # 300 takes two bytes in the wire format


def recording(number, frames):
    rng = np.random.default_rng(number)
    return {
        "features": rng.standard_normal((frames, 4, 3)).astype(np.float16),
        "activity": rng.integers(-300, 300, (frames, 2)).astype(np.int16),
        "tags": rng.integers(-9, 9, 5).astype(np.int8),
        "labelled": np.array(number % 2, np.uint8),
    }


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    recordings = [(f"r{number}", recording(number, frames)) for number, frames in enumerate(FRAMES)]
    write_shard(folder / "a.tfrecord", recordings[:2], SCHEMA)
    write_shard(folder / "b.tfrecord", recordings[2:], SCHEMA)
    return sorted(map(str, folder.iterdir()))


def training(shards, schema=SCHEMA, **settings):
    pipeline = PipelineConfig(**{"sequence_frames": 10, "batch_size": 4} | settings)
    return train_stream(Selection.of_shards(shards, schema), FORMAT, pipeline, seed=0)


def test_the_bytes_at_an_index_are_those_of_the_array(shards, tmp_path):
    for path in (tmp_path.joinpath(shard) for shard in shards):
        content = path.read_bytes()
        for record, example in zip(
            index_shard(path, SCHEMA), read_shard(path, SCHEMA), strict=True
        ):
            assert record.name == example["name"]
            for name in SCHEMA.arrays:
                stored = example[name].tobytes()
                assert content[record.offsets[name] :][: len(stored)] == stored
                assert record.shapes[name] == example[name].shape


def test_frames_and_whole_arrays_are_those_that_were_written(shards):
    records = Records.find(shards, SCHEMA, lambda name: True)
    assert records.names == ["r0", "r1", "r2"] and records.ends.tolist() == [2, 3]
    assert records.frames["features"].tolist() == list(FRAMES)
    reader = FrameReader([records], 10)
    batch = dict(zip(reader.names, reader(np.array([2, 0, 1]), np.array([140, 3, 0])), strict=True))
    for name, array in batch.items():
        np.testing.assert_array_equal(array[0], recording(2, 150)[name][140:150])
        np.testing.assert_array_equal(array[1], recording(0, 300)[name][3:13])
        np.testing.assert_array_equal(array[2, :7], recording(1, 7)[name])
        assert (array[2, 7:] == array[2, 6]).all()  # the last frame is repeated
    np.testing.assert_array_equal(
        records.whole("tags"), [recording(n, FRAMES[n])["tags"] for n in range(3)]
    )
    assert records.whole("labelled").tolist() == [0, 1, 0]


def test_only_selected_recordings_are_found(shards):
    records = Records.find(shards, SCHEMA, lambda name: name == "r2")
    assert (
        records.names == ["r2"]
        and records.shard_of.tolist() == [1]
        and records.ends.tolist() == [0, 1]
    )


@pytest.mark.parametrize("damage", ["cut", "empty", "missing", "another schema", "noise"])
def test_a_file_of_another_form_is_refused_by_name(shards, tmp_path, damage):
    path, schema = tmp_path / "bad.tfrecord", SCHEMA
    content = tmp_path.joinpath(shards[0]).read_bytes()
    if damage == "another schema":
        schema = ExampleSchema({"features": ArraySpec("float32", (None, 4, 3))})
    changed = {"cut": content[:-20], "empty": b"", "noise": bytes(range(256)) * 9}.get(
        damage, content
    )
    if damage != "missing":
        path.write_bytes(changed)
    with pytest.raises(DataError, match=r"Damaged shard: .*bad\.tfrecord"):
        index_shard(path, schema)


def test_memory_of_a_batch_is_reused_only_without_views():
    buffers = _Buffers()
    first = buffers.take((2, 3, 4))
    assert first.ctypes.data % 64 == 0 and first.flags.writeable
    address, view = first.ctypes.data, first.view(np.float16).reshape(-1)[1:]
    del first
    second = buffers.take((2, 3, 4))
    assert not np.shares_memory(second, view)
    del view
    assert buffers.take((2, 3, 4)).ctypes.data == address


def test_kept_batches_do_not_change_while_more_are_read(shards):
    stream = training(shards)
    kept = [(x, x.numpy().copy()) for x, _ in stream.take(60)]
    assert all(np.array_equal(x, copy) for x, copy in kept)


def test_a_shard_that_vanishes_after_the_first_pass_is_named(shards, tmp_path):
    path = tmp_path / "gone.tfrecord"
    path.write_bytes(tmp_path.joinpath(shards[0]).read_bytes())
    stream = iter(training([path]))
    next(stream)
    path.unlink()
    with pytest.raises(DataError, match=r"gone\.tfrecord"), guard_stream([path]):
        for _ in range(100):
            next(stream)


def test_a_flipped_bit_is_found_in_the_first_pass(shards, tmp_path):
    path = tmp_path / "flipped.tfrecord"
    content = bytearray(tmp_path.joinpath(shards[0]).read_bytes())
    content[index_shard(tmp_path.joinpath(shards[0]), SCHEMA)[0].offsets["features"] + 100] ^= 1
    path.write_bytes(content)
    stream = iter(training([path]))
    with pytest.raises(tf.errors.DataLossError):
        next(stream)


def test_no_call_begins_any_more_once_the_program_ends():
    calls = _Calls()
    with calls:
        pass
    calls.end()
    with pytest.raises(RuntimeError, match="The program ends"), calls:
        pass


ENDS_WHILE_READING = """
import sys
from tests.common.data.test_shard_index import LARGE, training
stream = iter(training(sys.argv[1:], LARGE, sequence_frames=128, batch_size=16))
next(stream)
"""
LARGE = ExampleSchema(
    {"features": ArraySpec("float16", (None, 1024, 8)), "activity": ArraySpec("uint8", (None, 1))}
)


def test_a_program_ends_while_a_stream_is_still_read(tmp_path):
    arrays = {
        "features": np.zeros((2048, 1024, 8), np.float16),
        "activity": np.zeros((2048, 1), np.uint8),
    }
    write_shard(tmp_path / "large.tfrecord", [("r", arrays)], LARGE)
    command = [sys.executable, "-c", ENDS_WHILE_READING, str(tmp_path / "large.tfrecord")]
    subprocess.run(command, check=True, timeout=PATIENCE_S)


@pytest.mark.parametrize("shape", [(2**61, 4, 3), (2**63, 4, 3), (2**64 - 1, 4, 3), (0, 2**40, 3)])
def test_sizes_whose_product_leaves_64_bits_are_refused(tmp_path, shape):
    empty = recording(0, 0)
    (tmp_path / "bad.tfrecord").write_bytes(
        framed(message_of(features_of("r", empty, {"features": shape})))
    )
    with pytest.raises(DataError, match=r"Damaged shard: .*bad\.tfrecord"):
        index_shard(tmp_path / "bad.tfrecord", SCHEMA)


@pytest.mark.parametrize("damage", ["no frames", "lost", "shape", "length"])
def test_wrong_shards_with_right_checksums_are_named_by_every_stream(tmp_path, damage):
    features = features_of("r", recording(0, 0 if damage == "no frames" else 30), {})
    if damage == "lost":
        del features["activity"]
    elif damage == "shape":
        features |= features_of("r", {"features": np.zeros((15, 4, 6), np.float16)}, {})
    path = tmp_path / "bad.tfrecord"
    path.write_bytes(framed(message_of(features), 2**40 if damage == "length" else None))
    selection = Selection.of_shards([path], SCHEMA)
    streams = [
        lambda: next(iter(training([path], batch_size=1))),
        lambda: next(iter(training([path], batch_size=1, cache=True))),
        lambda: next(iter(evaluation_stream(selection, FORMAT, PipelineConfig()))),
    ]
    for read in streams:
        with (
            pytest.raises(DataError, match=r"Damaged shard: .*bad\.tfrecord"),
            guard_stream([path]),
        ):
            read()

"""TFRecord shards: damaged, cut, and made on purpose with checksums that fit."""

import functools
import re
import struct
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from common.data.pipeline import evaluation_stream, guard_stream, train_stream
from common.data.selection import Selection
from common.data.sequences import SequenceFormat
from common.data.shard_index import index_shard
from common.data.tfrecord import (
    ArraySpec,
    ExampleSchema,
    find_damaged,
    read_shard,
    stored_arrays,
    write_shard,
)
from common.data.wire_format import encode_field, encode_varint
from common.io.files import is_file_name
from common.settings.pipeline import PipelineConfig
from common.training.evaluation import predict_recordings
from tests.fuzz.damage import ODD_TEXTS, Draw, damaged_bytes, garbage
from tests.fuzz.engine import Files, Target

NAME = "a.tfrecord"
TOO_FEW = rf"{re.escape(NAME)}|Too few recordings"  # left in a file that was cut between records
FORMAT = SequenceFormat({"sed": ("activity",)})
SCHEMA = ExampleSchema(
    {
        "features": ArraySpec("float16", (None, 3, 2)),
        "activity": ArraySpec("uint8", (None, 2)),
        "tags": ArraySpec("int8", (2,)),
        "labelled": ArraySpec("uint8", ()),
    }
)


def arrays(seed: int, frames: int = 7) -> dict[str, np.ndarray]:
    """The arrays of one recording."""
    rng = np.random.default_rng(seed)
    return {
        "features": rng.standard_normal((frames, 3, 2)).astype(np.float16),
        "activity": rng.integers(0, 2, (frames, 2), dtype=np.uint8),
        "tags": np.array([0, 1], np.int8),
        "labelled": np.array(1, np.uint8),
    }


EXAMPLES = [("r0", arrays(0)), ("ü 1", arrays(1, 12))]


@functools.cache
def valid_shard() -> bytes:
    """Two recordings, as the project writes them."""
    with tempfile.TemporaryDirectory() as folder:
        write_shard(Path(folder, NAME), EXAMPLES, SCHEMA)
        return Path(folder, NAME).read_bytes()


@functools.cache
def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


def masked_crc32c(content: bytes) -> int:
    """The checksum of TFRecord files."""
    value, table = 0xFFFFFFFF, _crc_table()
    for byte in content:
        value = table[(value ^ byte) & 0xFF] ^ value >> 8
    value ^= 0xFFFFFFFF
    return ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF


def framed(message: bytes, length: int | None = None) -> bytes:
    """A record with checksums that fit, whatever length it promises."""
    head = struct.pack("<Q", len(message) if length is None else length)
    return (
        head
        + struct.pack("<I", masked_crc32c(head))
        + message
        + struct.pack("<I", masked_crc32c(message))
    )


def _feature(kind: int, content: bytes) -> bytes:
    return encode_field(kind, encode_field(1, content))


def message_of(features: Mapping[str, bytes]) -> bytes:
    """A `tf.train.Example` of encoded features."""
    entries = (
        encode_field(1, encode_field(1, key.encode()) + encode_field(2, value))
        for key, value in features.items()
    )
    return encode_field(1, b"".join(entries))


def features_of(
    name: str, values: Mapping[str, np.ndarray], shapes: Mapping[str, Any]
) -> dict[str, bytes]:
    """Encoded features of one recording, whose shapes may be other than those of its arrays."""
    features = {"name": _feature(1, name.encode("utf-8", "surrogatepass"))}
    for key, array in values.items():
        features[key] = _feature(1, array.tobytes())
        if array.shape:
            sizes = b"".join(encode_varint(size % 2**64) for size in shapes.get(key, array.shape))
            features[f"{key}/shape"] = _feature(3, sizes)
    return features


@st.composite
def _crafted(draw: Draw) -> bytes:
    """Records whose checksums fit, and whose content does not."""
    records = []
    for name, values in EXAMPLES:
        odd = draw(
            st.sampled_from(["", "name", "shape", "lost", "type", "length", "message", "other"])
        )
        if odd == "name":
            name = draw(st.sampled_from([text for text in ODD_TEXTS if len(text) < 6000]))
        key = draw(st.sampled_from(sorted(SCHEMA.arrays)))
        sizes = st.lists(
            st.sampled_from([0, 1, 2, 3, 6, 7, 12, 42, -1, 2**32, 2**61, 2**63]), max_size=4
        )
        features = features_of(name, values, {key: draw(sizes)} if odd == "shape" else {})
        if odd == "lost":
            features.pop(draw(st.sampled_from(sorted(features))))
        elif odd == "type":
            features[key] = draw(
                st.sampled_from([_feature(3, b"\1"), _feature(2, b"\0" * 4), b"", _feature(1, b"")])
            )
        message = message_of(features)
        if odd == "message":
            message = draw(damaged_bytes(message) | garbage(60))
        elif odd == "other":
            features |= {"more": _feature(1, b"x"), "more/shape": _feature(3, b"\1")}
            message = message_of(dict(reversed(features.items())))
        length = draw(st.sampled_from([0, 1, 2**31, 2**40, 2**62, 2**63, 2**64 - 1, 2**64 - 5]))
        records.append(framed(message, length if odd == "length" else None))
    return b"".join(records)


def _damaged() -> st.SearchStrategy[Files]:
    contents = damaged_bytes(valid_shard()) | damaged_bytes(valid_shard(), most=1) | garbage()
    return contents.map(lambda content: {NAME: content})


def _cases() -> st.SearchStrategy[Files]:
    return _damaged() | _crafted().map(lambda content: {NAME: content})


def _read_damaged(folder: Path) -> None:
    """Checksums cover every byte of a record: what is accepted is what was written."""
    expected = dict(EXAMPLES)
    for example in read_shard(folder / NAME, SCHEMA):
        for key, array in expected[example["name"]].items():
            np.testing.assert_array_equal(example[key], array)


def _read(folder: Path) -> None:
    path = folder / NAME
    examples = list(read_shard(path, SCHEMA))
    assert examples and find_damaged([path]) is None and stored_arrays(path)
    records, content = index_shard(path, SCHEMA), path.read_bytes()
    assert [record.name for record in records] == [example["name"] for example in examples]
    for record, example in zip(records, examples, strict=True):
        for key, spec in SCHEMA.arrays.items():
            assert example[key].dtype == np.dtype(spec.dtype) and spec.has_shape(example[key].shape)
            assert record.shapes[key] == example[key].shape
            assert content[record.offsets[key] :].startswith(example[key].tobytes())


def _index(folder: Path) -> None:
    size = (folder / NAME).stat().st_size
    for record in index_shard(folder / NAME, SCHEMA):
        assert all(0 <= offset <= size for offset in record.offsets.values())
        assert all(SCHEMA.arrays[key].has_shape(shape) for key, shape in record.shapes.items())


class _Mean:
    """Stands for a network."""

    def predict_on_batch(self, features: np.ndarray) -> dict[str, np.ndarray]:
        return {"sed": features.mean(axis=(2, 3), keepdims=True)[..., 0].astype(np.float32)}


def _stream(folder: Path) -> None:
    shards = [folder / NAME]
    pipeline = PipelineConfig(sequence_frames=4, batch_size=2, shuffle_buffer_mb=0.01)
    with guard_stream(shards):
        selection = Selection.of_shards(shards, SCHEMA)
        stream = train_stream(selection, FORMAT, pipeline, seed=0)
        for x, y in stream.take(3):
            assert x.shape == (2, 4, 3, 2) and y["sed"].shape == (2, 4, 2)
        stream = evaluation_stream(selection, FORMAT, pipeline)
        recordings = (element | {"events": []} for element in stream)
        for prediction in predict_recordings(_Mean(), recordings):  # type: ignore[arg-type]
            assert is_file_name(prediction.name) and 0 < prediction.frames < 1000
            assert prediction.outputs["sed"].shape == (prediction.frames, 1)


def _cached(folder: Path) -> None:
    shards = [folder / NAME]
    with guard_stream(shards):
        pipeline = PipelineConfig(sequence_frames=4, batch_size=2, cache=True)
        stream = train_stream(Selection.of_shards(shards, SCHEMA), FORMAT, pipeline, seed=0)
        for x, _ in stream.take(2):
            assert x.shape == (2, 4, 3, 2)


TARGETS = [
    Target("shard", _damaged, _read_damaged, weight=12, examples=20),
    Target("shard-crafted", _cases, _read, weight=8, examples=20),
    Target("shard-index", _cases, _index, weight=12, examples=40),
    Target("shard-stream", _cases, _stream, weight=2, examples=4, named=TOO_FEW),
    Target("shard-cached", _cases, _cached, weight=2, examples=3, named=TOO_FEW),
]

"""Examples (named arrays of one recording) as TFRecord shards: raw bytes and shapes, no pickle, no conversion.

Shards are written and read here without TensorFlow, whose import takes many seconds in every process of an
extraction; `ExampleSchema.parse` decodes them inside `tf.data`. A record is a serialised `tf.train.Example`.
"""

import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from common.crc32c import crc32c, masked_crc32c
from common.errors import DataError
from common.files import atomic_path

if TYPE_CHECKING:
    import tensorflow as tf

EXTRACT_AGAIN = "Run `python batch_feature_extraction.py <task-id>` again: it makes damaged and missing shards anew."
_NAME = "name"


@dataclass(frozen=True)
class ArraySpec:
    """Type and shape of one array of an example; None: any length along that axis."""

    dtype: str
    shape: tuple[int | None, ...]

    def accepts(self, array: np.ndarray) -> bool:
        """Whether `array` has this type and shape."""
        fits = len(array.shape) == len(self.shape) and all(
            expected is None or expected == size for expected, size in zip(self.shape, array.shape, strict=True)
        )
        return fits and array.dtype == np.dtype(self.dtype)


@dataclass(frozen=True)
class ExampleSchema:
    """The arrays of every example of a set of shards; each example also has a name."""

    arrays: Mapping[str, ArraySpec]

    def to_json(self) -> dict[str, Any]:
        """Plain dicts and lists that `from_json` reads."""
        return {name: {"dtype": spec.dtype, "shape": list(spec.shape)} for name, spec in self.arrays.items()}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "ExampleSchema":
        """The schema that `to_json` described."""
        return cls({name: ArraySpec(spec["dtype"], tuple(spec["shape"])) for name, spec in stored.items()})

    def parse(self, record: "tf.Tensor", names: Sequence[str] | None = None) -> dict[str, "tf.Tensor"]:
        """Decodes one record inside `tf.data`.

        Args:
            record: scalar string tensor.
            names: the arrays to decode; None: all.

        Returns:
            The arrays with their static shapes, and "name".
        """
        import tensorflow as tf

        names = list(self.arrays) if names is None else list(names)
        fields = {name: tf.io.FixedLenFeature([], tf.string) for name in [*names, _NAME]}
        fields |= {
            _shape_key(name): tf.io.FixedLenFeature([len(self.arrays[name].shape)], tf.int64)
            for name in names
            if self.arrays[name].shape
        }
        parsed = tf.io.parse_single_example(record, fields)
        decoded = {_NAME: parsed[_NAME]}
        for name in names:
            spec = self.arrays[name]
            values = tf.io.decode_raw(parsed[name], tf.as_dtype(spec.dtype))
            shape = parsed[_shape_key(name)] if spec.shape else []
            decoded[name] = tf.ensure_shape(tf.reshape(values, shape), spec.shape)
        return decoded


@dataclass(frozen=True)
class ShardFile:
    """Size and CRC-32 of a finished shard."""

    n_bytes: int
    crc32: int


def write_shard(
    path: Path, examples: Iterable[tuple[str, Mapping[str, np.ndarray]]], schema: ExampleSchema
) -> ShardFile:
    """Writes one shard, finished or not at all; the same examples give the same bytes.

    Args:
        path: name of the shard.
        examples: name and arrays of each example; may be a generator, one example is held at a time.
        schema: the arrays each example must have.

    Returns:
        Size and checksum of the file.

    Raises:
        ValueError: an example does not fit the schema.
        DataError: the file cannot be written.
    """
    n_bytes = checksum = 0
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        for name, arrays in examples:
            for piece in _framed(_serialize(name, arrays, schema)):
                file.write(piece)
                n_bytes += len(piece)
                checksum = zlib.crc32(piece, checksum)
        file.flush()
    return ShardFile(n_bytes, checksum)


def read_shard(path: Path, schema: ExampleSchema) -> Iterator[dict[str, Any]]:
    """Reads a shard: numpy arrays (read-only) and "name" of one example after the other.

    Raises:
        DataError: the shard is missing, damaged or empty.
    """
    for record in read_records(path):
        try:
            example = _deserialize(record, schema)
        except (KeyError, ValueError, IndexError, struct.error) as error:
            raise damaged_shard(path, f"a record does not hold what is expected: {error}") from error
        yield example


def read_records(path: Path) -> Iterator[memoryview]:
    """Reads the records of a TFRecord file and compares their checksums.

    Raises:
        DataError: the file is missing, damaged or holds no record.
    """
    n_records = 0
    try:
        with Path(path).open("rb") as file:
            while (record := _read_record(path, file, n_records)) is not None:
                yield record
                n_records += 1
    except OSError as error:
        raise damaged_shard(path, f"it cannot be read: {error.strerror}") from error
    if n_records == 0:
        raise damaged_shard(path, "it holds no record")


def find_damaged(shards: Iterable[Path]) -> DataError | None:
    """The error of the first shard that cannot be read, None if all can."""
    for path in shards:
        try:
            for _ in read_records(path):
                pass
        except DataError as error:
            return error
    return None


def damaged_shard(path: Path, reason: str) -> DataError:
    """The error of a shard that cannot be read."""
    return DataError(f"Damaged shard: {path} ({reason}). Expected: complete records. {EXTRACT_AGAIN}")


def _framed(pieces: Sequence[bytes | memoryview]) -> Iterator[bytes | memoryview]:
    """A record as it stands in the file: length, checksum of the length, content, checksum of the content."""
    length = struct.pack("<Q", sum(map(len, pieces)))
    yield length + struct.pack("<I", masked_crc32c(crc32c(length)))
    checksum = 0
    for piece in pieces:
        checksum = crc32c(piece, checksum)
        yield piece
    yield struct.pack("<I", masked_crc32c(checksum))


def _read_record(path: Path, file: BinaryIO, number: int) -> memoryview | None:
    header = file.read(12)
    if not header:
        return None
    if len(header) == 12 and masked_crc32c(crc32c(header[:8])) != struct.unpack("<I", header[8:])[0]:
        raise damaged_shard(path, f"record {number}: the checksum of its length is wrong")
    length = struct.unpack("<Q", header[:8])[0] if len(header) == 12 else 0
    content = memoryview(file.read(length + 4))
    if len(header) < 12 or len(content) < length + 4:
        raise damaged_shard(path, f"record {number}: the file ends within it")
    if masked_crc32c(crc32c(content[:length])) != struct.unpack("<I", content[length:])[0]:
        raise damaged_shard(path, f"record {number}: its checksum is wrong")
    return content[:length]


def _shape_key(name: str) -> str:
    return f"{name}/shape"


def _serialize(name: str, arrays: Mapping[str, np.ndarray], schema: ExampleSchema) -> list[bytes | memoryview]:
    """The pieces of a `tf.train.Example`, sorted by key; large arrays are not copied."""
    if set(arrays) != set(schema.arrays):
        raise ValueError(f"Wrong arrays. Expected: {sorted(schema.arrays)}. Received: {sorted(arrays)}.")
    features = {_NAME: _bytes_feature(name.encode())}
    for key, spec in schema.arrays.items():
        array = np.asarray(arrays[key])
        if not spec.accepts(array):
            raise ValueError(f"Array {key!r} of {name!r}. Expected: {spec}. Received: {array.dtype}, {array.shape}.")
        stored = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        features[key] = _bytes_feature(stored.reshape(-1).view(np.uint8).data)
        if array.shape:
            features[_shape_key(key)] = _integers_feature(array.shape)
    pieces: list[bytes | memoryview] = []
    for key in sorted(features):  # map<string, Feature>: each entry is a message of key (1) and value (2)
        pieces += _message(1, [*_message(1, [key.encode()]), *_message(2, features[key])])
    return _message(1, pieces)  # Example.features


def _bytes_feature(value: bytes | memoryview) -> list[bytes | memoryview]:
    return _message(1, _message(1, [value]))  # Feature.bytes_list, BytesList.value


def _integers_feature(values: Sequence[int]) -> list[bytes | memoryview]:
    return _message(3, _message(1, [b"".join(map(_varint, values))]))  # Feature.int64_list, Int64List.value, packed


def _message(field: int, pieces: Sequence[bytes | memoryview]) -> list[bytes | memoryview]:
    """A field of protocol buffers with a length, in front of its content."""
    return [_varint(field << 3 | 2) + _varint(sum(map(len, pieces))), *pieces]


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _read_varint(content: memoryview, start: int) -> tuple[int, int]:
    """A number and the position after it."""
    value = shift = 0
    while True:
        byte = content[start]
        value |= (byte & 0x7F) << shift
        start, shift = start + 1, shift + 7
        if byte < 0x80:
            return value, start


def _fields(content: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Number and content of each field of a message whose fields all have lengths."""
    position = 0
    while position < len(content):
        tag, position = _read_varint(content, position)
        if tag & 7 != 2:
            raise ValueError(f"field {tag >> 3} has wire type {tag & 7}")
        length, position = _read_varint(content, position)
        yield tag >> 3, content[position : position + length]
        position += length


def _deserialize(record: memoryview, schema: ExampleSchema) -> dict[str, Any]:
    stored: dict[str, memoryview] = {}
    for _, features in _fields(record):
        for _, entry in _fields(features):
            parts = dict(_fields(entry))  # key (1), value (2)
            _, values = next(_fields(parts[2]))
            stored[bytes(parts[1]).decode()] = next(_fields(values), (1, memoryview(b"")))[1]
    example: dict[str, Any] = {_NAME: bytes(stored[_NAME]).decode()}
    for key, spec in schema.arrays.items():
        shape = _read_integers(stored[_shape_key(key)]) if spec.shape else ()
        example[key] = np.frombuffer(stored[key], np.dtype(spec.dtype).newbyteorder("<")).reshape(shape)
    return example


def _read_integers(content: memoryview) -> tuple[int, ...]:
    values, position = [], 0
    while position < len(content):
        value, position = _read_varint(content, position)
        values.append(value)
    return tuple(values)

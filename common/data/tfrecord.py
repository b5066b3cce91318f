"""Examples (named arrays of one recording) in TFRecord shards: raw bytes and shapes, no pickle."""

import errno
import math
import os
import re
import struct
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from google.protobuf.message import DecodeError

from common.data.wire_format import encode_field, encode_head, encode_varint
from common.errors import DataError
from common.io.files import atomic_path, file_crc32, storage_error
from common.runtime.machine import overrule_machine
from common.runtime.optional import unused_left_out
from common.runtime.quiet import stderr_discarded

overrule_machine()  # before TensorFlow, which imports Keras
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow reads it once, while it is imported
with stderr_discarded(), unused_left_out():
    import tensorflow as tf

EXTRACT_AGAIN = (
    "Run `python batch_feature_extraction.py <task-id>` again: it replaces damaged and missing"
    " shards."
)
_NAME = "name"
_LENGTH = struct.Struct("<Q")
_FRAME_BYTES = 16  # of a record: its length and two checksums
_BYTES_LIST, _INT64_LIST = 1, 3  # fields of tf.train.Feature
_CAST_VALUES = 1 << 20  # rounded at once
_TYPES = {f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)}
_TYPES |= {"float16", "float32", "float64"}
_memory = threading.local()
_SHAPE_OF = re.compile(".*/shape")


@dataclass(frozen=True)
class ArraySpec:
    """Type and shape of one array of an example; None: any length along that axis."""

    dtype: str
    shape: tuple[int | None, ...]

    def accepts(self, array: np.ndarray) -> bool:
        """True for an array of this type and shape; float32, rounded later, stands for float16."""
        rounded = self.dtype == "float16" and array.dtype == np.float32
        return self.has_shape(array.shape) and (rounded or array.dtype == np.dtype(self.dtype))

    @property
    def has_time(self) -> bool:
        """True if the first axis is time; otherwise the array belongs to the whole recording."""
        return self.shape[:1] == (None,)

    @property
    def row_bytes(self) -> int:
        """Size of one entry along the first axis."""
        return math.prod(size or 1 for size in self.shape[1:]) * np.dtype(self.dtype).itemsize

    def has_shape(self, shape: Sequence[int]) -> bool:
        """True for this shape, in which None stands for any length."""
        if len(shape) != len(self.shape):
            return False
        return all(own in (None, size) for own, size in zip(self.shape, shape, strict=True))


@dataclass(frozen=True)
class ExampleSchema:
    """The arrays of every example of a set of shards; each example also has a name."""

    arrays: Mapping[str, ArraySpec]

    def to_json(self) -> dict[str, Any]:
        """Plain dicts and lists that `from_json` reads."""
        stored = self.arrays.items()
        return {name: {"dtype": spec.dtype, "shape": list(spec.shape)} for name, spec in stored}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "ExampleSchema":
        """The schema that `to_json` described.

        Raises:
            ValueError: it describes none.
        """
        try:
            each = stored.items()
            specs = {name: ArraySpec(spec["dtype"], tuple(spec["shape"])) for name, spec in each}
        except (KeyError, TypeError) as error:
            raise ValueError(f"expected type and shape of each array: {error!r}") from error
        sizes = [size for spec in specs.values() for size in spec.shape if size is not None]
        unusable = any(type(size) is not int or size < 0 for size in sizes)
        if unusable or {spec.dtype for spec in specs.values()} - _TYPES:
            raise ValueError("unknown types or shapes of arrays")
        return cls(specs)

    def parse(self, record: tf.Tensor, names: Sequence[str] | None = None) -> dict[str, tf.Tensor]:
        """Decodes one record inside `tf.data`.

        Args:
            record: scalar string tensor.
            names: the arrays to decode; None: all.

        Returns:
            The arrays with their static shapes, and "name".
        """
        names = list(self.arrays) if names is None else list(names)
        fields = {name: tf.io.FixedLenFeature([], tf.string) for name in [*names, _NAME]}
        ranks = {name: len(self.arrays[name].shape) for name in names}
        for name, rank in ranks.items():
            if rank:
                fields[_shape_key(name)] = tf.io.FixedLenFeature([rank], tf.int64)
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
        examples: name and arrays of each example; of a generator, only one is in memory.
        schema: the arrays each example must have.

    Returns:
        Size and checksum of the file.

    Raises:
        ValueError: an example does not fit the schema.
        DataError: the file cannot be written.
    """
    with atomic_path(path) as temporary:
        try:
            with tf.io.TFRecordWriter(str(temporary)) as writer:
                for name, arrays in examples:
                    writer.write(_serialize(name, arrays, schema))
        except tf.errors.OpError as error:
            reasons = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EACCES, errno.EROFS)
            code = next((code for code in reasons if os.strerror(code) in error.message), errno.EIO)
            raise storage_error(path, OSError(code, os.strerror(code))) from None
        return ShardFile(temporary.stat().st_size, file_crc32(temporary))


def read_shard(path: Path, schema: ExampleSchema) -> Iterator[dict[str, Any]]:
    """Reads a shard: numpy arrays (read-only) and "name" of one example after the other.

    Raises:
        DataError: the shard is missing, damaged or empty.
    """
    for record in read_records(path):
        try:
            example = _deserialize(record, schema)
        except (KeyError, ValueError, IndexError, DecodeError) as error:
            raise damaged_shard(path, f"a record has other contents: {error}") from error
        yield example


def read_records(path: Path) -> Iterator[bytes]:
    """Reads the records of a TFRecord file and compares their checksums.

    Raises:
        DataError: the file is missing, damaged or holds no record.
    """
    _check_lengths(path)
    n_records = 0
    try:
        for record in tf.data.TFRecordDataset([str(path)]).as_numpy_iterator():
            yield record
            n_records += 1
    except tf.errors.OpError as error:
        problem = re.sub(r"\{\{.*?\}\} ?| \[Op:.*", "", error.message)  # without names of nodes
        raise damaged_shard(path, f"record {n_records}: {problem}") from error
    if n_records == 0:
        raise damaged_shard(path, "it holds no record")


def _check_lengths(path: Path) -> None:
    """Compares the lengths of records with that of the file: TensorFlow would allocate any.

    Raises:
        DataError: a record is longer than the rest of the file, or the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            size, end, number = path.stat().st_size, 0, 0
            while len(head := file.read(_LENGTH.size)) == _LENGTH.size:
                end += _FRAME_BYTES + _LENGTH.unpack(head)[0]
                if end > size:
                    reason = f"record {number}: truncated at {size} of {end} bytes"
                    raise damaged_shard(path, reason)
                file.seek(end)
                number += 1
    except OSError as error:
        raise damaged_shard(path, f"it cannot be read: {error.strerror}") from error


def stored_arrays(path: Path) -> list[str]:
    """The names of the arrays in the first record of a shard, sorted.

    Raises:
        DataError: the shard is missing, damaged or empty.
    """
    record = next(read_records(path))
    try:
        stored = set(tf.train.Example.FromString(record).features.feature)
    except DecodeError as error:
        raise damaged_shard(path, f"a record has other contents: {error}") from error
    return sorted(name for name in stored if name != _NAME and _SHAPE_OF.fullmatch(name) is None)


def parse_name(record: tf.Tensor) -> tf.Tensor:
    """The name in one record, scalar string; empty for an empty record."""
    fields = {_NAME: tf.io.FixedLenFeature([], tf.string, default_value="")}
    return tf.io.parse_single_example(record, fields)[_NAME]


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
    return DataError(f"Damaged shard: {path} ({reason}). {EXTRACT_AGAIN}")


def _shape_key(name: str) -> str:
    return f"{name}/shape"


class _Feature(NamedTuple):
    """One feature of an example: its first bytes, then the array in its stored type."""

    start: bytes
    array: np.ndarray | None = None
    dtype: str = "uint8"

    @property
    def n_bytes(self) -> int:
        """Bytes of the array."""
        return 0 if self.array is None else self.array.size * np.dtype(self.dtype).itemsize


def _serialize(name: str, arrays: Mapping[str, np.ndarray], schema: ExampleSchema) -> bytearray:
    """A `tf.train.Example` with the bytes of the message's own deterministic form.

    Written by hand, since the message's class copies an array five times: every field is a tag, the
    length of its content, and the content.
    """
    if set(arrays) != set(schema.arrays):
        expected, received = sorted(schema.arrays), sorted(arrays)
        raise ValueError(f"Wrong arrays. Expected: {expected}. Received: {received}.")
    features = {_NAME: _Feature(encode_field(_BYTES_LIST, encode_field(1, name.encode())))}
    for key, spec in schema.arrays.items():
        array = np.asarray(arrays[key])
        if not spec.accepts(array):
            given = f"{array.dtype}, {array.shape}"
            raise ValueError(f"Array {key!r} of {name!r}. Expected: {spec}. Received: {given}.")
        n_bytes = array.size * np.dtype(spec.dtype).itemsize
        head = encode_head(1, n_bytes)
        head = encode_head(_BYTES_LIST, len(head) + n_bytes) + head
        features[key] = _Feature(head, array, spec.dtype)
        if array.shape:
            sizes = b"".join(map(encode_varint, array.shape))
            features[_shape_key(key)] = _Feature(encode_field(_INT64_LIST, encode_field(1, sizes)))
    return _joined(features)


def _joined(features: Mapping[str, _Feature]) -> bytearray:
    """Joins the features of an example in one piece of memory, sorted by name."""
    # "x/shape" before "x".
    ordered = sorted(features.items(), key=lambda item: item[0].encode() + b"\xff")
    entries = []
    for key, feature in ordered:
        head = encode_head(2, len(feature.start) + feature.n_bytes)
        entry = encode_field(1, key.encode()) + head + feature.start
        entries.append(encode_head(1, len(entry) + feature.n_bytes) + entry)
    content_bytes = sum(map(len, entries)) + sum(feature.n_bytes for _, feature in ordered)
    whole = encode_head(1, content_bytes)
    record = _room(len(whole) + content_bytes)
    record[: len(whole)] = whole
    end = len(whole)
    for entry, (_, feature) in zip(entries, ordered, strict=True):
        record[end : end + len(entry)] = entry
        end += len(entry)
        if feature.array is not None:
            target = np.frombuffer(record, np.uint8)[end : end + feature.n_bytes]
            _store(feature.array, feature.dtype, target)
            end += feature.n_bytes
    return record


def _room(n_bytes: int) -> bytearray:
    """Memory for one record, the same in each call of a thread: allocation takes time."""
    record = getattr(_memory, "record", None)
    if record is None:
        record = _memory.record = bytearray()
    if len(record) > n_bytes:
        del record[n_bytes:]
    else:
        record.extend(bytes(n_bytes - len(record)))
    return record


def _store(array: np.ndarray, dtype: str, target: np.ndarray) -> None:
    """Writes an array, little-endian, into uint8 memory; TensorFlow rounds fast to float16."""
    values = np.ascontiguousarray(array).reshape(-1)
    if values.dtype == np.dtype(dtype):
        target[:] = values.astype(values.dtype.newbyteorder("<"), copy=False).view(np.uint8)
        return
    itemsize = np.dtype(dtype).itemsize
    for start in range(0, len(values), _CAST_VALUES):
        part = tf.cast(values[start : start + _CAST_VALUES], dtype).numpy()
        rounded = part.astype(f"<f{itemsize}", copy=False)
        target[start * itemsize : start * itemsize + rounded.nbytes] = rounded.view(np.uint8)


def _deserialize(record: bytes, schema: ExampleSchema) -> dict[str, Any]:
    stored = tf.train.Example.FromString(record).features.feature
    missing = {_NAME, *schema.arrays} - set(stored)
    if missing:  # looking a missing key up would make it
        raise KeyError(", ".join(sorted(missing)))
    example: dict[str, Any] = {_NAME: stored[_NAME].bytes_list.value[0].decode()}
    for key, spec in schema.arrays.items():
        shape = stored[_shape_key(key)].int64_list.value if spec.shape else ()
        dtype = np.dtype(spec.dtype).newbyteorder("<")
        values = np.frombuffer(stored[key].bytes_list.value[0], dtype)
        example[key] = values.reshape(tuple(shape))
        if tuple(shape) != example[key].shape or not spec.has_shape(example[key].shape):
            raise ValueError(f"{key!r} has the shape {tuple(shape)}, not that of {spec}")
    return example

"""Examples (named arrays of one recording) as TFRecord shards: raw bytes and shapes, no pickle, no conversion."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import DataError
from common.files import atomic_path, file_crc32
from common.quiet import stderr_discarded

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow reads it once, while it is imported
with stderr_discarded():
    import tensorflow as tf

EXTRACT_AGAIN = "Run `python batch_feature_extraction.py <task-id>` again: it makes damaged and missing shards anew."


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

    def parse(self, record: tf.Tensor, names: Sequence[str] | None = None) -> dict[str, tf.Tensor]:
        """Decodes one record inside `tf.data`.

        Args:
            record: scalar string tensor.
            names: the arrays to decode; None: all.

        Returns:
            The arrays with their static shapes, and "name".
        """
        names = list(self.arrays) if names is None else list(names)
        fields = {name: tf.io.FixedLenFeature([], tf.string) for name in [*names, "name"]}
        fields |= {
            _shape_key(name): tf.io.FixedLenFeature([len(self.arrays[name].shape)], tf.int64)
            for name in names
            if self.arrays[name].shape
        }
        parsed = tf.io.parse_single_example(record, fields)
        return {"name": parsed["name"]} | {name: self._decode(parsed, name) for name in names}

    def _decode(self, parsed: Mapping[str, tf.Tensor], name: str) -> tf.Tensor:
        spec = self.arrays[name]
        values = tf.io.decode_raw(parsed[name], tf.as_dtype(spec.dtype))
        shape = parsed[_shape_key(name)] if spec.shape else []
        return tf.ensure_shape(tf.reshape(values, shape), spec.shape)


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
    with atomic_path(path) as temporary:
        try:
            with tf.io.TFRecordWriter(str(temporary)) as writer:
                for name, arrays in examples:
                    writer.write(_serialize(name, arrays, schema))
        except tf.errors.OpError as error:
            raise DataError(
                f"Cannot write {path}: {error.message}. Free some space on the disk, or choose another `feature_dir`; "
                "finished shards stay, so the work goes on from there."
            ) from None
        shard = ShardFile(temporary.stat().st_size, file_crc32(temporary))
    return shard


def read_shard(path: Path, schema: ExampleSchema) -> Iterator[dict[str, Any]]:
    """Reads a shard without `tf.data` pipelines: numpy arrays and "name" of one example after the other.

    Raises:
        DataError: the shard is missing, damaged or empty.
    """
    n_examples = 0
    try:
        for record in tf.data.TFRecordDataset([str(path)]).as_numpy_iterator():
            yield _deserialize(record, schema)
            n_examples += 1
    except tf.errors.OpError as error:
        raise damaged_shard(path, error.message) from None
    if n_examples == 0:
        raise damaged_shard(path, "it holds no record")


def damaged_shard(path: Path, reason: str) -> DataError:
    """The error of a shard that cannot be read."""
    return DataError(f"Damaged shard: {path} ({reason}). Expected: complete records. {EXTRACT_AGAIN}")


def find_damaged(shards: Sequence[Path]) -> DataError | None:
    """Reads the records' own checksums; the error of the first shard that cannot be read, None if all can."""
    for path in shards:
        try:
            if not any(1 for _ in _records(path)):
                return damaged_shard(path, "it holds no record")
        except tf.errors.OpError as error:
            return damaged_shard(path, error.message)
    return None


def _records(path: Path) -> list[bytes]:
    return [b"" for _ in tf.data.TFRecordDataset([str(path)])]


def _shape_key(name: str) -> str:
    return f"{name}/shape"


def _serialize(name: str, arrays: Mapping[str, np.ndarray], schema: ExampleSchema) -> bytes:
    if set(arrays) != set(schema.arrays):
        raise ValueError(f"Wrong arrays. Expected: {sorted(schema.arrays)}. Received: {sorted(arrays)}.")
    fields = {"name": _bytes_feature(name.encode())}
    for key, spec in schema.arrays.items():
        array = np.asarray(arrays[key])
        if not spec.accepts(array):
            raise ValueError(f"Array {key!r} of {name!r}. Expected: {spec}. Received: {array.dtype}, {array.shape}.")
        fields[key] = _bytes_feature(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
        if array.shape:
            fields[_shape_key(key)] = tf.train.Feature(int64_list=tf.train.Int64List(value=array.shape))
    example = tf.train.Example(features=tf.train.Features(feature=fields))
    return example.SerializeToString(deterministic=True)


def _deserialize(record: bytes, schema: ExampleSchema) -> dict[str, Any]:
    fields = tf.train.Example.FromString(record).features.feature
    example: dict[str, Any] = {"name": fields["name"].bytes_list.value[0].decode()}
    for key, spec in schema.arrays.items():
        values = np.frombuffer(fields[key].bytes_list.value[0], np.dtype(spec.dtype).newbyteorder("<"))
        example[key] = values.reshape(tuple(fields[_shape_key(key)].int64_list.value) if spec.shape else ())
    return example


def _bytes_feature(value: bytes) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

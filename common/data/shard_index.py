"""Index of the arrays in a shard, so that some frames of a recording can be read without the rest.

A shard is a TFRecord file of `tf.train.Example` messages, see `common.data.tfrecord`. Their framing
and the wire format of protocol buffers are followed here without reading the arrays, so that the
index of gigabytes takes milliseconds. Checksums are not compared; readers by an index let
`tf.data.TFRecordDataset` compare them once.
"""

import atexit
import functools
import math
import mmap
import os
import struct
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.data.tfrecord import ExampleSchema, damaged_shard
from common.data.wire_format import Span, decode_varint, fields_in

# A record is its length, a checksum of that, the message, a checksum of that.
_LENGTH_BYTES, _CHECKSUM_BYTES = 8, 4
_SPARE_BUFFERS = 8  # kept for the next batches; more are freed
_SILENCE_S, _MOST_WAIT_S = 0.1, 5.0  # without a call, before the program ends
_ALIGNMENT = 64  # TensorFlow takes an array that starts at a multiple of it without a copy


@dataclass(frozen=True)
class StoredRecord:
    """Name of one record, and offset and shape of each of its arrays.

    Attributes:
        name: of the recording.
        offsets: by name of the array, its first byte in the shard.
        shapes: by name of the array, as stored with it; () for a scalar.
    """

    name: str
    offsets: Mapping[str, int]
    shapes: Mapping[str, tuple[int, ...]]

    def read(self, path: Path, name: str, dtype: str) -> np.ndarray:
        """Reads one array of the record from its shard."""
        shape, stored = self.shapes[name], np.dtype(dtype).newbyteorder("<")
        values = np.fromfile(path, stored, int(np.prod(shape)), offset=self.offsets[name])
        return values.reshape(shape).astype(dtype)


def index_shard(path: Path, schema: ExampleSchema) -> list[StoredRecord]:
    """Finds the arrays of each record of a shard.

    Args:
        path: the shard.
        schema: the arrays that each record must have; others are left out.

    Returns:
        The records in the order in which they are stored.

    Raises:
        DataError: the shard is missing, damaged or empty, or an array does not fit `schema`.
    """
    try:
        with path.open("rb") as file:
            if path.stat().st_size == 0:
                raise damaged_shard(path, "it holds no record")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                return [_record(content, span, schema) for span in _messages(content)]
    except OSError as error:
        raise damaged_shard(path, f"it cannot be read: {error.strerror}") from error
    except (ValueError, IndexError, KeyError, struct.error) as error:
        raise damaged_shard(path, f"a record has other contents: {error}") from error


@dataclass(frozen=True)
class Records:
    """Positions of the arrays of N recordings in their shards.

    Attributes:
        paths: the shards.
        names: of the recordings, in the order of the shards.
        shard_of: int (N,), shard of each.
        offsets: by name of the array, int64 (N,), its first byte in that shard.
        frames: by name of the array, int64 (N,), length of its first axis; only of those whose
            first axis is time.
        schema: the arrays.
    """

    paths: Sequence[str]
    names: list[str]
    shard_of: np.ndarray
    offsets: Mapping[str, np.ndarray]
    frames: Mapping[str, np.ndarray]
    schema: ExampleSchema

    @classmethod
    def find(
        cls, paths: Sequence[str], schema: ExampleSchema, wanted: Callable[[str], bool]
    ) -> "Records":
        """Finds the wanted recordings.

        Args:
            paths: the shards.
            schema: the arrays that are going to be read.
            wanted: from the name of a recording to True if it is wanted.

        Raises:
            DataError: see `index_shard`.
        """
        indices = (index_shard(Path(path), schema) for path in paths)
        found = [[each for each in index if wanted(each.name)] for index in indices]
        records = [each for own in found for each in own]
        offsets, frames = {}, {}
        for name, spec in schema.arrays.items():
            offsets[name] = np.array([each.offsets[name] for each in records], np.int64)
            if spec.has_time:
                frames[name] = np.array([each.shapes[name][0] for each in records], np.int64)
        names = [each.name for each in records]
        shard_of = np.repeat(np.arange(len(paths)), [len(own) for own in found])
        return cls(paths, names, shard_of, offsets, frames, schema)

    @property
    def ends(self) -> np.ndarray:
        """Number of recordings up to the end of each shard, int (shards,)."""
        return np.searchsorted(self.shard_of, np.arange(len(self.paths)), side="right")

    def whole(self, name: str) -> np.ndarray:
        """An array that belongs to whole recordings, of all of them: (N, ...)."""
        spec = self.schema.arrays[name]
        shape = [size or 0 for size in spec.shape]
        stored = np.dtype(spec.dtype).newbyteorder("<")
        arrays = np.empty((len(self.names), *shape), stored)
        places = zip(self.shard_of, self.offsets[name], strict=True)
        for number, (shard, offset) in enumerate(places):
            read = np.fromfile(self.paths[shard], stored, int(np.prod(shape)), offset=int(offset))
            arrays[number] = read.reshape(shape)
        return arrays.astype(spec.dtype)

    def ragged(self, name: str) -> list[np.ndarray]:
        """An array of another length in each recording, such as its events, of all of them."""
        spec = self.schema.arrays[name]
        stored, width = (
            np.dtype(spec.dtype).newbyteorder("<"),
            [size or 0 for size in spec.shape[1:]],
        )
        arrays = []
        for shard, offset, rows in zip(
            self.shard_of, self.offsets[name], self.frames[name], strict=True
        ):
            shape = int(rows), *width
            read = np.fromfile(self.paths[shard], stored, math.prod(shape), offset=int(offset))
            arrays.append(read.reshape(shape).astype(spec.dtype))
        return arrays


def _messages(content: mmap.mmap) -> Iterator[Span]:
    """Begin and end of the message of each record."""
    begin = 0
    while begin < len(content):
        (length,) = struct.unpack_from("<Q", content, begin)
        begin += _LENGTH_BYTES + _CHECKSUM_BYTES
        if begin + length + _CHECKSUM_BYTES > len(content):
            raise ValueError("it ends within a record")
        yield begin, begin + length
        begin += length + _CHECKSUM_BYTES


def _record(content: mmap.mmap, span: Span, schema: ExampleSchema) -> StoredRecord:
    """Follows Example.features.feature, a map from names to lists of bytes or integers."""
    values: dict[str, Span] = {}
    for features in fields_in(content, span, 1):
        for entry in fields_in(content, features, 1):
            (key,), (value,) = fields_in(content, entry, 1), fields_in(content, entry, 2)
            values[content[slice(*key)].decode()] = value
    offsets, shapes = {}, {}
    for name, spec in schema.arrays.items():
        shapes[name] = tuple(_integers(content, values[f"{name}/shape"])) if spec.shape else ()
        offsets[name], end = _bytes(content, values[name])
        n_bytes = math.prod(shapes[name]) * np.dtype(spec.dtype).itemsize  # may exceed 64 bits
        if not spec.has_shape(shapes[name]) or end - offsets[name] != n_bytes:
            raise ValueError(
                f"{name!r} has the shape {shapes[name]} and {end - offsets[name]} bytes, not {spec}"
            )
    return StoredRecord(content[slice(*_bytes(content, values["name"]))].decode(), offsets, shapes)


def _bytes(content: mmap.mmap, feature: Span) -> Span:
    """The only value of Feature.bytes_list."""
    (values,) = fields_in(content, feature, 1)
    (value,) = fields_in(content, values, 1)
    return value


def _integers(content: mmap.mmap, feature: Span) -> list[int]:
    """The values of Feature.int64_list, which are packed into one field."""
    (values,) = fields_in(content, feature, 3)
    numbers = []
    for begin, end in fields_in(content, values, 1):
        while begin < end:
            number, begin = decode_varint(content, begin)
            numbers.append(number)
    return numbers


class FrameReader:
    """Reads frames of recordings from their shards directly into batches, with one copy.

    Attributes:
        names: the arrays that it reads.
        rows: by name, number of entries along the first axis of a sequence.
    """

    def __init__(
        self,
        sides: Sequence[Records],
        sequence_frames: int,
        context_frames: Mapping[str, int] | None = None,
        entire: Sequence[str] = (),
    ) -> None:
        """Prepares to read all arrays whose first axis is time, and some others.

        Args:
            sides: records of the same recordings in the same order, each with other arrays; all
                arrays of a recording have the same number of frames.
            sequence_frames: frames of each sequence, T.
            context_frames: by name of the array, entries that a sequence and each recording have
                beyond its frames.
            entire: arrays of a fixed shape, of which a sequence gets those of its recording.
        """
        self.sides, self._entire = list(sides), frozenset(entire)
        specs = {
            name: spec
            for side in sides
            for name, spec in side.schema.arrays.items()
            if name in side.frames or name in self._entire
        }
        self.names, context = list(specs), context_frames or {}
        self.rows = {
            name: int(spec.shape[0] or 1)
            if name in self._entire
            else sequence_frames + context.get(name, 0)
            for name, spec in specs.items()
        }
        self._types = {name: np.dtype(spec.dtype).newbyteorder("<") for name, spec in specs.items()}
        self._shapes = {name: tuple(n or 0 for n in spec.shape[1:]) for name, spec in specs.items()}
        self._row_bytes = {
            name: self._types[name].itemsize * int(np.prod(self._shapes[name])) for name in specs
        }
        self._buffers = {name: _Buffers() for name in specs}
        _end_calls_at_exit()

    def __call__(self, recordings: np.ndarray, starts: np.ndarray) -> list[np.ndarray]:
        """Reads one batch.

        Args:
            recordings: int (B,), number of the recording of each sequence.
            starts: int (B,), first frame of each, within its recording.

        Returns:
            Arrays (B, rows, ...) in the order of `names`; after its end, the last frame of a
            recording is repeated.

        Raises:
            DataError: a shard is missing or ends too early.
        """
        with _calls:
            raw: dict[str, np.ndarray] = {}  # uint8 (B, T, bytes of a frame)
            for name in self.names:
                shape = (len(recordings), self.rows[name], self._row_bytes[name])
                raw[name] = self._buffers[name].take(shape)
            pairs = list(zip(recordings.tolist(), starts.tolist(), strict=True))
            for side in self.sides:
                for row, (recording, start) in enumerate(pairs):
                    own = [name for name in side.offsets if name in raw]
                    targets = {name: raw[name][row] for name in own}
                    self._read(side, recording, start, targets)
            return [self._typed(name, raw[name]) for name in self.names]

    def _read(
        self, side: Records, recording: int, start: int, targets: Mapping[str, np.ndarray]
    ) -> None:
        """Fills uint8 (T, bytes of a frame) for each array of one sequence."""
        path = side.paths[side.shard_of[recording]]
        try:
            with open(path, "rb", buffering=0) as file:
                for name, target in targets.items():
                    count, first = self.rows[name], 0
                    if name not in self._entire:
                        count, first = min(count, int(side.frames[name][recording]) - start), start
                    offset = int(side.offsets[name][recording]) + first * self._row_bytes[name]
                    _fill(file.fileno(), target[:count].reshape(-1).data, offset)
                    if count < len(target):
                        target[count:] = target[count - 1]
        except OSError as error:
            raise damaged_shard(Path(path), f"it cannot be read: {error.strerror}") from error
        except EOFError as error:
            raise damaged_shard(Path(path), "it ends within a record") from error

    def _typed(self, name: str, raw: np.ndarray) -> np.ndarray:
        stored = raw.view(self._types[name]).reshape(*raw.shape[:2], *self._shapes[name])
        return stored.astype(self._types[name].newbyteorder("="), copy=False)


def _fill(file: int, target: memoryview, offset: int) -> None:
    """Reads from an offset in an open file until `target` is full."""
    while target:
        n_bytes = os.preadv(file, [target], offset)
        if not n_bytes:
            raise EOFError
        target, offset = target[n_bytes:], offset + n_bytes


class _Buffers:
    """Memory of batches no longer referenced; fresh pages would take longer than the copy."""

    def __init__(self) -> None:
        self._free: deque[np.ndarray] = deque(maxlen=_SPARE_BUFFERS)

    def take(self, shape: tuple[int, ...]) -> np.ndarray:
        """A uint8 array, whose memory is returned here once it and all of its views are gone."""
        n_bytes = int(np.prod(shape))
        try:
            memory = self._free.pop()
        except IndexError:
            memory = np.empty(0, np.uint8)
        if len(memory) != n_bytes + _ALIGNMENT:
            memory = np.empty(n_bytes + _ALIGNMENT, np.uint8)
        lease = _Lease(memory)
        weakref.finalize(lease, self._free.append, memory).atexit = False
        skipped = -memory.ctypes.data % _ALIGNMENT
        return np.asarray(lease)[skipped : skipped + n_bytes].reshape(shape)


class _Lease:
    """Object between memory and the arrays in it, to which all of them refer."""

    def __init__(self, memory: np.ndarray) -> None:
        self.__array_interface__ = memory.__array_interface__


class _Calls:
    """Counts the calls in progress, and refuses new ones once the program ends.

    A thread of TensorFlow that calls Python while the interpreter shuts down never returns, and
    neither does code that waits for it, e.g. the end of a stream.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._in_progress, self._ended, self._last_s = 0, False, 0.0

    def __enter__(self) -> None:
        with self._lock:
            self._last_s = time.monotonic()
            if self._ended:
                raise RuntimeError("The program ends: nothing is read any more.")
            self._in_progress += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._in_progress -= 1

    def end(self) -> None:
        """Waits until open streams have filled their buffers, with errors, and stop calling."""
        self._ended = True
        until_s = time.monotonic() + _MOST_WAIT_S
        while time.monotonic() < until_s and (
            self._in_progress or time.monotonic() < self._last_s + _SILENCE_S
        ):
            time.sleep(_SILENCE_S / 10)


_calls = _Calls()


@functools.cache
def _end_calls_at_exit() -> None:
    atexit.register(_calls.end)

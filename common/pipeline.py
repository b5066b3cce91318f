"""Shards to batches for training, and to whole recordings in order for evaluation, with `tf.data`.

Batches keep the type that the features are stored in: 16-bit batches take half the time to copy, and the model turns
them into float32. What is drawn at random (order, where sequences start, transforms) depends on the seed and the number
of the pass alone, so that a job that is started again at pass n sees what it would have seen.

Padding: frames outside a recording repeat its last frame and have activity -1 in the targets; losses and scores ignore
them. Recordings without labels have activity -1 throughout.
"""

import logging
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.errors import DataError
from common.quiet import stderr_discarded
from common.tfrecord import ExampleSchema, damaged_shard, find_damaged, read_shard
from common.transforms import ChannelTransforms

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow reads it once, while it is imported
with stderr_discarded():
    import tensorflow as tf

logger = logging.getLogger(__name__)

Targets = Mapping[str, Sequence[str]]
Tensors = dict[str, tf.Tensor]

FEATURES = "features"
ACTIVITY = "activity"
LABELLED = "labelled"
EVENTS = "events"
_INSIDE = "inside"  # bool (T,): the frame lies in a recording with labels
_HASHES = 2**31 - 1
_MEMORY_SHARE = 0.7  # of what is free; the rest is for batches and the model
_streamed: dict[str, Path] = {}  # shards that streams of this process read, so that an error can name the damaged one


def batches_per_pass(frames: Sequence[int], sequence_frames: int, batch_size: int) -> int:
    """Batches that one pass of `train_stream` yields.

    Args:
        frames: feature frames of each recording.
        sequence_frames: frames of one sequence.
        batch_size: sequences of one batch.

    Raises:
        DataError: the recordings do not fill one batch.
    """
    sequences = sum(max(1, count // sequence_frames) for count in frames)
    if sequences < batch_size:
        raise DataError(
            f"Too few recordings to train on. Expected: at least {batch_size} sequences of {sequence_frames} frames, "
            f"one batch. Received: {sequences}, from {len(frames)} recordings. Set a smaller `pipeline.batch_size` or "
            "`pipeline.sequence_frames`, or add recordings."
        )
    return sequences // batch_size


def train_stream(
    shards: Sequence[Path],
    schema: ExampleSchema,
    targets: Targets,
    *,
    sequence_frames: int,
    batch_size: int,
    shuffle_buffer_mb: float = 1024,
    seed: int,
    first_pass: int = 0,
    target_stride: int = 1,
    transforms: ChannelTransforms | None = None,
    interleaved_channels: bool = False,
    interleave: int = 8,
    cache: bool = False,
) -> tf.data.Dataset:
    """Streams shuffled batches for ever, pass after pass.

    In each pass a recording of T frames is cut into T // sequence_frames sequences without overlap, from a random
    first frame on; a shorter recording is padded. A pass ends with its last whole batch, see `batches_per_pass`.

    Args:
        shards: the training shards; their order does not matter.
        schema: the arrays in them; `features`, `activity` and the arrays of `targets` are read.
        targets: by output of the model, the arrays (T, K) that are put side by side, e.g. `activity`, `azimuth_deg`.
        sequence_frames: frames of one sequence.
        batch_size: sequences of one batch, B.
        shuffle_buffer_mb: memory for sequences that wait in random order.
        seed: together with the number of the pass, decides on all that is random.
        first_pass: number of the first pass.
        target_stride: frames that the model pools into one; their label is that of the middle frame.
        transforms: rotations and reflections, one of which is drawn for each sequence.
        interleaved_channels: arrange channels as the published SELDnet did, after the transforms.
        interleave: shards read in turns.
        cache: hold all features in memory, where they fit, and shuffle all sequences of a pass.

    Returns:
        Endless dataset of features (B, T, F, C) and {output: float32 (B, T // target_stride, width)}.

    Raises:
        DataError: no shards, or with `cache` a damaged one.
        ValueError: arrays that the schema lacks, or a stride that does not divide the sequence.
    """
    cutter = _Cutter(schema, targets, sequence_frames, target_stride)
    paths = _checked(shards)
    finish = _Finisher(cutter, transforms, interleaved_channels, seed)
    if cache and _fits_in_memory(paths):
        one_pass = _cached_passes(paths, cutter, batch_size, seed)
    else:
        buffer = max(2 * batch_size, int(shuffle_buffer_mb * 1e6 / cutter.sequence_bytes))
        one_pass = _streamed_passes(paths, cutter, batch_size, seed, buffer, max(interleave, 1))

    def finished_pass(number: tf.Tensor) -> tf.data.Dataset:
        return one_pass(number).enumerate().map(
            lambda index, batch: finish(batch, number, index), num_parallel_calls=tf.data.AUTOTUNE
        )

    passes = tf.data.Dataset.counter(start=first_pass).flat_map(finished_pass)
    return passes.with_options(_options()).prefetch(tf.data.AUTOTUNE)


def evaluation_stream(
    shards: Sequence[Path],
    schema: ExampleSchema,
    targets: Targets,
    *,
    sequence_frames: int,
    target_stride: int = 1,
    interleaved_channels: bool = False,
) -> tf.data.Dataset:
    """Streams whole recordings, one element each, in the order of the sorted shards.

    Args:
        shards: the shards.
        schema: the arrays in them.
        targets: see `train_stream`.
        sequence_frames: frames of one sequence; the last sequence of a recording is padded.
        target_stride: see `train_stream`.
        interleaved_channels: see `train_stream`.

    Returns:
        Dataset of dicts: `name`; `features` (n, T, F, C), n sequences; `targets` {output: float32 (n, T // stride,
        width)}; `events` (events, columns), where the schema has them; `labelled`, bool; `frames`, of the recording.

    Raises:
        DataError: no shards.
        ValueError: see `train_stream`.
    """
    cutter = _Cutter(schema, targets, sequence_frames, target_stride)
    names = [*cutter.names, *([EVENTS] if EVENTS in schema.arrays else [])]

    def element(record: tf.Tensor) -> dict:
        arrays = schema.parse(record, names)
        frames = tf.shape(arrays[FEATURES])[0]
        sequences = cutter.cut(arrays, tf.constant(0), -(-frames // sequence_frames))
        features = sequences.pop(FEATURES)
        kept = {EVENTS: arrays[EVENTS]} if EVENTS in arrays else {}
        return kept | {
            "name": arrays["name"],
            "features": _interleaved(features) if interleaved_channels else features,
            "targets": cutter.targets_of(sequences),
            "labelled": cutter.labelled(arrays),
            "frames": frames,
        }

    records = tf.data.TFRecordDataset(_checked(shards))  # one after the other: the order is part of the promise
    elements = records.map(element, num_parallel_calls=min(4, os.cpu_count() or 1))
    return elements.with_options(_options()).prefetch(1)


@contextmanager
def guard_stream(shards: Sequence[Path] | None = None) -> Iterator[None]:
    """Turns the failure of a stream inside the block into an error that names the damaged shard.

    Args:
        shards: those that the stream reads; None: all that streams of this process were made of.

    Raises:
        DataError: a shard is damaged or missing.
    """
    try:
        yield
    except (tf.errors.DataLossError, tf.errors.NotFoundError, tf.errors.PermissionDeniedError) as error:
        found = find_damaged(list(_streamed.values()) if shards is None else list(shards))
        if found is None and not isinstance(error, tf.errors.DataLossError):
            raise
        raise (found or damaged_shard(Path("(one of the shards)"), error.message)) from None


@dataclass(frozen=True)
class _Cutter:
    """Cuts the arrays of recordings into sequences and makes targets of them."""

    schema: ExampleSchema
    targets: Targets
    sequence_frames: int
    target_stride: int

    def __post_init__(self) -> None:
        missing = sorted({FEATURES, ACTIVITY, *self.labels} - set(self.schema.arrays))
        if missing:
            raise ValueError(f"The schema lacks arrays. Expected: {missing}. Received: {sorted(self.schema.arrays)}.")
        if self.target_stride < 1 or self.sequence_frames % self.target_stride:
            raise ValueError(
                "`target_stride` must divide `sequence_frames`. "
                f"Received: {self.target_stride}, {self.sequence_frames}."
            )

    @property
    def labels(self) -> list[str]:
        return sorted({ACTIVITY} | {name for names in self.targets.values() for name in names})

    @property
    def names(self) -> list[str]:
        return [FEATURES, *self.labels, *([LABELLED] if LABELLED in self.schema.arrays else [])]

    @property
    def sequence_bytes(self) -> int:
        spec = self.schema.arrays[FEATURES]
        return self.sequence_frames * math.prod(size or 1 for size in spec.shape[1:]) * np.dtype(spec.dtype).itemsize

    def labelled(self, arrays: Tensors) -> tf.Tensor:
        """Whether a recording has labels: bool scalar."""
        return arrays[LABELLED] > 0 if LABELLED in arrays else tf.constant(True)

    def cut(self, arrays: Tensors, first: tf.Tensor, n_sequences: tf.Tensor) -> Tensors:
        """Takes consecutive sequences (n, T, ...) of one recording, from frame `first` on."""
        wanted = first + tf.range(n_sequences * self.sequence_frames)  # (n * T,)
        frames = tf.shape(arrays[FEATURES])[0]
        inside = (wanted < frames) & self.labelled(arrays)
        kept = tf.minimum(wanted, frames - 1)
        # Gathering copies: slices would keep the memory of the whole recording while one sequence waits its turn.
        flat = {name: tf.gather(arrays[name], kept) for name in [FEATURES, *self.labels]} | {_INSIDE: inside}
        return {
            name: tf.reshape(array, [-1, self.sequence_frames, *array.shape[1:]]) for name, array in flat.items()
        }

    def targets_of(self, batch: Tensors) -> Tensors:
        """Targets of the model by output, float32 (B, T // stride, width), of cut labels."""
        activity = tf.where(batch[_INSIDE][..., None], tf.cast(batch[ACTIVITY], tf.float32), -1.0)
        labels = {name: tf.cast(batch[name], tf.float32) for name in self.labels} | {ACTIVITY: activity}
        middle = slice(self.target_stride // 2, None, self.target_stride)
        joined = {
            output: tf.concat([labels[name] for name in names], axis=-1)[:, middle]
            for output, names in self.targets.items()
        }
        return joined


def _streamed_passes(
    paths: list[str], cutter: _Cutter, batch_size: int, seed: int, buffer: int, interleave: int
) -> Callable[[tf.Tensor], tf.data.Dataset]:
    """Passes that read the shards each time and shuffle sequences in a buffer."""

    def sequences(record: tf.Tensor, number: tf.Tensor) -> tf.data.Dataset:
        arrays = cutter.schema.parse(record, cutter.names)
        frames = tf.shape(arrays[FEATURES])[0]
        count = tf.maximum(1, frames // cutter.sequence_frames)
        hashed = tf.strings.to_hash_bucket_fast(arrays["name"], _HASHES)
        first = _first_frame(frames, cutter.sequence_frames, _key(seed, number, hashed))
        length = cutter.sequence_frames
        one_by_one = tf.data.Dataset.range(tf.cast(count, tf.int64), output_type=tf.int32)
        return one_by_one.map(
            lambda index: {
                name: tf.ensure_shape(array[0], array.shape[1:])
                for name, array in cutter.cut(arrays, first + index * length, tf.constant(1)).items()
            }
        )

    def one_pass(number: tf.Tensor) -> tf.data.Dataset:
        order = tf.random.experimental.stateless_shuffle(tf.range(len(paths)), _key(seed, number, _HASHES))
        files = tf.data.Dataset.from_tensor_slices(tf.gather(tf.constant(paths), order))
        examples = files.interleave(
            lambda path: tf.data.TFRecordDataset(path).flat_map(lambda record: sequences(record, number)),
            cycle_length=min(interleave, len(paths)),
            num_parallel_calls=min(interleave, len(paths), max(2, os.cpu_count() or 1)),
        )
        # A process whose seed is 0, as set for the model's weights, makes `shuffle` compare this tensor with a number,
        # which a graph cannot; the seed of this function's own graph is another, and the order stays that of the key.
        tf.random.set_seed(1)
        shuffled = examples.shuffle(buffer, seed=_key(seed, number, 0)[1] * 31 + seed)
        return shuffled.batch(batch_size, drop_remainder=True, num_parallel_calls=tf.data.AUTOTUNE)

    return one_pass


def _cached_passes(
    paths: list[str], cutter: _Cutter, batch_size: int, seed: int
) -> Callable[[tf.Tensor], tf.data.Dataset]:
    """Passes over features held in memory: sequences are taken in fully random order, with one copy."""
    arrays, starts, frames = _load(paths, cutter)  # arrays (N, ...): all recordings joined in time
    counts = np.maximum(1, frames // cutter.sequence_frames)
    owner = tf.constant(np.repeat(np.arange(len(frames)), counts), tf.int32)  # recording of each sequence
    place = tf.constant(np.concatenate([np.arange(count) for count in counts]) * cutter.sequence_frames, tf.int32)
    starts_of, frames_of = tf.constant(starts, tf.int64), tf.constant(frames, tf.int32)

    def one_pass(number: tf.Tensor) -> tf.data.Dataset:
        first = _first_frame(frames_of, cutter.sequence_frames, _key(seed, number, 0))  # (recordings,)
        order = tf.random.experimental.stateless_shuffle(tf.range(len(owner)), _key(seed, number, _HASHES))

        def take(sequences: tf.Tensor) -> Tensors:
            recording = tf.gather(owner, sequences)  # (B,)
            begin = tf.gather(first, recording) + tf.gather(place, sequences)
            wanted = begin[:, None] + tf.range(cutter.sequence_frames)  # (B, T)
            length = tf.gather(frames_of, recording)[:, None]
            rows = tf.gather(starts_of, recording)[:, None] + tf.cast(tf.minimum(wanted, length - 1), tf.int64)
            batch = {name: tf.gather(array, rows) for name, array in arrays.items()}
            batch[_INSIDE] &= wanted < length
            return batch

        numbers = tf.data.Dataset.from_tensor_slices(order).batch(batch_size, drop_remainder=True)
        return numbers.map(take, num_parallel_calls=tf.data.AUTOTUNE)

    return one_pass


def _load(paths: list[str], cutter: _Cutter) -> tuple[Tensors, np.ndarray, np.ndarray]:
    """Reads all recordings: their arrays joined in time, the first row and the number of frames of each."""
    parts: dict[str, list[np.ndarray]] = {name: [] for name in [FEATURES, *cutter.labels, _INSIDE]}
    for path in paths:
        for example in read_shard(Path(path), cutter.schema):
            for name in (FEATURES, *cutter.labels):
                parts[name].append(example[name])
            labelled = bool(example.get(LABELLED, True))
            parts[_INSIDE].append(np.full(len(example[FEATURES]), labelled))
    frames = np.array([len(array) for array in parts[FEATURES]])
    starts = np.cumsum(frames) - frames
    with tf.device("CPU:0"):  # a GPU's memory is the model's
        arrays = {name: tf.convert_to_tensor(_joined(parts.pop(name))) for name in list(parts)}
    return arrays, starts, frames


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    """Concatenates in time and lets go of each part once it is copied, so that memory holds little twice."""
    joined = np.empty((sum(map(len, parts)), *parts[0].shape[1:]), parts[0].dtype)
    end = len(joined)
    while parts:
        part = parts.pop()
        joined[end - len(part) : end] = part
        end -= len(part)
    return joined


class _Finisher:
    """Turns cut arrays into what the model takes: transformed features and targets."""

    def __init__(
        self, cutter: _Cutter, transforms: ChannelTransforms | None, interleaved_channels: bool, seed: int
    ) -> None:
        self.cutter, self.transforms, self.seed = cutter, transforms, seed
        self.interleaved_channels = interleaved_channels

    def __call__(self, batch: Tensors, number: tf.Tensor, index: tf.Tensor) -> tuple[tf.Tensor, Tensors]:
        """Finishes batch `index` of pass `number`."""
        features = batch[FEATURES]  # (B, T, F, C)
        if self.transforms is not None:
            key = _key(-1 - self.seed, number, index)
            rows = tf.random.stateless_uniform([features.shape[0]], key, 0, len(self.transforms), tf.int32)  # (B,)
            features = transform_features(features, self.transforms, rows)
            batch = transform_angles(batch, self.transforms, rows)
        return _interleaved(features) if self.interleaved_channels else features, self.cutter.targets_of(batch)


def transform_features(features: tf.Tensor, transforms: ChannelTransforms, rows: tf.Tensor) -> tf.Tensor:
    """Applies one row of the tables to each sequence, as `ChannelTransforms.apply_to_features` does.

    Args:
        features: (B, T, F, C), float16 or float32.
        transforms: the tables.
        rows: int32 (B,), the row for each sequence.

    Returns:
        Features of the same shape and type, computed in float32.
    """
    n_channels = transforms.channel_permutation.shape[1]
    chosen = np.eye(n_channels, dtype=np.float32)[transforms.channel_permutation]  # (R, C, C): new, old
    matrices = (chosen * transforms.channel_sign[..., None]).transpose(0, 2, 1)  # (R, old, new)
    shape = tf.shape(features)
    # A product with zeros and ones is exact, and many times faster than gathering along the last axis.
    flat = tf.reshape(tf.cast(features, tf.float32), [shape[0], -1, n_channels])
    moved = tf.matmul(flat, tf.gather(tf.constant(matrices), rows))  # (B, T * F, C)
    if np.any(transforms.channel_shift_rad):
        moved += tf.gather(tf.constant(transforms.channel_shift_rad, tf.float32), rows)[:, None]
        turn = tf.constant(2 * np.pi * transforms.periodic, tf.float32)  # (C,): 0 where nothing wraps
        moved -= turn * tf.math.ceil((moved - np.pi) / (2 * np.pi))  # (-pi, pi]
    return tf.ensure_shape(tf.reshape(tf.cast(moved, features.dtype), shape), features.shape)


def transform_angles(batch: Tensors, transforms: ChannelTransforms, rows: tf.Tensor) -> Tensors:
    """Lets the angles (B, T, K) of active entries follow, wrapped to [-180, 180); the rest stays."""
    turned = dict(batch)
    for name, (sign, offset_deg) in transforms.angles.items():
        if name not in batch:
            continue
        angles = tf.cast(batch[name], tf.float32)
        tables = (tf.constant(sign, tf.float32), tf.constant(offset_deg, tf.float32))
        signs, offsets = (tf.gather(table, rows)[:, None, None] for table in tables)
        moved = tf.math.floormod(signs * angles + offsets + 180.0, 360.0) - 180.0
        turned[name] = tf.where(batch[ACTIVITY] > 0, moved, angles)
    return turned


def _interleaved(features: tf.Tensor) -> tf.Tensor:
    """`common.spectral.interleave_channels` for (B, T, F, 2C)."""
    _, _, n_bins, n_channels = features.shape
    shape = tf.shape(features)
    halves = tf.reshape(features, [shape[0], shape[1], n_bins, 2, n_channels // 2])
    swapped = tf.transpose(halves, [0, 1, 3, 2, 4])  # all magnitudes of a frame, then all phases
    return tf.ensure_shape(tf.reshape(swapped, shape), features.shape)


def _first_frame(frames: tf.Tensor, sequence_frames: int, key: tf.Tensor) -> tf.Tensor:
    """Where the first sequence starts: anywhere that leaves room for all sequences; int32 of the shape of `frames`."""
    spare = tf.where(frames >= sequence_frames, frames % sequence_frames, 0)
    return tf.cast(tf.random.stateless_uniform(tf.shape(frames), key) * tf.cast(spare + 1, tf.float32), tf.int32)


def _key(seed: int, number: tf.Tensor, what: tf.Tensor | int) -> tf.Tensor:
    """Seed of a stateless draw: int64 (2,)."""
    return tf.stack([tf.constant(seed, tf.int64), number * (_HASHES + 1) + tf.cast(what, tf.int64)])


def _checked(shards: Sequence[Path]) -> list[str]:
    if not shards:
        raise DataError("No TFRecord shard found. Run `python batch_feature_extraction.py <task-id>` first.")
    _streamed.update({str(path): Path(path) for path in shards})
    return sorted(map(str, shards))


def _fits_in_memory(paths: list[str]) -> bool:
    needed, free = sum(os.path.getsize(path) for path in paths), _free_bytes()
    if needed <= _MEMORY_SHARE * free:
        return True
    logger.warning(
        "The training features take %.1f GB, but only %.1f GB of memory are free: they are read from disk in each "
        "pass (`pipeline.cache`).", needed / 1e9, free / 1e9,
    )  # fmt: skip
    return False


def _free_bytes() -> float:
    """Memory that can be used without swapping; without limit where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(float(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError):
        return float("inf")


def _options() -> tf.data.Options:
    options = tf.data.Options()
    options.deterministic = True
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return options

"""Shards to batches for training, and to whole recordings in order for evaluation, with `tf.data`.

Batches keep the type that the features are stored in: 16-bit batches take half the time to copy,
and the model turns them into float32. What is drawn at random (order, where sequences start,
transforms) depends on the seed and the number of the pass alone, so that a job that is started
again at pass n sees what it would have seen.

Padding: frames outside a recording repeat its last frame (or are those given as `padding`) and have
activity -1 in the targets; losses and scores ignore them. Recordings without labels have activity
-1 throughout.

Where records hold `audio` in place of `features`, see `common.features.frontend`, batches hold 16-bit
samples (B, S, C), and frames outside a recording are digital silence.

Arrays whose first axis is time are cut with the features; others, such as tags (K,), belong to the
whole recording and come with each of its sequences.
"""

import itertools
import logging
import math
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.data.sequences import LastBatch, batches_per_pass, sequences_fitting
from common.data.shard_index import FrameReader, Records
from common.data.tfrecord import (
    ArraySpec,
    ExampleSchema,
    damaged_shard,
    find_damaged,
    parse_name,
    read_shard,
    stored_arrays,
)
from common.errors import DataError
from common.features.channel_transforms import ChannelTransforms
from common.features.frontend import AUDIO
from common.runtime.multi_host import ALONE, Place
from common.runtime.quiet import stderr_discarded

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow reads it once, while it is imported
with stderr_discarded():
    import tensorflow as tf

logger = logging.getLogger(__name__)

Targets = Mapping[str, Sequence[str]]
Tensors = dict[str, tf.Tensor]
Places = Callable[
    [tf.Tensor], tf.data.Dataset
]  # from the number of a pass to batches of recordings and first frames
Read = Callable[
    [tf.Tensor, tf.Tensor], Tensors
]  # from one such batch, (B,) each, to the arrays of its sequences

FEATURES = "features"
ACTIVITY = "activity"
LABELLED = "labelled"
EVENTS = "events"
_INSIDE = "inside"  # bool (T,): the frame lies in a recording with labels
_KNOWN = "known"  # bool: the activity is known, from the dataset or as a pseudo label
_NO_FRAMES = "a record has no frames"
_MISMATCH = "Labels and features do not belong together"
_HASHES = 2**31 - 1
_CHECKED_AHEAD = 8  # batches whose places wait while checksums of later shards are compared
_PREFETCHED = (
    2  # batches that wait for the training: a number that is tuned would grow to gigabytes
)
_GROUPS = 4  # of shards, each listed by a worker of its own
_MEMORY_SHARE = (
    0.25  # of what is free: while arrays become tensors, memory holds them up to four times
)
_streamed: dict[
    str, None
] = {}  # shards that streams of this process read, latest last: an error names the damaged one


def train_stream(
    shards: Sequence[Path],
    schema: ExampleSchema,
    targets: Targets,
    *,
    sequence_frames: int,
    batch_size: int,
    sequence_hop_frames: int | None = None,
    last_batch: LastBatch = "keep",
    shuffle_buffer_mb: float | None = None,
    seed: int,
    first_pass: int = 0,
    target_stride: int = 1,
    transforms: ChannelTransforms | None = None,
    interleaved_channels: bool = False,
    interleave: int = 8,
    cache: bool = False,
    names: Collection[str] | None = None,
    label_shards: Sequence[Path] | None = None,
    padding: np.ndarray | None = None,
    context_frames: int = 0,
    place: Place = ALONE,
) -> tf.data.Dataset:
    """Streams shuffled batches for ever, pass after pass.

    In each pass a recording of T frames is cut into T // sequence_frames sequences without overlap,
    from a random first frame on; or, with `sequence_hop_frames`, into sequences that start at every
    multiple of it and one more that ends with the recording, where those leave frames at its end. A
    shorter recording is padded. How a pass ends says `last_batch`; a smaller batch than the others
    leaves the first dimension of all batches open.

    Passes shuffle the places of all sequences. Those that are streamed read each sequence when its
    batch is made, so that no more than a few batches are in memory, and compare the checksums of
    the shards during the first pass. The batches are the same with and without `cache`.

    Args:
        shards: the training shards; their order does not matter.
        schema: the arrays in them; `features` or `audio`, `activity` and the arrays of `targets`
            are read.
        targets: by output of the model, the arrays (T, K) that are put side by side, e.g.
            `activity`, `azimuth_deg`; or arrays (K,) of whole recordings, e.g. `tags`.
        sequence_frames: frames of one sequence.
        batch_size: sequences of one batch, B.
        sequence_hop_frames: frames between the starts of two sequences; None: side by side.
        last_batch: "keep": the sequences that are left at the end of a pass are a smaller batch;
            "fill": sequences from the start of the pass fill it; "drop": they are left out. Several
            processes need whole ones.
        shuffle_buffer_mb: size of the sequences among which the next one is drawn, e.g. less than
            the free memory, so that overlapping sequences of large datasets are read from disk
            once; None: all. Without effect with `cache`.
        seed: together with the number of the pass, decides on all that is random.
        first_pass: number of the first pass.
        target_stride: frames that the model pools into one; their label is that of the middle
            frame.
        transforms: rotations and reflections, one of which is drawn for each sequence.
        interleaved_channels: arrange channels as the published SELDnet did, after the transforms.
        interleave: shards read in turns, with `shuffle_buffer_mb`.
        cache: hold all features in memory, where they fit.
        names: the recordings to take; None: all.
        label_shards: parallel to `shards`: records of the same names in the same order (others than
            `names` may be missing) whose arrays, float32, replace those of the recordings, e.g.
            pseudo labels; None: nothing is replaced.
        padding: features (F, C) of frames outside a recording, e.g. the mean, which standardisation
            turns into zeros; None: the last frame is repeated.
        context_frames: pieces of audio that a sequence needs beyond its frames, see
            `common.features.frontend`.
        place: among processes that train together. All list the same joint batches, and each reads
            its rows of them alone, and compares its share of the checksums: no sequence is read
            twice and none is left out, however many shards there are. With `cache`, however, each
            holds the features of all.

    Returns:
        Endless dataset of features (B, T, F, C), or audio (B, (T + context_frames) * hop, C), and
        {output: float32 (B, T // target_stride, width)}, (B, width) for arrays of whole recordings;
        of several processes each gets B / n of the rows.

    Raises:
        DataError: no shards or names, recordings that do not fill one batch, or with `cache` a
            damaged shard.
        ValueError: arrays that the schema lacks, arrays with and without time for one output, a
            stride that does not divide the sequence, or `last_batch` "keep" for several processes.
    """
    if place.n_processes > 1 and last_batch == "keep":
        raise ValueError(
            "Several processes share whole batches. Expected: `last_batch` fill or drop. Received:"
            " keep."
        )
    filled = _padding(padding, interleaved_channels)
    cutter = _Cutter(
        schema, targets, sequence_frames, target_stride, filled, sequence_hop_frames, context_frames
    )
    source = _Source(shards, schema, names, label_shards, context_frames, place)
    finish = _Finisher(cutter, transforms, interleaved_channels, seed, place)
    if cache and _fits_in_memory(source.paths):
        one_pass, read = _cached_passes(source, cutter, batch_size, last_batch, seed)
    else:
        sides = source.places(cutter.names)
        known, frames = _known_and_frames(source, cutter, sides)
        batching, read = (
            _Batching.of(cutter, frames, batch_size, last_batch),
            _reader(cutter, sides, known, frames),
        )
        if shuffle_buffer_mb is None:
            one_pass = _with_checks(
                _shuffled_places(cutter, frames, batching, seed), source, batching, first_pass
            )
        else:
            in_turns = _places_in_turns(
                source, cutter, sides[0], frames, seed, first_pass, max(interleave, 1)
            )
            buffer = max(2 * batch_size, int(shuffle_buffer_mb * 1e6 / cutter.sequence_bytes))
            one_pass = _drawn_places(in_turns, buffer, batching, seed)

    def numbered(number: tf.Tensor) -> tf.data.Dataset:
        def part_of(index: tf.Tensor, places: Sequence[tf.Tensor]) -> tuple[tf.Tensor, ...]:
            return (
                number,
                index,
                *(places if place.n_processes == 1 else map(place.part_of, places)),
            )

        return one_pass(number).enumerate().map(part_of)

    # Reading is not part of a pass: the first batches of the next one are read while the last ones
    # of this are used.
    passes = tf.data.Dataset.counter(start=first_pass).flat_map(numbered)
    batches = passes.map(
        lambda number, index, *places: finish(read(*places), number, index),
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    return batches.with_options(_options()).prefetch(_PREFETCHED)


def evaluation_stream(
    shards: Sequence[Path],
    schema: ExampleSchema,
    targets: Targets,
    *,
    sequence_frames: int,
    whole_recordings: bool = False,
    target_stride: int = 1,
    interleaved_channels: bool = False,
    names: Collection[str] | None = None,
    label_shards: Sequence[Path] | None = None,
    padding: np.ndarray | None = None,
    context_frames: int = 0,
) -> tf.data.Dataset:
    """Streams whole recordings, one element each, in the order of the sorted shards.

    Args:
        shards: the shards.
        schema: the arrays in them.
        targets: see `train_stream`.
        sequence_frames: frames of one sequence; the last sequence of a recording is padded.
        whole_recordings: a recording is one sequence of all its frames, padded to `sequence_frames`
            if it is shorter.
        target_stride: see `train_stream`.
        interleaved_channels: see `train_stream`, as are `names`, `label_shards`, `padding` and
            `context_frames`.

    Returns:
        Dataset of dicts: `name`; `features` (n, T, F, C), n sequences, or their audio (n, S, C);
        `targets` {output: float32 (n, T', width), one frame for the middle of each `target_stride`
        frames, or (n, width), n times the same, for arrays of whole recordings}; `events` (events,
        columns), where the schema has them; `labelled`, bool; `frames`, of the recording;
        `sequence_frames`, T.

    Raises:
        DataError: no shards.
        ValueError: see `train_stream`.
    """
    filled = _padding(padding, interleaved_channels)
    cutter = _Cutter(
        schema, targets, sequence_frames, target_stride, filled, context_frames=context_frames
    )
    source = _Source(shards, schema, names, label_shards, context_frames)
    wanted = [*cutter.names, *([EVENTS] if EVENTS in schema.arrays else [])]
    _known_and_frames(
        source, cutter, source.places(wanted)
    )  # what TensorFlow could not read ends here

    def element(*records: tf.Tensor) -> dict:
        arrays = source.parse(records, wanted)
        frames = source.n_frames(arrays)
        length = tf.maximum(frames, sequence_frames) if whole_recordings else sequence_frames
        sequences = cutter.cut(arrays, tf.constant(0), -(-frames // length), length)
        features = sequences.pop(FEATURES)
        kept = {EVENTS: arrays[EVENTS]} if EVENTS in arrays else {}
        return kept | {
            "name": arrays["name"],
            "features": _interleaved(features) if interleaved_channels else features,
            "targets": cutter.targets_of(sequences),
            "labelled": arrays[LABELLED] > 0 if LABELLED in arrays else tf.constant(True),
            "frames": frames,
            "sequence_frames": length,
        }

    records = source.records(
        source.paths, source.label_paths
    )  # one after the other: the order is part of the promise
    elements = records.map(element, num_parallel_calls=min(4, os.cpu_count() or 1))
    return elements.with_options(_options()).prefetch(1)


@contextmanager
def guard_stream(shards: Sequence[Path] | None = None) -> Iterator[None]:
    """Turns the failure of a stream inside the block into an error that names the damaged shard.

    Args:
        shards: those that the stream reads; None: all that streams of this process were made of,
            latest first.

    Raises:
        DataError: a shard is damaged or missing.
    """
    try:
        yield
    except (
        tf.errors.DataLossError,
        tf.errors.NotFoundError,
        tf.errors.PermissionDeniedError,
        tf.errors.UnknownError,
    ) as error:
        of_python = isinstance(
            error, tf.errors.UnknownError
        )  # raised in a call from TensorFlow to Python
        if of_python and DataError.__name__ not in error.message:
            raise
        found = find_damaged(map(Path, reversed(_streamed)) if shards is None else shards)
        if found is None and not (of_python or isinstance(error, tf.errors.DataLossError)):
            raise
        raise (found or damaged_shard(Path("(one of the shards)"), error.message)) from None
    except tf.errors.InvalidArgumentError as error:
        if _MISMATCH not in error.message:
            raise
        raise _mismatch(
            error.message[error.message.index(_MISMATCH) + len(_MISMATCH) :].split("\n")[0]
        ) from None


class _Source:
    """Shards, which of their recordings are wanted, and the shards of labels that replace theirs.

    Attributes:
        paths: the shards, sorted.
        label_paths: parallel to them; empty: nothing is replaced.
        replaced: the arrays that are replaced.
        context_frames: pieces of audio beyond the frames of a recording.
        place: of this process among those that read the shards together.
    """

    def __init__(
        self,
        shards: Sequence[Path],
        schema: ExampleSchema,
        names: Collection[str] | None,
        label_shards: Sequence[Path] | None,
        context_frames: int = 0,
        place: Place = ALONE,
    ) -> None:
        paths, self.context_frames, self.place = _checked(shards), context_frames, place
        if label_shards and len(label_shards) != len(shards):
            raise _mismatch(f": {len(shards)} shards of features, {len(label_shards)} of labels.")
        if names is not None and not names:
            raise DataError("No recordings to read. Expected: at least one name. Received: none.")
        by_path = dict(zip(map(str, shards), map(str, label_shards or ()), strict=False))
        self.schema, self.paths = schema, paths
        self.label_paths = [by_path[path] for path in paths] if label_shards else []
        _remember(self.label_paths)
        self.names = None if names is None else frozenset(names)
        replaced = stored_arrays(Path(self.label_paths[0])) if label_shards else []
        unknown = sorted(set(replaced) - set(schema.arrays))
        if unknown:
            raise ValueError(
                f"The label shards hold unknown arrays. Expected: some of {sorted(schema.arrays)}."
                f" Received: {unknown}."
            )
        self.replaced = ExampleSchema(
            {name: ArraySpec("float32", schema.arrays[name].shape) for name in replaced}
        )
        self._kept = None if self.names is None else _lookup(self.names)

    def records(self, paths: Any, label_paths: Any) -> tf.data.Dataset:
        """The wanted records of one or several shards, each with the record of its labels where
        there are any."""
        if not self.label_paths:
            return self._wanted(paths)
        # One more record on either side shows when a side is shorter: it then stands beside a real
        # one.
        end = tf.data.Dataset.from_tensors(tf.constant(b""))
        pairs = tf.data.Dataset.zip(
            (self._wanted(paths).concatenate(end), self._wanted(label_paths).concatenate(end))
        )
        return pairs.filter(_is_pair)

    def parse(self, records: Sequence[tf.Tensor], wanted: Sequence[str]) -> Tensors:
        """Decodes what `records` gave: the arrays, "name", and if the activity is known; audio
        stands for features."""
        own = [_stored(self.schema, name) for name in wanted if name not in self.replaced.arrays]
        arrays = _with_features(self.schema.parse(records[0], own))
        known = arrays[LABELLED] > 0 if LABELLED in arrays else tf.constant(True)
        if len(records) == 2:
            labels = self.replaced.parse(
                records[1], [name for name in wanted if name in self.replaced.arrays]
            )
            frames = self.n_frames(arrays)
            for name, array in labels.items():
                if _has_time(self.schema, name):
                    message = f"{_MISMATCH}: `{name}` has another number of frames."
                    with tf.control_dependencies(
                        [tf.debugging.assert_equal(tf.shape(array)[0], frames, message)]
                    ):
                        labels[name] = tf.identity(array)
            arrays |= labels
            known = tf.constant(True) if ACTIVITY in self.replaced.arrays else known
        return arrays | {_KNOWN: known}

    def n_frames(self, arrays: Mapping[str, Any]) -> Any:
        """Frames of a recording, from what `parse` or `examples` gave."""
        features = arrays[FEATURES]
        stored = len(features) if isinstance(features, np.ndarray) else tf.shape(features)[0]
        return stored - self.context_frames

    def examples(self) -> Iterator[dict[str, Any]]:
        """The wanted recordings as numpy arrays, with their labels."""
        for path, label_path in itertools.zip_longest(self.paths, self.label_paths):
            own = self._read(path, self.schema)
            if label_path is None:
                yield from own
                continue
            for example, label in itertools.zip_longest(own, self._read(label_path, self.replaced)):
                if example is None or label is None or example["name"] != label["name"]:
                    raise _mismatch(f": {path}, {label_path}.")
                yield example | label | ({LABELLED: True} if ACTIVITY in label else {})

    def places(self, wanted: Sequence[str]) -> list[Records]:
        """Finds the recordings in the shards, and in those of labels; arrays that have time are not
        read.

        Args:
            wanted: the arrays.

        Raises:
            DataError: a shard is damaged, labels are those of other recordings, or no recording is
                to be read.
        """
        stored = [_stored(self.schema, name) for name in wanted if name not in self.replaced.arrays]
        own = ExampleSchema({name: self.schema.arrays[name] for name in stored})
        records = Records.find(self.paths, own, self._wants)
        if not records.names:
            raise DataError(f"None of the recordings wanted is in the {len(self.paths)} shards.")
        if not self.label_paths:
            return [records]
        replaced = ExampleSchema(
            {name: spec for name, spec in self.replaced.arrays.items() if name in wanted}
        )
        labels = Records.find(self.label_paths, replaced, self._wants)
        if records.names != labels.names or not np.array_equal(records.ends, labels.ends):
            raise _mismatch(": the names of their records differ.")
        return [records, labels]

    def checked(self, shard: tf.Tensor, wanted: tf.Tensor) -> tf.data.Dataset:
        """A dataset without elements that, where it is wanted, fails when a checksum in a shard or
        its labels is wrong.

        Of several processes, each compares those of every so many shards.

        Args:
            shard: number of the shard.
            wanted: bool; otherwise nothing is read.

        Returns:
            Dataset of pairs of int32, of which there are none.
        """
        paths = [
            tf.gather(tf.constant(each), shard) for each in (self.paths, self.label_paths) if each
        ]
        mine = wanted & (shard % self.place.n_processes == self.place.number)
        records = tf.data.TFRecordDataset(tf.stack(paths)).take(
            tf.where(mine, tf.constant(-1, tf.int64), 0)
        )
        none = records.filter(lambda record: tf.strings.length(record) < 0)
        return none.map(lambda record: (tf.strings.length(record), tf.strings.length(record)))

    def _wants(self, name: str) -> bool:
        return self.names is None or name in self.names

    def _read(self, path: str, schema: ExampleSchema) -> Iterator[dict[str, Any]]:
        for example in map(_with_features, read_shard(Path(path), schema)):
            if FEATURES in example and self.n_frames(example) < 1:
                raise damaged_shard(Path(path), _NO_FRAMES)
            if self._wants(example["name"]):
                yield example

    def _wanted(self, paths: Any) -> tf.data.Dataset:
        records, kept = tf.data.TFRecordDataset(paths), self._kept
        return (
            records
            if kept is None
            else records.filter(lambda record: kept.lookup(parse_name(record)) > 0)
        )


def _stored(schema: ExampleSchema, name: str) -> str:
    """The name under which an array is stored: the model's input may be audio."""
    return AUDIO if name == FEATURES and AUDIO in schema.arrays else name


def _with_features(arrays: dict[str, Any]) -> dict[str, Any]:
    """The arrays with the model's input as features, whatever it is stored as."""
    return {FEATURES if name == AUDIO else name: array for name, array in arrays.items()}


def _lookup(names: Collection[str]) -> tf.lookup.StaticHashTable:
    """A table in which the names, and only they, have 1."""
    with tf.device("CPU:0"):
        keys = tf.constant(sorted(names))
        entries = tf.lookup.KeyValueTensorInitializer(keys, tf.ones([len(names)], tf.int64))
        return tf.lookup.StaticHashTable(entries, 0)


def _is_pair(record: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Whether this is not the end of both sides; fails when it is the end of one, or the names
    differ."""
    message = f"{_MISMATCH}: the names of their records differ."
    with tf.control_dependencies(
        [tf.debugging.assert_equal(parse_name(record), parse_name(labels), message)]
    ):
        return tf.strings.length(record) > 0


def _mismatch(details: str) -> DataError:
    return DataError(
        f"{_MISMATCH}{details} Expected: the records of both in the same order, with as many"
        " frames. Delete the folder of the labels (pseudo labels lie in the run directory) and run"
        " the same command again."
    )


def _has_time(schema: ExampleSchema, name: str) -> bool:
    """Whether the first axis of an array is time; otherwise it belongs to the whole recording."""
    return name in schema.arrays and schema.arrays[name].shape[:1] == (None,)


def _padding(padding: np.ndarray | None, interleaved_channels: bool) -> np.ndarray | None:
    if padding is not None and interleaved_channels:
        raise ValueError("`padding` and `interleaved_channels` cannot be combined.")
    return padding


@dataclass(frozen=True)
class _Cutter:
    """Cuts the arrays of recordings into sequences and makes targets of them."""

    schema: ExampleSchema
    targets: Targets
    sequence_frames: int
    target_stride: int
    padding: np.ndarray | None = None
    hop_frames: int | None = None  # None: side by side
    context_frames: int = 0

    def __post_init__(self) -> None:
        missing = sorted({self.input_name, ACTIVITY, *self.labels} - set(self.schema.arrays))
        if missing:
            raise ValueError(
                f"The schema lacks arrays. Expected: {missing}. Received:"
                f" {sorted(self.schema.arrays)}."
            )
        if self.target_stride < 1 or self.sequence_frames % self.target_stride:
            raise ValueError(
                "`target_stride` must divide `sequence_frames`. "
                f"Received: {self.target_stride}, {self.sequence_frames}."
            )
        for output, names in self.targets.items():
            if len({_has_time(self.schema, name) for name in names}) != 1:
                raise ValueError(
                    "An output's arrays must all have a time axis, or none of them. Received:"
                    f" {output}: {list(names)}."
                )

    @property
    def input_name(self) -> str:
        """The array that the model's input is stored as."""
        return _stored(self.schema, FEATURES)

    @property
    def labels(self) -> list[str]:
        return sorted({ACTIVITY} | {name for names in self.targets.values() for name in names})

    @property
    def cut_labels(self) -> list[str]:
        """The labels that are cut in time."""
        return [name for name in self.labels if _has_time(self.schema, name)]

    @property
    def whole_arrays(self) -> list[str]:
        """The arrays that belong to whole recordings."""
        return [name for name in self.labels if not _has_time(self.schema, name)]

    @property
    def names(self) -> list[str]:
        return [FEATURES, *self.labels, *([LABELLED] if LABELLED in self.schema.arrays else [])]

    @property
    def sequence_bytes(self) -> int:
        spec = self.schema.arrays[self.input_name]
        frame_bytes = (
            math.prod(size or 1 for size in spec.shape[1:]) * np.dtype(spec.dtype).itemsize
        )
        return (self.sequence_frames + self.context_frames) * frame_bytes

    def n_fitting(self, frames: Any) -> Any:
        """How many sequences lie in recordings of so many frames; not positive in those that are
        too short."""
        return sequences_fitting(frames, self.sequence_frames, self.hop_frames)

    def firsts(self, frames: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
        """Where the first sequence of recordings of so many frames starts; int32 of the shape of
        `frames`."""
        if self.hop_frames is not None:
            return tf.zeros_like(frames)
        return _first_frame(frames, self.sequence_frames, key)

    def starts(self, firsts: tf.Tensor, numbers: tf.Tensor, frames: tf.Tensor) -> tf.Tensor:
        """Where sequence `numbers` of recordings of so many frames starts: none reaches beyond the
        end."""
        last = tf.maximum(frames - self.sequence_frames, 0)
        return tf.minimum(firsts + numbers * (self.hop_frames or self.sequence_frames), last)

    def cut(
        self, arrays: Tensors, first: tf.Tensor, n_sequences: tf.Tensor, length: tf.Tensor | int
    ) -> Tensors:
        """Takes consecutive sequences (n, length, ...) of one recording, from frame `first` on."""
        pieces = tf.shape(arrays[FEATURES])[0]
        frames = pieces - self.context_frames
        starts = first + length * tf.range(n_sequences)[:, None]
        wanted = starts + tf.range(length + self.context_frames)  # (n, length + context)
        within = wanted[:, :length]
        # Gathering copies: slices would keep the memory of the whole recording while one sequence
        # waits its turn.
        cut = {
            name: tf.gather(arrays[name], tf.minimum(within, frames - 1))
            for name in self.cut_labels
        }
        cut[_INSIDE] = (within < frames) & arrays[_KNOWN]
        cut[FEATURES] = self.padded(
            tf.gather(arrays[FEATURES], tf.minimum(wanted, pieces - 1)), wanted < pieces
        )
        repeated = {
            name: tf.repeat(arrays[name][None], n_sequences, axis=0) for name in self.whole_arrays
        }
        return cut | {
            name: tf.ensure_shape(each, [None, *arrays[name].shape])
            for name, each in repeated.items()
        }

    def padded(self, features: tf.Tensor, real: tf.Tensor) -> tf.Tensor:
        """Puts the padding into frames (n, T, F, C) that are not real (n, T); audio becomes samples
        (n, S, C)."""
        if self.input_name == AUDIO:
            heard = tf.where(real[..., None, None], features, tf.zeros([], features.dtype))
            n_pieces = features.shape[1] or tf.shape(features)[1]
            return tf.reshape(heard, [-1, n_pieces * features.shape[2], features.shape[3]])
        if self.padding is None:
            return features
        return tf.where(real[..., None, None], features, tf.constant(self.padding, features.dtype))

    def targets_of(self, batch: Tensors) -> Tensors:
        """Targets of the model by output, float32 (B, T', width) or (B, width), of cut labels."""
        activity = tf.where(batch[_INSIDE][..., None], tf.cast(batch[ACTIVITY], tf.float32), -1.0)
        labels = {name: tf.cast(batch[name], tf.float32) for name in self.labels} | {
            ACTIVITY: activity
        }
        middle = slice(self.target_stride // 2, None, self.target_stride)
        joined = {
            output: tf.concat([labels[name] for name in names], axis=-1)
            for output, names in self.targets.items()
        }
        return {
            output: array[:, middle] if array.shape.rank == 3 else array
            for output, array in joined.items()
        }


@dataclass(frozen=True)
class _Batching:
    """How the sequences of a pass become batches."""

    batch_size: int
    last: LastBatch
    n_sequences: int
    n_batches: int

    @classmethod
    def of(
        cls, cutter: _Cutter, frames: np.ndarray, batch_size: int, last: LastBatch
    ) -> "_Batching":
        """For recordings of so many frames, (N,); DataError where no batch is full, since such
        passes never end."""
        n_batches = batches_per_pass(
            frames, cutter.sequence_frames, batch_size, cutter.hop_frames, last
        )
        return cls(batch_size, last, int(np.maximum(1, cutter.n_fitting(frames)).sum()), n_batches)

    def __call__(self, places: tf.data.Dataset) -> tf.data.Dataset:
        """Batches the places of a pass; the size of batches is fixed where all of them are
        whole."""
        n_taken = self.n_sequences if self.last == "keep" else self.n_batches * self.batch_size
        if n_taken > self.n_sequences:
            places = places.repeat().take(n_taken)
        return places.batch(
            self.batch_size, drop_remainder=n_taken == self.n_batches * self.batch_size
        )


def _shuffled_places(cutter: _Cutter, frames: np.ndarray, batching: _Batching, seed: int) -> Places:
    """Passes over all sequences of recordings of so many frames, (N,), in fully random order."""
    counts = np.maximum(1, cutter.n_fitting(frames))  # (N,)
    owner = tf.constant(
        np.repeat(np.arange(len(frames)), counts), tf.int32
    )  # recording of each sequence
    firsts = np.repeat(np.cumsum(counts) - counts, counts)
    place = tf.constant(
        np.arange(batching.n_sequences) - firsts, tf.int32
    )  # number of each in its recording
    frames_of = tf.constant(frames, tf.int32)

    def one_pass(number: tf.Tensor) -> tf.data.Dataset:
        first = cutter.firsts(frames_of, _key(seed, number, 0))  # (recordings,)
        order = tf.random.experimental.stateless_shuffle(
            tf.range(batching.n_sequences), _key(seed, number, _HASHES)
        )
        recordings = tf.gather(owner, order)  # (sequences,)
        begin = cutter.starts(
            tf.gather(first, recordings), tf.gather(place, order), tf.gather(frames_of, recordings)
        )
        return batching(tf.data.Dataset.from_tensor_slices((recordings, begin)))

    return one_pass


def _with_checks(one_pass: Places, source: _Source, batching: _Batching, first_pass: int) -> Places:
    """Compares the checksums of all shards during the first of these passes, some before each
    batch."""
    n_shards, n_batches = len(source.paths), batching.n_batches

    def checked_pass(number: tf.Tensor) -> tf.data.Dataset:
        is_first = number == first_pass

        def after_checks(index: tf.Tensor, places: tuple[tf.Tensor, ...]) -> tf.data.Dataset:
            begin, end = (
                -(-at * n_shards // n_batches) for at in (index, index + 1)
            )  # rounded up: early ones first
            shards = tf.data.Dataset.range(
                begin, tf.where(is_first, end, begin), output_type=tf.int32
            )
            checks = shards.flat_map(lambda shard: source.checked(shard, is_first))
            none = checks.batch(batching.batch_size, drop_remainder=True)
            return none.concatenate(tf.data.Dataset.from_tensors(places))

        return one_pass(number).enumerate().flat_map(after_checks).prefetch(_CHECKED_AHEAD)

    return checked_pass


def _places_in_turns(
    source: _Source,
    cutter: _Cutter,
    records: Records,
    frames: np.ndarray,
    seed: int,
    first_pass: int,
    interleave: int,
) -> Callable[[tf.Tensor], tf.data.Dataset]:
    """Passes over single places, from shards in turns; checksums are compared in the first pass,
    shard by shard."""
    names, ends, frames_of = (
        tf.constant(records.names),
        tf.constant(records.ends),
        tf.constant(frames, tf.int32),
    )

    def sequences(recording: tf.Tensor, number: tf.Tensor) -> tf.data.Dataset:
        frames = tf.gather(frames_of, recording)
        count = tf.maximum(1, cutter.n_fitting(frames))
        hashed = tf.strings.to_hash_bucket_fast(tf.gather(names, recording), _HASHES)
        first = cutter.firsts(frames, _key(seed, number, hashed))
        starts = cutter.starts(first, tf.range(count), frames)  # (count,)
        return tf.data.Dataset.from_tensor_slices((tf.fill([count], recording), starts))

    def one_pass(number: tf.Tensor) -> tf.data.Dataset:
        order = tf.random.experimental.stateless_shuffle(
            tf.range(len(source.paths)), _key(seed, number, _HASHES)
        )
        files = tf.data.Dataset.from_tensor_slices(order)

        def of_shard(shard: tf.Tensor) -> tf.data.Dataset:
            begin = tf.gather(tf.pad(ends, [[1, 0]]), shard)
            recordings = tf.data.Dataset.range(begin, tf.gather(ends, shard), output_type=tf.int32)
            places = recordings.flat_map(lambda recording: sequences(recording, number))
            return source.checked(shard, number == first_pass).concatenate(places)

        in_turns = _in_turns if cutter.hop_frames is None else _in_turns_of_groups
        return in_turns(files, len(source.paths), of_shard, interleave)

    return one_pass


def _drawn_places(
    in_turns: Callable[[tf.Tensor], tf.data.Dataset], buffer: int, batching: _Batching, seed: int
) -> Places:
    """Passes that draw the next place among those of a buffer."""

    def one_pass(number: tf.Tensor) -> tf.data.Dataset:
        # A process whose seed is 0, as set for the model's weights, makes `shuffle` compare this
        # tensor with a number, which a graph cannot; the seed of this function's own graph is
        # another, and the order stays that of the key.
        tf.random.set_seed(1)
        return batching(in_turns(number).shuffle(buffer, seed=_key(seed, number, 0)[1] * 31 + seed))

    return one_pass


def _reader(
    cutter: _Cutter, sides: Sequence[Records], known: np.ndarray, frames: np.ndarray
) -> Read:
    """Reads the sequences of a batch from their shards."""
    arrays = {name: side for side in sides for name in side.offsets}
    whole = {name: tf.constant(arrays[name].whole(name)) for name in cutter.whole_arrays}
    frames_of, known_of, context = (
        tf.constant(frames, tf.int32),
        tf.constant(known),
        cutter.context_frames,
    )
    reader = FrameReader(sides, cutter.sequence_frames, {cutter.input_name: context})
    specs = [arrays[name].schema.arrays[name] for name in reader.names]

    def read(recordings: tf.Tensor, starts: tf.Tensor) -> Tensors:
        types = [tf.as_dtype(spec.dtype) for spec in specs]
        tensors = tf.numpy_function(reader, [recordings, starts], types, stateful=False)
        batch = {
            name: tf.ensure_shape(tensor, [recordings.shape[0], reader.rows[name], *spec.shape[1:]])
            for name, tensor, spec in zip(reader.names, tensors, specs, strict=True)
        }
        wanted = starts[:, None] + tf.range(cutter.sequence_frames + context)  # (B, T + context)
        ends = tf.gather(frames_of, recordings)[:, None]
        within = wanted[:, : cutter.sequence_frames] < ends
        batch[FEATURES] = cutter.padded(batch.pop(cutter.input_name), wanted < ends + context)
        batch[_INSIDE] = within & tf.gather(known_of, recordings)[:, None]
        return batch | {name: tf.gather(array, recordings) for name, array in whole.items()}

    return read


def _known_and_frames(
    source: _Source, cutter: _Cutter, sides: Sequence[Records]
) -> tuple[np.ndarray, np.ndarray]:
    """Whether the activity of each recording is known, bool (N,), and its frames, int (N,)."""
    frames = sides[0].frames[cutter.input_name] - cutter.context_frames
    if frames.min() < 1:
        raise damaged_shard(Path(sides[0].paths[sides[0].shard_of[frames.argmin()]]), _NO_FRAMES)
    for side in sides:
        for name, own in side.frames.items():
            if name in cutter.cut_labels and not np.array_equal(own, frames):
                raise _mismatch(f": `{name}` has another number of frames.")
    if LABELLED not in source.schema.arrays or ACTIVITY in source.replaced.arrays:
        return np.full(len(frames), True), frames
    return sides[0].whole(LABELLED) > 0, frames


def _in_turns(
    files: tf.data.Dataset, n_files: int, of_file: Callable, interleave: int
) -> tf.data.Dataset:
    """What `of_file` makes of so many files in turns; up to twice as many files more are opened
    ahead."""
    at_once = min(interleave, n_files)
    workers = min(at_once, max(2, os.cpu_count() or 1))
    return files.interleave(of_file, cycle_length=at_once, num_parallel_calls=workers)


def _in_turns_of_groups(
    files: tf.data.Dataset, n_files: int, of_file: Callable, interleave: int
) -> tf.data.Dataset:
    """What `of_file` makes of so many files in turns, none opened ahead: a worker for each group of
    files.

    The number of groups decides on the order and is the same on every machine.
    """
    groups = min(_GROUPS, n_files)

    def of_group(group: tf.Tensor) -> tf.data.Dataset:
        return files.shard(groups, group).interleave(
            of_file, cycle_length=max(1, interleave // groups)
        )

    return tf.data.Dataset.range(groups).interleave(
        of_group, cycle_length=groups, num_parallel_calls=groups
    )


def _cached_passes(
    source: _Source, cutter: _Cutter, batch_size: int, last_batch: LastBatch, seed: int
) -> tuple[Places, Read]:
    """Passes over features held in memory: sequences are taken with one copy."""
    arrays, whole, starts, frames = _load(
        source, cutter
    )  # arrays (N, ...): all recordings joined in time
    batching = _Batching.of(cutter, frames, batch_size, last_batch)
    starts_of, frames_of = tf.constant(starts, tf.int64), tf.constant(frames, tf.int32)
    features, context = arrays.pop(FEATURES), cutter.context_frames
    pieces_of = tf.constant(
        starts + context * np.arange(len(starts)), tf.int64
    )  # first piece of each recording

    def read(recordings: tf.Tensor, begin: tf.Tensor) -> Tensors:
        ends = tf.gather(frames_of, recordings)  # (B,)
        wanted = begin[:, None] + tf.range(cutter.sequence_frames + context)  # (B, T + context)

        def rows(numbers: tf.Tensor, first_rows: tf.Tensor, counts: tf.Tensor) -> tf.Tensor:
            kept = tf.minimum(numbers, counts[:, None] - 1)
            return tf.gather(first_rows, recordings)[:, None] + tf.cast(kept, tf.int64)

        within = wanted[:, : cutter.sequence_frames]
        labels = rows(within, starts_of, ends)
        batch = {name: tf.gather(array, labels) for name, array in arrays.items()}
        batch[_INSIDE] &= within < ends[:, None]
        taken = tf.gather(features, rows(wanted, pieces_of, ends + context))
        batch[FEATURES] = cutter.padded(taken, wanted < ends[:, None] + context)
        return batch | {name: tf.gather(array, recordings) for name, array in whole.items()}

    return _shuffled_places(cutter, frames, batching, seed), read


def _load(source: _Source, cutter: _Cutter) -> tuple[Tensors, Tensors, np.ndarray, np.ndarray]:
    """Reads all recordings: arrays joined in time, arrays of recordings, first row and number of
    frames of each."""
    parts: dict[str, list[np.ndarray]] = {
        name: [] for name in (FEATURES, *cutter.cut_labels, _INSIDE)
    }
    whole: dict[str, list[np.ndarray]] = {name: [] for name in cutter.whole_arrays}
    for example in source.examples():
        n_frames = source.n_frames(example)
        parts[FEATURES].append(example[FEATURES])
        for name in cutter.cut_labels:
            if len(example[name]) != n_frames:
                raise _mismatch(f": `{name}` of {example['name']} has another number of frames.")
            parts[name].append(example[name])
        for name in cutter.whole_arrays:
            whole[name].append(example[name])
        parts[_INSIDE].append(np.full(n_frames, bool(example.get(LABELLED, True))))
    if not parts[FEATURES]:
        raise DataError(f"None of the recordings wanted is in the {len(source.paths)} shards.")
    frames = np.array([len(inside) for inside in parts[_INSIDE]])
    starts = np.cumsum(frames) - frames
    with tf.device("CPU:0"):  # a GPU's memory is the model's
        arrays = {name: tf.convert_to_tensor(_joined(parts.pop(name))) for name in list(parts)}
        stacked = {name: tf.convert_to_tensor(np.stack(array)) for name, array in whole.items()}
    return arrays, stacked, starts, frames


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    """Concatenates in time and lets go of each part once it is copied."""
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
        self,
        cutter: _Cutter,
        transforms: ChannelTransforms | None,
        interleaved_channels: bool,
        seed: int,
        place: Place = ALONE,
    ) -> None:
        self.cutter, self.transforms, self.seed, self.place = cutter, transforms, seed, place
        self.interleaved_channels = interleaved_channels

    def __call__(
        self, batch: Tensors, number: tf.Tensor, index: tf.Tensor
    ) -> tuple[tf.Tensor, Tensors]:
        """Finishes batch `index` of pass `number`."""
        features = batch[FEATURES]  # (B, T, F, C)
        if self.transforms is not None:
            key = _key(-1 - self.seed, number, index)
            n_joint = (features.shape[0] or tf.shape(features)[0]) * self.place.n_processes
            rows = tf.random.stateless_uniform([n_joint], key, 0, len(self.transforms), tf.int32)
            rows = rows if self.place.n_processes == 1 else self.place.part_of(rows)  # (B,)
            features = transform_features(features, self.transforms, rows)
            batch = transform_angles(batch, self.transforms, rows)
        return (
            _interleaved(features) if self.interleaved_channels else features
        ), self.cutter.targets_of(batch)


def transform_features(
    features: tf.Tensor, transforms: ChannelTransforms, rows: tf.Tensor
) -> tf.Tensor:
    """Applies one row of the tables to each sequence, as `ChannelTransforms.apply_to_features`
    does.

    Args:
        features: (B, T, F, C), float16 or float32, or audio (B, S, C), int16.
        transforms: the tables.
        rows: int32 (B,), the row for each sequence.

    Returns:
        Features of the same shape and type, computed in float32.
    """
    n_channels = transforms.channel_permutation.shape[1]
    chosen = np.eye(n_channels, dtype=np.float32)[
        transforms.channel_permutation
    ]  # (R, C, C): new, old
    matrices = (chosen * transforms.channel_sign[..., None]).transpose(0, 2, 1)  # (R, old, new)
    shape = tf.shape(features)
    # A product with zeros and ones is exact, and many times faster than gathering along the last
    # axis.
    flat = tf.reshape(tf.cast(features, tf.float32), [shape[0], -1, n_channels])
    moved = tf.matmul(flat, tf.gather(tf.constant(matrices), rows))  # (B, T * F, C)
    if np.any(transforms.channel_shift_rad):
        moved += tf.gather(tf.constant(transforms.channel_shift_rad, tf.float32), rows)[:, None]
        turn = tf.constant(
            2 * np.pi * transforms.periodic, tf.float32
        )  # (C,): 0 where nothing wraps
        moved -= turn * tf.math.ceil((moved - np.pi) / (2 * np.pi))  # (-pi, pi]
    cast = (
        tf.saturate_cast if features.dtype.is_integer else tf.cast
    )  # -32768 has no opposite in 16 bits
    return tf.ensure_shape(tf.reshape(cast(moved, features.dtype), shape), features.shape)


def transform_angles(batch: Tensors, transforms: ChannelTransforms, rows: tf.Tensor) -> Tensors:
    """Lets the angles (B, T, K) of active entries follow, wrapped to the circle that labels are on;
    the rest stays."""
    turned = dict(batch)
    for name, (sign, offset_deg) in transforms.angles.items():
        if name not in batch:
            continue
        angles = tf.cast(batch[name], tf.float32)
        tables = (tf.constant(sign, tf.float32), tf.constant(offset_deg, tf.float32))
        signs, offsets = (tf.gather(table, rows)[:, None, None] for table in tables)
        lowest_deg = transforms.lowest_deg.get(name, -180.0)
        moved = tf.math.floormod(signs * angles + offsets - lowest_deg, 360.0) + lowest_deg
        turned[name] = tf.where(batch[ACTIVITY] > 0, moved, angles)
    return turned


def _interleaved(features: tf.Tensor) -> tf.Tensor:
    """`common.features.spectral.interleave_channels` for (B, T, F, 2C)."""
    _, _, n_bins, n_channels = features.shape
    shape = tf.shape(features)
    halves = tf.reshape(features, [shape[0], shape[1], n_bins, 2, n_channels // 2])
    swapped = tf.transpose(halves, [0, 1, 3, 2, 4])  # all magnitudes of a frame, then all phases
    return tf.ensure_shape(tf.reshape(swapped, shape), features.shape)


def _first_frame(frames: tf.Tensor, sequence_frames: int, key: tf.Tensor) -> tf.Tensor:
    """Where the first sequence starts: anywhere that leaves room for all sequences; int32 of the
    shape of `frames`."""
    spare = tf.where(frames >= sequence_frames, frames % sequence_frames, 0)
    return tf.cast(
        tf.random.stateless_uniform(tf.shape(frames), key) * tf.cast(spare + 1, tf.float32),
        tf.int32,
    )


def _key(seed: int, number: tf.Tensor, what: tf.Tensor | int) -> tf.Tensor:
    """Seed of a stateless draw: int64 (2,)."""
    return tf.stack([tf.constant(seed, tf.int64), number * (_HASHES + 1) + tf.cast(what, tf.int64)])


def _checked(shards: Sequence[Path]) -> list[str]:
    if not shards:
        raise DataError(
            "No TFRecord shard found. Run `python batch_feature_extraction.py <task-id>` first."
        )
    paths = sorted(map(str, shards))
    _remember(paths)
    return paths


def _remember(paths: Sequence[str]) -> None:
    for path in paths:
        _streamed.pop(path, None)
        _streamed[path] = None


def _fits_in_memory(paths: list[str]) -> bool:
    needed, free = sum(os.path.getsize(path) for path in paths), _free_bytes()
    if needed <= _MEMORY_SHARE * free:
        return True
    logger.warning(
        "The training features take %.1f GB, but only %.1f GB of memory are free: they are read"
        " from disk in each pass (`pipeline.cache`).",
        needed / 1e9,
        free / 1e9,
    )
    return False


def _free_bytes() -> float:
    """Memory that can be used without swapping; without limit where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(
            float(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")
        )
    except (OSError, StopIteration, ValueError):
        return float("inf")


def _options() -> tf.data.Options:
    options = tf.data.Options()
    options.deterministic = True
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return options

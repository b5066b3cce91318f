"""Shards to batches for training, and to whole recordings in order for evaluation, with `tf.data`.

Batches keep the type that the features are stored in: 16-bit batches take half the time to copy,
and the model turns them into float32. Random choices (order, starts of sequences, transforms)
depend only on the seed and the number of the pass, so that a job that resumes at pass n gets the
same batches.

In each pass a recording of T frames is cut into T // sequence_frames sequences without overlap,
from a random first frame on; or, with `sequence_hop_frames`, into sequences that start at every
multiple of it and one more that ends with the recording if there are trailing frames. A shorter
recording is padded.

Passes shuffle the positions of all sequences. Without `cache`, each sequence is read when its batch
is made, so that no more than a few batches are in memory, and the checksums of the shards are
compared during the first pass. Processes that train together list the same joint batches; each
reads only its rows of them, and compares its share of the checksums: no sequence is read twice and
none is left out, however many shards there are. With `cache`, however, each holds all features.

Batches may consist of parts (weakly labelled, unlabelled, strongly labelled): each part is a stream
of its own, with passes, seed and checksums of its own, and gives a fixed number of rows. An epoch
is a pass over one of them; the others go on where they were.
"""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from common.data.augmentation import Augmentation, BatchFinisher, Mixer, add_audio, interleave
from common.data.cutter import INSIDE, SequenceCutter
from common.data.made_targets import MadeTargets, Pairs, made_for_recording
from common.data.passes import Batching, BufferedPasses, Passes, shuffled_passes, with_checksums
from common.data.selection import BatchPart, BatchParts, Selection
from common.data.sequences import (
    ACTIVITY,
    EVENTS,
    FEATURES,
    LABELLED,
    SequenceFormat,
    batches_per_pass,
    sequences_per_pass,
)
from common.data.shard_index import FrameReader, Records
from common.data.shard_source import MISMATCH, NO_FRAMES, ShardSource, Tensors, mismatch, streamed
from common.data.tfrecord import damaged_shard, find_damaged, tf
from common.errors import ConfigError, DataError
from common.features.frontend import AUDIO
from common.runtime.multi_host import SINGLE, World
from common.settings.augmentation import MixingSettings
from common.settings.pipeline import PipelineConfig

logger = logging.getLogger(__name__)

# From a batch of recordings (B,) and first frames (B,) to the arrays of its sequences.
Read = Callable[[tf.Tensor, tf.Tensor], Tensors]

_PREFETCHED = 2  # batches ready for the training: a tuned number would grow to gigabytes
_MEMORY_SHARE = 0.25  # of the free memory, which holds arrays up to four times for a while
_OF_FILES = (tf.errors.DataLossError, tf.errors.NotFoundError, tf.errors.PermissionDeniedError)


# No function of a stream has control flow that depends on tensors, and to look for it in their
# source takes three quarters of the time until the first batch of a process.
@tf.autograph.experimental.do_not_convert
def train_stream(
    selection: Selection,
    sequence_format: SequenceFormat,
    pipeline: PipelineConfig,
    *,
    seed: int,
    first_pass: int = 0,
    augmentation: Augmentation | None = None,
    world: World = SINGLE,
) -> tf.data.Dataset:
    """Streams shuffled batches endlessly, pass after pass.

    The batches are the same with and without `pipeline.cache`. A last batch of a pass that is
    smaller than the others leaves the first dimension of all batches open.

    Args:
        selection: the training recordings.
        sequence_format: the input and the targets of the model.
        pipeline: sizes of sequences and batches, and the order.
        seed: decides on all random choices, together with the number of the pass.
        first_pass: number of the first pass.
        augmentation: random changes; None: none.
        world: rank among processes that train together.

    Returns:
        Endless dataset of features (B, T, F, C), or audio (B, (T + context_frames) * hop, C), or
        with `inputs` of the format a dict of `features` and them, each (B, ...), and {output:
        float32 (B, T // target_stride, width)}, (B, width) for arrays of whole recordings; of
        several processes each gets B / n of the rows.

    Raises:
        DataError: no shards or names, recordings that do not fill one batch, or with `cache` a
            damaged shard.
        ValueError: see `SequenceCutter`; `last_batch` "keep" for several processes; or mixtures of
            stored features, or of stored targets.
    """
    if world.size > 1 and pipeline.last_batch == "keep":
        raise ValueError(
            "Several processes share whole batches. Expected: `last_batch` fill or drop. Received:"
            " keep."
        )
    cutter = SequenceCutter(selection.schema, sequence_format, pipeline)
    source = ShardSource(selection, sequence_format.context_frames, world)
    augmentation = augmentation or Augmentation()
    mixer = _mixer(augmentation.mixing, cutter, seed, world)
    finish = BatchFinisher(cutter, sequence_format, augmentation, seed, world)
    if pipeline.cache and _fits_in_memory(source.paths):
        one_pass, read, made = _cached_passes(source, cutter, pipeline, seed)
    else:
        one_pass, read, made = _streamed_passes(source, cutter, pipeline, seed, first_pass)

    def batch(number: tf.Tensor, index: tf.Tensor, *positions: tf.Tensor) -> tuple:
        arrays = read(*positions[:2])
        if mixer is None:
            return finish(arrays | made(*positions), number, index)
        pairs = Pairs(*positions)
        targets, is_mixed = made.mixed(pairs, mixer.mixing.max_sources)
        others = read(pairs.others, pairs.other_starts)[FEATURES]
        arrays[FEATURES] = add_audio(arrays[FEATURES], others, is_mixed)
        return finish(arrays | targets, number, index)

    passes = tf.data.Dataset.counter(start=first_pass)
    # Reading is not part of a pass: the next one is read while the last batches are used.
    batches = passes.flat_map(partial(_numbered, one_pass, world, mixer))
    batches = batches.map(batch, num_parallel_calls=tf.data.AUTOTUNE)
    return batches.with_options(_options()).prefetch(_PREFETCHED)


def parts_stream(
    parts: BatchParts,
    sequence_format: SequenceFormat,
    pipeline: PipelineConfig,
    *,
    seed: int,
    first_batch: int = 0,
    augmentation: Augmentation | None = None,
    world: World = SINGLE,
    n_devices: int = 1,
) -> tf.data.Dataset:
    """Streams endless batches of parts, each part shuffled on its own.

    The batches of one part are those of `train_stream`. Mixtures and other augmentation stay within
    a part. The batch size in `pipeline` does not count; `last_batch` keep fills, as parts have a
    fixed number of rows.

    Args:
        parts: recordings and rows of each part.
        sequence_format: the input and the targets of the model.
        pipeline: sizes of sequences, and the order.
        seed: decides on all random choices.
        first_batch: number of batches before the first one: those that a resumed job has trained.
        augmentation: random changes; None: none.
        world: rank among processes that train together; each gets its rows of every part.
        n_devices: devices, in all processes, that share a batch by consecutive rows: each gets its
            share of every part, in the order of the parts.

    Returns:
        Endless dataset as of `train_stream`, its rows ordered by part (on each device), with
        `parts.number_output` among the targets if it is set.

    Raises:
        ConfigError: rows of a part that the devices cannot share evenly.
        DataError: a part with fewer sequences than rows, and see `train_stream`.
        ValueError: see `train_stream`.
    """
    odd = [part for part in parts.parts if part.batch_size % n_devices]
    if odd:
        raise ConfigError(
            f"{n_devices} devices share every part of a batch evenly. Expected: a `batch_size` of"
            f" each part divisible by {n_devices}. Received: {odd[0].name} with"
            f" {odd[0].batch_size}."
        )
    streams = []
    for number, part in enumerate(parts.parts):
        own = _own_pipeline(parts, part, pipeline)
        n_batches = _batches_of(part, own, alone=len(parts.parts) == 1)
        stream = train_stream(
            part.selection,
            replace(sequence_format, unknown=(*sequence_format.unknown, *part.unknown)),
            own,
            seed=_part_seed(seed, number),
            first_pass=first_batch // n_batches,
            augmentation=augmentation,
            world=world,
        )
        streams.append(stream.skip(first_batch % n_batches))
    if len(streams) == 1 and parts.number_output is None:
        return streams[0]

    def join(*batches: tuple) -> tuple:
        n_local = max(1, n_devices // world.size)
        batch = tf.nest.map_structure(lambda *own: _joined_rows(own, n_local), *batches)
        if parts.number_output is not None:
            firsts = [tf.nest.flatten(inputs)[0] for inputs, _ in batches]
            numbers = [tf.fill(tf.shape(own)[:1], number) for number, own in enumerate(firsts)]
            batch[1][parts.number_output] = _joined_rows(numbers, n_local)
        return batch

    joined = tf.data.Dataset.zip(tuple(streams)).map(join)
    return joined.with_options(_options()).prefetch(_PREFETCHED)


def batches_per_epoch(parts: BatchParts, pipeline: PipelineConfig) -> int:
    """Batches of `parts_stream` in one pass over the part that the epochs follow.

    Raises:
        DataError: a part has fewer sequences than rows in a batch.
    """
    alone = len(parts.parts) == 1
    counts = {
        part.name: _batches_of(part, _own_pipeline(parts, part, pipeline), alone)
        for part in parts.parts
    }
    return min(counts.values()) if parts.epoch_part is None else counts[parts.epoch_part]


def _own_pipeline(parts: BatchParts, part: BatchPart, pipeline: PipelineConfig) -> PipelineConfig:
    """Settings of the stream of a part; the number of its rows is fixed if there are others."""
    last = pipeline.last_batch
    last = "fill" if last == "keep" and len(parts.parts) > 1 else last
    return pipeline.model_copy(update={"batch_size": part.batch_size, "last_batch": last})


def _batches_of(part: BatchPart, pipeline: PipelineConfig, alone: bool) -> int:
    """Batches of a pass over a part; refuses parts that do not even fill their rows of one."""
    frames = part.selection.frames
    n_sequences = sequences_per_pass(frames, pipeline)
    if not alone and n_sequences < part.batch_size:
        raise DataError(
            f"Too few recordings in the part {part.name!r} of the batches. Expected: at least"
            f" {part.batch_size} sequences of {pipeline.sequence_frames} frames, its rows in a"
            f" batch. Received: {n_sequences}, from {len(frames)} recordings. Set a smaller"
            " `batch_size` of that part, or add recordings."
        )
    return batches_per_pass(frames, pipeline)


def _part_seed(seed: int, number: int) -> int:
    """Seed of a part: the first one has that of the stream."""
    return seed if number == 0 else int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


def _joined_rows(arrays: Sequence[tf.Tensor], n_devices: int) -> tf.Tensor:
    """Joins the rows (B_i, ...) of parts, so that consecutive shares hold rows of each part."""
    if n_devices == 1:
        return tf.concat(arrays, axis=0)
    split = [tf.reshape(each, [n_devices, -1, *each.shape[1:]]) for each in arrays]
    joined = tf.concat(split, axis=1)  # (devices, B / devices, ...)
    n_rows = sum(each.shape[0] for each in arrays)
    return tf.reshape(joined, [n_rows, *joined.shape[2:]])


def _mixer(mixing: MixingSettings, cutter: SequenceCutter, seed: int, world: World) -> Mixer | None:
    if not mixing.probability:
        return None
    if cutter.input_name != AUDIO or cutter.event_targets is None:
        raise ValueError(
            "Only audio can be mixed, with targets that are made of events. Received:"
            f" {cutter.input_name}, {sorted(cutter.labels)}."
        )
    return Mixer(mixing, seed, world)


def _numbered(
    one_pass: Passes, world: World, mixer: Mixer | None, number: tf.Tensor
) -> tf.data.Dataset:
    """Adds the numbers of pass and batch to the positions, of which this process gets its rows."""

    def part_of(index: tf.Tensor, positions: Sequence[tf.Tensor]) -> tuple[tf.Tensor, ...]:
        if mixer is not None:
            return number, index, *mixer.pairs(number, index, *positions)
        own = positions if world.size == 1 else map(world.part_of, positions)
        return number, index, *own

    return one_pass(number).enumerate().map(part_of)


@tf.autograph.experimental.do_not_convert
def evaluation_stream(
    selection: Selection, sequence_format: SequenceFormat, pipeline: PipelineConfig
) -> tf.data.Dataset:
    """Streams whole recordings, one element each, in the order of the sorted shards.

    Args:
        selection: the recordings.
        sequence_format: the input and the targets of the model.
        pipeline: frames of one sequence, the last of which is padded; with `whole_recordings` a
            recording is one sequence of all its frames, padded if it is shorter than
            `sequence_frames`.

    Returns:
        Dataset of dicts: `name`; `features` (n, T, F, C), n sequences, or their audio (n, S, C), or
        with `inputs` of the format a dict of these and them;
        `targets` {output: float32 (n, T', width), one frame for the middle of each `target_stride`
        frames, or (n, width), n times the same, for arrays of whole recordings}; `events` (events,
        columns), if the schema has them; `labelled`, bool; `frames`, of the recording;
        `sequence_frames`, T.

    Raises:
        DataError: no shards.
        ValueError: see `SequenceCutter`.
    """
    cutter = SequenceCutter(selection.schema, sequence_format, pipeline)
    source = ShardSource(selection, sequence_format.context_frames)
    wanted = [*cutter.names, *([EVENTS] if EVENTS in selection.schema.arrays else [])]
    # Shards that TensorFlow could not read raise their error here.
    _, all_frames = _known_and_frames(source, cutter, source.find(wanted))
    if not pipeline.whole_recordings:
        cutter.check_lengths(all_frames)

    packed = sequence_format.interleaved_channels

    def element(*records: tf.Tensor) -> dict:
        arrays = source.parse(records, wanted)
        frames, length = source.n_frames(arrays), tf.constant(pipeline.sequence_frames)
        length = tf.maximum(frames, length) if pipeline.whole_recordings else length
        n_sequences = -(-frames // length)
        sequences = cutter.cut(arrays, n_sequences, length)
        sequences |= made_for_recording(cutter, arrays, frames, n_sequences, length)
        features = sequences.pop(FEATURES)
        features = interleave(features, packed) if packed else features
        kept = {EVENTS: arrays[EVENTS]} if EVENTS in arrays else {}
        return kept | {
            "name": arrays["name"],
            "features": cutter.model_inputs(features, sequences),
            "targets": cutter.targets_of(sequences),
            "labelled": arrays[LABELLED] > 0 if LABELLED in arrays else tf.constant(True),
            "frames": frames,
            "sequence_frames": length,
        }

    # One shard after the other: the order is part of the promise.
    elements = source.records().map(element, num_parallel_calls=min(4, os.cpu_count() or 1))
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
    except (*_OF_FILES, tf.errors.UnknownError) as error:  # unknown: raised in a call to Python
        of_python = isinstance(error, tf.errors.UnknownError)
        if of_python and DataError.__name__ not in error.message:
            raise
        found = find_damaged(map(Path, reversed(streamed)) if shards is None else shards)
        if found is None and not (of_python or isinstance(error, tf.errors.DataLossError)):
            raise
        raise (found or damaged_shard(Path("(one of the shards)"), error.message)) from None
    except tf.errors.InvalidArgumentError as error:
        _, found_mismatch, details = error.message.partition(MISMATCH)
        if not found_mismatch:
            raise
        raise mismatch(details.split("\n")[0]) from None


def _streamed_passes(
    source: ShardSource,
    cutter: SequenceCutter,
    pipeline: PipelineConfig,
    seed: int,
    first_pass: int,
) -> tuple[Passes, Read, MadeTargets]:
    """Passes whose sequences are read from the shards, with the checksums of these."""
    sides = source.find(cutter.names)
    known, frames = _known_and_frames(source, cutter, sides)
    made = MadeTargets(cutter, source, known, frames)
    read = _reader(cutter, sides, known, frames)
    if pipeline.shuffle_buffer_mb is not None:
        own = (source, cutter, sides[0], frames, pipeline, seed, first_pass)
        return BufferedPasses(*own), read, made
    batching = Batching.of(cutter, frames, pipeline)
    passes = shuffled_passes(cutter, frames, batching, seed)
    return with_checksums(passes, source, batching, first_pass), read, made


def _reader(
    cutter: SequenceCutter, sides: Sequence[Records], known: np.ndarray, frames: np.ndarray
) -> Read:
    """Reads the sequences of a batch from their shards."""
    arrays = {name: side for side in sides for name in side.offsets}
    whole = {name: tf.constant(arrays[name].whole(name)) for name in cutter.whole_labels}
    frames_of, known_of = tf.constant(frames, tf.int32), tf.constant(known)
    context = cutter.context_frames
    cutter.check_lengths(frames)
    reader = FrameReader(sides, cutter.sequence_frames, {cutter.input_name: context}, cutter.inputs)
    specs = [arrays[name].schema.arrays[name] for name in reader.names]
    types = [tf.as_dtype(spec.dtype) for spec in specs]

    def read(recordings: tf.Tensor, starts: tf.Tensor) -> Tensors:
        tensors = tf.numpy_function(reader, [recordings, starts], types, stateful=False)
        batch = {
            name: tf.ensure_shape(tensor, [recordings.shape[0], reader.rows[name], *spec.shape[1:]])
            for name, tensor, spec in zip(reader.names, tensors, specs, strict=True)
        }
        wanted = starts[:, None] + tf.range(cutter.sequence_frames + context)  # (B, T + context)
        ends = tf.gather(frames_of, recordings)[:, None]
        within = wanted[:, : cutter.sequence_frames] < ends
        batch[FEATURES] = cutter.padded(batch.pop(cutter.input_name), wanted < ends + context)
        batch[INSIDE] = within & tf.gather(known_of, recordings)[:, None]
        batch |= {name: tf.gather(array, recordings) for name, array in whole.items()}
        return batch

    return read


def _known_and_frames(
    source: ShardSource, cutter: SequenceCutter, sides: Sequence[Records]
) -> tuple[np.ndarray, np.ndarray]:
    """Activity of each recording is known, bool (N,), and its number of frames, int (N,)."""
    frames = sides[0].frames[cutter.input_name] - cutter.context_frames
    if frames.min() < 1:
        raise damaged_shard(Path(sides[0].paths[sides[0].shard_of[frames.argmin()]]), NO_FRAMES)
    for side in sides:
        for name, own in side.frames.items():
            if name in cutter.cut_labels and not np.array_equal(own, frames):
                raise mismatch(f": `{name}` has another number of frames.")
    if LABELLED not in source.schema.arrays or ACTIVITY in source.replaced.arrays:
        return np.full(len(frames), True), frames
    return sides[0].whole(LABELLED) > 0, frames


def _cached_passes(
    source: ShardSource, cutter: SequenceCutter, pipeline: PipelineConfig, seed: int
) -> tuple[Passes, Read, MadeTargets]:
    """Passes over features held in memory: sequences are taken with one copy."""
    arrays, whole, frames = _load(source, cutter)  # arrays (N, ...): recordings joined in time
    features, context = arrays.pop(FEATURES), cutter.context_frames
    starts = np.cumsum(frames) - frames
    made = MadeTargets(cutter, source, arrays[INSIDE].numpy()[starts], frames)
    # First row of each recording in the labels, and its first piece in the features.
    starts_of, frames_of = tf.constant(starts, tf.int64), tf.constant(frames, tf.int32)
    pieces_of = tf.constant(starts + context * np.arange(len(starts)), tf.int64)

    def read(recordings: tf.Tensor, begin: tf.Tensor) -> Tensors:
        ends = tf.gather(frames_of, recordings)  # (B,)
        wanted = begin[:, None] + tf.range(cutter.sequence_frames + context)  # (B, T + context)

        def rows(numbers: tf.Tensor, first_rows: tf.Tensor, counts: tf.Tensor) -> tf.Tensor:
            kept = tf.minimum(numbers, counts[:, None] - 1)
            return tf.gather(first_rows, recordings)[:, None] + tf.cast(kept, tf.int64)

        within = wanted[:, : cutter.sequence_frames]
        labels = rows(within, starts_of, ends)
        batch = {name: tf.gather(array, labels) for name, array in arrays.items()}
        batch[INSIDE] &= within < ends[:, None]
        taken = tf.gather(features, rows(wanted, pieces_of, ends + context))
        batch[FEATURES] = cutter.padded(taken, wanted < ends[:, None] + context)
        batch |= {name: tf.gather(array, recordings) for name, array in whole.items()}
        return batch

    batching = Batching.of(cutter, frames, pipeline)
    return shuffled_passes(cutter, frames, batching, seed), read, made


def _load(source: ShardSource, cutter: SequenceCutter) -> tuple[Tensors, Tensors, np.ndarray]:
    """Reads all recordings: arrays joined in time, arrays of whole recordings, frames of each."""
    timed = (FEATURES, *cutter.cut_labels, INSIDE)
    joined: dict[str, list[np.ndarray]] = {name: [] for name in timed}
    whole: dict[str, list[np.ndarray]] = {
        name: [] for name in (*cutter.whole_labels, *cutter.inputs)
    }
    for example in source.examples():
        n_frames = source.n_frames(example)
        joined[FEATURES].append(example[FEATURES])
        for name in cutter.cut_labels:
            if len(example[name]) != n_frames:
                raise mismatch(f": `{name}` of {example['name']} has another number of frames.")
            joined[name].append(example[name])
        for name, kept in whole.items():
            kept.append(example[name])
        joined[INSIDE].append(np.full(n_frames, bool(example.get(LABELLED, True))))
    if not joined[FEATURES]:
        raise source.nothing_wanted()
    frames = np.array([len(inside) for inside in joined[INSIDE]])
    cutter.check_lengths(frames)
    with tf.device("CPU:0"):  # a GPU's memory is the model's
        arrays = {name: tf.convert_to_tensor(_joined(joined.pop(name))) for name in list(joined)}
        stacked = {name: tf.convert_to_tensor(np.stack(array)) for name, array in whole.items()}
    return arrays, stacked, frames


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    """Concatenates in time and frees each part once it is copied."""
    joined = np.empty((sum(map(len, parts)), *parts[0].shape[1:]), parts[0].dtype)
    end = len(joined)
    while parts:
        part = parts.pop()
        joined[end - len(part) : end] = part
        end -= len(part)
    return joined


def _fits_in_memory(paths: Sequence[str]) -> bool:
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
    """Memory that can be used without swapping; unlimited on systems that do not report it."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        (line,) = (line for line in lines if line.startswith("MemAvailable"))
        return float(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        return float("inf")


def _options() -> tf.data.Options:
    options = tf.data.Options()
    options.deterministic = True
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return options

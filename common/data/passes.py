"""Passes over the sequences of all recordings: their order, and how they become batches.

A position is the number of a recording and the first frame of a sequence in it. A pass lists the
positions of its sequences, batch by batch; they are read afterwards.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from common.data.cutter import HASHES, SequenceCutter, draw_key
from common.data.sequences import batches_per_pass
from common.data.shard_index import Records
from common.data.shard_source import ShardSource
from common.data.tfrecord import tf
from common.settings.pipeline import PipelineConfig

# From the number of a pass to batches of recordings (B,) and first frames (B,), int32.
Passes = Callable[[tf.Tensor], tf.data.Dataset]

_CHECKED_AHEAD = 8  # batches whose positions wait while checksums of later shards are compared
_GROUPS = 4  # of shards, each listed by a worker of its own


@dataclass(frozen=True)
class Batching:
    """Batches of the sequences of a pass.

    Attributes:
        batch_size: sequences of one batch.
        n_sequences: sequences of a pass.
        n_batches: batches of a pass.
        n_taken: sequences that the batches hold; more than there are fill the last one.
    """

    batch_size: int
    n_sequences: int
    n_batches: int
    n_taken: int

    @classmethod
    def of(cls, cutter: SequenceCutter, frames: np.ndarray, pipeline: PipelineConfig) -> "Batching":
        """Batching of recordings of `frames` frames, (N,); DataError if no batch is full."""
        n_batches = batches_per_pass(frames, pipeline)
        n_sequences = int(np.maximum(1, cutter.n_fitting(frames)).sum())
        whole = n_batches * pipeline.batch_size
        n_taken = n_sequences if pipeline.last_batch == "keep" else whole
        return cls(pipeline.batch_size, n_sequences, n_batches, n_taken)

    def __call__(self, positions: tf.data.Dataset) -> tf.data.Dataset:
        """Batches the positions of a pass; the batch size is static if all batches are whole."""
        if self.n_taken > self.n_sequences:
            positions = positions.repeat().take(self.n_taken)
        whole = self.n_taken == self.n_batches * self.batch_size
        return positions.batch(self.batch_size, drop_remainder=whole)


def shuffled_passes(
    cutter: SequenceCutter, frames: np.ndarray, batching: Batching, seed: int
) -> Passes:
    """Passes over all sequences of recordings of `frames` frames, (N,), in fully random order."""
    counts = np.maximum(1, cutter.n_fitting(frames))  # (N,)
    owners = np.repeat(np.arange(len(frames)), counts)  # recording of each sequence
    numbers = np.arange(batching.n_sequences) - np.repeat(np.cumsum(counts) - counts, counts)
    owner_of, number_of = tf.constant(owners, tf.int32), tf.constant(numbers, tf.int32)
    frames_of = tf.constant(frames, tf.int32)

    def one_pass(number: tf.Tensor) -> tf.data.Dataset:
        firsts = cutter.first_starts(frames_of, draw_key(seed, number, 0))  # (N,)
        order = _shuffled(batching.n_sequences, seed, number)
        recordings = tf.gather(owner_of, order)  # (sequences,)
        own = tf.gather(firsts, recordings), tf.gather(number_of, order)
        starts = cutter.starts(*own, tf.gather(frames_of, recordings))
        return batching(tf.data.Dataset.from_tensor_slices((recordings, starts)))

    return one_pass


def with_checksums(
    one_pass: Passes, source: ShardSource, batching: Batching, first_pass: int
) -> Passes:
    """Compares the checksums of all shards in the first of these passes, some before each batch."""
    n_shards, n_batches = len(source.paths), batching.n_batches

    def checked_pass(number: tf.Tensor) -> tf.data.Dataset:
        is_first = number == first_pass

        def after_checks(index: tf.Tensor, positions: tuple[tf.Tensor, ...]) -> tf.data.Dataset:
            # Rounded up: early shards first.
            begin, end = (-(-at * n_shards // n_batches) for at in (index, index + 1))
            end = tf.where(is_first, end, begin)
            shards = tf.data.Dataset.range(begin, end, output_type=tf.int32)
            checks = shards.flat_map(lambda shard: source.checked(shard, is_first))
            none = checks.batch(batching.batch_size, drop_remainder=True)
            return none.concatenate(tf.data.Dataset.from_tensors(positions))

        return one_pass(number).enumerate().flat_map(after_checks).prefetch(_CHECKED_AHEAD)

    return checked_pass


def _shuffled(n: int, seed: int, number: tf.Tensor) -> tf.Tensor:
    """Numbers below n in the random order of pass `number`."""
    key = draw_key(seed, number, HASHES)
    return tf.random.experimental.stateless_shuffle(tf.range(n), key)


class BufferedPasses:
    """Passes that read shards in turns and draw the next sequence from a buffer.

    Checksums are compared in the first pass, shard by shard.
    """

    def __init__(
        self,
        source: ShardSource,
        cutter: SequenceCutter,
        records: Records,
        frames: np.ndarray,
        pipeline: PipelineConfig,
        seed: int,
        first_pass: int,
    ) -> None:
        self.source, self.cutter, self.seed, self.first_pass = source, cutter, seed, first_pass
        self.batching, self.interleave = Batching.of(cutter, frames, pipeline), pipeline.interleave
        n_buffered = int((pipeline.shuffle_buffer_mb or 0) * 1e6 / cutter.sequence_bytes)
        self.buffer = max(2 * pipeline.batch_size, n_buffered)
        self._names, self._ends = tf.constant(records.names), tf.constant(records.ends)
        self._frames = tf.constant(frames, tf.int32)  # (N,)

    def __call__(self, number: tf.Tensor) -> tf.data.Dataset:
        """Batches of the positions of pass `number`."""
        # If the seed of the process is 0, `shuffle` compares this tensor with a number, which a
        # graph cannot; this graph has another seed, and the order stays that of the key.
        tf.random.set_seed(1)
        seed = draw_key(self.seed, number, 0)[1] * 31 + self.seed
        return self.batching(self._in_turns(number).shuffle(self.buffer, seed=seed))

    def _in_turns(self, number: tf.Tensor) -> tf.data.Dataset:
        """Positions of all sequences, from several shards in turns."""
        n_shards, ends = len(self.source.paths), self._ends
        shards = tf.data.Dataset.from_tensor_slices(_shuffled(n_shards, self.seed, number))

        def of_shard(shard: tf.Tensor) -> tf.data.Dataset:
            begin = tf.gather(tf.pad(ends, [[1, 0]]), shard)
            recordings = tf.data.Dataset.range(begin, tf.gather(ends, shard), output_type=tf.int32)
            positions = recordings.flat_map(lambda recording: self._of_recording(recording, number))
            return self.source.checked(shard, number == self.first_pass).concatenate(positions)

        if self.cutter.hop_frames is None:  # up to twice as many shards more are opened ahead
            at_once = min(self.interleave, n_shards)
            workers = min(at_once, max(2, os.cpu_count() or 1))
            return shards.interleave(of_shard, at_once, num_parallel_calls=workers)
        # No shard is opened ahead. The number of groups, the same everywhere, decides on the order.
        groups = min(_GROUPS, n_shards)

        def of_group(group: tf.Tensor) -> tf.data.Dataset:
            own, at_once = shards.shard(groups, group), max(1, self.interleave // groups)
            return own.interleave(of_shard, at_once)

        return tf.data.Dataset.range(groups).interleave(of_group, groups, num_parallel_calls=groups)

    def _of_recording(self, recording: tf.Tensor, number: tf.Tensor) -> tf.data.Dataset:
        """Positions of the sequences of one recording."""
        frames = tf.gather(self._frames, recording)
        count = tf.maximum(1, self.cutter.n_fitting(frames))
        hashed = tf.strings.to_hash_bucket_fast(tf.gather(self._names, recording), HASHES)
        first = self.cutter.first_starts(frames, draw_key(self.seed, number, hashed))
        starts = self.cutter.starts(first, tf.range(count), frames)  # (count,)
        return tf.data.Dataset.from_tensor_slices((tf.fill([count], recording), starts))

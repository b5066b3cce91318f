"""Recordings cut into sequences, and the targets of a model for them.

Padding: frames outside a recording repeat its last frame (or are those given as `padding`) and have
activity -1 in the targets, which losses and scores ignore. Recordings without labels have activity
-1 throughout. In records of audio, see `common.features.frontend`, frames outside a recording are
digital silence.

Arrays whose first axis is time are cut with the features; others, such as tags (K,), belong to the
whole recording and are repeated for each of its sequences.
"""

from functools import cached_property
from typing import Any

import numpy as np

from common.data.sequences import (
    ACTIVITY,
    EVENTS,
    FEATURES,
    LABELLED,
    SequenceFormat,
    sequences_fitting,
)
from common.data.shard_source import KNOWN, Tensors, input_name
from common.data.tfrecord import ExampleSchema, tf
from common.errors import DataError
from common.features.frontend import AUDIO
from common.settings.pipeline import PipelineConfig

INSIDE = "inside"  # bool (T,): the frame lies in a recording with labels
HASHES = 2**31 - 1


class SequenceCutter:
    """Cuts the arrays of recordings into sequences and makes targets of them.

    Attributes:
        schema: the arrays of each recording.
        input_name: the array that the model's input is stored as.
        sequence_frames: frames of one sequence, T.
        hop_frames: frames between the starts of two sequences; None: their length.
        context_frames: pieces of audio that a sequence needs beyond its frames.
        labels: the arrays that targets are made of.
        cut_labels: those of them that are cut in time.
        whole_labels: those of them that belong to whole recordings.
        event_targets: makes the targets from events; None: they are made of `labels`.
        inputs: arrays of whole recordings that the model takes beside its features.
        names: all arrays that are read.

    Raises:
        ValueError: unknown arrays, inputs without a fixed shape, arrays with and without time for
            one output, or a stride that does not divide the sequence.
    """

    def __init__(
        self, schema: ExampleSchema, sequence_format: SequenceFormat, pipeline: PipelineConfig
    ) -> None:
        self.schema, self.input_name = schema, input_name(schema)
        self.sequence_frames = pipeline.sequence_frames
        self.hop_frames = pipeline.sequence_hop_frames
        self.context_frames = sequence_format.context_frames
        self._targets, self._stride = sequence_format.targets, sequence_format.target_stride
        self._padding, self.event_targets = sequence_format.padding, sequence_format.event_targets
        self._unknown = frozenset(sequence_format.unknown)
        stored = {name for own in self._targets.values() for name in own}
        self.labels = sorted(stored if self.event_targets else stored | {ACTIVITY})
        self.inputs = sequence_format.inputs
        missing = sorted({self.input_name, *self.labels, *self.inputs} - set(schema.arrays))
        if missing:
            raise ValueError(
                f"The schema lacks arrays. Expected: {missing}. Received: {sorted(schema.arrays)}."
            )
        if not 1 <= self._stride <= self.sequence_frames:
            raise ValueError(
                "`target_stride` is at most `sequence_frames`. Received:"
                f" {self._stride}, {self.sequence_frames}."
            )
        for output, names in self._targets.items():
            if len({schema.arrays[name].has_time for name in names}) != 1:
                raise ValueError(
                    "An output's arrays must all have a time axis, or none of them. Received:"
                    f" {output}: {list(names)}."
                )
        open_ended = [name for name in self.inputs if None in schema.arrays[name].shape]
        if open_ended:
            raise ValueError(f"Inputs have a fixed shape in each record. Received: {open_ended}.")
        self.cut_labels = [name for name in self.labels if schema.arrays[name].has_time]
        self.whole_labels = [name for name in self.labels if not schema.arrays[name].has_time]
        labelled = [LABELLED] if LABELLED in schema.arrays else []
        self.names = [FEATURES, *self.labels, *self.inputs, *labelled]

    @property
    def sequence_bytes(self) -> int:
        """Size of the input of one sequence."""
        pieces = self.sequence_frames + self.context_frames
        return pieces * self.schema.arrays[self.input_name].row_bytes

    def n_fitting(self, frames: Any) -> Any:
        """Number of sequences in recordings of `frames` frames; 0 or less in too short ones."""
        return sequences_fitting(frames, self.sequence_frames, self.hop_frames)

    def first_starts(self, frames: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
        """First frame of the first sequence of each recording.

        Without a hop it is drawn among those that leave room for all sequences.

        Args:
            frames: int32, of each recording.
            key: seed of the draw.

        Returns:
            int32 of the shape of `frames`.
        """
        if self.hop_frames is not None:
            return tf.zeros_like(frames)
        spare = tf.where(frames >= self.sequence_frames, frames % self.sequence_frames, 0)
        drawn = tf.random.stateless_uniform(tf.shape(frames), key)
        return tf.cast(drawn * tf.cast(spare + 1, tf.float32), tf.int32)

    def starts(self, firsts: tf.Tensor, numbers: tf.Tensor, frames: tf.Tensor) -> tf.Tensor:
        """First frames of sequences `numbers` of recordings, the first at `firsts`; all fit in."""
        last = tf.maximum(frames - self.sequence_frames, 0)
        return tf.minimum(firsts + numbers * (self.hop_frames or self.sequence_frames), last)

    def cut(self, arrays: Tensors, n_sequences: tf.Tensor, length: tf.Tensor | int) -> Tensors:
        """Cuts one recording into consecutive sequences (n, length, ...) from its start on."""
        pieces = tf.shape(arrays[FEATURES])[0]
        frames = pieces - self.context_frames
        starts = length * tf.range(n_sequences)[:, None]
        wanted = starts + tf.range(length + self.context_frames)  # (n, length + context)
        within = wanted[:, :length]
        # Gathering copies: a waiting slice would keep the memory of the whole recording.
        kept = tf.minimum(within, frames - 1)
        cut = {name: tf.gather(arrays[name], kept) for name in self.cut_labels}
        cut[INSIDE] = (within < frames) & arrays[KNOWN]
        features = tf.gather(arrays[FEATURES], tf.minimum(wanted, pieces - 1))
        cut[FEATURES] = self.padded(features, wanted < pieces)
        for name in (*self.whole_labels, *self.inputs):
            repeated = tf.repeat(arrays[name][None], n_sequences, axis=0)
            cut[name] = tf.ensure_shape(repeated, [None, *arrays[name].shape])
        return cut

    def padded(self, features: tf.Tensor, real: tf.Tensor) -> tf.Tensor:
        """Pads frames (n, T, F, C) that are not real (n, T); audio becomes samples (n, S, C)."""
        if self.input_name == AUDIO:
            pieces = tf.where(real[..., None, None], features, tf.zeros([], features.dtype))
            n_pieces = features.shape[1] or tf.shape(features)[1]
            return tf.reshape(pieces, [-1, n_pieces * features.shape[2], features.shape[3]])
        if self._padding is None:
            return features
        return tf.where(real[..., None, None], features, tf.constant(self._padding, features.dtype))

    def check_lengths(self, frames: np.ndarray) -> None:
        """Refuses recordings of several sequences where a sequence must be a whole recording.

        Frames after the last whole output frame are dropped, as by the pooling of the network,
        which in the middle of a recording would move all that follows. Inputs with frames of their
        own belong to whole recordings, too.

        Args:
            frames: of each recording, (N,).

        Raises:
            DataError: a recording is longer than a sequence, and one of the two holds.
        """
        if self.sequence_frames % self._stride and frames.max() > self.sequence_frames:
            whole = self.sequence_frames - self.sequence_frames % self._stride
            raise DataError(
                f"The network pools {self._stride} frames into one, which must divide the frames of"
                " a sequence where recordings have several. Expected: `pipeline.sequence_frames:"
                f" {whole}`, or recordings of at most {self.sequence_frames} frames. Received:"
                f" {self.sequence_frames} and {frames.max()}."
            )
        timed = [name for name in self.inputs if len(self.schema.arrays[name].shape) > 1]
        if timed and frames.max() > self.sequence_frames:
            raise DataError(
                f"{', '.join(timed)} belong to whole recordings. Expected: recordings of at most"
                f" {self.sequence_frames} frames, one sequence. Received: {frames.max()} frames."
                f" Set `pipeline.sequence_frames: {frames.max()}`."
            )

    def model_inputs(self, features: tf.Tensor, arrays: Tensors) -> tf.Tensor | Tensors:
        """Input of the model: features, or by name features and the other inputs."""
        if not self.inputs:
            return features
        return {FEATURES: features} | {name: arrays[name] for name in self.inputs}

    def targets_of(self, batch: Tensors) -> Tensors:
        """Targets of the model by output, float32 (B, T', width) or (B, width), of cut labels."""
        if self.event_targets is not None:
            return {output: batch[output] for output in self.event_targets.shapes}
        labels = {name: tf.cast(batch[name], tf.float32) for name in self.labels}
        labels[ACTIVITY] = tf.where(batch[INSIDE][..., None], labels[ACTIVITY], -1.0)
        labels |= {name: -tf.ones_like(labels[name]) for name in self._unknown & labels.keys()}
        targets = {}
        for output, names in self._targets.items():
            joined = tf.concat([labels[name] for name in names], axis=-1)
            targets[output] = self._middle_frames(joined) if joined.shape.rank == 3 else joined
        return targets

    def _middle_frames(self, labels: tf.Tensor) -> tf.Tensor:
        """Labels (B, T, width) in the middle of each output frame, (B, T', width).

        Of recordings in one piece, whose length is open, frames after the last whole output frame
        count, too.
        """
        n_frames = labels.shape[1]
        end = None if n_frames is None else n_frames - n_frames % self._stride
        return labels[:, self._stride // 2 : end : self._stride]

    @cached_property
    def unknown_targets(self) -> dict[str, np.ndarray]:
        """Targets made from events for a frame without labels, by output."""
        made = self.event_targets
        if made is None:
            return {}
        columns = self.schema.arrays[EVENTS].shape[1]
        table = made.table(np.zeros((0, columns or 0)), 0, False)
        return {name: target[0] for name, target in made.make(table, np.zeros(1, int)).items()}

    def middles(self, starts: np.ndarray, length: int | None = None) -> np.ndarray:
        """Feature frames in the middle of each output frame of sequences, int (n, T').

        Args:
            starts: first frames (n,).
            length: frames of a sequence; None: `sequence_frames`.
        """
        outputs = np.arange((length or self.sequence_frames) // self._stride)
        return starts[:, None] + self._stride * outputs + self._stride // 2


def draw_key(seed: int, number: tf.Tensor, draw: tf.Tensor | int) -> tf.Tensor:
    """Seed of one stateless draw in pass `number`: int64 (2,)."""
    return tf.stack([tf.constant(seed, tf.int64), number * (HASHES + 1) + tf.cast(draw, tf.int64)])

"""Sequences that recordings are cut into, and their batches; without TensorFlow."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from common.errors import DataError
from common.settings.pipeline import PipelineConfig

FEATURES = "features"
ACTIVITY = "activity"
LABELLED = "labelled"
EVENTS = "events"


class EventTargets(Protocol):
    """Targets that are made from the events of recordings, sequence by sequence."""

    # By output of the model, the shape of the target of one output frame.
    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]: ...

    # By output, the axis of the target that holds x, y and z, counted from the last, and the place
    # of x on it: rotations of recordings turn them.
    @property
    def vectors(self) -> Mapping[str, tuple[int, int]]: ...

    # From the stored events of a recording, its feature frames, and whether it has labels, to
    # whatever `make` needs of them.
    def table(self, events: np.ndarray, frames: int, labelled: bool) -> Any: ...

    # Events, or parts of them, of a table for which the targets have no place.
    def n_lost(self, table: Any) -> int: ...

    # Targets by output, float32 (T', ...), at the feature frames in the middle of output frames.
    def make(self, table: Any, middles: np.ndarray) -> dict[str, np.ndarray]: ...

    # Targets of the events at `middles` of a table together with those at `others` of another one;
    # None if more than `max_sources` sound at once, or one has no place.
    def mixed(
        self, tables: tuple[Any, Any], middles: np.ndarray, others: np.ndarray, max_sources: int
    ) -> dict[str, np.ndarray] | None: ...


@dataclass(frozen=True)
class SequenceFormat:
    """Arrays that a model takes and is trained on.

    Attributes:
        targets: by output of the model, the arrays (T, K) that are concatenated, e.g. `activity`,
            `azimuth_deg`; or arrays (K,) of whole recordings, e.g. `tags`.
        target_stride: frames that the model pools into one, labelled as the middle one.
        interleaved_channels: order the channels as the published SELDnet did; a number is that of
            the first channels, see `common.features.spectral.interleave_channels`.
        padding: features (F, C) of frames outside a recording, e.g. the mean, which standardisation
            turns into zeros; None: the last frame is repeated.
        context_frames: pieces of audio that a sequence needs beyond its frames, see
            `common.features.frontend`.
        event_targets: makes the targets from the events, in place of `targets`.
        unknown: arrays whose labels count as unknown: -1 in the targets; others are ignored.
        inputs: arrays of whole recordings, of a fixed shape, that the model takes beside its
            features, such as embeddings (L, D) of another model.

    Raises:
        ValueError: padding is combined with interleaved channels, or unknown arrays with targets
            that are made of events.
    """

    targets: Mapping[str, Sequence[str]]
    target_stride: int = 1
    interleaved_channels: bool | int = False
    padding: np.ndarray | None = None
    context_frames: int = 0
    event_targets: EventTargets | None = None
    unknown: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.unknown and self.event_targets is not None:
            raise ValueError("`unknown` arrays and targets made of events cannot be combined.")
        if self.padding is not None and self.interleaved_channels:
            raise ValueError("`padding` and `interleaved_channels` cannot be combined.")


def batches_per_pass(frames: Sequence[int] | np.ndarray, pipeline: PipelineConfig) -> int:
    """Batches that one pass of `common.data.pipeline.train_stream` yields.

    Args:
        frames: feature frames of each recording.
        pipeline: sizes of sequences and batches.

    Raises:
        DataError: no recordings; or they do not fill one batch, and the last one is dropped.
    """
    length, batch_size = pipeline.sequence_frames, pipeline.batch_size
    n_sequences = sequences_per_pass(frames, pipeline)
    if n_sequences and pipeline.last_batch != "drop":
        return -(-n_sequences // batch_size)
    if n_sequences < batch_size:
        raise DataError(
            f"Too few recordings to train on. Expected: at least {batch_size} sequences of"
            f" {length} frames, one batch. Received: {n_sequences}, from {len(frames)} recordings."
            " Set a smaller `pipeline.batch_size` or `pipeline.sequence_frames`,"
            " `pipeline.last_batch: keep`, or add recordings."
        )
    return n_sequences // batch_size


def sequences_per_pass(frames: Sequence[int] | np.ndarray, pipeline: PipelineConfig) -> int:
    """Sequences of recordings of `frames` frames in one pass; a shorter one is padded."""
    length, hop = pipeline.sequence_frames, pipeline.sequence_hop_frames
    return int(sum(max(1, sequences_fitting(count, length, hop)) for count in frames))


def sequences_fitting(frames: Any, sequence_frames: int, hop_frames: int | None) -> Any:
    """Sequences in recordings of `frames` frames (int, array or tensor); <= 0 in too short ones."""
    if hop_frames is None:
        return frames // sequence_frames
    return 1 - (sequence_frames - frames) // hop_frames  # the last one ends with the recording

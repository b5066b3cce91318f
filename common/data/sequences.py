"""Sequences that recordings are cut into, and the batches they fill (no TensorFlow: the checker
counts them too)."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from common.errors import DataError

LastBatch = Literal["keep", "fill", "drop"]


def batches_per_pass(
    frames: Sequence[int] | np.ndarray,
    sequence_frames: int,
    batch_size: int,
    sequence_hop_frames: int | None = None,
    last_batch: LastBatch = "keep",
) -> int:
    """Batches that one pass of `common.data.pipeline.train_stream` yields.

    Args:
        frames: feature frames of each recording.
        sequence_frames: frames of one sequence.
        batch_size: sequences of one batch.
        sequence_hop_frames: see `common.data.pipeline.train_stream`, as is `last_batch`.

    Raises:
        DataError: there are no recordings; or they do not fill one batch, and the last one is
            dropped.
    """
    sequences = sum(
        max(1, sequences_fitting(count, sequence_frames, sequence_hop_frames)) for count in frames
    )
    if sequences and last_batch != "drop":
        return -(-sequences // batch_size)
    if sequences < batch_size:
        raise DataError(
            f"Too few recordings to train on. Expected: at least {batch_size} sequences of"
            f" {sequence_frames} frames, one batch. Received: {sequences}, from {len(frames)}"
            " recordings. Set a smaller `pipeline.batch_size` or `pipeline.sequence_frames`,"
            " `pipeline.last_batch: keep`, or add recordings."
        )
    return sequences // batch_size


def sequences_fitting(frames: Any, sequence_frames: int, hop_frames: int | None) -> Any:
    """Sequences in recordings of so many frames (number, array or tensor); not positive where they
    are too short."""
    if hop_frames is None:
        return frames // sequence_frames
    return 1 - (sequence_frames - frames) // hop_frames  # the last one ends with the recording

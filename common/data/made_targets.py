"""Targets that are made from events while batches are read, see `EventTargets`."""

import logging
from functools import partial

import numpy as np

from common.data.cutter import SequenceCutter
from common.data.sequences import EVENTS, EventTargets
from common.data.shard_source import KNOWN, ShardSource, Tensors
from common.data.tfrecord import tf

logger = logging.getLogger(__name__)


class MadeTargets:
    """Makes the targets of the sequences of a batch; events of all recordings are in memory.

    Args:
        cutter: sizes of the sequences.
        source: the recordings.
        known: bool (N,), recordings with labels.
        frames: int (N,), their feature frames.
    """

    def __init__(
        self, cutter: SequenceCutter, source: ShardSource, known: np.ndarray, frames: np.ndarray
    ) -> None:
        maker = cutter.event_targets
        self._cutter, self._maker = cutter, maker
        self._tables = []
        if maker is not None:
            events = source.find([EVENTS])[0].ragged(EVENTS)
            each = zip(events, frames.tolist(), known.tolist(), strict=True)
            self._tables = [maker.table(*one) for one in each]
            if lost := sum(map(maker.n_lost, self._tables)):
                text = (
                    "%d label frame(s) of sources in the training recordings are not learned: more"
                    " sources at once than the network has places for."
                )
                logger.warning(text, lost)

    def __call__(self, recordings: tf.Tensor, starts: tf.Tensor) -> Tensors:
        """Targets by output, float32 (B, T', ...); none where they are made of labels.

        Args:
            recordings: int32 (B,), number of the recording of each sequence.
            starts: int32 (B,), first frame of each.
        """
        if self._maker is None:
            return {}
        made = tf.numpy_function(
            self._make, [recordings, starts], [tf.float32] * len(self._maker.shapes), stateful=False
        )
        n_outputs = self._cutter.middles(np.zeros(1, int)).shape[1]
        return {
            name: tf.ensure_shape(target, [recordings.shape[0], n_outputs, *shape])
            for (name, shape), target in zip(self._maker.shapes.items(), made, strict=True)
        }

    def _make(self, recordings: np.ndarray, starts: np.ndarray) -> list[np.ndarray]:
        maker, tables = self._maker, self._tables
        if maker is None:
            return []
        middles = self._cutter.middles(starts)
        each = zip(recordings.tolist(), middles, strict=True)
        made = [maker.make(tables[recording], own) for recording, own in each]
        return [np.stack([one[name] for one in made]) for name in maker.shapes]


def made_for_recording(
    cutter: SequenceCutter,
    arrays: Tensors,
    frames: tf.Tensor,
    n_sequences: tf.Tensor,
    length: tf.Tensor,
) -> Tensors:
    """Targets by output, float32 (n, T', ...), of all sequences of one recording."""
    maker = cutter.event_targets
    if maker is None:
        return {}
    given = [arrays[EVENTS], frames, arrays[KNOWN], n_sequences, length]
    made = tf.numpy_function(
        partial(_whole, cutter, maker), given, [tf.float32] * len(maker.shapes), stateful=False
    )
    return {
        name: tf.ensure_shape(target, [None, None, *shape])
        for (name, shape), target in zip(maker.shapes.items(), made, strict=True)
    }


def _whole(
    cutter: SequenceCutter,
    maker: EventTargets,
    events: np.ndarray,
    frames: int,
    labelled: bool,
    n_sequences: int,
    length: int,
) -> list[np.ndarray]:
    middles = cutter.middles(length * np.arange(n_sequences), int(length))  # (n, T')
    made = maker.make(maker.table(events, int(frames), bool(labelled)), middles.reshape(-1))
    return [made[name].reshape(*middles.shape, *shape) for name, shape in maker.shapes.items()]

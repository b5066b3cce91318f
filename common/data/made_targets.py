"""Targets that are made from events while batches are read, see `EventTargets`."""

import logging
from functools import partial
from typing import NamedTuple

import numpy as np

from common.data.cutter import SequenceCutter
from common.data.sequences import EVENTS, EventTargets
from common.data.shard_source import KNOWN, ShardSource, Tensors
from common.data.tfrecord import tf

logger = logging.getLogger(__name__)


class Pairs(NamedTuple):
    """Sequences of a batch, and others of which some are added to them.

    Attributes:
        recordings: int32 (B,), number of the recording of each sequence.
        starts: int32 (B,), first frame of each.
        others: int32 (B,), recordings of those that may be added.
        other_starts: int32 (B,), their first frames.
        wanted: bool (B,), whether it shall be added.
    """

    recordings: tf.Tensor
    starts: tf.Tensor
    others: tf.Tensor
    other_starts: tf.Tensor
    wanted: tf.Tensor


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
        alone = Pairs(recordings, starts, recordings, starts, tf.zeros_like(starts, tf.bool))
        return self.mixed(alone, 1)[0]

    def mixed(self, pairs: Pairs, max_sources: int) -> tuple[Tensors, tf.Tensor]:
        """Targets of mixtures.

        Args:
            pairs: what is mixed.
            max_sources: most sources at once in a mixture.

        Returns:
            As of a call, and bool (B,), whether the other sequence is added: not where too many
            sources would sound at once.
        """
        if self._maker is None:
            return {}, tf.zeros_like(pairs.wanted)
        shapes = self._maker.shapes
        types = [*[tf.float32] * len(shapes), tf.bool]
        make = partial(self._make, max_sources)
        *made, is_mixed = tf.numpy_function(make, list(pairs), types, stateful=False)
        size, n_outputs = pairs.starts.shape[0], self._cutter.middles(np.zeros(1, int)).shape[1]
        targets = {
            name: tf.ensure_shape(target, [size, n_outputs, *shape])
            for (name, shape), target in zip(shapes.items(), made, strict=True)
        }
        return targets, tf.ensure_shape(is_mixed, [size])

    def _make(self, max_sources: int, *given: np.ndarray) -> list[np.ndarray]:
        maker, pairs = self._maker, Pairs(*given)
        if maker is None:
            return []
        own, added = map(self._cutter.middles, (pairs.starts, pairs.other_starts))  # (B, T')
        made, is_mixed = [], np.zeros(len(own), bool)
        for row, (first, second) in enumerate(zip(pairs.recordings, pairs.others, strict=True)):
            both = None
            if pairs.wanted[row]:
                tables = self._tables[first], self._tables[second]
                both = maker.mixed(tables, own[row], added[row], max_sources)
            is_mixed[row] = both is not None
            made.append(both or maker.make(self._tables[first], own[row]))
        return [*(np.stack([one[name] for one in made]) for name in maker.shapes), is_mixed]


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

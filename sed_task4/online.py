"""Decoding of recordings whose end is not known: events as soon as nothing that follows can change
them."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from sed_task4.decoding import DecodingConfig, decode_clip


class FoundEvent(NamedTuple):
    """An event in frames: class, onset, offset, and the mean of the curve within."""

    class_index: int
    onset: float
    offset: float
    score: float


class OnlineDecoder:
    """Decodes curves (T, K) that come in pieces to the events that `decode_clip` finds in the
    whole.

    Each class is decoded by itself, up to a stretch so long, and so far below the thresholds, that
    no event reaches
    across: it is final then. What lies before is forgotten, so memory is that of the events that
    still go on.

    Args:
        n_classes: K.
        decoding: the rule; tags are not looked at: curves are 0 where they let a class not through.
    """

    def __init__(self, n_classes: int, decoding: DecodingConfig):
        self._classes = [_OneClass(_of_class(decoding, k)) for k in range(n_classes)]

    def push(self, curves: np.ndarray) -> list[FoundEvent]:
        """Takes in the next frames (T, K); returns the events that are final now, ordered by class
        and onset."""
        pairs = enumerate(zip(self._classes, np.asarray(curves).T, strict=True))
        return [
            FoundEvent(k, *found) for k, (decoder, curve) in pairs for found in decoder.push(curve)
        ]

    def finish(self) -> list[FoundEvent]:
        """Returns the events that go on to the end."""
        return [
            FoundEvent(k, *found)
            for k, decoder in enumerate(self._classes)
            for found in decoder.finish()
        ]


class _OneClass:
    def __init__(self, decoding: DecodingConfig):
        self._decoding, self._separating = decoding, _separating_frames(decoding)
        self._curve = np.zeros(0, np.float32)
        self._start = 0  # frames before the curve

    def push(self, curve: np.ndarray) -> Iterator[tuple[float, float, float]]:
        self._curve = np.concatenate([self._curve, curve])
        quiet = _is_quiet(self._curve, self._decoding)
        run = np.cumsum(quiet)
        run -= np.maximum.accumulate(
            np.where(quiet, 0, run)
        )  # quiet frames in a row, up to each frame
        (separated,) = np.nonzero(run >= self._separating)
        return self._decoded(separated[-1] + 1) if len(separated) else iter(())

    def finish(self) -> Iterator[tuple[float, float, float]]:
        return self._decoded(len(self._curve))

    def _decoded(self, n_frames: int) -> Iterator[tuple[float, float, float]]:
        part, start = self._curve[:n_frames], self._start
        self._curve, self._start = self._curve[n_frames:], start + n_frames
        for _, onset, offset in decode_clip(
            part[:, None], None, self._decoding, hop_s=1.0
        ).tolist():
            within = part[int(onset) : max(int(offset), int(onset) + 1)]
            yield start + onset, start + offset, float(within.mean())


def _of_class(decoding: DecodingConfig, k: int) -> DecodingConfig:
    """The rule for one class alone."""
    window = (
        decoding.median_frames
        if isinstance(decoding.median_frames, int)
        else decoding.median_frames[k]
    )
    return decoding.model_copy(update={"median_frames": window})


def _separating_frames(decoding: DecodingConfig) -> int:
    """Quiet frames in a row that separate what lies before from what follows."""
    if decoding.decoder == "median":
        return int(np.max(decoding.median_frames)) // 2 + 1
    return decoding.smooth_frames + 1


def _is_quiet(curve: np.ndarray, decoding: DecodingConfig) -> np.ndarray:
    """Which frames can be no part of an event, bool (T,)."""
    if decoding.decoder == "median":
        return curve < decoding.threshold
    exact, low = curve.astype(np.float64), decoding.low_threshold
    return (exact <= decoding.high_threshold) & ((exact < low) if low is not None else True)

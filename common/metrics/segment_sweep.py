"""Segments and whole clips at every threshold: the score of a segment is its highest frame.

References:
    Ebbers, Haeb-Umbach, Serizel, ICASSP 2022, arXiv:2201.13148. Martin-Morato, Harju, Ahokas,
    Mesaros, "Training sound event detection with soft labels from crowdsourced annotations", ICASSP
    2023 (MAESTRO).
"""

from dataclasses import dataclass

import numpy as np

from common.events.table import EventTable
from common.metrics.segment_based import event_roll
from common.metrics.sweep import DECIMALS, Frames
from common.metrics.threshold_curves import ClassCurve, entry_curve


@dataclass(frozen=True)
class Segments:
    """Segments of a set with their scores and their truth, S in number.

    Attributes:
        recording: int (S,), never falling.
        scores: (S, K), highest score of the frames that a segment overlaps; 0 without any.
        targets: bool (S, K), active where a true event overlaps it.
        n_recordings: number of recordings, N.
    """

    recording: np.ndarray
    scores: np.ndarray
    targets: np.ndarray
    n_recordings: int

    @property
    def counts(self) -> np.ndarray:
        """Segments of each recording, int (N,)."""
        return np.bincount(self.recording, minlength=self.n_recordings)

    def curves(self) -> dict[int, ClassCurve]:
        """Returns hits and false alarms at all thresholds, of the classes that are ever true."""
        known = np.flatnonzero(self.targets.any(axis=0)).tolist()
        parts = ((k, self.scores[:, k], self.targets[:, k]) for k in known)
        return {
            k: entry_curve(each, true, self.recording, self.n_recordings) for k, each, true in parts
        }


def score_segments(
    reference: EventTable,
    frames: Frames,
    scores: np.ndarray,
    lengths_s: np.ndarray | float,
    segment_s: float = 1.0,
) -> Segments:
    """Cuts recordings into segments; the last one may reach past the end.

    Args:
        reference: true events.
        frames: of the scores.
        scores: (F, K).
        lengths_s: length of the recordings in seconds, one number or (N,).
        segment_s: length of a segment in seconds.

    Raises:
        ValueError: `segment_s` is not positive, or an event starts before 0.
    """
    if segment_s <= 0:
        raise ValueError(f"Expected: `segment_s` above 0. Received: {segment_s}.")
    n = reference.n_recordings
    seconds = np.broadcast_to(np.asarray(lengths_s, np.float64), (n,))
    counts = np.ceil(seconds / segment_s).astype(np.int64)
    starts = np.cumsum(counts) - counts
    recording = np.repeat(np.arange(n), counts)
    number = np.arange(int(counts.sum())) - starts[recording]
    best = _highest(frames, scores, recording, number * segment_s, (number + 1) * segment_s)
    targets = event_roll(reference, segment_s, starts, counts)
    return Segments(recording, best, targets, n)


def _highest(
    frames: Frames,
    scores: np.ndarray,
    recording: np.ndarray,
    begin_s: np.ndarray,
    end_s: np.ndarray,
) -> np.ndarray:
    """Highest scores of the frames between two times of their recordings, (S, K)."""
    latest_s = max(frames.offset_s.max(initial=0.0), end_s.max(initial=0.0))
    apart_s = np.ceil(latest_s) + 1  # all recordings on one axis, none touching the next
    onset_s = np.round(frames.recording * apart_s + frames.onset_s, DECIMALS)
    shift_s = recording * apart_s
    first = np.searchsorted(onset_s, np.round(shift_s + begin_s, DECIMALS), side="right") - 1
    first = np.maximum(first, frames.first[recording])
    last = np.searchsorted(onset_s, np.round(shift_s + end_s, DECIMALS), side="left")
    last = np.minimum(last, frames.first[recording + 1])
    known = np.flatnonzero(first < last)
    ended = np.round(frames.offset_s[first[known]], DECIMALS) <= np.round(begin_s[known], DECIMALS)
    known = known[~ended]
    highest = np.zeros((len(recording), scores.shape[1]))
    if len(known):
        padded = np.concatenate([scores, np.zeros((1, scores.shape[1]))])
        bounds = np.stack([first[known], last[known]], axis=1).reshape(-1)
        highest[known] = np.maximum.reduceat(padded, bounds, axis=0)[::2]
    return highest


def clip_maxima(frames: Frames, scores: np.ndarray) -> np.ndarray:
    """Returns the highest score of each recording, (N, K); 0 for one without frames."""
    highest = np.zeros((frames.n_recordings, scores.shape[1]))
    known = np.flatnonzero(np.diff(frames.first))
    if len(known):
        highest[known] = np.maximum.reduceat(scores, frames.first[:-1][known], axis=0)
    return highest


def clip_entries(reference: EventTable, maxima: np.ndarray) -> Segments:
    """Takes each whole clip for one segment.

    Args:
        reference: true events; a class with one has its tag.
        maxima: (N, K), see `clip_maxima`.
    """
    n = reference.n_recordings
    targets = np.zeros((n, reference.n_classes), bool)
    targets[reference.recording, reference.class_index] = True
    return Segments(np.arange(n), np.asarray(maxima, np.float64), targets, n)

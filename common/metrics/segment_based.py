"""Segment-based and frame-based F-score and error rate of sound event detection.

Counts are kept apart from the numbers made of them, so that recordings can be added up: the scores of a set are those
of its summed counts, not the mean over recordings.
"""

from dataclasses import dataclass, fields

import numpy as np


@dataclass(frozen=True)
class SegmentCounts:
    """What F-score and error rate are made of; `+` joins recordings.

    Attributes:
        true_positives: entries (segment, class) active in both.
        n_reference: active entries of the reference.
        n_estimate: active entries of the estimate.
        substitutions: per segment, missed entries paired with false ones; summed.
        deletions: missed entries left over.
        insertions: false entries left over.
    """

    true_positives: int = 0
    n_reference: int = 0
    n_estimate: int = 0
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0

    def __add__(self, other: "SegmentCounts") -> "SegmentCounts":
        return SegmentCounts(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))

    @property
    def f_score(self) -> float:
        """F = 2 TP / (N + M), [0, 1]; NaN when neither reference nor estimate has an entry."""
        total = self.n_reference + self.n_estimate
        return 2.0 * self.true_positives / total if total else float("nan")

    @property
    def error_rate(self) -> float:
        """ER = (S + D + I) / N, 0 is best, may exceed 1; without reference NaN, or infinity if there are insertions."""
        errors = self.substitutions + self.deletions + self.insertions
        if self.n_reference:
            return errors / self.n_reference
        return float("inf") if errors else float("nan")


def count_frames(reference: np.ndarray, estimate: np.ndarray) -> SegmentCounts:
    """Counts hits and errors frame by frame.

    Args:
        reference: bool (T, K), true activity.
        estimate: bool (T, K), estimated activity.

    Raises:
        ValueError: the shapes differ.

    References:
        Mesaros, Heittola, Virtanen, "Metrics for polyphonic sound event detection", Appl. Sci. 6(6), 2016.
    """
    if np.shape(reference) != np.shape(estimate) or np.ndim(reference) != 2:
        raise ValueError(
            "`estimate` must have the shape of `reference`, (frames, classes). "
            f"Expected: {np.shape(reference)}. Received: {np.shape(estimate)}."
        )
    reference, estimate = np.asarray(reference, bool), np.asarray(estimate, bool)
    misses = np.count_nonzero(reference & ~estimate, axis=1)  # (T,)
    false_alarms = np.count_nonzero(estimate & ~reference, axis=1)  # (T,)
    substitutions = int(np.minimum(misses, false_alarms).sum())
    return SegmentCounts(
        true_positives=int(np.count_nonzero(reference & estimate)),
        n_reference=int(np.count_nonzero(reference)),
        n_estimate=int(np.count_nonzero(estimate)),
        substitutions=substitutions,
        deletions=int(misses.sum()) - substitutions,
        insertions=int(false_alarms.sum()) - substitutions,
    )


def to_segments(activity: np.ndarray, segment_frames: int, *, skip_last_frame: bool = False) -> np.ndarray:
    """Says which classes are active in each segment.

    Args:
        activity: bool (T, K).
        segment_frames: frames in one segment, at least 1; the last segment may be shorter.
        skip_last_frame: leave the last frame of each whole segment out, as the scorer of DCASE 2019 task 3 does.

    Returns:
        bool (segments, K): active in at least one frame.

    Raises:
        ValueError: `segment_frames` is below 1, or 1 while its only frame is skipped.
    """
    if segment_frames < 1 + skip_last_frame:
        raise ValueError(f"Expected: `segment_frames` of at least {1 + skip_last_frame}. Received: {segment_frames}.")
    activity = np.asarray(activity, bool)
    n_frames, n_classes = activity.shape
    n_segments = -(-n_frames // segment_frames)
    padded = np.zeros((n_segments * segment_frames, n_classes), bool)
    padded[:n_frames] = activity
    blocks = padded.reshape(n_segments, segment_frames, n_classes)  # (segments, frames, K)
    return np.any(blocks[:, : segment_frames - skip_last_frame], axis=1)


def count_segments(
    reference: np.ndarray, estimate: np.ndarray, segment_frames: int, *, skip_last_frame: bool = False
) -> SegmentCounts:
    """Counts hits and errors segment by segment: F-score and error rate share one definition of a segment.

    Args:
        reference: bool (T, K), true activity.
        estimate: bool (T, K), estimated activity.
        segment_frames: frames in one segment; the last segment may be shorter.
        skip_last_frame: see `to_segments`.

    Raises:
        ValueError: the shapes differ.
    """
    if np.shape(reference) != np.shape(estimate):
        raise ValueError(
            "`estimate` must have the shape of `reference`, (frames, classes). "
            f"Expected: {np.shape(reference)}. Received: {np.shape(estimate)}."
        )
    return count_frames(
        to_segments(reference, segment_frames, skip_last_frame=skip_last_frame),
        to_segments(estimate, segment_frames, skip_last_frame=skip_last_frame),
    )


def frame_error_rate(reference: np.ndarray, estimate: np.ndarray) -> float:
    """Computes the error rate over frames of activity (T, K); see `SegmentCounts.error_rate`."""
    return count_frames(reference, estimate).error_rate


def frame_f_score(reference: np.ndarray, estimate: np.ndarray) -> float:
    """Computes the micro-averaged F-score over frames of activity (T, K); see `SegmentCounts.f_score`."""
    return count_frames(reference, estimate).f_score


def segment_error_rate(reference: np.ndarray, estimate: np.ndarray, segment_frames: int) -> float:
    """Computes the error rate over segments of activity (T, K); see `SegmentCounts.error_rate`."""
    return count_segments(reference, estimate, segment_frames).error_rate


def segment_f_score(reference: np.ndarray, estimate: np.ndarray, segment_frames: int) -> float:
    """Computes the micro-averaged F-score over segments of activity (T, K); see `SegmentCounts.f_score`."""
    return count_segments(reference, estimate, segment_frames).f_score

"""Search of the median filter's length of each class on validation clips."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.errors import CheckpointError, DataError
from common.events.table import EventTable
from common.metrics.event_based import COLLAR_S, OFFSET_SHARE, count_events
from common.training.run_directory import read_form
from sed_task4.clips.lengths import cut_to_length
from sed_task4.decoding import DecodingConfig, decode_clip

logger = logging.getLogger(__name__)

# Frames; the longest published length is 67.
LENGTHS = (1, 3, 5, 7, 9, 11, 13, 17, 21, 27, 35, 45, 57, 73, 91)


@dataclass(frozen=True)
class ScoredClip:
    """Probabilities and ground truth of a strongly labelled clip.

    Attributes:
        frames: probabilities (T, K), without padding.
        clip: clip-level probabilities (K,).
        events: true events (n, 3) = class_index, onset_s, offset_s.
        duration_s: length of the clip in seconds.
    """

    frames: np.ndarray
    clip: np.ndarray
    events: np.ndarray
    duration_s: float


def search_medians(
    clips: Sequence[ScoredClip],
    decoding: DecodingConfig,
    hop_s: float,
    *,
    tag_thresholds: np.ndarray | None = None,
    collar_s: float = COLLAR_S,
    offset_share: float = OFFSET_SHARE,
) -> tuple[int, ...]:
    """Finds the length of each class with the best event-based F-score.

    Classes do not influence each other, so that one pass over the lengths decides for all.

    Args:
        clips: of the validation set; test clips would make scores too good.
        decoding: the rule, of the median decoder, with lengths in frames.
        hop_s: hop length of the features in seconds.
        tag_thresholds: see `sed_task4.decoding.decode_clip`.
        collar_s: see `common.metrics.event_based.count_events`, as is `offset_share`.
        offset_share: as well.

    Returns:
        Odd numbers of frames (K,); the shortest of equally good ones. Classes without an event in
        the clips, or without a hit at any length, keep that of `decoding`.

    Raises:
        DataError: no clip has an event.
    """
    n_classes = clips[0].frames.shape[1] if clips else 0
    truth = [cut_to_length(each.events, each.duration_s) for each in clips]
    check_searchable(truth, len(clips))
    reference = EventTable.from_recordings(truth, n_classes)
    f_scores = np.zeros((len(LENGTHS), n_classes))
    for number, length in enumerate(LENGTHS):
        rule = decoding.model_copy(update={"median_frames": length})
        options = {"tag_thresholds": tag_thresholds}
        found = [
            decode_clip(each.frames, each.clip, rule, hop_s, clip_s=each.duration_s, **options)
            for each in clips
        ]
        estimate = EventTable.from_recordings(found, n_classes)
        counts = count_events(reference, estimate, collar_s=collar_s, offset_share=offset_share)
        total = np.maximum(counts.n_reference + counts.n_estimate, 1)
        f_scores[number] = 2 * counts.true_positives / total
    known = np.broadcast_to(np.asarray(decoding.windows), (n_classes,))
    best = np.where(f_scores.max(axis=0) > 0, np.array(LENGTHS)[f_scores.argmax(axis=0)], known)
    kept = int(np.sum(f_scores.max(axis=0) == 0))
    logger.info("Median lengths in frames, searched: %s; %d class(es) keep theirs.", best, kept)
    return tuple(best.tolist())


def check_searchable(events: Sequence[np.ndarray], n_clips: int) -> None:
    """Raises DataError unless strongly labelled clips among the validation clips have an event.

    Args:
        events: (n, 3) of each strongly labelled clip.
        n_clips: number of validation clips.
    """
    if not any(map(len, events)):
        raise DataError(
            "`decoding.search_medians` compares events of the validation clips. Expected: strongly"
            f" labelled ones. Received: {n_clips} clip(s), {len(events)} of them strongly labelled,"
            " without any event. Set another `sets.validate_on`, or `decoding.search_medians:"
            " false`."
        )


def read_medians(path: Path, classes: Sequence[str]) -> tuple[int, ...]:
    """Reads the median lengths of the classes, in frames, that a run has searched.

    Raises:
        CheckpointError: the file is damaged, of other classes, or its lengths cannot be used.
    """
    stored = read_form(path, dict[str, int])
    if set(stored) != set(classes):
        raise CheckpointError(
            f"{path} holds median lengths of other classes. Delete it and run again."
        )
    lengths = tuple(stored[name] for name in classes)
    if any(length < 1 or length % 2 == 0 for length in lengths):
        raise CheckpointError(
            f"{path} holds median lengths that are no odd numbers from 1 on: {list(lengths)}."
            " Delete it and run again."
        )
    return lengths


def with_medians(decoding: DecodingConfig, path: Path, classes: Sequence[str]) -> DecodingConfig:
    """Decoding with the median lengths that a run has stored, see `read_medians`."""
    return decoding.model_copy(update={"median_frames": read_medians(path, classes)})


def named(lengths: Sequence[int], classes: Sequence[str]) -> Mapping[str, int]:
    """Median lengths by class name, as they are stored."""
    return dict(zip(classes, lengths, strict=True))

"""MAESTRO real: soft labels and scores of windows, joined to those of whole recordings.

A window is named `<recording>-<begin>-<end>` with times in hundredths of a second. Its labels are
one row a second with the share of annotators who heard the class; events are seconds in which more
than half of them did. Scores of a window are averaged over each second, and over all windows that
cover it.

References:
    Martin-Morato, Harju, Ahokas, Mesaros, "Training sound event detection with soft labels from
    crowdsourced annotations", ICASSP 2023. DCASE 2024 task 4.
"""

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from common.audio.formats import shown, stem_of
from common.errors import DataError
from common.events.table import EventTable
from common.metrics.segment_sweep import Segments, score_segments
from common.metrics.sweep import Frames
from common.metrics.threshold_curves import (
    MAX_FALSE_RATE,
    AreaScores,
    CurveScores,
    area_scores,
    best_f_scores,
)
from sed_task4.clips.recording_windows import Window
from sed_task4.dataset import CERTAIN, events_by_name
from sed_task4.decoding import DecodingConfig, decision_scores, strided
from sed_task4.labels import event_array, events_of_classes

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

SEGMENT_S = 1.0
# Headings of the scores by name: means over the classes, and scores of each class.
MAESTRO_COLUMNS = {
    "maestro_best_f": "best F",
    "maestro_auc": "AUC",
    "maestro_pauc": f"pAUC (chance {MAX_FALSE_RATE / 2:g})",
}
MAESTRO_CLASS_COLUMNS = {
    "n_seconds": "active seconds",
    "best_f": "best F",
    "best_threshold": "threshold",
    "auc": "AUC",
    "pauc": "pAUC",
}


@dataclass(frozen=True)
class SoftLabels:
    """Soft labels of windows.

    Attributes:
        windows: names of the windows that have a row, in the order of the file.
        events: for each (n, 3) = class_index, onset_s, offset_s from the window's begin, of labels
            above the confidence.
    """

    windows: tuple[str, ...]
    events: tuple[np.ndarray, ...]


def certain_labels(
    events: "pd.DataFrame",
    names: Iterable[str],
    classes: Sequence[str],
    confidence: float = CERTAIN,
) -> SoftLabels:
    """Takes the events of a table of soft labels, as `sed_task4.dataset.parse_soft` reads it.

    Args:
        events: columns filename, onset, offset, event_label and confidence.
        names: of the windows of the table.
        classes: evaluated classes; rows of others are passed over.
        confidence: shares above it are events.
    """
    is_event = events["confidence"].gt(confidence) & events["event_label"].isin(list(classes))
    of_windows = events_by_name(events[is_event], names)
    arrays = (event_array(each, classes) for each in of_windows.values())
    return SoftLabels(tuple(map(stem_of, of_windows)), tuple(arrays))


def merged_truth(labels: SoftLabels, recordings: Sequence[str], n_classes: int) -> EventTable:
    """Joins the events of windows to those of recordings.

    Windows that begin within a second are placed at its begin, as published. Events of a class that
    overlap or touch are one.

    Args:
        labels: of the windows.
        recordings: names of the set.
        n_classes: number of evaluated classes.

    Raises:
        DataError: a window is of another recording.
    """
    number = {name: each for each, name in enumerate(recordings)}
    at: list[int] = []
    parts = [np.zeros((0, 3))]
    for name, events in zip(labels.windows, labels.events, strict=True):
        window = Window.of(name)
        if window.recording not in number:
            raise DataError(
                f"Window {name!r} is of a recording that is not in the set. Expected: one of"
                f" {shown(list(recordings))}. Give the lengths of all recordings."
            )
        at += [number[window.recording]] * len(events)
        parts.append(events + np.array([0.0, 1.0, 1.0]) * (window.begin_s // 1))
    table = EventTable.from_columns(
        np.array(at, np.int64), np.concatenate(parts), len(recordings), n_classes
    )
    return table.merge_connected()


def window_seconds(
    edges_s: np.ndarray, scores: np.ndarray, length_s: float, segment_s: float = SEGMENT_S
) -> np.ndarray:
    """Averages the scores of a window over each second, by the time of the frames in it.

    Args:
        edges_s: (T + 1,), edges of the frames.
        scores: (T, K).
        length_s: length of the window; frames may end a little before.
        segment_s: length of a segment in seconds.

    Returns:
        (segments, K); 0 where no frame lies.
    """
    begin_s = np.arange(0.0, length_s, segment_s)
    ends_s = np.minimum(edges_s[1:], begin_s[:, None] + segment_s)  # (segments, T)
    shared_s = np.maximum(ends_s - np.maximum(edges_s[:-1], begin_s[:, None]), 0.0)
    total_s = shared_s.sum(axis=1, keepdims=True)
    return np.where(total_s > 0, shared_s @ scores / np.where(total_s > 0, total_s, 1.0), 0.0)


def overlap_add(
    windows: Mapping[str, np.ndarray],
    edges_s: np.ndarray | Mapping[str, np.ndarray],
    lengths_s: Mapping[str, float],
    segment_s: float = SEGMENT_S,
    *,
    only: Collection[str] | None = None,
) -> dict[str, np.ndarray]:
    """Joins the scores of windows to seconds of recordings: the mean over all that cover one.

    Args:
        windows: by name of the window, scores (T, K).
        edges_s: (T + 1,), edges of the frames of all windows; or by name.
        lengths_s: by recording, its length in seconds.
        segment_s: length of a segment in seconds.
        only: windows to use, as published those with a row in the table of labels; None: all.

    Returns:
        By recording, in the order of `lengths_s`, scores (segments, K), where the last segment may
        reach past the end. Segments that no window covers have score 0; a warning counts them.

    Raises:
        DataError: a window is of another recording, or there is none.
    """
    used = {name: each for name, each in windows.items() if only is None or name in only}
    if len(used) < len(windows):
        logger.warning("%d window(s) without labels are left out.", len(windows) - len(used))
    seconds: dict[str, np.ndarray] = {}
    for name, scores in used.items():
        edges = edges_s[name] if isinstance(edges_s, Mapping) else edges_s
        seconds[name] = window_seconds(edges, scores, Window.of(name).length_s, segment_s)
    joined, n_covering = join_seconds(seconds, lengths_s, segment_s)
    _warn_bare(n_covering)
    return joined


def join_seconds(
    windows: Mapping[str, np.ndarray], lengths_s: Mapping[str, float], segment_s: float = SEGMENT_S
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Joins the seconds of windows to those of recordings, see `overlap_add`.

    Args:
        windows: by name of the window, scores (segments, K) of `window_seconds`.
        lengths_s: see `overlap_add`, as is `segment_s`.
        segment_s: as well.

    Returns:
        By recording, scores (segments, K), and the number of windows that cover each, (segments,).

    Raises:
        DataError: a window is of another recording, or there is none.
    """
    if not windows:
        raise DataError("There are no scores of windows to join. Give those of all recordings.")
    n_classes = next(iter(windows.values())).shape[1]
    counts = {name: int(np.ceil(each / segment_s)) for name, each in lengths_s.items()}
    sums = {name: np.zeros((n, n_classes)) for name, n in counts.items()}
    n_covering = {name: np.zeros(n, np.int64) for name, n in counts.items()}
    for name, scores in windows.items():
        window = Window.of(name)
        if window.recording not in sums:
            raise DataError(
                f"Window {name!r} is of a recording without a length. Expected: one of"
                f" {shown(list(sums))}. Add its length."
            )
        first = int(window.begin_s // segment_s)
        part = scores[: max(counts[window.recording] - first, 0)]
        sums[window.recording][first : first + len(part)] += part
        n_covering[window.recording][first : first + len(part)] += 1
    joined = {name: sums[name] / np.maximum(n_covering[name], 1)[:, None] for name in sums}
    return joined, n_covering


def segment_edges(length_s: float, segment_s: float = SEGMENT_S) -> np.ndarray:
    """Returns the edges of the segments of a recording; the last one ends with it."""
    n_segments = int(np.ceil(length_s / segment_s))
    return np.minimum(np.arange(n_segments + 1) * segment_s, length_s)


@dataclass(frozen=True)
class MaestroScores:
    """Segment-based scores of MAESTRO real.

    Attributes:
        best: F of segments at the best threshold of each class.
        areas: areas under the ROC curves; `mean_pauc` is the mean partial area up to 0.1.
        segments: the scored segments.
    """

    best: CurveScores
    areas: AreaScores
    segments: Segments

    @property
    def absent(self) -> list[int]:
        """Numbers of the classes that never occur, which the means leave out."""
        return np.flatnonzero(~self.segments.targets.any(axis=0)).tolist()

    def named(self) -> dict[str, float]:
        """Returns the means over the classes by name, see `MAESTRO_COLUMNS`."""
        means = self.best.macro_f, self.areas.mean_auc, self.areas.mean_pauc
        return dict(zip(MAESTRO_COLUMNS, means, strict=True))

    def of_classes(self, classes: Sequence[str]) -> dict[str, dict[str, float]]:
        """Returns the scores of each class by its name, see `MAESTRO_CLASS_COLUMNS`."""
        best, areas = self.best, self.areas
        n_active = self.segments.targets.sum(axis=0)
        columns = n_active, best.f, best.thresholds, areas.auc, areas.pauc
        rows = zip(*(np.asarray(each, np.float64).tolist() for each in columns), strict=True)
        pairs = zip(classes, rows, strict=True)
        return {name: dict(zip(MAESTRO_CLASS_COLUMNS, row, strict=True)) for name, row in pairs}


def maestro_scores(
    truth: EventTable,
    seconds: Sequence[np.ndarray],
    lengths_s: Sequence[float],
    covered: Sequence[np.ndarray] | None = None,
) -> MaestroScores:
    """Scores the seconds of recordings; the means leave out classes that never occur.

    Args:
        truth: events of the recordings, of the evaluated classes.
        seconds: for each recording, scores (segments, K) of these classes.
        lengths_s: of the recordings in seconds.
        covered: for each recording, true for the segments that count, (segments,); None: all.
    """
    frames = Frames.from_edges([segment_edges(each) for each in lengths_s])
    scores = np.concatenate([np.zeros((0, truth.n_classes)), *seconds])
    segments = score_segments(truth, frames, scores, np.asarray(lengths_s), SEGMENT_S)
    if covered is not None:
        kept = np.concatenate(covered) > 0
        arrays = {
            name: getattr(segments, name)[kept] for name in ("recording", "scores", "targets")
        }
        segments = replace(segments, **arrays)
    return _scores_of(segments)


def constant_scores(found: MaestroScores) -> MaestroScores:
    """Scores a baseline that gives all the segments of `found` the same score: chance."""
    segments = found.segments
    return _scores_of(replace(segments, scores=np.ones_like(segments.scores)))


def _scores_of(segments: Segments) -> MaestroScores:
    curves, n_classes = segments.curves(), segments.targets.shape[1]
    areas = area_scores(curves, n_classes, segments.counts)
    return MaestroScores(best_f_scores(curves, n_classes), areas, segments)


class RecordingScorer:
    """Joins windows of recordings as they come, and scores the recordings.

    Args:
        classes: numbers of the evaluated classes among those of the network, rising.
        decoding: decoding of the network's classes, whose median filters the scores.
        hop_s: hop length of the features in seconds.
        tag_thresholds: see `sed_task4.decoding.decode_clip`.
    """

    def __init__(
        self,
        classes: Sequence[int],
        decoding: DecodingConfig,
        hop_s: float,
        tag_thresholds: np.ndarray | None = None,
    ):
        self.classes, self._stride = list(classes), decoding.frame_stride
        self._decoding = decoding.of_classes(classes).model_copy(update={"frame_stride": 1})
        self._thresholds = None if tag_thresholds is None else tag_thresholds[self.classes]
        self._frame_s = self._stride * hop_s
        self._seconds: dict[str, np.ndarray] = {}
        self._events: dict[str, np.ndarray] = {}

    def update(self, name: str, frames: np.ndarray, clip: np.ndarray, events: np.ndarray) -> None:
        """Takes in one window; only its seconds are kept.

        Args:
            name: of the window.
            frames: probabilities (T, K) of all classes, without padding.
            clip: probabilities of the tags (K,).
            events: true events (n, 3) = class_index, onset_s, offset_s from the window's begin.

        Raises:
            DataError: the name is not that of a window.
        """
        window, chosen = Window.of(name), strided(frames[:, self.classes], self._stride)
        scores = decision_scores(chosen, clip[self.classes], self._decoding, self._thresholds)
        scores = np.maximum(scores, 0.0)  # minus infinity: no threshold gives an event
        edges_s = np.arange(len(scores) + 1) * self._frame_s
        self._seconds[window.name] = window_seconds(edges_s, scores, window.length_s)
        self._events[window.name] = events_of_classes(events, self.classes)

    @property
    def lengths_s(self) -> dict[str, float]:
        """Length of each recording in seconds: the end of its last window."""
        lengths_s: dict[str, float] = {}
        for window in map(Window.of, self._seconds):
            end_s = max(window.end_s, lengths_s.get(window.recording, 0.0))
            lengths_s[window.recording] = end_s
        return lengths_s

    def result(self, *, only_covered: bool = False) -> MaestroScores | None:
        """Scores the recordings; None: there was no window.

        Args:
            only_covered: leave out the seconds that no window covers, as where only some windows
                were drawn; false: they have score 0, as published for windows without labels.
        """
        if not self._seconds:
            return None
        lengths_s = self.lengths_s
        labels = SoftLabels(tuple(self._events), tuple(self._events.values()))
        truth = merged_truth(labels, list(lengths_s), len(self.classes))
        joined, n_covering = join_seconds(self._seconds, lengths_s)
        covered = list(n_covering.values()) if only_covered else None
        if not only_covered:
            _warn_bare(n_covering)
        return maestro_scores(truth, list(joined.values()), list(lengths_s.values()), covered)


def _warn_bare(n_covering: Mapping[str, np.ndarray]) -> None:
    bare = {name: int((each == 0).sum()) for name, each in n_covering.items() if not each.all()}
    if bare:
        text = "%d second(s) of %d recording(s) are in no window and have score 0: %s."
        logger.warning(text, sum(bare.values()), len(bare), shown(list(bare)))

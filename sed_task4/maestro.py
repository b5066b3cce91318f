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
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from common.audio.formats import shown, stem_of
from common.errors import DataError
from common.events.table import EventTable
from common.io.tables import parse_table, to_number
from common.metrics.segment_sweep import Segments, score_segments
from common.metrics.sweep import Frames
from common.metrics.threshold_curves import AreaScores, CurveScores, area_scores, best_f_scores
from sed_task4.dataset import CERTAIN

logger = logging.getLogger(__name__)

SEGMENT_S = 1.0
_WINDOW = re.compile(r"(.+)-(\d+)-(\d+)")


@dataclass(frozen=True)
class Window:
    """Window of a recording.

    Attributes:
        recording: name of the recording.
        begin_s: seconds from its start.
        end_s: as well.
    """

    recording: str
    begin_s: float
    end_s: float

    @classmethod
    def of(cls, name: str) -> "Window":
        """Reads the name of a window, with or without a suffix.

        Raises:
            DataError: it has another form.
        """
        stem = stem_of(name) if "." in name else name
        match = _WINDOW.fullmatch(stem)
        if match is None or int(match[2]) >= int(match[3]):
            raise DataError(
                f"{name!r} is not a window of a recording. Expected: <recording>-<begin>-<end>,"
                " times in hundredths of a second, such as cafe_restaurant_00-000000-001000. Rename"
                " it, or use the tables that MAESTRO real was published with."
            )
        return cls(match[1], int(match[2]) / 100, int(match[3]) / 100)


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


def parse_soft_labels(
    text: str, classes: Sequence[str], source: str = "metadata", confidence: float = CERTAIN
) -> SoftLabels:
    """Reads soft labels: filename, onset, offset, event_label, confidence.

    Args:
        text: the table.
        classes: evaluated classes; rows of others are passed over.
        source: origin of the table, for errors.
        confidence: shares above it are events.

    Raises:
        DataError: a column is missing, or a number cannot be used; names the line.
    """
    columns = ("filename", "onset", "offset", "event_label", "confidence")
    table = parse_table(text, columns, source)
    index = {label: k for k, label in enumerate(classes)}
    rows: dict[str, list[tuple[int, float, float]]] = {}
    for line, row in table.rows():
        numbers = [to_number(row[name]) for name in ("onset", "offset", "confidence")]
        onset_s, offset_s, share = numbers
        if onset_s is None or offset_s is None or share is None or not 0 <= share <= 1:
            raise DataError(
                f"{source}, line {line}: expected onset and offset in seconds and a confidence from"
                f" 0 to 1. Received: {', '.join(row[name] for name in columns[1:])[:200]!r}."
                " Correct the row."
            )
        found = rows.setdefault(stem_of(row["filename"]), [])
        if share > confidence and row["event_label"] in index:
            found.append((index[row["event_label"]], onset_s, offset_s))
    events = (np.array(found, np.float64).reshape(-1, 3) for found in rows.values())
    return SoftLabels(tuple(rows), tuple(events))


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


def windows_of(
    recording: str, length_s: float, window_s: float = 10.0, step_s: float = 5.0
) -> list[str]:
    """Names the windows of a recording, those without any label too.

    Args:
        recording: its name.
        length_s: its length in seconds.
        window_s: length of a window; only whole ones are named.
        step_s: from the begin of one window to that of the next.
    """
    begin_s = np.arange(0.0, length_s - window_s + 1e-6, step_s)
    ends = ((round(100 * each), round(100 * (each + window_s))) for each in begin_s)
    return [f"{recording}-{begin:06d}-{end:06d}" for begin, end in ends]


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
    if not windows:
        raise DataError("There are no scores of windows to join. Give those of all recordings.")
    n_classes = next(iter(windows.values())).shape[1]
    counts = {name: int(np.ceil(each / segment_s)) for name, each in lengths_s.items()}
    sums = {name: np.zeros((n, n_classes)) for name, n in counts.items()}
    covering = {name: np.zeros((n, 1)) for name, n in counts.items()}
    used = {name: each for name, each in windows.items() if only is None or name in only}
    if len(used) < len(windows):
        logger.warning("%d window(s) without labels are left out.", len(windows) - len(used))
    for name, scores in used.items():
        window = Window.of(name)
        if window.recording not in sums:
            raise DataError(
                f"Window {name!r} is of a recording without a length. Expected: one of"
                f" {shown(list(sums))}. Add its length."
            )
        edges = edges_s[name] if isinstance(edges_s, Mapping) else edges_s
        part = window_seconds(edges, scores, window.end_s - window.begin_s, segment_s)
        first = int(window.begin_s // segment_s)
        part = part[: max(counts[window.recording] - first, 0)]
        sums[window.recording][first : first + len(part)] += part
        covering[window.recording][first : first + len(part)] += 1
    bare = {name: int((each == 0).sum()) for name, each in covering.items() if (each == 0).any()}
    if bare:
        text = "%d second(s) of %d recording(s) are in no window and have score 0: %s."
        logger.warning(text, sum(bare.values()), len(bare), shown(list(bare)))
    return {name: sums[name] / np.maximum(covering[name], 1) for name in sums}


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


def maestro_scores(
    truth: EventTable, seconds: Sequence[np.ndarray], lengths_s: Sequence[float]
) -> MaestroScores:
    """Scores the seconds of recordings; classes that never occur are left out, with a warning.

    Args:
        truth: events of the recordings, of the evaluated classes.
        seconds: for each recording, scores (segments, K) of these classes.
        lengths_s: of the recordings in seconds.
    """
    frames = Frames.from_edges([segment_edges(each) for each in lengths_s])
    scores = np.concatenate([np.zeros((0, truth.n_classes)), *seconds])
    segments = score_segments(truth, frames, scores, np.asarray(lengths_s), SEGMENT_S)
    curves = segments.curves()
    absent = [k for k in range(truth.n_classes) if k not in curves]
    if absent:
        logger.warning("%d class(es) never occur and are left out: %s.", len(absent), absent)
    best = best_f_scores(curves, truth.n_classes)
    return MaestroScores(best, area_scores(curves, truth.n_classes, segments.counts), segments)

"""Events of many recordings as arrays, for event-based scores, activity and files."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # pandas takes a second to import: settings are read without it
    import pandas as pd

EVENT_COLUMNS = ("filename", "onset", "offset", "event_label")


@dataclass(frozen=True)
class EventTable:
    """Events of a set of recordings, one row each, sorted by recording.

    Attributes:
        recording: int (n,), index of the recording, never falling; within a recording the order is
            the file's.
        class_index: int (n,), index of the class.
        onset_s: float64 (n,), seconds from the recording's start.
        offset_s: float64 (n,), seconds; the event covers [onset, offset).
        n_recordings: recordings of the set, those without events included.
        n_classes: number of classes, K.
    """

    recording: np.ndarray
    class_index: np.ndarray
    onset_s: np.ndarray
    offset_s: np.ndarray
    n_recordings: int
    n_classes: int

    def __len__(self) -> int:
        return len(self.recording)

    @classmethod
    def from_columns(
        cls, recording: np.ndarray, rows: np.ndarray, n_recordings: int, n_classes: int
    ) -> "EventTable":
        """Builds a table from rows in any order.

        Args:
            recording: int (n,), index of each row's recording.
            rows: (n, 3) = class_index, onset_s, offset_s.
            n_recordings: recordings of the set.
            n_classes: number of classes.

        Raises:
            ValueError: a class or recording is out of range, or a time is not finite.
        """
        recording = np.asarray(recording, np.int64)
        rows = np.asarray(rows, np.float64).reshape(-1, 3)
        index = rows[:, 0].astype(np.int64)
        in_range = not len(index) or (index.min() >= 0 and index.max() < n_classes)
        if not in_range or not np.isfinite(rows).all():
            raise ValueError(
                f"Expected: events as finite (class below {n_classes}, onset_s, offset_s)."
                f" Received: {rows}."
            )
        if len(recording) and (recording.min() < 0 or recording.max() >= n_recordings):
            raise ValueError(
                f"Expected: recordings below {n_recordings}. Received: up to {recording.max()}."
            )
        order = np.argsort(recording, kind="stable")
        columns = recording[order], index[order], rows[order, 1], rows[order, 2]
        return cls(*columns, n_recordings, n_classes)

    @classmethod
    def from_recordings(cls, recordings: Sequence[np.ndarray], n_classes: int) -> "EventTable":
        """Joins events of recordings, each (n, 3) = class_index, onset_s, offset_s."""
        lengths = [len(rows) for rows in recordings]
        parts = [np.asarray(rows, np.float64).reshape(-1, 3) for rows in recordings]
        rows = np.concatenate([*parts, np.zeros((0, 3))])
        numbers = np.repeat(np.arange(len(lengths)), lengths)
        return cls.from_columns(numbers, rows, len(lengths), n_classes)

    def of_recording(self, number: int) -> np.ndarray:
        """Returns the events of one recording, (n, 3) = class_index, onset_s, offset_s."""
        first, last = np.searchsorted(self.recording, [number, number + 1])
        part = slice(first, last)
        return np.column_stack([self.class_index[part], self.onset_s[part], self.offset_s[part]])

    def with_length(self) -> "EventTable":
        """Returns the events that end after they begin; others cannot be intersected."""
        kept = self.offset_s > self.onset_s
        number, index = self.recording[kept], self.class_index[kept]
        times = self.onset_s[kept], self.offset_s[kept]
        return EventTable(number, index, *times, self.n_recordings, self.n_classes)

    def merge_connected(self) -> "EventTable":
        """Returns a table with overlapping or touching events of one class joined, sorted."""
        order = np.lexsort((self.onset_s, self.class_index, self.recording))
        recording, index = self.recording[order], self.class_index[order]
        onset_s, offset_s = self.onset_s[order], self.offset_s[order]
        new_group = np.r_[True, (np.diff(recording) != 0) | (np.diff(index) != 0)][: len(order)]
        starts = new_group.copy()
        reach = offset_s.copy()
        for row in range(1, len(order)):  # an event may end before an earlier one does
            if not new_group[row]:
                starts[row] = onset_s[row] > reach[row - 1]
                reach[row] = reach[row] if starts[row] else max(reach[row], reach[row - 1])
        first = np.flatnonzero(starts)
        last = np.append(first[1:], len(order)) - 1 if len(first) else first
        merged = recording[first], index[first], onset_s[first], reach[last]
        return EventTable(*merged, self.n_recordings, self.n_classes)

    def overlapping(self) -> np.ndarray:
        """Returns the recording of each event that overlaps an earlier one of its class, int."""
        order = np.lexsort((self.onset_s, self.class_index, self.recording))
        group = self.recording[order] * self.n_classes + self.class_index[order]
        onset_s, offset_s = self.onset_s[order], self.offset_s[order]
        apart_s = np.ptp(np.concatenate([[0.0], onset_s, offset_s])) + 1.0
        reach = np.maximum.accumulate(offset_s + group * apart_s) - group * apart_s
        later = np.flatnonzero((group[1:] == group[:-1]) & (onset_s[1:] < reach[:-1] - 1e-6)) + 1
        return self.recording[order][later]

    def counts(self) -> np.ndarray:
        """Returns the number of events of each class, int (K,)."""
        return np.bincount(self.class_index, minlength=self.n_classes)


def events_frame(
    names: Sequence[str], recordings: Sequence[np.ndarray], labels: Sequence[str]
) -> "pd.DataFrame":
    """Writes events as a data frame with the columns of `EVENT_COLUMNS`.

    Args:
        names: file name of each recording.
        recordings: its events (n, 3) = class_index, onset_s, offset_s.
        labels: class names.
    """
    import pandas as pd

    parts = [np.asarray(rows, np.float64).reshape(-1, 3) for rows in recordings]
    rows = np.concatenate([*parts, np.zeros((0, 3))])
    columns = [
        np.repeat(np.asarray(names, dtype=object), [len(part) for part in parts]),
        rows[:, 1],
        rows[:, 2],
        np.asarray(labels, dtype=object)[rows[:, 0].astype(np.int64)],
    ]
    return pd.DataFrame(dict(zip(EVENT_COLUMNS, columns, strict=True)))

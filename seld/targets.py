"""Targets of networks that answer in label frames, made from the rows of a recording.

Three forms, all from one table of slots, float32 (T', slots, 1 + axes, K), activity first:

- class-wise: one slot, in which the last row of a class in a frame wins. Activity and vectors are
  the targets of separate heads; activity times vector is ACCDOA.
- multi-ACCDOA: for three tracks, six slots A0 | B0, B1 | C0, C1, C2, for one, two, or three sources
  of a class at once, from which the ADPIT loss makes its permutations.
- tracks: a slot for each track of the network; a source stays on its track from frame to frame.

Frames outside a recording, and recordings without labels, have activity -1; axes that are not
known, such as the distance in annotations without one, are NaN.

References:
    Shimada et al., "ACCDOA: activity-coupled Cartesian direction of arrival representation for
    sound event localization and detection", ICASSP 2021, arXiv:2010.15306; "Multi-ACCDOA",
    ICASSP 2022, arXiv:2110.07124. Cao et al., "An improved event-independent network for
    polyphonic sound event localization and detection", ICASSP 2021, arXiv:2010.13092.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from seld.config import TaskConfig
from seld.dataset import Events
from seld.geometry import vectors_of_angles
from seld.labels import Rule, rows_of_events
from seld.recordings.rows import (
    AZIMUTH,
    CLASS,
    DISTANCE,
    ELEVATION,
    FRAME,
    ONSCREEN,
    SOURCE,
    ranks,
    spans,
)

Form = Literal["classwise", "multi", "tracks"]
Axis = Literal["x", "y", "z", "distance", "onscreen"]

UNKNOWN = -1.0  # activity in frames that losses ignore


@dataclass(frozen=True)
class SlotTable:
    """Rows of a recording with their slots, sorted by frame.

    Attributes:
        frame: int64 (n,).
        klass: int64 (n,).
        slot: int64 (n,), -1 for rows without one.
        values: float32 (n, axes).
    """

    frame: np.ndarray
    klass: np.ndarray
    slot: np.ndarray
    values: np.ndarray

    @property
    def n_lost(self) -> int:
        """Rows without a slot: more sources at once than the form can hold."""
        return int(np.sum(self.slot < 0))


@dataclass(frozen=True)
class TargetForm:
    """Form and sizes of the targets.

    Attributes:
        form: see above.
        n_classes: K.
        axes: what is learned of each source besides its activity, in order.
        n_tracks: tracks of the network, for the forms "multi" and "tracks"; more sources of one
            class at once, or more sources at once, have no slot.
        distance_scale: distances in metres times this; 100: centimetres, as the published
            single-ACCDOA targets of 2024 have them.
    """

    form: Form
    n_classes: int
    axes: tuple[Axis, ...] = ("x", "y", "z")
    n_tracks: int = 3
    distance_scale: float = 1.0

    @property
    def n_slots(self) -> int:
        """Slots of each class."""
        n = self.n_tracks
        return {"classwise": 1, "multi": n * (n + 1) // 2, "tracks": n}[self.form]

    @property
    def n_coordinates(self) -> int:
        """Coordinates of a direction: 3, or 2 for x and y."""
        return sum(axis in "xyz" for axis in self.axes)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of the targets of one frame: (slots, 1 + axes, K)."""
        return self.n_slots, 1 + len(self.axes), self.n_classes

    def table(self, rows: np.ndarray) -> SlotTable:
        """Deals the rows of a recording to slots.

        Args:
            rows: (n, 7), see `seld.recordings.rows`, in the order of the annotation.
        """
        if (np.diff(rows[:, FRAME]) < 0).any():  # annotations are in order, nearly always
            rows = rows[np.argsort(rows[:, FRAME], kind="stable")]
        frame, klass = rows[:, FRAME].astype(np.int64), rows[:, CLASS].astype(np.int64)
        if self.form == "tracks":
            slot = assign_tracks(rows, self.n_tracks)
        else:
            rank, count = ranks(frame * self.n_classes + klass)
            if self.form == "classwise":
                slot = np.where(rank == count - 1, 0, -1)
            else:
                held = np.minimum(count, self.n_tracks)
                slot = np.where(rank < self.n_tracks, held * (held - 1) // 2 + rank, -1)
        return SlotTable(frame, klass, slot, self._values(rows))

    def fill(self, table: SlotTable, label_frames: np.ndarray, n_frames: int) -> np.ndarray:
        """Makes the targets of some label frames.

        Args:
            table: of the recording.
            label_frames: int (T',), in ascending order.
            n_frames: label frames of the recording; 0 for one without labels.

        Returns:
            float32 (T', slots, 1 + axes, K).
        """
        targets = np.zeros((len(label_frames), *self.shape), np.float32)
        place, row = _in_frames(table.frame, label_frames)
        slot = table.slot[row]
        if (slot < 0).any():
            kept = slot >= 0
            place, row, slot = place[kept], row[kept], slot[kept]
        klass = table.klass[row]
        targets[place, slot, 0, klass] = 1.0
        targets[place, slot, 1:, klass] = table.values[row]
        targets[label_frames >= n_frames, :, 0] = UNKNOWN
        return targets

    def whole(self, rows: np.ndarray, n_frames: int) -> np.ndarray:
        """Targets of a whole recording, float32 (n_frames, slots, 1 + axes, K)."""
        return self.fill(self.table(rows), np.arange(n_frames), n_frames)

    def _values(self, rows: np.ndarray) -> np.ndarray:
        vectors = vectors_of_angles(rows[:, AZIMUTH], rows[:, ELEVATION])  # (n, 3)
        columns = {
            **dict(zip("xyz", vectors.T, strict=True)),
            "distance": rows[:, DISTANCE] * self.distance_scale,
            "onscreen": rows[:, ONSCREEN],
        }
        values = [columns[name] for name in self.axes]
        return np.stack(values, axis=1).astype(np.float32).reshape(len(rows), len(self.axes))


def _in_frames(frame: np.ndarray, label_frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of ascending frames (n,) in each of `label_frames` (T',): its place, and the row."""
    begin, end = (np.searchsorted(frame, label_frames, side) for side in ("left", "right"))
    return spans(begin, end)


def assign_tracks(rows: np.ndarray, n_tracks: int) -> np.ndarray:
    """Deals rows to tracks so that a source keeps its track from one frame to the next.

    A row takes the first free track of its frame; but where another track had the same class and
    source number in the frame before, it takes that one, and what was there moves to the free one.

    Args:
        rows: (n, 7), sorted by frame.
        n_tracks: number of tracks.

    Returns:
        int64 (n,), -1 for rows beyond the number of tracks in their frame.
    """
    tracks = np.full(len(rows), -1, np.int64)
    before: list[tuple | None] = [None] * n_tracks
    here: list[int | None] = [None] * n_tracks  # row on each track
    identities = [tuple(pair) for pair in np.nan_to_num(rows[:, [CLASS, SOURCE]], nan=-1.0)]
    frames = rows[:, FRAME].astype(np.int64).tolist()
    current = -1
    for number, (frame, identity) in enumerate(zip(frames, identities, strict=True)):
        if frame != current:
            follows = frame == current + 1
            before = [identities[row] if row is not None and follows else None for row in here]
            here, current = [None] * n_tracks, frame
        free = next((track for track, row in enumerate(here) if row is None), None)
        if free is None:
            continue
        wanted = [track for track in range(n_tracks) if before[track] == identity]
        track = free if not wanted or free in wanted else wanted[0]
        moved = here[track]
        if moved is not None:
            here[free], tracks[moved] = moved, free
        here[track], tracks[number] = number, track
    return tracks


@dataclass(frozen=True)
class RecordingTable:
    """Sources of a recording.

    Attributes:
        rows: (n, 7), see `seld.recordings.rows`, sorted by frame.
        slots: places of the rows in the targets.
        n_frames: label frames; 0 without labels.
    """

    rows: np.ndarray
    slots: SlotTable
    n_frames: int

    def rows_at(self, frames: np.ndarray) -> np.ndarray:
        """Rows in label frames (T',), ascending, with their place among these as frame."""
        place, row = _in_frames(self.rows[:, FRAME], frames)
        rows = self.rows[row]
        rows[:, FRAME] = place
        return rows


@dataclass(frozen=True)
class SeldTargets:
    """Targets of a SELD network, by output, made while batches are read.

    Outputs and their targets by form: class-wise with `activity`, that output (K) and "doa" (1 +
    axes, K); class-wise without, "accdoa" (1 + axes, K); multi, "accdoa" (slots, 1 + axes, K);
    tracks, "tracks" (tracks, K + 3), multi-hot classes and a vector. All of one output frame.

    Attributes:
        form: form and sizes.
        label_hop_s: hop length of the labels in seconds.
        feature_hop_s: hop length of the features in seconds.
        activity: name of the output for the activity, of networks with separate heads.
        rule: label frames that an event covers, see `seld.labels.event_frames`.
    """

    form: TargetForm
    label_hop_s: float
    feature_hop_s: float
    activity: str | None = None
    rule: Rule = "half_open"

    @classmethod
    def of(cls, task: TaskConfig, form: TargetForm, activity: str | None = None) -> "SeldTargets":
        """Targets in the label frames of a task's dataset."""
        dataset, features = task.dataset, task.features
        rule = "half_open" if dataset.is_framewise else features.label_rule
        return cls(form, dataset.label_hop_s, features.hop_s, activity, rule)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of the target of one output frame, by output."""
        n_slots, n_values, n_classes = self.form.shape
        if self.form.form == "tracks":
            return {"tracks": (n_slots, n_classes + n_values - 1)}
        if self.form.form == "multi":
            return {"accdoa": self.form.shape}
        if self.activity:
            return {self.activity: (n_classes,), "doa": (n_values, n_classes)}
        return {"accdoa": (n_values, n_classes)}

    @property
    def vectors(self) -> dict[str, tuple[int, int]]:
        """Axis of x, y, z in each target, counted from the last, and the place of x on it."""
        if self.form.form == "tracks":
            return {"tracks": (-1, self.form.n_classes)}
        return {name: (-2, 1) for name in self.shapes if name != self.activity}

    def table(self, events: np.ndarray, frames: int, labelled: bool) -> "RecordingTable":
        """Rows and slots of a recording, and its label frames, 0 without labels."""
        hop_ratio = self.feature_hop_s / self.label_hop_s
        n_frames = int(np.ceil(frames * hop_ratio - 1e-6)) if labelled else 0
        of_recording = Events.from_array(events)
        rows = rows_of_events(of_recording, n_frames, self.label_hop_s, self.rule)
        return self.table_of_rows(rows, n_frames)

    def table_of_rows(self, rows: np.ndarray, n_frames: int) -> "RecordingTable":
        """The same from rows (n, 7), see `seld.recordings.rows`."""
        rows = rows[np.argsort(rows[:, FRAME], kind="stable")]
        return RecordingTable(rows, self.form.table(rows), n_frames)

    def n_lost(self, table: "RecordingTable") -> int:
        """Sources in label frames for which the targets have no place."""
        return table.slots.n_lost

    def make(self, table: "RecordingTable", middles: np.ndarray) -> dict[str, np.ndarray]:
        """Targets by output, float32 (T', ...), at feature frames in the middle of outputs."""
        filled = self.form.fill(table.slots, self._label_frames(middles), table.n_frames)
        return self._by_output(filled)

    def mixed(
        self,
        tables: tuple["RecordingTable", "RecordingTable"],
        middles: np.ndarray,
        others: np.ndarray,
        max_sources: int,
    ) -> dict[str, np.ndarray] | None:
        """Targets of two recordings that sound at once.

        Args:
            tables: of both; frames outside the first are unknown, outside the second silent.
            middles: int (T',), feature frames of the first in the middle of outputs.
            others: int (T',), those of the second, which sound at the same times.
            max_sources: most sources at once.

        Returns:
            As `make`; None if a frame has more than `max_sources`, if a source has no place in the
            targets, or if the second has no labels.
        """
        first, second = tables
        if second.n_frames == 0:
            return None
        frames = self._label_frames(middles)
        parts = [first.rows_at(frames), second.rows_at(self._label_frames(others))]
        parts[1][:, SOURCE] += 1 + np.nan_to_num(parts[0][:, SOURCE]).max(initial=0.0)
        rows = np.concatenate(parts)
        slots = self.form.table(rows)
        if slots.n_lost or np.bincount(slots.frame).max(initial=0) > max_sources:
            return None
        n_known = int(np.sum(frames < first.n_frames))
        return self._by_output(self.form.fill(slots, np.arange(len(frames)), n_known))

    def _label_frames(self, middles: np.ndarray) -> np.ndarray:
        return np.floor(middles * self.feature_hop_s / self.label_hop_s + 1e-6).astype(int)

    def _by_output(self, filled: np.ndarray) -> dict[str, np.ndarray]:
        """Targets by output of those in slots (T', slots, 1 + axes, K)."""
        if self.form.form == "tracks":
            vectors = np.where(filled[:, :, :1] > 0, filled[:, :, 1:], 0.0).sum(axis=-1)
            return {"tracks": np.concatenate([filled[:, :, 0], vectors], axis=-1)}
        if self.form.form == "multi":
            return {"accdoa": filled}
        if self.activity:
            return {self.activity: filled[:, 0, 0], "doa": filled[:, 0]}
        return {"accdoa": filled[:, 0]}

"""Detections at every threshold, of all recordings of a set at once.

A detection is a stretch of frames whose scores reach the threshold. As the threshold falls,
stretches begin at local maxima, grow, and join at local minima: all detections of all thresholds
are the nodes of a forest with at most one node for each frame. Counts over all thresholds are sums
over its nodes: each node adds where it appears and is taken off where it joins a larger one. The
changes are kept by recording, so that resampled or left out recordings only change their weights.

References:
    Ebbers, Haeb-Umbach, Serizel, "Threshold independent evaluation of sound event detection
    scores", ICASSP 2022, arXiv:2201.13148.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from common.events.table import EventTable

DECIMALS = 6  # times are compared to a microsecond, against rounding errors at a limit
_NEAR_S = 2e-6  # only closer times need rounding


@dataclass(frozen=True)
class Frames:
    """Frames of the recordings of a set, one recording after another.

    Attributes:
        first: int (N + 1,), number of the first frame of each recording, F last.
        onset_s: (F,), seconds from the recording's start.
        offset_s: (F,), within a recording the onset of the next frame.
    """

    first: np.ndarray
    onset_s: np.ndarray
    offset_s: np.ndarray

    @classmethod
    def from_edges(cls, edges_s: Sequence[np.ndarray]) -> "Frames":
        """Builds frames from the edges of each recording's frames, (frames + 1,), rising."""
        counts = np.array([max(len(edges) - 1, 0) for edges in edges_s], np.int64)
        parts = [np.asarray(edges, np.float64) for edges in edges_s]
        onset_s = np.concatenate([np.zeros(0), *(edges[:-1] for edges in parts)])
        offset_s = np.concatenate([np.zeros(0), *(edges[1:] for edges in parts)])
        return cls(np.concatenate([[0], np.cumsum(counts)]), onset_s, offset_s)

    @classmethod
    def regular(
        cls, n_frames: Sequence[int], hop_s: float, lengths_s: np.ndarray | float = np.inf
    ) -> "Frames":
        """Builds frames of `hop_s` seconds that end with their recording, at `lengths_s`."""
        counts = np.asarray(n_frames, np.int64)
        first = np.concatenate([[0], np.cumsum(counts)])
        number = np.arange(first[-1]) - np.repeat(first[:-1], counts)
        ends_s = np.repeat(np.broadcast_to(np.asarray(lengths_s, np.float64), counts.shape), counts)
        times_s = (np.minimum((number + step) * hop_s, ends_s) for step in (0, 1))
        return cls(first, *times_s)

    @property
    def n_recordings(self) -> int:
        """Number of recordings, N."""
        return len(self.first) - 1

    @cached_property
    def recording(self) -> np.ndarray:
        """Recording of each frame, int (F,)."""
        return np.repeat(np.arange(self.n_recordings), np.diff(self.first))


@dataclass(frozen=True)
class Detections:
    """Detections of one class at all thresholds, R in number.

    Attributes:
        frames: of the set.
        values: (U,), occurring scores, rising; threshold number u accepts scores of at least
            values[u].
        level_of_frame: int (F,), number of each frame's own score; -1 for minus infinity.
        peak: int (R,), frame at whose score a detection appears.
        joined: int (R,), frame at whose score it is part of a larger detection; -1: never.
        begin: int (R,), first frame.
        end: int (R,), frame after the last.
    """

    frames: Frames
    values: np.ndarray
    level_of_frame: np.ndarray
    peak: np.ndarray
    joined: np.ndarray
    begin: np.ndarray
    end: np.ndarray

    @cached_property
    def recording(self) -> np.ndarray:
        """Recording of each detection, int (R,)."""
        return self.frames.recording[self.peak]

    @cached_property
    def onset_s(self) -> np.ndarray:
        """Onsets in seconds, (R,)."""
        return self.frames.onset_s[self.begin]

    @cached_property
    def offset_s(self) -> np.ndarray:
        """Offsets in seconds, (R,)."""
        return self.frames.offset_s[self.end - 1]

    @cached_property
    def level(self) -> np.ndarray:
        """Number of the highest threshold at which each exists, int (R,)."""
        return self.level_of_frame[self.peak]

    @cached_property
    def until(self) -> np.ndarray:
        """Number of the threshold at which each no longer exists, int (R,); -1: none."""
        return np.where(self.joined >= 0, self.level_of_frame[self.joined], -1)

    @cached_property
    def lengths_s(self) -> np.ndarray:
        """Lengths in seconds, (R,)."""
        return self.offset_s - self.onset_s

    @cached_property
    def all_steps(self) -> "Steps":
        """Changes of the number of all detections."""
        return self._steps(self.peak, self.joined)

    def steps(self, chosen: np.ndarray) -> "Steps":
        """Returns the changes of the number of chosen detections, by index or mask."""
        return self._steps(self.peak[chosen], self.joined[chosen])

    def _steps(self, peak: np.ndarray, joined: np.ndarray) -> "Steps":
        size = len(self.level_of_frame)
        change = np.bincount(peak, minlength=size)
        change -= np.bincount(joined[joined >= 0], minlength=size)
        moved = np.flatnonzero(change)
        return Steps(
            self.level_of_frame[moved], self.frames.recording[moved], change[moved].astype(float)
        )


def all_detections(frames: Frames, scores: np.ndarray) -> Detections:
    """Finds the detections of one class at all thresholds, without those of no length.

    Args:
        frames: of the set.
        scores: (F,) of the class; minus infinity where no threshold gives a detection.
    """
    scores = np.asarray(scores, np.float64)
    values, level = np.unique(scores, return_inverse=True)
    if len(values) and values[0] == -np.inf:
        values, level = values[1:], level - 1
    # One frame below all thresholds stands before each recording, and one at the end.
    place = np.arange(len(scores)) + frames.recording + 1
    padded = np.full(len(scores) + frames.n_recordings + 1, -1, np.int32)
    padded[place] = level
    left, right = _lower_neighbours(padded)
    top = place[(level >= 0) & (padded[left[place]] < level)]  # the first of equals in a stretch
    before, after = left[top], right[top]
    parent = np.where(padded[before] >= padded[after], before, after)
    frame_of = np.full(len(padded), -1)
    frame_of[place] = np.arange(len(scores))
    joined = np.where(padded[parent] >= 0, frame_of[parent], -1)
    begin = frame_of[before + 1]
    end = begin + (after - before - 1)
    lasting = frames.onset_s[begin] < frames.offset_s[end - 1]
    parts = (each[lasting] for each in (frame_of[top], joined, begin, end))
    return Detections(frames, values, level, *parts)


def _lower_neighbours(level: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Finds the nearest frame on the left that is not higher, and on the right that is lower.

    Both are looked for in all places at once: where a neighbour is still too high, all frames up to
    that neighbour's own are, and the search goes on there, so that distances double.

    Args:
        level: int (P,), -1 at both ends and wherever nothing is looked for.
    """
    found = []
    for step in (-1, 1):
        neighbour = np.arange(len(level)) + step
        beside = np.roll(level, -step)
        searched = np.flatnonzero((level >= 0) & (beside > level if step < 0 else beside >= level))
        lowest = level[searched]
        while len(searched):
            further = neighbour[neighbour[searched]]
            neighbour[searched] = further
            reached = level[further]
            high = reached > lowest if step < 0 else reached >= lowest
            searched, lowest = searched[high], lowest[high]
        found.append(neighbour)
    return found[0], found[1]


@dataclass(frozen=True)
class Steps:
    """Changes of a count as the threshold falls, by recording, E in number.

    Attributes:
        level: int (E,), number of the threshold from which on the change counts, downwards.
        recording: int (E,).
        change: (E,).
        other: int (E,), another class that the change is about; None: of no other.
    """

    level: np.ndarray
    recording: np.ndarray
    change: np.ndarray
    other: np.ndarray | None = field(default=None)

    @classmethod
    def none(cls) -> "Steps":
        """No change at all."""
        return cls(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))

    def minus(self, taken: "Steps") -> "Steps":
        """Returns the changes of the difference of two counts."""
        return Steps(
            np.concatenate([self.level, taken.level]),
            np.concatenate([self.recording, taken.recording]),
            np.concatenate([self.change, -taken.change]),
        )

    def totals(
        self, n_levels: int, weights: np.ndarray | None = None, of_other: np.ndarray | None = None
    ) -> np.ndarray:
        """Returns the count at each threshold, and 0 for a threshold above all, (U + 1,).

        Args:
            n_levels: number of thresholds, U.
            weights: (N,), how often each recording counts; None: once.
            of_other: (K,), factor of changes about another class; None: 1.
        """
        change = self.change
        if weights is not None:
            change = change * weights[self.recording]
        if of_other is not None and self.other is not None:
            change = change * of_other[self.other]
        sums = np.bincount(self.level, change, minlength=n_levels + 1)
        return np.cumsum(sums[::-1])[::-1]


class Coverage:
    """Seconds of true events within stretches of frames, for all classes.

    Sums are held only for pairs of recording and class that occur, however many classes there are.

    Args:
        reference: true events; those of one class in a recording do not overlap.
        frames: of the set.
    """

    def __init__(self, reference: EventTable, frames: Frames):
        self.frames = frames
        keys = reference.recording * reference.n_classes + reference.class_index
        pairs, pair_of_event = np.unique(keys, return_inverse=True)
        recording, self.class_of_pair = np.divmod(pairs, max(reference.n_classes, 1))
        sizes = np.diff(frames.first)[recording] + 1
        offsets = np.cumsum(sizes) - sizes
        self.first_pair = np.searchsorted(recording, np.arange(frames.n_recordings + 1))
        self._base = offsets - frames.first[recording]  # plus a frame: its place in the sums
        self._before = self._sums(reference, offsets[pair_of_event], int(sizes.sum()))

    def _sums(self, reference: EventTable, offsets: np.ndarray, size: int) -> np.ndarray:
        """Seconds of events before each frame, (sum of frames + 1 of each pair)."""
        frames, recording = self.frames, reference.recording
        event, frame = spread(frames.first[recording], frames.first[recording + 1])
        ends = np.minimum(frames.offset_s[frame], reference.offset_s[event])
        shared = ends - np.maximum(frames.onset_s[frame], reference.onset_s[event])
        inside = shared > 0
        event, frame = event[inside], frame[inside]
        place = offsets[event] + 1 + frame - frames.first[recording[event]]
        return np.cumsum(np.bincount(place, shared[inside], minlength=size))

    def pairs_of_class(self, k: int) -> np.ndarray:
        """Returns the pair of each recording with class k, int (N,); -1 where there is none."""
        found = np.full(self.frames.n_recordings, -1)
        pairs = np.flatnonzero(self.class_of_pair == k)
        found[np.searchsorted(self.first_pair, pairs, side="right") - 1] = pairs
        return found

    def shared_s(self, pair: np.ndarray, begin: np.ndarray, end: np.ndarray) -> np.ndarray:
        """Returns the seconds of a pair's events within frames [begin, end) of its recording."""
        base = self._base[pair]
        return self._before[base + end] - self._before[base + begin]


def spread(first: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lists the numbers of ranges [first, last): index of the range, and number, for each."""
    lengths = last - first
    index = np.repeat(np.arange(len(first)), lengths)
    return index, np.arange(len(index)) - np.repeat(np.cumsum(lengths) - lengths - first, lengths)


def at_least(seconds: np.ndarray, limit_s: np.ndarray) -> np.ndarray:
    """Compares times rounded to a microsecond; true where `seconds` is not the smaller."""
    seconds, limit_s = np.broadcast_arrays(seconds, limit_s)
    reached = seconds > limit_s
    near = np.abs(seconds - limit_s) < _NEAR_S
    if near.any():
        reached[near] = np.round(seconds[near], DECIMALS) >= np.round(limit_s[near], DECIMALS)
    return reached

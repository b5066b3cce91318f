"""Sources followed through label frames: rows of one class that go on from frame to frame."""

import numpy as np

from seld.geometry import cartesian_distance, vectors_of_angles
from seld.metrics.matching import assign
from seld.recordings.rows import AZIMUTH, CLASS, ELEVATION, FRAME, SOURCE, wide_rows


class SourceTracker:
    """Gives the rows of a recording numbers of sources, part by part.

    In each frame, as many rows of a class as possible go on with the sources of the frame before,
    those together that have the least total angle; the others are new sources. One row of a class
    in each frame is one source until the first frame without it.
    """

    def __init__(self) -> None:
        self._frame, self._n_sources = -2, 0
        self._last: dict[int, tuple[np.ndarray, np.ndarray]] = {}  # by class: numbers, vectors

    def number(self, rows: np.ndarray, first_frame: int = 0) -> np.ndarray:
        """Numbers the rows of the next frames.

        Args:
            rows: sorted by frame, see `seld.recordings.rows`, only frames after those given before.
            first_frame: number of the frame that is 0 in `rows`.

        Returns:
            int64 (n,), from 0 on, different for all sources of the recording.
        """
        numbers = np.zeros(len(rows), np.int64)
        vectors = vectors_of_angles(rows[:, AZIMUTH], rows[:, ELEVATION])
        frames, classes = rows[:, FRAME].astype(int) + first_frame, rows[:, CLASS].astype(int)
        starts = np.flatnonzero(np.diff(frames, prepend=-1))
        ends = np.append(starts[1:], len(rows))[: len(starts)]
        for begin, end in zip(starts, ends, strict=True):
            follows = frames[begin] == self._frame + 1
            before, self._last = self._last if follows else {}, {}
            self._frame = int(frames[begin])
            here = np.arange(begin, end)
            for k in dict.fromkeys(classes[begin:end].tolist()):
                own = here[classes[begin:end] == k]
                numbers[own] = self._continued(before.get(k), vectors[own])
                self._last[k] = numbers[own], vectors[own]
        return numbers

    def _continued(
        self, before: tuple[np.ndarray, np.ndarray] | None, vectors: np.ndarray
    ) -> np.ndarray:
        """Numbers of the rows (n, 3) of a class in a frame, given those of the frame before."""
        numbers = np.full(len(vectors), -1, np.int64)
        if before is not None and len(before[0]) == len(vectors) == 1:
            return before[0]
        if before is not None:
            apart = cartesian_distance(vectors[:, None], before[1][None])  # (n, m)
            rows, sources = assign(np.degrees(np.nan_to_num(apart, nan=np.pi))[None])
            numbers[rows[0]] = before[0][sources[0]]
        new = numbers < 0
        numbers[new] = self._n_sources + np.arange(new.sum())
        self._n_sources += int(new.sum())
        return numbers


def with_voices(rows: np.ndarray) -> np.ndarray:
    """Rows (n, 7) whose source is its number among those of its class, see `voices`."""
    numbered = wide_rows(rows).copy()
    numbered[:, SOURCE] = voices(rows)
    return numbered


def voices(rows: np.ndarray) -> np.ndarray:
    """Numbers the sources of one class that are there at the same time, to tell them apart.

    Args:
        rows: (n, 4) or (n, 7), see `seld.recordings.rows`, in any order; sources are those of their
            numbers where these differ in each frame, otherwise they are followed by
            `SourceTracker`.

    Returns:
        int64 (n,), for each class from 0 on: the lowest number that no other of its sources has
        between the first and the last frame of the source.
    """
    rows = wide_rows(rows)
    sources = rows[:, SOURCE].copy()
    different = len(np.unique(rows[:, [FRAME, CLASS, SOURCE]], axis=0)) == len(rows)
    if np.isnan(sources).any() or not different:
        order = np.argsort(rows[:, FRAME], kind="stable")
        sources[order] = SourceTracker().number(rows[order])
    identities, owner = np.unique(
        np.column_stack([rows[:, CLASS], sources]), axis=0, return_inverse=True
    )
    owner = owner.reshape(-1)
    first, last = np.full(len(identities), np.inf), np.full(len(identities), -np.inf)
    np.minimum.at(first, owner, rows[:, FRAME])
    np.maximum.at(last, owner, rows[:, FRAME])
    voice, ends_of = np.zeros(len(identities), np.int64), dict[float, list[float]]()
    for number in np.argsort(first, kind="stable"):
        ends = ends_of.setdefault(identities[number, 0], [])
        free = (place for place, end in enumerate(ends) if end < first[number])
        place = next(free, len(ends))
        ends[place : place + 1] = [last[number]]
        voice[number] = place
    return voice[owner]

"""Downsampling of long recordings for figures, in memory that does not grow with their length."""

import numpy as np

_MAX_COLUMNS = 3000  # a figure has fewer pixels


class Columns:
    """Maxima of groups of frames; the groups grow with the recording."""

    def __init__(self, n_max: int = _MAX_COLUMNS):
        self.frames_per_column, self._n_max = 1, n_max
        self._columns: np.ndarray | None = None
        self._rest: np.ndarray | None = None  # frames that do not fill a column
        self.n_frames = 0

    def add(self, frames: np.ndarray) -> None:
        """Takes in the next frames (T, ...)."""
        if not len(frames):
            return
        self.n_frames += len(frames)
        frames = np.asarray(frames, np.float32)
        waiting = frames if self._rest is None else np.concatenate([self._rest, frames])
        whole = len(waiting) // self.frames_per_column * self.frames_per_column
        new = _largest(waiting[:whole], self.frames_per_column)
        self._rest = waiting[whole:].copy()
        self._columns = new if self._columns is None else np.concatenate([self._columns, new])
        while len(self._columns) >= 2 * self._n_max:
            even = len(self._columns) // 2 * 2
            odd = np.repeat(self._columns[even:], self.frames_per_column, axis=0)
            self._rest = np.concatenate([odd, self._rest])
            self._columns = _largest(self._columns[:even], 2)
            self.frames_per_column *= 2

    @property
    def values(self) -> np.ndarray:
        """Columns so far, float32 (n, ...), fewer than twice `n_max`, and one for the rest."""
        if self._columns is None or self._rest is None:
            return np.zeros((0, 0), np.float32)
        if not len(self._rest):
            return self._columns
        return np.concatenate([self._columns, self._rest.max(axis=0)[None]])


class Rows:
    """Rows (n, columns) that begin with a frame number; of many rows some frames are dropped."""

    def __init__(self, n_columns: int, n_max: int = 10 * _MAX_COLUMNS):
        self.frames_per_row, self._n_max = 1, n_max
        self._rows = np.zeros((0, n_columns))

    def add(self, rows: np.ndarray) -> None:
        """Takes in the rows of the next frames."""
        self._rows = np.concatenate([self._rows, rows[rows[:, 0] % self.frames_per_row == 0]])
        while len(self._rows) > self._n_max:
            self.frames_per_row *= 2
            self._rows = self._rows[self._rows[:, 0] % self.frames_per_row == 0]

    @property
    def values(self) -> np.ndarray:
        """Rows that are kept, numbered by the frames that are kept."""
        return self._rows / np.array([self.frames_per_row] + [1] * (self._rows.shape[1] - 1))


def _largest(frames: np.ndarray, n: int) -> np.ndarray:
    return frames.reshape(-1, n, *frames.shape[1:]).max(axis=1) if n > 1 else frames

"""Mean and standard deviation of features, accumulated in one pass and merged over recordings."""

from dataclasses import dataclass

import numpy as np

from common.errors import DataError

_BLOCK_FRAMES = 128  # float32 sums of so few numbers lose nothing that matters
_CONSTANT = 1e-6  # standard deviations this small against the mean are rounding, not signal


@dataclass
class RunningStatistics:
    """Number of frames, mean and sum of squared deviations (M2) of every band and channel.

    Attributes:
        count: number of frames.
        mean: float64 (F, C).
        m2: float64 (F, C), sum over frames of (x - mean)^2.

    References:
        Chan, Golub, LeVeque, "Algorithms for computing the sample variance", Am. Stat. 37(3), 1983.
    """

    count: int
    mean: np.ndarray
    m2: np.ndarray

    @classmethod
    def empty(cls, shape: tuple[int, ...]) -> "RunningStatistics":
        """Statistics of no frames, for arrays of `shape`, (F, C)."""
        return cls(0, np.zeros(shape), np.zeros(shape))

    @classmethod
    def from_arrays(
        cls, count: np.ndarray, mean: np.ndarray, m2: np.ndarray
    ) -> "RunningStatistics":
        """Statistics from a file.

        Raises:
            ValueError: the statistics are impossible.
        """
        whole = count.shape == () and count.dtype.kind in "iu" and count >= 0
        typed = mean.dtype == m2.dtype == np.float64
        if not whole or not typed or mean.shape != m2.shape:
            raise ValueError("expected a number of frames, and means and squares of one shape")
        if not (np.isfinite(mean).all() and np.isfinite(m2).all() and (m2 >= 0).all()):
            raise ValueError("expected finite means and squares that are not negative")
        return cls(int(count), mean, m2)

    def update(self, frames: np.ndarray) -> None:
        """Adds frames (T, F, C) of any float type."""
        for start in range(0, len(frames), _BLOCK_FRAMES):
            block = frames[start : start + _BLOCK_FRAMES]
            block = block.astype(np.float32, copy=False)  # (t, F, C)
            mean = block.mean(axis=0)
            deviations = block - mean
            rest = deviations.mean(axis=0)  # rounding error of the mean
            m2 = np.einsum("t...,t...->...", deviations, deviations)
            mean, m2 = mean.astype(np.float64) + rest, m2.astype(np.float64)
            self.merge(RunningStatistics(len(block), mean, m2))

    def merge(self, other: "RunningStatistics") -> None:
        """Adds the frames of `other`."""
        if other.count == 0:
            return
        count = self.count + other.count
        difference = other.mean - self.mean
        self.mean = self.mean + difference * (other.count / count)
        self.m2 = self.m2 + other.m2 + difference**2 * (self.count * other.count / count)
        self.count = count

    @property
    def mean_square(self) -> np.ndarray:
        """Mean of the squares, float64 (F, C)."""
        return self.mean**2 + self.m2 / max(self.count, 1)

    def over_bands(self) -> "RunningStatistics":
        """Statistics of all bands and channels together, the same for each of them."""
        centre = self.mean.mean()
        m2 = self.m2.sum() + self.count * np.sum((self.mean - centre) ** 2)
        shape = self.mean.shape
        return RunningStatistics(
            self.count * self.mean.size, np.full(shape, centre), np.full(shape, m2)
        )

    def mean_std(self, ddof: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation; the latter is 1 for constant values, for safe division.

        Args:
            ddof: the variance is divided by n - ddof, for n frames.

        Returns:
            Two float32 arrays (F, C).

        Raises:
            DataError: there are no frames.
        """
        if self.count == 0:
            text = "No features to compute mean and standard deviation from."
            raise DataError(f"{text} Expected: at least one recording.")
        std = np.sqrt(self.m2 / max(self.count - ddof, 1))
        constant = std <= _CONSTANT * np.abs(self.mean)
        return self.mean.astype(np.float32), np.where(constant, 1.0, std).astype(np.float32)

"""Seeded random numbers: one independent stream per purpose, and ranges that can be narrowed."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

Option = TypeVar("Option")


def random_stream(seed: int, *labels: object) -> np.random.Generator:
    """Makes the generator of a list of labels, the same in every process and order of calls.

    Args:
        seed: root seed of the dataset.
        labels: purpose of the numbers, such as ("tau2019", 1, "split1_ir0_ov1_1", "timeline").

    Returns:
        Generator that is independent of those of other labels.
    """
    words = [zlib.crc32(str(label).encode("utf-8")) for label in labels]
    return np.random.default_rng(np.random.SeedSequence([seed, *words]))


@dataclass(frozen=True)
class Draw:
    """Random parameters of one sound.

    Attributes:
        rng: source of the numbers.
        variation: width of the ranges, from 0 (only their centres) to 1 (whole ranges).
    """

    rng: np.random.Generator
    variation: float = 1.0

    def uniform(self, low: float, high: float) -> float:
        """Draws a number from the uniform distribution over [low, high]."""
        return float(self.uniforms(low, high, 1)[0])

    def uniforms(self, low: float, high: float, n: int) -> np.ndarray:
        """Draws `n` numbers from the uniform distribution over [low, high], float64 (n,)."""
        centre, half_width = (low + high) / 2, (high - low) / 2 * self.variation
        return self.rng.uniform(centre - half_width, centre + half_width, n)

    def log_uniform(self, low: float, high: float) -> float:
        """Draws a positive number from the log-uniform distribution over [low, high]."""
        return float(self.log_uniforms(low, high, 1)[0])

    def log_uniforms(self, low: float, high: float, n: int) -> np.ndarray:
        """Draws `n` positive numbers from the log-uniform distribution, float64 (n,)."""
        return np.exp(self.uniforms(np.log(low), np.log(high), n))

    def count(self, low: int, high: int) -> int:
        """Draws a whole number from low, low + 1 ... high."""
        return min(int(self.uniform(low, high + 1)), high)

    def choice(self, options: Sequence[Option]) -> Option:
        """Picks one of the options, all equally likely."""
        return options[int(self.rng.integers(len(options)))]

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return bool(self.rng.random() < probability)

    def noise(self, n: int) -> np.ndarray:
        """Draws white Gaussian noise of unit variance, float32 (n,)."""
        return self.rng.standard_normal(n, dtype=np.float32)

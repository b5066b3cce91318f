"""Bootstrap intervals of scores: recordings are drawn again, with their counts.

Scores of a resample are those of its summed counts, so nothing is detected twice: a resample is a
weight for each recording.

References:
    Efron, "Bootstrap methods: another look at the jackknife", Ann. Statist. 7(1), 1979.
    sed_scores_eval 0.0.4 (the shuffled copies).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

CONFIDENCE = 0.9
N_RESAMPLES = 100

Draws = Literal["independent", "shuffled_copies"]


@dataclass(frozen=True)
class Interval:
    """Mean of a score over resamples, and the limits between which most of them lie.

    Attributes:
        mean: over the resamples where the score is defined.
        low: lower percentile, the 5th for a confidence of 0.9.
        high: upper percentile.
    """

    mean: float
    low: float
    high: float


def draw_weights(
    n_recordings: int, n_resamples: int = N_RESAMPLES, seed: int = 0, draws: Draws = "independent"
) -> np.ndarray:
    """Draws resamples of the size of the set, as weights (n_resamples, N).

    Args:
        n_recordings: N.
        n_resamples: number of resamples.
        seed: of the draws.
        draws: independent: each recording with equal chances each time; shuffled_copies: one
            shuffle of `n_resamples` copies of the set in the order of their names is cut into
            resamples, so that each recording occurs equally often over all of them, as in
            sed_scores_eval (whose seed is 0). That makes intervals a little narrower.

    Raises:
        ValueError: there is no recording or no resample.
    """
    if n_recordings < 1 or n_resamples < 1:
        raise ValueError(
            "Expected: at least one recording and one resample. Received:"
            f" {n_recordings} and {n_resamples}."
        )
    if draws == "shuffled_copies":
        numbers = np.tile(np.arange(n_recordings), n_resamples)
        np.random.RandomState(seed).shuffle(numbers)
        numbers = numbers.reshape(n_resamples, n_recordings)
    else:
        shape = n_resamples, n_recordings
        numbers = np.random.default_rng(seed).integers(0, n_recordings, shape)
    return weights_of_draws(numbers, n_recordings)


def weights_of_draws(numbers: np.ndarray, n_recordings: int) -> np.ndarray:
    """Counts how often each recording was drawn, (n_resamples, N), from numbers of recordings."""
    counts = [np.bincount(each, minlength=n_recordings) for each in np.asarray(numbers)]
    return np.stack(counts).astype(np.float64)


def bootstrap(
    score: Callable[[np.ndarray], Mapping[str, float]], weights: np.ndarray
) -> dict[str, np.ndarray]:
    """Computes scores of all resamples, (n_resamples,) by name.

    Args:
        score: from the weights of the recordings (N,) to scores by name.
        weights: of `draw_weights`.
    """
    rows = [score(each) for each in weights]
    return {name: np.array([row[name] for row in rows], np.float64) for name in rows[0]}


def interval(values: np.ndarray, confidence: float = CONFIDENCE) -> Interval:
    """Computes mean and percentiles of the scores of resamples.

    Args:
        values: (n_resamples,), NaN where a score is undefined.
        confidence: share of the resamples within the interval, in (0, 1).

    Raises:
        ValueError: `confidence` is out of range.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"Expected: a confidence between 0 and 1. Received: {confidence}.")
    known = values[np.isfinite(values)]
    if not len(known):
        return Interval(float("nan"), float("nan"), float("nan"))
    tail = 50 * (1 - confidence)
    low, high = np.percentile(known, [tail, 100 - tail])
    return Interval(float(known.mean()), float(low), float(high))

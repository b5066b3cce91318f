"""Confidence intervals of the scores: jackknife over recordings.

Each recording is left out in turn; since counts are kept by recording, a set without one of them
is scored from the sum of all counts minus its own. The interval lies around the bias-corrected
estimate, as in the published code of 2022 to 2024, and is not clipped to the range of the score.

References:
    Efron, Stein, "The jackknife estimate of variance", Ann. Statist. 9(3), 1981. Mesaros et al.,
    "Sound event detection in the DCASE 2017 challenge", IEEE/ACM Trans. Audio Speech Lang. Process.
    27(6), 2019.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from seld.metrics.location_aware import LocationScorer, LocationScores, scores_of
from seld.metrics.location_counts import COUNTS
from seld.metrics.years import Average


@dataclass(frozen=True)
class Jackknife:
    """Estimates from leaving out one recording at a time; arrays of the shape of the score.

    Attributes:
        estimate: corrected for the bias.
        bias: of the score of all recordings.
        std_err: standard error.
        interval: (..., 2), lower and upper end.
    """

    estimate: np.ndarray
    bias: np.ndarray
    std_err: np.ndarray
    interval: np.ndarray


@dataclass(frozen=True)
class ScoreIntervals:
    """Scores with their intervals.

    Attributes:
        scores: those of all recordings.
        intervals: lower and upper end by name, (2,) each; NaN with fewer than two recordings, and
            where the score is undefined without some recording.
        by_class: the same by class, (K, 2) each.
        vanishing: classes that occur in one recording only: without it, their scores and the macro
            mean jump, so that intervals mean little.
        significance: probability outside the interval, both sides together.
    """

    scores: LocationScores
    intervals: dict[str, np.ndarray]
    by_class: dict[str, np.ndarray]
    vanishing: tuple[int, ...]
    significance: float

    def warning(self, names: Sequence[str]) -> str | None:
        """Returns a sentence on classes that vanish, by their names; None if there is none."""
        if not self.vanishing:
            return None
        classes = ", ".join(names[k] for k in self.vanishing)
        return (
            f"Intervals: class(es) {classes} occur in one recording only; macro intervals and"
            " those of the class(es) are not reliable."
        )

    def values(self) -> np.ndarray:
        """Returns the intervals of the year's scores in the official order, (scores, 2)."""
        return np.stack([self.intervals[name] for name in self.scores.rules.scores])

    def class_wise(self) -> np.ndarray:
        """Returns the intervals of the year's scores by class, (scores, K, 2)."""
        return np.stack([self.by_class[name] for name in self.scores.rules.scores])


def jackknife(
    value: np.ndarray | float, partial: np.ndarray, significance: float = 0.05
) -> Jackknife:
    """Estimates bias, standard error and interval of a score.

    Args:
        value: score of all N recordings, (...).
        partial: scores without each of them, (N, ...).
        significance: probability outside the interval, (0, 1).

    Raises:
        ValueError: no partial scores, or a significance out of range.
    """
    value, partial = np.asarray(value, np.float64), np.asarray(partial, np.float64)
    n = len(partial)
    if not n or not 0.0 < significance < 1.0:
        raise ValueError(
            "Expected: at least one partial score and a significance between 0 and 1. Received:"
            f" {n} and {significance:g}."
        )
    mean = partial.mean(axis=0)
    bias = (n - 1) * (mean - value)
    std_err = np.sqrt((n - 1) * ((partial - mean) ** 2).mean(axis=0))
    if n < 2:
        std_err = np.full_like(std_err, np.nan)
    estimate = value - bias
    half = _t_quantile(n - 1, 1.0 - significance / 2.0) * std_err
    return Jackknife(estimate, bias, std_err, np.stack([estimate - half, estimate + half], axis=-1))


def _t_quantile(freedom: int, probability: float) -> float:
    from scipy.special import stdtrit  # slow to import, and only needed for intervals

    return float(stdtrit(freedom, probability)) if freedom else np.nan


def score_intervals(
    scorer: LocationScorer, average: Average | None = None, *, significance: float = 0.05
) -> ScoreIntervals:
    """Scores all recordings of a scorer and leaves out each in turn.

    Args:
        scorer: with at least one recording.
        average: over classes; None: that of the year.
        significance: probability outside the intervals.

    Raises:
        ValueError: no recordings.
    """
    rules, average = scorer.rules, average or scorer.rules.average
    counts = scorer.counts()
    each, errors = counts.by_class.sum(axis=1), counts.errors.sum(axis=1)  # (N, counts, K), (N,)
    rest = each.sum(axis=0) - each
    # Sums of floats: what is left of a class without pairs must be 0, not 1e-15.
    rest[:, COUNTS.index("angle_sum_deg")] *= rest[:, COUNTS.index("n_pairs")] > 0
    partial, partial_by_class = scores_of(rest, errors.sum() - errors, rules, average)
    scores = scorer.result(average)
    n_reference = COUNTS.index("n_reference")
    occurs = each[:, n_reference].sum(axis=0) > 0
    vanishing = np.flatnonzero(occurs & (rest[:, n_reference] == 0).any(axis=0))
    return ScoreIntervals(
        scores,
        {
            name: jackknife(getattr(scores, name), values, significance).interval
            for name, values in partial.items()
        },
        {
            name: jackknife(scores.by_class[name], values, significance).interval
            for name, values in partial_by_class.items()
        },
        tuple(vanishing.tolist()),
        significance,
    )

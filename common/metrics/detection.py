"""Hits and errors per class and their scores, for event- and segment-based evaluation.

The numbers are those of sed_eval: F and ER over all classes (micro), per class, and their mean over
classes (macro).
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

# sed_eval divides by N + EPSILON: without reference ER is 0 or beyond 1e15.
EPSILON = float(np.spacing(1))
INFINITE_RATE = 1e9  # an error rate above it had no reference to be divided by


@dataclass(frozen=True)
class DetectionCounts:
    """Counts behind F-score and error rate; `+` joins recordings.

    Attributes:
        true_positives: (K,), hits of each class.
        n_reference: (K,), events (or active segments) of the reference.
        n_estimate: (K,), those of the estimate.
        substitutions: misses paired with false alarms of another class.
        evaluated_s: sum of the lengths evaluated.
        n_recordings: recordings evaluated.
    """

    true_positives: np.ndarray
    n_reference: np.ndarray
    n_estimate: np.ndarray
    substitutions: int = 0
    evaluated_s: float = 0.0
    n_recordings: int = 0

    @classmethod
    def empty(cls, n_classes: int) -> "DetectionCounts":
        """Counts of no recording."""
        zeros = np.zeros(n_classes, np.int64)
        return cls(zeros, zeros, zeros)

    def __add__(self, other: "DetectionCounts") -> "DetectionCounts":
        sums = {f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)}
        return DetectionCounts(**sums)

    @property
    def misses(self) -> np.ndarray:
        """(K,), entries of the reference without a hit: the deletions of a class."""
        return self.n_reference - self.true_positives

    @property
    def false_alarms(self) -> np.ndarray:
        """(K,), entries of the estimate without a hit: the insertions of a class."""
        return self.n_estimate - self.true_positives

    def scores(self, *, empty_estimate_is_zero: bool = False) -> "DetectionScores":
        """Computes the scores as sed_eval does.

        Args:
            empty_estimate_is_zero: precision is 0 where nothing was estimated (sed_eval's
                `zero_score`); otherwise it is undefined, and a class that is never estimated is
                left out of the macro F.
        """
        return _scores(self, empty_estimate_is_zero)


@dataclass(frozen=True)
class DetectionScores:
    """F-scores and error rates; undefined numbers are NaN.

    Attributes:
        f: over all classes (micro), 2 P R / (P + R), [0, 1].
        precision: over all classes.
        recall: over all classes.
        er: (S + D + I) / N over all classes; 0 is best, may exceed 1.
        substitution_rate: S / N.
        deletion_rate: D / N.
        insertion_rate: I / N.
        macro_f: mean of `class_f` over the classes where it is defined.
        macro_er: mean of `class_er` over all classes; one class without reference but with
            estimates makes it useless (above 1e9), as in sed_eval. See `macro_er_of_present`.
        macro_er_of_present: mean of `class_er` over the classes with reference.
        class_f, class_precision, class_recall, class_er, class_deletion_rate, class_insertion_rate:
            (K,).
        counts: those behind the scores.
    """

    f: float
    precision: float
    recall: float
    er: float
    substitution_rate: float
    deletion_rate: float
    insertion_rate: float
    macro_f: float
    macro_er: float
    macro_er_of_present: float
    class_f: np.ndarray
    class_precision: np.ndarray
    class_recall: np.ndarray
    class_er: np.ndarray
    class_deletion_rate: np.ndarray
    class_insertion_rate: np.ndarray
    counts: DetectionCounts = field(repr=False)

    def main(self) -> dict[str, float]:
        """Returns the four numbers of reports: f, er, macro_f, macro_er."""
        return {"f": self.f, "er": self.er, "macro_f": self.macro_f, "macro_er": self.macro_er}


def _scores(counts: DetectionCounts, empty_is_zero: bool) -> DetectionScores:
    parts = counts.true_positives, counts.n_reference, counts.n_estimate
    precision, recall, f = _f_scores(*parts, empty_is_zero)
    hits, n_reference, n_estimate = (int(part.sum()) for part in parts)
    total = _f_scores(*map(np.atleast_1d, (hits, n_reference, n_estimate)), empty_is_zero)
    all_precision, all_recall, all_f = (float(value[0]) for value in total)
    deletions = n_reference - hits - counts.substitutions
    insertions = n_estimate - hits - counts.substitutions
    errors = counts.substitutions, deletions, insertions
    rates = [value / (n_reference + EPSILON) for value in errors]
    class_deletions = counts.misses / (counts.n_reference + EPSILON)
    class_insertions = counts.false_alarms / (counts.n_reference + EPSILON)
    class_er = class_deletions + class_insertions
    return DetectionScores(
        f=all_f,
        precision=all_precision,
        recall=all_recall,
        er=sum(rates),
        substitution_rate=rates[0],
        deletion_rate=rates[1],
        insertion_rate=rates[2],
        macro_f=nan_mean(f),
        macro_er=nan_mean(class_er),
        macro_er_of_present=nan_mean(class_er[counts.n_reference > 0]),
        class_f=f,
        class_precision=precision,
        class_recall=recall,
        class_er=class_er,
        class_deletion_rate=class_deletions,
        class_insertion_rate=class_insertions,
        counts=counts,
    )


def _f_scores(
    hits: np.ndarray, n_reference: np.ndarray, n_estimate: np.ndarray, empty_is_zero: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.where(n_estimate == 0, 0.0 if empty_is_zero else np.nan, hits / n_estimate)
        recall = np.where(n_reference == 0, np.nan, hits / n_reference)
        f = 2 * precision * recall / (precision + recall)
        f = np.where((precision == 0) & (recall == 0), 0.0, f)
    return precision, recall, f


def nan_mean(values: np.ndarray) -> float:
    """Mean of the defined values; NaN, without a warning, when there are none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return float(np.nanmean(values)) if len(values) else float("nan")


def from_sed_eval(results: Mapping[str, Any]) -> dict[str, float]:
    """Picks f, er, macro_f and macro_er out of the `results()` of a metric of sed_eval."""
    overall, mean = results["overall"], results["class_wise_average"]
    return {
        "f": float(overall["f_measure"]["f_measure"]),
        "er": float(overall["error_rate"]["error_rate"]),
        "macro_f": float(mean["f_measure"]["f_measure"]),
        "macro_er": float(mean["error_rate"]["error_rate"]),
    }

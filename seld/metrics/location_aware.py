"""Location-aware scores of SELD, DCASE 2020 to 2025: a scorer that accumulates recordings.

    scorer = LocationScorer("dcase2024", n_classes=13)
    scorer.update(reference_rows, estimate_rows)
    scorer.result().f

The counts of each recording are kept, so that any set of them, one left out included, is scored
without looking at rows again. `seld.metrics.years` has the rules.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from seld.metrics.location_counts import (
    COUNTS,
    LocationCounts,
    ScoredRows,
    count_recordings,
    groups_with,
)
from seld.metrics.years import Average, YearRules, year_rules
from seld.recordings.rows import check_wide_rows

AVERAGES: tuple[Average, ...] = ("macro", "micro", "occurring")
MOST_WAITING = 40_000  # rows that are kept to be counted together
_TINY = np.finfo(np.float64).eps


@dataclass(frozen=True)
class LocationScores:
    """Scores of a set of recordings; those that a year does not define are NaN.

    Attributes:
        er: error rate, always of all classes together, 0 is best; may exceed 1.
        f: location-sensitive F-score, [0, 1].
        doa_error_deg: mean angle between matched sources (LE_CD, DOAE_CD), in degrees.
        recall: localisation recall (LR_CD), [0, 1]; an F-measure in 2020.
        distance_error_m: mean error of the distance of matched sources, in metres.
        distance_error_cm: the same in centimetres, as published in 2025.
        relative_distance_error: mean of errors divided by the true distance (RDE_CD).
        onscreen_accuracy: share of matched sources with the right on-screen flag.
        seld_score: mean of errors, see `YearRules.seld_parts`; 0 is best.
        by_class: all of them by class, (K,) each.
        n_reference: true sources that are scored, by class, (K,).
        rules: of the scorer.
        average: "macro": mean over all classes; "occurring": over those with a true source;
            "micro": all classes together.
        n_recordings: number of recordings.
    """

    er: float
    f: float
    doa_error_deg: float
    recall: float
    distance_error_m: float
    distance_error_cm: float
    relative_distance_error: float
    onscreen_accuracy: float
    seld_score: float
    by_class: dict[str, np.ndarray]
    n_reference: np.ndarray
    rules: YearRules
    average: Average
    n_recordings: int

    def values(self) -> np.ndarray:
        """Returns the year's scores in the official order, (scores,)."""
        return np.array([getattr(self, name) for name in self.rules.scores])

    def class_wise(self) -> np.ndarray:
        """Returns the year's scores by class, (scores, K)."""
        return np.stack([self.by_class[name] for name in self.rules.scores])

    def to_dict(self) -> dict[str, object]:
        """Returns plain values for `write_json`; undefined ones stay NaN or infinite."""
        plain = asdict(self) | {"rules": asdict(self.rules)}
        plain["by_class"] = {name: values.tolist() for name, values in self.by_class.items()}
        return plain | {"n_reference": self.n_reference.tolist()}


class LocationScorer:
    """Accumulates recordings under the rules of a year.

    Args:
        rules: name of `seld.metrics.years.YEARS`, or rules.
        n_classes: K.
        frames_per_s: label frames in a block of one second.

    Raises:
        ConfigError: unknown scorer.
    """

    def __init__(
        self, rules: str | YearRules = "dcase2024", n_classes: int = 13, *, frames_per_s: int = 10
    ) -> None:
        self.rules, self.n_classes, self.frames_per_s = year_rules(rules), n_classes, frames_per_s
        self.reset()

    def reset(self) -> None:
        """Removes all recordings."""
        self._counted: list[LocationCounts] = []
        self._waiting: list[ScoredRows] = []  # to be counted together
        self._n_waiting = 0

    def __len__(self) -> int:
        return len(self.counts().errors)

    def update(
        self,
        reference: np.ndarray,
        estimate: np.ndarray,
        n_frames: int | None = None,
        *,
        estimate_vectors: np.ndarray | None = None,
    ) -> None:
        """Adds a recording.

        Args:
            reference: rows (n, 7), see `seld.recordings.rows`; may be empty.
            estimate: rows (m, 7); may be empty.
            n_frames: label frames of the recording; scorers from 2022 on find them in the
                reference, the corrected ones and those of 2020 and 2021 use it.
            estimate_vectors: (m, 3), directions as a file gives them, whose lengths matter to
                scorers with `angles="offset"`, by less than 0.002 degrees.

        Raises:
            ValueError: the rows are not (n, 7), or a frame or class is out of range.
        """
        # Copies: they are counted later, when the caller may have changed them.
        reference = check_wide_rows(reference, self.n_classes).copy()
        estimate = check_wide_rows(estimate, self.n_classes).copy()
        self._waiting.append(ScoredRows(reference, estimate, n_frames, estimate_vectors))
        self._n_waiting += len(reference) + len(estimate)
        if self._n_waiting > MOST_WAITING:
            self.counts()

    def merge(self, other: "LocationScorer") -> "LocationScorer":
        """Adds the recordings of another scorer of the same rules; returns itself.

        Raises:
            ValueError: the rules or classes differ.
        """
        if (other.rules, other.n_classes) != (self.rules, self.n_classes):
            raise ValueError(
                "Only scorers of the same rules and classes can be joined. Expected:"
                f" {self.rules.name}, {self.n_classes} classes. Received: {other.rules.name},"
                f" {other.n_classes} classes."
            )
        self._counted = [self.counts(), other.counts()]
        return self

    def counts(self) -> LocationCounts:
        """Returns the counts of all recordings, stacked along the first axis, (N, ...)."""
        if self._waiting:
            waiting, self._waiting, self._n_waiting = self._waiting, [], 0
            new = count_recordings(waiting, self.rules, self.n_classes, self.frames_per_s)
            self._counted.append(new)
        if len(self._counted) != 1:
            self._counted = [LocationCounts.joined(self._counted, self.n_classes)]
        return self._counted[0]

    def result(
        self,
        average: Average | None = None,
        *,
        members: Sequence[int] | None = None,
        overlap: int | None = None,
        of_one_class: bool = False,
    ) -> LocationScores:
        """Returns the scores of recordings.

        Args:
            average: None: that of the year.
            members: numbers of the recordings, in the order in which they were added; None: all.
            overlap: only blocks or frames with this many true sources at once; 4: four or more.
            of_one_class: only blocks or frames in which true sources of one class are at once.
        """
        counts = self.counts()
        chosen = slice(None) if members is None else np.asarray(members, np.int64)
        by_class, errors = counts.by_class[chosen], counts.errors[chosen]  # (N, G, counts, K)
        groups = groups_with(overlap, of_one_class)
        total = by_class[:, groups].sum(axis=(0, 1))
        average = average or self.rules.average
        scores, by_class_scores = scores_of(
            total, errors[:, groups].sum(axis=(0, 1)), self.rules, average
        )
        return LocationScores(
            **{name: float(value) for name, value in scores.items()},
            by_class=by_class_scores,
            n_reference=total[COUNTS.index("n_reference")],
            rules=self.rules,
            average=average,
            n_recordings=len(by_class),
        )


def scores_of(
    counts: np.ndarray, errors: np.ndarray, rules: YearRules, average: Average
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Computes scores from counts, for many sets of recordings at once.

    Args:
        counts: (..., counts, K), see `seld.metrics.location_counts.COUNTS`.
        errors: (...), substitutions, deletions and insertions.
        rules: of the scorer.
        average: over classes.

    Returns:
        By name, scores (...) and scores by class (..., K).
    """
    sums = {name: counts[..., number, :] for number, name in enumerate(COUNTS)}
    n_reference = sums["n_reference"].sum(axis=-1)
    er = _error_rate(errors, n_reference, rules)
    of_classes = _scores(sums, rules) | {"er": _repeated(er, counts.shape[-1])}
    of_classes["seld_score"] = _seld_score(of_classes, rules)
    if average == "micro":
        pooled = {name: values.sum(axis=-1) for name, values in sums.items()}
        scores = _scores(pooled, rules)
    else:
        counted = np.ones_like(sums["n_reference"], bool)
        if average == "occurring":
            counted = sums["n_reference"] > 0
        scores = {name: _mean(values, counted) for name, values in of_classes.items()}
    scores["er"] = er
    if rules.exact_zero:
        silent = (n_reference + sums["n_estimate"].sum(axis=-1)) == 0
        scores["f"] = np.where(silent, 1.0, scores["f"])
    if average == "micro":
        scores["seld_score"] = _seld_score(scores, rules)
    return scores, of_classes


def _repeated(values: np.ndarray, n_classes: int) -> np.ndarray:
    return np.repeat(np.asarray(values)[..., None], n_classes, axis=-1)


def _error_rate(errors: np.ndarray, n_reference: np.ndarray, rules: YearRules) -> np.ndarray:
    if not rules.exact_zero:
        return errors / (n_reference + _TINY)
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = np.asarray(errors / n_reference)
    return np.where(np.isnan(rate), 0.0, rate)


def _scores(sums: dict[str, np.ndarray], rules: YearRules) -> dict[str, np.ndarray]:
    """Scores without ER and SELD score, from sums of any shape."""
    found, pairs, missed = sums["n_found"], sums["n_pairs"], sums["n_missed"]
    n_reference, n_estimate = sums["n_reference"], sums["n_estimate"]
    if rules.far_is == "miss":
        f = _f_measure(found, n_estimate, n_reference)
    else:
        weight = 1.0 if rules.far_is == "full" else 0.5
        f = found / (_TINY + found + weight * sums["n_far"] + 0.5 * (missed + sums["n_extra"]))
    recall = pairs / (_TINY + pairs + missed)
    if rules.recall_is_f:
        recall = _f_measure(pairs, n_estimate, n_reference)
    if rules.exact_zero:
        f = np.where((n_reference == 0) & (n_estimate == 0), math.nan, f)
        recall = np.where(n_reference == 0, math.nan, recall)
    distance_error_m = _ratio(sums["distance_sum_m"], sums["n_distances"], math.nan)
    return {
        "f": f,
        "doa_error_deg": _ratio(sums["angle_sum_deg"], pairs, rules.unmatched_deg),
        "recall": recall,
        "distance_error_m": distance_error_m,
        "distance_error_cm": 100.0 * distance_error_m,
        "relative_distance_error": _ratio(sums["relative_sum"], sums["n_distances"], math.nan),
        "onscreen_accuracy": _ratio(sums["onscreen_right"], sums["n_onscreen"], math.nan),
    }


def _f_measure(found: np.ndarray, n_estimate: np.ndarray, n_reference: np.ndarray) -> np.ndarray:
    precision, recall = found / (n_estimate + _TINY), found / (n_reference + _TINY)
    return 2 * precision * recall / (precision + recall + _TINY)


def _ratio(total: np.ndarray, count: np.ndarray, undefined: float) -> np.ndarray:
    return np.where(count > 0, total / (count + _TINY), undefined)


def _seld_score(scores: dict[str, np.ndarray], rules: YearRules) -> np.ndarray:
    """Mean of the defined errors among the parts; NaN where a year has no such score."""
    if not rules.seld_parts:
        return np.full_like(scores["f"], math.nan)
    errors = {
        "er": scores["er"],
        "f": 1.0 - scores["f"],
        "doa_error_deg": scores["doa_error_deg"] / 180.0,
        "recall": 1.0 - scores["recall"],
        "relative_distance_error": scores["relative_distance_error"],
    }
    parts = np.stack([errors[name] for name in rules.seld_parts], axis=-1)
    score = _mean(parts, np.ones(parts.shape[-1], bool))
    return np.where(np.isnan(scores["f"]), math.nan, score)


def _mean(values: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """Mean of the defined values (..., K) that are counted; NaN without any."""
    counted = counted & ~np.isnan(values)
    number = counted.sum(axis=-1)
    total = np.where(counted, values, 0.0).sum(axis=-1)
    return np.where(number > 0, total / np.maximum(number, 1), math.nan)

"""Scores over all thresholds of a test set, by name: PSDS of any scenario, best F, ROC areas.

Everything comes from one sweep of the scores. Bootstrap intervals weight its counts by clip.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from pydantic import Field, field_validator, model_validator

from common.events.table import EventTable
from common.metrics import bootstrap as resampling
from common.metrics.detection import nan_mean
from common.metrics.event_based import CollarConfig
from common.metrics.median_sweep import median_independent_psds
from common.metrics.operating_points import (
    default_thresholds,
    intersection_f_scores,
    psds_from_points,
)
from common.metrics.psds import (
    INTERSECTION_F,
    PSDS1,
    PSDS2,
    SCENARIOS,
    PsdsScenario,
    PsdsScore,
    ThresholdSweep,
)
from common.metrics.segment_sweep import clip_entries, clip_maxima, score_segments
from common.metrics.tagging import area_under_roc, average_precision
from common.metrics.threshold_curves import (
    MAX_FALSE_RATE,
    CurveScores,
    FCurves,
    area_scores,
    best_f_scores,
    compacted,
    f_curves,
)
from common.settings.section import Section

Part = tuple[dict[str, float], dict[str, np.ndarray]]  # by name: of the set, and of its classes
GRID = np.linspace(0, 1, 101)  # thresholds of the curves of F

COLUMNS = {
    "psds_2020": "PSDS 2020",
    "psds_2020_cross_trigger": "PSDS 2020, cross trigger",
    "psds_2020_macro": "PSDS 2020, macro",
    "psds1_non_oracle": "PSDS 1, non-oracle",
    "psds2_non_oracle": "PSDS 2, non-oracle",
    "psds1_any_median": "PSDS 1, any median",
    "intersection_macro_f": "intersection F",
    "intersection_macro_f_of_hit": "of classes hit",
    "intersection_best_f": "best intersection F",
    "segment_best_f": "best 1 s F",
    "segment_auc": "1 s AUC",
    "segment_pauc": f"1 s pAUC (chance {MAX_FALSE_RATE / 2:g})",
    "clip_best_f": "best clip F",
    "clip_max_map": "mAP of maxima",
    "clip_max_auc": "AUC of maxima",
}


class PsdsConfig(Section):
    """Scenario of PSDS."""

    dtc: float = Field(gt=0, le=1, description="Share of a detection on events of its class.")
    gtc: float = Field(gt=0, le=1, description="Share of an event that detections must cover.")
    cttc: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Share of a false detection on events of another class, for a cross trigger;"
        " null: none are counted.",
    )
    alpha_ct: float = Field(0.0, ge=0, description="Weight of cross triggers.")
    alpha_st: float = Field(1.0, ge=0, description="Weight of the spread between classes.")
    max_rate: float = Field(100.0, gt=0, description="False positives per hour, at most.")

    @model_validator(mode="after")
    def _cross_triggers_are_counted(self) -> Self:
        if self.alpha_ct > 0 and self.cttc is None:
            raise ValueError(
                f"alpha_ct {self.alpha_ct:g} weights cross triggers, which need a `cttc`, such as"
                " 0.3. Add it, or leave out alpha_ct."
            )
        return self

    @property
    def scenario(self) -> PsdsScenario:
        """Returns the scenario of the scorer."""
        return PsdsScenario(**self.model_dump())


class BootstrapConfig(Section):
    """Bootstrap intervals over the clips of a test set."""

    n_resamples: int = Field(
        resampling.N_RESAMPLES, ge=2, le=100_000, description="Number of resamples."
    )
    confidence: float = Field(
        resampling.CONFIDENCE, gt=0, lt=1, description="Share of the resamples in the interval."
    )
    draws: Literal["independent", "shuffled_copies"] = Field(
        "independent",
        description="independent: clips are drawn with replacement; shuffled_copies: each clip"
        " occurs equally often over all resamples, as in sed_scores_eval.",
    )
    seed: int = Field(0, ge=0, description="Seed of the draws.")


class ThresholdConfig(CollarConfig):
    """Scores over all thresholds."""

    scenarios: dict[str, PsdsConfig | None] = Field(
        {},
        description="Further scenarios of PSDS by name: null for those of DCASE 2020 (psds_2020,"
        " psds_2020_cross_trigger, psds_2020_macro), own numbers for others.",
    )
    operating_points: int = Field(
        0,
        ge=0,
        le=1000,
        description="Number of thresholds for PSDS from operating points, as psds_eval computes it"
        " (50: psds1_50, psds2_50, ...); 0: only the exact scores.",
    )
    all_thresholds: bool = Field(
        False,
        description="Reports also contain the intersection-based F, F of segments and clips at the"
        " best thresholds, areas under ROC curves, and PSDS of non-oracle thresholds.",
    )
    median_windows_s: tuple[float, ...] = Field(
        (),
        description="Lengths of a median filter, in seconds, for a PSDS 1 that does not depend on"
        " it; of the scores as they are decoded.",
    )
    bootstrap: BootstrapConfig | None = Field(
        None, description="Intervals of the scores over all thresholds; null: none."
    )

    @field_validator("scenarios")
    @classmethod
    def _known_scenarios(cls, value: dict[str, PsdsConfig | None]) -> dict[str, PsdsConfig | None]:
        unknown = [name for name, given in value.items() if given is None and name not in SCENARIOS]
        if unknown:
            raise ValueError(
                f"unknown scenario {', '.join(map(repr, unknown))}. Expected: one of"
                f" {', '.join(SCENARIOS)}, or numbers of its own: dtc, gtc and, where cross"
                " triggers count, cttc and alpha_ct."
            )
        taken = [name for name in ("psds1", "psds2") if value.get(name) is not None]
        if taken:
            raise ValueError(
                f"{', '.join(taken)} always has its published numbers. Give yours another name."
            )
        return value

    @field_validator("median_windows_s")
    @classmethod
    def _not_negative(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if any(not 0 <= window_s < np.inf for window_s in value):
            raise ValueError(f"expected lengths of 0 seconds or more. Received: {value}.")
        return value

    def known_scenarios(self) -> dict[str, PsdsScenario]:
        """Returns PSDS 1, PSDS 2 and all others that are set."""
        others = {
            name: SCENARIOS[name] if given is None else given.scenario
            for name, given in self.scenarios.items()
        }
        return {"psds1": PSDS1, "psds2": PSDS2} | others


@dataclass(frozen=True)
class SweptCurves:
    """Curves that the scores over all thresholds were taken from.

    Attributes:
        psds: of each scenario, with its limit of the rate of false positives.
        f: F against the threshold: "event", and "intersection" where that is scored.
        threshold: of the decoder; scores above it are events. None: not known.
    """

    psds: Mapping[str, tuple[PsdsScore, float]]
    f: Mapping[str, FCurves]
    threshold: float | None = None


def threshold_scores(sweep: ThresholdSweep, scoring: ThresholdConfig) -> Part:
    """Computes the scores of a sweep, those that are set.

    Args:
        sweep: of the scores of all clips.
        scoring: which.

    Returns:
        Scores of the set by name, and those of its classes, (K,) each.
    """
    return scores_and_curves(sweep, scoring)[0]


def scores_and_curves(
    sweep: ThresholdSweep,
    scoring: ThresholdConfig,
    *,
    threshold: float | None = None,
    intersections: bool = False,
) -> tuple[Part, SweptCurves]:
    """Computes the scores of a sweep, those that are set, and keeps their curves.

    Args:
        sweep: of the scores of all clips.
        scoring: which.
        threshold: of the decoder, see `SweptCurves`; the curves of F contain it.
        intersections: keep the curve of the intersection-based F even without
            `scoring.all_thresholds`.
    """
    scores: dict[str, float] = {}
    of_classes: dict[str, np.ndarray] = {}
    psds: dict[str, tuple[PsdsScore, float]] = {}
    for name, scenario in scoring.known_scenarios().items():
        found = sweep.psds(scenario)
        scores[name], of_classes[name] = found.psds, found.class_psds
        psds[name] = found, scenario.max_rate
    thresholds = GRID if threshold is None else np.unique([*GRID, threshold])
    collar = sweep.collar_curves(scoring.collar_s, scoring.offset_share)
    f = {"event": f_curves(collar, sweep.n_classes, thresholds)}
    best = f["event"].best
    scores["best_f"] = best.macro_f
    of_classes |= {"best_f": best.f, "best_threshold": best.thresholds}
    if intersections or scoring.all_thresholds:
        crossed = sweep.intersection_curves(INTERSECTION_F)
        f["intersection"] = f_curves(crossed, sweep.n_classes, thresholds)
    if scoring.operating_points:
        scores |= _point_scores(sweep, scoring)
    if scoring.all_thresholds:
        more = _more_scores(sweep, f["intersection"].best)
        scores, of_classes = scores | more[0], of_classes | more[1]
    if scoring.median_windows_s:
        free = median_independent_psds(sweep, scoring.median_windows_s, PSDS1)
        scores["psds1_any_median"] = free.psds
        of_classes["psds1_any_median"] = free.class_psds
    return (scores, of_classes), SweptCurves(psds, f, threshold)


def _point_scores(sweep: ThresholdSweep, scoring: ThresholdConfig) -> dict[str, float]:
    n_points = scoring.operating_points
    points = [sweep.events_at(each) for each in default_thresholds(n_points)]
    lengths_s = sweep.totals.lengths_s
    return {
        f"{name}_{n_points}": psds_from_points(sweep.reference, points, each, lengths_s).psds
        for name, each in scoring.known_scenarios().items()
    }


def _more_scores(sweep: ThresholdSweep, crossed: CurveScores) -> Part:
    """Non-oracle PSDS, and scores of segments, clips and, as `crossed`, intersections."""
    n_classes, reference = sweep.n_classes, sweep.reference
    segments = score_segments(reference, sweep.frames, sweep.scores, sweep.totals.lengths_s)
    curves = segments.curves()
    best, areas = best_f_scores(curves, n_classes), area_scores(curves, n_classes, segments.counts)
    clips = clip_entries(reference, clip_maxima(sweep.frames, sweep.scores))
    tags = best_f_scores(clips.curves(), n_classes)
    finite = np.maximum(clips.scores, np.finfo(np.float64).min)
    precision = average_precision(clips.targets, finite)
    auc, known = area_under_roc(clips.targets, finite), clips.targets.any(axis=0)
    scores = {
        "psds1_non_oracle": sweep.psds(PSDS1, oracle=False).psds,
        "psds2_non_oracle": sweep.psds(PSDS2, oracle=False).psds,
        "intersection_best_f": crossed.macro_f,
        "segment_best_f": best.macro_f,
        "segment_auc": areas.mean_auc,
        "segment_pauc": areas.mean_pauc,
        "clip_best_f": tags.macro_f,
        "clip_max_map": nan_mean(precision[known]),
        "clip_max_auc": nan_mean(auc),
    }
    of_classes = {
        "intersection_best_f": crossed.f,
        "intersection_best_threshold": crossed.thresholds,
        "segment_best_f": best.f,
        "segment_best_threshold": best.thresholds,
        "segment_auc": areas.auc,
        "segment_pauc": areas.pauc,
        "clip_best_f": tags.f,
        "clip_max_ap": np.where(known, precision, np.nan),
        "clip_max_auc": auc,
    }
    return scores, of_classes


def intersection_scores(
    reference: EventTable, estimate: EventTable, lengths_s: np.ndarray | float
) -> Part:
    """Computes the intersection-based F of decoded events, by name.

    Args:
        reference: true events.
        estimate: decoded events.
        lengths_s: length of the clips in seconds.
    """
    found = intersection_f_scores(reference, estimate, INTERSECTION_F, lengths_s)
    scores = {
        "intersection_macro_f": found.macro_f,
        "intersection_macro_f_of_hit": found.macro_f_of_hit,
        "intersection_micro_f": found.micro_f,
    }
    return scores, {"intersection_f": found.f}


def bootstrap_intervals(
    sweep: ThresholdSweep, scoring: ThresholdConfig
) -> dict[str, resampling.Interval]:
    """Computes intervals of PSDS, best F and, if set, of segments and intersections, by name."""
    config, n_classes = scoring.bootstrap or BootstrapConfig(), sweep.n_classes
    lengths = sweep.totals.lengths_s
    if not len(lengths):
        return {}
    scenarios = scoring.known_scenarios()
    swept = {name: compacted(sweep.intersection_curves(each)) for name, each in scenarios.items()}
    collar = compacted(sweep.collar_curves(scoring.collar_s, scoring.offset_share))
    more = _more_resampled(sweep) if scoring.all_thresholds else None

    def score(weights: np.ndarray) -> dict[str, float]:
        found: dict[str, float] = {
            name: sweep.psds(each, curves=swept[name], weights=weights).psds
            for name, each in scenarios.items()
        }
        found["best_f"] = best_f_scores(collar, n_classes, weights).macro_f
        return found | ({} if more is None else dict(more(weights)))

    weights = resampling.draw_weights(len(lengths), config.n_resamples, config.seed, config.draws)
    values = resampling.bootstrap(score, weights)
    return {name: resampling.interval(each, config.confidence) for name, each in values.items()}


def _more_resampled(sweep: ThresholdSweep) -> Callable[[np.ndarray], Mapping[str, float]]:
    n_classes = sweep.n_classes
    crossed = compacted(sweep.intersection_curves(INTERSECTION_F))
    segments = score_segments(sweep.reference, sweep.frames, sweep.scores, sweep.totals.lengths_s)
    curves, counts = segments.curves(), segments.counts

    def score(weights: np.ndarray) -> dict[str, float]:
        areas = area_scores(curves, n_classes, counts, weights)
        return {
            "intersection_best_f": best_f_scores(crossed, n_classes, weights).macro_f,
            "segment_best_f": best_f_scores(curves, n_classes, weights).macro_f,
            "segment_auc": areas.mean_auc,
            "segment_pauc": areas.mean_pauc,
        }

    return score


def columns_of(names: Mapping[str, Any]) -> dict[str, str]:
    """Headings of scores beyond those of every report, by name, in the order of `COLUMNS`."""
    known = {name: title for name, title in COLUMNS.items() if name in names}
    others = [name for name in names if "psds" in name and name not in known]
    return known | {
        name: scenario_title(name)
        for name in others
        if name not in ("psds1", "psds2") and not name.endswith(("_low", "_high"))
    }


def scenario_title(name: str) -> str:
    """Heading of a scenario of PSDS, such as "PSDS 1" of psds1."""
    return COLUMNS.get(name, name.replace("psds", "PSDS ").replace("_", " ").strip())

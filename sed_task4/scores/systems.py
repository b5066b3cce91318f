"""Scores of systems on a test set: events, segments, tags and PSDS, next to baselines."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from pydantic import Field

from common.audio.formats import shown
from common.errors import DataError
from common.events.table import EventTable
from common.metrics.detection import DetectionScores
from common.metrics.event_based import event_based_scores
from common.metrics.psds import ThresholdSweep
from common.metrics.score_table import published_scores
from common.metrics.sed_eval_scores import event_based_by_sed_eval, segment_based_by_sed_eval
from common.metrics.segment_based import segment_based_scores
from common.metrics.tagging import TagScores, class_f_scores, tag_scores
from sed_task4.decoding import spread_tags
from sed_task4.labels import events_of_classes
from sed_task4.scores.maestro import MaestroScores
from sed_task4.scores.tables import BASELINES, SCORES, ScoreReport, ScoreRow
from sed_task4.scores.threshold_scores import (
    Part,
    SweptCurves,
    ThresholdConfig,
    bootstrap_intervals,
    intersection_scores,
    scores_and_curves,
)

logger = logging.getLogger(__name__)

SEGMENTS = {"segment": 1.0, "segment_200ms": 0.2}  # seconds, by the beginning of the scores' names
TOLERANCE = 1e-9  # of the fast versions against sed_eval


class ScoringConfig(ThresholdConfig):
    """Scores of events and tags."""

    tag_threshold: float = Field(
        0.5, ge=0, le=1, description="A tag is present from this clip-level probability on."
    )
    empty_estimate_is_zero: bool = Field(
        True,
        description=(
            "A class that is never estimated has F = 0 (DCASE 2018);"
            " false: it is left out of the mean (DCASE 2019, Kong et al.)."
        ),
    )
    sed_eval: bool = Field(
        True, description="Reports take F and ER from sed_eval; false: from the faster own code."
    )
    psds: bool = Field(True, description="Reports contain PSDS and the maximum F over thresholds.")
    intersection_f: bool = Field(
        False,
        description="Reports and validation contain the intersection-based F (shares of 0.5) of the"
        " decoded events. A class that is never found counts as 0.",
    )
    empty_clips: Literal["scored", "dropped"] = Field(
        "scored",
        description="Test clips without any event. dropped: left out with their false alarms, as"
        " the baselines of 2022 to 2024 do.",
    )
    event_threshold: float = Field(
        0.5, ge=0, le=1, description="Folders of score files: scores above it are events."
    )
    score_files: bool = Field(
        False,
        description="Test stages write the scores of each clip as a table of frames, as"
        " sed_scores_eval reads them, into scores/.",
    )


@dataclass(frozen=True)
class TestSet:
    """Ground truth of the clips of a test set.

    Attributes:
        names: file names.
        events: for each clip (n, 3) = class_index, onset_s, offset_s.
        classes: class names.
        clip_s: length of the clips in seconds.
        tags: bool (N, K); None: those of the events.
        lengths_s: (N,), length of each clip in seconds, padding is not scored; None: `clip_s`.
    """

    __test__ = False  # not a test of pytest

    names: Sequence[str]
    events: Sequence[np.ndarray]
    classes: Sequence[str]
    clip_s: float = 10.0
    tags: np.ndarray | None = None
    lengths_s: np.ndarray | None = None

    @property
    def durations_s(self) -> np.ndarray:
        """Length of each clip in seconds, (N,)."""
        whole = np.full(len(self.names), self.clip_s)
        return whole if self.lengths_s is None else np.asarray(self.lengths_s)

    @property
    def table(self) -> EventTable:
        """All events of the set."""
        return EventTable.from_recordings(self.events, len(self.classes))

    def of_clips(self, chosen: np.ndarray) -> "TestSet":
        """Returns the set of some clips, by number."""
        names, events = ([each[number] for number in chosen] for each in (self.names, self.events))
        tags = None if self.tags is None else np.asarray(self.tags)[chosen]
        lengths_s = None if self.lengths_s is None else self.durations_s[chosen]
        return replace(self, names=names, events=events, tags=tags, lengths_s=lengths_s)

    def of_classes(self, chosen: Sequence[int]) -> "TestSet":
        """Returns the set of some classes, by number and rising."""
        classes = [self.classes[k] for k in chosen]
        events = [events_of_classes(each, chosen) for each in self.events]
        tags = None if self.tags is None else np.asarray(self.tags)[:, list(chosen)]
        return replace(self, classes=classes, events=events, tags=tags)

    @property
    def true_tags(self) -> np.ndarray:
        """Ground-truth tags of each clip, bool (N, K)."""
        tags = tags_of(self.events, len(self.classes)) if self.tags is None else self.tags
        return np.asarray(tags) > 0


@dataclass(frozen=True)
class SystemOutput:
    """Predictions of a system for the clips of a test set, in their order.

    Attributes:
        events: for each clip (n, 3) = class_index, onset_s, offset_s.
        tags: probabilities (N, K); None: a class with an event has its tag, and there is no mAP.
        frames: for each clip scores (T, K) whose level sets are the events of all thresholds, see
            `sed_task4.decoding.decision_scores`; None: no scores over thresholds.
        hop_s: hop length in seconds.
        tag_thresholds: one or (K,), for the F of tags; None: `ScoringConfig.tag_threshold`.
        remark: a note on its scores.
        edges_s: for each clip (T + 1,), edges of the frames; None: regular ones of `hop_s`, up to
            the end of the clip.
        threshold: of `frames`, above which scores are the `events`; None: not known.
    """

    events: Sequence[np.ndarray]
    tags: np.ndarray | None = None
    frames: Sequence[np.ndarray] | None = None
    hop_s: float = 0.0
    tag_thresholds: float | np.ndarray | None = None
    remark: str = ""
    edges_s: Sequence[np.ndarray] | None = None
    threshold: float | None = None

    def of_clips(self, chosen: np.ndarray) -> "SystemOutput":
        """Returns the output for some clips, by number."""
        lists = {"events": self.events, "frames": self.frames, "edges_s": self.edges_s}
        parts: dict[str, Any] = {
            name: None if each is None else [each[number] for number in chosen]
            for name, each in lists.items()
        }
        return replace(self, **parts, tags=None if self.tags is None else self.tags[chosen])

    def of_classes(self, chosen: Sequence[int]) -> "SystemOutput":
        """Returns the output for some classes, by number and rising."""
        columns, limits = list(chosen), self.tag_thresholds
        return replace(
            self,
            events=[events_of_classes(each, columns) for each in self.events],
            tags=None if self.tags is None else self.tags[:, columns],
            frames=None if self.frames is None else [each[:, columns] for each in self.frames],
            tag_thresholds=limits[columns] if isinstance(limits, np.ndarray) else limits,
        )


def tags_of(events: Sequence[np.ndarray], n_classes: int) -> np.ndarray:
    """Classes of the events of each clip, bool (N, K)."""
    tags = np.zeros((len(events), n_classes), bool)
    for number, rows in enumerate(events):
        tags[number, np.asarray(rows).reshape(-1, 3)[:, 0].astype(int)] = True
    return tags


def detection_scores(
    reference: EventTable, estimate: EventTable, scoring: ScoringConfig
) -> dict[str, DetectionScores]:
    """Scores events by the fast version: "event", and the names of `SEGMENTS`."""
    zero, collar_s, share = scoring.empty_estimate_is_zero, scoring.collar_s, scoring.offset_share
    event = event_based_scores(
        reference, estimate, collar_s=collar_s, offset_share=share, empty_estimate_is_zero=zero
    )
    scores = {"event": event}
    for kind, length_s in SEGMENTS.items():
        scores[kind] = segment_based_scores(
            reference, estimate, length_s, empty_estimate_is_zero=zero
        )
    return scores


def named_scores(scores: Mapping[str, DetectionScores]) -> dict[str, float]:
    """Names F and ER as the tables do: "event_macro_f", "segment_200ms_micro_er" ..."""
    return {
        f"{kind}_{mean}_{name}": value
        for kind, each in scores.items()
        for mean, pair in (("macro", (each.macro_f, each.macro_er)), ("micro", (each.f, each.er)))
        for name, value in zip(("f", "er"), pair, strict=True)
    }


def score_system(
    test: TestSet,
    output: SystemOutput,
    scoring: ScoringConfig,
    *,
    group: str = "system",
    label: str = "system",
) -> ScoreRow:
    """Scores the predictions of one system by the fast versions.

    Raises:
        ValueError: the output is not of the clips and classes of the set.
    """
    n_clips, given = len(test.names), len(output.events)
    if given != n_clips:
        raise ValueError(f"{label}: expected events of {n_clips} clips. Received: {given}.")
    reference = test.table
    estimate = EventTable.from_recordings(output.events, len(test.classes))
    detections = detection_scores(reference, estimate, scoring)
    scores, by_class = named_scores(detections), _class_scores(detections)
    by_class = {"n_clips": test.true_tags.sum(axis=0), "n_events": reference.counts()} | by_class
    swept, curves = _sweep_scores(test, output, scoring, with_intervals=group == "system")
    parts = [_tag_scores(test, output, scoring), swept]
    if scoring.intersection_f or scoring.all_thresholds:
        parts.append(intersection_scores(reference, estimate, test.durations_s))
    for part in parts:
        scores, by_class = scores | part[0], by_class | part[1]
    lists = {name: np.asarray(values, np.float64).tolist() for name, values in by_class.items()}
    return ScoreRow(group, label, scores, lists, curves)


def _class_scores(detections: Mapping[str, DetectionScores]) -> dict[str, np.ndarray]:
    values: dict[str, np.ndarray] = {}
    for kind, each in detections.items():
        values[f"{kind}_f"], values[f"{kind}_er"] = each.class_f, each.class_er
        values[f"{kind}_deletions"] = each.class_deletion_rate
        values[f"{kind}_insertions"] = each.class_insertion_rate
    return values


def named_tag_scores(tags: TagScores) -> dict[str, float]:
    """Names the scores of tags, see `SCORES`."""
    scores = {"map": tags.map, "map_published": tags.map_published, "auc": tags.mean_auc}
    return scores | {"clip_macro_f": tags.macro_f, "clip_micro_f": tags.micro_f}


def _tag_scores(test: TestSet, output: SystemOutput, scoring: ScoringConfig) -> Part:
    if output.tags is None:
        given = tags_of(output.events, len(test.classes))
        class_f = class_f_scores(test.true_tags, given)
        micro_f = float(class_f_scores(test.true_tags.reshape(-1, 1), given.reshape(-1, 1))[0])
        return {"clip_macro_f": float(class_f.mean()), "clip_micro_f": micro_f}, {"clip_f": class_f}
    thresholds = scoring.tag_threshold if output.tag_thresholds is None else output.tag_thresholds
    tags = tag_scores(test.true_tags, output.tags, thresholds)
    scores = named_tag_scores(tags)
    return scores, {"ap": tags.average_precision, "auc": tags.auc, "clip_f": tags.class_f}


def _sweep_scores(
    test: TestSet, output: SystemOutput, scoring: ScoringConfig, *, with_intervals: bool
) -> tuple[Part, SweptCurves | None]:
    if output.frames is None or not scoring.psds:
        return ({}, {}), None
    frames = output.hop_s if output.edges_s is None else output.edges_s
    sweep = ThresholdSweep(test.table, output.frames, frames, test.durations_s)
    (scores, of_classes), curves = scores_and_curves(
        sweep, scoring, threshold=output.threshold, intersections=scoring.intersection_f
    )
    if scoring.bootstrap is not None and with_intervals:
        for name, each in bootstrap_intervals(sweep, scoring).items():
            scores |= {f"{name}_low": each.low, f"{name}_high": each.high}
    return (scores, of_classes), curves


def baselines(test: TestSet) -> dict[str, SystemOutput]:
    """Baselines: always silent, always active, ground-truth tags spread over the clip."""
    shape = len(test.names), len(test.classes)
    given = np.zeros(shape, bool), np.ones(shape, bool), test.true_tags
    outputs = {}
    for label, tags in zip(BASELINES, given, strict=True):
        clips = zip(tags, test.durations_s, strict=True)
        outputs[label] = SystemOutput(
            events=[spread_tags(row, length_s) for row, length_s in clips],
            tags=tags.astype(np.float64),
            frames=[row[None].astype(np.float64) for row in tags] if tags.any() else None,
            hop_s=test.clip_s,
        )
    return outputs


def score_report(
    test: TestSet,
    systems: Mapping[str, SystemOutput],
    scoring: ScoringConfig | None = None,
    *,
    published: Mapping[str, float] | None = None,
) -> ScoreReport:
    """Scores systems on a test set, next to baselines and published values.

    Args:
        test: the ground truth.
        systems: by label; the classes of the first one are shown.
        scoring: how; None: the defaults.
        published: some of `SCORES`; F in [0, 1].

    Raises:
        DataError: there is no clip or no system.
        ValueError: `published` has an unknown name, or an output is not of the set.
    """
    scoring = scoring or ScoringConfig()
    if not len(test.names) or not systems:
        raise DataError(
            "There is nothing to score. Check that the test set has clips, and their predictions."
        )
    rows, notes = [], []
    test, systems, dropped = _scored_clips(test, systems, scoring)
    for label, output in systems.items():
        row = score_system(test, output, scoring, label=label)
        if scoring.sed_eval:
            row, note = _with_sed_eval(test, output, scoring, row)
            notes += note
        notes += [output.remark] if output.remark and ("psds1" in row.scores) else []
        rows.append(row)
    rows += [
        score_system(test, output, scoring, group="baseline", label=label)
        for label, output in baselines(test).items()
    ]
    rows += _published_row(published)
    notes += [*dropped, *_remarks(test, rows[0], scoring), *_interval_notes(rows, scoring)]
    classes, notes = tuple(test.classes), list(dict.fromkeys(notes))
    return ScoreReport(tuple(rows), classes, len(test.names), tuple(notes))


def with_maestro(
    report: ScoreReport | None,
    found: Mapping[str, MaestroScores],
    classes: Sequence[str],
    published: Mapping[str, float] | None = None,
) -> ScoreReport:
    """Adds the scores of MAESTRO real to those of other clips.

    Args:
        report: of the other clips; None: they have no strong labels, or there are none.
        found: scores by row, see `sed_task4.scores.maestro.RecordingScorer`; those of the baseline
            "always active" among them, the first system first.
        classes: names of the evaluated classes.
        published: see `score_report`; used without a report, which has them.
    """
    rows = {row.label: row for row in (report.rows if report else _published_row(published))}
    for label, each in found.items():
        group = "baseline" if label in BASELINES else "system"
        row = rows.get(label) or ScoreRow(group, label, {})
        scores = {**row.scores, **each.named()}
        rows[label] = replace(row, scores=scores, maestro=each.of_classes(classes))
    first = next(iter(found.values()))
    notes = [
        "MAESTRO real: seconds of recordings, whose windows are joined; those with labels above"
        " 0.5 are active."
    ]
    if first.absent:
        absent = ", ".join(classes[k] for k in first.absent)
        notes.append(f"MAESTRO real has no second of {absent}: the means leave them out.")
    order = ("system", "baseline", "published")
    ordered = sorted(rows.values(), key=lambda row: order.index(row.group))
    report = report or ScoreReport((), (), 0)
    return replace(
        report,
        rows=tuple(ordered),
        notes=(*report.notes, *notes),
        n_recordings=first.segments.n_recordings,
    )


def _scored_clips(
    test: TestSet, systems: Mapping[str, SystemOutput], scoring: ScoringConfig
) -> tuple[TestSet, Mapping[str, SystemOutput], list[str]]:
    """Leaves out clips without events, if set; a note counts them."""
    kept = np.array([len(rows) > 0 for rows in test.events], bool)
    if scoring.empty_clips == "scored" or kept.all():
        return test, systems, []
    if not kept.any():
        raise DataError(
            f"None of the {len(kept)} test clips has an event, and `scoring.empty_clips: dropped`"
            " leaves out those without. Set it to scored."
        )
    chosen = np.flatnonzero(kept)
    for label, output in systems.items():
        if len(output.events) != len(kept):
            given = len(output.events)
            raise ValueError(f"{label}: expected events of {len(kept)} clips. Received: {given}.")
    outputs = {label: output.of_clips(chosen) for label, output in systems.items()}
    n_empty = len(kept) - len(chosen)
    note = f"{n_empty} clip(s) without events are left out, with their false alarms."
    return test.of_clips(chosen), outputs, [note]


def _interval_notes(rows: Sequence[ScoreRow], scoring: ScoringConfig) -> list[str]:
    """Sentences with the bootstrap intervals of each system."""
    config, notes = scoring.bootstrap, []
    if config is None:
        return []
    for row in rows:
        names = [name for name in row.scores if f"{name}_low" in row.scores]
        spans = [
            f"{name} {row.scores[f'{name}_low']:.3f} to {row.scores[f'{name}_high']:.3f}"
            for name in names
        ]
        if spans:
            share = f"{100 * config.confidence:g} % intervals of {config.n_resamples} resamples"
            notes.append(f"{row.label}: {share} of the clips: {', '.join(spans)}.")
    return notes


def _with_sed_eval(
    test: TestSet, output: SystemOutput, scoring: ScoringConfig, row: ScoreRow
) -> tuple[ScoreRow, list[str]]:
    """Replaces the fast scores by sed_eval's, with a note if they differ."""
    both = test.table, EventTable.from_recordings(output.events, len(test.classes))
    zero, collar_s, share = scoring.empty_estimate_is_zero, scoring.collar_s, scoring.offset_share
    common: dict[str, Any] = {"empty_estimate_is_zero": zero}
    of_events = {"collar_s": collar_s, "offset_share": share, **common}
    results = {"event": event_based_by_sed_eval(*both, test.classes, **of_events)}
    for kind, length_s in SEGMENTS.items():
        results[kind] = segment_based_by_sed_eval(*both, test.classes, length_s, **common)
    theirs = {
        f"{kind}_{mean}_{name}": values[f"macro_{name}" if mean == "macro" else name]
        for kind, values in results.items()
        for mean in ("macro", "micro")
        for name in ("f", "er")
    }
    notes = _differences(row, theirs) or ["F and ER by sed_eval."]
    return replace(row, scores={**row.scores, **theirs}), notes


def _differences(row: ScoreRow, theirs: Mapping[str, float]) -> list[str]:
    different = [
        f"{name} {row.scores[name]!r} and {value!r}"
        for name, value in theirs.items()
        if not np.isclose(row.scores[name], value, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)
    ]
    if not different:
        return []
    pairs = "; ".join(different)
    note = f"{row.label}: the fast version and sed_eval differ, please report this: {pairs}."
    logger.warning(note)
    return [note]


def _published_row(published: Mapping[str, float] | None) -> list[ScoreRow]:
    if not published:
        return []
    return [ScoreRow("published", "published", published_scores(published, SCORES))]


def _remarks(test: TestSet, row: ScoreRow, scoring: ScoringConfig) -> list[str]:
    """Notes on absent classes and conventions."""
    counts = test.table.counts()
    absent = [label for label, count in zip(test.classes, counts, strict=True) if not count]
    remarks = []
    overlapping = test.table.overlapping()
    if len(overlapping):
        files = shown([test.names[number] for number in np.unique(overlapping)])
        remarks.append(
            f"{len(overlapping)} reference event(s) overlap another one of their class, in {files}:"
            " PSDS and best F take them for one."
        )
    backward = np.count_nonzero(test.table.offset_s < test.table.onset_s)
    if backward:
        remarks.append(
            f"{backward} reference event(s) end before they begin: F and ER count them as sed_eval"
            " does, PSDS and best F leave them out."
        )
    if not counts.any():
        remarks.append("The reference has no event at all: most scores are undefined.")
    elif absent:
        remarks.append(
            f"No reference events of {', '.join(absent)}: mAP, PSDS and best F leave them out; an"
            " estimate of theirs makes their ER, and the mean ER, infinite."
        )
    map_published = row.scores.get("map_published", row.scores.get("map"))
    if map_published != row.scores.get("map") and absent:
        remarks.append(f"Counting AP = 0 for them, as published, mAP is {map_published:.3f}.")
    if not scoring.empty_estimate_is_zero:
        remarks.append("Classes that are never estimated are left out of the mean F.")
    return remarks

"""Score tables of a test set: events, segments, tags and PSDS, with baselines.

`python -m sed_task4.score ESTIMATED.tsv REFERENCE.tsv` scores one event file against another.
"""

import argparse
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from pydantic import Field

from common.audio.formats import shown
from common.errors import DataError
from common.events.table import EventTable
from common.io.files import write_json
from common.io.tables import to_number, to_whole
from common.io.terminal import typed_text
from common.metrics.detection import INFINITE_RATE, DetectionScores
from common.metrics.event_based import event_based_scores
from common.metrics.psds import ThresholdSweep
from common.metrics.score_table import ScoreTable, ScoreTables, published_scores, score_cells
from common.metrics.sed_eval_scores import event_based_by_sed_eval, segment_based_by_sed_eval
from common.metrics.segment_based import segment_based_scores
from common.metrics.tagging import TagScores, class_f_scores, tag_scores
from sed_task4.clips.labels import events_of_classes
from sed_task4.decoding import spread_tags
from sed_task4.scores.maestro import MAESTRO_CLASS_COLUMNS, MAESTRO_COLUMNS, MaestroScores
from sed_task4.scores.score_files import ClipScores, clip_tags, events_above
from sed_task4.scores.threshold_scores import (
    COLUMNS,
    Part,
    SweptCurves,
    ThresholdConfig,
    bootstrap_intervals,
    columns_of,
    intersection_scores,
    scores_and_curves,
)

logger = logging.getLogger(__name__)

SEGMENTS = {"segment": 1.0, "segment_200ms": 0.2}  # seconds, by the beginning of the scores' names
_KINDS = {"event": "event", "segment": "1 s", "segment_200ms": "0.2 s"}


def _columns(mean: str) -> dict[str, str]:
    """Headings of the F-scores and error rates by name; `mean` is macro or micro."""
    columns = {f"clip_{mean}_f": "clip F"}
    for kind, title in _KINDS.items():
        columns |= {f"{kind}_{mean}_f": f"{title} F", f"{kind}_{mean}_er": "ER"}
    return columns


_SWEPT = {"psds1": "PSDS 1", "psds2": "PSDS 2", "best_f": "best F"}
MACRO_COLUMNS = {"map": "mAP", **_columns("macro"), **_SWEPT}
MICRO_COLUMNS = _columns("micro")
TABLES = {"Mean over classes (macro)": MACRO_COLUMNS, "All events together (micro)": MICRO_COLUMNS}
CLASS_COLUMNS = {
    **{"n_clips": "clips", "n_events": "events", "ap": "AP", "clip_f": "clip F"},
    **{"event_f": "event F", "event_er": "ER", "event_deletions": "del."},
    **{"event_insertions": "ins.", "segment_f": "1 s F", "segment_er": "ER"},
    **{"segment_200ms_f": "0.2 s F", "segment_200ms_er": "ER", **_SWEPT},
}
_TAG_NAMES = ("map", "map_published", "auc")
_POINT_NAMES = ("psds1_50", "psds2_50")
SCORES = tuple(
    dict.fromkeys(
        [*_TAG_NAMES, *MACRO_COLUMNS, *MICRO_COLUMNS, *COLUMNS, *_POINT_NAMES, *MAESTRO_COLUMNS]
    )
)
BASELINES = ALWAYS_SILENT, ALWAYS_ACTIVE, TRUE_TAGS = (
    "always silent",
    "always active",
    "true tags, whole clip",
)
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


@dataclass(frozen=True)
class ScoreRow:
    """One line of the tables.

    Attributes:
        group: "system", "baseline" or "published".
        label: name of the system or baseline.
        scores: by name, see `SCORES`; unknown ones are missing.
        by_class: for each name of `CLASS_COLUMNS`, one value per class.
        curves: that the scores over all thresholds were taken from; None: there are none.
        maestro: by class of MAESTRO real, which has clips and classes of its own, the scores of
            `MAESTRO_CLASS_COLUMNS` by name.
    """

    group: str
    label: str
    scores: Mapping[str, float]
    by_class: Mapping[str, Sequence[float]] = field(default_factory=dict)
    curves: SweptCurves | None = field(default=None, compare=False, repr=False)
    maestro: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class ScoreReport(ScoreTables):
    """The score tables and their notes.

    Attributes:
        rows: lines as printed, the system first.
        classes: class names.
        n_clips: number of clips.
        notes: sentences to print below.
        n_recordings: number of recordings of MAESTRO real.
    """

    rows: tuple[ScoreRow, ...]
    classes: tuple[str, ...]
    n_clips: int
    notes: tuple[str, ...] = ()
    n_recordings: int = 0

    def score(self, name: str, label: str | None = None) -> float:
        """Returns one score, e.g. `score("event_macro_f")`, by default of the first row.

        Raises:
            KeyError: there is no such line or number.
        """
        return self.row(label).scores[name]

    def tables(self) -> list[ScoreTable]:
        """Returns the tables of means over the classes, of all events, and of the classes."""
        tables = score_tables(self, TABLES, CLASS_COLUMNS)
        return [*tables, *_maestro_tables(self)] if self.n_recordings else tables

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values, which `write_json` writes with null for undefined ones."""
        rows: list[dict[str, Any]] = []
        for row in self.rows:
            scores = {name: _finite(value) for name, value in row.scores.items()}
            classes = {
                label: {name: _finite(float(values[k])) for name, values in row.by_class.items()}
                for k, label in enumerate(self.classes if row.by_class else ())
            }
            line = {"group": row.group, "label": row.label, "scores": scores, "classes": classes}
            rows.append(line | ({"maestro": row.maestro} if row.maestro else {}))
        stored = {"n_clips": self.n_clips, "rows": rows, "notes": list(self.notes)}
        return stored | ({"n_recordings": self.n_recordings} if self.n_recordings else {})

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """Returns the report of `to_dict`; infinite scores have become undefined."""
        rows = []
        for row in stored["rows"]:
            values = list(row["classes"].values())
            names = values[0] if values else ()
            by_class = {name: [_number(each[name]) for each in values] for name in names}
            scores = {name: _number(value) for name, value in row["scores"].items()}
            maestro = {
                label: {name: _number(value) for name, value in each.items()}
                for label, each in row.get("maestro", {}).items()
            }
            rows.append(ScoreRow(row["group"], row["label"], scores, by_class, maestro=maestro))
        classes, n_recordings = tuple(stored["rows"][0]["classes"]), stored.get("n_recordings", 0)
        return cls(tuple(rows), classes, stored["n_clips"], tuple(stored["notes"]), n_recordings)

    def remarks(self) -> list[str]:
        """Returns the sentences below the tables."""
        conventions = (
            "F and ER of events: onset within the collar, offset within it or a share of the"
            " event's length. Segments: 1 s and 0.2 s. Best F: event-based, the best threshold of"
            " each class."
        )
        return [conventions, *self.notes]


def score_tables(
    report: ScoreReport, means: Mapping[str, Mapping[str, str]], of_classes: Mapping[str, str]
) -> list[ScoreTable]:
    """Makes the tables of a report.

    Args:
        report: its rows; the first one's classes are shown.
        means: by title, headings by name of the score.
        of_classes: headings by name of the score, of the table of classes.
    """
    scores = {row.label: row.scores.get for row in report.rows}
    counted = f"{report.n_clips} clips"
    more = columns_of({name: None for row in report.rows for name in row.scores})
    tables = [
        ScoreTable(title, score_cells(columns, scores, counted))
        for title, columns in (*means.items(), ("All thresholds, and intersections", more))
    ]
    first = report.rows[0]
    known = {name: heading for name, heading in of_classes.items() if name in first.by_class}
    numbered = enumerate(report.classes)
    classes = {label: lambda name, k=k: first.by_class[name][k] for k, label in numbered}
    tables.append(ScoreTable(f"Classes: {first.label}", score_cells(known, classes)))
    return [table for table in tables if table.rows]


def _maestro_tables(report: ScoreReport) -> list[ScoreTable]:
    """Tables of MAESTRO real: of the systems, and of the classes of the first one."""
    scores = {row.label: row.scores.get for row in report.rows}
    title = "MAESTRO real, seconds of recordings, mean over classes"
    means = score_cells(MAESTRO_COLUMNS, scores, f"{report.n_recordings} recordings")
    first = next(row for row in report.rows if row.maestro)
    classes = {label: each.get for label, each in first.maestro.items()}
    of_classes = score_cells(MAESTRO_CLASS_COLUMNS, classes)
    return [
        ScoreTable(title, means),
        ScoreTable(f"Classes of MAESTRO real: {first.label}", of_classes),
    ]


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def _finite(value: float) -> float:
    return float("inf") if value > INFINITE_RATE else value


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


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs `python -m sed_task4.score`; returns its exit status."""
    # Those who import scores do not need the modules of the command line.
    from common.cli.base import run_safely

    return run_safely(_run, arguments)


def _run(arguments: Sequence[str]) -> None:
    from common.cli.base import base_parser, params_path
    from common.settings.tasks import load_task

    parser = base_parser("Scores a file of predicted events against the ground truth.")
    _add_arguments(parser)
    options = parser.parse_args(arguments)
    if options.task is None:
        known = _settings_of_run(options.estimated)
    else:
        task = load_task(params_path(options.params), options.task, options.overrides)
        known = _known_settings(task)
    scoring = ScoringConfig(**{**known.scoring, **_given(options)})
    report = score_files(
        options.estimated,
        options.reference,
        scoring,
        classes=options.classes.split(",") if options.classes else known.classes,
        clip_s=options.clip_s or known.clip_s,
        ignore_unknown=options.ignore_unknown,
        strict=known.strict and not options.no_strict,
        audio=options.durations or options.audio,
    )
    if options.json:
        write_json(options.json, report.to_dict())
    print(report.to_markdown() if options.markdown else report.to_text())


@dataclass(frozen=True)
class _KnownSettings:
    """Settings of scoring for options that are not given."""

    classes: tuple[str, ...] | None = None
    clip_s: float = 10.0
    strict: bool = True
    scoring: Mapping[str, Any] = field(default_factory=dict)


def _settings_of_run(estimated: Path) -> _KnownSettings:
    """Classes, clip length and scoring of the run that an event file belongs to, if any."""
    from common.settings.tasks import check_task
    from common.training.run_directory import ENVIRONMENT, read_settings

    folders = list(Path(estimated).resolve().parents)[:3]
    files = "settings.yaml", ENVIRONMENT
    runs = (folder for folder in folders if all((folder / name).is_file() for name in files))
    run = next(runs, None)
    if run is None:
        return _KnownSettings()
    task: Any = check_task(read_settings(run), f"the settings of {run}")
    if not task.family.startswith("sed_task4"):
        return _KnownSettings()
    logger.info("Classes, length of clips and scoring are those of %s, where not given.", run)
    return _known_settings(task)


def _known_settings(task: Any) -> _KnownSettings:
    names = set(ScoringConfig.model_fields) & set(type(task.scoring).model_fields)
    scoring = {name: getattr(task.scoring, name) for name in names}
    dataset = task.dataset
    return _KnownSettings(tuple(dataset.classes), dataset.clip_s, dataset.strict, scoring)


def _given(options: argparse.Namespace) -> dict[str, Any]:
    """Scoring options of the command line."""
    values = {"collar_s": options.collar, "offset_share": options.offset_share}
    values |= {"empty_estimate_is_zero": False if options.leave_out_empty else None}
    values |= {"event_threshold": options.threshold, "operating_points": options.points}
    values |= {"all_thresholds": options.all_thresholds or None}
    values |= {"empty_clips": "dropped" if options.drop_empty else None}
    if options.resamples is not None:
        values["bootstrap"] = {"n_resamples": options.resamples}
    return {name: value for name, value in values.items() if value is not None}


def score_files(
    estimated: Path,
    reference: Path,
    scoring: ScoringConfig | None = None,
    *,
    classes: Sequence[str] | None = None,
    clip_s: float = 10.0,
    ignore_unknown: bool = False,
    strict: bool = True,
    audio: Path | None = None,
) -> ScoreReport:
    """Scores an event file, or a folder of scores, prepared by `sed_task4.scores.scored_files`.

    Args:
        estimated: see `sed_task4.scores.submission`; or a folder that predict.py wrote; or one of
            score files, see `sed_task4.scores.score_files`.
        reference: as well; its file names are the test set. A row with only a name is a clip
            without events.
        scoring: how; None: the defaults.
        classes: class names; None: the ten of the challenge.
        clip_s: length of the clips.
        ignore_unknown: leave out estimates of files that are not in the reference, as published.
        strict: see `sed_task4.clips.dataset.parse_events`.
        audio: folder of the clips, whose lengths are read, or a table of their lengths; None: those
            that a run wrote next to its events, or `clip_s`.

    Raises:
        DataError: a file cannot be read, or estimates are of files that are not in the reference.
    """
    from sed_task4.clips.dataset import DatasetConfig
    from sed_task4.scores.score_files import is_score_folder
    from sed_task4.scores.scored_files import read_pair, read_score_pair

    classes = tuple(classes or DatasetConfig().classes)
    estimated, reference = Path(estimated), Path(reference)
    options = {"ignore_unknown": ignore_unknown, "strict": strict}
    if is_score_folder(estimated):
        pair, clips = read_score_pair(estimated, reference, classes, clip_s, **options)
        output = _output_of_scores(clips, (scoring or ScoringConfig()).event_threshold)
    else:
        pair = read_pair(estimated, reference, classes, clip_s, **options)
        output = SystemOutput(pair.estimate)
    test = TestSet(pair.names, pair.reference, classes, clip_s)
    test, output, length_notes = _within_lengths(test, output, audio, estimated)
    report = score_report(test, {estimated.stem: output}, scoring)
    return replace(report, notes=(*report.notes, *pair.notes, *length_notes))


def _output_of_scores(clips: Sequence[ClipScores], threshold: float) -> SystemOutput:
    """Takes scores above a threshold for events, and the highest of a clip for its tags."""
    return SystemOutput(
        [events_above(clip, threshold) for clip in clips],
        np.stack([clip_tags(clip) for clip in clips]) if clips else None,
        [clip.scores for clip in clips],
        remark=f"Events: scores above {threshold:g}. Tags: the highest score of a clip. PSDS and"
        " best F: of all thresholds.",
        edges_s=[clip.edges_s for clip in clips],
        threshold=threshold,
    )


def _within_lengths(
    test: TestSet, output: SystemOutput, audio: Path | None, estimated: Path
) -> tuple[TestSet, SystemOutput, list[str]]:
    """Cuts events at the ends of their clips; notes clips of unknown length.

    Args:
        test: the ground truth.
        output: the system's events.
        audio: folder of the clips, or a table of their lengths; None: unknown.
        estimated: the event file, next to which a run writes lengths.
    """
    from sed_task4.clips.lengths import cut_to_length, lengths_of_files, log_cut, read_lengths
    from sed_task4.scores.submission import CLIPS

    lengths = {}
    if audio is not None and audio.is_file():
        lengths = read_lengths(audio)
    elif audio is not None:
        lengths = lengths_of_files(audio, test.names)
    elif estimated.with_name(CLIPS).is_file():
        lengths = read_lengths(estimated.with_name(CLIPS))
    unknown = [name for name in test.names if name not in lengths]
    notes = []
    if unknown:
        n_unknown = f"{len(unknown)} clip(s) of unknown length are"
        which = "Clips are" if len(unknown) == len(test.names) else n_unknown
        remedy = "--audio FOLDER reads their lengths"
        notes = [f"{which} taken to last {test.clip_s:g} s (--clip-s); {remedy}."]
    given_s = (lengths.get(name, test.clip_s) for name in test.names)
    durations_s = np.array([min(length_s, test.clip_s) for length_s in given_s])
    ends_s = np.where([name in lengths for name in test.names], durations_s, np.inf)
    log_cut(test.names, test.events, ends_s)
    truth, found = (
        [cut_to_length(rows, end_s) for rows, end_s in zip(events, ends_s, strict=True)]
        for events in (test.events, output.events)
    )
    test = replace(test, events=truth, lengths_s=durations_s)
    return test, replace(output, events=found), notes


def _seconds(text: str) -> float:
    """A number of the command line, not negative, written as in tables."""
    value = to_number(text)
    if value is None or value < 0:
        raise argparse.ArgumentTypeError(f"expected a number, not negative. Received: {text!r}.")
    return value


def _whole(text: str) -> int:
    """A whole number of the command line, 2 to 1000."""
    value = to_whole(text)
    if value is None or not 2 <= value <= 1000:
        raise argparse.ArgumentTypeError(f"expected 2 to 1000. Received: {text!r}.")
    return value


def _share(text: str) -> float:
    """A number of the command line from 0 to 1."""
    value = to_number(text)
    if value is None or not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 1. Received: {text!r}.")
    return value


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    source = "a file, a folder of predict.py, or one of score files"
    add("estimated", type=Path, metavar="ESTIMATED", help=f"events of the system: {source}")
    names = "true events, a file that names all clips"
    add("reference", type=Path, metavar="REFERENCE", help=names)
    add("--task", metavar="ID", help="task whose classes, clip length and scoring these are")
    add("--json", type=Path, metavar="FILE", help="write the tables there as JSON too")
    add("--markdown", action="store_true", help="print the tables in Markdown")
    names = "class names (default: the run's, or the ten of the challenge)"
    add("--classes", type=typed_text, metavar="A,B,...", help=names)
    add("--audio", type=Path, metavar="DIR", help="folder of the clips, whose lengths are read")
    durations = "table of their lengths: filename, duration"
    add("--durations", type=Path, metavar="FILE", help=durations)
    above = "scores above it are events, for a folder of score files (default 0.5)"
    add("--threshold", type=_share, metavar="X", help=above)
    length = "length of a clip (default: the run's, or 10)"
    add("--clip-s", type=_seconds, metavar="S", help=length)
    add("--collar", type=_seconds, metavar="S", help="of onsets (default: the run's, or 0.2)")
    share = "of an event's length (default: the run's, or 0.2)"
    add("--offset-share", type=_seconds, metavar="X", help=share)
    lenient = "read events that end before they begin, or begin after the clip, as published"
    add("--no-strict", action="store_true", help=lenient)
    more = "also F of intersections, segments and clips, areas under ROC, non-oracle PSDS"
    add("--all-thresholds", action="store_true", help=more)
    points = "also PSDS of as many thresholds, as psds_eval (50)"
    add("--points", type=_whole, metavar="N", help=points)
    resamples = "bootstrap intervals of the scores over all thresholds"
    add("--resamples", type=_whole, metavar="N", help=resamples)
    dropped = "leave out clips without events, as the baselines of 2022 to 2024"
    add("--drop-empty", action="store_true", help=dropped)
    unknown = "leave out estimates of files not in REFERENCE"
    add("--ignore-unknown", action="store_true", help=unknown)
    absent = "classes never estimated do not count in the mean F"
    add("--leave-out-empty", action="store_true", help=absent)


if __name__ == "__main__":
    raise SystemExit(main())

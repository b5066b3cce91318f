"""Score tables of SELD under the rules of DCASE 2020 to 2025, with the corrected ones beside.

Recordings become tables: all of them, by split, room, overlap, number of sources at once and class,
with baselines and intervals. `seld.scores.year_folders` reads recordings from folders of csv files.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from common.errors import DataError
from common.metrics.score_table import (
    UNDEFINED,
    ScoreTable,
    ScoreTables,
    format_score,
    published_scores,
)
from seld.metrics.jackknife import ScoreIntervals, score_intervals
from seld.metrics.location_aware import AVERAGES, LocationScorer, LocationScores
from seld.metrics.location_counts import MOST_OVERLAP, groups_with
from seld.metrics.years import Average, YearRules, year_rules
from seld.recordings.layouts import LAYOUTS, Layout
from seld.recordings.rows import no_rows

HEADINGS = {
    "er": "ER",
    "f": "F",
    "doa_error_deg": "DOA error",
    "recall": "LR",
    "distance_error_m": "distance error, m",
    "distance_error_cm": "distance error, cm",
    "relative_distance_error": "RDE",
    "onscreen_accuracy": "on-screen",
    "seld_score": "SELD",
}
_TITLES = {
    "macro": "Macro: mean over all classes",
    "occurring": "Macro over the classes that occur",
    "micro": "Micro: all classes together",
}
INTERVALS_EXPLAINED = (
    "In brackets: 95 % intervals, jackknife over recordings; without, where a score is undefined"
    " without one of them."
)
_YEAR = re.compile(r"20\d\d")


@dataclass(frozen=True)
class LocationRecording:
    """Ground truth and estimate of one recording.

    Attributes:
        name: e.g. fold4_room23_mix001.
        split: its fold; None where unknown.
        room: None where unknown.
        overlap: of the file name; None where unknown.
        reference: rows (n, 7), see `seld.recordings.rows`.
        estimate: rows (m, 7).
        n_frames: label frames; None: unknown.
    """

    name: str
    split: int | None
    room: int | None
    overlap: int | None
    reference: np.ndarray
    estimate: np.ndarray
    n_frames: int | None = None


@dataclass(frozen=True)
class LocationRow:
    """One line of the tables.

    Attributes:
        group: "all", "split", "room", "overlap", "sources", "system", "baseline" or "published".
        label: e.g. "split 4".
        n_recordings: number of scored recordings, None for published values.
        scores: by scorer, average and name; unpublished ones are missing, undefined ones are NaN.
    """

    group: str
    label: str
    n_recordings: int | None
    scores: Mapping[str, Mapping[str, Mapping[str, float]]]


@dataclass(frozen=True)
class LocationReport(ScoreTables):
    """The score tables.

    Attributes:
        rows: lines in the order of print.
        rules: of the scorers, the year's first.
        by_class: scores by class (K,), by scorer and name.
        n_reference: true sources of each class that the year's scorer counts.
        classes: names of the classes.
        intervals: by scorer and average; empty without.
        notes: sentences to print below.
    """

    rows: tuple[LocationRow, ...]
    rules: tuple[YearRules, ...]
    by_class: Mapping[str, Mapping[str, np.ndarray]]
    n_reference: np.ndarray
    classes: tuple[str, ...]
    intervals: Mapping[str, Mapping[Average, ScoreIntervals]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def score(
        self,
        name: str,
        label: str = "all",
        *,
        scorer: str | None = None,
        average: str | None = None,
    ) -> float:
        """Returns one number of the tables, e.g. `score("f")`; by default the year's official one.

        Raises:
            KeyError: there is no such line or number.
        """
        average = average or self.rules[0].average
        return self.row(label).scores[scorer or self.rules[0].name][average][name]

    def tables(self) -> list[ScoreTable]:
        """Returns one table for each average, the year's first, then by class, then intervals."""
        averages = _official_first(self.rules[0])
        groups = [(rules.name, len(rules.scores)) for rules in self.rules]
        tables = [ScoreTable(_TITLES[each], self._lines(each), groups) for each in averages]
        tables.append(ScoreTable("By class", self._class_lines(), groups))
        for name, of_averages in self.intervals.items():
            title = f"{name}: by class, with jackknife over recordings"
            tables.append(ScoreTable(title, self._class_interval_lines(name, of_averages["macro"])))
            title = f"{name}: jackknife over recordings"
            tables.append(ScoreTable(title, _interval_lines(of_averages)))
        return tables

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values for `write_json`, which writes undefined ones as null."""
        return {
            "rows": [asdict(row) for row in self.rows],
            "rules": [asdict(rules) for rules in self.rules],
            "classes": list(self.classes),
            "n_reference": self.n_reference.tolist(),
            "by_class": _plain(self.by_class),
            "intervals": {
                name: {average: _plain(each.intervals) for average, each in of.items()}
                for name, of in self.intervals.items()
            },
            "intervals_by_class": {
                name: _plain(of["macro"].by_class) for name, of in self.intervals.items()
            },
            "notes": list(self.notes),
        }

    def remarks(self) -> list[str]:
        """Returns the sentences below the tables."""
        counted = f"Reference: {self.n_reference.sum():.0f} sources, by {self.rules[0].name}."
        of_rules = [f"{rules.name}: {described(rules)}" for rules in self.rules]
        return [*of_rules, counted, *self.notes]

    def _lines(self, average: str) -> list[list[str]]:
        heading = ["", "recordings"]
        heading += [HEADINGS[name] for rules in self.rules for name in rules.scores]
        lines = [heading]
        for row in self.rows:
            of = [row.scores.get(rules.name, {}).get(average, {}) for rules in self.rules]
            if not any(of):
                continue
            cells = [
                format_score(name, scores.get(name))
                for rules, scores in zip(self.rules, of, strict=True)
                for name in rules.scores
            ]
            counted = UNDEFINED if row.n_recordings is None else str(row.n_recordings)
            lines.append([row.label, counted, *cells])
        return lines

    def _class_lines(self) -> list[list[str]]:
        names = [name for rules in self.rules for name in rules.scores]
        lines = [["", "sources", *(HEADINGS[name] for name in names)]]
        for number, label in enumerate(self.classes):
            cells = [f"{self.n_reference[number]:.0f}"]
            for rules in self.rules:
                cells += class_cells(self.by_class[rules.name], rules.scores, number)
            lines.append([label, *cells])
        return lines

    def _class_interval_lines(self, scorer: str, found: ScoreIntervals) -> list[list[str]]:
        names = found.scores.rules.scores
        lines = [["", *(HEADINGS[name] for name in names)]]
        for number, label in enumerate(self.classes):
            cells = class_cells(self.by_class[scorer], names, number, found.by_class)
            lines.append([label, *cells])
        return lines


def class_cells(
    values: Mapping[str, np.ndarray],
    names: Iterable[str],
    number: int,
    intervals: Mapping[str, np.ndarray] | None = None,
) -> list[str]:
    """Writes the scores of one class, perhaps with their intervals; no angle without a match.

    Args:
        values: scores by class (K,), by name.
        names: the scores, in order.
        number: of the class.
        intervals: lower and upper ends by class, (K, 2), by name.
    """
    cells = []
    # Without a match the official error is 180 degrees, which is in the mean but measures nothing.
    is_matched = values["recall"][number] > 0
    for name in names:
        text = format_score(name, float(values[name][number]))
        if name == "doa_error_deg" and not is_matched:
            text = UNDEFINED
        ends = np.full(2, np.nan) if intervals is None else intervals[name][number]
        if np.isfinite(ends).all():
            low, high = (format_score(name, float(end)) for end in ends)
            text += f" [{low}, {high}]"
        cells.append(text)
    return cells


def _plain(arrays: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _plain(each) if isinstance(each, Mapping) else np.asarray(each).tolist()
        for name, each in arrays.items()
    }


def described(rules: YearRules) -> str:
    """Describes the rules of a scorer in a sentence."""
    unit = "one-second blocks" if rules.unit == "block" else "frames"
    limits = [f"{rules.angle_threshold_deg:g} degrees"]
    if rules.with_distance and math.isfinite(rules.distance_threshold_m):
        limits.append(f"{rules.distance_threshold_m:g} m")
    if rules.with_distance and math.isfinite(rules.relative_threshold):
        limits.append(f"{rules.relative_threshold:g} of the distance")
    if rules.onscreen_required:
        limits.append("the right on-screen flag")
    frames = "all frames" if rules.whole_length else "frames before the last true one"
    return f"{unit}, right within {', '.join(limits)}; {frames}."


def _interval_lines(of_averages: Mapping[Average, ScoreIntervals]) -> list[list[str]]:
    heading = [""]
    for average, found in of_averages.items():
        level = f"{100 * (1 - found.significance):g} %"
        heading += [average, f"{level} from", f"{level} to"]
    lines = [heading]
    first = next(iter(of_averages.values()))
    for name in first.scores.rules.scores:
        cells = [HEADINGS[name]]
        for found in of_averages.values():
            low, high = found.intervals[name].tolist()
            values = getattr(found.scores, name), low, high
            cells += [format_score(name, value) for value in values]
        lines.append(cells)
    return lines


def location_report(
    recordings: Sequence[LocationRecording],
    scorer: str | YearRules = "dcase2024",
    classes: Sequence[str] | int | None = None,
    *,
    intervals: bool = False,
    frames_per_s: int = 10,
    notes: Sequence[str] = (),
    published: Mapping[str, float] | None = None,
    compared: Mapping[str, Sequence[LocationRecording]] | None = None,
) -> LocationReport:
    """Scores recordings under the rules of a year, and under the corrected ones.

    Next to the estimate are baselines: "always silent" and "labels of another recording" (the
    reference of the next recording in sorted order, of the first for the last one).

    Args:
        recordings: at least one; sorted here by name.
        scorer: name of `seld.metrics.years.YEARS`, or rules.
        classes: names for the table of classes, or only how many there are; None: as many as in the
            year.
        intervals: jackknife over recordings, of 95 %.
        frames_per_s: label frames per second.
        notes: further sentences to print below.
        published: some of the year's scores, of its official average.
        compared: estimates of other systems for the same recordings, by the label of their line.

    Raises:
        ConfigError: unknown scorer.
        DataError: no recordings.
        ValueError: rows that cannot be used, or a published score that the year does not have.
    """
    if not recordings:
        raise DataError(
            "There is no recording to score. Check that the test set has recordings with metadata."
        )
    recordings = sorted(recordings, key=lambda recording: recording.name)
    official = year_rules(scorer)
    rules = [official]
    if official.corrected != official.name:
        rules.append(_corrected(official))
    names = _class_names(classes, official)
    n_classes = len(names)
    estimates = [each.estimate for each in recordings]
    scorers = [_score_each(each, recordings, estimates, n_classes, frames_per_s) for each in rules]
    rows = [*_group_rows(recordings, scorers), *_overlap_rows(scorers)]
    notes = [*notes, *_notes_on(recordings)]
    for label, others in (compared or {}).items():
        by_name = {other.name: other.estimate for other in others}
        rows_of = [by_name[recording.name] for recording in recordings]
        rows.append(_row("system", label, _scored_again(scorers, recordings, rows_of)))
    baselines, of_baselines = _baseline_rows(recordings, scorers)
    found: dict[str, dict[Average, ScoreIntervals]] = {}
    if intervals:
        found = _intervals(scorers)
        warnings = [each.warning(names) for of in found.values() for each in of.values()]
        of_baselines += [text for text in dict.fromkeys(warnings) if text]
    by_class = {each.rules.name: each.result("macro").by_class for each in scorers}
    return LocationReport(
        (*rows, *baselines, *published_rows(published, official)),
        tuple(rules),
        by_class,
        scorers[0].result().n_reference,
        names,
        found,
        (*notes, *of_baselines),
    )


def _corrected(rules: YearRules) -> YearRules:
    """Corrected rules beside those of a year, with the same thresholds."""
    same = ("angle_threshold_deg", "distance_threshold_m", "relative_threshold")
    changes = {name: getattr(rules, name) for name in (*same, "onscreen_required")}
    corrected = year_rules(rules.corrected, **changes)
    if corrected.with_distance and not rules.with_distance:
        shared = {"scores": rules.scores, "seld_parts": rules.seld_parts}
        corrected = year_rules(corrected, with_distance=False, **shared)
    return corrected


def layout_of(rules: YearRules) -> Layout:
    """Layout of the dataset of a scorer's year; of 2024 for rules of another name."""
    found = _YEAR.search(rules.name)
    year = found.group() if found else "2024"
    return next(layout for name, layout in LAYOUTS.items() if name.endswith(year))


def _score_each(
    rules: YearRules,
    recordings: Sequence[LocationRecording],
    estimates: Sequence[np.ndarray],
    n_classes: int,
    frames_per_s: int,
) -> LocationScorer:
    scorer = LocationScorer(rules, n_classes, frames_per_s=frames_per_s)
    for recording, estimate in zip(recordings, estimates, strict=True):
        scorer.update(recording.reference, estimate, recording.n_frames)
    return scorer


def _scored_again(
    scorers: Sequence[LocationScorer],
    recordings: Sequence[LocationRecording],
    estimates: Sequence[np.ndarray],
) -> list[LocationScorer]:
    """Scorers of the same rules for other estimates of the recordings."""
    return [
        _score_each(each.rules, recordings, estimates, each.n_classes, each.frames_per_s)
        for each in scorers
    ]


def _class_names(classes: Sequence[str] | int | None, rules: YearRules) -> tuple[str, ...]:
    if classes is None or isinstance(classes, int):
        return tuple(
            f"class {number}" for number in range(classes or len(layout_of(rules).classes))
        )
    return tuple(classes)


def published_rows(published: Mapping[str, float] | None, rules: YearRules) -> list[LocationRow]:
    """The line of published scores, of the official average; none without."""
    if not published:
        return []
    scores = published_scores(published, rules.scores)
    return [LocationRow("published", "published", None, {rules.name: {rules.average: scores}})]


def _row(
    group: str,
    label: str,
    scorers: Sequence[LocationScorer],
    members: Sequence[int] | None = None,
    **units: Any,
) -> LocationRow:
    """Scores of some recordings; `units`: which blocks or frames, see `LocationScorer.result`."""
    scores: dict[str, dict[str, dict[str, float]]] = {}
    n_recordings = len(scorers[0]) if members is None else len(members)
    for scorer in scorers:
        results = {
            average: scorer.result(average, members=members, **units)
            for average in _official_first(scorers[0].rules)
        }
        scores[scorer.rules.name] = {name: _named(each) for name, each in results.items()}
    return LocationRow(group, label, n_recordings, scores)


def _official_first(rules: YearRules) -> list[Average]:
    return sorted(AVERAGES, key=lambda average: average != rules.average)


def _named(scores: LocationScores) -> dict[str, float]:
    return {name: getattr(scores, name) for name in scores.rules.scores}


def _group_rows(
    recordings: Sequence[LocationRecording], scorers: Sequence[LocationScorer]
) -> list[LocationRow]:
    rows = [_row("all", "all", scorers)]
    for group in ("split", "overlap", "room"):
        keys = [getattr(recording, group) for recording in recordings]
        for key in sorted({key for key in keys if key is not None}):
            members = [number for number, other in enumerate(keys) if other == key]
            rows.append(_row(group, f"{group} {key}", scorers, members))
    return rows


def _overlap_rows(scorers: Sequence[LocationScorer]) -> list[LocationRow]:
    """Lines of the blocks or frames with some number of true sources, or one class, at once."""
    units = np.sum([scorer.counts().n_units for scorer in scorers], axis=0)  # (N, groups)
    lines: list[tuple[str, dict[str, Any]]] = []
    for number in range(MOST_OVERLAP + 1):
        more = " or more" if number == MOST_OVERLAP else ""
        plural = "" if number == 1 else "s"
        lines.append((f"{number}{more} source{plural} at once", {"overlap": number}))
    lines.append(("sources of one class at once", {"of_one_class": True}))
    rows = []
    for label, chosen in lines:
        members = np.flatnonzero(units[:, groups_with(**chosen)].sum(axis=1)).tolist()
        if members:
            rows.append(_row("sources", label, scorers, members, **chosen))
    return rows


def _baseline_rows(
    recordings: Sequence[LocationRecording], scorers: Sequence[LocationScorer]
) -> tuple[list[LocationRow], list[str]]:
    references = [recording.reference for recording in recordings]
    estimates = {"always silent": [no_rows()] * len(recordings)}
    notes = []
    if len(recordings) > 1:
        estimates["labels of another recording"] = references[1:] + references[:1]
    else:
        notes.append("Labels of another recording: left out, there is only one recording.")
    rows = []
    for label, rows_of in estimates.items():
        rows.append(_row("baseline", label, _scored_again(scorers, recordings, rows_of)))
    return rows, notes


def _notes_on(recordings: Sequence[LocationRecording]) -> list[str]:
    unknown = sum(each.n_frames is None for each in recordings)
    if not unknown:
        return []
    return [
        f"Length of {unknown} recording(s): unknown. The scorers of 2020 and 2021 take 60 s, the"
        " corrected ones end with the last row of either file."
    ]


def _intervals(scorers: Sequence[LocationScorer]) -> dict[str, dict[Average, ScoreIntervals]]:
    return {
        scorer.rules.name: {average: score_intervals(scorer, average) for average in AVERAGES}
        for scorer in scorers
    }

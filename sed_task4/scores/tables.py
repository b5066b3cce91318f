"""Score tables of a test set: names and headings of scores, rows of systems, stored reports."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Self

from common.metrics.detection import INFINITE_RATE
from common.metrics.score_table import ScoreTable, ScoreTables, format_score, score_cells
from sed_task4.scores.maestro import MAESTRO_CLASS_COLUMNS, MAESTRO_COLUMNS
from sed_task4.scores.threshold_scores import COLUMNS, SweptCurves, columns_of

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

# PSDS of all classes, and of most single ones, that together want an explanation.
_NEARLY_ZERO, _GOOD = 0.1, 0.3


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
        return [conventions, *_surprises(self), *self.notes]


def _events_text(report: ScoreReport) -> str:
    """Number of reference events, where the classes of the first row have it."""
    counts = report.rows[0].by_class.get("n_events", ())
    return f", {sum(counts):.0f} events" if len(counts) else ""


def _surprises(report: ScoreReport) -> Iterator[str]:
    """Explains scores of the first row that seem to contradict others."""
    scores, by_class = report.rows[0].scores, report.rows[0].by_class
    best, own = scores.get("best_f", math.nan), scores.get("event_macro_f", math.nan)
    if best < own:
        yield (
            f"Best F, {format_score('f', best)}, lies below event F, {format_score('f', own)}: it"
            " is of the decoder whose thresholds are swept (see below), not of the run's own."
        )
    for name in ("psds1", "psds2"):
        known = {
            label: value
            for label, value in zip(report.classes, by_class.get(name, ()), strict=False)
            if not math.isnan(value)
        }
        if known and scores.get(name, math.nan) < _NEARLY_ZERO and median(known.values()) > _GOOD:
            lowest = sorted(known, key=lambda label: known[label])[:3]
            named = ", ".join(f"{label} {known[label]:.3f}" for label in lowest)
            yield (
                f"PSDS {name[-1]} is {scores[name]:.3f} although half of the"
                f" classes have over {_GOOD:g}: the standard deviation over the classes is"
                f" subtracted. Lowest: {named}."
            )


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
    counted = f"{report.n_clips} clips{_events_text(report)}"
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

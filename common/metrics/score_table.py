"""Score tables on the screen and in Markdown: one renderer for the reports of every family."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from common.io.tables import to_text
from common.metrics.detection import INFINITE_RATE

UNDEFINED = "-"


@dataclass(frozen=True)
class ScoreTable:
    """Cells of one table, ready to print.

    Attributes:
        title: line above the table, "" for none.
        rows: the heading first; the first column is aligned to the left, all others to the right.
        groups: names and numbers of adjacent columns, up to the right edge, e.g. of two scorers.
    """

    title: str
    rows: Sequence[Sequence[str]]
    groups: Sequence[tuple[str, int]] = ()

    def to_text(self) -> str:
        """Returns the table in aligned columns under its title."""
        widths = [max(map(len, column)) for column in zip(*self.rows, strict=True)]
        starts = [len(widths) - sum(n for _, n in self.groups[k:]) for k in range(len(self.groups))]
        bars = set(starts[1:])  # between two groups, not before the first

        def line(cells: Sequence[str]) -> str:
            padded = [cells[0].ljust(widths[0]), *map(str.rjust, cells[1:], widths[1:])]
            return "  ".join(f"| {cell}" if k in bars else cell for k, cell in enumerate(padded))

        def offset(start: int) -> int:
            before = sum(widths[:start]) + 2 * start
            return before + 2 * sum(bar < start for bar in bars)

        banner = ""
        for (name, _), start in zip(self.groups, starts, strict=True):
            banner = banner.ljust(offset(start)) + (f"| {name}" if start in bars else name)
        heading, *body = map(line, self.rows)
        return "\n".join([*filter(None, (self.title, banner)), heading, "-" * len(heading), *body])

    def to_markdown(self) -> str:
        """Returns the table in Markdown; the names of groups follow the headings."""
        heading = list(self.rows[0])
        owners = [name for name, n in self.groups for _ in range(n)]
        for k, name in enumerate(owners, start=len(heading) - len(owners)):
            heading[k] = f"{heading[k]} ({name})"
        table = to_text([heading, *self.rows[1:]], markdown=True)
        return f"**{self.title}**\n\n{table}" if self.title else table


class ScoreTables(ABC):
    """Base of the reports: tables, and remarks on them below."""

    rows: tuple[Any, ...]

    @abstractmethod
    def tables(self) -> list[ScoreTable]:
        """Returns the tables in the order of print; columns without any number are left out."""

    @abstractmethod
    def remarks(self) -> list[str]:
        """Returns the sentences below the tables."""

    def to_text(self) -> str:
        """Returns tables and remarks for the screen."""
        return "\n\n".join([*(t.to_text() for t in self.tables()), "\n".join(self.remarks())])

    def to_markdown(self) -> str:
        """Returns tables and remarks in Markdown."""
        return "\n\n".join([*(table.to_markdown() for table in self.tables()), *self.remarks()])

    def row(self, label: str | None = None) -> Any:
        """Returns the row of a label; None: the first row.

        Raises:
            KeyError: there is no such row.
        """
        for row in self.rows:
            if label in (None, row.label):
                return row
        raise KeyError(f"No row {label!r}. Expected: one of {[row.label for row in self.rows]}.")


def score_cells(
    columns: Mapping[str, str],
    lines: Mapping[str, Callable[[str], float | None]],
    heading: str = "",
) -> list[list[str]]:
    """Makes the rows of a `ScoreTable`.

    Args:
        columns: headings by name of the score.
        lines: by label, from the name of a score to its value, None where it is missing.
        heading: of the first column.

    Returns:
        Heading and one row for each line with a value; [] without any. Columns that no line has a
        value for are left out.
    """
    values = {label: {name: value(name) for name in columns} for label, value in lines.items()}
    shown = [n for n in columns if any(each[n] is not None for each in values.values())]
    rows = [
        [label, *(format_score(name, each[name]) for name in shown)]
        for label, each in values.items()
        if any(each[name] is not None for name in shown)
    ]
    return [[heading, *(columns[name] for name in shown)], *rows] if rows else []


def format_score(name: str, value: float | None) -> str:
    """Writes a score for print, by its name.

    F and frame recall in percent; degrees and decibels with one decimal; counts, whose names begin
    with `n_`, whole; others with three decimals. An undefined score is "-".
    """
    if value is None or math.isnan(value):
        return UNDEFINED
    if value > INFINITE_RATE:
        return "inf"
    if name.startswith("n_"):
        return f"{value:.0f}"
    if name.split("_")[-1] == "f" or name.endswith("_f_of_hit") or name == "frame_recall":
        return f"{100 * value:.1f} %"
    return f"{value:.1f}" if name.endswith(("_deg", "_db")) else f"{value:.3f}"


def published_scores(
    published: Mapping[str, float] | None, known: Sequence[str]
) -> dict[str, float]:
    """Checks the names of published scores.

    Raises:
        ValueError: a name is not among the `known` ones.
    """
    if unknown := sorted(set(published or {}) - set(known)):
        raise ValueError(
            f"Unknown published score. Expected: some of {', '.join(known)}. Received: {unknown}."
        )
    return dict(published or {})


def name_published(rows: Sequence[Any], label: str) -> tuple[Any, ...]:
    """Rows of a report; the line of published scores has a label that names their dataset.

    Beside scores on other recordings, which may be simulated, "published" alone would mislead.
    """
    return tuple(replace(row, label=label) if row.group == "published" else row for row in rows)

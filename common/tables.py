"""Tables as text: written as CSV or in aligned columns, and the headers of those that are read."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any


def to_csv(rows: Iterable[Sequence[Any]]) -> str:
    """Writes rows as CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def to_text(table: Sequence[Sequence[str]], markdown: bool = False) -> str:
    """Writes a table in aligned columns, or in Markdown."""
    if markdown:
        rule = ["---", *["---:"] * (len(table[0]) - 1)]
        return "\n".join("| " + " | ".join(cells) + " |" for cells in [table[0], rule, *table[1:]])
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in table)


def header_problem(header: Sequence[str], columns: Sequence[str]) -> str | None:
    """What is wrong with a header that must name some columns once each; None if nothing is."""
    missing = [column for column in columns if column not in header]
    if missing:
        return f"missing column(s) {', '.join(missing)}"
    repeated = [column for column in columns if header.count(column) > 1]
    return f"column(s) {', '.join(repeated)} twice" if repeated else None

"""One table over several runs: kinds of training data, architectures, seeds.

    python -m common.compare RUN RUN ... [--line LABEL] [--markdown]
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.commands import run_safely
from common.errors import CheckpointError
from common.run_directory import read_form


@dataclass(frozen=True)
class _Row:
    label: str
    scores: dict[str, float | dict[str, float | None] | None]


@dataclass(frozen=True)
class _Scores:
    """What the scores of a run must say."""

    rows: list[_Row]


def scores_of(run: Path, line: str | None) -> dict[str, float | None]:
    """Reads one line of a run's table.

    Args:
        run: a run's directory.
        line: label of the line; None: the first, the system itself.

    Returns:
        Scores by name; those of several definitions as "<definition> <name>".

    Raises:
        CheckpointError: the run has no scores, or no such line.
    """
    rows = read_form(run / "scores.json", _Scores)["rows"]
    found = next((row for row in rows if line in (None, row["label"])), None)
    if found is None:
        labels = ", ".join(row["label"] for row in rows)
        raise CheckpointError(f"{run}: no line {line!r} in the table of scores. There are: {labels}.")
    return _flat(found["scores"])


def _flat(scores: Mapping[str, Any]) -> dict[str, float | None]:
    flat: dict[str, float | None] = {}
    for name, value in scores.items():
        flat |= {f"{name} {part}": score for part, score in value.items()} if isinstance(value, dict) else {name: value}
    return flat


def comparison(runs: Sequence[Path], line: str | None = None) -> list[list[str]]:
    """Makes the table: a row for each run, a column for each score that any of them has."""
    scores = {run: scores_of(run, line) for run in runs}
    columns = list(dict.fromkeys(name for each in scores.values() for name in each))
    body = [
        [run.name, *("-" if each.get(name) is None else f"{each[name]:.3f}" for name in columns)]
        for run, each in scores.items()
    ]
    return [["run", *columns], *body]


def to_text(table: Sequence[Sequence[str]], markdown: bool) -> str:
    """Writes a table in aligned columns, or in Markdown."""
    if markdown:
        rule = ["---", *["---:"] * (len(table[0]) - 1)]
        return "\n".join("| " + " | ".join(row) + " |" for row in [table[0], rule, *table[1:]])
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in table)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    return run_safely(_run, arguments)


def _run(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m common.compare", description="One table over several runs.")
    parser.add_argument("runs", nargs="+", type=Path, help="run directories")
    parser.add_argument("--line", help="label of the line to compare; default: the system's own")
    parser.add_argument("--markdown", action="store_true", help="print the table in Markdown")
    options = parser.parse_args(arguments)
    print(to_text(comparison(options.runs, options.line), options.markdown))


if __name__ == "__main__":
    raise SystemExit(main())

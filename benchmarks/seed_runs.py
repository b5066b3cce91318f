"""Runs of several seeds: the real programs as processes, what is finished stays, spreads of scores.

A run is finished when its scores are written. A killed benchmark that starts again finds its runs
there, and a run that was under way resumes as any training does.
"""

import json
import shlex
import statistics
import subprocess
import sys
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.measure import ROOT, wall_s
from common.errors import DataError

Scores = dict[str, Any]
SCORES, MINUTES = "scores.json", "minutes.json"


def start(command: Sequence[str]) -> None:
    """Runs a program of the project to its end.

    Args:
        command: as after `python`.

    Raises:
        DataError: it failed; its own message is above.
    """
    status = subprocess.run([sys.executable, *command], cwd=ROOT, check=False).returncode
    if status:
        raise DataError(
            f"`python {shlex.join(command)}` ended with status {status}; its message is above."
            " What is finished stays: correct that, and start the same command again."
        )


def options_of(settings: Iterable[str]) -> list[str]:
    """Settings `key=value` as options of a command."""
    return [option for setting in settings for option in ("--set", setting)]


def train(command: Sequence[str], run: Path) -> None:
    """Trains and scores a run unless it is finished; keeps the minutes unless it was resumed.

    Args:
        command: the program with its arguments, see `start`.
        run: folder of the run.
    """
    fresh = not run.exists()
    if not (run / SCORES).exists():
        seconds = wall_s(partial(start, command))
        if fresh:  # the time of a resumed run is meaningless
            (run / MINUTES).write_text(f"{seconds / 60:.2f}\n")


def scores_of(run: Path, label: str) -> Scores:
    """The scores in one line of the table of a run, or of an evaluation."""
    rows = json.loads((run / SCORES).read_text(encoding="utf-8"))["rows"]
    return next(row["scores"] for row in rows if row["label"] == label)


def published_of(run: Path) -> Scores:
    """The published scores in the table of a run, whose label names their dataset."""
    rows = json.loads((run / SCORES).read_text(encoding="utf-8"))["rows"]
    return next(row["scores"] for row in rows if row["group"] == "published")


def minutes_of(run: Path) -> float | None:
    """Minutes that a run took; None: it was resumed."""
    path = run / MINUTES
    return float(json.loads(path.read_text())) if path.exists() else None


def spread_text(values: Sequence[float | None], digits: int) -> str:
    """Mean of the seeds, lowest and highest behind it; a dash where one is undefined."""
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return "-"
    mean = f"{statistics.fmean(known):.{digits}f}"
    if len(known) == 1:
        return mean
    return f"{mean} ({min(known):.{digits}f} to {max(known):.{digits}f})"

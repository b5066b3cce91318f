"""What a search found: a table of its trials, the best settings to paste into `params.yaml`, a
figure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import yaml
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from common.display.plotting import new_figure, tidy
from common.search.space import Choice, Range, Space
from common.settings.tasks import merge, parse_overrides


@dataclass(frozen=True)
class TrialRow:
    """One trial.

    Attributes:
        number: from 0.
        state: "finished", "failed" or "unfinished".
        score: None unless it is finished.
        values: by key, as YAML.
        run: name of its run directory.
    """

    number: int
    state: str
    score: float | None
    values: Mapping[str, str]
    run: str


@dataclass(frozen=True)
class Target:
    """The score that a search improves: its name in the history, and "min" or "max"."""

    metric: str
    mode: str

    def best(self, rows: Sequence[TrialRow]) -> TrialRow | None:
        """The best finished trial, the first of equal ones; None if none is finished."""
        sign = 1.0 if self.mode == "min" else -1.0
        finished = [(sign * row.score, row.number, row) for row in rows if row.score is not None]
        return min(finished)[2] if finished else None


def trials_table(rows: Sequence[TrialRow], target: Target) -> list[list[str]]:
    """Makes the table: a row for each trial, in order; a column for each key."""
    keys = list(rows[0].values) if rows else []
    body = [
        [
            str(row.number),
            row.state,
            "-" if row.score is None else f"{row.score:.4f}",
            row.run,
            *row.values.values(),
        ]
        for row in rows
    ]
    return [["trial", "state", target.metric, "run", *keys], *body]


def best_settings(best: TrialRow, target: Target) -> str:
    """Writes the settings of a trial as in a task of `params.yaml`, below a comment that says their
    score."""
    parts = [parse_overrides([f"{key}={value}"]) for key, value in best.values.items()]
    settings: dict[str, Any] = reduce(merge, parts, {})
    return (
        f"# {target.metric} {best.score:.4f}:"
        f" {best.run}\n{yaml.safe_dump(settings, sort_keys=False)}"
    )


def search_figure(rows: Sequence[TrialRow], target: Target, space: Space) -> Figure:
    """Draws the score of each trial with the best so far, and the score against each key."""
    finished = [row for row in rows if row.score is not None]
    scores = np.array([row.score for row in finished], dtype=np.float64)
    columns = min(len(space) + 1, 4)
    lines = -(-(len(space) + 1) // columns)
    figure = new_figure(3.6 * columns, 3.2 * lines)
    axes = figure.add_subplot(lines, columns, 1)
    best = np.minimum.accumulate(scores) if target.mode == "min" else np.maximum.accumulate(scores)
    axes.plot(
        [row.number for row in finished], scores, "o", color="0.6", markersize=4, label="trial"
    )
    axes.step([row.number for row in finished], best, where="post", color="C0", label="best so far")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("trial", fontsize=9)
    axes.legend(fontsize=7.5, frameon=False)
    panels = [axes]
    for number, (key, values) in enumerate(space.items(), start=2):
        panels.append(figure.add_subplot(lines, columns, number, sharey=axes))
        _draw_key(panels[-1], key, values, [row.values[key] for row in finished], scores)
    for panel in panels:
        panel.set_ylabel(target.metric, fontsize=9)
        tidy(panel)
    return figure


def _draw_key(
    axes: Axes, key: str, values: Range | Choice, tried: Sequence[str], scores: np.ndarray
) -> None:
    places: list[float]
    if isinstance(values, Choice):
        places = [values.ends.index(each) for each in tried]
        axes.set_xticks(range(len(values.ends)), values.ends)
        axes.set_xlim(-0.5, len(values.ends) - 0.5)
    else:
        places = [float(each) for each in tried]
        if values.log:
            axes.set_xscale("log")
        else:
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=values.whole))
        axes.set_xlim(values.low, values.high)
    axes.plot(places, scores, "o", color="C1", markersize=4, clip_on=False)
    axes.set_xlabel(key, fontsize=9)

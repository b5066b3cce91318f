"""Learning curves as charts of a page."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from common.display.page import Chart, Line, decade_ticks, thinned, ticks
from common.display.plotting import Panel

# Easy to tell apart on light and dark ground, in the order of use.
COLOURS = ("#2f7fc1", "#e07b26", "#3a9d4c", "#d1495b", "#8f6fc8", "#9a6a4f", "#d36fb0", "#7d8790")


@dataclass(frozen=True)
class Series:
    """One value for each epoch, from the first one on, and how it is shown."""

    label: str
    values: Sequence[float | None]
    colour: str
    dashed: bool = False


def epochs_chart(
    title: str,
    series: Sequence[Series],
    *,
    limits: tuple[float, float] | None = None,
    logarithmic: bool = False,
    best_epoch: int | None = None,
) -> Chart:
    """Makes a chart over epochs.

    Args:
        title: quantity and unit.
        series: what is drawn; values that are unknown, None or NaN, are left out.
        limits: of the values; None: as they need.
        logarithmic: whether the values are shown on a logarithmic scale.
        best_epoch: is pointed at.
    """
    lines, values = [], []
    for each in series:
        numbered = enumerate(_floats(each.values), start=1)
        points = thinned(
            [(epoch, _log10(value) if logarithmic else value) for epoch, value in numbered]
        )
        values += [y for _, y in points]
        style = "dashed" if each.dashed else "solid"
        if points:  # a line to itself makes the first epoch a dot
            lines.append(
                Line(each.label, [points if len(points) > 1 else points * 2], each.colour, style)
            )
    low, high = _span(values) if limits is None or logarithmic else limits
    n_epochs = max((len(each.values) for each in series), default=1)
    return Chart(
        title,
        lines,
        x_limits=(1, max(n_epochs, 2)),
        y_limits=(low, high),
        x_ticks=ticks(1, max(n_epochs, 2), whole=True),
        y_ticks=decade_ticks(low, high) if logarithmic else ticks(low, high),
        x_label="epoch",
        mark=None if best_epoch is None else (best_epoch, f"best: {best_epoch}"),
    )


def panel_chart(
    panel: Panel, history: Mapping[str, Sequence[float | None]], best_epoch: int | None = None
) -> Chart:
    """Draws the curves of a panel that a history has."""
    shown = [(number, curve) for number, curve in enumerate(panel.curves) if curve.name in history]
    series = [
        Series(
            curve.label,
            [None if value is None else value * curve.scale for value in history[curve.name]],
            COLOURS[(number if curve.colour is None else curve.colour) % len(COLOURS)],
            curve.dashed,
        )
        for number, curve in shown
    ]
    return epochs_chart(
        panel.title if panel.y_label in panel.title.lower() else f"{panel.title}: {panel.y_label}",
        series,
        limits=panel.limits,
        logarithmic=panel.logarithmic,
        best_epoch=best_epoch,
    )


def history_charts(
    panels: Sequence[Panel],
    history: Mapping[str, Sequence[float | None]],
    best_epoch: int | None = None,
) -> list[Chart]:
    """Draws the panels of which a history has any curve."""
    known = [panel for panel in panels if any(curve.name in history for curve in panel.curves)]
    return [panel_chart(panel, history, best_epoch) for panel in known]


def _floats(values: Sequence[float | None]) -> list[float]:
    return [math.nan if value is None else float(value) for value in values]


def _log10(value: float) -> float:
    return math.log10(value) if value > 0 else math.nan


def _span(values: Sequence[float]) -> tuple[float, float]:
    """Lowest and highest value with some room around them."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    room = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
    return low - room, high + room

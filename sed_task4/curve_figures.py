"""Figures of scores over all thresholds: PSDS, and F against the threshold."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from common.display.plotting import class_colours, new_figure, tidy
from sed_task4.scores.score_curves import FCurve, SystemCurves
from sed_task4.scores.threshold_scores import scenario_title

_KINDS = {"event": "event-based F", "intersection": "intersection-based F"}
_COLUMNS = 3  # of scenarios


def psds_figure(systems: Sequence[SystemCurves]) -> Figure:
    """Draws the curves of PSDS: a panel for each scenario, a line for each network.

    Args:
        systems: their curves, one at least.
    """
    names = list(dict.fromkeys(name for each in systems for name in each.psds))
    columns = min(len(names), _COLUMNS)
    rows = -(-len(names) // columns)
    figure = new_figure(4.6 * columns, 0.3 + 3.6 * rows)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, name in zip(panels, names, strict=False):
        _draw_psds(axes, systems, name)
    for axes in panels[len(names) :]:
        axes.set_axis_off()
    return figure


def _draw_psds(axes: Axes, systems: Sequence[SystemCurves], name: str) -> None:
    for number, system in enumerate(systems):
        curve = system.psds.get(name)
        if curve is None:
            continue
        score = "undefined" if curve.psds is None else f"{curve.psds:.3f}"
        rates = [0.0, *curve.rates, curve.max_rate]
        found = [0.0, *curve.found, *(curve.found or [0.0])[-1:]]
        label = f"{system.label}: {score}"
        axes.step(rates, found, where="post", color=f"C{number}", linewidth=1.4, label=label)
        axes.set_xlim(0, curve.max_rate)
    axes.set_ylim(0, 1.02)
    axes.set_title(scenario_title(name), fontsize=10, loc="left")
    axes.set_xlabel("effective false positives per hour", fontsize=9)
    axes.set_ylabel("effective true positive rate", fontsize=9)
    tidy(axes)
    axes.legend(fontsize=7.5, frameon=False)


def threshold_figure(systems: Sequence[SystemCurves]) -> Figure:
    """Draws F against the threshold: the mean of all networks, then the classes of each.

    A dotted line is the threshold in use, a ring the F there, a star the best F.

    Args:
        systems: their curves, one at least.
    """
    kinds = list(dict.fromkeys(kind for each in systems for kind in each.f))
    rows = 1 + len(systems)
    figure = new_figure(0.6 + 5.4 * len(kinds), 0.7 + 3.3 * rows)
    panels = figure.subplots(rows, len(kinds), squeeze=False, sharex=True)
    curves = [curve for system in systems for curve in system.f.values()]
    names = list(dict.fromkeys(name for curve in curves for name in curve.classes))
    colours = dict(zip(names, class_colours(len(names)), strict=True))
    for column, kind in enumerate(kinds):
        _draw_means(panels[0, column], systems, kind)
        for axes, system in zip(panels[1:, column], systems, strict=True):
            if kind in system.f:
                _draw_classes(axes, system, kind, colours)
        panels[-1, column].set_xlabel("threshold", fontsize=9)
    lines = [Line2D([], [], color=colour, label=name) for name, colour in colours.items()]
    if lines:
        style = {"ncols": min(5, len(lines)), "fontsize": 8, "frameon": False}
        figure.legend(handles=lines, loc="outside lower center", **style)
    return figure


def _draw_means(axes: Axes, systems: Sequence[SystemCurves], kind: str) -> None:
    for number, system in enumerate(systems):
        curve = system.f.get(kind)
        if curve is None or None in curve.macro:
            continue
        values, colour = np.array(curve.macro, np.float64), f"C{number}"
        best = int(np.argmax(values))
        points = {"best": (system.thresholds[best], values[best])}
        if (at := in_use(system, curve)) is not None:
            points = {"in use": at} | points
            _mark_threshold(axes, at[0])
            axes.plot(*at, "o", color=colour, markersize=6, markerfacecolor="none")
        texts = (f"{name} {max(x, 0):.2f}: {y:.3f}" for name, (x, y) in points.items())
        label = f"{system.label}, {', '.join(texts)}"
        axes.plot(system.thresholds, values, color=colour, linewidth=1.4, label=label)
        axes.plot(*points["best"], "*", color=colour, markersize=9)
    _finish(axes, f"Mean over classes, {_KINDS.get(kind, kind)}")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=7.5, frameon=False)


def _draw_classes(
    axes: Axes, system: SystemCurves, kind: str, colours: dict[str, np.ndarray]
) -> None:
    curve = system.f[kind]
    for name, values in curve.classes.items():
        axes.plot(system.thresholds, values, color=colours[name], linewidth=1.0)
        axes.plot(*curve.best[name], "*", color=colours[name], markersize=7)
    if system.threshold is not None:
        _mark_threshold(axes, system.threshold)
    _finish(axes, f"{system.label}: classes, {_KINDS.get(kind, kind)}")


def in_use(system: SystemCurves, curve: FCurve) -> tuple[float, float] | None:
    """Threshold in use and the mean F there; None: it is unknown, or no class has events."""
    if system.threshold is None or None in curve.macro:
        return None
    place = int(np.argmin(np.abs(np.array(system.thresholds) - system.threshold)))
    return system.threshold, float(curve.macro[place] or 0.0)


def _mark_threshold(axes: Axes, threshold: float) -> None:
    axes.axvline(threshold, color="0.5", linewidth=0.9, linestyle=":")


def _finish(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=10, loc="left")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.set_ylabel("F-score", fontsize=9)
    tidy(axes)

"""Figures of all systems: learning curves, and figures as files and on pages.

Object interface of matplotlib, its default style, no window.
"""

import io
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from matplotlib import colormaps, rc_context, rcdefaults
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from common.display.page import Picture, data_uri
from common.io.files import atomic_path

Canvas = TypeVar("Canvas")

_MOST_IN_A_ROW = 4  # panels of learning curves
_TITLE_COLUMNS, _LEGEND_COLUMNS = 46, 20  # characters in a panel's title, and of one of two labels


@dataclass(frozen=True)
class Curve:
    """One line of a panel.

    Attributes:
        name: key in the history, e.g. "val_f".
        label: name in the legend.
        scale: factor of the values, e.g. 1 / 180 for degrees.
        dashed: drawn dashed, for the training set next to validation.
        colour: index of the colour; None: the number of the line. Related lines share one.
        beside: name of the curve of the network that decides, where this is another network's: it
            is drawn dotted, and of several with one label only the first is in the legend.
    """

    name: str
    label: str
    scale: float = 1.0
    dashed: bool = False
    colour: int | None = None
    beside: str = ""


@dataclass(frozen=True)
class Panel:
    """One set of axes.

    Attributes:
        title: above the axes.
        y_label: quantity and unit.
        curves: lines; those whose name the history lacks are left out.
        limits: lowest and highest value shown; None: from the values.
        best: name of the curve whose best value is marked.
        logarithmic: use a logarithmic scale.
        highest: the highest value is the best, not the lowest.
    """

    title: str
    y_label: str
    curves: tuple[Curve, ...]
    limits: tuple[float, float] | None = None
    best: str | None = None
    logarithmic: bool = False
    highest: bool = False


def new_figure(width: float, height: float, title: str = "") -> Figure:
    """Makes an empty figure of a size in inches, without a window or the user's matplotlibrc."""
    rcdefaults()
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    if title:
        figure.suptitle(title, fontsize=12, fontweight="bold")
    return figure


def tidy(axes: Axes) -> None:
    """Sets the style of all axes: a light grid, no frame at the top and the right."""
    axes.grid(True, color="0.88", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)


def save_figure(figure: Figure, path: Path, dpi: int = 120) -> None:
    """Writes a figure as PNG, complete or not at all.

    Raises:
        DataError: the file cannot be written.
    """
    with atomic_path(Path(path)) as temporary, printed(figure, FigureCanvasAgg, dpi) as canvas:
        canvas.print_png(temporary)


def figure_picture(figure: Figure, caption: str, alt: str) -> Picture:
    """Returns a figure as SVG within a page; the same figure gives the same bytes."""
    drawing = io.BytesIO()
    on_page = printed(figure, FigureCanvasSVG, figure.dpi)
    with rc_context({"svg.hashsalt": caption}), on_page as canvas:
        canvas.print_svg(drawing, metadata={"Date": None})
    return Picture(data_uri(drawing.getvalue(), "image/svg+xml"), alt, caption)


@contextmanager
def printed(figure: Figure, kind: Callable[[Figure], Canvas], dpi: float) -> Iterator[Canvas]:
    """Puts a figure on a canvas whose `print_` methods give what `Figure.savefig` does.

    That draws a figure twice, first to lay it out, although drawing does so itself.

    Args:
        figure: has its own canvas and resolution again afterwards.
        kind: of the canvas, such as `FigureCanvasAgg`.
        dpi: pixels per inch.
    """
    canvas, own_dpi = figure.canvas, figure.dpi
    figure.dpi = dpi
    try:
        yield kind(figure)
    finally:
        figure.dpi = own_dpi
        figure.set_canvas(canvas)


def class_colours(n_classes: int) -> np.ndarray:
    """Returns one RGBA colour per class, (K, 4); up to 20 classes neighbours differ clearly."""
    if n_classes > 20:
        return colormaps["turbo"](np.linspace(0.03, 0.97, n_classes))
    strong, pale = np.arange(0, 20, 2), np.arange(1, 20, 2)
    return colormaps["tab20"](np.concatenate([strong, pale])[:n_classes])


def learning_curves(
    history: Mapping[str, Sequence[float | None]],
    panels: Sequence[Panel],
    best_epoch: int | None = None,
) -> Figure:
    """Draws the curves of a training.

    Args:
        history: by name, one value for each epoch; NaN or None where it is undefined.
        panels: panels to draw; those without any known curve are left out.
        best_epoch: number of the epoch that is marked, from 1 on; None: the best of each panel.

    Returns:
        One row of axes, two of more than four panels, epochs from 1 along x.
    """
    shown = [panel for panel in panels if any(curve.name in history for curve in panel.curves)]
    rows = 1 if len(shown) <= _MOST_IN_A_ROW else 2
    columns = max(-(-len(shown) // rows), 1)
    figure = new_figure(4.6 * columns, 3.6 * rows)
    for number, panel in enumerate(shown, start=1):
        draw_panel(figure.add_subplot(rows, columns, number), history, panel, best_epoch)
    return figure


def draw_panel(
    axes: Axes,
    history: Mapping[str, Sequence[float | None]],
    panel: Panel,
    best_epoch: int | None = None,
) -> None:
    """Draws one panel of learning curves; lines end with a dot, so that one epoch is visible."""
    labels: list[str] = []
    for number, curve in enumerate(panel.curves):
        if curve.name not in history:
            continue
        values = np.asarray(history[curve.name], dtype=np.float64) * curve.scale
        colour = f"C{number if curve.colour is None else curve.colour}"
        style = "--" if curve.dashed else ":" if curve.beside else "-"
        epochs = np.arange(1, len(values) + 1)
        label = "_nolegend_" if curve.beside and curve.label in labels else curve.label
        labels.append(curve.label)
        axes.plot(epochs, values, style, color=colour, label=label, linewidth=1.4)
        axes.plot(epochs[-1:], values[-1:], "o", color=colour, markersize=3)
        if curve.name == panel.best and np.isfinite(values).any():
            if best_epoch is None:
                best = int((np.nanargmax if panel.highest else np.nanargmin)(values))
                mark_epoch(axes, values, best, f"best {values[best]:.2f}")
            else:  # by another score, perhaps
                mark_epoch(axes, values, best_epoch - 1, "best epoch")
    axes.set_title(
        textwrap.fill(panel.title, _TITLE_COLUMNS, break_on_hyphens=False), fontsize=10, loc="left"
    )
    axes.set_xlabel("epoch", fontsize=9)
    axes.set_ylabel(panel.y_label, fontsize=9)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if panel.limits:
        axes.set_ylim(*panel.limits)
    if panel.logarithmic:
        axes.set_yscale("log")
    tidy(axes)
    is_wide = len(labels) < 5 and max(map(len, labels), default=0) > _LEGEND_COLUMNS
    axes.legend(fontsize=7.5, frameon=False, ncols=1 if is_wide else 2)


def mark_epoch(axes: Axes, values: np.ndarray, place: int, text: str) -> None:
    """Marks the epoch at a place of the values, from 0 on, whose weights are kept."""
    axes.axvline(place + 1, color="0.6", linewidth=0.8, linestyle=":")
    left = place < len(values) / 2  # the side with room for the text
    height = values[place] if np.isfinite(values[place]) else np.nanmin(values)
    axes.annotate(
        text,
        (place + 1, height),
        xytext=(4 if left else -4, 6),
        textcoords="offset points",
        horizontalalignment="left" if left else "right",
        fontsize=7.5,
    )

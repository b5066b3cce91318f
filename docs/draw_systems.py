"""Draws the networks of the five systems at their published sizes, from the models themselves.

python -m docs.draw_systems docs/images
"""

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from common.display.plotting import new_figure
from common.family import load
from common.io.files import atomic_path
from common.settings.tasks import load_task

PARAMS = Path(__file__).resolve().parents[1] / "params.yaml"
MERGED = {"mul": "directions multiplied", "concat": "directions side by side"}


@dataclass(frozen=True)
class Drawing:
    """One figure: the task whose network it shows, and what its outputs are made by."""

    task_id: str
    heads: dict[str, str]


WHEN, CLIP = "which class, when", "which class"
DRAWINGS = {
    "seldnet": Drawing(
        "1", {"sed": f"dense 128, dense,\nsigmoid: {WHEN}", "doa": "dense 128, dense:\nfrom where"}
    ),
    "two_stage": Drawing(
        "two-stage",
        {
            "sed": f"dense, sigmoid, repeated in time:\n{WHEN} (first stage)",
            "doa": "dense, repeated in time:\nfrom where (second stage)",
        },
    ),
    "crnn": Drawing(
        "crnn", {"frames": f"dense, sigmoid:\n{WHEN}", "clip": f"average of the frames:\n{CLIP}"}
    ),
    "cnn9": Drawing(
        "cnn9",
        {
            "frames": f"dense, sigmoid:\n{WHEN}",
            "clip": f"maximum over time, dense,\nsigmoid: {CLIP}",
        },
    ),
    "segmentation": Drawing(
        "segmentation",
        {
            "masks": "convolution 1 × 1, sigmoid:\nwhich class, when, in which bands",
            "clip": f"weighted rank pooling\nof the masks: {CLIP}",
        },
    ),
}


def network_of(task_id: str) -> Any:
    """Builds the network of a task for one of its sequences, with fresh weights."""
    task = load_task(PARAMS, task_id)
    experiment = load(task.family, "experiment").Experiment.prepare(task)
    _, _, bands, channels = experiment.new_network().input_shape
    shape = (task.pipeline.sequence_frames, bands, channels)
    return experiment.system.build_model(shape, task.dataset.n_classes, experiment.network)


def trunk_rows(model: Any) -> list[tuple[str, tuple[int, ...]]]:
    """Describes the layers before the outputs: kind and output shape without the batch."""
    rows: list[tuple[str, tuple[int, ...]]] = [
        ("features: frames × bands × channels", model.input_shape[1:])
    ]
    block: list[Any] = []  # convolutions that are not in a row yet

    def end_block(last: Any = None, pool: str = "") -> None:
        if block:
            rows.append((_convolutions(block) + pool, (last or block[-1]).output.shape[1:]))
            block.clear()

    for layer in model.layers:
        kind = type(layer).__name__
        if kind == "Conv2D" and layer.kernel_size != (1, 1):
            if block and block[-1].filters != layer.filters:  # blocks without pools
                end_block()
            block.append(layer)
        elif kind.endswith("Pooling2D"):
            end_block(
                layer,
                f", {'mean' if kind.startswith('Average') else 'maximum'} of"
                f" {_times(layer.pool_size)}",
            )
        elif kind in ("Reshape", "Bidirectional") or (kind == "Aggregate" and layer.axis == 2):
            end_block()
            rows.append((_other(layer), layer.output.shape[1:]))
    end_block()
    return rows


def _convolutions(layers: Sequence[Any]) -> str:
    first = layers[0]
    count = f"{len(layers)} × " if len(layers) > 1 else ""
    return (
        f"{count}convolution {_times(first.kernel_size)}, {first.filters} filters, normalised, ReLU"
    )


def _other(layer: Any) -> str:
    if type(layer).__name__ == "Reshape":
        return "bands and filters in one row"
    if type(layer).__name__ == "Aggregate":
        return f"{'mean' if layer.kind == 'average' else 'maximum'} over the bands"
    return f"bidirectional GRU, {layer.forward_layer.units} units, {MERGED[layer.merge_mode]}"


def _times(sizes: Iterable[int | None]) -> str:
    return " × ".join("any" if size is None else str(size) for size in sizes)


def draw(model: Any, heads: dict[str, str]) -> Figure:
    """Draws a network from top to bottom, its outputs side by side below."""
    rows = trunk_rows(model)
    figure = new_figure(7.2, 0.52 * len(rows) + 1.1)
    axes = figure.add_subplot()
    axes.set_axis_off()
    axes.set_xlim(0, 10)
    axes.set_ylim(-len(rows) - 1.6, 0.5)
    for number, (text, shape) in enumerate(rows):
        _box(axes, (0.2, -number), 9.6, text, _times(shape), "#dce9f5" if number else "#eeeeee")
    for number, (name, text) in enumerate(heads.items()):
        left = 0.2 + 4.9 * number
        _arrow(axes, left + 2.35, -len(rows) + 0.62, -len(rows) + 0.16)
        shape = f"{name}\n{_times(model.output[name].shape[1:])}"
        _box(axes, (left, -len(rows) - 0.6), 4.7, text, shape, "#fbe6d0", 1.1)
    for number in range(1, len(rows)):
        _arrow(axes, 5.0, -number + 0.62, -number + 0.36)
    count = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    axes.text(0.2, -len(rows) - 1.35, f"{count:,} trainable weights", fontsize=8, color="0.35")
    return figure


def _box(
    axes: Axes,
    at: tuple[float, float],
    width: float,
    text: str,
    shape: str,
    colour: str,
    height: float = 0.7,
) -> None:
    x, y = at
    style = "round,pad=0,rounding_size=0.12"
    box = FancyBboxPatch(
        (x, y - 0.35), width, height, style, facecolor=colour, edgecolor="0.55", linewidth=0.8
    )
    axes.add_patch(box)
    middle = y - 0.35 + height / 2
    axes.text(x + 0.15, middle, text, fontsize=8.5, va="center")
    axes.text(x + width - 0.15, middle, shape, fontsize=8.5, va="center", ha="right", color="0.25")


def _arrow(axes: Axes, x: float, start: float, end: float) -> None:
    axes.annotate(
        "",
        (x, end),
        (x, start),
        arrowprops={"arrowstyle": "-|>", "color": "0.45", "linewidth": 0.9},
    )


def write_svg(figure: Figure, path: Path) -> None:
    """Writes a figure as SVG, the same bytes each time."""
    with (
        matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "dcase-keras"}),
        atomic_path(path) as temporary,
    ):
        figure.savefig(temporary, format="svg", metadata={"Date": None})


def main() -> None:
    """Draws all figures into the folder named on the command line."""
    parser = argparse.ArgumentParser(description="Draws the networks of the five systems.")
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    for name, drawing in DRAWINGS.items():
        write_svg(draw(network_of(drawing.task_id), drawing.heads), folder / f"{name}.svg")


if __name__ == "__main__":
    main()

"""Figures of SED: a clip, a prediction, durations and scores per class, learning curves."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import get_args

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import ScalarFormatter

from common.display.plotting import Curve, Panel, class_colours, new_figure, tidy
from common.display.spectrogram import Spectrogram, draw_spectrogram
from common.events.table import EventTable
from common.settings.mean_teacher import NetworkName
from sed_task4.features import FeatureConfig
from sed_task4.scores.tables import ScoreReport

LOGMEL = "Log-mel spectrogram"  # title of the axes


def _curves(score: str) -> tuple[Curve, ...]:
    """A curve for events and two for segments, named as in the training history."""
    names = {
        "event": "event-based",
        "segment": "segments of 1 s",
        "segment_200ms": "segments of 0.2 s",
    }
    return tuple(Curve(f"val_{kind}_{score}", label) for kind, label in names.items())


def _of_both_networks(panel: Panel) -> Panel:
    """Adds the scores of a mean teacher's other network, dotted, to those of the one in use."""
    others = [
        replace(
            curve,
            name=f"val_{network}_{curve.name.removeprefix('val_')}",
            label=network,
            colour=number if curve.colour is None else curve.colour,
            beside=curve.name,
        )
        for number, curve in enumerate(panel.curves)
        if curve.name.startswith("val_")
        for network in get_args(NetworkName)
    ]
    return replace(panel, curves=(*panel.curves, *others))


_JOINT = (
    Curve("val_weak_and_event_f", "of tags and events"),
    Curve("val_weak_and_intersection_f", "of tags and intersections"),
)
_SCORE_PANELS = (
    Panel(
        "Tags on validation",
        "score",
        (
            Curve("val_map", "mAP"),
            Curve("val_clip_macro_f", "F, mean over classes"),
            Curve("clip_macro_f", "F, training", dashed=True, colour=1),
            Curve("val_auc", "area under ROC", colour=2),
        ),
        limits=(0.0, 1.02),
    ),
    Panel(
        "Events on validation, mean over classes",
        "F-score",
        (*_curves("macro_f"), Curve("val_intersection_macro_f", "intersection-based")),
        (0.0, 1.02),
    ),
    Panel("Error rates on validation, all events", "ER", _curves("micro_er"), (0.0, 2.5)),
    Panel("Weak and strong clips of validation", "sum of F-scores", _JOINT, (0.0, 2.04)),
)
LEARNING_PANELS = (
    Panel(
        "Losses",
        "loss",
        (
            Curve("loss", "training", dashed=True, colour=0),
            Curve("val_loss", "validation", colour=0),
        ),
        logarithmic=True,
    ),
    *map(_of_both_networks, _SCORE_PANELS),
    Panel(
        "Consistency of student and teacher",
        "distance",
        (Curve("clip_consistency", "tags"), Curve("frames_consistency", "frames")),
    ),
)


def logmel_spectrogram(
    values: np.ndarray, duration_s: float, features: FeatureConfig
) -> Spectrogram:
    """Mel values (T, F) of stored features, in the unit of the features' levels, for a figure."""
    if features.entry.is_linear:
        values = features.entry.level_db(values[..., None])
    return Spectrogram(values, duration_s, features.entry.level_unit, title=LOGMEL)


def clip_figure(
    spectrogram: Spectrogram,
    reference: np.ndarray | None,
    frames: np.ndarray,
    estimate: np.ndarray,
    classes: Sequence[str],
    title: str,
    *,
    tags: np.ndarray | None = None,
) -> Figure:
    """Draws a clip: spectrogram, reference, frame-level probabilities and decoded events.

    Args:
        spectrogram: log-mel values before standardisation.
        reference: true events (n, 3) = class_index, onset_s, offset_s; None without labels.
        frames: probabilities (T', K).
        estimate: decoded events (m, 3).
        classes: names of the K classes.
        title: above the figure, usually the name of the clip.
        tags: probabilities of the tags (K,), written next to the classes.
    """
    clip_s = spectrogram.duration_s
    figure = new_figure(9.5, 11, title)
    axes = figure.subplots(4, 1, sharex=True, gridspec_kw={"height_ratios": [1, 1.1, 1.1, 1.1]})
    draw_spectrogram(axes[0], spectrogram)
    if reference is None:
        axes[1].set_title("Reference: no labels", fontsize=10, loc="left")
        axes[1].set_yticks([])
        tidy(axes[1])
    else:
        draw_events(axes[1], reference, classes, "Reference")
    draw_probabilities(axes[2], frames, classes, clip_s)
    names = list(classes)
    if tags is not None:
        names = [f"{name}  {tag:.2f}" for name, tag in zip(classes, tags, strict=True)]
    remark = "" if tags is None else " (tags next to the classes)"
    draw_events(axes[3], estimate, names, f"Event-wise estimate{remark}")
    axes[3].set_xlabel("time / s", fontsize=9)
    axes[3].set_xlim(0, clip_s)
    return figure


def prediction_figure(
    spectrogram: Spectrogram,
    frames: np.ndarray,
    events: np.ndarray,
    classes: Sequence[str],
    title: str,
    *,
    tags: np.ndarray,
    before_gate: np.ndarray | None = None,
    most_classes: int = 12,
) -> Figure:
    """Draws a prediction: spectrogram, frame-level probabilities and events.

    Args:
        spectrogram: log-mel values.
        frames: probabilities (T', K); without any, none are drawn.
        events: (n, 3) = class_index, onset_s, offset_s.
        classes: names of the K classes.
        title: above the figure, usually the name of the recording.
        tags: probabilities of the tags (K,), written next to the classes.
        before_gate: probabilities before clip tag gating (T', K); None: there is no gate.
        most_classes: of more classes, those with events are drawn, and those with the highest tags.
    """
    duration_s = spectrogram.duration_s
    found = np.isin(np.arange(len(classes)), events[:, 0])
    shown = np.sort(np.lexsort((-tags, ~found))[: max(most_classes, found.sum())])
    place = {int(k): number for number, k in enumerate(shown)}
    drawn = np.array([(place[int(k)], *times_s) for k, *times_s in events.tolist()]).reshape(-1, 3)
    maps = {"Frame-wise estimate": frames}
    if before_gate is not None:
        maps = {"Frames before clip tag gating": before_gate, "Frames after it": frames}
    n_parts = 1 + len(maps)  # of one height
    figure = new_figure(9.5, 2.5 + (0.25 + 0.2 * len(shown)) * n_parts, title)
    heights = [2.5, *[0.5 + 0.2 * len(shown)] * n_parts]
    axes = figure.subplots(len(heights), 1, sharex=True, gridspec_kw={"height_ratios": heights})
    draw_spectrogram(axes[0], spectrogram)
    names = [classes[k] for k in shown]
    for part, (heading, values) in zip(axes[1:-1], maps.items(), strict=True):
        curves = values[:, shown] if len(values) else np.zeros((1, len(shown)))
        draw_probabilities(part, curves, names, duration_s, heading)
    tagged = [f"{name}  {tag:.2f}" for name, tag in zip(names, tags[shown], strict=True)]
    draw_events(axes[-1], drawn, tagged, "Events (tags next to the classes)")
    axes[-1].set_xlabel("time / s", fontsize=9)
    axes[-1].set_xlim(0, duration_s)
    return figure


def draw_events(axes: Axes, events: np.ndarray, names: Sequence[str], title: str) -> None:
    """Draws one bar per event (n, 3), classes from top to bottom."""
    colours = class_colours(len(names))
    for k, onset_s, offset_s in np.asarray(events, np.float64).reshape(-1, 3).tolist():
        colour, length_s = colours[int(k)], offset_s - onset_s
        axes.barh(int(k), length_s, left=onset_s, height=0.7, color=colour, edgecolor="white")
    _class_axis(axes, names)
    axes.set_title(title, fontsize=10, loc="left")
    tidy(axes)


def draw_probabilities(
    axes: Axes,
    frames: np.ndarray,
    classes: Sequence[str],
    clip_s: float,
    title: str = "Frame-wise estimate",
) -> None:
    """Draws probabilities (T', K) as a map, classes from top to bottom."""
    image = axes.imshow(
        np.asarray(frames, np.float32).T,
        aspect="auto",
        extent=(0.0, clip_s, len(classes) - 0.5, -0.5),
        vmin=0.0,
        vmax=1.0,
        cmap="Blues",
        interpolation="nearest",
    )
    bar = axes.figure.colorbar(image, ax=axes, pad=0.01, fraction=0.03)
    bar.set_label("probability", fontsize=9)
    _class_axis(axes, classes)
    axes.set_title(title, fontsize=10, loc="left")
    tidy(axes)
    axes.grid(False)


def _class_axis(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(np.arange(len(names)), names)
    axes.set_ylim(max(len(names), 1) - 0.5, -0.5)


def durations_figure(events: Mapping[str, EventTable], classes: Sequence[str]) -> Figure:
    """Draws durations and numbers of the events of each class.

    Args:
        events: events by the name of their set, e.g. "synthetic" and "validation".
        classes: class names.
    """
    figure = new_figure(10.5, 1.6 + 0.36 * len(classes) * max(len(events), 1) ** 0.5)
    left, right = figure.subplots(1, 2, sharey=True, gridspec_kw={"width_ratios": [2.2, 1]})
    width = 0.8 / max(len(events), 1)
    for number, table in enumerate(events.values()):
        places = np.arange(len(classes)) + (number - (len(events) - 1) / 2) * width
        lengths_s = table.offset_s - table.onset_s
        by_class = [lengths_s[table.class_index == k] for k in range(len(classes))]
        style = {"color": f"C{number}", "linewidth": 1.1}
        outliers = {"marker": ".", "markersize": 3, "markeredgecolor": f"C{number}", "alpha": 0.5}
        shown = [k for k in range(len(classes)) if len(by_class[k])]
        if shown:
            left.boxplot(
                [by_class[k] for k in shown],
                positions=[places[k] for k in shown],
                widths=0.8 * width,
                orientation="horizontal",
                patch_artist=True,
                manage_ticks=False,
                boxprops={"facecolor": f"C{number}", "alpha": 0.35, "linewidth": 0},
                medianprops=style | {"linewidth": 2},
                whiskerprops=style,
                capprops=style,
                flierprops=outliers,
            )
        right.barh(places, table.counts(), height=0.9 * width, color=f"C{number}", alpha=0.7)
    left.set_xscale("log")
    left.xaxis.set_major_formatter(ScalarFormatter())
    title = "Duration of events: median, quartiles, 1.5 times their distance"
    left.set_title(title, fontsize=10, loc="left")
    left.set_xlabel("duration / s", fontsize=9)
    right.set_title("Number of events", fontsize=10, loc="left")
    _class_axis(left, classes)
    for axes in (left, right):
        tidy(axes)
    if len(events) > 1:
        colours = {name: f"C{number}" for number, name in enumerate(events)}
        marks = [Line2D([], [], color=c, linewidth=5, label=name) for name, c in colours.items()]
        style = {"ncols": len(marks), "fontsize": 8.5, "frameon": False}
        figure.legend(handles=marks, loc="outside lower center", **style)
    return figure


def class_scores_figure(report: ScoreReport) -> Figure:
    """Draws F-score and average precision of each class of a report's first row."""
    row = report.rows[0]
    bars = {
        "ap": ("average precision", "map"),
        "clip_f": ("F of tags", "clip_macro_f"),
        "event_f": ("F, event-based", "event_macro_f"),
        "segment_f": ("F, segments of 1 s", "segment_macro_f"),
    }
    shown = {name: each for name, each in bars.items() if name in row.by_class}
    places = np.arange(len(report.classes) + 1, dtype=np.float64)
    places[-1] += 0.4  # space before the mean
    figure = new_figure(1.5 + 0.85 * len(places), 4.6, f"Scores per class: {row.label}")
    axes = figure.add_subplot()
    width = 0.8 / max(len(shown), 1)
    for number, (name, (label, mean)) in enumerate(shown.items()):
        values = np.nan_to_num([*row.by_class[name], row.scores.get(mean, np.nan)])
        centres = places + (number - (len(shown) - 1) / 2) * width
        axes.bar(centres, values, width * 0.92, color=f"C{number}", label=label)
    axes.set_xticks(places, [*report.classes, "mean"], rotation=30, ha="right")
    axes.set_ylim(0, 1.02)
    axes.set_ylabel("score", fontsize=9)
    tidy(axes)
    axes.grid(False, axis="x")
    figure.legend(loc="outside lower center", ncols=len(shown) or 1, fontsize=8.5, frameon=False)
    return figure

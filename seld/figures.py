"""Figures of SELD: a recording, the distribution of a dataset, learning curves.

python -m seld.figures recording WAV --reference CSV --estimate CSV --out PNG
python -m seld.figures dataset METADATA_DIR --out DIR
"""

import argparse
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, MultipleLocator

from common.audio.files import read_audio
from common.cli.base import params_path, run_safely
from common.display.plotting import Curve, Panel, class_colours, new_figure, save_figure, tidy
from common.display.spectrogram import Spectrogram, draw_spectrogram
from common.errors import ConfigError, DataError
from common.features.spectral import decibels, stft
from common.io.terminal import typed_text
from common.settings.stft import Stft
from common.settings.tasks import load_task
from seld.dataset import COLUMNS, DatasetConfig, Events, parse_name, read_labels
from seld.features import FeatureConfig
from seld.geometry import FULL_CIRCLE_DEG, AngleGrid
from seld.labels import event_frames, rows_of_events
from seld.recording_list import has_list, read_list
from seld.recordings.lengths import seconds_of, sounds_of
from seld.recordings.rows import AZIMUTH, CLASS, DISTANCE, ELEVATION, FRAME, SOURCE
from seld.recordings.tracking import with_voices
from seld.submission import SubmissionFiles, read_submission, submission_files

logger = logging.getLogger(__name__)
Quantity = Literal["azimuth", "elevation", "distance"]


@dataclass(frozen=True)
class _Shown:
    """A quantity of sources: column of the rows, range that is widened where needed, ticks."""

    column: int
    limits: tuple[float, float]
    unit: str
    step: float | None = None


_QUANTITIES: dict[str, _Shown] = {
    "azimuth": _Shown(AZIMUTH, (-180.0, 180.0), "°", 90.0),
    "elevation": _Shown(ELEVATION, (-60.0, 60.0), "°", 20.0),
    "distance": _Shown(DISTANCE, (0.0, 4.0), "m"),
}
_MARKERS = "o^sx+"  # of the sources of one class at the same time

# Name in the history, text of the legend, and scale of the curve.
_LEARNING_SCORES = (
    ("er", "error rate", 1.0),
    ("f", "F-score", 1.0),
    ("doa_error_deg", "DOA error / 180°", 1 / 180),
    ("frame_recall", "frame recall", 1.0),
    ("seld_error", "SELD error", 1.0),
    ("sed_error", "detection error", 1.0),
    ("localization_recall", "localization recall", 1.0),
    ("relative_distance_error", "relative distance error", 1.0),
    ("onscreen_accuracy", "on-screen accuracy", 1.0),
)
LEARNING_PANELS = (
    Panel(
        "Losses",
        "loss",
        (
            Curve("loss", "all, training", dashed=True, colour=0),
            Curve("val_loss", "all, validation", colour=0),
            Curve("sed_loss", "detection, training", dashed=True, colour=1),
            Curve("val_sed_loss", "detection, validation", colour=1),
            Curve("doa_loss", "direction, training", dashed=True, colour=2),
            Curve("val_doa_loss", "direction, validation", colour=2),
        ),
        logarithmic=True,
    ),
    Panel(
        "Scores on validation",
        "score",
        tuple(
            Curve(f"{kind}_{name}", f"{title}{where}", scale, dashed=kind == "train", colour=colour)
            for colour, (name, title, scale) in enumerate(_LEARNING_SCORES)
            for kind, where in (("val", ""), ("train", ", training"))
        ),
        limits=(0.0, 1.2),
        best="val_seld_error",
    ),
    Panel(
        "Directions on validation",
        "thousands, summed over frames",
        (
            Curve("val_n_reference", "true", scale=1e-3, dashed=True),
            Curve("val_n_estimate", "estimated", scale=1e-3),
            Curve("val_n_pairs", "matched", scale=1e-3),
        ),
    ),
    Panel(
        "Distances on validation",
        "mean error / m",
        (
            Curve("val_distance_error_m", "distance error", colour=0),
            Curve("val_distance_error_cm", "distance error", scale=0.01, colour=0),
        ),
    ),
)


def learning_panels(monitor: str, mode: str = "min") -> tuple[Panel, ...]:
    """Panels of learning curves; the best epoch has the "min" or "max" of `monitor`."""
    losses, scores, *others = LEARNING_PANELS
    return losses, replace(scores, best=monitor, highest=mode == "max"), *others


# One recording


def recording_figure(
    spectrogram: Spectrogram,
    reference: np.ndarray | None,
    estimate: np.ndarray,
    classes: Sequence[str],
    hop_s: float,
    title: str,
    *,
    quantities: Sequence[Quantity] = ("azimuth", "elevation"),
    grid: AngleGrid | None = None,
) -> Figure:
    """Draws a recording: spectrogram, activity of its events, and where they are.

    Classes have colours; sources of one class at the same time have bars and marks of their own.

    Args:
        spectrogram: of one channel.
        reference: rows (n, 4) or (n, 7), see `seld.recordings.rows`; None: unlabelled.
        estimate: rows (m, 4) or (m, 7).
        classes: names of the K classes.
        hop_s: hop length of the rows in seconds.
        title: above the figure, usually the name of the recording.
        quantities: drawn below the events, see `quantities_of`.
        grid: directions of the dataset, whose circle of azimuths is shown; None: azimuths as they
            are, on -180 to 180 degrees.

    Returns:
        Figure with the spectrogram above and a column each for reference and estimate below.
    """
    columns = {} if reference is None else {"Reference": reference}
    columns["Estimate"] = estimate
    shown = [_QUANTITIES[name] for name in quantities]
    if grid is not None:
        columns = {name: shown_rows(rows, grid) for name, rows in columns.items()}
        circle = azimuth_limits(grid)
        shown = [replace(s, limits=circle) if s.column == AZIMUTH else s for s in shown]
    columns = {name: with_voices(rows) for name, rows in columns.items()}
    heights = [1.15, 1.3, *[1] * len(quantities)]
    figure = new_figure(4 + 4.5 * len(columns), 9.5 * sum(heights) / 4.45, title)
    layout = figure.add_gridspec(len(heights), len(columns), height_ratios=heights)
    top = figure.add_subplot(layout[0, :])
    draw_spectrogram(top, spectrogram)
    for column, (name, rows) in enumerate(columns.items()):
        cells = [layout[row, column] for row in range(1, len(heights))]
        axes = [figure.add_subplot(cell, sharex=top) for cell in cells]
        draw_activity(axes[0], rows, classes, hop_s, f"{name}: events")
        for below, quantity, how in zip(axes[1:], quantities, shown, strict=True):
            draw_values(below, rows, how.column, len(classes), hop_s)
            below.set_title(f"{name}: {quantity}", fontsize=10, loc="left")
            below.set_ylim(*_widened(how.limits, [r[:, how.column] for r in columns.values()]))
            below.set_ylabel(f"{quantity} / {how.unit}", fontsize=9)
            if how.step:
                below.yaxis.set_major_locator(MultipleLocator(how.step))
        axes[-1].set_xlabel("time / s", fontsize=9)
    top.set_xlim(0, spectrogram.duration_s)
    _class_legend(figure, list(columns.values()), classes)
    return figure


def quantities_of(dataset: DatasetConfig, network: Mapping[str, Any]) -> tuple[Quantity, ...]:
    """Quantities that a system learns of each source: stereo has no elevation."""
    elevation: tuple[Quantity, ...] = () if dataset.format == "stereo" else ("elevation",)
    distance: tuple[Quantity, ...] = ("distance",) if network.get("distance") else ()
    return ("azimuth", *elevation, *distance)


def channel_titles(features: FeatureConfig, dataset: DatasetConfig) -> list[str]:
    """Title and unit of each channel of the features."""
    is_foa = dataset.format == "foa" and dataset.channels == 4
    names = list("WYZX") if is_foa else [f"mic {n + 1}" for n in range(dataset.channels)]
    return features.entry.titles(names)


def features_figure(
    features: np.ndarray, titles: Sequence[str], hop_s: float, title: str
) -> Figure:
    """Draws the features of a recording, one image for each channel.

    Args:
        features: (T, F, C).
        titles: C of them, with the unit.
        hop_s: hop length in seconds.
        title: above the figure, usually the name of the recording.
    """
    columns = 2 if len(titles) > 1 else 1
    rows = math.ceil(len(titles) / columns)
    figure = new_figure(12, 1.2 + 1.7 * rows, f"{title}: features")
    duration_s = len(features) * hop_s
    for number, channel_title in enumerate(titles):
        axes = figure.add_subplot(rows, columns, number + 1)
        channel = features[..., number].astype(np.float32).T  # (F, T)
        low, high = np.percentile(channel, [1.0, 99.0])
        image = axes.imshow(
            channel,
            origin="lower",
            aspect="auto",
            extent=(0.0, duration_s, 0.0, len(channel)),
            vmin=low,
            vmax=high,
            cmap="magma",
            interpolation="antialiased",
        )
        figure.colorbar(image, ax=axes, pad=0.01, fraction=0.04).ax.tick_params(labelsize=7)
        axes.set_title(channel_title, fontsize=9, loc="left")
        axes.tick_params(labelsize=7)
        if number >= len(titles) - columns:
            axes.set_xlabel("time / s", fontsize=8)
    return figure


def draw_activity(
    axes: Axes, rows: np.ndarray, classes: Sequence[str], hop_s: float, title: str
) -> None:
    """Draws one bar per event, classes from top to bottom, sources of one below each other.

    The source of a row (n, 7) is its number in the class, see
    `seld.recordings.tracking.with_voices`.
    """
    colours, voice = class_colours(len(classes)), rows[:, SOURCE].astype(np.int64)
    n_voices = np.zeros(len(classes), np.int64)
    np.maximum.at(n_voices, rows[:, CLASS].astype(np.int64), voice + 1)
    for number in range(n_voices.max(initial=0)):
        for k, first, end in runs(rows[voice == number]):
            start_s, length_s = first * hop_s, (end - first) * hop_s
            height = 0.7 / n_voices[k]
            y = k + (number - (n_voices[k] - 1) / 2) * height
            bar = 0.85 * height if n_voices[k] > 1 else height
            axes.barh(y, length_s, left=start_s, height=bar, color=colours[k], linewidth=0)
    axes.set_yticks(np.arange(len(classes)), classes)
    axes.set_ylim(len(classes) - 0.5, -0.5)
    axes.set_title(title, fontsize=10, loc="left")
    tidy(axes)


def draw_values(axes: Axes, rows: np.ndarray, column: int, n_classes: int, hop_s: float) -> None:
    """Draws one mark per row: the colour is that of the class, its shape that of the source."""
    colours = class_colours(n_classes)[rows[:, CLASS].astype(np.int64)]
    for number in range(_n_voices(rows)):
        own = rows[:, SOURCE] == number
        times_s, values = (rows[own, FRAME] + 0.5) * hop_s, rows[own, column]
        style: dict[str, Any] = {
            "marker": _marker(number),
            "s": 14 if number else 5,
            "linewidths": 0.6,
        }
        axes.scatter(times_s, values, c=colours[own], **style)
    tidy(axes)


def _n_voices(rows: np.ndarray) -> int:
    return int(rows[:, SOURCE].max(initial=0.0)) + 1


def _marker(voice: int) -> str:
    return _MARKERS[voice % len(_MARKERS)]


def shown_rows(rows: np.ndarray, grid: AngleGrid) -> np.ndarray:
    """Brings the azimuths of rows onto the circle that is drawn."""
    shown = rows.copy()
    shown[:, AZIMUTH] = grid.on_circle(rows[:, AZIMUTH])
    return shown


def azimuth_limits(grid: AngleGrid) -> tuple[float, float]:
    """Lowest and highest azimuth that is drawn: the circle of the directions, in degrees."""
    return grid.lowest_azimuth_deg, grid.lowest_azimuth_deg + FULL_CIRCLE_DEG


def runs(rows: np.ndarray) -> list[tuple[int, int, int]]:
    """Joins the frames in which a class stays active.

    Args:
        rows: (n, 4), in any order; a class may occur twice in one frame.

    Returns:
        (class, first frame, frame after the last) of each run, sorted.
    """
    active = np.unique(rows[:, [1, 0]].astype(np.int64), axis=0)  # sorted by class, then frame
    if not len(active):
        return []
    breaks = np.flatnonzero((np.diff(active[:, 0]) != 0) | (np.diff(active[:, 1]) != 1)) + 1
    first, last = np.concatenate([[0], breaks]), np.concatenate([breaks, [len(active)]]) - 1
    return [
        (int(active[i, 0]), int(active[i, 1]), int(active[j, 1]) + 1)
        for i, j in zip(first, last, strict=True)
    ]


def _widened(limits: tuple[float, float], values: Sequence[np.ndarray]) -> tuple[float, float]:
    everything = np.concatenate([np.asarray(limits, dtype=np.float64), *values])
    margin = 0.05 * (limits[1] - limits[0])
    return float(np.nanmin(everything) - margin), float(np.nanmax(everything) + margin)


def _class_legend(figure: Figure, tables: Sequence[np.ndarray], classes: Sequence[str]) -> None:
    """Lists the classes that appear, below all axes."""
    used = np.unique(np.concatenate([rows[:, 1] for rows in tables])).astype(np.int64)
    colours = class_colours(len(classes))
    marks = [
        Line2D([], [], marker="s", linestyle="", color=colours[k], label=classes[k]) for k in used
    ]
    for number in range(1, max(map(_n_voices, tables), default=1)):
        style: dict[str, Any] = {"marker": _marker(number), "linestyle": "", "color": "0.4"}
        marks.append(Line2D([], [], **style, label=f"source {number + 1} of a class"))
    if marks:
        # As if all letters were as broad as a w.
        entry_inch = 0.57 + 0.1 * max(len(str(mark.get_label())) for mark in marks)
        n_rows = math.ceil(len(marks) / max(1, int(figure.get_figwidth() / entry_inch)))
        columns = math.ceil(len(marks) / n_rows)
        figure.legend(
            handles=marks, loc="outside lower center", ncols=columns, fontsize=8.5, frameon=False
        )


# A dataset


def dataset_figures(
    events: Mapping[str, Events],
    rooms: Mapping[str, int | None],
    dataset: DatasetConfig,
    n_frames: Mapping[str, int] | None = None,
) -> dict[str, Figure]:
    """Draws how events are distributed.

    Args:
        events: events of each recording by its name.
        rooms: room of each recording; None where it is not known.
        dataset: classes, ranges of angles, label hop and length of recordings.
        n_frames: label frames of each recording; those that are missing are as long as
            `dataset.recording_s`.

    Returns:
        "classes": number and length of the events of each class; "overlap": simultaneous events,
        in all and of one class; "directions": azimuths and elevations per room.
    """
    tables = list(events.values())
    frames = [(n_frames or {}).get(name) for name in events]
    return {
        "classes": classes_figure(tables, dataset.classes),
        "overlap": overlap_figure(tables, dataset, frames),
        "directions": directions_figure(events, rooms, dataset),
    }


def classes_figure(events: Sequence[Events], classes: Sequence[str]) -> Figure:
    """Draws number and length of the events of each class."""
    index = np.concatenate([each.class_index for each in events])
    length_s = np.concatenate([each.offset_s - each.onset_s for each in events])
    colours, places = class_colours(len(classes)), np.arange(len(classes))
    title = f"{len(index)} events in {len(events)} recordings"
    figure = new_figure(11, 0.9 + 0.36 * len(classes), title)
    counts, lengths = figure.subplots(1, 2, sharey=True)
    bars = counts.barh(places, np.bincount(index, minlength=len(classes)), color=colours)
    counts.bar_label(bars, padding=3, fontsize=8)
    counts.margins(x=0.12)
    counts.set_xlabel("number of events", fontsize=9)
    boxes = lengths.boxplot(
        [length_s[index == k] for k in places],
        positions=places,
        orientation="horizontal",
        widths=0.6,
        patch_artist=True,
        whis=(5, 95),
        flierprops={"markersize": 2},
        medianprops={"color": "black"},
    )
    for box, colour in zip(boxes["boxes"], colours, strict=True):
        box.set_facecolor(colour)
    lengths.set_xlabel("length / s (box: quartiles, whiskers: 5 % and 95 %)", fontsize=9)
    for axes in (counts, lengths):
        axes.set_yticks(places, classes)
        tidy(axes)
    counts.invert_yaxis()
    return figure


def overlap_shares(
    events: Sequence[Events], dataset: DatasetConfig, n_frames: Sequence[int | None] | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counts how much of the time events overlap.

    Args:
        events: the events of each recording.
        dataset: label hop, length of recordings and classes.
        n_frames: label frames of each recording; None: as long as `dataset.recording_s`.

    Returns:
        Share of frames with 0, 1, 2, ... events, (maximum + 1,); active frames of each class, (K,);
        and those with two or more events of that class, (K,). Frames are half-open.
    """
    frames_by_number = np.zeros(1, dtype=np.int64)
    active, doubled = np.zeros(dataset.n_classes, np.int64), np.zeros(dataset.n_classes, np.int64)
    for each, known in zip(events, n_frames or [None] * len(events), strict=True):
        frames = dataset.n_frames if known is None else known
        counts = np.zeros((frames + 1, dataset.n_classes), dtype=np.int64)
        edges = event_frames(each, dataset.label_hop_s, "half_open")
        first, end = (np.minimum(edge, frames) for edge in edges)
        np.add.at(counts, (first, each.class_index), 1)
        np.add.at(counts, (end, each.class_index), -1)
        counts = np.cumsum(counts, axis=0)[:-1]  # (T, K) events of each class in each frame
        number = np.bincount(counts.sum(axis=1), minlength=len(frames_by_number))
        number[: len(frames_by_number)] += frames_by_number
        frames_by_number = number
        active += np.sum(counts > 0, axis=0)
        doubled += np.sum(counts > 1, axis=0)
    return frames_by_number / max(frames_by_number.sum(), 1), active, doubled


def overlap_figure(
    events: Sequence[Events], dataset: DatasetConfig, n_frames: Sequence[int | None] | None = None
) -> Figure:
    """Draws the number of simultaneous events, and of those of one class."""
    shares, active, doubled = overlap_shares(events, dataset, n_frames)
    figure = new_figure(11, 0.9 + 0.36 * dataset.n_classes, "Events at the same time")
    left, right = figure.subplots(1, 2)
    bars = left.bar(np.arange(len(shares)), 100 * shares, color="C0", width=0.6)
    left.bar_label(bars, fmt="%.1f %%", padding=2, fontsize=8)
    left.set_xticks(np.arange(len(shares)))
    left.margins(y=0.1)
    left.set_xlabel("events in a frame", fontsize=9)
    left.set_ylabel("share of frames / %", fontsize=9)
    percent = 100 * doubled / np.maximum(active, 1)
    bars = right.barh(np.arange(dataset.n_classes), percent, color=class_colours(dataset.n_classes))
    right.bar_label(bars, fmt="%.1f %%", padding=3, fontsize=8)
    right.set_yticks(np.arange(dataset.n_classes), dataset.classes)
    right.invert_yaxis()
    right.margins(x=0.12)
    right.set_xlabel("active frames with two or more events of the class / %", fontsize=9)
    for axes in (left, right):
        tidy(axes)
    return figure


def directions_figure(
    events: Mapping[str, Events], rooms: Mapping[str, int | None], dataset: DatasetConfig
) -> Figure:
    """Draws the number of events per azimuth and elevation, one row of axes per room."""
    known = sorted({rooms[name] for name in events}, key=lambda room: (room is None, room))
    figure = new_figure(11, 0.8 + 1.5 * len(known), "Directions of the events")
    grid = figure.subplots(len(known), 2, squeeze=False, sharex="col", width_ratios=[2, 1])
    for axes, room in zip(grid, known, strict=True):
        inside = [each for name, each in events.items() if rooms[name] == room]
        ranges = ("azimuth", dataset.azimuth_range_deg), ("elevation", dataset.elevation_range_deg)
        for side, (name, limits) in enumerate(ranges):
            angles = np.concatenate([getattr(each, f"{name}_deg") for each in inside])
            step = dataset.angle_step_deg  # bins are centred on the grid
            edges = np.arange(limits[0] - step / 2, limits[1] + step, step)
            axes[side].hist(angles, bins=edges, color=f"C{side}", edgecolor="white", linewidth=0.5)
            tidy(axes[side])
            axes[side].set_ylabel("events", fontsize=9)
            axes[side].yaxis.set_major_locator(MaxNLocator(5, integer=True))
            axes[side].xaxis.set_major_locator(MultipleLocator(45 if name == "azimuth" else 20))
        label = "room unknown" if room is None else f"room {room}"
        axes[0].set_title(f"{label}: {len(inside)} recordings", fontsize=10, loc="left")
    for axes, name in zip(grid[-1], ("azimuth", "elevation"), strict=True):
        axes.set_xlabel(f"{name} / °", fontsize=9)
    return figure


# Commands


def spectrogram_of(path: Path, dataset: DatasetConfig) -> np.ndarray:
    """Reads a recording and computes its spectrogram near the label hop.

    Returns:
        Level of the first channel, (T, F), dB, F linear frequencies up to half the sample rate.

    Raises:
        DataError: the file cannot be used.
    """
    audio = read_audio(path, dataset.sample_rate_hz, dataset.channels)
    hop_samples = _hop_samples(dataset)
    window_samples = 2 * hop_samples  # as the features' default
    n_fft = 2 ** math.ceil(math.log2(window_samples))
    spectra = stft(audio[:, :1], Stft(window_samples, n_fft, hop_samples))[..., 0]  # (T, F)
    return decibels(np.abs(spectra) ** 2)


def _hop_samples(dataset: DatasetConfig) -> int:
    """Label hop in whole samples, rounded where the rate does not divide it."""
    return max(1, round(dataset.label_hop_s * dataset.sample_rate_hz))


def read_rows(
    path: Path, dataset: DatasetConfig, duration_s: float, files: SubmissionFiles | None = None
) -> np.ndarray:
    """Reads rows from metadata (a header of column names) or from a submission file.

    Args:
        path: the file.
        dataset: of the recording; from 2020 on a file is a submission where `files` are given.
        duration_s: length of the recording in seconds.
        files: submission files of the dataset's year; None: those of 2019.

    Raises:
        DataError: the file is neither.
    """
    if dataset.is_framewise and files is not None:
        return files.read(path)
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            header = file.readline()
    except OSError as error:
        raise DataError(
            f"Cannot read {path}: {error.strerror}. Give a metadata or a submission file."
        ) from error
    if not dataset.is_framewise and COLUMNS[0] not in header:
        return read_submission(path, dataset.n_classes)
    shown = dataset.model_copy(update={"recording_s": duration_s})
    return rows_of_events(read_labels(path, shown), None, dataset.label_hop_s)


def read_metadata(
    folder: Path, dataset: DatasetConfig
) -> tuple[dict[str, Events], dict[str, int | None]]:
    """Reads events and rooms by recording, of a metadata folder or a `recordings.csv`.

    Raises:
        DataError: there is no file, or one cannot be used.
    """
    if has_list(folder):
        listed = read_list(folder)
        paths = {each.name: each.metadata_path for each in listed if each.metadata_path is not None}
        rooms = {each.name: each.room for each in listed if each.name in paths}
    else:
        paths = {path.stem: path for path in sorted(folder.glob("*.csv"))}
        rooms = {name: parse_name(name, "eval").room for name in paths}
    if not paths:
        raise DataError(
            f"No metadata in {folder}. Expected: .csv files, e.g. <dataset_dir>/metadata_dev."
        )
    return {name: read_labels(path, dataset) for name, path in paths.items()}, rooms


def read_lengths(folder: Path, names: Iterable[str], dataset: DatasetConfig) -> dict[str, int]:
    """Label frames of the recordings of metadata files, of those whose sounds are there."""
    sounds = sounds_of(folder, names, dataset.format)
    found = {name: seconds_of(path) for name, path in sounds.items()}
    return {name: dataset.frames_of(length) for name, length in found.items() if length is not None}


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m seld.figures`; returns the exit status."""
    return run_safely(_run, arguments)


def _run(arguments: Sequence[str]) -> None:
    options = _parser().parse_args(arguments)
    dataset, network = _dataset(options)
    if options.what == "dataset":
        events, rooms = read_metadata(options.metadata_dir, dataset)
        n_frames = read_lengths(options.metadata_dir, events, dataset)
        for name, figure in dataset_figures(events, rooms, dataset, n_frames).items():
            save_figure(figure, options.out / f"{name}.png")
            logger.info("Wrote %s.", options.out / f"{name}.png")
        return
    spectrogram_db = spectrogram_of(options.wav, dataset)
    duration_s = len(spectrogram_db) * _hop_samples(dataset) / dataset.sample_rate_hz
    given = options.reference
    reference = None if given is None else read_rows(given, dataset, duration_s)
    files = submission_files(dataset, network)
    estimate = read_rows(options.estimate, dataset, duration_s, files)
    figure = recording_figure(
        Spectrogram(spectrogram_db, duration_s, highest_hz=dataset.sample_rate_hz / 2),
        reference,
        estimate,
        dataset.classes,
        dataset.label_hop_s,
        options.wav.stem,
        quantities=quantities_of(dataset, network),
        grid=dataset.grid,
    )
    save_figure(figure, options.out)
    logger.info("Wrote %s.", options.out)


def _dataset(options: argparse.Namespace) -> tuple[DatasetConfig, dict[str, Any]]:
    """Dataset of the named task, or TAU 2019, with the changes of the options; its network."""
    changes = {"recording_s": options.recording_s, "sample_rate_hz": options.sample_rate_hz}
    changes["classes"] = options.classes.split(",") if options.classes else None
    given = {name: value for name, value in changes.items() if value is not None}
    if options.task is None:
        return DatasetConfig(**given), {}
    task = load_task(params_path(options.params), options.task, [])
    if task.family != "seld":
        raise ConfigError(
            f"--task: expected a task of localization. Received: {options.task}, of {task.family}."
        )
    return DatasetConfig(**task.dataset.model_dump() | given), task.network


def _parser() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    add = shared.add_argument
    add("--task", metavar="ID", help="task with the classes, sample rate and ranges of angles")
    add("--params", type=Path, help="settings file with that task (default ./params.yaml)")
    classes = "names joined by commas; default: the task's, or those of DCASE 2019 task 3"
    add("--classes", type=typed_text, help=classes)
    longest = "longest recording, seconds (default: the task's, or 60)"
    add("--recording-s", type=float, help=longest)
    rate = "of the recordings (default: the task's, or 48000)"
    add("--sample-rate-hz", type=int, help=rate)
    parser = argparse.ArgumentParser(
        prog="python -m seld.figures", description="Draws a recording or a dataset."
    )
    commands = parser.add_subparsers(dest="what", required=True)
    about = "spectrogram, reference and estimate"
    recording = commands.add_parser("recording", parents=[shared], help=about)
    recording.add_argument("wav", type=Path)
    recording.add_argument("--reference", type=Path, help="metadata or submission file")
    recording.add_argument("--estimate", type=Path, required=True, help="submission file")
    recording.add_argument("--out", type=Path, required=True, help="PNG file to write")
    about = "classes, overlap and directions of events"
    dataset = commands.add_parser("dataset", parents=[shared], help=about)
    about = "folder of metadata, or a dataset with a recordings.csv"
    dataset.add_argument("metadata_dir", type=Path, help=about)
    dataset.add_argument("--out", type=Path, required=True, help="folder for three PNG files")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())

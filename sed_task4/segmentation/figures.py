"""Figures of segmentation: mixtures, ideal and learned masks, events, separated sounds."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from common.display.plotting import Curve, Panel, new_figure, tidy
from common.display.spectrogram import DYNAMIC_RANGE_DB, Spectrogram, draw_spectrogram
from common.features.spectral import uncentred_stft
from common.settings.stft import Stft
from sed_task4.figures import LOGMEL

OCCURS, ABSENT = "#c1121f", "#333333"
REFERENCE, ESTIMATE = "#f2c14e", "#2a6f97"
_COLUMNS = 6
_WINDOW_S = 0.064
_MAX_FRAMES = 1500  # of a drawn spectrogram: a figure has fewer pixels
_SPLITS = (("train", "training"), ("val", "validation"))
_TAG_SCORES = (("map", "mAP"), ("auc", "AUC"), ("clip_macro_f", "F"))
LEARNING_PANELS = (
    Panel(
        "Loss of the tags",
        "loss",
        (
            Curve("train_loss", "training", dashed=True, colour=0),
            Curve("val_loss", "validation", colour=0),
        ),
        logarithmic=True,
    ),
    Panel(
        "Tags",
        "score",
        tuple(
            Curve(f"{kind}_{name}", f"{title}, {where}", dashed=kind == "train", colour=colour)
            for colour, (name, title) in enumerate(_TAG_SCORES)
            for kind, where in _SPLITS
        ),
        limits=(0.0, 1.02),
    ),
)


def mixture_figure(
    audio: np.ndarray, sample_rate_hz: int, magnitude: np.ndarray, mask: np.ndarray, title: str
) -> Figure:
    """Draws a mixture: waveform, spectrogram and ideal ratio mask.

    Args:
        audio: float (S,), the mixture.
        sample_rate_hz: its sample rate.
        magnitude: (T, bins), of the mixture, from 0 Hz to half the rate.
        mask: ideal ratio mask (T, bins).
        title: above the figure.
    """
    length_s = len(audio) / sample_rate_hz
    figure = new_figure(8, 8, title)
    top, middle, bottom = figure.subplots(3, 1, sharex=True)
    _draw_waveform(top, audio, length_s)
    _draw_spectrogram(middle, magnitude, length_s, sample_rate_hz, float(magnitude.max(initial=0)))
    image = _draw_image(bottom, mask, length_s, sample_rate_hz / 2000, 0, 1, "viridis")
    bar = figure.colorbar(image, ax=bottom, pad=0.01, fraction=0.03)
    bar.set_label("share of the events", fontsize=9)
    for axes, heading in ((top, "Waveform"), (middle, "Spectrogram"), (bottom, "Ideal ratio mask")):
        axes.set_title(heading, fontsize=10, loc="left")
    bottom.set_xlabel("time / s", fontsize=9)
    return figure


def masks_figure(
    logmel: np.ndarray,
    masks: np.ndarray,
    classes: Sequence[str],
    clip_s: float,
    title: str,
    *,
    tags: np.ndarray | None = None,
    occurring: Sequence[str] = (),
) -> Figure:
    """Draws the mask of each class below the spectrogram; names of classes present are coloured.

    Args:
        logmel: (T, F), natural logarithms.
        masks: (T, F, K).
        classes: names of the K classes.
        clip_s: length of the clip in seconds.
        title: above the figure.
        tags: probabilities (K,), written next to the names.
        occurring: names of the classes present.
    """
    n_rows = math.ceil(len(classes) / _COLUMNS)
    figure = new_figure(2.2 * _COLUMNS, 2.6 + 1.6 * n_rows, title)
    parts: Any = figure.subfigures(2, 1, height_ratios=[2.0, 1.6 * n_rows])
    above, below = parts
    axes = above.subplots()
    draw_spectrogram(axes, Spectrogram(logmel, clip_s, "ln", title=LOGMEL))
    axes.set_xlabel("time / s", fontsize=9)
    panels = below.subplots(n_rows, _COLUMNS, sharex=True, sharey=True, squeeze=False)
    for k, panel in enumerate(panels.flat):
        if k >= len(classes):
            panel.set_axis_off()
            continue
        _draw_image(panel, masks[..., k], clip_s, masks.shape[1], 0, 1, "viridis")
        _name_class(panel, classes[k], tags, k, occurring)
        panel.set_xticks([])
        panel.set_yticks([])
    return figure


def curves_figure(
    frames: np.ndarray,
    estimate: np.ndarray,
    classes: Sequence[str],
    clip_s: float,
    title: str,
    *,
    reference: np.ndarray | None = None,
    tags: np.ndarray | None = None,
) -> Figure:
    """Draws the probability over time and the events of each class.

    Args:
        frames: masks averaged over the bands, (T, K).
        estimate: decoded events (m, 3) = class_index, onset_s, offset_s.
        classes: names of the K classes.
        clip_s: length of the clip in seconds.
        title: above the figure.
        reference: true events (n, 3); None without labels.
        tags: probabilities (K,), written next to the names.
    """
    truth = np.asarray([] if reference is None else reference, np.float64).reshape(-1, 3)
    estimate = np.asarray(estimate).reshape(-1, 3)
    n_rows = math.ceil(len(classes) / _COLUMNS)
    figure = new_figure(2.2 * _COLUMNS, 1.0 + 1.3 * n_rows, title)
    panels = figure.subplots(n_rows, _COLUMNS, sharex=True, sharey=True, squeeze=False)
    times_s = (np.arange(len(frames)) + 0.5) * clip_s / max(len(frames), 1)
    occurring = [classes[int(k)] for k in np.unique(truth[:, 0])]
    for k, axes in enumerate(panels.flat):
        if k >= len(classes):
            axes.set_axis_off()
            continue
        for _, onset_s, offset_s in truth[truth[:, 0] == k].tolist():
            axes.axvspan(onset_s, offset_s, color=REFERENCE, alpha=0.5, linewidth=0)
        for _, onset_s, offset_s in estimate[estimate[:, 0] == k].tolist():
            axes.barh(1.06, offset_s - onset_s, left=onset_s, height=0.08, color=ESTIMATE)
        axes.plot(times_s, frames[:, k], color=ESTIMATE, linewidth=1.0)
        axes.set_xlim(0, clip_s)
        axes.set_ylim(0, 1.12)
        tidy(axes)
        _name_class(axes, classes[k], tags, k, occurring)
    probability = Line2D([], [], color=ESTIMATE, label="probability; above, estimated events")
    marks: list[Line2D | Patch] = [probability]
    if reference is not None:
        marks.append(Patch(color=REFERENCE, alpha=0.5, label="true events"))
    figure.legend(handles=marks, loc="outside lower center", ncols=2, fontsize=8.5, frameon=False)
    return figure


def separated_figure(
    mixture: np.ndarray,
    separated: Mapping[str, np.ndarray],
    sample_rate_hz: int,
    title: str,
    *,
    references: Mapping[str, np.ndarray] | None = None,
) -> Figure:
    """Draws spectrograms of a mixture and of separated sounds, next to the references if known.

    Args:
        mixture: float (S,).
        separated: float (S,) by class.
        sample_rate_hz: sample rate of all of them.
        title: above the figure.
        references: float (S,) by class, the isolated sound.
    """
    known = references or {}
    n_columns = 2 if any(name in known for name in separated) else 1
    figure = new_figure(5.5 * n_columns + 1.5, 2.0 + 1.9 * len(separated), title)
    panels = figure.subplots(1 + len(separated), n_columns, sharex=True, sharey=True, squeeze=False)
    signals = [(panels[0, 0], "Mixture", mixture)]
    for row, (name, sound) in zip(panels[1:], separated.items(), strict=True):
        signals.append((row[0], f"{name}: separated", sound))
        if name in known:
            signals.append((row[1], f"{name}: reference", known[name]))
    drawn = {id(axes) for axes, _, _ in signals}
    for axes in panels.flat:
        axes.set_visible(id(axes) in drawn)
    # One scale: faint sounds look faint.
    loudest = float(_magnitude(mixture, sample_rate_hz).max(initial=0))
    for axes, heading, signal in signals:
        magnitude = _magnitude(signal, sample_rate_hz)
        _draw_spectrogram(axes, magnitude, len(signal) / sample_rate_hz, sample_rate_hz, loudest)
        axes.set_title(heading, fontsize=10, loc="left")
    panels[-1, 0].set_xlabel("time / s", fontsize=9)
    return figure


def _magnitude(audio: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """Magnitudes (T, bins) in at most `_MAX_FRAMES` frames or so."""
    window = max(2, round(_WINDOW_S * sample_rate_hz))
    padded = np.pad(audio, (0, max(0, window - len(audio))))
    hop = max(window // 2, len(padded) // _MAX_FRAMES)
    stft = Stft(window, window + window % 2, hop, "hamming_symmetric")
    return np.abs(uncentred_stft(padded, stft))


def _draw_waveform(axes: Axes, audio: np.ndarray, length_s: float) -> None:
    peak = max(float(np.abs(audio).max(initial=0)), np.finfo(np.float32).tiny)
    times_s = np.arange(len(audio)) * length_s / max(len(audio), 1)
    axes.plot(times_s, audio / peak, linewidth=0.4, color=ESTIMATE)
    axes.set_xlim(0, length_s)
    axes.set_ylim(-1.02, 1.02)
    axes.set_ylabel("amplitude", fontsize=9)
    tidy(axes)


def _draw_spectrogram(
    axes: Axes, magnitude: np.ndarray, length_s: float, sample_rate_hz: int, loudest: float
) -> None:
    """Draws magnitudes (T, bins) in dB relative to the loudest."""
    relative = magnitude / max(loudest, np.finfo(np.float32).tiny)
    levels = 20 * np.log10(np.maximum(relative, 10 ** (-DYNAMIC_RANGE_DB / 20)))
    height = sample_rate_hz / 2000
    image = _draw_image(axes, levels, length_s, height, -DYNAMIC_RANGE_DB, 0, "magma")
    bar = axes.figure.colorbar(image, ax=axes, pad=0.01, fraction=0.03)
    bar.set_label("level / dB", fontsize=9)
    axes.set_ylabel("frequency / kHz", fontsize=9)


def _draw_image(
    axes: Axes,
    values: np.ndarray,
    width: float,
    height: float,
    low: float,
    high: float,
    colours: str,
):
    """Draws (T, bands) with time along x; returns the image."""
    axes.tick_params(labelsize=8)
    return axes.imshow(
        np.asarray(values, np.float32).T,
        origin="lower",
        aspect="auto",
        extent=(0.0, width, 0.0, height),
        vmin=low,
        vmax=high,
        cmap=colours,
        interpolation="antialiased",
    )


def _name_class(
    axes: Axes, name: str, tags: np.ndarray | None, k: int, occurring: Sequence[str]
) -> None:
    text = name if tags is None else f"{name}  {tags[k]:.2f}"
    axes.set_title(text, fontsize=8, loc="left", color=OCCURS if name in occurring else ABSENT)

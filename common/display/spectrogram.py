"""One drawing of a spectrogram for the figures of all families."""

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

DYNAMIC_RANGE_DB = 80.0  # shown below the highest value


@dataclass(frozen=True)
class Spectrogram:
    """Values to draw, with their axes.

    Attributes:
        values: (T, F), levels in `unit`.
        duration_s: length of the recording.
        unit: of the values, "dB" or "ln".
        highest_hz: frequency of the last column where columns are spaced linearly from 0 Hz; None:
            bands.
        title: above the axes.
    """

    values: np.ndarray
    duration_s: float
    unit: str = "dB"
    highest_hz: float | None = None
    title: str = "Spectrogram, first channel"


def draw_spectrogram(axes: Axes, spectrogram: Spectrogram) -> None:
    """Draws a spectrogram with its colour bar, down to 80 dB below the highest value."""
    values, highest_hz = spectrogram.values, spectrogram.highest_hz
    finite = values[np.isfinite(values)]
    highest = float(finite.max()) if finite.size else 0.0
    lowest = max(float(finite.min()) if finite.size else 0.0, highest - DYNAMIC_RANGE_DB)
    top = float(values.shape[1]) if highest_hz is None else highest_hz / 1000.0
    image = axes.imshow(
        np.asarray(values, np.float32).T,
        origin="lower",
        aspect="auto",
        extent=(0.0, spectrogram.duration_s, 0.0, top),
        vmin=lowest,
        vmax=highest if highest > lowest else lowest + 1.0,
        cmap="magma",
        interpolation="antialiased",
    )
    bar = axes.figure.colorbar(image, ax=axes, pad=0.01, fraction=0.03)
    bar.set_label(f"level / {spectrogram.unit}", fontsize=9)
    axes.set_title(spectrogram.title, fontsize=10, loc="left")
    axes.set_ylabel("band" if highest_hz is None else "frequency / kHz", fontsize=9)
    axes.tick_params(labelsize=8)

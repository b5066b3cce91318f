"""Recordings on a page: sound, pictures and events, small enough to be part of it."""

import io
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from matplotlib.image import imsave

from common.audio.files import read_with_rate, resample
from common.display.page import Lane, Line, Picture, Sound, data_uri, ticks
from common.errors import DataError

SHOWN_S = 120.0  # of a recording: the rest is not on the page
SHOWN_RECORDINGS = 3  # number of best and of worst recordings
LEGEND = "Wide and pale: reference. Narrow and strong: estimate. A click on a panel seeks there."
_SOUND_HZ = 16000
_MAX_COLUMNS = 1000  # of an image: pages are hardly wider
_DYNAMIC_RANGE_DB = 80.0
_PEAK = 0.9
_GOLDEN_ANGLE_DEG = 137.508
_MP3 = {"format": "MP3", "subtype": "MPEG_LAYER_III"}

Downmix = Callable[[np.ndarray], np.ndarray]


def best_and_worst(
    scores: Sequence[float], count: int = SHOWN_RECORDINGS
) -> tuple[list[int], list[int]]:
    """Chooses recordings to show.

    Args:
        scores: one for each recording, the higher the better; NaN is not chosen.
        count: maximum number of each; no recording is in both.

    Returns:
        Numbers of the best, the best one first, and of the worst, the worst one first.
    """
    order = [number for number in np.argsort(-np.asarray(scores), kind="stable").tolist()]
    order = [number for number in order if not math.isnan(scores[number])]
    count = min(count, -(-len(order) // 2))
    return order[:count], order[count:][::-1][:count]


def ranked(scores: Sequence[float]) -> list[tuple[int, str]]:
    """Numbers and ranks, e.g. "worst of 8", of recordings to show, see `best_and_worst`."""
    total = sum(not math.isnan(score) for score in scores)
    return [
        (number, f"{what} of {total}" if place == 1 else f"{what}, number {place}")
        for what, numbers in zip(("best", "worst"), best_and_worst(scores), strict=True)
        for place, number in enumerate(numbers, start=1)
    ]


def recording_sound(path: Path, label: str, downmix: Downmix) -> Sound:
    """Encodes the beginning of a recording: one channel at 16 kHz as MP3 of a fixed peak.

    Args:
        path: the recording.
        label: name of the sound.
        downmix: from (S, C) to (S,).

    Raises:
        DataError: the recording cannot be read, or MP3 cannot be written here.
    """
    recorded, rate_hz = read_with_rate(path)
    audio = downmix(recorded[: round(SHOWN_S * rate_hz)])[:, None]
    mono = resample(audio, rate_hz, _SOUND_HZ)
    peak = float(np.abs(mono).max(initial=0)) or 1.0
    encoded = io.BytesIO()
    try:
        soundfile.write(encoded, mono * (_PEAK / peak), _SOUND_HZ, **_MP3)
    except (soundfile.LibsndfileError, ValueError) as error:  # a libsndfile built without MP3
        raise DataError(
            f"The sound library cannot write MP3 ({error}): install soundfile from its wheel."
        ) from error
    return Sound(data_uri(encoded.getvalue(), "audio/mpeg"), label, len(recorded) / rate_hz)


def sound_or_note(path: Path | None, name: str, downmix: Downmix) -> tuple[Sound | None, list[str]]:
    """Sound of a recording, or a note why there is none; path None: the recording is missing."""
    if path is None:
        return None, [f"No sound: {name} is not in the dataset's folder any more."]
    try:
        return recording_sound(path, f"Sound of {name}", downmix), []
    except DataError as error:
        return None, [f"No sound: {error}"]


def level_picture(level: np.ndarray, hop_s: float, caption: str, alt: str) -> Picture:
    """Draws levels (T, F) in dB or similar, 80 below the highest, of the seconds shown."""
    finite = level[np.isfinite(level)]
    highest = float(finite.max()) if finite.size else 0.0
    lowest = max(float(finite.min()) if finite.size else 0.0, highest - _DYNAMIC_RANGE_DB)
    limits = lowest, max(highest, lowest + 1e-3)
    return Picture(_image(level, hop_s, limits, "magma"), alt, caption)


def share_picture(shares: np.ndarray, hop_s: float, caption: str, alt: str) -> Picture:
    """Draws values (T, F) in [0, 1], such as a mask."""
    return Picture(_image(shares, hop_s, (0.0, 1.0), "viridis"), alt, caption)


def _image(values: np.ndarray, hop_s: float, limits: tuple[float, float], colours: str) -> str:
    shown = np.asarray(values[: max(1, round(SHOWN_S / hop_s))], np.float32)  # (T, F)
    step = -(-len(shown) // _MAX_COLUMNS)
    starts = np.arange(0, len(shown), step)
    columns = np.add.reduceat(shown, starts, axis=0) / np.diff([*starts, len(shown)])[:, None]
    encoded = io.BytesIO()
    low, high = limits
    options: dict[str, Any] = {"origin": "lower", "format": "jpg", "pil_kwargs": {"quality": 80}}
    imsave(encoded, columns.T, vmin=low, vmax=high, cmap=colours, **options)
    return data_uri(encoded.getvalue(), "image/jpeg")


def seconds_ticks(duration_s: float) -> list[tuple[float, str]]:
    """Round times of a recording, with their text."""
    return ticks(0.0, shown_s(duration_s), most=6)


def shown_s(duration_s: float) -> float:
    """Length of the part of a recording that is shown, in seconds."""
    return min(duration_s, SHOWN_S)


def colours_of(n_classes: int) -> list[str]:
    """CSS colour of each class: different hues of neighbours, on light and dark background."""
    return [f"oklch(63% 0.17 {k * _GOLDEN_ANGLE_DEG % 360:.0f})" for k in range(n_classes)]


def lanes(
    reference: np.ndarray, estimate: np.ndarray, classes: Sequence[str], duration_s: float
) -> list[Lane]:
    """Makes a lane for each class that occurs or is estimated.

    Args:
        reference: true events (n, 3) = class_index, onset_s, offset_s.
        estimate: estimated events (m, 3).
        classes: names of the classes.
        duration_s: of the recording.
    """
    end_s, colours = shown_s(duration_s), colours_of(len(classes))
    both = [rows[rows[:, 1] < end_s] for rows in (reference, estimate)]
    used = np.unique(np.concatenate([rows[:, 0] for rows in both])).astype(int).tolist()
    return [
        Lane(
            classes[k],
            colours[k],
            *([(on, min(off, end_s)) for j, on, off in rows.tolist() if j == k] for rows in both),
        )
        for k in used
    ]


def track(
    frames: np.ndarray,
    values: np.ndarray,
    hop_s: float,
    colour: str,
    style: str,
    largest_step: float = 0.0,
) -> Line:
    """Makes a line of frame-level values of one source, such as directions.

    Args:
        frames: int (n,), each once.
        values: (n,); unknown ones, NaN, are left out.
        hop_s: hop length in seconds.
        colour: see `common.display.page.Line`.
        style: as well.
        largest_step: difference of neighbouring frames up to which they are one stroke.
    """
    shown = (np.asarray(frames) * hop_s < SHOWN_S) & ~np.isnan(values)
    order = np.flatnonzero(shown)[np.argsort(np.asarray(frames)[shown], kind="stable")]
    frames, values = np.asarray(frames, float)[order], np.asarray(values, float)[order]
    breaks = np.flatnonzero((np.diff(frames) > 1) | (np.abs(np.diff(values)) > largest_step)) + 1
    strokes = []
    for own in np.split(np.arange(len(frames)), breaks) if len(frames) else []:
        times = [frames[own[0]], *(frames[own] + 0.5), frames[own[-1]] + 1]
        points = list(zip(times, values[[own[0], *own, own[-1]]].tolist(), strict=True))
        strokes.append([(time * hop_s, value) for time, value in _corners(points)])
    return Line("", strokes, colour, style)


def _corners(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Leaves out points (x, y) whose two neighbours have the same y."""
    inner = zip(points, points[1:], points[2:], strict=False)
    kept = [here for before, here, after in inner if not before[1] == here[1] == after[1]]
    return [points[0], *kept, points[-1]]


def first_channel(audio: np.ndarray) -> np.ndarray:
    """The first channel (S,) of audio (S, C): all directions, in Ambisonics."""
    return audio[:, 0]


def mean_channel(audio: np.ndarray) -> np.ndarray:
    """The mean (S,) of the channels of audio (S, C)."""
    return audio.mean(axis=1)

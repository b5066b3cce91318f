"""Voices of moving tracts: pitch, vowels, breath and friction follow curves through knots."""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import signal

from common.simulation.random_streams import Draw
from common.simulation.sounds.synthesis import slow_control, to_unit_peak

Knots = Sequence[tuple[float, float]]  # seconds and values, in order of time
FRAME_S = 0.023
FORMANTS = ("f1", "f2", "f3")
TUBE_STEP_HZ = 1050.0  # between the resonances of a tract above the third


class Score:
    """Curves of an utterance that is written part by part.

    Names: pitch (Hz), voice, breath and friction (levels), friction_hz (centre of the friction),
    f1, f2, f3 (first formants in Hz, of an adult's tract).
    """

    def __init__(self) -> None:
        self.knots: dict[str, list[tuple[float, float]]] = {}

    def add(self, time_s: float, **values: float) -> None:
        """Adds a knot to some curves."""
        for name, value in values.items():
            self.knots.setdefault(name, []).append((time_s, value))

    def curve(self, name: str, times_s: np.ndarray, default: float) -> np.ndarray:
        """Values of a curve, float64 like the times; the default if it has no knot."""
        if name not in self.knots:
            return np.full(len(times_s), default)
        times, values = zip(*sorted(self.knots[name]), strict=True)
        return np.interp(times_s, times, values)


def vocalise(
    draw: Draw,
    rate_hz: int,
    duration_s: float,
    score: Score,
    tract: float = 1.0,
    jitter: float = 0.02,
) -> np.ndarray:
    """Sounds an utterance.

    Args:
        draw: source of jitter and noise.
        rate_hz: sample rate.
        duration_s: length.
        score: its curves.
        tract: factor on the formants; above 1 for a short tract.
        jitter: relative random deviation of the pitch.

    Returns:
        float32 (samples,), peak 1.

    References:
        Fant, "Acoustic theory of speech production", 1960: source and cascaded resonances.
    """
    n = max(round(duration_s * rate_hz), 64)
    t = np.arange(n) / rate_hz
    pitch_hz = score.curve("pitch", t, 150.0)
    shimmer = slow_control(draw, n, rate_hz, 25.0, 0.75, 1.0)
    pulses = _pulses(draw, pitch_hz, rate_hz, jitter)
    source = score.curve("voice", t, 0.0) * shimmer * pulses
    source = source + 0.25 * score.curve("breath", t, 0.0) * draw.noise(n)
    size = max(round(FRAME_S * rate_hz), 16)
    friction = 0.25 * score.curve("friction", t, 0.0) * draw.noise(n)
    options = {"fs": rate_hz, "nperseg": min(size, n), "noverlap": min(size, n) * 3 // 4}
    frequencies_hz, frames_s, spectra = signal.stft(source, **options)
    _, _, hissing = signal.stft(friction, **options)
    spectra = spectra * _resonances(frequencies_hz, frames_s, score, tract)
    centre_hz = np.minimum(score.curve("friction_hz", frames_s, 4000.0), 0.4 * rate_hz)
    distance = np.log2(np.maximum(frequencies_hz, 50.0)[:, None] / centre_hz)
    spectra += hissing * np.exp(-np.square(distance) / 0.8)
    _, x = signal.istft(spectra, **options)
    return to_unit_peak(np.resize(x, n) if len(x) < n else x[:n])


def _pulses(draw: Draw, pitch_hz: np.ndarray, rate_hz: int, jitter: float) -> np.ndarray:
    """Flow of a glottis that shuts at once, differentiated: 6 dB less in each octave.

    References:
        Rosenberg, "Effect of glottal pulse shape on the quality of natural vowels", J. Acoust. Soc.
        Am. 49, 1971.
    """
    wobble = slow_control(draw, len(pitch_hz), rate_hz, 60.0, -1.0, 1.0)
    phase = np.cumsum(pitch_hz * (1 + jitter * wobble) / rate_hz) % 1.0
    opening, closing = draw.uniform(0.3, 0.45), draw.uniform(0.1, 0.25)  # parts of a period
    rise = 0.5 * np.pi / opening * np.sin(np.pi * phase / opening)
    fall = -0.5 * np.pi / closing * np.sin(0.5 * np.pi * (phase - opening) / closing)
    shut = phase >= opening + closing
    pulses = np.where(phase < opening, rise, np.where(shut, 0.0, fall))
    # A soft voice shuts its glottis slowly.
    pole = np.exp(-2 * np.pi * draw.log_uniform(700.0, 8000.0) / rate_hz)
    return to_unit_peak(signal.lfilter([1 - pole], [1.0, -pole], pulses))


def _resonances(
    frequencies_hz: np.ndarray, frames_s: np.ndarray, score: Score, tract: float
) -> np.ndarray:
    """Gains of the tract, (bins, frames), of unit mean in each frame."""
    defaults: Mapping[str, float] = {"f1": 550.0, "f2": 1500.0, "f3": 2500.0}
    f = np.maximum(frequencies_hz, 20.0)[:, None]
    formants = [tract * score.curve(name, frames_s, defaults[name]) for name in FORMANTS]
    higher_hz = tract * (2500.0 + TUBE_STEP_HZ * np.arange(1, 20))
    formants += [np.full(len(frames_s), each) for each in higher_hz if each < f[-1, 0]]
    gains = np.ones((len(frequencies_hz), len(frames_s)))
    for number, centre_hz in enumerate(formants):
        bandwidth_hz = 60.0 + 0.04 * centre_hz + 25.0 * number
        square = np.square(f / centre_hz)
        gains /= np.sqrt(np.square(1 - square) + square * np.square(bandwidth_hz / centre_hz))
    return gains / gains.mean(axis=0, keepdims=True)


def vowel(draw: Draw) -> dict[str, float]:
    """Draws the formants of any vowel, anywhere in the space of vowels."""
    f1 = draw.uniform(280.0, 850.0)
    f2 = draw.uniform(max(800.0, 1.3 * f1), 2400.0 - 0.9 * max(f1 - 450.0, 0.0))
    return {"f1": f1, "f2": f2, "f3": max(f2 + 350.0, draw.uniform(2300.0, 3000.0))}


OPEN = {"f1": 750.0, "f2": 1350.0, "f3": 2550.0}
CLOSED = {"f1": 260.0, "f2": 1100.0, "f3": 2300.0}

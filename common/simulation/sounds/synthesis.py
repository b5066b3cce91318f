"""Building blocks of synthetic sounds: noises, resonances, envelopes, voices.

Signals are float32 (samples,).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import fft, signal

from common.simulation.random_streams import Draw

# First three formants of seven vowels, rounded averages of adult speakers; the fourth is constant.
VOWEL_FORMANTS_HZ = {
    "a": (730.0, 1090.0, 2440.0),
    "i": (270.0, 2290.0, 3010.0),
    "u": (300.0, 870.0, 2240.0),
    "e": (530.0, 1840.0, 2480.0),
    "o": (570.0, 840.0, 2410.0),
    "ae": (660.0, 1720.0, 2410.0),
    "er": (490.0, 1350.0, 1690.0),
}
FOURTH_FORMANT_HZ = 3500.0
FORMANT_BANDWIDTHS_HZ = (80.0, 100.0, 140.0, 200.0)
FORMANT_GAINS = (1.0, 0.6, 0.35, 0.2)
OPEN_QUOTIENT = 0.6  # part of each period of the voice in which the glottis is open
HIGHEST_PART = 0.45  # of the sample rate: limit of partials and resonances


def silence(duration_s: float, rate_hz: int) -> np.ndarray:
    """Returns zeros, at least one sample."""
    return np.zeros(max(round(duration_s * rate_hz), 1), np.float32)


def time_axis(n: int, rate_hz: int) -> np.ndarray:
    """Time of each of `n` samples in seconds, float64 (n,)."""
    return np.arange(n) / rate_hz


def add_at(
    signal_: np.ndarray, sound: np.ndarray, time_s: float, rate_hz: int, gain: float = 1.0
) -> None:
    """Adds `sound` to `signal_` in place from `time_s` on; what reaches past the end is cut."""
    start = max(round(time_s * rate_hz), 0)
    n = min(len(sound), len(signal_) - start)
    if n > 0:
        signal_[start : start + n] += gain * sound[:n]


def rms(x: np.ndarray) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(np.square(x, dtype=np.float64))))


def to_unit_peak(x: np.ndarray) -> np.ndarray:
    """Scales to a maximum magnitude of 1; silence stays silence."""
    return (x / max(float(np.abs(x).max()), 1e-9)).astype(np.float32)


def to_unit_rms(x: np.ndarray) -> np.ndarray:
    """Scales to a root mean square of 1; silence stays silence."""
    return (x / max(rms(x), 1e-9)).astype(np.float32)


def band_pass(x: np.ndarray, rate_hz: int, low_hz: float, high_hz: float) -> np.ndarray:
    """Filters with a second-order Butterworth band-pass (4 poles)."""
    edges_hz = (low_hz, min(high_hz, 0.47 * rate_hz))
    sections = signal.butter(2, edges_hz, "bandpass", fs=rate_hz, output="sos")
    return signal.sosfilt(sections, x).astype(np.float32)


def coloured_noise(draw: Draw, n: int, rate_hz: int, slope: float) -> np.ndarray:
    """Makes noise of unit variance with power 1 / f^slope above 30 Hz (1: pink, 2: brown)."""
    n_fft = fft.next_fast_len(n, real=True)
    frequencies_hz = fft.rfftfreq(n_fft, 1 / rate_hz)
    spectrum = fft.rfft(draw.noise(n_fft)) / np.maximum(frequencies_hz, 30.0) ** (slope / 2)
    x = fft.irfft(spectrum, n_fft)[:n]
    return (x / max(float(x.std()), 1e-9)).astype(np.float32)


def damped_modes(
    draw: Draw,
    n: int,
    rate_hz: int,
    frequencies_hz: Sequence[float] | np.ndarray,
    decay_s: float | Sequence[float] | np.ndarray,
    gains: Sequence[float] | np.ndarray | None = None,
) -> np.ndarray:
    """Sums decaying sines of random phase, as of a struck object.

    Args:
        draw: source of the phases.
        n: length in samples.
        rate_hz: sample rate.
        frequencies_hz: frequency of each mode, (M,); those too high for the sample rate are left
            out.
        decay_s: time of decay by 60 dB, one for all modes or (M,).
        gains: amplitude of each mode, (M,); None: all 1.

    Returns:
        float32 (n,).
    """
    frequencies = np.asarray(frequencies_hz, float)
    decays = np.maximum(np.broadcast_to(decay_s, frequencies.shape), 1e-3)
    amplitudes = np.ones(frequencies.shape) if gains is None else np.asarray(gains, float)
    phases = draw.rng.uniform(0, 2 * np.pi, len(frequencies))
    t = time_axis(n, rate_hz).astype(np.float32)
    x = np.zeros(n, np.float32)
    for frequency, decay, amplitude, phase in zip(
        frequencies, decays, amplitudes, phases, strict=True
    ):
        if frequency < HIGHEST_PART * rate_hz:
            carrier = np.sin(np.float32(2 * np.pi * frequency) * t + np.float32(phase))
            x += np.float32(amplitude) * np.exp(np.float32(-np.log(1000) / decay) * t) * carrier
    return x


def slow_control(
    draw: Draw, n: int, rate_hz: int, cutoff_hz: float, low: float = 0.0, high: float = 1.0
) -> np.ndarray:
    """Makes a random curve between `low` and `high`, up to `cutoff_hz`, float32 (n,)."""
    knots = max(int(n / rate_hz * cutoff_hz * 2) + 3, 4)
    heights = draw.rng.uniform(low, high, knots)
    return np.interp(np.linspace(0, knots - 1, n), np.arange(knots), heights).astype(np.float32)


def fade_edges(
    x: np.ndarray, rate_hz: int, attack_s: float, release_s: float | None = None
) -> np.ndarray:
    """Fades both ends with a raised cosine; `release_s` is `attack_s` by default."""
    envelope = np.ones(len(x), np.float32)
    rise = _raised_cosine(min(int(attack_s * rate_hz), len(x) // 2))
    release_s = attack_s if release_s is None else release_s
    fall = _raised_cosine(min(int(release_s * rate_hz), len(x) // 2))
    envelope[: len(rise)] = rise
    if len(fall):
        envelope[-len(fall) :] *= fall[::-1]
    return (x * envelope).astype(np.float32)


def fade_within(x: np.ndarray, rate_hz: int, edge_s: float) -> np.ndarray:
    """Fades both ends over `edge_s`, or less if the sound is short."""
    return fade_edges(x, rate_hz, min(edge_s, 0.1 * len(x) / rate_hz))


def _raised_cosine(n: int) -> np.ndarray:
    return 0.5 - 0.5 * np.cos(np.pi * np.arange(n) / max(n, 1))


def glottal_pulses(
    draw: Draw, pitch_hz: np.ndarray, rate_hz: int, jitter: float, breath: float
) -> np.ndarray:
    """Makes the source of a voice: derivative of raised-sine pulses, with breath noise.

    Args:
        draw: source of jitter and breath noise.
        pitch_hz: pitch at each sample, (n,).
        rate_hz: sample rate.
        jitter: relative random deviation of the pitch.
        breath: amplitude of the noise while the glottis is open, against pulses of unit peak.

    Returns:
        float32 (n,).
    """
    n = len(pitch_hz)
    wobbling_hz = pitch_hz * (1 + jitter * slow_control(draw, n, rate_hz, 60.0, -1.0, 1.0))
    phase = np.cumsum(wobbling_hz / rate_hz) % 1.0
    is_open = phase < OPEN_QUOTIENT
    flow = np.where(is_open, np.sin(np.pi * phase / OPEN_QUOTIENT) ** 2, 0.0)
    return to_unit_peak(np.diff(flow, prepend=0.0)) + np.float32(breath) * draw.noise(n) * is_open


def resonate(
    x: np.ndarray,
    rate_hz: int,
    centres_hz: Sequence[float],
    bandwidths_hz: Sequence[float],
    gains: Sequence[float] = FORMANT_GAINS,
) -> np.ndarray:
    """Filters with parallel two-pole resonators, such as the formants of a vocal tract."""
    y = np.zeros(len(x), np.float32)
    for centre_hz, bandwidth_hz, gain in zip(centres_hz, bandwidths_hz, gains, strict=False):
        if centre_hz < HIGHEST_PART * rate_hz:
            radius = np.exp(-np.pi * bandwidth_hz / rate_hz)
            poles = [1.0, -2 * radius * np.cos(2 * np.pi * centre_hz / rate_hz), radius**2]
            y += gain * signal.lfilter([1 - radius], poles, x).astype(np.float32)
    return y


@dataclass(frozen=True)
class Voice:
    """Timbre of a voice.

    Attributes:
        vowel: a key of `VOWEL_FORMANTS_HZ`; None: any.
        jitter: relative random deviation of the pitch.
        breath: amplitude of breath noise against pulses of unit peak.
        tract: factor on the formant frequencies; above 1 for a short vocal tract.
    """

    vowel: str | None = None
    jitter: float = 0.015
    breath: float = 0.05
    tract: float = 1.0


def voiced(
    draw: Draw,
    duration_s: float,
    rate_hz: int,
    pitch_hz: float,
    voice: Voice,
    end_pitch_hz: float | None = None,
) -> np.ndarray:
    """Synthesises one vowel.

    Args:
        draw: source of everything random.
        duration_s: length.
        rate_hz: sample rate.
        pitch_hz: pitch at the start.
        voice: vowel and timbre.
        end_pitch_hz: pitch at the end; None: 0.8 to 1.15 of the first.

    Returns:
        float32 (samples,), faded at both ends.
    """
    end_hz = pitch_hz * draw.uniform(0.8, 1.15) if end_pitch_hz is None else end_pitch_hz
    formants = VOWEL_FORMANTS_HZ[voice.vowel or draw.choice(list(VOWEL_FORMANTS_HZ))]
    centres_hz = [voice.tract * formant for formant in (*formants, FOURTH_FORMANT_HZ)]
    contour_hz = np.linspace(pitch_hz, end_hz, max(round(duration_s * rate_hz), 2))
    pulses = glottal_pulses(draw, contour_hz, rate_hz, voice.jitter, voice.breath)
    vowel = resonate(pulses, rate_hz, centres_hz, FORMANT_BANDWIDTHS_HZ)
    return fade_edges(vowel, rate_hz, 0.02, 0.04)


def random_equaliser(draw: Draw, x: np.ndarray, rate_hz: int) -> np.ndarray:
    """Changes the spectrum as by another microphone: a one-pole tilt and one peak or dip."""
    pole = draw.uniform(-0.5, 0.5)
    numerator, denominator = ([1.0, -pole], [1.0]) if pole > 0 else ([1.0 + pole], [1.0, pole])
    tilted = signal.lfilter(numerator, denominator, x).astype(np.float32)
    centre_hz = draw.log_uniform(150.0, 6000.0)
    peak = band_pass(tilted, rate_hz, centre_hz / 1.3, min(centre_hz * 1.3, 0.46 * rate_hz))
    return tilted + np.float32(draw.uniform(-0.3, 0.5)) * peak


def crest_factor_db(x: np.ndarray) -> float:
    """Computes the ratio of peak to RMS in dB."""
    return float(20 * np.log10(np.abs(x).max() / np.sqrt(np.mean(np.square(x, dtype=np.float64)))))


def limit_crest(x: np.ndarray, max_db: float) -> np.ndarray:
    """Limits peaks softly (tanh) until the crest factor is at most `max_db`.

    Clicks of 24 to 29 dB would otherwise set the scale of a whole recording.
    """
    while np.any(x) and crest_factor_db(x) > max_db:
        # 1 dB below the limit, since limiting also lowers the RMS: the loop ends.
        ceiling = np.sqrt(np.mean(np.square(x, dtype=np.float64))) * 10 ** ((max_db - 1.0) / 20)
        x = (ceiling * np.tanh(x / ceiling)).astype(np.float32)
    return x

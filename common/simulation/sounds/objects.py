"""Telephones and paper. Each recipe fills its duration, float32 (samples,)."""

import numpy as np

from common.simulation.random_streams import Draw
from common.simulation.sounds.synthesis import (
    add_at,
    band_pass,
    damped_modes,
    fade_edges,
    silence,
    slow_control,
    time_axis,
)

BELL_RATIOS = np.array([1.0, 1.27, 2.1, 2.9])


def ring_phone(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """Rings of a telephone: a bell, a trill of two tones or a melody, with pauses."""
    ringing, on_range_s, off_range_s = draw.choice(
        (
            (_struck_bell, (0.8, 1.5), (0.2, 0.4)),
            (_two_tone_trill, (0.3, 1.0), (0.1, 0.3)),
            (_melody, (0.5, 3.0), (0.05, 0.3)),
        )
    )
    x = ringing(draw, rate_hz, duration_s)
    t = time_axis(len(x), rate_hz)
    on_s, off_s = draw.uniform(*on_range_s), draw.uniform(*off_range_s)
    # Whole rings only: the event ends with a sound, not with a pause.
    n_rings = max(round((duration_s + off_s) / (on_s + off_s)), 1)
    on_s = (duration_s + off_s) / n_rings - off_s
    return fade_edges(x * (t % (on_s + off_s) < on_s), rate_hz, 0.005, 0.03)


def _struck_bell(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    x = silence(duration_s, rate_hz)
    strikes_per_s = draw.uniform(16, 26)
    bell_hz = draw.log_uniform(900, 1800) * BELL_RATIOS
    stroke = damped_modes(draw, int(rate_hz / strikes_per_s) + 1, rate_hz, bell_hz, 0.25)
    for number in range(int(duration_s * strikes_per_s) + 1):
        add_at(x, stroke, number / strikes_per_s, rate_hz, draw.uniform(0.8, 1.0))
    return x


def _two_tone_trill(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    t = time_axis(len(silence(duration_s, rate_hz)), rate_hz)
    low_hz = draw.log_uniform(400, 1000)
    high_hz = low_hz * draw.uniform(1.1, 1.35)
    is_low = t * draw.uniform(8, 25) % 1 < 0.5
    tones = np.where(is_low, np.sin(2 * np.pi * low_hz * t), np.sin(2 * np.pi * high_hz * t))
    return (tones + 0.3 * np.sign(np.sin(2 * np.pi * low_hz * t))).astype(np.float32)


def _melody(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    t = time_axis(len(silence(duration_s, rate_hz)), rate_hz)
    semitones = draw.rng.integers(0, 13, draw.count(3, 7))
    notes_hz = draw.log_uniform(500, 1200) * 2 ** (semitones / 12)
    played = (t / draw.uniform(0.08, 0.2)).astype(int) % len(notes_hz)
    phase = 2 * np.pi * np.cumsum(notes_hz[played]) / rate_hz
    return np.sin(phase + draw.uniform(0.5, 3.0) * np.sin(2 * phase)).astype(np.float32)


def turn_page(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """Page turning: two or three swells of rustling with crackles."""
    n = len(silence(duration_s, rate_hz))
    noise = draw.noise(n)
    rustle = band_pass(noise, rate_hz, draw.log_uniform(700, 1800), draw.log_uniform(6000, 12000))
    crackle = np.zeros(n, np.float32)
    n_crackles = draw.rng.poisson(draw.uniform(40, 180) * duration_s)
    crackle[draw.rng.integers(0, n, n_crackles)] = draw.rng.exponential(1.0, n_crackles)
    crackling = 2.5 * draw.uniform(0.5, 2.0) * band_pass(crackle, rate_hz, 1500, 9000)
    swells = _swells(draw, n) * (0.5 + slow_control(draw, n, rate_hz, 40.0))
    return fade_edges((rustle + crackling) * swells, rate_hz, 0.005, 0.02)


def _swells(draw: Draw, n: int) -> np.ndarray:
    """Sum of Gaussian swells over a low floor, without a silent part, (n,)."""
    part = np.linspace(0, 1, n, dtype=np.float32)
    n_swells = draw.count(2, 3)
    envelope = np.full(n, 0.05, np.float32)
    for number in range(n_swells):
        centre = (number + draw.uniform(0.25, 0.75)) / n_swells
        width = draw.uniform(0.12, 0.25)
        envelope += np.float32(draw.uniform(0.4, 1.0)) * np.exp(-(((part - centre) / width) ** 2))
    return envelope

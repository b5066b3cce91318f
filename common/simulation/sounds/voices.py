"""Voices. Each recipe fills its duration, float32 (samples,)."""

import numpy as np

from common.simulation.random_streams import Draw
from common.simulation.sounds.synthesis import (
    Voice,
    add_at,
    band_pass,
    fade_edges,
    resonate,
    silence,
    slow_control,
    time_axis,
    to_unit_peak,
    voiced,
)

FRICATIVE_BANDS_HZ = ((3500.0, 9000.0), (1500.0, 5000.0))
PITCH_HZ = (90.0, 260.0)
LOW_PITCH_HZ, HIGH_PITCH_HZ = (85.0, 150.0), (170.0, 260.0)
MAX_BREATH_S = 0.06  # pause within a phrase; the fades of syllables lengthen it


def speech(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """Syllables of one speaker: gliding vowels, fricatives, falling pitch, rare pauses."""
    return _talk(draw, rate_hz, duration_s, (0.1, 0.3))


def low_speech(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """Speech of a low voice, as of most men."""
    return _talk(draw, rate_hz, duration_s, (0.1, 0.3), LOW_PITCH_HZ)


def high_speech(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """Speech of a high voice, as of most women."""
    return _talk(draw, rate_hz, duration_s, (0.1, 0.3), HIGH_PITCH_HZ)


def phrase(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """Syllables as in `speech`, without pauses that would split the event."""
    return _talk(draw, rate_hz, duration_s, (0.01, MAX_BREATH_S))


def _talk(
    draw: Draw,
    rate_hz: int,
    duration_s: float,
    pause_s: tuple[float, float],
    pitch_range_hz: tuple[float, float] = PITCH_HZ,
) -> np.ndarray:
    x = silence(duration_s, rate_hz)
    pitch_hz = draw.log_uniform(*pitch_range_hz)
    tract = 0.85 + 0.3 * (pitch_hz - 90.0) / 170.0  # high voices have short vocal tracts
    time_s = 0.0
    while time_s < duration_s - 0.08:
        if draw.chance(0.35):
            hiss = _fricative(draw, rate_hz)
            add_at(x, hiss, time_s, rate_hz, draw.uniform(0.05, 0.2))
            time_s += 0.8 * len(hiss) / rate_hz
        syllable = _syllable(draw, rate_hz, pitch_hz * (1 - 0.2 * time_s / duration_s), tract)
        add_at(x, syllable, time_s, rate_hz, draw.uniform(0.5, 1.0))
        time_s += draw.uniform(0.8, 1.0) * len(syllable) / rate_hz
        if draw.chance(0.12) and time_s < duration_s - 0.4:
            time_s += draw.uniform(*pause_s)
    return fade_edges(x, rate_hz, 0.01, 0.03)


def _fricative(draw: Draw, rate_hz: int) -> np.ndarray:
    noise = draw.noise(round(draw.uniform(0.05, 0.13) * rate_hz))
    return fade_edges(band_pass(noise, rate_hz, *draw.choice(FRICATIVE_BANDS_HZ)), rate_hz, 0.02)


def _syllable(draw: Draw, rate_hz: int, pitch_hz: float, tract: float) -> np.ndarray:
    """Glide from one vowel to another."""
    duration_s, voice = draw.uniform(0.1, 0.28), Voice(tract=tract)
    first = voiced(draw, duration_s, rate_hz, pitch_hz * draw.uniform(0.85, 1.25), voice)
    second = voiced(draw, duration_s, rate_hz, pitch_hz * draw.uniform(0.85, 1.2), voice)
    weight = np.linspace(1, 0, len(first), dtype=np.float32)
    return first * weight + second * (1 - weight)


def clear_throat(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """Throat clearing: one to three rough, breathy, low bursts."""
    x = silence(duration_s, rate_hz)
    n_bursts = min(draw.count(1, 3), max(int(duration_s / 0.3), 1))
    gap_s = draw.uniform(0.02, 0.06) if n_bursts > 1 else 0.0
    burst_s = (duration_s - (n_bursts - 1) * gap_s) / n_bursts
    for number in range(n_bursts):
        pitch_hz = draw.uniform(70.0, 170.0)
        voice = Voice(
            vowel=draw.choice(("a", "o", "er")),
            jitter=draw.uniform(0.08, 0.25),
            breath=draw.uniform(0.5, 1.5),
            tract=draw.uniform(0.85, 1.1),
        )
        burst = voiced(draw, burst_s, rate_hz, pitch_hz, voice)
        rough = burst * slow_control(draw, len(burst), rate_hz, 30.0, 0.3, 1.0)
        add_at(x, to_unit_peak(rough), number * (burst_s + gap_s), rate_hz, draw.uniform(0.7, 1.0))
    return x


def cough(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """Coughs: bursts of air through the vocal tract, often with a voiced tail."""
    x = silence(duration_s, rate_hz)
    n_bursts = max(round(duration_s / draw.uniform(0.3, 0.45)), 1)
    burst_s = duration_s / n_bursts
    for number in range(n_bursts):
        burst = _cough_burst(draw, rate_hz, burst_s * draw.uniform(0.9, 1.0))
        add_at(x, burst, number * burst_s, rate_hz, draw.uniform(0.6, 1.0))
    return fade_edges(x, rate_hz, 0.001, 0.03)


def _cough_burst(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    noise = draw.noise(round(duration_s * rate_hz))
    formants_hz = [draw.log_uniform(*r) for r in ((400, 800), (1000, 1800), (2200, 3500))]
    x = resonate(noise, rate_hz, formants_hz, (200.0, 250.0, 350.0))
    x = x + 0.15 * band_pass(noise, rate_hz, 500, 7000)
    t = time_axis(len(x), rate_hz)
    x = to_unit_peak(x * np.minimum(t / 0.008, 1) * np.exp(-t / draw.uniform(0.06, 0.12)))
    if draw.chance(0.6):
        tail_s, pitch_hz = draw.uniform(0.1, 0.2), draw.uniform(120, 300)
        tail = voiced(draw, tail_s, rate_hz, pitch_hz, Voice(jitter=0.08, breath=0.3))
        add_at(x, to_unit_peak(tail), draw.uniform(0.08, 0.12), rate_hz, draw.uniform(0.2, 0.6))
    return x


def low_scream(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """Scream of a low voice."""
    return _scream(draw, rate_hz, duration_s, (250.0, 500.0), (0.85, 1.0))


def high_scream(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """Scream of a high voice."""
    return _scream(draw, rate_hz, duration_s, (700.0, 1300.0), (1.05, 1.2))


def _scream(
    draw: Draw,
    rate_hz: int,
    duration_s: float,
    pitch_range_hz: tuple[float, float],
    tract_range: tuple[float, float],
) -> np.ndarray:
    """One long open vowel, rough, rising and then falling."""
    voice = Voice(
        draw.choice(("a", "ae", "e")),
        jitter=draw.uniform(0.04, 0.12),
        breath=draw.uniform(0.2, 0.5),
        tract=draw.uniform(*tract_range),
    )
    pitch_hz = draw.log_uniform(*pitch_range_hz)
    rise_s = duration_s * draw.uniform(0.2, 0.4)
    x = silence(duration_s, rate_hz)
    rise = voiced(draw, rise_s + 0.06, rate_hz, 0.8 * pitch_hz, voice, pitch_hz)
    fall_s = duration_s - rise_s
    fall = voiced(draw, fall_s, rate_hz, pitch_hz, voice, pitch_hz * draw.uniform(0.6, 0.9))
    add_at(x, to_unit_peak(rise), 0.0, rate_hz)
    add_at(x, to_unit_peak(fall), rise_s, rate_hz)
    return x


def cry(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """Crying baby: wails of one breath each, with a sob between them."""
    x = silence(duration_s, rate_hz)
    n_wails = max(round(duration_s / draw.uniform(0.6, 1.2)), 1)
    wail_s = duration_s / n_wails
    voice = Voice(draw.choice(("a", "ae", "e")), 0.04, 0.15, draw.uniform(1.3, 1.5))
    for number in range(n_wails):
        pitch_hz = draw.uniform(350.0, 550.0)
        wail = voiced(draw, 0.85 * wail_s, rate_hz, pitch_hz, voice, pitch_hz * 0.85)
        add_at(x, to_unit_peak(wail), number * wail_s, rate_hz, draw.uniform(0.7, 1.0))
        sob = draw.noise(round(0.15 * wail_s * rate_hz))
        sob = fade_edges(resonate(sob, rate_hz, (1200, 2500), (200, 300)), rate_hz, 0.01)
        add_at(x, sob, (number + 0.82) * wail_s, rate_hz, draw.uniform(0.05, 0.2))
    return x


def laughter(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """Laughter: voiced bursts of falling pitch with breath between them."""
    x = silence(duration_s, rate_hz)
    n_bursts = max(round(duration_s / draw.uniform(0.15, 0.24)), 2)
    interval_s = duration_s / n_bursts
    pitch_hz, tract = draw.log_uniform(170.0, 420.0), draw.uniform(0.95, 1.2)
    voice = Voice(draw.choice(("a", "e", "ae")), breath=0.3, tract=tract)
    for number in range(n_bursts):
        start_s = number * interval_s * draw.uniform(0.98, 1.0)
        falling_hz = pitch_hz * max(1 - 0.04 * number, 0.5) * draw.uniform(0.95, 1.05)
        burst_s = interval_s * draw.uniform(0.5, 0.7)
        burst = voiced(draw, burst_s, rate_hz, falling_hz, voice, 0.85 * falling_hz)
        noise = draw.noise(round(0.35 * interval_s * rate_hz))
        breath = resonate(noise, rate_hz, (900, 1600, 2800), (200, 250, 300))
        add_at(x, fade_edges(breath, rate_hz, 0.02), start_s, rate_hz, draw.uniform(0.02, 0.1))
        loudness = draw.uniform(0.6, 1.0) * max(1 - 0.05 * number, 0.5)
        add_at(x, to_unit_peak(burst), start_s + 0.1 * interval_s, rate_hz, loudness)
    return x

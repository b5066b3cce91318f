"""Surroundings of a recording: streets, halls, machines, birds; nothing of it is labelled."""

from collections.abc import Callable, Mapping

import numpy as np

from common.simulation.random_streams import Draw
from common.simulation.sounds.synthesis import (
    add_at,
    band_pass,
    coloured_noise,
    fade_edges,
    slow_control,
    time_axis,
    to_unit_rms,
)
from common.simulation.sounds.wide.hits import draw_material, hit, scattered
from common.simulation.sounds.wide.recording import equalised

LEVEL_DB = (-15.0, 6.0)  # of what is added, against the noise


def surroundings(draw: Draw, n: int, rate_hz: int) -> np.ndarray:
    """Makes noise of any spectrum that swells and fades, with things that happen in it.

    Args:
        draw: source of everything random.
        n: length in samples.
        rate_hz: sample rate.

    Returns:
        float32 (n,), unit RMS.
    """
    noise = equalised(draw, coloured_noise(draw, n, rate_hz, draw.uniform(-0.3, 2.0)), rate_hz)
    swell = slow_control(draw, n, rate_hz, draw.log_uniform(0.05, 3.0), draw.uniform(0.2, 1.0))
    x = to_unit_rms(noise * swell)
    for make, chance in _HAPPENINGS.items():
        if draw.chance(chance):
            gain = np.float32(10 ** (draw.uniform(*LEVEL_DB) / 20))
            x += gain * to_unit_rms(make(draw, n, rate_hz))
    return to_unit_rms(x)


def _machine(draw: Draw, n: int, rate_hz: int) -> np.ndarray:
    """A hum of many harmonics and the noise of a machine, in a rhythm of its own."""
    t = time_axis(n, rate_hz)
    pitch_hz, hum = draw.log_uniform(15.0, 130.0), np.zeros(n, np.float32)
    for harmonic in range(1, draw.count(3, 20)):
        wave = np.sin(2 * np.pi * harmonic * pitch_hz * t + draw.rng.uniform(0, 6.28))
        hum += (draw.log_uniform(0.05, 1.0) / harmonic * wave).astype(np.float32)
    noise = equalised(draw, coloured_noise(draw, n, rate_hz, draw.uniform(0.0, 2.0)), rate_hz)
    turn = (t * draw.log_uniform(0.5, 12.0) + draw.rng.uniform()) % 1.0
    rhythm = (1 - draw.uniform(0.0, 0.9) * turn ** draw.log_uniform(0.3, 3.0)).astype(np.float32)
    return draw.log_uniform(0.05, 2.0) * to_unit_rms(hum) + to_unit_rms(noise) * rhythm


def _passing(draw: Draw, n: int, rate_hz: int) -> np.ndarray:
    """Cars, gusts or waves, which come and go."""
    x, length_s = np.zeros(n, np.float32), n / rate_hz
    for _ in range(draw.count(1, 5)):
        low_hz = draw.log_uniform(80.0, 1500.0)
        wave_s = draw.log_uniform(0.8, 6.0)
        wave = band_pass(draw.noise(round(wave_s * rate_hz)), rate_hz, low_hz, 6.0 * low_hz)
        wave = fade_edges(wave, rate_hz, 0.5 * wave_s)
        add_at(x, wave, draw.uniform(0.0, length_s), rate_hz, draw.log_uniform(0.2, 1.0))
    return x


def _blows(draw: Draw, n: int, rate_hz: int) -> np.ndarray:
    """Steps, doors and things put down, far away."""
    x, length_s = np.zeros(n, np.float32), n / rate_hz
    struck = draw_material(draw, (80.0, 3000.0), (-10.0, -1.0), (0.05, 0.5))
    sounds = [hit(draw, rate_hz, struck.varied(draw, 6.0), 0.4) for _ in range(4)]
    times_s = draw.rng.uniform(0.0, length_s, draw.count(1, 40))
    scattered(draw, x, rate_hz, sounds, times_s, draw.log_uniforms(0.1, 1.0, len(times_s)))
    return x


def _chirps(draw: Draw, n: int, rate_hz: int) -> np.ndarray:
    """Birds, insects or squeaks: short tones that bend, in groups."""
    x, length_s = np.zeros(n, np.float32), n / rate_hz
    pitch_hz, chirp_s = draw.log_uniform(1500.0, 6500.0), draw.log_uniform(0.02, 0.3)
    t = time_axis(round(chirp_s * rate_hz), rate_hz)
    sounds = []
    for _ in range(draw.count(1, 4)):
        bend = 1 + draw.uniform(-0.3, 0.3) * t / chirp_s
        bend += draw.uniform(0.0, 0.1) * np.sin(2 * np.pi * draw.log_uniform(5.0, 60.0) * t)
        phase = 2 * np.pi * np.cumsum(pitch_hz * draw.uniform(0.8, 1.25) * bend) / rate_hz
        sounds.append(fade_edges(np.sin(phase).astype(np.float32), rate_hz, 0.3 * chirp_s))
    for start_s in draw.uniforms(0.0, length_s, draw.count(1, 12)):
        times_s = start_s + chirp_s * draw.uniform(1.05, 3.0) * np.arange(draw.count(1, 8))
        scattered(draw, x, rate_hz, sounds, times_s, draw.log_uniforms(0.2, 1.0, len(times_s)))
    return x


_HAPPENINGS: Mapping[Callable[[Draw, int, int], np.ndarray], float] = {
    _machine: 0.4,
    _passing: 0.4,
    _blows: 0.5,
    _chirps: 0.3,
}

"""Outdoor sounds: engines, passing cars, birds; mono, at any level, float32 (n,)."""

import numpy as np

from common.simulation.random_streams import Draw
from common.simulation.sounds.synthesis import (
    add_at,
    band_pass,
    coloured_noise,
    fade_edges,
    slow_control,
    time_axis,
    to_unit_peak,
)


def run_engine(draw: Draw, rate_hz: int, n: int) -> np.ndarray:
    """Engine of a bus, a tram or a train: low harmonics of varying speed, and rumble."""
    pitch_hz = draw.log_uniform(30.0, 80.0) * slow_control(draw, n, rate_hz, 0.2, 0.7, 1.4)
    turn = np.exp(
        np.complex64(2j * np.pi) * (np.cumsum(pitch_hz / rate_hz) % 1.0).astype(np.float32)
    )
    total = np.zeros(n, np.complex64)
    for harmonic in range(16, 0, -1):
        total += np.complex64(
            draw.uniform(0.3, 1.0) / harmonic * np.exp(2j * np.pi * draw.rng.uniform())
        )
        total *= turn
    rumble = coloured_noise(draw, n, rate_hz, 1.6) * slow_control(draw, n, rate_hz, 1.0, 0.5, 1.0)
    return to_unit_peak(total.real) + np.float32(draw.uniform(0.2, 0.6)) * rumble


def pass_cars(draw: Draw, rate_hz: int, n: int) -> np.ndarray:
    """Passing cars: tyre noise that swells and fades, over the noise of a distant road."""
    x = 0.3 * coloured_noise(draw, n, rate_hz, 1.2)
    time_s = draw.uniform(-3.0, 1.0)
    while time_s < n / rate_hz:
        width_s = draw.uniform(0.6, 2.0)
        length_s = 5 * width_s
        t = time_axis(round(length_s * rate_hz), rate_hz)
        shape = np.exp(-(((t - length_s / 2) / width_s) ** 2))
        noise = draw.noise(len(shape))
        tyres = band_pass(noise, rate_hz, draw.log_uniform(80, 300), draw.log_uniform(1500, 5000))
        car = fade_edges(tyres * shape, rate_hz, 0.05)
        _add_from(x, car, time_s, rate_hz, draw.uniform(0.5, 2.0))
        time_s += draw.uniform(1.5, 5.0)
    return x


def sing_birds(draw: Draw, rate_hz: int, n: int) -> np.ndarray:
    """Birds, each with its own motif of chirps and pauses."""
    x = np.zeros(n, np.float32)
    for _ in range(draw.count(2, 5)):
        motif = _motif(draw, rate_hz)
        time_s, loudness = draw.uniform(0.0, 2.0), draw.uniform(0.3, 1.0)
        while time_s < n / rate_hz:
            add_at(x, motif, time_s, rate_hz, loudness * draw.uniform(0.8, 1.0))
            time_s += len(motif) / rate_hz + draw.uniform(0.3, 3.0)
    return x


def _motif(draw: Draw, rate_hz: int) -> np.ndarray:
    """Chirps of gliding pitch."""
    chirps = []
    for _ in range(draw.count(2, 7)):
        t = time_axis(round(draw.uniform(0.04, 0.15) * rate_hz), rate_hz)
        start_hz, end_hz = draw.log_uniform(2000.0, 6000.0), draw.log_uniform(2000.0, 6000.0)
        cycles = np.cumsum(np.linspace(start_hz, end_hz, len(t))) / rate_hz
        chirps += [fade_edges(np.sin(2 * np.pi * cycles).astype(np.float32), rate_hz, 0.01)]
        chirps += [np.zeros(round(draw.uniform(0.02, 0.1) * rate_hz), np.float32)]
    return np.concatenate(chirps)


def _add_from(x: np.ndarray, sound: np.ndarray, time_s: float, rate_hz: int, gain: float) -> None:
    """Adds a sound that may begin before the start."""
    cut = max(round(-time_s * rate_hz), 0)
    add_at(x, sound[cut:], max(time_s, 0.0), rate_hz, gain)

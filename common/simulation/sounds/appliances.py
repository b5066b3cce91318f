"""Domestic sounds: alarms, motors, water, frying.

Each recipe fills its duration without a pause of 150 ms, float32 (samples,).
"""

import numpy as np

from common.simulation.random_streams import Draw
from common.simulation.sounds.synthesis import (
    HIGHEST_PART,
    add_at,
    band_pass,
    coloured_noise,
    damped_modes,
    fade_edges,
    fade_within,
    resonate,
    silence,
    slow_control,
    time_axis,
    to_unit_peak,
)

BELL_RATIOS = np.array([1.0, 2.0, 2.4, 3.0, 4.2])


def ring_alarm(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """Alarm: a struck bell, a beeper or a siren."""
    alarm = draw.choice((_bell, _beeper, _siren))
    return fade_edges(alarm(draw, rate_hz, duration_s), rate_hz, 0.005, 0.02)


def _bell(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    x = silence(duration_s, rate_hz)
    strikes_per_s = draw.uniform(10.0, 25.0)
    partials_hz = draw.log_uniform(700.0, 2500.0) * BELL_RATIOS
    decays_s = draw.uniforms(0.1, 0.5, len(BELL_RATIOS))
    stroke = damped_modes(draw, round(0.3 * rate_hz), rate_hz, partials_hz, decays_s)
    for number in range(int(duration_s * strikes_per_s) + 1):
        add_at(x, stroke, number / strikes_per_s, rate_hz, draw.uniform(0.7, 1.0))
    return x


def _beeper(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    t = time_axis(len(silence(duration_s, rate_hz)), rate_hz)
    tone = np.tanh(4 * np.sin(2 * np.pi * draw.log_uniform(1500.0, 3600.0) * t))
    on_s, off_s = draw.log_uniform(0.06, 0.5), draw.uniform(0.04, 0.12)
    # Whole beeps: the event ends with a sound.
    n_beeps = max(round((duration_s + off_s) / (on_s + off_s)), 1)
    on_s = max((duration_s + off_s) / n_beeps - off_s, 0.02)
    return (tone * (t % (on_s + off_s) < on_s)).astype(np.float32)


def _siren(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    t = time_axis(len(silence(duration_s, rate_hz)), rate_hz)
    sweep = 0.5 + 0.5 * np.sin(2 * np.pi * (draw.uniform(0.4, 4.0) * t + draw.rng.uniform()))
    pitch_hz = draw.log_uniform(500.0, 1000.0) * (1 + draw.uniform(0.3, 0.8) * sweep)
    phase = 2 * np.pi * np.cumsum(pitch_hz) / rate_hz
    return (np.sin(phase) + 0.3 * np.sin(3 * phase)).astype(np.float32)


def fry(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """Frying: hiss of even level with 40 to 160 crackles a second."""
    n = len(silence(duration_s, rate_hz))
    hiss = coloured_noise(draw, n, rate_hz, draw.uniform(-0.2, 0.5))
    hiss = hiss * slow_control(draw, n, rate_hz, 1.5, 0.5, 1.0)
    crackle = np.zeros(n, np.float32)
    n_crackles = draw.rng.poisson(draw.log_uniform(40.0, 160.0) * duration_s)
    crackle[draw.rng.integers(0, n, n_crackles)] = draw.rng.exponential(1.0, n_crackles)
    popping = band_pass(crackle, rate_hz, draw.log_uniform(1500.0, 4000.0), 11000.0)
    loudness = draw.uniform(0.7, 2.0) / max(float(popping.std()), 1e-9)
    return fade_within(hiss + np.float32(loudness) * popping, rate_hz, 0.1)


def run_water(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """Running water: broadband noise with rising bubbles."""
    n = len(silence(duration_s, rate_hz))
    noise = draw.noise(n)
    low_hz, high_hz = draw.log_uniform(250.0, 900.0), draw.log_uniform(4000.0, 11000.0)
    rush = band_pass(noise, rate_hz, low_hz, high_hz)
    x = rush * slow_control(draw, n, rate_hz, 2.0, 0.6, 1.0)
    for _ in range(draw.rng.poisson(draw.log_uniform(10.0, 50.0) * duration_s)):
        t = time_axis(round(draw.uniform(0.006, 0.03) * rate_hz), rate_hz)
        bubble = np.sin(2 * np.pi * draw.log_uniform(400.0, 2500.0) * (t + 5 * t**2))
        bubble = (bubble * np.exp(-150 * t)).astype(np.float32)
        start_s = draw.rng.uniform(0, duration_s)
        add_at(x, bubble, start_s, rate_hz, draw.uniform(0.2, 1.2))
    return fade_within(x, rate_hz, 0.1)


def blend(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """Blender: a loud motor that speeds up, under a varying load."""
    n = len(silence(duration_s, rate_hz))
    speed = 1 - 0.5 * np.exp(-time_axis(n, rate_hz) / draw.uniform(0.05, 0.4))
    pitch_hz, roll_off = draw.log_uniform(120.0, 280.0) * speed, draw.uniform(0.3, 0.9)
    x = _motor(draw, pitch_hz, rate_hz, 14, roll_off, wobble=0.03)
    whirl = band_pass(draw.noise(n), rate_hz, 400.0, draw.log_uniform(3000.0, 9000.0))
    x = x + np.float32(draw.uniform(0.15, 0.5)) * whirl
    return fade_within(x * speed * slow_control(draw, n, rate_hz, 8.0, 0.55, 1.0), rate_hz, 0.05)


def vacuum(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """Vacuum cleaner: a steady high motor, air noise and the hum of the mains."""
    n = len(silence(duration_s, rate_hz))
    air = coloured_noise(draw, n, rate_hz, draw.uniform(0.5, 1.1))
    air = air * slow_control(draw, n, rate_hz, 0.7, 0.75, 1.0)
    pitch_hz = np.full(n, draw.log_uniform(150.0, 420.0))
    whine = _motor(draw, pitch_hz, rate_hz, 8, draw.uniform(0.7, 1.3), wobble=0.004)
    hum = _motor(draw, np.full(n, 100.0), rate_hz, 3, 1.0, wobble=0.0)
    return fade_within(
        np.float32(draw.uniform(0.2, 0.6)) * whine + 0.35 * air + 0.1 * hum, rate_hz, 0.2
    )


def shave(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """Shaver or electric toothbrush: a buzz of many harmonics and varying level."""
    n = len(silence(duration_s, rate_hz))
    pitch_hz = np.full(n, draw.log_uniform(85.0, 135.0))
    buzz = _motor(draw, pitch_hz, rate_hz, 28, draw.uniform(0.1, 0.5), wobble=0.008)
    resonances_hz = draw.log_uniform(600.0, 1500.0), draw.log_uniform(2500.0, 5000.0)
    resonance = resonate(buzz, rate_hz, resonances_hz, (150.0, 300.0), (1.0, 1.0))
    body = to_unit_peak(resonance + 0.3 * buzz)
    gain = np.float32(draw.uniform(0.05, 0.2))
    x = body + gain * band_pass(draw.noise(n), rate_hz, 2000.0, 10000.0)
    pressure = slow_control(draw, n, rate_hz, draw.uniform(1.0, 4.0), 0.45, 1.0)
    return fade_within(x * pressure, rate_hz, 0.05)


def _motor(
    draw: Draw, pitch_hz: np.ndarray, rate_hz: int, n_harmonics: int, roll_off: float, wobble: float
) -> np.ndarray:
    """Sums harmonics of a turning motor.

    Args:
        draw: source of everything random.
        pitch_hz: revolutions per second at each sample, (n,).
        rate_hz: sample rate.
        n_harmonics: number of harmonics; those too high for the sample rate are left out.
        roll_off: harmonic h has an amplitude near 1 / h^roll_off.
        wobble: relative random deviation of the speed.

    Returns:
        float32 (n,), peak 1.
    """
    deviation = slow_control(draw, len(pitch_hz), rate_hz, 2.0, -1.0, 1.0)
    turning_hz = pitch_hz * (1 + wobble * deviation)
    cycles = np.cumsum(turning_hz / rate_hz) % 1.0
    turn = np.exp(np.complex64(2j * np.pi) * cycles.astype(np.float32))
    harmonics = np.arange(1, n_harmonics + 1)
    audible = harmonics * pitch_hz.max() < HIGHEST_PART * rate_hz
    gains = draw.uniforms(0.3, 1.0, n_harmonics) * harmonics**-roll_off * audible
    weights = gains * np.exp(2j * np.pi * draw.rng.uniform(size=n_harmonics))
    total = np.zeros(len(pitch_hz), np.complex64)
    for weight in weights[::-1]:  # Horner's scheme: a product per harmonic instead of a sine
        total += np.complex64(weight)
        total *= turn
    return to_unit_peak(total.real)

"""Kitchens and motors of many makes. Each recipe fills its duration, float32 (samples,)."""

import numpy as np

from common.simulation.random_streams import Draw
from common.simulation.sounds.synthesis import (
    HIGHEST_PART,
    band_pass,
    coloured_noise,
    fade_edges,
    fade_within,
    resonate,
    slow_control,
    time_axis,
    to_unit_peak,
)
from common.simulation.sounds.wide.hits import (
    CRISP,
    OCTAVES_HZ,
    Material,
    draw_material,
    hit,
    scattered,
)


def _samples(rate_hz: int, duration_s: float) -> int:
    return max(round(duration_s * rate_hz), 64)


def _shaped_noise(
    draw: Draw, n: int, rate_hz: int, spread_db: float, fall_db: tuple[float, float] = (-2.0, 4.0)
) -> np.ndarray:
    """Steady noise whose octaves differ, by a random part and a steady fall, unit peak."""
    levels_db = draw.uniforms(-spread_db, spread_db, len(OCTAVES_HZ))
    levels_db -= draw.uniform(*fall_db) * np.arange(len(OCTAVES_HZ))
    forever_s = np.full(len(OCTAVES_HZ), 1e6)
    return hit(draw, rate_hz, Material(levels_db, forever_s), n / rate_hz)[:n]


def fry(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """Frying: hiss of the pan, bubbles, and drops that crack."""
    n = _samples(rate_hz, duration_s)
    is_pan = draw.chance(0.7)  # bright; else deep fat, which is darker
    slope = draw.uniform(-1.2, 0.1) if is_pan else draw.uniform(0.5, 2.2)
    hiss = coloured_noise(draw, n, rate_hz, slope)
    hiss += draw.log_uniform(0.005, 0.1) * coloured_noise(draw, n, rate_hz, 2.0)  # of the stove
    x = hiss * slow_control(draw, n, rate_hz, draw.log_uniform(0.5, 12.0), 0.5, 1.0)
    x = to_unit_peak(x) * draw.log_uniform(0.1, 0.8)
    corner_hz = (2000.0, 8000.0) if is_pan else (500.0, 2500.0)
    fall_db = (-3.0, 3.0) if is_pan else (-9.0, -3.0)
    drop = draw_material(draw, corner_hz, fall_db, (0.005, 0.04), (-6.0, -1.0), **CRISP)
    drops = [hit(draw, rate_hz, drop.varied(draw, 8.0), 0.03) for _ in range(12)]
    n_drops = draw.rng.poisson(draw.log_uniform(5.0, 150.0) * duration_s)
    times_s = draw.rng.uniform(0.0, duration_s, n_drops)
    gains = draw.log_uniform(0.06, 0.3) * (1 + draw.rng.pareto(draw.uniform(1.2, 3.0), n_drops))
    scattered(draw, x, rate_hz, drops, times_s, np.minimum(gains, 2.0))
    return fade_within(x, rate_hz, 0.05)


def run_water(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """Running water: rush, the hollow it falls into, bubbles and drops."""
    n = _samples(rate_hz, duration_s)
    low_hz = draw.log_uniform(150.0, 2000.0)
    rush = coloured_noise(draw, n, rate_hz, draw.uniform(-0.6, 0.4))
    rush += draw.log_uniform(0.1, 3.0) * band_pass(draw.noise(n), rate_hz, low_hz, 4.0 * low_hz)
    rush += draw.log_uniform(0.05, 1.0) * coloured_noise(draw, n, rate_hz, 2.0)  # of the pipe
    steadiness = draw.uniform(0.2, 0.8)
    flow = slow_control(draw, n, rate_hz, draw.log_uniform(0.5, 20.0), steadiness, 1.0)
    x = to_unit_peak(rush * flow)
    if draw.chance(0.7):  # a sink or a vessel resonates
        centres_hz = draw.log_uniforms(120.0, 3000.0, draw.count(1, 4))
        hollow = resonate(x, rate_hz, list(centres_hz), list(0.15 * centres_hz), (1.0,) * 4)
        x = x + draw.uniform(0.3, 2.0) * to_unit_peak(hollow)
    bubbles, lowest_hz = [], draw.log_uniform(250.0, 900.0)
    for _ in range(16):
        t = time_axis(round(draw.log_uniform(0.006, 0.05) * rate_hz), rate_hz)
        pitch_hz = lowest_hz * draw.log_uniform(1.0, 5.0)
        wave = np.sin(2 * np.pi * pitch_hz * t * (1 + draw.uniform(0.0, 8.0) * t))
        decay = np.exp(-draw.uniform(60.0, 300.0) * t)
        bubbles.append(fade_edges((wave * decay).astype(np.float32), rate_hz, 0.001))
    n_bubbles = draw.rng.poisson(draw.log_uniform(20.0, 400.0) * duration_s)
    times_s = draw.rng.uniform(0.0, duration_s, n_bubbles)
    gains = draw.log_uniform(0.05, 0.8) * (1 + draw.rng.pareto(2.5, n_bubbles))
    scattered(draw, x, rate_hz, bubbles, times_s, np.minimum(gains, 3.0))
    return fade_within(x, rate_hz, 0.08)


def _motor(draw: Draw, speed_hz: np.ndarray, rate_hz: int) -> np.ndarray:
    """Harmonics of a turning motor and of its blades or gears, unit peak."""
    n = len(speed_hz)
    wobble = 1 + draw.log_uniform(0.001, 0.03) * slow_control(draw, n, rate_hz, 6.0, -1.0, 1.0)
    phase = 2 * np.pi * np.cumsum(speed_hz * wobble / rate_hz)
    x, roll_off, blades = np.zeros(n, np.float32), draw.uniform(0.0, 1.2), draw.count(2, 12)
    top_hz = float(speed_hz.max())
    for harmonic in range(1, 40):
        if harmonic * top_hz < HIGHEST_PART * rate_hz:
            strong = draw.uniform(1.0, 4.0) if harmonic % blades == 0 else 1.0
            level = strong * draw.log_uniform(0.03, 1.0) * harmonic**-roll_off
            x += np.float32(level) * np.sin(harmonic * phase + draw.rng.uniform(0, 6.28))
    return to_unit_peak(x)


def blend(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """Blender: speeds that change under load, in one run or in pulses, over the roar of the jar."""
    n = _samples(rate_hz, duration_s)
    t = time_axis(n, rate_hz)
    speed = 1 - draw.uniform(0.1, 0.7) * np.exp(-t / draw.log_uniform(0.03, 0.6))
    if draw.chance(0.4):  # pulses
        period_s = draw.uniform(0.4, 1.5)
        inside = (t + draw.uniform(0.0, 1.0) * period_s) % period_s / period_s
        speed = speed * (0.35 + 0.65 * np.minimum(3 * inside, 1.0))
    speed = speed * slow_control(draw, n, rate_hz, draw.log_uniform(0.5, 8.0), 0.8, 1.0)
    whine = _motor(draw, draw.log_uniform(60.0, 350.0) * speed, rate_hz)
    roar = _shaped_noise(draw, n, rate_hz, 6.0, (-3.0, 2.0))
    roar += draw.log_uniform(0.02, 0.4) * coloured_noise(draw, n, rate_hz, draw.uniform(0.0, 1.0))
    load = slow_control(draw, n, rate_hz, draw.log_uniform(3.0, 40.0), draw.uniform(0.1, 0.8), 1.0)
    x = whine + draw.log_uniform(0.3, 4.0) * roar * load
    return fade_within((x * speed**2).astype(np.float32), rate_hz, 0.05)


def vacuum(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """Vacuum cleaner: a steady whine in a rush of air, which changes where the nozzle touches."""
    n = _samples(rate_hz, duration_s)
    steady = slow_control(draw, n, rate_hz, draw.log_uniform(0.2, 2.0), 0.9, 1.0)
    whine = _motor(draw, draw.log_uniform(120.0, 600.0) * steady, rate_hz)
    air = _shaped_noise(draw, n, rate_hz, 4.0)
    stroke = slow_control(draw, n, rate_hz, draw.log_uniform(0.3, 2.0), 0.6, 1.0)
    return fade_within(whine + draw.log_uniform(0.7, 6.0) * air * stroke, rate_hz, 0.1)


def shave(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """Shaver or toothbrush: a dense buzz through a resonance that the hand moves."""
    n = _samples(rate_hz, duration_s)
    pressed = slow_control(draw, n, rate_hz, draw.log_uniform(0.5, 5.0), 0.85, 1.0)
    buzz = _motor(draw, draw.log_uniform(50.0, 150.0) * pressed, rate_hz)
    centres_hz = [draw.log_uniform(300.0, 1500.0), draw.log_uniform(1500.0, 6000.0)]
    body = resonate(buzz, rate_hz, centres_hz, [200.0, 500.0], (1.0, 1.0))
    x = draw.uniform(0.1, 1.0) * buzz + to_unit_peak(body)
    x = x + draw.log_uniform(0.05, 1.0) * _shaped_noise(draw, n, rate_hz, 4.0)
    return fade_within(x * pressed**2, rate_hz, 0.05)


def scrape(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """Something hard that slides over something hard."""
    n = _samples(rate_hz, duration_s)
    rough = slow_control(draw, n, rate_hz, draw.log_uniform(10.0, 80.0), 0.1, 1.0)
    return fade_within(_shaped_noise(draw, n, rate_hz, 6.0) * rough, rate_hz, 0.05)

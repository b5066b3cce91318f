"""Knocks, drawers, keys, keyboards, doors and dishes of dense blows.

Each recipe fills its duration, float32 (samples,).
"""

import numpy as np

from common.simulation.random_streams import Draw
from common.simulation.sounds.synthesis import (
    add_at,
    band_pass,
    coloured_noise,
    fade_edges,
    silence,
    slow_control,
    to_unit_peak,
)
from common.simulation.sounds.wide.appliances import scrape
from common.simulation.sounds.wide.hits import CRISP, draw_material, hit, ring, scattered


def knock(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """Knocks on wood: two to seven blows on one panel, nearly even."""
    x = silence(duration_s, rate_hz)
    panel = draw_material(draw, (120.0, 700.0), (-16.0, -6.0), (0.08, 0.45), (0.0, 6.0))
    last_s = min(draw.uniform(0.1, 0.25), 0.5 * duration_s)
    n_blows = max(round((duration_s - last_s) / draw.uniform(0.11, 0.32)), 1) + 1
    interval_s = (duration_s - last_s) / (n_blows - 1)
    for number in range(n_blows):
        blow = hit(draw, rate_hz, panel.varied(draw, 2.0), 0.4)
        late_s = draw.uniform(-0.08, 0.08) * interval_s if 0 < number < n_blows - 1 else 0.0
        add_at(x, blow, number * interval_s + late_s, rate_hz, draw.uniform(0.4, 1.0))
    return fade_edges(x, rate_hz, 0.0005, 0.03)


def drawer(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """Drawer: it slides or rolls, and stops with a thud and what it holds."""
    x = silence(duration_s, rate_hz)
    stop_s = duration_s * draw.uniform(0.55, 0.9)
    n = round(stop_s * rate_hz)
    slide = coloured_noise(draw, n, rate_hz, draw.uniform(0.8, 2.0))
    slide = band_pass(slide, rate_hz, draw.log_uniform(60, 300), draw.log_uniform(900, 7000))
    rough = slow_control(draw, n, rate_hz, draw.log_uniform(6, 80), draw.uniform(0.05, 0.7), 1.0)
    part = np.linspace(0, 1, n, dtype=np.float32)
    arch = np.sin(np.pi * part ** draw.uniform(0.5, 1.6)) + draw.uniform(0.02, 0.3)
    x[:n] = to_unit_peak(slide * rough * arch) * draw.log_uniform(0.1, 0.9)
    case = draw_material(draw, (100.0, 600.0), (-9.0, -3.0), (0.15, 0.5), (-1.0, 4.0))
    add_at(x, hit(draw, rate_hz, case, 0.6), stop_s, rate_hz)
    if draw.chance(0.5):  # it bounces, or was pulled with a jerk
        early_s = stop_s - draw.uniform(0.02, 0.12) if draw.chance(0.5) else 0.0
        add_at(x, hit(draw, rate_hz, case.varied(draw, 5.0), 0.4), early_s, rate_hz, 0.4)
    rattles = [hit(draw, rate_hz, case.varied(draw, 9.0), 0.1) for _ in range(3)]
    rattles += [ring(draw, rate_hz, 0.08, 5, (900.0, 8000.0)) for _ in range(3)]
    times_s = stop_s + (duration_s - stop_s) * draw.uniforms(-0.2, 0.8, draw.count(0, 7))
    scattered(draw, x, rate_hz, rattles, times_s, draw.uniforms(0.02, 0.3, len(times_s)))
    return fade_edges(x, rate_hz, 0.01, 0.03)


def drop_keys(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """Dropped keys: a floor or table that is struck, and metal in many impacts."""
    x = silence(duration_s, rate_hz)
    floor = draw_material(draw, (100.0, 900.0), (-7.0, -1.0), (0.1, 0.35), (-1.0, 4.0))
    metal = draw_material(draw, (2500.0, 8000.0), (-6.0, 0.0), (0.05, 0.3), (3.0, 9.0))
    first_s = draw.uniform(0.0, 0.25) * duration_s
    add_at(x, hit(draw, rate_hz, floor, 0.3), first_s, rate_hz, draw.uniform(0.3, 1.0))
    add_at(x, hit(draw, rate_hz, metal, 0.3), first_s, rate_hz, draw.uniform(0.3, 1.0))
    sounds = [hit(draw, rate_hz, metal.varied(draw, 6.0), 0.12) for _ in range(5)]
    sounds += [hit(draw, rate_hz, floor.varied(draw, 6.0), 0.12) for _ in range(2)]
    sounds += [ring(draw, rate_hz, 0.12, 8, (1200.0, 14000.0)) for _ in range(6)]
    n = draw.count(8, 40)
    times_s = first_s + (duration_s - first_s) * draw.rng.beta(1, draw.uniform(1.2, 3.0), n)
    if draw.chance(0.5):  # they jingle in the hand first
        times_s = np.append(times_s, first_s * draw.uniforms(0.0, 1.0, 4))
    gains = draw.uniforms(0.05, 0.5, len(times_s))
    scattered(draw, x, rate_hz, sounds, times_s, gains)
    return fade_edges(x, rate_hz, 0.001, 0.02)


def type_on_keyboard(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """Typing: presses and releases on keys that differ, and the table below them."""
    x = silence(duration_s, rate_hz)
    key = draw_material(draw, (1500.0, 6000.0), (-7.0, -2.0), (0.03, 0.12), (-1.0, 5.0))
    table = draw_material(draw, (80.0, 300.0), (-10.0, -4.0), (0.05, 0.2), (0.0, 4.0))
    presses = [hit(draw, rate_hz, key.varied(draw, 5.0), 0.06) for _ in range(8)]
    thumps = [hit(draw, rate_hz, table.varied(draw, 3.0), 0.12) for _ in range(3)]
    rate_per_s, low = draw.uniform(5.0, 14.0), draw.log_uniform(0.1, 1.0)
    time_s = 0.0
    while time_s < duration_s - 0.03:
        loudness = draw.log_uniform(0.15, 1.0)
        add_at(x, draw.choice(presses), time_s, rate_hz, loudness)
        add_at(x, draw.choice(thumps), time_s, rate_hz, low * loudness)
        release_s = time_s + draw.uniform(0.04, 0.12)
        add_at(x, draw.choice(presses), release_s, rate_hz, loudness * draw.uniform(0.1, 0.7))
        time_s += max(0.03, (0.7 * draw.rng.exponential() + 0.3) / rate_per_s)
    return fade_edges(x, rate_hz, 0.0005, 0.01)


def slam_door(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """Slammed door: handle, leaf and frame, latch and what rattles behind them."""
    x = silence(duration_s, rate_hz)
    leaf = draw_material(draw, (60.0, 350.0), (-8.0, -2.5), (0.2, 0.7), (-2.0, 3.0))
    lock = draw_material(draw, (1000.0, 5000.0), (-8.0, -2.0), (0.04, 0.15), (0.0, 6.0))
    slam_s = draw.uniform(0.02, 0.3) * duration_s
    n_air = round(slam_s * rate_hz)
    if n_air > 100:
        air = coloured_noise(draw, n_air, rate_hz, 1.5) * np.linspace(0, 1, n_air) ** 2
        x[:n_air] += draw.uniform(0.01, 0.15) * to_unit_peak(air.astype(np.float32))
    add_at(x, hit(draw, rate_hz, leaf, 0.8), slam_s, rate_hz)
    clicks = [hit(draw, rate_hz, lock.varied(draw, 5.0), 0.1) for _ in range(4)]
    clicks += [hit(draw, rate_hz, leaf.varied(draw, 8.0), 0.2) for _ in range(3)]
    before_s = slam_s * draw.uniforms(0.0, 1.0, draw.count(0, 3))
    after_s = slam_s + (duration_s - slam_s) * draw.rng.beta(1, 2, draw.count(1, 9))
    scattered(draw, x, rate_hz, clicks, before_s, draw.uniforms(0.05, 0.5, len(before_s)))
    scattered(draw, x, rate_hz, clicks, after_s, draw.uniforms(0.05, 0.6, len(after_s)))
    return fade_edges(x, rate_hz, 0.001, 0.04)


def rattle_dishes(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """Dishes: plates, glasses and cutlery that touch, fall and slide."""
    x = silence(duration_s, rate_hz)
    ware = draw_material(draw, (800.0, 6000.0), (-3.0, 3.0), (0.03, 0.2), (-4.0, 1.0), **CRISP)
    sounds = [hit(draw, rate_hz, ware.varied(draw, 7.0), 0.15) for _ in range(4)]
    lowest_hz, highest_hz = draw.log_uniform(500.0, 2500.0), draw.log_uniform(5000.0, 14000.0)
    for _ in range(6):
        decay_s, n_modes = draw.log_uniform(0.04, 0.3), draw.count(6, 16)
        clink = ring(draw, rate_hz, decay_s, n_modes, (lowest_hz, highest_hz))
        add_at(clink, draw.choice(sounds[:4]), 0.0, rate_hz, draw.uniform(0.2, 1.0))
        sounds.append(clink)
    table = draw_material(draw, (150.0, 1000.0), (-9.0, -3.0), (0.05, 0.2), (-4.0, 2.0))
    sounds.append(hit(draw, rate_hz, table, 0.15))
    time_s, rate_per_s = 0.0, draw.log_uniform(5.0, 14.0)
    while time_s < duration_s - 0.05:
        add_at(x, draw.choice(sounds), time_s, rate_hz, draw.log_uniform(0.1, 1.0))
        time_s += min(draw.rng.exponential() / rate_per_s, 0.13)
    if draw.chance(0.5):  # one slides over another, or water runs
        slide = scrape(draw, rate_hz, duration_s)
        add_at(x, slide, 0.0, rate_hz, draw.log_uniform(0.02, 0.6))
    return fade_edges(x, rate_hz, 0.0005, 0.03)

"""Doors, drawers, keys and dishes. Each recipe fills its duration, float32 (samples,)."""

import numpy as np

from common.simulation.random_streams import Draw
from common.simulation.sounds.synthesis import (
    add_at,
    band_pass,
    coloured_noise,
    damped_modes,
    fade_edges,
    silence,
    slow_control,
    time_axis,
)

DOOR_PANEL_RATIOS = np.array([1.0, 1.6, 2.4, 3.3, 4.7, 6.1])
CABINET_RATIOS = np.array([1.0, 1.7, 2.6, 3.9])
DOOR_RATIOS = np.array([1.0, 1.5, 2.2, 3.1, 4.6])
KEY_CAP_RATIOS = np.array([1.0, 2.3, 4.1])


def knock(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """Knocks on a door: clicks that excite the modes of the panel."""
    x = silence(duration_s, rate_hz)
    last_s = 0.12  # of the last blow
    n_blows = max(round((duration_s - last_s) / draw.uniform(0.11, 0.25)), 1) + 1
    interval_s = (duration_s - last_s) / (n_blows - 1)
    n_modes, lowest_hz = len(DOOR_PANEL_RATIOS), draw.log_uniform(80.0, 350.0)
    panel_hz = lowest_hz * DOOR_PANEL_RATIOS * draw.uniforms(0.9, 1.1, n_modes)
    decay_s = draw.uniform(0.08, 0.18)
    for number in range(n_blows):
        decays_s = decay_s * draw.uniforms(0.5, 1.2, n_modes)
        gains = draw.uniforms(0.3, 1.0, n_modes)
        blow = damped_modes(draw, round(0.15 * rate_hz), rate_hz, panel_hz, decays_s, gains)
        click = fade_edges(draw.noise(round(0.006 * rate_hz)), rate_hz, 0.0005, 0.005)
        add_at(blow, click, 0.0, rate_hz, draw.uniform(0.3, 1.2))
        start_s = number * interval_s * draw.uniform(0.95, 1.0)
        add_at(x, blow, start_s, rate_hz, draw.uniform(0.6, 1.0))
    return fade_edges(x, rate_hz, 0.0005, 0.02)


def drawer(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """Drawer: slide, thud and rattling content."""
    slide_s = duration_s * draw.uniform(0.65, 0.8)
    x = fade_edges(_sliding(draw, rate_hz, slide_s), rate_hz, 0.05, 0.02)
    x = 0.6 * np.pad(x, (0, len(silence(duration_s, rate_hz)) - len(x)))
    thud_hz = draw.log_uniform(60.0, 200.0) * CABINET_RATIOS
    thud = damped_modes(draw, round(0.25 * rate_hz), rate_hz, thud_hz, draw.uniform(0.1, 0.2))
    add_at(x, thud, slide_s, rate_hz, draw.uniform(0.4, 0.9))
    for _ in range(draw.count(1, 6)):
        modes_hz = draw.uniforms(800, 5000, 3)
        rattle = damped_modes(draw, round(0.05 * rate_hz), rate_hz, modes_hz, 0.04)
        when_s = slide_s + draw.uniform(0, 0.8) * (duration_s - slide_s)
        add_at(x, rattle, when_s, rate_hz, draw.uniform(0.05, 0.25))
    return fade_edges(x, rate_hz, 0.001, 0.02)


def _sliding(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    n = round(duration_s * rate_hz)
    noise = draw.noise(n)
    friction = band_pass(noise, rate_hz, draw.log_uniform(200, 600), draw.log_uniform(1500, 5000))
    rumble = slow_control(draw, n, rate_hz, draw.uniform(10, 40), 0.1, 1.0)
    return friction * rumble * np.linspace(draw.uniform(0.2, 0.8), 1.0, n, dtype=np.float32)


def drop_keys(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """Dropped keys: many metallic impacts, denser at first, and one low thump."""
    x = silence(duration_s, rate_hz)
    ringing_hz = draw.uniforms(2200.0, 12000.0, 12)
    for number in range(draw.count(8, 29)):
        modes_hz = draw.rng.choice(ringing_hz, 4)
        decays_s = draw.uniforms(0.02, 0.12, 4)
        impact = damped_modes(draw, round(0.12 * rate_hz), rate_hz, modes_hz, decays_s)
        start_s = 0.85 * duration_s * draw.rng.beta(1, 2.5) if number else 0.0
        add_at(x, impact, start_s, rate_hz, draw.uniform(0.1, 0.7) if number else 1.0)
    thump = damped_modes(draw, round(0.06 * rate_hz), rate_hz, [draw.log_uniform(150, 500)], 0.04)
    add_at(x, thump, 0.0, rate_hz, draw.uniform(0.3, 1.0))
    return fade_edges(x, rate_hz, 0.001, 0.05)


def type_on_keyboard(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """Typing of 4 to 9 keys a second, each with a weaker click of its release."""
    x = silence(duration_s, rate_hz)
    rate_per_s, cap_hz = draw.uniform(4, 9), draw.log_uniform(200, 700)
    brightest_hz = draw.log_uniform(3000, 8000)
    time_s = 0.0
    while time_s < duration_s - 0.04:
        click = _key_click(draw, rate_hz, cap_hz, brightest_hz)
        add_at(x, click, time_s, rate_hz, draw.uniform(0.5, 1.0))
        release_s = time_s + draw.uniform(0.05, 0.12)
        click = _key_click(draw, rate_hz, cap_hz, brightest_hz)
        add_at(x, click, release_s, rate_hz, draw.uniform(0.15, 0.4))
        time_s += max(0.05, (0.6 * draw.rng.exponential() + 0.4) / rate_per_s)
    return fade_edges(x, rate_hz, 0.0005, 0.01)


def _key_click(draw: Draw, rate_hz: int, cap_hz: float, brightest_hz: float) -> np.ndarray:
    n = round(0.045 * rate_hz)
    modes_hz = cap_hz * KEY_CAP_RATIOS * draw.uniforms(0.9, 1.1, len(KEY_CAP_RATIOS))
    thock = damped_modes(draw, n, rate_hz, modes_hz, 0.035, (0.5, 0.4, 0.3))
    snap = band_pass(draw.noise(n), rate_hz, 1200.0, brightest_hz)
    return thock + snap * np.exp(-time_axis(n, rate_hz) / 0.004).astype(np.float32)


def slam_door(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """Slammed door: low modes of the leaf, a burst of air, the latch, and often a rattle."""
    x = silence(duration_s, rate_hz)
    n = len(x)
    latch_s = draw.uniform(0.0, 0.06)
    leaf_hz = draw.log_uniform(35.0, 90.0) * DOOR_RATIOS
    decays_s = duration_s * draw.uniforms(0.8, 1.5, len(leaf_hz))
    leaf = damped_modes(draw, n, rate_hz, leaf_hz, decays_s, (1.0, 0.8, 0.6, 0.4, 0.3))
    air = coloured_noise(draw, n, rate_hz, draw.uniform(0.8, 1.6))
    level, decay_s = draw.uniform(0.5, 1.5), draw.uniform(0.04, 0.1)
    air *= level * np.exp(-time_axis(n, rate_hz) / decay_s).astype(np.float32)
    add_at(x, leaf + air, latch_s, rate_hz)
    latch = damped_modes(draw, round(0.05 * rate_hz), rate_hz, draw.uniforms(1000, 4000, 3), 0.02)
    add_at(x, latch, 0.0, rate_hz, draw.uniform(0.1, 0.4))
    for _ in range(draw.count(0, 5)):
        modes_hz = draw.uniforms(300, 2500, 3)
        rattle = damped_modes(draw, round(0.06 * rate_hz), rate_hz, modes_hz, 0.05)
        add_at(x, rattle, latch_s + draw.uniform(0.05, 0.3), rate_hz, draw.uniform(0.05, 0.2))
    return fade_edges(x, rate_hz, 0.001, 0.06)


def clink(draw: Draw, rate_hz: int, duration_s: float = 0.4) -> np.ndarray:
    """One clink of glass or china."""
    modes_hz = draw.log_uniform(1300.0, 4500.0) * np.cumprod(draw.uniforms(1.0, 1.5, 6))
    n = len(silence(duration_s, rate_hz))
    x = damped_modes(
        draw, n, rate_hz, modes_hz, draw.uniforms(0.05, 0.4, 6), draw.uniforms(0.2, 1.0, 6)
    )
    return fade_edges(x, rate_hz, 0.001, 0.03)


def rattle_dishes(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """Dishes: clinks in quick succession."""
    x = silence(duration_s, rate_hz)
    n_clinks = max(round(duration_s / draw.uniform(0.08, 0.14)), 1)
    interval_s = duration_s / n_clinks
    for number in range(n_clinks):
        start_s = number * interval_s + (draw.uniform(0.0, 0.3) * interval_s if number else 0.0)
        add_at(x, clink(draw, rate_hz), start_s, rate_hz, draw.uniform(0.4, 1.0))
    return fade_edges(x, rate_hz, 0.001, 0.02)


def footstep(draw: Draw, rate_hz: int, duration_s: float = 0.2) -> np.ndarray:
    """One step on a hard floor: a heel thump and a short scrape of the sole."""
    n = len(silence(duration_s, rate_hz))
    heel = damped_modes(
        draw, n, rate_hz, draw.log_uniform(70, 180) * CABINET_RATIOS, draw.uniform(0.06, 0.15)
    )
    scrape = band_pass(draw.noise(n), rate_hz, 600, draw.log_uniform(2500, 6000))
    scrape *= np.exp(-time_axis(n, rate_hz) / draw.uniform(0.01, 0.03)).astype(np.float32)
    return fade_edges(heel + draw.uniform(0.2, 1.0) * scrape, rate_hz, 0.001, 0.03)

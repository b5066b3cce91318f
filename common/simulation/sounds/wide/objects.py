"""Telephones, alarms and paper of many makes.

Each recipe fills its duration, float32 (samples,).
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
    silence,
    slow_control,
    time_axis,
    to_unit_peak,
)
from common.simulation.sounds.wide.hits import CRISP, draw_material, hit, scattered


def ring_phone(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """Telephone: a bell, tones that warble, a tune of chords, or a buzzing case."""
    kinds = (_bells, _bells, _warble, _warble, _tune, _tune, _buzz)
    x = to_unit_peak(draw.choice(kinds)(draw, rate_hz, duration_s))
    n, t = len(x), time_axis(len(x), rate_hz)
    if draw.chance(0.5):
        on_s, off_s = draw.log_uniform(0.15, 2.0), draw.uniform(0.05, 0.14)
        n_rings = max(round((duration_s + off_s) / (on_s + off_s)), 1)
        period_s = (duration_s + off_s) / n_rings
        gate = ((t % period_s) < period_s - off_s).astype(np.float32)
        x *= np.convolve(gate, np.ones(96, np.float32) / 96, "same")[:n]
    return fade_edges(x, rate_hz, 0.003, draw.uniform(0.02, 0.2))


def _bells(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """A hammer between two bells of many partials, which ring on."""
    x, strikes_per_s = silence(duration_s, rate_hz), draw.uniform(12.0, 32.0)
    strokes = []
    for _ in range(2):
        partials_hz = draw.log_uniform(600.0, 2500.0) * np.cumprod(draw.uniforms(1.1, 1.9, 9))
        decays_s = draw.uniforms(0.1, 0.9, 9)
        stroke = damped_modes(draw, round(0.7 * rate_hz), rate_hz, partials_hz, decays_s)
        hammer = draw_material(draw, (1500.0, 6000.0), (-6.0, -1.0), (0.02, 0.06), (2.0, 8.0))
        add_at(stroke, hit(draw, rate_hz, hammer, 0.05), 0.0, rate_hz, draw.uniform(0.3, 3.0))
        strokes.append(stroke)
    ringing_s = duration_s * (draw.uniform(0.5, 0.9) if draw.chance(0.4) else 1.0)
    for number in range(int(ringing_s * strikes_per_s) + 1):
        time_s = number / strikes_per_s
        add_at(x, strokes[number % 2], time_s, rate_hz, draw.uniform(0.6, 1.0))
    return x


def _tone(draw: Draw, phase: np.ndarray, rate_hz: int, pitch_hz: float) -> np.ndarray:
    """Sounds a phase in radians with harmonics of random levels, float32 like it."""
    x = np.zeros(len(phase), np.float32)
    roll_off = draw.uniform(0.2, 2.0)
    step = draw.choice((1, 1, 2))  # odd harmonics only, of a square wave
    for harmonic in range(1, 14, step):
        if harmonic * pitch_hz < HIGHEST_PART * rate_hz:
            level = draw.uniform(0.2, 1.0) * harmonic**-roll_off
            x += np.float32(level) * np.sin(harmonic * phase).astype(np.float32)
    return x


def _warble(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """Two to four electronic tones in quick turns, or one that is switched on and off."""
    n = len(silence(duration_s, rate_hz))
    t = time_axis(n, rate_hz)
    base_hz, turns_per_s = draw.log_uniform(400.0, 3200.0), draw.log_uniform(4.0, 40.0)
    ratios = np.append(1.0, draw.uniforms(1.05, 1.6, draw.count(0, 3)))
    places = (t * turns_per_s).astype(int)
    pitch_hz = base_hz * ratios[places % len(ratios)]
    x = _tone(draw, 2 * np.pi * np.cumsum(pitch_hz) / rate_hz, rate_hz, base_hz * ratios.max())
    if len(ratios) == 1 or draw.chance(0.3):
        x *= (t * turns_per_s % 1 < draw.uniform(0.4, 0.8)) + draw.uniform(0.0, 0.3)
    return x


def _tune(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """A tune of plucked or held notes, some in chords."""
    x = silence(duration_s, rate_hz)
    base_hz, note_s = draw.log_uniform(300.0, 1500.0), draw.log_uniform(0.07, 0.3)
    decay_s, time_s = draw.log_uniform(0.1, 2.0), 0.0
    while time_s < duration_s:
        for _ in range(draw.choice((1, 1, 2))):
            pitch_hz = base_hz * 2 ** (draw.choice((0, 2, 4, 5, 7, 9, 11, 12, 14, 16)) / 12)
            n = round(min(3 * note_s, max(duration_s - time_s, 0.01)) * rate_hz)
            t = time_axis(n, rate_hz)
            note = _tone(draw, 2 * np.pi * pitch_hz * t, rate_hz, pitch_hz) * np.exp(-t / decay_s)
            note = fade_edges(note.astype(np.float32), rate_hz, 0.003, 0.03)
            add_at(x, note, time_s, rate_hz, draw.uniform(0.4, 1.0))
        time_s += note_s * draw.choice((0.5, 1.0, 1.0, 2.0))
    return x


def _buzz(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """A case that vibrates on a table."""
    n = len(silence(duration_s, rate_hz))
    pitch_hz = draw.log_uniform(110.0, 220.0) * slow_control(draw, n, rate_hz, 2.0, 0.98, 1.02)
    phase = 2 * np.pi * np.cumsum(pitch_hz) / rate_hz
    buzz = np.tanh(draw.uniform(1.0, 8.0) * np.sin(phase)).astype(np.float32)
    rattle = band_pass(draw.noise(n), rate_hz, 600, 7000) * (np.sin(phase) > 0.6)
    return buzz + draw.uniform(0.1, 1.5) * rattle.astype(np.float32)


def ring_alarm(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """Alarm or bell: what telephones have, beeps, a siren, or a large bell."""
    electronic = (_warble, _tune, _beeps, _beeps, _siren)
    kinds = (_bells, _bells, _large_bell, _large_bell, _chime, _bars, _bars, *electronic)
    x = to_unit_peak(draw.choice(kinds)(draw, rate_hz, duration_s))
    return fade_edges(x, rate_hz, 0.003, 0.02)


def _beeps(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """Beeps in groups, and the room that answers."""
    n = len(silence(duration_s, rate_hz))
    t = time_axis(n, rate_hz)
    pitch_hz = draw.log_uniform(700.0, 4200.0)
    x = _tone(draw, 2 * np.pi * pitch_hz * t, rate_hz, pitch_hz)
    on_s, off_s = draw.log_uniform(0.04, 0.6), draw.uniform(0.03, 0.13)
    gate = (t % (on_s + off_s) < on_s) + draw.uniform(0.0, 0.05)
    return x * gate.astype(np.float32)


def _siren(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """A siren that rises and falls, evenly or in steps."""
    n = len(silence(duration_s, rate_hz))
    turns = draw.log_uniform(0.25, 8.0) * time_axis(n, rate_hz) + draw.rng.uniform()
    saw, wave = turns % 1.0, 0.5 + 0.5 * np.sin(2 * np.pi * turns)
    sweep = draw.choice((saw, wave, (saw > 0.5).astype(float)))
    pitch_hz = draw.log_uniform(350.0, 1500.0) * 2 ** (draw.uniform(0.2, 1.3) * sweep)
    phase = 2 * np.pi * np.cumsum(pitch_hz) / rate_hz
    return _tone(draw, phase, rate_hz, float(pitch_hz.max()))


def _large_bell(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """Single strokes of a bell that rings for long."""
    x = silence(duration_s, rate_hz)
    partials_hz = draw.log_uniform(200.0, 3000.0) * np.cumprod(draw.uniforms(1.1, 1.8, 9))
    longest_s = draw.log_uniform(0.8, 5.0)
    decays_s = longest_s * draw.uniform(0.7, 0.95) ** np.arange(9)
    stroke = damped_modes(draw, len(x), rate_hz, partials_hz, decays_s, draw.uniforms(0.2, 1, 9))
    interval_s = draw.uniform(0.3, min(1.5, 0.6 * longest_s))  # no stroke ends before the next
    for time_s in np.arange(0.0, duration_s, interval_s):
        add_at(x, stroke, float(time_s), rate_hz, draw.uniform(0.5, 1.0))
    return x


def _chime(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """Door bell: two or three struck bars, one after the other, which ring on."""
    x, n_notes = silence(duration_s, rate_hz), draw.count(2, 3)
    pitch_hz, interval_s = draw.log_uniform(350.0, 1200.0), duration_s / n_notes
    for number in range(n_notes):
        partials_hz = pitch_hz * np.array([1.0, 2.0, 2.76, 4.07, 5.4])
        gains = draw.log_uniform(0.02, 0.8) ** np.arange(5)
        decay_s = max(draw.uniform(0.7, 3.0), 2 * interval_s)  # heard until the next one
        n = len(silence(duration_s - number * interval_s, rate_hz))
        note = damped_modes(draw, n, rate_hz, partials_hz, decay_s, gains)
        add_at(x, note, number * interval_s, rate_hz, draw.uniform(0.6, 1.0))
        pitch_hz *= draw.choice((0.79, 0.84, 0.75, 1.26))
    return x


def _bars(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """A pattern of struck bars, as of a clock: they click, and only their lowest mode rings on."""
    x, interval_s = silence(duration_s, rate_hz), draw.log_uniform(0.08, 0.5)
    pitch_hz, ring_s = draw.log_uniform(350.0, 1800.0), draw.log_uniform(0.15, 0.8)
    partials = np.append(1.0, draw.uniforms(2.5, 14.0, 5))
    decays_s = np.append(ring_s, draw.log_uniforms(0.01, 0.2, 5))
    gains = np.append(1.0, draw.log_uniforms(0.05, 1.0, 5))
    click = draw_material(draw, (1000.0, 6000.0), (-6.0, 0.0), (0.01, 0.05), (-4.0, 3.0), **CRISP)
    bars, n = [], round(min(ring_s, duration_s) * rate_hz) + 2
    for step in (0, *(draw.choice((0, 2, 4, 5, 7, 12)) for _ in range(draw.count(1, 4)))):
        modes_hz = pitch_hz * 2 ** (step / 12) * partials
        bar = damped_modes(draw, n, rate_hz, modes_hz, decays_s, gains)
        add_at(bar, hit(draw, rate_hz, click, 0.05), 0.0, rate_hz, draw.log_uniform(0.1, 2.0))
        bars.append(bar)
    for number, time_s in enumerate(np.arange(0.0, duration_s, interval_s)):
        add_at(x, bars[number % len(bars)], float(time_s), rate_hz, draw.uniform(0.7, 1.0))
    return x


def turn_page(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """Page turning: a sheet that slides, flaps of air, and creases that crack."""
    x = silence(duration_s, rate_hz)
    n = len(x)
    sheet = coloured_noise(draw, n, rate_hz, draw.uniform(-0.5, 1.0))
    low_hz = draw.log_uniform(400.0, 3000.0)
    sheet = band_pass(sheet, rate_hz, low_hz, low_hz * draw.uniform(2.5, 8.0))
    crumbs = slow_control(draw, n, rate_hz, draw.log_uniform(20.0, 200.0)) ** draw.uniform(1, 4)
    part, swells = np.linspace(0, 1, n, dtype=np.float32), np.full(n, 0.01, np.float32)
    for _ in range(draw.count(1, 3)):
        width = draw.log_uniform(0.04, 0.3)
        swells += draw.log_uniform(0.1, 1.0) * np.exp(
            -np.square((part - draw.uniform(0.05, 0.95)) / width)
        )
    x += to_unit_peak(sheet * crumbs * swells) * draw.uniform(0.3, 1.0)
    crease = draw_material(draw, (800.0, 5000.0), (-6.0, -1.0), (0.01, 0.08), (-2.0, 5.0))
    cracks = [hit(draw, rate_hz, crease.varied(draw, 8.0), 0.04) for _ in range(6)]
    air = draw_material(draw, (100.0, 800.0), (-8.0, -2.0), (0.03, 0.15), (-1.0, 4.0))
    flaps = [hit(draw, rate_hz, air.varied(draw, 6.0), 0.15) for _ in range(3)]
    centre = draw.uniform(0.3, 0.9)
    times = np.clip(draw.rng.normal(centre, draw.uniform(0.05, 0.3), draw.count(5, 60)), 0, 0.98)
    gains = draw.log_uniforms(0.03, 0.8, len(times))
    scattered(draw, x, rate_hz, cracks, times * duration_s, gains)
    times = np.clip(draw.rng.normal(centre, 0.15, draw.count(0, 4)), 0, 0.9)
    scattered(draw, x, rate_hz, flaps, times * duration_s, draw.uniforms(0.1, 0.9, len(times)))
    return fade_edges(x, rate_hz, 0.005, 0.02)

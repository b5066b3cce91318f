"""Sounds of rooms and streets that move or are far away: steps, applause, engines, music.

Each recipe fills its duration, float32 (samples,).
"""

import numpy as np

from common.simulation.random_streams import Draw
from common.simulation.sounds import appliances, impacts, instruments, streets
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
)

CHURCH_BELL_RATIOS = np.array([0.5, 1.0, 1.2, 1.5, 2.0, 2.5, 3.0])
CHORD_SEMITONES = ((0, 4, 7), (0, 3, 7), (0, 5, 9))


def walk(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """Footsteps of one person, 1.5 to 2.4 a second."""
    x = silence(duration_s, rate_hz)
    steps = [impacts.footstep(draw, rate_hz) for _ in range(4)]
    last_s = 0.2  # of the last step
    n_steps = max(round((duration_s - last_s) * draw.uniform(1.5, 2.4)), 1) + 1
    interval_s = max(duration_s - last_s, 0.0) / max(n_steps - 1, 1)
    for number in range(n_steps):
        start_s = number * interval_s * draw.uniform(0.98, 1.0)
        add_at(x, draw.choice(steps), start_s, rate_hz, draw.uniform(0.7, 1.0))
    return x


def clap(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """Clapping hands of one person: short bursts around the resonance of the hollow hands."""
    x = silence(duration_s, rate_hz)
    n_claps = max(round(duration_s * draw.uniform(2.5, 5.0)), 2)
    # The last clap ends with the sound.
    interval_s = max(duration_s - 0.15, 0.0) / (n_claps - 1)
    centre_hz = draw.log_uniform(700.0, 1800.0)
    for number in range(n_claps):
        noise = draw.noise(round(0.08 * rate_hz))
        hollow = band_pass(noise, rate_hz, centre_hz / 1.6, centre_hz * 1.6)
        burst = hollow + 0.3 * band_pass(noise, rate_hz, 2000, 8000)
        burst *= np.exp(-time_axis(len(burst), rate_hz) / draw.uniform(0.006, 0.015))
        start_s = number * interval_s + draw.uniform(0.0, 0.06)
        add_at(x, fade_edges(burst, rate_hz, 0.0005, 0.01), start_s, rate_hz, draw.uniform(0.6, 1))
    return x


def crash(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """Crash: one heavy blow, then splinters of glass or metal, denser at first."""
    x = silence(duration_s, rate_hz)
    blow_hz = draw.log_uniform(60.0, 250.0) * np.cumprod(draw.uniforms(1.1, 1.6, 6))
    blow = damped_modes(draw, round(0.4 * rate_hz), rate_hz, blow_hz, draw.uniform(0.15, 0.4))
    add_at(x, blow, 0.0, rate_hz, draw.uniform(0.6, 1.0))
    shatter = band_pass(draw.noise(len(x)), rate_hz, 800, draw.log_uniform(5000, 11000))
    shatter *= np.exp(-time_axis(len(x), rate_hz) / (draw.uniform(0.15, 0.3) * duration_s))
    for _ in range(draw.count(12, 40)):
        start_s = 0.9 * duration_s * draw.rng.beta(1, 2)
        add_at(x, impacts.clink(draw, rate_hz, 0.2), start_s, rate_hz, draw.uniform(0.1, 0.5))
    return fade_edges(x + draw.uniform(0.3, 0.8) * shatter, rate_hz, 0.001, 0.05)


def run_engine(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """Running engine of a car or a machine."""
    engine = streets.run_engine(draw, rate_hz, len(silence(duration_s, rate_hz)))
    return fade_edges(engine.astype(np.float32), rate_hz, 0.05)


def burn(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """Burning fire: rumble, hiss, and crackles of very different strength."""
    n = len(silence(duration_s, rate_hz))
    rumble = coloured_noise(draw, n, rate_hz, 1.5) * slow_control(draw, n, rate_hz, 4.0, 0.5, 1.0)
    hiss = band_pass(draw.noise(n), rate_hz, 2000, 9000) * slow_control(draw, n, rate_hz, 8.0)
    crackles = np.zeros(n, np.float32)
    n_crackles = draw.rng.poisson(draw.uniform(15, 60) * duration_s) + 1
    crackles[draw.rng.integers(0, n, n_crackles)] = draw.rng.pareto(2.0, n_crackles)
    snaps = band_pass(crackles, rate_hz, draw.log_uniform(800, 2000), 9000)
    x = 0.3 * rumble + draw.uniform(0.2, 0.6) * hiss + draw.uniform(2.0, 4.0) * snaps
    return fade_edges(x, rate_hz, 0.03)


def ring_bell(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """Bell: single strokes of a hand bell, a door bell or a church bell."""
    x = silence(duration_s, rate_hz)
    pitch_hz, decay_s = draw.log_uniform(350.0, 1600.0), draw.uniform(0.6, 2.0)
    detuned = CHURCH_BELL_RATIOS * draw.uniforms(0.98, 1.02, len(CHURCH_BELL_RATIOS))
    decays_s = decay_s / np.sqrt(CHURCH_BELL_RATIOS)
    gains = draw.uniforms(0.3, 1.0, len(CHURCH_BELL_RATIOS))
    stroke = damped_modes(draw, len(x), rate_hz, pitch_hz * detuned, decays_s, gains)
    n_strokes = max(round(duration_s / draw.uniform(0.4, 1.2)), 1)
    for number in range(n_strokes):
        add_at(x, stroke, number * duration_s / n_strokes, rate_hz, draw.uniform(0.7, 1.0))
    return fade_edges(x, rate_hz, 0.001, 0.05)


def play_piano(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """Piano: notes and chords of slightly inharmonic strings."""
    x = silence(duration_s, rate_hz)
    root_hz, beat_s = draw.log_uniform(110.0, 440.0), draw.uniform(0.2, 0.6)
    for number in range(max(round(duration_s / beat_s), 1)):
        step = draw.choice(instruments.SCALE_SEMITONES)
        notes = draw.choice(CHORD_SEMITONES) if draw.chance(0.3) else (0,)
        start_s = number * beat_s
        for note in notes:
            pitch_hz = root_hz * 2 ** ((step + note) / 12)
            tone = _piano_note(draw, rate_hz, duration_s - start_s, pitch_hz)
            add_at(x, tone, start_s, rate_hz, draw.uniform(0.5, 1.0))
    return fade_edges(x, rate_hz, 0.001, 0.05)


def _piano_note(draw: Draw, rate_hz: int, duration_s: float, pitch_hz: float) -> np.ndarray:
    partials = np.arange(1, 13)
    stretched_hz = pitch_hz * partials * np.sqrt(1 + 4e-4 * partials**2)
    n = len(silence(min(duration_s, 1.5), rate_hz))
    decays_s = 2.5 / partials**0.7
    note = damped_modes(draw, n, rate_hz, stretched_hz, decays_s, partials ** -draw.uniform(1, 1.5))
    return fade_edges(note, rate_hz, 0.002, 0.03)


def play_instrument(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """One of several musical instruments."""
    players = (
        instruments.strum_guitar,
        instruments.play_flute,
        instruments.play_clarinet,
        instruments.play_violin,
        play_piano,
    )
    return draw.choice(players)(draw, rate_hz, duration_s)


def play_music(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """Music from a loudspeaker: drums and a bass below chords."""
    x = play_piano(draw, rate_hz, duration_s)
    x = x / max(float(np.abs(x).max()), 1e-9)
    beat_s = draw.uniform(0.35, 0.6)
    bass_hz = draw.log_uniform(60.0, min(110.0, HIGHEST_PART * rate_hz))
    for number in range(max(round(duration_s / beat_s), 1)):
        start_s = number * beat_s
        drum = damped_modes(draw, round(0.2 * rate_hz), rate_hz, (55.0, 90.0), 0.15)
        add_at(x, drum, start_s, rate_hz, draw.uniform(0.3, 0.6))
        hat = band_pass(draw.noise(round(0.05 * rate_hz)), rate_hz, 6000, 11000)
        add_at(x, fade_edges(hat, rate_hz, 0.001, 0.03), start_s + beat_s / 2, rate_hz, 0.2)
        pitch_hz = bass_hz * 2 ** (draw.choice(instruments.SCALE_SEMITONES) / 12)
        bass = damped_modes(draw, round(beat_s * rate_hz), rate_hz, pitch_hz * np.arange(1, 5), 0.8)
        add_at(x, fade_edges(bass, rate_hz, 0.003, 0.02), start_s, rate_hz, 0.3)
    return fade_edges(x.astype(np.float32), rate_hz, 0.01, 0.05)


def do_housework(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """Domestic sounds: vacuum cleaner, blender, frying or dishes."""
    works = (appliances.vacuum, appliances.blend, appliances.fry, impacts.rattle_dishes)
    return draw.choice(works)(draw, rate_hz, duration_s)

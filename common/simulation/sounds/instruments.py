"""Musical instruments and tearing paper. Each recipe fills its duration, float32 (samples,)."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from common.simulation.random_streams import Draw
from common.simulation.sounds.synthesis import (
    HIGHEST_PART,
    add_at,
    band_pass,
    damped_modes,
    fade_edges,
    silence,
    slow_control,
    time_axis,
    to_unit_peak,
)

SCALE_SEMITONES = (0, 2, 4, 5, 7, 9, 11, 12)
BAR_RATIOS = np.array([1.0, 2.756, 5.404, 8.933])  # bending modes of a bar with free ends
BELL_PLATE_RATIOS = np.array([1.0, 1.48, 2.15, 2.9, 4.3])
DRUM_HEAD_RATIOS = np.array([1.0, 1.593, 2.136, 2.296, 2.653])  # modes of a round membrane


def strum_guitar(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """Guitar: single strings or chords."""
    x = silence(duration_s, rate_hz)
    lowest_hz, brightness = draw.log_uniform(80.0, 200.0), draw.uniform(0.2, 0.7)
    strings = draw.choice((1, 1, 3, 4))
    for start_s, _ in _beats(draw, duration_s, (0.2, 0.5)):
        for number in range(strings):
            pitch_hz = lowest_hz * 2 ** ((draw.choice(SCALE_SEMITONES) + 5 * number) / 12)
            string = _plucked_string(draw, rate_hz, duration_s - start_s, pitch_hz, brightness)
            add_at(x, string, start_s + 0.015 * number, rate_hz, draw.uniform(0.6, 1.0))
    return fade_edges(x, rate_hz, 0.001, 0.03)


def _plucked_string(
    draw: Draw, rate_hz: int, duration_s: float, pitch_hz: float, brightness: float
) -> np.ndarray:
    """Plucked string by Karplus and Strong, Comput. Music J. 7(2), 1983."""
    period = max(round(rate_hz / pitch_hz), 2)
    wave = draw.noise(period)
    dulled = 0.5 * (wave + np.roll(wave, 1))
    wave = brightness * wave + (1 - brightness) * dulled
    decay_s = draw.uniform(1.0, 3.0)  # by 60 dB
    keep = 10 ** (-3 * period / rate_hz / decay_s)
    rounds = np.empty((round(duration_s * rate_hz) // period + 1, period), np.float32)
    rounds[0] = wave
    for wave, later in pairwise(rounds):  # rows of one array: nothing is allocated in the loop
        np.add(wave[1:], wave[:-1], out=later[1:])
        later[0] = wave[0] + wave[-1]
        later *= np.float32(0.5)
        later *= np.float32(keep)
    return to_unit_peak(rounds.ravel()[: max(round(duration_s * rate_hz), 1)])


def play_flute(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """Flute: few harmonics, and breath."""
    ranges = (0.2, 0.6), (0.05, 0.25), (0.01, 0.08)
    gains = np.array([1.0, *(draw.uniform(*each) for each in ranges)])
    pitch_hz, breath = draw.log_uniform(260.0, 800.0), draw.uniform(0.05, 0.15)
    return _play(draw, rate_hz, duration_s, pitch_hz, gains, breath, 0.06)


def play_clarinet(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """Clarinet: odd harmonics."""
    harmonics = np.arange(1, 14)
    levels = np.where(harmonics % 2 == 1, 1.0, draw.uniform(0.02, 0.08))
    gains = levels * harmonics ** -draw.uniform(0.7, 1.2)
    pitch_hz, breath = draw.log_uniform(150.0, 450.0), draw.uniform(0.01, 0.03)
    return _play(draw, rate_hz, duration_s, pitch_hz, gains, breath, 0.04)


def play_violin(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """Violin: many harmonics with vibrato."""
    gains = np.arange(1, 21) ** -draw.uniform(0.7, 1.1) * draw.uniforms(0.4, 1.0, 20)
    pitch_hz, breath = draw.log_uniform(200.0, 700.0), draw.uniform(0.01, 0.05)
    vibrato = draw.uniform(0.004, 0.012)
    return _play(draw, rate_hz, duration_s, pitch_hz, gains, breath, 0.08, vibrato)


def _play(
    draw: Draw,
    rate_hz: int,
    duration_s: float,
    pitch_hz: float,
    gains: np.ndarray,
    breath: float,
    attack_s: float,
    vibrato: float = 0.002,
) -> np.ndarray:
    """Plays legato notes of a scale.

    Args:
        draw: source of everything random.
        rate_hz: sample rate.
        duration_s: length.
        pitch_hz: lowest note.
        gains: amplitude of each harmonic, (H,); those too high for the sample rate are left out.
        breath: RMS of the noise against tones of unit peak.
        attack_s: duration of the onset of each note.
        vibrato: relative deviation of the pitch at 4.5 to 6.5 Hz.

    Returns:
        float32 (samples,).
    """
    x = silence(duration_s, rate_hz)
    wobble_hz = draw.uniform(4.5, 6.5)
    for start_s, length_s in _beats(draw, duration_s, (0.25, 1.2)):
        n = len(silence(length_s, rate_hz))
        note_hz = pitch_hz * 2 ** (draw.choice(SCALE_SEMITONES) / 12)
        contour_hz = note_hz * (1 + vibrato * np.sin(2 * np.pi * wobble_hz * time_axis(n, rate_hz)))
        tone = _harmonics(draw, contour_hz, rate_hz, gains) * slow_control(
            draw, n, rate_hz, 3.0, 0.75, 1.0
        )
        noise = band_pass(draw.noise(n), rate_hz, 0.8 * note_hz, 8 * note_hz)
        note = tone + np.float32(breath) * noise
        add_at(x, fade_edges(note, rate_hz, min(attack_s, 0.4 * length_s), 0.03), start_s, rate_hz)
    return x


def _harmonics(draw: Draw, pitch_hz: np.ndarray, rate_hz: int, gains: np.ndarray) -> np.ndarray:
    """Sums harmonics of random phase of a pitch contour, (n,), to unit peak."""
    turn = np.exp(
        np.complex64(2j * np.pi) * (np.cumsum(pitch_hz / rate_hz) % 1.0).astype(np.float32)
    )
    audible = np.arange(1, len(gains) + 1) * pitch_hz.max() < HIGHEST_PART * rate_hz
    weights = gains * audible * np.exp(2j * np.pi * draw.rng.uniform(size=len(gains)))
    total = np.zeros(len(pitch_hz), np.complex64)
    for weight in weights[::-1]:  # Horner's scheme: a product per harmonic instead of a sine
        total += np.complex64(weight)
        total *= turn
    return to_unit_peak(total.real)


def strike_glockenspiel(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """Bars of a glockenspiel."""
    lowest_hz, decay_s = draw.log_uniform(700.0, 1600.0), draw.uniform(0.5, 1.5)

    def hit() -> np.ndarray:
        modes_hz = lowest_hz * 2 ** (draw.choice(SCALE_SEMITONES) / 12) * BAR_RATIOS
        decays_s = decay_s * np.array([1.0, 0.5, 0.2, 0.1])
        return damped_modes(
            draw, round(1.2 * rate_hz), rate_hz, modes_hz, decays_s, (1.0, 0.5, 0.25, 0.12)
        )

    return _repeat(draw, rate_hz, duration_s, (0.15, 0.5), hit)


def strike_cowbell(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """Cowbell: a few inharmonic modes of short decay."""
    n_modes = len(BELL_PLATE_RATIOS)
    pitch_hz = draw.log_uniform(450.0, 900.0)
    modes_hz = pitch_hz * BELL_PLATE_RATIOS * draw.uniforms(0.97, 1.03, n_modes)
    decay_s, gains = draw.uniform(0.15, 0.5), draw.uniforms(0.4, 1.0, n_modes)

    def hit() -> np.ndarray:
        return damped_modes(draw, round(0.5 * rate_hz), rate_hz, modes_hz, decay_s, gains)

    return _repeat(draw, rate_hz, duration_s, (0.15, 0.35), hit)


def beat_bass_drum(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """Bass drum: a low tone of falling pitch, and the click of the beater."""
    lowest_hz, drop = draw.uniform(40.0, 70.0), draw.uniform(0.5, 2.0)
    decay_s = draw.uniform(0.4, 1.0)
    t = time_axis(round(0.6 * rate_hz), rate_hz)
    cycles = np.cumsum(lowest_hz * (1 + drop * np.exp(-t / 0.03))) / rate_hz
    body = (np.sin(2 * np.pi * cycles) * 10 ** (-3 * t / decay_s)).astype(np.float32)

    def hit() -> np.ndarray:
        sound = np.array(body)
        click = band_pass(draw.noise(round(0.01 * rate_hz)), rate_hz, 500.0, 4000.0)
        click = fade_edges(click, rate_hz, 0.0005, 0.008)
        add_at(sound, click, 0.0, rate_hz, draw.uniform(0.1, 0.5))
        return sound

    return _repeat(draw, rate_hz, duration_s, (0.2, 0.45), hit)


def beat_snare_drum(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """Snare drum, in time or as a roll: modes of the head and rattle of the wires."""
    head_hz, rattle_s = draw.uniform(160.0, 260.0) * DRUM_HEAD_RATIOS, draw.uniform(0.2, 0.5)
    interval_s = draw.choice(((0.06, 0.1), (0.12, 0.3)))
    n = round(0.4 * rate_hz)
    decay = 10 ** (-3 * time_axis(n, rate_hz) / rattle_s).astype(np.float32)

    def hit() -> np.ndarray:
        head = damped_modes(draw, n, rate_hz, head_hz, 0.2, (1.0, 0.6, 0.4, 0.3, 0.2))
        return head + 1.5 * decay * band_pass(draw.noise(n), rate_hz, 900.0, 9000.0)

    return _repeat(draw, rate_hz, duration_s, interval_s, hit)


def beat_hi_hat(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """Hi-hat, open or closed: metallic high-frequency noise."""
    decay_s = draw.choice((draw.uniform(0.06, 0.12), draw.uniform(0.4, 0.9)))
    lowest_hz = min(draw.uniform(5000.0, 8000.0), 0.35 * rate_hz)
    n = round(0.5 * rate_hz)
    decay = 10 ** (-3 * time_axis(n, rate_hz) / decay_s).astype(np.float32)

    def hit() -> np.ndarray:
        return band_pass(draw.noise(n), rate_hz, lowest_hz, 16000.0) * decay

    return _repeat(draw, rate_hz, duration_s, (0.1, 0.24), hit)


def tear_paper(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """Tearing of paper or cloth: fibres that snap ever faster."""
    x = silence(duration_s, rate_hz)
    low_hz, high_hz = draw.log_uniform(800.0, 2000.0), draw.log_uniform(6000.0, 12000.0)
    for start_s, length_s in _beats(draw, duration_s, (0.3, 1.2)):
        n = len(silence(length_s, rate_hz))
        snaps_per_s = np.linspace(draw.uniform(200.0, 500.0), draw.uniform(800.0, 3000.0), n)
        snaps = (draw.rng.random(n) < snaps_per_s / rate_hz) * draw.rng.exponential(1.0, n)
        pull = band_pass(snaps.astype(np.float32), rate_hz, low_hz, high_hz)
        pull = fade_edges(to_unit_peak(pull), rate_hz, 0.01, 0.02)
        add_at(x, pull, start_s, rate_hz, draw.uniform(0.6, 1.0))
    return x


def _beats(
    draw: Draw, duration_s: float, length_s: tuple[float, float]
) -> list[tuple[float, float]]:
    """Start and length of equal beats of about the given length."""
    n_beats = max(round(duration_s / draw.uniform(*length_s)), 1)
    return [(number * duration_s / n_beats, duration_s / n_beats) for number in range(n_beats)]


def _repeat(
    draw: Draw,
    rate_hz: int,
    duration_s: float,
    interval_s: tuple[float, float],
    hit: Callable[[], np.ndarray],
) -> np.ndarray:
    """Repeats a stroke in time with random strength."""
    x = silence(duration_s, rate_hz)
    for start_s, _ in _beats(draw, duration_s, interval_s):
        add_at(x, to_unit_peak(hit()), start_s, rate_hz, draw.uniform(0.6, 1.0))
    return fade_edges(x, rate_hz, 0.0005, 0.03)

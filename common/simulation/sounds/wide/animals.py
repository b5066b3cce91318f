"""Dogs and cats of all sizes. Each recipe fills its duration, float32 (samples,)."""

import numpy as np

from common.simulation.random_streams import Draw
from common.simulation.sounds.synthesis import fade_edges
from common.simulation.sounds.wide.vocal import Score, vocalise


def bark(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """Dog: barks from deep to yapping, a growl, or a whine."""
    kind = draw.choice(("bark", "bark", "bark", "bark", "growl", "whine"))
    pitch_hz, tract = draw.log_uniform(150.0, 1100.0), draw.log_uniform(0.7, 1.8)
    score, time_s = Score(), 0.0
    rough, jitter = draw.log_uniform(0.1, 2.5), draw.log_uniform(0.01, 0.15)
    if kind == "growl":
        pitch_hz, rough = draw.log_uniform(50.0, 130.0), draw.uniform(0.5, 3.0)
    if kind == "whine":
        pitch_hz, rough, jitter = draw.log_uniform(500.0, 1800.0), 0.1, 0.01
    bark_s = draw.log_uniform(0.07, 0.3) if kind == "bark" else draw.uniform(0.3, 1.0)
    pause_s, rising = draw.uniform(0.03, 0.14), draw.uniform(1.05, 2.2)
    while time_s < duration_s:
        end_s = time_s + bark_s * draw.uniform(0.8, 1.25)
        loudness, pitch = draw.uniform(0.5, 1.0), pitch_hz * draw.uniform(0.9, 1.1)
        peak_s = time_s + draw.uniform(0.2, 0.5) * (end_s - time_s)
        score.add(time_s, voice=0.0, breath=0.0, pitch=pitch, f1=450.0, f2=1200.0, f3=2500.0)
        score.add(peak_s, voice=loudness, breath=rough * loudness, pitch=pitch * rising)
        score.add(peak_s, f1=draw.uniform(600, 1100), f2=draw.uniform(1200, 2000))
        score.add(end_s, voice=0.05, breath=0.05, pitch=pitch * draw.uniform(0.7, 1.2))
        time_s = end_s + pause_s * draw.uniform(0.5, 1.0)
        score.add(time_s - 0.01, voice=0.0, breath=0.0)
    x = vocalise(draw, rate_hz, duration_s, score, tract, jitter)
    return fade_edges(x, rate_hz, 0.002, 0.02)


def meow(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """Cat: meows of any contour, a yowl, a hiss or a purr."""
    kind = draw.choice(("meow", "meow", "meow", "meow", "yowl", "hiss", "purr"))
    if kind == "purr":
        return _purr(draw, rate_hz, duration_s)
    pitch_hz, tract = draw.log_uniform(280.0, 1000.0), draw.uniform(1.1, 1.7)
    rough = draw.uniform(2.0, 5.0) if kind == "hiss" else draw.log_uniform(0.05, 0.9)
    call_s = draw.log_uniform(0.25, 1.3) * (2.0 if kind == "yowl" else 1.0)
    score, time_s = Score(), 0.0
    while time_s < duration_s:
        end_s = time_s + call_s * draw.uniform(0.7, 1.3)
        length_s, pitch = end_s - time_s, pitch_hz * draw.uniform(0.85, 1.15)
        score.add(time_s, voice=0.0, breath=0.0, pitch=pitch, f1=350, f2=2100, f3=2900)
        for part, softest in ((0.15, 0.3), (0.4, 0.5), (0.7, 0.1)):
            loudness, bent = draw.uniform(softest, 1.0), pitch * draw.uniform(0.88, 1.25)
            voice = 0.0 if kind == "hiss" else loudness
            score.add(time_s + part * length_s, voice=voice, breath=rough * loudness, pitch=bent)
        score.add(time_s + 0.45 * length_s, f1=draw.uniform(700, 1100), f2=draw.uniform(1400, 2100))
        score.add(end_s, voice=0.0, breath=0.02, pitch=pitch * draw.uniform(0.6, 1.1), f1=400)
        score.add(end_s, f2=draw.uniform(900, 1500))
        time_s = end_s + draw.uniform(0.02, 0.12)
        score.add(time_s - 0.01, voice=0.0, breath=0.0)
    x = vocalise(draw, rate_hz, duration_s, score, tract, draw.log_uniform(0.002, 0.05))
    # Cats shut their glottis harder than people do: harmonics are strong up to 8 kHz.
    x = x + draw.log_uniform(0.2, 6.0) * np.diff(x, prepend=x[:1]) * (rate_hz / 16000)
    return fade_edges(x, rate_hz, 0.02, 0.05)


def _purr(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    score, breath_s = Score(), draw.uniform(0.5, 1.2)
    for number, time_s in enumerate(np.arange(0.0, duration_s + breath_s, 0.5 * breath_s)):
        level = draw.uniform(0.4, 1.0) if number % 2 else 0.3
        pitch_hz = draw.uniform(22.0, 30.0)
        score.add(float(time_s), voice=level, breath=0.5 * level, pitch=pitch_hz)
    return fade_edges(vocalise(draw, rate_hz, duration_s, score, 1.2, 0.1), rate_hz, 0.02)

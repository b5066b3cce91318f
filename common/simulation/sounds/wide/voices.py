"""Speech, laughter, coughs and cleared throats of moving tracts, by the room's many speakers.

Each recipe fills its duration, float32 (samples,).
"""

import numpy as np

from common.simulation.random_streams import Draw
from common.simulation.sounds.synthesis import fade_edges
from common.simulation.sounds.wide.vocal import CLOSED, OPEN, Score, vocalise, vowel


def _speaker(draw: Draw) -> tuple[float, float]:
    """Pitch in Hz and tract of a man, a woman or a child."""
    pitch_hz, tract = draw.choice((((85.0, 160.0), (0.9, 1.05)), ((160.0, 270.0), (1.05, 1.25))))
    if draw.chance(0.15):
        pitch_hz, tract = (240.0, 380.0), (1.2, 1.45)
    return draw.log_uniform(*pitch_hz), draw.uniform(*tract)


def speak(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """Speech: syllables of gliding vowels, plosives, fricatives and nasals."""
    pitch_hz, tract = _speaker(draw)
    score, time_s = Score(), 0.0
    lively, rate_per_s = draw.uniform(0.1, 0.5), draw.uniform(3.5, 7.0)
    breath, dip = draw.uniform(0.02, 0.25), draw.uniform(0.0, 0.6)
    while time_s < duration_s:
        length_s = draw.uniform(0.6, 1.5) / rate_per_s
        falling = 1 - 0.15 * time_s / duration_s
        accent = falling * (1 + lively * draw.uniform(-1.0, 1.5))
        loudness = draw.log_uniform(0.2, 1.0)
        time_s = _consonant(draw, score, time_s)
        score.add(time_s, voice=dip * loudness, breath=breath, pitch=pitch_hz * accent)
        score.add(time_s, **vowel(draw))
        score.add(time_s + 0.3 * length_s, voice=loudness, breath=breath)
        for part in draw.choice(((), (0.6,), (0.4, 0.8))):
            score.add(time_s + part * length_s, **vowel(draw))
        bend = draw.uniform(0.7, 1.3)
        score.add(time_s + length_s, voice=dip * loudness, pitch=pitch_hz * accent * bend)
        time_s += length_s
        if draw.chance(0.12) and time_s < 0.8 * duration_s:
            score.add(time_s + 0.02, voice=0.0, breath=0.0)
            time_s += draw.uniform(0.05, 0.14)
            score.add(time_s, voice=0.0, breath=0.0)
    return fade_edges(vocalise(draw, rate_hz, duration_s, score, tract), rate_hz, 0.005, 0.03)


def _consonant(draw: Draw, score: Score, time_s: float) -> float:
    """Writes a consonant; returns its end in seconds."""
    kind = draw.choice(("none", "fricative", "fricative", "plosive", "plosive", "nasal", "glide"))
    if kind == "none":
        return time_s
    length_s = draw.uniform(0.03, 0.12)
    end_s = time_s + length_s
    if kind == "fricative":
        level, voice = draw.uniform(0.15, 0.9), draw.choice((0.0, 0.0, 0.3))
        score.add(time_s, friction=0.0, friction_hz=draw.log_uniform(1800.0, 8000.0))
        score.add(time_s + 0.01, voice=voice, breath=0.0)
        score.add(time_s + 0.4 * length_s, friction=level, voice=voice)
        score.add(end_s, friction=0.0)
    elif kind == "plosive":
        score.add(time_s, friction=0.0, friction_hz=draw.log_uniform(700.0, 5000.0))
        score.add(time_s + 0.01, voice=draw.choice((0.0, 0.1)), breath=0.0, **CLOSED)
        score.add(end_s - 0.012, friction=0.0, voice=0.0)
        score.add(end_s - 0.008, friction=draw.uniform(0.4, 1.2))
        score.add(end_s + 0.01, friction=0.0)
    else:
        level = 0.35 if kind == "nasal" else 0.6
        score.add(time_s + 0.3 * length_s, voice=level, **(CLOSED if kind == "nasal" else {}))
    return end_s


def laugh(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """Laughter: breathy bursts of arching pitch, weaker and lower towards the end."""
    pitch_hz, tract = _speaker(draw)
    pitch_hz *= draw.uniform(1.1, 2.0)
    score, time_s = Score(), 0.0
    interval_s, length = draw.uniform(0.14, 0.28), draw.uniform(0.3, 0.7)
    falling, weaker = draw.uniform(0.5, 1.0), draw.uniform(0.1, 0.8)
    breath, mouth = draw.log_uniform(0.1, 1.2), vowel(draw) if draw.chance(0.5) else OPEN
    while time_s < duration_s:
        part = time_s / duration_s
        pitch = pitch_hz * (1 - (1 - falling) * part) * draw.uniform(0.93, 1.07)
        loudness = (1 - (1 - weaker) * part) * draw.uniform(0.5, 1.0)
        burst_s = interval_s * length * draw.uniform(0.8, 1.3)
        voiced = 0.0 if draw.chance(0.1) else loudness
        score.add(time_s, voice=0.0, breath=0.0, pitch=0.9 * pitch, **mouth)
        score.add(time_s + 0.15 * burst_s, breath=breath * loudness, voice=0.1 * voiced)
        score.add(time_s + 0.45 * burst_s, voice=voiced, pitch=pitch * draw.uniform(1.0, 1.25))
        score.add(time_s + burst_s, voice=0.05, breath=0.4 * breath * loudness, pitch=0.85 * pitch)
        end_s = time_s + max(interval_s * draw.uniform(0.85, 1.2), burst_s + 0.02)
        score.add(min(time_s + burst_s + 0.03, end_s), voice=0.0, breath=0.05 * breath)
        time_s = end_s
    return fade_edges(vocalise(draw, rate_hz, duration_s, score, tract), rate_hz, 0.003, 0.03)


def cough(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """Coughs: explosions of breath, some with a voiced end, in a series that weakens."""
    pitch_hz, tract = _speaker(draw)
    n_coughs = max(round(duration_s / draw.log_uniform(0.11, 0.5)), 1)
    interval_s = duration_s / n_coughs
    score, voiced, weaker = Score(), draw.log_uniform(0.1, 3.0), draw.uniform(0.3, 1.0)
    tail, top = draw.log_uniform(0.05, 0.9), draw.uniform(0.9, 2.2)
    for number in range(n_coughs):
        start_s = number * interval_s + (draw.uniform(0.0, 0.2) * interval_s if number else 0.0)
        loudness = draw.uniform(0.5, 1.0) * (1 - (1 - weaker) * number / n_coughs)
        blow_s = min(draw.log_uniform(0.015, 0.09), 0.4 * interval_s)
        end_s = min(start_s + blow_s + tail * interval_s * 0.6, (number + 0.97) * interval_s)
        pitch = pitch_hz * draw.uniform(1.0, 1.6)
        mouth = {name: value * draw.uniform(0.85, 1.15) for name, value in OPEN.items()}
        score.add(start_s, breath=0.0, voice=0.0, friction=0.0, pitch=pitch, **mouth)
        score.add(start_s, friction_hz=draw.log_uniform(900.0, 4000.0))
        score.add(start_s + 0.004, breath=2.0 * loudness, friction=draw.uniform(0.0, 1.5))
        score.add(start_s + blow_s, breath=loudness, friction=0.1, voice=0.2 * voiced * loudness)
        middle_s = 0.6 * (start_s + blow_s) + 0.4 * end_s
        score.add(middle_s, breath=0.4 * loudness, voice=voiced * loudness * 0.8, pitch=top * pitch)
        score.add(end_s, breath=0.01, voice=0.0, friction=0.0, pitch=0.7 * pitch)
        score.add((number + 0.99) * interval_s, breath=0.01, voice=0.0)
    x = vocalise(draw, rate_hz, duration_s, score, tract, jitter=draw.uniform(0.02, 0.15))
    return fade_edges(x, rate_hz, 0.001, 0.03)


def clear_throat(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """A cleared throat: one or several rough bursts, then a falling hum through the nose."""
    pitch_hz, tract = _speaker(draw)
    score, n_bursts = Score(), draw.choice((1, 1, 2, 3))
    first_s = duration_s * draw.uniform(0.2, 0.45)
    rough = draw.log_uniform(0.1, 2.0)
    for number in range(n_bursts):
        start_s, stop_s = (first_s * (number + k) / n_bursts for k in (0.0, 0.75))
        level = draw.uniform(0.4, 1.0)
        score.add(start_s, voice=0.0, breath=0.0, pitch=pitch_hz * draw.uniform(0.8, 1.1), **OPEN)
        score.add(0.7 * start_s + 0.3 * stop_s, breath=rough * level, voice=0.6 * level)
        score.add(stop_s, breath=0.5 * rough * level, voice=0.3 * level)
        score.add(stop_s + 0.03, breath=0.03, voice=0.0)
    hum_s = first_s + draw.uniform(0.03, 0.09)
    top, mouth = pitch_hz * draw.uniform(1.1, 1.7), vowel(draw)
    score.add(hum_s, voice=0.0, breath=0.05, pitch=pitch_hz * draw.uniform(0.8, 1.3), **mouth)
    peak_s = hum_s + draw.uniform(0.15, 0.45) * (duration_s - hum_s)
    score.add(peak_s, voice=1.0, breath=draw.log_uniform(0.05, 1.5), pitch=top)
    score.add(duration_s, voice=0.1, breath=0.05, pitch=top * draw.uniform(0.4, 0.8), **CLOSED)
    x = vocalise(draw, rate_hz, duration_s, score, tract, jitter=draw.uniform(0.02, 0.12))
    return fade_edges(x, rate_hz, 0.003, 0.03)

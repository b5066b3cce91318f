"""Animals. Each recipe fills its duration without a pause of 150 ms, float32 (samples,)."""

import numpy as np

from common.simulation.random_streams import Draw
from common.simulation.sounds.synthesis import (
    add_at,
    fade_edges,
    glottal_pulses,
    resonate,
    silence,
    to_unit_peak,
)

BARK_BANDWIDTHS_HZ = (200.0, 250.0, 300.0)
MEOW_BANDWIDTHS_HZ = (120.0, 200.0, 300.0)


def bark(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """Barks: short, rough arches of pitch through a vocal tract."""
    x = silence(duration_s, rate_hz)
    pitch_hz, tract = draw.log_uniform(250.0, 800.0), draw.uniform(0.8, 1.4)
    n_barks = max(round(duration_s / draw.uniform(0.2, 0.38)), 1)
    interval_s = duration_s / n_barks
    pause_s = min(draw.uniform(0.02, 0.08), 0.2 * interval_s) if n_barks > 1 else 0.0
    bark_s = (duration_s - (n_barks - 1) * pause_s) / n_barks
    for number in range(n_barks):
        part = np.linspace(0, 1, max(round(bark_s * rate_hz), 2))
        contour_hz = pitch_hz * draw.uniform(0.9, 1.1) * (1 + 0.5 * np.sin(np.pi * part))
        pulses = glottal_pulses(draw, contour_hz, rate_hz, 0.05, draw.uniform(0.3, 1.0))
        formants_hz = [tract * formant for formant in (700.0, 1400.0, 2600.0)]
        sound = resonate(pulses, rate_hz, formants_hz, BARK_BANDWIDTHS_HZ)
        sound = sound * np.sin(np.pi * np.sqrt(part)) ** 0.7
        add_at(x, to_unit_peak(sound), number * (bark_s + pause_s), rate_hz, draw.uniform(0.7, 1.0))
    return x


def meow(draw: Draw, rate_hz: int, duration_s: float) -> np.ndarray:
    """Meows: an arch of pitch while the mouth opens and closes."""
    x = silence(duration_s, rate_hz)
    pitch_hz, bend = draw.log_uniform(380.0, 900.0), draw.uniform(0.5, 1.0)
    n_calls = max(round(duration_s / draw.uniform(0.8, 1.6)), 1)
    call_s = duration_s / n_calls
    for number in range(n_calls):
        part = np.linspace(0, 1, max(round(call_s * rate_hz), 2))
        contour_hz = pitch_hz * draw.uniform(0.93, 1.07) * (0.8 + 0.35 * np.sin(np.pi * part**bend))
        pulses = glottal_pulses(draw, contour_hz, rate_hz, 0.01, 0.05)
        shut = resonate(pulses, rate_hz, (900.0, 1700.0, 3200.0), MEOW_BANDWIDTHS_HZ)
        wide = resonate(pulses, rate_hz, (1300.0, 2300.0, 3800.0), MEOW_BANDWIDTHS_HZ)
        opening = np.sin(np.pi * part).astype(np.float32)
        mixed = (1 - opening) * shut + opening * wide
        call = fade_edges(mixed, rate_hz, 0.1 * call_s, 0.2 * call_s)
        add_at(x, to_unit_peak(call), number * call_s, rate_hz, draw.uniform(0.7, 1.0))
    return x

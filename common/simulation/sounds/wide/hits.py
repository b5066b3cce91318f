"""Blows of dense, broadband sound, whose octaves decay at rates of their own.

Real objects ring in so many modes that single ones are not heard: a blow is noise that decays,
high frequencies before low ones.
"""

from dataclasses import dataclass

import numpy as np
from scipy import fft

from common.simulation.random_streams import Draw
from common.simulation.sounds.synthesis import add_at, damped_modes, time_axis, to_unit_peak

# Of hard and small things: damping and attack.
CRISP = {"damping": (0.85, 1.0), "attack_s": (0.00005, 0.0005)}
OCTAVES_HZ = 62.5 * 2.0 ** np.arange(9)  # up to 16 kHz


@dataclass(frozen=True)
class Material:
    """Material that is struck.

    Attributes:
        levels_db: level of each octave of `OCTAVES_HZ`.
        decays_s: time of decay by 60 dB of each.
        attack_s: time from nothing to the full level.
    """

    levels_db: np.ndarray
    decays_s: np.ndarray
    attack_s: float = 0.001

    def varied(self, draw: Draw, spread_db: float) -> "Material":
        """The same, struck at another place: each octave differs by up to `spread_db`."""
        change_db = draw.uniforms(-spread_db, spread_db, len(OCTAVES_HZ))
        decays_s = self.decays_s * draw.uniforms(0.8, 1.25, len(OCTAVES_HZ))
        return Material(self.levels_db + change_db, decays_s, self.attack_s)


def draw_material(
    draw: Draw,
    corner_hz: tuple[float, float],
    slope_db: tuple[float, float],
    decay_s: tuple[float, float],
    below_db: tuple[float, float] = (-6.0, 3.0),
    damping: tuple[float, float] = (0.65, 0.95),
    attack_s: tuple[float, float] = (0.0003, 0.004),
) -> Material:
    """Draws what is struck.

    Args:
        draw: source of everything random.
        corner_hz: range of the frequency at which the spectrum turns.
        slope_db: range of the change of level in an octave above it.
        decay_s: range of the time of decay at the lowest octave; high ones decay in a part of it.
        below_db: range of the change of level in an octave towards low frequencies.
        damping: range of the time of decay of an octave as a part of that below.
        attack_s: range of the time to the full level.
    """
    octaves = np.log2(OCTAVES_HZ / draw.log_uniform(*corner_hz))
    rising_db, falling_db = draw.uniform(*below_db), draw.uniform(*slope_db)
    levels_db = np.where(octaves > 0, falling_db * octaves, -rising_db * octaves)
    levels_db = levels_db + draw.uniforms(-5.0, 5.0, len(OCTAVES_HZ))
    decays_s = draw.log_uniform(*decay_s) * draw.uniform(*damping) ** np.arange(len(OCTAVES_HZ))
    return Material(levels_db, decays_s, draw.log_uniform(*attack_s))


def hit(draw: Draw, rate_hz: int, material: Material, duration_s: float) -> np.ndarray:
    """One blow, peak 1, float32 (samples,)."""
    n = max(round(duration_s * rate_hz), 2)
    spectrum, frequencies_hz = fft.rfft(draw.noise(n)), fft.rfftfreq(n, 1 / rate_hz)
    octaves = np.log2(np.maximum(frequencies_hz, 20.0))
    t = time_axis(n, rate_hz).astype(np.float32)
    x = np.zeros(n, np.float32)
    parts = zip(OCTAVES_HZ, material.levels_db, material.decays_s, strict=True)
    for centre_hz, level_db, decay_s in parts:
        if centre_hz < 0.5 * rate_hz:
            window = np.maximum(1 - np.abs(octaves - np.log2(centre_hz)), 0.0)
            part = fft.irfft(spectrum * window.astype(np.float32), n)
            # Equal power of the octaves: noise has twice as much in each as in the one below.
            gain = 10 ** (level_db / 20) * np.sqrt(OCTAVES_HZ[0] / centre_hz)
            x += np.float32(gain) * part * np.exp(np.float32(-6.9 / max(decay_s, 1e-3)) * t)
    return to_unit_peak(x * np.minimum(t / np.float32(material.attack_s), 1.0))


def ring(
    draw: Draw, rate_hz: int, duration_s: float, n_modes: int, range_hz: tuple[float, float]
) -> np.ndarray:
    """Ringing of a small hard object: modes anywhere in a range, peak 1, float32 (samples,)."""
    n = max(round(duration_s * rate_hz), 2)
    modes_hz = draw.log_uniforms(*range_hz, n_modes)
    decays_s = draw.log_uniforms(0.02, duration_s + 0.03, n_modes)
    gains = draw.uniforms(0.1, 1.0, n_modes)
    return to_unit_peak(damped_modes(draw, n, rate_hz, modes_hz, decays_s, gains))


def scattered(
    draw: Draw,
    x: np.ndarray,
    rate_hz: int,
    sounds: list[np.ndarray],
    times_s: np.ndarray,
    gains: np.ndarray,
) -> None:
    """Adds one of some sounds at each time in place."""
    for time_s, gain in zip(times_s, gains, strict=True):
        add_at(x, draw.choice(sounds), float(time_s), rate_hz, float(gain))

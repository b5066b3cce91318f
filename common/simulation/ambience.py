"""Ambience of a room: a seamless loop of diffuse noise with voices, hum, clinks or steps."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import fft

from common.simulation.random_streams import Draw
from common.simulation.receivers import (
    Receiver,
    first_order_gains,
    rigid_sphere_response,
    unit_vectors,
)
from common.simulation.sounds.impacts import clink, footstep
from common.simulation.sounds.synthesis import add_at, fade_edges, silence, time_axis
from common.simulation.sounds.voices import speech

N_NOISE_DIRECTIONS = 24
EXTRA_LEVEL_DB = -6.0  # of all voices, clinks, steps or hum together, against the noise
RESPONSE_BINS = 257  # frequencies of the response of the sphere, which is interpolated
MAX_LOOP_SAMPLES = 2**20
DIFFUSION_S = 0.05  # length of the bursts that make a mono recording diffuse

Extra = Literal["babble", "hum", "clinks", "steps"]
Placed = tuple[np.ndarray, np.ndarray]  # signal (n,) and direction (3,)


@dataclass(frozen=True)
class Ambience:
    """Background sounds of a room.

    Attributes:
        noise_slope: power of the noise is 1 / f^slope (1: pink, 2: brown).
        extras: further sounds.
    """

    noise_slope: float
    extras: tuple[Extra, ...] = ()


def loop_length(n_samples: int) -> int:
    """Length of a loop for recordings of `n_samples`: a power of two, at most 21.8 s at 48 kHz."""
    return min(1 << max(n_samples - 1, 1).bit_length(), MAX_LOOP_SAMPLES)


def render_loop(
    ambience: Ambience, receiver: Receiver, draw: Draw, rate_hz: int, n_samples: int
) -> np.ndarray:
    """Renders ambience that repeats without a seam.

    Args:
        ambience: noise and further sounds.
        receiver: the channels.
        draw: source of everything random.
        rate_hz: sample rate.
        n_samples: length of the loop.

    Returns:
        float32 (channels, n_samples), W (channel 0) of unit power.
    """
    spectra = np.zeros((receiver.n_channels, n_samples // 2 + 1), np.complex64)
    directions = _spread_directions(draw, N_NOISE_DIRECTIONS)
    whites = (draw.noise(2 * spectra.shape[1]).view(np.complex64) for _ in directions)
    _add_sources(spectra, whites, directions, receiver, rate_hz)
    spectra *= _noise_shape(spectra.shape[1], rate_hz, ambience.noise_slope)
    noise_power = _mean_power(spectra[0], n_samples)
    for extra in ambience.extras:
        placed = EXTRAS[extra](draw, rate_hz, n_samples)
        power = sum(float(np.mean(np.square(signal, dtype=np.float64))) for signal, _ in placed)
        gain = np.float32(np.sqrt(noise_power / max(power, 1e-12)) * 10 ** (EXTRA_LEVEL_DB / 20))
        sources = (fft.rfft(signal.astype(np.float32) * gain) for signal, _ in placed)
        _add_sources(
            spectra, sources, np.stack([direction for _, direction in placed]), receiver, rate_hz
        )
    spectra /= np.sqrt(_mean_power(spectra[0], n_samples))
    # Channel by channel: rounding in one must not depend on the others.
    return np.stack([fft.irfft(spectrum, n_samples) for spectrum in spectra])


def render_background(
    recording: np.ndarray, receiver: Receiver, draw: Draw, rate_hz: int, n_samples: int
) -> np.ndarray:
    """Renders a mono recording as a diffuse background that repeats.

    From each of many directions it comes through another short burst of noise, which keeps its
    spectrum and times but makes the directions incoherent.

    Args:
        recording: float32 (samples,), repeated or cut to the loop.
        receiver: the channels.
        draw: source of everything random.
        rate_hz: sample rate.
        n_samples: length of the loop.

    Returns:
        float32 (channels, n_samples), W (channel 0) of unit power.
    """
    spectra = np.zeros((receiver.n_channels, n_samples // 2 + 1), np.complex64)
    directions = _spread_directions(draw, N_NOISE_DIRECTIONS)
    spectrum = fft.rfft(np.resize(recording, n_samples).astype(np.float32))
    n_burst = min(round(DIFFUSION_S * rate_hz), n_samples)
    decay = np.exp(np.float32(-5 / n_burst) * np.arange(n_burst, dtype=np.float32))
    bursts = (draw.noise(n_burst) * decay for _ in directions)
    sources = (spectrum * fft.rfft(burst, n_samples) for burst in bursts)
    _add_sources(spectra, sources, directions, receiver, rate_hz)
    spectra /= np.sqrt(max(_mean_power(spectra[0], n_samples), 1e-20))
    return np.stack([fft.irfft(each, n_samples) for each in spectra])


def _add_sources(
    spectra: np.ndarray,
    sources: Iterable[np.ndarray],
    directions: np.ndarray,
    receiver: Receiver,
    rate_hz: int,
) -> None:
    """Adds plane waves of spectra `sources` (bins,) from `directions` (n, 3) in place."""
    grid_hz = np.linspace(0, rate_hz / 2, RESPONSE_BINS)
    fine_hz = np.linspace(0, rate_hz / 2, spectra.shape[1])
    gains = first_order_gains(directions, receiver.norm)[
        : 1 + receiver.n_dipoles
    ].T  # (n, 1 + dipoles)
    microphones = receiver.array.directions[: receiver.n_microphones]
    cosines = (directions @ microphones.T).ravel()
    responses = rigid_sphere_response(grid_hz, cosines, receiver.array.radius_m)
    responses = responses.reshape(len(directions), len(microphones), RESPONSE_BINS)
    for source, source_gains, source_responses in zip(sources, gains, responses, strict=True):
        for spectrum, gain in zip(spectra, source_gains, strict=False):
            spectrum += np.complex64(gain) * source
        for spectrum, response in zip(
            spectra[1 + receiver.n_dipoles :], source_responses, strict=True
        ):
            spectrum += source * np.interp(fine_hz, grid_hz, response).astype(np.complex64)


def _mean_power(spectrum: np.ndarray, n_samples: int) -> float:
    """Computes the mean square of the signal from its one-sided spectrum."""
    energy = np.square(np.abs(spectrum), dtype=np.float64)
    return float(2 * energy.sum() - energy[0] - energy[-1]) / n_samples**2


def _noise_shape(n_bins: int, rate_hz: int, slope: float) -> np.ndarray:
    """Magnitude of noise with power 1 / f^slope above 30 Hz, 0 at 0 Hz, float32 (n_bins,)."""
    shape = np.maximum(np.linspace(0, rate_hz / 2, n_bins), 30.0) ** (-slope / 2)
    shape[[0, -1]] = 0.0
    return shape.astype(np.float32)


def _spread_directions(draw: Draw, n: int) -> np.ndarray:
    """Draws unit vectors that cover the sphere, (n, 3): a Fibonacci spiral, turned at random."""
    heights = 1 - (2 * np.arange(n) + 1) / n
    azimuths_deg = np.arange(n) * 180 * (3 - np.sqrt(5)) + draw.rng.uniform(0, 360)
    return unit_vectors(azimuths_deg, np.rad2deg(np.arcsin(heights)))


def _direction(draw: Draw, lowest_deg: float = -20.0, highest_deg: float = 20.0) -> np.ndarray:
    return unit_vectors(draw.rng.uniform(-180, 180), draw.rng.uniform(lowest_deg, highest_deg))


def _scatter(
    draw: Draw, sounds: list[np.ndarray], rate_hz: int, n_samples: int, gap_s: tuple[float, float]
) -> np.ndarray:
    """Fills a loop with sounds in random order and gaps; the last one fades out."""
    x = np.zeros(n_samples, np.float32)
    time_s = draw.uniform(0.0, gap_s[1])
    while time_s < n_samples / rate_hz:
        sound = draw.choice(sounds)
        add_at(x, sound, time_s, rate_hz, draw.uniform(0.4, 1.0))
        time_s += len(sound) / rate_hz + draw.uniform(*gap_s)
    return fade_edges(x, rate_hz, 0.01)


def _babble(draw: Draw, rate_hz: int, n_samples: int) -> list[Placed]:
    """Speech of 6 to 10 people around the receiver."""
    phrases = [speech(draw, rate_hz, draw.uniform(1.0, 3.0)) for _ in range(16)]
    return [
        (_scatter(draw, phrases, rate_hz, n_samples, (0.2, 1.0)), _direction(draw))
        for _ in range(draw.count(6, 10))
    ]


def _hum(draw: Draw, rate_hz: int, n_samples: int) -> list[Placed]:
    """Hum of lamps and transformers at the harmonics of the mains."""
    t = time_axis(n_samples, rate_hz)
    placed = []
    for _ in range(3):
        x = silence(n_samples / rate_hz, rate_hz)
        for harmonic in range(1, 13):
            # Whole periods: the loop has no seam.
            whole_periods = round(50 * harmonic * n_samples / rate_hz)
            phase = 2 * np.pi * (whole_periods * rate_hz / n_samples * t + draw.rng.uniform())
            x += np.float32(draw.uniform(0.3, 1.0) / harmonic) * np.sin(phase).astype(np.float32)
        placed.append((x, _direction(draw, 20.0, 70.0)))
    return placed


def _clinks(draw: Draw, rate_hz: int, n_samples: int) -> list[Placed]:
    """Cups and plates at a few tables."""
    sounds = [clink(draw, rate_hz) for _ in range(12)]
    return [
        (_scatter(draw, sounds, rate_hz, n_samples, (0.2, 3.0)), _direction(draw)) for _ in range(5)
    ]


def _steps(draw: Draw, rate_hz: int, n_samples: int) -> list[Placed]:
    """Steps of 2 to 4 people, 1.5 to 2.2 a second, each from three directions."""
    placed = []
    for _ in range(draw.count(2, 4)):
        sounds = [footstep(draw, rate_hz) for _ in range(6)]
        walk = _scatter(draw, sounds, rate_hz, n_samples, (0.27, 0.45))
        start_deg, pace_deg = draw.rng.uniform(-180, 180), draw.rng.uniform(-60, 60)
        for number, part in enumerate(np.array_split(np.arange(n_samples), 3)):
            stretch = np.zeros(n_samples, np.float32)
            stretch[part] = fade_edges(walk[part], rate_hz, 0.2)
            placed.append((stretch, unit_vectors(start_deg + number * pace_deg, -30.0)))
    return placed


EXTRAS: Mapping[Extra, Callable[[Draw, int, int], list[Placed]]] = {
    "babble": _babble,
    "hum": _hum,
    "clinks": _clinks,
    "steps": _steps,
}

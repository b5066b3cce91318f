"""Mono backgrounds, and the effects of room and microphone on a recording."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from scipy import fft, signal

from common.simulation.ambience import EXTRAS
from common.simulation.random_streams import Draw
from common.simulation.sounds import Recipes
from common.simulation.sounds.synthesis import time_axis, to_unit_rms
from common.simulation.sounds.wide.surroundings import surroundings

LoopKind = Literal["babble", "steps"]
LOOP_KINDS: tuple[LoopKind, ...] = ("babble", "steps")
NOISE_SLOPES = (0.6, 1.8)  # power is 1 / f^slope: near white to near brown
N_HUM_HARMONICS = 4
HUM_CHANCE = 0.5
LOOP_CHANCE = 0.4  # of a loop of voices or steps under the noise
MIN_HZ = 30.0


def noise_floor(draw: Draw, n: int, rate_hz: int) -> np.ndarray:
    """Makes steady noise of a random spectral slope, unit RMS, float32 (n,)."""
    n_fft = fft.next_fast_len(n, real=True)
    frequencies_hz = fft.rfftfreq(n_fft, 1 / rate_hz).astype(np.float32)
    shape = np.maximum(frequencies_hz, np.float32(MIN_HZ)) ** np.float32(
        -draw.uniform(*NOISE_SLOPES) / 2
    )
    return to_unit_rms(fft.irfft(fft.rfft(draw.noise(n_fft)) * shape, n_fft)[:n])


def mains_hum(draw: Draw, n: int, rate_hz: int) -> np.ndarray:
    """Makes the hum of the mains at 50 or 60 Hz and harmonics, unit RMS, float32 (n,)."""
    cycles = (draw.choice((50.0, 60.0)) * time_axis(n, rate_hz) + draw.rng.uniform()) % 1.0
    turn = np.exp(np.complex64(2j * np.pi) * cycles.astype(np.float32))
    total = np.zeros(n, np.complex64)
    for harmonic in range(N_HUM_HARMONICS, 0, -1):
        total += np.complex64(
            draw.uniform(0.3, 1.0) / harmonic * np.exp(2j * np.pi * draw.rng.uniform())
        )
        total *= turn
    return to_unit_rms(total.real)


def background_loop(kind: LoopKind, draw: Draw, rate_hz: int, n: int) -> np.ndarray:
    """Makes a seamless mono loop of people talking or walking, unit RMS, float32 (n,)."""
    return to_unit_rms(np.sum([sound for sound, _ in EXTRAS[kind](draw, rate_hz, n)], axis=0))


def mono_background(
    draw: Draw, n: int, rate_hz: int, loops: Sequence[np.ndarray] = (), recipes: Recipes = "plain"
) -> np.ndarray:
    """Makes the background of a recording: noise, often with hum or a loop.

    Args:
        draw: source of everything random.
        n: length in samples.
        rate_hz: sample rate.
        loops: unit RMS, (loop samples,) each; one may be added 3 to 15 dB below the noise.
        recipes: wide: noise of any spectrum that swells and fades, and what happens in it.

    Returns:
        float32 (n,), unit RMS.
    """
    x = (noise_floor if recipes == "plain" else surroundings)(draw, n, rate_hz)
    if draw.chance(HUM_CHANCE):
        x += np.float32(10 ** (draw.uniform(-18.0, -3.0) / 20)) * mains_hum(draw, n, rate_hz)
    if loops and draw.chance(LOOP_CHANCE):
        loop = draw.choice(loops)
        gain = np.float32(10 ** (draw.uniform(-15.0, -3.0) / 20))
        x += gain * repeat_from(loop, int(draw.rng.integers(len(loop))), n)
    return to_unit_rms(x)


def repeat_from(loop: np.ndarray, start: int, n: int) -> np.ndarray:
    """Reads `n` samples of a repeated loop from `start` on."""
    return np.resize(np.roll(loop, -start), n)


def room_response(
    draw: Draw, rate_hz: int, decay_s: tuple[float, float], direct_db: tuple[float, float]
) -> np.ndarray:
    """Draws the mono impulse response of a room: direct sound and exponentially decaying tail.

    Args:
        draw: source of everything random.
        rate_hz: sample rate.
        decay_s: range of the reverberation time (60 dB).
        direct_db: range of the direct-to-reverberant ratio.

    Returns:
        float32 (samples,), energy 1, the direct sound first.
    """
    reverberation_s = draw.uniform(*decay_s)
    n = round(0.8 * reverberation_s * rate_hz)  # down to -48 dB
    tail = draw.noise(n) * np.exp(
        np.float32(-np.log(1000) / reverberation_s) * time_axis(n, rate_hz)
    )
    # Walls and air absorb high frequencies most.
    tail = signal.lfilter([0.5], [1.0, -0.5], tail)
    tail[: round(draw.uniform(0.001, 0.008) * rate_hz)] = 0.0
    direct_energy = 10 ** (draw.uniform(*direct_db) / 10)
    response = tail / np.sqrt(np.sum(tail**2))
    response[0] = np.sqrt(direct_energy)
    return (response / np.sqrt(1 + direct_energy)).astype(np.float32)


def reverberate(x: np.ndarray, response: np.ndarray) -> np.ndarray:
    """Convolves a recording with a room response, cut to the length of `x`, float32."""
    n_fft = fft.next_fast_len(len(x) + len(response) - 1, real=True)
    return fft.irfft(fft.rfft(x, n_fft) * fft.rfft(response, n_fft), n_fft)[: len(x)].astype(
        np.float32
    )


def tilt(x: np.ndarray, tilt_db: float) -> np.ndarray:
    """Raises high against low frequencies by `tilt_db` with a one-pole shelf."""
    ratio = 10 ** (abs(tilt_db) / 20)
    zero = (ratio - 1) / (ratio + 1)
    b, a = ([1.0, -zero], [1.0]) if tilt_db > 0 else ([1.0 - zero], [1.0, -zero])
    return signal.lfilter(np.array(b, np.float32), np.array(a, np.float32), x).astype(np.float32)

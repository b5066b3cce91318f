"""Changes of a sound by its recording: room, microphone, level, codec and noise."""

import numpy as np
from scipy import fft, signal

from common.simulation.random_streams import Draw
from common.simulation.sounds.synthesis import coloured_noise, rms, to_unit_peak
from common.simulation.sounds.wide.hits import OCTAVES_HZ, Material, hit

ROOM_CHANCE, CODEC_CHANCE, OVERLOAD_CHANCE = 0.7, 0.3, 0.15
EQUALISER_KNOTS = 8


def recorded(draw: Draw, x: np.ndarray, rate_hz: int) -> np.ndarray:
    """Records a sound in a small room with a microphone of its own.

    Args:
        draw: source of everything random.
        x: float32 (samples,), peak 1.
        rate_hz: sample rate.

    Returns:
        float32, as long, peak 1.
    """
    if draw.chance(ROOM_CHANCE):
        x = _in_a_room(draw, x, rate_hz)
    x = equalised(draw, x, rate_hz)
    if draw.chance(OVERLOAD_CHANCE):
        drive = np.float32(draw.log_uniform(1.0, 6.0))
        x = np.tanh(drive * to_unit_peak(x))
    if draw.chance(CODEC_CHANCE):
        x = _coded(draw, x, rate_hz)
    noise = coloured_noise(draw, len(x), rate_hz, draw.uniform(0.0, 2.0))
    level = rms(x) * 10 ** (draw.uniform(-60.0, -22.0) / 20)
    return to_unit_peak(x + np.float32(level) * noise)


def _in_a_room(draw: Draw, x: np.ndarray, rate_hz: int) -> np.ndarray:
    """Adds reflections, dense from the first on."""
    decay_s = draw.log_uniform(0.1, 0.8)
    decays_s = decay_s * draw.uniform(0.7, 1.0) ** np.arange(len(OCTAVES_HZ))
    tail = hit(draw, rate_hz, Material(np.zeros(len(OCTAVES_HZ)), decays_s, 0.003), 0.7 * decay_s)
    tail *= np.float32(10 ** (draw.uniform(-22.0, -2.0) / 20) / max(rms(tail), 1e-9))
    tail /= np.float32(np.sqrt(len(tail)))  # energy of the reflections against the direct sound
    return x + signal.oaconvolve(x, tail)[: len(x)].astype(np.float32)


def equalised(draw: Draw, x: np.ndarray, rate_hz: int) -> np.ndarray:
    """Changes the spectrum by a smooth curve of up to 10 dB, and cuts one or both ends."""
    n = fft.next_fast_len(len(x), real=True)
    octaves = np.log2(np.maximum(fft.rfftfreq(n, 1 / rate_hz), 20.0))
    knots = np.linspace(np.log2(40.0), np.log2(0.5 * rate_hz), EQUALISER_KNOTS)
    gains_db = np.interp(octaves, knots, draw.uniforms(-10.0, 10.0, EQUALISER_KNOTS))
    low = np.log2(draw.log_uniform(20.0, 250.0))
    gains_db -= draw.uniform(6.0, 24.0) * np.maximum(low - octaves, 0.0)
    if draw.chance(0.4):
        high = np.log2(draw.log_uniform(3500.0, 20000.0))
        gains_db -= draw.uniform(12.0, 60.0) * np.maximum(octaves - high, 0.0)
    return fft.irfft(fft.rfft(x, n) * 10 ** (gains_db / 20), n)[: len(x)].astype(np.float32)


def _coded(draw: Draw, x: np.ndarray, rate_hz: int) -> np.ndarray:
    """Leaves out what a lossy codec would: bins far below their frame's loudest, and the top."""
    size = min(1024, len(x))
    frequencies_hz, _, spectra = signal.stft(x, rate_hz, nperseg=size)
    magnitudes = np.abs(spectra)
    floor_db = draw.uniform(-60.0, -30.0)
    kept = magnitudes > magnitudes.max(axis=0, keepdims=True) * 10 ** (floor_db / 20)
    kept &= (frequencies_hz < draw.log_uniform(5000.0, 18000.0))[:, None]
    _, y = signal.istft(np.where(kept, spectra, 0), rate_hz, nperseg=size)
    return np.pad(y, (0, max(len(x) - len(y), 0)))[: len(x)].astype(np.float32)

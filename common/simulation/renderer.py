"""Impulse responses of rooms for all channels of a receiver: sums of short filters of a table.

The table has one filter per number of wall hits, angle of incidence and phase: it joins wall
absorption, scattering by the sphere and fractional delay, which cost nothing at run time.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import fft

from common.simulation.receivers import Receiver, first_order_gains, rigid_sphere_response
from common.simulation.rooms import Reflections, Room

ORDER_BINS = (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48)  # wall hits for which filters are stored
N_PHASES = 32  # steps of the delay within a sample
N_TAPS = 64
FILTER_DELAY = 24  # samples, of every filter of the table
ANGLE_STEP_DEG = 1.0
FFT_LENGTH = 512
EDGE_TAPS = 8
PASSBAND_PART = 5 / 6  # of the Nyquist frequency (20 kHz at 48 kHz), where the gain is 0


@dataclass(frozen=True)
class FilterTable:
    """Filters of one room and receiver.

    Attributes:
        receiver: the channels.
        rate_hz: sample rate.
        order_bins: numbers of wall hits, (B,).
        plain: filters without a sphere, for W and the dipoles, float32 (B, phases, taps).
        sphere: filters for the microphones by angle of incidence, float32 (B, angles, phases,
            taps); None without.
    """

    receiver: Receiver
    rate_hz: int
    order_bins: np.ndarray
    plain: np.ndarray
    sphere: np.ndarray | None


@lru_cache(maxsize=8)
def build_filter_table(room: Room | None, receiver: Receiver, rate_hz: int) -> FilterTable:
    """Computes the filters.

    Args:
        room: absorption of its walls by frequency; None: none, a table of a twelfth of the size.
        receiver: the sphere, for the mic format.
        rate_hz: sample rate.

    Returns:
        Table of 18 MB with walls of a room and sphere, in about 0.3 s.
    """
    frequencies_hz = fft.rfftfreq(FFT_LENGTH, 1 / rate_hz)
    colours = wall_colours(room, frequencies_hz) * _low_pass(frequencies_hz, rate_hz)  # (B, F)
    plain = _filters(colours[:, None, :], rate_hz)
    sphere = None
    if receiver.n_microphones:
        angles_deg = np.arange(0, 180 + ANGLE_STEP_DEG / 2, ANGLE_STEP_DEG)
        response = rigid_sphere_response(
            frequencies_hz, np.cos(np.deg2rad(angles_deg)), receiver.array.radius_m
        )
        sphere = np.stack([_filters(response[:, None, :] * colour, rate_hz) for colour in colours])
    bins = np.array(ORDER_BINS if room else ORDER_BINS[:1], float)
    return FilterTable(receiver, rate_hz, bins, plain, sphere)


def wall_colours(room: Room | None, frequencies_hz: np.ndarray) -> np.ndarray:
    """Gain of wall hits at each frequency relative to low ones, (B, F); (1, F) without a room."""
    if room is None:
        return np.ones((1, len(frequencies_hz)))
    relative = room.reflection_factor(frequencies_hz) / room.low_reflection_factor
    return relative ** np.array(ORDER_BINS)[:, None]


def _low_pass(frequencies_hz: np.ndarray, rate_hz: int) -> np.ndarray:
    part = np.clip((frequencies_hz / (rate_hz / 2) - PASSBAND_PART) / (1 - PASSBAND_PART), 0, 1)
    return 0.5 * (1 + np.cos(np.pi * part))


def _filters(spectra: np.ndarray, rate_hz: int) -> np.ndarray:
    """Converts spectra (..., 1, F) to filters of each phase, float32 (..., phases, taps)."""
    frequencies_hz = fft.rfftfreq(FFT_LENGTH, 1 / rate_hz)
    delays = FILTER_DELAY + np.arange(N_PHASES) / N_PHASES  # (phases,) samples
    shifts = np.exp(-2j * np.pi * delays[:, None] * frequencies_hz / rate_hz)  # (phases, F)
    edge = 0.5 - 0.5 * np.cos(np.pi * np.arange(EDGE_TAPS) / EDGE_TAPS)
    window = np.concatenate([edge, np.ones(N_TAPS - 2 * EDGE_TAPS), edge[::-1]])
    return (fft.irfft(spectra * shifts, FFT_LENGTH)[..., :N_TAPS] * window).astype(np.float32)


def render_impulse_responses(reflections: Reflections, table: FilterTable) -> np.ndarray:
    """Adds up the filters of all reflections.

    Args:
        reflections: plane waves at the receiver.
        table: filters of the room.

    Returns:
        float32 (channels, samples) up to the last reflection, `FILTER_DELAY` samples late.
    """
    receiver = table.receiver
    delays = reflections.delays_s * table.rate_hz  # (n,) samples
    starts = np.floor(delays).astype(np.int64)
    phases = np.minimum(((delays - starts) * N_PHASES + 0.5).astype(np.int64), N_PHASES - 1)
    bins = _nearest_bins(reflections.orders, table.order_bins)
    n_samples = int(starts.max()) + N_TAPS
    taps = (starts[:, None] + np.arange(N_TAPS)).ravel()  # (n * taps,) sample of each tap

    def gather(weights: np.ndarray, filters: np.ndarray) -> np.ndarray:
        return np.bincount(taps, (weights[:, None] * filters).ravel(), n_samples).astype(np.float32)

    plain = table.plain[bins, phases]  # (n, taps)
    gains = first_order_gains(reflections.directions, receiver.norm)[: 1 + receiver.n_dipoles]
    channels = [gather(reflections.amplitudes * gain, plain) for gain in gains]
    if receiver.n_microphones and table.sphere is not None:
        cosines = np.clip(reflections.directions @ receiver.array.directions.T, -1, 1)  # (n, M)
        angles = np.rint(np.rad2deg(np.arccos(cosines)) / ANGLE_STEP_DEG).astype(np.int64)
        for angle in angles.T:
            channels.append(gather(reflections.amplitudes, table.sphere[bins, angle, phases]))
    return np.stack(channels)


def convolve(dry: np.ndarray, responses: np.ndarray) -> Iterator[np.ndarray]:
    """Convolves a sound (samples,) with the response of each channel, (channels, taps)."""
    n_wet = len(dry) + responses.shape[1] - 1
    n_fft = fft.next_fast_len(n_wet, real=True)
    spectrum = fft.rfft(dry, n_fft)
    for response in responses:
        product = fft.rfft(response, n_fft)
        product *= spectrum
        yield fft.irfft(product, n_fft, overwrite_x=True)[:n_wet]


def _nearest_bins(orders: np.ndarray, order_bins: np.ndarray) -> np.ndarray:
    return np.searchsorted((order_bins[1:] + order_bins[:-1]) / 2, orders)

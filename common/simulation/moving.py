"""Sounds of moving sources: room responses along the path, cross-faded.

The sound is cut into windows that overlap by half and sum to one; each window passes through the
early response of the position at its centre. Late reverberation is the same all along the path.

A trajectory is where a sound is heard to come from at each time: at the receiver, the direct sound
has the direction, level and delay of that very moment. When the distance changes, the sound is
first delayed by the time that the change of the direct path takes (the Doppler effect): responses
of different delays would cancel each other where they are cross-faded.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy import fft
from scipy.ndimage import map_coordinates

from common.simulation.receivers import SOUND_SPEED_M_S
from common.simulation.renderer import FilterTable, convolve, render_impulse_responses
from common.simulation.rooms import Reflections
from common.simulation.trajectories import Trajectory

STEP_DEG = 2.0  # angle between two responses
LONGEST_HOP_S = 0.1
LONGER_S = 0.03  # of a sound on a straight path, which may become 10 m longer
SPLINE_ORDER = 5
Reflect = Callable[[np.ndarray], Reflections]


@dataclass(frozen=True)
class MovingResponses:
    """Responses of a room along a path.

    Attributes:
        trajectory: the path; time 0 is the start of the sound.
        rate_hz: sample rate.
        hop_samples: samples of the sound between two responses.
        early: responses by position, the delay of the direct sound always that of the start,
            float32 (points, channels, taps).
        late: reverberation of all positions, float32 (channels, taps).
    """

    trajectory: Trajectory
    rate_hz: int
    hop_samples: int
    early: np.ndarray
    late: np.ndarray

    def convolve(self, dry: np.ndarray) -> Iterator[np.ndarray]:
        """Renders the channels of a sound one by one, float32 (samples,) -> (wet samples,)."""
        sound = self._delayed(dry)
        n_points, _, n_taps = self.early.shape
        hop = self.hop_samples
        padded = np.zeros((n_points + 1) * hop, np.float32)
        padded[hop : hop + len(sound)] = sound[: n_points * hop]
        frames = np.lib.stride_tricks.sliding_window_view(padded, 2 * hop)[::hop]
        window = (0.5 - 0.5 * np.cos(np.pi * np.arange(2 * hop) / hop)).astype(np.float32)
        n_fft = fft.next_fast_len(2 * hop + n_taps - 1, real=True)
        spectra = fft.rfft(frames * window, n_fft)  # (points, bins)
        n_wet = len(padded) + max(n_taps, self.late.shape[1])
        tails = convolve(sound, self.late)
        for early in self.early.transpose(1, 0, 2):
            wet = np.zeros(hop + n_wet + n_fft, np.float32)
            # Channel by channel: rounding in one must not depend on the others.
            products = fft.rfft(early, n_fft)
            products *= spectra
            for start, part in enumerate(fft.irfft(products, n_fft, overwrite_x=True)):
                wet[start * hop : start * hop + n_fft] += part
            wet = wet[hop : hop + n_wet]
            tail = next(tails)
            wet[: len(tail)] += tail[: len(wet)]
            yield wet

    def _delayed(self, dry: np.ndarray) -> np.ndarray:
        """Delays the sound by the change of the direct path since the start, (n,) -> (m,)."""
        if self.trajectory.constant_distance:
            return dry
        rate_hz, start_s = self.rate_hz, _delays_s(self.trajectory, np.zeros(1))[0]
        n = len(dry) + round(LONGER_S * rate_hz)
        times_s = np.arange(n) / rate_hz
        # Knots every 5 ms: the delay bends only slightly between them.
        knots_s = np.arange(0.0, times_s[-1] + 0.01, 0.005)
        change_s = _delays_s(self.trajectory, knots_s + start_s) - start_s
        source = (times_s - np.interp(times_s, knots_s, change_s)) * rate_hz
        return map_coordinates(dry, [source], np.float32, SPLINE_ORDER, mode="constant")


def _delays_s(trajectory: Trajectory, times_s: np.ndarray) -> np.ndarray:
    """Time that the direct sound takes, by time after the start, (n,)."""
    return np.linalg.norm(trajectory.positions_m(times_s), axis=1) / SOUND_SPEED_M_S


def hop_s(trajectory: Trajectory) -> float:
    """Time between two responses along a path: 2 degrees, at most 0.1 s."""
    return min(LONGEST_HOP_S, STEP_DEG / max(trajectory.max_speed_deg_per_s, 1e-6))


def moving_responses(
    trajectory: Trajectory,
    duration_s: float,
    reflect: Reflect,
    late: Reflections | None,
    table: FilterTable,
) -> MovingResponses:
    """Renders the responses along a path.

    Args:
        trajectory: path of the source.
        duration_s: length of the sound.
        reflect: function from a position against the receiver (3,) to the early reflections, the
            direct sound first.
        late: reverberation of all positions; None: none.
        table: filters of the room.
    """
    hop_samples = max(round(hop_s(trajectory) * table.rate_hz), 1)
    longer_s = 0.0 if trajectory.constant_distance else LONGER_S
    n_points = int(np.ceil((duration_s + longer_s) * table.rate_hz / hop_samples)) + 1
    start_s = _delays_s(trajectory, np.zeros(1))[0]
    times_s = np.arange(n_points) * hop_samples / table.rate_hz + start_s
    positions_m = trajectory.positions_m(times_s)
    start_m = start_s * SOUND_SPEED_M_S
    early = [_from_start(reflect(position_m), start_m) for position_m in positions_m]
    rendered = [render_impulse_responses(each, table) for each in early]
    stacked = np.zeros(
        (n_points, table.receiver.n_channels, max(each.shape[1] for each in rendered)), np.float32
    )
    for place, response in zip(stacked, rendered, strict=True):
        place[:, : response.shape[1]] = response
    tail = np.zeros((table.receiver.n_channels, 1), np.float32)
    if late is not None and len(late.orders):
        tail = render_impulse_responses(late, table)
    return MovingResponses(trajectory, table.rate_hz, hop_samples, stacked, tail)


def _from_start(reflections: Reflections, start_m: float) -> Reflections:
    """Shifts all delays such that the direct sound takes as long as from the start."""
    shifted_m = reflections.distances_m - reflections.distances_m[0] + start_m
    return Reflections(
        reflections.directions, shifted_m, reflections.amplitudes, reflections.orders
    )

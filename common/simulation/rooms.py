"""Shoebox rooms: image sources and a diffuse tail."""

from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np

from common.simulation.receivers import SOUND_SPEED_M_S

EARLY_S = 0.08  # image sources up to this delay, random pulses after it
MOVING_S = 0.05  # reflections up to this delay follow a moving source
TAIL_LIMIT_S = 0.7
TAIL_PULSES_PER_S = 3000
EYRING = 0.161  # s/m, 24 ln(10) / speed of sound


@dataclass(frozen=True)
class Room:
    """A rectangular room with the receiver in it.

    Attributes:
        name: enters the seed of the tails.
        size_m: length, width, height.
        receiver_m: position of the receiver, from the corner of the room.
        reverberation_s: time to fall by 60 dB at low and at high frequencies.
        crossover_hz: frequency between the two.
    """

    name: str
    size_m: tuple[float, float, float]
    receiver_m: tuple[float, float, float]
    reverberation_s: tuple[float, float]
    crossover_hz: float = 4000.0

    @property
    def volume_m3(self) -> float:
        """Volume."""
        return float(np.prod(self.size_m))

    @property
    def surface_m2(self) -> float:
        """Area of all six walls."""
        length, width, height = self.size_m
        return 2 * (length * width + length * height + width * height)

    @property
    def mean_free_path_m(self) -> float:
        """Mean distance between two reflections."""
        return 4 * self.volume_m3 / self.surface_m2

    def reverberation_at(self, frequencies_hz: np.ndarray) -> np.ndarray:
        """Reverberation time in seconds at each frequency, by interpolation of decay rates."""
        low_s, high_s = self.reverberation_s
        low_weight = 1 / (1 + (np.asarray(frequencies_hz) / self.crossover_hz) ** 2)
        return 1 / (low_weight / low_s + (1 - low_weight) / high_s)

    def reflection_factor(self, frequencies_hz: np.ndarray) -> np.ndarray:
        """Pressure reflection factor of the walls at each frequency, by Eyring's formula."""
        absorbed = (
            EYRING * self.volume_m3 / (self.surface_m2 * self.reverberation_at(frequencies_hz))
        )
        return np.sqrt(np.exp(-absorbed))

    @property
    def low_reflection_factor(self) -> float:
        """Pressure reflection factor at low frequencies."""
        return float(self.reflection_factor(np.zeros(1))[0])

    def contains(self, position_m: np.ndarray) -> bool:
        """True if a position is inside the room."""
        return bool(np.all(position_m > 0) and np.all(position_m < np.array(self.size_m)))


@dataclass(frozen=True)
class Reflections:
    """Plane waves that reach the receiver.

    Attributes:
        directions: unit vectors towards their origins, (n, 3).
        distances_m: length of their paths, (n,).
        amplitudes: signed pressure at low frequencies relative to that at 1 m, (n,).
        orders: number of wall hits, estimated for the tail, float64 (n,).
    """

    directions: np.ndarray
    distances_m: np.ndarray
    amplitudes: np.ndarray
    orders: np.ndarray

    @property
    def delays_s(self) -> np.ndarray:
        """Time of arrival of each, (n,)."""
        return self.distances_m / SOUND_SPEED_M_S

    def after(self, start_s: float) -> "Reflections":
        """Selects those that arrive at or after a time."""
        late = self.delays_s >= start_s
        return Reflections(*(values[late] for values in vars(self).values()))

    def and_then(self, other: "Reflections") -> "Reflections":
        """Joins two groups of reflections."""
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Reflections(*(np.concatenate(pair) for pair in pairs))


def image_sources(room: Room, offset_m: np.ndarray, duration_s: float = EARLY_S) -> Reflections:
    """Finds the mirror images of a source whose sound arrives within `duration_s`.

    Args:
        room: the walls and the receiver.
        offset_m: position of the source against the receiver, (3,), inside the room.
        duration_s: later arrivals are left out.

    Returns:
        The direct sound and the reflections, amplitude beta^order / distance.

    References:
        Allen and Berkley, J. Acoust. Soc. Am. 65(4), 1979; positions from pyroomacoustics
        (Scheibler et al., 2018).
    """
    import pyroomacoustics

    receiver_m = np.array(room.receiver_m)
    reach_m = duration_s * SOUND_SPEED_M_S
    # An image of order n is at least (n - 2) times the shortest side away.
    max_order = int(np.ceil(reach_m / min(room.size_m))) + 2
    walls = pyroomacoustics.Material(1 - room.low_reflection_factor**2)
    shoebox = pyroomacoustics.ShoeBox(room.size_m, fs=48000, materials=walls, max_order=max_order)
    shoebox.add_source(receiver_m + offset_m).add_microphone(receiver_m)
    shoebox.image_source_model()
    source = shoebox.sources[0]
    offsets_m = source.images.T.astype(np.float64) - receiver_m  # (n, 3)
    distances_m = np.linalg.norm(offsets_m, axis=1)
    near = np.flatnonzero(distances_m < reach_m)
    near = near[np.lexsort((*offsets_m[near].T, distances_m[near]))]
    offsets_m, distances_m = offsets_m[near], distances_m[near]
    orders = source.orders[near].astype(np.float64)
    return Reflections(
        offsets_m / distances_m[:, None],
        distances_m,
        room.low_reflection_factor**orders / distances_m,
        orders,
    )


@dataclass(frozen=True)
class ImageLattice:
    """Mirror images of any source in a room: offset from the receiver = shift + sign * source.

    Attributes:
        shifts_m: (n, 3).
        signs: 1 or -1 on each axis, (n, 3).
        orders: number of wall hits, (n,).
        reach_m: images beyond this distance are left out.
    """

    shifts_m: np.ndarray
    signs: np.ndarray
    orders: np.ndarray
    reach_m: float


@lru_cache(maxsize=16)
def image_lattice(room: Room, duration_s: float) -> ImageLattice:
    """Lists the images whose sound may arrive within `duration_s`, the source itself first."""
    reach_m = duration_s * SOUND_SPEED_M_S
    axes = []
    for size_m, receiver_m in zip(room.size_m, room.receiver_m, strict=True):
        n = int(np.ceil(reach_m / size_m / 2)) + 1
        laps = sorted(range(-n, n + 1), key=abs)
        # After an even number of hits the image is turned as the source, else mirrored.
        even = [(2.0 * lap * size_m, 1.0, abs(2 * lap)) for lap in laps]
        odd = [(2 * (lap * size_m - receiver_m), -1.0, abs(2 * lap - 1)) for lap in laps]
        near = max(receiver_m, size_m - receiver_m)
        axes.append([each for each in even + odd if abs(each[0]) - near < reach_m])
    images = np.array(list(product(*axes)))  # (n, 3 axes, 3)
    return ImageLattice(images[..., 0], images[..., 1], images[..., 2].sum(axis=1), reach_m)


def moving_image_sources(
    room: Room, offset_m: np.ndarray, duration_s: float = MOVING_S
) -> Reflections:
    """Finds the same images as `image_sources`, in a fixed order and much faster.

    Args:
        room: the walls and the receiver.
        offset_m: position of the source against the receiver, (3,), inside the room.
        duration_s: later arrivals are left out.

    Returns:
        The direct sound first, then the reflections.
    """
    lattice = image_lattice(room, duration_s)
    offsets_m = lattice.shifts_m + lattice.signs * offset_m  # (n, 3)
    distances_m = np.sqrt(np.einsum("nk,nk->n", offsets_m, offsets_m))
    near = np.flatnonzero(distances_m < lattice.reach_m)
    offsets_m, distances_m, orders = offsets_m[near], distances_m[near], lattice.orders[near]
    amplitudes = room.low_reflection_factor**orders / distances_m
    return Reflections(offsets_m / distances_m[:, None], distances_m, amplitudes, orders)


def reverberation(room: Room, offset_m: np.ndarray, rng: np.random.Generator) -> Reflections:
    """Draws what follows the reflections of `moving_image_sources`: late images and the tail.

    Args:
        room: the walls and the receiver.
        offset_m: one position of the moving source, such as the middle of its path, (3,).
        rng: generator of the tail.
    """
    early = moving_image_sources(room, offset_m, EARLY_S)
    return early.after(MOVING_S).and_then(diffuse_tail(room, early, rng))


def diffuse_tail(
    room: Room, early: Reflections, rng: np.random.Generator, start_s: float = EARLY_S
) -> Reflections:
    """Draws late reverberation: pulses of random times and directions, exponentially decaying.

    Args:
        room: decay, length and number of wall hits of late paths.
        early: the reflections before `start_s`, whose energy per second the tail continues.
        rng: generator of the room and position, which always sounds the same.
        start_s: beginning of the tail.

    Returns:
        About 3000 reflections per second, up to 0.8 of the reverberation time or 0.7 s.
    """
    decay_s = room.reverberation_s[0]
    end_s = max(min(0.8 * decay_s, TAIL_LIMIT_S), start_s)
    n = int(rng.poisson(TAIL_PULSES_PER_S * (end_s - start_s)))
    times_s = np.sort(rng.uniform(start_s, end_s, n))
    directions = rng.standard_normal((n, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    envelope = 10.0 ** (-3 * (times_s - start_s) / decay_s)
    strength = np.sqrt(_energy_per_s(early, start_s, decay_s) / TAIL_PULSES_PER_S)
    distances_m = times_s * SOUND_SPEED_M_S
    amplitudes = rng.choice([-1.0, 1.0], n) * strength * envelope
    return Reflections(directions, distances_m, amplitudes, distances_m / room.mean_free_path_m)


def _energy_per_s(
    early: Reflections, end_s: float, decay_s: float, window_s: float = 0.02
) -> float:
    """Estimates the energy per second at `end_s` from the window before it."""
    recent = early.amplitudes[early.delays_s > end_s - window_s]
    return float(np.sum(recent**2)) / window_s * 10.0 ** (-6 * (window_s / 2) / decay_s)

"""Positions and paths of sources around the receiver of a room.

Positions are (x front, y left, z up) in metres against the receiver.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from common.errors import ConfigError
from common.simulation.receivers import unit_vectors
from common.simulation.rooms import Room

PathKind = Literal["sphere", "straight"]
WALL_MARGIN_M = 0.3  # from a source to every wall
MAX_SPEED_M_S = 2.0  # of straight paths: brisk walking
_STEP_DEG, _STEP_M, _REACH_M = 1.0, 0.05, 30.0  # of the search for the ends of a path
_SHORTEST_PATH_M = 0.3
_TRIALS = 100
Vector = tuple[float, float, float]


@dataclass(frozen=True)
class Trajectory:
    """Path of a source at constant speed, which turns back at both ends.

    Attributes:
        kind: sphere: arc of a great circle around the receiver; straight: line.
        start_m: position at time 0.
        heading: unit vector of the first movement; of a sphere, at right angles to the start.
        speed: along the path, radians per second on a sphere, metres per second on a line.
        ends: how far the path reaches behind and before the start, in radians or metres; infinite
            for a whole circle.
    """

    kind: PathKind
    start_m: Vector
    heading: Vector
    speed: float
    ends: tuple[float, float]

    def positions_m(self, times_s: np.ndarray) -> np.ndarray:
        """Computes positions at times after the start, (n,) -> float64 (n, 3)."""
        return self._at(_turned_back(self.speed * np.asarray(times_s, float), self.ends))

    def _at(self, way: np.ndarray) -> np.ndarray:
        start_m, heading = np.array(self.start_m), np.array(self.heading)
        if self.kind == "straight":
            return start_m + way[:, None] * heading
        radius_m = np.linalg.norm(start_m)
        return np.cos(way)[:, None] * start_m + radius_m * np.sin(way)[:, None] * heading

    @property
    def constant_distance(self) -> bool:
        """True if the delay of the direct sound never changes."""
        return self.kind == "sphere"

    @property
    def max_speed_deg_per_s(self) -> float:
        """Highest angular speed anywhere on the path."""
        if self.kind == "sphere":
            return float(np.rad2deg(self.speed))
        return float(np.rad2deg(self.speed / _nearest_m(self.start_m, self.heading, self.ends)))


def _turned_back(way: np.ndarray, ends: tuple[float, float]) -> np.ndarray:
    """Folds a way into [low, high], as of a source that paces between both ends."""
    low, high = ends
    if not np.isfinite(high - low):
        return way
    if high <= low:
        return np.full(np.shape(way), low)
    return low + (high - low) - np.abs((way - low) % (2 * (high - low)) - (high - low))


def _nearest_m(start_m: Vector, heading: Vector, ends: tuple[float, float]) -> float:
    """Shortest distance of a line from the receiver."""
    way = np.clip(-np.dot(start_m, heading), *ends)
    return float(np.linalg.norm(np.array(start_m) + way * np.array(heading)))


def to_angles(positions_m: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Converts positions (n, 3) to azimuth and elevation in degrees and distance in metres."""
    x, y, z = np.asarray(positions_m, float).T
    distance_m = np.sqrt(x**2 + y**2 + z**2)
    elevation_deg = np.rad2deg(np.arctan2(z, np.hypot(x, y)))
    return np.rad2deg(np.arctan2(y, x)), elevation_deg, distance_m


@dataclass(frozen=True)
class SourceSpace:
    """Region of a room in which sources may be.

    Attributes:
        room: the walls and the receiver; sources keep 0.3 m from every wall.
        distance_m: shortest and longest distance from the receiver; the room may allow less.
        elevation_deg: lowest and highest elevation.
    """

    room: Room
    distance_m: tuple[float, float]
    elevation_deg: tuple[float, float]

    def contains(self, positions_m: np.ndarray) -> np.ndarray:
        """Tells which positions (n, 3) are allowed, bool (n,)."""
        _, elevation_deg, distance_m = to_angles(positions_m)
        in_room_m = positions_m + np.array(self.room.receiver_m)
        from_walls_m = np.minimum(in_room_m, np.array(self.room.size_m) - in_room_m).min(axis=1)
        (nearest_m, farthest_m), (low_deg, high_deg) = self.distance_m, self.elevation_deg
        slack = 1e-6  # a source that starts on the limit is inside
        return (
            (from_walls_m >= WALL_MARGIN_M - slack)
            & (distance_m >= nearest_m - slack)
            & (distance_m <= farthest_m + slack)
            & (elevation_deg >= low_deg - slack)
            & (elevation_deg <= high_deg + slack)
        )

    def farthest_m(self, direction: np.ndarray) -> float:
        """Longest distance that is allowed in a direction (3,)."""
        receiver_m, size_m = np.array(self.room.receiver_m), np.array(self.room.size_m)
        ahead_m = np.where(direction > 0, size_m - receiver_m, receiver_m) - WALL_MARGIN_M
        with np.errstate(divide="ignore"):
            to_wall_m = float(np.min(ahead_m / np.abs(direction)))
        return min(to_wall_m, self.distance_m[1])

    def draw_position(self, rng: np.random.Generator) -> np.ndarray:
        """Draws a position: a direction of the whole solid angle, then a distance, (3,).

        Raises:
            ConfigError: the room has no such position.
        """
        low, high = np.sin(np.deg2rad(self.elevation_deg))
        for _ in range(_TRIALS):
            elevation_deg = float(np.rad2deg(np.arcsin(rng.uniform(low, high))))
            direction = unit_vectors(float(rng.uniform(-180, 180)), elevation_deg)
            farthest_m = self.farthest_m(direction)
            if farthest_m >= self.distance_m[0]:
                return float(rng.uniform(self.distance_m[0], farthest_m)) * direction
        raise ConfigError(
            f"No source fits into room {self.room.name} of {self.room.size_m} m. Expected:"
            f" positions {self.distance_m[0]:g} m or more from the receiver and {WALL_MARGIN_M} m"
            " from the walls. Lower the first number of `simulation.distance_m`."
        )

    def draw_trajectory(
        self,
        rng: np.random.Generator,
        start_m: np.ndarray,
        kind: PathKind,
        speed_deg_per_s: tuple[float, float],
    ) -> Trajectory:
        """Draws a path through a position; all of it is allowed.

        Args:
            rng: source of heading and speed.
            start_m: first position, (3,).
            kind: kind of path.
            speed_deg_per_s: range of its highest angular speed; straight paths have at most 2 m/s.
        """
        speed_rad_s = float(np.deg2rad(rng.uniform(*speed_deg_per_s)))
        for _ in range(_TRIALS):
            heading = _heading(rng, start_m, kind)
            ends = self._ends(Trajectory(kind, _vector(start_m), heading, 1.0, (-np.inf, np.inf)))
            length_m = (ends[1] - ends[0]) * (np.linalg.norm(start_m) if kind == "sphere" else 1)
            if length_m >= _SHORTEST_PATH_M:
                break
        speed = speed_rad_s
        if kind == "straight":
            nearest_m = _nearest_m(_vector(start_m), heading, ends)
            speed = min(speed_rad_s * nearest_m, MAX_SPEED_M_S)
        return Trajectory(kind, _vector(start_m), heading, speed, ends)

    def _ends(self, path: Trajectory) -> tuple[float, float]:
        """Finds how far a path of speed 1 is allowed on both sides of its start."""
        step = np.deg2rad(_STEP_DEG) if path.kind == "sphere" else _STEP_M
        n = round((np.pi if path.kind == "sphere" else _REACH_M) / step)
        ways = np.arange(-n, n + 1) * step
        is_outside = ~self.contains(path.positions_m(ways))
        if path.kind == "sphere" and not is_outside.any():
            return -np.inf, np.inf
        before, behind = np.flatnonzero(is_outside[n:]), np.flatnonzero(is_outside[n::-1])
        first, last = (int(each[0]) - 1 if len(each) else n for each in (behind, before))
        return -max(first, 0) * step, max(last, 0) * step


def _vector(values: np.ndarray) -> Vector:
    x, y, z = map(float, values)
    return x, y, z


def _heading(rng: np.random.Generator, start_m: np.ndarray, kind: PathKind) -> Vector:
    """Draws the direction of the movement: nearly level lines, circles of any inclination."""
    if kind == "straight":
        return _vector(unit_vectors(float(rng.uniform(-180, 180)), float(rng.uniform(-10, 10))))
    outwards = start_m / np.linalg.norm(start_m)
    level = np.array([-outwards[1], outwards[0], 0.0])
    level /= np.linalg.norm(level)
    turn = rng.uniform(-np.pi, np.pi)
    return _vector(np.cos(turn) * level + np.sin(turn) * np.cross(outwards, level))

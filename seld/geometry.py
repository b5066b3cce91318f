"""Directions on the sphere: coordinates, great-circle distances, the grid of directions.

Azimuth runs counter-clockwise from the front (x), elevation upwards from the horizon; y points
left, z up.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from common.errors import DataError

FULL_CIRCLE_DEG = 360.0
ANGLE_SLACK_DEG = 1e-6  # angles this close are equal up to rounding errors
# Half of the last digit of an angle of 2 pi radians in float32, and of a unit vector's.
FLOAT32_SLACK_DEG = 2e-5
OFF_GRID_REMEDY = (
    "Round the angles to the grid, set `dataset.angle_step_deg` to their step, or score by exact"
    " angles: `--set scoring.scorer=corrected`."
)


def spherical_to_cartesian(
    azimuth_rad: np.ndarray, elevation_rad: np.ndarray, radius: np.ndarray | float = 1.0
) -> np.ndarray:
    """Returns points (..., 3), x front, y left, z up, for angles of shape (...) in radians."""
    azimuth_rad, elevation_rad, radius = np.broadcast_arrays(azimuth_rad, elevation_rad, radius)
    horizontal = radius * np.cos(elevation_rad)
    x, y = horizontal * np.cos(azimuth_rad), horizontal * np.sin(azimuth_rad)
    return np.stack((x, y, radius * np.sin(elevation_rad)), axis=-1)


def cartesian_to_spherical(points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns azimuth (-pi, pi], elevation [-pi/2, pi/2] and radius of points (..., 3), (...) each.

    The origin has azimuth 0, elevation 0.
    """
    x, y, z = np.moveaxis(np.asarray(points, np.float64), -1, 0)
    horizontal = np.hypot(x, y)
    return np.arctan2(y, x), np.arctan2(z, horizontal), np.hypot(horizontal, z)


def angles_of_vectors(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Azimuths and elevations (...) in degrees of points (..., 3); 0, 0 of the origin."""
    azimuth_rad, elevation_rad, _ = cartesian_to_spherical(vectors)
    return np.degrees(azimuth_rad), np.degrees(elevation_rad)


def vectors_of_angles(azimuth_deg: np.ndarray, elevation_deg: np.ndarray) -> np.ndarray:
    """Unit vectors (..., 3) of directions (...) in degrees."""
    return spherical_to_cartesian(np.radians(azimuth_deg), np.radians(elevation_deg))


def spherical_distances_of_pairs(
    first_rad: np.ndarray, second_rad: np.ndarray, left: np.ndarray, right: np.ndarray
) -> np.ndarray:
    """Computes angles between pairs of few directions, by the spherical law of cosines.

    Args:
        first_rad: (n, 2), azimuth and elevation.
        second_rad: (m, 2).
        left: int (pairs,), which of `first_rad`.
        right: int (pairs,), which of `second_rad`.

    Returns:
        Great-circle distances (pairs,) in radians, [0, pi]; off by up to 1e-8 near 0 and pi, where
        the arc cosine is flat. `cartesian_distance` is exact.

    References:
        Adavanne et al., IEEE J. Sel. Topics Signal Process. 13(1), 2019, eq. 4.
    """
    (azimuth1, elevation1), (azimuth2, elevation2) = first_rad.T, second_rad.T
    sines = np.sin(elevation1)[left] * np.sin(elevation2)[right]
    cosines = np.cos(elevation1)[left] * np.cos(elevation2)[right]
    difference = np.abs(azimuth1[left] - azimuth2[right])
    return np.arccos(np.clip(sines + cosines * np.cos(difference), -1.0, 1.0))


def cartesian_distance(points1: np.ndarray, points2: np.ndarray) -> np.ndarray:
    """Computes the angle between the directions of points (..., 3); exact for all angles.

    Returns:
        Great-circle distances in radians, [0, pi], NaN where a point is the origin.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        unit1, unit2 = (p / np.linalg.norm(p, axis=-1, keepdims=True) for p in (points1, points2))
    # Half the chord is the sine of half the angle, half the sum its cosine: never both are flat.
    chord, total = (np.linalg.norm(each, axis=-1) for each in (unit1 - unit2, unit1 + unit2))
    return 2.0 * np.arctan2(chord, total)


def snapped_deg(angle_deg: np.ndarray, slack_deg: float = ANGLE_SLACK_DEG) -> np.ndarray:
    """Rounds angles this close to whole degrees: 19.9999999, meant as 20, must not be cut to 19."""
    angle_deg = np.asarray(angle_deg, np.float64)
    whole = np.rint(angle_deg)
    return np.where(np.abs(angle_deg - whole) <= slack_deg, whole, angle_deg)


@dataclass(frozen=True)
class AngleGrid:
    """Grid of directions; index = azimuth index * n_elevations + elevation index.

    The defaults are the 36 x 9 directions of TAU Spatial Sound Events 2019. Azimuths are angles on
    a circle: 350 and -10 degrees are one direction, whichever of them is in the range. A range of
    the full circle has every azimuth; others have two ends, and azimuths outside belong to the end
    that is nearer on the circle.

    The published scorer of DCASE 2019 has one grid, the default, and clips to it: 200 degrees
    become 170, not -160. On this grid only, azimuths are clipped here too, so that published
    submissions get their published scores.

    Attributes:
        azimuth_range_deg: lowest azimuth, on the grid, and highest; [-180, 180] holds one direction
            twice.
        elevation_range_deg: lowest elevation, on the grid, and highest.
        step_deg: distance of neighbours.
    """

    azimuth_range_deg: tuple[float, float] = (-180.0, 170.0)
    elevation_range_deg: tuple[float, float] = (-40.0, 40.0)
    step_deg: float = 10.0

    @cached_property
    def is_published(self) -> bool:
        """True for the grid of the published scorer."""
        return self == AngleGrid()

    @cached_property
    def is_full_circle(self) -> bool:
        """True if the azimuths cover the full circle."""
        covered_deg = self._count(self.azimuth_range_deg) * self.step_deg
        return covered_deg >= FULL_CIRCLE_DEG - ANGLE_SLACK_DEG

    @cached_property
    def lowest_azimuth_deg(self) -> float:
        """Start of the circle: azimuths of this grid are from here on, below 360 degrees more."""
        low, high = self.azimuth_range_deg
        if not self.is_full_circle:
            return (low + high) / 2.0 - FULL_CIRCLE_DEG / 2.0
        if high - low <= FULL_CIRCLE_DEG:
            return low
        return min(max(-180.0, low), high - FULL_CIRCLE_DEG)

    @cached_property
    def n_azimuths(self) -> int:
        """Number of azimuths; a direction with two, such as -180 and 180 degrees, counts once."""
        count = self._count(self.azimuth_range_deg)
        return min(count, int(np.ceil(FULL_CIRCLE_DEG / self.step_deg - ANGLE_SLACK_DEG)))

    @cached_property
    def n_elevations(self) -> int:
        """Number of elevations."""
        return self._count(self.elevation_range_deg)

    @property
    def size(self) -> int:
        """Number of directions."""
        return self.n_azimuths * self.n_elevations

    def on_circle(self, azimuth_deg: np.ndarray) -> np.ndarray:
        """Brings azimuths onto the circle of the grid, by whole turns.

        Args:
            azimuth_deg: of any convention, degrees, any shape.

        Returns:
            float64, same shape, same directions, in [lowest_azimuth_deg, lowest_azimuth_deg + 360).
        """
        azimuth_deg, low = np.asarray(azimuth_deg, np.float64), self.lowest_azimuth_deg
        inside = (azimuth_deg >= low) & (azimuth_deg < low + FULL_CIRCLE_DEG)
        turned = np.where(inside, azimuth_deg, low + np.mod(azimuth_deg - low, FULL_CIRCLE_DEG))
        is_end = turned >= low + FULL_CIRCLE_DEG - ANGLE_SLACK_DEG  # -180.0000001 is -180
        return np.where(is_end, low, turned)

    def index_of(self, azimuth_deg: np.ndarray, elevation_deg: np.ndarray) -> np.ndarray:
        """Returns the index of each direction, int64 (n,).

        Raises:
            DataError: a direction is not on the grid.
        """
        azimuth_deg, elevation_deg = np.atleast_1d(azimuth_deg, elevation_deg)
        wrong = np.flatnonzero(~self.holds(azimuth_deg, elevation_deg))
        if wrong.size:
            first = wrong[0]
            raise DataError(
                f"Direction {first + 1} of {len(azimuth_deg)} is off the grid. Expected:"
                f" {self.describe()}. Received: azimuth {azimuth_deg[first]:g}, elevation"
                f" {elevation_deg[first]:g} degrees. {OFF_GRID_REMEDY}"
            )
        return self.nearest_below(azimuth_deg, elevation_deg)

    def holds(self, azimuth_deg: np.ndarray, elevation_deg: np.ndarray) -> np.ndarray:
        """Returns which directions are on the grid, bool (n,)."""
        nearest = self.nearest_below(azimuth_deg, elevation_deg)
        azimuth_found, elevation_found = self.angles_of(nearest)
        off = np.abs(self._on_own_circle(azimuth_deg) - azimuth_found)
        off = np.maximum(off, np.abs(np.asarray(elevation_deg) - elevation_found))
        return off <= ANGLE_SLACK_DEG

    def nearest_below(self, azimuth_deg: np.ndarray, elevation_deg: np.ndarray) -> np.ndarray:
        """Returns the index of the grid's direction at or below each one, int64 (n,).

        Angles outside the ranges are clipped to them, azimuths after they were brought onto the
        grid's circle (except on the published grid, see above).
        """
        first = self._first_azimuth_deg
        azimuth = self._steps(self._on_own_circle(azimuth_deg), first, self.n_azimuths)
        elevation = self._steps(elevation_deg, self.elevation_range_deg[0], self.n_elevations)
        return azimuth * self.n_elevations + elevation

    def angles_of(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns azimuth and elevation in degrees, float64 (n,) each.

        Raises:
            ValueError: an index is outside the grid.
        """
        index = np.asarray(index)
        if index.size and not (index.min() >= 0 and index.max() < self.size):
            raise ValueError(
                f"Index of a direction is outside the grid. Expected: 0 to {self.size - 1}."
                f" Received: {index.min()} to {index.max()}."
            )
        azimuth, elevation = np.divmod(index, self.n_elevations)
        azimuth_deg = self._first_azimuth_deg + azimuth * self.step_deg
        return azimuth_deg, self.elevation_range_deg[0] + elevation * self.step_deg

    def describe(self) -> str:
        """Names the directions, for an error."""
        ranges = self.azimuth_range_deg, self.elevation_range_deg
        azimuths, elevations = map(self._describe, ranges)
        return f"azimuth {azimuths}, elevation {elevations}"

    def _on_own_circle(self, azimuth_deg: np.ndarray) -> np.ndarray:
        published = self.is_published
        return np.asarray(azimuth_deg, np.float64) if published else self.on_circle(azimuth_deg)

    @property
    def _first_azimuth_deg(self) -> float:
        return self.lowest_azimuth_deg if self.is_full_circle else self.azimuth_range_deg[0]

    def _count(self, limits: tuple[float, float]) -> int:
        return int((limits[1] - limits[0]) / self.step_deg + ANGLE_SLACK_DEG) + 1

    def _steps(self, angle_deg: np.ndarray, first_deg: float, count: int) -> np.ndarray:
        offset_deg = np.asarray(angle_deg, np.float64) - first_deg + ANGLE_SLACK_DEG
        return np.clip(np.floor(offset_deg / self.step_deg), 0, count - 1).astype(np.int64)

    def _describe(self, limits: tuple[float, float]) -> str:
        return f"{limits[0]:g} to {limits[1]:g} in steps of {self.step_deg:g} degrees"

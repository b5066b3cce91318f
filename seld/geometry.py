"""Directions on the sphere: Cartesian and spherical coordinates, great-circle distances, the grid of directions.

Azimuth runs counter-clockwise from the front (x), elevation upwards from the horizon; y points left, z up.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from common.errors import DataError


def spherical_to_cartesian(
    azimuth_rad: np.ndarray, elevation_rad: np.ndarray, radius: np.ndarray | float = 1.0
) -> np.ndarray:
    """Returns points (..., 3), x to the front, y to the left, z up, for angles of shape (...) in radians."""
    azimuth_rad, elevation_rad, radius = np.broadcast_arrays(azimuth_rad, elevation_rad, radius)
    horizontal = radius * np.cos(elevation_rad)
    points = (horizontal * np.cos(azimuth_rad), horizontal * np.sin(azimuth_rad), radius * np.sin(elevation_rad))
    return np.stack(points, axis=-1)


def cartesian_to_spherical(points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns azimuth in (-pi, pi], elevation in [-pi/2, pi/2] and radius, each (...), of points (..., 3).

    The origin has azimuth 0, elevation 0.
    """
    x, y, z = np.moveaxis(np.asarray(points, np.float64), -1, 0)
    horizontal = np.hypot(x, y)
    return np.arctan2(y, x), np.arctan2(z, horizontal), np.hypot(horizontal, z)


def spherical_distance(
    azimuth1_rad: np.ndarray, elevation1_rad: np.ndarray, azimuth2_rad: np.ndarray, elevation2_rad: np.ndarray
) -> np.ndarray:
    """Computes the angle between directions, by the spherical law of cosines.

    Args:
        azimuth1_rad, elevation1_rad, azimuth2_rad, elevation2_rad: angles that broadcast against each other.

    Returns:
        Great-circle distances in radians, [0, pi]. Near 0 and pi they are off by up to 1e-8 because the arc cosine is
        flat there; `cartesian_distance` is exact.

    References:
        Adavanne et al., IEEE J. Sel. Topics Signal Process. 13(1), 2019, eq. 4.
    """
    sines, cosines = np.sin(elevation1_rad) * np.sin(elevation2_rad), np.cos(elevation1_rad) * np.cos(elevation2_rad)
    return _arc(sines, cosines, azimuth1_rad - azimuth2_rad)


def spherical_distances_of_pairs(
    first_rad: np.ndarray, second_rad: np.ndarray, left: np.ndarray, right: np.ndarray
) -> np.ndarray:
    """Computes `spherical_distance` of many pairs of few directions, each of whose elevations is looked at once.

    Args:
        first_rad: (n, 2), azimuth and elevation.
        second_rad: (m, 2).
        left: int (pairs,), which of `first_rad`.
        right: int (pairs,), which of `second_rad`.

    Returns:
        (pairs,) in radians.
    """
    (azimuth1, elevation1), (azimuth2, elevation2) = first_rad.T, second_rad.T
    sines = np.sin(elevation1)[left] * np.sin(elevation2)[right]
    cosines = np.cos(elevation1)[left] * np.cos(elevation2)[right]
    return _arc(sines, cosines, azimuth1[left] - azimuth2[right])


def _arc(sines: np.ndarray, cosines: np.ndarray, difference_rad: np.ndarray) -> np.ndarray:
    """The angle from the products of the elevations' sines and cosines, and the difference of the azimuths."""
    return np.arccos(np.clip(sines + cosines * np.cos(np.abs(difference_rad)), -1.0, 1.0))


def cartesian_distance(points1: np.ndarray, points2: np.ndarray) -> np.ndarray:
    """Computes the angle between the directions of points (..., 3), of any length but 0; exact for all angles.

    Returns:
        Great-circle distances in radians, [0, pi], NaN where a point is the origin.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        unit1, unit2 = (points / np.linalg.norm(points, axis=-1, keepdims=True) for points in (points1, points2))
    # Half the chord is the sine of half the angle, half the sum is its cosine; together they are never both flat.
    return 2.0 * np.arctan2(np.linalg.norm(unit1 - unit2, axis=-1), np.linalg.norm(unit1 + unit2, axis=-1))


@dataclass(frozen=True)
class AngleGrid:
    """Directions in equal steps of azimuth and elevation; index = azimuth index * n_elevations + elevation index.

    The defaults are the 36 x 9 directions of TAU Spatial Sound Events 2019.

    Attributes:
        azimuth_range_deg: lowest and highest azimuth, both on the grid.
        elevation_range_deg: lowest and highest elevation, both on the grid.
        step_deg: distance of neighbours.
    """

    azimuth_range_deg: tuple[float, float] = (-180.0, 170.0)
    elevation_range_deg: tuple[float, float] = (-40.0, 40.0)
    step_deg: float = 10.0

    @cached_property
    def n_azimuths(self) -> int:
        """Number of azimuths."""
        return self._count(self.azimuth_range_deg)

    @cached_property
    def n_elevations(self) -> int:
        """Number of elevations."""
        return self._count(self.elevation_range_deg)

    @property
    def size(self) -> int:
        """Number of directions."""
        return self.n_azimuths * self.n_elevations

    def index_of(self, azimuth_deg: np.ndarray, elevation_deg: np.ndarray) -> np.ndarray:
        """Returns the index of each direction, int64 (n,).

        Raises:
            DataError: a direction is not on the grid.
        """
        azimuth_deg, elevation_deg = np.atleast_1d(np.asarray(azimuth_deg)), np.atleast_1d(np.asarray(elevation_deg))
        index = self.nearest_below(azimuth_deg, elevation_deg)
        azimuth_found, elevation_found = self.angles_of(index)
        wrong = np.flatnonzero((azimuth_found != azimuth_deg) | (elevation_found != elevation_deg))
        if wrong.size:
            first = wrong[0]
            raise DataError(
                f"Direction {first + 1} of {len(index)} is off the grid. Expected: azimuth "
                f"{self._describe(self.azimuth_range_deg)}, elevation {self._describe(self.elevation_range_deg)}. "
                f"Received: azimuth {azimuth_deg[first]:g}, elevation {elevation_deg[first]:g} degrees. Round the "
                "angles, or use the `corrected` scorer, which takes any angle."
            )
        return index

    def nearest_below(self, azimuth_deg: np.ndarray, elevation_deg: np.ndarray) -> np.ndarray:
        """Returns the index of the grid's direction at or below each one, int64 (n,), after clipping to the ranges."""
        return self._steps(azimuth_deg, self.azimuth_range_deg) * self.n_elevations + self._steps(
            elevation_deg, self.elevation_range_deg
        )

    def angles_of(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns azimuth and elevation in degrees, float64 (n,) each.

        Raises:
            ValueError: an index is outside the grid.
        """
        index = np.asarray(index)
        if index.size and not (index.min() >= 0 and index.max() < self.size):
            raise ValueError(
                f"Index of a direction is outside the grid. Expected: 0 to {self.size - 1}. Received: "
                f"{index.min()} to {index.max()}."
            )
        azimuth, elevation = np.divmod(index, self.n_elevations)
        return (
            self.azimuth_range_deg[0] + azimuth * self.step_deg,
            self.elevation_range_deg[0] + elevation * self.step_deg,
        )

    def _count(self, limits: tuple[float, float]) -> int:
        return round((limits[1] - limits[0]) / self.step_deg) + 1

    def _steps(self, angle_deg: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
        clipped = np.clip(np.asarray(angle_deg, np.float64), *limits)
        return np.floor((clipped - limits[0]) / self.step_deg).astype(np.int64)

    def _describe(self, limits: tuple[float, float]) -> str:
        return f"{limits[0]:g} to {limits[1]:g} in steps of {self.step_deg:g} degrees"

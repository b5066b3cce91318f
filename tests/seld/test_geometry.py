"""Coordinates, distances and the grid of directions."""

import numpy as np
import pytest

from common.errors import DataError
from seld.geometry import (
    AngleGrid,
    cartesian_distance,
    cartesian_to_spherical,
    spherical_distances_of_pairs,
    spherical_to_cartesian,
)

GRID = AngleGrid()


@pytest.mark.parametrize(
    ("azimuth_deg", "elevation_deg", "point"),
    [
        (0, 0, (1, 0, 0)),
        (90, 0, (0, 1, 0)),
        (-90, 0, (0, -1, 0)),
        (180, 0, (-1, 0, 0)),
        (37, 90, (0, 0, 1)),
    ],
)
def test_x_is_front_y_is_left_z_is_up(azimuth_deg, elevation_deg, point):
    assert spherical_to_cartesian(*np.radians([azimuth_deg, elevation_deg])) == pytest.approx(
        point, abs=1e-15
    )


def test_the_way_to_cartesian_and_back_changes_nothing():
    rng = np.random.default_rng(0)
    azimuth, elevation, radius = (
        rng.uniform(-3.1, 3.1, 500),
        rng.uniform(-1.5, 1.5, 500),
        rng.uniform(0.1, 5, 500),
    )
    points = spherical_to_cartesian(azimuth, elevation, radius)
    assert points.shape == (500, 3)
    np.testing.assert_allclose(
        cartesian_to_spherical(points), (azimuth, elevation, radius), atol=1e-12
    )


def test_the_origin_has_a_defined_direction():
    assert cartesian_to_spherical(np.zeros(3)) == (0.0, 0.0, 0.0)


def test_both_distances_agree_with_the_angle_of_the_dot_product():
    rng = np.random.default_rng(1)
    first, second = rng.normal(size=(2, 400, 3))
    (azimuth1, elevation1, _), (azimuth2, elevation2, _) = (
        cartesian_to_spherical(first),
        cartesian_to_spherical(second),
    )
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    expected = np.arccos(np.sum(first * second, axis=1) / lengths)
    np.testing.assert_allclose(cartesian_distance(first, second), expected, atol=1e-7)
    np.testing.assert_allclose(
        spherical_distances_of_pairs(
            np.column_stack([azimuth1, elevation1]),
            np.column_stack([azimuth2, elevation2]),
            np.arange(len(first)),
            np.arange(len(first)),
        ),
        expected,
        atol=1e-7,
    )


@pytest.mark.parametrize(
    ("first_deg", "second_deg", "distance_deg"),
    [
        ((0, 0), (90, 0), 90),
        ((170, 0), (-170, 0), 20),
        ((0, 40), (180, 40), 100),
        ((10, 20), (10, 20), 0),
        ((0, 0), (180, 0), 180),
    ],
)
def test_distances_known_by_heart(first_deg, second_deg, distance_deg):
    first, second = np.radians(first_deg), np.radians(second_deg)
    zero = np.zeros(1, int)
    (distance_rad,) = spherical_distances_of_pairs(first[None], second[None], zero, zero)
    assert np.degrees(distance_rad) == pytest.approx(distance_deg, abs=1e-5)
    points = spherical_to_cartesian(*first), spherical_to_cartesian(*second)
    assert np.degrees(cartesian_distance(*points)) == pytest.approx(distance_deg, abs=1e-13)


def test_tiny_distances_are_exact_between_cartesian_points():
    points = spherical_to_cartesian(np.array([0.3, 0.3 + 1e-9]), np.zeros(2))
    assert cartesian_distance(points[0], points[1]) == pytest.approx(1e-9, rel=1e-6)


def test_distance_from_the_origin_is_undefined():
    assert np.isnan(cartesian_distance(np.zeros(3), np.ones(3)))


def test_the_published_grid_has_36_azimuths_and_9_elevations():
    assert (GRID.n_azimuths, GRID.n_elevations, GRID.size) == (36, 9, 324)
    assert GRID.index_of([-180, -180, -170, 170], [-40, -30, -40, 40]).tolist() == [0, 1, 9, 323]


def test_index_to_angles_and_back_changes_nothing():
    index = np.arange(GRID.size)
    np.testing.assert_array_equal(GRID.index_of(*GRID.angles_of(index)), index)


@pytest.mark.parametrize(
    ("azimuth_deg", "elevation_deg"), [(180, 0), (15, 0), (0, 50), (0, -41), (10.5, 0), (-190, 20)]
)
def test_an_angle_off_the_grid_is_named(azimuth_deg, elevation_deg):
    message = (
        rf"Direction 2 of 2 is off the grid.*-180 to 170 in steps of 10.*azimuth {azimuth_deg:g},"
        r" elevation"
    )
    with pytest.raises(DataError, match=message):
        GRID.index_of([0, azimuth_deg], [0, elevation_deg])


@pytest.mark.parametrize("index", [-1, 324])
def test_an_index_outside_the_grid_is_an_error(index):
    with pytest.raises(ValueError, match="Expected: 0 to 323"):
        GRID.angles_of(np.array([index]))


def test_other_angles_are_clipped_and_lowered_to_the_grid():
    angles = GRID.angles_of(GRID.nearest_below([-185, 179, 19, -11], [-90, 90, 9, -1]))
    np.testing.assert_array_equal(angles, [[-180, 170, 10, -20], [-40, 40, 0, -10]])


def test_a_finer_grid_follows_its_step():
    grid = AngleGrid((-180.0, 175.0), (-60.0, 60.0), 5.0)
    assert (grid.n_azimuths, grid.n_elevations) == (72, 25)
    np.testing.assert_array_equal(
        grid.index_of(*grid.angles_of(np.arange(grid.size))), np.arange(grid.size)
    )

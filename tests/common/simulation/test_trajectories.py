"""Positions and paths of sources in rooms."""

import numpy as np
import pytest

from common.errors import ConfigError
from common.simulation.rooms import Room
from common.simulation.trajectories import (
    MAX_SPEED_M_S,
    WALL_MARGIN_M,
    SourceSpace,
    Trajectory,
    to_angles,
)

ROOM = Room("test", (9.0, 7.0, 3.0), (4.0, 3.0, 1.4), (0.5, 0.3))
SPACE = SourceSpace(ROOM, (0.5, 30.0), (-45.0, 45.0))
TIMES_S = np.arange(0, 15, 0.02)


def _paths(kind, n=30):
    rng = np.random.default_rng(3)
    starts = [SPACE.draw_position(rng) for _ in range(n)]
    return [SPACE.draw_trajectory(rng, start, kind, (5.0, 40.0)) for start in starts]


def _is_allowed(positions_m):
    """Literal reading of the limits, position by position."""
    for x, y, z in positions_m:
        for place, receiver, size in zip((x, y, z), ROOM.receiver_m, ROOM.size_m, strict=True):
            if not WALL_MARGIN_M - 1e-6 <= place + receiver <= size - WALL_MARGIN_M + 1e-6:
                return False
        if np.sqrt(x * x + y * y + z * z) < 0.5 - 1e-6:
            return False
        if abs(np.degrees(np.arctan2(z, np.hypot(x, y)))) > 45 + 1e-6:
            return False
    return True


def test_drawn_positions_are_within_the_room_and_the_limits():
    rng = np.random.default_rng(0)
    positions_m = np.stack([SPACE.draw_position(rng) for _ in range(300)])
    assert _is_allowed(positions_m)
    azimuth_deg, _, distance_m = to_angles(positions_m)
    assert distance_m.min() < 0.8 and distance_m.max() > 3.5
    assert all(np.sum((azimuth_deg // 90) == quadrant) > 40 for quadrant in (-2, -1, 0, 1))


@pytest.mark.parametrize("kind", ["sphere", "straight"])
def test_sources_stay_in_the_room_and_start_where_they_should(kind):
    for path in _paths(kind):
        positions_m = path.positions_m(TIMES_S)
        assert _is_allowed(positions_m)
        assert np.allclose(positions_m[0], path.start_m)


@pytest.mark.parametrize("kind", ["sphere", "straight"])
def test_no_source_is_faster_than_the_limit(kind):
    for path in _paths(kind):
        positions_m = path.positions_m(TIMES_S)
        units = positions_m / np.linalg.norm(positions_m, axis=1, keepdims=True)
        cosines = np.clip(np.sum(units[1:] * units[:-1], axis=1), -1, 1)
        speeds_deg_per_s = np.degrees(np.arccos(cosines)) / 0.02
        # The chord of a step past the receiver is as long as at its nearest point, at most.
        assert speeds_deg_per_s.max() <= path.max_speed_deg_per_s * 1.001 <= 40.05
        if kind == "straight":
            steps_m = np.linalg.norm(np.diff(positions_m, axis=0), axis=1)
            assert steps_m.max() <= MAX_SPEED_M_S * 0.02 * 1.001


def test_paths_on_a_sphere_keep_their_distance_and_lines_do_not():
    for path in _paths("sphere", 5):
        distances_m = np.linalg.norm(path.positions_m(TIMES_S), axis=1)
        assert np.allclose(distances_m, distances_m[0])
    ranges_m = [
        np.ptp(np.linalg.norm(path.positions_m(TIMES_S), axis=1)) for path in _paths("straight")
    ]
    assert np.median(ranges_m) > 0.5


def test_a_source_turns_back_at_the_end_of_its_path():
    path = Trajectory("straight", (1.0, 0.0, 0.0), (1.0, 0.0, 0.0), 1.0, (-0.5, 2.0))
    times_s = np.array([0.0, 1.0, 2.0, 3.0, 4.5, 5.0, 7.0])
    assert np.allclose(path.positions_m(times_s)[:, 0], [1, 2, 3, 2, 0.5, 1, 3])


def test_a_room_without_room_for_a_source_is_refused():
    with pytest.raises(ConfigError, match="No source fits into room test"):
        SourceSpace(ROOM, (8.0, 9.0), (-45.0, 45.0)).draw_position(np.random.default_rng(0))

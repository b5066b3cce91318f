"""Sounds of moving sources: direction, level, continuity, and responses along a path."""

import numpy as np
import pytest
from scipy.signal import butter, sosfilt

from common.simulation.moving import hop_s, moving_responses
from common.simulation.receivers import Receiver, SphericalArray
from common.simulation.renderer import FILTER_DELAY, build_filter_table, render_impulse_responses
from common.simulation.rooms import (
    EARLY_S,
    Reflections,
    Room,
    diffuse_tail,
    image_sources,
    moving_image_sources,
    reverberation,
)
from common.simulation.scenes import SceneSound, mix_scene
from common.simulation.sound_bank import DrySound
from common.simulation.trajectories import SourceSpace, Trajectory

RATE_HZ = 24000
ARRAY = SphericalArray(((45.0, 35.0), (-45.0, -35.0), (135.0, -35.0), (-135.0, 35.0)), 0.042)
TABLE = build_filter_table(None, Receiver(("foa",), ARRAY, "sn3d"), RATE_HZ)
ROOM = Room("test", (9.0, 7.0, 3.0), (4.0, 3.0, 1.4), (0.5, 0.3))
FAST = np.deg2rad(40.0)
CIRCLE = Trajectory("sphere", (1.2, 1.6, 0.0), (0.48, -0.36, 0.8), FAST, (-np.inf, np.inf))
# 0.8 m to the left at its nearest, both ways: 2 m/s would be too fast there.
LINE = Trajectory("straight", (2.5, 0.8, 0.3), (-1.0, 0.0, 0.0), 0.8 * FAST, (0.0, 5.0))


def _direct(position_m):
    distance_m = np.linalg.norm(position_m, keepdims=True)
    return Reflections((position_m / distance_m)[None], distance_m, 1 / distance_m, np.zeros(1))


def _anechoic(path, dry, table=TABLE):
    """Channels of a moving sound without walls, from the onset on, (channels, samples)."""
    responses = moving_responses(path, len(dry) / RATE_HZ, _direct, None, table)
    return np.stack(list(responses.convolve(dry)))[:, FILTER_DELAY:]


def _noise(duration_s, seed=0):
    return np.random.default_rng(seed).standard_normal(round(duration_s * RATE_HZ)).astype("f4")


def _angles_deg(first, second):
    cosines = np.sum(first * second, axis=1) / np.linalg.norm(first, axis=1)
    return np.degrees(np.arccos(np.clip(cosines / np.linalg.norm(second, axis=1), -1, 1)))


@pytest.mark.parametrize("path", [CIRCLE, LINE], ids=["sphere", "straight"])
def test_the_direction_is_that_of_the_trajectory_within_one_degree(path):
    w, y, z, x = _anechoic(path, _noise(6.0))
    frames = np.arange(1, 59)
    found = []
    for frame in frames:
        heard = slice(round(frame * 0.1 * RATE_HZ), round((frame + 1) * 0.1 * RATE_HZ))
        found.append([np.sum(w[heard] * axis[heard]) for axis in (x, y, z)])
    wanted = path.positions_m((frames + 0.5) * 0.1)
    assert _angles_deg(np.array(found), wanted).max() < 1.0


def test_the_level_follows_the_distance():
    # The table has a low-pass at 10 kHz.
    dry = sosfilt(butter(8, 7000, fs=RATE_HZ, output="sos"), _noise(6.0)).astype(np.float32)
    w = _anechoic(LINE, dry)[0]
    frames = np.arange(1, 59)
    distances_m = np.linalg.norm(LINE.positions_m((frames + 0.5) * 0.1), axis=1)
    levels_db = []
    for frame, distance_m in zip(frames, distances_m, strict=True):
        heard = np.arange(frame * 2400, (frame + 1) * 2400)
        power = np.mean(w[heard] ** 2) / np.mean(dry[heard - round(distance_m * 70)] ** 2)
        levels_db.append(10 * np.log10(power * distance_m**2))
    assert distances_m.max() / distances_m.min() > 2.5
    assert np.abs(levels_db).max() < 0.1


def test_sound_arrives_after_its_way_with_doppler():
    """A click reaches the receiver when distance / speed of sound has passed."""
    for click_s in (0.5, 2.0, 5.0):
        dry = np.zeros(6 * RATE_HZ, np.float32)
        dry[round(click_s * RATE_HZ)] = 1.0
        heard_s = np.abs(_anechoic(LINE, dry)[0]).argmax() / RATE_HZ
        way_s = np.linalg.norm(LINE.positions_m(np.array([heard_s]))) / 343.0
        assert heard_s - click_s == pytest.approx(way_s, abs=1.5 / RATE_HZ)


def _sine(duration_s, frequency_hz):
    fade = np.minimum(1, np.minimum(t := np.arange(round(duration_s * RATE_HZ)), t[::-1]) / 4800)
    return (fade * np.sin(2 * np.pi * frequency_hz * t / RATE_HZ)).astype(np.float32)


@pytest.mark.parametrize("path", [CIRCLE, LINE], ids=["sphere", "straight"])
@pytest.mark.parametrize("channel", range(4))
def test_a_moving_sine_has_no_clicks(path, channel):
    """Energy outside 100 Hz around the sine is as low as that of a source that stands still."""
    dry = _sine(4.0, 1000.0)

    def stray_db(x):
        power = np.abs(np.fft.rfft(x * np.hanning(len(x)))) ** 2
        hz = np.fft.rfftfreq(len(x), 1 / RATE_HZ)
        return 10 * np.log10(power[np.abs(hz - 1000) > 100].sum() / power.sum())

    still = Trajectory("sphere", path.start_m, (0.0, 0.0, 1.0), 1e-9, (-np.inf, np.inf))
    moved = stray_db(_anechoic(path, dry)[channel][: len(dry)])
    assert moved < max(stray_db(_anechoic(still, dry)[channel][: len(dry)]) + 10, -80.0)


def test_a_source_that_stands_still_sounds_as_without_movement():
    still = Trajectory("sphere", (1.2, 1.6, 0.0), (0.0, 0.0, 1.0), 1e-9, (-np.inf, np.inf))
    table = build_filter_table(ROOM, Receiver(("foa", "mic"), ARRAY), RATE_HZ)
    early = moving_image_sources(ROOM, np.array(still.start_m), EARLY_S)
    tail = diffuse_tail(ROOM, early, np.random.default_rng(0))
    late = reverberation(ROOM, np.array(still.start_m), np.random.default_rng(0))
    dry = _noise(1.0)
    moving = moving_responses(
        still, 1.0, lambda position_m: moving_image_sources(ROOM, position_m), late, table
    )
    response = render_impulse_responses(early.and_then(tail), table)
    for wet, channel in zip(moving.convolve(dry), response, strict=True):
        expected = np.convolve(dry, channel)[: len(dry)]
        assert np.allclose(wet[: len(dry)], expected, atol=2e-4 * np.abs(expected).max())


def test_images_of_a_moving_source_are_those_of_a_standing_one():
    for offset_m in ([1.0, -2.0, 0.5], [-3.5, 3.2, -1.0], [4.5, 0.1, 1.2]):
        fast, slow = (
            find(ROOM, np.array(offset_m), EARLY_S)
            for find in (moving_image_sources, image_sources)
        )
        assert len(fast.orders) == len(slow.orders)
        assert fast.orders[0] == 0 and fast.distances_m[0] == pytest.approx(
            np.linalg.norm(offset_m)
        )
        positions_m = [each.directions * each.distances_m[:, None] for each in (fast, slow)]
        apart_m = np.linalg.norm(positions_m[0][:, None] - positions_m[1][None], axis=2)
        match = apart_m.argmin(axis=1)
        assert apart_m.min(axis=1).max() < 1e-4 and len(set(match.tolist())) == len(match)
        assert np.allclose(fast.amplitudes, slow.amplitudes[match], atol=1e-5)
        assert np.array_equal(fast.orders, slow.orders[match])


def test_fast_sources_have_closer_responses():
    slow = Trajectory("sphere", (2.0, 0.0, 0.0), (0.0, 1.0, 0.0), np.deg2rad(10), (-1.0, 1.0))
    assert hop_s(CIRCLE) == pytest.approx(0.05) and hop_s(slow) == pytest.approx(0.1)


def test_a_moving_sound_is_mixed_like_any_other():
    space = SourceSpace(ROOM, (0.5, 30.0), (-45.0, 45.0))
    rng = np.random.default_rng(1)
    path = space.draw_trajectory(rng, space.draw_position(rng), "straight", (10.0, 40.0))
    responses = moving_responses(path, 1.0, _direct, None, TABLE)
    sound = SceneSound(DrySound(_noise(1.0)), responses, 2400, 0.0)
    mixture = mix_scene([sound], np.zeros((4, 64), np.float32), 0, 20000, 60.0)
    assert mixture.shape == (4, 20000) and np.abs(mixture[0]).max() == pytest.approx(0.25)
    assert not mixture[:, :2400].any() and mixture[0, 3000:].any()

"""Image sources, tails, reverberation."""

import itertools

import numpy as np
import pytest
from scipy.signal import butter, sosfilt

from common.simulation.receivers import SOUND_SPEED_M_S, Receiver, SphericalArray, unit_vectors
from common.simulation.renderer import build_filter_table, render_impulse_responses
from common.simulation.rooms import Room, diffuse_tail, image_sources

RATE_HZ = 48000
ARRAY = SphericalArray(((45.0, 35.0), (-45.0, -35.0), (135.0, -35.0), (-135.0, 35.0)), 0.042)
ROOM = Room("test", (12.0, 9.0, 3.2), (5.1, 4.2, 1.3), (0.55, 0.35))


def _closed_form(room, offset_m, duration_s):
    """Allen and Berkley: images at 2qL + s after |2q| hits, at 2qL - s after |2q - 1| hits."""
    source = np.array(room.receiver_m) + offset_m
    axes = []
    for length, s, m in zip(room.size_m, source, room.receiver_m, strict=True):
        reach = range(-12, 13)
        axes.append([(2 * q * length + s - m, abs(2 * q)) for q in reach])
        axes[-1] += [(2 * q * length - s - m, abs(2 * q - 1)) for q in reach]
    images = [(x, y, z, a + b + c) for (x, a), (y, b), (z, c) in itertools.product(*axes)]
    table = np.array(images)
    return table[np.linalg.norm(table[:, :3], axis=1) < duration_s * SOUND_SPEED_M_S]


@pytest.mark.parametrize("size_m", [(12.0, 9.0, 3.2), (22.0, 6.5, 9.0)])
def test_images_agree_with_the_closed_form(size_m):
    room = Room("test", size_m, (5.1, 3.1, 1.3), (0.6, 0.4))
    offset_m = 1.7 * unit_vectors(50.0, 10.0)
    found, expected = image_sources(room, offset_m, 0.05), _closed_form(room, offset_m, 0.05)
    assert len(found.orders) == len(expected)
    positions = found.directions * found.distances_m[:, None]
    nearest = np.linalg.norm(positions[:, None] - expected[None, :, :3], axis=2)
    match = nearest.argmin(axis=1)
    assert nearest.min(axis=1).max() < 1e-5 and len(set(match.tolist())) == len(match)
    assert np.array_equal(found.orders, expected[match, 3])
    amplitudes = room.low_reflection_factor ** expected[match, 3] / np.linalg.norm(
        expected[match, :3], axis=1
    )
    assert np.allclose(found.amplitudes, amplitudes, atol=1e-6)


def test_the_nearest_image_is_the_direct_sound():
    offset_m = 2.0 * unit_vectors(-120.0, 20.0)
    images = image_sources(ROOM, offset_m)
    assert images.distances_m[0] == pytest.approx(2.0) and images.orders[0] == 0
    assert np.allclose(images.directions[0], offset_m / 2.0, atol=1e-6)
    assert images.amplitudes[0] == pytest.approx(0.5)


def test_wall_absorption_follows_eyring():
    absorption = 1 - ROOM.low_reflection_factor**2
    expected_s = 0.161 * ROOM.volume_m3 / (-ROOM.surface_m2 * np.log(1 - absorption))
    assert expected_s == pytest.approx(0.55)
    assert ROOM.reverberation_at(np.array([0.0, 1e9])) == pytest.approx([0.55, 0.35])


def test_a_tail_continues_the_energy_of_the_images():
    images = image_sources(ROOM, 2.0 * unit_vectors(50.0, 10.0))
    tail = diffuse_tail(ROOM, images, np.random.default_rng(0))
    assert tail.delays_s.min() >= 0.08 and tail.delays_s.max() <= 0.8 * 0.55
    before = np.sum(images.amplitudes[images.delays_s > 0.06] ** 2)
    after = np.sum(tail.amplitudes[tail.delays_s < 0.1] ** 2)
    assert 10 * np.log10(before / after) == pytest.approx(60 * 0.02 / 0.55, abs=1.0)


def _t20_s(response, centre_hz):
    band = butter(3, [centre_hz / 1.41, centre_hz * 1.41], "bandpass", fs=RATE_HZ, output="sos")
    decay = np.cumsum(sosfilt(band, response.astype(float))[::-1] ** 2)[::-1]
    level_db = 10 * np.log10(decay / decay[0] + 1e-30)
    return 3 * (np.argmax(level_db < -25) - np.argmax(level_db < -5)) / RATE_HZ


@pytest.mark.parametrize(
    ("size_m", "receiver_m", "reverberation_s"),
    [
        ((12.0, 9.0, 3.2), (5.1, 4.2, 1.3), (0.55, 0.35)),
        ((18.0, 13.0, 4.5), (7.2, 5.9, 1.4), (0.75, 0.45)),
        ((22.0, 6.5, 9.0), (9.1, 3.1, 1.5), (1.1, 0.6)),
    ],
)
def test_t20_is_within_ten_percent_of_the_reverberation_time(size_m, receiver_m, reverberation_s):
    room = Room("test", size_m, receiver_m, reverberation_s)
    table = build_filter_table(room, Receiver(("foa",), ARRAY), RATE_HZ)
    rng = np.random.default_rng(1)
    responses = []
    for offset_m in (
        [4.5, 1.5, 0.5],
        [-4.5, 1.0, 0.2],
        [6.0, -2.0, 0.8],
        [-4.0, -2.5, 1.2],
        [5.0, 2.2, -0.4],
    ):
        # Far enough for the direct sound not to hide the decay, as ISO 3382 asks.
        images = image_sources(room, np.array(offset_m))
        responses.append(
            render_impulse_responses(images.and_then(diffuse_tail(room, images, rng)), table)[0]
        )
    for centre_hz in (500, 1000, 4000, 8000):
        expected_s = float(room.reverberation_at(np.array([centre_hz]))[0])
        measured_s = np.mean([_t20_s(response, centre_hz) for response in responses])
        assert measured_s == pytest.approx(expected_s, rel=0.1)

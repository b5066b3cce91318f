"""Directions, ambisonic gains, the rigid sphere."""

import numpy as np
import pytest
from scipy.special import spherical_jn, spherical_yn

from common.simulation.receivers import (
    Receiver,
    SphericalArray,
    check_formats,
    first_order_gains,
    rigid_sphere_response,
    unit_vectors,
)

ARRAY = SphericalArray(((45.0, 35.0), (-45.0, -35.0), (135.0, -35.0), (-135.0, 35.0)), 0.042)


@pytest.mark.parametrize(
    ("azimuth", "elevation", "expected"),
    [(0, 0, (1, 0, 0)), (90, 0, (0, 1, 0)), (37, 90, (0, 0, 1)), (180, 0, (-1, 0, 0))],
)
def test_front_left_and_top_point_along_x_y_and_z(azimuth, elevation, expected):
    assert np.allclose(unit_vectors(azimuth, elevation), expected, atol=1e-12)


def test_ambisonic_channels_are_in_the_order_w_y_z_x():
    directions = np.eye(3)  # front, left, top
    assert np.allclose(
        first_order_gains(directions, "sn3d"), [[1, 1, 1], [0, 1, 0], [0, 0, 1], [1, 0, 0]]
    )
    assert np.allclose(
        first_order_gains(directions, "n3d")[1:],
        np.sqrt(3) * first_order_gains(directions, "sn3d")[1:],
    )


def test_n3d_channels_have_equal_power_in_a_diffuse_field():
    directions = np.random.default_rng(0).standard_normal((200_000, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    assert np.allclose(np.mean(first_order_gains(directions, "n3d") ** 2, axis=1), 1.0, atol=0.02)


def test_the_sphere_does_nothing_at_zero_hertz():
    response = rigid_sphere_response(
        np.array([0.0, 1.0]), np.cos(np.deg2rad([0.0, 60.0, 180.0])), 0.042
    )
    assert np.all(response[:, 0] == 1.0)
    assert np.allclose(response[:, 1], 1.0, atol=2e-3)


def test_the_sphere_doubles_high_frequencies_in_front_and_delays_behind():
    front, back = rigid_sphere_response(np.array([20000.0]), np.array([1.0, -1.0]), 0.042)[:, 0]
    assert abs(front) == pytest.approx(2.0, abs=0.1)
    assert abs(back) < abs(front)
    low = rigid_sphere_response(np.array([100.0]), np.array([1.0, -1.0]), 0.042)[:, 0]
    assert np.angle(low[0]) > 0 > np.angle(low[1])  # exp(+iwt): the near side leads


def test_the_sphere_response_is_incident_plus_scattered_wave():
    radius_m, cosine, frequency_hz = 0.042, np.array([0.3]), np.array([3000.0])
    k = 2 * np.pi * frequency_hz / 343.0 * radius_m
    total = np.zeros(1, complex)
    for order in range(40):
        incident, slope = spherical_jn(order, k), spherical_jn(order, k, True)
        hankel = incident - 1j * spherical_yn(order, k)
        hankel_slope = slope - 1j * spherical_yn(order, k, True)
        legendre = np.polynomial.legendre.legval(cosine, np.eye(order + 1)[order])
        total += 1j**order * (2 * order + 1) * legendre * (incident - slope / hankel_slope * hankel)
    assert np.allclose(rigid_sphere_response(frequency_hz, cosine, radius_m)[0], total, rtol=1e-6)


def test_each_format_finds_its_channels():
    both, alone = Receiver(("foa", "mic"), ARRAY), Receiver(("mic",), ARRAY)
    channels = np.arange(8.0)[:, None]
    assert (both.n_channels, alone.n_channels) == (8, 5)
    assert both.signals_of("foa", channels).ravel().tolist() == [0, 1, 2, 3]
    assert both.signals_of("mic", channels).ravel().tolist() == [4, 5, 6, 7]
    assert alone.signals_of("mic", channels[:5]).ravel().tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("norm", ["n3d", "sn3d"])
def test_stereo_is_two_cardioids_to_the_left_and_the_right(norm):
    receiver = Receiver(("stereo",), ARRAY, norm)
    left_front_right = unit_vectors(np.array([90.0, 0.0, -90.0]), np.zeros(3))
    gains = first_order_gains(left_front_right, norm)[: receiver.n_channels]
    assert receiver.n_channels == 2
    left, right = receiver.signals_of("stereo", gains.astype(np.float32))
    assert np.allclose(left, [1, 0.5, 0], atol=1e-6) and np.allclose(right, [0, 0.5, 1], atol=1e-6)


@pytest.mark.parametrize("formats", [[], ["foa", "binaural"]])
def test_unknown_formats_are_refused(formats):
    with pytest.raises(ValueError, match="Expected: some of the formats"):
        check_formats(formats)


def test_formats_come_in_a_fixed_order():
    assert check_formats(["mic", "foa"]) == ("foa", "mic")

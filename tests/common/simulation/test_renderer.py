"""Filter tables and impulse responses, without walls: level, direction, onset."""

import numpy as np
import pytest
from scipy.signal import butter, sosfiltfilt

from common.simulation.receivers import (
    Receiver,
    SphericalArray,
    rigid_sphere_response,
    unit_vectors,
)
from common.simulation.renderer import (
    ANGLE_STEP_DEG,
    FILTER_DELAY,
    N_PHASES,
    N_TAPS,
    build_filter_table,
    render_impulse_responses,
    wall_colours,
)
from common.simulation.rooms import Reflections, Room

RATE_HZ = 48000
ARRAY = SphericalArray(((45.0, 35.0), (-45.0, -35.0), (135.0, -35.0), (-135.0, 35.0)), 0.042)
POSITIONS = [
    (-170, -40, 1),
    (-130, 10, 2),
    (-90, 20, 2),
    (-50, -20, 1),
    (-10, 0, 2),
    (0, 40, 1),
    (30, -10, 2),
    (80, 30, 1),
    (120, -30, 1),
    (160, 20, 2),
]


@pytest.fixture(scope="module")
def table():
    return build_filter_table(None, Receiver(("foa", "mic"), ARRAY), RATE_HZ)


def direct_sound(offset_m):
    """The one path there is without walls, from an offset (3,)."""
    distance_m = np.linalg.norm(offset_m, keepdims=True)
    return Reflections((offset_m / distance_m)[None], distance_m, 1 / distance_m, np.zeros(1))


def _anechoic(table, azimuth, elevation, distance):
    return render_impulse_responses(
        direct_sound(distance * unit_vectors(azimuth, elevation)), table
    )


def _angle_deg(first, second):
    return np.rad2deg(
        np.arccos(np.clip(first @ second / np.linalg.norm(first) / np.linalg.norm(second), -1, 1))
    )


def test_sphere_filters_deviate_by_at_most_minus_40_db(table):
    frequencies_hz = np.fft.rfftfreq(4096, 1 / RATE_HZ)
    band = (frequencies_hz >= 50) & (frequencies_hz <= 18000)
    for angle_deg in range(0, 181, 15):
        exact = rigid_sphere_response(
            frequencies_hz[band], np.cos(np.deg2rad([angle_deg])), ARRAY.radius_m
        )[0]
        for phase in (0, 7, N_PHASES // 2):
            taps = table.sphere[0, round(angle_deg / ANGLE_STEP_DEG), phase]
            delay = np.exp(
                -2j * np.pi * frequencies_hz[band] * (FILTER_DELAY + phase / N_PHASES) / RATE_HZ
            )
            error = np.abs(np.fft.rfft(taps, 4096)[band] - exact * delay)
            assert 20 * np.log10(error.max() / np.abs(exact).max()) < -40


def test_walls_colour_a_filter_once_for_each_hit():
    room = Room("test", (12.0, 9.0, 3.2), (5.1, 4.2, 1.3), (0.55, 0.35))
    frequencies_hz = np.array([0.0, 8000.0])
    once = room.reflection_factor(frequencies_hz) / room.low_reflection_factor
    colours = wall_colours(room, frequencies_hz)
    assert np.allclose(colours[:5], once ** np.arange(5)[:, None])
    table = build_filter_table(room, Receiver(("foa",), ARRAY), RATE_HZ)
    gains = (
        np.abs(np.fft.rfft(table.plain[4, 0], 480))[80]
        / np.abs(np.fft.rfft(table.plain[0, 0], 480))[80]
    )
    assert gains == pytest.approx(once[1] ** 4, rel=0.01)


@pytest.mark.parametrize("position", POSITIONS)
def test_foa_intensity_points_to_the_source_within_one_degree(table, position):
    w, y, z, x = _anechoic(table, *position)[:4]
    intensity = np.array([np.sum(w * x), np.sum(w * y), np.sum(w * z)])
    assert _angle_deg(intensity, unit_vectors(*position[:2])) < 1.0


def _steered(spectra, frequencies_hz, candidates):
    """Correlation of (4, F) spectra with those of candidate directions (n, 3), in [0, 1]."""
    cosines = candidates @ ARRAY.directions.T  # (n, 4)
    responses = rigid_sphere_response(frequencies_hz, cosines.ravel(), ARRAY.radius_m).reshape(
        *cosines.shape, -1
    )
    matched = np.abs(np.einsum("nmf,mf->nf", responses.conj(), spectra)) ** 2
    return np.sum(matched / np.sum(np.abs(responses) ** 2, axis=1), axis=1) / np.sum(
        np.abs(spectra) ** 2
    )


@pytest.mark.parametrize("position", POSITIONS)
def test_the_sphere_gives_the_direction_within_one_degree(table, position):
    frequencies_hz = np.arange(500.0, 8000.0, 500.0)
    response = _anechoic(table, *position)[4:]
    n = response.shape[1]
    # (4, F)
    spectra = response @ np.exp(-2j * np.pi * np.arange(n)[:, None] * frequencies_hz / RATE_HZ)
    azimuths, elevations = np.meshgrid(np.arange(-180, 180, 10), np.arange(-80, 90, 10))
    coarse = np.stack([azimuths.ravel(), elevations.ravel()], 1)
    best = coarse[_steered(spectra, frequencies_hz, unit_vectors(*coarse.T)).argmax()]
    steps = np.arange(-9, 9.25, 0.75)
    fine = best + np.stack(np.meshgrid(steps, steps), -1).reshape(-1, 2)
    found = fine[_steered(spectra, frequencies_hz, unit_vectors(*fine.T)).argmax()]
    assert _angle_deg(unit_vectors(*found), unit_vectors(*position[:2])) < 1.0


@pytest.mark.parametrize("position", POSITIONS[:5])
def test_both_formats_begin_after_the_propagation_delay(table, position):
    responses = _anechoic(table, *position)
    # Below 1 kHz the mean over the sphere is omnidirectional; above, the nearest microphone would
    # lead.
    low_pass = butter(2, 1000, fs=RATE_HZ, output="sos")
    w, sphere = (
        sosfiltfilt(low_pass, np.pad(x, 500)) for x in (responses[0], responses[4:].mean(axis=0))
    )
    expected = position[2] / 343.0 * RATE_HZ + FILTER_DELAY
    assert abs(np.abs(responses[0]).argmax() - expected) <= 1
    lag = np.correlate(sphere, w, "full").argmax() - (len(w) - 1)
    assert abs(lag) <= 2


def test_pressure_falls_with_distance(table):
    near, far = (np.fft.rfft(_anechoic(table, 0, 0, d)[0], 4096)[100] for d in (1.0, 2.0))
    assert abs(near) == pytest.approx(1.0, rel=0.01) and abs(far) == pytest.approx(0.5, rel=0.01)


def test_responses_add_up(table):
    one, two = direct_sound(np.array([1.0, 0.2, 0.1])), direct_sound(np.array([-2.0, 1.0, 0.0]))
    both = render_impulse_responses(one.and_then(two), table)
    parts = np.zeros_like(both)
    for part in (one, two):
        rendered = render_impulse_responses(part, table)
        parts[:, : rendered.shape[1]] += rendered
    assert np.allclose(both, parts, atol=1e-6)
    assert isinstance(one.and_then(two), Reflections)


def test_a_format_is_the_same_with_and_without_the_other(table):
    alone = build_filter_table(None, Receiver(("mic",), ARRAY), RATE_HZ)
    both = _anechoic(table, 30, 10, 2)
    only = _anechoic(alone, 30, 10, 2)
    assert np.array_equal(both[[0, 4, 5, 6, 7]], only)
    assert both.shape[1] == int(2 / 343 * RATE_HZ) + N_TAPS

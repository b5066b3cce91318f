"""Backgrounds of mono recordings, rooms and colours."""

import numpy as np
import pytest
from scipy.signal import fftconvolve

from common.simulation.backgrounds import (
    LOOP_KINDS,
    background_loop,
    mains_hum,
    mono_background,
    noise_floor,
    repeat_from,
    reverberate,
    room_response,
    tilt,
)
from common.simulation.random_streams import Draw

RATE_HZ = 16000


def _draw(seed=0):
    return Draw(np.random.default_rng(seed))


def _power_db(x, low_hz, high_hz):
    spectrum = np.abs(np.fft.rfft(x)) ** 2
    hz = np.fft.rfftfreq(len(x), 1 / RATE_HZ)
    return 10 * np.log10(spectrum[(hz >= low_hz) & (hz < high_hz)].mean())


def _rms(x):
    return float(np.sqrt(np.mean(np.square(x, dtype=np.float64))))


@pytest.mark.parametrize("seed", range(4))
def test_noise_falls_with_frequency_between_white_and_brown(seed):
    x = noise_floor(_draw(seed), 10 * RATE_HZ, RATE_HZ)
    fall_db = (_power_db(x, 200, 250) - _power_db(x, 3200, 4000)) / 4  # per octave
    assert _rms(x) == pytest.approx(1.0, abs=1e-3)
    assert 0.6 * 3 - 0.5 < fall_db < 1.8 * 3 + 0.5


def test_hum_has_power_only_at_harmonics_of_the_mains():
    spectrum = np.abs(np.fft.rfft(mains_hum(_draw(), 10 * RATE_HZ, RATE_HZ))) ** 2
    loudest = np.sort(np.argsort(spectrum)[-4:]) / 10
    assert loudest.tolist() in ([50, 100, 150, 200], [60, 120, 180, 240])
    assert np.sort(spectrum)[-4:].sum() > 0.99 * spectrum.sum()


@pytest.mark.parametrize("kind", LOOP_KINDS)
def test_loops_have_unit_rms(kind):
    x = background_loop(kind, _draw(), RATE_HZ, 2**16)
    assert x.shape == (2**16,) and x.dtype == np.float32
    assert _rms(x) == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("recipes", ["plain", "wide"])
def test_backgrounds_have_unit_rms_with_loops_and_without(recipes):
    loops = [background_loop("steps", _draw(), RATE_HZ, 2**15)]
    sounds = [
        mono_background(_draw(seed), 3 * RATE_HZ, RATE_HZ, given, recipes)
        for seed in range(5)
        for given in ((), loops)
    ]
    assert [_rms(x) for x in sounds] == pytest.approx([1.0] * 10, abs=1e-3)


def test_a_loop_goes_round():
    assert repeat_from(np.arange(4.0), 3, 7).tolist() == [3, 0, 1, 2, 3, 0, 1]


def test_a_room_response_decays_by_its_reverberation_time():
    response = room_response(_draw(), RATE_HZ, (0.5, 0.5), (6.0, 6.0))
    assert np.sum(response**2) == pytest.approx(1.0, rel=1e-4)
    assert 10 * np.log10(response[0] ** 2 / np.sum(response[1:] ** 2)) == pytest.approx(
        6.0, abs=0.01
    )
    remaining_db = 10 * np.log10(np.cumsum(response[:0:-1] ** 2)[::-1])
    slope = np.polyfit(np.arange(800, 3200) / RATE_HZ, remaining_db[800:3200], 1)[0]
    assert -60 / slope == pytest.approx(0.5, rel=0.1)


def test_reverberation_is_a_convolution_cut_at_the_end():
    x, response = _draw().noise(3000), room_response(_draw(1), RATE_HZ, (0.1, 0.1), (0.0, 3.0))
    assert np.allclose(reverberate(x, response), fftconvolve(x, response)[:3000], atol=1e-5)


@pytest.mark.parametrize("tilt_db", [-9.0, -3.0, 6.0])
def test_a_tilt_spans_its_size_over_all_frequencies(tilt_db):
    x = tilt(_draw().noise(20 * RATE_HZ), tilt_db)
    assert _power_db(x, 7900, 8000) - _power_db(x, 10, 100) == pytest.approx(tilt_db, abs=0.5)

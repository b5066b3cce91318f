"""Building blocks of procedural sounds."""

import numpy as np
import pytest
from scipy.signal import welch

from common.simulation.random_streams import Draw
from common.simulation.sounds.synthesis import (
    Voice,
    add_at,
    coloured_noise,
    crest_factor_db,
    damped_modes,
    fade_edges,
    limit_crest,
    resonate,
    slow_control,
    voiced,
)

RATE_HZ = 16000


@pytest.fixture
def draw():
    return Draw(np.random.default_rng(0))


@pytest.mark.parametrize("slope", [0.0, 1.0, 2.0])
def test_coloured_noise_falls_with_its_slope(draw, slope):
    frequencies, power = welch(
        coloured_noise(draw, 8 * RATE_HZ, RATE_HZ, slope), RATE_HZ, nperseg=2048
    )
    band = (frequencies > 100) & (frequencies < 6000)
    measured = -np.polyfit(np.log(frequencies[band]), np.log(power[band]), 1)[0]
    assert measured == pytest.approx(slope, abs=0.1)


def test_a_mode_has_its_frequency_and_decay(draw):
    x = damped_modes(draw, RATE_HZ, RATE_HZ, [1000.0], 0.5)
    assert np.argmax(np.abs(np.fft.rfft(x))) == 1000
    envelope = [np.abs(x[start : start + 160]).max() for start in (0, RATE_HZ // 4)]
    assert 20 * np.log10(envelope[1] / envelope[0]) == pytest.approx(-30, abs=0.5)


def test_modes_above_the_sample_rate_are_left_out(draw):
    assert not damped_modes(draw, 100, RATE_HZ, [9000.0], 0.5).any()


def test_a_resonator_peaks_at_its_centre(draw):
    impulse = np.eye(1, RATE_HZ, dtype=np.float32)[0]
    assert np.argmax(
        np.abs(np.fft.rfft(resonate(impulse, RATE_HZ, [2000.0], [50.0])))
    ) == pytest.approx(2000, abs=2)


def test_a_voice_has_the_given_pitch(draw):
    x = voiced(draw, 1.0, RATE_HZ, 200.0, Voice("a", jitter=0.0, breath=0.0), 200.0)
    lags = np.correlate(x[4000:6000], x[4000:6000], "full")[1999:]
    assert np.argmax(lags[40:200]) + 40 == pytest.approx(RATE_HZ / 200, abs=1)


def test_sounds_are_cut_at_the_end():
    x = np.zeros(5, np.float32)
    add_at(x, np.ones(10, np.float32), 3 / RATE_HZ, RATE_HZ, gain=2.0)
    assert x.tolist() == [0, 0, 0, 2, 2]


def test_fades_start_and_end_near_zero():
    x = fade_edges(np.ones(1000, np.float32), RATE_HZ, 0.01)
    assert x[0] == 0 and abs(x[-1]) < 1e-3 and np.all(x[160:-160] == 1)


def test_control_curves_stay_within_their_limits(draw):
    curve = slow_control(draw, RATE_HZ, RATE_HZ, 10.0, -1.0, 3.0)
    assert curve.min() >= -1 and curve.max() <= 3 and np.ptp(curve) > 2


def test_crest_factors_are_limited_without_changing_quiet_samples():
    rng = np.random.default_rng(0)
    x = 0.01 * rng.standard_normal(10_000).astype(np.float32)
    x[5000] = 1.0
    limited = limit_crest(x, 18.0)
    assert crest_factor_db(x) > 35 and crest_factor_db(limited) <= 18.0
    quiet = np.abs(x) < 0.005
    assert np.allclose(limited[quiet], x[quiet], rtol=0.1)


def test_silence_has_no_crest_to_limit():
    assert not limit_crest(np.zeros(10, np.float32), 18.0).any()

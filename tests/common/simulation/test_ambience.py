"""Ambience loops."""

import numpy as np
import pytest

from common.simulation.ambience import EXTRAS, Ambience, loop_length, render_background, render_loop
from common.simulation.random_streams import Draw, random_stream
from common.simulation.receivers import Receiver, SphericalArray

RATE_HZ = 48000
N = 2**16
ARRAY = SphericalArray(((45.0, 35.0), (-45.0, -35.0), (135.0, -35.0), (-135.0, 35.0)), 0.042)
BOTH = Receiver(("foa", "mic"), ARRAY)


def _loop(ambience, receiver=BOTH):
    return render_loop(ambience, receiver, Draw(random_stream(0, "ambience")), RATE_HZ, N)


def test_w_has_unit_power_and_the_noise_is_diffuse():
    loop = _loop(Ambience(1.0))
    assert loop.shape == (8, N) and loop.dtype == np.float32
    assert np.mean(loop[0].astype(float) ** 2) == pytest.approx(1.0, rel=1e-3)
    correlations = np.corrcoef(loop[:4])
    assert np.abs(correlations - np.eye(4)).max() < 0.35
    assert np.allclose(np.var(loop[1:4], axis=1), 1.0, atol=0.35)


def test_the_loop_has_no_seam():
    loop = _loop(Ambience(2.0, ("hum",)))
    steps = np.abs(np.diff(loop, axis=1))
    assert np.all(np.abs(loop[:, 0] - loop[:, -1]) <= steps.max(axis=1))


def test_a_steeper_slope_moves_power_to_low_frequencies():
    def low_part(slope):
        power = np.abs(np.fft.rfft(_loop(Ambience(slope), Receiver(("foa",), ARRAY))[0])) ** 2
        return power[: N * 500 // RATE_HZ].sum() / power.sum()

    assert low_part(2.0) > low_part(1.0) + 0.1


def test_hum_stands_at_harmonics_of_the_mains():
    power = np.abs(np.fft.rfft(_loop(Ambience(1.0, ("hum",)))[0])) ** 2
    harmonics = np.rint(50 * np.arange(1, 7) * N / RATE_HZ).astype(int)
    between = harmonics + harmonics[0] // 2
    assert power[harmonics].mean() > 50 * power[between].mean()


@pytest.mark.parametrize("extra", EXTRAS)
def test_each_extra_adds_its_sound(extra):
    plain, filled = _loop(Ambience(1.0)), _loop(Ambience(1.0, (extra,)))
    correlation = np.corrcoef(plain[0], filled[0])[0, 1]
    assert np.all(np.isfinite(filled)) and 0.5 < correlation < 0.99


def test_w_does_not_depend_on_the_other_format():
    ambience = Ambience(1.0, ("babble",))
    assert np.array_equal(_loop(ambience)[:4], _loop(ambience, Receiver(("foa",), ARRAY)))


@pytest.mark.parametrize(
    ("samples", "length"), [(60 * 48000, 2**20), (6 * 48000, 2**19), (2**10, 2**10)]
)
def test_loops_are_powers_of_two_up_to_22_seconds(samples, length):
    assert loop_length(samples) == length


def test_a_recording_becomes_diffuse_and_keeps_times_and_spectrum():
    rate_hz, n = 16000, 2**15
    x = np.random.default_rng(0).standard_normal(n).astype(np.float32)
    x[: n // 2] *= np.float32(0.01)
    receiver = Receiver(("foa",), ARRAY)
    loop = render_background(x, receiver, Draw(random_stream(0, "test")), rate_hz, n)
    powers = np.var(loop, axis=1)
    assert powers[0] == pytest.approx(1.0, abs=0.01)
    assert powers[1:4] == pytest.approx(1.0, abs=0.3)  # N3D in a diffuse field
    assert np.abs(np.corrcoef(loop[:4])[0, 1:]).max() < 0.3
    quiet, loud = loop[0, n // 8 : n // 2], loop[0, n // 2 + 1600 :]
    assert 10 * np.log10(np.var(loud) / np.var(quiet)) > 30
    tone = np.sin(2 * np.pi * 1000 * np.arange(n) / rate_hz).astype(np.float32)
    loop = render_background(tone, receiver, Draw(random_stream(0, "test")), rate_hz, n)
    spectrum = np.abs(np.fft.rfft(loop[0])) ** 2
    assert spectrum[2048 - 3 : 2048 + 4].sum() > 0.999 * spectrum.sum()

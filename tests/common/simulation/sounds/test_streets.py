"""Sounds of the street."""

import numpy as np
import pytest

from common.simulation.random_streams import Draw, random_stream
from common.simulation.sounds.streets import pass_cars, run_engine, sing_birds

RATE_HZ = 16000


def _centre_hz(x: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(x)) ** 2
    return float(np.sum(spectrum * np.fft.rfftfreq(len(x), 1 / RATE_HZ)) / spectrum.sum())


@pytest.mark.parametrize("make", [run_engine, pass_cars, sing_birds])
def test_a_sound_fills_its_length_and_can_be_made_again(make):
    first, again, other = (
        make(Draw(random_stream(seed, "street")), RATE_HZ, 5 * RATE_HZ) for seed in (0, 0, 1)
    )
    assert (
        first.dtype == np.float32 and first.shape == (5 * RATE_HZ,) and np.all(np.isfinite(first))
    )
    assert np.array_equal(first, again) and not np.allclose(first, other, atol=1e-3)
    assert np.all(first[-2 * RATE_HZ :].std() > 0.01 * first.std())


def test_engines_are_low_and_birds_are_high():
    engine, birds = (
        make(Draw(random_stream(2, "street")), RATE_HZ, 5 * RATE_HZ)
        for make in (run_engine, sing_birds)
    )
    assert _centre_hz(engine) < 500 < 2000 < _centre_hz(birds) < 6500


def test_passing_cars_swell():
    x = pass_cars(Draw(random_stream(3, "street")), RATE_HZ, 20 * RATE_HZ)
    levels = x.reshape(-1, RATE_HZ // 2).std(axis=1)
    assert levels.max() > 2 * levels.min()

"""Surroundings of wide clips: noise that swells, and what happens in it."""

import numpy as np
import pytest

from common.simulation.backgrounds import mono_background
from common.simulation.random_streams import Draw
from common.simulation.sounds.wide import surroundings as module
from common.simulation.sounds.wide.surroundings import surroundings

RATE_HZ = 16000
N = 4 * RATE_HZ


def _draw(seed):
    return Draw(np.random.default_rng(seed))


def _levels_db(x):
    """Levels of blocks of 50 ms."""
    blocks = x[: len(x) // 800 * 800].reshape(-1, 800).astype(np.float64)
    return 10 * np.log10(np.mean(np.square(blocks), axis=1) + 1e-12)


@pytest.mark.parametrize("seed", range(6))
def test_surroundings_have_unit_rms_and_repeat_by_seed(seed):
    x = surroundings(_draw(seed), N, RATE_HZ)
    assert x.shape == (N,) and x.dtype == np.float32
    assert np.sqrt(np.mean(np.square(x, dtype=np.float64))) == pytest.approx(1.0, abs=1e-3)
    np.testing.assert_array_equal(x, surroundings(_draw(seed), N, RATE_HZ))


def test_levels_of_wide_backgrounds_move_more_than_those_of_plain_ones():
    def movement(recipes):
        sounds = (mono_background(_draw(seed), N, RATE_HZ, (), recipes) for seed in range(12))
        return np.median([np.std(_levels_db(x)) for x in sounds])

    assert movement("wide") > 1.2 * movement("plain")


@pytest.mark.parametrize("make", module._HAPPENINGS)
def test_all_that_happens_is_finite_and_heard(make):
    for seed in range(8):
        x = make(_draw(seed), N, RATE_HZ)
        assert x.shape == (N,) and np.all(np.isfinite(x)) and np.abs(x).max() > 1e-3


def test_chirps_lie_above_a_kilohertz():
    x = module._chirps(_draw(1), N, RATE_HZ)
    power = np.abs(np.fft.rfft(x)) ** 2
    assert power[np.fft.rfftfreq(N, 1 / RATE_HZ) > 800].sum() > 0.98 * power.sum()

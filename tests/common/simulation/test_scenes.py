"""Layers of events and their mixture with ambience."""

import numpy as np
import pytest

from common.simulation.scenes import PEAK_OF_W, SceneSound, draw_layer, fit_duration, mix_scene
from common.simulation.sound_bank import DrySound

RATE_HZ = 8000


def _layer(seed, duration_s=600.0):
    rng = np.random.default_rng(seed)

    def choose(onset_s):
        event_s = float(rng.uniform(0.2, 3.0))
        return (onset_s, event_s), event_s

    return np.array(draw_layer(rng, duration_s, choose))


def test_gaps_within_a_layer_are_half_to_1_5_s():
    events = _layer(0)
    gaps = events[1:, 0] - events[:-1].sum(axis=1)
    assert 0.1 <= events[0, 0] <= 1.0
    assert gaps.min() >= 0.5 and gaps.max() <= 1.5 and gaps.mean() == pytest.approx(1.0, abs=0.06)


def test_a_layer_fills_the_scene_to_its_end():
    events = _layer(1, duration_s=20.0)
    assert events[-1, 0] < 20.0 <= events[-1].sum() + 1.5


def _noise(seed, n):
    return np.random.default_rng(seed).standard_normal(n).astype(np.float32)


def _sound(seed, onset_sample, gain_db=0.0, n=4000):
    return SceneSound(DrySound(_noise(seed, n)), np.ones((2, 1), np.float32), onset_sample, gain_db)


def test_events_have_the_given_ratio_to_the_ambience():
    sounds = [_sound(seed, 10_000 * seed) for seed in (1, 2, 3, 4)]
    loop = _noise(9, 2 * 2**14).reshape(2, -1)
    mixture = mix_scene(sounds, loop, 77, 50_000, snr_db=12.0)
    events = np.concatenate([mixture[0, s.onset_sample : s.onset_sample + 4000] for s in sounds])
    ratio_db = 10 * np.log10(np.var(events) / np.var(mixture[0, :10_000]))
    # the ambience continues under the events
    assert ratio_db == pytest.approx(10 * np.log10(1 + 10**1.2), abs=0.3)


def test_gains_set_the_levels_of_events_against_each_other():
    quiet, loud = _sound(1, 0, gain_db=-6.0), _sound(2, 10_000, gain_db=6.0)
    mixture = mix_scene([quiet, loud], np.zeros((2, 64), np.float32), 0, 20_000, 30.0)
    powers = [np.var(mixture[0, start : start + 4000]) for start in (0, 10_000)]
    assert 10 * np.log10(powers[1] / powers[0]) == pytest.approx(12.0, abs=0.01)


def test_silence_beside_active_seconds_does_not_change_levels():
    noise, pause = _noise(5, 4000), np.zeros(6000, np.float32)
    padded = DrySound(np.concatenate([noise, pause, noise]), ((0, 4000), (10_000, 14_000)))
    responses, loop = np.ones((2, 1), np.float32), _noise(9, 2 * 2**14).reshape(2, -1)
    for sounds in ([_sound(5, 0), _sound(5, 10_000)], [SceneSound(padded, responses, 0, 0.0)]):
        mixture = mix_scene(sounds, loop, 0, 30_000, snr_db=20.0)
        heard = np.concatenate([mixture[0, :4000], mixture[0, 10_000:14_000]])
        ratio_db = 10 * np.log10(np.var(heard) / np.var(mixture[0, 20_000:]))
        assert ratio_db == pytest.approx(10 * np.log10(1 + 100), abs=0.2)


def test_sounds_are_convolved_and_cut_at_both_ends():
    responses = np.zeros((2, 3), np.float32)
    responses[0, 2], responses[1, 0] = 1.0, 2.0
    dry = DrySound(np.array([1.0, 1.0, 1.0, 1.0], np.float32))
    silent = np.zeros((2, 8), np.float32)
    mixture = mix_scene(
        [SceneSound(dry, responses, -1, 0.0), SceneSound(dry, responses, 8, 0.0)],
        silent,
        0,
        10,
        30.0,
    )
    scaled = mixture / PEAK_OF_W
    assert np.allclose(scaled[0], [0, 1, 1, 1, 1, 0, 0, 0, 0, 0], atol=1e-5)
    assert np.allclose(scaled[1], [2, 2, 2, 0, 0, 0, 0, 0, 2, 2], atol=1e-5)


def test_a_scene_without_events_is_ambience():
    loop = _noise(0, 2 * 64).reshape(2, 64)
    mixture = mix_scene([], loop, 60, 200, 30.0)
    assert np.abs(mixture[0]).max() == pytest.approx(PEAK_OF_W)
    assert np.allclose(mixture[:, :4] / mixture[0, 0], loop[:, 60:64] / loop[0, 60], rtol=1e-4)
    assert np.allclose(mixture[:, :100], mixture[:, 64:164])


def test_examples_are_cut_or_repeated_to_the_event_duration():
    rng = np.random.default_rng(0)
    short, long = np.full(1000, 0.5, np.float32), np.ones(3000, np.float32)
    sounds = [DrySound(short), DrySound(long, ((0, 500),))]
    cut = fit_duration(sounds, 2000, rng)
    assert len(cut.samples) == 2000 and cut.samples[0] == 1.0 and cut.samples[-1] == 0.0
    assert cut.active == ((0, 500),)
    assert len(fit_duration(sounds, 7000, rng).samples) == 7000
    assert long[-1] == 1.0  # the bank is not changed

"""Masks of one give the mixture back, and ratios of signals are those of plain formulas."""

import math
from itertools import pairwise

import numpy as np
import pytest
import scipy.signal
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import DataError
from sed_task4.features import FeatureConfig
from sed_task4.segmentation.separation import (
    MaskFraming,
    check_length,
    inside_events,
    linear_masks,
    separate,
    separation_quality,
    si_sdr,
)

PUBLISHED = MaskFraming.of(FeatureConfig(kind="ln_mel_density"), 32000)
SMALL = MaskFraming(256, 256, 128, sample_rate_hz=8000, n_mels=16, fmin_hz=50.0)


def noise(n_samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, n_samples).astype(np.float32)


def test_the_framing_is_that_of_the_features():
    assert (PUBLISHED.window_samples, PUBLISHED.hop_samples, PUBLISHED.n_fft, PUBLISHED.hop_s) == (
        2048,
        1024,
        2048,
        0.032,
    )
    assert PUBLISHED.mel_magnitude(noise(320000)).shape == (311, 64)


@pytest.mark.parametrize("n_samples", [1, 2047, 2048, 32000, 32001, 40000])
def test_a_mask_of_ones_returns_the_mixture_edges_included(n_samples):
    audio = noise(n_samples)
    frames = max(1, (n_samples - 1024) // 1024)
    assert np.abs(separate(audio, np.ones((frames, 64)), PUBLISHED) - audio).max() < 1e-6


@settings(max_examples=20, deadline=None)
@given(
    st.integers(1, 2000),
    st.integers(16, 256),
    st.integers(1, 400),
    st.integers(1, 20),
    st.integers(0, 2**31),
)
def test_a_mask_of_ones_returns_the_mixture_at_any_hop(n_samples, window, hop, n_frames, seed):
    framing = MaskFraming(window, 256, hop, sample_rate_hz=8000, n_mels=16, fmin_hz=50.0)
    audio = noise(n_samples, seed)
    assert np.abs(separate(audio, np.ones((n_frames, 16)), framing) - audio).max() < 1e-5


def test_separated_parts_sum_to_the_mixture():
    audio = noise(5000)
    masks = np.random.default_rng(1).dirichlet(np.ones(3), (38, 16))  # (T, F, 3)
    parts = separate(audio, masks, SMALL)
    assert parts.shape == (5000, 3)
    assert np.abs(parts.sum(axis=1) - audio).max() < 1e-5
    assert np.array_equal(parts[:, 1], separate(audio, masks[..., 1], SMALL))


def test_blocks_leave_no_seam():
    audio = noise(128 * 700)
    mask = np.random.default_rng(1).random((699, 16))
    whole = separate(audio, mask, SMALL)
    part = separate(audio[128 * 200 : 128 * 300], mask[200:299], SMALL)
    assert np.abs(whole[128 * 202 : 128 * 298] - part[256:-256]).max() < 1e-6


def test_a_mask_lets_its_frames_and_bands_through():
    times = np.arange(16000) / 8000
    low, high = np.sin(2 * np.pi * 300 * times), np.sin(2 * np.pi * 3000 * times)
    middle = SMALL.filters.argmax(axis=0) * 8000 / 256  # of each band, Hz
    masks = np.stack([np.tile(middle < 1000, (124, 1)), np.tile(middle > 1000, (124, 1))], axis=-1)
    masks[62:] = 0
    parts = separate(low + high, masks, SMALL)
    for part, tone in zip(parts.T, (low, high), strict=True):
        assert si_sdr(part[:7800], tone[:7800]) > 20
    assert np.abs(parts[8400:]).max() < 1e-6


def test_masks_spread_from_bands_to_bins_as_published():
    mask = np.random.default_rng(0).random((5, 64))
    total = PUBLISHED.filters.sum(axis=1)
    published = mask @ (PUBLISHED.filters / (total[:, None] + 1e-8)).T
    covered = total > 1e-4
    assert np.allclose(linear_masks(mask, PUBLISHED)[:, covered], published[:, covered], rtol=2e-4)
    assert not published[:, 0].any()
    assert np.allclose(
        linear_masks(mask, PUBLISHED)[:, 0], mask[:, 0]
    )  # below 50 Hz: the lowest band
    assert np.allclose(linear_masks(mask, PUBLISHED)[:, -1], mask[:, -1])


def test_the_frames_are_scipys():
    audio = noise(1000)
    mask = np.zeros((6, 16))
    mask[2] = 1  # samples 256 to 511
    window = np.hamming(256)
    _, _, spectra = scipy.signal.stft(audio, 1.0, window, 256, 128, boundary=None, padded=False)
    frame = np.fft.irfft(spectra[:, 2] * window.sum()) * window
    expected = frame / (window**2 + np.roll(window, 128) ** 2)
    assert np.allclose(separate(audio, mask, SMALL)[256:512], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("audio", "masks"),
    [
        (np.zeros((9, 2)), np.ones((1, 16))),
        (np.zeros(0), np.ones((1, 16))),
        (np.zeros(9), np.ones((0, 16))),
        (np.zeros(9), np.ones((1, 64))),
    ],
)
def test_audio_that_cannot_be_separated_is_refused(audio, masks):
    with pytest.raises(
        ValueError, match=r"Expected: `audio` \(samples,\) and `masks` \(frames, 16, classes\)"
    ):
        separate(audio, masks, SMALL)


def test_masks_of_other_bands_are_refused():
    with pytest.raises(ValueError, match=r"Expected: a mask \(frames, 16\). Received: \(3, 64\)"):
        linear_masks(np.ones((3, 64)), SMALL)


def test_a_recording_shorter_than_one_window_is_refused():
    with pytest.raises(
        DataError, match=r"a.wav is too short. Expected: at least 0.064 s.*Received: 0.03125 s"
    ):
        check_length(np.zeros(1000), PUBLISHED, "a.wav")


def test_si_sdr_is_scale_invariant():
    rng = np.random.default_rng(0)
    reference, other = rng.normal(size=(2, 4000))
    other -= reference * (other @ reference) / (reference @ reference)  # orthogonal
    other *= np.linalg.norm(reference) / np.linalg.norm(other)
    for level_db in (-20.0, 0.0, 7.5):
        estimate = 3.0 * (reference + other * 10 ** (-level_db / 20))
        assert math.isclose(si_sdr(estimate, reference), level_db, abs_tol=1e-9)


def test_si_sdr_of_silence():
    signal = np.array([1.0, -1.0, 0.5])
    assert si_sdr(2 * signal, signal) == math.inf
    assert si_sdr(np.zeros(3), signal) == -math.inf
    assert math.isnan(si_sdr(signal, np.zeros(3)))
    with pytest.raises(ValueError, match=r"Expected: \(3,\). Received: \(2,\)"):
        si_sdr(np.zeros(2), signal)


def test_a_time_gate_gains_nothing_within_the_event():
    reference, scene = np.zeros(10000), np.random.default_rng(1).normal(size=10000)
    reference[2000:3000] = np.random.default_rng(0).normal(size=1000)
    inside = reference != 0
    mixture = reference + scene
    quality = separation_quality(np.where(inside, mixture, 0), mixture, reference, inside)
    assert 8.5 < quality.gain_db < 11.5  # a tenth of the noise is left
    assert quality.event_gain_db == 0
    assert separation_quality(mixture, mixture, reference, inside).gain_db == 0


def test_no_ratio_counts_for_more_than_the_limit():
    reference = noise(100)
    mixture = reference + noise(100, 1)
    everywhere = np.ones(100, bool)
    assert separation_quality(reference, mixture, reference, everywhere).si_sdr_db == 60
    assert separation_quality(np.zeros(100), mixture, reference, everywhere, 40).si_sdr_db == -40


def test_samples_inside_events_are_those_from_onset_to_offset():
    inside = inside_events(np.array([[0, 0.1, 0.2], [1, 0.3, 9.0]]), 100, 50)
    edges = [0, 10, 20, 30, 50]
    assert [inside[a:b].all() for a, b in pairwise(edges)] == [False, True, False, True]
    assert inside.sum() == 30

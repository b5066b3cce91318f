"""SALSA against an eigenvalue solver bin by bin; phases against plane waves."""

from dataclasses import replace

import numpy as np
import pytest

from common.features import salsa, spectral
from common.features.kinds import FeatureSizes
from common.features.salsa import BinRange

RATE_HZ = 24000
SIZES = FeatureSizes(
    window_samples=256,
    n_fft=256,
    hop_samples=150,
    kind="salsa_foa",
    channels=4,
    sample_rate_hz=RATE_HZ,
    fmax_doa_hz=4000.0,
)


def scene(samples=9000, channels=4, seed=0):
    """A source in each of two halves of time, in noise, both with other gains of the channels."""
    rng = np.random.default_rng(seed)
    sources = rng.standard_normal((2, samples)) * [[0.3], [0.1]]
    sources[0, samples // 2 :] *= 0.02
    audio = rng.standard_normal((channels, 2)) @ sources
    return (audio.T + 0.005 * rng.standard_normal((samples, channels))).astype(np.float32)


def literal_floor(magnitude, t, state):
    """Noise floor of one bin after frame t, by the rules one by one; `state`: floor and count."""
    average = np.sqrt(np.mean(magnitude[t : t + 3] ** 2))
    floor, rising = state
    if average > floor:
        floor, rising = floor * (1.02 if rising < 3 else 1.002), rising + 1
    else:
        floor, rising = floor * 0.98, 0
    return average, (max(floor, 1e-6), rising)


def literal_salsa(audio, sizes, n_frames, audio_format):
    """Spatial features bin by bin, with numpy's singular values: (T, bins, C - 1)."""
    spectra = spectral.stft(audio, sizes, n_frames).astype(complex)  # (T, F, C)
    bins = range(
        max(1, int(sizes.fmin_doa_hz * sizes.n_fft / RATE_HZ)),
        int(sizes.fmax_doa_hz * sizes.n_fft / RATE_HZ),
    )
    mode = "wrap" if sizes.wrap_around else "reflect"
    padded = np.pad(spectra, ((3, 3), (0, 0), (0, 0)), mode=mode)
    found = np.zeros((n_frames, len(bins), audio.shape[1] - 1))
    for place, number in enumerate(bins):
        magnitude = np.abs(padded[1:, number, 0])  # from two frames before the first
        averages = [np.sqrt(np.mean(magnitude[t : t + 3] ** 2)) for t in range(min(5, n_frames))]
        state = 0.5 * np.mean(averages), 0
        for t in range(n_frames):
            average, state = literal_floor(magnitude, t, state)
            window = padded[t : t + 7, number].T  # (C, 7)
            u, s, _ = np.linalg.svd(window @ window.conj().T)
            if average <= 1.5 * state[0] or s[0] <= 5 * s[1]:
                continue
            ratio = u[1:, 0] / u[0, 0]
            if audio_format == "foa":
                found[t, place] = ratio.real / np.linalg.norm(ratio.real)
            else:
                wave_number = 2 * np.pi * number * RATE_HZ / sizes.n_fft / 343
                found[t, place] = np.angle(ratio) / wave_number
    return found


@pytest.mark.parametrize("wrap", [False, True])
@pytest.mark.parametrize(("audio_format", "channels"), [("foa", 4), ("mic", 4), ("mic", 3)])
def test_salsa_is_that_of_singular_values_bin_by_bin(audio_format, channels, wrap):
    sizes, audio = replace(SIZES, wrap_around=wrap, channels=channels), scene(channels=channels)
    features = salsa.salsa(audio, sizes, 61, audio_format)
    expected = literal_salsa(audio, sizes, 61, audio_format)
    n_bins = expected.shape[1]
    assert features.shape == (61, 100, 2 * channels - 1)
    used = np.abs(expected).sum(axis=2) > 0
    assert 0.1 < used.mean() < 0.9
    np.testing.assert_allclose(features[:, :n_bins, channels:], expected, atol=1e-5)
    assert not features[:, n_bins:, channels:].any()


def hermitian(values, seed=0):
    """Covariances (4, 4, 1) with given eigenvalues, and their principal eigenvector (4,)."""
    rng = np.random.default_rng(seed)
    q, _ = np.linalg.qr(rng.standard_normal((4, 4)) + 1j * rng.standard_normal((4, 4)))
    return ((q * values) @ q.conj().T)[..., None], q[:, 0]


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e6])
@pytest.mark.parametrize(
    ("values", "dominant"),
    [
        ((1, 0, 0, 0), True),
        ((1, 0.19, 0.19, 0.19), True),
        ((1, 0.21, 0, 0), False),
        ((1, 0.201, 0.201, 0.201), False),
        ((1, 0.199, 0.199, 0.199), True),
        ((1, 1, 0, 0), False),
        ((1, 1, 1, 1), False),
        ((1, 0.1, 0.01, 0.001), True),
    ],
)
def test_the_principal_eigenvector_needs_no_solver(values, dominant, scale):
    for seed in range(20):
        covariance, vector = hermitian(np.array(values) * scale, seed)
        column, found = salsa.principal_column(covariance)
        assert found.item() == dominant
        if dominant:
            expected = vector[1:] * vector[0].conj()
            ratio = column[:, 0] / np.linalg.norm(column) * np.linalg.norm(expected)
            np.testing.assert_allclose(ratio, expected, atol=1e-8)


def test_silence_has_no_dominant_source():
    column, dominant = salsa.principal_column(np.zeros((4, 4, 3), complex))
    assert not dominant.any() and not column.any()
    features = salsa.salsa(np.zeros((3000, 4), np.float32), SIZES, 21, "foa")
    assert not features[..., 4:].any() and np.isfinite(features).all()


@pytest.mark.parametrize("n_frames", [1, 2, 5, 130])
def test_any_number_of_frames_fits(n_frames):
    features = salsa.salsa(scene(150 * n_frames), SIZES, n_frames, "mic")
    assert features.shape == (n_frames, 100, 7) and np.isfinite(features).all()


def test_frames_of_a_block_are_those_of_all(monkeypatch):
    audio = scene(15000)
    whole = salsa.salsa(audio, SIZES, 101, "foa")
    monkeypatch.setattr(salsa, "_BLOCK_FRAMES", 7)
    np.testing.assert_array_equal(salsa.salsa(audio, SIZES, 101, "foa"), whole)


def delayed(metres, channels=4, samples=12000):
    """Noise that reaches microphone m by `m * metres` earlier than the first."""
    spectrum = np.fft.rfft(np.random.default_rng(0).standard_normal(samples))
    frequencies = np.fft.rfftfreq(samples, 1 / RATE_HZ)
    lead_s = metres / 343 * np.arange(channels)[:, None]
    return np.fft.irfft(spectrum * np.exp(2j * np.pi * frequencies * lead_s)).T.astype(np.float32)


@pytest.mark.parametrize("channels", [2, 3, 6])
def test_phases_are_path_differences_in_metres(channels):
    sizes = replace(SIZES, kind="salsa_lite", channels=channels, fmax_doa_hz=2000.0)
    features = salsa.phase_differences(delayed(0.012, channels), sizes, 81, "metres")
    bins = BinRange.of(sizes)
    assert features.shape == (81, bins.n_spectra, 2 * channels - 1)
    inner = features[3:-3, 3 : bins.n_spatial, channels:]
    expected = 0.012 * np.arange(1, channels)
    np.testing.assert_allclose(np.median(inner, axis=(0, 1)), expected, atol=5e-4)
    assert not features[:, bins.n_spatial :, channels:].any()


def test_half_turns_are_phases_by_pi():
    sizes, audio = replace(SIZES, kind="salsa_ipd"), scene()
    spectra = spectral.stft(audio, sizes, 61)
    bins = BinRange.of(sizes)
    phases = np.angle(spectra[..., 1:] * spectra[..., :1].conj())[:, bins.spatial] / np.pi
    features = salsa.phase_differences(audio, sizes, 61, "half_turns")
    received = features[:, : bins.n_spatial, 4:]
    apart = np.abs(received - phases)
    np.testing.assert_allclose(np.minimum(apart, 2 - apart), 0, atol=1e-4)


def test_the_quirk_counts_the_upper_bin_from_the_lower_one():
    sizes = replace(SIZES, n_fft=1024, fmin_doa_hz=100.0, fmax_doa_hz=2000.0)
    exact = BinRange.of(sizes)
    assert (exact.lower, exact.upper, exact.cutoff) == (4, 85, 384)
    assert (exact.n_spectra, exact.n_spatial) == (380, 81)
    assert BinRange.of(replace(sizes, published_phase_range=True)).n_spatial == 85

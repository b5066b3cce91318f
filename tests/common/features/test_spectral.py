"""Spectra against librosa and scipy, intensity against plane waves, correlations against delays."""

import itertools
from dataclasses import replace

import librosa
import numpy as np
import pytest
import scipy.signal

from common.features import spectral
from common.settings.stft import Stft

RATE = 16000
SIZES = Stft(640, 1024, 320)  # window length, FFT size, hop length


def noise(samples=16000, channels=4, seed=0):
    return (0.1 * np.random.default_rng(seed).standard_normal((samples, channels))).astype(
        np.float32
    )


def plane_wave(azimuth_deg, elevation_deg, gain=1.0, samples=16000):
    """FOA (W, Y, Z, X) of noise from one direction; gain 1 is SN3D, sqrt(3) is N3D."""
    azimuth, elevation = np.deg2rad([azimuth_deg, elevation_deg])
    direction = np.array(
        [
            np.cos(azimuth) * np.cos(elevation),
            np.sin(azimuth) * np.cos(elevation),
            np.sin(elevation),
        ]
    )  # x, y, z
    source = 0.1 * np.random.default_rng(1).standard_normal(samples)
    channels = [source, *(gain * direction[axis] * source for axis in (1, 2, 0))]
    return np.stack(channels, axis=1).astype(np.float32), direction


def intensity_features(audio):
    return spectral.logmel_intensity(audio, spectral.mel_filters(RATE, 1024, 32, 50.0, None), SIZES)


def test_stft_is_that_of_librosa_with_reflected_edges():
    audio = noise()
    expected = librosa.stft(
        audio.T, n_fft=1024, win_length=640, hop_length=320, window="hann", pad_mode="reflect"
    )  # (C, F, T)
    ours = spectral.stft(audio, SIZES, n_frames=51)
    assert ours.dtype == np.complex64
    np.testing.assert_allclose(ours, expected.transpose(2, 1, 0), atol=2e-5)


def test_inner_frames_are_those_of_scipy():
    audio = noise()
    _, _, expected = scipy.signal.stft(
        audio.astype(np.float64),
        window="hann",
        nperseg=640,
        noverlap=320,
        boundary=None,
        padded=False,
        axis=0,
    )  # (F, C, T), divided by the sum of the window
    ours = spectral.stft(audio, Stft(640, 640, 320))  # frame 1 is the first without reflection
    np.testing.assert_allclose(ours[1:50], 320 * expected.transpose(2, 0, 1)[:49], atol=2e-5)


def test_magnitudes_and_phases_rebuild_the_spectrum_without_its_constant():
    audio = noise()
    features = spectral.magnitude_phase(audio, SIZES)  # (T, 512, 8)
    expected = spectral.stft(audio, SIZES)[:, 1:]
    assert features.shape == (50, 512, 8)
    np.testing.assert_allclose(
        features[..., :4] * np.exp(1j * features[..., 4:]), expected, atol=1e-5
    )
    assert (np.abs(features[..., 4:]) <= np.float32(np.pi)).all()


def test_the_loudest_sound_is_far_from_the_float16_limit():
    loud = np.cos(2 * np.pi * 3000 * np.arange(48000) / 48000)[:, None].astype(np.float32)
    features = spectral.magnitude_phase(loud, Stft(1920, 2048, 960), dtype="float16")
    assert np.isfinite(features).all()
    assert features[..., 0].max() < 960  # the sum of the window, reached by a constant of 1


def test_the_rounding_of_16_bit_recordings_survives_half_precision():
    quiet = np.random.default_rng(0).integers(-1, 2, (48000, 1)) / 32768
    exact = spectral.magnitude_phase(quiet.astype(np.float32), Stft(1920, 2048, 960))[..., 0]
    stored = spectral.magnitude_phase(
        quiet.astype(np.float32), Stft(1920, 2048, 960), dtype="float16"
    )[..., 0]
    assert np.abs(stored - exact).max() <= 2.0**-11 * exact.max()
    assert (stored == 0).mean() < 1e-3


def test_silence_has_finite_features():
    silence = np.zeros((3200, 4), np.float32)
    assert not spectral.magnitude_phase(silence, SIZES).any()
    features = intensity_features(silence)
    np.testing.assert_allclose(features[..., :4], -100, rtol=1e-6)
    assert not features[..., 4:].any()


def test_log_mel_is_that_of_librosa():
    audio = noise()
    filters = spectral.mel_filters(RATE, 1024, 40, 50.0, 7000.0)
    sizes = {"n_fft": 1024, "win_length": 640, "hop_length": 320, "pad_mode": "reflect"}
    expected = librosa.feature.melspectrogram(
        y=audio.T, sr=RATE, **sizes, n_mels=40, fmin=50, fmax=7000
    )
    expected = librosa.power_to_db(expected, ref=1.0, amin=1e-10, top_db=None)[..., :50].transpose(
        2, 1, 0
    )
    np.testing.assert_allclose(spectral.log_mel(audio, filters, SIZES), expected, atol=2e-3)
    bands = spectral.logmel_intensity(audio, filters, SIZES)[..., :4]
    np.testing.assert_allclose(bands, expected, atol=2e-3)


@pytest.mark.parametrize("gain", [1.0, np.sqrt(3.0)])
@pytest.mark.parametrize(
    ("azimuth_deg", "elevation_deg"),
    [(0, 0), (90, 0), (180, 0), (-90, 0), (0, 90), (0, -90), (30, 20), (-135, -40)],
)
def test_the_intensity_of_a_plane_wave_is_its_direction(azimuth_deg, elevation_deg, gain):
    audio, direction = plane_wave(azimuth_deg, elevation_deg, gain)
    intensity = intensity_features(audio)[..., 4:]
    np.testing.assert_allclose(intensity, np.broadcast_to(direction, intensity.shape), atol=1e-3)


def test_no_intensity_is_longer_than_one():
    lengths = np.linalg.norm(intensity_features(noise())[..., 4:], axis=-1)
    assert lengths.max() <= 1 + 1e-5
    assert lengths.mean() < 0.7  # independent channels have no direction


def test_interleaving_packs_neighbouring_bins_as_the_published_code_did():
    magnitude, phase = np.arange(24.0).reshape(6, 4), 100 + np.arange(24.0).reshape(6, 4)
    published = np.concatenate([magnitude.ravel(), phase.ravel()]).reshape(6, 8)
    np.testing.assert_array_equal(
        spectral.interleave_channels(np.concatenate([magnitude, phase], axis=1)[None]),
        published[None],
    )


@pytest.mark.parametrize("samples", [1, 2, 100, 400, 6400, 32 * 320 + 5, 41_000])
@pytest.mark.parametrize("channels_last", [False, True])
def test_edges_are_reflected_as_often_as_needed(samples, channels_last):
    audio = noise(samples=samples, channels=3)
    n_frames = 1 + samples // 320
    padded = np.pad(audio.astype(np.float64), ((512, 512), (0, 0)), mode="reflect")
    frames = np.stack(
        [padded[320 * number : 320 * number + 1024] for number in range(n_frames)]
    )  # (T, n_fft, C)
    expected = np.fft.rfft(
        frames * spectral.analysis_window(640, 1024)[:, None], axis=1
    )  # (T, F, C)
    blocks = list(spectral.stft_blocks(audio, SIZES, n_frames, channels_last=channels_last))
    ours = np.concatenate(
        [part if channels_last else part.transpose(1, 2, 0) for _, part in blocks]
    )
    assert [block.start for block, _ in blocks[1:]] == [block.stop for block, _ in blocks[:-1]]
    np.testing.assert_allclose(ours, expected, atol=2e-5)


def test_audio_shorter_than_the_window_gives_one_frame():
    assert spectral.stft(noise(samples=100), SIZES).shape == (1, 513, 4)


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        ("hann", scipy.signal.get_window("hann", 640)),
        ("hamming", scipy.signal.get_window("hamming", 640)),
        ("hann_symmetric", np.hanning(640)),
        ("hamming_symmetric", np.hamming(640)),
    ],
)
def test_windows_are_those_of_scipy_and_numpy(window, expected):
    ours = spectral.analysis_window(640, 1024, window)
    np.testing.assert_allclose(ours[192:832], expected, atol=1e-12)
    assert not ours[:192].any() and not ours[832:].any()


def test_unknown_and_too_long_windows_are_refused():
    for window, samples in (("boxcar", 640), ("hann", 1025)):
        with pytest.raises(
            ValueError, match=rf"not longer than the FFT, 1024.*'{window}' of {samples}"
        ):
            spectral.analysis_window(samples, 1024, window)


def test_log_mel_takes_another_window_and_more_frames():
    audio, filters = noise(channels=1), spectral.mel_filters(RATE, 1024, 32, 50.0, 7000.0)
    power = librosa.feature.melspectrogram(
        y=audio[:, 0],
        sr=RATE,
        n_fft=1024,
        win_length=640,
        hop_length=320,
        window=np.hanning(640),
        n_mels=32,
        fmin=50.0,
        fmax=7000.0,
        pad_mode="reflect",
    )
    ours = spectral.log_mel(audio, filters, replace(SIZES, window="hann_symmetric"), n_frames=51)
    np.testing.assert_allclose(
        ours[..., 0].T, librosa.power_to_db(power, amin=1e-10, top_db=None), atol=2e-3
    )


def test_log_magnitude_mel_is_exact_far_below_a_loud_tone():
    tone = 0.9 * np.sin(2 * np.pi * 500 * np.arange(16000) / RATE)
    audio = (tone[:, None] + 1e-7 * noise(channels=1)).astype(np.float32)
    filters = spectral.mel_filters(RATE, 1024, 32, 0.0, None)
    spectrum = librosa.stft(
        audio[:, 0].astype(np.float64),
        n_fft=1024,
        win_length=640,
        hop_length=320,
        window="hamming",
        pad_mode="reflect",
    )
    expected = np.log(filters.T.astype(np.float64) @ np.abs(spectrum) + 2.220446e-16)
    ours = spectral.log_magnitude_mel(audio, filters, replace(SIZES, window="hamming"), n_frames=51)
    assert ours.dtype == np.float32 and ours.shape == (51, 32, 1)
    np.testing.assert_allclose(ours[..., 0].T, expected, atol=1e-5)


def test_the_logarithm_of_silence_is_finite():
    filters = spectral.mel_filters(RATE, 1024, 32, 0.0, None)
    sizes = replace(SIZES, window="hamming")
    silence = spectral.log_magnitude_mel(np.zeros((3200, 1), np.float32), filters, sizes)
    assert np.isfinite(silence).all() and (silence < -30).all()


@pytest.mark.parametrize(
    ("duration_s", "hop_s", "frames"), [(10.0, 0.015625, 640), (10.0, 0.02, 500), (0.01, 0.02, 1)]
)
def test_whole_frames_are_counted(duration_s, hop_s, frames):
    assert spectral.frames_in(duration_s, hop_s) == frames


def test_uncentred_magnitudes_are_the_spectrogram_of_scipy():
    audio = np.random.default_rng(3).normal(size=5000)
    expected = scipy.signal.spectrogram(
        audio,
        window=np.hamming(512),
        noverlap=256,
        nfft=1024,
        mode="magnitude",
        scaling="density",
        detrend=False,
    )[2].T
    sizes = Stft(512, 1024, 256, "hamming_symmetric")
    magnitude = spectral.density_magnitude(audio, sizes)
    assert magnitude.shape == (18, 513) and magnitude.dtype == np.float32  # 1 + (5000 - 512) // 256
    np.testing.assert_allclose(magnitude, expected, rtol=1e-4, atol=1e-5)
    assert len(spectral.uncentred_stft(audio[:512], sizes)) == 1
    with pytest.raises(ValueError, match=r"at least one window, 512 samples. Received: \(511,\)"):
        spectral.uncentred_stft(audio[:511], sizes)


def block_spectra(audio, n_fft=1024, hop_samples=320):
    """All frames as one block, complex64 (C, T, n_fft // 2 + 1)."""
    return spectral.stft(audio, Stft(n_fft, n_fft, hop_samples)).transpose(2, 0, 1)


def correlation_of_frame(first, second, n_lags):
    """By definition: inverse transform of the phase difference, lags around 0 in order."""
    lags = np.fft.irfft(np.exp(1j * np.angle(second.astype(complex) * np.conj(first))))
    return np.roll(lags, (n_lags + 1) // 2)[:n_lags]


@pytest.mark.parametrize(("channels", "n_lags"), [(2, 1), (3, 31), (4, 96), (5, 64), (2, 1024)])
def test_correlations_are_inverse_transforms_of_phases(channels, n_lags):
    audio = noise(8000, channels)
    spectra = librosa.stft(audio.T, n_fft=1024, hop_length=320, pad_mode="reflect")[
        ..., :25
    ]  # (C, F, T)
    ours = spectral.gcc_phat(block_spectra(audio), n_lags)
    assert ours.shape == (25, n_lags, channels * (channels - 1) // 2) and ours.dtype == np.float32
    for pair, (first, second) in enumerate(itertools.combinations(range(channels), 2)):
        expected = [
            correlation_of_frame(spectra[first, :, t], spectra[second, :, t], n_lags)
            for t in range(25)
        ]
        np.testing.assert_allclose(ours[..., pair], expected, atol=1e-4)


@pytest.mark.parametrize("delay_samples", [-20, -1, 0, 5, 23])
def test_a_late_channel_has_its_peak_at_positive_lag(delay_samples):
    source = noise(9000, 1)[:, 0]
    audio = np.stack([source[100:8100], source[100 - delay_samples : 8100 - delay_samples]], axis=1)
    correlations = spectral.gcc_phat(block_spectra(audio), 96)[
        2:-2, :, 0
    ]  # without the reflected edges
    assert set(correlations.argmax(axis=1) - 48) == {delay_samples}


def test_silence_in_either_channel_counts_as_phase_zero():
    audio = noise(4000, 3)
    audio[:, 1] = 0
    audio[2000:] = 0
    correlations = spectral.gcc_phat(block_spectra(audio), 64)
    delta = np.zeros(64)
    delta[32] = 1
    for silent in (
        correlations[:, :, 0],
        correlations[:, :, 2],
        correlations[9:].transpose(0, 2, 1).reshape(-1, 64),
    ):
        np.testing.assert_allclose(silent, np.broadcast_to(delta, silent.shape), atol=1e-5)
    assert correlations[:5, :, 1].max() < 0.5


def test_more_lags_than_the_fft_size_are_refused():
    with pytest.raises(ValueError, match=r"FFT size, 1024\. Received: 1025"):
        spectral.gcc_phat(block_spectra(noise(2000, 2)), 1025)


@pytest.mark.parametrize(("window_samples", "gcc_n_fft"), [(640, 2048), (1024, 1024), (640, 1024)])
def test_levels_and_correlations_stand_side_by_side(window_samples, gcc_n_fft):
    audio, filters = noise(), spectral.mel_filters(RATE, 1024, 40, 50.0, None)
    sizes = Stft(window_samples, 1024, 320)
    features = spectral.logmel_gcc(audio, filters, sizes, 51, gcc_n_fft)
    assert features.shape == (51, 40, 10)
    expected = spectral.log_mel(audio, filters, sizes, 51)
    np.testing.assert_allclose(features[..., :4], expected, rtol=1e-6)
    spectra = spectral.stft(audio, Stft(gcc_n_fft, gcc_n_fft, 320), 51).transpose(2, 0, 1)
    np.testing.assert_allclose(features[..., 4:], spectral.gcc_phat(spectra, 40), atol=1e-5)


def test_each_channel_is_transformed_once_for_all_its_pairs(monkeypatch):
    transformed, rfft = [], spectral.scipy.fft.rfft

    def counted(frames, **options):
        transformed.append(frames.shape[0] * frames.shape[1])
        return rfft(frames, **options)

    monkeypatch.setattr(spectral.scipy.fft, "rfft", counted)
    filters = spectral.mel_filters(RATE, 1024, 40, 50.0, None)
    spectral.logmel_gcc(noise(), filters, SIZES, 50, 2048)
    assert sum(transformed) == 2 * 4 * 50  # one length for the levels, another for the correlations
    transformed.clear()
    spectral.logmel_gcc(noise(), filters, Stft(1024, 1024, 320), 50, 1024)
    assert sum(transformed) == 4 * 50


def test_one_microphone_has_levels_only():
    audio, filters = noise(channels=1), spectral.mel_filters(RATE, 1024, 40, 50.0, None)
    np.testing.assert_array_equal(
        spectral.logmel_gcc(audio, filters, SIZES), spectral.log_mel(audio, filters, SIZES)
    )

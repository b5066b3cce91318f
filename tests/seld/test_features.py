"""The kinds of features: shapes, types, length, and contradictory settings."""

import numpy as np
import pytest
import soxr
from pydantic import ValidationError

from common.errors import ConfigError
from common.features.settings import feature_shape
from common.features.spectral import gcc_phat, stft
from common.settings.stft import Stft
from seld.features import FeatureConfig, extract_features, frames_in

RATE = 48000
MAGNITUDE_PHASE = FeatureConfig()
LOGMEL_INTENSITY = FeatureConfig(kind="logmel_intensity")
LOGMEL, LOGMEL_GCC = FeatureConfig(kind="logmel"), FeatureConfig(kind="logmel_gcc")


def noise(seconds, channels=4):
    return (
        0.05 * np.random.default_rng(0).standard_normal((round(seconds * RATE), channels))
    ).astype(np.float32)


@pytest.mark.parametrize(
    ("features", "shape", "dtype"),
    [(MAGNITUDE_PHASE, (1024, 8), np.float16), (LOGMEL_INTENSITY, (64, 7), np.float32)],
)
def test_ten_seconds_have_500_frames_of_the_stored_type(features, shape, dtype):
    computed = extract_features(noise(10), features, RATE, 10.0)
    assert computed.shape == (500, *shape)
    assert computed.dtype == dtype
    assert feature_shape(features, RATE, 4) == shape


@pytest.mark.parametrize(
    ("features", "channels", "shape"),
    [(LOGMEL, 4, (96, 4)), (LOGMEL_GCC, 4, (96, 10)), (LOGMEL_GCC, 3, (96, 6))],
)
def test_ten_seconds_have_1001_frames_for_two_stages(features, channels, shape):
    computed = extract_features(noise(10, channels), features, RATE, 10.0)
    assert computed.shape == (1001, *shape)
    assert computed.dtype == np.float32
    assert feature_shape(features, RATE, channels) == shape


def test_recordings_are_resampled_before_features_of_pairs_are_computed():
    audio = noise(1)
    resampled = soxr.resample(audio, RATE, 32000, quality="HQ")
    features = extract_features(audio, LOGMEL_GCC, RATE, 1.0)
    np.testing.assert_allclose(
        features, extract_features(resampled, LOGMEL_GCC, 32000), rtol=1e-5, atol=1e-5
    )
    spectra = stft(resampled, Stft(2048, 2048, 320), 101).transpose(2, 0, 1)
    np.testing.assert_allclose(features[..., 4:], gcc_phat(spectra, 96), atol=1e-4)
    np.testing.assert_allclose(
        features[..., :4], extract_features(audio, LOGMEL, RATE, 1.0), rtol=1e-6
    )


def test_null_keeps_the_rate_of_the_recordings():
    as_recorded = FeatureConfig(kind="logmel_gcc", sample_rate_hz=None, n_fft=2048)
    assert as_recorded.rate_hz(RATE) == RATE and LOGMEL_GCC.rate_hz(RATE) == 32000
    assert extract_features(noise(0.5), as_recorded, RATE).shape == (51, 96, 10)


@pytest.mark.parametrize("features", [LOGMEL, LOGMEL_GCC])
@pytest.mark.parametrize(
    ("seconds", "n_frames"), [(0.013, 2), (0.731, 74), (1.0, 101), (1.27, 101)]
)
def test_two_stage_features_are_as_long_as_a_short_recording(features, seconds, n_frames):
    audio = noise(seconds)
    found = extract_features(audio, features, RATE, 1.0)
    assert len(found) == n_frames
    np.testing.assert_array_equal(found, extract_features(audio[:RATE], features, RATE))


@pytest.mark.parametrize("features", [MAGNITUDE_PHASE, LOGMEL_INTENSITY])
@pytest.mark.parametrize("seconds", [0.013, 0.731, 1.0, 1.27])
def test_shorter_and_longer_recordings_are_padded_with_zeros_and_cut(features, seconds):
    audio = noise(seconds)
    whole = np.zeros((RATE, 4), np.float32)
    whole[: len(audio)] = audio[:RATE]
    np.testing.assert_array_equal(
        extract_features(audio, features, RATE, 1.0), extract_features(whole, features, RATE, 1.0)
    )


def test_without_a_duration_the_audio_decides():
    assert len(extract_features(noise(0.731), LOGMEL_INTENSITY, RATE)) == 36
    assert len(extract_features(noise(0.005), LOGMEL_INTENSITY, RATE)) == 1


def test_magnitudes_come_before_phases_and_the_constant_is_left_out():
    audio = noise(0.5)
    spectra = stft(audio, Stft(1920, 2048, 960))[:, 1:]
    features = extract_features(audio, FeatureConfig(dtype="float32"), RATE)
    np.testing.assert_allclose(features[..., :4], np.abs(spectra), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(features[..., 4:], np.angle(spectra), atol=1e-5)


def test_each_frame_is_independent_of_blocks():
    audio = noise(3)
    whole = extract_features(audio, LOGMEL_INTENSITY, RATE)
    part = extract_features(audio[960 * 40 :], LOGMEL_INTENSITY, RATE)
    np.testing.assert_allclose(whole[45:], part[5:], atol=1e-4)


@pytest.mark.parametrize(
    ("duration_s", "hop_s", "frames"), [(60, 0.02, 3000), (0.06, 0.02, 3), (1, 0.03, 33)]
)
def test_frames_are_counted_without_rounding_errors(duration_s, hop_s, frames):
    assert frames_in(duration_s, hop_s) == frames


def test_settings_of_reading_do_not_change_stored_features():
    published = FeatureConfig(interleaved_channels=True, scaler_splits="all", n_mels=80)
    assert published.content() == MAGNITUDE_PHASE.content()
    assert FeatureConfig(kind="logmel_intensity", n_mels=80).content() != LOGMEL_INTENSITY.content()
    assert FeatureConfig(dtype="float32").content() != MAGNITUDE_PHASE.content()


def test_features_of_earlier_stores_are_described_as_before():
    magnitude_phase = {
        "kind": "magnitude_phase",
        "window_s": 0.04,
        "hop_s": 0.02,
        "n_fft": 2048,
        "dtype": "float16",
    }
    bands = {
        "kind": "logmel_intensity",
        "n_mels": 64,
        "fmin_hz": 50.0,
        "fmax_hz": None,
        "dtype": "float32",
    }
    assert MAGNITUDE_PHASE.content() == magnitude_phase
    assert LOGMEL_INTENSITY.content() == magnitude_phase | bands


def test_sizes_not_given_are_those_published_for_the_kind():
    published = {
        "kind": "logmel_gcc",
        "sample_rate_hz": 32000,
        "window_s": 0.032,
        "hop_s": 0.01,
        "n_fft": 1024,
        "n_mels": 96,
        "gcc_n_fft": 2048,
        "fmin_hz": 50.0,
        "fmax_hz": None,
        "dtype": "float32",
    }
    assert LOGMEL_GCC.content() == published
    del published["gcc_n_fft"]
    assert LOGMEL.content() == published | {"kind": "logmel"}
    assert LOGMEL.label_rule == LOGMEL_GCC.label_rule == "two_stage"
    own = FeatureConfig(kind="logmel_gcc", hop_s=0.02, n_mels=64, label_rule="dcase2019")
    assert (own.window_s, own.hop_s, own.n_mels, own.label_rule) == (0.032, 0.02, 64, "dcase2019")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hop_s": 0.05}, "hop_s.*must not exceed.*window_s"),
        ({"kind": "logmel_intensity", "interleaved_channels": True}, "belongs to magnitude_phase"),
        ({"fmin_hz": 900, "fmax_hz": 800}, "fmax_hz.*must exceed"),
        (
            {"kind": "logmel_gcc", "n_mels": 130, "gcc_n_fft": 128},
            "number of lags, must not exceed `gcc_n_fft`",
        ),
        ({"n_mel": 64}, "Extra inputs"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        FeatureConfig(**settings)


def test_settings_that_do_not_fit_the_audio_are_refused():
    with pytest.raises(ConfigError, match="must fit into the Fourier transform"):
        extract_features(noise(1), FeatureConfig(window_s=0.1), RATE)
    with pytest.raises(ConfigError, match="whole number of samples"):
        extract_features(noise(1), FeatureConfig(hop_s=0.01999), RATE)
    with pytest.raises(ConfigError, match=r"Expected: 4 channels\. Received: 2"):
        extract_features(noise(1, channels=2), LOGMEL_INTENSITY, RATE)
    with pytest.raises(
        ConfigError, match=r"reach 20000 Hz\. Expected: at most half the sample rate, 16000 Hz"
    ):
        extract_features(noise(1), FeatureConfig(kind="logmel", fmax_hz=20000), RATE)
    with pytest.raises(ConfigError, match=r"0.032 s x 48000 Hz = 1536"):
        extract_features(noise(1), FeatureConfig(kind="logmel", sample_rate_hz=None), RATE)

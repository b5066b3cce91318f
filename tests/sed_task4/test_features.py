"""Features of clips against librosa; sizes, padding and settings that cannot be."""

import librosa
import numpy as np
import pytest
import scipy.signal
from pydantic import ValidationError

from common.errors import ConfigError
from common.features.settings import feature_shape
from sed_task4.features import FeatureConfig, extract_features

CNN, CRNN = FeatureConfig(kind="logmel_db"), FeatureConfig(kind="log_magnitude_mel")


def noise(seconds, rate):
    return (0.1 * np.random.default_rng(0).standard_normal((round(seconds * rate), 1))).astype(
        np.float32
    )


def test_a_kind_has_published_sizes_that_can_change():
    assert (CNN.window_samples(32000), CNN.hop_samples(32000), CNN.n_fft) == (1024, 500, 1024)
    assert (CNN.fmin_hz, CNN.fmax_hz, CNN.n_mels, CNN.label_rule, CNN.ddof) == (
        50,
        14000,
        64,
        "kong2019",
        0,
    )
    assert (CRNN.window_samples(44100), CRNN.hop_samples(44100), CRNN.n_fft) == (1764, 882, 2048)
    assert (CRNN.fmin_hz, CRNN.fmax_hz, CRNN.n_mels, CRNN.label_rule, CRNN.ddof) == (
        0,
        None,
        64,
        "half_open",
        1,
    )
    assert (CNN.n_frames(10.0), CRNN.n_frames(10.0)) == (640, 500)
    assert (CNN.frames_per_s, CRNN.frames_per_s) == (64, 50)
    changed = FeatureConfig(kind="log_magnitude_mel", hop_s=0.1, n_mels=40, fmin_hz=20)
    assert (changed.n_frames(10.0), changed.window_s, changed.fmin_hz) == (100, 0.04, 20)
    assert feature_shape(changed, 32000) == (40, 1)


def test_log_mel_is_that_of_librosa_with_a_symmetric_window():
    audio = noise(10, 32000)
    power = librosa.feature.melspectrogram(
        y=audio[:, 0],
        sr=32000,
        n_fft=1024,
        hop_length=500,
        window=np.hanning(1024),
        n_mels=64,
        fmin=50,
        fmax=14000,
        pad_mode="reflect",
    )
    expected = librosa.power_to_db(power, ref=1.0, amin=1e-10, top_db=None).T[:640]
    features = extract_features(audio, CNN, 32000, 10.0)
    assert features.shape == (640, 64, 1) and features.dtype == np.float32
    np.testing.assert_allclose(features[..., 0], expected, atol=2e-3)


def test_log_magnitude_mel_equals_librosa_with_periodic_hamming():
    audio = noise(10, 44100)
    magnitude = librosa.feature.melspectrogram(
        y=audio[:, 0].astype(np.float64),
        sr=44100,
        n_fft=2048,
        win_length=1764,
        hop_length=882,
        window="hamming",
        n_mels=64,
        power=1.0,
        pad_mode="reflect",
    )
    expected = np.log(magnitude + 2.2e-16).T
    whole = extract_features(audio, CRNN, 44100)
    assert whole.shape == (501, 64, 1)
    np.testing.assert_allclose(whole[..., 0], expected, atol=1e-4)
    np.testing.assert_array_equal(extract_features(audio, CRNN, 44100, 10.0), whole[:500])


@pytest.mark.parametrize("seconds", [0.0001, 0.5, 2.0, 3.7])
def test_clips_of_any_length_are_cut_or_padded(seconds):
    audio = noise(seconds, 16000)
    narrow = {"n_fft": 512, "n_mels": 20, "window_s": 0.03}
    filled = extract_features(audio, FeatureConfig(fmax_hz=8000, hop_s=0.02, **narrow), 16000, 2.0)
    assert filled.shape == (100, 20, 1)
    first_silent = min(100, -(-len(audio) // 320) + 2)
    np.testing.assert_allclose(filled[first_silent:], -100, rtol=1e-6)
    left = extract_features(audio, FeatureConfig(kind="log_magnitude_mel", **narrow), 16000, 2.0)
    assert len(left) == min(100, 1 + len(audio) // 320)
    assert np.isfinite(left).all() and np.isfinite(filled).all()


@pytest.mark.parametrize(
    ("samples", "inside"), [(1, 1), (500, 1), (501, 2), (160000, 320), (319999, 640), (400000, 640)]
)
def test_frames_inside_a_recording_have_their_centre_in_it(samples, inside):
    assert CNN.frames_inside(samples, 32000, 10.0) == inside


def test_features_are_stored_in_the_type_that_is_set():
    assert (
        extract_features(noise(1, 32000), FeatureConfig(dtype="float16"), 32000).dtype == np.float16
    )


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(
        ConfigError, match=r"must fit into the Fourier transform.*0.032 s x 48000 Hz = 1536"
    ):
        CNN.check(48000)
    with pytest.raises(
        ConfigError, match=r"whole number of samples.*0.015625 s x 22050 Hz = 344.531"
    ):
        CNN.check(22050)
    with pytest.raises(ConfigError, match=r"mel bands reach 14000 Hz.*8000 Hz"):
        CNN.check(16000)
    with pytest.raises(ValidationError, match="`fmax_hz` must exceed `fmin_hz`"):
        FeatureConfig(fmin_hz=500, fmax_hz=400)
    CNN.check(32000)
    CRNN.check(44100)


def test_mel_density_equals_scipy_and_librosa_on_whole_windows():
    audio, config = noise(10, 32000), FeatureConfig(kind="ln_mel_density")
    assert (config.window_samples(32000), config.hop_samples(32000), config.n_fft) == (
        2048,
        1024,
        2048,
    )
    assert (config.fmin_hz, config.fmax_hz, config.n_mels, config.label_rule, config.ddof) == (
        50,
        None,
        64,
        "kong2018",
        0,
    )
    magnitude = scipy.signal.spectrogram(
        audio[:, 0],
        window=np.hamming(2048),
        noverlap=1024,
        mode="magnitude",
        scaling="density",
        detrend=False,
    )[2].T
    filters = librosa.filters.mel(sr=32000, n_fft=2048, n_mels=64, fmin=50, fmax=16000)
    features = extract_features(audio, config, 32000, 10.0)
    assert (
        features.shape == (311, 64, 1)
        and features.dtype == np.float32
        and config.n_frames(10.0) == 311
    )
    np.testing.assert_allclose(features[..., 0], np.log(magnitude @ filters.T + 1e-8), atol=1e-4)


@pytest.mark.parametrize(("seconds", "frames"), [(0.01, 1), (0.064, 1), (0.0961, 2), (3.7, 114)])
def test_mel_density_has_a_frame_for_each_whole_window(seconds, frames):
    config = FeatureConfig(kind="ln_mel_density")
    assert len(extract_features(noise(seconds, 32000), config, 32000)) == frames
    assert (
        len(extract_features(noise(seconds, 32000), config, 32000, 2.0))
        == config.n_frames(2.0)
        == 61
    )
    assert np.isfinite(extract_features(0 * noise(seconds, 32000), config, 32000)).all()


def test_half_the_resolution_is_a_matter_of_settings():
    config = FeatureConfig(
        kind="ln_mel_density", window_s=0.128, hop_s=0.064, n_fft=4096, n_mels=32
    )
    assert extract_features(noise(10, 32000), config, 32000, 10.0).shape == (155, 32, 1)


LINEAR = {
    "mel_2019": (44100, 511, {"n_mels": 64, "htk": False}),
    "mel_2020": (16000, 255, {"n_mels": 128, "htk": False}),
    "mel_desed": (16000, 256, {"n_mels": 128, "htk": True}),
}


@pytest.mark.parametrize(
    ("kind", "frames"), [("mel_2019", 864), ("mel_2020", 628), ("mel_desed", 626)]
)
def test_linear_magnitudes_are_those_of_librosa(kind, frames):
    rate, hop, options = LINEAR[kind]
    config, audio = FeatureConfig(kind=kind), noise(10, rate)
    config.check(rate)
    expected = librosa.feature.melspectrogram(
        y=audio[:, 0],
        sr=rate,
        n_fft=2048,
        hop_length=hop,
        window=np.hamming(2048),
        fmin=0,
        fmax=rate / 2,
        power=1.0,
        norm=None,
        pad_mode="reflect",
        **options,
    ).T
    features = extract_features(audio, config, rate, 10.0)
    assert features.shape == (frames, options["n_mels"], 1) and config.n_frames(10.0) == frames
    np.testing.assert_allclose(features[..., 0], expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(features, extract_features(audio, config, rate))
    level_db = librosa.amplitude_to_db(expected, ref=1.0, amin=1e-5, top_db=None)
    np.testing.assert_allclose(config.entry.level_db(features), level_db, atol=1e-3)


def test_linear_kinds_have_the_published_levels_scaling_and_labels():
    of_2019, desed = FeatureConfig(kind="mel_2019"), FeatureConfig(kind="mel_desed")
    assert (of_2019.levels.top_db, of_2019.scaling.of, of_2019.scaling.bands) == (
        80,
        "dataset",
        "each",
    )
    assert (desed.levels.lowest_db, desed.levels.highest_db, desed.levels.top_db) == (-50, 80, None)
    assert (desed.scaling.of, desed.scaling.form, desed.scaling.bands) == ("clip", "minmax", "all")
    assert (of_2019.label_rule, desed.label_rule) == ("dcase2019", "desed")
    changed = FeatureConfig(kind="mel_desed", scaling={"range": (0, 1)}, levels={"highest_db": 60})
    assert (changed.scaling.of, changed.scaling.range) == ("clip", (0, 1))  # the rest stays
    assert (changed.levels.lowest_db, changed.levels.highest_db) == (-50, 60)


@pytest.mark.parametrize("seconds", [0.2, 1.0, 3.0])
def test_linear_clips_are_padded_with_silence_or_0_db(seconds):
    audio = noise(seconds, 16000)
    for pad_value, expected in (("floor", 0.0), ("zero_db", 1.0)):
        config = FeatureConfig(kind="mel_desed", pad_value=pad_value)
        features = extract_features(audio, config, 16000, 2.0)
        assert len(features) == config.n_frames(2.0) == 126
        last = min(126, -(-len(audio) // 256) + 4)
        assert (features[last:] == expected).all()
        whole = extract_features(audio[: 2 * 16000], config, 16000)
        inside = slice(min(len(whole), 126) - 4)
        np.testing.assert_allclose(features[inside], whole[inside], rtol=1e-5)


def test_settings_of_linear_kinds_are_refused_elsewhere():
    with pytest.raises(ValidationError, match=r"`scaling` belong to linear kinds.*mel_desed"):
        FeatureConfig(kind="logmel_db", scaling={"of": "clip"})
    with pytest.raises(ValidationError, match="`pad_value: zero_db` pads features"):
        FeatureConfig(kind="mel_2019", pad_value="zero_db", frontend="device")
    with pytest.raises(ValidationError, match="`offset_rounding` belongs to the label rules"):
        FeatureConfig(kind="logmel_db", offset_rounding="floor")


def test_later_settings_do_not_change_stores_without_them():
    known = {"window_s", "hop_s", "n_fft", "kind", "n_mels", "fmin_hz", "fmax_hz", "label_rule"}
    assert set(CNN.content()) == set(CRNN.content()) == known | {"dtype"}
    desed = FeatureConfig(kind="mel_desed")
    assert set(desed.content()) > known | {"mel_scale", "mel_norm", "levels"}
    assert desed.content() == FeatureConfig(kind="mel_desed", scaling={"range": (0, 1)}).content()

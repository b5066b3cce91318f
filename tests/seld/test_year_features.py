"""Features of the baselines of 2020 to 2025, of EINV2 and of SALSA: sizes, settings, device."""

import librosa
import numpy as np
import pytest
from pydantic import ValidationError

from common.audio.files import from_int16, to_int16
from common.errors import ConfigError
from common.features.settings import as_frontend, feature_shape
from common.features.spectral import interleave_channels
from common.features.statistics import RunningStatistics
from common.models.audio_features import AudioFeatures
from seld.features import KINDS, FeatureConfig, extract_features

RATE_HZ = 24000
SIZES = {  # of 4 channels, 2 for 2025
    "logmel_intensity_2020": (64, 7),
    "logmel_intensity_2021": (64, 7),
    "logmel_intensity_2022": (64, 7),
    "logmel_gcc_2020": (64, 10),
    "salsa_lite_2022": (382, 7),
    "logmel_2025": (64, 2),
    "einv2": (256, 7),
    "salsa_foa": (200, 7),
    "salsa_mic": (200, 7),
    "salsa_lite": (191, 7),
    "salsa_ipd": (191, 7),
    "melspeciv": (128, 7),
    "linspeciv": (200, 7),
    "melspecgcc": (128, 10),
    "linspecgcc": (200, 10),
}
WITH_PEAK = [kind for kind in SIZES if "top_db" in KINDS[kind].settings]
ON_DEVICE = [kind for kind in SIZES if KINDS[kind].device is not None]


def channels_of(kind):
    return 2 if kind == "logmel_2025" else 4


def recording(seconds=1.0, channels=4, seed=0):
    """Noise with a tone that fades out, as 16-bit samples: float32 (S, C)."""
    rng, samples = np.random.default_rng(seed), round(seconds * RATE_HZ)
    tone = np.sin(2 * np.pi * 700 * np.arange(samples) / RATE_HZ) * np.linspace(1, 0, samples) ** 4
    mixed = rng.normal(0, 0.02, (samples, channels)) + 0.5 * tone[:, None]
    return from_int16(to_int16(mixed.astype(np.float32)))


@pytest.mark.parametrize("kind", SIZES)
def test_published_sizes_are_the_defaults(kind):
    features = FeatureConfig(kind=kind)
    computed = extract_features(recording(0.5, channels_of(kind)), features, RATE_HZ)
    assert computed.shape[1:] == SIZES[kind] and computed.dtype == np.float32
    assert feature_shape(features, RATE_HZ, channels_of(kind)) == SIZES[kind]
    hops = 12000 // features.hop_samples(RATE_HZ)
    assert len(computed) == hops + features.counts_the_end
    titles = KINDS[kind].titles([str(number) for number in range(channels_of(kind))])
    assert len(titles) == SIZES[kind][1] and np.isfinite(computed).all()


@pytest.mark.parametrize("kind", ["logmel_intensity_2022", "logmel_gcc_2020", "logmel_2025"])
def test_levels_are_those_of_librosa_with_its_range(kind):
    audio = recording(1.0, channels_of(kind))
    audio[:, -1] *= 0.01
    options = {"n_fft": 1024, "hop_length": 480, "win_length": 960}
    pad_mode = "constant" if kind == "logmel_2025" else "reflect"
    power = librosa.feature.melspectrogram(
        y=audio.T, sr=RATE_HZ, n_mels=64, pad_mode=pad_mode, **options
    )  # (C, F, T)
    n_frames = 51 if kind == "logmel_2025" else 50
    together = [power] if kind == "logmel_2025" else power
    levels = [librosa.power_to_db(part[..., :n_frames], ref=1.0, top_db=30.0) for part in together]
    expected = np.concatenate(levels).reshape(channels_of(kind), 64, n_frames).transpose(2, 1, 0)
    features = extract_features(audio, FeatureConfig(kind=kind, top_db=30.0), RATE_HZ)
    assert (expected == expected.min()).any()
    np.testing.assert_allclose(features[..., : channels_of(kind)], expected, atol=2e-3)


@pytest.mark.parametrize("kind", ON_DEVICE)
@pytest.mark.parametrize("seconds", [0.5, 0.2003])
def test_the_model_computes_what_extraction_does(kind, seconds):
    free = {"top_db": None} if kind in WITH_PEAK else {}
    features = FeatureConfig(kind=kind, frontend="device", **free)
    audio = recording(seconds, channels_of(kind))
    expected = extract_features(audio, features, RATE_HZ)
    frontend = as_frontend(features, RATE_HZ, channels_of(kind))
    pieces = frontend.pieces(audio, len(expected)).reshape(1, -1, channels_of(kind))
    received = np.asarray(AudioFeatures(frontend)(pieces))[0]
    assert received.shape == expected.shape
    apart = np.abs(received - expected)
    if "salsa" in kind:  # the first frame is its own mirror image: its phases are 0 or pi
        apart = apart[2:-2]
    assert apart.max() < 1e-3


@pytest.mark.parametrize("kind", WITH_PEAK)
def test_a_range_below_the_peak_is_for_extraction(kind):
    with pytest.raises(
        ValidationError, match="Expected: `top_db: null`, or `frontend: extraction`"
    ):
        FeatureConfig(kind=kind, frontend="device")


@pytest.mark.parametrize("kind", ["salsa_foa", "salsa_mic"])
def test_salsa_is_for_extraction(kind):
    with pytest.raises(ValidationError, match=f"cannot compute {kind}"):
        FeatureConfig(kind=kind, frontend="device")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "logmel", "top_db": 80}, "`top_db` belongs to logmel_intensity_2020 or"),
        ({"edges": "zeros"}, "`edges` belongs to logmel_2025. Received: kind magnitude_phase"),
        ({"kind": "salsa_foa", "published_phase_range": True}, "belongs to salsa_lite_2022 or"),
        ({"kind": "salsa_lite", "wrap_around": True}, "belongs to salsa_foa or salsa_mic"),
        ({"kind": "einv2", "fmax_doa_hz": 900}, "`fmax_doa_hz` belongs to"),
        ({"kind": "salsa_lite", "fmax_doa_hz": 9500}, "<= `fmax_spectra_hz`. Received: 50, 9500"),
        ({"kind": "salsa_mic", "fmin_doa_hz": 5000}, "`fmin_doa_hz` < `fmax_doa_hz`"),
        ({"kind": "logmel_gcc_2020", "n_mels": 1025}, "must not exceed `n_fft`"),
        ({"kind": "logmel_intensity_2022", "interleaved_channels": True}, "logmel_gcc_2020"),
    ],
)
def test_settings_of_other_kinds_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        FeatureConfig(**settings)


def test_spectra_beyond_half_the_sample_rate_are_refused():
    features = FeatureConfig(kind="salsa_lite", fmax_spectra_hz=13000)
    with pytest.raises(ConfigError, match=r"reach 13000 Hz. Expected: at most .* 12000 Hz"):
        extract_features(recording(0.2), features, RATE_HZ)


def test_stores_name_the_settings_that_their_numbers_depend_on():
    assert FeatureConfig(kind="logmel_intensity_2022").content()["top_db"] == 80.0
    names = {"kind", "window_s", "hop_s", "n_fft", "sample_rate_hz", "dtype"}
    bins = {"fmin_doa_hz", "fmax_doa_hz", "fmax_spectra_hz", "wrap_around"}
    assert FeatureConfig(kind="salsa_foa").content().keys() == names | bins
    assert FeatureConfig(kind="linspeciv").content().keys() == names | {"fmax_spectra_hz"}


@pytest.mark.parametrize("kind", ["logmel_intensity_2020", "logmel_gcc_2020"])
def test_the_network_of_2020_got_levels_and_the_rest_one_after_the_other(kind):
    features = extract_features(recording(0.2), FeatureConfig(kind=kind), RATE_HZ)
    packed = interleave_channels(features, 4)
    for frame, received in zip(features, packed, strict=True):
        flat = np.concatenate([frame[:, :4].ravel(), frame[:, 4:].ravel()])
        np.testing.assert_array_equal(received, flat.reshape(frame.shape))
    config = FeatureConfig(kind=kind, top_db=None, frontend="device", interleaved_channels=True)
    frontend = as_frontend(config, RATE_HZ, 4)
    pieces = frontend.pieces(recording(0.2), len(features)).reshape(1, -1, 4)
    plain = FeatureConfig(kind=kind, top_db=None)
    expected = interleave_channels(extract_features(recording(0.2), plain, RATE_HZ), 4)
    received = np.asarray(AudioFeatures(frontend)(pieces))[0]
    np.testing.assert_allclose(received, expected, atol=1e-3)


def test_only_features_of_single_frames_are_local():
    found = {
        kind
        for kind in KINDS
        if as_frontend(FeatureConfig(kind=kind), RATE_HZ if kind in SIZES else 48000, 4).is_local
    }
    assert set(KINDS) - found == {*WITH_PEAK, "salsa_foa", "salsa_mic"}


def test_statistics_of_several_recordings_are_those_of_all_frames():
    config = FeatureConfig(kind="logmel_intensity_2022")
    both = [extract_features(recording(0.3, seed=seed), config, RATE_HZ) for seed in (0, 1)]
    statistics = RunningStatistics.empty(both[0].shape[1:])
    for features in both:
        statistics.update(features)
    mean, std = statistics.mean_std()
    joined = np.concatenate(both).astype(np.float64)
    np.testing.assert_allclose(mean, joined.mean(axis=0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(std, joined.std(axis=0), rtol=1e-3)

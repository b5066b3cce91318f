"""Features computed in a model's graph equal those that extraction stores."""

import json
from dataclasses import asdict, replace

import keras
import numpy as np
import pytest

from common.audio.files import from_int16
from common.features import spectral
from common.features.frontend import AUDIO, Frontend
from common.features.levels import LevelConfig, magnitude_db
from common.features.settings import frontend_of
from common.models.audio_features import FRONTEND, AudioFeatures, features_of
from common.models.layers import with_statistics
from sed_task4 import features as task4
from seld import features as seld
from tests.forks import run_on_jax

RATE_HZ = 16000
TOLERANCE = 2e-4  # dB, ln, radians, and no unit; float32 gives 1e-5
SELD_KINDS = ("magnitude_phase", "logmel_intensity", "logmel", "logmel_gcc")
LINEAR_KINDS = ("mel_2020", "mel_desed")
TASK4_KINDS = ("logmel_db", "log_magnitude_mel", "ln_mel_density", *LINEAR_KINDS)


def recording(samples, channels, seed=0):
    """Noise beneath a tone, within full scale, with 50 ms of digital silence in it."""
    rng = np.random.default_rng(seed)
    tone = 0.4 * np.sin(2 * np.pi * 500 * np.arange(samples) / RATE_HZ + seed)
    audio = np.clip(rng.normal(0, 0.2, (samples, channels)) + tone[:, None], -1, 1)
    audio[samples // 2 : samples // 2 + RATE_HZ // 20] = 0
    return from_int16(np.rint(32767 * audio).astype(np.int16))


def seld_pair(kind, samples, **settings):
    """Features of a recording as extraction computes them, and the frontend."""
    config = seld.FeatureConfig(
        kind=kind, sample_rate_hz=None, n_mels=24, dtype="float32", frontend="device", **settings
    )
    audio = recording(samples, 4)
    return (audio, seld.extract_features(audio, config, RATE_HZ), frontend_of(config, RATE_HZ, 4))


def task4_pair(kind, samples, **settings):
    config = task4.FeatureConfig(kind=kind, n_mels=24, fmax_hz=None, frontend="device", **settings)
    audio = recording(samples, 1)
    return audio, task4.extract_features(audio, config, RATE_HZ), frontend_of(config, RATE_HZ)


def computed(audio, n_frames, frontend):
    pieces = frontend.pieces(audio, n_frames)
    assert pieces.shape == (
        n_frames + frontend.context_frames,
        frontend.hop_samples,
        frontend.channels,
    )
    return np.asarray(AudioFeatures(frontend)(pieces.reshape(1, -1, frontend.channels)))[0]


def distance(received, expected, kind):
    """Largest difference; phases are compared as angles, where they are defined."""
    apart = np.abs(received - expected)
    if kind in LINEAR_KINDS:
        return (apart / (1 + expected)).max()  # magnitudes of some hundreds
    if kind == "magnitude_phase":
        levels, angles = np.split(apart, 2, axis=-1)
        audible = np.split(expected, 2, axis=-1)[0] > 1e-3
        return max(levels.max(), (np.minimum(angles, 2 * np.pi - angles) * audible).max())
    return apart.max()


@pytest.mark.parametrize("samples", [RATE_HZ, 9999, 700])
@pytest.mark.parametrize("kind", SELD_KINDS)
def test_the_layer_computes_the_features_of_seld(kind, samples):
    audio, expected, frontend = seld_pair(kind, samples)
    received = computed(audio, len(expected), frontend)
    assert received.shape == expected.shape and received.dtype == np.float32
    assert distance(received, expected, kind) < TOLERANCE


@pytest.mark.parametrize("samples", [RATE_HZ, 9999, 700])
@pytest.mark.parametrize("kind", TASK4_KINDS)
def test_the_layer_computes_the_features_of_task_4(kind, samples):
    audio, expected, frontend = task4_pair(kind, samples)
    received = computed(audio, len(expected), frontend)
    assert received.shape == expected.shape
    assert distance(received, expected, kind) < TOLERANCE


@pytest.mark.parametrize(
    "sizes", [(0.02, 0.01, 512, 1024), (0.032, 0.032, 512, 512), (0.02, 0.005, 1024, 256)]
)
def test_any_window_hop_and_length_of_transforms_fit(sizes):
    window_s, hop_s, n_fft, gcc_n_fft = sizes
    options = {
        "window_s": window_s,
        "hop_s": hop_s,
        "n_fft": n_fft,
        "gcc_n_fft": gcc_n_fft,
        "fmin_hz": 0.0,
    }
    audio, expected, frontend = seld_pair("logmel_gcc", 8000, **options)
    assert distance(computed(audio, len(expected), frontend), expected, "logmel_gcc") < TOLERANCE


def test_a_short_window_starts_with_its_frame_without_centring():
    audio, expected, frontend = task4_pair(
        "ln_mel_density", 9000, window_s=0.05, hop_s=0.025, n_fft=1024
    )
    assert (
        distance(computed(audio, len(expected), frontend), expected, "ln_mel_density") < TOLERANCE
    )


def test_channels_are_packed_as_published_on_request():
    audio, expected, frontend = seld_pair("magnitude_phase", 8000)
    packed = computed(audio, len(expected), replace(frontend, interleaved_channels=True))
    np.testing.assert_array_equal(
        packed, spectral.interleave_channels(computed(audio, len(expected), frontend))
    )
    record = {AUDIO: frontend.pieces(audio, len(expected))}
    as_stored = features_of(
        record, replace(frontend, interleaved_channels=True)
    )  # packed only as they are read
    np.testing.assert_array_equal(as_stored, computed(audio, len(expected), frontend))


def test_a_record_of_features_is_taken_as_it_is():
    features = np.zeros((3, 2, 1))
    assert features_of({"features": features}, None) is features


@pytest.mark.parametrize(
    "pair", [*((seld_pair, kind) for kind in SELD_KINDS), *((task4_pair, k) for k in TASK4_KINDS)]
)
def test_digital_silence_gives_finite_features_as_extraction_does(pair):
    make, kind = pair
    _, expected, frontend = make(kind, 4000)
    silence = np.zeros((4000, frontend.channels), np.float32)
    received = computed(silence, len(expected), frontend)
    assert np.isfinite(received).all()
    compute = seld.compute_features if make is seld_pair else task4.compute_features
    config = (seld if make is seld_pair else task4).FeatureConfig(
        kind=kind,
        n_mels=24,
        fmax_hz=None,
        dtype="float32",
        **({"sample_rate_hz": None} if make is seld_pair else {}),
    )
    assert np.abs(received - compute(silence, config, RATE_HZ)[: len(received)]).max() < 0.01


def small_model(frontend):
    bands_channels = frontend.bands_channels
    inputs = keras.Input((None, *bands_channels))
    outputs = keras.layers.Dense(2, name="dense")(inputs)
    statistics = np.full(bands_channels, 2.0), np.full(bands_channels, 3.0)
    return with_statistics(
        keras.Model(inputs, outputs), *statistics, AudioFeatures(frontend, name=FRONTEND)
    )


def test_a_frontend_computes_in_float32_whatever_the_policy():
    _, _, frontend = seld_pair("logmel_intensity", 4000)
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = small_model(frontend)
    finally:
        keras.config.set_dtype_policy(policy)
    assert model.input_shape == (None, None, 4) and model.inputs[0].dtype == "int16"
    assert model.get_layer(FRONTEND).compute_dtype == "float32"
    assert [model.get_layer(FRONTEND).output.shape[n] for n in (2, 3)] == [24, 7]
    for n_frames in (5, 11):
        samples = (n_frames + frontend.context_frames) * frontend.hop_samples
        assert model(np.zeros((2, samples, 4), np.int16)).shape == (2, n_frames, 24, 2)


def test_a_saved_model_with_a_frontend_predicts_the_same(tmp_path):
    import tensorflow as tf

    audio, expected, frontend = task4_pair("logmel_db", 6000)
    pieces = frontend.pieces(audio, len(expected)).reshape(1, -1, 1)
    model = small_model(frontend)
    predicted = np.asarray(model(pieces))
    standardised = (expected - 2.0) / 3.0
    np.testing.assert_allclose(
        predicted, np.asarray(model.layers[-1].get_layer("dense")(standardised[None])), atol=1e-4
    )
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(np.asarray(loaded(pieces)), predicted)
    model.export(tmp_path / "saved", verbose=False)
    exported = tf.saved_model.load(tmp_path / "saved")  # its variables live as long as it does
    np.testing.assert_allclose(exported.serve(tf.constant(pieces)).numpy(), predicted, atol=1e-5)


PROGRAM = """
import json
import sys
import keras
import numpy as np
from common.models.audio_features import AudioFeatures
from common.models.levels import ClipScaling, MelLevels

assert keras.backend.backend() == "jax"
with np.load(sys.argv[1]) as stored:
    given = dict(stored)
layers = {kind: AudioFeatures(fields) for kind, fields in json.loads(sys.argv[2]).items()}
found = {kind: np.asarray(layer(given[kind])) for kind, layer in layers.items()}
levels = MelLevels({"top_db": 80.0})(found["mel_2020"])
found["levels"] = np.asarray(ClipScaling({"of": "clip", "bands": "all"})(levels))
np.savez(sys.argv[1], **found)
"""


def test_the_layer_computes_the_same_on_jax(tmp_path):
    # The other kinds are made of the same operations.
    pairs = {kind: seld_pair(kind, 5000) for kind in ("magnitude_phase", "logmel_intensity")}
    pairs |= {"logmel_gcc": seld_pair("logmel_gcc", 5000)}
    pairs |= {kind: task4_pair(kind, 5000) for kind in ("ln_mel_density", "mel_2020")}
    path = tmp_path / "given.npz"
    np.savez(
        path,
        **{
            k: f.pieces(audio, len(e)).reshape(1, -1, f.channels)
            for k, (audio, e, f) in pairs.items()
        },
    )
    frontends = json.dumps({kind: asdict(frontend) for kind, (_, _, frontend) in pairs.items()})
    run_on_jax(PROGRAM, tmp_path, path, frontends)
    with np.load(path) as results:
        for kind, (_, expected, _) in pairs.items():
            assert distance(results[kind][0], expected, kind) < TOLERANCE, kind
        level_db = magnitude_db(pairs["mel_2020"][1], LevelConfig(top_db=80.0))
        scaled = (level_db - level_db.mean()) / level_db.std(ddof=1)
        np.testing.assert_allclose(results["levels"][0], scaled, atol=1e-3)


def test_the_frontend_of_features_that_extraction_stores_is_none():
    assert frontend_of(seld.FeatureConfig(), 48000, 4) is None
    assert frontend_of(task4.FeatureConfig(), 32000) is None


def test_the_published_minute_takes_23_megabytes():
    frontend = frontend_of(seld.FeatureConfig(frontend="device"), 48000, 4)
    pieces = frontend.pieces(np.zeros((48000 * 60, 4), np.float32), 3000)
    assert isinstance(frontend, Frontend) and pieces.nbytes == (3000 + 2) * 960 * 4 * 2

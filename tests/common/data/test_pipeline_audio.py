"""Streams of audio: the features that a model computes belong to the frames of the labels."""

import numpy as np
import pytest
import tensorflow as tf

from common.data.augmentation import transform_features
from common.data.pipeline import evaluation_stream, train_stream
from common.data.selection import Selection
from common.data.sequences import ACTIVITY, SequenceFormat
from common.data.tfrecord import ArraySpec, ExampleSchema, write_shard
from common.features.frontend import AUDIO
from common.features.settings import frontend_of
from common.models.audio_features import AudioFeatures
from common.settings.pipeline import PipelineConfig
from seld.augmentation import audio_tables, foa_transforms
from seld.features import KINDS, FeatureConfig, extract_features

RATE_HZ = 8000
CONFIG = FeatureConfig(
    kind="logmel",
    sample_rate_hz=None,
    window_s=0.05,
    hop_s=0.02,
    n_fft=512,
    n_mels=8,
    fmin_hz=0.0,
    frontend="device",
)
FRONTEND = frontend_of(CONFIG, RATE_HZ, 4)
HOP, CONTEXT = FRONTEND.hop_samples, FRONTEND.context_frames
FORMAT = SequenceFormat({"place": (ACTIVITY, "place")}, context_frames=CONTEXT)
LENGTH = 10
FRAMES = (43, 25, 7, 30)
SCHEMA = ExampleSchema(
    {
        AUDIO: ArraySpec("int16", (None, HOP, 4)),
        ACTIVITY: ArraySpec("uint8", (None, 1)),
        "place": ArraySpec("int32", (None, 1)),
    }
)


def audio_of(number):
    rng = np.random.default_rng(number)
    return rng.integers(-9000, 9000, ((FRAMES[number] - 1) * HOP, 4)).astype(np.float32) / 32768


FEATURES = {
    number: extract_features(audio_of(number), CONFIG, RATE_HZ) for number in range(len(FRAMES))
}


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """Recordings whose labels say which recording and frame they belong to."""
    folder = tmp_path_factory.mktemp("audio")
    for number, n_frames in enumerate(FRAMES):
        place = (1000 * number + np.arange(n_frames, dtype=np.int32))[:, None]
        pieces = FRONTEND.pieces(audio_of(number), n_frames)
        arrays = {AUDIO: pieces, ACTIVITY: np.ones((n_frames, 1), np.uint8), "place": place}
        write_shard(folder / f"{number}.tfrecord", [(f"r{number}", arrays)], SCHEMA)
    return sorted(folder.iterdir())


def expected_features(places, inside):
    """Rows of the features that the labels name; frames outside are silent."""
    return np.stack([FEATURES[place // 1000][place % 1000] for place in places[inside].astype(int)])


@pytest.mark.parametrize("cache", [False, True], ids=["streamed", "cached"])
@pytest.mark.parametrize("hop_frames", [None, 4])
def test_each_frame_is_computed_of_the_audio_of_its_label(shards, cache, hop_frames):
    pipeline = PipelineConfig(
        sequence_frames=LENGTH,
        sequence_hop_frames=hop_frames,
        batch_size=3,
        cache=cache,
        last_batch="drop",
    )
    stream = train_stream(Selection.of_shards(shards, SCHEMA), FORMAT, pipeline, seed=1)
    layer, seen = AudioFeatures(FRONTEND), set()
    for audio, targets in stream.take(12).as_numpy_iterator():
        assert audio.shape == (3, (LENGTH + CONTEXT) * HOP, 4) and audio.dtype == np.int16
        features, inside = (
            np.asarray(layer(audio)),
            targets["place"][..., 0] == 1,
        )  # (B, T, F, C), (B, T)
        places = targets["place"][..., 1]
        seen |= set(places[inside] // 1000)
        expected = expected_features(places, inside)
        # The last frames of a recording reach into its reflected edge: there as elsewhere they are
        # the same.
        np.testing.assert_allclose(features[inside], expected, atol=1e-3)
    assert seen == set(range(len(FRAMES)))


def test_after_the_end_of_a_recording_comes_silence(shards):
    pipeline = PipelineConfig(sequence_frames=LENGTH, batch_size=1)
    stream = train_stream(Selection.of_shards(shards[2:3], SCHEMA), FORMAT, pipeline, seed=0)
    audio, targets = next(iter(stream))
    stored = FRONTEND.pieces(audio_of(2), FRAMES[2]).reshape(-1, 4)
    np.testing.assert_array_equal(audio[0, : len(stored)], stored)
    assert not np.any(audio[0, len(stored) :])
    assert (targets["place"][0, :, 0].numpy() == [1] * 7 + [-1] * 3).all()


@pytest.mark.parametrize("whole", [False, True])
def test_whole_recordings_are_streamed_as_audio_with_their_frames(shards, whole):
    pipeline = PipelineConfig(sequence_frames=LENGTH, whole_recordings=whole)
    stream = evaluation_stream(Selection.of_shards(shards, SCHEMA), FORMAT, pipeline)
    for number, element in enumerate(stream.as_numpy_iterator()):
        n_frames = FRAMES[number]
        length = max(n_frames, LENGTH) if whole else LENGTH
        n_sequences = 1 if whole else -(-n_frames // LENGTH)
        assert element["frames"] == n_frames and element["sequence_frames"] == length
        assert element["features"].shape == (n_sequences, (length + CONTEXT) * HOP, 4)
        features = np.asarray(AudioFeatures(FRONTEND)(element["features"])).reshape(-1, 8, 4)[
            :n_frames
        ]
        np.testing.assert_allclose(features, FEATURES[number], atol=1e-3)


@pytest.mark.parametrize("row", [0, 3, 9])
def test_rotation_of_audio_permutes_negates_and_clips_channels(row):
    transforms = foa_transforms(audio_tables)
    audio = np.random.default_rng(0).integers(-32768, 32768, (2, 50, 4)).astype(np.int16)
    audio[0, 0] = -32768
    moved = transform_features(tf.constant(audio), transforms, tf.constant([row, row])).numpy()
    sign, taken = transforms.channel_sign[row], transforms.channel_permutation[row]
    expected = np.clip(audio[..., taken].astype(int) * sign.astype(int), -32768, 32767)
    np.testing.assert_array_equal(moved, expected)


def test_features_of_rotated_audio_are_rotated_features():
    config = CONFIG.model_copy(update={"kind": "logmel_intensity"})
    frontend = frontend_of(config, RATE_HZ, 4)
    layer = AudioFeatures(frontend)
    pieces = frontend.pieces(audio_of(0), FRAMES[0]).reshape(1, -1, 4)
    for row in range(16):
        moved = transform_features(
            tf.constant(pieces), foa_transforms(audio_tables), tf.constant([row])
        )
        expected = foa_transforms(KINDS["logmel_intensity"].channel_swaps).apply_to_features(
            np.asarray(layer(pieces)), row
        )
        np.testing.assert_allclose(np.asarray(layer(moved)), expected, atol=1e-4)

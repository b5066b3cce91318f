"""Training sequences to which others are added, sound and targets."""

import numpy as np
import pytest
import tensorflow as tf

from common.data.augmentation import Augmentation, add_audio
from common.data.pipeline import train_stream
from common.data.selection import Selection
from common.data.sequences import SequenceFormat
from common.data.tfrecord import ArraySpec, ExampleSchema, write_shard
from common.features.frontend import AUDIO
from common.runtime.multi_host import SINGLE, World
from common.settings.augmentation import MixingSettings
from common.settings.pipeline import PipelineConfig

SCHEMA = ExampleSchema(
    {
        AUDIO: ArraySpec("int16", (None, 4, 1)),
        "events": ArraySpec("float64", (None, 1)),
        "labelled": ArraySpec("uint8", ()),
    }
)
FRAMES = [43, 27, 60, 30]
UNLABELLED = 3


class Places:
    """Targets: 1000 * recording + feature frame, of the sequence and of what is added to it."""

    shapes, vectors = {"place": (2,)}, {}

    def table(self, events, frames, labelled):
        return int(events[0, 0]), labelled

    def n_lost(self, table):
        return 0

    def make(self, table, middles):
        own = 1000 * table[0] + middles
        return {"place": np.stack([own, np.full_like(own, -1)], axis=1).astype("float32")}

    def mixed(self, tables, middles, others, max_sources):
        (first, _), (second, labelled) = tables
        if not labelled or first + second > max_sources:
            return None
        places = [1000 * first + middles, 1000 * second + others]
        return {"place": np.stack(places, axis=1).astype("float32")}


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """Recordings whose samples say which recording and frame they belong to."""
    folder = tmp_path_factory.mktemp("shards")
    for number, frames in enumerate(FRAMES):
        places = 1000 * number + np.arange(frames, dtype=np.int16)
        record = {
            AUDIO: np.repeat(places, 4).reshape(frames, 4, 1),
            "events": np.full((1, 1), number, np.float64),
            "labelled": np.array(number != UNLABELLED, np.uint8),
        }
        write_shard(folder / f"{number}.tfrecord", [(f"r{number}", record)], SCHEMA)
    return sorted(folder.iterdir())


def batches(shards, n, *, probability=0.5, max_sources=9, world=SINGLE, first_pass=0, **options):
    """The first `n` batches, of 10 a pass: samples of frames (B, 10), and targets (B, 2, 2)."""
    settings = PipelineConfig(sequence_frames=10, batch_size=6, last_batch="fill", **options)
    mixing = MixingSettings(probability=probability, max_sources=max_sources)
    stream = train_stream(
        Selection.of_shards(shards, SCHEMA),
        SequenceFormat({}, 5, event_targets=Places()),
        settings,
        seed=4,
        first_pass=first_pass,
        augmentation=Augmentation(mixing),
        world=world,
    )
    return [
        (audio[:, ::4, 0].astype(int), targets["place"])
        for audio, targets in stream.take(n).as_numpy_iterator()
    ]


ROUTES = [{}, {"cache": True}, {"shuffle_buffer_mb": 1.0}]


@pytest.mark.parametrize("options", ROUTES, ids=["streamed", "cached", "drawn"])
def test_a_mixture_is_the_sum_of_the_recordings_that_its_targets_name(shards, options):
    seen = []
    for audio, places in batches(shards, 30, **options):
        for samples, (own, added) in zip(audio, places.swapaxes(1, 2).astype(int), strict=True):
            is_mixed = added[0] >= 0
            expected = own + added * is_mixed
            np.testing.assert_array_equal(samples[[2, 7]], expected)
            seen.append(is_mixed)
            assert own[0] != added[0]  # never a sequence with itself
            assert added[0] // 1000 != UNLABELLED
    share = np.mean(seen)  # 0.5, less the sequences whose partner has no labels
    assert len(seen) == 180 and 0.25 < share < 0.55


def test_what_exceeds_the_polyphony_stays_as_it_is(shards):
    pairs = [
        place.astype(int) // 1000
        for _, places in batches(shards, 20, probability=1.0, max_sources=2)
        for place in places[:, 0]
    ]
    mixed = {tuple(pair) for pair in pairs if pair[1] >= 0}
    assert mixed and all(sum(pair) <= 2 for pair in mixed)
    assert any(pair[1] < 0 and pair[0] == 2 for pair in pairs)


def test_a_job_that_resumes_draws_the_same_mixtures(shards):
    whole, resumed = batches(shards, 9), batches(shards, 3, first_pass=2)
    n_batches = 3  # 4 + 2 + 6 + 3 sequences, 6 a batch
    for (audio, places), (again, places_again) in zip(whole[2 * n_batches :], resumed, strict=True):
        np.testing.assert_array_equal(audio, again)
        np.testing.assert_array_equal(places, places_again)
    assert not np.array_equal(whole[0][1], whole[n_batches][1])


def test_processes_share_the_mixtures_of_the_joint_batch(shards):
    joint = batches(shards, 3)
    parts = [batches(shards, 3, world=World(rank, 2)) for rank in range(2)]
    for number, (audio, places) in enumerate(joint):
        own = [part[number] for part in parts]
        np.testing.assert_array_equal(np.concatenate([each[0] for each in own]), audio)
        np.testing.assert_array_equal(np.concatenate([each[1] for each in own]), places)


def test_without_mixing_the_batches_are_those_of_no_augmentation(shards):
    for _, places in batches(shards, 3, probability=0.0):
        assert (places[..., 1] == -1).all()


def test_stored_features_cannot_be_mixed(tmp_path):
    schema = ExampleSchema({"features": ArraySpec("float32", (None, 2, 1))})
    record = {"features": np.zeros((20, 2, 1), np.float32)}
    write_shard(tmp_path / "a.tfrecord", [("a", record)], schema)
    with pytest.raises(ValueError, match="Only audio can be mixed"):
        train_stream(
            Selection.of_shards([tmp_path / "a.tfrecord"], schema),
            SequenceFormat({}, event_targets=Places()),
            PipelineConfig(sequence_frames=10, batch_size=1),
            seed=0,
            augmentation=Augmentation(MixingSettings(probability=0.5)),
        )


def test_sums_beyond_full_scale_are_made_as_loud_as_that_and_others_stay_exact():
    rng = np.random.default_rng(0)
    audio, others = (rng.integers(-32768, 32768, (3, 50, 2)).astype(np.int16) for _ in range(2))
    audio[2] //= 4
    others[2] //= 4
    new = add_audio(tf.constant(audio), tf.constant(others), tf.constant([True, False, True]))
    total = audio.astype(float) + others
    loud = total[0] * 32767 / np.abs(total[0]).max()
    np.testing.assert_allclose(new[0], loud, atol=0.51)
    np.testing.assert_array_equal(new[1], audio[1])
    np.testing.assert_array_equal(new[2], audio[2] + others[2])

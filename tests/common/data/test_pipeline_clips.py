"""Streams of clips: clip-level labels, chosen recordings, pseudo labels, padding by the mean."""

from dataclasses import dataclass

import numpy as np
import pytest

from common.data.feature_store import FeatureStore, ShardEntry
from common.data.pipeline import evaluation_stream, guard_stream, train_stream
from common.data.selection import Selection
from common.data.sequences import SequenceFormat
from common.data.tfrecord import ArraySpec, ExampleSchema, stored_arrays, write_shard
from common.errors import DataError
from common.settings.pipeline import PipelineConfig
from common.settings.tasks import TrainingConfig
from common.training.stage_data import stage_data

K, LENGTH = 3, 10
SCHEMA = ExampleSchema(
    {
        "features": ArraySpec("float16", (None, 4, 1)),
        "activity": ArraySpec("int8", (None, K)),
        "tags": ArraySpec("int8", (K,)),
        "events": ArraySpec("float64", (None, 3)),
        "labelled": ArraySpec("uint8", ()),
    }
)
LABELS = ExampleSchema(
    {name: ArraySpec("float32", SCHEMA.arrays[name].shape) for name in ("activity", "tags")}
)
TARGETS = {"clip": ("tags",), "frames": ("activity",)}
FRAMES = [10, 10, 7, 10, 10, 10, 4, 10]  # two clips are shorter
COUNT, PER_SHARD = len(FRAMES), 3


def clip(number):
    """Every feature is the clip's number; even ones have strong labels."""
    frames, strong = FRAMES[number], number % 2 == 0
    rng = np.random.default_rng(number)
    activity = rng.integers(0, 2, (frames, K)) if strong else np.full((frames, K), -1)
    return {
        "features": np.full((frames, 4, 1), number, np.float16),
        "activity": activity.astype(np.int8),
        "tags": rng.integers(-1, 2, K).astype(np.int8),
        "events": np.full((number, 3), number, np.float64),
        "labelled": np.array(strong, np.uint8),
    }


def pseudo(number):
    rng = np.random.default_rng(100 + number)
    frames = rng.uniform(size=(FRAMES[number], K)).astype(np.float32)
    return {"activity": frames, "tags": rng.uniform(size=K).astype(np.float32)}


def write(folder, make, schema, numbers=range(COUNT)):
    for first in range(0, COUNT, PER_SHARD):
        examples = [
            (f"c{n}", make(n)) for n in range(first, min(first + PER_SHARD, COUNT)) if n in numbers
        ]
        if examples:
            write_shard(folder / f"{first}.tfrecord", examples, schema)
    return sorted(folder.glob("*.tfrecord"))


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return write(tmp_path_factory.mktemp("shards"), clip, SCHEMA)


@pytest.fixture(scope="module")
def labels(tmp_path_factory):
    return write(tmp_path_factory.mktemp("labels"), pseudo, LABELS)


@pytest.fixture(params=[False, True], ids=["streamed", "cached"])
def cache(request):
    return request.param


def of_options(shards, targets, names=None, label_shards=(), cache=False, **options):
    selection = Selection.of_shards(shards, SCHEMA, names, label_shards)
    return selection, SequenceFormat(targets, **options), cache


def one_pass(shards, targets=TARGETS, count=COUNT, **options):
    """The clips of a pass by number: features (T, F, C) and targets."""
    selection, sequence_format, cache = of_options(shards, targets, **options)
    settings = PipelineConfig(sequence_frames=LENGTH, batch_size=1, cache=cache)
    stream = train_stream(selection, sequence_format, settings, seed=0)
    batches = list(stream.take(count).as_numpy_iterator())
    return {
        int(x[0, 0, 0, 0]): (x[0], {name: each[0] for name, each in y.items()}) for x, y in batches
    }


def evaluated(shards, **options):
    selection, sequence_format, _ = of_options(shards, TARGETS, **options)
    stream = evaluation_stream(selection, sequence_format, PipelineConfig(sequence_frames=LENGTH))
    return {element["name"].decode(): element for element in stream.as_numpy_iterator()}


def test_labels_of_recordings_come_with_each_sequence(shards, cache):
    clips = one_pass(shards, cache=cache)
    assert sorted(clips) == list(range(COUNT))
    for number, (_, targets) in clips.items():
        np.testing.assert_array_equal(targets["clip"], clip(number)["tags"])
        assert targets["clip"].dtype == np.float32
        np.testing.assert_array_equal(targets["frames"][: FRAMES[number]], clip(number)["activity"])
        assert (targets["frames"][FRAMES[number] :] == -1).all()


def test_batches_of_tags_have_no_time_axis(shards, cache):
    selection, sequence_format, _ = of_options(shards, TARGETS, target_stride=5)
    settings = PipelineConfig(sequence_frames=5, batch_size=4, cache=cache, last_batch="drop")
    stream = train_stream(selection, sequence_format, settings, seed=0)
    _, spec = stream.element_spec
    assert spec["clip"].shape.as_list() == [4, K] and spec["frames"].shape.as_list() == [4, 1, K]
    features, targets = next(stream.as_numpy_iterator())
    for sequence, tags in zip(features, targets["clip"], strict=True):
        np.testing.assert_array_equal(tags, clip(int(sequence[0, 0, 0]))["tags"])


def test_only_selected_recordings_are_streamed(shards, cache):
    wanted = {"c1", "c2", "c7"}
    for _ in range(2):
        assert sorted(one_pass(shards, count=6, names=wanted, cache=cache)) == [1, 2, 7]
    assert list(evaluated(shards, names=wanted)) == ["c1", "c2", "c7"]


def test_asking_for_no_or_unknown_recordings_is_refused(shards):
    with pytest.raises(DataError, match="at least one name"):
        one_pass(shards, names=set())
    with pytest.raises(DataError, match="None of the recordings wanted"):
        one_pass(shards, names={"other"}, cache=True)


def test_label_shards_replace_the_labels_also_of_unlabelled_recordings(shards, labels, cache):
    for number, (_, targets) in one_pass(shards, label_shards=labels, cache=cache).items():
        np.testing.assert_array_equal(targets["clip"], pseudo(number)["tags"])
        np.testing.assert_array_equal(
            targets["frames"][: FRAMES[number]], pseudo(number)["activity"]
        )
        assert (targets["frames"][FRAMES[number] :] == -1).all()
    for name, element in evaluated(shards, label_shards=labels).items():
        number = int(name[1])
        np.testing.assert_array_equal(element["targets"]["clip"], pseudo(number)["tags"][None])
        np.testing.assert_array_equal(
            element["targets"]["frames"][0, : FRAMES[number]], pseudo(number)["activity"]
        )
        assert element["labelled"] == (number % 2 == 0)  # the events are still those of the record
        assert len(element["events"]) == number


def test_label_shards_may_replace_only_some_arrays(shards, tmp_path, cache):
    schema = ExampleSchema({"tags": LABELS.arrays["tags"]})
    paths = write(tmp_path, lambda number: {"tags": pseudo(number)["tags"]}, schema)
    assert stored_arrays(paths[0]) == ["tags"] and stored_arrays(paths[1]) == ["tags"]
    for number, (_, targets) in one_pass(shards, label_shards=paths, cache=cache).items():
        np.testing.assert_array_equal(targets["clip"], pseudo(number)["tags"])
        np.testing.assert_array_equal(targets["frames"][: FRAMES[number]], clip(number)["activity"])


def test_label_shards_need_only_the_selected_recordings(shards, tmp_path, cache):
    wanted = [0, 2, 4, 7]
    paths = write(tmp_path, pseudo, LABELS, wanted)
    names = {f"c{number}" for number in wanted}
    clips = one_pass(shards, count=4, names=names, label_shards=paths, cache=cache)
    assert sorted(clips) == wanted
    for number, (_, targets) in clips.items():
        np.testing.assert_array_equal(targets["clip"], pseudo(number)["tags"])


@pytest.mark.parametrize("wrong", ["fewer", "more", "shuffled", "frames"])
def test_labels_of_other_recordings_are_refused(shards, labels, tmp_path, cache, wrong):
    pairs = {
        "fewer": [(3, 3), (4, 4)],
        "more": [(3, 3), (4, 4), (5, 5), (6, 6)],
        "shuffled": [(4, 4), (3, 3), (5, 5)],
        "frames": [(3, 3), (4, 2), (5, 5)],  # clip 2 has fewer frames than clip 4
    }[wrong]
    write_shard(
        tmp_path / "3.tfrecord", [(f"c{name}", pseudo(number)) for name, number in pairs], LABELS
    )
    mixed = [labels[0], tmp_path / "3.tfrecord", labels[2]]
    with (
        pytest.raises(DataError, match="Labels and features do not belong together"),
        guard_stream(shards),
    ):
        one_pass(shards, label_shards=mixed, cache=cache)
    with (
        pytest.raises(DataError, match="Labels and features do not belong together"),
        guard_stream(shards),
    ):
        evaluated(shards, label_shards=mixed)


def test_another_number_of_label_shards_and_unknown_arrays_are_refused(shards, labels, tmp_path):
    with pytest.raises(DataError, match=r"3 shards of features\. Received: 2 with 2 names"):
        one_pass(shards, label_shards=labels[:2])
    schema = ExampleSchema({"loudness": ArraySpec("float64", (1,))})
    paths = write(tmp_path, lambda number: {"loudness": np.zeros(1)}, schema)
    with pytest.raises(ValueError, match=r"unknown arrays.*Received: \['loudness'\]"):
        one_pass(shards, label_shards=paths)


def test_an_output_cannot_mix_arrays_with_and_without_time(shards):
    with pytest.raises(ValueError, match="time axis, or none of them"):
        one_pass(shards, {"both": ("activity", "tags")})


def test_padding_is_the_last_frame_or_a_given_one(shards, cache):
    mean = np.arange(4, dtype=np.float32)[:, None] + 50  # (F, C)
    for padding, expected in ((None, np.full((4, 1), 2)), (mean, mean)):
        features, targets = one_pass(shards, cache=cache, padding=padding)[2]
        assert features.dtype == np.float16
        assert (features[:7] == 2).all() and (targets["frames"][7:] == -1).all()
        np.testing.assert_array_equal(features[7:], np.repeat(expected[None], 3, axis=0))
        np.testing.assert_array_equal(
            evaluated(shards, padding=padding)["c2"]["features"][0], features
        )


def test_padding_of_packed_channels_is_refused(shards):
    with pytest.raises(ValueError, match="cannot be combined"):
        one_pass(shards, padding=np.zeros((4, 1)), interleaved_channels=True)


@dataclass
class Stage:
    targets = TARGETS
    target_stride = 1
    event_targets = None
    part_target = None
    inputs = ()


@pytest.fixture(scope="module")
def store(shards):
    numbers = [range(first, min(first + PER_SHARD, COUNT)) for first in range(0, COUNT, PER_SHARD)]
    entries = [
        ShardEntry(
            path.name, "weak", tuple(f"c{n}" for n in own), tuple(FRAMES[n] for n in own), 0, 0
        )
        for path, own in zip(shards, numbers, strict=True)
    ]
    return FeatureStore(shards[0].parent, {}, SCHEMA, entries)


def test_a_selection_of_names_reads_only_their_shards(store, shards, labels):
    chosen = Selection(store, ("weak",), frozenset({"c6", "c1"}), tuple(labels[::-1]))
    assert chosen.shards == [shards[0], shards[2]]
    assert chosen.frames == [10, 4] and chosen.recording_names == ["c1", "c6"]
    assert chosen.matched_label_shards == [labels[0], labels[2]]
    whole = Selection.among([store], ["weak"])
    assert whole.shards == shards and whole.frames == FRAMES and whole.matched_label_shards == []


def test_a_selection_whose_shards_lack_labels_is_refused(store, labels):
    with pytest.raises(DataError, match=r"without labels: \['6\.tfrecord'\]"):
        _ = Selection(store, ("weak",), None, tuple(labels[:2])).matched_label_shards


def test_groups_of_several_stores_are_selected_together(store, tmp_path):
    path = tmp_path / "s.tfrecord"
    write_shard(path, [("s", clip(0))], SCHEMA)
    other = FeatureStore(
        tmp_path, {}, SCHEMA, [ShardEntry(path.name, "synthetic", ("s",), (10,), 0, 0)]
    )
    both = Selection.among([store, other], ["weak", "synthetic"])
    assert sorted(both.recording_names) == sorted([*store.names(), "s"]) and len(both.frames) == 9
    assert Selection.among([store, other], ["synthetic"]).shards == [path]
    names = [
        element["name"].decode()
        for element in evaluation_stream(
            both, SequenceFormat(TARGETS), pipeline()
        ).as_numpy_iterator()
    ]
    assert names == both.recording_names


def pipeline(**changes):
    return PipelineConfig(sequence_frames=LENGTH, batch_size=2, **changes)


@pytest.mark.parametrize("padding", ["repeat", "mean"])
def test_a_stage_gets_its_recordings_labels_and_padding(store, labels, padding):
    train = Selection(store, ("weak",), frozenset({"c0", "c2", "c6", "c7"}), tuple(labels))
    validation = Selection(store, ("weak",), frozenset({"c2"}))
    mean = np.full((4, 1), 60, np.float32)
    data = stage_data(Stage(), train, validation, (mean, mean), pipeline(padding=padding), 0)
    assert data.batches_per_pass == 2
    batches = list(data.batches(0).take(2).as_numpy_iterator())
    features = np.concatenate([x for x, _ in batches])
    tags = np.concatenate([y["clip"] for _, y in batches])
    numbers = features[:, 0, 0, 0].astype(int)
    assert sorted(numbers) == [0, 2, 6, 7]
    np.testing.assert_array_equal(tags, [pseudo(number)["tags"] for number in numbers])
    (element,) = data.sets.of_epoch(0)["val"].as_numpy_iterator()
    assert element["name"] == b"c2"
    np.testing.assert_array_equal(element["targets"]["clip"], clip(2)["tags"][None])
    last = 60 if padding == "mean" else 2
    assert element["features"][0, -1, 0, 0] == last and features[numbers == 2][0, -1, 0, 0] == last


def test_batches_of_a_stage_resume_within_a_pass(store):
    whole = Selection(store, ("weak",))
    data = stage_data(Stage(), whole, whole, (np.zeros((4, 1)), np.ones((4, 1))), pipeline(), 0)
    first = [x for x, _ in data.batches(0).take(7).as_numpy_iterator()]
    later = [x for x, _ in data.batches(5).take(2).as_numpy_iterator()]
    np.testing.assert_array_equal(first[5:], later)


def test_a_sample_depends_only_on_the_seed(store):
    whole = Selection(store, ("weak",), frozenset(f"c{number}" for number in range(1, COUNT)))
    drawn = whole.sample(3, seed=5)
    assert len(drawn.recording_names) == 3 and set(drawn.recording_names) < set(
        whole.recording_names
    )
    assert drawn == whole.sample(3, seed=5)
    assert len({whole.sample(3, seed).names for seed in range(8)}) > 4
    assert whole.sample(COUNT - 1, seed=5) is whole


def scored_names(data, epoch):
    return [
        [each["name"] for each in stream.as_numpy_iterator()]
        for stream in data.sets.of_epoch(epoch).values()
    ]


def test_recordings_drawn_for_each_epoch_survive_a_restart(store):
    whole = Selection(store, ("weak",))
    training = TrainingConfig(
        validation_recordings=3, training_recordings=2, redraw_recordings=True
    )
    statistics = (np.zeros((4, 1)), np.ones((4, 1)))
    data, resumed = (
        stage_data(Stage(), whole, whole, statistics, pipeline(), 0, training=training)
        for _ in range(2)
    )
    drawn = [scored_names(data, epoch) for epoch in range(6)]
    assert all([len(names) for names in epoch] == [3, 2] for epoch in drawn)
    assert len({tuple(sorted(validation)) for validation, _ in drawn}) > 3
    assert scored_names(resumed, 4) == drawn[4]


def test_the_same_recordings_of_both_sets_are_scored_every_epoch(store):
    train = Selection(store, ("weak",), frozenset({"c0", "c1", "c2", "c3", "c4"}))
    validation = Selection(store, ("weak",), frozenset({"c5", "c6", "c7"}))
    statistics = (np.zeros((4, 1)), np.ones((4, 1)))

    def scored(**changes):
        training = TrainingConfig(**changes)
        data = stage_data(Stage(), train, validation, statistics, pipeline(), 0, training=training)
        epochs = [scored_names(data, epoch) for epoch in range(2)]
        assert epochs[0] == epochs[1]
        return epochs[0]

    assert scored() == [[b"c5", b"c6", b"c7"]]
    some, of_training = scored(validation_recordings=2, training_recordings=3)
    assert len(some) == 2 and set(some) < {b"c5", b"c6", b"c7"}
    assert len(of_training) == 3 and set(of_training) < {b"c0", b"c1", b"c2", b"c3", b"c4"}
    assert scored(validation_recordings=2, training_recordings=3) == [some, of_training]


def test_a_stage_gets_sequences_and_recordings_by_its_settings(store):
    whole = Selection(store, ("weak",))
    settings = PipelineConfig(
        sequence_frames=4, sequence_hop_frames=3, batch_size=2, whole_recordings=True
    )
    data = stage_data(Stage(), whole, whole, (np.zeros((4, 1)), np.ones((4, 1))), settings, 0)
    assert data.batches_per_pass == -(-(6 * 3 + 2 + 1) // 2)  # recordings of 10, 7 and 4 frames
    lengths = [
        element["features"].shape[:2]
        for element in data.sets.of_epoch(0)["val"].as_numpy_iterator()
    ]
    assert lengths == [(1, frames) for frames in FRAMES]

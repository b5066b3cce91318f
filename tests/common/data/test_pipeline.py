"""Streams: frames, their order and their targets; features hold the position of each frame."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from common.data.augmentation import Augmentation, transform_angles, transform_features
from common.data.pipeline import evaluation_stream, guard_stream, train_stream
from common.data.selection import Selection
from common.data.sequences import SequenceFormat, batches_per_pass
from common.data.tfrecord import ArraySpec, ExampleSchema, write_shard
from common.errors import ConfigError, DataError
from common.features.channel_transforms import ChannelTransforms
from common.features.spectral import interleave_channels
from common.runtime.multi_host import World
from common.settings.pipeline import PipelineConfig
from common.settings.tasks import validate

SCHEMA = ExampleSchema(
    {
        "features": ArraySpec("float32", (None, 4, 8)),
        "activity": ArraySpec("uint8", (None, 2)),
        "azimuth_deg": ArraySpec("int16", (None, 2)),
        "elevation_deg": ArraySpec("int16", (None, 2)),
        "events": ArraySpec("float64", (None, 6)),
        "labelled": ArraySpec("uint8", ()),
    }
)
TARGETS = {"sed": ("activity",), "doa": ("activity", "azimuth_deg", "elevation_deg")}
FRAMES = [43, 40, 7, 55, 61, 40, 48, 90, 33, 44]
LENGTH = 10
N_SEQUENCES = 44  # of a pass without overlap


def recording(number, frames, labelled=True):
    """The first channel of each frame is 1000 * recording + frame; so is the azimuth, by class."""
    rng = np.random.default_rng(number)
    features = rng.uniform(-3, 3, (frames, 4, 8)).astype(np.float32)
    features[..., 0] = 1000 * number + np.arange(frames)[:, None]
    place = np.arange(frames)[:, None] + [[0, 1000]]
    activity = (place + number) % 3 != 0
    return {
        "features": features,
        "activity": activity.astype(np.uint8) * labelled,
        "azimuth_deg": place.astype(np.int16),
        "elevation_deg": -place.astype(np.int16),
        "events": np.full((number % 3, 6), number, np.float64),
        "labelled": np.array(labelled, np.uint8),
    }


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    recordings = [(f"r{number}", recording(number, frames)) for number, frames in enumerate(FRAMES)]
    for first in range(0, len(recordings), 2):
        write_shard(folder / f"{first}.tfrecord", recordings[first : first + 2], SCHEMA)
    return sorted(folder.iterdir())


ROUTES = {"streamed": {}, "drawn": {"shuffle_buffer_mb": 1.0}, "cached": {"cache": True}}


@pytest.fixture(params=ROUTES)
def route(request):
    return request.param


def pipeline(**options):
    defaults = {"sequence_frames": LENGTH, "batch_size": 4, "last_batch": "drop"}
    return PipelineConfig(**defaults | options)


def stream(shards, route="streamed", **options):
    """The stream of one route; options are of `SequenceFormat`, `train_stream` or `pipeline`."""
    augmentation = Augmentation(transforms=options.pop("transforms", None))
    formats, arguments = (
        {key: options.pop(key) for key in keys if key in options}
        for keys in (
            ("targets", "target_stride", "interleaved_channels"),
            ("seed", "first_pass", "world"),
        )
    )
    return train_stream(
        Selection.of_shards(shards, SCHEMA),
        SequenceFormat(**{"targets": TARGETS} | formats),
        pipeline(**ROUTES[route] | options),
        **{"seed": 3, "augmentation": augmentation} | arguments,
    )


def evaluated(shards, options=None, **settings):
    """The whole recordings; `settings` of the pipeline, other options of `SequenceFormat`."""
    sequence_format = SequenceFormat(TARGETS, **options or {})
    return evaluation_stream(
        Selection.of_shards(shards, SCHEMA), sequence_format, pipeline(**settings)
    )


def passes(shards, count, **options):
    """The first channel, (batches, B, T), of each of `count` passes, and the targets."""
    keys = ("batch_size", "sequence_hop_frames", "last_batch")
    n_batches = batches_per_pass(
        FRAMES, pipeline(**{key: options[key] for key in keys if key in options})
    )
    batches = list(stream(shards, **options).take(count * n_batches).as_numpy_iterator())
    return [batches[start : start + n_batches] for start in range(0, len(batches), n_batches)]


_KEPT: dict[str, list] = {}


def known_passes(shards, count, **options):
    """As `passes`, at least so many; streams that several tests look at are read once."""
    key = repr(sorted(options.items()))
    if len(_KEPT.get(key, [])) < count:
        own = {"transforms": turning_transforms()} if options.get("transforms") else {}
        _KEPT[key] = passes(shards, count, **options | own)
    return _KEPT[key][:count]


def places(one_pass):
    return np.concatenate([features[:, :, 0, 0] for features, _ in one_pass])  # (sequences, T)


def test_a_pass_holds_each_sequence_of_each_recording_once(shards, route):
    sequences = [max(1, frames // LENGTH) for frames in FRAMES]  # 44
    assert batches_per_pass(FRAMES, pipeline(batch_size=1)) == sum(sequences)
    for one_pass in known_passes(shards, 40, batch_size=N_SEQUENCES, route=route)[:2]:
        starts = places(one_pass)[:, 0].astype(int)
        for number, (frames, expected) in enumerate(zip(FRAMES, sequences, strict=True)):
            own = np.sort(starts[starts // 1000 == number] % 1000)
            assert len(own) == expected
            assert (np.diff(own) == LENGTH).all()  # side by side, without overlap
            assert own[0] >= 0 and own[-1] + LENGTH <= max(frames, LENGTH)


def test_sequences_are_consecutive_frames_of_one_recording(shards, route):
    for sequence in places(known_passes(shards, 2, route=route)[0]):
        steps = np.diff(sequence)
        padded = sequence[0] // 1000 == 2  # 7 frames, 10 wanted
        assert (
            (steps == 1).all() if not padded else (steps[:6] == 1).all() and (steps[6:] == 0).all()
        )


def test_every_frame_is_seen_in_some_pass(shards, route):
    seen = np.unique(
        np.concatenate(
            [places(each) for each in known_passes(shards, 40, batch_size=N_SEQUENCES, route=route)]
        )
    )
    expected = [
        1000 * number + frame for number, frames in enumerate(FRAMES) for frame in range(frames)
    ]
    np.testing.assert_array_equal(seen, expected)


@pytest.mark.parametrize(
    "route, hop", [("streamed", 1), ("streamed", 3), ("drawn", 4), ("cached", 10), ("cached", 3)]
)
def test_overlapping_sequences_start_at_every_hop_up_to_the_end(shards, route, hop):
    expected = []
    for number, frames in enumerate(
        FRAMES
    ):  # 40 frames and a hop of 3 or 10: the last one fits by itself
        starts = list(range(0, frames - LENGTH + 1, hop)) or [0]
        if starts[-1] + LENGTH < frames:
            starts.append(frames - LENGTH)
        expected += [1000 * number + start for start in starts]
    settings = pipeline(batch_size=1, sequence_hop_frames=hop)
    assert batches_per_pass(FRAMES, settings) == len(expected)
    sizes = {"batch_size": 32, "sequence_hop_frames": hop}
    one_pass, next_pass = (
        places(each) for each in passes(shards, 2, last_batch="keep", route=route, **sizes)
    )
    assert sorted(one_pass[:, 0]) == sorted(next_pass[:, 0]) == expected
    assert (one_pass[:, 0] != next_pass[:, 0]).any() and (one_pass[:, 0] != expected).any()
    long = one_pass[:, 0] // 1000 != 2  # 7 frames, 10 wanted
    assert (np.diff(one_pass[long]) == 1).all()
    np.testing.assert_array_equal(
        one_pass[~long], [[2000 + min(frame, 6) for frame in range(LENGTH)]]
    )


def test_overlapping_sequences_repeat_for_the_same_seed_and_pass(shards, route):
    options = {"route": route, "sequence_hop_frames": 4}
    whole, again = known_passes(shards, 3, **options), passes(shards, 1, first_pass=2, **options)
    np.testing.assert_array_equal(places(whole[2]), places(again[0]))
    assert (places(whole[2]) != places(passes(shards, 1, first_pass=2, seed=4, **options)[0])).any()


def test_targets_of_overlapping_sequences_belong_to_their_frames(shards, route):
    for features, targets in known_passes(shards, 3, route=route, sequence_hop_frames=4)[0]:
        np.testing.assert_array_equal(targets["doa"][..., 2], features[:, :, 0, 0] % 1000)
        outside = features[:, :, 0, 0] == np.pad(
            features[:, :-1, 0, 0], ((0, 0), (1, 0)), constant_values=-1
        )
        np.testing.assert_array_equal(targets["sed"][..., 0] == -1, outside)


def test_sequences_that_skip_frames_are_refused():
    with pytest.raises(
        ConfigError, match=r"sequence_hop_frames.*Expected: 1 to 100. Received: 101"
    ):
        validate(PipelineConfig, {"sequence_frames": 100, "sequence_hop_frames": 101}, "pipeline")


def test_passes_depend_on_the_seed_only(shards, route):
    first, again, other = (
        [places(one_pass) for one_pass in found]
        for found in (
            known_passes(shards, 2, route=route),
            passes(shards, 2, route=route),
            passes(shards, 2, route=route, seed=4),
        )
    )
    np.testing.assert_array_equal(first, again)
    assert (first[0] != first[1]).any()
    assert (first[0] != other[0]).any()


def test_a_resumed_job_gets_the_same_batches(shards, route):
    transforms = turning_transforms()
    whole = known_passes(shards, 3, route=route, transforms=True)
    resumed = passes(shards, 1, first_pass=2, route=route, transforms=transforms)
    for (x, y), (x_resumed, y_resumed) in zip(whole[2], resumed[0], strict=True):
        np.testing.assert_array_equal(x, x_resumed)
        np.testing.assert_array_equal(y["doa"], y_resumed["doa"])


def test_streamed_passes_are_those_of_cached_ones(shards):
    """Both shuffle the places of all sequences, so that reading from disk changes nothing."""
    for streamed, cached in zip(
        *(known_passes(shards, 2, route=route) for route in ("streamed", "cached")), strict=True
    ):
        np.testing.assert_array_equal(places(streamed), places(cached))


def test_every_order_of_sequences_is_about_as_likely(tmp_path):
    """Each batch holds each recording equally often; a buffer would favour the first shards."""
    paths = [tmp_path / f"{number:02d}.tfrecord" for number in range(20)]
    for number, path in enumerate(paths):
        write_shard(path, [(path.stem, recording(number, 40))], SCHEMA)
    batches = (
        stream(paths, batch_size=20).take(4 * 60).as_numpy_iterator()
    )  # 80 sequences a pass, 60 passes
    owners = np.stack([features[:, 0, 0, 0] // 1000 for features, _ in batches]).reshape(60, 4, 20)
    first, last = (
        np.bincount(owners[:, batch].astype(int).ravel(), minlength=20) for batch in (0, 3)
    )
    expected, deviation = (
        60,
        np.sqrt(60 * 4 * 0.25 * 0.75 * 76 / 79),
    )  # hypergeometric, 4 sequences of a recording
    assert (np.abs([first, last] - np.float64(expected)) < 5 * deviation).all()


@pytest.mark.parametrize(
    "route, last_batch, sizes",
    [
        ("streamed", "keep", [12, 12, 12, 8]),
        ("drawn", "keep", [12, 12, 12, 8]),
        ("drawn", "fill", [12] * 4),
        ("cached", "fill", [12] * 4),
        ("streamed", "drop", [12] * 3),
    ],
)
def test_a_pass_ends_by_the_settings(shards, route, last_batch, sizes):
    first, second = passes(shards, 2, route=route, batch_size=12, last_batch=last_batch)
    for one_pass in (first, second):  # of 44 sequences
        assert [len(features) for features, _ in one_pass] == sizes
        assert [len(targets["sed"]) for _, targets in one_pass] == sizes
    if last_batch != "drop":
        assert len(np.unique(places(first)[:44, 0])) == 44
    if last_batch == "fill" and route != "drawn":
        np.testing.assert_array_equal(places(first)[44:], places(first)[:4])


def test_fewer_sequences_than_a_batch_are_repeated_to_fill_it(shards, route):
    (batch,) = passes(shards, 1, route=route, batch_size=100, last_batch="fill")[0]
    starts = batch[0][:, 0, 0, 0]
    assert len(starts) == 100 and len(np.unique(starts)) == 44


@pytest.mark.parametrize("route", ["streamed", "drawn"])
def test_transforms_are_drawn_for_smaller_last_batches_too(shards, route):
    options = {
        "route": route,
        "batch_size": 12,
        "last_batch": "keep",
        "transforms": turning_transforms(),
    }
    whole, resumed = (passes(shards, 2 - first, first_pass=first, **options) for first in (0, 1))
    for (x, _), (x_resumed, _) in zip(whole[1], resumed[0], strict=True):
        np.testing.assert_array_equal(x, x_resumed)


def test_neighbouring_sequences_come_from_different_recordings(shards, route):
    first = known_passes(shards, 40, batch_size=N_SEQUENCES, route=route)[0]
    owners = places(first)[:, 0] // 1000
    assert (np.diff(owners) == 0).mean() < 0.4


def test_targets_match_their_frames_and_padding_is_minus_one(shards, route):
    for features, targets in known_passes(shards, 2, route=route)[0]:
        place = features[:, :, 0, 0]
        number, frame = place // 1000, place % 1000
        inside = np.ones(place.shape, bool)
        inside[:, 7:] = number[:, :1] != 2  # of 10 frames, that recording has 7
        expected = np.where((frame + number) % 3 != 0, 1, 0)
        np.testing.assert_array_equal(targets["sed"][..., 0], np.where(inside, expected, -1))
        np.testing.assert_array_equal(targets["doa"][..., :2], targets["sed"])
        np.testing.assert_array_equal(targets["doa"][..., 2], frame)
        np.testing.assert_array_equal(targets["doa"][..., 3], frame + 1000)
        np.testing.assert_array_equal(targets["doa"][..., 4:], -targets["doa"][..., 2:4])
        assert targets["sed"].dtype == targets["doa"].dtype == np.float32


def test_a_pooled_frame_has_the_label_of_its_middle_frame(shards, route):
    features, targets = passes(shards, 1, target_stride=5, route=route)[0][0]
    assert targets["doa"].shape == (4, 2, 6)
    np.testing.assert_array_equal(targets["doa"][..., 2], features[:, 2::5, 0, 0] % 1000)


def test_batches_keep_the_stored_type_and_static_shapes(tmp_path, route):
    half = ExampleSchema({**SCHEMA.arrays, "features": ArraySpec("float16", (None, 4, 8))})
    arrays = recording(1, 60)  # six sequences: all batches are whole
    write_shard(
        tmp_path / "a.tfrecord",
        [("a", arrays | {"features": arrays["features"].astype(np.float16)})],
        half,
    )
    settings = PipelineConfig(sequence_frames=10, batch_size=2, **ROUTES[route])
    selection = Selection.of_shards([tmp_path / "a.tfrecord"], half)
    dataset = train_stream(selection, SequenceFormat(TARGETS), settings, seed=0)
    spec, targets = dataset.element_spec
    assert (spec.dtype, spec.shape.as_list()) == (tf.float16, [2, 10, 4, 8])
    assert targets["doa"].shape.as_list() == [2, 10, 6]


def turning_transforms():
    """Three rows: none; a ring of four channels; a swap with a sign, a phase and angles."""
    permutation = np.array(
        [[0, 1, 2, 3, 4, 5, 6, 7], [1, 2, 3, 0, 4, 5, 6, 7], [1, 0, 2, 3, 4, 5, 7, 6]]
    )
    sign = np.ones((3, 8), np.float32)
    sign[2, 3] = -1
    shift = np.zeros((3, 8), np.float32)
    shift[2, 5] = np.pi
    periodic = np.arange(8) >= 4
    angles = {
        "azimuth_deg": (np.array([1, 1, -1], np.float32), np.array([0, 90, 180], np.float32)),
        "elevation_deg": (np.array([1, 1, -1], np.float32), np.zeros(3, np.float32)),
    }
    return ChannelTransforms(permutation, sign, shift, periodic, angles)


def test_transformed_features_and_angles_are_those_of_the_tables():
    transforms, rng = turning_transforms(), np.random.default_rng(0)
    features = rng.uniform(-np.pi, np.pi, (3, 6, 4, 8)).astype(np.float32)
    active = rng.integers(0, 2, (3, 6, 2), dtype=np.uint8)
    angles = rng.integers(-18, 18, (3, 6, 2)).astype(np.int16) * 10
    rows = np.array([2, 0, 1])
    moved = transform_features(tf.constant(features), transforms, tf.constant(rows)).numpy()
    batch = {
        "activity": tf.constant(active),
        "azimuth_deg": tf.constant(angles),
        "elevation_deg": tf.constant(angles),
    }
    turned = transform_angles(batch, transforms, tf.constant(rows))
    for index, row in enumerate(rows):
        np.testing.assert_allclose(
            moved[index], transforms.apply_to_features(features[index], row), atol=1e-6
        )
        for name in ("azimuth_deg", "elevation_deg"):
            expected = transforms.apply_to_angles(name, angles[index], active[index] > 0, row)
            np.testing.assert_array_equal(turned[name][index], expected)


def test_half_precision_features_are_transformed_without_loss():
    transforms = turning_transforms()
    features = np.random.default_rng(0).uniform(-3, 3, (2, 5, 4, 8)).astype(np.float16)
    moved = transform_features(tf.constant(features), transforms, tf.constant([1, 2])).numpy()
    np.testing.assert_array_equal(moved[0], features[0][..., [1, 2, 3, 0, 4, 5, 6, 7]])
    np.testing.assert_array_equal(moved[1][..., 3], -features[1][..., 3])
    assert (np.abs(moved[1][..., 5]) <= np.float16(np.pi)).all()


def test_each_sequence_gets_one_row_and_all_rows_occur(shards, route):
    transforms = turning_transforms()
    originals = {
        (number, frame): arrays["features"][frame]
        for number, frames in enumerate(FRAMES)
        for arrays in [recording(number, frames)]
        for frame in range(frames)
    }
    counts = np.zeros(3, int)
    for features, targets in itertools.chain(
        *known_passes(shards, 3, route=route, transforms=True)
    ):
        for sequence, labels in zip(features, targets["doa"], strict=True):
            rows = [row for row in range(3) if is_row(sequence, transforms, row, originals)]
            assert len(rows) == 1
            counts[rows[0]] += 1
            assert (labels[:, 0] != -1).any()
    assert (counts > 5).all()


def is_row(sequence, transforms, row, originals):
    place = sequence[:, 0, [0, 3, 1][row]]  # channel 0 holds the position
    keys = [(int(value) // 1000, int(value) % 1000) for value in place]
    if any(
        value != int(value) or key not in originals for value, key in zip(place, keys, strict=True)
    ):
        return False
    original = np.stack([originals[key] for key in keys])
    return np.allclose(sequence, transforms.apply_to_features(original, row), atol=1e-5)


def test_interleaving_follows_the_transforms(shards, route):
    transforms = turning_transforms()
    plain = known_passes(shards, 3, route=route, transforms=True)[0]
    packed = passes(shards, 1, route=route, transforms=transforms, interleaved_channels=True)[0]
    for (x, _), (x_packed, _) in zip(plain, packed, strict=True):
        np.testing.assert_array_equal(x_packed, interleave_channels(x))


def test_evaluation_gives_whole_recordings_in_order(shards):
    elements = list(evaluated(shards).as_numpy_iterator())
    assert [element["name"].decode() for element in elements] == [
        f"r{number}" for number in range(len(FRAMES))
    ]
    for number, (element, frames) in enumerate(zip(elements, FRAMES, strict=True)):
        arrays, count = recording(number, frames), -(-frames // LENGTH)
        assert element["frames"] == frames and element["labelled"]
        assert element["features"].shape == (count, LENGTH, 4, 8)
        joined = element["features"].reshape(-1, 4, 8)
        np.testing.assert_array_equal(joined[:frames], arrays["features"])
        np.testing.assert_array_equal(
            joined[frames:], np.repeat(joined[frames - 1 : frames], len(joined) - frames, 0)
        )
        activity = element["targets"]["sed"].reshape(-1, 2)
        np.testing.assert_array_equal(activity[:frames], arrays["activity"])
        assert (activity[frames:] == -1).all()
        np.testing.assert_array_equal(
            element["targets"]["doa"].reshape(-1, 6)[:frames, 2:4], arrays["azimuth_deg"]
        )
        np.testing.assert_array_equal(element["events"], arrays["events"])


@pytest.mark.parametrize("stride", [1, 5])
def test_evaluation_may_give_recordings_in_one_piece(shards, stride):
    stream = evaluated(shards, {"target_stride": stride}, whole_recordings=True)
    assert stream.element_spec["features"].shape.as_list() == [None, None, 4, 8]
    for number, (element, frames) in enumerate(
        zip(stream.as_numpy_iterator(), FRAMES, strict=True)
    ):
        arrays, length = recording(number, frames), max(frames, LENGTH)
        assert element["frames"] == frames and element["features"].shape == (1, length, 4, 8)
        np.testing.assert_array_equal(element["features"][0, :frames], arrays["features"])
        assert (element["features"][0, frames:] == arrays["features"][-1]).all()
        inside = slice(stride // 2, frames, stride)
        activity = element["targets"]["sed"][0]
        np.testing.assert_array_equal(
            activity[: len(range(frames)[inside])], arrays["activity"][inside]
        )
        assert len(activity) == len(range(length)[stride // 2 :: stride])
        assert (activity[len(range(frames)[inside]) :] == -1).all()


def test_recordings_without_labels_are_marked_and_masked(tmp_path):
    write_shard(tmp_path / "a.tfrecord", [("a", recording(0, 25, labelled=False))], SCHEMA)
    paths = [tmp_path / "a.tfrecord"]
    (element,) = evaluated(paths, {"target_stride": 2}).as_numpy_iterator()
    assert not element["labelled"]
    assert element["targets"]["sed"].shape == (3, 5, 2)
    assert (element["targets"]["sed"] == -1).all()
    for route in ROUTES:
        _, targets = next(iter(stream(paths, batch_size=2, route=route)))
        assert (targets["sed"].numpy() == -1).all()


@pytest.mark.parametrize("damage", ["flipped", "cut", "missing"])
def test_a_damaged_shard_is_named_while_it_streams(tmp_path, damage):
    for name in ("a", "b"):
        write_shard(tmp_path / f"{name}.tfrecord", [(name, recording(0, 50))], SCHEMA)
    paths, bad = [tmp_path / "a.tfrecord", tmp_path / "b.tfrecord"], tmp_path / "b.tfrecord"
    content = bytearray(bad.read_bytes())
    content[len(content) // 2] ^= 1
    evaluation = evaluated(paths)
    training = stream(paths, batch_size=2)
    (
        bad.unlink()
        if damage == "missing"
        else bad.write_bytes(content if damage == "flipped" else content[:-9])
    )
    for dataset, known in ((evaluation, None), (training, paths)):
        with (
            pytest.raises(
                DataError, match=r"Damaged shard: .*b\.tfrecord.*batch_feature_extraction\.py"
            ) as caught,
            guard_stream(known),
        ):
            for _ in dataset.take(20):
                pass
        assert caught.value.__suppress_context__


@pytest.mark.parametrize("route, count", [("streamed", 3), ("drawn", 2), ("cached", 3)])
def test_processes_divide_each_pass_without_overlap_or_loss(shards, route, count):
    """Neither the five unequal shards nor their sequences are a multiple of 2 or 3."""
    joint, *parts = (
        list(
            itertools.chain(
                *passes(
                    shards, 2, batch_size=6, route=route, transforms=turning_transforms(), **own
                )
            )
        )
        for own in ({}, *({"world": World(number, count)} for number in range(count)))
    )
    for batch, *pieces in zip(joint, *parts, strict=True):
        for whole, *own in zip(*map(tf.nest.flatten, (batch, *pieces)), strict=True):
            assert all(len(each) == 6 // count for each in own)
            np.testing.assert_array_equal(
                np.concatenate(own), whole
            )  # of which each holds every sequence once


def test_each_shard_is_checked_by_one_of_the_processes(tmp_path):
    paths = [tmp_path / f"{name}.tfrecord" for name in "abc"]
    for path in paths:
        write_shard(path, [(path.stem, recording(0, 40))], SCHEMA)
    content = bytearray(paths[1].read_bytes())
    content[len(content) // 2] ^= 1
    paths[1].write_bytes(content)
    list(stream(paths, world=World(0, 2)).take(3))
    with pytest.raises(DataError, match=r"Damaged shard: .*b\.tfrecord"), guard_stream(paths):
        list(stream(paths, world=World(1, 2)).take(3))


def test_cached_streams_name_a_damaged_shard_when_they_are_made(tmp_path):
    (tmp_path / "a.tfrecord").write_bytes(b"")
    with pytest.raises(DataError, match=r"a\.tfrecord \(it holds no record"):
        stream([tmp_path / "a.tfrecord"], route="cached")


def test_features_beyond_the_free_memory_are_streamed_with_a_warning(shards, monkeypatch, caplog):
    monkeypatch.setattr("common.data.pipeline._free_bytes", lambda: 1000.0)
    assert len(passes(shards, 1, route="cached")[0]) == batches_per_pass(FRAMES, pipeline())
    assert "read from disk" in caplog.text


def test_several_processes_need_whole_batches(shards):
    with pytest.raises(ValueError, match=r"fill or drop\. Received: keep"):
        stream(shards, last_batch="keep", world=World(0, 2))


def test_too_few_recordings_for_a_batch_are_refused():
    with pytest.raises(
        DataError, match=r"at least 16 sequences of 128 frames.*Received: 3, from 2 recordings"
    ):
        batches_per_pass([128, 300], pipeline(sequence_frames=128, batch_size=16))


def test_a_stream_that_would_never_give_a_batch_is_refused(shards, route):
    with pytest.raises(DataError, match=r"Expected: at least 1000 sequences of 10 frames"):
        stream(shards, batch_size=1000, route=route)


def test_no_shards_a_bad_stride_and_unknown_arrays_are_refused(shards):
    with pytest.raises(DataError, match=r"No TFRecord shard found"):
        stream([])
    with pytest.raises(DataError, match="must divide"):
        stream(shards, target_stride=3)
    with pytest.raises(ValueError, match=r"Expected: \['distance_m'\]"):
        stream(shards, targets={"a": ("distance_m",)})


def test_trailing_frames_of_whole_recordings_make_no_output_frame(shards):
    length = 91  # the longest recording has 90 frames
    _, targets = next(iter(stream(shards, sequence_frames=length, target_stride=4, batch_size=1)))
    counts = {name: value.shape[1] for name, value in targets.items() if value.ndim == 3}
    assert counts and set(counts.values()) == {22}

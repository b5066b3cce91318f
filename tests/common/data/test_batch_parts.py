"""Batches of parts: rows, labels, order after a resume, epochs, devices; features hold the clip."""

from dataclasses import replace

import numpy as np
import pytest

from common.data.feature_store import FeatureStore, ShardEntry
from common.data.pipeline import batches_per_epoch, guard_stream, parts_stream, train_stream
from common.data.selection import BatchPart, BatchParts, Selection
from common.data.sequences import EventTargets, SequenceFormat
from common.data.tfrecord import ArraySpec, ExampleSchema, write_shard
from common.errors import ConfigError, DataError
from common.runtime.multi_host import World
from common.settings.pipeline import PipelineConfig

K, LENGTH = 3, 8
SCHEMA = ExampleSchema(
    {
        "features": ArraySpec("float16", (None, 2, 1)),
        "activity": ArraySpec("int8", (None, K)),
        "tags": ArraySpec("int8", (K,)),
        "labelled": ArraySpec("uint8", ()),
    }
)
FORMAT = SequenceFormat({"clip": ("tags",), "frames": ("activity",)})
COUNTS = {"weak": 7, "unlabelled": 23, "strong": 11}
FIRST = {"weak": 0, "unlabelled": 100, "strong": 200}
ROWS = {"weak": 2, "unlabelled": 4, "strong": 3}


def clip(number, labels):
    rng = np.random.default_rng(number)
    activity = np.full((LENGTH, K), -1)
    tags = rng.integers(0, 2, K)
    if labels == "strong":
        activity = rng.integers(0, 2, (LENGTH, K))
        tags = activity.max(axis=0)
    return {
        "features": np.full((LENGTH, 2, 1), number, np.float16),
        "activity": activity.astype(np.int8),
        "tags": (tags if labels != "unlabelled" else np.full(K, -1)).astype(np.int8),
        "labelled": np.array(labels == "strong", np.uint8),
    }


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    entries = []
    for group, count in COUNTS.items():
        for start in range(0, count, 5):
            numbers = [FIRST[group] + number for number in range(start, min(start + 5, count))]
            path = folder / f"{group}{start}.tfrecord"
            write_shard(path, [(f"c{number}", clip(number, group)) for number in numbers], SCHEMA)
            names, frames = tuple(f"c{number}" for number in numbers), (LENGTH,) * len(numbers)
            entries.append(ShardEntry(path.name, group, names, frames, 0, 0))
    return FeatureStore(folder, {}, SCHEMA, entries)


def parts_of(store, groups=tuple(COUNTS), **options):
    rows = options.pop("rows", ROWS)
    parts = tuple(BatchPart(group, Selection(store, (group,)), rows[group]) for group in groups)
    return BatchParts(parts, **options)


def settings(**changes):
    return PipelineConfig(**{"sequence_frames": LENGTH, "last_batch": "drop"} | changes)


N_WHOLE = 19  # batches: at least three passes of each part
ROUTES = {"streamed": {}, "drawn": {"shuffle_buffer_mb": 1.0}, "cached": {"cache": True}}


@pytest.fixture(params=ROUTES)
def route(request):
    return ROUTES[request.param]


def taken(parts, count, pipeline=None, **options):
    stream = parts_stream(parts, FORMAT, pipeline or settings(), **{"seed": 5} | options)
    return list(stream.take(count).as_numpy_iterator())


@pytest.fixture(scope="module")
def whole(store):
    """The first batches of each route, with the numbers of the parts; read once."""
    found = {}

    def of(route):
        if repr(route) not in found:
            parts = parts_of(store, number_output="part")
            found[repr(route)] = taken(parts, N_WHOLE, settings(**route))
        return found[repr(route)]

    return of


def numbers(batch):
    return batch[0][:, 0, 0, 0].astype(int)


def test_each_batch_has_the_rows_of_each_part_in_order(whole, route):
    for batch in whole(route):
        found = numbers(batch)
        assert (found[:2] < 100).all() and (found[6:] >= 200).all() and len(found) == 9
        assert ((found[2:6] >= 100) & (found[2:6] < 200)).all()


def test_labels_of_all_parts_are_their_own_and_minus_1_elsewhere(whole, route):
    for features, targets in whole(route):
        for row, number in enumerate(features[:, 0, 0, 0].astype(int)):
            group = "weak" if row < 2 else "unlabelled" if row < 6 else "strong"
            own = clip(number, group)
            np.testing.assert_array_equal(targets["clip"][row], own["tags"])
            np.testing.assert_array_equal(targets["frames"][row], own["activity"])


def test_unknown_arrays_of_a_part_are_minus_1_in_its_rows_only(store, route):
    parts = parts_of(store, ("weak", "strong"))
    hidden = replace(parts.parts[1], unknown=("tags", "absent"))
    for batch in taken(BatchParts((parts.parts[0], hidden)), 3, settings(**route)):
        clips = [clip(each, "weak" if each < 100 else "strong") for each in numbers(batch)]
        assert (batch[1]["clip"][2:] == -1).all()
        known = [each["tags"] for each in clips[:2]]
        np.testing.assert_array_equal(batch[1]["clip"][:2], known)
        np.testing.assert_array_equal(batch[1]["frames"], [each["activity"] for each in clips])


def test_a_pass_of_each_part_has_each_clip_at_most_once(whole, route):
    batches = whole(route)[:15]  # unlabelled: 5 batches a pass
    for rows, n_batches in (((0, 2), 3), ((2, 6), 5), ((6, 9), 3)):
        own = np.stack([numbers(batch)[slice(*rows)] for batch in batches])
        for start in range(0, 15, n_batches):
            one_pass = own[start : start + n_batches].ravel()
            assert len(set(one_pass)) == len(one_pass)
        assert len(np.unique(own)) > n_batches * (rows[1] - rows[0])  # others in other passes


def test_batches_resume_after_any_number_of_them(store, whole, route):
    parts, pipeline = parts_of(store, number_output="part"), settings(**route)
    for trained in (3, 16):  # at the end of a pass of two parts, after several and within one
        later = taken(parts, 3, pipeline, first_batch=trained)
        expected = whole(route)[trained : trained + 3]
        for (x, y), (later_x, later_y) in zip(expected, later, strict=True):
            np.testing.assert_array_equal(x, later_x)
            for name, target in y.items():
                np.testing.assert_array_equal(target, later_y[name])


@pytest.mark.parametrize(
    "route, last_batch",
    [("streamed", "keep"), ("drawn", "fill"), ("cached", "drop")],
    indirect=["route"],
)
def test_one_part_gives_the_stream_of_its_selection(store, route, last_batch):
    pipeline = settings(batch_size=3, last_batch=last_batch, **route)
    selection = Selection(store, ("weak",))
    alone = train_stream(selection, FORMAT, pipeline, seed=5).take(7).as_numpy_iterator()
    own = taken(BatchParts.of(selection, 3), 7, pipeline)
    for (x, y), (other_x, other_y) in zip(alone, own, strict=True):
        assert x.tobytes() == other_x.tobytes() and x.shape == other_x.shape
        assert all(y[name].tobytes() == other_y[name].tobytes() for name in y)


def test_the_first_part_is_the_stream_of_its_selection(store, whole):
    pipeline = settings(batch_size=2)
    alone = train_stream(Selection(store, ("weak",)), FORMAT, pipeline, seed=5)
    for (x, _), batch in zip(alone.take(6).as_numpy_iterator(), whole({})[:6], strict=True):
        np.testing.assert_array_equal(x, batch[0][:2])


def test_two_parts_of_one_selection_have_orders_of_their_own(store):
    part = BatchPart("a", Selection(store, ("strong",)), 3)
    batches = taken(BatchParts((part, replace(part, name="b"))), 3)
    assert any((numbers(batch)[:3] != numbers(batch)[3:]).any() for batch in batches)


def test_the_number_of_the_part_comes_with_each_row(whole, route):
    for _, targets in whole(route):
        assert targets["part"].dtype == np.int32
        assert targets["part"].tolist() == [0, 0, 1, 1, 1, 1, 2, 2, 2]


def test_an_epoch_is_a_pass_of_the_named_or_smallest_part(store):
    assert batches_per_epoch(parts_of(store), settings()) == 3  # 7 // 2 and 11 // 3
    assert batches_per_epoch(parts_of(store, epoch_part="unlabelled"), settings()) == 5
    fills = settings(last_batch="keep")
    assert batches_per_epoch(parts_of(store, epoch_part="strong"), fills) == 4
    published = {"weak": 1, "unlabelled": 1, "strong": 1}
    assert batches_per_epoch(parts_of(store, rows=published), settings()) == 7


def test_a_last_batch_that_would_be_kept_is_filled(store):
    batches = taken(parts_of(store, ("weak", "strong")), 8, settings(last_batch="keep"))
    assert {len(x) for x, _ in batches} == {5}
    weak = np.concatenate([numbers(batch)[:2] for batch in batches[:4]])
    assert len(set(weak)) == 7 and weak[7] == weak[0]


def test_a_part_that_does_not_fill_its_rows_is_refused(store):
    parts = parts_of(store, rows=ROWS | {"weak": 8})
    for pipeline in (settings(), settings(last_batch="fill")):
        with pytest.raises(
            DataError, match=r"part 'weak'.*at least 8 sequences.*Received: 7, from"
        ):
            taken(parts, 1, pipeline)
        with pytest.raises(DataError, match="part 'weak'"):
            batches_per_epoch(parts, pipeline)


def test_wrong_parts_are_refused(store):
    part = parts_of(store).parts[0]
    with pytest.raises(ConfigError, match="different names"):
        BatchParts((part, part))
    with pytest.raises(ConfigError, match="different names"):
        BatchParts(())
    with pytest.raises(ConfigError, match=r"one of weak, unlabelled, strong\. Received: 'other'"):
        parts_of(store, epoch_part="other")
    with pytest.raises(ConfigError, match="1 or more rows"):
        BatchParts((replace(part, batch_size=0),))
    with pytest.raises(ValueError, match="made of events"):
        SequenceFormat({}, event_targets=_no_targets(), unknown=("tags",))


def _no_targets() -> EventTargets:
    return object()  # type: ignore[return-value]


@pytest.fixture(scope="module")
def even(store):
    """Parts that two devices can share, and their first batches for one."""
    rows = {"weak": 2, "unlabelled": 4, "strong": 2}
    parts = parts_of(store, rows=rows, number_output="part")
    return parts, taken(parts, 4)


def test_devices_get_their_share_of_every_part(store, even):
    parts, joint = even
    for one, shared in zip(joint, taken(parts, 4, n_devices=2), strict=True):
        assert shared[1]["part"].tolist() == [0, 1, 1, 2] * 2
        order = [0, 2, 3, 6, 1, 4, 5, 7]
        np.testing.assert_array_equal(numbers(shared), numbers(one)[order])
        np.testing.assert_array_equal(shared[1]["clip"], one[1]["clip"][order])
    with pytest.raises(ConfigError, match=r"divisible by 2\. Received: strong with 3"):
        taken(parts_of(store), 1, n_devices=2)


def test_processes_get_their_share_of_every_part(even):
    parts, joint = even
    own = [taken(parts, 4, world=World(rank, 2), n_devices=2) for rank in range(2)]
    for whole, first, second in zip(joint, *own, strict=True):
        found = np.concatenate([numbers(first), numbers(second)])
        np.testing.assert_array_equal(found, numbers(whole)[[0, 2, 3, 6, 1, 4, 5, 7]])


def test_a_damaged_shard_of_any_part_is_named(tmp_path):
    entries = []
    for group in ("weak", "strong"):
        path = tmp_path / f"{group}.tfrecord"
        write_shard(path, [(f"{group}{n}", clip(n, group)) for n in range(4)], SCHEMA)
        names = tuple(f"{group}{n}" for n in range(4))
        entries.append(ShardEntry(path.name, group, names, (LENGTH,) * 4, 0, 0))
    content = bytearray((tmp_path / "strong.tfrecord").read_bytes())
    content[-40] ^= 255
    (tmp_path / "strong.tfrecord").write_bytes(content)
    parts = parts_of(FeatureStore(tmp_path, {}, SCHEMA, entries), ("weak", "strong"))
    with pytest.raises(DataError, match=r"strong\.tfrecord"), guard_stream():
        taken(parts, 2)


def test_recordings_of_all_parts_are_one_selection(store):
    joined = parts_of(store, ("weak", "strong")).recordings
    assert len(joined.recording_names) == 18
    only = BatchPart("weak", Selection(store, ("weak",), frozenset({"c1", "c2"})), 1)
    other = BatchPart("strong", Selection(store, ("strong",)), 1)
    assert len(BatchParts((only, other)).recordings.recording_names) == 13

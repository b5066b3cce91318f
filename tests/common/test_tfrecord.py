"""Shards: what goes in comes out, TensorFlow reads them too, and damage is named."""

import numpy as np
import pytest
import tensorflow as tf

from common.errors import DataError
from common.tfrecord import ArraySpec, ExampleSchema, find_damaged, read_shard, write_shard

SCHEMA = ExampleSchema(
    {
        "features": ArraySpec("float16", (None, 40, 4)),
        "angles": ArraySpec("int16", (None, 3)),
        "events": ArraySpec("float64", (None, 6)),
        "labelled": ArraySpec("uint8", ()),
    }
)


def example(frames, n_events, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "features": rng.standard_normal((frames, 40, 4)).astype(np.float16),
        "angles": rng.integers(-180, 180, (frames, 3), dtype=np.int16),
        "events": rng.standard_normal((n_events, 6)),
        "labelled": np.array(n_events > 0, np.uint8),
    }


EXAMPLES = [("erste Aufnahme ä", example(50, 2)), ("b", example(7, 0, seed=1))]


@pytest.fixture
def shard(tmp_path):
    write_shard(tmp_path / "a.tfrecord", EXAMPLES, SCHEMA)
    return tmp_path / "a.tfrecord"


def assert_same(received, expected):
    for key, array in expected.items():
        assert received[key].dtype == array.dtype
        np.testing.assert_array_equal(received[key], array)


def test_examples_come_back_as_they_were(shard):
    for received, (name, arrays) in zip(read_shard(shard, SCHEMA), EXAMPLES, strict=True):
        assert received["name"] == name
        assert_same(received, arrays)


def test_tensorflow_reads_the_same(shard):
    records = list(tf.data.TFRecordDataset([str(shard)]))
    for record, (name, arrays) in zip(records, EXAMPLES, strict=True):
        parsed = SCHEMA.parse(record)
        assert parsed.pop("name").numpy().decode() == name
        assert_same({key: value.numpy() for key, value in parsed.items()}, arrays)
        assert set(tf.train.Example.FromString(record.numpy()).features.feature) >= {"name", *SCHEMA.arrays}


def test_parsed_arrays_have_static_shapes(shard):
    parsed = tf.data.TFRecordDataset([str(shard)]).map(lambda record: SCHEMA.parse(record, ["features"]))
    assert parsed.element_spec["features"].shape.as_list() == [None, 40, 4]
    assert set(parsed.element_spec) == {"features", "name"}


def test_the_schema_survives_json():
    assert ExampleSchema.from_json(SCHEMA.to_json()) == SCHEMA


def test_an_array_that_does_not_fit_the_schema_is_refused_and_nothing_stays(tmp_path):
    arrays = example(5, 1) | {"angles": np.zeros((5, 3), np.int32)}
    with pytest.raises(ValueError, match=r"'angles' of 'b'.*Received: int32, \(5, 3\)"):
        write_shard(tmp_path / "a.tfrecord", [EXAMPLES[0], ("b", arrays)], SCHEMA)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("position", [3, 9, 200, 12_000, -2])
def test_a_flipped_bit_is_found_and_the_file_named(shard, position):
    content = bytearray(shard.read_bytes())
    content[position] ^= 0x10
    shard.write_bytes(content)
    with pytest.raises(DataError, match=r"Damaged shard: .*a\.tfrecord \(record \d.*batch_feature_extraction\.py"):
        list(read_shard(shard, SCHEMA))
    assert "a.tfrecord" in str(find_damaged([shard]))


@pytest.mark.parametrize("kept", [0, 5, 12, 500, -1])
def test_a_shard_that_was_cut_off_is_found(shard, kept):
    shard.write_bytes(shard.read_bytes()[:kept])
    with pytest.raises(DataError, match=r"Damaged shard: .*a\.tfrecord \((record \d: truncated|it holds no)"):
        list(read_shard(shard, SCHEMA))


def test_a_missing_shard_is_an_error_that_names_it(tmp_path):
    with pytest.raises(DataError, match=r"a\.tfrecord \(it cannot be read: No such file"):
        list(read_shard(tmp_path / "a.tfrecord", SCHEMA))


def test_undamaged_shards_are_found_to_be_so(shard):
    assert find_damaged([shard]) is None


def test_a_full_disk_is_an_error_with_a_remedy_and_leaves_nothing(tmp_path):
    import resource

    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limit[1]))  # writing beyond fails as on a full disk
    try:
        with pytest.raises(DataError, match=r"Cannot write .*a\.tfrecord: File too large"):
            write_shard(tmp_path / "a.tfrecord", EXAMPLES, SCHEMA)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert not list(tmp_path.iterdir())

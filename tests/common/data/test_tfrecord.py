"""Shards: what goes in comes out, TensorFlow reads them too, and damage is named."""

import numpy as np
import pytest
import tensorflow as tf

from common.data.tfrecord import ArraySpec, ExampleSchema, find_damaged, read_shard, write_shard
from common.errors import DataError
from tests.fuzz.shards import features_of, framed
from tests.fuzz.shards import message_of as message_from

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
        assert set(tf.train.Example.FromString(record.numpy()).features.feature) >= {
            "name",
            *SCHEMA.arrays,
        }


def test_parsed_arrays_have_static_shapes(shard):
    parsed = tf.data.TFRecordDataset([str(shard)]).map(
        lambda record: SCHEMA.parse(record, ["features"])
    )
    assert parsed.element_spec["features"].shape.as_list() == [None, 40, 4]
    assert set(parsed.element_spec) == {"features", "name"}


def test_the_schema_survives_json():
    assert ExampleSchema.from_json(SCHEMA.to_json()) == SCHEMA


def test_an_array_outside_the_schema_is_refused_without_a_file(tmp_path):
    arrays = example(5, 1) | {"angles": np.zeros((5, 3), np.int32)}
    with pytest.raises(ValueError, match=r"'angles' of 'b'.*Received: int32, \(5, 3\)"):
        write_shard(tmp_path / "a.tfrecord", [EXAMPLES[0], ("b", arrays)], SCHEMA)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("position", [3, 9, 200, 12_000, -2])
def test_a_flipped_bit_is_found_and_the_file_named(shard, position):
    content = bytearray(shard.read_bytes())
    content[position] ^= 0x10
    shard.write_bytes(content)
    with pytest.raises(
        DataError, match=r"Damaged shard: .*a\.tfrecord \(record \d.*batch_feature_extraction\.py"
    ):
        list(read_shard(shard, SCHEMA))
    assert "a.tfrecord" in str(find_damaged([shard]))


@pytest.mark.parametrize("kept", [0, 5, 12, 500, -1])
def test_a_shard_that_was_cut_off_is_found(shard, kept):
    shard.write_bytes(shard.read_bytes()[:kept])
    with pytest.raises(
        DataError, match=r"Damaged shard: .*a\.tfrecord \((record \d: truncated|it holds no)"
    ):
        list(read_shard(shard, SCHEMA))


def test_a_missing_shard_is_an_error_that_names_it(tmp_path):
    with pytest.raises(DataError, match=r"a\.tfrecord \(it cannot be read: No such file"):
        list(read_shard(tmp_path / "a.tfrecord", SCHEMA))


def test_undamaged_shards_are_found_to_be_so(shard):
    assert find_damaged([shard]) is None


def test_a_full_disk_is_an_error_with_a_remedy(tmp_path):
    import resource

    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(
        resource.RLIMIT_FSIZE, (4096, limit[1])
    )  # writing beyond fails as on a full disk
    try:
        with pytest.raises(DataError, match=r"Cannot write .*a\.tfrecord: File too large"):
            write_shard(tmp_path / "a.tfrecord", EXAMPLES, SCHEMA)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert not list(tmp_path.iterdir())


def message_of(name, arrays):
    """The same example as the message's own class writes it."""
    features = {"name": tf.train.Feature(bytes_list=tf.train.BytesList(value=[name.encode()]))}
    for key, array in arrays.items():
        features[key] = tf.train.Feature(bytes_list=tf.train.BytesList(value=[array.tobytes()]))
        if array.shape:
            features[f"{key}/shape"] = tf.train.Feature(
                int64_list=tf.train.Int64List(value=array.shape)
            )
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return example.SerializeToString(deterministic=True)


def test_records_have_the_bytes_of_the_message_class(tmp_path):
    # growing, shrinking, empty: the memory of one record is used again for the next
    examples = [
        *EXAMPLES,
        ("long", example(2000, 9)),
        ("n" * 300, example(1, 1)),
        ("", example(0, 0)),
    ]
    write_shard(tmp_path / "a.tfrecord", examples, SCHEMA)
    records = tf.data.TFRecordDataset([str(tmp_path / "a.tfrecord")]).as_numpy_iterator()
    assert list(records) == [message_of(name, arrays) for name, arrays in examples]


def test_float32_is_rounded_to_float16_as_numpy_does(tmp_path):
    every_half = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    finite = np.sort(every_half[np.isfinite(every_half)].astype(np.float32))
    halfway = (finite[1:] + finite[:-1]) / 2
    values = np.concatenate(
        [finite, halfway, np.nextafter(halfway, np.float32(9)), np.float32([3e-8, 2e-8, -1e-30])]
    )
    values = np.resize(values, (2 + len(values) // 160, 40, 4))
    write_shard(tmp_path / "a.tfrecord", [("a", example(1, 1) | {"features": values})], SCHEMA)
    stored = next(read_shard(tmp_path / "a.tfrecord", SCHEMA))["features"]
    assert stored.dtype == np.float16
    np.testing.assert_array_equal(stored, values.astype(np.float16))


@pytest.mark.parametrize("length", [0, 7, 2**31, 2**40, 2**62, 2**64 - 1])
def test_a_length_with_right_checksum_is_compared_with_the_file(tmp_path, length):
    (tmp_path / "a.tfrecord").write_bytes(framed(b"message", length))
    with pytest.raises(DataError, match=r"Damaged shard: .*a\.tfrecord \((record 0|a record)"):
        list(read_shard(tmp_path / "a.tfrecord", SCHEMA))


@pytest.mark.parametrize("shape", [(40, 4, 50), (-1, 40, 4), (50, 160), (50, 40, 4, 1), (8000,)])
def test_a_record_of_another_shape_is_refused_despite_its_checksum(tmp_path, shape):
    message = message_from(features_of("a", example(50, 2), {"features": shape}))
    (tmp_path / "a.tfrecord").write_bytes(framed(message))
    with pytest.raises(DataError, match=r"Damaged shard: .*a\.tfrecord"):
        list(read_shard(tmp_path / "a.tfrecord", SCHEMA))

"""Fields as protocol buffers write them: compared with the messages' own classes."""

import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from common.data.wire_format import decode_varint, encode_field, encode_varint, fields_in


@given(st.integers(0, 2**63 - 1))
def test_whole_numbers_are_written_as_protobuf_does_and_read_back(value):
    message = tf.train.Int64List(value=[value]).SerializeToString()  # tag, length, number
    assert encode_varint(value) == message[2:]
    assert decode_varint(message, 2) == (value, len(message))


@given(st.lists(st.binary(max_size=300), max_size=5))
def test_fields_of_bytes_are_written_and_found_as_protobuf_does(values):
    message = tf.train.BytesList(value=values).SerializeToString()
    assert b"".join(encode_field(1, value) for value in values) == message
    assert [message[begin:end] for begin, end in fields_in(message, (0, len(message)), 1)] == values
    assert fields_in(message, (0, len(message)), 2) == []


@given(st.binary(max_size=60))
def test_anything_else_is_refused_or_lies_within_the_message(message):
    try:
        found = fields_in(message, (0, len(message)), 1)
    except (ValueError, IndexError):
        return
    assert all(0 <= begin <= end <= len(message) for begin, end in found)


def test_a_number_without_end_is_refused():
    with pytest.raises(ValueError, match="more than 10 bytes"):
        decode_varint(b"\x80" * 100, 0)

"""Wire format of protocol buffers for records of shards: fields of bytes and of integers.

The messages' own classes copy an array several times into and out of a record, and do not give its
offset in the file.

References:
    Protocol Buffers Documentation, "Encoding".
"""

from typing import Protocol

_VARINT, _DELIMITED = 0, 2  # wire types
_MOST_DIGITS = 10  # of a number of 64 bits

Span = tuple[int, int]


class Buffer(Protocol):
    """Bytes, or a mapped file."""

    def __getitem__(self, place: int, /) -> int: ...


def encode_field(number: int, content: bytes) -> bytes:
    """A field that holds bytes."""
    return encode_head(number, len(content)) + content


def encode_head(number: int, n_bytes: int) -> bytes:
    """Tag and length of a field that holds bytes."""
    return encode_varint(number << 3 | _DELIMITED) + encode_varint(n_bytes)


def encode_varint(value: int) -> bytes:
    """A non-negative integer, 7 bits a byte, lowest first; all but the last have the 8th set."""
    digits = bytearray()
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    digits.append(value)
    return bytes(digits)


def fields_in(content: Buffer, span: Span, wanted: int) -> list[Span]:
    """Finds the fields of one number in a message.

    Args:
        content: holds the message.
        span: begin and end of the message.
        wanted: number of the fields, which hold bytes.

    Returns:
        Begin and end of the content of each of them.

    Raises:
        ValueError: this is no such message.
        IndexError: it ends too early.
    """
    begin, end = span
    found = []
    while begin < end:
        tag, begin = decode_varint(content, begin)
        if tag & 7 == _VARINT:
            _, begin = decode_varint(content, begin)
            continue
        if tag & 7 != _DELIMITED:
            raise ValueError(f"a field of wire type {tag & 7}")
        length, begin = decode_varint(content, begin)
        if begin + length > end:
            raise ValueError("a field is longer than its message")
        if tag >> 3 == wanted:
            found.append((begin, begin + length))
        begin += length
    return found


def decode_varint(content: Buffer, begin: int) -> tuple[int, int]:
    """A whole number and its end; the reverse of `encode_varint`.

    Raises:
        ValueError: it has more than 64 bits.
        IndexError: it ends too early.
    """
    value = 0
    for digit in range(_MOST_DIGITS):
        byte = content[begin + digit]
        value |= (byte & 0x7F) << 7 * digit
        if byte <= 0x7F:
            return value, begin + digit + 1
    raise ValueError(f"a number of more than {_MOST_DIGITS} bytes")

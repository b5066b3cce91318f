"""FLAC: the header has the number of samples, or 0; the last frame has its position.

References:
    RFC 9639, "Free Lossless Audio Codec (FLAC)", sections 8.2 (streaminfo) and 9.1 (frame header).
"""

import re

from common.audio.containers.layout import STREAM, Bytes, Layout, Part, Piece, truncated
from common.audio.containers.mpeg import JOINED, UNCOUNTED
from common.io.notes import Note

_MARK = b"fLaC"
_TAIL_BYTES = 1 << 17  # frames are hardly longer than 64 KB
_STREAMINFO = 8  # bytes before its content
_TOTAL_AT = _STREAMINFO + 13  # half a byte and four bytes
_RATES_HZ = (0, 88200, 176400, 192000, 8000, 16000, 22050, 24000, 32000, 44100, 48000, 96000)


def flac_layout(data: Bytes, start: int) -> Layout:
    """Finds the layout of a file of one or several recordings.

    Args:
        data: the file.
        start: begin of the first one, after a tag.

    Raises:
        DataError: the last frames are missing.
    """
    starts = [start, *_joined(data, start + 4)]
    parts, notes = [], list[Note]()
    for begin, end in zip(starts, [*starts[1:], data.size], strict=True):
        part, remarks = _part(data, begin, end)
        parts.append(part)
        notes += remarks
    notes += [Note(data.path, JOINED, len(starts), "recordings")] if len(starts) > 1 else []
    return Layout(tuple(parts), tuple(notes))


def _joined(data: Bytes, position: int) -> list[int]:
    """Positions of further recordings."""
    starts = []
    while (position := data.find(_MARK, position, data.size)) >= 0:
        if re.match(rb"fLaC[\x00\x80]\x00\x00\x22", data.at(position, 8)):
            starts.append(position)
        position += 4
    return starts


def _part(data: Bytes, start: int, stop: int) -> tuple[Part, list[Note]]:
    info = data.at(start, _STREAMINFO + 34)
    if len(info) < _STREAMINFO + 34:
        return Part(((start, stop),)), []
    promised = int.from_bytes(info[_TOTAL_AT : _TOTAL_AT + 5], "big") & 0xFFFFFFFFF
    found = _end_sample(data, start, stop, info)
    if found is None or found == promised:  # without a frame the decoder raises the error
        return Part(((start, stop),), check_end=True), []
    if found < promised:
        raise truncated(data.path, f"{promised} samples", str(found))
    total = (info[_TOTAL_AT] >> 4 << 36 | found).to_bytes(5, "big") + bytes(16)  # no checksum
    end = start + _STREAMINFO + 34
    pieces: tuple[Piece, ...] = ((start, start + _TOTAL_AT), total, (end, stop))
    uncounted = Note(data.path, UNCOUNTED, found - promised, "samples")
    return Part(pieces, check_end=True), [uncounted if promised else Note(data.path, STREAM)]


def _end_sample(data: Bytes, start: int, stop: int, info: bytes) -> int | None:
    """Number of the sample after the last frame; None without a frame."""
    first = max(start + _STREAMINFO + 34, stop - _TAIL_BYTES)
    tail = data.at(first, stop - first)
    place = len(tail)
    while (place := tail.rfind(b"\xff", 0, place)) >= 0:
        end = _frame_end(tail[place : place + 16], info)
        if end is not None:
            return end
    return None


def _frame_end(head: bytes, info: bytes) -> int | None:
    """Number of the sample after a frame, from its header; None for other bytes."""
    if len(head) < 6 or head[1] & 0xFC != 0xF8 or head[1] & 2 or head[3] & 1:
        return None
    rate_hz = int.from_bytes(info[_STREAMINFO + 10 : _STREAMINFO + 13], "big") >> 4
    channels = (info[_STREAMINFO + 12] >> 1 & 7) + 1
    own_channels = head[3] >> 4
    if (own_channels + 1 if own_channels < 8 else 2) != channels or own_channels > 10:
        return None
    number, length = _coded_number(head[4:])
    if number is None:
        return None
    place = 4 + length
    size_code, rate_code = head[2] >> 4, head[2] & 15
    extra = {6: 1, 7: 2}.get(size_code, 0)
    if extra:
        size = int.from_bytes(head[place : place + extra], "big") + 1
    elif size_code < 6:
        size = 576 << (size_code - 2) if size_code > 1 else 192
    else:
        size = 256 << (size_code - 8)
    place += extra + {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    if size_code == 0 or rate_code == 15 or len(head) <= place:
        return None
    if _crc8(head[:place]) != head[place]:
        return None
    if 0 < rate_code < 12 and _RATES_HZ[rate_code] != rate_hz:
        return None
    if head[1] & 1:  # samples are numbered, not frames
        return number + size
    block = int.from_bytes(info[_STREAMINFO + 2 : _STREAMINFO + 4], "big")
    return number * block + size


def _coded_number(content: bytes) -> tuple[int | None, int]:
    """A number coded like a character of UTF-8, up to 36 bits, and its length in bytes."""
    ones = next((bit for bit in range(8) if not content[0] << bit & 0x80), 8)
    if ones == 0:
        return content[0], 1
    if ones in (1, 8) or len(content) < ones or any(byte >> 6 != 2 for byte in content[1:ones]):
        return None, 0
    number = content[0] & 0x7F >> ones
    for byte in content[1:ones]:
        number = number << 6 | byte & 0x3F
    return number, ones


def _crc8(content: bytes) -> int:
    value = 0
    for byte in content:
        value ^= byte
        for _ in range(8):
            value = (value << 1 ^ 0x107 if value & 0x80 else value << 1) & 0xFF
    return value

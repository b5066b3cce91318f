"""Ogg: pages of consecutive recordings, with a mark at the first and the last page of each.

References:
    RFC 3533, "The Ogg Encapsulation Format Version 0".
"""

import struct
from dataclasses import dataclass, field

from common.audio.containers.layout import Bytes, Layout, Part, damaged, truncated
from common.audio.containers.mpeg import JOINED, JUNK
from common.io.notes import Note

_BEGIN, _END = 2, 4  # flags of a page
_HEAD_BYTES = 27
UNFINISHED = "its end is not marked: it may be truncated"


@dataclass
class _Link:
    """One recording of a file."""

    start: int
    stop: int
    numbers: dict[int, int] = field(default_factory=dict)  # of the last page of each stream
    ended: bool = False
    has_sound: bool = False


def ogg_layout(data: Bytes) -> Layout:
    """Finds the layout of the pages of a file.

    Raises:
        DataError: pages are missing, in the middle or at the end.
    """
    links: list[_Link] = []
    junk, position = 0, 0
    while position < data.size:
        head = data.at(position, _HEAD_BYTES + 255)
        if head[:4] != b"OggS":
            found = data.find(b"OggS", position + 1, data.size)
            stop = found if found >= 0 else data.size
            junk += data.n_odd(position, stop)
            position = stop
            continue
        n_bytes = _page_bytes(head)
        if n_bytes is None or position + n_bytes > data.size:
            expected = f"a page of {n_bytes or _HEAD_BYTES} bytes at byte {position}"
            raise truncated(data.path, expected, str(data.size - position))
        _take_page(data, links, head, position, position + n_bytes)
        position += n_bytes
    notes = [Note(data.path, JOINED, len(links), "recordings")] if len(links) > 1 else []
    notes += [Note(data.path, UNFINISHED)] if any(not link.ended for link in links) else []
    notes += [Note(data.path, JUNK, junk, "bytes")] if junk else []
    return Layout(tuple(Part(((link.start, link.stop),)) for link in links), tuple(notes))


def _page_bytes(head: bytes) -> int | None:
    """Length of a page from its first bytes; None where those are incomplete."""
    if len(head) < _HEAD_BYTES or len(head) < _HEAD_BYTES + head[26]:
        return None
    return _HEAD_BYTES + head[26] + sum(head[_HEAD_BYTES : _HEAD_BYTES + head[26]])


def _take_page(data: Bytes, links: list[_Link], head: bytes, start: int, stop: int) -> None:
    flags, (serial, number) = head[5], struct.unpack("<II", head[14:22])
    begins = bool(flags & _BEGIN)
    if not links or (begins and links[-1].has_sound):
        links.append(_Link(start, stop))
    link = links[-1]
    if serial in link.numbers and not begins and number != link.numbers[serial] + 1 and number:
        missing = f"{link.numbers[serial] + 1} to {number - 1}"
        raise damaged(data.path, f"Pages {missing} are missing before byte {start}.")
    link.numbers[serial] = number
    link.stop = stop
    link.has_sound |= not begins
    link.ended |= bool(flags & _END)

"""Containers with the number of bytes of sound in the header: RIFF, W64, AIFF, AU, CAF, more.

Writers of streams do not know that number when they write the header. They write instead:

- 0xFFFFFFFF: the documents of AU and RF64; ffmpeg, in WAV
- 0x7FFFF000, 0x7F000008, 0x80000000, 0x7FFFFFFF less some bytes: SoX, arecord, MPlayer
- 0: flac -d, GStreamer, ffmpeg in AIFF, Python's wave
- -1: CAF, by its document
- 24, 2^63, -1: W64 of SoX and ffmpeg

A truncated file has no such number, unless 2 GB of it are missing.
"""

import math
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from common.audio.containers.layout import STREAM, TRAILING, Bytes, Layout, Part, Piece, truncated
from common.io.notes import Note

_STREAM_32 = 0x7F000000  # larger sizes of 32 bits are unknown ones, if the file is shorter
_LARGEST_32 = 0xFFFFFFFF
_MAX_CHUNKS = 10_000
_W64_TAIL = {  # of a chunk's 16 bytes, after its four letters
    b"riff": bytes.fromhex("2e91cf11a5d628db04c10000"),
    b"": bytes.fromhex("f3acd3118cd100c04f8edb8a"),
}


@dataclass(frozen=True)
class _Form:
    """Layout of the chunks of a container.

    Attributes:
        id_bytes: length of a chunk's name.
        size: `struct` format of the size of a chunk.
        counts_header: true if that size includes name and size.
        align: chunks begin at multiples of so many bytes.
        first: bytes of the file before the first chunk.
        sound: name of the chunk with the sound.
        lead: bytes of that chunk before the sound.
    """

    id_bytes: int
    size: str
    counts_header: bool
    align: int
    first: int
    sound: bytes
    lead: int = 0

    @property
    def header_bytes(self) -> int:
        return self.id_bytes + struct.calcsize(self.size)


@dataclass(frozen=True)
class _Chunk:
    name: bytes
    start: int  # of its content
    size: int  # of its content, according to the header


_RIFF = _Form(4, "<I", False, 2, 12, b"data")
_RIFX = _Form(4, ">I", False, 2, 12, b"data")
_W64 = _Form(16, "<Q", True, 8, 40, b"data" + _W64_TAIL[b""])
_AIFF = _Form(4, ">I", False, 2, 12, b"SSND", 8)
_SVX = _Form(4, ">I", False, 2, 12, b"BODY")
_CAF = _Form(4, ">q", False, 1, 8, b"data", 4)


def form_of(head: bytes) -> _Form | None:
    """Form of the chunks of a file, from its first bytes; None for other files."""
    if head[:4] in (b"RIFF", b"RF64", b"BW64"):
        return _RIFF
    if head[:16] == b"riff" + _W64_TAIL[b"riff"]:
        return _W64
    if head[:4] == b"FORM":
        return {b"AIFF": _AIFF, b"AIFC": _AIFF, b"8SVX": _SVX, b"16SV": _SVX}.get(head[8:12])
    return {b"RIFX": _RIFX, b"caff": _CAF}.get(head[:4])


def chunked_layout(data: Bytes, start: int, form: _Form) -> tuple[Layout, int, _Chunk | None]:
    """Finds the layout of a file of chunks.

    Args:
        data: the file.
        start: where its first byte is.
        form: of its chunks.

    Returns:
        The layout, where the recording ends, and the chunk of its sound with its true size, None
        without one.

    Raises:
        DataError: the sound is truncated.
    """
    chunk = _named(data, start, form, form.sound)
    if chunk is None:
        return Layout((Part(((start, data.size),)),)), data.size, None
    present = data.size - chunk.start
    promised, is_known = _promised(data, start, form, chunk)
    end = data.size
    if is_known and promised <= present:
        end = _end_of_chunks(data, chunk.start + promised, form)
        rest = data.size - end
        wrapped = form.size[1:] == "I" and rest >= _LARGEST_32  # too long for 32 bits
        is_known = not wrapped and not (promised <= form.lead and rest > 0)
    if is_known and promised > present:
        raise truncated(data.path, f"{promised} bytes of audio", str(max(0, present)))
    if is_known:
        pieces: tuple[Piece, ...] = ((start, end),)
        notes: tuple[Note, ...] = ()
    else:
        promised, end = present, data.size
        pieces, notes = _corrected(data, start, form, chunk), (Note(data.path, STREAM),)
    sound = _Chunk(chunk.name, chunk.start, promised)
    return Layout((Part(_readable(data, start, pieces)),), notes), end, sound


def _promised(data: Bytes, start: int, form: _Form, chunk: _Chunk) -> tuple[int, bool]:
    """Bytes of sound according to a header, and True if that number is valid."""
    size, present = chunk.size, data.size - chunk.start
    if data.at(start, 4) in (b"RF64", b"BW64") and size == _LARGEST_32:
        ds64 = _named(data, start, form, b"ds64")
        size = struct.unpack("<Q", data.at(ds64.start + 8, 8))[0] if ds64 and ds64.size >= 16 else 0
        return size, 0 < size < 2**62
    if form.size[1:] == "I":
        return size, size <= present or size < _STREAM_32
    return size, 0 <= size <= present or 0 < size < 2**62


def _chunks(data: Bytes, position: int, form: _Form) -> Iterator[_Chunk]:
    """Yields the chunks up to that of the sound."""
    for _ in range(_MAX_CHUNKS):
        header = data.at(position, form.header_bytes)
        if len(header) < form.header_bytes:
            return
        size = struct.unpack(form.size, header[form.id_bytes :])[0]
        size = max(0, size - form.header_bytes) if form.counts_header else size
        chunk = _Chunk(header[: form.id_bytes], position + form.header_bytes, size)
        yield chunk
        if chunk.name == form.sound or size < 0 or chunk.start + size > data.size:
            return
        position = _aligned(chunk.start + size, form)


def _named(data: Bytes, start: int, form: _Form, name: bytes) -> _Chunk | None:
    chunks = _chunks(data, start + form.first, form)
    return next((chunk for chunk in chunks if chunk.name == name), None)


def _aligned(position: int, form: _Form) -> int:
    return -(-position // form.align) * form.align


def _end_of_chunks(data: Bytes, position: int, form: _Form) -> int:
    """End of the chunks after the sound; later bytes belong to no chunk."""
    end = min(position, data.size)
    begins = dict.fromkeys((_aligned(position, form), position))  # some writers forget the padding
    for begin in begins:
        reached = min(begin, data.size)
        for _ in range(_MAX_CHUNKS):
            header = data.at(reached, form.header_bytes)
            if len(header) < form.header_bytes or not _is_name(header):
                break
            size = struct.unpack(form.size, header[form.id_bytes :])[0]
            stop = reached + (0 if form.counts_header else form.header_bytes) + size
            if stop > data.size or (form.counts_header and size < form.header_bytes):
                break
            reached = min(_aligned(stop, form), data.size)
        end = max(end, reached)
        if end == data.size:
            break
    return end


def _is_name(header: bytes) -> bool:
    """True for the first bytes of a chunk, but not of a second, joined file."""
    files = (b"RIFF", b"RIFX", b"RF64", b"BW64", b"FORM", b"riff", b"caff")
    return re.fullmatch(rb"[ -~]{4}", header[:4]) is not None and header[:4] not in files


def _corrected(data: Bytes, start: int, form: _Form, chunk: _Chunk) -> tuple[Piece, ...]:
    """Pieces of a file with the sizes in the header corrected to the existing bytes."""
    present = data.size - chunk.start
    n_bytes = struct.calcsize(form.size)
    is_64 = data.at(start, 4) in (b"RF64", b"BW64")
    sizes = [(chunk.start - n_bytes, present + (form.header_bytes if form.counts_header else 0))]
    if form is _CAF:
        pass  # the file as a whole has no size
    elif form is _W64:
        sizes.insert(0, (start + 16, data.size - start))
    elif is_64:
        sizes = _sizes_of_ds64(data, start, form, chunk) or sizes
    else:
        sizes.insert(0, (start + 4, data.size - start - 8))
    pieces: list[Piece] = []
    position = start
    for place, value in sizes:
        is_long = is_64 and value > 0 and place < chunk.start - n_bytes
        width = "<Q" if is_long else form.size
        limit = _LARGEST_32 if width[1:] == "I" else 2**62
        pieces += [(position, place), struct.pack(width, min(value, limit))]
        position = place + struct.calcsize(width)
    return (*pieces, (position, data.size))


def _sizes_of_ds64(data: Bytes, start: int, form: _Form, chunk: _Chunk) -> list[tuple[int, int]]:
    """Position and true value of the sizes of file and sound in the chunk of long sizes."""
    ds64 = _named(data, start, form, b"ds64")
    if ds64 is None or ds64.size < 16 or ds64.start + 16 > chunk.start:
        return []
    return [(ds64.start, data.size - start - 8), (ds64.start + 8, data.size - chunk.start)]


def _readable(data: Bytes, start: int, pieces: tuple[Piece, ...]) -> tuple[Piece, ...]:
    """Renames BW64 to RF64, the same format under a name that libsndfile supports."""
    if data.at(start, 4) != b"BW64" or not isinstance(pieces[0], tuple):
        return pieces
    return (b"RF64", (start + 4, pieces[0][1]), *pieces[1:])


def au_layout(data: Bytes, start: int) -> tuple[Layout, int]:
    """Finds layout and end of a file of Sun and NeXT, big or little endian.

    Raises:
        DataError: the sound is truncated.
    """
    order = ">" if data.at(start, 4) == b".snd" else "<"
    head = data.at(start + 4, 8)
    if len(head) < 8:
        return Layout((Part(((start, data.size),)),)), data.size
    offset, promised = struct.unpack(f"{order}II", head)
    present = max(0, data.size - start - offset)
    if promised > present and promised < _STREAM_32:
        raise truncated(data.path, f"{promised} bytes of audio", str(present))
    if promised > present or (promised == 0 < present):
        size = struct.pack(f"{order}I", min(present, _LARGEST_32))
        sized: tuple[Piece, ...] = ((start, start + 8), size, (start + 12, data.size))
        return Layout((Part(sized),), (Note(data.path, STREAM),)), data.size
    end = start + offset + promised
    return Layout((Part(((start, end),)),)), end


def fixed_layout(data: Bytes, head: bytes) -> Layout | None:
    """Finds the layout of NIST, AVR, VOC and WVE files, with a length in the header; else None.

    Raises:
        DataError: the sound is truncated.
    """
    if head[:8] == b"NIST_1A\n":
        facts = dict(re.findall(rb"(\w+) -i (\d+)", data.at(0, 1024)))
        header_bytes = int(re.sub(rb"\D", b"", head[8:16]) or 1024)
        keys = (b"sample_count", b"channel_count", b"sample_n_bytes")
        promised = math.prod(int(facts.get(key, 0)) for key in keys)
    elif head[:4] == b"2BIT" and len(data.at(0, 128)) == 128:
        header_bytes = 128
        is_stereo, bits = struct.unpack(">HH", data.at(12, 4))
        promised = struct.unpack(">I", data.at(26, 4))[0] * (2 if is_stereo else 1) * (bits // 8)
    elif head[:20] == b"Creative Voice File\x1a" and len(head) >= 64:
        header_bytes = int.from_bytes(head[20:22], "little") + 4
        promised = int.from_bytes(data.at(header_bytes - 3, 3), "little")
    elif head[:16] == b"ALawSoundFile**\0":
        header_bytes, promised = 32, int.from_bytes(head[18:22], "big")
    else:
        return None
    present = data.size - header_bytes
    if promised > present:
        raise truncated(data.path, f"{promised} bytes of audio", str(max(0, present)))
    return Layout((Part(((0, data.size),)),))


def trailing_note(data: Bytes, end: int) -> tuple[Note, ...]:
    """Note on bytes after a recording, unless they are few or zeros."""
    n_bytes = data.size - end
    if n_bytes <= 8 or not data.n_odd(end, data.size):
        return ()
    return (Note(data.path, TRAILING, n_bytes, "bytes"),)


def holds_mpeg(data: Bytes, start: int, form: _Form) -> bool:
    """True if the sound of a RIFF file is MPEG audio."""
    if form is not _RIFF:
        return False
    kind = _named(data, start, form, b"fmt ")
    return kind is not None and data.at(kind.start, 2) in (b"\x50\0", b"\x55\0")

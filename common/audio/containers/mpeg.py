"""MPEG audio (MP3): a sequence of frames, which are counted here, since no length is reliable.

An encoder may write a first frame without sound with the number of the others ("Xing", "Info"
of LAME, "VBRI"). Without it, libsndfile guesses the length from the first bit rates; in joined
files, it uses the first of them. A frame with the number counted here replaces it then.

References:
    ISO/IEC 11172-3 and 13818-3: header of a frame, samples and bytes of each layer.
    id3.org, "ID3 tag version 2.4.0": size of a tag. wiki.hydrogenaudio.org, "APEv2 specification".
"""

import struct
from dataclasses import dataclass, field

from common.audio.containers.layout import Bytes, Layout, Part, Piece, check_kinds, truncated
from common.io.notes import Note

_KBPS = {  # by (version 1, layer)
    (True, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES_HZ = (44100, 48000, 32000)  # of version 1; half of it in version 2, a quarter in 2.5
_MARKS = rb"\xff[\xe0-\xff]|ID3|TAG|APETAGEX|LYRICSBEGIN"  # first bytes of a frame or a tag
# Bits of a header that all frames of a stream share: version, layer, sample rate.
_SAME = 0xFFFE0C00
JOINED = "several recordings were joined in it: all of them are read, one after another"
UNCOUNTED = "it has more frames than its header counts: all of them are read"
CUT_FRAME = "its last frame is cut off, and its full length is unknown: it may be truncated"
JUNK = "between its frames are other bytes: left out"
FREE = "its frames have no bit rate, so that they cannot be counted: it may be longer than it seems"


@dataclass(frozen=True)
class Frame:
    """Header of a frame: size in bytes, samples, rate, and the header itself."""

    n_bytes: int
    samples: int
    rate_hz: int
    header: int

    @property
    def layer(self) -> int:
        """1, 2 or 3."""
        return 4 - (self.header >> 17 & 3)

    @property
    def is_mono(self) -> bool:
        """True for one channel."""
        return self.header >> 6 & 3 == 3

    @property
    def side_bytes(self) -> int:
        """Bytes of layer III between header and sound, without a checksum."""
        is_first = self.header >> 19 & 3 == 3
        return (17 if self.is_mono else 32) if is_first else (9 if self.is_mono else 17)


def parse_frame(content: bytes) -> Frame | None:
    """Reads four bytes as the header of a frame; None for others, and without a bit rate."""
    if len(content) < 4 or content[0] != 0xFF or content[1] & 0xE0 != 0xE0:
        return None
    header = int.from_bytes(content[:4], "big")
    version, layer, rate = header >> 19 & 3, 4 - (header >> 17 & 3), header >> 10 & 3
    bit_rate = header >> 12 & 15
    if version == 1 or layer == 4 or rate == 3 or bit_rate in (0, 15):
        return None
    is_first = version == 3
    rate_hz = _RATES_HZ[rate] // {3: 1, 2: 2, 0: 4}[version]
    samples = 384 if layer == 1 else 576 if layer == 3 and not is_first else 1152
    unit = 4 if layer == 1 else 1
    kbps, padding = _KBPS[is_first, layer][bit_rate], header >> 9 & 1
    n_bytes = samples // 8 * kbps * 1000 // rate_hz // unit + padding
    return Frame(n_bytes * unit, samples, rate_hz, header)


@dataclass
class _Run:
    """Frames of one stream: their positions, and the facts in its first frame."""

    first: Frame
    info_bytes: int = 0  # of a first frame that only describes the others
    stated_frames: int | None = None
    stated_bytes: int | None = None
    n_frames: int = 0  # with sound
    bit_rates: set[int] = field(default_factory=set)
    sizes: set[int] = field(default_factory=set)
    spans: list[tuple[int, int]] = field(default_factory=list)
    begin: int = 0

    def add(self, position: int, frame: Frame) -> None:
        """Counts a frame with sound."""
        self.n_frames += 1
        self.bit_rates.add(frame.header >> 12 & 15)
        self.sizes.add(frame.n_bytes)
        self.extend(position, frame)

    def extend(self, position: int, frame: Frame) -> None:
        """Adds the bytes of a frame."""
        if self.spans and self.spans[-1][1] == position:
            self.spans[-1] = (self.spans[-1][0], position + frame.n_bytes)
        else:
            self.spans.append((position, position + frame.n_bytes))


def mpeg_layout(data: Bytes, start: int, stop: int) -> Layout | None:
    """Finds the layout of a sequence of frames.

    Args:
        data: the file.
        start: their begin, or that of a tag before them.
        stop: their end.

    Returns:
        A part for each recording; None without frames.

    Raises:
        DataError: truncated, or recordings of different rates or numbers of channels were joined.
    """
    runs, junk, is_cut = _runs(data, start, stop)
    if not runs:
        return _free_layout(data, start, stop)
    check_kinds(data.path, {(run.first.rate_hz, 1 if run.first.is_mono else 2) for run in runs})
    notes = []
    for number, run in enumerate(runs):
        notes += _checked(data, run, is_cut and number == len(runs) - 1)
    notes += [Note(data.path, JOINED, len(runs), "recordings")] if len(runs) > 1 else []
    notes += [Note(data.path, JUNK, junk, "bytes")] if junk else []
    whole = (start, stop) if len(runs) == 1 else None
    return Layout(tuple(_part(run, whole) for run in runs), tuple(notes))


def _runs(data: Bytes, start: int, stop: int) -> tuple[list[_Run], int, bool]:
    """Recordings, number of bytes outside frames and tags, and True if the last frame is cut."""
    runs: list[_Run] = []
    run: _Run | None = None
    junk, position, is_cut = 0, start, False
    while position + 4 <= stop:
        frame = parse_frame(data.at(position, 4))
        continues = frame is not None and run is not None and _same(frame, run.first)
        if frame is not None and (continues or _followed(data, position, frame, stop)):
            if position + frame.n_bytes > stop:
                is_cut = True
                break
            opened = _opened(data, position, frame)
            if run is None or opened is not None or not _same(frame, run.first):
                run = opened or _Run(frame, begin=position)
                runs.append(run)
            if opened is None:
                run.add(position, frame)
            position += frame.n_bytes
            continue
        tag = _tag_bytes(data, position, stop)
        if tag:
            run = None if data.at(position, 3) == b"ID3" else run  # another recording begins
            position += tag
            continue
        found = _next_frame(data, position + 1, stop)
        junk += data.n_odd(position, found) if runs else 0
        position = found
    return [each for each in runs if each.n_frames or each.stated_frames], junk, is_cut


def _same(frame: Frame, other: Frame) -> bool:
    return frame.header & _SAME == other.header & _SAME and frame.is_mono == other.is_mono


def _followed(data: Bytes, position: int, frame: Frame, stop: int) -> bool:
    """True if a frame of the same kind, or the end, follows: four bytes may be a coincidence."""
    after = position + frame.n_bytes
    if after + 4 > stop:
        return after <= stop
    following = parse_frame(data.at(after, 4))
    return (following is not None and _same(following, frame)) or _tag_bytes(data, after, stop) > 0


def _next_frame(data: Bytes, position: int, stop: int) -> int:
    """Position of the next frame or tag; `stop` without any."""
    while (position := data.find(_MARKS, position, stop)) >= 0:
        frame = parse_frame(data.at(position, 4))
        is_frame = frame is not None and _followed(data, position, frame, stop)
        if is_frame or _tag_bytes(data, position, stop):
            return position
        position += 1
    return stop


def _tag_bytes(data: Bytes, position: int, stop: int) -> int:
    """Length of an ID3v2, ID3v1, APE or Lyrics3 tag that begins here; 0 for other bytes."""
    head = data.at(position, 32)
    if head[:3] == b"ID3" and len(head) >= 10 and max(head[6:10]) < 128:
        size = sum(byte << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
        return min(10 + size + (10 if head[5] & 16 else 0), stop - position)
    if head[:3] == b"TAG":
        return min(128, stop - position)
    if head[:8] == b"APETAGEX" and len(head) == 32:
        size, _, flags = struct.unpack("<III", head[12:24])
        is_header = bool(flags >> 29 & 1)
        return min(32 + (size if is_header else 0), stop - position)
    if head[:11] == b"LYRICSBEGIN":
        end = data.find(b"LYRICS200", position, stop)
        return end + 9 - position if end >= 0 else 0
    return 0


def _opened(data: Bytes, position: int, frame: Frame) -> _Run | None:
    """Run that begins with a frame that only describes the next ones; None for sound."""
    if frame.layer != 3:
        return None
    content = data.at(position, min(frame.n_bytes, 256))
    at = 4 + frame.side_bytes
    if content[at : at + 4] in (b"Xing", b"Info") and len(content) >= at + 16:
        flags = int.from_bytes(content[at + 4 : at + 8], "big")
        numbers = struct.unpack(">II", content[at + 8 : at + 16])
        frames = numbers[0] if flags & 1 else None
        n_bytes = numbers[flags & 1] if flags & 2 else None
        return _info_run(position, frame, frames or None, n_bytes or None)
    if content[36:40] == b"VBRI" and len(content) >= 54:
        n_bytes, frames = struct.unpack(">II", content[46:54])
        return _info_run(position, frame, frames or None, n_bytes or None)
    return None


def _info_run(position: int, frame: Frame, frames: int | None, n_bytes: int | None) -> _Run:
    run = _Run(frame, frame.n_bytes, frames, n_bytes, begin=position)
    run.extend(position, frame)
    return run


def _checked(data: Bytes, run: _Run, is_cut: bool) -> list[Note]:
    """Compares frames with the numbers in their first frame.

    Raises:
        DataError: some are missing.
    """
    n_bytes = sum(stop - start for start, stop in run.spans)
    stated = run.stated_frames
    if stated is None:
        return [Note(data.path, CUT_FRAME)] if is_cut else []
    fits = run.stated_bytes is None or run.stated_bytes <= n_bytes
    counts_itself = stated == run.n_frames + 1 and fits
    if stated > run.n_frames and not counts_itself:
        raise truncated(data.path, f"{stated} frames", str(run.n_frames))
    n_more = run.n_frames - stated
    return [Note(data.path, UNCOUNTED, n_more, "frames")] if n_more > 0 else []


def _part(run: _Run, whole: tuple[int, int] | None) -> Part:
    """Pieces of a run to decode: its bytes, with a new first frame unless they have its length."""
    pieces: tuple[Piece, ...] = tuple(run.spans)
    if whole is not None and len(pieces) == 1:  # tags are left to the decoder
        pieces = (whole,)
    samples = run.n_frames * run.first.samples
    if run.stated_frames == run.n_frames:
        return Part(pieces)
    begin = run.begin + run.info_bytes
    spans = [(max(start, begin), stop) for start, stop in run.spans if stop > begin]
    sound: tuple[Piece, ...] = tuple(spans)
    if run.first.layer != 3:
        return Part((*sound, bytes(_missing_bytes(run))), samples)
    counted = (_first_frame(run), *sound)
    is_constant = len(run.bit_rates) == 1 and not run.info_bytes
    return Part(pieces, samples, counted) if is_constant else Part(counted)


def _missing_bytes(run: _Run) -> int:
    """Number of trailing zeros with which the decoder does not underestimate the length."""
    largest = max(run.sizes) + 1
    return (run.n_frames + 2) * largest - sum(stop - start for start, stop in run.spans)


def _first_frame(run: _Run) -> bytes:
    """Frame without sound that has the number of frames after it."""
    header = run.first.header | 1 << 16  # no checksum
    headers = ((header & ~0xF200 | code << 12).to_bytes(4, "big") for code in range(1, 15))
    frames = map(parse_frame, headers)
    needed = 4 + run.first.side_bytes + 12
    frame = next(each for each in frames if each is not None and each.n_bytes >= needed)
    count = b"Xing" + struct.pack(">II", 1, run.n_frames)
    content = frame.header.to_bytes(4, "big") + bytes(frame.side_bytes) + count
    return content.ljust(frame.n_bytes, b"\0")


def _free_layout(data: Bytes, start: int, stop: int) -> Layout | None:
    """Layout of frames without a bit rate, whose number libsndfile estimates."""
    position = start + _tag_bytes(data, start, stop)
    head = data.at(position, 4)
    code = bytes([*head[:2], head[2] | 0x10, head[3]]) if len(head) == 4 else b""
    if len(head) < 4 or head[2] >> 4 or parse_frame(code) is None:
        return None
    return Layout((Part(((start, stop),)),), (Note(data.path, FREE),))


def mp3_tag(data: Bytes) -> int:
    """Bytes of the tag that a file begins with; 0 without one."""
    return _tag_bytes(data, 0, data.size) if data.at(0, 3) == b"ID3" else 0

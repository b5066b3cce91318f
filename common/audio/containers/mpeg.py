"""MPEG audio (MP3): a row of frames, which are counted here; the length stands nowhere for certain.

An encoder may write a first frame without sound that holds the number of the others ("Xing", "Info"
of LAME, "VBRI"). Where it is missing, libsndfile guesses the length from the first bit rates; where
files were joined, it believes the first of them. A frame with the number counted here takes its
place then.

References:
    ISO/IEC 11172-3 and 13818-3: header of a frame, samples and bytes of each layer.
    id3.org, "ID3 tag version 2.4.0": size of a tag. wiki.hydrogenaudio.org, "APEv2 specification".
"""

import struct
from dataclasses import dataclass, field

from common.audio.containers.layout import Bytes, Layout, Part, Piece, damaged, truncated
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
_MARKS = rb"\xff[\xe0-\xff]|ID3|TAG|APETAGEX|LYRICSBEGIN"  # that a frame or a tag begins with
_SAME = (
    0xFFFE0C00  # bits of a header that all frames of a stream share: version, layer, sample rate
)
JOINED = "several recordings were joined in it: all of them are heard, one after another"
UNCOUNTED = "it has more frames than its header tells: all of them are heard"
CUT_FRAME = (
    "its last frame is cut off, and nothing tells how long it should be: it may be truncated"
)
JUNK = "between its frames lies what is no sound: left out"
FREE = "its frames tell no bit rate, so that they cannot be counted: it may be longer than it seems"


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
    """Reads four bytes as the header of a frame; None if they are none or have no bit rate."""
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
    n_bytes = samples // 8 * _KBPS[is_first, layer][bit_rate] * 1000 // rate_hz // unit + (
        header >> 9 & 1
    )
    return Frame(n_bytes * unit, samples, rate_hz, header)


@dataclass
class _Run:
    """Frames of one stream: their positions, and the facts in its first frame."""

    first: Frame
    info_bytes: int = 0  # of a first frame that only describes the others
    told_frames: int | None = None
    told_bytes: int | None = None
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
        """Takes the bytes of a frame."""
        if self.spans and self.spans[-1][1] == position:
            self.spans[-1] = (self.spans[-1][0], position + frame.n_bytes)
        else:
            self.spans.append((position, position + frame.n_bytes))


def mpeg_layout(data: Bytes, start: int, stop: int) -> Layout | None:
    """Looks at a row of frames.

    Args:
        data: the file.
        start: where they begin, or a tag before them.
        stop: where they end.

    Returns:
        A part for each recording; None where there are no frames.

    Raises:
        DataError: truncated, or recordings of different rates or numbers of channels were joined.
    """
    runs, junk, is_cut = _runs(data, start, stop)
    if not runs:
        return _free_layout(data, start, stop)
    kinds = {(run.first.rate_hz, 1 if run.first.is_mono else 2) for run in runs}
    if len(kinds) > 1:
        told = " and ".join(
            f"{rate} Hz with {channels} channel(s)" for rate, channels in sorted(kinds)
        )
        raise damaged(
            data.path,
            f"Recordings of different kinds were joined in it: {told}. Expected: one kind.",
        )
    notes = []
    for number, run in enumerate(runs):
        notes += _checked(data, run, is_cut and number == len(runs) - 1)
    notes += [Note(data.path, JOINED, len(runs), "recordings")] if len(runs) > 1 else []
    notes += [Note(data.path, JUNK, junk, "bytes")] if junk else []
    whole = (start, stop) if len(runs) == 1 else None
    return Layout(tuple(_part(run, whole) for run in runs), tuple(notes))


def _runs(data: Bytes, start: int, stop: int) -> tuple[list[_Run], int, bool]:
    """Recordings, number of bytes that are no frames or tags, and true if the last frame is cut."""
    runs: list[_Run] = []
    run: _Run | None = None
    junk, position, is_cut = 0, start, False
    while position + 4 <= stop:
        frame = parse_frame(data.at(position, 4))
        goes_on = frame is not None and run is not None and _same(frame, run.first)
        if frame is not None and (goes_on or _followed(data, position, frame, stop)):
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
    return [each for each in runs if each.n_frames or each.told_frames], junk, is_cut


def _same(frame: Frame, other: Frame) -> bool:
    return frame.header & _SAME == other.header & _SAME and frame.is_mono == other.is_mono


def _followed(data: Bytes, position: int, frame: Frame, stop: int) -> bool:
    """True if a frame of the same kind, or the end, follows: four bytes only may be chance."""
    after = position + frame.n_bytes
    if after + 4 > stop:
        return after <= stop
    following = parse_frame(data.at(after, 4))
    return (following is not None and _same(following, frame)) or _tag_bytes(data, after, stop) > 0


def _next_frame(data: Bytes, position: int, stop: int) -> int:
    """Position of the next frame or tag; `stop` without any."""
    while (position := data.find(_MARKS, position, stop)) >= 0:
        frame = parse_frame(data.at(position, 4))
        if (frame is not None and _followed(data, position, frame, stop)) or _tag_bytes(
            data, position, stop
        ):
            return position
        position += 1
    return stop


def _tag_bytes(data: Bytes, position: int, stop: int) -> int:
    """Length of a tag of text that begins here: ID3v2, ID3v1, APE or Lyrics3; 0 for anything
    else."""
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
    """Run that begins with a frame that only describes those behind it; None for sound."""
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
    """Compares frames with the facts in their first frame.

    Raises:
        DataError: some are missing.
    """
    n_bytes = sum(stop - start for start, stop in run.spans)
    told = run.told_frames
    if told is None:
        return [Note(data.path, CUT_FRAME)] if is_cut else []
    counts_itself = told == run.n_frames + 1 and (
        run.told_bytes is None or run.told_bytes <= n_bytes
    )
    if told > run.n_frames and not counts_itself:
        raise truncated(data.path, f"{told} frames", str(run.n_frames))
    return (
        [Note(data.path, UNCOUNTED, run.n_frames - told, "frames")] if told < run.n_frames else []
    )


def _part(run: _Run, whole: tuple[int, int] | None) -> Part:
    """Pieces of a run to decode: its bytes if they hold its length, or with a new first frame."""
    pieces: tuple[Piece, ...] = tuple(run.spans)
    if whole is not None and len(pieces) == 1:  # tags are left to the decoder
        pieces = (whole,)
    samples = run.n_frames * run.first.samples
    if run.told_frames == run.n_frames:
        return Part(pieces)
    begin = run.begin + run.info_bytes
    sound: tuple[Piece, ...] = tuple(
        (max(start, begin), stop) for start, stop in run.spans if stop > begin
    )
    if run.first.layer != 3:
        return Part((*sound, bytes(_missing_bytes(run))), samples)
    counted = (_first_frame(run), *sound)
    is_constant = len(run.bit_rates) == 1 and not run.info_bytes
    return Part(pieces, samples, counted) if is_constant else Part(counted)


def _missing_bytes(run: _Run) -> int:
    """Zeros behind the frames with which the decoder's guess of the length is not too low."""
    largest = max(run.sizes) + 1
    return (run.n_frames + 2) * largest - sum(stop - start for start, stop in run.spans)


def _first_frame(run: _Run) -> bytes:
    """Frame without sound that holds the number of frames behind it."""
    header = run.first.header | 1 << 16  # no checksum
    frames = (
        parse_frame((header & ~0xF200 | code << 12).to_bytes(4, "big")) for code in range(1, 15)
    )
    needed = 4 + run.first.side_bytes + 12
    frame = next(each for each in frames if each is not None and each.n_bytes >= needed)
    told = b"Xing" + struct.pack(">II", 1, run.n_frames)
    return (frame.header.to_bytes(4, "big") + bytes(frame.side_bytes) + told).ljust(
        frame.n_bytes, b"\0"
    )


def _free_layout(data: Bytes, start: int, stop: int) -> Layout | None:
    """The layout of frames without a bit rate, which libsndfile counts as well as it can."""
    position = start + _tag_bytes(data, start, stop)
    head = data.at(position, 4)
    code = bytes([*head[:2], head[2] | 0x10, head[3]]) if len(head) == 4 else b""
    if len(head) < 4 or head[2] >> 4 or parse_frame(code) is None:
        return None
    return Layout((Part(((start, stop),)),), (Note(data.path, FREE),))


def mp3_tag(data: Bytes) -> int:
    """Bytes of the tag that a file begins with; 0 without one."""
    return _tag_bytes(data, 0, data.size) if data.at(0, 3) == b"ID3" else 0

"""Parts of a sound file that are decoded one after another, and their file objects."""

import io
import os
import re
from bisect import bisect_right
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, BinaryIO

from common.errors import DataError
from common.io.notes import Note

Piece = bytes | tuple[int, int]  # bytes as they are, or those of the file from start to stop

STREAM = "its header has no length, as of a stream: read to the end of the file"
TRAILING = "after its sound are bytes that are not in its header: left out"
_WINDOW, _LONGEST = 1 << 16, 16


@dataclass(frozen=True)
class Part:
    """One recording in a file, complete in itself.

    Attributes:
        pieces: content for the decoder.
        samples: its length; None: as found by the decoder.
        otherwise: content if the decoder finds another length; if empty, it may find more.
        check_end: True if only decoding shows that the last sample exists.
    """

    pieces: tuple[Piece, ...]
    samples: int | None = None
    otherwise: tuple[Piece, ...] = ()
    check_end: bool = False


@dataclass(frozen=True)
class Layout:
    """Content of a sound file.

    Attributes:
        parts: one, or several that were joined.
        notes: remarks on oddities of the file.
        is_known: True if its bytes were checked, False if the decoder must do so.
    """

    parts: tuple[Part, ...]
    notes: tuple[Note, ...] = ()
    is_known: bool = True


class Bytes:
    """Random access to the bytes of a file, with a buffer.

    Args:
        path: named in errors.
        file: the file, open for reading.
    """

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path, self._file = path, file
        self.size = os.fstat(file.fileno()).st_size
        self._window, self._start = b"", 0

    def at(self, position: int, count: int) -> bytes:
        """Bytes from a position on; fewer at the end of the file."""
        begin = position - self._start
        if not (begin >= 0 and begin + count <= len(self._window)):
            self._file.seek(position)
            self._window, self._start, begin = self._file.read(max(count, _WINDOW)), position, 0
        return self._window[begin : begin + count]

    def find(self, wanted: bytes, start: int, stop: int) -> int:
        """Position in [start, stop) of the first match of at most 16 bytes; -1: none."""
        pattern = re.compile(wanted, re.DOTALL)
        while start < stop:
            block = self.at(start, _WINDOW)
            found = pattern.search(block)
            if found is not None and (found.start() <= _WINDOW - _LONGEST or len(block) < _WINDOW):
                return start + found.start() if start + found.start() < stop else -1
            if len(block) < _WINDOW:
                return -1
            start += _WINDOW - _LONGEST
        return -1

    def n_odd(self, start: int, stop: int) -> int:
        """Number of bytes in [start, stop), unless these are zeros."""
        return stop - start if self.at(start, min(stop - start, _WINDOW)).strip(b"\0") else 0


class Pieces(io.RawIOBase):
    """File object of consecutive pieces.

    Args:
        path: file that the pieces are of.
        pieces: see `Part`.
    """

    def __init__(self, path: Path, pieces: Sequence[Piece]) -> None:
        super().__init__()
        self.name = str(path)  # libsndfile's errors name it
        self._file = path.open("rb")
        lengths = [len(p) if isinstance(p, bytes) else p[1] - p[0] for p in pieces]
        self._pieces, self._ends = tuple(pieces), [*accumulate(lengths)]
        self._size, self._place = self._ends[-1] if self._ends else 0, 0

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Moves, never to before the beginning."""
        self._place = max(0, offset + (0, self._place, self._size)[whence])
        return self._place

    def tell(self) -> int:
        """Position of the next byte."""
        return self._place

    def readinto(self, buffer: Any) -> int:
        """Fills a buffer as far as there are bytes."""
        wanted, count = memoryview(buffer).cast("B"), 0
        while count < len(wanted) and self._place < self._size:
            number = bisect_right(self._ends, self._place)
            missing = self._ends[number] - self._place
            part = self._bytes(self._pieces[number], missing, min(missing, len(wanted) - count))
            if not part:  # the file has become shorter
                break
            wanted[count : count + len(part)] = part
            count, self._place = count + len(part), self._place + len(part)
        return count

    def close(self) -> None:
        """Closes the file."""
        if not self.closed:
            self._file.close()
        super().close()

    def _bytes(self, piece: Piece, from_end: int, count: int) -> bytes:
        if isinstance(piece, bytes):
            start = len(piece) - from_end
            return piece[start : start + count]
        try:
            self._file.seek(piece[1] - from_end)
            return self._file.read(count)
        except OSError:  # the decoder's C code cannot handle exceptions: it finds too few bytes
            return b""


def truncated(path: Path, expected: str, received: str) -> DataError:
    """Error for a file of which a part is missing."""
    return DataError(
        f"Truncated recording: {path}. Expected: {expected}. Received: {received}. "
        "Copy or download the recording again, or remove it from the dataset."
    )


def damaged(path: Path, what: str) -> DataError:
    """Error for a file that cannot be decoded correctly."""
    return DataError(
        f"Damaged recording: {path}. {what} Copy or download the recording again, write it again "
        "(ffmpeg -i IN OUT.wav), or remove it from the dataset."
    )


def check_kinds(path: Path, kinds: Collection[tuple[int, int]]) -> None:
    """Raises DataError unless joined recordings have one rate in Hz and number of channels."""
    if len(kinds) > 1:
        found = " and ".join(f"{rate} Hz with {n} channel(s)" for rate, n in sorted(kinds))
        text = f"Recordings of different kinds were joined in it: {found}. Expected: one kind."
        raise damaged(path, text)

"""Parts of a sound file that are decoded one after another, and the file objects that libsndfile
reads them from."""

import io
import os
import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, BinaryIO

from common.errors import DataError
from common.io.notes import Note

Piece = bytes | tuple[int, int]  # bytes as they are, or those of the file from start to stop

STREAM = "its header does not say how long it is, as of a stream: read to the end of the file"
TRAILING = "behind its sound lies what its header does not tell of: left out"
_WINDOW, _LONGEST = 1 << 16, 16


@dataclass(frozen=True)
class Part:
    """One recording in a file, complete in itself.

    Attributes:
        pieces: what the decoder reads.
        samples: its length; None: what the decoder finds.
        otherwise: what it reads instead where it finds another length; without any, it may find
            more.
        check_end: true if only decoding shows that the last sample is present.
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
        is_known: true if its bytes were checked, false if that is left to the decoder.
    """

    parts: tuple[Part, ...]
    notes: tuple[Note, ...] = ()
    is_known: bool = True


class Bytes:
    """Random access to the bytes of a file, of which a window is kept.

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
        """Position of the first bytes that match a pattern of at most 16 bytes and begin in [start,
        stop); -1: none."""
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
    """File object of pieces one after another.

    Args:
        path: file that the pieces are of.
        pieces: see `Part`.
    """

    def __init__(self, path: Path, pieces: Sequence[Piece]) -> None:
        super().__init__()
        self.name = str(path)  # libsndfile's errors name it
        self._file = path.open("rb")
        lengths = (
            len(piece) if isinstance(piece, bytes) else piece[1] - piece[0] for piece in pieces
        )
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
        wanted, done = memoryview(buffer).cast("B"), 0
        while done < len(wanted) and self._place < self._size:
            number = bisect_right(self._ends, self._place)
            missing = self._ends[number] - self._place
            part = self._bytes(self._pieces[number], missing, min(missing, len(wanted) - done))
            if not part:  # the file has become shorter
                break
            wanted[done : done + len(part)] = part
            done, self._place = done + len(part), self._place + len(part)
        return done

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
        except (
            OSError
        ):  # the decoder is called from C, which knows no exceptions: it finds too little
            return b""


def truncated(path: Path, expected: str, received: str) -> DataError:
    """The error for a file of which a part is missing."""
    return DataError(
        f"Truncated recording: {path}. Expected: {expected}. Received: {received}. "
        "Copy or download the recording again, or remove it from the dataset."
    )


def damaged(path: Path, what: str) -> DataError:
    """The error for a file that cannot be decoded as it should be."""
    return DataError(
        f"Damaged recording: {path}. {what} Copy or download the recording again, write it again "
        "(ffmpeg -i IN OUT.wav), or remove it from the dataset."
    )

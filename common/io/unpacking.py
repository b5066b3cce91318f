"""Zip archives, whole or split into parts, unpacked file by file: each file is finished or absent.

The parts of a split archive are read where they lie. Nothing is joined on the disk, and no program
is needed for it.
"""

import bisect
import io
import itertools
import shutil
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from common.errors import DataError
from common.io.files import atomic_path, stays_inside

_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError, IndexError)


def unpack_zip(parts: Sequence[Path], folder: Path) -> int:
    """Unpacks an archive; files that are there already with the right size are kept.

    Args:
        parts: the archive, or the parts of one that was split, in order: .z01, .z02 ..., .zip.
        folder: where to.

    Returns:
        Number of files written now.

    Raises:
        DataError: a part is missing or damaged, or an entry would leave the folder.
    """
    written = 0
    try:
        with JoinedFiles(parts) as joined, zipfile.ZipFile(io.BufferedReader(joined)) as archive:
            for entry in _placed(archive, joined.starts):
                target = folder / _safe_path(entry.filename, parts[-1])
                finished = target.is_file() and target.stat().st_size == entry.file_size
                if entry.is_dir() or finished:
                    continue
                with (
                    atomic_path(target) as temporary,
                    archive.open(entry) as source,
                    temporary.open("wb") as out,
                ):
                    shutil.copyfileobj(source, out)
                written += 1
    except FileNotFoundError as error:
        missing = f"There is no {error.filename}. Download all parts of {parts[-1].name} first."
        raise DataError(missing) from error
    except _DAMAGED as error:
        names = ", ".join(part.name for part in parts)
        raise DataError(
            f"{parts[-1].parent}: {names} cannot be unpacked ({error}). Delete the parts and"
            " download them again; if that does not help, join them with `zip -s 0"
            f" {parts[-1].name} --out joined.zip` and unpack that."
        ) from error
    return written


class JoinedFiles(io.RawIOBase):
    """Several files read as if they were one, end to end.

    Attributes:
        starts: first byte of each file, and the end of the last.
    """

    def __init__(self, paths: Sequence[Path]):
        super().__init__()
        self._files = [path.open("rb") for path in paths]
        self.starts = list(itertools.accumulate((path.stat().st_size for path in paths), initial=0))
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = (0, self._position, self.starts[-1])[whence] + offset
        return self._position

    def readinto(self, buffer) -> int:
        number = bisect.bisect_right(self.starts, self._position) - 1
        if number >= len(self._files):
            return 0
        self._files[number].seek(self._position - self.starts[number])
        count = self._files[number].readinto(buffer)
        self._position += count
        return count

    def close(self) -> None:
        for file in self._files:
            file.close()
        super().close()


def _placed(archive: zipfile.ZipFile, starts: Sequence[int]) -> list[zipfile.ZipInfo]:
    """Moves the entries of a split archive to where they are in the joined parts.

    Such an archive counts positions from the beginning of the part that an entry is in. `zipfile`
    takes all of them as counted from the part that the table of contents is in.
    """
    table_part = starts[bisect.bisect_right(starts, archive.start_dir) - 1]
    for entry in archive.filelist:
        entry.header_offset += starts[entry.volume] - table_part
        if hasattr(entry, "_end_offset"):  # reckoned from the wrong positions
            entry._end_offset = None
    return archive.filelist


def _safe_path(name: str, archive: Path) -> PurePosixPath:
    if not stays_inside(name):
        problem = f"the entry {name!r} would be written outside its folder"
        raise DataError(f"{archive}: {problem}. Do not use this archive.")
    return PurePosixPath(name)

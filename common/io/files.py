"""Files that are finished or absent: written under a temporary name, flushed, then renamed."""

import errno
import json
import math
import os
import secrets
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any

from common.errors import DataError

TEMPORARY_PATTERN = ".*.tmp*"
TOO_DEEP = "it is nested too deeply"
_MOST_NAME_BYTES = 256  # of common file systems, less one
_REMEDIES = {
    errno.ENOSPC: "Free some space or choose another folder; finished files stay, work resumes.",
    errno.EDQUOT: "Your disk quota is used up: free some space or choose another folder.",
    errno.EFBIG: "The file exceeds the largest size allowed here (ulimit -f).",
    errno.EACCES: "Choose a folder that is open to you, or change its permissions.",
    errno.EPERM: "Choose a folder that is open to you, or change its permissions.",
    errno.EROFS: "The file system is read-only: choose another folder.",
}
STORAGE_ERRORS = frozenset(_REMEDIES)


def storage_error(path: Path | str, error: OSError, action: str = "write") -> DataError:
    """Makes the error for a `path` that could not be written: reason and remedy."""
    remedy = _REMEDIES.get(error.errno or 0, "Check the disk and the settings' folders.")
    return DataError(f"Cannot {action} {path}: {error.strerror or error}. {remedy}")


@contextmanager
def atomic_path(path: Path, suffix: str = "") -> Iterator[Path]:
    """Lends a temporary name next to `path`; the file is renamed once it is complete and on disk.

    Args:
        path: the final name; an older file of that name is replaced.
        suffix: that the temporary name ends with, for libraries that look at it.

    Yields:
        The temporary name to write to.

    Raises:
        DataError: disk full, no permission or another failure of the file system.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp{suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)  # it may be a link to elsewhere
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise storage_error(path, error) from error
    finally:
        with suppress(OSError):  # the folder may be what failed
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes a text file in UTF-8 whole or not at all; escapes halves of characters."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_json(path: Path, content: Any) -> None:
    """Writes JSON whole or not at all; numbers that JSON lacks (NaN, infinity) become null."""
    text = json.dumps(_plain(content), indent=2, allow_nan=False, ensure_ascii=False)
    write_text(path, text + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if hasattr(value, "item"):  # numbers of numpy
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def load_json(path: Path) -> Any:
    """Reads JSON as strictly as it is written here.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not JSON in UTF-8, gives a key twice, is nested too deeply, or holds a
            number or a character that JSON lacks.
    """
    text = path.read_text(encoding="utf-8")
    try:
        number = _finite_number
        content = json.loads(
            text, object_pairs_hook=_without_repeats, parse_constant=number, parse_float=number
        )
    except RecursionError as error:
        raise ValueError(TOO_DEEP) from error
    if is_too_deep(content):
        raise ValueError(TOO_DEEP)
    if "\\ud" in text.lower():  # half of a character, which nothing can print
        json.dumps(content, ensure_ascii=False).encode("utf-8")
    return content


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in content if names.count(name) > 1)
        raise ValueError(f"a key is given twice: {repeated!r}")
    return content


def _finite_number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is no number of JSON")
    return value


def is_too_deep(content: Any, most_levels: int = 50) -> bool:
    """True if lists and dicts are nested too deeply to be printed or compared."""
    if not most_levels:
        return True
    parts = content.values() if isinstance(content, dict) else content
    if not isinstance(content, dict | list | tuple):
        return False
    return any(is_too_deep(part, most_levels - 1) for part in parts)


def is_file_name(text: Any) -> bool:
    """True if a text from a file is a valid file name without folders, on any system."""
    if not isinstance(text, str) or text in (".", "..") or text.splitlines() != [text]:
        return False
    if set(text) & set("/\\\0\t"):
        return False
    try:
        return len(text.encode("utf-8")) < _MOST_NAME_BYTES
    except UnicodeEncodeError:  # half of a character
        return False


def stays_inside(text: str) -> bool:
    """True if a path from a file or archive, with / between folders, leads to no folder above."""
    path = PurePosixPath(text)
    return not (path.is_absolute() or ".." in path.parts or set(text) & set("\\\0"))


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a small file at once, whole or not at all (see `atomic_path`)."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def remove_temporaries(folder: Path, below: bool = False) -> int:
    """Removes files and folders of temporary names that interrupted writers left.

    Args:
        folder: where they wrote; nobody may be writing there now.
        below: also in the folders below.

    Returns:
        Number of removed files and folders.
    """
    leftovers = list(folder.rglob(TEMPORARY_PATTERN) if below else folder.glob(TEMPORARY_PATTERN))
    for leftover in leftovers:
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)
    return len(leftovers)


def file_crc32(path: Path, block_bytes: int = 1 << 20) -> int:
    """CRC-32 of a whole file, read in blocks."""
    checksum = 0
    with path.open("rb") as file:
        while block := file.read(block_bytes):
            checksum = zlib.crc32(block, checksum)
    return checksum

"""Arrays in `.npz` files, and the check of a zip archive before anything in it is read."""

import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from common.io.files import atomic_path, stays_inside

_MOST_BYTES = 64 << 20  # an archive may become this large in any case
_MOST_TIMES = 20  # beyond, it may become so many times its size: weights and features hardly shrink


_OF_ZIPFILE = (ArithmeticError, LookupError, NotImplementedError, UnicodeDecodeError)


def check_archive(path: Path) -> None:
    """Refuses a zip archive whose members leave their folder, share names, or fill the memory.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no zip archive, or one of these.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, *_OF_ZIPFILE) as error:
        raise ValueError(f"no zip archive: {error}") from error
    names = [member.filename for member in members]
    outside = [name for name in names if not stays_inside(name)]
    if outside or len(set(names)) < len(names):
        raise ValueError(f"members outside of it or twice in it: {(outside or names)[:3]}")
    unpacked = sum(member.file_size for member in members)
    if unpacked > max(_MOST_BYTES, _MOST_TIMES * path.stat().st_size):
        raise ValueError(f"it would become {unpacked / 1e6:.0f} MB")


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Writes arrays as `.npz`, whole or not at all; equal arrays give equal bytes."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def read_arrays(path: Path, names: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """Reads an `.npz` file.

    Args:
        path: the file.
        names: read only these arrays, those of them that there are; None: all.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged, or holds other things than arrays of numbers and texts.
    """
    check_archive(path)
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files if names is None or name in names}
    except OSError:
        raise
    except Exception as error:  # zipfile, zlib and numpy raise many kinds for a damaged file
        raise ValueError(f"{type(error).__name__}: {str(error)[:300]}") from error
    others = [name for name, array in arrays.items() if not isinstance(array, np.ndarray)]
    if others:
        raise ValueError(f"it holds more than arrays: {others[:3]}")
    return arrays

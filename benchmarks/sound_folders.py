"""Folders of real sounds as a user has them, checked and linked into folders that simulations read.

A folder has two halves, `train/<class>/` and `test/<class>/`, and usually a `metadata.csv` with the
source of each file (column `group`), which is in one half only.
"""

import csv
import io
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from zlib import crc32

from common.errors import ConfigError
from common.io.files import write_text
from common.simulation.own_recordings import (
    BACKGROUND,
    OwnRecordings,
    find_backgrounds,
    find_own_recordings,
    part_folders,
)
from common.simulation.recording_table import TABLE

HALVES = ("train", "test")


def find_halves(folder: Path, option: str, classes: Sequence[str]) -> OwnRecordings:
    """Finds the sounds of all classes in both halves of a folder.

    Args:
        folder: that of the user.
        option: of the command line, for errors.
        classes: all must be in both halves.

    Raises:
        ConfigError: a half, or a class in one, is missing.
        DataError: a source is in both halves, or the table cannot be used.
    """
    _check_halves(folder, option)
    found = find_own_recordings(folder, classes)
    missing = [
        f"{name} in {half}/" for half in HALVES for name in classes if not _has(found, name, half)
    ]
    if missing:
        raise ConfigError(
            f"{option} {folder}: expected sounds of every class in both halves,"
            f" <half>/<class>/. Received: none of {', '.join(missing)}."
        )
    return found


def classes_of(folder: Path, option: str, classes: Sequence[str]) -> tuple[str, ...]:
    """Those of some classes that have sounds in both halves of a folder, in the given order.

    Raises:
        ConfigError: a half is missing, or both have fewer than two classes in common.
    """
    _check_halves(folder, option)
    found = find_own_recordings(folder, classes)
    present = tuple(name for name in classes if all(_has(found, name, half) for half in HALVES))
    if len(present) < 2:
        raise ConfigError(
            f"{option} {folder}: expected sounds of two classes or more in both halves,"
            f" <half>/<class>/, of {', '.join(classes)}. Received: {', '.join(present) or 'none'}."
        )
    return present


def find_background_halves(folder: Path, option: str) -> OwnRecordings:
    """Finds the backgrounds in both halves of a folder.

    Raises:
        ConfigError: a half is missing or empty.
        DataError: a source is in both halves, or the table cannot be used.
    """
    _check_halves(folder, option)
    return find_backgrounds(folder)


def _check_halves(folder: Path, option: str) -> None:
    present = part_folders(folder, ())
    missing = [f"{half}/" for half in HALVES if half not in present]
    if missing:
        raise ConfigError(
            f"{option} {folder}: expected sounds in train/ and in test/, of which none share a"
            f" source. Received: no sounds in {' and in '.join(missing)}."
        )


def _has(found: OwnRecordings, name: str, half: str) -> bool:
    return any(found.parts.get(path) == half for path in found.by_class[name])


def link(found: OwnRecordings, place: Path, sets: Mapping[str, str] | None = None) -> Path:
    """Makes a folder of links to sounds, with a table of their classes, sources and sets.

    Args:
        found: sounds, or backgrounds.
        place: the folder is made in it, with a name that depends on the content: other sounds, or
            other sets, have another one.
        sets: by half, the set of a simulation that takes it, as in the column `split`; None: the
            simulation deals all sounds into its sets.

    Returns:
        The folder.
    """
    members = [(name, path) for name, paths in found.by_class.items() for path in paths]
    rows = [_row(found, name, path, sets) for name, path in members]
    sizes = [path.stat().st_size for _, path in members]
    folder = place / f"{crc32(repr((members, rows, sizes)).encode()):08x}"
    if (folder / TABLE).exists():  # written last
        return folder
    for row, (_, path) in zip(rows, members, strict=True):
        _link_file(path, folder / row["file"])
    table = io.StringIO()
    writer = csv.DictWriter(table, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(folder / TABLE, table.getvalue())
    return folder


def _row(
    found: OwnRecordings, name: str, path: Path, sets: Mapping[str, str] | None
) -> dict[str, str]:
    """Row of the table; groups are left out where they are unknown, so that simulations warn."""
    row = {"file": f"{name}/{found.names[path].replace('/', '__')}"}
    row |= {} if name == BACKGROUND else {"label": name}
    row |= {} if found.groups is None else {"group": found.groups[path]}
    row |= {} if sets is None else {"split": sets.get(found.parts[path], found.parts[path])}
    bandwidth_hz = found.bandwidth_hz(path)
    return row | {
        "active": ";".join(f"{begin_s:g}-{end_s:g}" for begin_s, end_s in found.active(path)),
        "bandwidth_hz": "" if bandwidth_hz is None else f"{bandwidth_hz:g}",
    }


def _link_file(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)  # of a benchmark that was killed here
    try:
        target.symlink_to(os.path.abspath(path))
    except OSError:  # a file system without links
        shutil.copyfile(path, target)

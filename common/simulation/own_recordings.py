"""Own recordings of sounds by class and source.

Sources are given by a table `metadata.csv` with the columns file and group, in the folder of the
recordings or in the folder above it, or by one folder per source, `<class>/<source>/`.
"""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from common.audio.formats import is_sound
from common.errors import DataError
from common.io.files import stays_inside
from common.io.tables import header_of, parse_table, read_text
from common.simulation import dataset_folder
from common.simulation.dataset_folder import text_digest
from common.simulation.sound_bank import recordings_of

TABLE = "metadata.csv"
BACKGROUND = "background"  # name of backgrounds in place of a class
_COLUMNS = ("file", "group")
_MAX_NAMED = 3  # files in a note


@dataclass(frozen=True)
class OwnRecordings:
    """Recordings and their groups.

    Attributes:
        by_class: the files of each class, sorted by name.
        groups: the group of each file; None: unknown.
        note: for the log, the origin of the groups, or the reason why there are none.
    """

    by_class: Mapping[str, tuple[Path, ...]]
    groups: Mapping[Path, str] | None
    note: str

    @property
    def files(self) -> list[Path]:
        """All files, sorted."""
        return sorted({path for paths in self.by_class.values() for path in paths})


def find_own_recordings(folder: Path, classes: Sequence[str]) -> OwnRecordings:
    """Finds the recordings of each class in `folder`/<class>/ and in folders of sources below it.

    Raises:
        DataError: the table of the groups cannot be used.
    """
    flat = {name: recordings_of(folder / name) for name in classes}
    by_source = {
        path: source
        for name in classes
        for path, source in _in_source_folders(folder / name).items()
    }
    nested = {
        name: [path for path in by_source if path.is_relative_to(folder / name)] for name in classes
    }
    by_class = {name: tuple(sorted([*flat[name], *nested[name]])) for name in classes}
    return _with_groups(folder, by_class, by_source)


def find_backgrounds(folder: Path) -> OwnRecordings:
    """Finds backgrounds in any folders below `folder`; only a table gives groups."""
    paths = tuple(sorted(path for path in folder.rglob("*") if is_sound(path) and path.is_file()))
    return _with_groups(folder, {BACKGROUND: paths}, {})


def source_digest(folder: Path | None, classes: Sequence[str]) -> str | None:
    """SHA-256 of names, sizes and groups of own recordings; None without any."""
    return None if folder is None else _digest(folder, find_own_recordings(folder, classes), "*/*")


def background_digest(folder: Path | None) -> str | None:
    """SHA-256 of names, sizes and groups of own backgrounds; None without any."""
    return None if folder is None else _digest(folder, find_backgrounds(folder), "**/*")


def _digest(folder: Path, found: OwnRecordings, pattern: str) -> str | None:
    if found.groups is None:
        return dataset_folder.source_digest(folder, pattern)
    sizes = [(path, path.stat().st_size, found.groups[path]) for path in found.files]
    return text_digest(
        [f"{path.relative_to(folder).as_posix()} {size} {group}" for path, size, group in sizes]
    )


def _in_source_folders(folder: Path) -> dict[Path, str]:
    """Maps recordings in source folders of a class to the source; skips hidden files."""
    if not folder.is_dir():
        return {}
    found: dict[Path, str] = {}
    for source in sorted(entry for entry in folder.iterdir() if entry.is_dir()):
        for path in sorted(source.rglob("*")):
            is_hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
            if is_sound(path) and not is_hidden and path.is_file():
                found[path] = source.name
    return found


def _with_groups(
    folder: Path, by_class: Mapping[str, tuple[Path, ...]], by_source: Mapping[Path, str]
) -> OwnRecordings:
    """Joins recordings with groups of the table, of their folders, or of their own."""
    paths = sorted({path for members in by_class.values() for path in members})
    listed, note = _listed_groups(folder, paths)
    if not listed and not by_source:
        return OwnRecordings(
            by_class, None, note or f"there is no {TABLE} with the columns file and group"
        )
    known = {**by_source, **listed}
    single = [path for path in paths if path not in known]
    groups = {path: f"./{path.relative_to(folder).as_posix()}" for path in single} | known
    known_by = Counter(
        TABLE if path in listed else "folders of sources" for path in paths if path in known
    )
    sentence = ", ".join(f"{number} file(s) by {what}" for what, number in sorted(known_by.items()))
    if single:
        names = ", ".join(path.relative_to(folder).as_posix() for path in single[:_MAX_NAMED])
        sentence += (
            f", {len(single)} file(s) without a source as sources of their own, such as {names}"
        )
    return OwnRecordings(by_class, groups, f"{sentence}{'; ' if note else ''}{note}")


@dataclass(frozen=True)
class _Row:
    """Row of the table: line number, path as written and group."""

    line: int
    file: str
    group: str


def _listed_groups(folder: Path, paths: Sequence[Path]) -> tuple[dict[Path, str], str]:
    """Reads the groups of recordings from the table in their folder or above it; adds a note."""
    here = Path(os.path.abspath(folder))
    table = next(
        (place / TABLE for place in (here, here.parent) if (place / TABLE).is_file()), None
    )
    if table is None or not paths:
        return {}, ""
    rows, note = _read_table(table)
    listed, absent = _match(rows, table, {Path(os.path.abspath(path)): path for path in paths})
    if table.parent != here and not listed:  # a table of something else
        return {}, "" if rows else note
    unlisted = [path for path in paths if path not in listed]
    if absent and unlisted and rows:
        raise DataError(
            f"{table}, line {absent[0].line}: there is no file {absent[0].file!r}, while"
            f" {len(unlisted)} file(s) such as {unlisted[0]} are not listed. Expected: paths below"
            f" {table.parent}, with / between folders. Received: {len(absent)} row(s) without a"
            " file. Correct the column file, or remove the rows."
        )
    if absent:
        note += (
            f"{'; ' if note else ''}{len(absent)} row(s) of {table} name files that are not there"
        )
    return listed, note


def _match(
    rows: Sequence[_Row], table: Path, paths: Mapping[Path, Path]
) -> tuple[dict[Path, str], list[_Row]]:
    """Finds the recording of each row, by its path from the table or by a common end of paths.

    Returns:
        The group of each listed recording, and the rows without a file.
    """
    found: dict[Path, _Row] = {}
    absent = []
    by_name: dict[str, list[Path]] = {}
    for path in paths:
        by_name.setdefault(path.name, []).append(path)
    for row in rows:
        path = Path(os.path.abspath(table.parent / row.file))
        is_elsewhere = path not in paths and stays_inside(row.file) and os.path.isfile(path)
        if is_elsewhere:  # of a class or a part of the data that is not used
            continue
        if path not in paths:
            fitting = [
                each
                for each in by_name.get(path.name, [])
                if _ends_alike(each, row.file, table.parent)
            ]
            if len(fitting) != 1:
                absent.append(row)
                continue
            path = fitting[0]
        earlier = found.setdefault(path, row)
        if earlier.group != row.group:
            raise DataError(
                f"{table}, line {row.line}: {row.file} is in group {row.group!r}, and in line"
                f" {earlier.line} in group {earlier.group!r}. Expected: one group a file. Remove"
                " one of the rows."
            )
    return {paths[path]: row.group for path, row in found.items()}, absent


def _ends_alike(path: Path, written: str, folder: Path) -> bool:
    """True if a path below a folder and a written path end with the same parts."""
    ours = path.relative_to(folder).parts if path.is_relative_to(folder) else path.parts
    theirs = PurePosixPath(written).parts
    shorter = min(len(ours), len(theirs))
    return ours[-shorter:] == theirs[-shorter:]


def _read_table(path: Path) -> tuple[list[_Row], str]:
    """Reads files and groups; without a column group only a note.

    Raises:
        DataError: it is no table, or a row cannot be used.
    """
    text = read_text(path, f"There is no {path}.", "Write it again.")
    header = header_of(text, _COLUMNS)
    if "group" not in header:
        return [], f"{path} has no column group"
    rows = [_row(path, line, row) for line, row in parse_table(text, _COLUMNS, str(path)).rows()]
    return rows, "its column split is not used, the seed decides" if "split" in header else ""


def _row(path: Path, line: int, row: Mapping[str, str]) -> _Row:
    file, group = row["file"], row["group"]
    if not file or not group:
        raise DataError(
            f"{path}, line {line}: the column {'group' if file else 'file'} is empty. Expected: the"
            " path of a file, and a name for its source. Correct the row; a file with no"
            " other of its source gets a group of its own."
        )
    return _Row(line, file.replace("\\", "/"), group)

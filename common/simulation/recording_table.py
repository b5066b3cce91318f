"""The table `metadata.csv` of own recordings: source, class, part, active seconds and bandwidth.

It has the column file and some of group, label, split, active and bandwidth_hz. Others are ignored.
"""

import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path, PurePosixPath

from common.errors import DataError
from common.io.files import stays_inside
from common.io.tables import header_of, parse_table, read_text, to_number

TABLE = "metadata.csv"
PARTS = ("train", "validation", "test")  # names of folders, and values of the column split
COLUMNS = ("group", "label", "split", "active", "bandwidth_hz")

Interval = tuple[float, float]  # onset and offset in seconds


@dataclass(frozen=True)
class Row:
    """Row of the table.

    Attributes:
        where: its table and line, for errors.
        file: path as written, with / between folders.
        group: source of the recording; None: no such column.
        label: its class; None: no such column.
        part: one of `PARTS` or the title of a set; None: no such column.
        active: seconds in which the sound is heard, in order of time; none: unknown.
        bandwidth_hz: frequency at which the recording ends; None: unknown.
    """

    where: str
    file: str
    group: str | None = None
    label: str | None = None
    part: str | None = None
    active: tuple[Interval, ...] = ()
    bandwidth_hz: float | None = None


@dataclass(frozen=True)
class RecordingTable:
    """Rows of a table, and those of its columns that are used.

    Attributes:
        path: the file.
        rows: in order; none without any of `COLUMNS`.
        columns: some of `COLUMNS`.
    """

    path: Path
    rows: tuple[Row, ...]
    columns: tuple[str, ...]


def read_recording_table(path: Path, titles: Collection[str] = ()) -> RecordingTable:
    """Reads a table.

    Args:
        path: of the table.
        titles: of the sets; further values of the column split.

    Raises:
        DataError: it is no table, or a row cannot be used; names file and line.
    """
    text = read_text(path, f"There is no {path}.", "Write it again.")
    header = header_of(text, ("file", *COLUMNS))
    columns = tuple(name for name in COLUMNS if name in header)
    if not columns:
        return RecordingTable(path, (), ())
    table = parse_table(text, ("file", *columns), str(path))
    rows = tuple(_row(f"{path}, line {line}", row, titles) for line, row in table.rows())
    return RecordingTable(path, rows, columns)


def _row(where: str, row: Mapping[str, str], titles: Collection[str]) -> Row:
    for name, meaning in (
        ("file", "the path of a file"),
        ("group", "a name for its source; a file with no other of its source gets its own"),
        ("label", "the class of the file"),
        ("split", f"one of {', '.join(PARTS)}"),
    ):
        if name in row and not row[name]:
            raise DataError(
                f"{where}: the column {name} is empty. Expected: {meaning}. Correct the row."
            )
    return Row(
        where,
        row["file"].replace("\\", "/"),
        row.get("group"),
        row.get("label"),
        _part(where, row["split"], titles) if "split" in row else None,
        _active(where, row.get("active", "")),
        _bandwidth_hz(where, row.get("bandwidth_hz", "")),
    )


def _part(where: str, written: str, titles: Collection[str]) -> str:
    known = {name.casefold(): name for name in (*titles, *PARTS)}
    part = known.get(written.casefold())
    if part is None:
        raise DataError(
            f"{where}: unknown split. Expected: {', '.join(PARTS)}"
            f"{', or a set among ' + ', '.join(titles) if titles else ''}. Received: {written!r}."
            " Correct the row, or rename the column to have the seed decide."
        )
    return part


def _active(where: str, written: str) -> tuple[Interval, ...]:
    """Reads `0.1-0.5;0.8-1.2`."""
    intervals: list[Interval] = []
    for text in filter(None, (each.strip() for each in re.split(r"[;|]", written))):
        onset_s, offset_s = (to_number(each) for each in (*text.split("-"), "")[:2])
        if text.count("-") != 1 or onset_s is None or offset_s is None or not onset_s < offset_s:
            raise DataError(
                f"{where}: active seconds cannot be read. Expected: onset-offset, several with ;"
                f" between them, as in 0.1-0.5;0.8-1.2. Received: {written!r}. Correct the row."
            )
        intervals.append((onset_s, offset_s))
    if any(later[0] < earlier[1] for earlier, later in pairwise(intervals)):
        raise DataError(
            f"{where}: active seconds overlap or are not in order of time. Expected: each interval"
            f" after the one before. Received: {written!r}. Correct the row."
        )
    return tuple(intervals)


def _bandwidth_hz(where: str, written: str) -> float | None:
    if not written:
        return None
    value = to_number(written)
    if value is None or value <= 0:
        raise DataError(
            f"{where}: the column bandwidth_hz is no frequency. Expected: a number above 0, or"
            f" nothing where it is unknown. Received: {written!r}. Correct the row."
        )
    return value


def match_rows(table: RecordingTable, paths: Collection[Path]) -> tuple[dict[Path, Row], list[Row]]:
    """Finds the recording of each row, by its path from the table or by a common end of paths.

    Args:
        table: the rows.
        paths: recordings that may be listed.

    Returns:
        The row of each listed recording, and the rows without a file.

    Raises:
        DataError: two rows of a recording differ.
    """
    by_name: dict[str, list[Path]] = {}
    absolute = {Path(os.path.abspath(path)): path for path in paths}
    for path in absolute:
        by_name.setdefault(path.name, []).append(path)
    found: dict[Path, Row] = {}
    absent = []
    folder = table.path.parent
    for row in table.rows:
        path = Path(os.path.abspath(folder / row.file))
        is_elsewhere = path not in absolute and stays_inside(row.file) and os.path.isfile(path)
        if is_elsewhere:  # of a class or a part of the data that is not used
            continue
        if path not in absolute:
            fitting = [
                each for each in by_name.get(path.name, []) if _ends_alike(each, row.file, folder)
            ]
            if len(fitting) != 1:
                absent.append(row)
                continue
            path = fitting[0]
        _check_same(row, found.setdefault(path, row))
    return {absolute[path]: row for path, row in found.items()}, absent


def _check_same(row: Row, earlier: Row) -> None:
    """Refuses two different rows of one recording."""
    if row == replace(earlier, where=row.where, file=row.file):
        return
    for name, mine, other in (
        ("group", row.group, earlier.group),
        ("label", row.label, earlier.label),
        ("split", row.part, earlier.part),
        ("active", row.active, earlier.active),
        ("bandwidth_hz", row.bandwidth_hz, earlier.bandwidth_hz),
    ):
        if mine != other:
            raise DataError(
                f"{row.where}: {row.file} is in {name} {mine!r}, and in"
                f" {earlier.where.rpartition(', ')[2]} in {name} {other!r}. Expected: one row a"
                " file. Remove one of the rows."
            )


def _ends_alike(path: Path, written: str, folder: Path) -> bool:
    """True if a path below a folder and a written path end with the same parts."""
    ours = path.relative_to(folder).parts if path.is_relative_to(folder) else path.parts
    theirs = PurePosixPath(written).parts
    shorter = min(len(ours), len(theirs))
    return ours[-shorter:] == theirs[-shorter:]


def check_absent(
    table: RecordingTable, absent: Sequence[Row], folder: Path, unlisted: Sequence[Path]
) -> str:
    """Refuses rows without a file; returns a note where they may belong to other folders.

    Args:
        table: the table.
        absent: its rows without a file.
        folder: of the recordings.
        unlisted: recordings without a row.

    Raises:
        DataError: names the first row.
    """
    if not absent:
        return ""
    here = Path(os.path.abspath(folder))
    wanted = [
        row
        for row in absent
        if Path(os.path.abspath(table.path.parent / row.file)).is_relative_to(here)
    ]
    first = (absent if unlisted else wanted)[:1]
    if first:
        others = (
            f", while {len(unlisted)} file(s) such as {unlisted[0]} are not listed"
            if unlisted
            else ""
        )
        raise DataError(
            f"{first[0].where}: there is no file {first[0].file!r}{others}."
            f" Expected: paths below {table.path.parent}, with / between folders. Received:"
            f" {len(absent)} row(s) without a file. Correct the column file, or remove the rows."
        )
    return f"{len(absent)} row(s) of {table.path} name files that are not there"

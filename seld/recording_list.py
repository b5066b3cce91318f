"""`recordings.csv`: list of an own dataset's recordings with free names, splits and overlaps."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from common.datasets.lengths import SAMPLES, length_facts
from common.errors import DataError
from common.io.files import stays_inside
from common.io.tables import header_of, parse_table, read_text, to_whole

LIST_NAME = "recordings.csv"
_REQUIRED = ("filename", "split", "overlap")
_COLUMNS = (*_REQUIRED, "room", "metadata", "group")
_LARGEST = 10**9 - 1


class Attributes(NamedTuple):
    """Attributes of a recording that splits and tables of scores go by.

    Attributes:
        split: 0 is the evaluation set.
        room: None where unknown.
        overlap: events that may sound at once; None where unknown.
    """

    split: int
    room: int | None
    overlap: int | None


@dataclass(frozen=True)
class Recording:
    """One recording and the paths of its files.

    Attributes:
        name: in features, submissions and scores: the file name without folder and suffix, or the
            path in a `recordings.csv` without suffix, with _ for each /.
        split: 0 is the evaluation set.
        room: None where unknown.
        overlap: events that may sound at once; None where unknown.
        audio_path: the sound file.
        metadata_path: the CSV file with the events, None for a recording without labels.
        listed: the attributes are from a `recordings.csv`, not from the name.
        group: source of the recording in a `recordings.csv`; None without the column group.
    """

    name: str
    split: int
    room: int | None
    overlap: int | None
    audio_path: Path
    metadata_path: Path | None
    listed: bool = False
    group: str | None = None

    @property
    def attributes(self) -> Attributes:
        """Split, room and overlap."""
        return Attributes(self.split, self.room, self.overlap)

    @cached_property
    def samples(self) -> int | None:
        """Length in samples by the header of the sound file, read once; None if unreadable."""
        return length_facts(self.audio_path).get(SAMPLES)


def has_list(folder: Path) -> bool:
    """True if the folder is a dataset with a `recordings.csv`."""
    return (Path(folder) / LIST_NAME).is_file()


def read_list(dataset_dir: Path) -> list[Recording]:
    """Reads `recordings.csv` in a dataset folder.

    Args:
        dataset_dir: the folder; paths in the list are relative to it.

    Returns:
        The recordings sorted by name. Their metadata are in the column `metadata`, or else in the
        .csv file of the same name next to the recording; recordings of split 0 may all lack them.

    Raises:
        DataError: the list or a row of it cannot be used, or a file is not there; names the row.
    """
    dataset_dir = Path(dataset_dir)
    path = dataset_dir / LIST_NAME
    rows = _read_rows(path)
    where = {line: f"{path}, line {line}" for line in rows}
    recordings = [_recording(row, dataset_dir, where[line]) for line, row in rows.items()]
    _check_different([recording.name for recording in recordings], list(rows), path)
    some_labelled = any(recording.metadata_path for recording in recordings if recording.split == 0)
    for recording, line in zip(recordings, rows, strict=True):
        if recording.metadata_path is None and (recording.split or some_labelled):
            raise DataError(
                f"{where[line]}: no metadata. Expected:"
                f" {recording.audio_path.with_suffix('.csv')}, or its path in the column metadata."
                " Only the recordings of split 0 may lack them, all together."
            )
    return sorted(recordings, key=lambda recording: recording.name)


def group_members(recordings: Iterable[tuple[int, str, str | None]]) -> dict[int, dict[str, str]]:
    """By split, one recording of each group, from the split, the name and the group of each."""
    members: dict[int, dict[str, str]] = {}
    for split, name, group in sorted(recordings, key=lambda each: each[:2]):
        if group is not None:
            members.setdefault(split, {}).setdefault(group, name)
    return members


def _read_rows(path: Path) -> dict[int, dict[str, str]]:
    """Stripped rows by line number; empty lines are left out."""
    remedy = "Write it, with a row for each recording (docs/own-data.md)."
    text = read_text(path, f"There is no list {path}. {remedy}", "Write it again.")
    header = header_of(text, _COLUMNS)
    if not set(_REQUIRED) <= set(header) <= set(_COLUMNS) or len(set(header)) < len(header):
        raise DataError(
            f"{path}, line 1: expected the columns {', '.join(_REQUIRED)}, and optionally room,"
            f" metadata and group, all different. Received: {', '.join(header)[:200]}."
            " Correct the header."
        )
    table = parse_table(text, _REQUIRED, str(path), optional=_COLUMNS[len(_REQUIRED) :])
    if not len(table):
        raise DataError(f"{path} lists no recording. Expected: a row each below the header.")
    return dict(table.rows())


def _recording(row: dict[str, str], dataset_dir: Path, where: str) -> Recording:
    audio_path = _file_inside(dataset_dir, row["filename"], "filename", where)
    if given := row.get("metadata"):
        metadata_path = _file_inside(dataset_dir, given, "metadata", where)
    else:
        metadata_path = audio_path.with_suffix(".csv")
    split = _number(row["split"], 0, "split", where)
    if split is None:
        raise DataError(
            f"{where}: split is empty. Expected: a number, 0 for the evaluation set. Fill it in."
        )
    room = _number(row.get("room", ""), 0, "room", where)
    overlap = _number(row["overlap"], 1, "overlap", where)
    name = PurePosixPath(row["filename"]).with_suffix("").as_posix().replace("/", "_")
    group = row.get("group")
    if group == "":
        raise DataError(
            f"{where}: group is empty. Expected: a name for the source of the recording, different"
            " for each source. Fill it in, or remove the column."
        )
    labelled = given or metadata_path.is_file()
    labels = metadata_path if labelled else None
    return Recording(name, split, room, overlap, audio_path, labels, listed=True, group=group)


def _file_inside(dataset_dir: Path, text: str, column: str, where: str) -> Path:
    """Path of a file, which must exist and be below the dataset folder."""
    path = PurePosixPath(text)
    if not path.name or not stays_inside(text):
        raise DataError(
            f"{where}: {column} must be a path below the dataset folder, with / between folders and"
            f" without '..'. Received: {text!r}. Correct the row."
        )
    if not os.path.isfile(dataset_dir / path):  # False for names that no file system takes, too
        raise DataError(
            f"{where}: there is no file {dataset_dir / path}. Correct {column}, or remove the row."
        )
    return dataset_dir / path


def _number(text: str, lowest: int, column: str, where: str) -> int | None:
    """A whole number; None if the text is empty."""
    if not text:
        return None
    value = to_whole(text)
    if value is None or not lowest <= value <= _LARGEST:
        raise DataError(
            f"{where}: {column} must be a whole number, {lowest} or more. Received: {text[:80]!r}."
            " Correct the row."
        )
    return value


def _check_different(names: Sequence[str], lines: Sequence[int], path: Path) -> None:
    seen: dict[str, int] = {}
    for name, line in zip(names, lines, strict=True):
        if name in seen:
            raise DataError(
                f"{path}, line {line}: the same recording as in line {seen[name]}, or one that"
                f" would share its name {name!r}. Remove one of the rows, or rename a file."
            )
        seen[name] = line

"""Own recordings of sounds by class, source and part of the data.

Sounds lie in folders `<class>/` or are labelled by a table `metadata.csv`, in their folder or above
it, which may also give sources, parts and active seconds; see `common.simulation.recording_table`.
Folders `<class>/<source>/` give sources as well, folders `train/`, `validation/` and `test/` parts.
"""

import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

from pydantic import Field

from common.audio.formats import is_sound, shown
from common.datasets.groups import apart_problem
from common.errors import DataError
from common.simulation import dataset_folder
from common.simulation.dataset_folder import text_digest
from common.simulation.recording_table import (
    PARTS,
    TABLE,
    Interval,
    RecordingTable,
    Row,
    check_absent,
    match_rows,
    read_recording_table,
)
from common.simulation.sound_bank import recordings_of

BACKGROUND = "background"  # name of backgrounds in place of a class
# Setting; the same names in two folders are different files.
Folders = Path | Annotated[tuple[Path, ...], Field(min_length=1)]


@dataclass(frozen=True)
class OwnRecordings:
    """Recordings and their groups.

    Attributes:
        by_class: the files of each class, sorted by name.
        groups: the group of each file; None: unknown.
        note: for the log, the origin of the groups, or the reason why there are none.
        names: name of each file in its folder, for digests and in place of an unknown group.
        parts: the part of each file, one of `PARTS` or the title of a set; empty: there are none,
            or one only.
        rows: the row of each listed file.
        remarks: for the log, files and rows that are not used as they seem to be meant.
    """

    by_class: Mapping[str, tuple[Path, ...]]
    groups: Mapping[Path, str] | None
    note: str
    names: Mapping[Path, str] = field(default_factory=dict)
    parts: Mapping[Path, str] = field(default_factory=dict)
    rows: Mapping[Path, Row] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    @property
    def files(self) -> list[Path]:
        """All files, sorted."""
        return sorted({path for paths in self.by_class.values() for path in paths})

    @property
    def sources(self) -> Mapping[Path, str]:
        """The group of each file; files are groups of their own where groups are unknown."""
        return self.names if self.groups is None else self.groups

    def active(self, path: Path) -> tuple[Interval, ...]:
        """Seconds of a file in which the sound is heard; none: unknown."""
        return self.rows[path].active if path in self.rows else ()

    def bandwidth_hz(self, path: Path) -> float | None:
        """Frequency at which a file ends; None: unknown."""
        return self.rows[path].bandwidth_hz if path in self.rows else None


def as_folders(folders: Folders | None) -> tuple[Path, ...]:
    """One or several folders of a setting; none: without any."""
    if folders is None:
        return ()
    return (Path(folders),) if isinstance(folders, str | Path) else tuple(map(Path, folders))


def find_own_recordings(
    folders: Folders, classes: Sequence[str], titles: Collection[str] = ()
) -> OwnRecordings:
    """Finds the recordings of each class, by folder and by the column label of a table.

    Args:
        folders: one or several; the same names in two of them are different files.
        classes: names of the classes.
        titles: of the sets; values of the column split besides `PARTS`.

    Raises:
        DataError: a table cannot be used, a file is in no part though others are, or a group is in
            two parts.
    """
    found = [_find(folder, classes, titles) for folder in _existing(folders)]
    return _joined(found)


def find_backgrounds(folders: Folders, titles: Collection[str] = ()) -> OwnRecordings:
    """Finds backgrounds in any folders below; only a table gives groups.

    Raises:
        DataError: see `find_own_recordings`.
    """
    return _joined([_find(folder, None, titles) for folder in _existing(folders)])


def _existing(folders: Folders) -> tuple[Path, ...]:
    """Refuses a folder that is not there beside others; one alone has no recordings."""
    given = as_folders(folders)
    for folder in given if len(given) > 1 else ():
        if not folder.is_dir():
            raise DataError(
                f"There is no folder {folder}. Expected: folders of recordings. Received:"
                f" {', '.join(map(str, given))}. Correct `simulation.source_dir` or"
                " `simulation.background_dir`."
            )
    return given


def source_digest(
    folders: Folders | None, classes: Sequence[str], titles: Collection[str] = ()
) -> str | None:
    """SHA-256 of all that decides the use of own recordings, and their sizes; None without any."""
    if folders is None:
        return None
    return digest_of(folders, find_own_recordings(folders, classes, titles))


def background_digest(folders: Folders | None, titles: Collection[str] = ()) -> str | None:
    """SHA-256 of all that decides the use of own backgrounds, and their sizes; None without any."""
    if folders is None:
        return None
    return digest_of(folders, find_backgrounds(folders, titles), "**/*")


def digest_of(folders: Folders, found: OwnRecordings, pattern: str = "*/*") -> str | None:
    """SHA-256 of what was found in some folders, see `source_digest`.

    Args:
        folders: one or several.
        found: their recordings.
        pattern: of all files in a folder whose recordings have neither groups nor parts.
    """
    extra = _extra_texts(found)
    several = as_folders(folders)
    if found.groups is None and not extra and len(several) == 1:
        return dataset_folder.source_digest(several[0], pattern)
    # Without parts, labels and active seconds as in earlier versions, whose datasets stay valid.
    return text_digest(
        [
            f"{found.names[path]} {path.stat().st_size} {found.sources[path]}{extra.get(path, '')}"
            for path in found.files
        ]
    )


def _extra_texts(found: OwnRecordings) -> dict[Path, str]:
    """Part, active seconds and class by table of each file, where they are known."""
    extra: dict[Path, str] = {}
    for name, paths in found.by_class.items():
        for path in paths:
            text = f" part={found.parts[path]}" if path in found.parts else ""
            if name != BACKGROUND and path in found.rows:
                active = ";".join(f"{begin:g}-{end:g}" for begin, end in found.active(path))
                text += f" active={active}" if active else ""
                text += f" class={name}" if found.rows[path].label is not None else ""
            if text:
                extra[path] = text
    return extra


@dataclass
class _Folder:
    """Sound files of a folder before they are joined with tables.

    Attributes:
        folder: as given.
        named: by file, the class of its folder.
        loose: other files, which only a table can label.
        sources: by file, the folder of its source.
        parts: by file, the part of its folder.
        tables: by table, the files that it may list.
    """

    folder: Path
    named: dict[Path, str] = field(default_factory=dict)
    loose: list[Path] = field(default_factory=list)
    sources: dict[Path, str] = field(default_factory=dict)
    parts: dict[Path, str] = field(default_factory=dict)
    tables: dict[Path, list[Path]] = field(default_factory=dict)


def _find(
    folder: Path, classes: Sequence[str] | None, titles: Collection[str]
) -> tuple[Path, OwnRecordings]:
    """Finds the recordings of one folder; classes None: backgrounds, without classes."""
    scanned = _scan(folder, classes)
    rows: dict[Path, Row] = {}
    notes: list[str] = []
    for path in scanned.tables:
        table = read_recording_table(path, titles)
        listed, note = _listed(table, scanned)
        notes += [note] if note else []
        rows |= listed
    by_class, remarks = _classified(scanned, rows, classes)
    parts = scanned.parts | _listed_parts(scanned, rows)
    used = sorted({path for paths in by_class.values() for path in paths})
    names = {path: path.relative_to(folder).as_posix() for path in used}
    listed_groups = {path: rows[path].group for path in used if path in rows}
    known = {path: group for path, group in listed_groups.items() if group is not None}
    groups, note = _grouped(names, known, scanned.sources, "; ".join(notes))
    return folder, OwnRecordings(
        by_class,
        groups,
        note,
        names,
        {path: parts[path] for path in used if path in parts},
        {path: rows[path] for path in used if path in rows},
        remarks,
    )


def _scan(folder: Path, classes: Sequence[str] | None) -> _Folder:
    """Lists the sounds of a folder, of its parts, and the tables that may list them."""
    scanned, above = _Folder(folder), Path(os.path.abspath(folder))
    parts = part_folders(folder, classes or ())
    places: list[tuple[Path, str | None]] = [(folder, None)]
    places += [(path, part) for part, path in parts.items()]
    for place, part in places:
        files: list[Path] = []
        for name in classes or ():
            in_sources = _in_source_folders(place / name)
            scanned.sources |= in_sources
            files += [*recordings_of(place / name), *in_sources]
            scanned.named |= dict.fromkeys([*recordings_of(place / name), *in_sources], name)
        inner = set(parts.values()) if part is None else set()
        others = [
            path
            for path in _sounds_below(place)
            if path not in scanned.named and not inner & set(path.parents)
        ]
        scanned.loose += others
        files += others
        if part is not None:
            scanned.parts |= dict.fromkeys(files, part)
        here = Path(os.path.abspath(place))
        tables = (each / TABLE for each in dict.fromkeys((here, here.parent, above.parent)))
        table = next((each for each in tables if each.is_file()), None)
        if table is not None and files:
            scanned.tables.setdefault(table, []).extend(files)
    return scanned


def part_folders(folder: Path, classes: Collection[str]) -> dict[str, Path]:
    """Finds the folders `train`, `validation` and `test` with sounds in them; classes are none."""
    entries = sorted(folder.iterdir()) if folder.is_dir() else []
    found = {
        entry.name.casefold(): entry
        for entry in entries
        if entry.is_dir() and entry.name not in classes and entry.name.casefold() in PARTS
    }
    return {
        part: found[part] for part in PARTS if part in found and any(_sounds_below(found[part]))
    }


def _sounds_below(folder: Path) -> Iterator[Path]:
    """Yields the sounds in any folders below; those of hidden folders are none."""
    for path in sorted(folder.rglob("*")):
        is_hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if is_sound(path) and not is_hidden and path.is_file():
            yield path


def _in_source_folders(folder: Path) -> dict[Path, str]:
    """Maps recordings in source folders of a class to the source; skips hidden files."""
    if not folder.is_dir():
        return {}
    return {
        path: source.name
        for source in sorted(entry for entry in folder.iterdir() if entry.is_dir())
        if not source.name.startswith(".")
        for path in _sounds_below(source)
    }


def _listed(table: RecordingTable, scanned: _Folder) -> tuple[dict[Path, Row], str]:
    """Joins a table with the files that it may list; adds a note."""
    if not table.rows and "group" not in table.columns:
        return {}, f"{table.path} has no column group"
    files = scanned.tables[table.path]
    is_index = not scanned.named or "label" in table.columns  # of files outside class folders
    wanted = [path for path in files if is_index or path in scanned.named]
    listed, absent = match_rows(table, wanted)
    here = Path(os.path.abspath(scanned.folder))
    if not listed and not table.path.is_relative_to(here):  # a table of something else
        return {}, ""
    unlisted = [path for path in wanted if path not in listed and path in scanned.named]
    note = check_absent(table, absent, scanned.folder, unlisted)
    without = "" if "group" in table.columns else f"{table.path} has no column group"
    return listed, "; ".join(filter(None, (without, note)))


def _classified(
    scanned: _Folder, rows: Mapping[Path, Row], classes: Sequence[str] | None
) -> tuple[dict[str, tuple[Path, ...]], tuple[str, ...]]:
    """Sorts files into classes; the column label wins over the name of the folder.

    Returns:
        The files of each class, and remarks on labels that are no classes or differ from folders.
    """
    if classes is None:
        return {BACKGROUND: tuple(sorted(scanned.loose))}, ()
    labels = {path: row.label for path, row in rows.items() if row.label is not None}
    class_of = scanned.named | labels
    unknown = [path for path in labels if labels[path] not in classes]
    moved = [
        path
        for path, label in labels.items()
        if label in classes and scanned.named.get(path, label) != label
    ]
    remarks = []
    if unknown:
        names = shown(sorted({str(labels[path]) for path in unknown}))
        remarks.append(
            f"{len(unknown)} file(s) with labels that are no classes of the task are not used:"
            f" {names}"
        )
    if moved:
        path = moved[0]
        remarks.append(
            f"{len(moved)} file(s) lie in the folder of another class than their label, which"
            f" decides, such as {path} with the label {labels[path]}"
        )
    unlabelled = [path for path in scanned.loose if path not in labels]
    if labels and unlabelled:
        remarks.append(
            f"{len(unlabelled)} file(s) without a label and outside the folders of classes are"
            f" not used, such as {unlabelled[0]}"
        )
    by_class = {
        name: tuple(sorted(path for path, each in class_of.items() if each == name))
        for name in classes
    }
    return by_class, tuple(remarks)


def _listed_parts(scanned: _Folder, rows: Mapping[Path, Row]) -> dict[Path, str]:
    """Parts by the column split; refuses those that differ from the folder."""
    listed = {path: row.part for path, row in rows.items() if row.part is not None}
    for path, part in listed.items():
        if part in PARTS and scanned.parts.get(path, part) != part:
            raise DataError(
                f"{rows[path].where}: the split of {path} is {part!r}. Expected:"
                f" {scanned.parts[path]!r}, as its folder. Correct the row, or move the file."
            )
    return listed


def _grouped(
    names: Mapping[Path, str], listed: Mapping[Path, str], by_source: Mapping[Path, str], note: str
) -> tuple[dict[Path, str] | None, str]:
    """Joins recordings with groups of the table, of their folders, or of their own."""
    known = {**by_source, **listed}
    if not any(path in known for path in names):
        return None, note or f"there is no {TABLE} with the columns file and group"
    single = [path for path in names if path not in known]
    groups = {path: known.get(path, f"./{name}") for path, name in names.items()}
    known_by = Counter(
        TABLE if path in listed else "folders of sources" for path in names if path in known
    )
    sentence = ", ".join(f"{number} file(s) by {what}" for what, number in sorted(known_by.items()))
    if single:
        examples = shown([names[path] for path in single])
        sentence += f", {len(single)} file(s) without a source as sources of their own: {examples}"
    return groups, f"{sentence}{'; ' if note else ''}{note}"


def _joined(found: Sequence[tuple[Path, OwnRecordings]]) -> OwnRecordings:
    """Joins the recordings of several folders, and checks that parts are complete and disjoint."""
    every = [each for _, each in found]
    several = len(found) > 1
    names: dict[Path, str] = {}
    for number, (folder, each) in enumerate(found):
        for path, name in each.names.items():
            names[path] = f"{number}/{name}" if several else name
        _check_twice(folder, [other for other, _ in found[:number]])
    groups: dict[Path, str] | None = None
    if any(each.groups is not None for each in every):
        groups = {
            path: f"./{names[path]}" if group == f"./{each.names[path]}" else group
            for each in every
            for path, group in (each.groups or {p: f"./{n}" for p, n in each.names.items()}).items()
        }
    joined = OwnRecordings(
        {
            name: tuple(path for each in every for path in each.by_class[name])
            for name in (every[0].by_class if every else ())
        },
        groups,
        "; ".join(dict.fromkeys(each.note for each in every if each.note)),
        names,
        {path: part for each in every for path, part in each.parts.items()},
        {path: row for each in every for path, row in each.rows.items()},
        tuple(f"{folder}: {remark}" for folder, each in found for remark in each.remarks),
    )
    where = shown([str(folder) for folder, _ in found])
    _check_parts(joined, where)
    present = set(joined.parts.values())
    if len(present) != 1 or not present <= set(PARTS):
        return joined
    (only,) = present
    # One half of the data, given alone, as the other is kept for something else.
    remark = f"{where}: all recordings are of the part {only}, so all sets take them"
    return replace(joined, parts={}, remarks=(*joined.remarks, remark))


def _check_twice(folder: Path, others: Sequence[Path]) -> None:
    """Refuses a folder that is given twice or lies in another one."""
    here = Path(os.path.abspath(folder))
    for other in others:
        there = Path(os.path.abspath(other))
        if here.is_relative_to(there) or there.is_relative_to(here):
            raise DataError(
                f"{folder} and {other} have files in common. Expected: folders of which none is in"
                " another. Remove one of them from `simulation.source_dir` or"
                " `simulation.background_dir`."
            )


def _check_parts(found: OwnRecordings, where: str) -> None:
    """Refuses files without a part beside others with one, and groups in two parts."""
    if not found.parts:
        return
    without = [path for path in found.files if path not in found.parts]
    if without:
        path, part = next(iter(found.parts.items()))
        raise DataError(
            f"{where}: {path} is in the part {part}, and {len(without)} file(s) such as"
            f" {without[0]} are in none. Expected: a part for every file, by a folder"
            f" {', '.join(PARTS)} or the column split of {TABLE}. Move the files, list them, or"
            " give all of them without parts."
        )
    members: dict[str, dict[str, str]] = {}
    for path in found.files:
        members.setdefault(found.parts[path], {}).setdefault(found.sources[path], str(path))
    remedy = "Move the files of each group into one of them, or correct the column group."
    if problem := apart_problem(members, where, remedy):
        raise DataError(problem)

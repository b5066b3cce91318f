"""Provenance of features: the files that examples were made of, compared with those of today.

Features are made once and read by many trainings, so they must be distinguished from those of
another dataset, of other labels and of other splits. A file counts as the same without being read
if size, time of modification, time of change and inode are those noted: no program can set the last
two, so that a dataset unpacked with fixed times, or copied with its times, is read. A checksum of
the content decides in all other cases, and always for files of labels.

TensorFlow is not loaded here: commands compare files before they choose the backend.
"""

import json
import logging
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydantic import TypeAdapter

from common.errors import DataError
from common.io.archives import read_arrays
from common.io.files import file_crc32, load_json, write_text

logger = logging.getLogger(__name__)

# Facts that follow from the files of an example, which are compared themselves.
MEASURED = ("samples", "sample_rate_hz")
CHECKSUMS = "checksums.json"  # of files that were read to compare them, next to their shards
# A file may change twice within the resolution of its times: those as young as this are read.
_YOUNG_NS = 2_000_000_000
_TOLD_BYTES = 200e6  # reading less takes no time that needs an explanation
_THREADS = 8  # that read files
_MOST_CHARACTERS = 200  # of a list of names in an error


@dataclass(frozen=True)
class Item:
    """One example to extract.

    Attributes:
        name: unique name.
        group: split or subset it belongs to; shards and statistics never mix groups.
        sources: the files it is made of; when one changes, the example is made again.
        payload: input of the computing function.
        fingerprint: stands for all that the example is made of besides the files; when it changes,
            so does the example.
        facts: further facts, as JSON; kept in the manifest, see `FeatureStore.facts`.
        labels: those of `sources` that hold labels: small files, which are compared by their
            content.
    """

    name: str
    group: str
    sources: tuple[Path, ...] = ()
    payload: Any = None
    fingerprint: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    labels: tuple[Path, ...] = ()


class SourceFile(NamedTuple):
    """A file as it was.

    Attributes:
        name: without folder.
        size: in bytes; -1: it was not there.
        mtime_ns: time of the last modification.
        ctime_ns: time of the last change of content or properties; 0: not noted.
        inode: number of the file in its file system; 0: not noted.
        crc32: checksum of the content; None: not noted.
    """

    name: str
    size: int
    mtime_ns: int
    ctime_ns: int = 0
    inode: int = 0
    crc32: int | None = None


class MadeOf(NamedTuple):
    """Sources of one example when it was made.

    Attributes:
        name: of the example.
        fingerprint: see `Item.fingerprint`.
        files: as they were, in the order of `Item.sources`.
        noted_ns: time of this note; files that had changed just before may have changed again
            since, unnoticed.
    """

    name: str
    fingerprint: str
    files: tuple[SourceFile, ...]
    noted_ns: int = 0


_NOTE = TypeAdapter(list[tuple[str, str, list[SourceFile]]])


class Checksums:
    """Checksums of files, kept so that an unchanged copy of a dataset is read only once."""

    def __init__(self, folder: Path) -> None:
        self.path = Path(folder) / CHECKSUMS
        self._stored = self._read()
        self._used: dict[str, int] = {}

    def fits(
        self, path: Path, status: os.stat_result, crc32: int | None, keep: bool = True
    ) -> bool:
        """Compares the checksum of a file with an earlier one; stored ones only confirm it.

        Args:
            path: the file.
            status: its size and times.
            crc32: the earlier checksum.
            keep: look it up and keep it, for files that would be read again at each start.

        Raises:
            OSError: the file cannot be read.
        """
        if not keep:
            return file_crc32(path) == crc32
        key = f"{status.st_ino} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"
        if crc32 is not None and crc32 == self._used.get(key, self._stored.get(key)):
            self._used[key] = crc32
            return True
        started_ns = time.time_ns()
        found = file_crc32(path)
        if status.st_ctime_ns < started_ns - _YOUNG_NS:
            self._used[key] = found
        return found == crc32

    def save(self) -> None:
        """Keeps the checksums that were used, if the folder may be written to."""
        if self._used and self._used != self._stored:
            with suppress(DataError):  # a read-only folder: the files are read again next time
                write_text(self.path, json.dumps(self._used, indent=0, sort_keys=True) + "\n")

    def _read(self) -> dict[str, int]:
        try:
            content = load_json(self.path)
        except (OSError, ValueError):  # none, or damaged: files are read again
            return {}
        known = content.items() if isinstance(content, dict) else ()
        return {key: value for key, value in known if type(value) is int}


def describe(path: Path) -> SourceFile:
    """Describes a file of now; times come before the content, so that changes are noticed."""
    try:
        status = os.stat(path)
        times_ns = status.st_mtime_ns, status.st_ctime_ns
        return SourceFile(path.name, status.st_size, *times_ns, status.st_ino, file_crc32(path))
    except OSError:  # the computing function raises the error
        return SourceFile(path.name, -1, 0)


def describe_items(items: Sequence[Item]) -> np.ndarray:
    """Describes the sources of examples, as an array of bytes for their side file."""
    note = [(item.name, item.fingerprint, [*map(describe, item.sources)]) for item in items]
    return np.frombuffer(json.dumps(note).encode(), np.uint8)


def write_note(path: Path, items: Sequence[Item], copied_along: bool = False) -> None:
    """Writes the sources of items to a file of its own.

    Args:
        path: the file.
        items: recordings, mixtures.
        copied_along: it lies among their files and is copied with them: a copy has other inodes and
            times of change, which are not noted then, so that an edit whose time of modification is
            restored passes unseen.

    Raises:
        DataError: it cannot be written.
    """
    note = []
    for item in items:
        files = [describe(source) for source in item.sources]
        if copied_along:
            files = [file._replace(ctime_ns=0, inode=0) for file in files]
        note.append((item.name, item.fingerprint, files))
    write_text(path, json.dumps(note) + "\n")


def noted_changes(path: Path, items: Sequence[Item]) -> dict[str, str]:
    """Compares items with their sources in a note, see `changes`.

    Raises:
        DataError: the note is damaged.
    """
    checksums = Checksums(path.parent)
    found = changes(items, {made.name: made for made in _read_note_file(path)}, checksums)
    checksums.save()
    return found


def _read_note_file(path: Path) -> list[MadeOf]:
    try:
        content, noted_ns = _NOTE.validate_json(path.read_bytes()), path.stat().st_mtime_ns
    except (OSError, ValueError) as error:
        problem = " ".join(str(error).split())[:200]
        raise DataError(
            f"{path} cannot be read ({problem}). Remove {path.parent} to have it made again."
        ) from None
    return [MadeOf(n, fingerprint, tuple(files), noted_ns) for n, fingerprint, files in content]


def read_note(side: Mapping[str, np.ndarray], noted_ns: int) -> list[MadeOf]:
    """Reads the sources of its examples from a side file.

    Args:
        side: its arrays; those of earlier versions hold only names, sizes and times.
        noted_ns: time when it was written.

    Raises:
        ValueError: it is damaged.
        KeyError: it has none.
    """
    if "made_of" not in side:
        return _earlier_note(side, noted_ns)
    if side["made_of"].dtype != np.uint8:
        raise ValueError(f"expected bytes, received {side['made_of'].dtype}")
    content = _NOTE.validate_json(side["made_of"].tobytes())
    return [MadeOf(n, fingerprint, tuple(files), noted_ns) for n, fingerprint, files in content]


def _earlier_note(side: Mapping[str, np.ndarray], noted_ns: int) -> list[MadeOf]:
    """Reads lines `<file> <size> <mtime_ns>` of all examples, after their fingerprints if any."""
    names = sorted([*map(str, side["names"]), *(str(name) for name, _ in side.get("skipped", ()))])
    lines = [str(line) for line in side["sources"]]
    each = len(lines) // max(1, len(names))
    if each * len(names) != len(lines):
        raise ValueError(f"{len(lines)} sources of {len(names)} examples")
    found = []
    for number, name in enumerate(names):
        own = lines[number * each : (number + 1) * each]
        first = own[0].removeprefix(f"{name} ") if own and _earlier_file(own[0]) is None else ""
        files = map(_earlier_file, own[1:] if first else own)
        found.append(MadeOf(name, first, tuple(filter(None, files)), noted_ns))
    return found


def _earlier_file(line: str) -> SourceFile | None:
    """A file in the form of earlier versions; None if the line is none."""
    if line.endswith(" missing"):
        return SourceFile(line.removesuffix(" missing"), -1, 0)
    name, *numbers = line.rsplit(" ", 2)
    if len(numbers) < 2 or not all(number.isdecimal() for number in numbers):
        return None
    return SourceFile(name, *map(int, numbers))


def read_notes(folder: Path) -> dict[str, MadeOf]:
    """Reads the sources of the examples in a folder of features, by name."""
    found: dict[str, MadeOf] = {}
    for path in sorted(folder.glob("*.npz")):
        if path.name.startswith("."):
            continue
        with suppress(OSError, ValueError, KeyError, TypeError):
            side = read_arrays(path, ("names", "skipped", "sources", "made_of"))
            found |= {made.name: made for made in read_note(side, path.stat().st_mtime_ns)}
    return found


def changes(
    items: Sequence[Item], before: Mapping[str, MadeOf], checksums: Checksums
) -> dict[str, str]:
    """Compares examples with the sources of those of the same names.

    Args:
        items: as they would be made now.
        before: their sources at the time, by name; examples without are skipped.
        checksums: of the files that must be read.

    Returns:
        By name of each example that differs, in the order of `items`, a description of the change.
    """
    found: dict[str, str] = {}
    unsure: list[_Unsure] = []
    for item in items:
        made = before.get(item.name)
        if made is None:
            continue
        if item.fingerprint != made.fingerprint:
            found[item.name] = "its labels have changed"
        elif [path.name for path in item.sources] != [file.name for file in made.files]:
            names = [path.name for path in item.sources], [file.name for file in made.files]
            now, then = (", ".join(each)[:_MOST_CHARACTERS] for each in names)
            found[item.name] = f"its files are {now or 'none'}, and were {then or 'none'}"
        else:
            for path, file in zip(item.sources, made.files, strict=True):
                status = _status(path)
                if status is None or status.st_size != file.size:
                    if status is not None or file.size >= 0:
                        found.setdefault(item.name, _changed(item, path, status, file))
                elif not _same_times(status, file):
                    unsure.append(_Unsure(item, path, status, file, keep=path not in item.labels))
                elif path in item.labels or _is_young(file, made.noted_ns):
                    unsure.append(_Unsure(item, path, status, file, keep=False))
    for each in _different(unsure, checksums):
        found.setdefault(each.item.name, _changed(each.item, each.path, each.status, each.file))
    return {item.name: found[item.name] for item in items if item.name in found}


def keep_to(path: Path, items: Sequence[Item]) -> None:
    """Notes the recordings, labels and splits of a start, or checks that it resumes with the same.

    Args:
        path: of the note.
        items: all that the dataset holds.

    Raises:
        DataError: they have changed since the note was written.
    """
    facts = [json.dumps([item.fingerprint, item.group, dict(item.facts)]) for item in items]
    whole = [replace(item, fingerprint=each) for item, each in zip(items, facts, strict=True)]
    if not path.is_file():
        write_note(path, whole)
        return
    before, now = {made.name for made in _read_note_file(path)}, {item.name for item in items}
    changed = {
        name: what.replace("its labels have", "its labels or its split have", 1)
        for name, what in noted_changes(path, whole).items()
    }
    found = {name: "it is new" for name in sorted(now - before)} | changed
    found |= {name: "it is gone" for name in sorted(before - now)}
    if found:
        first, what = next(iter(found.items()))
        raise DataError(
            f"{path.parent} was begun with other recordings, labels or splits: {len(found)}"
            f" recordings differ, the first is {first}: {what}. Use the dataset of before, choose"
            " another job id, or delete the folder."
        )


def _status(path: Path) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:
        return None


class _Unsure(NamedTuple):
    """A file whose content must be compared; `keep`: see `Checksums.fits`."""

    item: Item
    path: Path
    status: os.stat_result
    file: SourceFile
    keep: bool


def _same_times(status: os.stat_result, file: SourceFile) -> bool:
    """True if a file has the times and the inode noted, as far as they were."""
    others = (status.st_ctime_ns, status.st_ino) if file.ctime_ns else (0, 0)
    return (status.st_mtime_ns, *others) == (file.mtime_ns, file.ctime_ns, file.inode)


def _is_young(file: SourceFile, noted_ns: int) -> bool:
    """True if a file changed so shortly before its note that it may have changed unnoticed."""
    return (file.ctime_ns or file.mtime_ns) > noted_ns - _YOUNG_NS


def _different(unsure: Sequence[_Unsure], checksums: Checksums) -> list[_Unsure]:
    """Reads files and returns those whose content is not that noted."""
    n_bytes = sum(each.status.st_size for each in unsure)
    if n_bytes < _TOLD_BYTES:  # threads would take longer than they save
        return [each for each in unsure if _differs(each, checksums)]
    logger.info(
        "Comparing %d files (%.1f GB) with those of before by their checksums.",
        len(unsure),
        n_bytes / 1e9,
    )
    with ThreadPoolExecutor(_THREADS) as threads:
        differ = threads.map(lambda each: _differs(each, checksums), unsure)
        return [each for each, other in zip(unsure, differ, strict=True) if other]


def _differs(each: _Unsure, checksums: Checksums) -> bool:
    file = each.file
    if file.crc32 is None:  # of an earlier version, which kept none
        return each.status.st_mtime_ns != file.mtime_ns
    try:
        return not checksums.fits(each.path, each.status, file.crc32, each.keep)
    except OSError:
        return True


def _changed(item: Item, path: Path, status: os.stat_result | None, file: SourceFile) -> str:
    """Describes the change of a file."""
    if status is None:
        return f"{path} is not there"
    if file.size < 0:
        return f"{path} was not there"
    what = "its labels have changed" if path in item.labels else "it is another recording"
    if status.st_size != file.size:
        return f"{what}: {path} has {status.st_size} bytes, and had {file.size}"
    how = "time of modification, and no checksum was kept" if file.crc32 is None else "content"
    return f"{what}: {path} has another {how}"


def is_absent(dataset_dir: Path) -> bool:
    """True if a folder has no dataset: it is missing or empty, like an unmounted disk."""
    try:
        return not any(Path(dataset_dir).iterdir())
    except OSError:
        return True

"""Recordings that a command names: files, folders and globs, checked before a model is loaded."""

import glob
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import NamedTuple

from common.audio.formats import is_sound, sound_suffixes
from common.audio.stream import FileSource, check_channels
from common.errors import DataError
from common.io.terminal import unwritable


@dataclass(frozen=True)
class Recording:
    """A recording to predict.

    Attributes:
        source: the file, whose header has been read.
        name: path of its results below their folder, without an ending.
        listed_as: its name in lists of several recordings: that of the file, as in challenges; with
            folders where files of one name are in several.
    """

    source: FileSource
    name: str
    listed_as: str


@dataclass(frozen=True)
class Inputs:
    """Recordings that a command names.

    Attributes:
        recordings: those that can be opened, each once, in the order of the command.
        problems: of all others.
        is_search: a folder or a glob is among the arguments.
    """

    recordings: tuple[Recording, ...]
    problems: tuple[DataError, ...] = ()
    is_search: bool = False

    def with_channels(self, channels: int | None) -> "Inputs":
        """Moves recordings with another number of channels to the problems; None: any number."""
        fitting, problems = [], [*self.problems]
        for recording in self.recordings:
            try:
                check_channels(recording.source, channels)
                fitting.append(recording)
            except DataError as error:
                problems.append(error)
        return replace(self, recordings=tuple(fitting), problems=tuple(problems))

    def check(self) -> None:
        """Raises DataError if there is no recording to predict."""
        if self.recordings:
            return
        if len(self.problems) == 1:
            raise self.problems[0]
        lines = "\n".join(map(str, self.problems))
        raise DataError(f"None of {len(self.problems)} recordings can be used:\n{lines}")


class _File(NamedTuple):
    """A file, and the folder that its results mirror."""

    path: Path
    root: Path


def find_inputs(arguments: Sequence[Path]) -> Inputs:
    """Finds recordings and reads their headers.

    Files keep their name only; those of a folder or glob keep their place in it. Several of these
    are mirrored below the folder that they share. Files of one name keep their folders, too, and
    their endings if only those differ.

    Args:
        arguments: files of any name; folders, searched for all formats of the reader; globs, `**`
            for any number of folders.
    """
    files: dict[Path, _File] = {}  # by absolute path
    problems: list[DataError] = []
    is_search = False
    for argument in arguments:
        is_file, found = _found(argument)
        is_search |= not is_file and bool(found)
        if not found:
            problems.append(_nothing(argument))
        for file in found:
            files.setdefault(Path(os.path.abspath(file.path)), file)
    sources: dict[Path, FileSource] = {}
    for path, file in files.items():
        try:
            sources[path] = _opened(file.path)
        except DataError as error:
            problems.append(error)
    names = _names({path: file.root for path, file in files.items()}, is_search)
    recordings = tuple(Recording(source, *names[path]) for path, source in sources.items())
    return Inputs(recordings, tuple(problems), is_search)


def _found(argument: Path) -> tuple[bool, list[_File]]:
    """Files of an argument, and whether it is one itself."""
    text = os.fspath(argument)
    if os.path.isdir(text):
        return False, [_File(path, argument) for path in _below(argument)]
    if os.path.exists(text):
        return True, [_File(argument, argument.parent)]
    if not glob.has_magic(text):
        return True, []
    root = _fixed_part(argument)
    found = []
    for match in sorted(map(Path, glob.glob(text, recursive=True))):
        inside = _below(match) if match.is_dir() else [match] if is_sound(match) else []
        found += [_File(path, root) for path in inside]
    return False, found


def _below(folder: Path) -> Iterator[Path]:
    """Recordings in a folder and the folders in it, sorted; links are followed, hidden ones not."""
    seen = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:  # a link to a folder above it
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(place, name) for name in sorted(names) if is_sound(name))


def _fixed_part(pattern: Path) -> Path:
    """The folders of a glob before its first special character."""
    parts = pattern.parts[:-1]
    fixed = next((n for n, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    return Path(*parts[:fixed])


def _nothing(argument: Path) -> DataError:
    endings = f"files that end in {', '.join(sound_suffixes())}"
    if os.path.isdir(argument):
        return DataError(f"There is no recording in {argument}. Expected: {endings}.")
    if glob.has_magic(os.fspath(argument)):
        return DataError(f"No recording matches {argument}. Expected: {endings}.")
    return DataError(
        f"There is no {argument}. Expected: a sound file, a folder of them, or a glob in quotes"
        " such as 'day1/**/*.wav'. Correct the path."
    )


def _opened(path: Path) -> FileSource:
    """Reads the header; raises DataError if the file cannot be used."""
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError as error:
        raise DataError(unwritable(error)) from None
    return FileSource.open(path)


def _names(roots: dict[Path, Path], is_search: bool) -> dict[Path, tuple[str, str]]:
    """Names of results, and names in lists, by absolute path.

    Args:
        roots: folder that the results of each file mirror.
        is_search: keep the place of each file in it; otherwise only where names occur twice.
    """
    if not roots:
        return {}
    stems = Counter(path.stem for path in roots)
    if is_search or max(stems.values()) > 1:
        top = os.path.commonpath([os.path.abspath(root) for root in roots.values()])
        full = {path: PurePath(os.path.relpath(path, top)).as_posix() for path in roots}
    else:
        full = {path: path.name for path in roots}
    are_unique = max(stems.values()) == 1
    listed = {path: path.name if are_unique else name for path, name in full.items()}
    short = {path: name.removesuffix(Path(name).suffix) for path, name in full.items()}
    counts, taken = Counter(short.values()), set(full.values())
    return {
        path: (full[path] if counts[name] > 1 or name in taken else name, listed[path])
        for path, name in short.items()
    }

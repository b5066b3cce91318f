"""Suffixes of recordings: one list for all families, of the formats that libsndfile reads."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import soundfile

from common.errors import DataError

# Suffixes of libsndfile's formats, without those that are mostly other data (.mat, .raw, .xi).
_BY_FORMAT = {
    "AIFF": (".aiff", ".aif", ".aifc"),
    "AU": (".au", ".snd"),
    "AVR": (".avr",),
    "CAF": (".caf",),
    "FLAC": (".flac",),
    "IRCAM": (".sf",),
    "MP3": (".mp3",),
    "NIST": (".sph", ".nist"),
    "OGG": (".ogg", ".oga", ".opus"),
    "PAF": (".paf",),
    "PVF": (".pvf",),
    "RF64": (".rf64",),
    "SVX": (".8svx", ".svx"),
    "VOC": (".voc",),
    "W64": (".w64",),
    "WAV": (".wav", ".wave", ".bwf"),
}
# Not of libsndfile.
_OTHER_SOUND = (
    ".m4a", ".aac", ".wma", ".mp4", ".webm", ".amr", ".ape", ".wv", ".ac3", ".mka",
)  # fmt: skip
_SHOWN = 5  # names in a message


@cache
def sound_suffixes() -> tuple[str, ...]:
    """Suffixes of the formats that the installed libsndfile reads, in lower case."""
    available = soundfile.available_formats()
    known = [suffixes for name, suffixes in _BY_FORMAT.items() if name in available]
    return tuple(suffix for suffixes in known for suffix in suffixes)


def is_sound(name: str | Path) -> bool:
    """True if a file is a recording by its name; hidden files are not."""
    path = Path(name)
    return path.suffix.lower() in sound_suffixes() and not path.name.startswith(".")


def stem_of(name: str) -> str:
    """Name without the suffix of a recording; other dots belong to the name."""
    suffix = Path(name).suffix
    is_known = suffix.lower() in (*sound_suffixes(), *_OTHER_SOUND)
    return name.removesuffix(suffix) if is_known else name


def list_sounds(folder: Path) -> tuple[list[str], list[str]]:
    """Lists the recordings of a folder by name, and its other files; hidden ones are neither."""
    entries = [each for each in folder.iterdir() if each.name[0] != "." and not each.is_dir()]
    names = sorted(entry.name for entry in entries)
    sounds = [name for name in names if is_sound(name)]
    return sounds, [name for name in names if not is_sound(name)]


def shown(names: Sequence[str]) -> str:
    """Names the first few of many files."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


@dataclass(frozen=True)
class FoundSounds:
    """Paths of the recordings of a list.

    Attributes:
        paths: by name in the list.
        renamed: names whose file has another suffix, and that file.
    """

    paths: Mapping[str, Path]
    renamed: Mapping[str, str] = field(default_factory=dict)


def find_sounds(names: Iterable[str], folder: Path) -> FoundSounds:
    """Finds the recordings of a list; names without a file are left out.

    A file that differs only in its suffix replaces it (`a.flac` for `a.wav`) unless it is listed.

    Raises:
        DataError: several files could be meant.
    """
    wanted = list(names)
    listed = set(wanted)
    present = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    by_stem: dict[str, list[str]] = {}
    if not listed <= present:
        for name in sorted(present - listed):
            if is_sound(name):
                by_stem.setdefault(stem_of(name), []).append(name)
    renamed = {}
    for name in wanted:
        others = by_stem.get(stem_of(name), []) if name not in present else []
        if len(others) > 1:
            raise _ambiguous(folder, name, others)
        if others:
            renamed[name] = others[0]
    found = [name for name in wanted if name in present or name in renamed]
    return FoundSounds({name: folder / renamed.get(name, name) for name in found}, renamed)


def sound_path(folder: Path, name: str) -> Path:
    """Path of a recording of a list, or of the file that differs only in its suffix.

    Raises:
        DataError: several files could be meant.
    """
    path = folder / name
    if path.is_file() or not is_sound(name):
        return path
    endings = {ending for suffix in sound_suffixes() for ending in (suffix, suffix.upper())}
    names = sorted(stem_of(name) + ending for ending in endings)
    others = [each for each in names if (folder / each).is_file()]
    if len(others) > 1:
        raise _ambiguous(folder, name, others)
    return folder / others[0] if others else path


def _ambiguous(folder: Path, name: str, others: Sequence[str]) -> DataError:
    return DataError(
        f"{folder} has no {name!r}, but {shown(others)}. Expected: one recording of a name."
        " Move the others away."
    )

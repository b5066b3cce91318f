"""Archives of TAU Spatial Sound Events 2019 and their checksums, from soundata."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from common.datasets.download import Package, Source, library
from common.io.unpacking import unpack_zip
from seld.config import TaskConfig

_SOUNDATA = ("soundata", ">=1.0.1,<2")
_RECORDINGS = {"dev": 400, "eval": 100}
_RECORDING_BYTES = 60 * 48000 * 4 * 2  # a minute of four channels of 16 bits


def sources(task: TaskConfig) -> list[Source]:
    """Lists audio and metadata of the sets and the format that a task reads."""
    remotes = library("soundata.datasets.tau2019sse", *_SOUNDATA).REMOTES
    return [_source(task.dataset.format, set_name, remotes) for set_name in task.set_names]


def _source(audio_format: str, set_name: str, remotes: Mapping[str, Any]) -> Source:
    archives = [_parts(remotes[f"{what}_{set_name}"]) for what in (audio_format, "metadata")]
    return Source(
        f"TAU Spatial Sound Events 2019, {set_name} set, {audio_format}",
        tuple(Package(part.url) for parts in archives for part in parts),
        _RECORDINGS[set_name] * _RECORDING_BYTES,
        partial(_fetch, archives),
        "When all is unpacked, the archives (.zip, .z01 ...) may be deleted.",
    )


def _parts(remote: Any) -> list[Any]:
    """Parts of an archive in order; the last one, .zip, has the table of contents."""
    return sorted(remote if isinstance(remote, list) else [remote], key=lambda part: part.filename)


def _fetch(archives: Sequence[Sequence[Any]], folder: Path) -> None:
    """Downloads with soundata, which compares checksums, and unpacks without it.

    Its own unpacking of split archives passes a list of arguments to a shell, which runs `zip`
    without any of them: no joined archive is written.
    """
    for parts in archives:
        unpack_zip([_download(part, folder) for part in parts], folder)


def _download(part: Any, folder: Path) -> Path:
    download = library("soundata.download_utils", *_SOUNDATA).download_from_remote
    try:
        return Path(download(part, str(folder), force_overwrite=False))
    except OSError:  # also of an interrupted download, which soundata takes for complete
        return Path(download(part, str(folder), force_overwrite=True))

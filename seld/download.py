"""Archives of the SELD datasets of 2019 to 2022 and their checksums, from soundata.

The datasets of 2023 to 2025 are in no library: their archives are fetched by hand.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from common.datasets.download import Package, Source, library
from common.io.unpacking import unpack_zip
from seld.config import TaskConfig
from seld.recordings.layouts import Layout

_SOUNDATA = ("soundata", ">=1.0.1,<2")
_MODULES = {
    "tau2019": "tau2019sse",
    "tau2020": "tau2020sse_nigens",
    "tau2021": "tau2021sse_nigens",
    "starss2022": "starss2022",
}
_SECONDS = {  # of audio, by set
    "tau2019": {"dev": 400 * 60, "eval": 100 * 60},
    "tau2020": {"dev": 600 * 60, "eval": 200 * 60},
    "tau2021": {"dev": 600 * 60, "eval": 200 * 60},
    "starss2022": {"dev": 5 * 3600},
}
_BYTES = 4 * 2  # of a sample of four channels of 16 bits
_SYNTHETIC = (
    "Folds 1 and 2, synthetic recordings, are published separately, e.g."
    " https://zenodo.org/record/6406873: fetch them by hand into {kind}_dev/dev-train-synth and"
    " metadata_dev/dev-train-synth."
)


def sources(task: TaskConfig) -> list[Source]:
    """Lists audio and metadata of the sets and the format that a task reads."""
    layout, audio_format = task.dataset.published, task.dataset.format
    module = _MODULES.get(layout.name)
    remotes: Mapping[str, Any] = {}
    if module is not None:
        remotes = library(f"soundata.datasets.{module}", *_SOUNDATA).REMOTES
    found = [_source(layout, audio_format, set_name, remotes) for set_name in task.set_names]
    used = {split for fold in task.folds for split in fold.splits}
    if any(layout.subfolders.get(split, "").endswith("synth") for split in used):
        remark = _SYNTHETIC.format(kind=audio_format)
        found.append(Source(f"{layout.title}, synthetic recordings", remark=remark))
    return found


def _source(layout: Layout, audio_format: str, set_name: str, remotes: Mapping[str, Any]) -> Source:
    title = f"{layout.title}, {set_name} set, {audio_format}"
    names = [f"{what}_{set_name}" for what in (audio_format, "metadata")]
    if not set(names) <= set(remotes):
        folders = " and ".join(f"{name}/" for name in names)
        remark = f"No library offers it: fetch its archives by hand and unpack {folders} of them."
        return Source(title, remark=remark)
    archives = [_parts(remotes[name]) for name in names]
    return Source(
        title,
        tuple(Package(part.url) for parts in archives for part in parts),
        _SECONDS[layout.name][set_name] * layout.sample_rate_hz * _BYTES,
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

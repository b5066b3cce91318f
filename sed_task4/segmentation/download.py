"""Where the sounds and scenes of segmentation come from: the scenes through dcase_util, the sounds
by hand."""

from functools import partial
from pathlib import Path
from typing import Any

from common.datasets.download import Package, Source, library
from common.errors import ConfigError
from sed_task4.segmentation.config import TaskConfig

_DCASE_UTIL = ("dcase_util", ">=0.2.20,<0.3")
_SCENES = "TUT-urban-acoustic-scenes-2018-development"
_SCENES_BYTES = 8640 * 10 * 48000 * 2 * 3  # ten seconds of two channels of 24 bits
_SOUNDS = (
    "No library offers the sounds. From https://doi.org/10.5281/zenodo.2552860 fetch"
    " FSDKaggle2018.audio_train.zip and FSDKaggle2018.meta.zip, and unpack both into"
    " dcase2018_task2/ in the dataset folder."
)


def sources(task: TaskConfig) -> list[Source]:
    """Lists where sounds and scenes come from; scenes only where the task mixes any."""
    sounds = Source("FSDKaggle2018 (DCASE 2018 task 2), training sounds", remark=_SOUNDS)
    if task.dataset.scene_type == "white_noise":
        return [sounds]
    folder = task.dataset.scenes_dir.expanduser()
    if folder.name != _SCENES:
        raise ConfigError(
            f"`dataset.scenes_dir` must end in {_SCENES} to be fetched. Received: {folder}."
        )
    return [_scenes(folder.parent), sounds]


def _scenes(below: Path) -> Source:
    """The scenes; `below` is the folder, in the dataset folder, that theirs lies in."""
    # Only asked for its list of packages here: it makes no folder before it downloads.
    listed = [
        item for item in _dataset(Path()).package_list if item["content_type"] in ("audio", "meta")
    ]
    return Source(
        "TUT Urban Acoustic Scenes 2018, development set",
        tuple(Package(item["remote_file"], item["remote_bytes"]) for item in listed),
        _SCENES_BYTES,
        partial(_fetch, below),
        "When all is unpacked, the archives (.zip) may be deleted.",
    )


def _fetch(below: Path, folder: Path) -> None:
    _dataset(folder / below).download_packages().extract_packages()


def _dataset(data_path: Path) -> Any:
    datasets = library("dcase_util.datasets", *_DCASE_UTIL)
    return datasets.TUTUrbanAcousticScenes_2018_DevelopmentSet(
        data_path=str(data_path), included_content_types=["audio", "meta"]
    )

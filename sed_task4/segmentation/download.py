"""Sources of the sounds and scenes of segmentation: scenes by dcase_util, sounds by hand."""

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
    """Lists the sources of sounds and scenes; scenes only if the task mixes any."""
    sounds = Source("FSDKaggle2018 (DCASE 2018 task 2), training sounds", remark=_SOUNDS)
    if task.dataset.scene_type == "white_noise":
        return [sounds]
    folder = task.dataset.scenes_dir.expanduser()
    if folder.name != _SCENES:
        received = f"Received: {folder}"
        raise ConfigError(f"`dataset.scenes_dir` must end in {_SCENES} to be fetched. {received}.")
    return [_scenes(folder.parent), sounds]


def _scenes(below: Path) -> Source:
    """Source of the scenes, which go to a folder `below` the dataset folder."""
    # Only its list of packages is needed: it makes no folder before it downloads.
    packages, kinds = _dataset(Path()).package_list, ("audio", "meta")
    listed = [item for item in packages if item["content_type"] in kinds]
    return Source(
        "TUT Urban Acoustic Scenes 2018, development set",
        tuple(Package(item["remote_file"], item["remote_bytes"]) for item in listed),
        _SCENES_BYTES,
        partial(_fetch, below),
        "After unpacking, the archives (.zip) may be deleted.",
    )


def _fetch(below: Path, folder: Path) -> None:
    _dataset(folder / below).download_packages().extract_packages()


def _dataset(data_path: Path) -> Any:
    datasets = library("dcase_util.datasets", *_DCASE_UTIL)
    return datasets.TUTUrbanAcousticScenes_2018_DevelopmentSet(
        data_path=str(data_path), included_content_types=["audio", "meta"]
    )

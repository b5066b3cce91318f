"""Mixtures to shards, and shards to a store with a group for each fold."""

import logging
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from common.audio.files import read_audio
from common.data import extraction
from common.data.feature_store import MANIFEST, FeatureStore
from common.data.provenance import checked_store
from common.data.tfrecord import ArraySpec, ExampleSchema
from common.features.settings import feature_shape, frontend_of
from common.settings.parallel import ParallelConfig
from common.settings.pipeline import PipelineConfig
from common.simulation.dataset_folder import check_finished
from sed_task4.extraction import clip_inputs
from sed_task4.features import FeatureConfig
from sed_task4.labels import frame_activity, tags_of_events
from sed_task4.segmentation import mixing
from sed_task4.segmentation.clip_scorer import mixture_events
from sed_task4.segmentation.dataset import DatasetConfig, Mixture, find_mixtures

logger = logging.getLogger(__name__)
_FORM = 1  # counts up when the contents of a record change


class ExtractionTask(Protocol):
    """The settings that extraction needs of a task."""

    @property
    def dataset_dir(self) -> Path: ...
    @property
    def feature_dir(self) -> Path: ...
    @property
    def dataset(self) -> DatasetConfig: ...
    @property
    def features(self) -> FeatureConfig: ...
    @property
    def pipeline(self) -> PipelineConfig: ...
    @property
    def parallel(self) -> ParallelConfig: ...


@dataclass(frozen=True)
class ExampleMaker:
    """Makes the arrays of one mixture; sent to the processes that do the work."""

    dataset: DatasetConfig
    features: FeatureConfig

    def __call__(self, item: extraction.Item) -> dict[str, np.ndarray]:
        """Returns the arrays of `example_schema` for the mixture in `item.payload`, and features in
        any case."""
        mixture: Mixture = item.payload
        dataset, rate_hz = self.dataset, self.dataset.sample_rate_hz
        audio = read_audio(mixture.audio_path, rate_hz, 2).mean(axis=1, keepdims=True)  # (S, 1)
        inputs = clip_inputs(audio, self.features, rate_hz, dataset.clip_s)
        events = mixture_events(mixture, dataset.classes)
        sizes = len(inputs["features"]), self.features.frames_per_s, dataset.n_classes
        return {
            **inputs,
            "activity": frame_activity(events, *sizes, self.features.label_rule),
            "tags": tags_of_events(events, dataset.n_classes),
            "events": events,
            "labelled": np.array(True, np.uint8),
        }


def run(
    task: ExtractionTask,
    set_names: Sequence[str] = ("mixtures",),
    overwrite: bool = False,
    progress: bool = True,
) -> list[FeatureStore]:
    """Mixes what is missing and extracts the features of all mixtures; what is finished is not done
    twice.

    The spectra that separation needs are not stored: computing them again takes less time than
    reading them would.

    Args:
        task: the task's settings.
        set_names: there is one set, "mixtures".
        overwrite: make all shards anew.
        progress: show a bar.

    Returns:
        One store, whose groups are the numbers of the folds.

    Raises:
        DataError: sounds, scenes, lists or shards that cannot be used, see
            `common.data.extraction.extract`.
    """
    mixing.run(task)
    store = extraction.extract(
        store_folder(task, "mixtures"),
        plan_items(task),
        ExampleMaker(task.dataset, task.features),
        example_schema(task.dataset, task.features),
        store_settings(task),
        parallel=task.parallel,
        recordings_per_shard=task.pipeline.recordings_per_shard,
        overwrite=overwrite,
        progress=progress,
    )
    return [store]


def open_store(task: ExtractionTask, set_name: str, verify: bool = False) -> FeatureStore:
    """Opens the finished features of the mixtures, and compares them with these where they are at
    hand.

    Raises:
        DataError: they are missing, not finished, damaged or of other settings, see
            `FeatureStore.open`; or of other mixtures, see `common.data.provenance.checked_store`; or these
            are of other sounds, see `mixing.check`.
    """
    store = FeatureStore.open(store_folder(task, set_name), store_settings(task), verify)

    def plan() -> list[extraction.Item]:
        mixing.check(Path(task.dataset_dir), task.dataset)
        return plan_items(task)

    return checked_store(store, task.dataset_dir, plan)


def is_extracted(task: ExtractionTask, set_name: str) -> bool:
    """Whether the features of the mixtures are finished, with whatever settings."""
    return (store_folder(task, set_name) / MANIFEST).is_file()


def store_folder(task: ExtractionTask, set_name: str) -> Path:
    """Folder of the shards."""
    name = f"{set_name}_{task.dataset.scene_type}_snr{task.dataset.snr_db:g}"
    return Path(task.feature_dir) / f"{name}{task.features.store_suffix}"


def store_settings(task: ExtractionTask) -> dict[str, Any]:
    """All that the shards depend on beside the mixtures; not what only changes how they are
    read."""
    dataset = task.dataset
    return {
        "form": _FORM,
        "dataset": {
            "classes": list(dataset.classes),
            "sample_rate_hz": dataset.sample_rate_hz,
            "clip_s": dataset.clip_s,
        },
        "features": task.features.content(),
        "recordings_per_shard": task.pipeline.recordings_per_shard,
    }


def example_schema(dataset: DatasetConfig, features: FeatureConfig) -> ExampleSchema:
    """The arrays of one mixture: features or audio, frame-wise labels, tags, events, and that these
    are known."""
    frontend = frontend_of(features, dataset.sample_rate_hz)
    return ExampleSchema(
        {
            **extraction.input_specs(
                frontend, features.dtype, feature_shape(features, dataset.sample_rate_hz)
            ),
            "activity": ArraySpec("int8", (None, dataset.n_classes)),
            "tags": ArraySpec("int8", (dataset.n_classes,)),
            "events": ArraySpec("float64", (None, 3)),
            "labelled": ArraySpec("uint8", ()),
        }
    )


def plan_items(task: ExtractionTask) -> list[extraction.Item]:
    """Lists what there is to extract, all mixtures.

    Raises:
        DataError: they are not all there, see `find_mixtures`.
    """
    check_finished(Path(task.dataset_dir))
    return [_item(mixture) for mixture in find_mixtures(task.dataset_dir, task.dataset)]


def all_items(task: ExtractionTask, set_names: Sequence[str]) -> list[extraction.Item]:
    """Mixes what is missing, and lists what there is to extract of the one set, see
    `plan_items`."""
    mixing.run(task)
    return [item for _ in set_names for item in plan_items(task)]


def _item(mixture: Mixture) -> extraction.Item:
    """The events are no file of their own: their checksum tells when they change."""
    known = f"events {zlib.crc32(repr(mixture.events).encode()):08x}"
    return extraction.Item(mixture.name, str(mixture.fold), (mixture.audio_path,), mixture, known)

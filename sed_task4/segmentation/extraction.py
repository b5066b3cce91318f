"""Extraction of mixtures to shards, and of shards to a store with a group for each fold."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.audio.files import read_audio
from common.data.extraction import Item, input_specs
from common.data.family_store import ExtractionTask, FamilyStore
from common.data.feature_store import FeatureStore
from common.data.tfrecord import ArraySpec, ExampleSchema
from common.features.settings import feature_shape, frontend_of
from common.simulation.dataset_folder import check_finished
from sed_task4.extraction import clip_inputs
from sed_task4.features import FeatureConfig
from sed_task4.labels import frame_activity, tags_of_events
from sed_task4.segmentation import mixing
from sed_task4.segmentation.clip_scorer import mixture_events
from sed_task4.segmentation.dataset import DatasetConfig, Mixture, find_mixtures


@dataclass(frozen=True)
class ExampleMaker:
    """Computes the arrays of one mixture; sent to the worker processes."""

    dataset: DatasetConfig
    features: FeatureConfig

    def __call__(self, item: Item) -> dict[str, np.ndarray]:
        """Returns the arrays of `example_schema` for a mixture, `item.payload`, with features."""
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


class MixtureStore(FamilyStore):
    """Store of all mixtures, with a group for each fold.

    The spectra for separation are not stored: computing them takes less time than reading them.
    """

    def folder_name(self, task: ExtractionTask, set_name: str) -> str:
        return f"{set_name}_{task.dataset.scene_type}_snr{task.dataset.snr_db:g}"

    def content(self, task: ExtractionTask, set_name: str) -> dict[str, Any]:
        dataset: DatasetConfig = task.dataset  # the mixtures themselves are compared by their files
        numbers = {"sample_rate_hz": dataset.sample_rate_hz, "clip_s": dataset.clip_s}
        return {"dataset": {"classes": list(dataset.classes), **numbers}}

    def items(self, task: ExtractionTask, set_name: str) -> list[Item]:
        """Mixes the missing mixtures, and lists all of them."""
        mixing.run(task)
        return self._listed(task)

    def current_items(self, task: ExtractionTask, set_name: str) -> list[Item]:
        mixing.check(Path(task.dataset_dir), task.dataset)
        return self._listed(task)

    def schema(self, task: ExtractionTask) -> ExampleSchema:
        return example_schema(task.dataset, task.features)

    def maker(self, task: ExtractionTask) -> ExampleMaker:
        return ExampleMaker(task.dataset, task.features)

    def _listed(self, task: ExtractionTask) -> list[Item]:
        check_finished(Path(task.dataset_dir))
        return [_item(mixture) for mixture in find_mixtures(task.dataset_dir, task.dataset)]


_STORE = MixtureStore()
open_store, is_extracted, all_items = _STORE.open, _STORE.is_extracted, _STORE.all_items
store_folder = _STORE.folder


def run(
    task: ExtractionTask,
    set_names: Sequence[str] = ("mixtures",),
    overwrite: bool = False,
    progress: bool = True,
) -> list[FeatureStore]:
    """Mixes the missing mixtures and extracts the features of all; finished shards are kept.

    Args:
        task: the task's settings.
        set_names: the only set, "mixtures".
        overwrite: make all shards again.
        progress: show a bar.

    Returns:
        One store, whose groups are the numbers of the folds.

    Raises:
        DataError: sounds, scenes, lists or shards cannot be used, see
            `common.data.extraction.extract`.
    """
    items = _STORE.items(task, "mixtures")
    return [_STORE.extract(task, "mixtures", items, overwrite=overwrite, progress=progress)]


def example_schema(dataset: DatasetConfig, features: FeatureConfig) -> ExampleSchema:
    """Arrays of one mixture: features or audio, frame-level labels, tags, events, 1."""
    frontend = frontend_of(features, dataset.sample_rate_hz)
    shape = feature_shape(features, dataset.sample_rate_hz)
    return ExampleSchema(
        {
            **input_specs(frontend, features.dtype, shape),
            "activity": ArraySpec("int8", (None, dataset.n_classes)),
            "tags": ArraySpec("int8", (dataset.n_classes,)),
            "events": ArraySpec("float64", (None, 3)),
            "labelled": ArraySpec("uint8", ()),
        }
    )


def _item(mixture: Mixture) -> Item:
    """Item of a mixture; the checksum of its events, which have no file, changes with them."""
    known = f"events {zlib.crc32(repr(mixture.events).encode()):08x}"
    return Item(mixture.name, str(mixture.fold), (mixture.audio_path,), mixture, known)

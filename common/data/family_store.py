"""Stores of a family: the sets of a task's dataset, extracted and opened in the same way by all.

A family defines how its sets are named, listed and computed; folders, settings, extraction and the
comparison of features with their recordings are the same for all.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from common.data.extraction import Recipe, extract
from common.data.feature_store import MANIFEST, FeatureStore
from common.data.provenance import MEASURED, Checksums, Item, changes, is_absent, read_notes
from common.data.tfrecord import ExampleSchema
from common.errors import DataError
from common.settings.parallel import ParallelConfig
from common.settings.pipeline import PipelineConfig

logger = logging.getLogger(__name__)

_FORM = 1  # counts up when the contents of a record change


class ExtractionTask(Protocol):
    """Settings that extraction needs of a task, with `dataset` and `features` of its family."""

    @property
    def dataset_dir(self) -> Path: ...
    @property
    def feature_dir(self) -> Path: ...
    @property
    def dataset(self) -> Any: ...
    @property
    def features(self) -> Any: ...
    @property
    def pipeline(self) -> PipelineConfig: ...
    @property
    def parallel(self) -> ParallelConfig: ...


class FamilyStore(ABC):
    """Extraction of the sets of a family's datasets into stores, one for each set."""

    @abstractmethod
    def folder_name(self, task: ExtractionTask, set_name: str) -> str:
        """Name of the folder of a set, without that of the form of its features."""

    @abstractmethod
    def content(self, task: ExtractionTask, set_name: str) -> dict[str, Any]:
        """Settings that the shards depend on, other than those of features and pipeline."""

    @abstractmethod
    def items(self, task: ExtractionTask, set_name: str) -> list[Item]:
        """Lists the examples of a set; DataError if the dataset is incomplete or unusable."""

    def current_items(self, task: ExtractionTask, set_name: str) -> list[Item]:
        """Lists the examples of a set without writing anything; by default `items`."""
        return self.items(task, set_name)

    @abstractmethod
    def schema(self, task: ExtractionTask) -> ExampleSchema:
        """The arrays of one example."""

    @abstractmethod
    def maker(self, task: ExtractionTask) -> Callable[[Item], Mapping[str, np.ndarray]]:
        """Computes the arrays of one example; sent to the processes that do the work."""

    def statistics_of(self, task: ExtractionTask) -> str:
        """Array of an example whose mean and standard deviation are stored."""
        return "features"

    def folder(self, task: ExtractionTask, set_name: str) -> Path:
        """Folder of the shards of a set."""
        name = f"{self.folder_name(task, set_name)}{task.features.store_suffix}"
        return Path(task.feature_dir) / name

    def settings(self, task: ExtractionTask, set_name: str) -> dict[str, Any]:
        """All that the shards depend on; neither their location nor options of reading."""
        return {
            "form": _FORM,
            **self.content(task, set_name),
            "features": task.features.content(),
            "recordings_per_shard": task.pipeline.recordings_per_shard,
        }

    def is_extracted(self, task: ExtractionTask, set_name: str) -> bool:
        """True if the features of a set are finished, with any settings."""
        return (self.folder(task, set_name) / MANIFEST).is_file()

    def open(self, task: ExtractionTask, set_name: str, verify: bool = False) -> FeatureStore:
        """Opens the finished features of a set; compares them with its recordings if any exist.

        Raises:
            DataError: they are missing, not finished, damaged or of other settings, see
                `FeatureStore.open`; or of other recordings, labels or splits, see `checked_store`.
        """
        folder, settings = self.folder(task, set_name), self.settings(task, set_name)
        store = FeatureStore.open(folder, settings, verify)
        return checked_store(store, task.dataset_dir, lambda: self.current_items(task, set_name))

    def extract(
        self,
        task: ExtractionTask,
        set_name: str,
        items: Sequence[Item],
        skip: tuple[type[DataError], ...] = (),
        overwrite: bool = False,
        progress: bool = True,
    ) -> FeatureStore:
        """Extracts the examples of a set, see `extract`; `skip`: errors that leave one out."""
        folder, settings = self.folder(task, set_name), self.settings(task, set_name)
        per_shard = task.pipeline.recordings_per_shard
        parts = folder, self.maker(task), self.schema(task), settings, per_shard
        recipe = Recipe(*parts, self.statistics_of(task), skip)
        options = {"overwrite": overwrite, "progress": progress}
        return extract(recipe, items, parallel=task.parallel, **options)

    def all_items(self, task: ExtractionTask, set_names: Sequence[str]) -> list[Item]:
        """Lists the examples of several sets."""
        return [item for name in set_names for item in self.items(task, name)]


def checked_store(
    store: FeatureStore, dataset_dir: Path, plan: Callable[[], Sequence[Item]]
) -> FeatureStore:
    """Compares features with the dataset of a task: its recordings, labels and splits.

    Args:
        store: finished features.
        dataset_dir: folder of the dataset; if that is absent, nothing can be compared.
        plan: lists the examples that would be extracted of it now.

    Returns:
        The store.

    Raises:
        DataError: the features were made of something else; or the dataset cannot be used.
    """
    if is_absent(dataset_dir):
        return store
    items, checksums, notes = plan(), Checksums(store.folder), read_notes(store.folder)
    found = arrangement_changes(items, store) | changes(items, notes, checksums)
    checksums.save()
    unknown = [item.name for item in items if item.name not in notes and item.name not in found]
    if unknown:
        logger.warning(
            "%s: side files of %d recordings are missing or damaged, such as that of %s: whether"
            " these are the recordings in %s is not known.",
            store.folder,
            len(unknown),
            unknown[0],
            dataset_dir,
        )
    if found:
        first, what = next(iter(found.items()))
        raise DataError(
            f"The features in {store.folder} were made of other recordings, labels or splits than"
            f" those in {dataset_dir}: {len(found)} of {len(items)} recordings differ, the first is"
            f" {first}: {what}. Run `python batch_feature_extraction.py <task-id>` with the same"
            " settings, which makes only their shards again, or set another `feature_dir` to keep"
            " both."
        )
    return store


def arrangement_changes(items: Sequence[Item], store: FeatureStore) -> dict[str, str]:
    """Compares names, groups and facts of examples with those in a store: the changes by name."""
    groups = {name: entry.group for entry in store.entries for name in entry.names}
    known, now = {*groups, *store.skipped}, {item.name for item in items}
    found: dict[str, str] = {}
    for item in items:
        facts, stored = (
            {key: value for key, value in each.items() if key not in MEASURED}
            for each in (item.facts, store.facts.get(item.name, {}))
        )
        if item.name not in known:
            found[item.name] = "it is new"
        elif groups.get(item.name, item.group) != item.group:
            found[item.name] = f"it is in split {item.group}, and was in {groups[item.name]}"
        elif facts != stored:
            found[item.name] = "the list has " + ", ".join(
                f"{key} {facts.get(key)} instead of {stored.get(key)}"
                for key in sorted({*facts, *stored})
                if facts.get(key) != stored.get(key) or (key in facts) != (key in stored)
            )
    return found | {name: "it is gone" for name in sorted(known - now)}

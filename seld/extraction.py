"""Recordings of a SELD task to shards, and shards to stores."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from common.audio.files import read_audio
from common.data import extraction
from common.data.feature_store import MANIFEST, FeatureStore
from common.data.provenance import checked_store
from common.data.tfrecord import ArraySpec, ExampleSchema
from common.datasets import groups as source_groups
from common.errors import DataError
from common.features.settings import feature_shape, frontend_of
from common.settings.parallel import ParallelConfig
from common.settings.pipeline import PipelineConfig
from common.simulation.dataset_folder import check_finished
from seld import lengths
from seld.config import TaskConfig
from seld.dataset import DatasetConfig, Events, find_recordings, parse_name, read_labels
from seld.features import FeatureConfig, compute_features, prepare_audio
from seld.labels import regression_labels
from seld.preconditions import check_sets, check_settings
from seld.recording_list import LIST_NAME, Attributes, Recording, group_members

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


class SilentRecordingError(DataError):
    """A recording holds nothing but zeros."""


@dataclass(frozen=True)
class ExampleMaker:
    """Makes the arrays of one recording; sent to the processes that do the work."""

    dataset: DatasetConfig
    features: FeatureConfig

    def __call__(self, item: extraction.Item) -> dict[str, np.ndarray]:
        """Returns the arrays of `example_schema` for the recording in `item.payload`, and features
        in any case.

        Raises:
            DataError: recording or metadata cannot be used.
            SilentRecordingError: there is no sound, and the settings leave such recordings out.
        """
        recording: Recording = item.payload
        dataset = self.dataset
        audio = read_audio(recording.audio_path, dataset.sample_rate_hz, dataset.channels)
        if dataset.skip_silent and not audio.any():
            raise SilentRecordingError(
                f"{recording.audio_path} is silent: all of its samples are zero."
            )
        inputs = self._inputs(audio)
        labelled = recording.metadata_path is not None
        events = _no_events()
        if recording.metadata_path is not None:
            events = read_labels(
                recording.metadata_path, dataset, len(audio) / dataset.sample_rate_hz
            )
        rule, hop_s = (
            self.features.label_rule,
            self.features.hop_s,
        )  # scores make their own reference from the events
        labels = regression_labels(
            events, len(inputs["features"]), hop_s, dataset.n_classes, rule
        )  # (T, K) each
        return {
            **inputs,
            **labels,
            "events": events.to_array(),
            "labelled": np.array(labelled, np.uint8),
        }

    def _inputs(self, audio: np.ndarray) -> dict[str, np.ndarray]:
        """The features of a recording (S, C), and its audio where the model computes them."""
        dataset, features, recorded_hz = self.dataset, self.features, self.dataset.sample_rate_hz
        rate_hz, recording_s = features.rate_hz(recorded_hz), dataset.recording_s
        return extraction.input_arrays(
            prepare_audio(audio, features, recorded_hz, recording_s),
            frontend_of(features, recorded_hz, dataset.channels),
            # Not rounded yet: the writer does that, many times faster than numpy.
            lambda prepared: compute_features(prepared, features, rate_hz, recording_s, "float32"),
        )


def run(
    task: ExtractionTask,
    set_names: Sequence[str] = ("dev",),
    overwrite: bool = False,
    progress: bool = True,
    whole_task: bool = True,
) -> list[FeatureStore]:
    """Extracts the features of whole sets; what is finished is not done twice.

    With `dataset.skip_silent`, recordings of zeros alone are left out; the log and
    `FeatureStore.skipped` list them.

    Args:
        task: the task's settings.
        set_names: "dev", "eval" or both.
        overwrite: make all shards anew.
        progress: show a bar for each set.
        whole_task: refuse a dataset that the task's folds or scores would stop at later, before any
            work.

    Returns:
        One store for each set.

    Raises:
        ConfigError: settings that cannot stand together.
        DataError: recordings, metadata or shards that cannot be used, see
            `common.data.extraction.extract`; before any work, what training or scores would stop at, see
            `seld.preconditions`.
    """
    check_settings(task.dataset, task.features)
    check_finished(Path(task.dataset_dir))
    sets = {
        name: find_recordings(task.dataset_dir, task.dataset.format, name) for name in set_names
    }
    if whole_task and isinstance(task, TaskConfig):
        check_sets(task, sets)
        recordings = [each for members in sets.values() for each in members]
        groups = group_members((each.split, each.name, each.group) for each in recordings)
        source_groups.refuse(
            source_groups.fold_problems(task.folds, groups, str(task.dataset_dir / LIST_NAME))
        )
    return [
        _run_set(task, name, recordings, overwrite, progress) for name, recordings in sets.items()
    ]


def open_store(task: ExtractionTask, set_name: str, verify: bool = False) -> FeatureStore:
    """Opens the finished features of a set, and compares them with its recordings where these are
    at hand.

    Raises:
        DataError: they are missing, not finished, damaged or of other settings, see
            `FeatureStore.open`; or of other recordings, labels or splits, see
            `common.data.provenance.checked_store`.
    """
    store = FeatureStore.open(store_folder(task, set_name), store_settings(task), verify)
    lengths.complete(store, Path(task.dataset_dir), task.dataset, set_name)
    return checked_store(store, task.dataset_dir, lambda: plan_items(task, set_name))


def is_extracted(task: ExtractionTask, set_name: str) -> bool:
    """Whether the features of a set are finished, with whatever settings."""
    return (store_folder(task, set_name) / MANIFEST).is_file()


def place_of(store: FeatureStore, name: str, set_name: str) -> Attributes:
    """Says where a recording belongs: as `recordings.csv` told when it was extracted, or else as
    its name does.

    Args:
        store: what it was extracted into.
        name: of the recording.
        set_name: "dev" or "eval", see `parse_name`.

    Raises:
        DataError: neither tells.
    """
    facts = store.facts.get(name, {})
    if "split" in facts:
        return Attributes(*(facts[each] for each in Attributes._fields))
    return parse_name(name, set_name)


def stored_members(stores: Sequence[FeatureStore]) -> dict[int, dict[str, str]]:
    """By split, one recording of each group that was told when they were extracted."""
    facts = {name: known for store in stores for name, known in store.facts.items()}
    return group_members(
        (known["split"], name, known.get(lengths.GROUP))
        for name, known in facts.items()
        if "split" in known
    )


def store_folder(task: ExtractionTask, set_name: str) -> Path:
    """Folder of the shards of a set."""
    return (
        Path(task.feature_dir)
        / f"{task.dataset.format}_{set_name}_{task.features.kind}{task.features.store_suffix}"
    )


def store_settings(task: ExtractionTask) -> dict[str, Any]:
    """All that the shards depend on; not what only changes how they are read, nor where they
    are."""
    dataset = task.dataset
    only_if_set = (
        {"skip_silent": True} if dataset.skip_silent else {}
    )  # stores of other tasks stay as they are
    return {
        "form": _FORM,
        "label_rule": task.features.label_rule,
        "dataset": {
            "format": dataset.format,
            "classes": list(dataset.classes),
            "sample_rate_hz": dataset.sample_rate_hz,
            "channels": dataset.channels,
            "recording_s": dataset.recording_s,
            "label_hop_s": dataset.label_hop_s,
            **only_if_set,
        },
        "features": task.features.content(),
        "recordings_per_shard": task.pipeline.recordings_per_shard,
    }


def example_schema(dataset: DatasetConfig, features: FeatureConfig) -> ExampleSchema:
    """The arrays of one recording: features or audio, labels at the hop of the features, events, if
    it has labels."""
    n_classes, frontend = (
        len(dataset.classes),
        frontend_of(features, dataset.sample_rate_hz, dataset.channels),
    )
    return ExampleSchema(
        {
            **extraction.input_specs(
                frontend,
                features.stored_dtype,
                feature_shape(features, dataset.sample_rate_hz, dataset.channels),
            ),
            "activity": ArraySpec("uint8", (None, n_classes)),
            "azimuth_deg": ArraySpec("int16", (None, n_classes)),
            "elevation_deg": ArraySpec("int16", (None, n_classes)),
            "events": ArraySpec("float64", (None, 6)),
            "labelled": ArraySpec("uint8", ()),
        }
    )


def _run_set(
    task: ExtractionTask,
    set_name: str,
    recordings: Sequence[Recording],
    overwrite: bool,
    progress: bool,
) -> FeatureStore:
    facts, rate_hz = lengths.facts_of(recordings), task.dataset.sample_rate_hz
    known = [lengths.known_samples(each) for each in facts.values()]
    seconds = [None if samples is None else samples / rate_hz for samples in known]
    lengths.log_lengths(seconds, task.dataset, store_folder(task, set_name))
    return extraction.extract(
        store_folder(task, set_name),
        [_item(recording, facts[recording.name]) for recording in recordings],
        ExampleMaker(task.dataset, task.features),
        example_schema(task.dataset, task.features),
        store_settings(task),
        parallel=task.parallel,
        recordings_per_shard=task.pipeline.recordings_per_shard,
        skip=(SilentRecordingError,) if task.dataset.skip_silent else (),
        overwrite=overwrite,
        progress=progress,
    )


def plan_items(task: ExtractionTask, set_name: str) -> list[extraction.Item]:
    """Lists what there is to extract of a set.

    Raises:
        DataError: the dataset is not complete or cannot be used, see `find_recordings`.
    """
    check_finished(Path(task.dataset_dir))
    recordings = find_recordings(task.dataset_dir, task.dataset.format, set_name)
    return [_item(each, lengths.listed_facts(each)) for each in recordings]


def all_items(task: ExtractionTask, set_names: Sequence[str]) -> list[extraction.Item]:
    """Lists what there is to extract of several sets, see `plan_items`."""
    return [item for name in set_names for item in plan_items(task, name)]


def _item(recording: Recording, facts: Mapping[str, int | str | None]) -> extraction.Item:
    labels = (recording.metadata_path,) if recording.metadata_path else ()
    sources = (recording.audio_path, *labels)
    return extraction.Item(
        recording.name, str(recording.split), sources, recording, facts=facts, labels=labels
    )


def _no_events() -> Events:
    return Events.from_array(np.zeros((0, 6)))

"""Recordings of a SELD task to shards, and shards to stores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from common.audio.files import read_audio
from common.data.extraction import Item, input_arrays, input_specs
from common.data.family_store import ExtractionTask, FamilyStore
from common.data.feature_store import FeatureStore
from common.data.tfrecord import ArraySpec, ExampleSchema
from common.datasets import groups as source_groups
from common.errors import DataError
from common.features.settings import feature_shape, frontend_of
from common.simulation.dataset_folder import check_finished
from common.training.run_directory import RunTest
from seld.config import TaskConfig
from seld.dataset import DatasetConfig, Events, find_recordings, parse_name, read_labels
from seld.features import FeatureConfig, compute_features, prepare_audio
from seld.labels import Rule, regression_labels
from seld.recording_list import LIST_NAME, Attributes, Recording, group_members
from seld.recordings import lengths
from seld.recordings.preconditions import check_sets, check_settings


class SilentRecordingError(DataError):
    """A recording holds only zeros."""


@dataclass(frozen=True)
class ExampleMaker:
    """Computes the arrays of one recording; sent to the processes that do the work."""

    dataset: DatasetConfig
    features: FeatureConfig

    def __call__(self, item: Item) -> dict[str, np.ndarray]:
        """Returns the arrays of `example_schema` for a recording, and always its features.

        Raises:
            DataError: recording or metadata cannot be used.
            SilentRecordingError: all samples are zero, and the settings leave such recordings out.
        """
        recording: Recording = item.payload
        dataset = self.dataset
        audio = read_audio(recording.audio_path, dataset.sample_rate_hz, dataset.channels)
        if dataset.skip_silent and not audio.any():
            raise SilentRecordingError(
                f"{recording.audio_path} is silent: all of its samples are zero."
            )
        inputs = self._inputs(audio)
        events = Events.from_array(np.zeros((0, 6)))
        if recording.metadata_path is not None:
            length_s = len(audio) / dataset.sample_rate_hz
            events = read_labels(recording.metadata_path, dataset, length_s)
        # Scores make their own reference from the events.
        n_frames, features = len(inputs["features"]), self.features
        labels = regression_labels(  # (T, K) each
            events, n_frames, features.hop_s, dataset.n_classes, rule_of(dataset, features)
        )
        labelled = np.array(recording.metadata_path is not None, np.uint8)
        table = events.to_array(event_columns(dataset))
        return {**inputs, **labels, "events": table, "labelled": labelled}

    def _inputs(self, audio: np.ndarray) -> dict[str, np.ndarray]:
        """The features of a recording (S, C), and its audio if the model computes them."""
        dataset, features, recorded_hz = self.dataset, self.features, self.dataset.sample_rate_hz
        rate_hz, recording_s = features.rate_hz(recorded_hz), dataset.recording_s
        if not dataset.pad_short:
            recording_s = min(recording_s, len(audio) / recorded_hz)
        return input_arrays(
            prepare_audio(audio, features, recorded_hz, recording_s),
            frontend_of(features, recorded_hz, dataset.channels),
            # Not rounded yet: the writer does that, many times faster than numpy.
            lambda prepared: compute_features(prepared, features, rate_hz, recording_s, "float32"),
        )


class SeldStore(FamilyStore):
    """Stores of SELD recordings, one for each set of a dataset, with a group for each split."""

    def folder_name(self, task: ExtractionTask, set_name: str) -> str:
        return f"{task.dataset.format}_{set_name}_{task.features.kind}"

    def content(self, task: ExtractionTask, set_name: str) -> dict[str, Any]:
        dataset: DatasetConfig = task.dataset
        # Only if set: stores of other tasks stay as they are.
        others: dict[str, Any] = {"skip_silent": True} if dataset.skip_silent else {}
        if dataset.is_framewise:  # layouts with the same files share their features
            declared = dataset.annotation_format
            others["annotations"] = {"columns": declared.columns, "metres": declared.metres}
        others |= {} if dataset.pad_short else {"pad_short": False}
        names = ("format", "classes", "sample_rate_hz", "channels", "recording_s", "label_hop_s")
        stored = {name: getattr(dataset, name) for name in names}
        stored["classes"] = list(dataset.classes)
        others |= dataset.mapping_content
        return {"label_rule": rule_of(dataset, task.features), "dataset": {**stored, **others}}

    def items(self, task: ExtractionTask, set_name: str) -> list[Item]:
        check_finished(Path(task.dataset_dir))
        recordings = find_recordings(task.dataset_dir, task.dataset, set_name)
        return [_item(each, lengths.listed_facts(each)) for each in recordings]

    def schema(self, task: ExtractionTask) -> ExampleSchema:
        return example_schema(task.dataset, task.features)

    def maker(self, task: ExtractionTask) -> ExampleMaker:
        return ExampleMaker(task.dataset, task.features)

    def open(self, task: ExtractionTask, set_name: str, verify: bool = False) -> FeatureStore:
        store = super().open(task, set_name, verify)
        lengths.complete(store, Path(task.dataset_dir), task.dataset, set_name)
        return store


_STORE = SeldStore()
open_store, is_extracted, all_items = _STORE.open, _STORE.is_extracted, _STORE.all_items
store_folder = _STORE.folder


def run(
    task: ExtractionTask,
    set_names: Sequence[str] = ("dev",),
    overwrite: bool = False,
    progress: bool = True,
    whole_task: bool = True,
) -> list[FeatureStore]:
    """Extracts the features of whole sets; finished shards are kept.

    With `dataset.skip_silent`, recordings of only zeros are left out; the log and
    `FeatureStore.skipped` list them.

    Args:
        task: the task's settings.
        set_names: "dev", "eval" or both.
        overwrite: make all shards again.
        progress: show a bar for each set.
        whole_task: check the dataset for the folds and scores of the task before any work.

    Returns:
        One store for each set.

    Raises:
        ConfigError: settings that contradict each other.
        DataError: recordings, metadata or shards cannot be used, see
            `common.data.extraction.extract`, or do not suit the task, see
            `seld.recordings.preconditions`.
    """
    check_settings(task.dataset, task.features)
    check_finished(Path(task.dataset_dir))
    dataset_dir = Path(task.dataset_dir)
    sets = {name: find_recordings(dataset_dir, task.dataset, name) for name in set_names}
    if whole_task and isinstance(task, TaskConfig):
        check_sets(task, sets)
        recordings = [each for members in sets.values() for each in members]
        groups = group_members((each.split, each.name, each.group) for each in recordings)
        where = str(dataset_dir / LIST_NAME)
        source_groups.refuse(source_groups.fold_problems(task.folds, groups, where))
    skip = (SilentRecordingError,) if task.dataset.skip_silent else ()
    stores = []
    for set_name, recordings in sets.items():
        facts, rate_hz = lengths.facts_of(recordings), task.dataset.sample_rate_hz
        known = [lengths.known_samples(each) for each in facts.values()]
        seconds = [None if samples is None else samples / rate_hz for samples in known]
        lengths.log_lengths(seconds, task.dataset, store_folder(task, set_name))
        items = [_item(recording, facts[recording.name]) for recording in recordings]
        stores.append(_STORE.extract(task, set_name, items, skip, overwrite, progress))
    return stores


def sets_of_tests(tests: Sequence[RunTest]) -> list[str]:
    """Sets of a dataset that have the recordings of some tests; the evaluation set is split 0."""
    splits = {split for test in tests for split in test.splits or ("",)}
    return [name for name, has in (("dev", splits - {"0"}), ("eval", "0" in splits)) if has]


def place_of(store: FeatureStore, name: str, dataset: DatasetConfig) -> Attributes:
    """Attributes of a recording, from `recordings.csv` at extraction, or else from its name.

    Args:
        store: its features.
        name: of the recording.
        dataset: its layout and mode, see `parse_name`.

    Raises:
        DataError: neither has them.
    """
    facts = store.facts.get(name, {})
    if "split" in facts:
        return Attributes(*(facts[each] for each in Attributes._fields))
    return parse_name(name, dataset.mode, dataset.layout)


def stored_members(stores: Sequence[FeatureStore]) -> dict[int, dict[str, str]]:
    """By split, one recording of each group that was known when they were extracted."""
    facts = {name: known for store in stores for name, known in store.facts.items()}
    listed = {name: known for name, known in facts.items() if "split" in known}
    return group_members((each["split"], n, each.get(lengths.GROUP)) for n, each in listed.items())


def example_schema(dataset: DatasetConfig, features: FeatureConfig) -> ExampleSchema:
    """Arrays of one recording: features or audio, labels at the features' hop length, events."""
    n_classes = len(dataset.classes)
    sizes = features, dataset.sample_rate_hz, dataset.channels
    inputs = input_specs(frontend_of(*sizes), features.stored_dtype, feature_shape(*sizes))
    return ExampleSchema(
        {
            **inputs,
            "activity": ArraySpec("uint8", (None, n_classes)),
            "azimuth_deg": ArraySpec("int16", (None, n_classes)),
            "elevation_deg": ArraySpec("int16", (None, n_classes)),
            "events": ArraySpec("float64", (None, event_columns(dataset))),
            "labelled": ArraySpec("uint8", ()),
        }
    )


def rule_of(dataset: DatasetConfig, features: FeatureConfig) -> Rule:
    """Frames that an event covers in the stored labels; label frames have whole ones."""
    return "half_open" if dataset.is_framewise else features.label_rule


def event_columns(dataset: DatasetConfig) -> int:
    """Columns of stored events, see `seld.dataset.Events`; in 2019 without a source."""
    return len(fields(Events)) if dataset.is_framewise else 6


def _item(recording: Recording, facts: Mapping[str, int | str | None]) -> Item:
    labels = (recording.metadata_path,) if recording.metadata_path else ()
    sources = (recording.audio_path, *labels)
    name, split = recording.name, str(recording.split)
    return Item(name, split, sources, recording, facts=facts, labels=labels)

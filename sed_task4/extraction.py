"""Extraction of task 4: clips to shards, and one store for each subset of the dataset."""

import logging
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from common.audio.files import read_mono
from common.audio.formats import stem_of
from common.data.extraction import Item, input_arrays, input_specs
from common.data.family_store import ExtractionTask, FamilyStore
from common.data.feature_store import FeatureStore
from common.data.tfrecord import ArraySpec, ExampleSchema
from common.datasets.groups import refuse
from common.datasets.lengths import length_facts, seconds_of
from common.errors import ConfigError, DataError
from common.features.settings import feature_shape, frontend_of
from common.io.files import write_text
from common.simulation.dataset_folder import check_finished
from sed_task4.clips.clip_groups import GROUP, group_problems
from sed_task4.clips.embeddings import find_embeddings, read_embeddings
from sed_task4.clips.layouts import has_soft_labels, masks_classes
from sed_task4.config import TaskConfig
from sed_task4.dataset import (
    SOFT_COLUMNS,
    Clip,
    DatasetConfig,
    certain_events,
    find_clips,
    labels_of,
    warn_absent_classes,
)
from sed_task4.features import (
    FeatureConfig,
    compute_features,
    level_statistics_array,
    prepare_audio,
)
from sed_task4.labels import class_mask, event_array, frame_activity, held, multi_hot, soft_activity

logger = logging.getLogger(__name__)

EMBEDDINGS, VALID_CLASSES = "embeddings", "valid_classes"  # further inputs of networks
ACCESS_ERRORS = "item_access_error.csv"  # tab-separated, so also usable as files_to_remove.csv


@dataclass(frozen=True)
class ExampleMaker:
    """Computes the arrays of one clip; sent to the worker processes."""

    dataset: DatasetConfig
    features: FeatureConfig

    def __call__(self, item: Item) -> dict[str, np.ndarray]:
        """Returns the arrays of `example_schema` for the clip in `item.payload`, with features."""
        clip: Clip = item.payload
        rate_hz, clip_s = self.dataset.sample_rate_hz, self.dataset.clip_s
        audio = read_mono(clip.audio_path, rate_hz)
        inputs = clip_inputs(audio, self.features, rate_hz, clip_s)
        inside = self.features.frames_inside(len(audio), rate_hz, clip_s)
        n_frames = len(inputs["features"])
        levels = level_statistics_array(inputs["features"], self.features)
        if levels and self.features.on_device:  # statistics are of the levels alone
            del inputs["features"]
        if self.dataset.embeddings is not None and clip.embeddings is not None:
            inputs[EMBEDDINGS] = read_embeddings(clip.embeddings, self.dataset.embeddings)
        labels = clip_labels(clip, self.dataset, self.features, n_frames, inside)
        return inputs | levels | labels


def clip_inputs(
    audio: np.ndarray, features: FeatureConfig, rate_hz: int, clip_s: float | None = None
) -> dict[str, np.ndarray]:
    """Features of a clip (S, 1), and its audio if the model computes them."""
    return input_arrays(
        prepare_audio(audio, features, rate_hz, clip_s),
        frontend_of(features, rate_hz),
        lambda prepared: compute_features(prepared, features, rate_hz, clip_s),
    )


def clip_labels(
    clip: Clip, dataset: DatasetConfig, features: FeatureConfig, n_frames: int, inside: int
) -> dict[str, np.ndarray]:
    """Makes the label arrays of one clip.

    Args:
        clip: weakly or strongly labelled, or unlabelled.
        dataset: the classes, K of them.
        features: frame rate, and the rule for frames that an event covers in part.
        n_frames: frames of the features, T.
        inside: frames that lie in the recording; the others are padding.

    Returns:
        `activity` int8 (T, K), or float32 in layouts with soft labels, -1 in padding, without
        labels of frames and for classes that nobody listened for; `tags` int8 (K,), those of the
        events if there are no weak ones, -1 without any; `events` float64 (n, 3), class, onset and
        offset in seconds, of soft labels those above `CERTAIN`; `labelled` uint8, 1 for labels of
        frames; and where subsets have classes of their own, `valid_classes` uint8 (K,), 1 for those
        that the labels of the clip are about.
    """
    n_classes, certain = len(dataset.classes), certain_events(clip)
    activity = np.full((n_frames, n_classes), -1, _activity_type(dataset))
    events, tags = np.zeros((0, 3)), np.full(n_classes, -1, np.int8)
    if certain is not None:
        events = event_array(certain, dataset.classes)
        activity[:inside] = held_activity(events, inside, n_classes, features, dataset)
    if clip.events is not None and clip.is_soft:
        rows = event_array(clip.events, dataset.classes)
        confidences = clip.events["confidence"].to_numpy()
        activity[:inside] = held_activity(rows, inside, n_classes, features, dataset, confidences)
    if clip.events is not None or clip.tags is not None:
        tags = multi_hot(labels_of(clip), dataset.classes)
    if clip.known is not None:
        unknown = ~class_mask(clip.known, dataset.classes)
        activity[:, unknown], tags[unknown] = -1, -1
    labelled = np.array(clip.events is not None, np.uint8)
    arrays = {"activity": activity, "tags": tags, "events": events, "labelled": labelled}
    if masks_classes(dataset.layout):
        known = dataset.classes if clip.known is None else clip.known
        arrays[VALID_CLASSES] = class_mask(known, dataset.classes).astype(np.uint8)
    return arrays


def held_activity(
    events: np.ndarray,
    n_frames: int,
    n_classes: int,
    features: FeatureConfig,
    dataset: DatasetConfig,
    confidences: np.ndarray | None = None,
) -> np.ndarray:
    """Labels of the frames of a clip (T, K), from its events (n, 3) by the settings of the labels.

    Args:
        events: class, onset and offset in seconds.
        n_frames: feature frames, T.
        n_classes: K.
        features: label rule, and feature frames per label frame.
        dataset: sample rate.
        confidences: (n,), for soft labels, float32; None: int8, 0 or 1.
    """
    pooling, rule = features.label_frames, features.label_rule
    n_labels = -(-n_frames // pooling)
    published = rule in ("dcase2019", "desed")  # which round whole samples and hops
    rate = features.frames_per_s / pooling
    frames = features.label_grid(dataset.sample_rate_hz) if published else rate
    if confidences is not None:
        activity = soft_activity(events, confidences, n_labels, frames, n_classes, rule)
    else:
        rounding = features.offset_rounding
        activity = frame_activity(events, n_labels, frames, n_classes, rule, rounding)
    return held(activity, pooling, n_frames)


def _activity_type(dataset: DatasetConfig) -> str:
    """Stored type of labels of frames: whole numbers, or floats where a subset has soft labels."""
    return "float32" if has_soft_labels(dataset.layout) else "int8"


class ClipStore(FamilyStore):
    """Stores of clips, one for each subset of the dataset, which is also its only group."""

    def folder_name(self, task: ExtractionTask, set_name: str) -> str:
        name = f"{task.dataset.layout}_{set_name}_{task.features.kind}"
        embeddings = task.dataset.embeddings
        return name if embeddings is None else f"{name}_with_{Path(embeddings.folder).name}"

    def content(self, task: ExtractionTask, set_name: str) -> dict[str, Any]:
        dataset: DatasetConfig = task.dataset
        names, classes = ("sample_rate_hz", "clip_s", "max_clips"), list(dataset.classes)
        numbers = {name: getattr(dataset, name) for name in names}
        facts: dict[str, Any] = {"layout": dataset.layout, "subset": set_name, "classes": classes}
        if dataset.embeddings is not None:  # whose folder may move
            facts |= {"embeddings": dataset.embeddings.model_dump(exclude={"folder"})}
        return {"dataset": facts | numbers | dataset.mapping_content}

    def items(self, task: ExtractionTask, set_name: str) -> list[Item]:
        return self.items_and_missing(task, set_name)[0]

    def items_and_missing(
        self, task: ExtractionTask, set_name: str
    ) -> tuple[list[Item], list[str]]:
        """Lists the clips of a subset, and the names of those without audio.

        Raises:
            DataError: the dataset is incomplete or cannot be used, see `find_clips`.
        """
        check_finished(Path(task.dataset_dir))
        clips, missing = find_clips(task.dataset_dir, task.dataset, set_name)
        clips = _with_embeddings(clips[: task.dataset.max_clips], task.dataset, set_name)
        return [_item(clip) for clip in clips], missing

    def schema(self, task: ExtractionTask) -> ExampleSchema:
        return example_schema(task.dataset, task.features)

    def maker(self, task: ExtractionTask) -> ExampleMaker:
        return ExampleMaker(task.dataset, task.features)

    def statistics_of(self, task: ExtractionTask) -> str:
        return task.features.entry.statistics_of


_STORE = ClipStore()
open_store, is_extracted, all_items = _STORE.open, _STORE.is_extracted, _STORE.all_items
store_folder = _STORE.folder


def run(
    task: ExtractionTask,
    set_names: Sequence[str] = ("weak",),
    overwrite: bool = False,
    progress: bool = True,
) -> list[FeatureStore]:
    """Extracts the features of whole subsets; finished shards are kept.

    Clips whose audio is missing, and with `dataset.skip_unreadable` those that cannot be read, are
    left out and listed in `item_access_error.csv` in the folder of the store.

    Args:
        task: the task's settings.
        set_names: subsets, e.g. "weak", "validation".
        overwrite: make all shards again.
        progress: show a bar for each subset.

    Returns:
        One store for each subset, which is also the name of its only group.

    Raises:
        ConfigError: settings that contradict each other.
        DataError: clips, metadata or shards cannot be used, see `common.data.extraction.extract`.
    """
    task.features.check(task.dataset.sample_rate_hz)
    if task.features.n_frames(task.dataset.clip_s) < 2:
        seconds = task.dataset.clip_s
        raise ConfigError(f"`dataset.clip_s` must hold at least two frames. Received: {seconds}.")
    plans = {set_name: _STORE.items_and_missing(task, set_name) for set_name in set_names}
    if isinstance(task, TaskConfig):
        clips = {name: [item.payload for item in items] for name, (items, _) in plans.items()}
        refuse(group_problems(task.sets, clips, task.seed, str(task.dataset_dir)))
    stores = []
    for name, (items, missing) in plans.items():
        stores.append(_run_set(task, name, items, missing, overwrite, progress))
    return stores


def example_schema(dataset: DatasetConfig, features: FeatureConfig) -> ExampleSchema:
    """Arrays of one clip: features or audio, frame-level labels, tags, events, strong or not."""
    n_classes, frontend = len(dataset.classes), frontend_of(features, dataset.sample_rate_hz)
    shape = feature_shape(features, dataset.sample_rate_hz)
    further: dict[str, ArraySpec] = {}
    if dataset.embeddings is not None:
        further[EMBEDDINGS] = ArraySpec(dataset.embeddings.dtype, dataset.embeddings.shape)
    if masks_classes(dataset.layout):
        further[VALID_CLASSES] = ArraySpec("uint8", (n_classes,))
    return ExampleSchema(
        {
            **input_specs(frontend, features.dtype, shape),
            "activity": ArraySpec(_activity_type(dataset), (None, n_classes)),
            "tags": ArraySpec("int8", (n_classes,)),
            "events": ArraySpec("float64", (None, 3)),
            "labelled": ArraySpec("uint8", ()),
            **further,
        }
    )


def _run_set(
    task: ExtractionTask,
    set_name: str,
    items: Sequence[Item],
    missing: Sequence[str],
    overwrite: bool,
    progress: bool,
) -> FeatureStore:
    clips = [item.payload for item in items]
    warn_absent_classes(clips, task.dataset.classes, set_name)
    folder = store_folder(task, set_name)
    problems = dict.fromkeys(missing, "no such file")
    _list_problems(folder, problems)
    facts = [{**item.facts, **length_facts(item.payload.audio_path)} for item in items]
    items = [replace(item, facts=each) for item, each in zip(items, facts, strict=True)]
    _log_lengths(items, task.dataset.clip_s, 1 / task.features.frames_per_s)
    skip = (DataError,) if task.dataset.skip_unreadable else ()
    store = _STORE.extract(task, set_name, items, skip, overwrite, progress)
    problems |= store.skipped
    _list_problems(folder, problems)
    if problems:
        listed = folder / ACCESS_ERRORS
        logger.warning("%s: %d clips are left out, see %s.", set_name, len(problems), listed)
    return store


def _with_embeddings(clips: list[Clip], dataset: DatasetConfig, subset: str) -> list[Clip]:
    """Clips with the places of their embeddings, if any are wanted; DataError if some lack them."""
    if dataset.embeddings is None:
        return clips
    stems = [stem_of(clip.audio_path.name) for clip in clips]
    places = find_embeddings(dataset.embeddings, subset, stems)
    pairs = zip(clips, stems, strict=True)
    return [replace(clip, embeddings=places[stem]) for clip, stem in pairs]


def _item(clip: Clip) -> Item:
    """Item of a clip; the checksum of its labels, which have no file, changes with them."""
    rows: list[list[Any]] = []
    if clip.events is not None:
        columns = (clip.events[name].tolist() for name in SOFT_COLUMNS[1:] if name in clip.events)
        rows = [list(row) for row in zip(*columns, strict=True)]
    facts_of_labels = (clip.tags, clip.events is not None, rows)
    known = repr(facts_of_labels if clip.known is None else (*facts_of_labels, clip.known))
    labels = f"labels {zlib.crc32(known.encode()):08x}"
    facts = {GROUP: clip.group} if clip.group is not None else {}
    sources, place = [clip.audio_path], clip.embeddings
    if place is not None and place.row is None:
        sources.append(place.path)
    elif place is not None:  # gigabytes, which are not read to be compared
        labels += f", embeddings {place.digest}"
    return Item(clip.name, clip.subset, tuple(sources), clip, labels, facts=facts)


def _list_problems(folder: Path, problems: Mapping[str, str]) -> None:
    """Lists clips that are left out, with the reasons, in the folder of the store."""
    path = folder / ACCESS_ERRORS
    if not problems:
        path.unlink(missing_ok=True)
        return
    rows = [f"{name}\t{' '.join(reason.split())}\n" for name, reason in sorted(problems.items())]
    write_text(path, "filename\treason\n" + "".join(rows))


def _log_lengths(clips: Sequence[Item], clip_s: float, tolerance_s: float) -> None:
    """Logs the number of clips that are too short or too long, by the lengths in their facts."""
    known = [(clip.name, seconds_of(clip.facts)) for clip in clips]  # None: reading it will fail
    shorter = [name for name, each_s in known if each_s and each_s < clip_s - tolerance_s]
    longer = [name for name, each_s in known if each_s and each_s > clip_s + tolerance_s]
    for names, effect in ((shorter, "shorter, padded and masked"), (longer, "longer, cut")):
        if names:
            start = f"{clips[0].group}: {len(names)} clips are {effect}"
            logger.info("%s to %g s, such as %s.", start, clip_s, names[0])

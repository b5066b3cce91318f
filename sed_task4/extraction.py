"""Clips of task 4 to shards, and shards to stores: one store for each subset of the dataset."""

import logging
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from common.audio.files import read_mono
from common.data import extraction
from common.data.feature_store import MANIFEST, FeatureStore
from common.data.provenance import checked_store
from common.data.tfrecord import ArraySpec, ExampleSchema
from common.datasets.groups import refuse
from common.datasets.lengths import length_facts, seconds_of
from common.errors import ConfigError, DataError
from common.features.settings import feature_shape, frontend_of
from common.io.files import write_text
from common.settings.parallel import ParallelConfig
from common.settings.pipeline import PipelineConfig
from common.simulation.dataset_folder import check_finished
from sed_task4.clip_groups import GROUP, group_problems
from sed_task4.config import SetsConfig
from sed_task4.dataset import Clip, DatasetConfig, find_clips, labels_of, warn_absent_classes
from sed_task4.features import FeatureConfig, compute_features, prepare_audio
from sed_task4.labels import event_array, frame_activity, many_hot

logger = logging.getLogger(__name__)

ACCESS_ERRORS = (  # tab-separated, so that it also serves as files_to_remove.csv
    "item_access_error.csv"
)
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


@runtime_checkable
class TrainedTask(Protocol):
    """The settings of a task that also say what the clips serve for."""

    @property
    def sets(self) -> SetsConfig: ...
    @property
    def seed(self) -> int: ...


@dataclass(frozen=True)
class ExampleMaker:
    """Makes the arrays of one clip; sent to the processes that do the work."""

    dataset: DatasetConfig
    features: FeatureConfig

    def __call__(self, item: extraction.Item) -> dict[str, np.ndarray]:
        """Returns the arrays of `example_schema` for the clip in `item.payload`, and features in
        any case."""
        clip: Clip = item.payload
        rate_hz, clip_s = self.dataset.sample_rate_hz, self.dataset.clip_s
        audio = read_mono(clip.audio_path, rate_hz)
        inputs = clip_inputs(audio, self.features, rate_hz, clip_s)
        inside = self.features.frames_inside(len(audio), rate_hz, clip_s)
        return inputs | clip_labels(
            clip, self.dataset, self.features, len(inputs["features"]), inside
        )


def clip_inputs(
    audio: np.ndarray, features: FeatureConfig, rate_hz: int, clip_s: float | None = None
) -> dict[str, np.ndarray]:
    """The features of a clip (S, 1), and its audio where the model computes them; arguments of
    `extract_features`."""
    return extraction.input_arrays(
        prepare_audio(audio, features, rate_hz, clip_s),
        frontend_of(features, rate_hz),
        lambda prepared: compute_features(prepared, features, rate_hz, clip_s),
    )


def clip_labels(
    clip: Clip, dataset: DatasetConfig, features: FeatureConfig, n_frames: int, inside: int
) -> dict[str, np.ndarray]:
    """Makes the label arrays of one clip.

    Args:
        clip: with its weak or strong labels, or none.
        dataset: the classes, K of them.
        features: frame rate, and which frames an event covers.
        n_frames: frames of the features, T.
        inside: frames that lie in the recording; the others are padding.

    Returns:
        `activity` int8 (T, K), -1 in padding and without strong labels; `tags` int8 (K,), those of
        the events where there are no weak ones, -1 without any; `events` float64 (n, 3), class,
        onset and offset in seconds; `labelled` uint8, whether the strong labels are known.
    """
    n_classes, events = len(dataset.classes), np.zeros((0, 3))
    activity = np.full((n_frames, n_classes), -1, np.int8)
    if clip.events is not None:
        events = event_array(clip.events, dataset.classes)
        activity[:inside] = frame_activity(
            events, inside, features.frames_per_s, n_classes, features.label_rule
        )
    tags = np.full(n_classes, -1, np.int8)
    if clip.events is not None or clip.tags is not None:
        tags = many_hot(labels_of(clip), dataset.classes)
    labelled = np.array(clip.events is not None, np.uint8)
    return {"activity": activity, "tags": tags, "events": events, "labelled": labelled}


def run(
    task: ExtractionTask,
    set_names: Sequence[str] = ("weak",),
    overwrite: bool = False,
    progress: bool = True,
) -> list[FeatureStore]:
    """Extracts the features of whole subsets; what is finished is not done twice.

    Clips whose audio is missing, and with `dataset.skip_unreadable` those that cannot be read, are
    left out and listed in `item_access_error.csv` in the folder of the store.

    Args:
        task: the task's settings.
        set_names: subsets of the dataset, e.g. "weak", "validation".
        overwrite: make all shards anew.
        progress: show a bar for each subset.

    Returns:
        One store for each subset, which is also the name of its only group.

    Raises:
        ConfigError: settings that cannot stand together.
        DataError: clips, metadata or shards that cannot be used, see `common.data.extraction.extract`.
    """
    check_task(task)
    plans = {set_name: plan_items(task, set_name) for set_name in set_names}
    if isinstance(task, TrainedTask):
        clips = {
            set_name: [item.payload for item in items] for set_name, (items, _) in plans.items()
        }
        refuse(group_problems(task.sets, clips, task.seed, str(task.dataset_dir)))
    return [
        _run_set(task, name, items, missing, overwrite, progress)
        for name, (items, missing) in plans.items()
    ]


def open_store(task: ExtractionTask, set_name: str, verify: bool = False) -> FeatureStore:
    """Opens the finished features of a subset, and compares them with its clips where these are at
    hand.

    Raises:
        DataError: they are missing, not finished, damaged or of other settings, see
            `FeatureStore.open`; or of other clips or labels, see `common.data.provenance.checked_store`.
    """
    store = FeatureStore.open(store_folder(task, set_name), store_settings(task, set_name), verify)
    return checked_store(store, task.dataset_dir, lambda: plan_items(task, set_name)[0])


def is_extracted(task: ExtractionTask, set_name: str) -> bool:
    """Whether the features of a subset are finished, with whatever settings."""
    return (store_folder(task, set_name) / MANIFEST).is_file()


def store_folder(task: ExtractionTask, set_name: str) -> Path:
    """Folder of the shards of a subset."""
    return (
        Path(task.feature_dir)
        / f"{task.dataset.layout}_{set_name}_{task.features.kind}{task.features.store_suffix}"
    )


def store_settings(task: ExtractionTask, set_name: str) -> dict[str, Any]:
    """All that the shards depend on; not what only changes how they are read, nor where they
    are."""
    dataset = task.dataset
    return {
        "form": _FORM,
        "dataset": {
            "layout": dataset.layout,
            "subset": set_name,
            "classes": list(dataset.classes),
            "sample_rate_hz": dataset.sample_rate_hz,
            "clip_s": dataset.clip_s,
            "max_clips": dataset.max_clips,
        },
        "features": task.features.content(),
        "recordings_per_shard": task.pipeline.recordings_per_shard,
    }


def example_schema(dataset: DatasetConfig, features: FeatureConfig) -> ExampleSchema:
    """The arrays of one clip: features or audio, frame-wise labels, tags, events, if the strong
    labels are known."""
    n_classes, frontend = len(dataset.classes), frontend_of(features, dataset.sample_rate_hz)
    return ExampleSchema(
        {
            **extraction.input_specs(
                frontend, features.dtype, feature_shape(features, dataset.sample_rate_hz)
            ),
            "activity": ArraySpec("int8", (None, n_classes)),
            "tags": ArraySpec("int8", (n_classes,)),
            "events": ArraySpec("float64", (None, 3)),
            "labelled": ArraySpec("uint8", ()),
        }
    )


def check_task(task: ExtractionTask) -> None:
    """Refuses settings that cannot stand together, before any work starts.

    Raises:
        ConfigError: says which.
    """
    task.features.check(task.dataset.sample_rate_hz)
    if task.features.n_frames(task.dataset.clip_s) < 2:
        raise ConfigError(
            f"`dataset.clip_s` must hold at least two frames. Received: {task.dataset.clip_s}."
        )


def _run_set(
    task: ExtractionTask,
    set_name: str,
    items: Sequence[extraction.Item],
    missing: Sequence[str],
    overwrite: bool,
    progress: bool,
) -> FeatureStore:
    clips = [item.payload for item in items]
    warn_absent_classes(clips, task.dataset.classes, set_name)
    folder = store_folder(task, set_name)
    problems = dict.fromkeys(missing, "no such file")
    _report(folder, problems)
    items = [
        replace(item, facts={**item.facts, **length_facts(item.payload.audio_path)})
        for item in items
    ]
    _note_lengths(items, task.dataset.clip_s, 1 / task.features.frames_per_s)
    store = extraction.extract(
        folder,
        items,
        ExampleMaker(task.dataset, task.features),
        example_schema(task.dataset, task.features),
        store_settings(task, set_name),
        parallel=task.parallel,
        recordings_per_shard=task.pipeline.recordings_per_shard,
        skip=(DataError,) if task.dataset.skip_unreadable else (),
        overwrite=overwrite,
        progress=progress,
    )
    problems |= store.skipped
    _report(folder, problems)
    if problems:
        logger.warning(
            "%s: %d clips are left out, %s names them.",
            set_name,
            len(problems),
            folder / ACCESS_ERRORS,
        )
    return store


def plan_items(task: ExtractionTask, set_name: str) -> tuple[list[extraction.Item], list[str]]:
    """Lists what there is to extract of a subset, and the names of clips that have no audio.

    Raises:
        DataError: the dataset is not complete or cannot be used, see `find_clips`.
    """
    check_finished(Path(task.dataset_dir))
    clips, missing = find_clips(task.dataset_dir, task.dataset, set_name)
    return [_item(clip) for clip in clips[: task.dataset.max_clips]], missing


def all_items(task: ExtractionTask, set_names: Sequence[str]) -> list[extraction.Item]:
    """Lists what there is to extract of several subsets, see `plan_items`."""
    return [item for name in set_names for item in plan_items(task, name)[0]]


def _item(clip: Clip) -> extraction.Item:
    """The labels are no file of their own: their checksum tells when they change."""
    rows: list[list[Any]] = []
    if clip.events is not None:
        columns = (clip.events[name].tolist() for name in ("onset", "offset", "event_label"))
        rows = [list(row) for row in zip(*columns, strict=True)]
    known = repr((clip.tags, clip.events is not None, rows))
    labels = f"labels {zlib.crc32(known.encode()):08x}"
    facts = {GROUP: clip.group} if clip.group is not None else {}
    return extraction.Item(clip.name, clip.subset, (clip.audio_path,), clip, labels, facts=facts)


def _report(folder: Path, problems: Mapping[str, str]) -> None:
    """Lists clips that are left out, and why, in the folder of the store."""
    path = folder / ACCESS_ERRORS
    if not problems:
        path.unlink(missing_ok=True)
        return
    rows = [f"{name}\t{' '.join(reason.split())}\n" for name, reason in sorted(problems.items())]
    write_text(path, "filename\treason\n" + "".join(rows))


def _note_lengths(clips: Sequence[extraction.Item], clip_s: float, tolerance_s: float) -> None:
    """Says in the log how many clips, whose facts tell their lengths, are shorter or longer than
    one should be."""
    shorter, longer = [], []
    for clip in clips:
        duration_s = seconds_of(clip.facts)
        if duration_s is None:  # reading it will say what is wrong
            continue
        if duration_s < clip_s - tolerance_s:
            shorter.append(clip.name)
        elif duration_s > clip_s + tolerance_s:
            longer.append(clip.name)
    for names, what in ((shorter, "shorter, padded and masked"), (longer, "longer, cut")):
        if names:
            subset = clips[0].group
            logger.info(
                "%s: %d clips are %s to %g s, such as %s.",
                subset,
                len(names),
                what,
                clip_s,
                names[0],
            )

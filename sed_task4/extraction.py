"""Clips of task 4 to shards, and shards to stores: one store for each subset of the dataset."""

import logging
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import soundfile

from common import extraction
from common.audio import read_mono
from common.errors import ConfigError, DataError
from common.feature_store import MANIFEST, FeatureStore
from common.files import write_text
from common.parallel import ParallelConfig
from common.pipeline_config import PipelineConfig
from common.source_groups import refuse
from common.tfrecord import ArraySpec, ExampleSchema
from sed_task4.clip_groups import GROUP, group_problems
from sed_task4.config import SetsConfig
from sed_task4.dataset import Clip, DatasetConfig, find_clips, labels_of, warn_absent_classes
from sed_task4.features import FeatureConfig, compute_features, feature_shape, frontend_of, prepare_audio
from sed_task4.labels import event_array, frame_activity, many_hot

logger = logging.getLogger(__name__)

ACCESS_ERRORS = "item_access_error.csv"  # tab-separated, so that it also serves as files_to_remove.csv
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
        """Returns the arrays of `example_schema` for the clip in `item.payload`, and features in any case."""
        clip: Clip = item.payload
        rate_hz, clip_s = self.dataset.sample_rate_hz, self.dataset.clip_s
        audio = read_mono(clip.audio_path, rate_hz)
        inputs = clip_inputs(audio, self.features, rate_hz, clip_s)
        inside = self.features.frames_inside(len(audio), rate_hz, clip_s)
        return inputs | clip_labels(clip, self.dataset, self.features, len(inputs["features"]), inside)


def clip_inputs(
    audio: np.ndarray, features: FeatureConfig, rate_hz: int, clip_s: float | None = None
) -> dict[str, np.ndarray]:
    """The features of a clip (S, 1), and its audio where the model computes them; arguments of `extract_features`."""
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
        `activity` int8 (T, K), -1 in padding and without strong labels; `tags` int8 (K,), those of the events where
        there are no weak ones, -1 without any; `events` float64 (n, 3), class, onset and offset in seconds;
        `labelled` uint8, whether the strong labels are known.
    """
    n_classes, events = len(dataset.classes), np.zeros((0, 3))
    activity = np.full((n_frames, n_classes), -1, np.int8)
    if clip.events is not None:
        events = event_array(clip.events, dataset.classes)
        activity[:inside] = frame_activity(events, inside, features.frames_per_s, n_classes, features.label_rule)
    tags = np.full(n_classes, -1, np.int8)
    if clip.events is not None or clip.tags is not None:
        tags = many_hot(labels_of(clip), dataset.classes)
    labelled = np.array(clip.events is not None, np.uint8)
    return {"activity": activity, "tags": tags, "events": events, "labelled": labelled}


def run(
    task: ExtractionTask, set_names: Sequence[str] = ("weak",), overwrite: bool = False, progress: bool = True
) -> list[FeatureStore]:
    """Extracts the features of whole subsets; what is finished is not done twice.

    Clips whose audio is missing, and with `dataset.skip_unreadable` those that cannot be read, are left out and listed
    in `item_access_error.csv` in the folder of the store.

    Args:
        task: the task's settings.
        set_names: subsets of the dataset, e.g. "weak", "validation".
        overwrite: make all shards anew.
        progress: show a bar for each subset.

    Returns:
        One store for each subset, which is also the name of its only group.

    Raises:
        ConfigError: settings that cannot stand together.
        DataError: clips, metadata or shards that cannot be used, see `common.extraction.extract`.
    """
    check_task(task)
    found = {set_name: find_clips(task.dataset_dir, task.dataset, set_name) for set_name in set_names}
    chosen = {set_name: clips[: task.dataset.max_clips] for set_name, (clips, _) in found.items()}
    if isinstance(task, TrainedTask):
        refuse(group_problems(task.sets, chosen, task.seed, str(task.dataset_dir)))
    return [_run_set(task, name, clips, found[name][1], overwrite, progress) for name, clips in chosen.items()]


def open_store(task: ExtractionTask, set_name: str, verify: bool = False) -> FeatureStore:
    """Opens the finished features of a subset.

    Raises:
        DataError: they are missing, not finished, damaged or of other settings, see `FeatureStore.open`.
    """
    return FeatureStore.open(store_folder(task, set_name), store_settings(task, set_name), verify)


def is_extracted(task: ExtractionTask, set_name: str) -> bool:
    """Whether the features of a subset are finished, with whatever settings."""
    return (store_folder(task, set_name) / MANIFEST).is_file()


def store_folder(task: ExtractionTask, set_name: str) -> Path:
    """Folder of the shards of a subset."""
    return Path(task.feature_dir) / f"{task.dataset.layout}_{set_name}_{task.features.kind}{task.features.store_suffix}"


def store_settings(task: ExtractionTask, set_name: str) -> dict[str, Any]:
    """All that the shards depend on; not what only changes how they are read, nor where they are."""
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
    """The arrays of one clip: features or audio, frame-wise labels, tags, events, if the strong labels are known."""
    n_classes, frontend = len(dataset.classes), frontend_of(features, dataset.sample_rate_hz)
    return ExampleSchema(
        {
            **extraction.input_specs(frontend, features.dtype, feature_shape(features)),
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
        raise ConfigError(f"`dataset.clip_s` must hold at least two frames. Received: {task.dataset.clip_s}.")


def _run_set(
    task: ExtractionTask, set_name: str, clips: Sequence[Clip], missing: Sequence[str], overwrite: bool, progress: bool
) -> FeatureStore:
    warn_absent_classes(clips, task.dataset.classes, set_name)
    folder = store_folder(task, set_name)
    problems = dict.fromkeys(missing, "no such file")
    _report(folder, problems)
    _note_lengths(clips, task.dataset.clip_s, 1 / task.features.frames_per_s)
    store = extraction.extract(
        folder,
        [_item(clip) for clip in clips],
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
        logger.warning("%s: %d clips are left out, %s names them.", set_name, len(problems), folder / ACCESS_ERRORS)
    return store


def _item(clip: Clip) -> extraction.Item:
    """The labels are no file of their own: their checksum tells when they change."""
    rows = [] if clip.events is None else clip.events[["onset", "offset", "event_label"]].values.tolist()
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


def _note_lengths(clips: Sequence[Clip], clip_s: float, tolerance_s: float) -> None:
    """Says in the log how many clips are shorter or longer than a clip should be."""
    shorter, longer = [], []
    for clip in clips:
        try:
            info = soundfile.info(clip.audio_path)
        except (soundfile.LibsndfileError, OSError):  # reading it will say what is wrong
            continue
        duration_s = info.frames / info.samplerate
        if duration_s < clip_s - tolerance_s:
            shorter.append(clip.name)
        elif duration_s > clip_s + tolerance_s:
            longer.append(clip.name)
    for names, what in ((shorter, "shorter, padded and masked"), (longer, "longer, cut")):
        if names:
            subset = clips[0].subset
            logger.info("%s: %d clips are %s to %g s, such as %s.", subset, len(names), what, clip_s, names[0])

"""Requirements of training and scores on a dataset, checked before any work.

The checker, extraction and training share them.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from common.data.sequences import batches_per_pass
from common.errors import ConfigError, DataError
from common.features.spectral import frames_in
from seld.config import FoldConfig, TaskConfig
from seld.dataset import DatasetConfig, Events, read_lines
from seld.features import FeatureConfig, check_audio
from seld.geometry import OFF_GRID_REMEDY
from seld.metrics.dcase2019 import needs_grid
from seld.recording_list import Recording
from seld.recordings.lengths import facts_of, known_samples

_SHOWN = 5  # of several problems, in an error


def check_settings(dataset: DatasetConfig, features: FeatureConfig) -> None:
    """Refuses settings that contradict each other, before any work starts.

    Raises:
        ConfigError: names them.
    """
    check_audio(features, dataset.format, dataset.channels)
    is_2019 = features.label_rule == "dcase2019" and not dataset.is_framewise
    if is_2019 and abs(features.hop_s - dataset.label_hop_s) > 1e-9:
        raise ConfigError(
            "Features and labels must have one hop with `features.label_rule: dcase2019`."
            f" Received: `features.hop_s` {features.hop_s}, `dataset.label_hop_s`"
            f" {dataset.label_hop_s}."
        )
    features.check(dataset.sample_rate_hz)
    if frames_in(dataset.recording_s, features.hop_s) < 2:
        raise ConfigError(
            f"`dataset.recording_s` must hold at least two frames. Received: {dataset.recording_s}."
        )


def check_sets(task: TaskConfig, sets: Mapping[str, Sequence[Recording]]) -> None:
    """Refuses a dataset that training or scoring cannot use.

    Args:
        task: the settings.
        sets: recordings by name of each set in use.

    Raises:
        DataError: names the problems and their files.
    """
    refuse_dataset(problems(task, sets))


def refuse_dataset(found: Sequence[str]) -> None:
    """Raises a DataError with the first problems; nothing if there is none."""
    if found:
        more = f"\n... and {len(found) - _SHOWN} more." if len(found) > _SHOWN else ""
        raise DataError(
            "\n".join(found[:_SHOWN])
            + f"{more}\nFix the dataset, or change the settings that require"
            " it; `python -m common.cli.check_dataset <task-id>` shows all that is there."
        )


def problems(task: TaskConfig, sets: Mapping[str, Sequence[Recording]]) -> list[str]:
    """Lists problems of training and scoring; arguments as for `check_sets`."""
    recordings = [recording for members in sets.values() for recording in members]
    folds = [fold for fold in task.folds if recordings]
    known = {name: known_samples(facts) for name, facts in facts_of(recordings).items()}
    frames: dict[int, list[int]] = {}
    for recording in recordings:
        frames.setdefault(recording.split, []).append(feature_frames(task, known[recording.name]))
    labelled = {recording.split for recording in recordings if recording.metadata_path is not None}
    found = [each for fold in folds for each in split_problems(fold, frames, labelled, sets)]
    for fold in folds:
        if set(fold.train) <= set(frames):
            found += batch_problem(task, fold, frames)
    if needs_grid(task.scoring.scorer):
        found += off_grid(recordings, task.dataset)
    return found


def split_problems(
    fold: FoldConfig, present: Iterable[int], labelled: Iterable[int], sets: Iterable[str]
) -> list[str]:
    """Lists the splits of a fold without recordings or labels.

    Args:
        fold: a fold.
        present: splits with recordings.
        labelled: splits with labels.
        sets: names of the sets in use, "dev" (splits from 1 on) and "eval" (split 0).
    """
    wanted = {split for split in fold.splits if ("eval" if split == 0 else "dev") in set(sets)}
    absent, found = sorted(wanted - set(present)), []
    if absent:
        numbers = ", ".join(map(str, absent))
        found.append(f"fold {fold.name!r} uses split {numbers}, of which there is no recording.")
    silent = sorted(set(fold.decisive) & set(present) - set(labelled))
    if silent:
        numbers = ", ".join(map(str, silent))
        found.append(
            f"fold {fold.name!r} validates on split {numbers}, whose recordings have no labels."
            " Expected: labels, since their scores stop the training and choose the model. Add"
            " them, or change `validate_on`."
        )
    return found


def batch_problem(
    task: TaskConfig, fold: FoldConfig, frames: Mapping[int, Sequence[int]]
) -> list[str]:
    """Lists the problem, if any, that the training recordings of a fold do not fill a batch.

    Args:
        task: the settings.
        fold: a fold with all its training splits.
        frames: feature frames of each recording, by split.
    """
    of_fold = [count for split in fold.train for count in frames[split]]
    try:
        batches_per_pass(of_fold, task.pipeline)
    except DataError as error:
        return [f"fold {fold.name!r}: {error}"]
    return []


def feature_frames(task: TaskConfig, samples: int | None) -> int:
    """Number of feature frames of a recording; samples None: of `dataset.recording_s`."""
    dataset, features = task.dataset, task.features
    recorded_hz = dataset.sample_rate_hz
    longest, rate_hz = round(dataset.recording_s * recorded_hz), features.rate_hz(recorded_hz)
    if not features.counts_the_end:
        kept = longest if dataset.pad_short or samples is None else min(samples, longest)
        return frames_in(kept / recorded_hz, features.hop_s)
    kept = round(min(longest if samples is None else samples, longest) * rate_hz / recorded_hz)
    return 1 + kept // features.hop_samples(rate_hz)


def off_grid(recordings: Sequence[Recording], dataset: DatasetConfig) -> list[str]:
    """Lists the problem, if any, of events that the official scorer cannot count.

    Unreadable files are left to the functions that need them.
    """
    found: list[tuple[str, int]] = []
    for path in (each.metadata_path for each in recordings if each.metadata_path is not None):
        try:
            events, lines = read_lines(path, dataset)
        except DataError:
            continue
        off = off_grid_events(events, dataset)
        if off.size:
            text = f"{path}, line {lines[off[0]]}: {described(events, off[0])}"
            found.append((text, off.size))
    return off_grid_problem(found, dataset)


def off_grid_events(events: Events, dataset: DatasetConfig) -> np.ndarray:
    """Indices of the events with directions off the grid, int64 (n,)."""
    return np.flatnonzero(~dataset.grid.holds(events.azimuth_deg, events.elevation_deg))


def off_grid_problem(found: Sequence[tuple[str, int]], dataset: DatasetConfig) -> list[str]:
    """Lists the problem, if any, from the first event off the grid of each file."""
    if not found:
        return []
    counted = f"{sum(count for _, count in found)} event(s) in {len(found)} file(s)"
    return [
        f"{found[0][0]} is off the grid of directions that `scoring.scorer: dcase2019` requires."
        f" Expected: {dataset.grid.describe()}. Received: {counted} off it. {OFF_GRID_REMEDY}"
    ]


def described(events: Events, number: int) -> str:
    """The direction of an event, for an error."""
    return f"azimuth {events.azimuth_deg[number]:g}, elevation {events.elevation_deg[number]:g}"

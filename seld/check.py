"""Checks of the dataset of a SELD task, for `python -m common.cli.check_dataset`."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from common.datasets.checks import (
    AudioFacts,
    DatasetReport,
    check_audio,
    check_classes,
    check_copies,
    check_isolated,
    count_classes,
    examine,
    polyphony,
    report_groups,
    report_sources,
    same_class_overlaps,
)
from common.datasets.groups import count_groups, fold_problems
from common.errors import ConfigError, DataError
from common.simulation.dataset_folder import SETTINGS_FILE
from common.simulation.measured.table import read_response_table
from seld.config import TaskConfig
from seld.dataset import DatasetConfig, Events, find_recordings, read_labels
from seld.metrics.dcase2019 import needs_grid
from seld.metrics.years import YEARS
from seld.recording_list import LIST_NAME, Recording, group_members, has_list
from seld.recordings.preconditions import check_settings, off_grid, problems
from seld.simulation.simulator import own_sources

_SPEED_OF_SOUND_M_S = 343.0
_TOLERANCE_S = 0.05  # labels may end so much later than the recording
_PROBLEMS_SHOWN = 10
_MIX_THEM = (
    "Have the simulator put them into rooms: inherit `sounds-seld` and set `simulation.source_dir`"
    " to a folder of them, <class>/*.wav, see docs/own-data.md."
)
_ALIKE = "directions {} cannot be distinguished."
_ODD = {
    "late": "events that begin right after their end, which are not scored",
    "cut": "events that last longer than they do",
    "doubled": "events of one class at the same time, of which systems without tracks learn one",
    "crowded": "more events at a time than their overlap allows",
}


def check(task: TaskConfig, report: DatasetReport, deep: bool) -> None:
    """Reports problems of the recordings and labels in the sets that a task reads.

    Args:
        task: the settings.
        report: receives the findings.
        deep: decode every recording.
    """
    sets: dict[str, list[Recording]] = {}
    for set_name in task.set_names:
        notes: list[str] = []
        try:
            sets[set_name] = find_recordings(task.dataset_dir, task.dataset, set_name, notes)
        except DataError as error:
            report.error(f"{set_name}: {error}")
        for note in notes:
            report.warn(note)
    recordings = [recording for members in sets.values() for recording in members]
    found = examine([each.audio_path for each in recordings], deep, task.parallel)
    facts = dict(zip(recordings, found, strict=True))
    splits: dict[int, list[Recording]] = {}
    for each in sorted(recordings, key=lambda recording: recording.split):
        splits.setdefault(each.split, []).append(each)
    _count_files(task, report, splits)
    _check_folders(task, report)
    dataset = task.dataset
    check_audio(
        report,
        list(facts.values()),
        "recordings",
        sample_rate_hz=dataset.sample_rate_hz,
        channels=dataset.channels,
        duration_s=dataset.recording_s if dataset.pad_short else None,
    )
    longest_s = dataset.recording_s
    cut = [each.name for each in recordings if facts[each].duration_s > longest_s]
    if cut and not dataset.pad_short:  # otherwise told already
        report.warn(
            f"{len(cut)} file(s) are longer than {longest_s:g} s, the rest is cut off:", cut
        )
    check_copies(report, {f"split {split}": [facts[r] for r in of] for split, of in splits.items()})
    n_events = _check_labels(report, dataset, splits, facts)
    _check_isolated(task, report, n_events, facts)
    if dataset.skip_silent:  # known of those that were decoded
        sets = {name: [r for r in of if not facts[r].silent] for name, of in sets.items()}
    _check_conditions(task, report, sets)
    _check_groups(task, report, splits)
    _check_array(task, report)
    is_simulated = (task.dataset_dir / SETTINGS_FILE).is_file()
    if task.simulation.source_dir is not None:
        report_sources(report, lambda: own_sources(task), is_simulated)
    if task.simulation.rir_dir is not None:
        _check_responses(report, task.simulation.rir_dir, is_simulated)


def _check_responses(report: DatasetReport, folder: Path, is_simulated: bool) -> None:
    """Tables the files of each measured room, or reports why their table is refused."""
    try:
        rows = read_response_table(folder)
    except DataError as error:
        (report.warn if is_simulated else report.error)(f"`simulation.rir_dir`: {error}")
        return
    places = Counter(row.place or row.path.relative_to(folder).as_posix() for row in rows)
    report.table("measured rooms of the simulation", ("place", "files"), sorted(places.items()))


def _count_files(
    task: TaskConfig, report: DatasetReport, splits: Mapping[int, Sequence[Recording]]
) -> None:
    """Tables the recordings of each split next to those of the published dataset."""
    own = any(recording.listed for members in splits.values() for recording in members)
    layout = task.dataset.published
    own = own or task.dataset.classes != layout.classes
    simulated = (task.dataset_dir / SETTINGS_FILE).is_file()
    rows = []
    for split, members in splits.items():
        labelled = sum(recording.metadata_path is not None for recording in members)
        published = 0 if own else layout.n_published.get(split, 0)
        rows.append((f"split {split}", len(members), labelled, published or "-"))
        if len(members) < published and not simulated:
            report.warn(
                f"split {split} has {len(members)} recordings, {published} were"
                " published. Complete the download, unless the rest is left out on purpose."
            )
    if rows:
        report.table("splits", ("split", "recordings", "labelled", "published"), rows)


def _check_folders(task: TaskConfig, report: DatasetReport) -> None:
    """Reports folders of the splits in use, such as foa_dev/dev-test-sony, that are not there."""
    dataset, root = task.dataset, task.dataset_dir
    kinds = [kind for kind in (dataset.format, "metadata") if (root / f"{kind}_dev").is_dir()]
    if has_list(root) or (root / SETTINGS_FILE).is_file():
        return
    used = {split for fold in task.folds for split in fold.splits}
    absent = [
        folder.as_posix()
        for kind in kinds
        for folder in dataset.published.file_folders(kind, "dev", used)
        if not (root / folder).is_dir()
    ]
    if absent:
        report.warn(
            f"{root} lacks {len(absent)} folder(s) of the layout {dataset.layout}. Unpack the rest"
            " of the dataset, unless it is left out on purpose:",
            absent,
        )


def _check_conditions(
    task: TaskConfig, report: DatasetReport, sets: Mapping[str, Sequence[Recording]]
) -> None:
    """Checks the requirements of extraction and training."""
    try:
        check_settings(task.dataset, task.features)
    except ConfigError as error:
        report.error(str(error))
        return
    for problem in problems(task, sets):
        report.error(problem)
    if not needs_grid(task.scoring.scorer) and task.scoring.scorer not in YEARS:
        for problem in off_grid([r for members in sets.values() for r in members], task.dataset):
            report.warn(f"The columns of dcase2019 will be undefined: {problem}")


def _check_labels(
    report: DatasetReport,
    dataset: DatasetConfig,
    splits: Mapping[int, Sequence[Recording]],
    facts: Mapping[Recording, AudioFacts],
) -> dict[Recording, int]:
    """Reads all metadata; reports unusable rows, odd labels and the table of classes.

    Returns:
        Number of events of each recording whose metadata can be used.
    """
    counts, unusable, notes = {}, [], list[str]()
    n_events: dict[Recording, int] = {}
    odd: dict[str, list[str]] = {what: [] for what in _ODD}
    for split, members in splits.items():
        tables = [Events.from_array(np.zeros((0, 6)))]
        labelled = {each: each.metadata_path for each in members if each.metadata_path is not None}
        for recording, path in labelled.items():
            duration_s = facts[recording].duration_s
            try:
                tables.append(read_labels(path, dataset, duration_s or None, notes))
            except DataError as error:
                unusable.append(str(error))
                continue
            n_events[recording] = int(np.sum(_begins(tables[-1])))
            for what in _odd_labels(recording, tables[-1], duration_s):
                odd[what].append(recording.name)
        if labelled:
            events = Events.from_array(np.concatenate([table.to_array() for table in tables]))
            lengths_s = events.offset_s - events.onset_s
            _, seconds = count_classes(events.class_index, lengths_s, dataset.n_classes)
            begun = np.concatenate([table.class_index[_begins(table)] for table in tables])
            counts[f"split {split}"] = np.bincount(begun, minlength=dataset.n_classes), seconds
    for problem in unusable[:_PROBLEMS_SHOWN]:
        report.error(problem)
    if len(unusable) > _PROBLEMS_SHOWN:
        report.error(f"{len(unusable) - _PROBLEMS_SHOWN} more metadata file(s) cannot be used.")
    if notes:
        reason = "" if dataset.is_framewise else " by `dataset.strict: false`"
        report.warn(f"{len(notes)} time(s) events were left out{reason}:", notes)
    for what, names in odd.items():
        if names:
            report.warn(f"{len(names)} recording(s) have {_ODD[what]}:", names)
    if counts:
        check_classes(report, dataset.classes, counts)
    return n_events


def _check_isolated(
    task: TaskConfig,
    report: DatasetReport,
    n_events: Mapping[Recording, int],
    facts: Mapping[Recording, AudioFacts],
) -> None:
    """Warns of recordings to train on that are isolated sounds, unless they were simulated."""
    if (task.dataset_dir / SETTINGS_FILE).is_file():
        return
    trained = {split for fold in task.folds for split in fold.train}
    sounds = [(facts[each], n) for each, n in n_events.items() if each.split in trained]
    check_isolated(report, "recordings", sounds, task.dataset.recording_s, _MIX_THEM)


def _check_groups(
    task: TaskConfig, report: DatasetReport, splits: Mapping[int, Sequence[Recording]]
) -> None:
    """Tables the groups of each class in each split; reports groups in two parts of a fold."""
    recordings = [each for members in splits.values() for each in members]
    members = group_members((each.split, each.name, each.group) for each in recordings)
    if not members:
        return
    for problem in fold_problems(task.folds, members, str(task.dataset_dir / LIST_NAME)):
        report.error(problem)
    parts = {}
    for split, of in splits.items():
        labelled = ((str(each.group), _classes(each, task.dataset)) for each in of)
        parts[f"split {split}"] = count_groups(labelled)
    report_groups(report, task.dataset.classes, parts)


def _classes(recording: Recording, dataset: DatasetConfig) -> list[str]:
    """Classes of a recording; none if its metadata are unreadable, which is reported elsewhere."""
    if recording.metadata_path is None:
        return []
    try:
        events = read_labels(recording.metadata_path, dataset)
    except DataError:
        return []
    return [dataset.classes[index] for index in np.unique(events.class_index)]


def _begins(events: Events) -> np.ndarray:
    """True for events of a recording that do not go on from another place: bool (n,).

    Annotations in label frames make an entry of each place of a moving source.
    """
    sources = np.nan_to_num(events.source, nan=-1)
    ends = set(zip(events.class_index, sources, events.offset_s, strict=True))
    places = zip(events.class_index, sources, events.onset_s, strict=True)
    known = ~np.isnan(events.source)
    return np.array([place not in ends for place in places], bool) | ~known


def _odd_labels(recording: Recording, events: Events, duration_s: float) -> Iterator[str]:
    """Yields oddities of readable labels, keys of `_ODD`; a duration of 0 is unknown."""
    if duration_s and (events.onset_s >= duration_s).any():
        yield "late"
    elif duration_s and (events.offset_s > duration_s + _TOLERANCE_S).any():
        yield "cut"
    if same_class_overlaps(events.class_index, events.onset_s, events.offset_s):
        yield "doubled"
    highest = recording.overlap
    if highest is not None and polyphony(events.onset_s, events.offset_s) > highest:
        yield "crowded"


def _check_array(task: TaskConfig, report: DatasetReport) -> None:
    """Warns of directions that the array cannot distinguish, and of lags that the features lack."""
    dataset, features = task.dataset, task.features
    if dataset.channels == 1:
        report.warn("One channel: directions cannot be estimated, only classes and times.")
    if dataset.microphones_m is None or dataset.channels == 1:
        return
    positions = np.array(dataset.microphones_m)  # (C, 3)
    spread = np.linalg.svd(positions - positions.mean(axis=0), compute_uv=False)
    rank = int(np.sum(spread > 1e-3))  # a millimetre
    if rank == 1:
        report.warn(f"The microphones are in one line: {_ALIKE.format('at the same angle to it')}")
    elif rank == 2:
        report.warn(f"The microphones are in one plane: {_ALIKE.format('mirrored at it')}")
    widest_m = max(float(np.linalg.norm(one - other)) for one, other in combinations(positions, 2))
    lags = int(np.ceil(widest_m / _SPEED_OF_SOUND_M_S * features.rate_hz(dataset.sample_rate_hz)))
    if features.entry.has_lags and lags > features.n_mels // 2:
        report.warn(
            f"Sounds reach microphones {widest_m:g} m apart with delays up to {lags} samples, but"
            f" `features.n_mels` {features.n_mels} holds {features.n_mels // 2} lags to each side."
            f" Set it to {2 * lags} or more."
        )

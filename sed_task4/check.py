"""Checks of a dataset of DCASE task 4 for `python -m common.cli.check_dataset`."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from common.audio.formats import list_sounds
from common.datasets import checks
from common.datasets.checks import AudioFacts, DatasetReport
from common.datasets.groups import count_groups
from common.errors import DataError
from common.simulation.dataset_folder import SETTINGS_FILE
from sed_task4 import dataset as data
from sed_task4.clips.clip_groups import group_problems, sources_of
from sed_task4.clips.layouts import Layout, subset_place
from sed_task4.clips.published import is_own
from sed_task4.clips.row_problems import collected_rows
from sed_task4.config import TaskConfig
from sed_task4.dataset import Clip, DatasetConfig, certain_events, find_clips, labels_of
from sed_task4.labels import event_array, multi_hot
from sed_task4.simulation.simulator import own_sources

_REAL = {"weak": 1578, "unlabel_in_domain": 14412, "validation": 1168, "eval": 692}
_OF_2021 = {
    **_REAL,
    "synthetic21_train": 10000,
    "synthetic21_validation": 2500,
    "audioset_strong": 3470,
}
# Clips of each subset as published; many have vanished from the web since.
PUBLISHED: Mapping[Layout, Mapping[str, int]] = {
    "dcase2018": {
        "weak": 1578,
        "unlabel_in_domain": 14412,
        "unlabel_out_of_domain": 39999,
        "test": 288,
        "eval": 880,
    },
    "dcase2019": {
        "weak": 1578,
        "unlabel_in_domain": 14412,
        "synthetic": 2045,
        "validation": 1168,
        "test_dcase2018": 288,
        "eval_dcase2018": 880,
        "eval": 692,
    },
    "desed2020": {**_REAL, "synthetic20": 2584},
    "desed2021": _OF_2021,
    "desed2024": _OF_2021,  # the recipe does not give the number of MAESTRO's windows
}
_MANY_MISSING = 0.1  # part of the clips of a subset
_ROWS_SHOWN = 10
_MIX_THEM = (
    "Have the simulator mix them into scenes: inherit `sounds-crnn`, set `simulation.source_dir` to"
    " their folder, <class>/*.wav, and `simulation.background_dir` to recordings without events,"
    " see docs/own-data.md."
)


def check(task: TaskConfig, report: DatasetReport, deep: bool) -> None:
    """Reports faults of the clips and the labels of the subsets that a task reads.

    Args:
        task: the settings.
        report: gets the findings.
        deep: decode every clip.
    """
    dataset = task.dataset
    found: dict[str, list[Clip]] = {}
    lacking: dict[str, list[str]] = {}
    for name in task.set_names:
        if (both := _find(task, name, report)) is not None:
            found[name], lacking[name] = both
    _count_clips(task, report, found, lacking)
    facts = {}
    for name, clips in found.items():
        facts[name] = checks.examine([clip.audio_path for clip in clips], deep, task.parallel)
        skips = dataset.skip_unreadable
        checks.check_audio(
            report, facts[name], name, duration_s=dataset.clip_s, skips_unreadable=skips
        )
        _check_events(report, name, clips, dataset.classes)
        _check_ends(report, name, clips, facts[name])
    _check_sounds(task, report, found, facts)
    checks.check_copies(report, _apart(task, facts))
    _check_disjoint(task, report, found)
    _check_groups(task, report, found)
    labelled = {name: clips for name, clips in found.items() if any(map(_is_labelled, clips))}
    if labelled:
        counts = {name: _counts(clips, dataset) for name, clips in labelled.items()}
        checks.check_classes(report, dataset.classes, counts)
    if task.simulation.source_dir is not None:
        simulated = (task.dataset_dir / SETTINGS_FILE).is_file()
        checks.report_sources(report, lambda: own_sources(task), simulated)


def _find(
    task: TaskConfig, subset: str, report: DatasetReport
) -> tuple[list[Clip], list[str]] | None:
    """Finds the clips of a subset; reports all faults of its tables, and then finds none."""
    notes: list[str] = []
    clips = None
    with collected_rows() as rows:
        try:
            clips = find_clips(task.dataset_dir, task.dataset, subset, notes)
        except DataError as error:
            report.error(f"{subset}: {error}")
    problems = list(rows.values())
    for problem in problems[:_ROWS_SHOWN]:
        report.error(f"{subset}: {problem}")
    if len(problems) > _ROWS_SHOWN:
        report.error(f"{subset}: {len(problems) - _ROWS_SHOWN} more row(s) cannot be used.")
    for note in notes:
        report.warn(note)
    return None if problems else clips


def _check_sounds(
    task: TaskConfig,
    report: DatasetReport,
    found: Mapping[str, Sequence[Clip]],
    facts: Mapping[str, Sequence[AudioFacts]],
) -> None:
    """Warns of isolated sounds, of bandwidths by class, and of copies that a hold-out divides."""
    if (task.dataset_dir / SETTINGS_FILE).is_file():
        return
    by_class: dict[str, list[AudioFacts]] = {name: [] for name in task.dataset.classes}
    for subset in [name for name in task.sets.learned if name in found]:
        pairs = list(zip(found[subset], facts[subset], strict=True))
        sounds = [(known, _n_events(clip)) for clip, known in pairs if _is_labelled(clip)]
        checks.check_isolated(report, subset, sounds, task.dataset.clip_s, _MIX_THEM)
        for clip, known in pairs:
            for name in labels_of(clip):
                by_class[name].append(known)
    checks.check_bandwidths(report, by_class, task.features.highest_hz(task.dataset.sample_rate_hz))
    for subset in task.sets.fractions:
        if subset in found and not sources_of(subset, found[subset]).has_groups:
            checks.check_divided(report, subset, facts[subset])


def _n_events(clip: Clip) -> int:
    """Events of a strongly labelled clip, classes of a weakly labelled one."""
    events = certain_events(clip)
    return len(labels_of(clip)) if events is None else len(events)


def _count_clips(
    task: TaskConfig,
    report: DatasetReport,
    found: Mapping[str, Sequence[Clip]],
    lacking: Mapping[str, Sequence[str]],
) -> None:
    """Counts the clips of each subset next to the published number, and unmatched files."""
    own = is_own(task.dataset.classes)
    rows = []
    for subset, clips in found.items():
        missing, published = lacking[subset], PUBLISHED[task.dataset.layout].get(subset, "-")
        rows.append((subset, len(clips), len(missing), "-" if own else published))
        if len(missing) > _MANY_MISSING * (len(clips) + len(missing)):
            note = f"{subset}: {len(missing)} clips in the metadata have no audio and are left out:"
            report.warn(note, missing)
    if rows:
        report.table("subsets", ("subset", "clips", "without audio", "published"), rows)
    for folder, names in _unlisted(task, found, lacking).items():
        note = f"{len(names)} file(s) in {folder} are in no metadata that the task reads:"
        report.warn(note, names)


def _unlisted(
    task: TaskConfig, found: Mapping[str, Sequence[Clip]], lacking: Mapping[str, Sequence[str]]
) -> dict[Path, list[str]]:
    """Sound files that are in no subset, by folder; subsets may share one."""
    named: dict[Path, set[str]] = {}
    for subset, clips in found.items():
        place = subset_place(task.dataset.layout, subset)
        root, rate_hz = data.find_root(task.dataset_dir), task.dataset.sample_rate_hz
        folders = {clip.audio_path.parent for clip in clips}
        folders |= set(filter(Path.is_dir, place.audio_folders(root, rate_hz)[:1]))
        files = {clip.audio_path.name for clip in clips}
        for folder in folders:
            named.setdefault(folder, set()).update(lacking[subset], files)
    unlisted = {}
    for folder in filter(Path.is_dir, named):
        unlisted[folder] = [name for name in list_sounds(folder)[0] if name not in named[folder]]
    return {folder: names for folder, names in unlisted.items() if names}


def _check_ends(
    report: DatasetReport, subset: str, clips: Sequence[Clip], facts: Sequence[AudioFacts]
) -> None:
    """Warns of events that begin after the end of their recording, if it is short."""
    late = [
        clip.name
        for clip, known in zip(clips, facts, strict=True)
        if clip.events is not None
        and known.duration_s
        and (clip.events["onset"] >= known.duration_s).any()
    ]
    if late:
        counted = f"{subset}: {len(late)} clip(s)"
        note = f"{counted} have events that begin after the end of their recording:"
        report.warn(note, late)


def _check_events(
    report: DatasetReport, subset: str, clips: Sequence[Clip], classes: Sequence[str]
) -> None:
    known = {clip.name: certain_events(clip) for clip in clips}
    strong = {name: events for name, events in known.items() if events is not None}
    arrays = {name: event_array(events, classes) for name, events in strong.items()}
    doubled = [name for name, events in arrays.items() if checks.same_class_overlaps(*events.T)]
    if doubled:
        note = f"{subset}: {len(doubled)} clip(s) have events of one class at the same time:"
        report.warn(note, doubled)
    unlabelled = [clip.name for clip in clips if _is_labelled(clip) and not labels_of(clip)]
    if unlabelled:
        note = f"{subset}: {len(unlabelled)} clip(s) are listed without any event:"
        report.warn(note, unlabelled)


def _apart(task: TaskConfig, facts: Mapping) -> dict:
    """Subsets that must share no clip; those that are only tested on may overlap."""
    return {subset: facts[subset] for subset in facts if subset not in task.sets.test[1:]}


def _check_disjoint(
    task: TaskConfig, report: DatasetReport, found: Mapping[str, Sequence[Clip]]
) -> None:
    sets = task.sets
    training = [found.get(subset, ()) for subset in sets.learned]
    learned = [clip.name for clips in training for clip in clips]
    for subset in dict.fromkeys([*([sets.validate_on] if sets.validate_on else []), *sets.test]):
        try:
            data.check_disjoint(learned, (clip.name for clip in found.get(subset, ())))
        except DataError as error:
            report.error(f"{subset}: {error}")


def _check_groups(
    task: TaskConfig, report: DatasetReport, found: Mapping[str, Sequence[Clip]]
) -> None:
    """Reports the groups of each class in each subset, and their faults."""
    chosen = {subset: clips[: task.dataset.max_clips] for subset, clips in found.items()}
    for problem in group_problems(task.sets, chosen, task.seed, str(task.dataset_dir)):
        report.error(problem)
    groups = {
        subset: count_groups((str(clip.group), labels_of(clip)) for clip in clips)
        for subset, clips in chosen.items()
        if sources_of(subset, clips).has_groups
    }
    if groups:
        checks.report_groups(report, task.dataset.classes, groups)


def _is_labelled(clip: Clip) -> bool:
    return clip.tags is not None or clip.events is not None


def _counts(clips: Sequence[Clip], dataset: DatasetConfig) -> tuple[np.ndarray, np.ndarray | None]:
    """Events and seconds of each class; for weakly labelled clips, clips of each class."""
    classes = dataset.classes
    known = map(certain_events, clips)
    strong = [event_array(events, classes) for events in known if events is not None]
    if strong:
        events = np.concatenate(strong)  # (n, 3): class, onset, offset
        lengths_s = np.maximum(events[:, 2] - events[:, 1], 0)
        return checks.count_classes(events[:, 0], lengths_s, dataset.n_classes)
    tags = np.stack([multi_hot(labels_of(clip), dataset.classes) for clip in clips])  # (clips, K)
    return tags.sum(axis=0, dtype=np.int64), None

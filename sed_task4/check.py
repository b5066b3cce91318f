"""What `python -m common.cli.check_dataset` looks at in the dataset of a task of DCASE task 4."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from common.audio.formats import list_sounds
from common.datasets.checks import (
    AudioFacts,
    DatasetReport,
    check_audio,
    check_classes,
    check_copies,
    count_classes,
    examine,
    report_groups,
    report_sources,
    same_class_overlaps,
)
from common.datasets.groups import count_groups
from common.errors import DataError
from common.simulation.dataset_folder import SETTINGS_FILE
from sed_task4.clip_groups import group_problems, sources_of
from sed_task4.config import TaskConfig
from sed_task4.dataset import (
    Clip,
    DatasetConfig,
    Layout,
    check_disjoint,
    find_clips,
    find_root,
    labels_of,
    subset_place,
)
from sed_task4.labels import event_array, many_hot
from sed_task4.simulation.simulator import own_sources

# Clips of each subset as they were published; many have vanished from the web since.
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
}
_MANY_MISSING = 0.1  # part of the clips of a subset


def check(task: TaskConfig, report: DatasetReport, deep: bool) -> None:
    """Reports what is wrong with the clips and the labels of the subsets that a task reads.

    Args:
        task: the settings.
        report: gets what is found.
        deep: decode every clip.
    """
    found: dict[str, list[Clip]] = {}
    lacking: dict[str, list[str]] = {}
    for subset in task.set_names:
        notes: list[str] = []
        try:
            found[subset], lacking[subset] = find_clips(
                task.dataset_dir, task.dataset, subset, notes
            )
        except DataError as error:
            report.error(f"{subset}: {error}")
        for note in notes:
            report.warn(note)
    _count_clips(task, report, found, lacking)
    facts = {
        name: examine([clip.audio_path for clip in clips], deep, task.parallel)
        for name, clips in found.items()
    }
    for subset, clips in found.items():
        skips = task.dataset.skip_unreadable
        check_audio(
            report, facts[subset], subset, duration_s=task.dataset.clip_s, skips_unreadable=skips
        )
        _check_events(report, subset, clips, task.dataset.classes)
        _check_ends(report, subset, clips, facts[subset])
    check_copies(report, _apart(task, facts))
    _check_disjoint(task, report, found)
    _check_groups(task, report, found)
    counts = {
        subset: _counts(clips, task.dataset)
        for subset, clips in found.items()
        if any(map(_is_labelled, clips))
    }
    if counts:
        check_classes(report, task.dataset.classes, counts)
    if task.simulation.source_dir is not None:
        report_sources(
            report, lambda: own_sources(task), (task.dataset_dir / SETTINGS_FILE).is_file()
        )


def _count_clips(
    task: TaskConfig,
    report: DatasetReport,
    found: Mapping[str, Sequence[Clip]],
    lacking: Mapping[str, Sequence[str]],
) -> None:
    """Tells how many clips each subset has, beside the published dataset, and what has no
    counterpart."""
    own = task.dataset.classes != DatasetConfig().classes
    rows = []
    for subset, clips in found.items():
        missing, published = lacking[subset], PUBLISHED[task.dataset.layout][subset]
        rows.append((subset, len(clips), len(missing), "-" if own else published))
        if len(missing) > _MANY_MISSING * (len(clips) + len(missing)):
            report.warn(
                f"{subset}: {len(missing)} clips in the metadata have no audio and are left out:",
                missing,
            )
    if rows:
        report.table("subsets", ("subset", "clips", "without audio", "published"), rows)
    for folder, names in _unlisted(task, found, lacking).items():
        report.warn(
            f"{len(names)} file(s) in {folder} are in no metadata that the task reads:", names
        )


def _unlisted(
    task: TaskConfig, found: Mapping[str, Sequence[Clip]], lacking: Mapping[str, Sequence[str]]
) -> dict[Path, list[str]]:
    """Lists the sound files that no subset names, by folder; subsets may share one."""
    named: dict[Path, set[str]] = {}
    for subset, clips in found.items():
        folder = find_root(task.dataset_dir) / subset_place(task.dataset.layout, subset).audio
        named.setdefault(folder, set()).update(
            lacking[subset], (clip.audio_path.name for clip in clips)
        )
    present = {folder: list_sounds(folder)[0] for folder in named if folder.is_dir()}
    return {
        folder: alone
        for folder, files in present.items()
        if (alone := [n for n in files if n not in named[folder]])
    }


def _check_ends(
    report: DatasetReport, subset: str, clips: Sequence[Clip], facts: Sequence[AudioFacts]
) -> None:
    """Warns of events that begin after the end of their recording, where it is shorter than a
    clip."""
    late = [
        clip.name
        for clip, known in zip(clips, facts, strict=True)
        if clip.events is not None
        and known.duration_s
        and (clip.events["onset"] >= known.duration_s).any()
    ]
    if late:
        report.warn(
            f"{subset}: {len(late)} clip(s) have events that begin after the end of their"
            " recording:",
            late,
        )


def _check_events(
    report: DatasetReport, subset: str, clips: Sequence[Clip], classes: Sequence[str]
) -> None:
    doubled = [
        clip.name
        for clip in clips
        if clip.events is not None and same_class_overlaps(*event_array(clip.events, classes).T)
    ]
    if doubled:
        report.warn(
            f"{subset}: {len(doubled)} clip(s) have events of one class at the same time:", doubled
        )
    unlabelled = [clip.name for clip in clips if _is_labelled(clip) and not labels_of(clip)]
    if unlabelled:
        report.warn(
            f"{subset}: {len(unlabelled)} clip(s) are listed without any event:", unlabelled
        )


def _apart(task: TaskConfig, facts: Mapping) -> dict:
    """The subsets that must share no clip: learned from, deciding, and tested on; the tested ones
    may overlap."""
    return {subset: facts[subset] for subset in facts if subset not in task.sets.test[1:]}


def _check_disjoint(
    task: TaskConfig, report: DatasetReport, found: Mapping[str, Sequence[Clip]]
) -> None:
    learned = [
        clip.name
        for subset in (task.sets.train, task.sets.unlabelled)
        for clip in found.get(subset or "", ())
    ]
    for subset in dict.fromkeys(
        [*([task.sets.validate_on] if task.sets.validate_on else []), *task.sets.test]
    ):
        try:
            check_disjoint(learned, (clip.name for clip in found.get(subset, ())))
        except DataError as error:
            report.error(f"{subset}: {error}")


def _check_groups(
    task: TaskConfig, report: DatasetReport, found: Mapping[str, Sequence[Clip]]
) -> None:
    """Tells the groups of each class in each subset, and reports what extraction and training
    refuse of them."""
    chosen = {subset: clips[: task.dataset.max_clips] for subset, clips in found.items()}
    for problem in group_problems(task.sets, chosen, task.seed, str(task.dataset_dir)):
        report.error(problem)
    told = {
        subset: clips for subset, clips in chosen.items() if sources_of(subset, clips).has_groups
    }
    groups = {
        subset: count_groups((str(clip.group), labels_of(clip)) for clip in clips)
        for subset, clips in told.items()
    }
    if groups:
        report_groups(report, task.dataset.classes, groups)


def _is_labelled(clip: Clip) -> bool:
    return clip.tags is not None or clip.events is not None


def _counts(clips: Sequence[Clip], dataset: DatasetConfig) -> tuple[np.ndarray, np.ndarray | None]:
    """Events and seconds of each class; of weakly labelled clips how many have it."""
    strong = [
        event_array(clip.events, dataset.classes) for clip in clips if clip.events is not None
    ]
    if strong:
        events = np.concatenate(strong)  # (n, 3): class, onset, offset
        lengths_s = np.maximum(events[:, 2] - events[:, 1], 0)
        return count_classes(events[:, 0], lengths_s, dataset.n_classes)
    tags = np.stack([many_hot(labels_of(clip), dataset.classes) for clip in clips])  # (clips, K)
    return tags.sum(axis=0, dtype=np.int64), None

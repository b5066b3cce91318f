"""Checks of the sounds and scenes of a segmentation task for `common.cli.check_dataset`."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from common.audio.formats import list_sounds, sound_path
from common.datasets import checks
from common.datasets.checks import AudioFacts, DatasetReport
from common.datasets.groups import count_groups
from common.errors import DataError
from common.simulation.dataset_folder import SETTINGS_FILE
from sed_task4.segmentation import dataset as data
from sed_task4.segmentation import mixture_lists as lists
from sed_task4.segmentation.config import TaskConfig
from sed_task4.segmentation.dataset import LIST_NAME, DatasetConfig, EventFile, EventSounds, Mixture
from sed_task4.segmentation.mixing import LIST_SETTINGS_NAME

PUBLISHED_SOUNDS = 9473  # training files of FSDKaggle2018
PUBLISHED_SCENES = 8640  # TUT Urban Acoustic Scenes 2018


def check(task: TaskConfig, report: DatasetReport, deep: bool) -> None:
    """Reports faults of the sounds, the scenes and the mixtures, if any, of a task.

    Args:
        task: the settings.
        report: gets the findings.
        deep: decode every sound and scene.
    """
    try:
        _check_sounds(task, report, deep)
    except DataError as error:
        report.error(f"sounds: {error}")
    try:
        _check_scenes(task, report, deep)
    except DataError as error:
        report.error(f"scenes: {error}")
    path = data.mixtures_folder(task.dataset_dir, task.dataset) / LIST_NAME
    if path.is_file():
        audio_dir = data.audio_folder(task.dataset_dir, task.dataset)
        try:
            mixtures = data.read_mixture_list(path, audio_dir, task.dataset)
            _check_groups(task, report, mixtures)
        except DataError as error:
            report.error(f"mixtures: {error}")
        else:
            made = sum(mixture.audio_path.is_file() for mixture in mixtures)
            rows = [("listed", len(mixtures)), ("made already", made)]
            report.table("mixtures", ("", "files"), rows)


def _check_groups(task: TaskConfig, report: DatasetReport, mixtures: list[Mixture]) -> None:
    """Reports groups that are in several folds of the list of mixtures."""
    files = data.read_event_sounds(task.dataset_dir, task.dataset).files
    scenes = data.read_scene_groups(task.dataset_dir, task.dataset)
    path = data.mixtures_folder(task.dataset_dir, task.dataset) / LIST_NAME
    for problem in lists.mixture_problems(
        lists.groups_in_folds(mixtures, files, scenes), str(path)
    ):
        report.error(problem)


def _check_sounds(task: TaskConfig, report: DatasetReport, deep: bool) -> None:
    dataset = task.dataset
    table = data.read_event_sounds(task.dataset_dir, dataset)
    used = [table.files[index] for index in lists.select_files(table.files, dataset)]
    _count(task, report, "sounds", len(table.files), len(used), PUBLISHED_SOUNDS, table.path)
    paths = [sound_path(table.audio_dir, file.name) for file in used]
    facts = _existing(report, "sounds", paths, deep, task)
    checks.check_audio(report, facts, "sounds that are mixed", silence_is_refused=True)
    if not (task.dataset_dir / SETTINGS_FILE).is_file():
        by_class: dict[str, list[AudioFacts]] = {name: [] for name in dataset.classes}
        label_of = {path: file.label for path, file in zip(paths, used, strict=True)}
        for each in facts:
            by_class[label_of[each.path]].append(each)
        highest_hz = task.features.highest_hz(dataset.sample_rate_hz)
        checks.check_bandwidths(report, by_class, highest_hz)
    renamed = _renamed(report, table)
    listed = {file.name for file in table.files} | set(renamed)
    present = list_sounds(table.audio_dir)[0] if table.audio_dir.is_dir() else []
    unlisted = [name for name in present if name not in listed]
    if unlisted:
        note = f"{len(unlisted)} file(s) in {table.audio_dir} are not in {table.path.name}:"
        report.warn(note, unlisted)
    if not (_list_is_given(task) and any(file.group is not None for file in table.files)):
        _check_folds(report, dataset, table, facts)


def _list_is_given(task: TaskConfig) -> bool:
    """True if there is a list of mixtures that was not drawn here: its folds are kept."""
    folder = data.mixtures_folder(task.dataset_dir, task.dataset)
    return (folder / LIST_NAME).is_file() and not (folder / LIST_SETTINGS_NAME).is_file()


def _renamed(report: DatasetReport, table: EventSounds) -> dict[str, str]:
    """Names in the table by file name, where the suffix differs; reports them."""
    found = {file.name: sound_path(table.audio_dir, file.name).name for file in table.files}
    renamed = {present: name for name, present in found.items() if name != present}
    if renamed:
        note = f"{len(renamed)} sound(s) have another suffix than in {table.path.name}:"
        report.warn(note, [f"{present} for {name}" for present, name in renamed.items()])
    return renamed


def _check_folds(
    report: DatasetReport, dataset: DatasetConfig, table: EventSounds, facts: list[AudioFacts]
) -> None:
    """Sounds of each class in each fold; folds must share no file and no copy of one."""
    paths = {file.name: sound_path(table.audio_dir, file.name).name for file in table.files}
    folds = lists.folds_of(table.files, dataset, str(table.path))
    numbered = zip(table.files, folds.tolist(), strict=True)
    fold_of = {paths[file.name]: fold for file, fold in numbered}
    label_of = {paths[file.name]: file.label for file in table.files if file.verified}
    counts = {}
    by_fold: dict[str, list[AudioFacts]] = {}
    for fold in range(1, dataset.n_folds + 1):
        members = [each for each in facts if fold_of[each.path.name] == fold]
        numbers = Counter(label_of[each.path.name] for each in members)
        by_fold[f"fold {fold}"] = members
        counts[f"fold {fold}"] = np.array([numbers[name] for name in dataset.classes]), None
    checks.check_classes(report, dataset.classes, counts)
    checks.check_copies(report, by_fold)
    _report_groups(report, dataset, table.files, folds)


def _report_groups(
    report: DatasetReport, dataset: DatasetConfig, files: Sequence[EventFile], folds: np.ndarray
) -> None:
    """Reports the groups of each class in each fold, if the table has a column group."""
    if not any(file.group is not None for file in files):
        return
    parts = {
        title: count_groups(
            (str(file.group), [file.label] if file.verified else [])
            for file, its_fold in zip(files, folds.tolist(), strict=True)
            if its_fold == fold
        )
        for fold, title in lists.fold_titles(dataset.n_folds).items()
    }
    checks.report_groups(report, dataset.classes, parts)


def _check_scenes(task: TaskConfig, report: DatasetReport, deep: bool) -> None:
    dataset = task.dataset
    if dataset.scene_type == "white_noise":
        return
    table = data.scenes_folder(task.dataset_dir, dataset) / "meta.csv"
    names = data.read_scene_names(task.dataset_dir, dataset)
    n, wanted = len(names), dataset.n_folds * dataset.mixtures_per_fold
    _count(task, report, "scenes", n, min(n, wanted), PUBLISHED_SCENES, table)
    groups = data.read_scene_groups(task.dataset_dir, dataset)
    given = data.read_scene_folds(task.dataset_dir, dataset)
    if not _list_is_given(task):
        lists.scene_folds(names, groups, dataset, str(table), given)  # refuses too few
    if n < wanted and not groups and not given:
        report.warn(f"{n} scenes serve {wanted} mixtures: the same ones are in several folds.")
    paths = {name: sound_path(table.parent / "audio", name) for name in names}
    renamed = [f"{path.name} for {name}" for name, path in paths.items() if path.name != name]
    if renamed:
        report.warn(f"{len(renamed)} scene(s) have another suffix than in meta.csv:", renamed)
    facts = _existing(report, "scenes", list(paths.values()), deep, task)
    checks.check_audio(report, facts, "scenes", silence_is_refused=True)
    readable, lowest_s = (each for each in facts if not each.problem), dataset.clip_s - 1e-3
    short = [each.path.name for each in readable if each.duration_s < lowest_s]
    if short:
        note = f"{len(short)} scene(s) are shorter than a mixture, {dataset.clip_s:g} s:"
        report.error(note, short)


def _existing(
    report: DatasetReport, what: str, paths: list[Path], deep: bool, task: TaskConfig
) -> list[AudioFacts]:
    """Examines existing files and reports missing ones."""
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        note = f"{what}: {len(missing)} of {len(paths)} files are not in {paths[0].parent}:"
        report.error(note, missing)
    return checks.examine([path for path in paths if path.is_file()], deep, task.parallel)


def _count(
    task: TaskConfig,
    report: DatasetReport,
    what: str,
    listed: int,
    used: int,
    published: int,
    path: Path,
) -> None:
    own = task.dataset.classes != DatasetConfig().classes
    row = path.name, listed, used, "-" if own else published
    report.table(what, ("table", "listed", "used", "published"), [row])
    if listed < published and not (own or (task.dataset_dir / SETTINGS_FILE).is_file()):
        counts = f"{listed} {what}, {published} were published"
        report.warn(f"{path} lists {counts}. Complete the download.")

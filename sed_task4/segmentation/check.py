"""What `python -m common.cli.check_dataset` looks at in the sounds and scenes of a segmentation
task."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from common.audio.formats import list_sounds, sound_path
from common.datasets.checks import (
    AudioFacts,
    DatasetReport,
    check_audio,
    check_classes,
    check_copies,
    examine,
    report_groups,
)
from common.datasets.groups import count_groups
from common.errors import DataError
from common.simulation.dataset_folder import SETTINGS_FILE
from sed_task4.segmentation.config import TaskConfig
from sed_task4.segmentation.dataset import (
    LIST_NAME,
    DatasetConfig,
    EventFile,
    EventSounds,
    Mixture,
    audio_folder,
    mixtures_folder,
    read_event_sounds,
    read_mixture_list,
    read_scene_groups,
    read_scene_names,
    scenes_folder,
)
from sed_task4.segmentation.mixing import LIST_SETTINGS_NAME
from sed_task4.segmentation.mixture_lists import (
    fold_titles,
    folds_of,
    groups_in_folds,
    mixture_problems,
    scene_folds,
    select_files,
)

PUBLISHED_SOUNDS, PUBLISHED_SCENES = (
    9473,
    8640,
)  # FSDKaggle2018's training files; TUT Urban Acoustic Scenes 2018


def check(task: TaskConfig, report: DatasetReport, deep: bool) -> None:
    """Reports what is wrong with the sounds, the scenes and, once they are made, the mixtures of a
    task.

    Args:
        task: the settings.
        report: gets what is found.
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
    path = mixtures_folder(task.dataset_dir, task.dataset) / LIST_NAME
    if path.is_file():
        try:
            mixtures = read_mixture_list(
                path, audio_folder(task.dataset_dir, task.dataset), task.dataset
            )
            _check_groups(task, report, mixtures)
        except DataError as error:
            report.error(f"mixtures: {error}")
        else:
            made = sum(mixture.audio_path.is_file() for mixture in mixtures)
            report.table(
                "mixtures", ("", "files"), [("listed", len(mixtures)), ("made already", made)]
            )


def _check_groups(task: TaskConfig, report: DatasetReport, mixtures: list[Mixture]) -> None:
    """Reports groups that the list of mixtures has in several folds."""
    files = read_event_sounds(task.dataset_dir, task.dataset).files
    scenes = read_scene_groups(task.dataset_dir, task.dataset)
    path = mixtures_folder(task.dataset_dir, task.dataset) / LIST_NAME
    for problem in mixture_problems(groups_in_folds(mixtures, files, scenes), str(path)):
        report.error(problem)


def _check_sounds(task: TaskConfig, report: DatasetReport, deep: bool) -> None:
    dataset = task.dataset
    table = read_event_sounds(task.dataset_dir, dataset)
    used = [table.files[index] for index in select_files(table.files, dataset)]
    _count(task, report, "sounds", len(table.files), len(used), PUBLISHED_SOUNDS, table.path)
    facts = _existing(
        report, "sounds", [sound_path(table.audio_dir, file.name) for file in used], deep, task
    )
    check_audio(report, facts, "sounds that are mixed", silence_is_refused=True)
    renamed = _renamed(report, table)
    listed = {file.name for file in table.files} | set(renamed)
    present = list_sounds(table.audio_dir)[0] if table.audio_dir.is_dir() else []
    alone = [name for name in present if name not in listed]
    if alone:
        report.warn(
            f"{len(alone)} file(s) in {table.audio_dir} are not in {table.path.name}:", alone
        )
    if not (_list_is_given(task) and any(file.group is not None for file in table.files)):
        _check_folds(report, dataset, table, facts)


def _list_is_given(task: TaskConfig) -> bool:
    """Whether there is a list of mixtures that was not drawn here: then it says the folds."""
    folder = mixtures_folder(task.dataset_dir, task.dataset)
    return (folder / LIST_NAME).is_file() and not (folder / LIST_SETTINGS_NAME).is_file()


def _renamed(report: DatasetReport, table: EventSounds) -> dict[str, str]:
    """Names in the table by the files that stand for them, where the suffix differs; a warning
    tells them."""
    found = {file.name: sound_path(table.audio_dir, file.name).name for file in table.files}
    renamed = {present: name for name, present in found.items() if name != present}
    if renamed:
        report.warn(
            f"{len(renamed)} sound(s) have another suffix than in {table.path.name}:",
            [f"{present} for {name}" for present, name in renamed.items()],
        )
    return renamed


def _check_folds(
    report: DatasetReport, dataset: DatasetConfig, table: EventSounds, facts: list[AudioFacts]
) -> None:
    """Sounds of each class in each fold; folds share no file, and must share no copy of one
    either."""
    paths = {file.name: sound_path(table.audio_dir, file.name).name for file in table.files}
    folds = folds_of(table.files, dataset, str(table.path))
    fold_of = {
        paths[file.name]: fold for file, fold in zip(table.files, folds.tolist(), strict=True)
    }
    label_of = {paths[file.name]: file.label for file in table.files if file.verified}
    counts = {}
    by_fold: dict[str, list[AudioFacts]] = {}
    for fold in range(1, dataset.n_folds + 1):
        members = [each for each in facts if fold_of[each.path.name] == fold]
        numbers = Counter(label_of[each.path.name] for each in members)
        by_fold[f"fold {fold}"] = members
        counts[f"fold {fold}"] = np.array([numbers[name] for name in dataset.classes]), None
    check_classes(report, dataset.classes, counts)
    check_copies(report, by_fold)
    _report_groups(report, dataset, table.files, folds)


def _report_groups(
    report: DatasetReport, dataset: DatasetConfig, files: Sequence[EventFile], folds: np.ndarray
) -> None:
    """Tells the groups of each class in each fold, if the table has a column group."""
    if not any(file.group is not None for file in files):
        return
    parts = {
        title: count_groups(
            (str(file.group), [file.label] if file.verified else [])
            for file, its_fold in zip(files, folds.tolist(), strict=True)
            if its_fold == fold
        )
        for fold, title in fold_titles(dataset.n_folds).items()
    }
    report_groups(report, dataset.classes, parts)


def _check_scenes(task: TaskConfig, report: DatasetReport, deep: bool) -> None:
    dataset = task.dataset
    if dataset.scene_type == "white_noise":
        return
    folder = scenes_folder(task.dataset_dir, dataset)
    names = read_scene_names(task.dataset_dir, dataset)
    wanted = dataset.n_folds * dataset.mixtures_per_fold
    _count(
        task,
        report,
        "scenes",
        len(names),
        min(len(names), wanted),
        PUBLISHED_SCENES,
        folder / "meta.csv",
    )
    groups = read_scene_groups(task.dataset_dir, dataset)
    if groups and not _list_is_given(task):
        scene_folds(names, groups, dataset, str(folder / "meta.csv"))  # refuses too few
    if len(names) < wanted and not groups:
        report.warn(
            f"{len(names)} scenes serve {wanted} mixtures: the same ones come again in several"
            " folds."
        )
    paths = [sound_path(folder / "audio", name) for name in names]
    renamed = [
        f"{path.name} for {name}"
        for name, path in zip(names, paths, strict=True)
        if path.name != name
    ]
    if renamed:
        report.warn(f"{len(renamed)} scene(s) have another suffix than in meta.csv:", renamed)
    facts = _existing(report, "scenes", paths, deep, task)
    check_audio(report, facts, "scenes", silence_is_refused=True)
    short = [
        each.path.name
        for each in facts
        if not each.problem and each.duration_s < dataset.clip_s - 1e-3
    ]
    if short:
        report.error(
            f"{len(short)} scene(s) are shorter than a mixture, {dataset.clip_s:g} s:", short
        )


def _existing(
    report: DatasetReport, what: str, paths: list[Path], deep: bool, task: TaskConfig
) -> list[AudioFacts]:
    """Looks at the files that are there, and reports those that are not."""
    missing = [path for path in paths if not path.is_file()]
    if missing:
        names = [path.name for path in missing]
        report.error(
            f"{what}: {len(missing)} of {len(paths)} files are not in {paths[0].parent}:", names
        )
    return examine([path for path in paths if path.is_file()], deep, task.parallel)


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
    report.table(
        what,
        ("table", "listed", "used", "published"),
        [(path.name, listed, used, "-" if own else published)],
    )
    if listed < published and not (own or (task.dataset_dir / SETTINGS_FILE).is_file()):
        report.warn(
            f"{path} lists {listed} {what}, {published} were published. Complete the download."
        )

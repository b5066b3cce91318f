"""Folds of sounds and scenes, and mixtures, in the order in which the published code draws them."""

import csv
import io
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from common.datasets.groups import apart_problem, check_deal, count_groups, deal_groups
from common.errors import DataError
from common.simulation.random_streams import random_stream
from sed_task4.segmentation.dataset import (
    EVENT_COLUMNS,
    DatasetConfig,
    EventFile,
    Mixture,
    MixtureEvent,
)

logger = logging.getLogger(__name__)

PUBLISHED_SEED = 1234


def draw_folds(n_files: int, n_folds: int, seed: int = PUBLISHED_SEED) -> np.ndarray:
    """Deals sound files into folds of nearly equal size, regardless of their labels.

    Args:
        n_files: number of files.
        n_folds: number of folds.
        seed: of the deal.

    Returns:
        The fold of each file, from 1, int64 (n_files,).
    """
    order = np.arange(n_files)
    np.random.RandomState(seed).shuffle(order)
    folds = np.empty(n_files, np.int64)
    folds[order] = np.arange(n_files) % n_folds + 1
    return folds


def fold_titles(n_folds: int) -> dict[int, str]:
    """Names of the folds by number."""
    return {fold: f"fold {fold}" for fold in range(1, n_folds + 1)}


def folds_of(
    files: Sequence[EventFile], dataset: DatasetConfig, source: str = "the sounds"
) -> np.ndarray:
    """Deals sound files into folds: as published, or whole groups with a column group.

    Folds of the column fold are kept.

    Args:
        files: all sound files, in the order of their table.
        dataset: number of folds, seed and classes.
        source: origin of the files, for errors.

    Returns:
        The fold of each file, from 1, int64 (n_files,).

    Raises:
        DataError: a class whose sounds are mixed has fewer groups than there are folds, or the
            table has others than these.
    """
    if any(file.fold is not None for file in files):
        given = {file.name: file.fold or 0 for file in files}
        _check_given(given, dataset, source)
        return np.array(list(given.values()), np.int64)
    if not any(file.group is not None for file in files):
        return draw_folds(len(files), dataset.n_folds, dataset.mixture_seed)
    mixed = set(select_files(files, dataset).tolist())
    labels = [[file.label] if place in mixed else [] for place, file in enumerate(files)]
    pairs = [(str(file.group), each) for file, each in zip(files, labels, strict=True)]
    folds = _deal(pairs, dataset, source)
    return np.array([folds[str(file.group)] for file in files], np.int64)


def _check_given(given: Mapping[str, int], dataset: DatasetConfig, source: str) -> None:
    """Refuses folds of a table that the dataset does not have."""
    for name, fold in given.items():
        if not 1 <= fold <= dataset.n_folds:
            raise DataError(
                f"{source}: the fold of {name} is {fold}. Expected: 1 to `dataset.n_folds`,"
                f" {dataset.n_folds}. Correct the column fold, or set `dataset.n_folds`."
            )


def scene_folds(
    names: Sequence[str],
    groups: Mapping[str, str],
    dataset: DatasetConfig,
    source: str = "the scenes",
    given: Mapping[str, int] | None = None,
) -> dict[str, int] | None:
    """Deals scenes into folds, whole groups.

    Args:
        names: all scenes.
        groups: the group of each; empty: unknown.
        dataset: number of folds and seed.
        source: origin of the scenes, for errors.
        given: the fold of each by the column fold, which is kept; None or empty: there is none.

    Returns:
        The fold of each scene, from 1; None: all folds use all scenes.

    Raises:
        DataError: there are fewer groups than folds, or the table has others than these.
    """
    if given:
        _check_given(given, dataset, source)
        return dict(given)
    if not groups:
        return None
    folds = _deal([(groups[name], ["scenes"]) for name in names], dataset, source)
    return {name: folds[groups[name]] for name in names}


def _deal(
    pairs: Sequence[tuple[str, Sequence[str]]], dataset: DatasetConfig, source: str
) -> dict[str, int]:
    """Deals groups into folds: the fold, from 1, of each, given group and classes of each file."""
    groups, titles = count_groups(pairs), fold_titles(dataset.n_folds)
    rng = random_stream(dataset.mixture_seed, "deal groups")
    dealt = deal_groups(groups, [1 / dataset.n_folds] * dataset.n_folds, rng)
    folds = {name: place + 1 for name, place in dealt.items()}
    remedy = "Add files of other sources, correct the column group, or lower `dataset.n_folds`."
    check_deal(groups, folds, titles, source, remedy)
    return folds


def groups_in_folds(
    mixtures: Sequence[Mixture], files: Sequence[EventFile], scene_groups: Mapping[str, str]
) -> dict[str, dict[str, dict[str, str]]]:
    """Lists the groups in each fold of a list of mixtures, if the tables have a column group.

    Args:
        mixtures: all of the list.
        files: the sounds with their groups.
        scene_groups: by name of the scene.

    Returns:
        For "sounds" and "scenes", by fold, a file of each group.
    """
    sounds = {file.name: file.group for file in files if file.group is not None}
    found: dict[str, dict[str, dict[str, str]]] = {}
    for mixture in mixtures:
        names = [("sounds", event.audio_name) for event in mixture.events]
        for what, name in [*names, ("scenes", mixture.scene_name)]:
            groups = sounds if what == "sounds" else scene_groups
            if name in groups:
                fold = found.setdefault(what, {}).setdefault(f"fold {mixture.fold}", {})
                fold.setdefault(groups[name], name)
    return found


def mixture_problems(
    places: Mapping[str, Mapping[str, Mapping[str, str]]], where: str
) -> list[str]:
    """Lists the groups of sounds and of scenes in several folds, see `groups_in_folds`."""
    remedy = "Correct the column group, or remove the list to have it drawn again."
    found = (apart_problem(parts, f"{where}, {what}", remedy) for what, parts in places.items())
    return [problem for problem in found if problem]


def repeat_array(array: np.ndarray, length: int, random_state: np.random.RandomState) -> np.ndarray:
    """Repeats an array until it is long enough, as published.

    The array is shuffled once per repetition, but all repetitions have the order of the last
    shuffle: the published lists depend on it.

    Args:
        array: (n,), at least one entry.
        length: number of entries.
        random_state: advances by one shuffle per repetition.

    Returns:
        (length,).
    """
    shuffled = np.array(array)
    n_repetitions = length // len(array) + 1
    for _ in range(n_repetitions):
        random_state.shuffle(shuffled)
    return np.tile(shuffled, n_repetitions)[:length]


def draw_mixtures(
    files: Sequence[EventFile],
    durations_s: Mapping[str, float],
    scene_names: Sequence[str],
    dataset: DatasetConfig,
    audio_dir: Path = Path(),
    scene_groups: Mapping[str, str] | None = None,
    given_folds: Mapping[str, int] | None = None,
) -> list[Mixture]:
    """Draws all mixtures: the verified sounds of each fold in turn, and the next scene.

    Args:
        files: all sound files, in the order of their table.
        durations_s: length of each verified file by name.
        scene_names: all scenes, in the order of their table; repeated if there are too few.
        dataset: classes, numbers, times and seed.
        audio_dir: folder of the mixtures.
        scene_groups: the source of each scene, in one fold only; None or empty: unknown.
        given_folds: the fold of each scene, if it is not to be drawn.

    Returns:
        The mixtures of the first fold, then those of the second ..., with consecutive numbers.

    Raises:
        DataError: a fold has no verified sound of any class, or there are fewer groups than folds.
    """
    usable, folds = select_files(files, dataset), folds_of(files, dataset)
    random_state = np.random.RandomState(dataset.mixture_seed)
    scenes = np.array(scene_names)
    random_state.shuffle(scenes)
    fold_of_scene = scene_folds(scene_names, scene_groups or {}, dataset, given=given_folds)
    mixtures: list[Mixture] = []
    for fold in range(1, dataset.n_folds + 1):
        chosen = usable[folds[usable] == fold]
        if not len(chosen):
            raise DataError(
                f"Fold {fold} of {dataset.n_folds} has no sound to mix. Add sound files, or lower"
                " `dataset.n_folds`."
            )
        mine, first = scenes, 0  # as published: all folds use the scenes in turn
        if fold_of_scene is not None:
            mine = np.array([name for name in scenes.tolist() if fold_of_scene[name] == fold])
            first = len(mixtures)
            if not len(mine):
                raise DataError(
                    f"Fold {fold} of {dataset.n_folds} has no scene. Add scenes, or correct the"
                    " column fold of meta.csv."
                )
        shape = dataset.mixtures_per_fold, dataset.events_per_mixture
        indices = repeat_array(chosen, shape[0] * shape[1], random_state)
        for group in indices.reshape(shape):
            number, members = len(mixtures), enumerate(files[index] for index in group)
            events = tuple(_event(file, durations_s, place, dataset) for place, file in members)
            name = f"{number:05d}.wav"
            scene = str(mine[(number - first) % len(mine)])
            mixtures.append(Mixture(name, fold, audio_dir / name, scene, events))
    return mixtures


def select_files(files: Sequence[EventFile], dataset: DatasetConfig) -> np.ndarray:
    """Lists the indices of the files that are mixed, int64 (n,): verified ones of the classes.

    Raises:
        DataError: there is none at all.
    """
    classes, numbered = dataset.classes, enumerate(files)
    usable = [index for index, file in numbered if file.verified and file.label in classes]
    if not usable:
        labels = ", ".join(sorted({file.label for file in files}))
        raise DataError(
            "There is no verified sound of any class. Expected: some of"
            f" {', '.join(dataset.classes)}. Received: sounds of {labels}. Correct"
            " `dataset.classes` or `dataset.events_dir`."
        )
    return np.array(usable, np.int64)


def warn_absent_classes(files: Sequence[EventFile], dataset: DatasetConfig) -> list[str]:
    """Logs and returns the classes without a verified sound."""
    found = {files[index].label for index in select_files(files, dataset)}
    absent = [name for name in dataset.classes if name not in found]
    if absent:
        logger.warning(
            f"No verified sound of {', '.join(absent)}: these classes cannot be learned or scored."
            " Correct `dataset.classes` if that is not intended."
        )
    return absent


def _event(
    file: EventFile, durations_s: Mapping[str, float], place: int, dataset: DatasetConfig
) -> MixtureEvent:
    onset_s = dataset.onset_s(place)
    offset_s = onset_s + min(durations_s[file.name], dataset.event_s)
    return MixtureEvent(file.name, file.label, onset_s, offset_s)


def format_folds(files: Sequence[EventFile], folds: np.ndarray) -> str:
    """Formats the folds as published, comma-separated: row number, columns of the table, fold."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["", *EVENT_COLUMNS, "fold"])
    for number, (file, fold) in enumerate(zip(files, folds.tolist(), strict=True)):
        writer.writerow([number, file.name, file.label, int(file.verified), fold])
    return text.getvalue()

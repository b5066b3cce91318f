"""Which sounds and scenes are mixed: folds and mixtures in the order in which the published code draws them."""

import csv
import io
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from common.errors import DataError
from sed_task4.segmentation.dataset import EVENT_COLUMNS, DatasetConfig, EventFile, Mixture, MixtureEvent

logger = logging.getLogger(__name__)

PUBLISHED_SEED = 1234


def draw_folds(n_files: int, n_folds: int, seed: int = PUBLISHED_SEED) -> np.ndarray:
    """Deals sound files into folds of nearly equal size, regardless of their labels.

    Args:
        n_files: number of files.
        n_folds: number of folds.
        seed: decides which file goes where.

    Returns:
        The fold of each file, from 1, int64 (n_files,).
    """
    order = np.arange(n_files)
    np.random.RandomState(seed).shuffle(order)
    folds = np.empty(n_files, np.int64)
    folds[order] = np.arange(n_files) % n_folds + 1
    return folds


def repeat_array(array: np.ndarray, length: int, random_state: np.random.RandomState) -> np.ndarray:
    """Repeats an array until it is long enough, as published.

    The array is shuffled once for every repetition, but all repetitions have the order of the last shuffle: the
    published lists depend on it.

    Args:
        array: (n,), at least one entry.
        length: number of entries wanted.
        random_state: moves on by one shuffle per repetition.

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
) -> list[Mixture]:
    """Draws all mixtures: verified sounds of the fold in turn, and the next scene.

    Args:
        files: all sound files, in the order of their table.
        durations_s: length of each verified file by name.
        scene_names: all scenes, in the order of their table; used again from the first where they run short.
        dataset: classes, numbers, times and seed.
        audio_dir: folder of the mixtures.

    Returns:
        The mixtures of the first fold, then those of the second ...; numbered throughout.

    Raises:
        DataError: a fold has no verified sound of any class.
    """
    usable = select_files(files, dataset)
    folds = draw_folds(len(files), dataset.n_folds, dataset.mixture_seed)
    random_state = np.random.RandomState(dataset.mixture_seed)
    scenes = np.array(scene_names)
    random_state.shuffle(scenes)
    mixtures: list[Mixture] = []
    for fold in range(1, dataset.n_folds + 1):
        chosen = usable[folds[usable] == fold]
        if not len(chosen):
            raise DataError(
                f"Fold {fold} of {dataset.n_folds} has no sound that could be mixed. Add sound files, or lower "
                "`dataset.n_folds`."
            )
        indices = repeat_array(chosen, dataset.mixtures_per_fold * dataset.events_per_mixture, random_state)
        for group in indices.reshape(dataset.mixtures_per_fold, dataset.events_per_mixture):
            number = len(mixtures)
            events = tuple(_event(files[index], durations_s, place, dataset) for place, index in enumerate(group))
            name = f"{number:05d}.wav"
            mixtures.append(Mixture(name, fold, audio_dir / name, str(scenes[number % len(scenes)]), events))
    return mixtures


def select_files(files: Sequence[EventFile], dataset: DatasetConfig) -> np.ndarray:
    """Lists the indices of the files that are mixed, int64 (n,): verified ones of the classes.

    Raises:
        DataError: there is none at all.
    """
    usable = [index for index, file in enumerate(files) if file.verified and file.label in dataset.classes]
    if not usable:
        labels = ", ".join(sorted({file.label for file in files}))
        raise DataError(
            f"There is no verified sound of any class. Expected: some of {', '.join(dataset.classes)}. Received: "
            f"sounds of {labels}. Correct `dataset.classes` or `dataset.events_dir`."
        )
    return np.array(usable, np.int64)


def warn_absent_classes(files: Sequence[EventFile], dataset: DatasetConfig) -> list[str]:
    """Names in the log, and returns, the classes without a verified sound."""
    found = {files[index].label for index in select_files(files, dataset)}
    absent = [name for name in dataset.classes if name not in found]
    if absent:
        logger.warning(
            "No verified sound of %s: these classes cannot be learned or scored. Correct `dataset.classes` if that is "
            "not intended.",
            ", ".join(absent),
        )  # fmt: skip
    return absent


def _event(file: EventFile, durations_s: Mapping[str, float], place: int, dataset: DatasetConfig) -> MixtureEvent:
    onset_s = dataset.onset_s(place)
    offset_s = onset_s + min(durations_s[file.name], dataset.event_s)
    return MixtureEvent(file.name, file.label, onset_s, offset_s)


def format_folds(files: Sequence[EventFile], folds: np.ndarray) -> str:
    """Writes which file is in which fold, comma-separated as published: row number, the columns of the table, fold."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["", *EVENT_COLUMNS, "fold"])
    for number, (file, fold) in enumerate(zip(files, folds.tolist(), strict=True)):
        writer.writerow([number, file.name, file.label, int(file.verified), fold])
    return text.getvalue()

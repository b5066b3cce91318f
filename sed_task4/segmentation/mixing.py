"""Mixing of the listed mixtures: events and scene in two channels, at a given level.

    python -m sed_task4.segmentation.mixing <task-id>

makes the missing mixtures of a task, as training does too.
"""

import logging
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from common.audio.files import read_header, read_mono, write_wav
from common.audio.formats import shown, sound_path
from common.cli.base import base_parser, params_path, run_safely
from common.data.provenance import Item, is_absent, noted_changes, write_note
from common.datasets.groups import refuse
from common.errors import DataError
from common.io.files import load_json, remove_temporaries, write_json, write_text
from common.io.locks import only_one
from common.io.notes import Note, collected, summaries
from common.io.terminal import bar_pace
from common.runtime.parallel import parallel_map, require_engine
from common.settings.parallel import ParallelConfig
from common.settings.tasks import load_task
from common.simulation.dataset_folder import as_stored, text_digest
from common.simulation.random_streams import random_stream
from sed_task4.segmentation import dataset as data
from sed_task4.segmentation import mixture_lists as lists
from sed_task4.segmentation.dataset import (
    LIST_NAME,
    MIX,
    DatasetConfig,
    EventSounds,
    Mixture,
    MixtureEvent,
)

logger = logging.getLogger(__name__)

FOLDS_NAME = "dcase2018_task2_validate_meta.csv"
LIST_SETTINGS_NAME = "mixture.json"  # settings of the list; a list without it was given
AUDIO_SETTINGS_NAME = "mixing.json"
SOURCES_NAME = "mixed_files.json"  # the sounds and scenes, as they were when they were mixed
_ROUNDING_SAMPLES = 2  # by which a resampled sound may be shorter than its label


def normalise_energy(audio: np.ndarray, level_db: float = 0.0) -> np.ndarray:
    """Scales a sound to an RMS of 10^(level_db / 20); silence stays silence.

    Args:
        audio: (S,), any scale.
        level_db: new level, 0 dB for an RMS of 1.

    Returns:
        float64 (S,).
    """
    audio = np.asarray(audio, np.float64)
    rms = float(np.sqrt(np.mean(audio**2)))
    return audio * (10 ** (level_db / 20) / rms) if rms > 0 else audio


def place_sounds(
    sounds: Sequence[np.ndarray],
    events: Sequence[MixtureEvent],
    n_samples: int,
    sample_rate_hz: int,
) -> np.ndarray:
    """Puts the beginning of each sound at the onset of its event, cut at the offset.

    Args:
        sounds: (S,) each, one per event.
        events: their onsets and offsets.
        n_samples: length of the track.
        sample_rate_hz: sample rate of sounds and track.

    Returns:
        float64 (n_samples,).

    Raises:
        DataError: a sound is shorter than its event.
    """
    track = np.zeros(n_samples)
    for sound, event in zip(sounds, events, strict=True):
        start, stop = int(event.onset_s * sample_rate_hz), int(event.offset_s * sample_rate_hz)
        if len(sound) < stop - start - _ROUNDING_SAMPLES:
            expected_s = event.offset_s - event.onset_s
            raise DataError(
                f"{event.audio_name} is too short for its event. Expected: {expected_s:.4g} s."
                f" Received: {len(sound) / sample_rate_hz:.4g} s. The list of mixtures belongs to"
                " other sounds: remove it to have it written again."
            )
        part = sound[: min(stop, n_samples) - start]
        track[start : start + len(part)] = part
    return track


def mix(
    sounds: Sequence[np.ndarray],
    events: Sequence[MixtureEvent],
    scene: np.ndarray,
    snr_db: float,
    sample_rate_hz: int,
) -> np.ndarray:
    """Mixes sounds with a scene as published, in two channels.

    The RMS of the scene becomes 1, that of each whole sound file 10^(snr_db / 20); one common
    factor makes the largest magnitude of both channels full scale.

    Args:
        sounds: (S,) each, one per event, whole files.
        events: their onsets and offsets.
        scene: (n,).
        snr_db: level of the sounds relative to the scene.
        sample_rate_hz: sample rate of all.

    Returns:
        int16 (n, 2), events and scene; rounded down as by libsndfile.

    Raises:
        DataError: a sound is shorter than its event.

    References:
        Kong et al., arXiv:1804.04715, section 4.
    """
    levelled = [normalise_energy(sound, snr_db) for sound in sounds]
    track = place_sounds(levelled, events, len(scene), sample_rate_hz)
    both = np.stack([track, normalise_energy(scene)], axis=1)  # (n, 2)
    peak = np.abs(both).max()
    both = both / peak if peak > 0 else both
    return np.clip(np.floor(both * 32768), -32768, 32767).astype(np.int16)


def white_noise(mixture_name: str, n_samples: int, seed: int) -> np.ndarray:
    """Draws the noise of a mixture, uniform in [-1, 1], so without the published offset."""
    return random_stream(seed, "white_noise", mixture_name).uniform(-1.0, 1.0, n_samples)


def run(task: Any, overwrite: bool = False) -> None:
    """Makes the missing parts of the list of mixtures and of their audio.

    A list without `mixture.json` next to it was given, such as the published one: it is used as it
    is.

    Args:
        task: settings; `dataset_dir`, `dataset` and `parallel` are used.
        overwrite: make everything again, except a given list.

    Raises:
        DataError: sounds or scenes are missing or cannot be used, or existing mixtures have other
            settings.
    """
    make_mixtures(Path(task.dataset_dir), task.dataset, task.parallel, overwrite=overwrite)


def make_mixtures(
    dataset_dir: Path,
    dataset: DatasetConfig,
    parallel: ParallelConfig | None = None,
    *,
    overwrite: bool = False,
    progress: bool = True,
) -> list[Mixture]:
    """Makes the missing parts of the list of mixtures and of their audio, see `run`.

    Args:
        dataset_dir: folder of the relative folders in `dataset`.
        dataset: sounds, scenes, level and numbers.
        parallel: processes; None: one per core.
        overwrite: make everything again, except a given list.
        progress: show a progress bar.

    Returns:
        All mixtures, in the order of the list.

    Raises:
        DataError: see `run`.
    """
    table = data.read_event_sounds(dataset_dir, dataset)
    path = data.mixtures_folder(dataset_dir, dataset) / LIST_NAME
    folder = data.audio_folder(dataset_dir, dataset)
    with _locked(path.parent) if overwrite or not path.is_file() else nullcontext():
        text = _list_text(dataset_dir, dataset, table, overwrite)
    mixtures = data.parse_mixtures(text, folder, dataset, str(path))
    settings = _audio_settings(dataset, text)
    scene_groups = data.read_scene_groups(dataset_dir, dataset)
    places = lists.groups_in_folds(mixtures, table.files, scene_groups)
    refuse(lists.mixture_problems(places, str(path)))
    for what, parts in places.items():
        counts = ", ".join(f"{fold} {len(groups)}" for fold, groups in parts.items())
        logger.info("%s: groups of %s: %s; none is in two folds.", path, what, counts)
    scenes_dir = data.scenes_folder(dataset_dir, dataset)
    files = _files_used(mixtures, table, scenes_dir, dataset)
    if not overwrite and not _pending(mixtures):  # nothing is written: the folder may be read-only
        _check_folder(folder, settings, files)
        return mixtures
    with _locked(path.parent):
        _open_folder(folder, settings, files, overwrite)
        pending = _pending(mixtures)
        _write_mixtures(pending, dataset, table.audio_dir, scenes_dir, parallel, progress)
    n_present = len(mixtures) - len(pending)
    logger.info("%s: %d mixtures made, %d were present.", folder, len(pending), n_present)
    return mixtures


def check(dataset_dir: Path, dataset: DatasetConfig) -> None:
    """Compares existing mixtures with the current sounds, scenes and settings; writes nothing.

    Args:
        dataset_dir: folder of the relative folders in `dataset`.
        dataset: sounds, scenes, level and numbers.

    Raises:
        DataError: they have others, see `run`.
    """
    path = data.mixtures_folder(dataset_dir, dataset) / LIST_NAME
    folder = data.audio_folder(dataset_dir, dataset)
    if not path.is_file():
        return  # the caller reports missing mixtures
    text, record = data.read_text(path, MIX), path.with_name(LIST_SETTINGS_NAME)
    settings = _audio_settings(dataset, text)
    if is_absent(Path(dataset_dir) / dataset.events_dir.expanduser()):
        _check_folder(folder, settings, ())
        logger.info("%s: the mixtures could not be compared with absent sounds.", folder)
        return
    table = data.read_event_sounds(dataset_dir, dataset)
    if record.is_file():
        names = data.read_scene_names(dataset_dir, dataset)
        groups = data.read_scene_groups(dataset_dir, dataset)
        folds = data.read_scene_folds(dataset_dir, dataset)
        _check_same(record, _list_settings(dataset, table, names, groups, folds), path)
    mixtures = data.parse_mixtures(text, folder, dataset, str(path))
    scenes_dir = data.scenes_folder(dataset_dir, dataset)
    _check_folder(folder, settings, _files_used(mixtures, table, scenes_dir, dataset))


def _files_used(
    mixtures: Sequence[Mixture], table: EventSounds, scenes_dir: Path, dataset: DatasetConfig
) -> list[Item]:
    """Lists the sounds and scenes of mixtures, without those of absent folders."""
    folders = {"sound": table.audio_dir, "scene": scenes_dir / "audio"}
    used = {("sound", event.audio_name) for mixture in mixtures for event in mixture.events}
    if dataset.scene_type != "white_noise":
        used |= {("scene", mixture.scene_name) for mixture in mixtures}
    absent = {kind for kind, folder in folders.items() if is_absent(folder)}
    pairs = sorted(pair for pair in used if pair[0] not in absent)
    return [Item(f"{kind} {name}", kind, (folders[kind] / name,)) for kind, name in pairs]


def _check_folder(folder: Path, settings: Mapping[str, Any], files: Sequence[Item]) -> None:
    """Refuses mixtures of other settings, or of other sounds and scenes, as far as recorded."""
    if (folder / AUDIO_SETTINGS_NAME).is_file():
        _check_same(folder / AUDIO_SETTINGS_NAME, settings, folder)
    if (folder / SOURCES_NAME).is_file():
        found = noted_changes(folder / SOURCES_NAME, files)
        if found:
            first = ": ".join(next(iter(found.items())))
            _refuse(folder, f"{len(found)} sounds or scenes have changed, the first is {first}")


def _locked(folder: Path) -> AbstractContextManager[None]:
    return only_one(folder, "set another `dataset.mixtures_dir`")


def _pending(mixtures: Sequence[Mixture]) -> list[Mixture]:
    return [mixture for mixture in mixtures if not mixture.audio_path.is_file()]


def forget_mixtures(dataset_dir: Path, dataset: DatasetConfig) -> None:
    """Removes mixtures of outdated sounds, and their list unless it was given."""
    folder = data.mixtures_folder(dataset_dir, dataset)
    if (folder / LIST_SETTINGS_NAME).is_file():
        (folder / LIST_NAME).unlink(missing_ok=True)
    for record in folder.glob(f"mixed_audios/*/{AUDIO_SETTINGS_NAME}"):
        for path in (*record.parent.glob("*.wav"), record.with_name(SOURCES_NAME), record):
            path.unlink(missing_ok=True)


def _list_text(
    dataset_dir: Path, dataset: DatasetConfig, table: EventSounds, overwrite: bool
) -> str:
    """Returns the text of the list of mixtures; draws and writes it if missing or outdated."""
    path = data.mixtures_folder(dataset_dir, dataset) / LIST_NAME
    record = path.with_name(LIST_SETTINGS_NAME)
    if path.is_file() and not record.is_file():
        logger.info("%s was given: it is used as it is.", path)
        return data.read_text(path, MIX)
    scene_names = data.read_scene_names(dataset_dir, dataset)
    scene_groups = data.read_scene_groups(dataset_dir, dataset)
    given_folds = data.read_scene_folds(dataset_dir, dataset)
    settings = _list_settings(dataset, table, scene_names, scene_groups, given_folds)
    if path.is_file() and not overwrite:
        _check_same(record, settings, path)
        return data.read_text(path, MIX)
    files = table.files
    lists.warn_absent_classes(files, dataset)
    _log_sources(table, scene_names, scene_groups)
    folds = lists.folds_of(files, dataset, str(table.path))
    # Refused here, where the table can be named.
    scene_table = str(data.scenes_folder(dataset_dir, dataset) / "meta.csv")
    lists.scene_folds(scene_names, scene_groups, dataset, scene_table, given_folds)
    mixtures = lists.draw_mixtures(
        files,
        _durations_s(table, dataset),
        scene_names,
        dataset,
        scene_groups=scene_groups,
        given_folds=given_folds,
    )
    text = data.format_mixtures(mixtures)
    remove_temporaries(path.parent)
    path.unlink(missing_ok=True)  # before the new settings are written
    write_text(path.with_name(FOLDS_NAME), lists.format_folds(files, folds))
    write_json(record, settings)
    write_text(path, text)
    return text


def _log_sources(
    table: EventSounds, scene_names: Sequence[str], scene_groups: Mapping[str, str]
) -> None:
    """Logs tables without a column group."""
    has_groups = any(file.group is not None for file in table.files)
    lacking = [] if has_groups else [f"sounds ({table.path.name})"]
    no_scenes = tuple(scene_names) == (data.NO_SCENE,)
    lacking += [] if scene_groups or no_scenes else ["scenes (meta.csv)"]
    if lacking:
        logger.info(
            f"No column group: every file is taken for a source of its own, of"
            f" {' and '.join(lacking)}. Files of one recording may be in several folds."
        )


def _list_settings(
    dataset: DatasetConfig,
    table: EventSounds,
    scene_names: Sequence[str],
    scene_groups: Mapping[str, str],
    given_folds: Mapping[str, int],
) -> dict[str, Any]:
    """Lists everything that the list of mixtures depends on, as JSON stores it."""
    names = ["classes", "mixtures_per_fold", "events_per_mixture", "first_onset_s", "onset_step_s"]
    names += ["event_s", "n_folds", "mixture_seed"]
    sounds = []
    for file in table.files:
        group = "" if file.group is None else f",{file.group}"
        fold = "" if file.fold is None else f",fold {file.fold}"
        sounds.append(f"{file.name},{file.label},{file.verified}{group}{fold}")
    scenes = [f"{name},{scene_groups[name]}" if scene_groups else name for name in scene_names]
    scenes = [
        f"{each},fold {fold}" for each, fold in zip(scenes, given_folds.values(), strict=False)
    ] or scenes
    digests = {"sounds": text_digest(sounds), "scenes": text_digest(scenes)}
    return as_stored({name: getattr(dataset, name) for name in names} | digests)


def _durations_s(table: EventSounds, dataset: DatasetConfig) -> dict[str, float]:
    """Reads the lengths of the sounds that may be mixed from their headers."""
    names = [table.files[index].name for index in lists.select_files(table.files, dataset)]
    paths = {name: sound_path(table.audio_dir, name) for name in names}
    renamed = [f"{path.name} for {name}" for name, path in paths.items() if path.name != name]
    if renamed:
        start = f"{len(renamed)} sound(s) have another suffix than in"
        logger.warning("%s %s: %s.", start, table.path, shown(renamed))
    missing = [path for path in paths.values() if not path.is_file()]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(paths)} sounds in {table.path} are missing, such as"
            f" {missing[0]}. Unpack the dataset again, or remove their rows."
        )
    with collected():  # mixing repeats these notes
        return {name: read_header(path).duration_s for name, path in paths.items()}


def _audio_settings(dataset: DatasetConfig, list_text: str) -> dict[str, Any]:
    """Lists everything that the audio of the mixtures depends on, as JSON stores it."""
    names = "sample_rate_hz", "clip_s", "scene_type", "snr_db", "mixture_seed"
    settings = {name: getattr(dataset, name) for name in names}
    return as_stored({**settings, "mixtures": text_digest([list_text])})


def _open_folder(
    folder: Path, settings: dict[str, Any], files: Sequence[Item], overwrite: bool
) -> None:
    """Makes the folder of the mixtures, or checks that its settings and sounds are the same."""
    record = folder / AUDIO_SETTINGS_NAME
    if not overwrite:
        _check_folder(folder, settings, files)
    remove_temporaries(folder)
    # Before the new settings are written: a run killed in between must not take old mixtures for
    # new ones.
    for path in folder.glob("*.wav") if overwrite else ():
        path.unlink()
    if not any(folder.glob("*.wav")):  # existing ones are noted, except those of earlier versions
        write_note(folder / SOURCES_NAME, files, copied_along=True)
    write_json(record, settings)


def _check_same(record: Path, settings: Mapping[str, Any], what: Path) -> None:
    """Refuses to resume with mixtures of other settings."""
    try:
        stored = dict(load_json(record))
    except (OSError, ValueError, TypeError) as error:
        remedy = f"Remove {record.parent} to have it made again."
        raise DataError(f"{record} cannot be read ({error!r}). {remedy}") from None
    different = []
    for key in settings:
        if stored.get(key) != settings[key]:
            present, wanted = str(stored.get(key))[:80], str(settings[key])[:80]
            different.append(f"{key}: {present} there, {wanted} wanted")
    if different:
        _refuse(what, "; ".join(different))


def _refuse(what: Path, listed: str) -> NoReturn:
    raise DataError(
        f"{what} was made with other settings or other data ({listed}). Give another folder with"
        " --set dataset.mixtures_dir=..., or make it again with `python -m"
        " sed_task4.segmentation.mixing <task-id> --overwrite`."
    )


def _write_mixtures(
    mixtures: Sequence[Mixture],
    dataset: DatasetConfig,
    sounds_dir: Path,
    scenes_dir: Path,
    parallel: ParallelConfig | None,
    progress: bool,
) -> None:
    from tqdm import tqdm

    write = partial(write_mixture, dataset=dataset, sounds_dir=sounds_dir, scenes_dir=scenes_dir)
    written = parallel_map(write, mixtures, parallel or ParallelConfig())
    notes: list[Note] = []
    shown_bar = bool(progress and mixtures)
    shown = {"unit": "file", "disable": not shown_bar, **bar_pace()}
    for remarks in tqdm(written, "mixtures", len(mixtures), **shown):
        notes += remarks
    for line in summaries(notes):
        logger.warning("%s", line)


def write_mixture(
    mixture: Mixture, dataset: DatasetConfig, sounds_dir: Path, scenes_dir: Path
) -> list[Note]:
    """Mixes one mixture and writes it: two channels of 16 bits, events and scene.

    Args:
        mixture: sounds, times and path.
        dataset: scene, level, rate and length.
        sounds_dir: folder of the sounds.
        scenes_dir: folder of the audio/ of the scenes.

    Returns:
        Remarks on the sounds and the scene.

    Raises:
        DataError: a sound or a scene cannot be used.
    """
    with collected() as notes:
        _write_mixture(mixture, dataset, sounds_dir, scenes_dir)
    return notes


def _write_mixture(
    mixture: Mixture, dataset: DatasetConfig, sounds_dir: Path, scenes_dir: Path
) -> None:
    rate_hz = dataset.sample_rate_hz
    paths = [sound_path(sounds_dir, event.audio_name) for event in mixture.events]
    sounds = [_read_loud(path, rate_hz) for path in paths]
    if dataset.scene_type == "white_noise":
        scene = white_noise(mixture.name, dataset.clip_samples, dataset.mixture_seed)
    else:
        scene = _read_scene(sound_path(scenes_dir / "audio", mixture.scene_name), dataset)
    mixed = mix(sounds, mixture.events, scene, dataset.snr_db, rate_hz)
    write_wav(mixture.audio_path, mixed, rate_hz)


def _read_loud(path: Path, sample_rate_hz: int) -> np.ndarray:
    """Reads a sound as float32 (S,); silence is refused, since its level cannot be set."""
    audio = read_mono(path, sample_rate_hz)[:, 0]
    if not np.any(audio):
        raise DataError(
            f"{path} is silent: its level cannot be set. Replace it, or remove its row."
        )
    return audio


def _read_scene(path: Path, dataset: DatasetConfig) -> np.ndarray:
    scene = _read_loud(path, dataset.sample_rate_hz)
    if len(scene) < dataset.clip_samples:
        length_s = len(scene) / dataset.sample_rate_hz
        raise DataError(
            f"Scene too short: {path}. Expected: {dataset.clip_s:g} s. Received: {length_s:.4g} s."
            " Replace it, or lower `dataset.clip_s`."
        )
    return scene[: dataset.clip_samples]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    return run_safely(_main, arguments, resumes=True)


def _main(arguments: Sequence[str]) -> None:
    parser = base_parser("Mixes the sounds and scenes of a segmentation task.")
    known = "id in params.yaml (default segmentation)"
    parser.add_argument("task_id", nargs="?", default="segmentation", help=known)
    parser.add_argument("--overwrite", action="store_true", help="mix everything again")
    options = parser.parse_args(arguments)
    task = load_task(params_path(options.params), options.task_id, options.overrides)
    require_engine(task.parallel)
    run(task, overwrite=options.overwrite)


if __name__ == "__main__":
    sys.exit(main())

"""From the list of mixtures to their audio: events and scene side by side, at a given level.

    python -m sed_task4.segmentation.mixing <task-id>

makes the mixtures of a task; training does it by itself. What is there already is kept.
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
from common.runtime.parallel import parallel_map, require_engine
from common.settings.parallel import ParallelConfig
from common.settings.tasks import load_task
from common.simulation.dataset_folder import as_stored, text_digest
from common.simulation.random_streams import random_stream
from sed_task4.segmentation.dataset import (
    LIST_NAME,
    MIX,
    NO_SCENE,
    DatasetConfig,
    EventSounds,
    Mixture,
    MixtureEvent,
    audio_folder,
    format_mixtures,
    mixtures_folder,
    parse_mixtures,
    read_event_sounds,
    read_scene_groups,
    read_scene_names,
    read_text,
    scenes_folder,
)
from sed_task4.segmentation.mixture_lists import (
    draw_mixtures,
    folds_of,
    format_folds,
    groups_in_folds,
    mixture_problems,
    scene_folds,
    select_files,
    warn_absent_classes,
)

logger = logging.getLogger(__name__)

FOLDS_NAME = "dcase2018_task2_validate_meta.csv"
LIST_SETTINGS_NAME = "mixture.json"  # what the list was drawn from; a list without it was given
AUDIO_SETTINGS_NAME = "mixing.json"
SOURCES_NAME = "mixed_files.json"  # the sounds and scenes, as they were when they were mixed
_ROUNDING_SAMPLES = 2  # that a resampled sound may be shorter than its label


def normalise_energy(audio: np.ndarray, level_db: float = 0.0) -> np.ndarray:
    """Scales a sound to an RMS of 10^(level_db / 20); silence stays silence.

    Args:
        audio: (S,), any scale.
        level_db: level wanted, 0 dB for an RMS of 1.

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
    """Puts the beginning of each sound where its event is, cut where the event ends.

    Args:
        sounds: (S,) each, one per event.
        events: from when to when each is heard.
        n_samples: length of the track.
        sample_rate_hz: of sounds and track.

    Returns:
        float64 (n_samples,).

    Raises:
        DataError: a sound is shorter than its event.
    """
    track = np.zeros(n_samples)
    for sound, event in zip(sounds, events, strict=True):
        start, stop = int(event.onset_s * sample_rate_hz), int(event.offset_s * sample_rate_hz)
        if len(sound) < stop - start - _ROUNDING_SAMPLES:
            raise DataError(
                f"{event.audio_name} is too short for its event. Expected:"
                f" {event.offset_s - event.onset_s:.4g} s. Received:"
                f" {len(sound) / sample_rate_hz:.4g} s. The list of mixtures belongs to other"
                " sounds: remove it to have it written again."
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
    """Mixes sounds with a scene as published, events and scene apart.

    The RMS of the scene becomes 1, that of each whole sound file 10^(snr_db / 20); one common
    factor makes the largest magnitude of both channels full scale.

    Args:
        sounds: (S,) each, one per event, whole files.
        events: when they are heard.
        scene: (n,).
        snr_db: level of the sounds against the scene.
        sample_rate_hz: of all.

    Returns:
        int16 (n, 2), events and scene; rounded down as libsndfile writes 16 bits.

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
    """Draws the noise of one mixture, the same in every run: even in [-1, 1], so without the
    published offset."""
    return random_stream(seed, "white_noise", mixture_name).uniform(-1.0, 1.0, n_samples)


def run(task: Any, overwrite: bool = False) -> None:
    """Makes what is missing of the list of mixtures and of their audio.

    A list that is there without `mixture.json` beside it was given, such as the published one: it
    is used as it is.

    Args:
        task: settings; `dataset_dir`, `dataset` and `parallel` are used.
        overwrite: make all of it again, but for a given list.

    Raises:
        DataError: sounds or scenes are not there or cannot be used, or the mixtures there are of
            other settings.
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
    """Makes what is missing of the list of mixtures and of their audio, see `run`.

    Args:
        dataset_dir: folder that the folders of `dataset` are in, where those are not absolute.
        dataset: sounds, scenes, level and numbers.
        parallel: processes; None: one per core.
        overwrite: make all of it again, but for a given list.
        progress: show a progress bar.

    Returns:
        All mixtures, in the order of the list.

    Raises:
        DataError: sounds or scenes are not there or cannot be used, or the mixtures there are of
            other settings.
    """
    table = read_event_sounds(dataset_dir, dataset)
    path, folder = (
        mixtures_folder(dataset_dir, dataset) / LIST_NAME,
        audio_folder(dataset_dir, dataset),
    )
    with _alone(path.parent) if overwrite or not path.is_file() else nullcontext():
        text = _list_text(dataset_dir, dataset, table, overwrite)
    mixtures, settings = (
        parse_mixtures(text, folder, dataset, str(path)),
        _audio_settings(dataset, text),
    )
    places = groups_in_folds(mixtures, table.files, read_scene_groups(dataset_dir, dataset))
    refuse(mixture_problems(places, str(path)))
    for what, parts in places.items():
        counts = ", ".join(f"{fold} {len(groups)}" for fold, groups in parts.items())
        logger.info("%s: groups of %s: %s; none is in two folds.", path, what, counts)
    files = _files_used(mixtures, table, scenes_folder(dataset_dir, dataset), dataset)
    if not overwrite and not _pending(mixtures):  # nothing is written: the folder may be read-only
        _check_folder(folder, settings, files)
        return mixtures
    with _alone(path.parent):
        _open_folder(folder, settings, files, overwrite)
        pending = _pending(mixtures)
        _write_mixtures(
            pending,
            dataset,
            table.audio_dir,
            scenes_folder(dataset_dir, dataset),
            parallel,
            progress,
        )
    logger.info(
        "%s: %d mixtures made, %d were there.", folder, len(pending), len(mixtures) - len(pending)
    )
    return mixtures


def check(dataset_dir: Path, dataset: DatasetConfig) -> None:
    """Compares mixtures that are there with the sounds, scenes and settings of today; writes
    nothing.

    Args:
        dataset_dir: folder that the folders of `dataset` are in, where those are not absolute.
        dataset: sounds, scenes, level and numbers.

    Raises:
        DataError: they were made of others, see `run`.
    """
    path, folder = (
        mixtures_folder(dataset_dir, dataset) / LIST_NAME,
        audio_folder(dataset_dir, dataset),
    )
    if not path.is_file():
        return  # whoever wants the mixtures says so
    text, record = read_text(path, MIX), path.with_name(LIST_SETTINGS_NAME)
    settings = _audio_settings(dataset, text)
    if is_absent(Path(dataset_dir) / dataset.events_dir.expanduser()):
        _check_folder(folder, settings, ())
        logger.info(
            "The sounds of %s are not here: the mixtures could not be compared with them.", folder
        )
        return
    table = read_event_sounds(dataset_dir, dataset)
    if record.is_file():
        scenes = read_scene_names(dataset_dir, dataset), read_scene_groups(dataset_dir, dataset)
        _check_same(record, _list_settings(dataset, table, *scenes), path)
    mixtures = parse_mixtures(text, folder, dataset, str(path))
    _check_folder(
        folder, settings, _files_used(mixtures, table, scenes_folder(dataset_dir, dataset), dataset)
    )


def _files_used(
    mixtures: Sequence[Mixture], table: EventSounds, scenes_dir: Path, dataset: DatasetConfig
) -> list[Item]:
    """Lists the sounds and scenes that mixtures are made of; folders that are not there cannot be
    compared."""
    folders = {"sound": table.audio_dir, "scene": scenes_dir / "audio"}
    used = {("sound", event.audio_name) for mixture in mixtures for event in mixture.events}
    if dataset.scene_type != "white_noise":
        used |= {("scene", mixture.scene_name) for mixture in mixtures}
    absent = {kind for kind, folder in folders.items() if is_absent(folder)}
    return [
        Item(f"{kind} {name}", kind, (folders[kind] / name,))
        for kind, name in sorted(used)
        if kind not in absent
    ]


def _check_folder(folder: Path, settings: Mapping[str, Any], files: Sequence[Item]) -> None:
    """Refuses mixtures of other settings, or of other sounds and scenes, as far as the folder
    says."""
    if (folder / AUDIO_SETTINGS_NAME).is_file():
        _check_same(folder / AUDIO_SETTINGS_NAME, settings, folder)
    if (folder / SOURCES_NAME).is_file():
        found = noted_changes(folder / SOURCES_NAME, files)
        if found:
            first, what = next(iter(found.items()))
            _refuse(
                folder, f"{len(found)} sounds or scenes have changed, the first is {first}: {what}"
            )


def _alone(folder: Path) -> AbstractContextManager[None]:
    return only_one(folder, "set another `dataset.mixtures_dir`")


def _pending(mixtures: Sequence[Mixture]) -> list[Mixture]:
    return [mixture for mixture in mixtures if not mixture.audio_path.is_file()]


def forget_mixtures(dataset_dir: Path, dataset: DatasetConfig) -> None:
    """Removes mixtures of sounds that are no longer there, and their list unless it was given."""
    folder = mixtures_folder(dataset_dir, dataset)
    if (folder / LIST_SETTINGS_NAME).is_file():
        (folder / LIST_NAME).unlink(missing_ok=True)
    for record in folder.glob(f"mixed_audios/*/{AUDIO_SETTINGS_NAME}"):
        for path in (*record.parent.glob("*.wav"), record.with_name(SOURCES_NAME), record):
            path.unlink(missing_ok=True)


def _list_text(
    dataset_dir: Path, dataset: DatasetConfig, table: EventSounds, overwrite: bool
) -> str:
    """Gives the text of the list of mixtures; draws and writes it where it is missing or to be
    drawn again."""
    path = mixtures_folder(dataset_dir, dataset) / LIST_NAME
    record = path.with_name(LIST_SETTINGS_NAME)
    if path.is_file() and not record.is_file():
        logger.info("%s was given: it is used as it is.", path)
        return read_text(path, MIX)
    scene_names = read_scene_names(dataset_dir, dataset)
    scene_groups = read_scene_groups(dataset_dir, dataset)
    settings = _list_settings(dataset, table, scene_names, scene_groups)
    if path.is_file() and not overwrite:
        _check_same(record, settings, path)
        return read_text(path, MIX)
    warn_absent_classes(table.files, dataset)
    _tell_sources(table, scene_names, scene_groups)
    folds = folds_of(table.files, dataset, str(table.path))
    if scene_groups:  # refused here, where the table can be named
        scene_folds(
            scene_names,
            scene_groups,
            dataset,
            str(scenes_folder(dataset_dir, dataset) / "meta.csv"),
        )
    durations_s = _durations_s(table, dataset)
    text = format_mixtures(
        draw_mixtures(table.files, durations_s, scene_names, dataset, scene_groups=scene_groups)
    )
    remove_temporaries(path.parent)
    path.unlink(missing_ok=True)  # before the new settings are written
    write_text(path.with_name(FOLDS_NAME), format_folds(table.files, folds))
    write_json(record, settings)
    write_text(path, text)
    return text


def _tell_sources(
    table: EventSounds, scene_names: Sequence[str], scene_groups: Mapping[str, str]
) -> None:
    """Says in the log where nothing tells which files are of one source."""
    lacking = (
        []
        if any(file.group is not None for file in table.files)
        else [f"sounds ({table.path.name})"]
    )
    lacking += [] if scene_groups or tuple(scene_names) == (NO_SCENE,) else ["scenes (meta.csv)"]
    if lacking:
        logger.info(
            "No column group: every file is taken for a source of its own, of %s. Files of one"
            " recording may be in several folds.",
            " and ".join(lacking),
        )


def _list_settings(
    dataset: DatasetConfig,
    table: EventSounds,
    scene_names: Sequence[str],
    scene_groups: Mapping[str, str],
) -> dict[str, Any]:
    """Lists all that decides the list of mixtures, as JSON stores it."""
    names = (
        "classes",
        "mixtures_per_fold",
        "events_per_mixture",
        "first_onset_s",
        "onset_step_s",
        "event_s",
        "n_folds",
        "mixture_seed",
    )
    told = ["" if file.group is None else f",{file.group}" for file in table.files]
    sounds = text_digest(
        [
            f"{file.name},{file.label},{file.verified}{group}"
            for file, group in zip(table.files, told, strict=True)
        ]
    )
    scenes = [f"{name},{scene_groups[name]}" if scene_groups else name for name in scene_names]
    return as_stored(
        {
            **{name: getattr(dataset, name) for name in names},
            "sounds": sounds,
            "scenes": text_digest(scenes),
        }
    )


def _durations_s(table: EventSounds, dataset: DatasetConfig) -> dict[str, float]:
    """Reads the lengths of the sounds that may be mixed from their headers."""
    names = [table.files[index].name for index in select_files(table.files, dataset)]
    paths = [sound_path(table.audio_dir, name) for name in names]
    renamed = [
        f"{path.name} for {name}"
        for name, path in zip(names, paths, strict=True)
        if path.name != name
    ]
    if renamed:
        logger.warning(
            "%d sound(s) have another suffix than in %s: %s.",
            len(renamed),
            table.path,
            shown(renamed),
        )
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(paths)} sounds that {table.path} lists are not there, such as"
            f" {missing[0]}. Unpack the dataset again, or remove their rows."
        )
    with collected():  # mixing them will tell
        return {name: read_header(path).duration_s for name, path in zip(names, paths, strict=True)}


def _audio_settings(dataset: DatasetConfig, list_text: str) -> dict[str, Any]:
    """Lists all that decides the audio of the mixtures, as JSON stores it."""
    names = "sample_rate_hz", "clip_s", "scene_type", "snr_db", "mixture_seed"
    return as_stored(
        {**{name: getattr(dataset, name) for name in names}, "mixtures": text_digest([list_text])}
    )


def _open_folder(
    folder: Path, settings: dict[str, Any], files: Sequence[Item], overwrite: bool
) -> None:
    """Makes the folder of the mixtures, or checks that what it holds is of the same settings and
    sounds."""
    record = folder / AUDIO_SETTINGS_NAME
    if not overwrite:
        _check_folder(folder, settings, files)
    remove_temporaries(folder)
    # Before the new settings are written: a run killed in between must not take the old mixtures
    # for new ones.
    for path in folder.glob("*.wav") if overwrite else ():
        path.unlink()
    if not any(
        folder.glob("*.wav")
    ):  # else they are those noted, or of an earlier version, which noted none
        write_note(folder / SOURCES_NAME, files, copied_along=True)
    write_json(record, settings)


def _check_same(record: Path, settings: Mapping[str, Any], what: Path) -> None:
    """Refuses to go on with what was made of other settings."""
    try:
        stored = dict(load_json(record))
    except (OSError, ValueError, TypeError) as error:
        raise DataError(
            f"{record} cannot be read ({error!r}). Remove {record.parent} to have it made again."
        ) from None
    different = [key for key in settings if stored.get(key) != settings[key]]
    if different:
        listed = "; ".join(
            f"{key}: {str(stored.get(key))[:80]} there, {str(settings[key])[:80]} wanted"
            for key in different
        )
        _refuse(what, listed)


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
    bar = tqdm(
        written,
        total=len(mixtures),
        desc="mixtures",
        unit="file",
        disable=not (progress and mixtures),
    )
    for remarks in bar:
        notes += remarks
    for line in summaries(notes):
        logger.warning("%s", line)


def write_mixture(
    mixture: Mixture, dataset: DatasetConfig, sounds_dir: Path, scenes_dir: Path
) -> list[Note]:
    """Mixes one mixture and writes it: two channels of 16 bits, events and scene.

    Args:
        mixture: sounds, times and where it goes.
        dataset: scene, level, rate and length.
        sounds_dir: folder of the sounds.
        scenes_dir: the scenes are in audio/ in it.

    Returns:
        What is odd about the sounds and the scene.

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
    sounds = [
        _read_loud(sound_path(sounds_dir, event.audio_name), rate_hz) for event in mixture.events
    ]
    if dataset.scene_type == "white_noise":
        scene = white_noise(mixture.name, dataset.clip_samples, dataset.mixture_seed)
    else:
        scene = _read_scene(sound_path(scenes_dir / "audio", mixture.scene_name), dataset)
    write_wav(
        mixture.audio_path, mix(sounds, mixture.events, scene, dataset.snr_db, rate_hz), rate_hz
    )


def _read_loud(path: Path, sample_rate_hz: int) -> np.ndarray:
    """Reads a sound that cannot be all silence, since its level is to be set, float32 (S,)."""
    audio = read_mono(path, sample_rate_hz)[:, 0]
    if not np.any(audio):
        raise DataError(
            f"{path} is silent: its level cannot be set. Replace it, or remove its row from the"
            " table."
        )
    return audio


def _read_scene(path: Path, dataset: DatasetConfig) -> np.ndarray:
    scene = _read_loud(path, dataset.sample_rate_hz)
    if len(scene) < dataset.clip_samples:
        raise DataError(
            f"Scene too short: {path}. Expected: {dataset.clip_s:g} s. Received: "
            f"{len(scene) / dataset.sample_rate_hz:.4g} s. Replace it, or lower `dataset.clip_s`."
        )
    return scene[: dataset.clip_samples]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    return run_safely(_main, arguments, resumes=True)


def _main(arguments: Sequence[str]) -> None:
    parser = base_parser("Mixes the sounds and scenes of a segmentation task.")
    parser.add_argument(
        "task_id",
        nargs="?",
        default="segmentation",
        help="id in params.yaml (default segmentation)",
    )
    parser.add_argument("--overwrite", action="store_true", help="mix again, also what is there")
    options = parser.parse_args(arguments)
    task = load_task(params_path(options.params), options.task_id, options.overrides)
    require_engine(task.parallel)
    run(task, overwrite=options.overwrite)


if __name__ == "__main__":
    sys.exit(main())

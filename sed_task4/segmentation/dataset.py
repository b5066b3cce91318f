"""Data of time-frequency segmentation: labelled sound files, scenes, and the list of mixtures."""

import logging
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import Field, field_validator, model_validator

from common.errors import DataError
from common.io import tables
from common.io.files import is_file_name
from common.io.safe_yaml import read_yaml
from common.settings.section import Section

LIST_NAME = "mixture.yaml"
EVENT_COLUMNS = ("fname", "label", "manually_verified")
SCENE_COLUMNS = ("filename", "scene_label")
GROUP_COLUMN = "group"  # optional in both tables: the source of a file
FOLD_COLUMN = "fold"  # optional in both tables: the fold of a file, else drawn
NO_SCENE = "white_noise"  # in place of a scene
_EVENT_KEYS = ("event_audio_name", "event_label", "onset", "offset")
_MIXTURE_KEYS = ("mixture_name", "fold", "scene_audio_name", "events")
# Table and folder of the sounds: in the challenge, and as published after it.
_LATER = ("FSDKaggle2018.meta/train_post_competition.csv", "FSDKaggle2018.audio_train")
_EVENT_PLACES = (("train.csv", "audio_train"), _LATER)

SceneType = Literal["dcase2018_task1", "white_noise"]


logger = logging.getLogger(__name__)


class DatasetConfig(Section):
    """Mixtures and their sounds and scenes; the defaults are those published."""

    classes: tuple[str, ...] = Field(
        (
            "Acoustic_guitar",
            "Applause",
            "Bark",
            "Bass_drum",
            "Burping_or_eructation",
            "Bus",
            "Cello",
            "Chime",
            "Clarinet",
            "Computer_keyboard",
            "Cough",
            "Cowbell",
            "Double_bass",
            "Drawer_open_or_close",
            "Electric_piano",
            "Fart",
            "Finger_snapping",
            "Fireworks",
            "Flute",
            "Glockenspiel",
            "Gong",
            "Gunshot_or_gunfire",
            "Harmonica",
            "Hi-hat",
            "Keys_jangling",
            "Knock",
            "Laughter",
            "Meow",
            "Microwave_oven",
            "Oboe",
            "Saxophone",
            "Scissors",
            "Shatter",
            "Snare_drum",
            "Squeak",
            "Tambourine",
            "Tearing",
            "Telephone",
            "Trumpet",
            "Violin_or_fiddle",
            "Writing",
        ),
        description="Event classes, in the order of the outputs; other sounds are not mixed.",
    )
    sample_rate_hz: int = Field(
        32000, gt=0, description="Sample rate of mixtures in Hz; sounds and scenes are resampled."
    )
    clip_s: float = Field(
        10.0, gt=0, description="Length of a mixture in seconds; scenes must be as long."
    )
    scene_type: SceneType = Field(
        "dcase2018_task1", description="Background of the events: recorded scenes or white noise."
    )
    snr_db: float = Field(
        0.0, ge=-100, le=100, description="SNR of each sound file against its scene in dB."
    )
    mixtures_per_fold: int = Field(
        2000, gt=0, description="Mixtures of each fold; scenes repeat where there are too few."
    )
    events_per_mixture: int = Field(3, gt=0, description="Events of a mixture, without overlap.")
    first_onset_s: float = Field(0.5, ge=0, description="Onset of the first event in seconds.")
    onset_step_s: float = Field(
        2.5, gt=0, description="Time between the onsets of two events in seconds."
    )
    event_s: float = Field(
        2.0, gt=0, description="Maximum length of an event in seconds; longer sounds are cut."
    )
    n_folds: int = Field(4, ge=2, description="Number of folds, which share no sound file.")
    mixture_seed: int = Field(
        1234, ge=0, le=2**32 - 1, description="Seed of folds and mixtures; 1234 as published."
    )
    strict: bool = Field(
        True,
        description=(
            "Refuse listed events that pass the mixture or end before they begin;"
            " false: cut them or leave them out, counted in the log."
        ),
    )
    events_dir: Path = Field(
        Path("dcase2018_task2"),
        description="Folder of DCASE 2018 task 2 (FSDKaggle2018) in `dataset_dir`.",
    )
    scenes_dir: Path = Field(
        Path("TUT-urban-acoustic-scenes-2018-development"),
        description="Folder of DCASE 2018 task 1 in `dataset_dir`.",
    )
    mixtures_dir: Path = Field(
        Path("mixtures"), description="Folder of the list and the mixtures in `dataset_dir`."
    )

    @field_validator("classes")
    @classmethod
    def _classes_differ(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or len(set(value)) != len(value):
            raise ValueError(f"classes are different names, at least one. Received: {list(value)}.")
        if any(not is_file_name(name) or "," in name or name != name.strip() for name in value):
            raise ValueError(  # since they become the file names of separated sounds
                f"names of classes have no comma, tab, slash or outer space. Received: {value}."
            )
        return value

    @model_validator(mode="after")
    def _events_fit(self) -> Self:
        last_s = self.onset_s(self.events_per_mixture - 1) + self.event_s
        if last_s > self.clip_s:
            raise ValueError(
                f"the last event would end at {last_s:g} s, after the mixture of {self.clip_s:g} s."
                " Lower `events_per_mixture`, `first_onset_s`, `onset_step_s` or `event_s`."
            )
        if self.event_s > self.onset_step_s:
            received = f"{self.event_s:g} and {self.onset_step_s:g}"
            raise ValueError(
                f"events do not overlap: `event_s` <= `onset_step_s`. Received: {received}."
            )
        return self

    @property
    def n_classes(self) -> int:
        """Number of event classes, K."""
        return len(self.classes)

    @property
    def clip_samples(self) -> int:
        """Length of a mixture in samples."""
        return round(self.clip_s * self.sample_rate_hz)

    def onset_s(self, number: int) -> float:
        """Onset in seconds of an event of a mixture by its number, from 0."""
        return number * self.onset_step_s + self.first_onset_s


@dataclass(frozen=True)
class MixtureEvent:
    """An event of a mixture: its sound file, its class, onset and offset in seconds."""

    audio_name: str
    label: str
    onset_s: float
    offset_s: float


@dataclass(frozen=True)
class Mixture:
    """One mixture.

    Attributes:
        name: file name, with .wav.
        fold: number of its fold, from 1.
        audio_path: two channels, the events and the scene; the mixture is their mean.
        scene_name: file name of the scene, or "white_noise".
        events: in the order of time.
    """

    name: str
    fold: int
    audio_path: Path
    scene_name: str
    events: tuple[MixtureEvent, ...]


@dataclass(frozen=True)
class EventFile:
    """A sound file with one label.

    Attributes:
        name: file name.
        label: its class.
        verified: True if a person has listened to it and confirmed the label.
        group: its source; None without a column group in the table.
        fold: number of its fold; None without a column fold.
    """

    name: str
    label: str
    verified: bool
    group: str | None = None
    fold: int | None = None


@dataclass(frozen=True)
class EventSounds:
    """Sound files of a dataset: their table, their folder, and the rows in order."""

    path: Path
    audio_dir: Path
    files: tuple[EventFile, ...]


def mixtures_folder(dataset_dir: Path, dataset: DatasetConfig) -> Path:
    """Folder of the list of mixtures, `mixture.yaml`."""
    return Path(dataset_dir) / dataset.mixtures_dir.expanduser()


def audio_folder(dataset_dir: Path, dataset: DatasetConfig) -> Path:
    """Folder of the mixtures with the scenes and the level of the settings."""
    kind = f"scene_type={dataset.scene_type},snr={dataset.snr_db:g}"
    return mixtures_folder(dataset_dir, dataset) / "mixed_audios" / kind


def find_mixtures(dataset_dir: Path, dataset: DatasetConfig) -> list[Mixture]:
    """Finds all mixtures, in the order of their list.

    Args:
        dataset_dir: folder of the relative folders in `dataset`.
        dataset: classes, scenes and level.

    Raises:
        DataError: list or mixtures are missing, or the list cannot be used.
    """
    path = mixtures_folder(dataset_dir, dataset) / LIST_NAME
    mixtures = read_mixture_list(path, audio_folder(dataset_dir, dataset), dataset)
    missing = [mixture.audio_path for mixture in mixtures if not mixture.audio_path.is_file()]
    if missing:
        counts, example = f"{len(missing)} of {len(mixtures)}", missing[0]
        raise DataError(f"{counts} mixtures are missing, such as {example}. {MIX}")
    return mixtures


MIX = "Mix sounds and scenes with `python -m sed_task4.segmentation.mixing <task-id>`."


def read_mixture_list(path: Path, audio_dir: Path, dataset: DatasetConfig) -> list[Mixture]:
    """Reads a list of mixtures, see `parse_mixtures`."""
    return parse_mixtures(read_text(path, MIX), audio_dir, dataset, str(path))


def parse_mixtures(
    text: str, audio_dir: Path, dataset: DatasetConfig, source: str = "the list"
) -> list[Mixture]:
    """Reads the published form of a list of mixtures.

    Args:
        text: YAML, a list of mixtures with `mixture_name`, `fold`, `scene_audio_name` and `events`,
            with `event_audio_name`, `event_label`, `onset` and `offset` (s) each.
        audio_dir: folder of the mixtures.
        dataset: classes, number of folds, length.
        source: origin of the text, for errors.

    Raises:
        DataError: it is not YAML or has another form; names the entry.
    """
    entries = _parse_yaml(text, source)
    odd: Counter[str] = Counter()
    mixtures = [
        _mixture(entry, f"{source}, entry {number}", audio_dir, dataset, odd)
        for number, entry in enumerate(entries, start=1)
    ]
    if odd:
        counts = "; ".join(f"{count} event(s) {what}" for what, count in odd.items())
        logger.warning("%s: %s.", source, counts)
    names: set[str] = set()
    for number, mixture in enumerate(mixtures, start=1):
        if mixture.name in names:
            where = f"{source}, entry {number}"
            raise DataError(f"{where}: {mixture.name!r} occurs twice. Remove one of them.")
        names.add(mixture.name)
    return mixtures


_REWRITE = "Remove it to have it written again."


def _parse_yaml(text: str, source: str) -> list[Any]:
    try:
        entries = read_yaml(text)
    except ValueError as error:
        raise DataError(f"{source} is not YAML: {error}. {_REWRITE}") from error
    if not isinstance(entries, list) or not entries:
        received = type(entries).__name__
        raise DataError(f"{source}: expected a list of mixtures. Received: {received}. {_REWRITE}")
    return entries


def _mixture(
    entry: Any, where: str, audio_dir: Path, dataset: DatasetConfig, odd: Counter[str]
) -> Mixture:
    _check_keys(entry, _MIXTURE_KEYS, where)
    name, fold = _file_name(entry["mixture_name"], where), entry["fold"]
    if not isinstance(fold, int) or not 1 <= fold <= dataset.n_folds:
        expected = f"a fold of 1 to {dataset.n_folds}"
        raise DataError(f"{where}: expected {expected}. Received: {fold!r}. Correct it.")
    if not isinstance(entry["events"], list):
        received = repr(entry["events"])
        raise DataError(f"{where}: expected a list `events`. Received: {received}. Correct it.")
    events = [_event(event, dataset, f"{where} ({name})", odd) for event in entry["events"]]
    kept = tuple(event for event in events if event is not None)
    return Mixture(name, fold, audio_dir / name, _file_name(entry["scene_audio_name"], where), kept)


def _event(
    entry: Any, dataset: DatasetConfig, where: str, odd: Counter[str]
) -> MixtureEvent | None:
    """Checks an event; None: left out. `odd` counts the changes by `dataset.strict: false`."""
    _check_keys(entry, _EVENT_KEYS, where)
    label, times = entry["event_label"], (entry["onset"], entry["offset"])
    if label not in dataset.classes:
        raise DataError(
            f"{where}: unknown class {label!r}. Expected: one of {', '.join(dataset.classes)}."
            " Correct the list, or add the class to `dataset.classes`."
        )
    numeric = all(type(time) in (int, float) and math.isfinite(time) for time in times)
    if not numeric or (dataset.strict and not 0 <= times[0] < times[1] <= dataset.clip_s):
        raise DataError(
            f"{where}: expected 0 <= onset < offset <= {dataset.clip_s:g} s. Received: {times[0]!r}"
            f" and {times[1]!r}. Correct the list (seconds, not milliseconds), or cut such events"
            " and leave them out with --set dataset.strict=false."
        )
    name = _file_name(entry["event_audio_name"], where)
    onset_s, offset_s = max(float(times[0]), 0.0), min(float(times[1]), dataset.clip_s)
    if onset_s >= offset_s:
        odd["end before they begin or lie outside of the mixture, left out"] += 1
        return None
    if (onset_s, offset_s) != times:
        odd["reach beyond the mixture, cut"] += 1
    return MixtureEvent(name, label, onset_s, offset_s)


def _check_keys(entry: Any, keys: Sequence[str], where: str) -> None:
    if not isinstance(entry, dict) or not set(keys) <= set(entry):
        received = ", ".join(map(str, entry)) if isinstance(entry, dict) else repr(entry)
        expected = ", ".join(keys)
        raise DataError(f"{where}: expected {expected}. Received: {received[:200]}. Correct it.")


def _file_name(value: Any, where: str) -> str:
    if not is_file_name(value):
        raise DataError(f"{where}: expected {_FILE}. Received: {value!r}.")
    return value


def format_mixtures(mixtures: Iterable[Mixture]) -> str:
    """Formats a list of mixtures in the published form, YAML."""
    dumper, entries = getattr(yaml, "CSafeDumper", yaml.SafeDumper), map(mixture_entry, mixtures)
    return yaml.dump(list(entries), Dumper=dumper, default_flow_style=None)


def mixture_entry(mixture: Mixture) -> dict[str, Any]:
    """Returns a mixture as an entry of the published list."""
    rows = [(each.audio_name, each.label, each.onset_s, each.offset_s) for each in mixture.events]
    return {
        "mixture_name": mixture.name,
        "fold": mixture.fold,
        "scene_audio_name": mixture.scene_name,
        "events": [dict(zip(_EVENT_KEYS, row, strict=True)) for row in rows],
    }


def read_event_sounds(dataset_dir: Path, dataset: DatasetConfig) -> EventSounds:
    """Reads the table of the sound files, of DCASE 2018 task 2 or of FSDKaggle2018.

    Raises:
        DataError: the table is missing or cannot be used.
    """
    folder = Path(dataset_dir) / dataset.events_dir.expanduser()
    places = [(folder / table, folder / audio) for table, audio in _EVENT_PLACES]
    path, audio_dir = next((place for place in places if place[0].is_file()), places[0])
    what = "Write your own table" if _is_own(dataset) else "Unpack FSDKaggle2018"
    remedy = f"{what} there, correct `dataset.events_dir`, or {_SIMULATE}"
    files = parse_event_files(read_text(path, remedy), str(path))
    return EventSounds(path, audio_dir, tuple(files))


def _is_own(dataset: DatasetConfig) -> bool:
    """True if the classes are not those of the published sounds."""
    return dataset.classes != DatasetConfig().classes


_SIMULATE = "write data with `python simulate.py <task-id>`."


def parse_event_files(text: str, source: str = "train.csv") -> list[EventFile]:
    """Reads rows with the columns fname, label, manually_verified (0 or 1); others are ignored.

    Raises:
        DataError: a row cannot be used; names the line.
    """
    rows = _parse_rows(text, EVENT_COLUMNS, source, (GROUP_COLUMN, FOLD_COLUMN))
    flags = ("0", "1")
    verified = "manually_verified 0 or 1"
    _check_rows(rows, lambda row: row["manually_verified"] in flags, verified, source)
    _check_rows(rows, lambda row: bool(row["label"]), "a label", source)
    _check_rows(rows, lambda row: is_file_name(row["fname"]), _FILE, source)
    _check_different([row["fname"] for row in rows.values()], list(rows), source)
    _check_rows(rows, _has_group, _GROUP, source)
    _check_rows(rows, _has_fold, _FOLD, source)
    files = []
    for row in rows.values():
        sources = row.get(GROUP_COLUMN), int(row[FOLD_COLUMN]) if FOLD_COLUMN in row else None
        is_verified = row["manually_verified"] == "1"
        files.append(EventFile(row["fname"], row["label"], is_verified, *sources))
    return files


def _has_fold(row: Mapping[str, str]) -> bool:
    text = row.get(FOLD_COLUMN, "1")
    return text.isascii() and text.isdigit() and int(text[:9]) >= 1


_FOLD = "the number of a fold, from 1, in each row"


def _has_group(row: Mapping[str, str]) -> bool:
    return row.get(GROUP_COLUMN) != ""


_GROUP = "a group, the source of the file, in each row; a single file has one of its own"
_FILE = "the name of a file without folders"


def read_scene_names(dataset_dir: Path, dataset: DatasetConfig) -> tuple[str, ...]:
    """Reads the names of the scenes, without folder, in the order of the table.

    Returns:
        The names; for white noise without a table, `NO_SCENE`.

    Raises:
        DataError: the table is missing or cannot be used.
    """
    path = scenes_folder(dataset_dir, dataset) / "meta.csv"
    if dataset.scene_type == "white_noise" and not path.is_file():
        return (NO_SCENE,)
    unpack = "Unpack TUT Urban Acoustic Scenes 2018"
    what = "Write your own table" if _is_own(dataset) else unpack
    remedy = f"{what} there, correct `dataset.scenes_dir`, or {_SIMULATE}"
    return tuple(parse_scene_names(read_text(path, remedy), str(path)))


def read_scene_groups(dataset_dir: Path, dataset: DatasetConfig) -> dict[str, str]:
    """Reads the source of each scene by name; empty without a column group.

    Raises:
        DataError: the table cannot be used.
    """
    return _read_scene_column(dataset_dir, dataset, GROUP_COLUMN, _has_group, _GROUP)


def read_scene_folds(dataset_dir: Path, dataset: DatasetConfig) -> dict[str, int]:
    """Reads the fold of each scene by name; empty without a column fold.

    Raises:
        DataError: the table cannot be used.
    """
    found = _read_scene_column(dataset_dir, dataset, FOLD_COLUMN, _has_fold, _FOLD)
    return {name: int(fold) for name, fold in found.items()}


def _read_scene_column(
    dataset_dir: Path,
    dataset: DatasetConfig,
    column: str,
    is_good: Callable[[Mapping[str, str]], bool],
    expected: str,
) -> dict[str, str]:
    """Reads an optional column of the table of the scenes, by name; empty without it."""
    path = scenes_folder(dataset_dir, dataset) / "meta.csv"
    if not path.is_file():
        return {}
    text = read_text(path, "Unpack the scenes again.")
    rows = _parse_rows(text, SCENE_COLUMNS, str(path), (column,))
    _check_rows(rows, is_good, expected, str(path))
    known = (row for row in rows.values() if column in row)
    return {row["filename"].rpartition("/")[2]: row[column] for row in known}


def scenes_folder(dataset_dir: Path, dataset: DatasetConfig) -> Path:
    """Folder of the table of the scenes, `meta.csv`, and of their audio, audio/."""
    return Path(dataset_dir) / dataset.scenes_dir.expanduser()


def parse_scene_names(text: str, source: str = "meta.csv") -> list[str]:
    """Reads the names of the scenes, see `parse_scenes`."""
    return [name for name, _ in parse_scenes(text, source)]


def parse_scenes(text: str, source: str = "meta.csv") -> list[tuple[str, str]]:
    """Reads rows with the columns filename (audio/<name>) and scene_label; others are ignored.

    Returns:
        Name without folder and label of each scene.

    Raises:
        DataError: a row cannot be used; names the line.
    """
    rows = _parse_rows(text, SCENE_COLUMNS, source)
    _check_rows(rows, lambda row: _is_scene(row["filename"]), "filename audio/<name>", source)
    names = [row["filename"].split("/")[1] for row in rows.values()]
    _check_different(names, list(rows), source)
    return list(zip(names, [row["scene_label"] for row in rows.values()], strict=True))


def _is_scene(name: str) -> bool:
    folder, _, file = name.partition("/")
    return folder == "audio" and is_file_name(file)


def _parse_rows(
    text: str, columns: Sequence[str], source: str, optional: Sequence[str] = ()
) -> dict[int, Mapping[str, str]]:
    """Reads some columns of a table as stripped text, by line number, without empty lines."""
    table = tables.parse_table(text, columns, source, optional=optional)
    rows: dict[int, Mapping[str, str]] = dict(table.rows())
    if not rows:
        raise DataError(f"{source} has no row below its header. Unpack the dataset again.")
    return rows


def _check_rows(
    rows: Mapping[int, Mapping[str, str]],
    is_good: Callable[[Mapping[str, str]], bool],
    expected: str,
    source: str,
) -> None:
    """Refuses the first row that is not good."""
    for line, row in rows.items():
        if not is_good(row):
            received = ", ".join(f"{name} {value!r}" for name, value in row.items())
            where = f"{source}, line {line}"
            raise DataError(f"{where}: expected {expected}. Received: {received}. Correct the row.")


def _check_different(names: Sequence[str], lines: Sequence[int], source: str) -> None:
    seen: dict[str, int] = {}
    for name, line in zip(names, lines, strict=True):
        if name in seen:
            where = f"{source}, line {line}"
            raise DataError(f"{where}: {name!r} is in line {seen[name]} too. Remove one of them.")
        seen[name] = line


def read_text(path: Path, remedy: str) -> str:
    """Reads a table or a list.

    Raises:
        DataError: it is missing, or is no text; ends with the remedy.
    """
    return tables.read_text(path, f"There is no {path}. {remedy}", remedy)

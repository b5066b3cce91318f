"""The data of time-frequency segmentation: sound files with labels, scenes, and the list of the
mixtures of both."""

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
GROUP_COLUMN = "group"  # of both tables, if there is one: the source that a file comes from
NO_SCENE = "white_noise"  # stands for the scene where there are no recordings of any
_EVENT_KEYS = ("event_audio_name", "event_label", "onset", "offset")
_MIXTURE_KEYS = ("mixture_name", "fold", "scene_audio_name", "events")
# Table and folder of the sounds: as given out for the challenge, and as published after it.
_EVENT_PLACES = (
    ("train.csv", "audio_train"),
    ("FSDKaggle2018.meta/train_post_competition.csv", "FSDKaggle2018.audio_train"),
)

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
    events_per_mixture: int = Field(
        3, gt=0, description="Events of a mixture; they do not overlap."
    )
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
            raise ValueError(  # they are going to name separated sounds
                "names of classes hold no comma, tab or slash and begin and end without spaces. "
                f"Received: {list(value)}."
            )
        return value

    @model_validator(mode="after")
    def _events_fit(self) -> Self:
        last_s = (
            self.first_onset_s + (self.events_per_mixture - 1) * self.onset_step_s + self.event_s
        )
        if last_s > self.clip_s:
            raise ValueError(
                f"the last event would end at {last_s:g} s, after the mixture of {self.clip_s:g} s."
                " Lower `events_per_mixture`, `first_onset_s`, `onset_step_s` or `event_s`."
            )
        if self.event_s > self.onset_step_s:
            raise ValueError(
                "events do not overlap: `event_s` must not exceed `onset_step_s`. Received:"
                f" {self.event_s:g} and {self.onset_step_s:g}."
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
        """Says where the event of a mixture with this number, from 0, begins."""
        return number * self.onset_step_s + self.first_onset_s


@dataclass(frozen=True)
class MixtureEvent:
    """An event of a mixture: its sound file, its class, and from when to when it is heard, in
    seconds."""

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
        scene_name: file name of the scene, or "white_noise" without any.
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
        verified: whether a person has listened to it and found the label right.
        group: the source it comes from; None where the table has no column group.
    """

    name: str
    label: str
    verified: bool
    group: str | None = None


@dataclass(frozen=True)
class EventSounds:
    """Sound files of a dataset: the table that lists them, their folder, and the rows in order."""

    path: Path
    audio_dir: Path
    files: tuple[EventFile, ...]


def mixtures_folder(dataset_dir: Path, dataset: DatasetConfig) -> Path:
    """Says where the list of mixtures is, `mixture.yaml`."""
    return Path(dataset_dir) / dataset.mixtures_dir.expanduser()


def audio_folder(dataset_dir: Path, dataset: DatasetConfig) -> Path:
    """Says where the mixtures with the scenes and the level of the settings are."""
    kind = f"scene_type={dataset.scene_type},snr={dataset.snr_db:g}"
    return mixtures_folder(dataset_dir, dataset) / "mixed_audios" / kind


def find_mixtures(dataset_dir: Path, dataset: DatasetConfig) -> list[Mixture]:
    """Finds all mixtures, in the order of their list.

    Args:
        dataset_dir: folder that the folders of `dataset` are in, where those are not absolute.
        dataset: classes, scenes and level.

    Raises:
        DataError: list or mixtures are not there, or the list cannot be used.
    """
    path = mixtures_folder(dataset_dir, dataset) / LIST_NAME
    mixtures = read_mixture_list(path, audio_folder(dataset_dir, dataset), dataset)
    missing = [mixture.audio_path for mixture in mixtures if not mixture.audio_path.is_file()]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(mixtures)} mixtures are not there, such as {missing[0]}. {MIX}"
        )
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
            each of which has `event_audio_name`, `event_label`, `onset` and `offset` (s).
        audio_dir: folder of the mixtures.
        dataset: classes, number of folds, length.
        source: what errors name as origin.

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
        logger.warning(
            "%s: %s.", source, "; ".join(f"{count} event(s) {what}" for what, count in odd.items())
        )
    names: set[str] = set()
    for number, mixture in enumerate(mixtures, start=1):
        if mixture.name in names:
            raise DataError(
                f"{source}, entry {number}: {mixture.name!r} is there twice. Remove one of the two."
            )
        names.add(mixture.name)
    return mixtures


def _parse_yaml(text: str, source: str) -> list[Any]:
    try:
        entries = read_yaml(text, fast=True)
    except ValueError as error:
        raise DataError(
            f"{source} is not YAML: {error}. Remove it to have it written again."
        ) from error
    if not isinstance(entries, list) or not entries:
        raise DataError(
            f"{source}: expected a list of mixtures. Received: {type(entries).__name__}. Remove it"
            " to have it written again."
        )
    return entries


def _mixture(
    entry: Any, where: str, audio_dir: Path, dataset: DatasetConfig, odd: Counter[str]
) -> Mixture:
    _check_keys(entry, _MIXTURE_KEYS, where)
    name, fold = _file_name(entry["mixture_name"], where), entry["fold"]
    if not isinstance(fold, int) or not 1 <= fold <= dataset.n_folds:
        raise DataError(
            f"{where}: expected a fold of 1 to {dataset.n_folds}. Received: {fold!r}. Correct it."
        )
    if not isinstance(entry["events"], list):
        raise DataError(
            f"{where}: expected a list `events`. Received: {entry['events']!r}. Correct it."
        )
    events = [_event(event, dataset, f"{where} ({name})", odd) for event in entry["events"]]
    kept = tuple(event for event in events if event is not None)
    return Mixture(name, fold, audio_dir / name, _file_name(entry["scene_audio_name"], where), kept)


def _event(
    entry: Any, dataset: DatasetConfig, where: str, odd: Counter[str]
) -> MixtureEvent | None:
    """Checks an event; None: it is left out. `odd` counts what `dataset.strict: false` cuts and
    leaves out."""
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
        raise DataError(
            f"{where}: expected {', '.join(keys)}. Received: {received[:200]}. Correct the list."
        )


def _file_name(value: Any, where: str) -> str:
    if not is_file_name(value):
        raise DataError(
            f"{where}: expected the name of a file without folders. Received: {value!r}."
            " Correct it."
        )
    return value


def format_mixtures(mixtures: Iterable[Mixture]) -> str:
    """Writes a list of mixtures in the published form, YAML."""
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    return yaml.dump(
        [mixture_entry(mixture) for mixture in mixtures], Dumper=dumper, default_flow_style=None
    )


def mixture_entry(mixture: Mixture) -> dict[str, Any]:
    """Gives a mixture as an entry of the published list."""
    return {
        "mixture_name": mixture.name,
        "fold": mixture.fold,
        "scene_audio_name": mixture.scene_name,
        "events": [
            dict(
                zip(
                    _EVENT_KEYS,
                    (event.audio_name, event.label, event.onset_s, event.offset_s),
                    strict=True,
                )
            )
            for event in mixture.events
        ],
    }


def read_event_sounds(dataset_dir: Path, dataset: DatasetConfig) -> EventSounds:
    """Reads which sound files there are, in the layout of DCASE 2018 task 2 or in that of
    FSDKaggle2018.

    Raises:
        DataError: there is no such table, or it cannot be used.
    """
    folder = Path(dataset_dir) / dataset.events_dir.expanduser()
    places = [(folder / table, folder / audio) for table, audio in _EVENT_PLACES]
    path, audio_dir = next((place for place in places if place[0].is_file()), places[0])
    remedy = (
        "Unpack FSDKaggle2018 there, correct `dataset.events_dir`, or write data with `python"
        " simulate.py <task-id>`."
    )
    return EventSounds(
        path, audio_dir, tuple(parse_event_files(read_text(path, remedy), str(path)))
    )


def parse_event_files(text: str, source: str = "train.csv") -> list[EventFile]:
    """Reads rows with the columns fname, label, manually_verified (0 or 1); others are ignored.

    Raises:
        DataError: a row cannot be used; names the line.
    """
    rows = _parse_rows(text, EVENT_COLUMNS, source, (GROUP_COLUMN,))
    _check_rows(
        rows, lambda row: row["manually_verified"] in ("0", "1"), "manually_verified 0 or 1", source
    )
    _check_rows(rows, lambda row: bool(row["label"]), "a label", source)
    _check_rows(rows, lambda row: is_file_name(row["fname"]), _FILE, source)
    _check_different([row["fname"] for row in rows.values()], list(rows), source)
    _check_rows(rows, _has_group, _GROUP, source)
    return [
        EventFile(
            row["fname"], row["label"], row["manually_verified"] == "1", row.get(GROUP_COLUMN)
        )
        for row in rows.values()
    ]


def _has_group(row: Mapping[str, str]) -> bool:
    return row.get(GROUP_COLUMN) != ""


_GROUP = "a group, the source of the file, in each row; one of its own where a file stands alone"


_FILE = "the name of a file without folders"


def read_scene_names(dataset_dir: Path, dataset: DatasetConfig) -> tuple[str, ...]:
    """Reads the names of the scenes, without folder, in the order of the table.

    Returns:
        The names; a stand-in where the settings ask for white noise and there is no table.

    Raises:
        DataError: there is no table, or it cannot be used.
    """
    path = scenes_folder(dataset_dir, dataset) / "meta.csv"
    if dataset.scene_type == "white_noise" and not path.is_file():
        return (NO_SCENE,)
    remedy = (
        "Unpack TUT Urban Acoustic Scenes 2018 there, correct `dataset.scenes_dir`, or write data"
        " with `python simulate.py <task-id>`."
    )
    return tuple(parse_scene_names(read_text(path, remedy), str(path)))


def read_scene_groups(dataset_dir: Path, dataset: DatasetConfig) -> dict[str, str]:
    """Reads the source that each scene comes from, by its name; empty where the table has no column
    group.

    Raises:
        DataError: the table cannot be used.
    """
    path = scenes_folder(dataset_dir, dataset) / "meta.csv"
    if not path.is_file():
        return {}
    rows = _parse_rows(
        read_text(path, "Unpack the scenes again."), SCENE_COLUMNS, str(path), (GROUP_COLUMN,)
    )
    _check_rows(rows, _has_group, _GROUP, str(path))
    return {
        row["filename"].rpartition("/")[2]: row[GROUP_COLUMN]
        for row in rows.values()
        if GROUP_COLUMN in row
    }


def scenes_folder(dataset_dir: Path, dataset: DatasetConfig) -> Path:
    """Says where the table of the scenes is, `meta.csv`; their audio is in audio/ beside it."""
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
    """Reads some columns of a table as stripped text, by the line in the file; empty lines are left
    out."""
    rows: dict[int, Mapping[str, str]] = dict(
        tables.parse_table(text, columns, source, optional=optional).rows()
    )
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
            raise DataError(
                f"{source}, line {line}: expected {expected}. Received: {received}. Correct the"
                " row."
            )


def _check_different(names: Sequence[str], lines: Sequence[int], source: str) -> None:
    seen: dict[str, int] = {}
    for name, line in zip(names, lines, strict=True):
        if name in seen:
            raise DataError(
                f"{source}, line {line}: {name!r} is in line {seen[name]} too. Remove one of the"
                " two."
            )
        seen[name] = line


def read_text(path: Path, remedy: str) -> str:
    """Reads a table or a list.

    Raises:
        DataError: it is not there, or is no text; ends with the remedy.
    """
    return tables.read_text(path, f"There is no {path}. {remedy}", remedy)

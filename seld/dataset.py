"""Recordings and events of a dataset in one of the layouts of `seld.recordings.layouts`."""

import itertools
import logging
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from pydantic import Field, model_validator

from common.audio.formats import sound_suffixes
from common.errors import ConfigError, DataError
from common.io.files import is_file_name
from common.io.tables import number_hint, parse_table, read_text, to_number
from common.settings.classes import MappedClasses
from seld.geometry import ANGLE_SLACK_DEG, AngleGrid
from seld.recording_list import LIST_NAME, Attributes, Recording, has_list, read_list
from seld.recordings.csv_formats import CsvFormat, csv_format, read_rows
from seld.recordings.frames import frames_in_recording, frames_per_s
from seld.recordings.layouts import LAYOUTS, LISTED, Layout, LayoutName, layout_named
from seld.recordings.rows import CLASS, FRAME, ranks

logger = logging.getLogger(__name__)

COLUMNS = ("sound_event_recording", "start_time", "end_time", "ele", "azi", "dist")
# The published evaluation archives unpack into this folder.
NESTED_ROOT = Path("proj/asignal/DCASE2019/dataset")
LENGTH_TOLERANCE = 0.01  # share of `recording_s` that may lack without counting as shorter
_NAMES_SHOWN = 8  # of a list of files in an error
_LONGEST_S = 600.0  # of recordings that are of any length; the longest of STARSS23 lasts 432 s
MetadataFormat = Literal[
    "metadata2020", "metadata2021", "metadata2022", "metadata2023", "metadata2024",
    "spatialscaper", "stereo2025",
]  # fmt: skip
# Settings that follow from the layout where they are not given.
_OF_LAYOUT = ("classes", "sample_rate_hz", "label_hop_s")


class DatasetConfig(MappedClasses):
    """Recordings of a dataset; the defaults are those of its layout."""

    layout: LayoutName = Field(
        "tau2019",
        description="Published dataset whose folders, file names and annotations this one has;"
        " classes, sample rate, lengths and hop length of the labels follow from it. list: own"
        " recordings in a recordings.csv, annotated frame by frame, of `classes` of your own.",
    )
    metadata_format: MetadataFormat | None = Field(
        None,
        description="Format of annotations in label frames, with its unit of distance: metadata2020"
        " to metadata2022 without distances, metadata2023 and metadata2024 in cm, spatialscaper in"
        " m, stereo2025 of azimuths only; null: that of the layout, metadata2024 for list.",
    )
    format: Literal["foa", "mic", "stereo"] = Field(
        "foa",
        description="foa: first-order ambisonics; mic: signals of microphones; stereo: left and"
        " right.",
    )
    mode: Literal["dev", "eval"] = Field(
        "dev", description="dev: development set; eval: tests on the evaluation set, split 0."
    )
    classes: tuple[str, ...] = Field(
        LAYOUTS["tau2019"].classes,
        description="Event classes, in the order of the network's outputs; default: those of the"
        " layout.",
    )
    sample_rate_hz: int = Field(
        48000,
        gt=0,
        description="Sample rate of the recordings in Hz; 24000 in the layouts from 2020 on.",
    )
    channels: int = Field(4, gt=0, description="Number of channels of the recordings.")
    recording_s: float = Field(
        60.0, gt=0, description="Length in seconds; shorter recordings are padded, longer ones cut."
    )
    pad_short: bool = Field(
        True,
        description="Pad recordings shorter than `recording_s`; false: they stay as they are, as in"
        " the layouts whose recordings are of any length.",
    )
    label_hop_s: float = Field(
        0.02,
        gt=0,
        description="Hop length in seconds of the frames that are scored; 0.1 in the layouts from"
        " 2020 on.",
    )
    azimuth_range_deg: tuple[float, float] = Field(
        (-180.0, 170.0),
        description="Lowest and highest azimuth of the grid and the annotations in degrees."
        " [-180, 170] or [0, 350] in steps of 10 cover the circle.",
    )
    elevation_range_deg: tuple[float, float] = Field(
        (-40.0, 40.0), description="Lowest and highest elevation of the grid in degrees."
    )
    angle_step_deg: float = Field(
        10.0, gt=0, description="Step of the grid of directions in degrees."
    )
    microphones_m: tuple[tuple[float, float, float], ...] | None = Field(
        None,
        description="Positions of the microphones in metres: x front, y left, z up; null: unknown."
        " Used only by `python -m common.cli.check_dataset`.",
    )
    skip_silent: bool = Field(
        False, description="Leave out recordings in which every sample is zero, and list them."
    )
    strict: bool = Field(
        True,
        description="Refuse events that end before they begin, or begin after the recording;"
        " false: leave them out and count them in the log.",
    )

    @model_validator(mode="before")
    @classmethod
    def _with_layout(cls, given: Any) -> Any:
        """Adds the defaults of the layout; an unknown one is left to the check of its field."""
        name = str(given.get("layout", "tau2019")) if isinstance(given, dict) else ""
        if name not in get_args(LayoutName):
            return given
        layout = layout_named(name)
        defaults = {name: getattr(layout, name) for name in _OF_LAYOUT}
        any_length = layout.recording_s is None
        defaults |= {"recording_s": layout.recording_s or _LONGEST_S, "pad_short": not any_length}
        if layout.formats == ("stereo",):
            defaults |= {"format": "stereo", "channels": 2}
        if layout.is_framewise:
            defaults |= {"azimuth_range_deg": (-180.0, 180.0), "elevation_range_deg": (-90.0, 90.0)}
        return {**defaults, **given}

    @model_validator(mode="after")
    def _is_consistent(self) -> "DatasetConfig":
        if not self.classes or len(set(self.classes)) != len(self.classes):
            raise ValueError(
                f"`classes` must be different names, at least one. Received: {list(self.classes)}."
            )
        for name, most in (("azimuth_range_deg", 360), ("elevation_range_deg", 90)):
            low, high = getattr(self, name)
            if not (-most <= low < high <= most):
                raise ValueError(
                    f"`{name}` must be [lowest, highest] within -{most} to {most}. Received:"
                    f" [{low}, {high}]."
                )
        frames_per_s(self.label_hop_s)
        if self.metadata_format and not self.is_framewise:
            raise ValueError(
                "`metadata_format` is for annotations in label frames. Expected: none in the layout"
                f" {self.layout}, whose events have onset and offset. Received:"
                f" {self.metadata_format}. Set `layout: list` for own recordings."
            )
        positions = self.microphones_m
        if positions is not None and (self.format != "mic" or len(positions) != self.channels):
            raise ValueError(
                "`microphones_m` needs `format: mic` and one position for each of the"
                f" {self.channels} `channels`. Received: format {self.format},"
                f" {len(positions)} positions."
            )
        return self

    @property
    def n_classes(self) -> int:
        """Number of event classes, K."""
        return len(self.classes)

    @property
    def published(self) -> Layout:
        """The layout: folders, names and files."""
        return layout_named(self.layout)

    @property
    def annotation_format(self) -> CsvFormat:
        """Format of annotations in label frames."""
        return csv_format(self.metadata_format or self.published.metadata_format or "")

    @property
    def is_framewise(self) -> bool:
        """True if the annotations have a row for each source and label frame."""
        return self.published.is_framewise

    @property
    def grid(self) -> AngleGrid:
        """Grid of directions of the annotations."""
        return AngleGrid(self.azimuth_range_deg, self.elevation_range_deg, self.angle_step_deg)

    @property
    def frames_per_s(self) -> int:
        """Label frames in a block of one second."""
        return frames_per_s(self.label_hop_s)

    @property
    def n_frames(self) -> int:
        """Label frames of a recording of `recording_s` or longer, T."""
        return self.frames_of(None)

    def frames_of(self, sound_s: float | None) -> int:
        """Scored label frames of a recording of a length in seconds; None: unknown length."""
        duration_s = self.recording_s if sound_s is None else min(sound_s, self.recording_s)
        return frames_in_recording(duration_s, self.label_hop_s)


def evaluated_dataset(own: DatasetConfig, other: DatasetConfig) -> DatasetConfig:
    """The dataset that a run is scored on: scored in the label frames of the run's own.

    Raises:
        ConfigError: its audio has another format, or its annotations have other label frames.
    """
    for name in ("format", "channels"):
        expected, received = getattr(own, name), getattr(other, name)
        if expected != received:
            raise ConfigError(
                f"`dataset.{name}`: the run was trained on other audio. Expected: {expected}."
                f" Received: {received}."
            )
    if other.is_framewise and other.label_hop_s != own.label_hop_s:
        raise ConfigError(
            "`dataset.label_hop_s`: the run predicts other label frames than those annotated."
            f" Expected: {own.label_hop_s:g} s. Received: {other.label_hop_s:g} s."
        )
    return other.model_copy(update={"label_hop_s": own.label_hop_s})


@dataclass(frozen=True)
class Events:
    """The events of one recording, one entry of each array per event, in the order of the metadata.

    A source that moves has an entry for each stretch of time in which its direction and distance
    stay the same.

    Attributes:
        class_index: int64 (n,).
        onset_s: float64 (n,).
        offset_s: float64 (n,).
        azimuth_deg: float64 (n,), counter-clockwise from the front.
        elevation_deg: float64 (n,), upwards from the horizon.
        distance_m: float64 (n,), NaN where unknown.
        source: float64 (n,), number of the source; NaN where unknown: every entry is a source of
            its own.
        onscreen: float64 (n,), 1 if it is in the picture, else 0; NaN where unknown.
    """

    class_index: np.ndarray
    onset_s: np.ndarray
    offset_s: np.ndarray
    azimuth_deg: np.ndarray
    elevation_deg: np.ndarray
    distance_m: np.ndarray
    source: np.ndarray
    onscreen: np.ndarray

    def __len__(self) -> int:
        return len(self.class_index)

    def to_array(self, n_columns: int = 6) -> np.ndarray:
        """Returns float64 (n, n_columns), the first attributes as columns in their order."""
        columns = [getattr(self, column.name) for column in fields(self)[:n_columns]]
        return np.stack([np.asarray(column, np.float64) for column in columns], axis=1)

    @classmethod
    def from_array(cls, array: np.ndarray) -> "Events":
        """Makes events from the result of `to_array`; missing columns are unknown.

        Raises:
            ValueError: the array is not (n, 6), (n, 7) or (n, 8).
        """
        values = np.array(array, np.float64)  # a copy: the caller's array stays its own
        n_columns = len(fields(cls))
        if values.size == 0:
            values = values.reshape(0, n_columns)
        if values.ndim != 2 or not 6 <= values.shape[1] <= n_columns:
            raise ValueError(
                "Events are an array of 6 to 8 columns, the last of which are source and on-screen"
                f" flag. Expected: (n, 6). Received: {np.shape(array)}."
            )
        unknown = np.full((len(values), n_columns - values.shape[1]), np.nan)
        values = np.concatenate([values, unknown], axis=1)
        return cls(
            values[:, 0].astype(np.int64), *(values[:, column] for column in range(1, n_columns))
        )

    def select(self, keep: np.ndarray) -> "Events":
        """Returns the events at the given positions, or where a boolean (n,) is true."""
        return Events(*(getattr(self, column.name)[keep] for column in fields(self)))


def parse_name(name: str, set_name: str = "dev", layout: str = "tau2019") -> Attributes:
    """Reads split, room and overlap from a recording's name, e.g. `split1_ir0_ov2_11`.

    Args:
        name: file name without suffix.
        set_name: "dev": all that the layout's names hold are required; "eval": else split 0, room
            and overlap None.
        layout: of the dataset.

    Raises:
        DataError: a development recording's name lacks one of them.
    """
    return layout_named(layout).parse_name(name, set_name)


def find_recordings(
    dataset_dir: Path, dataset: DatasetConfig, set_name: str, notes: list[str] | None = None
) -> list[Recording]:
    """Finds the recordings of a set and their metadata.

    Args:
        dataset_dir: folder with a `recordings.csv`; or with `foa_dev`, `metadata_dev` and so on,
            itself or under proj/asignal/DCASE2019/dataset, with sub-folders such as
            `foa_dev/dev-train-sony` from 2021 on.
        dataset: layout and audio format.
        set_name: "dev", or "eval", whose recordings may all lack metadata.
        notes: gets a sentence for each folder with files that are left out; the log has the same.

    Returns:
        Recordings sorted by name.

    Raises:
        DataError: a folder is missing or empty, a name cannot be read, or a recording lacks its
            metadata or the reverse.
    """
    if has_list(dataset_dir) or dataset.layout == LISTED.name:
        return _listed(Path(dataset_dir), set_name)
    audio_dir = _find_folder(Path(dataset_dir), f"{dataset.format}_{set_name}")
    recordings = _files_of(audio_dir, dataset.published, *sound_suffixes(), notes=notes)
    if not recordings:
        raise DataError(
            f"{audio_dir} holds no .wav file nor any other recording. Expected: the recordings of"
            f" the {set_name} set. Unpack the dataset there, list your own recordings in"
            f" {dataset_dir / LIST_NAME}, write a dataset with `python simulate.py <task-id>`, or"
            " set `dataset_dir` to where it is."
        )
    metadata_dir, layout = audio_dir.parent / f"metadata_{set_name}", dataset.published
    has_metadata = metadata_dir.is_dir()
    metadata = _files_of(metadata_dir, layout, ".csv", ".tsv", notes=notes) if has_metadata else {}
    if metadata or set_name == "dev":
        check_pairs(recordings, metadata, audio_dir, metadata_dir)
    else:
        text = "%s has no metadata: its %d recordings are used without labels."
        logger.info(text, audio_dir, len(recordings))
    return [
        Recording(name, *parse_name(name, set_name, dataset.layout), path, metadata.get(name))
        for name, path in recordings.items()
    ]


def _files_of(
    folder: Path, layout: Layout, *suffixes: str, notes: list[str] | None = None
) -> dict[str, Path]:
    """Files of a folder and, where the layout has them, of its sub-folders, by name, sorted."""
    if not layout.has_subfolders:
        return files_by_name(folder, *suffixes, notes=notes)
    below = sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")
    found: dict[str, Path] = {}
    for each in (folder, *below):
        for name, path in files_by_name(each, *suffixes, notes=notes, skip=below).items():
            if found.setdefault(name, path) != path:
                raise DataError(
                    f"{path} and {found[name]} have one name. Expected: different names in all"
                    f" folders below {folder}. Move one of them away."
                )
    return dict(sorted(found.items()))


def _listed(dataset_dir: Path, set_name: str) -> list[Recording]:
    """Recordings of a set in `recordings.csv`; split 0 is the evaluation set."""
    found = [each for each in read_list(dataset_dir) if (each.split == 0) == (set_name == "eval")]
    if not found:
        wanted = "of split 0, the evaluation set" if set_name == "eval" else "of a split from 1 on"
        raise DataError(
            f"{dataset_dir / LIST_NAME} lists no recording {wanted}. Add some, or change the folds."
        )
    return found


def check_pairs(
    recordings: dict[str, Path], metadata: dict[str, Path], audio_dir: Path, metadata_dir: Path
) -> None:
    """Refuses recordings without metadata and metadata without a recording.

    Raises:
        DataError: lists the files without a counterpart.
    """
    problems = []
    both = (recordings, metadata, metadata_dir), (metadata, recordings, audio_dir)
    for given, wanted, where in both:
        unpaired = [path for name, path in given.items() if name not in wanted]
        if unpaired:
            kind = ".csv file" if where is metadata_dir else "recording"
            problems.append(f"no {kind} in {where} for {list_files(unpaired)}")
    if problems:
        raise DataError(
            f"Each recording needs a metadata file of the same name and the reverse;"
            f" {'; '.join(problems)}. Add the missing files (unpack a published dataset again), or"
            " move the files without a counterpart away."
        )


def list_files(paths: Sequence[Path]) -> str:
    """Names files for an error, the first few only, with their number."""
    names = ", ".join(str(path.name) for path in paths[:_NAMES_SHOWN])
    more = f" and {len(paths) - _NAMES_SHOWN} more" if len(paths) > _NAMES_SHOWN else ""
    return f"{len(paths)} file(s): {names}{more}"


def read_labels(
    path: Path, dataset: DatasetConfig, sound_s: float | None = None, notes: list[str] | None = None
) -> Events:
    """Reads the events of a recording, checked and cut to `dataset.recording_s`.

    Args:
        path: CSV file with the columns sound_event_recording, start_time, end_time, ele, azi, dist
            in any order.
        dataset: classes, ranges of angles and length of recordings.
        sound_s: length of the sound in seconds; None: unknown.
        notes: gets a sentence for each kind of event that `dataset.strict: false` leaves out; the
            log has the same.

    Returns:
        The events in the order of the file; none if the file is empty or has only a header. Offsets
        may lie in the padding of a short recording, as published; scores end with the recording.
        The log counts events that end after the recording.

    Raises:
        DataError: a row cannot be used, or an event starts after the end of the sound.
    """
    events, lines = read_lines(path, dataset, notes)
    if dataset.is_framewise:
        return _begun_before(events, sound_s, dataset, str(path), notes)
    full_s = dataset.recording_s
    ends_s = full_s if sound_s is None else min(sound_s, full_s)
    starts_before_s = full_s if ends_s >= (1.0 - LENGTH_TOLERANCE) * full_s else ends_s
    events = _without_late(events, lines, starts_before_s, dataset, str(path), notes)
    _log_cut(events, ends_s, str(path))
    return _cut(events, full_s)


def read_lines(
    path: Path, dataset: DatasetConfig, notes: list[str] | None = None
) -> tuple[Events, list[int]]:
    """Reads the events of a metadata file unchanged, and the line number of each.

    Where the annotations have a row for each label frame, an entry joins those of the frames in
    which a source stays where it is; it has no line number of its own, and the first line instead.

    Raises:
        DataError: a row cannot be used.
    """
    if dataset.is_framewise:
        rows = read_rows(path, dataset.annotation_format, len(dataset.labels))
        rows = rows[_mapped(rows[:, CLASS], dataset, str(path), notes)]
        return events_of_rows(rows, dataset.label_hop_s), [1] * len(rows)
    events, lines = _parse_rows(_read_text(Path(path)), dataset, str(path), notes)
    kept = _mapped(events.class_index, dataset, str(path), notes)
    return events.select(kept), list(itertools.compress(lines, kept))


def _mapped(
    numbers: np.ndarray, dataset: DatasetConfig, source: str, notes: list[str] | None
) -> np.ndarray:
    """Puts classes of the dataset in place of annotated ones, (n,); returns those that have one."""
    if dataset.is_mapped:
        numbers[:] = np.array(dataset.class_numbers)[numbers.astype(np.int64)]
    kept = numbers >= 0
    if not kept.all():
        text = f"{source}: {(~kept).sum()} entries of classes that `dataset.class_map` leaves out."
        _tell(notes, text)
    return kept


def _without_late(
    events: Events,
    lines: Sequence[int],
    duration_s: float,
    dataset: DatasetConfig,
    source: str,
    notes: list[str] | None,
) -> Events:
    """Events that begin within `duration_s` seconds; others are refused where labels are strict."""
    late = np.flatnonzero(events.onset_s >= duration_s)
    if late.size and dataset.strict:
        first = late[0]
        longer = ", set `dataset.recording_s` to the length of the recordings"
        # Shorter recordings are as long as their sound.
        remedy = longer if duration_s >= dataset.recording_s else ""
        raise DataError(
            f"{source}, line {lines[first]}: the event starts at {events.onset_s[first]:g} s, at or"
            f" after the end of the recording. Expected: start_time below {duration_s:g} s, in"
            f" seconds (not frames). Correct the row{remedy}, or leave such events out with --set"
            " dataset.strict=false."
        )
    if late.size:
        _tell(notes, f"{source}: {late.size} event(s) begin after the recording, left out.")
        events = events.select(events.onset_s < duration_s)
    return events


def _begun_before(
    events: Events, sound_s: float | None, dataset: DatasetConfig, source: str, notes: list | None
) -> Events:
    """Events in label frames, without those after the recording, as published: they are told."""
    ends_s = dataset.frames_of(sound_s) * dataset.label_hop_s
    slack_s = 0.5 * dataset.label_hop_s
    late = events.onset_s > ends_s - slack_s
    if late.any():
        _tell(notes, f"{source}: {late.sum()} entries lie after the recording, left out.")
    return _cut(events.select(~late), ends_s)


def events_of_rows(rows: np.ndarray, hop_s: float) -> Events:
    """Joins rows of consecutive label frames in which nothing changes.

    The events are in such an order that `rows_of_events` gives the rows back, each frame in the
    order of the file: scorers of some years tell sources apart by it.

    Args:
        rows: (n, 7), see `seld.recordings.rows`.
        hop_s: hop length of the label frames in seconds.
    """
    rows = rows[np.argsort(rows[:, FRAME], kind="stable")]
    frame = rows[:, FRAME].astype(np.int64)
    rank, _ = ranks(frame)  # place in its frame
    known = np.nan_to_num(rows[:, CLASS:], nan=-1e9)
    order = np.lexsort((frame, *known.T, rank))
    rank, frame, known, rows = rank[order], frame[order], known[order], rows[order]
    goes_on = (known[1:] == known[:-1]).all(axis=1) & (rank[1:] == rank[:-1])
    goes_on &= frame[1:] == frame[:-1] + 1
    first = np.flatnonzero(np.concatenate([[True], ~goes_on])) if len(rows) else np.zeros(0, int)
    last = np.concatenate([first[1:], [len(rows)]]).astype(int) - 1 if len(rows) else first
    order = np.lexsort((frame[first], rank[first]))
    first, last = first[order], last[order]
    klass, azimuth, elevation, source, distance, onscreen = rows[first, CLASS:].T
    times_s = frame[first] * hop_s, (frame[last] + 1) * hop_s
    places = azimuth, elevation, distance, source, onscreen
    return Events(klass.astype(np.int64), *times_s, *places)


def parse_events(text: str, dataset: DatasetConfig, source: str = "metadata") -> Events:
    """Reads the text of a metadata file for a recording of unknown duration; errors name `source`.

    The checks are those of `read_labels`, except that nothing is cut and no event starts too late.
    """
    return _parse_rows(text, dataset, source)[0]


def _log_cut(events: Events, duration_s: float, source: str) -> None:
    n_cut = int(np.sum(events.offset_s > duration_s))
    if n_cut:
        text = "%s: %d event(s) end after the recording, cut at %g s."
        logger.info(text, source, n_cut, duration_s)


def _cut(events: Events, duration_s: float) -> Events:
    return replace(events, offset_s=np.minimum(events.offset_s, duration_s))


def _find_folder(dataset_dir: Path, name: str) -> Path:
    for root in (dataset_dir, dataset_dir / NESTED_ROOT):
        if (root / name).is_dir():
            return root / name
    received = "no such folder"
    if dataset_dir.is_dir():
        found = sorted(entry.name for entry in dataset_dir.iterdir())
        received = ", ".join(found[:_NAMES_SHOWN]) or "an empty folder"
    raise DataError(
        f"There is no folder {name!r} in {dataset_dir}. Expected: {name}/ with WAV files, there or"
        f" in {NESTED_ROOT}. Received: {received}. Set `dataset_dir` to the unpacked dataset, list"
        f" your own recordings in {LIST_NAME}, or write a dataset with `python simulate.py"
        " <task-id>`."
    )


def files_by_name(
    folder: Path, *suffixes: str, notes: list[str] | None = None, skip: Sequence[Path] = ()
) -> dict[str, Path]:
    """Maps names without suffix to files of some suffixes, sorted; logs others but `skip`.

    Raises:
        DataError: a name cannot be used, or two files differ only in their suffix.
    """
    visible = (entry for entry in folder.iterdir() if not entry.name.startswith("."))
    entries = sorted(set(visible) - set(skip))
    wanted = [entry.suffix.lower() in suffixes and entry.is_file() for entry in entries]
    strays = [entry for entry, is_wanted in zip(entries, wanted, strict=True) if not is_wanted]
    if strays:
        kind = "recordings" if ".wav" in suffixes else f"{suffixes[0]} files"
        _tell(notes, f"{folder}: ignored, not {kind}: {list_files(strays)}.", logging.WARNING)
    files: dict[str, Path] = {}
    for entry in itertools.compress(entries, wanted):
        if not is_file_name(entry.name) or files.setdefault(entry.stem, entry) != entry:
            raise DataError(
                f"{folder} holds {entry.name!r}, whose name cannot be used, or differs from that of"
                " another file only in its suffix. Expected: different names of text in UTF-8."
                " Rename it, or move it away."
            )
    return files


def _tell(notes: list[str] | None, text: str, level: int = logging.INFO) -> None:
    logger.log(level, "%s", text)
    if notes is not None:
        notes.append(text)


def _parse_rows(
    text: str, dataset: DatasetConfig, source: str, notes: list[str] | None = None
) -> tuple[Events, list[int]]:
    """Returns the checked events and the line number of each."""
    if not text.strip():
        return Events.from_array(np.zeros((0, 6))), []
    table = parse_table(text, COLUMNS, source)
    index = {name: number for number, name in enumerate(dataset.labels)}
    rows = [_parse_row(row, f"{source}, line {line}", index, dataset) for line, row in table.rows()]
    events, lines = _on_circle(np.array(rows, np.float64).reshape(-1, 6), dataset), table.lines
    backward = events.onset_s > events.offset_s
    if backward.any():
        _refuse_backward(events, lines, int(np.flatnonzero(backward)[0]), source, dataset)
        _tell(notes, f"{source}: {backward.sum()} event(s) end before they begin, left out.")
        lines = list(itertools.compress(lines, ~backward))
        events = events.select(~backward)
    return events, lines


def _on_circle(rows: np.ndarray, dataset: DatasetConfig) -> Events:
    """Events with one azimuth for each direction: of 180 and -180, or 360 and 0, the second."""
    if dataset.grid.is_full_circle:
        rows[:, 3] = dataset.grid.on_circle(rows[:, 3])
    return Events.from_array(rows)


def _refuse_backward(
    events: Events, lines: Sequence[int], number: int, source: str, dataset: DatasetConfig
) -> None:
    if dataset.strict:
        raise DataError(
            f"{source}, line {lines[number]}: the event ends before it starts. Expected: start_time"
            f" <= end_time. Received: start_time {events.onset_s[number]:g} s, end_time"
            f" {events.offset_s[number]:g} s. Correct the row, or leave such events out with --set"
            " dataset.strict=false."
        )


def _read_text(path: Path) -> str:
    return read_text(
        path,
        f"There is no metadata file {path}. Unpack the dataset again.",
        "Replace it by the dataset's.",
    )


def _parse_row(
    row: dict[str, str], where: str, index: dict[str, int], dataset: DatasetConfig
) -> list[float]:
    """Checks one row and returns it in the order of the attributes of `Events`."""
    name = row["sound_event_recording"]
    if name not in index:
        raise DataError(
            f"{where}: unknown class {name[:80]!r}. Expected: one of {', '.join(index)}. Correct"
            " the row, or add the class to `dataset.classes`."
        )
    onset, offset = (_parse_number(row, column, where) for column in ("start_time", "end_time"))
    azimuth = _parse_angle(row, "azi", where, dataset.azimuth_range_deg, "azimuth_range_deg")
    elevation = _parse_angle(row, "ele", where, dataset.elevation_range_deg, "elevation_range_deg")
    distance = _parse_number(row, "dist", where)
    return [index[name], onset, offset, azimuth, elevation, distance]


def _parse_number(row: dict[str, str], column: str, where: str) -> float:
    value = to_number(row[column])
    if value is None or value < 0:
        raise DataError(
            f"{where}: {column} is not usable. Expected: a number, not negative. Received:"
            f" {row[column][:80]!r}.{number_hint(row[column])} Correct the row."
        )
    return value


def _parse_angle(
    row: dict[str, str], column: str, where: str, limits: tuple[float, float], setting: str
) -> float:
    value = to_number(row[column])
    low, high = limits
    if value is None or not low - ANGLE_SLACK_DEG <= value <= high + ANGLE_SLACK_DEG:
        raise DataError(
            f"{where}: {column} is outside the dataset's range. Expected: {low:g} to {high:g}"
            f" degrees. Received: {row[column][:80]!r}.{number_hint(row[column])} Correct the"
            f" row{_angle_remedy(value, limits, setting)}."
        )
    return min(max(value, low), high)


def _angle_remedy(value: float | None, limits: tuple[float, float], setting: str) -> str:
    """Remedy besides a correction: the same direction in the range's degrees, or a wider range."""
    if value is None:
        return ""
    if setting == "elevation_range_deg":
        return (
            f", or widen `dataset.{setting}`"
            if abs(value) <= 90
            else ": elevations are from -90 to 90 degrees"
        )
    same = [value + turn for turn in (-360.0, 360.0) if limits[0] <= value + turn <= limits[1]]
    written = f": {same[0]:g} degrees is the same direction" if same else ""
    wide = (0, 360) if value >= 0 else (-180, 180)
    fits = wide[0] <= value <= wide[1]
    remedy = f"set `dataset.{setting}` to the range of your labels, e.g. {list(wide)}"
    return f"{written}, or {remedy if fits else f'check `dataset.{setting}`'}"

"""Plans of simulated recordings: their events, drawn or given, names and metadata files."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from common.errors import DataError
from common.settings.folds import FoldConfig
from common.simulation.measured.places import MeasuredPlace
from common.simulation.measured.responses import Direction, MeasuredResponse
from common.simulation.random_streams import random_stream
from common.simulation.scenes import draw_layer
from common.simulation.source_selection import SoundSets, parts_of_splits
from common.simulation.trajectories import Trajectory
from seld.dataset import COLUMNS, DatasetConfig, Events, parse_name, read_labels
from seld.recordings.layouts import EVALUATION_SPLIT, Layout
from seld.simulation.settings import N_ROOMS, SceneSettings

DATASET_NAME = "tau2019"
RECORDINGS_PER_CELL = 10  # numbers for each room and overlap, as in the real dataset
# Disjoint sets of sound examples, in the order of priority for classes with too few sources.
SETS = {1: "split 1", 2: "split 2", 3: "split 3", 4: "split 4", 0: "split 0 (evaluation)"}
AZIMUTHS_DEG = tuple(range(-180, 180, 10))
ELEVATIONS_DEG = {1: tuple(range(-40, 50, 10)), 2: tuple(range(-20, 30, 10))}  # by distance in m
POSITIONS = tuple(
    (azimuth, elevation, distance)
    for distance, elevations in ELEVATIONS_DEG.items()
    for elevation in elevations
    for azimuth in AZIMUTHS_DEG
)  # the 504 positions at which responses were measured in each room


@dataclass(frozen=True)
class PlannedEvent:
    """One event of a recording.

    Attributes:
        class_name: name of its class.
        example: number of the example in the set of the split; None: any that is long enough.
        onset_s: start.
        duration_s: length of the dry sound.
        azimuth_deg: direction; of a moving source, at its start.
        elevation_deg: direction.
        distance_m: distance from the array.
        gain_db: level against the other events.
        trajectory: path of a moving source; None: it stands still.
        source: number that tells apart sources of one class at a time: that of the layer.
        is_labelled: false for an interferer, which is heard but not in the metadata.
        response: of a measured room; None: the room is computed.
    """

    class_name: str
    example: int | None
    onset_s: float
    duration_s: float
    azimuth_deg: float
    elevation_deg: float
    distance_m: float
    gain_db: float
    trajectory: Trajectory | None = None
    source: int = 0
    is_labelled: bool = True
    response: MeasuredResponse | None = None


@dataclass(frozen=True)
class RecordingPlan:
    """One recording before it is rendered.

    Attributes:
        name: of its files, without suffix.
        split: 0 is the evaluation set.
        room: number of the room; measured ones come after the computed ones.
        n_samples: length.
        events: events, layer by layer.
        metadata: content of the metadata file.
        site: number of the place of recording, for the folder.
    """

    name: str
    split: int
    room: int
    n_samples: int
    events: tuple[PlannedEvent, ...]
    metadata: bytes
    site: int = 0


@dataclass(frozen=True)
class Slot:
    """A recording before its scene is drawn: its name and the parts of the name.

    Attributes:
        name: of its files, without suffix.
        split: 0 is the evaluation set.
        room: number of the room; measured ones come after the computed ones.
        overlap: number of layers.
        site: number of the place of recording, for the folder.
        place: measured room; None: a computed one.
    """

    name: str
    split: int
    room: int
    overlap: int
    site: int = 0
    place: MeasuredPlace | None = None


def set_of_split(split: int) -> str:
    """Name of the set that a split belongs to: dev or eval."""
    return "eval" if split == EVALUATION_SPLIT else "dev"


def sets_of(layout: Layout) -> dict[int, str]:
    """Titles of the disjoint sets of sound examples of a layout, by split, as `SETS`."""
    if not layout.is_framewise:
        return SETS
    titles = {split: f"split {split}" for split in layout.splits}
    return {**titles, EVALUATION_SPLIT: SETS[EVALUATION_SPLIT]}


def sound_sets(layout: Layout, folds: Sequence[FoldConfig] | None = None) -> SoundSets:
    """Sets of sound examples of a layout, and the parts of own recordings that they take.

    Args:
        layout: its splits.
        folds: those that are trained, see `parts_of_splits`; None: the layout's. The evaluation set
            takes `test`.
    """
    titles = sets_of(layout)
    parts = parts_of_splits(titles, layout.folds if folds is None else folds)
    return SoundSets(titles, parts | {EVALUATION_SPLIT: "test"})


def deal_recordings(
    n: int, rooms: Sequence[int], overlaps: Sequence[int]
) -> list[tuple[int, int, int]]:
    """Distributes the recordings of a split evenly over rooms and overlaps.

    Args:
        n: number of recordings.
        rooms: numbers of the rooms.
        overlaps: numbers of layers.

    Returns:
        Room, overlap and number, from 1, among those with the same two, of each recording.
    """
    dealt = []
    for index in range(n):
        lap, place = divmod(index, len(rooms) * len(overlaps))
        turn, room = divmod(place, len(rooms))
        dealt.append((rooms[room], overlaps[(room + turn) % len(overlaps)], lap + 1))
    return dealt


def n_measured(split: int, settings: SceneSettings) -> int:
    """Number of recordings of a split in measured rooms."""
    n = settings.recordings_per_split.get(split, 0)
    return round(settings.measured.share * n) if settings.measured else 0


def deal_rooms(
    split: int, settings: SceneSettings, places: Sequence[MeasuredPlace]
) -> tuple[list[tuple[int, int, int]], dict[int, MeasuredPlace]]:
    """Distributes the recordings of a split over computed rooms, then over measured ones.

    Args:
        split: number of the split.
        settings: rooms, overlaps and share of measured rooms.
        places: those of the split; as many as it needs, see `n_measured`.

    Returns:
        As from `deal_recordings`; the measured room of each number that is one.
    """
    measured = {N_ROOMS + place.number: place for place in places}
    n, n_there = settings.recordings_per_split.get(split, 0), n_measured(split, settings)
    dealt = deal_recordings(n - n_there, settings.rooms, settings.overlaps)
    return dealt + deal_recordings(n_there, list(measured), settings.overlaps), measured


def name_recordings(
    split: int, settings: SceneSettings, places: Sequence[MeasuredPlace] = ()
) -> list[Slot]:
    """Names the recordings of a split as in the real dataset, such as split1_ir0_ov1_1.

    Numbers are 20 ir + 10 (ov - 1) + k; more than 10 recordings of one room and overlap, or more
    than two layers, spread them. The evaluation set is counted: split0_1, split0_2 ...
    """
    dealt, measured = deal_rooms(split, settings, places)
    step = max([RECORDINGS_PER_CELL, *(number for _, _, number in dealt)])
    layers = max(2, *settings.overlaps)
    slots = []
    for index, (room, overlap, number) in enumerate(dealt, start=1):
        count = step * (layers * room + overlap - 1) + number
        name = f"split{split}_ir{room}_ov{overlap}_{count}"
        if split == EVALUATION_SPLIT:
            name = f"split{split}_{index}"
        slots.append(Slot(name, split, room, overlap, place=measured.get(room)))
    return slots


def recording_stream(
    settings: SceneSettings, split: int, name: str, purpose: str
) -> np.random.Generator:
    """Random numbers of one recording for one purpose."""
    layout = settings.motion.layout if settings.motion else DATASET_NAME
    return random_stream(settings.seed, settings.version, layout, split, name, purpose)


def plan_recording(
    slot: Slot, settings: SceneSettings, rate_hz: int, durations_s: Mapping[str, Sequence[float]]
) -> RecordingPlan:
    """Draws the events of a recording.

    Args:
        slot: its name, room and overlap.
        settings: sizes and ranges.
        rate_hz: sample rate.
        durations_s: duration of each example in the set of the split, by class.
    """
    stream = recording_stream(settings, slot.split, slot.name, "timeline")
    events: list[PlannedEvent] = []
    for _ in range(slot.overlap):
        choose = _event_drawer(stream, settings, durations_s, tuple(events), slot.place)
        events += draw_layer(stream, settings.duration_s, choose)
    recording_s = settings.duration_s
    if settings.ragged:
        recording_s += float(stream.uniform(-0.5, 0.5))
    metadata = format_metadata(events, None if settings.ragged else settings.duration_s)
    n_samples = round(recording_s * rate_hz)
    return RecordingPlan(
        slot.name, slot.split, slot.room, n_samples, tuple(events), metadata.encode("ascii")
    )


def _event_drawer(
    stream: np.random.Generator,
    settings: SceneSettings,
    durations_s: Mapping[str, Sequence[float]],
    others: tuple[PlannedEvent, ...],
    measured: MeasuredPlace | None,
) -> Callable[[float], tuple[PlannedEvent, float]]:
    """Returns a function from an onset to an event of uniform class, example and position."""

    def choose(onset_s: float) -> tuple[PlannedEvent, float]:
        class_name, example = choose_sound(stream, settings, durations_s, onset_s, others)
        event_s = durations_s[class_name][example]
        (azimuth, elevation, distance), response = _draw_position(stream, settings, measured)
        gain_db = float(stream.uniform(-settings.gain_range_db, settings.gain_range_db))
        place = azimuth, elevation, distance, gain_db
        event = PlannedEvent(class_name, example, onset_s, event_s, *place)
        return replace(event, response=response), event_s

    return choose


def _draw_position(
    stream: np.random.Generator, settings: SceneSettings, place: MeasuredPlace | None
) -> tuple[tuple[float, float, float], MeasuredResponse | None]:
    """Draws azimuth, elevation and distance, and the response of a measured room."""
    if place is None:
        return POSITIONS[int(stream.integers(len(POSITIONS)))], None
    response = draw_response(stream, place)
    direction: Direction = response.label_deg or response.direction_deg
    if settings.measured and settings.measured.rotate:
        direction = POSITIONS[int(stream.integers(len(POSITIONS)))][:2]
    return (*direction, response.level_distance_m), response


def draw_response(stream: np.random.Generator, place: MeasuredPlace) -> MeasuredResponse:
    """Draws one of the responses of a place, all equally likely."""
    return place.responses[int(stream.integers(len(place.responses)))]


def choose_sound(
    stream: np.random.Generator,
    settings: SceneSettings,
    durations_s: Mapping[str, Sequence[float]],
    onset_s: float,
    others: Sequence[PlannedEvent],
) -> tuple[str, int]:
    """Draws a class and the number of an example.

    All classes are equally likely, but for `same_class_share`.
    """
    names = stream.permutation(sorted(durations_s)).tolist()
    if settings.same_class_share and stream.random() < settings.same_class_share:
        sounding = {
            each.class_name for each in others if 0 <= onset_s - each.onset_s < each.duration_s
        }
        names.sort(key=lambda name: name not in sounding)  # stable: else in the drawn order
    for class_name in names:
        example = int(stream.integers(len(durations_s[class_name])))
        overlaps = _overlaps(class_name, onset_s, durations_s[class_name][example], others)
        if settings.allow_same_class_overlap or not overlaps:
            break
    return class_name, example


def _overlaps(
    class_name: str, onset_s: float, duration_s: float, others: Sequence[PlannedEvent]
) -> bool:
    return any(
        other.class_name == class_name
        and other.onset_s < onset_s + duration_s
        and onset_s < other.onset_s + other.duration_s
        for other in others
    )


def format_metadata(events: Sequence[PlannedEvent], end_s: float | None) -> str:
    """Formats events as in the real dataset: elevation before azimuth, times with 12 digits.

    Args:
        events: in the order of the rows.
        end_s: labels are cut here; None: not at all.
    """
    rows = [",".join(COLUMNS)]
    for event in events:
        offset_s = min(event.onset_s + event.duration_s, np.inf if end_s is None else end_s)
        rows.append(
            f"{event.class_name},{event.onset_s:.12g},{offset_s:.12g},"
            f"{event.elevation_deg:g},{event.azimuth_deg:g},{event.distance_m:g}"
        )
    return "\n".join(rows) + "\n"


def plan_annotations(
    folder: Path, settings: SceneSettings, dataset: DatasetConfig, n_rooms: int
) -> list[RecordingPlan]:
    """Plans recordings of the events in given metadata files.

    Args:
        folder: holds .csv files with names such as split1_ir0_ov1_1.csv or split0_1.csv.
        settings: duration, seed and levels.
        dataset: classes, ranges of angles, sample rate.
        n_rooms: number of simulated rooms; a name without `ir` gets a random one.

    Returns:
        Plans, sorted by name.

    Raises:
        DataError: the folder holds no .csv file, or a file or its name cannot be used.
    """
    paths = sorted(folder.glob("*.csv")) if folder.is_dir() else []
    if not paths:
        raise DataError(
            f"{folder} holds no metadata. Expected: a folder with .csv files such as"
            " split1_ir0_ov1_1.csv. Give the folder that holds them with --annotations."
        )
    return [_plan_annotation(path, settings, dataset, n_rooms) for path in paths]


def _plan_annotation(
    path: Path, settings: SceneSettings, dataset: DatasetConfig, n_rooms: int
) -> RecordingPlan:
    name = path.stem
    is_evaluation = name.startswith(f"split{EVALUATION_SPLIT}_")
    split, room, _ = parse_name(name, "eval" if is_evaluation else "dev")
    if split not in SETS or (room is not None and room >= n_rooms):
        raise DataError(
            f"The name of {path} has split {split} and room {room}. Expected: split0 to"
            f" split{max(SETS)} and ir0 to ir{n_rooms - 1}. Rename the file."
        )
    stream = recording_stream(settings, split, name, "timeline")
    planned = dataset.model_copy(update={"recording_s": settings.duration_s})
    events = _given_events(read_labels(path, planned), dataset, stream, settings.gain_range_db)
    n_samples = round(settings.duration_s * dataset.sample_rate_hz)
    chosen = int(stream.integers(n_rooms)) if room is None else room
    return RecordingPlan(name, split, chosen, n_samples, events, path.read_bytes())


def _given_events(
    events: Events, dataset: DatasetConfig, stream: np.random.Generator, gain_range_db: float
) -> tuple[PlannedEvent, ...]:
    planned = []
    for k, onset_s, offset_s, azimuth, elevation, distance in events.to_array().tolist():
        times_s = onset_s, offset_s - onset_s
        place = azimuth, elevation, distance, float(stream.uniform(-gain_range_db, gain_range_db))
        planned.append(PlannedEvent(dataset.classes[int(k)], None, *times_s, *place))
    return tuple(planned)

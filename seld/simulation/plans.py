"""What happens in each simulated recording: events drawn or given, the names of recordings, their
metadata files."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common.errors import DataError
from common.simulation.random_streams import random_stream
from common.simulation.scenes import draw_layer
from seld.dataset import COLUMNS, DatasetConfig, Events, parse_name, read_labels

if TYPE_CHECKING:
    from seld.simulation.simulator import SceneSettings

DATASET_NAME = "tau2019"
RECORDINGS_PER_CELL = (
    10  # numbers reserved for each combination of room and overlap, as in the real dataset
)
EVALUATION_SPLIT = 0
# disjoint sets of sound examples: one for each of the splits 1 to 4 and one for the evaluation set
N_SETS = 5
# Served in this order where a class has fewer sources than there are sets.
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
        example: number of the example in the set of the recording's split; None: any that is long
            enough.
        onset_s: start.
        duration_s: length of the dry sound.
        azimuth_deg: direction.
        elevation_deg: direction.
        distance_m: distance from the array.
        gain_db: level against the other events.
    """

    class_name: str
    example: int | None
    onset_s: float
    duration_s: float
    azimuth_deg: float
    elevation_deg: float
    distance_m: float
    gain_db: float


@dataclass(frozen=True)
class RecordingPlan:
    """One recording before it is rendered.

    Attributes:
        name: of its files, without suffix.
        split: 0 is the evaluation set.
        room: number of the room.
        n_samples: length.
        events: what happens, layer by layer.
        metadata: content of the metadata file.
    """

    name: str
    split: int
    room: int
    n_samples: int
    events: tuple[PlannedEvent, ...]
    metadata: bytes

    @property
    def set_name(self) -> str:
        """The set it belongs to, dev or eval."""
        return set_of_split(self.split)


@dataclass(frozen=True)
class Slot:
    """A recording that is to be made: its name and what the name says.

    Attributes:
        name: of its files, without suffix.
        split: 0 is the evaluation set.
        room: number of the room.
        overlap: number of layers.
    """

    name: str
    split: int
    room: int
    overlap: int


def set_of_split(split: int) -> str:
    """Says whether a split belongs to the development or to the evaluation set."""
    return "eval" if split == EVALUATION_SPLIT else "dev"


def deal_recordings(
    n: int, rooms: Sequence[int], overlaps: Sequence[int]
) -> list[tuple[int, int, int]]:
    """Deals the recordings of a split over rooms and overlaps, so that all are covered evenly
    wherever it stops.

    Args:
        n: number of recordings.
        rooms: numbers of the rooms.
        overlaps: numbers of layers.

    Returns:
        For each recording its room, its overlap and its number among those with the same two, from
        1.
    """
    dealt = []
    for index in range(n):
        lap, place = divmod(index, len(rooms) * len(overlaps))
        turn, room = divmod(place, len(rooms))
        dealt.append((rooms[room], overlaps[(room + turn) % len(overlaps)], lap + 1))
    return dealt


def name_recordings(split: int, settings: "SceneSettings") -> list[Slot]:
    """Names the recordings of a split as the real dataset does: split1_ir0_ov1_1, numbered 20 ir +
    10 (ov - 1) + k.

    More than 10 recordings of one room and overlap, or more than two layers, spread the numbers;
    the evaluation set is just counted: split0_1, split0_2 ...
    """
    dealt = deal_recordings(
        settings.recordings_per_split.get(split, 0), settings.rooms, settings.overlaps
    )
    step = max([RECORDINGS_PER_CELL, *(number for _, _, number in dealt)])
    layers = max(2, *settings.overlaps)
    slots = []
    for index, (room, overlap, number) in enumerate(dealt, start=1):
        count = step * (layers * room + overlap - 1) + number
        name = f"split{split}_ir{room}_ov{overlap}_{count}"
        slots.append(
            Slot(
                f"split{split}_{index}" if split == EVALUATION_SPLIT else name, split, room, overlap
            )
        )
    return slots


def recording_stream(
    settings: "SceneSettings", split: int, name: str, purpose: str
) -> np.random.Generator:
    """Gives the random numbers of one recording for one purpose."""
    return random_stream(settings.seed, settings.version, DATASET_NAME, split, name, purpose)


def plan_recording(
    slot: Slot, settings: "SceneSettings", rate_hz: int, durations_s: Mapping[str, Sequence[float]]
) -> RecordingPlan:
    """Draws what happens in a recording.

    Args:
        slot: its name, room and overlap.
        settings: sizes and ranges.
        rate_hz: sample rate.
        durations_s: duration of each example that the split may use, by class.

    Returns:
        The plan; it depends on the settings and the name only.
    """
    stream = recording_stream(settings, slot.split, slot.name, "timeline")
    events: list[PlannedEvent] = []
    for _ in range(slot.overlap):
        events += draw_layer(
            stream, settings.duration_s, _event_drawer(stream, settings, durations_s, tuple(events))
        )
    recording_s = settings.duration_s + (
        float(stream.uniform(-0.5, 0.5)) if settings.ragged else 0.0
    )
    metadata = format_metadata(events, None if settings.ragged else settings.duration_s)
    n_samples = round(recording_s * rate_hz)
    return RecordingPlan(
        slot.name, slot.split, slot.room, n_samples, tuple(events), metadata.encode("ascii")
    )


def _event_drawer(
    stream: np.random.Generator,
    settings: "SceneSettings",
    durations_s: Mapping[str, Sequence[float]],
    others: tuple[PlannedEvent, ...],
) -> Callable[[float], tuple[PlannedEvent, float]]:
    """Makes the function that draws the event at an onset: class, example and position are each
    equally likely."""

    def choose(onset_s: float) -> tuple[PlannedEvent, float]:
        for class_name in stream.permutation(sorted(durations_s)).tolist():
            example = int(stream.integers(len(durations_s[class_name])))
            event_s = durations_s[class_name][example]
            if settings.allow_same_class_overlap or not _overlaps(
                class_name, onset_s, event_s, others
            ):
                break
        azimuth, elevation, distance = POSITIONS[int(stream.integers(len(POSITIONS)))]
        gain_db = float(stream.uniform(-settings.gain_range_db, settings.gain_range_db))
        return (
            PlannedEvent(
                class_name, example, onset_s, event_s, azimuth, elevation, distance, gain_db
            ),
            event_s,
        )

    return choose


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
    """Writes events as the real dataset does: comma-separated, elevation before azimuth, times with
    12 digits.

    Args:
        events: in the order of the rows.
        end_s: where labels are cut; None: nowhere.
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
    folder: Path, settings: "SceneSettings", dataset: DatasetConfig, n_rooms: int
) -> list[RecordingPlan]:
    """Plans recordings of the events in given metadata files.

    Args:
        folder: holds .csv files with names such as split1_ir0_ov1_1.csv or split0_1.csv.
        settings: duration, seed and levels.
        dataset: classes, ranges of angles, sample rate.
        n_rooms: number of simulated rooms; the number after `ir` chooses one, other names draw one.

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
    path: Path, settings: "SceneSettings", dataset: DatasetConfig, n_rooms: int
) -> RecordingPlan:
    name = path.stem
    split, room, _ = parse_name(
        name, "eval" if name.startswith(f"split{EVALUATION_SPLIT}_") else "dev"
    )
    if split >= N_SETS or (room is not None and room >= n_rooms):
        raise DataError(
            f"The name of {path} asks for split {split} and room {room}. Expected: split0 to"
            f" split{N_SETS - 1} and ir0 to ir{n_rooms - 1}, which can be simulated. Rename the"
            " file."
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
    return tuple(
        PlannedEvent(
            dataset.classes[int(row[0])],
            None,
            row[1],
            row[2] - row[1],
            row[3],
            row[4],
            row[5],
            float(stream.uniform(-gain_range_db, gain_range_db)),
        )
        for row in events.to_array().tolist()
    )

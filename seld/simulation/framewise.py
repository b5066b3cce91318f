"""Plans of recordings in the layouts of 2020 to 2025: moving sources, a label for every frame.

A label frame is 100 ms. An event is active in the frames whose middle lies within it, and in one
frame at least; its position there is that of the trajectory at the middle of the frame.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from common.errors import ConfigError
from common.simulation.measured.places import MeasuredPlace
from common.simulation.measured.responses import MeasuredResponse
from common.simulation.receivers import unit_vectors
from common.simulation.rooms import Room
from common.simulation.scenes import MIN_AUDIBLE_S, draw_layer
from common.simulation.trajectories import SourceSpace, Trajectory, to_angles
from seld.recordings.csv_formats import format_rows
from seld.recordings.layouts import EVALUATION_SPLIT, Layout
from seld.recordings.rows import FRAME, make_rows, no_rows
from seld.simulation.plans import (
    PlannedEvent,
    RecordingPlan,
    Slot,
    choose_sound,
    deal_rooms,
    draw_response,
    recording_stream,
)
from seld.simulation.settings import N_ROOMS, MotionSettings, SceneSettings

ELEVATION_DEG = (-45.0, 45.0)
ROOMS_OF_A_SITE = 20  # rooms of the second place of recording are counted from 21
VIEW_DEG = 100.0  # horizontal field of view of the pictures of 2025, which are 16:9
VIEW_HEIGHT = 9 / 16
# Sources in measured rooms are on a sphere around the microphones: no wall is known.
WITHOUT_WALLS = Room("measured", (1e6, 1e6, 1e6), (5e5, 5e5, 5e5), (1.0, 1.0))
Durations = Mapping[str, Sequence[float]]


def name_recordings(
    split: int, settings: SceneSettings, layout: Layout, places: Sequence[MeasuredPlace] = ()
) -> list[Slot]:
    """Names the recordings of a split, such as fold1_room1_mix001; mix001 in the evaluation set.

    Mixtures are counted for each room. Rooms alternate between the places of recording of the real
    data, whose names are in the folders. Measured rooms are counted from 21, or from 41 in layouts
    of two places.
    """
    counts: Counter[int] = Counter()
    slots = []
    dealt, measured = deal_rooms(split, settings, places)
    n_sites = max(len(layout.sites), 1)
    for index, (room, overlap, _) in enumerate(dealt, start=1):
        site = room % n_sites
        counts[room] += 1
        number = room + 1 + ROOMS_OF_A_SITE * site
        if room in measured:
            number = room - N_ROOMS + 1 + ROOMS_OF_A_SITE * n_sites
        name = layout.recording_name(split, number, counts[room], overlap)
        if split == EVALUATION_SPLIT:
            name = layout.evaluation_name(index)
        slots.append(Slot(name, split, room, overlap, site, measured.get(room)))
    return slots


def plan_scene(
    slot: Slot,
    settings: SceneSettings,
    layout: Layout,
    space: SourceSpace,
    rate_hz: int,
    sounds: tuple[Sequence[str], Durations, Durations],
) -> RecordingPlan:
    """Draws the events of a recording, their paths and its metadata.

    Args:
        slot: its name, room and number of layers.
        settings: sizes and ranges.
        layout: format of the metadata.
        space: where sources may be; of a measured room only the elevations count.
        rate_hz: sample rate.
        sounds: classes in the order of their numbers; duration of each example in the set of the
            split by class; the same of interferers.
    """
    motion = motion_of(settings)
    classes, durations_s, interferers_s = sounds
    stream = recording_stream(settings, slot.split, slot.name, "timeline")
    recording_s = float(stream.uniform(*motion.duration_range_s))
    n_samples = round(recording_s * rate_hz)
    events: list[PlannedEvent] = []
    position = _positions(settings, slot.place, space)
    for layer in range(slot.overlap):
        place = _placer(stream, settings, position, layer)
        choose = _event_drawer(stream, settings, durations_s, tuple(events), place)
        events += draw_layer(stream, recording_s, choose)
    events += _interferers(settings, slot, position, recording_s, interferers_s)
    rows = rows_of(events, classes, layout, n_samples / rate_hz)
    metadata = format_rows(rows, str(layout.metadata_format)).encode("ascii")
    return RecordingPlan(
        slot.name, slot.split, slot.room, n_samples, tuple(events), metadata, slot.site
    )


def motion_of(settings: SceneSettings) -> MotionSettings:
    """Settings of moving sources.

    Raises:
        ConfigError: they are those of the layout of 2019.
    """
    if settings.motion is None:
        raise ConfigError("Expected: the settings of a layout of 2020 or later. Received: 2019.")
    return settings.motion


def source_space(settings: SceneSettings, room: Room) -> SourceSpace:
    """Region of a room in which its sources may be."""
    return SourceSpace(room, motion_of(settings).distance_m, ELEVATION_DEG)


Placer = Callable[[str, int, float, float], PlannedEvent]
Position = tuple[np.ndarray, Trajectory | None, MeasuredResponse | None]
Positions = Callable[[np.random.Generator], Position]


def _positions(
    settings: SceneSettings, place: MeasuredPlace | None, space: SourceSpace
) -> Positions:
    """Returns a function that draws a position, a path and the response of a measured room."""
    motion = motion_of(settings)

    def in_space(
        stream: np.random.Generator, space: SourceSpace
    ) -> tuple[np.ndarray, Trajectory | None]:
        start_m = space.draw_position(stream)
        trajectory = None
        if stream.random() < motion.moving_share:
            trajectory = space.draw_trajectory(stream, start_m, motion.path, motion.speed_deg_per_s)
        return start_m, trajectory

    def draw(stream: np.random.Generator) -> Position:
        if place is None:
            return *in_space(stream, space), None
        response = draw_response(stream, place)
        distance_m = response.level_distance_m
        if settings.measured and settings.measured.rotate:
            sphere = replace(space, distance_m=(distance_m, distance_m))
            return *in_space(stream, sphere), response
        return distance_m * unit_vectors(*response.direction_deg), None, response

    return draw


def _placer(
    stream: np.random.Generator, settings: SceneSettings, position: Positions, source: int
) -> Placer:
    """Returns a function that draws position, path and level of a sound."""

    def place(class_name: str, example: int, onset_s: float, event_s: float) -> PlannedEvent:
        start_m, trajectory, response = position(stream)
        gain_db = float(stream.uniform(-settings.gain_range_db, settings.gain_range_db))
        azimuth_deg, elevation_deg, distance_m = (float(x[0]) for x in to_angles(start_m[None]))
        return PlannedEvent(
            class_name,
            example,
            onset_s,
            event_s,
            azimuth_deg,
            elevation_deg,
            distance_m,
            gain_db,
            trajectory,
            source,
            response=response,
        )

    return place


def _event_drawer(
    stream: np.random.Generator,
    settings: SceneSettings,
    durations_s: Durations,
    others: tuple[PlannedEvent, ...],
    place: Placer,
) -> Callable[[float], tuple[PlannedEvent, float]]:
    def choose(onset_s: float) -> tuple[PlannedEvent, float]:
        class_name, example = choose_sound(stream, settings, durations_s, onset_s, others)
        event_s = durations_s[class_name][example]
        return place(class_name, example, onset_s, event_s), event_s

    return choose


def _interferers(
    settings: SceneSettings,
    slot: Slot,
    position: Positions,
    recording_s: float,
    durations_s: Durations,
) -> list[PlannedEvent]:
    """Draws sounds without a label, anywhere in the recording."""
    stream = recording_stream(settings, slot.split, slot.name, "interferers")
    place = _placer(stream, settings, position, 0)
    drawn = []
    for _ in range(motion_of(settings).interferers if durations_s else 0):
        class_name, example = choose_sound(stream, settings, durations_s, 0.0, ())
        onset_s = float(stream.uniform(0.0, recording_s - MIN_AUDIBLE_S))
        event = place(class_name, example, onset_s, durations_s[class_name][example])
        drawn.append(replace(event, is_labelled=False))
    return drawn


def rows_of(
    events: Sequence[PlannedEvent], classes: Sequence[str], layout: Layout, recording_s: float
) -> np.ndarray:
    """Labels of a recording, one row for each labelled event and frame, sorted by frame.

    Args:
        events: of the recording; interferers have no rows.
        classes: in the order of their numbers.
        layout: hop length of the labels; on-screen flags in that of 2025.
        recording_s: length of the recording.

    Returns:
        Rows (n, 7), see `seld.recordings.rows`: degrees and metres.
    """
    numbers = {name: number for number, name in enumerate(classes)}
    parts = [
        _event_rows(event, numbers[event.class_name], layout, recording_s)
        for event in events
        if event.is_labelled
    ]
    rows = np.concatenate(parts) if parts else no_rows()
    return rows[np.argsort(rows[:, FRAME], kind="stable")]


def active_frames(onset_s: float, offset_s: float, hop_s: float, recording_s: float) -> np.ndarray:
    """Frames whose middle is in [onset, offset); the one around its middle for a short event."""
    offset_s = min(offset_s, recording_s)
    first, behind = np.ceil(np.array([onset_s, offset_s]) / hop_s - 0.5)
    if behind <= first:
        first = np.floor((onset_s + offset_s) / 2 / hop_s)
        behind = first + 1
    return np.arange(int(first), int(behind))


def _event_rows(event: PlannedEvent, klass: int, layout: Layout, recording_s: float) -> np.ndarray:
    hop_s, offset_s = layout.label_hop_s, event.onset_s + event.duration_s
    frames = active_frames(event.onset_s, offset_s, hop_s, recording_s)
    azimuth_deg = np.full(len(frames), event.azimuth_deg)
    elevation_deg = np.full(len(frames), event.elevation_deg)
    distance_m = np.full(len(frames), event.distance_m)
    if event.trajectory is not None:
        times_s = (frames + 0.5) * hop_s - event.onset_s
        positions_m = event.trajectory.positions_m(times_s)
        azimuth_deg, elevation_deg, distance_m = to_angles(positions_m)
    source, onscreen = np.full(len(frames), event.source), np.full(len(frames), np.nan)
    if "stereo" in layout.formats:
        onscreen = is_in_view(azimuth_deg, elevation_deg).astype(float)
    klasses = np.full(len(frames), klass)
    return make_rows(
        frames,
        klasses,
        azimuth_deg,
        elevation_deg,
        source=source,
        distance_m=distance_m,
        onscreen=onscreen,
    )


def is_in_view(azimuth_deg: np.ndarray, elevation_deg: np.ndarray) -> np.ndarray:
    """Tells which directions lie in the picture of a camera that looks to the front, bool (n,)."""
    azimuth, elevation = np.deg2rad(azimuth_deg), np.deg2rad(elevation_deg)
    half_width = np.tan(np.deg2rad(VIEW_DEG / 2))
    in_front = np.cos(azimuth) > 0
    with np.errstate(all="ignore"):
        height = np.abs(np.tan(elevation) / np.cos(azimuth))
    is_narrow = np.abs(np.tan(azimuth)) <= half_width
    return in_front & is_narrow & (height <= half_width * VIEW_HEIGHT)

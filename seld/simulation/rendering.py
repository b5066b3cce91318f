"""Rendering of recordings: rooms, examples of each class, and the files of one recording."""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from common.audio.files import write_wav
from common.errors import DataError
from common.io.files import atomic_path
from common.runtime.parallel import parallel_map
from common.settings.folds import FoldConfig
from common.settings.parallel import ParallelConfig
from common.simulation import source_selection
from common.simulation.ambience import Ambience, loop_length, render_background, render_loop
from common.simulation.measured.responses import received, received_along
from common.simulation.moving import MovingResponses, moving_responses
from common.simulation.own_recordings import Folders
from common.simulation.random_streams import Draw, random_stream
from common.simulation.receivers import (
    AmbisonicNorm,
    AudioFormat,
    Receiver,
    SphericalArray,
    check_formats,
    unit_vectors,
)
from common.simulation.renderer import FILTER_DELAY, build_filter_table, render_impulse_responses
from common.simulation.rooms import (
    Room,
    diffuse_tail,
    image_sources,
    moving_image_sources,
    reverberation,
)
from common.simulation.scenes import SceneSound, fit_duration, mix_scene
from common.simulation.sound_bank import (
    DrySound,
    SoundBank,
    mapped_array,
    read_source,
    save_array,
    synthesise,
)
from common.simulation.source_selection import SoundSelection
from common.simulation.trajectories import Trajectory
from seld.recordings.layouts import LAYOUTS, Layout
from seld.simulation.class_sounds import class_sounds, interferers
from seld.simulation.framewise import WITHOUT_WALLS, plan_scene, source_space
from seld.simulation.plans import (
    PlannedEvent,
    RecordingPlan,
    Slot,
    plan_recording,
    recording_stream,
    set_of_split,
    sound_sets,
)
from seld.simulation.settings import N_ROOMS, SceneSettings

logger = logging.getLogger(__name__)

# Four microphones of an Eigenmike (channels 6, 10, 26 and 22), azimuth and elevation in degrees.
TETRAHEDRON = SphericalArray(
    ((45.0, 35.0), (-45.0, -35.0), (135.0, -35.0), (-135.0, 35.0)), radius_m=0.042
)

# Sizes and reverberation times of the real rooms are not published: these are plausible ones.
_babble, _clinks = Ambience(1.0, ("babble",)), Ambience(1.0, ("babble", "clinks"))
ROOMS: tuple[tuple[Room, Ambience], ...] = (
    (Room("language_center", (12.0, 9.0, 3.2), (5.1, 4.2, 1.3), (0.55, 0.35)), _babble),
    (Room("reaktori", (18.0, 13.0, 4.5), (7.2, 5.9, 1.4), (0.75, 0.45)), _clinks),
    (Room("festia", (22.0, 6.5, 9.0), (9.1, 3.1, 1.5), (1.1, 0.6)), Ambience(2.0, ("steps",))),
    (Room("tietotalo", (16.0, 5.2, 3.0), (6.4, 2.5, 1.4), (0.8, 0.4)), Ambience(1.0, ("hum",))),
    (Room("sahkotalo", (20.0, 7.5, 3.6), (8.3, 3.4, 1.4), (0.65, 0.4)), _babble),
)

WIDE_DURATIONS = (0.6, 1.7)  # factors of the durations of wide recipes
LONGEST_BACKGROUND_S = 60.0
OwnSounds = Mapping[tuple[str, int], Sequence[np.ndarray]]  # by class and split


@dataclass(frozen=True)
class RenderContext:
    """Data for the rendering of a recording besides its plan.

    Attributes:
        root: dataset folder.
        settings: levels and seed.
        rate_hz: sample rate.
        receiver: formats to render.
        classes: names of the classes.
        bank: dry sounds.
        loops: folder with the ambience of each room.
        layout: folders and names of the files.
        backgrounds: own backgrounds of each split; others have the ambience of the rooms.
    """

    root: Path
    settings: SceneSettings
    rate_hz: int
    receiver: Receiver
    classes: tuple[str, ...]
    bank: SoundBank
    loops: Path
    layout: Layout = LAYOUTS["tau2019"]
    backgrounds: Mapping[int, tuple[Path, ...]] = field(default_factory=dict)


def receiver_for(formats: Sequence[str], norm: AmbisonicNorm) -> Receiver:
    """Chooses the channels to render for the formats.

    Raises:
        ValueError: a format is none of foa, mic and stereo.
    """
    return Receiver(check_formats(formats), TETRAHEDRON, norm)


def select_sounds(
    classes: Sequence[str],
    set_numbers: Sequence[int],
    settings: SceneSettings,
    source_dir: Folders | None,
    folds: Sequence[FoldConfig] | None = None,
) -> list[SoundSelection]:
    """Selects the sounds of each class and set; see `common.simulation.source_selection`.

    Those of interferers, which are always synthetic, come last.
    """
    layout = LAYOUTS[settings.motion.layout if settings.motion else "tau2019"]
    sets, synthetic = sound_sets(layout, folds), class_sounds(settings)
    selected = source_selection.select_sounds(
        classes, set_numbers, sets, synthetic, settings, source_dir
    )
    selected = source_selection.mixed(selected, synthetic, settings.synthetic_share)
    others = [name for name in interferers(settings) if name not in classes]
    return selected + source_selection.select_sounds(
        others, set_numbers, sets, synthetic, settings, None
    )


def plan_bank(
    wanted: Sequence[SoundSelection],
    settings: SceneSettings,
    rate_hz: int,
    path: Path,
    parallel: ParallelConfig,
) -> tuple[SoundBank, OwnSounds]:
    """Reads own recordings; synthetic sounds have known lengths before they are made.

    Args:
        wanted: classes and splits of the sounds.
        settings: the seed and ranges of the sounds.
        rate_hz: sample rate.
        path: file of the bank (.npy), which `fill_bank` writes.
        parallel: number of processes and their engine.

    Returns:
        The bank of all sounds, those of own recordings first in their class and split, and the
        samples of own recordings, float32 (samples,) each.

    Raises:
        DataError: an own recording cannot be used.
    """
    own = [selection for selection in wanted if selection.recordings]
    read = partial(_read_sounds, settings=settings, rate_hz=rate_hz)
    sounds = dict(parallel_map(read, own, parallel))
    lengths = {}
    for selection in wanted:
        key, synthetic_s = _key(selection), _synthetic_s(selection, settings)
        lengths[key] = [len(sound.samples) for sound in sounds.get(key, ())]
        lengths[key] += [max(round(each * rate_hz), 1) for each in synthetic_s]
    active = {key: tuple(sound.active for sound in each) for key, each in sounds.items()}
    samples = {key: [sound.samples for sound in each] for key, each in sounds.items()}
    return replace(SoundBank.planned(path, lengths), active=active), samples


def fill_bank(
    bank: SoundBank,
    own: OwnSounds,
    used: Mapping[SoundSelection, Collection[int]],
    settings: SceneSettings,
    rate_hz: int,
    parallel: ParallelConfig,
) -> None:
    """Makes the sounds that are used; all of a bank are in a file that every process maps.

    Args:
        bank: from `plan_bank`, as well as `own`.
        used: numbers of the examples to make; those of own recordings are there already.
        settings: the seed and ranges of the sounds.
        rate_hz: sample rate.
        parallel: number of processes and their engine.

    Raises:
        DataError: the disk is full or the folder cannot be written to.
    """
    wanted = [
        (selection, {each - len(selection.recordings) for each in numbers})
        for selection, numbers in used.items()
    ]
    wanted = [(each, {n for n in numbers if n >= 0}) for each, numbers in wanted]
    wanted = [(each, numbers) for each, numbers in wanted if numbers]
    made = dict(
        parallel_map(partial(_synthesise, settings=settings, rate_hz=rate_hz), wanted, parallel)
    )
    sounds = {key: dict(enumerate(samples)) for key, samples in own.items()}
    for key, each in made.items():
        first = len(own.get(key, ()))
        sounds[key] = sounds.get(key, {}) | {first + number: x for number, x in each.items()}
    bank.write(sounds)


def used_examples(
    wanted: Sequence[SoundSelection],
    entries: Sequence[Slot | RecordingPlan],
    context: RenderContext,
) -> dict[SoundSelection, set[int]]:
    """Finds the examples that occur in recordings; given annotations may use any of a class.

    Args:
        wanted: classes and splits of the bank's sounds.
        entries: the recordings; scenes that are not given are drawn.
        context: the bank, settings and classes.

    Returns:
        Numbers of the examples, for each of `wanted`.
    """
    used: dict[tuple[str, int], set[int]] = {key: set() for key in context.bank.spans}
    for entry in entries:
        for event in plan_of(entry, context).events:
            key = event.class_name, entry.split
            every = range(len(context.bank.spans[key]))
            used[key].update(every if event.example is None else [event.example])
    return {selection: used[_key(selection)] for selection in wanted}


def _key(selection: SoundSelection) -> tuple[str, int]:
    return selection.class_name, selection.set_number


def _read_sounds(
    selection: SoundSelection, settings: SceneSettings, rate_hz: int
) -> tuple[tuple[str, int], list[DrySound]]:
    read = partial(read_source, rate_hz=rate_hz, longest_s=settings.longest_source_s)
    pairs = zip(selection.recordings, selection.active, strict=True)
    return _key(selection), [read(path, active_s=active_s) for path, active_s in pairs]


def n_synthetic(selection: SoundSelection, settings: SceneSettings) -> int:
    """Number of synthetic examples of a class and split, by `synthetic_share` beside own ones."""
    if not selection.recordings:
        return settings.synthetic_examples
    return selection.n_synthetic(settings.synthetic_share)


def _synthetic_s(selection: SoundSelection, settings: SceneSettings) -> list[float]:
    """Draws the durations of the synthetic examples of a class and split."""
    n = n_synthetic(selection, settings)
    if not n:
        return []
    _, durations = class_sounds(settings)[selection.class_name]
    spread = random_stream(settings.seed, settings.version, "durations", *_key(selection))
    # One duration from each n-th of the range keeps the median in every set.
    quantiles = (spread.permutation(n) + spread.uniform(size=n)) / n
    durations_s = [durations.at(quantile) for quantile in quantiles]
    if settings.recipes == "plain":
        return durations_s
    factors = Draw(spread).log_uniforms(*WIDE_DURATIONS, n)
    return [float(each) for each in factors * durations_s]


def _synthesise(
    wanted: tuple[SoundSelection, Collection[int]], settings: SceneSettings, rate_hz: int
) -> tuple[tuple[str, int], dict[int, np.ndarray]]:
    selection, numbers = wanted
    key, durations_s = _key(selection), _synthetic_s(selection, settings)
    recipe, _ = class_sounds(settings)[selection.class_name]
    made = {}
    for number in sorted(numbers):
        stream = random_stream(settings.seed, settings.version, "bank", *key, number)
        draw = Draw(stream, settings.variation)
        made[number] = synthesise(recipe, draw, rate_hz, durations_s[number], settings.recipes)
    return key, made


def build_loops(rooms: Sequence[int], context: RenderContext, parallel: ParallelConfig) -> None:
    """Renders the ambience of the rooms."""
    for _ in parallel_map(partial(_build_loop, context=context), rooms, parallel):
        pass


def _build_loop(number: int, context: RenderContext) -> None:
    room, ambience = ROOMS[number]
    settings, rate_hz = context.settings, context.rate_hz
    draw = Draw(random_stream(settings.seed, settings.version, "ambience", room.name))
    loop = render_loop(ambience, context.receiver, draw, rate_hz, _loop_samples(context))
    save_array(_loop_path(context.loops, number), loop)


def ambience_room(room: int, settings: SceneSettings) -> int:
    """Number of the computed room whose ambience a room has; measured ones take turns."""
    return room if room < N_ROOMS else settings.rooms[(room - N_ROOMS) % len(settings.rooms)]


def _loop_path(scratch: Path, number: int) -> Path:
    return scratch / f"ambience{number}.npy"


def build_backgrounds(
    entries: Sequence[Slot | RecordingPlan], context: RenderContext, parallel: ParallelConfig
) -> None:
    """Renders the own backgrounds that occur in recordings.

    Raises:
        DataError: one cannot be used.
    """
    drawn = {
        (entry.split, number)
        for entry in entries
        if (number := _draw_background(entry, context)[0]) is not None
    }
    for _ in parallel_map(partial(_build_background, context=context), sorted(drawn), parallel):
        pass


def _build_background(chosen: tuple[int, int], context: RenderContext) -> None:
    split, number = chosen
    settings, rate_hz = context.settings, context.rate_hz
    path = context.backgrounds[split][number]
    recording = read_source(path, rate_hz, LONGEST_BACKGROUND_S).samples
    draw = Draw(random_stream(settings.seed, settings.version, "own background", split, number))
    loop = render_background(recording, context.receiver, draw, rate_hz, _loop_samples(context))
    save_array(_background_path(context.loops, split, number), loop)


def _background_path(scratch: Path, split: int, number: int) -> Path:
    return scratch / f"background{split}_{number}.npy"


def _loop_samples(context: RenderContext) -> int:
    return loop_length(round(context.settings.duration_s * context.rate_hz))


def _draw_background(entry: Slot | RecordingPlan, context: RenderContext) -> tuple[int | None, int]:
    """Draws the own background of a recording, None without any, and the first sample of a loop."""
    stream = recording_stream(context.settings, entry.split, entry.name, "background")
    own = context.backgrounds.get(entry.split, ())
    number = int(stream.integers(len(own))) if own else None
    return number, int(stream.integers(_loop_samples(context)))


def file_path(root: Path, layout: Layout, entry: Slot | RecordingPlan, kind: str) -> Path:
    """Path of a file of a recording in the layout of the dataset.

    Args:
        root: dataset folder.
        layout: folders and names.
        entry: the recording.
        kind: an audio format, or "metadata".
    """
    set_name = set_of_split(entry.split)
    folder = root / layout.file_folder(kind, set_name, entry.split, entry.site)
    return folder / f"{entry.name}.{'csv' if kind == 'metadata' else 'wav'}"


def check_positions(plan: RecordingPlan) -> None:
    """Refuses events outside the room.

    Raises:
        DataError: names the recording and the event.
    """
    room, _ = ROOMS[plan.room]
    for number, event in enumerate(plan.events):
        position_m = np.array(room.receiver_m) + _offset_m(event)
        if event.distance_m < 0.1 or not room.contains(position_m):
            raise DataError(
                f"Event {number + 1} of {plan.name} ({event.class_name} at {event.onset_s:g} s)"
                f" cannot be rendered: {event.distance_m:g} m from the array is not inside room"
                f" ir{plan.room} of {room.size_m} m. Expected: a `dist` of 1 or 2 m as in the real"
                " data. Correct the row."
            )


def _offset_m(event: PlannedEvent) -> np.ndarray:
    return event.distance_m * unit_vectors(event.azimuth_deg, event.elevation_deg)


def render_recording(plan: RecordingPlan, context: RenderContext) -> np.ndarray:
    """Renders one recording.

    Returns:
        float32 (channels, samples), channels in the order of the receiver.
    """
    settings = context.settings
    examples = recording_stream(settings, plan.split, plan.name, "examples")
    sounds = [
        SceneSound(
            dry=_dry_sound(event, plan, context, examples),
            responses=_responses(event, plan.room, context),
            onset_sample=round(event.onset_s * context.rate_hz) - _lead_samples(event),
            gain_db=event.gain_db,
        )
        for event in plan.events
    ]
    own, start = _draw_background(plan, context)
    path = (
        _loop_path(context.loops, ambience_room(plan.room, settings))
        if own is None
        else _background_path(context.loops, plan.split, own)
    )
    return mix_scene(sounds, mapped_array(path), start, plan.n_samples, _snr_db(plan, settings))


def _snr_db(plan: RecordingPlan, settings: SceneSettings) -> float:
    if settings.snr_range_db is None:
        return settings.snr_db
    stream = recording_stream(settings, plan.split, plan.name, "snr")
    return float(stream.uniform(*settings.snr_range_db))


def _dry_sound(
    event: PlannedEvent, plan: RecordingPlan, context: RenderContext, rng: np.random.Generator
) -> DrySound:
    examples = context.bank.sounds(event.class_name, plan.split)
    if event.example is not None:
        return examples[event.example]
    return fit_duration(examples, max(round(event.duration_s * context.rate_hz), 1), rng)


def _lead_samples(event: PlannedEvent) -> int:
    """Samples of the responses before their time 0."""
    return event.response.lead_samples if event.response else FILTER_DELAY


def _responses(
    event: PlannedEvent, room_number: int, context: RenderContext
) -> np.ndarray | MovingResponses:
    if event.response:
        return _measured(event, context)
    if event.trajectory:
        return _moving(event.trajectory, event, room_number, context)
    return _still(event, room_number, context)


def _measured(event: PlannedEvent, context: RenderContext) -> np.ndarray | MovingResponses:
    """Returns the response of a measured room, turned to the event or along its path."""
    response, receiver, measured = event.response, context.receiver, context.settings.measured
    if response is None or measured is None:
        raise ValueError("Expected: an event in a measured room. Received: another.")
    if event.trajectory:
        path = event.trajectory, event.duration_s
        return received_along(response, *path, receiver, context.rate_hz)
    to = (event.azimuth_deg, event.elevation_deg) if measured.rotate else None
    return received(response, receiver, to)


def _still(event: PlannedEvent, room_number: int, context: RenderContext) -> np.ndarray:
    """Computes the deterministic impulse responses of a position, (channels, samples)."""
    (room, _), settings = ROOMS[room_number], context.settings
    position = (event.azimuth_deg, event.elevation_deg, event.distance_m)
    labels = (f"{coordinate:g}" for coordinate in position)
    stream = random_stream(settings.seed, settings.version, "tail", room.name, *labels)
    early = image_sources(room, _offset_m(event))
    reflections = early.and_then(diffuse_tail(room, early, stream))
    walls = room if settings.wall_colour else None
    table = build_filter_table(walls, context.receiver, context.rate_hz)
    return render_impulse_responses(reflections, table)


def _moving(
    trajectory: Trajectory, event: PlannedEvent, room_number: int, context: RenderContext
) -> MovingResponses:
    """Computes the responses along a path; reverberation is that of its middle."""
    (room, _), settings = ROOMS[room_number], context.settings
    labels = (f"{value:.9g}" for value in (*trajectory.start_m, *trajectory.heading))
    stream = random_stream(settings.seed, settings.version, "moving tail", room.name, *labels)
    middle_m = trajectory.positions_m(np.array([event.duration_s / 2]))[0]
    late = reverberation(room, middle_m, stream)
    table = build_filter_table(
        room if settings.wall_colour else None, context.receiver, context.rate_hz
    )
    reflect = partial(moving_image_sources, room)
    return moving_responses(trajectory, event.duration_s, reflect, late, table)


def write_recording(entry: Slot | RecordingPlan, context: RenderContext) -> float:
    """Renders a recording and writes its files, the metadata last.

    Args:
        entry: a plan, or a name for which a scene is drawn.
        context: sounds, ambience and settings.

    Returns:
        Duration in seconds.
    """
    plan = plan_of(entry, context)
    channels, receiver = render_recording(plan, context), context.receiver
    root, layout = context.root, context.layout
    for kind in receiver.formats:
        samples = _to_pcm16(receiver.signals_of(kind, channels), plan.name, kind)
        write_wav(file_path(root, layout, plan, kind), samples, context.rate_hz)
    with atomic_path(file_path(root, layout, plan, "metadata")) as temporary:
        temporary.write_bytes(plan.metadata)
    return plan.n_samples / context.rate_hz


def plan_of(entry: Slot | RecordingPlan, context: RenderContext) -> RecordingPlan:
    """Returns a given scene, or draws that of a recording from the durations of its sounds."""
    if isinstance(entry, RecordingPlan):
        return entry
    rate_hz, settings = context.rate_hz, context.settings
    durations_s = _durations_s(context.classes, entry.split, context)
    if settings.motion is None:
        return plan_recording(entry, settings, rate_hz, durations_s)
    others = [name for name in interferers(settings) if name not in context.classes]
    sounds = context.classes, durations_s, _durations_s(others, entry.split, context)
    space = source_space(settings, WITHOUT_WALLS if entry.place else ROOMS[entry.room][0])
    return plan_scene(entry, settings, context.layout, space, rate_hz, sounds)


def _durations_s(names: Sequence[str], split: int, context: RenderContext) -> dict[str, list]:
    """Durations of the examples of a split by class."""
    spans, rate_hz = context.bank.spans, context.rate_hz
    return {
        name: [(stop - start) / rate_hz for start, stop in spans[name, split]] for name in names
    }


def _to_pcm16(channels: np.ndarray, name: str, audio_format: AudioFormat) -> np.ndarray:
    """Converts float32 (channels, samples) to int16 (samples, channels), full scale 32768."""
    samples = np.empty(channels.shape[::-1], np.int16)
    for number, channel in enumerate(channels):
        scaled = np.rint(channel * np.float32(32768))
        if max(float(scaled.max()), -float(scaled.min())) > 32767:
            logger.warning("%s (%s): peaks beyond full scale are clipped.", name, audio_format)
            np.clip(scaled, -32768, 32767, out=scaled)
        samples[:, number] = scaled
    return samples

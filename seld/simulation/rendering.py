"""Rendering of recordings: rooms, examples of each class, and the files of one recording."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from common.audio.files import write_wav
from common.errors import DataError
from common.io.files import atomic_path
from common.runtime.parallel import parallel_map
from common.settings.parallel import ParallelConfig
from common.simulation import source_selection
from common.simulation.ambience import Ambience, loop_length, render_loop
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
from common.simulation.rooms import Room, diffuse_tail, image_sources
from common.simulation.scenes import SceneSound, fit_duration, mix_scene
from common.simulation.sound_bank import (
    DurationRange,
    SoundBank,
    mapped_array,
    read_source,
    save_array,
    synthesise,
)
from common.simulation.source_selection import SoundSelection
from seld.simulation.plans import (
    SETS,
    PlannedEvent,
    RecordingPlan,
    Slot,
    plan_recording,
    recording_stream,
    set_of_split,
)
from seld.simulation.settings import SceneSettings

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

# Class of the dataset -> sound recipe and durations as measured in real annotations.
CLASS_SOUNDS: dict[str, tuple[str, DurationRange]] = {
    "knock": ("knock", DurationRange(0.50, 0.58, 0.96)),
    "drawer": ("drawer", DurationRange(0.61, 0.83, 1.33)),
    "clearthroat": ("clear_throat", DurationRange(0.61, 0.70, 1.03)),
    "phone": ("phone", DurationRange(1.78, 2.35, 3.24)),
    "keysDrop": ("drop_keys", DurationRange(0.22, 0.25, 0.37)),
    "speech": ("speech", DurationRange(1.77, 1.91, 2.34)),
    "keyboard": ("keyboard", DurationRange(1.77, 2.39, 2.47)),
    "pageturn": ("turn_page", DurationRange(0.67, 0.81, 0.97)),
    "cough": ("cough", DurationRange(0.69, 1.05, 1.23)),
    "doorslam": ("slam_door", DurationRange(0.41, 0.44, 0.66)),
    "laughter": ("laughter", DurationRange(1.32, 1.50, 2.27)),
}
EXAMPLES_PER_SET = 4


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
    """

    root: Path
    settings: SceneSettings
    rate_hz: int
    receiver: Receiver
    classes: tuple[str, ...]
    bank: SoundBank
    loops: Path


def receiver_for(formats: Sequence[str], norm: AmbisonicNorm) -> Receiver:
    """Chooses the channels to render for the formats.

    Raises:
        ValueError: a format is neither foa nor mic.
    """
    return Receiver(check_formats(formats), TETRAHEDRON, norm)


def select_sounds(
    classes: Sequence[str],
    set_numbers: Sequence[int],
    settings: SceneSettings,
    source_dir: Path | None,
) -> list[SoundSelection]:
    """Selects the sounds of each class and set; see `common.simulation.source_selection`."""
    return source_selection.select_sounds(
        classes, set_numbers, SETS, CLASS_SOUNDS, settings, source_dir
    )


def build_bank(
    wanted: Sequence[SoundSelection],
    settings: SceneSettings,
    rate_hz: int,
    scratch: Path,
    parallel: ParallelConfig,
) -> SoundBank:
    """Makes all sounds and stores them in a file that every process maps into memory."""
    make = partial(_make_sounds, settings=settings, rate_hz=rate_hz)
    made = dict(parallel_map(make, wanted, parallel))
    keys = [(selection.class_name, selection.set_number) for selection in wanted]
    return SoundBank.store(scratch / "bank.npy", {key: made[key] for key in keys})


def _make_sounds(
    selection: SoundSelection, settings: SceneSettings, rate_hz: int
) -> tuple[tuple[str, int], list[np.ndarray]]:
    key = (selection.class_name, selection.set_number)
    if paths := selection.recordings:
        return key, [read_source(path, rate_hz, settings.longest_source_s) for path in paths]
    recipe, durations = CLASS_SOUNDS[selection.class_name]
    spread = random_stream(settings.seed, settings.version, "durations", *key)
    # One duration from each quarter of the range keeps the median in every set of four.
    n = EXAMPLES_PER_SET
    quantiles = (spread.permutation(n) + spread.uniform(size=n)) / n
    streams = (random_stream(settings.seed, settings.version, "bank", *key, i) for i in range(n))
    return key, [
        synthesise(recipe, Draw(stream, settings.variation), rate_hz, durations.at(quantile))
        for stream, quantile in zip(streams, quantiles, strict=True)
    ]


def build_loops(rooms: Sequence[int], context: RenderContext, parallel: ParallelConfig) -> None:
    """Renders the ambience of the rooms."""
    for _ in parallel_map(partial(_build_loop, context=context), rooms, parallel):
        pass


def _build_loop(number: int, context: RenderContext) -> None:
    room, ambience = ROOMS[number]
    settings, rate_hz = context.settings, context.rate_hz
    draw = Draw(random_stream(settings.seed, settings.version, "ambience", room.name))
    n_samples = loop_length(round(settings.duration_s * rate_hz))
    loop = render_loop(ambience, context.receiver, draw, rate_hz, n_samples)
    save_array(_loop_path(context.loops, number), loop)


def _loop_path(scratch: Path, number: int) -> Path:
    return scratch / f"ambience{number}.npy"


def audio_path(root: Path, split: int, name: str, audio_format: str) -> Path:
    """Path of a recording in the layout of the dataset."""
    return root / f"{audio_format}_{set_of_split(split)}" / f"{name}.wav"


def metadata_path(root: Path, split: int, name: str) -> Path:
    """Path of the metadata of a recording in the layout of the dataset."""
    return root / f"metadata_{set_of_split(split)}" / f"{name}.csv"


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
            onset_sample=round(event.onset_s * context.rate_hz) - FILTER_DELAY,
            gain_db=event.gain_db,
        )
        for event in plan.events
    ]
    background = recording_stream(settings, plan.split, plan.name, "background")
    loop = mapped_array(_loop_path(context.loops, plan.room))
    start = int(background.integers(loop.shape[1]))
    return mix_scene(sounds, loop, start, plan.n_samples, settings.snr_db)


def _dry_sound(
    event: PlannedEvent, plan: RecordingPlan, context: RenderContext, rng: np.random.Generator
) -> np.ndarray:
    examples = context.bank.examples(event.class_name, plan.split)
    if event.example is not None:
        return examples[event.example]
    return fit_duration(examples, max(round(event.duration_s * context.rate_hz), 1), rng)


def _responses(event: PlannedEvent, room_number: int, context: RenderContext) -> np.ndarray:
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


def write_recording(entry: Slot | RecordingPlan, context: RenderContext) -> float:
    """Renders a recording and writes its files, the metadata last.

    Args:
        entry: a plan, or a name for which a scene is drawn.
        context: sounds, ambience and settings.

    Returns:
        Duration in seconds.
    """
    plan = entry if isinstance(entry, RecordingPlan) else _draw_plan(entry, context)
    channels, receiver = render_recording(plan, context), context.receiver
    for kind in receiver.formats:
        samples = _to_pcm16(channels[receiver.channels_of(kind)], plan.name, kind)
        write_wav(audio_path(context.root, plan.split, plan.name, kind), samples, context.rate_hz)
    with atomic_path(metadata_path(context.root, plan.split, plan.name)) as temporary:
        temporary.write_bytes(plan.metadata)
    return plan.n_samples / context.rate_hz


def _draw_plan(slot: Slot, context: RenderContext) -> RecordingPlan:
    """Draws the scene of a recording from the sounds of its split."""
    rate_hz, bank = context.rate_hz, context.bank
    durations_s = {
        name: [len(example) / rate_hz for example in bank.examples(name, slot.split)]
        for name in context.classes
    }
    return plan_recording(slot, context.settings, rate_hz, durations_s)


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

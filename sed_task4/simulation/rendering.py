"""Rendering of clips: sounds of events, backgrounds, and the file of one clip."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise, product
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common.audio.files import write_wav
from common.runtime.parallel import parallel_map
from common.settings.parallel import ParallelConfig
from common.simulation import backgrounds, sound_bank
from common.simulation.backgrounds import LOOP_KINDS, LoopKind
from common.simulation.own_recordings import BACKGROUND
from common.simulation.random_streams import Draw, random_stream
from common.simulation.scenes import fit_duration
from common.simulation.sound_bank import DrySound, SoundBank
from common.simulation.sounds.synthesis import fade_edges, rms
from common.simulation.source_selection import SoundSelection
from sed_task4.clips.layouts import Layout, subset_place
from sed_task4.simulation import plans as planning
from sed_task4.simulation.plans import ClipPlan, PlannedEvent
from sed_task4.simulation.settings import SceneSettings
from sed_task4.simulation.windows import SUFFIX, is_windowed, length_s, windows_of

logger = logging.getLogger(__name__)

LOOP_SAMPLES = 2**19
LONGEST_BACKGROUND_S = 60.0

# Real recordings, of unknown places and devices, differ from synthetic mixtures.
SYNTHETIC_PEAK = (0.5, 0.9)
REAL_PEAK = (0.05, 0.9)  # log-uniform
REAL_TILT_DB = (-9.0, 6.0)
REVERBERATION_CHANCE = 0.7
REVERBERATION_S = (0.2, 0.8)
DIRECT_DB = (0.0, 12.0)


@dataclass(frozen=True)
class RenderContext:
    """Everything except the plan that the rendering of a clip depends on.

    Attributes:
        root: folder with audio/ and metadata/.
        layout: layout of the subsets in it.
        settings: levels and seed.
        bank: own recordings by class and set, own backgrounds under `BACKGROUND`; None: neither.
        scratch: folder with the loops of voices and steps.
    """

    root: Path
    layout: Layout
    settings: SceneSettings
    bank: SoundBank | None
    scratch: Path


def build_bank(
    wanted: Sequence[SoundSelection],
    settings: SceneSettings,
    scratch: Path,
    parallel: ParallelConfig,
) -> SoundBank | None:
    """Stores own recordings and backgrounds in a file that all processes map into memory.

    Args:
        wanted: sounds of classes, and backgrounds under the name `BACKGROUND`.
        settings: the sample rate and the longest sounds.
        scratch: folder of the file.
        parallel: number of processes and their engine.

    Returns:
        The bank; None without own recordings and backgrounds.
    """
    given = [selection for selection in wanted if selection.recordings]
    if not given:
        return None
    read = partial(_read_selection, settings=settings)
    made = dict(parallel_map(read, given, parallel))
    sounds = {key: [sound.samples for sound in made[key]] for key in map(_key, given)}
    active = {key: tuple(sound.active for sound in made[key]) for key in sounds}
    return replace(SoundBank.store(scratch / "bank.npy", sounds), active=active)


def _key(selection: SoundSelection) -> tuple[str, int]:
    return selection.class_name, selection.set_number


def _read_selection(
    selection: SoundSelection, settings: SceneSettings
) -> tuple[tuple[str, int], list[DrySound]]:
    is_background = selection.class_name == BACKGROUND
    longest_s = LONGEST_BACKGROUND_S if is_background else settings.longest_source_s
    read = partial(sound_bank.read_source, rate_hz=settings.sample_rate_hz, longest_s=longest_s)
    pairs = zip(selection.recordings, selection.active, strict=True)
    return _key(selection), [
        read(path, active_s=() if is_background else active_s) for path, active_s in pairs
    ]


def build_loops(
    set_numbers: Sequence[int], settings: SceneSettings, scratch: Path, parallel: ParallelConfig
) -> None:
    """Makes the loops of voices and steps in real recordings, in `scratch`."""
    numbers = range(settings.loops_per_set)
    wanted = list(product(LOOP_KINDS, set_numbers, numbers))
    build = partial(_build_loop, settings=settings, scratch=scratch)
    for _ in parallel_map(build, wanted, parallel):
        pass


def _build_loop(wanted: tuple[LoopKind, int, int], settings: SceneSettings, scratch: Path) -> None:
    kind, *numbers = wanted
    draw = Draw(
        random_stream(settings.seed, settings.version, planning.GENERATOR_NAME, kind, *numbers)
    )
    loop = backgrounds.background_loop(kind, draw, settings.sample_rate_hz, LOOP_SAMPLES)
    sound_bank.save_array(_loop_path(scratch, *wanted), loop)


def _loop_path(scratch: Path, kind: LoopKind, set_number: int, number: int) -> Path:
    return scratch / f"{kind}_{set_number}_{number}.npy"


def audio_path(root: Path, layout: Layout, subset: str, name: str) -> Path:
    """Path of a clip in the layout."""
    return root / subset_place(layout, subset).audio / name


def render_clip(plan: ClipPlan, context: RenderContext) -> np.ndarray:
    """Renders one clip, or a recording of windows.

    Returns:
        float32 (samples,).
    """
    settings = context.settings
    rate_hz = settings.sample_rate_hz
    track = np.zeros(round(length_s(plan.subset, settings.clip_s) * rate_hz), np.float32)
    lowest_db, highest_db = settings.real_snr_db if plan.domain.real else settings.synthetic_snr_db
    levels = _stream(plan, settings, "levels")
    for class_name in sorted({event.class_name for event in plan.events}):
        events = [event for event in plan.events if event.class_name == class_name]
        snr_db = levels.uniform(lowest_db, highest_db)
        for event, sound in zip(events, _sounds(class_name, events, plan, context), strict=True):
            x, start = sound.samples, round(event.onset_s * rate_hz)
            room = len(track[start : start + len(x)])
            gain = np.float32(10 ** (snr_db / 20) / max(rms(sound.heard(x)), 1e-9))
            track[start : start + room] += gain * x[:room]
    return _recorded(track, plan, context)


def _stream(plan: ClipPlan, settings: SceneSettings, *purpose: str) -> np.random.Generator:
    return planning.clip_stream(settings, plan.subset, plan.name, *purpose)


def _sounds(
    class_name: str, events: Sequence[PlannedEvent], plan: ClipPlan, context: RenderContext
) -> list[DrySound]:
    """Makes the sounds of the events of one class, each of its event's length."""
    rate_hz = context.settings.sample_rate_hz
    lengths = [max(round(event.duration_s * rate_hz), 1) for event in events]
    examples = _own_examples(context.bank, class_name, plan.set_number)
    if not examples or planning.is_synthetic(plan, context.settings, class_name):
        return list(map(DrySound, _synthetic_sounds(class_name, lengths, plan, context)))
    rng = _stream(plan, context.settings, "examples", class_name)
    sounds = []
    for event, length in zip(events, lengths, strict=True):
        choices = examples if event.example is None else [examples[event.example]]
        sounds.append(fit_duration(choices, length, rng))
    return sounds


def _synthetic_sounds(
    class_name: str, lengths: Sequence[int], plan: ClipPlan, context: RenderContext
) -> list[np.ndarray]:
    """Synthesises the sounds of the events of one class, float32 of these lengths."""
    settings, rate_hz = context.settings, context.settings.sample_rate_hz
    sound = planning.ALL_SOUNDS[class_name]
    if sound.phrasing == "running":
        draw = _draw(plan, settings, class_name, 0)
        whole = sound_bank.synthesise(
            sound.recipe, draw, rate_hz, sum(lengths) / rate_hz, settings.recipes
        )
        parts = (whole[start:stop] for start, stop in pairwise(np.cumsum([0, *lengths])))
        return [fade_edges(part, rate_hz, 0.003, 0.01) for part in parts]
    # One stream of random numbers is one source, which repeats itself.
    numbers = range(len(lengths)) if sound.phrasing == "each" else [0] * len(lengths)
    sounds = []
    for number, length in zip(numbers, lengths, strict=True):
        draw = _draw(plan, settings, class_name, number)
        length_s = length / rate_hz
        sounds.append(
            sound_bank.synthesise(sound.recipe, draw, rate_hz, length_s, settings.recipes)
        )
    return sounds


def _own_examples(bank: SoundBank | None, name: str, set_number: int) -> list[DrySound]:
    known = bank is not None and (name, set_number) in bank.spans
    return bank.sounds(name, set_number) if bank is not None and known else []


def _draw(plan: ClipPlan, settings: SceneSettings, class_name: str, number: int) -> Draw:
    return Draw(_stream(plan, settings, "sounds", class_name, str(number)), settings.variation)


def _recorded(track: np.ndarray, plan: ClipPlan, context: RenderContext) -> np.ndarray:
    """Adds a background of unit RMS to events, and the room and device of real recordings."""
    settings, rate_hz = context.settings, context.settings.sample_rate_hz
    background = Draw(_stream(plan, settings, "background"))
    around = _background(plan, context, background, len(track))
    rng = Draw(_stream(plan, settings, "recording"))
    if not (plan.domain.real and settings.domain_gap):
        return _scaled(track + around, rng.uniform(*SYNTHETIC_PEAK))
    if rng.chance(REVERBERATION_CHANCE):
        response = backgrounds.room_response(rng, rate_hz, REVERBERATION_S, DIRECT_DB)
        track = backgrounds.reverberate(track, response)
    mixture = backgrounds.tilt(track + around, rng.uniform(*REAL_TILT_DB))
    return _scaled(mixture, rng.log_uniform(*REAL_PEAK))


def _background(plan: ClipPlan, context: RenderContext, draw: Draw, n: int) -> np.ndarray:
    """Makes the background of a clip, unit RMS, float32 (n,)."""
    own = _own_examples(context.bank, BACKGROUND, plan.set_number)
    if own:
        recording = draw.choice(own).samples
        chosen = backgrounds.repeat_from(recording, int(draw.rng.integers(len(recording))), n)
        return (chosen / max(rms(chosen), 1e-6)).astype(np.float32)
    kinds, numbers = LOOP_KINDS if plan.domain.real else (), range(context.settings.loops_per_set)
    loops = [
        sound_bank.mapped_array(_loop_path(context.scratch, kind, plan.set_number, number))
        for kind, number in product(kinds, numbers)
    ]
    settings = context.settings
    return backgrounds.mono_background(draw, n, settings.sample_rate_hz, loops, settings.recipes)


def _scaled(x: np.ndarray, peak: float) -> np.ndarray:
    return x * np.float32(peak / max(float(x.max()), -float(x.min()), 1e-9))


def write_clip(plan: ClipPlan, context: RenderContext) -> float:
    """Renders a clip, or a recording of windows, and writes it as 16-bit mono WAV.

    Returns:
        Duration in seconds.
    """
    rate_hz = context.settings.sample_rate_hz
    x = render_clip(plan, context)
    samples = np.rint(x * np.float32(32768)).astype(np.int16)  # full scale is 32768
    for file in files_of(plan, context.settings.clip_s):
        part = samples[round(file.begin_s * rate_hz) : round(file.end_s * rate_hz)]
        path = audio_path(context.root, context.layout, plan.subset, file.name)
        write_wav(path, part, rate_hz)
    return len(samples) / rate_hz


class SoundFile(NamedTuple):
    """File of a clip or window: its name, and the seconds of what is rendered that it holds."""

    name: str
    begin_s: float
    end_s: float


def files_of(plan: ClipPlan, clip_s: float) -> list[SoundFile]:
    """Files of a clip, which is one, or of a recording of windows."""
    if not is_windowed(plan.subset):
        return [SoundFile(plan.name, 0.0, clip_s)]
    windows = windows_of(plan.subset, plan.name, clip_s)
    return [SoundFile(each.name + SUFFIX, each.begin_s, each.end_s) for each in windows]

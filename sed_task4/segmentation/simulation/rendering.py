"""Rendering of files: mono sounds with one label, stereo recordings of scenes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from common.audio.files import write_wav
from common.runtime.parallel import parallel_map
from common.settings.parallel import ParallelConfig
from common.simulation.backgrounds import background_loop, repeat_from
from common.simulation.random_streams import Draw, random_stream
from common.simulation.sound_bank import mapped_array, read_source, save_array, synthesise
from common.simulation.sounds.streets import pass_cars, run_engine, sing_birds
from common.simulation.sounds.synthesis import coloured_noise, rms
from sed_task4.segmentation.dataset import EventFile
from sed_task4.segmentation.simulation.plans import (
    LABEL_SOUNDS,
    SCENE_SOUNDS,
    LoopKind,
    OwnSource,
    SceneFile,
)
from sed_task4.segmentation.simulation.settings import SoundSettings

GENERATOR_NAME = "segmentation"
LOOP_SAMPLES = 2**19
SOUND_PEAK = (0.1, 0.9)  # log-uniform
SCENE_PEAK = (0.1, 0.6)
N_CHANNELS = 2
LONGEST_BACKGROUND_S = 60.0
LOOPS: Mapping[LoopKind, Callable[[Draw, int, int], np.ndarray]] = {
    "babble": lambda draw, rate_hz, n: background_loop("babble", draw, rate_hz, n),
    "steps": lambda draw, rate_hz, n: background_loop("steps", draw, rate_hz, n),
    "engine": run_engine,
    "traffic": pass_cars,
    "birds": sing_birds,
}


@dataclass(frozen=True)
class RenderContext:
    """Everything except the plan that the rendering of a file depends on.

    Attributes:
        sounds_dir: folder of sound files.
        scenes_dir: folder of scenes.
        settings: seed, rates and length.
        scratch: folder with the loops of scenes.
        own: recordings of which sounds and scenes are made, by name of the file.
    """

    sounds_dir: Path
    scenes_dir: Path
    settings: SoundSettings
    scratch: Path
    own: Mapping[str, OwnSource] = field(default_factory=dict)


def build_loops(
    scenes: Sequence[SceneFile], context: RenderContext, parallel: ParallelConfig
) -> None:
    """Makes the loops of scenes, such as voices and engines, unit RMS."""
    labels = {file.label for file in scenes if file.name not in context.own}
    kinds = sorted({kind for label in labels for kind in SCENE_SOUNDS[label].loops})
    wanted = [(kind, number) for kind in kinds for number in range(context.settings.loops_per_kind)]
    for _ in parallel_map(partial(_build_loop, context=context), wanted, parallel):
        pass


def _build_loop(wanted: tuple[LoopKind, int], context: RenderContext) -> None:
    kind, number = wanted
    draw = Draw(_stream(context.settings, "loop", kind, number))
    loop = LOOPS[kind](draw, context.settings.scene_rate_hz, LOOP_SAMPLES)
    save_array(_loop_path(context.scratch, kind, number), loop / np.float32(max(rms(loop), 1e-9)))


def _loop_path(scratch: Path, kind: LoopKind, number: int) -> Path:
    return scratch / f"{kind}_{number}.npy"


def _stream(settings: SoundSettings, *purpose: object) -> np.random.Generator:
    return random_stream(settings.seed, settings.version, GENERATOR_NAME, *purpose)


def render_sound(file: EventFile, settings: SoundSettings) -> np.ndarray:
    """Renders a sound of a label, mono, float32 (samples,)."""
    sound = LABEL_SOUNDS[file.label]
    rng = _stream(settings, "sound", file.name)
    duration_s = sound.durations.at(float(rng.uniform()))
    draw, rate_hz = Draw(rng, settings.variation), settings.sound_rate_hz
    x = synthesise(sound.recipe, draw, rate_hz, duration_s, settings.recipes)
    return x * np.float32(Draw(rng).log_uniform(*SOUND_PEAK))


def render_own_sound(file: EventFile, source: OwnSource, settings: SoundSettings) -> np.ndarray:
    """Renders a sound from an own recording, mono, float32 (samples,).

    Raises:
        DataError: the recording cannot be used.
    """
    limit_s, rate_hz = settings.longest_source_s, settings.sound_rate_hz
    x = read_source(source.path, rate_hz, limit_s, source.active_s).samples
    peak = Draw(_stream(settings, "sound", file.name)).log_uniform(*SOUND_PEAK)
    return x * np.float32(peak)


def render_own_scene(file: SceneFile, source: OwnSource, settings: SoundSettings) -> np.ndarray:
    """Renders a scene from an own background, from anywhere in it on.

    Returns:
        float32 (samples, 2), both channels alike.

    Raises:
        DataError: the recording cannot be used.
    """
    rate_hz, draw = settings.scene_rate_hz, Draw(_stream(settings, "scene", file.name))
    background = read_source(source.path, rate_hz, LONGEST_BACKGROUND_S).samples
    start = int(draw.rng.integers(len(background)))
    x = repeat_from(background, start, round(settings.clip_s * rate_hz))
    scaled = x * np.float32(draw.log_uniform(*SCENE_PEAK) / max(np.abs(x).max(), 1e-9))
    return np.stack([scaled] * N_CHANNELS, axis=1)


def render_scene(file: SceneFile, settings: SoundSettings, scratch: Path) -> np.ndarray:
    """Renders a recording of a scene: coloured noise, and loops from different sides.

    Returns:
        float32 (samples, 2).
    """
    sound, rate_hz = SCENE_SOUNDS[file.label], settings.scene_rate_hz
    draw = Draw(_stream(settings, "scene", file.name))
    n, slope = round(settings.clip_s * rate_hz), draw.uniform(*sound.slopes)
    noises = [coloured_noise(draw, n, rate_hz, slope) for _ in range(N_CHANNELS)]
    x = np.stack(noises, axis=1)  # (samples, 2)
    for kind, levels_db in sound.loops.items():
        number = int(draw.rng.integers(settings.loops_per_kind))
        loop = mapped_array(_loop_path(scratch, kind, number))
        repeated = repeat_from(loop, int(draw.rng.integers(len(loop))), n)
        side, level = draw.uniform(0.2, 0.8) * np.pi / 2, 10 ** (draw.uniform(*levels_db) / 20)
        gains = level * np.array([np.cos(side), np.sin(side)], np.float32)
        x += repeated[:, None] * gains.astype(np.float32)
    return x * np.float32(draw.log_uniform(*SCENE_PEAK) / np.abs(x).max())


def write_file(file: EventFile | SceneFile, context: RenderContext) -> float:
    """Renders a sound or a scene and writes it as 16-bit WAV; returns its duration in seconds."""
    settings, own = context.settings, context.own.get(file.name)
    if isinstance(file, EventFile):
        x = render_own_sound(file, own, settings) if own else render_sound(file, settings)
        rate_hz, folder = settings.sound_rate_hz, context.sounds_dir
    else:
        x = (
            render_own_scene(file, own, settings)
            if own
            else render_scene(file, settings, context.scratch)
        )
        rate_hz, folder = settings.scene_rate_hz, context.scenes_dir
    samples = np.rint(x * np.float32(32768)).astype(np.int16)
    write_wav(folder / file.name, samples, rate_hz)
    return len(x) / rate_hz

"""Scenes: layers of events in time, and their mixture with the ambience of the room."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from common.simulation.moving import MovingResponses
from common.simulation.renderer import convolve
from common.simulation.sound_bank import DrySound
from common.simulation.sounds.synthesis import rms

Event = TypeVar("Event")

FIRST_ONSET_S = (0.1, 1.0)
GAP_S = (0.5, 1.5)
MIN_AUDIBLE_S = 0.1  # no event starts closer to the end
PEAK_OF_W = 0.25  # leaves room for dipoles (factor 1.7 with N3D) and the sphere (up to 2)


@dataclass(frozen=True)
class SceneSound:
    """One event at the receiver.

    Attributes:
        dry: sound without the room.
        responses: impulse responses, float32 (channels, samples), or those along a path.
        onset_sample: first sample of the responses in the scene; may be negative.
        gain_db: level against other events; dry sounds are scaled to the same RMS where they are
            heard.
    """

    dry: DrySound
    responses: np.ndarray | MovingResponses
    onset_sample: int
    gain_db: float


def draw_layer(
    rng: np.random.Generator, duration_s: float, choose: Callable[[float], tuple[Event, float]]
) -> list[Event]:
    """Draws one layer of events, which never overlap each other.

    The first starts after 0.1 to 1.0 s, each later one 0.5 to 1.5 s after the end of the one
    before; the last may end after the scene.

    Args:
        rng: source of the gaps.
        duration_s: of the scene.
        choose: function from an onset to an event and its duration, in seconds.

    Returns:
        The events in order of time.
    """
    layer = []
    onset_s = float(rng.uniform(*FIRST_ONSET_S))
    while onset_s < duration_s - MIN_AUDIBLE_S:
        event, event_s = choose(onset_s)
        layer.append(event)
        onset_s += event_s + float(rng.uniform(*GAP_S))
    return layer


def mix_scene(
    sounds: Sequence[SceneSound],
    ambience: np.ndarray,
    ambience_start: int,
    n_samples: int,
    snr_db: float,
) -> np.ndarray:
    """Convolves, adds and levels the events of a scene, and adds the ambience.

    Args:
        sounds: the events.
        ambience: loop of unit power in channel 0, float32 (channels, loop samples).
        ambience_start: sample of the loop at which the scene begins.
        n_samples: length of the scene.
        snr_db: mean power of the events in channel 0 while their dry sounds are heard, against the
            ambience.

    Returns:
        float32 (channels, n_samples); channel 0 peaks at 0.25.
    """
    mixture = np.zeros((len(ambience), n_samples), np.float32)
    powers = [_add_sound(mixture, sound) for sound in sounds]
    event_power = float(np.mean(powers)) if powers else 1.0
    ambience_gain = np.float32(np.sqrt(event_power / 10 ** (snr_db / 10)))
    for channel, loop in zip(mixture, ambience, strict=True):
        _add_loop(channel, loop, ambience_start, ambience_gain)
    # The scale follows W only: a format is the same with or without the other.
    peak = max(float(mixture[0].max()), -float(mixture[0].min()), 1e-9)
    mixture *= np.float32(PEAK_OF_W / peak)
    return mixture


def _add_sound(mixture: np.ndarray, sound: SceneSound) -> float:
    """Adds an event in place; returns its mean power in channel 0 while the dry one is heard."""
    x = sound.dry.samples
    gain = np.float32(10 ** (sound.gain_db / 20) / max(rms(sound.dry.heard(x)), 1e-12))
    responses, dry = sound.responses, x * gain
    if isinstance(responses, MovingResponses):
        channels = responses.convolve(dry)
    else:
        channels = convolve(dry, responses)
    power = 0.0
    for number, (channel, wet) in enumerate(zip(mixture, channels, strict=True)):
        if number == 0:
            heard = sound.dry.heard(wet[: len(x)])
            power = float(np.mean(np.square(heard, dtype=np.float64)))
        _add_clipped(channel, wet, sound.onset_sample)
    return power


def _add_clipped(channel: np.ndarray, wet: np.ndarray, start: int) -> None:
    first, last = max(start, 0), min(start + len(wet), len(channel))
    if last > first:
        channel[first:last] += wet[first - start : last - start]


def _add_loop(channel: np.ndarray, loop: np.ndarray, start: int, gain: np.float32) -> None:
    """Adds a repeated loop in place."""
    position, offset = 0, start % len(loop)
    while position < len(channel):
        n = min(len(loop) - offset, len(channel) - position)
        channel[position : position + n] += gain * loop[offset : offset + n]
        position, offset = position + n, 0


def fit_duration(
    examples: Sequence[DrySound], n_samples: int, rng: np.random.Generator
) -> DrySound:
    """Cuts one of several examples to a length.

    Args:
        examples: sounds of one class.
        n_samples: target length.
        rng: chooses among the examples that are long enough; else the longest is repeated.

    Returns:
        Sound of `n_samples`, cut ends faded over 10 ms at 48 kHz.
    """
    long_enough = [example for example in examples if len(example.samples) >= n_samples]
    if long_enough:
        chosen = long_enough[int(rng.integers(len(long_enough)))]
        sound = np.array(chosen.samples[:n_samples])
    else:
        chosen = max(examples, key=lambda each: len(each.samples))
        sound = np.resize(chosen.samples, n_samples)
    n_fade = min(480, n_samples // 2)
    if n_fade:
        sound[-n_fade:] *= np.linspace(1, 0, n_fade, dtype=np.float32)
    return DrySound(sound, chosen.active)

"""Recipes of synthetic sounds by name, and banks of examples or own recordings."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise, zip_longest
from pathlib import Path

import numpy as np

from common.audio.files import read_mono
from common.audio.formats import is_sound
from common.errors import ConfigError, DataError
from common.io.files import atomic_path
from common.simulation.random_streams import Draw
from common.simulation.sounds import (
    Recipes,
    animals,
    appliances,
    everyday,
    impacts,
    instruments,
    objects,
    voices,
)
from common.simulation.sounds.synthesis import (
    fade_edges,
    limit_crest,
    random_equaliser,
    to_unit_peak,
)
from common.simulation.sounds.wide.recipes import WIDE_RECIPES
from common.simulation.sounds.wide.recording import recorded

Spans = tuple[tuple[int, int], ...]  # first and last sample, exclusive, of stretches
# (draw, rate_hz, duration_s) -> float32 (samples,)
SoundRecipe = Callable[[Draw, int, float], np.ndarray]

RECIPES: Mapping[str, SoundRecipe] = {
    "knock": impacts.knock,
    "drawer": impacts.drawer,
    "clear_throat": voices.clear_throat,
    "phone": objects.ring_phone,
    "drop_keys": impacts.drop_keys,
    "speech": voices.speech,
    "keyboard": impacts.type_on_keyboard,
    "turn_page": objects.turn_page,
    "cough": voices.cough,
    "slam_door": impacts.slam_door,
    "laughter": voices.laughter,
    "phrase": voices.phrase,
    "bark": animals.bark,
    "meow": animals.meow,
    "alarm": appliances.ring_alarm,
    "dishes": impacts.rattle_dishes,
    "fry": appliances.fry,
    "run_water": appliances.run_water,
    "blend": appliances.blend,
    "vacuum": appliances.vacuum,
    "shave": appliances.shave,
    "guitar": instruments.strum_guitar,
    "flute": instruments.play_flute,
    "clarinet": instruments.play_clarinet,
    "violin": instruments.play_violin,
    "glockenspiel": instruments.strike_glockenspiel,
    "cowbell": instruments.strike_cowbell,
    "bass_drum": instruments.beat_bass_drum,
    "snare_drum": instruments.beat_snare_drum,
    "hi_hat": instruments.beat_hi_hat,
    "tear": instruments.tear_paper,
    "low_speech": voices.low_speech,
    "high_speech": voices.high_speech,
    "low_scream": voices.low_scream,
    "high_scream": voices.high_scream,
    "cry": voices.cry,
    "walk": everyday.walk,
    "clap": everyday.clap,
    "crash": everyday.crash,
    "engine": everyday.run_engine,
    "fire": everyday.burn,
    "ring_bell": everyday.ring_bell,
    "piano": everyday.play_piano,
    "music": everyday.play_music,
    "instrument": everyday.play_instrument,
    "housework": everyday.do_housework,
}
PLAIN_SHARE = 0.1  # of the wide sounds of a class
LOWEST_RATE_HZ = 16000  # the bands of some sounds reach to nearly half of it
MAX_CREST_DB = 18.0
SILENCE_DB = -40.0  # below the peak; trimmed from the ends of own recordings


@dataclass(frozen=True)
class DurationRange:
    """Shortest, median and longest duration of a kind of sound, in seconds."""

    shortest_s: float
    median_s: float
    longest_s: float

    def at(self, quantile: float) -> float:
        """Duration at a quantile in [0, 1], log-linear from the median to both ends."""
        logs = np.log([self.shortest_s, self.median_s, self.longest_s])
        return float(np.exp(np.interp(quantile, [0.0, 0.5, 1.0], logs)))


def check_rate(rate_hz: int) -> None:
    """Checks that all sounds can be made at a sample rate, before any work.

    Raises:
        ConfigError: it is too low.
    """
    if rate_hz < LOWEST_RATE_HZ:
        raise ConfigError(
            f"Simulated sounds have bands up to nearly {LOWEST_RATE_HZ // 2} Hz. Expected: a"
            f" `sample_rate_hz` of at least {LOWEST_RATE_HZ}. Received: {rate_hz}."
        )


def synthesise(
    recipe: str, draw: Draw, rate_hz: int, duration_s: float, recipes: Recipes = "plain"
) -> np.ndarray:
    """Synthesises one example of a sound.

    Args:
        recipe: a key of `RECIPES`.
        draw: source of all its parameters.
        rate_hz: sample rate.
        duration_s: length; the sound fills it.
        recipes: wide: any of several mechanisms, recorded in a room and by a microphone of its own.

    Returns:
        float32 (round(duration_s * rate_hz),), peak 1, crest factor at most 18 dB.
    """
    if recipes == "plain":
        x = to_unit_peak(RECIPES[recipe](draw, rate_hz, duration_s))
        x = random_equaliser(draw, x, rate_hz)
    else:
        is_plain = recipe not in WIDE_RECIPES or draw.chance(PLAIN_SHARE)
        made = (RECIPES if is_plain else WIDE_RECIPES)[recipe](draw, rate_hz, duration_s)
        x = recorded(draw, to_unit_peak(made), rate_hz)
    x = limit_crest(x, MAX_CREST_DB)
    return to_unit_peak(fade_edges(x, rate_hz, 0.0005, 0.005))


def recordings_of(folder: Path) -> list[Path]:
    """Lists the audio files of a folder by name; none of an absent folder."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if is_sound(path))


def deal(paths: Sequence[Path], n_sets: int, rng: np.random.Generator) -> list[list[Path]]:
    """Deals files in random order into disjoint sets of nearly equal size."""
    shuffled = [paths[index] for index in rng.permutation(len(paths))]
    return [shuffled[number::n_sets] for number in range(n_sets)]


@dataclass(frozen=True)
class DrySound:
    """A dry sound.

    Attributes:
        samples: float32 (samples,).
        active: first and last sample, exclusive, of each stretch in which it is heard; none: all.
    """

    samples: np.ndarray
    active: Spans = ()

    def heard(self, x: np.ndarray) -> np.ndarray:
        """Samples of `x`, which begins as the sound, in which the sound is heard."""
        parts = [x[start:stop] for start, stop in self.active if start < len(x)]
        return np.concatenate(parts) if parts else x


def read_source(
    path: Path, rate_hz: int, longest_s: float, active_s: Sequence[tuple[float, float]] = ()
) -> DrySound:
    """Reads an own recording as a dry sound: mono, resampled, without silence at its ends.

    Args:
        path: any format that soundfile reads, any sample rate and number of channels.
        rate_hz: target sample rate.
        longest_s: maximum duration.
        active_s: seconds of the recording in which the sound is heard, in order of time, from the
            first to the last of which it is taken; none: from the first to the last sample above
            `SILENCE_DB`.

    Returns:
        The sound, peak 1.

    Raises:
        DataError: the file is silent, or cannot be used, see `common.audio.files.read_audio`.
    """
    mono = read_mono(path, rate_hz)[:, 0]
    spans = [(round(begin * rate_hz), round(end * rate_hz)) for begin, end in active_s]
    if spans:
        mono = mono[spans[0][0] : spans[-1][1]]
    if not np.any(mono):
        where = " in its active seconds" if spans else ""
        raise DataError(
            f"{path} holds no usable sound{where}. Expected: samples that are not all zero. Remove"
            " or replace it."
        )
    if not spans:
        loud = np.flatnonzero(np.abs(mono) >= np.abs(mono).max() * 10 ** (SILENCE_DB / 20))
        mono = mono[loud[0] : loud[-1] + 1]
    first = spans[0][0] if spans else 0
    sound = mono[: round(longest_s * rate_hz)]
    active = tuple((start - first, min(stop - first, len(sound))) for start, stop in spans)
    heard = tuple(span for span in active if span[0] < span[1])
    return DrySound(to_unit_peak(fade_edges(sound, rate_hz, 0.001, 0.01)), heard)


@dataclass(frozen=True)
class SoundBank:
    """Examples of every class and set in one file that all processes map into memory.

    Attributes:
        path: .npy file, float32 (samples,), all examples one after the other.
        spans: (class, set) -> (start, stop) of each of its examples.
        active: (class, set) -> stretches of each of its examples in which these are heard, see
            `DrySound`; further examples, and those of other keys, are heard all the time.
    """

    path: Path
    spans: Mapping[tuple[str, int], Spans]
    active: Mapping[tuple[str, int], tuple[Spans, ...]] = field(default_factory=dict)

    def examples(self, name: str, set_number: int) -> list[np.ndarray]:
        """Examples of a class in a set, each float32 (samples,), not copied."""
        samples = mapped_array(self.path)
        return [samples[start:stop] for start, stop in self.spans[name, set_number]]

    def sounds(self, name: str, set_number: int) -> list[DrySound]:
        """Examples of a class in a set, and the stretches in which they are heard."""
        examples = self.examples(name, set_number)
        pairs = zip_longest(examples, self.active.get((name, set_number), ()), fillvalue=())
        return [DrySound(np.asarray(samples), active) for samples, active in pairs]

    @classmethod
    def planned(cls, path: Path, lengths: Mapping[tuple[str, int], Sequence[int]]) -> "SoundBank":
        """Places examples of some lengths, in samples, in a file that `write` makes."""
        spans: dict[tuple[str, int], Spans] = {}
        end = 0
        for key, each in lengths.items():
            edges = np.cumsum([end, *each]).tolist()
            spans[key] = tuple(pairwise(edges))
            end = edges[-1]
        return cls(path, spans)

    def write(self, sounds: Mapping[tuple[str, int], Mapping[int, np.ndarray]]) -> None:
        """Writes the file (.npy).

        Args:
            sounds: samples of examples by their numbers, of the planned lengths. The others, which
                nothing reads, are silent: gaps in the file, which take no room on most disks.

        Raises:
            DataError: the disk is full or the folder cannot be written to.
        """
        n = max((stop for spans in self.spans.values() for _, stop in spans), default=0)
        with atomic_path(self.path) as temporary, temporary.open("wb") as file:
            header = {"descr": "<f4", "fortran_order": False, "shape": (n,)}
            np.lib.format.write_array_header_1_0(file, header)
            begin = file.tell()
            for key, examples in sounds.items():
                for number, samples in examples.items():
                    file.seek(begin + 4 * self.spans[key][number][0])
                    file.write(samples.astype("<f4", copy=False).tobytes())
            file.truncate(begin + 4 * n)

    @classmethod
    def store(
        cls, path: Path, sounds: Mapping[tuple[str, int], Sequence[np.ndarray]]
    ) -> "SoundBank":
        """Writes all examples to `path` (.npy)."""
        bank = cls.planned(path, {key: list(map(len, each)) for key, each in sounds.items()})
        bank.write({key: dict(enumerate(each)) for key, each in sounds.items()})
        return bank


def save_array(path: Path, array: np.ndarray) -> None:
    """Writes an array that `mapped_array` reads.

    Raises:
        DataError: the disk is full or the folder cannot be written to.
    """
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.save(file, array, allow_pickle=False)


@lru_cache(maxsize=16)
def mapped_array(path: Path) -> np.ndarray:
    """Maps a stored array into memory, shared by the processes of a machine."""
    return np.load(path, mmap_mode="r", allow_pickle=False)

"""Plans of sound files and scenes: names, labels and tables as in DCASE 2018 task 2 and task 1."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from common.io.tables import to_csv
from common.simulation.random_streams import random_stream
from common.simulation.recording_table import Interval
from common.simulation.sound_bank import DurationRange
from common.simulation.source_selection import SoundSelection
from sed_task4.segmentation.dataset import EVENT_COLUMNS, FOLD_COLUMN, GROUP_COLUMN, EventFile

SCENE_COLUMNS = ("filename", "scene_label", "identifier", "source_label")
CITIES = ("barcelona", "helsinki", "london", "paris", "stockholm", "vienna")
_NAME_STEP = 2_654_435_761  # odd, so that all 2^32 numbers get different names

LoopKind = Literal["babble", "steps", "engine", "traffic", "birds"]


@dataclass(frozen=True)
class LabelSound:
    """Recipe of a label's sounds, a key of `sound_bank.RECIPES`, and their durations."""

    recipe: str
    durations: DurationRange


_STRUCK = DurationRange(0.4, 1.2, 2.5)
_PLAYED = DurationRange(0.6, 1.6, 3.0)
_RUNNING = DurationRange(0.8, 2.0, 3.0)
LABEL_SOUNDS: Mapping[str, LabelSound] = {
    # Of FSDKaggle2018; its other 22 labels have no synthetic sound.
    "Acoustic_guitar": LabelSound("guitar", _PLAYED),
    "Bark": LabelSound("bark", DurationRange(0.3, 0.9, 2.5)),
    "Bass_drum": LabelSound("bass_drum", _STRUCK),
    "Clarinet": LabelSound("clarinet", _PLAYED),
    "Computer_keyboard": LabelSound("keyboard", _RUNNING),
    "Cough": LabelSound("cough", DurationRange(0.5, 1.0, 2.0)),
    "Cowbell": LabelSound("cowbell", _STRUCK),
    "Drawer_open_or_close": LabelSound("drawer", DurationRange(0.6, 0.9, 1.6)),
    "Flute": LabelSound("flute", _PLAYED),
    "Glockenspiel": LabelSound("glockenspiel", _STRUCK),
    "Hi-hat": LabelSound("hi_hat", _STRUCK),
    "Keys_jangling": LabelSound("drop_keys", DurationRange(0.3, 0.6, 1.2)),
    "Knock": LabelSound("knock", DurationRange(0.5, 0.8, 1.6)),
    "Laughter": LabelSound("laughter", DurationRange(0.8, 1.5, 2.5)),
    "Meow": LabelSound("meow", DurationRange(0.4, 0.9, 2.5)),
    "Snare_drum": LabelSound("snare_drum", _STRUCK),
    "Tearing": LabelSound("tear", DurationRange(0.5, 1.2, 2.5)),
    "Telephone": LabelSound("phone", DurationRange(1.0, 2.0, 3.0)),
    "Violin_or_fiddle": LabelSound("violin", _PLAYED),
    # Of DCASE task 4.
    "Alarm_bell_ringing": LabelSound("alarm", DurationRange(0.4, 1.2, 3.0)),
    "Blender": LabelSound("blend", _RUNNING),
    "Cat": LabelSound("meow", DurationRange(0.4, 0.9, 2.5)),
    "Dishes": LabelSound("dishes", DurationRange(0.3, 0.6, 1.5)),
    "Dog": LabelSound("bark", DurationRange(0.3, 0.9, 2.5)),
    "Electric_shaver_toothbrush": LabelSound("shave", _RUNNING),
    "Frying": LabelSound("fry", _RUNNING),
    "Running_water": LabelSound("run_water", _RUNNING),
    "Speech": LabelSound("phrase", DurationRange(0.5, 1.4, 3.0)),
    "Vacuum_cleaner": LabelSound("vacuum", _RUNNING),
}


@dataclass(frozen=True)
class SceneSound:
    """Sounds of a kind of scene.

    Attributes:
        slopes: range of the slope of its noise, with a power of 1 / f^slope.
        loops: further sounds, with the range of their level in dB relative to the noise.
    """

    slopes: tuple[float, float]
    loops: Mapping[LoopKind, tuple[float, float]] = field(default_factory=dict)


SCENE_SOUNDS: Mapping[str, SceneSound] = {
    "airport": SceneSound((0.8, 1.3), {"babble": (-9.0, 0.0), "steps": (-15.0, -6.0)}),
    "bus": SceneSound((1.2, 1.8), {"engine": (0.0, 9.0), "babble": (-18.0, -6.0)}),
    "metro": SceneSound((1.0, 1.6), {"engine": (0.0, 6.0)}),
    "metro_station": SceneSound((0.8, 1.4), {"babble": (-12.0, -3.0), "steps": (-9.0, 0.0)}),
    "park": SceneSound((0.6, 1.2), {"birds": (-9.0, 0.0), "steps": (-18.0, -9.0)}),
    "public_square": SceneSound((0.8, 1.4), {"babble": (-9.0, 0.0), "traffic": (-6.0, 3.0)}),
    "shopping_mall": SceneSound((0.8, 1.3), {"babble": (-6.0, 3.0), "steps": (-12.0, -3.0)}),
    "street_pedestrian": SceneSound((0.8, 1.4), {"steps": (-6.0, 3.0), "babble": (-12.0, -3.0)}),
    "street_traffic": SceneSound((1.0, 1.6), {"traffic": (0.0, 9.0)}),
    "tram": SceneSound((1.0, 1.6), {"engine": (-3.0, 6.0), "babble": (-18.0, -9.0)}),
}


@dataclass(frozen=True)
class OwnSource:
    """An own recording of which a file is made: path, and the seconds in which it is heard."""

    path: Path
    active_s: tuple[Interval, ...] = ()


@dataclass(frozen=True)
class SceneFile:
    """A recording of a scene: file name, kind, place of recording; group and fold if known."""

    name: str
    label: str
    identifier: str = ""
    group: str | None = None
    fold: int | None = None


def plan_sounds(
    labels: Sequence[str], files_per_label: int, verified_share: float, seed: int
) -> list[EventFile]:
    """Names the sound files of labels and marks some as verified.

    Args:
        labels: as in the table.
        files_per_label: files of each.
        verified_share: share of verified files of each label, at least one file.
        seed: for names and verified files.

    Returns:
        The files in alphabetical order; their names are eight hexadecimal digits.
    """
    n_verified = max(round(verified_share * files_per_label), 1)
    files = []
    for place, label in enumerate(labels):
        ranks = random_stream(seed, "verified", label).permutation(files_per_label).tolist()
        for index, rank in enumerate(ranks):
            number = place * files_per_label + index
            name = f"{(number * _NAME_STEP + seed * 40_503) % 2**32:08x}.wav"
            files.append(EventFile(name, label, rank < n_verified))
    return sorted(files, key=lambda file: file.name)


def plan_scenes(n_scenes: int) -> list[SceneFile]:
    """Names recordings of all ten scenes in turn: <scene>-<city>-<location>-<segment>-a.wav."""
    labels = list(SCENE_SOUNDS)
    files = []
    for index in range(n_scenes):
        label, city = labels[index % len(labels)], CITIES[index // len(labels) % len(CITIES)]
        identifier = f"{city}-{index // (len(labels) * len(CITIES))}"
        files.append(SceneFile(f"{label}-{identifier}-{index}-a.wav", label, identifier))
    return sorted(files, key=lambda file: file.name)


def plan_mixed_sounds(
    selections: Sequence[SoundSelection], files_per_label: int, share: float, seed: int
) -> tuple[list[EventFile], dict[str, OwnSource]]:
    """Names sound files of own recordings and synthetic ones, all of them verified.

    Args:
        selections: the recordings of each label and fold; without any, sounds are synthetic.
        files_per_label: files of labels without recordings, in all folds.
        share: of synthetic sounds among own recordings.
        seed: for names.

    Returns:
        The files in alphabetical order, with groups and folds, and the origin of own ones by name.
    """
    n_folds = len({each.set_number for each in selections})
    labels = list(dict.fromkeys(each.class_name for each in selections))
    files: list[EventFile] = []
    own: dict[str, OwnSource] = {}
    for label in labels:
        for each in (each for each in selections if each.class_name == label):
            n_synthetic = max(files_per_label // n_folds, 1)
            if each.recordings:
                n_synthetic = each.n_synthetic(share)
            sources = [OwnSource(*pair) for pair in zip(each.recordings, each.active, strict=True)]
            for place in range(len(sources) + n_synthetic):
                name = f"{(len(files) * _NAME_STEP + seed * 40_503) % 2**32:08x}.wav"
                is_own = place < len(sources)
                own |= {name: sources[place]} if is_own else {}
                group = each.sources[place] if is_own else f"synthetic {name}"
                files.append(EventFile(name, label, True, group, each.set_number))
    return sorted(files, key=lambda file: file.name), own


def plan_own_scenes(
    n_scenes: int, n_folds: int, selections: Sequence[SoundSelection]
) -> tuple[list[SceneFile], dict[str, OwnSource]]:
    """Names scenes of own backgrounds, in turn for all folds; folds without any get synthetic ones.

    Args:
        n_scenes: their number, at least one for each fold.
        n_folds: number of folds.
        selections: the backgrounds of each fold.

    Returns:
        The scenes in alphabetical order, with folds, and the origin of own ones by name.
    """
    by_fold = {each.set_number: each for each in selections}
    own: dict[str, OwnSource] = {}
    files = []
    for index, planned in enumerate(plan_scenes(max(n_scenes, n_folds))):
        turn, fold = divmod(index, n_folds)
        given = by_fold.get(fold + 1)
        if given is None:
            files.append(replace(planned, group=planned.identifier, fold=fold + 1))
            continue
        place = turn % len(given.recordings)
        name = f"background-own-{index}-a.wav"
        own[name] = OwnSource(given.recordings[place])
        files.append(SceneFile(name, "background", "own", given.sources[place], fold + 1))
    return sorted(files, key=lambda file: file.name), own


def format_own_sounds(files: Iterable[EventFile]) -> str:
    """Formats the table of the sound files with groups and folds."""
    rows = [(*EVENT_COLUMNS, GROUP_COLUMN, FOLD_COLUMN)]
    rows += [(each.name, each.label, "1", str(each.group), str(each.fold)) for each in files]
    return to_csv(rows)


def format_own_scenes(files: Iterable[SceneFile]) -> str:
    """Formats the table of the scenes with groups and folds, comma-separated."""
    rows: list[tuple[str, ...]] = [(*SCENE_COLUMNS, GROUP_COLUMN, FOLD_COLUMN)]
    rows += [
        (f"audio/{each.name}", each.label, each.identifier, "a", str(each.group), str(each.fold))
        for each in files
    ]
    return to_csv(rows)


def format_sounds(files: Iterable[EventFile]) -> str:
    """Formats the table of the sound files, train.csv, comma-separated."""
    rows = [",".join(EVENT_COLUMNS)]
    rows += [f"{file.name},{file.label},{int(file.verified)}" for file in files]
    return "\n".join(rows) + "\n"


def format_scenes(files: Iterable[SceneFile]) -> str:
    """Formats the table of the scenes, meta.csv, tab-separated."""
    rows = ["\t".join(SCENE_COLUMNS)]
    rows += [f"audio/{file.name}\t{file.label}\t{file.identifier}\ta" for file in files]
    return "\n".join(rows) + "\n"

"""Plans of simulated clips: their events, drawn or given, names and metadata files.

The numbers are statistics of the annotations of DCASE 2019 task 4: frequencies of the classes,
number of events in a clip, their durations and pauses.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from common.errors import DataError
from common.simulation.random_streams import random_stream
from common.simulation.source_selection import SoundSets
from sed_task4 import dataset as data
from sed_task4.clips.layouts import LAYOUTS, SUFFIXES, Layout
from sed_task4.dataset import DatasetConfig
from sed_task4.simulation.settings import SceneSettings

GENERATOR_NAME = "task4"
MIN_DURATION_S = 0.25  # of events, as in the real annotations
MIN_GAP_S = 0.16  # events of one class closer than 0.15 s would be annotated as one
MAX_EVENTS = 12  # of one class in a clip
EMPTY_EVERY = 75  # one of 75 real clips has no events
# Sets of own recordings. Synthetic validation clips have those of set 1, unless the recordings have
# parts; these four are disjoint then.
SETS = {0: "training", 1: "validation and test", 2: "evaluation", 3: "synthetic validation"}
_PARTS = {0: "train", 1: "test", 2: "test", 3: "validation"}
TEST_EVERY = 4  # of the 2019 validation clips are test clips of 2018

Phrasing = Literal["same", "each", "running"]


@dataclass(frozen=True)
class Durations:
    """Quantiles of the durations of a class's events: 10 %, median and 90 %, in seconds."""

    p10_s: float
    median_s: float
    p90_s: float

    def draw(self, rng: np.random.Generator) -> float:
        """Draws a duration; its logarithm is uniform between the quantiles."""
        p10_s = max(self.p10_s, MIN_DURATION_S)
        known_s = (MIN_DURATION_S, p10_s, self.median_s, self.p90_s, 1.5 * self.p90_s)
        return float(np.exp(np.interp(rng.uniform(), (0, 0.1, 0.5, 0.9, 1), np.log(known_s))))


@dataclass(frozen=True)
class ClassSound:
    """Sounds of a class.

    Attributes:
        recipe: a key of `common.simulation.sound_bank.RECIPES`.
        durations: of its events.
        phrasing: relation of the events in one clip. "same": one source repeats itself; "each":
            every event is another sound; "running": they are pieces of one sound.
    """

    recipe: str
    durations: Durations
    phrasing: Phrasing


CLASS_SOUNDS: Mapping[str, ClassSound] = {
    "Alarm_bell_ringing": ClassSound("alarm", Durations(0.25, 0.7, 4.9), "same"),
    "Blender": ClassSound("blend", Durations(0.8, 3.0, 10.0), "running"),
    "Cat": ClassSound("meow", Durations(0.35, 0.85, 2.7), "same"),
    "Dishes": ClassSound("dishes", Durations(0.25, 0.38, 1.1), "each"),
    "Dog": ClassSound("bark", Durations(0.26, 0.65, 3.0), "same"),
    "Electric_shaver_toothbrush": ClassSound("shave", Durations(1.3, 5.0, 10.0), "running"),
    "Frying": ClassSound("fry", Durations(1.2, 7.0, 10.0), "running"),
    "Running_water": ClassSound("run_water", Durations(0.8, 4.0, 10.0), "running"),
    "Speech": ClassSound("phrase", Durations(0.4, 1.1, 3.0), "running"),
    "Vacuum_cleaner": ClassSound("vacuum", Durations(1.2, 7.0, 10.0), "running"),
}
# Sounds of out-of-domain clips.
OTHER_SOUNDS: Mapping[str, ClassSound] = {
    "cough": ClassSound("cough", Durations(0.7, 1.0, 1.2), "same"),
    "keyboard": ClassSound("keyboard", Durations(1.5, 2.4, 6.0), "running"),
    "knock": ClassSound("knock", Durations(0.5, 0.6, 1.0), "each"),
    "laughter": ClassSound("laughter", Durations(1.3, 1.5, 2.3), "same"),
    "page": ClassSound("turn_page", Durations(0.7, 0.8, 1.0), "each"),
    "phone": ClassSound("phone", Durations(1.8, 2.4, 6.0), "same"),
}
_STEADY, _SHORT = Durations(2.0, 5.0, 9.0), Durations(0.3, 0.8, 2.5)
# Sounds of the classes of MAESTRO Real; durations are not those of its annotations.
MAESTRO_SOUNDS: Mapping[str, ClassSound] = {
    "cutlery and dishes": ClassSound("dishes", _SHORT, "each"),
    "furniture dragging": ClassSound("drawer", _SHORT, "each"),
    "people talking": ClassSound("phrase", _STEADY, "running"),
    "children voices": ClassSound("high_speech", _STEADY, "running"),
    "coffee machine": ClassSound("blend", _STEADY, "running"),
    "footsteps": ClassSound("walk", _STEADY, "running"),
    "large_vehicle": ClassSound("engine", _STEADY, "same"),
    "car": ClassSound("engine", _STEADY, "each"),
    "brakes_squeaking": ClassSound("violin", _SHORT, "each"),
    "cash register beeping": ClassSound("phone", _SHORT, "same"),
    "announcement": ClassSound("low_speech", _STEADY, "running"),
    "shopping cart": ClassSound("drop_keys", _SHORT, "each"),
    "metro leaving": ClassSound("vacuum", _STEADY, "running"),
    "metro approaching": ClassSound("vacuum", _STEADY, "running"),
    "door opens/closes": ClassSound("slam_door", _SHORT, "each"),
    "wind_blowing": ClassSound("run_water", _STEADY, "running"),
    "birds_singing": ClassSound("flute", _SHORT, "each"),
}
EVENT_SOUNDS: Mapping[str, ClassSound] = {**CLASS_SOUNDS, **MAESTRO_SOUNDS}
ALL_SOUNDS: Mapping[str, ClassSound] = {**EVENT_SOUNDS, **OTHER_SOUNDS}


@dataclass(frozen=True)
class Domain:
    """Statistics of a kind of clips.

    Attributes:
        class_shares: probability of one, two, three ... classes in a clip.
        frequencies: relative frequency of each class; 1 for others.
        events_per_clip: mean number of events drawn for a class in a clip that has it, before those
            that do not fit are dropped; 1.5 for others.
        gap_s: range of the pauses between events of a class, log-uniform.
        cut_chance: probability that the events of a class begin or end with the clip.
        real: imitates real recordings: other levels and spectra, reverberation, distant voices.
        empty_every: one of this many clips has no events; None: all have some.
        decimals: of the times in the metadata; None: all.
    """

    class_shares: tuple[float, ...]
    frequencies: Mapping[str, float]
    events_per_clip: Mapping[str, float] = field(default_factory=dict)
    gap_s: tuple[float, float] = (MIN_GAP_S, 2.7)
    cut_chance: float = 0.35
    real: bool = True
    empty_every: int | None = None
    decimals: int | None = 3


# Events of a class in clips that have it, real and synthetic; number of such clips in the weakly
# labelled, validation and synthetic subsets.
_STATISTICS = {
    "Alarm_bell_ringing": (2.8, 1.95, 206, 187, 392),
    "Blender": (1.25, 1.25, 134, 80, 436),
    "Cat": (3.4, 2.0, 173, 121, 274),
    "Dishes": (4.0, 1.85, 184, 171, 444),
    "Dog": (4.8, 1.65, 214, 160, 319),
    "Electric_shaver_toothbrush": (1.05, 1.04, 103, 62, 221),
    "Frying": (1.06, 1.05, 171, 89, 130),
    "Running_water": (1.25, 1.1, 345, 197, 143),
    "Speech": (4.0, 1.75, 550, 627, 1272),
    "Vacuum_cleaner": (1.01, 1.04, 167, 91, 196),
}
_REAL_EVENTS, _SYNTHETIC_EVENTS, _WEAK_CLIPS, _VALIDATION_CLIPS, _SYNTHETIC_CLIPS = (
    dict(zip(_STATISTICS, column, strict=True))
    for column in zip(*_STATISTICS.values(), strict=True)
)
_SYNTHETIC = _SYNTHETIC_CLIPS, _SYNTHETIC_EVENTS, (0.3, 5.0), 0.0
DOMAINS: Mapping[str, Domain] = {
    "weak": Domain((0.62, 0.33, 0.05), _WEAK_CLIPS, _REAL_EVENTS),
    "validation": Domain(
        (0.52, 0.42, 0.06), _VALIDATION_CLIPS, _REAL_EVENTS, empty_every=EMPTY_EVERY
    ),
    "synthetic": Domain((0.33, 0.48, 0.17, 0.02), *_SYNTHETIC, real=False, decimals=None),
    "other": Domain((0.6, 0.4), {}),
    "maestro": Domain((0.2, 0.4, 0.3, 0.1), {}, empty_every=EMPTY_EVERY),
}


@dataclass(frozen=True)
class SubsetPlan:
    """Kind of clips of a subset, its set of own recordings and the number of its first clip.

    Attributes:
        domain: a key of `DOMAINS`.
        set_number: a key of `SETS`.
        first_number: number in the name of the first clip, or recording.
        hop_s: between the windows of recordings; None: the subset has clips.
    """

    domain: str
    set_number: int
    first_number: int
    hop_s: float | None = None


SUBSETS: Mapping[str, SubsetPlan] = {
    "weak": SubsetPlan("weak", 0, 1),
    "unlabel_in_domain": SubsetPlan("weak", 0, 1_000_001),
    "unlabel_out_of_domain": SubsetPlan("other", 0, 2_000_001),
    "synthetic": SubsetPlan("synthetic", 0, 1),
    "validation": SubsetPlan("validation", 1, 3_000_001),
    "test_dcase2018": SubsetPlan("validation", 1, 3_000_001),
    "eval_dcase2018": SubsetPlan("validation", 1, 3_000_001),
    "test": SubsetPlan("validation", 1, 3_000_001),
    "eval": SubsetPlan("validation", 2, 4_000_001),
    "synthetic20": SubsetPlan("synthetic", 0, 0),
    "synthetic21_train": SubsetPlan("synthetic", 0, 0),
    "synthetic21_validation": SubsetPlan("synthetic", 3, 0),
    "audioset_strong": SubsetPlan("validation", 0, 5_000_001),
    "maestro_real_train": SubsetPlan("maestro", 0, 0, hop_s=1.0),
    "maestro_real_validation": SubsetPlan("maestro", 1, 50, hop_s=5.0),
}
PARTS_OF_VALIDATION = ("test_dcase2018", "eval_dcase2018")  # lists of some of its clips


def sound_sets(layout: Layout) -> SoundSets:
    """Sets of own recordings, and the parts of these that the subsets of a layout take."""
    used = {SUBSETS[name].set_number for name in LAYOUTS[layout] if name in SUBSETS}
    parts = {number: part for number, part in _PARTS.items() if number in used}
    return SoundSets(SETS, parts, shared={3: 1})


@dataclass(frozen=True)
class PlannedEvent:
    """One event of a clip.

    Attributes:
        class_name: name of its class.
        onset_s: start.
        offset_s: end.
        example: number of the own recording in the set; None: any, or a synthetic sound.
    """

    class_name: str
    onset_s: float
    offset_s: float
    example: int | None = None

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.offset_s - self.onset_s


@dataclass(frozen=True)
class Slot:
    """A clip before its events are drawn: subset, file name and index in the subset."""

    subset: str
    name: str
    index: int


@dataclass(frozen=True)
class ClipPlan:
    """One clip before it is rendered: subset, file name and events."""

    subset: str
    name: str
    events: tuple[PlannedEvent, ...]

    @property
    def domain(self) -> Domain:
        """The kind of clips that it belongs to."""
        return DOMAINS[SUBSETS[self.subset].domain]

    @property
    def set_number(self) -> int:
        """The set of own recordings for its sounds."""
        return SUBSETS[self.subset].set_number


def name_clips(subset: str, n: int) -> list[Slot]:
    """Names the clips of a subset: 1.wav if synthetic, else Ysim0000001_30.000_40.000.wav."""
    first = SUBSETS[subset].first_number
    is_synthetic = SUBSETS[subset].domain == "synthetic"
    pattern = "{}.wav" if is_synthetic else "Ysim{:07d}_30.000_40.000.wav"
    return [Slot(subset, pattern.format(first + index), index) for index in range(n)]


def clip_stream(
    settings: SceneSettings, subset: str, name: str, *purpose: str
) -> np.random.Generator:
    """Random numbers of one clip for one purpose."""
    base = "validation" if subset in PARTS_OF_VALIDATION else subset
    return random_stream(settings.seed, settings.version, GENERATOR_NAME, base, name, *purpose)


def is_synthetic(clip: Slot | ClipPlan, settings: SceneSettings, class_name: str) -> bool:
    """True if the sounds of a class are synthetic in a clip in spite of own recordings."""
    if not settings.synthetic_share:
        return False
    stream = clip_stream(settings, clip.subset, clip.name, "synthetic", class_name)
    return bool(stream.random() < settings.synthetic_share)


def plan_clip(
    slot: Slot,
    settings: SceneSettings,
    classes: Sequence[str],
    own_durations_s: Mapping[str, Sequence[float]],
) -> ClipPlan:
    """Draws the events of a clip.

    Args:
        slot: its subset and name.
        settings: seed and length.
        classes: the class list.
        own_durations_s: duration of each own recording in the set of the clip, by class; other
            classes are synthesised.

    Returns:
        The plan, events sorted by onset.
    """
    domain = DOMAINS[SUBSETS[slot.subset].domain]
    rng = clip_stream(settings, slot.subset, slot.name, "timeline")
    if domain.empty_every is not None and slot.index % domain.empty_every == 4:
        return ClipPlan(slot.subset, slot.name, ())
    names = list(OTHER_SOUNDS) if domain is DOMAINS["other"] else list(classes)
    n_classes = 1 + int(rng.choice(len(domain.class_shares), p=domain.class_shares))
    weights = np.array([domain.frequencies.get(name, 1.0) for name in names])
    shares, n = weights / weights.sum(), min(n_classes, len(names))
    chosen = rng.choice(len(names), n, replace=False, p=shares)
    events: list[PlannedEvent] = []
    for index in chosen:
        synthetic = is_synthetic(slot, settings, names[index])
        own_s = () if synthetic else own_durations_s.get(names[index], ())
        draw_event = _event_drawer(names[index], rng, own_s)
        events += _draw_events(names[index], domain, settings.clip_s, rng, draw_event)
    events.sort(key=lambda event: (event.onset_s, event.class_name))
    return ClipPlan(slot.subset, slot.name, tuple(events))


def _event_drawer(
    name: str, rng: np.random.Generator, own_durations_s: Sequence[float]
) -> Callable[[], tuple[float, int | None]]:
    """Returns a function that draws the duration of an event, and its own recording if any."""

    def draw() -> tuple[float, int | None]:
        if own_durations_s:
            example = int(rng.integers(len(own_durations_s)))
            return own_durations_s[example], example
        return ALL_SOUNDS[name].durations.draw(rng), None

    return draw


def _draw_events(
    name: str,
    domain: Domain,
    clip_s: float,
    rng: np.random.Generator,
    draw_event: Callable[[], tuple[float, int | None]],
) -> list[PlannedEvent]:
    """Draws the events of one class in a clip; they never overlap."""
    n_events = min(int(rng.geometric(1 / domain.events_per_clip.get(name, 1.5))), MAX_EVENTS)
    spans: list[tuple[float, float, int | None]] = []
    end_s = 0.0
    for number in range(n_events):
        duration_s, example = draw_event()
        gap_s = float(np.exp(rng.uniform(*np.log(domain.gap_s)))) if number else 0.0
        if number and end_s + gap_s + duration_s > clip_s:
            continue  # a shorter one may still fit
        onset_s, end_s = end_s + gap_s, min(end_s + gap_s + duration_s, clip_s)
        spans.append((onset_s, end_s, example))
    place = float(rng.uniform())
    if rng.uniform() < domain.cut_chance:
        place = round(place)  # at the very beginning or end
    shift_s = place * (clip_s - end_s)
    times_s = [
        (_rounded(onset_s + shift_s, domain), _rounded(min(offset_s + shift_s, clip_s), domain))
        for onset_s, offset_s, _ in spans
    ]
    drawn = zip(times_s, spans, strict=True)
    return [PlannedEvent(name, *times, example) for times, (*_, example) in drawn]


def _rounded(time_s: float, domain: Domain) -> float:
    return time_s if domain.decimals is None else round(time_s, domain.decimals)


def format_strong(plans: Iterable[ClipPlan]) -> str:
    """Formats strong labels: a row per event, a row with only the name for a clip without any."""
    rows = ["\t".join(data.STRONG_COLUMNS)]
    for plan in plans:
        for event in plan.events:
            times_s = event.onset_s, event.offset_s
            onset, offset = (_format_time(time_s, plan.domain) for time_s in times_s)
            rows.append(f"{plan.name}\t{onset}\t{offset}\t{event.class_name}")
        if not plan.events:
            rows.append(f"{plan.name}\t\t\t")
    return "\n".join(rows) + "\n"


def _format_time(time_s: float, domain: Domain) -> str:
    return repr(time_s) if domain.decimals is None else f"{time_s:.{domain.decimals}f}"


def format_weak(plans: Iterable[ClipPlan]) -> str:
    """Formats weak labels: a row per clip with its classes in alphabetical order."""
    rows = ["\t".join(data.WEAK_COLUMNS)]
    for plan in plans:
        labels = sorted({event.class_name for event in plan.events})
        rows.append(f"{plan.name}\t{data.LABEL_SEPARATOR.join(labels)}")
    return "\n".join(rows) + "\n"


def format_names(plans: Iterable[ClipPlan]) -> str:
    """Formats the names of unlabelled clips."""
    return "\n".join(["filename", *(plan.name for plan in plans)]) + "\n"


def plan_annotations(folder: Path, dataset: DatasetConfig) -> list[ClipPlan]:
    """Plans clips of the events in given metadata files.

    A file named like the metadata of a strongly labelled subset, such as validation.tsv or
    synthetic.csv, becomes that subset; any other name becomes `validation` (2019) or `test` (2018).

    Args:
        folder: of the .tsv or .csv files, tab-separated.
        dataset: layout, classes and length of a clip; events are cut there.

    Raises:
        DataError: the folder holds no metadata, a file cannot be used, or two files disagree.
    """
    files = _annotation_files(folder, dataset.layout)
    plans: dict[tuple[str, str], ClipPlan] = {}
    for subset, path in files.items():
        events, names = data.read_strong(path, dataset)
        audio = LAYOUTS[dataset.layout][subset].audio
        events = data.cut_events(events, dataset.clip_s, str(path))
        for name, table in data.events_by_name(events, names).items():
            rows = zip(table["event_label"], table["onset"], table["offset"], strict=True)
            drawn = tuple(PlannedEvent(label, onset, end) for label, onset, end in rows)
            plan = ClipPlan(subset, name, drawn)
            known = plans.setdefault((audio, name), plan)
            if known.events != plan.events:
                raise DataError(
                    f"{path} and {files[known.subset]} have different events for {name}, which is"
                    " one recording. Correct one of them."
                )
    return list(plans.values())


def given_metadata(folder: Path, layout: Layout) -> dict[str, str]:
    """Reads the metadata files of `plan_annotations`, by subset."""
    files = _annotation_files(folder, layout)
    return {subset: path.read_text(encoding="utf-8-sig") for subset, path in files.items()}


def _annotation_files(folder: Path, layout: Layout) -> dict[str, Path]:
    """Maps subsets to metadata files; the suffix of the layout precedes the other one."""
    places = LAYOUTS[layout].items()
    strong = {  # soundscapes.tsv is the file of several subsets: their own names stand for it
        name if each.prefix else Path(each.metadata).name: name
        for name, each in places
        if each.kind == "strong"
    }
    default = "test" if layout == "dcase2018" else "validation"
    by_stem: dict[str, Path] = {}
    for suffix in SUFFIXES[layout][::-1]:
        by_stem |= {path.stem: path for path in sorted(folder.glob(f"*{suffix}"))}
    if not by_stem:
        raise DataError(
            f"{folder} has no metadata. Expected: .tsv or .csv files of strong labels (filename,"
            " onset, offset, event_label with tabs between them). Correct --annotations."
        )
    # In the order of the layout: whole subsets before parts of them.
    files = {subset: by_stem[stem] for stem, subset in strong.items() if stem in by_stem}
    for stem, path in by_stem.items():
        if stem not in strong and default in files:
            raise DataError(
                f"{path} and {files[default]} would both become the subset {default}. Keep one of"
                f" them in {folder}, or name the files after their subsets: {', '.join(strong)}."
            )
        if stem not in strong:
            files[default] = path
    return files

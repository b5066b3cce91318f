"""Settings of simulated recordings: their section in params.yaml and the presets."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from common.errors import ConfigError
from common.settings.section import Section
from common.simulation.own_recordings import Folders
from common.simulation.simulator import complete_settings
from common.simulation.sounds import RECIPES_TEXT, Recipes
from seld.recordings.layouts import LAYOUTS, Layout

GENERATOR_VERSION = "1"  # changes whenever the same settings would give other samples
DEV_SPLITS = (1, 2, 3, 4)
PathKind = Literal["sphere", "straight"]
LAST_SPLIT = max(split for layout in LAYOUTS.values() for split in layout.splits)
N_ROOMS = 5
MAX_SPEED_DEG_PER_S = 40.0
MIN_DISTANCE_M, FARTHEST_M = 0.5, 30.0


class MovementConfig(Section):
    """Moving sources, in layouts with labels for every frame."""

    moving_share: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Share of events that move; null: a half in the layouts of 2020 and 2021, a"
        " third in later ones, none in that of 2019.",
    )
    speed_deg_per_s: tuple[float, float] = Field(
        (5.0, MAX_SPEED_DEG_PER_S),
        description="Range of the highest angular speed of a source in degrees per second.",
    )
    path: PathKind = Field(
        "sphere",
        description="sphere: arcs of constant distance; straight: lines through the room, whose"
        " distance changes, at 2 m/s or less. Sources turn back where the room ends.",
    )

    @field_validator("speed_deg_per_s")
    @classmethod
    def _speeds_are_possible(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0 < value[0] <= value[1] <= MAX_SPEED_DEG_PER_S:
            raise ValueError(
                "speeds are [lowest, highest], above 0 and up to"
                f" {MAX_SPEED_DEG_PER_S:g}. Received: {list(value)}."
            )
        return value


class SimulationConfig(Section):
    """Simulated recordings; the preset fills in null."""

    preset: Literal["fixture", "demo", "gpu", "full"] = Field(
        "demo",
        description="Size: fixture (for tests), demo (70 recordings), gpu (200), full (500).",
    )
    formats: tuple[Literal["foa", "mic", "stereo"], ...] | None = Field(
        None,
        min_length=1,
        description="Formats written of every scene; null: the task's. stereo: (W + Y)/2 on the"
        " left, (W - Y)/2 on the right.",
    )
    recordings_per_split: dict[int, int] | None = Field(
        None, description="Recordings of each split, e.g. {1: 20, 2: 20}; 0 is the evaluation set."
    )
    rooms: tuple[int, ...] | None = Field(
        None, min_length=1, description="Numbers of the rooms, 0 to 4."
    )
    overlaps: tuple[int, ...] | None = Field(
        None,
        min_length=1,
        description="Maximum numbers of overlapping events, distributed over the recordings; null:"
        " 1 and 2 in the layouts of 2019 and 2020, else 3.",
    )
    duration_s: float | None = Field(None, gt=1.5, description="Length of a recording.")
    duration_range_s: tuple[float, float] | None = Field(
        None,
        description="Shortest and longest recording in layouts of any length (STARSS); null: from"
        " half of `duration_s` to one and a half times.",
    )
    movement: MovementConfig = Field(
        default_factory=MovementConfig, description="Moving sources; not in the layout of 2019."
    )
    interferers: int | None = Field(
        None,
        ge=0,
        description="Sounds of other kinds in a recording, from a direction but without a label;"
        " null: one every 10 s in the layout of 2021, else none.",
    )
    distance_m: tuple[float, float] | None = Field(
        None,
        description="Shortest and longest distance of sources in metres; the room may allow less."
        " null: from 0.5 m to the walls; in the layout of 2019, 1 and 2 m only.",
    )
    ragged: bool = Field(
        False,
        description="Lengths vary and events may end after the recording, as in the real data.",
    )
    snr_db: float = Field(30.0, description="Signal-to-noise ratio of events and ambience.")
    snr_range_db: tuple[float, float] | None = Field(
        None,
        description="Range from which the ratio of each recording is drawn, in place of `snr_db`.",
    )
    gain_range_db: float = Field(
        6.0, ge=0, description="Levels of events vary by plus and minus this."
    )
    variation: float = Field(
        1.0, ge=0, le=1, description="Variation of the synthetic examples of a class."
    )
    allow_same_class_overlap: bool = Field(True, description="Events of one class may overlap.")
    same_class_share: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Share of the events begun during others that take the class of one of these;"
        " null: all classes are equally likely.",
    )
    foa_norm: Literal["n3d", "sn3d"] | None = Field(
        None,
        description="Ambisonic normalisation; channels are W, Y, Z, X. null: n3d in the layout of"
        " 2019, else sn3d.",
    )
    wall_colour: bool | None = Field(
        None, description="Walls absorb high frequencies more than low ones."
    )
    synthetic_examples: int = Field(
        4, ge=1, description="Synthetic sounds of each class in each split."
    )
    recipes: Recipes = Field("plain", description=RECIPES_TEXT)
    source_dir: Folders | None = Field(
        None,
        description="Own recordings, one folder or several: <class>/*.wav, or labelled in"
        " metadata.csv; null: synthetic sounds. All of one source, by `file,group` in metadata.csv"
        " or as <class>/<source>/*.wav, are in one split; those of folders train, validation and"
        " test, or of its column split, are in such sets only.",
    )
    on_missing: Literal["synth", "error"] = Field(
        "synth", description="Classes without recordings: synthetic sounds or an error."
    )
    synthetic_share: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of synthetic sounds among those of a class with own recordings.",
    )
    longest_source_s: float = Field(
        5.0, gt=0, description="Maximum length of own recordings, which are cut."
    )
    rir_dir: Path | None = Field(
        None,
        description="Measured room responses of four channels, sound or SOFA files, listed in"
        " metadata.csv (file, azimuth, elevation, distance, place, convention, normalisation);"
        " null: computed rooms only. All responses of a place are in one split.",
    )
    rir_share: float = Field(
        1.0,
        ge=0,
        le=1,
        description="Share of the recordings of each split in measured rooms, with `rir_dir`; the"
        " others are in computed ones.",
    )
    rir_rotate: bool = Field(
        False,
        description="Turn measured ambisonic responses to any direction, and along the paths of"
        " moving sources. The room turns with the source, so that reflections come from elsewhere"
        " than measured. false: sources stand still where responses were measured.",
    )

    background_dir: Folders | None = Field(
        None,
        description="Own backgrounds in any folders below, one folder or several, mixed to one"
        " channel and made diffuse; null: the synthetic ambience of the rooms. Parts and sources as"
        " of `source_dir`, sources by metadata.csv only.",
    )

    @model_validator(mode="after")
    def _same_class_is_allowed(self) -> Self:
        if self.same_class_share and not self.allow_same_class_overlap:
            raise ValueError(
                "`same_class_share` needs `allow_same_class_overlap: true`. Received: share"
                f" {self.same_class_share:g} and false."
            )
        return self

    @field_validator("recordings_per_split")
    @classmethod
    def _splits_exist(cls, value: dict[int, int] | None) -> dict[int, int] | None:
        if value is None:
            return value
        if set(value) - set(range(LAST_SPLIT + 1)) or any(n < 0 for n in value.values()):
            raise ValueError(
                f"splits are 0 (evaluation) to {LAST_SPLIT}, with no negative number of recordings."
                f" Received: {value}."
            )
        return value

    @field_validator("duration_range_s", "distance_m")
    @classmethod
    def _ranges_rise(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and not MIN_DISTANCE_M <= value[0] <= value[1]:
            raise ValueError(
                f"ranges are [lowest, highest] from {MIN_DISTANCE_M} on. Received: {list(value)}."
            )
        return value

    @field_validator("snr_range_db")
    @classmethod
    def _ratios_rise(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and not value[0] <= value[1]:
            raise ValueError(f"a range is [lowest, highest]. Received: {list(value)}.")
        return value

    @field_validator("rooms")
    @classmethod
    def _rooms_exist(cls, value: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if value is None:
            return value
        if len(set(value)) < len(value) or not set(value) <= set(range(N_ROOMS)):
            known = f"different numbers from 0 to {N_ROOMS - 1}"
            raise ValueError(f"rooms are {known}. Received: {list(value)}.")
        return value

    @field_validator("overlaps")
    @classmethod
    def _overlaps_are_possible(cls, value: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if value is not None and (len(set(value)) < len(value) or min(value) < 1):
            raise ValueError(
                f"overlaps are different numbers of layers, 1 or more. Received: {list(value)}."
            )
        return value


@dataclass(frozen=True)
class MotionSettings:
    """Settings of layouts with labels for every frame; see the fields of `SimulationConfig`.

    Attributes:
        layout: name of the layout.
        moving_share: share of events that move.
        speed_deg_per_s: range of the highest angular speed.
        path: kind of path.
        interferers: unlabelled sounds in a recording.
        distance_m: shortest and longest distance.
        duration_range_s: shortest and longest recording.
    """

    layout: str
    moving_share: float
    speed_deg_per_s: tuple[float, float]
    path: PathKind
    interferers: int
    distance_m: tuple[float, float]
    duration_range_s: tuple[float, float]


@dataclass(frozen=True)
class MeasuredSettings:
    """Settings of measured rooms; see the fields of `SimulationConfig`.

    Attributes:
        share: share of the recordings in measured rooms, above 0.
        rotate: turn responses to any direction.
    """

    share: float
    rotate: bool


@dataclass(frozen=True)
class SceneSettings:
    """Settings on which the recordings depend; stored in the dataset folder."""

    version: str
    seed: int
    recordings_per_split: dict[int, int]
    rooms: tuple[int, ...]
    overlaps: tuple[int, ...]
    duration_s: float
    wall_colour: bool
    ragged: bool
    snr_db: float
    gain_range_db: float
    variation: float
    allow_same_class_overlap: bool
    same_class_share: float | None
    foa_norm: Literal["n3d", "sn3d"]
    on_missing: Literal["synth", "error"]
    longest_source_s: float
    synthetic_share: float = 0.0
    recipes: Recipes = "plain"
    synthetic_examples: int = 4
    snr_range_db: tuple[float, float] | None = None  # None: `snr_db` in all recordings
    motion: MotionSettings | None = None  # None: the layout of 2019, whose sources stand still
    measured: MeasuredSettings | None = None  # None: computed rooms only


@dataclass(frozen=True)
class Preset:
    """Sizes of a dataset."""

    recordings_per_split: dict[int, int]
    rooms: tuple[int, ...] = (0, 1, 2, 3, 4)
    overlaps: tuple[int, ...] = (1, 2)
    duration_s: float = 60.0
    wall_colour: bool = True


PRESETS = {
    "fixture": Preset(
        {split: 2 for split in (0, *DEV_SPLITS)}, rooms=(0,), duration_s=6.0, wall_colour=False
    ),
    "demo": Preset({0: 10, 1: 20, 2: 20, 3: 10, 4: 10}),
    "gpu": Preset({split: 40 for split in (0, *DEV_SPLITS)}),
    "full": Preset({split: 100 for split in (0, *DEV_SPLITS)}),
}


# Recordings of 60 s in each split of the later layouts.
PER_SPLIT = {"fixture": 2, "demo": 12, "gpu": 40, "full": 100}


def scene_settings(
    simulation: SimulationConfig, seed: int, layout: Layout = LAYOUTS["tau2019"]
) -> SceneSettings:
    """Takes settings that are None from the preset and the layout.

    Raises:
        ConfigError: settings that the layout does not have, or splits that it lacks.
    """
    preset = PRESETS[simulation.preset]
    if layout.is_framewise:
        preset = _preset_of(simulation, layout)
    splits = {split for split, n in (simulation.recordings_per_split or {}).items() if n}
    if unknown := sorted(splits - {0, *layout.splits}):
        raise ConfigError(
            f"The layout {layout.name} has the splits {list(layout.splits)} and 0, the evaluation"
            f" set. Received: `simulation.recordings_per_split` with {unknown}."
        )
    motion = _motion(simulation, layout, preset) if layout.is_framewise else None
    if motion is None:
        _check_still(simulation, layout)
    given = {
        "measured": _measured(simulation, motion),
        "version": GENERATOR_VERSION,
        "seed": seed,
        "motion": motion,
        "same_class_share": simulation.same_class_share,
        "foa_norm": simulation.foa_norm or ("sn3d" if layout.is_framewise else "n3d"),
    }
    return complete_settings(SceneSettings, simulation, preset, **given)


def _preset_of(simulation: SimulationConfig, layout: Layout) -> Preset:
    """Sizes of a preset in a layout of 2020 or later: as much sound in shorter recordings."""
    preset = PRESETS[simulation.preset]
    duration_s = min(preset.duration_s, layout.recording_s or preset.duration_s)
    n = PER_SPLIT[simulation.preset] * round(preset.duration_s / duration_s)
    return replace(
        preset,
        recordings_per_split={split: n for split in (0, *layout.splits)},
        overlaps=(1, 2) if layout.name == "tau2020" else (3,),
        duration_s=duration_s,
    )


def _motion(simulation: SimulationConfig, layout: Layout, preset: Preset) -> MotionSettings:
    duration_s = simulation.duration_s or preset.duration_s
    if layout.recording_s is None:
        lengths_s = simulation.duration_range_s or (0.5 * duration_s, 1.5 * duration_s)
    else:
        lengths_s = duration_s, duration_s
        _refuse_given(simulation, ("duration_range_s",), layout, "recordings of one length")
    is_nigens = layout.name in ("tau2020", "tau2021")
    movement, interferers = simulation.movement, simulation.interferers
    share = movement.moving_share
    if share is None:
        share = 1 / 2 if is_nigens else 1 / 3
    if interferers is None:
        interferers = round(duration_s / 10) if layout.interferers else 0
    return MotionSettings(
        layout.name,
        share,
        movement.speed_deg_per_s,
        movement.path,
        interferers,
        simulation.distance_m or (MIN_DISTANCE_M, FARTHEST_M),
        lengths_s,
    )


def _measured(
    simulation: SimulationConfig, motion: MotionSettings | None
) -> MeasuredSettings | None:
    share, rotate = simulation.rir_share, simulation.rir_rotate
    if simulation.rir_dir is None or share == 0:
        return None
    moving_share = simulation.movement.moving_share
    if moving_share and not rotate and share == 1:
        raise ConfigError(
            "Sources in measured rooms stand still where their responses were measured. Expected:"
            " `simulation.movement.moving_share` 0 or null, `simulation.rir_rotate: true`, which"
            " turns responses along a path, or `simulation.rir_share` below 1, for sources that"
            f" move in computed rooms. Received: moving_share {moving_share:g}."
        )
    if motion and motion.moving_share and rotate and motion.path == "straight":
        raise ConfigError(
            "A measured response has one distance, and paths in measured rooms are arcs. Expected:"
            " `simulation.movement.path: sphere`, or `simulation.movement.moving_share: 0`."
            " Received: straight."
        )
    if simulation.distance_m and share == 1:
        raise ConfigError(
            "Distances in measured rooms are those of the responses. Expected:"
            " `simulation.distance_m: null`, or `simulation.rir_share` below 1. Received:"
            f" {list(simulation.distance_m)}."
        )
    return MeasuredSettings(share, rotate)


def _check_still(simulation: SimulationConfig, layout: Layout) -> None:
    if simulation.movement.moving_share:
        raise ConfigError(
            f"The layout {layout.name} has events with one direction each. Expected: no"
            " `simulation.movement.moving_share`, or `dataset.layout` of 2020 or later. Received:"
            f" {simulation.movement.moving_share}."
        )
    names = ("interferers", "distance_m", "duration_range_s")
    _refuse_given(simulation, names, layout, "the positions and lengths of the real dataset")


def _refuse_given(
    simulation: SimulationConfig, names: Sequence[str], layout: Layout, what: str
) -> None:
    given = [f"simulation.{name}" for name in names if getattr(simulation, name)]
    if given:
        raise ConfigError(
            f"The layout {layout.name} has {what}. Expected: {', '.join(given)} not set. Set"
            " another `dataset.layout`, or null there."
        )

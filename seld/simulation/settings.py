"""Settings of simulated recordings: their section in params.yaml and the presets."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from common.settings.section import Section
from common.simulation.simulator import complete_settings

GENERATOR_VERSION = "1"  # changes whenever the same settings would give other samples
DEV_SPLITS = (1, 2, 3, 4)
N_ROOMS = 5


class SimulationConfig(Section):
    """Simulated recordings; the preset fills in null."""

    preset: Literal["fixture", "demo", "gpu", "full"] = Field(
        "demo",
        description="Size: fixture (for tests), demo (70 recordings), gpu (200), full (500).",
    )
    formats: tuple[Literal["foa", "mic"], ...] | None = Field(
        None, min_length=1, description="Formats written of every scene; null: the task's."
    )
    recordings_per_split: dict[int, int] | None = Field(
        None, description="Recordings of each split, e.g. {1: 20, 2: 20}; 0 is the evaluation set."
    )
    rooms: tuple[int, ...] | None = Field(
        None, min_length=1, description="Numbers of the rooms, 0 to 4."
    )
    overlaps: tuple[int, ...] | None = Field(
        None, min_length=1, description="Maximum numbers of overlapping events."
    )
    duration_s: float | None = Field(None, gt=1.5, description="Length of a recording.")
    ragged: bool = Field(
        False,
        description="Lengths vary and events may end after the recording, as in the real data.",
    )
    snr_db: float = Field(30.0, description="Signal-to-noise ratio of events and ambience.")
    gain_range_db: float = Field(
        6.0, ge=0, description="Levels of events vary by plus and minus this."
    )
    variation: float = Field(
        1.0, ge=0, le=1, description="Variation of the synthetic examples of a class."
    )
    allow_same_class_overlap: bool = Field(True, description="Events of one class may overlap.")
    foa_norm: Literal["n3d", "sn3d"] = Field(
        "n3d", description="Ambisonic normalisation; channels are W, Y, Z, X."
    )
    wall_colour: bool | None = Field(
        None, description="Walls absorb high frequencies more than low ones."
    )
    source_dir: Path | None = Field(
        None,
        description="Own recordings, one folder per class; null: synthetic sounds. All of one"
        " source, by `file,group` in metadata.csv or as <class>/<source>/*.wav, is in one split.",
    )
    on_missing: Literal["synth", "error"] = Field(
        "synth", description="Classes without recordings: synthetic sounds or an error."
    )
    longest_source_s: float = Field(
        5.0, gt=0, description="Maximum length of own recordings, which are cut."
    )

    @field_validator("recordings_per_split")
    @classmethod
    def _splits_exist(cls, value: dict[int, int] | None) -> dict[int, int] | None:
        if value is None:
            return value
        if set(value) - {0, *DEV_SPLITS} or any(n < 0 for n in value.values()):
            raise ValueError(
                "splits are 0 (evaluation) to 4, with no negative number of recordings. Received:"
                f" {value}."
            )
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
    foa_norm: Literal["n3d", "sn3d"]
    on_missing: Literal["synth", "error"]
    longest_source_s: float


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


def scene_settings(simulation: SimulationConfig, seed: int) -> SceneSettings:
    """Takes settings that are None from the preset."""
    version, preset = GENERATOR_VERSION, PRESETS[simulation.preset]
    return complete_settings(SceneSettings, simulation, preset, version=version, seed=seed)

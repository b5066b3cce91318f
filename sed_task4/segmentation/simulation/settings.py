"""Settings of simulated sounds and scenes: their section of params.yaml and the presets."""

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from common.settings.section import Section
from common.simulation.own_recordings import Folders
from common.simulation.simulator import complete_settings
from common.simulation.sounds import RECIPES_TEXT, Recipes

GENERATOR_VERSION = "1"  # changes when the same settings give other samples


@dataclass(frozen=True)
class Preset:
    """Sizes of a dataset.

    Attributes:
        scenes: number of scenes.
        files_per_class: number of sound files of each class.
        verified_share: share of verified files: only those are mixed.
        loops_per_kind: number of loops of scenes of each kind, such as voices and engines.
        may_lack_classes: classes without a synthetic sound are left out instead of refused.
    """

    scenes: int
    files_per_class: int
    verified_share: float
    loops_per_kind: int = 4
    may_lack_classes: bool = False


PRESETS = {
    "fixture": Preset(12, 8, 1.0, loops_per_kind=1, may_lack_classes=True),
    "demo": Preset(200, 100, 0.8),
    "gpu": Preset(2000, 80, 0.4, loops_per_kind=16, may_lack_classes=True),
    "full": Preset(8000, 250, 0.4, loops_per_kind=32, may_lack_classes=True),
}


class SimulationConfig(Section):
    """Simulated sounds and scenes; the preset fills in null."""

    preset: Literal["fixture", "demo", "gpu", "full"] = Field(
        "demo",
        description=(
            "Size: fixture (for tests), demo (100 sounds per class, 200 scenes), gpu, full. All but"
            " demo leave out classes without a synthetic sound."
        ),
    )
    scenes: int | None = Field(None, gt=0, description="Number of scenes, as long as mixtures.")
    files_per_class: int | None = Field(None, gt=0, description="Sound files of each class.")
    verified_share: float | None = Field(
        None, gt=0, le=1, description="Share of verified files: only those are mixed."
    )
    sound_rate_hz: int = Field(44100, ge=8000, description="Sample rate of the sound files.")
    scene_rate_hz: int = Field(48000, ge=8000, description="Sample rate of the scenes.")
    variation: float = Field(1.0, ge=0, le=1, description="Variation of the sounds of a class.")
    recipes: Recipes = Field("plain", description=RECIPES_TEXT)
    source_dir: Folders | None = Field(
        None,
        description="Own recordings, one folder or several: <class>/*.wav, or labelled in"
        " metadata.csv; null: synthetic sounds. Each becomes a sound file; all of one source, by"
        " `file,group` in metadata.csv or as <class>/<source>/*.wav, are in one fold; those of"
        " folders train, validation and test, or of its column split, are in such folds only.",
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
    background_dir: Folders | None = Field(
        None,
        description="Own backgrounds in any folders below, one folder or several, of which scenes"
        " are made; null: synthetic ones. Parts and sources as of `source_dir`, sources by"
        " metadata.csv only.",
    )


@dataclass(frozen=True)
class SoundSettings:
    """Everything that the content of the files depends on; stored in the dataset folder."""

    version: str
    seed: int
    scenes: int
    files_per_class: int
    verified_share: float
    loops_per_kind: int
    clip_s: float
    sound_rate_hz: int
    scene_rate_hz: int
    variation: float
    on_missing: Literal["synth", "error"] = "synth"
    synthetic_share: float = 0.0
    longest_source_s: float = 5.0
    recipes: Recipes = "plain"


def sound_settings(simulation: SimulationConfig, seed: int, clip_s: float = 10.0) -> SoundSettings:
    """Fills open settings from the preset."""
    preset = PRESETS[simulation.preset]
    given: dict[str, Any] = {"version": GENERATOR_VERSION, "seed": seed, "clip_s": clip_s}
    return complete_settings(SoundSettings, simulation, preset, **given)

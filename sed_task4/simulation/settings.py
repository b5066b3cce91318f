"""Settings of simulated clips: their section of params.yaml and the presets."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import Field, field_validator

from common.settings.section import Section
from common.simulation.own_recordings import Folders
from common.simulation.simulator import complete_settings
from common.simulation.sounds import RECIPES_TEXT, Recipes

GENERATOR_VERSION = "1"  # changes when the same settings give other samples


@dataclass(frozen=True)
class Preset:
    """Sizes of a dataset."""

    clips: Mapping[str, int]
    loops_per_set: int = 4


_REAL = ("weak", "unlabel_in_domain", "unlabel_out_of_domain")
_SUBSETS = (*_REAL, "synthetic", "validation", "test", "eval")


# Subsets of 2020 on; numbers of windows are rounded up to whole recordings.
_LATER = (
    "synthetic20",
    "synthetic21_train",
    "synthetic21_validation",
    "audioset_strong",
    "maestro_real_train",
    "maestro_real_validation",
)


def _clips(numbers: tuple[int, ...], later: tuple[int, ...]) -> dict[str, int]:
    return dict(zip((*_SUBSETS, *_LATER), (*numbers, *later), strict=True))


PRESETS = {
    "fixture": Preset(_clips((6, 4, 2, 6, 6, 6, 4), (6, 6, 4, 4, 12, 4)), loops_per_set=1),
    "demo": Preset(_clips((400, 400, 100, 200, 150, 150, 100), (200, 200, 60, 100, 300, 60))),
    "gpu": Preset(
        _clips((1578, 4000, 1000, 2045, 1168, 288, 692), (2584, 4000, 1000, 3470, 4000, 800))
    ),
    "full": Preset(
        _clips((1578, 14412, 4000, 2045, 1168, 288, 880), (2584, 10000, 2500, 3470, 7000, 1000))
    ),
}


def subsets_of_settings(layout_subsets: Iterable[str]) -> set[str]:
    """Subsets whose numbers of clips decide a dataset: all of 2018 and 2019, or the layout's."""
    own = set(layout_subsets)
    return own if own & set(_LATER) else set(_SUBSETS)


class SimulationConfig(Section):
    """Simulated clips; the preset fills in null."""

    preset: Literal["fixture", "demo", "gpu", "full"] = Field(
        "demo",
        description=(
            "Size: fixture (a minute or two of audio, for tests), demo (1150 clips), gpu, full."
        ),
    )
    clips_per_subset: dict[str, int] | None = Field(
        None, description="Numbers of clips that differ from the preset's, e.g. {weak: 200}."
    )
    sample_rate_hz: int = Field(
        44100, ge=8000, description="Sample rate of the files; features resample them."
    )
    synthetic_snr_db: tuple[float, float] = Field(
        (6.0, 30.0), description="Range of signal-to-noise ratios in the synthetic subset."
    )
    real_snr_db: tuple[float, float] = Field(
        (0.0, 20.0), description="Range of signal-to-noise ratios in all other subsets."
    )
    domain_gap: bool = Field(
        True,
        description="Other subsets differ from the synthetic one in level, spectrum and reverb.",
    )
    variation: float = Field(1.0, ge=0, le=1, description="Variation of synthetic examples.")
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
    background_dir: Folders | None = Field(
        None,
        description="Own backgrounds in any folders below, one folder or several; null: synthetic"
        " ones. Parts and sources as of `source_dir`, sources by metadata.csv only.",
    )

    @field_validator("clips_per_subset")
    @classmethod
    def _subsets_exist(cls, value: dict[str, int] | None) -> dict[str, int] | None:
        known = PRESETS["demo"].clips
        if value is not None and (set(value) - set(known) or any(n < 0 for n in value.values())):
            names = ", ".join(known)
            raise ValueError(f"subsets are {names}, of 0 or more clips. Received: {value}.")
        return value

    @field_validator("synthetic_snr_db", "real_snr_db")
    @classmethod
    def _ranges_rise(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not value[0] <= value[1]:
            raise ValueError(f"a range is [lowest, highest]. Received: {list(value)}.")
        return value


@dataclass(frozen=True)
class SceneSettings:
    """Everything that the content of the clips depends on; stored in the dataset folder."""

    version: str
    seed: int
    clips_per_subset: dict[str, int]
    loops_per_set: int
    clip_s: float
    sample_rate_hz: int
    synthetic_snr_db: tuple[float, float]
    real_snr_db: tuple[float, float]
    domain_gap: bool
    variation: float
    on_missing: Literal["synth", "error"]
    longest_source_s: float
    synthetic_share: float = 0.0
    recipes: Recipes = "plain"


def scene_settings(simulation: SimulationConfig, seed: int, clip_s: float = 10.0) -> SceneSettings:
    """Fills open settings from the preset."""
    preset = PRESETS[simulation.preset]
    return complete_settings(
        SceneSettings,
        simulation,
        preset,
        version=GENERATOR_VERSION,
        seed=seed,
        clips_per_subset={**preset.clips, **(simulation.clips_per_subset or {})},
        clip_s=clip_s,
    )

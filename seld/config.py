"""Settings of a sound event localization and detection task: one entry of `params.yaml`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from common.settings.augmentation import FeatureAugmentation, MixingSettings
from common.settings.folds import FoldConfig
from common.settings.tasks import BaseTask, TrainingConfig, merge
from seld.dataset import DatasetConfig
from seld.features import KINDS, FeatureConfig
from seld.score import ScoringConfig
from seld.simulation.settings import SimulationConfig

# Format that each augmentation by swaps of channels needs, and where features have its tables.
SWAPS = {
    "foa_rotation": ("foa", "channel_swaps"),
    "foa_axes": ("foa", "channel_swaps"),
    "mic_swap": ("mic", "microphone_swaps"),
}


class SeldTraining(TrainingConfig):
    """Training of a network with a detection and a direction output."""

    loss_weights: dict[Literal["sed", "doa"], float] = Field(
        {"sed": 1.0, "doa": 50.0}, description="Loss weights of the two outputs."
    )
    doa_loss: Literal["mse", "masked_mse", "masked_mae", "masked_rmse", "masked_mse_2020"] = Field(
        "mse",
        description="mse: all classes; masked_mse: active classes, with a weight near 0.3;"
        " masked_mae, masked_rmse: angles of active classes; masked_mse_2020: as published in 2020"
        " and 2021, with the mask of the wrong classes.",
    )
    augmentation: Literal["none", "foa_rotation", "foa_axes", "mic_swap"] = Field(
        "none",
        description="Swaps of channels; labels follow. foa_rotation: 16 rotations and reflections;"
        " foa_axes: all 48 of the axes, for vectors as targets; mic_swap: 8 of the tetrahedral"
        " array.",
    )
    feature_augmentation: FeatureAugmentation = Field(
        default_factory=FeatureAugmentation, description="Shifts of bands, and cutouts."
    )
    mixing: MixingSettings = Field(
        default_factory=MixingSettings, description="Mixtures of training sequences."
    )
    stage_epochs: dict[str, int] = Field(
        {}, description="`epochs` of single stages, by name, e.g. {sed: 20}."
    )
    start_from: dict[str, Path] = Field(
        {}, description="Models whose weights single stages start from, by name."
    )


class TaskConfig(BaseTask):
    """A SELD task."""

    dataset: DatasetConfig
    folds: tuple[FoldConfig, ...] = Field(min_length=1)
    features: FeatureConfig
    training: SeldTraining = SeldTraining()
    scoring: ScoringConfig = ScoringConfig()
    simulation: SimulationConfig = SimulationConfig()

    @property
    def audio_channels(self) -> int | None:
        """Channels of the array."""
        return self.dataset.channels

    @property
    def decoding_keys(self) -> tuple[str, ...]:
        """The threshold of activities, or of the lengths of vectors."""
        return ("scoring.threshold",)

    def decoding_changes(
        self, threshold: float | None, changes: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Settings of a prediction that differ from those of the run."""
        given = {} if threshold is None else {"scoring": {"threshold": threshold}}
        return merge(given, changes)

    @model_validator(mode="after")
    def _parts_fit_together(self) -> "TaskConfig":
        self.features.check(self.dataset.sample_rate_hz)
        problems = _contradictions(self)
        if problems:
            raise ValueError("\n  ".join(problems))
        return self

    @property
    def known_sets(self) -> list[str]:
        """All sets of a dataset."""
        return ["dev", "eval"]

    @property
    def fold_names(self) -> list[str]:
        """Names of the folds, in order."""
        return [fold.name for fold in self.folds]

    @property
    def start_models(self) -> dict[str, Path]:
        """Models from files whose weights stages start from, by stage."""
        return self.training.start_from

    @property
    def set_names(self) -> list[str]:
        """Sets that the task reads: `dev`, and `eval` where a fold tests on split 0."""
        tests_evaluation_set = any(0 in fold.test for fold in self.folds)
        return ["dev", "eval"] if tests_evaluation_set else ["dev"]


def _augmentation_problems(name: str, features: FeatureConfig, dataset: DatasetConfig) -> list[str]:
    """Contradictions between swaps of channels, and features and format."""
    if name not in SWAPS:
        return []
    (audio_format, field), found = SWAPS[name], []
    if dataset.format != audio_format:
        found.append(
            f"`training.augmentation: {name}` needs `dataset.format: {audio_format}`. Received:"
            f" {dataset.format}."
        )
    if getattr(features, field) is None:
        able = [kind for kind, entry in KINDS.items() if getattr(entry, field) is not None]
        found.append(
            f"`training.augmentation: {name}` needs `features.kind` {' or '.join(able)},"
            f" or `features.frontend: device`. Received: {features.kind}."
        )
    return found


def _contradictions(task: TaskConfig) -> list[str]:
    """Contradictions between settings that are valid by themselves."""
    found = []
    features, training, dataset = task.features, task.training, task.dataset
    if features.entry.audio_format not in (None, dataset.format):
        found.append(
            f"`features.kind: {features.kind}` needs `dataset.format:"
            f" {features.entry.audio_format}`. Received: {dataset.format}."
        )
    found += _augmentation_problems(training.augmentation, features, dataset)
    if training.mixing.probability and features.frontend != "device":
        found.append(
            "`training.mixing` adds audio: it needs `features.frontend: device`. Received:"
            f" {features.frontend}."
        )
    if dataset.format == "foa" and dataset.channels != 4:
        found.append(
            "`dataset.format: foa` has 4 channels. Received: `dataset.channels:"
            f" {dataset.channels}`. Set `dataset.format: mic`, for microphones of any number and"
            " arrangement."
        )
    names = [fold.name for fold in task.folds]
    if repeated := [name for name in names if names.count(name) > 1]:
        found.append(f"two `folds` have the name {repeated[0]!r}; scores are stored by it.")
    for fold in task.folds:
        if 0 in fold.train or (0 in fold.validate_on and not fold.validate_on_test):
            found.append(
                f"fold {fold.name!r}: split 0 is the evaluation set; it can only be in `test`."
            )
        if dataset.mode == "dev" and 0 in fold.test:
            found.append(
                f"fold {fold.name!r} tests on split 0, the evaluation set:"
                " it needs `dataset.mode: eval`."
            )
    return found

"""Settings of a sound event localization and detection task: one entry of `params.yaml`."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from common.settings.folds import FoldConfig
from common.settings.tasks import BaseTask, TrainingConfig
from seld.augmentation import ROTATED_KINDS
from seld.dataset import DatasetConfig
from seld.features import FeatureConfig
from seld.score import ScoringConfig
from seld.simulation.simulator import SimulationConfig


class SeldTraining(TrainingConfig):
    """Training of a network with a detection and a direction output."""

    loss_weights: dict[Literal["sed", "doa"], float] = Field(
        {"sed": 1.0, "doa": 50.0}
    )  # of the two outputs
    # Of all classes: mse. Of active ones: masked_mse (wants a weight near 0.3); masked_mae and
    # masked_rmse of angles.
    doa_loss: Literal["mse", "masked_mse", "masked_mae", "masked_rmse"] = "mse"
    augmentation: Literal["none", "foa_rotation"] = (
        "none"  # foa_rotation: 16 rotations and reflections
    )
    stage_epochs: dict[str, int] = Field({})  # `epochs` of single stages, by name, e.g. {sed: 20}
    start_from: dict[str, Path] = Field(
        {}
    )  # models whose weights single stages start from, by name


class TaskConfig(BaseTask):
    """A SELD task."""

    dataset: DatasetConfig
    folds: tuple[FoldConfig, ...] = Field(min_length=1)
    features: FeatureConfig
    training: SeldTraining = SeldTraining()
    scoring: ScoringConfig = ScoringConfig()
    simulation: SimulationConfig = SimulationConfig()

    @model_validator(mode="after")
    def _parts_fit_together(self) -> "TaskConfig":
        self.features.check(self.dataset.sample_rate_hz)
        problems = _contradictions(self)
        if problems:
            raise ValueError("\n  ".join(problems))
        return self

    @property
    def known_sets(self) -> list[str]:
        """The sets that a dataset of this kind has."""
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
        """The sets the task reads: `dev`, and `eval` where a fold tests on split 0."""
        tests_evaluation_set = any(0 in fold.test for fold in self.folds)
        return ["dev", "eval"] if tests_evaluation_set else ["dev"]


def _contradictions(task: TaskConfig) -> list[str]:
    """Says which settings, each valid alone, cannot stand together."""
    found = []
    features, training, dataset = task.features, task.training, task.dataset
    if features.kind == "logmel_intensity" and dataset.format != "foa":
        found.append(
            "`features.kind: logmel_intensity` needs `dataset.format: foa`. Received: mic."
        )
    if training.augmentation == "foa_rotation" and dataset.format != "foa":
        found.append(
            "`training.augmentation: foa_rotation` needs `dataset.format: foa`. Received: mic."
        )
    if dataset.format == "foa" and dataset.channels != 4:
        found.append(
            "`dataset.format: foa` has 4 channels. Received: `dataset.channels:"
            f" {dataset.channels}`. Set `dataset.format: mic`, which stands for microphones of any"
            " number and arrangement."
        )
    rotates = (
        features.on_device or features.kind in ROTATED_KINDS
    )  # audio is rotated before any features
    if training.augmentation == "foa_rotation" and not rotates:
        found.append(
            "`training.augmentation: foa_rotation` needs `features.kind`"
            f" {' or '.join(ROTATED_KINDS)}, or `features.frontend: device`. Received:"
            f" {features.kind}."
        )
    repeated = [
        fold.name for fold in task.folds if [f.name for f in task.folds].count(fold.name) > 1
    ]
    if repeated:
        found.append(
            f"two entries of `folds` have the name {repeated[0]!r}; scores are stored by it."
        )
    for fold in task.folds:
        if 0 in fold.train or (0 in fold.validate_on and not fold.validate_on_test):
            found.append(
                f"fold {fold.name!r}: split 0 is the evaluation set; it can only be in `test`."
            )
        if dataset.mode == "dev" and 0 in fold.test:
            found.append(
                f"fold {fold.name!r} tests on split 0, the evaluation set: it needs `dataset.mode:"
                " eval`."
            )
    return found

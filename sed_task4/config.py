"""Settings of a sound event detection task (DCASE task 4): one entry of `params.yaml`."""

from typing import Literal, Self

from pydantic import Field, model_validator

from common.settings.batch_augmentation import BatchAugmentation
from common.settings.mean_teacher import MeanTeacherConfig
from common.settings.section import Section
from common.settings.tasks import BaseTask, TrainingConfig
from sed_task4.dataset import LAYOUTS, DatasetConfig
from sed_task4.decoding import DecodingConfig
from sed_task4.features import FeatureConfig
from sed_task4.score import ScoringConfig
from sed_task4.simulation.settings import SimulationConfig


class SetsConfig(Section):
    """Subsets for training, validation, test and statistics."""

    train: str = Field("weak", description="Subset to train on.")
    unlabelled: str | None = Field(
        None, description="Subset that gets pseudo-labels, and that the second pass trains on."
    )
    validate_on: str | None = Field(None, description="Validation subset; null: a part of `train`.")
    validation_fraction: float = Field(
        0.2,
        ge=0,
        lt=1,
        description=(
            "Part of `train` to validate on if `validate_on` is null, drawn once, by group;"
            " 0: none, and the scores of training clips decide."
        ),
    )
    test: tuple[str, ...] = Field(
        ("validation",), min_length=1, description="Subsets to predict and score."
    )
    statistics: tuple[str, ...] = Field(
        ("weak",), min_length=1, description="Subsets that give mean and standard deviation."
    )

    @property
    def holds_out(self) -> bool:
        """True if a part of `train` is drawn to validate on."""
        return self.validate_on is None and self.validation_fraction > 0

    @property
    def names(self) -> tuple[str, ...]:
        """All subsets that are read, deduplicated."""
        named = (self.train, self.unlabelled, self.validate_on, *self.test, *self.statistics)
        return tuple(dict.fromkeys(name for name in named if name is not None))


class Task4Training(TrainingConfig):
    """Training of a network with a clip-level and a frame-level output."""

    monitor: Literal["map", "clip_macro_f", "event_macro_f", "segment_macro_f"] = Field(
        "map", description="Validation score that stops training and chooses the model."
    )
    teacher: MeanTeacherConfig | None = Field(
        None,
        description="Mean teacher, for systems that can have one; null: labels are all there is to"
        " learn from.",
    )
    batch_augmentation: BatchAugmentation = BatchAugmentation()


class SecondPassConfig(Section):
    """Differences of the second pass, which trains on pseudo-labels of the first."""

    pseudo_labels: Literal["clip", "frames"] = Field(
        "clip",
        description=(
            "Labels of a clip: clip (published): its tags in all frames;"
            " frames: frame-level predictions times tags."
        ),
    )
    warm_start: bool = Field(False, description="Start from the weights of the first pass.")
    epochs: int | None = Field(None, gt=0, description="Epochs; null: as in the first pass.")
    batch_size: int | None = Field(None, gt=0, description="Batch size; null: as in the first.")
    learning_rate: float | None = Field(
        None, gt=0, description="Initial learning rate; null: as in the first pass."
    )


class TaskConfig(BaseTask):
    """A sound event detection task."""

    dataset: DatasetConfig
    sets: SetsConfig = SetsConfig()
    features: FeatureConfig
    training: Task4Training = Task4Training()
    second_pass: SecondPassConfig = SecondPassConfig()
    decoding: DecodingConfig = DecodingConfig()
    scoring: ScoringConfig = ScoringConfig()
    simulation: SimulationConfig = SimulationConfig()

    @model_validator(mode="after")
    def _parts_fit_together(self) -> Self:
        known = LAYOUTS[self.dataset.layout]
        unknown = [name for name in self.sets.names if name not in known]
        if unknown:
            raise ValueError(
                f"`sets` names subsets that the layout {self.dataset.layout} does not have:"
                f" {', '.join(unknown)}. Expected: some of {', '.join(known)}."
            )
        trained_on = {self.sets.train, self.sets.unlabelled} - {None}
        if self.sets.validate_on in trained_on:
            raise ValueError(f"`sets.validate_on` must not be a subset to train on: {trained_on}.")
        if trained_on & set(self.sets.test):
            raise ValueError("`sets.test` must not name a subset to train on.")
        self.decoding.check_classes(self.dataset.n_classes)
        return self

    @property
    def batch_sizes(self) -> list[int]:
        """Batch sizes of both passes."""
        return [self.pipeline.batch_size, self.second_pass.batch_size or self.pipeline.batch_size]

    @property
    def known_sets(self) -> list[str]:
        """All subsets of the layout."""
        return list(LAYOUTS[self.dataset.layout])

    @property
    def set_names(self) -> list[str]:
        """Subsets that the task reads."""
        return list(self.sets.names)

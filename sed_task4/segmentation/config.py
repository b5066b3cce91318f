"""Settings of time-frequency segmentation: one entry of `params.yaml`."""

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from common.settings.folds import FoldConfig
from common.settings.tasks import BaseTask, TrainingConfig
from sed_task4.decoding import DecodingConfig
from sed_task4.features import KINDS, FeatureConfig
from sed_task4.segmentation.dataset import DatasetConfig
from sed_task4.segmentation.score import PUBLISHED_DECODING, ScoringConfig
from sed_task4.segmentation.simulation.settings import SimulationConfig


class SegmentationTraining(TrainingConfig):
    """Training on the tags of mixtures."""

    monitor: Literal["map", "auc", "clip_macro_f"] = Field(
        "map", description="Validation score that stops training and chooses the model."
    )


class TaskConfig(BaseTask):
    """A task of time-frequency segmentation."""

    dataset: DatasetConfig = DatasetConfig()
    folds: tuple[FoldConfig, ...] = Field(min_length=1)
    features: FeatureConfig = FeatureConfig(kind="ln_mel_density")
    training: SegmentationTraining = SegmentationTraining()
    decoding: DecodingConfig = PUBLISHED_DECODING
    scoring: ScoringConfig = ScoringConfig()
    simulation: SimulationConfig = SimulationConfig()
    separated_clips: int = Field(
        1, ge=0, description="Test clips of a fold whose separated sounds are written and plotted."
    )

    @model_validator(mode="before")
    @classmethod
    def _published_decoding(cls, values: Any) -> Any:
        """Fills missing settings of the decoding with the published ones of this system."""
        if not isinstance(values, Mapping) or not isinstance(values.get("decoding"), Mapping):
            return values
        return {**values, "decoding": {**PUBLISHED_DECODING.model_dump(), **values["decoding"]}}

    @model_validator(mode="after")
    def _parts_fit_together(self) -> Self:
        if not self.features.entry.is_for_masks:
            kinds = " or ".join(name for name, kind in KINDS.items() if kind.is_for_masks)
            raise ValueError(f"`features.kind`: masks need {kinds}, not {self.features.kind}.")
        self.features.check(self.dataset.sample_rate_hz)
        frames = self.features.n_frames(self.dataset.clip_s)
        if self.pipeline.sequence_frames != frames:
            raise ValueError(
                "`pipeline.sequence_frames`: tags are of whole clips. Expected: their"
                f" {frames} frames. Received: {self.pipeline.sequence_frames}."
            )
        used = {number for fold in self.folds for number in fold.splits}
        unknown = sorted(used - set(range(1, self.dataset.n_folds + 1)))
        if unknown:
            raise ValueError(
                f"`folds` name {', '.join(map(str, unknown))}. Expected: folds of the mixtures, 1"
                f" to `dataset.n_folds` = {self.dataset.n_folds}."
            )
        if self.decoding.search_medians:
            raise ValueError(
                "`decoding.search_medians` needs strongly labelled validation clips, which mixtures"
                " are not trained with. Set it to false."
            )
        self.decoding.resolved(self.dataset.classes, self.features.hop_s)
        return self

    @property
    def decoding_keys(self) -> tuple[str, ...]:
        """The whole section."""
        return ("decoding",)

    def decoding_changes(
        self, threshold: float | None, changes: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Settings of a prediction that differ from those of the run."""
        return self.decoding.changed_section(threshold, changes)

    @property
    def clip_decoding(self) -> DecodingConfig:
        """Decoding with median lengths in frames, in the order of the classes."""
        return self.decoding.resolved(self.dataset.classes, self.features.hop_s)

    @property
    def known_sets(self) -> list[str]:
        """The only set of the dataset."""
        return ["mixtures"]

    @property
    def fold_names(self) -> list[str]:
        """Names of the folds, in order."""
        return [fold.name for fold in self.folds]

    @property
    def set_names(self) -> list[str]:
        """The only set that the task reads."""
        return ["mixtures"]

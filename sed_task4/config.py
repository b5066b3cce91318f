"""Settings of a sound event detection task (DCASE task 4): one entry of `params.yaml`."""

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from common.settings.augmentation import FeatureAugmentation
from common.settings.batch_augmentation import BatchAugmentation
from common.settings.mean_teacher import MeanTeacherConfig
from common.settings.section import Section
from common.settings.tasks import BaseTask, TrainingConfig
from sed_task4.clips.layouts import (
    LAYOUTS,
    MAESTRO_EVALUATED,
    Kind,
    evaluated_classes,
    has_windows,
    masks_classes,
)
from sed_task4.dataset import DatasetConfig
from sed_task4.decoding import DecodingConfig
from sed_task4.features import FeatureConfig
from sed_task4.scores.systems import ScoringConfig
from sed_task4.simulation.settings import SimulationConfig


class PartConfig(Section):
    """Part of each training batch: a number of clips of some subsets."""

    name: str = Field(min_length=1, description="Name of the part, for `epoch_part` and the log.")
    subsets: tuple[str, ...] = Field(min_length=1, description="Subsets that its clips are of.")
    batch_size: int = Field(ge=1, description="Clips of the part in each batch.")
    labels: Literal["weak", "strong", "soft", "none"] = Field(
        description=(
            "Labels that are learned: weak: of clips; strong: of frames; soft: of frames, with"
            " their confidence; none: unlabelled."
        )
    )
    clip_labels: bool = Field(
        True,
        description=(
            "strong and soft: also learn labels of clips, which follow from those of the events."
        ),
    )
    validation_fraction: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Part of each of its subsets that validates, drawn once, by group.",
    )

    @property
    def unknown(self) -> tuple[str, ...]:
        """Arrays of a record whose labels are not learned: `activity` of frames, `tags`."""
        if self.labels == "none":
            return "activity", "tags"
        if self.labels == "weak":
            return ("activity",)
        return () if self.clip_labels else ("tags",)


# By kind of the labels of a subset, the labels that a part may learn of it.
_LEARNABLE: Mapping[Kind, tuple[str, ...]] = {
    "weak": ("weak", "none"),
    "strong": ("strong", "weak", "none"),
    "soft": ("soft", "weak", "none"),
    "unlabelled": ("none",),
}
_OF_KIND: Mapping[Kind, str] = {
    "weak": "weakly labelled",
    "strong": "strongly labelled",
    "soft": "softly labelled",
    "unlabelled": "unlabelled",
}


class SetsConfig(Section):
    """Subsets for training, validation, test and statistics."""

    train: str = Field("weak", description="Subset to train on, without `parts`.")
    parts: tuple[PartConfig, ...] = Field(
        (),
        description=(
            "Parts of each training batch, in this order; they take the place of `train`, of"
            " `validation_fraction` and of `pipeline.batch_size`. `pipeline.last_batch` keep fills."
        ),
    )
    epoch_part: str | None = Field(
        None,
        description=(
            "Part whose passes are the epochs; null (published): the one with the fewest batches."
        ),
    )
    unlabelled: str | None = Field(
        None, description="Subset that gets pseudo-labels, and that the second pass trains on."
    )
    validate_on: str | None = Field(
        None,
        description=(
            "Validation subset; null: a part of `train`. With `parts`, beside what they hold out."
        ),
    )
    validation_fraction: float = Field(
        0.2,
        ge=0,
        lt=1,
        description=(
            "Part of `train` to validate on if `validate_on` is null, drawn once, by group;"
            " 0: none, and the scores of training clips decide. `parts` have their own."
        ),
    )
    test: tuple[str, ...] = Field(
        ("validation",), min_length=1, description="Subsets to predict and score."
    )
    statistics: tuple[str, ...] = Field(
        ("weak",), min_length=1, description="Subsets that give mean and standard deviation."
    )

    @model_validator(mode="after")
    def _parts_differ(self) -> Self:
        names = [part.name for part in self.parts]
        if len(set(names)) < len(names):
            raise ValueError(f"`sets.parts` have different names. Received: {names}.")
        if self.epoch_part not in (None, *names):
            expected = ", ".join(names) or "null, as there are no `sets.parts`"
            raise ValueError(
                f"`sets.epoch_part` names a part. Expected: {expected}. Received:"
                f" {self.epoch_part!r}."
            )
        known: dict[str, float] = {}
        for part in self.parts:
            for subset in part.subsets:
                if known.setdefault(subset, part.validation_fraction) != part.validation_fraction:
                    raise ValueError(
                        f"{subset} is in several `sets.parts`. Expected: one `validation_fraction`"
                        f" in all of them. Received: {known[subset]}, {part.validation_fraction}."
                    )
        return self

    @property
    def part_sizes(self) -> dict[str, int]:
        """By name, the clips of each part of a batch, in their order; empty: no parts."""
        return {part.name: part.batch_size for part in self.parts}

    @property
    def fractions(self) -> dict[str, float]:
        """By subset, the fraction of its clips that is drawn to validate on; others hold none."""
        if self.parts:
            fractions = {
                subset: part.validation_fraction for part in self.parts for subset in part.subsets
            }
            return {subset: fraction for subset, fraction in fractions.items() if fraction > 0}
        if self.validate_on is None and self.validation_fraction > 0:
            return {self.train: self.validation_fraction}
        return {}

    @property
    def holds_out(self) -> bool:
        """True if clips of a subset to train on are drawn to validate on."""
        return bool(self.fractions)

    @property
    def validating_apart(self) -> tuple[str, ...]:
        """Subsets with clips that validate and are not learned from, held out or whole."""
        return (*self.fractions, *([self.validate_on] if self.validate_on else []))

    @property
    def validating(self) -> tuple[str, ...]:
        """Subsets with clips that validate; without any apart, those learned."""
        return self.validating_apart or self.learned

    @property
    def learned(self) -> tuple[str, ...]:
        """Subsets that are trained on, labelled or not, deduplicated."""
        labelled = [subset for part in self.parts for subset in part.subsets] or [self.train]
        return tuple(dict.fromkeys([*labelled, *([self.unlabelled] if self.unlabelled else [])]))

    @property
    def names(self) -> tuple[str, ...]:
        """All subsets that are read, deduplicated."""
        named = (*self.learned, self.validate_on, *self.test, *self.statistics)
        return tuple(dict.fromkeys(name for name in named if name is not None))


class Task4Training(TrainingConfig):
    """Training of a network with a clip-level and a frame-level output."""

    monitor: Literal[
        "map",
        "clip_macro_f",
        "event_macro_f",
        "segment_macro_f",
        "intersection_macro_f",
        "weak_and_event_f",
        "weak_and_intersection_f",
        "weak_intersection_and_maestro_best_f",
        "weak_intersection_and_maestro_auc",
        "weak_intersection_and_maestro_pauc",
    ] = Field(
        "map",
        description="Validation score that stops training and chooses the model. weak_and_event_f"
        " (2019): F of the tags of weakly labelled clips plus event-based F of strongly labelled"
        " ones; weak_and_intersection_f (from 2021 on): plus the intersection-based one;"
        " weak_intersection_and_maestro_best_f (2024): plus the macro F of one-second segments of"
        " MAESTRO's recordings, at the best threshold of each class; ..._auc, ..._pauc: plus the"
        " mean area under their ROC curves, whole or up to a rate of 0.1. A sort of the seconds of"
        " the windows that validate, so that each epoch has it.",
    )
    teacher: MeanTeacherConfig | None = Field(
        None, description="Teacher of the system mean_teacher; null: only the network itself."
    )
    feature_augmentation: FeatureAugmentation = Field(
        default_factory=FeatureAugmentation,
        description="Changes of levels, shifts of bands, and cutouts.",
    )
    batch_augmentation: BatchAugmentation = Field(
        BatchAugmentation(),
        description="Changes of the batches of the system mean_teacher, in the model.",
    )
    loss: Literal["cross_entropy", "asymmetric_focal"] = Field(
        "cross_entropy",
        description="Loss of the system mean_teacher; asymmetric_focal: see `focal_powers`.",
    )
    focal_powers: tuple[float, float] = Field(
        (0.0, 1.0),
        description="Exponents of the asymmetric focal loss: of active entries, of inactive ones.",
    )
    clip_loss_weight: float = Field(
        1.0,
        ge=0,
        description="Weight of the clip-level loss of the system mean_teacher against the"
        " frame-level one; FDY-SED: 0.5.",
    )

    @property
    def of_mean_teacher(self) -> list[str]:
        """Settings that only the system mean_teacher reads and that are not the defaults."""
        names = ("teacher", "batch_augmentation", "loss", "focal_powers", "clip_loss_weight")
        default = type(self)()
        return [name for name in names if getattr(self, name) != getattr(default, name)]


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
    second_pass: SecondPassConfig | None = Field(
        SecondPassConfig(),
        description="Second pass of the system crnn_two_pass; null: the first pass alone, which"
        " needs no `sets.unlabelled`.",
    )
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
        trained_on = set(self.sets.learned)
        self._check_labels_of_parts()
        if "intersection" in self.training.monitor and not self.scoring.intersection_f:
            raise ValueError(
                f"`training.monitor: {self.training.monitor}` needs `scoring.intersection_f: true`."
            )
        self._check_data_sets()
        if self.sets.validate_on in trained_on:
            raise ValueError(f"`sets.validate_on` must not be a subset to train on: {trained_on}.")
        if trained_on & set(self.sets.test):
            raise ValueError("`sets.test` must not name a subset to train on.")
        if self.features.entry.is_linear and self.pipeline.padding == "mean":
            raise ValueError(
                f"`pipeline.padding: mean` does not fit the magnitudes of {self.features.kind}."
                " Expected: repeat; `features.pad_value` says how clips are padded."
            )
        if self.second_pass is None and self.sets.unlabelled:
            raise ValueError(
                "`second_pass: null` learns from no unlabelled clips. Expected: `sets.unlabelled:"
                " null`, and `sets.statistics` of labelled subsets. Received:"
                f" {self.sets.unlabelled}."
            )
        self.decoding.resolved(self.dataset.classes, self.features.hop_s)
        return self

    @property
    def later_pass(self) -> SecondPassConfig:
        """Settings of a second pass where there is one; else the defaults, which nothing reads."""
        return self.second_pass or SecondPassConfig()

    def _check_labels_of_parts(self) -> None:
        places = LAYOUTS[self.dataset.layout]
        for part in self.sets.parts:
            for subset in part.subsets:
                kind = places[subset].kind
                if part.labels not in _LEARNABLE[kind]:
                    raise ValueError(
                        f"`sets.parts`: {part.name} cannot learn {part.labels} labels of {subset},"
                        f" whose clips are {_OF_KIND[kind]}. Expected: `labels` of"
                        f" {' or '.join(_LEARNABLE[kind])}."
                    )

    def _check_data_sets(self) -> None:
        """Refuses settings that need clips of MAESTRO, or labels of all classes, without these."""
        layout, monitor = self.dataset.layout, self.training.monitor
        if self.decoding.search_thresholds and masks_classes(layout):
            raise ValueError(
                "`decoding.search_thresholds` needs clips whose tags of all classes are known."
                f" Expected: false. Received: true, in the layout {layout}, where each data set has"
                " classes of its own."
            )
        if "maestro" not in monitor:
            return
        validating = list(self.sets.validating_apart)
        if not any(has_windows(layout, name) for name in validating):
            windows = [name for name in LAYOUTS[layout] if has_windows(layout, name)]
            raise ValueError(
                f"`training.monitor: {monitor}` needs windows of MAESTRO that validate. Expected:"
                f" `validation_fraction` of {windows or 'subsets of the layout desed2024'}, or"
                f" another monitor. Received: {validating}."
            )
        if not evaluated_classes(layout, self.dataset.classes)[1]:
            raise ValueError(
                f"`training.monitor: {monitor}` needs evaluated classes of MAESTRO in"
                f" `dataset.classes`. Expected: some of {', '.join(MAESTRO_EVALUATED)}."
            )

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
    def batch_sizes(self) -> list[int]:
        """Batch sizes of both passes, or of the parts, which devices share evenly."""
        second = self.second_pass
        later: list[int] = [] if second is None else [second.batch_size or self.pipeline.batch_size]
        if self.sets.parts:
            later = later if self.sets.unlabelled else []
            return [*(part.batch_size for part in self.sets.parts), *later]
        return [self.pipeline.batch_size, *later]

    @property
    def batch_text(self) -> str:
        """Batch sizes in words, e.g. "6 weak + 12 unlabelled + 6 strong" of parts."""
        parts = " + ".join(f"{part.batch_size} {part.name}" for part in self.sets.parts)
        return parts or super().batch_text

    @property
    def known_sets(self) -> list[str]:
        """All subsets of the layout."""
        return list(LAYOUTS[self.dataset.layout])

    @property
    def set_names(self) -> list[str]:
        """Subsets that the task reads."""
        return list(self.sets.names)

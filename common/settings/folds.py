"""Settings of folds: training, validation and test splits of a dataset."""

from typing import Self

from pydantic import Field, model_validator

from common.settings.section import Section


class FoldConfig(Section):
    """One division into training, validation and test set, by numbers of the dataset's splits."""

    name: str = Field(
        min_length=1,
        pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.-]*$",
        description="Name of the fold, and of its folder in a run.",
    )
    train: tuple[int, ...] = Field(min_length=1, description="Splits to train on.")
    validate_on: tuple[int, ...] = Field(
        description="Splits whose scores stop training and choose the model; []: those of `train`."
    )
    test: tuple[int, ...] = Field(min_length=1, description="Splits to predict and score.")
    validate_on_test: bool = Field(
        False,
        description="Validate on the test splits, as published for two systems."
        " With `training.choose: best` they choose the model, and its scores are too good.",
    )

    @property
    def decisive(self) -> tuple[int, ...]:
        """Splits whose scores stop training and choose the model."""
        return self.validate_on or self.train

    @property
    def splits(self) -> set[int]:
        """All splits of the fold."""
        return {*self.train, *self.validate_on, *self.test}

    @model_validator(mode="after")
    def _splits_are_disjoint(self) -> Self:
        if self.validate_on_test and set(self.validate_on) != set(self.test):
            raise ValueError(
                f"fold {self.name!r}: with `validate_on_test` both must name the same splits. "
                f"Received: validate_on {list(self.validate_on)}, test {list(self.test)}."
            )
        used = [*self.train, *self.test, *([] if self.validate_on_test else self.validate_on)]
        shared = sorted({split for split in used if used.count(split) > 1})
        if shared:
            raise ValueError(
                f"fold {self.name!r} uses split {', '.join(map(str, shared))} more than once."
                " Expected: a split serves as train, validate_on or test, not as two of them."
                f" Received: train {list(self.train)}, validate_on {list(self.validate_on)}, test"
                f" {list(self.test)}."
            )
        return self

"""Settings of shards and of the stream of training batches (kept apart: reading settings must not
load TensorFlow)."""

from typing import Literal

from pydantic import Field, model_validator

from common.settings.section import Section


class PipelineConfig(Section):
    """How recordings are stored in shards and cut, shuffled and batched for training."""

    sequence_frames: int = Field(128, ge=1, description="Frames of one training sequence.")
    sequence_hop_frames: int | None = Field(
        None,
        ge=1,
        description=(
            "Frames between the starts of training sequences; null: side by side, moved at random."
        ),
    )
    whole_recordings: bool = Field(
        False, description="Validate and test on whole recordings instead of sequences."
    )
    batch_size: int = Field(16, ge=1, description="Sequences of one batch.")
    shuffle_buffer_mb: float | None = Field(
        None,
        gt=0,
        description=(
            "Size of the sequences among which the next is drawn; null: all of them, as published."
            " They stay on disk until then: a number below the free memory lets a slow disk read"
            " overlapping sequences once."
        ),
    )
    last_batch: Literal["keep", "fill", "drop"] = Field(
        "keep",
        description=(
            "Last sequences of a pass that do not fill a batch: keep: a smaller batch | fill: a"
            " whole one, with sequences from the start of the pass | drop: none. Where devices or"
            " processes share batches, keep fills."
        ),
    )
    interleave: int = Field(8, ge=8, description="Shards that are read in turns.")
    recordings_per_shard: int = Field(1, ge=1, description="Recordings in one TFRecord file.")
    padding: Literal["repeat", "mean"] = Field(
        "repeat",
        description=(
            "Frames after the end of a recording: its last one, or the mean of the training"
            " features. With `features.frontend: device` they are those of digital silence, and"
            " `mean` cannot be had."
        ),
    )
    cache: bool = Field(
        False, description="Hold the training features in memory, in the type they are stored in."
    )

    @model_validator(mode="after")
    def _sequences_leave_no_gaps(self) -> "PipelineConfig":
        if self.sequence_hop_frames is not None and self.sequence_hop_frames > self.sequence_frames:
            raise ValueError(
                "`sequence_hop_frames` must be at most `sequence_frames`, or frames between two"
                f" sequences are never seen. Expected: 1 to {self.sequence_frames}. Received:"
                f" {self.sequence_hop_frames}."
            )
        return self

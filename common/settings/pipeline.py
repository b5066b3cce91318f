"""Settings of shards and of the input pipeline, readable without TensorFlow."""

from typing import Literal

from pydantic import Field, model_validator

from common.settings.section import Section


class PipelineConfig(Section):
    """Storage of recordings in shards; cutting, shuffling and batching for training."""

    sequence_frames: int = Field(128, ge=1, description="Length of a training sequence in frames.")
    sequence_hop_frames: int | None = Field(
        None,
        ge=1,
        description="Hop of training sequences in frames;"
        " null: no overlap, and the first start is drawn at random in each pass.",
    )
    whole_recordings: bool = Field(
        False, description="Validate and test on whole recordings instead of sequences."
    )
    batch_size: int = Field(16, ge=1, description="Sequences in a batch.")
    shuffle_buffer_mb: float | None = Field(
        None,
        gt=0,
        description="Buffer in MB that sequences are drawn from; null: all, as published."
        " Below the free memory, overlapping sequences are read from a slow disk only once.",
    )
    last_batch: Literal["keep", "fill", "drop"] = Field(
        "keep",
        description="Incomplete last batch of a pass: keep; fill: with its first sequences; drop."
        " Where devices or processes share batches, keep fills.",
    )
    interleave: int = Field(8, ge=8, description="Number of shards that are read in turn.")
    recordings_per_shard: int = Field(1, ge=1, description="Recordings in one TFRecord file.")
    padding: Literal["repeat", "mean"] = Field(
        "repeat",
        description="Padding after the end of a recording: its last frame, or the mean of training."
        " `features.frontend: device` pads with silence and does not allow mean.",
    )
    cache: bool = Field(False, description="Keep training features in memory, in the stored type.")

    @model_validator(mode="after")
    def _sequences_leave_no_gaps(self) -> "PipelineConfig":
        if self.sequence_hop_frames is not None and self.sequence_hop_frames > self.sequence_frames:
            raise ValueError(
                "`sequence_hop_frames` must not exceed `sequence_frames`, or frames are left out."
                f" Expected: 1 to {self.sequence_frames}. Received: {self.sequence_hop_frames}."
            )
        return self

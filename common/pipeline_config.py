"""Settings of shards and of the stream of training batches (kept apart: reading settings must not load TensorFlow)."""

from typing import Literal

from pydantic import Field

from common.section import Section


class PipelineConfig(Section):
    """How recordings are stored in shards and cut, shuffled and batched for training."""

    sequence_frames: int = Field(128, ge=1, description="Frames of one training sequence.")
    batch_size: int = Field(16, ge=1, description="Sequences of one batch.")
    shuffle_buffer_mb: float = Field(1024, gt=0, description="Memory in which sequences are shuffled.")
    interleave: int = Field(8, ge=8, description="Shards that are read in turns.")
    recordings_per_shard: int = Field(1, ge=1, description="Recordings in one TFRecord file.")
    padding: Literal["repeat", "mean"] = Field(
        "repeat", description="Frames after the end of a recording: its last one, or the mean of the training features."
    )
    cache: bool = Field(False, description="Hold the training features in memory, in the type they are stored in.")

"""Which recordings a stage trains on, validates on and is tested on, and their streams."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.feature_store import FeatureStore
from common.pipeline import batches_per_pass, evaluation_stream, train_stream
from common.pipeline_config import PipelineConfig
from common.system import Stage
from common.training import StageData
from common.transforms import ChannelTransforms


@dataclass(frozen=True)
class Selection:
    """Recordings of one store.

    Attributes:
        store: the extracted features.
        groups: the groups (splits, subsets) wanted; each must be in the store.
    """

    store: FeatureStore
    groups: tuple[str, ...]

    @classmethod
    def among(cls, stores: Sequence[FeatureStore], groups: Sequence[Any]) -> "Selection":
        """Finds the store that holds the groups; the first one complains if none does."""
        names = tuple(str(group) for group in groups)
        holding = [store for store in stores if set(names) <= set(store.groups)]
        return cls((holding or list(stores))[0], names)

    @property
    def shards(self) -> list[Path]:
        """The shards, sorted."""
        return self.store.shards(self.groups)

    @property
    def frames(self) -> list[int]:
        """Feature frames of each recording."""
        return self.store.frames(self.groups)

    def recordings(self, stage: Stage, pipeline: PipelineConfig, interleaved_channels: bool = False) -> Any:
        """Streams whole recordings in order, see `common.pipeline.evaluation_stream`."""
        return evaluation_stream(
            self.shards,
            self.store.schema,
            stage.targets,
            sequence_frames=pipeline.sequence_frames,
            target_stride=stage.target_stride,
            interleaved_channels=interleaved_channels,
        )


def stage_data(
    stage: Stage,
    train: Selection,
    validation: Selection,
    statistics: tuple[np.ndarray, np.ndarray],
    pipeline: PipelineConfig,
    seed: int,
    *,
    transforms: ChannelTransforms | None = None,
    interleaved_channels: bool = False,
) -> StageData:
    """Joins what a stage learns from.

    Args:
        stage: says which targets it wants.
        train: recordings to train on.
        validation: recordings whose scores decide.
        statistics: mean and deviation of the features, (F, C) each.
        pipeline: sizes of sequences, batches and buffers.
        seed: of the order.
        transforms: augmentation, drawn anew for each sequence.
        interleaved_channels: see `common.pipeline.train_stream`.

    Raises:
        DataError: a group is missing, or the recordings do not fill one batch.
    """
    n_batches = batches_per_pass(train.frames, pipeline.sequence_frames, pipeline.batch_size)

    def batches(done: int) -> Any:
        stream = train_stream(
            train.shards,
            train.store.schema,
            stage.targets,
            sequence_frames=pipeline.sequence_frames,
            batch_size=pipeline.batch_size,
            shuffle_buffer_mb=pipeline.shuffle_buffer_mb,
            seed=seed,
            first_pass=done // n_batches,
            target_stride=stage.target_stride,
            transforms=transforms,
            interleaved_channels=interleaved_channels,
            interleave=pipeline.interleave,
            cache=pipeline.cache,
        )
        return stream.skip(done % n_batches)

    mean, deviation = statistics
    return StageData(
        batches=batches,
        batches_per_pass=n_batches,
        validation=validation.recordings(stage, pipeline, interleaved_channels),
        shape=(None, *mean.shape),
        mean=mean,
        deviation=deviation,
    )

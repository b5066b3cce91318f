"""Data of a stage: its training batches, and streams of the recordings that are scored."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from common.data.augmentation import Augmentation
from common.data.pipeline import batches_per_epoch, evaluation_stream, parts_stream
from common.data.selection import BatchParts, Selection
from common.data.sequences import SequenceFormat
from common.features.frontend import Frontend, context_frames
from common.runtime.distribution import n_sharing
from common.runtime.multi_host import world
from common.settings.pipeline import PipelineConfig
from common.settings.tasks import TrainingConfig
from common.training.stage import ScoredSets, StageData
from common.training.system import Stage

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelInput:
    """Form in which a model takes the features of recordings.

    Attributes:
        frontend: features that the model computes from audio; None: it takes stored features.
        interleaved_channels: order the channels as the published SELDnet did, see
            `common.data.sequences.SequenceFormat`; a frontend does it by itself.
        augmentation: random changes of the training sequences; None: none.
        levels: makes the layers between features and statistics, see `StageData`.
    """

    frontend: Frontend | None = None
    interleaved_channels: bool | int = False
    augmentation: Augmentation | None = None
    levels: Callable[[], Sequence[Any]] = tuple

    def sequence_format(self, stage: Stage, padding: np.ndarray | None = None) -> SequenceFormat:
        """Arrays for the model of a stage; `padding`: features (F, C) outside a recording."""
        interleaved = self.interleaved_channels and self.frontend is None
        context = context_frames(self.frontend)
        made = stage.event_targets
        return SequenceFormat(
            stage.targets,
            stage.target_stride,
            interleaved,
            padding,
            context,
            made,
            inputs=stage.inputs,
        )


def stage_data(
    stage: Stage,
    train: Selection | BatchParts,
    validation: Selection,
    statistics: tuple[np.ndarray, np.ndarray],
    pipeline: PipelineConfig,
    seed: int,
    training: TrainingConfig | None = None,
    inputs: ModelInput | None = None,
) -> StageData:
    """Joins the data of a stage.

    Args:
        stage: its targets.
        train: recordings to train on, or the parts that batches consist of, whose numbers of rows
            take the place of the batch size.
        validation: recordings whose scores decide.
        statistics: mean and standard deviation of the features, (F, C) each.
        pipeline: sizes of sequences, batches and buffers.
        seed: of the order, and of the draw of recordings that are scored.
        training: number of scored recordings; None: all of `validation`, none of `train`.
        inputs: form of the features; None: as they are stored.

    Raises:
        DataError: a group is missing, or the recordings do not fill one batch, or a part its rows.
    """
    mean, std = statistics
    training, inputs = training or TrainingConfig(), inputs or ModelInput()
    sequence_format = inputs.sequence_format(stage, mean if pipeline.padding == "mean" else None)
    parts = train if isinstance(train, BatchParts) else BatchParts.of(train, pipeline.batch_size)
    parts = replace(parts, number_output=stage.part_target)
    n_batches = batches_per_epoch(parts, pipeline)

    def batches(trained: int) -> Any:
        return parts_stream(
            parts,
            sequence_format,
            _shared(pipeline),  # inside: the devices are those of the training
            seed=seed,
            first_batch=trained,
            augmentation=inputs.augmentation,
            world=world(),
            n_devices=n_sharing(),
        )

    def drawn(draw: int) -> dict[str, Any]:
        own_seed = seed if draw == 0 else (seed, draw)
        scored = {"val": validation.sample(training.validation_recordings, own_seed)}
        if training.training_recordings != 0:
            scored["train"] = parts.recordings.sample(training.training_recordings, own_seed)
        stream = partial(evaluation_stream, sequence_format=sequence_format, pipeline=pipeline)
        return {prefix: stream(selection) for prefix, selection in scored.items()}

    sets = ScoredSets(drawn, training.redraw_recordings)
    shape = (None, *mean.shape)
    return StageData(batches, n_batches, sets, shape, mean, std, inputs.frontend, inputs.levels)


def _shared(pipeline: PipelineConfig) -> PipelineConfig:
    """Settings of the stream: devices that share each batch get whole ones."""
    if pipeline.last_batch != "keep" or n_sharing() == 1:
        return pipeline
    logger.info("The last batch of each pass is filled: %d devices share every batch.", n_sharing())
    return pipeline.model_copy(update={"last_batch": "fill"})

"""Data of a stage: its training batches, and streams of the recordings that are scored."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from common.data.augmentation import Augmentation
from common.data.pipeline import evaluation_stream, train_stream
from common.data.selection import Selection
from common.data.sequences import SequenceFormat, batches_per_pass
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
            stage.targets, stage.target_stride, interleaved, padding, context, made
        )


def stage_data(
    stage: Stage,
    train: Selection,
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
        train: recordings to train on.
        validation: recordings whose scores decide.
        statistics: mean and standard deviation of the features, (F, C) each.
        pipeline: sizes of sequences, batches and buffers.
        seed: of the order, and of the draw of recordings that are scored.
        training: number of scored recordings; None: all of `validation`, none of `train`.
        inputs: form of the features; None: as they are stored.

    Raises:
        DataError: a group is missing, or the recordings do not fill one batch.
    """
    mean, std = statistics
    training, inputs = training or TrainingConfig(), inputs or ModelInput()
    sequence_format = inputs.sequence_format(stage, mean if pipeline.padding == "mean" else None)
    n_batches = batches_per_pass(train.frames, pipeline)

    def batches(trained: int) -> Any:
        stream = train_stream(
            train,
            sequence_format,
            _shared(pipeline),  # inside: the devices are those of the training
            seed=seed,
            first_pass=trained // n_batches,
            augmentation=inputs.augmentation,
            world=world(),
        )
        return stream.skip(trained % n_batches)

    def drawn(draw: int) -> dict[str, Any]:
        own_seed = seed if draw == 0 else (seed, draw)
        scored = {"val": validation.sample(training.validation_recordings, own_seed)}
        if training.training_recordings != 0:
            scored["train"] = train.sample(training.training_recordings, own_seed)
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

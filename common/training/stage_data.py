"""Which recordings a stage trains on, validates on and is tested on, and their streams."""

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.data.feature_store import FeatureStore, ShardEntry
from common.data.pipeline import evaluation_stream, train_stream
from common.data.sequences import LastBatch, batches_per_pass
from common.errors import DataError
from common.features.channel_transforms import ChannelTransforms
from common.features.frontend import Frontend, context_frames
from common.runtime.distribution import n_sharing
from common.runtime.multi_host import place
from common.settings.pipeline import PipelineConfig
from common.settings.tasks import TrainingConfig
from common.training.stage import ScoredSets, StageData
from common.training.system import Stage

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Selection:
    """Recordings of one store.

    Attributes:
        store: the extracted features.
        groups: the groups (splits, subsets) wanted; each must be in the store.
        names: only these recordings of the groups; None: all.
        label_shards: shards whose arrays replace those of the recordings, see
            `common.data.pipeline.train_stream`, each with the file name of the shard whose labels it
            replaces.
    """

    store: FeatureStore
    groups: tuple[str, ...]
    names: frozenset[str] | None = None
    label_shards: tuple[Path, ...] = ()

    @classmethod
    def among(cls, stores: Sequence[FeatureStore], groups: Sequence[Any]) -> "Selection":
        """Finds the store that holds the groups, or joins those that hold some; the first complains
        if none does."""
        names = tuple(str(group) for group in groups)
        holding = [store for store in stores if set(names) <= set(store.groups)]
        parts = [store for store in stores if set(names) & set(store.groups)]
        if not holding and len(parts) > 1:
            holding = [FeatureStore.joined(parts)]
        return cls((holding or list(stores))[0], names)

    @property
    def shards(self) -> list[Path]:
        """The shards that hold wanted recordings, sorted."""
        return [self.store.path(entry) for entry in self._entries()]

    @property
    def frames(self) -> list[int]:
        """Feature frames of each wanted recording."""
        return [
            frames
            for entry in self._entries()
            for name, frames in zip(entry.names, entry.frames, strict=True)
            if self._wants(name)
        ]

    @property
    def recording_names(self) -> list[str]:
        """The wanted recordings in the order in which `recordings` streams them."""
        return [name for entry in self._entries() for name in entry.names if self._wants(name)]

    @property
    def matched_label_shards(self) -> list[Path] | None:
        """The label shards parallel to `shards`; None: the labels are those of the recordings.

        Raises:
            DataError: a shard has none, or two.
        """
        if not self.label_shards:
            return None
        by_name = {path.name: path for path in self.label_shards}
        lacking = [path.name for path in self.shards if path.name not in by_name]
        if lacking or len(by_name) < len(self.label_shards):
            raise DataError(
                f"Expected: label shards with the file names of the {len(self.shards)} shards of"
                f" features, each once. Received: {len(self.label_shards)} with {len(by_name)}"
                f" names; without labels: {lacking[:5]}."
            )
        return [by_name[path.name] for path in self.shards]

    def sample(self, n_recordings: int | None, seed: int | tuple[int, ...]) -> "Selection":
        """Draws recordings at random, each at most once; the same for the same seed, whatever their
        order.

        Args:
            n_recordings: how many, at least 1; None, or if there are no more: all.
            seed: of the draw.
        """
        names = sorted(self.recording_names)
        if n_recordings is None or n_recordings >= len(names):
            return self
        drawn = np.random.default_rng(seed).choice(len(names), n_recordings, replace=False)
        return dataclasses.replace(self, names=frozenset(names[number] for number in drawn))

    def recordings(
        self,
        stage: Stage,
        pipeline: PipelineConfig,
        interleaved_channels: bool = False,
        padding: np.ndarray | None = None,
        frontend: Frontend | None = None,
    ) -> Any:
        """Streams whole recordings in order, see `common.data.pipeline.evaluation_stream`.

        Args:
            stage: says which targets it wants.
            pipeline: length of the sequences, or that recordings stay whole.
            interleaved_channels: see `common.data.pipeline.train_stream`.
            padding: the mean of the features, where `pipeline.padding` is "mean".
            frontend: what the model computes of audio; None: it takes features.
        """
        return evaluation_stream(
            self.shards,
            self.store.schema,
            stage.targets,
            sequence_frames=pipeline.sequence_frames,
            whole_recordings=pipeline.whole_recordings,
            target_stride=stage.target_stride,
            interleaved_channels=interleaved_channels and frontend is None,
            names=self.names,
            label_shards=self.matched_label_shards,
            padding=padding,
            context_frames=context_frames(frontend),
        )

    def _wants(self, name: str) -> bool:
        return self.names is None or name in self.names

    def _entries(self) -> list[ShardEntry]:
        return [
            entry
            for entry in self.store.selected(self.groups)
            if any(map(self._wants, entry.names))
        ]


def stage_data(
    stage: Stage,
    train: Selection,
    validation: Selection,
    statistics: tuple[np.ndarray, np.ndarray],
    pipeline: PipelineConfig,
    seed: int,
    *,
    training: TrainingConfig | None = None,
    transforms: ChannelTransforms | None = None,
    interleaved_channels: bool = False,
    frontend: Frontend | None = None,
) -> StageData:
    """Joins what a stage learns from.

    Args:
        stage: says which targets it wants.
        train: recordings to train on.
        validation: recordings whose scores decide.
        statistics: mean and deviation of the features, (F, C) each.
        pipeline: sizes of sequences, batches and buffers.
        seed: of the order, and of the draw of recordings that are scored.
        training: how many recordings of both selections are scored; None: all of `validation`, none
            of `train`.
        transforms: augmentation, drawn anew for each sequence.
        interleaved_channels: see `common.data.pipeline.train_stream`; a frontend does it by itself.
        frontend: what the model computes of audio; None: the store holds features.

    Raises:
        DataError: a group is missing, or the recordings do not fill one batch.
    """
    (mean, deviation), training = statistics, training or TrainingConfig()
    padding = mean if pipeline.padding == "mean" else None
    label_shards = train.matched_label_shards
    n_batches = batches_per_pass(
        train.frames,
        pipeline.sequence_frames,
        pipeline.batch_size,
        pipeline.sequence_hop_frames,
        pipeline.last_batch,
    )

    def batches(done: int) -> Any:
        stream = train_stream(
            train.shards,
            train.store.schema,
            stage.targets,
            sequence_frames=pipeline.sequence_frames,
            batch_size=pipeline.batch_size,
            sequence_hop_frames=pipeline.sequence_hop_frames,
            last_batch=_last_batch(pipeline),
            shuffle_buffer_mb=pipeline.shuffle_buffer_mb,
            seed=seed,
            first_pass=done // n_batches,
            target_stride=stage.target_stride,
            transforms=transforms,
            interleaved_channels=interleaved_channels and frontend is None,
            interleave=pipeline.interleave,
            cache=pipeline.cache,
            names=train.names,
            label_shards=label_shards,
            padding=padding,
            context_frames=context_frames(frontend),
            place=place(),
        )
        return stream.skip(done % n_batches)

    def drawn(draw: int) -> dict[str, Any]:
        counts = {
            "val": (validation, training.validation_recordings),
            "train": (train, training.training_recordings),
        }
        return {
            prefix: (
                selection.sample(n_recordings, seed if draw == 0 else (seed, draw)).recordings(
                    stage, pipeline, interleaved_channels, padding, frontend
                )
            )
            for prefix, (selection, n_recordings) in counts.items()
            if n_recordings != 0
        }

    return StageData(
        batches=batches,
        batches_per_pass=n_batches,
        sets=ScoredSets(drawn, training.redraw_recordings),
        shape=(None, *mean.shape),
        mean=mean,
        deviation=deviation,
        frontend=frontend,
    )


def _last_batch(pipeline: PipelineConfig) -> LastBatch:
    """How a pass ends: as the settings say, but devices that share each batch get whole ones."""
    if pipeline.last_batch == "keep" and n_sharing() > 1:
        logger.info(
            "The last batch of each pass is filled: %d devices share every batch.", n_sharing()
        )
        return "fill"
    return pipeline.last_batch

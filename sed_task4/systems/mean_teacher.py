"""Mean teacher: baselines of DCASE task 4 from 2019 to 2024, and FDY-SED.

One network, `sed_task4.systems._mean_teacher_network`, learns from weakly labelled, unlabelled and
strongly labelled clips at once: a student from the labels, and from the outputs of a teacher that
is the running mean of its weights. Without `training.teacher` the network learns alone, from
the labels.
"""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from common.models.losses import (
    LOG_FLOOR,
    AsymmetricFocalLoss,
    MaskedBinaryCrossentropy,
    MaskedMean,
)
from common.training.mean_teacher import build_augmented
from common.training.system import ModelParts, Stage
from sed_task4.systems._mean_teacher_network import (
    NetworkConfig,
    build_model,
    check_network,
    published_state,
    torch_names,
)
from sed_task4.systems._outputs import clip_outputs

__all__ = [
    "CHANGES_BATCHES",
    "NetworkConfig",
    "build_model",
    "check_network",
    "probabilities",
    "published_state",
    "stages",
    "torch_names",
]
CHANGES_BATCHES = True  # takes `training.teacher`, `training.batch_augmentation` and the losses


def stages(task: Any) -> list[Stage]:
    """Lists the one training of the system.

    Args:
        task: a task's settings, `sed_task4.config.TaskConfig`.

    Returns:
        One stage with both targets, of which entries of -1 do not count, as the parts of a batch
        have them.
    """
    network, training = NetworkConfig.model_validate(task.network), task.training
    loss = _loss(training)
    changes = training.teacher is not None or training.batch_augmentation.used

    def join(parts: ModelParts) -> keras.Model:
        return build_augmented(
            parts.build,
            config=training.teacher,
            augmentation=training.batch_augmentation,
            parts=task.sets.part_sizes,
            stride=network.time_pooling,
            iterations_per_epoch=parts.iterations_per_epoch,
            frontend=parts.frontend,
        )

    return [
        Stage(
            name="mean_teacher" if training.teacher is not None else "supervised",
            build=lambda shape: build_model(shape, task.dataset.n_classes, network),
            targets={"clip": ("tags",), "frames": ("activity",)},
            losses={"clip": loss, "frames": loss},
            loss_weights={"clip": training.clip_loss_weight, "frames": 1.0},
            target_stride=network.time_pooling,
            inputs=_further_inputs(network),
            join=join if changes else None,
        )
    ]


def _further_inputs(network: NetworkConfig) -> tuple[str, ...]:
    """Arrays of a record that the network takes beside its features."""
    wanted = {"embeddings": network.embeddings != "none", "valid_classes": network.class_masks}
    return tuple(name for name, is_taken in wanted.items() if is_taken)


def _loss(training: Any) -> keras.losses.Loss:
    """Loss of labelled entries, with PyTorch's floor of logarithms."""
    masked_mean: MaskedMean = "valid"
    if training.teacher is not None:
        masked_mean = training.teacher.masked_mean
    if training.loss == "asymmetric_focal":
        gamma, zeta = training.focal_powers
        return AsymmetricFocalLoss(gamma, zeta, log_floor=LOG_FLOOR, masked_mean=masked_mean)
    return MaskedBinaryCrossentropy(LOG_FLOOR, masked_mean)


def probabilities(
    outputs: Mapping[str, np.ndarray], *, network: NetworkConfig, n_frames: int
) -> tuple[np.ndarray, np.ndarray]:
    """Brings the outputs for one clip to the frame rate of the features, see `clip_outputs`."""
    return clip_outputs(outputs, n_frames, network.time_pooling)

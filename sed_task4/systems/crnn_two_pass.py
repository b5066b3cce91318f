"""Baseline of DCASE 2018 task 4: a recurrent network trained on tags, then on pseudo-labels."""

from collections.abc import Mapping
from typing import Any, Literal

import keras
import numpy as np
from pydantic import Field

from common.models import conv_recurrent as trunk
from common.models.conv_recurrent import ConvRecurrentConfig, Dropout, GruUnits, PoolBands
from common.models.layers import Aggregate
from common.models.losses import MaskedBinaryCrossentropy
from common.training.system import Stage
from sed_task4.systems._outputs import clip_outputs, macro_f

PASSES = ("pass1", "pass2")


class NetworkConfig(ConvRecurrentConfig):
    """Sizes of the network, the same in both passes."""

    pool_bands: PoolBands = (4, 4, 4)
    gru_units: GruUnits = (64,)
    dropout: Dropout = 0.3
    clip_pooling: Literal["average", "linear_softmax", "max"] = Field(
        "average",
        description=(
            "Pooling of frame-level into clip-level probabilities;"
            " average (published) learns tags but not times."
        ),
    )


def check_network(network: NetworkConfig, shape: tuple[int | None, int, int]) -> None:
    """Checks that a network fits the features, before any work.

    Args:
        network: layer sizes.
        shape: frames of a sequence (None: any number), bands and channels, (T, F, C).

    Raises:
        ConfigError: lists of different lengths, pools that do not divide the bands or the frames.
    """
    trunk.check_sizes(network, shape)


def build_model(
    shape: tuple[int | None, int, int], n_classes: int, network: NetworkConfig
) -> keras.Model:
    """Builds the network of both passes.

    Args:
        shape: frames (None: any number), bands and channels of one example, (T, F, C).
        n_classes: number of event classes, K.
        network: layer sizes.

    Returns:
        Model from standardised features (B, T, F, C) to probabilities {"clip": (B, K), "frames":
        (B, T', K)}, float32 under any precision policy, with T' = T // network.time_pooling.

    Raises:
        ConfigError: the layers do not fit `shape`.

    References:
        Serizel, Turpault, Eghbal-Zadeh, Shah, "Large-scale weakly labeled semi-supervised sound
        event detection in domestic environments", DCASE 2018, arXiv:1807.10501.
    """
    check_network(network, shape)
    spectra = keras.Input(shape, name="spectra", dtype="float32")  # (B, T, F, C)
    x = trunk.conv_recurrent(spectra, network, merge_mode="concat")  # (B, T', 2 * units)
    head = keras.layers.Dense(n_classes, "sigmoid", name="dense_out", dtype="float32")
    frames = head(x)  # (B, T', K)
    clip = Aggregate(network.clip_pooling, axis=1, name="over_time")(frames)  # (B, K)
    return keras.Model(spectra, {"clip": clip, "frames": frames}, name="crnn_two_pass")


def stages(task: Any) -> list[Stage]:
    """Lists the trainings of the system: pass 1 on tags, pass 2 on the pseudo-labels of pass 1.

    Args:
        task: a task's settings, `sed_task4.config.TaskConfig`.

    Returns:
        Two stages of the same network with both targets, for the scores; the loss is of one output.
        Entries of -1 do not count; labels may be probabilities. Only the first one where
        `second_pass` is null.
    """
    network = NetworkConfig.model_validate(task.network)
    passes = list(zip(PASSES, ("clip", "frames"), strict=True))
    return [
        Stage(
            name=name,
            build=lambda shape: build_model(shape, task.dataset.n_classes, network),
            targets={"clip": ("tags",), "frames": ("activity",)},
            losses={output: MaskedBinaryCrossentropy()},
            loss_weights={output: 1.0},
            target_stride=network.time_pooling,
            metrics={"clip": macro_f} if output == "clip" else {},
            learns_from="labels" if name == PASSES[0] else "predictions",
        )
        for name, output in (passes if task.second_pass is not None else passes[:1])
    ]


def probabilities(
    outputs: Mapping[str, np.ndarray], *, network: NetworkConfig, n_frames: int
) -> tuple[np.ndarray, np.ndarray]:
    """Brings the outputs for one clip to the frame rate of the features, see `clip_outputs`."""
    return clip_outputs(outputs, n_frames, network.time_pooling)

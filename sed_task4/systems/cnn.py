"""CNN5, CNN9 and CNN13 of DCASE 2019 task 4: convolutions, a sigmoid layer for frames and clip."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import keras
import numpy as np
from pydantic import Field

from common.errors import ConfigError
from common.models.layers import Aggregate, NormConfig, Pooling, stacked_conv_block
from common.models.losses import MaskedBinaryCrossentropy
from common.models.torch_weights import BATCH_NORM
from common.training.system import Stage
from sed_task4.systems._outputs import clip_outputs, macro_f

Size = Annotated[int, Field(gt=0)]
_FILTERS = (64, 128, 256, 512)
PUBLISHED_FILTERS = {"cnn5": _FILTERS, "cnn9": _FILTERS, "cnn13": (*_FILTERS, 1024, 2048)}
LOG_FLOOR = -100.0  # of the published loss


class NetworkConfig(NormConfig):
    """Architecture and sizes of the network."""

    architecture: Literal["cnn5", "cnn9", "cnn13"] = Field(
        "cnn9",
        description=(
            "cnn5: four 5 x 5 convolutions, mean over frequency;"
            " cnn9: four blocks of two 3 x 3 convolutions, maximum over frequency;"
            " cnn13: six such blocks."
        ),
    )
    pooling: Pooling = Field("average", description="2 x 2 pooling after all blocks but the last.")
    filters: tuple[Size, ...] | None = Field(
        None, description="Filters of each block; null: 64, doubled with each block."
    )
    strong_training: bool = Field(
        False,
        description=(
            "Train on frame-level labels; clip-level: maximum of the frame-level probabilities."
            " false: train on tags; clip-level: sigmoid of the maximum over time."
        ),
    )
    initialisation: Literal["he_uniform", "he_normal", "glorot_uniform"] = Field(
        "he_uniform", description="Keras initialiser of the kernels."
    )

    @property
    def filters_of_blocks(self) -> tuple[int, ...]:
        """Filters of each block."""
        return PUBLISHED_FILTERS[self.architecture] if self.filters is None else self.filters

    @property
    def time_pooling(self) -> int:
        """Feature frames that share one decision: every block but the last halves time."""
        return 2 ** (len(self.filters_of_blocks) - 1)

    @property
    def layer_names(self) -> tuple[tuple[tuple[str, str], ...], ...]:
        """For each block, the names of its convolutions and of their batch normalisations."""
        numbers = range(1, len(self.filters_of_blocks) + 1)
        if self.architecture == "cnn5":
            return tuple(((f"conv{block}", f"bn{block}"),) for block in numbers)
        return tuple(
            tuple((f"block{b}_conv{n}", f"block{b}_bn{n}") for n in (1, 2)) for b in numbers
        )


def check_network(network: NetworkConfig, shape: tuple[int | None, int, int]) -> None:
    """Checks that a network fits the features, before any work.

    Args:
        network: the architecture.
        shape: frames of a sequence (None: any number), bands and channels, (T, F, C).

    Raises:
        ConfigError: a wrong number of filters, too few bands, or frames that the pools would drop.
    """
    expected = len(PUBLISHED_FILTERS[network.architecture])
    if len(network.filters_of_blocks) != expected:
        raise ConfigError(
            f"`network.filters` must have one entry for each block of {network.architecture}. "
            f"Expected: {expected} entries. Received: {list(network.filters_of_blocks)}."
        )
    frames, bands, _ = shape
    if bands < network.time_pooling:  # bands are pooled as often as frames
        raise ConfigError(
            f"{network.architecture} halves the bands with every block but the last. Expected:"
            f" features of at least {network.time_pooling} bands. Received: {bands}. Change the"
            " number of bands in `features`."
        )
    if frames is not None and (frames == 0 or frames % network.time_pooling):
        raise ConfigError(
            f"{network.architecture} pools {network.time_pooling} frames into one. Expected: a"
            f" sequence of a multiple of {network.time_pooling} frames. Received: {frames}. Change"
            " `pipeline.sequence_frames`: clips that do not fill a sequence are padded."
        )


def build_model(
    shape: tuple[int | None, int, int], n_classes: int, network: NetworkConfig
) -> keras.Model:
    """Builds CNN5, CNN9 or CNN13.

    Args:
        shape: frames (None: any number), bands and channels of one example, (T, F, C).
        n_classes: number of event classes, K.
        network: the architecture.

    Returns:
        Model from standardised features (B, T, F, C) to probabilities {"clip": (B, K), "frames":
        (B, T', K)}, float32 under any precision policy, with T' = p * (T // p) and p =
        network.time_pooling: as published, each decision is repeated p times, so that frames are
        labels at the hop length of the features.

    Raises:
        ConfigError: the layers do not fit `shape`.

    References:
        Kong et al., "Cross-task learning for audio tagging, sound event detection and spatial
        localization: DCASE 2019 baseline systems", arXiv:1904.03476.
    """
    check_network(network, shape)
    norm = network.norm()
    is_cnn5 = network.architecture == "cnn5"
    spectra = x = keras.Input(shape, name="spectra", dtype="float32")  # (B, T, F, C)
    blocks = zip(network.filters_of_blocks, network.layer_names, strict=True)
    for number, (n_filters, names) in enumerate(blocks, 1):
        x = stacked_conv_block(
            x,
            n_filters,
            kernel=5 if is_cnn5 else 3,
            pool=(1, 1) if number == len(network.layer_names) else (2, 2),
            pooling=network.pooling,
            initialisation=network.initialisation,
            norm=norm,
            names=names,
        )
    # (B, T // p, F // p, filters)
    x = Aggregate("average" if is_cnn5 else "max", axis=2, name="over_bands")(x)
    head = keras.layers.Dense(
        n_classes, "sigmoid", kernel_initializer=network.initialisation, name="fc", dtype="float32"
    )  # one layer for frames and clip
    frames = head(x)  # (B, T // p, K)
    over_time = Aggregate("max", axis=1, name="over_time")
    clip = over_time(frames) if network.strong_training else head(over_time(x))  # (B, K)
    repeat = keras.layers.UpSampling1D(network.time_pooling, name="repeat", dtype="float32")
    frames = repeat(frames)  # (B, T', K)
    return keras.Model(spectra, {"clip": clip, "frames": frames}, name=network.architecture)


def stages(task: Any) -> list[Stage]:
    """Lists the trainings of the system: one, on tags or on frame-level labels.

    Args:
        task: a task's settings, `sed_task4.config.TaskConfig`.

    Returns:
        One stage with both targets, for the scores; the loss is of one output. Entries of -1 do
        not count.
    """
    network = NetworkConfig.model_validate(task.network)
    output = "frames" if network.strong_training else "clip"
    return [
        Stage(
            name="cnn",
            build=lambda shape: build_model(shape, task.dataset.n_classes, network),
            targets={"clip": ("tags",), "frames": ("activity",)},
            losses={output: MaskedBinaryCrossentropy(LOG_FLOOR)},
            loss_weights={output: 1.0},
            metrics={} if network.strong_training else {"clip": macro_f},
        )
    ]


def probabilities(
    outputs: Mapping[str, np.ndarray], *, network: NetworkConfig, n_frames: int
) -> tuple[np.ndarray, np.ndarray]:
    """Brings the outputs for one clip to its length, see `_outputs.clip_outputs`."""
    return clip_outputs(outputs, n_frames, 1)


def torch_names(network: NetworkConfig) -> dict[str, tuple[str, str]]:
    """Names of the published PyTorch weights, see `common.models.torch_weights`.

    Returns:
        By Keras name, see `common.models.layers.weights_by_name`: name in the state dict and kind
        of tensor.
    """
    names: dict[str, tuple[str, str]] = {}
    for conv, norm in (pair for block in network.layer_names for pair in block):
        stored = {name: re.sub(r"block(\d+)_", r"conv_block\1.", name) for name in (conv, norm)}
        names[f"{conv}/kernel"] = f"{stored[conv]}.weight", "conv"
        for part, name in BATCH_NORM.items():
            names[f"{norm}/{part}"] = f"{stored[norm]}.{name}", "vector"
    return names | {"fc/kernel": ("fc.weight", "linear"), "fc/bias": ("fc.bias", "vector")}

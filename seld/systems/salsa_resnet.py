"""SALSA's network: ResNet22, mean over bands, recurrent layers, detection and directions."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import keras
import numpy as np
from pydantic import Field
from scipy.special import expit

from common.errors import ConfigError
from common.models.layers import (
    Aggregate,
    BatchNormalization,
    NormConfig,
    RecurrentGates,
    stacked_conv_block,
)
from common.models.torch_weights import Names, batch_norm_names, gru_names, linear_names
from common.training.system import Stage
from seld.config import TaskConfig
from seld.decoding import decode_classwise, label_rows
from seld.losses.directions import check_loss
from seld.losses.tracks import MaskedLogitCrossentropy
from seld.losses.vectors import MaskedVectorDistance
from seld.targets import SeldTargets, TargetForm

Size = Annotated[int, Field(gt=0)]
COORDINATES = ("x", "y", "z")
HEADS = ("event", *COORDINATES)
LOSS_WEIGHTS = {"sed": 0.3, "doa": 0.7}  # published
# Published rates: after the first convolutions, in residual blocks, between GRUs, in outputs.
STEM_DROPOUT, BLOCK_DROPOUT, GRU_DROPOUT, HEAD_DROPOUT = 0.2, 0.1, 0.3, 0.2


class NetworkConfig(NormConfig):
    """Sizes of the network."""

    filters: tuple[Size, ...] = Field(
        (64, 128, 256, 512),
        min_length=1,
        description="Filters of each group of residual blocks, the first also of the convolutions"
        " before.",
    )
    n_blocks: tuple[Size, ...] = Field(
        (2, 2, 2, 2), description="Residual blocks of each group, one entry for each."
    )
    over_bands: Literal["average", "max"] = Field(
        "average", description="Pooling of the remaining bands."
    )
    gru_units: Size = Field(256, description="Units of each direction of the recurrent layers.")
    gru_layers: Size = Field(2, description="Number of recurrent layers.")
    dropout: bool = Field(True, description="Dropout at the published rates, 0.1 to 0.3.")
    repeat: Size = Field(
        1, description="Output frames of each decision; 2 (published): labels of 10 per s."
    )

    @property
    def pooling(self) -> int:
        """Frames, and bands, that the convolutions pool into one."""
        return 2 ** len(self.filters)

    @property
    def time_pooling(self) -> int:
        """Feature frames of one output frame; the labels' `target_stride`."""
        return self.pooling // self.repeat


def check_network(network: NetworkConfig, shape: tuple[int | None, int, int]) -> None:
    """Checks that a network fits the features, before any work.

    Args:
        network: layer sizes.
        shape: frames of a sequence (None: any number), bands and channels, (T, F, C).

    Raises:
        ConfigError: lists of different lengths, too few bands, frames that do not fill the pools,
            or repeats that do not divide them.
    """
    frames, bands, _ = shape
    if len(network.n_blocks) != len(network.filters):
        raise ConfigError(
            "`network.n_blocks` must have one entry for each of `network.filters`. Expected:"
            f" {len(network.filters)} entries. Received: {list(network.n_blocks)}."
        )
    if network.pooling % network.repeat:
        raise ConfigError(
            f"`network.repeat` must divide the {network.pooling} frames of a decision. Received:"
            f" {network.repeat}."
        )
    if bands < network.pooling:
        raise ConfigError(
            f"The network pools {network.pooling} bands into one. Expected: features of no fewer"
            f" bands. Received: {bands}. Change `network.filters` or the number of bands in"
            " `features`."
        )
    if frames is not None and frames % network.pooling:
        raise ConfigError(
            f"The network pools {network.pooling} frames into one. Expected: a sequence of a"
            f" multiple of {network.pooling} frames. Received: {frames}. Change"
            " `pipeline.sequence_frames` or `network.filters`."
        )


def build_model(
    shape: tuple[int | None, int, int], n_classes: int, network: NetworkConfig
) -> keras.Model:
    """Builds ResNet22 with recurrent layers.

    Args:
        shape: frames (None: any number), bands and channels of one example, (T, F, C).
        n_classes: number of event classes, K.
        network: layer sizes.

    Returns:
        Model from standardised features (B, T, F, C) to {"logits": (B, T', K), of detection, "doa":
        (B, T', 3, K) in [-1, 1]}, float32 under any precision policy, with T' = network.repeat * (T
        // network.pooling).

    Raises:
        ConfigError: the layers do not fit `shape`.

    References:
        Nguyen et al., "SALSA: spatial cue-augmented log-spectrogram features for polyphonic sound
        event localization and detection", arXiv:2110.00275. Kong et al., "PANNs: large-scale
        pretrained audio neural networks", arXiv:1912.10211 (the residual network).
    """
    check_network(network, shape)
    layers = keras.layers
    spectra = x = keras.Input(shape, name="spectra", dtype="float32")  # (B, T, F, C)
    x = _convolutions(x, network)  # (B, T // pooling, F', filters)
    x = Aggregate(network.over_bands, axis=2, name="over_bands")(x)  # (B, T // pooling, filters)
    x = _recurrent(x, network)  # (B, T // pooling, 2 * gru_units)
    ends = {name: _head(x, n_classes, network, name) for name in HEADS}
    joined = layers.Concatenate(name="coordinates", dtype="float32")([ends[c] for c in COORDINATES])
    sed, doa = ends["event"], joined  # (B, T // pooling, K or 3K)
    if network.repeat > 1:
        repeat = layers.UpSampling1D(network.repeat, name="repeat", dtype="float32")
        sed, doa = repeat(sed), repeat(doa)
    doa = layers.Reshape((-1, 3, n_classes), name="doa", dtype="float32")(doa)  # (B, T', 3, K)
    return keras.Model(spectra, {"logits": sed, "doa": doa}, name="salsa_resnet")


def _convolutions(x: Any, network: NetworkConfig) -> Any:
    """Applies two convolutions and the residual blocks to (B, T, F, C)."""
    x = stacked_conv_block(
        x,
        network.filters[0],
        kernel=3,
        pool=(2, 2),
        pooling="average",
        initialisation="glorot_uniform",
        norm=network.norm(),
        names=[(f"stem_conv{n}", f"stem_bn{n}") for n in (1, 2)],
    )
    x = _dropped(x, STEM_DROPOUT, network, "stem_drop")
    for group, (filters, n_blocks) in enumerate(
        zip(network.filters, network.n_blocks, strict=True)
    ):
        for block in range(n_blocks):
            pools = group > 0 and block == 0
            x = _residual_block(x, filters, network, f"group{group}_block{block}", pools)
    return x


def _residual_block(x: Any, filters: int, network: NetworkConfig, name: str, pools: bool) -> Any:
    """Applies two convolutions and adds the input; pools by two before, in place of strides."""
    layers, last = keras.layers, {"data_format": "channels_last"}
    options: Any = {"padding": "same", "use_bias": False, **last}
    norm = network.norm()
    if pools:
        x = layers.AveragePooling2D(2, name=f"{name}_pool", **last)(x)
    y = layers.Conv2D(filters, 3, name=f"{name}_conv1", **options)(x)
    y = layers.Activation("relu", name=f"{name}_relu1")(norm.layer(f"{name}_bn1")(y))
    y = _dropped(y, BLOCK_DROPOUT, network, f"{name}_drop")
    y = layers.Conv2D(filters, 3, name=f"{name}_conv2", **options)(y)
    y = BatchNormalization(  # starts at 0: the block then passes on its input
        epsilon=norm.epsilon, momentum=norm.momentum, gamma_initializer="zeros", name=f"{name}_bn2"
    )(y)
    if pools:
        x = layers.Conv2D(filters, 1, name=f"{name}_conv_skip", **options)(x)
        x = norm.layer(f"{name}_bn_skip")(x)
    total = layers.Add(name=f"{name}_sum")([x, y])
    return layers.Activation("relu", name=f"{name}_relu2")(total)


def _recurrent(x: Any, network: NetworkConfig) -> Any:
    """Applies the recurrent layers: (B, T', D) -> (B, T', 2 * gru_units)."""
    for number in range(network.gru_layers):
        if number:
            x = _dropped(x, GRU_DROPOUT, network, f"gru{number}_drop")
        gru = keras.layers.GRU(
            network.gru_units,
            return_sequences=True,
            kernel_initializer="lecun_uniform",
            recurrent_initializer=RecurrentGates(),
        )
        x = keras.layers.Bidirectional(gru, merge_mode="concat", name=f"gru{number}")(x)
    return x


def _head(x: Any, n_classes: int, network: NetworkConfig, name: str) -> Any:
    """Applies the two dense layers of one output: (B, T', D) -> (B, T', K), float32."""
    dense = keras.layers.Dense
    x = _dropped(x, HEAD_DROPOUT, network, f"{name}_drop1")
    x = dense(network.gru_units, "relu", name=f"{name}_fc_1", dtype="float32")(x)
    x = _dropped(x, HEAD_DROPOUT, network, f"{name}_drop2")
    activation = "linear" if name == "event" else "tanh"
    return dense(n_classes, activation, name=f"{name}_fc_2", dtype="float32")(x)


def _dropped(x: Any, rate: float, network: NetworkConfig, name: str) -> Any:
    return keras.layers.Dropout(rate, name=name)(x) if network.dropout else x


def stages(task: TaskConfig) -> list[Stage]:
    """Lists the trainings of the system: one, of both heads together.

    Raises:
        ConfigError: the loss is of another system.
    """
    network = NetworkConfig.model_validate(task.network)
    check_loss(task.training.doa_loss, ("masked_mae",), "salsa_resnet")
    weights, n_classes = task.training.loss_weights, task.dataset.n_classes
    return [
        Stage(
            name="seld",
            build=lambda shape: build_model(shape, n_classes, network),
            targets={},
            losses={"logits": MaskedLogitCrossentropy(), "doa": MaskedVectorDistance()},
            loss_weights={"logits": weights["sed"], "doa": weights["doa"]},
            target_stride=network.time_pooling,
            event_targets=SeldTargets.of(task, TargetForm("classwise", n_classes), "logits"),
        )
    ]


def decode(
    outputs: Mapping[str, np.ndarray],
    *,
    network: NetworkConfig,
    threshold: float,
    n_frames: int,
    hop_ratio: float = 1.0,
) -> np.ndarray:
    """Turns the outputs for one recording into rows (n, 7); arguments as for `accdoa.decode`.

    Raises:
        ValueError: there is no output frame, though the recording has frames.
    """
    probabilities = expit(outputs["logits"])
    found = decode_classwise(probabilities, outputs["doa"], threshold)
    return label_rows(found, len(probabilities), n_frames, hop_ratio, network.time_pooling)


def torch_names(network: NetworkConfig) -> Names:
    """Names of the published PyTorch weights, see `common.models.torch_weights`.

    Returns:
        By Keras name, see `common.models.layers.weights_by_name`: name in the state dict, or names
        of the tensors that make one weight, and kind of tensor.
    """
    names: dict = {}

    stacks = {"stem": "encoder.conv_block1"}  # of two convolutions
    for group, n_blocks in enumerate(network.n_blocks):
        for block in range(n_blocks):
            here = f"group{group}_block{block}"
            there = f"encoder.resnet.layer{group + 1}.{block}"
            stacks[here] = there
            if group and not block:
                names[f"{here}_conv_skip/kernel"] = f"{there}.downsample.1.weight", "conv"
                names |= batch_norm_names(f"{here}_bn_skip", f"{there}.downsample.2")
    for here, there in stacks.items():
        for n in (1, 2):
            names[f"{here}_conv{n}/kernel"] = f"{there}.conv{n}.weight", "conv"
            names |= batch_norm_names(f"{here}_bn{n}", f"{there}.bn{n}")
    for n in range(network.gru_layers):
        names |= gru_names(f"gru{n}", "decoder.gru", n)
    for head in HEADS:
        for n in (1, 2):
            names |= linear_names(f"{head}_fc_{n}", f"decoder.{head}_fc_{n}")
    return names

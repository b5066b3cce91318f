"""Baselines of DCASE task 3 from 2020 to 2025: convolutional recurrent networks with attention.

They differ in few settings: how the two directions of the recurrent layers are merged, the kind of
attention, what they answer (detection and directions; vectors whose length is the activity, ACCDOA;
such vectors for several tracks, multi-ACCDOA), and the activation at the end.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, cast

import keras
import numpy as np
from pydantic import Field, field_validator, model_validator

from common.errors import ConfigError
from common.models.attention import MultiHeadAttention, attention_block, transformer_layer
from common.models.conv_recurrent import (
    ConvRecurrentConfig,
    Dropout,
    GruUnits,
    PoolBands,
    Size,
    check_sizes,
    convolutions,
    recurrent_layer,
)
from common.models.layers import NormConfig
from common.models.losses import MaskedBinaryCrossentropy
from common.models.merging import AxisActivations, HalvesProduct, IdleWeights
from common.models.torch_weights import (
    Names,
    attention_names,
    batch_norm_names,
    gru_kernel_of_maps,
    gru_names,
    layer_norm_names,
    linear_names,
    transformer_names,
)
from common.training.system import Stage
from seld.config import TaskConfig
from seld.decoding import (
    UNIFY_DEG,
    decode_accdoa,
    decode_classwise,
    decode_multi_accdoa,
    label_rows,
)
from seld.losses.accdoa import AccdoaError, MultiAccdoaError
from seld.losses.directions import check_loss
from seld.losses.vectors import MaskedVectorError, MaskedVectorError2020
from seld.targets import Axis, Form, SeldTargets, TargetForm

DECODER_HIDDEN = 2048  # units between the dense layers of the video's decoder, PyTorch's default


class NetworkConfig(ConvRecurrentConfig, NormConfig):
    """Sizes of the network, and its form."""

    pool_bands: PoolBands = (4, 4, 2)
    pool_frames: Size | tuple[Size, ...] = Field(
        (5, 1, 1), description="Pool size in frames of each convolution; one number, or a list."
    )
    gru_units: GruUnits = (128, 128)
    dense_units: tuple[Size, ...] = Field(
        (128,), description="Units of each dense layer before an output; they have no activation."
    )
    dropout: Dropout = 0.05
    dropout_of: Literal["entries", "channels"] = Field(
        "channels",
        description="entries (2020, 2021): after convolutions and dense layers, before GRUs;"
        " channels (from 2022): whole channels after convolutions, entries between GRUs, attention"
        " weights.",
    )
    merge: Literal["each_layer", "last_layer"] = Field(
        "last_layer",
        description="Product of the two directions of GRUs: of each layer (2020, 2021), or once,"
        " after the last layer and tanh (from 2022).",
    )
    attention: Literal["none", "2022", "2023"] = Field(
        "none",
        description="2022: one layer and tanh; 2023: layers with residual and normalisation.",
    )
    attention_heads: Size = Field(8, description="Heads of each attention; 2022: 4.")
    attention_layers: Size = Field(2, description="Layers of the attention of 2023.")
    output: Literal["sed_doa", "accdoa", "multi_accdoa"] = Field(
        "multi_accdoa",
        description="sed_doa: detection and directions; accdoa: vectors whose length is the"
        " activity; multi_accdoa: those of several tracks.",
    )
    n_tracks: Size = Field(3, description="Tracks of multi_accdoa: most sources of one class.")
    unify_deg: float = Field(
        UNIFY_DEG,
        ge=0.0,
        le=180.0,
        description="Angle in degrees below which two tracks of multi_accdoa are one source.",
    )
    axes: Literal["xyz", "xy"] = Field("xyz", description="Coordinates; xy: azimuth only.")
    distance: bool = Field(False, description="One more axis, the distance in metres.")
    end_activation: Literal["tanh", "linear", "tanh_relu"] = Field(
        "tanh",
        description="Of coordinates and distance; tanh: without distance; linear: 2024;"
        " tanh_relu: coordinates tanh, distance ReLU, 2025.",
    )
    video_features: int = Field(
        0, ge=0, description="Numbers that describe the video of a label frame; 0: audio only."
    )
    decoder_layers: Size = Field(
        2, description="Layers that attend to the video, with `attention_heads`."
    )
    idle_decoder_layer: bool = Field(
        False, description="true (published): one such layer more, which nothing uses."
    )
    onscreen: bool = Field(
        False, description="One more axis, the probability that the source is on the screen."
    )

    @field_validator("attention", mode="before")
    @classmethod
    def _years_may_be_numbers(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int) else value

    @model_validator(mode="after")
    def _distance_is_not_bounded(self) -> "NetworkConfig":
        if self.distance and self.end_activation == "tanh":
            raise ValueError(
                "A distance in metres may exceed 1. Expected: `end_activation: linear` or"
                " `tanh_relu`. Received: `distance: true` and `end_activation: tanh`."
            )
        return self

    @property
    def axis_activations(self) -> tuple[str, ...]:
        """Activation of each axis of an output: coordinates, distance, on-screen."""
        ends = {"tanh": ("tanh", "tanh"), "linear": ("linear", "linear")}
        coordinate, distance = ends.get(self.end_activation, ("tanh", "relu"))
        extra = ((distance,) * self.distance) + (("sigmoid",) * self.onscreen)
        return (coordinate,) * len(self.axes) + extra


def check_network(network: NetworkConfig, shape: tuple[int | None, int, int]) -> None:
    """Checks that a network fits the features, before any work.

    Args:
        network: layer sizes.
        shape: frames of a sequence (None: any number), bands and channels, (T, F, C). Bands that do
            not fill a pool are dropped, as published for features of 382 bands.

    Raises:
        ConfigError: lists of different lengths, pools that leave no band or do not divide the
            frames, no recurrent layer, or heads of an attention that do not divide its width.
    """
    check_sizes(network, shape, trailing_bands=True)
    if not network.gru_units:
        raise ConfigError(
            "`network.gru_units` must have one entry for each recurrent layer. Expected: one or"
            " more. Received: none."
        )
    width, heads = network.gru_units[-1], network.attention_heads
    if (network.attention != "none" or network.video_features) and width % heads:
        raise ConfigError(
            "The heads of an attention share its width. Expected: `network.attention_heads` that"
            f" divides {width}, the last of `network.gru_units`. Received: {heads}."
        )


def build_model(
    shape: tuple[int | None, int, int], n_classes: int, network: NetworkConfig
) -> keras.Model:
    """Builds a baseline.

    Args:
        shape: frames (None: any number), bands and channels of one example, (T, F, C).
        n_classes: number of event classes, K.
        network: layer sizes and form.

    Returns:
        Model from standardised features (B, T, F, C), with `video_features` from [features, video
        (B, T', V)], to outputs in float32 under any precision policy, with T' = T //
        network.time_pooling and A axes (coordinates, then distance, then on-screen). sed_doa:
        {"sed": (B, T', K) in [0, 1], "doa": (B, T', A, K)}; accdoa: {"accdoa": (B, T', A, K)};
        multi_accdoa: {"accdoa": (B, T', N, A, K)} for N tracks.

    Raises:
        ConfigError: the layers do not fit `shape`.

    References:
        Shimada et al., "ACCDOA: activity-coupled Cartesian direction of arrival representation",
        ICASSP 2021, arXiv:2010.15306. Shimada et al., "Multi-ACCDOA", ICASSP 2022,
        arXiv:2110.07124. Politis et al., DCASE 2020 and 2021; Krause et al., arXiv:2403.11827
        (distance).
    """
    check_network(network, shape)
    spectra = keras.Input(shape, name="spectra", dtype="float32")  # (B, T, F, C)
    inputs: Any = spectra
    drop_channels = network.dropout_of == "channels"
    x = convolutions(spectra, network, norm=network.norm(), drop_channels=drop_channels)
    x = _attention(_recurrent(x, network), network)  # (B, T', units)
    if network.video_features:
        video = keras.Input((None, network.video_features), name="video", dtype="float32")
        x, inputs = _with_video(x, video, network), [spectra, video]
    n_axes = len(network.axis_activations)
    if network.output == "multi_accdoa":
        outputs = {"accdoa": _vectors(x, (network.n_tracks, n_axes, n_classes), network, "accdoa")}
    elif network.output == "accdoa":
        outputs = {"accdoa": _vectors(x, (n_axes, n_classes), network, "accdoa")}
    else:
        sed = _dense_head(x, n_classes, network, "sed")  # (B, T', K)
        sed = keras.layers.Activation("sigmoid", name="sed", dtype="float32")(sed)
        outputs = {"sed": sed, "doa": _vectors(x, (n_axes, n_classes), network, "doa")}
    return keras.Model(inputs, outputs, name="accdoa")


def _recurrent(x: Any, network: NetworkConfig) -> Any:
    """Applies the recurrent layers: (B, T', any) -> (B, T', units)."""
    layers = keras.layers
    mode = "mul" if network.merge == "each_layer" else "concat"
    drop_inputs = network.dropout_of == "entries"
    for number, units in enumerate(network.gru_units):
        if number and network.dropout and not drop_inputs:
            x = layers.Dropout(network.dropout, name=f"gru{number}_drop")(x)
        options: Any = {"merge_mode": mode, "drop_inputs": drop_inputs, "name": f"gru{number}"}
        x = recurrent_layer(units, network, **options)(x)
    if network.merge == "each_layer":
        return x
    x = layers.Activation("tanh", name="gru_tanh")(x)  # (B, T', 2 * units)
    return HalvesProduct(name="gru_product")(x)


def _attention(x: Any, network: NetworkConfig) -> Any:
    """Applies self-attention to (B, T', units)."""
    dropout = network.dropout if network.dropout_of == "channels" else 0.0
    if network.attention == "2022":  # neither residual nor normalisation, as published
        x = MultiHeadAttention(x.shape[-1], network.attention_heads, dropout, name="attention0")(x)
        return keras.layers.Activation("tanh", name="attention0_tanh")(x)
    if network.attention == "2023":
        for number in range(network.attention_layers):
            name = f"attention{number}"
            x = attention_block(x, network.attention_heads, dropout=dropout, name=name)
    return x


def _with_video(x: Any, video: Any, network: NetworkConfig) -> Any:
    """Lets (B, T', units) attend to the video (B, T', V)."""
    width = x.shape[-1]
    memory = keras.layers.Dense(width, name="video_dense")(video)  # (B, T', units)
    for number in range(network.decoder_layers):
        x = transformer_layer(
            x,
            network.attention_heads,
            DECODER_HIDDEN,
            dropout=network.dropout,
            name=f"decoder{number}",
            memory=memory,
        )
    return IdleWeights(_decoder_shapes(width), name="idle")(x) if network.idle_decoder_layer else x


def _decoder_shapes(width: int) -> dict[str, tuple[int, ...]]:
    """Shapes of a decoder layer in PyTorch, by name."""
    matrices = {
        **{f"{part}.in_proj_": (3 * width, width) for part in ("self_attn", "multihead_attn")},
        **{f"{part}.out_proj.": (width, width) for part in ("self_attn", "multihead_attn")},
        "linear1.": (DECODER_HIDDEN, width),
        "linear2.": (width, DECODER_HIDDEN),
    }
    shapes: dict[str, tuple[int, ...]] = {f"{n}weight": shape for n, shape in matrices.items()}
    shapes |= {f"{name}bias": shape[:1] for name, shape in matrices.items()}
    vectors = [f"norm{n}.{part}" for n in (1, 2, 3) for part in ("weight", "bias")]
    return shapes | dict.fromkeys(vectors, (width,))


def _dense_head(x: Any, n_outputs: int, network: NetworkConfig, name: str) -> Any:
    """Applies the dense layers of one output: (B, T', units) -> (B, T', n_outputs), float32."""
    layers = keras.layers
    for number, units in enumerate(network.dense_units):
        x = layers.Dense(units, name=f"{name}_fnn{number}", dtype="float32")(x)
        if network.dropout and network.dropout_of == "entries":
            stem = f"{name}_drop{number}"
            x = layers.Dropout(network.dropout, name=stem, dtype="float32")(x)
    return layers.Dense(n_outputs, name=f"{name}_out", dtype="float32")(x)


def _vectors(x: Any, sizes: tuple[int, ...], network: NetworkConfig, name: str) -> Any:
    """Turns (B, T', units) into vectors (B, T', *sizes), whose axis before the last is theirs."""
    x = _dense_head(x, math.prod(sizes), network, "doa")  # (B, T', product of sizes)
    x = keras.layers.Reshape((-1, *sizes), name=f"{name}_axes", dtype="float32")(x)
    return AxisActivations(network.axis_activations, axis=-2, name=name)(x)


def stages(task: TaskConfig) -> list[Stage]:
    """Lists the trainings of the system: one.

    Raises:
        ConfigError: the loss does not fit the output, or the network has an input of video.
    """
    network = NetworkConfig.model_validate(task.network)
    if network.video_features or network.onscreen:
        raise ConfigError(
            "Networks with video cannot be trained: datasets are read without it. Expected:"
            " `network.video_features: 0` and `network.onscreen: false`."
        )
    axes = cast(tuple[Axis, ...], (*network.axes, *(["distance"] if network.distance else [])))
    heads = network.output == "sed_doa"
    form: Form = "multi" if network.output == "multi_accdoa" else "classwise"
    sizes = TargetForm(form, task.dataset.n_classes, axes, network.n_tracks)
    weights = {str(name): weight for name, weight in task.training.loss_weights.items()}
    return [
        Stage(
            name="seld",
            build=lambda shape: build_model(shape, task.dataset.n_classes, network),
            targets={},
            losses=_losses(network, task.training.doa_loss),
            loss_weights=weights if heads else {"accdoa": 1.0},
            target_stride=network.time_pooling,
            event_targets=SeldTargets.of(task, sizes, "sed" if heads else None),
        )
    ]


def _losses(network: NetworkConfig, doa_loss: str) -> dict[str, keras.losses.Loss]:
    if network.output == "multi_accdoa":
        check_loss(doa_loss, ("mse",), "accdoa with `output: multi_accdoa`")
        return {"accdoa": MultiAccdoaError()}
    if network.output == "accdoa":
        check_loss(doa_loss, ("mse",), "accdoa with `output: accdoa`")
        return {"accdoa": AccdoaError()}
    known: dict[str, Callable[[], keras.losses.Loss]] = {
        "mse": AccdoaError,
        "masked_mse": MaskedVectorError,
        "masked_mse_2020": MaskedVectorError2020,
    }
    check_loss(doa_loss, tuple(known), "accdoa with `output: sed_doa`")
    return {"sed": MaskedBinaryCrossentropy(), "doa": known[doa_loss]()}


def decode(
    outputs: Mapping[str, np.ndarray],
    *,
    network: NetworkConfig,
    threshold: float,
    n_frames: int,
    hop_ratio: float = 1.0,
) -> np.ndarray:
    """Turns the outputs for one recording into rows.

    Args:
        outputs: as of `build_model`, without the axis of examples.
        network: the network's settings.
        threshold: probability, or length of a vector, above which a class is active.
        n_frames: label frames of the recording.
        hop_ratio: hop length of the labels divided by that of the features.

    Returns:
        Rows (n, 7), see `seld.recordings.rows`; several of a class in a frame of separate tracks.

    Raises:
        ValueError: there is no output frame, though the recording has frames.
    """
    n_axes = len(network.axes)
    if network.output == "sed_doa":
        found = decode_classwise(outputs["sed"], outputs["doa"], threshold)
    elif network.output == "accdoa":
        found = decode_accdoa(outputs["accdoa"], n_axes, threshold)
    else:
        unify_deg = network.unify_deg
        found = decode_multi_accdoa(outputs["accdoa"], n_axes, threshold, unify_deg)
    n_outputs = len(next(iter(outputs.values())))
    return label_rows(found, n_outputs, n_frames, hop_ratio, network.time_pooling)


def torch_names(network: NetworkConfig) -> Names:
    """Names of the PyTorch weights of 2022 to 2025, see `common.models.torch_weights`.

    Returns:
        By Keras name, see `common.models.layers.weights_by_name`: name in the state dict, or names
        of the tensors that make one weight, and kind of tensor. `end_activation: tanh_relu` has the
        names of 2025, which differ from those of the years before.

    Raises:
        ConfigError: the form of 2020 and 2021, which was published in Keras.
    """
    if network.merge != "last_layer" or network.output == "sed_doa":
        raise ConfigError(
            "Only the baselines from 2022 on were published in PyTorch. Expected: `network.merge:"
            f" last_layer` and vectors as output. Received: `merge: {network.merge}` and `output:"
            f" {network.output}`."
        )
    is_2025 = network.end_activation == "tanh_relu"
    names: dict = {}
    for n in range(network.n_blocks):
        block = f"conv_blocks.{n}" if is_2025 else f"conv_block_list.{3 * n}"
        names |= linear_names(f"conv{n}", f"{block}.conv", "conv")
        names |= batch_norm_names(f"bn{n}", f"{block}.bn")
    for n in range(len(network.gru_units)):
        kernel = "gru_kernel" if n else gru_kernel_of_maps(network.filters_of_blocks[-1])
        names |= gru_names(f"gru{n}", "gru", n, kernel)
    names |= _attention_names(network, is_2025)
    if network.video_features:
        names |= _video_names(network)
    for n in range(len(network.dense_units)):
        names |= linear_names(f"doa_fnn{n}", f"fnn_list.{n}")
    names |= linear_names("doa_out", f"fnn_list.{len(network.dense_units)}")
    return names


def _attention_names(network: NetworkConfig, is_2025: bool) -> Names:
    if network.attention == "2022":
        weights, biases = ([f"attn.fc_{p}.{part}" for p in "qkvo"] for part in ("weight", "bias"))
        return {
            "attention0/in_kernel": (tuple(weights[:3]), "three_linear"),
            "attention0/in_bias": (tuple(biases[:3]), "three_vectors"),
            "attention0/out_kernel": (weights[3], "linear"),
            "attention0/out_bias": (biases[3], "vector"),
        }
    names: dict = {}
    attentions, norms = "mhsa_block_list", "layer_norm_list"
    if is_2025:
        attentions, norms = "mhsa_layers", "layer_norms"
    for n in range(network.attention_layers if network.attention == "2023" else 0):
        names |= attention_names(f"attention{n}", f"{attentions}.{n}")
        names |= layer_norm_names(f"attention{n}_norm", f"{norms}.{n}")
    return names


def _video_names(network: NetworkConfig) -> Names:
    names = dict(linear_names("video_dense", "visual_embed_to_d_model"))
    for n in range(network.decoder_layers):
        there = f"transformer_decoder.layers.{n}"
        names |= transformer_names(f"decoder{n}", there, decoder=True)
    if network.idle_decoder_layer:
        shapes = _decoder_shapes(network.gru_units[-1])
        prefix = "transformer_decoder_layer"
        names |= {f"idle/{name}": (f"{prefix}.{name}", "vector") for name in shapes}
    return names

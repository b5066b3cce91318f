"""Network of the mean teacher systems: task-4 baselines of 2019 to 2024, and FDY-SED.

Convolutions with gates over frequency, recurrent layers over time, frame-level probabilities, and
clip-level ones as their mean by attention. The systems differ in sizes, in the kind of convolutions
and in embeddings of a large model as a second input. Their published values:

| setting | 2019 | 2020 - 2022 | 2023 | 2024 | FDY-SED |
|---|---|---|---|---|---|
| n_filters | 3 x 64 | 16, 32, 64, 4 x 128 | the same | the same | 32, 64, 128, 4 x 256 |
| pool_frames | 2, 2, 2 | 2, 2, 5 x 1 | the same | the same | the same |
| pool_bands | 4, 4, 4 | 7 x 2 | the same | the same | the same |
| activation | glu | glu | glu | glu | cg |
| gru_units | 64, 64 | 128, 128 | 128, 128 | 192, 192 | 256, 256 |
| dropout | 0.5 | 0.5 | 0.5 | 0.2 | 0.5 |
| embeddings, embedding_size | none | frame, 768 (2022) | pool1d, 768 | pool1d, 768 | none |
| gru_input_dropout | 0 | 0 | 0.5 with embeddings | 0.2 | 0 |
| dropstep_frames, dropstep_share | 0 | 0 | 0 | 16, 0.3 | 0 |
| dynamic_layers | none | none | none | none | all but the first |
| initialisation | dcase2019 | dcase2019 (2020), pytorch | pytorch | pytorch | pytorch |
| batch_norm_momentum | 0.01 | 0.01 | 0.01 | 0.01 | 0.01 |

The configuration of 2024 asks for one recurrent layer under a name that its code does not know, so
that the published network has two.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import keras
import numpy as np
from pydantic import Field, model_validator

from common.errors import CheckpointError, ConfigError
from common.models.attention import NORM_EPSILON, AttentionPooling, ValidClasses
from common.models.conv_recurrent import (
    ConvConfig,
    GruUnits,
    PoolBands,
    Size,
    check_bands,
    check_lists,
    of_blocks,
)
from common.models.dynamic_convolution import DynamicOptions, DynamicPooling, dynamic_convolution
from common.models.embeddings import AlignFrames, Alignment, DropFrames, LastFrame
from common.models.layers import Aggregate, NormConfig, torch_initializers
from common.models.merging import BatchToChannels, ChannelsToBatch, gate
from common.models.torch_weights import (
    Names,
    batch_norm_names,
    dynamic_names,
    gru_names,
    gru_way_names,
    joined_linear,
    layer_norm_names,
    linear_names,
)

logger = logging.getLogger(__name__)
LEAKY_SLOPE = 0.2
# Networks in a Lightning checkpoint of the baselines from 2021 on.
BOTH_NETWORKS = ("sed_student.", "sed_teacher.")
Shape = tuple[int | None, int, int]


class NetworkConfig(ConvConfig, NormConfig):
    """Sizes of the network, and its form."""

    n_filters: Size | tuple[Size, ...] = Field(
        (16, 32, 64, 128, 128, 128, 128),
        description="Filters of each convolution; one number for all, or a list.",
    )
    pool_bands: PoolBands = (2, 2, 2, 2, 2, 2, 2)
    pool_frames: Size | tuple[Size, ...] = Field(
        (2, 2, 1, 1, 1, 1, 1),
        description="Pool size in frames of each convolution; one number for all, or a list.",
    )
    kernel_size: Size | tuple[Size, ...] = Field(
        3, description="Frames and bands of a filter, odd; one number for all, or a list."
    )
    activation: Literal["glu", "cg", "relu", "leakyrelu"] = Field(
        "glu",
        description="After each convolution. glu: a dense layer times the sigmoid of its input; cg:"
        " context gating, the input times the sigmoid of a dense layer.",
    )
    normalization: Literal["batch", "layer"] = Field(
        "batch", description="layer: over all frames, bands and channels of a clip."
    )
    batch_norm_epsilon: float = Field(
        1e-3, gt=0.0, description="Value added to the variance in batch normalisation."
    )
    batch_norm_momentum: float = Field(
        0.99,
        ge=0.0,
        lt=1.0,
        description="Momentum of the running mean and variance; 0.01 as published, where they are"
        " practically those of the last batch.",
    )
    freeze_batch_norm: bool = Field(
        False, description="Batch normalisation keeps its weights and statistics in training."
    )
    shared_channels: bool = Field(
        False,
        description="The same convolutions for each channel of the features, whose outputs are"
        " joined before the GRU, as for separated sources in 2020.",
    )
    gru_units: GruUnits = (128, 128)
    dropout: float = Field(
        0.5, ge=0.0, lt=1.0, description="Dropout rate after each activation and after the GRUs."
    )
    gru_dropout: float = Field(0.0, ge=0.0, lt=1.0, description="Dropout rate between GRUs.")
    gru_input_dropout: float = Field(
        0.0,
        ge=0.0,
        lt=1.0,
        description="Dropout rate before the first GRU and, with embeddings, before they are"
        " joined; with embeddings, 0.5 in 2023 and 0.2 in 2024.",
    )
    dropstep_frames: int = Field(
        0,
        ge=0,
        description="In training, a run of fewer frames than this is set to 0 in each clip, after"
        " the convolutions and, on its own, in the embeddings; 2024: 16; 0: none.",
    )
    dropstep_share: float = Field(
        1.0, gt=0.0, le=1.0, description="Most of a clip that such a run takes up; 2024: 0.3."
    )
    attention: Literal["classes", "time", "none"] = Field(
        "classes",
        description="Weights of frames for clip-level probabilities: softmax over classes"
        " (published), softmax over time, or none, which is the mean over time.",
    )
    heads: tuple[Size, ...] = Field(
        (),
        description="Numbers of classes of each data set, in the order of the classes: a softmax"
        " over classes runs within each; empty: one for all.",
    )
    class_masks: bool = Field(
        False,
        description="One more input, the classes that are annotated in a clip's data set: others"
        " get no attention and the output 0, as in 2024.",
    )
    dynamic_layers: tuple[bool, ...] = Field(
        (), description="For each convolution, whether it is dynamic; empty: none."
    )
    dynamic_kernels: Size = Field(4, description="Basis kernels of a dynamic convolution.")
    dynamic_pooling: DynamicPooling = Field(
        "time",
        description="Mean from which the kernels' weights are computed: time gives weights for each"
        " band (frequency dynamic), frequency and channels for each frame, both for the clip.",
    )
    dynamic_temperature: float = Field(
        31.0, gt=0.0, description="Divides the scores of basis kernels before their softmax."
    )
    embeddings: Literal["none", "pool1d", "interpolate", "frame", "global"] = Field(
        "none",
        description="How frames of another model's embeddings are joined to those of the"
        " convolutions: mean of those at the same time, the nearest one, the last state of a GRU"
        " over all, or the mean of all.",
    )
    embedding_size: int = Field(0, ge=0, description="Numbers in an embedding, such as 768.")
    embedding_units: Size = Field(512, description="Units of the GRU of `embeddings: frame`.")
    initialisation: Literal["dcase2019", "pytorch"] = Field(
        "pytorch", description="First weights: those of 2019 and 2020, or PyTorch's, from 2021 on."
    )

    @model_validator(mode="after")
    def _settings_fit_together(self) -> "NetworkConfig":
        even = [size for size in self.kernels_of_blocks if size % 2 == 0]
        if even:
            raise ValueError(f"`kernel_size`: expected odd sizes. Received: {even[0]}.")
        if (self.embeddings == "none") != (self.embedding_size == 0):
            raise ValueError(
                "`embeddings` and `embedding_size` belong together. Expected: both or none."
                f" Received: {self.embeddings} and {self.embedding_size}."
            )
        return self

    @property
    def kernels_of_blocks(self) -> tuple[int, ...]:
        """Frames and bands of a filter, one number for each convolution."""
        return of_blocks(self.kernel_size, self.n_blocks)

    @property
    def dynamic_blocks(self) -> tuple[bool, ...]:
        """For each convolution, whether it is dynamic."""
        return self.dynamic_layers or (False,) * self.n_blocks

    @property
    def dynamic_options(self) -> DynamicOptions:
        """Options of the dynamic convolutions."""
        return DynamicOptions(
            self.dynamic_kernels,
            self.dynamic_pooling,
            self.dynamic_temperature,
            self.freeze_batch_norm,
        )


def check_network(network: NetworkConfig, shape: Shape) -> None:
    """Checks that a network fits the features, before any work.

    Args:
        network: layer sizes.
        shape: frames of a sequence (None: any number), bands and channels, (T, F, C). Frames and
            bands that do not fill a pool are dropped, as published: 626 frames make 156.

    Raises:
        ConfigError: lists of different lengths, or pools that leave no band or no frame.
    """
    lists: dict[str, tuple[Any, ...]] = {
        "n_filters": network.filters_of_blocks,
        "pool_frames": network.frames_of_blocks,
        "kernel_size": network.kernels_of_blocks,
        "dynamic_layers": network.dynamic_blocks,
    }
    check_lists(lists, network.n_blocks)
    frames, bands, _ = shape
    check_bands(bands, network.pool_bands, trailing_bands=True)
    if frames is not None and frames < network.time_pooling:
        raise ConfigError(
            f"The network pools {network.time_pooling} frames into one. Expected: sequences of at"
            f" least as many. Received: {frames}. Change `pipeline.sequence_frames` or"
            " `network.pool_frames`."
        )


def build_model(shape: Shape, n_classes: int, network: NetworkConfig) -> keras.Model:
    """Builds the network; student and teacher are two of them.

    Args:
        shape: frames (None: any number), bands and channels of one example, (T, F, C).
        n_classes: number of event classes, K.
        network: layer sizes and form.

    Returns:
        Model from standardised features (B, T, F, C) or, with more inputs, from {"features": the
        same, "embeddings": (B, L, D) of any L, "valid_classes": bool (B, K)}, of which the last two
        are there if `network` asks for them; to probabilities {"frames": (B, T', K), "clip": (B,
        K)}, float32 under any precision policy, with T' = T // network.time_pooling.

    Raises:
        ConfigError: the layers do not fit `shape`, or the heads the classes.

    References:
        Turpault, Serizel, Salamon, Shah, "Sound event detection in domestic environments with
        weakly labeled data and soundscape synthesis", DCASE 2019. Ronchini et al., DCASE 2021,
        arXiv:2109.14061. Cornell et al., "DCASE 2024 task 4", arXiv:2406.08056. Nam et al.,
        Interspeech 2022, arXiv:2203.15296 (dynamic convolutions). Tarvainen, Valpola, "Mean
        teachers are better role models", NeurIPS 2017, arXiv:1703.01780.
    """
    check_network(network, shape)
    if network.heads and sum(network.heads) != n_classes:
        raise ConfigError(
            "`network.heads` must add up to the classes of the data set. Expected: a sum of"
            f" {n_classes}. Received: {list(network.heads)}."
        )
    features = keras.Input(shape, name="features", dtype="float32")
    inputs = {"features": features}
    x = _drop_step(_convolutions(features, network), network, "dropstep")  # (B, T', D)
    if network.embeddings == "none":
        x = _dropped(x, network.gru_input_dropout, "gru_input_drop")
    else:
        size = (None, network.embedding_size)
        inputs["embeddings"] = keras.Input(size, name="embeddings", dtype="float32")
        x = _with_embeddings(x, inputs["embeddings"], network)  # (B, T', D)
    x = _recurrent(x, network)  # (B, T', 2 * units)
    valid = None
    if network.class_masks:
        valid = keras.Input((n_classes,), name="valid_classes", dtype="bool")
        inputs["valid_classes"] = valid
    outputs = _probabilities(x, valid, n_classes, network)
    only_features = len(inputs) == 1
    return keras.Model(features if only_features else inputs, outputs, name="mean_teacher")


def _convolutions(x: Any, network: NetworkConfig) -> Any:
    """Applies the convolutions: (B, T, F, C) -> (B, T', D), the channels of a band together."""
    n_channels = x.shape[-1]
    if network.shared_channels:
        x = ChannelsToBatch(name="channels_apart")(x)  # (B * C, T, F, 1)
    for number in range(network.n_blocks):
        x = _block(x, number, network)
    if network.shared_channels:
        x = BatchToChannels(n_channels, name="channels_joined")(x)  # (B, T', F', C * filters)
    return keras.layers.Reshape((-1, x.shape[2] * x.shape[3]), name="frames_of_maps")(x)


def _block(x: Any, number: int, network: NetworkConfig) -> Any:
    """Applies one convolution, normalisation, activation, dropout and average pooling."""
    layers, last = keras.layers, {"data_format": "channels_last"}
    n_filters, kernel = network.filters_of_blocks[number], network.kernels_of_blocks[number]
    if network.dynamic_blocks[number]:
        x = dynamic_convolution(x, n_filters, kernel, network.dynamic_options, f"conv{number}")
    else:
        start = _first_weights(network, kernel * kernel * x.shape[-1], is_conv=True) | last
        x = layers.Conv2D(n_filters, kernel, padding="same", name=f"conv{number}", **start)(x)
    x = _normalised(x, number, network)  # (B, T, F, n_filters)
    if network.activation in ("glu", "cg"):
        start = _first_weights(network, n_filters)
        dense = layers.Dense(n_filters, name=f"gate{number}", **start)
        x = gate(x, network.activation, dense, f"gate{number}")
    elif network.activation == "relu":
        x = layers.Activation("relu", name=f"relu{number}")(x)
    else:
        x = layers.LeakyReLU(LEAKY_SLOPE, name=f"relu{number}")(x)
    x = _dropped(x, network.dropout, f"drop{number}")
    pool = network.frames_of_blocks[number], network.pool_bands[number]
    if pool == (1, 1):
        return x
    return layers.AveragePooling2D(pool, name=f"pool{number}", **last)(x)


def _normalised(x: Any, number: int, network: NetworkConfig) -> Any:
    if network.normalization == "layer":
        options: dict[str, Any] = {"groups": 1, "epsilon": NORM_EPSILON}
        return keras.layers.GroupNormalization(name=f"ln{number}", **options)(x)
    deviation = 0.02 if network.initialisation == "dcase2019" else 0.0
    norm = network.norm(deviation, unbiased=True, frozen=network.freeze_batch_norm)
    return norm.layer(f"bn{number}")(x)


def _first_weights(network: NetworkConfig, fan_in: int, is_conv: bool = False) -> dict[str, Any]:
    """First weights of a convolution or a dense layer, with `fan_in` inputs for an output."""
    if network.initialisation == "pytorch":
        return torch_initializers(fan_in)
    if is_conv:
        return {"kernel_initializer": keras.initializers.VarianceScaling(2.0, "fan_avg", "uniform")}
    return {"kernel_initializer": keras.initializers.RandomNormal(0.0, 0.01)}


def _gru(units: int, network: NetworkConfig, **options: Any) -> keras.layers.GRU:
    """Makes a recurrent layer with first weights as published."""
    start: dict[str, Any] = torch_initializers(units)
    if network.initialisation == "dcase2019":
        start["kernel_initializer"] = keras.initializers.Orthogonal()
        start["recurrent_initializer"] = keras.initializers.Orthogonal()
    else:
        start["recurrent_initializer"] = torch_initializers(units)["kernel_initializer"]
    return keras.layers.GRU(units, **start, **options)


def _recurrent(x: Any, network: NetworkConfig) -> Any:
    """Applies the recurrent layers and the dropout after them."""
    for number, units in enumerate(network.gru_units):
        if number:
            x = _dropped(x, network.gru_dropout, f"gru{number}_drop")
        gru = _gru(units, network, return_sequences=True)
        x = keras.layers.Bidirectional(gru, merge_mode="concat", name=f"gru{number}")(x)
    return _dropped(x, network.dropout, "drop")


def _dropped(x: Any, rate: float, name: str) -> Any:
    return keras.layers.Dropout(rate, name=name)(x) if rate else x


def _drop_step(x: Any, network: NetworkConfig, name: str) -> Any:
    if not network.dropstep_frames:
        return x
    return DropFrames(network.dropstep_frames, network.dropstep_share, name=name)(x)


def _with_embeddings(x: Any, embeddings: Any, network: NetworkConfig) -> Any:
    """Joins embeddings (B, L, any) to (B, T', D): (B, T', D)."""
    layers, width, kind = keras.layers, x.shape[-1], network.embeddings
    if kind in ("frame", "global"):
        summary = _summary(embeddings, network)  # (B, any)
        start = _first_weights(network, summary.shape[-1])
        summary = layers.Dense(width, name="embedding_dense", **start)(summary)  # (B, D)
        norm = layers.LayerNormalization(epsilon=NORM_EPSILON, name="embedding_norm")
        aligned = AlignFrames("repeat", name="embedding_frames")(norm(summary), like=x)
    else:
        alignment: Alignment = "pool1d" if kind == "pool1d" else "interpolate"
        align = AlignFrames(alignment, name="embedding_frames")
        aligned = align(embeddings, like=x)  # (B, T', any)
    aligned = _drop_step(aligned, network, "embedding_dropstep")
    x = layers.Concatenate(name="with_embeddings")([x, aligned])
    x = _dropped(x, network.gru_input_dropout, "gru_input_drop")
    return layers.Dense(width, name="join", **_first_weights(network, x.shape[-1]))(x)


def _summary(embeddings: Any, network: NetworkConfig) -> Any:
    """Makes one vector of the embeddings of a clip: (B, L, any) -> (B, any)."""
    if network.embeddings == "global":
        return Aggregate("average", axis=1, name="embedding_mean")(embeddings)
    # What a bidirectional GRU gives for the last frame, as published: there, its backward half has
    # seen one frame only, so that the others need not be computed.
    forward = _gru(network.embedding_units, network, name="embedding_forward")(embeddings)
    last = LastFrame(name="embedding_last")(embeddings)  # (B, 1, any)
    backward = _gru(network.embedding_units, network, name="embedding_backward")(last)
    return keras.layers.Concatenate(name="embedding_state")([forward, backward])


def _probabilities(x: Any, valid: Any, n_classes: int, network: NetworkConfig) -> dict[str, Any]:
    """Computes frame-level and clip-level probabilities from (B, T', D), in float32."""
    layers = keras.layers
    options = {"dtype": "float32"} | _first_weights(network, x.shape[-1])
    frames = layers.Dense(n_classes, "sigmoid", name="dense", **options)(x)  # (B, T', K)
    if network.attention == "none":
        clip = Aggregate("average", axis=1, name="over_time")(frames)  # (B, K)
    else:
        options = {"dtype": "float32"} | _first_weights(network, x.shape[-1])
        scores = layers.Dense(n_classes, name="dense_softmax", **options)(x)
        pooling = AttentionPooling(network.attention, network.heads, name="over_time")
        clip = pooling(frames, scores) if valid is None else pooling(frames, scores, valid=valid)
    if valid is not None:
        frames = ValidClasses(name="valid_frames", dtype="float32")(frames, valid)
        clip = ValidClasses(name="valid_clip", dtype="float32")(clip, valid)
    return {"frames": frames, "clip": clip}


def torch_names(network: NetworkConfig) -> Names:
    """Names of the published PyTorch weights, see `common.models.torch_weights`.

    Returns:
        By Keras name, see `common.models.layers.weights_by_name`: name in the state dict, or names
        of the tensors that make one weight, and kind of tensor. Published networks leave one band,
        so that the order of bands and channels before the GRU does not matter.
    """
    names: dict = {}
    for n in range(network.n_blocks):
        names |= _block_names(n, network)
    for n in range(len(network.gru_units)):
        names |= gru_names(f"gru{n}", "rnn.rnn", n)
    if network.embeddings != "none":
        names |= linear_names("join", "cat_tf")
    if network.embeddings in ("frame", "global"):
        names |= linear_names("embedding_dense", "shrink_emb.0")
        names |= layer_norm_names("embedding_norm", "shrink_emb.1")
    if network.embeddings == "frame":
        for way, ending in (("forward", "l0"), ("backward", "l0_reverse")):
            names |= gru_way_names(f"embedding_{way}", "frame_embs_encoder", ending)
    for head in ("dense", "dense_softmax")[: 1 if network.attention == "none" else 2]:
        names |= _head_names(head, network.heads)
    return names


def _block_names(n: int, network: NetworkConfig) -> Names:
    there = "cnn.cnn"
    conv = f"conv{n}", f"{there}.conv{n}"
    if network.dynamic_blocks[n]:
        dynamic = network.dynamic_kernels, network.dynamic_pooling
        names = dict(dynamic_names(*conv, *dynamic))
    else:
        names = dict(linear_names(*conv, "conv"))
    if network.normalization == "layer":
        names |= layer_norm_names(f"ln{n}", f"{there}.layernorm{n}")
    else:
        names |= batch_norm_names(f"bn{n}", f"{there}.batchnorm{n}")
    if network.activation in ("glu", "cg"):
        names |= linear_names(f"gate{n}", f"{there}.{network.activation}{n}.linear")
    return names


def _head_names(head: str, sizes: Sequence[int]) -> Names:
    """Names of the dense layer of all heads here, which is one for each there."""
    if len(sizes) < 2:
        return linear_names(head, head)
    weights, biases = joined_linear(sizes)
    numbers = range(len(sizes))
    return {
        f"{head}/kernel": (tuple(f"{head}.{n}.weight" for n in numbers), weights),
        f"{head}/bias": (tuple(f"{head}.{n}.bias" for n in numbers), biases),
    }


def published_state(
    state: Mapping[str, np.ndarray], network: NetworkConfig
) -> dict[str, np.ndarray]:
    """Brings a published state dict to the names of `torch_names`.

    Checkpoints of 2019 and 2020 lack the weights of the attention, by an error of their code. They
    become zeros, with a warning: then all frames weigh the same, and clip-level probabilities are
    the mean over time.

    Args:
        state: arrays by their names in the checkpoint.
        network: the network's settings.

    Returns:
        Arrays by the names of `torch_names`, as far as they are there.

    Raises:
        CheckpointError: the state dict holds a student and a teacher.
    """
    parts = [part for part in BOTH_NETWORKS if any(name.startswith(part) for name in state)]
    if parts:
        found = " and ".join(part.removesuffix(".") for part in parts)
        raise CheckpointError(
            f"The checkpoint holds {found} next to each other. Expected: one network. Choose it"
            " with --part, such as --part state_dict.sed_teacher."
        )
    arrays = {_full_name(name): array for name, array in state.items()}
    has_attention = any(name.startswith("dense_softmax.") for name in arrays)
    if network.attention == "none" or has_attention:
        return arrays
    logger.warning(
        "The checkpoint has no weights of the attention (dense_softmax), which the code of 2019 and"
        " 2020 did not store: clip-level probabilities are the mean over time."
    )
    lacking = {
        name.replace("dense.", "dense_softmax.", 1): np.zeros_like(array)
        for name, array in arrays.items()
        if name.startswith("dense.")
    }
    return arrays | lacking


def _full_name(name: str) -> str:
    """Name in a state dict with the name of the sequence that some versions left out."""
    short = name.startswith("cnn.") and not name.startswith("cnn.cnn.")
    return f"cnn.{name}" if short else name

"""EINV2: tracks that each hold one event, two branches of convolutions that exchange what they see.

Detection and direction have a branch each, and each track of each has an attention of its own; the
order of tracks is left to the loss, `seld.losses.tracks.TrackError`.
"""

import math
from collections.abc import Mapping
from typing import Annotated, Any, cast, get_args

import keras
import numpy as np
from pydantic import Field
from scipy.special import expit

from common.errors import ConfigError
from common.models.attention import transformer_layer
from common.models.layers import Aggregate, NormConfig, stacked_conv_block
from common.models.merging import CrossStitch, FirstChannels
from common.models.torch_weights import Names, batch_norm_names, linear_names, transformer_names
from common.training.system import Stage
from seld.config import TaskConfig
from seld.decoding import decode_tracks, label_rows
from seld.losses.directions import check_loss
from seld.losses.tracks import DoaError, TrackError
from seld.targets import SeldTargets, TargetForm

Size = Annotated[int, Field(gt=0)]
BRANCHES = ("sed", "doa")
N_AXES = 3  # x, y, z


class NetworkConfig(NormConfig):
    """Sizes of the network."""

    filters: tuple[Size, ...] = Field(
        (64, 128, 256, 512), min_length=1, description="Filters of each block of two convolutions."
    )
    pool_frames: tuple[Size, ...] = Field(
        (2, 2, 1, 1), description="Frames pooled after each block, one entry for each."
    )
    pool_bands: Size = Field(2, description="Bands pooled after each block.")
    sed_channels: Size = Field(
        4, description="Channels of the features, from the first on, that detection sees: spectra."
    )
    n_tracks: int = Field(2, ge=2, description="Tracks, each for one event at a time.")
    encoder_layers: Size = Field(2, description="Transformer layers of each track and branch.")
    encoder_heads: Size = Field(8, description="Heads of each attention.")
    encoder_units: Size = Field(1024, description="Units between the dense layers of each.")
    dropout: float = Field(0.2, ge=0.0, lt=1.0, description="Dropout rate in transformer layers.")

    @property
    def time_pooling(self) -> int:
        """Feature frames of one output frame; the labels' `target_stride`."""
        return math.prod(self.pool_frames)


def check_network(network: NetworkConfig, shape: tuple[int | None, int, int]) -> None:
    """Checks that a network fits the features, before any work.

    Args:
        network: layer sizes.
        shape: frames of a sequence (None: any number), bands and channels, (T, F, C).

    Raises:
        ConfigError: lists of different lengths, fewer bands or channels than are needed, heads that
            do not divide the filters, or frames that do not fill the pools.
    """
    frames, bands, channels = shape
    n_blocks, pooled = len(network.filters), network.pool_bands ** len(network.filters)
    if len(network.pool_frames) != n_blocks:
        raise ConfigError(
            "`network.pool_frames` must have one entry for each of `network.filters`. Expected:"
            f" {n_blocks} entries. Received: {list(network.pool_frames)}."
        )
    if network.sed_channels > channels:
        raise ConfigError(
            f"`network.sed_channels` must be channels of the features. Expected: at most {channels}"
            f". Received: {network.sed_channels}."
        )
    if bands < pooled:
        raise ConfigError(
            f"The blocks pool {pooled} bands into one. Expected: features of no fewer bands."
            f" Received: {bands}. Change `network.pool_bands`, `network.filters` or the number of"
            " bands in `features`."
        )
    if network.filters[-1] % network.encoder_heads:
        raise ConfigError(
            "The heads of an attention share its width. Expected: `network.encoder_heads` that"
            f" divides {network.filters[-1]}, the last of `network.filters`. Received:"
            f" {network.encoder_heads}."
        )
    if frames is not None and frames % network.time_pooling:
        raise ConfigError(
            "`network.pool_frames` must divide the frames of a sequence. Expected: a sequence of a"
            f" multiple of {network.time_pooling} frames. Received: {frames}. Change"
            " `pipeline.sequence_frames` or `network.pool_frames`."
        )


def build_model(
    shape: tuple[int | None, int, int], n_classes: int, network: NetworkConfig
) -> keras.Model:
    """Builds EINV2.

    Args:
        shape: frames (None: any number), bands and channels of one example, (T, F, C).
        n_classes: number of event classes, K.
        network: layer sizes.

    Returns:
        Model from standardised features (B, T, F, C) to {"tracks": (B, T', N, K + 3)}, float32
        under any precision policy, with T' = T // network.time_pooling and N tracks: K logits (not
        probabilities: the loss is exact for large ones), then x, y, z in [-1, 1]. One tensor, since
        the loss chooses the order of tracks by both parts; `seld.losses.tracks.split_tracks` splits
        it.

    Raises:
        ConfigError: the layers do not fit `shape`.

    References:
        Cao et al., "An improved event-independent network for polyphonic sound event localization
        and detection", ICASSP 2021, arXiv:2010.13092.
    """
    check_network(network, shape)
    spectra = keras.Input(shape, name="spectra", dtype="float32")  # (B, T, F, C)
    sed, doa = _branches(spectra, network)  # (B, T', F', filters) each
    sed = Aggregate("average", axis=2, name="sed_over_bands")(sed)  # (B, T', filters)
    doa = Aggregate("average", axis=2, name="doa_over_bands")(doa)
    layers, parts = keras.layers, {"sed": (sed, n_classes, None), "doa": (doa, N_AXES, "tanh")}
    tracks = []
    for track in range(1, network.n_tracks + 1):
        ends = []
        for branch, (x, n_outputs, activation) in parts.items():
            x = _encoder(x, network, f"{branch}_track{track}")  # (B, T', filters)
            name = f"fc_{branch}_track{track}"
            ends.append(layers.Dense(n_outputs, activation, name=name, dtype="float32")(x))
        joined = layers.Concatenate(name=f"track{track}", dtype="float32")(ends)  # (B, T', K + 3)
        tracks.append(joined)
    output = layers.Concatenate(name="all_tracks", dtype="float32")(tracks)
    sizes = (-1, network.n_tracks, n_classes + N_AXES)
    output = layers.Reshape(sizes, name="tracks", dtype="float32")(output)  # (B, T', N, K + 3)
    return keras.Model(spectra, {"tracks": output}, name="einv2")


def _branches(spectra: Any, network: NetworkConfig) -> tuple[Any, Any]:
    """Applies the convolutions of both branches to (B, T, F, C), which exchange maps."""
    sed, doa = FirstChannels(network.sed_channels, name="sed_channels")(spectra), spectra
    norm, n_blocks = network.norm(), len(network.filters)
    pools = zip(network.filters, network.pool_frames, strict=True)
    for number, (n_filters, frames) in enumerate(pools, start=1):
        sed, doa = (
            stacked_conv_block(
                x,
                n_filters,
                kernel=3,
                pool=(frames, network.pool_bands),
                pooling="average",
                initialisation="glorot_uniform",
                norm=norm,
                names=[
                    (f"{branch}_block{number}_conv{n}", f"{branch}_block{number}_bn{n}")
                    for n in (1, 2)
                ],
            )
            for branch, x in (("sed", sed), ("doa", doa))
        )  # (B, T', F', n_filters) each
        if number < n_blocks:
            sed, doa = CrossStitch(n_filters, name=f"stitch{number - 1}")([sed, doa])
    return sed, doa


def _encoder(x: Any, network: NetworkConfig, name: str) -> Any:
    """Applies the transformer layers of one track to (B, T', filters)."""
    for number in range(network.encoder_layers):
        x = transformer_layer(
            x,
            network.encoder_heads,
            network.encoder_units,
            dropout=network.dropout,
            name=f"{name}_layer{number}",
        )
    return x


def stages(task: TaskConfig) -> list[Stage]:
    """Lists the trainings of the system: one. The loss weights of both parts are its beta.

    Raises:
        ConfigError: the loss is of another system.
    """
    network = NetworkConfig.model_validate(task.network)
    n_classes, training = task.dataset.n_classes, task.training
    check_loss(training.doa_loss, get_args(DoaError), "einv2")
    weights, doa_error = training.loss_weights, cast(DoaError, training.doa_loss)
    loss = TrackError(weights["sed"] / sum(weights.values()), doa_error=doa_error)
    form = TargetForm("tracks", n_classes, n_tracks=network.n_tracks)
    return [
        Stage(
            name="seld",
            build=lambda shape: build_model(shape, n_classes, network),
            targets={},
            losses={"tracks": loss},
            loss_weights={"tracks": 1.0},
            target_stride=network.time_pooling,
            event_targets=SeldTargets.of(task, form),
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
    """Turns the outputs for one recording into rows; arguments as for `accdoa.decode`.

    Returns:
        Rows (n, 7), see `seld.recordings.rows`, one for a track with a class above the threshold.

    Raises:
        ValueError: there is no output frame, though the recording has frames.
    """
    logits, directions = outputs["tracks"][..., :-N_AXES], outputs["tracks"][..., -N_AXES:]
    found = decode_tracks(expit(logits), directions, threshold)
    return label_rows(found, len(logits), n_frames, hop_ratio, network.time_pooling)


def torch_names(network: NetworkConfig) -> Names:
    """Names of the published PyTorch weights, see `common.models.torch_weights`.

    Returns:
        By Keras name, see `common.models.layers.weights_by_name`: name in the state dict and kind
        of tensor.
    """
    names: dict = {}
    n_blocks = len(network.filters)
    for branch in BRANCHES:
        for block in range(1, n_blocks + 1):
            there = f"{branch}_conv_block{block}.0.double_conv"
            for n in (1, 2):
                conv, norm = f"{there}.{3 * n - 3}.weight", f"{there}.{3 * n - 2}"
                names[f"{branch}_block{block}_conv{n}/kernel"] = conv, "conv"
                names |= batch_norm_names(f"{branch}_block{block}_bn{n}", norm)
        for track in range(1, network.n_tracks + 1):
            for n in range(network.encoder_layers):
                here = f"{branch}_track{track}_layer{n}"
                there = f"{branch}_trans_track{track}.layers.{n}"
                names |= transformer_names(here, there)
            fc = f"fc_{branch}_track{track}"
            names |= linear_names(fc, fc)
    names |= {f"stitch{n}/stitch": (f"stitch.{n}", "vector") for n in range(n_blocks - 1)}
    return names

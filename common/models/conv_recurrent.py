"""Convolutional recurrent networks: sizes, their check, and the layers up to the heads."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import keras
from pydantic import Field

from common.errors import ConfigError
from common.models.layers import KERAS_NORM, NormOptions, conv_block, hard_sigmoid_keras2
from common.settings.section import Section

Size = Annotated[int, Field(gt=0)]
PoolBands = Annotated[
    tuple[Size, ...],
    Field(min_length=1, description="Pool size in bands of each convolution, one entry for each."),
]
GruUnits = Annotated[
    tuple[Size, ...],
    Field(description="Units of each direction of each bidirectional GRU, one entry for each."),
]
_DROPOUT = "Dropout rate after convolutions, before GRUs and after dense layers."
Dropout = Annotated[float, Field(ge=0.0, lt=1.0, description=_DROPOUT)]
Shape = tuple[int | None, int, int]


class ConvConfig(Section):
    """Sizes of convolutions, each followed by a pooling."""

    n_filters: Size | tuple[Size, ...] = Field(
        64, description="Filters of each convolution; one number for all, or a list."
    )
    pool_bands: PoolBands
    pool_frames: Size | tuple[Size, ...] = Field(
        1, description="Pool size in frames of each convolution; one number for all, or a list."
    )

    @property
    def n_blocks(self) -> int:
        """Number of convolutions."""
        return len(self.pool_bands)

    @property
    def filters_of_blocks(self) -> tuple[int, ...]:
        """Filters, one number for each convolution."""
        return of_blocks(self.n_filters, self.n_blocks)

    @property
    def frames_of_blocks(self) -> tuple[int, ...]:
        """Pooled frames, one number for each convolution."""
        return of_blocks(self.pool_frames, self.n_blocks)

    @property
    def time_pooling(self) -> int:
        """Frames of features for one frame of output; the labels' `target_stride`."""
        return math.prod(self.frames_of_blocks)


class ConvRecurrentConfig(ConvConfig):
    """Sizes of convolutions over frequency and recurrent layers over time."""

    gru_units: GruUnits
    dropout: Dropout = 0.0
    batch_norm_over: Literal["channels", "bands"] = Field(
        "channels", description="Axis that is normalised entry by entry; bands: as in SELDnet."
    )
    gru_reset_after: bool = Field(True, description="true: as in fused kernels; false: Keras 2.")
    gru_recurrent_activation: Literal["sigmoid", "hard_sigmoid_keras2"] = Field(
        "sigmoid", description="hard_sigmoid_keras2: clip(0.2 x + 0.5, 0, 1), as in Keras 2."
    )


def of_blocks(sizes: int | tuple[int, ...], n_blocks: int) -> tuple[int, ...]:
    """Sizes, one for each convolution, from a list or from one number for all."""
    return (sizes,) * n_blocks if isinstance(sizes, int) else sizes


def check_lists(lists: Mapping[str, tuple[Any, ...]], n_blocks: int) -> None:
    """Checks that settings have one entry for each convolution.

    Args:
        lists: entries by the name of the setting in `network`.
        n_blocks: number of convolutions, that is of entries of `network.pool_bands`.

    Raises:
        ConfigError: a list of another length.
    """
    for name, values in lists.items():
        if len(values) != n_blocks:
            raise ConfigError(
                f"`network.{name}` must have one entry for each of `network.pool_bands`. "
                f"Expected: {n_blocks} entries, or one number. Received: {list(values)}."
            )


def check_sizes(network: ConvConfig, shape: Shape, *, trailing_bands: bool = False) -> None:
    """Checks that the layers fit the features, before any work.

    Args:
        network: layer sizes.
        shape: frames of a sequence (None: any number), bands and channels, (T, F, C).
        trailing_bands: bands that do not fill a pool may be dropped.

    Raises:
        ConfigError: lists of different lengths, pools that do not divide the bands or the frames.
    """
    lists = {"n_filters": network.filters_of_blocks, "pool_frames": network.frames_of_blocks}
    check_lists(lists, network.n_blocks)
    frames, bands, _ = shape
    check_bands(bands, network.pool_bands, trailing_bands)
    if frames is not None and frames % network.time_pooling:
        raise ConfigError(
            "`network.pool_frames` must divide the frames of a sequence. Expected: a sequence of a"
            f" multiple of {network.time_pooling} frames. Received: {frames}. Change"
            " `pipeline.sequence_frames` or `pool_frames`."
        )


def check_bands(bands: int, pools: tuple[int, ...], trailing_bands: bool) -> None:
    """Checks that pools divide the bands or, if trailing ones may be dropped, leave one.

    Raises:
        ConfigError: they do not.
    """
    product = math.prod(pools)
    if bands % product == 0 or (trailing_bands and bands > product):
        return
    wanted = f"a product of at most {bands}"
    if not trailing_bands:
        wanted = f"divisors whose product divides {bands}"
    raise ConfigError(
        "`network.pool_bands` must divide the bands of the features. Expected:"
        f" {wanted}. Received: {list(pools)}, whose product is {product}. Change"
        " `network.pool_bands` or the number of bands in `features`."
    )


def conv_recurrent(
    x: Any, network: ConvRecurrentConfig, *, merge_mode: Literal["mul", "concat"]
) -> Any:
    """Applies convolutions and recurrent layers.

    Args:
        x: standardised features (B, T, F, C).
        network: layer sizes.
        merge_mode: combination of the two directions of a recurrent layer.

    Returns:
        (B, T', D) with T' = T // network.time_pooling; D = units of the last recurrent layer, twice
        that for "concat".
    """
    x = convolutions(x, network)  # (B, T', F' * filters)
    for number, units in enumerate(network.gru_units):
        gru = recurrent_layer(units, network, merge_mode=merge_mode, name=f"gru{number}")
        x = gru(x)  # (B, T', D)
    return x


def convolutions(
    x: Any,
    network: ConvRecurrentConfig,
    *,
    norm: NormOptions = KERAS_NORM,
    drop_channels: bool = False,
) -> Any:
    """Applies the convolutions, and joins what they leave of each frame.

    Args:
        x: standardised features (B, T, F, C).
        network: layer sizes.
        norm: options of batch normalisation.
        drop_channels: dropout of whole channels, not of single entries.

    Returns:
        (B, T', F' * filters) with T' = T // network.time_pooling: the filters of a band stand next
        to each other.
    """
    options: dict[str, Any] = {
        "norm_axis": -1 if network.batch_norm_over == "channels" else 2,
        "norm": norm,
        "dropout": network.dropout,
        "drop_channels": drop_channels,
    }
    pools = zip(network.frames_of_blocks, network.pool_bands, strict=True)
    blocks = zip(network.filters_of_blocks, pools, strict=True)
    for number, (n_filters, pool) in enumerate(blocks):
        x = conv_block(x, n_filters, pool=pool, name=str(number), **options)  # (B, T', F', filters)
    flat = (-1, x.shape[2] * x.shape[3])
    return keras.layers.Reshape(flat, name="frames")(x)


def recurrent_layer(
    units: int,
    network: ConvRecurrentConfig,
    *,
    merge_mode: Literal["mul", "concat"],
    name: str,
    drop_inputs: bool = True,
) -> keras.layers.Layer:
    """Makes a bidirectional GRU: (B, T, any) -> (B, T, D), D units, twice that for "concat".

    Inputs are dropped out at the network's rate, the same ones in all frames, if `drop_inputs`.
    """
    hard = network.gru_recurrent_activation == "hard_sigmoid_keras2"
    gru = keras.layers.GRU(
        units,
        return_sequences=True,
        # Not of the state, as published: fused kernels cannot do that.
        dropout=network.dropout if drop_inputs else 0.0,
        reset_after=network.gru_reset_after,
        recurrent_activation=hard_sigmoid_keras2 if hard else "sigmoid",
    )
    return keras.layers.Bidirectional(gru, merge_mode=merge_mode, name=name)

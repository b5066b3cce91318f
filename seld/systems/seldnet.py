"""SELDnet, the baseline of DCASE 2019 task 3: a convolutional recurrent network, two heads."""

from collections.abc import Mapping
from typing import Any, Literal

import keras
import numpy as np
from pydantic import Field

from common.models.conv_recurrent import (
    ConvRecurrentConfig,
    GruUnits,
    PoolBands,
    Size,
    check_sizes,
    conv_recurrent,
)
from common.training.system import Stage
from seld.decoding import output_frames
from seld.geometry import FLOAT32_SLACK_DEG, snapped_deg
from seld.labels import INACTIVE_ELEVATION_DEG
from seld.losses.directions import seld_losses


class NetworkConfig(ConvRecurrentConfig):
    """Sizes of the network."""

    pool_bands: PoolBands = (8, 8, 4)
    gru_units: GruUnits = (128, 128)
    dense_units: tuple[Size, ...] = Field(
        (128,), description="Units of each dense layer before an output."
    )
    dense_activation: Literal["linear", "relu", "tanh"] = Field(
        "linear", description="Activation of the dense layers; linear as published."
    )
    doa_output: Literal["polar", "xyz"] = Field(
        "polar", description="polar: azimuth and elevation; xyz: Cartesian coordinates."
    )


def check_network(network: NetworkConfig, shape: tuple[int | None, int, int]) -> None:
    """Checks that a network fits the features, before any work.

    Args:
        network: layer sizes.
        shape: frames of a sequence (None: any number), bands and channels, (T, F, C).

    Raises:
        ConfigError: lists of different lengths, pools that do not divide the bands or the frames.
    """
    check_sizes(network, shape)


def dense_head(
    x: Any, n_outputs: int, network: NetworkConfig, *, activation: str, name: str
) -> Any:
    """Applies the dense layers of one head, frame by frame.

    Args:
        x: (B, T, units).
        n_outputs: size of the output.
        network: sizes of the layers between.
        activation: of the output.
        name: stem of the layers' names.

    Returns:
        (B, T, n_outputs), float32 under any precision policy, for exact thresholds and angles.
    """
    layers = keras.layers
    for number, units in enumerate(network.dense_units):
        stem = f"{name}_fnn{number}"
        x = layers.Dense(units, network.dense_activation, name=stem, dtype="float32")(x)
        if network.dropout:
            stem = f"{name}_drop{number}"
            x = layers.Dropout(network.dropout, name=stem, dtype="float32")(x)
    return layers.Dense(n_outputs, activation, name=f"{name}_out", dtype="float32")(x)


def build_model(
    shape: tuple[int | None, int, int], n_classes: int, network: NetworkConfig
) -> keras.Model:
    """Builds SELDnet: convolutions over frequency, recurrent layers over time, two heads.

    Args:
        shape: frames (None: any number), bands and channels of one example, (T, F, C).
        n_classes: number of event classes, K.
        network: layer sizes.

    Returns:
        Model from standardised features (B, T, F, C) to {"sed": (B, T', K) in [0, 1], "doa": (B,
        T', D)} with T' = T // network.time_pooling. D = 2K for polar outputs: K azimuths in
        radians, then K elevations stretched by pi / 50 degrees. D = 3K for xyz outputs: K x, K y, K
        z in [-1, 1].

    Raises:
        ConfigError: the layers do not fit `shape`.

    References:
        Adavanne et al., IEEE J. Sel. Topics Signal Process. 13(1), 2019, arXiv:1807.00129.
    """
    check_network(network, shape)
    spectra = x = keras.Input(shape, name="spectra", dtype="float32")  # (B, T, F, C)
    x = conv_recurrent(x, network, merge_mode="mul")  # (B, T', units)
    sed = dense_head(x, n_classes, network, activation="sigmoid", name="sed")  # (B, T', K)
    if network.doa_output == "polar":
        doa = dense_head(x, 2 * n_classes, network, activation="linear", name="doa")  # (B, T', 2K)
    else:
        doa = dense_head(x, 3 * n_classes, network, activation="tanh", name="doa")  # (B, T', 3K)
    return keras.Model(spectra, {"sed": sed, "doa": doa}, name="seldnet")


def stages(task: Any) -> list[Stage]:
    """Lists the trainings of the system: one, of both heads together.

    Args:
        task: a SELD task's settings, `seld.config.TaskConfig`.

    Returns:
        One stage.

    Raises:
        ConfigError: the loss does not fit the output.
    """
    network = NetworkConfig.model_validate(task.network)
    return [
        Stage(
            name="seld",
            build=lambda shape: build_model(shape, task.dataset.n_classes, network),
            targets={"sed": ("activity",), "doa": ("activity", "azimuth_deg", "elevation_deg")},
            losses=seld_losses(task.training.doa_loss, network.doa_output),
            loss_weights=task.training.loss_weights,
            target_stride=network.time_pooling,
        )
    ]


def directions_deg(doa: np.ndarray, doa_output: str) -> tuple[np.ndarray, np.ndarray]:
    """Turns DOA outputs into angles.

    Args:
        doa: (T', 2K) polar or (T', 3K) xyz, see `build_model`.
        doa_output: "polar" or "xyz".

    Returns:
        Azimuth and elevation, (T', K) float64 each, degrees. Polar outputs are unbounded and stay
        as they are; azimuths of vectors are within [-180, 180). Angles equal to whole degrees up to
        float32 precision are rounded: files cut angles, and 19.999999 would be 19.
    """
    values = doa.astype(np.float64)
    if doa_output == "polar":
        azimuth, elevation = np.split(values, 2, axis=-1)
        angles = np.rad2deg(azimuth), elevation * (INACTIVE_ELEVATION_DEG / np.pi)
    else:
        x, y, z = np.split(values, 3, axis=-1)
        angles = np.rad2deg(np.arctan2(y, x)), np.rad2deg(np.arctan2(z, np.hypot(x, y)))
    azimuth_deg, elevation_deg = (snapped_deg(angle, FLOAT32_SLACK_DEG) for angle in angles)
    if doa_output != "polar":
        azimuth_deg = np.where(azimuth_deg == 180.0, -180.0, azimuth_deg)
    return azimuth_deg, elevation_deg


def decode(
    outputs: Mapping[str, np.ndarray],
    *,
    network: NetworkConfig,
    threshold: float,
    n_frames: int,
    hop_ratio: float = 1.0,
) -> np.ndarray:
    """Turns the outputs for one recording into rows of the output format.

    Args:
        outputs: {"sed": (T', K), "doa": (T', D)}, the sequences of one recording joined along time.
        network: the network's settings.
        threshold: probability above which a class is active.
        n_frames: label frames of the recording; outputs are repeated by the time pooling and cut to
            this length, or the last one is repeated.
        hop_ratio: hop length of the labels divided by that of the features.

    Returns:
        float64 (n, 4): frame, class, azimuth and elevation in degrees; sorted by frame, then class.

    Raises:
        ValueError: there is no output frame, though the recording has frames.
    """
    sed = outputs["sed"]
    source = output_frames(n_frames, len(sed), hop_ratio, network.time_pooling)  # -> T'
    azimuth_deg, elevation_deg = directions_deg(outputs["doa"], network.doa_output)  # (T', K)
    frame, klass = np.nonzero((sed > threshold)[source])
    at = source[frame], klass
    return np.column_stack([frame, klass, azimuth_deg[at], elevation_deg[at]]).astype(np.float64)

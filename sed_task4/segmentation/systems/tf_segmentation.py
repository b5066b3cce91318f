"""Time-frequency segmentation: a spectrogram mask per class, pooled to tags, trained on tags."""

from collections.abc import Mapping
from typing import Annotated, Any, Self

import keras
import numpy as np
from pydantic import Field, model_validator

from common.errors import ConfigError
from common.models.layers import NormConfig, stacked_conv_block
from common.models.losses import MaskedBinaryCrossentropy
from common.models.rank_pooling import GlobalPooling, MapPooling
from common.models.torch_weights import BATCH_NORM
from common.training.system import Stage
from sed_task4.systems._outputs import clip_outputs
from sed_task4.systems.cnn import LOG_FLOOR

Size = Annotated[int, Field(gt=0)]
N_BLOCKS = 4


class NetworkConfig(NormConfig):
    """Sizes of the network, and the pooling of masks into tags."""

    filters: tuple[Size, ...] = Field(
        (32, 64, 128, 128), description="Filters of each block of two convolutions."
    )
    pooling: MapPooling = Field(
        "gwrp",
        description="Global pooling: gwrp: weighted rank pooling; gmp: maximum; gap: average.",
    )
    compared: tuple[MapPooling, ...] = Field(
        (), description="Further poolings that the same run trains and compares."
    )
    gwrp_decay: float = Field(
        0.9998,
        ge=0.0,
        le=1.0,
        description=(
            "Ratio of the weights of two successive ranks; about 1 / (1 - decay) values count."
            " 0.9998 suits the published 311 x 64 values; smaller masks need a smaller ratio."
        ),
    )
    output_bias: float = Field(
        0.0, description="Initial bias of the masks; below 0 they start nearly empty."
    )
    initialisation: str = Field(
        "he_uniform",
        pattern="^(he|glorot)_(uniform|normal)$",
        description="Keras initialiser of the kernels.",
    )

    @model_validator(mode="after")
    def _poolings_differ(self) -> Self:
        if len(set(self.poolings)) < len(self.poolings):
            given = self.poolings
            raise ValueError(f"`pooling` and `compared` must all differ. Received: {given}.")
        return self

    @property
    def poolings(self) -> tuple[MapPooling, ...]:
        """All poolings of a run, that of the system first."""
        return (self.pooling, *self.compared)

    @property
    def layer_names(self) -> tuple[tuple[tuple[str, str], ...], ...]:
        """For each block, the names of its convolutions and of their batch normalisations."""
        numbers = range(1, len(self.filters) + 1)
        return tuple(
            tuple((f"block{b}_conv{n}", f"block{b}_bn{n}") for n in (1, 2)) for b in numbers
        )


def check_network(network: NetworkConfig, shape: tuple[int | None, int, int]) -> None:
    """Checks that a network fits the features, before any work.

    Args:
        network: sizes.
        shape: frames of a sequence (None: any number), bands and channels, (T, F, C); unchecked.

    Raises:
        ConfigError: a wrong number of filters.
    """
    if len(network.filters) != N_BLOCKS:
        raise ConfigError(
            f"`network.filters` must have one entry for each block. Expected: {N_BLOCKS} entries. "
            f"Received: {list(network.filters)}."
        )


def build_model(
    shape: tuple[int | None, int, int], n_classes: int, network: NetworkConfig
) -> keras.Model:
    """Builds the network; all poolings have the same weights.

    Args:
        shape: frames (None: any number), bands and channels of one example, (T, F, C).
        n_classes: number of event classes, K.
        network: sizes and `pooling`.

    Returns:
        Model from standardised features (B, T, F, C) to probabilities {"clip": (B, K), "masks": (B,
        T, F, K)}, float32 under any precision policy.

    Raises:
        ConfigError: the layers do not fit `shape`.

    References:
        Kong, Xu, Wang, Plumbley, "Sound event detection and time-frequency segmentation from weakly
        labelled data", IEEE/ACM Trans. Audio Speech Lang. Process. 27(4), 2019, arXiv:1804.04715.
    """
    check_network(network, shape)
    norm = network.norm()
    spectra = x = keras.Input(shape, name="spectra", dtype="float32")  # (B, T, F, C)
    for n_filters, names in zip(network.filters, network.layer_names, strict=True):
        x = stacked_conv_block(
            x,
            n_filters,
            kernel=3,
            pool=(1, 1),
            pooling="max",
            initialisation=network.initialisation,
            norm=norm,
            names=names,
        )
    # (B, T, F, filters): nothing is pooled, so masks have the resolution of the features.
    masks = keras.layers.Conv2D(
        n_classes,
        1,
        activation="sigmoid",
        kernel_initializer=network.initialisation,
        bias_initializer=keras.initializers.Constant(network.output_bias),
        data_format="channels_last",
        name="masks",
        dtype="float32",
    )(x)
    # (B, T, F, K)
    clip = GlobalPooling(network.pooling, network.gwrp_decay, name="over_mask")(masks)  # (B, K)
    name = f"segmentation_{network.pooling}"
    return keras.Model(spectra, {"clip": clip, "masks": masks}, name=name)


def stages(task: Any) -> list[Stage]:
    """Lists the trainings of the system: one on tags for each pooling, each a system of its own.

    Args:
        task: a task's settings, `sed_task4.segmentation.config.TaskConfig`.

    Returns:
        One stage for each pooling, named for it. Keras needs targets for both outputs; the loss is
        of the tags only, whose entries of -1 do not count.
    """
    network = NetworkConfig.model_validate(task.network)
    copies = [network.model_copy(update={"pooling": pooling}) for pooling in network.poolings]
    return [_stage(task, copy) for copy in copies]


def _stage(task: Any, network: NetworkConfig) -> Stage:
    return Stage(
        name=network.pooling,
        build=lambda shape: build_model(shape, task.dataset.n_classes, network),
        targets={"clip": ("tags",), "masks": ("activity",)},
        losses={"clip": MaskedBinaryCrossentropy(LOG_FLOOR)},
        loss_weights={"clip": 1.0},
        part_of=network.pooling,
    )


def probabilities(
    outputs: Mapping[str, np.ndarray], *, network: NetworkConfig, n_frames: int
) -> tuple[np.ndarray, np.ndarray]:
    """Brings the outputs for one clip to its length, see `sed_task4.systems._outputs`.

    Args:
        outputs: {"clip": (K,) or (n, K), "masks": (T', F, K)}; masks are averaged over the bands.
        network: the network's settings.
        n_frames: frames of the clip at the hop length of the features, T.

    Returns:
        Frame-level (T, K) and clip-level (K,) probabilities, float32.
    """
    frames = outputs["masks"].mean(axis=1, dtype=np.float32)
    return clip_outputs({"frames": frames, "clip": outputs["clip"]}, n_frames, 1)


def torch_names(network: NetworkConfig) -> dict[str, tuple[str, str]]:
    """Names of the published PyTorch weights, see `common.models.torch_weights`.

    Returns:
        By Keras name, see `common.models.layers.weights_by_name`: name in the state dict and kind
        of tensor.
    """
    names: dict[str, tuple[str, str]] = {}
    for block, pairs in enumerate(network.layer_names, start=1):
        for n, (conv, norm) in enumerate(pairs, start=1):
            stored = f"bottleneck.conv_block{block}"
            names[f"{conv}/kernel"] = f"{stored}.conv{n}.weight", "conv"
            for part, name in BATCH_NORM.items():
                names[f"{norm}/{part}"] = f"{stored}.bn{n}.{name}", "vector"
    head = "bottleneck.final_conv"
    names["masks/kernel"] = f"{head}.weight", "conv"
    return names | {"masks/bias": (f"{head}.bias", "vector")}

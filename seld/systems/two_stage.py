"""Two-stage system of DCASE 2019 task 3: detection, then directions from its convolutions."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import keras
import numpy as np
from pydantic import Field, model_validator

from common.errors import ConfigError
from common.models.layers import Aggregate, NormConfig, Pooling, RecurrentGates, stacked_conv_block
from common.models.torch_weights import BATCH_NORM
from common.training.system import Stage
from seld.geometry import FLOAT32_SLACK_DEG, snapped_deg
from seld.losses.directions import two_stage_losses

Size = Annotated[int, Field(gt=0)]
ReverseInit = Literal["same", "torch"]
TorchNames = dict[str, tuple[str | tuple[str, ...], str]]
TARGETS = {"sed": ("activity",), "doa": ("activity", "azimuth_deg", "elevation_deg")}
STAGE_NAMES = ("sed", "doa", "seld")  # of all modes
HEADS = {"sed": ("event_fc",), "doa": ("azimuth_fc", "elevation_fc")}  # layers of each output
GAMMA_STD = 0.02  # of the initial scales of batch normalisation, whose mean is 1


class NetworkConfig(NormConfig):
    """Architecture of the network and training scheme."""

    architecture: Literal["crnn10", "vgg9"] = Field(
        "crnn10", description="crnn10: with a recurrent layer; vgg9: only convolutions."
    )
    filters: tuple[Size, ...] = Field(
        (64, 128, 256, 512), min_length=1, description="Filters of each block of two convolutions."
    )
    pool: tuple[Size, Size] = Field(
        (2, 2), description="Pool size after each block: frames, bands."
    )
    pooling: Pooling = Field("average", description="Pooling after each block.")
    over_bands: Pooling | None = Field(
        None, description="Pooling of the remaining bands; null (published): as `pooling`."
    )
    gru_units: Size = Field(256, description="Units of each direction of the recurrent layer.")
    reverse_gru_init: ReverseInit = Field(
        "same",
        description="Initial weights of the reverse GRU: same: drawn like the forward ones;"
        " torch (published): uniform within 1 / sqrt(units).",
    )
    mode: Literal["two_stage", "sed_only", "doa_only", "seld"] = Field(
        "two_stage",
        description="two_stage: detection, then directions from its convolutions; sed_only;"
        " doa_only: scored on the true activity; seld: both heads at once.",
    )
    also_joint: bool = Field(
        False, description="With two_stage: also train both heads at once, and compare."
    )
    round_to_deg: Annotated[float, Field(gt=0.0)] | None = Field(
        10.0, description="Step in degrees to which submitted directions are rounded; null: none."
    )

    @property
    def time_pooling(self) -> int:
        """Feature frames that share one decision."""
        return self.pool[0] ** len(self.filters)

    @property
    def band_pooling(self) -> int:
        """Bands that the blocks pool into one."""
        return self.pool[1] ** len(self.filters)

    @model_validator(mode="after")
    def _comparison_needs_two_stages(self) -> "NetworkConfig":
        if self.also_joint and self.mode != "two_stage":
            raise ValueError(
                "`also_joint` compares two stages with one network. Expected: `mode: two_stage`. "
                f"Received: `mode: {self.mode}`."
            )
        return self


def check_network(network: NetworkConfig, shape: tuple[int | None, int, int]) -> None:
    """Checks that a network fits the features, before any work.

    Args:
        network: the architecture.
        shape: frames of a sequence (None: any number), bands and channels, (T, F, C).

    Raises:
        ConfigError: there are fewer bands or frames than are pooled into one.
    """
    frames, bands, _ = shape
    if bands < network.band_pooling:
        raise ConfigError(
            f"The blocks pool {network.band_pooling} bands into one. Expected: features of no fewer"
            f" bands. Received: {bands}. Change `network.pool`, `network.filters` or the number of"
            " bands in `features`."
        )
    if frames is not None and frames < network.time_pooling:
        raise ConfigError(
            f"The blocks pool {network.time_pooling} frames into one. Expected: sequences of no"
            f" fewer frames. Received: {frames}. Change `pipeline.sequence_frames`,"
            " `network.pool` or `network.filters`."
        )


def build_model(
    shape: tuple[int | None, int, int], n_classes: int, network: NetworkConfig
) -> keras.Model:
    """Builds CRNN10 or VGG9, named by the number of layers with weights before one output.

    Args:
        shape: frames (None: any number), bands and channels of one example, (T, F, C).
        n_classes: number of event classes, K.
        network: the architecture.

    Returns:
        Model from standardised features (B, T, F, C) to {"sed": (B, T', K) in [0, 1], "doa": (B,
        T', 2K), K azimuths then K elevations, in radians}, float32 under any precision policy, with
        T' = p * (T // p) and p = network.time_pooling: as published, each decision is repeated p
        times.

    Raises:
        ConfigError: the layers do not fit `shape`.

    References:
        Cao, Kong, Iqbal, An, Wang, Plumbley, "Polyphonic sound event detection and localization
        using a two-stage strategy", DCASE 2019, arXiv:1905.00268.
    """
    check_network(network, shape)
    spectra = keras.Input(shape, name="spectra", dtype="float32")  # (B, T, F, C)
    x = _convolutions(spectra, network)  # (B, T // p, F', filters)
    pooling = network.over_bands or network.pooling
    x = Aggregate(pooling, axis=2, name="over_bands")(x)  # (B, T // p, filters)
    if network.architecture == "crnn10":
        x = _recurrent(x, network.gru_units, network.reverse_gru_init)  # (B, T // p, 2 * gru_units)

    def head(name: str, activation: str) -> Any:  # (B, T // p, K)
        options = {"kernel_initializer": "he_uniform", "dtype": "float32", "name": name}
        return keras.layers.Dense(n_classes, activation, **options)(x)

    event = head("event_fc", "sigmoid")
    angles = [head("azimuth_fc", "linear"), head("elevation_fc", "linear")]
    doa = keras.layers.Concatenate(name="directions", dtype="float32")(angles)  # (B, T // p, 2K)
    repeat = keras.layers.UpSampling1D(network.time_pooling, name="repeat", dtype="float32")
    outputs = {"sed": repeat(event), "doa": repeat(doa)}
    return keras.Model(spectra, outputs, name=network.architecture)


def _convolutions(x: Any, network: NetworkConfig) -> Any:
    """Applies the blocks to (B, T, F, C)."""
    norm = network.norm(GAMMA_STD)
    for number, n_filters in enumerate(network.filters, start=1):
        x = stacked_conv_block(
            x,
            n_filters,
            kernel=3,
            pool=network.pool,
            pooling=network.pooling,
            initialisation="he_uniform",
            norm=norm,
            names=[(f"block{number}_conv{n}", f"block{number}_bn{n}") for n in (1, 2)],
        )
    return x


def _recurrent(x: Any, units: int, reverse_init: ReverseInit) -> Any:
    """Applies a GRU in both directions to (B, T, D), with the published initial weights."""
    gru = keras.layers.GRU(
        units,
        return_sequences=True,
        kernel_initializer="lecun_uniform",
        recurrent_initializer=RecurrentGates(),
    )
    backward = None
    if reverse_init == "torch":
        bound = units**-0.5
        uniform = {
            f"{part}_initializer": keras.initializers.RandomUniform(-bound, bound)
            for part in ("kernel", "recurrent", "bias")
        }
        backward = keras.layers.GRU(units, return_sequences=True, go_backwards=True, **uniform)
    both = keras.layers.Bidirectional(gru, merge_mode="concat", backward_layer=backward, name="gru")
    return both(x)  # (B, T, 2 * units)


def is_convolution(layer_name: str) -> bool:
    """True for layers of the convolutional blocks, which the direction stage starts from."""
    return layer_name.startswith("block")


def stages(task: Any) -> list[Stage]:
    """Lists the trainings of the system, by `network.mode`.

    Args:
        task: a SELD task's settings, `seld.config.TaskConfig`. `training.loss_weights` are those of
            the network for both at once; a stage for one output has only its loss.

    Returns:
        "sed" and "doa", which starts from the convolutions of "sed" and takes its detections; or
        one of them; or "seld". Outputs cover whole pools, so trailing frames have no loss.

    Raises:
        ConfigError: the loss is of another system, or sequences to be joined do not fill the pools.
    """
    network = NetworkConfig.model_validate(task.network)
    _check_sequences(network, task.pipeline)
    losses = two_stage_losses(task.training.doa_loss)
    n_classes = task.dataset.n_classes

    def stage(name: str, outputs: tuple[str, ...], **options: Any) -> Stage:
        weights = task.training.loss_weights if len(outputs) > 1 else {outputs[0]: 1.0}
        return Stage(
            name=name,
            build=lambda shape: _learning(build_model(shape, n_classes, network), outputs),
            targets=TARGETS,
            losses={output: losses[output] for output in outputs},
            loss_weights={output: weights[output] for output in outputs},
            **options,
        )

    detection = stage("sed", ("sed",), outputs_used=("sed",), part_of="two-stage")
    direction = {"outputs_used": ("doa",), "keeps": is_convolution, "part_of": "two-stage"}
    joint = stage("seld", ("sed", "doa"), part_of="joint")
    if network.mode == "two_stage":
        both = [detection, stage("doa", ("doa",), starts_from="sed", **direction)]
        return [*both, joint] if network.also_joint else both
    return {
        "sed_only": [detection],
        "doa_only": [stage("doa", ("doa",), **direction)],
        "seld": [joint],
    }[network.mode]


def _learning(model: keras.Model, outputs: tuple[str, ...]) -> keras.Model:
    """Freezes the layers of outputs without a loss, which would get no gradient."""
    for output, layers in HEADS.items():
        for layer in layers:
            model.get_layer(layer).trainable = output in outputs
    return model


def _check_sequences(network: NetworkConfig, pipeline: Any) -> None:
    """Checks that outputs of sequences can be joined to those of a recording."""
    if not pipeline.whole_recordings and pipeline.sequence_frames % network.time_pooling:
        raise ConfigError(
            f"The network pools {network.time_pooling} frames into one, and recordings are joined"
            " from sequences. Expected: `pipeline.sequence_frames` a multiple of"
            f" {network.time_pooling}, or `pipeline.whole_recordings: true`. Received:"
            f" {pipeline.sequence_frames}."
        )


def source_frames(n_outputs: int, n_frames: int, hop_ratio: float) -> np.ndarray:
    """Output frame of each label frame.

    Args:
        n_outputs: number of output frames.
        n_frames: number of label frames.
        hop_ratio: hop length of the labels divided by that of the outputs.

    Returns:
        int (n_frames,): n * hop_ratio rounded, half to even, as published; the last output is held.

    Raises:
        ValueError: there is no output frame, though there are frames.
    """
    if n_frames and not n_outputs:
        raise ValueError(f"Expected: `outputs` for {n_frames} frames. Received: no frame.")
    return np.minimum(np.around(np.arange(n_frames) * hop_ratio).astype(int), n_outputs - 1)


def decode(
    outputs: Mapping[str, np.ndarray],
    *,
    network: NetworkConfig,
    threshold: float,
    n_frames: int | None,
    hop_ratio: float,
) -> np.ndarray:
    """Turns the outputs for one recording into rows of the output format.

    Args:
        outputs: {"sed": (T', K), "doa": (T'', 2K)} of one recording, at the features' hop length;
            lengths may differ, and outputs may come from two stages.
        network: the network's settings.
        threshold: probability above which a class is active.
        n_frames: label frames of the recording; None: as many as "sed" covers, rounded.
        hop_ratio: hop length of the labels divided by that of the features.

    Returns:
        float64 (n, 4): frame, class, azimuth and elevation in degrees, rounded to
        `network.round_to_deg` half to even, otherwise unbounded; sorted by frame, then class.

    Raises:
        ValueError: there is no output frame, though the recording has frames.
    """
    sed = outputs["sed"]
    if n_frames is None:
        n_frames = round(len(sed) / hop_ratio)
    frame, klass = np.nonzero((sed > threshold)[source_frames(len(sed), n_frames, hop_ratio)])
    doa_deg = outputs["doa"].astype(np.float64) * 180.0 / np.pi  # (T'', 2K)
    doa_deg = doa_deg[source_frames(len(doa_deg), n_frames, hop_ratio)]  # (n_frames, 2K)
    if network.round_to_deg is not None:
        doa_deg = np.around(doa_deg / network.round_to_deg) * network.round_to_deg + 0.0  # no -0
    else:
        doa_deg = snapped_deg(doa_deg, FLOAT32_SLACK_DEG)
    angles = doa_deg[frame, klass], doa_deg[frame, klass + sed.shape[1]]
    return np.column_stack([frame, klass, *angles])


def torch_names(network: NetworkConfig) -> TorchNames:
    """Names of the published PyTorch weights, see `common.models.torch_weights`.

    Returns:
        By Keras name, see `common.models.layers.weights_by_name`: name in the state dict, or names
        of the tensors that make one weight, and kind of tensor.
    """
    names: TorchNames = {}
    for block in range(1, len(network.filters) + 1):
        for n in (1, 2):
            names[f"block{block}_conv{n}/kernel"] = f"conv_block{block}.conv{n}.weight", "conv"
            for part, there in BATCH_NORM.items():
                names[f"block{block}_bn{n}/{part}"] = f"conv_block{block}.bn{n}.{there}", "vector"
    if network.architecture == "crnn10":
        for direction, ending in (("forward", "l0"), ("backward", "l0_reverse")):
            names[f"gru/{direction}/kernel"] = f"gru.weight_ih_{ending}", "gru_kernel"
            names[f"gru/{direction}/recurrent_kernel"] = f"gru.weight_hh_{ending}", "gru_recurrent"
            biases = f"gru.bias_ih_{ending}", f"gru.bias_hh_{ending}"
            names[f"gru/{direction}/bias"] = biases, "gru_bias"
    for head in (layer for layers in HEADS.values() for layer in layers):
        names[f"{head}/kernel"] = f"{head}.weight", "linear"
        names[f"{head}/bias"] = f"{head}.bias", "vector"
    return names

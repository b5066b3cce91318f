"""Levels of linear magnitudes, and their scaling clip by clip, as Keras layers of any backend.

Models of kinds of features with `is_linear` take magnitudes. Augmentation works on these; then
come `MelLevels`, `ClipScaling` where clips or batches are scaled, the statistics of the dataset
(`common.models.layers.Standardize`), and the network.
"""

from collections.abc import Mapping
from typing import Any

import keras

from common.features.levels import LevelConfig
from common.features.scaling import EPSILON, ScalingConfig
from common.models.layers import PACKAGE

LEVELS = "levels"  # name of the layer in trained models
_PER_DECADE = 20.0  # dB of a magnitude


@keras.saving.register_keras_serializable(package=PACKAGE)
class MelLevels(keras.layers.Layer):
    """Turns magnitudes (B, T, F, C) into levels in dB, in float32 under any precision policy.

    `common.features.levels.magnitude_db` of each clip of the batch; the peak of `top_db` is that of
    the clip as the model gets it, with its padding and after augmentation.

    Args:
        levels: floor and range, as `LevelConfig` or its fields.
    """

    def __init__(self, levels: LevelConfig | Mapping[str, Any], **options: Any) -> None:
        options.setdefault("dtype", "float32")  # half precision is too coarse for dB
        super().__init__(**options)
        self.levels = levels if isinstance(levels, LevelConfig) else LevelConfig(**levels)
        self.trainable = False

    def call(self, magnitudes: Any) -> Any:
        """Returns levels in dB, float32 (B, T, F, C)."""
        ops, levels = keras.ops, self.levels
        magnitudes = ops.cast(magnitudes, "float32")
        level_db = _PER_DECADE * ops.log10(ops.maximum(magnitudes, levels.floor))
        if levels.top_db is not None:
            peak_db = ops.max(level_db, axis=(1, 2, 3), keepdims=True)  # (B, 1, 1, 1)
            level_db = ops.maximum(level_db, peak_db - levels.top_db)
        if levels.lowest_db is not None:
            level_db = ops.maximum(level_db, levels.lowest_db)
        if levels.highest_db is not None:
            level_db = ops.minimum(level_db, levels.highest_db)
        return level_db

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Returns the input's shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that build the layer again."""
        return {**super().get_config(), "levels": self.levels.model_dump()}


@keras.saving.register_keras_serializable(package=PACKAGE)
class ClipScaling(keras.layers.Layer):
    """Scales levels (B, T, F, C) by statistics of each clip, or of the batch, in float32.

    Channels have their own statistics. Standard deviations are those of a sample (n - 1), and 1e-8
    is added to divisors, as published; a constant clip becomes 0, or the lower end of the range.

    Args:
        scaling: as `ScalingConfig` or its fields; `of: dataset` changes nothing.

    References:
        `TorchScaler` of the DESED baselines, 2021 to 2024; Nam et al., "Frequency dynamic
        convolution: frequency-adaptive pattern recognition for sound event detection",
        Interspeech 2022 (minmax of a batch).
    """

    def __init__(self, scaling: ScalingConfig | Mapping[str, Any], **options: Any) -> None:
        options.setdefault("dtype", "float32")
        super().__init__(**options)
        self.scaling = scaling if isinstance(scaling, ScalingConfig) else ScalingConfig(**scaling)
        self.trainable = False

    def call(self, levels: Any) -> Any:
        """Returns scaled levels, float32 (B, T, F, C)."""
        ops, scaling = keras.ops, self.scaling
        levels = ops.cast(levels, "float32")
        if scaling.of == "dataset":
            return levels
        axes = (1,) if scaling.of == "clip" else (0, 1)
        axes = (*axes, 2) if scaling.bands == "all" else axes
        if scaling.form == "minmax":
            low, high = (each(levels, axis=axes, keepdims=True) for each in (ops.min, ops.max))
            start, end = scaling.range
            return (levels - low) / (high - low + EPSILON) * (end - start) + start
        centred = levels - ops.mean(levels, axis=axes, keepdims=True)
        if scaling.form == "mean":
            return centred
        sizes = [ops.cast(ops.shape(levels)[axis], "float32") for axis in axes]
        n = sizes[0]
        for size in sizes[1:]:
            n = n * size
        squares = ops.sum(centred**2, axis=axes, keepdims=True)
        std = ops.sqrt(squares / ops.maximum(n - 1.0, 1.0))
        return centred / (std + EPSILON)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Returns the input's shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that build the layer again."""
        return {**super().get_config(), "scaling": self.scaling.model_dump()}


def level_layers(levels: LevelConfig, scaling: ScalingConfig) -> list[keras.layers.Layer]:
    """New layers from linear magnitudes to what statistics of a dataset standardise.

    Args:
        levels: floor and range of the levels.
        scaling: where it is of a dataset, `common.features.scaling.dataset_statistics` give the
            mean and standard deviation of `Standardize`; else they are 0 and 1.
    """
    layers: list[keras.layers.Layer] = [MelLevels(levels, name=LEVELS)]
    if scaling.of != "dataset":
        layers.append(ClipScaling(scaling, name="clip_scaling"))
    return layers

"""Scaling of levels before the network: by statistics of a dataset, of each clip or of a batch."""

from collections.abc import Sequence
from typing import Literal, Self

import numpy as np
from pydantic import Field, model_validator

from common.features.statistics import RunningStatistics
from common.settings.section import Section

Form = Literal["standard", "mean", "minmax"]
EPSILON = 1e-8  # of a divisor, as published


class ScalingConfig(Section):
    """Scaling of levels; that of a dataset is part of the model, with its statistics."""

    of: Literal["dataset", "clip", "batch"] = Field(
        "dataset",
        description="Values that statistics are of. dataset: the sets in `sets.statistics`; clip:"
        " each clip; batch: all clips of a batch, as published for FDY-SED, where a score depends"
        " on the other clips.",
    )
    form: Literal["standard", "mean", "minmax"] = Field(
        "standard",
        description="standard: mean and standard deviation; mean: only the mean is subtracted;"
        " minmax: minimum and maximum become the ends of `range`.",
    )
    bands: Literal["each", "all"] = Field(
        "each", description="Statistics of each band, or one number for all bands."
    )
    range: tuple[float, float] = Field((-1.0, 1.0), description="Ends of the range for minmax.")

    @model_validator(mode="after")
    def _can_be_computed(self) -> Self:
        if self.form == "minmax" and self.of == "dataset":
            raise ValueError(
                "`form: minmax` scales each clip or batch. Expected: `of: clip` or `of: batch`, or"
                " another form. Received: `of: dataset`."
            )
        if not self.range[0] < self.range[1]:
            raise ValueError(f"`range` must rise. Received: {list(self.range)}.")
        return self


def dataset_statistics(
    statistics: RunningStatistics, scaling: ScalingConfig, ddof: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation with which a model standardises levels.

    Args:
        statistics: of each band and channel over a dataset.
        scaling: see `ScalingConfig`; where each clip or batch is scaled, nothing is left to do.
        ddof: see `RunningStatistics.mean_std`.

    Returns:
        Two float32 arrays (F, C).

    Raises:
        DataError: there are no frames.
    """
    together = statistics.over_bands() if scaling.bands == "all" else statistics
    mean, std = together.mean_std(ddof)
    if scaling.of != "dataset":
        return np.zeros_like(mean), np.ones_like(std)
    return mean, np.ones_like(std) if scaling.form == "mean" else std


def equal_parts(parts: Sequence[RunningStatistics]) -> RunningStatistics:
    """Statistics in which each part counts the same, whatever its number of frames.

    The published scalers of DESED take means of batches; merged statistics count frames.

    Args:
        parts: of batches or clips, at least one.
    """
    merged = RunningStatistics.empty(parts[0].mean.shape)
    count = max(part.count for part in parts)
    for part in parts:
        weight = count / max(part.count, 1)
        merged.merge(RunningStatistics(count, part.mean, part.m2 * weight))
    return merged

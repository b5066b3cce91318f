"""Outputs of several folds as one: directions and tracks need more than the mean."""

from collections.abc import Sequence

import numpy as np

from common.training.ensemble import Outputs, mean_outputs
from seld.decoding import aligned_tracks

_AXES_OF_TRACKS = 5  # of outputs (B, T', N, A, K)


def average_outputs(of_folds: Sequence[Outputs]) -> Outputs:
    """The mean of the outputs of several folds; azimuths are averaged on the circle.

    Tracks have no order: those of later folds are brought into the order in which they are nearest
    to those of the first.

    Args:
        of_folds: "sed" (..., K) and "doa" (..., 2K) in radians, K azimuths first, or as vectors; or
            other outputs, of which "tracks" (..., N, K + 3) and "accdoa" (..., N, A, K) have
            tracks.
    """
    first = of_folds[0]
    if "tracks" in first:
        return mean_outputs(_aligned(of_folds, "tracks", first["tracks"].shape[-2:]))
    # (B, T', N, A, K) for tracks, (B, T', A, K) without
    if "accdoa" in first and first["accdoa"].ndim == _AXES_OF_TRACKS:
        turned = [{"accdoa": np.moveaxis(each["accdoa"], -1, -3)} for each in of_folds]
        mean = mean_outputs(_aligned(turned, "accdoa", turned[0]["accdoa"].shape[-2:]))
        return {"accdoa": np.moveaxis(mean["accdoa"], -3, -1)}
    mean = mean_outputs(of_folds)
    n_classes = mean["sed"].shape[-1] if "sed" in mean else 0
    if n_classes and mean["doa"].shape[-1] == 2 * n_classes:
        azimuths = np.stack([each["doa"][..., :n_classes] for each in of_folds])
        sine, cosine = np.sin(azimuths).mean(axis=0), np.cos(azimuths).mean(axis=0)
        mean["doa"][..., :n_classes] = np.arctan2(sine, cosine)
    return mean


def _aligned(of_folds: Sequence[Outputs], name: str, track_shape: tuple[int, ...]) -> list[Outputs]:
    """Outputs whose tracks (..., N, width) are in the order of the first fold's."""
    flat = [each[name].reshape(-1, *track_shape) for each in of_folds]
    shape = of_folds[0][name].shape
    return [{name: aligned_tracks(each, flat[0]).reshape(shape)} for each in flat]

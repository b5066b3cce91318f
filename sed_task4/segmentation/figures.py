"""Figures of segmentation: a mixture and its ideal mask, learned masks, separated sounds."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure


def mixture_figure(
    audio: np.ndarray, sample_rate_hz: int, magnitude: np.ndarray, mask: np.ndarray, title: str
) -> Figure:
    """Draws a mixture: waveform, spectrogram and ideal ratio mask.

    Args:
        audio: float (S,), the mixture.
        sample_rate_hz: its rate.
        magnitude: (T, bins), of the mixture.
        mask: ideal ratio mask (T, bins).
        title: above the figure.
    """
    raise NotImplementedError


def masks_figure(
    logmel: np.ndarray,
    masks: np.ndarray,
    classes: Sequence[str],
    clip_s: float,
    title: str,
    *,
    tags: np.ndarray | None = None,
    occurring: Sequence[str] = (),
) -> Figure:
    """Draws the learned mask of each class beside the spectrogram; classes that occur have a coloured title.

    Frame-wise and event-wise estimates are drawn by `sed_task4.figures.clip_figure`.

    Args:
        logmel: (T, F).
        masks: (T, F, K).
        classes: names of the K classes.
        clip_s: length of the clip in seconds.
        title: above the figure.
        tags: probabilities (K,), written beside the names.
        occurring: names of the classes that are truly there.
    """
    raise NotImplementedError


def separated_figure(
    mixture: np.ndarray,
    separated: Mapping[str, np.ndarray],
    sample_rate_hz: int,
    title: str,
    *,
    references: Mapping[str, np.ndarray] | None = None,
) -> Figure:
    """Draws spectrograms of a mixture and of the sounds separated from it, each beside its reference where known.

    Args:
        mixture: float (S,).
        separated: float (S,) by class.
        sample_rate_hz: of all of them.
        title: above the figure.
        references: float (S,) by class, the sound alone.
    """
    raise NotImplementedError

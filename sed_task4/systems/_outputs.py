"""Outputs for one clip, common to the systems of the family."""

from collections.abc import Mapping

import keras
import numpy as np

Outputs = Mapping[str, np.ndarray]


def macro_f() -> keras.metrics.Metric:
    """Mean F-score over the classes of the tags (B, K) in training, at a threshold of one half."""
    return keras.metrics.F1Score(average="macro", threshold=0.5, name="macro_f")


def clip_outputs(outputs: Outputs, n_frames: int, stride: int) -> tuple[np.ndarray, np.ndarray]:
    """Brings the outputs for one clip to the frame rate of the features.

    Args:
        outputs: {"clip": (K,) or (n, K), "frames": (T', K)}, the n sequences of one clip joined
            along time.
        n_frames: frames of the clip at the hop length of the features, T.
        stride: feature frames of one output frame, which is repeated as often; the last one is
            held.

    Returns:
        Frame-level (T, K) and clip-level (K,) probabilities, float32; the latter are the maximum
        over the sequences.

    Raises:
        ValueError: there is no output frame, though the clip has frames.
    """
    frames, clip = outputs["frames"], np.atleast_2d(outputs["clip"])
    if n_frames and not len(frames):
        raise ValueError(f"`outputs` must cover the clip of {n_frames} frames. Received: no frame.")
    source = np.minimum(np.arange(n_frames) // stride, len(frames) - 1)  # (T,) -> T'
    return frames[source].astype(np.float32), clip.max(axis=0).astype(np.float32)

"""Outputs for one clip, as the systems of the family use them."""

from collections.abc import Mapping

import keras
import numpy as np

Outputs = Mapping[str, np.ndarray]


def macro_f() -> keras.metrics.Metric:
    """Mean F-score of the tags (B, K) over the classes, at a threshold of one half, of the batches
    trained on."""
    return keras.metrics.F1Score(average="macro", threshold=0.5, name="macro_f")


def clip_outputs(outputs: Outputs, n_frames: int, stride: int) -> tuple[np.ndarray, np.ndarray]:
    """Brings the outputs for one clip to the rate of the features.

    Args:
        outputs: {"clip": (K,) or (n, K), "frames": (T', K)}, the n sequences of one clip joined
            along time.
        n_frames: frames of the clip at the hop of the features, T.
        stride: feature frames of one output frame; each is repeated so often, and the last one is
            held.

    Returns:
        Probabilities of the frames (T, K) and of the clip (K,), the highest among its sequences;
        float32.

    Raises:
        ValueError: there is no output frame, though the clip has frames.
    """
    frames, clip = outputs["frames"], np.atleast_2d(outputs["clip"])
    if n_frames and not len(frames):
        raise ValueError(f"`outputs` must cover the clip of {n_frames} frames. Received: no frame.")
    source = np.minimum(np.arange(n_frames) // stride, len(frames) - 1)  # (T,) -> T'
    return frames[source].astype(np.float32), clip.max(axis=0).astype(np.float32)

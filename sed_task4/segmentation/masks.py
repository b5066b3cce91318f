"""Ideal masks: the part of a spectrogram that belongs to the events, not to the scene."""

import numpy as np

THRESHOLD_DB = -5.0  # published: events weaker than this relative to the scene are masked by it
_FLOOR = 1e-8


def ideal_binary_mask(
    events: np.ndarray, scene: np.ndarray, threshold_db: float = THRESHOLD_DB
) -> np.ndarray:
    """Marks bins in which the events are stronger than the scene, or hardly weaker.

    Args:
        events: magnitudes of the events only, not negative, of any shape such as (T, F).
        scene: those of the scene.
        threshold_db: lowest level of the events relative to the scene that counts.

    Returns:
        float32 of the same shape: 1 above the threshold, 0 below it, 0.5 on it.

    References:
        Kong et al., arXiv:1804.04715, section 4.
    """
    level_db = 20 * np.log10(events / (scene + _FLOOR) + _FLOOR)
    return ((np.sign(level_db - threshold_db) + 1) / 2).astype(np.float32)


def ideal_ratio_mask(events: np.ndarray, scene: np.ndarray) -> np.ndarray:
    """Computes the share of the events in the sum of both magnitudes.

    Args:
        events: magnitudes of the events only, not negative, of any shape such as (T, F).
        scene: those of the scene.

    Returns:
        float32 of the same shape in [0, 1]; 0 where both are silent.
    """
    total = np.asarray(events, np.float64) + scene
    return np.divide(events, total, out=np.zeros_like(total), where=total > 0).astype(np.float32)


def class_masks(mask: np.ndarray, activity: np.ndarray) -> np.ndarray:
    """Assigns the mask of all events to the active classes.

    Args:
        mask: (T, F), of all events, which do not overlap.
        activity: (T, K), 1 where a class is active in a frame.

    Returns:
        (T, F, K) of the type of `mask`: its values where the class is active, 0 elsewhere.
    """
    return mask[:, :, None] * activity[:, None, :].astype(mask.dtype)

"""Confusion matrix of classes of which several may be active at once."""

import numpy as np


def count_confusions(reference: np.ndarray, estimate: np.ndarray) -> np.ndarray:
    """Counts hits, and false alarms of classes while others are missed.

    Several classes may be active at once, so a miss counts for each false alarm at the same time.

    Args:
        reference: bool (N, K), true activity in each frame, segment or clip.
        estimate: bool (N, K).

    Returns:
        int64 (K + 1, K + 1), a row for each true class: its hits on the diagonal, its misses by
        estimated class, and in the last column its misses without any false alarm. The last row
        counts false alarms while nothing is missed.

    Raises:
        ValueError: the shapes differ.
    """
    reference, estimate = np.asarray(reference, bool), np.asarray(estimate, bool)
    if reference.shape != estimate.shape or reference.ndim != 2:
        raise ValueError(
            "`estimate` must have the shape of `reference`, (N, classes). "
            f"Expected: {reference.shape}. Received: {estimate.shape}."
        )
    n_classes = reference.shape[1]
    missed, extra = reference & ~estimate, estimate & ~reference
    counts = np.zeros((n_classes + 1, n_classes + 1), np.int64)
    # Whole numbers below 2^53, in float64 since products of integers are slow.
    counts[:-1, :-1] = missed.T.astype(np.float64) @ extra
    np.fill_diagonal(counts[:-1, :-1], np.sum(reference & estimate, axis=0))
    counts[:-1, -1] = missed[~extra.any(axis=1)].sum(axis=0)
    counts[-1, :-1] = extra[~missed.any(axis=1)].sum(axis=0)
    return counts

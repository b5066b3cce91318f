"""Which classes are taken for which, where several may be active at once."""

import numpy as np


def count_confusions(reference: np.ndarray, estimate: np.ndarray) -> np.ndarray:
    """Counts hits, and which classes are estimated while others are missed.

    Several classes may be active at once, so that a miss has no partner of its own: it counts for
    each class that is estimated without being there at the same time.

    Args:
        reference: bool (N, K), true activity in each frame, segment or clip.
        estimate: bool (N, K).

    Returns:
        int64 (K + 1, K + 1), a row for each true class: on the diagonal its hits, beside it its
        misses by the classes estimated in its place, at the end those with nothing in its place.
        The last row counts estimates of classes that are not there while nothing is missed.

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
    counts[:-1, :-1] = (
        missed.T.astype(np.float64) @ extra
    )  # whole numbers below 2^53; integers are multiplied slowly
    np.fill_diagonal(counts[:-1, :-1], np.sum(reference & estimate, axis=0))
    counts[:-1, -1] = missed[~extra.any(axis=1)].sum(axis=0)
    counts[-1, :-1] = extra[~missed.any(axis=1)].sum(axis=0)
    return counts

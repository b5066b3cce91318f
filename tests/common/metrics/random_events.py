"""Random annotations: times on a grid of 0.1 s, so that many differences equal the collar."""

import numpy as np

from common.events.table import EventTable


def random_tables(
    seed: int, n_recordings: int = 40, n_classes: int = 5
) -> tuple[EventTable, EventTable]:
    """Reference and distorted estimate of recordings of 10 s, some of them empty.

    Events of one class overlap now and then, and some are estimated twice, so that matchings are
    ambiguous.
    """
    rng = np.random.default_rng(seed)
    references, estimates = [], []
    for _ in range(n_recordings):
        n_events = rng.integers(0, 7)
        onset_s = np.round(rng.uniform(0, 9, n_events), 1)
        offset_s = np.minimum(onset_s + np.round(rng.exponential(1.5, n_events) + 0.1, 1), 10.0)
        truth = np.column_stack([rng.integers(0, n_classes, n_events), onset_s, offset_s])
        guess = np.concatenate([truth, truth[rng.random(n_events) < 0.3]])
        guess = guess[rng.random(len(guess)) < 0.85]
        guess[:, 1] = np.clip(guess[:, 1] + np.round(rng.normal(0, 0.15, len(guess)), 1), 0, 9.9)
        guess[:, 2] = np.clip(
            guess[:, 2] + np.round(rng.normal(0, 0.3, len(guess)), 1), guess[:, 1] + 0.1, 10
        )
        swapped = rng.random(len(guess)) < 0.2
        guess[swapped, 0] = rng.integers(0, n_classes, swapped.sum())
        references.append(truth)
        estimates.append(rng.permutation(guess))
    return tuple(EventTable.from_recordings(each, n_classes) for each in (references, estimates))

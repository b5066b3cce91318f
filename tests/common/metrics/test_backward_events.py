"""Events that end before they begin, as in a published set, are scored as by sed_eval."""

import numpy as np
import pytest

from common.events.table import EventTable
from common.metrics.event_based import event_based_scores
from common.metrics.psds import sweep_scores
from common.metrics.sed_eval_scores import event_based_by_sed_eval, segment_based_by_sed_eval
from common.metrics.segment_based import segment_based_scores

LABELS = ("Cat", "Dog", "Speech")


def odd_events(rng: np.random.Generator, n_recordings: int = 12) -> list[np.ndarray]:
    """Events of any length, negative and zero too, twice, adjacent, past the end of the clip."""
    recordings = []
    for _ in range(n_recordings):
        n = int(rng.integers(0, 6))
        onset_s = np.round(rng.uniform(0, 10, n), int(rng.integers(0, 4)))
        length_s = rng.choice([-3.0, -0.149, -0.01, 0.0, 0.3, 1.0, 4.0], n)
        rows = np.stack(
            [rng.integers(0, 3, n), onset_s, np.maximum(onset_s + length_s, 0.0)], axis=1
        )
        recordings.append(np.concatenate([rows, rows[:1]]) if n and rng.integers(2) else rows)
    return recordings


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("zero", [True, False])
def test_fast_scores_of_backward_events_equal_those_of_sed_eval(seed, zero):
    rng = np.random.default_rng(seed)
    truth = odd_events(rng)
    near = [
        rows + np.stack([np.zeros(len(rows)), *rng.normal(0, 0.1, (2, len(rows)))], axis=1)
        for rows in truth
    ]
    near = [np.maximum(rows, 0.0) for rows in near]
    reference = EventTable.from_recordings(truth, 3)
    for guess in (odd_events(rng), near, truth):
        estimate = EventTable.from_recordings(guess, 3)
        ours = event_based_scores(reference, estimate, empty_estimate_is_zero=zero).main()
        theirs = event_based_by_sed_eval(reference, estimate, LABELS, empty_estimate_is_zero=zero)
        np.testing.assert_allclose(list(ours.values()), list(theirs.values()), rtol=1e-9)
        for segment_s in (1.0, 0.2):
            ours = segment_based_scores(
                reference, estimate, segment_s, empty_estimate_is_zero=zero
            ).main()
            theirs = segment_based_by_sed_eval(
                reference, estimate, LABELS, segment_s, empty_estimate_is_zero=zero
            )
            np.testing.assert_allclose(list(ours.values()), list(theirs.values()), rtol=1e-9)


def test_psds_leaves_out_events_without_a_length():
    frames = [np.eye(3)[[0] * 5 + [1] * 5]]
    rows = np.array([[0, 0.0, 5.0], [1, 5.0, 10.0]])
    odd = np.concatenate([rows, [[2, 8.826, 8.677], [0, 7.0, 7.0]]])
    plain, backward = (
        sweep_scores(EventTable.from_recordings([each], 3), frames, 1.0, 10.0)
        for each in (rows, odd)
    )
    assert plain.psds1 == backward.psds1 == 1.0
    assert np.isnan(backward.class_psds1[2])

"""Confusions where several classes may be active at once."""

import numpy as np
import pytest

from common.metrics.confusion import count_confusions

A, B, NONE = 0, 1, 2


def counts(reference: list, estimate: list) -> np.ndarray:
    return count_confusions(np.array(reference, bool), np.array(estimate, bool))


def test_a_miss_counts_for_the_class_estimated_in_its_place():
    found = counts([[1, 0], [1, 0], [0, 1]], [[0, 1], [1, 0], [0, 1]])
    assert found[A, B] == 1 and found[A, A] == 1 and found[B, B] == 1 and found.sum() == 3


def test_unpaired_misses_and_false_alarms_have_their_own_cells():
    found = counts([[1, 0], [0, 0]], [[0, 0], [0, 1]])
    assert found[A, NONE] == 1 and found[NONE, B] == 1 and found.sum() == 2


def test_a_hit_is_not_the_partner_of_a_miss():
    found = counts([[1, 1]], [[0, 1]])
    assert found[B, B] == 1 and found[A, NONE] == 1 and found[A, B] == 0


def test_each_row_counts_its_class_with_one_wrong_class():
    generator = np.random.default_rng(0)
    reference, estimate = (np.eye(4, dtype=bool)[generator.integers(0, 4, 50)] for _ in range(2))
    found = count_confusions(reference, estimate)
    assert found[:-1].sum(axis=1).tolist() == reference.sum(axis=0).tolist()
    assert found[:, :-1].sum(axis=0).tolist() == estimate.sum(axis=0).tolist()


def test_different_shapes_are_refused():
    with pytest.raises(ValueError, match=r"Expected: \(4, 2\). Received: \(5, 2\)"):
        count_confusions(np.zeros((4, 2), bool), np.zeros((5, 2), bool))

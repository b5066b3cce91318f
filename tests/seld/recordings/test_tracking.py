"""Sources followed through frames."""

import numpy as np

from seld.recordings.rows import make_rows
from seld.recordings.tracking import SourceTracker, voices


def rows_of(*sources):
    """Rows of (frame, class, azimuth), sorted by frame."""
    frame, klass, azimuth = np.array(sorted(sources)).T
    return make_rows(frame, klass, azimuth, 0.0)


def test_two_sources_of_a_class_keep_their_numbers_while_they_cross_the_order_of_rows():
    left = [(frame, 0, 10.0 * frame) for frame in range(6)]
    right = [(frame, 0, 170.0 - 10.0 * frame) for frame in range(6)]
    rows = rows_of(*left, *right)[[0, 1, 3, 2, 4, 5, 7, 6, 8, 9, 10, 11]]
    numbers = SourceTracker().number(rows)
    expected = np.where(rows[:, 2] < 85, 0, 1)
    np.testing.assert_array_equal(numbers, expected)


def test_a_gap_or_another_class_begins_a_new_source():
    rows = rows_of((0, 0, 0), (1, 0, 0), (1, 1, 0), (3, 0, 0), (3, 1, 0))
    assert SourceTracker().number(rows).tolist() == [0, 0, 1, 2, 3]


def test_parts_of_a_recording_are_numbered_as_the_whole():
    rng = np.random.default_rng(0)
    rows = rows_of(*[(frame, rng.integers(2), rng.uniform(-180, 180)) for frame in range(40)] * 2)
    whole = SourceTracker().number(rows)
    tracker, parts = SourceTracker(), []
    assert not len(tracker.number(rows[:0]))  # silence
    for first in range(0, 40, 8):
        part = rows[(rows[:, 0] >= first) & (rows[:, 0] < first + 8)].copy()
        part[:, 0] -= first
        parts.append(tracker.number(part, first))
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_sources_of_a_class_at_the_same_time_have_different_voices():
    rows = rows_of(*((n, 0, 0) for n in range(3)), *((n, 0, 90) for n in (1, 2)), (2, 1, 0))
    rows = np.concatenate([rows, rows_of((5, 0, 45))])
    order = np.random.default_rng(0).permutation(len(rows))  # followed, in any order
    expected = np.where(rows[:, 2] == 90, 1, 0)
    np.testing.assert_array_equal(voices(rows[order]), expected[order])
    rows[:, 4] = [7, 7, 8, 7, 8, 7, 8]  # numbers of sources: the second class has a 7, too
    assert voices(rows).tolist() == [0, 0, 1, 0, 1, 0, 1]
    assert voices(rows[:0]).tolist() == []

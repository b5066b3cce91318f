"""Tables of events: from arrays, from data frames, and back."""

import numpy as np
import pytest

from common.events.table import EventTable, events_frame

CLIPS = [np.array([[1, 0.5, 2.0], [0, 0.1, 0.4]]), np.zeros((0, 3)), np.array([[2, 3.0, 9.0]])]


def test_a_table_keeps_clips_their_order_and_their_times():
    table = EventTable.from_recordings(CLIPS, 3)
    assert len(table) == 3 and table.n_recordings == 3
    for number, rows in enumerate(CLIPS):
        np.testing.assert_array_equal(table.of_recording(number), rows)
    assert table.counts().tolist() == [1, 1, 1]


def test_a_data_frame_has_a_row_for_each_event():
    frame = events_frame(["a.wav", "b.wav", "c.wav"], CLIPS, ["x", "y", "z"])
    assert frame.columns.tolist() == ["filename", "onset", "offset", "event_label"]
    assert frame.values.tolist() == [
        ["a.wav", 0.5, 2.0, "y"],
        ["a.wav", 0.1, 0.4, "x"],
        ["c.wav", 3.0, 9.0, "z"],
    ]


def test_unusable_events_are_refused():
    with pytest.raises(ValueError, match="class below 2"):
        EventTable.from_recordings([np.array([[2, 0.0, 1.0]])], 2)
    with pytest.raises(ValueError, match="recordings below 1"):
        EventTable.from_columns(np.array([1]), np.array([[0, 0.0, 1.0]]), 1, 2)


def test_events_of_a_class_that_overlap_or_touch_become_one():
    rows = np.array(
        [[0, 4.0, 5.0], [0, 0.0, 3.0], [0, 1.0, 2.0], [1, 0.0, 1.0], [0, 3.0, 3.5], [1, 1.1, 2.0]]
    )
    merged = EventTable.from_recordings([rows, rows[:1]], 2).merge_connected()
    assert merged.of_recording(0).tolist() == [
        [0, 0.0, 3.5],
        [0, 4.0, 5.0],
        [1, 0.0, 1.0],
        [1, 1.1, 2.0],
    ]
    assert merged.of_recording(1).tolist() == [[0, 4.0, 5.0]]
    assert len(EventTable.from_recordings([], 2).merge_connected()) == 0

"""Tables of events: from arrays, from data frames, and back."""

import numpy as np
import pandas as pd
import pytest

from common.events.table import EventTable, events_frame

CLIPS = [np.array([[1, 0.5, 2.0], [0, 0.1, 0.4]]), np.zeros((0, 3)), np.array([[2, 3.0, 9.0]])]


def test_a_table_keeps_clips_their_order_and_their_times():
    table = EventTable.from_recordings(CLIPS, 3)
    assert len(table) == 3 and table.n_recordings == 3
    for number, rows in enumerate(CLIPS):
        np.testing.assert_array_equal(table.of_recording(number), rows)
    assert table.counts().tolist() == [1, 1, 1]


def test_a_data_frame_and_back_is_the_same():
    names, labels = ["a.wav", "b.wav", "c.wav"], ["x", "y", "z"]
    frame = events_frame(names, CLIPS, labels)
    assert frame.columns.tolist() == ["filename", "onset", "offset", "event_label"]
    table = EventTable.from_frame(frame.sample(frac=1, random_state=1), names, labels)
    assert sorted(map(tuple, table.of_recording(0).tolist())) == sorted(
        map(tuple, CLIPS[0].tolist())
    )
    assert len(table.of_recording(1)) == 0


def test_rows_of_other_files_and_without_a_label_are_left_out():
    frame = pd.DataFrame(
        [["a", 0.0, 1.0, "x"], ["b", 0.0, 1.0, "x"], ["a", np.nan, np.nan, None]],
        columns=["filename", "onset", "offset", "event_label"],
    )
    assert len(EventTable.from_frame(frame, ["a"], ["x"])) == 1


def test_unusable_events_are_refused():
    frame = pd.DataFrame(
        [["a", 0.0, 1.0, "w"]], columns=["filename", "onset", "offset", "event_label"]
    )
    with pytest.raises(ValueError, match=r"one of x, y\. Received: w"):
        EventTable.from_frame(frame, ["a"], ["x", "y"])
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

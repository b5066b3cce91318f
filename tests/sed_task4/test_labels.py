"""Tags, activity and events of clips."""

import dcase_util
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sed_task4.dataset import DatasetConfig, parse_strong
from sed_task4.labels import (
    check_events,
    event_array,
    event_frames,
    frame_activity,
    multi_hot,
    tags_of_events,
)

CLASSES = ("Cat", "Dog", "Speech")


def test_tags_are_one_for_each_class_that_occurs():
    assert multi_hot(("Speech", "Cat", "Speech"), CLASSES).tolist() == [1, 0, 1]
    assert multi_hot((), CLASSES).tolist() == [0, 0, 0]


@pytest.mark.parametrize("labels", [["Dog"], ["Cat", "Speech"], ["Speech", "Dog", "Cat"]])
def test_tags_are_those_of_dcase_util(labels):
    encoder = dcase_util.data.ManyHotEncoder(label_list=list(CLASSES), time_resolution=1)
    theirs = encoder.encode(label_list=labels, length_seconds=1).data[:, 0]
    assert multi_hot(labels, CLASSES).tolist() == theirs.tolist()


def test_unknown_labels_are_refused():
    with pytest.raises(ValueError, match=r"Unknown class 'Horse'.*Cat, Dog, Speech"):
        multi_hot(["Horse"], CLASSES)


def test_events_of_a_table_become_an_array():
    table, _ = parse_strong(
        "filename\tonset\toffset\tevent_label\na\t1.5\t2.25\tDog\na\t0\t10\tSpeech\n", CLASSES
    )
    events = event_array(table, CLASSES)
    assert events.tolist() == [[1, 1.5, 2.25], [2, 0, 10]]
    assert event_array(table[:0], CLASSES).shape == (0, 3)


def test_half_open_frames_are_all_that_an_event_touches():
    activity = frame_activity(np.array([[0, 0.15, 0.31], [1, 0.2, 0.4]]), 6, 10, 2)
    assert activity[:, 0].tolist() == [0, 1, 1, 1, 0, 0]
    assert activity[:, 1].tolist() == [0, 0, 1, 1, 0, 0]


def test_published_frames_are_rounded_to_even_and_include_the_last():
    events = np.array([[0, 2.5 / 64, 4.5 / 64], [0, 3.5 / 64, 5.4 / 64], [0, 0.0, 0.0]])
    first, end = event_frames(events, 64, "kong2019")
    assert list(zip(first.tolist(), end.tolist(), strict=True)) == [(2, 5), (4, 6), (0, 1)]


@given(st.floats(0, 10), st.floats(0, 10))
def test_published_frames_are_those_of_a_plain_loop(a, b):
    onset, offset = sorted((round(a, 3), round(b, 3)))
    theirs = np.zeros((640, 1))
    theirs[round(onset * 64) : round(offset * 64) + 1, 0] = 1
    assert np.array_equal(
        frame_activity(np.array([[0, onset, offset]]), 640, 64, 1, "kong2019"), theirs
    )


def test_kong2018_frames_are_floored_and_include_the_last():
    events = np.array([[0, 2.5 / 64, 4.9 / 64], [0, 3.0 / 64, 5.0 / 64], [0, 0.0, 0.0]])
    first, end = event_frames(events, 64, "kong2018")
    assert list(zip(first.tolist(), end.tolist(), strict=True)) == [(2, 5), (3, 6), (0, 1)]


@given(
    st.integers(0, 499),
    st.integers(1, 500),
    st.sampled_from([50.0, 64.0, 44100 / 882, 43.06640625]),
)
def test_rounding_errors_do_not_move_events_on_the_grid(first, n, frames_per_s):
    events = np.array([[0, first / frames_per_s, (first + n) / frames_per_s]])
    assert [int(x[0]) for x in event_frames(events, frames_per_s, "half_open")] == [
        first,
        first + n,
    ]


def test_activity_is_cut_at_the_end_and_unites_overlapping_events():
    events = np.array([[0, 8.0, 12.0], [1, 1.0, 3.0], [1, 2.0, 4.0], [0, 11.0, 12.0]])
    activity = frame_activity(events, 10, 1, 2)
    assert activity.dtype == np.int8
    assert activity[:, 0].tolist() == [0] * 8 + [1, 1]
    assert activity[:, 1].tolist() == [0, 1, 1, 1] + [0] * 6


def test_tags_follow_from_events():
    assert tags_of_events(np.array([[2, 0, 1], [2, 3, 4], [0, 5, 6]]), 3).tolist() == [1, 0, 1]
    assert tags_of_events(np.zeros((0, 3)), 3).tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    "events", [[[3, 0, 1]], [[0.5, 0, 1]], [[0, 0, np.nan]], [[-1, 0, 1]], [[0, 1]]]
)
def test_events_that_cannot_be_are_refused(events):
    with pytest.raises(ValueError, match="Events are"):
        check_events(np.array(events), 3)


def test_unknown_rules_are_refused():
    with pytest.raises(ValueError, match=r"Unknown label rule.*half_open, kong2018, kong2019"):
        event_frames(np.zeros((0, 3)), 50, "other")


def test_the_default_classes_are_in_alphabetical_order():
    assert (
        list(DatasetConfig().classes) == sorted(DatasetConfig().classes)
        and DatasetConfig().n_classes == 10
    )

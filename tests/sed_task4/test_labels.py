"""Tags, activity and events of clips."""

import dcase_util
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sed_task4.dataset import DatasetConfig, parse_strong
from sed_task4.labels import (
    MAESTRO_TO_DESED,
    LabelGrid,
    check_events,
    class_mask,
    event_array,
    event_frames,
    frame_activity,
    held,
    joined_classes,
    multi_hot,
    soft_activity,
    tags_of_events,
    weak_activity,
    with_aliases,
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


GRID_2019, GRID_DESED = LabelGrid(44100, 511, 8), LabelGrid(16000, 256, 4)


def test_label_frames_have_the_published_sizes():
    assert GRID_2019.frame_s == pytest.approx(0.0926984127) and GRID_DESED.frame_s == 0.064
    assert (GRID_2019.n_frames(10.0), GRID_DESED.n_frames(10.0)) == (107, 156)
    assert LabelGrid(16000, 160, 2).n_frames(5) == 250
    assert GRID_DESED.times_s(np.array([0, 1, 156, 157]), 10.0).tolist() == [0, 0.064, 9.984, 10]


@given(st.integers(0, 11000), st.integers(0, 11000))
def test_the_rules_of_the_baselines_are_those_of_plain_loops(a, b):
    onset, offset = sorted((a / 1000, b / 1000))
    theirs = np.zeros((108, 1))
    steps = [int(t * 44100 // 511 / 8) for t in (onset, offset)]
    theirs[steps[0] : steps[1]] = 1
    events = np.array([[0, onset, offset]])
    assert np.array_equal(frame_activity(events, 108, GRID_2019, 1, "dcase2019"), theirs)
    theirs = np.zeros((156, 1))
    exact = [np.clip(t * 16000 / 256 / 4, 0, 156) for t in (onset, offset)]
    theirs[int(exact[0]) : int(np.ceil(exact[1]))] = 1
    assert np.array_equal(frame_activity(events, 156, GRID_DESED, 1, "desed"), theirs)


def test_short_events_vanish_only_where_offsets_are_floored():
    short = np.array([[0, 5.01, 5.03]])
    counts = [
        int(frame_activity(short, 108, GRID_2019, 1, rule, rounding).sum())
        for rule in ("dcase2019", "desed")
        for rounding in (None, "floor", "ceil")
    ]
    assert counts == [0, 0, 1, 1, 0, 1]


def test_label_frames_are_held_for_feature_frames():
    activity = frame_activity(np.array([[0, 0.1, 0.2]]), 3, GRID_DESED, 1, "desed")
    assert held(activity, 4, 10)[:, 0].tolist() == [0] * 4 + [1] * 6  # frames 1 to 3 of 64 ms


def test_soft_labels_are_confidences_and_the_later_row_counts():
    events = np.array([[1, 0.0, 2.0], [1, 1.0, 3.0], [0, 2.5, 2.6]])
    soft = soft_activity(events, np.array([0.3, 0.8, 0.5]), 4, 1.0, 2)
    assert soft.dtype == np.float32
    np.testing.assert_allclose(soft, [[0, 0.3], [0, 0.8], [0.5, 0.8], [0, 0]])
    with pytest.raises(ValueError, match=r"Confidences are numbers from 0 to 1.*from 0 to 1.5"):
        soft_activity(events, np.array([0, 0.5, 1.5]), 4, 1.0, 2)
    with pytest.raises(ValueError, match="one for each of 3 events"):
        soft_activity(events, np.zeros(2), 4, 1.0, 2)


def test_weak_labels_are_in_all_frames_or_in_the_first():
    tags = multi_hot(["Dog"], CLASSES)
    assert weak_activity(tags, 3).tolist() == [[0, 1, 0]] * 3
    assert weak_activity(tags, 3, "first").tolist() == [[0, 1, 0], [0, 0, 0], [0, 0, 0]]


def test_class_lists_are_joined_and_unknown_classes_masked():
    joined = joined_classes(["Speech", "Dog"], ["car", "Dog", "people talking"])
    assert joined == ("Speech", "Dog", "car", "people talking")
    assert class_mask(["Dog", "car"], joined).tolist() == [False, True, True, False]
    with pytest.raises(ValueError, match="Unknown class 'Cat'"):
        class_mask(["Cat"], joined)


def test_events_return_under_the_names_of_another_dataset():
    text = "filename\tonset\toffset\tevent_label\n"
    text += "a\t0\t1\tannouncement\na\t1\t2\tcar\na\t2\t3\tpeople talking\n"
    table, _ = parse_strong(text, ["announcement", "car", "people talking"])
    mapped = with_aliases(table, MAESTRO_TO_DESED)
    assert mapped["event_label"].tolist() == table["event_label"].tolist() + ["Speech"] * 2
    assert mapped["onset"].tolist() == [0, 1, 2, 2, 0]
    assert with_aliases(table[:0], MAESTRO_TO_DESED).empty

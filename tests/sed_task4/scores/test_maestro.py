"""MAESTRO's windows and soft labels: by hand."""

import logging

import numpy as np
import pytest

from common.errors import DataError
from common.events.table import EventTable
from sed_task4.clips.layouts import LAYOUTS
from sed_task4.dataset import parse_soft
from sed_task4.decoding import DecodingConfig
from sed_task4.scores.maestro import (
    MAESTRO_CLASS_COLUMNS,
    RecordingScorer,
    certain_labels,
    constant_scores,
    maestro_scores,
    merged_truth,
    overlap_add,
    segment_edges,
    window_seconds,
)

HEADER = "filename\tonset\toffset\tevent_label\tconfidence\n"
CLASSES = ("car", "people talking")
PLACE = LAYOUTS["desed2024"]["maestro_real_validation"]


def rows_of(*rows):
    return HEADER + "".join("\t".join(map(str, row)) + "\n" for row in rows)


def labels_of(text):
    return certain_labels(*parse_soft(text, CLASSES, PLACE, 10.0, "m.tsv"), CLASSES)


def test_touching_seconds_and_overlapping_windows_are_one_event():
    text = rows_of(
        ("a-000000-001000.wav", 8.0, 9.0, "car", 0.6),
        ("a-000000-001000.wav", 9.0, 10.0, "car", 0.9),
        ("a-000500-001500.wav", 4.0, 6.0, "car", 0.7),
        ("a-000500-001500.wav", 8.0, 9.0, "car", 0.5),  # not above half
        ("a-000500-001500.wav", 0.0, 1.0, "shopping cart", 1.0),  # not evaluated
        ("b-000000-001000.wav", 0.0, 1.0, "people talking", 0.2),
    )
    labels = labels_of(text)
    assert labels.windows == ("a-000000-001000", "a-000500-001500", "b-000000-001000")
    truth = merged_truth(labels, ["a", "b"], 2)
    assert truth.of_recording(0).tolist() == [[0.0, 8.0, 11.0]]
    assert len(truth.of_recording(1)) == 0
    with pytest.raises(DataError, match="is of a recording that is not in the set"):
        merged_truth(labels, ["a"], 2)


def test_seconds_average_frames_by_their_time_in_them():
    edges_s = np.array([0.0, 0.75, 1.5, 2.0])
    found = window_seconds(edges_s, np.array([[0.0], [1.0], [0.5]]), 3.0)
    assert found[:, 0] == pytest.approx([0.25, 0.75, 0.0])


def test_seconds_are_averaged_over_the_windows_that_cover_them(caplog):
    edges_s = np.arange(11.0)
    windows = {"a-000000-001000": np.full((10, 1), 0.2), "a-000500-001500": np.full((10, 1), 0.6)}
    with caplog.at_level(logging.WARNING):
        found = overlap_add(windows, edges_s, {"a": 16.5})["a"][:, 0]
    assert found == pytest.approx([0.2] * 5 + [0.4] * 5 + [0.6] * 5 + [0.0] * 2)
    assert "2 second(s) of 1 recording(s) are in no window" in caplog.text
    assert segment_edges(16.5).tolist() == [*range(17), 16.5]


def test_windows_without_labels_are_scored_unless_the_published_way_is_asked_for():
    windows = {"a-000000-001000": np.full((10, 1), 0.2), "a-001000-002000": np.full((10, 1), 0.6)}
    both = overlap_add(windows, np.arange(11.0), {"a": 20.0})["a"]
    published = overlap_add(windows, np.arange(11.0), {"a": 20.0}, only=["a-000000-001000"])["a"]
    assert both[10:, 0] == pytest.approx(0.6) and (published[10:] == 0).all()
    assert (both[:10] == published[:10]).all()


def test_windows_of_other_recordings_are_refused():
    with pytest.raises(DataError, match="a recording without a length"):
        overlap_add({"b-000000-001000": np.zeros((10, 1))}, np.arange(11.0), {"a": 20.0})
    with pytest.raises(DataError, match="no scores of windows"):
        overlap_add({}, np.arange(11.0), {"a": 20.0})


def test_perfect_seconds_have_full_areas_and_absent_classes_are_left_out():
    truth = merged_truth(
        labels_of(rows_of(("a-000000-001000.wav", 2.0, 4.0, "car", 1.0))), ["a"], 2
    )
    seconds = np.zeros((10, 2))
    seconds[2:4, 0] = 0.9
    found = maestro_scores(truth, [seconds], [10.0])
    assert found.best.macro_f == found.areas.mean_auc == found.areas.mean_pauc == 1.0
    assert found.absent == [1] and np.isnan(found.areas.auc[1])
    assert list(found.named().values()) == [1.0, 1.0, 1.0]
    assert list(found.of_classes(CLASSES)["car"]) == list(MAESTRO_CLASS_COLUMNS)
    assert found.of_classes(CLASSES)["car"]["n_seconds"] == 2
    chance = constant_scores(found)
    assert chance.areas.mean_auc == 0.5 and chance.areas.mean_pauc == pytest.approx(0.05)
    assert chance.best.macro_f == pytest.approx(2 * 2 / 12)  # all ten seconds, two of them right


def test_seconds_that_do_not_count_are_left_out():
    truth = EventTable.from_recordings([np.array([[0, 0.0, 1.0], [0, 9.0, 10.0]])], 1)
    seconds, covered = np.zeros((10, 1)), np.arange(10) < 5
    seconds[0] = 1.0
    assert maestro_scores(truth, [seconds], [10.0]).areas.mean_auc == pytest.approx(0.75)
    found = maestro_scores(truth, [seconds], [10.0], [covered])
    assert found.areas.mean_auc == 1.0 and found.segments.counts.tolist() == [5]


HOP_S = 0.125
DECODING = DecodingConfig(
    decoder="median", median_frames=(1, 1, 3, 1), frame_stride=4, tag_threshold=None
)


def windows_of_two_recordings(rng):
    """Names, frames (81, 4), and events; the last frame is no whole output frame."""
    names = ["a_1-000000-001000.wav", "a_1-000500-001500.wav", "b_2-000000-001000.wav"]
    frames = rng.uniform(size=(3, 20, 4)).repeat(4, axis=1)
    frames = np.concatenate([frames, np.full((3, 1, 4), 9.0)], axis=1)
    events = [[[0, 0, 9], [2, 1, 3]], [[3, 2, 5], [2, 8, 9]], [[1, 0, 10]]]
    return names, frames, [np.array(each, np.float64) for each in events]


def test_windows_are_joined_as_they_come(caplog):
    names, frames, events = windows_of_two_recordings(np.random.default_rng(0))
    scorer = RecordingScorer([2, 3], DECODING, HOP_S)
    assert scorer.result() is None
    for each in zip(names, frames, np.zeros((3, 4)), events, strict=True):
        scorer.update(*each)
    assert scorer.lengths_s == {"a_1": 15.0, "b_2": 10.0}
    found = scorer.result()
    assert found.segments.counts.tolist() == [15, 10] and caplog.text == ""
    # Two output frames in each second; the median of three is that of the class of number 2.
    halves = frames[:, :80:4, 2:].copy()
    padded = np.pad(halves[..., 0], ((0, 0), (1, 1)))
    halves[..., 0] = np.median([padded[:, :-2], padded[:, 1:-1], padded[:, 2:]], axis=0)
    seconds = halves.reshape(3, 10, 2, 2).mean(axis=2)
    whole = np.concatenate([seconds[0], np.zeros((5, 2))])
    whole[5:10] = (seconds[0, 5:] + seconds[1, :5]) / 2
    whole[10:] = seconds[1, 5:]
    np.testing.assert_allclose(found.segments.scores, [*whole, *seconds[2]])
    expected = np.zeros((25, 2), bool)
    expected[[1, 2, 13], 0] = expected[7:10, 1] = True
    np.testing.assert_array_equal(found.segments.targets, expected)


def test_seconds_without_a_window_count_only_where_wanted(caplog):
    names, frames, events = windows_of_two_recordings(np.random.default_rng(0))
    scorer = RecordingScorer([2, 3], DECODING, HOP_S)
    scorer.update(names[1], frames[1], np.zeros(4), events[1])
    assert scorer.result(only_covered=True).segments.counts.tolist() == [10]
    assert caplog.text == ""
    assert scorer.result().segments.counts.tolist() == [15]
    assert "5 second(s) of 1 recording(s) are in no window" in caplog.text


def test_classes_that_their_tags_exclude_have_score_0():
    names, frames, events = windows_of_two_recordings(np.random.default_rng(0))
    scorer = RecordingScorer([2, 3], DECODING, HOP_S, np.array([0.5, 0.5, 0.5, 0.5]))
    scorer.update(names[0], frames[0], np.array([0.0, 0.0, 0.9, 0.1]), events[0])
    scores = scorer.result().segments.scores
    assert (scores[:, 1] == 0).all() and (scores[:, 0] > 0).any()

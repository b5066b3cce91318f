"""MAESTRO's windows and soft labels: by hand."""

import logging

import numpy as np
import pytest

from common.errors import DataError
from sed_task4.maestro import (
    Window,
    maestro_scores,
    merged_truth,
    overlap_add,
    parse_soft_labels,
    segment_edges,
    window_seconds,
    windows_of,
)

HEADER = "filename\tonset\toffset\tevent_label\tconfidence\n"
CLASSES = ("car", "people talking")


def rows_of(*rows):
    return HEADER + "".join("\t".join(map(str, row)) + "\n" for row in rows)


def test_names_of_windows_hold_their_times():
    window = Window.of("city_center_03-000500-001500.wav")
    assert window == Window("city_center_03", 5.0, 15.0)
    assert windows_of("a", 21.0) == ["a-000000-001000", "a-000500-001500", "a-001000-002000"]
    with pytest.raises(DataError, match=r"'a-1\.wav' is not a window"):
        Window.of("a-1.wav")


def test_touching_seconds_and_overlapping_windows_are_one_event():
    text = rows_of(
        ("a-000000-001000.wav", 8.0, 9.0, "car", 0.6),
        ("a-000000-001000.wav", 9.0, 10.0, "car", 0.9),
        ("a-000500-001500.wav", 4.0, 6.0, "car", 0.7),
        ("a-000500-001500.wav", 8.0, 9.0, "car", 0.5),  # not above half
        ("a-000500-001500.wav", 0.0, 1.0, "dog", 1.0),  # not evaluated
        ("b-000000-001000.wav", 0.0, 1.0, "people talking", 0.2),
    )
    labels = parse_soft_labels(text, CLASSES)
    assert labels.windows == ("a-000000-001000", "a-000500-001500", "b-000000-001000")
    truth = merged_truth(labels, ["a", "b"], 2)
    assert truth.of_recording(0).tolist() == [[0.0, 8.0, 11.0]]
    assert len(truth.of_recording(1)) == 0
    with pytest.raises(DataError, match="is of a recording that is not in the set"):
        merged_truth(labels, ["a"], 2)


@pytest.mark.parametrize("share", ["1.5", "x", ""])
def test_confidences_out_of_range_name_their_line(share):
    with pytest.raises(DataError, match=r"m\.tsv, line 2: expected onset and offset"):
        parse_soft_labels(rows_of(("a-0-1.wav", 0, 1, "car", share)), CLASSES, "m.tsv")


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


def test_perfect_seconds_have_full_areas_and_absent_classes_are_left_out(caplog):
    text = rows_of(("a-000000-001000.wav", 2.0, 4.0, "car", 1.0))
    truth = merged_truth(parse_soft_labels(text, CLASSES), ["a"], 2)
    seconds = np.zeros((10, 2))
    seconds[2:4, 0] = 0.9
    with caplog.at_level(logging.WARNING):
        found = maestro_scores(truth, [seconds], [10.0])
    assert found.best.macro_f == found.areas.mean_auc == found.areas.mean_pauc == 1.0
    assert "1 class(es) never occur and are left out" in caplog.text
    assert np.isnan(found.areas.auc[1])

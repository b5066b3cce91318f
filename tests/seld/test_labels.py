"""The four forms of labels and their conversions."""

from fractions import Fraction

import numpy as np
import pytest

from seld.dataset import Events
from seld.geometry import AngleGrid
from seld.labels import (
    check_rows,
    event_frames,
    reference_rows,
    regression_labels,
    rows_to_classification,
)

HOP_S = 0.02
GRID = AngleGrid()


def make_events(*rows: tuple[float, ...]) -> Events:
    """Rows of (class, onset, offset, azimuth, elevation)."""
    return Events.from_array(np.array([[*row, 1.0] for row in rows]).reshape(-1, 6))


def random_events(seed: int, n_events: int = 30) -> Events:
    rng = np.random.default_rng(seed)
    onset = rng.uniform(0, 55, n_events)
    columns = [
        rng.integers(0, 11, n_events),
        onset,
        onset + rng.uniform(0.05, 4, n_events),
        rng.integers(-18, 18, n_events) * 10,
        rng.integers(-4, 5, n_events) * 10,
        np.ones(n_events),
    ]
    return Events.from_array(np.stack(columns, axis=1))


def test_published_labels_hold_one_frame_more_than_half_open_ones():
    events = make_events((0, 0.39, 0.41, 0, 0))  # frames 19.5 to 20.5: touches 19 and 20
    assert [each.tolist() for each in event_frames(events, HOP_S, "half_open")] == [[19], [21]]
    assert [each.tolist() for each in event_frames(events, HOP_S, "dcase2019")] == [[19], [22]]


def test_times_on_frame_boundaries_ignore_rounding_errors():
    events = make_events(
        (0, 0.58, 0.14 + 2, 0, 0), (0, 0.0, 0.14, 0, 0)
    )  # 0.58 * 50 is 28.999..., 0.14 * 50 7.000...1
    first, end = event_frames(events, HOP_S, "half_open")
    assert first.tolist() == [29, 0]
    assert end.tolist() == [107, 7]


def test_the_published_converter_of_metadata_divides_by_the_hop():
    events = make_events((0, 4.26, 4.5, 0, 0))
    first, end = event_frames(events, HOP_S, "dcase2019_files")
    assert (first.tolist(), end.tolist()) == (
        [212],
        [226],
    )  # 4.26 / 0.02 is 212.99...; the last frame 225 is in


def test_two_stage_labels_end_before_the_frame_of_the_offset():
    events = make_events((0, 0.126, 0.149, 0, 0), (0, 0.2, 0.2 + 1e-9, 0, 0))
    assert [each.tolist() for each in event_frames(events, 0.01, "two_stage")] == [
        [12, 20],
        [14, 20],
    ]


def test_two_stage_labels_see_times_in_single_precision():
    events = make_events((0, 0.58, 4.6, 0, 0), (0, 9.94, 18.92, 0, 0))
    single = [
        float(np.float32(time)) for time in (0.58, 4.6, 9.94, 18.92)
    ]  # 0.57999998, 4.5999999, 9.9399996, 18.92
    expected = [int(time * 100) for time in single]
    assert expected == [57, 459, 993, 1892]
    first, end = event_frames(events, 0.01, "two_stage")
    assert [*first, *end] == [expected[0], expected[2], expected[1], expected[3]]


@pytest.mark.parametrize(
    ("rate_hz", "hop_samples"),
    [(32000, 320), (44100, 441), (48000, 640), (16000, 320), (22050, 256)],
)
def test_two_stage_frames_follow_from_samples_at_any_rate(rate_hz, hop_samples):
    rng = np.random.default_rng(0)
    times = np.sort(
        np.concatenate([rng.uniform(0, 60, 500), np.arange(500) * hop_samples / rate_hz])
    ).reshape(-1, 2)
    events = make_events(*[(0, onset, offset, 0, 0) for onset, offset in times])
    first, end = event_frames(events, hop_samples / rate_hz, "two_stage")
    expected = [
        [int(Fraction(float(np.float32(time))) * rate_hz / hop_samples) for time in pair]
        for pair in times
    ]
    np.testing.assert_array_equal(np.stack([first, end], axis=1), expected)


def test_two_stage_labels_have_zeros_for_silence_and_later_rows():
    events = make_events((0, 0.0, 0.055, 10, 20), (0, 0.025, 0.045, -30, -10))
    labels = regression_labels(events, 6, 0.01, 2, "two_stage")
    assert labels["activity"][:, 0].tolist() == [1, 1, 1, 1, 1, 0]
    assert labels["azimuth_deg"].T.tolist() == [[10, 10, -30, -30, 10, 0], [0] * 6]
    assert labels["elevation_deg"].T.tolist() == [[20, 20, -10, -10, 20, 0], [0] * 6]


def test_an_unknown_rule_is_refused():
    with pytest.raises(ValueError, match=r"dcase2019_files, two_stage\. Received: 'closed'"):
        event_frames(make_events((0, 0, 1, 0, 0)), HOP_S, "closed")


def test_regression_labels_of_a_silent_class_hold_the_published_values():
    labels = regression_labels(make_events((1, 0.0, 0.04, -30, 20)), 4, HOP_S, 2)
    assert labels["activity"].tolist() == [[0, 1], [0, 1], [0, 1], [0, 0]]
    assert labels["azimuth_deg"].tolist() == [[180, -30], [180, -30], [180, -30], [180, 180]]
    assert labels["elevation_deg"].tolist() == [[50, 20], [50, 20], [50, 20], [50, 50]]
    assert [labels[name].dtype for name in ("activity", "azimuth_deg", "elevation_deg")] == [
        "uint8",
        "int16",
        "int16",
    ]


def test_regression_labels_keep_the_later_row_of_one_class():
    events = make_events((0, 0.0, 0.1, 10, 0), (0, 0.04, 0.06, 50, -10))
    labels = regression_labels(events, 6, HOP_S, 1, "half_open")
    assert labels["azimuth_deg"].ravel().tolist() == [10, 10, 50, 10, 10, 180]
    rows = reference_rows(events, 6, HOP_S)  # the other forms keep both
    assert len(rows) == len(rows_to_classification(rows, 6, GRID)) == 6


def test_events_beyond_the_recording_are_cut():
    events = make_events((0, 0.0, 9.0, 0, 0), (1, 8.0, 9.0, 0, 0))
    assert regression_labels(events, 10, HOP_S, 2)["activity"].sum(axis=0).tolist() == [10, 0]
    assert reference_rows(events, 10, HOP_S)[:, 0].tolist() == list(range(10))
    assert reference_rows(events, None, HOP_S)[:, 0].max() == 449


def test_no_events_give_empty_labels():
    events = make_events()
    assert regression_labels(events, 5, HOP_S, 3)["activity"].sum() == 0
    assert reference_rows(events, 5, HOP_S).shape == (0, 4)
    assert rows_to_classification(np.zeros((0, 4)), 5, GRID).shape == (0, 3)


@pytest.mark.parametrize("rule", ["dcase2019", "half_open"])
@pytest.mark.parametrize("seed", range(3))
def test_rows_list_each_frame_of_each_event(seed, rule):
    events = random_events(seed)
    expected = []
    for number in range(len(events)):
        first, end = (int(each[number]) for each in event_frames(events, HOP_S, rule))
        direction = events.azimuth_deg[number], events.elevation_deg[number]
        expected += [
            (frame, events.class_index[number], *direction)
            for frame in range(first, min(end, 2000))
        ]
    rows = reference_rows(events, 2000, HOP_S, rule)
    assert sorted(map(tuple, rows.tolist())) == sorted(expected)
    assert (np.diff(rows[:, 0]) >= 0).all()


@pytest.mark.parametrize("seed", range(3))
def test_classification_form_is_where_the_dense_tensor_is_one(seed):
    events = random_events(seed)
    rows = reference_rows(events, 3000, HOP_S, "dcase2019")
    dense = np.zeros((3000, 11, GRID.size), np.uint8)
    for number, (first, end) in enumerate(
        zip(*event_frames(events, HOP_S, "dcase2019"), strict=True)
    ):
        index = (events.azimuth_deg[number] + 180) / 10 * 9 + (
            events.elevation_deg[number] + 40
        ) / 10
        dense[first:end, events.class_index[number], int(index)] = 1
    np.testing.assert_array_equal(rows_to_classification(rows, 3000, GRID), np.argwhere(dense))


def test_converters_do_not_change_their_input():
    rows = np.array([[0, 1, 179.9, -77.7], [4000, 0, 5, 5], [0, 1, 12, 3]])
    events = random_events(0)
    copies = rows.copy(), events.to_array().copy()
    rows_to_classification(rows, 3000, GRID)
    regression_labels(events, 100, HOP_S, 11)
    reference_rows(events, 100, HOP_S)
    np.testing.assert_array_equal(rows, copies[0])
    np.testing.assert_array_equal(events.to_array(), copies[1])


def test_angles_are_cut_towards_zero_clipped_and_lowered():
    rows = np.array([[0, 0, -0.9, -9.9], [1, 0, 190, 60], [2, 0, -200, -60], [3000, 0, 0, 0]])
    entries = rows_to_classification(rows, 3000, GRID)
    found = np.column_stack([entries[:, :2], *GRID.angles_of(entries[:, 2])])
    assert found.tolist() == [[0, 0, 0, -10], [1, 0, 170, 40], [2, 0, -180, -40]]


def test_equal_rows_become_one_entry():
    rows = np.array([[5, 2, 10, 0], [5, 2, 14, 9], [5, 2, 20, 0]])
    assert len(rows_to_classification(rows, 3000, GRID)) == 2


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.zeros((3, 5)), r"Expected: \(n, 4\). Received: \(3, 5\)"),
        (np.array([[0, 0, np.nan, 0]]), "NaN or infinity"),
        (np.array([[-1, 0, 0, 0]]), "lowest frame -1"),
        (np.array([[0, 11, 0, 0]]), "below 11.*classes 11 to 11"),
    ],
)
def test_rows_that_cannot_be_are_refused(rows, message):
    with pytest.raises(ValueError, match=message):
        check_rows(rows, 11)

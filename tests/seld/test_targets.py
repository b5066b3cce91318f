"""Targets of ACCDOA, multi-ACCDOA and tracks, from rows."""

import numpy as np
import pytest

from seld.dataset import events_of_rows
from seld.labels import rows_of_events
from seld.recordings.rows import CLASS, FRAME, SOURCE, make_rows
from seld.targets import SeldTargets, TargetForm, assign_tracks


def some_rows(seed: int, n_frames: int = 30, n_classes: int = 3, most: int = 5) -> np.ndarray:
    """Random sources in random frames, several of a class, in an order that changes."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, most + 1, n_frames)
    frame = np.repeat(np.arange(n_frames), counts)
    klass = rng.integers(0, n_classes, len(frame))
    angles = rng.integers(-180, 180, len(frame)), rng.integers(-90, 91, len(frame))
    source = rng.integers(0, 3, len(frame))
    return make_rows(frame, klass, *angles, source=source, distance_m=rng.uniform(1, 5, len(frame)))


def vector_of(row):
    azimuth, elevation = np.deg2rad(row[2:4])
    horizontal = np.cos(elevation)
    return [horizontal * np.cos(azimuth), horizontal * np.sin(azimuth), np.sin(elevation)]


def test_the_last_row_of_a_class_in_a_frame_wins_in_the_classwise_form():
    rows = some_rows(1)
    made = TargetForm("classwise", 3, ("x", "y", "z", "distance")).whole(rows, 30)[:, 0]
    expected = np.zeros((30, 5, 3))
    for row in rows:
        expected[int(row[FRAME]), :, int(row[CLASS])] = [1, *vector_of(row), row[5]]
    np.testing.assert_allclose(made, expected, atol=1e-6)


def test_one_two_and_three_sources_of_a_class_have_slots_of_their_own():
    rows = some_rows(2, n_classes=2, most=6)
    form = TargetForm("multi", 2)
    made = form.whole(rows, 30)
    expected, lost = np.zeros((30, 6, 4, 2)), 0
    for frame in range(30):
        for k in range(2):
            own = rows[(rows[:, FRAME] == frame) & (rows[:, CLASS] == k)]
            first = {0: 0, 1: 0, 2: 1}.get(len(own), 3)
            for number, row in enumerate(own[:3]):
                expected[frame, first + number, :, k] = [1, *vector_of(row)]
            lost += max(len(own) - 3, 0)
    np.testing.assert_allclose(made, expected, atol=1e-6)
    assert form.table(rows).n_lost == lost > 0


def test_a_source_stays_on_its_track_when_the_rows_change_their_order():
    pairs = [[(0, 1), (0, 2)], [(0, 2), (0, 1)], [(1, 3), (0, 2)], [(0, 2)], [(0, 2), (1, 3)]]
    rows = [(frame, *pair) for frame, own in enumerate(pairs) for pair in own]
    frame, klass, source = np.array(rows).T
    table = make_rows(frame, klass, np.zeros(len(rows)), source=source)
    tracks = assign_tracks(table, 2).tolist()
    assert tracks == [0, 1, 1, 0, 0, 1, 1, 1, 0]


def test_a_third_source_at_once_has_no_track_and_is_counted():
    rows = make_rows(np.zeros(3), np.arange(3), np.zeros(3), source=np.arange(3))
    form = TargetForm("tracks", 3, n_tracks=2)
    assert form.table(rows).slot.tolist() == [0, 1, -1]
    assert TargetForm("tracks", 3, n_tracks=3).table(rows).n_lost == 0


@pytest.mark.parametrize("form", ["classwise", "multi", "tracks"])
def test_parts_of_a_recording_have_the_targets_of_the_whole(form):
    made = SeldTargets(TargetForm(form, 3, n_tracks=3), 0.1, 0.02)
    rows = some_rows(4)
    events = events_of_rows(rows, 0.1).to_array(8)
    table = made.table(events, 147, True)  # label frames 0 to 29, the last of 2 feature frames
    whole = made.make(table, 5 * np.arange(30) + 2)
    part = made.make(table, 5 * np.arange(7, 35) + 2)
    for name, shape in made.shapes.items():
        assert whole[name].shape == (30, *shape)
        np.testing.assert_array_equal(part[name][:23], whole[name][7:])
    beyond = part["tracks"][23:, :, :3] if form == "tracks" else part["accdoa"][23:, ..., 0, :]
    assert (beyond == -1).all()


def test_a_recording_without_labels_has_unknown_activity_throughout():
    made = SeldTargets(TargetForm("classwise", 2), 0.1, 0.02, "sed")
    targets = made.make(made.table(np.zeros((0, 8)), 100, False), np.arange(2, 100, 5))
    assert (targets["sed"] == -1).all()
    assert targets["doa"].shape == (20, 4, 2)


def test_rows_joined_to_events_come_back_in_the_order_of_the_file():
    rows = some_rows(5, n_frames=60, n_classes=2)
    held = np.repeat(rows[:4], 6, axis=0)  # sources that stay where they are
    held[:, FRAME] = 70 + np.tile(np.arange(6), 4)
    both = np.concatenate([rows, held])
    events = events_of_rows(both, 0.1)
    assert len(events) < len(both)
    ordered = both[np.argsort(both[:, FRAME], kind="stable")]
    np.testing.assert_array_equal(rows_of_events(events, None, 0.1), ordered)


def test_sources_without_a_place_are_counted_over_recordings():
    rows = some_rows(6, n_classes=2, most=6)
    events = events_of_rows(rows, 0.1).to_array(8)
    form = TargetForm("classwise", 2)
    made = SeldTargets(form, 0.1, 0.02)
    lost = sum(made.n_lost(made.table(each, 150, True)) for each in (events, events))
    assert lost == 2 * form.table(rows).n_lost > 0


@pytest.mark.parametrize("form", ["classwise", "multi", "tracks"])
def test_targets_of_a_mixture_are_those_of_the_sources_of_both(form):
    made = SeldTargets(TargetForm(form, 6, n_tracks=4), 0.1, 0.02)
    first, second = (some_rows(seed, most=2) for seed in (1, 2))
    first[:, CLASS] += 3  # no source loses its place in the class-wise form ...
    second = second[np.unique(second[:, :2], axis=0, return_index=True)[1]]
    first = first[np.unique(first[:, :2], axis=0, return_index=True)[1]]
    tables = tuple(
        made.table(events_of_rows(rows, 0.1).to_array(8), 150, True) for rows in (first, second)
    )
    frames, shift = np.arange(4, 20), 7
    mixed = made.mixed(tables, 5 * frames + 2, 5 * (frames + shift) + 2, 4)
    moved = second[np.isin(second[:, FRAME], frames + shift)]
    moved[:, FRAME] -= shift
    moved[:, SOURCE] += 100
    joint = np.concatenate([first[np.isin(first[:, FRAME], frames)], moved])
    joint = joint[np.argsort(joint[:, FRAME], kind="stable")]
    joint[:, FRAME] -= frames[0]
    table = made.table(events_of_rows(joint, 0.1).to_array(8), 80, True)
    expected = made.make(table, 5 * np.arange(16) + 2)
    for name, target in expected.items():
        np.testing.assert_allclose(mixed[name], target, atol=1e-6)
    assert made.mixed(tables, 5 * frames + 2, 5 * (frames + shift) + 2, 2) is None


def test_a_mixture_is_refused_where_a_source_has_no_place_or_there_are_no_labels():
    made = SeldTargets(TargetForm("classwise", 2), 0.1, 0.1)
    rows = make_rows(np.arange(5), np.zeros(5), np.zeros(5))
    events = events_of_rows(rows, 0.1).to_array(8)
    table, unlabelled = (made.table(events, 10, labelled) for labelled in (True, False))
    frames = np.arange(10)
    assert made.mixed((table, table), frames, frames, 3) is None
    assert made.mixed((table, unlabelled), frames, frames, 3) is None
    beyond = made.mixed((table, table), frames, frames + 5, 3)  # silence is added
    np.testing.assert_array_equal(beyond["accdoa"], made.make(table, frames)["accdoa"])

"""Segment-based and frame-based scores against sed_eval and by hand."""

import math

import numpy as np
import pytest

from common.metrics.segment_based import SegmentCounts, count_frames, count_segments, to_segments


def columns(*rows: list[int]) -> np.ndarray:
    return np.array(rows, bool)


def random_activity(rng: np.random.Generator, n_frames: int, n_classes: int = 4) -> np.ndarray:
    """Activity in runs of a few frames, as events are."""
    starts = rng.random((n_frames, n_classes)) < 0.01
    return np.stack(
        [np.convolve(column, np.ones(23))[:n_frames] > 0 for column in starts.T], axis=1
    )


def test_an_event_in_the_last_frame_of_a_segment_counts():
    reference = columns([0], [1], [0], [0])  # two segments of two frames
    assert count_segments(reference, np.zeros_like(reference), 2).error_rate == 1.0


def test_the_last_frame_of_a_segment_can_be_left_out():
    activity = columns([0], [1], [0], [0], [1])
    assert to_segments(activity, 2).ravel().tolist() == [True, False, True]
    # Position 1 of a block is skipped; the short last block only has position 0.
    assert to_segments(activity, 2, skip_last_frame=True).ravel().tolist() == [False, False, True]


def test_a_miss_and_a_false_alarm_are_one_substitution():
    counts = count_frames(columns([1, 0, 0], [1, 1, 0]), columns([0, 1, 0], [0, 0, 0]))
    assert counts == SegmentCounts(
        true_positives=0, n_reference=3, n_estimate=1, substitutions=1, deletions=2, insertions=0
    )
    assert counts.error_rate == 1.0


def test_two_hits_one_miss_one_false_alarm_give_two_thirds():
    reference, estimate = columns([1], [1], [1], [0]), columns([1], [1], [0], [1])
    assert count_frames(reference, estimate).f_score == pytest.approx(4 / 6)
    assert count_frames(reference, estimate).error_rate == pytest.approx(2 / 3)


def test_a_perfect_estimate_has_no_error():
    activity = random_activity(np.random.default_rng(0), 500)
    assert count_segments(activity, activity, 50).error_rate == 0.0
    assert count_segments(activity, activity, 50).f_score == 1.0


def test_without_any_entry_both_scores_are_undefined():
    silence = np.zeros((10, 2), bool)
    assert math.isnan(count_segments(silence, silence, 5).error_rate)
    assert math.isnan(count_segments(silence, silence, 5).f_score)


def test_insertions_into_silence_are_infinitely_wrong():
    assert count_frames(np.zeros((3, 1), bool), np.ones((3, 1), bool)).error_rate == math.inf
    assert count_frames(np.zeros((3, 1), bool), np.ones((3, 1), bool)).f_score == 0.0


def test_silence_for_an_event_is_one_deletion_each():
    assert count_frames(np.ones((3, 1), bool), np.zeros((3, 1), bool)).error_rate == 1.0
    assert count_frames(np.ones((3, 1), bool), np.zeros((3, 1), bool)).f_score == 0.0


def test_counts_of_recordings_add_up():
    rng = np.random.default_rng(1)
    parts = [(random_activity(rng, 100), random_activity(rng, 100)) for _ in range(3)]
    joined = [np.concatenate(side) for side in zip(*parts, strict=True)]
    assert sum((count_frames(*part) for part in parts), SegmentCounts()) == count_frames(*joined)


def test_different_shapes_are_refused():
    with pytest.raises(ValueError, match=r"Expected: \(4, 2\). Received: \(5, 2\)"):
        count_frames(np.zeros((4, 2), bool), np.zeros((5, 2), bool))
    with pytest.raises(ValueError, match=r"Expected: \(4, 2\). Received: \(5, 2\)"):
        count_segments(
            np.zeros((4, 2), bool), np.zeros((5, 2), bool), 5
        )  # the same number of segments


def test_a_segment_has_at_least_one_frame():
    with pytest.raises(ValueError, match=r"at least 1. Received: 0"):
        to_segments(np.zeros((4, 2), bool), 0)
    with pytest.raises(ValueError, match=r"at least 2. Received: 1"):
        to_segments(np.zeros((4, 2), bool), 1, skip_last_frame=True)


def events_of(activity: np.ndarray, hop_s: float) -> list[dict]:
    """Runs of activity in the format of sed_eval."""
    found = []
    for k, column in enumerate(activity.T):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], column.astype(int), [0]])))
        found += [
            {
                "event_label": str(k),
                "event_onset": on * hop_s,
                "event_offset": off * hop_s,
                "filename": "a",
            }
            for on, off in edges.reshape(-1, 2)
        ]
    return found


@pytest.mark.parametrize("seed", range(5))
def test_one_second_scores_are_those_of_sed_eval(seed):
    import dcase_util
    import sed_eval

    rng = np.random.default_rng(seed)
    n_frames = int(rng.integers(300, 1000))
    reference, estimate = random_activity(rng, n_frames), random_activity(rng, n_frames)
    estimate |= reference & (rng.random(reference.shape) < 0.3)
    # sed_eval rounds an offset up to whole segments, so a last short segment is one segment for
    # both. Hops of 1/64 s are exact in binary: no boundary moves by rounding.
    metric = sed_eval.sound_event.SegmentBasedMetrics(
        event_label_list=list("0123"), time_resolution=1.0
    )
    metric.evaluate(
        *(
            dcase_util.containers.MetaDataContainer(events_of(each, 1 / 64))
            for each in (reference, estimate)
        ),
        evaluated_length_seconds=math.ceil(n_frames / 64),
    )
    overall = metric.results_overall_metrics()
    assert count_segments(reference, estimate, 64).f_score == pytest.approx(
        overall["f_measure"]["f_measure"], abs=1e-12
    )
    assert count_segments(reference, estimate, 64).error_rate == pytest.approx(
        overall["error_rate"]["error_rate"], abs=1e-12
    )
    counts = count_segments(reference, estimate, 64)
    for name, value in (
        ("S", counts.substitutions),
        ("D", counts.deletions),
        ("I", counts.insertions),
    ):
        assert metric.overall[name] == value

"""Median over a window of seconds: against sums of overlaps at single times, and by hand."""

import numpy as np
import pytest

from common.events.postprocess import median_filter
from common.events.timed_median import timed_median


def at_time(edges_s, scores, window_s, time_s):
    """Lowest score that, with all lower ones, fills half of the window around a time."""
    first, last = time_s - window_s / 2, time_s + window_s / 2
    held = np.maximum(np.minimum(edges_s[1:], last) - np.maximum(edges_s[:-1], first), 0)
    values, held = np.append(-np.inf, scores), np.append(window_s - held.sum(), held)
    order = np.argsort(values, kind="stable")
    return values[order][np.flatnonzero(np.cumsum(held[order]) >= window_s / 2 - 1e-9)[0]]


def value_of(curve, time_s):
    place = np.searchsorted(curve.edges_s, time_s, side="right") - 1
    return curve.values[place] if 0 <= place < len(curve.values) else -np.inf


@pytest.mark.parametrize("window_s", [0.03, 0.128, 0.2, 0.5, 3.0])
@pytest.mark.parametrize("decimals", [1, 4])
def test_values_at_single_times_are_medians_of_the_window(window_s, decimals):
    rng = np.random.default_rng(int(1000 * window_s) + decimals)
    for even in (True, False):
        steps = np.full(25, 0.064) if even else rng.choice([0.05, 0.1, 0.064], 25)
        edges_s = np.concatenate([[0.0], np.cumsum(steps)])
        scores = rng.random((25, 2)).round(decimals)
        curves = timed_median(edges_s, scores, window_s)
        for time_s in rng.uniform(-0.2, edges_s[-1] + 0.2, 60):
            for k, curve in enumerate(curves):
                wanted = at_time(edges_s, scores[:, k], window_s, time_s)
                assert value_of(curve, time_s) == wanted


def test_a_window_of_whole_frames_gives_the_usual_median_at_the_middle_of_frames():
    scores = np.random.default_rng(0).random((40, 3))
    curves = timed_median(np.arange(41) * 0.1, scores, 0.5)
    middle = np.array([[value_of(curve, 0.1 * t + 0.05) for curve in curves] for t in range(2, 38)])
    np.testing.assert_array_equal(middle, median_filter(scores, 5)[2:38])


def test_an_event_shorter_than_half_of_the_window_vanishes():
    edges_s, scores = np.array([0.0, 1.0, 1.4, 3.0]), np.array([[0.1], [0.9], [0.1]])
    assert 0.9 not in timed_median(edges_s, scores, 1.0)[0].values
    kept = timed_median(edges_s, scores, 0.6)[0]
    # Half of the window, 0.3 s, lies in the event from 1.0 to 1.4 s.
    place = kept.values.tolist().index(0.9)
    assert kept.edges_s[place : place + 2] == pytest.approx([1.0, 1.4])


def test_a_window_longer_than_twice_the_recording_gives_silence():
    (curve,) = timed_median(np.array([0.0, 1.0]), np.array([[0.5]]), 2.5)
    assert len(curve.values) == 0


def test_no_window_changes_nothing():
    edges_s, scores = np.array([0.0, 1.0, 2.0]), np.array([[0.5, 0.1], [0.2, 0.3]])
    for k, curve in enumerate(timed_median(edges_s, scores, 0.0)):
        assert curve.edges_s is edges_s and curve.values.tolist() == scores[:, k].tolist()


def test_negative_windows_and_wrong_edges_are_refused():
    with pytest.raises(ValueError, match=r"T \+ 1 edges and a window of 0 s or more"):
        timed_median(np.arange(3.0), np.zeros((2, 1)), -1.0)
    with pytest.raises(ValueError, match=r"Received: \(2, 1\), 2 and 1\.0"):
        timed_median(np.arange(2.0), np.zeros((2, 1)), 1.0)

"""From probabilities to regions, against scipy and by hand."""

import numpy as np
import pytest
import scipy.ndimage
import scipy.signal

from common.events.postprocess import (
    binarize,
    detect_half_open,
    detect_published,
    median_filter,
    regions,
    runs,
)


def test_a_probability_on_the_threshold_is_active():
    assert binarize(np.array([[0.5, 0.4]]), np.array([0.5, 0.5])).tolist() == [[True, False]]


@pytest.mark.parametrize("frames", [1, 3, 7, 51, 199])
def test_the_median_of_activity_is_that_of_scipy(frames):
    activity = np.random.default_rng(frames).random((200, 3)) < 0.6
    expected = np.stack(
        [scipy.signal.medfilt(column.astype(float), frames) for column in activity.T], axis=1
    )
    np.testing.assert_array_equal(median_filter(activity, frames), expected > 0)


def test_the_median_of_probabilities_is_that_of_scipy():
    values = np.random.default_rng(0).random((120, 2))
    expected = np.stack([scipy.signal.medfilt(column, 9) for column in values.T], axis=1)
    np.testing.assert_array_equal(median_filter(values, 9), expected)


def test_filtering_before_or_after_the_threshold_is_the_same():
    values = np.random.default_rng(1).random((150, 4))
    for threshold in (0.2, 0.5, 0.8):
        before = binarize(median_filter(values, 5), threshold)
        np.testing.assert_array_equal(before, median_filter(binarize(values, threshold), 5))


def test_each_class_may_have_a_window_of_its_own():
    activity = np.random.default_rng(2).random((90, 3)) < 0.5
    filtered = median_filter(activity, (1, 5, 11))
    for k, frames in enumerate((1, 5, 11)):
        np.testing.assert_array_equal(filtered[:, k], median_filter(activity, frames)[:, k])


@pytest.mark.parametrize(("frames", "length"), [(3, 40), (7, 40), (61, 40), (5, 1), (9, 3)])
def test_the_mirror_image_at_the_edges_is_that_of_scipy(frames, length):
    values = np.random.default_rng(frames).random((length, 3)).astype(np.float32)
    for given in (values, values > 0.5):
        before = given.copy()
        expected = scipy.ndimage.median_filter(given, size=(frames, 1), mode="reflect")
        np.testing.assert_array_equal(median_filter(given, frames, "reflect"), expected)
        np.testing.assert_array_equal(given, before)  # never in place


def test_each_end_may_have_an_edge_of_its_own():
    values = np.random.default_rng(4).random((30, 2))
    mixed = median_filter(values, 9, ("reflect", "zeros"))
    np.testing.assert_array_equal(mixed[:20], median_filter(values, 9, "reflect")[:20])
    np.testing.assert_array_equal(mixed[10:], median_filter(values, 9, "zeros")[10:])


def test_a_threshold_may_have_to_be_exceeded():
    values = np.array([[0.5, 0.6]], np.float32)
    assert binarize(values, 0.5, exceeded=True).tolist() == [[False, True]]


@pytest.mark.parametrize("frames", [0, 2, (3, 4)])
def test_an_even_window_is_refused(frames):
    with pytest.raises(ValueError, match="odd number of frames"):
        median_filter(np.zeros((5, 2), bool), frames)


def test_regions_are_half_open_and_ordered_by_class():
    activity = np.array([[1, 0], [1, 0], [0, 1], [1, 1]], bool)
    assert regions(activity).tolist() == [[0, 0, 2], [0, 3, 4], [1, 2, 4]]
    assert regions(np.zeros((0, 2), bool)).shape == (0, 3)


def test_regions_drawn_again_are_the_activity():
    activity = np.random.default_rng(3).random((80, 5)) < 0.4
    drawn = np.zeros_like(activity)
    for k, onset, offset in regions(activity):
        drawn[onset:offset, k] = True
    np.testing.assert_array_equal(drawn, activity)


CURVE = np.array([0.1, 0.6, 0.95, 0.95, 0.5, 0.3, 0.1, 0.92, 0.2, 0.1])


def test_half_open_stretches_reach_down_to_the_low_threshold():
    assert detect_half_open(CURVE, 0.9).tolist() == [[2, 4], [7, 8]]
    assert detect_half_open(CURVE, 0.9, 0.5).tolist() == [[1, 5], [7, 8]]


def test_gaps_are_closed_and_short_stretches_dropped():
    assert detect_half_open(CURVE, 0.9, 0.5, smooth_frames=2).tolist() == [[1, 8]]
    assert detect_half_open(CURVE, 0.9, 0.5, smooth_frames=1).tolist() == [[1, 5], [7, 8]]
    assert detect_half_open(CURVE, 0.9, 0.5, salt_frames=1).tolist() == [[1, 5]]
    assert detect_half_open(CURVE, 0.9, 0.5, salt_frames=4).tolist() == []


def test_the_published_form_has_inclusive_ends_without_low_threshold():
    assert detect_published(CURVE, 0.9).tolist() == [[2, 3]]
    assert detect_published(CURVE, 0.9, 0.5).tolist() == [[1, 5], [7, 8]]
    assert detect_published(CURVE, 0.9, 0.5, smooth_frames=2).tolist() == [[1, 8]]


def step_by_step(curve, high, low, smooth, salt):
    """The published rules, frame by frame."""
    pairs = [[a, b - 1] for a, b in zip(*runs(curve > high), strict=True)]
    if low is not None:
        for pair in pairs:
            while pair[0] >= 0 and curve[pair[0]] >= low:
                pair[0] -= 1
            while pair[1] < len(curve) and curve[pair[1]] >= low:
                pair[1] += 1
            pair[0] += 1
    joined = []
    for number, (begin, end) in enumerate(pairs):
        if number and begin - pairs[number - 1][1] <= smooth:
            joined[-1][1] = end
        else:
            joined.append([begin, end])
    return [pair for pair in joined if pair[1] - pair[0] > salt]


@pytest.mark.parametrize("seed", range(6))
def test_vectorised_detection_equals_the_published_rules(seed):
    rng = np.random.default_rng(seed)
    curve = np.convolve(rng.random(300), np.ones(5) / 5, "same")
    for high, low, smooth, salt in (
        (0.6, 0.5, 4, 2),
        (0.55, None, 3, 1),
        (0.6, 0.6, 0, 0),
        (0.5, 0.6, 4, 1),
    ):
        expected = step_by_step(curve, high, low, smooth, salt)
        assert (
            detect_published(curve, high, low, smooth_frames=smooth, salt_frames=salt).tolist()
            == expected
        )


def test_a_low_threshold_above_the_high_one_is_refused():
    with pytest.raises(ValueError, match=r"at most `high`, 0\.5"):
        detect_half_open(CURVE, 0.5, 0.6)

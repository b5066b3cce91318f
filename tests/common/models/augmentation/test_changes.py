"""Changes of features and labels by given draws, against closed forms and NumPy."""

import numpy as np
import pytest

from common.models.augmentation import changes

RNG = np.random.default_rng(0)
X = RNG.random((3, 8, 6, 1)).astype(np.float32)  # (B, T, F, C)


def test_weights_of_a_mixture_add_up_to_one():
    mixed = np.asarray(changes.mix(X, np.array([2, 1, 0]), np.array([0.25, 1.0, 0.5], np.float32)))
    np.testing.assert_allclose(mixed[0], 0.25 * X[0] + 0.75 * X[2], rtol=1e-6)
    np.testing.assert_array_equal(mixed[1], X[1])
    np.testing.assert_allclose(mixed[2], 0.5 * (X[0] + X[2]), rtol=1e-6)


@pytest.mark.parametrize(("kind", "expected"), [("soft", [0.75, 0.25]), ("hard", [1.0, 1.0])])
def test_labels_of_mixtures_are_soft_or_hard(kind, expected):
    labels = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)
    mixed = changes.mix_labels(labels, np.array([1, 0]), np.array([0.75, 1.0], np.float32), kind)
    np.testing.assert_array_equal(np.asarray(mixed), [expected, [0.0, 1.0]])  # the last is unmixed


def test_a_class_that_is_unknown_in_one_clip_is_unknown_in_the_mixture():
    labels = np.array([[1.0, -1.0, -1.0], [0.0, 1.0, -1.0]], np.float32)
    weights = np.array([0.5, 1.0], np.float32)
    for kind in ("soft", "hard"):
        mixed = np.asarray(changes.mix_labels(labels, np.array([1, 0]), weights, kind))
        assert mixed[0, 1:].tolist() == [-1.0, -1.0] and mixed[1].tolist() == labels[1].tolist()


def test_shifts_equal_those_of_numpy():
    shifts = np.array([3, -2, 17])
    expected = [np.roll(x, shift, axis=0) for x, shift in zip(X, shifts, strict=True)]
    np.testing.assert_array_equal(np.asarray(changes.shift_frames(X, shifts)), expected)


@pytest.mark.parametrize(
    ("rounding", "expected"), [("nearest", [0, 0, 1, 0, -1, -1]), ("floor", [0, 0, 0, -1, -1, -1])]
)
def test_labels_move_by_the_nearest_output_frame(rounding, expected):
    shifts = np.array([0, 1, 2, -1, -3, -4])
    assert np.asarray(changes.label_shift(shifts, 4, rounding)).tolist() == expected


def test_masks_cover_their_span_and_nothing_else():
    low, width = np.array([0, 2, 5]), np.array([0, 3, 1])
    frames = np.asarray(changes.mask_frames(X, low, width, fill=-7.0))
    bands = np.asarray(changes.mask_bands(X, low, width))
    for clip, (first, n) in enumerate(zip(low, width, strict=True)):
        expected = X[clip].copy()
        expected[first : first + n] = -7.0
        np.testing.assert_array_equal(frames[clip], expected)
        expected = X[clip].copy()
        expected[:, first : first + n] = 0.0
        np.testing.assert_array_equal(bands[clip], expected)


def test_masked_labels_are_inactive_unless_unknown():
    labels = np.array([[[1.0, -1.0]] * 4], np.float32)
    masked = np.asarray(changes.mask_labels(labels, np.array([1]), np.array([2])))
    assert masked[0, :, 0].tolist() == [1, 0, 0, 1] and (masked[..., 1] == -1).all()


def test_spans_of_spec_augment_are_limited_by_length_and_share():
    draws = np.array([[0.0, 0.5, 0.999], [0.0, 0.5, 0.999]], np.float32)
    for length, share, limit in ((6, 1.0, 6), (6, 0.2, 4), (3, 0.2, 3)):
        low, width = (
            np.asarray(each) for each in changes.spec_augment_span(draws, 20, length, share)
        )
        assert width.tolist() == [0, limit // 2, limit - 1]
        assert low[0] == 0 and low[2] + width[2] <= 20


def test_steps_of_a_filter_are_constant_in_their_bands():
    gains_db = np.array([[20.0, 0.0, -20.0]], np.float32)
    gains = np.asarray(changes.filter_gains(np.array([0, 2, 3, 6]), gains_db, 6, "step"))
    np.testing.assert_allclose(gains[0], [10, 10, 1, 0.1, 0.1, 0.1], rtol=1e-6)


def test_linear_filters_are_interpolated_in_db_within_each_band():
    edges, gains_db = np.array([0, 3, 4, 6]), np.array([[0.0, 20.0, -20.0, 40.0]], np.float32)
    gains = np.asarray(changes.filter_gains(edges, gains_db, 6, "linear"))
    expected = [*np.linspace(0, 20, 3), *np.linspace(20, -20, 1), *np.linspace(-20, 40, 2)]
    np.testing.assert_allclose(20 * np.log10(gains[0]), expected, atol=1e-4)


def test_edges_beyond_the_last_band_are_not_used():
    gains_db = np.array([[1.0, 2.0, 3.0, 4.0]], np.float32)
    few = changes.filter_gains(np.array([0, 2, 6]), gains_db[:, :2], 6, "step")
    padded = changes.filter_gains(np.array([0, 2, 6, 6, 6]), gains_db, 6, "step")
    np.testing.assert_array_equal(np.asarray(few), np.asarray(padded))


def test_noise_has_the_ratio_that_is_asked_for():
    noise = RNG.standard_normal((3, 8, 6, 1)).astype(np.float32)
    added = np.asarray(changes.add_noise(X, noise, np.array([0.0, 20.0, -6.0], np.float32))) - X
    for clip, factor in enumerate((1.0, 0.1, 10**0.3)):
        expected = noise[clip] * X[clip].std(ddof=1) * factor
        np.testing.assert_allclose(added[clip], expected, rtol=1e-4, atol=1e-5)


def test_noise_of_bands_follows_the_level_of_each():
    loud = X * np.array([1.0, 100.0] * 3, np.float32)[:, None]
    std = np.asarray(changes.band_noise_std(loud, snr_db=20.0))
    expected = 0.1 * np.sqrt((loud**2).mean(axis=1, keepdims=True))
    np.testing.assert_allclose(std, expected, rtol=1e-5)


def test_magnitudes_of_noise_only_raise_levels():
    noise = RNG.standard_normal(X.shape).astype(np.float32)
    np.testing.assert_allclose(np.asarray(changes.add_magnitudes(X, noise)), X + np.abs(noise))

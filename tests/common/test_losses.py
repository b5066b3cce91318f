import numpy as np
from sklearn.metrics import log_loss

from common.losses import MaskedBinaryCrossentropy, masked_mean


def test_the_mean_is_over_the_entries_that_count():
    assert np.mean(masked_mean(np.array([1.0, 2.0, 30.0], np.float32), np.array([1, 1, 0]))) == 1.5


def test_the_mean_of_nothing_is_zero():
    assert np.mean(masked_mean(np.array([1.0, np.nan], np.float32), np.zeros(2))) == 0.0


def test_cross_entropy_equals_scikit_learns():
    rng = np.random.default_rng(0)
    activity = (rng.random((3, 5, 4)) > 0.7).astype(np.float32)
    probability = rng.uniform(0.01, 0.99, activity.shape).astype(np.float32)
    expected = log_loss(activity.ravel(), probability.ravel())
    np.testing.assert_allclose(float(MaskedBinaryCrossentropy()(activity, probability)), expected, rtol=1e-5)


def test_frames_outside_the_recording_do_not_change_cross_entropy():
    rng = np.random.default_rng(1)
    activity, probability = np.ones((2, 6, 3), np.float32), rng.uniform(0.1, 0.9, (2, 6, 3)).astype(np.float32)
    padded = np.concatenate([activity, -np.ones_like(activity)], axis=1)
    wrong = np.concatenate([probability, np.ones_like(probability)], axis=1)
    loss = MaskedBinaryCrossentropy()
    np.testing.assert_allclose(float(loss(padded, wrong)), float(loss(activity, probability)), rtol=1e-6)
    assert float(loss(-np.ones_like(activity), probability)) == 0.0


def test_a_certain_mistake_costs_a_finite_amount():
    assert 15 < float(MaskedBinaryCrossentropy()(np.ones((1, 1, 1)), np.zeros((1, 1, 1)))) < 17  # -ln(1e-7)

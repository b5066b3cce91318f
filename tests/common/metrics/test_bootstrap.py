"""Resamples and intervals."""

import numpy as np
import pytest

from common.metrics.bootstrap import bootstrap, draw_weights, interval, weights_of_draws


def test_independent_draws_have_the_size_of_the_set_each():
    weights = draw_weights(50, 200, seed=1)
    assert weights.shape == (200, 50) and (weights.sum(axis=1) == 50).all()
    # The variance of a binomial count: 50 draws with a chance of 1 / 50 each.
    assert weights.var() == pytest.approx(0.98, abs=0.05)
    np.testing.assert_array_equal(weights, draw_weights(50, 200, seed=1))
    assert (weights != draw_weights(50, 200, seed=2)).any()


def test_shuffled_copies_hold_each_recording_equally_often():
    weights = draw_weights(7, 20, draws="shuffled_copies")
    assert (weights.sum(axis=0) == 20).all() and (weights.sum(axis=1) == 7).all()
    # As sed_scores_eval shuffles the sorted names.
    names = 20 * [f"clip{number}" for number in range(7)]
    np.random.RandomState(0).shuffle(names)
    numbers = np.array([int(name[4:]) for name in names]).reshape(20, 7)
    np.testing.assert_array_equal(weights, weights_of_draws(numbers, 7))


def test_the_interval_of_a_mean_is_that_of_its_standard_error():
    values = np.random.default_rng(0).normal(3.0, 2.0, 400)
    weights = draw_weights(400, 2000)
    found = bootstrap(lambda each: {"mean": each @ values / each.sum()}, weights)
    span = interval(found["mean"])
    error = values.std() / 20
    assert span.mean == pytest.approx(values.mean(), abs=error / 5)
    assert span.low == pytest.approx(values.mean() - 1.645 * error, abs=error / 5)
    assert span.high == pytest.approx(values.mean() + 1.645 * error, abs=error / 5)


def test_undefined_scores_of_resamples_are_passed_over():
    assert interval(np.array([np.nan, 1.0, 1.0])).mean == 1.0
    assert np.isnan(interval(np.array([np.nan])).low)


@pytest.mark.parametrize("sizes", [(0, 10), (10, 0)])
def test_sets_and_numbers_of_resamples_without_any_are_refused(sizes):
    with pytest.raises(ValueError, match="at least one recording and one resample"):
        draw_weights(*sizes)


def test_a_confidence_out_of_range_is_refused():
    with pytest.raises(ValueError, match=r"between 0 and 1\. Received: 90"):
        interval(np.zeros(3), 90)

"""Random streams and ranges."""

import numpy as np

from common.simulation.random_streams import Draw, random_stream


def test_a_stream_depends_on_its_labels_and_on_nothing_else():
    first = random_stream(3, "tau2019", 1, "a").random(4)
    random_stream(3, "something else").random(100)
    assert np.array_equal(first, random_stream(3, "tau2019", 1, "a").random(4))
    assert not np.array_equal(first, random_stream(3, "tau2019", 1, "b").random(4))
    assert not np.array_equal(first, random_stream(4, "tau2019", 1, "a").random(4))


def test_variation_zero_always_draws_the_centre():
    draw = Draw(np.random.default_rng(0), variation=0.0)
    assert draw.uniform(2.0, 6.0) == 4.0
    assert np.isclose(draw.log_uniform(1.0, 100.0), 10.0)


def test_half_the_variation_draws_from_half_the_range():
    values = Draw(np.random.default_rng(0), variation=0.5).uniforms(0.0, 4.0, 10_000)
    assert 1.0 <= values.min() < 1.01
    assert 2.99 < values.max() <= 3.0


def test_counts_reach_both_ends_evenly():
    draw = Draw(np.random.default_rng(0))
    counts = np.bincount([draw.count(2, 5) for _ in range(4000)])
    assert not counts[:2].any() and len(counts) == 6
    assert np.allclose(counts[2:] / 4000, 0.25, atol=0.03)

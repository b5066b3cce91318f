"""Running statistics against numpy on all frames at once."""

import numpy as np
import pytest

from common.errors import DataError
from common.features.statistics import RunningStatistics


def test_merged_parts_have_the_statistics_of_the_whole():
    frames = np.random.default_rng(0).normal(50, 3, (1000, 5, 2)).astype(np.float32)
    total = RunningStatistics.empty((5, 2))
    for part in np.split(frames, [1, 130, 700]):
        statistics = RunningStatistics.empty((5, 2))
        statistics.update(part)
        total.merge(statistics)
    mean, std = total.mean_std()
    exact = frames.astype(np.float64)
    assert total.count == 1000
    np.testing.assert_allclose(mean, exact.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(std, exact.std(axis=0), rtol=1e-5)


def test_half_precision_is_summed_in_higher_precision():
    frames = np.random.default_rng(0).normal(300, 20, (5000, 3)).astype(np.float16)
    statistics = RunningStatistics.empty((3,))
    statistics.update(frames)
    np.testing.assert_allclose(statistics.mean, frames.astype(np.float64).mean(axis=0), rtol=1e-7)
    np.testing.assert_allclose(
        statistics.m2 / 5000, frames.astype(np.float64).var(axis=0), rtol=1e-5
    )


@pytest.mark.parametrize("value", [0.0, 0.1, -100.0, 1e4])
def test_a_value_that_never_changes_is_divided_by_one(value):
    statistics = RunningStatistics.empty((1,))
    statistics.update(np.full((3000, 1), value, np.float32))
    assert statistics.mean_std()[1] == 1.0


def test_small_but_real_deviations_stay():
    statistics = RunningStatistics.empty((1,))
    statistics.update(np.random.default_rng(0).normal(2e-4, 1e-4, (3000, 1)))
    assert statistics.mean_std()[1] == pytest.approx(1e-4, rel=0.05)


def test_statistics_of_nothing_are_refused():
    with pytest.raises(DataError, match="No features"):
        RunningStatistics.empty((2,)).mean_std()


def test_the_deviation_of_a_sample_divides_by_one_less():
    frames = np.random.default_rng(0).normal(3, 2, (7, 5)).astype(np.float32)
    statistics = RunningStatistics.empty((5,))
    statistics.update(frames)
    np.testing.assert_allclose(statistics.mean_std()[1], frames.std(axis=0), rtol=1e-5)
    np.testing.assert_allclose(
        statistics.mean_std(ddof=1)[1], frames.std(axis=0, ddof=1), rtol=1e-5
    )

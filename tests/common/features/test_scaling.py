"""Statistics that scale levels, against numpy."""

import numpy as np
import pytest
from pydantic import ValidationError

from common.features.scaling import ScalingConfig, dataset_statistics, equal_parts
from common.features.statistics import RunningStatistics


def clips():
    rng = np.random.default_rng(0)
    shapes = ((40, 5, 1), (70, 5, 1), (25, 5, 1))
    return [rng.normal(-30, 12, shape).astype(np.float32) for shape in shapes]


def statistics_of(arrays):
    statistics = RunningStatistics.empty(arrays[0].shape[1:])
    for array in arrays:
        statistics.update(array)
    return statistics


def test_a_dataset_has_statistics_of_each_band_or_of_all():
    frames = np.concatenate(clips())  # (T, F, C)
    statistics = statistics_of(clips())
    for bands, axes in (("each", 0), ("all", None)):
        mean, std = dataset_statistics(statistics, ScalingConfig(bands=bands))
        assert mean.shape == std.shape == (5, 1)
        exact = frames.astype(np.float64)
        np.testing.assert_allclose(mean, np.broadcast_to(_column(exact.mean(axes)), (5, 1)), 1e-5)
        np.testing.assert_allclose(std, np.broadcast_to(_column(exact.std(axes)), (5, 1)), 1e-5)


def _column(values):
    return np.reshape(values, (-1, 1))


def test_a_constant_band_counts_as_constant_among_all():
    frames = clips()[0]
    frames[:, 2] = -50.0
    _, std = dataset_statistics(statistics_of([frames]), ScalingConfig(bands="all"))
    np.testing.assert_allclose(std, frames.astype(np.float64).std(), 1e-5)


def test_only_the_mean_may_be_subtracted():
    mean, std = dataset_statistics(statistics_of(clips()), ScalingConfig(form="mean"))
    np.testing.assert_allclose(mean, np.concatenate(clips()).mean(axis=0), 1e-5)
    assert (std == 1).all()


@pytest.mark.parametrize("of", ["clip", "batch"])
def test_nothing_is_left_for_a_dataset_where_clips_are_scaled(of):
    mean, std = dataset_statistics(statistics_of(clips()), ScalingConfig(of=of, form="minmax"))
    assert (mean == 0).all() and (std == 1).all()


def test_parts_of_any_size_may_count_the_same():
    parts = [statistics_of([each]) for each in clips()]
    equal = equal_parts(parts)
    means = [each.astype(np.float64).mean(axis=0) for each in clips()]
    squares = [(each.astype(np.float64) ** 2).mean(axis=0) for each in clips()]
    np.testing.assert_allclose(equal.mean, np.mean(means, axis=0), 1e-6)
    np.testing.assert_allclose(equal.mean_square, np.mean(squares, axis=0), 1e-6)


def test_scaling_that_cannot_be_computed_is_refused():
    with pytest.raises(ValidationError, match="`form: minmax` scales each clip or batch"):
        ScalingConfig(form="minmax")
    with pytest.raises(ValidationError, match="`range` must rise"):
        ScalingConfig(of="clip", form="minmax", range=(1, 1))

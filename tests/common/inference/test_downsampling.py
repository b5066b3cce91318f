"""Columns and rows of long recordings that are kept for figures."""

import numpy as np
import pytest

from common.inference.downsampling import Columns, Rows


@pytest.mark.parametrize("n_frames", [1, 99, 200, 201, 1000, 4321])
def test_columns_are_the_largest_values_of_equally_many_frames(n_frames):
    frames = np.random.default_rng(n_frames).normal(size=(n_frames, 3)).astype(np.float32)
    columns = Columns(n_max=100)
    for start in range(0, n_frames, 37):
        columns.add(frames[start : start + 37])
    n = columns.frames_per_column
    expected = [frames[start : start + n].max(axis=0) for start in range(0, n_frames, n)]
    np.testing.assert_array_equal(columns.values, expected)
    assert len(columns.values) <= 200 and columns.n_frames == n_frames
    assert n == 1 or len(columns.values) >= 100


def test_rows_of_every_so_many_frames_are_kept():
    rows = Rows(2, n_max=50)
    for frame in range(0, 1000, 2):
        rows.add(np.array([[frame, 5], [frame, 7], [frame + 1, 5]]))
    n = rows.frames_per_row
    kept = rows.values
    assert n == 64 and len(kept) <= 50
    assert np.unique(kept[:, 0]).tolist() == list(range(len(range(0, 1000, n))))
    assert np.unique(kept[:, 1]).tolist() == [5, 7]


def test_few_rows_and_no_frames_are_as_they_came():
    rows, columns = Rows(4), Columns()
    rows.add(np.array([[3.0, 1, 90, 10]]))
    columns.add(np.zeros((0, 8)))
    assert rows.values.tolist() == [[3, 1, 90, 10]] and columns.values.shape == (0, 0)

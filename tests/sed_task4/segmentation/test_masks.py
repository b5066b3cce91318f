"""Ideal masks."""

import numpy as np
import pytest

from sed_task4.segmentation.masks import class_masks, ideal_binary_mask, ideal_ratio_mask


def test_events_count_down_to_5_db_below_the_scene():
    levels_db = np.array([-40.0, -5.1, -4.9, 0.0, 30.0])
    mask = ideal_binary_mask(10 ** (levels_db / 20), np.ones(5))
    assert mask.tolist() == [0, 0, 1, 1, 1] and mask.dtype == np.float32
    assert ideal_binary_mask(10 ** (levels_db / 20), np.ones(5), threshold_db=1.0).tolist() == [
        0,
        0,
        0,
        0,
        1,
    ]


def test_a_bin_without_events_is_not_marked_even_in_silence():
    assert ideal_binary_mask(np.zeros(2), np.array([0.0, 1.0])).tolist() == [0, 0]
    assert ideal_binary_mask(np.ones(1), np.zeros(1)).tolist() == [1]


def test_the_ratio_mask_is_the_share_of_the_events():
    events, scene = np.array([[3.0, 0.0], [1.0, 0.0]]), np.array([[1.0, 2.0], [0.0, 0.0]])
    assert ideal_ratio_mask(events, scene) == pytest.approx(np.array([[0.75, 0.0], [1.0, 0.0]]))


def test_class_masks_split_the_event_mask_by_time():
    mask = np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]], np.float32)  # (T=3, F=2)
    activity = np.array([[1, 0], [1, 0], [0, 1]])  # (T, K=2)
    masks = class_masks(mask, activity)
    assert masks.shape == (3, 2, 2)
    assert masks[..., 0].tolist() == [[1, 0], [1, 1], [0, 0]] and masks[..., 1].tolist() == [
        [0, 0],
        [0, 0],
        [0, 1],
    ]

"""Searched median lengths: the best F-score of each class, on clips with events."""

import json

import numpy as np
import pytest

from common.errors import CheckpointError, DataError
from sed_task4.decoding import DecodingConfig, decode_clip
from sed_task4.median_search import LENGTHS, ScoredClip, named, read_medians, search_medians

HOP_S = 0.1
MEDIAN = DecodingConfig(
    decoder="median", tag_threshold=None, median_frames=(3, 5, 7), median_edges="reflect"
)


def clips():
    """Class 0: single frames; class 1: a second each, torn by gaps; class 2: no event."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(6):
        frames = np.zeros((100, 3), np.float32)
        short, long = rng.permutation(9)[:4] * 10 + 2, rng.integers(10, 50)
        frames[short, 0] = 1
        frames[long : long + 30, 1] = 1
        frames[long + 3 : long + 30 : 7, 1] = 0  # gaps of one frame
        frames[[2, 7, 93], 1] = 1  # false alarms of one frame
        events = [(0, at * HOP_S, (at + 1) * HOP_S) for at in short]
        events.append((1, long * HOP_S, (long + 30) * HOP_S))
        found.append(ScoredClip(frames, np.ones(3), np.array(events), 10.0))
    return found


def test_each_class_gets_the_shortest_length_with_the_best_score():
    lengths = search_medians(clips(), MEDIAN, HOP_S)
    assert lengths == (1, 3, 7)  # the third class has no event and keeps its length
    rule = MEDIAN.model_copy(update={"median_frames": lengths})
    for each in clips():
        events = decode_clip(each.frames, each.clip, rule, HOP_S, clip_s=10.0)
        assert np.allclose(events, each.events[np.lexsort(each.events.T[1::-1])], atol=0.11)


def test_classes_without_a_hit_keep_their_length():
    silent = [ScoredClip(0 * each.frames, each.clip, each.events, 10.0) for each in clips()]
    assert search_medians(silent, MEDIAN, HOP_S) == (3, 5, 7)


def test_clips_without_events_cannot_be_searched():
    none = [ScoredClip(each.frames, each.clip, np.zeros((0, 3)), 10.0) for each in clips()]
    for given in (none, []):
        with pytest.raises(DataError, match="compares events of the validation clips"):
            search_medians(given, MEDIAN, HOP_S)


def test_stored_lengths_come_back_and_damaged_ones_are_refused(tmp_path):
    path, classes = tmp_path / "median_frames.json", ("Cat", "Dog")
    path.write_text(json.dumps(named((3, LENGTHS[-1]), classes)))
    assert read_medians(path, classes) == (3, LENGTHS[-1])
    for content in ([], {"Cat": 3}, {"Cat": 3, "Dog": "x"}, {"Cat": 3, "Dog": 4}):
        path.write_text(json.dumps(content))
        with pytest.raises(CheckpointError, match=r"median_frames\.json"):
            read_medians(path, classes)

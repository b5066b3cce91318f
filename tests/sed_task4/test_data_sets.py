"""Scores of validation clips: each data set with its own classes."""

import numpy as np
import pytest

from common.errors import DataError
from sed_task4.decoding import DecodingConfig
from sed_task4.scores.maestro import RecordingScorer
from sed_task4.scores.systems import ScoringConfig
from sed_task4.validation import (
    ClipResult,
    ClipScorer,
    DataSets,
    ValidationScorer,
    check_recordings,
    take_in_window,
)

DECODING = DecodingConfig(decoder="median", median_frames=(1, 3, 1), tag_threshold=None)
WINDOW = "a_1-000000-000200.wav"
APART = DataSets(frozenset([WINDOW]), of_clips=(0, 1), of_windows=(2,))
HOP_S = 0.5


def clip(name, frames, tags, events=None):
    frames = np.array(frames, np.float64)
    known = None if events is None else np.array(events, np.float64).reshape(-1, 3)
    return ClipResult(name, frames, frames.max(axis=0), np.array(tags), known, 2.0, len(frames))


WEAK = clip("weak.wav", [[0.9, 0.2, 0.9]] * 4, [1, 0, -1])
STRONG = clip("1.wav", [[0.1, 0.9, 0.9]] * 4, [0, 1, -1], [[1, 0, 2]])
# The first second is active: its mean is above that of the other.
OF_RECORDING = clip(
    WINDOW, [[0.9, 0.9, each] for each in (0.9, 0.3, 0.5, 0.5)], [-1, -1, 1], [[2, 0, 1]]
)


def scorer_of(*clips):
    scoring = ScoringConfig(intersection_f=True)
    own = ClipScorer(2, DECODING.of_classes([0, 1]), HOP_S, 2.0, scoring)
    recordings = RecordingScorer([2], DECODING, HOP_S)
    scorer = ValidationScorer(own, lambda each: each, APART, recordings)
    for each in clips:
        scorer.update(each)
    return scorer


def test_classes_of_the_other_data_set_do_not_count():
    found = scorer_of(WEAK, STRONG, OF_RECORDING).result()
    assert found["event_micro_f"] == found["event_macro_f"] == found["map"] == 1.0
    assert found["weak_macro_f"] == 0.5  # of two classes: the one that no clip has counts as 0
    without = scorer_of(WEAK, STRONG).result()
    assert {name: found[name] for name in without} == without
    assert not [name for name in without if "maestro" in name]


def test_the_sums_of_2024_join_clips_and_recordings():
    found = scorer_of(WEAK, STRONG, OF_RECORDING).result()
    assert found["maestro_best_f"] == found["maestro_auc"] == found["maestro_pauc"] == 1.0
    before = found["weak_macro_f"] + found["intersection_macro_f"]
    for name in ("best_f", "auc", "pauc"):
        assert found[f"weak_intersection_and_maestro_{name}"] == before + 1.0
    alone = scorer_of(OF_RECORDING).result()
    assert "maestro_pauc" in alone and not [name for name in alone if name.startswith("weak")]


def test_without_evaluated_classes_windows_are_passed_over():
    recordings = RecordingScorer([], DECODING, HOP_S)
    take_in_window(recordings, OF_RECORDING)
    assert recordings.result() is None


class Store:
    def __init__(self, events):
        self.stored = {WINDOW: {"events": np.array(events, np.float64).reshape(-1, 3)}}

    def arrays(self, groups, names):
        return self.stored


class Validation:
    groups, recording_names = ("maestro_real_train",), [WINDOW]

    def __init__(self, events):
        self.store = Store(events)


def test_windows_without_evaluated_classes_cannot_choose_a_model():
    check_recordings(Validation([[2, 0, 1]]), APART, "m")
    with pytest.raises(DataError, match=r"`training.monitor: m` .* 1 window\(s\), without any"):
        check_recordings(Validation([[0, 0, 1]]), APART, "m")

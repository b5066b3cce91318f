"""From probabilities of a clip to its events."""

import numpy as np
import pytest
from pydantic import ValidationError

from common.events.postprocess import detect_published
from sed_task4.decoding import (
    DecodingConfig,
    best_thresholds,
    decision_scores,
    decode_clip,
    spread_tags,
    tag_gate,
)

HOP_S = 0.1


def curves() -> np.ndarray:
    """Two classes over a second: one event each, of frames 2 to 5 and 6 to 8."""
    frames = np.full((10, 2), 0.05)
    frames[2:5, 0] = [0.6, 0.95, 0.7]
    frames[6:8, 1] = 0.97
    return frames


def short(**settings) -> DecodingConfig:
    return DecodingConfig(smooth_frames=0, salt_frames=0, **settings)


def test_events_are_half_open_and_in_seconds():
    events = decode_clip(curves(), np.array([0.95, 0.99]), short(), HOP_S)
    np.testing.assert_allclose(events, [[0, 0.2, 0.5], [1, 0.6, 0.8]])


def test_a_class_is_decoded_only_above_the_tag_gate():
    events = decode_clip(curves(), np.array([0.9, 0.91]), short(), HOP_S)
    assert events[:, 0].tolist() == [1]
    assert len(decode_clip(curves(), np.array([0.9, 0.1]), short(tag_threshold=None), HOP_S)) == 2
    assert len(decode_clip(curves(), None, short(), HOP_S)) == 2


def test_thresholds_per_class_replace_the_gate():
    clip = np.array([0.3, 0.6])
    assert tag_gate(clip, DecodingConfig(), 2, np.array([0.3, 0.7])).tolist() == [True, False]
    assert (
        len(decode_clip(curves(), clip, short(), HOP_S, tag_thresholds=np.array([0.3, 0.0]))) == 2
    )


def test_the_published_decoder_keeps_its_ends():
    frames = curves()
    decoding = DecodingConfig(
        decoder="kong2019", low_threshold=None, high_threshold=0.5, salt_frames=0, smooth_frames=0
    )
    events = decode_clip(frames, np.ones(2), decoding, 1.0)
    expected = [
        [k, *pair]
        for k in range(2)
        for pair in detect_published(frames[:, k], 0.5, smooth_frames=0).tolist()
    ]
    assert events.tolist() == expected == [[0, 2, 4], [1, 6, 7]]


def test_the_median_decoder_thresholds_filters_and_finds_regions():
    frames = np.zeros((20, 1))
    frames[3:12] = 0.5
    frames[6] = 0.0  # a gap
    frames[16] = 1.0  # a spike
    decoding = DecodingConfig(decoder="median", median_frames=3, tag_threshold=None)
    assert decode_clip(frames, None, decoding, HOP_S).round(6).tolist() == [[0, 0.3, 1.2]]


def test_scores_over_thresholds_use_the_median_decoders_input():
    frames = np.random.default_rng(0).random((60, 3))
    decoding = DecodingConfig(
        decoder="median", median_frames=(3, 5, 9), tag_threshold=None, threshold=0.4
    )
    events = decode_clip(frames, None, decoding, 1.0)
    active = decision_scores(frames, None, decoding) >= 0.4
    assert events[:, 2].sum() - events[:, 1].sum() == active.sum()


def test_frames_may_be_weighted_by_the_tags():
    frames, clip = np.full((4, 2), 0.8), np.array([1.0, 0.5])
    decoding = short(frame_weight="tags", high_threshold=0.7, tag_threshold=None)
    assert decode_clip(frames, clip, decoding, 1.0).tolist() == [[0, 0, 4]]


def test_events_end_with_the_clip():
    frames = np.ones((12, 1))
    assert decode_clip(frames, None, short(), HOP_S, clip_s=1.0).tolist() == [[0, 0.0, 1.0]]
    late = np.zeros((12, 1))
    late[10:] = 1.0
    assert len(decode_clip(late, None, short(), HOP_S, clip_s=1.0)) == 0


def test_an_empty_clip_has_no_events():
    assert decode_clip(np.zeros((0, 3)), np.ones(3), DecodingConfig(), HOP_S).shape == (0, 3)


def test_spread_tags_last_for_the_clip():
    assert spread_tags(np.array([True, False, True]), 10.0).tolist() == [[0, 0, 10], [2, 0, 10]]


def test_searched_thresholds_of_absent_classes_are_published_or_half():
    targets = np.array([[1, 0], [0, 0]])
    scores = np.array([[0.75, 0.2], [0.35, 0.1]])
    np.testing.assert_allclose(best_thresholds(targets, scores), [0.4, 0.5])
    np.testing.assert_allclose(best_thresholds(targets, scores, published=True), [0.4, 0.0])


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"Received: \(10, 2\) and \(3,\)"):
        decode_clip(curves(), np.ones(3), DecodingConfig(), HOP_S)
    with pytest.raises(ValueError, match=r"2, one for each class\. Received: 3"):
        decode_clip(curves(), np.ones(2), DecodingConfig(median_frames=(1, 3, 5)), HOP_S)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"median_frames": 4}, "odd numbers"),
        ({"median_frames": (3, 0)}, "odd numbers"),
        ({"high_threshold": 0.3, "low_threshold": 0.4}, "cannot be above"),
        ({"decoder": "viterbi"}, "half_open"),
        ({"treshold": 0.4}, "Extra inputs"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        DecodingConfig(**settings)

"""From probabilities of a clip to its events."""

import numpy as np
import pytest
import scipy.ndimage
from pydantic import ValidationError

from common.events.postprocess import detect_published, median_filter, regions
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


MEDIAN = {"decoder": "median", "tag_threshold": None, "median_edges": "reflect"}


def scores(seed: int, n_frames: int = 90) -> tuple[np.ndarray, np.ndarray]:
    """Frame-level (T, 3) and clip-level (3,) probabilities in sixteenths."""
    rng = np.random.default_rng(seed)
    walk = np.round(rng.random((n_frames + 4, 3)) * 16) / 16
    return median_filter(walk, 5)[:n_frames].astype(np.float32), np.array([0.25, 0.5, 0.9375])


def plain_median_decoder(frames, decoding, windows, clip=None):
    """Rule by rule with scipy: bool (T, 3), as the published loops find it."""
    values = frames.copy()
    for k in range(3):
        if decoding.clip_masking != "gate" and clip[k] < decoding.threshold:
            values[:, k] = 0
        elif decoding.clip_masking == "whole_clip":
            values[:, k] = 1
    exceeded = decoding.threshold_rule == "exceeded"
    active = values > decoding.threshold if exceeded else values >= decoding.threshold
    filtered = [
        scipy.ndimage.median_filter(active[:, k], size=windows[k], mode="reflect") for k in range(3)
    ]
    return np.stack(filtered, axis=1)


@pytest.mark.parametrize("rule", ["reached", "exceeded"])
@pytest.mark.parametrize("of", ["mask", "scores"])
@pytest.mark.parametrize("masking", ["gate", "same_threshold", "whole_clip"])
def test_the_median_decoder_of_each_year_is_its_plain_loop(rule, of, masking):
    for seed, threshold in ((0, 0.5), (1, 0.25), (2, 0.875)):
        frames, clip = scores(seed)
        before, windows = frames.copy(), (1, 5, 11)
        decoding = DecodingConfig(
            **MEDIAN,
            threshold=threshold,
            threshold_rule=rule,
            median_of=of,
            median_frames=windows,
            clip_masking=masking,
        )
        active = plain_median_decoder(frames, decoding, windows, clip)
        events = decode_clip(frames, clip, decoding, 1.0)
        assert events.tolist() == regions(active).tolist()
        np.testing.assert_array_equal(frames, before)  # decoding never writes into its input
        swept = decision_scores(frames, clip, decoding)
        reached = swept > threshold if rule == "exceeded" else swept >= threshold
        np.testing.assert_array_equal(reached, active)


def test_thresholds_are_reached_or_exceeded():
    frames = np.array([[0.5], [0.6]])
    both = [
        DecodingConfig(**MEDIAN, median_frames=1, threshold_rule=r) for r in ("reached", "exceeded")
    ]
    assert [decode_clip(frames, None, each, 1.0).tolist() for each in both] == [
        [[0, 0, 2]],
        [[0, 1, 2]],
    ]


def test_events_may_last_to_the_end_of_the_last_frame():
    decoding = DecodingConfig(**MEDIAN, median_frames=1, cut_at_end=False)
    hop_s = 8 * 511 / 44100
    (event,) = decode_clip(np.ones((108, 1)), None, decoding, hop_s, clip_s=10.0)
    assert event.tolist() == [0, 0, 108 * hop_s] and event[2] > 10


def test_output_frames_are_decoded_at_their_own_rate():
    frames, clip = scores(3, 39)
    decoding = DecodingConfig(**MEDIAN, median_frames=5)
    expected = decode_clip(frames, clip, decoding, 0.4)
    strided = decoding.model_copy(update={"frame_stride": 4})
    held = np.repeat(frames, 4, axis=0)
    for extra in (0, 2):  # held frames of no whole output frame do not count
        repeated = np.concatenate([held, held[-1:].repeat(extra, axis=0)])
        np.testing.assert_allclose(decode_clip(repeated, clip, strided, 0.1), expected)
        swept = decision_scores(repeated, clip, strided)
        assert swept.shape == repeated.shape
        np.testing.assert_array_equal(
            swept[: len(held) : 4], decision_scores(frames, clip, decoding)
        )
        assert np.isneginf(swept[len(held) :]).all()
    assert decode_clip(np.ones((2, 1)), None, strided, 0.1).tolist() == [[0, 0, 0.4]]


CLASSES = ("Cat", "Dog", "Speech")


def test_median_lengths_may_be_in_seconds_and_by_class():
    by_class = DecodingConfig(decoder="median", median_frames={"Dog": 5, "Speech": 7, "Cat": 3})
    assert by_class.resolved(CLASSES, 0.1).median_frames == (3, 5, 7)
    of_2020 = DecodingConfig(decoder="median", median_s=0.45, frame_stride=4)
    assert of_2020.resolved(CLASSES, 255 / 16000).median_frames == 7
    of_2019 = DecodingConfig(decoder="median", median_s=0.45)
    assert of_2019.resolved(CLASSES, 8 * 511 / 44100).median_frames == 5
    listed = DecodingConfig(decoder="median", median_s=(0.05, 0.3, 1.0)).resolved(CLASSES, 0.1)
    assert listed.median_frames == (1, 3, 11) and listed.median_s is None
    with pytest.raises(ValueError, match="Use `DecodingConfig"):
        decode_clip(curves(), None, by_class, HOP_S)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"median_frames": {"Cat": 3, "Dog": 3, "Horse": 3, "Speech": 3}}, "do not exist: Horse"),
        ({"median_s": {"Cat": 1.0, "Dog": 1.0}}, r"median_s has no length for Speech"),
        ({"median_frames": (3, 5)}, "expected one number, or 3.*Received: 2"),
        ({"median_s": (0.1,) * 4}, "expected one number, or 3.*Received: 4"),
    ],
)
def test_median_lengths_must_fit_the_classes(settings, message):
    with pytest.raises(ValueError, match=message):
        DecodingConfig(decoder="median", **settings).resolved(CLASSES, 0.1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"median_frames": 4}, "odd numbers"),
        ({"median_frames": (3, 0)}, "odd numbers"),
        ({"median_frames": {"Cat": 2}}, "odd numbers"),
        ({"median_s": 0.0}, "above 0 seconds"),
        ({"threshold": 1.5}, "less than or equal to 1"),
        ({"decoder": "median", "tag_threshold": -0.1}, "greater than or equal to 0"),
        ({"clip_masking": "whole_clip"}, "belong to `decoder: median`"),
        ({"search_medians": True}, "belong to `decoder: median`"),
        ({"high_threshold": 0.3, "low_threshold": 0.4}, "cannot be above"),
        ({"decoder": "viterbi"}, "half_open"),
        ({"treshold": 0.4}, "Extra inputs"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        DecodingConfig(**settings)


@pytest.mark.parametrize(
    ("settings", "threshold", "changes", "changed"),
    [
        ({}, 0.45, {}, {"high_threshold": 0.45, "low_threshold": 0.25}),
        ({"low_threshold": None}, 0.3, {}, {"high_threshold": 0.3}),
        ({"decoder": "kong2019"}, 0.45, {}, {"high_threshold": 0.45, "low_threshold": 0.25}),
        ({"decoder": "median"}, 0.3, {}, {"threshold": 0.3}),
        ({}, 0.3, {"decoder": "median"}, {"decoder": "median", "threshold": 0.3}),
        ({}, None, {}, {}),
        (
            {"search_thresholds": True},
            None,
            {"tag_threshold": 0.2},
            {"tag_threshold": 0.2, "search_thresholds": False},
        ),
        (
            {"decoder": "median", "median_s": 0.5, "search_medians": True},
            None,
            {"median_frames": 7},
            {"median_frames": 7, "median_s": None, "search_medians": False},
        ),
    ],
)
def test_a_prediction_changes_thresholds_that_belong_together(
    settings, threshold, changes, changed
):
    decoding = DecodingConfig(**settings)
    assert decoding.changed(threshold, changes) == pytest.approx(changed)
    DecodingConfig(**{**decoding.model_dump(), **changed})

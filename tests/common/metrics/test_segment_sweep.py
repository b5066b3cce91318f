"""Segments and clips at all thresholds: against plain loops, scikit-learn, and by hand."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from common.events.table import EventTable
from common.metrics.segment_sweep import clip_entries, clip_maxima, score_segments
from common.metrics.sweep import Frames
from common.metrics.threshold_curves import area_scores, best_f_scores, f_scores_at, mcclish
from tests.common.metrics.dense_sweep import random_set


def loop_segments(rows, edges, scores, length_s, segment_s, k):
    """Highest score and truth of each segment of one recording."""
    found = []
    for number in range(int(np.ceil(length_s / segment_s))):
        begin, end = number * segment_s, (number + 1) * segment_s
        inside = [
            frame
            for frame in range(len(scores))
            if round(edges[frame + 1], 6) > round(begin, 6)
            and round(edges[frame], 6) < round(end, 6)
        ]
        own = rows[rows[:, 0] == k, 1:]
        true = any(onset < end and offset > begin for onset, offset in own)
        found.append((max((scores[frame, k] for frame in inside), default=0.0), true))
    return found


@pytest.mark.parametrize("segment_s", [1.0, 0.4])
def test_segments_are_those_of_a_plain_loop(segment_s):
    reference, scores, edges = random_set(0)
    frames = Frames.from_edges(edges)
    lengths_s = np.linspace(2.0, 9.0, len(scores))
    found = score_segments(reference, frames, np.concatenate(scores), lengths_s, segment_s)
    for k in range(4):
        wanted = [
            each
            for number in range(len(scores))
            for each in loop_segments(
                reference.of_recording(number),
                edges[number],
                scores[number],
                lengths_s[number],
                segment_s,
                k,
            )
        ]
        assert found.scores[:, k].tolist() == [score for score, _ in wanted]
        assert found.targets[:, k].tolist() == [true for _, true in wanted]
    assert found.counts.sum() == len(found.recording) == len(wanted)


def random_segments(seed=0):
    reference, scores, edges = random_set(seed, n_clips=30)
    frames, flat = Frames.from_edges(edges), np.concatenate(scores)
    return score_segments(reference, frames, flat, 6.0)


def test_areas_are_those_of_scikit_learn():
    segments = random_segments()
    curves = segments.curves()
    areas = area_scores(curves, 4, segments.counts)
    assert np.isnan(areas.auc[3]) and set(curves) == {0, 1, 2}
    for k in range(3):
        pair = segments.targets[:, k], segments.scores[:, k]
        assert areas.auc[k] == pytest.approx(roc_auc_score(*pair))
        corrected = roc_auc_score(*pair, max_fpr=0.1)
        assert mcclish(areas.pauc)[k] == pytest.approx(corrected)
    assert areas.mean_pauc == pytest.approx(np.nanmean(areas.pauc))


def test_chance_has_half_of_the_limit_as_partial_area():
    rng = np.random.default_rng(0)
    n = 20_000
    true = rng.random(n) < 0.3
    reference = EventTable.from_recordings(
        [np.array([[0, 0.0, 1.0]]) if each else np.zeros((0, 3)) for each in true], 1
    )
    clips = clip_entries(reference, rng.random((n, 1)))
    areas = area_scores(clips.curves(), 1, clips.counts)
    assert areas.mean_auc == pytest.approx(0.5, abs=0.02)
    assert areas.mean_pauc == pytest.approx(0.05, abs=0.01)


def test_the_best_f_of_segments_is_the_highest_of_all_thresholds():
    segments = random_segments(1)
    curves = segments.curves()
    best = best_f_scores(curves, 4)
    for k in range(3):
        scores, true = segments.scores[:, k], segments.targets[:, k]
        every = [
            2 * (true & (scores >= value)).sum() / (true.sum() + (scores >= value).sum())
            for value in np.unique(scores)
        ]
        assert best.f[k] == pytest.approx(max(every))
        at = f_scores_at(curves, 4, best.thresholds)
        assert at.f[k] == pytest.approx(best.f[k])
    assert best.macro_f == pytest.approx(np.mean(best.f[:3]))


def test_weights_count_segments_of_a_recording_several_times():
    segments = random_segments(2)
    weights = np.random.default_rng(0).integers(0, 4, segments.n_recordings).astype(float)
    areas = area_scores(segments.curves(), 4, segments.counts, weights)
    times = weights[segments.recording].astype(int)
    for k in range(3):
        pair = (np.repeat(each[:, k], times) for each in (segments.targets, segments.scores))
        assert areas.auc[k] == pytest.approx(roc_auc_score(*pair))


def test_clip_scores_are_the_highest_frames():
    reference, scores, edges = random_set(0)
    found = clip_maxima(Frames.from_edges(edges), np.concatenate(scores))
    wanted = [each.max(axis=0) if len(each) else np.zeros(4) for each in scores]
    np.testing.assert_array_equal(found, wanted)
    clips = clip_entries(reference, found)
    tags = [np.isin(range(4), reference.of_recording(n)[:, 0]) for n in range(len(scores))]
    np.testing.assert_array_equal(clips.targets, tags)


def test_limits_out_of_range_are_refused():
    segments = random_segments()
    with pytest.raises(ValueError, match=r"in \(0, 1\]\. Received: 1\.5"):
        area_scores({}, 4, segments.counts, max_rate=1.5)
    with pytest.raises(ValueError, match="`segment_s` above 0"):
        score_segments(
            EventTable.from_recordings([], 1), Frames.from_edges([]), np.zeros((0, 1)), 1.0, 0.0
        )

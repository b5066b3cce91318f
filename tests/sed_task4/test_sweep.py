"""Scores over all thresholds use the events of the run's own decoder."""

import numpy as np
import pytest

from common.events.postprocess import level_scores, median_filter, regions
from common.events.table import EventTable
from common.metrics.event_based import event_based_scores
from common.metrics.psds import sweep_scores
from sed_task4.decoding import DecodingConfig, decision_scores, decode_clip, sweep_remark
from sed_task4.scores.systems import ScoringConfig, SystemOutput, TestSet, score_report

HOP_S, T, K = 0.02, 150, 4
DOUBLE = {
    "tag_threshold": 0.4,
    "high_threshold": 0.6,
    "low_threshold": 0.45,
    "smooth_frames": 4,
    "salt_frames": 3,
}
DECODERS = {
    "half open": DecodingConfig(decoder="half_open", **DOUBLE),
    "half open, one threshold": DecodingConfig(
        decoder="half_open", **DOUBLE | {"low_threshold": None}
    ),
    "half open, equal thresholds": DecodingConfig(
        decoder="half_open", **DOUBLE | {"low_threshold": 0.6}
    ),
    "half open, no smoothing": DecodingConfig(
        decoder="half_open", **DOUBLE | {"smooth_frames": 0, "salt_frames": 0}
    ),
    "half open, low of 0": DecodingConfig(decoder="half_open", **DOUBLE | {"low_threshold": 0.0}),
    "published": DecodingConfig(decoder="kong2019", **DOUBLE),
    "published, one threshold": DecodingConfig(
        decoder="kong2019", **DOUBLE | {"low_threshold": None}
    ),
    "published, no smoothing": DecodingConfig(
        decoder="kong2019", **DOUBLE | {"low_threshold": None, "smooth_frames": 0, "salt_frames": 0}
    ),
    "published, no gate": DecodingConfig(decoder="kong2019", **DOUBLE | {"tag_threshold": None}),
    "weighted": DecodingConfig(decoder="half_open", frame_weight="tags", **DOUBLE),
    "median": DecodingConfig(decoder="median", tag_threshold=0.4, threshold=0.5, median_frames=7),
    "median by class": DecodingConfig(
        decoder="median", tag_threshold=None, threshold=0.5, median_frames=(1, 3, 9, 21)
    ),
}


def clips(seed: int, rounded: bool = False) -> list[tuple[np.ndarray, np.ndarray]]:
    """Smooth probabilities of frames and tags, of clips of several lengths."""
    rng = np.random.default_rng(seed)
    found = []
    for length in (T, T, 90, 31, 1):
        frames = median_filter(rng.random((length, K)).cumsum(0) % 1.0, 5)
        frames = np.clip(frames + rng.normal(0, 0.08, frames.shape), 0.001, 0.999)
        found.append((frames.round(1) if rounded else frames, rng.random(K)))
    return found


def at_threshold(decoding: DecodingConfig, threshold: float) -> DecodingConfig:
    """The same decoder with another threshold, the low one in its ratio to the high one."""
    if decoding.decoder == "median":
        return decoding.model_copy(update={"threshold": threshold})
    low = decoding.low_threshold
    low = None if low is None else min(threshold, low * threshold / decoding.high_threshold)
    return decoding.model_copy(update={"high_threshold": threshold, "low_threshold": low})


def level_set(
    scores: np.ndarray, decoding: DecodingConfig, threshold: float, clip_s: float
) -> np.ndarray:
    active = scores >= threshold if decoding.decoder == "median" else scores > threshold
    events = regions(active).astype(float)
    events[:, 1:] = np.minimum(events[:, 1:] * HOP_S, clip_s)
    return events


@pytest.mark.parametrize("name", DECODERS)
def test_level_sets_of_the_scores_are_the_decoders_events(name):
    decoding = DECODERS[name]
    own = decoding.threshold if decoding.decoder == "median" else decoding.high_threshold
    found = 0
    for frames, tags in clips(0):
        scores = decision_scores(frames, tags, decoding)
        for threshold in (own, *np.linspace(0.02, 0.98, 49)):
            events = decode_clip(
                frames, tags, at_threshold(decoding, threshold), HOP_S, clip_s=2.99
            )
            np.testing.assert_allclose(
                level_set(scores, decoding, threshold, 2.99), events, atol=1e-12
            )
            found += len(events)
    assert found > 300


@pytest.mark.parametrize("thresholds", [None, np.array([0.2, 0.9, 0.0, 1.0])])
@pytest.mark.parametrize("name", DECODERS)
def test_the_sweep_gives_the_event_f_of_the_run(name, thresholds):
    decoding, rng = DECODERS[name], np.random.default_rng(3)
    own = decoding.threshold if decoding.decoder == "median" else decoding.high_threshold
    found = [decode_clip(*clip, decoding, HOP_S, tag_thresholds=thresholds) for clip in clips(1)]
    scores = [decision_scores(*clip, decoding, thresholds) for clip in clips(1)]
    moved = [np.abs(rows + rng.normal(0, 0.12, rows.shape) * [0, 1, 1]) for rows in found]
    truth = EventTable.from_recordings(
        [rows[rows[:, 1] < rows[:, 2]] for rows in moved], K
    ).merge_connected()
    f = event_based_scores(
        truth, EventTable.from_recordings(found, K), empty_estimate_is_zero=True
    ).class_f
    kept = np.greater_equal if decoding.decoder == "median" else np.greater
    one_threshold = [np.where(kept(each, own), 1.0, -np.inf) for each in scores]
    sweep = sweep_scores(truth, one_threshold, HOP_S, 3.0)
    np.testing.assert_allclose(sweep.class_best_f, f, equal_nan=True)
    every = sweep_scores(truth, scores, HOP_S, 3.0)
    assert np.all((every.class_best_f >= f - 1e-12) | np.isnan(f))
    assert np.nanmax(every.class_best_f) > 0.2


@pytest.mark.parametrize("decoder", ["half_open", "kong2019"])
def test_values_on_a_threshold_count_as_in_the_decoder(decoder):
    decoding = DecodingConfig(
        decoder=decoder, **DOUBLE | {"high_threshold": 0.8, "low_threshold": 0.4}
    )
    for frames, tags in clips(2, rounded=True):
        events = decode_clip(frames, tags, decoding, HOP_S)
        scores = decision_scores(frames, tags, decoding)
        np.testing.assert_allclose(level_set(scores, decoding, 0.8, 3.0), events, atol=1e-12)


def test_a_gated_class_is_found_at_no_threshold():
    frames, decoding = np.full((10, 2), 0.7), DECODERS["half open"]
    scores = decision_scores(frames, np.array([1.0, 0.1]), decoding)
    assert np.isneginf(scores[:, 1]).all() and (scores[:, 0] == 0.7).all()
    truth = EventTable.from_recordings([np.array([[0, 0.0, 0.2], [1, 0.0, 0.2]])], 2)
    sweep = sweep_scores(truth, [scores], HOP_S, 0.2)
    assert (
        sweep.class_best_f.tolist() == [1.0, 0.0]
        and sweep.class_psds1[0] == 1.0
        and sweep.class_psds1[1] == 0.0
    )


def test_gaps_and_short_stretches_count_as_the_decoder_counts_them():
    curve = np.array([0, 0.9, 0.9, 0, 0.9, 0.9, 0, 0, 0, 0.9, 0])
    scores = level_scores(curve, 0.5, smooth_frames=1, salt_frames=1)
    assert (scores > 0.5).nonzero()[0].tolist() == [1, 2, 3, 4, 5], (
        "the gap is closed, the single frame dropped"
    )


def test_detections_end_with_their_recording():
    truth = EventTable.from_recordings([np.array([[0, 0.0, 0.95]])], 1)
    sweep = sweep_scores(truth, [np.ones((5, 1))], 0.25, 0.95, collar_s=0.01, offset_share=0.0)
    assert sweep.best_f == 1.0 and sweep.psds1 == 1.0


def test_the_report_describes_the_sweep():
    test = TestSet(["a"], [np.array([[0, 0.0, 1.0]])], ["x"], 3.0)
    decoding = DECODERS["half open"]
    output = SystemOutput(
        [np.array([[0, 0.0, 1.0]])], None, [np.ones((150, 1))], HOP_S, remark=sweep_remark(decoding)
    )
    text = score_report(test, {"s": output}, ScoringConfig(sed_eval=False)).to_text()
    assert (
        "PSDS and best F: of all high thresholds, the low one in its ratio to them; tag gate"
        in text
    )
    assert "Approximate" not in text
    odd = DecodingConfig(decoder="kong2019", high_threshold=0.3, low_threshold=0.6)
    assert "Approximate" in sweep_remark(odd)
    assert np.isfinite(decision_scores(np.random.default_rng(0).random((60, 1)), None, odd)).any()

"""Scores over all thresholds by setting."""

import numpy as np
import pytest
from pydantic import ValidationError

from common.metrics.bootstrap import draw_weights
from common.metrics.psds import SCENARIOS, PsdsScenario, ThresholdSweep
from sed_task4.decoding import DecodingConfig
from sed_task4.scores.systems import ScoringConfig, SystemOutput, TestSet, score_report
from sed_task4.scores.threshold_scores import BootstrapConfig, bootstrap_intervals, threshold_scores
from sed_task4.validation import ClipScorer
from tests.common.metrics.dense_sweep import random_set

OWN = {"dtc": 0.3, "gtc": 0.4, "cttc": 0.3, "alpha_ct": 0.2, "alpha_st": 0.5, "max_rate": 500.0}


def small_sweep():
    reference, scores, edges = random_set(2)
    return ThresholdSweep(reference, scores, edges, 6.0)


def test_scenarios_are_named_or_have_their_own_numbers():
    scoring = ScoringConfig(scenarios={"psds_2020_macro": None, "strict": OWN})
    scores, of_classes = threshold_scores(small_sweep(), scoring)
    sweep = small_sweep()
    assert scores["psds_2020_macro"] == sweep.psds(SCENARIOS["psds_2020_macro"]).psds
    own = sweep.psds(PsdsScenario(**OWN))
    assert scores["strict"] == own.psds and of_classes["strict"][0] == own.class_psds[0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scenarios": {"psds3": None}}, r"unknown scenario 'psds3'.*one of psds1, psds2"),
        ({"scenarios": {"psds1": OWN}}, "psds1 always has its published numbers"),
        ({"scenarios": {"x": {"dtc": 0.5}}}, "gtc"),
        ({"scenarios": {"x": {"dtc": 0.5, "gtc": 0.5, "ctct": 0.3}}}, "ctct"),
        ({"scenarios": {"x": {"dtc": 1.5, "gtc": 0.5}}}, "less than or equal to 1"),
        ({"scenarios": {"x": {"dtc": 0.5, "gtc": 0.5, "alpha_ct": 1.0}}}, "need a `cttc`"),
        ({"median_windows_s": [0.5, -1]}, "0 seconds or more"),
        ({"event_threshold": 1.2}, "less than or equal to 1"),
        ({"bootstrap": {"confidence": 90}}, "less than 1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        ScoringConfig(**settings)


def test_the_default_scores_are_psds_and_best_f_alone():
    scores, _ = threshold_scores(small_sweep(), ScoringConfig())
    assert list(scores) == ["psds1", "psds2", "best_f"]


def test_all_scores_are_there_on_request():
    scoring = ScoringConfig(
        all_thresholds=True, operating_points=20, median_windows_s=(0.0, 0.3), scenarios={"x": OWN}
    )
    scores, of_classes = threshold_scores(small_sweep(), scoring)
    named = {"x_20", "psds1_20", "psds1_non_oracle", "psds1_any_median", "segment_pauc"}
    assert named <= set(scores) and all(np.isfinite(each) for each in scores.values())
    assert all(len(each) == 4 for each in of_classes.values())
    assert scores["psds1_non_oracle"] <= of_classes["psds1"][:3].max()


@pytest.mark.parametrize("draws", ["independent", "shuffled_copies"])
def test_intervals_are_percentiles_of_rescored_resamples(draws):
    sweep = small_sweep()
    config = BootstrapConfig(n_resamples=12, draws=draws, seed=0)
    found = bootstrap_intervals(sweep, ScoringConfig(bootstrap=config, all_thresholds=True))
    weights = draw_weights(sweep.reference.n_recordings, 12, 0, draws)
    values = [sweep.psds(SCENARIOS["psds2"], weights=each).psds for each in weights]
    assert found["psds2"].mean == pytest.approx(np.mean(values))
    assert found["psds2"].low == pytest.approx(np.percentile(values, 5))
    assert found["segment_auc"].low <= found["segment_auc"].mean <= found["segment_auc"].high


def report_of(rows, scoring, frames=None):
    frames = [np.full((10, 2), 0.5) for _ in rows] if frames is None else frames
    test = TestSet([f"{number}.wav" for number in range(len(rows))], rows, ("x", "y"))
    output = SystemOutput([rows[0][:1], *rows[1:]], frames=frames, hop_s=1.0)
    return score_report(test, {"s": output}, scoring)


def test_overlapping_events_of_a_class_are_told_with_their_files():
    rows = [np.array([[0, 0.0, 3.0], [0, 2.0, 5.0], [1, 1.0, 2.0]]), np.array([[0, 1.0, 2.0]])]
    report = report_of(rows, ScoringConfig(sed_eval=False))
    (note,) = (each for each in report.notes if "overlap another" in each)
    assert "1 reference event(s)" in note and "in 0.wav:" in note


def test_the_intersection_f_of_decoded_events_counts_classes_never_found():
    rows = [np.array([[0, 0.0, 3.0], [1, 5.0, 6.0]]), np.array([[0, 1.0, 2.0]])]
    report = report_of(rows, ScoringConfig(sed_eval=False, intersection_f=True))
    assert report.score("intersection_macro_f") == 0.5
    assert report.score("intersection_macro_f_of_hit") == 1.0
    assert "of classes hit" in report.to_text()


def test_classes_without_events_are_left_out_with_a_note():
    report = report_of([np.array([[0, 0.0, 3.0]])], ScoringConfig(sed_eval=False))
    assert any("No reference events of y" in note for note in report.notes)
    assert report.score("psds1") == report.rows[0].by_class["psds1"][0]


def test_validation_has_the_intersection_f_on_request():
    rows, frames = np.array([[0, 0.0, 0.5]]), np.zeros((20, 2))
    frames[:10, 0] = 0.99
    for wanted in (True, False):
        decoding = DecodingConfig(smooth_frames=0, salt_frames=0, tag_threshold=None)
        scorer = ClipScorer(2, decoding, 0.05, 1.0, ScoringConfig(intersection_f=wanted))
        scorer.update("a.wav", frames, frames.max(axis=0), rows)
        found = scorer.result()
        assert found.get("intersection_macro_f") == (1.0 if wanted else None)

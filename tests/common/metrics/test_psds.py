"""Scores over all thresholds: against sed_scores_eval 0.0.4, a plain loop, and by hand."""

import math

import numpy as np
import pandas as pd
import pytest

from common.events.postprocess import regions
from common.events.table import EventTable
from common.metrics.event_based import event_based_scores
from common.metrics.psds import PSDS1, PSDS2, PsdsScenario, ThresholdSweep, sweep_scores

# psds1, psds2 and best_f of `scored_set(seed)` by sed_scores_eval 0.0.4.
BY_SED_SCORES_EVAL = (
    (0.3245954078669797, 0.620649626139195, 0.6238095238095238),
    (0.023536392215828067, 0.0811780011249821, 0.36300064338612753),
    (0.1875, 0.94375, 0.6022408963585435),
)


def scored_set(seed: int) -> tuple[EventTable, list[np.ndarray], float]:
    """Events and scores of clips of 10 s; the scores have two decimals, so that they are exact."""
    rng = np.random.default_rng(seed)
    n_clips, n_frames, n_classes = [(25, 50, 3), (12, 125, 5), (8, 40, 2)][seed]
    hop_s = 10 / n_frames
    clips, scores = [], []
    for _ in range(n_clips):
        logits, rows = rng.integers(-40, -20, (n_frames, n_classes)) / 10, []
        for _ in range(rng.integers(0, 5)):
            k, onset_s = rng.integers(n_classes), rng.integers(0, 90) / 10
            offset_s = min(10.0, onset_s + rng.integers(2, 40) / 10)
            rows.append((k, onset_s, offset_s))
            active = slice(int(onset_s / hop_s), int(offset_s / hop_s) + 1)
            logits[active, k] += rng.integers(5, 60) / 10
            logits[active, rng.integers(n_classes)] += rng.integers(0, 20) / 10
        clips.append(np.array(rows, float).reshape(-1, 3))
        scores.append(np.round(1 / (1 + np.exp(-logits)), 2))
    return EventTable.from_recordings(clips, n_classes), scores, hop_s


@pytest.mark.parametrize("seed", range(3))
def test_scores_are_those_of_sed_scores_eval(seed):
    reference, scores, hop_s = scored_set(seed)
    result = sweep_scores(reference, scores, hop_s, 10.0)
    np.testing.assert_allclose(
        [result.psds1, result.psds2, result.best_f], BY_SED_SCORES_EVAL[seed], rtol=1e-9, atol=1e-12
    )


def test_the_best_f_is_the_highest_that_any_threshold_gives():
    reference, scores, hop_s = scored_set(0)
    reference = reference.merge_connected()
    best = np.zeros(3)
    for threshold in np.unique(np.concatenate(scores)):
        estimate = []
        for frames in scores:
            events = regions(frames >= threshold).astype(float)
            events[:, 1:] *= hop_s
            estimate.append(events)
        table = EventTable.from_recordings(estimate, 3)
        # Not exactly 0.2 s, which times on this grid meet: rounding would decide, which is done
        # once only.
        f = event_based_scores(
            reference, table, collar_s=0.2001, empty_estimate_is_zero=True
        ).class_f
        best = np.maximum(best, f)
    result = sweep_scores(reference, scores, hop_s, 10.0, collar_s=0.2001)
    np.testing.assert_allclose(result.class_best_f, best, atol=1e-12)
    assert result.best_f == pytest.approx(best.mean())


def perfect() -> tuple[EventTable, list[np.ndarray]]:
    scores = [np.full((10, 2), 0.1) for _ in range(2)]
    scores[0][2:5, 0] = 0.9
    scores[1][4:9, 1] = 0.8
    return (
        EventTable.from_recordings([np.array([[0, 2.0, 5.0]]), np.array([[1, 4.0, 9.0]])], 2),
        scores,
    )


def test_perfect_scores_have_a_psds_of_one():
    reference, scores = perfect()
    result = sweep_scores(reference, scores, 1.0, 10.0)
    assert (result.psds1, result.psds2, result.best_f) == (1.0, 1.0, 1.0)
    assert result.class_psds1.tolist() == [1.0, 1.0]
    assert 0.1 < result.class_thresholds[0] < 0.9


def test_a_false_detection_takes_its_share_of_the_hour():
    reference, scores = perfect()
    scores[1][1:3, 0] = (
        # above the true one: one false detection in 20 s is 180 an hour, beyond the 100 allowed
        0.95
    )
    result = sweep_scores(reference, scores, 1.0, 10.0)
    assert result.class_psds1.tolist() == [0.0, 1.0]
    longer = sweep_scores(reference, scores, 1.0, 100.0)  # in 200 s it is 18 an hour
    assert longer.class_psds1[0] == pytest.approx(0.82)


def test_classes_without_events_are_left_out():
    reference, scores = perfect()
    wider = EventTable.from_recordings([reference.of_recording(number) for number in range(2)], 3)
    result = sweep_scores(wider, [np.pad(frames, ((0, 0), (0, 1))) for frames in scores], 1.0, 10.0)
    assert result.psds1 == result.psds2 == 1.0 and math.isnan(result.class_psds2[2])


def test_without_any_event_all_is_undefined():
    result = sweep_scores(
        EventTable.from_recordings([np.zeros((0, 3))], 2), [np.ones((4, 2))], 1.0, 4.0
    )
    assert math.isnan(result.psds1)
    assert math.isnan(result.best_f)
    assert np.isnan(result.class_best_f).all()


def test_cross_triggers_cost_their_share_of_the_other_class():
    # One false detection of class 0 in 100 s, on an event of class 1: 36 an hour, and one cross
    # trigger for 3 s of that class, 1200 an hour.
    reference, scores = perfect()
    scores[1][4:7, 0] = 0.95
    reference = EventTable.from_recordings(
        [np.array([[0, 2.0, 5.0]]), np.array([[1, 4.0, 7.0]])], 2
    )
    weight = 0.01
    plain = PsdsScenario(0.5, 0.5, None, 0.0)
    crossed = PsdsScenario(0.5, 0.5, 0.3, weight)
    sweep = ThresholdSweep(reference, scores, 1.0, 50.0)
    assert sweep.psds(plain).class_psds[0] == pytest.approx(1 - 0.36)
    assert sweep.psds(crossed).class_psds[0] == pytest.approx(1 - 0.36 - weight * 12.0)


def test_non_oracle_thresholds_keep_the_events_that_a_lower_one_loses():
    # Two events; above 0.5 one each is found, below both join a long stretch that fits neither,
    # and a false detection in the other clip appears only then.
    events = [np.array([[0, 0.0, 1.0], [0, 5.0, 6.0]]), np.zeros((0, 3))]
    scores = [np.full((10, 1), 0.4), np.zeros((10, 1))]
    scores[0][[0, 5]], scores[1][3] = 0.9, 0.4
    reference = EventTable.from_recordings(events, 1)
    sweep = ThresholdSweep(reference, scores, 1.0, 3600.0)
    assert sweep.psds(PSDS1).psds == pytest.approx(1.0)
    # From one false positive an hour on (two in two hours), nothing is found.
    assert sweep.psds(PSDS1, oracle=False).psds == pytest.approx(0.01)


def test_unusable_scores_are_refused():
    reference, scores = perfect()
    with pytest.raises(ValueError, match=r"scores of 2 recordings\. Received: 1"):
        sweep_scores(reference, scores[:1], 1.0, 10.0)
    scores[0][0, 0] = np.nan
    with pytest.raises(ValueError, match="1 values not finite"):
        sweep_scores(reference, scores, 1.0, 10.0)


@pytest.mark.parametrize("seed", range(3))
def test_sed_scores_eval_gives_the_numbers_above(seed):
    package = pytest.importorskip("sed_scores_eval")  # has no wheels: it needs a C++ compiler
    from sed_scores_eval.base_modules.scores import create_score_dataframe

    reference, scores, hop_s = scored_set(seed)
    reference = reference.merge_connected()
    present = np.flatnonzero(reference.counts())
    tables, truth = {}, {}
    for number, frames in enumerate(scores):
        times_s = np.minimum(np.arange(len(frames) + 1) * hop_s, 10.0)
        table = create_score_dataframe(frames[:, present], times_s, [str(k) for k in present])
        tables[str(number)] = WritableFrame(table)
        rows = reference.of_recording(number).tolist()
        truth[str(number)] = [(onset, offset, f"{k:.0f}") for k, onset, offset in rows]
    found = [
        package.intersection_based.psds(
            tables,
            truth,
            dict.fromkeys(tables, 10.0),
            dtc_threshold=scenario.dtc,
            gtc_threshold=scenario.gtc,
            cttc_threshold=scenario.cttc,
            alpha_ct=scenario.alpha_ct,
            alpha_st=scenario.alpha_st,
            max_efpr=scenario.max_rate,
        )[0]
        for scenario in (PSDS1, PSDS2)
    ]
    best, *_ = package.collar_based.best_fscore(
        tables, truth, onset_collar=0.2, offset_collar=0.2, offset_collar_rate=0.2
    )
    assert [*found, best["macro_average"]] == pytest.approx(BY_SED_SCORES_EVAL[seed])


class WritableFrame(pd.DataFrame):
    """Gives copies: sed_scores_eval 0.0.4 refuses the read-only arrays of pandas 3."""

    @property
    def _constructor(self) -> type["WritableFrame"]:
        return WritableFrame

    def to_numpy(self, *arguments, **settings) -> np.ndarray:
        return np.array(super().to_numpy(*arguments, **settings))

"""The forest of detections against tables of all thresholds, and weights against repeated sets."""

import numpy as np
import pytest

from common.events.table import EventTable
from common.metrics.psds import PSDS1, PSDS2, SCENARIOS, PsdsScenario, ThresholdSweep
from common.metrics.sweep import Coverage, Frames, Steps, all_detections
from common.metrics.threshold_curves import (
    best_f_scores,
    collar_curve,
    compacted,
    f_curves,
    f_scores_at,
)
from tests.common.metrics.dense_sweep import (
    collar_counts_at,
    detections_at,
    intersection_counts_at,
    random_set,
)

SWEEP_SEEDS = range(2)


@pytest.mark.parametrize("seed", SWEEP_SEEDS)
def test_detections_at_each_threshold_are_the_stretches_above_it(seed):
    _, scores, edges = random_set(seed)
    frames = Frames.from_edges(edges)
    for k in range(4):
        found = all_detections(frames, np.concatenate([each[:, k] for each in scores]))
        for u, value in enumerate(found.values):
            alive = (found.until < u) & (found.level >= u)
            mine = sorted(
                zip(
                    found.recording[alive], found.onset_s[alive], found.offset_s[alive], strict=True
                )
            )
            wanted = [
                (number, *each)
                for number, (frame, edge) in enumerate(zip(scores, edges, strict=True))
                for each in detections_at(frame[:, k], edge, value)
            ]
            assert mine == wanted
        assert (found.all_steps.totals(len(found.values))[:-1] > 0).all()


@pytest.mark.parametrize("seed", SWEEP_SEEDS)
@pytest.mark.parametrize("scenario", [PSDS1, PSDS2, PsdsScenario(0.5, 0.5, 0.3, 1.0)])
def test_intersections_at_each_threshold_are_those_of_a_plain_loop(seed, scenario):
    reference, scores, edges = random_set(seed)
    sweep = ThresholdSweep(reference, scores, edges, 5.0)
    curves = sweep.intersection_curves(scenario)
    table = sweep.reference
    assert set(curves) == {0, 1, 2}  # the last class has no event
    for k, curve in curves.items():
        found, false = curve.counts()
        for u, value in enumerate(curve.values):
            counts = [
                intersection_counts_at(
                    detections_at(frame[:, k], edge, value), table.of_recording(number), k, scenario
                )
                for number, (frame, edge) in enumerate(zip(scores, edges, strict=True))
            ]
            assert (found[u], false[u]) == (sum(c[0] for c in counts), sum(c[1] for c in counts))
            if scenario.cttc is not None:
                for other in range(4):
                    only = np.eye(4)[other]
                    mine = curve.crossing.totals(len(curve.values), None, only)[u]
                    assert mine == sum(c[2].get(other, 0) for c in counts)


@pytest.mark.parametrize("seed", SWEEP_SEEDS)
def test_hits_within_the_collar_are_those_of_a_plain_loop(seed):
    reference, scores, edges = random_set(seed)
    sweep = ThresholdSweep(reference, scores, edges, 5.0)
    for k, curve in sweep.collar_curves(0.3, 0.5).items():
        counts = curve.counts()
        for u, value in enumerate(curve.values):
            wanted = np.zeros(2)
            for number, (frame, edge) in enumerate(zip(scores, edges, strict=True)):
                rows = sweep.reference.of_recording(number)
                stretches = detections_at(frame[:, k], edge, value)
                wanted += collar_counts_at(stretches, rows[rows[:, 0] == k, 1:], 0.3, 0.5)
            assert [each[u] for each in counts] == wanted.tolist()


def test_several_hits_for_one_event_are_matched_once():
    frames = Frames.from_edges([np.arange(5) * 0.1])
    found = all_detections(frames, np.array([0.9, 0.1, 0.9, 0.1]))
    curve = collar_curve(found, np.array([[0.1, 0.2]]), np.array([0]), 0.2, 0.2)
    hits, false = curve.counts()
    assert (hits.tolist(), false.tolist()) == ([1, 1, 0], [0, 1, 0])


@pytest.mark.parametrize("seed", SWEEP_SEEDS)
def test_weights_count_recordings_as_if_they_occurred_several_times(seed):
    reference, scores, edges = random_set(seed)
    lengths_s = np.linspace(3.0, 6.0, len(scores))
    weights = np.random.default_rng(seed).integers(0, 3, len(scores))
    chosen = np.repeat(np.arange(len(scores)), weights)
    sweep = ThresholdSweep(reference, scores, edges, lengths_s)
    repeated = ThresholdSweep(
        EventTable.from_recordings([reference.of_recording(each) for each in chosen], 4),
        [scores[each] for each in chosen],
        [edges[each] for each in chosen],
        lengths_s[chosen],
    )
    for scenario in SCENARIOS.values():
        mine, theirs = sweep.psds(scenario, weights=weights), repeated.psds(scenario)
        assert mine.psds == pytest.approx(theirs.psds, abs=1e-12)
        np.testing.assert_allclose(mine.class_psds, theirs.class_psds, atol=1e-12)
    mine = best_f_scores(sweep.collar_curves(), 4, weights)
    theirs = best_f_scores(repeated.collar_curves(), 4)
    assert mine.macro_f == pytest.approx(theirs.macro_f)
    assert mine.micro_f == pytest.approx(theirs.micro_f)


@pytest.mark.parametrize("scenario", SCENARIOS.values())
@pytest.mark.parametrize("rate", [100.0, 2000.0, 20000.0])
def test_thresholds_beyond_the_limit_of_the_rate_do_not_matter(scenario, rate):
    reference, scores, edges = random_set(5)
    sweep = ThresholdSweep(reference, scores, edges, 5.0)
    limited = PsdsScenario(**{**vars(scenario), "max_rate": rate})
    every = sweep.psds(limited, curves=sweep.intersection_curves(limited))
    assert sweep.psds(limited).psds == every.psds
    assert sweep.psds(limited).class_psds.tolist()[:3] == every.class_psds.tolist()[:3]


def test_f_at_a_threshold_is_of_scores_above_it():
    reference = EventTable.from_recordings([np.array([[0, 0.0, 1.0]])], 1)
    sweep = ThresholdSweep(reference, [np.array([[0.5], [0.2]])], 1.0, 2.0)
    curves = sweep.collar_curves()
    at = {each: f_scores_at(curves, 1, each).macro_f for each in (0.5, 0.49, 0.2, 0.1, 1.0)}
    assert at == {0.5: 0.0, 0.49: 1.0, 0.2: 1.0, 0.1: 0.0, 1.0: 0.0}


def test_curves_of_f_have_f_at_each_threshold_and_at_the_best():
    reference, scores, edges = random_set(3)
    curves = ThresholdSweep(reference, scores, edges, 5.0).collar_curves()
    thresholds = np.linspace(0, 1, 7)
    found = f_curves(curves, 4, thresholds)
    at = [f_scores_at(curves, 4, each) for each in thresholds]
    np.testing.assert_array_equal(found.f, [each.f for each in at])
    np.testing.assert_array_equal(found.macro_f, [each.macro_f for each in at])
    best = best_f_scores(curves, 4)
    np.testing.assert_array_equal(found.best.thresholds, best.thresholds)
    assert found.best.macro_f == best.macro_f >= found.macro_f.max()


@pytest.mark.parametrize("scenario", [PSDS1, PSDS2])
def test_psds_is_the_area_under_its_own_curve(scenario):
    reference, scores, edges = random_set(1)
    found = ThresholdSweep(reference, scores, edges, 600.0).psds(scenario)
    grid = np.arange(0, scenario.max_rate, 0.01) + 0.005
    assert found.effective_at(grid).mean() == pytest.approx(found.psds, abs=2e-4)
    assert found.effective_at(found.rates[:1] - 1e-6).tolist() == [0.0]
    assert found.psds > 0


def test_events_at_a_threshold_are_the_alive_detections():
    reference, scores, edges = random_set(3)
    sweep = ThresholdSweep(reference, scores, edges, 5.0)
    table = sweep.events_at(0.3)
    for number, (frame, edge) in enumerate(zip(scores, edges, strict=True)):
        wanted = [
            (k, *each)
            for k in range(3)
            for each in detections_at(frame[:, k], edge, np.nextafter(0.3, 1))
        ]
        rows = table.of_recording(number)
        assert sorted(map(tuple, rows.tolist())) == sorted(wanted)


def test_coverage_holds_only_pairs_that_occur():
    reference = EventTable.from_recordings([np.array([[7, 0.0, 1.0]]), np.zeros((0, 3))], 1000)
    coverage = Coverage(reference, Frames.regular([10, 10], 0.2))
    assert len(coverage.class_of_pair) == 1 and len(coverage._before) == 11
    assert coverage.shared_s(np.array([0]), np.array([2]), np.array([9])) == pytest.approx(0.6)


def test_a_set_without_frames_has_no_detection():
    reference = EventTable.from_recordings([np.array([[0, 0.0, 1.0]])], 1)
    sweep = ThresholdSweep(reference, [np.zeros((0, 1))], 0.1, 10.0)
    assert sweep.psds(PSDS2).psds == 0.0
    assert best_f_scores(sweep.collar_curves(), 1).macro_f == 0.0
    assert Steps.none().totals(0).tolist() == [0.0]


def test_edges_that_fall_or_do_not_fit_are_refused():
    reference = EventTable.from_recordings([np.array([[0, 0.0, 1.0]])], 1)
    scores = [np.zeros((3, 1))]
    with pytest.raises(ValueError, match=r"expected 4 rising edges of 3 frames\. Received: 3"):
        ThresholdSweep(reference, scores, [np.arange(3.0)], 10.0)
    with pytest.raises(ValueError, match="1 falling"):
        ThresholdSweep(reference, scores, [np.array([0, 2, 1, 3.0])], 10.0)
    with pytest.raises(ValueError, match="edges of 1 recordings"):
        ThresholdSweep(reference, scores, [], 10.0)


@pytest.mark.parametrize("scenario", [PSDS1, PSDS2])
def test_curves_without_idle_thresholds_give_the_same_scores(scenario):
    reference, scores, edges = random_set(4)
    sweep = ThresholdSweep(reference, scores, edges, 5.0)
    curves = sweep.intersection_curves(scenario)
    small = compacted(curves)
    assert sum(len(each.values) for each in small.values()) < sum(
        len(each.values) for each in curves.values()
    )
    weights = np.arange(len(scores), dtype=float)
    found, wanted = (sweep.psds(scenario, curves=each, weights=weights) for each in (small, curves))
    assert found.psds == wanted.psds
    for each in (0.2, 0.55):
        pair = [f_scores_at(all_curves, 4, each).f for all_curves in (small, curves)]
        np.testing.assert_array_equal(*pair)
    best = [best_f_scores(each, 4) for each in (small, curves)]
    np.testing.assert_array_equal(best[0].thresholds, best[1].thresholds)


def test_a_large_set_has_the_scores_of_a_small_one(monkeypatch):
    reference, scores, edges = random_set(0)
    small = ThresholdSweep(reference, scores, edges, 5.0)
    monkeypatch.setattr("common.metrics.psds.MOST_KEPT", 0)
    large = ThresholdSweep(reference, scores, edges, 5.0)
    for scenario in (PSDS1, PSDS2):
        assert large.psds(scenario).psds == small.psds(scenario).psds
    best = [best_f_scores(each.collar_curves(), 4) for each in (small, large)]
    np.testing.assert_array_equal(best[0].f, best[1].f)
    assert not large._kept and len(small._kept) == len(large.collar_curves()) == 3
    with pytest.raises(KeyError):
        large.collar_curves()[3]

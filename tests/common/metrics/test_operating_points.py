"""Intersection-based scores of lists of events: against loops, the exact curve, and by hand."""

from dataclasses import replace

import numpy as np
import pytest

from common.events.table import EventTable
from common.metrics.median_sweep import median_independent_psds
from common.metrics.operating_points import (
    count_intersections,
    default_thresholds,
    intersection_f_scores,
    psds_from_points,
)
from common.metrics.psds import PSDS1, SCENARIOS, PsdsScenario, ThresholdSweep
from common.metrics.threshold_curves import f_scores_at
from tests.common.metrics.dense_sweep import intersection_counts_at, random_set
from tests.common.metrics.random_events import random_tables


# Shares that no events on the grid of the random tables meet exactly.
@pytest.mark.parametrize(
    "scenario", [PsdsScenario(0.71, 0.69), PsdsScenario(0.33, 0.47, 0.29, 1.0)]
)
def test_counts_are_those_of_a_plain_loop(scenario):
    reference, estimate = random_tables(4)
    merged, found = reference.merge_connected(), count_intersections(reference, estimate, scenario)
    for k in range(5):
        counts = [
            intersection_counts_at(
                [(a, b) for c, a, b in estimate.of_recording(number).tolist() if c == k],
                merged.of_recording(number),
                k,
                scenario,
            )
            for number in range(reference.n_recordings)
        ]
        assert found.found[k] == sum(each[0] for each in counts)
        assert found.false[k] == sum(each[1] for each in counts)
        if scenario.cttc is not None:
            for other in range(5):
                wanted = sum(each[2].get(other, 0) for each in counts)
                assert found.crossing[k, other] == wanted


@pytest.mark.parametrize("scenario", SCENARIOS.values())
def test_points_at_every_score_give_the_exact_psds(scenario):
    reference, scores, edges = random_set(6)
    scenario = replace(scenario, max_rate=3000.0)
    sweep = ThresholdSweep(reference, scores, edges, 6.0)
    every = np.unique(np.concatenate(scores)) - 1e-9
    points = [sweep.events_at(each) for each in every]
    found = psds_from_points(reference, points, scenario, 6.0)
    exact = sweep.psds(scenario)
    assert found.psds == pytest.approx(exact.psds)
    np.testing.assert_allclose(found.class_psds, exact.class_psds)
    few = psds_from_points(reference, points[::7], scenario, 6.0)
    assert np.all(few.class_psds[:3] <= exact.class_psds[:3] + 1e-12)


def test_f_of_events_is_that_of_the_curve_at_the_threshold():
    reference, scores, edges = random_set(7)
    sweep = ThresholdSweep(reference, scores, edges, 6.0)
    criteria = PsdsScenario(0.47, 0.43)
    curves = sweep.intersection_curves(criteria)
    for threshold in (0.101, 0.305, 0.705):
        mine = intersection_f_scores(reference, sweep.events_at(threshold), criteria)
        at = f_scores_at(curves, 4, threshold)
        np.testing.assert_allclose(mine.f, at.f)
        assert (mine.macro_f, mine.micro_f) == pytest.approx((at.macro_f, at.micro_f))


def test_a_class_that_is_never_found_counts_as_zero():
    rows = [np.array([[0, 0.0, 1.0], [1, 2.0, 3.0]])]
    reference = EventTable.from_recordings(rows, 3)
    found = intersection_f_scores(reference, EventTable.from_recordings([rows[0][:1]], 3))
    assert found.macro_f == 0.5 and found.macro_f_of_hit == 1.0
    assert found.f[:2].tolist() == [1.0, 0.0] and np.isnan(found.f[2])
    silent = intersection_f_scores(reference, EventTable.from_recordings([rows[0][:0]], 3))
    assert silent.macro_f == 0.0 and np.isnan(silent.macro_f_of_hit)


def test_detections_that_begin_after_their_recording_are_no_false_alarms():
    reference = EventTable.from_recordings([np.array([[0, 0.0, 1.0]])], 1)
    estimate = EventTable.from_recordings([np.array([[0, 4.0, 5.0], [0, 6.5, 7.0]])], 1)
    assert count_intersections(reference, estimate, PSDS1, 6.0).false.tolist() == [1]
    assert count_intersections(reference, estimate, PSDS1).false.tolist() == [2]


def test_the_usual_thresholds_are_the_middles_of_fifty_parts():
    assert default_thresholds()[[0, 1, -1]] == pytest.approx([0.01, 0.03, 0.99])


def test_the_best_median_of_each_class_counts():
    reference, scores, edges = random_set(8)
    scenario = replace(PSDS1, max_rate=3000.0)
    sweep = ThresholdSweep(reference, scores, edges, 6.0)
    alone = [median_independent_psds(sweep, [each], scenario).class_psds for each in (0, 0.2, 0.5)]
    plain = sweep.psds(scenario)
    np.testing.assert_allclose(alone[0], plain.class_psds)
    joined = median_independent_psds(sweep, [0, 0.2, 0.5], scenario)
    assert np.all(joined.class_psds[:3] >= np.max(alone, axis=0)[:3] - 1e-12)
    assert joined.psds >= plain.psds or joined.class_psds[:3].std() > plain.class_psds[:3].std()


def test_no_operating_point_and_no_median_are_refused():
    reference, scores, edges = random_set(0)
    with pytest.raises(ValueError, match="at least one operating point"):
        psds_from_points(reference, [], PSDS1, 1.0)
    with pytest.raises(ValueError, match="lengths of a median filter"):
        median_independent_psds(ThresholdSweep(reference, scores, edges, 6.0), [-1.0], PSDS1)

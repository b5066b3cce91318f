"""Event- and segment-based scores of events against sed_eval and by hand."""

import math

import numpy as np
import pytest

from common.events.table import EventTable
from common.metrics.detection import DetectionCounts, DetectionScores
from common.metrics.event_based import count_events, event_based_scores
from common.metrics.sed_eval_scores import (
    event_based_by_sed_eval,
    import_sed_eval,
    segment_based_by_sed_eval,
)
from common.metrics.segment_based import count_event_segments, segment_based_scores
from tests.common.metrics.random_events import random_tables

LABELS = tuple("abcde")


def table(*rows: tuple[int, float, float], n_classes: int = 2) -> EventTable:
    """One recording's events, (class, onset, offset)."""
    return EventTable.from_recordings([np.array(rows, float).reshape(-1, 3)], n_classes)


def assert_same(fast: DetectionScores, theirs: dict[str, float]) -> None:
    np.testing.assert_allclose(
        list(fast.main().values()),
        [theirs[name] for name in fast.main()],
        rtol=1e-9,
        atol=1e-9,
        equal_nan=True,
    )


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("zero", [False, True])
def test_event_based_scores_are_those_of_sed_eval(seed, zero):
    reference, estimate = random_tables(seed)
    theirs = event_based_by_sed_eval(reference, estimate, LABELS, empty_estimate_is_zero=zero)
    assert_same(event_based_scores(reference, estimate, empty_estimate_is_zero=zero), theirs)


@pytest.mark.parametrize(("collar_s", "offset_share"), [(0.1, 0.0), (0.5, 0.5), (0.25, 1.0)])
def test_other_collars_are_those_of_sed_eval(collar_s, offset_share):
    reference, estimate = random_tables(7)
    rules = {"collar_s": collar_s, "offset_share": offset_share}
    assert_same(
        event_based_scores(reference, estimate, **rules),
        event_based_by_sed_eval(reference, estimate, LABELS, **rules),
    )


def test_scores_without_offsets_are_those_of_sed_eval():
    reference, estimate = random_tables(8)
    metric = import_sed_eval().sound_event.EventBasedMetrics(list(LABELS), evaluate_offset=False)
    for number in range(reference.n_recordings):
        metric.evaluate(
            *(
                [
                    {"event_label": LABELS[int(k)], "onset": on, "offset": off}
                    for k, on, off in rows.tolist()
                ]
                for rows in (reference.of_recording(number), estimate.of_recording(number))
            )
        )
    scores = event_based_scores(reference, estimate, evaluate_offset=False)
    assert scores.er == pytest.approx(metric.overall_error_rate()["error_rate"], rel=1e-12)
    assert scores.f == pytest.approx(metric.overall_f_measure()["f_measure"], rel=1e-12)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("segment_s", [1.0, 0.2, 0.7])
def test_segment_based_scores_are_those_of_sed_eval(seed, segment_s):
    reference, estimate = random_tables(seed, n_recordings=20)
    for zero in (False, True):
        assert_same(
            segment_based_scores(reference, estimate, segment_s, empty_estimate_is_zero=zero),
            segment_based_by_sed_eval(
                reference, estimate, LABELS, segment_s, empty_estimate_is_zero=zero
            ),
        )


def test_class_wise_numbers_are_those_of_sed_eval():
    reference, estimate = random_tables(3)
    metric = import_sed_eval().sound_event.EventBasedMetrics(list(LABELS), percentage_of_length=0.2)
    for number in range(reference.n_recordings):
        metric.evaluate(
            *(
                [
                    {"event_label": LABELS[int(k)], "onset": on, "offset": off}
                    for k, on, off in rows.tolist()
                ]
                for rows in (reference.of_recording(number), estimate.of_recording(number))
            )
        )
    theirs = metric.results_class_wise_metrics()
    scores = event_based_scores(reference, estimate)
    for k, label in enumerate(LABELS):
        assert scores.class_f[k] == pytest.approx(theirs[label]["f_measure"]["f_measure"])
        assert scores.class_precision[k] == pytest.approx(theirs[label]["f_measure"]["precision"])
        assert scores.class_recall[k] == pytest.approx(theirs[label]["f_measure"]["recall"])
        assert scores.class_deletion_rate[k] == pytest.approx(
            theirs[label]["error_rate"]["deletion_rate"]
        )
        assert scores.class_insertion_rate[k] == pytest.approx(
            theirs[label]["error_rate"]["insertion_rate"]
        )


@pytest.mark.parametrize(("limit_s", "expected"), [(None, 15), (10.0, 10), (4.0, 4), (20.0, 15)])
def test_segments_beyond_the_evaluated_length_do_not_count(limit_s, expected):
    reference, estimate = table((0, 0.0, 15.0)), table((0, 0.5, 12.2))
    counts = count_event_segments(reference, estimate, 1.0, evaluated_s=limit_s)
    assert counts.n_reference[0] == expected
    metric = import_sed_eval().sound_event.SegmentBasedMetrics(["a", "b"], time_resolution=1.0)
    lists = [
        [{"event_label": "a", "onset": t.onset_s[0], "offset": t.offset_s[0]}]
        for t in (reference, estimate)
    ]
    metric.evaluate(*lists, evaluated_length_seconds=limit_s)
    assert counts.scores().er == pytest.approx(metric.overall_error_rate()["error_rate"])
    assert counts.evaluated_s == metric.evaluated_length_seconds


def test_an_offset_may_differ_by_a_fifth_of_long_events():
    reference = table((0, 0.0, 10.0))
    assert count_events(reference, table((0, 0.0, 8.0))).true_positives[0] == 1
    assert count_events(reference, table((0, 0.0, 7.99))).true_positives[0] == 0
    assert count_events(reference, table((0, 0.21, 10.0))).true_positives[0] == 0


def test_a_maximum_matching_is_found_where_greedy_matching_fails():
    reference, estimate = table((0, 1.0, 2.0), (0, 1.3, 2.2)), table((0, 1.15, 2.1), (0, 0.9, 1.9))
    assert count_events(reference, estimate).true_positives[0] == 2


def test_the_right_times_with_the_wrong_class_are_one_substitution():
    counts = count_events(table((0, 1.0, 2.0)), table((1, 1.1, 2.1)))
    scores = counts.scores()
    assert (counts.substitutions, scores.deletion_rate, scores.insertion_rate) == (1, 0.0, 0.0)
    assert scores.er == scores.substitution_rate == pytest.approx(1.0)


def test_silence_has_error_rate_one_and_f_by_handling():
    reference, silence = table((0, 1.0, 2.0), (1, 3.0, 4.0)), table()
    for score in (event_based_scores, segment_based_scores):
        assert score(reference, silence).er == 1.0
        assert math.isnan(score(reference, silence).macro_f)
        assert score(reference, silence, empty_estimate_is_zero=True).macro_f == 0.0


def test_estimates_without_reference_have_no_f_and_infinite_er():
    scores = event_based_scores(table(), table((0, 1.0, 2.0)))
    assert math.isnan(scores.f) and scores.er > 1e9


def test_two_empty_tables_have_no_scores():
    scores = event_based_scores(table(), table())
    assert math.isnan(scores.f) and math.isnan(scores.macro_f) and scores.er == 0.0


def test_counts_of_recordings_add_up():
    reference, estimate = random_tables(5)
    total = DetectionCounts.empty(5)
    for number in range(reference.n_recordings):
        pair = (
            EventTable.from_recordings([each.of_recording(number)], 5)
            for each in (reference, estimate)
        )
        total += count_events(*pair)
    whole = count_events(reference, estimate)
    assert total.scores().main() == whole.scores().main()
    assert total.n_recordings == whole.n_recordings == 40


def test_tables_of_different_sets_are_refused():
    with pytest.raises(ValueError, match=r"Expected: \(1, 2\). Received: \(1, 3\)"):
        count_events(table(), table(n_classes=3))
    with pytest.raises(ValueError, match="from 0 s on"):
        count_event_segments(table((0, -1.0, 1.0)), table())
    with pytest.raises(ValueError, match="above 0"):
        count_event_segments(table(), table(), 0.0)

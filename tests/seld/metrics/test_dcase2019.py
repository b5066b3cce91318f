"""Scores of both definitions: by hand, against plain loops, and against each other."""

import itertools
import math

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from common.errors import DataError
from seld.dataset import Events
from seld.metrics.dcase2019 import (
    DEFINITIONS,
    SeldScorer,
    SeldScores,
    minimum_total,
    reference_for,
    seld_error,
)

SILENCE = np.zeros((0, 4))


def rows_of(*rows: tuple[float, ...]) -> np.ndarray:
    return np.array(rows, float).reshape(-1, 4)


def score_rows(reference, estimate, n_frames, definition="dcase2019", n_classes=11) -> SeldScores:
    scorer = SeldScorer(definition, n_classes)
    scorer.update(reference, estimate, n_frames)
    return scorer.result()


def held(
    frames: range, class_index: int, azimuth_deg: float, elevation_deg: float = 0.0
) -> np.ndarray:
    return rows_of(*((frame, class_index, azimuth_deg, elevation_deg) for frame in frames))


def random_rows(
    rng: np.random.Generator, n_frames: int, most: int, n_classes: int = 5
) -> np.ndarray:
    """Up to `most` different classes in each frame, anywhere on the grid."""
    rows = [
        (frame, k, rng.integers(-18, 18) * 10, rng.integers(-4, 5) * 10)
        for frame in range(n_frames)
        for k in rng.permutation(n_classes)[: rng.integers(0, most + 1)]
    ]
    return rows_of(*rows)


def plain_scores(
    reference: np.ndarray, estimate: np.ndarray, n_frames: int, per_pair: bool, used_frames: int
) -> dict:
    """The scores in plain loops: blocks of 50 frames of which the first `used_frames` count."""
    blocks = [
        [
            {int(r[1]) for r in rows if r[0] // 50 == block and r[0] % 50 < used_frames}
            for rows in (reference, estimate)
        ]
        for block in range(-(-n_frames // 50))
    ]
    errors = sum(max(len(a - b), len(b - a)) for a, b in blocks)
    n_ref, n_est = (sum(len(pair[side]) for pair in blocks) for side in range(2))
    hits = sum(len(a & b) for a, b in blocks)
    total, pairs, good = 0.0, 0, 0
    for frame in range(n_frames):
        here = [np.radians(rows[rows[:, 0] == frame, 2:]) for rows in (reference, estimate)]
        good += len(here[0]) == len(here[1])
        cost = np.zeros((len(here[0]), len(here[1])))
        for (i, (a1, e1)), (j, (a2, e2)) in itertools.product(
            enumerate(here[0]), enumerate(here[1])
        ):
            cosine = math.sin(e1) * math.sin(e2) + math.cos(e1) * math.cos(e2) * math.cos(a1 - a2)
            cost[i, j] = math.degrees(math.acos(min(1.0, max(-1.0, cosine))))
        total += cost[linear_sum_assignment(cost)].sum()
        pairs += min(cost.shape)
    return {
        "er": errors / n_ref,
        "f": 2 * hits / (n_ref + n_est),
        "doa_error_deg": total / (pairs if per_pair else len(estimate)),
        "frame_recall": good / n_frames,
    }


@pytest.mark.parametrize("definition", DEFINITIONS)
@pytest.mark.parametrize(("n_frames", "most"), [(200, 1), (149, 2), (101, 3), (51, 5)])
def test_scores_are_those_of_plain_loops(definition, n_frames, most):
    rng = np.random.default_rng(n_frames)
    reference, estimate = random_rows(rng, n_frames, most), random_rows(rng, n_frames, most)
    official = definition == "dcase2019"
    expected = plain_scores(reference, estimate, n_frames, not official, 49 if official else 50)
    scores = score_rows(reference, estimate, n_frames, definition=definition, n_classes=5)
    assert {name: getattr(scores, name) for name in expected} == pytest.approx(expected, abs=1e-6)
    assert scores.seld_error == pytest.approx(seld_error(*expected.values()), abs=1e-8)


@pytest.mark.parametrize(
    ("n_rows", "n_columns"), [(1, 1), (1, 4), (5, 1), (2, 2), (3, 2), (2, 11), (4, 4), (6, 7)]
)
def test_the_minimum_total_is_that_of_the_hungarian_method(n_rows, n_columns):
    costs = np.random.default_rng(n_rows).random((40, n_rows, n_columns))
    expected = [each[linear_sum_assignment(each)].sum() for each in costs]
    np.testing.assert_allclose(minimum_total(costs), expected, rtol=1e-13)


def test_two_directions_are_paired_optimally_for_any_classes():
    reference = rows_of((0, 0, 0, 0), (0, 1, 90, 0))
    swapped = rows_of((0, 0, 90, 0), (0, 1, 0, 0))
    assert score_rows(reference, swapped, 1, definition="corrected").doa_error_deg == 0.0


@pytest.mark.parametrize("definition", DEFINITIONS)
def test_the_ground_truth_has_no_error(definition):
    rows = random_rows(np.random.default_rng(3), 120, 3)
    scores = score_rows(rows, rows, 120, definition=definition)
    assert (scores.er, scores.f, scores.frame_recall) == (0.0, 1.0, 1.0)
    assert scores.doa_error_deg == pytest.approx(
        0.0, abs=1e-5 if definition == "dcase2019" else 1e-13
    )


def test_a_score_is_a_quarter_of_each_part():
    assert seld_error(0.34, 0.799, 28.5, 0.854) == pytest.approx(
        (0.34 + 0.201 + 28.5 / 180 + 0.146) / 4
    )


def test_only_the_corrected_definition_counts_last_frames_of_seconds():
    reference, estimate = (
        held(range(10), 0, 0),
        np.vstack([held(range(10), 0, 0), held(range(49, 50), 1, 0)]),
    )
    assert score_rows(reference, estimate, 100, definition="dcase2019").er == 0.0
    assert score_rows(reference, estimate, 100, definition="corrected").er == 1.0


def test_only_dcase2019_puts_angles_on_the_grid():
    reference, estimate = held(range(5), 0, 170, 40), held(range(5), 0, 179, 47)
    assert score_rows(
        reference, estimate, 5, definition="dcase2019"
    ).doa_error_deg == pytest.approx(0.0, abs=1e-5)
    assert score_rows(reference, estimate, 5, definition="corrected").doa_error_deg > 9.0


def test_only_dcase2019_counts_estimates_in_silent_frames():
    reference, estimate = held(range(1), 0, 0), held(range(4), 0, 20)
    assert score_rows(
        reference, estimate, 4, definition="dcase2019"
    ).doa_error_deg == pytest.approx(5.0)
    assert score_rows(
        reference, estimate, 4, definition="corrected"
    ).doa_error_deg == pytest.approx(20.0)


def test_only_dcase2019_counts_equal_directions_of_a_class_once():
    reference = np.vstack([held(range(5), 0, 0), held(range(5), 0, 0)])
    assert score_rows(reference, SILENCE, 5, definition="dcase2019").directions.n_reference == 5
    assert score_rows(reference, SILENCE, 5, definition="corrected").directions.n_reference == 10


@pytest.mark.parametrize("definition", DEFINITIONS)
def test_a_class_that_overlaps_itself_is_two_directions(definition):
    reference = np.vstack([held(range(50), 0, 0), held(range(50), 0, 90)])
    scores = score_rows(reference, held(range(50), 0, 0), 50, definition=definition)
    assert scores.directions.n_missed == 50
    assert scores.frame_recall == 0.0
    assert scores.er == 0.0  # detection knows the class only once


def test_references_follow_the_definitions_label_rule():
    events = Events.from_array([[2, 0.1, 0.2, 30, -20, 1]])
    assert len(reference_for("dcase2019", events, 3000)) == 6  # frames 5 to 10
    assert len(reference_for("corrected", events, 3000)) == 5
    assert len(reference_for("corrected", events, 7)) == 2


def test_dcase2019_refuses_events_off_the_grid_and_corrected_takes_them():
    events = Events.from_array([[2, 0.1, 0.2, 33, -20, 1]])
    with pytest.raises(DataError, match="azimuth 33"):
        reference_for("dcase2019", events, 3000)
    estimate = reference_for("corrected", events, 3000)
    assert len(estimate) and (estimate[:, 2] == 33).all()


@pytest.mark.parametrize(
    ("definition", "doa_error_deg", "total"), [("dcase2019", 0.0, 0.5), ("corrected", None, 0.75)]
)
def test_silence_against_events_is_defined(definition, doa_error_deg, total):
    scores = score_rows(held(range(50), 0, 0), SILENCE, 50, definition=definition)
    assert (scores.er, scores.f, scores.frame_recall) == (1.0, 0.0, 0.0)
    assert (
        math.isnan(scores.doa_error_deg)
        if doa_error_deg is None
        else scores.doa_error_deg == doa_error_deg
    )
    # 180 degrees where undefined; dcase2019 gives the silent system a perfect direction.
    assert scores.seld_error == pytest.approx((1 + 1 + (1 if doa_error_deg is None else 0) + 1) / 4)
    assert scores.seld_error == pytest.approx(total + 0.25)


@pytest.mark.parametrize(("definition", "f"), [("dcase2019", 0.0), ("corrected", 1.0)])
def test_silence_against_silence_is_defined(definition, f):
    scores = score_rows(SILENCE, SILENCE, 50, definition=definition)
    assert (scores.er, scores.f, scores.frame_recall) == (0.0, f, 1.0)
    assert math.isfinite(scores.seld_error)


@pytest.mark.parametrize("definition", DEFINITIONS)
def test_events_against_silence_are_infinitely_many_insertions(definition):
    scores = score_rows(SILENCE, held(range(50), 0, 0), 50, definition=definition)
    assert scores.er == math.inf
    assert scores.seld_error == math.inf
    assert scores.f == 0.0
    assert (scores.directions.n_extra, scores.directions.frames_with_extra) == (50, 50)


def test_a_recording_that_is_silent_does_not_spoil_the_others():
    scorer = SeldScorer("dcase2019", n_classes=1)
    scorer.update(SILENCE, SILENCE, 50)
    scorer.update(held(range(50), 0, 0), held(range(50), 0, 0), 50)
    assert (scorer.result().er, scorer.result().f) == (0.0, 1.0)


@pytest.mark.parametrize("definition", DEFINITIONS)
def test_merging_scorers_is_scoring_all_their_recordings(definition):
    rng = np.random.default_rng(7)
    recordings = [(random_rows(rng, n, 2), random_rows(rng, n, 2), n) for n in (60, 99, 150)]
    together, merged = SeldScorer(definition, 5), SeldScorer(definition, 5)
    for recording in recordings:
        together.update(*recording)
        alone = SeldScorer(definition, 5)
        alone.update(*recording)
        assert merged.merge(alone) is merged
    assert merged.result() == together.result()
    together.reset()
    with pytest.raises(ValueError, match="No frame was scored yet"):
        together.result()


def test_scorers_of_different_definitions_cannot_be_merged():
    with pytest.raises(ValueError, match="dcase2019, corrected"):
        SeldScorer("dcase2019").merge(SeldScorer("corrected"))


def test_an_unknown_definition_is_refused():
    with pytest.raises(ValueError, match=r"one of dcase2019, corrected. Received: 'dcase2020'"):
        SeldScorer("dcase2020")
    with pytest.raises(ValueError, match="Received: 'dcase2020'"):
        reference_for("dcase2020", Events.from_array([]), 10)


def test_a_class_beyond_the_last_is_refused():
    with pytest.raises(ValueError, match="below 3"):
        score_rows(SILENCE, rows_of((0, 3, 0, 0)), 10, n_classes=3)


def test_frames_beyond_the_recording_are_ignored():
    extra = np.vstack([held(range(50), 0, 0), held(range(50, 90), 1, 0)])
    for definition in DEFINITIONS:
        scores = score_rows(held(range(50), 0, 0), extra, 50, definition=definition)
        assert (scores.er, scores.directions.n_extra) == (0.0, 0)


def test_scoring_does_not_change_its_input():
    rows = random_rows(np.random.default_rng(0), 60, 2) + np.array([0, 0, 0.7, -0.7])
    copy = rows.copy()
    for definition in DEFINITIONS:
        score_rows(rows, rows, 60, definition=definition)
    np.testing.assert_array_equal(rows, copy)


@pytest.mark.parametrize("seed", range(3))
def test_rows_and_regression_arrays_of_one_recording_score_alike(seed):
    rng = np.random.default_rng(seed)
    reference, estimate = random_rows(rng, 500, 2), random_rows(rng, 500, 2)
    by_rows = score_rows(reference, estimate, 500, n_classes=5)
    sides = []
    for rows in (reference, estimate):
        activity, doa_rad = np.zeros((500, 5)), np.zeros((500, 10))
        frame, k = rows[:, :2].astype(int).T
        activity[frame, k], doa_rad[frame, k], doa_rad[frame, 5 + k] = 1, *np.radians(rows[:, 2:].T)
        sides += [activity, doa_rad]
    scorer = SeldScorer("dcase2019", 5)
    scorer.update_regression(*sides)
    by_regression = scorer.result()
    assert by_regression.detection == by_rows.detection
    assert by_regression.doa_error_deg == pytest.approx(by_rows.doa_error_deg, abs=1e-9)
    assert by_regression.frame_recall == by_rows.frame_recall


def test_regression_arrays_of_wrong_shape_are_refused():
    with pytest.raises(ValueError, match=r"activity \(T, K\) and directions \(T, 2K\)"):
        SeldScorer("dcase2019", 2).update_regression(
            np.zeros((9, 2)), np.zeros((9, 4)), np.zeros((9, 2)), np.zeros((8, 4))
        )


def test_counts_are_of_good_missed_and_extra_directions():
    reference = np.vstack([held(range(4), 0, 0), held(range(2), 1, 50)])  # 2 2 1 1 directions
    estimate = np.vstack([held(range(1, 4), 0, 0), held(range(3, 5), 1, 50)])  # 0 1 1 2 1
    counts = score_rows(reference, estimate, 6, definition="corrected").directions
    assert (counts.n_reference, counts.n_estimate, counts.n_pairs) == (6, 5, 3)
    assert (counts.good_frames, counts.n_missed, counts.n_extra) == (
        2,
        3,
        2,
    )  # frames 2 and 5 are good
    assert (counts.frames_with_missed, counts.frames_with_extra) == (2, 2)

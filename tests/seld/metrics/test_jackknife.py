"""Intervals by jackknife: closed forms, and the same as scoring without each recording."""

import math

import numpy as np
import pytest
from scipy.stats import t

from seld.metrics.jackknife import jackknife, score_intervals
from seld.metrics.location_aware import LocationScorer
from tests.seld.metrics.test_location_aware import SILENCE, K, recordings, score, steady


def test_the_jackknife_of_a_mean_is_its_standard_error():
    values = np.random.default_rng(0).normal(size=9)
    partial = (values.sum() - values) / 8
    found = jackknife(values.mean(), partial, 0.1)
    std_err = values.std(ddof=1) / 3
    assert found.bias == pytest.approx(0.0, abs=1e-12)
    assert found.std_err == pytest.approx(std_err)
    half = t.ppf(0.95, 8) * std_err
    np.testing.assert_allclose(found.interval, [values.mean() - half, values.mean() + half])


def test_the_jackknife_removes_the_bias_of_a_variance():
    values = np.random.default_rng(1).normal(size=12)
    partial = np.array([np.delete(values, number).var() for number in range(12)])
    assert jackknife(values.var(), partial).estimate == pytest.approx(values.var(ddof=1))


@pytest.mark.parametrize("name", ["dcase2020", "dcase2022", "dcase2024", "dcase2025"])
@pytest.mark.parametrize("average", ["macro", "micro", "occurring"])
def test_intervals_equal_those_of_scoring_all_others_again(name, average):
    pairs = recordings(3, 5)
    scorer = LocationScorer(name, K)
    for pair in pairs:
        scorer.update(*pair)
    found = score_intervals(scorer, average)
    rest = [score(name, pairs[:n] + pairs[n + 1 :], None, average) for n in range(5)]
    expected = jackknife(scorer.result(average).values(), [each.values() for each in rest])
    np.testing.assert_allclose(found.values(), expected.interval, rtol=1e-8, atol=1e-9)
    expected = jackknife(scorer.result(average).class_wise(), [each.class_wise() for each in rest])
    np.testing.assert_allclose(found.class_wise(), expected.interval, rtol=1e-8, atol=1e-9)
    assert found.scores.er == scorer.result().er  # not that of the last round


def test_classes_of_one_recording_only_are_warned_of():
    scorer = LocationScorer("dcase2022", K)
    for classes in ((0, 1), (0, 2), (0,)):
        rows = np.concatenate([steady(range(21), klass) for klass in classes])
        scorer.update(rows, rows)
    found = score_intervals(scorer)
    assert found.vanishing == (1, 2)
    assert "class(es) door, dog occur" in str(found.warning(["knock", "door", "dog"]))


def test_one_recording_has_no_interval():
    scorer = LocationScorer("dcase2022", K)
    scorer.update(steady(range(21)), SILENCE)
    found = score_intervals(scorer)
    assert found.scores.er == 1.0 and np.isnan(found.values()).all()
    assert found.warning(["knock", "door", "dog"])


def test_without_partial_scores_there_is_an_error():
    for partial, significance in (([], 0.05), ([1.0, 2.0], 0.0), ([1.0, 2.0], math.nan)):
        with pytest.raises(ValueError, match="at least one partial score"):
            jackknife(1.0, np.array(partial), significance)

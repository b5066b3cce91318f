"""Scores of tags against scikit-learn and by hand."""

import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from common.metrics.tagging import average_precision, class_f_scores, search_thresholds, tag_scores


def draw(seed: int = 0, n_clips: int = 60, n_classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    targets = rng.random((n_clips, n_classes)) < 0.3
    return targets, np.clip(0.4 * targets + rng.normal(0.3, 0.2, targets.shape), 0, 1)


def test_scores_are_those_of_scikit_learn():
    targets, scores = draw()
    result = tag_scores(targets, scores, 0.45)
    assert (
        result.map
        == result.map_published
        == pytest.approx(average_precision_score(targets, scores))
    )
    assert result.mean_auc == pytest.approx(roc_auc_score(targets, scores))
    assert result.macro_f == pytest.approx(f1_score(targets, scores >= 0.45, average="macro"))
    assert result.micro_f == pytest.approx(f1_score(targets, scores >= 0.45, average="micro"))
    np.testing.assert_allclose(result.class_f, f1_score(targets, scores >= 0.45, average=None))


def test_a_class_without_positives_lowers_only_the_published_mean():
    targets, scores = draw()
    targets[:, 2] = False
    result = tag_scores(targets, scores)
    assert result.average_precision[2] == 0.0 and math.isnan(result.auc[2])
    assert result.map_published == pytest.approx(0.75 * result.map)


def test_without_any_positive_the_mean_is_undefined():
    result = tag_scores(np.zeros((3, 2)), np.full((3, 2), 0.2))
    assert math.isnan(result.map) and result.map_published == 0.0 and result.macro_f == 0.0


def test_micro_f_takes_thresholds_per_class():
    targets, scores = draw(1)
    thresholds = np.array([0.2, 0.4, 0.6, 0.8])
    expected = f1_score(targets, scores >= thresholds, average="micro")
    assert tag_scores(targets, scores, thresholds).micro_f == pytest.approx(expected)


def test_scores_of_frames_count_by_their_mean():
    targets, _ = draw()
    frames = np.random.default_rng(1).random((60, 7, 4))
    np.testing.assert_array_equal(
        average_precision(targets, frames), average_precision(targets, frames.mean(axis=1))
    )


def test_a_score_on_the_threshold_is_active():
    assert class_f_scores([[1]], [[0.5]], 0.5)[0] == 1.0


def test_the_search_finds_the_lowest_of_the_best_thresholds():
    targets = np.array([[0], [0], [1], [1]])
    assert search_thresholds(targets, np.array([[0.15], [0.35], [0.75], [0.95]]))[
        0
    ] == pytest.approx(0.4)
    targets, scores = draw(2)
    found = search_thresholds(targets, scores)
    for threshold in np.arange(0, 1.05, 0.1):
        assert (
            class_f_scores(targets, scores, found) >= class_f_scores(targets, scores, threshold)
        ).all()


def test_a_class_without_positives_gets_half_or_as_published_zero(caplog):
    targets, scores = draw()
    targets[:, 1] = False
    assert search_thresholds(targets, scores)[1] == 0.5
    assert search_thresholds(targets, scores, without_positives=0.0)[1] == 0.0
    assert "Classes [1] have no positives" in caplog.text


def test_unusable_scores_are_refused():
    with pytest.raises(ValueError, match=r"Expected: \(3, 2\). Received: \(3, 4\)"):
        tag_scores(np.zeros((3, 2)), np.zeros((3, 4)))
    with pytest.raises(ValueError, match="1 that are not"):
        tag_scores(np.zeros((2, 1)), np.array([[np.nan], [0.0]]))

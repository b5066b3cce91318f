"""Counted scores give the curves of scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, precision_recall_fscore_support, roc_auc_score

from sed_task4.segmentation.score_histogram import N_BINS, ScoreHistogram, bins_of


def random_masks(
    seed: int, shape: tuple[int, ...] = (20, 30, 16, 4)
) -> tuple[np.ndarray, np.ndarray]:
    """Targets and probabilities whose logits differ by 2 on average."""
    rng = np.random.default_rng(seed)
    targets = rng.random(shape) < np.linspace(0.02, 0.5, shape[-1])
    logits = rng.normal(-3, 2, shape) + 2 * targets
    return targets, (1 / (1 + np.exp(-logits))).astype(np.float32)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_scores_are_those_of_scikit_learn_clip_by_clip(seed):
    targets, scores = random_masks(seed)
    histogram = ScoreHistogram(4, 0.3)
    for each in zip(targets, scores, strict=True):
        histogram.update(*each)
    result = histogram.result()
    flat_targets, flat = targets.reshape(-1, 4), scores.reshape(-1, 4)
    expected = precision_recall_fscore_support(flat_targets, flat > 0.3, average=None)
    for values, theirs in zip((result.precision, result.recall, result.f), expected, strict=False):
        assert np.allclose(values, theirs, rtol=1e-12)
    assert np.allclose(result.auc, roc_auc_score(flat_targets, flat, average=None), atol=1e-5)
    assert np.allclose(
        result.average_precision,
        average_precision_score(flat_targets, flat, average=None),
        atol=5e-4,
    )


def test_equal_scores_share_a_step_as_in_scikit_learn():
    rng = np.random.default_rng(0)
    targets = rng.random((500, 2)) < 0.3
    scores = rng.choice([0.0, 0.1, 0.5, 0.9, 1.0], (500, 2)) * np.where(targets, 1.0, 0.5)
    histogram = ScoreHistogram(2, 0.5)
    histogram.update(targets, scores)
    result = histogram.result()
    assert np.allclose(result.auc, roc_auc_score(targets, scores, average=None), rtol=1e-12)
    assert np.allclose(
        result.average_precision, average_precision_score(targets, scores, average=None), rtol=1e-12
    )


def test_a_constant_score_has_the_values_of_chance():
    targets = np.arange(100)[:, None] < 30
    histogram = ScoreHistogram(1, 0.5)
    histogram.update(targets, np.ones((100, 1)))
    result = histogram.result()
    assert (result.auc[0], result.recall[0]) == (0.5, 1.0)
    assert np.allclose([result.precision[0], result.average_precision[0]], 0.3)


def test_scores_without_positives_are_undefined():
    histogram = ScoreHistogram(3, 0.5)
    histogram.update(np.array([[0, 1, 1], [0, 1, 0]]), np.array([[0.9, 0.2, 0.2], [0.1, 0.4, 0.1]]))
    result = histogram.result()
    for values in result.named("mask").values():
        assert np.isnan(values[0])
    assert np.isnan(result.auc[1])  # no negatives
    assert (result.precision[1], result.recall[1], result.f[1]) == (0, 0, 0)
    assert np.allclose(result.average_precision[1:], 1)


def test_bins_keep_the_order_of_all_scores():
    scores = np.array([0.0, 1e-15, 1e-8, 1e-4, 0.2, 0.201, 0.5, 0.999, 1 - 1e-6, 1.0], np.float32)
    bins = bins_of(scores)
    assert (np.diff(bins) > 0).all()
    assert (bins[0], bins[-1]) == (0, N_BINS - 1)
    assert bins_of(np.float32(1 + 1e-6)) == N_BINS - 1


def test_other_shapes_are_refused():
    with pytest.raises(
        ValueError, match=r"Expected: .* \(..., 2\). Received: \(4, 2\) and \(5, 2\)"
    ):
        ScoreHistogram(2, 0.5).update(np.zeros((4, 2), bool), np.zeros((5, 2)))

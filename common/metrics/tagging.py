"""Clip-level scores: average precision, area under the ROC curve, F-score, threshold search."""

import logging
from dataclasses import dataclass

import numpy as np

from common.metrics.detection import nan_mean

logger = logging.getLogger(__name__)
GRID = np.arange(0.0, 1.0 + 1e-6, 0.1)  # the published grid of thresholds
DEFAULT_THRESHOLD = 0.5


@dataclass(frozen=True)
class TagScores:
    """Scores of clip-level tags.

    Attributes:
        average_precision: (K,), 0 for a class without positives, as scikit-learn gives it.
        map_published: mean over all classes, those without positives included as 0.
        map: mean over the classes with positives; NaN without any.
        auc: (K,), area under the ROC curve; NaN where a class has no positives or no negatives.
        mean_auc: mean of `auc` over the classes where it is defined.
        class_f: (K,), F of the thresholded tags; 0 without the class in reference and estimate.
        macro_f: mean of `class_f` over all classes, as published.
        micro_f: F over all tags.
        n_positives: (K,), clips with the class.
    """

    average_precision: np.ndarray
    map_published: float
    map: float
    auc: np.ndarray
    mean_auc: float
    class_f: np.ndarray
    macro_f: float
    micro_f: float
    n_positives: np.ndarray


def tag_scores(
    targets: np.ndarray, scores: np.ndarray, thresholds: np.ndarray | float = DEFAULT_THRESHOLD
) -> TagScores:
    """Scores the tags of a set of clips.

    Args:
        targets: 0 or 1 (N, K).
        scores: probabilities (N, K), or (N, T, K): their mean over the frames counts.
        thresholds: a tag is given where its score is at least that; one number or (K,).

    Raises:
        ValueError: the shapes differ, or a score is not finite.
    """
    targets, scores = check_tags(targets, scores)
    precision = average_precision(targets, scores)
    area = area_under_roc(targets, scores)
    class_f = class_f_scores(targets, scores, thresholds)
    present = targets.any(axis=0)
    micro_f = class_f_scores(targets.reshape(-1, 1), (scores >= thresholds).reshape(-1, 1), 1.0)
    return TagScores(
        average_precision=precision,
        map_published=float(precision.mean()),
        map=nan_mean(precision[present]),
        auc=area,
        mean_auc=nan_mean(area),
        class_f=class_f,
        macro_f=float(class_f.mean()),
        micro_f=float(micro_f[0]),
        n_positives=targets.sum(axis=0),
    )


def check_tags(targets: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns targets bool (N, K) and scores float64 (N, K); raises ValueError if they differ."""
    targets, scores = np.asarray(targets) > 0, np.asarray(scores, np.float64)
    if scores.ndim == 3:
        scores = scores.mean(axis=1)  # (N, T, K) -> (N, K)
    if targets.shape != scores.shape or targets.ndim != 2:
        raise ValueError(
            "`scores` must have the shape of `targets`, (clips, classes). Expected:"
            f" {targets.shape}. Received: {scores.shape}."
        )
    if not np.isfinite(scores).all():
        n_others = np.count_nonzero(~np.isfinite(scores))
        raise ValueError(f"Expected: finite scores. Received: {n_others} that are not.")
    return targets, scores


def average_precision(targets: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Computes the average precision of each class, (K,); 0 for one without positives.

    Args:
        targets: 0 or 1 (N, K).
        scores: (N, K) or (N, T, K), see `tag_scores`.
    """
    from sklearn.metrics import average_precision_score  # a second: settings are read without it

    targets, scores = check_tags(targets, scores)
    precision = np.zeros(targets.shape[1])
    for k in np.flatnonzero(targets.any(axis=0)):
        precision[k] = average_precision_score(targets[:, k], scores[:, k])
    empty = np.flatnonzero(~targets.any(axis=0)).tolist()
    if empty:
        logger.debug("Classes %s have no positives: their average precision is 0.", empty)
    return precision


def area_under_roc(targets: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Computes the area under the ROC curve, (K,); NaN without positives or negatives."""
    from sklearn.metrics import roc_auc_score

    targets, scores = check_tags(targets, scores)
    area = np.full(targets.shape[1], np.nan)
    for k in np.flatnonzero(targets.any(axis=0) & ~targets.all(axis=0)):
        area[k] = roc_auc_score(targets[:, k], scores[:, k])
    return area


def class_f_scores(
    targets: np.ndarray, scores: np.ndarray, thresholds: np.ndarray | float = DEFAULT_THRESHOLD
) -> np.ndarray:
    """Computes F = 2 TP / (2 TP + FP + FN) of each class, (K,); 0 where it is undefined.

    Args:
        targets: 0 or 1 (N, K).
        scores: (N, K) or (N, T, K), see `tag_scores`.
        thresholds: active where the score is at least that; one number or (K,).
    """
    targets, scores = check_tags(targets, scores)
    estimate = scores >= thresholds
    hits = np.count_nonzero(targets & estimate, axis=0)
    total = targets.sum(axis=0) + estimate.sum(axis=0)
    return 2.0 * hits / np.maximum(total, 1)


def search_thresholds(
    targets: np.ndarray,
    scores: np.ndarray,
    grid: np.ndarray = GRID,
    *,
    without_positives: float = DEFAULT_THRESHOLD,
) -> np.ndarray:
    """Finds the threshold of each class with the highest F, the lowest one of several.

    Args:
        targets: 0 or 1 (N, K), of validation clips.
        scores: (N, K) or (N, T, K), see `tag_scores`.
        grid: thresholds to try, rising.
        without_positives: threshold of a class without positives. The published search gives it the
            lowest of the grid, 0, so that the class is always on.

    Returns:
        (K,), thresholds.
    """
    targets, scores = check_tags(targets, scores)
    grid = np.asarray(grid, np.float64)
    f = np.stack([class_f_scores(targets, scores, each) for each in grid])  # (thresholds, K)
    best = grid[np.argmax(f, axis=0)]
    empty = ~targets.any(axis=0)
    if empty.any():
        text = "Classes %s have no positives to search a threshold with: it is set to %g."
        logger.warning(text, np.flatnonzero(empty).tolist(), without_positives)
    return np.where(empty, without_positives, best)
